"""The likelihood over cells of what a beacon's gateways heard, in dB, and of those that did not.

For cell c and readings r_g of n_g adverts, with the beacon's own RSSI at 1 m, a, unknown:

    log L(c) = max over a of  - sum_g k_g (nu + 1)/2 log(1 + (r_g - a - m_g(c))^2 / (nu v_g))
                              - (a - A)^2 / (2 S^2)
                              - K (silence of all gateways on line - that of those that heard)

m_g(c) is the radio model's level and v_g the variance of a mean of n_g adverts. Residuals are dB,
never metres: 6 dB too little are as likely far away as close by, but in metres they are not.
Student's t, because a body or a pallet in the way is no rare accident (Lange, Little and Taylor,
JASA 84, 1989). The offset is free within its prior, because tags, bodies and powers differ; it is
found by one step of iterative reweighting. K is what the silence of a near gateway weighs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.evidence import SLOTS
from stream.grid import WINDOW
from stream.sensing import OFFSET_STEP_DB, OFFSET_STEPS, OFFSETS_DBM, Sensing, ramp

Singles = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Degrees of freedom: heavy tails, yet finite variance.
STUDENT_NU: Final = 4.0
# The fading of a single advert: 7 to 10 dB from 5 % to 95 % are measured, and channels differ.
FADING_SD_DB: Final = 6.0
# A gateway that nothing is wrong with may still not hear a near beacon: behind steel, in a bag.
# So its silence never weighs more than 1 in 10.
SILENCE_MOST: Final = 0.9


class Heard(NamedTuple):
    """What some beacons' gateways heard; rows are beacons, columns their gateways.

    Attributes:
        gateway: gateway rows, -1 where there is none, (beacons, slots).
        rssi: dBm, (beacons, slots).
        n: adverts, (beacons, slots).
        weight: how much of their information counts, 0 to 1, (beacons,): readings that follow each
            other share their shadowing.
    """

    gateway: Ints
    rssi: Floats
    n: Floats
    weight: Floats


class Terms(NamedTuple):
    """What of the likelihood is the same for all cells, ready for the sums; float32.

    Attributes:
        gateway: gateway rows, 0 where there is none.
        rssi: dBm.
        precision: 1 / variance, 0 where there is none, as `power`.
        scale: 1 / (nu variance).
        power: the exponent (nu + 1) / 2 times the weight of the reading.
        silence: K, (beacons,).
        there: 1 where there is a reading, 0 where there is none.
        limit_dbm: the weakest levels heard.
        offset: A and 1 / S^2.
    """

    gateway: Ints
    rssi: Singles
    precision: Singles
    scale: Singles
    power: Singles
    silence: Singles
    there: Singles
    limit_dbm: float
    offset: tuple[float, float]

    def of(self, rows: Ints) -> Terms:
        """The terms of some beacons."""
        return self._replace(
            gateway=self.gateway[rows],
            rssi=self.rssi[rows],
            precision=self.precision[rows],
            scale=self.scale[rows],
            power=self.power[rows],
            silence=self.silence[rows],
            there=self.there[rows],
        )


class Scored(NamedTuple):
    """log L and the offset a, by beacon and cell: (beacons, cells), float32."""

    score: Singles
    offset: Singles


def terms(heard: Heard, sensing: Sensing, noise: float, hears: float) -> Terms:
    """What of the likelihood is the same for all cells.

    Args:
        heard: the readings.
        sensing: the tables.
        noise: factor on the model's standard deviations, learnt from residuals.
        hears: share of adverts that a gateway hears of a beacon that is loud enough.
    """
    there = heard.gateway >= 0
    gateway = np.where(there, heard.gateway, 0)
    lasting = (noise * sensing.sd[gateway]) ** 2
    passing = (noise * FADING_SD_DB) ** 2 / np.maximum(heard.n, 1e-3)
    weight = heard.weight[:, None]
    variance = lasting + passing
    # The share of a reading's information that is new: what fading blurs is new each time, what
    # shadowing shifts is not.
    share = weight * variance / (lasting + weight * passing)
    precision = np.where(there, share / variance, 0.0)
    power = np.where(there, share * (0.5 * (STUDENT_NU + 1.0)), 0.0)
    adverts = np.where(there, heard.n, 0.0).max(axis=1)
    chance = np.minimum(SILENCE_MOST, 1.0 - (1.0 - hears) ** adverts)
    # Of those that a full table had no room for it is not known whether they were silent.
    chance = np.where(there.sum(axis=1) >= SLOTS, 0.0, chance)
    calibration = sensing.model.calibration
    return Terms(
        gateway,
        heard.rssi.astype(np.float32),
        precision.astype(np.float32),
        (1.0 / (STUDENT_NU * variance)).astype(np.float32),
        power.astype(np.float32),
        (-heard.weight * np.log1p(-chance)).astype(np.float32),
        there.astype(np.float32),
        sensing.limit_dbm,
        (calibration.offset_dbm, calibration.offset_sd_db**-2),
    )


def over_windows(part: Terms, sensing: Sensing, starts: Ints) -> Scored:
    """The likelihood over windows whose lines begin at `starts`, (beacons, WINDOW)."""
    first = part.gateway * sensing.cells
    levels = sensing.lines[first[:, :, None] + starts[:, None, :]]
    count, slots = part.gateway.shape
    levels = levels.reshape(count, slots, WINDOW * WINDOW)

    def silence(step: Ints) -> Singles:
        cells = starts[:, :, None] + np.arange(WINDOW)
        found: Singles = sensing.silence[step * sensing.cells + cells.reshape(count, -1)]
        return found

    return _score(part, levels, silence)


def over_cells(part: Terms, sensing: Sensing, cells: Ints) -> Scored:
    """The likelihood over any cells, (beacons, cells)."""
    first = part.gateway * sensing.cells
    levels = sensing.level[first[:, :, None] + cells[:, None, :]]

    def silence(step: Ints) -> Singles:
        found: Singles = sensing.silence[step * sensing.cells + cells]
        return found

    return _score(part, levels, silence)


def _score(part: Terms, levels: Singles, silence: Callable[[Ints], Singles]) -> Scored:
    """The sums. `levels` (beacons, slots, cells) is used up."""
    mean, sharp = part.offset
    difference = np.subtract(part.rssi[:, :, None], levels, out=levels)
    precision = part.precision[:, None, :]
    prior = np.float32(mean * sharp)
    total = part.precision.sum(axis=1, dtype=np.float32) + np.float32(sharp)
    offset = (np.matmul(precision, difference)[:, 0] + prior) / total[:, None]
    # Once more, with less weight for what does not fit.
    residual = difference - offset[:, None, :]
    misfit = np.multiply(residual, residual, out=residual)
    misfit *= part.scale[:, :, None]
    misfit += np.float32(1.0)
    weight = np.divide(part.precision[:, :, None], misfit, out=misfit)
    total = weight.sum(axis=1) + np.float32(sharp)
    weight *= difference
    offset = (weight.sum(axis=1) + prior) / total
    difference -= offset[:, None, :]
    misfit = np.multiply(difference, difference, out=weight)
    misfit *= part.scale[:, :, None]
    misfit += np.float32(1.0)
    np.log(misfit, out=misfit)
    score = np.matmul(part.power[:, None, :], misfit)[:, 0]
    away = offset - np.float32(mean)
    score += np.float32(0.5 * sharp) * away * away
    # The silence of all gateways on line, less that of those that were not silent.
    step = np.rint((offset - np.float32(OFFSETS_DBM[0])) / np.float32(OFFSET_STEP_DB))
    step = np.clip(step, 0, OFFSET_STEPS - 1)
    quiet = silence(step.astype(np.int64))
    # At the table's own offset: half a step of each gateway that heard would add up.
    taken = np.float32(OFFSETS_DBM[0]) + np.float32(OFFSET_STEP_DB) * step
    difference += (offset - taken)[:, None, :]
    above = np.subtract(part.rssi[:, :, None] - np.float32(part.limit_dbm), difference, out=levels)
    quiet -= np.matmul(part.there[:, None, :], ramp(above))[:, 0]
    score += part.silence[:, None] * np.maximum(quiet, np.float32(0.0))
    np.negative(score, out=score)
    return Scored(score, offset)
