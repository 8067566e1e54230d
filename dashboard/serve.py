"""The process: a listening socket, uvicorn on it, and an end within a second of being asked."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from gateway.errors import UserError

BACKLOG: Final = 1_024
# Our clients say one short word; more is a mistake or an attack.
MAX_CLIENT_MESSAGE_BYTES: Final = 4_096
# Answers under way may end; a client that takes nothing must not hold the end back.
GRACE_S: Final = 0.4
# The kernel gives up a connection whose peer has taken nothing for this long.
PEER_TIMEOUT_MS: Final = 30_000


class PortError(UserError):
    """The address cannot be listened on."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Args:
        host: an address or name of this machine.
        port: 0 for any that is free.

    Raises:
        PortError: one sentence.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        opened = socket.socket(family, kind, protocol)
    except (OSError, OverflowError, UnicodeError) as error:
        raise PortError(f"`{host}` port {port} is no address of this machine: {error}") from error
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Connections that are accepted inherit it.
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PEER_TIMEOUT_MS)
        opened.bind(address)
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            raise PortError(
                f"port {port} of {host} is taken by another program; stop it, or choose another "
                "port with --port"
            ) from error
        raise PortError(f"{host} port {port} cannot be opened: {error.strerror}") from error
    opened.setblocking(False)
    return opened


def url_of(opened: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = opened.getsockname()[:2]
    host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)  # noqa: S104  # compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started: Final = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, and says when it is done."""
        await super().startup(sockets)
        self._on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are not uvicorn's: it would raise them again instead of ending with 0."""
        yield


def stop_on_signals(stop: asyncio.Event) -> None:
    """Sets `stop` at SIGTERM and at Ctrl-C."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


async def serve(
    app: ASGIApp, opened: socket.socket, started: Callable[[], None], stop: asyncio.Event
) -> None:
    """Serves until `stop` is set; returns within a second of it.

    Args:
        app: the application.
        opened: from `listen`; closed at the end.
        started: called when requests are answered.
        stop: set to end.
    """
    config = uvicorn.Config(
        app,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_max_size=MAX_CLIENT_MESSAGE_BYTES,
        lifespan="on",
        access_log=False,
        log_config=None,
        # What goes wrong in the app is logged by its outermost layer; the rest is weather.
        log_level="critical",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,  # type: ignore[arg-type]  # given to wait_for as it is
    )
    server = _Server(config, started)

    async def end() -> None:
        await stop.wait()
        server.should_exit = True

    ending = asyncio.create_task(end())
    try:
        await server.serve(sockets=[opened])
    finally:
        ending.cancel()
