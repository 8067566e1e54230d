"""The radio model over space: what RSSI each gateway is expected to hear from each cell.

Log-distance path loss with obstacles charged one by one, as in the multi-wall model of COST 231
(Digital mobile radio towards future generation systems, 1999, section 4.7), plus the radio map
where a survey made one. Levels are relative to a tag's own RSSI at 1 m.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from stream.calibration import OBSTACLES_MOST_DB, Calibration, MapPatch
from stream.grid import Grid
from stream.site import Site

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

# A gateway without a height hangs above the tags, as most do.
GATEWAY_HEIGHT_M: Final = 2.5
# Tags are carried or lie at about this height.
TAG_HEIGHT_M: Final = 1.1
# Closer than this the model has no meaning.
NEAREST_M: Final = 1.0
# Between two storeys.
STOREY_M: Final = 4.0


class Crossings(NamedTuple):
    """How rays from gateways to cells run through obstacles, of their floor.

    Each entry is one gateway, one cell and one obstacle, ordered by cell.

    Attributes:
        gateway, cell, obstacle: rows, shape (entries,).
        share: of a full crossing by the obstacle's depth, 0 to 1.
    """

    gateway: npt.NDArray[np.int32]
    cell: npt.NDArray[np.int32]
    obstacle: npt.NDArray[np.int32]
    share: Singles


class Geometry:
    """What of the model does not depend on the calibration.

    Attributes:
        decades: log10 of the distance in metres, (gateways, cells).
        slabs: slabs between, (gateways, cells).
        crossings: obstacles between.
        walls: whether each obstacle is a wall.
        own_db: the loss that the site states for an obstacle, NaN where it states none.
    """

    def __init__(self, site: Site, grid: Grid) -> None:
        floor_row = {floor.id: row for row, floor in enumerate(site.floors)}
        level = np.array([floor.level for floor in site.floors], np.float64)
        self.place: Final[Floats] = np.array(
            [[*part.position, GATEWAY_HEIGHT_M][:3] for part in site.gateways], np.float64
        ).reshape(-1, 3)
        self.floor: Final[Ints] = np.array(
            [floor_row[part.floor] for part in site.gateways], np.int64
        )
        count = len(site.gateways)
        self.decades: Final[Singles] = np.empty((count, len(grid)), np.float32)
        self.slabs: Final = np.empty((count, len(grid)), np.int8)
        for row in range(count):
            px, py, pz = self.place[row]
            storeys = level[self.floor[row]] - level[grid.floor]
            rise = pz + STOREY_M * storeys - TAG_HEIGHT_M
            away = np.sqrt((grid.x - px) ** 2 + (grid.y - py) ** 2 + rise**2)
            self.decades[row] = np.log10(np.maximum(away, NEAREST_M))
            self.slabs[row] = np.minimum(np.abs(storeys), 100).astype(np.int8)
        self.walls: Final = np.array([o.kind == "wall" for o in site.obstacles], np.bool_)
        self.own_db: Final[Floats] = np.array(
            [math.nan if o.loss_db is None else o.loss_db for o in site.obstacles], np.float64
        )
        self.crossings: Final = _crossings(site, grid, self.place, self.floor)


class RadioModel:
    """A site's expected levels under a calibration.

    Attributes:
        level: expected RSSI minus the tag's own RSSI at 1 m, dB, shape (gateways, cells).
        sd: standard deviation of what the model leaves unexplained, dB, shape (gateways,).
        offset_dbm: RSSI at 1 m of the site's common tag.
    """

    def __init__(
        self, site: Site, grid: Grid, geometry: Geometry, calibration: Calibration
    ) -> None:
        self.calibration: Final = calibration
        self.offset_dbm: Final = calibration.offset_dbm
        offset, exponent, sd = gateway_columns(site, calibration)
        self.sd: Final[Floats] = sd
        level = (
            offset[:, None].astype(np.float32)
            - (10.0 * exponent)[:, None].astype(np.float32) * geometry.decades
            - np.float32(calibration.slab_db) * geometry.slabs
        )
        level -= obstructed(
            geometry.crossings, obstacle_losses(site, geometry, calibration), level.shape
        )
        if calibration.radio_map:
            _add_map(level, site, grid, calibration)
        self.level: Final[Singles] = level


def gateway_columns(site: Site, calibration: Calibration) -> tuple[Floats, Floats, Floats]:
    """Offset in dB, exponent and standard deviation in dB by gateway row."""
    fits = [calibration.gateways.get(part.id) for part in site.gateways]
    offset = np.array([fit.offset_db if fit else 0.0 for fit in fits], np.float64)
    exponent = np.array(
        [(fit.exponent if fit else None) or calibration.exponent for fit in fits], np.float64
    )
    sd = np.array([(fit.sd_db if fit else None) or calibration.sd_db for fit in fits], np.float64)
    return offset, exponent, sd


def obstacle_losses(site: Site, geometry: Geometry, calibration: Calibration) -> Floats:
    """Loss of one crossing by obstacle row, dB: fitted, else the site's own, else the kind's."""
    losses = np.where(geometry.walls, calibration.wall_db, calibration.rack_db)
    losses = np.where(np.isnan(geometry.own_db), losses, geometry.own_db)
    for row, part in enumerate(site.obstacles):
        losses[row] = calibration.obstacles.get(part.id, losses[row])
    return losses


def obstructed(crossings: Crossings, losses: Floats, shape: tuple[int, int]) -> Singles:
    """Loss by obstacles in dB, (gateways, cells); bounded, since rays also run over the tops."""
    at = crossings.gateway.astype(np.int64) * shape[1] + crossings.cell
    total = np.bincount(at, crossings.share * losses[crossings.obstacle], shape[0] * shape[1])
    bounded: Singles = np.minimum(total, OBSTACLES_MOST_DB).astype(np.float32).reshape(shape)
    return bounded


def _add_map(level: Singles, site: Site, grid: Grid, calibration: Calibration) -> None:
    gateway = {part.id: row for row, part in enumerate(site.gateways)}
    floor = {part.id: row for row, part in enumerate(site.floors)}
    for patch in calibration.radio_map:
        # A gateway or floor that has left the site since takes its part of the map along.
        if patch.gateway in gateway and patch.floor in floor:
            cells = np.flatnonzero(grid.floor == floor[patch.floor])
            level[gateway[patch.gateway], cells] += _bilinear(
                patch, calibration.map_cell_m, grid.x[cells], grid.y[cells]
            )


def _bilinear(patch: MapPatch, cell_m: float, x: Floats, y: Floats) -> Singles:
    """The patch at places (n,); beyond its edge the edge's value."""
    values = patch.values()
    deep, wide = values.shape
    u = np.clip((x - patch.corner[0]) / cell_m, 0.0, wide - 1.0)
    v = np.clip((y - patch.corner[1]) / cell_m, 0.0, deep - 1.0)
    i, j = np.minimum(u.astype(int), max(wide - 2, 0)), np.minimum(v.astype(int), max(deep - 2, 0))
    i1, j1 = np.minimum(i + 1, wide - 1), np.minimum(j + 1, deep - 1)
    p, q = u - i, v - j
    between = (1 - q) * ((1 - p) * values[j, i] + p * values[j, i1]) + q * (
        (1 - p) * values[j1, i] + p * values[j1, i1]
    )
    singles: Singles = between.astype(np.float32)
    return singles


def _crossings(site: Site, grid: Grid, place: Floats, floor: Ints) -> Crossings:
    """Which rays run through which obstacles, and how much of each obstacle's depth."""
    floor_row = {part.id: row for row, part in enumerate(site.floors)}
    gateways, cells, obstacles, shares = [], [], [], []
    for row, obstacle in enumerate(site.obstacles):
        polygon = shapely.Polygon(obstacle.polygon)
        # The depth: the shorter side of the box that holds it most tightly.
        corners = shapely.get_coordinates(polygon.minimum_rotated_rectangle)
        depth = max(0.05, float(np.hypot(*np.diff(corners[:3], axis=0).T).min()))
        level = floor_row[obstacle.floor]
        here = np.flatnonzero((grid.floor == level) & grid.inside)
        for gateway in np.flatnonzero(floor == level):
            px, py = place[gateway, :2]
            near = here[_towards(polygon, px, py, grid.x[here], grid.y[here])]
            if not len(near):
                continue
            chord = _chords(corners_of(polygon), px, py, grid.x[near], grid.y[near])
            hit = chord > 0.02 * depth
            gateways.append(np.full(int(hit.sum()), gateway, np.int32))
            cells.append(near[hit].astype(np.int32))
            obstacles.append(np.full(int(hit.sum()), row, np.int32))
            shares.append(np.minimum(1.0, chord[hit] / depth).astype(np.float32))
    if not gateways:
        none = np.zeros(0, np.int32)
        return Crossings(none, none, none, np.zeros(0, np.float32))
    cell = np.concatenate(cells)
    order = np.argsort(cell, kind="stable")
    return Crossings(
        np.concatenate(gateways)[order],
        cell[order],
        np.concatenate(obstacles)[order],
        np.concatenate(shares)[order],
    )


def corners_of(polygon: shapely.Polygon) -> Floats:
    """The outer ring, (corners, 2), not closed."""
    ring: Floats = shapely.get_coordinates(polygon.exterior)[:-1]
    return ring


def _towards(
    polygon: shapely.Polygon, px: float, py: float, x: Floats, y: Floats
) -> npt.NDArray[np.bool_]:
    """Which places the obstacle's box may hide from a point: a quick test that errs to yes."""
    x0, y0, x1, y1 = polygon.bounds
    low_x, high_x = np.minimum(x, px), np.maximum(x, px)
    low_y, high_y = np.minimum(y, py), np.maximum(y, py)
    overlap = (low_x <= x1) & (high_x >= x0) & (low_y <= y1) & (high_y >= y0)
    # All corners on one side of the ray: it passes by.
    dx, dy = x - px, y - py
    sides = [(cx - px) * dy - (cy - py) * dx for cx in (x0, x1) for cy in (y0, y1)]
    crosses: npt.NDArray[np.bool_] = (np.minimum.reduce(sides) <= 0) & (
        np.maximum.reduce(sides) >= 0
    )
    return overlap & crosses


def _chords(ring: Floats, px: float, py: float, x: Floats, y: Floats) -> Floats:
    """Length of each ray from the point to places (n,) inside a simple ring, metres."""
    dx, dy = x - px, y - py
    length = np.maximum(np.hypot(dx, dy), 1e-9)
    ux, uy = dx / length, dy / length
    rx, ry = ring[:, 0] - px, ring[:, 1] - py
    along = rx * ux[:, None] + ry * uy[:, None]
    aside = ry * ux[:, None] - rx * uy[:, None]
    along1, aside1 = np.roll(along, -1, axis=1), np.roll(aside, -1, axis=1)
    crossed = (aside >= 0.0) != (aside1 >= 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = along + (along1 - along) * aside / (aside - aside1)
    at = np.sort(np.where(crossed, at, np.inf), axis=1)
    at = np.clip(at, 0.0, length[:, None])
    even = at.shape[1] // 2 * 2
    chord: Floats = (at[:, 1:even:2] - at[:, 0:even:2]).sum(axis=1)
    return chord
