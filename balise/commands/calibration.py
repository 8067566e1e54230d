"""`balise calibration`: lists, shows, exports, imports, compares and rolls back calibrations."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.errors import UserError

if TYPE_CHECKING:
    from stream.calibration import Calibration
    from stream.calibration_store import Calibrations, VersionId
    from stream.site import Site

T = TypeVar("T")

HELP: Final = "list, show, export, import, compare or roll back a site's calibrations"
_VERSION: Final = "a version: 3 of the site, 0.12 fitted by partition 0"
_DEFAULT: Final = f"{_VERSION} (default: the one in use)"


class CalibrationArgumentError(UserError, ValueError):
    """Arguments that do not fit together, or a file that cannot be written."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`list | show | export | import | compare | rollback`, each with `--redis URL --site ID`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _action(actions, "list", "the versions that are kept, and which are in use")
    show = _action(actions, "show", "one version, summed up")
    show.add_argument("version", nargs="?", metavar="VERSION", help=_DEFAULT)
    export = _action(actions, "export", "one version's document into a file")
    export.add_argument("version", nargs="?", metavar="VERSION", help=_DEFAULT)
    export.add_argument("--out", type=Path, metavar="FILE", help="default: standard output")
    into = _action(actions, "import", "make a file the site's next version")
    into.add_argument("file", type=Path, metavar="FILE", help="the document, JSON")
    back = _action(actions, "rollback", "make an earlier version the site's next one")
    back.add_argument("version", metavar="VERSION", help=f"{_VERSION}; 0 is the prior")
    for writes in (into, back):
        writes.add_argument("--note", default="", metavar="TEXT", help="why, for the list")
        writes.add_argument("--by", metavar="NAME", help="who, for the list (default: your login)")
        writes.add_argument(
            "--expect",
            type=int,
            metavar="N",
            help="only while N is the site's current version (default: whichever is)",
        )
    two = _action(actions, "compare", "what differs between two versions or files", stored=False)
    for name in ("a", "b"):
        two.add_argument(name, metavar=name.upper(), help=f"a file, or {_VERSION}")
    two.add_argument(
        "--site-file", type=Path, metavar="FILE", help="the site document; default: the store's"
    )


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    what: str,
    *,
    stored: bool = True,
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=what)
    parser.add_argument("--redis", required=stored, metavar="URL", help="redis://host:port/db")
    parser.add_argument("--site", required=stored, metavar="ID", help="the site's id in the store")
    return parser


def run(args: argparse.Namespace) -> int:
    """Does the action; every mistake is a UserError, one sentence."""
    does: dict[str, Callable[[argparse.Namespace], None]] = {
        "list": _list,
        "show": _show,
        "export": _export,
        "import": _import,
        "compare": _compare,
        "rollback": _roll_back,
    }
    does[args.action](args)
    return 0


def _in_store(args: argparse.Namespace, work: Callable[[Calibrations], Awaitable[T]]) -> T:
    """What `work` gives at the site's calibrations in the store."""
    from gateway.readings import is_name
    from stream.calibration_store import Calibrations
    from stream.store import Store

    if not is_name(args.site) or any(c in args.site for c in "{}:"):
        raise CalibrationArgumentError(f"`{args.site}` is not a site's id")

    async def done() -> T:
        store = await Store.connect(args.redis, args.site)
        try:
            return await work(Calibrations(store))
        finally:
            await store.close()

    return asyncio.run(done())


async def _chosen(calibrations: Calibrations, text: str | None) -> VersionId:
    """The version that was asked for, or the one that all partitions use."""
    from stream.calibration_store import VersionId, parse_version

    if text is not None:
        return parse_version(text)
    used = set(await calibrations.in_use()) or {VersionId(await calibrations.current())}
    if len(used) > 1:
        names = ", ".join(str(version) for version in sorted(used, key=str))
        raise CalibrationArgumentError(
            f"the partitions use different calibrations ({names}); say which version is meant"
        )
    return used.pop()


async def _read(calibrations: Calibrations, text: str | None) -> tuple[VersionId, Calibration]:
    version = await _chosen(calibrations, text)
    return version, await calibrations.read(version)


def _list(args: argparse.Namespace) -> None:
    async def look(calibrations: Calibrations) -> tuple[list[str], list[str]]:
        used = [str(version) for version in await calibrations.in_use()]
        rows = [
            f"{version.id!s:>8}{'*' if str(version.id) in used else ' '} "
            f"{_utc(version.about.t)}  {version.about.by:<12}  {version.about.origin:<8}  "
            f"{version.about.readings:>10,} readings  {version.about.note}".rstrip()
            for version in await calibrations.listed()
        ]
        return rows, used

    rows, used = _in_store(args, look)
    print("\n".join(rows) if rows else "no calibration was written yet; the prior holds")
    for p, version in enumerate(used):
        print(f"partition {p} uses {version}{' (the prior)' if version == '0' else ''}")


def _show(args: argparse.Namespace) -> None:
    version, calibration = _in_store(args, lambda c: _read(c, args.version))
    print("\n".join(summary(calibration, str(version))))


def summary(c: Calibration, name: str) -> list[str]:
    """A calibration in some plain lines."""
    upto = f", heard up to {_utc(c.t)}" if c.t else ""
    losses = f"rack {c.rack_db:.1f} dB, wall {c.wall_db:.1f} dB, slab {c.slab_db:.1f} dB"
    level = f"{c.offset_dbm:.1f} dBm at 1 m (sd {c.offset_sd_db:.1f} dB)"
    lines = [
        f"calibration {name} of site {c.site}: {c.origin}, from {c.readings:,} readings{upto}",
        f"  a tag: {level}; exponent {c.exponent:.2f}, sd {c.sd_db:.1f} dB",
        f"  one crossing: {losses}",
    ]
    for gateway, fit in sorted(c.gateways.items()):
        exponent = "" if fit.exponent is None else f", exponent {fit.exponent:.2f}"
        spread = "" if fit.sd_db is None else f", sd {fit.sd_db:.1f} dB"
        lines.append(f"  gateway {gateway}: {fit.offset_db:+.1f} dB{exponent}{spread}")
    lines += [f"  obstacle {part}: {loss:.1f} dB" for part, loss in sorted(c.obstacles.items())]
    if c.radio_map:
        lines.append(f"  radio map: {len(c.radio_map)} patches of cells of {c.map_cell_m:g} m")
    if c.note:
        lines.append(f"  note: {c.note}")
    return ["".join(x if x.isprintable() else "?" for x in line) for line in lines]


def _export(args: argparse.Namespace) -> None:
    import msgspec

    from stream.calibration import encode_calibration

    version, calibration = _in_store(args, lambda c: _read(c, args.version))
    text = msgspec.json.format(encode_calibration(calibration), indent=1) + b"\n"
    if args.out is None:
        sys.stdout.buffer.write(text)
        return
    try:
        args.out.write_bytes(text)
    except OSError as error:
        raise CalibrationArgumentError(
            f"{args.out}: cannot be written: {error.strerror}"
        ) from error
    print(f"{args.out} holds calibration {version} of site {args.site}, {len(text)} bytes")


def _import(args: argparse.Namespace) -> None:
    from stream.calibration import load_calibration
    from stream.compare import strangers

    calibration = load_calibration(args.file)

    async def put(calibrations: Calibrations) -> tuple[VersionId, list[str]]:
        _, site = await calibrations.store.read_site()
        expected = await calibrations.current() if args.expect is None else args.expect
        version = await calibrations.write(
            calibration, expected, t=time.time(), by=_by(args), note=args.note
        )
        return version.id, strangers(site, calibration)

    version, unknown = _in_store(args, put)
    print(f"calibration {version} of site {args.site} is announced to its workers")
    if unknown:
        names = ", ".join(ascii(name)[1:-1] for name in unknown[:10])
        print(f"  note: {len(unknown)} of its gateways are not in the site: {names}")


def _roll_back(args: argparse.Namespace) -> None:
    from stream.calibration_store import parse_version

    to = parse_version(args.version)

    async def put(calibrations: Calibrations) -> VersionId:
        expected = await calibrations.current() if args.expect is None else args.expect
        version = await calibrations.roll_back(
            to, expected, t=time.time(), by=_by(args), note=args.note
        )
        return version.id

    version = _in_store(args, put)
    print(f"calibration {version} of site {args.site} is {to} again; announced to its workers")


def _compare(args: argparse.Namespace) -> None:
    from stream.calibration import load_calibration
    from stream.compare import compare, table
    from stream.site import load_site

    files = {word: Path(word) for word in (args.a, args.b) if not _is_version(word)}
    stored = [word for word in (args.a, args.b) if word not in files]
    documents = {word: load_calibration(path) for word, path in files.items()}
    site = None if args.site_file is None else load_site(args.site_file)
    if stored or site is None:
        if args.redis is None or args.site is None:
            raise CalibrationArgumentError(
                "versions and the site are read from the store: give --redis URL and --site ID, or "
                "two files and --site-file FILE"
            )

        async def read(calibrations: Calibrations) -> Site:
            for word in stored:
                documents[word] = (await _read(calibrations, word))[1]
            return (await calibrations.store.read_site())[1] if site is None else site

        site = _in_store(args, read)
    found = compare(site, documents[args.a], documents[args.b])
    print("\n".join(table(found, args.a, args.b)))


def _is_version(word: str) -> bool:
    from stream.calibration_store import VersionError, parse_version

    try:
        parse_version(word)
    except VersionError:
        return False
    return True


def _by(args: argparse.Namespace) -> str:
    if args.by is not None:
        return str(args.by)
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user often has no name
        return "balise"


def _utc(t: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(t))
    except (OverflowError, ValueError, OSError):
        return "at no time"
