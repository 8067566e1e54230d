"""Truth: where beacons really were, as CSV `t,beacon,x,y,floor`."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from gateway.errors import UserError
from stream.site import Site

HEADER: Final = ["t", "beacon", "x", "y", "floor"]
# A place is known at a moment when the truth has a row this near to it.
NEAR_S: Final = 2.0


class TruthError(UserError, ValueError):
    """A truth file that cannot be read: the sentence names file, line and reason."""


class Path2D(NamedTuple):
    """One beacon's true places in order of time: columns of one length."""

    t: npt.NDArray[np.float64]
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    floor: npt.NDArray[np.int64]

    def at(self, t: float) -> tuple[float, float, int] | None:
        """Place and floor row at a moment, between rows by interpolation; None when unknown."""
        after = int(np.searchsorted(self.t, t))
        near = [i for i in (after - 1, after) if 0 <= i < len(self.t)]
        nearest = min(near, key=lambda i: abs(float(self.t[i]) - t))
        if abs(float(self.t[nearest]) - t) > NEAR_S:
            return None
        x, y = np.interp(t, self.t, self.x), np.interp(t, self.t, self.y)
        return float(x), float(y), int(self.floor[nearest])


Truth = dict[str, Path2D]


def load_truth(path: Path, site: Site) -> Truth:
    """Reads a truth file.

    Raises:
        TruthError: when it cannot be read or a line is not of the contract.
    """
    floors = {floor.id: row for row, floor in enumerate(site.floors)}
    rows: dict[str, list[tuple[float, float, float, int]]] = {}
    number = 1
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.reader(file)
            if next(lines, None) != HEADER:
                raise TruthError(f"{path}: line 1: the header must be {','.join(HEADER)}")
            for line in lines:
                number = lines.line_num
                if line:
                    beacon, row = _row(line, floors)
                    rows.setdefault(beacon, []).append(row)
    except OSError as error:
        raise TruthError(f"{path}: cannot be read: {error.strerror}") from error
    except (_RowError, UnicodeDecodeError, csv.Error) as error:
        raise TruthError(f"{path}: line {number}: {error}") from error
    return {beacon: _path(sorted(entries)) for beacon, entries in rows.items()}


class _RowError(ValueError):
    pass


def _row(line: list[str], floors: dict[str, int]) -> tuple[str, tuple[float, float, float, int]]:
    if len(line) != len(HEADER):
        raise _RowError(f"{len(line)} fields; {len(HEADER)} are expected")
    try:
        t, x, y = float(line[0]), float(line[2]), float(line[3])
    except ValueError as error:
        raise _RowError(f"t, x and y must be numbers: {error}") from error
    if not all(map(math.isfinite, (t, x, y))):
        raise _RowError("t, x and y must be finite")
    if line[4] not in floors:
        raise _RowError(f"there is no floor `{line[4]}` in the site")
    return line[1], (t, x, y, floors[line[4]])


def _path(entries: list[tuple[float, float, float, int]]) -> Path2D:
    t, x, y, floor = zip(*entries, strict=True)
    return Path2D(np.array(t), np.array(x), np.array(y), np.array(floor, np.int64))
