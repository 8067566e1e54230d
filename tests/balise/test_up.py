"""`balise up`: real gateways' pipeline, its data, its real servers, and what it refuses."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from balise.commands.up import UsersError, users
from balise.embedded import free_port
from balise.up import Settings, processes
from gateway.radio.warehouse import warehouse
from stream.site import parse_site
from stream.store import Store
from tests.conftest import StartServer
from tests.support.processes import until, until_async
from tests.support.runs import Watcher, left, running_until, watching

SITE: dict[str, Any] = warehouse(5, gateways=6, items=20, pickers=2, site_id="hall")


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    """A small warehouse."""
    file = tmp_path / "site.json"
    file.write_text(json.dumps(SITE))
    return file


@contextmanager
def publishing(site: Path, mqtt: str) -> Iterator[None]:
    """The site's gateways, publishing as real ones do."""
    popen = subprocess.Popen(
        [sys.executable, "-m", "balise", "simulate", "--site", str(site), "--mqtt", mqtt],
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        popen.terminate()
        popen.wait(10.0)


def _is_live(watcher: Watcher) -> bool:
    return watcher.latest > 0.0


async def test_its_data_lives_on_from_one_run_to_the_next(site_file: Path, tmp_path: Path) -> None:
    """Stopped by SIGTERM and started again: positions and edits are kept, the map lives again."""
    port = free_port()
    words = ["-m", "balise", "up", "--site", str(site_file), "--data", str(tmp_path / "data")]
    words += ["--port", str(port), "--mqtt-port", "0"]
    page = f"http://127.0.0.1:{port}"
    for version in (1, 2):
        with running_until("Ready after", tmp_path, *words) as running:
            assert f"site version {version}:" in running.log.read_text()
            started = running.processes()
            assert set(started) == {"store", "broker", "ingest", "worker", "dashboard"}
            mqtt = "mqtt://" + running.url(r"MQTT 5 on (\S+), embedded")
            async with httpx.AsyncClient(base_url=page) as client:
                if version == 2:
                    found = (await client.get("/api/v1/trackables")).json()["trackables"]
                    assert any(one["position"] for one in found)
                    assert any(one["name"] == "Pump 7" for one in found)
                async with watching(f"ws://127.0.0.1:{port}/api/v1/live") as watcher:
                    with publishing(site_file, mqtt):
                        await until_async(partial(_is_live, watcher), "the map is live", 30.0)
                new = {"name": f"Pump {version + 6}", "kind": "item", "beacons": [f"b{version}"]}
                assert (await client.post("/api/v1/trackables", json=new)).status_code == 201
            running.popen.send_signal(signal.SIGTERM)
            assert running.popen.wait(20.0) == 0
            assert left(started) == []
            assert running.lines[-1] == "Stopped."


@pytest.mark.debian
async def test_real_servers_take_the_place_of_the_embedded_ones(
    site_file: Path, tmp_path: Path, start_server: StartServer
) -> None:
    """Mosquitto and redis-server, two partitions and two workers."""
    mosquitto, redis = start_server("mosquitto"), start_server("redis")
    words = ["-m", "balise", "up", "--site", str(site_file), "--data", str(tmp_path / "data")]
    words += ["--port", "0", "--mqtt", mosquitto.url, "--redis", redis.url]
    words += ["--partitions", "2", "--workers", "2"]
    with running_until("Ready after", tmp_path, *words) as running:
        names = [p.cmdline()[-1] for p in psutil.Process(running.popen.pid).children()]
        assert {"worker-1", "worker-2"} <= set(names)
        assert len(names) == 4
        page = running.url(r"look at (http://\S+)")
        store = await Store.connect(redis.url, "hall")
        async with watching(f"{page.replace('http', 'ws')}/api/v1/live") as watcher:
            with publishing(site_file, mosquitto.url):
                await until_async(lambda: watcher.latest > 0.0, "the map is live", 30.0)

                async def both() -> bool:
                    return len(set(await store.holders())) == 2

                await until_async(both, "each worker holds a partition", 15.0)
        await store.close()


def test_the_broker_is_opened_to_others_only_with_passwords(
    site_file: Path, tmp_path: Path
) -> None:
    """Asked for, it listens on the network, lets in who has a password, and hides it from `ps`."""
    file = tmp_path / "users"
    file.write_text("# gateways\n\npi:s3cret-word\n")
    words = ["-m", "balise", "up", "--site", str(site_file), "--data", str(tmp_path / "data")]
    words += ["--port", "0", "--mqtt-host", "0.0.0.0", "--mqtt-port", "0"]
    words += ["--mqtt-users", str(file)]
    with running_until("Ready after", tmp_path, *words) as running:
        started = running.processes()
        broker = [c.laddr.ip for c in started["broker"].net_connections() if c.status == "LISTEN"]
        assert broker == ["0.0.0.0"]
        for name in ("store", "dashboard"):
            found = [c.laddr.ip for c in started[name].net_connections() if c.status == "LISTEN"]
            assert set(found) == {"127.0.0.1"}, name
        shown = " ".join(word for process in started.values() for word in process.cmdline())
        assert "s3cret-word" not in shown
        assert "s3cret-word" not in running.log.read_text()
        for secret in ("broker.toml", "mqtt.arguments"):
            assert (tmp_path / "data" / secret).stat().st_mode & 0o077 == 0


def test_a_second_run_on_the_same_data_is_refused(site_file: Path, tmp_path: Path) -> None:
    """One sentence, and the first goes on undisturbed."""
    words = ["-m", "balise", "up", "--site", str(site_file), "--data", str(tmp_path / "data")]
    words += ["--port", "0", "--mqtt-port", "0"]
    with running_until("Ready after", tmp_path, *words) as running:
        second = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, check=False, timeout=30
        )
        assert second.returncode == 2
        assert second.stderr.startswith("balise: another balise is using ")
        assert second.stderr.count("\n") == 1
        assert len(running.processes()) == 5


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--port", "TAKEN"], "of 127.0.0.1 is taken by another program; choose one with --port"),
        (["--mqtt-port", "TAKEN"], "is taken by another program; choose one with --mqtt-port"),
        (["--port", "70000"], "--port is 70000; 1 to 65535 are possible"),
        (["--workers", "0"], "--workers is 0; 1 to 64 are fine"),
        (["--host", "0.0.0.0"], "needs a token"),
        (["--token-file", "/no/such/file"], "/no/such/file"),
        (["--mqtt-host", "0.0.0.0"], "opens the broker to other machines, which needs"),
        (["--mqtt", "http://x"], "mqtt:// or mqtts:// is expected"),
        (
            ["--redis", "redis://127.0.0.1:1/0"],
            "the store at redis://127.0.0.1:1/0 does not answer",
        ),
        (["--partitions", "0"], "--partitions is 0; 1 to 1024 are fine"),
        (["--data", "/dev/null"], "/dev/null cannot be used"),
        (["--mqtt-users", "/no/such/file"], "/no/such/file"),
        (["--site", "/no/such/site.json"], "/no/such/site.json: cannot be read"),
    ],
)
def test_what_cannot_work_is_one_sentence_and_leaves_nothing_running(
    words: list[str], sentence: str, site_file: Path, tmp_path: Path
) -> None:
    """Status 2, one line on stderr, and what had been started is stopped."""
    with another_program() as taken:
        words = [str(taken) if word == "TAKEN" else word for word in words]
        start = [sys.executable, "-m", "balise", "up", "--site", str(site_file), "--port", "0"]
        start += ["--data", str(tmp_path / "data"), "--mqtt-port", "0"]
        ended = subprocess.run(
            [*start, *words], capture_output=True, text=True, check=False, timeout=60
        )
    assert ended.returncode == 2, ended.stdout
    assert sentence in ended.stderr
    assert ended.stderr.startswith("balise: ")
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "Traceback" not in ended.stdout
    until(lambda: not _serving(tmp_path), "no process is left", 5.0)


@contextmanager
def another_program() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port()))
        other.listen()
        yield other.getsockname()[1]


def _serving(directory: Path) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(directory) in word for word in process.info["cmdline"] or [])
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a:b", {"a": "b"}),
        ("# who\n\na:b:c\nd: e \n", {"a": "b:c", "d": " e "}),
    ],
)
def test_users_are_lines_of_name_and_password(
    text: str, found: dict[str, str], tmp_path: Path
) -> None:
    """Everything behind the first colon is the password."""
    file = tmp_path / "users"
    file.write_text(text)
    assert users(file) == found


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a:b\nsecret\n", "line 2: NAME:PASSWORD is expected"),
        ("a:\n", "line 1: NAME:PASSWORD is expected"),
        (":b\n", "line 1: NAME:PASSWORD is expected"),
        ("# nobody\n", "holds no line of NAME:PASSWORD"),
    ],
)
def test_a_users_file_that_is_wrong_is_told_by_line_without_its_words(
    text: str, sentence: str, tmp_path: Path
) -> None:
    """A password is never repeated in an error."""
    file = tmp_path / "users"
    file.write_text(text)
    with pytest.raises(UsersError) as caught:
        users(file)
    assert sentence in str(caught.value)
    assert "secret" not in str(caught.value)


def test_whoever_gives_starts_last_and_stops_first(tmp_path: Path) -> None:
    """Dashboard, workers, ingest: stopped the other way round, nothing runs into the void."""
    settings = Settings(
        site=parse_site(json.dumps(SITE).encode(), "this test"), data=tmp_path, workers=3
    )
    found = processes(settings, "mqtt://127.0.0.1:1", "redis://127.0.0.1:2/0")
    names = [process.name for process in found]
    assert names == ["dashboard", "worker-1", "worker-2", "worker-3", "ingest"]
