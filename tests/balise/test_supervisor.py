"""The supervisor with real processes: it restarts, it stops in order, and nothing survives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest

from balise.supervisor import BACKOFF_S, Process, StartError, Supervisor, delay, how
from tests.support.processes import alive, until, until_async

SLEEP = "import time; print('here', flush=True); time.sleep(300)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('here', flush=True); time.sleep(300)"
)


def python(name: str, code: str, **more: object) -> Process:
    """A process that runs a piece of Python."""
    return Process(name, (sys.executable, "-c", code), **more)  # type: ignore[arg-type]  # of Process


def test_the_first_restart_is_immediate_and_later_ones_wait_longer_up_to_a_bound() -> None:
    """A kill is answered at once; a crash loop gets slower but never stops trying."""
    waits = [delay(failures) for failures in range(1, 20)]
    assert waits[0] == 0.0
    assert waits == sorted(waits)
    assert waits[-1] == BACKOFF_S[-1]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended with status 0"),
        (2, "ended with status 2"),
        (-9, "was killed by SIGKILL"),
        (-11, "was killed by SIGSEGV"),
        (-63, "was killed by signal 63"),
    ],
)
def test_an_end_is_told_in_words(code: int, words: str) -> None:
    """Nobody should have to look up a return code."""
    assert how(code) == words


async def test_a_killed_process_is_back_within_two_seconds_and_says_so() -> None:
    """The promise of the demo, for any process."""
    lines: list[str] = []
    async with Supervisor(lines.append) as supervisor:
        supervisor.start(python("worker", SLEEP))
        await until_async(lambda: "worker | here" in lines, "the first start")
        first = supervisor.pid("worker")
        assert first is not None
        lines.clear()
        os.kill(first, signal.SIGKILL)
        took = await until_async(lambda: "worker | here" in lines, "the restart", 2.0)
        assert took < 2.0
        assert lines[0] == f"worker (pid {first}) was killed by SIGKILL; starting it again"
        second = supervisor.pid("worker")
        assert second not in (None, first)
    assert second is not None
    assert not alive(second)


async def test_a_crash_loop_is_slowed_down_and_each_turn_logged() -> None:
    """The waits grow as `delay` says."""
    lines: list[str] = []
    async with Supervisor(lines.append) as supervisor:
        supervisor.start(python("flaky", "import sys; sys.exit(3)"))
        await until_async(lambda: len(lines) >= 4, "four deaths")
    said = [line.partition(" ended ")[2] for line in lines[:4]]
    assert said == [
        "with status 3; starting it again",
        "with status 3; starting it again in 0.25 s",
        "with status 3; starting it again in 0.5 s",
        "with status 3; starting it again in 1 s",
    ]


async def test_a_process_that_lived_long_enough_starts_a_new_count() -> None:
    """Two kills a day apart are both answered at once (the clock is ours)."""
    now = 0.0
    lines: list[str] = []
    async with Supervisor(lines.append, clock=lambda: now) as supervisor:
        supervisor.start(python("worker", SLEEP))
        for n in range(1, 4):
            await until_async(lambda n=n: lines.count("worker | here") == n, "a start")
            now += 3600.0
            pid = supervisor.pid("worker")
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        await until_async(lambda: lines.count("worker | here") == 4, "the last start")
    deaths = [line for line in lines if "SIGKILL" in line]
    assert len(deaths) == 3
    assert all(line.endswith("; starting it again") for line in deaths)


async def test_everything_is_stopped_in_the_reverse_order_of_its_start(tmp_path: Path) -> None:
    """Producers before consumers, the store last: each one ends before the next is asked."""
    file = tmp_path / "order"
    code = (
        "import os, signal, sys, time\n"
        "def bye(*_):\n"
        "    time.sleep(0.05)\n"
        f"    os.write(os.open({str(file)!r}, os.O_CREAT | os.O_APPEND | os.O_WRONLY),"
        " (sys.argv[1] + ' ').encode())\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, bye)\n"
        "print('here', flush=True)\n"
        "time.sleep(300)\n"
    )
    names = ["store", "broker", "dashboard", "worker", "ingest", "simulator"]
    lines: list[str] = []
    async with Supervisor(lines.append) as supervisor:
        for name in names:
            supervisor.start(Process(name, (sys.executable, "-c", code, name)))
        await until_async(lambda: sum("| here" in line for line in lines) == 6, "all to start")
    assert file.read_text().split() == names[::-1]


async def test_a_process_that_does_not_stop_is_killed_after_its_grace() -> None:
    """One stubborn process must not keep the rest alive."""
    lines: list[str] = []
    async with Supervisor(lines.append) as supervisor:
        supervisor.start(python("stubborn", STUBBORN, grace_s=0.3))
        await until_async(lambda: "stubborn | here" in lines, "the start")
        pid = supervisor.pid("stubborn")
    assert lines[-1] == "stubborn did not stop within 0.3 s; killing it"
    assert pid is not None
    assert not alive(pid)


async def never() -> bool:
    """A process that never serves."""
    return False


async def _start(process: Process, lines: list[str], within_s: float = 10.0) -> None:
    async with Supervisor(lines.append) as supervisor:
        supervisor.start(process)
        await supervisor.ready(process.name, within_s=within_s)


async def test_a_users_mistake_at_the_start_is_one_error_and_not_a_crash_loop() -> None:
    """Status 2 before the first readiness is final, with the process's own sentence."""
    code = "import sys; print('balise: the token file is empty', file=sys.stderr); sys.exit(2)"
    lines: list[str] = []
    with pytest.raises(StartError, match="dashboard does not start: the token file is empty"):
        await _start(python("dashboard", code, ready=never), lines)
    assert lines == ["dashboard | balise: the token file is empty"]


async def test_a_program_that_is_not_there_is_named() -> None:
    """The sentence says which program is missing."""
    lines: list[str] = []
    words = "store was not ready within 0.5 s: /no/such/program cannot be run"
    with pytest.raises(StartError, match=words):
        await _start(Process("store", ("/no/such/program",), ready=never), lines, within_s=0.5)


async def test_readiness_waits_for_the_process_to_serve(tmp_path: Path) -> None:
    """`ready` returns when the check holds, not when the process runs."""
    file = tmp_path / "serving"

    async def serving() -> bool:
        return file.exists()

    code = f"import pathlib, time; pathlib.Path({str(file)!r}).touch(); time.sleep(300)"
    async with Supervisor(lambda _: None) as supervisor:
        supervisor.start(python("server", code, ready=serving))
        assert not file.exists()
        await supervisor.ready("server")
        assert file.exists()


async def test_log_lines_are_marked_cut_and_hushed() -> None:
    """Lines carry their process's name; odd bytes, long lines and noise do no harm."""
    code = (
        "import os, time\n"
        "os.write(1, b'one\\n\\nnoise: two\\n\\xff three')\n"
        "time.sleep(0.05)\n"
        "os.write(2, b' end\\n' + b'x' * 10000 + b'\\nlast')\n"
    )
    lines: list[str] = []
    async with Supervisor(lines.append) as supervisor:
        supervisor.start(python("a", code, hush=("noise",)))
        supervisor.start(python("longer", SLEEP))
        await until_async(lambda: any(line.endswith("| last") for line in lines), "its last line")
    of_a = [line for line in lines if line.startswith("a") and "|" in line]
    assert of_a[0] in ("a | one", "a      | one")
    assert of_a[1] == "a      | \ufffd three end"
    assert set(of_a[2].removeprefix("a      | ")) == {"x"}
    assert max(map(len, of_a)) < 5000
    assert of_a.count("a      | last") >= 1
    assert not any("noise" in line for line in lines)


async def test_a_repeated_line_is_counted_instead_of_shown_again() -> None:
    """Twenty-four gateways that lose one broker are one line, and a number."""
    code = (
        "import time\n"
        "for n in range(24): print('balise simulator: the connection was lost', flush=True)\n"
        "print('back', flush=True); print('back', flush=True)\n"
        "time.sleep(300)\n"
    )
    lines: list[str] = []
    async with Supervisor(lines.append) as supervisor:
        supervisor.start(python("simulator", code))
        await until_async(lambda: len(lines) == 4, "the second count, after its second")
    assert lines == [
        "simulator | the connection was lost",
        "simulator | (the same 23 times more)",
        "simulator | back",
        "simulator | (the same once more)",
    ]


async def test_a_process_gets_its_environment_and_no_terminal() -> None:
    """Settings travel by the environment; nothing can wait for a key."""
    code = (
        "import os, sys, time\n"
        "print(os.environ['BALISE_X'], sys.stdin.read() == '', flush=True)\n"
        "time.sleep(300)\n"
    )
    lines: list[str] = []
    async with Supervisor(lines.append) as supervisor:
        supervisor.start(python("a", code, env={"BALISE_X": "7"}))
        await until_async(lambda: "a | 7 True" in lines, "its line")


# -- the supervisor as a process of its own: signals to it, and its death

FAMILY = """
import asyncio, sys
from balise.supervisor import Process, Supervisor

async def main():
    async with Supervisor(lambda line: print(line, flush=True)) as supervisor:
        for name, code in zip(sys.argv[1::2], sys.argv[2::2]):
            supervisor.start(Process(name, (sys.executable, "-c", code), grace_s=60.0))
        await supervisor.wait()
    print("stopped", flush=True)

asyncio.run(main())
"""
GRANDPARENT = f"""
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", {SLEEP!r}]).pid, flush=True)
time.sleep(300)
"""


def family(*words: str) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A supervisor in a process of its own, and its children once each has said `here`."""
    popen = subprocess.Popen(
        [sys.executable, "-c", FAMILY, *words], stdout=subprocess.PIPE, text=True
    )
    assert popen.stdout is not None
    for _ in words[::2]:
        assert "here" in popen.stdout.readline()
    return popen, psutil.Process(popen.pid).children(recursive=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_ending_signal_stops_everything_cleanly(number: signal.Signals) -> None:
    """Ctrl-C, systemd's stop and a closed terminal: exit 0, no traceback, nothing left."""
    popen, children = family("a", SLEEP, "b", SLEEP)
    popen.send_signal(number)
    out, _ = popen.communicate(timeout=10)
    assert popen.returncode == 0
    assert out == "stopped\n"
    assert len(children) == 2
    assert not any(alive(child.pid) for child in children)


def test_a_second_ctrl_c_kills_what_does_not_stop() -> None:
    """Whoever is in a hurry is served."""
    popen, children = family("a", STUBBORN)
    popen.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        popen.wait(0.3)
    popen.send_signal(signal.SIGINT)
    out, _ = popen.communicate(timeout=10)
    assert out == "stopped\n"
    assert not any(alive(child.pid) for child in children)


def test_a_killed_supervisor_leaves_no_process_behind() -> None:
    """Even kill -9 of the parent ends all children, stubborn ones too."""
    popen, children = family("a", SLEEP, "b", STUBBORN, "c", SLEEP)
    popen.kill()
    popen.communicate(timeout=10)
    assert len(children) == 3
    until(lambda: not any(alive(child.pid) for child in children), "the children's end", 5.0)


def test_a_killed_supervisor_leaves_nothing_while_it_starts_processes() -> None:
    """The race: killed at any moment of its first 150 ms, it still leaves no child."""
    for step in range(8):
        marker = f"marker-{os.getpid()}-{step}"
        words = [w for n in range(4) for w in (f"p{n}", f"'{marker}'; {SLEEP}")]
        popen = subprocess.Popen([sys.executable, "-c", FAMILY, *words], stdout=subprocess.DEVNULL)
        until(partial(_has_children, popen.pid), "a first child")
        with pytest.raises(subprocess.TimeoutExpired):
            popen.wait(0.02 * step + 0.001)
        popen.kill()
        popen.wait()
        until(partial(_nothing_carries, marker), "the children's end", 5.0)


def _has_children(pid: int) -> bool:
    return bool(psutil.Process(pid).children())


def _nothing_carries(marker: str) -> bool:
    return not any(
        any(marker in word for word in process.info["cmdline"] or []) and alive(process.pid)
        for process in psutil.process_iter(["cmdline"])
    )


def test_what_a_killed_process_had_started_itself_goes_with_it() -> None:
    """A restarted process does not find its predecessor's children in its way."""
    popen = subprocess.Popen(
        [sys.executable, "-c", FAMILY, "a", GRANDPARENT], stdout=subprocess.PIPE, text=True
    )
    assert popen.stdout is not None
    grandchild = int(popen.stdout.readline().rpartition("| ")[2])
    child = psutil.Process(grandchild).parent()
    assert child is not None
    child.kill()
    until(lambda: not alive(grandchild), "the grandchild's end")
    popen.terminate()
    popen.communicate(timeout=10)


LEASH = Path(__file__).parents[2] / "balise" / "leash.py"


def test_a_leash_whose_holder_is_gone_runs_nothing() -> None:
    """The parent that died before the leash was on: nobody would tell, so it does not start."""
    ended = subprocess.run(
        [sys.executable, "-I", "-S", str(LEASH), "999999999", "/bin/echo", "ran"],
        capture_output=True,
        check=False,
    )
    assert ended.returncode != 0
    assert ended.stdout == b""


WATCHED = f"""
import os, subprocess, sys
watcher = subprocess.Popen([sys.executable, "-c", '''
import importlib.util, sys
spec = importlib.util.spec_from_file_location("leash", {str(LEASH)!r})
leash = importlib.util.module_from_spec(spec)
spec.loader.exec_module(leash)
leash.watch(int(sys.argv[1]), sys.argv[2:])
''', str(os.getpid()), *sys.argv[1:]])
sys.exit(watcher.wait())
"""


@pytest.mark.parametrize(("code", "status"), [("pass", 0), ("raise SystemExit(7)", 7)])
def test_a_watched_program_ends_as_if_it_ran_alone(code: str, status: int) -> None:
    """Where the kernel offers no leash a process watches instead, and passes the status on."""
    ended = subprocess.run(
        [sys.executable, "-c", WATCHED, sys.executable, "-c", code], check=False, timeout=10
    )
    assert ended.returncode == status


def test_a_watched_program_dies_with_the_holder() -> None:
    """The same promise without the kernel's help."""
    holder = subprocess.Popen(
        [sys.executable, "-c", WATCHED, sys.executable, "-c", SLEEP], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"here\n"
    below = psutil.Process(holder.pid).children(recursive=True)
    assert len(below) == 2
    holder.kill()
    holder.communicate(timeout=10)
    until(lambda: not any(alive(process.pid) for process in below), "their end", 5.0)


async def test_a_start_that_fails_leaves_the_rest_stopped() -> None:
    """An error inside the block stops what already ran before it is passed on."""
    pids: list[int | None] = []

    async def start_and_fail() -> None:
        lines: list[str] = []
        async with Supervisor(lines.append) as supervisor:
            supervisor.start(python("store", SLEEP))
            await until_async(lambda: "store | here" in lines, "the start")
            pids.append(supervisor.pid("store"))
            raise RuntimeError("no site")

    with pytest.raises(RuntimeError, match="no site"):
        await start_and_fail()
    assert pids[0] is not None
    assert not alive(pids[0])
