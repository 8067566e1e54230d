"""A real dashboard on a real port for tests, with clients for its API and its live feed."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import msgspec
import numpy as np
import numpy.typing as npt
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from dashboard.app import create_app
from dashboard.serve import listen, serve
from stream.store import Store
from tests.support.processes import until_async

_HEADER: Final = struct.Struct("<BBHIdII")
_COLUMNS: Final = (
    ("row", "<u4"),
    ("x", "<u2"),
    ("y", "<u2"),
    ("age", "<u2"),
    ("accuracy", "<u2"),
    ("zone", "<u2"),
    ("floor", "u1"),
    ("speed", "u1"),
)


class Frame(NamedTuple):
    """A binary frame as a client reads it; written from the interface, not from the encoder."""

    version: int
    snapshot: bool
    sequence: int
    t: float
    length: int
    site_version: int
    columns: dict[str, npt.NDArray[Any]]


def read_frame(data: bytes) -> Frame:
    """Takes a frame apart; every byte must be accounted for."""
    version, flags, zero, sequence, t, count, site_version = _HEADER.unpack_from(data)
    assert (version, zero) == (1, 0)
    assert flags in (0, 1)
    place = _HEADER.size
    columns = {}
    for name, kind in _COLUMNS:
        columns[name] = np.frombuffer(data, kind, count, place)
        place += columns[name].nbytes
    assert place == len(data)
    return Frame(version, flags == 1, sequence, t, count, site_version, columns)


class LiveClient:
    """A client of the live feed that keeps what it was told."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket: Final = socket
        self.texts: list[dict[str, Any]] = []
        self.frames: list[Frame] = []

    async def next(self, within_s: float = 10.0) -> dict[str, Any] | Frame:
        """The next message."""
        async with asyncio.timeout(within_s):
            data = await self.socket.recv()
        if isinstance(data, bytes):
            frame = read_frame(data)
            self.frames.append(frame)
            return frame
        text: dict[str, Any] = msgspec.json.decode(data)
        self.texts.append(text)
        return text

    async def closing_code(self) -> int:
        """The code the server closes with, once it does."""
        while True:
            try:
                await self.next()
            except ConnectionClosed as closed:
                return 1006 if closed.rcvd is None else closed.rcvd.code

    async def text(self, kind: str) -> dict[str, Any]:
        """The next text of a kind; others are kept in `texts`."""
        async with asyncio.timeout(10.0):
            while True:
                message = await self.next()
                if isinstance(message, dict) and message["type"] == kind:
                    return message

    async def frame(self) -> Frame:
        """The next binary frame; texts before it are kept in `texts`."""
        async with asyncio.timeout(10.0):
            while True:
                message = await self.next()
                if isinstance(message, Frame):
                    return message


class Dashboard:
    """A running dashboard.

    Attributes:
        url: http://127.0.0.1:PORT.
        http: a client of it.
        stop: set to end it.
    """

    def __init__(
        self,
        port: int,
        http: httpx.AsyncClient,
        stop: asyncio.Event,
        serving: asyncio.Task[None],
    ) -> None:
        self.port: Final = port
        self.url: Final = f"http://127.0.0.1:{port}"
        self.http: Final = http
        self.stop: Final = stop
        self._serving: Final = serving

    async def ended(self) -> None:
        """Waits until it has stopped serving."""
        async with asyncio.timeout(10.0):
            await asyncio.shield(self._serving)

    async def get(self, path: str, status: int = 200, **more: Any) -> Any:
        """The JSON of a path; the status must be as given."""
        response = await self.http.get(path, **more)
        assert response.status_code == status, response.text
        return response.json()

    async def post(self, path: str, body: object, status: int = 201) -> Any:
        """As `get`, posting JSON."""
        response = await self.http.post(path, json=body)
        assert response.status_code == status, response.text
        return response.json()

    @asynccontextmanager
    async def live(self, **more: Any) -> AsyncIterator[LiveClient]:
        """A connected client of the live feed."""
        address = f"ws://127.0.0.1:{self.port}/api/v1/live"
        async with connect(address, compression=None, max_size=None, **more) as socket:
            yield LiveClient(socket)

    async def ready(self) -> None:
        """Waits until /readyz says so."""

        async def is_ready() -> bool:
            return (await self.http.get("/readyz")).status_code == 200

        await until_async(is_ready, "the dashboard is ready")

    def metric(self, text: str, name: str) -> float:
        """One sample of Prometheus' text, by its name with labels."""
        values = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        found = [float(value) for sample, _, value in values if sample == name]
        assert len(found) == 1, f"{name} stands {len(found)} times"
        return found[0]


@asynccontextmanager
async def dashboard(
    url: str,
    site_id: str = "depot",
    *,
    clock: Callable[[], float] | None = None,
    token: str | None = None,
    static: Path | None = None,
    send_buffer: int | None = None,
    wait: bool = True,
) -> AsyncIterator[Dashboard]:
    """Serves a site of the store at `url` for the length of the block.

    A small `send_buffer` (bytes) makes a client that does not read felt soon.
    """
    store = await Store.connect(url, site_id)
    more: dict[str, Any] = {}
    if clock is not None:
        more["clock"] = clock
    if static is not None:
        more["static"] = static
    app = create_app(store, token=token, version="0.1.0", **more)
    opened = listen("127.0.0.1", 0)
    if send_buffer is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    port = opened.getsockname()[1]
    started, stop = asyncio.Event(), asyncio.Event()
    serving = asyncio.create_task(serve(app, opened, started.set, stop))
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        async with asyncio.timeout(10.0):
            await started.wait()
        base = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=10.0) as http:
            made = Dashboard(port, http, stop, serving)
            if wait:
                await made.ready()
            yield made
    finally:
        stop.set()
        async with asyncio.timeout(5.0):
            await serving
        await store.close()
