"""Honest errors of a survey's model: at places that were left out of the fit, not in it.

Places are left out, never readings: readings of one place know each other's answers.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.survey_fit import MOST_WINDOWS, NU, Fit, Paths, expected, fit_path_loss, untruncated
from stream.survey_map import Kernels, at_visits, clear, residual_fields
from stream.survey_places import Visits

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Parts the places are divided into for cross-validation. Neighbours go to different parts, since
# a map is there to tell what lies between the places of a survey.
FOLDS: Final = 10
# Residuals beyond this many standard deviations are outliers, which the locator's noise expects.
OUTLIER: Final = 3.0
# The site's deviation counts as so many places beside a gateway's own.
SD_WORTH: Final = 8.0
# Fading is not known so well that more than this of the variance can be put down to it.
LEAST_LASTING: Final = 0.5
SD_RANGE_DB: Final = (1.5, 15.0)


class Errors(NamedTuple):
    """What a model said wrongly of visits at places that it had not seen.

    Attributes:
        db: heard minus expected, the beacon's offset at that place taken out, of shape (n,).
        gateway, place: rows.
        fade: variance of what was heard that fading explains, dB squared.
    """

    db: Floats
    gateway: Ints
    place: Ints
    fade: Floats


def left_out_errors(
    between: Paths, visits: Visits, whole: Fit, kernels: Kernels, *, own: bool = True
) -> tuple[Errors, Errors]:
    """Errors at places left out: of path loss alone, and with the map.

    Args:
        between: paths between gateways and places.
        visits: the survey's.
        whole: the fit to all of it, where the fits to its parts begin.
        kernels: of the map's fields, found from all of it.
        own: whether gateways differ.
    """
    plain, mapped = [], []
    part = parts(visits)
    for k in range(FOLDS):
        test = visits.at(part == k)
        # Close to the limit only what is louder than expected is heard, which is no error.
        test = test.only((test.windows > 0) & clear(whole, between, test))
        train = visits.at(part != k)
        if not len(test.place) or not (train.windows > 0).any():
            continue
        fit = fit_path_loss(between, train, own=own, start=whole)
        guess = expected(fit, between, test) + fit.beacon_db[test.beacon]
        plain.append(_errors(fit, test, guess))
        fields = residual_fields(fit, between, train)
        mapped.append(_errors(fit, test, guess + at_visits(fields, kernels, test)))
    return _joined(plain), _joined(mapped)


def parts(visits: Visits) -> Ints:
    """Which part each place belongs to, by turns along the floors."""
    places = visits.places
    order = np.lexsort((places.y, places.x, places.floor))
    found = np.empty(len(order), np.int64)
    found[order] = np.arange(len(order)) % FOLDS
    return found


def deviations(errors: Errors, visits: Visits, gateways: int) -> tuple[float, Floats]:
    """Standard deviation of what the model does not explain: the site's, and by gateway row."""
    key = errors.gateway * len(visits.places.x) + errors.place
    _, group, count = np.unique(key, return_inverse=True, return_counts=True)
    share = 1.0 / count[group]
    # The bound of outliers needs the deviation, which needs the bound: a few rounds settle it.
    spread = max(1.4826 * float(np.median(np.abs(errors.db))), SD_RANGE_DB[0])
    squares = errors.db**2
    for _ in range(5):
        squares = np.minimum(errors.db**2, (OUTLIER * spread) ** 2)
        spread = max(math.sqrt(float((share * squares).sum() / share.sum())), SD_RANGE_DB[0])
    # Fading is not the model's: with more adverts it goes away.
    fade = float((share * errors.fade).sum() / share.sum())
    lasting = max(1.0 - fade / spread**2, LEAST_LASTING)
    site = min(max(spread * math.sqrt(lasting), SD_RANGE_DB[0]), SD_RANGE_DB[1])
    total = lasting * np.bincount(errors.gateway, share * squares, gateways) + SD_WORTH * site**2
    own = np.sqrt(total / (np.bincount(errors.gateway, share, gateways) + SD_WORTH))
    bounded: Floats = np.clip(own, *SD_RANGE_DB)
    return site, bounded


def rmse(errors: Errors) -> float:
    """Root mean square, dB; NaN without any."""
    return float(np.sqrt(np.mean(errors.db**2))) if len(errors.db) else math.nan


def _errors(fit: Fit, visits: Visits, mean: Floats) -> Errors:
    sigma = fit.sd_db * math.sqrt((NU - 2.0) / NU)
    off = untruncated(visits, np.arange(len(mean)), mean, sigma) - mean
    # The locator has a free offset for each beacon; so has this, and gives back what it takes.
    _, stay = np.unique(np.stack([visits.place, visits.beacon]), axis=1, return_inverse=True)
    stay = stay.ravel()
    weight = 1.0 / (np.bincount(stay) + (fit.sd_db / fit.beacon_sd_db) ** 2)
    off = off - (np.bincount(stay, off) * weight)[stay]
    return Errors(
        off / np.sqrt(1.0 - weight[stay]),
        visits.gateway,
        visits.place,
        visits.fade_db**2 / np.minimum(visits.windows, MOST_WINDOWS),
    )


def _joined(some: list[Errors]) -> Errors:
    if not some:
        none = np.zeros(0, np.int64)
        return Errors(np.zeros(0), none, none, np.zeros(0))
    return Errors(*(np.concatenate(columns) for columns in zip(*some, strict=True)))
