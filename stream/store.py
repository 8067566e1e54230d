"""The store as the rest of the house sees it: the site, the fixes, the counts.

What a worker changes in a partition is in `stream.lease`, what ingest writes in `stream.intake`;
both are reached from here. Keys are in `stream.keys`, the wire in `stream.connection`.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from gateway.status import Status
from stream.connection import (
    MAX_BLOCK_MS,
    Command,
    Connection,
    Script,
    StoreDown,
    StoreError,
    StoreGone,
)
from stream.events import Event, decode_event
from stream.fixes import TickFixes, unpack
from stream.keys import SiteKeys
from stream.partition import MAX_PARTITIONS
from stream.site import Site, SiteError, encode_site, parse_site
from stream.summary import Summary, decode_summary

__all__ = [
    "GatewayRecord",
    "IngestHealth",
    "SiteAbsent",
    "Snapshot",
    "StaleSite",
    "Store",
    "StoreDown",
    "StoreError",
    "StoreGone",
]

GROUP: Final = "workers"
"""The consumer group of every readings stream."""

KEPT_VERSIONS: Final = 20
"""Site documents kept, so that fixes of the last minutes can be read with their own version."""

_READ_TRIES: Final = 3
_PUBLISH: Final = Script("publish_site")


class StaleSite(StoreError):  # noqa: N818  # a state of the site, named as one
    """The site was changed by someone else since it was read.

    Attributes:
        current: the version that is current now.
    """

    def __init__(self, site_id: str, expected: int, current: int) -> None:
        super().__init__(
            f"the site `{site_id}` is at version {current}, not {expected}; "
            "read it again and repeat the change"
        )
        self.current: Final = current


class SiteAbsent(StoreError):  # noqa: N818  # a state of the store, named as one
    """The store does not hold the site, or not in the version asked for."""


class Snapshot(NamedTuple):
    """A partition's committed state and the id of its last stored tick, of one moment."""

    state: bytes | None
    last_fix_id: str


class GatewayRecord(msgspec.Struct, frozen=True):
    """A gateway's last word about itself.

    Attributes:
        status: what it said.
        received: when ingest received it, Unix seconds by ingest's clock.
    """

    status: Status
    received: float


class IngestHealth(msgspec.Struct, frozen=True):
    """What ingest says of itself every second; absent from the store when it is dead.

    Attributes:
        t: when it was said, Unix seconds.
        started: when this ingest started.
        messages: taken from the broker since then, refused ones included.
        readings: stored since then.
        refused: messages refused since then.
        rate: readings a second over the last interval.
        waiting: messages in hand that the store does not have yet.
        lag: the longest a message waited here over the last interval, seconds.
        held_back: whether it makes the broker wait because the workers are too far behind.
        connected: whether the broker is connected.
    """

    t: float
    started: float
    messages: int = 0
    readings: int = 0
    refused: int = 0
    rate: float = 0.0
    waiting: int = 0
    lag: float = 0.0
    held_back: bool = False
    connected: bool = False


_decode_record: Final = msgspec.json.Decoder(GatewayRecord).decode
_decode_health: Final = msgspec.json.Decoder(IngestHealth).decode


class Store:
    """One site in a Redis or Valkey server.

    Attributes:
        site_id: the site.
        partitions: how many it has; 0 until the site is imported.
    """

    def __init__(self, url: str, site_id: str) -> None:
        self.site_id: Final = site_id
        self.url: Final = url
        self.keys: Final = SiteKeys(site_id)
        self.partitions = 0
        # Reading again after a lost connection is harmless; everything here may be repeated.
        self.link: Final = Connection(url, retries=_READ_TRIES)

    @classmethod
    async def connect(cls, url: str, site_id: str) -> Store:
        """Opens the store and learns the site's partitions.

        Raises:
            StoreError: the address is wrong, or the server does not answer.
        """
        store = cls(url, site_id)
        try:
            await store.refresh()
        except StoreError:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        """Closes the connections."""
        await self.link.close()

    async def refresh(self) -> int:
        """Reads how many partitions the site has; 0 when it is not imported."""
        self.partitions = int(await self.link.call("GET", self.keys.partitions) or 0)
        return self.partitions

    # -- the site ------------------------------------------------------------------------------

    async def import_site(self, site: Site, partitions: int = 1) -> int:
        """Makes a document from a file the site's current version.

        A document that is current already, or that was the last one imported, changes nothing:
        starting again with the same file does not undo what was edited since.

        Returns:
            The current version.

        Raises:
            StoreError: the partitions differ from those of the first import.
        """
        if not 1 <= partitions <= MAX_PARTITIONS:
            raise StoreError(f"{partitions} partitions; 1 to {MAX_PARTITIONS} are expected")
        document = encode_site(site)
        digest = sha256(document).hexdigest()
        while True:
            fixed = await self.refresh()
            if fixed not in (0, partitions):
                raise StoreError(
                    f"the site `{self.site_id}` has had {fixed} partitions since its first import "
                    f"and cannot be given {partitions}; use {fixed}, or import it under another id"
                )
            version = await self.site_version()
            if version:
                current, imported = await self.link.transaction(
                    [("GET", self.keys.document(version)), ("GET", self.keys.imported)]
                )
                if document == current or (imported or b"").decode() == digest:
                    await self._ready()
                    return version
            published, now = await self._publish(document, version, str(partitions), digest)
            if published:
                await self.refresh()
                await self._ready()
                await self._announce(now)
                return now

    async def site_version(self) -> int:
        """The current version's number, 0 when the site is not imported."""
        return int(await self.link.call("GET", self.keys.site) or 0)

    async def read_site(self, version: int | None = None) -> tuple[int, Site]:
        """A version of the site, the current one by default.

        Raises:
            SiteAbsent: the store does not hold it.
            StoreError: it cannot be read.
        """
        number = await self.site_version() if version is None else version
        text = await self.link.call("GET", self.keys.document(number)) if number else None
        if text is None:
            which = "" if version is None else f" version {version} of"
            raise SiteAbsent(
                f"the store does not hold{which} the site `{self.site_id}`; import it with "
                "`balise up --site FILE`"
            )
        try:
            return number, parse_site(text, f"version {number} of the site in the store")
        except SiteError as error:
            raise StoreError(str(error)) from error

    async def write_site(self, site: Site, expected: int) -> int:
        """Makes an edited document the next version and announces it to every partition.

        Args:
            site: the whole document, checked.
            expected: the version it was edited from.

        Returns:
            The new version; `expected` when the document is the same.

        Raises:
            StaleSite: the current version is another.
        """
        document = encode_site(site)
        if expected and document == await self.link.call("GET", self.keys.document(expected)):
            current = await self.site_version()
        else:
            published, current = await self._publish(document, expected, "", "")
            if published:
                await self.refresh()
                await self._announce(current)
                return current
        if current != expected:
            raise StaleSite(self.site_id, expected, current)
        return current

    async def announce(self, p: int, version: int) -> None:
        """Tells one partition's worker of a site version, in the order of its readings."""
        await self.link.call("XADD", self.keys.partition(p).readings, "*", "s", version)

    async def _publish(
        self, document: bytes, expected: int, partitions: str, digest: str
    ) -> tuple[bool, int]:
        keys = self.keys
        new = expected + 1
        published, current = await self.link.script(
            _PUBLISH,
            [
                keys.site,
                keys.document(new),
                keys.document(new - KEPT_VERSIONS),
                keys.partitions,
                keys.imported,
            ],
            *(expected, new, document, partitions, digest),
        )
        return bool(published), current

    async def _ready(self) -> None:
        """Makes every partition's stream and group, where they are not."""
        for p in range(self.partitions):
            stream = self.keys.partition(p).readings
            try:
                await self.link.call("XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM")
            except StoreDown:
                raise
            except StoreError as error:
                if "BUSYGROUP" not in str(error):
                    raise

    async def _announce(self, version: int) -> None:
        # The first version needs no word: a worker starts with the current one. If this process
        # dies here, the workers notice the new number themselves and announce it.
        if version > 1:
            for p in range(self.partitions):
                await self.announce(p, version)

    # -- fixes ---------------------------------------------------------------------------------

    async def snapshot(self, p: int) -> Snapshot:
        """A partition's committed state with the id of the last tick that is part of it."""
        keys = self.keys.partition(p)
        state, last = await self.link.transaction(
            [("GET", keys.state), ("XREVRANGE", keys.fixes, "+", "-", "COUNT", 1)]
        )
        return Snapshot(state, last[0][0].decode() if last else "0-0")

    async def read_fixes(
        self, after: dict[int, str], block_ms: int
    ) -> list[tuple[int, str, TickFixes]]:
        """The ticks stored after the given ids: (partition, id, fixes), in order of partition.

        Args:
            after: the last id seen, by partition; `0-0` from the beginning.
            block_ms: how long to wait when there is none, at most 2,000.
        """
        if not after:
            return []
        streams = {self.keys.partition(p).fixes.encode(): p for p in after}
        # BLOCK 0 would wait for ever.
        block = max(1, min(block_ms, MAX_BLOCK_MS))
        words: Command = ("XREAD", "COUNT", 100, "BLOCK", block, "STREAMS")
        reply = await self.link.call(*words, *streams, *after.values())
        return [
            (streams[stream], id_.decode(), unpack(fields[1]))
            for stream, entries in reply or ()
            for id_, fields in entries
        ]

    async def fixes_between(self, p: int, t0: float, t1: float) -> list[TickFixes]:
        """A partition's stored ticks that end in [t0, t1], Unix seconds.

        No more than the last five minutes are kept.
        """
        entries = await self.link.call(
            *("XRANGE", self.keys.partition(p).fixes, tick_ms(t0), tick_ms(t1))
        )
        return [unpack(fields[1]) for _, fields in entries]

    async def events(self, p: int, after: str = "0-0") -> list[tuple[str, Event]]:
        """A partition's stored events after an id, oldest first."""
        entries = await self.link.call("XRANGE", self.keys.partition(p).events, f"({after}", "+")
        return [(id_.decode(), decode_event(fields[1])) for id_, fields in entries]

    # -- counts --------------------------------------------------------------------------------

    async def summaries(self) -> list[Summary]:
        """What each partition's worker said at its last commit, in order of partition."""
        commands: list[Command] = [
            ("GET", self.keys.partition(p).summary) for p in range(self.partitions)
        ]
        replies = await self._all(commands)
        return [Summary() if text is None else decode_summary(text) for text in replies]

    async def backlogs(self) -> list[int]:
        """Entries in each partition's readings stream (a short acknowledged tail included)."""
        commands: list[Command] = [
            ("XLEN", self.keys.partition(p).readings) for p in range(self.partitions)
        ]
        return [int(length or 0) for length in await self._all(commands)]

    async def gateway_statuses(self) -> dict[str, GatewayRecord]:
        """The last status of every gateway that ever sent one, by id."""
        fields = await self.link.call("HGETALL", self.keys.gateways)
        pairs = zip(fields[::2], fields[1::2], strict=True)
        return {name.decode(): _decode_record(text) for name, text in pairs}

    async def refusals(self) -> dict[tuple[str, str], int]:
        """How many messages ingest refused, by (gateway or `?`, reason)."""
        fields = await self.link.call("HGETALL", self.keys.refused)
        counts: dict[tuple[str, str], int] = {}
        for name, count in zip(fields[::2], fields[1::2], strict=True):
            gateway, _, reason = name.decode().rpartition(" ")
            counts[gateway, reason] = int(count)
        return counts

    async def ingest_health(self) -> IngestHealth | None:
        """Ingest's last word about itself; None when it has been silent for seconds."""
        text = await self.link.call("GET", self.keys.ingest)
        return None if text is None else _decode_health(text)

    async def workers(self) -> list[str]:
        """The names of the workers that registered lately."""
        return [name.decode() for name in await self.link.call("ZRANGE", self.keys.workers, 0, -1)]

    async def holders(self) -> list[str]:
        """The worker that holds each partition; empty where none does."""
        commands: list[Command] = [
            ("GET", self.keys.partition(p).lease) for p in range(self.partitions)
        ]
        return [(text or b"").decode().partition(" ")[0] for text in await self._all(commands)]

    async def _all(self, commands: list[Command]) -> list[bytes | None]:
        replies: list[bytes | None] = []
        for reply in await self.link.pipeline(commands):
            if isinstance(reply, StoreError):
                raise reply
            replies.append(reply)
        return replies


def tick_ms(t: float) -> int:
    """A tick's end in milliseconds: its fixes' id in the store."""
    return round(t * 1_000)
