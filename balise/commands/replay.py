"""`balise replay`: a recording through the workers' own code, to fixes as CSV."""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.errors import UserError

HELP = "locate a recording offline, with the same code as the workers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--site", type=Path, required=True, help="site file (JSON)")
    parser.add_argument(
        "--recording", type=Path, required=True, help="recording (JSON Lines, may be gzipped)"
    )
    parser.add_argument("--out", type=Path, required=True, help="fixes as CSV")
    parser.add_argument(
        "--calibration", type=Path, metavar="C", help="calibration to begin with (JSON)"
    )


def run(args: argparse.Namespace) -> int:
    """Writes the fixes; the file appears whole or not at all."""
    from stream.calibration import load_calibration
    from stream.engine import Engine
    from stream.fixes import CSV_HEADER, csv_rows
    from stream.recording import read_batches
    from stream.replay import replay_ticks
    from stream.site import load_site

    site = load_site(args.site)
    calibration = load_calibration(args.calibration, site.id) if args.calibration else None
    engine = Engine(site, 1, calibration=calibration)
    unfinished = args.out.with_name(args.out.name + ".part")
    try:
        with unfinished.open("w", encoding="utf-8", newline="\n") as out:
            out.write(CSV_HEADER + "\n")
            for tick in replay_ticks(site, read_batches(args.recording, site.id), engine):
                out.writelines(row + "\n" for row in csv_rows(tick, site))
        unfinished.replace(args.out)
    except OSError as error:
        raise UserError(f"{args.out}: cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    summary = engine.summary()
    print(
        f"{summary.batches} batches with {summary.readings} readings gave {summary.fixes} fixes; "
        f"{summary.duplicates} duplicates, {summary.late} late, {summary.unknown} of unknown "
        f"gateways, {summary.out_of_range} readings with an impossible RSSI"
    )
    return 0
