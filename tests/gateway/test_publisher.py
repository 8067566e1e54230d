"""The publisher against real brokers: nothing lost, nothing silently dropped, health told."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from array import array
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.publisher import Health, Publisher
from gateway.windows import Window
from tests.support.listener import listening, until
from tests.support.servers import Server, free_port, missing


def publisher(url: str, **changes: Any) -> Publisher:
    """A publisher of one second's windows."""
    settings: dict[str, Any] = {
        "site": "s",
        "gateway": "g",
        "mqtt_url": url,
        "window": 1.0,
        "scanner": "test",
        "now": lambda: 1_700_000_000.0,
        "health": lambda: Health(7, "no trouble at all"),
        **changes,
    }
    return Publisher(**settings)


def window(i: int, readings: int = 1) -> Window:
    """The i-th window."""
    return Window(
        1_700_000_000.0 + i,
        [f"ibeacon:e2c56db5-dffb-48d2-b060-d0f5a71096e0:1:{k}" for k in range(readings)],
        array("f", [-60.0] * readings),
        array("H", [1] * readings),
        array("f", [-59.0] * readings),
        array("f", [0.5] * readings),
    )


@asynccontextmanager
async def running(publisher: Publisher) -> AsyncIterator[Publisher]:
    """A publisher that runs for the length of a with block."""
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


async def test_many_windows_arrive_once_and_in_order(any_broker_url: str) -> None:
    """Two thousand windows at once, many times what may be in flight, come whole and in order."""
    async with listening(any_broker_url, "s") as heard, running(publisher(any_broker_url)) as ours:
        for i in range(2_000):
            ours.publish(window(i, 3))
        await asyncio.wait_for(ours.drained(), 20.0)
        await until(lambda: len(heard.batches) >= 2_000, "all batches")
    assert [b.seq for b in heard.batches] == list(range(1, 2_001))
    assert [b.t for b in heard.batches] == [1_700_000_000.0 + i for i in range(2_000)]
    assert ours.published == 2_000


async def test_a_flickering_broker_loses_and_hides_nothing(any_broker_server: Server) -> None:
    """With the broker killed again and again, what it acknowledged and what waits is everything."""
    url = any_broker_server.url
    async with running(publisher(url)) as ours:
        for round_ in range(4):
            await until(lambda: ours.connected, "a connection")
            for i in range(200):
                ours.publish(window(200 * round_ + i))
                if i == 100:
                    await asyncio.sleep(0)  # let some of them under way
                    any_broker_server.kill9()
            any_broker_server.restart()
        await asyncio.wait_for(ours.drained(), 30.0)
    assert ours.seq == ours.published == 800
    assert ours.spool.dropped == 0


async def test_a_listener_with_a_session_misses_nothing(any_broker_url: str) -> None:
    """Every number arrives at least once though the connection is cut while they fly."""
    async with listening(any_broker_url, "s") as heard, running(publisher(any_broker_url)) as ours:
        for i in range(600):
            ours.publish(window(i))
            if i % 100 == 50:
                await until(lambda: ours.connected, "a connection")
                await asyncio.sleep(0)
                cut(ours)
        await asyncio.wait_for(ours.drained(), 30.0)
        await until(lambda: {b.seq for b in heard.batches} == set(range(1, 601)), "every number")
    # Whatever came twice is the same batch.
    first = {b.seq: b for b in heard.batches}
    assert all(first[b.seq] == b for b in heard.batches)


async def test_a_full_spool_drops_the_oldest_and_says_so(any_broker_server: Server) -> None:
    """While the broker is away the newest windows are kept; the count reaches the status."""
    url = any_broker_server.url
    any_broker_server.kill9()
    async with running(publisher(url, max_batches=10)) as ours:
        for i in range(25):
            ours.publish(window(i))
        assert (len(ours.spool), ours.spool.dropped) == (10, 15)
        any_broker_server.restart()
        async with listening(url, "s") as heard:
            await asyncio.wait_for(ours.drained(), 20.0)
            ours.say()
            await until(lambda: any(s.spooled == 0 for s in heard.statuses), "a status")
            told = heard.statuses[-1]
    assert (told.dropped, told.published) == (15, 10)


async def test_the_status_tells_who_and_how(any_broker_url: str) -> None:
    """Birth is retained with everything a person wants to know; goodbye replaces it."""
    ours = publisher(any_broker_url, boot="b00t", health_s=0.2)
    async with running(ours):
        async with listening(any_broker_url, "s") as heard:
            await until(lambda: len(heard.statuses) >= 3, "health again and again")
            first = heard.statuses[0]
        assert (first.gateway, first.state, first.boot) == ("g", "online", "b00t")
        assert (first.adverts, first.error, first.scanner) == (7, "no trouble at all", "test")
        assert (first.window, first.t, first.v) == (1.0, 1_700_000_000.0, 1)
        assert first.version
        assert [s.uptime for s in heard.statuses] == sorted(s.uptime for s in heard.statuses)
    async with listening(any_broker_url, "s", "later") as later:
        await until(lambda: bool(later.statuses), "the retained status")
    assert later.messages[0].retain
    assert later.statuses[0].state == "offline"
    assert later.statuses[0].boot == "b00t"


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[str]:
    """A mosquitto that takes no packet above 2,000 bytes and no readings of gateway `mute`."""
    if reason := missing("mosquitto"):
        pytest.skip(reason)
    port = free_port()
    (tmp_path / "acl").write_text(
        "topic readwrite balise/#\ntopic deny balise/v1/s/gateways/mute/readings\n"
    )
    (tmp_path / "m.conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nmax_packet_size 2000\n"
        f"acl_file {tmp_path}/acl\n"
    )
    (tmp_path / "acl").chmod(0o600)
    process = subprocess.Popen(
        ["mosquitto", "-c", str(tmp_path / "m.conf")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"mqtt://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10.0)


@pytest.mark.debian
async def test_what_is_too_big_for_the_broker_is_dropped_alone(strict: str) -> None:
    """A batch above the broker's packet size is given up, counted and told; others flow."""
    ours = publisher(strict, health=lambda: Health(0, ""))
    async with running(ours):
        await until(lambda: ours.connected, "a connection")
        async with listening(strict, "s") as heard:
            for readings in (1, 200, 2):
                ours.publish(window(readings, readings))
            await asyncio.wait_for(ours.drained(), 20.0)
            ours.say()
            await until(lambda: any(s.dropped for s in heard.statuses), "the status")
            await until(lambda: len(heard.batches) == 2, "the others")
    assert [b.seq for b in heard.batches] == [1, 3]
    assert "packet size" in heard.statuses[-1].error or "packet size" in heard.statuses[-2].error
    assert ours.spool.dropped == 1


@pytest.mark.debian
async def test_what_the_broker_refuses_is_kept_and_told(
    strict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway without the right to publish keeps its batches, says so and tries again."""
    monkeypatch.setattr("gateway.publisher.REFUSED_RETRY_S", 0.05)
    ours = publisher(strict, gateway="mute", health=lambda: Health(0, ""), health_s=0.1)
    async with listening(strict, "s") as heard, running(ours):
        ours.publish(window(1))
        await until(lambda: any("refuses" in s.error for s in heard.statuses), "the status")
        assert len(ours.spool) == 1
        assert ours.published == ours.spool.dropped == 0
    assert heard.batches == []


async def test_an_absent_broker_does_not_hold_up_the_end() -> None:
    """Told to stop while the broker cannot be reached, it stops."""
    async with running(publisher(f"mqtt://127.0.0.1:{free_port()}")) as ours:
        ours.publish(window(1))
        await asyncio.sleep(0)
        start = time.monotonic()
    assert time.monotonic() - start < 1.0
    assert len(ours.spool) == 1


def cut(publisher: Publisher) -> None:
    """Cuts the connection without a goodbye."""
    client = publisher._mqtt._client
    sock = None if client is None else client.socket()
    if isinstance(sock, socket.socket):
        with suppress(OSError):  # cut before, and not noticed yet
            sock.shutdown(socket.SHUT_RDWR)
