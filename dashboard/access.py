"""Who may speak to the dashboard: nothing but loopback is open without credentials.

Without a token the dashboard binds loopback only, and answers only to loopback names, so that a
page of somewhere else cannot reach it through a name that resolves to 127.0.0.1. With a token
every route but /healthz wants it. Either way what changes something, and the live feed, must not
be called by pages of other origins.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.problems import answer
from gateway.errors import UserError
from stream.calibration import MAX_DOCUMENT_BYTES

# 16 characters of a random token are beyond guessing over the network.
MIN_TOKEN_CHARS: Final = 16
MAX_TOKEN_CHARS: Final = 1_024
# Adopting a beacon takes some hundred bytes.
MAX_BODY_BYTES: Final = 64 * 1024
# Calibrations with a radio map are the one large thing to send in.
LARGE_BODIES: Final = {"/api/v1/calibration": MAX_DOCUMENT_BYTES}
OPEN_PATHS: Final = frozenset({"/healthz"})
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="balise", charset="UTF-8"'}

_OTHER_NAME: Final = (
    "without a token the dashboard answers only to 127.0.0.1 and localhost; "
    "start it with --token-file to reach it under another name"
)
_HOW_TO_SAY: Final = (
    "send the token as `Authorization: Bearer TOKEN`, or as the password of HTTP Basic with any "
    "user name"
)


class AccessError(UserError):
    """The dashboard may not be started like this."""


def is_loopback(host: str) -> bool:
    """Whether an address (or `localhost`) is only reachable from this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_bind(host: str, token: str | None) -> None:
    """Refuses to open the dashboard to others without a token.

    Raises:
        AccessError: one sentence.
    """
    if token is None and not is_loopback(host):
        raise AccessError(
            f"--host {host} opens the dashboard to other machines, which needs a token: write a "
            "long random word into a file and give it with --token-file FILE"
        )


def read_token(path: Path) -> str:
    """The token in a file, blanks around it removed.

    Raises:
        AccessError: the file cannot be read, or holds nothing fit.
    """
    try:
        token = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise AccessError(f"the token file {path} cannot be read: {reason}") from error
    fits = MIN_TOKEN_CHARS <= len(token) <= MAX_TOKEN_CHARS
    if not fits or not token.isprintable() or not token.isascii() or " " in token:
        raise AccessError(
            f"the token file {path} must hold one word of {MIN_TOKEN_CHARS} to {MAX_TOKEN_CHARS} "
            "ASCII characters"
        )
    return token


def is_authorized(authorization: str | None, token: str) -> bool:
    """Whether an Authorization header holds the token, as Bearer or as Basic's password."""
    scheme, _, rest = (authorization or "").strip().partition(" ")
    given = rest.strip()
    if scheme.lower() == "basic":
        try:
            decoded = base64.b64decode(given, validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return False
        given = decoded.partition(":")[2]
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given.encode(), token.encode())


def is_own_host(host: str | None, bound: str) -> bool:
    """Whether a Host header names this machine's loopback."""
    try:
        name = urlsplit(f"//{host or ''}").hostname
    except ValueError:
        return False
    return name is not None and (is_loopback(name) or name == bound.lower())


def is_own_origin(origin: str | None, host: str | None) -> bool:
    """Whether a request comes from our own page, or from no page at all."""
    if origin is None:
        return True
    try:
        page = urlsplit(origin)
        here = urlsplit(f"{page.scheme}://{host or ''}")
        default = {"http": 80, "https": 443}.get(page.scheme)
        return (
            default is not None
            and page.hostname is not None
            and page.hostname == here.hostname
            and (page.port or default) == (here.port or default)
        )
    except ValueError:
        return False


class Access:
    """The layer that lets requests in.

    Args:
        app: the layer below.
        host: the address bound.
        token: what callers must know; None leaves loopback open.
    """

    def __init__(self, app: ASGIApp, host: str, token: str | None) -> None:
        check_bind(host, token)
        self._app: Final = app
        self._host: Final = host
        self._token: Final = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets the request in or answers it with 401 or 403."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        status, kind, detail = refusal
        extra = _CHALLENGE if status == 401 else None
        response = answer(status, kind, detail, extra)
        await response(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str, str] | None:
        host = headers.get("host")
        if self._token is None and not is_own_host(host, self._host):
            return (
                403,
                "forbidden",
                _OTHER_NAME,
            )
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if changes and not is_own_origin(headers.get("origin"), host):
            return 403, "forbidden", "pages of other origins may not do this"
        if (
            self._token is not None
            and scope["path"] not in OPEN_PATHS
            and not is_authorized(headers.get("authorization"), self._token)
        ):
            return (
                401,
                "unauthorized",
                _HOW_TO_SAY,
            )
        return None


class BoundedBody:
    """The layer that reads a request's body, up to a bound, before anything parses it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app: Final = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on with its body in one piece, or answers 413."""
        if scope["type"] != "http" or scope["method"] in _SAFE_METHODS:
            await self._app(scope, receive, send)
            return
        limit = LARGE_BODIES.get(scope["path"], MAX_BODY_BYTES)
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > limit:
                detail = f"a request's body may have {limit} bytes here"
                headers = {"Connection": "close"}
                response = answer(413, "too-large", detail, headers)
                await response(scope, receive, send)
                return
        whole: Message | None = {"type": "http.request", "body": bytes(body), "more_body": False}

        async def replay() -> Message:
            nonlocal whole
            message, whole = whole, None
            return await receive() if message is None else message

        await self._app(scope, replay, send)
