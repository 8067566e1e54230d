"""`balise simulate`: a virtual site on the air, into files or live to a broker."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.readings import MAX_T, MAX_WINDOW_S

if TYPE_CHECKING:
    from stream.site import Site

HELP: Final = "simulate a site: write recording and truth, or publish live"

FAULTS: Final = ("none", "mild", "harsh")
SECONDS: Final = 600.0
# Ten years: longer is a typing error.
MAX_SECONDS: Final = 315_360_000.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The site or the warehouse's sizes, where to write or publish, and how."""
    site = parser.add_argument_group("the site: a file, or a generated warehouse")
    site.add_argument("--site", type=Path, metavar="FILE", help="site document")
    site.add_argument("--warehouse", type=int, metavar="SEED", help="generate one from this seed")
    site.add_argument("--width", type=float, default=60.0, metavar="M")
    site.add_argument("--depth", type=float, default=40.0, metavar="M")
    site.add_argument("--gateways", type=int, default=24, metavar="N")
    site.add_argument("--items", type=int, default=300, metavar="N")
    site.add_argument("--pickers", type=int, default=12, metavar="N")
    site.add_argument("--carts", type=int, default=0, metavar="N")
    site.add_argument("--visitors", type=int, default=0, metavar="N")
    site.add_argument("--floors", type=int, default=1, metavar="N")
    site.add_argument(
        "--gateway-adverts",
        action="store_true",
        help="gateways of the warehouse advertise, so that they calibrate each other",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write site.json, recording.jsonl.gz, truth.csv"
    )
    parser.add_argument("--force", action="store_true", help="write over what is in --out")
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="N",
        help=f"how long (default {SECONDS:.0f}; with --mqtt until stopped)",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of everything random")
    parser.add_argument(
        "--window", type=float, default=1.0, metavar="S", help="the gateways' window (default 1)"
    )
    parser.add_argument(
        "--faults", choices=FAULTS, default="mild", help="of links and power (default mild)"
    )
    parser.add_argument(
        "--start", type=float, metavar="T", help="Unix seconds of the first advert (files only)"
    )
    parser.add_argument(
        "--mqtt", metavar="URL", help="publish live, each gateway with a connection of its own"
    )
    parser.add_argument(
        "--ledger",
        type=Path,
        metavar="FILE",
        help="with --mqtt: a line gateway,boot,seq,readings per batch the broker acknowledged",
    )


def run(args: argparse.Namespace) -> int:
    """Simulates; 0 when it came to its end."""
    from balise.simulate import SimulationError, claim, plan_of

    if args.seed < 0:
        raise SimulationError(f"--seed {args.seed} is negative; give 0 or more")
    if not 0.0 < args.window <= MAX_WINDOW_S:
        raise SimulationError(f"--window must be above 0 and at most {MAX_WINDOW_S:.0f} s")
    if args.seconds is not None and not 0.0 < args.seconds <= MAX_SECONDS:
        raise SimulationError(f"--seconds must be above 0 and at most {MAX_SECONDS:.0f}")
    if args.start is not None and not 0.0 < args.start < MAX_T - MAX_SECONDS:
        raise SimulationError("--start must be Unix seconds, such as 1767603600")
    if args.mqtt is None and args.out is None:
        raise SimulationError("give --out DIR to write files, or --mqtt URL to publish live")
    if args.mqtt is None and args.ledger is not None:
        raise SimulationError("--ledger lists what was published; it needs --mqtt URL")
    site = _site(args)
    # Before the directory is made for nothing.
    plan_of(site)
    if args.out is not None:
        claim(args.out, force=args.force)
    return _files(args, site) if args.mqtt is None else _live(args, site)


def _site(args: argparse.Namespace) -> Site:
    from balise.simulate import SimulationError, warehouse_site
    from stream.site import load_site

    if args.site is not None and args.warehouse is not None:
        raise SimulationError("give --site FILE or --warehouse SEED, not both")
    if args.site is not None and args.gateway_adverts:
        raise SimulationError(
            "--gateway-adverts goes with --warehouse; in a site of your own give each gateway "
            "that advertises a `beacon`"
        )
    if args.site is not None:
        return load_site(args.site)
    if args.warehouse is None:
        raise SimulationError("give --site FILE, or --warehouse SEED to generate a site")
    return warehouse_site(
        args.warehouse,
        width_m=args.width,
        depth_m=args.depth,
        gateways=args.gateways,
        items=args.items,
        pickers=args.pickers,
        carts=args.carts,
        visitors=args.visitors,
        floors=args.floors,
        gateway_adverts=args.gateway_adverts,
    )


def _files(args: argparse.Namespace, site: Site) -> int:
    from balise.simulate import START, SimulationError, simulate
    from gateway.radio.faults import LEVELS

    began = time.perf_counter()
    seconds = SECONDS if args.seconds is None else args.seconds
    try:
        report = simulate(
            site,
            args.out,
            seconds=seconds,
            seed=args.seed,
            window_s=args.window,
            faults=LEVELS[args.faults],
            start=START if args.start is None else args.start,
        )
    except OSError as error:
        raise SimulationError(f"{args.out} cannot be written: {error.strerror}") from error
    took = time.perf_counter() - began
    print(
        f"{args.out}: {seconds:g} s of {len(site.gateways)} gateways and {report.beacons} beacons: "
        f"{report.adverts:,} adverts, {report.readings:,} readings in {report.batches:,} batches "
        f"({report.lost} lost, {report.duplicated} doubled on purpose); took {took:.1f} s"
    )
    return 0


def _live(args: argparse.Namespace, site: Site) -> int:
    from balise.simulate_live import run_live
    from gateway.radio.faults import LEVELS

    return run_live(
        site,
        args.mqtt,
        seed=args.seed,
        window_s=args.window,
        faults=LEVELS[args.faults],
        out=args.out,
        seconds=args.seconds,
        ledger_file=args.ledger,
    )
