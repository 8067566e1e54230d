"""`balise evaluate`: the errors of a recording's fixes against truth, beside peers' methods."""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.errors import UserError

HELP = "compare a recording's fixes with the truth, beside what other methods would have said"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--site", type=Path, required=True, help="site file (JSON)")
    parser.add_argument(
        "--recording", type=Path, required=True, help="recording (JSON Lines, may be gzipped)"
    )
    parser.add_argument("--truth", type=Path, required=True, help="truth (CSV t,beacon,x,y,floor)")
    parser.add_argument(
        "--calibration", type=Path, help="calibration file to locate with; nothing by default"
    )
    parser.add_argument(
        "--survey-recording",
        type=Path,
        help="recording of a survey of the site: adds kNN fingerprints to the methods",
    )
    parser.add_argument("--survey-truth", type=Path, help="the survey's truth")
    parser.add_argument(
        "--only", choices=["item", "picker", "visitor", "cart", "other"], help="one kind only"
    )
    parser.add_argument("--json", action="store_true", help="print figures for programs")


def run(args: argparse.Namespace) -> int:
    """Prints the table or the figures."""
    import msgspec

    from stream.calibration import load_calibration
    from stream.evaluate import evaluate, report, table
    from stream.fingerprints import fingerprints
    from stream.recording import read_batches
    from stream.site import load_site
    from stream.truth import load_truth

    if (args.survey_recording is None) != (args.survey_truth is None):
        raise UserError("--survey-recording and --survey-truth are needed together")
    site = load_site(args.site)
    truth = load_truth(args.truth, site)
    if args.only:
        kind = {b: part.kind for part in site.trackables for b in part.beacons}
        truth = {beacon: path for beacon, path in truth.items() if kind.get(beacon) == args.only}
    calibration = load_calibration(args.calibration) if args.calibration else None
    prints = None
    if args.survey_recording:
        surveyed = load_truth(args.survey_truth, site)
        prints = fingerprints(site, read_batches(args.survey_recording, site.id), surveyed)
    result = evaluate(
        site,
        read_batches(args.recording, site.id),
        truth,
        calibration=calibration,
        prints=prints,
    )
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(report(result)), indent=2).decode())
    else:
        print(table(result))
    return 0
