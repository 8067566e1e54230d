"""Two calibrations of a site side by side: what differs, and what that does to expected RSSI.

A function of two documents and the site; where they come from is not known here. Numbers are those
in effect: what a document leaves out counts as what it stands for.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.calibration import Calibration
from stream.grid import Grid
from stream.radio_model import Geometry, RadioModel, gateway_columns, obstacle_losses
from stream.site import Site

Floats = npt.NDArray[np.float64]

# No receiver hears a tag below this: what both calibrations expect to be weaker cannot matter.
HEARD_DBM: Final = -95.0
# The document's numbers of the whole site.
NUMBERS: Final = (
    *("offset_dbm", "offset_sd_db", "exponent", "sd_db"),
    *("rack_db", "wall_db", "slab_db"),
)
# Differences that no rounding on the way through a file explains.
LEAST_DB: Final = 0.05
# Obstacles and unknown gateways listed one by one; of more obstacles, those that differ most.
LISTED: Final = 20


class Pair(NamedTuple):
    """One number of both."""

    name: str
    a: float
    b: float

    def differs(self) -> bool:
        """Whether it is worth showing."""
        return abs(self.b - self.a) >= LEAST_DB


class GatewayDifference(NamedTuple):
    """One gateway in both.

    Attributes:
        gateway: its id.
        offset_db, exponent, sd_db: as in the document, in effect.
        change_db: the largest change of expected RSSI (b minus a) at a place inside the floors
            where either expects the tag to be heard, in dB; 0 where neither hears anything.
        floor, x, y: that place, metres.
    """

    gateway: str
    offset_db: Pair
    exponent: Pair
    sd_db: Pair
    change_db: float
    floor: str
    x: float
    y: float


class Comparison(NamedTuple):
    """What differs between two calibrations.

    Attributes:
        site: numbers of the whole site that differ.
        gateways: every gateway of the site, in its order.
        obstacles: obstacles whose loss differs, the largest difference first.
        maps: patches of each radio map.
        strangers: gateways that either names and the site does not have.
    """

    site: list[Pair]
    gateways: list[GatewayDifference]
    obstacles: list[Pair]
    maps: tuple[int, int]
    strangers: list[str]


def compare(site: Site, a: Calibration, b: Calibration) -> Comparison:
    """Compares two calibrations of one site."""
    grid = Grid(site)
    geometry = Geometry(site, grid)
    whole = [Pair(name, getattr(a, name), getattr(b, name)) for name in NUMBERS]
    losses = [
        Pair(part.id, float(was), float(now))
        for part, was, now in zip(
            site.obstacles,
            obstacle_losses(site, geometry, a),
            obstacle_losses(site, geometry, b),
            strict=True,
        )
    ]
    known = {part.id for part in site.gateways}
    return Comparison(
        [pair for pair in whole if abs(pair.b - pair.a) >= LEAST_DB / 10.0],
        _gateways(site, grid, geometry, a, b),
        sorted(
            (pair for pair in losses if pair.differs()), key=lambda p: (-abs(p.b - p.a), p.name)
        ),
        (len(a.radio_map), len(b.radio_map)),
        sorted({name for c in (a, b) for name in _named(c)} - known),
    )


def strangers(site: Site, calibration: Calibration) -> list[str]:
    """Gateways that the calibration names and the site does not have, sorted."""
    return sorted(_named(calibration) - {part.id for part in site.gateways})


def _named(calibration: Calibration) -> set[str]:
    return {*calibration.gateways, *(patch.gateway for patch in calibration.radio_map)}


def _gateways(
    site: Site, grid: Grid, geometry: Geometry, a: Calibration, b: Calibration
) -> list[GatewayDifference]:
    offsets, exponents, sds = zip(gateway_columns(site, a), gateway_columns(site, b), strict=True)
    inside = np.flatnonzero(grid.inside)
    before, after = (
        np.float32(calibration.offset_dbm)
        + RadioModel(site, grid, geometry, calibration).level[:, inside]
        for calibration in (a, b)
    )
    found = []
    for row, part in enumerate(site.gateways):
        change = after[row] - before[row]
        change[np.maximum(before[row], after[row]) < HEARD_DBM] = 0.0
        worst = int(np.abs(change).argmax()) if len(change) else 0
        cell = int(inside[worst]) if len(change) else 0
        found.append(
            GatewayDifference(
                part.id,
                _pair("offset_db", offsets, row),
                _pair("exponent", exponents, row),
                _pair("sd_db", sds, row),
                float(change[worst]) if len(change) else 0.0,
                site.floors[int(grid.floor[cell])].id,
                float(grid.x[cell]),
                float(grid.y[cell]),
            )
        )
    return found


def _pair(name: str, columns: tuple[Floats, Floats], row: int) -> Pair:
    return Pair(name, float(columns[0][row]), float(columns[1][row]))


def table(found: Comparison, a: str, b: str) -> list[str]:
    """The comparison as lines for people; `a` and `b` are what the two are called."""
    lines = [f"from {a} to {b}"]
    lines += [
        f"  {pair.name}: {pair.a:.2f} to {pair.b:.2f} ({pair.b - pair.a:+.2f})"
        for pair in found.site
    ]
    if found.maps != (0, 0):
        lines.append(f"  radio map: {found.maps[0]} patches to {found.maps[1]}")
    wide = max([len("gateway"), *(len(part.gateway) for part in found.gateways)])
    lines.append(
        f"{'gateway':<{wide}}  {'offset dB':>16}  {'exponent':>14}  {'sd dB':>14}  "
        "largest change of expected RSSI"
    )
    for part in found.gateways:
        where = f"{part.change_db:+.1f} dB at {part.floor} ({part.x:.1f}, {part.y:.1f})"
        lines.append(
            f"{part.gateway:<{wide}}  {_between(part.offset_db, '+.1f'):>16}  "
            f"{_between(part.exponent, '.2f'):>14}  {_between(part.sd_db, '.1f'):>14}  "
            + (where if abs(part.change_db) >= LEAST_DB else "none")
        )
    if found.obstacles:
        lines.append("loss of one crossing, dB")
        lines += [
            f"  {pair.name}: {pair.a:.1f} to {pair.b:.1f}" for pair in found.obstacles[:LISTED]
        ]
        if (more := len(found.obstacles) - LISTED) > 0:
            lines.append(f"  and {more} obstacles with smaller differences")
    if found.strangers:
        # A document may name anything; a table is plain lines.
        named = [name if name.isprintable() else ascii(name) for name in found.strangers[:LISTED]]
        rest = ", ..." if len(found.strangers) > LISTED else ""
        lines.append(f"gateways that are not in the site: {', '.join(named)}{rest}")
    return lines


def _between(pair: Pair, form: str) -> str:
    was, now = format(pair.a, form), format(pair.b, form)
    return was if was == now else f"{was} to {now}"
