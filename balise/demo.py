"""The demo: a generated warehouse, simulated live, through the whole pipeline.

Nothing in the pipeline knows that its readings are simulated.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from balise.data import DataDirectory
from balise.embedded import LOOPBACK, is_free
from balise.simulate import warehouse_site
from balise.supervisor import Supervisor
from balise.up import Running, Settings, UpError, balise, bring_up
from dashboard.live import HEADER, SNAPSHOT
from stream.site import Site, encode_site

WIDTH_M: Final = 60.0
DEPTH_M: Final = 40.0
GATEWAYS: Final = 24
ITEMS: Final = 300
PICKERS: Final = 12
# The page's usual port, and how many above it are tried when it is taken.
PORT: Final = 8000
_PORTS_TRIED: Final = 20
# How long the map may take on a slow machine before we say that something is wrong.
LIVE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the demo can be asked for.

    Attributes:
        port: None takes the first free one from 8000, 0 any.
        seed: of the warehouse and of everything random.
        directory: kept, if given; else a temporary one.
        simulate: further arguments of `balise simulate`.
    """

    port: int | None = None
    seed: int = 1
    directory: Path | None = None
    simulate: tuple[str, ...] = ()


def site(seed: int) -> Site:
    """The demo's warehouse; equal seeds give equal warehouses."""
    return warehouse_site(
        seed, width_m=WIDTH_M, depth_m=DEPTH_M, gateways=GATEWAYS, items=ITEMS, pickers=PICKERS
    )


async def run(options: Options, say: Callable[[str], None]) -> None:
    """Runs the demo until it is interrupted.

    Raises:
        UserError: one sentence about what is in the way.
    """
    began = time.monotonic()
    port = choose_port(options.port, say)
    with DataDirectory(options.directory) as data:
        async with Supervisor(say) as supervisor:
            place = site(options.seed)
            file = data.path / "site.json"
            file.write_bytes(encode_site(place))
            say(
                f"Balise demo: a simulated warehouse of {WIDTH_M:.0f} x {DEPTH_M:.0f} m with "
                f"{GATEWAYS} gateways, {ITEMS} items and {PICKERS} pickers (seed {options.seed})"
            )
            settings = Settings(site=place, data=data.path, port=port)
            running = await bring_up(supervisor, settings, say)
            say(f"  simulator  {GATEWAYS} virtual gateways, publishing as real ones do")
            supervisor.start(
                balise(
                    "simulator",
                    *("simulate", "--site", str(file), "--mqtt", running.mqtt),
                    *("--seed", str(options.seed), *options.simulate),
                )
            )
            await live(running)
            say(f"Live after {time.monotonic() - began:.1f} s: look at {running.page}")
            say("Ctrl-C stops everything.")
            await supervisor.wait()
        say("Stopped.")


def choose_port(asked: int | None, say: Callable[[str], None]) -> int:
    """The port asked for (0: any), or the first free one from 8000, said when it is another."""
    if asked is not None:
        return asked
    for port in range(PORT, PORT + _PORTS_TRIED):
        if is_free(LOOPBACK, port):
            if port != PORT:
                say(f"Port {PORT} is taken by another program; the page will be on port {port}.")
            return port
    raise UpError(
        f"ports {PORT} to {PORT + _PORTS_TRIED - 1} are all taken; choose one with --port"
    )


async def live(running: Running, within_s: float = LIVE_S) -> None:
    """Waits until the page's own feed carries new fixes: that is when the map is really live.

    Raises:
        UpError: it does not within the time.
    """
    try:
        async with asyncio.timeout(within_s):
            await _first_fixes(running.page)
    except TimeoutError as error:
        raise UpError(
            f"no fix reached the map within {within_s:g} s; the lines above say what is wrong"
        ) from error


async def _first_fixes(page: str) -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import WebSocketException

    url = f"{page.replace('http', 'ws', 1)}/api/v1/live"
    while True:
        try:
            async with connect(url, compression=None, max_size=None, proxy=None) as feed:
                async for message in feed:
                    if isinstance(message, bytes) and _has_fixes(message):
                        return
        except (OSError, WebSocketException):
            await asyncio.sleep(0.1)


def _has_fixes(frame: bytes) -> bool:
    """Whether it is a change (not a snapshot, which may be of an earlier run) with fixes."""
    _, flags, _, _, _, count, _ = HEADER.unpack_from(frame)
    return not flags & SNAPSHOT and count > 0
