"""The radio model: path loss by hand, and rays through obstacles against shapely."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stream.calibration import (
    EXPONENT,
    OBSTACLES_MOST_DB,
    RACK_DB,
    SLAB_DB,
    WALL_DB,
    Calibration,
    GatewayFit,
    MapPatch,
    pack_map,
    prior,
)
from stream.geometry import Point
from stream.grid import Grid
from stream.radio_model import (
    GATEWAY_HEIGHT_M,
    NEAREST_M,
    STOREY_M,
    TAG_HEIGHT_M,
    Geometry,
    RadioModel,
    gateway_columns,
    obstacle_losses,
)
from stream.site import Floor, GatewayPlace, Obstacle, Site
from tests.support.locating import rectangle

Floats = npt.NDArray[np.float64]


def site(
    gateways: list[list[float]] | None = None,
    obstacles: list[Obstacle] | None = None,
    levels: tuple[int, ...] = (0,),
) -> Site:
    """A hall of 30 x 20 m on these levels; all gateways on the lowest."""
    return Site(
        id="hall",
        name="Hall",
        timezone="UTC",
        floors=[Floor(str(k), "F", k, rectangle(0.0, 0.0, 30.0, 20.0)) for k in levels],
        gateways=[
            GatewayPlace(f"g{i}", str(levels[0]), at)
            for i, at in enumerate(gateways or [[5.0, 5.0, 4.0]])
        ],
        obstacles=obstacles or [],
    )


def model(plan: Site, **changes: Any) -> tuple[RadioModel, Grid]:
    """The model over the cells, the prior but for `changes`."""
    grid = Grid(plan)
    calibration = msgspec.structs.replace(prior("hall"), **changes)
    return RadioModel(plan, grid, Geometry(plan, grid), calibration), grid


def test_path_loss_by_hand() -> None:
    """Ten times as far costs ten times the exponent in dB; heights count, nearness is bounded."""
    made, grid = model(site())
    rise = 4.0 - TAG_HEIGHT_M
    away = np.sqrt((grid.x - 5.0) ** 2 + (grid.y - 5.0) ** 2 + rise**2)
    expected = -10.0 * EXPONENT * np.log10(away)
    assert made.level[0] == pytest.approx(expected, abs=1e-3)
    tens = np.argmin(np.abs(away - 10.0))
    assert made.level[0, tens] == pytest.approx(-10.0 * EXPONENT * math.log10(away[tens]), abs=1e-3)
    low, _ = model(site([[5.0, 5.0, TAG_HEIGHT_M]]))
    assert low.level.max() == pytest.approx(-10.0 * EXPONENT * math.log10(NEAREST_M), abs=1e-5)


def test_a_gateway_without_a_height_hangs_at_the_usual_one() -> None:
    """The two documents give the same levels."""
    told, _ = model(site([[5.0, 5.0, GATEWAY_HEIGHT_M]]))
    untold, _ = model(site([[5.0, 5.0]]))
    assert told.level.tobytes() == untold.level.tobytes()


def test_a_storey_costs_its_height_and_its_slabs() -> None:
    """On the second level above, two slabs and two storeys of distance lie between."""
    made, grid = model(site([[5.0, 5.0, 2.0]], levels=(0, 2)))
    up = np.flatnonzero(grid.floor == 1)
    rise = 2.0 - 2.0 * STOREY_M - TAG_HEIGHT_M
    away = np.sqrt((grid.x[up] - 5.0) ** 2 + (grid.y[up] - 5.0) ** 2 + rise**2)
    expected = -10.0 * EXPONENT * np.log10(away) - 2.0 * SLAB_DB
    assert made.level[0, up] == pytest.approx(expected, abs=1e-3)


def test_each_gateway_has_its_own_numbers_where_it_has_any() -> None:
    """What a gateway's fit leaves out is the site's; what the site's leaves out is the prior's."""
    plan = site([[5.0, 5.0], [15.0, 5.0], [25.0, 5.0]])
    fits = {"g0": GatewayFit(3.0, 3.1, 2.5), "g1": GatewayFit(-2.0), "gone": GatewayFit(9.0)}
    calibration = Calibration(1, "hall", exponent=2.2, sd_db=4.0, gateways=fits)
    offset, exponent, sd = gateway_columns(plan, calibration)
    assert offset.tolist() == [3.0, -2.0, 0.0]
    assert exponent.tolist() == [3.1, 2.2, 2.2]
    assert sd.tolist() == [2.5, 4.0, 4.0]
    made, grid = model(plan, gateways=fits, exponent=2.2, sd_db=4.0)
    away = np.sqrt(
        (grid.x - 5.0) ** 2 + (grid.y - 5.0) ** 2 + (GATEWAY_HEIGHT_M - TAG_HEIGHT_M) ** 2
    )
    assert made.level[0] == pytest.approx(3.0 - 31.0 * np.log10(away), abs=1e-3)
    assert made.sd.tolist() == [2.5, 4.0, 4.0]


RACK = Obstacle("rack", "0", "rack", rectangle(10.0, 2.0, 11.0, 18.0))
WALL = Obstacle("wall", "0", "wall", rectangle(20.0, 0.0, 20.2, 20.0))
TOLD = Obstacle("told", "0", "rack", rectangle(14.0, 2.0, 15.0, 18.0), 9.0)


def test_losses_fitted_then_stated_then_of_the_kind() -> None:
    """Each obstacle's loss by the best that is known of it."""
    plan = site(obstacles=[RACK, WALL, TOLD])
    geometry = Geometry(plan, Grid(plan))

    def losses(**changes: Any) -> list[float]:
        calibration = msgspec.structs.replace(prior("hall"), **changes)
        found: list[float] = obstacle_losses(plan, geometry, calibration).tolist()
        return found

    assert losses() == [RACK_DB, WALL_DB, 9.0]
    assert losses(rack_db=7.0, wall_db=1.0) == [7.0, 1.0, 9.0]
    assert losses(obstacles={"told": 3.0, "rack": 2.0, "gone": 1.0}) == [2.0, WALL_DB, 3.0]


def test_losses_add_up_along_a_ray() -> None:
    """Straight through a rack, a stated rack and a wall: the sum; before them: nothing."""
    plan = site(obstacles=[RACK, WALL, TOLD])
    made, grid = model(plan)
    bare, _ = model(site())
    lost = bare.level[0] - made.level[0]
    straight = grid.inside & (np.abs(grid.y - 5.0) < 0.6)
    for low, high, loss in (
        (0.0, 10.0, 0.0),
        (11.5, 13.9, RACK_DB),
        (15.5, 19.9, RACK_DB + 9.0),
        (20.5, 30.0, RACK_DB + 9.0 + WALL_DB),
    ):
        there = straight & (grid.x > low) & (grid.x < high)
        assert there.any()
        assert lost[there] == pytest.approx(np.full(int(there.sum()), loss), abs=1e-3)
    # Half a rack deep costs half.
    inside = straight & (np.abs(grid.x - 10.5) < 0.01)
    assert lost[inside] == pytest.approx(np.full(int(inside.sum()), RACK_DB / 2), rel=0.02)


def test_many_racks_in_a_row_cost_no_more_than_the_way_around() -> None:
    """Losses are bounded, since rays also run over the tops."""
    racks = [
        Obstacle(f"r{k}", "0", "rack", rectangle(8.0 + 2.0 * k, 0.0, 9.0 + 2.0 * k, 20.0))
        for k in range(10)
    ]
    made, grid = model(site(obstacles=racks))
    bare, _ = model(site())
    lost = (bare.level[0] - made.level[0])[grid.inside & (grid.x > 28.5)]
    assert 10 * RACK_DB > OBSTACLES_MOST_DB
    assert lost == pytest.approx(np.full(len(lost), OBSTACLES_MOST_DB), abs=1e-3)


def test_obstacles_of_another_floor_are_in_nobodys_way() -> None:
    """A rack upstairs takes nothing from the ground floor's gateway, up or down."""
    upstairs = Obstacle("r", "1", "rack", rectangle(10.0, 0.0, 12.0, 20.0))
    made, _ = model(site(obstacles=[upstairs], levels=(0, 1)))
    bare, _ = model(site(levels=(0, 1)))
    assert made.level.tobytes() == bare.level.tobytes()


def _star(spokes: list[float], middle: Point) -> list[Point]:
    """A simple polygon of any shape: corners around a middle at these distances."""
    step = 2.0 * math.pi / len(spokes)
    return [
        (middle[0] + r * math.cos(k * step + 0.3), middle[1] + r * math.sin(k * step + 0.3))
        for k, r in enumerate(spokes)
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.4, 5.0), min_size=3, max_size=9),
    st.tuples(st.floats(3.0, 27.0), st.floats(3.0, 17.0)),
    st.tuples(st.floats(0.5, 29.5), st.floats(0.5, 19.5)),
)
def test_rays_through_any_polygon_as_shapely_has_them(
    spokes: list[float], middle: Point, gateway: Point
) -> None:
    """A crossing is the ray's length inside over the obstacle's depth, at most 1."""
    ring = _star(spokes, middle)
    polygon = shapely.Polygon(ring)
    assume(polygon.is_valid and polygon.area > 0.3)
    plan = site([[*gateway, 3.0]], [Obstacle("o", "0", "rack", ring)])
    grid = Grid(plan)
    crossings = Geometry(plan, grid).crossings
    share = np.zeros(len(grid))
    share[crossings.cell] = crossings.share
    assert (np.diff(crossings.cell) >= 0).all()

    cells = np.flatnonzero(grid.inside)
    rays = shapely.linestrings([[gateway, (grid.x[c], grid.y[c])] for c in cells])
    chord = shapely.length(shapely.intersection(rays, polygon))
    box = shapely.get_coordinates(polygon.minimum_rotated_rectangle)
    sides = np.hypot(*np.diff(box, axis=0).T)
    expected = np.minimum(1.0, chord / sides.min())
    # A graze of less than a fiftieth of the depth is left out.
    assert np.abs(share[cells] - expected).max() < 0.021
    assert np.abs(share[cells] - expected)[expected > 0.03].max(initial=0.0) < 1e-4
    assert not share[~grid.inside].any()


def test_a_map_adds_between_its_cells_and_holds_beyond_its_edge() -> None:
    """Bilinear between the four nearest, by hand; only at its gateway and on its floor."""
    values = np.array([[0.0, 4.0], [8.0, -2.0], [1.0, 1.0]])
    patch = MapPatch("g1", "0", (10.0, 5.0), (2, 3), pack_map(values))
    lost = MapPatch("gone", "0", (10.0, 5.0), (2, 3), pack_map(values))
    plan = site([[5.0, 5.0], [15.0, 5.0]], levels=(0, 1))
    made, grid = model(plan, map_cell_m=4.0, radio_map=[patch, lost])
    bare, _ = model(plan)
    added = (made.level - bare.level).astype(np.float64)
    assert not added[0].any()
    assert not added[1, grid.floor == 1].any()

    def at(x: float, y: float) -> float:
        cell = int(np.argmin(np.hypot(grid.x - x, grid.y - y) + 1e9 * (grid.floor != 0)))
        u = min(max((grid.x[cell] - 10.0) / 4.0, 0.0), 1.0)
        v = min(max((grid.y[cell] - 5.0) / 4.0, 0.0), 2.0)
        j = min(int(v), 1)
        rows = values[j] * (1 - (v - j)) + values[j + 1] * (v - j)
        expected = float(rows[0] * (1 - u) + rows[1] * u)
        assert added[1, cell] == pytest.approx(expected, abs=1e-3)
        return expected

    assert at(1.0, 1.0) == 0.0
    assert at(29.0, 1.0) == 4.0
    assert at(29.0, 19.0) == 1.0
    assert len({round(at(x, y), 3) for x in (10.5, 12.5) for y in (6.5, 10.5)}) == 4


def test_a_site_without_gateways_has_an_empty_model() -> None:
    """No gateways, no levels, no crossings."""
    plan = msgspec.structs.replace(site(obstacles=[RACK]), gateways=[])
    made, grid = model(plan)
    assert made.level.shape == (0, len(grid))
