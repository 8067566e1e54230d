"""`balise evaluate`: the errors of a recording's fixes against truth, beside two baselines."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "compare a recording's fixes with the truth, beside two baselines"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--site", type=Path, required=True, help="site file (JSON)")
    parser.add_argument(
        "--recording", type=Path, required=True, help="recording (JSON Lines, may be gzipped)"
    )
    parser.add_argument("--truth", type=Path, required=True, help="truth (CSV t,beacon,x,y,floor)")
    parser.add_argument(
        "--only", choices=["item", "picker", "visitor", "cart", "other"], help="one kind only"
    )


def run(args: argparse.Namespace) -> int:
    """Prints the table."""
    from stream.evaluate import evaluate, table
    from stream.recording import read_batches
    from stream.site import load_site
    from stream.truth import load_truth

    site = load_site(args.site)
    truth = load_truth(args.truth, site)
    if args.only:
        kind = {b: part.kind for part in site.trackables for b in part.beacons}
        truth = {beacon: path for beacon, path in truth.items() if kind.get(beacon) == args.only}
    print(table(evaluate(site, read_batches(args.recording, site.id), truth)))
    return 0
