"""The publisher: numbers closed windows, keeps them until the broker has them, tells of health.

The rule: a batch leaves the spool only by the broker's acknowledgement, or by being counted as
dropped. After every reconnect everything that is still here is sent again, in order; who reads
drops what came twice by (gateway, boot, seq).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Final, Literal, NamedTuple

from gateway.mqtt import Mqtt, MqttError, Will
from gateway.readings import encode
from gateway.spool import Spool, Spooled
from gateway.status import Status, encode_status
from gateway.topics import readings_topic, status_topic
from gateway.windows import Window, to_batch

_log: Final = logging.getLogger(__name__)

HEALTH_S: Final = 10.0
# An hour of windows of a second, and memory that a small Pi can spare.
MAX_BATCHES: Final = 3_600
MAX_BYTES: Final = 32 * 1024 * 1024
# Enough to fill a slow link, few enough that a reconnect repeats little.
IN_FLIGHT: Final = 64
# A broker that refuses a batch (a quota, a right not granted yet) is asked again after this.
REFUSED_RETRY_S: Final = 5.0
# How long a clean end waits for the broker to take what is still here.
DRAIN_S: Final = 2.0


class Health(NamedTuple):
    """What the gateway says of itself beside what the publisher knows.

    Attributes:
        adverts: heard since the boot.
        error: the scanner's present trouble, empty when well.
    """

    adverts: int
    error: str


class Publisher:
    """Publishes one gateway's windows and status.

    Args:
        site: the site's id.
        gateway: the gateway's id.
        mqtt_url: the broker.
        window: length of the windows in seconds.
        scanner: the scanner's name, for the status.
        now: the gateway's clock, Unix seconds.
        health: asked whenever a status is published.
        boot: names this run; random when not given.
        max_batches: bound of the spool.
        max_bytes: bound of the spool.
        health_s: seconds between two statuses.
        client: makes the connection, called as Mqtt is (a simulation puts a faulty link here).

    Attributes:
        boot: names this run.
        seq: number of the last batch.
        published: batches acknowledged by the broker.
        spool: what waits.
    """

    def __init__(
        self,
        *,
        site: str,
        gateway: str,
        mqtt_url: str,
        window: float,
        scanner: str,
        now: Callable[[], float],
        health: Callable[[], Health],
        boot: str | None = None,
        max_batches: int = MAX_BATCHES,
        max_bytes: int = MAX_BYTES,
        health_s: float = HEALTH_S,
        client: Callable[..., Mqtt] = Mqtt,
    ) -> None:
        self.gateway: Final = gateway
        self.boot: Final = boot or secrets.token_hex(4)
        self.seq = 0
        self.published = 0
        self.spool: Final = Spool(max_batches, max_bytes)
        self._window: Final = window
        self._scanner: Final = scanner
        self._now: Final = now
        self._health: Final = health
        self._health_s: Final = health_s
        self._readings_topic: Final = readings_topic(site, gateway)
        self._status_topic: Final = status_topic(site, gateway)
        self._started: Final = time.monotonic()
        self._in_flight = 0
        self._connection = 0
        self._empty: Final = asyncio.Event()
        self._empty.set()
        self._refusal = ""
        self._retry: asyncio.TimerHandle | None = None
        self._mqtt: Final = client(
            mqtt_url,
            f"balise-{site}-{gateway}",
            will=lambda: Will(self._status_topic, encode_status(self._status("offline"))),
            on_up=self._up,
        )

    @property
    def connected(self) -> bool:
        """Whether the broker can be spoken to at present."""
        return self._mqtt.connected

    def publish(self, window: Window) -> None:
        """Takes a closed window over; it is sent as soon as the broker can be reached."""
        self.seq += 1
        batch = to_batch(
            window, gateway=self.gateway, boot=self.boot, seq=self.seq, length=self._window
        )
        self.spool.add(Spooled(self.seq, encode(batch)))
        self._empty.clear()
        self._pump()

    def say(self) -> None:
        """Publishes the status now, when the broker can be reached."""
        if self._mqtt.connected:
            self._mqtt.publish(
                self._status_topic, encode_status(self._status("online")), 1, retain=True
            )

    async def drained(self) -> None:
        """Returns once nothing waits any more."""
        await self._empty.wait()

    async def run(self) -> None:
        """Publishes until cancelled; then sends what it can within two seconds and says goodbye."""
        connection = asyncio.create_task(self._mqtt.run(), name=f"mqtt-{self.gateway}")
        try:
            while True:
                done, _ = await asyncio.wait([connection], timeout=self._health_s)
                if done:
                    connection.result()
                self.say()
        finally:
            if self._retry is not None:
                self._retry.cancel()
            await self._goodbye()
            connection.cancel()
            await asyncio.wait([connection])

    async def _goodbye(self) -> None:
        if not self._mqtt.connected:
            if len(self.spool):
                _log.warning("%d batches were never taken by the broker", len(self.spool))
            return
        try:
            async with asyncio.timeout(DRAIN_S):
                await self.drained()
                status = encode_status(self._status("offline"))
                await self._mqtt.publish(self._status_topic, status, 1, retain=True)
        except (TimeoutError, MqttError) as error:
            _log.warning("the broker took no goodbye, %d batches wait: %s", len(self.spool), error)

    def _up(self) -> None:
        """A new connection: whatever was under way is not any more."""
        self._connection += 1
        self._in_flight = 0
        self._refusal = ""
        self.say()
        self.spool.rewind()
        self._pump()

    def _pump(self) -> None:
        while self._mqtt.connected and self._retry is None and self._in_flight < IN_FLIGHT:
            batch = self.spool.take()
            if batch is None:
                return
            self._in_flight += 1
            future = self._mqtt.publish(self._readings_topic, batch.payload)
            future.add_done_callback(partial(self._settled, self._connection, batch.seq))

    def _settled(self, connection: int, seq: int, done: asyncio.Future[None]) -> None:
        current = connection == self._connection
        if current:
            self._in_flight -= 1
        error = None if done.cancelled() else done.exception()
        if error is None and not done.cancelled():
            if self.spool.acknowledged(seq):
                self.published += 1
        elif isinstance(error, MqttError) and error.final:
            _log.error("batch %d is given up: %s", seq, error)
            self._refusal = str(error)
            self.spool.give_up(seq)
        elif current and self._mqtt.connected and self._retry is None:
            # The connection stands, so it is a refusal; a lost one rewinds when it is back.
            self._refusal = str(error)
            _log.warning("batch %d is sent again: %s", seq, error)
            self._retry = asyncio.get_running_loop().call_later(REFUSED_RETRY_S, self._again)
        if not len(self.spool):
            self._empty.set()
        self._pump()

    def _again(self) -> None:
        self._retry = None
        self.spool.rewind()
        self._pump()

    def _status(self, state: Literal["online", "offline"]) -> Status:
        adverts, error = self._health()
        return Status(
            gateway=self.gateway,
            state=state,
            boot=self.boot,
            t=self._now(),
            version=_software_version(),
            window=self._window,
            scanner=self._scanner,
            adverts=adverts,
            published=self.published,
            dropped=self.spool.dropped,
            spooled=len(self.spool),
            uptime=time.monotonic() - self._started,
            error=error or self._refusal,
        )


@cache
def _software_version() -> str:
    try:
        return version("balise")
    except PackageNotFoundError:
        return ""
