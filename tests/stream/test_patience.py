"""How long somebody may be silent."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stream.patience import FIRST_GAP_S, FORGET_S, LOST_S, forgotten, lost, usual_gaps


def gaps(*seconds: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """As the tracks have them."""
    return np.array(seconds, np.float32)


def test_the_first_gap_is_a_tick() -> None:
    """Nothing is known of it yet."""
    assert usual_gaps(gaps(0.0), np.array([math.inf])) == pytest.approx([FIRST_GAP_S])


@pytest.mark.parametrize("interval", [0.5, 1.0, 10.0, 60.0, 600.0])
def test_a_steady_tag_is_known_after_some_updates(interval: float) -> None:
    """However slow it is; from then on it is neither forgotten nor lost in between."""
    gap = gaps(FIRST_GAP_S)
    for _ in range(40):
        gap = usual_gaps(gap, np.array([interval]))
    assert gap[0] == pytest.approx(interval, rel=0.05)
    assert not forgotten(gap, np.array([1.5 * interval]))[0]
    assert not lost(np.array([1000.0]), gap, 1000.0 + 3.0 * interval)[0]
    assert lost(np.array([1000.0]), gap, 1000.0 + max(LOST_S, 10.5 * interval) + 1.0)[0]


def test_one_long_absence_is_not_waited_for_again() -> None:
    """A quick tag that was away for hours is lost within minutes the next time."""
    gap = usual_gaps(gaps(1.0), np.array([3 * 3600.0]))
    assert gap[0] <= 2.0 * FORGET_S
    for _ in range(20):
        gap = usual_gaps(gap, np.array([1.0]))
    assert gap[0] < 2.5


def test_who_never_was_is_not_lost() -> None:
    """Times of zero stand for those never located."""
    assert not lost(np.array([0.0]), gaps(0.0), 1e9)[0]
