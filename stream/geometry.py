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
# Standard normal error, seen from its centre: 19 places of equal weight (three rings at the
# mid-quantiles of the Rayleigh distribution) for zones that are not boxes.
_RINGS: Final = ((1, 1.0 / 38.0), (6, 4.0 / 19.0), (12, 13.0 / 19.0))


def ring_fault(ring: list[Point]) -> str | None:
    """What is wrong with a polygon's ring, in one sentence, or None."""
    if len(ring) < 3:
        return f"a polygon needs at least 3 corners, not {len(ring)}"
    if not all(math.isfinite(v) for corner in ring for v in corner):
        return "a corner is not a finite number of metres"
    polygon = shapely.Polygon(ring)
    if not polygon.is_valid:
        reason = str(shapely.is_valid_reason(polygon))
        return f"the polygon is not simple: {reason.replace('[', ' at [')}"
    if polygon.area < MIN_AREA_M2:
        return "the polygon has no area"
    return None


def _stencil() -> Floats:
    """Offsets in standard deviations, shape (19, 2)."""
    places = []
    for count, quantile in _RINGS:
        radius = math.sqrt(-2.0 * math.log1p(-quantile)) if count > 1 else 0.0
        for k in range(count):
            angle = 2.0 * math.pi * (k + 0.5) / count
            places.append((radius * math.cos(angle), radius * math.sin(angle)))
    return np.array(places)


def _normal(z: Floats) -> Floats:
    """The standard normal distribution function, to 2e-4 (Page, Applied Statistics 26, 1977)."""
    return 0.5 * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (z + 0.044715 * z * z * z)))


class Areas:
    """Which of many polygons a point is in.

    Args:
        rings: the polygons; where several hold a point the smallest wins, being the most telling
            (of equals the last).
        floors: for each, the row of its floor.
    """

    def __init__(self, rings: list[list[Point]], floors: list[int]) -> None:
        polygons = [shapely.Polygon(ring) for ring in rings]
        order = sorted(range(len(polygons)), key=lambda i: -polygons[i].area)
        self._rows: Final = order
        self._floors: Final = [floors[i] for i in order]
        self._polygons: Final[list[Any]] = [polygons[i] for i in order]
        self._boxes: Final = [p.equals(shapely.box(*p.bounds)) for p in self._polygons]
        for polygon in self._polygons:
            shapely.prepare(polygon)

    def locate(self, x: Floats, y: Floats, floor: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
        """The row of the smallest polygon that holds each point, or -1. All shapes (n,).

        An edge belongs to its polygon, for fixes that are held in at a wall lie on it.
        """
        found = np.full(len(x), -1, np.int32)
        # Largest first, so that a smaller one overwrites.
        for row, level, polygon in zip(self._rows, self._floors, self._polygons, strict=True):
            x0, y0, x1, y1 = polygon.bounds
            near = np.flatnonzero((floor == level) & (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1))
            if len(near):
                inside = shapely.intersects_xy(polygon, x[near], y[near])
                found[near[inside]] = row
        return found

    def probability(
        self, area: npt.NDArray[np.integer], x: Floats, y: Floats, sd: Floats
    ) -> npt.NDArray[np.float64]:
        """The probability that the true place is in the area the point was found in.

        Args:
            area: rows as `locate` gave them; -1 gives 0.
            x: metres, as y.
            y: metres.
            sd: standard deviation of either coordinate in metres, of a round normal error.
        """
        chance = np.zeros(len(x))
        stencil = _stencil()
        for row, polygon, box in zip(self._rows, self._polygons, self._boxes, strict=True):
            here = np.flatnonzero(area == row)
            if not len(here):
                continue
            px, py, s = x[here], y[here], np.maximum(sd[here], 1e-6)
            if box:
                x0, y0, x1, y1 = polygon.bounds
                chance[here] = (_normal((x1 - px) / s) - _normal((x0 - px) / s)) * (
                    _normal((y1 - py) / s) - _normal((y0 - py) / s)
                )
            else:
                sx = px[:, None] + s[:, None] * stencil[:, 0]
                sy = py[:, None] + s[:, None] * stencil[:, 1]
                chance[here] = shapely.contains_xy(polygon, sx, sy).mean(axis=1)
        return chance
