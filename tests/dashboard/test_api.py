"""The API over a real store: what a worker committed is what callers read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest
from msgspec.structs import replace

from dashboard.app import create_app
from gateway.status import Status, encode_status
from stream.fixes import NONE
from stream.site import Trackable, encode_site, parse_site
from stream.store import Store
from stream.summary import encode_summary
from tests.support.dashboards import Dashboard, dashboard
from tests.support.processes import until_async
from tests.support.stepper import T0, Pipeline, beacon, depot, pipeline, places


class Clock:
    """A clock that tests set, Unix seconds."""

    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> float:
        """The time."""
        return self.now


class Bench:
    """A worker, a dashboard and its clock."""

    def __init__(self, worker: Pipeline, board: Dashboard, clock: Clock) -> None:
        self.worker = worker
        self.board = board
        self.clock = clock

    async def located(self, id_: str, t: float) -> dict[str, Any]:
        """The trackable, once its position is that of t."""

        async def there() -> bool:
            got = await self.board.get(f"/api/v1/trackables/{id_}")
            return got["position"] is not None and got["position"]["t"] == t

        await until_async(there, f"{id_} is located at {t}")
        found: dict[str, Any] = await self.board.get(f"/api/v1/trackables/{id_}")
        return found


@pytest.fixture
async def bench(valkey_url: str) -> AsyncIterator[Bench]:
    """A depot whose things were heard once."""
    clock = Clock()
    async with pipeline(valkey_url) as worker:
        await worker.move(T0, places(worker.site))
        async with dashboard(valkey_url, clock=clock) as board:
            yield Bench(worker, board, clock)


async def test_site_is_the_document_with_its_version(bench: Bench) -> None:
    """GET site gives the stored document; its ETag spares the transfer."""
    response = await bench.board.http.get("/api/v1/site")
    assert parse_site(response.content, "answer") == bench.worker.site
    assert response.headers["etag"] == '"1"'
    for tags, status in (('"1"', 304), ('W/"1", "7"', 304), ("*", 304), ('"2"', 200), ("", 200)):
        again = await bench.board.http.get("/api/v1/site", headers={"If-None-Match": tags})
        assert (again.status_code, bool(again.content)) == (status, status == 200), tags


async def test_one_trackable_has_the_committed_position(bench: Bench) -> None:
    """Position and track are the worker's fixes, in metres, seconds and ids."""
    await bench.worker.move(T0 + 0.5, places(bench.worker.site, 0.5))
    await bench.worker.move(T0 + 1.0, places(bench.worker.site, 1.0))
    bench.clock.now = T0 + 3.0
    got = await bench.located("thing-0002", T0 + 1.0)
    fixes = [
        (tick.t, tick.fixes[tick.fixes["trackable"] == 2][0]) for tick in bench.worker.committed
    ]
    t, last = fixes[-1]
    zone = None if last["zone"] == NONE else bench.worker.site.zones[last["zone"]].id
    assert got["position"] == {
        "x": pytest.approx(float(last["x"]), abs=1e-3),
        "y": pytest.approx(float(last["y"]), abs=1e-3),
        "floor": "ground",
        "accuracy": pytest.approx(float(last["accuracy"]), abs=1e-3),
        "speed": pytest.approx(float(last["speed"]), abs=1e-3),
        "heading": pytest.approx(float(last["heading"]), abs=1e-3),
        "zone": zone,
        "zone_probability": pytest.approx(float(last["zone_probability"]), abs=1e-3),
        "t": t,
        "age_s": 2.0,
        "lost": False,
    }
    assert [(p["t"], p["x"]) for p in got["track"]] == [
        (t, pytest.approx(float(fix["x"]), abs=1e-3)) for t, fix in fixes
    ]
    assert {key: got[key] for key in ("id", "name", "kind", "beacons", "sku", "quantity")} == {
        "id": "thing-0002",
        "name": "Thing 2",
        "kind": "cart",
        "beacons": [beacon(2)],
        "sku": "SKU-2",
        "quantity": 2.0,
    }
    track = await bench.board.get("/api/v1/trackables/thing-0002/track?seconds=0.5")
    assert [point["t"] for point in track["points"]] == [T0 + 0.5, T0 + 1.0]


FOUND: Final = [
    ("", [0, 1, 2, 3, 4, 5, 6, 7]),
    ("kind=picker", [1, 5]),
    ("q=THING%203", [3]),
    ("q=sku-", [0, 2, 4, 6]),
    ("q=thing-0005", [5]),
    ("q=nothing", []),
    ("kind=item&q=4", [4]),
]


async def test_trackables_are_found(valkey_url: str) -> None:
    """Filters and text select, in order of id; ids, names and SKUs are searched."""
    async with pipeline(valkey_url, depot(8)), dashboard(valkey_url) as board:
        for query, expected in FOUND:
            page = await board.get(f"/api/v1/trackables?{query}")
            assert [part["id"] for part in page["trackables"]] == [
                f"thing-{i:04d}" for i in expected
            ]
            assert page["next"] is None
            assert all(part["position"] is None for part in page["trackables"])


async def test_zone_and_floor_filter_by_the_last_fix(bench: Bench) -> None:
    """The zones' filters together give everything that was located in a zone."""
    by_zone = {
        zone: [
            part["id"]
            for part in (await bench.board.get(f"/api/v1/trackables?zone={zone}"))["trackables"]
        ]
        for zone in ("west", "east")
    }
    fixes = bench.worker.committed[-1].fixes
    for row, zone in enumerate(("west", "east")):
        rows = fixes["trackable"][fixes["zone"] == row]
        assert by_zone[zone] == [bench.worker.site.trackables[r].id for r in rows]
    assert by_zone["west"]
    assert by_zone["east"]
    everything = await bench.board.get("/api/v1/trackables?floor=ground")
    assert len(everything["trackables"]) == 4
    zones = await bench.board.get("/api/v1/zones")
    assert {zone["id"]: zone["total"] for zone in zones["zones"]} == {
        zone: len(ids) for zone, ids in by_zone.items()
    }
    kinds: dict[str, int] = {}
    for zone in zones["zones"]:
        assert zone["total"] == sum(zone["by_kind"].values())
        for kind, count in zone["by_kind"].items():
            kinds[kind] = kinds.get(kind, 0) + count
    assert kinds == {"item": 1, "picker": 1, "cart": 1, "visitor": 1}


async def test_pages_follow_each_other(valkey_url: str) -> None:
    """Following `next` meets every trackable once, with the filters kept."""
    async with pipeline(valkey_url, depot(25)), dashboard(valkey_url) as board:
        seen: list[str] = []
        path = "/api/v1/trackables?limit=4&q=thing"
        pages = 0
        while path:
            page = await board.get(path)
            assert len(page["trackables"]) <= 4
            seen += [part["id"] for part in page["trackables"]]
            path = page["next"]
            pages += 1
        assert seen == [f"thing-{i:04d}" for i in range(25)]
        assert pages == 7


async def test_ids_with_slashes_and_spaces_are_reachable(valkey_url: str) -> None:
    """An id may hold any character a site file may hold."""
    site = depot(1)
    odd = "a/b c?d#e/track-ü"
    site = replace(site, trackables=[*site.trackables, Trackable(odd, "Odd", "other", ["x"])])
    async with pipeline(valkey_url, site), dashboard(valkey_url) as board:
        got = await board.get(f"/api/v1/trackables/{quote(odd, safe='')}")
        assert got["id"] == odd
        track = await board.get(f"/api/v1/trackables/{quote(odd, safe='')}/track")
        assert track == {"id": odd, "points": []}


async def test_zones_forget_what_was_not_heard_for_long(bench: Bench) -> None:
    """A trackable last located a minute before the newest tick is in no zone's count."""
    one = {beacon(0): (2.0, 2.0)}
    for second in range(1, 62, 2):
        bench.worker.hear(T0 + second, one)
    await bench.worker.commit()
    await bench.located("thing-0000", T0 + 61.0)
    zones = await bench.board.get("/api/v1/zones")
    assert zones["heard_within_s"] == 60.0
    assert sum(zone["total"] for zone in zones["zones"]) == 1
    assert zones["zones"][0]["by_kind"] == {"item": 1}


async def test_what_falls_silent_is_lost_until_it_is_heard_again(bench: Bench) -> None:
    """It keeps its last place and time, can be looked for, and is lost by ticks, not by clocks."""
    await bench.located("thing-0001", T0)
    bench.clock.now = T0 + 1e6
    before = (await bench.board.get("/api/v1/trackables/thing-0001"))["position"]
    assert not before["lost"], "nothing has been located since: the pipeline stands still"

    for second in range(1, 63):
        bench.worker.hear(T0 + second, {beacon(0): (2.0, 2.0)})
    await bench.worker.commit()
    await bench.located("thing-0000", T0 + 62.0)
    one = (await bench.board.get("/api/v1/trackables/thing-0001"))["position"]
    assert one == {**before, "lost": True}
    for query, expected in (
        ("lost=true", ["thing-0001", "thing-0002", "thing-0003"]),
        ("lost=false", ["thing-0000"]),
        ("lost=true&kind=cart", ["thing-0002"]),
        ("lost=false&q=thing-0003", []),
    ):
        page = await bench.board.get(f"/api/v1/trackables?{query}")
        assert [part["id"] for part in page["trackables"]] == expected, query
    page = await bench.board.get("/api/v1/trackables?lost=true&limit=2")
    assert "lost=true" in page["next"]
    rest = await bench.board.get(page["next"])
    assert [part["id"] for part in rest["trackables"]] == ["thing-0003"]
    found = await bench.board.get("/api/v1/trackables?q=thing-0001")
    assert found["trackables"][0]["position"]["lost"]

    await bench.worker.move(T0 + 70.0, {beacon(1): (2.0, 2.0)})
    assert not (await bench.located("thing-0001", T0 + 70.0))["position"]["lost"]


async def test_what_was_never_located_is_neither_lost_nor_not(valkey_url: str) -> None:
    """It has no position, and no answer about one."""
    async with pipeline(valkey_url) as worker, dashboard(valkey_url) as board:
        await worker.move(T0, {beacon(0): (2.0, 2.0)})
        for query, count in (("lost=true", 0), ("", 4)):
            page = await board.get(f"/api/v1/trackables?{query}")
            assert len(page["trackables"]) == count


async def test_a_fresh_dashboard_knows_what_was_heard_long_ago(valkey_url: str) -> None:
    """A dashboard started later takes positions from the state, when the ticks are trimmed."""
    async with pipeline(valkey_url) as worker:
        await worker.move(T0, places(worker.site))
        for minute in range(1, 8):
            worker.hear(T0 + 60.0 * minute, {beacon(1): (5.0, 5.0)})
            await worker.commit()
        # The store trims with some slack; here without, so that only the state remembers.
        stream = worker.store.keys.partition(0).fixes
        await worker.store.link.call("XTRIM", stream, "MINID", int(T0 + 1.0) * 1_000)
        async with dashboard(valkey_url, clock=lambda: T0 + 420.0) as board:
            page = await board.get("/api/v1/trackables")
            ages = [part["position"]["age_s"] for part in page["trackables"]]
            assert ages == [420.0, 0.0, 420.0, 420.0]
            lost = [part["position"]["lost"] for part in page["trackables"]]
            assert lost == [True, False, True, True]
            # The two minutes before the start are in the track.
            track = await board.get("/api/v1/trackables/thing-0001/track?seconds=3600")
            assert [point["t"] for point in track["points"]] == [
                T0 + 60.0 * minute for minute in (5, 6, 7)
            ]


async def test_gateways_have_health(bench: Bench) -> None:
    """State, version, counts and refusals of a gateway come from status, summary and ingest."""
    site = bench.worker.site
    store = bench.worker.store
    status = Status("gw-1", "online", "boot-1", T0, version="0.9.7", window=0.5, scanner="bluez")
    record = b'{"status":%s,"received":%f}' % (_json(status), T0 + 0.1)
    await store.link.call("HSET", store.keys.gateways, "gw-1", record)
    await store.link.call("HSET", store.keys.refused, "gw-1 clock-ahead", 3, "? topic", 2)
    bench.clock.now = T0 + 2.0
    got = await bench.board.get("/api/v1/gateways")
    assert [g["id"] for g in got["gateways"]] == [g.id for g in site.gateways]
    one = await bench.board.get("/api/v1/gateways/gw-1")
    assert one == got["gateways"][1]
    expected = {
        "state": "online",
        "version": "0.9.7",
        "scanner": "bluez",
        "age_s": 2.0,
        "last_seen": T0,
        "batches": 1,
        "readings": 4,
        "refused": {"clock-ahead": 3},
        "position": [19.5, 0.5],
    }
    assert {key: one[key] for key in expected} == expected
    bench.clock.now = T0 + 30.0
    assert (await bench.board.get("/api/v1/gateways/gw-1"))["state"] == "late"
    bench.clock.now = T0 + 300.0
    assert (await bench.board.get("/api/v1/gateways/gw-1"))["state"] == "offline"


async def test_a_suspect_gateway_is_named(bench: Bench) -> None:
    """What the workers suspect and measured stands beside the state, which it does not change."""
    worker, clock = bench.worker, bench.clock
    clock.now = T0 + 2.0
    well = await bench.board.get("/api/v1/gateways/gw-0")
    assert (well["suspect"], well["suspect_text"]) == (None, "")
    summary = worker.engines[0].summary()
    counts = summary.gateways["gw-2"]
    counts.suspect, counts.suspect_text = "deaf", "`gw-2` hears little; look at its antenna"
    counts.residual_db, counts.hears = -6.254, 0.31249
    summary.gateways["gw-0"].residual_db = summary.gateways["gw-0"].hears = None
    key = worker.store.keys.partition(0).summary
    await worker.store.link.call("SET", key, encode_summary(summary))
    clock.now = T0 + 3.0  # a look is shared for half a second
    odd = await bench.board.get("/api/v1/gateways/gw-2")
    assert (odd["state"], odd["suspect"]) == ("online", "deaf")
    assert odd["suspect_text"] == "`gw-2` hears little; look at its antenna"
    assert (odd["residual_db"], odd["hears"]) == (-6.25, 0.312)
    well = await bench.board.get("/api/v1/gateways/gw-0")
    assert (well["suspect"], well["residual_db"], well["hears"]) == (None, None, None)
    metrics = (await bench.board.http.get("/metrics")).text
    for gateway, value in (("gw-0", 0.0), ("gw-2", 1.0)):
        name = f'balise_gateway_suspect{{gateway="{gateway}"}}'
        assert bench.board.metric(metrics, name) == value
    async with bench.board.live() as client:
        while True:
            told = {g["id"]: g.get("suspect") for g in (await client.text("gateways"))["gateways"]}
            if told["gw-2"]:
                break
        assert told == {"gw-0": None, "gw-1": None, "gw-2": "deaf", "gw-3": None}


async def test_adopting_a_beacon(bench: Bench) -> None:
    """An unassigned beacon is listed, adopted, located under its new name, and listed no more."""
    stranger = "mac:AA:BB:CC:DD:EE:FF"
    bench.worker.hear(T0 + 0.5, {stranger: (3.0, 3.0), "mac:00:00:00:00:00:01": (1.0, 9.0)})
    await bench.worker.commit()
    bench.clock.now = T0 + 1.0
    listed = await bench.board.get("/api/v1/beacons/unassigned")
    assert listed["total"] == 2
    assert {b["beacon"] for b in listed["beacons"]} == {stranger, "mac:00:00:00:00:00:01"}
    rssis = [b["rssi"] for b in listed["beacons"]]
    assert rssis == sorted(rssis, reverse=True)
    assert len((await bench.board.get("/api/v1/beacons/unassigned?limit=1"))["beacons"]) == 1

    body = {"name": "Größe Pumpe 7", "kind": "item", "beacons": [stranger], "sku": "P7"}
    response = await bench.board.http.post("/api/v1/trackables", json=body)
    made = response.json()
    assert response.status_code == 201
    assert made["id"] == "groe-pumpe-7"
    assert made["beacons"] == [stranger]
    assert made["position"] is None
    assert response.headers["location"] == f"/api/v1/trackables/{made['id']}"
    # It is there at once, and the strangers' list no longer offers it.
    assert (await bench.board.get(response.headers["location"]))["name"] == "Größe Pumpe 7"
    listed = await bench.board.get("/api/v1/beacons/unassigned")
    assert [b["beacon"] for b in listed["beacons"]] == ["mac:00:00:00:00:00:01"]
    assert listed["total"] == 1
    # The worker meets the new version, and locates it.
    version, site = await bench.worker.store.read_site()
    assert version == 2
    bench.worker.change_site(site, version)
    await bench.worker.move(T0 + 1.0, {stranger: (3.0, 3.0)})
    got = await bench.located(made["id"], T0 + 1.0)
    assert got["position"]["zone"] == "west"
    assert (await bench.board.http.get("/api/v1/site")).headers["etag"] == '"2"'


async def test_a_second_beacon(bench: Bench) -> None:
    """A trackable takes another beacon once; its position stays."""
    before = await bench.board.get("/api/v1/trackables/thing-0001")
    got = await bench.board.post("/api/v1/trackables/thing-0001/beacons", {"beacon": "mac:1"})
    assert got["beacons"] == [beacon(1), "mac:1"]
    assert got["position"]["x"] == before["position"]["x"]
    again = await bench.board.post("/api/v1/trackables/thing-0001/beacons", {"beacon": "mac:1"})
    assert again == got
    assert await bench.worker.store.site_version() == 2


def _json(status: Status) -> bytes:
    return encode_status(status)


TRACK = "/api/v1/trackables/thing-0000/track"
WEAR = "/api/v1/trackables/thing-0000/beacons"
NEW = {"name": "Pump", "kind": "item", "beacons": ["mac:9"]}


ERRORS: Final[list[tuple[str, str, Any, int, str | None, str]]] = [
    ("GET", "/api/v1/nothing", None, 404, "not-found", "/api/v1/nothing"),
    ("GET", "/docs", None, 404, "not-found", "docs"),
    ("GET", "/redoc", None, 404, "not-found", "redoc"),
    ("GET", "/openapi.json", None, 404, "not-found", "openapi.json"),
    ("GET", "/nothing.html", None, 404, "not-found", "nothing.html"),
    ("GET", "/api/v1/trackables/none", None, 404, "not-found", "`none`"),
    ("GET", "/api/v1/trackables/none/track", None, 404, "not-found", "`none`"),
    ("GET", "/api/v1/gateways/none", None, 404, "not-found", "`none`"),
    ("DELETE", "/api/v1/site", None, 405, None, "GET"),
    ("GET", "/api/v1/trackables?limit=0", None, 422, "invalid-request", "limit"),
    ("GET", "/api/v1/trackables?limit=1001", None, 422, "invalid-request", "1000"),
    ("GET", "/api/v1/trackables?limit=many", None, 422, "invalid-request", "limit"),
    ("GET", "/api/v1/trackables?kind=ship", None, 422, "invalid-request", "picker"),
    ("GET", "/api/v1/trackables?zone=moon", None, 422, "invalid-request", "`moon`"),
    ("GET", "/api/v1/trackables?floor=moon", None, 422, "invalid-request", "`moon`"),
    ("GET", "/api/v1/trackables?after=%C3%A9", None, 422, "invalid-request", "cursor"),
    ("GET", "/api/v1/trackables?after=_w", None, 422, "invalid-request", "cursor"),
    ("GET", TRACK + "?seconds=nan", None, 422, "invalid-request", "seconds"),
    ("GET", "/api/v1/beacons/unassigned?limit=-1", None, 422, "invalid-request", "limit"),
    ("POST", "/api/v1/trackables", b"{", 422, "invalid-request", "body"),
    ("POST", "/api/v1/trackables", b"\xff\xfe", 422, "invalid-request", "body: JSON"),
    ("POST", "/api/v1/trackables", {}, 422, "invalid-request", "name"),
    ("POST", "/api/v1/trackables", {**NEW, "x": 1}, 422, "invalid-request", "`x`"),
    ("POST", "/api/v1/trackables", {**NEW, "kind": "ship"}, 422, "invalid-request", "kind"),
    ("POST", "/api/v1/trackables", {**NEW, "beacons": [""]}, 422, "invalid-request", "beacon"),
    ("POST", "/api/v1/trackables", {**NEW, "beacons": ["\n"]}, 422, "invalid-site", "beacon"),
    ("POST", "/api/v1/trackables", {**NEW, "beacons": ["a", "a"]}, 422, "invalid-site", "`a`"),
    ("POST", "/api/v1/trackables", {**NEW, "id": "thing-0000"}, 409, "conflict", "thing-0000"),
    ("POST", "/api/v1/trackables", {**NEW, "beacons": [beacon(3)]}, 409, "conflict", "thing-"),
    ("POST", "/api/v1/trackables/none/beacons", {"beacon": "b"}, 404, "not-found", "`none`"),
    ("POST", WEAR, {"beacon": beacon(3)}, 409, "conflict", "`thing-0003`"),
    ("POST", WEAR, {}, 422, "invalid-request", "beacon"),
    ("POST", "/api/v1/trackables", b"x" * 70_000, 413, "too-large", "65536"),
]  # fmt: skip


async def test_errors_are_problem_documents(bench: Bench) -> None:
    """Every error is RFC 9457, says what was wrong, and changes nothing."""
    for method, path, body, status, kind, says in ERRORS:
        content = body if isinstance(body, bytes) else None
        response = await bench.board.http.request(
            method,
            path,
            json=None if content is not None else body,
            content=content,
            headers={} if content is None else {"Content-Type": "application/json"},
        )
        problem = response.json()
        assert response.status_code == status, (path, body, problem)
        assert response.headers["content-type"] == "application/problem+json"
        assert problem["status"] == status
        assert problem["type"] == ("about:blank" if kind is None else f"urn:balise:problem:{kind}")
        assert says in problem["detail"], (path, body)
        assert "Traceback" not in response.text
        assert await bench.worker.store.site_version() == 1


async def test_many_adopt_at_once(valkey_url: str) -> None:
    """Edits that collide are repeated: none is lost, and each made one version."""
    async with pipeline(valkey_url) as worker, dashboard(valkey_url) as board:

        async def adopt(i: int) -> httpx.Response:
            body = {"name": "Pump", "kind": "item", "beacons": [f"mac:{i}"]}
            return await board.http.post("/api/v1/trackables", json=body)

        answers = await asyncio.gather(*(adopt(i) for i in range(6)))
        ids = [answer.json()["id"] for answer in answers]
        assert [answer.status_code for answer in answers] == [201] * 6
        assert sorted(ids) == ["pump", "pump-2", "pump-3", "pump-4", "pump-5", "pump-6"]
        version, site = await worker.store.read_site()
        assert version == 7
        assert {t.id for t in site.trackables} >= set(ids)
        assert parse_site(encode_site(site), "store") == site


async def test_a_fault_of_ours_is_a_problem_without_a_traceback(
    valkey_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller learns that it was us; the log learns where."""
    store = await Store.connect(valkey_url, "depot")
    app = create_app(store)

    @app.get("/api/v1/broken")
    async def broken() -> None:
        raise ZeroDivisionError("a secret detail")

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        response = await http.get("/api/v1/broken")
    await store.close()
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "urn:balise:problem:internal"
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    (record,) = [record for record in caplog.records if record.exc_info]
    assert "/api/v1/broken" in record.getMessage()
    assert record.exc_info
    assert record.exc_info[0] is ZeroDivisionError
