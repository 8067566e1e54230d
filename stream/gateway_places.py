"""Where a gateway seems to hang by what it hears of tags, as against where the site says.

Tags are located without the gateway in question, by what all others heard in the calibrator's
snapshots; then its own levels say how far from those places it is. The rule: a place is judged by
the pattern alone, near louder than far. Its offset and slope are free at each place, racks are left
out at all of them, so that neither a deaf gateway nor a wrong calibration looks like another place.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.evidence import EMPTY
from stream.layout import Layout
from stream.radio_model import GATEWAY_HEIGHT_M
from stream.selfcal import believe
from stream.sensing import Sensing

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Snapshots = npt.NDArray[np.void]

# Snapshots of this long count: minutes of work, and not what was before a move.
SPAN_S: Final = 600.0
# At most so many, the latest: they cost 50 us each.
MOST: Final = 160
# A gateway is judged by so many, of so many beacons; others than it must have heard each so well.
LEAST: Final = 20
LEAST_BEACONS: Final = 5
LEAST_OTHERS: Final = 4
# ... and that are worth so many independent ones, as repeated ones of a few beacons are not.
LEAST_WORTH: Final = 15.0
# Tags this high on average; the height matters next to a gateway only.
TAG_HEIGHT_M: Final = 1.0
# Located on another floor with more than this chance, a snapshot is left out.
_ELSEWHERE: Final = 0.1
# dB per decade of distance, among tags and racks: 10 times 1.8 to 3.8.
SLOPE: Final = -28.0
SLOPE_SD: Final = 7.0
SLOPES: Final = (-45.0, -12.0)
# Standard deviation of a level about its distance law, with racks left out and tags misplaced, and
# the freedom of its Student t.
SD_DB: Final = 6.0
NU: Final = 4.0
_TURNS: Final = 4
# Another place is believed when its log likelihood ratio is at least this, and this for each
# snapshot's worth: errors that all snapshots share grow with their number. In simulated halls sound
# gateways had up to 8 and 0.14, those beside a misplaced one 12 and 0.09, and gateways 12 m from
# their place 14 to 70 and 0.2 to 0.4; at corners, where all tags lie to one side, 4 and 0.05.
GAIN: Final = 10.0
GAIN_EACH: Final = 0.13
AWAY_M: Final = 5.0


class Elsewhere(NamedTuple):
    """The place that explains a gateway's levels best.

    Attributes:
        gain: log likelihood ratio to the documented place.
        worth: of the snapshots, in independent ones.
        x, y: metres.
        away_m: from the documented place.
    """

    gain: float
    worth: float
    x: float
    y: float
    away_m: float

    @property
    def score(self) -> float:
        """How far it is to be believed: 1 is much, for a single look."""
        if self.away_m < AWAY_M:
            return 0.0
        return min(self.gain / GAIN, self.gain / (GAIN_EACH * self.worth))


def seems_at(
    layout: Layout, sensing: Sensing, snapshots: Snapshots, hears: float, row: int, t: float
) -> Elsewhere | None:
    """Looks for a gateway's place within 18 m around; None when too little was heard.

    Args:
        layout: of the site.
        sensing: levels by the calibration in use.
        snapshots: `stream.selfcal.SNAPSHOT`, oldest first.
        hears: share of loud adverts that gateways hear.
        row: the gateway's.
        t: event time.
    """
    gateway = snapshots["gateway"]
    use = (gateway == row).any(axis=1) & ((gateway != EMPTY).sum(axis=1) > LEAST_OTHERS)
    some = snapshots[use & (snapshots["t"] >= t - SPAN_S)][-MOST:].copy()
    if len(some) < LEAST or len(np.unique(some["beacon"])) < LEAST_BEACONS:
        return None
    at = some["gateway"] == row
    rssi = some["rssi"][at].astype(np.float64)
    some["gateway"][at], some["n"][at] = EMPTY, 0.0
    believed = believe(layout, sensing, some, hears)
    grid, cells = layout.grid, believed.cells
    here = grid.floor[cells] == layout.geometry.floor[row]
    chance = believed.chance * here
    share = chance.sum(axis=1)
    sure = share >= 1.0 - _ELSEWHERE
    if sure.sum() < LEAST:
        return None
    chance, cells = chance[sure] / share[sure, None], cells[sure]
    x, y = ((chance * axis[cells]).sum(axis=1) for axis in (grid.x, grid.y))
    spread = (chance * ((grid.x[cells] - x[:, None]) ** 2 + (grid.y[cells] - y[:, None]) ** 2)).sum(
        axis=1
    )
    level = rssi[sure] - (chance * believed.offset[sure]).sum(axis=1)
    # Snapshots of one beacon say the same in part.
    _, place = np.unique(some["beacon"][sure], return_inverse=True)
    weight = 1.0 / np.sqrt(np.bincount(place)[place])
    if float(weight.sum()) < LEAST_WORTH:
        return None
    px, py, *_ = layout.geometry.place[row]
    around = layout.nearby[row]
    around = around[grid.floor[around] == layout.geometry.floor[row]]
    to_x, to_y = np.append(px, grid.x[around]), np.append(py, grid.y[around])
    away2 = (x[:, None] - to_x) ** 2 + (y[:, None] - to_y) ** 2
    away2 += (GATEWAY_HEIGHT_M - TAG_HEIGHT_M) ** 2 + 0.5 * spread[:, None]
    likely = _likelihood(level, 0.5 * np.log10(away2), weight)
    best = int(likely.argmax())
    bx, by = float(to_x[best]), float(to_y[best])
    return Elsewhere(
        float(likely[best] - likely[0]),
        float(weight.sum()),
        bx,
        by,
        float(np.hypot(bx - px, by - py)),
    )


def _likelihood(level: Floats, decades: Floats, weight: Floats) -> Floats:
    """Log likelihood of places, offset and slope at their best: Student t by reweighting.

    Args:
        level: dB, the tags' own taken off, (snapshots,).
        decades: log10 of metres, (snapshots, places).
        weight: (snapshots,).
    """
    ridge = (SD_DB / SLOPE_SD) ** 2
    each = np.repeat(weight[:, None], decades.shape[1], axis=1)
    residual = slope = np.zeros(0)
    for _ in range(_TURNS):
        total = each.sum(axis=0)
        far = decades - (each * decades).sum(axis=0) / total
        high = level[:, None] - (each * level[:, None]).sum(axis=0) / total
        slope = (each * far * high).sum(axis=0) + ridge * SLOPE
        slope = np.clip(slope / ((each * far**2).sum(axis=0) + ridge), *SLOPES)
        residual = high - slope * far
        each = weight[:, None] * (NU + 1.0) / (NU + (residual / SD_DB) ** 2)
    fits = weight[:, None] * np.log1p((residual / SD_DB) ** 2 / NU)
    likely: Floats = -0.5 * (NU + 1.0) * fits.sum(axis=0)
    return likely - 0.5 * ((slope - SLOPE) / SLOPE_SD) ** 2
