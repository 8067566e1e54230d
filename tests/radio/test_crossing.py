"""Rays through racks and walls."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from gateway.radio.crossing import Obstacles, in_ring
from gateway.radio.plan import Floats, Point

RACK: list[Point] = [(2.0, -5.0), (3.0, -5.0), (3.0, 5.0), (2.0, 5.0)]
# An L, open to the upper right: a ray can leave it and come back.
ELL: list[Point] = [(0.0, 0.0), (6.0, 0.0), (6.0, 1.0), (1.0, 1.0), (1.0, 6.0), (0.0, 6.0)]


def loss(obstacles: Obstacles, ray: tuple[float, float, float, float], floor: int = 0) -> float:
    """Loss of one ray at 10 dB an obstacle."""
    x0, y0, x1, y1 = (np.array([v]) for v in ray)
    cost = np.full(len(obstacles), 10.0)
    return float(obstacles.loss(x0, y0, x1, y1, np.array([floor]), cost)[0])


@pytest.mark.parametrize(
    ("ray", "floor", "expected"),
    [
        ((0.0, 0.0, 5.0, 0.0), 0, 10.0),
        ((5.0, 0.0, 0.0, 0.0), 0, 10.0),
        ((0.0, 0.0, 5.0, 0.0), 1, 0.0),
        ((0.0, 0.0, 1.9, 0.0), 0, 0.0),
        ((0.0, 6.0, 5.0, 6.0), 0, 0.0),
        ((2.5, -9.0, 2.5, 9.0), 0, 10.0),
        ((2.5, 0.0, 2.5, 0.0), 0, 0.0),
    ],
)
def test_a_full_crossing_costs_all_and_a_miss_nothing(
    ray: tuple[float, float, float, float], floor: int, expected: float
) -> None:
    """Through, lengthwise, short of it, beside it, on another floor, and no ray at all."""
    assert loss(Obstacles([RACK], [0]), ray, floor) == pytest.approx(expected)


def test_a_ray_that_begins_inside_pays_for_its_part() -> None:
    """A tag 25 cm behind the face of a rack pays a quarter to the front and more to the back."""
    obstacles = Obstacles([RACK], [0])
    front = loss(obstacles, (2.25, 0.0, 0.0, 0.0))
    back = loss(obstacles, (2.25, 0.0, 5.0, 0.0))
    assert front == pytest.approx(10.0 * 0.25 / obstacles.depth[0])
    assert back == pytest.approx(10.0 * 0.75 / obstacles.depth[0])


def test_racks_in_a_row_add_up() -> None:
    """Each rack on the way takes its own."""
    row = [[(x + shift, y) for x, y in RACK] for shift in (0.0, 4.0, 8.0)]
    assert loss(Obstacles(row, [0, 0, 0]), (0.0, 0.0, 20.0, 1.0)) == pytest.approx(30.0)


def test_no_obstacles_cost_nothing() -> None:
    """An empty site is a site."""
    assert loss(Obstacles([], []), (0.0, 0.0, 5.0, 0.0)) == 0.0


coordinate = st.floats(-2.0, 8.0).map(lambda v: round(v, 3) + 0.000_37)


@given(ray=st.tuples(coordinate, coordinate, coordinate, coordinate))
def test_the_way_within_a_polygon_is_what_shapely_says(
    ray: tuple[float, float, float, float],
) -> None:
    """Also for polygons that are not convex."""
    obstacles = Obstacles([ELL], [0])
    line = shapely.LineString([ray[:2], ray[2:]])
    inside = shapely.intersection(shapely.Polygon(ELL), line).length
    expected = 10.0 * min(1.0, inside / float(obstacles.depth[0]))
    assert loss(obstacles, ray) == pytest.approx(expected, abs=1e-3)


@given(x=coordinate, y=coordinate)
def test_a_point_is_inside_where_shapely_says(x: float, y: float) -> None:
    """By counting crossings."""
    inside = in_ring(np.array([x]), np.array([y]), np.array(ELL))[0]
    assert bool(inside) == shapely.contains_xy(shapely.Polygon(ELL), x, y)


def test_many_rays_are_what_they_are_one_by_one() -> None:
    """Rays and obstacles of two floors in one call."""
    rng = np.random.default_rng(5)
    rings: list[list[Point]] = []
    for x, y, turn in rng.uniform(0.0, 30.0, (40, 3)):
        c, s = math.cos(turn), math.sin(turn)
        rings.append([(x + c * u - s * v, y + s * u + c * v) for u, v in RACK])
    floors = [i % 2 for i in range(40)]
    obstacles = Obstacles(rings, floors)
    rays: Floats = rng.uniform(0.0, 30.0, (200, 4))
    floor = rng.integers(0, 2, 200)
    cost = np.full(40, 10.0)
    together = obstacles.loss(rays[:, 0], rays[:, 1], rays[:, 2], rays[:, 3], floor, cost)
    for row in range(200):
        one = loss(obstacles, tuple(rays[row].tolist()), int(floor[row]))
        assert together[row] == pytest.approx(one)
    assert together.max() > 20.0
