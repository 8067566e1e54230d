"""The virtual radio as a scanner: each gateway hears its own, by its own clock."""

from __future__ import annotations

import asyncio

import pytest

from gateway.adverts import Advert, Scanner
from gateway.radio.air import STEP_S, VirtualRadio
from gateway.radio.faults import Clocks
from gateway.radio.parameters import RadioParameters
from gateway.radio.scanner import LiveAir, VirtualScanner
from tests.support.listener import until
from tests.support.radio import START, plan, quiet


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.t = START

    def __call__(self) -> float:
        """Unix seconds."""
        return self.t


def air(clock: Clock, parameters: RadioParameters | None = None) -> LiveAir:
    """Two gateways, 60 m apart, with a tag beside each; hardly a word gets across."""
    place = plan([(0.0, 0.0), (60.0, 0.0)], [(1.0, 0.0), (59.0, 0.0)])
    settings = parameters or quiet(power_1m_dbm=(-75.0, -75.0), advert_s=0.0)
    return LiveAir(VirtualRadio(place, 1, START, settings), Clocks(settings, 2, 1), clock)


async def test_each_gateway_hears_what_is_near_it() -> None:
    """In order of time, stamped by its own clock, while it runs and not after."""
    clock = Clock()
    shared = air(clock)
    heard: dict[int, list[Advert]] = {0: [], 1: []}
    scanners: list[Scanner] = [VirtualScanner(shared, row) for row in (0, 1)]
    tasks = [
        asyncio.create_task(scanner.run(heard[row].append)) for row, scanner in enumerate(scanners)
    ]
    await asyncio.sleep(0)
    for _ in range(round(10.0 / STEP_S)):
        shared.step()
    for row in (0, 1):
        assert len(heard[row]) in (9, 10)
        assert {advert.beacon for advert in heard[row]} == {f"b{row}"}
        stamps = [advert.t for advert in heard[row]]
        assert stamps == sorted(stamps)
        offset = scanners[row].now() - clock()
        assert offset == pytest.approx(shared.clocks.offset(row, clock()), abs=1e-5)
        assert START - 0.1 < stamps[0] < START + 1.1
    tasks[0].cancel()
    await asyncio.wait([tasks[0]])
    count = len(heard[0])
    for _ in range(40):
        shared.step()
    assert len(heard[0]) == count
    assert len(heard[1]) > 10
    tasks[1].cancel()
    await asyncio.wait([tasks[1]])


async def test_stamps_are_of_the_gateways_clock() -> None:
    """A wrong clock stamps wrongly."""
    clock = Clock()
    shared = air(clock, quiet(wrong_clocks=2, wrong_clock_s=-7.0, clock_sd_s=0.0))
    stamps: list[float] = []
    with shared.listening(0, lambda advert: stamps.append(advert.t)):
        for _ in range(round(3.0 / STEP_S)):
            shared.step()
    assert stamps
    assert all(START - 7.1 < t < START - 3.9 for t in stamps)


async def test_the_air_keeps_to_the_clock() -> None:
    """It goes as far as the clock, catches up in steps, and leaves out a sleep of the machine."""
    clock = Clock()
    shared = air(clock)
    task = asyncio.create_task(shared.run())
    try:
        clock.t = START + 2.0
        await until(lambda: shared.radio.now > START + 1.9, "the air to catch up")
        assert shared.radio.now <= clock.t + 1e-6
        clock.t = START + 5_000.0
        await until(lambda: shared.radio.now > clock.t - 0.2, "the air to skip a sleep")
        assert shared.radio.now <= clock.t + 1e-6
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_new_scanner_of_a_gateway_takes_over() -> None:
    """The end of the old one does not silence the new one."""
    shared = air(Clock())
    old: list[Advert] = []
    new: list[Advert] = []
    with shared.listening(0, new.append):
        pass
    first = asyncio.create_task(VirtualScanner(shared, 0).run(old.append))
    await asyncio.sleep(0)
    second = asyncio.create_task(VirtualScanner(shared, 0).run(new.append))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    for _ in range(round(3.0 / STEP_S)):
        shared.step()
    assert new
    assert not old
    second.cancel()
    await asyncio.wait([second])
