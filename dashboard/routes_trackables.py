"""Routes of trackables: find them, follow one, adopt beacons."""

from __future__ import annotations

import math
from typing import Annotated, Final, TypedDict
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Response

from dashboard import models
from dashboard.catalogue import Catalogue, CursorError
from dashboard.catalogue import Query as Filters
from dashboard.context import PREFIX, Context
from dashboard.edit import edit, with_beacon, with_trackable
from dashboard.positions import Positions
from dashboard.problems import Problem, not_found
from stream.fixes import NONE
from stream.site import Kind, Site

RECENT_S: Final = 30.0
MAX_TRACK_S: Final = 3_600.0
DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1_000

_Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most trackables on a page.")]
_Seconds = Annotated[
    float,
    Query(gt=0, le=MAX_TRACK_S, description="How far back from the last fix, in seconds."),
]


def routes(context: Context) -> APIRouter:
    """The router."""
    router = APIRouter(prefix=f"{PREFIX}/trackables", tags=["trackables"])
    catalogues: list[Catalogue] = []

    def catalogue(site: Site) -> Catalogue:
        if not catalogues or catalogues[0].site is not site:
            catalogues[:] = [Catalogue(site)]
        return catalogues[0]

    @router.get("", summary="Find trackables")
    async def find(
        kind: Annotated[Kind | None, Query(description="Only of this kind.")] = None,
        zone: Annotated[str | None, Query(description="Only those last in this zone.")] = None,
        floor: Annotated[str | None, Query(description="Only those last on this floor.")] = None,
        q: Annotated[
            str, Query(max_length=200, description="Part of the id, name or SKU, any case.")
        ] = "",
        lost: Annotated[
            bool | None,
            Query(description="Only those that are lost, or only those located that are not."),
        ] = None,
        limit: _Limit = DEFAULT_LIMIT,
        after: Annotated[
            str | None, Query(description="A cursor; follow `next` instead of making one.")
        ] = None,
    ) -> models.TrackablePage:
        """Trackables in order of id, a page at a time, with their last positions."""
        positions = context.positions()
        filters = Filters(
            kind=kind,
            zone=None if zone is None else _row_of("zone", zone, positions.site),
            floor=None if floor is None else _row_of("floor", floor, positions.site),
            text=q,
            lost=lost,
        )
        try:
            rows, cursor = catalogue(positions.site).page(positions, filters, after, limit)
        except CursorError as error:
            raise Problem(422, "invalid-request", str(error)) from error
        following = None
        if cursor is not None:
            words = {
                "kind": kind,
                "zone": zone,
                "floor": floor,
                "q": q or None,
                "lost": None if lost is None else str(lost).lower(),
                "limit": limit,
            }
            kept = {key: value for key, value in words.items() if value is not None}
            following = f"{PREFIX}/trackables?{urlencode({**kept, 'after': cursor})}"
        now = context.clock()
        return models.TrackablePage(
            trackables=[
                models.Trackable(**_fields(positions, row), position=_position(positions, row, now))
                for row in rows
            ],
            next=following,
        )

    @router.post("", status_code=201, summary="Adopt a beacon as a new trackable")
    async def create(new: models.NewTrackable, response: Response) -> models.Trackable:
        """Makes a new version of the site with one trackable more.

        409 when the id or a beacon is taken.
        """
        version, site = await edit(
            context.store,
            lambda site: with_trackable(
                site,
                id_=new.id,
                name=new.name,
                kind=new.kind,
                beacons=new.beacons,
                sku=new.sku,
                quantity=new.quantity,
            ),
        )
        context.feed.adopt(site, version)
        part = site.trackables[-1]
        response.headers["Location"] = f"{PREFIX}/trackables/{quote(part.id, safe='')}"
        return models.Trackable(
            id=part.id,
            name=part.name,
            kind=part.kind,
            beacons=part.beacons,
            sku=part.sku,
            quantity=part.quantity,
            position=None,
        )

    # Ids may hold slashes, so these take the rest of the path; the longer ones come first.
    @router.get("/{id:path}/track", summary="A trackable's recent track")
    async def track(id: str, seconds: _Seconds = 120.0) -> models.Track:  # noqa: A002  # in the path
        """Its fixes of the last seconds before its last fix, as far back as they are kept.

        Kept are at most 240 points for each trackable, fewer on sites with very many; a freshly
        started dashboard knows the two minutes before its start.
        """
        positions, row = _found(context, id)
        return models.Track(id=id, points=_points(positions, row, seconds))

    @router.post("/{id:path}/beacons", status_code=201, summary="Give a trackable a beacon")
    async def wear(id: str, new: models.NewBeacon) -> models.Trackable:  # noqa: A002  # in the path
        """Makes a new version of the site in which the trackable wears one beacon more.

        409 when the beacon is another's; one that it wears already changes nothing.
        """
        version, site = await edit(context.store, lambda site: with_beacon(site, id, new.beacon))
        context.feed.adopt(site, version)
        positions, row = _found(context, id)
        return models.Trackable(
            **_fields(positions, row), position=_position(positions, row, context.clock())
        )

    @router.get("/{id:path}", summary="One trackable, its position and recent track")
    async def one(id: str) -> models.TrackableDetail:  # noqa: A002  # in the path
        """What it is, where it is, and where it was in the last 30 seconds before its last fix."""
        positions, row = _found(context, id)
        return models.TrackableDetail(
            **_fields(positions, row),
            position=_position(positions, row, context.clock()),
            track=_points(positions, row, RECENT_S),
        )

    return router


def _found(context: Context, id_: str) -> tuple[Positions, int]:
    positions = context.positions()
    row = positions.row(id_)
    if row is None:
        raise not_found(f"there is no trackable `{id_}`")
    return positions, row


def _row_of(what: str, id_: str, site: Site) -> int:
    ids = [part.id for part in (site.zones if what == "zone" else site.floors)]
    try:
        return ids.index(id_)
    except ValueError:
        raise Problem(422, "invalid-request", f"{what}: there is no {what} `{id_}`") from None


class _Fields(TypedDict):
    id: str
    name: str
    kind: Kind
    beacons: list[str]
    sku: str | None
    quantity: float | None


def _fields(positions: Positions, row: int) -> _Fields:
    part = positions.site.trackables[row]
    return {
        "id": part.id,
        "name": part.name,
        "kind": part.kind,
        "beacons": part.beacons,
        "sku": part.sku,
        "quantity": part.quantity,
    }


def _position(positions: Positions, row: int, now: float) -> models.Position | None:
    t = float(positions.t[row])
    if t <= 0.0:
        return None
    fix = positions.last[row]
    zone = int(fix["zone"])
    return models.Position(
        x=_rounded(fix["x"]),
        y=_rounded(fix["y"]),
        floor=positions.site.floors[int(fix["floor"])].id,
        accuracy=_rounded(fix["accuracy"]),
        speed=_rounded(fix["speed"]),
        heading=_rounded(fix["heading"]),
        zone=None if zone == NONE else positions.site.zones[zone].id,
        zone_probability=_rounded(fix["zone_probability"]),
        t=t,
        age_s=round(max(0.0, now - t), 3),
        lost=positions.is_lost(row),
    )


def _points(positions: Positions, row: int, seconds: float) -> list[models.TrackPoint]:
    floors = [floor.id for floor in positions.site.floors]
    return [
        models.TrackPoint(
            t=float(point["t"]),
            x=_rounded(point["x"]),
            y=_rounded(point["y"]),
            floor=floors[int(point["floor"])],
            accuracy=_rounded(point["accuracy"]),
        )
        for point in positions.track(row, seconds)
    ]


def _rounded(value: float) -> float:
    """To the millimetre, which is finer than anything here is known."""
    number = round(float(value), 3)
    return number if math.isfinite(number) else 0.0
