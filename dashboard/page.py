"""The page: built files from dashboard/static, and the headers that keep it to ourselves.

Nothing the page loads comes from anywhere else, and the browser is told to hold it to that. The
index is asked for anew every time; its assets carry a hash in their names and never change.
"""

from __future__ import annotations

import mimetypes
import re
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import FileResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.problems import Problem, not_found

STATIC: Final = Path(__file__).parent / "static"
NOT_BUILT: Final = (
    "the page is not built in this installation: run `pip install '.[server]'` in the repository "
    "again, with npm's registry within reach; the API works without the page"
)
IMMUTABLE: Final = "public, max-age=31536000, immutable"

_METHODS: Final = ["GET", "HEAD"]
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_HOST: Final = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")


def routes(static: Path) -> APIRouter:
    """The router of `/` and its files; `static` need not exist."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/", methods=_METHODS)
    async def index() -> Response:
        if not (static / "index.html").is_file():
            raise Problem(503, "unavailable", NOT_BUILT)
        return _file(static / "index.html", "no-cache")

    @router.api_route("/assets/{name}", methods=_METHODS)
    async def asset(name: str) -> Response:
        return _named(static / "assets", name, IMMUTABLE)

    @router.api_route("/{name}", methods=_METHODS)
    async def other(name: str) -> Response:
        return _named(static, name, "no-cache")

    return router


def _named(folder: Path, name: str, cache: str) -> Response:
    # Names are single and plain, so a path can never leave the folder.
    if not _FILE_NAME.fullmatch(name) or not (folder / name).is_file():
        raise not_found(f"the page has no file `{name[:200]}`")
    return _file(folder / name, cache)


def _file(path: Path, cache: str) -> Response:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    # Windows' registry and bare containers know no better.
    kind = {".js": "text/javascript", ".webmanifest": "application/manifest+json"}.get(
        path.suffix, kind
    )
    return FileResponse(path, headers={"Cache-Control": cache}, media_type=kind)


def content_security_policy(host: str | None) -> str:
    """What the page may load and call: its own server.

    Args:
        host: the Host header, named for the WebSocket, which older browsers do not take for
            `self`.
    """
    feed = f" ws://{host} wss://{host}" if host and _HOST.fullmatch(host) else ""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        f"font-src 'self'; manifest-src 'self'; connect-src 'self'{feed}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class SafeHeaders:
    """The layer that adds the headers every answer carries."""

    def __init__(self, app: ASGIApp) -> None:
        self._app: Final = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the app below and adds the headers to its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        policy = content_security_policy(Headers(scope=scope).get("host"))

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", policy)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("Referrer-Policy", "no-referrer")
                headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
                headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
                # Positions are news and often behind credentials; nobody may keep them.
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers)
