"""Readings are processed exactly once, whichever process of ours is killed, and whenever."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest

from balise.cli import main
from gateway.mqtt import Mqtt
from gateway.readings import Batch, encode, encode_json
from gateway.topics import readings_topic
from stream.engine import Engine
from stream.fixes import TickFixes, pack
from stream.partition import beacon_partitions, split
from stream.record import record_store
from stream.site import Site
from stream.store import Store
from tests.conftest import StartServer
from tests.support.pipeline import Program, closing_round, make_rounds, make_site, programs
from tests.support.processes import until_async
from tests.support.servers import Kind, Server

PAIRS = [
    pytest.param("valkey", "iotcore", id="embedded"),
    pytest.param("redis", "mosquitto", id="debian", marks=pytest.mark.debian),
]


class Pipeline:
    """A broker, a store with a site, and our processes between them."""

    def __init__(
        self,
        site: Site,
        store: Store,
        servers: tuple[Server, Server],
        directory: Path,
        running: list[Program],
    ) -> None:
        self.site = site
        self.store = store
        self.store_server = servers[0]
        self.mqtt_url = servers[1].url
        self.recorded: list[Batch] = []
        self._directory = directory
        self._running = running
        self._client = Mqtt(self.mqtt_url, "gateways")
        self._tasks: list[asyncio.Task[None]] = []
        self._pending: list[asyncio.Future[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._client.run()),
            asyncio.create_task(record_store(self.store, self.recorded.append, kept=True)),
        ]
        await self._client.wait_connected()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.store.close()

    def ingest(self) -> Program:
        """Starts an ingest."""
        words = ("stream", "ingest", "--site", self.site.id, "--redis", self.store.url)
        return self._start("ingest", *words, "--mqtt", self.mqtt_url)

    def worker(self, name: str, log: str = "") -> Program:
        """Starts a worker."""
        words = ("stream", "worker", "--site", self.site.id, "--redis", self.store.url)
        return self._start(log or name, *words, "--name", name)

    def both(self) -> Program:
        """Starts ingest and worker in one process."""
        words = ("stream", "--site", self.site.id, "--redis", self.store.url)
        return self._start("both", *words, "--mqtt", self.mqtt_url)

    def _start(self, log: str, *words: str) -> Program:
        program = Program(self._directory / f"{log}.log", *words)
        self._running.append(program)
        return program

    async def ingesting(self) -> None:
        """Waits until ingest has its session at the broker: what is published now is kept."""

        async def is_up() -> bool:
            health = await self.store.ingest_health()
            return health is not None and health.connected

        await until_async(is_up, "ingest is connected")

    def publish(self, batches: Sequence[Batch], *, json: bool = False) -> None:
        """Publishes as gateways do, without waiting."""
        for batch in batches:
            topic = readings_topic(self.site.id, batch.gateway)
            payload = encode_json(batch) if json else encode(batch)
            self._pending.append(self._client.publish(topic, payload))

    async def acknowledged(self) -> None:
        """Waits until the broker has everything that was published."""
        async with asyncio.timeout(20.0):
            await asyncio.gather(*self._pending)
        self._pending.clear()

    async def processed(self, rounds: int, within_s: float = 20.0) -> None:
        """Waits until every partition has taken so many batches of each gateway."""
        wanted = rounds * len(self.site.gateways)
        seen: list[Any] = []

        async def done() -> bool:
            seen[:] = [s.batches for s in await self.store.summaries()]
            return all(count >= wanted for count in seen)

        try:
            await until_async(done, f"all {wanted} batches are processed", within_s)
        except AssertionError:
            logs = "\n".join(program.said()[-1_500:] for program in self._running)
            health = await self.store.ingest_health()
            raise AssertionError(f"{seen} of {wanted} batches; {health}\n{logs}") from None

    async def check(self, rounds: int) -> None:
        """Every batch once at each partition, and the fixes those of one undisturbed engine."""
        for summary in await self.store.summaries():
            for name, counts in summary.gateways.items():
                assert (name, counts.batches) == (name, rounds)
                assert (name, counts.missing, counts.seq) == (name, 0, rounds)
            assert summary.unknown == 0
        whole = len(self.site.gateways) * rounds
        await until_async(
            lambda: len({(b.gateway, b.seq) for b in self.recorded}) == whole, "all is recorded"
        )
        for p in range(self.store.partitions):
            stored = await self.stored(p)
            assert stored, "nothing was located"
            # Replaying what was recorded must give the very bytes, tick by tick.
            assert [pack(tick) for tick in stored] == [pack(tick) for tick in self.replayed(p)]

    async def stored(self, p: int) -> list[TickFixes]:
        """A partition's ticks, straight from its stream."""
        ticks = [tick for _, _, tick in await self._tail(p)]
        assert [t.t for t in ticks] == sorted({t.t for t in ticks}), "a tick was stored twice"
        return ticks

    async def _tail(self, p: int) -> list[tuple[int, str, TickFixes]]:
        found: list[tuple[int, str, TickFixes]] = []
        after = "0-0"
        while more := await self.store.read_fixes({p: after}, 1):
            found += more
            after = more[-1][1]
        return found

    def replayed(self, p: int) -> list[TickFixes]:
        """The ticks that one engine makes of the recording in one go."""
        partitions = self.store.partitions
        assigned = beacon_partitions(self.site, partitions)
        engine = Engine(self.site, 1, p, partitions)
        for number, batch in enumerate(self.recorded):
            engine.feed(split(batch, assigned, partitions)[p], str(number))
        return engine.take().ticks


StartPipeline = Callable[[Kind, Kind, int], Awaitable[Pipeline]]


@pytest.fixture
def start_pipeline(start_server: StartServer, tmp_path: Path) -> Any:
    """Starts a store and a broker, and imports a site with so many partitions."""
    with programs() as running:

        async def start(store_kind: Kind, broker_kind: Kind, partitions: int = 1) -> Pipeline:
            site = make_site()
            servers = (start_server(store_kind), start_server(broker_kind))
            store = await Store.connect(servers[0].url, site.id)
            await store.import_site(site, partitions)
            return Pipeline(site, store, servers, tmp_path, running)

        yield start


def start_time(rounds: int) -> float:
    """A start on the full second so that the last stamps are not in the future."""
    return float(int(time.time() - rounds * 0.5 - 30.0))


@pytest.mark.parametrize(("store_kind", "broker_kind"), PAIRS)
async def test_kills_of_ingest_and_worker(
    store_kind: Kind, broker_kind: Kind, start_pipeline: StartPipeline
) -> None:
    """Thousands of batches, some published twice, under random kills: each counts once."""
    rounds, chance = 400, random.Random(7)
    async with await start_pipeline(store_kind, broker_kind, 1) as pipeline:
        victims = [pipeline.ingest(), pipeline.worker("worker-0")]
        await pipeline.ingesting()
        kills = 0
        t0 = start_time(rounds)
        next_kill = time.monotonic() + 0.5
        for number, batches in enumerate(make_rounds(pipeline.site, t0, rounds)):
            pipeline.publish(batches, json=number % 7 == 0)
            if chance.random() < 0.1:
                pipeline.publish(batches[:3])
            await asyncio.sleep(0.015)
            if time.monotonic() > next_kill:
                victim = victims[kills % 2] if kills < 4 else chance.choice(victims)
                victim.kill9()
                victim.start()
                kills += 1
                next_kill = time.monotonic() + chance.uniform(0.2, 0.9)
        pipeline.publish(closing_round(pipeline.site, t0 + rounds * 0.5 + 1.0, rounds + 1))
        await pipeline.acknowledged()
        await pipeline.processed(rounds + 1)
        assert kills >= 5
        await pipeline.check(rounds + 1)
        (summary,) = await pipeline.store.summaries()
        assert summary.duplicates > 0
        assert await pipeline.store.refusals() == {}
        assert [victim.stop() for victim in victims] == [0, 0]
        assert await pipeline.store.holders() == [""]


@pytest.mark.parametrize(("store_kind", "broker_kind"), PAIRS)
async def test_ingest_is_killed_with_readings_in_hand(
    store_kind: Kind, broker_kind: Kind, start_pipeline: StartPipeline
) -> None:
    """What ingest had taken while the store was down was never acknowledged, and comes again."""
    rounds = 60
    async with await start_pipeline(store_kind, broker_kind, 1) as pipeline:
        ingest = pipeline.ingest()
        pipeline.worker("worker-0")
        await pipeline.ingesting()
        # So that the store itself forgets nothing when it is killed.
        await pipeline.store.link.call("CONFIG", "SET", "appendfsync", "always")
        t0 = start_time(rounds)
        everything = list(make_rounds(pipeline.site, t0, rounds))
        for batches in everything[:20]:
            pipeline.publish(batches)
        await pipeline.processed(15)
        pipeline.store_server.kill9()
        for batches in everything[20:40]:
            pipeline.publish(batches)
        await pipeline.acknowledged()
        await until_async(lambda: "readings wait at the broker" in ingest.said(), "ingest waits")
        ingest.kill9()
        pipeline.store_server.restart()
        ingest.start()
        for batches in everything[40:]:
            pipeline.publish(batches)
        pipeline.publish(closing_round(pipeline.site, t0 + rounds * 0.5 + 1.0, rounds + 1))
        await pipeline.acknowledged()
        await pipeline.processed(rounds + 1)
        await pipeline.check(rounds + 1)


async def test_a_zombie_worker_cannot_write(start_pipeline: StartPipeline) -> None:
    """A worker that is frozen, replaced and thawed writes nothing and takes nothing away."""
    rounds = 120
    async with await start_pipeline("valkey", "iotcore", 1) as pipeline:
        pipeline.ingest()
        zombie = pipeline.worker("worker-0", "zombie")
        await pipeline.ingesting()
        t0 = start_time(rounds)
        everything = list(make_rounds(pipeline.site, t0, rounds))
        for batches in everything[:40]:
            pipeline.publish(batches)
        await pipeline.processed(30)
        zombie.freeze()
        for batches in everything[40:80]:
            pipeline.publish(batches)
        heir = pipeline.worker("worker-0", "heir")
        await pipeline.processed(75)
        zombie.thaw()
        for batches in everything[80:]:
            pipeline.publish(batches)
            await asyncio.sleep(0.01)
        await until_async(lambda: "taken by another worker" in zombie.said(), "the zombie notices")
        pipeline.publish(closing_round(pipeline.site, t0 + rounds * 0.5 + 1.0, rounds + 1))
        await pipeline.processed(rounds + 1)
        await pipeline.check(rounds + 1)
        # The namesake that was thrown out stays out while the other lives, and says why.
        await until_async(
            lambda: "another process is the worker `worker-0`" in zombie.said(), "it says why"
        )
        assert "taken by another" not in heir.said()


async def test_partitions_move_between_workers(start_pipeline: StartPipeline) -> None:
    """Four partitions, a second worker that comes, is killed, and leaves: nothing is lost."""
    rounds = 300
    async with await start_pipeline("valkey", "iotcore", 4) as pipeline:
        ingest = pipeline.ingest()
        first = pipeline.worker("first")
        await pipeline.ingesting()
        t0 = start_time(rounds)
        everything = make_rounds(pipeline.site, t0, rounds)

        async def publish_until(condition: Callable[[list[str]], bool], what: str) -> None:
            async def reached() -> bool:
                if batches := next(everything, None):
                    pipeline.publish(batches)
                return condition(await pipeline.store.holders())

            await until_async(reached, what, 15.0)

        await publish_until(lambda held: held == ["first"] * 4, "one worker holds all")
        second = pipeline.worker("second")
        await publish_until(lambda held: sorted(held) == ["first"] * 2 + ["second"] * 2, "shared")
        ingest.kill9()
        ingest.start()
        second.kill9()
        await publish_until(lambda held: held == ["first"] * 4, "the dead one's are taken over")
        second.start()
        await publish_until(lambda held: held.count("second") == 2, "shared again")
        assert first.stop() == 0
        await publish_until(lambda held: held == ["second"] * 4, "all are with the one that stays")
        for batches in everything:
            pipeline.publish(batches)
        pipeline.publish(closing_round(pipeline.site, t0 + rounds * 0.5 + 1.0, rounds + 1))
        await pipeline.acknowledged()
        await pipeline.processed(rounds + 1)
        await pipeline.check(rounds + 1)


async def test_ingest_and_worker_in_one_process(start_pipeline: StartPipeline) -> None:
    """`balise stream` alone does both, says so in plain lines, and ends at SIGTERM."""
    rounds = 20
    async with await start_pipeline("valkey", "iotcore", 1) as pipeline:
        both = pipeline.both()
        await pipeline.ingesting()
        t0 = start_time(rounds)
        for batches in make_rounds(pipeline.site, t0, rounds):
            pipeline.publish(batches)
        pipeline.publish(closing_round(pipeline.site, t0 + rounds * 0.5 + 1.0, rounds + 1))
        await pipeline.processed(rounds + 1)
        await pipeline.check(rounds + 1)
        assert both.stop() == 0
        lines = both.said().splitlines()
        assert all(line.startswith("balise stream: ") for line in lines), lines
        assert "balise stream: holding partition 0, epoch 1" in lines


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("stream", "--site", "x", "--redis", "redis://h"), "give --mqtt URL"),
        (("stream", "ingest", "--site", "x", "--redis", "redis://h"), "give --mqtt URL"),
        (("stream", "worker", "--site", "{x}", "--redis", "redis://h"), "not a site's id"),
        (("stream", "worker", "--site", "x", "--redis", "h"), "not an address of a store"),
        (
            ("stream", "worker", "--site", "x", "--redis", "redis://h", "--name", "a b"),
            "the worker's name",
        ),
        (
            ("stream", "ingest", "--site", "x", "--redis", "redis://h", "--mqtt", "h:1883"),
            "broker URL",
        ),
    ],
)
def test_wrong_arguments_are_one_sentence(
    words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, exit status 2."""
    assert main(words) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
