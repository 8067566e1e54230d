"""The servers that other tests stand on: they answer, survive a kill with their data, and end."""

from __future__ import annotations

import socket
import time

import pytest

from tests.support.servers import Server

_CONNECT_V5 = b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02it"


def _ask(port: int, question: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5.0) as client:
        client.sendall(question)
        return client.recv(256)


def test_a_store_keeps_its_data_over_a_kill(any_store_server: Server) -> None:
    """What was acknowledged before a kill -9 is there after the restart, on the same port."""
    assert _ask(any_store_server.port, b"SET k v\r\n") == b"+OK\r\n"
    any_store_server.kill9()
    with pytest.raises(ConnectionRefusedError):
        _ask(any_store_server.port, b"PING\r\n")
    any_store_server.restart()
    assert _ask(any_store_server.port, b"GET k\r\n") == b"$1\r\nv\r\n"


def test_a_broker_speaks_mqtt_5_and_comes_back(any_broker_server: Server) -> None:
    """It accepts an MQTT 5 connection, before and after a kill."""
    for _ in range(2):
        answer = _ask(any_broker_server.port, _CONNECT_V5)
        assert answer[:1] == b"\x20", answer
        assert answer[3] == 0, answer
        any_broker_server.kill9()
        any_broker_server.restart()


@pytest.mark.parametrize("_again", [1, 2])
def test_the_shared_store_is_empty_for_each_test(any_store_url: str, _again: int) -> None:
    """A shared store holds nothing when a test gets it, and is reached by its URL."""
    port = int(any_store_url.removeprefix("redis://127.0.0.1:").removesuffix("/0"))
    assert _ask(port, b"DBSIZE\r\n") == b":0\r\n"
    assert _ask(port, b"SET left behind\r\n") == b"+OK\r\n"


def test_a_frozen_server_holds_its_connections(valkey_server: Server) -> None:
    """Freezing stops answers without refusing connections; thawing brings the answer."""
    with socket.create_connection(("127.0.0.1", valkey_server.port), timeout=0.2) as client:
        valkey_server.freeze()
        client.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            client.recv(64)
        valkey_server.thaw()
        client.settimeout(5.0)
        assert client.recv(64) == b"+PONG\r\n"


def test_a_stopped_server_is_gone(valkey_server: Server, broker_server: Server) -> None:
    """Stopping leaves no process and takes less than the deadline."""
    for server in (valkey_server, broker_server):
        started = time.monotonic()
        server.stop()
        assert server.process.returncode is not None
        assert time.monotonic() - started < 5.0
