"""When rest ends: levels that have drifted off their means by more than they flutter.

What rests is averaged for long, so its place cannot tell in time that it was carried away; its
levels can, whatever the radio model. The drift of each gateway's level is averaged over seconds
and compared with the flutter that is learnt where nothing moves (a moving-average control chart:
Roberts, Technometrics 1, 1959).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from stream.evidence import Evidence, Pairs
from stream.learnt import Learnt
from stream.track import RESTS, ROUSED, Tracks

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Over which the drift is averaged: a cart is then some metres away.
DRIFT_S: Final = 2.0
# Rest ends when the mean square of the drifts is this many standard deviations above what flutter
# explains. Found by trying: items that lie still in simulated halls are hardly ever roused, and
# what is carried is within seconds.
ROUSES: Final = 2.5
# One gateway's drift counts at most this many variances: a pallet put before it is not a move.
MOST: Final = 12.0
# Flutter is learnt where the drift is this small.
CALM: Final = 1.5


def rouse(
    evidence: Evidence, learnt: Learnt, pairs: Pairs, place: Ints, track: Tracks, passed: Floats
) -> None:
    """Marks those whose levels have drifted as ROUSED, in place, before the tick's update.

    Args:
        evidence: of the beacons; the drifts in it are brought up to date.
        learnt: the flutter, which is learnt here.
        pairs: the tick's readings.
        place: by beacon of `pairs.rows`, its trackable's place in `track`.
        track: of the trackables touched.
        passed: seconds since their last update.
    """
    found = evidence.find(pairs)
    owner = place[pairs.at]
    known = np.where(found.known, found.n, 0.0)
    use = (known > 0.0) & (track["mode"][owner] == RESTS)
    share = 1.0 - np.exp(-passed[owner] / DRIFT_S)
    change = np.where(use, pairs.rssi - found.rssi, 0.0)
    drift = np.where(use, found.drift + share * (change - found.drift), 0.0)
    evidence.set_drift(pairs, found, drift)
    flutter = learnt.flutter_db2
    expected = flutter * (share / (2.0 - share) + 1.0 / np.maximum(known, 1.0))
    told = np.where(use, np.minimum(drift**2 / expected, MOST), 0.0)
    count = np.bincount(owner, use, len(track))
    sure = np.maximum(count, 1.0)
    stir = np.bincount(owner, told, len(track)) / sure
    # The mean of squares of `count` drifts has variance 2 / count; few of them have longer tails.
    roused = (count > 0.0) & (stir > 1.0 + ROUSES * np.sqrt(2.0 / sure) + 2.0 / sure)
    track["mode"][roused] = ROUSED
    still = use & (stir < CALM)[owner]
    squares = np.where(still, np.minimum(change**2, MOST * flutter), 0.0)
    learnt.take_flutter(float(squares.sum()), float(still.sum()))
