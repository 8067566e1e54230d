"""The status contract: what a gateway says of itself on its retained topic.

Birth and health are published by the gateway, the will by the broker in its name.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from gateway.readings import ReadingsError

MAX_STATUS_BYTES: Final = 16 * 1024
_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class Status(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=False):
    """A gateway's word about itself; unknown keys are ignored so that newer gateways can speak.

    Attributes:
        gateway: the gateway's id.
        state: `online`, or `offline` (the will, and a clean goodbye).
        boot: as in its readings.
        t: when this was said, Unix seconds (the will carries the connection's start).
        version: software version.
        window: seconds.
        scanner: which scanner it runs (`bluez`, `portable`, `virtual`, `replay`, ...).
        adverts: adverts heard since the boot.
        published: batches acknowledged by the broker since the boot.
        dropped: batches dropped from the full spool since the boot.
        spooled: batches waiting now.
        uptime: seconds since the boot.
        error: the scanner's present trouble in one sentence, empty when well.
    """

    gateway: str
    state: Literal["online", "offline"]
    boot: str
    t: float
    v: int = 1
    version: str = ""
    window: float = 0.0
    scanner: str = ""
    adverts: _Count = 0
    published: _Count = 0
    dropped: _Count = 0
    spooled: _Count = 0
    uptime: float = 0.0
    error: str = ""


_decode: Final = msgspec.json.Decoder(Status).decode
encode_status: Final = msgspec.json.Encoder().encode


def decode_status(payload: bytes) -> Status:
    """Reads a status message (JSON).

    Raises:
        ReadingsError: with a reason and a sentence.
    """
    if len(payload) > MAX_STATUS_BYTES:
        raise ReadingsError("payload-size", f"the status has {len(payload)} bytes")
    try:
        return _decode(payload)
    except msgspec.ValidationError as error:
        raise ReadingsError("shape", f"not a status message: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReadingsError("encoding", f"not JSON: {error}") from error
