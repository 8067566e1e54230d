"""The generated warehouse: a valid, plausible site for every seed and size."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.radio.plan import RadioError
from gateway.radio.warehouse import warehouse
from stream.geometry import Areas
from stream.site import Site, parse_site


def built(seed: int, **sizes: Any) -> Site:
    """A warehouse through the contract's own check."""
    return parse_site(json.dumps(warehouse(seed, **sizes)).encode(), "generated")


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    width=st.floats(14.0, 130.0),
    depth=st.floats(18.0, 130.0),
    gateways=st.integers(3, 80),
    items=st.integers(0, 500),
    pickers=st.integers(0, 90),
    floors=st.integers(1, 3),
)
def test_every_size_gives_a_valid_site(
    seed: int, width: float, depth: float, gateways: int, items: int, pickers: int, floors: int
) -> None:
    """It passes the contract's check, and has what was asked for, inside its walls."""
    site = built(
        seed,
        width_m=width,
        depth_m=depth,
        gateways=gateways,
        items=items,
        pickers=pickers,
        floors=floors,
    )
    kinds = [part.kind for part in site.trackables]
    assert (len(site.gateways), len(site.floors)) == (gateways, floors)
    assert (kinds.count("item"), kinds.count("picker")) == (items, pickers)
    hall = shapely.box(-1e-3, -1e-3, width + 1e-3, depth + 1e-3)
    rings = [rack.polygon for rack in site.obstacles] + [zone.polygon for zone in site.zones]
    assert all(hall.contains(shapely.Polygon(ring)) for ring in rings)
    places = [gateway.position for gateway in site.gateways] + [s.position for s in site.slots]
    assert all(hall.contains(shapely.Point(place[:2])) for place in places)
    assert len(site.obstacles) >= 2 * floors


def test_the_demo_size_is_as_it_should_be() -> None:
    """60 x 40 m: 11 aisles, a rack on both sides of each, a cross-aisle front, middle and back."""
    site = built(1)
    assert sum(zone.kind == "aisle" for zone in site.zones) == 11
    assert sum(zone.kind == "cross_aisle" for zone in site.zones) == 2
    assert {"receiving", "packing", "shipping"} <= {zone.kind for zone in site.zones}
    # Two runs of racks on either side of each aisle leave the middle cross-aisle between them.
    assert len(site.obstacles) == 44
    assert [zone.name for zone in site.zones if zone.id == "aisle-07"] == ["Aisle 07"]
    assert "A07-03-2" in {slot.id for slot in site.slots}


def test_no_zone_hides_another() -> None:
    """Zones do not overlap, so none is empty for ever because smaller ones are in its place."""
    zones = [shapely.Polygon(zone.polygon) for zone in built(1).zones]
    for i, zone in enumerate(zones):
        assert all(zone.intersection(other).area < 1e-6 for other in zones[:i])


def test_racks_stand_apart_and_aisles_are_free() -> None:
    """No two racks overlap, and 2.8 m of every aisle are clear."""
    site = built(1)
    racks = [shapely.Polygon(rack.polygon) for rack in site.obstacles]
    tree = shapely.STRtree(racks)
    left, right = tree.query(racks, predicate="overlaps")
    assert len(left) == len(right) == 0
    for zone in site.zones:
        x0, y0, x1, y1 = shapely.Polygon(zone.polygon).bounds
        if zone.kind == "aisle":
            lane = shapely.box((x0 + x1) / 2 - 1.4, y0, (x0 + x1) / 2 + 1.4, y1)
            assert not any(rack.intersects(lane) for rack in racks)
        else:
            free = shapely.box(x0, y0 + 0.01, x1, y1 - 0.01)
            assert not any(rack.intersects(free) for rack in racks), zone.id


def test_every_slot_is_in_a_rack_and_in_its_aisles_zone() -> None:
    """Slot A07-.. is in zone aisle-07, a little behind its rack's face."""
    site = built(1)
    areas = Areas([zone.polygon for zone in site.zones], [0] * len(site.zones))
    xy = np.array([slot.position[:2] for slot in site.slots])
    rows = areas.locate(xy[:, 0], xy[:, 1], np.zeros(len(xy), np.int64))
    for slot, row in zip(site.slots, rows.tolist(), strict=True):
        assert site.zones[row].id == f"aisle-{slot.id[1:3]}"
    racks = shapely.union_all([shapely.Polygon(rack.polygon) for rack in site.obstacles])
    assert shapely.contains_xy(racks, xy[:, 0], xy[:, 1]).all()


@pytest.mark.parametrize(("gateways", "width", "depth"), [(24, 60.0, 40.0), (40, 80.0, 60.0)])
def test_gateways_are_8_to_15_m_apart_off_metal_and_on_the_perimeter(
    gateways: int, width: float, depth: float
) -> None:
    """Each has its nearest neighbour at that distance; none hangs over a rack's edge."""
    site = built(1, gateways=gateways, width_m=width, depth_m=depth)
    at = np.array([gateway.position for gateway in site.gateways])
    assert set(at[:, 2]) == {4.0}
    for row, place in enumerate(at):
        others = np.delete(at, row, axis=0)
        assert 8.0 <= np.hypot(*(others - place)[:, :2].T).min() <= 15.0
    for edge in (at[:, 0], width - at[:, 0], at[:, 1], depth - at[:, 1]):
        assert edge.min() <= 3.0


def test_identities_are_unique_iBeacons_of_one_uuid() -> None:  # noqa: N802  # the name's own spelling
    """With 16-bit majors and minors, also for more items than a minor can count."""
    site = built(1, items=60_000, pickers=3, visitors=2, carts=2)
    beacons = [beacon for part in site.trackables for beacon in part.beacons]
    assert len(set(beacons)) == len(beacons) == 60_007
    parts = [beacon.split(":") for beacon in beacons]
    assert len({uuid for _, uuid, _, _ in parts}) == 1
    assert {scheme for scheme, *_ in parts} == {"ibeacon"}
    assert all(0 < int(major) < 65_536 and 0 < int(minor) < 65_536 for *_, major, minor in parts)


def test_stock_is_told_by_slot_and_item_alike() -> None:
    """Every item's SKU is that of a slot, and equal SKUs have equal names."""
    site = built(9, items=600)
    skus = {slot.sku for slot in site.slots if slot.sku}
    names: dict[str, str] = {}
    for part in site.trackables:
        if part.kind == "item":
            assert part.sku in skus
            assert part.quantity is not None
            assert part.quantity > 0
            assert names.setdefault(part.sku or "", part.name) == part.name


def test_floors_are_numbered_through() -> None:
    """Aisles of an upper floor have numbers of their own; the site lists no losses."""
    site = built(1, floors=2, width_m=30.0, depth_m=30.0)
    aisles = [zone.id for zone in site.zones if zone.kind == "aisle"]
    assert len(set(aisles)) == len(aisles)
    assert {zone.floor for zone in site.zones} == {"0", "1"}
    assert {rack.loss_db for rack in site.obstacles} == {None}


def test_a_seed_makes_a_warehouse() -> None:
    """Equal seeds give equal documents; other seeds the same building with other goods."""
    assert warehouse(4) == warehouse(4)
    one, other = warehouse(4), warehouse(5)
    assert one["obstacles"] == other["obstacles"]
    assert one["trackables"] != other["trackables"]


@pytest.mark.parametrize(
    ("sizes", "word"),
    [
        ({"width_m": 5.0}, "width"),
        ({"depth_m": 5_000.0}, "depth"),
        ({"width_m": math.nan}, "width"),
        ({"gateways": 0}, "gateways"),
        ({"floors": 0}, "floors"),
        ({"items": -1}, "fewer than 0"),
        ({"items": 10**9}, "at most 150,000"),
    ],
)
def test_what_cannot_be_built_is_refused(sizes: dict[str, Any], word: str) -> None:
    """In one sentence."""
    with pytest.raises(RadioError, match=word):
        warehouse(1, **sizes)


def test_a_negative_seed_is_refused() -> None:
    """Generators take none."""
    with pytest.raises(RadioError, match="seed"):
        warehouse(-1)
