"""What is remembered of each trackable between ticks, and how it moves to a new site version."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.evidence import EMPTY, Evidence
from stream.grid import WINDOW
from stream.layout import Layout
from stream.learnt import Learnt
from stream.motion import MODES

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Tracks = npt.NDArray[np.void]

# A trackable's mode: never heard or forgotten; walking; at rest; roused, which is to be found near
# to where it lay.
NOWHERE: Final = 0
WALKS: Final = 1
RESTS: Final = 2
ROUSED: Final = 3
TRACK: Final = np.dtype(
    [
        ("t", "<f8"),  # tick end of the last update, 0 when never
        ("since", "<f8"),  # when it was found
        ("x", "<f4"),  # present place, metres
        ("y", "<f4"),
        ("vx", "<f4"),  # metres a second
        ("vy", "<f4"),
        ("sd", "<f4"),  # of either coordinate, metres
        ("gap", "<f4"),  # faded mean of the seconds between updates
        ("calm", "<f4"),  # seconds it has stood
        ("stir", "<f4"),  # faded mean of squared changes of level over their flutter
        ("ix", "<i2"),  # the window, in cells of its floor
        ("iy", "<i2"),
        ("zone", "<u2"),
        ("chance", "<f4"),  # of that zone
        ("floor", "<i2"),
        ("beacon", "<i2"),  # which of its beacons told most
        ("mode", "u1"),  # NOWHERE, WALKS, RESTS, ROUSED
        ("worse", "u1"),  # looks around in a row that found a better place
        ("looks", "u1"),  # updates, modulo LOOK_AROUND
        ("lost", "?"),  # whether it was told to be lost
    ]
)
"""By trackable row."""


class LocatorState(NamedTuple):
    """What the locator remembers.

    Attributes:
        slots: evidence by beacon row.
        heard: tick end of each beacon's last update.
        tracks: TRACK by trackable row.
        walkers: trackable rows of those that walk, ascending.
        chances: their walk filters, (walkers, MODES, WINDOW, WINDOW).
        learnt: `Learnt.sums`.
    """

    slots: npt.NDArray[np.void]
    heard: Floats
    tracks: npt.NDArray[np.void]
    walkers: Ints
    chances: npt.NDArray[np.uint8]
    learnt: Floats


def blank_state(layout: Layout) -> LocatorState:
    """The state of a locator that has heard nothing."""
    evidence = Evidence.empty(len(layout.trackable))
    return LocatorState(
        evidence.slots,
        evidence.t,
        np.zeros(len(layout.motions.rests), TRACK),
        np.zeros(0, np.int64),
        np.zeros((0, MODES, WINDOW, WINDOW), np.uint8),
        Learnt().sums,
    )


def carry_over(old: LocatorState, before: Layout, after: Layout, rows: list[int]) -> LocatorState:
    """The state under a new layout: what still exists keeps its place, what is new starts blank.

    Where cells mean something else now, or a kind has changed, a trackable is found anew with its
    next readings.

    Args:
        old: the state under `before`.
        before: the old layout.
        after: the new layout.
        rows: for each new trackable row its old row, or -1.
    """
    new = blank_state(after)
    floor = {was: after.floor_row.get(name, EMPTY) for name, was in before.floor_row.items()}
    kinds = [part.kind for part in before.site.trackables]
    moved: dict[int, int] = {}
    for row, was in enumerate(rows):
        at = floor.get(int(old.tracks[was]["floor"]), EMPTY) if was >= 0 else EMPTY
        if at == EMPTY or old.tracks[was]["t"] == 0.0:
            continue
        new.tracks[row] = old.tracks[was]
        new.tracks[row]["floor"] = at
        new.tracks[row]["beacon"] = 0
        if not after.same_place or kinds[was] != after.site.trackables[row].kind:
            new.tracks[row]["mode"] = NOWHERE
        elif new.tracks[row]["mode"] == WALKS:
            moved[was] = row
    kept = [(moved[was], at) for at, was in enumerate(old.walkers.tolist()) if was in moved]
    kept.sort()
    gateway = np.full(len(before.gateway_row) + 1, EMPTY, np.int64)
    for name, was in before.gateway_row.items():
        gateway[was] = after.gateway_row.get(name, EMPTY)
    for beacon, row in after.beacon_row.items():
        was = before.beacon_row.get(beacon, -1)
        if was >= 0:
            new.slots[row] = old.slots[was]
            # The spare last entry maps EMPTY (-1) to itself.
            new.slots[row]["gateway"] = gateway[old.slots[was]["gateway"].astype(np.int64)]
            new.heard[row] = old.heard[was]
    new.slots["n"][new.slots["gateway"] == EMPTY] = 0.0
    return new._replace(
        walkers=np.array([row for row, _ in kept], np.int64),
        chances=old.chances[[at for _, at in kept]],
        learnt=old.learnt.copy(),
    )
