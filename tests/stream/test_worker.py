"""Workers share partitions, survive their store, and never stop for a bad entry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec
import pytest

from gateway.readings import Batch, encode
from stream.engine import Engine
from stream.fixes import pack
from stream.holding import Holding
from stream.lease import Lease
from stream.replay import replay_ticks
from stream.site import Trackable
from stream.store import Store, StoreDown
from stream.worker import Worker, WorkerNameError
from tests.support.pipeline import closing_round, make_rounds, make_site
from tests.support.processes import until_async
from tests.support.servers import Server

SITE = make_site()
T0 = 1_700_000_000.0


def rounds(first: int, last: int) -> list[Batch]:
    """The batches of some windows, counted from 1."""
    made = list(make_rounds(SITE, T0, last))
    return [batch for batches in made[first - 1 :] for batch in batches]


class Rig:
    """Workers in this process, at a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._workers: dict[str, tuple[Store, asyncio.Task[None]]] = {}

    def start(self, name: str) -> None:
        """Starts a worker."""
        store = Store(self.store.url, "depot")
        self._workers[name] = (store, asyncio.create_task(Worker(store, name).run()))

    async def stop(self, name: str) -> None:
        """Stops a worker as SIGTERM does."""
        store, task = self._workers.pop(name)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await store.close()

    async def close(self) -> None:
        """Stops everything."""
        for name in list(self._workers):
            await self.stop(name)
        await self.store.close()

    async def append(self, batches: list[Batch], p: int = 0) -> None:
        """Writes batches into a partition's stream."""
        await self.raw(*(("b", encode(batch)) for batch in batches), p=p)

    async def raw(self, *fields: tuple[str | bytes, ...], p: int = 0) -> None:
        """Writes any fields into a partition's stream."""
        stream = self.store.keys.partition(p).readings
        await self.store.link.pipeline([("XADD", stream, "*", *field) for field in fields])

    async def processed(self, batches: int, within_s: float = 10.0) -> None:
        """Waits until every partition has taken so many."""

        async def done() -> bool:
            return all(s.batches >= batches for s in await self.store.summaries())

        await until_async(done, f"{batches} batches are processed", within_s)

    async def stored(self) -> list[bytes]:
        """The first partition's ticks as stored."""
        ticks = await self.store.read_fixes({0: "0-0"}, 1)
        return [pack(tick) for _, _, tick in ticks]

    async def pending(self) -> int:
        """Entries read and not acknowledged."""
        stream = self.store.keys.partition(0).readings
        return int((await self.store.link.call("XPENDING", stream, "workers"))[0])


async def _rig(server_url: str, partitions: int) -> AsyncIterator[Rig]:
    store = await Store.connect(server_url, "depot")
    await store.import_site(SITE, partitions)
    made = Rig(store)
    yield made
    await made.close()


@pytest.fixture
async def rig(any_store_url: str) -> AsyncIterator[Rig]:
    """A site of one partition."""
    async for made in _rig(any_store_url, 1):
        yield made


@pytest.fixture
async def wide_rig(valkey_url: str) -> AsyncIterator[Rig]:
    """A site of five partitions."""
    async for made in _rig(valkey_url, 5):
        yield made


def replayed(batches: list[Batch]) -> list[bytes]:
    """What one engine makes of the batches, the last window's tick left open."""
    engine = Engine(SITE, 1)
    ticks = []
    for number, batch in enumerate(batches):
        engine.feed(batch, str(number))
        ticks += engine.take().ticks
    return [pack(tick) for tick in ticks]


async def test_a_worker_gives_what_a_replay_gives(rig: Rig) -> None:
    """Fixes, counts, and nothing left unacknowledged once all ticks are closed."""
    batches = rounds(1, 30)
    await rig.append(batches)
    rig.start("worker-0")
    await rig.processed(len(batches))
    await rig.append(batches[-12:])

    async def all_acknowledged() -> bool:
        (summary,) = await rig.store.summaries()
        return summary.duplicates == 12 and await rig.pending() == 0

    await until_async(all_acknowledged, "duplicates are counted and acknowledged")
    assert await rig.stored() == replayed(batches)
    assert len(await rig.stored()) == 30
    (summary,) = await rig.store.summaries()
    assert (summary.batches, summary.duplicates, summary.late) == (len(batches), 12, 0)
    assert await rig.store.holders() == ["worker-0"]
    assert await rig.store.workers() == ["worker-0"]
    await rig.stop("worker-0")
    assert await rig.store.holders() == [""]
    assert await rig.store.workers() == []


async def test_open_ticks_are_read_again_by_the_next_worker(rig: Rig) -> None:
    """What a worker had read and not finished is not lost with it."""
    batches = rounds(1, 20)
    rig.start("a")
    # Half of the last window: its tick stays open.
    await rig.append(batches[:-3])
    await rig.processed(len(batches) - 6)
    assert await rig.pending() == 3
    await rig.stop("a")
    rig.start("b")
    await rig.append(batches[-3:])
    await rig.processed(len(batches))
    assert await rig.stored() == replayed(batches)


@pytest.mark.parametrize(
    "fields",
    [
        ("b", b""),
        ("b", b"\xc1"),
        ("b", b"{}"),
        ("b", encode(rounds(1, 1)[0])[:-3]),
        ("s", b""),
        ("s", b"one"),
        ("s", b"999"),
        ("s", "\N{SUPERSCRIPT TWO}".encode()),
        ("x", b"?"),
        ("b", b"1", "more", b"2"),
    ],
)
async def test_a_bad_entry_is_left_out_and_counted(
    rig: Rig, fields: tuple[str | bytes, ...]
) -> None:
    """Nothing in the stream stops a worker."""
    batches = rounds(1, 4)
    await rig.append(batches[:12])
    await rig.raw(fields)
    await rig.append(batches[12:])
    rig.start("worker-0")
    await rig.processed(len(batches))
    assert await rig.stored() == replayed(batches)
    assert await rig.store.refusals() == {("?", "entry"): 1}
    assert await rig.pending() == 0


async def test_an_entry_the_engine_fails_on_is_left_out(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of our own costs one batch, after some tries, and not the partition."""
    batches = rounds(1, 6)
    poison = (batches[20].gateway, batches[20].seq)
    feed, tries = Engine.feed, []

    def failing(self: Engine, batch: Batch, token: str) -> None:
        if (batch.gateway, batch.seq) == poison:
            tries.append(token)
            raise ZeroDivisionError
        feed(self, batch, token)

    monkeypatch.setattr(Engine, "feed", failing)
    await rig.append(batches)
    await rig.append(closing_round(SITE, T0 + 6.0, 7))
    rig.start("worker-0")
    await rig.processed(len(batches) - 1)
    assert len(tries) == 3
    assert await rig.store.refusals() == {("?", "entry"): 1}


async def test_a_site_version_takes_effect_in_its_place(rig: Rig) -> None:
    """Ticks before the announcement are of the old version, those after it of the new one."""
    batches = rounds(1, 20)
    rig.start("worker-0")
    await rig.append(batches[:60])
    await rig.processed(60)
    newcomer = Trackable("new", "New", "item", ["stranger1"])
    changed = msgspec.structs.replace(SITE, trackables=[newcomer, *SITE.trackables])
    await rig.store.write_site(changed, 1)
    await rig.append(batches[60:])
    await rig.processed(len(batches))
    ticks = [tick for _, _, tick in await rig.store.read_fixes({0: "0-0"}, 1)]
    assert [tick.version for tick in ticks] == [1] * 10 + [2] * 10
    (summary,) = await rig.store.summaries()
    assert summary.site_version == 2
    assert [event.kind for _, event in await rig.store.events(0)].count("site_changed") == 1
    await rig.stop("worker-0")
    rig.start("worker-1")
    more = rounds(21, 22)
    await rig.append(more)
    await rig.processed(len(batches) + len(more))
    assert (await rig.store.summaries())[0].site_version == 2


async def test_an_unannounced_version_is_announced(rig: Rig) -> None:
    """A writer that died between the document and its announcement leaves no one behind."""
    rig.start("worker-0")
    await rig.append(rounds(1, 4))
    await rig.processed(24)
    changed = msgspec.structs.replace(SITE, name="Other")
    keys = rig.store.keys
    await rig.store.link.call("SET", keys.document(2), msgspec.json.encode(changed))
    await rig.store.link.call("SET", keys.site, 2)

    async def changed_over() -> bool:
        return (await rig.store.summaries())[0].site_version == 2

    await until_async(changed_over, "the worker uses the new version", 15.0)


async def test_a_state_that_cannot_be_read_starts_afresh(rig: Rig) -> None:
    """An upgrade that cannot read the old state loses tracks, and neither time nor readings."""
    batches = rounds(1, 10)
    rig.start("a")
    await rig.append(batches[:30])
    await rig.processed(30)
    await rig.stop("a")
    before = await rig.stored()
    await rig.store.link.call("SET", rig.store.keys.partition(0).state, b"another format")
    rig.start("b")
    # Batches that the lost state knew of come again: their ticks are stored already.
    await rig.append(batches[:30])
    await rig.append(batches[30:])

    async def goes_on() -> bool:
        return len(await rig.stored()) == 10

    await until_async(goes_on, "the later ticks are located")
    assert (await rig.stored())[: len(before)] == before


async def test_partitions_are_shared_fairly(wide_rig: Rig) -> None:
    """Five partitions among three workers: nobody has more than two, all are held."""
    for name in ("a", "b", "c"):
        wide_rig.start(name)

    async def shared() -> bool:
        held = await wide_rig.store.holders()
        return "" not in held and max(held.count(name) for name in "abc") <= 2

    await until_async(shared, "all are held by somebody, at most two by each", 15.0)
    await wide_rig.stop("b")
    await wide_rig.stop("c")

    async def all_with_one() -> bool:
        return await wide_rig.store.holders() == ["a"] * 5

    await until_async(all_with_one, "the one that stays has all")


async def test_a_store_that_loses_its_data_is_served_again(valkey_server: Server) -> None:
    """Emptied under the worker, and the site imported again: it goes on with new readings."""
    store = await Store.connect(valkey_server.url, "depot")
    await store.import_site(SITE)
    rig = Rig(store)
    rig.start("worker-0")
    await rig.append(rounds(1, 5))
    await rig.processed(30)
    await store.link.call("FLUSHALL", "SYNC")
    await store.import_site(SITE)
    await rig.append(rounds(1, 8))
    await rig.processed(48, 15.0)
    assert await rig.stored() == replayed(rounds(1, 8))
    await store.link.call("DEL", store.keys.partition(0).readings)
    await rig.append(rounds(9, 12))
    await rig.processed(72, 15.0)
    assert await rig.stored() == replayed(rounds(1, 12))
    await rig.close()


async def test_a_killed_store_is_taken_up_where_it_was(any_store_server: Server) -> None:
    """The worker waits while the store is away, and goes on from the last commit."""
    store = await Store.connect(any_store_server.url, "depot")
    # So that the store itself forgets nothing when it is killed.
    await store.link.call("CONFIG", "SET", "appendfsync", "always")
    await store.import_site(SITE)
    rig = Rig(store)
    batches = rounds(1, 40)
    rig.start("worker-0")
    await rig.append(batches[:120])
    await rig.processed(120)
    any_store_server.kill9()
    await asyncio.sleep(0.3)
    any_store_server.restart()
    await rig.append(batches[120:])
    await rig.processed(len(batches), 15.0)
    assert await rig.stored() == replayed(batches)
    await rig.close()


async def test_a_worker_waits_for_store_and_site(valkey_server: Server) -> None:
    """Started before either is there, it serves as soon as both are."""
    valkey_server.kill9()
    store = Store(valkey_server.url, "depot")
    rig = Rig(store)
    rig.start("worker-0")
    await asyncio.sleep(0.2)
    valkey_server.restart()
    await store.import_site(SITE)
    await rig.append(rounds(1, 3))
    await rig.processed(18)
    await rig.close()


async def test_an_answer_that_was_lost_is_found_out(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that took effect unseen makes the worker load again, and write nothing twice."""
    batches = rounds(1, 10)
    await rig.append(batches)
    store = Store(rig.store.url, "depot")
    await store.refresh()
    link = rig.store.link
    lease = Lease(link, store.keys.partition(0), "w", "1")
    await lease.take()
    holding = Holding(store, link, lease, 0)
    commit, calls = lease.commit, []

    async def losing(*args: object) -> None:
        await commit(*args)  # type: ignore[arg-type]  # passed on as they came
        calls.append(args)
        if len(calls) in (2, 3):
            raise StoreDown("the answer was lost")

    monkeypatch.setattr(lease, "commit", losing)
    task = asyncio.create_task(holding.serve())
    await rig.processed(len(batches))
    await rig.append(rounds(11, 12))
    await rig.processed(len(batches) + 12)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await store.close()
    assert len(calls) >= 3
    assert await rig.stored() == replayed(rounds(1, 12))
    assert (await rig.store.summaries())[0].duplicates == 0


@pytest.mark.parametrize("name", ["", "two words", "a/b", "x" * 65])
async def test_an_unfit_name_is_refused(name: str) -> None:
    """The name stands in leases and in consumer names."""
    store = Store("redis://127.0.0.1:1/0", "depot")
    with pytest.raises(WorkerNameError, match="must be printable"):
        Worker(store, name)
    await store.close()


def test_the_rounds_are_worth_locating() -> None:
    """The readings these tests use make fixes in every tick."""
    ticks = list(replay_ticks(SITE, rounds(1, 30)))
    assert len(ticks) == 30
    assert all(len(tick.fixes) > 10 for tick in ticks)
