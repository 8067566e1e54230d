"""The engine's promise: only the order of what goes in decides what comes out."""

from __future__ import annotations

import random
from array import array

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.readings import Batch
from stream.engine import Engine, Step
from stream.fixes import NONE, TickFixes, pack
from stream.site import Floor, GatewayPlace, Site, Trackable, Zone
from stream.state import EngineError, latest, stored_version

T0 = 1_700_000_000.0
SQUARE = [(0.0, 0.0), (20.0, 0.0), (20.0, 20.0), (0.0, 20.0)]
GATEWAYS = {"g0": (1.0, 1.0), "g1": (19.0, 1.0), "g2": (10.0, 19.0)}


def site(trackables: int = 3) -> Site:
    """A hall with three gateways, one zone and a few trackables `t0` with beacon `b0` and so on."""
    return Site(
        id="hall",
        name="Hall",
        timezone="UTC",
        floors=[Floor("0", "Ground", 0, SQUARE)],
        gateways=[GatewayPlace(name, "0", [*place, 3.0]) for name, place in GATEWAYS.items()],
        zones=[Zone("west", "0", "West", "storage", [(0, 0), (10, 0), (10, 20), (0, 20)])],
        trackables=[
            Trackable(f"t{i}", f"T {i}", "picker" if i % 2 else "item", [f"b{i}"])
            for i in range(trackables)
        ],
    )


def batch(gateway: str, seq: int, t: float, rssi: dict[str, float], boot: str = "boot") -> Batch:
    """A batch of single adverts, t in seconds after T0."""
    return Batch(
        gateway,
        boot,
        seq,
        T0 + t,
        0.5,
        list(rssi),
        array("f", rssi.values()),
        array("H", [1] * len(rssi)),
    )


def shift(seconds: float = 12.0, seed: int = 1) -> list[Batch]:
    """Some work: every gateway publishes each 0.5 s what a random draw says it heard."""
    rng = random.Random(seed)
    batches = []
    for k in range(int(seconds / 0.5)):
        for gateway in GATEWAYS:
            heard = {f"b{i}": rng.uniform(-90.0, -50.0) for i in range(4) if rng.random() < 0.7}
            batches.append(batch(gateway, k + 1, 0.5 * (k + 1), heard))
    return batches


def run(batches: list[Batch], flush: bool = True) -> tuple[Engine, Step]:
    """An engine fed with these batches, and all it gave."""
    engine = Engine(site(), 1)
    for i, each in enumerate(batches):
        engine.feed(each, str(i))
    if flush:
        engine.flush()
    return engine, engine.take()


def packed(ticks: list[TickFixes]) -> list[bytes]:
    """Ticks as bytes, for exact comparison."""
    return [pack(tick) for tick in ticks]


REFERENCE = packed(run(shift())[1].ticks)


def test_every_batch_comes_back_done_once() -> None:
    """After the flush each token has been handed back exactly once."""
    batches = shift()
    _, step = run(batches)
    assert sorted(step.done, key=int) == [str(i) for i in range(len(batches))]


def test_ticks_are_in_order_and_on_the_grid() -> None:
    """Ticks rise by time and end on multiples of half a second, each with a fix per beacon."""
    _, step = run(shift())
    ends = [tick.t for tick in step.ticks]
    assert ends == sorted(set(ends))
    assert all((2 * t).is_integer() for t in ends)
    assert all(np.all(np.diff(tick.fixes["trackable"].astype(int)) > 0) for tick in step.ticks)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_crash_anywhere_changes_nothing(data: st.DataObject) -> None:
    """State taken anywhere, restored, fed again what was not done: the same bytes come out."""
    batches = shift()
    crashes = sorted(data.draw(st.lists(st.integers(1, len(batches)), max_size=4)))
    engine, out, done = Engine(site(), 1), [], set[str]()
    stored = engine.dump()
    position = 0
    for stop in [*crashes, len(batches)]:
        for i in range(position, stop):
            engine.feed(batches[i], str(i))
        position = stop
        if data.draw(st.booleans()):  # committed, then killed
            step = engine.take()
            out += step.ticks
            done |= set(step.done)
            stored = engine.dump()
        # else: killed before the commit; what it computed is thrown away
        engine = Engine.restore(stored, site(), stored_version(stored))
        for i in range(position):
            if str(i) not in done:
                engine.feed(batches[i], str(i))
    engine.flush()
    out += engine.take().ticks
    assert packed(out) == REFERENCE


@settings(max_examples=25)
@given(st.randoms(use_true_random=False))
def test_interleaving_and_duplicates_do_not_matter(rng: random.Random) -> None:
    """Gateways may overtake each other by a second, and any batch may come twice."""
    batches = shift()
    delay = {name: rng.uniform(0.0, 1.0) for name in GATEWAYS}
    arrivals = sorted(batches, key=lambda b: (b.t + delay[b.gateway], b.seq))
    for _ in range(10):
        i = rng.randrange(len(arrivals))
        arrivals.insert(rng.randrange(i, len(arrivals)), arrivals[i])
    engine, step = run(arrivals)
    summary = engine.summary()
    assert packed(step.ticks) == REFERENCE
    assert (summary.batches, summary.duplicates, summary.late) == (len(batches), 10, 0)
    assert summary.readings == sum(map(len, batches))


def test_what_comes_too_late_is_counted_and_bends_nothing() -> None:
    """A batch for a closed tick leaves the fixes as they are, and is taken only once."""
    batches = shift()
    late = [batch("g0", 900, 1.0, {"b0": -40.0})] * 2
    engine, step = run(batches[:40] + late + batches[40:])
    assert packed(step.ticks) == REFERENCE
    counts = engine.summary().gateways["g0"]
    assert (counts.late, counts.duplicates) == (1, 1)


def test_a_beacon_heard_once_has_its_fix() -> None:
    """A single reading at the very end is located when the recording ends."""
    engine = Engine(site(), 1)
    engine.feed(batch("g1", 1, 0.5, {"b2": -60.0}), "a")
    assert engine.take().ticks == []
    engine.flush()
    step = engine.take()
    assert step.done == ["a"]
    [tick] = step.ticks
    assert tick.t == T0 + 0.5
    assert tick.fixes["trackable"].tolist() == [2]
    # One gateway alone says that it is somewhere around, and the radius says so too.
    away = np.hypot(tick.fixes["x"][0] - 19.0, tick.fixes["y"][0] - 1.0)
    assert away < 5.0
    assert tick.fixes["accuracy"][0] > away
    assert tick.fixes["zone"][0] == NONE
    assert tick.fixes["accuracy"][0] > 1.0


def test_strangers_impossible_levels_and_unknown_gateways_are_counted() -> None:
    """Nothing odd stops the flow; each oddity has its count."""
    engine = Engine(site(), 1)
    engine.feed(batch("g0", 1, 0.5, {"b0": 62.0, "b1": -127.0, "stranger": -70.0}), "a")
    engine.feed(batch("nobody", 1, 0.5, {"b0": -50.0}), "b")
    engine.flush()
    summary = engine.summary()
    assert (summary.out_of_range, summary.unknown, summary.fixes) == (2, 1, 0)
    [stranger] = summary.unassigned
    assert (stranger.beacon, stranger.gateway, stranger.rssi, stranger.n) == (
        "stranger",
        "g0",
        -70.0,
        1,
    )
    assert engine.take().done == ["b", "a"]


def test_a_gateway_that_dies_is_waited_for_and_named() -> None:
    """Two seconds after its last word the ticks go on, with an event that names it."""
    engine = Engine(site(), 1)
    for b in shift(20.0):
        if b.gateway != "g2" or b.t <= T0 + 5.0:
            engine.feed(b, "")
    step = engine.take()
    assert step.ticks[-1].t == T0 + 19.5
    assert [(e.kind, e.subject) for e in step.events] == [("gateway_silent", "g2")]
    assert engine.summary().gateways["g2"].standing == "quiet"
    for seq, t in ((11, 20.0), (12, 20.5)):
        for name in GATEWAYS:
            engine.feed(batch(name, seq if name == "g2" else 40 + seq, t, {}), "")
    assert [e.kind for e in engine.take().events] == ["gateway_heard"]


def test_an_adopted_beacon_is_located_under_the_new_site() -> None:
    """A new site version applies in stream order; known trackables keep their tracks by id."""
    old = site()
    adopted = Trackable("new", "New", "item", ["b3"])
    new = msgspec.structs.replace(old, trackables=[adopted, *old.trackables])
    engine = Engine(old, 1)
    batches = shift()
    for b in batches[:36]:
        engine.feed(b, "")
    before = {int(f["trackable"]): f for tick in engine.take().ticks for f in tick.fixes}
    assert [u.beacon for u in engine.summary().unassigned] == ["b3"]
    engine.change_site(new, 2, "change")
    assert engine.take().done == ["change"]
    assert engine.summary().unassigned == []
    kept = latest(engine.dump())
    assert kept.version == 2
    for fix in kept.fixes:
        assert fix["x"] == before[int(fix["trackable"]) - 1]["x"]
    for b in batches[36:]:
        engine.feed(b, "")
    ticks = engine.take().ticks
    assert {tick.version for tick in ticks} == {2}
    assert 0 in ticks[-1].fixes["trackable"]


def test_a_state_of_another_kind_is_refused_in_a_sentence() -> None:
    """Neither rubbish nor a state of another version or partition is taken for one's own."""
    blob = run(shift(), flush=False)[0].dump()
    with pytest.raises(EngineError, match="cannot be read"):
        stored_version(blob[:-3])
    with pytest.raises(EngineError, match="site version 1, partition 0 of 1; wanted 2"):
        Engine.restore(blob, site(), 2)
    with pytest.raises(EngineError, match="does not fit"):
        Engine.restore(blob, site(5), 1)


def test_latest_reads_the_last_fixes_from_a_state() -> None:
    """Readers of the store see for every trackable the last fix that was committed."""
    engine, step = run(shift())
    last = {int(f["trackable"]): (tick.t, f["x"]) for tick in step.ticks for f in tick.fixes}
    found = latest(engine.dump())
    assert found.tick == step.ticks[-1].t
    assert {
        int(f["trackable"]): (float(t), f["x"]) for f, t in zip(found.fixes, found.t, strict=True)
    } == last


def test_partitions_share_the_strangers_without_overlap() -> None:
    """With several partitions each stranger is listed by exactly one."""
    names = {f"stranger-{i}": -70.0 for i in range(30)}
    listed: list[str] = []
    for partition in range(3):
        engine = Engine(site(), 1, partition, 3)
        engine.feed(batch("g0", 1, 0.5, names), "")
        engine.flush()
        listed += [u.beacon for u in engine.summary().unassigned]
    assert sorted(listed) == sorted(names)


def test_of_several_partitions_one_tells_of_the_gateways() -> None:
    """Every partition sees a gateway die; the event is there once, under one id."""
    told = []
    for partition in range(3):
        engine = Engine(site(), 1, partition, 3)
        for b in shift(20.0):
            if b.gateway != "g2" or b.t <= T0 + 5.0:
                engine.feed(b, "")
        told += [(event.kind, event.subject) for event in engine.take().events]
    assert told == [("gateway_silent", "g2")]
