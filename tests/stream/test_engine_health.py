"""The engine's word on its gateways: who is named, once, and that no fix depends on it."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator
from functools import cache

import msgspec
import numpy as np
import pytest

from gateway.readings import Batch
from stream.calibration import Calibration
from stream.calibrator import Calibrator
from stream.engine import Engine
from stream.events import Event
from stream.fixes import pack
from stream.gateway_health import JUDGE_S, GatewayHealth, Suspicion
from stream.gateway_watch import GatewayWatch
from stream.site import Floor, GatewayPlace, Site, Trackable

T0 = 1_700_000_000.0
WIDE, DEEP, APART = 40.0, 30.0, 10.0
LIMIT_DBM = -92.0
STEP_S = 4.0


@cache
def hall() -> Site:
    """Twelve gateways each 10 m, that advertise, and thirty items."""
    outline = [(0.0, 0.0), (WIDE, 0.0), (WIDE, DEEP), (0.0, DEEP)]
    return Site(
        id="hall",
        name="Hall",
        timezone="UTC",
        floors=[Floor("0", "Ground", 0, outline)],
        gateways=[
            GatewayPlace(
                f"g{4 * j + i:02}", "0", [5.0 + APART * i, 5.0 + APART * j, 4.0], f"own-{4 * j + i}"
            )
            for j in range(3)
            for i in range(4)
        ],
        trackables=[Trackable(f"t{i}", f"T {i}", "item", [f"b{i}"]) for i in range(30)],
    )


def hung(site: Site, row: int, position: list[float]) -> Site:
    """The site with one gateway elsewhere."""
    gateways = list(site.gateways)
    gateways[row] = msgspec.structs.replace(gateways[row], position=position)
    return msgspec.structs.replace(site, gateways=gateways)


@cache
def places() -> dict[str, tuple[float, float]]:
    """Where beacons are."""
    rng = np.random.default_rng(3)
    places = {f"b{i}": (rng.uniform(1, WIDE - 1), rng.uniform(1, DEEP - 1)) for i in range(30)}
    own = {g.beacon: (g.position[0], g.position[1]) for g in hall().gateways if g.beacon}
    return places | own | {"stranger": (20.0, 15.0)}


def work(
    seconds: float, deaf: tuple[int, float] | None = None, *, own: bool = False
) -> Iterator[Batch]:
    """What the gateways say for so long; one goes deaf by 15 dB from some time on.

    With `own` they hear each other, too.
    """
    rng = np.random.default_rng(11)
    shadow = {(g.id, beacon): rng.normal(0.0, 3.0) for g in hall().gateways for beacon in places()}
    for k in range(1, int(seconds / STEP_S) + 1):
        t = T0 + STEP_S * k
        for row, gateway in enumerate(hall().gateways):
            loss = 15.0 if deaf and deaf[0] == row and t > T0 + deaf[1] else 0.0
            heard = {}
            for beacon, (x, y) in places().items():
                if beacon == gateway.beacon or (beacon.startswith("own") and not own):
                    continue
                away = math.hypot(x - gateway.position[0], y - gateway.position[1], 3.0)
                mean = -61.0 - 27.0 * math.log10(away) + shadow[gateway.id, beacon] - loss
                rssi = mean + rng.normal(0.0, 3.0)
                if rssi > LIMIT_DBM:
                    heard[beacon] = rssi
            yield Batch(
                gateway.id,
                "boot",
                k,
                t,
                STEP_S,
                list(heard),
                array("f", heard.values()),
                array("H", [4] * len(heard)),
            )


def only(batch: Batch, known: set[str]) -> Batch:
    """A batch of these beacons only."""
    rows = [i for i, beacon in enumerate(batch.beacons) if beacon in known]
    return msgspec.structs.replace(
        batch,
        beacons=[batch.beacons[i] for i in rows],
        rssi=array("f", [batch.rssi[i] for i in rows]),
        n=array("H", [batch.n[i] for i in rows]),
    )


def fed(engine: Engine, batches: Iterator[Batch] | list[Batch]) -> list[Event]:
    """The events about gateways' health."""
    events = []
    for i, batch in enumerate(batches):
        engine.feed(batch, str(i))
        events += engine.take().events
    return [event for event in events if event.kind in ("gateway_suspect", "gateway_well")]


@pytest.fixture(scope="module")
def deaf() -> tuple[Engine, list[Event]]:
    """Twenty minutes, in which one goes deaf after eleven."""
    engine = Engine(hall(), 1)
    return engine, fed(engine, work(1_200.0, (5, 660.0)))


def test_a_deaf_gateway_is_told_once(deaf: tuple[Engine, list[Event]]) -> None:
    """Within ten minutes, by name, with a sentence."""
    engine, events = deaf
    (event,) = events
    assert (event.kind, event.subject) == ("gateway_suspect", "g05")
    assert T0 + 660.0 < event.t <= T0 + 1_260.0
    assert "`g05`" in event.text
    assert event.id == f"g05:gateway_suspect:{event.t:.1f}"
    summary = engine.summary()
    assert {name: count.suspect for name, count in summary.gateways.items() if count.suspect} == {
        "g05": "deaf"
    }
    assert summary.gateways["g05"].suspect_text


def test_the_summary_has_numbers_for_people(deaf: tuple[Engine, list[Event]]) -> None:
    """Residuals and shares by gateway, and what self-calibration did."""
    summary = deaf[0].summary()
    sound = [count for name, count in summary.gateways.items() if name != "g05"]
    shares = [count.hears for count in sound if count.hears is not None]
    assert len(shares) >= 9
    assert min(shares) > 0.9
    assert all(count.residual_db is not None and abs(count.residual_db) < 8.0 for count in sound)
    worse = summary.gateways["g05"]
    assert worse.hears is None or worse.hears < 0.9
    assert summary.snapshots > 0
    assert (summary.calibration, summary.lost) == (0, 0)
    assert summary.calibration_origin == deaf[0].calibration.origin
    assert summary.fits >= summary.adopted
    blank = Engine(hall(), 1).summary()
    assert (blank.gateways["g05"].hears, blank.gateways["g05"].residual_db) == (None, None)


def test_a_gateway_in_a_wrong_place_is_told_until_the_site_is_right() -> None:
    """Misplaced by 12 m in the document: named with its true place; then the document is mended."""
    engine = Engine(hung(hall(), 5, [27.0, 15.0, 4.0]), 1)
    batches = list(work(540.0))
    cut = len(batches) - 12 * 20
    (event,) = fed(engine, batches[:cut])
    assert (event.kind, event.subject) == ("gateway_suspect", "g05")
    x, y, away = map(int, re.findall(r"\[(\d+), (\d+)\], (\d+) m", event.text)[0])
    assert math.dist((x, y), (15.0, 15.0)) <= 4.0
    assert abs(away - 12) <= 4
    assert engine.summary().gateways["g05"].suspect == "moved"
    engine.change_site(hall(), 2, "site")
    changed = engine.summary().tick
    (event,) = fed(engine, batches[cut:])
    # With the next judgement, not with the next look at this very gateway.
    assert event.t <= changed + JUDGE_S + STEP_S
    assert (event.kind, event.subject) == ("gateway_well", "g05")
    assert engine.summary().gateways["g05"].suspect == ""


def test_no_fix_depends_on_health(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes with nobody watching; the case begins when all is being judged."""
    batches = list(work(420.0, (5, 200.0)))

    def fixes() -> list[bytes]:
        engine, ticks = Engine(hall(), 1), []
        for i, batch in enumerate(batches):
            engine.feed(batch, str(i))
            ticks += engine.take().ticks
        return [pack(tick) for tick in ticks]

    watched = fixes()
    monkeypatch.setattr(GatewayWatch, "follow", lambda *_: [])
    assert fixes() == watched


def test_a_crash_changes_nothing_of_it() -> None:
    """Restored twice and fed again what was not done, it tells the same and ends the same."""
    batches = list(work(420.0, own=True))
    site = hung(hall(), 5, [27.0, 15.0, 4.0])
    engine = Engine(site, 1)
    told = fed(engine, batches)
    assert told, "the case must tell something"

    other, again = Engine(site, 1), []
    done: set[str] = set()
    for stop in (501, 1_003, len(batches)):
        for i in range(stop):
            if str(i) not in done:
                other.feed(batches[i], str(i))
        step = other.take()
        done.update(step.done)
        again += [e for e in step.events if e.kind in ("gateway_suspect", "gateway_well")]
        if stop < len(batches):
            other = Engine.restore(other.dump(), site, 1)
    assert again == told
    assert other.dump() == engine.dump()


def test_gateways_that_hear_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their beacons are no strangers; a fit of their links is put on trial."""
    proposed: list[Calibration] = []

    def propose(_: Calibrator, calibration: Calibration) -> bool:
        proposed.append(calibration)
        return True

    monkeypatch.setattr(Calibrator, "propose", propose)
    # With fewer tags than it takes to fit the site by them.
    engine = Engine(msgspec.structs.replace(hall(), trackables=hall().trackables[:4]), 1)
    batches = list(work(320.0, own=True))
    known = {"stranger", "b0", "b1", "b2", "b3"} | {g.beacon or "" for g in hall().gateways}
    assert fed(engine, [only(batch, known) for batch in batches]) == []
    assert [unknown.beacon for unknown in engine.summary().unassigned] == ["stranger"]
    (calibration,) = proposed
    assert calibration.origin == "gateways"
    assert set(calibration.gateways) == {gateway.id for gateway in hall().gateways}
    # The true exponent is 2.7, and the prior 2.5.
    assert 2.5 <= calibration.exponent <= 2.9


def test_a_fit_is_proposed_only_while_snapshots_are_gathered() -> None:
    """One fit at a time."""
    engine = Engine(hall(), 1)
    calibrator, calibration = engine._calibrator, engine.calibration
    assert calibrator.propose(calibration)
    assert not calibrator.propose(calibration)
    assert calibrator.counts[1] == 1


def test_one_partition_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others see the same gateways and say nothing."""
    doubt = {"g05": Suspicion("deaf", "it hears nothing")}
    monkeypatch.setattr(GatewayHealth, "suspicions", lambda _: doubt)
    told = {}
    for partition in (0, 1):
        engine = Engine(hall(), 1, partition, 2)
        events = fed(engine, work(40.0))
        suspects = [n for n, count in engine.summary().gateways.items() if count.suspect]
        told[partition] = ([event.subject for event in events], suspects)
    assert told == {0: (["g05"], ["g05"]), 1: ([], [])}


def test_the_state_of_it_is_small() -> None:
    """Bytes a gateway, and 36 a pair that hear each other."""
    engine = Engine(hall(), 1)
    fed(engine, work(30.0, own=True))
    state = engine._watch.dump()
    assert len(state.health) <= 200 * 12
    assert len(state.mutual) <= 36 * 12 * 11 + 64
