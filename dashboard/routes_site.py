"""Routes of the site and what is fixed in it: the document, zones, gateways, beacons to adopt."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Response

from dashboard import models
from dashboard.context import PREFIX, Context
from dashboard.etags import matches
from dashboard.health import GatewayHealth
from dashboard.problems import not_found
from dashboard.watch import HEARD_WITHIN_S
from stream.site import KINDS, GatewayPlace, encode_site

MAX_UNASSIGNED: Final = 200

_SITE_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The document (docs/site.md). The ETag is its version.",
        "headers": {"ETag": {"schema": {"type": "string", "examples": ['"3"']}}},
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Site"}}},
    },
    304: {"description": "The version given in If-None-Match is the current one."},
}


def routes(context: Context) -> APIRouter:
    """The router."""
    router = APIRouter(prefix=PREFIX)

    @router.get(
        "/site",
        tags=["site"],
        summary="The site document",
        response_class=Response,
        responses=_SITE_ANSWERS,
    )
    async def site(
        if_none_match: Annotated[
            str | None, Header(description="An ETag that the caller has.")
        ] = None,
    ) -> Response:
        """Floors, gateways, obstacles, zones, slots and trackables of the present version."""
        positions = context.positions()
        etag = f'"{positions.version}"'
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if if_none_match is not None and matches(if_none_match, etag):
            return Response(None, 304, headers)
        return Response(encode_site(positions.site), 200, headers, "application/json")

    @router.get("/zones", tags=["site"], summary="Zones and who is in them")
    async def zones() -> models.Zones:
        """Every zone with its trackables, counted by where each was last located.

        A trackable that was last located more than `heard_within_s` before the newest tick is not
        counted: it may have left unheard.
        """
        positions = context.positions()
        table = positions.occupancy(HEARD_WITHIN_S)
        return models.Zones(
            heard_within_s=HEARD_WITHIN_S,
            zones=[
                models.ZoneOccupancy(
                    id=zone.id,
                    name=zone.name,
                    kind=zone.kind,
                    floor=zone.floor,
                    total=int(row.sum()),
                    by_kind={
                        kind: int(count) for kind, count in zip(KINDS, row, strict=True) if count
                    },
                )
                for zone, row in zip(positions.site.zones, table, strict=True)
            ],
        )

    @router.get("/gateways", tags=["gateways"], summary="Gateways and their health")
    async def gateways() -> models.Gateways:
        """Every gateway of the site: online, late, offline or unknown, and why; who is suspect."""
        site = context.positions().site
        healths = context.watch.healths(site, await context.watch.look())
        return models.Gateways(
            gateways=[
                _gateway(place, health)
                for place, health in zip(site.gateways, healths, strict=True)
            ]
        )

    @router.get("/gateways/{id}", tags=["gateways"], summary="One gateway and its health")
    async def gateway(id: str) -> models.Gateway:  # noqa: A002  # the name in the path
        """Online, late, offline or unknown, and why; what it sent and what of it was refused."""
        site = context.positions().site
        healths = context.watch.healths(site, await context.watch.look())
        for place, health in zip(site.gateways, healths, strict=True):
            if place.id == id:
                return _gateway(place, health)
        raise not_found(f"there is no gateway `{id}`")

    @router.get("/beacons/unassigned", tags=["beacons"], summary="Beacons to adopt")
    async def unassigned(
        limit: Annotated[
            int, Query(ge=1, le=MAX_UNASSIGNED, description="Most beacons listed.")
        ] = 50,
    ) -> models.Unassigned:
        """Beacons that belong to no trackable, the strongest and latest heard first.

        Hold a beacon close to a gateway and it leads the list; POST it to `/api/v1/trackables`.
        """
        owned = context.positions().site.beacons()
        summary = (await context.watch.look()).summary
        # One that was adopted a moment ago may still be in the workers' list.
        free = [beacon for beacon in summary.unassigned if beacon.beacon not in owned]
        adopted = len(summary.unassigned) - len(free)
        return models.Unassigned(
            total=max(summary.unassigned_total - adopted, len(free)),
            beacons=[
                models.UnassignedBeacon(
                    beacon=beacon.beacon,
                    gateway=beacon.gateway,
                    rssi=round(beacon.rssi, 1),
                    t=beacon.t,
                    n=beacon.n,
                )
                for beacon in free[:limit]
            ],
        )

    return router


def _gateway(place: GatewayPlace, health: GatewayHealth) -> models.Gateway:
    status, counts = health.status, health.counts
    return models.Gateway(
        id=place.id,
        floor=place.floor,
        position=place.position,
        state=health.state,
        reason=health.reason,
        rate=round(health.rate, 1),
        age_s=None if health.age_s is None else round(health.age_s, 3),
        last_seen=counts.t or None,
        status_at=health.received,
        standing=counts.standing,
        version="" if status is None else status.version,
        scanner="" if status is None else status.scanner,
        uptime_s=None if status is None else round(status.uptime, 1),
        window_s=None if status is None else status.window,
        error="" if status is None else status.error,
        batches=counts.batches,
        readings=counts.readings,
        missing=counts.missing,
        duplicates=counts.duplicates,
        late=counts.late,
        spooled=0 if status is None else status.spooled,
        dropped=0 if status is None else status.dropped,
        suspect=counts.suspect or None,
        suspect_text=counts.suspect_text,
        residual_db=None if counts.residual_db is None else round(counts.residual_db, 2),
        hears=None if counts.hears is None else round(counts.hears, 3),
        refused=health.refused,
    )
