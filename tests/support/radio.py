"""Small sites and quiet parameters for tests of the virtual radio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gateway.radio.air import STEP_S, Heard, VirtualRadio
from gateway.radio.parameters import RadioParameters
from gateway.radio.plan import Plan, Point, read_plan

START = 1_700_000_000.0


def box(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    """A rectangle's ring."""
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def plan(
    gateways: Sequence[Sequence[float]],
    tags: Sequence[Sequence[float]] = (),
    *,
    racks: Sequence[list[list[float]]] = (),
    walls: Sequence[list[list[float]]] = (),
    kind: str = "item",
    outline: list[list[float]] | None = None,
    more: dict[str, Any] | None = None,
) -> Plan:
    """A site of one floor; each tag lies in a slot of its own."""
    obstacles = [("rack", ring) for ring in racks] + [("wall", ring) for ring in walls]
    document: dict[str, Any] = {
        "id": "test",
        "floors": [{"id": "0", "level": 0, "outline": outline or box(-100, -100, 100, 100)}],
        "gateways": [
            {"id": f"g{i}", "floor": "0", "position": list(at)} for i, at in enumerate(gateways)
        ],
        "obstacles": [{"floor": "0", "kind": kind_, "polygon": ring} for kind_, ring in obstacles],
        "slots": [
            {"floor": "0", "position": list(at), "sku": f"sku{i}"} for i, at in enumerate(tags)
        ],
        "trackables": [
            {"id": f"t{i}", "kind": kind, "beacons": [f"b{i}"], "sku": f"sku{i}"}
            for i in range(len(tags))
        ],
    }
    return read_plan(document | (more or {}))


def quiet(**changes: Any) -> RadioParameters:
    """A radio without any randomness in its levels, and strong; `changes` bring some back."""
    settings: dict[str, Any] = {
        "power_1m_dbm": (-40.0, -40.0),
        "path_loss_exponent": (2.0, 2.0),
        "path_loss_exponent_obstructed": (2.0, 2.0),
        "shadowing_sd_db": (0.0, 0.0),
        "rack_loss_db": (5.0, 5.0),
        "wall_loss_db": (5.0, 5.0),
        "body_loss_db": (0.0, 0.0),
        "rice_k_db": (60.0, 60.0),
        "channel_sd_db": 0.0,
        "tag_sd_db": (0.0, 0.0),
        "gateway_sd_db": (0.0, 0.0),
        "scan_duty": 1.0,
        "noise_db": 0.0,
        "corrupt_rate": 0.0,
    }
    return RadioParameters(**(settings | changes))


def listen(radio: VirtualRadio, seconds: float) -> Heard:
    """What is heard in the next seconds, as one."""
    parts = [radio.step() for _ in range(round(seconds / STEP_S))]
    return Heard(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def middle(ring: Sequence[Point]) -> Point:
    """The mean of a ring's corners."""
    return sum(x for x, _ in ring) / len(ring), sum(y for _, y in ring) / len(ring)
