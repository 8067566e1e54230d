"""Plane geometry of a site: checks of rings, and fast membership of many points in many zones."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely

Point = tuple[float, float]
Floats = npt.NDArray[np.float64]

# A polygon smaller than a hand is a slip of the editor, not an area.
MIN_AREA_M2: Final = 0.01


def ring_fault(ring: list[Point]) -> str | None:
    """What is wrong with a polygon's ring, in one sentence, or None."""
    if len(ring) < 3:
        return f"a polygon needs at least 3 corners, not {len(ring)}"
    if not all(math.isfinite(v) for corner in ring for v in corner):
        return "a corner is not a finite number of metres"
    polygon = shapely.Polygon(ring)
    if not polygon.is_valid:
        return f"the polygon is not simple: {shapely.is_valid_reason(polygon)}"
    if polygon.area < MIN_AREA_M2:
        return "the polygon has no area"
    return None


class Areas:
    """Which of many polygons a point is in.

    Args:
        rings: the polygons; where several hold a point the smallest wins, being the most telling.
        floors: for each, the row of its floor.
    """

    def __init__(self, rings: list[list[Point]], floors: list[int]) -> None:
        polygons = [shapely.Polygon(ring) for ring in rings]
        order = sorted(range(len(polygons)), key=lambda i: -polygons[i].area)
        self._rows: Final = order
        self._floors: Final = [floors[i] for i in order]
        self._polygons: Final[list[Any]] = [polygons[i] for i in order]
        for polygon in self._polygons:
            shapely.prepare(polygon)

    def locate(self, x: Floats, y: Floats, floor: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
        """The row of the smallest polygon that holds each point, or -1. All shapes (n,)."""
        found = np.full(len(x), -1, np.int32)
        # Largest first, so that a smaller one overwrites.
        for row, level, polygon in zip(self._rows, self._floors, self._polygons, strict=True):
            x0, y0, x1, y1 = polygon.bounds
            near = np.flatnonzero(
                (floor == level) & (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
            )
            if len(near):
                inside = shapely.contains_xy(polygon, x[near], y[near])
                found[near[inside]] = row
        return found
