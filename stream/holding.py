"""One partition in a worker's hand: entries in, steps committed, nothing kept on doubt.

The rule: the engine in memory is only a guess of what the next commit will make true. Whenever
the store answers something unexpected, or not at all, it is thrown away and loaded again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from gateway.readings import ReadingsError, decode
from stream.admission import NOBODY
from stream.calibration import Calibration
from stream.calibration_store import (
    MAX_DIGITS,
    CalibrationAbsent,
    Calibrations,
    OwnFit,
    VersionId,
)
from stream.connection import Connection, StoreDown, StoreError, StoreGone
from stream.engine import Engine
from stream.events import Event
from stream.fixes import TickFixes
from stream.lease import Entry, Lease, StaleEpoch
from stream.state import EngineError, stored_calibration, stored_version
from stream.store import SiteAbsent, Store, tick_ms
from stream.summary import encode_summary

_log: Final = logging.getLogger(__name__)

# Entries of one read: below Lua's unpack limit by far, and a fraction of a second's work.
READ_COUNT: Final = 300
# The doorbell: how long to wait for an entry before asking again.
BLOCK_MS: Final = 1_000
# All gateways of a site send at once; what comes within this time is read in one go.
GATHER_S: Final = 0.003
# While there is a backlog, a step is committed this often: a commit writes the whole state.
COMMIT_EVERY_S: Final = 0.2
COMMIT_EVERY: Final = 4_000
# The loop serves leases in between.
YIELD_EVERY: Final = 20
# An entry on which the engine fails this often is left out.
MAX_FAILURES: Final = 3
_FIRST_RETRY_S: Final = 0.05
_LAST_RETRY_S: Final = 1.0


class _Step(NamedTuple):
    """What has become final since the last commit."""

    ticks: list[TickFixes]
    events: list[Event]
    done: list[str]
    fits: list[OwnFit]


def _nothing() -> _Step:
    return _Step([], [], [], [])


class _FeedError(Exception):
    """The engine failed on an entry."""


class Holding:
    """Serves one partition until it is told to stop or another worker takes over.

    Args:
        store: connected.
        link: without retries, for everything that changes the partition.
        lease: taken.
        number: the partition's.
    """

    def __init__(self, store: Store, link: Connection, lease: Lease, number: int) -> None:
        self.lease: Final = lease
        self._store: Final = store
        self._calibrations: Final = Calibrations(store)
        self._link: Final = link
        self._number: Final = number
        self._engine: Engine | None = None
        self._step = _nothing()
        self._number_of_step = 0
        self._last_read = "0-0"
        self._committed = 0.0
        # An engine that starts afresh may be sent old batches again; the stored ticks stand.
        self._not_before = 0
        self._fed = ""
        self._failures: dict[str, int] = {}

    @property
    def version(self) -> int:
        """The site version in use, 0 while nothing is loaded."""
        return self._engine.version if self._engine else 0

    @property
    def calibration(self) -> int:
        """The site's calibration that was taken last; 0 for none, and while nothing is loaded."""
        return self._engine.calibration_number if self._engine else 0

    async def serve(self) -> None:
        """Reads, feeds and commits for ever.

        Raises:
            StaleEpoch: another worker holds the partition.
        """
        wait = _FIRST_RETRY_S
        trouble = ""
        while True:
            try:
                await self._load()
                if trouble:
                    _log.info("partition %d goes on", self._number)
                wait, trouble = _FIRST_RETRY_S, ""
                await self._drain()
                await self._follow()
            except StaleEpoch:
                raise
            except StoreGone as error:
                _log.warning("%s; making them again", error)
                if not await self._retake():
                    raise StaleEpoch(f"another worker took {self.lease.keys.lease}") from error
            except StoreError as error:
                if str(error) != trouble:
                    trouble = str(error)
                    _log.warning("partition %d: %s; loading it again", self._number, error)
            except _FeedError as error:
                failures = self._failures[self._fed] = self._failures.get(self._fed, 0) + 1
                _log.error(
                    "partition %d: the engine fails on entry %s (%d of %d): %s",
                    *(self._number, self._fed, failures, MAX_FAILURES, error),
                )
                _log.debug("where it came from", exc_info=error.__cause__)
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LAST_RETRY_S)

    async def _retake(self) -> bool:
        try:
            return await self.lease.take()
        except StoreDown:
            return True  # the next load tells

    # -- from the store ------------------------------------------------------------------------

    async def _load(self) -> None:
        loaded = await self.lease.load()
        self._step = _nothing()
        self._number_of_step = loaded.step
        self._last_read = loaded.last_read
        self._not_before = 0
        self._engine = await self._restored(loaded.state) if loaded.state is not None else None
        if self._engine is None:
            self._not_before = loaded.last_tick_ms
            version, site = await self._store.read_site()
            number = await self._calibrations.current()
            self._engine = Engine(
                *(site, version, self._number, self._store.partitions),
                *(await self._calibration(number), number),
            )
            # Which versions the partition begins with must not depend on when it is loaded.
            await self._commit(is_new=True)

    async def _restored(self, state: bytes) -> Engine | None:
        """The engine of a stored state; None when no engine can be made of it."""
        try:
            version, site = await self._store.read_site(stored_version(state))
            calibration = await self._calibration(stored_calibration(state))
            return Engine.restore(
                state, site, version, self._number, self._store.partitions, calibration
            )
        except (EngineError, SiteAbsent) as error:
            _log.error("partition %d starts afresh, without its tracks: %s", self._number, error)
            return None

    async def _calibration(self, number: int) -> Calibration | None:
        """The site's calibration of a number; None, the prior, for 0 and what cannot be read."""
        try:
            return await self._calibrations.read(VersionId(number)) if number else None
        except CalibrationAbsent as error:
            _log.error("partition %d goes on without a calibration: %s", self._number, error)
            return None

    async def _drain(self) -> None:
        """Feeds what was read and not acknowledged, by us or by a holder that died."""
        after = "0-0"
        while entries := await self.lease.read_pending(after, READ_COUNT):
            after = entries[-1].id
            await self._feed(entries)
            await self._commit_when_due(more=len(entries) == READ_COUNT)

    async def _follow(self) -> None:
        """Feeds new entries as they come."""
        while True:
            entries = await self.lease.read_new(READ_COUNT)
            if entries:
                self._last_read = entries[-1].id
                await self._feed(entries)
            more = len(entries) == READ_COUNT
            await self._commit_when_due(more=more)
            if not more:
                await self._doorbell()

    async def _doorbell(self) -> None:
        """Waits for an entry after the last one read, without taking it."""
        rung = await self._link.call(
            *("XREAD", "COUNT", 1, "BLOCK", BLOCK_MS),
            *("STREAMS", self.lease.keys.readings, self._last_read),
        )
        if rung:
            await asyncio.sleep(GATHER_S)

    # -- through the engine --------------------------------------------------------------------

    async def _feed(self, entries: list[Entry]) -> None:
        for number, entry in enumerate(entries):
            if number % YIELD_EVERY == YIELD_EVERY - 1:
                await asyncio.sleep(0)
            self._fed = entry.id
            if self._failures.get(entry.id, 0) >= MAX_FAILURES:
                await self._leave_out(entry, "the engine fails on it")
            elif entry.kind == "b":
                try:
                    batch = decode(entry.value)
                except ReadingsError as error:
                    await self._leave_out(entry, str(error))
                    continue
                self._through_engine(partial(self._present().feed, batch, entry.id))
            elif entry.kind == "s" and _is_number(entry.value):
                await self._change_site(entry, int(entry.value))
            elif entry.kind == "c" and _is_number(entry.value):
                await self._change_calibration(entry, int(entry.value))
            else:
                await self._leave_out(entry, "neither a batch nor the number of a version")

    async def _change_site(self, entry: Entry, number: int) -> None:
        if number <= self._present().version:
            self._step.done.append(entry.id)
            return
        try:
            version, site = await self._store.read_site(number)
        except SiteAbsent as error:
            await self._leave_out(entry, str(error))
            return
        self._through_engine(partial(self._present().change_site, site, version, entry.id))
        _log.info("partition %d: site version %d", self._number, version)

    async def _change_calibration(self, entry: Entry, number: int) -> None:
        if number <= self._present().calibration_number:
            self._step.done.append(entry.id)
            return
        try:
            calibration = await self._calibrations.read(VersionId(number))
        except CalibrationAbsent as error:
            await self._leave_out(entry, str(error))
            return
        change = self._present().change_calibration
        self._through_engine(partial(change, calibration, number, entry.id))
        _log.info("partition %d: calibration %d", self._number, number)

    def _through_engine(self, feed: Callable[[], None]) -> None:
        engine = self._present()
        try:
            feed()
            taken = engine.take()
        except Exception as error:
            # Whatever fault of ours it is, it must not stop the partition for good.
            raise _FeedError(f"{type(error).__name__}: {error}") from error
        self._step.ticks.extend(taken.ticks)
        self._step.events.extend(taken.events)
        self._step.done.extend(taken.done)
        self._step.fits.extend(
            OwnFit(fitted, engine.calibration_number) for fitted in taken.calibrations
        )

    def _present(self) -> Engine:
        if self._engine is None:
            raise RuntimeError("the partition is not loaded")
        return self._engine

    async def _leave_out(self, entry: Entry, reason: str) -> None:
        """Gives up an entry for good: counted, shown, and acknowledged with the next step."""
        _log.error("partition %d: entry %s is left out: %s", self._number, entry.id, reason)
        self._step.done.append(entry.id)
        await self._store.link.call("HINCRBY", self._store.keys.refused, f"{NOBODY} entry", 1)

    # -- into the store ------------------------------------------------------------------------

    async def _commit_when_due(self, *, more: bool) -> None:
        waited = time.monotonic() - self._committed
        if any(self._step) and (
            not more or waited >= COMMIT_EVERY_S or len(self._step.done) >= COMMIT_EVERY
        ):
            await self._commit()

    async def _commit(self, *, is_new: bool = False) -> None:
        engine, step = self._present(), self._step
        try:
            state, summary = engine.dump(), encode_summary(engine.summary())
        except Exception as error:
            raise _FeedError(f"{type(error).__name__}: {error}") from error
        await self.lease.commit(
            self._number_of_step + 1,
            state,
            summary,
            [tick for tick in step.ticks if tick_ms(tick.t) > self._not_before],
            step.events,
            step.done,
            self._last_read,
            engine.calibration_number,
            step.fits,
            is_new,
        )
        self._number_of_step += 1
        self._step = _nothing()
        self._committed = time.monotonic()
        for id_ in step.done:
            self._failures.pop(id_, None)


def _is_number(text: bytes) -> bool:
    return text.isdigit() and len(text) <= MAX_DIGITS
