"""Events: what happened, as values; made by the engine, stored with the step that caused them."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

EventKind = Literal["gateway_silent", "gateway_heard", "site_changed"]


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event in event time.

    Attributes:
        id: stable: the same input gives the same id.
        kind: what happened.
        t: when, Unix seconds.
        subject: the gateway (or site) it happened to.
    """

    id: str
    kind: EventKind
    t: float
    subject: str


encode_event: Final = msgspec.json.Encoder().encode
decode_event: Final = msgspec.json.Decoder(Event).decode
