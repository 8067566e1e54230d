"""The usual gaps of trackables in a stored state, for a dashboard that begins in the middle.

Who is lost follows from them and from when the fixes were made, by the locator's own rule
(`stream.patience`), so that a dashboard needs no memory of events.
"""

from __future__ import annotations

import numpy as np

from stream.patience import Gaps
from stream.state import Latest, open_state
from stream.track import TRACK


def stored_gaps(blob: bytes, latest: Latest) -> Gaps:
    """The usual gaps of the trackables in `latest`, from the same stored state.

    Raises:
        EngineError: when the state cannot be read.
    """
    gaps = np.frombuffer(open_state(blob).tracks, TRACK)["gap"]
    # A trackable that was located has a row; its fix names the row.
    there: Gaps = gaps[latest.fixes["trackable"]]
    return there
