"""The repository as data: which files it has, and what a Python source imports."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("gateway", "stream", "dashboard", "balise")
_MADE: Final = frozenset({"node_modules", "static", "dist", "build", ".venv", "__pycache__"})


class Import(NamedTuple):
    """One import: `line` of the source, dotted `module`, whether it runs when the module loads."""

    line: int
    module: str
    eager: bool


@cache
def files(*suffixes: str) -> tuple[Path, ...]:
    """The repository's files that end in one of `suffixes`, sorted, without what was built.

    Asks git where there is a repository, so that nobody's scratch files are judged; a source
    that is new and not ignored counts too.
    """
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode == 0:
        names = [ROOT / name for name in listing.stdout.splitlines()]
    else:
        names = list(ROOT.rglob("*"))
    return tuple(
        sorted(
            path
            for path in names
            if path.suffix in suffixes
            and not _MADE & set(path.relative_to(ROOT).parts)
            and path.is_file()
        )
    )


def modules(package: str) -> list[Path]:
    """The Python sources of one of our packages."""
    return [path for path in files(".py") if path.relative_to(ROOT).parts[0] == package]


def imports(source: str) -> Iterator[Import]:
    """Every import of a source, inside functions and under TYPE_CHECKING too.

    `importlib.import_module("x")` and `__import__("x")` count with a literal name.
    """
    tree = ast.parse(source)
    lazy = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for inner in ast.walk(node)
        if inner is not node
    }
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.Call)):
            for module in _named(node):
                yield Import(node.lineno, module, id(node) not in lazy)


def _named(node: ast.Import | ast.ImportFrom | ast.Call) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        # `from a import b` may name the module a.b; both are told, the rules look at prefixes.
        module = "." * node.level + (node.module or "")
        yield module
        yield from (f"{module}.{alias.name}" for alias in node.names)
    elif node.args:
        called = ast.unparse(node.func)
        name = node.args[0]
        if called.endswith(("import_module", "__import__")) and isinstance(name, ast.Constant):
            yield str(name.value)
