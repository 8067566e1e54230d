"""`balise calibration` against a real store: what goes in comes out, and mistakes are sentences."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from balise.cli import main
from stream.calibration import Calibration, GatewayFit, encode_calibration, load_calibration, prior
from stream.calibration_store import Calibrations, OwnFit, VersionId
from stream.connection import Connection
from stream.lease import Lease
from stream.site import encode_site
from stream.store import Store
from tests.support.pipeline import make_site

SITE = make_site()
T0 = 1_700_000_000.0
Run = Callable[..., list[str]]


def document(offset_dbm: float = -58.0) -> Calibration:
    """A small calibration."""
    gateways = {"gw0": GatewayFit(2.5, 2.1, 3.0), "gw1": GatewayFit(-1.0)}
    return Calibration(1, "depot", "survey", T0, 12_345, offset_dbm, gateways=gateways)


@pytest.fixture
def url(valkey_url: str) -> str:
    """A store that holds the site, in two partitions."""

    async def put() -> None:
        store = await Store.connect(valkey_url, "depot")
        await store.import_site(SITE, 2)
        await store.close()

    asyncio.run(put())
    return valkey_url


@pytest.fixture
def said(url: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `balise calibration WORDS` on that store; gives the lines on standard output."""

    def run(action: str, *words: str) -> list[str]:
        capsys.readouterr()
        status = main(["calibration", action, *words, "--redis", url, "--site", "depot"])
        out, err = capsys.readouterr()
        assert (status, err) == (0, "")
        return out.splitlines()

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A calibration file."""
    path = tmp_path / "cal.json"
    path.write_bytes(encode_calibration(document()))
    return path


def fit(url: str, offset_dbm: float, p: int = 0, step: int = 1) -> None:
    """A partition's worker fits one, under the site's current version."""

    async def commit() -> None:
        store, link = await Store.connect(url, "depot"), Connection(url)
        lease = Lease(link, store.keys.partition(p), "w", "1")
        assert await lease.take()
        base = await Calibrations(store).current()
        own = OwnFit(document(offset_dbm), base)
        await lease.commit(step, b"state", b"{}", [], [], [], "0-0", base, [own])
        await link.close()
        await store.close()

    asyncio.run(commit())


def test_a_file_goes_in_and_comes_out(said: Run, file: Path, tmp_path: Path) -> None:
    """Import, list, show, export: the document is the same."""
    assert said("list") == [
        "no calibration was written yet; the prior holds",
        "partition 0 uses 0 (the prior)",
        "partition 1 uses 0 (the prior)",
    ]
    assert said("import", str(file), "--by", "ann", "--note", "first survey") == [
        "calibration 1 of site depot is announced to its workers"
    ]
    row, *uses = said("list")
    assert row.split()[0] == "1*"
    for word in ("ann", "survey", "12,345 readings", "first survey"):
        assert word in row
    assert uses == ["partition 0 uses 1", "partition 1 uses 1"]
    shown = said("show")
    assert shown[0] == (
        "calibration 1 of site depot: survey, from 12,345 readings, heard up to "
        "2023-11-14 22:13:20Z"
    )
    assert "  gateway gw0: +2.5 dB, exponent 2.10, sd 3.0 dB" in shown
    assert "  gateway gw1: -1.0 dB" in shown
    out = tmp_path / "out.json"
    (line,) = said("export", "--out", str(out))
    assert line.startswith(f"{out} holds calibration 1 of site depot")
    assert load_calibration(out) == document()
    assert "\n".join(said("export", "1")) + "\n" == out.read_text()


def test_a_rollback_comes_out_as_the_next_version(said: Run, file: Path, tmp_path: Path) -> None:
    """Forth, and back to the prior."""
    said("import", str(file))
    other = tmp_path / "other.json"
    other.write_bytes(encode_calibration(document(-55.0)))
    said("import", str(other))
    assert said("rollback", "1", "--note", "worse", "--by", "bob") == [
        "calibration 3 of site depot is 1 again; announced to its workers"
    ]
    assert json.loads("".join(said("export")))["offset_dbm"] == -58.0
    assert "bob" in said("list")[0]
    assert said("list")[0].endswith("back to 1: worse")
    said("rollback", "0")
    out = tmp_path / "prior.json"
    said("export", "--out", str(out))
    assert load_calibration(out) == prior("depot")


def test_what_a_partition_fitted_can_be_named(said: Run, url: str, file: Path) -> None:
    """The list marks it; with partitions that differ, the one meant must be said."""
    said("import", str(file))
    fit(url, -57.0, 0)
    rows = said("list")
    assert [row.split()[0] for row in rows[:2]] == ["1*", "0.1*"]
    assert rows[2:] == ["partition 0 uses 0.1", "partition 1 uses 1"]
    assert said("show", "0.1")[1].startswith("  a tag: -57.0 dBm")
    lines = said("compare", "1", "0.1")
    assert lines[:2] == ["from 1 to 0.1", "  offset_dbm: -58.00 to -57.00 (+1.00)"]
    assert all("+1.0 dB at g" in line for line in lines if line.startswith("gw"))
    assert main(["calibration", "show", "--redis", url, "--site", "depot"]) == 2
    said("rollback", "0.1")
    assert said("list")[0].endswith("back to 0.1")


def test_differing_partitions_are_told(
    said: Run, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which versions there are to choose from."""
    fit(url, -57.0, 0)
    fit(url, -56.0, 1)
    assert said("list")[2:] == ["partition 0 uses 0.1", "partition 1 uses 1.1"]
    assert main(["calibration", "export", "--redis", url, "--site", "depot"]) == 2
    err = capsys.readouterr().err
    assert "the partitions use different calibrations (0.1, 1.1); say which version" in err


def test_two_files_are_compared_without_a_store(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the site from a file too."""
    site, other = tmp_path / "site.json", tmp_path / "other.json"
    site.write_bytes(encode_site(SITE))
    second = Calibration(1, "depot", exponent=2.3, sd_db=4.5, gateways={"gw0": GatewayFit(0.5)})
    other.write_bytes(encode_calibration(second))
    words = ["calibration", "compare", str(file), str(other), "--site-file", str(site)]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"from {file} to {other}"
    (row,) = [line for line in lines if line.startswith("gw0")]
    for word in ("+2.5 to +0.5", "2.10 to 2.30", "3.0 to 4.5"):
        assert word in row


def test_gateways_that_the_site_does_not_have_are_noted(said: Run, tmp_path: Path) -> None:
    """A slip of the pen would otherwise do nothing, without a word."""
    path = tmp_path / "cal.json"
    path.write_bytes(encode_calibration(Calibration(1, "depot", gateways={"gw9": GatewayFit(1.0)})))
    assert said("import", str(path))[1] == "  note: 1 of its gateways are not in the site: gw9"


BAD: list[tuple[list[str], str]] = [
    (["import", "no.json"], "no.json: cannot be read: No such file or directory"),
    (["import", "BROKEN"], "is not JSON"),
    (["import", "UNKNOWN"], "is no calibration: Object contains unknown field `colour`"),
    (["import", "RANGE"], "gateways.gw0.offset_db: 99 is outside of -60 to 60"),
    (["import", "OTHER"], "the calibration is of the site `hall`, not of `depot`"),
    (["import", "FILE", "--expect", "3"], "is at version 0, not 3; read it again"),
    (["import", "FILE", "--by", ""], "`by` has 0 characters; 1 to 64 printable ones"),
    (["rollback", "one"], "`one` is not a version of a calibration"),
    (["rollback", "7"], "the store does not hold calibration 7 of the site `depot`"),
    (["rollback", "0", "--expect", "1"], "is at version 0, not 1"),
    (["show", "1.5"], "the store does not hold calibration 1.5"),
    (["export", "0", "--out", "/nowhere/x.json"], "/nowhere/x.json: cannot be written"),
    (["compare", "FILE", "no.json"], "no.json: cannot be read"),
    (["compare", "FILE", "4"], "the store does not hold calibration 4"),
]


@pytest.mark.parametrize(("words", "sentence"), BAD, ids=lambda value: "-".join(value)[:30])
def test_every_mistake_is_one_sentence(
    words: list[str],
    sentence: str,
    url: str,
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Status 2, one line, and nothing written."""
    texts = {
        "BROKEN": b"{",
        "UNKNOWN": b'{"v": 1, "site": "depot", "colour": "red"}',
        "RANGE": b'{"v": 1, "site": "depot", "gateways": {"gw0": {"offset_db": 99}}}',
        "OTHER": b'{"v": 1, "site": "hall"}',
        "FILE": file.read_bytes(),
    }
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
    named = [str(tmp_path / word) if word in texts else word for word in words]
    assert main(["calibration", *named, "--redis", url, "--site", "depot"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("balise: ")
    assert err.count("\n") == 1
    assert sentence in err

    async def current() -> VersionId:
        store = await Store.connect(url, "depot")
        number = await Calibrations(store).current()
        await store.close()
        return VersionId(number)

    assert asyncio.run(current()) == VersionId(0)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "the following arguments are required: ACTION"),
        (["show"], "the following arguments are required: --redis, --site"),
        (["compare", "1", "2"], "give --redis URL and --site ID, or two files and --site-file"),
        (["list", "--redis", "redis://127.0.0.1:1/0", "--site", "depot"], "127.0.0.1:1"),
        (["list", "--redis", "redis://127.0.0.1:1/0", "--site", "a b"], "`a b` is not a site's id"),
    ],
)
def test_wrong_arguments_are_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is read, or when the store is away."""
    try:
        status = main(["calibration", *words])
    except SystemExit as end:  # argparse ends like this
        status = int(end.code or 0)
    err = capsys.readouterr().err
    assert status == 2
    assert err.count("\n") == 1
    assert sentence in err


def test_a_site_that_is_not_in_the_store_is_told(
    valkey_url: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sentence says how to import it."""
    words = ["calibration", "import", str(file), "--redis", valkey_url, "--site", "depot"]
    assert main(words) == 2
    assert "does not hold the site `depot`" in capsys.readouterr().err
