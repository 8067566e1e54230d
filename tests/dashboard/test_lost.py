"""Who is lost: the dashboard's rule says what the engine's events say, at every tick."""

from __future__ import annotations

import random
from array import array

import numpy as np
import pytest

from dashboard.lost import stored_gaps
from dashboard.positions import Positions
from gateway.readings import Batch
from stream.engine import Engine
from stream.patience import lost, usual_gaps
from stream.site import Site
from stream.state import latest
from tests.support.stepper import T0, beacon, depot, rssi


def hear(engine: Engine, site: Site, seq: int, t: float, heard: list[int]) -> None:
    """All gateways hear some things, each where it always is."""
    for gateway in site.gateways:
        levels = [rssi(gateway, 2.0 + 1.5 * i, 5.0) for i in heard]
        batch = Batch(
            gateway=gateway.id,
            boot="b",
            seq=seq,
            t=t,
            window=1.0,
            beacons=[beacon(i) for i in heard],
            rssi=array("f", levels),
            n=array("H", [5] * len(heard)),
        )
        engine.feed(batch, "")


@pytest.mark.parametrize("seed", [1, 2])
def test_it_says_what_the_engine_tells(seed: int) -> None:
    """Quick and slow beacons fall silent and come back: lost and found in the same ticks."""
    site = depot(6, gateways=3)
    engine, table = Engine(site, 1), Positions(site, 1)
    chance = random.Random(seed)
    every = [1, 1, 3, 10, 25, 40]
    silent_until = [0.0] * len(every)
    told: set[str] = set()
    was_lost, was_found = 0, 0
    for second in range(900):
        t = T0 + second
        for i in range(len(every)):
            if second >= silent_until[i] and chance.random() < 0.004:
                silent_until[i] = second + chance.uniform(20.0, 600.0)
        heard = [i for i, gap in enumerate(every) if second >= silent_until[i] and not second % gap]
        hear(engine, site, second, t, heard)
        step = engine.take()
        for event in step.events:
            if event.kind == "trackable_lost":
                told.add(event.subject)
                was_lost += 1
                row = table.row(event.subject)
                assert row is not None
                assert event.place is not None
                assert event.place.t == table.t[row]
            elif event.kind == "trackable_found":
                told.remove(event.subject)
                was_found += 1
        for tick in step.ticks:
            table.apply(tick)
        table.pass_time(engine.summary().tick)
        rows = np.flatnonzero(table.lost())
        assert {site.trackables[row].id for row in rows} == told, second
        assert [table.is_lost(row) for row in range(6)] == table.lost().tolist()
    assert was_lost >= 3
    assert was_found >= 2

    blob = engine.dump()
    state = latest(blob)
    fresh = Positions(site, 1)
    fresh.merge(state.fixes, state.t, 1, state.tick, stored_gaps(blob, state))
    assert fresh.gaps.tobytes() == table.gaps.tobytes()
    assert (fresh.lost() == table.lost()).all()


@pytest.mark.parametrize(
    ("gap", "heard", "patience"),
    [
        # A minute for whatever is heard every few seconds, ten gaps for what is heard less often.
        (1.0, 200, 60.0),
        (5.0, 200, 60.0),
        (20.0, 200, 200.0),
        # Two fixes half a second apart say little of a beacon; a minute is what it gets.
        (0.5, 2, 60.0),
    ],
)
def test_patience_is_a_minute_or_ten_gaps(gap: float, heard: int, patience: float) -> None:
    """What is heard regularly is lost right after its patience and not before."""
    gaps, times = np.zeros(1, np.float32), np.zeros(1)
    for i in range(heard):
        passed = np.array([gap]) if i else np.array([np.inf])
        gaps = usual_gaps(gaps, passed)
        times += gap
    assert not lost(times, gaps, float(times[0]) + patience - 0.5)[0]
    assert lost(times, gaps, float(times[0]) + patience + 0.5)[0]


def test_what_was_never_located_is_not_lost() -> None:
    """It has no last place."""
    assert lost(np.zeros(2), np.zeros(2, np.float32), T0).tolist() == [False, False]
    assert Positions(depot(0), 1).lost().tolist() == []
