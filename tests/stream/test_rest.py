"""When rest ends: flutter and one pallet leave it, being carried away ends it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from stream.evidence import EMPTY, Evidence, summed
from stream.learnt import Learnt
from stream.rest import rouse
from stream.track import RESTS, ROUSED, TRACK, WALKS
from tests.support.locating import T0, TICK_S, readings

Floats = npt.NDArray[np.float64]
FADE_S = 30.0


class Resting:
    """Trackables at rest, one beacon each, heard by a few gateways.

    Attributes:
        roused: trackables roused in each tick, in order of the ticks.
    """

    def __init__(self, count: int, gateways: int = 6, *, seed: int = 1, sd: float = 4.0) -> None:
        self.rng = np.random.default_rng(seed)
        self.mean = self.rng.uniform(-85.0, -55.0, (count, gateways))
        self.sd = sd
        self.evidence = Evidence.empty(count)
        self.learnt = Learnt()
        self.track = np.zeros(count, TRACK)
        self.track["mode"] = RESTS
        self.number = 0
        self.roused: list[set[int]] = []

    def hear(self, heard_by: int | None = None) -> None:
        """A tick: what the locator does about rest, and no more."""
        self.number += 1
        count, gateways = self.mean.shape
        rssi = self.rng.normal(self.mean, self.sd)
        pairs = summed(
            readings(
                (row, gateway, float(rssi[row, gateway]))
                for row in range(count)
                for gateway in range(gateways if heard_by is None else heard_by)
            )
        )
        rows = np.arange(count)
        passed = np.full(count, TICK_S)
        rouse(self.evidence, self.learnt, pairs, rows, self.track, passed)
        up = np.flatnonzero(self.track["mode"] == ROUSED)
        self.roused.append(set(up.tolist()))
        # It begins anew with what is heard now, and rests again at once.
        self.evidence.forget(up)
        self.track["mode"][up] = RESTS
        self.evidence.update(pairs, T0 + TICK_S * self.number, np.full(count, FADE_S))

    def listen(self, ticks: int, heard_by: int | None = None) -> set[int]:
        """Some ticks; who was roused in them."""
        for _ in range(ticks):
            self.hear(heard_by)
        return set().union(*self.roused[-ticks:])


@pytest.mark.parametrize("sd", [1.0, 4.0, 7.0])
def test_what_lies_still_is_seldom_roused(sd: float) -> None:
    """However much levels flutter, it is learnt what it is, and rest lasts for minutes."""
    resting = Resting(100, sd=sd)
    resting.listen(400)
    minutes = 100 * 300 * TICK_S / 60.0
    assert sum(map(len, resting.roused[-300:])) / minutes < 1.0
    assert resting.learnt.flutter_db2 == pytest.approx(sd**2, rel=0.25)


@pytest.mark.parametrize("gateways", [2, 4, 8])
def test_what_is_carried_away_is_roused_within_seconds(gateways: int) -> None:
    """Levels that change by 9 dB up and down, as over 10 m, end rest in 5 s."""
    resting = Resting(40, gateways)
    resting.listen(240)
    still = len(resting.listen(10))
    resting.mean += np.where(resting.rng.random(resting.mean.shape) < 0.5, 9.0, -9.0)
    assert len(resting.listen(10)) >= 36
    assert still < 8


def test_a_pallet_before_one_gateway_is_less_than_a_move() -> None:
    """20 dB less at one of eight counts for no more than the bound: others must stir too."""
    resting = Resting(60, 8)
    resting.listen(240)
    resting.mean[:, 3] -= 20.0
    one = len(resting.listen(8))
    moved = Resting(60, 8)
    moved.listen(240)
    moved.mean += np.where(moved.rng.random(moved.mean.shape) < 0.5, 9.0, -9.0)
    assert one < len(moved.listen(8))


def test_a_change_that_lasts_a_moment_rouses_few() -> None:
    """Half a second of everything 5 dB weaker, as somebody passes, is hardly ever a move."""
    resting = Resting(80)
    resting.listen(240)
    resting.mean -= 5.0
    passed = resting.listen(1)
    resting.mean += 5.0
    passed |= resting.listen(6)
    assert len(passed) <= 20
    resting.mean -= 5.0
    assert len(resting.listen(12)) >= 50


def test_only_what_rests_can_be_roused() -> None:
    """One who walks is left alone, its drifts are nothing, and no flutter is learnt from it."""
    resting = Resting(3)
    resting.track["mode"] = [WALKS, RESTS, WALKS]
    resting.listen(30)
    learnt = resting.learnt.sums[-1]
    resting.mean += 15.0
    assert resting.listen(10) == {1}
    assert 0 < learnt <= 29 * 6
    assert not resting.evidence.slots["drift"][[0, 2]].any()
    resting.listen(1)
    assert resting.evidence.slots["drift"][1][:6].any()


def test_a_gateway_that_was_not_known_is_no_evidence_of_a_move() -> None:
    """Rest does not end because more gateways begin to hear."""
    resting = Resting(60, 8)
    resting.listen(120, heard_by=4)
    before = len(resting.listen(4, heard_by=4))
    assert len(resting.listen(4)) <= before + 6
    assert (resting.evidence.slots["gateway"] != EMPTY).sum() == 60 * 8


def test_trackables_are_judged_by_all_their_beacons() -> None:
    """The drifts of two beacons of one trackable come together; its neighbour's do not."""
    rng = np.random.default_rng(5)
    evidence, learnt = Evidence.empty(3), Learnt()
    track = np.zeros(2, TRACK)
    owner = np.array([0, 0, 1])
    change = np.zeros(3)
    for number in range(200):
        track["mode"] = RESTS
        if number == 190:
            change = np.array([9.0, -9.0, 0.0])
        pairs = summed(
            readings(
                (beacon, gateway, -70.0 + change[beacon] + rng.normal(0.0, 3.0))
                for beacon in range(3)
                for gateway in range(4)
            )
        )
        rouse(evidence, learnt, pairs, owner, track, np.full(2, TICK_S))
        if number < 190:
            track["mode"] = RESTS
        evidence.update(pairs, T0 + TICK_S * number, np.full(3, FADE_S))
        if (track["mode"] == ROUSED).any():
            break
    assert track["mode"].tolist() == [ROUSED, RESTS]
