"""Looking around: all places near a trackable's loudest gateway, compared with its present one.

So one who was just found gets a place, and one who is in the wrong aisle or on the wrong floor
leaves it: only after several looks in a row, so that a moment's fade moves nobody.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from stream.evidence import EMPTY
from stream.likelihood import Terms, over_cells
from stream.scene import Part, Scene, by_owner
from stream.track import NOWHERE, ROUSED, WALKS, Tracks

Bools = npt.NDArray[np.bool_]

# One who was just found is found anew with every update: a single tick's readings are too few to
# hold on to.
YOUNG_S: Final = 4.0
# All places around are compared with the present one at every so many updates.
LOOK_AROUND: Final = 4
# A place farther than this from the present one takes over when it is likelier by this many
# nats, this many times in a row; another floor as well, however near.
JUMP_M: Final = 4.0
JUMP_NATS: Final = 3.0
JUMP_LOOKS: Final = 2


def look_around(scene: Scene, part: Part, track: Tracks, remembered: Terms, t: float) -> Bools:
    """Compares all places around with the present one; moves the windows of those that jump.

    Gives which trackables begin anew in a new window.
    """
    mode = track["mode"]
    young = (mode == WALKS) & (t - track["since"] < YOUNG_S)
    nowhere = (mode == NOWHERE) | (mode == ROUSED) | young
    look = nowhere | (track["looks"] == 0)
    found = np.zeros(len(part.rows), np.bool_)
    which = np.flatnonzero(look)
    if not len(which):
        return found
    beacons, of = part.of(which)
    gateway, rssi = part.memory[0][beacons], part.memory[1][beacons]
    level = np.where(gateway != EMPTY, rssi, -np.inf)
    # The loudest gateway of the loudest beacon says where to look.
    at = level.argmax(axis=1)
    each = np.arange(len(beacons))
    order = np.lexsort((-level[each, at], of))
    lead = order[np.unique(of[order], return_index=True)[1]]
    around = scene.layout.nearby[np.maximum(gateway[lead, at[lead]], 0)]
    here = scene.cell(track[which])
    cells = np.concatenate((around, here[:, None]), axis=1)
    picked = remembered.of(beacons)
    score = by_owner(over_cells(picked, scene.sensing, cells[of]).score, of)
    cx, cy, there = scene.centroid((gateway, rssi, rssi), of, len(which))
    grid = scene.layout.grid
    sharp = scene.pull_sharp * there
    score = score + sharp[:, None] * (
        (grid.x[cells] - cx[:, None]) ** 2 + (grid.y[cells] - cy[:, None]) ** 2
    )
    best = score[:, :-1].argmax(axis=1)
    mine = np.arange(len(which))
    target = cells[mine, best]
    gain = score[mine, best] - score[:, -1]
    away = np.hypot(grid.x[target] - grid.x[here], grid.y[target] - grid.y[here])
    elsewhere = (away > JUMP_M) | (grid.floor[target] != track["floor"][which])
    better = ~nowhere[which] & (gain > JUMP_NATS) & elsewhere
    worse = np.where(better, track["worse"][which] + 1, 0)
    jumps = nowhere[which] | (worse >= JUMP_LOOKS)
    track["worse"][which] = np.where(jumps, 0, worse)
    goes = which[jumps]
    to = target[jumps]
    roused = mode[goes] == ROUSED
    floor = np.where(roused, track["floor"][goes], grid.floor[to])
    x = np.where(roused, track["x"][goes], grid.x[to])
    y = np.where(roused, track["y"][goes], grid.y[to])
    ix, iy = grid.window(x.astype(np.float64), y.astype(np.float64), floor)
    track["floor"][goes], track["ix"][goes], track["iy"][goes] = floor, ix, iy
    found[goes] = True
    return found
