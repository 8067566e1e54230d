"""The feed follows the store through kills, setbacks and edits, and never applies a tick twice."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from dashboard.feed import Feed
from dashboard.live import Hub
from dashboard.positions import Moves, Positions
from stream.store import Store
from tests.support.dashboards import Dashboard, dashboard
from tests.support.processes import until_async
from tests.support.servers import Server
from tests.support.stepper import T0, Pipeline, beacon, depot, pipeline, places


class Told(Hub):
    """A real hub that notes what it was told, and in which order."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks: list[float] = []
        self.rows: list[list[int]] = []
        self.shows = 0

    def publish(self, moves: Moves) -> None:
        """Notes the tick's end, seconds after the start."""
        super().publish(moves)
        self.ticks.append(moves.t - T0)
        self.rows.append(moves.fixes["trackable"].tolist())

    def show(self, positions: Positions) -> None:
        """Counts the new beginnings."""
        super().show(positions)
        self.shows += 1


class Followed:
    """A feed at work."""

    def __init__(self, feed: Feed, hub: Told) -> None:
        self.feed = feed
        self.hub = hub

    async def until_tick(self, offset: float) -> None:
        """Waits until the table has taken the tick in."""

        def there() -> bool:
            positions = self.feed.positions
            return positions is not None and positions.tick >= T0 + offset

        await until_async(there, f"tick {offset} is taken in")


@asynccontextmanager
async def followed(url: str) -> AsyncIterator[Followed]:
    """A feed that follows the depot."""
    store = await Store.connect(url, "depot")
    hub = Told()
    feed = Feed(store, hub)
    running = asyncio.create_task(feed.run())
    try:
        yield Followed(feed, hub)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()


async def walk(worker: Pipeline, first: int, last: int) -> None:
    """Ticks by number, each half a second: everything is heard at each."""
    for i in range(first, last + 1):
        await worker.move(T0 + 0.5 * i, places(worker.site, 0.2 * i))


@pytest.mark.parametrize("partitions", [1, 3])
async def test_every_tick_once(any_store_url: str, partitions: int) -> None:
    """Ticks before the start are in the table, those after it are told once, in order."""
    async with pipeline(any_store_url, depot(9), partitions) as worker:
        await walk(worker, 1, 4)
        async with followed(any_store_url) as it:
            await it.until_tick(2.0)
            await walk(worker, 5, 8)
            await until_async(lambda: len(it.hub.ticks) >= 4 * partitions, "all ticks")
            positions = it.feed.positions
            assert positions is not None
            assert sorted(it.hub.ticks) == sorted([2.5, 3.0, 3.5, 4.0] * partitions)
            told = sorted(row for rows in it.hub.rows for row in rows)
            assert told == sorted(list(range(9)) * 4)
            last = {tick.t: tick for tick in worker.committed}
            assert (positions.t == max(last)).all()
            for row in range(9):
                assert len(positions.track(row, 60.0)) == 8


async def test_a_store_that_was_killed_is_followed_on(valkey_server: Server) -> None:
    """After kill -9 and restart the feed goes on by itself where it was."""
    url = valkey_server.url
    async with pipeline(url):
        pass
    async with followed(url) as it:
        async with pipeline(url) as worker:
            await walk(worker, 1, 3)
            await it.until_tick(1.5)
            # Everything is on disk before the kill.
            await worker.store.link.call("WAITAOF", 1, 0, 5_000)
        valkey_server.kill9()
        await until_async(lambda: "does not answer" in it.feed.trouble, "the trouble is seen")
        valkey_server.restart()
        async with pipeline(url) as worker:
            await walk(worker, 4, 5)
        await it.until_tick(2.5)
        assert it.feed.trouble == ""
        assert it.hub.shows == 1
        positions = it.feed.positions
        assert positions is not None
        assert list(positions.track(0, 60.0)["t"] - T0) == [0.5, 1.0, 1.5, 2.0, 2.5]
        assert it.hub.ticks[-2:] == [2.0, 2.5]
        assert len(set(it.hub.ticks)) == len(it.hub.ticks)


async def test_a_store_set_back_gives_no_tick_twice(valkey_server: Server) -> None:
    """A store that lost its last ticks has them made again: the feed tells only what is new."""
    url = valkey_server.url
    data = valkey_server.directory / "appendonlydir"
    saved = valkey_server.directory / "saved"
    async with pipeline(url) as worker:
        await walk(worker, 1, 3)
    valkey_server.stop()
    shutil.copytree(data, saved)
    valkey_server.restart()
    async with followed(url) as it:
        await it.until_tick(1.5)
        async with pipeline(url) as worker:
            await walk(worker, 4, 6)
        await it.until_tick(3.0)
        valkey_server.kill9()
        shutil.rmtree(data)
        shutil.copytree(saved, data)
        await until_async(lambda: bool(it.feed.trouble), "the trouble is seen")
        valkey_server.restart()
        await until_async(lambda: not it.feed.trouble, "the store is followed again")
        async with pipeline(url) as worker:
            assert worker.engines[0].summary().tick == T0 + 1.5, "the store was set back"
            await walk(worker, 4, 8)
        await it.until_tick(4.0)
        assert it.hub.ticks == [2.0, 2.5, 3.0, 3.5, 4.0]
        assert it.hub.shows == 1
        positions = it.feed.positions
        assert positions is not None
        assert list(positions.track(0, 60.0)["t"] - T0) == [0.5 * i for i in range(1, 9)]


async def test_another_store_is_another_beginning(valkey_url: str) -> None:
    """A store that was emptied and given another site is shown from its beginning."""
    async with pipeline(valkey_url) as worker:
        await walk(worker, 1, 2)
        async with followed(valkey_url) as it:
            await it.until_tick(1.0)
            await worker.store.link.call("FLUSHALL")
            await until_async(lambda: "does not hold" in it.feed.trouble, "the site is missed")
            assert it.feed.positions is not None, "the last picture stays"
            other = replace(depot(2), name="Another")
            async with pipeline(valkey_url, other) as second:
                await until_async(lambda: it.hub.shows == 2, "the other site is shown")
                positions = it.feed.positions
                assert positions.site.name == "Another"
                assert not positions.t.any()
                await walk(second, 1, 1)
                await it.until_tick(0.5)
                assert it.hub.ticks == [0.5]


async def test_an_edit_made_elsewhere_is_seen(valkey_url: str) -> None:
    """A new version is shown without any tick; ticks of the old one are still read."""
    async with pipeline(valkey_url) as worker, followed(valkey_url) as it:
        await walk(worker, 1, 1)
        await it.until_tick(0.5)
        site = replace(worker.site, trackables=worker.site.trackables[::-1])
        version = await worker.store.write_site(site, 1)
        await until_async(lambda: it.hub.shows == 2, "the edit is shown")
        positions = it.feed.positions
        assert positions is not None
        assert positions.version == version == 2
        # The worker is still at version 1: its row 0 is now the last.
        await worker.move(T0 + 1.0, {beacon(0): (2.0, 2.0)})
        await it.until_tick(1.0)
        assert it.hub.rows[-1] == [3]
        worker.change_site(site, version)
        await worker.move(T0 + 1.5, {beacon(0): (2.0, 2.0)})
        await it.until_tick(1.5)
        assert it.hub.rows[-1] == [3]
        assert it.feed.skipped == 0


async def test_ticks_of_a_forgotten_version_are_counted(valkey_url: str) -> None:
    """A tick whose site document is gone is skipped and counted, and the next one is read."""
    async with pipeline(valkey_url) as worker, followed(valkey_url) as it:
        await walk(worker, 1, 1)
        await it.until_tick(0.5)
        tick = worker.committed[-1]
        await worker.commit_ticks([tick._replace(t=T0 + 1.0, version=77)])
        await worker.commit_ticks([tick._replace(t=T0 + 1.5)])
        await it.until_tick(1.5)
        assert it.feed.skipped == 1
        assert it.hub.ticks[-1] == 1.5
        assert 1.0 not in it.hub.ticks


async def test_garbage_in_the_stream_does_not_stop_the_feed(valkey_url: str) -> None:
    """An entry that nobody can read is left behind."""
    async with pipeline(valkey_url) as worker, followed(valkey_url) as it:
        await walk(worker, 1, 1)
        await it.until_tick(0.5)
        keys = worker.store.keys.partition(0)
        garbage = round((T0 + 0.75) * 1_000)
        await worker.store.link.call("XADD", keys.fixes, garbage, "f", b"\xc1garbage")
        await until_async(lambda: it.hub.shows == 2, "the feed begins anew")
        await walk(worker, 2, 3)
        await it.until_tick(1.5)
        positions = it.feed.positions
        assert positions is not None
        assert (positions.t == T0 + 1.5).all()


async def test_a_dashboard_waits_for_its_site(valkey_url: str) -> None:
    """Started before the import it says what is missing, and begins when it is there."""
    async with dashboard(valkey_url, wait=False) as board:
        assert (await board.get("/healthz")) == {"status": "ok"}
        for path in ("/readyz", "/api/v1/site", "/api/v1/trackables", "/api/v1/gateways"):
            problem = await board.get(path, 503)
            assert problem["type"] == "urn:balise:problem:unavailable"
        await until_async(lambda: _says(board, "does not hold"), "the reason is told")
        async with board.live() as client, pipeline(valkey_url):
            await board.ready()
            hello = await client.text("hello")
            assert len(hello["trackables"]) == 4
            assert (await board.get("/readyz"))["site"] == "depot"


async def _says(board: Dashboard, words: str) -> bool:
    problem = await board.get("/readyz", 503)
    return words in problem["detail"]


async def test_readiness_follows_the_store(valkey_server: Server) -> None:
    """While the store is away: alive, not ready, the last picture stays; then ready again."""
    async with pipeline(valkey_server.url) as worker:
        await walk(worker, 1, 1)
        async with dashboard(valkey_server.url) as board:
            valkey_server.kill9()
            problem = await board.get("/readyz", 503)
            assert "does not answer" in problem["detail"]
            assert (await board.get("/healthz")) == {"status": "ok"}
            page = await board.get("/api/v1/trackables")
            assert page["trackables"][0]["position"]["t"] == T0 + 0.5

            async def noticed() -> bool:
                return (await board.http.get("/api/v1/gateways")).status_code == 503

            await until_async(noticed, "a shared look is half a second old at most")
            body = {"name": "x", "kind": "item", "beacons": ["b"]}
            await board.post("/api/v1/trackables", body, 503)
            metrics = (await board.http.get("/metrics")).text
            assert "balise_store_up 0.0" in metrics
            valkey_server.restart()
            await board.ready()
