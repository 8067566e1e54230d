"""Levels over space: the mean RSSI of a link from its geometry and the site's drawn properties.

Everything here is fixed for a site and seed; what changes from advert to advert is in
`gateway.radio.air`.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from gateway.radio.crossing import Obstacles
from gateway.radio.parameters import RadioParameters, Range
from gateway.radio.plan import Floats, Ints, Plan, generator


class Shadowing:
    """Smooth random fields over a floor, one per gateway and one common to all.

    Sums of random plane waves. Wave numbers follow the bivariate Cauchy distribution, which is
    the spectrum of the exponential correlation exp(-d / length).

    Args:
        fields: how many independent fields (gateways x floors).
        common: how many common fields (floors).
        parameters: of the radio.
        seed: of the site.
    """

    def __init__(self, fields: int, common: int, parameters: RadioParameters, seed: int) -> None:
        rng = generator(seed, "shadowing")
        self.sd_db: Final = _draw(rng, parameters.shadowing_sd_db)
        self.length_m: Final = _draw(rng, parameters.shadowing_correlation_m)
        self._share: Final = parameters.shadowing_common
        waves = parameters.shadowing_waves
        count = fields + common
        gauss = rng.standard_normal((count, waves, 2))
        radius = np.abs(rng.standard_normal((count, waves, 1)))
        # Waves shorter than a hand's breadth would only add noise that fading already adds.
        self._k: Final[Floats] = gauss / np.maximum(radius, 0.02) / self.length_m
        self._phase: Final[Floats] = rng.uniform(0.0, 2.0 * math.pi, (count, waves))
        self._common: Final = fields
        self._scale: Final = math.sqrt(2.0 / waves) * self.sd_db

    def at(self, field: Ints, common: Ints, x: Floats, y: Floats) -> Floats:
        """Gain in dB at points (n,): of each point's own field and its common field (rows)."""
        total = np.zeros(len(x))
        # Sliced so that 10,000 tags x 100 gateways stay within memory.
        for first in range(0, len(x), 20_000):
            part = slice(first, first + 20_000)
            own = self._waves(field[part], x[part], y[part])
            total[part] = math.sqrt(1.0 - self._share) * own
            if self._share > 0.0:
                shared = self._waves(common[part] + self._common, x[part], y[part])
                total[part] += math.sqrt(self._share) * shared
        return total * self._scale

    def _waves(self, field: Ints, x: Floats, y: Floats) -> Floats:
        k = self._k[field]
        turns = k[..., 0] * x[:, None] + k[..., 1] * y[:, None] + self._phase[field]
        summed: Floats = np.cos(turns).sum(axis=1)
        return summed


class Propagation:
    """The mean level of any link of a site.

    Args:
        plan: the site.
        parameters: of the radio.
        seed: draws the site's exponent, fields, losses and offsets.
    """

    def __init__(self, plan: Plan, parameters: RadioParameters, seed: int) -> None:
        rng = generator(seed, "propagation")
        self.parameters: Final = parameters
        spans = (parameters.path_loss_exponent, parameters.path_loss_exponent_obstructed)
        self.exponent: Final = _draw(rng, spans[bool(plan.obstacles)])
        self.power_1m: Final = _draw(rng, parameters.power_1m_dbm)
        self.slab_db: Final = _draw(rng, parameters.slab_loss_db)
        gateways = plan.gateways
        self.gateway_x: Final[Floats] = np.array([g.x for g in gateways], float)
        self.gateway_y: Final[Floats] = np.array([g.y for g in gateways], float)
        self.gateway_floor: Final[Ints] = np.array([g.floor for g in gateways], np.int64)
        self._levels: Final[Ints] = np.array([floor.level for floor in plan.floors], np.int64)
        height = parameters.gateway_height_m
        self._heights: Final[Floats] = np.array(
            [height if g.z is None else g.z for g in gateways], float
        )
        self.gateway_z: Final[Floats] = self._elevation(self.gateway_floor) + self._heights
        spread = _draw(rng, parameters.gateway_sd_db)
        self.gateway_db: Final[Floats] = rng.normal(0.0, spread, len(gateways))
        deaf = generator(seed, "deaf").permutation(len(gateways))[: parameters.deaf_gateways]
        self.gateway_db[deaf] -= parameters.deaf_db
        self.obstacles: Final = Obstacles(
            [o.polygon for o in plan.obstacles], [o.floor for o in plan.obstacles]
        )
        self.crossing_db: Final[Floats] = np.array(
            [
                drawn if o.loss_db is None else o.loss_db
                for o in plan.obstacles
                for drawn in [
                    _draw(
                        rng,
                        parameters.wall_loss_db if o.kind == "wall" else parameters.rack_loss_db,
                    )
                ]
            ],
            float,
        )
        self._floors: Final = len(plan.floors)
        self.shadowing: Final = Shadowing(
            len(gateways) * self._floors, self._floors, parameters, seed
        )

    def level(self, gateway: Ints, x: Floats, y: Floats, z: Floats, floor: Ints) -> Floats:
        """Mean RSSI in dBm of links (n,), without the tag's and a body's part.

        Args:
            gateway: gateway rows.
            x: the tags' places in metres.
            y: the same.
            z: metres above the tags' floors.
            floor: the tags' floor rows.
        """
        return (
            self.free(gateway, x, y, z, floor)
            + self.shadowing.at(gateway * self._floors + floor, floor, x, y)
            - self.obstructed(gateway, x, y, floor)
        )

    def between(self, hearer: Ints, sender: Ints) -> Floats:
        """Mean RSSI in dBm of what gateways hear of each other, without the sender's part. (n,).

        What lies between two gateways weakens both ways alike, so that both share one shadowing.
        """
        x, y, z = self.gateway_x[sender], self.gateway_y[sender], self._heights[sender]
        floor = self.gateway_floor[sender]
        low, high = np.minimum(hearer, sender), np.maximum(hearer, sender)
        there = self.gateway_floor[high]
        shadow = self.shadowing.at(
            low * self._floors + there, there, self.gateway_x[high], self.gateway_y[high]
        )
        return self.free(hearer, x, y, z, floor) + shadow - self.obstructed(hearer, x, y, floor)

    def free(self, gateway: Ints, x: Floats, y: Floats, z: Floats, floor: Ints) -> Floats:
        """The part of `level` that distance, slabs and the gateway itself make."""
        gx, gy, gz = self.gateway_x[gateway], self.gateway_y[gateway], self.gateway_z[gateway]
        rise = gz - z - self._elevation(floor)
        distance = np.sqrt((gx - x) ** 2 + (gy - y) ** 2 + rise**2)
        slabs: Ints = np.abs(self._levels[self.gateway_floor[gateway]] - self._levels[floor])
        decades: Floats = np.log10(np.maximum(distance, self.parameters.near_m))
        fall: Floats = 10.0 * self.exponent * decades + self.slab_db * slabs
        level: Floats = self.power_1m + self.gateway_db[gateway] - fall
        return level

    def obstructed(self, gateway: Ints, x: Floats, y: Floats, floor: Ints) -> Floats:
        """Loss in dB by racks and walls of the gateway's floor; none is counted across floors."""
        same = np.where(self.gateway_floor[gateway] == floor, floor, -1)
        loss = self.obstacles.loss(
            x, y, self.gateway_x[gateway], self.gateway_y[gateway], same, self.crossing_db
        )
        return np.minimum(loss, self.parameters.obstacle_cap_db)

    def _elevation(self, floor: Ints) -> Floats:
        level: Floats = self._levels[floor].astype(np.float64)
        return level * self.parameters.storey_m


def _draw(rng: np.random.Generator, span: Range) -> float:
    return float(rng.uniform(*span))
