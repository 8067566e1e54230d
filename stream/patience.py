"""How long a trackable may be silent before its place is forgotten, and before it is lost.

Measured in its own usual gaps, so that a tag that sends every ten minutes is not lost in between.
The locator follows this rule; readers of fixes follow the same one, since every update is a fix.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Gaps = npt.NDArray[np.float32]
"""Faded means of the seconds between the updates of each trackable."""

# A trackable's first gap, before it has one: a tick.
FIRST_GAP_S: Final = 0.5
# The newest gap's share of the mean.
NEWEST: Final = 0.2
# Evidence never fades within fewer of its own updates than this.
FADE_READINGS: Final = 2.0
# After this long unheard the old place says nothing any more.
FORGET_S: Final = 30.0
# One silence makes a gap at most this many times as long, so that one who was away for hours is
# not waited for as long again; a slow tag gets there in a few updates.
GROWS: Final = 2.0
# Unheard for this long, and for so many of its usual gaps, it is lost.
LOST_S: Final = 60.0
LOST_GAPS: Final = 10.0


def forgotten(gaps: Gaps, passed: Floats) -> Bools:
    """Whose place is forgotten after `passed` seconds without an update, inf for the first."""
    gone: Bools = passed > np.maximum(FORGET_S, FADE_READINGS * gaps)
    return gone


def usual_gaps(gaps: Gaps, passed: Floats) -> Gaps:
    """The usual gaps after one more update each, `passed` seconds after the one before."""
    grown = np.minimum(passed, GROWS * np.maximum(gaps, FORGET_S))
    mean = gaps + NEWEST * (np.minimum(passed, FORGET_S + GROWS * gaps) - gaps)
    usual = np.where(forgotten(gaps, passed), grown, mean)
    found: Gaps = np.where(np.isfinite(passed), usual, FIRST_GAP_S).astype(np.float32)
    return found


def lost(times: Floats, gaps: Gaps, now: float) -> Bools:
    """Who is lost at a time; all of shape (n,).

    Args:
        times: of the last updates, Unix seconds, 0 for those never located, which are not lost.
        gaps: the usual ones.
        now: end of the newest tick, Unix seconds: a pipeline that stands still loses nobody.
    """
    gone: Bools = (times > 0.0) & (now - times > np.maximum(LOST_S, LOST_GAPS * gaps))
    return gone
