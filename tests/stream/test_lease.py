"""Only the holder of a partition changes it, and what it commits is whole."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from stream.connection import Connection, StoreGone
from stream.events import Event
from stream.fixes import TickFixes, empty
from stream.lease import KEPT_FIXES_MS, KEPT_READINGS, Lease, StaleEpoch, StepMismatch
from stream.site import Floor, Site
from stream.store import Store, StoreError
from stream.summary import Summary, encode_summary

SITE = Site(
    "depot", "Depot", "UTC", [Floor("g", "Ground", 0, [(0.0, 0.0), (9.0, 0.0), (9.0, 9.0)])]
)
SUMMARY = encode_summary(Summary(batches=7))
T0 = 1_700_000_000.0


class Bench:
    """A store with one partition, and workers at it."""

    def __init__(self, store: Store, link: Connection) -> None:
        self.store = store
        self.link = link
        self.keys = store.keys.partition(0)

    def lease(self, name: str, instance: str = "1") -> Lease:
        """A worker's hold on the partition."""
        return Lease(self.link, self.keys, name, instance)

    async def fill(self, count: int) -> list[str]:
        """Appends entries and gives their ids."""
        replies = await self.link.pipeline(
            [("XADD", self.keys.readings, "*", "b", f"batch {i}") for i in range(count)]
        )
        return [reply.decode() for reply in replies]


@pytest.fixture
async def bench(any_store_url: str) -> AsyncIterator[Bench]:
    """A fresh site."""
    store = await Store.connect(any_store_url, "depot")
    await store.import_site(SITE)
    link = Connection(any_store_url)
    yield Bench(store, link)
    await link.close()
    await store.close()


def tick(offset: float, count: int = 2) -> TickFixes:
    """A tick of some fixes, seconds after the start."""
    fixes = empty(count)
    fixes["trackable"] = range(count)
    return TickFixes(T0 + offset, 1, fixes)


async def commit(lease: Lease, step: int, ticks: list[TickFixes], done: list[str]) -> None:
    """A step with the usual trimmings, after everything was read."""
    last = (await lease.load()).last_read
    await lease.commit(step, b"state %d" % step, SUMMARY, ticks, [], done, last)


async def test_one_holder(bench: Bench) -> None:
    """A second worker is told who holds the partition; after a release it takes it."""
    first, second = bench.lease("a"), bench.lease("b")
    assert await first.take()
    assert not await second.take()
    assert second.holder == "a"
    await first.renew()
    assert await bench.store.holders() == ["a"]
    await first.release()
    assert await second.take()
    assert second.epoch == 2


async def test_a_namesake_is_replaced_at_once_only_when_asked(bench: Bench) -> None:
    """A restarted worker takes its own lease; one thrown out does not take it back."""
    old, new = bench.lease("a", "1"), bench.lease("a", "2")
    assert await old.take(from_namesake=True)
    assert not await new.take()
    assert await new.take(from_namesake=True)
    with pytest.raises(StaleEpoch):
        await old.renew()
    assert not await old.take()
    assert not await bench.lease("aa").take(from_namesake=True)


async def test_a_lease_runs_out(bench: Bench) -> None:
    """What nobody renews is free; its holder keeps it if nobody took it meanwhile."""
    first, second = bench.lease("a"), bench.lease("b")
    await first.take()
    await bench.link.call("PEXPIRE", bench.keys.lease, 1)
    await bench.link.call("DEL", bench.keys.lease)
    await first.renew()
    assert not await second.take()
    await bench.link.call("DEL", bench.keys.lease)
    assert await second.take()
    with pytest.raises(StaleEpoch):
        await first.renew()


async def test_a_release_of_anothers_lease_does_nothing(bench: Bench) -> None:
    """A worker that was replaced cannot free the partition."""
    first, second = bench.lease("a", "1"), bench.lease("a", "2")
    await first.take()
    await second.take(from_namesake=True)
    await first.release()
    assert await bench.store.holders() == ["a"]
    await second.renew()


async def test_a_commit_is_seen_by_readers(bench: Bench) -> None:
    """State, summary, fixes and events of a step are there together, its entries are gone."""
    ids = await bench.fill(3)
    lease = bench.lease("a")
    await lease.take()
    entries = await lease.read_new(10)
    assert [(entry.id, entry.kind, entry.value) for entry in entries] == [
        (id_, "b", b"batch %d" % i) for i, id_ in enumerate(ids)
    ]
    event = Event("e1", "gateway_silent", T0, "gw1")
    await lease.commit(1, b"s1", SUMMARY, [tick(0.5), tick(1.0)], [event], ids[:2], ids[-1])
    snapshot = await bench.store.snapshot(0)
    assert snapshot == (b"s1", "1700000001000-0")
    assert [summary.batches for summary in await bench.store.summaries()] == [7]
    assert [e for _, e in await bench.store.events(0)] == [event]
    stored = await bench.store.read_fixes({0: "0-0"}, 1)
    assert [(p, id_, fixes.t) for p, id_, fixes in stored] == [
        (0, "1700000000500-0", T0 + 0.5),
        (0, "1700000001000-0", T0 + 1.0),
    ]
    assert stored[0][2].fixes.tobytes() == tick(0.5).fixes.tobytes()
    assert [t.t for t in await bench.store.fixes_between(0, T0 + 0.6, T0 + 1.0)] == [T0 + 1.0]
    assert [entry.id for entry in await lease.read_pending("0-0", 10)] == ids[2:]
    loaded = await lease.load()
    assert loaded == (b"s1", 1, ids[-1], 1_700_000_001_000)


async def test_a_stale_epoch_changes_nothing(bench: Bench) -> None:
    """A worker that was frozen and replaced can neither write nor take entries away."""
    ids = await bench.fill(2)
    zombie, heir = bench.lease("a", "1"), bench.lease("a", "2")
    await zombie.take()
    await zombie.read_new(1)
    await heir.take(from_namesake=True)
    assert [entry.id for entry in await heir.read_pending("0-0", 10)] == ids[:1]
    with pytest.raises(StaleEpoch):
        await commit(zombie, 1, [tick(0.5)], ids[:1])
    with pytest.raises(StaleEpoch):
        await zombie.read_new(10)
    with pytest.raises(StaleEpoch):
        await zombie.read_pending("0-0", 10)
    assert await bench.store.snapshot(0) == (None, "0-0")
    assert [entry.id for entry in await heir.read_new(10)] == ids[1:]
    await commit(heir, 1, [tick(0.5)], ids)


@pytest.mark.parametrize("step", [0, 1, 3])
async def test_a_step_must_follow(bench: Bench, step: int) -> None:
    """A step sent twice, or after one that was lost, is refused before anything is written."""
    lease = bench.lease("a")
    await lease.take()
    await commit(lease, 1, [tick(0.5)], [])
    with pytest.raises(StepMismatch, match="is at step 1"):
        await commit(lease, step, [tick(1.0)], [])
    assert await bench.store.snapshot(0) == (b"state 1", "1700000000500-0")


@pytest.mark.parametrize("offset", [0.5, 0.0])
async def test_a_tick_is_stored_once(bench: Bench, offset: float) -> None:
    """A tick at or before the last is refused, and nothing of its step is written."""
    ids = await bench.fill(1)
    lease = bench.lease("a")
    await lease.take()
    await lease.read_new(1)
    await commit(lease, 1, [tick(0.5)], [])
    with pytest.raises(StepMismatch, match="already holds a tick"):
        await commit(lease, 2, [tick(offset), tick(1.0)], ids)
    assert await bench.store.snapshot(0) == (b"state 1", "1700000000500-0")
    assert (await lease.load()).step == 1
    assert len(await lease.read_pending("0-0", 10)) == 1


async def test_ticks_must_ascend(bench: Bench) -> None:
    """A step whose ticks do not ascend is a fault of ours and is not sent."""
    lease = bench.lease("a")
    await lease.take()
    with pytest.raises(ValueError, match="ascend"):
        await commit(lease, 1, [tick(1.0), tick(0.5)], [])


async def test_many_acknowledgements_in_one_step(bench: Bench) -> None:
    """More ids than Lua can unpack at once are acknowledged."""
    ids = await bench.fill(9_000)
    lease = bench.lease("a")
    await lease.take()
    assert len(await lease.read_new(9_000)) == 9_000
    await commit(lease, 1, [], [*ids[:4_000], *ids[4_001:]])
    assert [entry.id for entry in await lease.read_pending("0-0", 10)] == [ids[4_000]]


async def test_trimming_never_takes_what_is_not_acknowledged(bench: Bench) -> None:
    """The acknowledged tail is bounded; pending and unread entries stay, however many."""
    extra = 2_000
    ids = await bench.fill(KEPT_READINGS + extra)
    lease = bench.lease("a")
    await lease.take()
    await lease.read_new(len(ids))
    unread = await bench.fill(50)
    await commit(lease, 1, [], ids[10:])
    assert await bench.store.backlogs() == [len(ids) + 50]
    await commit(lease, 2, [], ids[1:10])
    assert await bench.store.backlogs() == [len(ids) + 50]
    await commit(lease, 3, [], ids[:1])
    (length,) = await bench.store.backlogs()
    assert KEPT_READINGS <= length <= KEPT_READINGS + 200
    assert [entry.id for entry in await lease.read_new(100)] == unread


async def test_old_acknowledged_readings_go(bench: Bench) -> None:
    """The tail is bounded in time too."""
    replies = await bench.link.pipeline(
        [("XADD", bench.keys.readings, f"{1_000 + i}-0", "b", "old") for i in range(500)]
    )
    (new,) = await bench.fill(1)
    lease = bench.lease("a")
    await lease.take()
    await lease.read_new(1_000)
    await commit(lease, 1, [], [*(reply.decode() for reply in replies), new])
    (length,) = await bench.store.backlogs()
    assert length <= 101


async def test_fixes_are_kept_for_minutes(bench: Bench) -> None:
    """Ticks older than what readers need are dropped, at most a node of the stream late."""
    lease = bench.lease("a")
    await lease.take()
    seconds = KEPT_FIXES_MS // 1_000
    await commit(lease, 1, [tick(i, 200) for i in range(seconds + 200)], [])
    kept = await bench.store.fixes_between(0, 0.0, T0 + 10_000)
    assert seconds <= len(kept) <= seconds + 2


async def test_entries_that_are_neither_batch_nor_version_are_told(bench: Bench) -> None:
    """What someone else wrote into the stream, or deleted from it, has no kind."""
    stream = bench.keys.readings
    await bench.link.call("XADD", stream, "*", "x", "1")
    await bench.link.call("XADD", stream, "*", "b", "1", "c", "2")
    gone = await bench.link.call("XADD", stream, "*", "b", "1")
    await bench.store.announce(0, 5)
    lease = bench.lease("a")
    await lease.take()
    assert [(e.kind, e.value) for e in await lease.read_new(10)] == [
        *(("", b""), ("", b""), ("b", b"1"), ("s", b"5"))
    ]
    await bench.link.call("XDEL", stream, gone)
    assert [e.kind for e in await lease.read_pending("0-0", 10)] == ["", "", "", "s"]


async def test_a_lost_group_is_told_and_made_again(bench: Bench) -> None:
    """A store that lost its data says so; taking the lease makes what is missing."""
    lease = bench.lease("a")
    await lease.take()
    await bench.link.call("DEL", bench.keys.readings)
    with pytest.raises(StoreGone):
        await lease.read_new(10)
    with pytest.raises(StoreError):
        await lease.load()
    assert await lease.take()
    (id_,) = await bench.fill(1)
    assert [entry.id for entry in await lease.read_new(10)] == [id_]
