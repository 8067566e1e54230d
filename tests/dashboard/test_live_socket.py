"""The live feed over real WebSockets: many clients, slow ones, rude ones, and a quick end."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from dashboard import live, routes_live
from stream.fixes import NONE, Fixes, TickFixes, empty
from tests.support.dashboards import Dashboard, Frame, LiveClient, dashboard
from tests.support.processes import until_async
from tests.support.stepper import T0, beacon, depot, pipeline, places

TOKEN = "open-sesame-" * 2


async def clients(board: Dashboard) -> int:
    """How many clients the dashboard counts."""
    text = (await board.http.get("/metrics")).text
    return int(board.metric(text, "balise_live_clients"))


async def test_a_client_sees_what_was_committed(valkey_url: str) -> None:
    """Hello, snapshot with ages, gateways, zones; then the commit as a delta, in centimetres."""
    async with pipeline(valkey_url) as worker:
        await worker.move(T0, places(worker.site))
        await worker.move(T0 + 2.0, dict(list(places(worker.site).items())[:2]))
        async with dashboard(valkey_url, clock=lambda: T0 + 2.5) as board, board.live() as client:
            hello = await client.text("hello")
            assert [part["id"] for part in hello["trackables"]] == [
                part.id for part in worker.site.trackables
            ]
            snapshot = await client.frame()
            assert (snapshot.snapshot, snapshot.t, snapshot.site_version) == (True, T0 + 2.0, 1)
            assert snapshot.columns["age"].tolist() == [0, 0, 2, 2]
            gateways = await client.text("gateways")
            assert gateways["gateways"][0] == {
                "id": "gw-0",
                "state": "online",
                "rate": 0.0,
                "age": 0.5,
            }
            zones = await client.text("zones")
            assert sum(zones["counts"]) == 4
            await worker.move(T0 + 2.5, places(worker.site, 0.3))
            delta = await client.frame()
            fixes = worker.committed[-1].fixes
            assert (delta.snapshot, delta.sequence) == (False, snapshot.sequence + 1)
            assert delta.t == T0 + 2.5
            assert delta.columns["row"].tolist() == fixes["trackable"].tolist()
            for name in ("x", "y", "accuracy"):
                assert np.abs(delta.columns[name] / 100.0 - fixes[name]).max() <= 0.0051
            assert delta.columns["zone"].tolist() == fixes["zone"].tolist()


async def test_sixty_clients_see_the_same(valkey_url: str) -> None:
    """Every client gets every delta once, in order, the same bytes; all are counted, then gone."""
    async with (
        pipeline(valkey_url, depot(40)) as worker,
        dashboard(valkey_url) as board,
        asyncio.TaskGroup() as tasks,
    ):
        goal = 8
        begun = asyncio.Barrier(61)

        async def watch() -> list[Frame]:
            async with board.live() as client:
                first = await client.frame()
                assert first.snapshot
                await begun.wait()
                return [await client.frame() for _ in range(goal)]

        watchers = [tasks.create_task(watch()) for _ in range(60)]
        async with asyncio.timeout(20.0):
            await begun.wait()
        assert await clients(board) == 60
        for i in range(goal):
            await worker.move(T0 + 0.5 * i, places(worker.site, 0.1 * i))
        seen = [await watcher for watcher in watchers]
        sequences = [[frame.sequence for frame in frames] for frames in seen]
        assert sequences == [list(range(1, goal + 1))] * 60
        times = [[frame.t for frame in frames] for frames in seen]
        assert times == [[T0 + 0.5 * i for i in range(goal)]] * 60
        for frames in seen[1:]:
            for mine, first in zip(frames, seen[0], strict=True):
                assert all(
                    (mine.columns[name] == first.columns[name]).all() for name in mine.columns
                )
        await until_async(lambda: _none_left(board), "the clients are forgotten")


async def _none_left(board: Dashboard) -> bool:
    return await clients(board) == 0


def crowd(count: int, t: float) -> TickFixes:
    """A tick in which all of many trackables are somewhere."""
    fixes: Fixes = empty(count)
    fixes["trackable"] = np.arange(count)
    fixes["x"] = (t - T0) % 20.0
    fixes["zone"] = NONE
    return TickFixes(t, 1, fixes)


def narrow_socket(port: int) -> socket.socket:
    """A connection that holds little, so that not reading is felt soon."""
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    opened.connect(("127.0.0.1", port))
    opened.setblocking(False)
    return opened


async def test_a_stalled_client_holds_nobody_back(valkey_url: str) -> None:
    """One reads nothing, another everything; later the first is brought back by a snapshot."""
    count, ticks = 2_000, 60
    async with (
        pipeline(valkey_url, depot(count)) as worker,
        dashboard(valkey_url, send_buffer=4_096) as board,
        board.live() as quick,
    ):
        assert (await quick.frame()).snapshot
        address = f"ws://127.0.0.1:{board.port}/api/v1/live"
        async with connect(
            address,
            sock=narrow_socket(board.port),
            compression=None,
            max_size=None,
            max_queue=1,
        ) as stalled_socket:
            stalled = LiveClient(stalled_socket)
            for i in range(1, ticks + 1):
                await worker.commit_ticks([crowd(count, T0 + 0.5 * i)])
                assert (await quick.frame()).sequence == i
            text = (await board.http.get("/metrics")).text
            assert board.metric(text, "balise_live_resyncs_total") == 1
            await stalled.text("resync")
            snapshot = await stalled.frame()
            assert snapshot.snapshot
            assert snapshot.sequence == ticks
            assert (snapshot.columns["x"] == quick.frames[-1].columns["x"]).all()
            deltas = [frame.sequence for frame in stalled.frames if not frame.snapshot]
            assert deltas == list(range(1, len(deltas) + 1)), "in order up to the gap"
            assert len(deltas) < ticks
            await worker.commit_ticks([crowd(count, T0 + 60.0)])
            assert (await stalled.frame()).sequence == ticks + 1


async def test_a_client_asks_for_a_snapshot(valkey_url: str) -> None:
    """`resync` is answered by a snapshot that carries the last delta's sequence."""
    async with (
        pipeline(valkey_url) as worker,
        dashboard(valkey_url) as board,
        board.live() as client,
    ):
        await client.frame()
        await worker.move(T0, places(worker.site))
        assert (await client.frame()).sequence == 1
        await client.socket.send('{"type":"hum"}')  # a newer page's word is left alone
        await client.socket.send('{"type":"resync"}')
        await client.text("resync")
        snapshot = await client.frame()
        assert (snapshot.snapshot, snapshot.sequence, snapshot.length) == (True, 1, 4)
        assert client.texts[-1] == {"type": "resync"}, "no hello: the site is the same"


@pytest.mark.parametrize(
    ("data", "code"),
    [("nonsense", 1008), ("[1]", 1008), (b"\x00", 1008), ("{}", 1008), ("x" * 5_000, 1009)],
)
async def test_rude_clients_are_shown_out(valkey_url: str, data: Any, code: int) -> None:
    """What is not a word of the feed ends the connection, with a reason, and only that one."""
    async with pipeline(valkey_url), dashboard(valkey_url) as board, board.live() as other:
        async with board.live() as client:
            await client.socket.send(data)
            assert await client.closing_code() == code
        await other.text("zones")


async def test_an_edit_greets_everybody_again(valkey_url: str) -> None:
    """A trackable that is adopted appears in a new hello, and its fixes after it."""
    async with (
        pipeline(valkey_url) as worker,
        dashboard(valkey_url) as board,
        board.live() as client,
    ):
        await client.text("zones")
        body = {"name": "Pump", "kind": "item", "beacons": ["mac:9"]}
        made = await board.post("/api/v1/trackables", body)
        hello = await client.text("hello")
        assert hello["site_version"] == 2
        assert hello["trackables"][-1]["id"] == made["id"] == "pump"
        assert (await client.frame()).site_version == 2
        version, site = await worker.store.read_site()
        worker.change_site(site, version)
        await worker.move(T0, {"mac:9": (3.0, 3.0)})
        delta = await client.frame()
        assert delta.columns["row"].tolist() == [4]


async def test_the_lost_are_told_when_they_change(valkey_url: str) -> None:
    """First nobody, then the rows of those that fell silent, then without those that came back."""
    async with (
        pipeline(valkey_url) as worker,
        dashboard(valkey_url) as board,
        board.live() as client,
    ):
        assert (await client.text("lost"))["rows"] == []
        await worker.move(T0, places(worker.site))
        for second in range(1, 63):
            worker.hear(T0 + second, {beacon(2): (2.0, 2.0)})
        await worker.commit()
        # So many ticks at once may bring a resync, which says again what was told before.
        while (rows := (await client.text("lost"))["rows"]) == []:
            pass
        assert rows == [0, 1, 3]
        async with board.live() as late:
            assert (await late.text("lost"))["rows"] == [0, 1, 3]
        await worker.move(T0 + 63.0, {beacon(0): (2.0, 2.0), beacon(2): (2.0, 2.0)})
        assert (await client.text("lost"))["rows"] == [1, 3]


async def test_time_passes_when_nothing_is_heard(valkey_url: str) -> None:
    """Ticks without fixes still reach the page, so that a quiet hall is not a dead feed."""
    async with (
        pipeline(valkey_url) as worker,
        dashboard(valkey_url) as board,
        board.live() as client,
    ):
        await client.frame()
        await worker.move(T0, places(worker.site))
        assert (await client.frame()).length == 4
        worker.hear(T0 + 5.0, {})
        await worker.commit()
        beat = await client.frame()
        assert (beat.snapshot, beat.length, beat.sequence, beat.t) == (False, 0, 2, T0 + 5.0)


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        (None, True),
        ("http://127.0.0.1:{port}", True),
        ("http://localhost:{port}", False),
        ("http://127.0.0.1:1", False),
        ("https://evil.example", False),
        ("null", False),
    ],
)
async def test_only_our_own_page_may_listen(
    valkey_url: str, origin: str | None, welcome: bool
) -> None:
    """A page of another origin is refused in the handshake; programs send no origin."""
    async with pipeline(valkey_url), dashboard(valkey_url) as board:
        sent = None if origin is None else origin.format(port=board.port)
        if welcome:
            async with board.live(origin=sent) as client:
                await client.text("hello")
        else:
            with pytest.raises(InvalidStatus) as refused:
                async with board.live(origin=sent):
                    pass
            assert refused.value.response.status_code == 403
            assert b"other origins" in (refused.value.response.body or b"")


async def test_the_feed_wants_the_token(valkey_url: str) -> None:
    """With a token the handshake needs it, as Bearer or as Basic's password."""
    async with pipeline(valkey_url), dashboard(valkey_url, token=TOKEN) as board:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            with pytest.raises(InvalidStatus) as refused:
                async with board.live(additional_headers=headers):
                    pass
            assert refused.value.response.status_code == 401
        async with board.live(additional_headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            await client.text("hello")
        address = f"ws://anyone:{TOKEN}@127.0.0.1:{board.port}/api/v1/live"
        async with connect(address, compression=None) as basic:
            assert await basic.recv()


async def test_the_end_comes_within_a_second_with_clients(valkey_url: str) -> None:
    """Open clients, one of them stalled, do not hold the end back; they are told to come back."""
    count = 2_000
    async with (
        pipeline(valkey_url, depot(count)) as worker,
        dashboard(valkey_url, send_buffer=4_096) as board,
    ):
        address = f"ws://127.0.0.1:{board.port}/api/v1/live"
        narrow = narrow_socket(board.port)
        async with (
            connect(address, sock=narrow, max_size=None, max_queue=1, close_timeout=0.1),
            board.live() as client,
        ):
            await client.frame()
            for i in range(1, 31):
                await worker.commit_ticks([crowd(count, T0 + 0.5 * i)])
                await client.frame()
            loop = asyncio.get_running_loop()
            began = loop.time()
            board.stop.set()
            assert await client.closing_code() == 1012
            await board.ended()
            # A second, and as much again for a machine that is busy.
            assert loop.time() - began < 2.0


async def test_a_client_that_takes_nothing_is_dropped(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the deadline it is forgotten, and the others go on."""
    monkeypatch.setattr(routes_live, "SEND_DEADLINE_S", 0.1)
    count = 2_000
    async with (
        pipeline(valkey_url, depot(count)) as worker,
        dashboard(valkey_url, send_buffer=4_096) as board,
        board.live() as quick,
        connect(
            f"ws://127.0.0.1:{board.port}/api/v1/live",
            sock=narrow_socket(board.port),
            max_size=None,
            max_queue=1,
            close_timeout=0.1,
        ),
    ):
        await quick.frame()
        await until_async(lambda: _so_many(board, 2), "both are counted")
        for i in range(1, 31):
            await worker.commit_ticks([crowd(count, T0 + 0.5 * i)])
            assert (await quick.frame()).sequence == i
        await until_async(lambda: _so_many(board, 1), "the stalled one is dropped")


async def _so_many(board: Dashboard, count: int) -> bool:
    return await clients(board) == count


async def test_one_client_too_many_is_turned_away(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told to try again later; the others stay."""
    monkeypatch.setattr(live, "MAX_CLIENTS", 1)
    async with pipeline(valkey_url), dashboard(valkey_url) as board, board.live() as first:
        await first.text("zones")
        async with board.live() as second:
            assert await second.closing_code() == 1013
        assert await clients(board) == 1
