"""A small site, its readings, and our own processes, for tests of the pipeline."""

from __future__ import annotations

import math
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.readings import Batch
from stream.site import Floor, GatewayPlace, Site, Trackable

WIDTH, DEPTH = 40.0, 30.0


def make_site(gateways: int = 6, trackables: int = 40, site_id: str = "depot") -> Site:
    """A hall with gateways in two rows; `tN` wears `bN`, every fifth one `cN` too."""
    return Site(
        site_id,
        "Depot",
        "UTC",
        [Floor("g", "Ground", 0, [(0.0, 0.0), (WIDTH, 0.0), (WIDTH, DEPTH), (0.0, DEPTH)])],
        [
            GatewayPlace(f"gw{i}", "g", [WIDTH * (i // 2 + 0.5) / 3, DEPTH * (0.25 + i % 2 / 2)])
            for i in range(gateways)
        ],
        trackables=[
            Trackable(f"t{i}", f"T{i}", "item", [f"b{i}"] if i % 5 else [f"b{i}", f"c{i}"])
            for i in range(trackables)
        ],
    )


def make_rounds(
    site: Site, t0: float, rounds: int, *, window: float = 0.5, seed: int = 1
) -> Iterator[list[Batch]]:
    """Each window's batches, one per gateway: walking beacons, and some of nobody's."""
    chance = random.Random(seed)
    beacons = [beacon for part in site.trackables for beacon in part.beacons]
    start = {beacon: chance.uniform(0.0, 100.0) for beacon in beacons}
    for number in range(1, rounds + 1):
        t = t0 + number * window
        batches = []
        for gateway in site.gateways:
            heard: dict[str, float] = {}
            for beacon in beacons:
                x, y = _walk(start[beacon] + number * window)
                d = max(1.0, math.hypot(x - gateway.position[0], y - gateway.position[1]))
                rssi = -59.0 - 22.0 * math.log10(d) + chance.gauss(0.0, 3.0)
                if rssi > -92.0 and chance.random() < 0.7:
                    heard[beacon] = rssi
            heard[f"stranger{chance.randrange(5)}"] = -70.0
            batches.append(
                Batch(
                    gateway=gateway.id,
                    boot="boot1",
                    seq=number,
                    t=t,
                    window=window,
                    beacons=list(heard),
                    rssi=array("f", heard.values()),
                    n=array("H", [chance.randint(1, 5) for _ in heard]),
                )
            )
        yield batches


def closing_round(site: Site, t: float, seq: int) -> list[Batch]:
    """Empty batches that move every gateway's stamp to `t`, so that all before it is closed."""
    return [
        Batch(gateway.id, "boot1", seq, t, 0.5, [], array("f"), array("H"))
        for gateway in site.gateways
    ]


def _walk(s: float) -> tuple[float, float]:
    return WIDTH / 2 + 15.0 * math.cos(s / 11.0), DEPTH / 2 + 11.0 * math.sin(s / 7.0)


class Program:
    """One of our commands as a process that can be killed, frozen and started again.

    Args:
        log: file for what it says; restarts append.
        words: the command line after `balise`.
    """

    process: subprocess.Popen[bytes]

    def __init__(self, log: Path, *words: str) -> None:
        self._log = log
        self._words = words
        self.start()

    def start(self) -> None:
        """Starts it (again)."""
        command = [sys.executable, "-m", "balise", *self._words]
        # It must not outlive a pytest that is killed.
        if threading.current_thread() is threading.main_thread() and shutil.which("setpriv"):
            command = ["setpriv", "--pdeathsig", "KILL", "--", *command]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def kill9(self) -> None:
        """Kills it as a power cut would."""
        self.process.kill()
        self.process.wait(10.0)

    def freeze(self) -> None:
        """Stops it from running, connections open."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it run on."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """Asks it to end; gives its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(10.0)
        except subprocess.TimeoutExpired:
            self.kill9()
            raise

    def said(self) -> str:
        """Everything it has said."""
        return self._log.read_text("utf-8", "replace")


@contextmanager
def programs() -> Iterator[list[Program]]:
    """A list whose programs are killed at the end."""
    started: list[Program] = []
    try:
        yield started
    finally:
        for program in started:
            program.thaw()
            program.kill9()
