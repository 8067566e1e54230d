"""The feed: keeps the live table up to date from the store, tick by tick, and tells the hub.

Its rule: a tick is applied once. Ids rise with time, so what is not above the last id is old; and
between applying a tick and noting its id nothing waits, so no failure can come in between. The
store may vanish, return, or return as another one: the feed goes on, catches up or begins anew.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import msgspec

from dashboard.live import Hub
from dashboard.lost import stored_gaps
from dashboard.positions import Positions
from stream.fixes import TickFixes
from stream.site import Site
from stream.state import latest
from stream.store import Store, StoreDown, StoreError

_log: Final = logging.getLogger("balise.dashboard")

# How long one read of the store waits for ticks; also how soon an edit made elsewhere is seen.
BLOCK_MS: Final = 1_000
# Tracks shown by a freshly started dashboard reach back this far.
HISTORY_S: Final = 120.0
# History is read in pieces, so that a large site's is never in memory at once.
HISTORY_STEP_S: Final = 10.0
# A feed further behind than this starts from the state instead of reading every tick; the store
# keeps ticks for five minutes.
MAX_CATCH_UP_S: Final = 120.0
# A store that was killed may have lost its last second; its worker makes those ticks again and
# they are skipped. One that lies further back is another store.
MAX_SETBACK_S: Final = 60.0
# After this long without a fix the clients are told that time passes.
QUIET_S: Final = 1.0
RETRY_FIRST_S: Final = 0.1
RETRY_MOST_S: Final = 2.0


class Feed:
    """Follows one site's partitions.

    Args:
        store: where from.
        hub: who is told.

    Attributes:
        positions: the live table, None until the site is there.
        trouble: why the store cannot be followed now, empty when it can.
        skipped: ticks that could not be read because their site version is gone.
    """

    def __init__(self, store: Store, hub: Hub) -> None:
        self.positions: Positions | None = None
        self.trouble = "the dashboard is starting"
        self.skipped = 0
        self._store: Final = store
        self._hub: Final = hub
        self._after: dict[int, str] = {}

    async def run(self) -> None:
        """Follows until cancelled."""
        delay = RETRY_FIRST_S
        while True:
            try:
                await self._start()
                self.trouble = ""
                delay = RETRY_FIRST_S
                await self._tail()
            except Exception as error:  # noqa: BLE001  # nothing in the store may end the process
                if not self.trouble or delay == RETRY_FIRST_S:
                    _log.warning("the live map waits: %s", error)
                self.trouble = str(error) or type(error).__name__
                if not isinstance(error, (StoreError, OSError)):
                    # Something unreadable stands in the stream: begin anew behind it.
                    self._after.clear()
            await asyncio.sleep(delay)
            delay = min(2.0 * delay, RETRY_MOST_S)

    def adopt(self, site: Site, version: int) -> None:
        """Takes an edit made through this dashboard, before its announcement comes around."""
        if self.positions is not None and version > self.positions.version:
            self.positions.change_site(site, version)
            self._hub.show(self.positions)

    def pass_time(self, tick: float) -> None:
        """Tells that ticks close although nothing is located: the workers leave such ticks out."""
        known = self.positions
        if known is not None and not self.trouble and tick >= known.tick + QUIET_S:
            self._hub.publish(known.pass_time(tick))

    async def _start(self) -> None:
        partitions = await self._store.refresh()
        version, site = await self._store.read_site()
        known = self.positions
        if known is not None and (
            version < known.version or (version == known.version and site != known.site)
        ):
            known = None  # another store, or one restored from long ago
        snapshots = [await self._store.snapshot(p) for p in range(partitions)]
        for p, snapshot in enumerate(snapshots):
            setback = _seconds(self._after.get(p, "0-0")) - _seconds(snapshot.last_fix_id)
            if setback > MAX_SETBACK_S or p not in self._after:
                known = None
        fresh = known is None
        positions = Positions(site, version) if known is None else known
        after = {} if known is None else dict(self._after)
        if version > positions.version:
            positions.change_site(site, version)
            self._hub.show(positions)
        for p, snapshot in enumerate(snapshots):
            behind = _seconds(snapshot.last_fix_id) - _seconds(after.get(p, "0-0"))
            if p in after and behind <= MAX_CATCH_UP_S:
                continue
            await self._recall(positions, p, _seconds(snapshot.last_fix_id))
            if snapshot.state is not None:
                state = latest(snapshot.state)
                if await self._learn(positions, state.version):
                    gaps = stored_gaps(snapshot.state, state)
                    positions.merge(state.fixes, state.t, state.version, state.tick, gaps)
            after[p] = snapshot.last_fix_id
            fresh = True
        self.positions, self._after = positions, after
        if fresh:
            self._hub.show(positions)

    async def _recall(self, positions: Positions, p: int, end: float) -> None:
        """Fills the tracks from the ticks that the store still has, up to the snapshot's last."""
        start = end - HISTORY_S
        while 0.0 < start < end:
            stop = min(start + HISTORY_STEP_S, end)
            try:
                ticks = await self._store.fixes_between(p, start, stop)
            except msgspec.MsgspecError as error:
                _log.warning("a stretch of the tracks cannot be read: %s", error)
                ticks = []
            for tick in ticks:
                if await self._learn(positions, tick.version):
                    positions.apply(tick)
            start = stop

    async def _tail(self) -> None:
        if self.positions is None:
            raise RuntimeError("the feed is followed before it was started")
        while True:
            for p, id_, tick in await self._store.read_fixes(self._after, BLOCK_MS):
                await self._take(self.positions, p, id_, tick)
            if await self._store.site_version() != self.positions.version:
                version, site = await self._store.read_site()
                if version < self.positions.version:
                    raise StoreError(
                        f"the site went back from version {self.positions.version} to {version}"
                    )
                self.adopt(site, version)

    async def _take(self, positions: Positions, p: int, id_: str, tick: TickFixes) -> None:
        readable = await self._learn(positions, tick.version)
        if _order(id_) <= _order(self._after[p]):
            return
        # From here to the end nothing waits: applied, noted and told, or none of it.
        self._after[p] = id_
        if readable:
            self._hub.publish(positions.apply(tick))
        else:
            self.skipped += 1

    async def _learn(self, positions: Positions, version: int) -> bool:
        """Makes ticks of a version readable; False when the store no longer has the version."""
        if positions.knows(version):
            return True
        try:
            _, site = await self._store.read_site(version)
        except StoreDown:
            raise
        except StoreError as error:
            _log.warning("ticks are skipped: %s", error)
            return False
        if version > positions.version:
            if positions is self.positions:
                self.adopt(site, version)
            else:
                positions.change_site(site, version)
        else:
            positions.learn(site, version)
        return True


def _order(id_: str) -> tuple[int, int]:
    milliseconds, _, sequence = id_.partition("-")
    return int(milliseconds), int(sequence or 0)


def _seconds(id_: str) -> float:
    return _order(id_)[0] / 1_000.0
