"""Routes of the calibration: the document, its versions, importing and going back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request, Response

from dashboard import models
from dashboard.context import PREFIX, Context
from dashboard.edit import MAX_TRIES
from dashboard.etags import matches, tag_of
from dashboard.problems import Problem, not_found
from stream.calibration import encode_calibration, parse_calibration
from stream.calibration_store import (
    MAX_BY_CHARS,
    MAX_NOTE_CHARS,
    CalibrationAbsent,
    Calibrations,
    StaleCalibration,
    Version,
    VersionError,
    VersionId,
    parse_version,
)

_JSON: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/Calibration"}}}
_ETAG: Final = {"ETag": {"schema": {"type": "string", "examples": ['"3"']}}}
_DOCUMENT: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The document (docs/calibration.md). The ETag is its version.",
        "headers": _ETAG,
        "content": _JSON,
    },
}
_NOT_MODIFIED: Final[dict[int | str, dict[str, Any]]] = {
    304: {"description": "The version given in If-None-Match is the current one."}
}
_BODY: Final = {"requestBody": {"required": True, "content": _JSON}}

IfMatch = Annotated[
    str | None,
    Header(description='Only while the site\'s current version has this ETag, as `"3"`.'),
]


def routes(context: Context) -> APIRouter:
    """The router."""
    router = APIRouter(prefix=f"{PREFIX}/calibration", tags=["calibration"])
    calibrations = Calibrations(context.store)

    @router.get(
        "",
        summary="The site's current calibration",
        response_class=Response,
        responses={**_DOCUMENT, **_NOT_MODIFIED},
    )
    async def current(
        if_none_match: Annotated[
            str | None, Header(description="An ETag that the caller has.")
        ] = None,
    ) -> Response:
        """The document of the site's current version; the prior, version 0, until there is one.

        What a partition has fitted itself since is not in it: see `versions`.
        """
        number = await calibrations.current()
        headers = {"ETag": tag_of(number), "Cache-Control": "no-cache"}
        if if_none_match is not None and matches(if_none_match, tag_of(number)):
            return Response(None, 304, headers)
        return await _document(calibrations, VersionId(number), headers)

    @router.put(
        "",
        summary="Import a calibration",
        openapi_extra=_BODY,
        responses={
            200: {"headers": _ETAG},
            412: {"description": "If-Match names another version."},
        },
    )
    async def put(
        request: Request,
        response: Response,
        by: Annotated[
            str, Query(min_length=1, max_length=MAX_BY_CHARS, description="Who, for the list.")
        ] = "api",
        note: Annotated[
            str, Query(max_length=MAX_NOTE_CHARS, description="Why, for the list.")
        ] = "",
        if_match: IfMatch = None,
    ) -> models.CalibrationVersion:
        """Makes the document the site's next version, for all partitions, and answers with it.

        Each worker takes it at one place among its readings, within a second or two.
        """
        calibration = parse_calibration(await request.body(), "the calibration")

        async def write(expected: int) -> Version:
            return await calibrations.write(
                calibration, expected, t=context.clock(), by=by, note=note
            )

        return await _written(calibrations, write, if_match, response)

    @router.get("/versions", summary="The versions of the calibration")
    async def versions() -> models.CalibrationVersions:
        """What is kept: the last 50 of the site, and the last 50 that each partition fitted."""
        listed = await calibrations.listed()
        return models.CalibrationVersions(
            current=str(await calibrations.current()),
            in_use=[str(version) for version in await calibrations.in_use()],
            versions=[_version(version) for version in listed],
        )

    @router.get("/in-use", summary="The radio model in use")
    async def in_use() -> models.CalibrationsInUse:
        """What each partition located with at its last commit, and how its own fits go."""
        versions = await calibrations.in_use()
        summaries = (await context.watch.look()).partitions
        return models.CalibrationsInUse(
            partitions=[
                models.CalibrationInUse(
                    partition=number,
                    version=str(version),
                    origin=summary.calibration_origin,
                    snapshots=summary.snapshots,
                    fits=summary.fits,
                    adopted=summary.adopted,
                )
                # A look may be half a second old, and a store may just have been split anew.
                for number, (version, summary) in enumerate(zip(versions, summaries, strict=False))
            ]
        )

    @router.get(
        "/versions/{version}",
        summary="One version of the calibration",
        response_class=Response,
        responses=_DOCUMENT,
    )
    async def version(version: str) -> Response:
        """Its document, as it was made; it never changes."""
        id_ = _parsed(version)
        return await _document(
            calibrations, id_, {"ETag": tag_of(id_), "Cache-Control": "no-cache"}
        )

    @router.post(
        "/rollback",
        summary="Go back to an earlier calibration",
        status_code=201,
        responses={
            201: {"headers": _ETAG},
            412: {"description": "If-Match names another version."},
        },
    )
    async def rollback(
        body: models.Rollback, response: Response, if_match: IfMatch = None
    ) -> models.CalibrationVersion:
        """Makes the document of an earlier version, or of a partition's fit, the site's next one.

        History stays as it is; what partitions fitted since is not used any more.
        """
        to = _parsed(body.to)

        async def write(expected: int) -> Version:
            try:
                return await calibrations.roll_back(
                    to, expected, t=context.clock(), by=body.by, note=body.note
                )
            except CalibrationAbsent as error:
                raise not_found(str(error)) from error

        made = await _written(calibrations, write, if_match, response)
        response.headers["Location"] = f"{PREFIX}/calibration/versions/{made.version}"
        return made

    return router


async def _document(
    calibrations: Calibrations, version: VersionId, headers: dict[str, str]
) -> Response:
    try:
        calibration = await calibrations.read(version)
    except CalibrationAbsent as error:
        raise not_found(str(error)) from error
    return Response(encode_calibration(calibration), 200, headers, "application/json")


async def _written(
    calibrations: Calibrations,
    write: Callable[[int], Awaitable[Version]],
    if_match: str | None,
    response: Response,
) -> models.CalibrationVersion:
    """Writes after whatever is current, or only after what the caller expects.

    Raises:
        Problem: 412 when the caller expects another version; 422 for an unfit author or note.
        StaleCalibration: somebody else was faster every time.
    """
    tries = 0
    while True:
        current = await calibrations.current()
        if if_match is not None and not matches(if_match, tag_of(current)):
            detail = f"the calibration is at version {current}, not {if_match}"
            raise Problem(412, "changed", detail, {"ETag": tag_of(current)})
        try:
            made = await write(current)
            break
        except StaleCalibration:
            tries += 1
            if tries == MAX_TRIES:
                raise
        except VersionError as error:
            raise Problem(422, "invalid-request", str(error)) from error
    response.headers["ETag"] = tag_of(made.id)
    return _version(made)


def _parsed(text: str) -> VersionId:
    try:
        return parse_version(text)
    except VersionError as error:
        raise Problem(422, "invalid-request", str(error)) from error


def _version(version: Version) -> models.CalibrationVersion:
    id_, about = version
    return models.CalibrationVersion(
        version=str(id_),
        t=about.t,
        by=about.by,
        note=about.note,
        origin=about.origin,
        readings=about.readings,
        fitted_t=about.fitted_t,
        size=about.size,
        base=None if id_.partition is None else about.base,
    )
