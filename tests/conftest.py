"""Fixtures shared by all tests: real stores and brokers."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.support.servers import BROKERS, STORES, Kind, Server, missing, running

# A process that was told to end has this long to do so.
GRACE_S: Final = 5.0

StartServer = Callable[[Kind], Server]


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """Whatever the tests started has ended when they end."""
    yield
    _, alive = psutil.wait_procs(psutil.Process().children(recursive=True), timeout=GRACE_S)
    assert not alive, f"left running by the tests: {alive}"


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts any number of servers for one test: `start_server("valkey")`; skips what is absent.

    This is the fixture for fault tests: what it returns can be killed and restarted.
    """
    with ExitStack() as stack:
        count = 0

        def start(kind: Kind) -> Server:
            nonlocal count
            if reason := missing(kind):
                pytest.skip(reason)
            count += 1
            return stack.enter_context(running(kind, tmp_path / f"server-{count}-{kind}"))

        yield start


@pytest.fixture
def valkey_server(start_server: StartServer) -> Server:
    """An embedded store of this test's own."""
    return start_server("valkey")


@pytest.fixture
def broker_server(start_server: StartServer) -> Server:
    """An embedded broker of this test's own."""
    return start_server("iotcore")


@pytest.fixture
def broker_url(broker_server: Server) -> str:
    """URL of an embedded broker of this test's own."""
    return broker_server.url


@pytest.fixture(scope="session")
def _stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Kind], Server]]:
    """The stores that tests share, one of each kind, started when first asked for."""
    with ExitStack() as stack:
        started: dict[Kind, Server] = {}

        def get(kind: Kind) -> Server:
            if kind not in started:
                directory = tmp_path_factory.mktemp(f"shared-{kind}")
                started[kind] = stack.enter_context(running(kind, directory))
            return started[kind]

        yield get


def _emptied(server: Server) -> str:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10.0) as client:
        client.sendall(b"FLUSHALL SYNC\r\nFUNCTION FLUSH SYNC\r\nSCRIPT FLUSH SYNC\r\n")
        answer = b""
        while answer.count(b"\r\n") < 3:
            answer += client.recv(256)
    assert answer == b"+OK\r\n" * 3, answer
    return server.url


@pytest.fixture
def valkey_url(_stores: Callable[[Kind], Server]) -> str:
    """URL of the shared embedded store, emptied; not to be killed (`valkey_server` is)."""
    return _emptied(_stores("valkey"))


def _needs_debian(kind: Kind) -> object:
    return pytest.param(kind, marks=pytest.mark.debian)


@pytest.fixture(params=[STORES[0], *map(_needs_debian, STORES[1:])])
def any_store_url(request: pytest.FixtureRequest, _stores: Callable[[Kind], Server]) -> str:
    """URL of an emptied store: embedded, then Debian's redis-server."""
    if reason := missing(request.param):
        pytest.skip(reason)
    return _emptied(_stores(request.param))


@pytest.fixture(params=[STORES[0], *map(_needs_debian, STORES[1:])])
def any_store_server(request: pytest.FixtureRequest, start_server: StartServer) -> Server:
    """A store of this test's own that can be killed: embedded, then Debian's redis-server."""
    return start_server(request.param)


@pytest.fixture(params=[BROKERS[0], *map(_needs_debian, BROKERS[1:])])
def any_broker_server(request: pytest.FixtureRequest, start_server: StartServer) -> Server:
    """A broker of this test's own that can be killed: embedded, then Debian's mosquitto."""
    return start_server(request.param)


@pytest.fixture
def any_broker_url(any_broker_server: Server) -> str:
    """URL of a broker of this test's own: embedded, then Debian's mosquitto."""
    return any_broker_server.url
