"""The build hook: when it builds, what it asks for, how it puts a page into place."""

from __future__ import annotations

from pathlib import Path

import pytest

import hatch_build


def tree(root: Path, files: dict[str, str]) -> Path:
    """A folder with these files."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return root


SOURCES = {"index.html": "page", "src/main.ts": "1", "package-lock.json": "{}"}


@pytest.mark.parametrize(
    ("said", "will_do"),
    [
        ("v20.19.0\n", True),
        ("v20.20.2\n", True),
        ("v20.18.3\n", False),
        ("v21.7.0\n", False),
        ("v22.11.0\n", False),
        ("v22.12.0\n", True),
        ("v24.1.0\n", True),
        ("v18.20.0\n", False),
        ("", False),
        ("command not found", False),
    ],
)
def test_only_a_node_that_vite_runs_on_will_do(said: str, will_do: bool) -> None:
    """Vite 8 wants 20.19 and later of 20, or 22.12 and later."""
    assert hatch_build.node_will_do(said) is will_do


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({"src/main.ts": "2"}, True),
        ({"src/more.ts": ""}, True),
        ({"package-lock.json": "{ }"}, True),
        ({"node_modules/preact/index.js": "x"}, False),
        ({"dist/index.html": "x"}, False),
        ({"test/tags.test.ts": "x"}, False),
    ],
)
def test_the_stamp_tells_sources_from_what_is_made(
    tmp_path: Path,
    change: dict[str, str],
    counts: bool,
) -> None:
    """A changed, added or renamed source is another page; tools, results and tests are not."""
    before = hatch_build.source_hash(tree(tmp_path, SOURCES))
    assert (hatch_build.source_hash(tree(tmp_path, change)) != before) is counts


def test_a_renamed_source_is_another_page(tmp_path: Path) -> None:
    """Names count as bytes do."""
    before = hatch_build.source_hash(tree(tmp_path, SOURCES))
    (tmp_path / "src" / "main.ts").rename(tmp_path / "src" / "other.ts")
    assert hatch_build.source_hash(tmp_path) != before


def test_a_page_is_put_in_place_over_an_older_one(tmp_path: Path) -> None:
    """The new files are there, the old ones gone, half-written ones of others left alone."""
    web = tree(tmp_path / "web", SOURCES)
    static = tree(
        tmp_path / "static",
        {"index.html": "old", "assets/old.js": "old", "assets/.new-1": "another install's"},
    )
    assert not hatch_build.is_current(web, static)
    made = tree(tmp_path / "made", {"index.html": "new", "assets/new.js": "new"})
    hatch_build._place(made, static, hatch_build.source_hash(web))
    assert hatch_build.is_current(web, static)
    assert (static / "index.html").read_text("utf-8") == "new"
    assert sorted(path.name for path in (static / "assets").iterdir()) == [".new-1", "new.js"]
    tree(web, {"src/main.ts": "changed"})
    assert not hatch_build.is_current(web, static)


def test_the_lockfile_names_no_place_to_download_from() -> None:
    """Whoever installs uses the registry that is set up there."""
    lock = Path(hatch_build.__file__).parent / "dashboard" / "web" / "package-lock.json"
    text = lock.read_text("utf-8")
    assert '"resolved"' not in text
    assert '"integrity"' in text
