"""The locator over the solver and the filter: several beacons, floors, walls, zones."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from stream.evidence import Readings
from stream.fixes import NONE, Fixes
from stream.locator import FLOOR_TICKS, Layout, Locator
from stream.site import Floor, GatewayPlace, Site, Trackable, Zone
from stream.solver import EXPONENT, TAG_HEIGHT_M

T0 = 1_700_000_000.0
HALL = [(0.0, 0.0), (20.0, 0.0), (20.0, 20.0), (0.0, 20.0)]
# An L: the quarter at the upper right is outside.
ELBOW = [(0.0, 0.0), (20.0, 0.0), (20.0, 10.0), (10.0, 10.0), (10.0, 20.0), (0.0, 20.0)]
CORNERS = [(2.0, 2.0), (18.0, 2.0), (2.0, 18.0), (18.0, 18.0)]

Heard = list[tuple[int, int, float]]


def site(
    beacons: list[list[str]], floors: int = 1, outline: list[tuple[float, float]] = HALL
) -> Site:
    """Four gateways on each floor; a trackable for each list of beacons."""
    return Site(
        id="hall",
        name="Hall",
        timezone="UTC",
        floors=[Floor(str(k), f"Floor {k}", k, outline) for k in range(floors)],
        gateways=[
            GatewayPlace(f"g{k}{i}", str(k), [x, y, 3.0])
            for k in range(floors)
            for i, (x, y) in enumerate(CORNERS)
        ],
        zones=[Zone("west", "0", "West", "storage", [(0, 0), (10, 0), (10, 20), (0, 20)])],
        trackables=[
            Trackable(f"t{i}", f"T {i}", "picker", names) for i, names in enumerate(beacons)
        ],
    )


def heard_at(beacon: int, x: float, y: float, *, floor: int = 0, offset: float = -58.0) -> Heard:
    """What the floor's gateways hear of a beacon, by the solver's own model."""
    found = []
    for i, (gx, gy) in enumerate(CORNERS):
        d2 = (x - gx) ** 2 + (y - gy) ** 2 + (3.0 - TAG_HEIGHT_M) ** 2
        found.append((beacon, 4 * floor + i, offset - 5.0 * EXPONENT * float(np.log10(d2))))
    return found


def tick(locator: Locator, number: int, heard: Heard) -> Fixes:
    """The fixes of a tick in which this was heard."""
    beacon, gateway, rssi = zip(*heard, strict=True)
    count = len(heard)
    readings = Readings(
        np.array(beacon, np.int64),
        np.array(gateway, np.int64),
        np.array(rssi, np.float64),
        np.full(count, 20.0),
        np.full(count, 0.25),
    )
    return locator.locate(readings, T0 + 0.5 * number)


def test_beacons_of_one_trackable_make_one_fix() -> None:
    """Two tags on one picker, of different strength: one fix, told by the one heard better."""
    locator = Locator(Layout(site([["left", "right"]])))
    weak = heard_at(1, 10.0, 6.0, offset=-75.0)[:1]
    fixes = tick(locator, 1, heard_at(0, 10.0, 6.0) + weak)
    assert fixes["trackable"].tolist() == [0]
    assert fixes["beacon"].tolist() == [0]
    alone = tick(Locator(Layout(site([["left", "right"]]))), 1, heard_at(0, 10.0, 6.0))
    towards = weak[0][1]
    assert np.hypot(fixes["x"] - CORNERS[towards][0], fixes["y"] - CORNERS[towards][1]) < np.hypot(
        alone["x"] - CORNERS[towards][0], alone["y"] - CORNERS[towards][1]
    )
    assert fixes["accuracy"][0] < alone["accuracy"][0]


def heard_everywhere(beacon: int, x: float, y: float, offset: float) -> Heard:
    """Heard on all of three floors, which fills every slot of its evidence."""
    return [
        reading
        for floor, loss in enumerate((0.0, 15.0, 25.0))
        for reading in heard_at(beacon, x, y, floor=floor, offset=offset - loss)
    ]


def test_a_beacon_is_not_moved_by_others_in_its_tick() -> None:
    """The same readings give the same bytes, whatever else is located with them."""
    names = [["a"], ["b"], ["c"]]
    together, alone = (Locator(Layout(site(names, floors=3))) for _ in range(2))
    for number in range(1, 12):
        mine = heard_everywhere(0, 4.0 + 0.6 * number, 7.0, offset=-60.3)
        others = heard_everywhere(1, 15.0, 3.0, -40.7) + heard_everywhere(2, 3.0, 16.0, -55.1)
        crowd = tick(together, number, mine + others)
        assert crowd[:1].tobytes() == tick(alone, number, mine).tobytes()
    ours, theirs = together.state, alone.state
    assert ours.tracks[:1].tobytes() == theirs.tracks[:1].tobytes()


def test_the_loudest_floor_wins_and_changes_only_when_another_stays_louder() -> None:
    """A tag is on the floor that hears it; a moment's louder neighbour does not lift it."""
    locator = Locator(Layout(site([["a"]], floors=2)))
    through_slab = [(b, g, r - 18.0) for b, g, r in heard_at(0, 8.0, 8.0, floor=0)]
    upstairs = heard_at(0, 8.0, 8.0, floor=1) + through_slab
    assert tick(locator, 1, upstairs)["floor"].tolist() == [1]
    below = heard_at(0, 8.0, 8.0, floor=0, offset=-20.0)
    floors = [int(tick(locator, 2 + k, below)["floor"][0]) for k in range(FLOOR_TICKS + 2)]
    assert floors[0] == 1
    assert floors[-1] == 0
    assert floors == sorted(floors, reverse=True)
    assert floors.index(0) >= FLOOR_TICKS - 1


def test_a_floor_hears_only_its_own_gateways() -> None:
    """Gateways of another floor do not pull the place."""
    one = Locator(Layout(site([["a"]], floors=2)))
    two = Locator(Layout(site([["a"]], floors=2)))
    mine = heard_at(0, 5.0, 12.0, floor=1)
    astray = [(0, 1, -95.0)]
    assert (
        tick(one, 1, mine)[["x", "y"]].tolist() == tick(two, 1, mine + astray)[["x", "y"]].tolist()
    )


def test_nothing_is_located_outside_the_walls() -> None:
    """In an L-shaped hall the place between the arms is moved to the nearest wall."""
    layout = Layout(site([["a"]], outline=ELBOW))
    x, y = layout.confine(
        np.array([15.0, 12.0, 5.0, 30.0]), np.array([11.0, 15.0, 5.0, 5.0]), np.zeros(4, np.int64)
    )
    assert np.column_stack([x, y]) == pytest.approx(
        np.array([[15.0, 10.0], [10.0, 15.0], [5.0, 5.0], [20.0, 5.0]])
    )


@pytest.mark.parametrize(
    ("x", "zone", "least", "most"), [(4.0, 0, 0.6, 1.0), (17.0, NONE, 0.0, 0.0)]
)
def test_a_fix_knows_its_zone_and_how_sure_that_is(
    x: float, zone: int, least: float, most: float
) -> None:
    """Well inside a zone the probability is high; in no zone it is 0."""
    fixes = tick(Locator(Layout(site([["a"]]))), 1, heard_at(0, x, 10.0))
    assert fixes["zone"].tolist() == [zone]
    assert least <= fixes["zone_probability"][0] <= most


def test_the_layout_knows_how_far_its_gateways_are_apart() -> None:
    """Distances are those on a floor; the gateway above another is not its neighbour."""
    near = site([["a"]], floors=2)
    far = msgspec.structs.replace(
        near,
        gateways=[
            msgspec.structs.replace(g, position=[g.position[0] / 8, g.position[1] / 8])
            for g in near.gateways
        ],
    )
    assert Layout(near).spacing_m == 16.0
    assert Layout(far).spacing_m == 2.0
