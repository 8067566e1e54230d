"""Faults of links, power and clocks, as decided ahead."""

from __future__ import annotations

import math
from itertools import islice, pairwise

import numpy as np
import pytest

from gateway.radio.faults import (
    LEVELS,
    Clocks,
    Faults,
    FaultyLink,
    Outage,
    Power,
    outages,
)
from gateway.radio.parameters import RadioParameters


def test_a_sound_link_delivers_everything_once_at_once() -> None:
    """Level none is exactly that."""
    link = FaultyLink(LEVELS["none"], 1, 0)
    assert [link.delays() for _ in range(1_000)] == [[0.0]] * 1_000


def test_messages_are_lost_doubled_and_late_at_their_rates() -> None:
    """And arrive after the latency, late ones after more."""
    faults = Faults(
        latency_s=0.01,
        latency_sigma=0.5,
        lost=0.1,
        duplicated=0.2,
        late=0.05,
        late_s=(5.0, 9.0),
    )
    link = FaultyLink(faults, 1, 0)
    fates = [link.delays() for _ in range(20_000)]
    arrived = [fate for fate in fates if fate]
    firsts = np.array([fate[0] for fate in arrived])
    assert 1.0 - len(arrived) / 20_000 == pytest.approx(0.1, abs=0.01)
    assert np.mean([len(fate) == 2 for fate in arrived]) == pytest.approx(0.2, abs=0.01)
    late = firsts > 4.0
    assert late.mean() == pytest.approx(0.05, abs=0.006)
    assert firsts[late].min() >= 5.0
    assert firsts[late].max() <= 9.0 + 1.0
    assert float(np.median(firsts[~late])) == pytest.approx(0.01, rel=0.05)
    assert all(fate[1] > fate[0] for fate in arrived if len(fate) == 2)


def test_each_gateways_link_has_its_own_luck() -> None:
    """The same for the same seed, independent between gateways."""
    one, same, other = (FaultyLink(LEVELS["harsh"], 3, row) for row in (0, 0, 1))
    fates = [[link.delays() for _ in range(50)] for link in (one, same, other)]
    assert fates[0] == fates[1] != fates[2]


def test_outages_come_at_their_rate_and_do_not_overlap_at_a_gateway() -> None:
    """In order of their start, of the given lengths, over all gateways."""
    faults = Faults(outage_every_s=60.0, outage_s=(10.0, 30.0))
    found = list(islice(outages(faults, 24, 1, 1_000.0), 500))
    starts = [outage.start for outage in found]
    assert starts == sorted(starts)
    assert (starts[-1] - 1_000.0) / 500 == pytest.approx(60.0, rel=0.15)
    assert {outage.gateway for outage in found} == set(range(24))
    for gateway in range(24):
        own = [outage for outage in found if outage.gateway == gateway]
        assert all(10.0 <= outage.end - outage.start <= 30.0 for outage in own)
        assert all(a.end < b.start for a, b in pairwise(own))


def test_no_outages_without_a_rate() -> None:
    """Level none has no outages."""
    assert list(outages(LEVELS["none"], 24, 1, 0.0)) == []


def test_power_says_who_is_off() -> None:
    """From an outage's start until its end."""
    power = Power(iter([Outage(1, 10.0, 20.0), Outage(2, 15.0, 16.0)]))
    seen = {t: sorted(power.off(t)) for t in (9.9, 10.0, 15.5, 16.0, 19.9, 20.0, 1e9)}
    assert seen == {9.9: [], 10.0: [1], 15.5: [1, 2], 16.0: [1], 19.9: [1], 20.0: [], 1e9: []}


def test_clocks_are_off_by_little_and_wander() -> None:
    """Spread of the offsets as given; they swing slowly, and never jump."""
    parameters = RadioParameters(clock_sd_s=0.02, clock_wander_s=0.005)
    clocks = Clocks(parameters, 500, 1)
    assert clocks.offsets(0.0).std() == pytest.approx(0.02, rel=0.15)
    over_time = np.array([clocks.offsets(t) for t in range(2_000)])
    assert np.ptp(over_time, axis=0) == pytest.approx(0.01, rel=0.05)
    assert np.abs(np.diff(over_time, axis=0)).max() < 2.0 * math.pi * 0.005 / 1_000.0
    assert clocks.offset(7, 123.0) == pytest.approx(clocks.offsets(123.0)[7])


def test_wrong_clocks_are_as_many_as_asked_for() -> None:
    """And as wrong."""
    clocks = Clocks(RadioParameters(wrong_clocks=2, wrong_clock_s=-7.0), 24, 1)
    wrong = clocks.offsets(0.0) < -6.0
    assert wrong.sum() == 2
