"""The first locator: robust least squares in the dB domain with an unknown offset per beacon.

For beacon b heard by gateways g at r_g dBm, finds the place p and the offset a that minimise

    sum_g w_g (r_g - a + 10 N log10 |p - p_g|)^2 + ((a - A) / A_SD)^2 + |p - c|^2 / C_SD^2

where w_g is Student-t's weight over the variance of the mean, and c the weighted centroid.
Residuals are dB, never metres: an error of 6 dB is as likely far away as close by, but in metres
it is not (log-distance path-loss model: Rappaport, Wireless Communications, section 4.9). The
offset is free because tag models and bodies differ by tens of dB. All beacons of a tick are
solved together, with a fixed number of damped Gauss-Newton steps.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Path-loss exponent: free space has 2.0, measured halls 1.8 to 3.5.
EXPONENT: Final = 2.5
# RSSI at 1 m of a common tag at 0 dBm, and how far models, powers and bodies stray from it.
OFFSET_DBM: Final = -61.0
OFFSET_SD_DB: Final = 9.0
# What shadowing leaves after any number of adverts, and the fading of a single one.
SHADOW_SD_DB: Final = 5.0
FADING_SD_DB: Final = 6.0
# Degrees of freedom: heavy tails, yet finite variance.
STUDENT_NU: Final = 4.0
# The weighted centroid as a start and a weak prior; it cannot leave the gateways' hull. How many
# dB make ten times the weight grows with the distance between gateways, within bounds: where they
# are far apart, a few dB of shadowing are many metres, and the loudest alone says little. From
# measured surveys with 3 to 5 m between gateways and simulated halls with 12 m.
CENTROID_DB: Final = 8.0
CENTROID_DB_PER_M: Final = 0.8
CENTROID_FROM_M: Final = 3.0
CENTROID_DB_MOST: Final = 18.0
CENTROID_SD_M: Final = 0.5
# A beacon that a single gateway hears is anywhere in that gateway's cell: the standard deviation
# of either coordinate over a square as wide as the gateways are apart is 1 / sqrt(12) of it.
# Each further gateway that hears it takes its share of that.
CELL_SHARE: Final = 1.0 / math.sqrt(12.0)
CENTROID_SHARE: Final = 0.25
# Tags are carried or lie at about this height; closer than this the model has no meaning.
TAG_HEIGHT_M: Final = 1.0
NEAREST_M: Final = 0.7
STEPS: Final = 8
# No step is longer: the model is linear only that far.
LONGEST_STEP_M: Final = 6.0

_SLOPE: Final = 10.0 * EXPONENT / np.log(10.0)


class Solved(NamedTuple):
    """Places of a tick's beacons, each of shape (beacons,).

    Attributes:
        x, y: metres.
        variance: of either coordinate, square metres, by the curvature of the sum above.
    """

    x: Floats
    y: Floats
    variance: Floats


def centroid_db(spacing_m: float) -> float:
    """The dB that make ten times the weight, where gateways are this far from their nearest."""
    grown = CENTROID_DB + CENTROID_DB_PER_M * (spacing_m - CENTROID_FROM_M)
    return min(max(grown, CENTROID_DB), CENTROID_DB_MOST)


def weighted_centroid(
    place: Floats, rssi: Floats, heard: npt.NDArray[np.bool_], db_per_decade: float
) -> Floats:
    """Centroids of the gateways' places weighted by 10^(rssi / db_per_decade).

    Args:
        place: (beacons, slots, 3) metres.
        rssi: (beacons, slots) dBm.
        heard: which slots hold a gateway; at least one in each row.
        db_per_decade: how many dB make ten times the weight.

    Returns:
        (beacons, 2) metres.
    """
    level = np.where(heard, rssi, -np.inf)
    weight = 10.0 ** ((level - level.max(axis=1, keepdims=True)) / db_per_decade)
    weight /= weight.sum(axis=1, keepdims=True)
    centroid: Floats = np.einsum("bs,bsd->bd", weight, place[:, :, :2])
    return centroid


def solve(
    place: Floats, rssi: Floats, n: Floats, heard: npt.NDArray[np.bool_], spacing_m: float
) -> Solved:
    """Locates every beacon of a tick.

    Args:
        place: (beacons, slots, 3) metres: the gateways' places.
        rssi: (beacons, slots) dBm: mean RSSI.
        n: (beacons, slots): faded count of adverts behind it.
        heard: (beacons, slots): which slots hold a gateway; at least one in each row.
        spacing_m: how far the site's gateways are from their nearest, as a rule.
    """
    centroid = weighted_centroid(place, rssi, heard, centroid_db(spacing_m))
    variance = SHADOW_SD_DB**2 + FADING_SD_DB**2 / np.maximum(n, 1e-3)
    precision = np.where(heard, 1.0 / variance, 0.0)
    height2 = (place[:, :, 2] - TAG_HEIGHT_M) ** 2
    floor2 = NEAREST_M**2
    px, py = place[:, :, 0], place[:, :, 1]
    x, y = centroid[:, 0].copy(), centroid[:, 1].copy()
    spread = np.where(heard, (px - centroid[:, :1]) ** 2 + (py - centroid[:, 1:]) ** 2, 0.0)
    count = heard.sum(axis=1)
    prior = 1.0 / (
        CENTROID_SD_M**2
        + CENTROID_SHARE**2 * spread.sum(axis=1) / count
        + (CELL_SHARE * spacing_m / count) ** 2
    )
    a = np.full(len(x), OFFSET_DBM)
    hxx = hyy = hxy = np.zeros(len(x))
    for step in range(STEPS):
        dx, dy = x[:, None] - px, y[:, None] - py
        d2 = np.maximum(dx * dx + dy * dy + height2, floor2)
        # The prediction without the offset, and its slopes in x and y.
        level = -0.5 * _SLOPE * np.log(d2)
        sx, sy = -_SLOPE * dx / d2, -_SLOPE * dy / d2
        if step == 0:
            w = precision
            a = _offset(w, rssi - level)
        residual = rssi - a[:, None] - level
        w = precision * (STUDENT_NU + 1.0) / (STUDENT_NU + residual * residual * precision)
        # The offset leaves the equations by Schur's complement.
        wa = w.sum(axis=1) + 1.0 / OFFSET_SD_DB**2
        wx, wy = (w * sx).sum(axis=1), (w * sy).sum(axis=1)
        wr = (w * residual).sum(axis=1) + (OFFSET_DBM - a) / OFFSET_SD_DB**2
        hxx = (w * sx * sx).sum(axis=1) + prior - wx * wx / wa
        hyy = (w * sy * sy).sum(axis=1) + prior - wy * wy / wa
        hxy = (w * sx * sy).sum(axis=1) - wx * wy / wa
        gx = (w * sx * residual).sum(axis=1) + (centroid[:, 0] - x) * prior - wx * wr / wa
        gy = (w * sy * residual).sum(axis=1) + (centroid[:, 1] - y) * prior - wy * wr / wa
        det = hxx * hyy - hxy * hxy
        mx, my = (hyy * gx - hxy * gy) / det, (hxx * gy - hxy * gx) / det
        shrink = np.minimum(1.0, LONGEST_STEP_M / np.maximum(np.hypot(mx, my), 1e-9))
        mx, my = mx * shrink, my * shrink
        a = a + (wr - wx * mx - wy * my) / wa
        x, y = x + mx, y + my
    return Solved(x, y, 0.5 * (hxx + hyy) / (hxx * hyy - hxy * hxy))


def _offset(weight: Floats, residual: Floats) -> Floats:
    """The offset that fits best at a given place, with its prior."""
    prior = 1.0 / OFFSET_SD_DB**2
    fitted: Floats = ((weight * residual).sum(axis=1) + OFFSET_DBM * prior) / (
        weight.sum(axis=1) + prior
    )
    return fitted
