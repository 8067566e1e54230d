"""`balise calibrate`: the survey's file and table, and its errors in one sentence."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
import pytest

from balise.cli import main
from gateway.readings import Batch
from stream.calibration import load_calibration
from stream.recording import RecordingWriter
from stream.site import Floor, GatewayPlace, Site, encode_site

T0 = 1_700_000_000.0
OUTLINE = [(0.0, 0.0), (20.0, 0.0), (20.0, 20.0), (0.0, 20.0)]


@pytest.fixture
def survey(tmp_path: Path) -> list[str]:
    """A hall, surveyed at 16 places: the arguments that name its files."""
    site = Site(
        id="hall",
        name="Hall",
        timezone="UTC",
        floors=[Floor("0", "Ground", 0, OUTLINE)],
        gateways=[
            GatewayPlace("g0", "0", [4.0, 4.0, 1.1]),
            GatewayPlace("g1", "0", [16.0, 4.0, 1.1]),
            GatewayPlace("g2", "0", [10.0, 16.0, 1.1]),
        ],
    )
    (tmp_path / "site.json").write_bytes(encode_site(site))
    rng = np.random.default_rng(1)
    rows = ["t,beacon,x,y,floor"]
    with RecordingWriter(tmp_path / "r.jsonl.gz") as writer:
        for k in range(16):
            x, y = 2.0 + 5.0 * (k % 4), 2.0 + 5.0 * (k // 4)
            for second in range(1, 6):
                t = T0 + 10.0 * k + second
                rows.append(f"{t - 0.5},b,{x},{y},0")
                for part in site.gateways:
                    away = max(1.0, float(np.hypot(x - part.position[0], y - part.position[1])))
                    rssi = -60.0 - 25.0 * np.log10(away) + rng.normal(0.0, 2.0)
                    batch = Batch(
                        part.id, "a", len(rows), t, 1.0, ["b"], array("f", [rssi]), array("H", [1])
                    )
                    writer.write_batch("hall", batch)
    (tmp_path / "truth.csv").write_text("\n".join(rows) + "\n")
    recording = str(tmp_path / "r.jsonl.gz")
    return ["calibrate", "--site", str(tmp_path / "site.json"), "--recording", recording]


def test_a_survey_is_written_and_told(
    survey: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is a calibration, nothing unfinished is left, the table holds its numbers."""
    out = tmp_path / "c.json"
    truth = str(tmp_path / "truth.csv")
    assert main([*survey, "--truth", truth, "--out", str(out)]) == 0
    document = load_calibration(out)
    assert (document.site, document.origin, document.readings) == ("hall", "survey", 240)
    assert document.exponent == pytest.approx(2.5, abs=0.3)
    told = capsys.readouterr().out
    assert "240" in told
    assert f"{document.exponent:.2f}" in told
    assert f"{document.offset_dbm:.1f} dBm" in told
    assert "16, with 1 beacons" in told
    assert "dB with path loss alone" in told
    assert "loss of a rack" not in told
    assert not list(tmp_path.glob("*.part"))
    first = out.read_bytes()
    assert main([*survey, "--truth", truth, "--out", str(out)]) == 0
    assert out.read_bytes() == first


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("a,b\n", "line 1: the header must be"),
        ("t,beacon,x,y,floor\n", "240 of beacons without truth"),
        ("t,beacon,x,y,floor\n1,b,2,2,0\n", "240 were heard over 2 s from any row of the truth"),
    ],
)
def test_a_truth_that_does_not_fit_is_refused(
    survey: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rows: str,
    sentence: str,
) -> None:
    """One line on stderr, status 2, and no file."""
    (tmp_path / "other.csv").write_text(rows)
    out = tmp_path / "c.json"
    assert main([*survey, "--truth", str(tmp_path / "other.csv"), "--out", str(out)]) == 2
    complaint = capsys.readouterr().err
    assert sentence in complaint
    assert complaint.count("\n") == 1
    assert not out.exists()


def test_a_place_that_cannot_be_written_is_named(
    survey: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing folder, as a sentence."""
    out = tmp_path / "nowhere" / "c.json"
    assert main([*survey, "--truth", str(tmp_path / "truth.csv"), "--out", str(out)]) == 2
    assert f"{out}: cannot be written" in capsys.readouterr().err
