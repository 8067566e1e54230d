"""A subscriber for tests: what gateways published, decoded, in order of arrival."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.mqtt import Message, Mqtt
from gateway.readings import Batch, decode
from gateway.status import Status, decode_status
from gateway.topics import parse_topic, site_filter

DEADLINE_S = 20.0


class Listener:
    """Everything published for one site.

    Attributes:
        batches: readings messages, duplicates included.
        statuses: status messages.
        messages: both as they came, and whatever else was under the site's topics.
    """

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.statuses: list[Status] = []
        self.messages: list[Message] = []

    def take(self, message: Message) -> None:
        """Decodes one message."""
        self.messages.append(message)
        topic = parse_topic(message.topic)
        assert topic is not None, message.topic
        if topic.kind == "readings":
            self.batches.append(decode(message.payload))
        else:
            self.statuses.append(decode_status(message.payload))


@asynccontextmanager
async def listening(url: str, site: str, client_id: str = "listener") -> AsyncIterator[Listener]:
    """Hears a site for the length of a with block, with a session that outlives the broker."""
    listener = Listener()
    mqtt = Mqtt(
        url,
        client_id,
        clean_start=False,
        session_expiry_s=3_600,
        on_message=listener.take,
        subscriptions=[(site_filter(site), 1)],
    )
    task = asyncio.create_task(mqtt.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            await mqtt.wait_connected()
        yield listener
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Waits until a condition holds, or fails saying what was waited for."""
    limit = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < limit, f"waited {deadline_s} s for {what}"
        await asyncio.sleep(0.005)
