"""The walk filter: a hidden Markov model over the cells of a window and how one moves in them.

The state of a walker is a cell and a mode: standing, or walking in one of four headings. A step
of half a second changes modes by the kind's chances, moves what walks on by its speed, never
through racks and walls, and then the likelihood of what was heard says which states fit. So a
walker is followed along the aisle it is in without lag, and one who stands does not jitter
(forward algorithm: Rabiner, Proc. IEEE 77, 1989).

Between ticks chances are kept as bytes, square roots of their share of the largest: that is what
is committed, and what the next tick begins with, killed in between or not.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from stream.grid import WINDOW
from stream.motion import HEADINGS, MODES, STAND

Singles = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

# What no evidence takes away: a model that is wrong for a moment must be able to come back.
LEAST_CHANCE: Final = 1e-9
# One who was just found stands or walks, as likely as not.
FIRST_MODES: Final = np.array([0.5] + [0.5 / len(HEADINGS)] * len(HEADINGS), np.float32)


def begin(likelihood: Singles) -> Singles:
    """Chances of one who was just found, (walkers, MODES, WINDOW, WINDOW).

    Args:
        likelihood: over the window's cells, (walkers, WINDOW, WINDOW).
    """
    chances: Singles = FIRST_MODES[None, :, None, None] * likelihood[:, None]
    return normalised(chances)


def step(
    chances: Singles, change: Singles, free: Singles, reach: Singles, stray: Singles
) -> Singles:
    """Chances half a second later.

    Args:
        chances: (walkers, MODES, WINDOW, WINDOW); used up.
        change: chances from mode to mode, (walkers, MODES, MODES).
        free: 1 where one can walk, else 0, (walkers, WINDOW, WINDOW).
        reach: cells that are walked in a step, at most 1, (walkers,).
        stray: chance per step that one who stands is one cell further, in each heading,
            (walkers,): people shift their feet, shuffle along a face, push slowly.
    """
    count = len(chances)
    mixed = np.matmul(change, chances.reshape(count, MODES, -1)).reshape(chances.shape)
    for mode, (dx, dy) in enumerate(HEADINGS, start=1):
        here = mixed[:, mode]
        to_y, to_x = _to(dy), _to(dx)
        from_y, from_x = _to(-dy), _to(-dx)
        moved = here[:, from_y, from_x] * free[:, to_y, to_x]
        moved *= reach[:, None, None]
        here[:, from_y, from_x] -= moved
        here[:, to_y, to_x] += moved
    here = mixed[:, STAND]
    before = here.copy()
    for dx, dy in HEADINGS:
        to_y, to_x = _to(dy), _to(dx)
        from_y, from_x = _to(-dy), _to(-dx)
        moved = before[:, from_y, from_x] * free[:, to_y, to_x]
        moved *= stray[:, None, None]
        here[:, from_y, from_x] -= moved
        here[:, to_y, to_x] += moved
    after: Singles = mixed
    return after


def _to(shift: int) -> slice:
    """The lines that are reached by going on by -1, 0 or 1."""
    return slice(max(0, shift), WINDOW + min(0, shift))


def weighed(chances: Singles, likelihood: Singles) -> Singles:
    """Chances after evidence, (walkers, WINDOW, WINDOW) for any mode; normalised."""
    chances *= likelihood[:, None]
    chances += (likelihood > 0.0)[:, None] * np.float32(LEAST_CHANCE)
    return normalised(chances)


def normalised(chances: Singles) -> Singles:
    """Chances that add up to 1 for each walker."""
    total = chances.sum(axis=(1, 2, 3), keepdims=True)
    chances /= np.maximum(total, np.float32(1e-30))
    return chances


def moved_window(chances: Singles, dx: Ints, dy: Ints) -> Singles:
    """Chances over windows that lie dx and dy cells further; what falls out is lost."""
    moved = np.zeros_like(chances)
    for x, y in sorted(set(zip(dx.tolist(), dy.tolist(), strict=True))):
        if max(abs(x), abs(y)) >= WINDOW:
            continue
        which = np.flatnonzero((dx == x) & (dy == y))
        to = (slice(max(0, -y), WINDOW - max(0, y)), slice(max(0, -x), WINDOW - max(0, x)))
        of = (slice(max(0, y), WINDOW + min(0, y)), slice(max(0, x), WINDOW + min(0, x)))
        part = np.zeros((len(which), MODES, WINDOW, WINDOW), np.float32)
        part[:, :, to[0], to[1]] = chances[which][:, :, of[0], of[1]]
        moved[which] = part
    return moved


def pack(chances: Singles) -> Bytes:
    """Chances as bytes, each by its share of the largest."""
    most = chances.max(axis=(1, 2, 3), keepdims=True)
    share = np.sqrt(chances / np.maximum(most, np.float32(1e-30)))
    stored: Bytes = np.rint(share * np.float32(255.0)).astype(np.uint8)
    return stored


def unpack(stored: Bytes) -> Singles:
    """Chances from bytes, normalised."""
    share = stored.astype(np.float32)
    share *= share
    return normalised(share)


def standing(chances: Singles) -> Singles:
    """The chance of standing, (walkers,)."""
    total: Singles = chances[:, STAND].sum(axis=(1, 2))
    return total
