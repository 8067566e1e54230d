"""Replay and evaluation: by hand on a small case, and on the measured sites."""

from __future__ import annotations

import json
from array import array
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from balise.cli import main
from gateway.readings import Batch
from stream.calibration import prior
from stream.evaluate import Evaluation, EvaluationError, clusters, evaluate, report, table
from stream.fingerprints import fingerprints
from stream.peers import CENTROID, NEAREST, OURS, PRINTS, RANGES, Compared
from stream.recording import RecordingWriter, read_batches
from stream.replay import replay
from stream.site import Floor, GatewayPlace, Kind, Site, Trackable, encode_site, load_site
from stream.truth import Path2D, TruthError, load_truth

MEASURED = Path(__file__).parents[2].parent / "shared" / "data"
measured = pytest.mark.skipif(not MEASURED.is_dir(), reason="the measured sites are not here")
SQUARE = [(0.0, 0.0), (20.0, 0.0), (20.0, 20.0), (0.0, 20.0)]
T0 = 1_700_000_000.0
Three = tuple[float, float, float]


def hall() -> Site:
    """Two gateways 10 m apart, one item."""
    return Site(
        id="hall",
        name="Hall",
        timezone="UTC",
        floors=[Floor("0", "Ground", 0, SQUARE)],
        gateways=[GatewayPlace("g0", "0", [5.0, 5.0]), GatewayPlace("g1", "0", [15.0, 5.0])],
        trackables=[Trackable("t", "T", "item", ["b"])],
    )


def heard(levels: dict[str, float], seconds: int) -> list[Batch]:
    """Both gateways hear the beacon at these levels for so long."""
    return [
        Batch(name, "a", k, T0 + k, 1.0, ["b"], array("f", [level]), array("H", [1]))
        for k in range(1, seconds + 1)
        for name, level in levels.items()
    ]


def still(x: float, y: float) -> dict[str, Path2D]:
    """The item's true place, each second."""
    t = T0 + np.arange(40.0)
    return {"b": Path2D(t, np.full(40, x), np.full(40, y), np.zeros(40, np.int64))}


def test_the_baselines_by_hand() -> None:
    """10 dB louder: nearest answers that gateway, the centroid lies a tenth of the way off it."""
    result = evaluate(hall(), heard({"g0": -60.0, "g1": -70.0}, 20), still(5.0, 5.0))
    assert [errors.method for errors in result.methods] == [OURS, NEAREST, CENTROID, RANGES]
    ours, nearest, centroid, ranges = result.methods
    assert np.all(nearest.metres == 0.0)
    assert centroid.metres == pytest.approx(np.full(len(ours.metres), 10.0 / 11.0), abs=1e-6)
    assert np.isfinite(ranges.metres).all()
    assert len(ours.metres) == 20
    assert (result.beacons, result.late, result.unheard, result.floor) == (1, 0, 0, 1.0)


def test_peers_are_told_the_readings_of_the_last_seconds_alone() -> None:
    """The beacon goes over to the other gateway: after 2 s of it that one is louder on average."""
    batches = heard({"g0": -60.0, "g1": -70.0}, 20)
    levels = {"g0": -70.0, "g1": -60.0}
    batches = [
        batch
        if batch.t <= T0 + 10
        else Batch(
            batch.gateway,
            "a",
            batch.seq,
            batch.t,
            1.0,
            ["b"],
            array("f", [levels[batch.gateway]]),
            array("H", [1]),
        )
        for batch in batches
    ]
    result = evaluate(hall(), batches, still(5.0, 5.0))
    by_t = dict(zip(result.compared.t - T0, result.methods[1].metres, strict=True))
    assert [by_t[t] for t in (10.0, 11.0)] == [0.0, 0.0]
    assert [by_t[t] for t in (13.0, 14.0, 20.0)] == [10.0, 10.0, 10.0]


def test_a_table_without_enough_to_redraw_has_no_intervals() -> None:
    """Twenty seconds of one beacon are one unit."""
    text = table(evaluate(hall(), heard({"g0": -60.0, "g1": -70.0}, 20), still(5.0, 5.0)))
    assert "20 fixes of 1 beacons" in text
    assert "0 batches came too late" in text
    line = next(line for line in text.splitlines() if line.startswith(CENTROID))
    assert line.split()[:6] == ["weighted", "centroid", *["0.91"] * 4]
    assert "[" not in line


def busy() -> tuple[Site, list[Batch], dict[str, Path2D]]:
    """Twelve items and twelve pickers at places of their own, heard by four corners for 30 s."""
    chance = np.random.default_rng(3)
    corners = [(2.0, 2.0), (18.0, 2.0), (18.0, 18.0), (2.0, 18.0)]
    names = [f"b{i}" for i in range(24)]
    kinds: list[Kind] = ["item", "picker"]
    site = Site(
        id="hall",
        name="Hall",
        timezone="UTC",
        floors=[Floor("0", "Ground", 0, SQUARE)],
        gateways=[GatewayPlace(f"g{i}", "0", [*place]) for i, place in enumerate(corners)],
        trackables=[Trackable(f"t-{b}", "T", kinds[i % 2], [b]) for i, b in enumerate(names)],
    )
    places = chance.uniform(1.0, 19.0, (24, 2))
    away = np.hypot(*(places[:, None, :] - np.array(corners)).transpose(2, 0, 1))
    shadowed = -59.0 - 22.0 * np.log10(away) + chance.normal(0.0, 3.0, away.shape)
    batches = []
    for k in range(1, 31):
        for g in range(4):
            rssi = array("f", shadowed[:, g] + chance.normal(0.0, 4.0, 24))
            batches.append(Batch(f"g{g}", "a", k, T0 + k, 1.0, names, rssi, array("H", [1] * 24)))
    t = T0 + np.arange(40.0)
    floor = np.zeros(40, np.int64)
    truth = {
        b: Path2D(t, np.full(40, places[i, 0]), np.full(40, places[i, 1]), floor)
        for i, b in enumerate(names)
    }
    return site, batches, truth


def test_kinds_are_told_apart_and_figures_have_intervals() -> None:
    """Each kind by itself, then all; every interval holds its figure."""
    site, batches, truth = busy()
    result = evaluate(site, batches, truth)
    text = table(result)
    assert [line for line in text.splitlines() if line in ("item", "picker", "all")] == [
        "item",
        "picker",
        "all",
    ]
    figures = report(result)
    assert figures["all"]["fixes"] == sum(part["fixes"] for part in figures["kinds"].values())
    assert {kind: part["beacons"] for kind, part in figures["kinds"].items()} == {
        "item": 12,
        "picker": 12,
    }
    for part in (figures["all"], *figures["kinds"].values()):
        assert 0.1 < part["bound_rms_m"] < 20.0
        for row in part["methods"]:
            for name in ("median", "p90", "p95"):
                low, high = row[f"{name}_95"]
                assert low <= row[f"{name}_m"] <= high
                assert f"{row['median_m']:.2f} [{row['median_95'][0]:.2f}, " in text
        ours, nearest, *_ = part["methods"]
        assert ours["median_beyond_ours_m"] == 0.0
        assert ours["median_beyond_ours_95"] == [0.0, 0.0]
        low, high = nearest["median_beyond_ours_95"]
        assert low <= nearest["median_m"] - ours["median_m"] <= high


def test_tags_that_stand_at_one_place_are_one_cluster() -> None:
    """Walkers are each their own, though they begin at one place."""
    t = np.tile(np.arange(5.0), 4)
    trackable = np.repeat(np.arange(4), 5)
    xy = np.repeat([[3.0, 3.0], [3.1, 3.0], [3.0, 3.0], [3.0, 3.0]], 5, axis=0)
    xy[10:] += np.tile(np.arange(5.0), 2)[:, None]
    rows, wide = np.zeros(20, np.int64), np.zeros((1, 20))
    found = clusters(Compared(t, trackable, rows, trackable, xy, rows, t, wide, wide > 0))
    assert [len(set(found[trackable == k].tolist())) for k in range(4)] == [1, 1, 1, 1]
    assert len(set(found.tolist())) == 3
    assert found[0] == found[5]
    upstairs = np.where(trackable == 1, 1, 0)
    found = clusters(Compared(t, trackable, rows, trackable, xy, upstairs, t, wide, wide > 0))
    assert len(set(found.tolist())) == 4


def test_blocks_do_not_change_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked fix by fix, peers answer as they do all at once."""
    site, batches, truth = busy()
    once = evaluate(site, batches, truth).compared
    monkeypatch.setattr("stream.peers.BLOCK_FIXES", 1)
    again = evaluate(site, batches, truth).compared
    assert np.array_equal(once.t, again.t)
    assert np.allclose(once.errors, again.errors, atol=1e-9)


def test_a_calibration_of_another_site_is_refused() -> None:
    """In one sentence."""
    with pytest.raises(EvaluationError, match="is of the site `elsewhere`, not of `hall`"):
        evaluate(hall(), [], {}, calibration=prior("elsewhere"))


def test_the_command_prints_figures_for_programs_and_a_table_for_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A survey adds a method; `--only` leaves one kind; half a survey is refused."""
    site, batches, truth = busy()
    (tmp_path / "site.json").write_bytes(encode_site(site))
    with RecordingWriter(tmp_path / "r.jsonl.gz") as writer:
        for batch in batches:
            writer.write_batch(site.id, batch)
    lines = ["t,beacon,x,y,floor"]
    lines += [f"{t},{b},{x},{y},0" for b, p in truth.items() for t, x, y, _ in zip(*p, strict=True)]
    (tmp_path / "truth.csv").write_text("\n".join(lines))
    files = ["--recording", str(tmp_path / "r.jsonl.gz"), "--truth", str(tmp_path / "truth.csv")]
    command = ["evaluate", "--site", str(tmp_path / "site.json"), *files]
    survey = [word.replace("--", "--survey-") for word in files]
    assert main([*command, *survey, "--json"]) == 0
    figures: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in figures["all"]["methods"]] == [
        OURS,
        NEAREST,
        CENTROID,
        RANGES,
        PRINTS,
    ]
    # Surveyed by the very readings that it is asked for, its own place is among the nearest.
    prints = figures["all"]["methods"][-1]
    assert prints["median_m"] < figures["all"]["methods"][1]["median_m"]
    assert main([*command, "--only", "picker"]) == 0
    text = capsys.readouterr().out
    assert "of 12 beacons" in text
    assert PRINTS not in text
    assert main([*command, *survey[:2]]) == 2
    assert "--survey-recording and --survey-truth are needed together" in capsys.readouterr().err


def test_without_common_truth_there_is_nothing_to_say() -> None:
    """One sentence instead of an empty table."""
    with pytest.raises(EvaluationError, match="no fix has a truth"):
        evaluate(hall(), heard({"g0": -60.0}, 3), {})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b\n", "line 1: the header must be t,beacon,x,y,floor"),
        ("t,beacon,x,y,floor\n1,b,2,3,9\n", "line 2: there is no floor `9` in the site"),
        ("t,beacon,x,y,floor\n1,b,2,3,0\n1,b,two,3,0\n", "line 3: t, x and y must be numbers"),
        ("t,beacon,x,y,floor\n1,b,nan,3,0\n", "line 2: t, x and y must be finite"),
        ("t,beacon,x,y,floor\n1,b,2\n", "line 2: 3 fields; 5 are expected"),
    ],
)
def test_a_broken_truth_is_refused_in_one_sentence(
    tmp_path: Path, text: str, sentence: str
) -> None:
    """File, line and reason."""
    path = tmp_path / "truth.csv"
    path.write_text(text)
    with pytest.raises(TruthError) as caught:
        load_truth(path, hall())
    assert sentence in str(caught.value)


def test_replay_writes_the_same_bytes_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line gives the columns of the contract, and the same file twice."""
    (tmp_path / "site.json").write_bytes(encode_site(hall()))
    with RecordingWriter(tmp_path / "r.jsonl.gz") as writer:
        for batch in heard({"g0": -60.0, "g1": -70.0}, 5):
            writer.write_batch("hall", batch)
    outs = []
    for name in ("one.csv", "two.csv"):
        args = ["--site", str(tmp_path / "site.json"), "--recording", str(tmp_path / "r.jsonl.gz")]
        assert main(["replay", *args, "--out", str(tmp_path / name)]) == 0
        outs.append((tmp_path / name).read_text())
    assert "10 batches with 10 readings gave 5 fixes" in capsys.readouterr().out
    assert outs[0] == outs[1]
    lines = outs[0].splitlines()
    assert lines[0] == "t,beacon,trackable,x,y,floor,accuracy,zone"
    assert [line.split(",")[0] for line in lines[1:]] == [f"{T0 + k:.3f}" for k in range(1, 6)]
    assert {tuple(line.split(",")[1:3]) for line in lines[1:]} == {("b", "t")}


@cache
def compared(name: str) -> Evaluation:
    """A measured site's tracks, uncalibrated, with its survey for the fingerprints."""
    folder = MEASURED / name
    site = load_site(folder / "site.json")
    truth = load_truth(folder / "tracks" / "truth.csv", site)
    surveyed = load_truth(folder / "survey" / "truth.csv", site)
    prints = fingerprints(
        site, read_batches(folder / "survey" / "recording.jsonl.gz", site.id), surveyed
    )
    recording = folder / "tracks" / "recording.jsonl.gz"
    return evaluate(site, read_batches(recording, site.id), truth, prints=prints)


@measured
@pytest.mark.measured
@pytest.mark.parametrize("name", ["tetam", "uji-library", "uji-office"])
def test_measured_tracks_beat_the_nearest_gateway(name: str) -> None:
    """Uncalibrated, on real recordings: closer than the nearest gateway, and nothing lost."""
    result = compared(name)
    ours, nearest, *_ = result.methods
    assert ours.figures()[1] < nearest.figures()[1]
    assert result.late == 0


@measured
@pytest.mark.measured
def test_a_measured_replay_takes_every_batch_once() -> None:
    """None is lost or doubled."""
    folder = MEASURED / "tetam"
    site = load_site(folder / "site.json")
    recording = folder / "tracks" / "recording.jsonl.gz"
    counts = replay(site, read_batches(recording, site.id)).summary
    assert counts.batches == sum(1 for _ in read_batches(recording, site.id))
    assert (counts.duplicates, counts.unknown) == (0, 0)


@measured
@pytest.mark.measured
@pytest.mark.parametrize(
    ("name", "nearest", "centroid", "prints"),
    [
        ("tetam", (3.0, 4.2, 7.7), (2.3, 2.6, 4.6), (1.6, 1.9, 3.7)),
        ("uji-library", (1.7, 2.1, 3.8), (1.4, 1.5, 2.4), (1.5, 1.6, 2.5)),
        ("uji-office", (1.9, 2.0, 4.4), (1.7, 1.8, 3.2), (2.7, 3.0, 4.8)),
    ],
)
def test_peers_are_as_good_as_another_hand_made_them(
    name: str, nearest: Three, centroid: Three, prints: Three
) -> None:
    """Median, mean and p90 as computed independently on the same tracks, over other windows.

    Ours answer at once, also from the first readings of a visit; theirs had whole windows.
    """
    by_name = {errors.method: errors.figures()[:3] for errors in compared(name).methods}
    assert by_name[NEAREST] == pytest.approx(nearest, rel=0.2)
    assert by_name[CENTROID] == pytest.approx(centroid, rel=0.12)
    assert by_name[PRINTS] == pytest.approx(prints, rel=0.35)
