"""Rings are judged in words, and membership agrees with shapely, point by point."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from stream.geometry import Areas, Point, ring_fault

SQUARE: list[Point] = [(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)]
L_SHAPE: list[Point] = [(0.0, 0.0), (6.0, 0.0), (6.0, 2.0), (2.0, 2.0), (2.0, 6.0), (0.0, 6.0)]


@pytest.mark.parametrize(
    ("ring", "fault"),
    [
        (SQUARE, None),
        (SQUARE[::-1], None),
        ([*SQUARE, SQUARE[0]], None),
        (L_SHAPE, None),
        ([], "a polygon needs at least 3 corners, not 0"),
        (SQUARE[:2], "a polygon needs at least 3 corners, not 2"),
        ([(0.0, 0.0), (1.0, math.nan), (1.0, 1.0)], "a corner is not a finite number of metres"),
        ([(0.0, 0.0), (1.0, math.inf), (1.0, 1.0)], "a corner is not a finite number of metres"),
        (
            [(0.0, 0.0), (2.0, 2.0), (2.0, 0.0), (0.0, 2.0)],
            "the polygon is not simple: Self-intersection at [1 1]",
        ),
        ([(0.0, 0.0), (0.05, 0.0), (0.05, 0.05), (0.0, 0.05)], "the polygon has no area"),
    ],
)
def test_a_ring_is_judged(ring: list[Point], fault: str | None) -> None:
    """A usable ring has no fault; any other has one that says what is wrong with it."""
    assert ring_fault(ring) == fault


def test_a_line_is_no_polygon() -> None:
    """Corners on one line enclose nothing, whichever way shapely calls it."""
    assert ring_fault([(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)])


@pytest.mark.parametrize(
    ("x", "y", "floor", "row"),
    [
        (1.0, 1.0, 0, 1),  # in both: the smaller
        (3.0, 3.0, 0, 0),  # in the large one alone
        (1.0, 1.0, 1, 2),  # the other floor's
        (1.0, 1.0, 2, -1),  # a floor without areas
        (9.0, 9.0, 0, -1),
        (4.0, 3.0, 0, 0),  # an edge belongs to its area
        (4.0, 4.0, 0, 0),  # so does a corner
        (2.0, 1.0, 0, 1),  # on the smaller one's edge, inside the larger
    ],
)
def test_the_smallest_area_that_holds_the_point_wins(
    x: float, y: float, floor: int, row: int
) -> None:
    """Areas may lie in each other; the smallest is the most telling."""
    small: list[Point] = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)]
    areas = Areas([SQUARE, small, SQUARE], [0, 0, 1])
    assert areas.locate(np.array([x]), np.array([y]), np.array([floor])).tolist() == [row]


def test_no_areas_hold_nothing() -> None:
    """A site without zones puts every point nowhere; no points give no rows."""
    assert Areas([], []).locate(np.zeros(2), np.zeros(2), np.zeros(2, int)).tolist() == [-1, -1]
    assert Areas([SQUARE], [0]).locate(np.zeros(0), np.zeros(0), np.zeros(0, int)).tolist() == []


@st.composite
def rings(draw: st.DrawFn) -> list[Point]:
    """A star-shaped, hence simple, polygon of 3 to 9 corners on a grid of a tenth of a metre."""
    cx, cy = draw(st.integers(-20, 20)), draw(st.integers(-20, 20))
    count = draw(st.integers(3, 9))
    radii = draw(st.lists(st.integers(5, 80), min_size=count, max_size=count))
    return [
        (
            round(cx + r / 10 * math.cos(2 * math.pi * k / count), 1),
            round(cy + r / 10 * math.sin(2 * math.pi * k / count), 1),
        )
        for k, r in enumerate(radii)
    ]


@given(
    st.lists(st.tuples(rings(), st.integers(0, 2)), max_size=6),
    st.lists(
        st.tuples(st.integers(-300, 300), st.integers(-300, 300), st.integers(0, 2)), max_size=40
    ),
)
def test_membership_is_what_shapely_says(
    placed: list[tuple[list[Point], int]], points: list[tuple[int, int, int]]
) -> None:
    """For any areas and points, the row is that of the smallest polygon that covers the point."""
    placed = [(ring, floor) for ring, floor in placed if ring_fault(ring) is None]
    polygons = [shapely.Polygon(ring) for ring, _ in placed]
    found = Areas([ring for ring, _ in placed], [floor for _, floor in placed]).locate(
        np.array([x / 10 for x, _, _ in points]),
        np.array([y / 10 for _, y, _ in points]),
        np.array([floor for _, _, floor in points], int),
    )
    for (x, y, floor), row in zip(points, found.tolist(), strict=True):
        holding = [
            (polygon.area, -i, i)
            for i, (polygon, (_, level)) in enumerate(zip(polygons, placed, strict=True))
            if level == floor and polygon.covers(shapely.Point(x / 10, y / 10))
        ]
        assert row == (min(holding)[2] if holding else -1)


@pytest.mark.parametrize("ring", [SQUARE, L_SHAPE], ids=["box", "L"])
@pytest.mark.parametrize("sd", [0.1, 0.5, 1.5])
def test_the_probability_is_the_share_of_true_places_inside(ring: list[Point], sd: float) -> None:
    """Drawn true places fall inside as often as the probability says, for boxes and others."""
    rng = np.random.default_rng(20240607)
    areas = Areas([ring], [0])
    places = np.array([[1.0, 1.0], [0.3, 3.0], [1.9, 1.9], [3.5, 1.0]])
    told = areas.probability(np.zeros(4, int), places[:, 0], places[:, 1], np.full(4, sd))
    for (x, y), chance in zip(places, told, strict=True):
        drawn = rng.normal((x, y), sd, (20_000, 2))
        share = shapely.contains_xy(shapely.Polygon(ring), drawn[:, 0], drawn[:, 1]).mean()
        # The stencil of a polygon that is no box has 19 places: steps of one in nineteen.
        assert chance == pytest.approx(share, abs=0.02 if ring is SQUARE else 0.09)


def test_a_point_in_no_area_has_no_probability() -> None:
    """A fix outside every zone is in its zone with probability 0; a sure one with almost 1."""
    areas = Areas([SQUARE], [0])
    told = areas.probability(
        np.array([-1, 0]), np.array([2.0, 2.0]), np.array([2.0, 2.0]), np.array([0.1, 0.0])
    )
    assert told.tolist() == pytest.approx([0.0, 1.0], abs=1e-6)
