"""Evaluation: the errors of replayed fixes against truth, beside two baselines anybody can check.

The baselines see, at the same moments, the means of the readings of the last few seconds:
the strongest gateway's place, and the weighted centroid of all that heard the beacon.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from gateway.errors import UserError
from gateway.readings import Batch
from stream.engine import Engine
from stream.evidence import RSSI_RANGE
from stream.locator import Layout
from stream.replay import replay_ticks
from stream.site import Site
from stream.solver import weighted_centroid
from stream.truth import Truth

# What the baselines average over; the measured comparisons this project started from used 3-5 s.
BASELINE_WINDOW_S: Final = 4.0
# ... and the weights of the centroid: power in milliwatts, the usual choice.
BASELINE_DB: Final = 10.0
Floats = npt.NDArray[np.float64]


class EvaluationError(UserError, ValueError):
    """Nothing to evaluate: the sentence says what did not match."""


class Errors(NamedTuple):
    """A method's errors in metres over all evaluated fixes."""

    method: str
    metres: Floats

    def figures(self) -> tuple[float, float, float, float]:
        """Median, mean, 90th and 95th percentile in metres."""
        p50, p90, p95 = np.percentile(self.metres, [50, 90, 95])
        return float(p50), float(self.metres.mean()), float(p90), float(p95)


class Evaluation(NamedTuple):
    """Errors by method (ours first), and how honest the accuracy radius and the floor are.

    Attributes:
        methods: errors.
        coverage: share of our errors within the stated radius (68 % is what it states).
        accuracy: median stated radius in metres.
        floor: share of fixes on the right floor.
        beacons: how many beacons were evaluated.
        late: batches that came too late to be located.
    """

    methods: list[Errors]
    coverage: float
    accuracy: float
    floor: float
    beacons: int
    late: int


def evaluate(site: Site, batches: Iterable[Batch], truth: Truth) -> Evaluation:
    """Replays the batches and compares every fix that truth knows.

    Raises:
        EvaluationError: when no fix has a truth.
    """
    engine = Engine(site, 1)
    recent = _Recent(site)
    ours, nearest, centroid, radius, floors = [], [], [], [], []
    beacons: set[str] = set()
    for tick in replay_ticks(site, recent.watch(batches), engine):
        for fix in tick.fixes:
            beacon = site.trackables[int(fix["trackable"])].beacons[int(fix["beacon"])]
            place = truth[beacon].at(tick.t) if beacon in truth else None
            heard = recent.heard(beacon, tick.t)
            if place is None or heard is None:
                continue
            x, y, floor = place
            beacons.add(beacon)
            ours.append(np.hypot(fix["x"] - x, fix["y"] - y))
            radius.append(float(fix["accuracy"]))
            floors.append(int(fix["floor"]) == floor)
            places, rssi = heard
            loudest = places[0, int(rssi.argmax())]
            everywhere = np.ones(rssi.shape, np.bool_)
            middle = weighted_centroid(places, rssi, everywhere, BASELINE_DB)[0]
            nearest.append(np.hypot(loudest[0] - x, loudest[1] - y))
            centroid.append(np.hypot(middle[0] - x, middle[1] - y))
    if not ours:
        raise EvaluationError(
            "no fix has a truth: do beacons and times of recording and truth belong together?"
        )
    errors, stated = np.array(ours, np.float64), np.array(radius)
    return Evaluation(
        [
            Errors("balise", errors),
            Errors("nearest gateway", np.array(nearest, np.float64)),
            Errors("weighted centroid", np.array(centroid, np.float64)),
        ],
        float((errors <= stated).mean()),
        float(np.median(stated)),
        float(np.mean(floors)),
        len(beacons),
        engine.summary().late,
    )


def table(result: Evaluation) -> str:
    """The evaluation as a table for people."""
    lines = [f"{'error in m':<20}{'median':>8}{'mean':>8}{'p90':>8}{'p95':>8}"]
    lines += [
        f"{errors.method:<20}" + "".join(f"{v:8.2f}" for v in errors.figures())
        for errors in result.methods
    ]
    lines.append(
        f"{len(result.methods[0].metres)} fixes of {result.beacons} beacons; the accuracy radius "
        f"(median {result.accuracy:.1f} m, states 68 %) holds {100 * result.coverage:.0f} % of "
        f"the errors; right floor {100 * result.floor:.1f} %; {result.late} batches came too late"
    )
    return "\n".join(lines)


class _Recent:
    """The last seconds' readings by beacon, for the baselines."""

    def __init__(self, site: Site) -> None:
        self._layout: Final = Layout(site)
        self._heard: Final[dict[str, deque[tuple[float, int, float, int]]]] = {}

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Hands the batches on, remembering what they say."""
        for batch in batches:
            row = self._layout.gateway_row.get(batch.gateway)
            if row is not None:
                for beacon, rssi, n in zip(batch.beacons, batch.rssi, batch.n, strict=True):
                    if RSSI_RANGE[0] <= rssi <= RSSI_RANGE[1]:
                        entries = self._heard.setdefault(beacon, deque())
                        entries.append((batch.t, row, rssi, max(n, 1)))
            yield batch

    def heard(self, beacon: str, t: float) -> tuple[Floats, Floats] | None:
        """Places (1, gateways, 3) and mean RSSI (1, gateways) of those that heard it lately."""
        entries = self._heard.get(beacon, deque())
        # A tick closes a little after its readings came in, so entries may be a tick ahead.
        while entries and entries[0][0] <= t - BASELINE_WINDOW_S:
            entries.popleft()
        sums: dict[int, list[float]] = {}
        for when, row, rssi, n in entries:
            if when <= t:
                total = sums.setdefault(row, [0.0, 0.0])
                total[0] += n * rssi
                total[1] += n
        if not sums:
            return None
        rows = np.array(list(sums), np.int64)
        means = np.array([total / n for total, n in sums.values()])
        return self._layout.gateway_place[rows][None], means[None]
