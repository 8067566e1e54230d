"""Where people can walk: lanes along aisles and cross-aisles, found from the obstacles alone.

Lanes are the middles of the gaps that a sweep over the floor finds, plus a coarse raster where
the floor is open. Nodes are their crossings, edges the pieces between them that keep clear of
every obstacle. Works for any floor; a floor with no room at all has an empty roadmap.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.radio.crossing import in_ring
from gateway.radio.plan import Floats, Point

Box = tuple[float, float, float, float]

# The sweep's raster: finer than a door (0.8 m) is wide.
_SWEEP_M: Final = 0.5
# A gap wider than this is open floor, with lanes every so often.
_OPEN_M: Final = 4.5
_LANE_M: Final = 2.2
# Points looked at together: bounds memory on floors with hundreds of racks.
_CHUNK: Final = 4_000
# Middles that differ less are one lane.
_SAME_LANE_M: Final = 0.4


class Roadmap:
    """A floor's lanes as a graph.

    Args:
        outline: the floor's ring.
        obstacles: rings of racks and walls on it.
        clearance: metres that lanes keep from obstacles and from the outline.

    Attributes:
        nodes: (n, 2) metres.
        edges: for each node, its neighbours and the metres to them.
    """

    def __init__(
        self, outline: Sequence[Point], obstacles: Iterable[Sequence[Point]], clearance: float
    ) -> None:
        self.clearance: Final = clearance
        self._outline: Final[Floats] = np.array(outline, float)
        self._rings: Final[list[Floats]] = [np.array(ring, float) for ring in obstacles]
        segments = [np.stack([r, np.roll(r, -1, axis=0)], 1) for r in (*self._rings, self._outline)]
        self._walls: Final[Floats] = np.concatenate(segments)
        xs, ys = self._lanes()
        grid = np.array([(x, y) for x in xs for y in ys], float).reshape(-1, 2)
        free = self.clear(grid[:, 0], grid[:, 1])
        number = np.where(free, np.cumsum(free) - 1, -1).reshape(len(xs), len(ys))
        self.nodes: Floats = grid[free]
        self.edges: list[list[tuple[int, float]]] = [[] for _ in self.nodes]
        self._join(number)
        self._keep_largest()
        self._pairs: Final[npt.NDArray[np.int64]] = np.array(
            [(a, b) for a, near in enumerate(self.edges) for b, _ in near if a < b], np.int64
        ).reshape(-1, 2)
        self._known: dict[int, tuple[array[float], array[int]]] = {}

    def clear(self, x: Floats, y: Floats) -> npt.NDArray[np.bool_]:
        """Whether points (n,) are on the floor and clear of obstacles and walls."""
        free = np.zeros(len(x), bool)
        for first in range(0, len(x), _CHUNK):
            px, py = x[first : first + _CHUNK], y[first : first + _CHUNK]
            inside = in_ring(px, py, self._outline)
            for ring in self._rings:
                inside &= ~in_ring(px, py, ring)
            # The hair's breadth forgives lanes that run exactly at the limit.
            inside &= _distance(px, py, self._walls) >= self.clearance - 1e-6
            free[first : first + _CHUNK] = inside
        return free

    def nearest(self, x: float, y: float) -> int:
        """The node nearest to a point."""
        return int(np.argmin(np.hypot(self.nodes[:, 0] - x, self.nodes[:, 1] - y)))

    def stop(self, x: float, y: float) -> tuple[int, int, Point]:
        """The point of a lane nearest to a slot, and the two nodes of its edge."""
        pairs = self._pairs
        a, b = self.nodes[pairs[:, 0]], self.nodes[pairs[:, 1]]
        span = b - a
        share = ((x - a[:, 0]) * span[:, 0] + (y - a[:, 1]) * span[:, 1]) / (span**2).sum(axis=1)
        foot = a + np.clip(share, 0.0, 1.0)[:, None] * span
        best = int(np.argmin(np.hypot(foot[:, 0] - x, foot[:, 1] - y)))
        return (
            int(pairs[best, 0]),
            int(pairs[best, 1]),
            (float(foot[best, 0]), float(foot[best, 1])),
        )

    def path(self, start: int, end: int) -> list[Point]:
        """The shortest way between two nodes, both included."""
        _, before = self._from(end)
        way = [start]
        while way[-1] != end:
            way.append(before[way[-1]])
        return [(float(self.nodes[n, 0]), float(self.nodes[n, 1])) for n in way]

    def distance(self, start: int, end: int) -> float:
        """Metres of the shortest way between two nodes."""
        return self._from(end)[0][start]

    def _from(self, origin: int) -> tuple[array[float], array[int]]:
        found = self._known.get(origin)
        if found is None:
            distance, before = self._dijkstra(origin)
            # Packed: a large site asks from thousands of nodes to thousands.
            found = array("d", distance), array("i", before)
            self._known[origin] = found
        return found

    def _dijkstra(self, origin: int) -> tuple[list[float], list[int]]:
        distance = [float("inf")] * len(self.nodes)
        before = [-1] * len(self.nodes)
        distance[origin] = 0.0
        queue = [(0.0, origin)]
        while queue:
            far, node = heapq.heappop(queue)
            if far > distance[node]:
                continue
            for other, length in self.edges[node]:
                # Each node costs a hair, so that of equal ways the one with fewer lanes wins.
                reach = far + length + 1e-6
                if reach < distance[other]:
                    distance[other] = reach
                    before[other] = node
                    heapq.heappush(queue, (reach, other))
        return distance, before

    def _lanes(self) -> tuple[list[float], list[float]]:
        low, high = self._outline.min(axis=0), self._outline.max(axis=0)
        # A raster, and through the middle of every obstacle: a door is a gap within a thin wall.
        middles = np.array([(ring.min(axis=0) + ring.max(axis=0)) / 2.0 for ring in self._rings])
        middles = middles.reshape(-1, 2)
        columns = [*np.arange(low[0] + _SWEEP_M / 2, high[0], _SWEEP_M), *middles[:, 0]]
        rows = [*np.arange(low[1] + _SWEEP_M / 2, high[1], _SWEEP_M), *middles[:, 1]]
        across = [(m, float(y), gap) for y in rows for m, gap in self._middles(float(y), 1)]
        along = [(float(x), m, gap) for x in columns for m, gap in self._middles(float(x), 0)]
        points = np.array([*across, *along], float).reshape(-1, 3)
        # The middle of a rack is the middle of a gap between walls too.
        free = self.clear(points[:, 0], points[:, 1])
        one, other = points[: len(across)], points[len(across) :]
        return (
            _merged(one[free[: len(across)]][:, [0, 2]]),
            _merged(other[free[len(across) :]][:, [1, 2]]),
        )

    def _middles(self, at: float, axis: int) -> list[tuple[float, float]]:
        """Lane middles on a sweep line, y = `at` for axis 1, x = `at` for axis 0; and gaps."""
        a, b = self._walls[:, 0], self._walls[:, 1]
        cut = (a[:, axis] > at) != (b[:, axis] > at)
        a, b = a[cut], b[cut]
        share = (at - a[:, axis]) / (b[:, axis] - a[:, axis])
        cuts = np.sort(a[:, 1 - axis] + share * (b[:, 1 - axis] - a[:, 1 - axis]))
        middles: list[tuple[float, float]] = []
        for lower, upper in pairwise(cuts.tolist()):
            gap = upper - lower
            if gap < 2.0 * self.clearance - 1e-6:
                continue
            lanes = 1 if gap <= _OPEN_M else int(gap // _LANE_M)
            middles += [(lower + (i + 0.5) * gap / lanes, gap) for i in range(lanes)]
        return middles

    def _join(self, number: npt.NDArray[np.int64]) -> None:
        pairs = np.concatenate(
            [
                np.stack([one.ravel(), other.ravel()], 1)
                for one, other in ((number[:-1], number[1:]), (number[:, :-1], number[:, 1:]))
            ]
        )
        pairs = pairs[(pairs >= 0).all(axis=1)]
        span = self.nodes[pairs[:, 1]] - self.nodes[pairs[:, 0]]
        length = np.hypot(span[:, 0], span[:, 1])
        # Looked at every 10 cm: nothing that has an area to speak of slips between.
        looks = np.maximum(2, length / 0.1).astype(np.int64)
        edge = np.repeat(np.arange(len(pairs)), looks)
        place = np.arange(len(edge)) - np.repeat(np.cumsum(looks) - looks, looks)
        at = self.nodes[pairs[edge, 0]] + (place / (looks[edge] - 1))[:, None] * span[edge]
        blocked = np.bincount(edge, ~self.clear(at[:, 0], at[:, 1]), len(pairs))
        for (a, b), metres in zip(
            pairs[blocked == 0].tolist(), length[blocked == 0].tolist(), strict=True
        ):
            self.edges[a].append((b, metres))
            self.edges[b].append((a, metres))

    def _keep_largest(self) -> None:
        group = [-1] * len(self.nodes)
        sizes: list[int] = []
        for first in range(len(self.nodes)):
            if group[first] >= 0:
                continue
            group[first], stack, size = len(sizes), [first], 0
            while stack:
                node = stack.pop()
                size += 1
                for other, _ in self.edges[node]:
                    if group[other] < 0:
                        group[other] = len(sizes)
                        stack.append(other)
            sizes.append(size)
        largest = sizes.index(max(sizes)) if sizes else -1
        # A single node leads nowhere.
        kept = [n for n, g in enumerate(group) if g == largest and self.edges[n]]
        row = {n: i for i, n in enumerate(kept)}
        self.nodes = self.nodes[kept].reshape(-1, 2)
        self.edges = [[(row[o], length) for o, length in self.edges[n]] for n in kept]


def _merged(found: Floats) -> list[float]:
    """One lane for middles (n, 2: place and gap) that lie together: that of the narrowest gap."""
    lanes: list[float] = []
    cluster: list[tuple[float, float]] = []
    for place, gap in sorted((round(place, 3), round(gap, 3)) for place, gap in found.tolist()):
        if cluster and place - cluster[0][1] > _SAME_LANE_M:
            lanes.append(min(cluster)[1])
            cluster = []
        cluster.append((gap, place))
    if cluster:
        lanes.append(min(cluster)[1])
    return lanes


def _distance(x: Floats, y: Floats, segments: Floats) -> Floats:
    """Metres from points (n,) to the nearest of the segments (s, 2, 2)."""
    a, span = segments[:, 0], segments[:, 1] - segments[:, 0]
    square = np.maximum((span**2).sum(axis=1), 1e-12)
    px, py = x[:, None] - a[:, 0], y[:, None] - a[:, 1]
    share = np.clip((px * span[:, 0] + py * span[:, 1]) / square, 0.0, 1.0)
    gap: Floats = np.hypot(px - share * span[:, 0], py - share * span[:, 1]).min(axis=1)
    return gap
