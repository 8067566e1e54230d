"""Radio parameters from what gateways hear of each other: offsets, exponents, losses of obstacles.

What lies between two gateways weakens both ways alike. So a pair says two things apart: the mean
of both ways holds the path and its shadowing, the difference holds neither, only how the two
gateways differ in sending and hearing. The first are fitted with the noise of shadowing, the
second with their own small noise; together they tell what each gateway hears better than either.

Pairs that are barely heard are heard when loud: their means lie too high, and taken at face value
they make the exponent too low. They enter as upper bounds (a Tobit term), as do pairs that
are not heard at all although both are on.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from stream.calibration import (
    EXPONENT,
    OBSTACLES_MOST_DB,
    RACK_DB,
    SLAB_DB,
    WALL_DB,
    Calibration,
    GatewayFit,
    prior,
)
from stream.mutual import Heard, Mutual
from stream.mutual_links import Links, Paths, limit_of, online_of, paths_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Pairs heard well, and gateways in them, below which nothing is fitted.
LEAST_PAIRS: Final = 6
LEAST_GATEWAYS: Final = 4
# Prior spreads. Receivers and their mountings differ by 2 to 3 dB, senders by less.
SEND_SD_DB: Final = 2.0
HEAR_SD_DB: Final = 3.0
EXPONENT_SD: Final = 0.4
OWN_EXPONENT_SD: Final = 0.1
RACK_SD_DB: Final = 2.5
WALL_SD_DB: Final = 3.0
SLAB_SD_DB: Final = 3.0
# Shadowing before anything is known, and noise of the difference of both ways; and the number of
# pairs that this knowledge is worth.
PATH_SD_DB: Final = 5.0
DIFFERENCE_SD_DB: Final = 2.0
KNOWN_PAIRS: Final = 8.0
# Student's t: one pair in twenty is far off, for the gateway at its end is.
FREEDOM: Final = 4.0
# Scale of the t distribution that fits normal residuals of standard deviation 1.
T_SCALE: Final = 0.83
# No site shadows more; more is many gateways in wrong places.
MOST_SD_DB: Final = 12.0
# Logistic for the normal distribution function: right to 0.01, and its tail pulls with a bounded
# force, so that one gateway that hears nothing does not bend the rest.
LOGIT: Final = 1.702
_ROUNDS: Final = 40
_DONE_DB: Final = 0.005
# Of what gateways tell of the path between them, what is taken to hold for the path to tags.
CARRIED: Final = 0.7
# Pairs that a calibration's own sd_db is worth beside what is found here.
SD_PAIRS: Final = 40.0

_COMMON: Final = 5  # intercept, exponent, rack, wall, slab


class LinkFit(msgspec.Struct, frozen=True):
    """What was fitted. Columns by gateway row.

    Attributes:
        intercept_dbm: of a common gateway heard by a common gateway at 1 m.
        exponent, exponent_se: the site's, and its standard error.
        rack_db, wall_db, slab_db: of one crossing.
        send_db, hear_db: how much louder each sends and hears than the common one.
        send_se, hear_se: their standard errors.
        own_exponent: what each adds to the exponent of paths from and to it.
        path_sd_db: standard deviation of what is left of the mean of both ways: shadowing.
        difference_sd_db: of what is left of their difference.
        limit_dbm: where hearing ends.
        pairs: how many were heard well, at least one way.
    """

    intercept_dbm: float
    exponent: float
    exponent_se: float
    rack_db: float
    wall_db: float
    slab_db: float
    send_db: Floats
    hear_db: Floats
    send_se: Floats
    hear_se: Floats
    own_exponent: Floats
    path_sd_db: float
    difference_sd_db: float
    limit_dbm: float
    pairs: int


def fit_links(
    links: Links,
    heard: Heard,
    *,
    online: Bools | None = None,
    without: Bools | None = None,
) -> LinkFit | None:
    """Fits all parameters at once, robustly; None when too little was heard.

    Iteratively reweighted ridge least squares: Student's t for levels (Lange, Little and Taylor,
    J. Amer. Statist. Assoc. 84, 1989), Newton steps of the logistic likelihood for bounds; the
    ridge is the prior of each parameter.

    Args:
        links: the site's.
        heard: what was heard.
        online: gateways that were on for the last FADE_S, (G,); None takes those that hear much.
        without: gateways to leave out, (G,).
    """
    everybody = np.zeros(len(links.place), np.bool_)
    paths = paths_of(
        links,
        heard,
        online_of(heard) if online is None else online,
        everybody if without is None else without,
    )
    clear = ~paths.bound
    ends = np.union1d(paths.i[clear], paths.j[clear])
    if int(clear.sum()) < LEAST_PAIRS or len(ends) < LEAST_GATEWAYS:
        return None
    return _Solver(links, paths).solve(limit_of(heard))


class _Rows(NamedTuple):
    """Rows of the regression that share a noise; each has few columns. (few, rows) and (rows,)."""

    column: Ints
    design: Floats
    value: Floats
    bound: Bools

    def expected(self, beta: Floats) -> Floats:
        levels: Floats = (self.design * beta[self.column]).sum(axis=0)
        return levels

    def normal(self, value: Floats, weight: Floats, size: int) -> tuple[Floats, Floats]:
        """The normal equations under these working values and weights."""
        at = self.column[:, None] * size + self.column[None]
        products = self.design[:, None] * self.design[None] * weight
        matrix = np.bincount(at.ravel(), products.ravel(), size * size).astype(np.float64)
        sides = (self.design * weight * value).ravel()
        right = np.bincount(self.column.ravel(), sides, size).astype(np.float64)
        return matrix.reshape(size, size), right


class _Solver:
    """The regression: rows of the pairs' means of both ways, and rows of their differences."""

    def __init__(self, links: Links, paths: Paths) -> None:
        size = len(links.place)
        self._size: Final = size
        sd = [30.0, EXPONENT_SD, RACK_SD_DB, WALL_SD_DB, SLAB_SD_DB]
        for each in (SEND_SD_DB, HEAR_SD_DB, OWN_EXPONENT_SD):
            sd += [each] * size
        self._precision: Final[Floats] = 1.0 / np.array(sd) ** 2
        i, j = paths.i, paths.j
        self._known_db: Final = links.known_db[i, j]
        fall = -10.0 * links.decades[i, j]
        # A way alone has its own sender and hearer, a mean of both ways half of all four.
        into_i, into_j = paths.into_i, 1.0 - paths.into_i
        self._alone: Final = into_i != 0.5
        self._ends: Final = i, j
        send, hear, own = (_COMMON + size * k for k in range(3))
        common = np.repeat(np.arange(_COMMON)[:, None], len(i), axis=1)
        self._paths: Final = _Rows(
            np.stack([*common, send + i, send + j, hear + i, hear + j, own + i, own + j]),
            np.stack(
                [
                    *(np.ones(len(i)), fall),
                    *(-links.racks[i, j], -links.walls[i, j], -links.slabs[i, j]),
                    *(into_j, into_i, into_i, into_j, fall, fall),
                ]
            ),
            paths.level,
            paths.bound,
        )
        # What i hears minus what j hears: sender j and hearer i, minus sender i and hearer j.
        apart = np.flatnonzero(paths.to_i_known | paths.to_j_known)
        apart = apart[np.isfinite(paths.to_i[apart]) & np.isfinite(paths.to_j[apart])]
        # A way that is only bounded bounds the difference from above, or from below: turned round.
        turn = np.where(paths.to_i_known[apart] & ~paths.to_j_known[apart], -1.0, 1.0)
        self._apart: Final = _Rows(
            np.stack([send + j, hear + i, send + i, hear + j])[:, apart],
            np.array([[1.0], [1.0], [-1.0], [-1.0]]) * turn,
            (paths.to_i - paths.to_j)[apart] * turn,
            ~(paths.to_i_known & paths.to_j_known)[apart],
        )

    def solve(self, limit: float) -> LinkFit:
        size = self._size
        mean = np.zeros(_COMMON + 3 * size)
        mean[1:_COMMON] = EXPONENT, RACK_DB, WALL_DB, SLAB_DB
        clear = ~self._paths.bound
        rows, known_db = self._at(mean)
        mean[0] = float(np.median((rows.value + known_db - rows.expected(mean))[clear]))
        beta, path_sd, apart_sd = mean.copy(), PATH_SD_DB, DIFFERENCE_SD_DB
        covariance: Floats = np.zeros((len(beta), len(beta)))
        for round_ in range(_ROUNDS):
            rows, known_db = self._at(beta)
            # A way alone has the noise of one way.
            sd = np.where(self._alone, math.hypot(path_sd, apart_sd / 2.0), path_sd)
            apart_noise = np.full(len(self._apart.value), apart_sd)
            step = _step(rows, known_db, beta, sd)
            apart_step = _step(self._apart, np.zeros(len(apart_noise)), beta, apart_noise)
            whole = step.normal + apart_step.normal + np.diag(self._precision)
            right = step.right + apart_step.right + self._precision * mean
            last, beta = beta, np.linalg.solve(whole, right).astype(np.float64)
            beta[2:_COMMON] = np.maximum(beta[2:_COMMON], 0.0)
            done = float(np.abs(beta - last).max()) < _DONE_DB
            # It changes little from round to round, and an inverse is dear.
            if round_ % 3 == 0 or done or round_ == _ROUNDS - 1:
                informed = step.information + apart_step.information + np.diag(self._precision)
                covariance = np.linalg.inv(informed).astype(np.float64)
            path_sd = _spread(step, covariance, path_sd, PATH_SD_DB)
            apart_sd = _spread(apart_step, covariance, apart_sd, DIFFERENCE_SD_DB)
            if done:
                break
        send, hear, own = (slice(_COMMON + size * k, _COMMON + size * (k + 1)) for k in range(3))
        error = np.sqrt(np.diag(covariance))
        return LinkFit(
            intercept_dbm=float(beta[0]),
            exponent=float(beta[1]),
            exponent_se=float(error[1]),
            rack_db=float(beta[2]),
            wall_db=float(beta[3]),
            slab_db=float(beta[4]),
            send_db=beta[send],
            hear_db=beta[hear],
            send_se=error[send],
            hear_se=error[hear],
            own_exponent=beta[own],
            path_sd_db=path_sd,
            difference_sd_db=apart_sd,
            limit_dbm=limit,
            pairs=int(clear.sum()),
        )

    def _at(self, beta: Floats) -> tuple[_Rows, Floats]:
        """The paths' rows, and the losses that are not in their design. (rows,) dB."""
        rows = self._paths
        racks, walls = -rows.design[2], -rows.design[3]
        capped = racks * beta[2] + walls * beta[3] + self._known_db > OBSTACLES_MOST_DB
        design = rows.design.copy()
        design[2:4, capped] = 0.0
        # Where neither way is heard the louder one is below the limit, and the mean farther.
        turn = (
            beta[_COMMON + self._size : _COMMON + 2 * self._size]
            - beta[_COMMON : _COMMON + self._size]
        )
        below = np.abs(turn[self._ends[0]] - turn[self._ends[1]]) / 2.0
        value = rows.value - np.where(rows.bound & ~self._alone, below, 0.0)
        return rows._replace(design=design, value=value), np.where(
            capped, OBSTACLES_MOST_DB, self._known_db
        )


class _Step(NamedTuple):
    """One step: normal equations, information about the parameters, and sums for the spread."""

    normal: Floats
    right: Floats
    information: Floats
    clear: Floats
    squares: float
    rows: int


def _step(rows: _Rows, known_db: Floats, beta: Floats, sd: Floats) -> _Step:
    value, bound = rows.value + known_db, rows.bound
    expected = rows.expected(beta)
    z = (value - expected) / (T_SCALE * sd)
    weight = (FREEDOM + 1.0) / (FREEDOM + z * z)
    # Bounds by the tangent parabola of the logistic likelihood, which never overshoots (Jaakkola
    # and Jordan, Statistics and Computing 10, 2000): curvature tanh(x / 2) / 2x.
    x = LOGIT * T_SCALE * z
    flat = np.maximum(np.abs(x), 1e-6)
    parabola = np.tanh(flat / 2.0) / (2.0 * flat)
    aim = value - sd * 0.5 / (parabola * LOGIT)
    beyond = 1.0 / (1.0 + np.exp(np.clip(x, -30.0, 30.0)))
    size = len(beta)
    normal, right = rows.normal(
        np.where(bound, aim, value),
        np.where(bound, LOGIT**2 * parabola, weight / T_SCALE**2) / sd**2,
        size,
    )
    clear, _ = rows.normal(value, np.where(bound, 0.0, weight) / sd**2, size)
    bounds, _ = rows.normal(
        value, np.where(bound, LOGIT**2 * beyond * (1.0 - beyond), 0.0) / sd**2, size
    )
    squares = np.where(bound, -x * beyond, weight * z * z)
    return _Step(normal, right, clear + bounds, clear, float(squares.sum()), int((~bound).sum()))


def _spread(step: _Step, covariance: Floats, now: float, before: float) -> float:
    """The next standard deviation of residuals, shrunk to what was known before."""
    if not step.rows:
        return before
    free = max(step.rows - float((covariance * step.clear).sum()), step.rows / 3.0)
    found = max(step.squares, 0.0) / free * now**2
    shrunk = (KNOWN_PAIRS * before**2 + free * found) / (KNOWN_PAIRS + free)
    return min(max(math.sqrt(shrunk), 0.5), MOST_SD_DB)


def calibrate(
    mutual: Mutual,
    links: Links,
    *,
    t: float | None = None,
    online: Bools | None = None,
    base: Calibration | None = None,
) -> Calibration | None:
    """A calibration from what gateways heard of each other, or None when that is too little.

    Args:
        mutual: what was heard.
        links: of the same site.
        t: Unix seconds, by default of the latest reading.
        online: as in `fit_links`.
        base: what is known already, and kept as `to_calibration` says.
    """
    heard = mutual.heard(t)
    fit = fit_links(links, heard, online=online)
    if fit is None:
        return None
    return to_calibration(links, fit, mutual.t if t is None else t, int(heard.adverts.sum()), base)


def to_calibration(
    links: Links, fit: LinkFit, t: float, adverts: int, base: Calibration | None = None
) -> Calibration:
    """What of the fit holds for tags, as a calibration.

    - What a gateway hears better or worse is its own: it holds for tags in full.
    - What it sends has no meaning for tags, nor has the level at 1 m: a gateway's antenna is not a
      tag's. `offset_dbm` stays what it was.
    - Paths between gateways run under the ceiling, over goods and people, tags lie among them.
      Exponents, losses of obstacles and the spread are taken over with a weight only.
    - What was fitted to tags themselves (`base` from a survey or from the work) knows better: it
      is kept, and only gateways of which it says nothing are added.
    """
    base = prior(links.site.id) if base is None else base
    # Of one that took no part the fit knows nothing but the prior.
    known = fit.hear_se < 0.9 * HEAR_SD_DB
    hears = fit.hear_db - (float(fit.hear_db[known].mean()) if known.any() else 0.0)
    own = base.origin in ("survey", "work")
    plain = prior(links.site.id)

    def carried(found: float, before: float) -> float:
        return round(before + CARRIED * (found - before), 3)

    exponent = base.exponent if own else carried(fit.exponent, plain.exponent)
    gateways = dict(base.gateways) if own else {}
    for row, part in enumerate(links.site.gateways):
        if known[row] and part.id not in gateways:
            gateways[part.id] = GatewayFit(
                offset_db=round(float(hears[row]), 3),
                exponent=round(exponent + CARRIED * float(fit.own_exponent[row]), 3),
            )
    if own:
        return msgspec.structs.replace(base, gateways=gateways)
    share = fit.pairs / (fit.pairs + SD_PAIRS)
    return msgspec.structs.replace(
        base,
        origin="gateways",
        t=t,
        readings=adverts,
        exponent=exponent,
        sd_db=round(math.sqrt(share * fit.path_sd_db**2 + (1.0 - share) * plain.sd_db**2), 3),
        rack_db=carried(fit.rack_db, plain.rack_db),
        wall_db=carried(fit.wall_db, plain.wall_db),
        slab_db=carried(fit.slab_db, plain.slab_db),
        gateways=gateways,
    )
