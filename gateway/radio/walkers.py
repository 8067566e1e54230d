"""Walkers: where a person or cart is at any time, as a timetable made ahead, tour by tour.

A timetable depends on the site and the seed only, never on when or how often it is asked.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from gateway.radio.parameters import WalkParameters
from gateway.radio.plan import Point
from gateway.radio.roadmap import Roadmap

# Seconds of the past that stay askable; the rest of a timetable is forgotten.
MEMORY_S: Final = 120.0
# Two wave lengths of the sway, in metres walked; their sum never repeats on a tour.
_SWAY_WAVES_M: Final = (38.0, 13.0)
# Walks have begun up to this long before the start, so that not all start at the depot.
_WARM_UP_S: Final = 600.0


class Stop(NamedTuple):
    """A place to stand: on a lane's edge between two nodes, looking at a face."""

    a: int
    b: int
    at: Point
    face: Point


class Visit(NamedTuple):
    """Where to go next, and how long to stay."""

    stop: Stop
    seconds: float


class Pose(NamedTuple):
    """Where a walker is: metres, and the heading in radians from the x axis."""

    x: float
    y: float
    heading: float


def stop_at(roadmap: Roadmap, face: Point) -> Stop:
    """The place on the lanes from which a face is reached."""
    return Stop(*roadmap.stop(*face), face)


def way(roadmap: Roadmap, start: Stop, end: Stop) -> list[Point]:
    """The shortest way along the lanes between two stops, both included."""
    _, first, last = _ends(roadmap, start, end)
    return [start.at, *(roadmap.path(first, last) if first >= 0 else ()), end.at]


def way_length(roadmap: Roadmap, start: Stop, end: Stop) -> float:
    """Metres of `way`."""
    return _ends(roadmap, start, end)[0]


def _ends(roadmap: Roadmap, start: Stop, end: Stop) -> tuple[float, int, int]:
    """Metres of the shortest way, its first and its last node; -1 within one edge."""
    if {start.a, start.b} == {end.a, end.b}:
        return math.dist(start.at, end.at), -1, -1
    return min(
        (
            math.dist(start.at, roadmap.nodes[one])
            + roadmap.distance(one, other)
            + math.dist(roadmap.nodes[other], end.at),
            one,
            other,
        )
        for one in (start.a, start.b)
        for other in (end.a, end.b)
    )


def picking_tours(
    roadmap: Roadmap,
    depot: Stop,
    faces: Sequence[Stop],
    parameters: WalkParameters,
    rng: np.random.Generator,
) -> Iterator[Visit]:
    """Endless picking tours: from the depot to demanded faces, nearest first, and back to pack.

    Args:
        roadmap: of the floor.
        depot: where tours end.
        faces: stops by demand, the most demanded first.
        parameters: of walking.
        rng: the walker's own.
    """
    demand = np.arange(1, len(faces) + 1, dtype=float) ** -parameters.popularity
    demand /= demand.sum()
    while True:
        count = min(int(rng.integers(parameters.lines[0], parameters.lines[1] + 1)), len(faces))
        left = [faces[i] for i in rng.choice(len(faces), count, replace=False, p=demand)]
        here = depot
        while left:
            metres = [way_length(roadmap, here, stop) for stop in left]
            here = left.pop(metres.index(min(metres)))
            pick = rng.lognormal(math.log(parameters.pick_median_s), parameters.pick_sigma)
            yield Visit(here, float(pick))
        pack = rng.lognormal(math.log(parameters.pack_median_s), parameters.pack_sigma)
        yield Visit(depot, float(pack))


def strolls(
    roadmap: Roadmap, parameters: WalkParameters, rng: np.random.Generator
) -> Iterator[Visit]:
    """Endless walks from one random place to another, with a look around at each."""
    while True:
        x, y = roadmap.nodes[int(rng.integers(len(roadmap.nodes)))]
        turn = rng.uniform(0.0, 2.0 * math.pi)
        face = (float(x + math.cos(turn)), float(y + math.sin(turn)))
        look = rng.lognormal(math.log(parameters.look_median_s), parameters.look_sigma)
        yield Visit(stop_at(roadmap, (float(x), float(y)))._replace(face=face), float(look))


class Walker:
    """One walker's timetable.

    Args:
        roadmap: of the walker's floor.
        home: where the first walk begins.
        visits: where to go, without end.
        parameters: of walking.
        rng: the walker's own.
        start: Unix seconds; askable from here on.
    """

    def __init__(
        self,
        roadmap: Roadmap,
        home: Stop,
        visits: Iterator[Visit],
        parameters: WalkParameters,
        rng: np.random.Generator,
        start: float,
    ) -> None:
        self._roadmap: Final = roadmap
        self._visits: Final = visits
        self._parameters: Final = parameters
        self._rng: Final = rng
        self._sway: Final = _sway(parameters.sway_m, rng)
        self._here = home
        begin = start - float(rng.uniform(0.0, _WARM_UP_S))
        # Breakpoints: time, metres walked, place; and the heading from each on.
        self._t = [begin]
        self._walked = [0.0]
        self._at = [home.at]
        self._heading = [_bearing(home.at, home.face)]

    def at(self, t: float) -> Pose:
        """The pose at a time, which may lie up to MEMORY_S before the latest asked for."""
        while self._t[-1] <= t:
            self._forget(t - MEMORY_S)
            self._go(next(self._visits))
        row = max(0, bisect_right(self._t, t) - 1)
        t0, t1 = self._t[row], self._t[row + 1]
        share = min(1.0, max(0.0, (t - t0) / (t1 - t0)))
        (x0, y0), (x1, y1) = self._at[row], self._at[row + 1]
        walked = self._walked[row] + share * (self._walked[row + 1] - self._walked[row])
        dx, dy = self._sway(walked)
        return Pose(x0 + share * (x1 - x0) + dx, y0 + share * (y1 - y0) + dy, self._heading[row])

    def _go(self, visit: Visit) -> None:
        speed = float(self._rng.uniform(*self._parameters.speed_m_s))
        points = way(self._roadmap, self._here, visit.stop)
        for a, b in pairwise(points):
            length = math.dist(a, b)
            if length < 1e-6:
                continue
            self._heading[-1] = _bearing(a, b)
            self._add(length / speed, length, b)
        self._heading[-1] = _bearing(visit.stop.at, visit.stop.face)
        self._add(visit.seconds, 0.0, visit.stop.at)
        self._here = visit.stop

    def _add(self, seconds: float, metres: float, at: Point) -> None:
        self._t.append(self._t[-1] + seconds)
        self._walked.append(self._walked[-1] + metres)
        self._at.append(at)
        self._heading.append(self._heading[-1])

    def _forget(self, before: float) -> None:
        keep = max(0, bisect_right(self._t, before) - 1)
        for column in (self._t, self._walked, self._at, self._heading):
            del column[:keep]


def _bearing(a: Point, b: Point) -> float:
    return math.atan2(b[1] - a[1], b[0] - a[0])


def _sway(most: float, rng: np.random.Generator) -> Callable[[float], Point]:
    """A smooth offset by metres walked, never longer than `most`."""
    phases = rng.uniform(0.0, 2.0 * math.pi, 4).tolist()
    size = most / math.sqrt(2.0)
    slow, quick = (2.0 * math.pi / wave for wave in _SWAY_WAVES_M)

    def offset(walked: float) -> Point:
        return (
            size * (0.6 * math.sin(slow * walked + phases[0]))
            + size * (0.4 * math.sin(quick * walked + phases[1])),
            size * (0.6 * math.sin(slow * walked + phases[2]))
            + size * (0.4 * math.sin(quick * walked + phases[3])),
        )

    return offset
