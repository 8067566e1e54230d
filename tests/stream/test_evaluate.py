"""Replay and evaluation: by hand on a small case, and on the measured sites."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
import pytest

from balise.cli import main
from gateway.readings import Batch
from stream.evaluate import EvaluationError, evaluate, table
from stream.recording import RecordingWriter, read_batches
from stream.replay import replay
from stream.site import Floor, GatewayPlace, Site, Trackable, encode_site, load_site
from stream.truth import Path2D, TruthError, load_truth

MEASURED = Path(__file__).parents[2].parent / "shared" / "data"
measured = pytest.mark.skipif(not MEASURED.is_dir(), reason="the measured sites are not here")
SQUARE = [(0.0, 0.0), (20.0, 0.0), (20.0, 20.0), (0.0, 20.0)]
T0 = 1_700_000_000.0


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
    ours, nearest, centroid = result.methods
    assert np.all(nearest.metres == 0.0)
    assert centroid.metres == pytest.approx(np.full(len(ours.metres), 10.0 / 11.0), abs=1e-6)
    assert len(ours.metres) == 20
    assert (result.beacons, result.late, result.floor) == (1, 0, 1.0)
    assert "20 fixes of 1 beacons" in table(result)


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


@measured
@pytest.mark.measured
@pytest.mark.parametrize("name", ["tetam", "uji-library", "uji-office"])
def test_measured_tracks_beat_the_nearest_gateway(name: str) -> None:
    """Uncalibrated, on real recordings: closer than the nearest gateway, and nothing lost."""
    folder = MEASURED / name
    site = load_site(folder / "site.json")
    truth = load_truth(folder / "tracks" / "truth.csv", site)
    recording = folder / "tracks" / "recording.jsonl.gz"
    result = evaluate(site, read_batches(recording, site.id), truth)
    ours, nearest, _ = result.methods
    assert ours.figures()[1] < nearest.figures()[1]
    assert result.late == 0
    counts = replay(site, read_batches(recording, site.id)).summary
    assert counts.batches == sum(1 for _ in read_batches(recording, site.id))
    assert (counts.duplicates, counts.unknown) == (0, 0)
