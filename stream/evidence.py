"""Evidence: what each beacon's readings of the last seconds say, per gateway, fading with age.

A bounded table: for each beacon the gateways that told most, each with a faded count of adverts,
their mean RSSI and their mean age. One vectorised update per tick, whatever the number of beacons.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

# Gateways kept per beacon. Beyond a dozen the weakest add noise and no geometry.
SLOTS: Final = 12
# A faded count below this (an advert four time constants ago) is forgotten.
LEAST_COUNT: Final = 0.02
# RSSI outside is a broken receiver or a corrupt message, not a distance: no BLE receiver hears
# below about -110 dBm, and -10 dBm needs an antenna that touches the other.
RSSI_RANGE: Final = (-115.0, -10.0)

EMPTY: Final = -1
SLOT: Final = np.dtype([("gateway", "<i2"), ("n", "<f4"), ("rssi", "<f4"), ("age", "<f4")])


class Readings(NamedTuple):
    """A tick's readings as columns of one length, of known beacons and gateways.

    Attributes:
        beacon: rows of the evidence table.
        gateway: rows of the site's gateways.
        rssi: dBm.
        n: adverts.
        age: seconds from the middle of the reading's window to the tick's end.
    """

    beacon: Ints
    gateway: Ints
    rssi: Floats
    n: Floats
    age: Floats


class Evidence:
    """The table.

    Args:
        slots: structured array of SLOT, shape (beacons, SLOTS).
        t: tick end of each beacon's last update, Unix seconds, 0 when never; shape (beacons,).
        fade: time constant of each beacon in seconds; shape (beacons,).
    """

    def __init__(self, slots: npt.NDArray[np.void], t: Floats, fade: Floats) -> None:
        self.slots = slots
        self.t = t
        self.fade = fade

    @classmethod
    def empty(cls, fade: Floats) -> Evidence:
        """A table that has heard nothing."""
        slots = np.zeros((len(fade), SLOTS), SLOT)
        slots["gateway"] = EMPTY
        return cls(slots, np.zeros(len(fade)), fade)

    def update(self, readings: Readings, t: float) -> Ints:
        """Takes a tick's readings; gives the rows they touched, ascending.

        Readings of one beacon and gateway are summed up first, so their order does not matter.
        """
        rows, pair_row, gateway, n, rssi, age = _summed(readings)
        # Copies: the touched rows are worked on together and written back once.
        slots = self.slots[rows]
        s_gateway, s_n = slots["gateway"].astype(np.int64), slots["n"].astype(np.float64)
        s_rssi, s_age = slots["rssi"].astype(np.float64), slots["age"].astype(np.float64)

        fade = self.fade[rows]
        passed = np.where(self.t[rows] > 0.0, np.maximum(t - self.t[rows], 0.0), 0.0)
        s_n *= np.exp(-passed / fade)[:, None]
        s_age += passed[:, None]
        gone = s_n < LEAST_COUNT
        s_gateway[gone] = EMPTY
        s_n[gone] = 0.0

        n = n * np.exp(-age / fade[pair_row])
        same = s_gateway[pair_row] == gateway[:, None]
        known = same.any(axis=1)
        at = pair_row[known], same[known].argmax(axis=1)
        total = s_n[at] + n[known]
        share = n[known] / total
        s_rssi[at] += share * (rssi[known] - s_rssi[at])
        s_age[at] += share * (age[known] - s_age[at])
        s_n[at] = total

        fresh = np.flatnonzero(~known)
        # Strongest first within each beacon, so that the bound keeps those that tell most.
        fresh = fresh[np.lexsort((gateway[fresh], -rssi[fresh], pair_row[fresh]))]
        turn = _turns(pair_row[fresh])
        for k in range(int(turn.max(initial=-1)) + 1):
            new = fresh[turn == k]
            row = pair_row[new]
            standing = np.where(s_gateway[row] == EMPTY, -np.inf, s_rssi[row])
            slot = standing.argmin(axis=1)
            wins = rssi[new] > standing[np.arange(len(row)), slot]
            new, into = new[wins], (row[wins], slot[wins])
            s_gateway[into], s_n[into] = gateway[new], n[new]
            s_rssi[into], s_age[into] = rssi[new], age[new]

        slots["gateway"], slots["n"], slots["rssi"], slots["age"] = s_gateway, s_n, s_rssi, s_age
        self.slots[rows] = slots
        self.t[rows] = t
        return rows


def _summed(readings: Readings) -> tuple[Ints, Ints, Ints, Floats, Floats, Floats]:
    """One entry per (beacon, gateway): touched rows, each entry's place in them, and its sums."""
    span = int(readings.gateway.max(initial=0)) + 1
    pair = readings.beacon * span + readings.gateway
    order = np.argsort(pair, kind="stable")
    differs = np.diff(pair[order]) != 0
    if not differs.all():
        # Sums of floats must come out the same whatever order the readings came in.
        order = np.lexsort((readings.age, readings.rssi, pair))
    pair = pair[order]
    starts = np.flatnonzero(np.concatenate(([True], differs)))
    beacon, gateway = pair[starts] // span, pair[starts] % span
    weight = readings.n[order]
    n = np.add.reduceat(weight, starts)
    rssi = np.add.reduceat(weight * readings.rssi[order], starts) / n
    age = np.add.reduceat(weight * readings.age[order], starts) / n
    first = np.concatenate(([True], np.diff(beacon) != 0))
    return beacon[first], np.cumsum(first) - 1, gateway, n, rssi, age


def _turns(row: Ints) -> Ints:
    """For a sorted column, each entry's number within its run of equal values, from 0."""
    if not len(row):
        return row
    starts = np.flatnonzero(np.concatenate(([True], np.diff(row) != 0)))
    return np.arange(len(row)) - np.repeat(starts, np.diff(np.append(starts, len(row))))
