"""The gateway's life: a scanner's adverts into windows, closed windows to the publisher.

The rule: nothing that happens to the radio or to the network ends a gateway. Faults of the
scanner are told in the status and it is run again, for ever. Many gateways can live in one
process; what runs on a Pi imports no numpy and no server.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Final

from gateway.adverts import Advert, Scanner, ScannerError
from gateway.mqtt import Mqtt
from gateway.publisher import MAX_BATCHES, MAX_BYTES, Health, Publisher
from gateway.windows import Windows

_log: Final = logging.getLogger(__name__)

WINDOW_S: Final = 1.0
# A scanner's callback comes this much after the stamp at most, on a Pi under load.
GRACE_S: Final = 0.05
# The clock is looked at this often at least, so that a clock that was set is noticed.
LOOK_S: Final = 0.25
FIRST_RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 30.0
# A scanner that ran this long was well, so the next fault is tried again soon.
WELL_S: Final = 60.0


class Gateway:
    """One gateway.

    Args:
        site: the site's id.
        gateway_id: the gateway's id.
        scanner: hears adverts, and is the clock.
        mqtt_url: the broker, as in `gateway.broker_url`.
        window: length of the windows in seconds.
        grace: seconds that adverts may come after their window's end.
        max_beacons: bound of one window.
        max_batches: bound of the spool.
        max_bytes: bound of the spool.
        boot: names this run; random when not given.
        retry_s: seconds after which a scanner is run again after its first fault.
        client: as of Publisher.

    Attributes:
        windows: counts what was dropped and what came late.
        publisher: counts what was published and what waits.
        adverts: heard since the start.
        error: why the scanner does not hear at present, empty when it does.

    Raises:
        BrokerUrlError: the URL cannot be used.
    """

    def __init__(
        self,
        site: str,
        gateway_id: str,
        scanner: Scanner,
        mqtt_url: str,
        *,
        window: float = WINDOW_S,
        grace: float = GRACE_S,
        max_beacons: int = 5_000,
        max_batches: int = MAX_BATCHES,
        max_bytes: int = MAX_BYTES,
        boot: str | None = None,
        retry_s: float = FIRST_RETRY_S,
        client: Callable[..., Mqtt] = Mqtt,
    ) -> None:
        self.scanner: Final = scanner
        self.windows: Final = Windows(window, max_beacons=max_beacons, grace=grace)
        self.adverts = 0
        self.error = ""
        self.publisher: Final = Publisher(
            site=site,
            gateway=gateway_id,
            mqtt_url=mqtt_url,
            window=window,
            scanner=scanner.name,
            now=scanner.now,
            health=self._health,
            boot=boot,
            max_batches=max_batches,
            max_bytes=max_bytes,
            client=client,
        )
        self._retry_s: Final = retry_s
        self._due = -math.inf

    async def run(self) -> None:
        """Runs until cancelled, or until a recording's end has been taken by the broker."""
        publishing = asyncio.create_task(self.publisher.run())
        closing = asyncio.create_task(self._close_in_time())
        listening = asyncio.create_task(self._listen())
        tasks = (listening, closing, publishing)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if listening.done():
                listening.result()
                closing.cancel()
                for window in self.windows.flush():
                    self.publisher.publish(window)
                drained = asyncio.create_task(self.publisher.drained())
                await asyncio.wait((drained, publishing), return_when=asyncio.FIRST_COMPLETED)
                drained.cancel()
        finally:
            # The publisher last: it says goodbye while the others are already silent.
            for task in tasks:
                task.cancel()
                await asyncio.wait([task])
            for task in tasks:
                if not task.cancelled():
                    task.result()

    def _health(self) -> Health:
        # A scanner that runs but loses adverts says so in `warning`.
        return Health(self.adverts, self.error or getattr(self.scanner, "warning", ""))

    def _hear(self, advert: Advert) -> None:
        self.adverts += 1
        if self.error:
            self._tell("")
        # A clock that runs faster than time (a recording's) closes windows by its adverts.
        if advert.t >= self._due:
            self._close(advert.t)
        self.windows.add(advert)

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        retry_s = self._retry_s
        while True:
            since = loop.time()
            try:
                await self.scanner.run(self._hear)
            except ScannerError as error:
                self._tell(str(error))
            except Exception as error:  # noqa: BLE001  # the radio's library may raise anything
                _log.exception("the scanner failed")
                self._tell(f"the scanner failed: {error!r}")
            else:
                return
            if loop.time() - since > WELL_S:
                retry_s = self._retry_s
            await asyncio.sleep(retry_s)
            retry_s = min(LAST_RETRY_S, 2.0 * retry_s)

    def _tell(self, error: str) -> None:
        if error == self.error:
            return
        if error:
            _log.warning("%s", error)
        else:
            _log.info("adverts are heard again")
        self.error = error
        self.publisher.say()

    async def _close_in_time(self) -> None:
        while True:
            self._close(self.scanner.now())
            await asyncio.sleep(min(LOOK_S, max(0.001, self._due - self.scanner.now())))

    def _close(self, now: float) -> None:
        length, grace = self.windows.length, self.windows.grace
        for window in self.windows.close(now):
            self.publisher.publish(window)
        self._due = (math.floor((now - grace) / length + 1e-9) + 1) * length + grace
