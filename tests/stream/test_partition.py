"""Splitting a batch over partitions loses nothing, and a trackable's beacons stay together."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.readings import Batch, decode, encode
from stream.partition import beacon_partitions, join, partition_of, split
from stream.site import Floor, Site, Trackable

SITE = Site(
    "depot",
    "Depot",
    "UTC",
    [Floor("g", "Ground", 0, [(0.0, 0.0), (9.0, 0.0), (9.0, 9.0)])],
    trackables=[Trackable(f"t{i}", f"T{i}", "item", [f"b{i}", f"c{i}"]) for i in range(50)],
)


@pytest.mark.parametrize(
    ("name", "partitions", "expected"),
    [("t1", 1, 0), ("t1", 4, 3), ("t2", 4, 1), ("ibeacon:x:1:2", 7, 0), ("é", 1024, 318)],
)
def test_partitions_never_change(name: str, partitions: int, expected: int) -> None:
    """These numbers are in stores out there: a change of the rule would move every trackable."""
    assert partition_of(name, partitions) == expected


def test_a_trackables_beacons_meet() -> None:
    """All its beacons go by the trackable's id."""
    assigned = beacon_partitions(SITE, 5)
    for trackable in SITE.trackables:
        assert {assigned[b] for b in trackable.beacons} == {partition_of(trackable.id, 5)}
    assert set(assigned.values()) == set(range(5))


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Batches with beacons of trackables and of nobody, with and without optional columns."""
    ids = st.one_of(
        st.integers(0, 60).map(lambda i: f"b{i}"),
        st.integers(0, 60).map(lambda i: f"c{i}"),
        st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=9),
    )
    beacons = draw(st.lists(ids, unique=True, max_size=40))
    size = len(beacons)

    def column(
        kind: str, values: st.SearchStrategy[float] | st.SearchStrategy[int]
    ) -> array[float]:
        return array(kind, draw(st.lists(values, min_size=size, max_size=size)))

    levels = st.floats(-128, 20, width=32)
    told = draw(st.lists(st.sampled_from([*beacons, "nobody"]), unique=True))
    return Batch(
        gateway="gw",
        boot="x",
        seq=draw(st.integers(0, 2**53 - 1)),
        t=1.7e9,
        window=1.0,
        beacons=beacons,
        rssi=column("f", levels),
        n=array("H", draw(st.lists(st.integers(1, 65_535), min_size=size, max_size=size))),
        max=column("f", levels) if draw(st.booleans()) else None,
        spread=column("f", levels) if draw(st.booleans()) else None,
        telemetry={beacon: {"battery_v": 3.0} for beacon in told},
    )


def rows(batch: Batch) -> dict[str, tuple[float | None, ...]]:
    """Each beacon's values."""
    return {
        beacon: (
            batch.rssi[i],
            batch.n[i],
            None if batch.max is None else batch.max[i],
            None if batch.spread is None else batch.spread[i],
        )
        for i, beacon in enumerate(batch.beacons)
    }


@given(batches(), st.integers(1, 6))
def test_split_and_join(batch: Batch, partitions: int) -> None:
    """Every reading goes to exactly its partition, every part has the header, all can be sent."""
    assigned = beacon_partitions(SITE, partitions)
    parts = split(batch, assigned, partitions)
    assert len(parts) == partitions
    for p, part in enumerate(parts):
        assert (part.gateway, part.boot, part.seq) == (batch.gateway, batch.boot, batch.seq)
        assert (part.t, part.window) == (batch.t, batch.window)
        assert decode(encode(part)) == part
        for beacon in [*part.beacons, *part.telemetry]:
            owner = f"t{beacon[1:]}" if beacon in assigned else beacon
            assert partition_of(owner, partitions) == p
    whole = join(parts)
    assert len(whole) == len(batch)
    assert rows(whole) == rows(batch)
    assert whole.telemetry == batch.telemetry


def test_one_partition_costs_nothing() -> None:
    """The batch itself comes back."""
    batch = Batch("gw", "x", 1, 1.7e9, 1.0, ["b1"], array("f", [-60.0]), array("H", [1]))
    assert split(batch, {}, 1)[0] is batch
