"""What the live feed costs: encoding a tick, and handing it to many clients.

    python benchmarks/live_feed.py [--tags 10000] [--clients 200] [--seconds 10]

The first table is CPU time in one process. The second runs the real dashboard with a real store
and real WebSockets: ticks at 2 Hz in which every tag moves, committed as a worker commits them.
CPU is the dashboard process' own; latency is from before the commit until a client has the whole
frame. Clients, worker and store share the machine with the dashboard.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, NamedTuple

import numpy as np
import psutil

from balise.embedded import free_port, store_program
from dashboard.live import encode_frame, hello_text
from dashboard.positions import Positions
from stream.connection import Connection
from stream.engine import Engine
from stream.fixes import NONE, Fixes, TickFixes, empty, pack, unpack
from stream.lease import Lease
from stream.site import Floor, GatewayPlace, Site, Trackable
from stream.store import Store
from stream.summary import encode_summary

TICK_S: Final = 0.5
_LENGTH_16, _LENGTH_64, _BINARY = 126, 127, 2


def hall(tags: int) -> Site:
    """A hall of 60 x 40 m with many tags."""
    return Site(
        "bench",
        "Bench",
        "UTC",
        [Floor("0", "Ground", 0, [(0, 0), (60, 0), (60, 40), (0, 40)])],
        gateways=[GatewayPlace("g", "0", [1.0, 1.0])],
        trackables=[Trackable(f"tag-{i:06d}", f"Tag {i}", "item", [f"b{i}"]) for i in range(tags)],
    )


def crowd(tags: int, seed: int) -> Fixes:
    """Every tag somewhere."""
    chance = np.random.default_rng(seed)
    fixes = empty(tags)
    fixes["trackable"] = np.arange(tags)
    fixes["x"], fixes["y"] = chance.uniform(0, 60, tags), chance.uniform(0, 40, tags)
    fixes["accuracy"], fixes["speed"] = 2.0, chance.uniform(0, 1.5, tags)
    fixes["zone"] = NONE
    return fixes


def milliseconds(work: Callable[[], object], times: int = 30) -> float:
    """The median CPU time of a call."""
    took = []
    for _ in range(times):
        began = time.process_time_ns()
        work()
        took.append((time.process_time_ns() - began) / 1e6)
    return statistics.median(took)


def costs(tags: int) -> None:
    """A row of the first table."""
    table = Positions(hall(tags), 1)
    packed = pack(TickFixes(0.0, 1, crowd(tags, 1)))
    clock = iter(range(1, 1_000_000))

    def apply() -> None:
        table.apply(TickFixes(TICK_S * next(clock), 1, unpack(packed).fixes))

    def encode(ages: bool) -> bytes:
        fixes, times = table.snapshot()
        return encode_frame(
            fixes,
            sequence=1,
            t=table.tick,
            version=1,
            origin=(0.0, 0.0),
            ages=table.tick - times if ages else None,
        )

    took = [
        milliseconds(apply),
        milliseconds(lambda: encode(ages=False)),
        milliseconds(lambda: encode(ages=True)),
        milliseconds(lambda: hello_text(table.site, 1), 5),
        milliseconds(lambda: table.occupancy(60.0)),
    ]
    print(
        f"| {tags} | {len(encode(ages=False)) / 1000:.0f} |" + "".join(f" {t:.2f} |" for t in took)
    )


class Arrivals(asyncio.Protocol):
    """A client that only takes frames apart far enough to know when each was complete."""

    def __init__(self, port: int) -> None:
        self.arrived: dict[float, float] = {}
        self.resyncs = 0
        self._port: Final = port
        self._buffer = bytearray()
        self._skip = 0
        self._tick = 0.0
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks for the feed."""
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET /api/v1/live HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(request.encode())

    def data_received(self, data: bytes) -> None:
        """Follows the frames' lengths; contents but the tick's time are skipped."""
        if self._skip > len(data):
            self._skip -= len(data)
            return
        if self._skip:
            data, self._skip = data[self._skip :], 0
            self._done()
        self._buffer += data
        if not self._open:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self._open, self._buffer = True, rest
        while self._next():
            pass

    def _next(self) -> bool:
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        length, start = buffer[1], 2
        if length >= _LENGTH_16:
            start = 4 if length == _LENGTH_16 else 10
            if len(buffer) < start:
                return False
            (length,) = struct.unpack_from(">H" if start == 4 else ">Q", buffer, 2)
        need = min(length, 24)
        if len(buffer) < start + need:
            return False
        self._tick = 0.0
        if buffer[0] & 0x0F == _BINARY:
            flags = buffer[start + 1]
            self._tick = 0.0 if flags else struct.unpack_from("<d", buffer, start + 8)[0]
        elif buffer[start : start + 16] == b'{"type":"resync"':
            self.resyncs += 1
        whole = start + length
        if len(buffer) >= whole:
            del buffer[:whole]
            self._done()
            return True
        self._skip = whole - len(buffer)
        buffer.clear()
        return False

    def _done(self) -> None:
        if self._tick:
            self.arrived[self._tick] = time.time()


async def be_clients(port: int, count: int) -> None:
    """The clients' process: says `up`, and at the end of stdin what arrived when."""
    loop = asyncio.get_running_loop()
    clients = [Arrivals(port) for _ in range(count)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]  # bound now
    print("up", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    for client in clients:
        print(client.resyncs, *(f"{tick}={at}" for tick, at in client.arrived.items()))


class Result(NamedTuple):
    """One row of the second table."""

    cpu_percent: float
    us_per_message: float
    latencies_ms: list[float]
    resyncs: int
    expected: int


@asynccontextmanager
async def program(*words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of ours; its first line says that it is up."""
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def fan_out(url: str, site: Site, count: int, seconds: float) -> Result:
    """Runs the dashboard with clients and commits ticks."""
    store = await Store.connect(url, site.id)
    await store.import_site(site)
    link = Connection(url)
    lease = Lease(link, store.keys.partition(0), "bench", "1")
    assert await lease.take(from_namesake=True)
    step = (await lease.load()).step
    engine = Engine(site, 1)
    state, summary = engine.dump(), encode_summary(engine.summary())
    frames = [crowd(len(site.trackables), seed) for seed in range(8)]
    balise = (sys.executable, "-m", "balise", "dashboard", "--site", site.id, "--redis", url)
    committed: dict[float, float] = {}
    async with program(*balise, "--port", "0") as board:
        assert board.stdout is not None
        port = int((await board.stdout.readline()).decode().rsplit(":", 1)[1])
        me = (sys.executable, __file__, "--be-clients", str(count), "--port", str(port))
        async with program(*me) as clients:
            assert clients.stdout is not None
            assert clients.stdin is not None
            await clients.stdout.readline()
            await asyncio.sleep(2.0)
            measured = psutil.Process(board.pid)
            before = _cpu(measured)
            began = time.time()
            tick = round(began / TICK_S) * TICK_S
            number = 0
            while time.time() < began + seconds:
                tick += TICK_S
                number += 1
                await asyncio.sleep(max(0.0, tick - time.time()))
                committed[tick] = time.time()
                fixes = TickFixes(tick, 1, frames[number % len(frames)])
                await lease.commit(step + number, state, summary, [fixes], [], [], "0-0")
                await lease.renew()
            took = time.time() - began
            used = _cpu(measured) - before
            await asyncio.sleep(2.0)
            clients.stdin.close()
            lines = (await clients.stdout.read()).decode().splitlines()
    await link.close()
    await store.close()
    latencies, resyncs = [], 0
    for line in lines:
        words = line.split()
        resyncs += int(words[0])
        for word in words[1:]:
            at_tick, _, at = word.partition("=")
            if float(at_tick) in committed:
                latencies.append(1_000 * (float(at) - committed[float(at_tick)]))
    messages = max(len(latencies), 1)
    return Result(
        100 * used / took, 1e6 * used / messages, latencies, resyncs, count * len(committed)
    )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def store() -> Iterator[int]:
    """An embedded store of our own; gives its port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        words = (str(store_program()), "--port", str(port), "--bind", "127.0.0.1", "--save", "")
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd=directory)
        try:
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.01)
            yield port
        finally:
            process.terminate()
            process.wait()


async def measure(tags: list[int], counts: list[int], seconds: float) -> None:
    """Both tables."""
    print("| tags | kB a frame | apply ms | delta ms | snapshot ms | hello ms | occupancy ms |")
    print("|---|---|---|---|---|---|---|")
    for number in tags:
        costs(number)
    print()
    print("| tags | clients | CPU % | us a message | p50 ms | p99 ms | MB/s | arrived | resyncs |")
    print("|---|---|---|---|---|---|---|---|---|")
    with store() as port:
        for database, (number, count) in enumerate((n, c) for n in tags for c in counts):
            url = f"redis://127.0.0.1:{port}/{database}"
            row = await fan_out(url, hall(number), count, seconds)
            ordered = sorted(row.latencies_ms)
            p50, p99 = (ordered[int(len(ordered) * q)] for q in (0.5, 0.99))
            rate = len(ordered) * (24 + 16 * number) / seconds / 1e6
            print(
                f"| {number} | {count} | {row.cpu_percent:.0f} | {row.us_per_message:.0f} | "
                f"{p50:.0f} | {p99:.0f} | {rate:.0f} | {len(ordered)}/{row.expected} | "
                f"{row.resyncs} |",
                flush=True,
            )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tags", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 50, 200])
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--be-clients", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.be_clients:
        asyncio.run(be_clients(args.port, args.be_clients))
    else:
        asyncio.run(measure(args.tags, args.clients, args.seconds))


if __name__ == "__main__":
    main()
