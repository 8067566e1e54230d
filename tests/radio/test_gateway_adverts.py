"""Gateways that advertise: heard by the others by the same laws; tags stay what they were."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from balise.commands import simulate as command
from balise.simulate import SimulationError, simulate, warehouse_site
from gateway.radio.air import VirtualRadio
from gateway.radio.parameters import RadioParameters
from gateway.radio.plan import read_plan
from gateway.radio.propagation import Propagation
from gateway.radio.warehouse import warehouse
from stream.calibration import prior
from stream.mutual import Mutual
from stream.mutual_fit import calibrate
from stream.mutual_links import Links
from stream.recording import read_batches
from stream.site import Site, load_site
from stream.watermark import TICK_S
from tests.support.radio import START, box, listen, quiet

SIZES: dict[str, Any] = {"width_m": 30, "depth_m": 24, "gateways": 6, "items": 20, "pickers": 2}
CLEAR = quiet(gateway_power_db=(0.0, 0.0), gateway_power_sd_db=(0.0, 0.0), advert_s=0.0)


def three(**changes: Any) -> dict[str, Any]:
    """Gateways at 10 m from each other in a row; the third says nothing."""
    return {
        "id": "test",
        "floors": [{"id": "0", "level": 0, "outline": box(-50, -50, 50, 50)}],
        "gateways": [
            {"id": f"g{i}", "floor": "0", "position": [10.0 * i, 0.0, 4.0]} for i in range(3)
        ],
        "trackables": [],
    } | changes


def advertising(**changes: Any) -> dict[str, Any]:
    """The same, of which the first two advertise."""
    document = three(**changes)
    for gateway in document["gateways"][:2]:
        gateway["beacon"] = f"own-{gateway['id']}"
    return document


def test_gateways_are_heard_by_others_and_not_by_themselves() -> None:
    """Once a second, at the level of the distance law; one that has no beacon only hears."""
    radio = VirtualRadio(read_plan(advertising()), 1, START, CLEAR)
    heard = listen(radio, 60.0)
    assert radio.beacons == ["own-g0", "own-g1"]
    pairs = {
        (tag, gateway): heard.rssi[(heard.tag == tag) & (heard.gateway == gateway)]
        for tag in range(2)
        for gateway in range(3)
    }
    assert [len(pairs[tag, tag]) for tag in range(2)] == [0, 0]
    for (tag, gateway), rssi in pairs.items():
        if tag != gateway:
            assert len(rssi) == pytest.approx(60, abs=2)
            away = 10.0 * abs(tag - gateway)
            assert rssi.mean() == pytest.approx(-40.0 - 20.0 * np.log10(away), abs=0.5)


def test_what_is_between_two_gateways_weakens_both_ways_alike() -> None:
    """Shadowing and racks; apart from how each hears."""
    plan = read_plan(warehouse(4, gateways=12, items=1, pickers=0, floors=2))
    air = Propagation(plan, RadioParameters(), 4)
    one, other = np.nonzero(~np.eye(12, dtype=bool))
    there = air.between(one, other) - air.gateway_db[one]
    back = air.between(other, one) - air.gateway_db[other]
    assert np.allclose(there, back)
    assert np.std(there) > 3.0


def test_tags_are_the_same_whether_gateways_advertise_or_not() -> None:
    """Their power, channels and links; without adverts on the air that is every reading."""
    plain = VirtualRadio(read_plan(warehouse(3, **SIZES)), 5, START)
    more = VirtualRadio(read_plan(warehouse(3, **SIZES, gateway_adverts=True)), 5, START)
    tags = len(plain.beacons)
    assert more.beacons[:tags] == plain.beacons
    assert len(more.beacons) == tags + 6
    assert np.array_equal(more.tag_db[:tags], plain.tag_db)
    assert np.array_equal(more.channel_db[:tags], plain.channel_db)
    still = plain._links.first[-1]
    assert np.array_equal(more._links.level[:still], plain._links.level)
    assert np.array_equal(more._links.rice[:still], plain._links.rice)


def test_a_deaf_gateway_hears_less_and_is_heard_as_before() -> None:
    """By `deaf_db`, one of all, drawn by the seed."""
    plan = read_plan(advertising())
    sound, deaf = (
        Propagation(plan, quiet(deaf_gateways=count, deaf_db=15.0), 3) for count in (0, 1)
    )
    fell = sound.gateway_db - deaf.gateway_db
    assert sorted(fell.tolist()) == [0.0, 0.0, 15.0]


def test_a_generated_warehouse_gives_each_gateway_its_own_id() -> None:
    """Nothing else of the document changes, and the ids are the site's own."""
    plain, more = warehouse(3, **SIZES), warehouse(3, **SIZES, gateway_adverts=True)
    beacons = [gateway.pop("beacon") for gateway in more["gateways"]]
    assert more == plain
    assert len(set(beacons)) == 6
    uuid = plain["trackables"][0]["beacons"][0].split(":")[1]
    assert beacons[0] == f"ibeacon:{uuid}:1:1"
    site = warehouse_site(3, **SIZES, gateway_adverts=True)
    assert list(site.gateway_beacons()) == beacons


def run(*words: str) -> int:
    """The command, from its words."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(words))


def heard_of_each_other(out: Path, site: Site) -> Mutual:
    """A recording's readings of gateways' own beacons, tick by tick."""
    rows = {part.id: row for row, part in enumerate(site.gateways)}
    own = site.gateway_beacons()
    ticks: dict[int, list[tuple[int, int, float, int]]] = {}
    for batch in read_batches(out / "recording.jsonl.gz", site.id):
        found = ticks.setdefault(int(-(-batch.t // TICK_S)), [])
        for beacon, rssi, n in zip(batch.beacons, batch.rssi, batch.n, strict=True):
            if beacon in own:
                found.append((rows[batch.gateway], own[beacon], rssi, n))
    mutual = Mutual(list(rows))
    for tick in sorted(ticks):
        if ticks[tick]:
            pairs = np.array([row[:2] for row in ticks[tick]], np.int64)
            values = np.array([row[2:] for row in ticks[tick]], np.float64)
            mutual.update(pairs[:, 0], pairs[:, 1], values[:, 0], values[:, 1], tick * TICK_S)
    return mutual


def test_the_command_simulates_gateways_that_calibrate_each_other(tmp_path: Path) -> None:
    """From --gateway-adverts to offsets that are nearer to the truth than none at all."""
    out = tmp_path / "out"
    words = ("--warehouse", "3", "--width", "40", "--depth", "30", "--gateways", "16")
    few = ("--items", "2", "--pickers", "0", "--faults", "none", "--seed", "1")
    assert run(*words, *few, "--seconds", "120", "--gateway-adverts", "--out", str(out)) == 0
    site = load_site(out / "site.json")
    assert all(part.beacon for part in site.gateways)
    truth = (out / "truth.csv").read_text()
    assert not any(part.beacon and part.beacon in truth for part in site.gateways)
    made = calibrate(heard_of_each_other(out, site), Links(site))
    assert made is not None
    assert made.origin == "gateways"
    assert made.site == prior(site.id).site
    document = json.loads((out / "site.json").read_text())
    true = Propagation(read_plan(document), RadioParameters(), 1).gateway_db
    found = np.array([made.gateways[part.id].offset_db for part in site.gateways])
    off = found - (true - true.mean())
    assert np.sqrt(np.mean(off**2)) < 0.8 * true.std()


def test_a_site_where_only_gateways_advertise_can_be_simulated(tmp_path: Path) -> None:
    """Nothing is tracked, and there is something to hear."""
    site = warehouse_site(3, **(SIZES | {"items": 0, "pickers": 0}), gateway_adverts=True)
    assert simulate(site, tmp_path, seconds=5).readings > 10


def test_the_option_is_of_generated_warehouses(tmp_path: Path) -> None:
    """A site of one's own says in its document who advertises."""
    with pytest.raises(SimulationError, match="give each gateway that advertises a `beacon`"):
        run("--site", "s.json", "--gateway-adverts", "--out", str(tmp_path / "o"))
