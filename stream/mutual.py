"""What gateways hear of each other: one faded mean, count and spread per hearer and advertiser.

Gateways with a `beacon` are tags whose places are known. This module keeps what their readings
come to, in event time and a fixed number of bytes per pair, and beside it a reference that is
learnt slowly: what the pair was like before. What can be told from it is in `stream.mutual_fit`
(offsets, exponents) and `stream.mutual_alarms` (which gateway is not as it should be).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.site import Site

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Long enough to average the air and the people in it, short enough to see a fault within minutes.
FADE_S: Final = 600.0
# A reference is taken for one when it has learnt for an hour, and from then on forgets in a day:
# an alarm stands for hours, and goods that were put elsewhere are got used to by tomorrow.
LEARN_S: Final = 3_600.0
FORGET_S: Final = 86_400.0
# What a pair's first reading stands for, and the longest silence that counts as one: more is a
# gateway that was off, from which nothing is to be learnt.
FIRST_S: Final = 1.0
LONGEST_S: Final = 60.0
# 256 gateways that all hear each other, or 1,000 that hear 65 others each: 2.4 MB.
MOST_PAIRS: Final = 65_536

PAIR: Final = np.dtype(
    [
        ("hearer", "<u2"),
        ("advertiser", "<u2"),
        ("t", "<f8"),  # latest reading, Unix seconds
        ("count", "<f4"),  # adverts, fading with FADE_S
        ("mean", "<f4"),  # dBm, likewise
        ("variance", "<f4"),  # dB^2, likewise
        ("learnt", "<f4"),  # seconds that the reference has learnt for, at most LEARN_S
        ("reference", "<f4"),  # dBm
        ("rate", "<f4"),  # adverts a second, of the reference
    ]
)
_HEADER: Final = struct.Struct("<4sIId")
_MAGIC: Final = b"mut1"
_KEY: Final = 1 << 16


class Heard(NamedTuple):
    """All pairs at one time; matrices are (hearers, advertisers).

    Attributes:
        adverts: how many were heard lately, fading.
        level: their mean in dBm, NaN where nothing was heard.
        share: of an advertiser's adverts that a hearer got, relative to its best hearer; 0 to 1.
        learnt: seconds that the reference has learnt for.
        reference: mean before, dBm, NaN where nothing is known.
        reference_share: as `share`, before.
    """

    adverts: Floats
    level: Floats
    share: Floats
    learnt: Floats
    reference: Floats
    reference_share: Floats


class Mutual:
    """The pairs of one site.

    Args:
        gateways: ids in the site's order; rows refer to it.
    """

    def __init__(self, gateways: Sequence[str]) -> None:
        self.gateways: Final = list(gateways)
        self.t = 0.0
        self._pairs = np.zeros(0, PAIR)
        self._keys: Ints = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._pairs)

    def update(self, hearer: Ints, advertiser: Ints, rssi: Floats, n: Floats, t: float) -> None:
        """Takes a tick's readings; their order does not matter.

        Args:
            hearer: gateway rows, (readings,).
            advertiser: rows of the gateways whose beacons they are; a gateway that hears itself
                is left out.
            rssi: means in dBm.
            n: adverts.
            t: the tick's time, Unix seconds; never before an earlier one's.
        """
        others = hearer != advertiser
        key = (hearer * _KEY + advertiser)[others]
        if not len(key):
            return
        rssi, n = rssi[others], np.maximum(n[others], 1.0)
        order = np.lexsort((n, rssi, key))
        key, rssi, n = key[order], rssi[order], n[order]
        start = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
        total = np.add.reduceat(n, start)
        mean = np.add.reduceat(n * rssi, start) / total
        off = rssi - np.repeat(mean, np.diff(np.append(start, len(key))))
        square = np.add.reduceat(n * off * off, start)
        keys = key[start]
        self._make_room(keys, t)
        at = np.minimum(np.searchsorted(self._keys, keys), max(len(self._keys) - 1, 0))
        known = self._keys[at] == keys if len(self._keys) else np.zeros(len(keys), np.bool_)
        self.t = max(self.t, t)
        self._fold(at[known], total[known], mean[known], square[known], t)

    def _make_room(self, keys: Ints, t: float) -> None:
        new = np.setdiff1d(keys, self._keys)[: MOST_PAIRS - len(self._keys)]
        if not len(new):
            return
        pairs = np.zeros(len(new), PAIR)
        pairs["hearer"], pairs["advertiser"] = new // _KEY, new % _KEY
        pairs["t"] = t - FIRST_S
        place = np.searchsorted(self._keys, new)
        self._pairs = np.insert(self._pairs, place, pairs)
        self._keys = np.insert(self._keys, place, new)

    def _fold(self, at: Ints, total: Floats, mean: Floats, square: Floats, t: float) -> None:
        p = self._pairs[at]
        gone = np.maximum(t - p["t"], 0.0)
        before = p["count"] * np.exp(-gone / FADE_S)
        count = before + total
        shift = mean - p["mean"]
        p["variance"] = (
            before * p["variance"] + square + before * total / count * shift * shift
        ) / count
        p["mean"] += shift * total / count
        p["count"] = count
        step = np.clip(gone, 0.05, LONGEST_S)
        young = p["learnt"] < LEARN_S
        gain = np.where(young, step / (p["learnt"] + step), step / FORGET_S)
        p["reference"] += gain * (mean - p["reference"])
        p["rate"] += gain * (total / step - p["rate"])
        p["learnt"] = np.minimum(p["learnt"] + step, LEARN_S)
        p["t"] = np.maximum(p["t"], t)
        self._pairs[at] = p

    def heard(self, t: float | None = None) -> Heard:
        """All pairs as they are at `t`, by default when the latest reading came."""
        size, p = len(self.gateways), self._pairs
        at = p["hearer"].astype(np.int64) * size + p["advertiser"]
        fade = np.exp(-np.maximum((self.t if t is None else t) - p["t"], 0.0) / FADE_S)

        def matrix(values: npt.NDArray[np.floating], elsewhere: float) -> Floats:
            out = np.full(size * size, elsewhere)
            out[at] = values
            return out.reshape(size, size)

        count = matrix(p["count"] * fade, 0.0)
        learnt = matrix(p["learnt"], 0.0)
        level, reference = matrix(p["mean"], np.nan), matrix(p["reference"], np.nan)
        # One that faded to less than an advert says nothing any more.
        level[count < 1.0] = np.nan
        return Heard(count, level, _share(count), learnt, reference, _share(matrix(p["rate"], 0.0)))

    def dump(self) -> bytes:
        """The state as bytes: 36 a pair."""
        return _HEADER.pack(_MAGIC, len(self.gateways), len(self._pairs), self.t) + (
            self._pairs.tobytes()
        )

    @classmethod
    def restore(cls, blob: bytes, gateways: Sequence[str]) -> Mutual:
        """The state as it was at `dump`, of the same gateways.

        Raises:
            ValueError: when the bytes are no such state.
        """
        mutual = cls(gateways)
        if len(blob) < _HEADER.size:
            raise ValueError("the state of what gateways hear of each other is cut off")
        magic, size, pairs, t = _HEADER.unpack_from(blob)
        if (magic, size) != (_MAGIC, len(gateways)) or (
            len(blob) != _HEADER.size + pairs * PAIR.itemsize
        ):
            raise ValueError("the state of what gateways hear of each other is of another kind")
        mutual.t = t
        mutual._pairs = np.frombuffer(blob, PAIR, offset=_HEADER.size).copy()
        mutual._keys = _keys(mutual._pairs)
        both = np.maximum(mutual._pairs["hearer"], mutual._pairs["advertiser"])
        if (np.diff(mutual._keys) <= 0).any() or (both >= len(gateways)).any():
            raise ValueError("the state of what gateways hear of each other is damaged")
        return mutual

    def carry_over(self, before: Site, after: Site) -> Mutual:
        """The state under a changed site.

        Gateways are followed by their ids. One whose place changed in the document loses its
        references, for it may have been hung elsewhere; one whose beacon changed loses what was
        heard of it.
        """
        now = {part.id: row for row, part in enumerate(after.gateways)}
        row = np.array([now.get(part.id, -1) for part in before.gateways], np.int64)
        moved, renamed = (np.zeros(len(row), np.bool_) for _ in range(2))
        for was, part in enumerate(before.gateways):
            if row[was] >= 0:
                other = after.gateways[row[was]]
                moved[was] = (part.floor, part.position) != (other.floor, other.position)
                renamed[was] = part.beacon != other.beacon
        pairs = self._pairs.copy()
        hearer, advertiser = pairs["hearer"], pairs["advertiser"]
        pairs["learnt"][moved[hearer] | moved[advertiser]] = 0.0
        stays = (row[hearer] >= 0) & (row[advertiser] >= 0) & ~renamed[advertiser]
        pairs = pairs[stays]
        pairs["hearer"], pairs["advertiser"] = row[pairs["hearer"]], row[pairs["advertiser"]]
        mutual = Mutual([part.id for part in after.gateways])
        mutual.t = self.t
        order = np.argsort(_keys(pairs), kind="stable")
        mutual._pairs = pairs[order]
        mutual._keys = _keys(mutual._pairs)
        return mutual


def _keys(pairs: npt.NDArray[np.void]) -> Ints:
    keys: Ints = pairs["hearer"].astype(np.int64) * _KEY + pairs["advertiser"]
    return keys


def _share(adverts: Floats) -> Floats:
    """Adverts over what the best hearer got of the same advertiser."""
    best = adverts.max(axis=0, initial=0.0, keepdims=True)
    share: Floats = adverts / np.maximum(best, 1e-9)
    return share
