"""Evidence: the faded table against a plain reference, whatever order readings come in."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.evidence import EMPTY, SLOTS, Evidence, Pairs, Readings, summed, turns

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


def update(evidence: Evidence, readings: list[Reading], t: float, fade: float) -> Pairs:
    """One tick, every beacon fading alike."""
    pairs = summed(columns(readings))
    evidence.update(pairs, t, np.full(len(pairs.rows), fade))
    return pairs


def held(evidence: Evidence, beacon: int) -> dict[int, tuple[float, float]]:
    """Gateway to (n, rssi) of one beacon."""
    return {
        int(slot["gateway"]): (float(slot["n"]), float(slot["rssi"]))
        for slot in evidence.slots[beacon]
        if slot["gateway"] != EMPTY
    }


def test_a_mean_that_fades_with_its_time_constant() -> None:
    """After one time constant an old advert weighs 1/e of a new one."""
    evidence = Evidence.empty(1)
    update(evidence, [(0, 5, -60.0, 1, 0.0)], T0, 2.0)
    update(evidence, [(0, 5, -80.0, 1, 0.0)], T0 + 2.0, 2.0)
    n, rssi = held(evidence, 0)[5]
    weight = math.exp(-1.0)
    assert n == pytest.approx(1.0 + weight, rel=1e-6)
    assert rssi == pytest.approx((-80.0 - 60.0 * weight) / (1.0 + weight), rel=1e-6)


def test_each_beacon_fades_at_its_own_pace() -> None:
    """Two beacons heard alike, one of which forgets ten times as fast."""
    evidence = Evidence.empty(2)
    pairs = summed(columns([(0, 1, -60.0, 1, 0.0), (1, 1, -60.0, 1, 0.0)]))
    for k in range(2):
        evidence.update(pairs, T0 + 2.0 * k, np.array([2.0, 20.0]))
    assert held(evidence, 0)[1][0] == pytest.approx(1.0 + math.exp(-1.0))
    assert held(evidence, 1)[1][0] == pytest.approx(1.0 + math.exp(-0.1))


def test_the_weakest_gives_way_to_a_stronger_newcomer() -> None:
    """The table keeps the loudest gateways, and refuses one weaker than all it holds."""
    evidence = Evidence.empty(1)
    update(evidence, [(0, g, -50.0 - g, 1, 0.0) for g in range(SLOTS)], T0, 5.0)
    update(evidence, [(0, 100, -55.5, 1, 0.0), (0, 101, -99.0, 1, 0.0)], T0 + 0.5, 5.0)
    kept = held(evidence, 0)
    assert 100 in kept
    assert 101 not in kept
    assert SLOTS - 1 not in kept
    assert len(kept) == SLOTS


def test_a_faded_gateway_is_forgotten() -> None:
    """What was heard long ago leaves its slot empty."""
    evidence = Evidence.empty(1)
    update(evidence, [(0, 1, -60.0, 1, 0.0)], T0, 1.0)
    update(evidence, [(0, 2, -60.0, 1, 0.0)], T0 + 5.0, 1.0)
    assert set(held(evidence, 0)) == {2}


def test_what_is_dropped_leaves_no_trace() -> None:
    """After `forget` a beacon is as one that was never heard; its neighbour keeps all."""
    evidence = Evidence.empty(2)
    update(evidence, [(0, 1, -60.0, 9, 0.0), (1, 1, -61.0, 9, 0.0)], T0, 30.0)
    evidence.forget(np.array([0]))
    assert held(evidence, 0) == {}
    update(evidence, [(0, 2, -70.0, 1, 0.0), (0, 1, -80.0, 2, 0.0)], T0 + 0.5, 30.0)
    assert held(evidence, 0) == {2: (1.0, -70.0), 1: (2.0, -80.0)}
    assert held(evidence, 1) == {1: (9.0, -61.0)}


def test_what_was_known_is_found_and_a_drift_stays_with_its_gateway() -> None:
    """`find` gives what the table held before; a slot's next owner does not inherit the drift."""
    evidence = Evidence.empty(1)
    update(evidence, [(0, g, -50.0 - g, 2, 0.0) for g in range(SLOTS)], T0, 5.0)
    pairs = summed(columns([(0, 3, -40.0, 1, 0.0), (0, 99, -20.0, 1, 0.0)]))
    found = evidence.find(pairs)
    assert found.known.tolist() == [True, False]
    assert (found.n[0], found.rssi[0], found.drift[0]) == (2.0, -53.0, 0.0)
    drifts = summed(columns([(0, g, -60.0, 1, 0.0) for g in range(SLOTS)]))
    evidence.set_drift(drifts, evidence.find(drifts), np.arange(1.0, SLOTS + 1.0))
    assert evidence.find(pairs).drift[0] == 4.0
    evidence.update(pairs, T0 + 0.5, np.array([5.0]))
    drift = {int(s["gateway"]): float(s["drift"]) for s in evidence.slots[0]}
    # The newcomer took the weakest one's place.
    assert drift == {99: 0.0} | {g: g + 1.0 for g in range(SLOTS - 1)}


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


@given(readings, st.randoms(use_true_random=False))
def test_order_within_a_tick_does_not_matter(batch: list[Reading], rng: random.Random) -> None:
    """Any order of a tick's readings gives the same bytes."""
    one, other = Evidence.empty(5), Evidence.empty(5)
    mixed = list(batch)
    rng.shuffle(mixed)
    for a, b in zip(update(one, batch, T0, 2.0), update(other, mixed, T0, 2.0), strict=True):
        assert a.tobytes() == b.tobytes()
    assert one.slots.tobytes() == other.slots.tobytes()


@given(readings)
def test_sums_of_a_tick_against_plain_ones(batch: list[Reading]) -> None:
    """One entry per beacon and gateway, levels and ages weighted by adverts."""
    pairs = summed(columns(batch))
    keys = sorted({(b, g) for b, g, *_ in batch})
    assert list(zip(pairs.rows[pairs.at].tolist(), pairs.gateway.tolist(), strict=True)) == keys
    for i, key in enumerate(keys):
        mine = [(r, n) for b, g, r, n, _ in batch if (b, g) == key]
        total = sum(n for _, n in mine)
        assert pairs.n[i] == total
        assert pairs.rssi[i] == pytest.approx(sum(r * n for r, n in mine) / total)
    for row, age in zip(pairs.rows.tolist(), pairs.age.tolist(), strict=True):
        old = [(a, n) for b, _, _, n, a in batch if b == row]
        assert age == pytest.approx(sum(a * n for a, n in old) / sum(n for _, n in old))


@given(readings)
def test_the_tick_as_a_table_loses_only_the_faintest(batch: list[Reading]) -> None:
    """A row for each beacon, loudest first; what does not fit is fainter than all that does."""
    pairs = summed(columns(batch))
    gateway, rssi, n = pairs.table()
    for i in range(len(pairs.rows)):
        mine = pairs.at == i
        expected = sorted(
            zip(pairs.rssi[mine], pairs.gateway[mine], pairs.n[mine], strict=True),
            key=lambda entry: (-entry[0], entry[1]),
        )[:SLOTS]
        there = gateway[i] != EMPTY
        assert there.tolist() == [k < len(expected) for k in range(gateway.shape[1])]
        got = zip(rssi[i][there], gateway[i][there], n[i][there], strict=True)
        assert list(got) == expected


@given(st.lists(readings, min_size=1, max_size=4))
def test_against_a_plain_reference(ticks: list[list[Reading]]) -> None:
    """While gateways fit the slots, every faded sum equals the one computed by hand."""
    fade = 2.0
    evidence = Evidence.empty(5)
    expected: dict[tuple[int, int], tuple[float, float]] = {}
    last: dict[int, float] = {}
    for k, drawn in enumerate(ticks):
        tick = [(b, g % SLOTS, r, n, a) for b, g, r, n, a in drawn]
        t = T0 + k
        for beacon in {b for b, *_ in tick}:
            factor = math.exp(-(t - last.get(beacon, t)) / fade)
            last[beacon] = t
            for key in [key for key in expected if key[0] == beacon]:
                w, s = expected[key]
                expected[key] = w * factor, s * factor
        for beacon, gateway, rssi, n, _ in tick:
            w, s = expected.get((beacon, gateway), (0.0, 0.0))
            expected[beacon, gateway] = w + n, s + n * rssi
        update(evidence, tick, t, fade)
    for (beacon, gateway), (w, s) in expected.items():
        kept_n, kept_rssi = held(evidence, beacon)[gateway]
        assert kept_n == pytest.approx(w, rel=1e-4)
        assert kept_rssi == pytest.approx(s / w, rel=1e-4)


@given(st.lists(st.integers(0, 5)))
def test_turns_count_within_runs(column: list[int]) -> None:
    """Each entry's number among those equal to it."""
    column.sort()
    found = turns(np.array(column, np.int64)).tolist()
    assert found == [column[:i].count(value) for i, value in enumerate(column)]
