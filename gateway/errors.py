"""The root of the errors a user sees.

The tree in full:

    UserError
    +-- gateway.broker_url.BrokerUrlError
    +-- gateway.config.ConfigError
    +-- gateway.readings.ReadingsError
    +-- stream.calibrate.SelfCalibrationError
    +-- stream.calibration.CalibrationError
    +-- stream.evaluate.EvaluationError
    +-- stream.planner.PlanError
    +-- stream.site.SiteError
    +-- stream.connection.StoreError (its own tree is drawn there)
    +-- stream.record.RecordError
    +-- stream.survey_places.SurveyError
    +-- stream.worker.WorkerNameError
"""

from __future__ import annotations


class UserError(Exception):
    """An error whose message is one sentence for a person: what, where, how to mend it.

    The command line prints the sentence without a traceback and exits with 2.
    """
