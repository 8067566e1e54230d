"""A worker: takes its fair share of a site's partitions by lease, and serves each.

The rule: who holds what is decided by the store's leases alone. Workers never talk to each
other; each says that it lives, counts who else does, and takes or gives back partitions one by
one until every worker has its share.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Final, NamedTuple

from gateway.errors import UserError
from gateway.readings import is_name
from stream.calibration_store import Calibrations
from stream.connection import Connection, Script, StoreError
from stream.holding import Holding
from stream.lease import LEASE_MS, Lease, StaleEpoch
from stream.store import Store

_log: Final = logging.getLogger(__name__)

# Three renewals within a lease: one may be lost, and one be late.
ROUND_S: Final = LEASE_MS / 4 / 1_000
# Rounds after which a version that a partition was not told of is announced to it.
HEAL_ROUNDS: Final = 4
_REGISTER: Final = Script("register")


class WorkerNameError(UserError, ValueError):
    """A name that a worker cannot have."""


class _Held(NamedTuple):
    holding: Holding
    task: asyncio.Task[None]


class Worker:
    """One worker process.

    Args:
        store: connected; the site may still be missing.
        name: stays the same over restarts, so that a restarted worker takes over at once; no
            two workers that run at the same time may share it.

    Raises:
        WorkerNameError: the name is unfit.
    """

    def __init__(self, store: Store, name: str) -> None:
        if not is_name(name):
            raise WorkerNameError(
                f"the worker's name `{name}` must be printable, at most 64 characters, without "
                "blanks or any of / + #"
            )
        self._store: Final = store
        self._name: Final = name
        self._instance: Final = secrets.token_hex(8)
        self._link: Final = Connection(store.url)
        self._held: Final[dict[int, _Held]] = {}
        # Partitions that this process has tried to take: the first time it may take them from
        # its namesake, which is dead; later a namesake is a second worker by mistake.
        self._tried: Final[set[int]] = set()
        self._trouble = ""
        self._calibrations: Final = Calibrations(store)
        self._behind: Final[dict[tuple[int, str], int]] = {}

    async def run(self) -> None:
        """Serves until cancelled; then gives back what it holds."""
        try:
            while True:
                try:
                    await self._round()
                    self._say("")
                except StoreError as error:
                    self._say(str(error))
                await asyncio.sleep(ROUND_S)
        finally:
            await self._leave()

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            _log.warning("%s; waiting", trouble)
        elif self._trouble and not trouble:
            _log.info("the store is there again")
        self._trouble = trouble

    async def _round(self) -> None:
        """Renews, gives back, takes."""
        names = await self._link.script(_REGISTER, [self._store.keys.workers], self._name, LEASE_MS)
        partitions = await self._store.refresh()
        await self._renew()
        share = -(-partitions // max(1, len(names)))
        for p in sorted(self._held, reverse=True)[: max(0, len(self._held) - share)]:
            _log.info("giving partition %d to one of %d workers", p, len(names))
            await self._give_back(p)
        for p in range(partitions):
            if len(self._held) >= share:
                break
            if p not in self._held:
                await self._take(p)
        await self._heal_announcements()

    async def _renew(self) -> None:
        for p, (holding, task) in list(self._held.items()):
            if task.done():
                del self._held[p]
                self._explain(p, task)
                continue
            try:
                await holding.lease.renew()
            except StaleEpoch:
                task.cancel()
                await asyncio.wait([task])
                del self._held[p]
                _log.warning("partition %d was taken by another worker", p)

    def _explain(self, p: int, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, StaleEpoch):
            _log.warning("partition %d was taken by another worker", p)
        elif error is not None:
            _log.error("partition %d: a fault of ours: %r; taking it again", p, error)
            _log.debug("where it came from", exc_info=error)

    async def _take(self, p: int) -> None:
        lease = Lease(self._link, self._store.keys.partition(p), self._name, self._instance)
        first = p not in self._tried
        if not await lease.take(from_namesake=first):
            self._tried.add(p)
            if lease.holder == self._name:
                self._say(f"another process is the worker `{self._name}`; give each its own --name")
            return
        self._tried.add(p)
        holding = Holding(self._store, self._link, lease, p)
        self._held[p] = _Held(holding, asyncio.create_task(holding.serve()))
        _log.info("holding partition %d, epoch %d", p, lease.epoch)

    async def _give_back(self, p: int) -> None:
        holding, task = self._held.pop(p)
        task.cancel()
        await asyncio.wait([task])
        await holding.lease.release()

    async def _heal_announcements(self) -> None:
        """Announces a site version or calibration whose writer died before it could.

        Only after some rounds, so that a writer who lives is left alone; twice does no harm.
        """
        version = await self._store.site_version()
        calibration = await self._calibrations.current()
        for p, (holding, _) in self._held.items():
            loaded = holding.version > 0
            if self._is_overdue(p, "site", loaded and holding.version < version):
                await self._store.announce(p, version)
            if self._is_overdue(p, "calibration", loaded and holding.calibration < calibration):
                await self._calibrations.announce(p, calibration)

    def _is_overdue(self, p: int, what: str, behind: bool) -> bool:
        """Whether a partition has been behind for so many rounds; counts them."""
        rounds = self._behind.get((p, what), 0) + 1 if behind else 0
        overdue = rounds == HEAL_ROUNDS
        self._behind[p, what] = 0 if overdue else rounds
        return overdue

    async def _leave(self) -> None:
        try:
            for p in list(self._held):
                await self._give_back(p)
            await self._link.call("ZREM", self._store.keys.workers, self._name)
        except StoreError as error:
            _log.debug("leaving: %s", error)
        finally:
            for held in self._held.values():
                held.task.cancel()
            await self._link.close()
