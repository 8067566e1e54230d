"""The application: everything of the dashboard put together around one store."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from dashboard import (
    page,
    problems,
    routes_calibration,
    routes_health,
    routes_live,
    routes_site,
    routes_trackables,
)
from dashboard.access import Access, BoundedBody
from dashboard.context import PREFIX, Context
from dashboard.feed import Feed
from dashboard.live import Hub
from dashboard.models import ProblemDocument
from dashboard.watch import Watch
from stream.calibration import Calibration
from stream.site import Site
from stream.store import Store

_DESCRIPTION: Final = (
    "Where things are, in real time. Lengths are metres in the site's frame, times are Unix "
    "seconds, angles are radians counter-clockwise from the x axis. Errors are problem documents "
    "(RFC 9457). The live feed is the WebSocket `/api/v1/live` (docs/api.md)."
)
_REFS: Final = "#/components/schemas/{name}"
_TEMPLATE: Final = "#/components/schemas/{model}"


def create_app(
    store: Store,
    *,
    host: str = "127.0.0.1",
    token: str | None = None,
    version: str = "0",
    static: Path = page.STATIC,
    clock: Callable[[], float] = time.time,
) -> FastAPI:
    """The dashboard of one site.

    Args:
        store: connected; whoever connected it closes it.
        host: the address that will be bound.
        token: what callers must know; needed unless `host` is loopback.
        version: of the software, for people and metrics.
        static: the built page; need not exist.
        clock: Unix seconds.

    Raises:
        AccessError: it would be open to others without a token.
    """
    hub = Hub()
    feed = Feed(store, hub)
    watch = Watch(store, feed, hub, clock)
    context = Context(store, feed, hub, watch, clock)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(feed.run()), tasks.create_task(watch.run())]
            yield
            for task in running:
                task.cancel()

    app = FastAPI(
        title="Balise",
        version=version,
        description=_DESCRIPTION,
        openapi_url=f"{PREFIX}/openapi.json",
        # The viewers of OpenAPI load scripts from elsewhere; the page loads nothing from there.
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    problems.install(app)
    for router in (
        routes_site.routes(context),
        routes_trackables.routes(context),
        routes_calibration.routes(context),
        routes_health.routes(context, version),
        routes_live.routes(context),
        page.routes(static),
    ):
        app.include_router(router)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's documented way
    # The last one added is the outermost.
    app.add_middleware(BoundedBody)
    app.add_middleware(Access, host=host, token=token)
    app.add_middleware(page.SafeHeaders)
    app.add_middleware(problems.Faults)
    if token is None:
        Access(app, host, token)  # refuses an open bind now instead of at the first request
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document, with our problem documents and our own documents' schemas."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    schema = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    _, parts = msgspec.json.schema_components([Site, Calibration], ref_template=_REFS)
    problem = ProblemDocument.model_json_schema(ref_template=_TEMPLATE)
    components = schema.setdefault("components", {}).setdefault("schemas", {})
    components.update(parts)
    components.update(problem.pop("$defs", {}))
    components["Problem"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        components.pop(unused, None)
    answer = {
        "description": "An error, as a problem document (RFC 9457).",
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": _REFS.format(name="Problem")}}},
    }
    for path in schema["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = answer
    app.openapi_schema = schema
    return schema
