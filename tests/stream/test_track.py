"""What is remembered moves with its ids to a new site version, and goes where ids have gone."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from stream.evidence import EMPTY
from stream.grid import WINDOW
from stream.layout import Layout
from stream.locator import Locator
from stream.motion import MODES
from stream.site import GatewayPlace, Obstacle, Site, Trackable
from stream.track import NOWHERE, RESTS, TRACK, WALKS, LocatorState, blank_state, carry_over
from tests.support.locating import Air, Place, Ticks, away, hall, rectangle

SITE = hall(["picker", "item", "visitor", "item", "cart"], beacons=2, floors=2)
PLACES: dict[int, Place] = {
    0: (6.0, 7.0, 0),
    2: (31.0, 22.0, 1),
    4: (18.0, 12.0, 0),
    6: (9.0, 25.0, 1),
}
"""By beacon row: the first beacon of the first four trackables; the cart is not heard."""


def told(seconds: float = 15.0) -> Ticks:
    """A locator that has followed them for a while."""
    ticks = Ticks(SITE)
    air = Air(SITE, noise_db=1.0)
    rng = np.random.default_rng(1)
    for _ in range(round(2.0 * seconds)):
        ticks.hear(air.heard(PLACES, rng))
    return ticks


TICKS = told()
BEFORE = TICKS.locator.layout
OLD = TICKS.locator.state


def moved(site: Site) -> tuple[LocatorState, Layout, list[int]]:
    """The state under another version, its layout, and where its trackables were."""
    after = Layout(site, BEFORE)
    was = {part.id: row for row, part in enumerate(SITE.trackables)}
    rows = [was.get(part.id, -1) for part in site.trackables]
    return carry_over(OLD, BEFORE, after, rows), after, rows


def changed(**changes: Any) -> Site:
    """The site with other lists."""
    return msgspec.structs.replace(SITE, **changes)


def filters(state: LocatorState) -> dict[int, bytes]:
    """Walk filters by trackable row."""
    return {int(row): state.chances[k].tobytes() for k, row in enumerate(state.walkers)}


def levels(state: LocatorState, beacon: int, layout: Layout) -> dict[str, tuple[float, float]]:
    """What a beacon was heard with, adverts and RSSI, by gateway id."""
    names = list(layout.gateway_row)
    return {
        names[slot["gateway"]]: (float(slot["n"]), float(slot["rssi"]))
        for slot in state.slots[beacon]
        if slot["gateway"] != EMPTY
    }


def test_the_setting() -> None:
    """Pickers and visitors have filters, items rest, what was not heard has nothing."""
    assert OLD.tracks["mode"].tolist() == [WALKS, RESTS, WALKS, RESTS, NOWHERE]
    assert OLD.walkers.tolist() == [0, 2]
    assert OLD.tracks["floor"].tolist()[:4] == [0, 1, 0, 1]


def test_an_unchanged_site_changes_nothing() -> None:
    """Every byte is kept, but for which beacon told most, which the next reading says again."""
    state, _, _ = moved(changed(name="Renamed"))
    expected = OLD.tracks.copy()
    expected["beacon"] = 0
    assert state.tracks.tobytes() == expected.tobytes()
    for name in ("slots", "heard", "walkers", "chances", "learnt"):
        assert getattr(state, name).tobytes() == getattr(OLD, name).tobytes(), name


def test_rows_follow_their_ids() -> None:
    """In another order, with one gone and one new: each keeps its place, evidence and filter."""
    parts = SITE.trackables
    new = Trackable("new", "New", "picker", ["fresh"])
    state, after, rows = moved(changed(trackables=[parts[3], new, parts[2], parts[0]]))
    assert rows == [3, -1, 2, 0]
    assert state.walkers.tolist() == [2, 3]
    assert filters(state) == {2: filters(OLD)[2], 3: filters(OLD)[0]}
    for row, was in ((0, 3), (2, 2), (3, 0)):
        for name in ("t", "x", "y", "sd", "floor", "mode", "ix", "iy", "gap", "since"):
            assert state.tracks[name][row] == OLD.tracks[name][was]
    assert state.tracks[1] == np.zeros(1, TRACK)[0]
    for beacon, row in after.beacon_row.items():
        old = BEFORE.beacon_row.get(beacon)
        if old is None:
            assert (state.slots["gateway"][row] == EMPTY).all()
        else:
            assert levels(state, row, after) == levels(OLD, old, BEFORE)
            assert state.heard[row] == OLD.heard[old]


def test_a_beacon_takes_its_evidence_to_another_trackable() -> None:
    """What a beacon was heard with is the beacon's, whoever wears it now."""
    first, second, *rest = SITE.trackables
    swapped = [
        msgspec.structs.replace(first, beacons=second.beacons),
        msgspec.structs.replace(second, beacons=first.beacons),
        *rest,
    ]
    state, after, _ = moved(changed(trackables=swapped))
    for beacon in ("b0-0", "b1-0"):
        mine, was = after.beacon_row[beacon], BEFORE.beacon_row[beacon]
        assert mine != was
        assert levels(state, mine, after) == levels(OLD, was, BEFORE) != {}


def test_gateways_are_renumbered_and_one_that_is_gone_leaves_its_slots_empty() -> None:
    """Evidence names gateways by row: rows move with ids, and nothing names a wrong one."""
    gateways = [*SITE.gateways[::-1][:-2], GatewayPlace("g-new", "0", [1.0, 1.0])]
    state, after, _ = moved(changed(gateways=gateways))
    gone = {part.id for part in SITE.gateways[:2]}
    for beacon in range(4):
        expected = levels(OLD, beacon, BEFORE)
        assert levels(state, beacon, after) == {
            name: told for name, told in expected.items() if name not in gone
        }
    empty = state.slots["gateway"] == EMPTY
    assert not state.slots["n"][empty].any()
    assert int(state.slots["gateway"].max()) < len(gateways)


RACK = Obstacle("r", "0", "rack", rectangle(14.0, 3.0, 15.0, 27.0))


@pytest.mark.parametrize("change", ["rack", "gateway", "outline"])
def test_where_cells_mean_something_else_all_are_found_anew(change: str) -> None:
    """Windows and filters are dropped, places and times are kept."""
    floors = [
        msgspec.structs.replace(floor, outline=rectangle(0.0, 0.0, 50.0, 30.0))
        for floor in SITE.floors
    ]
    sites = {
        "rack": changed(obstacles=[RACK]),
        "gateway": changed(gateways=SITE.gateways[1:]),
        "outline": changed(floors=floors),
    }
    state, _, _ = moved(sites[change])
    assert (state.tracks["mode"] == NOWHERE).all()
    assert state.walkers.tolist() == []
    assert state.chances.shape == (0, MODES, WINDOW, WINDOW)
    assert state.tracks["x"].tolist() == OLD.tracks["x"].tolist()
    assert state.tracks["t"].tolist() == OLD.tracks["t"].tolist()


def test_another_kind_is_found_anew() -> None:
    """A visitor that becomes an item does not walk on; a picker that becomes a cart begins anew."""
    kinds = ["cart", "item", "item", "picker", "cart"]
    parts = [
        msgspec.structs.replace(part, kind=kind)
        for part, kind in zip(SITE.trackables, kinds, strict=True)
    ]
    state, _, _ = moved(changed(trackables=parts))
    assert state.tracks["mode"].tolist() == [NOWHERE, RESTS, NOWHERE, NOWHERE, NOWHERE]
    assert state.walkers.tolist() == []


def test_a_floor_that_is_gone_takes_its_places_along() -> None:
    """Who was there is as one who was never heard; the others' floor has its new number."""
    upper = SITE.floors[1]
    gateways = [part for part in SITE.gateways if part.floor == "1"]
    state, _, _ = moved(changed(floors=[upper], gateways=gateways))
    assert state.tracks["t"].tolist() == [0.0, OLD.tracks["t"][1], 0.0, OLD.tracks["t"][3], 0.0]
    assert state.tracks["floor"][[1, 3]].tolist() == [0, 0]


def test_floors_in_another_order_are_renumbered() -> None:
    """A floor's row is its place in the list."""
    state, _, _ = moved(changed(floors=SITE.floors[::-1]))
    assert state.tracks["floor"].tolist()[:4] == [1, 0, 1, 0]


def test_the_old_state_is_left_alone() -> None:
    """The new one shares no memory with it that is written to."""
    before = [column.tobytes() for column in OLD]
    state, after, _ = moved(changed(name="Renamed"))
    ticks = Ticks(SITE, Locator(after, state))
    ticks.number = TICKS.number
    for _ in range(3):
        ticks.hear(Air(SITE).heard(PLACES))
    assert [column.tobytes() for column in OLD] == before


@pytest.mark.parametrize("change", ["none", "rack", "kinds"])
def test_the_locator_goes_on_with_it(change: str) -> None:
    """Within 10 s all are where they were, whatever was changed."""
    kinds = ["cart", "picker", "picker", "item", "cart"]
    other = [
        msgspec.structs.replace(part, kind=kind)
        for part, kind in zip(SITE.trackables, kinds, strict=True)
    ]
    sites = {
        "none": changed(name="Renamed"),
        "rack": changed(obstacles=[RACK]),
        "kinds": changed(trackables=other),
    }
    state, after, _ = moved(sites[change])
    ticks = Ticks(sites[change], Locator(after, state))
    ticks.number = TICKS.number
    air = Air(SITE, noise_db=1.0)
    rng = np.random.default_rng(2)
    for _ in range(20):
        anew = ticks.locator.tracks["mode"][:4] == NOWHERE
        fixes = ticks.hear(air.heard(PLACES, rng))
        # Who is found anew is one who was just found: a single tick is not held on to.
        assert (ticks.locator.tracks["since"][:4][anew] == ticks.t).all()
    for row, place in enumerate(PLACES.values()):
        assert int(fixes["floor"][row]) == place[2]
        assert away(fixes, place, row) < 4.0


def test_a_blank_state_fits_its_layout() -> None:
    """One row for each beacon and trackable, and nobody walks."""
    state = blank_state(BEFORE)
    shapes: list[tuple[npt.NDArray[Any], int]] = [
        (state.slots, 10),
        (state.heard, 10),
        (state.tracks, 5),
        (state.walkers, 0),
        (state.chances, 0),
    ]
    for column, rows in shapes:
        assert len(column) == rows
    assert (state.slots["gateway"] == EMPTY).all()
