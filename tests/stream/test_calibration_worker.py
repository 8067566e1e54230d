"""A calibration takes effect at one place in the stream, and no fit is lost or made twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest

from gateway.readings import Batch, encode
from stream.calibration import Calibration, encode_calibration, prior
from stream.calibration_store import Calibrations, VersionId
from stream.fixes import TickFixes, pack
from stream.holding import Holding
from stream.lease import Lease
from stream.store import Store, StoreDown
from stream.worker import Worker
from tests.support.fitting import FittingEngine, own_fit, use_fitting_engine
from tests.support.pipeline import make_rounds, make_site
from tests.support.processes import until_async

SITE = make_site()
T0 = 1_700_000_000.0
GATEWAYS = len(SITE.gateways)
PRIOR = prior("depot").offset_dbm


def rounds(first: int, last: int) -> list[Batch]:
    """The batches of some windows, counted from 1."""
    made = list(make_rounds(SITE, T0, last))
    return [batch for batches in made[first - 1 :] for batch in batches]


def told(offset_dbm: float) -> Calibration:
    """A calibration that is told by its offset."""
    return Calibration(1, "depot", "survey", T0, 10, offset_dbm)


def offsets(ticks: list[TickFixes]) -> list[float]:
    """Which calibration each tick was located with, by its offset."""
    for tick in ticks:
        assert len(set(tick.fixes["accuracy"].tolist())) == 1
    return [-float(tick.fixes["accuracy"][0]) for tick in ticks]


class Rig:
    """A site in a store, and workers in this process."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.calibrations = Calibrations(store)
        self.numbers = 0

    async def append(self, batches: list[Batch], p: int = 0) -> None:
        """Writes batches into a partition's stream."""
        stream = self.store.keys.partition(p).readings
        await self.store.link.pipeline([("XADD", stream, "*", "b", encode(b)) for b in batches])

    async def write(self, offset_dbm: float) -> int:
        """The site's next version, announced."""
        made = await self.calibrations.write(told(offset_dbm), self.numbers, t=T0, by="ann")
        self.numbers = made.id.number
        return self.numbers

    async def processed(self, batches: int) -> None:
        """Waits until every partition has taken so many."""

        async def done() -> bool:
            return all(s.batches >= batches for s in await self.store.summaries())

        await until_async(done, f"{batches} batches are processed")

    async def stored(self) -> list[TickFixes]:
        """The first partition's ticks."""
        return [tick for _, _, tick in await self.store.read_fixes({0: "0-0"}, 1)]

    async def fits(self, p: int = 0) -> list[Calibration]:
        """What a partition fitted, oldest first."""
        listed = [v.id for v in await self.calibrations.listed() if v.id.partition == p]
        return [await self.calibrations.read(version) for version in reversed(listed)]

    async def uses(self, version: str, p: int = 0) -> None:
        """Waits until a partition uses a version."""

        async def used() -> bool:
            return str((await self.calibrations.in_use())[p]) == version

        await until_async(used, f"partition {p} uses {version}", 15.0)

    @asynccontextmanager
    async def worker(self, name: str = "worker-0") -> AsyncIterator[None]:
        """A worker for the length of the block, stopped as by SIGTERM."""
        store = Store(self.store.url, "depot")
        task = asyncio.create_task(Worker(store, name).run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await store.close()


async def _rig(url: str, partitions: int = 1) -> AsyncIterator[Rig]:
    store = await Store.connect(url, "depot")
    await store.import_site(SITE, partitions)
    yield Rig(store)
    await store.close()


@pytest.fixture
async def rig(any_store_url: str) -> AsyncIterator[Rig]:
    """A site of one partition."""
    async for made in _rig(any_store_url):
        yield made


@pytest.fixture
async def wide_rig(valkey_url: str) -> AsyncIterator[Rig]:
    """A site of three partitions."""
    async for made in _rig(valkey_url, 3):
        yield made


@pytest.fixture
def fitting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that fit every ten ticks."""
    use_fitting_engine(monkeypatch, 10)


@pytest.fixture
def telling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that fit nothing and tell what they were given."""
    use_fitting_engine(monkeypatch, 0)


def offline(entries: list[list[Batch] | tuple[int, float]]) -> tuple[list[TickFixes], list[float]]:
    """Ticks and fits (by offset) of one engine that is fed all entries without interruption."""
    engine, ticks, fits = FittingEngine(SITE, 1), [], []
    for entry in entries:
        if isinstance(entry, tuple):
            engine.change_calibration(told(entry[1]), entry[0], "")
        for batch in entry if isinstance(entry, list) else []:
            engine.feed(batch, "")
            step = engine.take()
            ticks += step.ticks
            fits += [fit.offset_dbm for fit in step.calibrations]
    return ticks, fits


@pytest.mark.usefixtures("telling")
async def test_a_calibration_takes_effect_in_its_place(rig: Rig) -> None:
    """Ticks closed before the announcement have the old one, those after it the new one."""
    batches = rounds(1, 20)
    await rig.append(batches[: 5 * GATEWAYS])
    await rig.write(-50.0)
    await rig.append(batches[5 * GATEWAYS : 12 * GATEWAYS])
    async with rig.worker():
        await rig.processed(12 * GATEWAYS)
        await rig.write(-40.0)
        await rig.append(batches[12 * GATEWAYS :])
        await rig.processed(20 * GATEWAYS)
        await rig.uses("2")
    ticks = await rig.stored()
    # The worker started when the first version was current already.
    assert offsets(ticks) == [-50.0] * 12 + [-40.0] * 8


@pytest.mark.usefixtures("telling")
async def test_a_running_worker_takes_the_first_version(rig: Rig) -> None:
    """From the prior to 1, in the order of the stream, then exactly as a replay of it."""
    batches = rounds(1, 20)
    async with rig.worker():
        await rig.append(batches[: 5 * GATEWAYS])
        await rig.processed(5 * GATEWAYS)
        await rig.write(-50.0)
        await rig.append(batches[5 * GATEWAYS : 8 * GATEWAYS])
        await rig.write(-45.0)
        await rig.append(batches[8 * GATEWAYS :])
        await rig.processed(20 * GATEWAYS)
    ticks = await rig.stored()
    assert offsets(ticks) == [PRIOR] * 5 + [-50.0] * 3 + [-45.0] * 12
    replayed, _ = offline(
        [
            batches[: 5 * GATEWAYS],
            (1, -50.0),
            batches[5 * GATEWAYS : 8 * GATEWAYS],
            (2, -45.0),
            batches[8 * GATEWAYS :],
        ]
    )
    assert [pack(tick) for tick in ticks] == [pack(tick) for tick in replayed]


@pytest.mark.usefixtures("telling")
async def test_announcements_out_of_order_or_repeated_change_nothing(rig: Rig) -> None:
    """Two writers may announce the other way round; the newer version stays."""
    batches = rounds(1, 12)
    async with rig.worker():
        await rig.append(batches[: 4 * GATEWAYS])
        await rig.processed(4 * GATEWAYS)
        for offset_dbm in (-50.0, -45.0):
            await rig.write(offset_dbm)
        for number in (2, 1, 2):
            await rig.calibrations.announce(0, number)
        await rig.append(batches[4 * GATEWAYS :])
        await rig.processed(12 * GATEWAYS)
    assert offsets(await rig.stored()) == [PRIOR] * 4 + [-45.0] * 8
    stream = rig.store.keys.partition(0).readings
    assert (await rig.store.link.call("XPENDING", stream, "workers"))[0] == 0
    assert await rig.store.refusals() == {}


@pytest.mark.usefixtures("telling")
async def test_the_next_worker_goes_on_with_the_version_in_use(rig: Rig) -> None:
    """Not with the one that was written meanwhile, until its announcement is read."""
    batches = rounds(1, 12)
    await rig.write(-50.0)
    async with rig.worker("a"):
        await rig.append(batches[: 4 * GATEWAYS])
        await rig.processed(4 * GATEWAYS)
    await rig.append(batches[4 * GATEWAYS : 8 * GATEWAYS])
    await rig.write(-45.0)
    await rig.append(batches[8 * GATEWAYS :])
    async with rig.worker("b"):
        await rig.processed(12 * GATEWAYS)
    assert offsets(await rig.stored()) == [-50.0] * 8 + [-45.0] * 4


@pytest.mark.usefixtures("telling")
async def test_an_unannounced_calibration_is_announced(wide_rig: Rig) -> None:
    """A writer that died between the document and its announcements leaves no one behind."""
    async with wide_rig.worker():
        await wide_rig.uses("0", 2)
        await wide_rig.write(-50.0)
        for p in range(3):
            await wide_rig.uses("1", p)
        key = wide_rig.store.keys.calibration
        document = encode_calibration(told(-40.0))
        await wide_rig.store.link.call("HSET", key, "last", 2, "2", document)
        for p in range(3):
            await wide_rig.uses("2", p)


@pytest.mark.usefixtures("telling")
@pytest.mark.parametrize(
    "fields",
    [
        ("c", b""),
        ("c", b"one"),
        ("c", b"999"),
        ("c", b"-1"),
        ("c", b"9" * 5_000),
        ("s", b"9" * 5_000),
    ],
    ids=["empty", "word", "unknown", "negative", "long", "long-site"],
)
async def test_a_bad_announcement_is_left_out_and_counted(
    rig: Rig, fields: tuple[str, bytes]
) -> None:
    """It stops no worker and changes no model."""
    batches = rounds(1, 6)
    stream = rig.store.keys.partition(0).readings
    await rig.append(batches[: 2 * GATEWAYS])
    await rig.store.link.call("XADD", stream, "*", *fields)
    await rig.append(batches[2 * GATEWAYS :])
    async with rig.worker():
        await rig.processed(6 * GATEWAYS)
    assert offsets(await rig.stored()) == [PRIOR] * 6
    assert await rig.store.refusals() == {("?", "entry"): 1}


@pytest.mark.usefixtures("telling")
async def test_a_version_that_cannot_be_read_stops_nothing(rig: Rig) -> None:
    """One that another program wrote is left out; one that is gone at a restart is the prior."""
    batches = rounds(1, 8)
    key = rig.store.keys.calibration
    await rig.write(-50.0)
    async with rig.worker("a"):
        await rig.append(batches[: 2 * GATEWAYS])
        await rig.processed(2 * GATEWAYS)
        await rig.store.link.call("HSET", key, "last", 2, "2", b'{"v": 2}')
        await rig.calibrations.announce(0, 2)
        await rig.append(batches[2 * GATEWAYS : 5 * GATEWAYS])
        await rig.processed(5 * GATEWAYS)
    await rig.store.link.call("HDEL", key, "1")
    async with rig.worker("b"):
        await rig.append(batches[5 * GATEWAYS :])
        await rig.processed(8 * GATEWAYS)
    assert offsets(await rig.stored()) == [-50.0] * 5 + [PRIOR] * 3


@pytest.mark.usefixtures("fitting")
async def test_what_the_engine_fits_is_kept_and_goes_on(rig: Rig) -> None:
    """Each fit is a version; restarts neither repeat nor forget one."""
    batches = rounds(1, 45)
    for name, last in (("a", 15), ("b", 20), ("c", 45)):
        async with rig.worker(name):
            first = {"a": 0, "b": 15, "c": 20}[name]
            await rig.append(batches[first * GATEWAYS : last * GATEWAYS])
            await rig.processed(last * GATEWAYS)
    ticks, fits = offline([batches])
    assert [fit.offset_dbm for fit in await rig.fits()] == fits == [-71.0, -72.0, -73.0, -74.0]
    assert (await rig.fits())[0] == own_fit("depot", 1, T0 + 5.0)
    assert [pack(tick) for tick in await rig.stored()] == [pack(tick) for tick in ticks]
    assert await rig.calibrations.in_use() == [VersionId(4, 0)]
    assert await rig.calibrations.current() == 0


@pytest.mark.usefixtures("fitting")
@pytest.mark.parametrize("took_effect", [False, True], ids=["unsent", "unanswered"])
async def test_a_crash_neither_loses_nor_doubles_a_fit(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, took_effect: bool
) -> None:
    """Killed before a commit or between it and its answer, every second time."""
    batches = rounds(1, 45)
    await rig.append(batches[: 22 * GATEWAYS])
    await rig.write(-50.0)
    await rig.append(batches[22 * GATEWAYS :])
    monkeypatch.setattr("stream.holding.READ_COUNT", 13)
    monkeypatch.setattr("stream.holding.COMMIT_EVERY_S", 0.0)
    store = Store(rig.store.url, "depot")
    await store.refresh()
    lease = Lease(rig.store.link, store.keys.partition(0), "w", "1")
    await lease.take()
    commit, calls = lease.commit, 0

    async def losing(*args: object) -> None:
        nonlocal calls
        calls += 1
        if calls % 2 == 0 and not took_effect:
            raise StoreDown("killed before it was sent")
        await commit(*args)  # type: ignore[arg-type]  # passed on as they came
        if calls % 2 == 0:
            raise StoreDown("killed before the answer")

    monkeypatch.setattr(lease, "commit", losing)
    monkeypatch.setattr("stream.holding._FIRST_RETRY_S", 0.0)
    task = asyncio.create_task(Holding(store, rig.store.link, lease, 0).serve())
    await rig.processed(45 * GATEWAYS)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await store.close()
    assert calls > 20
    # It began with version 1, which was current before its first commit.
    ticks, fits = offline([(1, -50.0), batches])
    assert [fit.offset_dbm for fit in await rig.fits()] == fits
    assert len(fits) == 4
    assert [pack(tick) for tick in await rig.stored()] == [pack(tick) for tick in ticks]


@pytest.mark.usefixtures("fitting")
async def test_going_back_drops_what_was_fitted_since(rig: Rig) -> None:
    """A rollback reaches the worker like any version; the fit stays in the list."""
    batches = rounds(1, 18)
    async with rig.worker():
        await rig.write(-50.0)
        await rig.append(batches[: 13 * GATEWAYS])
        await rig.processed(13 * GATEWAYS)
        await rig.uses("0.1")
        back = await rig.calibrations.roll_back(VersionId(1), 1, t=T0, by="ann")
        await rig.append(batches[13 * GATEWAYS :])
        await rig.processed(18 * GATEWAYS)
        await rig.uses("2")
    assert back.about.note == "back to 1"
    assert offsets(await rig.stored()) == [-50.0] * 10 + [-71.0] * 3 + [-50.0] * 5
    assert [str(v.id) for v in await rig.calibrations.listed()] == ["2", "1", "0.1"]


@pytest.mark.usefixtures("fitting")
async def test_an_engine_that_begins_anew_takes_the_sites_version(rig: Rig) -> None:
    """After an upgrade that cannot read the old state: fits are kept, and not in use."""
    batches = rounds(1, 24)
    await rig.write(-50.0)
    async with rig.worker("a"):
        await rig.append(batches[: 12 * GATEWAYS])
        await rig.processed(12 * GATEWAYS)
        await rig.uses("0.1")
    state = msgspec.msgpack.encode([b"another format", 0, None, 0, 0])
    await rig.store.link.call("SET", rig.store.keys.partition(0).state, state)
    async with rig.worker("b"):
        await rig.uses("1")
        await rig.append(batches[12 * GATEWAYS :])

        async def goes_on() -> bool:
            return len(await rig.stored()) == 24

        await until_async(goes_on, "the later ticks are located")
        await rig.uses("0.2")
    assert offsets(await rig.stored()) == [-50.0] * 10 + [-71.0] * 2 + [-50.0] * 10 + [-71.0] * 2


@pytest.mark.usefixtures("fitting")
async def test_each_partition_fits_for_itself(wide_rig: Rig) -> None:
    """Rows of their own, under one site's version that reaches all."""
    async with wide_rig.worker():
        await wide_rig.write(-50.0)
        for p, last in enumerate((12, 22, 5)):
            await wide_rig.append(rounds(1, last), p)

        async def all_there() -> bool:
            taken = [summary.batches for summary in await wide_rig.store.summaries()]
            return taken == [12 * GATEWAYS, 22 * GATEWAYS, 5 * GATEWAYS]

        await until_async(all_there, "every partition has its batches")
        used = [str(version) for version in await wide_rig.calibrations.in_use()]
        assert used == ["0.1", "1.2", "1"]
        listed = [str(version.id) for version in await wide_rig.calibrations.listed()]
        assert listed == ["1", "0.1", "1.2", "1.1"]
        made = await wide_rig.calibrations.roll_back(VersionId(1, 1), 1, t=T0, by="ann")
        for p in range(3):
            await wide_rig.uses(str(made.id), p)
