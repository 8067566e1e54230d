"""Recent tracks: for each trackable a ring of its last points, all within one bounded memory.

Points stay where they are when the site changes; only the way from a row to its ring does. Knows
no ids and no clock.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from stream.fixes import Fixes

_Rows = npt.NDArray[np.int64]

# Two minutes at two ticks a second: the trail a person looks at.
TRACK_POINTS: Final = 240
# All rings together stay below this; a site of 100,000 trackables gets shorter tracks.
TRACK_BYTES: Final = 64 * 1024 * 1024
MIN_TRACK_POINTS: Final = 8
# Room for trackables to come, so that adopting one by one does not copy everything each time.
SPARE: Final = 1.25
SPARE_LEAST: Final = 64

POINT: Final = np.dtype(
    [("t", "<f8"), ("x", "<f4"), ("y", "<f4"), ("accuracy", "<f4"), ("floor", "<u2")]
)
"""One point of a track: Unix seconds, metres, metres, metres, row in site.floors."""
Points = npt.NDArray[np.void]
"""An array of POINT."""


class Tracks:
    """The rings.

    Args:
        count: trackables.
    """

    def __init__(self, count: int) -> None:
        self._allot(count)
        self._rings: _Rows = np.arange(count)

    def _allot(self, count: int) -> None:
        capacity = int(count * SPARE) + SPARE_LEAST
        points = TRACK_BYTES // (capacity * POINT.itemsize)
        self._points = int(np.clip(points, MIN_TRACK_POINTS, TRACK_POINTS))
        # Zeroed memory is only taken from the system where a track is written.
        self._ring = np.zeros((capacity, self._points), POINT)
        self._written = np.zeros(capacity, np.int64)

    def write(self, rows: _Rows, times: npt.NDArray[np.float64], fixes: Fixes) -> None:
        """Adds a point to each row, each row at most once; shapes (n,)."""
        points = np.empty(len(rows), POINT)
        points["t"] = times
        for name in ("x", "y", "accuracy", "floor"):
            points[name] = fixes[name]
        rings = self._rings[rows]
        self._ring[rings, self._written[rings] % self._points] = points
        self._written[rings] += 1

    def read(self, row: int) -> Points:
        """A row's points, oldest first."""
        ring = self._rings[row]
        first = int(self._written[ring]) - self._points
        points: Points = self._ring[ring][(first + np.arange(self._points)) % self._points]
        # Places that were never written have no time.
        return points[points["t"] > 0.0]

    def rearrange(self, places: _Rows, count: int, floors: _Rows) -> None:
        """Follows a changed site.

        Args:
            places: each old row's new one, -1 when it is gone; shape (old trackables,).
            count: new trackables.
            floors: each old floor's new row, -1 when it is gone; shape (old floors,).
        """
        if (floors != np.arange(len(floors))).any():
            self._move_floors(floors)
        kept = np.flatnonzero(places >= 0)
        if count > len(self._ring):
            self._grow(kept, places, count)
            return
        rings = np.full(count, -1)
        rings[places[kept]] = self._rings[kept]
        free = np.ones(len(self._ring), bool)
        free[rings[rings >= 0]] = False
        new = np.flatnonzero(rings < 0)
        taken = np.flatnonzero(free)[: len(new)]
        self._ring[taken] = np.zeros((), POINT)
        self._written[taken] = 0
        rings[new] = taken
        self._rings = rings

    def _move_floors(self, floors: _Rows) -> None:
        used = np.flatnonzero(self._written)
        for ring in used:
            points = self._ring[ring]
            moved = floors[np.minimum(points["floor"], len(floors) - 1)]
            points["t"][moved < 0] = 0.0
            points["floor"] = np.maximum(moved, 0)

    def _grow(self, kept: _Rows, places: _Rows, count: int) -> None:
        ring, written, rings, points = self._ring, self._written, self._rings, self._points
        self._allot(count)
        self._rings = np.arange(count)
        keep = min(points, self._points)
        for old in kept[written[rings[kept]] > 0]:
            source, target = rings[old], places[old]
            newest = (written[source] - keep + np.arange(keep)) % points
            self._ring[target, :keep] = ring[source][newest]
            self._written[target] = keep
