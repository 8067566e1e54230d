"""Load for measurements: a site of any size, and batches as its gateways would publish them.

Not the virtual radio: RSSI is a plain distance law with noise, because here the number of readings
matters and their truth does not. Everything is drawn and encoded before a measurement begins.
"""

from __future__ import annotations

import math
from array import array
from typing import Final, NamedTuple

import numpy as np

from gateway.readings import Batch
from stream.site import Floor, GatewayPlace, Site, Trackable, Zone

WINDOW_S: Final = 1.0
# Every beacon is heard by as many gateways as in a densely equipped hall.
HEARD_BY: Final = 8
# Readings per message: about 333 and 800 at 1,000 and 10,000 beacons, as gateways of such halls.
_PER_GATEWAY: Final = 1_250
# One in five trackables walks.
_WALKS: Final = 5
_SPACING_M: Final = 10.0


class Load(NamedTuple):
    """A site and who hears what in it.

    Attributes:
        site: the document.
        heard: per gateway, rows of the beacons it hears.
        level: per gateway, their mean RSSI in dBm.
    """

    site: Site
    heard: list[np.ndarray]
    level: list[np.ndarray]

    @property
    def readings(self) -> int:
        """Readings per window over all gateways."""
        return sum(map(len, self.heard))


def make_load(beacons: int, seed: int = 1) -> Load:
    """A hall with that many beacons, each heard by HEARD_BY gateways."""
    rng = np.random.default_rng(seed)
    across = max(3, math.ceil(math.sqrt(max(24, beacons * 10 / _PER_GATEWAY))))
    size = across * _SPACING_M
    steps = (np.arange(across) + 0.5) * _SPACING_M
    places = np.array([(x, y) for y in steps for x in steps])
    xy = rng.uniform(0.0, size, (beacons, 2))
    distance = np.hypot(*(xy[:, None] - places[None]).transpose(2, 0, 1))
    near = np.argsort(distance, axis=1)[:, :HEARD_BY]
    heard, level = [], []
    for gateway in range(len(places)):
        rows = np.flatnonzero((near == gateway).any(axis=1))
        heard.append(rows)
        level.append(-55.0 - 25.0 * np.log10(np.maximum(distance[rows, gateway], 1.0)))
    ids = [
        f"ibeacon:7a3c9e50-1b2d-4f60-8a77-5d0e4b8c2f11:{i >> 8}:{i & 255}" for i in range(beacons)
    ]
    corners = [(0.0, 0.0), (size, 0.0), (size, size), (0.0, size)]
    zones = [
        Zone(
            f"z{i}",
            "0",
            f"Zone {i}",
            "storage",
            [(x, 0.0), (x + _SPACING_M, 0.0), (x + _SPACING_M, size), (x, size)],
        )
        for i, x in enumerate(_SPACING_M * k for k in range(across))
    ]
    site = Site(
        id="bench",
        name="Bench",
        timezone="UTC",
        floors=[Floor("0", "Ground", 0, corners)],
        gateways=[
            GatewayPlace(f"gw-{i:03}", "0", [float(x), float(y), 4.0])
            for i, (x, y) in enumerate(places)
        ],
        zones=zones,
        trackables=[
            Trackable(f"t{i:05}", f"T {i}", "picker" if i % _WALKS == 0 else "item", [beacon])
            for i, beacon in enumerate(ids)
        ],
    )
    return Load(site, heard, level)


def window(load: Load, number: int, t: float, boot: str) -> list[Batch]:
    """What all gateways publish for one window that ends at t (Unix seconds); `number` from 1."""
    rng = np.random.default_rng(number)
    batches = []
    for row, gateway in enumerate(load.site.gateways):
        rows = load.heard[row]
        rssi = array("f", (load.level[row] + rng.normal(0.0, 3.0, len(rows))).astype(np.float32))
        batches.append(
            Batch(
                gateway.id,
                boot,
                number,
                t,
                WINDOW_S,
                [load.site.trackables[i].beacons[0] for i in rows],
                rssi,
                array("H", [1]) * len(rows),
            )
        )
    return batches
