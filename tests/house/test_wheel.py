"""What people install: the wheel holds our four packages and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

import pytest

from tests.support.sources import PACKAGES, ROOT

PAGE: Final = "dashboard/static/index.html"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist made from this tree, and the wheel made from that sdist."""
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "build", "--outdir", str(out)),
            # The build backend is part of the dev extra, so nothing is fetched.
            *("--no-isolation", "--skip-dependency-check", str(ROOT)),
        ],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> list[str]:
    """The names in the wheel."""
    (path,) = dist.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_the_wheel_holds_our_packages_alone(wheel: list[str]) -> None:
    """Four packages and the metadata stand at the top; another name could overwrite a stranger."""
    tops = {name.split("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert len(tops) == len(PACKAGES) + 1


def test_the_wheel_is_typed_and_starts(wheel: list[str], dist: Path) -> None:
    """Each package says that it is typed, and the `balise` command is declared."""
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(wheel)
    (path,) = dist.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        (entry,) = (name for name in wheel if name.endswith("dist-info/entry_points.txt"))
        assert "balise = balise.cli:main" in archive.read(entry).decode()
        assert any(name.endswith("licenses/LICENSE") for name in wheel)


def test_the_wheel_holds_every_module_and_no_source_of_the_page(wheel: list[str]) -> None:
    """Nothing is left out of the packages, and the page goes in as built, not as written."""
    for package in PACKAGES:
        ours = {str(path.relative_to(ROOT)) for path in (ROOT / package).rglob("*.py")}
        assert {name for name in ours if "/web/" not in name} <= set(wheel)
    assert not [
        name for name in wheel if "node_modules" in name or name.startswith("dashboard/web")
    ]
    if os.environ.get("BALISE_REQUIRE_PAGE") == "1":
        assert PAGE in wheel


def test_the_sdist_can_be_built_without_node(dist: Path) -> None:
    """It carries the page as built, where the tree has it, and no cache or environment of ours."""
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {"pyproject.toml", "hatch_build.py", "README.md", "LICENSE"} <= names
    assert (PAGE in names) == (ROOT / PAGE).is_file()
    strangers = (".venv", "node_modules", "__pycache__", ".ci", ".mypy_cache", ".git/")
    assert not [name for name in names if any(part in name for part in strangers)]
