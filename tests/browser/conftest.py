"""What browser tests share: a store that is fed, the dashboard as a process, a real Chromium."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from dashboard.page import STATIC
from gateway.radio.warehouse import warehouse
from stream.site import Site, Trackable, parse_site
from tests.support.browser import CHROMIUM, FLAGS, Dashboard, Window, windows
from tests.support.feeder import UNASSIGNED, Feeder
from tests.support.processes import until
from tests.support.servers import running


@pytest.fixture(scope="module")
def site() -> Site:
    """A warehouse of two floors with a few of everything."""
    document = warehouse(
        7, width_m=40.0, depth_m=30.0, floors=2, gateways=10, items=60, pickers=4, visitors=2
    )
    return parse_site(json.dumps(document).encode(), "the test's site")


@pytest.fixture(scope="module")
def _store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running("valkey", tmp_path_factory.mktemp("browser-store")) as server:
        yield server.url


@pytest.fixture(scope="module")
def silent(site: Site) -> list[Trackable]:
    """A picker and two items that are lost, of those that no other test looks at."""
    pickers = [part for part in site.trackables if part.kind == "picker"]
    items = [part for part in site.trackables if part.kind == "item"]
    return [pickers[-1], *items[-2:]]


@pytest.fixture(scope="module")
def feeder(_store_url: str, site: Site, silent: list[Trackable]) -> Iterator[Feeder]:
    """What makes the tags move; can be paused."""
    lost = frozenset(part.id for part in silent)
    with Feeder(_store_url, site, UNASSIGNED, lost) as feeder:
        yield feeder


@pytest.fixture(scope="module")
def built_page() -> None:
    """The page as installed; without it browser tests skip, or fail where it is required."""
    if not (STATIC / "index.html").is_file():
        reason = "the page is not built: install again with Node on PATH, or a registry in reach"
        if os.environ.get("BALISE_REQUIRE_PAGE") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="module")
def dashboard(
    built_page: None,  # noqa: ARG001  # only that it is there
    _store_url: str,
    site: Site,
    feeder: Feeder,
) -> Iterator[Dashboard]:
    """The dashboard over the fed store."""
    assert feeder.ticks
    dashboard = Dashboard(_store_url, site.id)
    dashboard.start()
    yield dashboard
    dashboard.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Not for the session: its loop would be in the way of async tests."""
    if not Path(CHROMIUM).is_file():
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def window(browser: Browser, dashboard: Dashboard, feeder: Feeder) -> Iterator[Window]:
    """A desktop window on a running feed; the test fails when anything goes wrong in it."""
    feeder.go_on()
    ticks = feeder.ticks
    until(lambda: feeder.ticks > ticks, "the feeder goes on")
    with windows(browser, dashboard.url) as window:
        yield window
        assert not window.faults, "\n".join(window.faults)
