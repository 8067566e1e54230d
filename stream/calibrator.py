"""When the site calibrates itself: snapshots gathered, a fit made, and put on trial, in event time.

Part of the engine and of its state, so that a replay calibrates itself exactly as the live system
did. The rule: a fit takes over only when it explains snapshots that it has not seen better than
the model in use, by more than chance. A survey is never replaced: people measured it.
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from stream.calibration import Calibration
from stream.evidence import EMPTY
from stream.layout import Layout
from stream.locator import Locator
from stream.selfcal import SNAPSHOT, Levels, believe, levels, refit
from stream.sensing import Sensing
from stream.track import WALKS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# Snapshots of a walker are this far apart in time, so that it has walked some metres since the
# last. What rests says the same again, only averaged better: the longer it lies, the rarer.
LEAST_PAUSE_S: Final = 3.0
MOST_PAUSE_S: Final = 300.0
# A snapshot needs so many gateways: with fewer any place explains it.
LEAST_GATEWAYS: Final = 3
# ... and never of one who was only just found.
FIRST_SETTLED_S: Final = 2.5
# Taken per tick, in turn, so that 10,000 tags that come to rest at once do not stop the flow.
PER_TICK: Final = 8
# Kept; new ones then take the place of the oldest.
KEPT: Final = 1_200
# The first fit needs so many, of so many trackables; the next ones wait for this long.
LEAST_SNAPSHOTS: Final = 20
LEAST_TRACKABLES: Final = 1
FIRST_AFTER_S: Final = 60.0
EVERY_S: Final = 240.0
# Turns of expectation and maximisation, one per tick. More make the gateways' offsets follow the
# noise (measured in simulated halls).
TURNS: Final = 3
# A verdict is sought at so many snapshots that the fit has not seen, each time twice as many; at
# the last the trial ends.
VERDICTS_AT: Final = (15, 30, 60, 120, 240, 400)
TRIAL_FROM: Final = VERDICTS_AT[0]
TRIAL_MOST: Final = VERDICTS_AT[-1]
# ... of which it must explain more by so many standard errors, and by so many nats each.
SURE: Final = 2.0
WORTH_NATS: Final = 0.02
# Fewer trackables than this are too few to judge by how they differ.
FEW: Final = 8
FEW_TIMES: Final = 2.0

Phase = Literal["gathers", "fits", "trial"]


class CalibratorState(msgspec.Struct, array_like=True):
    """What a calibrator remembers; arrays as bytes.

    Attributes:
        phase: what it is doing.
        since: event time of its first snapshot, 0 before.
        due: event time of the next fit.
        turns: turns left.
        snapshots: SNAPSHOT, oldest first.
        trial: SNAPSHOT taken since the fit.
        taken: event time of each trackable's last snapshot.
        candidate: the fit in the making or on trial.
        fits, adopted: how many were made and taken into use.
        judged: length of the trial at the last look at it.
    """

    phase: Phase = "gathers"
    since: float = 0.0
    due: float = 0.0
    turns: int = 0
    snapshots: bytes = b""
    trial: bytes = b""
    taken: bytes = b""
    candidate: Calibration | None = None
    fits: int = 0
    adopted: int = 0
    judged: int = 0


class Calibrator:
    """Follows a locator.

    Args:
        layout: of the site.
        state: to go on from.
    """

    def __init__(self, layout: Layout, state: CalibratorState | None = None) -> None:
        state = state or CalibratorState()
        self._layout: Final = layout
        self._state: Final = state
        self._snapshots: npt.NDArray[Any] = np.frombuffer(state.snapshots, SNAPSHOT)
        self._trial: npt.NDArray[Any] = np.frombuffer(state.trial, SNAPSHOT)
        count = len(layout.motions.rests)
        self._taken: Floats = (
            np.frombuffer(state.taken, np.float64).copy() if state.taken else np.full(count, -1e12)
        )
        self._table: Levels | None = None

    def dump(self) -> CalibratorState:
        """The state."""
        return msgspec.structs.replace(
            self._state,
            snapshots=self._snapshots.tobytes(),
            trial=self._trial.tobytes(),
            taken=self._taken.tobytes(),
        )

    @property
    def snapshots(self) -> npt.NDArray[Any]:
        """SNAPSHOT, oldest first."""
        return self._snapshots

    @property
    def counts(self) -> tuple[int, int, int]:
        """Snapshots held, fits made, fits taken into use."""
        return len(self._snapshots), self._state.fits, self._state.adopted

    def propose(self, calibration: Calibration) -> bool:
        """Puts a calibration from elsewhere on trial, unless a fit is in the making or on trial.

        Returns:
            Whether it did.
        """
        if self._state.phase != "gathers":
            return False
        self._state.phase, self._state.candidate = "trial", calibration
        self._state.fits += 1
        self._state.judged = 0
        self._trial = np.zeros(0, SNAPSHOT)
        return True

    def follow(self, locator: Locator, rows: Ints, t: float, online: Bools) -> Calibration | None:
        """Takes a tick: snapshots of what was located, a turn of a fit, a verdict.

        Args:
            locator: after it has located the tick.
            rows: trackables that were located.
            t: the tick's end.
            online: gateways on line, (gateways,).

        Returns:
            A calibration that is to be used from now on, or None.
        """
        state = self._state
        surveyed = locator.calibration.origin == "survey"
        if surveyed:
            # Whatever is proposed: people measured.
            state.phase, state.candidate = "gathers", None
        # Also under a survey: the gateways' places are judged by snapshots, too.
        self._gather(locator, rows, t)
        if surveyed:
            return None
        if state.phase == "gathers":
            self._begin(locator, t)
            return None
        if state.phase == "fits":
            self._turn(locator, online)
            return None
        return self._judge(locator, online, t)

    def fit_now(self, locator: Locator, online: Bools) -> Calibration | None:
        """A fit to the snapshots held, all turns at once; None when there are too few."""
        if len(self._snapshots) < LEAST_SNAPSHOTS:
            return None
        state = self._state
        state.candidate, state.turns = locator.calibration, TURNS
        while state.turns:
            self._turn(locator, online)
        return state.candidate

    def _gather(self, locator: Locator, rows: Ints, t: float) -> None:
        track = locator.tracks[rows]
        pause = np.clip(track["calm"] / 2.0, LEAST_PAUSE_S, MOST_PAUSE_S)
        settled = t - track["since"] >= FIRST_SETTLED_S
        due = rows[settled & (t - self._taken[rows] >= pause)]
        if not len(due):
            return
        # The one who waited longest first.
        due = due[np.argsort(self._taken[due], kind="stable")][:PER_TICK]
        self._taken[due] = t
        layout = self._layout
        beacons = layout.beacons_of(due)
        slots = locator.evidence.slots[beacons]
        fresh = locator.evidence.t[beacons] == t
        enough = fresh & ((slots["gateway"] != EMPTY).sum(axis=1) >= LEAST_GATEWAYS)
        new = np.zeros(int(enough.sum()), SNAPSHOT)
        new["t"], new["beacon"] = t, beacons[enough]
        for name in ("gateway", "rssi", "n"):
            new[name] = slots[name][enough]
        owner = layout.trackable[beacons[enough]]
        new["walks"] = (locator.tracks["mode"][owner] == WALKS) & ~layout.motions.rests[owner]
        if self._state.since == 0.0 and len(new):
            self._state.since = t
            self._state.due = t + FIRST_AFTER_S
        if self._state.phase == "trial":
            self._trial = np.concatenate((self._trial, new))
        self._snapshots = np.concatenate((self._snapshots, new))[-KEPT:]

    def _begin(self, locator: Locator, t: float) -> None:
        state = self._state
        if not state.since or t < state.due or len(self._snapshots) < LEAST_SNAPSHOTS:
            return
        owners = np.unique(self._layout.trackable[self._snapshots["beacon"].astype(np.int64)])
        if len(owners) < LEAST_TRACKABLES:
            return
        state.phase, state.turns = "fits", TURNS
        state.candidate = locator.calibration

    def _turn(self, locator: Locator, online: Bools) -> None:
        state = self._state
        if self._table is None:
            self._table = levels(self._layout)
        assert state.candidate is not None  # noqa: S101  # a fit in the making
        sensing = self._sensing(state.candidate, locator, online)
        seen = self._snapshots
        believed = believe(self._layout, sensing, seen, locator.learnt.hears)
        state.candidate = refit(self._layout, self._table, sensing, seen, believed)
        state.turns -= 1
        if state.turns == 0:
            state.phase = "trial"
            state.fits += 1
            state.judged = 0
            self._trial = np.zeros(0, SNAPSHOT)

    def _judge(self, locator: Locator, online: Bools, t: float) -> Calibration | None:
        state = self._state
        count = len(self._trial)
        if not any(state.judged < least <= count for least in VERDICTS_AT):
            return None
        state.judged = count
        assert state.candidate is not None  # noqa: S101  # the one on trial
        old, new = (
            believe(
                self._layout,
                self._sensing(model, locator, online),
                self._trial,
                locator.learnt.hears,
            ).evidence
            for model in (locator.calibration, state.candidate)
        )
        gain = new - old
        owner = self._layout.trackable[self._trial["beacon"].astype(np.int64)]
        mean, error = _by_cluster(gain, owner)
        better = mean > max(SURE * error, WORTH_NATS)
        if not better and count < TRIAL_MOST and mean > -SURE * error:
            return None
        candidate = state.candidate
        state.phase, state.candidate, state.due = "gathers", None, t + EVERY_S
        self._trial = np.zeros(0, SNAPSHOT)
        if not better:
            return None
        state.adopted += 1
        return msgspec.structs.replace(
            candidate,
            note=f"explains {count} new snapshots better by {mean:.2f} nats each",
        )

    def _sensing(self, model: Calibration, locator: Locator, online: Bools) -> Sensing:
        return Sensing(self._layout, model, online, locator.learnt.limit_dbm)


def _by_cluster(gain: Floats, owner: Ints) -> tuple[float, float]:
    """Mean, and its standard error with one trackable's snapshots taken as one voice."""
    names, place = np.unique(owner, return_inverse=True)
    mean = float(gain.mean())
    # Few voices say little of how voices differ: then twice what single snapshots say.
    alone = FEW_TIMES * float(gain.std()) / math.sqrt(len(gain))
    sums = np.bincount(place, gain - mean)
    spread = len(names) / max(len(names) - 1, 1) * float((sums**2).sum())
    together = math.sqrt(spread) / len(gain)
    return mean, together if len(names) >= FEW else max(alone, together)


def carry_over(
    old: CalibratorState, before: Layout, after: Layout, rows: list[int]
) -> CalibratorState:
    """The state under a new site version.

    Args:
        old: the state under `before`.
        before: the old layout.
        after: the new layout.
        rows: for each new trackable row its old row, or -1.
    """
    if not after.same_place:
        # Cells and gateways mean something else: it begins anew.
        return CalibratorState(fits=old.fits, adopted=old.adopted)
    now = {was: after.beacon_row.get(name, -1) for name, was in before.beacon_row.items()}

    def kept(blob: bytes) -> bytes:
        snapshots = np.frombuffer(blob, SNAPSHOT).copy()
        beacon = np.array([now[was] for was in snapshots["beacon"].tolist()], np.int64)
        snapshots = snapshots[beacon >= 0]
        snapshots["beacon"] = beacon[beacon >= 0]
        return snapshots.tobytes()

    taken = np.frombuffer(old.taken, np.float64)
    fresh = np.array([taken[was] if was >= 0 else -1e12 for was in rows], np.float64)
    return msgspec.structs.replace(
        old, snapshots=kept(old.snapshots), trial=kept(old.trial), taken=fresh.tobytes()
    )
