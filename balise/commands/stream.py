"""`balise stream [ingest | worker]`: from the broker into the store, and from readings to fixes."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import UserError

if TYPE_CHECKING:
    from stream.store import Store

HELP: Final = "take readings from the broker into the store, and locate"


class StreamArgumentError(UserError, ValueError):
    """Arguments that do not fit together."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`[ingest | worker] --site ID --redis URL [--mqtt URL] [--name NAME]`."""
    parser.add_argument(
        "role",
        nargs="?",
        choices=("ingest", "worker"),
        help="which of the two to run; both in one process when left out",
    )
    parser.add_argument("--site", required=True, metavar="ID", help="the site's id in the store")
    parser.add_argument("--redis", required=True, metavar="URL", help="redis://host:port/db")
    parser.add_argument("--mqtt", metavar="URL", help="mqtt://host:port; ingest needs it")
    parser.add_argument(
        "--name",
        default="worker-0",
        metavar="NAME",
        help="the worker's name: the same over restarts, and no other worker's (default worker-0)",
    )


def run(args: argparse.Namespace) -> int:
    """Serves until SIGTERM or Ctrl-C."""
    from gateway.readings import is_name
    from stream.store import Store

    if args.role != "worker" and args.mqtt is None:
        raise StreamArgumentError("`balise stream` takes readings from a broker: give --mqtt URL")
    if not is_name(args.site) or any(c in args.site for c in "{}:"):
        raise StreamArgumentError(f"`{args.site}` is not a site's id")
    word = args.role or "stream"
    logging.basicConfig(format=f"balise {word}: %(message)s", level=logging.INFO)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(until_stopped(_serve(args, Store(args.redis, args.site))))
    return 0


async def until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Runs until it ends, or until SIGTERM or Ctrl-C cancels it."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


async def _serve(args: argparse.Namespace, store: Store) -> None:
    # An ingest needs no engine, and a worker no MQTT: each starts sooner without the other.
    try:
        async with asyncio.TaskGroup() as tasks:
            if args.role != "worker":
                from stream.ingest import Ingest

                tasks.create_task(Ingest(store, args.mqtt).run())
            if args.role != "ingest":
                from stream.worker import Worker

                tasks.create_task(Worker(store, args.name).run())
    except* UserError as group:
        raise group.exceptions[0] from None
    finally:
        await store.close()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ModuleNotFoundError:
        return None  # not made for this platform
    return uvloop.new_event_loop
