"""Routes for supervisors and monitoring: /healthz, /readyz, /metrics."""

from __future__ import annotations

from fastapi import APIRouter, Response

from dashboard import metrics, models
from dashboard.context import Context
from dashboard.problems import Problem
from stream.store import StoreError


def routes(context: Context, version: str) -> APIRouter:
    """The router; `version` is the software's."""
    router = APIRouter(tags=["operation"])

    @router.get("/healthz", summary="The process is alive")
    async def healthz() -> models.Alive:
        """Always 200 while the process runs; needs no credentials."""
        return models.Alive()

    @router.get("/readyz", summary="The store answers and holds the site")
    async def readyz() -> models.Ready:
        """200 when the store can be read and the site is there; 503 with the reason otherwise."""
        site_version = await context.store.site_version()
        positions = context.positions()
        if not site_version:
            raise Problem(503, "unavailable", "the store does not hold the site any more")
        if context.feed.trouble:
            raise Problem(503, "unavailable", context.feed.trouble)
        return models.Ready(site=positions.site.id, site_version=site_version)

    @router.get(
        "/metrics",
        summary="Metrics for Prometheus",
        response_class=Response,
        responses={200: {"content": {metrics.MEDIA_TYPE: {"schema": {"type": "string"}}}}},
    )
    async def prometheus() -> Response:
        """Counters and gauges of the whole pipeline in Prometheus' text format.

        While the store cannot be read, `balise_store_up` is 0 and what it holds is left out.
        """
        try:
            overview = await context.watch.look()
        except StoreError:
            overview = None
        positions = context.feed.positions
        values = metrics.Values(
            version=version,
            now=context.clock(),
            overview=overview,
            positions=positions,
            healths=[]
            if overview is None or positions is None
            else context.watch.healths(positions.site, overview),
            clients=len(context.hub),
            resyncs=context.hub.resyncs,
            deltas=context.hub.deltas,
            skipped=context.feed.skipped,
        )
        return Response(metrics.render(values), media_type=metrics.MEDIA_TYPE)

    return router
