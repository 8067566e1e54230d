"""The engine: batches in, in the stream's order; ticks of fixes out, in event time.

The heart of worker and replay alike, without sockets and clocks. Its promise: what comes out
depends on nothing but the order of what went in. A state taken after any batch, restored
elsewhere and fed what was not yet `done`, goes on as if nothing had happened.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from gateway.readings import Batch
from stream.events import Event, EventKind
from stream.evidence import RSSI_RANGE, SLOT, SLOTS, Readings
from stream.fixes import FIX, NONE, TickFixes
from stream.locator import PLACE, Layout, Locator, LocatorState, carry_over
from stream.partition import partition_of
from stream.seen import Seen
from stream.site import Site
from stream.state import STATE_VERSION, EngineError, State, open_state, pack_state, stored_array
from stream.summary import GatewayCounts, Summary
from stream.tracker import TRACK
from stream.unassigned import Strangers
from stream.watermark import (
    CURRENT,
    GONE,
    STANDINGS,
    TICK_S,
    Watermark,
    last_tick,
    tick_of,
)

# An advert of a window of w seconds was heard w / 2 before its end on average.
_HALF: Final = 0.5


class Step(NamedTuple):
    """What became final.

    Attributes:
        ticks: fixes by tick, in order; ticks without fixes are left out.
        events: in order.
        done: tokens of the batches that need not be fed again.
    """

    ticks: list[TickFixes]
    events: list[Event]
    done: list[str]


class _Held(NamedTuple):
    """A batch of an open tick: its token, and the rows of its beacons."""

    batch: Batch
    token: str
    rows: npt.NDArray[np.int64]


def _key(batch: Batch) -> tuple[str, str, int]:
    """What makes a batch itself and no other."""
    return batch.gateway, batch.boot, batch.seq


_TOTALS: Final = ("unknown", "out_of_range", "fixes")


class Engine:
    """One partition of a site.

    Args:
        site: the document.
        version: its version; rows in fixes refer to it.
        partition: this partition's number.
        partitions: how many there are; trackables of others are left alone.
    """

    def __init__(self, site: Site, version: int, partition: int = 0, partitions: int = 1) -> None:
        self.version = version
        self._partition: Final = partition
        self._partitions: Final = partitions
        self._site_id: Final = site.id
        self._use(site)
        self._locator = Locator(self._layout)
        self._watermark = Watermark(np.zeros(len(site.gateways)))
        self._standing = np.full(len(site.gateways), CURRENT, np.int8)
        self._closed = 0
        self._seen: dict[str, Seen] = {}
        self._counts = {part.id: GatewayCounts() for part in site.gateways}
        self._totals = dict.fromkeys(_TOTALS, 0)
        self._strangers = Strangers()
        self._fixes = np.zeros(len(site.trackables), FIX)
        self._fixed = np.zeros(len(site.trackables))
        # Batches of ticks that are still open, by tick: not part of the state, fed again instead.
        self._open: dict[int, list[_Held]] = {}
        self._held: set[tuple[str, str, int]] = set()
        self._ticks: list[TickFixes] = []
        self._events: list[Event] = []
        self._done: list[str] = []

    def feed(self, batch: Batch, token: str) -> None:
        """Takes one batch; `token` comes back in `Step.done` when it need not be fed again."""
        row = self._layout.gateway_row.get(batch.gateway)
        if row is None:
            self._totals["unknown"] += 1
            self._done.append(token)
            return
        counts = self._counts[batch.gateway]
        key = _key(batch)
        seen = self._seen.setdefault(batch.gateway, Seen())
        if key in self._held or seen.has(batch.boot, batch.seq):
            counts.duplicates += 1
            self._done.append(token)
            return
        counts.t = max(counts.t, batch.t)
        self._watermark.hear(row, batch.t)
        tick = tick_of(batch.t)
        if tick <= self._closed:
            seen.add(batch.boot, batch.seq)
            counts.batches += 1
            counts.readings += len(batch)
            counts.late += 1
            self._done.append(token)
        else:
            # Looked up now and not when the tick closes: then somebody waits for the map.
            self._open.setdefault(tick, []).append(_Held(batch, token, self._rows(batch)))
            self._held.add(key)
        self._advance(last_tick(self._watermark.value()))

    def change_site(self, site: Site, version: int, token: str) -> None:
        """Goes on under a newer version of the site; an older or the same one is left alone."""
        self._done.append(token)
        if version <= self.version:
            return
        self._move(site, version)
        self._events.append(
            Event(f"{site.id}:{self._partition}:site:{version}", "site_changed", self._now, site.id)
        )

    def flush(self) -> None:
        """Closes every open tick: a recording has ended, nothing more will come."""
        if self._open:
            self._advance(max(self._open))

    def take(self) -> Step:
        """What has become final since the last take."""
        step = Step(self._ticks, self._events, self._done)
        self._ticks, self._events, self._done = [], [], []
        return step

    def summary(self) -> Summary:
        """Counts and lists for people and metrics."""
        standings = self._watermark.standings()
        for name, row in self._layout.gateway_row.items():
            counts = self._counts[name]
            counts.standing = STANDINGS[int(standings[row])]
            if name in self._seen:
                counts.boot, counts.seq, counts.missing = self._seen[name].latest
        every = self._counts.values()
        return Summary(
            tick=self._now,
            front=self._watermark.front,
            watermark=self._watermark.value() if self._watermark.front else 0.0,
            site_version=self.version,
            batches=sum(c.batches for c in every),
            readings=sum(c.readings for c in every),
            duplicates=sum(c.duplicates for c in every),
            late=sum(c.late for c in every),
            out_of_range=self._totals["out_of_range"],
            unknown=self._totals["unknown"],
            fixes=self._totals["fixes"],
            gateways=self._counts,
            unassigned=self._strangers.listed(self._watermark.front),
            unassigned_total=len(self._strangers),
        )

    def dump(self) -> bytes:
        """The state: everything but the batches of open ticks, which are not `done` either."""
        state = self._locator.state
        return pack_state(
            State(
                state_version=STATE_VERSION,
                site_version=self.version,
                partition=self._partition,
                partitions=self._partitions,
                closed=self._closed,
                front=self._watermark.front,
                latest=self._watermark.latest.tobytes(),
                standing=self._standing.tobytes(),
                seen={name: seen.dump() for name, seen in self._seen.items()},
                counts=self._counts,
                totals=self._totals,
                strangers=self._strangers.dump(),
                slots=state.slots.tobytes(),
                heard=state.heard.tobytes(),
                tracks=state.tracks.tobytes(),
                places=state.places.tobytes(),
                fixes=self._fixes.tobytes(),
                fixed=self._fixed.tobytes(),
            )
        )

    @classmethod
    def restore(
        cls, blob: bytes, site: Site, version: int, partition: int = 0, partitions: int = 1
    ) -> Engine:
        """The engine as it was at `dump`; `site` must be the version that `stored_version` names.

        Raises:
            EngineError: when the state is of another version, partition or shape.
        """
        state = open_state(blob)
        if (state.site_version, state.partition, state.partitions) != (
            version,
            partition,
            partitions,
        ):
            raise EngineError(
                f"the state is of site version {state.site_version}, partition {state.partition} "
                f"of {state.partitions}; wanted {version}, {partition} of {partitions}"
            )
        engine = cls(site, version, partition, partitions)
        try:
            engine._load(state)
        except ValueError as error:
            raise EngineError(f"the state does not fit its site: {error}") from error
        return engine

    def _load(self, state: State) -> None:
        beacons, trackables = len(self._layout.trackable), len(self._layout.motions.fade_s)
        self._locator = Locator(
            self._layout,
            LocatorState(
                stored_array(state.slots, SLOT, (beacons, SLOTS)),
                stored_array(state.heard, np.dtype("<f8"), (beacons,)),
                stored_array(state.tracks, TRACK, (trackables,)),
                stored_array(state.places, PLACE, (trackables,)),
            ),
        )
        self._watermark = Watermark(
            stored_array(state.latest, np.dtype("<f8"), self._watermark.latest.shape), state.front
        )
        self._standing = stored_array(state.standing, np.dtype("i1"), self._standing.shape)
        self._closed = state.closed
        self._seen = {name: Seen.restore(dumped) for name, dumped in state.seen.items()}
        self._counts = state.counts
        self._totals = state.totals
        self._strangers = Strangers.restore(state.strangers)
        self._fixes = stored_array(state.fixes, FIX, (trackables,))
        self._fixed = stored_array(state.fixed, np.dtype("<f8"), (trackables,))

    @property
    def _now(self) -> float:
        return self._closed * TICK_S

    def _use(self, site: Site) -> None:
        self._site = site
        self._layout = Layout(site)

    def _advance(self, last: int) -> None:
        for tick in sorted(tick for tick in self._open if tick <= last):
            self._closed = tick
            self._close(tick)
        self._closed = max(self._closed, last)

    def _close(self, tick: int) -> None:
        held = self._open.pop(tick)
        # One order, however the gateways' batches were interleaved on their way.
        held.sort(key=lambda each: (each.batch.t, *_key(each.batch)))
        for batch, token, _ in held:
            self._held.discard(_key(batch))
            self._seen.setdefault(batch.gateway, Seen()).add(batch.boot, batch.seq)
            self._done.append(token)
            # The site may have lost the gateway since the batch came.
            if (counts := self._counts.get(batch.gateway)) is None:
                self._totals["unknown"] += 1
                continue
            counts.batches += 1
            counts.readings += len(batch)
        t = tick * TICK_S
        self._watch(t)
        readings = self._columns([each for each in held if each.batch.gateway in self._counts], t)
        fixes = self._locator.locate(readings, t)
        if len(fixes):
            rows = fixes["trackable"]
            self._fixes[rows] = fixes
            self._fixed[rows] = t
            self._totals["fixes"] += len(fixes)
            self._ticks.append(TickFixes(t, self.version, fixes))

    def _rows(self, batch: Batch) -> npt.NDArray[np.int64]:
        """The beacons' rows, -1 for those that belong to no trackable."""
        row = self._layout.beacon_row
        return np.array([row.get(beacon, -1) for beacon in batch.beacons], np.int64)

    def _columns(self, held: list[_Held], t: float) -> Readings:
        rows, rssi, n, gateway, age = [], [], [], [], []
        for batch, _, row in held:
            if not len(batch):
                continue
            level = np.frombuffer(batch.rssi, np.float32).astype(np.float64)
            sane = (level >= RSSI_RANGE[0]) & (level <= RSSI_RANGE[1])
            self._totals["out_of_range"] += int((~sane).sum())
            known = sane & (row >= 0)
            for i in np.flatnonzero(sane & (row < 0)):
                self._hear_stranger(batch, int(i))
            rows.append(row[known])
            rssi.append(level[known])
            n.append(np.frombuffer(batch.n, np.uint16)[known].astype(np.float64))
            gateway.append(
                np.full(len(rows[-1]), self._layout.gateway_row[batch.gateway], np.int64)
            )
            age.append(np.full(len(rows[-1]), max(0.0, t - batch.t + _HALF * batch.window)))
        if not rows:
            nothing = np.zeros(0)
            return Readings(nothing.astype(np.int64), nothing.astype(np.int64), *[nothing] * 3)
        n_all = np.maximum(np.concatenate(n), 1.0)
        return Readings(
            np.concatenate(rows),
            np.concatenate(gateway),
            np.concatenate(rssi),
            n_all,
            np.concatenate(age),
        )

    def _hear_stranger(self, batch: Batch, i: int) -> None:
        beacon = batch.beacons[i]
        if partition_of(beacon, self._partitions) == self._partition:
            self._strangers.hear(beacon, batch.gateway, batch.rssi[i], batch.n[i], batch.t)

    def _watch(self, t: float) -> None:
        """Events for gateways that the watermark stopped or began to wait for."""
        standing = self._watermark.standings()
        changed = np.flatnonzero((standing == CURRENT) != (self._standing == CURRENT))
        # Every partition sees every gateway; one of them tells.
        if len(changed) and self._partition == 0:
            names = list(self._layout.gateway_row)
            for row in changed:
                kind: EventKind = "gateway_heard" if standing[row] == CURRENT else "gateway_silent"
                self._events.append(Event(f"{names[row]}:{kind}:{t:.1f}", kind, t, names[row]))
        self._standing = standing

    def _move(self, site: Site, version: int) -> None:
        """Everything that is kept by row moves to the rows of a new site version, by id."""
        before, old_site, old = self._layout, self._site, self._locator.state
        rows_before = {part.id: row for row, part in enumerate(old_site.trackables)}
        self._use(site)
        after = self._layout
        rows = [rows_before.get(part.id, -1) for part in site.trackables]
        self._locator = Locator(after, carry_over(old, before, after, rows))
        fixes, fixed = np.zeros(len(rows), FIX), np.zeros(len(rows))
        zone = {z.id: row for row, z in enumerate(site.zones)}
        for row, was in enumerate(rows):
            floor_id = old_site.floors[int(self._fixes[was]["floor"])].id if was >= 0 else ""
            if was < 0 or self._fixed[was] == 0.0 or floor_id not in after.floor_row:
                continue
            fixes[row], fixed[row] = self._fixes[was], self._fixed[was]
            fixes[row]["trackable"], fixes[row]["beacon"] = row, 0
            fixes[row]["floor"] = after.floor_row[floor_id]
            old_zone = int(fixes[row]["zone"])
            name = old_site.zones[old_zone].id if old_zone != NONE else ""
            fixes[row]["zone"] = zone.get(name, NONE)
        self._fixes, self._fixed = fixes, fixed
        latest, standing = np.zeros(len(after.gateway_row)), []
        for name, row in after.gateway_row.items():
            was = before.gateway_row.get(name, -1)
            latest[row] = self._watermark.latest[was] if was >= 0 else 0.0
            standing.append(int(self._standing[was]) if was >= 0 else GONE)
        self._watermark = Watermark(latest, self._watermark.front)
        self._standing = np.array(standing, np.int8)
        self._counts = {
            name: self._counts.get(name) or GatewayCounts() for name in after.gateway_row
        }
        self._seen = {name: self._seen[name] for name in after.gateway_row if name in self._seen}
        for beacon in after.beacon_row:
            self._strangers.forget(beacon)
        self._open = {
            tick: [each._replace(rows=self._rows(each.batch)) for each in held]
            for tick, held in self._open.items()
        }
        self.version = version
