"""The truth about many beacons at many moments at once, by the same rule as `Path2D.at`."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.truth import NEAR_S, Truth

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Known(NamedTuple):
    """True places, as columns of one length; where `known` is false the others mean nothing.

    Attributes:
        known: whether the truth has a row near the moment.
        xy: metres, (moments, 2).
        floor: floor rows.
    """

    known: Bools
    xy: Floats
    floor: Ints


class TruePlaces:
    """All paths of a truth in one table.

    Args:
        truth: paths by beacon.

    Attributes:
        beacons: in order; a beacon's row is its place in it.
    """

    def __init__(self, truth: Truth) -> None:
        self.beacons: Final = [beacon for beacon, path in truth.items() if len(path.t)]
        paths = [truth[beacon] for beacon in self.beacons]
        empty = [np.zeros(0)]
        self._t: Final = np.concatenate([path.t for path in paths] or empty)
        self._xy: Final = np.stack(
            [
                np.concatenate([path.x for path in paths] or empty),
                np.concatenate([path.y for path in paths] or empty),
            ],
            axis=1,
        )
        self._floor: Final = np.concatenate([path.floor for path in paths] or empty).astype(int)
        counts = np.array([len(path.t) for path in paths], np.int64)
        self._last: Final = np.cumsum(counts) - 1
        self._first: Final = self._last - counts + 1
        # Beacon and time in one number, so that one search finds all.
        self._begin: Final = float(self._t.min(initial=np.inf))
        self._span: Final = float(self._t.max(initial=-np.inf)) - self._begin + 4 * NEAR_S
        row = np.repeat(np.arange(len(paths)), counts)
        self._key: Final = row * self._span + (self._t - self._begin)

    def at(self, beacon: Ints, t: Floats) -> Known:
        """Where beacons (rows) were at moments, both of shape (moments,)."""
        if not len(self._t):
            return Known(np.zeros(len(t), np.bool_), np.zeros((len(t), 2)), np.zeros(len(t), int))
        offset = np.clip(t - self._begin, -NEAR_S, self._span - NEAR_S)
        after = np.searchsorted(self._key, beacon * self._span + offset)
        low, high = self._first[beacon], self._last[beacon]
        before, after = np.clip(after - 1, low, high), np.clip(after, low, high)
        t0, t1 = self._t[before], self._t[after]
        nearest = np.where(np.abs(t0 - t) <= np.abs(t1 - t), before, after)
        share = np.clip((t - t0) / np.where(t1 > t0, t1 - t0, 1.0), 0.0, 1.0)[:, None]
        return Known(
            np.abs(self._t[nearest] - t) <= NEAR_S,
            self._xy[before] * (1.0 - share) + self._xy[after] * share,
            self._floor[nearest],
        )
