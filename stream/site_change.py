"""How what the engine keeps by row moves to the rows of a new site version, by id.

What the locator and the calibrator remember moves by rules of their own (`stream.track`,
`stream.calibrator`); here is the rest: last fixes, and the gateways' stamps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stream.fixes import FIX, NONE, Fixes
from stream.layout import Layout
from stream.watermark import GONE

Floats = npt.NDArray[np.float64]


class LastFixes(NamedTuple):
    """The last fix of each trackable row, and the time it is from, 0 when it never had one."""

    fixes: Fixes
    t: Floats


def rows_before(before: Layout, after: Layout) -> list[int]:
    """For each trackable row under `after` its row under `before`, or -1."""
    was = {part.id: row for row, part in enumerate(before.site.trackables)}
    return [was.get(part.id, -1) for part in after.site.trackables]


def moved_fixes(old: LastFixes, before: Layout, after: Layout, rows: list[int]) -> LastFixes:
    """Last fixes under a new layout; one on a floor that is gone is forgotten.

    Args:
        old: under `before`.
        before: the old layout.
        after: the new layout.
        rows: as `rows_before` gives them.
    """
    fixes, t = np.zeros(len(rows), FIX), np.zeros(len(rows))
    zone = {part.id: row for row, part in enumerate(after.site.zones)}
    for row, was in enumerate(rows):
        if was < 0 or old.t[was] == 0.0:
            continue
        floor = before.site.floors[int(old.fixes[was]["floor"])].id
        if floor not in after.floor_row:
            continue
        fixes[row], t[row] = old.fixes[was], old.t[was]
        fixes[row]["trackable"], fixes[row]["beacon"] = row, 0
        fixes[row]["floor"] = after.floor_row[floor]
        in_zone = int(fixes[row]["zone"])
        name = before.site.zones[in_zone].id if in_zone != NONE else ""
        fixes[row]["zone"] = zone.get(name, NONE)
    return LastFixes(fixes, t)


def moved_stamps(
    latest: Floats, standing: npt.NDArray[np.int8], before: Layout, after: Layout
) -> tuple[Floats, npt.NDArray[np.int8]]:
    """Latest stamps and standings by gateway row under a new layout; a new gateway is GONE."""
    was = np.array([before.gateway_row.get(name, -1) for name in after.gateway_row], np.int64)
    known = was >= 0
    return (
        np.where(known, np.append(latest, 0.0)[was], 0.0),
        np.where(known, np.append(standing, GONE)[was], GONE).astype(np.int8),
    )
