"""Ingest: from the broker into the store's streams, acknowledging only what the store has.

The rule: a message is acknowledged to the broker after the store holds it, or after it was
refused and counted. While the store is away, or the workers are too far behind, nothing is
acknowledged and the broker keeps what comes; its window bounds what is in memory here. What may
pass is decided in `stream.admission`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.mqtt import Message, Mqtt
from gateway.readings import Batch, encode
from gateway.status import Status
from gateway.topics import site_filter
from stream.admission import NOBODY, AdmittedStatus, Reason, Refusal, admit
from stream.connection import Command, Connection
from stream.partition import beacon_partitions, split
from stream.store import GatewayRecord, IngestHealth, Store, StoreError

_log: Final = logging.getLogger(__name__)

# The broker keeps our session, and so the messages, over a restart or an update of this host.
SESSION_EXPIRY_S: Final = 3_600
# Un-acknowledged messages the broker may send: what one round trip to a busy store can take.
RECEIVE_MAXIMUM: Final = 1_000
# One round trip carries what arrived within this time, or this many messages. Waiting for a
# number alone would never end when the broker's window is smaller than the number.
GATHER_S: Final = 0.004
MAX_FLUSH: Final = 200
# QoS 0 has no window; beyond this many in hand such messages are refused.
MAX_WAITING: Final = 2 * RECEIVE_MAXIMUM
BEAT_S: Final = 1.0
HEALTH_MS: Final = 5_000
_FIRST_RETRY_S: Final = 0.05
_LAST_RETRY_S: Final = 1.0
_HELD_BACK_S: Final = 0.1
# A gateway that is refused every second deserves a line a minute.
_REFUSAL_LOG_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far the workers may fall behind before the broker is made to wait.

    Attributes:
        entries: batches in one partition's stream.
        size: their size in bytes, estimated from the batches of this ingest.
    """

    entries: int = 1_000_000
    size: int = 1 << 30


class _Place:
    """The site as ingest needs it."""

    def __init__(self, version: int, gateways: frozenset[str], assigned: dict[str, int]) -> None:
        self.version = version
        self.gateways = gateways
        self.assigned = assigned


class Ingest:
    """One site's ingest. Several may not run at once: the broker gives one session to each site.

    Args:
        store: connected; the site may still be missing.
        mqtt_url: the broker.
        bounds: when to hold back.
        clock: Unix seconds.
    """

    def __init__(
        self,
        store: Store,
        mqtt_url: str,
        *,
        bounds: Bounds | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store: Final = store
        self._bounds: Final = bounds or Bounds()
        self._clock: Final = clock
        # A repeated XADD is a duplicate that the engine drops, so a lost answer does no harm, but
        # retries are made here, where they can be logged and where the broker is told to wait.
        self._link: Final = Connection(store.url)
        self._mqtt: Final = Mqtt(
            mqtt_url,
            f"balise-ingest-{store.site_id}",
            session_expiry_s=SESSION_EXPIRY_S,
            clean_start=False,
            manual_ack=True,
            receive_maximum=RECEIVE_MAXIMUM,
            on_message=self._take,
            subscriptions=[(site_filter(store.site_id), 1)],
        )
        self._waiting: Final[deque[tuple[float, Message]]] = deque()
        self._arrived: Final = asyncio.Event()
        self._connection = 0
        self._place = _Place(0, frozenset(), {})
        self._statuses: dict[str, Status] = {}
        self._refused: Counter[tuple[str, Reason]] = Counter()
        self._refusal_logged: dict[tuple[str, str], float] = {}
        self._mean_size = 0.0
        self._lag = 0.0
        self._readings_told = 0
        self._health = IngestHealth(t=0.0, started=clock())

    async def run(self) -> None:
        """Serves until cancelled. What is not acknowledged by then comes again."""
        try:
            await self._learn_site()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._beat())
                tasks.create_task(self._flush_for_ever())
                tasks.create_task(self._mqtt.run())
        finally:
            await self._link.close()

    def _take(self, message: Message) -> None:
        if message.connection != self._connection:
            # What a lost connection left in hand comes again: kept, it would pile up with every
            # reconnection while the store is away.
            self._connection = message.connection
            kept = [pair for pair in self._waiting if pair[1].qos == 0]
            self._waiting.clear()
            self._waiting.extend(kept)
        if message.qos == 0 and len(self._waiting) >= MAX_WAITING:
            self._refused[NOBODY, "overflow"] += 1
        else:
            self._waiting.append((time.monotonic(), message))
        self._arrived.set()

    # -- from hand to store --------------------------------------------------------------------

    async def _flush_for_ever(self) -> None:
        while True:
            await self._arrived.wait()
            if len(self._waiting) < MAX_FLUSH:
                await asyncio.sleep(GATHER_S)
            self._arrived.clear()
            count = min(MAX_FLUSH, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(count)]
            if self._waiting:
                self._arrived.set()
            commands, readings = self._judge([message for _, message in batch])
            replies = await self._write(commands + self._questions())
            for _, message in batch:
                self._mqtt.ack(message)
            if batch:
                self._lag = max(self._lag, time.monotonic() - batch[0][0])
            self._health = msgspec.structs.replace(
                self._health,
                messages=self._health.messages + count,
                readings=self._health.readings + readings,
            )
            await self._follow(replies[len(commands) :])

    def _judge(self, messages: list[Message]) -> tuple[list[Command], int]:
        """What to write for these messages, and how many readings it holds."""
        now = self._clock()
        place = self._place
        commands: list[Command] = []
        statuses: dict[str, Status] = {}
        readings = 0
        for message in messages:
            verdict = admit(
                message.topic, message.payload, now, self._store.site_id, place.gateways
            )
            if isinstance(verdict, Refusal):
                self._refuse(verdict)
            elif isinstance(verdict, AdmittedStatus):
                status = verdict.status
                # The broker repeats what it retained at every subscription: that is no news.
                if not message.retain or self._statuses.get(status.gateway) != status:
                    statuses[status.gateway] = status
            else:
                readings += len(verdict.batch)
                self._mean_size += 0.01 * (len(verdict.packed) - self._mean_size)
                for p, packed in enumerate(self._parts(verdict.batch, verdict.packed)):
                    commands.append(
                        ("XADD", self._store.keys.partition(p).readings, "*", "b", packed)
                    )
        for gateway, status in statuses.items():
            record = msgspec.json.encode(GatewayRecord(status, now))
            commands.append(("HSET", self._store.keys.gateways, gateway, record))
        self._statuses.update(statuses)
        refused, self._refused = self._refused, Counter()
        for (gateway, reason), times in refused.items():
            commands.append(("HINCRBY", self._store.keys.refused, f"{gateway} {reason}", times))
        return commands, readings

    def _parts(self, batch: Batch, packed: bytes) -> list[bytes]:
        if self._store.partitions == 1:
            return [packed]
        parts = split(batch, self._place.assigned, self._store.partitions)
        return [encode(part) for part in parts]

    def _refuse(self, refusal: Refusal) -> None:
        key = (refusal.gateway, refusal.reason)
        self._refused[key] += 1
        self._health = msgspec.structs.replace(self._health, refused=self._health.refused + 1)
        now = time.monotonic()
        if now - self._refusal_logged.get(key, -_REFUSAL_LOG_S) >= _REFUSAL_LOG_S:
            self._refusal_logged[key] = now
            _log.warning(
                "refused a message of %s (%s): %s",
                "an unknown sender" if refusal.gateway == NOBODY else f"`{refusal.gateway}`",
                refusal.reason,
                refusal.detail[:200],
            )

    async def _write(self, commands: list[Command]) -> list[Any]:
        """Sends the commands until each has succeeded; gives their replies."""
        replies: list[Any] = [None] * len(commands)
        open_ = list(range(len(commands)))
        wait = _FIRST_RETRY_S
        trouble = ""
        while open_:
            try:
                answers = await self._link.pipeline([commands[i] for i in open_])
            except StoreError as error:
                answers = [error] * len(open_)
            failed: list[int] = []
            for i, answer in zip(open_, answers, strict=True):
                if isinstance(answer, StoreError):
                    failed.append(i)
                    trouble = str(answer)
                else:
                    replies[i] = answer
            if failed:
                if wait == _FIRST_RETRY_S:
                    _log.warning("%s; readings wait at the broker", trouble)
                await asyncio.sleep(wait)
                wait = min(2 * wait, _LAST_RETRY_S)
            elif trouble:
                _log.info("the store takes readings again")
            open_ = failed
        return replies

    # -- the site and the bound ----------------------------------------------------------------

    def _questions(self) -> list[Command]:
        """What is asked with every flush: the site's version, and how far the workers are."""
        keys = self._store.keys
        lengths: list[Command] = [
            ("XLEN", keys.partition(p).readings) for p in range(self._store.partitions)
        ]
        return [("GET", keys.site), *lengths]

    async def _follow(self, replies: list[Any]) -> None:
        """Holds on while a stream is too long; reads the site again when it is another."""
        while (longest := max(map(int, replies[1:]), default=0)) and self._too_long(longest):
            if not self._health.held_back:
                _log.warning(
                    "the workers are %d batches behind; the broker waits until they catch up",
                    longest,
                )
                self._hold_back(held=True)
            await asyncio.sleep(_HELD_BACK_S)
            replies = await self._write(self._questions())
        if self._health.held_back:
            _log.info("the workers have caught up; readings flow again")
            self._hold_back(held=False)
        if int(replies[0] or 0) != self._place.version:
            await self._learn_site()

    def _too_long(self, entries: int) -> bool:
        return entries > self._bounds.entries or entries * self._mean_size > self._bounds.size

    def _hold_back(self, *, held: bool) -> None:
        self._health = msgspec.structs.replace(self._health, held_back=held)

    async def _learn_site(self) -> None:
        """Reads the site, waiting until there is one."""
        trouble = ""
        while True:
            try:
                partitions = await self._store.refresh()
                version, site = await self._store.read_site()
                records = await self._store.gateway_statuses()
                break
            except StoreError as error:
                if str(error) != trouble:
                    trouble = str(error)
                    _log.warning("%s; waiting", trouble)
                await asyncio.sleep(_LAST_RETRY_S)
        gateways = frozenset(gateway.id for gateway in site.gateways)
        self._place = _Place(version, gateways, beacon_partitions(site, partitions))
        self._statuses = {name: record.status for name, record in records.items()}
        gone = sorted(self._statuses.keys() - gateways)
        if gone:
            await self._write([("HDEL", self._store.keys.gateways, *gone)])
        _log.info(
            "site `%s`, version %d: %d gateways, %d partition%s",
            *(site.id, version, len(gateways), partitions, "" if partitions == 1 else "s"),
        )

    # -- health --------------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Says how it goes, every second; wakes the flush so that an idle site is followed too."""
        before = time.monotonic()
        while True:
            now = time.monotonic()
            told, self._readings_told = self._readings_told, self._health.readings
            lag, self._lag = self._lag, 0.0
            oldest = now - self._waiting[0][0] if self._waiting else 0.0
            self._health = msgspec.structs.replace(
                self._health,
                t=self._clock(),
                rate=(self._readings_told - told) / max(now - before, 1e-3),
                waiting=len(self._waiting),
                lag=max(lag, oldest),
                connected=self._mqtt.connected,
            )
            before = now
            try:
                await self._link.call(
                    *("SET", self._store.keys.ingest, msgspec.json.encode(self._health)),
                    *("PX", HEALTH_MS),
                )
            except StoreError as error:
                _log.debug("%s", error)
            self._arrived.set()
            await asyncio.sleep(BEAT_S)
