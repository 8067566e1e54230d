"""The slope that racks and walls add to a gateway's level, smoothed over some metres.

A ray's loss jumps where it begins to touch a rack. The jump's derivative is anything, and where
it is nobody knows to a decimetre; but that levels fall from one aisle to the next is true and tells
a place. The rule: derivatives are those of a Gaussian kernel over the loss, exact at any cell size.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.calibration import OBSTACLES_MOST_DB
from stream.grid import Grid
from stream.radio_model import Geometry, RadioModel, obstacle_losses
from stream.site import Site

Floats = npt.NDArray[np.float64]

# The scale over which obstacles' losses are smoothed before their slope is taken: about the error
# of a place, and half of the way from one rack to the next.
SMOOTH_M: Final = 2.5


class Slopes:
    """How the level of each gateway falls with place by obstacles, smoothed over SMOOTH_M."""

    def __init__(self, site: Site, grid: Grid, geometry: Geometry, model: RadioModel) -> None:
        self._grid: Final = grid
        self._floor: Final = geometry.floor
        crossings = geometry.crossings
        order = np.argsort(crossings.gateway, kind="stable")
        self._ends: Final = np.searchsorted(
            crossings.gateway[order], np.arange(len(geometry.floor) + 1)
        )
        self._cell: Final = crossings.cell[order]
        losses = obstacle_losses(site, geometry, model.calibration)
        self._loss: Final[Floats] = (crossings.share * losses[crossings.obstacle])[order]
        self._smooth: Final[dict[int, _Smooth]] = {}

    def of(self, gateway: int) -> Floats:
        """Slope along x and y at every cell in dB per metre, shape (2, cells)."""
        grid, row = self._grid, int(self._floor[gateway])
        slopes = np.zeros((2, len(grid)))
        part = slice(self._ends[gateway], self._ends[gateway + 1])
        if part.stop > part.start:
            if row not in self._smooth:
                self._smooth[row] = _Smooth(grid, row)
            first, size = grid.base[row], grid.wide[row] * grid.deep[row]
            loss = np.bincount(self._cell[part] - first, self._loss[part], size)
            most = np.minimum(loss, OBSTACLES_MOST_DB).astype(np.float64)
            slopes[:, first : first + size] = -self._smooth[row].slope(most)
        return slopes


class _Smooth:
    """Gaussian smoothing on one floor, of what is inside its outline only."""

    def __init__(self, grid: Grid, row: int) -> None:
        self._shape: Final = (grid.deep[row], grid.wide[row])
        first = grid.base[row]
        inside = grid.inside[first : first + self._shape[0] * self._shape[1]]
        self._inside: Final[Floats] = inside.reshape(self._shape).astype(np.float64)
        # To three standard deviations: the rest is 0.3 % of the weight.
        reach = math.ceil(3.0 * SMOOTH_M / grid.cell_m)
        away = grid.cell_m * np.arange(-reach, reach + 1) / SMOOTH_M
        self._mean: Final[Floats] = np.exp(-0.5 * away * away)
        self._slope: Final[Floats] = away / SMOOTH_M * self._mean
        # Padding beyond the reach of the kernel holds nothing; any number but 0 will do.
        weight, self._weight_x, self._weight_y = self._parts(self._inside)
        self._weight: Final[Floats] = np.maximum(weight, 1e-9)

    def slope(self, values: Floats) -> Floats:
        """Derivatives along x and y of values per cell, smoothed: (2, cells of the floor)."""
        total, x, y = self._parts(values.reshape(self._shape) * self._inside)
        mean = total / self._weight
        x = (x - mean * self._weight_x) / self._weight
        y = (y - mean * self._weight_y) / self._weight
        return np.stack([x.ravel(), y.ravel()])

    def _parts(self, values: Floats) -> tuple[Floats, Floats, Floats]:
        """Sums over the kernel, and their derivatives along x and y."""
        along_x = _convolved(values, self._mean)
        return (
            _convolved(along_x.T, self._mean).T,
            _convolved(_convolved(values, self._slope).T, self._mean).T,
            _convolved(along_x.T, self._slope).T,
        )


def _convolved(values: Floats, kernel: Floats) -> Floats:
    """Sum of values times kernel[reach + offset] at that offset along the last axis, 0 beyond.

    Term by term, and not by a product of matrices: that would differ in its last bits by how many
    threads there are.
    """
    reach, length = len(kernel) // 2, values.shape[1]
    padded = np.pad(values, ((0, 0), (reach, reach)))
    total = np.zeros(values.shape)
    for i, share in enumerate(kernel):
        total += share * padded[:, i : i + length]
    return total
