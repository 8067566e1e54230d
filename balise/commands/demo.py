"""`balise demo`: a simulated warehouse through the whole pipeline, on one's own machine."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from pathlib import Path

HELP = "show a simulated warehouse, live, on http://127.0.0.1:8000"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`[--port N] [--seed N] [--dir D]`."""
    parser.add_argument(
        "--port",
        type=int,
        metavar="N",
        help="the page's port (default: 8000, or the next that is free; 0: any free one)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="another number, another warehouse"
    )
    parser.add_argument(
        "--dir",
        type=Path,
        metavar="D",
        help="keep the data in D (default: a temporary directory, removed at the end)",
    )


def run(args: argparse.Namespace) -> int:
    """Runs until Ctrl-C; then everything it started has ended."""
    from balise import demo

    asyncio.run(demo.run(demo.Options(args.port, args.seed, args.dir), say))
    return 0


def say(line: str) -> None:
    """Prints a line; a terminal that is gone must not stop the stopping."""
    with contextlib.suppress(OSError):
        print(line, flush=True)
