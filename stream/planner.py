"""The placement planner: what error a site's gateways allow, and where one more would help most.

It reads the bound of `stream.bound` as an installer does: a radius, dead spots, advice. All of it
is expectation under a calibration, by default the prior of a site that nobody has measured.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import shapely

from gateway.errors import UserError
from stream.bound import SUMS, Information, Looks, cells_of, floor_prior, rms
from stream.calibration import Calibration, Origin, prior
from stream.candidates import Candidates
from stream.grid import Grid
from stream.radio_model import Geometry, RadioModel
from stream.site import Site

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# From the bound of the rms error to the radius that holds 68 % of errors: exact for a normal error
# that is as wide in all directions, and 7 % too much for one along a line.
RADIUS_PER_RMS: Final = 1.07
# What is reached over what is possible. A plain likelihood without calibration and without a past
# had 68 % of its errors within 1.0 to 1.3 times the bound's radius in four simulated halls, and
# within 1.1 (one site) and 1.6 to 2.2 times on the surveys of three measured ones; the middle.
REACHED: Final = 1.25
# So many gateways are to hear a place: two unknowns of its own, one of the tag's strength. It is
# compared with the expected number, rounded: three that hear nearly always are three.
LEAST_GATEWAYS: Final = 3
# A radius beyond this tells the wrong aisle, and the one after it.
LIMIT_M: Final = 10.0


class PlanError(UserError, ValueError):
    """A plan that cannot be made as asked."""


class Figures(msgspec.Struct, frozen=True):
    """A floor in numbers.

    Attributes:
        median_m: median over the floor of the expected radius that holds 68 % of errors, metres.
        p90_m: its 90th percentile.
        dead_share: share of the floor that is dead, 0 to 1.
        rms_m: root of the mean squared radius, what the advice makes as small as it can.
    """

    median_m: float
    p90_m: float
    dead_share: float
    rms_m: float


class NextGateway(msgspec.Struct, frozen=True):
    """Where one gateway more helps a floor most: metres, and what the floor then has."""

    floor: str
    x: float
    y: float
    z: float
    then: Figures


class FloorPlan(msgspec.Struct, frozen=True):
    """A floor as it is, and its best next gateway; None where there is no room for one."""

    id: str
    name: str
    gateways: int
    now: Figures
    next: NextGateway | None


class Spare(msgspec.Struct, frozen=True):
    """What a gateway's floor would have without it.

    Attributes:
        gateway: its id.
        floor: its floor's.
        without: the floor's figures then.
        adds: by how much it makes the site's mean squared radius smaller, m^2.
    """

    gateway: str
    floor: str
    without: Figures
    adds: float


class Report(msgspec.Struct, frozen=True):
    """The plan's numbers, as they are printed and as JSON.

    Attributes:
        site: its id.
        origin: what the calibration was made from.
        limit_m: the radius beyond which a place counts as dead.
        floors: in the site's order.
        next: the best of the floors' next gateways, by what it does for the whole site.
        spares: the gateways, the one that adds least first.
    """

    site: str
    origin: Origin
    limit_m: float
    floors: list[FloorPlan]
    next: NextGateway | None
    spares: list[Spare]


class Plan(NamedTuple):
    """The report, and the maps behind it.

    Attributes:
        report: its numbers.
        grid: the cells.
        radius: expected radius that holds 68 % of errors, metres, (cells,).
        dead: which cells inside the outlines are dead, (cells,).
    """

    report: Report
    grid: Grid
    radius: Floats
    dead: Bools


def plan(
    site: Site,
    calibration: Calibration | None = None,
    looks: Looks | None = None,
    *,
    limit_m: float = LIMIT_M,
) -> Plan:
    """Predicts a site's errors and says where to hang one gateway more.

    Args:
        site: the site; it may have no gateway yet.
        calibration: of this site; the prior when left out.
        looks: what a place is judged from; the usual when left out.
        limit_m: the radius beyond which a place counts as dead, metres.

    Raises:
        PlanError: when the calibration is of another site.
    """
    calibration = calibration or prior(site.id)
    if calibration.site != site.id:
        raise PlanError(
            f"the calibration is of site `{calibration.site}`, not of `{site.id}`; "
            "give the one that was made for this site"
        )
    return _Planner(site, calibration, looks or Looks(), limit_m).plan()


class _Planner:
    """What one plan needs at every step."""

    def __init__(self, site: Site, calibration: Calibration, looks: Looks, limit_m: float) -> None:
        self._site: Final = site
        self._calibration: Final = calibration
        self._looks: Final = looks
        self._limit_m: Final = limit_m
        rows = {floor.id: row for row, floor in enumerate(site.floors)}
        self._gateway_floor: Final = np.array([rows[g.floor] for g in site.gateways], np.int64)
        self._grid: Final = Grid(site)
        geometry = Geometry(site, self._grid)
        model = RadioModel(site, self._grid, geometry, calibration)
        self._telling: Final = Information(site, self._grid, geometry, model, looks)
        self._candidates: Final = Candidates(site, self._grid, geometry, calibration, looks)
        self._known: Final = floor_prior(site)[:, self._grid.floor]
        self._cells: Final = [_cells(site, self._grid, row) for row in range(len(site.floors))]
        self._sums: Floats = np.zeros((SUMS, len(self._grid)))
        self._heard: Floats = np.zeros(len(self._grid))
        for gateway in range(len(self._telling)):
            told = self._telling.at_cells(gateway)
            self._sums += told.sums
            self._heard += told.heard

    def plan(self) -> Plan:
        """All of it."""
        floors = [self._floor(row) for row in range(len(self._site.floors))]
        radius, dead = self._maps(self._sums, self._heard, slice(None))
        report = Report(
            self._site.id,
            self._calibration.origin,
            self._limit_m,
            floors,
            self._best(floors),
            self._spares(),
        )
        return Plan(report, self._grid, radius, dead & self._grid.inside)

    def _floor(self, row: int) -> FloorPlan:
        floor, cells = self._site.floors[row], self._cells[row]
        now = self._figures(self._sums[:, cells], self._heard[cells], cells)
        best = self._candidates.best(row, cells, self._sums[:, cells], self._known[:, cells])
        then = None
        if best is not None:
            told = best.told
            figures = self._figures(
                self._sums[:, cells] + told.sums, self._heard[cells] + told.heard, cells
            )
            then = NextGateway(floor.id, best.x, best.y, best.z, figures)
        count = int((self._gateway_floor == row).sum())
        return FloorPlan(floor.id, floor.name, count, now, then)

    def _best(self, floors: list[FloorPlan]) -> NextGateway | None:
        """The next gateway that takes most off the squared errors, summed over the floor."""
        gains = [
            (floor.now.rms_m**2 - floor.next.then.rms_m**2) * len(cells)
            if floor.next is not None
            else -np.inf
            for floor, cells in zip(floors, self._cells, strict=True)
        ]
        return floors[int(np.argmax(gains))].next

    def _spares(self) -> list[Spare]:
        everywhere = np.concatenate(self._cells)
        now = self._mean_square(self._sums[:, everywhere], everywhere)
        spares = []
        for gateway, part in enumerate(self._site.gateways):
            told = self._telling.at_cells(gateway)
            # Rounding may leave a little below nothing on the diagonal, which the prior outweighs.
            left = self._sums - told.sums
            adds = self._mean_square(left[:, everywhere], everywhere) - now
            cells = self._cells[self._gateway_floor[gateway]]
            figures = self._figures(left[:, cells], (self._heard - told.heard)[cells], cells)
            spares.append(Spare(part.id, part.floor, figures, max(adds, 0.0)))
        return sorted(spares, key=lambda spare: (spare.adds, spare.gateway))

    def _mean_square(self, sums: Floats, cells: Ints) -> float:
        return float(np.mean(self._radius(sums, cells) ** 2))

    def _radius(self, sums: Floats, cells: Ints | slice) -> Floats:
        bound = rms(sums, self._looks.tag_sd_db, self._known[:, cells])
        return RADIUS_PER_RMS * REACHED * bound

    def _maps(self, sums: Floats, heard: Floats, cells: Ints | slice) -> tuple[Floats, Bools]:
        radius = self._radius(sums, cells)
        return radius, (heard < LEAST_GATEWAYS - 0.5) | (radius > self._limit_m)

    def _figures(self, sums: Floats, heard: Floats, cells: Ints) -> Figures:
        radius, dead = self._maps(sums, heard, cells)
        median, p90 = np.percentile(radius, [50, 90])
        root = float(np.sqrt(np.mean(radius**2)))
        return Figures(float(median), float(p90), float(dead.mean()), root)


def _cells(site: Site, grid: Grid, row: int) -> Ints:
    """The cells that stand for a floor: those inside, or one for a floor smaller than a cell."""
    cells = np.flatnonzero(grid.inside & (grid.floor == row))
    if len(cells):
        return cells
    middle = shapely.Polygon(site.floors[row].outline).representative_point()
    at = np.array([middle.x]), np.array([middle.y]), np.array([row])
    return cells_of(grid, *at)
