"""A real browser on a real dashboard: the process, the window, and what goes wrong in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

from tests.support.processes import until
from tests.support.servers import free_port

CHROMIUM: Final = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP: Final = (1280, 800)


class Dashboard:
    """`balise dashboard` as a process on a port of its own."""

    def __init__(self, store_url: str, site_id: str) -> None:
        self.port: Final = free_port()
        self.url: Final = f"http://127.0.0.1:{self.port}/"
        self._command: Final = [
            *(sys.executable, "-m", "balise", "dashboard", "--site", site_id),
            *("--redis", store_url, "--port", str(self.port)),
        ]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Starts it and waits until it says where it is."""
        process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        self._process = process
        assert str(self.port) in process.stdout.readline()

    def stop(self) -> None:
        """Ends it."""
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=20)
            self._process = None


class Window:
    """One page, and all that went wrong in it.

    Attributes:
        page: Playwright's page.
        url: of the dashboard.
        faults: console errors, uncaught errors, and requests to anywhere else.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page: Final = page
        self.url: Final = url
        self.faults: Final[list[str]] = []
        self.requests: Final[list[str]] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        page.on("request", lambda request: self._on_request(request.url))
        page.on("websocket", lambda socket: self._on_request(socket.url))

    def open(self, query: str = "") -> Page:
        """Loads the page and waits until tags are on the map."""
        self.page.goto(self.url + query)
        self.page.wait_for_selector(".map[data-drawn]:not([data-drawn='0'])")
        return self.page

    def sequence(self) -> int:
        """The number of the last frame that was drawn."""
        return int(self.page.locator(".map").get_attribute("data-sequence") or -1)

    def picture(self) -> str:
        """What moves on the map: tags, gateways, names."""
        return self._canvas(1)

    def floor(self) -> str:
        """What lies below: outline, racks, zones."""
        return self._canvas(0)

    def settle(self) -> None:
        """Waits until the floor stands still."""
        until(lambda: self.floor() == self.floor(), "the map comes to rest")

    def _canvas(self, place: int) -> str:
        canvas = self.page.locator(".map canvas").nth(place)
        return str(canvas.evaluate("canvas => canvas.toDataURL()"))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console: {message.text}")

    def _on_request(self, url: str) -> None:
        self.requests.append(url)
        if urlsplit(url).netloc != urlsplit(self.url).netloc:
            self.faults.append(f"a request left our server: {url}")


@contextmanager
def windows(browser: Browser, url: str, **settings: object) -> Iterator[Window]:
    """A window with settings of Playwright's contexts; its faults are the caller's to look at."""
    width, height = DESKTOP
    options = {"viewport": {"width": width, "height": height}, **settings}
    context: BrowserContext = browser.new_context(**options)  # type: ignore[arg-type]  # its names
    context.set_default_timeout(15_000)
    try:
        yield Window(context.new_page(), url)
    finally:
        context.close()
