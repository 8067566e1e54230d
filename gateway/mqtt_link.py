"""One MQTT connection on the loop: paho's socket, read and written when the selector says so.

The rule: paho speaks the protocol and asyncio does the waiting; no thread, no blocking call.
Knows nothing of what the connection is for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from paho.mqtt.client import Client

# Packets read in a row before the loop serves others.
READ_BURST: Final = 64


class Link:
    """Serves a client whose socket is open and whose CONNECT is queued.

    Args:
        loop: the running loop.
        client: paho's client, with its callbacks set, from `gateway.mqtt_connect`.
        handled: how many packets the callbacks have been told of so far.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, client: Client, handled: Callable[[], int]
    ) -> None:
        self._loop: Final = loop
        self._client: Final = client
        self._handled: Final = handled
        self._socket: Final = cast("Any", client.socket())
        # TLS holds bytes back that the selector does not see.
        self._pending: Final[Callable[[], int]] = getattr(self._socket, "pending", lambda: 0)
        self._ended = False
        self._writing = False
        # One write in the next round of the loop takes all that was queued in this one.
        client.on_socket_register_write = lambda *_: _nothing(loop.call_soon(self._write))
        client.on_socket_close = lambda *_: self._release()
        loop.add_reader(self._socket, self._read)
        self._write()

    def open(self) -> bool:
        """Whether the connection is still there; any call of paho's may end it."""
        return not self._ended

    def close(self) -> None:
        """Closes the connection, whatever its state, without calling anybody back."""
        self._release()
        self._client.on_socket_close = None
        self._socket.close()

    def _release(self) -> None:
        if not self._ended:
            self._ended = True
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        for _ in range(READ_BURST):
            if not self.open():
                return
            before = self._handled()
            self._client.loop_read()
            if self.open() and self._handled() == before and not self._pending():
                return
        self._loop.call_soon(self._read)

    def _write(self) -> None:
        if not self.open():
            return
        self._client.loop_write()
        if not self.open():
            return
        wanted = self._client.want_write()
        if wanted and not self._writing:
            self._loop.add_writer(self._socket, self._write)
        elif self._writing and not wanted:
            self._loop.remove_writer(self._socket)
        self._writing = wanted


def _nothing(_: object) -> None:
    """Drops a value where paho wants None."""
