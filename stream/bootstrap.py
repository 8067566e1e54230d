"""Confidence intervals of error figures, by redrawing the errors in units that hang together.

Errors of consecutive fixes are much alike, so as many independent ones as there are fixes there
are not, and an interval that takes them for independent is far too narrow. What is redrawn with
replacement is therefore never a fix:

- With MANY clusters or more (a cluster is a beacon, or several that are always at one place),
  whole clusters. A tag that lies still has the same error for hours, so only other tags tell how
  much it varies. Redrawing within the cluster too would count that part of the variance twice
  (Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
- With fewer, stretches of BLOCK_S of any cluster, starting at any fix: the moving-block bootstrap
  (Kunsch, Annals of Statistics 17(3), 1989), each series closed to a ring so that its ends count
  as often as its middle (Politis & Romano, 1992). This interval speaks of these beacons only.

One unit fewer is drawn than there are, without which the spread comes out too small by just that
(Rao & Wu, JASA 83(401), 1988). The interval is that of the percentiles of the redrawn figure
(Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). All methods are redrawn
alike, so that differences between methods are paired. The same errors give the same intervals.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# The usual number for intervals by percentiles (Efron & Tibshirani, section 14.2).
RESAMPLES: Final = 1000
LEVEL: Final = 0.95
# A walker crosses several correlation lengths of shadowing (2 to 5 m) in it.
BLOCK_S: Final = 20.0
# From here on clusters vary enough among themselves to tell how much they vary.
MANY: Final = 10
# Below this there is nothing to redraw, and no interval is better than a wrong one.
LEAST_UNITS: Final = 5.0
# More errors are thinned out evenly for the redrawing: neighbours say nearly the same.
MOST_ERRORS: Final = 100_000
SEED: Final = 20_100


class Interval(NamedTuple):
    """A confidence interval; both ends NaN where there is too little to tell."""

    low: float
    high: float


class Redraw:
    """How a set of errors is redrawn.

    Args:
        cluster: number of each error's cluster, (errors,).
        t: when, in seconds, (errors,).
        block_s: length of a stretch.

    Attributes:
        rows: which errors are used, all of them up to MOST_ERRORS; in order of series, then time.
        units: how many units they make; a part of a stretch counts as its share.
        by_cluster: whether units are whole clusters.
    """

    def __init__(self, cluster: Ints, t: Floats, block_s: float = BLOCK_S) -> None:
        order = np.lexsort((t, cluster))
        cluster, t = cluster[order], t[order]
        begins = np.ones(len(t), np.bool_)
        begins[1:] = np.diff(cluster) != 0
        self.by_cluster: Final = int(begins.sum()) >= MANY
        if not self.by_cluster:
            # Beyond a gap as long as a stretch, what comes is another series.
            begins[1:] |= np.diff(t) > block_s
        series = np.cumsum(begins) - 1
        nth = np.arange(len(t)) - np.flatnonzero(begins)[series]
        # Each series begins elsewhere: a moment that is bad for all must not count for more.
        kept = (nth + series) % math.ceil(max(len(t), 1) / MOST_ERRORS) == 0
        self.rows: Final[Ints] = order[kept]
        series, t = series[kept], t[kept]
        self._first: Final = np.flatnonzero(np.diff(series, prepend=-1))
        self._count: Final = np.diff(np.append(self._first, len(series)))
        self._length: Final = (
            self._count if self.by_cluster else _fixes_in(block_s, t, self._first, self._count)
        )
        # Each error is then drawn as often as any other, whatever the length of its series.
        share = self._count / self._length
        self.units: Final = float(share.sum())
        self._up_to: Final = np.cumsum(share)

    def times(self, chance: np.random.Generator) -> npt.NDArray[np.int32]:
        """How often each of `rows` is drawn in one redrawing."""
        draws = max(1, round(self.units) - 1)
        series = np.searchsorted(self._up_to, chance.random(draws) * self.units, "right")
        series = np.minimum(series, len(self._first) - 1)
        first, count, length = self._first[series], self._count[series], self._length[series]
        start = (chance.random(draws) * count).astype(np.int64)
        end = start + length
        # What runs over the series' end goes on at its beginning.
        over = end > count
        total = len(self.rows) + 1
        steps = np.bincount(first + start, minlength=total)
        steps -= np.bincount(first + np.minimum(end, count), minlength=total)
        steps += np.bincount(first[over], minlength=total)
        steps -= np.bincount((first + end - count)[over], minlength=total)
        return np.cumsum(steps[:-1], dtype=np.int32)


def redrawn(
    errors: Floats, redraw: Redraw, quantiles: Floats, resamples: int = RESAMPLES
) -> Floats:
    """Quantiles of redrawn errors.

    Args:
        errors: of several methods on the same fixes, (methods, errors).
        redraw: how to redraw.
        quantiles: 0 to 1.
        resamples: how often.

    Returns:
        (methods, resamples, quantiles); NaN where there are fewer than LEAST_UNITS.
    """
    drawn = np.full((len(errors), resamples, len(quantiles)), np.nan)
    if redraw.units < LEAST_UNITS:
        return drawn
    mine = errors[:, redraw.rows]
    # Where errors were thinned out, what is redrawn must still vary around the figures of all.
    moved = (np.quantile(errors, quantiles, axis=1) - np.quantile(mine, quantiles, axis=1)).T
    orders = np.argsort(mine, axis=1, kind="stable")
    chance = np.random.default_rng(SEED)
    for k in range(resamples):
        times = redraw.times(chance)
        for method, order in enumerate(orders):
            drawn[method, k] = weighted_quantiles(mine[method], order, times, quantiles)
    drawn += moved[:, None, :]
    return drawn


def weighted_quantiles(
    values: Floats, order: Ints, times: npt.NDArray[np.int32], quantiles: Floats
) -> Floats:
    """`np.quantile(np.repeat(values, times), quantiles)`, from the order of the values."""
    upto = np.cumsum(times[order], dtype=np.int64)
    at = quantiles * (upto[-1] - 1)
    below = np.floor(at)
    low = values[order[np.searchsorted(upto, below, "right")]]
    high = values[order[np.searchsorted(upto, np.minimum(below + 1, upto[-1] - 1), "right")]]
    found: Floats = low + (at - below) * (high - low)
    return found


def interval(figures: Floats, level: float = LEVEL) -> Interval:
    """The interval that the middle `level` of redrawn figures (resamples,) lie in."""
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(figures, [tail, 100.0 - tail])
    return Interval(float(low), float(high))


def _fixes_in(block_s: float, t: Floats, first: Ints, count: Ints) -> Ints:
    """How many fixes of each series a stretch has, at least one and at most all."""
    lasted = t[first + count - 1] - t[first]
    # From the first of n fixes to the last are n - 1 steps.
    step = lasted / np.maximum(count - 1, 1)
    fixes = np.where(step * count > block_s, block_s / np.maximum(step, 1e-9), count)
    return np.maximum(np.rint(fixes), 1).astype(np.int64)
