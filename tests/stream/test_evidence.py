"""Evidence: the faded table against a plain reference, whatever order readings come in."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.evidence import EMPTY, SLOTS, Evidence, Readings

T0 = 1_700_000_000.0
Reading = tuple[int, int, float, int, float]


def columns(readings: list[Reading]) -> Readings:
    """Readings of (beacon, gateway, rssi, n, age)."""
    beacon, gateway, rssi, n, age = zip(*readings, strict=True)
    return Readings(
        np.array(beacon, np.int64),
        np.array(gateway, np.int64),
        np.array(rssi, np.float64),
        np.array(n, np.float64),
        np.array(age, np.float64),
    )


def held(evidence: Evidence, beacon: int) -> dict[int, tuple[float, float, float]]:
    """Gateway to (n, rssi, age) of one beacon."""
    return {
        int(slot["gateway"]): (float(slot["n"]), float(slot["rssi"]), float(slot["age"]))
        for slot in evidence.slots[beacon]
        if slot["gateway"] != EMPTY
    }


def test_a_mean_that_fades_with_its_time_constant() -> None:
    """After one time constant an old advert weighs 1/e of a new one."""
    evidence = Evidence.empty(np.array([2.0]))
    evidence.update(columns([(0, 5, -60.0, 1, 0.0)]), T0)
    evidence.update(columns([(0, 5, -80.0, 1, 0.0)]), T0 + 2.0)
    n, rssi, age = held(evidence, 0)[5]
    weight = math.exp(-1.0)
    assert n == pytest.approx(1.0 + weight, rel=1e-6)
    assert rssi == pytest.approx((-80.0 - 60.0 * weight) / (1.0 + weight), rel=1e-6)
    assert age == pytest.approx(2.0 * weight / (1.0 + weight), rel=1e-6)


def test_the_weakest_gives_way_to_a_stronger_newcomer() -> None:
    """The table keeps the loudest gateways, and refuses one weaker than all it holds."""
    evidence = Evidence.empty(np.array([5.0]))
    evidence.update(columns([(0, g, -50.0 - g, 1, 0.0) for g in range(SLOTS)]), T0)
    evidence.update(columns([(0, 100, -55.5, 1, 0.0), (0, 101, -99.0, 1, 0.0)]), T0 + 0.5)
    kept = held(evidence, 0)
    assert 100 in kept
    assert 101 not in kept
    assert SLOTS - 1 not in kept
    assert len(kept) == SLOTS


def test_a_faded_gateway_is_forgotten() -> None:
    """What was heard long ago leaves its slot empty."""
    evidence = Evidence.empty(np.array([1.0]))
    evidence.update(columns([(0, 1, -60.0, 1, 0.0)]), T0)
    evidence.update(columns([(0, 2, -60.0, 1, 0.0)]), T0 + 5.0)
    assert set(held(evidence, 0)) == {2}


readings = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.integers(0, 20),
        st.floats(-110.0, -20.0),
        st.integers(1, 50),
        st.floats(0.0, 1.0),
    ),
    min_size=1,
    max_size=60,
)


@given(readings, st.randoms())
def test_order_within_a_tick_does_not_matter(batch: list[Reading], random: object) -> None:
    """Any order of a tick's readings gives the same bytes."""
    one, other = Evidence.empty(np.full(5, 2.0)), Evidence.empty(np.full(5, 2.0))
    shuffled = list(batch)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random by hypothesis
    rows = one.update(columns(batch), T0)
    assert np.array_equal(rows, other.update(columns(shuffled), T0))
    assert one.slots.tobytes() == other.slots.tobytes()


@given(st.lists(readings, min_size=1, max_size=4))
def test_against_a_plain_reference(ticks: list[list[Reading]]) -> None:
    """While gateways fit the slots, every faded sum equals the one computed by hand."""
    fade = 2.0
    evidence = Evidence.empty(np.full(5, fade))
    expected: dict[tuple[int, int], tuple[float, float]] = {}
    last: dict[int, float] = {}
    for k, drawn in enumerate(ticks):
        tick = [(b, g % SLOTS, r, n, a) for b, g, r, n, a in drawn]
        t = T0 + k
        sums: dict[tuple[int, int], tuple[float, float, float]] = {}
        for beacon, gateway, rssi, n, age in tick:
            w, s, a = sums.get((beacon, gateway), (0.0, 0.0, 0.0))
            sums[beacon, gateway] = w + n, s + n * rssi, a + n * age
        for beacon in {b for b, *_ in tick}:
            factor = math.exp(-(t - last.get(beacon, t)) / fade)
            last[beacon] = t
            for key in [key for key in expected if key[0] == beacon]:
                w, s = expected[key]
                expected[key] = w * factor, s * factor
        for key, (total, level, old) in sums.items():
            weight = total * math.exp(-(old / total) / fade)
            old_w, old_s = expected.get(key, (0.0, 0.0))
            expected[key] = old_w + weight, old_s + weight * level / total
        evidence.update(columns(tick), t)
    for (beacon, gateway), (w, s) in expected.items():
        kept_n, kept_rssi, _ = held(evidence, beacon)[gateway]
        assert kept_n == pytest.approx(w, rel=1e-4)
        assert kept_rssi == pytest.approx(s / w, rel=1e-4)
