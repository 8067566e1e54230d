"""Levels over space: each parameter of the virtual radio acts, and by as much as it says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateway.radio.parameters import RadioParameters
from gateway.radio.plan import Floats, read_plan
from gateway.radio.propagation import Propagation, Shadowing
from tests.support.radio import box, plan, quiet


def levels(air: Propagation, x: Floats, y: Floats, gateway: int = 0) -> Floats:
    """Levels at the gateway's height, so that distance is what the plan shows."""
    z = np.full(len(x), 3.0)
    rows = np.full(len(x), gateway)
    return air.level(rows, x, y, z, np.zeros(len(x), np.int64))


@pytest.mark.parametrize("exponent", [1.8, 2.4, 3.5])
def test_the_level_falls_by_the_exponent(exponent: float) -> None:
    """A regression over the logarithm of distance finds the exponent and the power at 1 m."""
    air = Propagation(
        plan([(0.0, 0.0, 3.0)]), quiet(path_loss_exponent=(exponent, exponent)), seed=1
    )
    distance = np.linspace(0.5, 60.0, 200)
    slope, power = np.polyfit(np.log10(distance), levels(air, distance, np.zeros(200)), 1)
    assert slope == pytest.approx(-10.0 * exponent)
    assert power == pytest.approx(-40.0)


def test_the_exponent_is_found_through_shadowing_too() -> None:
    """With 6 dB of shadowing a regression over many places still comes near."""
    air = Propagation(
        plan([(0.0, 0.0, 3.0)]),
        quiet(path_loss_exponent=(2.7, 2.7), shadowing_sd_db=(6.0, 6.0)),
        seed=2,
    )
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-95.0, 95.0, (2, 4_000))
    slope, _ = np.polyfit(np.log10(np.hypot(x, y)), levels(air, x, y), 1)
    assert slope == pytest.approx(-27.0, abs=3.0)


def test_exponents_and_powers_are_drawn_from_their_ranges() -> None:
    """Over seeds they fill the range and never leave it."""
    place, parameters = plan([(0.0, 0.0)]), RadioParameters()
    airs = [Propagation(place, parameters, seed) for seed in range(80)]
    exponents = np.array([air.exponent for air in airs])
    assert 1.8 <= exponents.min() < 2.0
    assert 3.3 < exponents.max() <= 3.5
    powers = np.array([air.power_1m for air in airs])
    assert -62.0 <= powers.min() < powers.max() <= -54.0


def test_sites_that_list_obstacles_have_exponents_without_them() -> None:
    """Racks that are charged one by one are not charged by the exponent again."""
    racked = plan([(0.0, 0.0)], racks=[box(1, 1, 2, 2)])
    exponents = [Propagation(racked, RadioParameters(), seed).exponent for seed in range(40)]
    assert min(exponents) >= 1.8
    assert max(exponents) <= 2.6


@pytest.mark.parametrize(("racks", "expected"), [(0, 0.0), (1, 5.0), (3, 15.0), (8, 22.0)])
def test_each_rack_on_the_way_costs_its_loss_up_to_the_cap(racks: int, expected: float) -> None:
    """Behind n racks the level is lower by n losses, and never by more than the cap."""
    rings = [box(2.0 + 2 * i, -5.0, 3.0 + 2 * i, 5.0) for i in range(racks)]
    bare = Propagation(plan([(0.0, 0.0, 3.0)]), quiet(), seed=1)
    racked = Propagation(plan([(0.0, 0.0, 3.0)], racks=rings), quiet(), seed=1)
    x, y = np.array([20.0]), np.array([0.0])
    assert (levels(bare, x, y) - levels(racked, x, y))[0] == pytest.approx(expected)


def test_losses_of_racks_are_drawn_unless_the_site_knows_them() -> None:
    """Between 2 and 8 dB a rack; `loss_db` of the document is taken as it is."""
    many = plan([(0.0, 0.0)], racks=[box(i, 1, i + 0.5, 2) for i in range(60)])
    drawn = Propagation(many, RadioParameters(), seed=3).crossing_db
    assert 2.0 <= drawn.min() < 2.6
    assert 7.4 < drawn.max() <= 8.0
    known = plan(
        [(0.0, 0.0)],
        more={
            "obstacles": [
                {"floor": "0", "kind": "wall", "polygon": box(1, 1, 2, 2), "loss_db": 17.5}
            ]
        },
    )
    assert Propagation(known, RadioParameters(), seed=3).crossing_db.tolist() == [17.5]


def test_shadowing_has_its_spread_and_decays_over_its_length() -> None:
    """Correlation between places d apart is exp(-d / length), measured over many fields."""
    parameters = RadioParameters(
        shadowing_sd_db=(6.0, 6.0), shadowing_correlation_m=(4.0, 4.0), shadowing_common=0.0
    )
    fields = 60
    shadowing = Shadowing(fields, 1, parameters, seed=4)
    rng = np.random.default_rng(2)
    count = 12_000
    field, none = rng.integers(0, fields, count), np.zeros(count, np.int64)
    x, y = rng.uniform(0.0, 200.0, (2, count))
    turn = rng.uniform(0.0, 2.0 * math.pi, count)
    here = shadowing.at(field, none, x, y)
    assert here.std() == pytest.approx(6.0, rel=0.05)
    assert here.mean() == pytest.approx(0.0, abs=0.5)
    for distance in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0):
        there = shadowing.at(field, none, x + distance * np.cos(turn), y + distance * np.sin(turn))
        correlation = float(np.corrcoef(here, there)[0, 1])
        assert correlation == pytest.approx(math.exp(-distance / 4.0), abs=0.06), distance


def test_gateways_share_a_part_of_their_shadowing() -> None:
    """Two gateways' fields correlate at the same place by the common share."""
    parameters = RadioParameters(shadowing_common=0.3)
    shadowing = Shadowing(40, 1, parameters, seed=5)
    rng = np.random.default_rng(3)
    count = 12_000
    one = rng.integers(0, 20, count)
    none = np.zeros(count, np.int64)
    x, y = rng.uniform(0.0, 300.0, (2, count))
    a, b = shadowing.at(one, none, x, y), shadowing.at(one + 20, none, x, y)
    assert float(np.corrcoef(a, b)[0, 1]) == pytest.approx(0.3, abs=0.07)


def test_gateways_differ_by_their_offsets() -> None:
    """The offsets' spread is within what the parameters say."""
    place = plan([(float(i), 0.0) for i in range(400)])
    for seed in range(3):
        spread = Propagation(place, RadioParameters(), seed).gateway_db.std()
        assert 1.8 < spread < 3.3


def test_a_slab_costs_its_loss_per_floor() -> None:
    """Two storeys up, two slabs; the racks of another floor do not count."""
    document = {
        "id": "tall",
        "floors": [{"id": str(i), "level": i, "outline": box(-50, -50, 50, 50)} for i in range(3)],
        "gateways": [{"id": "g", "floor": "0", "position": [0.0, 0.0, 3.0]}],
        "obstacles": [{"floor": "0", "kind": "rack", "polygon": box(5, -5, 6, 5)}],
    }
    air = Propagation(read_plan(document), quiet(slab_loss_db=(16.0, 16.0), storey_m=5.0), seed=1)
    for floor, height in ((1, 2.0), (2, 7.0)):
        level = air.level(
            np.array([0]), np.array([10.0]), np.array([0.0]), np.array([0.0]), np.array([floor])
        )
        expected = -40.0 - 20.0 * math.log10(math.hypot(10.0, height)) - 16.0 * floor
        assert level[0] == pytest.approx(expected)


def test_a_seed_makes_a_site_and_another_seed_another() -> None:
    """Equal seeds give equal levels everywhere."""
    place = plan([(0.0, 0.0), (9.0, 4.0)], racks=[box(3, 3, 4, 9)])
    x, y = np.random.default_rng(1).uniform(-20.0, 20.0, (2, 50))
    one, same, other = (
        levels(Propagation(place, RadioParameters(), seed), x, y, 1) for seed in (1, 1, 2)
    )
    assert np.array_equal(one, same)
    assert np.abs(one - other).max() > 1.0
