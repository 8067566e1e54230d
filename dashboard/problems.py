"""Every error of the API is a problem document of RFC 9457; no traceback leaves the process.

`type` is a stable name for programs, `title` the same for people, `detail` says what was wrong
this time and how to mend it.
"""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream.calibration import CalibrationError
from stream.calibration_store import StaleCalibration
from stream.site import SiteError
from stream.store import StaleSite, StoreError

_log: Final = logging.getLogger("balise.dashboard")

MEDIA_TYPE: Final = "application/problem+json"
# A body with a thousand faults is described by its first ones.
MAX_ERRORS: Final = 20

TITLES: Final[dict[str, str]] = {
    "invalid-request": "The request is not valid",
    "invalid-site": "The change does not fit the site",
    "not-found": "There is no such thing",
    "conflict": "Somebody or something else has it already",
    "changed": "It was changed in the meantime",
    "invalid-calibration": "The calibration is not valid",
    "unauthorized": "Credentials are needed",
    "forbidden": "Not from there",
    "too-large": "The request is too large",
    "unavailable": "Not ready at present",
    "internal": "A fault in the dashboard itself",
}


class Problem(Exception):  # noqa: N818  # the RFC's word for it
    """An error with a status; becomes a problem document.

    Args:
        status: of HTTP.
        kind: a key of TITLES.
        detail: what was wrong, for a person.
        headers: further headers of the answer.
    """

    def __init__(
        self, status: int, kind: str, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status: Final = status
        self.kind: Final = kind
        self.detail: Final = detail
        self.headers: Final = headers or {}


def not_found(what: str) -> Problem:
    """404 with a sentence."""
    return Problem(404, "not-found", what)


def document(status: int, kind: str | None, detail: str, **more: object) -> dict[str, object]:
    """The problem document; without a kind it is the plain HTTP status."""
    phrase = HTTPStatus(status).phrase
    return {
        "type": "about:blank" if kind is None else f"urn:balise:problem:{kind}",
        "title": phrase if kind is None else TITLES[kind],
        "status": status,
        "detail": detail,
        **more,
    }


def answer(
    status: int,
    kind: str | None,
    detail: str,
    headers: dict[str, str] | None = None,
    **more: object,
) -> Response:
    """The problem as a response."""
    body = json.dumps(document(status, kind, detail, **more), ensure_ascii=False)
    return Response(body, status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Makes every error of the app a problem document."""
    app.exception_handler(Problem)(_on_problem)
    app.exception_handler(HTTPException)(_on_http)
    app.exception_handler(RequestValidationError)(_on_invalid)
    app.exception_handler(SiteError)(_on_site)
    app.exception_handler(CalibrationError)(_on_calibration)
    app.exception_handler(StoreError)(_on_store)


async def _on_problem(_: Request, error: Problem) -> Response:
    return answer(error.status, error.kind, error.detail, error.headers)


async def _on_http(request: Request, error: HTTPException) -> Response:
    headers = dict(error.headers or {})
    path = request.url.path
    if error.status_code == 404:
        return answer(404, "not-found", f"there is nothing at {path}", headers)
    if error.status_code == 405:
        allowed = headers.get("Allow", headers.get("allow", "another method"))
        detail = f"{request.method} is not possible at {path}; it takes {allowed}"
        return answer(405, None, detail, headers)
    return answer(error.status_code, None, str(error.detail), headers)


async def _on_invalid(_: Request, error: RequestValidationError) -> Response:
    faults = [_fault(fault) for fault in error.errors()[:MAX_ERRORS]]
    first = faults[0] if faults else {"in": "request", "key": "", "reason": "not readable"}
    where = f"{first['in']} `{first['key']}`" if first["key"] else first["in"]
    return answer(422, "invalid-request", f"{where}: {first['reason']}", errors=faults)


def _fault(fault: dict[str, Any]) -> dict[str, str]:
    place, *path = fault["loc"]
    key = ".".join(str(part) for part in path)
    if fault["type"] == "json_invalid":
        key = ""
    message = str(fault["msg"])
    if not message[:2].isupper():
        message = message[:1].lower() + message[1:]
    return {"in": str(place), "key": key, "reason": message}


async def _on_site(_: Request, error: SiteError) -> Response:
    faults = [{"in": "site", "key": error.key, "reason": error.reason}]
    return answer(422, "invalid-site", str(error), errors=faults)


async def _on_calibration(_: Request, error: CalibrationError) -> Response:
    return answer(422, "invalid-calibration", str(error))


async def _on_store(_: Request, error: StoreError) -> Response:
    if isinstance(error, (StaleSite, StaleCalibration)):
        return answer(409, "conflict", str(error))
    return answer(503, "unavailable", str(error), {"Retry-After": "2"})


class Faults:
    """The outermost layer: a fault of ours is logged and answered with a problem document."""

    def __init__(self, app: ASGIApp) -> None:
        self._app: Final = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the app below."""
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            if scope["type"] == "lifespan":
                raise
            _log.exception("a fault while answering %s", scope.get("path"))
            if scope["type"] == "http" and not started:
                detail = "the fault is in the dashboard's log; please report it"
                await answer(500, "internal", detail)(scope, receive, send)
