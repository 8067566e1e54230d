"""Recordings: JSON Lines of {"topic", "payload"}, optionally gzipped, as they were published.

The contract is in docs/readings.md. Reading is strict and names the line; a line that cannot be
used is an error here, for the caller to raise or to count.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Self

import msgspec

from gateway.errors import UserError
from gateway.readings import Batch, ReadingsError, decode, encode_json
from gateway.topics import parse_topic, readings_topic


class RecordingError(UserError, ValueError):
    """A recording that cannot be read: the sentence names file, line and reason."""


class Recorded(NamedTuple):
    """One line of a recording.

    Attributes:
        line: its number, from 1.
        topic: MQTT topic.
        payload: the payload as JSON bytes.
    """

    line: int
    topic: str
    payload: bytes


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    topic: str
    payload: msgspec.Raw


_decode: Final = msgspec.json.Decoder(_Line).decode


def read_lines(path: Path) -> Iterator[Recorded]:
    """Every line of a recording, blank ones left out.

    Raises:
        RecordingError: when the file cannot be read or a line is not of the contract.
    """
    number = 0
    try:
        with _open(path) as lines:
            for number, text in enumerate(lines, 1):
                if not text.strip():
                    continue
                try:
                    line = _decode(text)
                except msgspec.MsgspecError as error:
                    raise RecordingError(
                        f"{path}: line {number}: not an object of topic and payload: {error}"
                    ) from error
                yield Recorded(number, line.topic, bytes(line.payload))
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RecordingError(f"{path}: cannot be read after line {number}: {reason}") from error


def read_batches(path: Path, site: str) -> Iterator[Batch]:
    """The readings of one site in a recording's order; statuses and other sites are left out.

    Raises:
        RecordingError: when the file or a line cannot be read.
    """
    for recorded in read_lines(path):
        topic = parse_topic(recorded.topic)
        if topic is None:
            raise RecordingError(
                f"{path}: line {recorded.line}: `{recorded.topic}` is not a gateway's topic"
            )
        if topic.kind != "readings" or topic.site != site:
            continue
        try:
            batch = decode(recorded.payload)
        except ReadingsError as error:
            raise RecordingError(f"{path}: line {recorded.line}: {error}") from error
        if batch.gateway != topic.gateway:
            raise RecordingError(
                f"{path}: line {recorded.line}: the payload is of gateway `{batch.gateway}`, "
                f"the topic of `{topic.gateway}`"
            )
        yield batch


class RecordingWriter:
    """Writes a recording; gzipped when the name ends in .gz. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path
        try:
            # No name and no time in the gzip header: the same recording is the same bytes.
            raw = path.open("wb")
        except OSError as error:
            raise RecordingError(f"{path}: cannot be written: {error.strerror}") from error
        self._raw: Final = raw
        self._file: IO[bytes] = (
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0)  # type: ignore[assignment]  # a GzipFile is an IO[bytes] in all we use
            if path.suffix == ".gz"
            else raw
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, topic: str, payload: bytes) -> None:
        """Appends a line; the payload is JSON."""
        self._file.write(b'{"topic":' + json.dumps(topic).encode() + b',"payload":')
        self._file.write(payload)
        self._file.write(b"}\n")

    def write_batch(self, site: str, batch: Batch) -> None:
        """Appends a batch as columnar JSON."""
        self.write(readings_topic(site, batch.gateway), encode_json(batch))

    def close(self) -> None:
        """Writes what is buffered and closes the file."""
        self._file.close()
        self._raw.close()


def _open(path: Path) -> Any:  # noqa: ANN401  # an iterable of byte lines, plain or gzipped
    with path.open("rb") as probe:
        packed = probe.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")
