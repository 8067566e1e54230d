"""The virtual radio's reading of a site document: small value objects, rows instead of ids.

The document is trusted to be valid (whoever loads it has checked it); this module only picks
what radio and walkers need.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.errors import UserError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Point = tuple[float, float]


class RadioError(UserError, ValueError):
    """A simulation that cannot be made as asked."""


@dataclass(frozen=True, slots=True)
class Floor:
    """A storey; `level` counts storeys, outline in metres."""

    id: str
    level: int
    outline: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Gateway:
    """A receiver; `floor` is the floor's row, z in metres above it or None.

    `beacon` is the id that it advertises itself, or None.
    """

    id: str
    floor: int
    x: float
    y: float
    z: float | None
    beacon: str | None = None


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A rack or wall; `loss_db` for one full crossing where it is known."""

    floor: int
    kind: str
    polygon: tuple[Point, ...]
    loss_db: float | None


@dataclass(frozen=True, slots=True)
class Zone:
    """An area with a kind."""

    floor: int
    kind: str
    polygon: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """A storage place; z in metres above its floor or None."""

    floor: int
    x: float
    y: float
    z: float | None
    sku: str | None


@dataclass(frozen=True, slots=True)
class Trackable:
    """What wears beacons."""

    id: str
    kind: str
    beacons: tuple[str, ...]
    sku: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A site as the virtual radio sees it."""

    id: str
    floors: tuple[Floor, ...]
    gateways: tuple[Gateway, ...]
    obstacles: tuple[Obstacle, ...]
    zones: tuple[Zone, ...]
    slots: tuple[Slot, ...]
    trackables: tuple[Trackable, ...]


def read_plan(document: Mapping[str, Any]) -> Plan:
    """Reads a valid site document (the contract's JSON as dicts and lists)."""
    rows = {floor["id"]: row for row, floor in enumerate(document["floors"])}

    def parts(name: str) -> Sequence[Mapping[str, Any]]:
        return document.get(name) or ()

    return Plan(
        id=document["id"],
        floors=tuple(
            Floor(part["id"], part["level"], _ring(part["outline"])) for part in document["floors"]
        ),
        gateways=tuple(
            Gateway(
                part["id"],
                rows[part["floor"]],
                *_position(part["position"]),
                part.get("beacon"),
            )
            for part in parts("gateways")
        ),
        obstacles=tuple(
            Obstacle(rows[part["floor"]], part["kind"], _ring(part["polygon"]), part.get("loss_db"))
            for part in parts("obstacles")
        ),
        zones=tuple(
            Zone(rows[part["floor"]], part["kind"], _ring(part["polygon"]))
            for part in parts("zones")
        ),
        slots=tuple(
            Slot(rows[part["floor"]], *_position(part["position"]), part.get("sku"))
            for part in parts("slots")
        ),
        trackables=tuple(
            Trackable(part["id"], part["kind"], tuple(part["beacons"]), part.get("sku"))
            for part in parts("trackables")
        ),
    )


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A generator of its own for each purpose: one draw more here changes nothing there."""
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in purpose]
    return np.random.default_rng([seed, *words])


def _ring(ring: Sequence[Sequence[float]]) -> tuple[Point, ...]:
    return tuple((float(x), float(y)) for x, y in ring)


def _position(position: Sequence[float]) -> tuple[float, float, float | None]:
    z = float(position[2]) if len(position) == 3 else None
    return float(position[0]), float(position[1]), z
