"""Ingest acknowledges what the store has, refuses with a reason, and waits when it must."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import msgspec
import pytest

from gateway.mqtt import Message, Mqtt
from gateway.readings import Batch, decode, encode, encode_json
from gateway.status import Status, encode_status
from gateway.topics import readings_topic, status_topic
from stream.admission import REASONS, Refusal, admit
from stream.ingest import Bounds, Ingest
from stream.partition import beacon_partitions, join, partition_of
from stream.site import GatewayPlace, Site
from stream.store import Store
from tests.conftest import StartServer
from tests.support.pipeline import make_rounds, make_site
from tests.support.processes import until_async
from tests.support.servers import Kind, Server

PAIRS = [
    pytest.param(("valkey", "iotcore"), id="embedded"),
    pytest.param(("redis", "mosquitto"), id="debian", marks=pytest.mark.debian),
]


class Rig:
    """Ingest in this process, between servers of this test's own."""

    def __init__(self, store_server: Server, broker_server: Server, store: Store) -> None:
        self.store_server = store_server
        self.broker_server = broker_server
        self.store = store
        self.client = Mqtt(broker_server.url, "gateways")
        self._client_task = asyncio.create_task(self.client.run())
        self._ingest_task: asyncio.Task[None] | None = None

    async def start(self, bounds: Bounds | None = None) -> None:
        """Starts an ingest and waits until both it and the gateways are connected."""
        store = Store(self.store.url, "depot")
        ingest = Ingest(store, self.broker_server.url, bounds=bounds)
        self._ingest_task = asyncio.create_task(ingest.run())
        self._ingest_task.add_done_callback(lambda _: asyncio.ensure_future(store.close()))
        began = time.time()

        async def up() -> bool:
            health = await self.store.ingest_health()
            return health is not None and health.connected and health.started >= began - 1.0

        await until_async(up, "ingest is connected")
        await self.client.wait_connected()

    async def stop(self) -> None:
        """Stops the ingest."""
        if self._ingest_task is not None:
            self._ingest_task.cancel()
            with suppress(asyncio.CancelledError):
                await self._ingest_task
            await self.store.link.call("DEL", self.store.keys.ingest)
            self._ingest_task = None

    async def close(self) -> None:
        """Stops everything."""
        if self._ingest_task is not None:
            self._ingest_task.cancel()
        self._client_task.cancel()
        for task in (self._ingest_task, self._client_task):
            if task is not None:
                with suppress(asyncio.CancelledError):
                    await task
        await self.store.close()

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publishes and waits for the broker's word."""
        async with asyncio.timeout(10.0):
            await self.client.wait_connected()
            await self.client.publish(topic, payload, retain=retain)

    async def send(self, batches: list[Batch]) -> None:
        """Publishes batches as gateways do."""
        topics = [readings_topic("depot", batch.gateway) for batch in batches]
        async with asyncio.timeout(20.0):
            await asyncio.gather(
                *(
                    self.client.publish(topic, encode(batch))
                    for topic, batch in zip(topics, batches, strict=True)
                )
            )

    async def entries(self, p: int = 0) -> list[bytes]:
        """The batches in a partition's stream."""
        found = await self.store.link.call(
            "XRANGE", self.store.keys.partition(p).readings, "-", "+"
        )
        return [fields[1] for _, fields in found if fields[0] == b"b"]

    async def until_entries(self, count: int, p: int = 0, within_s: float = 15.0) -> list[bytes]:
        """Waits until the stream holds so many."""
        found: list[bytes] = []

        async def enough() -> bool:
            found[:] = await self.entries(p)
            return len(found) >= count

        await until_async(enough, f"{count} entries", within_s)
        return found


@pytest.fixture(params=PAIRS)
async def rig(request: pytest.FixtureRequest, start_server: StartServer) -> AsyncIterator[Rig]:
    """A store with a site of one partition, and a broker."""
    kinds: tuple[Kind, Kind] = request.param
    async for made in _rig(start_server, kinds, make_site(), 1):
        yield made


@pytest.fixture
async def wide_rig(start_server: StartServer) -> AsyncIterator[Rig]:
    """A store with a site of three partitions, and a broker."""
    async for made in _rig(start_server, ("valkey", "iotcore"), make_site(), 3):
        yield made


async def _rig(
    start_server: StartServer, kinds: tuple[Kind, Kind], site: Site, partitions: int
) -> AsyncIterator[Rig]:
    store_server, broker_server = start_server(kinds[0]), start_server(kinds[1])
    store = await Store.connect(store_server.url, "depot")
    await store.import_site(site, partitions)
    made = Rig(store_server, broker_server, store)
    yield made
    await made.close()


def rounds(count: int, seed: int = 1) -> list[Batch]:
    """Some windows' batches, of the last minutes."""
    site = make_site()
    made = make_rounds(site, float(int(time.time())) - count * 0.5 - 5.0, count, seed=seed)
    return [batch for batches in made for batch in batches]


async def test_batches_arrive_unchanged_and_in_order(rig: Rig) -> None:
    """MessagePack is stored byte by byte, JSON as MessagePack, in the order of publication."""
    await rig.start()
    batches = rounds(30)
    await rig.send(batches)
    await rig.publish(readings_topic("depot", "gw0"), encode_json(batches[0]))
    found = await rig.until_entries(len(batches) + 1)
    assert found[:-1] == [encode(batch) for batch in batches]
    assert decode(found[-1]) == batches[0]
    health = await rig.store.ingest_health()
    assert health is not None


async def test_a_stopped_ingest_misses_nothing(rig: Rig) -> None:
    """The broker keeps what comes while no ingest runs, and gives it to the next one."""
    await rig.start()
    await rig.stop()
    batches = rounds(20)
    await rig.send(batches)
    await rig.start()
    found = await rig.until_entries(len(batches))
    assert found == [encode(batch) for batch in batches]


async def test_a_killed_store_loses_nothing(rig: Rig) -> None:
    """While the store is down nothing is acknowledged; all is there once it is back."""
    await rig.start()
    # So that the store itself forgets nothing when it is killed.
    await rig.store.link.call("CONFIG", "SET", "appendfsync", "always")
    batches = rounds(40)
    await rig.send(batches[:60])
    await rig.until_entries(60)
    rig.store_server.kill9()
    await rig.send(batches[60:])
    rig.store_server.restart()
    await rig.until_entries(len(batches))
    found = list(dict.fromkeys(await rig.entries()))
    assert found == [encode(batch) for batch in batches]


async def test_workers_too_far_behind_hold_the_broker_back(rig: Rig) -> None:
    """Past the bound nothing more is taken, and all of it comes when the stream is short again."""
    await rig.start(Bounds(entries=50))
    batches = rounds(400)
    await rig.send(batches)

    async def held() -> bool:
        health = await rig.store.ingest_health()
        return health is not None and health.held_back and health.lag > 0.3

    await until_async(held, "ingest holds back and says so")
    length = len(await rig.entries())
    # At most what one flush held when the bound was passed.
    assert 50 < length <= 50 + 200
    found: list[bytes] = []

    async def drained() -> bool:
        """Takes entries away, as workers do."""
        stream = rig.store.keys.partition(0).readings
        taken = await rig.store.link.call("XRANGE", stream, "-", "+", "COUNT", 100)
        if taken:
            await rig.store.link.call("XDEL", stream, *(id_ for id_, _ in taken))
        found.extend(fields[1] for _, fields in taken)
        return len(set(found)) == len(batches)

    await until_async(drained, "everything came through", 20.0)
    assert found == [encode(batch) for batch in batches]

    async def released() -> bool:
        health = await rig.store.ingest_health()
        return health is not None and not health.held_back and health.readings > 0

    await until_async(released, "ingest says that it flows again")


async def test_partitions_get_their_parts(wide_rig: Rig) -> None:
    """Each partition gets every batch with its own beacons, empty ones too."""
    await wide_rig.start()
    batches = rounds(5)
    await wide_rig.send(batches)
    parts = [
        [decode(entry) for entry in await wide_rig.until_entries(len(batches), p)] for p in range(3)
    ]
    assigned = beacon_partitions(make_site(), 3)
    for number, batch in enumerate(batches):
        mine = [parts[p][number] for p in range(3)]
        assert sorted(join(mine).beacons) == sorted(batch.beacons)
        for p, part in enumerate(mine):
            assert (part.gateway, part.seq, part.t) == (batch.gateway, batch.seq, batch.t)
            for beacon in part.beacons:
                assert assigned.get(beacon, partition_of(beacon, 3)) == p


async def test_statuses_are_kept(rig: Rig) -> None:
    """The last word of each gateway, when it came; what the broker repeats is not news."""
    topic = status_topic("depot", "gw1")
    await rig.publish(topic, encode_status(Status("gw1", "online", "a", 5.0)), retain=True)
    await rig.start()

    async def has(state: str) -> bool:
        record = (await rig.store.gateway_statuses()).get("gw1")
        return record is not None and record.status.state == state

    await until_async(lambda: has("online"), "the retained status is kept")
    first = (await rig.store.gateway_statuses())["gw1"]
    assert abs(first.received - time.time()) < 30.0
    await rig.stop()
    await rig.start()
    await rig.send(rounds(1))
    await rig.until_entries(6)
    assert (await rig.store.gateway_statuses())["gw1"] == first
    await rig.publish(topic, encode_status(Status("gw1", "offline", "a", 5.0)), retain=True)
    await until_async(lambda: has("offline"), "the new status is kept")
    assert set(await rig.store.gateway_statuses()) == {"gw1"}


async def test_a_new_site_version_counts_at_once(rig: Rig) -> None:
    """A gateway added to the site is admitted; the status of one taken away is dropped."""
    await rig.start()
    site = make_site()
    newcomer = GatewayPlace("new", "g", [1.0, 1.0])
    batch = msgspec.structs.replace(rounds(1)[0], gateway="new")
    await rig.publish(
        status_topic("depot", "gw5"), encode_status(Status("gw5", "online", "a", 1.0))
    )
    await rig.send([batch])

    async def refused() -> bool:
        known = await rig.store.refusals() == {("?", "unknown-gateway"): 1}
        return known and "gw5" in await rig.store.gateway_statuses()

    await until_async(refused, "the unknown gateway is refused")
    changed = msgspec.structs.replace(site, gateways=[*site.gateways[:5], newcomer])
    await rig.store.write_site(changed, 1)

    async def dropped() -> bool:
        return await rig.store.gateway_statuses() == {}

    await until_async(dropped, "the status of the gateway that is gone is dropped")
    await rig.send([batch])
    assert await rig.until_entries(1) == [encode(batch)]


async def test_ingest_waits_for_the_site(start_server: StartServer) -> None:
    """Started before the site is imported, it serves as soon as it is."""
    store_server, broker_server = start_server("valkey"), start_server("iotcore")
    store = await Store.connect(store_server.url, "depot")
    rig = Rig(store_server, broker_server, store)
    starting = asyncio.create_task(rig.start())
    await asyncio.sleep(0.2)
    assert not starting.done()
    await store.import_site(make_site())
    await starting
    await rig.send(rounds(2))
    await rig.until_entries(12)
    await rig.close()


Fuzz = Callable[[random.Random, Batch], tuple[str, bytes]]


def _noise(chance: random.Random, batch: Batch) -> tuple[str, bytes]:
    return readings_topic("depot", batch.gateway), chance.randbytes(chance.randint(0, 300))


def _damaged(chance: random.Random, batch: Batch) -> tuple[str, bytes]:
    payload = bytearray(encode(batch) if chance.random() < 0.5 else encode_json(batch))
    for _ in range(chance.randint(1, 5)):
        payload[chance.randrange(len(payload))] = chance.randrange(256)
    return readings_topic("depot", batch.gateway), bytes(payload)


def _cut(chance: random.Random, batch: Batch) -> tuple[str, bytes]:
    payload = encode(batch)
    return readings_topic("depot", batch.gateway), payload[: chance.randrange(len(payload))]


def _topic(chance: random.Random, batch: Batch) -> tuple[str, bytes]:
    letters = "ab/é \u202e\N{SNOWMAN}'\"{}:*\\$%"
    tail = "".join(chance.choices(letters, k=chance.randint(1, 30)))
    parts = ["balise/v1/depot/" + tail, f"balise/v1/depot/gateways/{tail}/readings"]
    return chance.choice(parts), encode(batch)


def _liar(chance: random.Random, batch: Batch) -> tuple[str, bytes]:
    values = {"t": time.time() + chance.uniform(5.0, 1e9)} if chance.random() < 0.5 else {}
    said = msgspec.structs.replace(batch, **values)
    return readings_topic("depot", chance.choice(["gw0", "gw1", "nobody"])), encode(said)


def _status(chance: random.Random, batch: Batch) -> tuple[str, bytes]:
    payload = bytearray(encode_status(Status(batch.gateway, "online", "b", 1.0)))
    payload[chance.randrange(len(payload))] = chance.randrange(256)
    return status_topic("depot", batch.gateway), bytes(payload)


def _nested(chance: random.Random, batch: Batch) -> tuple[str, bytes]:
    opening = chance.choice([b"[", b'{"v":', b"\x91", b"\x81\xa1v"])
    return readings_topic("depot", batch.gateway), opening * chance.randint(1, 3_000)


async def test_fuzzed_messages_are_refused_and_counted(rig: Rig) -> None:
    """Ten thousand bad messages among good ones: none stops the flow, each is counted."""
    chance = random.Random(11)
    fuzzes: list[Fuzz] = [_noise, _damaged, _cut, _topic, _liar, _status, _nested]
    good = rounds(60)
    gateways = {gateway.id for gateway in make_site().gateways}
    expected: Counter[tuple[str, str]] = Counter()
    stored = 0
    messages: list[tuple[str, bytes]] = []
    while expected.total() < 10_000:
        topic, payload = chance.choice(fuzzes)(chance, chance.choice(good))
        verdict = admit(topic, payload, time.time(), "depot", gateways)
        if isinstance(verdict, Refusal):
            # Stamps just ahead of the clock could be judged otherwise a moment later.
            expected[verdict.gateway, verdict.reason] += 1
            messages.append((topic, payload))
    for batch in good:
        messages.append((readings_topic("depot", batch.gateway), encode(batch)))
        stored += 1
    chance.shuffle(messages)
    await rig.start()
    for first in range(0, len(messages), 500):
        async with asyncio.timeout(20.0):
            await asyncio.gather(*(rig.client.publish(*m) for m in messages[first : first + 500]))
    assert len(await rig.until_entries(stored, within_s=30.0)) == stored

    async def all_counted() -> bool:
        return sum((await rig.store.refusals()).values()) >= expected.total()

    await until_async(all_counted, "every refusal is counted", 20.0)
    counted = await rig.store.refusals()
    assert counted == expected
    assert {reason for _, reason in counted} <= REASONS
    assert {gateway for gateway, _ in counted} <= gateways | {"?"}


async def test_unacknowledged_messages_of_a_lost_connection_do_not_pile_up(
    start_server: StartServer,
) -> None:
    """While the store is away a broker that comes and goes fills no memory here."""
    store = await Store.connect(start_server("valkey").url, "depot")
    await store.import_site(make_site())
    ingest = Ingest(store, "mqtt://127.0.0.1:1")
    for connection in range(1, 50):
        for mid in range(1_000):
            ingest._take(Message("t", b"", 1, False, mid, connection))
        ingest._take(Message("t", b"", 0, False, 0, connection))
    assert len(ingest._waiting) <= 1_000 + 49
    for _ in range(10_000):
        ingest._take(Message("t", b"", 0, False, 0, 49))
    assert len(ingest._waiting) <= 2_000
    await store.close()
