"""A worker that needs no radio: commits made-up fixes through the real lease, tick by tick.

Everything below it is real: the store, the commit script, the keys, the dashboard that follows.
It runs in a thread with a loop of its own, so that a test that drives a browser can stop it and
let it go on.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Final, Self

import numpy as np
from msgspec.structs import replace

from stream.connection import Connection
from stream.engine import Engine
from stream.fixes import NONE, TickFixes, empty
from stream.geometry import Areas
from stream.lease import Lease
from stream.site import Site
from stream.state import open_state, pack_state
from stream.store import Store
from stream.summary import GatewayCounts, Summary, Unassigned, encode_summary

TICK_S: Final = 0.5
# Walking, metres a second.
PACE: Final = 1.3
START_DEADLINE_S: Final = 20.0
# Long enough to be lost.
SILENT_S: Final = 1_800.0
SUSPECT_TEXT: Final = "hears 31 % of the adverts it should; look at its antenna"
UNASSIGNED: Final = ("mac:C4:64:E3:11:22:33", "mac:C4:64:E3:44:55:66", "mac:C4:64:E3:77:88:99")


class Feeder:
    """Moves a site's movers along and keeps its items where they are.

    Args:
        url: the store's.
        site: imported as it is.
        unassigned: beacons that are heard and belong to nothing yet.
        silent: ids of trackables that were last heard SILENT_S before the feeder began.

    Attributes:
        ticks: how many were committed.
    """

    def __init__(
        self,
        url: str,
        site: Site,
        unassigned: tuple[str, ...] = (),
        silent: frozenset[str] = frozenset(),
    ) -> None:
        self.ticks = 0
        self._url: Final = url
        self._site = site
        self._unassigned: Final = unassigned
        self._silent: Final = silent
        self._silent_since: Final = round(time.time()) - SILENT_S
        self._going: Final = threading.Event()
        self._ended: Final = threading.Event()
        self._fault: BaseException | None = None
        self._thread: Final = threading.Thread(target=self._main, daemon=True)

    def __enter__(self) -> Self:
        self._going.set()
        self._thread.start()
        deadline = time.monotonic() + START_DEADLINE_S
        while self.ticks == 0:
            if self._fault is not None or time.monotonic() > deadline:
                raise AssertionError("the feeder did not start") from self._fault
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(START_DEADLINE_S)
        if self._fault is not None:
            raise AssertionError("the feeder failed") from self._fault

    def pause(self) -> None:
        """No ticks from now on."""
        self._going.clear()

    def go_on(self) -> None:
        """Ticks again."""
        self._going.set()

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:  # noqa: BLE001  # handed to the test's own thread
            self._fault = error

    async def _run(self) -> None:
        store = await Store.connect(self._url, self._site.id)
        link = Connection(self._url, retries=0)
        try:
            await store.import_site(self._site)
            lease = Lease(link, store.keys.partition(0), "feeder", "1")
            if not await lease.take():
                raise AssertionError("another worker holds the partition")
            step = (await lease.load()).step
            while not self._ended.is_set():
                await asyncio.sleep(TICK_S)
                await lease.renew()
                if not self._going.is_set():
                    continue
                version, site = await store.read_site()
                step += 1
                t = round(time.time() / TICK_S) * TICK_S
                await self._commit(lease, step, t, version, site)
                self.ticks += 1
            await lease.release()
        finally:
            await link.close()
            await store.close()

    async def _commit(self, lease: Lease, step: int, t: float, version: int, site: Site) -> None:
        silent = np.array([part.id in self._silent for part in site.trackables])
        times = np.where(silent, self._silent_since, t)
        last = np.where(silent, fixes_at(site, self._silent_since), fixes_at(site, t))
        tick = TickFixes(t, version, last[~silent])
        known = site.beacons()
        waiting = [beacon for beacon in self._unassigned if beacon not in known]
        summary = Summary(
            tick=tick.t,
            front=tick.t,
            watermark=tick.t,
            site_version=tick.version,
            readings=400 * step,
            batches=10 * step,
            gateways=gateway_counts(site, tick.t, step),
            unassigned=[
                Unassigned(beacon, site.gateways[0].id, -48.0 - 6.0 * i, tick.t, 12)
                for i, beacon in enumerate(waiting)
            ],
            unassigned_total=len(waiting),
            calibration_origin="work",
            snapshots=640,
            fits=5,
            adopted=3,
            lost=int(silent.sum()),
        )
        state = replace(
            open_state(Engine(site, version).dump()),
            fixes=last.tobytes(),
            fixed=times.astype("<f8").tobytes(),
        )
        await lease.commit(step, pack_state(state), encode_summary(summary), [tick], [], [], "0-0")


def gateway_counts(site: Site, t: float, step: int) -> dict[str, GatewayCounts]:
    """All heard now; but the second late, the third gone, the fourth never, the fifth suspect."""
    counts = {}
    for i, gateway in enumerate(site.gateways):
        lag = {1: 20.0, 2: 400.0}.get(i, 0.0)
        heard = i != 3
        counts[gateway.id] = GatewayCounts(
            t=t - lag if heard else 0.0,
            batches=10 * step,
            readings=100 * step if heard else 0,
            suspect="deaf" if i == 4 else "",
            suspect_text=f"`{gateway.id}` {SUSPECT_TEXT}" if i == 4 else "",
            residual_db=-6.2 if i == 4 else 0.4,
            hears=0.31 if i == 4 else 0.82,
        )
    return counts


def fixes_at(site: Site, t: float) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """Items near the slot of their row, movers on rounds through their floor; each its own pace."""
    fixes = empty(len(site.trackables))
    floors = {floor.id: row for row, floor in enumerate(site.floors)}
    for row, part in enumerate(site.trackables):
        fix = fixes[row]
        fix["trackable"] = row
        if part.kind == "item" and site.slots:
            slot = site.slots[row * 7 % len(site.slots)]
            x, y = slot.position[:2]
            floor, speed, accuracy = slot.floor, 0.0, 1.2 + row % 5 * 0.3
        else:
            floor = site.floors[row % len(site.floors)].id
            x, y = _round(site, row, t)
            speed, accuracy = PACE, 1.6
        fix["x"], fix["y"], fix["floor"] = x, y, floors[floor]
        fix["speed"], fix["accuracy"] = speed, accuracy
    areas = Areas([zone.polygon for zone in site.zones], [floors[z.floor] for z in site.zones])
    zones = areas.locate(fixes["x"].astype(float), fixes["y"].astype(float), fixes["floor"])
    fixes["zone"] = np.where(zones < 0, NONE, zones)
    return fixes


def _round(site: Site, row: int, t: float) -> tuple[float, float]:
    """A place on a rectangle within the outline, reached at walking pace."""
    x0, y0, x1, y1 = site.bounds()
    inset = 1.5 + row % 4 * 2.5
    width, depth = x1 - x0 - 2 * inset, y1 - y0 - 2 * inset
    way = (PACE * t + 17.0 * row) % (2 * (width + depth))
    if way > width + depth:  # back along the other two sides
        way -= width + depth
        x, y = (width - way, depth) if way <= width else (0.0, depth - (way - width))
    else:
        x, y = (way, 0.0) if way <= width else (width, way - width)
    return x0 + inset + x, y0 + inset + y
