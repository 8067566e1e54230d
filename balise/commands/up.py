"""`balise up`: the whole pipeline for real gateways, on one machine."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from balise.commands.demo import say
from gateway.errors import UserError

HELP = "run the whole pipeline for a site with real gateways"


class UsersError(UserError):
    """A file of names and passwords that cannot be used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Site, servers, page, broker, sizes."""
    parser.add_argument("--site", type=Path, required=True, metavar="FILE", help="the site, JSON")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="default: $XDG_STATE_HOME/balise/SITE"
    )
    parser.add_argument("--mqtt", metavar="URL", help="a running broker instead of the embedded")
    parser.add_argument("--redis", metavar="URL", help="a running store instead of the embedded")
    parser.add_argument(
        "--host", default="127.0.0.1", help="where the page is (default %(default)s)"
    )
    parser.add_argument("--port", type=int, default=8000, help="its port (default %(default)s)")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="the page's token, needed off the loopback"
    )
    parser.add_argument(
        "--mqtt-host",
        default="127.0.0.1",
        metavar="HOST",
        help="where the embedded broker listens (default %(default)s; 0.0.0.0: for real gateways)",
    )
    parser.add_argument(
        "--mqtt-port", type=int, default=1883, metavar="N", help="its port (default %(default)s)"
    )
    parser.add_argument(
        "--mqtt-users",
        type=Path,
        metavar="FILE",
        help="lines of NAME:PASSWORD that it lets in, needed off the loopback",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="default %(default)s")
    parser.add_argument(
        "--partitions",
        type=int,
        metavar="N",
        help="into how many streams the site is split, fixed at its first start (default 1)",
    )


def run(args: argparse.Namespace) -> int:
    """Runs until Ctrl-C or SIGTERM; then everything it started has ended."""
    from balise.data import DataDirectory, default_directory
    from balise.up import Settings, serve
    from stream.site import load_site

    site = load_site(args.site)
    with DataDirectory(args.data or default_directory(site.id)) as data:
        settings = Settings(
            site=site,
            data=data.path,
            host=args.host,
            port=args.port,
            token_file=args.token_file and args.token_file.resolve(),
            mqtt=args.mqtt,
            redis=args.redis,
            mqtt_host=args.mqtt_host,
            mqtt_port=args.mqtt_port,
            mqtt_users=users(args.mqtt_users) if args.mqtt_users else {},
            workers=args.workers,
            partitions=args.partitions,
        )
        asyncio.run(serve(settings, say))
    return 0


def users(file: Path) -> dict[str, str]:
    """Reads lines of NAME:PASSWORD; empty ones and those with # are passed over.

    Raises:
        UsersError: one sentence with file and line.
    """
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsersError(f"{file}: cannot be read: {error}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, password = line.partition(":")
        if not (name and colon and password):
            raise UsersError(f"{file}: line {number}: NAME:PASSWORD is expected")
        found[name] = password
    if not found:
        raise UsersError(f"{file}: holds no line of NAME:PASSWORD")
    return found
