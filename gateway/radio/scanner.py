"""The virtual radio as a scanner: gateways of one process hear one air, in real time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from gateway.adverts import Advert, Hear
from gateway.radio.air import STEP_S, VirtualRadio
from gateway.radio.faults import Clocks

# A machine that was asleep for longer does not hear the time it slept through.
_ASLEEP_S: Final = 5.0
# Steps in a row before others have their turn: a second.
_AT_ONCE: Final = round(1.0 / STEP_S)


class LiveAir:
    """Lets a virtual radio's time go by with the clock's, and hands each gateway its adverts.

    Args:
        radio: the air; its `now` should be the clock's present.
        clocks: the gateways' clocks.
        clock: Unix seconds.
    """

    def __init__(
        self, radio: VirtualRadio, clocks: Clocks, clock: Callable[[], float] = time.time
    ) -> None:
        self.radio: Final = radio
        self.clocks: Final = clocks
        self.clock: Final = clock
        self.adverts = 0
        self._ears: dict[int, Hear] = {}

    async def run(self) -> None:
        """Runs until it is cancelled."""
        while True:
            ahead = self.radio.now + STEP_S - self.clock()
            if ahead < -_ASLEEP_S:
                self.radio.skip(-ahead)
                continue
            await asyncio.sleep(max(0.0, ahead))
            # What is overdue comes in one go: nobody may close a window between two steps.
            for _ in range(_AT_ONCE):
                if self.radio.now + STEP_S > self.clock():
                    break
                self.step()

    def step(self) -> None:
        """Lets one step go by at once."""
        heard = self.radio.step()
        beacons = self.radio.beacons
        ahead = self.clocks.offsets(self.radio.now)
        stamps = (heard.t + ahead[heard.gateway]).tolist()
        for t, tag, gateway, rssi in zip(
            stamps, heard.tag.tolist(), heard.gateway.tolist(), heard.rssi.tolist(), strict=True
        ):
            hear = self._ears.get(gateway)
            if hear is not None:
                self.adverts += 1
                hear(Advert(t, beacons[tag], rssi))

    @contextmanager
    def listening(self, gateway: int, hear: Hear) -> Iterator[None]:
        """While open, `hear` gets what the gateway (row) hears."""
        self._ears[gateway] = hear
        try:
            yield
        finally:
            # A new scanner of the same gateway may have taken over already.
            if self._ears.get(gateway) is hear:
                del self._ears[gateway]


class VirtualScanner:
    """A gateway's scanner on the virtual radio.

    Args:
        air: shared by all gateways of the process; someone runs it.
        gateway: the gateway's row in the plan.
    """

    name = "virtual"

    def __init__(self, air: LiveAir, gateway: int) -> None:
        self._air: Final = air
        self._gateway: Final = gateway

    async def run(self, hear: Hear) -> None:
        """Hears until cancelled."""
        with self._air.listening(self._gateway, hear):
            await asyncio.Event().wait()

    def now(self) -> float:
        """The gateway's own clock, off by its error."""
        t = self._air.clock()
        return t + self._air.clocks.offset(self._gateway, t)
