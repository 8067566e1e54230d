"""A whole gateway against a real broker: windows out, faults survived, clean ends, many at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from gateway.adverts import Advert, Hear, ScannerError
from gateway.daemon import Gateway
from tests.support.listener import listening, until
from tests.support.servers import Server


class Script:
    """A scanner under a test's control, on the real clock plus an offset.

    Attributes:
        hear: set while it runs.
        faults: raised one by one at the next runs.
        offset: seconds added to the clock.
    """

    name = "script"

    def __init__(self, *faults: Exception) -> None:
        self.hear: Hear | None = None
        self.faults = list(faults)
        self.offset = 0.0
        self.runs = 0
        self.over: asyncio.Event = asyncio.Event()
        self.break_with: Exception | None = None

    async def run(self, hear: Hear) -> None:
        """Hears what the test says."""
        self.runs += 1
        if self.faults:
            raise self.faults.pop(0)
        self.hear = hear
        try:
            await self.over.wait()
        finally:
            self.hear = None
        if self.break_with is not None:
            error, self.break_with = self.break_with, None
            self.over.clear()
            raise error

    def now(self) -> float:
        """The gateway's clock."""
        return time.time() + self.offset

    def say(self, beacon: str, rssi: float) -> None:
        """One advert, now."""
        assert self.hear is not None
        self.hear(Advert(self.now(), beacon, rssi))


@asynccontextmanager
async def running(gateway: Gateway) -> AsyncIterator[Gateway]:
    """A gateway that runs for the length of a with block."""
    task = asyncio.create_task(gateway.run())
    try:
        yield gateway
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


async def feed(script: Script, until_: Callable[[], bool]) -> int:
    """Speaks an advert of each of three beacons every 5 ms until a condition holds."""
    said = 0
    limit = time.monotonic() + 20.0
    while not until_():
        assert time.monotonic() < limit
        if script.hear is not None:
            for i in range(3):
                script.say(f"b{i}", -60.0 - i)
                said += 1
        await asyncio.sleep(0.005)
    return said


async def test_windows_are_published(any_broker_url: str) -> None:
    """Windows come one after the other, numbered, aligned, with every advert in them."""
    script = Script()
    gateway = Gateway("s", "g1", script, any_broker_url, window=0.25, grace=0.1)
    async with listening(any_broker_url, "s") as heard:
        async with running(gateway):
            said = await feed(script, lambda: len(heard.batches) >= 6)
            await until(lambda: sum(sum(b.n) for b in heard.batches) == said, "the last window")
        batches = heard.batches
        assert [b.seq for b in batches] == list(range(1, len(batches) + 1))
        assert {b.boot for b in batches} == {gateway.publisher.boot}
        ends = [b.t for b in batches]
        assert all(end / 0.25 == round(end / 0.25) for end in ends)
        assert [round((b - a) / 0.25) for a, b in pairwise(ends)] == [1] * (len(ends) - 1)
        full = batches[2]
        assert list(full.beacons) == ["b0", "b1", "b2"]
        assert full.rssi.tolist() == [-60.0, -61.0, -62.0]
        assert full.max == full.rssi
        assert full.spread is not None
        assert full.spread.tolist() == [0.0, 0.0, 0.0]
        assert gateway.adverts == said
        assert gateway.windows.late == gateway.windows.dropped == 0
        await until(lambda: heard.statuses[-1].state == "offline", "the goodbye")
    assert heard.statuses[0].state == "online"
    assert heard.statuses[0].scanner == "script"
    assert heard.statuses[-1].published == len(batches)
    assert heard.statuses[-1].adverts == said


async def test_silence_is_published_too(any_broker_url: str) -> None:
    """A gateway that hears nothing publishes empty windows, which move the watermark."""
    gateway = Gateway("s", "g1", Script(), any_broker_url, window=0.25)
    async with listening(any_broker_url, "s") as heard, running(gateway):
        await until(lambda: len(heard.batches) >= 3, "three windows")
    assert all(len(b) == 0 for b in heard.batches)


async def test_nothing_is_lost_while_the_broker_is_away(any_broker_server: Server) -> None:
    """Windows closed while the broker is dead are published when it is back, in order."""
    url = any_broker_server.url
    script = Script()
    gateway = Gateway("s", "g1", script, url, window=0.25, grace=0.1)
    async with running(gateway):
        async with listening(url, "s", "before") as heard:
            await feed(script, lambda: len(heard.batches) >= 3)
        any_broker_server.kill9()
        away = gateway.publisher.seq
        await feed(script, lambda: gateway.publisher.seq >= away + 4)
        assert len(gateway.publisher.spool) >= 4
        any_broker_server.restart()
        # Whoever listens must be there before the gateway is; its session is gone or kept.
        async with listening(url, "s", "after") as again:
            await feed(script, lambda: len(gateway.publisher.spool) == 0)
            await until(lambda: gateway.publisher.published >= away + 4, "acknowledgements")
            last = gateway.publisher.seq
            await feed(script, lambda: bool(again.batches) and again.batches[-1].seq > last)
    assert gateway.publisher.spool.dropped == 0
    assert gateway.publisher.published >= away + 4


async def test_faults_are_told_and_tried_again(any_broker_url: str) -> None:
    """A fault of the radio stands in the status until adverts are heard again."""
    script = Script(ScannerError("no adapter hci7; plug it in"), RuntimeError("odd"))
    gateway = Gateway("s", "g1", script, any_broker_url, window=0.25, retry_s=0.3)
    async with listening(any_broker_url, "s") as heard, running(gateway):
        await until(lambda: script.hear is not None, "the third run")
        await until(lambda: any(s.error for s in heard.statuses), "the error in the status")
        script.say("b", -50.0)
        await until(lambda: heard.statuses[-1].error == "", "the end of the trouble")
        script.break_with = ScannerError("the radio went silent")
        script.over.set()
        await until(lambda: heard.statuses[-1].error == "the radio went silent", "the new fault")
        await until(lambda: script.hear is not None, "the next run")
        # Windows never stopped.
        count = len(heard.batches)
        await until(lambda: len(heard.batches) > count, "a window")
    errors = [s.error for s in heard.statuses if s.error]
    assert set(errors) <= {
        "no adapter hci7; plug it in",
        "the scanner failed: RuntimeError('odd')",
        "the radio went silent",
    }


async def test_a_clock_set_back_is_followed(any_broker_url: str) -> None:
    """After the clock was set back by an hour windows go on with the new time."""
    script = Script()
    gateway = Gateway("s", "g1", script, any_broker_url, window=0.25)
    async with listening(any_broker_url, "s") as heard, running(gateway):
        await feed(script, lambda: len(heard.batches) >= 2)
        script.offset = -3_600.0
        count = len(heard.batches)
        await feed(script, lambda: len(heard.batches) >= count + 4 and len(heard.batches[-1]) == 3)
        assert heard.batches[-1].t < time.time() - 3_500
        script.offset = 0.0
        await feed(
            script, lambda: heard.batches[-1].t > time.time() - 5 and bool(heard.batches[-1])
        )
    assert [b.seq for b in heard.batches] == list(range(1, len(heard.batches) + 1))
    # The hour that never was is not published as fourteen thousand empty windows.
    assert len(heard.batches) < 100


async def test_a_recording_ends_when_the_broker_has_it(any_broker_url: str) -> None:
    """A scanner that ends on its own ends the gateway, with its last window published."""
    script = Script()
    gateway = Gateway("s", "g1", script, any_broker_url, window=60.0)
    async with listening(any_broker_url, "s") as heard:
        task = asyncio.create_task(gateway.run())
        await until(lambda: script.hear is not None, "the run")
        script.say("b", -50.0)
        script.over.set()
        await asyncio.wait_for(task, 20.0)
        await until(lambda: len(heard.batches) == 1, "the last window")
    assert heard.batches[0].beacons == ["b"]


async def test_a_hundred_gateways_in_one_process(any_broker_url: str) -> None:
    """A hundred gateways share a process and a loop, each with its own numbers and status."""
    gateways = [
        Gateway("s", f"g{i}", Script(), any_broker_url, window=0.5, grace=0.2) for i in range(100)
    ]
    async with listening(any_broker_url, "s") as heard:
        tasks = [asyncio.create_task(g.run()) for g in gateways]
        await until(lambda: min(g.publisher.published for g in gateways) >= 3, "three windows each")
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await until(
            lambda: sum(s.state == "offline" for s in heard.statuses) == 100, "all goodbyes"
        )
    assert {b.gateway for b in heard.batches} == {f"g{i}" for i in range(100)}


def test_a_pi_needs_no_server_packages() -> None:
    """Importing the daemon pulls in neither numpy nor anything of the server."""
    heavy = ("numpy", "redis", "fastapi", "shapely", "uvicorn", "starlette", "iotcore")
    script = (
        "import sys, gateway.daemon, gateway.config, gateway.scanner_replay\n"
        "import gateway.scanner_bleak, balise.commands.gateway\n"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("url", ["http://broker", "mqtt://"])
def test_a_wrong_url_is_refused_at_once(url: str) -> None:
    """A URL that can never work is told before anything runs."""
    with pytest.raises(ValueError, match="broker URL"):
        Gateway("s", "g", Script(), url)
