"""The calibration over HTTP: imported, listed, read, rolled back, and never overwritten unseen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from dashboard.access import LARGE_BODIES, MAX_BODY_BYTES
from stream.calibration import (
    MAX_DOCUMENT_BYTES,
    Calibration,
    GatewayFit,
    encode_calibration,
    parse_calibration,
    prior,
)
from stream.calibration_store import Calibrations, OwnFit, VersionId
from stream.connection import Connection
from stream.lease import Lease
from stream.summary import encode_summary
from tests.support.dashboards import Dashboard, dashboard
from tests.support.processes import until_async
from tests.support.stepper import T0, Pipeline, pipeline

PATH: Final = "/api/v1/calibration"


def document(offset_dbm: float = -58.0, note: str = "") -> bytes:
    """A calibration of the depot."""
    return encode_calibration(
        Calibration(
            *(1, "depot", "survey", T0 - 60.0, 500, offset_dbm),
            gateways={"gw-0": GatewayFit(2.0)},
            note=note,
        )
    )


class Bench:
    """A site of two partitions, and its dashboard."""

    def __init__(self, worker: Pipeline, board: Dashboard) -> None:
        self.worker = worker
        self.board = board
        self.calibrations = Calibrations(worker.store)

    async def put(
        self, body: bytes, status: int = 200, query: str = "", if_match: str | None = None
    ) -> dict[str, Any]:
        """Imports; gives the answer."""
        headers = {"Content-Type": "application/json"}
        if if_match is not None:
            headers["If-Match"] = if_match
        response = await self.board.http.put(f"{PATH}{query}", content=body, headers=headers)
        assert response.status_code == status, response.text
        self.etag = response.headers.get("etag")
        answer: dict[str, Any] = response.json()
        return answer


@pytest.fixture
async def bench(valkey_url: str) -> AsyncIterator[Bench]:
    """A depot whose clock stands at T0."""
    async with (
        pipeline(valkey_url, partitions=2) as worker,
        dashboard(valkey_url, clock=lambda: T0) as board,
    ):
        yield Bench(worker, board)


async def test_until_one_is_written_there_is_the_prior(bench: Bench) -> None:
    """Version 0, and nothing listed."""
    response = await bench.board.http.get(PATH)
    assert parse_calibration(response.content, "answer") == prior("depot")
    assert response.headers["etag"] == '"0"'
    assert await bench.board.get(f"{PATH}/versions") == {
        "current": "0",
        "in_use": ["0", "0"],
        "versions": [],
    }
    assert await bench.board.get(f"{PATH}/versions/0") == {"v": 1, "site": "depot"}


async def test_what_is_imported_is_the_current_version(bench: Bench) -> None:
    """The document, its ETag, what is listed, and what the workers are told."""
    made = await bench.put(document(), query="?by=ann&note=after%20the%20survey")
    assert made == {
        "version": "1",
        "t": T0,
        "by": "ann",
        "note": "after the survey",
        "origin": "survey",
        "readings": 500,
        "fitted_t": T0 - 60.0,
        "size": len(document()),
        "base": None,
    }
    assert bench.etag == '"1"'
    response = await bench.board.http.get(PATH)
    assert (response.content, response.headers["etag"]) == (document(), '"1"')
    again = await bench.board.http.get(PATH, headers={"If-None-Match": '"1"'})
    assert (again.status_code, again.content) == (304, b"")
    assert (await bench.board.get(f"{PATH}/versions"))["versions"] == [made]
    one = await bench.board.http.get(f"{PATH}/versions/1")
    assert (one.content, one.headers["etag"]) == (document(), '"1"')
    for p in range(2):
        stream = bench.worker.store.keys.partition(p).readings
        entries = await bench.worker.store.link.call("XRANGE", stream, "-", "+")
        assert [fields for _, fields in entries] == [[b"c", b"1"]]


async def test_a_change_made_from_an_older_version_is_refused(bench: Bench) -> None:
    """If-Match lets nobody overwrite what they have not seen."""
    await bench.put(document(), if_match='"0"')
    problem = await bench.put(document(-55.0), 412, if_match='"0"')
    assert problem["type"] == "urn:balise:problem:changed"
    assert problem["detail"] == 'the calibration is at version 1, not "0"'
    assert bench.etag == '"1"'
    await bench.put(document(-55.0), if_match='"1"')
    await bench.put(document(-54.0), if_match='"7", W/"2"')
    await bench.put(document(-53.0), if_match="*")
    assert (await bench.put(document(-52.0)))["version"] == "5"
    refused = await bench.board.http.post(
        f"{PATH}/rollback", json={"to": "1"}, headers={"If-Match": '"4"'}
    )
    assert refused.status_code == 412
    assert await bench.calibrations.current() == 5


async def test_of_many_that_expect_the_same_one_wins(bench: Bench) -> None:
    """With If-Match one of eight, without it all, one after the other."""

    async def put(i: int, if_match: str | None) -> int:
        headers = {} if if_match is None else {"If-Match": if_match}
        body = document(-50.0 - i)
        return (await bench.board.http.put(PATH, content=body, headers=headers)).status_code

    codes = await asyncio.gather(*(put(i, '"0"') for i in range(8)))
    assert sorted(codes) == [200] + [412] * 7
    codes = await asyncio.gather(*(put(i, None) for i in range(5)))
    assert codes == [200] * 5
    assert await bench.calibrations.current() == 6


async def test_going_back_makes_a_new_version(bench: Bench) -> None:
    """Its document is the earlier one's, its note says so, Location leads to it."""
    await bench.put(document(-58.0))
    await bench.put(document(-55.0))
    response = await bench.board.http.post(
        f"{PATH}/rollback", json={"to": "1", "by": "bob", "note": "worse"}
    )
    assert response.status_code == 201
    made = response.json()
    assert (made["version"], made["by"], made["note"]) == ("3", "bob", "back to 1: worse")
    assert response.headers["etag"] == '"3"'
    location = response.headers["location"]
    assert location == f"{PATH}/versions/3"
    assert (await bench.board.http.get(location)).content == document(-58.0)
    await bench.board.post(f"{PATH}/rollback", {"to": "0"})
    current = (await bench.board.http.get(PATH)).content
    assert parse_calibration(current, "answer") == prior("depot")
    listed = (await bench.board.get(f"{PATH}/versions"))["versions"]
    assert [version["version"] for version in listed] == ["4", "3", "2", "1"]


async def test_what_partitions_fitted_is_listed_and_can_be_taken(valkey_url: str) -> None:
    """By its own name, with the site's version it was made under."""
    async with pipeline(valkey_url) as worker, dashboard(valkey_url) as board:
        link = Connection(valkey_url)
        lease = Lease(link, worker.store.keys.partition(0), "other", "1")
        await link.call("DEL", worker.store.keys.partition(0).lease)
        assert await lease.take()
        own = OwnFit(parse_calibration(document(-57.0), "test"), 0)
        await lease.commit(1, b"", b"{}", [], [], [], "0-0", 0, [own])
        await link.close()
        versions = await board.get(f"{PATH}/versions")
        assert (versions["current"], versions["in_use"]) == ("0", ["0.1"])
        (listed,) = versions["versions"]
        assert (listed["version"], listed["by"], listed["base"]) == ("0.1", "worker", 0)
        assert listed["t"] == T0 - 60.0
        assert (await board.http.get(f"{PATH}/versions/0.1")).content == document(-57.0)
        assert (await board.post(f"{PATH}/rollback", {"to": "0.1"}))["note"] == "back to 0.1"
        assert (await board.http.get(PATH)).content == document(-57.0)


async def test_what_is_in_use_is_told_by_partition(valkey_url: str) -> None:
    """Version, what it is from, and how the partition's own fits go."""
    nothing = {"version": "0", "origin": "prior", "snapshots": 0, "fits": 0, "adopted": 0}
    fitted = {"origin": "work", "snapshots": 640, "fits": 5, "adopted": 3}
    async with pipeline(valkey_url, partitions=2) as worker, dashboard(valkey_url) as board:
        assert await board.get(f"{PATH}/in-use") == {
            "partitions": [{"partition": 0, **nothing}, {"partition": 1, **nothing}]
        }
        summary = worker.engines[1].summary()
        summary.calibration_origin = "work"
        summary.snapshots, summary.fits, summary.adopted = 640, 5, 3
        key = worker.store.keys.partition(1).summary
        await worker.store.link.call("SET", key, encode_summary(summary))

        async def told() -> bool:
            first, second = (await board.get(f"{PATH}/in-use"))["partitions"]
            assert first == {"partition": 0, **nothing}
            return bool(second == {"partition": 1, **nothing, **fitted})

        await until_async(told, "the second partition's fits are told")


async def test_a_large_document_is_taken(bench: Bench) -> None:
    """Larger than any other body; only here."""
    large = document(note="x" * (MAX_BODY_BYTES + 1_000))
    assert (await bench.put(large))["size"] == len(large)
    response = await bench.board.http.post(f"{PATH}/rollback", content=large)
    assert response.status_code == 413
    assert LARGE_BODIES == {PATH: MAX_DOCUMENT_BYTES}


async def test_a_document_beyond_all_bounds_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is parsed."""
    monkeypatch.setitem(LARGE_BODIES, PATH, 1_000)
    problem = await bench.put(document(note="x" * 2_000), 413)
    assert problem["type"] == "urn:balise:problem:too-large"
    assert "1000" in problem["detail"]


BAD: Final[list[tuple[bytes, str, int, str, str]]] = [
    (b"", "", 422, "invalid-calibration", "the calibration: is not JSON"),
    (b"{", "", 422, "invalid-calibration", "the calibration: is not JSON"),
    (b"\xff\xfe", "", 422, "invalid-calibration", "the calibration: is"),
    (b"[]", "", 422, "invalid-calibration", "the calibration: is no calibration"),
    (b'{"v": 1, "site": "depot", "x": 1}', "", 422, "invalid-calibration", "`x`"),
    (b'{"v": 2, "site": "depot"}', "", 422, "invalid-calibration", "format 2"),
    (b'{"v": 1, "site": "depot", "sd_db": 0}', "", 422, "invalid-calibration", "sd_db"),
    (b'{"v": 1, "site": "hall"}', "", 422, "invalid-calibration", "not of `depot`"),
    (document(), "?by=", 422, "invalid-request", "by"),
    (document(), "?by=a%0Ab", 422, "invalid-request", "`by`"),
    (document(), f"?note={'x' * 301}", 422, "invalid-request", "note"),
]


@pytest.mark.parametrize(("body", "query", "status", "kind", "says"), BAD)
async def test_bad_imports_are_problems(
    bench: Bench, body: bytes, query: str, status: int, kind: str, says: str
) -> None:
    """One sentence, and nothing is written."""
    problem = await bench.put(body, status, query)
    assert problem["type"] == f"urn:balise:problem:{kind}"
    assert says in problem["detail"]
    assert problem["detail"].isprintable()
    assert await bench.calibrations.current() == 0


async def test_other_errors_are_problems(bench: Bench) -> None:
    """Versions that are not there, names that are none, methods that are not taken."""
    calls: list[tuple[str, str, object, int, str]] = [
        ("GET", f"{PATH}/versions/7", None, 404, "calibration 7 of"),
        ("GET", f"{PATH}/versions/0.3", None, 404, "calibration 0.3 of"),
        ("GET", f"{PATH}/versions/latest", None, 422, "`latest` is not a version"),
        ("GET", f"{PATH}/versions/1%0A", None, 422, "is not a version"),
        ("POST", f"{PATH}/rollback", {"to": "9"}, 404, "calibration 9 of"),
        ("POST", f"{PATH}/rollback", {"to": "first"}, 422, "`first`"),
        ("POST", f"{PATH}/rollback", {"to": 1}, 422, "to"),
        ("POST", f"{PATH}/rollback", {}, 422, "to"),
        ("POST", f"{PATH}/rollback", {"to": "0", "note": "a\nb"}, 422, "`note`"),
        ("DELETE", PATH, None, 405, "GET"),
    ]
    for method, path, body, status, says in calls:
        response = await bench.board.http.request(method, path, json=body)
        assert response.status_code == status, (path, response.text)
        assert response.headers["content-type"] == "application/problem+json"
        assert says in response.json()["detail"], path
    assert await bench.calibrations.listed() == []


async def test_pages_of_other_origins_cannot_import(bench: Bench) -> None:
    """As for every change."""
    response = await bench.board.http.put(
        PATH, content=document(), headers={"Origin": "http://elsewhere.example"}
    )
    assert response.status_code == 403
    assert await bench.calibrations.read(VersionId(0)) == prior("depot")
    assert await bench.calibrations.current() == 0


async def test_the_document_is_described(bench: Bench) -> None:
    """OpenAPI has the calibration's own schema, as body and as answer."""
    described = await bench.board.get("/api/v1/openapi.json")
    schema = {"schema": {"$ref": "#/components/schemas/Calibration"}}
    put = described["paths"][PATH]["put"]
    assert put["requestBody"]["content"] == {"application/json": schema}
    get = described["paths"][PATH]["get"]
    assert get["responses"]["200"]["content"] == {"application/json": schema}
    parts = described["components"]["schemas"]
    assert set(parts["Calibration"]["properties"]) >= {"v", "site", "gateways", "radio_map"}
    assert {"GatewayFit", "MapPatch", "Site"} <= set(parts)
