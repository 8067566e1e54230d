"""Peers' methods: where others would put a beacon, given the same recent readings.

Pure functions over a block of questions: what each gateway heard on average in, a place out.
They are what other open systems do, with the constants that other systems ship: nothing here is
fitted to any site. `stream.fingerprints` holds the one that needs a survey.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.radio_model import GATEWAY_HEIGHT_M, STOREY_M, TAG_HEIGHT_M
from stream.site import Site

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NOBODY: Final = -1
"""The gateway of a slot that holds none."""

# The centroid's weights are power in milliwatts, the usual choice: 10 dB make ten times the weight.
CENTROID_DB: Final = 10.0
# RSSI at 1 m that iBeacon tags announce most often, and free space's exponent: the constants of
# nearly every tutorial and library.
TEXTBOOK_DBM: Final = -59.0
TEXTBOOK_EXPONENT: Final = 2.0
# Least squares: enough steps for any start inside a building; no step below a millimetre counts.
MOST_STEPS: Final = 60
SMALLEST_STEP_M: Final = 1e-3
# Levenberg's damping to begin with, relative to the curvature, and how it follows success
# (Marquardt, J. SIAM 11(2), 1963); beyond the last no step helps any more.
DAMPING: Final = 1e-2
DAMPING_DOWN: Final = 0.2
DAMPING_UP: Final = 5.0
MOST_DAMPING: Final = 1e9


class Plan(NamedTuple):
    """What peers know of a site.

    Attributes:
        place: the gateways' places, the height above their own floor; (gateways, 3), metres.
        floor: the gateways' floor rows, (gateways,).
        level: the floors' levels, (floors,).
        least, most: corners of the box around each floor's outline, (floors, 2), metres.
    """

    place: Floats
    floor: Ints
    level: Floats
    least: Floats
    most: Floats


class Heard(NamedTuple):
    """What was heard of each beacon, in slots: one gateway each, NOBODY in those left over.

    Attributes:
        gateway: rows, (questions, slots).
        rssi: mean RSSI in dBm, (questions, slots); anything where there is nobody.
    """

    gateway: Ints
    rssi: Floats

    @property
    def filled(self) -> Bools:
        """Which slots hold a gateway, (questions, slots)."""
        filled: Bools = self.gateway != NOBODY
        return filled


class Answers(NamedTuple):
    """Places: `xy` in metres (questions, 2), and floor rows (questions,)."""

    xy: Floats
    floor: Ints


def plan_of(site: Site) -> Plan:
    """The plan of a site; gateways and floors in the site's order."""
    row = {floor.id: i for i, floor in enumerate(site.floors)}
    outlines = [np.array(floor.outline, np.float64) for floor in site.floors]
    place = [[*part.position, GATEWAY_HEIGHT_M][:3] for part in site.gateways]
    return Plan(
        np.array(place, np.float64).reshape(-1, 3),
        np.array([row[part.floor] for part in site.gateways], np.int64),
        np.array([floor.level for floor in site.floors], np.float64),
        np.array([outline.min(axis=0) for outline in outlines]),
        np.array([outline.max(axis=0) for outline in outlines]),
    )


def nearest_gateway(plan: Plan, heard: Heard) -> Answers:
    """The place of the gateway that hears the beacon loudest; every row must have one."""
    loudest = _loudest(heard)
    return Answers(plan.place[loudest, :2], plan.floor[loudest])


def centroid(plan: Plan, heard: Heard) -> Answers:
    """The middle of all gateways that hear the beacon, weighted by power."""
    middle = weighted_centroid(plan.place[heard.gateway], heard.rssi, heard.filled, CENTROID_DB)
    return Answers(middle, plan.floor[_loudest(heard)])


def weighted_centroid(place: Floats, rssi: Floats, heard: Bools, db_per_decade: float) -> Floats:
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
    middle: Floats = np.einsum("bs,bsd->bd", weight, place[:, :, :2])
    return middle


def range_least_squares(
    plan: Plan, heard: Heard, offset_dbm: float = TEXTBOOK_DBM, exponent: float = TEXTBOOK_EXPONENT
) -> Answers:
    """The place whose distances fit the ranges best, as trilateration libraries do it.

    Every RSSI becomes a range, 10^((offset - rssi) / (10 exponent)) metres; then the sum of
    squared differences between distances and ranges is made least by Newton's steps with Levenberg
    and Marquardt's damping, from the weighted centroid, within the box around the floor's outline.
    The floor is that of the loudest gateway. Heights are known, so the ranges are slant ranges.
    """
    floor = plan.floor[_loudest(heard)]
    ranges = 10.0 ** ((offset_dbm - heard.rssi) / (10.0 * exponent))
    place = plan.place[heard.gateway]
    storeys = plan.level[plan.floor[heard.gateway]] - plan.level[floor][:, None]
    rise = place[:, :, 2] + STOREY_M * storeys - TAG_HEIGHT_M
    start = weighted_centroid(place, heard.rssi, heard.filled, CENTROID_DB)
    xy = _fitted(
        start, place[:, :, :2], rise, ranges, heard.filled, plan.least[floor], plan.most[floor]
    )
    return Answers(xy, floor)


def _loudest(heard: Heard) -> Ints:
    slot = np.where(heard.filled, heard.rssi, -np.inf).argmax(axis=1)
    loudest: Ints = heard.gateway[np.arange(len(slot)), slot]
    return loudest


def _fitted(
    start: Floats,
    place: Floats,
    rise: Floats,
    ranges: Floats,
    filled: Bools,
    least: Floats,
    most: Floats,
) -> Floats:
    """The least squares of all rows at once; rows that are done are left out."""
    xy = np.clip(start, least, most)
    damping = np.full(len(xy), DAMPING)
    going = np.arange(len(xy))
    for _ in range(MOST_STEPS):
        if not len(going):
            break
        at, low, high = xy[going], least[going], most[going]
        rest, away, distance = _misfit(at, place[going], rise[going], ranges[going], filled[going])
        slope = away / distance[:, :, None] * filled[going][:, :, None]
        gradient = np.einsum("bsd,bs->bd", slope, rest)
        # A coordinate that lies on the bound and wants out stays there: the other goes its own way.
        free = ~(((at <= low) & (gradient > 0.0)) | ((at >= high) & (gradient < 0.0)))
        curve = _curvature(slope, rest / distance)
        curve *= (free[:, :, None] & free[:, None, :]) | np.eye(2, dtype=np.bool_)
        # The matrix is singular where all gateways stand in one direction.
        scale = np.einsum("bdd->b", curve) * 0.5 + 1e-9
        a = curve[:, 0, 0] + damping[going] * scale
        b = curve[:, 1, 1] + damping[going] * scale
        c = curve[:, 0, 1]
        determinant = np.maximum(a * b - c * c, 1e-18)
        step = -np.stack(
            [
                (b * gradient[:, 0] - c * gradient[:, 1]) / determinant,
                (a * gradient[:, 1] - c * gradient[:, 0]) / determinant,
            ],
            axis=1,
        )
        tried = np.clip(at + step, low, high)
        after, _, _ = _misfit(tried, place[going], rise[going], ranges[going], filled[going])
        better = (after**2).sum(axis=1) < (rest**2).sum(axis=1)
        xy[going[better]] = tried[better]
        damping[going] *= np.where(better, DAMPING_DOWN, DAMPING_UP)
        moved = np.hypot(*(tried - at).T)
        # A small step that helped says nothing when it was damping that made it small.
        ended = (moved <= SMALLEST_STEP_M) & (~better | (damping[going] <= DAMPING))
        going = going[~ended & (damping[going] < MOST_DAMPING)]
    return xy


def _curvature(slope: Floats, beyond: Floats) -> Floats:
    """Of the halved sum of squares, (rows, 2, 2), where it curves upwards in every direction.

    Elsewhere Gauss and Newton's part of it, which always does. That part alone would take hundreds
    of steps where ranges contradict each other by many metres.

    Args:
        slope: of distances in x and y, (rows, slots, 2); 0 in empty slots.
        beyond: (distance - range) / distance, (rows, slots); 0 in empty slots.
    """
    part: Floats = np.einsum("bsd,bse->bde", slope, slope)
    whole: Floats = np.einsum("bsd,bse,bs->bde", slope, slope, 1.0 - beyond)
    whole[:, [0, 1], [0, 1]] += beyond.sum(axis=1)[:, None]
    determinant = whole[:, 0, 0] * whole[:, 1, 1] - whole[:, 0, 1] ** 2
    upwards = (whole[:, 0, 0] > 0.0) & (determinant > 0.0)
    chosen: Floats = np.where(upwards[:, None, None], whole, part)
    return chosen


def _misfit(
    xy: Floats, place: Floats, rise: Floats, ranges: Floats, filled: Bools
) -> tuple[Floats, Floats, Floats]:
    """Distance minus range (0 in empty slots), the horizontal way there, and the distance."""
    away = xy[:, None, :] - place
    distance = np.maximum(np.sqrt((away**2).sum(axis=2) + rise**2), 1e-9)
    return np.where(filled, distance - ranges, 0.0), away, distance
