"""The world: where every tag of a site is at a time; static ones in slots, others walking."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.radio.crossing import Obstacles, in_ring
from gateway.radio.parameters import RadioParameters, WalkParameters
from gateway.radio.plan import Floats, Ints, Plan, Point, Slot, Trackable, generator
from gateway.radio.roadmap import Roadmap
from gateway.radio.walkers import Stop, Walker, picking_tours, stop_at, strolls

MOVING: Final = frozenset({"picker", "visitor", "cart"})
BODIES: Final = frozenset({"picker", "visitor"})
# Where tours end, by what a zone calls itself; the first kind that a floor has.
_DEPOT_KINDS: Final = ("packing", "shipping", "depot", "receiving")
_TRIES: Final = 200


class World:
    """All tags of a site in columns; a tag is one beacon of one trackable.

    Args:
        plan: the site.
        radio: for the tags' heights.
        walk: how walkers move.
        seed: places what has no slot, and draws all tours.
        start: Unix seconds of the first `move`.

    Attributes:
        beacons: ids, by row.
        kinds: the trackables' kinds, by row.
        moving: rows of tags that move.
        x, y, z: metres, z above the floor; (tags,).
        floor: floor rows, (tags,).
        heading: radians, (tags,).
    """

    def __init__(
        self, plan: Plan, radio: RadioParameters, walk: WalkParameters, seed: int, start: float
    ) -> None:
        self._plan: Final = plan
        self._walk: Final = walk
        self._seed: Final = seed
        self._start: Final = start
        tags = [(row, b) for row, part in enumerate(plan.trackables) for b in part.beacons]
        self.beacons: Final[list[str]] = [beacon for _, beacon in tags]
        owner = np.array([row for row, _ in tags], np.int64)
        self.kinds: Final[list[str]] = [plan.trackables[row].kind for row in owner]
        self.moving: Final[Ints] = np.flatnonzero([kind in MOVING for kind in self.kinds])
        self._obstacles: Final = Obstacles(
            [o.polygon for o in plan.obstacles], [o.floor for o in plan.obstacles]
        )
        self._roadmaps: Final[dict[int, Roadmap]] = {}
        self._demand: Final[dict[int, list[Stop]]] = {}
        places = self._place(radio)
        self.x: Final[Floats] = places[owner, 0]
        self.y: Final[Floats] = places[owner, 1]
        self.z: Final[Floats] = places[owner, 2]
        self.floor: Final[Ints] = places[owner, 3].astype(np.int64)
        self.heading: Final[Floats] = np.zeros(len(tags))
        movers = sorted(set(owner[self.moving].tolist()))
        self._walkers: Final[dict[int, Walker | None]] = {
            row: self._walker(plan.trackables[row], int(places[row, 3])) for row in movers
        }
        self._owner: Final[list[int]] = owner[self.moving].tolist()
        self.move(start)

    def move(self, t: float) -> None:
        """Puts everything where it is at `t`, at most two minutes before the latest asked for."""
        poses = {row: walker.at(t) for row, walker in self._walkers.items() if walker}
        for tag, row in zip(self.moving.tolist(), self._owner, strict=True):
            pose = poses.get(row)
            if pose is not None:
                self.x[tag], self.y[tag], self.heading[tag] = pose

    def roadmap(self, floor: int) -> Roadmap:
        """The lanes of a floor (row)."""
        if floor not in self._roadmaps:
            self._roadmaps[floor] = Roadmap(
                self._plan.floors[floor].outline,
                [o.polygon for o in self._plan.obstacles if o.floor == floor],
                self._walk.clearance_m,
            )
        return self._roadmaps[floor]

    # -- Standing still ----------------------------------------------------------------------

    def _place(self, radio: RadioParameters) -> Floats:
        """x, y, z and floor row of each trackable at first."""
        rng = generator(self._seed, "places")
        plan = self._plan
        by_sku: dict[str, list[Slot]] = defaultdict(list)
        for slot in plan.slots:
            if slot.sku is not None:
                by_sku[slot.sku].append(slot)
        free = [plan.slots[i] for i in rng.permutation(len(plan.slots)) if not plan.slots[i].sku]
        taken: dict[str, int] = defaultdict(int)
        walking = 0
        places = np.zeros((len(plan.trackables), 4))
        for row, part in enumerate(plan.trackables):
            low, high = radio.item_height_m
            height = float(rng.uniform(low, high))
            if part.kind in MOVING:
                floor = walking % len(plan.floors)
                walking += 1
                x, y = self._somewhere(floor, rng)
                places[row] = x, y, radio.person_height_m, floor
                continue
            home: Slot | None = None
            if part.sku is not None and (own := by_sku.get(part.sku)):
                home = own[taken[part.sku] % len(own)]
                taken[part.sku] += 1
            elif free:
                home = free.pop()
            if home is not None:
                places[row] = home.x, home.y, height if home.z is None else home.z, home.floor
            else:
                floor = int(rng.integers(len(plan.floors)))
                places[row] = *self._somewhere(floor, rng), height, floor
        return places

    def _somewhere(self, floor: int, rng: np.random.Generator) -> Point:
        """A random place on a floor, not within an obstacle where that can be had."""
        outline = np.array(self._plan.floors[floor].outline)
        spots = rng.uniform(outline.min(axis=0), outline.max(axis=0), (_TRIES, 2))
        x, y = spots[:, 0], spots[:, 1]
        good: npt.NDArray[np.bool_] = in_ring(x, y, outline)
        good &= ~self._obstacles.holds(x, y, np.full(_TRIES, floor))
        row = int(np.argmax(good))
        return float(x[row]), float(y[row])

    # -- Walking -----------------------------------------------------------------------------

    def _walker(self, part: Trackable, floor: int) -> Walker | None:
        roadmap = self.roadmap(floor)
        if not len(roadmap.nodes):
            return None
        rng = generator(self._seed, "walker", part.id)
        depot = self._depot(floor)
        faces = self._faces(floor)
        if part.kind == "picker" and faces:
            visits = picking_tours(roadmap, depot, faces, self._walk, rng)
        else:
            visits = strolls(roadmap, self._walk, rng)
            depot = next(visits).stop
        return Walker(roadmap, depot, visits, self._walk, rng, self._start)

    def _depot(self, floor: int) -> Stop:
        zones = [zone for zone in self._plan.zones if zone.floor == floor]
        for kind in _DEPOT_KINDS:
            for zone in zones:
                if zone.kind == kind:
                    return stop_at(self.roadmap(floor), _middle(zone.polygon))
        return stop_at(self.roadmap(floor), _middle(self._plan.floors[floor].outline))

    def _faces(self, floor: int) -> list[Stop]:
        """The floor's stops for picking, the most demanded first."""
        if floor not in self._demand:
            faces = sorted({(s.x, s.y) for s in self._plan.slots if s.floor == floor})
            order = generator(self._seed, "demand", floor).permutation(len(faces))
            self._demand[floor] = [stop_at(self.roadmap(floor), faces[i]) for i in order]
        return self._demand[floor]


def _middle(ring: tuple[Point, ...]) -> Point:
    return sum(x for x, _ in ring) / len(ring), sum(y for _, y in ring) / len(ring)
