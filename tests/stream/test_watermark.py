"""The watermark's rule, case by case, as docs/architecture.md states it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.watermark import CURRENT, GONE, QUIET, Watermark, last_tick, tick_of

T0 = 1_700_000_000.0


def heard(*stamps: tuple[int, float], gateways: int = 3) -> Watermark:
    """A watermark after these (gateway, seconds after T0)."""
    watermark = Watermark(np.zeros(gateways))
    for gateway, t in stamps:
        watermark.hear(gateway, T0 + t)
    return watermark


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        # At the start every gateway is waited for, one tick back from the first stamp.
        ([(0, 0.0)], -0.5),
        # Once all have spoken, the slowest holds it.
        ([(0, 0.0), (1, 0.0), (2, 0.0)], 0.0),
        ([(0, 0.0), (1, 0.0), (2, 0.0), (0, 1.5), (1, 1.0), (2, 0.5)], 0.5),
        # Two seconds of silence and a gateway is waited for no longer, but for one tick's grace.
        ([(0, 0.0), (1, 0.0), (2, 0.0), (0, 2.0), (1, 2.0)], 0.0),
        ([(0, 0.0), (1, 0.0), (2, 0.0), (0, 2.5), (1, 2.5)], 2.0),
        # After a minute it has no say at all.
        (
            [(0, 0.0), (1, 0.0), (2, 0.0)] + [(g, float(t)) for t in range(1, 62) for g in (0, 1)],
            61.0,
        ),
        # After a break of the whole site all are waited for again.
        ([(0, 0.0), (1, 0.0), (2, 0.0), (0, 100.0)], 99.5),
        ([(0, 0.0), (1, 0.0), (2, 0.0), (0, 100.0), (1, 100.0), (2, 100.0)], 100.0),
    ],
)
def test_the_rule(stamps: list[tuple[int, float]], expected: float) -> None:
    """The watermark after these stamps."""
    assert heard(*stamps).value() == T0 + expected


def test_standings() -> None:
    """Current, quiet and gone by how far a gateway is behind the front."""
    watermark = heard((0, 0.0), (1, 0.0), (2, 0.0))
    for t in range(1, 71):
        watermark.hear(0, T0 + t)
    watermark.hear(1, T0 + 40.0)
    assert watermark.standings().tolist() == [CURRENT, QUIET, GONE]


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0.0, 300.0)), min_size=1, max_size=60))
def test_never_beyond_the_front(stamps: list[tuple[int, float]]) -> None:
    """Whatever comes, nothing later than the front is taken as heard."""
    watermark = Watermark(np.zeros(3))
    for gateway, t in stamps:
        watermark.hear(gateway, T0 + t)
        assert watermark.value() <= watermark.front


@given(st.integers(0, 10**10))
def test_a_tick_closes_exactly_at_its_end(tick: int) -> None:
    """A stamp at a tick's end is in it, and a watermark there closes it."""
    end = tick * 0.5
    assert tick_of(end) == tick
    assert last_tick(end) == tick
    assert tick_of(end + 0.01) == tick + 1
    assert last_tick(end - 0.01) == tick - 1
