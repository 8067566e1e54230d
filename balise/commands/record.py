"""`balise record`: the readings of a site into a file, for `balise replay` and `evaluate`."""

from __future__ import annotations

import argparse
import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.errors import UserError

if TYPE_CHECKING:
    from gateway.readings import Batch
    from stream.record import Write

HELP: Final = "record the readings of a running site into a file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--site ID --out FILE[.gz] (--redis URL [--kept] | --mqtt URL) [--seconds N]`."""
    parser.add_argument("--site", required=True, metavar="ID", help="the site's id")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="JSON Lines, gzipped when it ends in .gz",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--redis", metavar="URL", help="from the store, in the order in which workers read"
    )
    source.add_argument("--mqtt", metavar="URL", help="from the broker, as readings arrive")
    parser.add_argument(
        "--kept",
        action="store_true",
        help="with --redis: begin with the last minutes that the store still keeps",
    )
    parser.add_argument(
        "--seconds", type=float, metavar="N", help="stop after so long (default: at Ctrl-C)"
    )


def run(args: argparse.Namespace) -> int:
    """Records until the time is over, SIGTERM or Ctrl-C."""
    from balise.commands.stream import until_stopped
    from stream.recording import RecordingWriter

    logging.basicConfig(format="balise record: %(message)s", level=logging.INFO)
    if args.seconds is not None and not args.seconds > 0:
        raise UserError(f"--seconds is {args.seconds}; more than 0 is expected")
    batches = readings = 0
    try:
        with RecordingWriter(args.out) as recording:

            def write(batch: Batch) -> None:
                nonlocal batches, readings
                recording.write_batch(args.site, batch)
                batches += 1
                readings += len(batch)

            asyncio.run(until_stopped(_record(args, write)))
    except OSError as error:
        raise UserError(f"{args.out}: cannot be written: {error.strerror or error}") from error
    print(f"{args.out} holds {batches} batches with {readings} readings")
    return 0


async def _record(args: argparse.Namespace, write: Write) -> None:
    from stream.record import record_broker, record_store
    from stream.store import Store

    with suppress(TimeoutError):
        async with asyncio.timeout(args.seconds):
            if args.mqtt is not None:
                await record_broker(args.mqtt, args.site, write)
                return
            store = await Store.connect(args.redis, args.site)
            try:
                await record_store(store, write, kept=args.kept)
            finally:
                await store.close()
