"""Opening and closing a paho client's socket without holding up the loop, and when to try again."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Final

from paho.mqtt.client import Client
from paho.mqtt.properties import Properties

from gateway.broker_url import Broker

# A dead broker is noticed after at most two of these.
KEEPALIVE_S: Final = 10
# A lost connection is tried again at once, almost: readings wait. A broker that stays away is
# asked every few seconds; the jitter keeps a site's gateways from coming back in one wave.
FIRST_RETRY_S: Final = 0.3
LAST_RETRY_S: Final = 5.0


def backoff(attempt: int) -> float:
    """Seconds to wait after so many attempts in a row that failed."""
    longest = min(LAST_RETRY_S, FIRST_RETRY_S * 2.0**attempt) if attempt < 16 else LAST_RETRY_S
    return longest * random.uniform(1 / 3, 1)  # noqa: S311  # jitter is no secret


async def connect(
    client: Client, broker: Broker, *, clean_start: bool, properties: Properties
) -> None:
    """Opens the connection (names, TCP, TLS) without holding up the loop.

    paho does this blocking, so a daemon thread lends itself: unlike the loop's executor, an
    abandoned attempt does not hold up the end of the program.

    Raises:
        OSError, ssl.SSLError, ValueError: as paho raised it.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if done.done():
            close(client)
        elif error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def work() -> None:
        outcome: Exception | None = None
        try:
            client.connect(
                broker.host,
                broker.port,
                KEEPALIVE_S,
                clean_start=clean_start,
                properties=properties,
            )
        except Exception as error:  # noqa: BLE001  # handed over to the loop, which tells them apart
            outcome = error
        try:
            loop.call_soon_threadsafe(settle, outcome)
        except RuntimeError:  # the loop has ended meanwhile
            close(client)

    # Set before the thread starts, so that paho queues the CONNECT and leaves writing to us.
    client.on_socket_register_write = lambda *_: None
    threading.Thread(target=work, name=f"connect to {broker}", daemon=True).start()
    await done


def close(client: Client) -> None:
    """Closes the socket of a client that nobody serves, if it has one."""
    sock = client.socket()
    if sock is not None:
        sock.close()
