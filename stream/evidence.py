"""Evidence: what each beacon's readings of the last seconds say, per gateway, fading with age.

A bounded table: for each beacon the gateways that told most, each with a faded count of adverts
and their mean RSSI. One vectorised update per tick, whatever the number of beacons.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Gateways kept per beacon. Fewer cost accuracy where gateways are dense: the weak ones tell where
# the beacon is not.
SLOTS: Final = 20
# A faded count below this (an advert four time constants ago) is forgotten.
LEAST_COUNT: Final = 0.02
# RSSI outside is a broken receiver or a corrupt message, not a distance: no BLE receiver hears
# below about -110 dBm, and -10 dBm needs an antenna that touches the other.
RSSI_RANGE: Final = (-115.0, -10.0)

EMPTY: Final = -1
SLOT: Final = np.dtype([("gateway", "<i2"), ("n", "<f4"), ("rssi", "<f4"), ("drift", "<f4")])


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


class Pairs(NamedTuple):
    """A tick's readings summed up: one entry per beacon and gateway, by beacon, then gateway.

    Attributes:
        rows: the beacons touched, ascending.
        at: each entry's place in `rows`.
        gateway, rssi, n: as in Readings.
        age: by beacon, in order of `rows`, weighted by adverts.
    """

    rows: Ints
    at: Ints
    gateway: Ints
    rssi: Floats
    n: Floats
    age: Floats

    def table(self) -> tuple[Ints, Floats, Floats]:
        """Gateway (EMPTY where none), rssi and n as (rows, at most SLOTS), loudest first."""
        order = np.lexsort((self.gateway, -self.rssi, self.at))
        turn = turns(self.at[order])
        order, turn = order[turn < SLOTS], turn[turn < SLOTS]
        shape = (len(self.rows), int(turn.max(initial=0)) + 1)
        gateway = np.full(shape, EMPTY, np.int64)
        rssi, n = np.zeros(shape), np.zeros(shape)
        into = (self.at[order], turn)
        gateway[into], rssi[into], n[into] = self.gateway[order], self.rssi[order], self.n[order]
        return gateway, rssi, n


class Found(NamedTuple):
    """What a table knew of a tick's entries; all of shape (entries,).

    Attributes:
        known: whether it knew the gateway.
        slot: where.
        n: adverts; rssi: their mean, dBm; drift: faded mean of the readings' distance from it, dB.
    """

    known: Bools
    slot: Ints
    n: Floats
    rssi: Floats
    drift: Floats


class Evidence:
    """The table.

    Args:
        slots: structured array of SLOT, shape (beacons, SLOTS).
        t: tick end of each beacon's last update, Unix seconds, 0 when never; shape (beacons,).
    """

    def __init__(self, slots: npt.NDArray[np.void], t: Floats) -> None:
        self.slots = slots
        self.t = t

    @classmethod
    def empty(cls, count: int) -> Evidence:
        """A table that has heard nothing."""
        slots = np.zeros((count, SLOTS), SLOT)
        slots["gateway"] = EMPTY
        return cls(slots, np.zeros(count))

    def find(self, pairs: Pairs) -> Found:
        """What was known before of each entry of a tick."""
        row = pairs.rows[pairs.at]
        same = self.slots["gateway"][row] == pairs.gateway[:, None]
        slot = same.argmax(axis=1)
        of = self.slots[row, slot]
        known: Bools = same[np.arange(len(slot)), slot]
        return Found(
            known,
            slot,
            *(of[name].astype(np.float64) for name in ("n", "rssi", "drift")),
        )

    def set_drift(self, pairs: Pairs, found: Found, drift: Floats) -> None:
        """Stores the drift of the entries that were known before, dB."""
        at = found.known
        self.slots["drift"][pairs.rows[pairs.at[at]], found.slot[at]] = drift[at]

    def forget(self, rows: Ints) -> None:
        """Drops what is known of some beacons."""
        self.slots["gateway"][rows] = EMPTY
        self.slots["n"][rows] = 0.0

    def update(self, pairs: Pairs, t: float, fade: Floats) -> None:
        """Takes a tick's readings.

        Args:
            pairs: the tick's readings summed up.
            t: tick end, Unix seconds.
            fade: time constants of the fading in seconds, in order of `pairs.rows`.
        """
        rows, at = pairs.rows, pairs.at
        # Copies: the touched rows are worked on together and written back once.
        slots = self.slots[rows]
        gateway, n = slots["gateway"].astype(np.int64), slots["n"].astype(np.float64)
        rssi = slots["rssi"].astype(np.float64)
        passed = np.where(self.t[rows] > 0.0, np.maximum(t - self.t[rows], 0.0), 0.0)
        n *= np.exp(-passed / fade)[:, None]
        gone = n < LEAST_COUNT
        gateway[gone] = EMPTY
        n[gone] = 0.0

        same = gateway[at] == pairs.gateway[:, None]
        known = same.any(axis=1)
        into = at[known], same[known].argmax(axis=1)
        total = n[into] + pairs.n[known]
        rssi[into] += pairs.n[known] / total * (pairs.rssi[known] - rssi[into])
        n[into] = total

        fresh = np.flatnonzero(~known)
        # Strongest first within each beacon, so that the bound keeps those that tell most.
        fresh = fresh[np.lexsort((pairs.gateway[fresh], -pairs.rssi[fresh], at[fresh]))]
        turn = turns(at[fresh])
        for k in range(int(turn.max(initial=-1)) + 1):
            new = fresh[turn == k]
            row = at[new]
            standing = np.where(gateway[row] == EMPTY, -np.inf, rssi[row])
            slot = standing.argmin(axis=1)
            wins = pairs.rssi[new] > standing[np.arange(len(row)), slot]
            new, place = new[wins], (row[wins], slot[wins])
            gateway[place], n[place], rssi[place] = (
                pairs.gateway[new],
                pairs.n[new],
                pairs.rssi[new],
            )

        slots["drift"][gateway != slots["gateway"]] = 0.0
        slots["gateway"], slots["n"], slots["rssi"] = gateway, n, rssi
        self.slots[rows] = slots
        self.t[rows] = t


def summed(readings: Readings) -> Pairs:
    """One entry per beacon and gateway; the same whatever order the readings came in."""
    span = int(readings.gateway.max(initial=0)) + 1
    pair = readings.beacon * span + readings.gateway
    order = np.argsort(pair, kind="stable")
    differs = np.diff(pair[order]) != 0
    if not differs.all():
        # Sums of floats must come out the same whatever order the readings came in.
        order = np.lexsort((readings.n, readings.age, readings.rssi, pair))
    pair = pair[order]
    starts = np.flatnonzero(np.concatenate(([True], differs)))
    beacon, gateway = pair[starts] // span, pair[starts] % span
    weight = readings.n[order]
    n = np.add.reduceat(weight, starts)
    rssi = np.add.reduceat(weight * readings.rssi[order], starts) / n
    age = np.add.reduceat(weight * readings.age[order], starts)
    first = np.flatnonzero(np.concatenate(([True], np.diff(beacon) != 0)))
    return Pairs(
        beacon[first],
        np.cumsum(np.concatenate(([False], np.diff(beacon) != 0))),
        gateway,
        rssi,
        n,
        np.add.reduceat(age, first) / np.add.reduceat(n, first),
    )


def turns(row: Ints) -> Ints:
    """For a sorted column, each entry's number within its run of equal values, from 0."""
    if not len(row):
        return row
    starts = np.flatnonzero(np.concatenate(([True], np.diff(row) != 0)))
    return np.arange(len(row)) - np.repeat(starts, np.diff(np.append(starts, len(row))))
