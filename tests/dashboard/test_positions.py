"""The live table: a fix counts once, newest wins, and rows follow their ids over versions."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dashboard import tracks
from dashboard.positions import Positions
from stream.fixes import NONE, Fixes, TickFixes, empty
from stream.site import Floor, Site, Trackable, Zone
from tests.support.stepper import T0, depot


def fixes(rows: list[int], x: float = 1.0, zone: int = 0) -> Fixes:
    """One fix for each row."""
    out = empty(len(rows))
    out["trackable"] = rows
    out["x"] = [x + row for row in rows]
    out["zone"] = zone
    out["zone_probability"] = 0.8
    return out


def tick(offset: float, rows: list[int], version: int = 1, **more: float) -> TickFixes:
    """A tick some seconds after the start."""
    return TickFixes(T0 + offset, version, fixes(rows, **more))  # type: ignore[arg-type]  # by name


def test_the_newest_fix_is_kept() -> None:
    """A tick moves what it names and nothing else; an older one that comes later does not."""
    table = Positions(depot(3), 1)
    assert len(table.snapshot()[0]) == 0
    moves = table.apply(tick(1.0, [0, 2], x=5.0))
    assert (moves.t, list(moves.fixes["trackable"])) == (T0 + 1.0, [0, 2])
    assert list(table.apply(tick(0.5, [0, 1], x=7.0)).fixes["trackable"]) == [1]
    kept, times = table.snapshot()
    assert list(kept["x"]) == [5.0, 8.0, 7.0]
    assert list(times - T0) == [1.0, 0.5, 1.0]
    assert table.tick == T0 + 1.0


def test_a_tick_fed_twice_moves_nothing() -> None:
    """The second time the table and the tracks stay as they were."""
    table = Positions(depot(2), 1)
    table.apply(tick(1.0, [0, 1]))
    assert len(table.apply(tick(1.0, [0, 1], x=9.0)).fixes) == 0
    assert len(table.track(0, 60.0)) == 1
    assert table.last["x"][0] == 1.0


@given(
    st.lists(st.lists(st.integers(0, 4), unique=True, min_size=1), min_size=1, max_size=30),
    st.randoms(use_true_random=False),
)
def test_any_mixture_gives_the_same_table(ticks: list[list[int]], chance: random.Random) -> None:
    """Repeats and a state merged anywhere in between end in the same last fixes."""
    made = [TickFixes(T0 + i, 1, fixes(sorted(rows), x=float(i))) for i, rows in enumerate(ticks)]
    straight = Positions(depot(5), 1)
    for one in made:
        straight.apply(one)
    state, times = straight.snapshot()
    mixed = Positions(depot(5), 1)
    where = chance.randrange(len(made) + 1)
    for i, one in enumerate(made):
        if i == where:
            mixed.merge(state, times, 1, made[-1].t)
        mixed.apply(one)
        mixed.apply(made[chance.randrange(i + 1)])
    mixed.merge(state, times, 1, made[-1].t)
    assert mixed.snapshot()[0].tobytes() == straight.snapshot()[0].tobytes()
    assert mixed.snapshot()[1].tobytes() == straight.snapshot()[1].tobytes()
    assert mixed.tick == straight.tick


def test_the_track_is_a_ring() -> None:
    """The newest points are kept, oldest first, and cut to the seconds asked for."""
    table = Positions(depot(1), 1)
    count = tracks.TRACK_POINTS + 37
    for i in range(count):
        table.apply(tick(0.5 * i, [0], x=float(i)))
    track = table.track(0, 1e9)
    assert list(track["x"]) == [float(i) for i in range(37, count)]
    assert list(table.track(0, 2.0)["t"] - track["t"][-1]) == [-2.0, -1.5, -1.0, -0.5, 0.0]


def test_tracks_of_a_large_site_are_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rings stay within their memory, and keep the newest when a site outgrows them."""
    monkeypatch.setattr(tracks, "SPARE_LEAST", 1)
    monkeypatch.setattr(tracks, "TRACK_BYTES", tracks.POINT.itemsize * 60)
    table = Positions(depot(2), 1)
    for i in range(30):
        table.apply(tick(float(i), [0], x=float(i)))
    assert list(table.track(0, 1e9)["x"]) == [float(i) for i in range(10, 30)]
    table.change_site(depot(3), 2)  # there is room for one more
    assert list(table.track(0, 1e9)["x"]) == [float(i) for i in range(10, 30)]
    table.change_site(depot(4), 3)
    assert list(table.track(0, 1e9)["x"]) == [float(i) for i in range(20, 30)]
    table.apply(tick(30.0, [0, 3], version=3, x=30.0))
    assert list(table.track(0, 1e9)["x"]) == [float(i) for i in range(21, 31)]
    assert list(table.track(3, 1e9)["x"]) == [33.0]


def test_a_new_trackable_does_not_inherit_a_track() -> None:
    """The ring of one that is gone is emptied before it is given away."""
    table = Positions(two_floors([0, 1], []), 1)
    for version in range(2, 200):
        table.apply(tick(float(version), [0, 1], version=version - 1, zone=NONE))
        table.change_site(two_floors([version, 0], []), version)
        assert len(table.track(0, 1e9)) == 0
        assert len(table.track(1, 1e9)) == min(version - 1, tracks.TRACK_POINTS)


def two_floors(order: list[int], zones: list[str]) -> Site:
    """A site whose lists stand in the given order."""
    floors = [Floor(f"f{i}", f"F{i}", i, [(0, 0), (9, 0), (9, 9)]) for i in (0, 1)]
    ring = [(0.0, 0.0), (9.0, 0.0), (9.0, 9.0)]
    return Site(
        "s",
        "S",
        "UTC",
        floors,
        zones=[Zone(z, "f0", z, "k", ring) for z in zones],
        trackables=[Trackable(f"t{i}", f"T{i}", "item", [f"b{i}"]) for i in order],
    )


def test_a_changed_site_keeps_positions_by_id() -> None:
    """Rows move, gone parts go, new ones have no position, tracks come along."""
    table = Positions(two_floors([0, 1, 2], ["a", "b"]), 1)
    for i in range(3):
        table.apply(tick(float(i), [0, 1, 2], x=10.0 * i, zone=1))
    table.change_site(two_floors([3, 2, 0], ["b"]), 2)
    assert (table.version, table.row("t1"), table.row("t2")) == (2, None, 1)
    kept, times = table.snapshot()
    assert [table.site.trackables[row].id for row in kept["trackable"]] == ["t2", "t0"]
    assert list(kept["x"]) == [22.0, 20.0]
    assert list(kept["zone"]) == [0, 0]
    assert list(times) == [T0 + 2.0] * 2
    assert list(table.track(1, 60.0)["x"]) == [2.0, 12.0, 22.0]
    assert len(table.track(0, 60.0)) == 0


def test_ticks_of_another_version_are_translated() -> None:
    """A worker that has not changed over yet is read by its own version's rows."""
    table = Positions(two_floors([0, 1], ["a", "b"]), 1)
    table.change_site(two_floors([1, 2], ["b", "c"]), 2)
    moves = table.apply(tick(1.0, [0, 1], version=1, zone=1))
    assert [table.site.trackables[row].id for row in moves.fixes["trackable"]] == ["t1"]
    assert list(moves.fixes["zone"]) == [0]
    moves = table.apply(tick(2.0, [1], version=1, zone=0))
    assert list(moves.fixes["zone"]) == [NONE]
    assert list(moves.fixes["zone_probability"]) == [0.0]
    assert not table.knows(3)
    with pytest.raises(KeyError):
        table.apply(tick(3.0, [0], version=3))
    table.learn(two_floors([2, 1], []), 3)
    moves = table.apply(tick(3.0, [0], version=3, zone=NONE))
    assert [table.site.trackables[row].id for row in moves.fixes["trackable"]] == ["t2"]


def test_a_floor_that_is_gone_takes_its_fixes_along() -> None:
    """Somebody on a floor that was deleted is nowhere, until located again."""
    site = two_floors([0, 1], [])
    table = Positions(site, 1)
    moved = tick(1.0, [0, 1], zone=NONE)
    moved.fixes["floor"] = [0, 1]
    table.apply(moved)
    table.change_site(replace(site, floors=site.floors[:1]), 2)
    kept, _ = table.snapshot()
    assert list(kept["trackable"]) == [0]
    assert len(table.track(1, 60.0)) == 0


@given(
    rows=st.lists(st.integers(0, 2**32 - 1), max_size=5, unique=True),
    floor=st.integers(0, 2**16 - 1),
    zone=st.integers(0, 2**16 - 1),
    version=st.sampled_from([1, 2]),
)
def test_damaged_rows_do_no_harm(rows: list[int], floor: int, zone: int, version: int) -> None:
    """Rows that the site does not have are left out, under either version."""
    table = Positions(two_floors([0, 1], ["a"]), 1)
    table.change_site(two_floors([1, 0], ["a"]), 2)
    damaged = empty(len(rows))
    damaged["trackable"], damaged["floor"], damaged["zone"] = rows, floor, zone
    moves = table.apply(TickFixes(T0, version, damaged))
    assert all(row < 2 for row in moves.fixes["trackable"])
    assert len(moves.fixes) == (sum(row < 2 for row in rows) if floor < 2 else 0)
    assert table.occupancy(60.0).sum() <= len(moves.fixes)


def test_occupancy_counts_by_zone_and_kind() -> None:
    """Only those in a zone, and located lately before the newest tick, count."""
    table = Positions(depot(4), 1)  # item, picker, cart, visitor
    assert table.occupancy(60.0).tolist() == [[0] * 5, [0] * 5]
    table.apply(tick(0.0, [0, 1], zone=0))
    table.apply(tick(30.0, [2], zone=1))
    table.apply(tick(60.0, [3], zone=NONE))
    assert table.occupancy(60.0).tolist() == [[1, 1, 0, 0, 0], [0, 0, 0, 1, 0]]
    assert table.occupancy(30.0).tolist() == [[0] * 5, [0, 0, 0, 1, 0]]
    assert Positions(two_floors([], []), 1).occupancy(1.0).shape == (0, 5)


def test_the_usual_gaps_follow_their_trackables() -> None:
    """Under another version rows move, and who is heard seldom is still waited for."""
    table = Positions(two_floors([0, 1, 2], []), 1)
    for i in range(21):
        table.apply(tick(0.5 * i, [0], zone=NONE))
        if i % 20 == 0:
            table.apply(tick(3.0 * i, [1], zone=NONE))
    for i in range(20):
        table.apply(tick(100.0 + 30.0 * i, [1], zone=NONE))
    assert table.lost().tolist() == [True, False, False]
    table.change_site(two_floors([3, 1, 0], []), 2)
    assert table.lost().tolist() == [False, False, True]
    table.pass_time(T0 + 670.0 + 290.0)
    assert not table.is_lost(1), "it is usually heard every half a minute"
    table.pass_time(T0 + 670.0 + 310.0)
    assert table.is_lost(1)


def test_a_state_tells_the_usual_gaps() -> None:
    """They count for what is known already, under whatever version; an older state's do not."""
    site = two_floors([0, 1], [])
    table = Positions(site, 1)
    table.apply(tick(0.0, [0, 1], zone=NONE))
    kept, times = table.snapshot()
    table.change_site(two_floors([1, 0], []), 2)
    table.merge(kept, times, 1, T0, np.array([50.0, 0.5], np.float32))
    assert table.gaps.tolist() == [0.5, 50.0]
    table.merge(kept, times - 1.0, 1, T0, np.array([7.0, 7.0], np.float32))
    assert table.gaps.tolist() == [0.5, 50.0]


def test_an_empty_site_takes_ticks() -> None:
    """A site without trackables has a table without rows."""
    table = Positions(two_floors([], []), 1)
    assert len(table.apply(tick(1.0, [0])).fixes) == 0
    assert len(table.apply(tick(2.0, [])).fixes) == 0
    table.change_site(two_floors([0], []), 2)
    assert len(table.apply(tick(3.0, [0], version=2)).fixes) == 1
    assert np.all(table.t == T0 + 3.0)
