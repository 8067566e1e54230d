"""`balise site check | import`: looks at a site document, and puts it into the store."""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.errors import UserError

if TYPE_CHECKING:
    from stream.site import Site

HELP: Final = "check a site document, or import it into the store"

# Three unknowns: two of the place, one the beacon's unknown strength.
MIN_GATEWAYS: Final = 3


class SiteImportError(UserError, ValueError):
    """A site that cannot be imported as asked."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`check FILE` and `import FILE --redis URL [--partitions N]`."""
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


def run(args: argparse.Namespace) -> int:
    """Does the action; a fault in the document is a SiteError, one sentence."""
    from stream.site import load_site

    site = load_site(args.file)
    if args.action == "check":
        print("\n".join(summary(site)))
        return 0
    return _import(args, site)


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
