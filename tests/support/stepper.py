"""A pipeline in miniature for readers of the store: real engine, real leases, real commits.

Tests that need fixes in the store make them here the way a worker does, from readings, without
the processes around it.
"""

from __future__ import annotations

import math
import secrets
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from msgspec.structs import replace

from gateway.readings import Batch
from stream.connection import Connection
from stream.engine import Engine, Step
from stream.fixes import TickFixes
from stream.lease import Lease
from stream.partition import partition_of
from stream.site import Floor, GatewayPlace, Kind, Site, Trackable, Zone
from stream.state import stored_version
from stream.store import Store
from stream.summary import encode_summary

T0: Final = 1_785_153_600.0
WINDOW_S: Final = 0.5


def depot(items: int = 4, gateways: int = 4) -> Site:
    """A hall of 20 x 10 m with a west and an east zone, and things of several kinds."""
    corners = [(0.5, 0.5), (19.5, 0.5), (19.5, 9.5), (0.5, 9.5), (10.0, 0.5), (10.0, 9.5)]
    kinds: tuple[Kind, ...] = ("item", "picker", "cart", "visitor")
    return Site(
        id="depot",
        name="Depot",
        timezone="Europe/Paris",
        floors=[Floor("ground", "Ground", 0, [(0, 0), (20, 0), (20, 10), (0, 10)])],
        gateways=[GatewayPlace(f"gw-{i}", "ground", list(corners[i])) for i in range(gateways)],
        zones=[
            Zone("west", "ground", "West", "storage", [(0, 0), (10, 0), (10, 10), (0, 10)]),
            Zone("east", "ground", "East", "dock", [(10, 0), (20, 0), (20, 10), (10, 10)]),
        ],
        trackables=[
            Trackable(
                f"thing-{i:04d}",
                f"Thing {i}",
                kinds[i % len(kinds)],
                [beacon(i)],
                sku=f"SKU-{i}" if i % 2 == 0 else None,
                quantity=float(i) if i % 2 == 0 else None,
            )
            for i in range(items)
        ],
    )


def beacon(i: int) -> str:
    """The beacon of the i-th thing."""
    return f"ibeacon:f7826da6-4fa2-4e98-8024-bc5b71e0893e:1:{i}"


def rssi(gateway: GatewayPlace, x: float, y: float) -> float:
    """DBm by distance alone: enough to be located by."""
    distance = math.dist(gateway.position[:2], (x, y))
    return -59.0 - 20.0 * math.log10(max(distance, 0.3))


class Pipeline:
    """The worker's part of a site.

    Args:
        store: holds the site.
        link: a connection of the worker's own.
        site: the version in use.
        version: its number.
    """

    def __init__(self, store: Store, link: Connection, site: Site, version: int) -> None:
        self.store: Final = store
        self.site = site
        self.version = version
        self.committed: list[TickFixes] = []
        count = store.partitions
        self.engines = [Engine(site, version, p, count) for p in range(count)]
        self._leases = [Lease(link, store.keys.partition(p), "worker", "1") for p in range(count)]
        self._steps = [0] * count
        # Its gateways start anew with it, as their numbers do.
        self._boot: Final = secrets.token_hex(4)
        self._seqs = dict.fromkeys((part.id for part in site.gateways), 0)

    async def open(self) -> None:
        """Takes every partition, with what an earlier worker left in it."""
        for p, lease in enumerate(self._leases):
            if not await lease.take(from_namesake=True):
                raise AssertionError(f"partition {p} is held by {lease.holder}")
            loaded = await lease.load()
            self._steps[p] = loaded.step
            if loaded.state is not None:
                version, site = await self.store.read_site(stored_version(loaded.state))
                self.engines[p] = Engine.restore(
                    loaded.state, site, version, p, self.store.partitions
                )

    def hear(
        self,
        t: float,
        places: dict[str, tuple[float, float]],
        without: frozenset[str] = frozenset(),
    ) -> None:
        """All gateways hear beacons (by id) at places in metres, in the window that ends at t."""
        for gateway in self.site.gateways:
            if gateway.id in without:
                continue
            self._seqs[gateway.id] = self._seqs.get(gateway.id, 0) + 1
            batch = Batch(
                gateway=gateway.id,
                boot=self._boot,
                seq=self._seqs[gateway.id],
                t=t,
                window=WINDOW_S,
                beacons=list(places),
                rssi=array("f", [rssi(gateway, x, y) for x, y in places.values()]),
                n=array("H", [5] * len(places)),
            )
            self.feed(batch)

    def feed(self, batch: Batch) -> None:
        """One batch, split by partition as ingest does."""
        count = len(self.engines)
        owners = {b: t.id for t in self.site.trackables for b in t.beacons}
        for p, engine in enumerate(self.engines):
            mine = [
                i
                for i, name in enumerate(batch.beacons)
                if partition_of(owners.get(name, name), count) == p
            ]
            part = replace(
                batch,
                beacons=[batch.beacons[i] for i in mine],
                rssi=array("f", [batch.rssi[i] for i in mine]),
                n=array("H", [batch.n[i] for i in mine]),
            )
            engine.feed(part, "")

    async def commit(self) -> list[Step]:
        """Makes what has become final a step of every partition."""
        steps = []
        for p, engine in enumerate(self.engines):
            step = engine.take()
            self._steps[p] += 1
            await self._leases[p].commit(
                self._steps[p],
                engine.dump(),
                encode_summary(engine.summary()),
                step.ticks,
                step.events,
                [],
                "0-0",
            )
            self.committed += step.ticks
            steps.append(step)
        return steps

    async def commit_ticks(self, ticks: list[TickFixes]) -> None:
        """Commits ready-made ticks to partition 0 with the engine's present state."""
        engine = self.engines[0]
        self._steps[0] += 1
        summary = encode_summary(engine.summary())
        await self._leases[0].commit(self._steps[0], engine.dump(), summary, ticks, [], [], "0-0")
        self.committed += ticks

    async def move(self, t: float, places: dict[str, tuple[float, float]]) -> list[Step]:
        """One window heard by all, and its step."""
        self.hear(t, places)
        return await self.commit()

    def change_site(self, site: Site, version: int) -> None:
        """As a worker does when it meets the announcement in its stream."""
        self.site, self.version = site, version
        for engine in self.engines:
            engine.change_site(site, version, "")


def places(site: Site, step: float = 0.0) -> dict[str, tuple[float, float]]:
    """Every beacon at a place of its own, moving east with `step` metres."""
    out = {}
    for i, name in enumerate(b for part in site.trackables for b in part.beacons):
        out[name] = (1.0 + (i * 4.7 + step) % 18.0, 1.0 + (i * 2.3) % 8.0)
    return out


@asynccontextmanager
async def pipeline(
    url: str, site: Site | None = None, partitions: int = 1
) -> AsyncIterator[Pipeline]:
    """A site in the store with a worker's hold on all of its partitions."""
    document = depot() if site is None else site
    store = await Store.connect(url, document.id)
    link = Connection(url)
    try:
        version = await store.import_site(document, partitions)
        version, current = await store.read_site()
        made = Pipeline(store, link, current, version)
        await made.open()
        yield made
    finally:
        await link.close()
        await store.close()
