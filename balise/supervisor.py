"""Starts processes, keeps them running, and stops them in order: nothing survives the supervisor.

It knows processes, not what they do. Everything happens on the main thread's event loop, because
a leashed process (balise.leash) lives as long as the thread that started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from gateway.errors import UserError

# A process that lived this long does not crash in a tight loop; its death starts a new count.
STEADY_S: Final = 2.0
# The first death is answered at once, the next ones after these waits: a crash loop must not eat
# the machine, and a mended cause should not wait long.
BACKOFF_S: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0)
# How long a process may take to end by itself. Ingest and worker finish a step in well under 1 s.
GRACE_S: Final = 5.0
# How long a start may take on a slow machine with a cold disk.
READY_S: Final = 30.0
_POLL_S: Final = 0.02
# A longer line is cut: logs are for people.
_MAX_LINE: Final = 4096
# A line that a process repeats (24 gateways, one broker) is counted for this long.
REPEATS_S: Final = 1.0
# By convention of our commands: a person's mistake, which trying again does not mend.
_EXIT_USER: Final = 2

Ready = Callable[[], Awaitable[bool]]
Say = Callable[[str], None]


class StartError(UserError):
    """A process that did not come up; the sentence holds the last thing it said."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process to keep running.

    Attributes:
        name: how its log lines are marked.
        argv: program and arguments.
        env: environment variables on top of ours.
        ready: tells whether it serves; None: as soon as it runs.
        hush: log lines that hold one of these are not passed on.
        grace_s: seconds it may take to end by itself before it is killed.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Ready | None = None
    hush: tuple[str, ...] = ()
    grace_s: float = GRACE_S


def delay(failures: int) -> float:
    """Seconds to wait before the next start after so many deaths in a row (1 or more)."""
    return BACKOFF_S[min(failures, len(BACKOFF_S)) - 1]


def how(code: int) -> str:
    """A process's end in words, from its return code as subprocess gives it."""
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


class _Child:
    """One process over its restarts."""

    def __init__(self, process: Process) -> None:
        self.process: Final = process
        self.popen: subprocess.Popen[bytes] | None = None
        self.started_s = 0.0
        self.failures = 0
        self.was_ready = False
        self.ended = asyncio.Event()
        self.last = ""
        self.repeatable = ""
        self.repeats = 0
        self.telling: asyncio.TimerHandle | None = None
        self.rest = b""
        self.restart: asyncio.TimerHandle | None = None


class Supervisor:
    """Keeps processes running until a signal or the end of its `async with` block.

    Ctrl-C, SIGTERM and SIGHUP end the block, and everything is stopped in the reverse order of
    its start; the same signal again kills what is left at once.

    Args:
        say: takes each line meant for a person.
        clock: monotonic seconds.
    """

    def __init__(self, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self._say: Final = say
        self._clock: Final = clock
        self._children: Final[dict[str, _Child]] = {}
        self._stopping = False
        self._signals = 0
        self._width = 0
        self._task: asyncio.Task[object] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._interrupt)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        await self._stop()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)
        if kind is asyncio.CancelledError and self._signals and self._task is not None:
            self._task.uncancel()
            return True
        return False

    def start(self, process: Process) -> None:
        """Starts a process and returns at once; `ready` waits for it."""
        child = _Child(process)
        self._children[process.name] = child
        self._width = max(self._width, len(process.name))
        self._spawn(child)

    async def ready(self, *names: str, within_s: float = READY_S) -> None:
        """Waits until these processes serve.

        Raises:
            StartError: one of them ended over a mistake of its user, or time is up.
        """
        await asyncio.gather(*(self._ready(self._children[name], within_s) for name in names))

    async def wait(self) -> None:
        """Waits for a signal (which ends the block)."""
        await asyncio.Event().wait()

    def pid(self, name: str) -> int | None:
        """The process's id, None while it is down."""
        popen = self._children[name].popen
        return None if popen is None or popen.returncode is not None else popen.pid

    # -- starting and restarting

    def _spawn(self, child: _Child) -> None:
        child.restart = None
        child.repeatable = ""
        child.ended.clear()
        child.started_s = self._clock()
        leash = Path(__file__).with_name("leash.py")
        try:
            child.popen = subprocess.Popen(
                [sys.executable, "-I", "-S", str(leash), str(os.getpid()), *child.process.argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **child.process.env},
                # A group of its own: the terminal's Ctrl-C is for the supervisor, who stops
                # everything in order.
                start_new_session=True,
            )
        except OSError as error:  # no memory, no process ids left
            child.ended.set()
            self._again(child, f"{child.process.name} cannot be started: {error.strerror}")
            return
        pipe = child.popen.stdout
        if pipe is not None:
            os.set_blocking(pipe.fileno(), False)
            asyncio.get_running_loop().add_reader(pipe.fileno(), self._read, child)

    def _reap(self) -> None:
        for child in self._children.values():
            if child.popen is not None and not child.ended.is_set():
                code = child.popen.poll()
                if code is not None:
                    self._ended(child, child.popen, code)

    def _ended(self, child: _Child, popen: subprocess.Popen[bytes], code: int) -> None:
        self._read(child)
        self._close(child, popen)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(popen.pid, signal.SIGKILL)  # what it may have started itself
        child.ended.set()
        if self._stopping:
            return
        if code == _EXIT_USER and not child.was_ready:
            return  # `ready` turns this into an error
        self._again(child, f"{child.process.name} (pid {popen.pid}) {how(code)}")

    def _again(self, child: _Child, what: str) -> None:
        if self._clock() - child.started_s >= STEADY_S:
            child.failures = 0
        child.failures += 1
        wait_s = delay(child.failures)
        self._say(f"{what}; starting it again" + (f" in {wait_s:g} s" if wait_s else ""))
        loop = asyncio.get_running_loop()
        child.restart = loop.call_later(wait_s, self._spawn, child)

    async def _ready(self, child: _Child, within_s: float) -> None:
        process = child.process
        deadline = self._clock() + within_s
        while True:
            if child.ended.is_set() and child.restart is None:
                raise StartError(f"{process.name} does not start: {_last(child)}")
            alive = not child.ended.is_set()
            if alive and (process.ready is None or await process.ready()):
                child.was_ready = True
                return
            if self._clock() > deadline:
                raise StartError(
                    f"{process.name} was not ready within {within_s:g} s: {_last(child)}"
                )
            await asyncio.sleep(_POLL_S)

    # -- log lines

    def _read(self, child: _Child) -> None:
        pipe = None if child.popen is None else child.popen.stdout
        if pipe is None or pipe.closed:
            return
        while True:
            try:
                got = os.read(pipe.fileno(), 65536)
            except BlockingIOError:
                return
            if not got:
                asyncio.get_running_loop().remove_reader(pipe.fileno())
                return
            *lines, child.rest = (child.rest + got).split(b"\n")
            if len(child.rest) > _MAX_LINE:
                lines.append(child.rest)
                child.rest = b""
            for line in lines:
                self._log(child, line)

    def _log(self, child: _Child, line: bytes) -> None:
        text = line[:_MAX_LINE].decode(errors="replace").rstrip()
        # The mark says already whose line it is.
        text = text.removeprefix(f"balise {child.process.name.rstrip('-0123456789')}: ")
        if not text or any(part in text for part in child.process.hush):
            return
        if text == child.repeatable:
            child.repeats += 1
            if child.telling is None:
                loop = asyncio.get_running_loop()
                child.telling = loop.call_later(REPEATS_S, self._tell_repeats, child)
            return
        self._tell_repeats(child)
        child.last = child.repeatable = text
        self._say(f"{self._mark(child)}{text}")

    def _tell_repeats(self, child: _Child) -> None:
        if child.telling is not None:
            child.telling.cancel()
            child.telling = None
        if child.repeats:
            times = "once more" if child.repeats == 1 else f"{child.repeats} times more"
            self._say(f"{self._mark(child)}(the same {times})")
            child.repeats = 0

    def _mark(self, child: _Child) -> str:
        return f"{child.process.name:<{self._width}} | "

    def _close(self, child: _Child, popen: subprocess.Popen[bytes]) -> None:
        if popen.stdout is not None and not popen.stdout.closed:
            asyncio.get_running_loop().remove_reader(popen.stdout.fileno())
            popen.stdout.close()
        if child.rest:
            self._log(child, child.rest)
            child.rest = b""
        self._tell_repeats(child)

    # -- stopping

    def _interrupt(self) -> None:
        self._signals += 1
        if self._signals == 1 and not self._stopping:
            if self._task is not None:
                self._task.cancel()
        else:
            for child in self._children.values():
                self._signal(child, signal.SIGKILL)

    async def _stop(self) -> None:
        self._stopping = True
        for child in reversed(self._children.values()):
            if child.restart is not None:
                child.restart.cancel()
            if child.ended.is_set():
                continue
            self._signal(child, signal.SIGTERM)
            try:
                await asyncio.wait_for(child.ended.wait(), child.process.grace_s)
            except TimeoutError:
                self._say(
                    f"{child.process.name} did not stop within {child.process.grace_s:g} s; "
                    "killing it"
                )
                self._signal(child, signal.SIGKILL)
                await child.ended.wait()

    @staticmethod
    def _signal(child: _Child, number: signal.Signals) -> None:
        if child.popen is not None and not child.ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.popen.pid, number)


def _last(child: _Child) -> str:
    return child.last.removeprefix("balise: ") or "it said nothing"
