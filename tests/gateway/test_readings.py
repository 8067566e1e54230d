"""The readings contract: round trips in both encodings, strictness, and noise of every kind."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.readings import (
    MAX_BEACON_CHARS,
    MAX_PAYLOAD_BYTES,
    MAX_READINGS,
    Batch,
    ReadingsError,
    canonical_beacon,
    decode,
    encode,
    encode_json,
    is_beacon,
    is_name,
)
from gateway.status import Status, decode_status, encode_status

REASONS = {"payload-size", "encoding", "shape", "limit", "value"}

printable = st.characters(codec="utf-8").filter(str.isprintable)
names = st.text(printable, min_size=1, max_size=64).filter(is_name)
beacons = st.text(printable, min_size=1, max_size=MAX_BEACON_CHARS)
levels = st.floats(-127.0, 20.0, width=32)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Any valid batch."""
    ids = draw(st.lists(beacons, unique=True, max_size=8))
    count = len(ids)

    def floats() -> array[float]:
        return array("f", draw(st.lists(levels, min_size=count, max_size=count)))

    return Batch(
        gateway=draw(names),
        boot=draw(names),
        seq=draw(st.integers(0, 2**53 - 1)),
        t=draw(st.floats(1.0, 4e9)),
        window=draw(st.floats(0.001, 3600.0)),
        beacons=ids,
        rssi=floats(),
        n=array("H", draw(st.lists(st.integers(1, 65_535), min_size=count, max_size=count))),
        max=floats() if draw(st.booleans()) else None,
        spread=floats() if draw(st.booleans()) else None,
        telemetry=draw(
            st.dictionaries(
                beacons, st.dictionaries(names, st.floats(-1e9, 1e9), max_size=3), max_size=2
            )
        ),
    )


def refusal(read: Callable[[bytes], object], data: bytes) -> str | None:
    """Why a payload is refused, or None when it is not; no other error is let by."""
    try:
        read(data)
    except ReadingsError as error:
        return error.reason
    return None


@given(batches())
def test_both_encodings_come_back(batch: Batch) -> None:
    """What is encoded, as MessagePack or as JSON, decodes to the same batch."""
    assert decode(encode(batch)) == batch
    assert decode(encode_json(batch)) == batch


def document(**changes: Any) -> dict[str, Any]:
    """A valid message as a JSON document, with changes; ... takes a key out."""
    whole: dict[str, Any] = {
        "v": 1,
        "gateway": "g",
        "boot": "b",
        "seq": 1,
        "t": 1_700_000_000.0,
        "window": 1.0,
        "beacons": ["x", "y"],
        "rssi": [-60.0, -70],
        "n": [1, 2],
    }
    whole.update(changes)
    return {key: value for key, value in whole.items() if value is not ...}


WRONG = [
    ({"v": 2}, "shape"),
    ({"v": ...}, "shape"),
    ({"v": "1"}, "shape"),
    ({"extra": 1}, "shape"),
    ({"gateway": ""}, "shape"),
    ({"gateway": "a b"}, "value"),
    ({"gateway": "a/b"}, "value"),
    ({"gateway": "a" * 65}, "shape"),
    ({"boot": "+"}, "value"),
    ({"boot": "\n"}, "value"),
    ({"seq": -1}, "shape"),
    ({"seq": 2**53}, "shape"),
    ({"seq": 1.5}, "shape"),
    ({"t": 0}, "value"),
    ({"t": 1_700_000_000_000}, "value"),
    ({"t": "now"}, "shape"),
    ({"window": 0}, "value"),
    ({"window": 1e9}, "value"),
    ({"beacons": ["x", "x"]}, "value"),
    ({"beacons": ["x", ""]}, "value"),
    ({"beacons": ["x", "y" * 129]}, "value"),
    ({"beacons": ["x", "y\u0000"]}, "value"),
    ({"beacons": ["x", 1]}, "shape"),
    ({"beacons": "xy"}, "shape"),
    ({"beacons": ["x"]}, "shape"),
    ({"rssi": [-60.0]}, "shape"),
    ({"rssi": [-60.0, None]}, "shape"),
    ({"rssi": [-60.0, 1e300]}, "value"),
    ({"n": [1]}, "shape"),
    ({"n": [1, -1]}, "value"),
    ({"n": [1, 0]}, "value"),
    ({"n": [1, 65_536]}, "value"),
    ({"n": [1, 1.5]}, "shape"),
    ({"max": [-60.0]}, "shape"),
    ({"spread": []}, "shape"),
    ({"telemetry": []}, "shape"),
    ({"telemetry": {"x": {"battery_v": "3"}}}, "shape"),
    ({"telemetry": {"x": {"a b": 3}}}, "value"),
    ({"telemetry": {"": {}}}, "limit"),
    ({"telemetry": {"x": {f"v{i}": 0 for i in range(33)}}}, "limit"),
]


@pytest.mark.parametrize(("changes", "reason"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_wrong_is_refused_with_its_reason(changes: dict[str, Any], reason: str) -> None:
    """Each departure from the contract is refused with a countable reason and a sentence."""
    decode(json.dumps(document()).encode())
    with pytest.raises(ReadingsError) as caught:
        decode(json.dumps(document(**changes)).encode())
    assert caught.value.reason == reason
    assert str(caught.value)


def packed(**changes: Any) -> bytes:
    """A valid MessagePack message with changes; ... takes a key out."""
    columns = {
        "rssi": array("f", [-60, -70]).tobytes(),
        "n": array("H", [1, 2]).tobytes(),
    }
    return msgspec.msgpack.encode(document(**{**columns, **changes}))


NOT_A_NUMBER = array("f", [math.nan, -60]).tobytes()
INFINITIES = array("f", [math.inf, -math.inf]).tobytes()
PACKED_WRONG = [
    pytest.param(packed(rssi=[-60.0, -70.0]), "shape", id="a list for a column"),
    pytest.param(packed(rssi=b"\0" * 7), "value", id="a column cut short"),
    pytest.param(packed(rssi=b"\0" * 12), "shape", id="a column too long"),
    pytest.param(packed(n=b""), "shape", id="an empty column"),
    pytest.param(packed(rssi=NOT_A_NUMBER), "value", id="not a number"),
    pytest.param(packed(rssi=INFINITIES), "value", id="infinities that cancel out"),
    pytest.param(packed(max=NOT_A_NUMBER), "value", id="not a number in max"),
    pytest.param(packed(gateway=...), "shape", id="a missing key"),
    pytest.param(packed(t=math.nan), "value", id="a time that is not a number"),
    pytest.param(packed(window=math.inf), "value", id="an endless window"),
    pytest.param(packed(telemetry={"x": {"v": math.nan}}), "value", id="telemetry not a number"),
    pytest.param(packed() + b"\0", "encoding", id="bytes after the end"),
    pytest.param(packed()[:-1], "encoding", id="the last byte missing"),
    pytest.param(b"", "encoding", id="nothing"),
    pytest.param(b"{", "encoding", id="the beginning of JSON"),
    pytest.param(b"\x90", "shape", id="an array"),
    pytest.param(b"{}", "shape", id="an empty object"),
    pytest.param(b"{" + b'"a":[' * 50_000, "shape", id="JSON as deep as it goes"),
    pytest.param(b'{"v":' + b"[" * 100_000, "shape", id="a number as deep as it goes"),
    pytest.param(b'{"telemetry":' + b'{"a":' * 80_000, "shape", id="deep telemetry"),
    pytest.param(b"\x81\xa1a" * 100_000, "shape", id="MessagePack maps as deep as they go"),
    pytest.param(b"\x91" * 200_000, "shape", id="MessagePack arrays as deep as they go"),
    pytest.param(b"\xdf\xff\xff\xff\xff", "encoding", id="a map that says it is huge"),
    pytest.param(b"\x81\xa7beacons\xdd\xff\xff\xff\xff", "encoding", id="a list that says so"),
    pytest.param(b"\x81\xa4rssi\xc6\xff\xff\xff\xff", "encoding", id="bytes that say so"),
    pytest.param(b"\x81\xa1v\xc9\xff\xff\xff\xff\x01", "encoding", id="an extension that says so"),
    pytest.param(b'{"t":1' + b"0" * 100_000 + b"}", "shape", id="a number of many digits"),
    pytest.param(b"\xff" * 1_000, "shape", id="noise"),
    pytest.param(bytes(MAX_PAYLOAD_BYTES + 1), "payload-size", id="too much"),
]


@pytest.mark.parametrize(("payload", "reason"), PACKED_WRONG)
def test_hostile_bytes_are_refused(payload: bytes, reason: str) -> None:
    """Bombs, lies about lengths and cut messages are refused; memory and stack stay whole."""
    with pytest.raises(ReadingsError) as caught:
        decode(payload)
    assert caught.value.reason in REASONS
    if caught.value.reason != reason:  # the decoder may notice another fault first
        assert {caught.value.reason, reason} == {"shape", "encoding"}


def test_deep_statuses_are_refused() -> None:
    """Statuses let unknown keys by, but not to any depth."""
    for inside in (b"[" * 15_000, b'{"a":' * 3_000, b"[[[[", b"1" * 16_000):
        assert refusal(decode_status, b'{"x":' + inside) in REASONS
    assert refusal(decode_status, bytes(20_000)) == "payload-size"


def test_too_many_beacons_are_refused() -> None:
    """More readings than a window can hold are a limit, not a crash."""
    ids = [f"b{i}" for i in range(MAX_READINGS + 1)]
    body = document(beacons=ids, rssi=[-60.0] * len(ids), n=[1] * len(ids))
    with pytest.raises(ReadingsError):
        decode(json.dumps(body).encode())


@given(st.binary(max_size=300))
@example(b"{\xff}")
@example(b'{"beacons":["\\ud800"]}')
def test_noise_never_raises_anything_else(payload: bytes) -> None:
    """Any bytes are a batch or a ReadingsError, with and without JSON's first byte."""
    for data in (payload, b"{" + payload):
        for read in (decode, decode_status):
            assert refusal(read, data) in REASONS | {None}


@given(batches(), st.data())
def test_bent_messages_never_raise_anything_else(batch: Batch, data: st.DataObject) -> None:
    """A valid message with bytes changed, cut or put in is a batch or a ReadingsError."""
    payload = bytearray(encode(batch) if data.draw(st.booleans()) else encode_json(batch))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(payload)))
        kind = data.draw(st.sampled_from(["change", "cut", "insert"]))
        if kind == "change" and at < len(payload):
            payload[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del payload[at : at + data.draw(st.integers(1, 9))]
        else:
            payload[at:at] = data.draw(st.binary(max_size=9))
    reason = refusal(decode, bytes(payload))
    assert reason in REASONS | {None}
    if reason is not None:
        return
    bent = decode(bytes(payload))
    # Whatever is accepted keeps the contract's word.
    assert is_name(bent.gateway)
    assert all(map(is_beacon, bent.beacons))
    assert len(set(bent.beacons)) == len(bent.beacons) == len(bent.rssi) == len(bent.n)
    assert all(map(math.isfinite, bent.rssi))


@given(
    st.builds(
        Status,
        gateway=names,
        state=st.sampled_from(["online", "offline"]),
        boot=names,
        t=st.floats(0, 4e9),
        error=st.text(max_size=50),
        adverts=st.integers(0, 2**53 - 1),
    )
)
def test_a_status_comes_back(status: Status) -> None:
    """What is encoded decodes to the same status."""
    assert decode_status(encode_status(status)) == status


@pytest.mark.parametrize(
    ("written", "one_spelling"),
    [
        (
            "ibeacon:F7826DA6-4FA2-4E98-8024-BC5B71E0893E:1:2",
            "ibeacon:f7826da6-4fa2-4e98-8024-bc5b71e0893e:1:2",
        ),
        (
            "eddystone:00112233445566778899:AABBCCDDEEFF",
            "eddystone:00112233445566778899:aabbccddeeff",
        ),
        ("mac:aa:bb:cc:dd:ee:ff", "mac:AA:BB:CC:DD:EE:FF"),
        ("Forklift 7", "Forklift 7"),
    ],
)
def test_a_beacon_has_one_spelling(written: str, one_spelling: str) -> None:
    """However a foreign gateway writes an id, it is the id that sites and our gateways have."""
    sent = Batch(
        "g", "b", 1, 1.7e9, 1.0, [written, "x"], array("f", [-60, -61]), array("H", [1, 1])
    )
    assert canonical_beacon(written) == one_spelling
    assert decode(encode(sent)).beacons == [one_spelling, "x"]


def test_two_spellings_of_one_beacon_are_one_beacon_twice() -> None:
    """A message may not hold a beacon twice by writing it in two ways."""
    twice = ["mac:aa:bb:cc:dd:ee:ff", "mac:AA:BB:CC:DD:EE:FF"]
    sent = Batch("g", "b", 1, 1.7e9, 1.0, twice, array("f", [-60, -61]), array("H", [1, 1]))
    with pytest.raises(ReadingsError, match="more than once"):
        decode(encode(sent))
