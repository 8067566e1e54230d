"""Data directories: one run at a time, killed runs leave no lock, demos leave no directory."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from balise.data import DataDirectory, DataError, default_directory

HOLD = (
    "import sys, time; from pathlib import Path; from balise.data import DataDirectory\n"
    "held = DataDirectory(Path(sys.argv[1]) if sys.argv[1:] else None)\n"
    "print(held.path, flush=True); time.sleep(300)\n"
)


def holder(*words: str) -> tuple[subprocess.Popen[str], Path]:
    """Another run, and the directory it holds."""
    popen = subprocess.Popen(
        [sys.executable, "-c", HOLD, *words], stdout=subprocess.PIPE, text=True
    )
    assert popen.stdout is not None
    return popen, Path(popen.stdout.readline().strip())


def kill(popen: subprocess.Popen[str]) -> None:
    """As a power cut would."""
    popen.send_signal(signal.SIGKILL)
    popen.communicate(timeout=10)


def test_two_runs_cannot_share_a_directory_and_a_killed_one_leaves_it_free(tmp_path: Path) -> None:
    """Two stores on one file would destroy it."""
    popen, path = holder(str(tmp_path / "deep" / "data"))
    with pytest.raises(DataError, match=f"another balise is using {path}"):
        DataDirectory(path)
    kill(popen)
    with DataDirectory(path) as held:
        assert not held.temporary
    assert path.is_dir()


def test_a_temporary_directory_goes_with_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what a killed demo left is swept by the next one, while a running one is left alone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    killed, left = holder()
    running, held = holder()
    kill(killed)
    assert left.is_dir()
    with DataDirectory() as own:
        (own.path / "file").write_text("x")
        assert own.temporary
        assert set(tmp_path.iterdir()) == {held, own.path}
    assert set(tmp_path.iterdir()) == {held}
    kill(running)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file stands where the directory should be."""
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(DataError, match="file cannot be used: File exists; name another one"):
        DataDirectory(file)


@pytest.mark.parametrize(
    ("state", "expected"),
    [("/var/lib", "/var/lib/balise/hall"), ("", "~"), ("relative/path", "~")],
)
def test_the_default_follows_the_xdg_rules(
    state: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An absolute XDG_STATE_HOME counts; anything else is ~/.local/state."""
    monkeypatch.setenv("XDG_STATE_HOME", state)
    if expected == "~":
        expected = str(Path.home() / ".local" / "state" / "balise" / "hall")
    assert default_directory("hall") == Path(expected)
