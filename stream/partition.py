"""Which partition a reading belongs to: its trackable's, so that a trackable's beacons meet.

Pure functions; a reading of a beacon that belongs to no trackable goes by the beacon's id.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Mapping
from typing import Any, Final

from gateway.readings import Batch
from stream.site import Site

MAX_PARTITIONS: Final = 1_024
"""More than any cluster of this kind has cores; a bound for a mistyped number."""


def partition_of(name: str, partitions: int) -> int:
    """The partition, from 0, of a trackable's or an unassigned beacon's id."""
    return zlib.crc32(name.encode("utf-8", "surrogatepass")) % partitions


def beacon_partitions(site: Site, partitions: int) -> dict[str, int]:
    """The partition of every beacon that belongs to a trackable or a gateway.

    Gateways' own beacons all go to the first partition, which compares the gateways.
    """
    assigned = dict.fromkeys(site.gateway_beacons(), 0)
    for trackable in site.trackables:
        place = partition_of(trackable.id, partitions)
        assigned.update(dict.fromkeys(trackable.beacons, place))
    return assigned


def split(batch: Batch, assigned: Mapping[str, int], partitions: int) -> list[Batch]:
    """One batch per partition, each with its part of the columns; empty parts included.

    Every part keeps the header, because an empty batch still moves the watermark and still
    takes its number.

    Args:
        batch: what a gateway sent.
        assigned: `beacon_partitions` of the site.
        partitions: how many; with one the batch itself comes back.
    """
    if partitions == 1:
        return [batch]
    rows: list[list[int]] = [[] for _ in range(partitions)]
    for row, beacon in enumerate(batch.beacons):
        place = assigned.get(beacon)
        rows[partition_of(beacon, partitions) if place is None else place].append(row)
    parts = [_part(batch, chosen) for chosen in rows]
    for beacon, values in batch.telemetry.items():
        place = assigned.get(beacon)
        part = parts[partition_of(beacon, partitions) if place is None else place]
        part.telemetry[beacon] = values
    return parts


def join(parts: list[Batch]) -> Batch:
    """The batch that `split` took apart; its beacons are in order of partition."""
    first = parts[0]
    if len(parts) == 1:
        return first
    return Batch(
        gateway=first.gateway,
        boot=first.boot,
        seq=first.seq,
        t=first.t,
        window=first.window,
        beacons=[beacon for part in parts for beacon in part.beacons],
        rssi=_joined("f", [part.rssi for part in parts]),
        n=_joined("H", [part.n for part in parts]),
        max=_joined_or_none([part.max for part in parts]),
        spread=_joined_or_none([part.spread for part in parts]),
        telemetry={key: value for part in parts for key, value in part.telemetry.items()},
    )


def _part(batch: Batch, rows: list[int]) -> Batch:
    return Batch(
        gateway=batch.gateway,
        boot=batch.boot,
        seq=batch.seq,
        t=batch.t,
        window=batch.window,
        beacons=[batch.beacons[row] for row in rows],
        rssi=_chosen(batch.rssi, rows),
        n=_chosen(batch.n, rows),
        max=None if batch.max is None else _chosen(batch.max, rows),
        spread=None if batch.spread is None else _chosen(batch.spread, rows),
        telemetry={},
    )


def _chosen(column: array[Any], rows: list[int]) -> array[Any]:
    return array(column.typecode, [column[row] for row in rows])


def _joined(kind: str, columns: list[array[Any]]) -> array[Any]:
    whole: array[Any] = array(kind)
    for column in columns:
        whole.extend(column)
    return whole


def _joined_or_none(columns: list[array[float] | None]) -> array[float] | None:
    present = [column for column in columns if column is not None]
    return _joined("f", present) if len(present) == len(columns) else None
