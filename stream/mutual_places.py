"""Where a gateway may hang instead: how well each place of the site explains what it hears.

Its own offset is free at each place, so that a place is judged by the pattern over its links: loud
with these, faint with those, nothing from the rest.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.calibration import OBSTACLES_MOST_DB
from stream.grid import Grid
from stream.mutual_fit import FREEDOM, HEAR_SD_DB, LOGIT, SEND_SD_DB, T_SCALE, LinkFit
from stream.mutual_links import NEAREST_M, Links, Paths
from stream.radio_model import STOREY_M, Geometry

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Places looked at: on 60 x 40 m one each 1.5 m, on larger floors coarser.
MOST_PLACES: Final = 1_200
# Bound on what one bound can say against a place: e^-4.
_WORST: Final = -4.0
# The spread that was fitted is on the low side, being fitted, and offsets of the other ends add
# theirs; a site that seems to shadow less than most is not believed.
_TOO_SURE: Final = 1.1
_OTHERS_SD_DB: Final = 2.0
_LEAST_SD_DB: Final = 4.5
# Of the mean of sending and hearing.
_OWN_SD_DB: Final = np.hypot(SEND_SD_DB, HEAR_SD_DB) / 2.0


class Ends(NamedTuple):
    """One gateway's links: what of them does not depend on its place. Columns (links,).

    Attributes:
        other: gateway rows.
        level: mean of both ways in dBm, or a bound of it.
        bound: which are bounds.
    """

    other: Ints
    level: Floats
    bound: Bools


class Better(NamedTuple):
    """A place that explains a gateway's links better than the documented one.

    Attributes:
        gain: by how much, as the logarithm of the likelihood ratio.
        floor: row.
        x, y: metres.
        away_m: from the documented place; infinite on another floor.
    """

    gain: float
    floor: int
    x: float
    y: float
    away_m: float


class Places:
    """The places of a site where a gateway can be looked for.

    Args:
        links: the site's.
        grid: its cells.
        geometry: rays from gateways to cells.
    """

    def __init__(self, links: Links, grid: Grid, geometry: Geometry) -> None:
        self._links: Final = links
        inside = np.flatnonzero(grid.inside)
        every = 1
        while True:
            row, column = _coordinates(grid, inside)
            cells = inside[(row % every == 0) & (column % every == 0)]
            if len(cells) <= MOST_PLACES:
                break
            every += 1
        self.x: Final[Floats] = grid.x[cells]
        self.y: Final[Floats] = grid.y[cells]
        self.floor: Final[Ints] = grid.floor[cells]
        self._level: Final = np.array([f.level for f in links.site.floors], np.float64)
        self.slabs: Final = geometry.slabs[:, cells].astype(np.float64)
        shape = self.slabs.shape
        place = np.full(len(grid), -1)
        place[cells] = np.arange(len(cells))
        rays = geometry.crossings
        kept = place[rays.cell] >= 0
        at = rays.gateway[kept].astype(np.int64) * shape[1] + place[rays.cell[kept]]
        obstacle, share = rays.obstacle[kept], rays.share[kept]
        known = ~np.isnan(geometry.own_db)

        def crossed(each: Floats) -> Floats:
            summed = np.bincount(at, share * each[obstacle], shape[0] * shape[1])
            return summed.astype(np.float64).reshape(shape)

        self.racks: Final = crossed((~known & ~geometry.walls).astype(np.float64))
        self.walls: Final = crossed((~known & geometry.walls).astype(np.float64))
        self.known_db: Final = crossed(np.nan_to_num(geometry.own_db))

    def better(self, gateway: int, ends: Ends, fit: LinkFit) -> Better:
        """The place that explains a gateway's links best, as against the documented one."""
        links, j = self._links, ends.other
        here = self._expected(
            fit,
            j,
            links.decades[j, gateway][:, None],
            (links.racks[j, gateway] * fit.rack_db + links.walls[j, gateway] * fit.wall_db)[:, None]
            + links.known_db[j, gateway][:, None],
            links.slabs[j, gateway][:, None],
        )
        x0, y0, z0 = links.place[gateway]
        height = z0 + STOREY_M * self._level[self.floor]
        other = links.place[j, 2] + STOREY_M * self._level[links.floor[j]]
        away = np.sqrt(
            (links.place[j, 0, None] - self.x) ** 2
            + (links.place[j, 1, None] - self.y) ** 2
            + (other[:, None] - height) ** 2
        )
        there = self._expected(
            fit,
            j,
            np.log10(np.maximum(away, NEAREST_M)),
            self.racks[j] * fit.rack_db + self.walls[j] * fit.wall_db + self.known_db[j],
            self.slabs[j],
        )
        gains = _likelihood(ends, there, fit) - _likelihood(ends, here, fit)
        best = int(np.argmax(gains))
        floor = int(self.floor[best])
        x, y = float(self.x[best]), float(self.y[best])
        away_m = float(np.hypot(x - x0, y - y0)) if floor == links.floor[gateway] else np.inf
        return Better(float(gains[best]), floor, x, y, away_m)

    def _expected(
        self, fit: LinkFit, j: Ints, decades: Floats, obstacles: Floats, slabs: Floats
    ) -> Floats:
        """Means of both ways, without the gateway's own part. (links, places)."""
        exponent = (fit.exponent + fit.own_exponent[j])[:, None]
        own = ((fit.send_db + fit.hear_db)[j] / 2.0)[:, None]
        levels: Floats = (
            fit.intercept_dbm
            + own
            - 10.0 * exponent * decades
            - np.minimum(obstacles, OBSTACLES_MOST_DB)
            - fit.slab_db * slabs
        )
        return levels


def ends_of(gateway: int, paths: Paths, fit: LinkFit) -> Ends:
    """A gateway's links among the pairs; a way alone is brought to the mean of both."""
    mine = (paths.i == gateway) | (paths.j == gateway)
    at_i = paths.i[mine] == gateway
    other = np.where(at_i, paths.j[mine], paths.i[mine])
    # 1 where the level is what it hears, 0 where it is what is heard of it.
    into = np.where(at_i, paths.into_i[mine], 1.0 - paths.into_i[mine])
    differ = fit.hear_db - fit.send_db
    turn = differ[other] - differ[gateway]
    level = paths.level[mine] + (into - 0.5) * turn
    # Where neither way is heard the louder one is below the limit, and the mean farther.
    level -= np.where(paths.bound[mine] & (into == 0.5), np.abs(turn) / 2.0, 0.0)
    return Ends(other, level, paths.bound[mine])


def _likelihood(ends: Ends, expected: Floats, fit: LinkFit) -> Floats:
    """Log likelihood of a gateway's links at places, its own offset at its best. (places,)."""
    sd = np.hypot(max(_LEAST_SD_DB, _TOO_SURE * fit.path_sd_db), _OTHERS_SD_DB)
    left = ends.level[:, None] - expected
    clear = ~ends.bound
    known = int(clear.sum())
    # The median is worth 2 / pi of the mean.
    trust = known / (known + np.pi / 2.0 * (sd / _OWN_SD_DB) ** 2)
    own = np.median(left[clear], axis=0) * trust
    z = (left - own) / sd
    levels = -(FREEDOM + 1.0) / 2.0 * np.log1p((z[clear] / T_SCALE) ** 2 / FREEDOM)
    bounds = -np.logaddexp(0.0, -LOGIT * z[ends.bound])
    summed: Floats = levels.sum(axis=0) + np.maximum(bounds, _WORST).sum(axis=0)
    likelihood: Floats = summed - own**2 / (2.0 * _OWN_SD_DB**2)
    return likelihood


def _coordinates(grid: Grid, cells: Ints) -> tuple[Ints, Ints]:
    """Row and column of cells on their floors."""
    base, wide = (np.array(column)[grid.floor[cells]] for column in (grid.base, grid.wide))
    return (cells - base) // wide, (cells - base) % wide
