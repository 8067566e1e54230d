"""A site's calibrations in its store: written, read, listed, announced.

There are two rows of versions. The site's own are written by people and programs and hold for
every partition; each is announced in the streams of readings, so that it takes effect at one
place among them. Those of a partition are what its engine fitted itself: the commit that makes
them true stores them (`stream.lease`), here they are only read. The rule: a version never changes
and history is never rewritten; going back makes a new version of the site.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import msgspec

from gateway.errors import UserError
from stream.calibration import (
    MAX_DOCUMENT_BYTES,
    Calibration,
    CalibrationError,
    Origin,
    encode_calibration,
    parse_calibration,
    prior,
)
from stream.connection import Command, Script, StoreError
from stream.store import SiteAbsent, Store

# Versions of one row that are kept: weeks of daily fits, and the winter before.
KEPT_CALIBRATIONS: Final = 50
# ... and the bytes of their documents, the newest aside. Without a radio map fifty have some
# hundred kilobytes; the largest maps would otherwise fill the store's memory.
KEPT_BYTES: Final = 128 * 1024 * 1024
# The same for what a partition's engine fitted: every partition has a row of its own.
KEPT_OWN_BYTES: Final = 16 * 1024 * 1024
MAX_BY_CHARS: Final = 64
MAX_NOTE_CHARS: Final = 300
# A number of more digits is none that was ever given.
MAX_DIGITS: Final = 9

_ID: Final = re.compile(rf"(?:(\d{{1,{MAX_DIGITS}}})\.)?(\d{{1,{MAX_DIGITS}}})", re.ASCII)
_PUBLISH: Final = Script("keep", "publish_calibration")


class VersionError(UserError, ValueError):
    """What was given as a version, its author or its note is not one."""


class CalibrationAbsent(StoreError):  # noqa: N818  # a state of the store, named as one
    """The store does not hold the version asked for, or not so that it can be read."""


class StaleCalibration(StoreError):  # noqa: N818  # a state of the site, named as one
    """The calibration was changed by someone else since it was read.

    Attributes:
        current: the site's version that is current now.
    """

    def __init__(self, site_id: str, expected: int, current: int) -> None:
        super().__init__(
            f"the calibration of the site `{site_id}` is at version {current}, not {expected}; "
            "read it again and repeat the change"
        )
        self.current: Final = current


class VersionId(NamedTuple):
    """Names one version: `3` is the site's third, `0.12` the twelfth fit of partition 0.

    Attributes:
        number: counted from 1; the site's 0 is the prior.
        partition: None for a version of the site.
    """

    number: int
    partition: int | None = None

    def __str__(self) -> str:
        return str(self.number) if self.partition is None else f"{self.partition}.{self.number}"


def parse_version(text: str) -> VersionId:
    """A version from its name.

    Raises:
        VersionError: it is none.
    """
    found = _ID.fullmatch(text)
    if found is None:
        raise VersionError(
            f"`{text[:40]}` is not a version of a calibration; `3` is one of the site, `0.12` one "
            "that partition 0 fitted itself"
        )
    return VersionId(int(found[2]), None if found[1] is None else int(found[1]))


class About(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is said about a version beside its document.

    Attributes:
        t: when it was made, Unix seconds: by the writer's clock, for a fit in event time.
        by: who or what made it.
        note: why, for people.
        origin: the document's.
        readings: how many readings the document was made from.
        fitted_t: event time up to which it saw readings, Unix seconds; 0 when it does not say.
        size: bytes of the document.
        base: for a fit, the site's version that was in use when it was made.
    """

    t: float
    by: str
    note: str
    origin: Origin
    readings: int
    fitted_t: float
    size: int
    base: int = 0


class Version(NamedTuple):
    """A version that the store keeps, without its document."""

    id: VersionId
    about: About


class OwnFit(NamedTuple):
    """What an engine fitted and took into use by itself.

    Attributes:
        calibration: the document.
        base: the site's version that was in use before.
    """

    calibration: Calibration
    base: int

    def stored(self) -> tuple[bytes, bytes]:
        """What is said about it, and the document, as the store keeps them."""
        document = encode_calibration(self.calibration)
        # Its own time: the same readings must give the same version.
        about = _about(self.calibration, len(document), self.calibration.t, "worker", "", self.base)
        return _encode(about), document


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(About).decode


class Calibrations:
    """The calibrations of the site that a store holds.

    Attributes:
        store: connected, which knows its partitions.
    """

    def __init__(self, store: Store) -> None:
        self.store: Final = store

    async def current(self) -> int:
        """The number of the site's current version, 0 while it is the prior."""
        return int(await self.store.link.call("HGET", self.store.keys.calibration, "last") or 0)

    async def read(self, version: VersionId) -> Calibration:
        """A version's document; the site's version 0 is the prior.

        Raises:
            CalibrationAbsent: the store does not hold it, or another program wrote it.
        """
        if version == VersionId(0):
            return prior(self.store.site_id)
        key, number = self._key(version.partition), version.number
        text = await self.store.link.call("HGET", key, number)
        if text is None:
            raise CalibrationAbsent(
                f"the store does not hold calibration {version} of the site "
                f"`{self.store.site_id}`; of each row the last {KEPT_CALIBRATIONS} are kept"
            )
        try:
            return parse_calibration(text, f"calibration {version} in the store")
        except CalibrationError as error:
            raise CalibrationAbsent(str(error)) from error

    async def write(
        self, calibration: Calibration, expected: int, *, t: float, by: str, note: str = ""
    ) -> Version:
        """Makes a document the site's next version and announces it to every partition.

        A document that is current already becomes a version again: the partitions drop what they
        fitted since.

        Args:
            calibration: checked, of this site.
            expected: the site's version it is to follow.
            t: now, Unix seconds.
            by: who or what writes it.
            note: why, for people.

        Raises:
            CalibrationError: it is another site's, or too large.
            VersionError: `by` or `note` is unfit.
            StaleCalibration: the site's current version is another.
            SiteAbsent: the store does not hold the site.
        """
        _check_text("by", by, 1, MAX_BY_CHARS)
        _check_text("note", note, 0, MAX_NOTE_CHARS)
        return await self._write(calibration, expected, t, by, note)

    async def _write(
        self, calibration: Calibration, expected: int, t: float, by: str, note: str
    ) -> Version:
        store = self.store
        check_site_of(calibration, store.site_id)
        document = encode_calibration(calibration)
        if len(document) > MAX_DOCUMENT_BYTES:
            raise CalibrationError(
                f"the calibration has {len(document)} bytes; at most {MAX_DOCUMENT_BYTES} are "
                "kept, so give its radio map larger cells"
            )
        if not await store.refresh():
            raise SiteAbsent(
                f"the store does not hold the site `{store.site_id}`; import it with "
                "`balise site import FILE` first"
            )
        about = _about(calibration, len(document), t, by, note)
        published, current = await store.link.script(
            _PUBLISH,
            [store.keys.calibration],
            *(expected, _encode(about), document, KEPT_CALIBRATIONS, KEPT_BYTES),
        )
        # Refused by what it wrote itself: the answer was lost, and the link sent it again.
        ours = [document, _encode(about)]
        if not published and (current != expected + 1 or ours != await self._stored(current)):
            raise StaleCalibration(store.site_id, expected, current)
        # If this process dies here, the workers notice the new number and announce it themselves.
        for p in range(store.partitions):
            await self.announce(p, current)
        return Version(VersionId(current), about)

    async def _stored(self, number: int) -> list[bytes | None]:
        """A version of the site as it is stored: the document, and what is said about it."""
        fields = [(self.store.keys.calibration, [str(number), f"{number}:about"])]
        return (await self._fields(fields))[0]

    async def roll_back(
        self, to: VersionId, expected: int, *, t: float, by: str, note: str = ""
    ) -> Version:
        """Makes the document of an earlier version, or of a partition's fit, the site's next one.

        Args:
            to: the version; the site's 0 is the prior.
            expected: the site's version it is to follow.
            t: now, Unix seconds.
            by: who or what goes back.
            note: why; the version says by itself where it went back to.

        Raises:
            CalibrationAbsent: the store does not hold it.
            StaleCalibration, StoreError, VersionError: as `write` does.
        """
        _check_text("by", by, 1, MAX_BY_CHARS)
        _check_text("note", note, 0, MAX_NOTE_CHARS)
        said = f"back to {to}" + (f": {note}" if note else "")
        return await self._write(await self.read(to), expected, t, by, said)

    async def announce(self, p: int, number: int) -> None:
        """Tells one partition's worker of a site's version, in the order of its readings."""
        await self.store.link.call(
            *("XADD", self.store.keys.partition(p).readings, "*", "c", number)
        )

    async def listed(self) -> list[Version]:
        """Every version that is kept: the site's newest first, then each partition's."""
        rows: list[int | None] = [None, *range(self.store.partitions)]
        lasts = await self._fields([(self._key(row), ["last"]) for row in rows])
        wanted: list[VersionId] = []
        for row, (last,) in zip(rows, lasts, strict=True):
            newest = int(last or 0)
            oldest = max(0, newest - KEPT_CALIBRATIONS)
            wanted += (VersionId(number, row) for number in range(newest, oldest, -1))
        texts = await self._fields(
            [(self._key(v.partition), [f"{v.number}:about"]) for v in wanted]
        )
        return [
            Version(version, _decode(text))
            for version, (text,) in zip(wanted, texts, strict=True)
            if text is not None
        ]

    async def in_use(self) -> list[VersionId]:
        """What each partition used at its last commit; what it will begin with before its first."""
        keys = [self._key(p) for p in range(self.store.partitions)]
        rows = await self._fields([(key, ["site", "last", "dropped"]) for key in keys])
        numbers = [tuple(int(field or 0) for field in row) for row in rows]
        abouts = await self._fields(
            [(key, [f"{last}:about"]) for key, (_, last, _) in zip(keys, numbers, strict=True)]
        )
        current = await self.current()
        used: list[VersionId] = []
        for p, ((site, last, dropped), (about,)) in enumerate(zip(numbers, abouts, strict=True)):
            taken = current if rows[p][0] is None else site
            # A fit holds until the site's next version, or until an engine begins anew.
            holds = about is not None and last > dropped and _decode(about).base == taken
            used.append(VersionId(last, p) if holds else VersionId(taken))
        return used

    def _key(self, partition: int | None) -> str:
        keys = self.store.keys
        return keys.calibration if partition is None else keys.partition(partition).calibration

    async def _fields(self, wanted: list[tuple[str, list[str]]]) -> list[list[bytes | None]]:
        """Fields of hashes, which may be in several slots."""
        commands: list[Command] = [("HMGET", key, *fields) for key, fields in wanted]
        replies: list[Any] = await self.store.link.pipeline(commands)
        for reply in replies:
            if isinstance(reply, StoreError):
                raise reply
        return replies


def check_site_of(calibration: Calibration, site_id: str) -> None:
    """Refuses another site's calibration.

    Raises:
        CalibrationError: one sentence.
    """
    if calibration.site != site_id:
        raise CalibrationError(
            f"the calibration is of the site `{calibration.site[:64]}`, not of `{site_id}`; if it "
            "fits all the same, change its `site`"
        )


def _about(c: Calibration, size: int, t: float, by: str, note: str, base: int = 0) -> About:
    return About(t, by, note, c.origin, c.readings, c.t, size, base)


def _check_text(name: str, text: str, least: int, most: int) -> None:
    if not least <= len(text) <= most or not text.isprintable():
        raise VersionError(
            f"`{name}` has {len(text)} characters; {least} to {most} printable ones are expected"
        )
