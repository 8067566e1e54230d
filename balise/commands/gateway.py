"""`balise gateway`: runs one gateway from its configuration until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.adverts import Scanner
    from gateway.config import GatewayConfig

HELP: Final = "hear beacons and publish readings (on a gateway)"

# Batches that may wait while a recording is replayed as fast as it goes.
_REPLAY_BACKLOG: Final = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--config FILE [--check]`."""
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the gateway.toml to run"
    )
    parser.add_argument(
        "--check", action="store_true", help="read the configuration, say what it means, and end"
    )


def run(args: argparse.Namespace) -> int:
    """Runs until SIGTERM or Ctrl-C; a fault of the configuration is one sentence."""
    from gateway.config import load_config

    config = load_config(args.config)
    if args.check:
        print("\n".join(summary(config)))
        return 0
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    asyncio.run(_serve(config, args.config.parent))
    return 0


def summary(config: GatewayConfig) -> list[str]:
    """The configuration in a few plain lines, without secrets."""
    from gateway.broker_url import parse_broker_url
    from gateway.config import broker_url

    broker = parse_broker_url(broker_url(config.mqtt))
    spool = config.spool
    user = f" as {broker.username}" if broker.username else ""
    return [
        f"gateway {config.gateway} of site {config.site}",
        f"publishes windows of {config.window:g} s to {broker}{user}",
        f"hears by scanner {kind_of(config)}",
        f"keeps {spool.max_batches} batches, at most {spool.max_megabytes:g} MB, for its return",
    ]


def kind_of(config: GatewayConfig) -> str:
    """The scanner that `auto` means on this system."""
    if config.scanner.kind != "auto":
        return config.scanner.kind
    return "bluez" if sys.platform == "linux" else "portable"


def scanner_of(config: GatewayConfig, base: Path) -> Scanner:
    """The configured scanner; paths are relative to the configuration's folder.

    Raises:
        ReplayError: the recording cannot be replayed.
    """
    kind, scanner = kind_of(config), config.scanner
    if kind == "replay":
        from gateway.scanner_replay import ReplayScanner

        return ReplayScanner(base / scanner.recording, config.gateway, speed=scanner.speed)
    from gateway.scanner_bleak import BluezScanner, PortableScanner

    identities = config.filters.identities()
    if kind == "portable":
        return PortableScanner(identities, silence_s=scanner.silence)
    return BluezScanner(identities, adapter=scanner.adapter, silence_s=scanner.silence)


async def _serve(config: GatewayConfig, base: Path) -> None:
    from gateway.config import broker_url
    from gateway.daemon import Gateway
    from gateway.scanner_replay import ReplayScanner

    scanner = scanner_of(config, base)
    gateway = Gateway(
        config.site,
        config.gateway,
        scanner,
        broker_url(config.mqtt),
        window=config.window,
        max_batches=config.spool.max_batches,
        max_bytes=config.spool.max_bytes,
    )
    if isinstance(scanner, ReplayScanner):
        scanner.hold = lambda: len(gateway.publisher.spool) > _REPLAY_BACKLOG
    task = asyncio.create_task(gateway.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Windows' loop knows no signal handlers; Ctrl-C ends it there.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
