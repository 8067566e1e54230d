"""The cells: numbers, places, and windows that always fit."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.grid import CELL_M, LONE_SPACING_M, MOST_LEVELS, WINDOW, Grid, spacing
from stream.site import Floor, GatewayPlace, Obstacle, Site
from tests.support.locating import hall, rectangle

# An L: the quarter at the upper right is outside.
ELBOW = [(-3.0, 2.0), (37.0, 2.0), (37.0, 14.0), (15.0, 14.0), (15.0, 33.0), (-3.0, 33.0)]
SLANTED = [(20.0, 4.0), (23.0, 6.0), (18.0, 13.0), (15.0, 11.0)]


def elbow() -> Site:
    """Two floors of different shapes, with a slanted rack on the upper one."""
    return Site(
        id="elbow",
        name="Elbow",
        timezone="UTC",
        floors=[Floor("0", "0", 0, ELBOW), Floor("1", "1", 1, rectangle(0.0, 0.0, 30.0, 20.0))],
        gateways=[GatewayPlace("g", "0", [1.0, 4.0])],
        obstacles=[Obstacle("r", "1", "rack", SLANTED)],
    )


GRID = Grid(elbow())


def test_cells_are_numbered_floor_by_floor_and_line_by_line() -> None:
    """Number, floor, column and row of every cell agree with its place."""
    assert len(GRID) == int((GRID.wide * GRID.deep).sum())
    for floor in range(2):
        first = int(GRID.base[floor])
        number = np.arange(int(GRID.wide[floor] * GRID.deep[floor]))
        row, column = number // GRID.wide[floor], number % GRID.wide[floor]
        assert (GRID.floor[first + number] == floor).all()
        x = GRID.x0[floor] + GRID.cell_m * column
        y = GRID.y0[floor] + GRID.cell_m * row
        assert GRID.x[first + number] == pytest.approx(x)
        assert GRID.y[first + number] == pytest.approx(y)


def test_inside_and_free_as_shapely_has_it() -> None:
    """A cell is inside by its middle, and free when it is in no obstacle of its floor."""
    outlines = [shapely.Polygon(floor.outline) for floor in elbow().floors]
    rack = shapely.Polygon(SLANTED)
    inside = [outlines[f].intersects(shapely.Point(x, y)) for x, y, f in _cells()]
    assert GRID.inside.tolist() == inside
    blocked = [f == 1 and rack.intersects(shapely.Point(x, y)) for x, y, f in _cells()]
    assert GRID.free.tolist() == [i and not b for i, b in zip(inside, blocked, strict=True)]
    assert 20 < int((GRID.inside & ~GRID.free).sum()) < 60


def _cells() -> list[tuple[float, float, int]]:
    return list(zip(GRID.x.tolist(), GRID.y.tolist(), GRID.floor.tolist(), strict=True))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 1), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_window_around_any_place_fits_and_has_it_in_its_middle(
    floor: int, u: float, v: float
) -> None:
    """Every cell of it is on the floor; the place is within a cell of the window's centre."""
    x0, y0, x1, y1 = shapely.Polygon(elbow().floors[floor].outline).bounds
    x, y = x0 + u * (x1 - x0), y0 + v * (y1 - y0)
    row = np.array([floor])
    ix, iy = GRID.window(np.array([x]), np.array([y]), row)
    starts = GRID.line_starts(ix, iy, row)
    assert starts.shape == (1, WINDOW)
    cells = (starts[0][:, None] + np.arange(WINDOW)).ravel()
    assert (GRID.floor[cells] == floor).all()
    assert np.ptp(GRID.x[cells]) == pytest.approx((WINDOW - 1) * GRID.cell_m)
    assert np.ptp(GRID.y[cells]) == pytest.approx((WINDOW - 1) * GRID.cell_m)
    assert abs(GRID.x[cells].mean() - x) <= GRID.cell_m
    assert abs(GRID.y[cells].mean() - y) <= GRID.cell_m


def test_a_window_of_a_place_outside_stays_on_the_floor() -> None:
    """A place far out of the hall gets the nearest window."""
    row = np.array([0, 0])
    ix, iy = GRID.window(np.array([-500.0, 500.0]), np.array([500.0, -500.0]), row)
    assert ix.tolist() == [0, int(GRID.wide[0]) - WINDOW]
    assert iy.tolist() == [int(GRID.deep[0]) - WINDOW, 0]


def test_small_floors_get_finer_cells_and_vast_ones_coarser() -> None:
    """Within what is stated; cells times gateways stay bounded."""
    assert Grid(hall(wide=5.0, deep=5.0, spacing=5.0)).cell_m == CELL_M[0]
    assert Grid(hall(wide=60.0, deep=40.0)).cell_m == CELL_M[1]
    between = Grid(hall(wide=12.0, deep=12.0, spacing=6.0)).cell_m
    assert between == pytest.approx(12.0 / WINDOW)
    vast = msgspec.structs.replace(hall(wide=600.0, deep=500.0, spacing=20.0), trackables=[])
    grid = Grid(vast)
    assert grid.cell_m > CELL_M[1]
    inside = int(grid.inside.sum())
    assert inside * len(vast.gateways) <= 1.05 * MOST_LEVELS


def test_spacing_is_the_median_to_the_nearest_of_the_floor() -> None:
    """By hand; a gateway above another is no neighbour, and one alone stands for the usual."""
    place = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 16.0], [0.0, 1.0]])
    floor = np.array([0, 0, 0, 1])
    assert spacing(place, floor) == 5.0
    assert spacing(place[:1], floor[:1]) == LONE_SPACING_M
    assert math.isfinite(spacing(np.zeros((0, 3)), np.zeros(0, np.int64)))
