"""Runs a program that dies with the process that asked for it, even when that one is killed.

    python -I -S leash.py PARENT_PID PROGRAM [ARGUMENT...]

On Linux the kernel is told to kill this process with its parent (PR_SET_PDEATHSIG survives the
exec that follows), so the program itself takes this process's place. Elsewhere this process stays
above the program and watches its own parent. Imports the standard library only: it runs outside
the environment, because that starts in a few milliseconds.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Final, NoReturn

# prctl(2); the number is part of Linux's ABI.
_PR_SET_PDEATHSIG: Final = 1
# How soon an orphan is noticed where the kernel does not tell.
_WATCH_S: Final = 0.2
# What a shell says of a program that is not there.
EXIT_NOT_FOUND: Final = 127


def main(words: list[str]) -> NoReturn:
    """Runs `words[1:]` on a leash held by the process `words[0]`."""
    parent, argv = int(words[0]), words[1:]
    if sys.platform == "linux":
        _follow(parent)
        _exec(argv)
    watch(parent, argv)


def watch(parent: int, argv: list[str]) -> NoReturn:
    """Runs the program as a child and kills it when `parent` is no longer ours."""
    child = os.fork()
    if child == 0:
        _exec(argv)
    # The supervisor signals the whole group; the child's answer decides, not ours.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
        if os.getppid() != parent:
            os.kill(child, signal.SIGKILL)
        time.sleep(_WATCH_S)


def _follow(parent: int) -> None:
    import ctypes

    # The signal comes when the *thread* that started us ends: the supervisor starts its
    # processes from its main thread.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        watch(parent, sys.argv[2:])
    # The parent may have died before the call: then nobody will ever tell us.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _exec(argv: list[str]) -> NoReturn:
    try:
        os.execvp(argv[0], argv)  # noqa: S606  # that is what it is for: no shell
    except OSError as error:
        sys.stderr.write(f"{argv[0]} cannot be run: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(EXIT_NOT_FOUND)


if __name__ == "__main__":
    main(sys.argv[1:])
