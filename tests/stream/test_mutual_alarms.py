"""Gateways that were moved, mis-surveyed, deafened or hidden are named, and sound ones are not."""

from __future__ import annotations

import numpy as np
import pytest

from stream.mutual import FADE_S, Mutual
from stream.mutual_alarms import Suspect, find_suspects
from tests.support.mutual import Air, changed, hall, hung, learnt, listened, places, racks

EVERYBODY = np.ones(24, np.bool_)
LINKS, PLACES = places(hall())


def suspects(mutual: Mutual) -> list[Suspect]:
    """Of a hall of 24 as it is documented."""
    return find_suspects(LINKS, mutual.heard(), PLACES, online=EVERYBODY)


def test_sound_gateways_are_not_named() -> None:
    """40 halls with shadowing of 3 to 9 dB, where every link is off for good: one at most."""
    named = 0
    for seed in range(40):
        air = Air(hall(), seed=seed, shadowing_db=3.0 + 6.0 * (seed % 10) / 9.0)
        named += bool(suspects(listened(air)))
    assert named <= 1


def test_sound_gateways_among_racks_are_not_named() -> None:
    """The same where racks are between and many links are silent."""
    site = hall(obstacles=racks(5))
    links, cells = places(site)
    named = 0
    for seed in range(20):
        air = Air(site, seed=seed, shadowing_db=3.0 + 6.0 * (seed % 10) / 9.0, rack_db=5.0)
        named += bool(find_suspects(links, listened(air).heard(), cells, online=EVERYBODY))
    assert named <= 1


def test_hours_without_change_raise_nothing() -> None:
    """Against references, too."""
    for seed in range(4):
        assert suspects(learnt(Air(hall(), seed=seed))) == []


def test_a_gateway_moved_by_10_m_is_named_with_its_new_place() -> None:
    """At least in four of five halls of 4 dB; and nobody else is."""
    found, away = 0, []
    for seed in range(10):
        air = Air(hall(), seed=seed)
        mutual = learnt(air)
        row = 8 + seed % 3
        there = [air.site.gateways[row].position[0] + 10.0, 18.0, 4.0]
        air.moved(row)
        changed(air, mutual, air.levels(hung(air.site, row, there)))
        named = suspects(mutual)
        assert {each.gateway for each in named} <= {f"g{row:02}"}
        for each in named:
            if each.reason == "moved":
                found += 1
                assert "was moved" in each.sentence or "differently" in each.sentence
            if each.position is not None:
                away.append(float(np.hypot(*(np.array(each.position) - there[:2]))))
    assert found >= 8
    assert float(np.median(away)) < 4.0


def test_two_gateways_with_each_others_place_are_named() -> None:
    """Both, with the other's place, from ten minutes without any reference."""
    site, found = hall(), 0
    for seed in range(5):
        air = Air(site, seed=seed)
        one, other = site.gateways[2].position, site.gateways[21].position
        truth = hung(hung(site, 2, other), 21, one)
        named = {each.gateway: each for each in suspects(listened(air, air.levels(truth)))}
        assert set(named) <= {"g02", "g21"}
        if len(named) == 2:
            found += 1
            assert {each.reason for each in named.values()} == {"mis-surveyed"}
            assert "where the site has `g21`" in named["g02"].sentence
    assert found >= 4


def test_a_mis_surveyed_gateway_is_named_where_it_hangs() -> None:
    """25 m from where the document says."""
    away = []
    for seed in range(5):
        air = Air(hall(), seed=seed)
        truth = hung(air.site, 6, [27.0, 22.0, 4.0])
        named = suspects(listened(air, air.levels(truth)))
        assert {each.gateway for each in named} <= {"g06"}
        for each in named:
            assert each.reason == "mis-surveyed"
            assert each.floor == "0"
            assert each.position is not None
            assert "m from its place in the site" in each.sentence
            away.append(float(np.hypot(each.position[0] - 27.0, each.position[1] - 22.0)))
    assert len(away) >= 4
    assert float(np.median(away)) < 6.0


@pytest.mark.parametrize("way", ["hears", "sends"])
def test_a_gateway_that_fell_by_15_db_one_way_is_named(way: str) -> None:
    """Deaf, or a quiet transmitter; against its reference in every hall where levels are fair."""
    for seed in range(6):
        air = Air(hall(), seed=seed, power_dbm=-48.0)
        mutual = learnt(air)
        levels = air.levels()
        if way == "hears":
            levels[9] -= 15.0
        else:
            levels[:, 9] -= 15.0
        changed(air, mutual, levels)
        [suspect] = suspects(mutual)
        assert suspect.gateway == "g09"
        assert suspect.reason == ("deaf" if way == "hears" else "quiet transmitter")
        assert ("look at its antenna" in suspect.sentence) == (way == "hears")
        fell = suspect.evidence["hears_db" if way == "hears" else "is_heard_db"]
        # A link that is lost fell by an unknown amount: at least so much is what can be said.
        assert -17.0 < fell < -8.0
        assert "at least" in suspect.sentence


def test_a_gateway_that_was_deaf_from_the_start_is_named() -> None:
    """Without a reference, where sound ones differ by 2.5 dB: most of them."""
    found = 0
    for seed in range(8):
        air = Air(hall(), seed=seed)
        air.hears_db[9] = -15.0
        named = suspects(listened(air))
        assert {(each.gateway, each.reason) for each in named} <= {("g09", "deaf")}
        found += bool(named)
    assert found >= 6


def test_a_wall_put_up_on_one_side_is_an_obstruction() -> None:
    """12 dB on all links of one gateway to its right; what is left and below stays."""
    air = Air(hall())
    mutual = learnt(air)
    levels = air.levels()
    right = [row for row in range(24) if row % 6 > 2]
    levels[8, right] -= 12.0
    levels[right, 8] -= 12.0
    changed(air, mutual, levels)
    [suspect] = suspects(mutual)
    assert (suspect.gateway, suspect.reason) == ("g08", "obstructed")
    assert "see what was put there" in suspect.sentence
    assert abs(suspect.evidence["bearing_deg"]) < 45.0


def test_a_gateway_that_is_off_is_nobodys_suspect() -> None:
    """It hears nothing because it has no power; that is told elsewhere."""
    air = Air(hall())
    mutual = learnt(air)
    levels = air.levels()
    levels[5], levels[:, 5] = -200.0, -200.0
    for _ in range(3):
        changed(air, mutual, levels)
    on = EVERYBODY.copy()
    on[5] = False
    heard = mutual.heard()
    assert find_suspects(LINKS, heard, PLACES, online=on) == []
    # Nor is it when nobody says who is on.
    assert find_suspects(LINKS, heard, PLACES) == []
    assert mutual.heard(mutual.t + 30 * FADE_S).adverts.max() < 1.0
    assert find_suspects(LINKS, mutual.heard(mutual.t + 30 * FADE_S), PLACES) == []


def test_a_small_or_silent_site_has_no_suspects() -> None:
    """Nothing can be told of two gateways, nor of none."""
    for columns in (2, 0):
        site = hall(columns, 1) if columns else hall(0, 0)
        if columns:
            links, cells = places(site)
            mutual = listened(Air(site))
            assert find_suspects(links, mutual.heard(), cells) == []
    assert suspects(Mutual([f"g{i:02}" for i in range(24)])) == []
