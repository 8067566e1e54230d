"""Recording what happens: from the store in the workers' own order, or from the broker.

The rule: a recording from the store is what the workers were fed, so a replay of it gives their
fixes; where that cannot be kept (the recorder fell too far behind) it ends with an error instead
of a gap. A recording from the broker is in the order of arrival here, which is a little another.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final

from gateway.errors import UserError
from gateway.mqtt import Message, Mqtt
from gateway.readings import Batch, ReadingsError, decode
from gateway.topics import parse_topic, readings_topic
from stream.connection import Command, StoreDown
from stream.partition import join
from stream.store import Store

_log: Final = logging.getLogger(__name__)

Write = Callable[[Batch], None]

READ_COUNT: Final = 500
BLOCK_MS: Final = 500
_RETRY_S: Final = 0.5
# Ingest writes a batch's parts together, so one that still lacks a part when this many later
# ones are whole never gets it: its ingest died in between, and it came again.
PATIENCE: Final = 2_000
# Batches remembered as written, to leave out those that came twice.
MEMORY: Final = 100_000

_Key = tuple[str, str, int]


class RecordError(UserError):
    """A recording that cannot be what it promises."""


class Joiner:
    """Puts the parts of batches together again, in the order of the first partition.

    With one partition everything goes through as it came, repeated batches included.
    """

    def __init__(self, partitions: int) -> None:
        self._partitions: Final = partitions
        self._parts: Final[dict[_Key, dict[int, Batch]]] = {}
        self._order: Final[deque[_Key]] = deque()
        self._written: Final[OrderedDict[_Key, None]] = OrderedDict()

    def add(self, p: int, batch: Batch) -> list[Batch]:
        """Takes a partition's part; gives the batches that are whole and next."""
        if self._partitions == 1:
            return [batch]
        key = (batch.gateway, batch.boot, batch.seq)
        if key in self._written:
            return []
        parts = self._parts.setdefault(key, {})
        if p == 0 and 0 not in parts:
            self._order.append(key)
        parts.setdefault(p, batch)
        return self._ready()

    def _ready(self) -> list[Batch]:
        whole: list[Batch] = []
        while self._order:
            key = self._order[0]
            parts = self._parts[key]
            if len(parts) == self._partitions:
                whole.append(join([parts[p] for p in range(self._partitions)]))
                self._written[key] = None
                if len(self._written) > MEMORY:
                    self._written.popitem(last=False)
            elif len(self._order) <= PATIENCE:
                break
            self._order.popleft()
            del self._parts[key]
        return whole


async def record_store(store: Store, write: Write, *, kept: bool = False) -> None:
    """Writes every batch that the workers are fed, in their order, until cancelled.

    Args:
        store: connected.
        write: takes each batch.
        kept: begin with the readings the store still keeps, instead of with the next ones.

    Raises:
        RecordError: the recorder fell so far behind that readings were trimmed before it.
        StoreError: the site is not in the store, or the store refuses.
    """
    await store.read_site()
    joiner = Joiner(store.partitions)
    names = [store.keys.partition(p).readings for p in range(store.partitions)]
    places = {name.encode(): p for p, name in enumerate(names)}
    after = ["0-0"] * len(names) if kept else [await _last(store, name) for name in names]
    words: Command = ("XREAD", "COUNT", READ_COUNT, "BLOCK", BLOCK_MS, "STREAMS")
    while True:
        try:
            reply = await store.link.call(*words, *names, *after)
            for stream, entries in reply or ():
                p = places[stream]
                await _check_whole(store, names[p], after[p])
                _write_all(entries, p, joiner, write)
                after[p] = entries[-1][0].decode()
        except StoreDown as error:
            _log.warning("%s; waiting", error)
            await asyncio.sleep(_RETRY_S)


async def record_broker(url: str, site_id: str, write: Write) -> None:
    """Writes every valid batch that the broker delivers, until cancelled.

    Raises:
        BrokerUrlError: the address cannot be used.
    """
    refused = 0

    def take(message: Message) -> None:
        nonlocal refused
        topic = parse_topic(message.topic)
        try:
            batch = decode(message.payload)
        except ReadingsError:
            batch = None
        if batch is None or topic is None or topic.gateway != batch.gateway:
            refused += 1
            return
        write(batch)

    client = Mqtt(
        url,
        f"balise-record-{secrets.token_hex(4)}",
        on_message=take,
        subscriptions=[(readings_topic(site_id, "+"), 1)],
    )
    try:
        await client.run()
    finally:
        if refused:
            _log.warning("%d messages were no readings and are left out", refused)


async def _last(store: Store, stream: str) -> str:
    newest = await store.link.call("XREVRANGE", stream, "+", "-", "COUNT", 1)
    return newest[0][0].decode() if newest else "0-0"


async def _check_whole(store: Store, stream: str, after: str) -> None:
    """Makes sure that nothing between `after` and what was just read has been trimmed."""
    if after == "0-0":
        return
    oldest = await store.link.call("XRANGE", stream, "-", "+", "COUNT", 1)
    if not oldest or _number(oldest[0][0].decode()) > _number(after):
        raise RecordError(
            f"the recorder fell behind: the store no longer keeps the readings after {after}; "
            "record on a faster machine, or from the broker with --mqtt"
        )


def _write_all(entries: list[Any], p: int, joiner: Joiner, write: Write) -> None:
    for _, fields in entries:
        if len(fields) != 2 or fields[0] != b"b":
            continue
        try:
            batch = decode(fields[1])
        except ReadingsError:
            continue  # the workers leave it out as well
        for whole in joiner.add(p, batch):
            write(whole)


def _number(id_: str) -> tuple[int, int]:
    ms, _, count = id_.partition("-")
    return int(ms), int(count)
