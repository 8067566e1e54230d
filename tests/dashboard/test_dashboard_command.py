"""`balise dashboard` as a process: it starts, says where, ends when asked, complains in a line."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from dashboard.serve import PortError, listen, url_of
from tests.support.servers import Server
from tests.support.stepper import T0, pipeline, places

TOKEN = "open-sesame-" * 2


@asynccontextmanager
async def process(*args: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`balise dashboard ARGS`."""
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "balise", "dashboard", "--site", "depot", *args),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def place_of(started: asyncio.subprocess.Process) -> str:
    """The address it says it is at."""
    assert started.stdout is not None
    async with asyncio.timeout(20.0):
        line = (await started.stdout.readline()).decode()
    assert line.startswith("the dashboard of depot is at http://127.0.0.1:")
    return line.split()[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_and_ends_when_asked(valkey_url: str, number: signal.Signals) -> None:
    """Everything answers; a signal ends it with 0 and without a word, also with clients."""
    async with pipeline(valkey_url) as worker:
        await worker.move(T0, places(worker.site))
        async with process("--redis", valkey_url, "--port", "0") as started:
            url = await place_of(started)
            async with httpx.AsyncClient(base_url=url) as http:
                for _ in range(200):
                    if (await http.get("/readyz")).status_code == 200:
                        break
                    await asyncio.sleep(0.02)
                page = (await http.get("/api/v1/trackables")).json()
                assert len(page["trackables"]) == 4
                live = url.replace("http", "ws") + "/api/v1/live"
                async with connect(live, compression=None) as client:
                    assert '"hello"' in str(await client.recv())
                    began = asyncio.get_running_loop().time()
                    started.send_signal(number)
                    with pytest.raises(ConnectionClosed):
                        await _listen(client)
                    _, stderr = await asyncio.wait_for(started.communicate(), 10.0)
                    took = asyncio.get_running_loop().time() - began
        assert (started.returncode, stderr) == (0, b"")
        # A second, and as much again for a machine that is busy.
        assert took < 2.0


async def _listen(client: object) -> None:
    while True:
        await client.recv()  # type: ignore[attr-defined]  # a websockets connection


async def complaint(*args: str) -> str:
    """What it says instead of starting."""
    async with process(*args) as started:
        _, stderr = await asyncio.wait_for(started.communicate(), 20.0)
        assert started.returncode == 2
    lines = stderr.decode().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


async def test_a_taken_port_is_one_sentence(valkey_url: str) -> None:
    """It names the port and the way out."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = await complaint("--redis", valkey_url, "--port", str(port))
    assert said == (
        f"balise: port {port} of 127.0.0.1 is taken by another program; stop it, or choose "
        "another port with --port"
    )


async def test_it_is_not_opened_without_a_token(valkey_url: str, tmp_path: Path) -> None:
    """Refused before anything is bound; a bad token file too."""
    said = await complaint("--redis", valkey_url, "--host", "0.0.0.0", "--port", "0")
    assert "needs a token" in said
    (tmp_path / "token").write_text("short", "utf-8")
    said = await complaint("--redis", valkey_url, "--token-file", str(tmp_path / "token"))
    assert "16 to 1024" in said


async def test_a_store_that_is_away_is_one_sentence(valkey_server: Server) -> None:
    """The supervisor starts it again until the store is there."""
    valkey_server.kill9()
    said = await complaint("--redis", valkey_server.url, "--port", "0")
    assert "does not answer" in said


async def test_it_is_opened_with_a_token(valkey_url: str, tmp_path: Path) -> None:
    """On all addresses, for those who know the word."""
    (tmp_path / "token").write_text(TOKEN, "utf-8")
    args = ("--redis", valkey_url, "--port", "0", "--token-file", str(tmp_path / "token"))
    async with pipeline(valkey_url), process(*args) as started:
        url = await place_of(started)
        async with httpx.AsyncClient(base_url=url) as http:
            assert (await http.get("/api/v1/site")).status_code == 401
            assert (await http.get("/healthz")).status_code == 200
            ready = await http.get("/readyz", auth=("me", TOKEN))
            assert ready.status_code in (200, 503)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7", "a b"])
def test_addresses_that_are_not_ours(host: str) -> None:
    """One sentence that names the address."""
    with pytest.raises(PortError, match=host):
        listen(host, 0)


def test_addresses_for_people() -> None:
    """An address as a browser takes it."""
    with listen("127.0.0.1", 0) as opened:
        assert url_of(opened) == f"http://127.0.0.1:{opened.getsockname()[1]}"
    with listen("0.0.0.0", 0) as opened:
        assert url_of(opened) == f"http://{socket.gethostname()}:{opened.getsockname()[1]}"
