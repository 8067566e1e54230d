"""What the store says of the pipeline now: counts, gateways, refusals, in one look.

Looks are shared: however many people ask, the store is read at most twice a second. A ticker
with fixed deadlines tells the live feed's clients the gateways' health and the zones' counts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, NamedTuple

from dashboard.feed import Feed
from dashboard.health import GatewayHealth, Rates, gateway_healths, merged
from dashboard.live import Hub, gateways_text, lost_text, zones_text
from stream.site import Site
from stream.store import GatewayRecord, Store, StoreError
from stream.summary import GatewayCounts, Summary

SHARE_S: Final = 0.5
TELL_EVERY_S: Final = 2.0
# A trackable counts as being in its zone for this long after its last fix: beacons of stock
# advertise every second to every ten; after a minute it may have been carried out of hearing.
HEARD_WITHIN_S: Final = 60.0


class Overview(NamedTuple):
    """The pipeline at one moment.

    Attributes:
        taken: Unix seconds.
        summary: of all partitions together.
        partitions: the summary of each.
        records: the gateways' last statuses.
        refusals: (gateway or `?`, reason) -> count.
        backlogs: entries waiting in each partition's readings.
        ingest: whether ingest is alive.
    """

    taken: float
    summary: Summary
    partitions: list[Summary]
    records: dict[str, GatewayRecord]
    refusals: dict[tuple[str, str], int]
    backlogs: list[int]
    ingest: bool


NOTHING: Final = Overview(0.0, Summary(), [], {}, {}, [], ingest=False)


class Watch:
    """Looks at the store.

    Args:
        store: where.
        feed: knows the site and who is where.
        hub: who is told.
        clock: Unix seconds.
    """

    def __init__(self, store: Store, feed: Feed, hub: Hub, clock: Callable[[], float]) -> None:
        self._store: Final = store
        self._feed: Final = feed
        self._hub: Final = hub
        self._clock: Final = clock
        self._rates: Final = Rates()
        self._last = NOTHING
        self._looking: Final = asyncio.Lock()

    async def look(self) -> Overview:
        """The present overview, at most half a second old.

        Raises:
            StoreError: the store cannot be read.
        """
        async with self._looking:
            age = self._clock() - self._last.taken
            if not 0.0 <= age < SHARE_S:
                self._last = await self._read()
                self._rates.look(self._last.summary.gateways, self._last.taken)
        return self._last

    async def _read(self) -> Overview:
        store = self._store
        if not store.partitions:
            await store.refresh()
        partitions = await store.summaries()
        return Overview(
            taken=self._clock(),
            summary=merged(partitions),
            partitions=partitions,
            records=await store.gateway_statuses(),
            refusals=await store.refusals(),
            backlogs=await store.backlogs(),
            ingest=await store.ingest_health() is not None,
        )

    def healths(self, site: Site, overview: Overview) -> list[GatewayHealth]:
        """The health of the site's gateways, in its order."""
        return gateway_healths(
            site.gateways,
            overview.records,
            overview.summary.gateways,
            overview.refusals,
            self._rates,
            self._clock(),
        )

    async def run(self) -> None:
        """Tells the clients every two seconds and when the site changes, until cancelled."""
        loop = asyncio.get_running_loop()
        deadline = loop.time()
        while True:
            self._hub.changed.clear()
            await self._tell()
            if loop.time() >= deadline:
                # A deadline that was missed is not made up for.
                deadline = max(deadline + TELL_EVERY_S, loop.time())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._hub.changed.wait()

    async def _tell(self) -> None:
        try:
            overview = await self.look()
        except StoreError:
            overview = self._last  # ages go on growing, which is what people should see
        positions = self._feed.positions
        if positions is None:
            return
        self._feed.pass_time(overview.summary.tick)
        self._hub.tell("gateways", gateways_text(self.healths(positions.site, overview)))
        self._hub.tell("zones", zones_text(positions.occupancy(HEARD_WITHIN_S)))
        self._hub.tell_news("lost", lost_text(positions.lost()))


def counts_of(overview: Overview, gateway: str) -> GatewayCounts:
    """What was counted of a gateway; zeros when it was never heard."""
    return overview.summary.gateways.get(gateway, GatewayCounts())
