"""Events: what happened, as values; made by the engine, stored with the step that caused them."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

EventKind = Literal[
    "gateway_silent",
    "gateway_heard",
    "gateway_suspect",
    "gateway_well",
    "site_changed",
    "calibration_changed",
    "trackable_lost",
    "trackable_found",
]


class LastPlace(msgspec.Struct, frozen=True):
    """Where a trackable was last: Unix seconds, floor id, metres."""

    t: float
    floor: str
    x: float
    y: float


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event in event time.

    Attributes:
        id: stable: the same input gives the same id.
        kind: what happened.
        t: when, Unix seconds.
        subject: the gateway, trackable or site it happened to.
        place: a trackable's last place.
        text: more about it, a sentence for people.
    """

    id: str
    kind: EventKind
    t: float
    subject: str
    place: LastPlace | None = None
    text: str = ""


encode_event: Final = msgspec.json.Encoder().encode
decode_event: Final = msgspec.json.Decoder(Event).decode
