"""Self-calibration of a recording, offline: what the engine would fit, from all of it at once."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.errors import UserError
from gateway.readings import Batch
from stream.calibration import Calibration
from stream.calibrator import LEAST_SNAPSHOTS
from stream.engine import Engine
from stream.replay import replay_ticks
from stream.site import Site


class SelfCalibrationError(UserError, ValueError):
    """Too little was heard to fit anything: the sentence says how much is needed."""


def calibrate_recording(site: Site, batches: Iterable[Batch]) -> Calibration:
    """The calibration of a recording without truth.

    Replays it as the workers would, with every fit that proves itself taken into use, and then
    fits the last snapshots once more; without a trial, since nothing comes after.

    Raises:
        SelfCalibrationError: too little was heard to fit anything.
    """
    engine = Engine(site, 1)
    for _ in replay_ticks(site, batches, engine):
        pass
    fitted = engine.fit_now()
    if fitted is None:
        raise SelfCalibrationError(
            "the recording is too short to calibrate from: it needs at least "
            f"{LEAST_SNAPSHOTS} moments at which three gateways or more heard a beacon of the site"
        )
    return fitted
