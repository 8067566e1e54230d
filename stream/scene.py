"""One tick's view of the site for some trackables: likelihoods over their windows, and geometry.

What `stream.locator`, `stream.around` and `stream.conclude` share. Knows no time.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.evidence import EMPTY
from stream.grid import WINDOW
from stream.layout import Layout
from stream.learnt import Learnt
from stream.likelihood import Heard, Terms, over_windows, terms
from stream.sensing import Sensing
from stream.track import Tracks

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Levels = tuple[Ints, Floats, Floats]
"""Gateway rows (EMPTY where none), RSSI in dBm, adverts: each (beacons, slots)."""

# A weak pull towards the centroid of the gateways, weighted by 10^(rssi / this many dB): it is
# never far wrong, where the model may be. Its error grows with the distance between gateways.
CENTROID_DB: Final = 8.0
CENTROID_SHARE: Final = 1.1
# What no evidence takes away from a cell inside the outline.
LEAST_LIKELIHOOD: Final = 1e-12


class Part(NamedTuple):
    """Some trackables of a tick, and the beacons they wear that were heard.

    Attributes:
        rows: trackable rows, (trackables,).
        owner: place in `rows` of each beacon, ascending, (beacons,).
        beacons: beacon rows.
        now: this tick's readings.
        memory: the evidence.
        age: seconds from the middle of the readings' windows to the tick's end, (beacons,).
    """

    rows: Ints
    owner: Ints
    beacons: Ints
    now: Levels
    memory: Levels
    age: Floats

    def of(self, which: Ints) -> tuple[Ints, Ints]:
        """The beacons of some of its trackables: their places, and places of owners in `which`."""
        number = np.full(len(self.rows), -1, np.int64)
        number[which] = np.arange(len(which))
        beacons = np.flatnonzero(number[self.owner] >= 0)
        return beacons, number[self.owner[beacons]]


class Scene:
    """The site as it is at a tick.

    Args:
        layout: the site's columns.
        sensing: levels and silence over the cells.
        learnt: what is learnt of the site's radio.
    """

    def __init__(self, layout: Layout, sensing: Sensing, learnt: Learnt) -> None:
        self.layout: Final = layout
        self.sensing: Final = sensing
        self.learnt: Final = learnt
        self.free: Final = _windows(layout.grid.free)
        self._inside: Final = _windows(layout.grid.inside)
        self.pull_sharp: Final = -0.5 / (CENTROID_SHARE * layout.place.spacing_m) ** 2
        self._along: Final = layout.grid.cell_m * np.arange(WINDOW)

    def terms(self, levels: Levels, weight: Floats) -> Terms:
        """The likelihood's terms with what is learnt of the noise."""
        heard = Heard(*levels, weight)
        return terms(heard, self.sensing, self.learnt.noise, self.learnt.hears)

    def likelihood(
        self,
        part: Part,
        track: Tracks,
        which: Ints,
        levels: Levels,
        weight: Floats | None,
    ) -> Singles:
        """Likelihood over the windows of some of the part's trackables, its maximum 1.

        Args:
            part: the chunk.
            track: its tracks.
            which: places in it.
            levels: the chunk's readings to use.
            weight: by trackable of `which`; 1 by default.
        """
        beacons, of = part.of(which)
        each = np.ones(len(beacons)) if weight is None else weight[of]
        some = _narrow((levels[0][beacons], levels[1][beacons], levels[2][beacons]))
        starts = self.starts(track[which])
        scored = over_windows(self.terms(some, each), self.sensing, starts[of])
        score = by_owner(scored.score, of)
        score = score.reshape(-1, WINDOW, WINDOW)
        score += self._pull(some, of, each, track[which])
        score -= score.max(axis=(1, 2), keepdims=True)
        likelihood: Singles = np.exp(score, out=score)
        inside = self._inside[starts]
        likelihood *= inside
        likelihood += inside * np.float32(LEAST_LIKELIHOOD)
        # An outline that leaves a window without a single cell: then the window will do.
        nothing = likelihood.max(axis=(1, 2)) <= 0.0
        likelihood[nothing] = 1.0
        return likelihood

    def starts(self, track: Tracks) -> Ints:
        """The cells that the lines of tracks' windows begin with, (trackables, WINDOW)."""
        return self.layout.grid.line_starts(
            *(track[name].astype(np.int64) for name in ("ix", "iy", "floor"))
        )

    def axes(self, track: Tracks) -> tuple[Floats, Floats]:
        """The windows' columns' x and rows' y in metres, (trackables, WINDOW)."""
        grid = self.layout.grid
        floor = track["floor"].astype(np.int64)
        x = grid.x0[floor] + grid.cell_m * track["ix"]
        y = grid.y0[floor] + grid.cell_m * track["iy"]
        return x[:, None] + self._along, y[:, None] + self._along

    def cell(self, track: Tracks) -> Ints:
        """The cells that tracks are in."""
        grid = self.layout.grid
        floor = np.maximum(track["floor"].astype(np.int64), 0)
        ix = np.rint((track["x"] - grid.x0[floor]) / grid.cell_m).astype(np.int64)
        iy = np.rint((track["y"] - grid.y0[floor]) / grid.cell_m).astype(np.int64)
        ix = np.clip(ix, 0, grid.wide[floor] - 1)
        iy = np.clip(iy, 0, grid.deep[floor] - 1)
        cells: Ints = grid.base[floor] + iy * grid.wide[floor] + ix
        return cells

    def _pull(
        self,
        levels: Levels,
        of: Ints,
        weight: Floats,
        track: Tracks,
    ) -> Singles:
        """The pull towards the gateways' weighted centroid, over windows."""
        cx, cy, there = self.centroid(levels, of, len(track))
        x, y = self.axes(track)
        strength = np.bincount(of, weight, len(track)) / np.maximum(
            np.bincount(of, minlength=len(track)), 1
        )
        sharp = self.pull_sharp * strength * there
        pull = sharp[:, None, None] * (
            ((x - cx[:, None]) ** 2)[:, None, :] + ((y - cy[:, None]) ** 2)[:, :, None]
        )
        singles: Singles = pull.astype(np.float32)
        return singles

    def centroid(self, levels: Levels, of: Ints, count: int) -> tuple[Floats, Floats, Bools]:
        """The weighted centroids x, y in metres, and whether there is one, by owner."""
        gateway, rssi, _ = levels
        there = gateway != EMPTY
        loudest = np.where(there, rssi, -np.inf).max(axis=1, initial=-200.0)
        share = np.where(there, 10.0 ** ((rssi - loudest[:, None]) / CENTROID_DB), 0.0)
        place = self.layout.geometry.place[np.where(there, gateway, 0)]
        total = np.bincount(of, share.sum(axis=1), count)
        sure = np.maximum(total, 1e-12)
        cx = np.bincount(of, (share * place[..., 0]).sum(axis=1), count) / sure
        cy = np.bincount(of, (share * place[..., 1]).sum(axis=1), count) / sure
        return cx, cy, total > 0.0


def by_owner(score: Singles, of: Ints) -> Singles:
    """Sums of rows by their owner; `of` ascends and leaves none out."""
    if len(of) and int(of[-1]) + 1 == len(of):
        return score
    starts = np.flatnonzero(np.concatenate(([True], np.diff(of) != 0)))
    total: Singles = np.add.reduceat(score, starts, axis=0)
    return total


def _narrow(levels: Levels) -> Levels:
    """Without the columns in which nobody has a gateway."""
    used = np.flatnonzero((levels[0] != EMPTY).any(axis=0))
    return levels[0][:, used], levels[1][:, used], levels[2][:, used]


def _windows(cells: Bools) -> Singles:
    """Runs of WINDOW cells from any cell on, as 0 and 1."""
    runs: Singles = np.lib.stride_tricks.sliding_window_view(cells.astype(np.float32), WINDOW)
    return runs
