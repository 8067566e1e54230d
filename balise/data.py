"""The directory that a run keeps its data in: one run at a time; demos clean up after themselves.

The lock is the kernel's (flock), so a killed run never leaves a stale one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from gateway.errors import UserError

_PREFIX: Final = "balise-demo-"
_LOCK: Final = "lock"


class DataError(UserError):
    """A data directory that cannot be used."""


def default_directory(site_id: str) -> Path:
    """Where `balise up` keeps a site's data: $XDG_STATE_HOME/balise/SITE.

    ~/.local/state stands in for the variable, as the XDG Base Directory Specification says.
    """
    base = os.environ.get("XDG_STATE_HOME", "")
    # The specification asks to ignore a relative path.
    state = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    return state / "balise" / site_id


class DataDirectory:
    """A directory held by this run from `with` to its end.

    Args:
        path: where; made when absent. None: a fresh temporary one, removed at the end.

    Attributes:
        path: where it is.
        temporary: whether it goes away at the end.

    Raises:
        DataError: it cannot be written, or another run holds it.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.temporary: Final = path is None
        try:
            if path is None:
                _sweep()
                path = Path(tempfile.mkdtemp(prefix=_PREFIX))
            else:
                path.mkdir(parents=True, exist_ok=True, mode=0o700)
                path = path.resolve()
            self.path: Final = path
            self._lock: Final = (path / _LOCK).open("a")
        except OSError as error:
            raise DataError(
                f"the data directory {path or tempfile.gettempdir()} cannot be used: "
                f"{error.strerror}; name another one"
            ) from error
        if not _locked(self._lock):
            self._lock.close()
            raise DataError(
                f"another balise is using {path}; stop it, or name another data directory"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self.temporary:
            shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sweep() -> None:
    """Removes what killed demos of this user left behind."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            if left.is_symlink() or left.stat().st_uid != os.getuid():
                continue
            with (left / _LOCK).open("r+") as file:
                if _locked(file):
                    shutil.rmtree(left, ignore_errors=True)
        except OSError:
            continue  # just made, by another demo, or gone
