"""Nothing but loopback is open without credentials, and loopback only to its own names."""

from __future__ import annotations

import base64
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from dashboard.access import (
    OPEN_PATHS,
    AccessError,
    check_bind,
    is_authorized,
    is_own_host,
    is_own_origin,
    read_token,
)
from dashboard.app import create_app
from stream.store import Store
from tests.support.dashboards import dashboard
from tests.support.stepper import pipeline

TOKEN = "open-sesame-" * 2


def basic(user: str, word: str) -> str:
    """An Authorization header of HTTP Basic."""
    return "Basic " + base64.b64encode(f"{user}:{word}".encode()).decode()


@pytest.mark.parametrize(
    ("host", "token", "fine"),
    [
        ("127.0.0.1", None, True),
        ("127.8.9.1", None, True),
        ("::1", None, True),
        ("localhost", None, True),
        ("LOCALHOST", None, True),
        ("0.0.0.0", None, False),
        ("::", None, False),
        ("", None, False),
        ("192.168.1.5", None, False),
        ("hall.example", None, False),
        ("localhost.example", None, False),
        ("0.0.0.0", TOKEN, True),
        ("hall.example", TOKEN, True),
    ],
)
def test_binding(host: str, token: str | None, fine: bool) -> None:
    """Without a token only loopback can be bound."""
    if fine:
        check_bind(host, token)
    else:
        with pytest.raises(AccessError, match="--token-file"):
            check_bind(host, token)


async def test_no_app_is_open_without_a_token(valkey_url: str) -> None:
    """Not even the factory makes one."""
    store = await Store.connect(valkey_url, "depot")
    with pytest.raises(AccessError):
        create_app(store, host="0.0.0.0")
    await store.close()


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        (TOKEN, True),
        (f"  {TOKEN}\n", True),
        ("short", False),
        ("", False),
        ("two words of some length", False),
        ("line-of-some-length\nline-of-some-length", False),
        ("a-token-with-ümlaut", False),
        ("x" * 2_000, False),
    ],
)
def test_token_files(tmp_path: Path, text: str, fine: bool) -> None:
    """One word, long enough to be beyond guessing."""
    path = tmp_path / "token"
    path.write_text(text, "utf-8")
    if fine:
        assert read_token(path) == TOKEN
    else:
        with pytest.raises(AccessError, match="16 to 1024"):
            read_token(path)


def test_token_files_that_cannot_be_read(tmp_path: Path) -> None:
    """One sentence that names the file."""
    with pytest.raises(AccessError, match=r"nothing cannot be read: No such file"):
        read_token(tmp_path / "nothing")
    (tmp_path / "bytes").write_bytes(b"\xff" * 20)
    with pytest.raises(AccessError, match=r"bytes cannot be read: it is not text"):
        read_token(tmp_path / "bytes")


@pytest.mark.parametrize(
    ("header", "fine"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer   {TOKEN} ", True),
        (basic("anyone", TOKEN), True),
        (basic("", TOKEN), True),
        (basic("a", f"b:{TOKEN}"), False),
        (basic(TOKEN, ""), False),
        (None, False),
        ("", False),
        ("Bearer", False),
        (f"Bearer {TOKEN}x", False),
        (f"Bearer {TOKEN[:-1]}", False),
        (f"Digest {TOKEN}", False),
        (TOKEN, False),
        ("Basic !!!", False),
        ("Basic /w==", False),
        ("Bearer ü", False),
    ],
)
def test_authorization(header: str | None, fine: bool) -> None:
    """The token counts as Bearer, or as Basic's password with any user."""
    assert is_authorized(header, TOKEN) is fine


@pytest.mark.parametrize(
    ("host", "fine"),
    [
        ("127.0.0.1:8000", True),
        ("127.0.0.1", True),
        ("localhost:8000", True),
        ("LocalHost", True),
        ("[::1]:8000", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example:8000", False),
        ("localhost.evil.example", False),
        ("evil.example#127.0.0.1", False),
        ("192.168.1.5:8000", False),
        ("[::1", False),
        ("", False),
        (None, False),
    ],
)
def test_hosts(host: str | None, fine: bool) -> None:
    """A name that merely resolves to loopback is not ours."""
    assert is_own_host(host, "127.0.0.1") is fine


@pytest.mark.parametrize(
    ("origin", "host", "fine"),
    [
        (None, "a:1", True),
        ("http://a:1", "a:1", True),
        ("http://A:1", "a:1", True),
        ("http://a", "a:80", True),
        ("https://a", "a", True),
        ("https://a", "a:443", True),
        ("https://a", "a:80", False),
        ("http://a:1", "a:2", False),
        ("http://b:1", "a:1", False),
        ("http://a:1.evil", "a:1", False),
        ("http://[::1]:1", "[::1]:1", True),
        ("file://a", "a", False),
        ("null", "null", False),
        ("", "", False),
        ("http://a", None, False),
        ("http://[", "[", False),
    ],
)
def test_origins(origin: str | None, host: str | None, fine: bool) -> None:
    """Scheme's default ports are seen through; what cannot be read is not ours."""
    assert is_own_origin(origin, host) is fine


async def test_every_route_wants_the_token(valkey_url: str) -> None:
    """Each path of the app but /healthz answers 401 with a challenge, also what does not exist."""
    store = await Store.connect(valkey_url, "depot")
    app = create_app(store, token=TOKEN)
    paths = {route.path for route in app.routes if isinstance(route, APIRoute)}
    paths |= {path.replace("{id:path}", "x") for path in app.openapi()["paths"]}
    await store.close()
    assert "/healthz" in paths
    assert len(paths) > 10
    async with (
        pipeline(valkey_url),
        dashboard(valkey_url, token=TOKEN) as board,
        httpx.AsyncClient(base_url=board.url) as stranger,
    ):
        for path in sorted(paths | {"/", "/assets/x.js", "/nothing", "//healthz"}):
            for method in ("GET", "POST", "OPTIONS"):
                response = await stranger.request(method, path)
                if path in OPEN_PATHS:
                    assert response.status_code == (200 if method == "GET" else 405)
                    continue
                assert response.status_code == 401, (method, path)
                assert response.headers["www-authenticate"].startswith("Basic ")
                assert response.json()["type"] == "urn:balise:problem:unauthorized"
        named = await stranger.get("/api/v1/site", auth=("anyone", TOKEN))
        assert named.status_code == 200
        # With a token any name will do: it is what a proxy or a local network calls us.
        other = {"Host": "hall.example", "Authorization": f"Bearer {TOKEN}"}
        assert (await stranger.get("/api/v1/site", headers=other)).status_code == 200


async def test_loopback_answers_to_its_own_names_only(valkey_url: str) -> None:
    """A page of elsewhere whose name was bent to 127.0.0.1 gets nothing."""
    async with pipeline(valkey_url), dashboard(valkey_url) as board:
        for host, status in (("localhost", 200), ("evil.example", 403), ("evil.example:80", 403)):
            response = await board.http.get("/api/v1/site", headers={"Host": host})
            assert response.status_code == status
        assert "--token-file" in response.json()["detail"]


async def test_pages_of_elsewhere_change_nothing(valkey_url: str) -> None:
    """A form on another site cannot adopt beacons through a visitor's browser."""
    async with pipeline(valkey_url) as worker, dashboard(valkey_url) as board:
        body = {"name": "Pump", "kind": "item", "beacons": ["mac:9"]}
        for origin, status in (("https://evil.example", 403), ("null", 403), (board.url, 201)):
            response = await board.http.post(
                "/api/v1/trackables", json=body, headers={"Origin": origin}
            )
            assert response.status_code == status, response.text
        assert await worker.store.site_version() == 2
