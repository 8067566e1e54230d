"""What the fixes say of the radio model: residuals of readings, and adverts heard and missed.

The model's own check on itself: the noise and the share of adverts heard are learnt from it
(`stream.learnt`), and a gateway that differs from the rest shows here first.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.around import LOOK_AROUND
from stream.evidence import EMPTY
from stream.learnt import Learnt
from stream.likelihood import FADING_SD_DB, STUDENT_NU, Terms, over_cells
from stream.scene import Part, Scene
from stream.sensing import SILENT_ABOVE_DB
from stream.track import Tracks

Floats = npt.NDArray[np.float64]

# Residuals are learnt from beacons that this many gateways hear, less what was fitted to them.
LEARNS_FROM: Final = 4
FITTED: Final = 2.5
# So far above the weakest levels that an advert is only lost to bad luck.
SURELY_DB: Final = SILENT_ABOVE_DB + 4.0


class Checked(NamedTuple):
    """Sums over some readings; by gateway but for the last two.

    Attributes:
        readings: how many there are.
        residual: sums of (heard - expected) in dB.
        square: sums of their squares, dB2.
        heard: adverts heard over links that are loud without doubt.
        expected: adverts that could have been heard over them.
        squares: squared residuals over their variance, robustly, of all gateways.
        free: how many numbers they are worth.
    """

    readings: Floats
    residual: Floats
    square: Floats
    heard: Floats
    expected: Floats
    squares: float
    free: float


def check(scene: Scene, part: Part, track: Tracks, remembered: Terms) -> Checked | None:
    """Compares the evidence of those that looked around with the model at their places.

    `learn` takes it when the tick is over: until then all are judged by the same noise.
    """
    sensing, learnt = scene.sensing, scene.learnt
    gateway, _, n = part.memory
    there = gateway != EMPTY
    looked = (track["looks"] % LOOK_AROUND == 0)[part.owner]
    use = np.flatnonzero(looked & (there.sum(axis=1) >= LEARNS_FROM))
    if not len(use):
        return None
    picked = remembered.of(use)
    cells = scene.cell(track)[part.owner[use]]
    offset = over_cells(picked, sensing, cells[:, None]).offset[:, 0].astype(np.float64)
    there, n = there[use], n[use]
    level = sensing.level.reshape(-1, sensing.cells)[:, cells].astype(np.float64) + offset
    each = np.arange(len(use))[:, None]
    residual = np.where(there, picked.rssi - level[picked.gateway, each], 0.0)
    # As if the noise were the model's own.
    own = sensing.sd[picked.gateway].astype(np.float64) ** 2
    own += FADING_SD_DB**2 / np.maximum(n, 1e-3)
    square = residual**2 / own
    robust = (STUDENT_NU + 1.0) * square / (STUDENT_NU + square / learnt.noise**2)
    # The offset and the place took some of the numbers.
    free = float((there.sum(axis=1) - FITTED).sum())
    robust = _exact(np.where(there, robust, 0.0))
    loud = (level > sensing.limit_dbm + SURELY_DB) & sensing.online[:, None]
    adverts = _exact(np.where(there, n, 0.0))
    heard = np.zeros(level.shape)
    heard[picked.gateway[there], np.nonzero(there)[0]] = adverts[there]
    of_loud = np.where(loud, heard, 0.0).sum(axis=1)
    expected = (loud * adverts.max(axis=1)).sum(axis=1)
    row, gateways = picked.gateway[there], len(level)
    return Checked(
        np.bincount(row, minlength=gateways).astype(np.float64),
        np.bincount(row, residual[there], gateways).astype(np.float64),
        np.bincount(row, residual[there] ** 2, gateways).astype(np.float64),
        of_loud,
        expected,
        float(robust.sum()),
        free,
    )


def learn(learnt: Learnt, checked: list[Checked]) -> None:
    """Takes what a tick's chunks say of noise and of adverts."""
    if checked:
        heard = float(sum(each.heard.sum() for each in checked))
        learnt.take_adverts(heard, float(sum(each.expected.sum() for each in checked)))
        squares = sum(each.squares for each in checked)
        learnt.take_residuals(squares, sum(each.free for each in checked))


def _exact(values: Floats) -> Floats:
    """In whole 1/1024ths: then sums are the same however a tick was cut into chunks."""
    rounded: Floats = np.rint(1024.0 * values) / 1024.0
    return rounded
