"""The paths between gateways: what lies on them, and what was heard over them: level or bound.

Geometry and sorting only; what radio does on the paths is fitted in `stream.mutual_fit`.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from stream.mutual import Heard
from stream.radio_model import GATEWAY_HEIGHT_M, STOREY_M
from stream.site import Site

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Closer than this two gateways are in each other's near field.
NEAREST_M: Final = 1.0
# Adverts that make a mean: fading of 3 dB is then below the noise of anything else.
LEAST_COUNT: Final = 20.0
# Pairs of which about half is heard, from which the limit is read.
LEAST_HALVES: Final = 4
# Standard deviation of adverts about a still link's mean: 7 to 10 dB from 5 % to 95 %.
FADING_DB: Final = 3.0
# The smallest part of the time that gateways scan.
LEAST_DUTY: Final = 0.4
# Loudest and lowest level that can be the site's limit of hearing, dBm: radios differ.
LIMIT_DBM: Final = (-102.0, -84.0)


class Links:
    """Everything about the paths between gateways that no radio changes; matrices (G, G).

    Attributes:
        decades: log10 of the distance in metres, in space.
        racks, walls: full crossings of obstacles whose loss is not known, of the same floor.
        known_db: loss by obstacles whose loss the site states.
        slabs: slabs between.
        near: pairs too close to be modelled, and a gateway with itself.
    """

    def __init__(self, site: Site) -> None:
        rows = {floor.id: row for row, floor in enumerate(site.floors)}
        self.site: Final = site
        self.floor: Final[Ints] = np.array([rows[g.floor] for g in site.gateways], np.int64)
        self.place: Final[Floats] = np.array(
            [[*g.position, GATEWAY_HEIGHT_M][:3] for g in site.gateways], np.float64
        ).reshape(-1, 3)
        level = np.array([floor.level for floor in site.floors], np.float64)[self.floor]
        self.advertises: Final[Bools] = np.array([bool(g.beacon) for g in site.gateways], np.bool_)
        height = self.place[:, 2] + STOREY_M * level
        away = np.hypot(
            np.hypot(*(np.subtract.outer(axis, axis) for axis in self.place[:, :2].T)),
            np.subtract.outer(height, height),
        )
        self.near: Final[Bools] = away < NEAREST_M
        self.decades: Final[Floats] = np.log10(np.maximum(away, NEAREST_M))
        self.slabs: Final[Floats] = np.abs(np.subtract.outer(level, level))
        self.racks, self.walls, self.known_db = (np.zeros(away.shape) for _ in range(3))
        self._cross(site, rows)

    def _cross(self, site: Site, rows: dict[str, int]) -> None:
        if not site.obstacles or not site.gateways:
            return
        polygons = np.array([shapely.Polygon(o.polygon) for o in site.obstacles])
        floors = np.array([rows[o.floor] for o in site.obstacles])
        i, j = np.nonzero(np.triu(self.floor[:, None] == self.floor, 1))
        ends = np.stack([self.place[i, :2], self.place[j, :2]], axis=1)
        rays = np.array([shapely.LineString(end) for end in ends])
        ray, obstacle = shapely.STRtree(polygons).query(rays, predicate="intersects")
        same = self.floor[i[ray]] == floors[obstacle]
        ray, obstacle = ray[same], obstacle[same]
        chord = shapely.length(shapely.intersection(rays[ray], polygons[obstacle]))
        # As in the radio model: a ray pays in full when it runs through by the obstacle's depth.
        share = np.minimum(1.0, chord / np.array([depth_of(p) for p in polygons])[obstacle])
        for row, part in enumerate(site.obstacles):
            mine = obstacle == row
            if part.loss_db is not None:
                into, cost = self.known_db, part.loss_db
            else:
                into, cost = (self.racks if part.kind == "rack" else self.walls), 1.0
            np.add.at(into, (i[ray[mine]], j[ray[mine]]), share[mine] * cost)
        for matrix in (self.racks, self.walls, self.known_db):
            matrix += matrix.T


def depth_of(polygon: shapely.Polygon) -> float:
    """The shorter side of the box that holds it most tightly, metres."""
    corners = shapely.get_coordinates(polygon.minimum_rotated_rectangle)
    return max(0.05, float(np.hypot(*np.diff(corners[:3], axis=0).T).min()))


class Paths(NamedTuple):
    """What is known of each unordered pair, by i < j; columns (pairs,).

    Attributes:
        i, j: gateway rows.
        into_i: 1 where `level` is what i hears of j, 0 the reverse, 0.5 the mean of both.
        level: dBm.
        bound: nothing is known but that it is below `level`.
        to_i, to_j: level each way, or the bound of it, or NaN.
        to_i_known, to_j_known: whether it is a level.
    """

    i: Ints
    j: Ints
    into_i: Floats
    level: Floats
    bound: Bools
    to_i: Floats
    to_j: Floats
    to_i_known: Bools
    to_j_known: Bools


def true_levels(level: Floats, share: Floats) -> Floats:
    """Means of all adverts from means of those heard: what was missed was the faint part.

    The mean of the upper part p of a normal distribution lies f(z) / p standard deviations high,
    with z its quantile and f the density; 1.6 (1 - p) is that within 0.1 for p from 0.3 on.
    """
    corrected: Floats = level - 1.6 * FADING_DB * (1.0 - np.minimum(share, 1.0))
    return corrected


def limit_of(heard: Heard) -> float:
    """The level at which half the adverts are heard, dBm; where all is loud, the lowest level."""
    told = heard.adverts >= LEAST_COUNT
    level = true_levels(heard.level, heard.share)
    half = told & (np.abs(heard.share - 0.5) <= 0.2)
    if half.sum() >= LEAST_HALVES:
        limit = float(np.median(level[half]))
    else:
        limit = float(level[told].min()) if told.any() else LIMIT_DBM[1]
    return min(max(limit, LIMIT_DBM[0]), LIMIT_DBM[1])


def sends_of(heard: Heard) -> Bools:
    """Gateways of which enough was heard that the silence of others means something. (G,)."""
    sends: Bools = heard.adverts.max(axis=0, initial=0.0) >= 3.0 * LEAST_COUNT
    return sends


def online_of(heard: Heard) -> Bools:
    """Gateways that were surely on: they hear somebody for most of the time. (G,)."""
    online: Bools = heard.share.max(axis=1, initial=0.0) >= LEAST_DUTY
    return online


def paths_of(
    links: Links, heard: Heard, online: Bools, without: Bools, *, everywhere: bool = False
) -> Paths:
    """Sorts what was heard into levels and bounds.

    Args:
        links: the site's.
        heard: what was heard.
        online: gateways that were on for the last FADE_S: of others silence says nothing. (G,)
        without: gateways to leave out. (G,)
        everywhere: also silence between gateways that are too far apart to hear each other, of
            which one may not be where the site says.
    """
    limit = limit_of(heard)
    enough = heard.adverts >= LEAST_COUNT
    # One that scans for a part of the time misses adverts of all alike.
    duty = np.maximum(heard.share.max(axis=1, initial=0.0, keepdims=True), LEAST_DUTY)
    mean = true_levels(heard.level, heard.share / duty)
    clear = enough & (mean >= limit)
    told = online[:, None] & (links.advertises & online & sends_of(heard))
    ways = np.where(clear, mean, np.where(told, limit, np.nan))
    i, j = np.nonzero(np.triu(~links.near, 1) & ~(without[:, None] | without))
    known_i, known_j = clear[i, j], clear[j, i]
    to_i, to_j = ways[i, j], ways[j, i]
    # A level counts more than a bound, and a bound more than nothing.
    only_i = (known_i & ~known_j) | (np.isfinite(to_i) & np.isnan(to_j))
    only_j = (known_j & ~known_i) | (np.isfinite(to_j) & np.isnan(to_i))
    level = np.where(only_i, to_i, np.where(only_j, to_j, (to_i + to_j) / 2.0))
    into_i = np.where(only_i, 1.0, np.where(only_j, 0.0, 0.5))
    known = known_i | known_j
    # Silence far beyond where anybody hears anything says nothing.
    reach = links.decades[i[known], j[known]].max(initial=0.0) + math.log10(1.5)
    keep = np.isfinite(level) & (known | everywhere | (links.decades[i, j] <= reach))
    return Paths(
        *(column[keep] for column in (i, j, into_i, level, ~known, to_i, to_j, known_i, known_j))
    )
