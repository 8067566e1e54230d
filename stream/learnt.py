"""What the locator learns of a site's radio as it goes, without truth: four numbers and their sums.

How weak a level is still heard, what share of adverts a gateway hears at all, how far the model's
residuals scatter, and how much levels flutter where nothing moves. They differ between sites by
factors, and what depends on them (the weight of silence, the stated accuracy, when rest ends)
would be wrong anywhere else. Sums fade, so that a site may change.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Before anything is heard: a Pi decodes half the adverts at -91 dBm, and hears 8 of 10 loud ones.
LIMIT_DBM: Final = -91.0
HEARS: Final = 0.8
# Readings that what was assumed before counts for.
_PRIOR: Final = 400.0
# The weakest levels heard: what this share of readings lies below.
_WEAKEST: Final = 0.03
# Sums fade to a half over this many readings: some minutes of a busy site.
_HALF: Final = 200_000.0
_BINS: Final = 128
# Factors beyond these are a fault of the site document, not of the noise.
_NOISE_RANGE: Final = (0.9, 2.5)
# Standard deviation that levels flutter with where nothing moves, per reading, dB.
_FLUTTER_DB: Final = 4.0


class Learnt:
    """The sums.

    Args:
        sums: (_BINS + 6,): readings by dBm below zero; adverts heard and expected; residuals
            squared over their variance, and their number; the same of the flutter at rest.
    """

    def __init__(self, sums: Floats | None = None) -> None:
        self.sums: Floats = np.zeros(_BINS + 6) if sums is None else sums.copy()

    def take_levels(self, rssi: Floats) -> None:
        """A tick's readings in dBm."""
        self.sums *= math.exp2(-len(rssi) / _HALF)
        bins = np.clip(np.floor(-rssi), 0, _BINS - 1).astype(np.int64)
        self.sums[:_BINS] += np.bincount(bins, minlength=_BINS)

    def take_adverts(self, heard: float, expected: float) -> None:
        """Adverts over links that are loud without doubt."""
        self.sums[_BINS : _BINS + 2] += heard, expected

    def take_residuals(self, squares: float, count: float) -> None:
        """Squared residuals over their expected variance, robustly summed, and their number."""
        self.sums[_BINS + 2 : _BINS + 4] += squares, count

    def take_flutter(self, squares: float, count: float) -> None:
        """Squared differences in dB between readings at rest and their means, and their number."""
        self.sums[_BINS + 4 :] += squares, count

    @property
    def limit_dbm(self) -> float:
        """The weakest levels heard, a whole number."""
        total = float(self.sums[:_BINS].sum())
        if total < _PRIOR:
            return LIMIT_DBM
        # From the weakest bin on.
        below = np.cumsum(self.sums[:_BINS][::-1])
        return -float(_BINS - 1 - int(np.searchsorted(below, _WEAKEST * total)))

    @property
    def hears(self) -> float:
        """The share of a loud beacon's adverts that a gateway hears."""
        heard, expected = self.sums[_BINS : _BINS + 2]
        share = (heard + HEARS * _PRIOR) / (expected + _PRIOR)
        return min(max(float(share), 0.05), 0.98)

    @property
    def noise(self) -> float:
        """Factor on the model's standard deviations."""
        squares, count = self.sums[_BINS + 2 : _BINS + 4]
        return min(
            max(math.sqrt((squares + _PRIOR) / (count + _PRIOR)), _NOISE_RANGE[0]), _NOISE_RANGE[1]
        )

    @property
    def flutter_db2(self) -> float:
        """Variance of a reading at rest about its mean, dB2."""
        squares, count = self.sums[_BINS + 4 :]
        return float((squares + _PRIOR * _FLUTTER_DB**2) / (count + _PRIOR))
