"""Nearest fingerprints: places of a survey where it sounded most like this, as RADAR does it.

Bahl and Padmanabhan, RADAR (INFOCOM 2000), with the k nearest weighted by how near they sound.
A fingerprint is what each gateway heard of one beacon at one place, averaged over all the windows
of a few seconds that it was there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from gateway.errors import UserError
from gateway.readings import Batch
from stream.baselines import Answers, Heard
from stream.recent import WINDOW_S, Questions, Recent
from stream.site import Site
from stream.true_places import TruePlaces
from stream.truth import Truth

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NEIGHBOURS: Final = 5
# What stands for a gateway that did not hear the beacon: just below what any hears.
UNHEARD_DBM: Final = -100.0
# One that sounds exactly the same outweighs all others.
SAME_DB: Final = 1e-6
# A window in which the tag went farther (a fast walk) or was carried elsewhere is of no one place.
MOST_WAY_M: Final = 6.0
# Windows of a beacon at places nearer to each other than this make one fingerprint.
PLACE_M: Final = 0.5
# A window ends this long before the next one's first reading, so that neither has the other's.
JUST_S: Final = 0.01
# Distances worked on at a time.
BLOCK: Final = 4_000_000


class SurveyError(UserError, ValueError):
    """A survey without a single fingerprint: the sentence says what did not match."""


class Fingerprints(NamedTuple):
    """A survey's fingerprints.

    Attributes:
        rssi: mean RSSI of each gateway in dBm, UNHEARD_DBM for silence; (fingerprints, gateways).
        xy: places in metres, (fingerprints, 2).
        floor: floor rows, (fingerprints,).
    """

    rssi: Floats
    xy: Floats
    floor: Ints


def fingerprints(site: Site, batches: Iterable[Batch], truth: Truth) -> Fingerprints:
    """One fingerprint for every beacon and place that it was heard at for a window.

    Raises:
        SurveyError: when there is none.
    """
    places = TruePlaces(truth)
    recent = Recent(site, places.beacons)
    for _ in recent.watch(batches):
        pass
    columns = recent.columns()
    asked = _windows(columns.beacon, columns.t, recent.fed)
    middle = places.at(asked.beacon, asked.t - 0.5 * WINDOW_S)
    begin, end = places.at(asked.beacon, asked.t - WINDOW_S), places.at(asked.beacon, asked.t)
    way = np.hypot(*(end.xy - begin.xy).T)
    heard = recent.heard(asked)
    kept = middle.known & (way <= MOST_WAY_M) & heard.filled.any(axis=1)
    if not kept.any():
        raise SurveyError(
            "the survey gives no fingerprint: do beacons and times of its recording and its truth "
            "belong together?"
        )
    vectors = _vectors(Heard(heard.gateway[kept], heard.rssi[kept]), len(site.gateways))
    xy, floor = middle.xy[kept], middle.floor[kept]
    cell = np.column_stack([asked.beacon[kept], floor, np.rint(xy / PLACE_M)]).astype(np.int64)
    keys, place = np.unique(cell, axis=0, return_inverse=True)
    return Fingerprints(_means(vectors, place.ravel()), _means(xy, place.ravel()), keys[:, 1])


def nearest_fingerprints(prints: Fingerprints, heard: Heard) -> Answers:
    """The mean place of the NEIGHBOURS that sound most alike, weighted by 1 / distance in dB.

    The floor is that of the most alike, and only neighbours on it count.
    """
    asked, gateways = len(heard.gateway), prints.rssi.shape[1]
    count = min(NEIGHBOURS, len(prints.xy))
    # Single precision finds the neighbours; it is exact to 0.01 dB when silence is near 0.
    known = (prints.rssi - UNHEARD_DBM).astype(np.float32)
    square = (known**2).sum(axis=1)
    xy, floor = np.empty((asked, 2)), np.empty(asked, np.int64)
    step = max(1, BLOCK // max(len(known), gateways))
    for start in range(0, asked, step):
        rows = slice(start, start + step)
        vectors = _vectors(Heard(heard.gateway[rows], heard.rssi[rows]), gateways)
        apart = square - 2.0 * ((vectors - UNHEARD_DBM).astype(np.float32) @ known.T)
        each = np.arange(len(vectors))
        near = np.empty((len(vectors), count), np.int64)
        for k in range(count):
            near[:, k] = apart.argmin(axis=1)
            apart[each, near[:, k]] = np.inf
        away = np.sqrt(((prints.rssi[near] - vectors[:, None, :]) ** 2).sum(axis=2))
        floor[rows] = prints.floor[near[each, away.argmin(axis=1)]]
        weight = np.where(prints.floor[near] == floor[rows, None], 1.0 / (away + SAME_DB), 0.0)
        weight /= weight.sum(axis=1, keepdims=True)
        xy[rows] = np.einsum("bk,bkd->bd", weight, prints.xy[near])
    return Answers(xy, floor)


def _means(rows: Floats, group: Ints) -> Floats:
    """The mean row of each group; groups are numbered from 0 and none is empty."""
    sums = np.zeros((int(group.max()) + 1, rows.shape[1]))
    np.add.at(sums, group, rows)
    means: Floats = sums / np.bincount(group)[:, None]
    return means


def _vectors(heard: Heard, gateways: int) -> Floats:
    """What was heard, one column per gateway; (questions, gateways) dBm."""
    vectors = np.full((len(heard.gateway), gateways), UNHEARD_DBM)
    row, slot = np.nonzero(heard.filled)
    vectors[row, heard.gateway[row, slot]] = heard.rssi[row, slot]
    return vectors


def _windows(beacon: Ints, t: Floats, fed: int) -> Questions:
    """The ends of full windows of each visit; readings in order of beacon, then time.

    A visit is a stretch of a beacon's readings without a silence as long as a window. One that is
    shorter than a window is one fingerprint all the same.
    """
    if not len(t):
        return Questions(beacon, t, np.zeros(0, np.int64))
    begins = np.ones(len(t), np.bool_)
    begins[1:] = (np.diff(beacon) != 0) | (np.diff(t) > WINDOW_S)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(t)) - 1
    count = np.maximum(((t[last] - t[first]) / WINDOW_S).astype(np.int64), 1)
    visit = np.repeat(np.arange(len(first)), count)
    number = np.arange(len(visit)) - np.repeat(np.cumsum(count) - count, count)
    ends = t[first][visit] + (number + 1) * WINDOW_S - JUST_S
    return Questions(beacon[first][visit], ends, np.full(len(ends), fed))
