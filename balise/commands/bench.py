"""`balise bench`: measures the pipeline on this machine and prints a table."""

from __future__ import annotations

import argparse

HELP = "measure what the pipeline carries on this machine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "--beacons",
        type=int,
        nargs="+",
        default=[1_000, 10_000],
        metavar="N",
        help="sizes to measure (default: 1000 10000), each beacon heard by 8 gateways at 1 Hz",
    )


def run(args: argparse.Namespace) -> int:
    """Prints the table."""
    import asyncio
    import sys

    from balise.bench import bench, table
    from gateway.errors import UserError

    for beacons in args.beacons:
        if not 10 <= beacons <= 60_000:
            raise UserError(f"--beacons {beacons}: 10 to 60000 can be measured")
    results = asyncio.run(bench(args.beacons, lambda line: print(line, file=sys.stderr)))
    print(table(results))
    return 0
