"""What may pass from the broker to the store: one message in, an admission or a refusal out.

Every rule that turns a message away lives here; the clock and the site come in, nothing goes
out. Whether a batch is too late for its tick is not decided here but by the engine, in event
time.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal, NamedTuple

from gateway.readings import Batch, ReadingsError, decode, encode
from gateway.status import Status, decode_status
from gateway.topics import parse_topic

Reason = Literal[
    "topic",
    "site",
    "payload-size",
    "encoding",
    "shape",
    "limit",
    "value",
    "gateway-mismatch",
    "unknown-gateway",
    "clock-ahead",
    "overflow",
    "entry",
]
"""Why a message was turned away: the label of the refusal metric.

topic: not a topic of the contract. site: another site's. payload-size, encoding, shape, limit,
value: as in ReadingsError. gateway-mismatch: the payload names another gateway than the topic.
unknown-gateway: not in the site. clock-ahead: the stamp lies in the future. overflow: came
without acknowledgement (QoS 0) faster than it could be stored. entry: a worker found something
in its stream that is no batch, or that it failed on again and again.
"""

REASONS: Final[frozenset[Reason]] = frozenset(Reason.__args__)  # type: ignore[attr-defined]  # of a Literal

# A gateway whose clock runs ahead would declare all others late; NTP keeps well below this.
MAX_AHEAD_S: Final = 1.0

NOBODY: Final = "?"
"""Stands for the gateway of a message that no known gateway sent."""


class AdmittedBatch(NamedTuple):
    """A batch to be stored; `packed` is it in MessagePack."""

    batch: Batch
    packed: bytes


class AdmittedStatus(NamedTuple):
    """A gateway's word about itself, to be kept."""

    status: Status


class Refusal(NamedTuple):
    """A message turned away.

    Attributes:
        gateway: a gateway of the site, or `?`.
        reason: why, for counting.
        detail: why, in a sentence.
    """

    gateway: str
    reason: Reason
    detail: str


def admit(
    topic: str, payload: bytes, now: float, site_id: str, gateways: Collection[str]
) -> AdmittedBatch | AdmittedStatus | Refusal:
    """Judges one message.

    Args:
        topic: where it was published.
        payload: what was published.
        now: ingest's clock, Unix seconds.
        site_id: the site this ingest serves.
        gateways: the ids of the site's gateways.
    """
    parsed = parse_topic(topic)
    if parsed is None:
        return Refusal(NOBODY, "topic", "not a topic of a gateway's readings or status")
    if parsed.site != site_id:
        return Refusal(NOBODY, "site", f"this ingest serves the site `{site_id}`")
    known = parsed.gateway in gateways
    who = parsed.gateway if known else NOBODY
    try:
        said = decode(payload) if parsed.kind == "readings" else decode_status(payload)
    except ReadingsError as error:
        return Refusal(who, _reason(error), str(error))
    if said.gateway != parsed.gateway:
        return Refusal(who, "gateway-mismatch", "the payload names another gateway than the topic")
    if not known:
        return Refusal(
            NOBODY, "unknown-gateway", f"`{parsed.gateway}` is not a gateway of the site"
        )
    if isinstance(said, Status):
        return AdmittedStatus(said)
    if said.t > now + MAX_AHEAD_S:
        return Refusal(
            who,
            "clock-ahead",
            f"`{who}` stamps {said.t - now:.1f} s in the future; set its clock (NTP)",
        )
    # What is MessagePack goes on as it came, so a batch costs no second encoding.
    return AdmittedBatch(said, encode(said) if payload[:1] == b"{" else payload)


def _reason(error: ReadingsError) -> Reason:
    for reason in REASONS:
        if reason == error.reason:
            return reason
    return "shape"
