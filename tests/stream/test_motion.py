"""How kinds move: chances that are chances, and walks as fast and as long as people's."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from stream.motion import HEADINGS, MODES, MOTIONS, STAND, STEP_S, Motion, Motions, change_of_mode
from stream.site import Kind


@pytest.mark.parametrize("kind", get_args(Kind))
def test_from_every_mode_one_goes_somewhere(kind: Kind) -> None:
    """Each column is a distribution, and every mode can be left and reached."""
    change = change_of_mode(MOTIONS[kind])
    assert change.shape == (MODES, MODES)
    assert (change >= 0.0).all()
    assert change.sum(axis=0) == pytest.approx(np.ones(MODES))
    assert (np.diag(change) < 1.0).all()
    assert (np.linalg.matrix_power(change, 4) > 0.0).all()


def test_the_numbers_mean_what_they_say() -> None:
    """Setting off, halting and turning have the chances that the kind states; few turn back."""
    change = change_of_mode(Motion(1.0, 0.08, 0.05, 0.06, 0.1, rests=False))
    assert change[STAND, STAND] == pytest.approx(0.92)
    for row, (dx, dy) in enumerate(HEADINGS, start=1):
        assert change[row, STAND] == pytest.approx(0.02)
        assert change[STAND, row] == pytest.approx(0.05)
        assert change[row, row] == pytest.approx(0.89)
        turned = {
            heading: change[1 + k, row] for k, heading in enumerate(HEADINGS) if heading != (dx, dy)
        }
        assert sum(turned.values()) == pytest.approx(0.06)
        left, right, back = (-dy, dx), (dy, -dx), (-dx, -dy)
        assert turned[left] == pytest.approx(turned[right])
        assert turned[back] < turned[left]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_kinds_move_as_people_do(kind: Kind) -> None:
    """Nobody runs; a walk takes seconds, not minutes; what may rest stands still for longest."""
    motion = MOTIONS[kind]
    assert 0.5 <= motion.speed_m_s <= 1.6
    assert 2.0 <= STEP_S / motion.halts <= 60.0
    assert motion.rests == (kind == "item")
    assert motion.sets_off <= MOTIONS["picker"].sets_off
    # Over a tick one who stands shifts by decimetres.
    assert np.sqrt(motion.strays_m2_s * STEP_S) < 0.5


def test_columns_follow_the_trackables() -> None:
    """Row by row what the kind says; no trackables give empty columns of the same shape."""
    kinds: list[Kind] = ["picker", "item", "visitor", "picker"]
    motions = Motions.of(kinds)
    for row, kind in enumerate(kinds):
        assert motions.speed_m_s[row] == MOTIONS[kind].speed_m_s
        assert motions.strays_m2_s[row] == MOTIONS[kind].strays_m2_s
        assert motions.rests[row] == MOTIONS[kind].rests
        assert motions.change[row] == pytest.approx(change_of_mode(MOTIONS[kind]), rel=1e-6)
    nothing = Motions.of([])
    assert nothing.change.shape == (0, MODES, MODES)
    assert nothing.rests.shape == (0,)
