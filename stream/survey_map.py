"""The radio map of a survey: what path loss leaves at each gateway, as fields over the floors.

Here residuals become fields and fields become patches of the calibration document; how fields
are judged is in `stream.survey_errors`.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from stream.calibration import Calibration, MapPatch, pack_map
from stream.gaussian_process import Field, Kernel, posterior_mean, search_kernels
from stream.site import Site
from stream.survey_fit import DEAF, NU, Fit, Paths, expected, mills, silent_limit, untruncated
from stream.survey_places import Visits

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# Of a residual's noise, what visits of one place share and averaging them does not remove.
SHARED_NOISE: Final = 0.4
# Places of one gateway's map; more are merged with their neighbours. Cost grows with the cube.
MOST_FIELD_PLACES: Final = 1_000
# Expected this many deviations of fading above the limit, next to nothing goes unheard; where
# less than this part of what was heard is, all is taken.
CLEAR: Final = 2.0
FEWEST_CLEAR: Final = 0.1
# A silent gateway tells something when it makes the model this much surer.
TELLING: Final = 0.95
# Side of the map's cells: half a metre where the floors are small, and coarser where the document
# would grow beyond so many cells.
SMALL_M2: Final = 1_500.0
CELL_M: Final = (0.5, 1.0)
MOST_CELLS: Final = 12_000_000
Fields = dict[tuple[int, int], Field]
Kernels = dict[tuple[int, int], Kernel]


def residual_fields(fit: Fit, between: Paths, visits: Visits) -> Fields:
    """What path loss leaves, by gateway row and floor row."""
    mean = expected(fit, between, visits) + fit.beacon_db[visits.beacon]
    value, precision = _residuals(fit, visits, mean)
    places = len(visits.places.x)
    floors = visits.places.floor
    # One value for each gateway and place.
    told = precision > 0
    key, group = np.unique((visits.gateway * places + visits.place)[told], return_inverse=True)
    total = np.bincount(group, precision[told])
    value = np.bincount(group, (precision * value)[told]) / total
    gateway, place = key // places, key % places
    where = np.stack([visits.places.x, visits.places.y], axis=1)
    fields = {}
    for pair in np.unique(np.stack([gateway, floors[place]], axis=1), axis=0):
        row, floor = int(pair[0]), int(pair[1])
        mine = (gateway == row) & (floors[place] == floor)
        fields[row, floor] = _merged(where[place[mine]], value[mine], total[mine])
    return fields


def clear(fit: Fit, between: Paths, visits: Visits) -> Bools:
    """Visits that are expected well above the limit, whatever was heard; all, if these are few."""
    mean = expected(fit, between, visits) + fit.beacon_db[visits.beacon]
    found: Bools = mean > visits.limit_dbm + CLEAR * visits.fade_db
    heard = visits.windows > 0
    enough = (found & heard).sum() >= FEWEST_CLEAR * heard.sum()
    return found if enough else np.ones_like(found)


def field_kernels(fit: Fit, between: Paths, visits: Visits) -> Kernels:
    """The kernel of each field, from visits of which what was heard is all there was."""
    keys = list(residual_fields(fit, between, visits))
    sure = residual_fields(fit, between, visits.only(clear(fit, between, visits)))
    none = Field(np.zeros((0, 2)), np.zeros(0), np.zeros(0))
    return dict(zip(keys, search_kernels([sure.get(key, none) for key in keys]), strict=True))


def at_visits(fields: Fields, kernels: Kernels, visits: Visits) -> Floats:
    """The map's correction of each visit, dB."""
    found = np.zeros(len(visits.place))
    floor = visits.places.floor[visits.place]
    where = np.stack([visits.places.x, visits.places.y], axis=1)[visits.place]
    for (gateway, on), field in fields.items():
        if (gateway, on) not in kernels:
            continue
        mine = (visits.gateway == gateway) & (floor == on)
        found[mine] = posterior_mean(field, kernels[gateway, on], where[mine])
    return found


def with_map(calibration: Calibration, site: Site, fields: Fields, kernels: Kernels) -> Calibration:
    """The calibration with a patch for each gateway and floor that has a field."""
    boxes: list[Floats] = [np.array(floor.outline, np.float64) for floor in site.floors]
    sizes = [np.ptp(box, axis=0) for box in boxes]
    area = sum(float(np.prod(sizes[floor])) for _, floor in fields)
    cell = CELL_M[0] if max(np.prod(size) for size in sizes) <= SMALL_M2 else CELL_M[1]
    cell = round(max(cell, math.sqrt(area / MOST_CELLS)), 3)
    patches = []
    for (row, floor), field in sorted(fields.items(), key=lambda item: item[0]):
        wide, deep = (int(n) for n in np.ceil(sizes[floor] / cell) + 1)
        middle = (boxes[floor].min(axis=0) + boxes[floor].max(axis=0)) / 2
        left = round(float(middle[0]) - (wide - 1) * cell / 2, 4)
        low = round(float(middle[1]) - (deep - 1) * cell / 2, 4)
        y, x = np.meshgrid(
            low + cell * np.arange(deep), left + cell * np.arange(wide), indexing="ij"
        )
        values = posterior_mean(
            field, kernels[row, floor], np.stack([x.ravel(), y.ravel()], axis=1)
        )
        patches.append(
            MapPatch(
                site.gateways[row].id,
                site.floors[floor].id,
                (left, low),
                (wide, deep),
                pack_map(values.reshape(deep, wide)),
            )
        )
    return msgspec.structs.replace(calibration, map_cell_m=cell, radio_map=patches)


def _residuals(fit: Fit, visits: Visits, mean: Floats) -> tuple[Floats, Floats]:
    """Each visit's residual in dB, and its precision where a usual one has 1."""
    sigma = fit.sd_db * math.sqrt((NU - 2.0) / NU)
    value, precision = np.zeros(len(mean)), np.zeros(len(mean))
    h = np.flatnonzero(visits.windows > 0)
    value[h] = untruncated(visits, h, mean[h], sigma) - mean[h]
    # Against the gateway's own spread: what path loss cannot tell there is no outlier, and may be
    # the very thing that a map is for.
    gateway = visits.gateway[h]
    squares = np.bincount(gateway, value[h] ** 2) / np.maximum(np.bincount(gateway), 1)
    ratio = value[h] ** 2 / np.maximum(squares, sigma**2)[gateway]
    precision[h] = (NU + 1.0) / (NU + ratio)
    # A silent gateway as the normal observation that would say as much: the posterior's moments
    # divided by the prior's (Minka, Expectation propagation, UAI 2001).
    s = np.flatnonzero(visits.windows == 0)
    z = (silent_limit(visits, s) - mean[s]) / sigma
    ratio, below = mills(z)
    # Deaf for another reason, it says nothing: the moments are of the mixture of both.
    far = (1.0 - DEAF) * below / ((1.0 - DEAF) * below + DEAF)
    shift = -far * ratio
    shrunk = np.clip(1.0 - far * ratio * z - shift**2, 1e-3, None)
    telling = shrunk < TELLING
    s, shift, shrunk = s[telling], shift[telling], shrunk[telling]
    precision[s] = 1.0 / shrunk - 1.0
    value[s] = sigma * shift / (1.0 - shrunk)
    return value, precision


def _merged(where: Floats, value: Floats, precision: Floats) -> Field:
    """A field of not too many places: neighbours are merged until they are few enough."""
    side = 0.5
    while len(value) > MOST_FIELD_PLACES:
        _, inverse = np.unique(np.round(where / side), axis=0, return_inverse=True)
        group = inverse.ravel()
        total: Floats = np.bincount(group, precision).astype(np.float64)
        value = np.bincount(group, precision * value) / total
        where = np.stack(
            [np.bincount(group, precision * where[:, k]) / total for k in (0, 1)], axis=1
        )
        precision, side = total, side * 1.4
    return Field(where, value, SHARED_NOISE + (1.0 - SHARED_NOISE) / precision)
