"""docs/readings.md keeps its word: its examples decode, its limits and lists are the code's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from gateway import readings, status
from gateway.decoders import Identities
from gateway.publisher import HEALTH_S
from gateway.readings import Batch, decode, encode, encode_json, is_beacon
from gateway.scanner_replay import ReplayScanner
from gateway.status import Status, decode_status, encode_status
from gateway.topics import parse_topic, readings_topic, status_topic

PAGE: Final = (Path(__file__).parents[2] / "docs/readings.md").read_text("utf-8")


def blocks(kind: str) -> list[str]:
    """The code blocks of one kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def keys(heading: str) -> list[str]:
    """What stands as code in the first column of the tables under a heading."""
    part = PAGE.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]
    cells = re.findall(r"^\| (`[^|]+) \|", part, re.MULTILINE)
    return [key for cell in cells for key in re.findall(r"`([^`]+)`", cell)]


def test_the_batch_decodes_to_what_the_page_says() -> None:
    """The JSON example is a batch of two readings with every column."""
    batch = decode(blocks("json")[0].encode())
    assert (batch.gateway, batch.boot, batch.seq, batch.window) == ("dock-1", "5f3a9c21", 4711, 1.0)
    assert len(batch) == 2
    assert batch.max is not None
    assert batch.spread is not None
    assert batch.telemetry
    assert decode(encode_json(batch)) == batch


def test_the_bytes_are_the_same_batch() -> None:
    """The MessagePack example is the JSON example, byte for byte as our gateways send it."""
    data = bytes.fromhex(blocks("hex")[0])
    batch = decode(blocks("json")[0].encode())
    assert decode(data) == batch
    assert encode(batch) == data


def test_the_status_decodes() -> None:
    """The status example has every key, and only those."""
    text = blocks("json")[1].encode()
    said = decode_status(text)
    assert said.state == "online"
    fields = set(Status.__struct_fields__)
    assert set(json.loads(text)) == fields - {"v"}
    assert decode_status(encode_status(said)) == said


def test_the_tables_list_every_key() -> None:
    """Each key of both contracts has its line, and no line names another."""
    batch = {*Batch.__struct_fields__, "v"}
    fields = set(Status.__struct_fields__)
    assert set(keys("## A batch of readings")) == batch
    assert set(keys("## Status")) == fields


def test_the_reasons_are_those_of_the_code() -> None:
    """The table of refusals holds the reasons that the decoder gives."""
    source = Path(readings.__file__).read_text("utf-8")
    given = set(re.findall(r'ReadingsError\(\s*"([a-z-]+)"', source))
    assert set(keys("## What is refused")) == given


def test_the_limits_are_those_of_the_code() -> None:
    """Every bound stands on the page as the code has it."""
    for bound in (
        readings.MAX_PAYLOAD_BYTES,
        readings.MAX_READINGS,
        readings.MAX_BEACON_CHARS,
        readings.MAX_NAME_CHARS,
        readings.MAX_TELEMETRY_VALUES,
        int(readings.MAX_WINDOW_S),
        status.MAX_STATUS_BYTES,
    ):
        assert f"{bound:,}" in PAGE, bound
    assert f"every {HEALTH_S:.0f} seconds" in PAGE


def test_the_topics_are_those_of_the_code() -> None:
    """The topics of the table are built and read as the page writes them."""
    assert keys("## Topics")[:2] == [
        readings_topic("SITE", "GATEWAY"),
        status_topic("SITE", "GATEWAY"),
    ]
    assert parse_topic(keys("## Topics")[0]) is not None


def test_the_ids_are_those_of_the_decoders() -> None:
    """The ids in the examples are spelt as the decoders spell them."""
    iron = bytes.fromhex("0215" + "6fb1a0c25d2e4f3b9c1a0d4e8f7b6a59" + "00010011" + "c5")
    names = decode(blocks("json")[0].encode()).beacons
    identities = Identities()
    assert identities.identify("", {0x4C: iron}, {}) == names[0]
    assert identities.identify("AC:23:3F:00:00:01", {}, {}) == names[1]
    assert all(map(is_beacon, names))


def test_the_recording_replays(tmp_path: Path) -> None:
    """The recording's lines are messages of the contract and can be replayed."""
    path = tmp_path / "recording.jsonl"
    path.write_text(blocks("jsonl")[0])
    assert ReplayScanner(path, "dock-1").now() == 1_763_899_999.0
    for line in path.read_text().splitlines():
        message = json.loads(line)
        topic = parse_topic(message["topic"])
        assert topic is not None
        assert decode(json.dumps(message["payload"]).encode()).gateway == topic.gateway
