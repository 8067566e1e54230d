"""Fixes met with the truth, and with what peers would have answered at the same moments.

The rule: every method answers exactly the same questions. A question is a fix of ours of a beacon
whose true place is known and that some gateway heard in the seconds before; peers are told what
had come in when our fix was made. Questions are worked on in blocks, so that a long recording
costs by fixes and not by ticks, and its readings need not be held at once.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.baselines import (
    Answers,
    Heard,
    centroid,
    nearest_gateway,
    plan_of,
    range_least_squares,
)
from stream.fingerprints import Fingerprints, nearest_fingerprints
from stream.fixes import TickFixes
from stream.recent import Questions, Recent
from stream.site import KINDS, Site
from stream.true_places import TruePlaces
from stream.truth import Truth

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

OURS: Final = "balise"
NEAREST: Final = "nearest gateway"
CENTROID: Final = "weighted centroid"
RANGES: Final = "range least squares"
PRINTS: Final = "kNN fingerprints"

# A block is worked on when it has so many fixes, or cells of fixes times gateways, or readings.
BLOCK_FIXES: Final = 16_384
BLOCK_CELLS: Final = 4_000_000
BLOCK_READINGS: Final = 1_000_000


class Compared(NamedTuple):
    """Questions and how far off each method answered, as columns over questions.

    Attributes:
        t: Unix seconds.
        trackable: rows.
        kind: rows in KINDS.
        beacon: rows of the truth.
        xy: true places, (questions, 2), metres.
        floor: true floor rows.
        radius: the accuracy radius that we stated, metres.
        errors: horizontal, (methods, questions), metres; ours first.
        right: whether the floor was right, (methods, questions).
    """

    t: Floats
    trackable: Ints
    kind: Ints
    beacon: Ints
    xy: Floats
    floor: Ints
    radius: Floats
    errors: Floats
    right: Bools

    def only(self, kept: Bools) -> Compared:
        """Some of the questions."""
        rows = np.flatnonzero(kept)
        return Compared(
            self.t[rows],
            self.trackable[rows],
            self.kind[rows],
            self.beacon[rows],
            self.xy[rows],
            self.floor[rows],
            self.radius[rows],
            self.errors[:, rows],
            self.right[:, rows],
        )


class Peers:
    """Collects fixes and asks the peers.

    Args:
        site: the document.
        truth: beacons that it does not have are left out.
        prints: fingerprints of a survey, for the method that needs them.

    Attributes:
        recent: what peers are told; the batches must pass through its `watch`.
        methods: their names, ours first.
        unheard: fixes of known places left out because no gateway had heard the beacon lately.
    """

    def __init__(self, site: Site, truth: Truth, prints: Fingerprints | None = None) -> None:
        self._places: Final = TruePlaces(truth)
        self.recent: Final = Recent(site, self._places.beacons)
        self._plan: Final = plan_of(site)
        self._prints: Final = prints
        self.methods: Final = [OURS, NEAREST, CENTROID, RANGES] + [PRINTS] * (prints is not None)
        row = {beacon: i for i, beacon in enumerate(self._places.beacons)}
        counts = [len(part.beacons) for part in site.trackables]
        # The row of a trackable's first beacon in the column of all beacons.
        self._begin: Final = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._row: Final = np.array(
            [row.get(beacon, -1) for part in site.trackables for beacon in part.beacons], np.int64
        )
        self._kind: Final = np.array([KINDS.index(p.kind) for p in site.trackables], np.int64)
        self._most: Final = max(1, min(BLOCK_FIXES, BLOCK_CELLS // max(len(site.gateways), 1)))
        self._waiting: list[tuple[TickFixes, int]] = []
        self._waits = 0
        self._blocks: list[Compared] = []
        self.unheard = 0

    def add(self, tick: TickFixes) -> None:
        """Takes the next tick's fixes; peers know what has passed through `recent` by now."""
        self._waiting.append((tick, self.recent.fed))
        self._waits += len(tick.fixes)
        if self._waits >= self._most or self.recent.held >= BLOCK_READINGS:
            self._ask()
            self.recent.forget(tick.t)

    def compared(self) -> Compared:
        """All questions so far, in order of time."""
        self._ask()
        if not self._blocks:
            none, rows = np.zeros(0), np.zeros(0, np.int64)
            wide = np.zeros((len(self.methods), 0))
            two = np.zeros((0, 2))
            return Compared(none, rows, rows, rows, two, rows, none, wide, wide > 0.0)
        columns = list(zip(*self._blocks, strict=True))
        whole = [np.concatenate(column) for column in columns[:7]]
        wide_ones = [np.concatenate(column, axis=1) for column in columns[7:]]
        return Compared(*whole, *wide_ones)

    def _ask(self) -> None:
        if not self._waiting:
            return
        fixes = np.concatenate([tick.fixes for tick, _ in self._waiting])
        counts = [len(tick.fixes) for tick, _ in self._waiting]
        t = np.repeat([tick.t for tick, _ in self._waiting], counts)
        fed = np.repeat([fed for _, fed in self._waiting], counts)
        self._waiting, self._waits = [], 0

        trackable = fixes["trackable"].astype(np.int64)
        beacon = self._row[self._begin[trackable] + fixes["beacon"]]
        kept = np.flatnonzero(beacon >= 0)
        known = self._places.at(beacon[kept], t[kept])
        kept = kept[known.known]
        heard = self.recent.heard(Questions(beacon[kept], t[kept], fed[kept]))
        some = heard.filled.any(axis=1)
        self.unheard += int((~some).sum())
        heard = Heard(heard.gateway[some], heard.rssi[some])
        xy, floor = known.xy[known.known][some], known.floor[known.known][some]
        kept = kept[some]
        if not len(kept):
            return
        fixes, trackable = fixes[kept], trackable[kept]
        ours = Answers(
            np.stack([fixes["x"], fixes["y"]], axis=1).astype(np.float64),
            fixes["floor"].astype(np.int64),
        )
        answers = [ours, *self._answers(heard)]
        self._blocks.append(
            Compared(
                t[kept],
                trackable,
                self._kind[trackable],
                beacon[kept],
                xy,
                floor,
                fixes["accuracy"].astype(np.float64),
                np.stack([np.hypot(*(answer.xy - xy).T) for answer in answers]),
                np.stack([answer.floor == floor for answer in answers]),
            )
        )

    def _answers(self, heard: Heard) -> list[Answers]:
        """What each peer answers, in the order of `methods`."""
        answers = [
            nearest_gateway(self._plan, heard),
            centroid(self._plan, heard),
            range_least_squares(self._plan, heard),
        ]
        if self._prints is not None:
            answers.append(nearest_fingerprints(self._prints, heard))
        return answers
