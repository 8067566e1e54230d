"""The engine: batches in, in the stream's order; ticks of fixes out, in event time.

The heart of worker and replay alike, without sockets and clocks. Its promise: what comes out
depends on nothing but the order of what went in. A state taken after any batch, restored
elsewhere and fed what was not yet `done`, goes on as if nothing had happened.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from gateway.readings import Batch
from stream.calibration import Calibration
from stream.calibrator import Calibrator
from stream.calibrator import carry_over as carry_calibrator
from stream.events import Event, EventKind, LastPlace
from stream.evidence import SLOT, SLOTS
from stream.fixes import FIX, TickFixes
from stream.gateway_watch import GatewayWatch
from stream.grid import WINDOW
from stream.layout import Layout
from stream.locator import Locator
from stream.motion import MODES
from stream.partition import partition_of
from stream.seen import Seen
from stream.site import Site
from stream.site_change import LastFixes, moved_fixes, moved_stamps, rows_before
from stream.state import STATE_VERSION, EngineError, State, open_state, pack_state, stored_array
from stream.summary import GatewayCounts, Summary
from stream.tick_readings import beacon_rows, rows_of, sort_readings
from stream.track import TRACK, LocatorState, carry_over
from stream.unassigned import Strangers
from stream.watermark import (
    CURRENT,
    STANDINGS,
    TICK_S,
    Watermark,
    last_tick,
    tick_of,
)


class Step(NamedTuple):
    """What became final.

    Attributes:
        ticks: fixes by tick, in order; ticks without fixes are left out.
        events: in order.
        done: tokens of the batches that need not be fed again.
        calibrations: fitted by the engine itself and in use from then on, in order.
    """

    ticks: list[TickFixes]
    events: list[Event]
    done: list[str]
    calibrations: list[Calibration]


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
        calibration: the site's radio model; the prior by default.
        calibration_number: the site's version of it, 0 for the prior.
    """

    def __init__(
        self,
        site: Site,
        version: int,
        partition: int = 0,
        partitions: int = 1,
        calibration: Calibration | None = None,
        calibration_number: int = 0,
    ) -> None:
        self.version = version
        self.calibration_number = calibration_number
        self._partition: Final = partition
        self._partitions: Final = partitions
        self._site_id: Final = site.id
        self._use(site)
        self._locator = Locator(self._layout, calibration=calibration)
        self._calibrator = Calibrator(self._layout)
        self._watch = GatewayWatch(self._layout, tells=partition == 0)
        # What the engine fitted itself travels in its state; the site's is in the store.
        self._own: Calibration | None = None
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
        self._calibrations: list[Calibration] = []

    @property
    def calibration(self) -> Calibration:
        """The radio model in use."""
        return self._locator.calibration

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
            self._open.setdefault(tick, []).append(_Held(batch, token, rows_of(batch, self._row)))
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

    def change_calibration(self, calibration: Calibration, number: int, token: str) -> None:
        """Goes on under a newer calibration of the site; an older or the same is left alone."""
        self._done.append(token)
        if number <= self.calibration_number:
            return
        self.calibration_number = number
        self._own = None
        self._calibrate(calibration)
        # What was being fitted started from a model that is gone.
        self._calibrator = Calibrator(self._layout)
        self._watch.forget()
        name = f"{self._site_id}:{self._partition}:calibration:{number}"
        self._events.append(Event(name, "calibration_changed", self._now, self._site_id))

    def fit_now(self) -> Calibration | None:
        """A fit to what was gathered so far, not yet in use; None when that is too little."""
        return self._calibrator.fit_now(self._locator, self._watermark.online(self._now))

    def flush(self) -> None:
        """Closes every open tick: a recording has ended, nothing more will come."""
        if self._open:
            self._advance(max(self._open))

    def take(self) -> Step:
        """What has become final since the last take."""
        step = Step(self._ticks, self._events, self._done, self._calibrations)
        self._ticks, self._events, self._done, self._calibrations = [], [], [], []
        return step

    def summary(self) -> Summary:
        """Counts and lists for people and metrics."""
        standings = self._watermark.standings()
        for name, row in self._layout.gateway_row.items():
            counts = self._counts[name]
            counts.standing = STANDINGS[int(standings[row])]
            if name in self._seen:
                counts.boot, counts.seq, counts.missing = self._seen[name].latest
        self._watch.fill(self._counts, self.calibration)
        every = self._counts.values()
        snapshots, fits, adopted = self._calibrator.counts
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
            calibration=self.calibration_number,
            calibration_origin=self.calibration.origin,
            snapshots=snapshots,
            fits=fits,
            adopted=adopted,
            lost=int(self._locator.tracks["lost"].sum()),
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
                calibration_number=self.calibration_number,
                own=self._own,
                calibrator=self._calibrator.dump(),
                watch=self._watch.dump(),
                slots=state.slots.tobytes(),
                heard=state.heard.tobytes(),
                tracks=state.tracks.tobytes(),
                walkers=state.walkers.astype("<u4").tobytes(),
                chances=state.chances.tobytes(),
                learnt=state.learnt.tobytes(),
                fixes=self._fixes.tobytes(),
                fixed=self._fixed.tobytes(),
            )
        )

    @classmethod
    def restore(
        cls,
        blob: bytes,
        site: Site,
        version: int,
        partition: int = 0,
        partitions: int = 1,
        calibration: Calibration | None = None,
    ) -> Self:
        """The engine as it was at `dump`.

        `site` must be the version that `stored_version` names, and `calibration` the site's that
        `stored_calibration` names, None for the prior.

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
        engine = cls(site, version, partition, partitions, calibration, state.calibration_number)
        try:
            engine._load(state)
        except ValueError as error:
            raise EngineError(f"the state does not fit its site: {error}") from error
        return engine

    def _load(self, state: State) -> None:
        beacons, trackables = len(self._layout.trackable), len(self._layout.motions.rests)
        walkers = stored_array(state.walkers, np.dtype("<u4"), (-1,)).astype(np.int64)
        filters = (len(walkers), MODES, WINDOW, WINDOW)
        self._own = state.own
        self._locator = Locator(
            self._layout,
            LocatorState(
                stored_array(state.slots, SLOT, (beacons, SLOTS)),
                stored_array(state.heard, np.dtype("<f8"), (beacons,)),
                stored_array(state.tracks, TRACK, (trackables,)),
                walkers,
                stored_array(state.chances, np.dtype("u1"), filters),
                stored_array(state.learnt, np.dtype("<f8"), self._locator.learnt.sums.shape),
            ),
            self._own or self._locator.calibration,
        )
        self._calibrator = Calibrator(self._layout, state.calibrator)
        self._watch = GatewayWatch(self._layout, tells=self._partition == 0, state=state.watch)
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

    def _use(self, site: Site, before: Layout | None = None) -> None:
        self._site = site
        self._layout = Layout(site, before)
        self._row = beacon_rows(self._layout)

    def _calibrate(self, calibration: Calibration) -> None:
        """Goes on with another radio model; what is known of places stays."""
        self._locator = Locator(self._layout, self._locator.state, calibration)

    def _advance(self, last: int) -> None:
        before = self._closed
        for tick in sorted(tick for tick in self._open if tick <= last):
            self._closed = tick
            self._close(tick)
        self._closed = max(self._closed, last)
        if self._closed > before:
            self._tell_lost()

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
        self._tell_silent(t)
        mine = ((each.batch, each.rows) for each in held if each.batch.gateway in self._counts)
        readings, own, strangers, out_of_range = sort_readings(mine, self._layout.gateway_row, t)
        self._totals["out_of_range"] += out_of_range
        for batch, i in strangers:
            self._hear_stranger(batch, i)
        self._watch.hear(own.gateway, own.beacon, own.rssi, own.n, t)
        online = self._watermark.online(t)
        fixes = self._locator.locate(readings, t, online)
        self._events += self._watch.follow(
            self._locator, self._calibrator, self._counts, self._watermark.latest, online, t
        )
        if len(fixes):
            rows = fixes["trackable"]
            self._fixes[rows] = fixes
            self._fixed[rows] = t
            self._totals["fixes"] += len(fixes)
            self._ticks.append(TickFixes(t, self.version, fixes))
            for row in self._locator.newly_found(rows):
                self._tell(int(row), "trackable_found", t)
            fitted = self._calibrator.follow(self._locator, rows, t, online)
            if fitted is not None:
                self._own = fitted
                self._calibrate(fitted)
                self._calibrations.append(fitted)

    def _hear_stranger(self, batch: Batch, i: int) -> None:
        beacon = batch.beacons[i]
        if partition_of(beacon, self._partitions) == self._partition:
            self._strangers.hear(beacon, batch.gateway, batch.rssi[i], batch.n[i], batch.t)

    def _tell_silent(self, t: float) -> None:
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

    def _tell_lost(self) -> None:
        """Events for trackables that have gone silent."""
        for row in self._locator.newly_lost(self._now):
            self._tell(int(row), "trackable_lost", self._now)

    def _tell(self, row: int, kind: EventKind, t: float) -> None:
        """An event of a trackable, with its last place and the time it is from."""
        fix, name = self._fixes[row], self._site.trackables[row].id
        place = LastPlace(
            float(self._fixed[row]),
            self._site.floors[int(fix["floor"])].id,
            round(float(fix["x"]), 3),
            round(float(fix["y"]), 3),
        )
        self._events.append(Event(f"{name}:{kind}:{t:.1f}", kind, t, name, place))

    def _move(self, site: Site, version: int) -> None:
        """Everything that is kept by row moves to the rows of a new site version, by id."""
        before, old = self._layout, self._locator.state
        self._use(site, before)
        after = self._layout
        rows = rows_before(before, after)
        state = carry_over(old, before, after, rows)
        self._locator = Locator(after, state, self._locator.calibration)
        kept = carry_calibrator(self._calibrator.dump(), before, after, rows)
        self._calibrator = Calibrator(after, kept)
        self._watch = self._watch.carry_over(before.site, after)
        last = LastFixes(self._fixes, self._fixed)
        self._fixes, self._fixed = moved_fixes(last, before, after, rows)
        latest, self._standing = moved_stamps(self._watermark.latest, self._standing, before, after)
        self._watermark = Watermark(latest, self._watermark.front)
        self._counts = {
            name: self._counts.get(name) or GatewayCounts() for name in after.gateway_row
        }
        self._seen = {name: self._seen[name] for name in after.gateway_row if name in self._seen}
        for beacon in self._row:
            self._strangers.forget(beacon)
        self._open = {
            tick: [each._replace(rows=rows_of(each.batch, self._row)) for each in held]
            for tick, held in self._open.items()
        }
        self.version = version
