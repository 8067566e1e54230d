"""How kinds of trackables move: the constants of the walk filter, and when rest begins and ends."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.site import Kind

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Singles = npt.NDArray[np.float32]

# The modes of a walk: standing, then walking along +x, +y, -x, -y. Aisles run along the axes of
# most sites; a slanting walk alternates between two.
STAND: Final = 0
HEADINGS: Final = ((1, 0), (0, 1), (-1, 0), (0, -1))
MODES: Final = 1 + len(HEADINGS)
# One step of the filter: a tick.
STEP_S: Final = 0.5


class Motion(NamedTuple):
    """How a kind moves.

    Attributes:
        speed_m_s: mean walking speed.
        sets_off: chance per step that one who stands walks on.
        halts: chance per step that one who walks stands still.
        turns: chance per step that one who walks turns, mostly by 90 degrees.
        strays_m2_s: how far it shifts while it stands: variance along each axis per second, m2/s.
        rests: whether it lies rather than walks: then its readings are averaged for as long as it
            lies, and the walk filter is not needed.
    """

    speed_m_s: float
    sets_off: float
    halts: float
    turns: float
    strays_m2_s: float
    rests: bool


# A picker stands 14 s at a face and walks 10 to 15 s to the next (de Koster et al., EJOR 182,
# 2007: travel is half of a picker's time); a visitor looks longer; carts are pushed by people.
# Items lie for hours; that they were carried shows in their levels (`stream.rest`).
MOTIONS: Final[dict[Kind, Motion]] = {
    "picker": Motion(1.1, 0.035, 0.05, 0.06, 0.15, rests=False),
    "visitor": Motion(0.9, 0.03, 0.05, 0.08, 0.15, rests=False),
    "cart": Motion(1.1, 0.02, 0.05, 0.06, 0.15, rests=False),
    "other": Motion(1.1, 0.03, 0.05, 0.06, 0.15, rests=False),
    "item": Motion(1.1, 0.004, 0.05, 0.06, 0.05, rests=True),
}
# Of the turns, this share goes back the way it came.
_BACK: Final = 0.12


def change_of_mode(motion: Motion) -> Floats:
    """Chances per step from mode (column) to mode (row), (MODES, MODES); columns add up to 1."""
    chances = np.zeros((MODES, MODES))
    chances[STAND, STAND] = 1.0 - motion.sets_off
    chances[1:, STAND] = motion.sets_off / len(HEADINGS)
    for row in range(len(HEADINGS)):
        chances[STAND, 1 + row] = motion.halts
        chances[1 + row, 1 + row] = 1.0 - motion.halts - motion.turns
        for turn, share in ((1, (1 - _BACK) / 2), (3, (1 - _BACK) / 2), (2, _BACK)):
            chances[1 + (row + turn) % 4, 1 + row] = motion.turns * share
    return chances


class Motions(NamedTuple):
    """MOTIONS as columns by trackable row.

    Attributes:
        speed_m_s: mean walking speed, shape (trackables,).
        strays_m2_s: variance per second of one who stands, shape (trackables,).
        change: chances from mode to mode, shape (trackables, MODES, MODES).
        rests: whether it lies rather than walks, shape (trackables,).
    """

    speed_m_s: Floats
    strays_m2_s: Floats
    change: Singles
    rests: Bools

    @classmethod
    def of(cls, kinds: list[Kind]) -> Motions:
        """The columns for trackables of these kinds."""
        changes = {kind: change_of_mode(motion) for kind, motion in MOTIONS.items()}
        return cls(
            np.array([MOTIONS[kind].speed_m_s for kind in kinds], np.float64),
            np.array([MOTIONS[kind].strays_m2_s for kind in kinds], np.float64),
            np.array([changes[kind] for kind in kinds], np.float32).reshape(-1, MODES, MODES),
            np.array([MOTIONS[kind].rests for kind in kinds], np.bool_),
        )
