"""Gaussian processes over a floor: what survey places say about the places between them.

A field is one gateway's residuals, in dB, at some places. Its kernel is Matern 3/2 with white
noise, alike over the fields of a site, and its mean is zero, so that it vanishes far from what
was surveyed.
Formulas by Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), chapters 2, 4
and 5. This module knows numbers over a plane and nothing of radio.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# What the search looks at: shadowing is correlated over 1 to 15 m, and the share of the variance
# that space explains is between next to nothing and nearly all.
LENGTHS_M: Final = (1.0, 1.5, 2.2, 3.2, 4.5, 6.5, 9.5, 14.0)
SHARES: Final = (0.05, 0.15, 0.3, 0.45, 0.6, 0.75, 0.88)
# Priors of the search, which decide when there are few places: lengths about 4 m within a factor
# of two; a standard deviation about 5 dB, worth four values.
LENGTH_M: Final = 4.0
LENGTH_SPREAD: Final = 0.7
SD_DB: Final = 5.0
SD_WORTH: Final = 4.0
# A field differs from the others: its length by half, its share by a factor of e in odds, and
# the common deviation counts as so many values of its own.
OWN_LENGTH_SPREAD: Final = 0.4
OWN_ODDS_SPREAD: Final = 1.0
OWN_WORTH: Final = 10.0
# The search factors a matrix for each field, length and share. Thinned to so many places, and to
# fewer where there are many fields, it costs seconds and answers nearly the same.
SEARCH_PLACES: Final = 250
SEARCH_EFFORT: Final = 3.5e8
# Cells evaluated at once, which bounds memory.
CHUNK: Final = 4096


class Field(NamedTuple):
    """Values at places.

    Attributes:
        place: (n, 2) metres.
        value: (n,) dB.
        noise: (n,) variance of each value's noise, in units of the kernel's; 1 is a usual value.
    """

    place: Floats
    value: Floats
    noise: Floats


class Kernel(NamedTuple):
    """How values at two places go together.

    Attributes:
        length_m: distance over which the correlation falls to 0.48.
        sd_db: standard deviation of the field.
        noise_db: standard deviation of the noise of a usual value.
    """

    length_m: float
    sd_db: float
    noise_db: float


def correlation(a: Floats, b: Floats, length_m: float) -> Floats:
    """Matern 3/2 correlation of places (n, 2) with places (m, 2): shape (n, m)."""
    squares = (a[:, :1] - b[:, 0]) ** 2 + (a[:, 1:2] - b[:, 1]) ** 2
    scaled = np.sqrt(3.0 * squares) / length_m
    found: Floats = (1.0 + scaled) * np.exp(-scaled)
    return found


def search_kernels(fields: Sequence[Field]) -> list[Kernel]:
    """The kernel of highest posterior for each field.

    First one for all together, variances in closed form; then each field's own, with that one as
    its prior. A field without values has the common kernel.
    """
    thinned = [_thinned(field, len(fields)) for field in fields]
    forms = [_forms(field) for field in thinned]
    counts = [len(field.value) for field in thinned]
    length, share = np.log(LENGTHS_M)[:, None], np.array(SHARES)
    odds = np.log(share / (1.0 - share))
    quadratic, determinant = sum(forms, np.zeros((2, len(LENGTHS_M), len(SHARES))))
    height, variance = _height(quadratic, determinant, sum(counts), SD_DB**2, SD_WORTH)
    height = height - 0.5 * ((length - np.log(LENGTH_M)) / LENGTH_SPREAD) ** 2
    height += np.log(share * (1.0 - share))
    i, j = np.unravel_index(int(height.argmax()), height.shape)
    common = float(variance[i, j])
    near = -0.5 * ((length - length[i]) / OWN_LENGTH_SPREAD) ** 2
    near = near - 0.5 * ((odds - odds[j]) / OWN_ODDS_SPREAD) ** 2
    found = []
    for form, count in zip(forms, counts, strict=True):
        height, variance = _height(form[0], form[1], count, common, OWN_WORTH)
        k, m = np.unravel_index(int((height + near).argmax()), height.shape)
        whole = float(variance[k, m])
        found.append(
            Kernel(
                LENGTHS_M[k],
                math.sqrt(SHARES[m] * whole),
                math.sqrt((1.0 - SHARES[m]) * whole),
            )
        )
    return found


def _height(
    quadratic: Floats, determinant: Floats, count: int, guess: float, worth: float
) -> tuple[Floats, Floats]:
    """Log marginal likelihood by length and share, and the variance that makes it highest."""
    variance = (quadratic + worth * guess) / (count + worth)
    return -0.5 * ((count + worth) * np.log(variance) + determinant), variance


def _forms(field: Field) -> Floats:
    """Quadratic form and log determinant at unit variance, by length and share: (2, ., .)."""
    found = np.zeros((2, len(LENGTHS_M), len(SHARES)))
    if len(field.value):
        for i, length in enumerate(LENGTHS_M):
            likeness = correlation(field.place, field.place, length)
            for j, share in enumerate(SHARES):
                noise = (1.0 - share) * field.noise
                found[:, i, j] = _form(share * likeness, noise, field.value)
    return found


def weights(field: Field, kernel: Kernel) -> Floats:
    """What each value weighs in the posterior: inverse covariance times values, shape (n,)."""
    return np.asarray(np.linalg.solve(_covariance(field, kernel), field.value), np.float64)


def posterior_mean(field: Field, kernel: Kernel, at: Floats) -> Floats:
    """Expected values at places (m, 2), dB, shape (m,)."""
    found = np.zeros(len(at))
    if len(field.value):
        alpha = kernel.sd_db**2 * weights(field, kernel)
        for start in range(0, len(at), CHUNK):
            part = slice(start, start + CHUNK)
            found[part] = correlation(at[part], field.place, kernel.length_m) @ alpha
    return found


def left_out(field: Field, kernel: Kernel) -> Floats:
    """Each value's expectation from all the others, shape (n,); equations 5.10 to 5.12."""
    inverse = np.linalg.inv(_covariance(field, kernel))
    found: Floats = field.value - (inverse @ field.value) / np.diag(inverse)
    return found


def _covariance(field: Field, kernel: Kernel) -> Floats:
    likeness = correlation(field.place, field.place, kernel.length_m)
    found: Floats = kernel.sd_db**2 * likeness + np.diag(kernel.noise_db**2 * field.noise)
    return found


def _form(likeness: Floats, noise: Floats, value: Floats) -> tuple[float, float]:
    """Quadratic form of values in the inverse covariance, and the covariance's log determinant.

    One factorization of the covariance bordered by the values gives both: the border becomes the
    solution. The corner is large enough for the whole to be positive definite.
    """
    n = len(value)
    whole = np.empty((n + 1, n + 1))
    whole[:n, :n] = likeness
    whole[np.arange(n), np.arange(n)] += noise
    whole[n, :n] = whole[:n, n] = value
    whole[n, n] = 1.0 + 2.0 * float(value @ value) / float(noise.min())
    lower = np.linalg.cholesky(whole)
    quadratic = float(lower[n, :n] @ lower[n, :n])
    return quadratic, 2.0 * float(np.log(np.diag(lower)[:n]).sum())


def _thinned(field: Field, fields: int) -> Field:
    most = min(SEARCH_PLACES, int((SEARCH_EFFORT / fields) ** (1 / 3)))
    step = -(-len(field.value) // max(most, 20))
    return field if step < 2 else Field(*(column[::step] for column in field))
