"""Who is lost: the locator's rule, followed from the fixes that everybody can read.

A trackable is lost when it was unheard for a minute and for ten of its usual gaps, whichever is
longer (`stream.locator`). The engine tells it by event; here the same follows from when the fixes
were made, so that a dashboard needs no memory of events. Every update of a trackable is a fix, so
its usual gap comes out as the locator has it. Knows neither store nor clock.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream.locator import FADE_READINGS, FORGET_S, LOST_GAPS, LOST_S, MOST_GAP_S
from stream.motion import STEP_S
from stream.state import Latest, open_state
from stream.track import TRACK

Seconds = npt.NDArray[np.float64]
Gaps = npt.NDArray[np.float32]
"""Faded means of the seconds between the fixes of each trackable."""
Bools = npt.NDArray[np.bool_]


def followed(gaps: Gaps, passed: Seconds) -> Gaps:
    """The usual gaps after one more fix each; all of shape (n,).

    Args:
        gaps: before it.
        passed: seconds since the fix before it, inf for the first.
    """
    bounded = np.minimum(passed, MOST_GAP_S)
    forgotten = passed > np.maximum(FORGET_S, FADE_READINGS * gaps)
    first = np.where(np.isfinite(passed), bounded, STEP_S)
    usual: Gaps = np.where(forgotten, first, 0.8 * gaps + 0.2 * bounded).astype(np.float32)
    return usual


def lost(times: Seconds, gaps: Gaps, now: float) -> Bools:
    """Which are lost at a time; all of shape (n,).

    Args:
        times: of the last fixes, Unix seconds, 0 for those never located, which are not lost.
        gaps: the usual ones.
        now: end of the newest tick, Unix seconds: a pipeline that stands still loses nobody.
    """
    is_lost: Bools = (times > 0.0) & (now - times > np.maximum(LOST_S, LOST_GAPS * gaps))
    return is_lost


def stored_gaps(blob: bytes, latest: Latest) -> Gaps:
    """The usual gaps of the trackables in `latest`, from the same stored state.

    Raises:
        EngineError: when the state cannot be read.
    """
    gaps = np.frombuffer(open_state(blob).tracks, TRACK)["gap"]
    # A trackable that was located has a row; its fix names the row.
    there: Gaps = gaps[latest.fixes["trackable"]]
    return there
