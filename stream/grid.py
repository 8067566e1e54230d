"""The cells a site is divided into: one flat column over all floors, with windows that fit in it.

A window is a square of WINDOW x WINDOW cells anywhere on a floor. Floors are padded so that a
window around any place inside the outline fits. The rule: a cell's number never changes meaning
while outlines and obstacles stay the same.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
import shapely

from stream.site import Site

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Cells along a window's side. With cells of 1 m, 8 m to either side: beyond the error of nearly
# every place, and few enough that a beacon costs some tens of microseconds.
WINDOW: Final = 16
# Metres. Racks and aisles blur above a metre, and errors are larger than it. A floor smaller than
# a window gets finer cells, so that its window does not stand empty.
CELL_M: Final = (0.5, 1.0)
# Cells times gateways, at 8 bytes: 400 MB for the largest sites, which get coarser cells instead.
MOST_LEVELS: Final = 50_000_000
# What a gateway that has no neighbour is taken to stand for: the spacing that is recommended.
LONE_SPACING_M: Final = 10.0


class Grid:
    """The cells of a site.

    Attributes:
        cell_m: side of a cell, metres.
        x, y: middles of the cells, metres, shape (cells,).
        floor: floor rows, shape (cells,).
        base: number of each floor's first cell, shape (floors,).
        wide, deep: cells of each floor along x and y, padding included, shape (floors,).
        x0, y0: middle of each floor's first cell, metres, shape (floors,).
        inside: cells whose middle is inside the floor's outline.
        free: those of them where a person can stand: not in a rack or wall.
    """

    def __init__(self, site: Site) -> None:
        outlines = [shapely.Polygon(floor.outline) for floor in site.floors]
        cell = math.sqrt(max(outline.area for outline in outlines)) / WINDOW
        cell = min(max(cell, CELL_M[0]), CELL_M[1])
        area = sum(outline.area for outline in outlines)
        cell = max(cell, math.sqrt(area * max(len(site.gateways), 1) / MOST_LEVELS))
        self.cell_m: Final = cell
        sizes, corners, columns = [], [], []
        for row, (floor, outline) in enumerate(zip(site.floors, outlines, strict=True)):
            x0, y0, x1, y1 = outline.bounds
            wide = math.ceil((x1 - x0) / cell) + WINDOW
            deep = math.ceil((y1 - y0) / cell) + WINDOW
            left = (x0 + x1) / 2 - (wide - 1) * cell / 2
            low = (y0 + y1) / 2 - (deep - 1) * cell / 2
            y, x = np.meshgrid(
                low + cell * np.arange(deep), left + cell * np.arange(wide), indexing="ij"
            )
            x, y = x.ravel(), y.ravel()
            inside = _inside(outline, x, y)
            free = inside.copy()
            for obstacle in site.obstacles:
                if obstacle.floor == floor.id:
                    free &= ~_inside(shapely.Polygon(obstacle.polygon), x, y)
            sizes.append((wide, deep))
            corners.append((left, low))
            columns.append((x, y, np.full(len(x), row, np.int64), inside, free))
        self.wide: Final[Ints] = np.array([wide for wide, _ in sizes], np.int64)
        self.deep: Final[Ints] = np.array([deep for _, deep in sizes], np.int64)
        self.base: Final[Ints] = np.concatenate(([0], np.cumsum(self.wide * self.deep)[:-1]))
        self.x0: Final[Floats] = np.array([left for left, _ in corners])
        self.y0: Final[Floats] = np.array([low for _, low in corners])
        self.x: Final[Floats] = np.concatenate([column[0] for column in columns])
        self.y: Final[Floats] = np.concatenate([column[1] for column in columns])
        self.floor: Final[Ints] = np.concatenate([column[2] for column in columns])
        self.inside: Final[Bools] = np.concatenate([column[3] for column in columns])
        self.free: Final[Bools] = np.concatenate([column[4] for column in columns])

    def __len__(self) -> int:
        return len(self.x)

    def window(self, x: Floats, y: Floats, floor: Ints) -> tuple[Ints, Ints]:
        """Column and row, on their floor, of windows with these places in their middle."""
        half = WINDOW // 2
        ix = np.floor((x - self.x0[floor]) / self.cell_m + 0.5).astype(np.int64) - half
        iy = np.floor((y - self.y0[floor]) / self.cell_m + 0.5).astype(np.int64) - half
        return (
            np.clip(ix, 0, self.wide[floor] - WINDOW),
            np.clip(iy, 0, self.deep[floor] - WINDOW),
        )

    def line_starts(self, ix: Ints, iy: Ints, floor: Ints) -> Ints:
        """The cells that windows' lines of constant y begin with, shape (windows, WINDOW)."""
        wide = self.wide[floor]
        first = self.base[floor] + iy * wide + ix
        starts: Ints = first[:, None] + wide[:, None] * np.arange(WINDOW)
        return starts


def _inside(polygon: shapely.Polygon, x: Floats, y: Floats) -> Bools:
    inside = np.zeros(len(x), np.bool_)
    x0, y0, x1, y1 = polygon.bounds
    near = np.flatnonzero((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1))
    shapely.prepare(polygon)
    inside[near] = shapely.intersects_xy(polygon, x[near], y[near])
    return inside


def spacing(place: Floats, floor: Ints) -> float:
    """Median distance from a gateway to the nearest of its floor, in metres.

    Args:
        place: (gateways, 2 or 3) metres.
        floor: (gateways,) floor rows.
    """
    nearest = []
    for row in range(len(place)):
        others = (floor == floor[row]) & (np.arange(len(place)) != row)
        if others.any():
            away = place[others, :2] - place[row, :2]
            nearest.append(float(np.hypot(away[:, 0], away[:, 1]).min()))
    return float(np.median(nearest)) if nearest else LONE_SPACING_M
