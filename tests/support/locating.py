"""Halls whose radio is known to a decibel, and what is heard in them, for tests of the locator.

Levels are worked out here from the log-distance law and nothing else; neither the virtual radio
nor the locator's own tables are asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.calibration import EXPONENT, OFFSET_DBM, SLAB_DB
from stream.evidence import Readings
from stream.fixes import Fixes
from stream.layout import Layout
from stream.locator import Locator
from stream.radio_model import STOREY_M, TAG_HEIGHT_M
from stream.site import Floor, GatewayPlace, Kind, Obstacle, Site, Trackable, Zone

T0: Final = 1_700_000_000.0
TICK_S: Final = 0.5
Place = tuple[float, float, int]
"""x, y in metres, floor row."""


def rectangle(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    """A ring."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def hall(
    kinds: Sequence[Kind] = ("picker",),
    *,
    wide: float = 40.0,
    deep: float = 30.0,
    spacing: float = 10.0,
    floors: int = 1,
    beacons: int = 1,
    racks: Iterable[list[tuple[float, float]]] = (),
    zones: Sequence[list[tuple[float, float]]] = (),
) -> Site:
    """Gateways on a square grid, 3 m high, on each floor; a trackable for each kind."""
    places = [
        (spacing * (i + 0.5), spacing * (j + 0.5))
        for j in range(int(deep / spacing))
        for i in range(int(wide / spacing))
    ]
    return Site(
        id="hall",
        name="Hall",
        timezone="UTC",
        floors=[
            Floor(str(k), f"Floor {k}", k, rectangle(0.0, 0.0, wide, deep)) for k in range(floors)
        ],
        gateways=[
            GatewayPlace(f"g{k}-{i:02}", str(k), [x, y, 3.0])
            for k in range(floors)
            for i, (x, y) in enumerate(places)
        ],
        obstacles=[Obstacle(f"r{i}", "0", "rack", ring) for i, ring in enumerate(racks)],
        zones=[Zone(f"z{i}", "0", f"Z {i}", "storage", ring) for i, ring in enumerate(zones)],
        trackables=[
            Trackable(f"t{i}", f"T {i}", kind, [f"b{i}-{j}" for j in range(beacons)])
            for i, kind in enumerate(kinds)
        ],
    )


class Air(NamedTuple):
    """What is true of the radio.

    Attributes:
        site: where gateways hang.
        offset_dbm: a tag's RSSI at 1 m.
        exponent: path-loss exponent.
        slab_db: loss per slab.
        gateway_db: how much louder each gateway hears; 0 by default.
        limit_dbm: nothing weaker is heard.
        noise_db: standard deviation of a reading.
        shadow: further loss by gateway row and place, dB.
    """

    site: Site
    offset_dbm: float = OFFSET_DBM
    exponent: float = EXPONENT
    slab_db: float = SLAB_DB
    gateway_db: Sequence[float] = ()
    limit_dbm: float = -91.0
    noise_db: float = 0.0
    shadow: Callable[[int, Place], float] | None = None

    def level(self, gateway: int, place: Place, offset_db: float = 0.0) -> float:
        """Mean RSSI in dBm of a tag that is `offset_db` louder than the common one."""
        part = self.site.gateways[gateway]
        x, y, floor = place
        gx, gy, gz = part.position
        rows = [each.id for each in self.site.floors]
        storeys = self.site.floors[rows.index(part.floor)].level - self.site.floors[floor].level
        rise = gz + STOREY_M * storeys - TAG_HEIGHT_M
        away = max(1.0, math.sqrt((gx - x) ** 2 + (gy - y) ** 2 + rise**2))
        level = self.offset_dbm + offset_db - 10.0 * self.exponent * math.log10(away)
        level -= self.slab_db * abs(storeys)
        level += self.gateway_db[gateway] if self.gateway_db else 0.0
        return level - (self.shadow(gateway, place) if self.shadow else 0.0)

    def heard(
        self,
        places: dict[int, Place],
        rng: np.random.Generator | None = None,
        *,
        n: float = 5.0,
        offset_db: float | dict[int, float] = 0.0,
        deaf: Iterable[int] = (),
    ) -> Readings:
        """What all gateways but the deaf ones hear of beacon rows at places, in one tick."""
        columns: list[tuple[int, int, float]] = []
        off = set(deaf)
        for beacon, place in places.items():
            more = offset_db[beacon] if isinstance(offset_db, dict) else offset_db
            for gateway in range(len(self.site.gateways)):
                level = self.level(gateway, place, more)
                if rng is not None:
                    level += rng.normal(0.0, self.noise_db)
                if gateway not in off and level > self.limit_dbm:
                    columns.append((beacon, gateway, level))
        return readings(columns, n)


def readings(columns: Iterable[tuple[int, int, float]], n: float = 5.0) -> Readings:
    """Readings of (beacon, gateway, rssi), each of n adverts, a quarter of a second old."""
    rows = list(columns)
    beacon, gateway, rssi = zip(*rows, strict=True) if rows else ((), (), ())
    return Readings(
        np.array(beacon, np.int64),
        np.array(gateway, np.int64),
        np.array(rssi, np.float64),
        np.full(len(rows), n),
        np.full(len(rows), 0.25),
    )


def joined(parts: Iterable[Readings]) -> Readings:
    """Several readings as one."""
    every = list(parts)
    return Readings(
        np.concatenate([part.beacon for part in every]),
        np.concatenate([part.gateway for part in every]),
        np.concatenate([part.rssi for part in every]),
        np.concatenate([part.n for part in every]),
        np.concatenate([part.age for part in every]),
    )


def shuffled(part: Readings, rng: np.random.Generator) -> Readings:
    """The same readings in another order."""
    order = rng.permutation(len(part.beacon))
    return Readings(
        part.beacon[order], part.gateway[order], part.rssi[order], part.n[order], part.age[order]
    )


class Ticks:
    """A locator that is fed tick by tick.

    Attributes:
        locator: the locator.
        number: ticks so far.
    """

    def __init__(self, site: Site | Layout, locator: Locator | None = None) -> None:
        layout = site if isinstance(site, Layout) else Layout(site)
        self.locator = Locator(layout) if locator is None else locator
        self.number = 0

    @property
    def t(self) -> float:
        """The end of the last tick, Unix seconds."""
        return T0 + TICK_S * self.number

    def hear(self, part: Readings, online: npt.NDArray[np.bool_] | None = None) -> Fixes:
        """The fixes of the next tick, in which this is heard."""
        self.number += 1
        return self.locator.locate(part, self.t, online)

    def wait(self, seconds: float) -> None:
        """Time passes in which nothing is heard."""
        self.number += round(seconds / TICK_S)


def away(fixes: Fixes, place: Place, row: int = 0) -> float:
    """Metres from a fix to the place."""
    return math.hypot(float(fixes["x"][row]) - place[0], float(fixes["y"][row]) - place[1])
