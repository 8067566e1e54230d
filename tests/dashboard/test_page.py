"""The page's files: from one folder, under a policy that keeps everything on our own server."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from dashboard.page import IMMUTABLE, content_security_policy
from tests.support.dashboards import dashboard
from tests.support.stepper import pipeline


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A built page, with a secret beside it."""
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<title>Balise</title>", "utf-8")
    (static / "favicon.svg").write_text("<svg/>", "utf-8")
    (static / "assets" / "index-abc.js").write_text("export {}", "utf-8")
    (static / "assets" / "index-abc.css").write_text("p {}", "utf-8")
    (static / ".hidden").write_text("secret", "utf-8")
    (tmp_path / "secret.txt").write_text("secret", "utf-8")
    return static


FILES: Final = [
    ("/", "text/html; charset=utf-8", "no-cache"),
    ("/index.html", "text/html; charset=utf-8", "no-cache"),
    ("/favicon.svg", "image/svg+xml", "no-cache"),
    ("/assets/index-abc.js", "text/javascript; charset=utf-8", IMMUTABLE),
    ("/assets/index-abc.css", "text/css; charset=utf-8", IMMUTABLE),
]


async def test_files(valkey_url: str, built: Path) -> None:
    """The index is asked for anew, hashed assets for ever."""
    async with pipeline(valkey_url), dashboard(valkey_url, static=built) as board:
        for path, kind, cache in FILES:
            response = await board.http.get(path)
            assert response.status_code == 200
            assert response.headers["content-type"] == kind
            assert response.headers["cache-control"] == cache
            policy = response.headers["content-security-policy"]
            assert policy == content_security_policy(f"127.0.0.1:{board.port}")
            assert response.headers["x-content-type-options"] == "nosniff"
            head = await board.http.head(path)
            assert (head.status_code, head.content) == (200, b"")


NOT_SERVED: Final = [
    "/secret.txt",
    "/../secret.txt",
    "/%2e%2e/secret.txt",
    "/..%2fsecret.txt",
    "/assets/..%2f..%2fsecret.txt",
    "/assets/%2e%2e%2f%2e%2e%2fsecret.txt",
    "/.hidden",
    "/assets",
    "/assets/",
    "/assets/none.js",
    "/assets/a%00b",
    "/" + "x" * 300,
]


async def test_nothing_else_is_served(valkey_url: str, built: Path) -> None:
    """No path leads out of the folder, to hidden files or to listings."""
    async with pipeline(valkey_url), dashboard(valkey_url, static=built) as board:
        for path in NOT_SERVED:
            response = await board.http.get(path)
            assert response.status_code in (404, 405), response.text
            assert "secret" not in response.text or "secret.txt" in path
            assert response.headers["content-type"] == "application/problem+json"


async def test_without_a_page_the_root_says_how_to_build_it(
    valkey_url: str, tmp_path: Path
) -> None:
    """503 with the command; the API works. Built afterwards, it is served."""
    static = tmp_path / "none"
    async with pipeline(valkey_url), dashboard(valkey_url, static=static) as board:
        problem = await board.get("/", 503)
        assert "run `pip install '.[server]'`" in problem["detail"]
        await board.get("/api/v1/site")
        static.mkdir()
        (static / "index.html").write_text("<title>Balise</title>", "utf-8")
        assert (await board.http.get("/")).text == "<title>Balise</title>"


@pytest.mark.parametrize(
    ("host", "feed"),
    [
        ("127.0.0.1:8000", " ws://127.0.0.1:8000 wss://127.0.0.1:8000"),
        ("[::1]:8000", " ws://[::1]:8000 wss://[::1]:8000"),
        ("hall.example", " ws://hall.example wss://hall.example"),
        (None, ""),
        ("evil; script-src *", ""),
        ("a b", ""),
        ("*", ""),
    ],
)
def test_the_policy_names_our_own_server_only(host: str | None, feed: str) -> None:
    """Nothing from elsewhere; a Host header cannot write into the policy."""
    policy = content_security_policy(host)
    assert f"connect-src 'self'{feed};" in policy
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "*" not in policy


async def test_every_answer_is_safe_to_show(valkey_url: str) -> None:
    """Positions are not cached, and no answer is taken for what it is not."""
    async with pipeline(valkey_url), dashboard(valkey_url) as board:
        for path in ("/api/v1/trackables", "/api/v1/none", "/metrics", "/healthz"):
            headers = (await board.http.get(path)).headers
            assert headers["cache-control"] == "no-store", path
            assert headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "server" not in headers
