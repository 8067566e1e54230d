"""The readings contract: one gateway's window of readings as bytes, and back.

Everything that decides what a valid readings message is lives here; sockets, topics' brokers
and clocks do not. Two encodings carry the same shape: MessagePack with binary columns (what our
gateways send) and columnar JSON (what any other gateway may send; its first byte is ``{``).
The contract itself is described in docs/readings.md.
"""

from __future__ import annotations

import math
import sys
from array import array
from typing import Annotated, Any, Final

import msgspec

from gateway.errors import UserError

VERSION: Final = 1
# A window of 5,000 iBeacons is about 350 kB; more in one message is not a gateway any more.
MAX_PAYLOAD_BYTES: Final = 512 * 1024
MAX_READINGS: Final = 5_000
# The longest id of ours (`ibeacon:UUID:65535:65535`) has 56 characters.
MAX_BEACON_CHARS: Final = 128
# Ids that are hexadecimal after their kind.
_HEXADECIMAL: Final = ("ibeacon:", "altbeacon:", "eddystone:")
MAX_NAME_CHARS: Final = 64
MAX_WINDOW_S: Final = 3_600.0
# 2100-01-01: a later stamp is a clock in the wrong unit (milliseconds), not a time.
MAX_T: Final = 4_102_444_800.0
# Telemetry values per beacon: far above what any tag sends, small enough to be harmless.
MAX_TELEMETRY_VALUES: Final = 32

_SWAP: Final = sys.byteorder == "big"


class ReadingsError(UserError, ValueError):
    """A message that is not a valid batch of readings.

    Attributes:
        reason: a short stable word for counting (`payload-size`, `encoding`, `shape`, `limit`,
            `value`), the label of the refusal metric.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason: Final = reason


class Batch(msgspec.Struct, frozen=True, eq=True):
    """A gateway's readings of one window; the columns are parallel.

    Attributes:
        gateway: the gateway's id.
        boot: changes with every start of the gateway; `seq` counts within it.
        seq: the message's number within the boot, from 1.
        t: the window's end, Unix seconds.
        window: the window's length in seconds.
        beacons: beacon ids, each once.
        rssi: mean RSSI in dBm, array('f').
        n: adverts heard, array('H').
        max: the strongest advert in dBm, array('f'), if sent.
        spread: standard deviation of RSSI in dB, array('f'), if sent.
        telemetry: by beacon id, name to number.
    """

    gateway: str
    boot: str
    seq: int
    t: float
    window: float
    beacons: list[str]
    rssi: array[float]
    n: array[int]
    max: array[float] | None = None
    spread: array[float] | None = None
    telemetry: dict[str, dict[str, float]] = {}

    def __len__(self) -> int:
        return len(self.beacons)


_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_CHARS)]
_Telemetry = dict[str, dict[str, float]]


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    v: int
    gateway: _Name
    boot: _Name
    seq: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
    t: float
    window: float
    beacons: Annotated[list[str], msgspec.Meta(max_length=MAX_READINGS)]


class _Packed(_Header, omit_defaults=True):
    rssi: bytes
    n: bytes
    max: bytes | None = None
    spread: bytes | None = None
    telemetry: _Telemetry = {}


class _Columns(_Header, omit_defaults=True):
    rssi: list[float]
    n: list[int]
    max: list[float] | None = None
    spread: list[float] | None = None
    telemetry: _Telemetry = {}


_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(_Packed).decode
_to_json: Final = msgspec.json.Encoder().encode
_from_json: Final = msgspec.json.Decoder(_Columns).decode


def encode(batch: Batch) -> bytes:
    """The batch as MessagePack with little-endian binary columns (float32, uint16)."""
    return _pack(
        _Packed(
            **_header(batch),
            rssi=_to_bytes(batch.rssi),
            n=_to_bytes(batch.n),
            max=None if batch.max is None else _to_bytes(batch.max),
            spread=None if batch.spread is None else _to_bytes(batch.spread),
            telemetry=batch.telemetry,
        )
    )


def encode_json(batch: Batch) -> bytes:
    """The batch as columnar JSON."""
    return _to_json(
        _Columns(
            **_header(batch),
            rssi=batch.rssi.tolist(),
            n=batch.n.tolist(),
            max=None if batch.max is None else batch.max.tolist(),
            spread=None if batch.spread is None else batch.spread.tolist(),
            telemetry=batch.telemetry,
        )
    )


def decode(payload: bytes) -> Batch:
    """Reads either encoding, strictly.

    Raises:
        ReadingsError: with a sentence that says what is wrong and what was expected.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ReadingsError(
            "payload-size", f"the message has {len(payload)} bytes; at most {MAX_PAYLOAD_BYTES}"
        )
    try:
        raw: _Packed | _Columns = _from_json(payload) if payload[:1] == b"{" else _unpack(payload)
    except msgspec.ValidationError as error:
        raise ReadingsError("shape", f"not a readings message: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReadingsError(
            "encoding", f"neither MessagePack nor a JSON object: {error}"
        ) from error
    return _checked(raw)


def _header(batch: Batch) -> dict[str, Any]:
    return {
        "v": VERSION,
        "gateway": batch.gateway,
        "boot": batch.boot,
        "seq": batch.seq,
        "t": batch.t,
        "window": batch.window,
        "beacons": batch.beacons,
    }


def _checked(raw: _Packed | _Columns) -> Batch:
    if raw.v != VERSION:
        raise ReadingsError("shape", f"v is {raw.v}; this version reads v {VERSION}")
    for key in ("gateway", "boot"):
        if not is_name(getattr(raw, key)):
            raise ReadingsError("value", f"{key} must be printable, without blanks or any of / + #")
    if not 0.0 < raw.t < MAX_T:
        raise ReadingsError("value", f"t is {raw.t}; Unix seconds are expected")
    if not 0.0 < raw.window <= MAX_WINDOW_S:
        raise ReadingsError(
            "value", f"window is {raw.window}; seconds up to {MAX_WINDOW_S:.0f} are expected"
        )
    count = len(raw.beacons)
    beacons = _canonical(raw.beacons)
    if len(set(beacons)) != count:
        raise ReadingsError("value", "a beacon stands in the message more than once")
    if not _are_beacons(raw.beacons):
        raise ReadingsError(
            "value", f"a beacon id must have 1 to {MAX_BEACON_CHARS} printable characters"
        )
    _check_telemetry(raw.telemetry)
    return Batch(
        gateway=raw.gateway,
        boot=raw.boot,
        seq=raw.seq,
        t=raw.t,
        window=raw.window,
        beacons=beacons,
        rssi=_column("rssi", "f", raw.rssi, count),
        n=_column("n", "H", raw.n, count),
        max=None if raw.max is None else _column("max", "f", raw.max, count),
        spread=None if raw.spread is None else _column("spread", "f", raw.spread, count),
        telemetry={canonical_beacon(name): values for name, values in raw.telemetry.items()},
    )


def is_name(name: str) -> bool:
    """Whether a gateway, boot or site id can stand in a topic level and in a log line."""
    return (
        0 < len(name) <= MAX_NAME_CHARS
        and name.isprintable()
        and not any(c in "/+# " for c in name)
    )


def is_beacon(beacon: str) -> bool:
    """Whether a beacon id is acceptable: any printable string of a sane length."""
    return 0 < len(beacon) <= MAX_BEACON_CHARS and beacon.isprintable()


def canonical_beacon(beacon: str) -> str:
    """The one spelling of a beacon's id: hexadecimal in small letters, a MAC in capitals.

    Site documents and foreign gateways write UUIDs and MACs either way; ids of other kinds are
    nobody's to change.
    """
    if beacon.startswith(_HEXADECIMAL):
        return beacon.lower()
    return "mac:" + beacon[4:].upper() if beacon.startswith("mac:") else beacon


def _canonical(beacons: list[str]) -> list[str]:
    """`canonical_beacon` of all; what has no capitals and no MAC is seen at a glance."""
    joined = "".join(beacons)
    if joined == joined.lower() and "mac:" not in joined:
        return beacons
    return [canonical_beacon(beacon) for beacon in beacons]


def _are_beacons(beacons: list[str]) -> bool:
    """`is_beacon` of all of them at once, ten times as fast."""
    return not beacons or (
        all(beacons)
        and max(map(len, beacons)) <= MAX_BEACON_CHARS
        and "".join(beacons).isprintable()
    )


def _check_telemetry(telemetry: _Telemetry) -> None:
    if len(telemetry) > MAX_READINGS:
        raise ReadingsError("limit", f"telemetry of {len(telemetry)} beacons in one message")
    for beacon, values in telemetry.items():
        if not is_beacon(beacon) or len(values) > MAX_TELEMETRY_VALUES:
            raise ReadingsError("limit", "telemetry with an unfit beacon id or too many values")
        for name, value in values.items():
            if not is_name(name) or not math.isfinite(value):
                raise ReadingsError("value", "telemetry holds a name or number that is unfit")


def _column(name: str, kind: str, raw: bytes | list[float] | list[int], count: int) -> array[Any]:
    column: array[Any] = array(kind)
    try:
        if isinstance(raw, bytes):
            column.frombytes(raw)
            if _SWAP:
                column.byteswap()
        else:
            column.extend(raw)
    except (ValueError, OverflowError, TypeError) as error:
        raise ReadingsError("value", f"{name} holds a value out of range: {error}") from error
    if len(column) != count:
        raise ReadingsError("shape", f"{name} has {len(column)} values for {count} beacons")
    # A sum of float32 cannot overflow, and is not finite when any part of it is not.
    if kind == "f" and not math.isfinite(sum(column)):
        raise ReadingsError("value", f"{name} holds a value that is not a finite number")
    if kind == "H" and 0 in column:
        raise ReadingsError("value", f"{name} holds a 0; a reading is of one advert at least")
    return column


def _to_bytes(column: array[Any]) -> bytes:
    if not _SWAP:
        return column.tobytes()
    swapped = array(column.typecode, column)
    swapped.byteswap()
    return swapped.tobytes()
