#!/usr/bin/env python3
"""Takes docs/live-map.png, the README's picture, from a running demo: its own, or that of --url.

python docs/screenshot.py
python docs/screenshot.py --url http://127.0.0.1:8000 --out map.png --dark
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import sync_playwright

OUT = Path(__file__).parent / "live-map.png"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
# Long enough for the pickers to have walked a way that can be seen.
SETTLE_MS = 40_000
STOP_S = 30


@contextlib.contextmanager
def demo() -> Iterator[str]:
    """A demo on a free port; yields its address when the map is live."""
    command = [sys.executable, "-m", "balise", "demo", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout or ():
            if line.startswith("Live after"):
                yield line.split()[-1]
                return
        sys.exit("the demo ended before its map was live")
    finally:
        process.send_signal(signal.SIGINT)
        # What it says while it stops is of no interest, but a full pipe would hold it up.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=STOP_S)
        process.kill()


def take(url: str, out: Path, *, dark: bool, settle_ms: int) -> None:
    """Chooses the first picker, shows the whole floor, and takes the picture."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(
            viewport={"width": 1440, "height": 900},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        page.goto(url)
        page.wait_for_selector(".map[data-drawn]:not([data-drawn='0'])")
        page.wait_for_timeout(settle_ms)
        page.locator(".panel .row").nth(2).click()
        page.locator(".card").wait_for()
        page.locator(".map").press("0")
        page.wait_for_timeout(1_500)
        page.locator(".map").evaluate("map => map.blur()")
        page.screenshot(path=out)
        browser.close()


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", help="a running dashboard (default: a demo of its own)")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--settle-ms", type=int, default=SETTLE_MS)
    args = parser.parse_args()
    with demo() if args.url is None else contextlib.nullcontext(args.url) as url:
        take(url, args.out, dark=args.dark, settle_ms=args.settle_ms)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
