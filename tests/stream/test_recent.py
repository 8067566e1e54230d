"""What peers are told: exactly what had come in, by comparison with the plainest way."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.readings import Batch
from stream.baselines import NOBODY
from stream.recent import WINDOW_S, Questions, Recent
from stream.site import Floor, GatewayPlace, Site

T0 = 1_700_000_000.0
BEACONS = ["a", "b", "c"]


def site() -> Site:
    """Three gateways."""
    outline = [(0.0, 0.0), (9.0, 0.0), (9.0, 9.0)]
    return Site(
        "s",
        "S",
        "UTC",
        [Floor("0", "G", 0, outline)],
        [GatewayPlace(f"g{i}", "0", [1.0 * i, 0.0]) for i in range(3)],
    )


def batch(gateway: str, seq: int, t: float, levels: dict[str, float], n: int = 1) -> Batch:
    """One window's readings."""
    rssi = array("f", list(levels.values()))
    return Batch(gateway, "x", seq, t, 0.5, list(levels), rssi, array("H", [n] * len(levels)))


def asked(recent: Recent, beacon: int, t: float, fed: int | None = None) -> dict[int, float]:
    """The answer to one question, by gateway."""
    heard = recent.heard(
        Questions(np.array([beacon]), np.array([t]), np.array([recent.fed if fed is None else fed]))
    )
    return {
        int(g): float(r)
        for g, r in zip(heard.gateway[0], heard.rssi[0], strict=True)
        if g != NOBODY
    }


def feed(recent: Recent, *batches: Batch) -> None:
    """Passes batches through."""
    assert list(recent.watch(batches)) == list(batches)


def test_means_are_weighted_by_adverts_and_end_with_the_moment() -> None:
    """The window's begin is not in it, its end is; what is yet to come is not known."""
    recent = Recent(site(), BEACONS)
    feed(
        recent,
        batch("g0", 1, T0, {"a": -50.0}),
        batch("g0", 2, T0 + 1, {"a": -60.0, "b": -80.0}, 3),
        batch("g2", 1, T0 + 1, {"a": -90.0}),
        batch("g0", 3, T0 + 2, {"a": -70.0}),
        batch("g0", 4, T0 + 9, {"a": -40.0}),
    )
    assert asked(recent, 0, T0 + 2) == {0: pytest.approx(-60.0), 2: -90.0}
    assert asked(recent, 0, T0 + WINDOW_S) == {0: pytest.approx(-62.5), 2: -90.0}
    assert asked(recent, 1, T0 + 2) == {0: -80.0}
    assert asked(recent, 2, T0 + 2) == {}
    assert asked(recent, 0, T0 + 8) == {}


def test_a_batch_that_came_after_the_question_is_not_in_the_answer() -> None:
    """Though its time is before: it may serve the questions that follow."""
    recent = Recent(site(), BEACONS)
    feed(recent, batch("g0", 2, T0 + 1, {"a": -60.0}))
    feed(recent, batch("g1", 1, T0, {"a": -70.0}))
    assert asked(recent, 0, T0 + 1, fed=1) == {0: -60.0}
    assert asked(recent, 0, T0 + 1, fed=2) == {0: -60.0, 1: -70.0}


def test_what_the_engine_leaves_out_is_left_out() -> None:
    """Duplicates, foreign gateways, impossible RSSI, and beacons nobody asks for."""
    recent = Recent(site(), BEACONS)
    feed(
        recent,
        batch("g0", 1, T0, {"a": -60.0, "stranger": -50.0}),
        batch("g0", 1, T0, {"a": -60.0}),
        batch("foreign", 1, T0, {"a": -40.0}),
        batch("g1", 1, T0, {"a": 62.0, "b": -127.0, "c": float("nan")}),
    )
    assert (recent.fed, recent.held) == (4, 1)
    assert asked(recent, 0, T0) == {0: -60.0}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(0, 2),
            st.integers(0, 40),
            st.integers(-100, -30),
            st.integers(1, 9),
        ),
        max_size=40,
    ),
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 48), st.integers(0, 40)),
        min_size=1,
        max_size=10,
    ),
    st.integers(0, 40),
)
def test_many_questions_at_once_are_answered_as_each_alone(
    readings: list[tuple[int, int, int, int, int]],
    questions: list[tuple[int, int, int]],
    forgotten: int,
) -> None:
    """As by going through all readings; and what was forgotten is missed by none that may ask."""
    recent = Recent(site(), BEACONS)
    for seq, (gateway, beacon, half_s, rssi, n) in enumerate(readings):
        feed(recent, batch(f"g{gateway}", seq, T0 + half_s / 2, {BEACONS[beacon]: rssi}, n))
    recent.forget(T0 + forgotten / 2)
    questions = [(b, max(h, forgotten), fed) for b, h, fed in questions]
    beacons, halves, fed = (np.array(column) for column in zip(*questions, strict=True))
    heard = recent.heard(Questions(beacons, T0 + halves / 2, fed))
    for row, (beacon, half_s, known) in enumerate(questions):
        sums: dict[int, list[int]] = {}
        for g, b, h, rssi, n in readings[:known]:
            if b == beacon and half_s / 2 - WINDOW_S < h / 2 <= half_s / 2:
                total = sums.setdefault(g, [0, 0])
                total[0] += n * rssi
                total[1] += n
        found = {
            int(g): float(r)
            for g, r in zip(heard.gateway[row], heard.rssi[row], strict=True)
            if g != NOBODY
        }
        assert found == {g: pytest.approx(s / n) for g, (s, n) in sums.items()}
