"""`balise site check | import | plan`: looks at a site document, and puts it into the store."""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.errors import UserError

if TYPE_CHECKING:
    from stream.planner import Figures, Plan, Report
    from stream.site import Site

HELP: Final = "check a site document, import it into the store, or plan its gateways"

# The gateways that add least are named: more are no advice.
SPARES: Final = 3
# A floor's name in the table.
NAME_CHARS: Final = 24

# Three unknowns: two of the place, one the beacon's unknown strength.
MIN_GATEWAYS: Final = 3


class SiteImportError(UserError, ValueError):
    """A site that cannot be imported as asked."""


class PicturesError(UserError, OSError):
    """Pictures that cannot be written: the sentence names the place."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`check FILE`, `import FILE --redis URL [--partitions N]` and `plan --site FILE`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser("check", help="check a site file and sum it up")
    check.add_argument("file", type=Path, metavar="FILE", help="the site document, JSON")
    into = actions.add_parser("import", help="make a site file the store's current site")
    into.add_argument("file", type=Path, metavar="FILE", help="the site document, JSON")
    into.add_argument("--redis", required=True, metavar="URL", help="redis://host:port/db")
    into.add_argument(
        "--partitions",
        type=int,
        default=1,
        metavar="N",
        help="into how many streams the site is split, fixed at its first import (default 1)",
    )
    ahead = actions.add_parser(
        "plan", help="predict the errors that the gateways allow, and where one more helps most"
    )
    ahead.add_argument(
        "--site", type=Path, required=True, dest="file", metavar="FILE", help="the site document"
    )
    ahead.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="the site's calibration; without it, what holds for a site that nobody measured",
    )
    ahead.add_argument(
        "--out", type=Path, metavar="DIR", help="write a picture of each floor there, SVG"
    )
    ahead.add_argument("--json", action="store_true", help="print everything, as JSON")


def run(args: argparse.Namespace) -> int:
    """Does the action; a fault in the document is a SiteError, one sentence."""
    from stream.site import load_site

    site = load_site(args.file)
    if args.action == "check":
        print("\n".join(summary(site)))
        return 0
    return _plan(args, site) if args.action == "plan" else _import(args, site)


def summary(site: Site) -> list[str]:
    """The site in a few plain lines."""
    x0, y0, x1, y1 = site.bounds()
    kinds = Counter(trackable.kind for trackable in site.trackables)
    beacons = sum(len(trackable.beacons) for trackable in site.trackables)
    of_kinds = ", ".join(_count(n, kind) for kind, n in sorted(kinds.items()))
    size = f"{x1 - x0:.1f} x {y1 - y0:.1f} m, {_count(len(site.floors), 'floor')}"
    parts = {
        "gateway": len(site.gateways),
        "obstacle": len(site.obstacles),
        "zone": len(site.zones),
        "slot": len(site.slots),
    }
    worn = f"{_count(len(site.trackables), 'trackable')} wearing {_count(beacons, 'beacon')}"
    lines = [
        f"site {site.id}: {site.name} ({site.timezone}), {size}",
        "  " + ", ".join(_count(n, name) for name, n in parts.items()),
        f"  {worn}: {of_kinds}" if of_kinds else f"  {worn}",
    ]
    if len(site.gateways) < MIN_GATEWAYS:
        lines.append(
            f"  note: a place needs at least {MIN_GATEWAYS} gateways that hear the beacon; "
            f"here are {len(site.gateways)}"
        )
    return lines


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 or word == "other" else f"{n} {word}s"


def _import(args: argparse.Namespace, site: Site) -> int:
    from stream.partition import MAX_PARTITIONS
    from stream.store import Store

    if not 1 <= args.partitions <= MAX_PARTITIONS:
        raise SiteImportError(f"--partitions is {args.partitions}; 1 to {MAX_PARTITIONS} are fine")

    async def put() -> tuple[int, int]:
        store = await Store.connect(args.redis, site.id)
        try:
            return await store.import_site(site, args.partitions), store.partitions
        finally:
            await store.close()

    version, partitions = asyncio.run(put())
    print(f"site {site.id} is in the store as version {version}, {_count(partitions, 'partition')}")
    return 0


def _plan(args: argparse.Namespace, site: Site) -> int:
    import msgspec

    from stream.calibration import load_calibration
    from stream.planner import plan

    calibration = load_calibration(args.calibration) if args.calibration else None
    made = plan(site, calibration)
    pictures = _draw(args.out, site, made) if args.out else []
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(made.report), indent=2).decode())
    else:
        print("\n".join([*advice(made.report), *pictures]))
    return 0


def advice(report: Report) -> list[str]:
    """The plan as a table of its floors and a few sentences."""
    known = (
        "nothing is measured yet"
        if report.origin == "prior"
        else f"after a calibration from {report.origin}"
    )
    lines = [
        f"site {report.site}, {known}: expected radius that holds 68 % of errors",
        f"{'floor':<{NAME_CHARS}}{'gateways':>10}{'median':>10}{'p90':>10}{'dead':>8}",
    ]
    lines += [
        f"{floor.name[: NAME_CHARS - 1]:<{NAME_CHARS}}{floor.gateways:>10}"
        f"{floor.now.median_m:>8.1f} m{floor.now.p90_m:>8.1f} m{100 * floor.now.dead_share:>6.0f} %"
        for floor in report.floors
    ]
    if report.next is not None:
        place = report.next
        lines.append(
            f"one more gateway helps most on floor {place.floor} at x {place.x:.1f}, "
            f"y {place.y:.1f}, {place.z:.1f} m high: {_figures(place.then)}"
        )
    else:
        lines.append("there is no room for one more gateway: racks and walls are everywhere")
    spares = report.spares[:SPARES] if len(report.spares) > MIN_GATEWAYS else []
    lines += [f"adds least: {part.gateway}; without it {_figures(part.without)}" for part in spares]
    return lines


def _figures(figures: Figures) -> str:
    dead = f"{100 * figures.dead_share:.0f} %"
    return f"median {figures.median_m:.1f} m, p90 {figures.p90_m:.1f} m, dead {dead}"


def _draw(directory: Path, site: Site, made: Plan) -> list[str]:
    """Writes the floors' pictures; gives a line for each."""
    from stream.plan_picture import file_names, picture

    lines = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for row, name in enumerate(file_names(site)):
            file = directory / name
            file.write_text(picture(site, made, row), encoding="utf-8")
            lines.append(f"drawn: {file}")
    except OSError as error:
        raise PicturesError(f"--out {directory}: cannot be written: {error.strerror}") from error
    return lines
