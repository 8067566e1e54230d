"""The documents keep their word: links lead somewhere, commands exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.support.sources import ROOT, files

DOCUMENTS: Final = files(".md")
_FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"^```.*?^```|`[^`\n]+`|^ {4}.+$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#{1,6}\s+(.+?)\s*$", re.MULTILINE)
_TARGET: Final = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)
_MAKE: Final = re.compile(r"\bmake ([a-z][a-z-]*)")
# A command of ours: at the start of a line of code, or after a pipe or a variable.
_BALISE: Final = re.compile(
    r"(?:^|[|;&]|=\S+)\s*(?:\$ )?(?:\.venv/bin/)?balise ([a-z]+)", re.MULTILINE
)


def anchors(text: str) -> set[str]:
    """The anchors that a page's headings give, as forges make them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


def broken_links(page: Path) -> list[str]:
    """The relative links of a page that lead to no file, or to no heading of it."""
    broken = []
    for link in _LINK.findall(_FENCE.sub("", page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target.read_text("utf-8"))
        ):
            broken.append(link)
    return broken


def code(text: str) -> str:
    """What stands as code in a page, piece by piece on lines of its own."""
    return "\n".join(piece.strip("`").strip() for piece in _CODE.findall(text))


def targets() -> set[str]:
    """The targets of the Makefile."""
    return set(_TARGET.findall((ROOT / "Makefile").read_text("utf-8")))


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of the page names a file that is there, and a heading in it."""
    assert not broken_links(page)


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    """Every `make` target and every `balise` command that the page names is there."""
    said = code(page.read_text("utf-8"))
    assert set(_MAKE.findall(said)) <= targets()
    commands = {
        path.stem.replace("_", "-") for path in (ROOT / "balise/commands").glob("[a-z]*.py")
    }
    assert set(_BALISE.findall(said)) <= commands


def test_the_guards_see_what_is_wrong(tmp_path: Path) -> None:
    """A dead link, a dead anchor, a wrong target are found, and a link inside code is not one."""
    other = tmp_path / "other.md"
    other.write_text("# One `x` two\n", "utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md) [b](other.md#one-x-two) [c](https://x.org/y)\n"
        "[d](none.md) [e](other.md#none) [f](#nowhere)\n```\n[g](none.md)\nmake wrong\n```\n",
        "utf-8",
    )
    assert broken_links(page) == ["none.md", "other.md#none", "#nowhere"]
    assert _MAKE.findall(code(page.read_text("utf-8"))) == ["wrong"]
    assert _BALISE.findall(code("`balise demo`\n\n    x | balise replay --out\n")) == [
        "demo",
        "replay",
    ]
    assert {"demo", "test", "check"} <= targets()


def test_contributors_run_what_ci_runs() -> None:
    """CONTRIBUTING names the commands of .ci/run and no others; .ci/run runs nothing else."""
    ci = [
        line
        for line in (ROOT / ".ci/run").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert ci[:2] == ["set -euo pipefail", 'cd "$(dirname "$0")/.."']
    assert ci[2:] == ["make check", "make test"]
    contributing = code((ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    assert set(_MAKE.findall(contributing)) == {"check", "test"}


def test_every_page_of_the_docs_is_in_their_index() -> None:
    """docs/README.md links to each page beside it, and the README to the index."""
    linked = set(_LINK.findall((ROOT / "docs/README.md").read_text("utf-8")))
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages <= linked
    assert "docs/README.md" in _LINK.findall((ROOT / "README.md").read_text("utf-8"))
