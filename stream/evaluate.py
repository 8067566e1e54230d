"""Evaluation: the errors of replayed fixes against truth, beside those of peers' methods.

Every method answers the same questions from the same readings (`stream.peers`), and every figure
that could be chance has an interval (`stream.bootstrap`). What the radio allows at best stands
beside them (`stream.bound`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from gateway.errors import UserError
from gateway.readings import Batch
from stream.bootstrap import Interval, Redraw, interval, redrawn
from stream.bound import bound_at
from stream.calibration import Calibration, prior
from stream.engine import Engine
from stream.fingerprints import Fingerprints
from stream.grid import Grid
from stream.peers import Compared, Peers
from stream.radio_model import Geometry, RadioModel
from stream.replay import replay_ticks
from stream.site import KINDS, Site
from stream.truth import Truth

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# The share of errors that the accuracy radius states to hold.
STATED: Final = 0.68
# A beacon that never leaves such a circle stands still; two that stand in one share everything
# that makes an error, so they tell as much as one.
STILL_M: Final = 0.5
# The bound is computed once for true places nearer to each other than this.
BOUND_M: Final = 0.5

_QUANTILES: Final = np.array([0.5, 0.9, 0.95])


class EvaluationError(UserError, ValueError):
    """Nothing to evaluate: the sentence says what did not match."""


class Errors(NamedTuple):
    """A method's errors in metres over all evaluated fixes."""

    method: str
    metres: Floats

    def figures(self) -> tuple[float, float, float, float]:
        """Median, mean, 90th and 95th percentile in metres."""
        p50, p90, p95 = np.quantile(self.metres, _QUANTILES)
        return float(p50), float(self.metres.mean()), float(p90), float(p95)


class Row(NamedTuple):
    """One method's figures in metres, with intervals of 95 % confidence.

    Attributes:
        method: its name.
        median, mean, p90, p95: errors.
        rms: root of the mean square, which is what the bound bounds.
        median_in, p90_in, p95_in: intervals.
        behind: its median less ours.
        behind_in: interval of that, paired: both from the same redrawn fixes.
        floor: share of fixes on the right floor.
    """

    method: str
    median: float
    mean: float
    p90: float
    p95: float
    rms: float
    median_in: Interval
    p90_in: Interval
    p95_in: Interval
    behind: float
    behind_in: Interval
    floor: float


class Evaluation(NamedTuple):
    """Errors by method, ours first, on the same fixes; and how honest radius and floor are.

    Attributes:
        names: the methods.
        compared: their errors, fix by fix.
        bound: the bound of a snapshot's rms error at each fix's true place, metres.
        several_floors: whether the site has more than one floor.
        late: batches that came too late to be located.
        unheard: fixes left out, since no gateway had heard the beacon in the seconds before.
    """

    names: list[str]
    compared: Compared
    bound: Floats
    several_floors: bool
    late: int
    unheard: int

    @property
    def methods(self) -> list[Errors]:
        """Errors by method."""
        return [Errors(*each) for each in zip(self.names, self.compared.errors, strict=True)]

    @property
    def coverage(self) -> float:
        """Share of our errors within the stated radius."""
        return float((self.compared.errors[0] <= self.compared.radius).mean())

    @property
    def accuracy(self) -> float:
        """Median stated radius in metres."""
        return float(np.median(self.compared.radius))

    @property
    def floor(self) -> float:
        """Share of our fixes on the right floor."""
        return float(self.compared.right[0].mean())

    @property
    def beacons(self) -> int:
        """How many beacons were evaluated."""
        return len(np.unique(self.compared.beacon))

    @property
    def bound_rms(self) -> float:
        """The bound of our rms error over all fixes, were each located from a snapshot."""
        return float(np.sqrt((self.bound**2).mean()))

    def by_kind(self) -> dict[str, Evaluation]:
        """The kinds that occur, each by itself; left out: how many fixes were unheard."""
        return {
            kind: self._replace(compared=self.compared.only(mine), bound=self.bound[mine])
            for row, kind in enumerate(KINDS)
            if (mine := self.compared.kind == row).any()
        }

    def redraw(self) -> Redraw:
        """How these fixes are redrawn."""
        return Redraw(clusters(self.compared), self.compared.t)

    def rows(self) -> list[Row]:
        """The figures with their intervals."""
        drawn = redrawn(self.compared.errors, self.redraw(), _QUANTILES)
        ours = self.methods[0].figures()[0]
        rows = []
        for i, errors in enumerate(self.methods):
            median, mean, p90, p95 = errors.figures()
            median_in, p90_in, p95_in = (interval(drawn[i, :, k]) for k in range(len(_QUANTILES)))
            rows.append(
                Row(
                    errors.method,
                    median,
                    mean,
                    p90,
                    p95,
                    float(np.sqrt((errors.metres**2).mean())),
                    median_in,
                    p90_in,
                    p95_in,
                    median - ours,
                    interval(drawn[i, :, 0] - drawn[0, :, 0]),
                    float(self.compared.right[i].mean()),
                )
            )
        return rows


def evaluate(
    site: Site,
    batches: Iterable[Batch],
    truth: Truth,
    *,
    calibration: Calibration | None = None,
    prints: Fingerprints | None = None,
) -> Evaluation:
    """Replays the batches and compares every fix that truth knows.

    Args:
        site: the document.
        batches: in the recording's order.
        truth: where beacons were.
        calibration: what the engine is to begin with; nothing measured by default.
        prints: a survey's fingerprints, for the method that needs them.

    Raises:
        EvaluationError: when no fix has a truth, or the calibration is of another site.
    """
    if calibration is not None and calibration.site != site.id:
        raise EvaluationError(
            f"the calibration is of the site `{calibration.site[:64]}`, not of `{site.id}`"
        )
    begin: dict[str, Any] = {} if calibration is None else {"calibration": calibration}
    engine = Engine(site, 1, **begin)
    peers = Peers(site, truth, prints)
    for tick in replay_ticks(site, peers.recent.watch(batches), engine):
        peers.add(tick)
    compared = peers.compared()
    if not len(compared.t):
        raise EvaluationError(
            "no fix has a truth: do beacons and times of recording and truth belong together?"
        )
    return Evaluation(
        peers.methods,
        compared,
        snapshot_bound(site, calibration or prior(site.id), compared.xy, compared.floor),
        len(site.floors) > 1,
        engine.summary().late,
        peers.unheard,
    )


def snapshot_bound(site: Site, calibration: Calibration, xy: Floats, floor: Ints) -> Floats:
    """The bound of the rms error at places (n, 2) on floor rows (n,), under a calibration."""
    keys = np.column_stack([np.rint(xy / BOUND_M), floor]).astype(np.int64)
    places, back = np.unique(keys, axis=0, return_inverse=True)
    grid = Grid(site)
    geometry = Geometry(site, grid)
    model = RadioModel(site, grid, geometry, calibration)
    at: Floats = places[:, :2].astype(np.float64) * BOUND_M
    bounds = bound_at(site, grid, geometry, model, at[:, 0], at[:, 1], places[:, 2], on_floor=True)
    found: Floats = bounds[back.ravel()]
    return found


def clusters(compared: Compared) -> Ints:
    """The cluster of each fix: its trackable, or all those that stand still at the same place."""
    order = np.argsort(compared.trackable, kind="stable")
    first = np.flatnonzero(np.diff(compared.trackable[order], prepend=-1))
    xy, floor = compared.xy[order], compared.floor[order]
    least, most = np.minimum.reduceat(xy, first), np.maximum.reduceat(xy, first)
    still = np.hypot(*(most - least).T) <= STILL_M
    middle = np.rint(0.5 * (least + most) / STILL_M).astype(np.int64)
    # A walker's number is its own; those who stand still have that of their place.
    own = np.where(still, -1, np.arange(len(first)))
    keys = np.column_stack([own, np.where(still[:, None], middle, 0), floor[first] * still])
    _, number = np.unique(keys, axis=0, return_inverse=True)
    cluster = np.empty(len(order), np.int64)
    cluster[order] = np.repeat(number.ravel(), np.diff(np.append(first, len(order))))
    return cluster


def table(result: Evaluation) -> str:
    """The evaluation as tables for people: by kind where there are several, then all."""
    kinds = result.by_kind()
    parts = [("", result)] if len(kinds) == 1 else [*kinds.items(), ("all", result)]
    lines: list[str] = []
    for name, part in parts:
        lines += [*([""] if lines else []), *([name] if name else []), *_lines(part)]
    lines.append("[ ]: 95 % confidence, by redrawing whole beacons, or 20 s at a time if few")
    lines.append(f"{result.late} batches came too late")
    if result.unheard:
        lines.append(f"{result.unheard} more fixes of beacons not heard for seconds are left out")
    return "\n".join(lines)


_HEAD: Final = (
    f"{'error in m':<20}{'median':>21}{'mean':>7}{'p90':>21}{'p95':>7}{'median beyond ours':>22}"
)


def _lines(part: Evaluation) -> list[str]:
    rows = part.rows()
    lines = [_HEAD + ("  floor" if part.several_floors else "")]
    for i, row in enumerate(rows):
        beyond = _ranged(row.behind, row.behind_in, "+") if i else ""
        floor = f"{100 * row.floor:6.1f}%" if part.several_floors else ""
        lines.append(
            f"{row.method:<20}{_ranged(row.median, row.median_in):>21}{row.mean:7.2f}"
            f"{_ranged(row.p90, row.p90_in):>21}{row.p95:7.2f}{beyond:>22}{floor}".rstrip()
        )
    lines.append(
        f"{len(part.compared.t)} fixes of {part.beacons} beacons; the accuracy radius "
        f"(median {part.accuracy:.1f} m, states {100 * STATED:.0f} %) holds "
        f"{100 * part.coverage:.0f} % of the errors; right floor {100 * part.floor:.1f} %"
    )
    lines.append(
        f"bound (Cramer-Rao) of the rms error of single snapshots, by the radio model in use: "
        f"{part.bound_rms:.2f} m; balise has {rows[0].rms:.2f} m"
    )
    return lines


def _ranged(value: float, within: Interval, sign: str = "") -> str:
    if np.isnan(within.low):
        return f"{value:{sign}.2f}"
    return f"{value:{sign}.2f} [{within.low:.2f}, {within.high:.2f}]"


def report(result: Evaluation) -> dict[str, Any]:
    """The evaluation for programs: plain values, None where there is no interval."""
    return {
        "late": result.late,
        "unheard": result.unheard,
        "all": _figures(result),
        "kinds": {kind: _figures(part) for kind, part in result.by_kind().items()},
    }


def _figures(part: Evaluation) -> dict[str, Any]:
    return {
        "fixes": len(part.compared.t),
        "beacons": part.beacons,
        "radius": {"stated": STATED, "held": part.coverage, "median_m": part.accuracy},
        "bound_rms_m": part.bound_rms,
        "methods": [
            {
                "method": row.method,
                "median_m": row.median,
                "median_95": _pair(row.median_in),
                "mean_m": row.mean,
                "p90_m": row.p90,
                "p90_95": _pair(row.p90_in),
                "p95_m": row.p95,
                "p95_95": _pair(row.p95_in),
                "rms_m": row.rms,
                "median_beyond_ours_m": row.behind,
                "median_beyond_ours_95": _pair(row.behind_in),
                "right_floor": row.floor,
            }
            for row in part.rows()
        ],
    }


def _pair(within: Interval) -> list[float] | None:
    return None if np.isnan(within.low) else [within.low, within.high]
