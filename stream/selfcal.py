"""Self-calibration: the radio model from the work itself, without truth.

From snapshots of what beacons' gateways heard (places unknown), expectation maximisation (Dempster,
Laird and Rubin, JRSS B 39, 1977) in turns: where may each snapshot have been made, under the
present model, as chances over cells; then the path-loss exponent, the loss of racks and walls, and
the gateways' offsets that explain the levels best, each cell counting by its chance. Pure functions
over values; `stream.calibrator` decides when to fit, and whether a fit is better.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from stream.calibration import (
    EXPONENT,
    OFFSET_DBM,
    OFFSET_SD_DB,
    RACK_DB,
    WALL_DB,
    Calibration,
    GatewayFit,
)
from stream.evidence import EMPTY, SLOTS
from stream.layout import Layout
from stream.likelihood import FADING_SD_DB, STUDENT_NU, Heard, over_cells, terms
from stream.sensing import Sensing

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SNAPSHOT: Final = np.dtype(
    [
        ("t", "<f8"),  # tick end
        ("beacon", "<u4"),  # row
        ("gateway", "<i2", (SLOTS,)),  # rows, EMPTY where none
        ("rssi", "<f4", (SLOTS,)),
        ("n", "<f4", (SLOTS,)),
        ("walks", "?"),  # one who walks, hence not in a rack
    ]
)
# Cells with less of a snapshot's chance are left out of the fit: they cost time and say nothing.
LEAST_CHANCE: Final = 0.01
# How far from their priors the fitted numbers are found at other sites (docs/calibration.md).
EXPONENT_SD: Final = 0.5
LOSS_SD_DB: Final = 2.0
GATEWAY_SD_DB: Final = 2.5
# No building is so open, or so full, that numbers lie beyond these.
EXPONENT_RANGE: Final = (1.4, 4.5)
LOSS_RANGE_DB: Final = (0.0, 15.0)
# Levels of snapshots close in time and place are shadowed alike; each counts as this part of one.
WORTH: Final = 0.1


class Levels(NamedTuple):
    """What a fit looks at: per gateway and cell, racks and walls crossed; (gateways, cells)."""

    racks: npt.NDArray[np.float32]
    walls: npt.NDArray[np.float32]
    known: npt.NDArray[np.float32]


def levels(layout: Layout) -> Levels:
    """Sums of full crossings by kind, and the losses in dB that the site itself states."""
    geometry = layout.geometry
    shape = geometry.decades.shape
    crossings = geometry.crossings
    at = crossings.gateway.astype(np.int64) * shape[1] + crossings.cell
    wall = geometry.walls[crossings.obstacle]
    own = geometry.own_db[crossings.obstacle]
    free = np.isnan(own)

    def total(weight: Floats) -> npt.NDArray[np.float32]:
        return np.bincount(at, weight, shape[0] * shape[1]).astype(np.float32).reshape(shape)

    share = crossings.share.astype(np.float64)
    return Levels(
        total(np.where(free & ~wall, share, 0.0)),
        total(np.where(free & wall, share, 0.0)),
        total(np.where(free, 0.0, share * np.where(free, 0.0, own))),
    )


class Believed(NamedTuple):
    """Where snapshots may have been made.

    Attributes:
        cells: (snapshots, cells around).
        chance: of each, adding up to 1.
        offset: the beacon's own RSSI at 1 m at each, dBm.
        evidence: log of how likely each snapshot is under the model, wherever it was made.
    """

    cells: Ints
    chance: Floats
    offset: Floats
    evidence: Floats


def believe(
    layout: Layout, sensing: Sensing, snapshots: npt.NDArray[np.void], hears: float
) -> Believed:
    """The expectation step: chances over the cells around each snapshot's loudest gateway."""
    gateway = snapshots["gateway"].astype(np.int64)
    rssi, n = snapshots["rssi"].astype(np.float64), snapshots["n"].astype(np.float64)
    loudest = np.where(gateway != EMPTY, rssi, -np.inf).argmax(axis=1)
    each = np.arange(len(snapshots))
    cells = layout.nearby[gateway[each, loudest]]
    part = terms(Heard(gateway, rssi, n, np.ones(len(snapshots))), sensing, 1.0, hears)
    scored = over_cells(part, sensing, cells)
    score = scored.score.astype(np.float64)
    # Nobody walks inside a rack.
    score = np.where(snapshots["walks"][:, None] & ~layout.grid.free[cells], -np.inf, score)
    most = score.max(axis=1, keepdims=True)
    most = np.where(np.isfinite(most), most, 0.0)
    chance = np.exp(score - most)
    total = np.maximum(chance.sum(axis=1, keepdims=True), 1e-300)
    # The likelihood leaves out what is the same at all cells; two models differ in it.
    there = gateway != EMPTY
    lasting = sensing.sd[np.where(there, gateway, 0)].astype(np.float64) ** 2
    width = lasting + FADING_SD_DB**2 / np.maximum(n, 1e-3)
    constant = -0.5 * np.where(there, np.log(width), 0.0).sum(axis=1)
    constant -= np.log(sensing.model.calibration.offset_sd_db)
    evidence = most[:, 0] + np.log(total[:, 0] / cells.shape[1]) + constant
    return Believed(cells, chance / total, scored.offset.astype(np.float64), evidence)


def refit(
    layout: Layout,
    table: Levels,
    sensing: Sensing,
    snapshots: npt.NDArray[np.void],
    believed: Believed,
) -> Calibration:
    """The maximisation step: the calibration that explains the levels best.

    A least-squares fit of what differs between the gateways of one snapshot, so that the beacon's
    own offset drops out; Student-t weights; ridge towards the priors. Readings are only there
    when they were loud enough: what that adds to a level of expectation mu near the limit L,
    sd mills((mu - L) / sd), is taken off first (Heckman, Econometrica 47, 1979).
    """
    base = sensing.model.calibration
    count = len(layout.gateway_row)
    s, c = np.nonzero(believed.chance > LEAST_CHANCE)
    chance = believed.chance[s, c]
    cell = believed.cells[s, c]
    gateway = snapshots["gateway"][s].astype(np.int64)
    there = gateway != EMPTY
    at = np.where(there, gateway, 0)
    n = np.maximum(snapshots["n"][s].astype(np.float64), 1e-3)
    rssi = snapshots["rssi"][s].astype(np.float64)
    expected = (
        sensing.level.reshape(count, -1)[at, cell[:, None]].astype(np.float64)
        + believed.offset[s, c][:, None]
    )
    variance = sensing.sd[at].astype(np.float64) ** 2 + FADING_SD_DB**2 / n
    sd = np.sqrt(variance)
    residual = np.where(there, rssi - expected, 0.0)
    lifted = sd * _mills((expected - sensing.limit_dbm) / sd)
    weight = np.where(there, (STUDENT_NU + 1.0) / (STUDENT_NU + residual**2 / variance), 0.0)
    weight *= (WORTH * chance)[:, None] / variance

    decades = layout.geometry.decades[at, cell[:, None]].astype(np.float64)
    racks = table.racks[at, cell[:, None]].astype(np.float64)
    walls = table.walls[at, cell[:, None]].astype(np.float64)
    known = table.known[at, cell[:, None]].astype(np.float64)
    known += base.slab_db * layout.geometry.slabs[at, cell[:, None]]
    target = rssi - lifted + known
    total = np.maximum(weight.sum(axis=1, keepdims=True), 1e-12)

    def within(values: Floats) -> Floats:
        rest: Floats = values - (weight * values).sum(axis=1, keepdims=True) / total
        return rest

    shared = [within(-10.0 * decades), within(-racks), within(-walls)]
    target_within = within(target)
    size = count + len(shared)
    normal = np.zeros((size, size))
    right = np.zeros(size)
    flat = at.ravel()
    # Gateway columns: W - W_rows' means. Sums over snapshots of w_g (1 - w_h / total).
    normal[:count, :count] = np.diag(np.bincount(flat, weight.ravel(), count))
    for j in range(weight.shape[1]):
        pair = at[:, [j]] * count + at
        share = weight[:, [j]] * weight / total
        normal[:count, :count] -= np.bincount(pair.ravel(), share.ravel(), count * count).reshape(
            count, count
        )
    for i, column in enumerate(shared):
        row = count + i
        cross = np.bincount(flat, (weight * column).ravel(), count)
        normal[row, :count] = normal[:count, row] = cross
        for j, other in enumerate(shared):
            normal[row, count + j] = (weight * column * other).sum()
        right[row] = (weight * column * target_within).sum()
    right[:count] = np.bincount(flat, (weight * target_within).ravel(), count)
    ridge = np.concatenate(
        (np.full(count, GATEWAY_SD_DB**-2), [EXPONENT_SD**-2, LOSS_SD_DB**-2, LOSS_SD_DB**-2])
    )
    mean = np.concatenate((np.zeros(count), [EXPONENT, RACK_DB, WALL_DB]))
    found = np.linalg.solve(normal + np.diag(ridge), right + ridge * mean)
    offset = found[:count] - found[:count].mean()
    exponent = float(np.clip(found[count], *EXPONENT_RANGE))
    rack, wall = (float(np.clip(v, *LOSS_RANGE_DB)) for v in found[count + 1 :])

    model = offset[at] - 10.0 * exponent * decades - rack * racks - wall * walls
    own = (weight * (target - model)).sum(axis=1) / total[:, 0]
    # One voice per beacon, with the prior's for a few.
    beacons, place = np.unique(snapshots["beacon"][s], return_inverse=True)
    voice = np.bincount(place, chance)
    mine = np.bincount(place, chance * own) / np.maximum(voice, 1e-9)
    offset_dbm = float((mine.sum() + 4.0 * OFFSET_DBM) / (len(beacons) + 4.0))
    spread = float(((mine - offset_dbm) ** 2).sum() + 8.0 * OFFSET_SD_DB**2)
    offset_sd = float(np.sqrt(spread / (len(beacons) + 8.0)))
    names = list(layout.gateway_row)
    return msgspec.structs.replace(
        base,
        origin="work",
        t=float(snapshots["t"].max()),
        readings=int((snapshots["gateway"] != EMPTY).sum()),
        offset_dbm=round(offset_dbm, 2),
        offset_sd_db=round(min(max(offset_sd, 3.0), 15.0), 2),
        exponent=round(exponent, 3),
        rack_db=round(rack, 2),
        wall_db=round(wall, 2),
        gateways={name: GatewayFit(round(float(offset[row]), 2)) for row, name in enumerate(names)},
        note="",
    )


def _mills(z: Floats) -> Floats:
    """Density over distribution of the standard normal at z: the mean above a limit z below it."""
    z = np.clip(z, -8.0, 8.0)
    density = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
    chance = 0.5 * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (z + 0.044715 * z**3)))
    ratio: Floats = density / np.maximum(chance, 1e-4)
    return np.minimum(ratio, np.maximum(-z, 0.0) + 1.0)
