"""How far off positions are: the tables of docs/accuracy.md, measured sites and simulated halls.

    python benchmarks/accuracy.py [--data ../shared/data] [--only measured|simulated] [--quick]

A measured site is a folder with `site.json`, and with recording and truth under `survey/` and
under `tracks/`. The survey is what a calibration and fingerprints are made from; tracks are
located and never fitted on. The halls are drawn anew from their seeds, into a temporary directory,
and nothing is known of their radio. Everything goes through the engine that runs live. Prints
Markdown; the same readings give the same figures. In full some 15 minutes of one core.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from balise.simulate import (
    RECORDING_FILE,
    SITE_FILE,
    START,
    TRUTH_FILE,
    simulate,
    warehouse_site,
)
from gateway.radio.faults import LEVELS
from gateway.radio.parameters import RadioParameters
from stream.bootstrap import Interval
from stream.calibration import Calibration, prior
from stream.engine import Engine
from stream.evaluate import STATED, Evaluation, Row, evaluate, snapshot_bound
from stream.fingerprints import fingerprints
from stream.peers import Compared, Peers
from stream.recording import read_batches
from stream.replay import replay_ticks
from stream.site import Site, load_site
from stream.survey import survey
from stream.truth import Path2D, Truth, load_truth

# The air of these halls: the shadowing that the locator's accuracy is promised for; everything
# else as the virtual radio draws it (docs/simulation.md), body loss of 5 to 10 dB among it.
RADIO: Final = RadioParameters(shadowing_sd_db=(3.0, 4.5))
# How far apart, for clustering alone, two halls stand.
_APART_M: Final = 10_000.0
_APART_ROWS: Final = 100_000


class World(NamedTuple):
    """A simulated hall and how it is looked at.

    Attributes:
        seed: of stock, radio and walks.
        width_m, depth_m, gateways: the hall; a gateway to 100 m2.
        items, pickers: who is in it.
        minutes: simulated.
        first, last: minutes that are compared, from and to.
    """

    seed: int
    width_m: float
    depth_m: float
    gateways: int
    items: int = 80
    pickers: int = 10
    minutes: float = 25.0
    first: tuple[float, float] = (0.0, 5.0)
    last: tuple[float, float] = (20.0, 25.0)

    @property
    def phases(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Both stretches of time."""
        return self.first, self.last


# Seeds and sizes that nothing was tried on while the locator was made (that were 11 to 16).
WORLDS: Final = (
    World(101, 48.0, 36.0, 17),
    World(102, 75.0, 50.0, 38),
    World(103, 90.0, 60.0, 54),
    World(104, 36.0, 56.0, 20),
    World(105, 66.0, 30.0, 20),
    World(106, 54.0, 54.0, 29),
)
QUICK: Final = (World(107, 30.0, 30.0, 9, 10, 4, 2.0, (0.0, 1.0), (1.0, 2.0)),)


def measured(folder: Path) -> Iterator[str]:
    """The section of one measured site."""
    site = load_site(folder / "site.json")
    made_on, judged_on = folder / "survey", folder / "tracks"

    surveyed = load_truth(made_on / TRUTH_FILE, site)
    calibration = survey(site, read_batches(made_on / RECORDING_FILE, site.id), surveyed)
    prints = fingerprints(site, read_batches(made_on / RECORDING_FILE, site.id), surveyed)
    truth = load_truth(judged_on / TRUTH_FILE, site)
    plain = evaluate(site, read_batches(judged_on / RECORDING_FILE, site.id), truth)
    mapped = evaluate(
        site,
        read_batches(judged_on / RECORDING_FILE, site.id),
        truth,
        calibration=calibration,
        prints=prints,
    )
    yield f"### {site.id}"
    yield ""
    yield f"{len(site.gateways)} gateways; {_scope(plain)}."
    for name, result, methods in (
        ("nothing surveyed", plain, plain.names),
        ("surveyed", mapped, [mapped.names[0], mapped.names[-1]]),
    ):
        yield ""
        yield f"| {name} | median | mean | p90 | p95 | median beyond balise |"
        yield "|---|---|---|---|---|---|"
        yield from (_row(row) for row in result.rows() if row.method in methods)
        yield ""
        yield _honesty(result)
    yield ""


def _row(row: Row) -> str:
    beyond = "" if row.method == "balise" else _ranged(row.behind, row.behind_in, "+")
    return (
        f"| {row.method} | {_ranged(row.median, row.median_in)} | {row.mean:.2f} | "
        f"{_ranged(row.p90, row.p90_in)} | {row.p95:.2f} | {beyond} |"
    )


def _scope(result: Evaluation) -> str:
    return f"{len(result.compared.t):,} fixes of {result.beacons} beacons"


def _honesty(result: Evaluation) -> str:
    rms = float(np.sqrt((result.compared.errors[0] ** 2).mean()))
    return (
        f"The radius (median {result.accuracy:.1f} m, states {100 * STATED:.0f} %) holds "
        f"{100 * result.coverage:.0f} % of balise's errors. Bound of a single snapshot's rms "
        f"error under this model: {result.bound_rms:.2f} m; balise has {rms:.2f} m."
    )


def _ranged(value: float, within: Interval, sign: str = "") -> str:
    if np.isnan(within.low):
        return f"{value:{sign}.2f}"
    return f"{value:{sign}.2f} [{within.low:.2f}, {within.high:.2f}]"


class Seen(NamedTuple):
    """What became of a world: both phases, and when it calibrated itself, in minutes."""

    world: World
    phases: list[Evaluation]
    fitted: list[float]


def run_world(world: World, directory: Path) -> Seen:
    """Simulates a world, replays it and compares both phases."""
    site = warehouse_site(
        world.seed,
        width_m=world.width_m,
        depth_m=world.depth_m,
        gateways=world.gateways,
        items=world.items,
        pickers=world.pickers,
    )
    simulate(
        site,
        directory,
        seconds=60.0 * world.minutes,
        seed=world.seed,
        faults=LEVELS["mild"],
        radio=RADIO,
    )
    site = load_site(directory / SITE_FILE)
    truth = during(load_truth(directory / TRUTH_FILE, site), world)
    engine, peers = Engine(site, 1), Peers(site, truth)
    used: Calibration = engine.calibration
    fitted = []
    batches = peers.recent.watch(read_batches(directory / RECORDING_FILE, site.id))
    for tick in replay_ticks(site, batches, engine):
        peers.add(tick)
        if engine.calibration is not used:
            used = engine.calibration
            fitted.append((tick.t - START) / 60.0)
    compared = peers.compared()
    models = (prior(site.id), used)
    phases = [
        _phase(site, peers, compared, span, model)
        for span, model in zip(world.phases, models, strict=True)
    ]
    return Seen(world, phases, fitted)


def during(truth: Truth, world: World) -> Truth:
    """The truth of the phases alone: then peers need not answer for the time between."""
    kept: Truth = {}
    for beacon, path in truth.items():
        minute = (path.t - START) / 60.0
        mine = np.logical_or.reduce([(minute >= a) & (minute <= b) for a, b in world.phases])
        kept[beacon] = Path2D(path.t[mine], path.x[mine], path.y[mine], path.floor[mine])
    return kept


def _phase(
    site: Site, peers: Peers, compared: Compared, span: tuple[float, float], model: Calibration
) -> Evaluation:
    minute = (compared.t - START) / 60.0
    part = compared.only((minute >= span[0]) & (minute <= span[1]))
    bound = snapshot_bound(site, model, part.xy, part.floor)
    return Evaluation(peers.methods, part, bound, len(site.floors) > 1, 0, peers.unheard)


def pooled(parts: list[Evaluation]) -> Evaluation:
    """The fixes of all worlds as one evaluation, each world in a place of its own."""
    moved = [
        part.compared._replace(
            trackable=part.compared.trackable + number * _APART_ROWS,
            beacon=part.compared.beacon + number * _APART_ROWS,
            xy=part.compared.xy + number * _APART_M,
        )
        for number, part in enumerate(parts)
    ]
    columns = list(zip(*moved, strict=True))
    whole = Compared(
        *(np.concatenate(column) for column in columns[:7]),
        *(np.concatenate(column, axis=1) for column in columns[7:]),
    )
    return parts[0]._replace(compared=whole, bound=np.concatenate([part.bound for part in parts]))


def simulated(worlds: tuple[World, ...]) -> Iterator[str]:
    """The section of the simulated halls."""
    seen = []
    for world in worlds:
        print(f"hall {world.seed}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="balise-accuracy-") as directory:
            seen.append(run_world(world, Path(directory)))
    for number in range(2):
        for kind, title in (("picker", "Pickers"), ("item", "Items")):
            span = worlds[0].phases[number]
            state = ("nothing fitted yet", "as the hall has calibrated itself")[number]
            yield f"### {title}, minutes {span[0]:g} to {span[1]:g}: {state}"
            yield ""
            parts = [each.phases[number].by_kind()[kind] for each in seen]
            yield from _halls(worlds, parts)
            yield ""
    yield "Fits taken into use, in minutes after the start: " + "; ".join(
        f"{each.world.seed}: {', '.join(f'{m:.0f}' for m in each.fitted) or 'none'}"
        for each in seen
    )


def _halls(worlds: tuple[World, ...], parts: list[Evaluation]) -> Iterator[str]:
    """A table with a row per hall and one for all."""
    names = [
        f"{world.seed}: {world.width_m:g} x {world.depth_m:g} m, {world.gateways} gateways"
        for world in worlds
    ]
    if len(parts) > 1:
        names, parts = [*names, "all"], [*parts, pooled(parts)]
    peers = parts[0].names[1:]
    yield (
        "| hall | balise median | p95 | radius holds | "
        + " | ".join(peers)
        + " | bound, rms | balise, rms |"
    )
    yield "|---" * (6 + len(peers)) + "|"
    for name, part in zip(names, parts, strict=True):
        ours, *others = part.rows()
        cells = [
            name,
            _ranged(ours.median, ours.median_in),
            _ranged(ours.p95, ours.p95_in),
            f"{100 * part.coverage:.0f} %",
            *(f"{row.median:.2f} / {row.p95:.2f}" for row in others),
            f"{part.bound_rms:.2f}",
            f"{ours.rms:.2f}",
        ]
        yield "| " + " | ".join(cells) + " |"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", choices=["measured", "simulated"])
    parser.add_argument("--quick", action="store_true", help="one small hall for two minutes")
    args = parser.parse_args()
    if args.only != "simulated" and not args.quick:
        folders = sorted(path.parent for path in args.data.glob("*/site.json"))
        if not folders:
            print(f"There are no measured sites in {args.data}; they are left out.\n")
        if folders:
            print("## Measured sites\n")
        for folder in folders:
            print(f"site {folder.name}", file=sys.stderr, flush=True)
            for line in measured(folder):
                print(line, flush=True)
    if args.only != "measured":
        print("## Simulated halls\n")
        for line in simulated(QUICK if args.quick else WORLDS):
            print(line, flush=True)


if __name__ == "__main__":
    main()
