"""Recordings: strict reading that names the line, writing that gives the same bytes."""

from __future__ import annotations

import gzip
import tempfile
from array import array
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.readings import Batch
from stream.recording import RecordingError, RecordingWriter, read_batches, read_lines

GOOD = (
    b'{"topic":"balise/v1/hall/gateways/g1/readings","payload":{"v":1,"gateway":"g1","boot":"a",'
    b'"seq":1,"t":1700000000.5,"window":0.5,"beacons":["b"],"rssi":[-60.0],"n":[2]}}\n'
)


def written(path: Path, seqs: list[int]) -> Path:
    """A recording of small batches with these numbers."""
    with RecordingWriter(path) as writer:
        for seq in seqs:
            batch = Batch(
                "g1", "a", seq, 1.7e9 + seq, 1.0, ["b"], array("f", [-60]), array("H", [1])
            )
            writer.write_batch("hall", batch)
    return path


@pytest.mark.parametrize("name", ["plain.jsonl", "packed.jsonl.gz"])
def test_what_is_written_is_read_and_the_bytes_are_the_same(tmp_path: Path, name: str) -> None:
    """Plain and gzipped alike, without a trace of when it was written."""
    first = written(tmp_path / name, [1, 2, 3])
    (tmp_path / "again").mkdir()
    again = written(tmp_path / "again" / name, [1, 2, 3])
    assert [batch.seq for batch in read_batches(first, "hall")] == [1, 2, 3]
    assert first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (GOOD + b"nonsense\n", "line 2: not an object of topic and payload"),
        (GOOD + b'{"topic":"balise/v1/hall"}\n', "line 2: not an object of topic and payload"),
        (GOOD + b'{"topic":"x/y","payload":{}}\n', "line 2: `x/y` is not a gateway's topic"),
        (
            GOOD.replace(b'"n":[2]', b'"n":[2,3]'),
            "line 1: n has 2 values for 1 beacons",
        ),
        (
            GOOD.replace(b"gateways/g1", b"gateways/g2"),
            "line 1: the payload is of gateway `g1`, the topic of `g2`",
        ),
        (gzip.compress(GOOD * 500)[:-20], "cannot be read after line"),
    ],
)
def test_a_broken_recording_is_refused_in_one_sentence(
    tmp_path: Path, text: bytes, sentence: str
) -> None:
    """The sentence names file, line and reason."""
    path = tmp_path / "r.jsonl"
    path.write_bytes(text)
    with pytest.raises(RecordingError) as caught:
        list(read_batches(path, "hall"))
    assert str(caught.value).startswith(str(path))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named() -> None:
    """No traceback for a slip of the pen."""
    with pytest.raises(RecordingError, match=r"^nowhere\.jsonl: cannot be read after line 0: No"):
        list(read_lines(Path("nowhere.jsonl")))


def test_other_sites_and_statuses_are_left_out(tmp_path: Path) -> None:
    """A broker's recording may hold more than one site."""
    path = tmp_path / "r.jsonl"
    path.write_bytes(
        GOOD
        + GOOD.replace(b"v1/hall", b"v1/shop")
        + b'{"topic":"balise/v1/hall/gateways/g1/status","payload":{"state":"online"}}\n\n'
    )
    assert len(list(read_batches(path, "hall"))) == 1


@given(st.binary(max_size=300))
def test_rubbish_never_raises_anything_else(rubbish: bytes) -> None:
    """Whatever the bytes, the error is a RecordingError."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "r.jsonl"
        path.write_bytes(GOOD + rubbish)
        with suppress(RecordingError):
            list(read_batches(path, "hall"))
