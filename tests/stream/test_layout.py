"""The layout: a site's lists as columns, and what is handed on from version to version."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.layout import COARSE_M, NEARBY, Layout
from stream.site import Floor, GatewayPlace, Obstacle, Site, Trackable, Zone
from tests.support.locating import hall, rectangle

# An L: the quarter at the upper right is outside.
ELBOW = [(0.0, 0.0), (20.0, 0.0), (20.0, 10.0), (10.0, 10.0), (10.0, 20.0), (0.0, 20.0)]
TWO = Layout(hall(("picker", "item", "cart"), floors=2, beacons=3, racks=[rectangle(8, 5, 9, 25)]))


def worn(*counts: int) -> Layout:
    """Trackables with so many beacons each."""
    parts = [
        Trackable(f"t{i}", "T", "item", [f"b{i}-{k}" for k in range(count)])
        for i, count in enumerate(counts)
    ]
    small = hall(wide=10.0, deep=10.0)
    return Layout(msgspec.structs.replace(small, trackables=parts))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.data())
def test_beacons_of_trackables(counts: list[int], data: st.DataObject) -> None:
    """Rows of beacons as the lists say, for any trackables, also those that wear none."""
    layout = worn(*counts)
    rows = data.draw(st.lists(st.integers(0, len(counts) - 1), unique=True).map(sorted))
    names = list(layout.beacon_row)
    found = [names[row] for row in layout.beacons_of(np.array(rows, np.int64))]
    assert found == [f"b{i}-{k}" for i in rows for k in range(counts[i])]
    every = np.arange(len(names))
    assert [f"b{t}-{k}" for t, k in zip(layout.trackable, layout.beacon_place, strict=True)] == [
        names[row] for row in every
    ]


def test_nothing_is_located_outside_the_walls() -> None:
    """In an L-shaped hall the place between the arms is moved to the nearest wall."""
    site = msgspec.structs.replace(
        hall(wide=20.0, deep=20.0, spacing=5.0), floors=[Floor("0", "0", 0, ELBOW)]
    )
    x, y = Layout(site).confine(
        np.array([15.0, 12.0, 5.0, 30.0]), np.array([11.0, 15.0, 5.0, 5.0]), np.zeros(4, np.int64)
    )
    assert np.column_stack([x, y]) == pytest.approx(
        np.array([[15.0, 10.0], [10.0, 15.0], [5.0, 5.0], [20.0, 5.0]])
    )


def test_a_place_is_confined_to_its_own_floor() -> None:
    """What is outside on the small floor is inside on the large one."""
    site = msgspec.structs.replace(
        hall(floors=2),
        floors=[
            Floor("0", "0", 0, rectangle(0.0, 0.0, 40.0, 30.0)),
            Floor("1", "1", 1, rectangle(0.0, 0.0, 10.0, 10.0)),
        ],
        gateways=[GatewayPlace("g", "0", [5.0, 5.0])],
    )
    x, y = Layout(site).confine(np.full(2, 30.0), np.full(2, 5.0), np.array([0, 1]))
    assert x.tolist() == [30.0, 10.0]
    assert y.tolist() == [5.0, 5.0]


def test_where_to_look_is_what_is_nearest_to_each_gateway() -> None:
    """Cells inside the outline, every 2 m, nearest first; of both floors, its own before."""
    grid, nearby = TWO.grid, TWO.nearby
    assert nearby.shape == (len(TWO.gateway_row), NEARBY)
    for row, cells in enumerate(nearby):
        assert len(set(cells.tolist())) == NEARBY
        assert grid.inside[cells].all()
        x, y = TWO.geometry.place[row, :2]
        floor = int(TWO.geometry.floor[row])
        away = np.hypot(grid.x[cells] - x, grid.y[cells] - y)
        mine, other = (away[grid.floor[cells] == f] for f in (floor, 1 - floor))
        # No place within a lattice step of the gateway is missing.
        assert mine.min() < COARSE_M
        assert len(mine) > len(other) > 0
        assert mine.max() > other.max()
        # All that is nearer than the farthest chosen one is chosen.
        lattice = [
            c
            for c in np.unique(nearby)
            if grid.floor[c] == floor and np.hypot(grid.x[c] - x, grid.y[c] - y) < mine.max() - 1e-6
        ]
        assert set(lattice) <= set(cells.tolist())


def test_no_place_of_the_hall_is_far_from_where_is_looked() -> None:
    """Every free cell is within a lattice step of a cell that some gateway looks at."""
    grid = TWO.grid
    chosen = np.unique(TWO.nearby)
    for floor in range(2):
        here = chosen[grid.floor[chosen] == floor]
        tree = shapely.STRtree(shapely.points(grid.x[here], grid.y[here]))
        cells = np.flatnonzero(grid.inside & (grid.floor == floor))
        places = shapely.points(grid.x[cells], grid.y[cells])
        _, distance = tree.query_nearest(places, return_distance=True, all_matches=False)
        assert distance.max() <= COARSE_M


def test_the_smallest_zone_has_a_cell_and_a_tiny_one_gets_the_nearest() -> None:
    """A zone in a zone wins its cells; one that holds no middle of a cell still has one."""
    zones = [
        Zone("hall", "0", "Hall", "storage", rectangle(0.0, 0.0, 40.0, 30.0)),
        Zone("dock", "0", "Dock", "dock", rectangle(0.0, 0.0, 10.0, 30.0)),
        Zone("tiny", "0", "Tiny", "storage", rectangle(20.1, 15.1, 20.4, 15.4)),
        Zone("upstairs", "1", "Up", "storage", rectangle(3.1, 3.1, 3.4, 3.4)),
    ]
    layout = Layout(msgspec.structs.replace(hall(floors=2), zones=zones))
    grid, zone_of = layout.grid, layout.zone_of
    inside = grid.inside & (grid.floor == 0)
    assert (zone_of[inside & (grid.x < 10.0)] == 1).all()
    assert set(zone_of[inside & (grid.x > 10.0)]) == {0, 2}
    for row, (x, y) in ((2, (20.25, 15.25)), (3, (3.25, 3.25))):
        [cell] = np.flatnonzero(zone_of == row)
        assert np.hypot(grid.x[cell] - x, grid.y[cell] - y) <= 0.75 * grid.cell_m
    assert set(zone_of[grid.floor == 1]) == {-1, 3}


CHANGES: dict[str, tuple[bool, dict[str, Any]]] = {
    "trackables": (True, {"trackables": []}),
    "zones": (True, {"zones": [Zone("z", "0", "Z", "dock", rectangle(0, 0, 9, 9))]}),
    "name": (True, {"name": "Another"}),
    "floor name": (True, {"floors": [Floor("0", "Renamed", 0, rectangle(0, 0, 40, 30))]}),
    "outline": (False, {"floors": [Floor("0", "Floor 0", 0, rectangle(0, 0, 40, 31))]}),
    "level": (False, {"floors": [Floor("0", "Floor 0", 1, rectangle(0, 0, 40, 30))]}),
    "gateways": (False, {"gateways": hall().gateways[1:]}),
    "gateway moved": (
        False,
        {"gateways": [GatewayPlace("g0-00", "0", [6.0, 5.0, 3.0]), *hall().gateways[1:]]},
    ),
    "rack": (False, {"obstacles": [Obstacle("r", "0", "rack", rectangle(3, 3, 4, 20))]}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_costly_part_is_kept_while_it_holds(change: str) -> None:
    """Cells and rays are made anew when outlines, gateways or obstacles change, else kept."""
    same, changes = CHANGES[change]
    before = Layout(hall())
    after = Layout(msgspec.structs.replace(hall(), **changes), before)
    assert after.same_place == same
    assert (after.place is before.place) == same
    fresh = Layout(after.site)
    assert (after.grid.x.tobytes(), after.nearby.tobytes(), after.zone_of.tobytes()) == (
        fresh.grid.x.tobytes(),
        fresh.nearby.tobytes(),
        fresh.zone_of.tobytes(),
    )


def test_the_layout_knows_how_far_its_gateways_are_apart() -> None:
    """Distances are those on a floor; the gateway above another is not its neighbour."""
    assert Layout(hall(floors=2, spacing=10.0)).place.spacing_m == 10.0
    assert Layout(hall(wide=12.0, deep=12.0, spacing=4.0)).place.spacing_m == 4.0


def test_a_site_without_gateways_or_trackables_has_a_layout() -> None:
    """An empty site is laid out and hears nothing."""
    bare = Site("s", "S", "UTC", [Floor("0", "0", 0, rectangle(0, 0, 10, 10))])
    layout = Layout(bare)
    assert layout.nearby.shape[0] == 0
    assert layout.beacons_of(np.zeros(0, np.int64)).tolist() == []
