"""A worker's hold on one partition: every change of a partition goes through here.

Each is one script on one slot that first compares the epoch, the fencing token: a worker that
was frozen and replaced can neither write nor take entries away from its successor.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from stream.calibration_store import KEPT_CALIBRATIONS, KEPT_OWN_BYTES, OwnFit
from stream.connection import Connection, Script, StoreError, Value
from stream.events import Event, encode_event
from stream.fixes import TickFixes, pack
from stream.keys import PartitionKeys
from stream.store import GROUP, tick_ms

# A worker is replaced this long after its last renewal: longer than any pause of a healthy one,
# short enough that the map stands still for seconds only.
LEASE_MS: Final = 3_000
# Fixes kept for readers: the recent tracks on the page. In event time, ms.
KEPT_FIXES_MS: Final = 300_000
KEPT_EVENTS: Final = 10_000
# Acknowledged readings kept for `balise record`, which follows behind: five minutes of a site
# with fifty gateways, and never more than about 100 MB.
KEPT_READINGS_MS: Final = 300_000
KEPT_READINGS: Final = 16_000
# One consumer: whoever holds the lease. Entries that a dead worker had read are thus the next
# one's own pending entries.
CONSUMER: Final = "holder"

_TAKE: Final = Script("take")
_RENEW: Final = Script("renew")
_RELEASE: Final = Script("release")
_READ: Final = Script("read")
_COMMIT: Final = Script("keep", "commit")


class StaleEpoch(StoreError):  # noqa: N818  # a state of the lease, named as one
    """Another worker holds the partition."""


class StepMismatch(StoreError):  # noqa: N818  # a state of the partition, named as one
    """The store is not where this worker thinks it is: it must load the partition again."""


class Entry(NamedTuple):
    """One entry of a readings stream.

    Attributes:
        id: its id in the stream.
        kind: `b` a batch, `s` a site version, `c` a calibration, empty when the entry is none of
            them or was deleted.
        value: the batch in MessagePack, or the version's digits.
    """

    id: str
    kind: str
    value: bytes


class Loaded(NamedTuple):
    """What a partition's holder starts from.

    Attributes:
        state: the engine's state, None before the first commit.
        step: the number of the last commit, 0 before the first.
        last_read: the last entry that was ever read by a holder.
        last_tick_ms: the end of the last stored tick in ms, 0 when there is none.
    """

    state: bytes | None
    step: int
    last_read: str
    last_tick_ms: int


class Lease:
    """One partition, for one worker.

    Args:
        link: a connection without retries: a lost answer must be seen.
        keys: the partition's.
        name: the worker's; it stays the same over restarts.
        instance: differs with every process of that name.

    Attributes:
        epoch: 0 while not held.
        holder: the name of who held it when `take` failed, else empty.
    """

    def __init__(self, link: Connection, keys: PartitionKeys, name: str, instance: str) -> None:
        self.keys: Final = keys
        self.epoch = 0
        self.holder = ""
        self._link: Final = link
        self._name: Final = name
        self._instance: Final = instance

    async def take(self, *, from_namesake: bool = False) -> bool:
        """Takes the lease if it is free or ours; makes the stream and its group if they are gone.

        Args:
            from_namesake: take it from another process of our name too. Right for a process
                that has just started, because then the other one is dead.
        """
        keys = self.keys
        epoch, holder = await self._link.script(
            _TAKE,
            [keys.lease, keys.epoch, keys.readings],
            *(self._name, self._instance, LEASE_MS, int(from_namesake), GROUP),
        )
        self.epoch = epoch
        self.holder = "" if epoch else holder.decode().partition(" ")[0]
        return bool(epoch)

    async def renew(self) -> None:
        """Holds on to the lease.

        Raises:
            StaleEpoch: another took it.
        """
        keys = self.keys
        renewed = await self._link.script(
            _RENEW,
            [keys.lease, keys.epoch],
            *(self._name, self._instance, LEASE_MS, self.epoch),
        )
        if not renewed:
            raise self._stale()

    async def release(self) -> None:
        """Gives the lease back; harmless when it is another's."""
        keys = self.keys
        await self._link.script(_RELEASE, [keys.lease, keys.epoch], self.epoch)
        self.epoch = 0

    async def load(self) -> Loaded:
        """What the last commit left; nobody but the holder can change it."""
        state, step, groups, newest = await self._link.transaction(
            [
                ("GET", self.keys.state),
                ("GET", self.keys.step),
                ("XINFO", "GROUPS", self.keys.readings),
                ("XREVRANGE", self.keys.fixes, "+", "-", "COUNT", 1),
            ]
        )
        for reply in (state, step, groups, newest):
            if isinstance(reply, StoreError):
                raise reply
        last = "0-0"
        for group in groups:
            facts: dict[bytes, Any] = dict(zip(group[::2], group[1::2], strict=True))
            if facts[b"name"] == GROUP.encode():
                last = facts[b"last-delivered-id"].decode()
        last_tick = int(newest[0][0].partition(b"-")[0]) if newest else 0
        return Loaded(state, int(step or 0), last, last_tick)

    async def read_pending(self, after: str, count: int) -> list[Entry]:
        """Entries that were read and not acknowledged, after an id (`0-0` for the first).

        Raises:
            StaleEpoch: another holds the partition.
        """
        return await self._read(after, count)

    async def read_new(self, count: int) -> list[Entry]:
        """Entries that no holder has read, without waiting.

        Raises:
            StaleEpoch: another holds the partition.
        """
        return await self._read(">", count)

    async def commit(
        self,
        step: int,
        state: bytes,
        summary: bytes,
        ticks: Sequence[TickFixes],
        events: Sequence[Event],
        done: Sequence[str],
        last_read: str,
        calibration: int = 0,
        fits: Sequence[OwnFit] = (),
        is_new: bool = False,
    ) -> None:
        """Makes a step final: state, fixes, events, fits, acknowledgements; all or nothing.

        Args:
            step: its number, one above the last commit's.
            state: the engine's, after the step.
            summary: in JSON.
            ticks: ascending.
            events: in order.
            done: ids of the entries that need not be read again.
            last_read: the last id this holder has read.
            calibration: the site's version that the engine took last.
            fits: what the engine fitted and took into use itself, in order.
            is_new: whether the engine has just been made, and uses no earlier fit.

        Raises:
            StaleEpoch: another holds the partition.
            StepMismatch: the store holds another step, or has a tick already.
            ValueError: the ticks do not ascend.
        """
        ids = [tick_ms(tick.t) for tick in ticks]
        if any(before >= after for before, after in pairwise(ids)):
            raise ValueError("ticks must ascend")
        keys = self.keys
        fixes: list[Value] = []
        for id_, tick in zip(ids, ticks, strict=True):
            fixes += (id_, pack(tick))
        reply = await self._link.script(
            _COMMIT,
            [
                *(keys.epoch, keys.step, keys.state, keys.summary),
                *(keys.readings, keys.fixes, keys.events, keys.calibration),
            ],
            *(self.epoch, step, state, summary, GROUP),
            max(0, ids[-1] - KEPT_FIXES_MS) if ids else "",
            *(KEPT_EVENTS, last_read, KEPT_READINGS_MS, KEPT_READINGS),
            *(calibration, KEPT_CALIBRATIONS, KEPT_OWN_BYTES, int(is_new)),
            len(ticks),
            *fixes,
            len(events),
            *map(encode_event, events),
            len(done),
            *done,
            len(fits),
            *(part for fit in fits for part in fit.stored()),
        )
        match reply:
            case [b"ok"]:
                return
            case [b"epoch", _]:
                raise self._stale()
            case [b"step", stored]:
                raise StepMismatch(
                    f"{keys.state} is at step {int(stored)}; step {step} does not follow"
                )
            case [b"tick", id_]:
                raise StepMismatch(f"{keys.fixes} already holds a tick at or after {id_.decode()}")
            case _:
                raise StoreError(f"the store answered a commit with {reply!r}")

    async def _read(self, start: str, count: int) -> list[Entry]:
        keys = self.keys
        reply = await self._link.script(
            _READ, [keys.epoch, keys.readings], self.epoch, GROUP, CONSUMER, count, start
        )
        if reply == 0:
            raise self._stale()
        return [_entry(id_, fields) for id_, fields in reply]

    def _stale(self) -> StaleEpoch:
        return StaleEpoch(f"another worker took {self.keys.lease}")


def _entry(id_: bytes, fields: list[bytes] | None) -> Entry:
    if fields is not None and len(fields) == 2 and fields[0] in (b"b", b"s", b"c"):
        return Entry(id_.decode(), fields[0].decode(), fields[1])
    return Entry(id_.decode(), "", b"")
