"""A generated warehouse: a valid site document from a seed and a few sizes.

Front to back: dock doors and staging, a front cross-aisle, blocks of back-to-back racks with
aisles between them, a back cross-aisle. Upper floors have racks over the same plan.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gateway.radio.names import PEOPLE, goods
from gateway.radio.plan import RadioError, generator

Document = dict[str, Any]
Box = tuple[float, float, float, float]

# Building measures in metres; pallets are 0.8 x 1.2 m and lie 1.2 m deep.
_RACK_DEPTH: Final = 1.1
_BACK_GAP: Final = 0.1
_AISLE: Final = 2.9
_PITCH: Final = 2 * _RACK_DEPTH + _BACK_GAP + _AISLE
_CROSS_AISLE: Final = 3.2
_WALL_GAP: Final = 0.3
_BAY: Final = 2.7
# A rack run longer than this gets a cross-aisle in its middle.
_LONG_RUN: Final = 24.0
_LEVELS: Final = 4
_LEVEL_HEIGHT: Final = 1.5
_FIRST_LEVEL: Final = 0.5
# How far behind its face a slot's tag is: on the front of its load.
_BEHIND_FACE: Final = 0.25
_GATEWAY_HEIGHT: Final = 4.0
# Gateways on the perimeter keep this from the wall.
_GATEWAY_MARGIN: Final = 1.0
# A rack under a gateway's cable tray: closer than this the metal would detune it.
_OFF_METAL: Final = 0.3
_MIN_WIDTH: Final = 14.0
_MIN_DEPTH: Final = 18.0
# Gateways of a site; more is a campus and several sites.
_MAX_GATEWAYS: Final = 1_000
_MAX_SIDE: Final = 600.0
_MAX_FLOORS: Final = 20
# What fits into a site document (32 MB).
_MAX_TRACKABLES: Final = 150_000
# A beacon's minor is 16 bits wide.
_MINORS: Final = 50_000
_MAJOR: Final = {"item": 100, "picker": 10, "cart": 20, "visitor": 30}
_GATEWAY_MAJOR: Final = 1


@dataclass(frozen=True, slots=True)
class _Aisle:
    """One aisle: its number, middle, floor, and the sides that have a rack."""

    number: int
    floor: str
    x: float
    sides: tuple[int, ...]


def warehouse(
    seed: int,
    *,
    width_m: float = 60.0,
    depth_m: float = 40.0,
    gateways: int = 24,
    items: int = 300,
    pickers: int = 12,
    carts: int = 0,
    visitors: int = 0,
    floors: int = 1,
    site_id: str = "warehouse",
    gateway_adverts: bool = False,
) -> Document:
    """The site document of a warehouse.

    Args:
        seed: draws names, stock and identities; the building follows from the sizes.
        width_m: along the dock doors, 14 to 600 m.
        depth_m: from the doors to the back wall, 18 to 600 m.
        gateways: over all floors, at least one each.
        items: tagged pallets, cartons and totes, over all floors.
        pickers: people who pick.
        carts: trolleys that move by themselves.
        visitors: people who walk around.
        floors: storeys.
        site_id: the site's id.
        gateway_adverts: whether gateways advertise: each gets a beacon's identity.

    Raises:
        RadioError: when nothing sensible can be built from the sizes.
    """
    _check(width_m, depth_m, gateways, floors, seed)
    if min(items, pickers, carts, visitors) < 0:
        raise RadioError("a warehouse cannot have fewer than 0 items, pickers, carts or visitors")
    if items + pickers + carts + visitors > _MAX_TRACKABLES:
        raise RadioError(f"a warehouse has at most {_MAX_TRACKABLES:,} items, people and carts")
    rng = generator(seed, "warehouse")
    document: Document = {
        "id": site_id,
        "name": f"Warehouse {seed}, {width_m:g} x {depth_m:g} m",
        "timezone": "Europe/Paris",
        "floors": [],
        "gateways": [],
        "obstacles": [],
        "zones": [],
        "slots": [],
        "trackables": [],
    }
    number = 1
    for level in range(floors):
        floor = str(level)
        document["floors"].append(
            {
                "id": floor,
                "name": "Ground floor" if level == 0 else f"Floor {level}",
                "level": level,
                "outline": _ring((0.0, 0.0, width_m, depth_m)),
            }
        )
        front = _front(depth_m)
        aisles = _aisles(width_m, number, floor)
        number += len(aisles)
        _build_racks(document, aisles, front + _CROSS_AISLE, depth_m - _CROSS_AISLE)
        _build_zones(document, aisles, floor, width_m, depth_m, front)
        share = gateways // floors + (level < gateways % floors)
        _hang_gateways(document, aisles, floor, (width_m, depth_m, front), share)
    _stock(document, items, rng)
    _staff(document, pickers, carts, visitors, rng)
    site = _identify(document, rng)
    if gateway_adverts:
        for number, gateway in enumerate(document["gateways"], start=1):
            gateway["beacon"] = f"ibeacon:{site}:{_GATEWAY_MAJOR}:{number}"
    return document


def _check(width: float, depth: float, gateways: int, floors: int, seed: int) -> None:
    if not (_MIN_WIDTH <= width <= _MAX_SIDE and _MIN_DEPTH <= depth <= _MAX_SIDE):
        raise RadioError(
            f"a warehouse of {width:g} x {depth:g} m cannot be built; give a width from "
            f"{_MIN_WIDTH:g} and a depth from {_MIN_DEPTH:g} to {_MAX_SIDE:g} m"
        )
    if not 1 <= floors <= _MAX_FLOORS:
        raise RadioError(f"{floors} floors cannot be built; give 1 to {_MAX_FLOORS}")
    if not floors <= gateways <= _MAX_GATEWAYS:
        raise RadioError(
            f"{gateways} gateways on {floors} floors: give one per floor to {_MAX_GATEWAYS}"
        )
    if seed < 0:
        raise RadioError(f"the seed {seed} is negative; give 0 or more")


def _front(depth: float) -> float:
    """Depth of the dock and staging area."""
    return min(16.0, max(6.0, round(0.2 * depth, 1)))


def _aisles(width: float, first: int, floor: str) -> list[_Aisle]:
    """Aisles from left to right, a rack on both sides; the width left over goes to the ends."""
    count = max(1, int((width - 2 * _WALL_GAP) // _PITCH))
    left = (width - count * _PITCH) / 2.0
    return [
        _Aisle(first + i, floor, round(left + (i + 0.5) * _PITCH, 3), (-1, 1)) for i in range(count)
    ]


def _runs(low: float, high: float) -> list[tuple[float, float]]:
    """Rack runs between the front and the back cross-aisle, whole bays long."""
    length = high - low
    parts = 1 if length <= _LONG_RUN else 1 + math.ceil((length - _LONG_RUN) / (_LONG_RUN + 4.0))
    each = (length - (parts - 1) * _CROSS_AISLE) / parts
    bays = max(1, int(each // _BAY))
    used = min(each, bays * _BAY)
    return [
        (
            round(low + i * (each + _CROSS_AISLE), 3),
            round(low + i * (each + _CROSS_AISLE) + used, 3),
        )
        for i in range(parts)
    ]


def _build_racks(document: Document, aisles: list[_Aisle], low: float, high: float) -> None:
    for aisle in aisles:
        for side in aisle.sides:
            face = aisle.x + side * _AISLE / 2.0
            back = face + side * _RACK_DEPTH
            bay = 0
            for run, (y0, y1) in enumerate(_runs(low, high), start=1):
                letter = "L" if side < 0 else "R"
                document["obstacles"].append(
                    {
                        "id": f"rack-{aisle.number:02d}{letter}{run}",
                        "floor": aisle.floor,
                        "kind": "rack",
                        "polygon": _ring((min(face, back), y0, max(face, back), y1)),
                    }
                )
                bays = max(1, round((y1 - y0) / _BAY))
                for i in range(bays):
                    bay += 1
                    # Odd bays on the left, even on the right, as house numbers.
                    place = 2 * bay - (side < 0)
                    y = y0 + (i + 0.5) * (y1 - y0) / bays
                    _build_slots(document, aisle, place, face + side * _BEHIND_FACE, y)


def _build_slots(document: Document, aisle: _Aisle, bay: int, x: float, y: float) -> None:
    for level in range(1, _LEVELS + 1):
        height = _FIRST_LEVEL + (level - 1) * _LEVEL_HEIGHT
        document["slots"].append(
            {
                "id": f"A{aisle.number:02d}-{bay:02d}-{level}",
                "floor": aisle.floor,
                "position": [round(x, 2), round(y, 2), height],
            }
        )


def _build_zones(
    document: Document, aisles: list[_Aisle], floor: str, width: float, depth: float, front: float
) -> None:
    prefix = "" if floor == "0" else f"f{floor}-"
    low, high = front + _CROSS_AISLE, depth - _CROSS_AISLE
    zones: list[tuple[str, str, str, Box]] = []
    if floor == "0":
        third = width / 3.0
        zones += [
            ("receiving", "Receiving", "receiving", (0.0, 0.0, third, front)),
            ("packing", "Packing", "packing", (third, 0.0, 2 * third, front)),
            ("shipping", "Shipping", "shipping", (2 * third, 0.0, width, front)),
        ]
    else:
        zones.append(
            (
                f"{prefix}packing",
                f"Lift and packing, floor {floor}",
                "packing",
                (0, 0, width, front),
            )
        )
    zones += [
        (
            f"{prefix}front",
            "Front cross-aisle" if not prefix else f"Front cross-aisle, floor {floor}",
            "cross_aisle",
            (0.0, front, width, low),
        ),
        (
            f"{prefix}back",
            "Back cross-aisle" if not prefix else f"Back cross-aisle, floor {floor}",
            "cross_aisle",
            (0.0, high, width, depth),
        ),
    ]
    # Where a middle cross-aisle crosses an aisle, one is in the aisle: of zones that overlap the
    # smaller would win everywhere and the other always be empty.
    zones += [
        (
            f"aisle-{aisle.number:02d}",
            f"Aisle {aisle.number:02d}",
            "aisle",
            (aisle.x - _PITCH / 2.0, low, aisle.x + _PITCH / 2.0, high),
        )
        for aisle in aisles
    ]
    document["zones"] += [
        {"id": id_, "floor": floor, "name": name, "kind": kind, "polygon": _ring(box)}
        for id_, name, kind, box in zones
    ]


def _hang_gateways(
    document: Document,
    aisles: list[_Aisle],
    floor: str,
    measures: tuple[float, float, float],
    count: int,
) -> None:
    """Rows of gateways from the doors to the back wall, over aisles where there are racks."""
    width, depth, front = measures
    rows = max(1, min(count, round(math.sqrt(count * depth / width))))
    for row in range(rows):
        columns = count // rows + (row < count % rows)
        y = _spread(row, rows, depth)
        for column in range(columns):
            x = _spread(column, columns, width)
            if y > front and len(aisles) >= 2 * columns:
                x = _nearest([aisle.x for aisle in aisles], x)
            document["gateways"].append(
                {
                    "id": f"gw-{len(document['gateways']) + 1:02d}",
                    "floor": floor,
                    "position": [round(x, 2), round(y, 2), _GATEWAY_HEIGHT],
                }
            )


def _nearest(values: list[float], x: float) -> float:
    return min(values, key=lambda value: abs(value - x))


def _spread(place: int, places: int, length: float) -> float:
    if places == 1:
        return length / 2.0
    return _GATEWAY_MARGIN + place * (length - 2 * _GATEWAY_MARGIN) / (places - 1)


def _stock(document: Document, items: int, rng: np.random.Generator) -> None:
    """Puts items into slots, one each while there are slots, and names both by what they hold."""
    slots = document["slots"]
    order = rng.permutation(len(slots))
    assortment = goods(max(1, min(len(slots), math.ceil(items * 0.7))), rng)
    held: dict[int, int] = {}
    for i in range(items):
        at = int(order[i % len(order)])
        article = held.setdefault(
            at, i if i < len(assortment) else int(rng.integers(len(assortment)))
        )
        sku, name = assortment[article]
        slots[at]["sku"] = sku
        document["trackables"].append(
            {
                "id": f"item-{i + 1:05d}",
                "name": name,
                "kind": "item",
                "beacons": [],
                "sku": sku,
                "quantity": int(rng.choice([6, 12, 24, 36, 48, 60, 96, 120, 144, 240])),
            }
        )


def _staff(
    document: Document, pickers: int, carts: int, visitors: int, rng: np.random.Generator
) -> None:
    people = [PEOPLE[int(i)] for i in rng.permutation(len(PEOPLE))]
    for i in range(pickers):
        again = i // len(people)
        name = people[i % len(people)] + (f" {again + 1}" if again else "")
        _enlist(document, f"picker-{i + 1:02d}", name, "picker")
    for i in range(carts):
        _enlist(document, f"cart-{i + 1:02d}", f"Trolley {i + 1:02d}", "cart")
    for i in range(visitors):
        _enlist(document, f"visitor-{i + 1:02d}", f"Visitor {i + 1:02d}", "visitor")


def _enlist(document: Document, id_: str, name: str, kind: str) -> None:
    document["trackables"].append({"id": id_, "name": name, "kind": kind, "beacons": []})


def _identify(document: Document, rng: np.random.Generator) -> uuid.UUID:
    """Gives each trackable an iBeacon identity: one UUID a site, returned, and majors by kind."""
    # A random (version 4) UUID, drawn from the seed.
    site = uuid.UUID(bytes=rng.bytes(16), version=4)
    count: dict[str, int] = {}
    for part in document["trackables"]:
        kind = part["kind"]
        number = count[kind] = count.get(kind, 0) + 1
        major = _MAJOR[kind] + (number - 1) // _MINORS
        part["beacons"] = [f"ibeacon:{site}:{major}:{(number - 1) % _MINORS + 1}"]
    return site


def _ring(box: Box) -> list[list[float]]:
    x0, y0, x1, y1 = (round(float(v), 3) for v in box)
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
