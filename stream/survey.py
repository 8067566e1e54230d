"""Surveyed calibration: from a recording and the truth to a calibration with a radio map.

Path loss first (`stream.survey_fit`), then a Gaussian process over what it leaves at each gateway
(`stream.gaussian_process`). What is said about the model's error comes from places that were left
out of the fit, and a map that does not help at such places is not written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from gateway.readings import Batch
from stream.calibration import FORMAT, Calibration, GatewayFit
from stream.site import Site
from stream.survey_errors import SD_RANGE_DB, deviations, left_out_errors, rmse
from stream.survey_fit import SHARED, Fit, fit_path_loss, paths
from stream.survey_map import field_kernels, residual_fields, with_map
from stream.survey_places import SurveyError, Visits, gather
from stream.truth import Truth

Floats = npt.NDArray[np.float64]

# Fewer places left out than this cannot judge a map.
FEWEST_PLACES: Final = 8
# Bounds of what a document may hold, far outside of what radio does.
EXPONENT_RANGE: Final = (0.8, 7.0)
OFFSET_RANGE_DBM: Final = (-110.0, -10.0)
GATEWAY_RANGE_DB: Final = (-50.0, 50.0)
BEACON_SD_RANGE_DB: Final = (0.5, 30.0)
LOSS_RANGE_DB: Final = (0.0, 60.0)


class Survey(NamedTuple):
    """A surveyed calibration and how good it is.

    Attributes:
        calibration: the document.
        places: places surveyed.
        beacons: beacons heard there.
        visits: mean levels of a beacon at a place and gateway.
        rmse_db: error of the predicted level at places left out of the fit, with path loss alone;
            NaN with too few places.
        map_rmse_db: the same with the radio map.
    """

    calibration: Calibration
    places: int
    beacons: int
    visits: int
    rmse_db: float
    map_rmse_db: float


def survey(site: Site, batches: Iterable[Batch], truth: Truth) -> Calibration:
    """The site's calibration from readings of beacons whose places are known.

    Raises:
        SurveyError: when the readings and the truth have nothing in common.
    """
    return run_survey(site, batches, truth).calibration


def run_survey(site: Site, batches: Iterable[Batch], truth: Truth) -> Survey:
    """As `survey`, with what a person wants to know about it.

    Raises:
        SurveyError: when the readings and the truth have nothing in common.
    """
    if not site.gateways:
        raise SurveyError(f"site `{site.id}` has no gateways; a survey needs one at least")
    visits = gather(site, batches, truth)
    between = paths(site, visits.places)
    fit = fit_path_loss(between, visits)
    fields = residual_fields(fit, between, visits)
    kernels = field_kernels(fit, between, visits)
    plain, mapped = left_out_errors(between, visits, fit, kernels)
    plain_db, mapped_db = rmse(plain), rmse(mapped)
    enough = len(visits.places.x) >= FEWEST_PLACES
    helps = enough and mapped_db < plain_db
    if enough:
        sd, gateway_sd = deviations(mapped if helps else plain, visits, len(site.gateways))
    else:
        sd = _within(fit.sd_db, SD_RANGE_DB)
        gateway_sd = np.full(len(site.gateways), sd)
    calibration = _document(site, visits, fit, sd, gateway_sd)
    if helps:
        calibration = with_map(calibration, site, fields, kernels)
    return Survey(
        calibration,
        len(visits.places.x),
        len(np.unique(visits.beacon)),
        int((visits.windows > 0).sum()),
        plain_db if enough else math.nan,
        mapped_db if enough else math.nan,
    )


def _document(site: Site, visits: Visits, fit: Fit, sd: float, gateway_sd: Floats) -> Calibration:
    offset, exponent, rack, wall, slab = (float(value) for value in fit.shared[:SHARED])
    heard = visits.windows > 0
    gateways = {
        part.id: GatewayFit(
            round(_within(float(fit.gateway_db[row]), GATEWAY_RANGE_DB), 3),
            round(_within(exponent + float(fit.gateway_exponent[row]), EXPONENT_RANGE), 4),
            round(float(gateway_sd[row]), 3),
        )
        for row, part in enumerate(site.gateways)
        # Of a gateway that never heard anything nothing was found; the site's values hold.
        if (heard & (visits.gateway == row)).any()
    }
    return Calibration(
        FORMAT,
        site.id,
        "survey",
        t=round(visits.t, 3),
        readings=visits.readings,
        offset_dbm=round(_within(offset, OFFSET_RANGE_DBM), 3),
        offset_sd_db=round(_within(fit.beacon_sd_db, BEACON_SD_RANGE_DB), 3),
        exponent=round(_within(exponent, EXPONENT_RANGE), 4),
        sd_db=round(sd, 3),
        rack_db=round(_within(rack, LOSS_RANGE_DB), 3),
        wall_db=round(_within(wall, LOSS_RANGE_DB), 3),
        slab_db=round(_within(slab, LOSS_RANGE_DB), 3),
        gateways=gateways,
    )


def _within(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])
