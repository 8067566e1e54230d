"""A recording from the store is what the workers were fed; one from the broker what arrived."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.mqtt import Mqtt
from gateway.readings import Batch, encode
from gateway.topics import readings_topic
from stream.partition import beacon_partitions, split
from stream.record import PATIENCE, Joiner, RecordError, record_broker, record_store
from stream.recording import read_batches
from stream.store import Store, StoreError
from tests.support.pipeline import Program, make_rounds, make_site, programs
from tests.support.processes import until_async
from tests.support.servers import Server

SITE = make_site()
T0 = 1_700_000_000.0
BATCHES = [batch for batches in make_rounds(SITE, T0, 12) for batch in batches]


async def append(store: Store, batches: list[Batch]) -> None:
    """Writes batches as ingest does."""
    assigned = beacon_partitions(SITE, store.partitions)
    commands = [
        ("XADD", store.keys.partition(p).readings, "*", "b", encode(part))
        for batch in batches
        for p, part in enumerate(split(batch, assigned, store.partitions))
    ]
    await store.link.pipeline(commands)


@pytest.fixture(params=[1, 3])
async def store(request: pytest.FixtureRequest, valkey_url: str) -> AsyncIterator[Store]:
    """A site of one partition, and of three."""
    opened = await Store.connect(valkey_url, "depot")
    await opened.import_site(SITE, request.param)
    yield opened
    await opened.close()


def same(recorded: list[Batch], batches: list[Batch]) -> bool:
    """Whether both hold the same batches in the same order; parts may reorder the beacons."""
    return [
        (b.gateway, b.seq, b.t, sorted(zip(b.beacons, b.rssi, b.n, strict=True))) for b in recorded
    ] == [
        (b.gateway, b.seq, b.t, sorted(zip(b.beacons, b.rssi, b.n, strict=True))) for b in batches
    ]


async def until_recorded(
    task: asyncio.Task[None], recorded: list[Batch], condition: Callable[[], bool]
) -> None:
    """Waits for the recording, then ends it."""
    try:
        await until_async(lambda: condition() or task.done(), f"recorded, now {len(recorded)}")
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_from_the_store(store: Store) -> None:
    """What is appended comes out whole and in order, from the kept ones on when asked."""
    await append(store, BATCHES[:20])
    kept: list[Batch] = []
    later: list[Batch] = []
    first = asyncio.create_task(record_store(store, kept.append, kept=True))
    second = asyncio.create_task(record_store(store, later.append))
    await until_async(lambda: len(kept) == 20, "the kept ones are recorded")

    async def both_wait() -> bool:
        return b"blocked_clients:2" in await store.link.call("INFO", "clients")

    await until_async(both_wait, "both wait for the next entry")
    await store.announce(0, 2)
    await append(store, BATCHES[20:])
    await until_recorded(first, kept, lambda: len(kept) == len(BATCHES))
    await until_recorded(second, later, lambda: len(later) == len(BATCHES) - 20)
    assert same(kept, BATCHES)
    assert same(later, BATCHES[20:])


async def test_a_recorder_that_fell_behind_says_so(store: Store) -> None:
    """A gap is an error, not a recording."""
    recorded: list[Batch] = []
    task = asyncio.create_task(record_store(store, recorded.append, kept=True))
    await append(store, BATCHES[:6])
    await until_async(lambda: len(recorded) == 6, "the first are recorded")
    # In one transaction, so that the recorder sees nothing of what is trimmed.
    for p in range(store.partitions):
        stream = store.keys.partition(p).readings
        packed = encode(
            split(BATCHES[6], beacon_partitions(SITE, store.partitions), store.partitions)[p]
        )
        await store.link.transaction(
            [("XADD", stream, "*", "b", packed)] * 5 + [("XTRIM", stream, "MAXLEN", 2)]
        )
    with pytest.raises(RecordError, match="fell behind"):
        await asyncio.wait_for(task, 10.0)


async def test_an_absent_site_is_one_sentence(valkey_url: str) -> None:
    """There is nothing to record before the import."""
    opened = await Store.connect(valkey_url, "depot")
    with pytest.raises(StoreError, match="does not hold the site `depot`"):
        await record_store(opened, lambda _: None)
    await opened.close()


def test_parts_join_in_any_interleaving() -> None:
    """Whatever order the partitions are read in, the order is that of the first."""
    chance = random.Random(5)
    assigned = beacon_partitions(SITE, 3)
    for _ in range(50):
        queues = [[(p, split(batch, assigned, 3)[p]) for batch in BATCHES] for p in range(3)]
        joiner, whole = Joiner(3), []
        while any(queues):
            queue = chance.choice([queue for queue in queues if queue])
            whole += joiner.add(*queue.pop(0))
        assert same(whole, BATCHES)


def test_repeated_batches_are_written_once() -> None:
    """An ingest that died half way leaves parts; the batch that came again is whole."""
    assigned = beacon_partitions(SITE, 2)
    joiner, whole = Joiner(2), []
    parts = [split(batch, assigned, 2) for batch in BATCHES[:3]]
    for p, number in [(0, 0), (0, 1), (0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2), (1, 0)]:
        whole += joiner.add(p, parts[number][p])
    assert same(whole, BATCHES[:3])


def test_a_part_that_never_comes_is_given_up() -> None:
    """One incomplete batch does not hold up the recording for ever."""
    assigned = beacon_partitions(SITE, 2)
    joiner, whole = Joiner(2), []
    joiner.add(0, split(BATCHES[0], assigned, 2)[0])
    many = itertools.chain.from_iterable(make_rounds(make_site(1, 1), T0, PATIENCE + 10))
    for batch in itertools.islice(many, 1, None):
        for p, part in enumerate(split(batch, assigned, 2)):
            whole += joiner.add(p, part)
    assert len(whole) > PATIENCE
    assert [batch.seq for batch in whole] == list(range(2, len(whole) + 2))


async def test_from_the_broker(broker_server: Server) -> None:
    """Valid readings of the site are recorded; noise, statuses and other sites are not."""
    recorded: list[Batch] = []
    task = asyncio.create_task(record_broker(broker_server.url, "depot", recorded.append))
    client = Mqtt(broker_server.url, "gateways")
    sending = asyncio.create_task(client.run())
    await client.wait_connected()

    async def heard() -> bool:
        await client.publish(readings_topic("depot", "gw0"), encode(BATCHES[0]))
        return bool(recorded)

    await until_async(heard, "the recorder listens")
    recorded.clear()
    for topic, payload in [
        (readings_topic("depot", "gw0"), b"noise"),
        (readings_topic("other", BATCHES[1].gateway), encode(BATCHES[1])),
        (readings_topic("depot", "gw9"), encode(BATCHES[1])),
        *((readings_topic("depot", batch.gateway), encode(batch)) for batch in BATCHES[1:]),
    ]:
        await client.publish(topic, payload)
    await until_recorded(task, recorded, lambda: bool(recorded) and recorded[-1] == BATCHES[-1])
    sending.cancel()
    with suppress(asyncio.CancelledError):
        await sending
    assert [b for b in recorded if b != BATCHES[0]] == BATCHES[1:]


async def test_the_command(valkey_url: str, tmp_path: Path) -> None:
    """`balise record` writes a file that reads back, and ends with the time or at SIGTERM."""
    opened = await Store.connect(valkey_url, "depot")
    await opened.import_site(SITE)
    await append(opened, BATCHES)
    await opened.close()
    out = tmp_path / "recording.jsonl.gz"
    words = ("record", "--site", "depot", "--redis", valkey_url, "--kept", "--out", str(out))
    with programs() as running:
        running.append(Program(tmp_path / "log", *words, "--seconds", "1"))
        status = await asyncio.to_thread(running[0].process.wait, 20.0)
        assert (status, running[0].said()) == (
            0,
            f"{out} holds {len(BATCHES)} batches with {sum(map(len, BATCHES))} readings\n",
        )
        assert list(read_batches(out, "depot")) == BATCHES
        assert out.read_bytes().startswith(b"\x1f\x8b")
        wrong = Program(tmp_path / "log2", *words[:2], "other", *words[3:])
        running.append(wrong)
        assert await asyncio.to_thread(wrong.process.wait, 20.0) == 2
        assert wrong.said().count("\n") == 1
        assert "does not hold the site `other`" in wrong.said()
