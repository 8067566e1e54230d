"""The error bound: how well a place can be known from RSSI at best, before anything is measured.

The Cramer-Rao bound of one snapshot, that is of the adverts sent from one place, without a past:

    J = sum over gateways of w grad grad^T,   rms error >= sqrt(trace(J^-1))

as in Patwari et al., Relative location estimation in wireless sensor networks, IEEE Trans. Signal
Processing 51(8), 2003, with three additions. A gateway counts as far as it is likely to hear, and
its silence tells what a censored reading tells. The tag's own strength is an unknown with a prior.
Racks and walls add the slope that they have on average over some metres, for their edges are not
known to a decimetre and a jump would promise anything. What makes figures out of gateways' places
is here; advice on them is in `stream.planner`.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import shapely

from stream.grid import Grid
from stream.obstacle_slopes import Slopes
from stream.radio_model import (
    NEAREST_M,
    STOREY_M,
    TAG_HEIGHT_M,
    Geometry,
    RadioModel,
    gateway_columns,
)
from stream.site import Site

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

# Rows of the sums that the information about a place consists of: over all gateways, of w times
# gx gx, gx gy, gy gy, gx, gy and 1, with (gx, gy) the gradient of the level in dB per metre.
SUMS: Final = 6
# The curve of what is heard is kept from this far below the detection limit to as far above, in
# steps; beyond, nothing is heard, or everything.
_SPAN_DB: Final = 60.0
_STEP_DB: Final = 0.5
# Points over the slow part of the noise, to four standard deviations either side.
_POINTS: Final = 161
# A determinant below this share of the squared trace is rounding: one direction is not known.
_SINGULAR: Final = 1e-11


class Looks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a place is judged from.

    Attributes:
        adverts: independent adverts sent. Fast fading averages out over those that are heard; the
            model's own noise does not.
        fading_db: standard deviation of one advert's fast fading, dB.
        tag_sd_db: standard deviation of how far a tag is from the site's common one, as worn, dB.
        limit_dbm: the level at which half of the adverts are decoded.
        limit_sd_db: softness of that limit, the standard deviation of a cumulative normal, dB.
    """

    # A snapshot of 5 s at one advert a second.
    adverts: float = 5.0
    # Rician fading of K = 6 to 11 dB and three channels that differ by 2 dB, per advert.
    fading_db: float = 6.0
    # A body costs 5 to 10 dB by where it stands, and tags of one model differ by 1 to 2.
    tag_sd_db: float = 4.0
    # The sensitivity of a Pi's radio, as its decoders lose half of the adverts.
    limit_dbm: float = -90.0
    limit_sd_db: float = 2.0


class Told(NamedTuple):
    """What a gateway tells about places.

    Attributes:
        sums: rows as SUMS says, shape (SUMS, places).
        heard: probability that the gateway hears at all; shape (places,).
    """

    sums: Floats
    heard: Floats


class Information:
    """What each gateway of a site tells about places under a radio model.

    Args:
        site: the site.
        grid: its cells.
        geometry: of the site and grid.
        model: expected levels, of the same site and grid.
        looks: what a place is judged from.
    """

    def __init__(
        self, site: Site, grid: Grid, geometry: Geometry, model: RadioModel, looks: Looks
    ) -> None:
        self._grid: Final = grid
        self._geometry: Final = geometry
        self._model: Final = model
        self._looks: Final = looks
        self._exponent: Final = gateway_columns(site, model.calibration)[1]
        self._storey: Final = np.array([floor.level for floor in site.floors], np.float64)
        self._curves: Final = {sd: Curve(sd, looks) for sd in sorted(set(model.sd.tolist()))}
        self._slopes: Final = Slopes(site, grid, geometry, model)

    def __len__(self) -> int:
        """How many gateways there are."""
        return len(self._exponent)

    def at_cells(self, gateway: int) -> Told:
        """What one gateway tells about all cells; `heard` is the probability that it hears."""
        grid = self._grid
        slopes = self._slopes.of(gateway)
        return self._told(gateway, self._model.level[gateway], grid.x, grid.y, grid.floor, slopes)

    def at_places(self, gateway: int, x: Floats, y: Floats, floor: Ints) -> Told:
        """The same about places in metres and floor rows, (n,); loss by obstacles of their cell."""
        cells = cells_of(self._grid, x, y, floor)
        slopes = self._slopes.of(gateway)[:, cells]
        return self._told(gateway, self._model.level[gateway, cells], x, y, floor, slopes)

    def _told(
        self, gateway: int, level: Singles, x: Floats, y: Floats, floor: Ints, slopes: Floats
    ) -> Told:
        curve = self._curves[float(self._model.sd[gateway])]
        heard, weight = curve(self._model.offset_dbm + level.astype(np.float64))
        px, py, pz = self._geometry.place[gateway]
        storeys = self._storey[self._geometry.floor[gateway]] - self._storey[floor]
        rise = pz + STOREY_M * storeys - TAG_HEIGHT_M
        gx, gy = gradient(x - px, y - py, rise, float(self._exponent[gateway]))
        return Told(sums_of(weight, gx + slopes[0], gy + slopes[1]), heard)


class Curve:
    """How likely a gateway hears a tag, and what its mean RSSI then weighs, by expected level.

    Slow noise and the tag's offset shift all adverts of a snapshot alike; fading and the soft
    limit act on each. Of n adverts of which each is heard with probability p, np / h are heard on
    average when any is (which has probability h), so the mean's variance is sd^2 + fading^2 h/np.
    Silence has its part: a normal reading that is censored at z standard deviations below its
    mean, so that it is heard with probability H = P(z), is worth H + p(z) (p(z)/(1 - H) - z) of an
    uncensored one (Tobin, Econometrica 26, 1958: the information of his model).
    """

    def __init__(self, sd_db: float, looks: Looks) -> None:
        self._limit: Final = looks.limit_dbm
        self._above: Final[Floats] = np.arange(-_SPAN_DB, _SPAN_DB + _STEP_DB / 2, _STEP_DB)
        slow = np.linspace(-4.0, 4.0, _POINTS)
        shares = np.exp(-0.5 * slow * slow)
        shares /= shares.sum()
        above = self._above[:, None] + math.hypot(sd_db, looks.tag_sd_db) * slow
        # The chance of one advert, as a table, since there is no erfc for arrays.
        fast = max(math.hypot(looks.fading_db, looks.limit_sd_db), 1e-6)
        z = np.linspace(-8.0, 8.0, 801)
        normal = [0.5 * math.erfc(-value / math.sqrt(2.0)) for value in z.tolist()]
        each = np.clip(np.interp(above / fast, z, normal), 1e-12, 1.0 - 1e-12)
        any_of = -np.expm1(looks.adverts * np.log1p(-each))
        # One advert at least, when any is heard.
        spread = looks.fading_db**2 * np.minimum(any_of / (looks.adverts * each), 1.0)
        self._heard: Final[Floats] = any_of @ shares
        weight = (any_of / np.maximum(sd_db**2 + spread, 1e-6)) @ shares
        self._weight: Final[Floats] = weight / self._heard * _censored(self._heard)

    def __call__(self, level_dbm: Floats) -> tuple[Floats, Floats]:
        """Probability of hearing, and expected information about the level in 1/dB^2."""
        above = level_dbm - self._limit
        return (
            np.interp(above, self._above, self._heard, left=0.0),
            np.interp(above, self._above, self._weight, left=0.0),
        )


def _censored(heard: Floats) -> Floats:
    """What a censored normal reading is worth, of an uncensored one, by how likely it is heard."""
    h = np.clip(heard, 1e-9, 1.0 - 1e-9)
    normal = NormalDist()
    z = np.array([normal.inv_cdf(share) for share in h])
    density = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return np.where(
        heard > h, 1.0, np.where(heard < h, heard, h + density * (density / (1.0 - h) - z))
    )


def gradient(
    dx: Floats, dy: Floats, rise: Floats | float, exponent: float
) -> tuple[Floats, Floats]:
    """Gradient of the level -10 exponent log10(distance), dB per metre along x and y.

    Args:
        dx: metres from the gateway to each place, as dy.
        dy: along y.
        rise: metres that the gateway is above the tags.
        exponent: path-loss exponent.
    """
    square = np.maximum(dx * dx + dy * dy + rise * rise, NEAREST_M**2)
    slope = -10.0 * exponent / math.log(10.0) / square
    return slope * dx, slope * dy


def sums_of(weight: Floats, gx: Floats, gy: Floats) -> Floats:
    """The sums of one gateway, or of several: shape (SUMS, ...).

    Args:
        weight: information about the level, 1/dB^2.
        gx: its gradient in dB per metre, as gy.
        gy: along y.
    """
    wx, wy = weight * gx, weight * gy
    return np.stack([wx * gx, wx * gy, wy * gy, wx, wy, weight])


def rms(sums: Floats, tag_sd_db: float, known: Floats | float = 0.0) -> Floats:
    """The bound in metres from the sums, inf where they leave a direction open.

    Args:
        sums: first axis as SUMS says.
        tag_sd_db: prior standard deviation of the tag's offset; 0 when it is known.
        known: what is known of the place beforehand, information in 1/m^2 along x and y: shape
            (2, ...) or one number.
    """
    xx, xy, yy, x, y, one = sums
    known_x, known_y = np.broadcast_to(known, 2) if np.ndim(known) == 0 else np.asarray(known)
    if tag_sd_db > 0.0:
        freed = one + 1.0 / tag_sd_db**2
        xx, xy, yy = xx - x * x / freed, xy - x * y / freed, yy - y * y / freed
    xx, yy = xx + known_x, yy + known_y
    trace, determinant = xx + yy, xx * yy - xy * xy
    open_ = determinant <= _SINGULAR * trace * trace
    bounds: Floats = np.sqrt(
        np.where(open_, np.inf, trace / np.where(open_, 1.0, determinant)), dtype=np.float64
    )
    return bounds


def floor_prior(site: Site) -> Floats:
    """What a place's floor alone tells of it: information in 1/m^2 along x and y, (2, floors).

    A place is somewhere in the box of the outline: over a length L the variance is L^2 / 12.
    """
    boxes = np.array([shapely.Polygon(floor.outline).bounds for floor in site.floors])
    prior: Floats = 12.0 / (boxes[:, 2:] - boxes[:, :2]).T ** 2
    return prior


def bound(
    site: Site,
    grid: Grid,
    geometry: Geometry,
    model: RadioModel,
    looks: Looks | None = None,
    *,
    on_floor: bool = False,
) -> Floats:
    """The bound of the rms error at every cell, metres, shape (cells,).

    Args:
        site: the site.
        grid: its cells.
        geometry: of the site and grid.
        model: expected levels.
        looks: what a place is judged from; the usual when left out.
        on_floor: adds that the place is on its floor, so that nothing is worse than guessing.
            Without it, inf where the gateways leave a direction open.
    """
    looks = looks or Looks()
    telling = Information(site, grid, geometry, model, looks)
    sums = np.zeros((SUMS, len(grid)))
    for gateway in range(len(telling)):
        sums += telling.at_cells(gateway).sums
    return rms(sums, looks.tag_sd_db, floor_prior(site)[:, grid.floor] if on_floor else 0.0)


def bound_at(
    site: Site,
    grid: Grid,
    geometry: Geometry,
    model: RadioModel,
    x: Floats,
    y: Floats,
    floor: Ints,
    looks: Looks | None = None,
    *,
    on_floor: bool = False,
) -> Floats:
    """The bound of the rms error at places, metres, shape (n,); else as `bound`.

    Args:
        site: the site.
        grid: its cells.
        geometry: of the site and grid.
        model: expected levels.
        x: metres, (n,).
        y: metres, (n,).
        floor: floor rows, (n,).
        looks: what a place is judged from; the usual when left out.
        on_floor: as `bound` has it.
    """
    looks = looks or Looks()
    telling = Information(site, grid, geometry, model, looks)
    sums = np.zeros((SUMS, len(x)))
    for gateway in range(len(telling)):
        sums += telling.at_places(gateway, x, y, floor).sums
    return rms(sums, looks.tag_sd_db, floor_prior(site)[:, floor] if on_floor else 0.0)


def cells_of(grid: Grid, x: Floats, y: Floats, floor: Ints) -> Ints:
    """The cell that each place is in, the nearest for places beyond the grid. Shapes (n,)."""
    base, wide, deep, x0, y0 = (
        np.array(column)[floor] for column in (grid.base, grid.wide, grid.deep, grid.x0, grid.y0)
    )
    ix = np.clip(np.rint((x - x0) / grid.cell_m), 0, wide - 1).astype(np.int64)
    iy = np.clip(np.rint((y - y0) / grid.cell_m), 0, deep - 1).astype(np.int64)
    cells: Ints = base + iy * wide + ix
    return cells
