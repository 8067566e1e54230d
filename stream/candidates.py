"""Candidates: the places on a floor where one gateway more could hang, and the best of them.

A lattice first, then finer steps around the best of it, each place with every ray's own obstacles:
what racks do to a place is most of what tells it from its neighbours, so there is no short cut by
path loss alone. The best is the place that leaves the least mean squared error on its floor.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import shapely

from stream.bound import Information, Looks, Told, rms
from stream.calibration import Calibration
from stream.grid import Grid
from stream.radio_model import GATEWAY_HEIGHT_M, Geometry, RadioModel
from stream.site import GatewayPlace, Site

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# The lattice: about so many places on a floor. Rays cost 10 to 40 ms a place where racks are many.
LATTICE_PLACES: Final = 100
# So many of the best are searched around, in steps halved until they are no longer than this: an
# installer cannot choose more finely, for cables and trusses.
STARTS: Final = 3
LEAST_STEP_M: Final = 1.5
# Kept from walls, racks and the outline: an antenna needs 30 cm without metal.
CLEAR_M: Final = 0.3


class Candidate(NamedTuple):
    """A place for a gateway in metres, and what it would tell about its floor's cells."""

    x: float
    y: float
    z: float
    told: Told


class _Scored(NamedTuple):
    """A candidate, and the mean squared bound that it leaves, m^2."""

    left: float
    candidate: Candidate


class Candidates:
    """Searches the floors of a site.

    Args:
        site: the site.
        grid: its cells.
        geometry: of the site and grid.
        calibration: what levels are expected by.
        looks: what a place is judged from.
    """

    def __init__(
        self,
        site: Site,
        grid: Grid,
        geometry: Geometry,
        calibration: Calibration,
        looks: Looks,
    ) -> None:
        self._site: Final = site
        self._grid: Final = grid
        self._geometry: Final = geometry
        self._calibration: Final = calibration
        self._looks: Final = looks

    def best(self, row: int, cells: Ints, sums: Floats, known: Floats) -> Candidate | None:
        """The place that helps most; None where a floor has no room for a gateway.

        Args:
            row: the floor's.
            cells: the cells that count, of this floor, (n,).
            sums: what the site's gateways tell about them, as `stream.bound` has it.
            known: what is known of them beforehand, (2, n).
        """
        places, step = self._lattice(row)
        here = self._geometry.floor == row
        z = float(np.median(self._geometry.place[here, 2])) if here.any() else GATEWAY_HEIGHT_M
        tried: set[tuple[float, float]] = set()
        best: list[_Scored] = []
        while True:
            fresh = [place for place in self._allowed(row, places) if place not in tried]
            tried.update(fresh)
            best += self._scored(row, fresh, z, cells, sums, known)
            best = sorted(best, key=lambda scored: scored.left)[:STARTS]
            step /= 2
            if step < LEAST_STEP_M or not best:
                return best[0].candidate if best else None
            around = [(i, j) for i in (-step, 0.0, step) for j in (-step, 0.0, step)]
            places = [(c.x + i, c.y + j) for _, c in best for i, j in around]

    def _lattice(self, row: int) -> tuple[list[tuple[float, float]], float]:
        """Places over the floor's box, and their step in metres."""
        outline = shapely.Polygon(self._site.floors[row].outline)
        step = max(LEAST_STEP_M, math.sqrt(outline.area / LATTICE_PLACES))
        x0, y0, x1, y1 = outline.bounds
        axes = []
        for low, high in ((x0, x1), (y0, y1)):
            # From one wall to the other: on the perimeter a gateway is often worth most.
            edge = min(2 * CLEAR_M, (high - low) / 2)
            count = max(1, round((high - low - 2 * edge) / step) + 1)
            axes.append(np.linspace(low + edge, high - edge, count).tolist())
        return [(x, y) for y in axes[1] for x in axes[0]], step

    def _allowed(self, row: int, places: list[tuple[float, float]]) -> list[tuple[float, float]]:
        """Those inside the outline and outside of racks and walls, each once."""
        floor = self._site.floors[row]
        taken = [
            shapely.Polygon(part.polygon).buffer(CLEAR_M)
            for part in self._site.obstacles
            if part.floor == floor.id
        ]
        room = shapely.Polygon(floor.outline).buffer(-CLEAR_M)
        free = shapely.difference(room, shapely.union_all(taken))
        shapely.prepare(free)
        inside = shapely.intersects_xy(free, *np.array(places).T)
        return list(dict.fromkeys(p for p, fits in zip(places, inside, strict=True) if fits))

    def _scored(
        self,
        row: int,
        places: list[tuple[float, float]],
        z: float,
        cells: Ints,
        sums: Floats,
        known: Floats,
    ) -> list[_Scored]:
        """What places on a floor leave."""
        floor = self._site.floors[row].id
        # No gateway's id has a blank, so that no calibration speaks of these.
        site = msgspec.structs.replace(
            self._site,
            gateways=[
                GatewayPlace(f"candidate {i}", floor, [x, y, z]) for i, (x, y) in enumerate(places)
            ],
        )
        geometry = Geometry(site, self._grid)
        model = RadioModel(site, self._grid, geometry, self._calibration)
        telling = Information(site, self._grid, geometry, model, self._looks)
        scored = []
        for i, (x, y) in enumerate(places):
            everywhere = telling.at_cells(i)
            told = Told(everywhere.sums[:, cells], everywhere.heard[cells])
            bound = rms(sums + told.sums, self._looks.tag_sd_db, known)
            scored.append(_Scored(float(np.mean(bound**2)), Candidate(x, y, z, told)))
        return scored
