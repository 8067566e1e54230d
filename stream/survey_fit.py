"""Path loss from a survey: one ridge regression with robust and with censored observations.

Linear in what it looks for: the site's offset and exponent, losses of obstacles and slabs, what
each gateway and each beacon add. Normal priors keep apart what the data do not, and the spread of
gateways and beacons is found with them by expectation maximisation. Noise is Student-t, by
iterated weights (Lange, Little and Taylor, JASA 84, 1989); a gateway that heard nothing is a
censored observation (Tobin, Econometrica 26, 1958), by Newton steps on its likelihood.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from stream.calibration import (
    EXPONENT,
    OBSTACLES_MOST_DB,
    OFFSET_DBM,
    RACK_DB,
    SLAB_DB,
    WALL_DB,
)
from stream.grid import Grid
from stream.radio_model import Geometry
from stream.site import Site
from stream.survey_places import Places, Visits

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Columns that all gateways share, with means and standard deviations of their priors: RSSI at
# 1 m, exponent, and the losses of a rack, a wall and a slab.
SHARED: Final = 5
MEANS: Final = (OFFSET_DBM, EXPONENT, RACK_DB, WALL_DB, SLAB_DB)
SPREADS: Final = (10.0, 0.5, 2.5, 2.5, 4.0)
# How gateways differ in dB and in exponent, and beacons in dB, before data say so; each guess is
# worth so many gateways or beacons.
GATEWAY_SD_DB: Final = 3.0
EXPONENT_SD: Final = 0.3
BEACON_SD_DB: Final = 6.0
SPREAD_WORTH: Final = 4.0
# The same for the noise, worth so many observations.
NOISE_DB: Final = 4.5
NOISE_WORTH: Final = 8.0
# Degrees of freedom of the noise: robust, and close to normal in the middle.
NU: Final = 4.0
# Visits of one place share its shadowing: their residuals at a gateway correlate about so much.
SAME_PLACE: Final = 0.6
# Windows of one visit share their fading, for a tag at rest; more tell nothing new.
MOST_WINDOWS: Final = 8.0
# Adverts of which one would have been heard, at the limit.
MOST_ADVERTS: Final = 20.0
# Of gateways that hear nothing, so many are deaf for reasons that have nothing to do with radio.
DEAF: Final = 0.05
# What holds a loss that would be negative at zero.
HELD_DB: Final = 1e-3
STEPS: Final = 60
# Change of a step, in dB and exponent, at which the fit is done.
SETTLED: Final = 5e-4


class Paths(NamedTuple):
    """What lies between gateways and places; shapes (gateways, places).

    Attributes:
        decades: log10 of metres.
        slabs: slabs between.
        rack, wall: full crossings of racks and walls that state no loss of their own.
        stated_db: loss of the obstacles that state one.
    """

    decades: Floats
    slabs: Floats
    rack: Floats
    wall: Floats
    stated_db: Floats


class Fit(NamedTuple):
    """A fitted path loss.

    Attributes:
        shared: offset in dBm, exponent, and the losses of a rack, a wall and a slab in dB.
        gateway_db: what each gateway adds, dB.
        gateway_exponent: what each adds to the exponent.
        beacon_db: what each beacon adds, dB.
        beacon_sd_db: how beacons differ.
        sd_db: scale of the Student-t noise times sqrt(NU / (NU - 2)): its standard deviation.
    """

    shared: Floats
    gateway_db: Floats
    gateway_exponent: Floats
    beacon_db: Floats
    beacon_sd_db: float
    sd_db: float


def paths(site: Site, places: Places) -> Paths:
    """What lies between the site's gateways and the places."""
    # The geometry asks of a grid no more than these columns and a length.
    geometry = Geometry(site, cast("Grid", _Cells(places)))
    shape = geometry.decades.shape
    crossings = geometry.crossings
    at = crossings.gateway.astype(np.int64) * shape[1] + crossings.cell
    own = geometry.own_db[crossings.obstacle]
    wall = geometry.walls[crossings.obstacle]

    share = crossings.share.astype(np.float64)

    def total(weight: Floats) -> Floats:
        summed = np.bincount(at, share * weight, shape[0] * shape[1]).astype(np.float64)
        return summed.reshape(shape)

    free = np.isnan(own)
    return Paths(
        geometry.decades.astype(np.float64),
        geometry.slabs.astype(np.float64),
        total((free & ~wall).astype(np.float64)),
        total((free & wall).astype(np.float64)),
        total(np.where(free, 0.0, own)),
    )


class _Cells:
    """Places with the length that a grid has."""

    def __init__(self, places: Places) -> None:
        self.x, self.y, self.floor, self.inside = places

    def __len__(self) -> int:
        return len(self.x)


def expected(fit: Fit, paths: Paths, visits: Visits) -> Floats:
    """Expected RSSI of visits, dBm, the beacon's own offset left out; shape (n,)."""
    g, p = visits.gateway, visits.place
    offset, exponent, rack, wall, slab = fit.shared
    obstacles = rack * paths.rack[g, p] + wall * paths.wall[g, p] + paths.stated_db[g, p]
    level: Floats = (
        offset
        + fit.gateway_db[g]
        - 10.0 * (exponent + fit.gateway_exponent[g]) * paths.decades[g, p]
        - np.minimum(obstacles, OBSTACLES_MOST_DB)
        - slab * paths.slabs[g, p]
    )
    return level


def fit_path_loss(
    paths: Paths, visits: Visits, *, own: bool = True, start: Fit | None = None
) -> Fit:
    """Fits a site's path loss.

    Args:
        paths: between the gateways and the visits' places.
        visits: what was heard.
        own: whether gateways differ.
        start: a fit of nearly the same visits, to begin at.
    """
    gateways = len(paths.decades)
    scale = math.sqrt((NU - 2.0) / NU)
    spread = np.array([GATEWAY_SD_DB, EXPONENT_SD]) if own else np.full(2, 1e-4)
    fit = start or Fit(
        np.array(MEANS),
        np.zeros(gateways),
        np.zeros(gateways),
        np.zeros(visits.beacons),
        BEACON_SD_DB,
        NOISE_DB,
    )
    sigma = fit.sd_db * scale
    share = _shares(visits)
    for _ in range(STEPS):
        mean = expected(fit, paths, visits) + fit.beacon_db[visits.beacon]
        target, weight = _observed(visits, mean, sigma)
        theta, beacon, cov, beacon_var = _solved(
            paths, visits, fit, target, weight * share / sigma**2, spread
        )
        before = fit
        fit = Fit(
            theta[:SHARED],
            theta[SHARED : SHARED + gateways],
            theta[SHARED + gateways :],
            beacon,
            _spread(beacon**2 + beacon_var, BEACON_SD_DB),
            sigma / scale,
        )
        var = np.diag(cov)
        # Parameters that the data decided; each takes a degree of freedom from the noise.
        ridge = _ridge(gateways, spread)
        used = float((1.0 - np.clip(ridge * var, 0.0, 1.0)).sum())
        used += float((1.0 - np.clip(beacon_var / before.beacon_sd_db**2, 0.0, 1.0)).sum())
        if own:
            a = slice(SHARED, SHARED + gateways)
            spread = np.array(
                [
                    _spread(fit.gateway_db**2 + var[a], GATEWAY_SD_DB),
                    _spread(fit.gateway_exponent**2 + var[a.stop :], EXPONENT_SD),
                ]
            )
        heard = visits.windows > 0
        left = target - expected(fit, paths, visits) - fit.beacon_db[visits.beacon]
        excess = float((share * weight * left**2)[heard].sum())
        free = max(float(share[heard].sum()) - used, 0.3 * float(share[heard].sum()))
        sigma = math.sqrt((excess + NOISE_WORTH * (NOISE_DB * scale) ** 2) / (free + NOISE_WORTH))
        sigma = max(sigma, 0.5)
        change = max(np.abs(fit.shared - before.shared).max(), abs(fit.sd_db - before.sd_db))
        if change < SETTLED:
            break
    return fit


def _shares(visits: Visits) -> Floats:
    """What each visit counts beside others of its gateway and place."""
    key = visits.gateway * (len(visits.places.x) + 1) + visits.place
    _, group, count = np.unique(key, return_inverse=True, return_counts=True)
    found: Floats = 1.0 / (1.0 + (count[group] - 1.0) * SAME_PLACE)
    return found


def _spread(squares: Floats, guess: float) -> float:
    """Standard deviation of effects whose expected squares are these."""
    total = float(squares.sum()) + SPREAD_WORTH * guess**2
    return math.sqrt(total / (len(squares) + SPREAD_WORTH))


def _observed(visits: Visits, mean: Floats, sigma: float) -> tuple[Floats, Floats]:
    """Working targets in dBm, and weights in 1 / sigma**2: one Newton step's at this mean."""
    heard = visits.windows > 0
    target, weight = mean.copy(), np.zeros(len(mean))
    h = np.flatnonzero(heard)
    if len(h):
        level = untruncated(visits, h, mean[h], sigma)
        fade = visits.fade_db**2 / np.minimum(visits.windows[h], MOST_WINDOWS)
        ratio = sigma**2 / (sigma**2 + fade)
        off = level - mean[h]
        target[h] = level
        weight[h] = ratio * (NU + 1.0) / (NU + off**2 * ratio / sigma**2)
    s = np.flatnonzero(~heard)
    if len(s):
        limit = silent_limit(visits, s)
        z = (limit - mean[s]) / sigma
        ratio, chance = mills(z)
        bend = ratio + z
        target[s] = mean[s] - sigma / np.maximum(bend, 1e-6)
        weight[s] = ratio * bend * (1.0 - DEAF) * chance / ((1.0 - DEAF) * chance + DEAF)
    return target, weight


def silent_limit(visits: Visits, rows: Ints) -> Floats:
    """The level at which half of all visits would leave the gateway without an advert, dBm."""
    count = np.clip(visits.expected[rows], 1.0, MOST_ADVERTS)
    # One advert of `count` above the limit, half the time: the quantile of 1 - 0.5 ** (1 / count).
    found: Floats = visits.limit_dbm + visits.fade_db * _normal_quantile(1.0 - 0.5 ** (1.0 / count))
    return found


def untruncated(visits: Visits, rows: Ints, mean: Floats, sigma: float) -> Floats:
    """Levels with the adverts that were too weak to be heard put back, dBm.

    Args:
        visits: the survey's.
        rows: of those that were heard.
        mean: what the model expects there, dBm.
        sigma: its scale, dB.
    """
    whole = visits.level[rows]
    fade = visits.fade_db
    near = np.flatnonzero(whole < visits.limit_dbm + 3.0 * fade)
    if not len(near):
        return whole
    rows, mean = rows[near], mean[near]
    level, count = visits.level[rows], visits.adverts[rows]
    known = fade**2 / np.minimum(visits.windows[rows], MOST_WINDOWS)
    lost = np.maximum(visits.expected[rows] - count, 0.0)
    full = level
    for _ in range(3):
        # The place's level, between what was heard and what the model says.
        here = (full * sigma**2 + mean * known) / (sigma**2 + known)
        ratio, below = mills((visits.limit_dbm - here) / fade)
        missing = np.minimum(count * below / np.maximum(1.0 - below, 1e-3), lost)
        full = (count * level + missing * (here - fade * ratio)) / (count + missing)
    whole[near] = full
    return whole


def _ridge(gateways: int, spread: Floats) -> Floats:
    return np.concatenate([1.0 / np.array(SPREADS) ** 2, np.repeat(1.0 / spread**2, gateways)])


def _solved(
    paths: Paths, visits: Visits, fit: Fit, target: Floats, weight: Floats, spread: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """The ridge regression, beacons eliminated: theta, beacons, covariance, beacons' variance."""
    gateways = len(paths.decades)
    size = SHARED + 2 * gateways
    g, p = visits.gateway, visits.place
    rack, wall, stated = paths.rack[g, p], paths.wall[g, p], paths.stated_db[g, p]
    # Where obstacles in a row are bounded, one loss more or less changes nothing.
    full = fit.shared[2] * rack + fit.shared[3] * wall + stated >= OBSTACLES_MOST_DB
    values = [
        np.ones(len(g)),
        -10.0 * paths.decades[g, p],
        -rack * ~full,
        -wall * ~full,
        -paths.slabs[g, p],
    ]
    y = target + np.where(full, OBSTACLES_MOST_DB, stated)
    # Sums by gateway hold all there is: a gateway's own columns, its offset and exponent, are the
    # first two shared ones where it is concerned.
    gram = np.zeros((gateways, SHARED, SHARED))
    moment = np.zeros((gateways, SHARED))
    cross = np.zeros((visits.beacons, gateways, SHARED))
    pair = visits.beacon * gateways + g
    for i, value in enumerate(values):
        weighted = weight * value
        moment[:, i] = np.bincount(g, weighted * y, gateways)
        cross[:, :, i] = np.bincount(pair, weighted, cross[:, :, i].size).reshape(-1, gateways)
        for j in range(i + 1):
            gram[:, i, j] = gram[:, j, i] = np.bincount(g, weighted * values[j], gateways)
    matrix = np.zeros((size, size))
    matrix[:SHARED, :SHARED] = gram.sum(axis=0)
    right = np.concatenate([moment.sum(axis=0), moment[:, 0], moment[:, 1]])
    both = np.concatenate([cross.sum(axis=1), cross[:, :, 0], cross[:, :, 1]], axis=1)
    rows = SHARED + np.arange(2)[:, None] * gateways + np.arange(gateways)
    for i, own_rows in enumerate(rows):
        matrix[own_rows, :SHARED] = gram[:, i]
        matrix[:SHARED, own_rows] = gram[:, i].T
        for j, other_rows in enumerate(rows):
            matrix[own_rows, other_rows] = gram[:, i, j]
    ridge = _ridge(gateways, spread)
    prior = np.concatenate([MEANS, np.zeros(2 * gateways)])
    # A loss below zero is no loss: it is held at zero, or exponents would pay for it.
    negative = np.flatnonzero(fit.shared[2:] <= HELD_DB) + 2
    ridge[negative], prior[negative] = 1.0 / HELD_DB**2, 0.0
    matrix += np.diag(ridge)
    right += ridge * prior
    own = np.bincount(visits.beacon, weight, visits.beacons) + 1.0 / fit.beacon_sd_db**2
    own_right = np.bincount(visits.beacon, weight * y, visits.beacons)
    reduced = matrix - both.T @ (both / own[:, None])
    covariance: Floats = np.linalg.inv(reduced).astype(np.float64)
    theta = covariance @ (right - both.T @ (own_right / own))
    beacon: Floats = (own_right - both @ theta) / own
    share = both / own[:, None]
    variance: Floats = 1.0 / own + np.einsum("ij,jk,ik->i", share, covariance, share)
    return theta, beacon, covariance, variance


# The error function of the standard library is slow for columns; between steps this small a line
# errs by less than 1e-5, far out by a part in 300.
_PER_UNIT: Final = 200
_FAR: Final = 30
_STEPS: Final[Floats] = np.arange(-_FAR * _PER_UNIT, _FAR * _PER_UNIT + 1) / _PER_UNIT
_BELOW: Final[Floats] = np.array([0.5 * math.erfc(-z / math.sqrt(2.0)) for z in _STEPS.tolist()])
_RATIO: Final[Floats] = np.exp(-0.5 * _STEPS**2) / math.sqrt(2.0 * math.pi) / _BELOW


def mills(z: Floats) -> tuple[Floats, Floats]:
    """Normal density over distribution at z, and the distribution; beyond 30, as at 30."""
    along = (np.clip(z, -_FAR, _FAR) + _FAR) * _PER_UNIT
    low = np.minimum(along.astype(np.int64), len(_STEPS) - 2)
    part = along - low
    return (
        _RATIO[low] + part * (_RATIO[low + 1] - _RATIO[low]),
        _BELOW[low] + part * (_BELOW[low + 1] - _BELOW[low]),
    )


def _normal_quantile(p: Floats) -> Floats:
    """Inverse of the normal distribution for 0 < p <= 0.5; Abramowitz and Stegun 26.2.23."""
    t = np.sqrt(-2.0 * np.log(p))
    top = 2.515517 + t * (0.802853 + t * 0.010328)
    bottom = 1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308))
    found: Floats = top / bottom - t
    return found
