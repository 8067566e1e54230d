"""What holds for every source: a module says what it is for, and stays short enough to read."""

from __future__ import annotations

import ast
import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.sources import ROOT, files

MAX_LINES = 500


def test_every_module_says_what_it_is_for() -> None:
    """Each Python module begins with a docstring of at least a few words."""
    silent = [
        str(path.relative_to(ROOT))
        for path in files(".py")
        if len((ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split()) < 4
    ]
    assert not silent


def test_no_source_is_too_long() -> None:
    """No source has more lines than one can hold in mind; split it by stage, not into utils."""
    long = {
        str(path.relative_to(ROOT)): count
        for path in files(".py", ".ts", ".tsx", ".css", ".sh")
        if (count := len(path.read_text("utf-8").splitlines())) > MAX_LINES
    }
    assert not long


def test_every_exception_to_a_check_gives_its_reason() -> None:
    """`noqa` and `type: ignore` name the rule they are for, and say why after a second #."""
    bare = re.compile(r"#\s*(?:noqa(?!: [A-Z]+[0-9]+)|type: ignore(?!\[))")
    unreasoned = re.compile(r"#\s*(?:noqa: [A-Z0-9, ]+|type: ignore\[[a-z, -]+\])\s*$")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files(".py")
        if path.name != "test_sources.py"
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if bare.search(line) or unreasoned.search(line)
    ]
    assert not found, "\n".join(found)


def test_the_constraints_pin_what_is_declared_and_name_no_place() -> None:
    """constraints.txt is plain `name==version`, and holds every declared dependency."""
    lines = (ROOT / "constraints.txt").read_text("ascii").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.]+", line) for line in pins), pins
    pinned = {canonicalize_name(name): version for name, version in (p.split("==") for p in pins)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = project["optional-dependencies"].values()
    for line in [*project["dependencies"], *(line for group in groups for line in group)]:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{name} is declared and not pinned: make lock"
        assert requirement.specifier.contains(pinned[name]), f"{line} excludes {pinned[name]}"
