"""What a worker tells people and metrics after a step: counts, gateways, unassigned beacons."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Standing = Literal["current", "quiet", "gone"]


class GatewayCounts(msgspec.Struct):
    """One gateway as the worker sees it, by event time.

    Attributes:
        t: its latest `t`, 0 when never heard.
        standing: whether the watermark waits for it (docs/architecture.md).
        boot: its latest boot.
        seq: the highest number within that boot.
        missing: numbers below `seq` that have not come (lost, or still on their way).
        batches: batches taken, each once.
        readings: readings in them.
        duplicates: batches that came again and were dropped.
        late: batches that came after their tick had closed.
        suspect: what it is suspected of (docs/operate.md), empty when nothing.
        suspect_text: the same as a sentence for people.
        residual_db: how much louder than the radio model says it hears tags, mean of minutes;
            None where too little was heard.
        hears: the share that it heard of the adverts that it surely should have; likewise.
    """

    t: float = 0.0
    standing: Standing = "gone"
    boot: str = ""
    seq: int = 0
    missing: int = 0
    batches: int = 0
    readings: int = 0
    duplicates: int = 0
    late: int = 0
    suspect: str = ""
    suspect_text: str = ""
    residual_db: float | None = None
    hears: float | None = None


class Unassigned(msgspec.Struct):
    """A beacon that belongs to no trackable: how loud, where loudest, when last, adverts in all."""

    beacon: str
    gateway: str
    rssi: float
    t: float
    n: int


class Summary(msgspec.Struct):
    """A partition after its last commit.

    Attributes:
        tick: end of the last closed tick, Unix seconds, 0 before the first.
        front: highest `t` heard.
        watermark: the time up to which everything is taken as heard.
        site_version: of the site in use.
        batches, readings, duplicates, late: as in GatewayCounts, over all gateways.
        out_of_range: readings dropped for an impossible RSSI.
        unknown: batches of gateways that are not in the site.
        fixes: fixes made.
        gateways: by id; every gateway of the site.
        unassigned: strongest and latest first, bounded.
        unassigned_total: how many are known of.
        calibration: the site's calibration that was taken last, 0 for none.
        calibration_origin: what the radio model in use was made from.
        snapshots: readings of one beacon and moment that self-calibration holds.
        fits: calibrations that were put on trial.
        adopted: ... and taken into use.
        lost: trackables that are lost now.
    """

    tick: float = 0.0
    front: float = 0.0
    watermark: float = 0.0
    site_version: int = 0
    batches: int = 0
    readings: int = 0
    duplicates: int = 0
    late: int = 0
    out_of_range: int = 0
    unknown: int = 0
    fixes: int = 0
    gateways: dict[str, GatewayCounts] = {}
    unassigned: list[Unassigned] = []
    unassigned_total: int = 0
    calibration: int = 0
    calibration_origin: str = "prior"
    snapshots: int = 0
    fits: int = 0
    adopted: int = 0
    lost: int = 0


encode_summary: Final = msgspec.json.Encoder().encode
decode_summary: Final = msgspec.json.Decoder(Summary).decode
