"""Gateways that hear each other by known numbers, for tests of what is told from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from stream.grid import Grid
from stream.mutual import FADE_S, Mutual
from stream.mutual_links import Links
from stream.mutual_places import Places
from stream.radio_model import Geometry
from stream.site import Floor, GatewayPlace, Obstacle, Site

Floats = npt.NDArray[np.float64]
T0 = 1_700_000_000.0


def hall(columns: int = 6, rows: int = 4, spacing: float = 10.0, **more: Any) -> Site:
    """Gateways on a square grid, all of which advertise."""
    wide, deep = columns * spacing, rows * spacing
    gateways = [
        GatewayPlace(
            f"g{row * columns + column:02}",
            "0",
            [spacing * (column + 0.5), spacing * (row + 0.5), 4.0],
            f"own-{row * columns + column}",
        )
        for row in range(rows)
        for column in range(columns)
    ]
    outline = [(0.0, 0.0), (wide, 0.0), (wide, deep), (0.0, deep)]
    return Site("hall", "Hall", "UTC", [Floor("0", "Ground", 0, outline)], gateways, **more)


def racks(count: int, spacing: float = 10.0, deep: float = 40.0) -> list[Obstacle]:
    """Racks 1 m deep from front to back, one between each two columns of gateways."""
    return [
        Obstacle(
            f"r{k}", "0", "rack", [(x, 1.0), (x + 1.0, 1.0), (x + 1.0, deep - 1), (x, deep - 1)]
        )
        for k in range(count)
        for x in [spacing * (k + 1) - 0.5]
    ]


def hung(site: Site, gateway: int, position: list[float]) -> Site:
    """The site with one gateway elsewhere."""
    gateways = list(site.gateways)
    gateways[gateway] = replace(gateways[gateway], position=position)
    return replace(site, gateways=gateways)


@dataclass
class Air:
    """What is true: levels by the log-distance law, in dB and dBm."""

    site: Site
    seed: int = 1
    power_dbm: float = -55.0
    exponent: float = 2.4
    shadowing_db: float = 4.0
    noise_db: float = 0.5
    rack_db: float = 0.0
    limit_dbm: float = -91.0
    hears_db: Floats = field(default_factory=lambda: np.zeros(0))
    sends_db: Floats = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        """Draws shadowing of places, alike both ways, and offsets where none are given."""
        count = len(self.site.gateways)
        rng = np.random.default_rng(self.seed)
        shadow = np.triu(rng.normal(0.0, self.shadowing_db, (count, count)), 1)
        self.shadow = shadow + shadow.T
        hears, sends = rng.normal(0.0, 2.5, count), rng.normal(0.0, 1.5, count)
        if not len(self.hears_db):
            self.hears_db = hears
        if not len(self.sends_db):
            self.sends_db = sends

    def levels(self, site: Site | None = None) -> Floats:
        """Mean levels by hearer and advertiser with gateways where `site` has them."""
        links = Links(site or self.site)
        path = 10.0 * self.exponent * links.decades + self.rack_db * links.racks
        return self.power_dbm + self.hears_db[:, None] + self.sends_db - path + self.shadow

    def moved(self, gateway: int) -> None:
        """Another place has other shadowing."""
        rng = np.random.default_rng([self.seed, 99])
        fresh = rng.normal(0.0, self.shadowing_db, len(self.shadow))
        self.shadow[gateway], self.shadow[:, gateway] = fresh, fresh

    def play(self, mutual: Mutual, levels: Floats, t: float, adverts: int = 600) -> None:
        """Lets some adverts be heard at once, those of faint links when they are loud."""
        rng = np.random.default_rng([self.seed, int(t)])
        hearer, advertiser = np.nonzero(~np.eye(len(levels), dtype=bool))
        mean = levels[hearer, advertiser] + rng.normal(0.0, self.noise_db, len(hearer))
        each = mean[:, None] + rng.normal(0.0, 3.5, (len(mean), adverts))
        got = rng.random(each.shape) < 1.0 / (1.0 + np.exp(-(each - self.limit_dbm) / 1.2))
        n = got.sum(axis=1)
        loud = n > 0
        rssi = np.where(got, each, 0.0).sum(axis=1)[loud] / n[loud]
        mutual.update(hearer[loud], advertiser[loud], rssi, n[loud].astype(float), t)


def listened(air: Air, levels: Floats | None = None) -> Mutual:
    """Ten minutes of it."""
    mutual = Mutual([part.id for part in air.site.gateways])
    air.play(mutual, air.levels() if levels is None else levels, T0)
    return mutual


def learnt(air: Air) -> Mutual:
    """More than an hour of it, so that references are ready."""
    mutual = Mutual([part.id for part in air.site.gateways])
    levels = air.levels()
    for minute in range(80):
        air.play(mutual, levels, T0 + 60.0 * minute, 60)
    return mutual


def changed(air: Air, mutual: Mutual, levels: Floats) -> None:
    """What comes after a change: two fade times of it."""
    begin = mutual.t
    for minute in range(1, 1 + math.ceil(2.0 * FADE_S / 60.0)):
        air.play(mutual, levels, begin + 60.0 * minute, 60)


def places(site: Site) -> tuple[Links, Places]:
    """What alarms need of a site."""
    links, grid = Links(site), Grid(site)
    return links, Places(links, grid, Geometry(site, grid))
