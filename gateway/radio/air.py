"""The air: what every gateway hears of every tag, advert by advert, in steps of simulated time.

The same site, parameters, seed and start give the same adverts, since the step is fixed. Knows
no clock but its own and no messages; gateways' own clocks and links are elsewhere.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from gateway.radio.parameters import RadioParameters, WalkParameters
from gateway.radio.plan import Floats, Ints, Plan, RadioError, generator
from gateway.radio.propagation import Propagation
from gateway.radio.world import BODIES, MOVING, World

STEP_S: Final = 0.05
"""Walkers move and adverts are heard in steps of this: a walker makes 8 cm in it, and a live
gateway hears an advert at most so much later than it was sent."""

# Links whose mean is further below the detection limit than fading ever lifts are left out:
# +10 dB of Rician fading at K = 6 dB has a probability below 1e-6.
_HOPELESS_DB: Final = 10.0
# The same, before shadowing is known, in standard deviations of it.
_HOPELESS_SD: Final = 3.5
# Nonsense that chips and drivers report: "not available", overflow, zero.
_CORRUPT_DBM: Final = (127.0, 62.0, 20.0, 0.0, -127.0)
_CHANNELS: Final = 3

Complex = npt.NDArray[np.complex128]


class Heard(NamedTuple):
    """Adverts heard in a step, in order of time; columns (n,).

    Attributes:
        t: Unix seconds, true time.
        tag: rows of `VirtualRadio.beacons`.
        gateway: rows of the plan's gateways.
        rssi: whole dBm as floats.
    """

    t: Floats
    tag: Ints
    gateway: Ints
    rssi: Floats


class _Links(NamedTuple):
    """Links of still tags in order of tag: `first[tag]` to `first[tag + 1]`."""

    first: Ints
    gateway: Ints
    level: Floats
    rice: Floats
    scatter: Complex


class VirtualRadio:
    """The air of one site.

    Args:
        plan: the site.
        seed: of everything random.
        start: Unix seconds.
        radio: how air and tags behave.
        walk: how walkers behave.
    """

    def __init__(
        self,
        plan: Plan,
        seed: int,
        start: float,
        radio: RadioParameters | None = None,
        walk: WalkParameters | None = None,
    ) -> None:
        if not plan.gateways:
            raise RadioError(f"the site `{plan.id}` has no gateways: nothing would hear anything")
        self.plan: Final = plan
        parameters = radio or RadioParameters()
        self.parameters: Final = parameters
        self.propagation: Final = Propagation(plan, parameters, seed)
        self.world: Final = World(plan, parameters, walk or WalkParameters(), seed, start)
        self.gateways: Final = [gateway.id for gateway in plan.gateways]
        # Gateways that advertise are tags that hang at their places; they come last.
        self._senders: Final[Ints] = np.flatnonzero([bool(g.beacon) for g in plan.gateways])
        self.beacons: Final = [
            *self.world.beacons,
            *(gateway.beacon for gateway in plan.gateways if gateway.beacon),
        ]
        self._start: Final = start
        self._steps = 0
        self._rng: Final = generator(seed, "air")
        count = len(self.world.beacons)
        rng = generator(seed, "tags")
        # What gateways send is drawn apart: tags are the same whether gateways advertise or not.
        own = generator(seed, "gateways that advertise")
        spread = float(rng.uniform(*parameters.tag_sd_db))
        self.tag_db: Final[Floats] = np.append(
            rng.normal(0.0, spread, count), self._sender_db(own, parameters)
        )
        self.channel_db: Final[Floats] = np.concatenate(
            [
                source.normal(0.0, parameters.channel_sd_db, (rows, _CHANNELS))
                for source, rows in ((rng, count), (own, len(self._senders)))
            ]
        )
        kinds = self.world.kinds
        body = rng.uniform(*parameters.body_loss_db, count)
        self.body_db: Final[Floats] = np.where([k in BODIES for k in kinds], body, 0.0)
        interval = np.where(
            [k in MOVING for k in kinds], parameters.person_interval_s, parameters.item_interval_s
        )
        pause = np.full(len(self._senders), parameters.gateway_interval_s)
        self._interval: Final[Floats] = np.append(interval, pause)
        # Seconds since the start of each tag's next advertising event.
        self._next: Floats = np.append(rng.uniform(0.0, interval), own.uniform(0.0, pause))
        # Gateways rotate through the channels out of step with each other.
        self._phase: Final[Floats] = rng.uniform(
            0.0, _CHANNELS * parameters.scan_interval_s, len(self.gateways)
        )
        self._moves: Final[npt.NDArray[np.bool_]] = np.append(
            np.array([k in MOVING for k in kinds], bool), np.zeros(len(self._senders), bool)
        )
        self._mover_rice: Final[Floats] = _linear(
            rng.uniform(*parameters.rice_k_db, (len(self.world.moving), len(self.gateways)))
        )
        self._mover_row: Final[Ints] = np.zeros(count, np.int64)
        self._mover_row[self.world.moving] = np.arange(len(self.world.moving))
        self._links: Final = self._still_links(rng, own)

    @property
    def now(self) -> float:
        """Unix seconds up to which the air has been heard."""
        return self._start + self._steps * STEP_S

    def step(self) -> Heard:
        """Lets STEP_S of time go by and tells what was heard in it."""
        begin, end = self._steps * STEP_S, (self._steps + 1) * STEP_S
        self._steps += 1
        t, tag = self._sent(begin, end)
        self.world.move(self._start + (begin + end) / 2.0)
        return self._receive(t, tag)

    def skip(self, seconds: float) -> None:
        """Lets time go by unheard, whole steps of it."""
        self._steps += max(0, int(seconds / STEP_S))

    def _sent(self, begin: float, end: float) -> tuple[Floats, Ints]:
        """Advertising events of the step, in order of time, in seconds since the start."""
        delay = self.parameters.advert_delay_s
        times: list[Floats] = []
        tags: list[Ints] = []
        while len(due := np.flatnonzero(self._next < end)):
            at = self._next[due]
            pause = self._interval[due] + self._rng.uniform(0.0, delay, len(due))
            on_air = at >= begin
            times.append(at[on_air])
            tags.append(due[on_air])
            # After a skip a tag has missed its events, not saved them up.
            self._next[due] = np.where(on_air, at, begin) + np.where(
                on_air, pause, self._rng.uniform(0.0, pause)
            )
        if not times:
            return np.zeros(0), np.zeros(0, np.int64)
        t, tag = np.concatenate(times), np.concatenate(tags)
        order = np.argsort(t, kind="stable")
        return t[order], tag[order]

    def _receive(self, t: Floats, tag: Ints) -> Heard:
        advert, gateway, level, rice, still = self._reach(tag)
        p, rng = self.parameters, self._rng
        t, tag = t[advert], tag[advert]
        # Three packets go out on 37, 38, 39 within 2 ms; a gateway listens on one of them.
        channel = ((t + self._phase[gateway]) / p.scan_interval_s).astype(np.int64) % _CHANNELS
        level = level + self.tag_db[tag] + self.channel_db[tag, channel]
        level += self._fading(rice, still, channel)
        keep = ~self._collided(t, gateway, level) & (rng.random(len(t)) < p.scan_duty)
        odds = 1.0 / (1.0 + np.exp(-(level - p.detection_dbm) / p.detection_slope_db))
        keep &= rng.random(len(t)) < odds
        t, tag, gateway, level = t[keep], tag[keep], gateway[keep], level[keep]
        rssi = np.rint(level + rng.normal(0.0, p.noise_db, len(t)))
        corrupt = np.flatnonzero(rng.random(len(t)) < p.corrupt_rate)
        rssi[corrupt] = rng.choice(_CORRUPT_DBM, len(corrupt))
        return Heard(self._start + t, tag, gateway, rssi)

    def _reach(self, tag: Ints) -> tuple[Ints, Ints, Floats, Floats, Complex]:
        """The links of the step's adverts.

        Advert and gateway rows, mean dBm, Rice K, and the scatter that stays, by channel (zero
        where none stays).
        """
        links = self._links
        first, count = links.first[tag], links.first[tag + 1] - links.first[tag]
        still = np.repeat(np.arange(len(tag)), count)
        link = np.arange(len(still)) - np.repeat(np.cumsum(count) - count - first, count)
        moving = np.flatnonzero(self._moves[tag])
        if not len(moving):
            return (
                still,
                links.gateway[link],
                links.level[link],
                links.rice[link],
                (links.scatter[link]),
            )
        advert, gateway, level = self._moving_links(tag, moving)
        rice = self._mover_rice[self._mover_row[tag[advert]], gateway]
        rows = np.concatenate([still, advert])
        order = np.argsort(rows, kind="stable")
        none = np.zeros((len(advert), _CHANNELS), complex)
        return (
            rows[order],
            np.concatenate([links.gateway[link], gateway])[order],
            np.concatenate([links.level[link], level])[order],
            np.concatenate([links.rice[link], rice])[order],
            np.concatenate([links.scatter[link], none])[order],
        )

    def _moving_links(self, tag: Ints, moving: Ints) -> tuple[Ints, Ints, Floats]:
        world, air = self.world, self.propagation
        count = len(self.gateways)
        advert = np.repeat(moving, count)
        gateway = np.tile(np.arange(count), len(moving))
        row = tag[advert]
        free = air.free(gateway, world.x[row], world.y[row], world.z[row], world.floor[row])
        near = free + self.tag_db[row] > self._hopeless(_HOPELESS_SD)
        advert, gateway, row = advert[near], gateway[near], row[near]
        x, y = world.x[row], world.y[row]
        level = air.level(gateway, x, y, world.z[row], world.floor[row])
        # A body takes nothing in front, all behind, and half aside.
        bearing = np.arctan2(air.gateway_y[gateway] - y, air.gateway_x[gateway] - x)
        level -= self.body_db[row] * (1.0 - np.cos(bearing - world.heading[row])) / 2.0
        audible = level + self.tag_db[row] > self._hopeless(0.0)
        return advert[audible], gateway[audible], level[audible]

    def _sender_db(self, rng: np.random.Generator, parameters: RadioParameters) -> Floats:
        """How much louder each gateway that advertises is than a common tag."""
        power = float(rng.uniform(*parameters.gateway_power_db))
        spread = float(rng.uniform(*parameters.gateway_power_sd_db))
        levels: Floats = rng.normal(power, spread, len(self._senders))
        return levels

    def _sender_links(self) -> tuple[Ints, Ints, Floats]:
        """Beacon rows, hearers and levels of the links between gateways; none hears itself."""
        count, first = len(self.gateways), len(self.world.beacons)
        row = np.repeat(np.arange(len(self._senders)), count)
        hearer = np.tile(np.arange(count), len(self._senders))
        other = hearer != self._senders[row]
        row, hearer = row[other], hearer[other]
        return first + row, hearer, self.propagation.between(hearer, self._senders[row])

    def _still_links(self, rng: np.random.Generator, own: np.random.Generator) -> _Links:
        world, air = self.world, self.propagation
        tags = np.flatnonzero(~self._moves[: len(world.beacons)])
        gateways = np.arange(len(self.gateways))
        near_tag: list[Ints] = []
        near_gateway: list[Ints] = []
        for some in np.array_split(tags, max(1, len(tags) // 1_000)):
            row, gateway = np.repeat(some, len(gateways)), np.tile(gateways, len(some))
            free = air.free(gateway, world.x[row], world.y[row], world.z[row], world.floor[row])
            near = free + self.tag_db[row] > self._hopeless(_HOPELESS_SD)
            near_tag.append(row[near])
            near_gateway.append(gateway[near])
        row, gateway = np.concatenate(near_tag), np.concatenate(near_gateway)
        level = air.level(gateway, world.x[row], world.y[row], world.z[row], world.floor[row])
        audible = level + self.tag_db[row] > self._hopeless(0.0)
        row, gateway, level = row[audible], gateway[audible], level[audible]
        rice = _linear(rng.uniform(*self.parameters.rice_k_db, len(row)))
        scatter = _circular(rng, (len(row), _CHANNELS))
        if len(self._senders):
            more, hearer, loud = self._sender_links()
            near = loud + self.tag_db[more] > self._hopeless(0.0)
            row, gateway = np.append(row, more[near]), np.append(gateway, hearer[near])
            level = np.append(level, loud[near])
            rice = np.append(
                rice, _linear(own.uniform(*self.parameters.rice_k_db, int(near.sum())))
            )
            scatter = np.concatenate([scatter, _circular(own, (int(near.sum()), _CHANNELS))])
        first = np.zeros(len(self.beacons) + 1, np.int64)
        np.cumsum(np.bincount(row, minlength=len(self.beacons)), out=first[1:])
        return _Links(first, gateway, level, rice, scatter)

    def _hopeless(self, sds: float) -> float:
        return self.parameters.detection_dbm - _HOPELESS_DB - sds * self.propagation.shadowing.sd_db

    def _fading(self, rice: Floats, still: Complex, channel: Ints) -> Floats:
        """Rician fading in dB: a steady part, and scatter that partly stays on still links."""
        stays = still[np.arange(len(rice)), channel]
        share = np.where(stays == 0.0, 0.0, self.parameters.still_share)
        fresh = _circular(self._rng, (len(rice),))
        scatter = np.sqrt(share) * stays + np.sqrt(1.0 - share) * fresh
        amplitude = np.abs(np.sqrt(rice / (rice + 1.0)) + np.sqrt(1.0 / (rice + 1.0)) * scatter)
        decibels: Floats = 20.0 * np.log10(np.maximum(amplitude, 1e-6))
        return decibels

    def _collided(self, t: Floats, gateway: Ints, level: Floats) -> npt.NDArray[np.bool_]:
        """Which adverts another one spoils at their gateway: overlapping, and not much weaker."""
        lost = np.zeros(len(t), bool)
        order = np.lexsort((t, gateway))
        t, gateway, level = t[order], gateway[order], level[order]
        reach = 1
        # Neighbours in time, ever further, until none overlap.
        while len(t) > reach:
            rows = np.flatnonzero(
                (t[reach:] - t[:-reach] < self.parameters.advert_s)
                & (gateway[reach:] == gateway[:-reach])
            )
            if not len(rows):
                break
            lead = level[rows] - level[rows + reach]
            lost[order[rows[lead < self.parameters.capture_db]]] = True
            lost[order[rows[-lead < self.parameters.capture_db] + reach]] = True
            reach += 1
        return lost


def _linear(decibels: Floats) -> Floats:
    linear: Floats = 10.0 ** (decibels / 10.0)
    return linear


def _circular(rng: np.random.Generator, shape: tuple[int, ...]) -> Complex:
    """Circular complex normal numbers of unit power."""
    both = rng.standard_normal((*shape, 2)) * np.sqrt(0.5)
    circular: Complex = both[..., 0] + 1j * both[..., 1]
    return circular
