"""The whole pipeline on this machine: which processes, in which order, and when it is ready.

Each is a process of its own, so that one can die (or be killed) without the others. The order of
start is the reverse of the order in which they may stop: whoever gives stops before whoever takes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

from balise.embedded import LOOPBACK, broker_process, free_port, is_free, store_process
from balise.readiness import bracketed, listens, near, serves, works
from balise.supervisor import Process, Ready, Say, Supervisor
from gateway.broker_url import parse_broker_url
from gateway.errors import UserError
from stream.partition import MAX_PARTITIONS
from stream.site import Site
from stream.store import Store

# More workers than this on one machine only wait for each other.
MAX_WORKERS: Final = 64


class UpError(UserError):
    """A pipeline that cannot be started as asked."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What `balise up` and `balise demo` have in common.

    Attributes:
        site: the site to serve.
        data: directory of the embedded servers' data.
        host, port: where the page is served; port 0 for a free one.
        token_file: as of `balise dashboard`.
        mqtt: a broker's URL, None for the embedded one.
        redis: a store's URL, None for the embedded one.
        mqtt_host, mqtt_port: where the embedded broker listens; port 0 for a free one.
        mqtt_users: names and passwords let in by the embedded broker; empty: everyone.
        workers: how many.
        partitions: how many streams the site is split into, None for as it is (at first 1).
    """

    site: Site
    data: Path
    host: str = LOOPBACK
    port: int = 8000
    token_file: Path | None = None
    mqtt: str | None = None
    redis: str | None = None
    mqtt_host: str = LOOPBACK
    mqtt_port: int = 0
    mqtt_users: Mapping[str, str] = field(default_factory=dict)
    workers: int = 1
    partitions: int | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """Where the started parts are.

    Attributes:
        mqtt, redis: URLs for our own processes, credentials included.
        page: the page's URL.
        version: the site's version in the store.
    """

    mqtt: str
    redis: str
    page: str
    version: int


async def bring_up(supervisor: Supervisor, settings: Settings, say: Say) -> Running:
    """Starts everything, the site's import included, and returns when all of it serves.

    Raises:
        UserError: one sentence about what is in the way.
    """
    settings, running = await servers_and_site(supervisor, settings, say)
    say(f"  dashboard  {running.page}")
    say(f"  {'worker' if settings.workers == 1 else 'workers':<10} readings to fixes")
    say("  ingest     readings from the broker into the store")
    started = processes(settings, running.mqtt, running.redis)
    for process in started:
        supervisor.start(process)
    await supervisor.ready(*(process.name for process in started))
    return running


async def servers_and_site(
    supervisor: Supervisor, settings: Settings, say: Say
) -> tuple[Settings, Running]:
    """Starts broker and store, or greets those given, and imports the site; no process of ours.

    Returns:
        The settings with the page's port chosen, and where everything is or will be.

    Raises:
        UserError: one sentence about what is in the way.
    """
    check(settings)
    if settings.port == 0:
        settings = replace(settings, port=free_port(settings.host))
    mqtt, redis = await _servers(supervisor, settings, say)
    version = await _import(settings, redis)
    page = f"http://{bracketed(settings.host)}:{settings.port}"
    return settings, Running(mqtt=mqtt, redis=redis, page=page, version=version)


def check(settings: Settings) -> None:
    """Finds what would only show after half of it has started.

    Raises:
        UserError: one sentence.
    """
    if not 1 <= settings.workers <= MAX_WORKERS:
        raise UpError(f"--workers is {settings.workers}; 1 to {MAX_WORKERS} are fine")
    if settings.partitions is not None and not 1 <= settings.partitions <= MAX_PARTITIONS:
        raise UpError(f"--partitions is {settings.partitions}; 1 to {MAX_PARTITIONS} are fine")
    if settings.token_file is not None or settings.host != LOOPBACK:
        from dashboard.access import check_bind, read_token  # 200 ms that a demo does not need

        check_bind(settings.host, read_token(settings.token_file) if settings.token_file else None)
    if settings.mqtt is not None:
        parse_broker_url(settings.mqtt)
    elif settings.mqtt_host not in (LOOPBACK, "::1", "localhost") and not settings.mqtt_users:
        raise UpError(
            f"--mqtt-host {settings.mqtt_host} opens the broker to other machines, which needs "
            "passwords: write lines of NAME:PASSWORD into a file and give it with --mqtt-users FILE"
        )
    for name, host, port in (
        ("--port", settings.host, settings.port),
        ("--mqtt-port", settings.mqtt_host, settings.mqtt_port),
    ):
        if not 0 <= port <= 65_535:
            raise UpError(f"{name} is {port}; 1 to 65535 are possible")
        if port and not (name == "--mqtt-port" and settings.mqtt) and not is_free(host, port):
            raise UpError(
                f"port {port} of {host} is taken by another program; choose one with {name}"
            )


def processes(settings: Settings, mqtt: str, redis: str) -> list[Process]:
    """Dashboard, workers and ingest, in the order of their start."""
    site = settings.site.id
    to_store = _hidden("--redis", redis, settings.data)
    to_broker = _hidden("--mqtt", mqtt, settings.data)
    token = ("--token-file", str(settings.token_file)) if settings.token_file else ()
    where = ("--host", settings.host, "--port", str(settings.port))
    found = [
        balise(
            "dashboard",
            *("dashboard", "--site", site, *to_store, *where, *token),
            ready=serves(near(settings.host), settings.port),
        )
    ]
    for number in range(1, settings.workers + 1):
        name = "worker" if settings.workers == 1 else f"worker-{number}"
        words = ("stream", "worker", "--site", site, *to_store, "--name", name)
        found.append(balise(name, *words, ready=works(redis, site, name)))
    found.append(
        balise(
            "ingest",
            *("stream", "ingest", "--site", site, *to_broker, *to_store),
            ready=listens(redis, site),
        )
    )
    return found


def balise(name: str, *words: str, ready: Ready | None = None) -> Process:
    """One of our own commands as a process."""
    # Unbuffered, so that log lines come when they are said.
    env = {"PYTHONUNBUFFERED": "1"}
    return Process(name, (sys.executable, "-m", "balise", *words), env=env, ready=ready)


async def _servers(supervisor: Supervisor, settings: Settings, say: Say) -> tuple[str, str]:
    mqtt, redis, data = settings.mqtt, settings.redis, settings.data
    names = []
    if redis is None:
        port = free_port()
        redis = f"redis://{LOOPBACK}:{port}/0"
        supervisor.start(store_process(port, data / "store"))
        names.append("store")
        say(f"  store      Valkey on {LOOPBACK}:{port}, data in {data}")
    else:
        say(f"  store      {_bare(redis)}")
    if mqtt is None:
        host = settings.mqtt_host
        port = settings.mqtt_port or free_port(host)
        users = dict(settings.mqtt_users)
        who = ""
        if users:
            name, password = next(iter(users.items()))
            who = f"{quote(name, safe='')}:{quote(password, safe='')}@"
        mqtt = f"mqtt://{who}{near(host)}:{port}"
        supervisor.start(broker_process(port, data, host=host, users=users))
        names.append("broker")
        say(f"  broker     MQTT 5 on {host}:{port}, embedded")
    else:
        say(f"  broker     {parse_broker_url(mqtt)}")
    await supervisor.ready(*names)
    return mqtt, redis


async def _import(settings: Settings, redis: str) -> int:
    store = await Store.connect(redis, settings.site.id)
    try:
        partitions = settings.partitions
        if partitions is None:
            partitions = store.partitions or 1
        return await store.import_site(settings.site, partitions)
    finally:
        await store.close()


def _hidden(option: str, url: str, directory: Path) -> tuple[str, ...]:
    """The option for a URL; one with a password goes by a file, because `ps` shows arguments."""
    if "@" not in url:
        return (option, url)
    file = directory / f"{option.strip('-')}.arguments"
    file.touch(mode=0o600)
    file.write_text(f"{option}\n{url}\n")
    return (f"@{file}",)


def _bare(url: str) -> str:
    """A URL without who and password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


async def serve(settings: Settings, say: Say) -> None:
    """Runs the pipeline until it is interrupted.

    Raises:
        UserError: one sentence about what is in the way.
    """
    began = time.monotonic()
    async with Supervisor(say) as supervisor:
        say(f"Balise serves site {settings.site.id}")
        running = await bring_up(supervisor, settings, say)
        took = time.monotonic() - began
        say(f"Ready after {took:.1f} s, site version {running.version}: look at {running.page}")
        say("Ctrl-C stops everything.")
        await supervisor.wait()
    say("Stopped.")
