"""When our own processes serve, asked from outside as anybody could."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from balise.supervisor import Ready
from stream.store import Store, StoreError

_HTTP_S: Final = 2.0


def listens(redis: str, site: str) -> Ready:
    """Ingest tells the store every second how it is; it serves when it hears the broker."""

    async def says(store: Store) -> bool:
        health = await store.ingest_health()
        return health is not None and health.connected

    return _told(redis, site, says)


def works(redis: str, site: str, name: str) -> Ready:
    """A worker tells the store that it lives, as soon as it does."""

    async def says(store: Store) -> bool:
        return name in await store.workers()

    return _told(redis, site, says)


def serves(host: str, port: int) -> Ready:
    """The dashboard answers."""

    async def ready() -> bool:
        return await http_status(host, port, "/healthz") == 200

    return ready


async def http_status(host: str, port: int, path: str) -> int:
    """The status of a GET, 0 when nobody answers."""
    try:
        async with asyncio.timeout(_HTTP_S):
            reader, writer = await asyncio.open_connection(host.strip("[]"), port)
            try:
                request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
                writer.write(request.encode())
                words = (await reader.readline()).split()
                return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return 0


def bracketed(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def near(host: str) -> str:
    """Where this machine reaches a server that listens on `host`, as it stands in a URL."""
    return bracketed({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host))  # noqa: S104  # looked up, not bound


def _told(redis: str, site: str, says: Callable[[Store], Awaitable[bool]]) -> Ready:
    """Asks the store, over a connection of its own each time: nothing is left to close."""

    async def ready() -> bool:
        try:
            store = await Store.connect(redis, site)
        except StoreError:
            return False
        try:
            return await says(store)
        except StoreError:
            return False
        finally:
            await store.close()

    return ready
