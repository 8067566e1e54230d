"""What goes wrong between a gateway and the broker, and with a gateway's power and clock.

Decides only: who sends, waits and kills is elsewhere. Deterministic by seed.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from gateway.radio.parameters import RadioParameters, Range
from gateway.radio.plan import Floats, generator

# An NTP client's slow swing about the true time.
_WANDER_S: Final = 1_024.0


@dataclass(frozen=True, slots=True)
class Faults:
    """How often messages and gateways fail.

    Attributes:
        latency_s: median of the way to the broker, log-normal.
        latency_sigma: spread of its logarithm.
        lost: share of messages that never arrive.
        duplicated: share that arrives twice.
        late: share that arrives `late_s` later.
        late_s: how much later.
        outage_every_s: mean time between outages of a gateway anywhere on the site; 0 is never.
        outage_s: how long a gateway is off; it returns with a new boot.
    """

    latency_s: float = 0.0
    latency_sigma: float = 0.0
    lost: float = 0.0
    duplicated: float = 0.0
    late: float = 0.0
    late_s: Range = (0.0, 0.0)
    outage_every_s: float = 0.0
    outage_s: Range = (0.0, 0.0)


LEVELS: Final[dict[str, Faults]] = {
    "none": Faults(),
    # A healthy wired site on an ordinary day.
    "mild": Faults(
        latency_s=0.012,
        latency_sigma=0.6,
        lost=0.0002,
        duplicated=0.002,
        late=0.002,
        late_s=(0.5, 3.0),
        outage_every_s=600.0,
        outage_s=(20.0, 60.0),
    ),
    # Overloaded Wi-Fi and bad power supplies.
    "harsh": Faults(
        latency_s=0.08,
        latency_sigma=1.0,
        lost=0.02,
        duplicated=0.05,
        late=0.05,
        late_s=(0.5, 20.0),
        outage_every_s=90.0,
        outage_s=(10.0, 90.0),
    ),
}


class FaultyLink:
    """One gateway's way to the broker.

    Args:
        faults: how bad it is.
        seed: of the simulation.
        gateway: the gateway's row; each has its own luck.
    """

    def __init__(self, faults: Faults, seed: int, gateway: int) -> None:
        self._faults: Final = faults
        self._rng: Final = generator(seed, "link", gateway)

    def delays(self) -> list[float]:
        """When the next message's copies arrive, in seconds after it was sent; lost is empty."""
        faults, rng = self._faults, self._rng
        lost, late, twice = rng.random(3)
        if lost < faults.lost:
            return []
        delay = self._latency()
        if late < faults.late:
            delay += float(rng.uniform(*faults.late_s))
        if twice < faults.duplicated:
            # The second copy is a retransmission: it comes after a time-out or a reconnect.
            return [delay, delay + self._latency() + float(rng.uniform(0.05, 2.0))]
        return [delay]

    def _latency(self) -> float:
        faults = self._faults
        if faults.latency_s <= 0.0:
            return 0.0
        return float(self._rng.lognormal(math.log(faults.latency_s), faults.latency_sigma))


class Outage(NamedTuple):
    """A gateway without power: its row, and from when to when in Unix seconds."""

    gateway: int
    start: float
    end: float


def outages(faults: Faults, gateways: int, seed: int, start: float) -> Iterator[Outage]:
    """Outages in order of their start, without end; none when the faults have none."""
    if faults.outage_every_s <= 0.0:
        return
    rng = generator(seed, "outages")
    back = [start] * gateways
    t = start
    while True:
        t += float(rng.exponential(faults.outage_every_s))
        gateway = int(rng.integers(gateways))
        seconds = float(rng.uniform(*faults.outage_s))
        # One that is off cannot fail; power stays on for a while after it came back.
        if t > back[gateway] + 5.0 or back[gateway] == start:
            back[gateway] = t + seconds
            yield Outage(gateway, t, t + seconds)


class Power:
    """Which gateways are on, asked at times that never go back.

    Args:
        outages: in order of their start.
    """

    def __init__(self, outages: Iterator[Outage]) -> None:
        self._outages: Final = outages
        self._next = next(outages, None)
        self._off: list[tuple[float, int]] = []

    def off(self, t: float) -> list[int]:
        """Rows of the gateways that are off at `t`."""
        while self._next is not None and self._next.start <= t:
            heapq.heappush(self._off, (self._next.end, self._next.gateway))
            self._next = next(self._outages, None)
        while self._off and self._off[0][0] <= t:
            heapq.heappop(self._off)
        return [gateway for _, gateway in self._off]


class Clocks:
    """How far gateways' clocks are from the true time.

    Args:
        parameters: of the radio.
        gateways: how many.
        seed: of the simulation.
    """

    def __init__(self, parameters: RadioParameters, gateways: int, seed: int) -> None:
        rng = generator(seed, "clocks")
        self._offset: Final[Floats] = rng.normal(0.0, parameters.clock_sd_s, gateways)
        self._phase: Final[Floats] = rng.uniform(0.0, 2.0 * math.pi, gateways)
        self._wander: Final = parameters.clock_wander_s
        wrong = rng.permutation(gateways)[: parameters.wrong_clocks]
        self._offset[wrong] += parameters.wrong_clock_s

    def offset(self, gateway: int, t: float) -> float:
        """Seconds that a gateway's clock is ahead at true time `t`."""
        swing = math.sin(2.0 * math.pi * t / _WANDER_S + self._phase[gateway])
        return float(self._offset[gateway] + self._wander * swing)

    def offsets(self, t: float) -> Floats:
        """`offset` of all gateways."""
        swing = np.sin(2.0 * math.pi * t / _WANDER_S + self._phase)
        ahead: Floats = self._offset + self._wander * swing
        return ahead
