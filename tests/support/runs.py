"""`balise demo` and `balise up` as a person runs them, and a page that watches their map."""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.support.processes import alive, descendants, until

HEADER: Final = struct.Struct("<BBHIdII")
# What a slow, busy machine may take for a whole start; the promise (10 s) is measured elsewhere.
START_S: Final = 60.0


@dataclass
class Run:
    """A running supervisor with its log."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def lines(self) -> list[str]:
        """What it has said so far."""
        return self.log.read_text().splitlines()

    def url(self, pattern: str) -> str:
        """The first match in what it said."""
        found = re.search(pattern, self.log.read_text())
        assert found, f"{pattern} is not in:\n{self.log.read_text()}"
        return found[1]

    def processes(self) -> dict[str, psutil.Process]:
        """Its processes by name."""
        found = {}
        for process in psutil.Process(self.popen.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if name := _name(process.cmdline()):
                    found[name] = process
        return found


def _name(words: list[str]) -> str:
    marks = {
        "valkey-server": "store",
        "balise.embedded_broker": "broker",
        "ingest": "ingest",
        "worker": "worker",
        "dashboard": "dashboard",
        "simulate": "simulator",
    }
    for word in words:
        # A server may have written its address behind its path.
        if name := marks.get(word.partition(" ")[0].rpartition("/")[2]):
            return name
    return ""


@contextmanager
def running_until(said: str, tmp_path: Path, *words: str) -> Iterator[Run]:
    """`python WORDS` that has said this; killed at the end, if it still runs."""
    log = tmp_path / "log"
    with log.open("wb") as out:
        popen = subprocess.Popen([sys.executable, *words], stdout=out, stderr=subprocess.STDOUT)
    try:
        running = Run(popen, log)
        until(
            lambda: popen.poll() is not None or said in log.read_text(),
            f"it says {said}",
            START_S,
        )
        assert popen.poll() is None, log.read_text()
        yield running
    finally:
        below = descendants(popen.pid)
        popen.kill()
        popen.wait()
        psutil.wait_procs(below, 10.0)


def left(processes: dict[str, psutil.Process]) -> list[str]:
    """The names of those that still run."""
    return [name for name, process in processes.items() if alive(process.pid)]


@dataclass
class Watcher:
    """A page: follows the live feed, reconnecting as the page does.

    Attributes:
        latest: tick of the last change that held fixes.
        ticks: of each connection, the snapshot's (if it holds one) and those of its changes.
        gaps: sequence numbers that were not the next.
    """

    url: str
    latest: float = 0.0
    ticks: list[list[float]] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)

    async def run(self) -> None:
        """Follows until cancelled."""
        while True:
            with contextlib.suppress(OSError, WebSocketException):
                async with connect(self.url, compression=None, max_size=None, proxy=None) as feed:
                    self.ticks.append([])
                    expected: int | None = None
                    async for message in feed:
                        if isinstance(message, bytes):
                            expected = self._take(message, expected)
            await asyncio.sleep(0.1)

    def _take(self, frame: bytes, expected: int | None) -> int:
        version, flags, _, sequence, t, count, _ = HEADER.unpack_from(frame)
        assert version == 1
        snapshot = bool(flags & 1)
        if not snapshot:
            if expected is not None and sequence != expected:
                self.gaps.append((sequence, expected))
            self.ticks[-1].append(t)
            if count:
                self.latest = max(self.latest, t)
        elif count:
            self.ticks[-1].append(t)
        return int(sequence) + 1


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[Watcher]:
    """A page that watches while the block runs."""
    watcher = Watcher(url)
    task = asyncio.create_task(watcher.run())
    try:
        yield watcher
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
