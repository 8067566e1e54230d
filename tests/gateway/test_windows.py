"""Windows: every advert is in exactly one window or counted, and the sums are right."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adverts import Advert
from gateway.windows import MAX_ADVERTS, MAX_OPEN, Window, Windows

T0 = 1_700_000_000.0


def close(windows: Windows, now: float) -> list[Window]:
    """The windows that are closed at `now`."""
    return list(windows.close(now))


adverts = st.builds(
    Advert,
    t=st.floats(0.0, 30.0).map(lambda s: T0 + s),
    beacon=st.sampled_from(["a", "b", "c"]),
    rssi=st.integers(-110, -20).map(float),
)


@given(
    st.lists(adverts | st.floats(-5.0, 40.0).map(lambda s: T0 + s), max_size=60),
    st.sampled_from([0.25, 0.5, 1.0, 7.0]),
    st.sampled_from([0.0, 0.05, 2.0]),
    st.integers(1, 3),
)
def test_every_advert_is_counted_once(
    steps: list[Advert | float], length: float, grace: float, max_beacons: int
) -> None:
    """Adverts in windows, late and dropped are all adverts, however they and the clock come."""
    windows = Windows(length, max_beacons=max_beacons, grace=grace)
    added = 0
    summed = 0
    for step in steps:
        if isinstance(step, Advert):
            windows.add(step)
            added += 1
        else:
            summed += sum(sum(window.n) for window in windows.close(step))
    summed += sum(sum(window.n) for window in windows.flush())
    assert summed + windows.late + windows.dropped == added


@given(st.lists(adverts, max_size=80), st.sampled_from([0.25, 0.5, 1.0, 2.0]))
def test_sums_are_those_of_the_adverts(given_: list[Advert], length: float) -> None:
    """Mean, strongest and spread of each beacon and window are those of its adverts."""
    windows = Windows(length)
    expected: dict[tuple[float, str], list[float]] = defaultdict(list)
    for advert in sorted(given_):
        windows.add(advert)
        end = (math.floor(advert.t / length) + 1) * length
        expected[end, advert.beacon].append(advert.rssi)
    found: dict[tuple[float, str], tuple[float, int, float, float]] = {}
    for window in windows.flush():
        for row, beacon in enumerate(window.beacons):
            found[window.end, beacon] = (
                window.rssi[row],
                window.n[row],
                window.max[row],
                window.spread[row],
            )
    assert found.keys() == expected.keys()
    for key, (mean, n, strongest, spread) in found.items():
        levels = expected[key]
        assert mean == pytest.approx(statistics.fmean(levels), abs=1e-4)
        assert n == len(levels)
        assert strongest == max(levels)
        assert spread == pytest.approx(statistics.pstdev(levels), abs=1e-3)


def test_windows_are_aligned_and_empty_ones_are_told() -> None:
    """Windows end at multiples of their length; one without adverts comes all the same."""
    windows = Windows(0.5)
    windows.add(Advert(T0 + 0.1, "a", -60.0))
    windows.add(Advert(T0 + 1.1, "a", -61.0))
    closed = close(windows, T0 + 1.5)
    assert [(w.end - T0, list(w.n)) for w in closed] == [(0.5, [1]), (1.0, []), (1.5, [1])]


def test_the_grace_keeps_a_window_open() -> None:
    """An advert that comes a little late is taken; after the grace it is counted as late."""
    windows = Windows(1.0, grace=0.05)
    assert close(windows, T0 + 0.5) == []
    assert close(windows, T0 + 1.04) == []
    windows.add(Advert(T0 + 0.99, "a", -60.0))
    assert [list(w.n) for w in close(windows, T0 + 1.06)] == [[1]]
    windows.add(Advert(T0 + 0.99, "a", -60.0))
    assert windows.late == 1


def test_a_long_gap_is_not_filled() -> None:
    """After a suspension of a day only the windows with adverts and the last one come."""
    windows = Windows(1.0)
    windows.add(Advert(T0 + 0.5, "a", -60.0))
    closed = close(windows, T0 + 86_400.0)
    assert [w.end - T0 for w in closed] == [1.0, 86_400.0]


def test_a_clock_that_leaps_decades_ahead_costs_nothing() -> None:
    """A Pi that boots in 1970 and is then set right does not publish fifty years of silence."""
    windows = Windows(0.25)
    windows.add(Advert(10.0, "a", -60.0))
    assert len(close(windows, T0)) == 2


def test_a_clock_set_back_begins_anew() -> None:
    """After the clock was set back, adverts of the new time are taken, the old future dropped."""
    windows = Windows(1.0)
    windows.add(Advert(T0 + 100.5, "a", -60.0))
    assert len(close(windows, T0 + 101.0)) == 1
    windows.add(Advert(T0 + 101.5, "a", -60.0))
    windows.add(Advert(T0 + 0.2, "a", -60.0))
    assert windows.late == 1
    assert close(windows, T0 + 0.3) == []
    assert windows.dropped == 1
    windows.add(Advert(T0 + 0.4, "a", -60.0))
    assert [(w.end - T0, list(w.n)) for w in close(windows, T0 + 1.0)] == [(1.0, [1])]


def test_a_clock_slewed_back_a_little_waits() -> None:
    """A step back within a window resets nothing: no window comes twice."""
    windows = Windows(1.0)
    assert close(windows, T0 + 0.9) == []
    ends = [w.end for now in (1.1, 0.9, 1.5, 2.1) for w in close(windows, T0 + now)]
    assert ends == [T0 + 1.0, T0 + 2.0]


def test_bounds_hold() -> None:
    """Beacons, adverts of one beacon and open windows are bounded; what is beyond is counted."""
    windows = Windows(1.0, max_beacons=2)
    for beacon in "abc":
        windows.add(Advert(T0, beacon, -60.0))
    assert windows.dropped == 1
    windows = Windows(1.0)
    for _ in range(MAX_ADVERTS + 5):
        windows.add(Advert(T0, "a", -60.0))
    assert windows.dropped == 5
    assert [list(w.n) for w in windows.flush()] == [[MAX_ADVERTS]]
    windows = Windows(1.0)
    for i in range(MAX_OPEN + 3):
        windows.add(Advert(T0 + i, "a", -60.0))
    assert windows.dropped == 3


@pytest.mark.parametrize("length", [0.0, -1.0, math.nan])
def test_a_length_must_be_above_zero(length: float) -> None:
    """A window without length is a mistake."""
    with pytest.raises(ValueError, match="above 0"):
        Windows(length)
