"""How much of a straight ray runs through racks and walls. Plane geometry on arrays only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.radio.plan import Floats, Ints, Point

# Ray-obstacle pairs looked at together: bounds the memory of large sites to some 100 MB.
_CHUNK: Final = 400_000


class Obstacles:
    """The polygons of a site, ready for many rays.

    Args:
        polygons: simple rings, convex or not.
        floors: for each, the row of its floor.
    """

    def __init__(self, polygons: Sequence[Sequence[Point]], floors: Sequence[int]) -> None:
        most = max((len(ring) for ring in polygons), default=3)
        # Rings are filled up with their first corner: edges without length are never crossed.
        self.corners: Final[Floats] = np.array(
            [[*ring, *[ring[0]] * (most - len(ring))] for ring in polygons], float
        ).reshape(-1, most, 2)
        self.floors: Final[Ints] = np.array(floors, np.int64)
        self._low: Final = self.corners.min(axis=1)
        self._high: Final = self.corners.max(axis=1)
        following = np.roll(self.corners, -1, axis=1)
        edges = following - self.corners
        cross = self.corners[..., 0] * following[..., 1] - self.corners[..., 1] * following[..., 0]
        area = np.abs(cross.sum(axis=1)) / 2.0
        around = np.hypot(edges[..., 0], edges[..., 1]).sum(axis=1)
        # The depth of a long rectangle, a little less for a stout one.
        self.depth: Final[Floats] = 2.0 * area / np.maximum(around, 1e-9)

    def __len__(self) -> int:
        return len(self.corners)

    def loss(
        self, x0: Floats, y0: Floats, x1: Floats, y1: Floats, floor: Ints, cost: Floats
    ) -> Floats:
        """What each ray loses, in dB.

        A ray pays an obstacle's whole cost when it runs through it by its depth or more, and in
        proportion when it runs through less (a tag stands in the rack itself).

        Args:
            x0: rays' starts in metres, shape (n,).
            y0: the same.
            x1: rays' ends.
            y1: the same.
            floor: the rays' floor rows, (n,); obstacles of other floors do not count.
            cost: dB for one full crossing of each obstacle, (obstacles,).
        """
        total = np.zeros(len(x0))
        if not len(self):
            return total
        step = max(1, _CHUNK // len(self))
        for first in range(0, len(x0), step):
            part = slice(first, first + step)
            total[part] = self._loss(x0[part], y0[part], x1[part], y1[part], floor[part], cost)
        return total

    def _loss(
        self, x0: Floats, y0: Floats, x1: Floats, y1: Floats, floor: Ints, cost: Floats
    ) -> Floats:
        near: npt.NDArray[np.bool_] = (
            (floor[:, None] == self.floors)
            & (np.minimum(x0, x1)[:, None] <= self._high[:, 0])
            & (np.maximum(x0, x1)[:, None] >= self._low[:, 0])
            & (np.minimum(y0, y1)[:, None] <= self._high[:, 1])
            & (np.maximum(y0, y1)[:, None] >= self._low[:, 1])
        )
        ray, obstacle = np.nonzero(near)
        chord = _chord(x0[ray], y0[ray], x1[ray], y1[ray], self.corners[obstacle])
        share = np.minimum(1.0, chord / np.maximum(self.depth[obstacle], 1e-9))
        total: Floats = np.bincount(ray, share * cost[obstacle], len(x0)).astype(float)
        return total

    def holds(self, x: Floats, y: Floats, floor: Ints) -> npt.NDArray[np.bool_]:
        """Whether each point lies in an obstacle of its floor. Shapes (n,)."""
        inside = np.zeros(len(x), bool)
        for corners, level in zip(self.corners, self.floors, strict=True):
            inside |= (floor == level) & in_ring(x, y, corners)
        return inside


def in_ring(x: Floats, y: Floats, corners: Floats) -> npt.NDArray[np.bool_]:
    """Whether points (n,) lie in a polygon (corners, 2), by counting crossings to the right."""
    ax, ay = corners[:, 0], corners[:, 1]
    bx, by = np.roll(ax, -1), np.roll(ay, -1)
    spans = (ay > y[:, None]) != (by > y[:, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        at = ax + (y[:, None] - ay) / (by - ay) * (bx - ax)
    odd: npt.NDArray[np.bool_] = np.sum(spans & (x[:, None] < at), axis=1) % 2 == 1
    return odd


def _chord(x0: Floats, y0: Floats, x1: Floats, y1: Floats, corners: Floats) -> Floats:
    """Length of each ray (n,) within its own polygon (n, corners, 2), in metres."""
    dx, dy = x1 - x0, y1 - y0
    length = np.hypot(dx, dy)
    scale = np.maximum(length, 1e-9)
    ux, uy = dx / scale, dy / scale
    # Corners in the ray's own frame: along it in units of metres, and aside.
    rx = corners[..., 0] - x0[:, None]
    ry = corners[..., 1] - y0[:, None]
    along = rx * ux[:, None] + ry * uy[:, None]
    aside = ry * ux[:, None] - rx * uy[:, None]
    next_along, next_aside = np.roll(along, -1, axis=1), np.roll(aside, -1, axis=1)
    crossed = (aside >= 0.0) != (next_aside >= 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = along + (next_along - along) * aside / (aside - next_aside)
    # The line enters and leaves by turns; what is not crossed goes to the end, where it is nil.
    at = np.sort(np.where(crossed, at, np.inf), axis=1)
    at = np.clip(at, 0.0, length[:, None])
    even = at.shape[1] // 2 * 2
    chord: Floats = np.sum(at[:, 1:even:2] - at[:, 0:even:2], axis=1)
    return chord
