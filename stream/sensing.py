"""What a calibration and the gateways on line make of the cells: expected levels, expected silence.

Read-only between ticks. The likelihood (`stream.likelihood`) looks levels and silences up here.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.calibration import Calibration
from stream.grid import WINDOW
from stream.layout import Layout
from stream.radio_model import RadioModel

Singles = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# A beacon's own RSSI at 1 m, in steps: for these its expected silence is worked out beforehand.
OFFSETS_DBM: Final = (-84.0, -40.0)
OFFSET_STEP_DB: Final = 2.0
OFFSET_STEPS: Final = int((OFFSETS_DBM[1] - OFFSETS_DBM[0]) / OFFSET_STEP_DB) + 1
# Silence begins to tell where the expected level is this far below the weakest levels heard, and
# tells all it can this far above them. The logarithm of the chance to hear nothing, with shadowing
# and fading of 5 dB around the limit, is a straight line between to a tenth.
SILENT_BELOW_DB: Final = 5.0
SILENT_ABOVE_DB: Final = 8.0
# log10 of the metres from which on silence is what is to be expected, whatever the building.
REACH_DECADES: Final = math.log10(60.0)
RAMP_DB: Final = SILENT_BELOW_DB + SILENT_ABOVE_DB


class Sensing:
    """Tables over the cells.

    Args:
        layout: of the site.
        calibration: its radio model.
        online: gateways that are on line, (gateways,); the others' silence says nothing.
        limit_dbm: the weakest levels that the site's gateways hear.

    Attributes:
        cells: how many cells there are.
        level: expected RSSI minus the tag's own at 1 m, flat (gateways x cells).
        lines: the same as lines of WINDOW cells from any cell on, a view.
        model: the radio model.
    """

    def __init__(
        self, layout: Layout, calibration: Calibration, online: Bools, limit_dbm: float
    ) -> None:
        self.model: Final = RadioModel(layout.site, layout.grid, layout.geometry, calibration)
        self.sd: Final = self.model.sd.astype(np.float32)
        self.cells: Final = len(layout.grid)
        self.level: Final[Singles] = np.ascontiguousarray(self.model.level).reshape(-1)
        self.lines: Final = _lines(self.level)
        self.online: Final = online.copy()
        self.limit_dbm: Final = limit_dbm
        self._decades: Final = layout.geometry.decades
        self._silence: Final[Singles] = np.zeros((OFFSET_STEPS, self.cells), np.float32)
        for gateway in np.flatnonzero(online):
            self._add_silence(int(gateway), 1.0)
        self.silence: Final[Singles] = self._silence.reshape(-1)
        self.silence_lines: Final = _lines(self.silence)

    def switch(self, online: Bools) -> None:
        """Follows gateways that went off line or came back."""
        for gateway in np.flatnonzero(online != self.online):
            self._add_silence(int(gateway), 1.0 if online[gateway] else -1.0)
        self.online[:] = online

    def _add_silence(self, gateway: int, sign: float) -> None:
        near = np.flatnonzero(self._decades[gateway] < REACH_DECADES)
        level = self.level[gateway * self.cells + near]
        for step in range(OFFSET_STEPS):
            offset = OFFSETS_DBM[0] + step * OFFSET_STEP_DB
            # In whole 1/1024ths: then what is added and taken away again leaves nothing behind.
            part = np.rint(1024.0 * ramp(level + np.float32(offset - self.limit_dbm))) / 1024.0
            self._silence[step, near] += np.float32(sign) * part.astype(np.float32)


def ramp(above: Singles) -> Singles:
    """How much of its say a gateway's silence has, 0 to 1, by dB above the weakest level heard."""
    share: Singles = np.clip((above + np.float32(SILENT_BELOW_DB)) / np.float32(RAMP_DB), 0.0, 1.0)
    return share


def _lines(flat: Singles) -> Singles:
    """A view of every run of WINDOW values, (values - WINDOW + 1, WINDOW)."""
    if len(flat) < WINDOW:
        return np.zeros((0, WINDOW), np.float32)
    view: Singles = np.lib.stride_tricks.sliding_window_view(flat, WINDOW)
    return view
