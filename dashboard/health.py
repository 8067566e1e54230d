"""How gateways are: online, late, offline or unknown, from what they and the workers said.

Functions over values with the clock passed in. Two witnesses speak of a gateway: its status
(what it says of itself, or the broker in its name) and its readings as the workers count them.
Readings count for more: a gateway that says `online` and delivers nothing is late. Apart from its
state a gateway may be suspect: it delivers, but not what it should (`GatewayCounts.suspect`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple

from msgspec.structs import replace

from gateway.status import Status
from stream.site import GatewayPlace
from stream.store import GatewayRecord
from stream.summary import GatewayCounts, Summary, Unassigned

State = Literal["online", "late", "offline", "unknown"]
STATES: Final[tuple[State, ...]] = ("online", "late", "offline", "unknown")

# The watermark waits 2 s for a gateway, a step is committed within another; what is older than
# this has held the map back or missed it.
LATE_AFTER_S: Final = 5.0
# Gateways with long windows are late when three of them are missing.
LATE_AFTER_WINDOWS: Final = 3.0
# The watermark gives a gateway up after 60 s (stream.watermark.QUIET_S).
OFFLINE_AFTER_S: Final = 60.0
# Gateways repeat their status every 10 to 30 s; after this its word is no longer a sign of life.
STATUS_HOLDS_S: Final = 90.0
# Readings a second are counted over this span: long enough for windows of seconds.
RATE_SPAN_S: Final = 10.0
MIN_RATE_STEP_S: Final = 0.5


class GatewayHealth(NamedTuple):
    """A gateway as people see it.

    Attributes:
        id: the gateway's.
        state: see `gateway_state`.
        reason: why, in one sentence.
        rate: readings a second lately.
        age_s: seconds since its latest window ended, None when it was never heard.
        counts: what the workers counted.
        status: its last word, None when it never said one.
        received: when that came in, Unix seconds.
        refused: messages refused since the site began, by reason.
    """

    id: str
    state: State
    reason: str
    rate: float
    age_s: float | None
    counts: GatewayCounts
    status: Status | None
    received: float | None
    refused: dict[str, int]


def gateway_state(
    record: GatewayRecord | None, counts: GatewayCounts, now: float
) -> tuple[State, str]:
    """The state and its reason.

    Args:
        record: the last status, if any.
        counts: what the workers counted.
        now: Unix seconds.
    """
    status = None if record is None else record.status
    age = now - counts.t
    window = 0.0 if status is None else status.window
    late_after = max(LATE_AFTER_S, LATE_AFTER_WINDOWS * window)
    said_goodbye = (
        record is not None and record.status.state == "offline" and record.received >= counts.t
    )
    # A retained status comes again when ingest restarts: it is as old as it says, not as new as
    # it came.
    alive = (
        record is not None
        and record.status.state == "online"
        and now - min(record.received, record.status.t) <= STATUS_HOLDS_S
    )
    trouble = f": {status.error}" if status is not None and status.error else ""
    if said_goodbye:
        return "offline", "it signed off, or the broker lost its connection"
    if counts.t > 0.0 and age <= late_after:
        return "online", f"its readings arrive{trouble}"
    if counts.t > 0.0 and age <= OFFLINE_AFTER_S:
        return "late", f"no readings for {age:.0f} s{trouble}"
    if alive:
        since = f"for {age:.0f} s" if counts.t > 0.0 else "so far"
        return "late", f"it says it is online, but there are no readings {since}{trouble}"
    if counts.t > 0.0:
        return "offline", f"no readings for {age:.0f} s"
    if status is not None:
        return "offline", "it has not spoken for long and has never sent readings"
    return "unknown", "it has never been heard"


def gateway_healths(
    places: Iterable[GatewayPlace],
    records: Mapping[str, GatewayRecord],
    counts: Mapping[str, GatewayCounts],
    refusals: Mapping[tuple[str, str], int],
    rates: Rates,
    now: float,
) -> list[GatewayHealth]:
    """The health of all gateways of a site, in its order."""
    refused: dict[str, dict[str, int]] = {}
    for (gateway, reason), times in sorted(refusals.items()):
        refused.setdefault(gateway, {})[reason] = times
    healths = []
    for place in places:
        record = records.get(place.id)
        count = counts.get(place.id, GatewayCounts())
        state, reason = gateway_state(record, count, now)
        healths.append(
            GatewayHealth(
                id=place.id,
                state=state,
                reason=reason,
                rate=rates.rate(place.id),
                age_s=max(0.0, now - count.t) if count.t > 0.0 else None,
                counts=count,
                status=None if record is None else record.status,
                received=None if record is None else record.received,
                refused=refused.get(place.id, {}),
            )
        )
    return healths


class Rates:
    """Readings a second by gateway, from counters looked at now and then."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, dict[str, int]]] = deque()

    def look(self, counts: Mapping[str, GatewayCounts], now: float) -> None:
        """Notes the counters; looks closer together than half a second are skipped."""
        if self._looks and now - self._looks[-1][0] < MIN_RATE_STEP_S:
            if now >= self._looks[-1][0]:
                return
            self._looks.clear()  # the clock was set back
        self._looks.append((now, {gateway: count.readings for gateway, count in counts.items()}))
        while len(self._looks) > 2 and now - self._looks[1][0] >= RATE_SPAN_S:
            self._looks.popleft()

    def rate(self, gateway: str) -> float:
        """Readings a second over the last looks; 0 until there are two."""
        if len(self._looks) < 2:
            return 0.0
        (first, before), (last, after) = self._looks[0], self._looks[-1]
        # Counters that went back were begun anew: that is not a rate.
        return max(0, after.get(gateway, 0) - before.get(gateway, 0)) / (last - first)


def merged(summaries: list[Summary]) -> Summary:
    """What the partitions say, as one.

    Every partition gets every batch with its own part of the readings. So batches are counted
    once (the highest count), readings are added up, and the slowest partition tells the tick.
    """
    heard = [summary for summary in summaries if summary.tick > 0.0]
    out = Summary(
        tick=min((summary.tick for summary in heard), default=0.0),
        front=max((summary.front for summary in heard), default=0.0),
        watermark=min((summary.watermark for summary in heard), default=0.0),
        site_version=max((summary.site_version for summary in summaries), default=0),
        out_of_range=sum(summary.out_of_range for summary in summaries),
        unknown=max((summary.unknown for summary in summaries), default=0),
        fixes=sum(summary.fixes for summary in summaries),
        unassigned_total=sum(summary.unassigned_total for summary in summaries),
    )
    out.gateways = _merged_gateways(summaries)
    out.batches = sum(count.batches for count in out.gateways.values())
    out.readings = sum(count.readings for count in out.gateways.values())
    out.duplicates = sum(count.duplicates for count in out.gateways.values())
    out.late = sum(count.late for count in out.gateways.values())
    out.snapshots = sum(summary.snapshots for summary in summaries)
    out.fits = sum(summary.fits for summary in summaries)
    out.adopted = sum(summary.adopted for summary in summaries)
    out.lost = sum(summary.lost for summary in summaries)
    out.unassigned = sorted(
        (beacon for summary in summaries for beacon in summary.unassigned), key=_loudness
    )
    return out


def _merged_gateways(summaries: list[Summary]) -> dict[str, GatewayCounts]:
    merged: dict[str, GatewayCounts] = {}
    residuals: dict[str, list[float]] = {}
    shares: dict[str, list[float]] = {}
    for summary in summaries:
        for gateway, count in summary.gateways.items():
            if count.residual_db is not None:
                residuals.setdefault(gateway, []).append(count.residual_db)
            if count.hears is not None:
                shares.setdefault(gateway, []).append(count.hears)
            known = merged.get(gateway)
            if known is None:
                merged[gateway] = replace(count)
                continue
            newest = count if count.t > known.t else known
            # One partition suspects for all.
            suspicious = known if known.suspect else count
            merged[gateway] = GatewayCounts(
                t=newest.t,
                standing=newest.standing,
                boot=newest.boot,
                seq=newest.seq,
                missing=max(known.missing, count.missing),
                batches=max(known.batches, count.batches),
                readings=known.readings + count.readings,
                duplicates=max(known.duplicates, count.duplicates),
                late=max(known.late, count.late),
                suspect=suspicious.suspect,
                suspect_text=suspicious.suspect_text,
            )
    # Each partition compares its own tags with the model; together they are the gateway's.
    for gateway, count in merged.items():
        count.residual_db = _mean(residuals.get(gateway))
        count.hears = _mean(shares.get(gateway))
    return merged


def _mean(values: list[float] | None) -> float | None:
    return sum(values) / len(values) if values else None


def _loudness(beacon: Unassigned) -> tuple[float, float, str]:
    return (-beacon.rssi, -beacon.t, beacon.beacon)
