"""A site as the locator's columns: rows of beacons, trackables, gateways, floors, zones, cells.

Everything here follows from the site document alone; what a calibration adds is in
`stream.sensing`. The costly part, how rays cross obstacles, is handed on from version to version
while walls, racks and gateways stay where they are.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from stream.geometry import Areas
from stream.grid import WINDOW, Grid, spacing
from stream.motion import Motions
from stream.radio_model import Geometry
from stream.site import Site

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Where a beacon may be that a gateway hears loudest: this many of the nearest cells of a coarse
# lattice, 18 m around on one floor. Farther off some other gateway would hear it louder.
NEARBY: Final = 256
# Metres between the lattice's cells: finer than the error, so that no hollow is overlooked.
COARSE_M: Final = 2.0
# A storey counts as this far when the nearest cells are chosen among floors.
STOREY_REACH_M: Final = 6.0


class Place(NamedTuple):
    """What of a layout depends on outlines, obstacles and gateways alone."""

    grid: Grid
    geometry: Geometry
    nearby: Ints
    spacing_m: float


class Layout:
    """The columns of a site version.

    Args:
        site: the document.
        before: the layout of an earlier version, whose places are taken over where they still hold.
    """

    def __init__(self, site: Site, before: Layout | None = None) -> None:
        self.site: Final = site
        self.floor_row: Final = {floor.id: row for row, floor in enumerate(site.floors)}
        floor_row = self.floor_row
        self.beacon_row: Final[dict[str, int]] = {}
        trackable: list[int] = []
        place: list[int] = []
        for row, part in enumerate(site.trackables):
            for i, beacon in enumerate(part.beacons):
                self.beacon_row[beacon] = len(trackable)
                trackable.append(row)
                place.append(i)
        self.trackable: Final[Ints] = np.array(trackable, np.int64)
        self.beacon_place: Final[Ints] = np.array(place, np.int64)
        self.motions: Final = Motions.of([part.kind for part in site.trackables])
        self.gateway_row: Final = {part.id: row for row, part in enumerate(site.gateways)}
        self.same_place: Final = before is not None and _same_place(before.site, site)
        where: Place
        if before is not None and self.same_place:
            where = before.place
        else:
            grid = Grid(site)
            geometry = Geometry(site, grid)
            where = Place(
                grid,
                geometry,
                _nearby(site, grid, geometry),
                spacing(geometry.place, geometry.floor),
            )
        self.place: Final[Place] = where
        self.grid: Final = where.grid
        self.geometry: Final = where.geometry
        self.nearby: Final = where.nearby
        self.floors: Final = len(site.floors)
        self.outlines: Final = [shapely.Polygon(floor.outline) for floor in site.floors]
        for outline in self.outlines:
            shapely.prepare(outline)
        self.zone_of: Final = _zones(site, self.grid, floor_row)

    def beacons_of(self, trackables: Ints) -> Ints:
        """The rows of the beacons that some trackables wear, in their order."""
        # Beacons are numbered trackable by trackable.
        first = np.searchsorted(self.trackable, trackables)
        count = np.searchsorted(self.trackable, trackables, side="right") - first
        before = np.cumsum(count) - count
        rows: Ints = np.arange(int(count.sum())) + np.repeat(first - before, count)
        return rows

    def confine(self, x: Floats, y: Floats, floor: Ints) -> tuple[Floats, Floats]:
        """The points, those outside their floor's outline moved to its nearest edge."""
        x, y = x.copy(), y.copy()
        for row, outline in enumerate(self.outlines):
            here = np.flatnonzero(floor == row)
            out = here[~shapely.intersects_xy(outline, x[here], y[here])]
            if len(out):
                edge = outline.exterior
                along = shapely.line_locate_point(edge, shapely.points(x[out], y[out]))
                nearest = shapely.get_coordinates(shapely.line_interpolate_point(edge, along))
                x[out], y[out] = nearest[:, 0], nearest[:, 1]
        return x, y


def _same_place(before: Site, after: Site) -> bool:
    """Whether cells and gateways' rows mean the same in both versions."""
    return (
        [(f.id, f.level, f.outline) for f in before.floors]
        == [(f.id, f.level, f.outline) for f in after.floors]
        and before.gateways == after.gateways
        and before.obstacles == after.obstacles
    )


def _nearby(site: Site, grid: Grid, geometry: Geometry) -> Ints:
    """Per gateway the nearest cells of the coarse lattice, (gateways, at most NEARBY)."""
    stride = max(1, round(COARSE_M / grid.cell_m))
    lattice = []
    for row in range(len(grid.base)):
        # The lattice starts in the middle of the padding, so that small floors have it too.
        iy = np.arange(WINDOW // 2, grid.deep[row] - WINDOW // 2 + 1, stride)
        ix = np.arange(WINDOW // 2, grid.wide[row] - WINDOW // 2 + 1, stride)
        cells = grid.base[row] + iy[:, None] * grid.wide[row] + ix
        lattice.append(cells.ravel())
    cells = np.concatenate(lattice)
    inside = cells[grid.inside[cells]]
    cells = inside if len(inside) else cells
    level = np.array([floor.level for floor in site.floors], np.float64)
    count = min(len(cells), NEARBY)
    nearby = np.empty((len(site.gateways), count), np.int64)
    for row, (px, py, _) in enumerate(geometry.place):
        storeys = np.abs(level[grid.floor[cells]] - level[geometry.floor[row]])
        away = np.hypot(grid.x[cells] - px, grid.y[cells] - py) + STOREY_REACH_M * storeys
        # Sorted by number: then memory is read in order.
        nearby[row] = np.sort(cells[np.argsort(away, kind="stable")[:count]])
    return nearby


def _zones(site: Site, grid: Grid, floor_row: dict[str, int]) -> npt.NDArray[np.int32]:
    """The smallest zone that holds each cell's middle, -1 where none does, (cells,).

    A zone so small that it holds no middle gets the cell nearest to its own.
    """
    areas = Areas(
        [zone.polygon for zone in site.zones], [floor_row[zone.floor] for zone in site.zones]
    )
    zone_of = areas.locate(grid.x, grid.y, grid.floor)
    for row in np.flatnonzero(np.bincount(zone_of[zone_of >= 0], minlength=len(site.zones)) == 0):
        zone = site.zones[row]
        middle = shapely.Polygon(zone.polygon).representative_point()
        away = np.hypot(grid.x - middle.x, grid.y - middle.y)
        away[grid.floor != floor_row[zone.floor]] = np.inf
        zone_of[int(away.argmin())] = row
    return zone_of
