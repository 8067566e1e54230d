"""The engine calibrates itself in event time, and says who is lost: killed or not, to the byte."""

from __future__ import annotations

import math
from array import array
from functools import cache
from typing import NamedTuple

import msgspec
import numpy as np
import pytest

from gateway.readings import Batch
from stream.calibration import Calibration, prior
from stream.engine import Engine
from stream.events import Event
from stream.fixes import TickFixes, pack
from stream.site import Kind, Site
from stream.state import open_state, stored_calibration, stored_version
from tests.support.locating import T0, Air, Place, hall

PICKERS: list[Kind] = ["picker"] * 5
KINDS: list[Kind] = [*PICKERS, "cart", "item", "item"]
SECONDS = 420
# Away for this long; from then on everybody stands, so that it is known where.
GONE = (60.0, 150.0)
GONE_ROW = 2


@cache
def site(count: int = 0) -> Site:
    """A hall; with `count`, of so many items instead."""
    return hall(["item"] * count if count else KINDS)


def place(row: int, t: float) -> Place:
    """Where one is: pickers go to and fro, each in its own line; items lie."""
    lane = 3.0 + 3.2 * row
    if KINDS[row] == "item":
        return (6.0 + 4.0 * row, 28.0 - 3.0 * row, 0)
    walked = (0.8 + 0.05 * row) * t + 7.0 * row
    return (2.0 + abs(walked % 72.0 - 36.0), lane, 0)


@cache
def work() -> list[Batch]:
    """What the gateways say, one window a second, in a hall that is not as the prior has it."""
    plan = site()
    rng = np.random.default_rng(7)
    more = rng.normal(0.0, 4.0, len(plan.gateways))
    air = Air(plan, exponent=1.9, gateway_db=(more - more.mean()).tolist(), noise_db=3.0)
    batches = []
    for second in range(1, SECONDS + 1):
        places = {
            row: place(row, float(second))
            for row in range(len(KINDS))
            if row != GONE_ROW or not GONE[0] < second <= GONE[1]
        }
        heard = air.heard(places, rng)
        for row, gateway in enumerate(plan.gateways):
            mine = heard.gateway == row
            names = [f"b{beacon}-0" for beacon in heard.beacon[mine].tolist()]
            rssi = array("f", heard.rssi[mine].tolist())
            n = array("H", [4] * len(names))
            batches.append(Batch(gateway.id, "boot", second, T0 + second, 1.0, names, rssi, n))
    return batches


class Run(NamedTuple):
    """All that an engine gave, and the engine."""

    ticks: list[bytes]
    events: list[Event]
    calibrations: list[tuple[int, Calibration]]
    engine: Engine


def run(kills: dict[int, bool] | None = None) -> tuple[Run, set[str]]:
    """An engine's work, killed after some of the batches: after its commit, or before.

    Gives what came of it, and what the calibrator was doing when it was killed. Calibrations
    come with the number of ticks before them.
    """
    kills = kills or {}
    batches = work()
    engine = Engine(site(), 1)
    stored, done = engine.dump(), set[str]()
    ticks: list[TickFixes] = []
    events: list[Event] = []
    calibrations: list[tuple[int, Calibration]] = []
    phases = set[str]()

    def commit() -> None:
        nonlocal stored
        step = engine.take()
        calibrations.extend((len(ticks), each) for each in step.calibrations)
        ticks.extend(step.ticks)
        events.extend(step.events)
        done.update(step.done)
        stored = engine.dump()

    for i, batch in enumerate(batches):
        engine.feed(batch, str(i))
        # A commit after each second's batches, as workers do.
        last = (i + 1) % len(site().gateways) == 0
        if last and kills.get(i, True):
            commit()
        if i in kills:
            phases.add(open_state(stored).calibrator.phase)
            engine = Engine.restore(stored, site(), stored_version(stored))
            for k in range(max(0, i - 200), i + 1):
                if str(k) not in done:
                    engine.feed(batches[k], str(k))
    engine.flush()
    commit()
    return Run([pack(tick) for tick in ticks], events, calibrations, engine), phases


@cache
def steady() -> Run:
    """Without any kill."""
    return run()[0]


def test_it_calibrates_itself_within_minutes() -> None:
    """One fit at least is taken into use; it is nearer to the hall than the prior was."""
    found = steady()
    assert found.calibrations
    _, first = found.calibrations[0]
    assert abs(first.exponent - 1.9) < abs(prior("hall").exponent - 1.9)
    assert first.t <= T0 + SECONDS
    assert found.engine.calibration == found.calibrations[-1][1]
    assert (found.engine.calibration_number, found.engine.calibration.origin) == (0, "work")


def test_killed_at_any_time_the_same_comes_out() -> None:
    """Fixes, events and calibrations, at the same ticks; killed mid-fit and mid-trial as well."""
    rng = np.random.default_rng(2)
    count = len(work())
    kills = {int(i): bool(rng.random() < 0.5) for i in rng.choice(count, 40, replace=False)}
    # Around the fit's turns, one a tick, each second is killed after its commit.
    gateways = len(site().gateways)
    kills |= {gateways * second - 1: True for second in range(58, 76)}
    found, phases = run(kills)
    expected = steady()
    assert phases == {"gathers", "fits", "trial"}
    assert found.ticks == expected.ticks
    assert found.events == expected.events
    assert [each for _, each in found.calibrations] == [each for _, each in expected.calibrations]
    assert found.engine.dump() == expected.engine.dump()


def test_who_goes_silent_is_lost_once_and_found_once() -> None:
    """With the last place and its time; the event's name is the same in every run."""
    told = [event for event in steady().events if event.kind.startswith("trackable_")]
    assert [(event.kind, event.subject) for event in told] == [
        ("trackable_lost", "t2"),
        ("trackable_found", "t2"),
    ]
    lost, found = told
    assert lost.place is not None
    assert found.place is not None
    assert lost.place.t == T0 + GONE[0]
    assert 55.0 < lost.t - lost.place.t < 90.0
    assert lost.place.floor == "0"
    x, y, _ = place(GONE_ROW, GONE[0])
    assert math.hypot(lost.place.x - x, lost.place.y - y) < 6.0
    assert found.t == T0 + GONE[1] + 1.0
    x, y, _ = place(GONE_ROW, GONE[1] + 1.0)
    assert math.hypot(found.place.x - x, found.place.y - y) < 8.0
    assert lost.id.startswith("t2:")
    assert len({event.id for event in steady().events}) == len(steady().events)


def test_a_calibration_of_the_site_replaces_its_own() -> None:
    """A newer number counts, once; what it fitted itself is dropped, also after a restart."""
    engine = Engine.restore(steady().engine.dump(), site(), 1)
    own = engine.calibration
    assert own.origin == "work"
    surveyed = msgspec.structs.replace(prior("hall"), origin="survey", exponent=2.1)
    engine.change_calibration(surveyed, 3, "a")
    engine.change_calibration(own, 2, "b")
    step = engine.take()
    assert step.done == ["a", "b"]
    assert [(event.kind, event.subject) for event in step.events] == [
        ("calibration_changed", "hall")
    ]
    assert (engine.calibration, engine.calibration_number) == (surveyed, 3)
    blob = engine.dump()
    assert stored_calibration(blob) == 3
    again = Engine.restore(blob, site(), 1, calibration=surveyed)
    assert (again.calibration, again.calibration_number) == (surveyed, 3)
    assert open_state(blob).own is None


def test_its_own_fit_outlives_a_restart_beside_the_site_s() -> None:
    """What the site's store holds is the older one: its own is used, and the number stays."""
    other = msgspec.structs.replace(prior("hall"), exponent=3.0)
    engine = Engine.restore(steady().engine.dump(), site(), 1, calibration=other)
    assert engine.calibration == steady().engine.calibration != other


@pytest.mark.parametrize("kind", ["item", "picker"])
def test_the_state_is_small_per_trackable(kind: Kind) -> None:
    """Bytes that one more trackable with one beacon costs, snapshots of the calibrator aside."""
    sizes = []
    for count in (4, 24):
        plan = hall([kind] * count)
        rng = np.random.default_rng(1)
        places = {
            i: (float(rng.uniform(2, 38)), float(rng.uniform(2, 28)), 0) for i in range(count)
        }
        engine = Engine(plan, 1)
        air = Air(plan, noise_db=2.0)
        for second in range(1, 15):
            heard = air.heard(places, rng)
            for row, gateway in enumerate(plan.gateways):
                mine = heard.gateway == row
                names = [f"b{beacon}-0" for beacon in heard.beacon[mine].tolist()]
                rssi = array("f", heard.rssi[mine].tolist())
                n = array("H", [4] * len(names))
                t = T0 + second
                engine.feed(Batch(gateway.id, "boot", second, t, 1.0, names, rssi, n), "")
        state = open_state(engine.dump())
        calm = msgspec.structs.replace(state.calibrator, snapshots=b"", trial=b"")
        sizes.append(len(msgspec.msgpack.encode(msgspec.structs.replace(state, calibrator=calm))))
    each = (sizes[1] - sizes[0]) / 20.0
    print(f"{each:.0f} bytes for one more {kind}")
    assert each < {"item": 500.0, "picker": 1_800.0}[kind]
