"""What was heard of beacons in the last seconds before given moments, for the peers' methods.

The rule: a question at a moment is answered from the readings that had come in by then, and from
no others. Everything is columns; a block of questions is answered at once.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from gateway.readings import Batch
from stream.baselines import NOBODY, Heard
from stream.seen import Seen
from stream.site import Site

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Over how long RSSI is averaged; the measured comparisons this project started from used 3-5 s.
WINDOW_S: Final = 4.0
# RSSI outside is a broken receiver or a corrupt message; peers are spared it as our locator is.
SANE_DBM: Final = (-115.0, -10.0)


class Questions(NamedTuple):
    """Moments at which to ask what was heard, as columns of one length.

    Attributes:
        beacon: rows.
        t: Unix seconds.
        fed: how many batches had come in by then.
    """

    beacon: Ints
    t: Floats
    fed: Ints


class Columns(NamedTuple):
    """Readings, as columns of one length.

    Attributes:
        beacon, gateway: rows.
        t: end of the reading's window, Unix seconds.
        rssi: dBm.
        n: adverts.
        fed: the number of the batch it came with, from 1.
    """

    beacon: Ints
    gateway: Ints
    t: Floats
    rssi: Floats
    n: Floats
    fed: Ints


# The kinds of the columns, as `array` names them.
_KINDS: Final = ("q", "q", "d", "d", "d", "q")


class Recent:
    """Remembers readings until they are too old to be asked for.

    Args:
        site: its gateways are known; batches of others are left alone, as in the engine.
        beacons: those that will be asked for; their rows are their places in this order.

    Attributes:
        fed: batches handed on so far.
    """

    def __init__(self, site: Site, beacons: Iterable[str]) -> None:
        self._gateway: Final = {part.id: row for row, part in enumerate(site.gateways)}
        self._beacon: Final = {beacon: row for row, beacon in enumerate(beacons)}
        self._seen: Final[dict[str, Seen]] = {}
        self._columns = [array(kind) for kind in _KINDS]
        self.fed = 0

    @property
    def held(self) -> int:
        """How many readings are remembered."""
        return len(self._columns[0])

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Hands the batches on, remembering what they say."""
        for batch in batches:
            self.fed += 1
            gateway = self._gateway.get(batch.gateway)
            if gateway is not None:
                seen = self._seen.setdefault(batch.gateway, Seen())
                if not seen.has(batch.boot, batch.seq):
                    seen.add(batch.boot, batch.seq)
                    self._take(batch, gateway)
            yield batch

    def _take(self, batch: Batch, gateway: int) -> None:
        row = self._beacon
        beacon = np.array([row.get(name, -1) for name in batch.beacons], np.int64)
        rssi = np.frombuffer(batch.rssi, np.float32)
        kept = (beacon >= 0) & (rssi >= SANE_DBM[0]) & (rssi <= SANE_DBM[1])
        count = int(kept.sum())
        if count:
            n = np.maximum(np.frombuffer(batch.n, np.uint16)[kept], 1)
            columns = (
                beacon[kept],
                np.full(count, gateway),
                np.full(count, batch.t),
                rssi[kept].astype(np.float64),
                n.astype(np.float64),
                np.full(count, self.fed),
            )
            for mine, column in zip(self._columns, columns, strict=True):
                mine.frombytes(column.tobytes())

    def columns(self) -> Columns:
        """All that is remembered, in order of beacon, then time."""
        # Copies: an array that is looked at cannot grow.
        columns = Columns(*(np.array(column) for column in self._columns))
        return _chosen(columns, np.lexsort((columns.t, columns.beacon)))

    def forget(self, t: float) -> None:
        """Drops what no question after `t` will ask for."""
        columns = self.columns()
        kept = _chosen(columns, np.flatnonzero(columns.t > t - WINDOW_S))
        self._columns = [
            array(kind, column.tobytes()) for kind, column in zip(_KINDS, kept, strict=True)
        ]

    def heard(self, questions: Questions) -> Heard:
        """What was heard in the WINDOW_S before each question; nobody at all is possible."""
        return recent_means(self.columns(), questions, len(self._gateway))


def recent_means(columns: Columns, questions: Questions, gateways: int) -> Heard:
    """Mean RSSI per gateway, weighted by adverts, over readings t - WINDOW_S < when <= t.

    Args:
        columns: readings in order of beacon, then time.
        questions: beacons and moments.
        gateways: how many the site has.
    """
    asked = len(questions.t)
    if not asked or not len(columns.t):
        return Heard(np.full((asked, 1), NOBODY), np.zeros((asked, 1)))
    # Beacon and time in one number, so that one search finds every question's stretch.
    begin = min(columns.t.min(), questions.t.min()) - 2 * WINDOW_S
    span = max(columns.t.max(), questions.t.max()) - begin + 2 * WINDOW_S
    key = columns.beacon * span + (columns.t - begin)
    first = np.searchsorted(
        key, questions.beacon * span + (questions.t - WINDOW_S - begin), "right"
    )
    last = np.searchsorted(key, questions.beacon * span + (questions.t - begin), "right")
    count = last - first
    question = np.repeat(np.arange(asked), count)
    entry = np.arange(len(question)) + np.repeat(first - (np.cumsum(count) - count), count)
    known = columns.fed[entry] <= questions.fed[question]
    question, entry = question[known], entry[known]
    at = question * gateways + columns.gateway[entry]
    n = np.bincount(at, columns.n[entry], asked * gateways)
    total = np.bincount(at, columns.n[entry] * columns.rssi[entry], asked * gateways)
    some = np.flatnonzero(n)
    question, gateway = some // gateways, some % gateways
    heard = np.bincount(question, minlength=asked)
    slot = np.arange(len(some)) - np.repeat(np.cumsum(heard) - heard, heard)
    shape = (asked, max(int(heard.max(initial=0)), 1))
    rows, rssi = np.full(shape, NOBODY), np.zeros(shape)
    rows[question, slot] = gateway
    rssi[question, slot] = total[some] / n[some]
    return Heard(rows, rssi)


def _chosen(columns: Columns, rows: Ints) -> Columns:
    beacon, gateway, t, rssi, n, fed = columns
    return Columns(beacon[rows], gateway[rows], t[rows], rssi[rows], n[rows], fed[rows])
