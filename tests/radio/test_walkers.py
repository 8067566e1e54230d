"""Lanes and walkers: nobody walks through racks or faster than a person, and tours go on."""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest

from gateway.radio.crossing import Obstacles, in_ring
from gateway.radio.parameters import RadioParameters, WalkParameters
from gateway.radio.plan import Plan, read_plan
from gateway.radio.roadmap import Roadmap
from gateway.radio.walkers import picking_tours, stop_at
from gateway.radio.warehouse import warehouse
from gateway.radio.world import World
from tests.support.radio import START, box, middle, plan

# The sway adds at most this to a walker's speed along the lane.
SWAY = 1.07


def world(place: Plan, seed: int = 1) -> World:
    """A world with the usual parameters."""
    return World(place, RadioParameters(), WalkParameters(), seed, START)


def office() -> Plan:
    """Two rooms with a door of 0.9 m between them, and no slots or zones."""
    return plan(
        [(1.0, 1.0)],
        walls=[box(5.0, 0.0, 5.15, 3.0), box(5.0, 3.9, 5.15, 8.0)],
        outline=box(0.0, 0.0, 10.0, 8.0),
        more={
            "trackables": [
                {"id": f"v{i}", "kind": "visitor", "beacons": [f"b{i}"]} for i in range(6)
            ]
        },
    )


SITES = {
    "demo": lambda: read_plan(warehouse(1, items=30, pickers=8, visitors=3, carts=2)),
    "small": lambda: read_plan(warehouse(2, width_m=14, depth_m=18, gateways=3, items=9)),
    "deep": lambda: read_plan(warehouse(3, width_m=30, depth_m=90, items=9, pickers=6)),
    "floors": lambda: read_plan(warehouse(4, width_m=30, depth_m=30, floors=2, pickers=6)),
    "office": office,
}


@pytest.mark.parametrize("name", SITES)
def test_walkers_stay_out_of_racks_and_within_their_speed(name: str) -> None:
    """For 20 minutes, looked at twice a second, on sites of all sorts."""
    place = SITES[name]()
    people = world(place)
    obstacles = Obstacles([o.polygon for o in place.obstacles], [o.floor for o in place.obstacles])
    moving = people.moving
    floor = people.floor[moving]
    before: tuple[np.ndarray, np.ndarray] | None = None
    fastest, moved = 0.0, 0
    for step in range(2_400):
        people.move(START + step * 0.5)
        x, y = people.x[moving].copy(), people.y[moving].copy()
        assert not obstacles.holds(x, y, floor).any()
        for row, outline in enumerate(place.floors):
            here = floor == row
            assert in_ring(x[here], y[here], np.array(outline.outline)).all()
        if before is not None:
            speed = np.hypot(x - before[0], y - before[1]) / 0.5
            fastest = max(fastest, float(speed.max()))
            moved += int((speed > 0.5).sum())
        before = x, y
    assert 0.8 < fastest <= 1.5 * SWAY
    share = moved / 2_400 / len(moving)
    # People walk and people stand; none does only one of them.
    assert 0.1 < share < 0.9


def test_a_door_is_found_and_walked_through() -> None:
    """Lanes lead through a gap of 0.9 m, so visitors are seen in both rooms."""
    people = world(office())
    sides = set()
    for step in range(1_200):
        people.move(START + step)
        sides |= set((people.x > 5.0).tolist())
    assert sides == {True, False}


def test_a_wall_without_a_door_is_not_walked_through() -> None:
    """Lanes keep to the larger of two parts that do not join."""
    lanes = Roadmap(
        [(0, 0), (10, 0), (10, 8), (0, 8)], [[(3, 0), (3.15, 0), (3.15, 8), (3, 8)]], 0.45
    )
    assert len(lanes.nodes) > 2
    assert (lanes.nodes[:, 0] > 3.15 + 0.4).all()


def test_a_floor_without_room_has_no_lanes() -> None:
    """And who is there stays where they are."""
    people = world(plan([(0.0, 0.0)], [(0.0, 0.0)], kind="picker", outline=box(0.0, 0.0, 0.6, 0.6)))
    at = people.x.copy(), people.y.copy()
    people.move(START + 500.0)
    assert (people.x, people.y) == at


def test_the_way_along_lanes_is_a_shortest_one() -> None:
    """In an empty hall it is the way around the block; behind a rack it is the detour."""
    lanes = Roadmap([(0, 0), (30, 0), (30, 20), (0, 20)], [], 0.45)
    a, b = lanes.nearest(1.0, 1.0), lanes.nearest(29.0, 19.0)
    expected = float(np.abs(lanes.nodes[a] - lanes.nodes[b]).sum())
    assert lanes.distance(a, b) == pytest.approx(expected, abs=0.01)
    path = lanes.path(a, b)
    assert path[0] == tuple(lanes.nodes[a])
    assert path[-1] == tuple(lanes.nodes[b])
    walked = sum(math.dist(p, q) for p, q in pairwise(path))
    assert walked == pytest.approx(expected, abs=0.01)


def test_positions_do_not_depend_on_when_they_are_asked_for() -> None:
    """Asked every 50 ms or every 30 s, and a little back, a walker is at the same place."""
    place = read_plan(warehouse(5, items=10, pickers=5))
    fine, coarse = world(place), world(place)
    for step in range(12_000):
        fine.move(START + step * 0.05)
        if step % 600 == 0:
            coarse.move(START + step * 0.05)
            assert np.array_equal(fine.x, coarse.x)
            assert np.array_equal(fine.y, coarse.y)
    coarse.move(START + 500.0)
    fine.move(START + 500.0)
    assert np.array_equal(fine.x, coarse.x)


def test_pickers_stop_in_aisles_and_come_back_to_pack() -> None:
    """A tour has stops of about the pick time in aisles, and ends in the packing zone."""
    place = read_plan(warehouse(6, items=50, pickers=6))
    people = world(place)
    packing = next(zone for zone in place.zones if zone.kind == "packing")
    aisles = [np.array(zone.polygon) for zone in place.zones if zone.kind == "aisle"]
    stands: list[float] = []
    packed = np.zeros(6, bool)
    since = np.full(6, START)
    last = np.full((2, 6), np.nan)
    for step in range(7_200):
        t = START + step * 0.5
        people.move(t)
        here = np.array([people.x[people.moving], people.y[people.moving]])
        packed |= in_ring(here[0], here[1], np.array(packing.polygon))
        went = (here != last).any(axis=0)
        stood = went & (t - since > 2.0)
        stands += [
            float(t - since[i])
            for i in np.flatnonzero(stood)
            if any(in_ring(last[0, i : i + 1], last[1, i : i + 1], ring)[0] for ring in aisles)
        ]
        since[went] = t
        last = here
    assert packed.all()
    assert len(stands) > 300
    assert float(np.median(stands)) == pytest.approx(14.0, abs=2.0)


def test_a_few_faces_get_many_of_the_picks() -> None:
    """Demand follows a Zipf law, so that slotting has something to find."""
    lanes = Roadmap([(0, 0), (30, 0), (30, 20), (0, 20)], [], 0.45)
    rng = np.random.default_rng(1)
    faces = [stop_at(lanes, (float(x), float(y))) for x, y in rng.uniform(1.0, 19.0, (100, 2))]
    depot = stop_at(lanes, (0.0, 0.0))
    visits = islice(picking_tours(lanes, depot, faces, WalkParameters(), rng), 6_000)
    counts = Counter(visit.stop.face for visit in visits if visit.stop is not depot)
    picks = sum(counts.values())
    assert picks > 5_000
    top = sum(count for _, count in counts.most_common(20))
    assert 0.45 < top / picks < 0.65
    # The first in the list are the most demanded.
    assert counts[faces[0].face] > 3 * counts[faces[60].face]


def test_items_lie_in_the_slots_of_their_sku() -> None:
    """At the slot's height, too; several of one SKU share its slots out."""
    document = warehouse(8, items=400, pickers=0)
    place = read_plan(document)
    people = world(place)
    slots = {(s.x, s.y, s.z, s.sku) for s in place.slots if s.sku}
    for row, part in enumerate(place.trackables):
        at = (float(people.x[row]), float(people.y[row]), float(people.z[row]), part.sku)
        assert at in slots
    places = {
        (float(x), float(y), float(z)) for x, y, z in zip(people.x, people.y, people.z, strict=True)
    }
    assert len(places) == 400


def test_what_has_no_slot_lies_somewhere_on_the_floor() -> None:
    """Inside the outline and outside of racks."""
    racks = [box(-40 + 8 * i, -90, -36 + 8 * i, 90) for i in range(10)]
    place = plan(
        [(0.0, 0.0)],
        racks=racks,
        more={
            "trackables": [
                {"id": f"o{i}", "kind": "other", "beacons": [f"b{i}", f"c{i}"]} for i in range(60)
            ]
        },
    )
    people = world(place)
    obstacles = Obstacles([o.polygon for o in place.obstacles], [0] * 10)
    assert not obstacles.holds(people.x, people.y, people.floor).any()
    # Two beacons of one trackable are at one place.
    assert np.array_equal(people.x[0::2], people.x[1::2])
    assert len(set(people.x.tolist())) == 60


def test_the_middle_of_a_ring_is_its_corners_mean() -> None:
    """Used to look for depots."""
    assert middle([(0.0, 0.0), (4.0, 0.0), (4.0, 2.0), (0.0, 2.0)]) == (2.0, 1.0)
