"""What locating costs: CPU per fix from 100 to 100,000 beacons, and beside it one solve by scipy.

    python benchmarks/locator_cost.py [--sizes 100 1000 10000 100000] [--quick]

A floor of 60 x 100 m with 60 gateways on a grid of 10 m; every beacon is heard by the 8 nearest
once a second. Three crowds: items at rest, as most of a warehouse is; pickers who all walk, the
worst case; and 95 items to 5 pickers. Engine and locator are the worker's own, fed with decoded
batches; what is drawn beforehand does not count. The engine's part beside the locator is by
gateway as much as by beacon, so few beacons under 60 gateways pay it among few. Each figure is the
median over ticks of the process' CPU time, after a warm-up in which what lies still has come to
rest. One process on one core, numpy's threads included: ratios within a run hold where absolute
times differ between machines. With 100,000 beacons it takes some ten minutes.

Beside it the usual way of Python libraries: a call of scipy.optimize.least_squares per beacon,
with ranges from a textbook path loss, as easy-trilateration on PyPI makes it. It has no tracks, no
accuracy, no zones; its ratios are to the locator.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from array import array
from collections.abc import Callable
from typing import Final, NamedTuple
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from gateway.readings import Batch
from stream.baselines import TEXTBOOK_DBM, TEXTBOOK_EXPONENT
from stream.engine import Engine
from stream.evidence import Readings
from stream.fixes import Fixes
from stream.locator import Locator
from stream.site import Floor, GatewayPlace, Kind, Site, Trackable, Zone
from stream.state import open_state

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

WIDTH_M, DEPTH_M, SPACING_M = 60.0, 100.0, 10.0
HEARD_BY: Final = 8
SIZES: Final = (100, 1_000, 10_000, 100_000)
QUICK_SIZES: Final = (20, 60)
# The size that the others' cost and scipy's are set against.
COMMON: Final = 10_000
# Seconds before anything is measured. A track is young for 3 s; of items 9 in 10 have come to rest
# after 30 s, and the table says how many beacons a walk filter still follows.
WARM_UP: Final = {"items": 30, "pickers": 6, "95 to 5": 30}
# Fixes measured, in ticks of all beacons but no fewer and no more ticks than these.
MEASURED: Final = 100_000
LEAST_TICKS, MOST_TICKS = 7, 60
# A walker's row in the state.
WALKER_BYTES: Final = 4
# Walking speed, metres in the second between two windows.
STRIDE_M: Final = 1.1
SOLVES: Final = 300
# Before numpy is loaded: its linear algebra would otherwise start a thread on every core.
ONE_THREAD: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class Crowd:
    """Beacons in the hall, and what gateways hear of them second by second.

    Levels are a plain distance law with shadowing and noise: their number matters here, not how
    far off they lead.

    Args:
        walks: which of them walk, (beacons,).
        seed: of everything random.
    """

    def __init__(self, walks: Bools, seed: int = 1) -> None:
        self._chance: Final = np.random.default_rng(seed)
        count = len(walks)
        self._walks: Final = walks
        self._size: Final = np.array([WIDTH_M, DEPTH_M])
        self._xy = self._chance.uniform(0.0, 1.0, (count, 2)) * self._size
        self._axis = self._chance.integers(0, 2, count)
        self._stride = np.where(walks, self._chance.choice([-STRIDE_M, STRIDE_M], count), 0.0)
        self.gateways: Final = np.array(
            [
                (x, y)
                for y in np.arange(0.5 * SPACING_M, DEPTH_M, SPACING_M)
                for x in np.arange(0.5 * SPACING_M, WIDTH_M, SPACING_M)
            ]
        )
        self._shadow: Final = self._chance.normal(0.0, 4.0, (count, len(self.gateways))).astype(
            np.float32
        )
        self.names: Final = [f"b{i}" for i in range(count)]
        self._second = 0

    def site(self) -> Site:
        """The document."""
        corners = [(0.0, 0.0), (WIDTH_M, 0.0), (WIDTH_M, DEPTH_M), (0.0, DEPTH_M)]
        lanes = [
            Zone(
                f"z{i}",
                "0",
                f"Zone {i}",
                "aisle",
                [(x, 0.0), (x + SPACING_M, 0.0), (x + SPACING_M, DEPTH_M), (x, DEPTH_M)],
            )
            for i, x in enumerate(np.arange(0.0, WIDTH_M, SPACING_M).tolist())
        ]
        kinds: list[Kind] = ["picker" if walks else "item" for walks in self._walks.tolist()]
        return Site(
            "bench",
            "Bench",
            "UTC",
            [Floor("0", "Ground", 0, corners)],
            gateways=[
                GatewayPlace(f"g{i}", "0", [x, y, 4.0])
                for i, (x, y) in enumerate(self.gateways.tolist())
            ],
            zones=lanes,
            trackables=[
                Trackable(f"t{i}", f"T {i}", kind, [name])
                for i, (kind, name) in enumerate(zip(kinds, self.names, strict=True))
            ],
        )

    def heard(self) -> tuple[Ints, Floats]:
        """Gateways and dBm of the next second, (beacons, HEARD_BY) each; those who walk walk on."""
        each = np.arange(len(self._xy))
        self._xy[each, self._axis] += self._stride
        out = ((self._xy < 0.0) | (self._xy > self._size)).any(axis=1)
        # At the wall they turn back, and along it.
        self._xy = np.clip(self._xy, 0.0, self._size)
        self._stride[out] *= -1.0
        turns = out | (self._chance.random(len(each)) < 0.05)
        self._axis[turns] = 1 - self._axis[turns]
        apart = self._xy[:, None, :] - self.gateways
        distance = np.sqrt((apart**2).sum(axis=2))
        near = np.argpartition(distance, HEARD_BY, axis=1)[:, :HEARD_BY]
        level = -60.0 - 25.0 * np.log10(np.maximum(np.take_along_axis(distance, near, 1), 1.0))
        level += np.take_along_axis(self._shadow, near, 1)
        return near, level + self._chance.normal(0.0, 2.5, near.shape)

    def window(self) -> list[Batch]:
        """The batches of the next second."""
        self._second += 1
        near, level = self.heard()
        batches = []
        for gateway in range(len(self.gateways)):
            rows, slot = np.nonzero(near == gateway)
            rssi = array("f", level[rows, slot].astype(np.float32).tolist())
            batches.append(
                Batch(
                    f"g{gateway}",
                    "boot",
                    self._second,
                    1_700_000_000.0 + self._second,
                    1.0,
                    [self.names[row] for row in rows.tolist()],
                    rssi,
                    array("H", [1]) * len(rows),
                )
            )
        return batches


class _Timed(Locator):
    """A locator that adds up its own CPU time."""

    spent_s = 0.0

    def locate(self, readings: Readings, t: float, online: Bools | None = None) -> Fixes:
        """As the locator does."""
        began = time.process_time()
        fixes = super().locate(readings, t, online)
        _Timed.spent_s += time.process_time() - began
        return fixes


class Cost(NamedTuple):
    """What a crowd costs.

    Attributes:
        beacons: how many.
        engine_us: CPU microseconds per fix, from decoded batches to fixes.
        locator_us: the locator's part of it.
        state_bytes: committed with every step, per beacon.
        walking: share of the beacons that a walk filter follows.
    """

    beacons: int
    engine_us: float
    locator_us: float
    state_bytes: float
    walking: float


def cost(crowd: str, beacons: int, *, quick: bool = False) -> Cost:
    """Lets a crowd warm up, then measures it; quickly: without either to speak of."""
    walks = {
        "items": np.zeros(beacons, np.bool_),
        "pickers": np.ones(beacons, np.bool_),
        "95 to 5": np.arange(beacons) % 20 == 0,
    }[crowd]
    there = Crowd(walks)
    with patch("stream.engine.Locator", _Timed):
        engine = Engine(there.site(), 1)
        # The first windows wait for a successor and give no fixes.
        for _ in range(2 if quick else WARM_UP[crowd]):
            _second(engine, there)
        engines, locators = [], []
        ticks = LEAST_TICKS if quick else min(max(LEAST_TICKS, MEASURED // beacons), MOST_TICKS)
        for _ in range(ticks):
            fixes, whole_s, part_s = _second(engine, there)
            assert fixes == beacons, f"{fixes} fixes of {beacons} beacons in a second"
            engines.append(1e6 * whole_s / fixes)
            locators.append(1e6 * part_s / fixes)
        state = engine.dump()
    return Cost(
        beacons,
        statistics.median(engines),
        statistics.median(locators),
        len(state) / beacons,
        len(open_state(state).walkers) / WALKER_BYTES / beacons,
    )


def _second(engine: Engine, crowd: Crowd) -> tuple[int, float, float]:
    """One second: fixes made, CPU seconds of the engine, and of the locator in it."""
    batches = crowd.window()
    _Timed.spent_s = 0.0
    began = time.process_time()
    for batch in batches:
        engine.feed(batch, "")
    step = engine.take()
    spent = time.process_time() - began
    return sum(len(tick.fixes) for tick in step.ticks), spent, _Timed.spent_s


Circle = tuple[float, float, float]
"""A gateway's x and y, and the range to it, metres."""


def misfits(unknown: Floats, circles: list[Circle]) -> list[float]:
    """By how much a place and a common error of all ranges miss each circle, in square metres."""
    x, y, error = unknown
    return [(x - cx) ** 2 + (y - cy) ** 2 - (r - error) ** 2 for cx, cy, r in circles]


def solve(circles: list[Circle], start: tuple[float, float]) -> Floats:
    """A beacon's place by scipy: three unknowns, numerical derivatives, defaults throughout."""
    found: Floats = least_squares(misfits, (*start, 0.0), args=[circles]).x
    return found


def scipy_us(solves: int, start: Callable[[list[Circle]], tuple[float, float]]) -> float:
    """The median CPU microseconds of a solve; ranges are made beforehand."""
    crowd = Crowd(np.zeros(solves, np.bool_))
    near, level = crowd.heard()
    away = 10.0 ** ((TEXTBOOK_DBM - level) / (10.0 * TEXTBOOK_EXPONENT))
    took = []
    for row in range(solves):
        places = crowd.gateways[near[row]].tolist()
        circles = [(x, y, r) for (x, y), r in zip(places, away[row].tolist(), strict=True)]
        began = time.process_time()
        solve(circles, start(circles))
        took.append(1e6 * (time.process_time() - began))
    return statistics.median(took)


def _corner(_: list[Circle]) -> tuple[float, float]:
    return 0.0, 0.0


def _middle(circles: list[Circle]) -> tuple[float, float]:
    return (
        statistics.fmean(x for x, _, _ in circles),
        statistics.fmean(y for _, y, _ in circles),
    )


def measure(sizes: tuple[int, ...], *, quick: bool = False) -> None:
    """Both tables, row by row."""
    print(
        "| crowd | beacons | locator, CPU us a fix | to the cheapest | whole engine | "
        "to the cheapest | state bytes a beacon | followed walking |"
    )
    print("|---|---|---|---|---|---|---|---|")
    common: dict[str, float] = {}
    for crowd in WARM_UP:
        rows = [cost(crowd, size, quick=quick) for size in sizes]
        locator = min(row.locator_us for row in rows)
        engine = min(row.engine_us for row in rows)
        for row in rows:
            print(
                f"| {crowd} | {row.beacons:,} | {row.locator_us:.1f} | "
                f"{row.locator_us / locator:.2f} | {row.engine_us:.1f} | "
                f"{row.engine_us / engine:.2f} | {row.state_bytes:.0f} | "
                f"{100 * row.walking:.0f} % |",
                flush=True,
            )
        common[crowd] = min(rows, key=lambda row: abs(row.beacons - COMMON)).locator_us
    print()
    print("| scipy, one beacon at a time | CPU us a solve | to items | to pickers | to 95 to 5 |")
    print("|---|---|---|---|---|")
    for name, start in (("from the origin", _corner), ("from the gateways' middle", _middle)):
        took = scipy_us(20 if quick else SOLVES, start)
        ratios = " | ".join(f"{took / common[crowd]:.0f}" for crowd in WARM_UP)
        print(f"| {name} | {took:.0f} | {ratios} |", flush=True)


def one_core() -> None:
    """Starts this program anew with one thread, unless it is; keeps it to one core on Linux."""
    if any(os.environ.get(name) != "1" for name in ONE_THREAD):
        environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1")}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)  # noqa: S606  # ourselves
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", help="numbers of beacons")
    parser.add_argument("--quick", action="store_true", help="few beacons, to see that it runs")
    args = parser.parse_args()
    one_core()
    sizes = tuple(args.sizes or (QUICK_SIZES if args.quick else SIZES))
    measure(sizes, quick=args.quick)


if __name__ == "__main__":
    main()
