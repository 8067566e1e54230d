"""From a tick's readings to its fixes: evidence, solver, floor, motion filter, zones.

Deterministic, without sockets and clocks: the same readings in the same ticks give the same
fixes. One numpy batch per tick, so the cost per beacon does not depend on how many there are.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from stream.evidence import EMPTY, Evidence, Floats, Ints, Readings
from stream.fixes import NONE, Fixes, empty
from stream.geometry import Areas
from stream.site import Site
from stream.solver import solve
from stream.tracker import TRACK, Motions, Tracks, advance, error_sd

# The radius that holds 68 % of a round normal error is 1.515 standard deviations
# (sqrt(-2 ln 0.32)).
R68: Final = 1.515
# A gateway without a height hangs above the tags, as most do.
GATEWAY_HEIGHT_M: Final = 2.5
# What a gateway that has no neighbour is taken to stand for: the spacing that is recommended.
LONE_SPACING_M: Final = 10.0
# Another floor must be louder by this, this many ticks in a row, before the floor changes.
FLOOR_GAIN_DB: Final = 3.0
FLOOR_TICKS: Final = 4
# Loudest gateways that speak for a floor, and what a missing one is taken for.
FLOOR_VOICES: Final = 3
UNHEARD_DBM: Final = -100.0

PLACE: Final = np.dtype([("floor", "<i2"), ("other", "<i2"), ("beacon", "<i2")])
"""Per trackable: its floor (-1 before the first fix), ticks another was louder, telling beacon."""


class LocatorState(NamedTuple):
    """What the locator remembers; arrays by beacon row and by trackable row."""

    slots: npt.NDArray[np.void]
    heard: Floats
    tracks: Tracks
    places: npt.NDArray[np.void]


class Layout:
    """A site as the locator's columns: rows of beacons, trackables, gateways, floors, zones."""

    def __init__(self, site: Site) -> None:
        self.floor_row: Final = {floor.id: row for row, floor in enumerate(site.floors)}
        floor_row = self.floor_row
        self.beacon_row: Final[dict[str, int]] = {}
        trackable: list[int] = []
        place: list[int] = []
        for row, part in enumerate(site.trackables):
            for i, beacon in enumerate(part.beacons):
                self.beacon_row[beacon] = len(trackable)
                trackable.append(row)
                place.append(i)
        self.trackable: Final[Ints] = np.array(trackable, np.int64)
        self.beacon_place: Final[Ints] = np.array(place, np.int64)
        self.motions: Final = Motions.of([part.kind for part in site.trackables])
        self.gateway_row: Final = {part.id: row for row, part in enumerate(site.gateways)}
        self.gateway_place: Final[Floats] = np.array(
            [[*part.position, GATEWAY_HEIGHT_M][:3] for part in site.gateways], np.float64
        ).reshape(-1, 3)
        self.gateway_floor: Final[Ints] = np.array(
            [floor_row[part.floor] for part in site.gateways], np.int64
        )
        self.spacing_m: Final = _spacing(self.gateway_place, self.gateway_floor)
        self.floors: Final = len(site.floors)
        self.outlines: Final = [shapely.Polygon(floor.outline) for floor in site.floors]
        for outline in self.outlines:
            shapely.prepare(outline)
        self.zones: Final = Areas(
            [zone.polygon for zone in site.zones], [floor_row[zone.floor] for zone in site.zones]
        )

    def confine(self, x: Floats, y: Floats, floor: Ints) -> tuple[Floats, Floats]:
        """The points, those outside their floor's outline moved to its nearest edge."""
        x, y = x.copy(), y.copy()
        for row, outline in enumerate(self.outlines):
            here = np.flatnonzero(floor == row)
            out = here[~shapely.intersects_xy(outline, x[here], y[here])]
            if len(out):
                edge = outline.exterior
                along = shapely.line_locate_point(edge, shapely.points(x[out], y[out]))
                nearest = shapely.get_coordinates(shapely.line_interpolate_point(edge, along))
                x[out], y[out] = nearest[:, 0], nearest[:, 1]
        return x, y


class Locator:
    """Locates a site's trackables tick by tick."""

    def __init__(self, layout: Layout, state: LocatorState | None = None) -> None:
        self._layout: Final = layout
        fade = layout.motions.fade_s[layout.trackable]
        count = len(layout.motions.fade_s)
        if state is None:
            self._evidence = Evidence.empty(fade)
            self._tracks = np.zeros(count, TRACK)
            self._places = np.zeros(count, PLACE)
            self._places["floor"] = -1
        else:
            self._evidence = Evidence(state.slots, state.heard, fade)
            self._tracks, self._places = state.tracks, state.places

    @property
    def state(self) -> LocatorState:
        """The live arrays (not copies)."""
        return LocatorState(self._evidence.slots, self._evidence.t, self._tracks, self._places)

    def locate(self, readings: Readings, t: float) -> Fixes:
        """Takes a tick's readings and gives a fix for every trackable they touch, by row."""
        if not len(readings.beacon):
            return empty()
        layout = self._layout
        beacons = self._evidence.update(readings, t)
        slots = self._evidence.slots[beacons]
        gateway = slots["gateway"].astype(np.int64)
        heard = gateway != EMPTY
        # A beacon whose every reading is too weak a memory keeps its last place.
        kept = heard.any(axis=1)
        beacons, slots, gateway, heard = beacons[kept], slots[kept], gateway[kept], heard[kept]
        rssi, n = slots["rssi"].astype(np.float64), slots["n"].astype(np.float64)
        owner = layout.trackable[beacons]
        trackables, first, member = np.unique(owner, return_index=True, return_inverse=True)
        self._choose_floors(trackables, first, gateway, rssi, heard)
        if layout.floors > 1:
            same = heard & (layout.gateway_floor[gateway] == self._places["floor"][owner][:, None])
            heard = np.where(same.any(axis=1)[:, None], same, heard)
        solved = solve(layout.gateway_place[gateway], rssi, n, heard, layout.spacing_m)
        # The age of the evidence that made the place: loud gateways made most of it.
        loudest = np.where(heard, rssi, -np.inf).max(axis=1, keepdims=True)
        voice = np.where(heard, n * 10.0 ** ((rssi - loudest) / 20.0), 0.0)
        age = (voice * slots["age"]).sum(axis=1) / voice.sum(axis=1)

        # Several beacons on one trackable: the mean of their places by precision.
        precision = 1.0 / solved.variance
        total = np.bincount(member, precision)
        z = np.stack(
            [np.bincount(member, precision * v) / total for v in (solved.x, solved.y)], axis=1
        )
        age = np.bincount(member, precision * age) / total
        telling = np.lexsort((beacons, -precision, member))
        telling = telling[np.unique(member[telling], return_index=True)[1]]
        self._places["beacon"][trackables] = layout.beacon_place[beacons[telling]]
        z[:, 0], z[:, 1] = layout.confine(z[:, 0], z[:, 1], self._places["floor"][trackables])
        advance(self._tracks, trackables, layout.motions, t, z, 1.0 / total, age)
        return self.fixes(trackables)

    def fixes(self, trackables: Ints) -> Fixes:
        """The present fixes of the rows; they must have been located."""
        track, place = self._tracks[trackables], self._places[trackables]
        fixes = empty(len(trackables))
        sd = error_sd(track)
        floor = place["floor"].astype(np.int64)
        x, y = self._layout.confine(track["x"], track["y"], floor)
        zone = self._layout.zones.locate(x, y, floor)
        fixes["trackable"], fixes["beacon"] = trackables, place["beacon"]
        fixes["floor"], fixes["x"], fixes["y"] = floor, x, y
        fixes["accuracy"] = R68 * sd
        fixes["speed"] = np.hypot(track["vx"], track["vy"])
        fixes["heading"] = np.arctan2(track["vy"], track["vx"])
        fixes["zone"] = np.where(zone < 0, NONE, zone)
        fixes["zone_probability"] = self._layout.zones.probability(zone, x, y, sd)
        return fixes

    def _choose_floors(
        self,
        trackables: Ints,
        first: Ints,
        gateway: Ints,
        rssi: Floats,
        heard: npt.NDArray[np.bool_],
    ) -> None:
        """The loudest floor by a trackable's first beacon; changed when another stays louder."""
        places = self._places
        floor = places["floor"][trackables].astype(np.int64)
        if self._layout.floors == 1:
            places["floor"][trackables] = 0
            return
        level = np.empty((len(trackables), self._layout.floors))
        of_slot = np.where(heard, self._layout.gateway_floor[gateway], -1)[first]
        for row in range(self._layout.floors):
            loud = np.sort(np.where(of_slot == row, rssi[first], UNHEARD_DBM), axis=1)
            level[:, row] = loud[:, -FLOOR_VOICES:].mean(axis=1)
        best = level.argmax(axis=1)
        each = np.arange(len(trackables))
        now = np.where(floor < 0, best, floor)
        louder = level[each, best] > level[each, now] + FLOOR_GAIN_DB
        other = np.where(louder, places["other"][trackables] + 1, 0)
        change = other >= FLOOR_TICKS
        places["floor"][trackables] = np.where(change, best, now)
        places["other"][trackables] = np.where(change, 0, other)


def _spacing(place: Floats, floor: Ints) -> float:
    """Median distance from a gateway to the nearest of its floor, in metres."""
    nearest = []
    for row in range(len(place)):
        others = (floor == floor[row]) & (np.arange(len(place)) != row)
        if others.any():
            away = place[others, :2] - place[row, :2]
            nearest.append(float(np.hypot(away[:, 0], away[:, 1]).min()))
    return float(np.median(nearest)) if nearest else LONE_SPACING_M


def blank_state(layout: Layout) -> LocatorState:
    """The state of a locator that has heard nothing."""
    return Locator(layout).state


def carry_over(old: LocatorState, before: Layout, after: Layout, rows: list[int]) -> LocatorState:
    """The state under a new layout: what still exists keeps its place, what is new starts blank.

    Args:
        old: the state under `before`.
        before: the old layout.
        after: the new layout.
        rows: for each new trackable row its old row, or -1.
    """
    new = blank_state(after)
    floor = {was: after.floor_row.get(name, EMPTY) for name, was in before.floor_row.items()}
    for row, was in enumerate(rows):
        at = floor.get(int(old.places[was]["floor"]), EMPTY) if was >= 0 else EMPTY
        if at != EMPTY:
            new.tracks[row] = old.tracks[was]
            new.places[row] = old.places[was]
            new.places[row]["floor"] = at
            new.places[row]["beacon"] = 0
    gateway = np.full(len(before.gateway_row) + 1, EMPTY, np.int64)
    for name, was in before.gateway_row.items():
        gateway[was] = after.gateway_row.get(name, EMPTY)
    for beacon, row in after.beacon_row.items():
        was = before.beacon_row.get(beacon, -1)
        if was >= 0:
            new.slots[row] = old.slots[was]
            # The spare last entry maps EMPTY (-1) to itself.
            new.slots[row]["gateway"] = gateway[old.slots[was]["gateway"].astype(np.int64)]
            new.heard[row] = old.heard[was]
    new.slots["n"][new.slots["gateway"] == EMPTY] = 0.0
    return new
