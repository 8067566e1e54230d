"""`balise site plan`: a table, advice, pictures, and one sentence for each mistake."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from balise.cli import main
from stream.calibration import Calibration, encode_calibration

SITE: dict[str, Any] = {
    "id": "hall",
    "name": "The hall",
    "timezone": "Europe/Paris",
    "floors": [
        {
            "id": "g/0",
            "name": "Ground",
            "level": 0,
            "outline": [[0, 0], [40, 0], [40, 30], [0, 30]],
        },
        {"id": "1", "name": "Gallery", "level": 1, "outline": [[0, 0], [40, 0], [40, 8], [0, 8]]},
    ],
    "gateways": [
        {"id": f"gw-{n}", "floor": "g/0", "position": [1 + 38 * (n % 2), 1 + 14 * (n // 2), 3]}
        for n in range(6)
    ],
}


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    """A small site that is fine."""
    file = tmp_path / "site.json"
    file.write_text(json.dumps(SITE))
    return file


def planned(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What `balise site plan WORDS` prints."""
    assert main(["site", "plan", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_the_table_names_each_floor_and_the_best_next_place(
    site_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The figures printed are those of the JSON."""
    lines = planned(capsys, "--site", str(site_file)).splitlines()
    report = json.loads(planned(capsys, "--site", str(site_file), "--json"))
    assert lines[0] == (
        "site hall, nothing is measured yet: expected radius that holds 68 % of errors"
    )
    assert lines[1].split() == ["floor", "gateways", "median", "p90", "dead"]
    for line, floor in zip(lines[2:4], report["floors"], strict=True):
        now = floor["now"]
        assert (
            line.split()
            == (
                f"{floor['name']} {floor['gateways']} {now['median_m']:.1f} m {now['p90_m']:.1f} m "
                f"{100 * now['dead_share']:.0f} %"
            ).split()
        )
    place = report["next"]
    assert lines[4].startswith(
        f"one more gateway helps most on floor {place['floor']} at x {place['x']:.1f}, "
        f"y {place['y']:.1f}, {place['z']:.1f} m high: median {place['then']['median_m']:.1f} m, "
    )
    assert [line.split(";")[0] for line in lines[5:]] == [
        f"adds least: {spare['gateway']}" for spare in report["spares"][:3]
    ]


def test_the_json_holds_the_whole_plan(site_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every floor's figures and advice, every gateway, and what it was computed from."""
    report = json.loads(planned(capsys, "--site", str(site_file), "--json"))
    assert list(report) == ["site", "origin", "limit_m", "floors", "next", "spares"]
    assert (report["site"], report["origin"]) == ("hall", "prior")
    assert [floor["id"] for floor in report["floors"]] == ["g/0", "1"]
    assert {spare["gateway"] for spare in report["spares"]} == {f"gw-{n}" for n in range(6)}
    for floor in report["floors"]:
        assert floor["next"]["floor"] == floor["id"]
        assert floor["next"]["then"]["rms_m"] < floor["now"]["rms_m"]


def test_a_picture_is_written_for_each_floor(
    site_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into a directory that need not be there, under names that any system takes."""
    out = tmp_path / "new" / "plan"
    lines = planned(capsys, "--site", str(site_file), "--out", str(out)).splitlines()
    assert sorted(file.name for file in out.iterdir()) == ["plan-1.svg", "plan-g_0.svg"]
    assert lines[-2:] == [f"drawn: {out / 'plan-g_0.svg'}", f"drawn: {out / 'plan-1.svg'}"]
    for file in out.iterdir():
        assert ET.parse(file).getroot().tag.endswith("svg")  # noqa: S314  # our own document


def test_json_and_pictures_go_together(
    site_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed stays JSON."""
    out = tmp_path / "plan"
    json.loads(planned(capsys, "--site", str(site_file), "--json", "--out", str(out)))
    assert (out / "plan-1.svg").exists()


def test_a_calibration_is_taken_for_the_expected_radio(
    site_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Less noise, smaller errors; and the first line says what it was made from."""
    file = tmp_path / "calibration.json"
    file.write_bytes(encode_calibration(Calibration(1, "hall", "survey", sd_db=2.0)))
    words = ("--site", str(site_file), "--calibration", str(file))
    assert "hall, after a calibration from survey:" in planned(capsys, *words)
    with_it = json.loads(planned(capsys, *words, "--json"))
    without = json.loads(planned(capsys, "--site", str(site_file), "--json"))
    least = [r["floors"][0]["now"]["median_m"] for r in (with_it, without)]
    assert least[0] < 0.9 * least[1]


def test_every_mistake_is_one_sentence(
    site_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What, where, and how to mend it; exit status 2."""
    other = tmp_path / "other.json"
    other.write_bytes(encode_calibration(Calibration(1, "elsewhere")))
    taken = tmp_path / "taken"
    taken.write_text("a file")
    site = ["--site", str(site_file)]
    table = [
        ([], "the following arguments are required: --site"),
        (["--site", "no.json"], "no.json: cannot be read"),
        ([*site, "--calibration", str(site_file)], "is no calibration"),
        ([*site, "--calibration", str(other)], "is of site `elsewhere`, not of `hall`"),
        ([*site, "--out", str(taken)], f"--out {taken}: cannot be written"),
    ]
    for words, sentence in table:
        try:
            status = main(["site", "plan", *words])
        except SystemExit as end:  # argparse ends like this
            status = int(end.code or 0)
        out, err = capsys.readouterr()
        assert status == 2
        assert out == ""
        assert err.startswith("balise: ")
        assert err.count("\n") == 1
        assert sentence in err
