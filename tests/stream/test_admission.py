"""Whatever arrives is admitted whole or refused with a reason of the fixed set."""

from __future__ import annotations

import json
import random
from array import array
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.readings import MAX_PAYLOAD_BYTES, Batch, decode, encode, encode_json
from gateway.status import Status, encode_status
from gateway.topics import readings_topic, status_topic
from stream.admission import (
    NOBODY,
    REASONS,
    AdmittedBatch,
    AdmittedStatus,
    Refusal,
    admit,
)

NOW = 1_700_000_000.0
GATEWAYS = frozenset({"gw1", "gw2"})
BATCH = Batch("gw1", "b", 1, NOW, 1.0, ["x", "y"], array("f", [-60, -70]), array("H", [3, 1]))
STATUS = Status("gw1", "online", "b", NOW)
READINGS = readings_topic("depot", "gw1")
STATUSES = status_topic("depot", "gw1")


def judge(topic: str, payload: bytes) -> AdmittedBatch | AdmittedStatus | Refusal:
    """The verdict of the site `depot` with two gateways."""
    return admit(topic, payload, NOW, "depot", GATEWAYS)


def changed(**values: Any) -> bytes:
    """The batch with other values."""
    return encode(msgspec.structs.replace(BATCH, **values))


def as_json(**values: Any) -> bytes:
    """The batch as JSON with keys replaced."""
    return json.dumps({**json.loads(encode_json(BATCH)), **values}).encode()


def test_messagepack_goes_through_unchanged() -> None:
    """The very bytes are stored."""
    payload = encode(BATCH)
    verdict = judge(READINGS, payload)
    assert isinstance(verdict, AdmittedBatch)
    assert verdict.packed is payload
    assert verdict.batch == BATCH


def test_json_is_stored_as_messagepack() -> None:
    """One encoding is in the streams."""
    verdict = judge(READINGS, encode_json(BATCH))
    assert isinstance(verdict, AdmittedBatch)
    assert decode(verdict.packed) == BATCH
    assert verdict.packed[:1] != b"{"


def test_a_status_passes() -> None:
    """Also one whose clock is wrong: that is what a status is there to show."""
    status = msgspec.structs.replace(STATUS, t=NOW + 1e6)
    assert judge(STATUSES, encode_status(status)) == AdmittedStatus(status)


def test_a_second_ahead_is_tolerated() -> None:
    """A clock kept by NTP passes."""
    assert isinstance(judge(READINGS, changed(t=NOW + 0.9)), AdmittedBatch)


@pytest.mark.parametrize(
    ("topic", "payload", "gateway", "reason"),
    [
        ("", b"", NOBODY, "topic"),
        ("balise/v1/depot/gateways/gw1", encode(BATCH), NOBODY, "topic"),
        ("balise/v1/depot/gateways/gw1/readings/x", encode(BATCH), NOBODY, "topic"),
        ("balise/v1/depot/gateways//readings", encode(BATCH), NOBODY, "topic"),
        ("balise/v2/depot/gateways/gw1/readings", encode(BATCH), NOBODY, "topic"),
        ("balise/v1/depot/gateways/gw1/Readings", encode(BATCH), NOBODY, "topic"),
        ("balise/v1/depot/gateways/g w/readings", encode(BATCH), NOBODY, "topic"),
        ("balise/v1/depot/gateways/" + "g" * 65 + "/readings", encode(BATCH), NOBODY, "topic"),
        ("balise/v1/other/gateways/gw1/readings", encode(BATCH), NOBODY, "site"),
        (READINGS, b"", "gw1", "encoding"),
        (READINGS, b"{", "gw1", "encoding"),
        (READINGS, b"\xc1", "gw1", "encoding"),
        (READINGS, b"[" * 100_000, "gw1", "shape"),
        (READINGS, b'{"v":' * 5_000, "gw1", "shape"),
        (READINGS, b"[]", "gw1", "shape"),
        (READINGS, b"{" + b" " * MAX_PAYLOAD_BYTES, "gw1", "payload-size"),
        (READINGS, as_json(v=2), "gw1", "shape"),
        (READINGS, as_json(unknown=1), "gw1", "shape"),
        (READINGS, as_json(rssi=[-60]), "gw1", "shape"),
        (READINGS, as_json(beacons=["x", "x"]), "gw1", "value"),
        (READINGS, as_json(seq=-1), "gw1", "shape"),
        (READINGS, as_json(t=NOW * 1_000), "gw1", "value"),
        (READINGS, as_json(telemetry={"x": {str(i): 0 for i in range(99)}}), "gw1", "limit"),
        (READINGS, changed(gateway="gw2"), "gw1", "gateway-mismatch"),
        (READINGS, changed(gateway="gw9"), "gw1", "gateway-mismatch"),
        (readings_topic("depot", "gw9"), changed(gateway="gw9"), NOBODY, "unknown-gateway"),
        (readings_topic("depot", "gw9"), b"", NOBODY, "encoding"),
        (READINGS, changed(t=NOW + 1.1), "gw1", "clock-ahead"),
        (STATUSES, b"", "gw1", "encoding"),
        (STATUSES, b"{}", "gw1", "shape"),
        (STATUSES, b'{"x":' * 2_000, "gw1", "encoding"),
        (STATUSES, b'{"x":"' + b" " * 20_000, "gw1", "payload-size"),
        (STATUSES, encode_status(Status("gw2", "online", "b", 1.0)), "gw1", "gateway-mismatch"),
        (
            status_topic("depot", "gw9"),
            encode_status(Status("gw9", "online", "b", 1.0)),
            NOBODY,
            "unknown-gateway",
        ),
    ],
)
def test_refusals(topic: str, payload: bytes, gateway: str, reason: str) -> None:
    """Each fault has its reason, and counts for its gateway when that is known."""
    verdict = judge(topic, payload)
    assert isinstance(verdict, Refusal)
    assert (verdict.gateway, verdict.reason) == (gateway, reason)
    assert verdict.detail


def check(verdict: AdmittedBatch | AdmittedStatus | Refusal) -> None:
    """A verdict that cannot harm what comes after."""
    if isinstance(verdict, Refusal):
        assert verdict.reason in REASONS
        assert verdict.gateway in GATEWAYS | {NOBODY}
    elif isinstance(verdict, AdmittedBatch):
        assert decode(verdict.packed) == verdict.batch
        assert verdict.batch.gateway in GATEWAYS
    else:
        assert verdict.status.gateway in GATEWAYS


TOPICS = st.one_of(
    st.sampled_from([READINGS, STATUSES, readings_topic("depot", "gw9")]),
    st.text(max_size=40),
    st.lists(st.text(max_size=5), max_size=4).map(lambda parts: "/".join(["balise/v1", *parts])),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)
KEYS = ["v", "gateway", "boot", "seq", "t", "window", "beacons", "rssi", "n", "max", "telemetry"]


@given(TOPICS, st.binary(max_size=200))
def test_any_bytes(topic: str, payload: bytes) -> None:
    """Noise on any topic gets a verdict."""
    check(judge(topic, payload))


@given(st.sampled_from(KEYS), JSON)
def test_any_value_of_any_key(key: str, value: object) -> None:
    """A batch with one strange value gets a verdict."""
    check(judge(READINGS, as_json(**{key: value})))


@given(st.dictionaries(st.sampled_from(["gateway", "state", "boot", "t", "adverts"]), JSON))
def test_any_status(values: dict[str, object]) -> None:
    """A status with strange values gets a verdict."""
    status = {"gateway": "gw1", "state": "online", "boot": "b", "t": 1.0, **values}
    check(judge(STATUSES, json.dumps(status).encode()))


def test_damaged_messages() -> None:
    """A good message with some bytes changed, cut or repeated gets a verdict."""
    chance = random.Random(3)
    good = encode(BATCH)
    kinds = set()
    for _ in range(5_000):
        payload = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(payload))
            match chance.randrange(3):
                case 0:
                    payload[at] = chance.randrange(256)
                case 1:
                    del payload[at : at + chance.randint(1, 9)]
                case _:
                    payload[at:at] = payload[at : at + chance.randint(1, 9)]
            payload = payload or bytearray(b"\0")
        verdict = judge(READINGS, bytes(payload))
        check(verdict)
        kinds.add(verdict.reason if isinstance(verdict, Refusal) else "admitted")
    assert kinds >= {"admitted", "encoding", "shape", "value"}
