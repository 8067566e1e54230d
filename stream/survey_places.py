"""What a survey heard where: readings met with the truth, summed up by beacon, place and gateway.

The rule: after this module there are no readings any more, so that what follows costs by places
and not by hours. It knows nothing of path loss.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from gateway.errors import UserError
from gateway.readings import Batch, canonical_beacon
from stream.site import Site
from stream.truth import NEAR_S, Path2D, Truth

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# No receiver hears less, no tag is louder: values beyond are corrupt.
RSSI_GATE: Final = (-115.0, -10.0)
# Readings nearer to each other than this are of one place; coarser where there are too many.
PLACE_M: Final = 0.5
MOST_PLACES: Final = 5_000
# A reading over a longer way than this is of no place.
MOST_WAY_M: Final = 3.0
# Fading does not reach farther from a place's median; what does is an error or a passing body.
FADE_MOST_DB: Final = 12.0
# A gateway that sent nothing for so long around a visit may have been off.
LISTENING_S: Final = 300.0
# Beyond this no tag is expected to be heard, and not hearing it says nothing.
HEARING_M: Final = 60.0
# Fading of one window's mean where readings do not show it, and what is credible.
FADE_DB: Final = 4.0
FADE_RANGE_DB: Final = (1.0, 8.0)
# The weakest that receivers hear lies about here; a survey close to its gateways never sees it.
LIMIT_DBM: Final = -95.0
LIMIT_RANGE_DBM: Final = (-100.0, -88.0)


class SurveyError(UserError, ValueError):
    """A survey that says nothing about the site: the sentence says what did not match."""


class Places(NamedTuple):
    """Where the survey was; columns of one length, and `inside` as the radio model's cells have it.

    Attributes:
        x, y: metres.
        floor: floor rows.
        inside: all true.
    """

    x: Floats
    y: Floats
    floor: Ints
    inside: Bools


class Visits(NamedTuple):
    """What gateways heard, or failed to hear, of one beacon at one place each.

    Attributes:
        places: where.
        place: rows of `places`, shape (n,).
        beacon: beacon rows, shape (n,).
        gateway: gateway rows, shape (n,).
        level: mean RSSI in dBm, NaN where it was not heard, shape (n,).
        windows: readings behind it, 0 where it was not heard, shape (n,).
        adverts: adverts behind it, shape (n,).
        expected: adverts that the gateway which heard most had, shape (n,).
        beacons: how many beacons there are.
        fade_db: standard deviation of a reading around its place's mean.
        limit_dbm: what is about the weakest that is heard.
        t: time of the last reading used, Unix seconds.
        readings: how many were used.
    """

    places: Places
    place: Ints
    beacon: Ints
    gateway: Ints
    level: Floats
    windows: Floats
    adverts: Floats
    expected: Floats
    beacons: int
    fade_db: float
    limit_dbm: float
    t: float
    readings: int

    def at(self, places: Bools) -> Visits:
        """Those at some of the places; the places keep their rows."""
        return self.only(places[self.place])

    def only(self, chosen: Bools) -> Visits:
        """Some of them; the places keep their rows."""
        columns = ("place", "beacon", "gateway", "level", "windows", "adverts", "expected")
        return self._replace(**{name: getattr(self, name)[chosen] for name in columns})


class _Heard(NamedTuple):
    """Usable readings as columns, and the times of all batches by gateway row."""

    beacon: Ints
    gateway: Ints
    t: Floats
    window: Floats
    rssi: Floats
    n: Floats
    sent: list[Floats]


def gather(site: Site, batches: Iterable[Batch], truth: Truth) -> Visits:
    """Sums a survey up.

    Raises:
        SurveyError: when no reading has a known gateway, beacon and place.
    """
    names = sorted({canonical_beacon(beacon) for beacon in truth})
    row = {name: i for i, name in enumerate(names)}
    paths = {row[canonical_beacon(beacon)]: path for beacon, path in truth.items()}
    heard, refused = _read(site, batches, row)
    known, x, y, floor = _placed(heard, paths)
    if not known.any():
        raise SurveyError(_nothing(site, refused, len(known)))
    heard = _Heard(
        heard.beacon[known],
        heard.gateway[known],
        heard.t[known],
        heard.window[known],
        heard.rssi[known],
        heard.n[known],
        heard.sent,
    )
    return _summed(site, heard, x[known], y[known], floor[known])


def _read(site: Site, batches: Iterable[Batch], row: dict[str, int]) -> tuple[_Heard, list[int]]:
    """The readings that can be used, and how many had a foreign gateway, beacon, or RSSI."""
    gateway_row = {part.id: i for i, part in enumerate(site.gateways)}
    sent = [array("d") for _ in site.gateways]
    rows, gateways = array("q"), array("q")
    t, window, rssi, n = array("d"), array("d"), array("d"), array("d")
    refused = [0, 0, 0]
    for batch in batches:
        gateway = gateway_row.get(batch.gateway)
        if gateway is None:
            refused[0] += len(batch)
            continue
        sent[gateway].append(batch.t)
        for beacon, level, count in zip(batch.beacons, batch.rssi, batch.n, strict=True):
            found = row.get(beacon)
            if found is None:
                refused[1] += 1
            elif not RSSI_GATE[0] <= level <= RSSI_GATE[1]:
                refused[2] += 1
            else:
                rows.append(found)
                gateways.append(gateway)
                t.append(batch.t)
                window.append(batch.window)
                rssi.append(level)
                n.append(max(count, 1))
    heard = _Heard(
        np.array(rows, np.int64),
        np.array(gateways, np.int64),
        np.array(t),
        np.array(window),
        np.array(rssi),
        np.array(n),
        [np.sort(np.array(times)) for times in sent],
    )
    return heard, refused


def _placed(heard: _Heard, paths: dict[int, Path2D]) -> tuple[Bools, Floats, Floats, Ints]:
    """Where the beacon was in the middle of each reading's window, and whether that is known."""
    count = len(heard.t)
    known = np.zeros(count, np.bool_)
    x, y, floor = np.zeros(count), np.zeros(count), np.zeros(count, np.int64)
    order = np.argsort(heard.beacon, kind="stable")
    ends = np.searchsorted(heard.beacon[order], np.arange(max(paths, default=0) + 2))
    for beacon, path in paths.items():
        mine = order[ends[beacon] : ends[beacon + 1]]
        if len(mine) and len(path.t):
            end, window = heard.t[mine], heard.window[mine]
            middle = end - window / 2
            after = np.clip(np.searchsorted(path.t, middle), 1, max(len(path.t) - 1, 1))
            first, last = after - 1, np.minimum(after, len(path.t) - 1)
            # As `Path2D.at` decides, for many moments at once.
            nearer = np.abs(path.t[first] - middle) <= np.abs(path.t[last] - middle)
            nearest = np.where(nearer, first, last)
            way = np.hypot(
                np.interp(end, path.t, path.x) - np.interp(end - window, path.t, path.x),
                np.interp(end, path.t, path.y) - np.interp(end - window, path.t, path.y),
            )
            known[mine] = (np.abs(path.t[nearest] - middle) <= NEAR_S) & (way <= MOST_WAY_M)
            x[mine] = np.interp(middle, path.t, path.x)
            y[mine] = np.interp(middle, path.t, path.y)
            floor[mine] = path.floor[nearest]
    return known, x, y, floor


def _nothing(site: Site, refused: list[int], unplaced: int) -> str:
    gateways, beacons, corrupt = refused
    if not sum(refused) + unplaced:
        return f"the recording has no readings of site `{site.id}`; give the survey's own recording"
    return (
        f"the recording and the truth have nothing in common: {gateways} readings are of gateways "
        f"that site `{site.id}` does not have, {beacons} of beacons without truth, {corrupt} have "
        f"an impossible RSSI, and {unplaced} were heard over {NEAR_S:g} s from any row of the "
        "truth; check that both files are of the same survey and clock"
    )


def _summed(site: Site, heard: _Heard, x: Floats, y: Floats, floor: Ints) -> Visits:
    place = _cells(x, y, floor)
    count = int(place.max()) + 1
    per_place = np.bincount(place, minlength=count)
    floors = np.zeros(count, np.int64)
    floors[place] = floor
    places = Places(
        np.bincount(place, x, count) / per_place,
        np.bincount(place, y, count) / per_place,
        floors,
        np.ones(count, np.bool_),
    )
    beacons = int(heard.beacon.max()) + 1
    gateways = len(site.gateways)
    stay_key, stay = np.unique(place * beacons + heard.beacon, return_inverse=True)
    key, group = np.unique(stay * gateways + heard.gateway, return_inverse=True)
    # Corrupt values within the gate do not move a median; the mean of what is near it is exact.
    order = np.lexsort((heard.rssi, group))
    starts = np.searchsorted(group[order], np.arange(len(key) + 1))
    middle = heard.rssi[order[(starts[:-1] + starts[1:] - 1) // 2]][group]
    rssi = np.clip(heard.rssi, middle - FADE_MOST_DB, middle + FADE_MOST_DB)
    adverts = np.bincount(group, heard.n)
    level = np.bincount(group, heard.n * rssi) / adverts
    windows = np.bincount(group).astype(np.float64)
    of_stay, of_gateway = key // gateways, key % gateways
    expected = np.zeros(len(stay_key))
    np.maximum.at(expected, of_stay, adverts)
    silent_stay, silent_gateway = _silent(site, heard, places, stay_key // beacons, stay, key)
    none = np.zeros(len(silent_stay))
    of_stay = np.concatenate([of_stay, silent_stay])
    return Visits(
        places,
        stay_key[of_stay] // beacons,
        stay_key[of_stay] % beacons,
        np.concatenate([of_gateway, silent_gateway]),
        np.concatenate([level, none + np.nan]),
        np.concatenate([windows, none]),
        np.concatenate([adverts, none]),
        expected[of_stay],
        beacons,
        _fading(rssi - level[group], windows[group], level[group]),
        _limit(heard.rssi),
        float(heard.t.max()),
        len(heard.t),
    )


def _cells(x: Floats, y: Floats, floor: Ints) -> Ints:
    """Place rows, by floor and then position; coarser cells until they are few enough."""
    side = PLACE_M
    while True:
        keys = np.stack([floor, np.round(x / side), np.round(y / side)])
        _, place = np.unique(keys, axis=1, return_inverse=True)
        if place.max() < MOST_PLACES:
            return place.ravel().astype(np.int64)
        side *= 1.5


def _silent(
    site: Site, heard: _Heard, places: Places, stay_place: Ints, stay: Ints, key: Ints
) -> tuple[Ints, Ints]:
    """Stays and gateways of a floor, in reach, that listened then and heard nothing."""
    first, last = np.full(len(stay_place), np.inf), np.full(len(stay_place), -np.inf)
    np.minimum.at(first, stay, heard.t)
    np.maximum.at(last, stay, heard.t)
    floor_row = {floor.id: row for row, floor in enumerate(site.floors)}
    stays, gateways = [], []
    for row, part in enumerate(site.gateways):
        away = np.hypot(places.x - part.position[0], places.y - part.position[1])[stay_place]
        sent = heard.sent[row]
        listened = np.searchsorted(sent, last + LISTENING_S, "right") > np.searchsorted(
            sent, first - LISTENING_S
        )
        missed = ~np.isin(np.arange(len(stay_place)) * len(site.gateways) + row, key)
        same = places.floor[stay_place] == floor_row[part.floor]
        found = np.flatnonzero(listened & missed & same & (away <= HEARING_M))
        stays.append(found)
        gateways.append(np.full(len(found), row, np.int64))
    return np.concatenate(stays), np.concatenate(gateways)


def _fading(off: Floats, windows: Floats, level: Floats) -> float:
    """Standard deviation of a reading around its place's mean, where it is not cut off."""
    sure = (windows >= 4) & (level > LIMIT_DBM + 10.0)
    if sure.sum() < 20:
        return FADE_DB
    spread = float(np.sqrt(np.mean(off[sure] ** 2 * windows[sure] / (windows[sure] - 1))))
    return min(max(spread, FADE_RANGE_DB[0]), FADE_RANGE_DB[1])


def _limit(rssi: Floats) -> float:
    """The level below which next to nothing is heard, dBm."""
    weak = float(np.quantile(rssi, 0.01)) if len(rssi) >= 100 else LIMIT_DBM
    return min(max(weak, LIMIT_RANGE_DBM[0]), LIMIT_RANGE_DBM[1])
