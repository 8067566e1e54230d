"""`balise dashboard`: serves the API, the live feed and the page of one site."""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

HELP: Final = "serve the API, the live feed and the page of one site"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--site ID --redis URL [--host H] [--port P] [--token-file F]`."""
    parser.add_argument("--site", required=True, metavar="ID", help="the site's id in the store")
    parser.add_argument("--redis", required=True, metavar="URL", help="redis://host:port/db")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="the address to listen on (default 127.0.0.1; any other needs --token-file)",
    )
    parser.add_argument(
        "--port", type=int, default=8000, metavar="N", help="default 8000; 0 for a free one"
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="a file that holds the token callers must send",
    )


def run(args: argparse.Namespace) -> int:
    """Serves until SIGTERM or Ctrl-C."""
    from dashboard.access import check_bind, read_token
    from dashboard.serve import listen, url_of

    token = None if args.token_file is None else read_token(args.token_file)
    check_bind(args.host, token)
    logging.basicConfig(format="balise dashboard: %(message)s", level=logging.WARNING)
    opened = listen(args.host, args.port)
    with opened, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        where = url_of(opened)
        runner.run(_serve(args, token, opened, where))
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ModuleNotFoundError:
        return None  # not made for this platform
    return uvloop.new_event_loop


async def _serve(
    args: argparse.Namespace, token: str | None, opened: socket.socket, where: str
) -> None:
    from balise.cli import own_version
    from dashboard.app import create_app
    from dashboard.serve import serve, stop_on_signals
    from stream.store import Store

    stop = asyncio.Event()
    stop_on_signals(stop)
    store = await Store.connect(args.redis, args.site)
    try:
        app = create_app(store, host=args.host, token=token, version=own_version())

        def say() -> None:
            print(f"the dashboard of {args.site} is at {where}", flush=True)

        await serve(app, opened, say, stop)
    finally:
        await store.close()
