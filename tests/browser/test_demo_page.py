"""The page on the whole demo: radio, broker, ingest, worker, store, dashboard, browser."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import Window, windows
from tests.support.processes import until
from tests.support.runs import running_until

pytestmark = pytest.mark.browser

# The demo's pickers and items, nearly all of which are heard within seconds.
MOST_TAGS: Final = 250


def sockets(window: Window) -> int:
    """How often the page has connected to the feed."""
    # Playwright hears of requests only while it is called.
    window.page.wait_for_timeout(1)
    return sum(url.startswith("ws://") for url in window.requests)


@pytest.mark.usefixtures("built_page")
def test_the_demo_moves_on_the_page_and_comes_back_by_itself(
    browser: Browser, tmp_path: Path
) -> None:
    """Tags fill the map and move; a killed dashboard is back in the same page without a reload."""
    with running_until("Live after", tmp_path, "-m", "balise", "demo", "--port", "0") as demo:
        url = demo.url(r"dashboard +(http://[0-9.:]+)") + "/"
        with windows(browser, url) as window:
            page = window.open()
            drawn = page.locator(".map")
            until(
                lambda: int(drawn.get_attribute("data-drawn") or 0) > MOST_TAGS,
                "nearly all tags are on the map",
                30.0,
            )
            first, before = window.sequence(), window.picture()
            until(lambda: window.sequence() > first + 1, "frames go on")
            assert window.picture() != before
            assert not window.faults

            connections = sockets(window)
            demo.processes()["dashboard"].kill()
            until(lambda: sockets(window) > connections, "the page connects again", 20.0)
            for _ in range(3):
                last = window.sequence()
                until(lambda last=last: window.sequence() != last, "frames come again", 20.0)  # type: ignore[misc]  # a lambda's default
            expect(page.locator(".feed")).to_contain_text("Live")
            assert not [fault for fault in window.faults if "ERR_CONNECTION" not in fault]
