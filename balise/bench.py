"""`balise bench`: how much the pipeline carries and how soon the map knows, on this machine.

Real broker, store, processes and feed. Stages first one by one, then all together, because on few
cores they compete; every figure comes from one run, so ratios hold where absolute times do not.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from balise.load import Load, make_load, window
from balise.supervisor import Supervisor
from balise.up import Running, Settings, processes, servers_and_site
from dashboard.live import HEADER
from gateway.errors import UserError
from gateway.readings import decode, encode
from stream.engine import Engine
from stream.store import Store
from stream.summary import Summary

# Readings published flat out: a few seconds' work for any stage, whatever the size.
FLAT_OUT: Final = 1_600_000
# Windows published at their own pace: a 99th centile should not be the slowest of all.
PACED: Final = 40
# The first paced windows find the processes cold.
_WARM_UP: Final = 5
_DEADLINE_S: Final = 180.0
# Messages the broker may hold: half of what the embedded one keeps (docs/operate.md), and more
# than any stage needs to stay busy.
AHEAD: Final = 400
Say = Callable[[str], None]


@dataclass
class Figures:
    """One size's results; rates in readings per second of wall time."""

    beacons: int
    readings: int
    gateways: int
    encode_us: float = 0.0
    decode_us: float = 0.0
    locate: float = 0.0
    locate_us_per_fix: float = 0.0
    state_bytes: float = 0.0
    ingest: float = 0.0
    ingest_cpu_us: float = 0.0
    worker: float = 0.0
    worker_cpu_us_per_fix: float = 0.0
    whole: float = 0.0
    late: int = 0
    whole_cpu: dict[str, float] = field(default_factory=dict)
    latency_ms: list[float] = field(default_factory=list)


async def bench(
    sizes: list[int], say: Say, flat_out: int = FLAT_OUT, paced: int = PACED
) -> list[Figures]:
    """Measures each size (number of beacons) and returns the figures.

    Args:
        sizes: numbers of beacons.
        say: told what goes on.
        flat_out: readings published as fast as the pipeline takes them.
        paced: windows published at their own pace, of which the first few do not count.
    """
    results = []
    for beacons in sizes:
        load = make_load(beacons)
        figures = Figures(beacons, load.readings, len(load.site.gateways))
        say(
            f"{beacons} beacons, {figures.gateways} gateways, {figures.readings} readings a "
            "window of 1 s"
        )
        _in_process(load, figures)
        with tempfile.TemporaryDirectory(prefix="balise-bench-") as directory:
            settings = Settings(site=load.site, data=Path(directory), port=0)
            async with Supervisor(_quiet) as supervisor:
                await _through_processes(supervisor, settings, figures, say, (flat_out, paced))
        results.append(figures)
    return results


def table(results: list[Figures]) -> str:
    """The figures for people."""
    rows: list[tuple[str, Callable[[Figures], str]]] = [
        ("readings a second, offered at 1 Hz", lambda f: f"{f.readings:,}"),
        ("gateway: encode, us a reading", lambda f: f"{f.encode_us:.2f}"),
        ("ingest: decode, us a reading", lambda f: f"{f.decode_us:.2f}"),
        ("engine alone, readings/s", lambda f: f"{f.locate:,.0f}"),
        ("engine alone, CPU us a fix", lambda f: f"{f.locate_us_per_fix:.1f}"),
        ("state, bytes a beacon", lambda f: f"{f.state_bytes:.0f}"),
        ("broker -> ingest -> store, readings/s", lambda f: f"{f.ingest:,.0f}"),
        ("  CPU of ingest, us a reading", lambda f: f"{f.ingest_cpu_us:.2f}"),
        ("store -> worker -> store, readings/s", lambda f: f"{f.worker:,.0f}"),
        ("  CPU of worker, us a fix", lambda f: f"{f.worker_cpu_us_per_fix:.1f}"),
        ("whole pipeline, readings/s", lambda f: f"{f.whole:,.0f}"),
        *[
            (f"  CPU of {name}, cores", _share(name))
            for name in ("broker", "ingest", "store", "worker", "dashboard", "publisher")
        ],
        ("batches too late to be located", lambda f: f"{f.late}"),
        ("last reading published -> frame, ms p50", lambda f: _centile(f, 50)),
        ("                                     p99", lambda f: _centile(f, 99)),
    ]
    head = f"{'beacons':<42}" + "".join(f"{f.beacons:>12,}" for f in results)
    return "\n".join([head, *(f"{name:<42}" + _cells(results, cell) for name, cell in rows)])


def _cells(results: list[Figures], cell: Callable[[Figures], str]) -> str:
    return "".join(f"{cell(figures):>12}" for figures in results)


def _share(name: str) -> Callable[[Figures], str]:
    return lambda figures: f"{figures.whole_cpu.get(name, 0.0):.2f}"


def _centile(figures: Figures, centile: float) -> str:
    return f"{np.percentile(figures.latency_ms, centile):.0f}" if figures.latency_ms else "-"


def _in_process(load: Load, figures: Figures) -> None:
    """Codec and engine in this process, without any input or output."""
    windows = [window(load, k + 1, 1_700_000_000.0 + k, "boot") for k in range(8)]
    began = time.process_time()
    payloads = [encode(batch) for batch in windows[0]]
    figures.encode_us = 1e6 * (time.process_time() - began) / load.readings
    began = time.process_time()
    for payload in payloads:
        decode(payload)
    figures.decode_us = 1e6 * (time.process_time() - began) / load.readings
    engine = Engine(load.site, 1)
    for batch in windows[0] + windows[1]:
        engine.feed(batch, "")
    engine.take()
    began, fixes = time.process_time(), 0
    for each in windows[2:]:
        for batch in each:
            engine.feed(batch, "")
        fixes += sum(len(tick.fixes) for tick in engine.take().ticks)
    spent = time.process_time() - began
    figures.locate = len(windows[2:]) * load.readings / spent
    figures.locate_us_per_fix = 1e6 * spent / fixes
    figures.state_bytes = len(engine.dump()) / figures.beacons


async def _through_processes(
    supervisor: Supervisor, settings: Settings, figures: Figures, say: Say, size: tuple[int, int]
) -> None:
    flat_out, paced = size
    settings, running = await servers_and_site(supervisor, settings, _quiet)
    found = {p.name: p for p in processes(settings, running.mqtt, running.redis)}
    store = await Store.connect(running.redis, settings.site.id)
    windows = flat_out // figures.readings
    total = figures.readings * windows
    messages = figures.gateways * windows
    try:
        supervisor.start(found["ingest"])
        await supervisor.ready("ingest")
        say("  ingest alone")
        # Its windows end before those of the next round begin, or these would come too late.
        ago = ("--ago", str(windows))
        async with _publisher(running, figures.beacons, windows, "one", *ago) as publisher:
            used = _Cpu(supervisor, ["ingest"])
            told = await publisher.run(lambda: _stored(store), messages)
            await _until(lambda: _at_least(_stored(store), messages))
            figures.ingest = total / (time.time() - told["began"])
            figures.ingest_cpu_us = 1e6 * used.spent()["ingest"] / total
        say("  worker alone")
        supervisor.start(found["worker"])
        await _until(lambda: _at_least(_readings(store), 1))
        used, began, first = _Cpu(supervisor, ["worker"]), time.time(), await _summary(store)
        # The last two windows wait for a successor.
        await _until(lambda: _at_least(_readings(store), total - 2 * figures.readings))
        took, last = time.time() - began, await _summary(store)
        figures.worker = (last.readings - first.readings) / took
        # A load this worker had done before it was looked at gives no figure, but no fault either.
        fixes = max(1, last.fixes - first.fixes)
        figures.worker_cpu_us_per_fix = 1e6 * used.spent()["worker"] / fixes
        supervisor.start(found["dashboard"])
        await supervisor.ready("worker", "dashboard")
        say("  everything together")
        before = await _summary(store)
        async with _publisher(running, figures.beacons, windows, "two") as publisher:
            names = ["broker", "ingest", "store", "worker", "dashboard"]
            used = _Cpu(supervisor, names)
            told = await publisher.run(lambda: _processed(store, -before.batches), messages)
            # The last two windows wait for a successor.
            wanted = before.readings + total - 2 * figures.readings
            await _until(lambda: _at_least(_readings(store), wanted))
            took = time.time() - told["began"]
            done = (await _summary(store)).readings - before.readings
            figures.whole = done / took
            figures.late = (await _summary(store)).late
            figures.whole_cpu = {name: cpu / took for name, cpu in used.spent().items()}
            figures.whole_cpu["publisher"] = told["cpu"] / took
        say("  at its own pace")
        figures.latency_ms = await _latencies(running, figures.beacons, paced)
    finally:
        await store.close()


async def _latencies(running: Running, beacons: int, paced: int) -> list[float]:
    """Milliseconds from a tick's last reading handed to the broker to its frame received."""
    from websockets.asyncio.client import connect

    seen: dict[float, float] = {}

    async def watch() -> None:
        url = f"{running.page.replace('http', 'ws', 1)}/api/v1/live"
        async with connect(url, compression=None, max_size=None, proxy=None) as feed:
            async for message in feed:
                now = time.time()
                if isinstance(message, bytes):
                    seen.setdefault(HEADER.unpack_from(message)[4], now)

    watcher = asyncio.create_task(watch())
    try:
        async with _publisher(running, beacons, paced, "three", "--paced") as publisher:
            told = [await publisher.line() for _ in range(paced)]
        # The last window is not closed by a successor, but all gateways have spoken.
        await _until(lambda: _is(told[-1]["t"] in seen))
    finally:
        watcher.cancel()
        await asyncio.wait([watcher])
    return [
        1e3 * (seen[word["t"]] - word["handed"]) for word in told[_WARM_UP:] if word["t"] in seen
    ]


async def _is(answer: bool) -> bool:
    return answer


async def _stored(store: Store) -> int:
    return sum(await store.backlogs())


async def _processed(store: Store, plus: int) -> int:
    return sum(summary.batches for summary in await store.summaries()) + plus


async def _readings(store: Store) -> int:
    return sum(summary.readings for summary in await store.summaries())


async def _summary(store: Store) -> Summary:
    [summary] = await store.summaries()
    return summary


async def _at_least(count: Awaitable[int], wanted: int) -> bool:
    return await count >= wanted


async def _until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(_DEADLINE_S):
        while not await true():  # noqa: ASYNC110  # counts in the store have no event to wait for
            await asyncio.sleep(0.02)


class _Publisher:
    """The other end of balise.load_publisher."""

    def __init__(self, inlet: asyncio.StreamWriter, outlet: asyncio.StreamReader) -> None:
        self._inlet: Final = inlet
        self._outlet: Final = outlet

    async def line(self) -> dict[str, Any]:
        """The next thing it tells."""
        text = await self._outlet.readline()
        if not text:
            raise UserError("the publisher of the bench ended early; its error stands above")
        told: dict[str, Any] = json.loads(text)
        return told

    async def run(self, taken: Callable[[], Awaitable[int]], messages: int) -> dict[str, Any]:
        """Lets it publish as many messages, never more than AHEAD beyond what was taken."""
        allowed = 0
        while allowed < messages:
            allowed = min(messages, await taken() + AHEAD)
            self._inlet.write(b"%d\n" % allowed)
            await self._inlet.drain()
            await asyncio.sleep(0.01)
        return await self.line()


@asynccontextmanager
async def _publisher(
    running: Running, beacons: int, windows: int, boot: str, *words: str
) -> AsyncIterator[_Publisher]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "balise.load_publisher", "--mqtt", running.mqtt),
        *("--beacons", str(beacons), "--windows", str(windows), "--boot", boot, *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdin is None or process.stdout is None:
        raise UserError("the publisher of the bench has no pipes")
    publisher = _Publisher(process.stdin, process.stdout)
    try:
        await publisher.line()  # it is ready
        yield publisher
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


class _Cpu:
    """CPU seconds of supervised processes since this was made; zeros where /proc is absent."""

    def __init__(self, supervisor: Supervisor, names: list[str]) -> None:
        self._pids: Final = {name: supervisor.pid(name) for name in names}
        self._before: Final = self._now()

    def spent(self) -> dict[str, float]:
        """By name."""
        now = self._now()
        return {name: now[name] - self._before[name] for name in now}

    def _now(self) -> dict[str, float]:
        return {name: _seconds(pid) for name, pid in self._pids.items()}


def _seconds(pid: int | None) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _quiet(line: str) -> None:
    del line
