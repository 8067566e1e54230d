"""A tick's batches as columns: sane readings of trackables, of gateways' own beacons, the rest.

Pure functions over values. Rows stand for beacons: from 0 on those of trackables, STRANGER for one
that nobody knows, and OF_GATEWAY minus its row for one that a gateway advertises itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from gateway.readings import Batch
from stream.evidence import RSSI_RANGE, Readings
from stream.layout import Layout

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

STRANGER: Final = -1
OF_GATEWAY: Final = -2
# An advert of a window of w seconds was heard w / 2 before its end on average.
_HALF: Final = 0.5


class Sorted(NamedTuple):
    """A tick's readings.

    Attributes:
        readings: of trackables' beacons.
        own: of gateways' beacons; `beacon` is the row of the gateway that advertised.
        strangers: batches and places in them.
        out_of_range: how many readings had an impossible RSSI.
    """

    readings: Readings
    own: Readings
    strangers: list[tuple[Batch, int]]
    out_of_range: int


def beacon_rows(layout: Layout) -> dict[str, int]:
    """The row of every beacon that the site knows. A trackable's claim goes before a gateway's."""
    rows = {
        part.beacon: OF_GATEWAY - row
        for row, part in enumerate(layout.site.gateways)
        if part.beacon
    }
    return rows | layout.beacon_row


def rows_of(batch: Batch, known: Mapping[str, int]) -> Ints:
    """The rows of a batch's beacons by `beacon_rows`."""
    return np.array([known.get(beacon, STRANGER) for beacon in batch.beacons], np.int64)


def sort_readings(
    batches: Iterable[tuple[Batch, Ints]], gateway_row: Mapping[str, int], t: float
) -> Sorted:
    """Sorts the batches of the tick that ends at t.

    Args:
        batches: in order, with the rows of their beacons; of gateways that the site has.
        gateway_row: the gateways' rows.
        t: Unix seconds.
    """
    rows, gateway = ([np.zeros(0, np.int64)] for _ in range(2))
    rssi, n, age = ([np.zeros(0)] for _ in range(3))
    strangers: list[tuple[Batch, int]] = []
    out_of_range = 0
    for batch, row in batches:
        if not len(batch):
            continue
        level = np.frombuffer(batch.rssi, np.float32).astype(np.float64)
        sane = (level >= RSSI_RANGE[0]) & (level <= RSSI_RANGE[1])
        out_of_range += int((~sane).sum())
        strangers += [(batch, int(i)) for i in np.flatnonzero(sane & (row == STRANGER))]
        sane &= row != STRANGER
        here = int(sane.sum())
        rows.append(row[sane])
        rssi.append(level[sane])
        n.append(np.frombuffer(batch.n, np.uint16)[sane].astype(np.float64))
        gateway.append(np.full(here, gateway_row[batch.gateway], np.int64))
        age.append(np.full(here, max(0.0, t - batch.t + _HALF * batch.window)))
    heard = Readings(
        np.concatenate(rows),
        np.concatenate(gateway),
        np.concatenate(rssi),
        np.maximum(np.concatenate(n), 1.0),
        np.concatenate(age),
    )
    own = heard.beacon <= OF_GATEWAY
    advertised = _picked(heard, own)
    return Sorted(
        _picked(heard, ~own),
        advertised._replace(beacon=OF_GATEWAY - advertised.beacon),
        strangers,
        out_of_range,
    )


def _picked(heard: Readings, which: Bools) -> Readings:
    return Readings(
        heard.beacon[which],
        heard.gateway[which],
        heard.rssi[which],
        heard.n[which],
        heard.age[which],
    )
