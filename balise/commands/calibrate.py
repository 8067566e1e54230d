"""`balise calibrate`: a site's radio model from a recording, surveyed where there is a truth."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import UserError

if TYPE_CHECKING:
    from stream.calibration import Calibration
    from stream.survey import Survey

HELP = "fit a site's radio model to a recording, with a survey's truth or without"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--site", type=Path, required=True, help="site file (JSON)")
    parser.add_argument(
        "--recording", type=Path, required=True, help="recording (JSON Lines, may be gzipped)"
    )
    parser.add_argument(
        "--truth", type=Path, help="where the beacons were, for a survey (CSV t,beacon,x,y,floor)"
    )
    parser.add_argument("--out", type=Path, required=True, help="calibration (JSON)")


def run(args: argparse.Namespace) -> int:
    """Writes the calibration, whole or not at all, and says what was found."""
    from stream.calibration import encode_calibration
    from stream.recording import read_batches
    from stream.site import load_site

    site = load_site(args.site)
    batches = read_batches(args.recording, site.id)
    if args.truth:
        from stream.survey import run_survey
        from stream.truth import load_truth

        found = run_survey(site, batches, load_truth(args.truth, site))
        calibration, told = found.calibration, _survey_rows(found)
    else:
        from stream.calibrate import calibrate_recording

        calibration, told = calibrate_recording(site, batches), []
    unfinished = args.out.with_name(args.out.name + ".part")
    try:
        unfinished.write_bytes(encode_calibration(calibration) + b"\n")
        unfinished.replace(args.out)
    except OSError as error:
        raise UserError(f"{args.out}: cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    kinds: set[str] = {part.kind for part in site.obstacles if part.loss_db is None}
    rows = [*_rows(calibration, kinds), *told]
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:<{width}}  {value}" for name, value in rows))
    return 0


def _rows(calibration: Calibration, kinds: set[str]) -> list[tuple[str, str]]:
    """What every calibration has; losses only of the kinds of obstacle that were fitted."""
    rows = [
        ("readings", f"{calibration.readings}"),
        ("RSSI at 1 m", f"{calibration.offset_dbm:.1f} dBm"),
        ("path-loss exponent", f"{calibration.exponent:.2f}"),
    ]
    exponents = [fit.exponent for fit in calibration.gateways.values() if fit.exponent]
    if exponents:
        span = f"exponents {min(exponents):.2f} to {max(exponents):.2f}"
        rows.append(("gateways fitted", f"{len(calibration.gateways)}, {span}"))
    rows.append(("unexplained", f"{calibration.sd_db:.1f} dB"))
    if "rack" in kinds:
        rows.append(("loss of a rack", f"{calibration.rack_db:.1f} dB"))
    if "wall" in kinds:
        rows.append(("loss of a wall", f"{calibration.wall_db:.1f} dB"))
    return rows


def _survey_rows(found: Survey) -> list[tuple[str, str]]:
    rows = [("places surveyed", f"{found.places}, with {found.beacons} beacons")]
    if math.isnan(found.rmse_db):
        return [*rows, ("radio map", "none: too few places to judge one")]
    rows.append(("error at places left out", f"{found.rmse_db:.2f} dB with path loss alone"))
    rows.append(("", f"{found.map_rmse_db:.2f} dB with the radio map"))
    if not found.calibration.radio_map:
        rows.append(("radio map", "none: it does not help"))
    else:
        cell = found.calibration.map_cell_m
        rows.append(("radio map", f"{len(found.calibration.radio_map)} patches, {cell:g} m cells"))
    return rows
