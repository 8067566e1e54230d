"""`balise simulate` to files: the contract's recording and truth, the same for the same seed."""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from balise.commands import simulate as command
from balise.simulate import (
    START,
    SimulationError,
    claim,
    plan_of,
    simulate,
    warehouse_site,
)
from gateway.errors import UserError
from gateway.radio.faults import LEVELS, Faults
from gateway.radio.parameters import RadioParameters, WalkParameters
from gateway.radio.world import World
from gateway.readings import Batch, decode
from gateway.topics import parse_topic
from stream.recording import read_batches, read_lines
from stream.site import Site, load_site
from stream.truth import load_truth

FILES = ("site.json", "recording.jsonl.gz", "truth.csv")


def small(seed: int = 1, **more: Any) -> Site:
    """A small warehouse."""
    sizes: dict[str, Any] = {"width_m": 30, "depth_m": 24, "gateways": 6, "items": 40, "pickers": 4}
    return warehouse_site(seed, **(sizes | more))


def batches(out: Path) -> list[Batch]:
    """The recording, in order."""
    return list(read_batches(out / FILES[1], "warehouse"))


def run(*words: str) -> int:
    """The command, from its words."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(words))


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    """And another one others; also with all faults on."""
    for name, seed in (("one", 5), ("same", 5), ("other", 6)):
        (tmp_path / name).mkdir()
        simulate(small(), tmp_path / name, seconds=40, seed=seed, faults=LEVELS["harsh"])
    one, same, other = (
        [(tmp_path / name / file).read_bytes() for file in FILES]
        for name in ("one", "same", "other")
    )
    assert one == same
    assert one[0] == other[0]
    assert one[1] != other[1]
    assert one[2] != other[2]


def test_a_sound_recording_has_every_window_of_every_gateway_once(tmp_path: Path) -> None:
    """Decodes strictly; windows follow each other; numbers run from 1 without gaps."""
    site = small()
    report = simulate(site, tmp_path, seconds=60, window_s=1.0)
    assert load_site(tmp_path / "site.json") == site
    found = batches(tmp_path)
    assert len(found) == report.batches
    assert sum(map(len, found)) == report.readings
    assert sum(sum(batch.n) for batch in found) == pytest.approx(report.adverts, rel=0.05)
    known = {beacon for part in site.trackables for beacon in part.beacons}
    for gateway in site.gateways:
        own = [batch for batch in found if batch.gateway == gateway.id]
        assert [batch.seq for batch in own] == list(range(1, len(own) + 1))
        assert {batch.boot for batch in own} == {"0001"}
        ends = [batch.t for batch in own]
        assert ends == [ends[0] + i for i in range(len(ends))]
        assert len(own) >= 59
    for batch in found:
        assert known.issuperset(batch.beacons)
        assert batch.window == 1.0
        assert batch.max is not None
        assert all(mean <= peak + 1e-3 for mean, peak in zip(batch.rssi, batch.max, strict=True))
    heard = {beacon for batch in found for beacon in batch.beacons}
    assert len(heard) > 0.8 * len(known)


def test_lines_have_the_contracts_shape(tmp_path: Path) -> None:
    """An object of topic and payload a line, the payload columnar JSON that names its gateway."""
    simulate(small(), tmp_path, seconds=5)
    lines = list(read_lines(tmp_path / FILES[1]))
    assert lines
    for line in lines:
        topic = parse_topic(line.topic)
        assert topic is not None
        assert (topic.site, topic.kind) == ("warehouse", "readings")
        assert decode(line.payload).gateway == topic.gateway
        assert list(json.loads(line.payload))[:7] == [
            "v", "gateway", "boot", "seq", "t", "window", "beacons",
        ]  # fmt: skip


def test_the_truth_is_where_the_walkers_are(tmp_path: Path) -> None:
    """A row per beacon and second, with the places of a world of the same seed."""
    site = small()
    simulate(site, tmp_path, seconds=30, seed=3)
    with (tmp_path / "truth.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    seconds = Counter(row["t"] for row in rows)
    assert len(seconds) == 30
    assert set(seconds.values()) == {44}
    world = World(plan_of(site), RadioParameters(), WalkParameters(), 3, START)
    place = {beacon: row for row, beacon in enumerate(world.beacons)}
    for row in rows:
        world.move(float(row["t"]))
        tag = place[row["beacon"]]
        assert float(row["x"]) == pytest.approx(world.x[tag], abs=0.001)
        assert float(row["y"]) == pytest.approx(world.y[tag], abs=0.001)
        assert row["floor"] == "0"
    assert len(load_truth(tmp_path / "truth.csv", site)) == 44


def test_faults_are_in_the_recording(tmp_path: Path) -> None:
    """Lost numbers, doubled ones, late arrivals, and gateways that come back with a new boot."""
    faults = Faults(
        latency_s=0.05,
        latency_sigma=0.5,
        lost=0.05,
        duplicated=0.05,
        late=0.05,
        late_s=(3.0, 6.0),
        outage_every_s=15.0,
        outage_s=(5.0, 10.0),
    )
    report = simulate(small(), tmp_path, seconds=120, faults=faults)
    found = batches(tmp_path)
    keys = Counter((batch.gateway, batch.boot, batch.seq) for batch in found)
    assert report.lost > 10
    assert report.duplicated > 10
    assert len(found) == report.batches - report.lost + report.duplicated
    assert sum(count == 2 for count in keys.values()) == report.duplicated
    assert {batch.boot for batch in found} >= {"0001", "0002"}
    front, behind = 0.0, 0
    for batch in found:
        front = max(front, batch.t)
        behind += front - batch.t > 2.5
    assert behind > 10
    # Equal numbers are equal batches: the second copy is the same message again.
    copies: dict[tuple[str, str, int], Batch] = {}
    for batch in found:
        key = (batch.gateway, batch.boot, batch.seq)
        assert copies.setdefault(key, batch) == batch


def test_nothing_is_heard_during_an_outage(tmp_path: Path) -> None:
    """A gateway that is off has no windows, and its numbers begin again at 1."""
    faults = Faults(outage_every_s=20.0, outage_s=(10.0, 12.0))
    simulate(small(), tmp_path, seconds=120, faults=faults)
    found = batches(tmp_path)
    returned = [batch for batch in found if batch.boot == "0002"]
    assert returned
    name = returned[0].gateway
    before = [batch.t for batch in found if (batch.gateway, batch.boot) == (name, "0001")]
    after = [batch for batch in found if (batch.gateway, batch.boot) == (name, "0002")]
    assert after[0].seq == 1
    assert 9.0 <= after[0].t - before[-1] <= 14.0


def test_floors_have_their_own_truth(tmp_path: Path) -> None:
    """With two storeys both are in the truth."""
    site = small(floors=2)
    simulate(site, tmp_path, seconds=3)
    with (tmp_path / "truth.csv").open(newline="") as file:
        assert {row["floor"] for row in csv.DictReader(file)} == {"0", "1"}


def test_a_measured_site_can_be_simulated(tmp_path: Path) -> None:
    """A site without racks, slots or zones: its beacons are put somewhere."""
    path = Path(__file__).parents[3] / "shared/data/tetam/site.json"
    if not path.exists():
        pytest.skip("the measured sites are not beside the repository")
    assert run("--site", str(path), "--out", str(tmp_path / "out"), "--seconds", "5") == 0
    assert list(read_batches(tmp_path / "out" / FILES[1], "tetam"))


def test_the_command_writes_and_says_what_it_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A generated warehouse of the given sizes."""
    out = tmp_path / "new" / "out"
    words = ("--warehouse", "3", "--width", "20", "--depth", "20", "--gateways", "4")
    more = ("--items", "10", "--pickers", "2", "--seconds", "4", "--faults", "none")
    assert run(*words, *more, "--out", str(out)) == 0
    site = load_site(out / "site.json")
    assert (len(site.gateways), len(site.trackables)) == (4, 12)
    said = capsys.readouterr().out
    assert f"{out}: 4 s of 4 gateways and 12 beacons" in said


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    """Without --force a directory with anything in it is refused, and left as it is."""
    (tmp_path / "notes.txt").write_text("mine")
    words = ("--warehouse", "3", "--items", "3", "--out", str(tmp_path), "--seconds", "1")
    with pytest.raises(SimulationError, match=r"not empty.*--force"):
        run(*words)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert run(*words, "--force") == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """In a sentence."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SimulationError, match="cannot be used as --out"):
        claim(tmp_path / "file", force=True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--out", "x"), "--site FILE, or --warehouse SEED"),
        (("--warehouse", "1"), "--out DIR.*or --mqtt URL"),
        (("--warehouse", "1", "--site", "s", "--out", "x"), "not both"),
        (("--warehouse", "1", "--out", "x", "--seed", "-1"), "--seed -1 is negative"),
        (("--warehouse", "-1", "--out", "x"), "seed -1 is negative"),
        (("--warehouse", "1", "--out", "x", "--window", "0"), "above 0"),
        (("--warehouse", "1", "--out", "x", "--seconds", "-3"), "above 0"),
        (("--warehouse", "1", "--out", "x", "--window", "nan"), "--window must be above 0"),
        (("--warehouse", "1", "--out", "x", "--seconds", "inf"), "--seconds must be above 0"),
        (("--warehouse", "1", "--out", "x", "--start", "1e12"), "--start must be Unix seconds"),
        (("--warehouse", "1", "--out", "x", "--ledger", "l"), "needs --mqtt"),
        (("--warehouse", "1", "--out", "x", "--items", "0", "--pickers", "0"), "no beacons"),
        (("--site", "nowhere.json", "--out", "x"), "nowhere.json: cannot be read"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(
    words: tuple[str, ...], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every mistake of a person is a UserError that says how to mend it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=sentence):
        run(*words)
