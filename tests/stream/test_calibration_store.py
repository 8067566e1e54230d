"""A site's calibrations are versions: written once, in order, never rewritten, and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import calibration_store
from stream.calibration import Calibration, CalibrationError, GatewayFit, MapPatch, prior
from stream.calibration_store import (
    KEPT_CALIBRATIONS,
    CalibrationAbsent,
    Calibrations,
    OwnFit,
    StaleCalibration,
    VersionError,
    VersionId,
    parse_version,
)
from stream.connection import Connection, StoreDown
from stream.lease import Lease, StaleEpoch, StepMismatch
from stream.store import SiteAbsent, Store
from tests.support.pipeline import make_site

SITE = make_site()
T0 = 1_700_000_000.0


def fitted(offset_dbm: float, site: str = "depot") -> Calibration:
    """A calibration that is told from others by its offset."""
    return Calibration(1, site, "survey", T0, 1_000, offset_dbm, note="by hand")


class Bench:
    """A site of two partitions in a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.calibrations = Calibrations(store)
        self.link = Connection(store.url)

    async def write(self, offset_dbm: float, expected: int) -> VersionId:
        """A version told by its offset."""
        made = await self.calibrations.write(fitted(offset_dbm), expected, t=T0, by="ann")
        return made.id

    async def announced(self, p: int = 0) -> list[tuple[bytes, bytes]]:
        """What stands in a partition's stream."""
        stream = self.store.keys.partition(p).readings
        entries = await self.store.link.call("XRANGE", stream, "-", "+")
        return [(fields[0], fields[1]) for _, fields in entries]

    async def held(self, p: int) -> Lease:
        """A partition, taken."""
        lease = Lease(self.link, self.store.keys.partition(p), "w", "1")
        assert await lease.take()
        return lease


@pytest.fixture
async def bench(any_store_url: str) -> AsyncIterator[Bench]:
    """A fresh site."""
    store = await Store.connect(any_store_url, "depot")
    await store.import_site(SITE, 2)
    made = Bench(store)
    yield made
    await made.link.close()
    await store.close()


async def commit(
    lease: Lease,
    step: int,
    *fits: Calibration,
    base: int = 0,
    taken: int | None = None,
    is_new: bool = False,
) -> None:
    """A step in which the engine fitted something."""
    own = [OwnFit(fit, base) for fit in fits]
    number = base if taken is None else taken
    await lease.commit(step, b"state", b"{}", [], [], [], "0-0", number, own, is_new)


async def test_without_any_the_prior_holds(bench: Bench) -> None:
    """Version 0 is the prior; nothing is listed, and every partition begins with it."""
    assert await bench.calibrations.current() == 0
    assert await bench.calibrations.read(VersionId(0)) == prior("depot")
    assert await bench.calibrations.listed() == []
    assert await bench.calibrations.in_use() == [VersionId(0), VersionId(0)]


async def test_versions_follow_each_other_and_stay(bench: Bench) -> None:
    """Each has the document it was written with, and is listed with who, when and why."""
    patch = MapPatch("gw0", "g", (0.0, 0.0), (2, 1), "AAE=")
    first = msgspec.structs.replace(
        fitted(-60.0),
        gateways={"gw0": GatewayFit(2.5, 2.1, 3.0)},
        obstacles={"rack": 6.0},
        map_cell_m=1.0,
        radio_map=[patch],
    )
    made = await bench.calibrations.write(first, 0, t=T0, by="ann", note="after the survey")
    assert made.id == VersionId(1)
    assert await bench.write(-62.0, 1) == VersionId(2)
    assert await bench.calibrations.read(VersionId(1)) == first
    assert await bench.calibrations.read(VersionId(2)) == fitted(-62.0)
    assert await bench.calibrations.current() == 2
    newest, oldest = await bench.calibrations.listed()
    assert (newest.id, oldest.id) == (VersionId(2), VersionId(1))
    about = oldest.about
    assert (about.t, about.by, about.note) == (T0, "ann", "after the survey")
    assert (about.origin, about.readings, about.fitted_t) == ("survey", 1_000, T0)
    assert about.size == len(msgspec.json.encode(first, order="deterministic"))


async def test_of_two_writers_one_is_told_the_current_version(bench: Bench) -> None:
    """Both read version 0; one is refused, and nothing of it is stored or announced."""
    results = await asyncio.gather(
        bench.write(-60.0, 0), bench.write(-62.0, 0), return_exceptions=True
    )
    stale = [result for result in results if isinstance(result, StaleCalibration)]
    assert len(stale) == 1
    assert stale[0].current == 1
    assert "at version 1, not 0; read it again" in str(stale[0])
    assert len(await bench.calibrations.listed()) == 1
    assert await bench.announced() == [(b"c", b"1")]


async def test_many_writers_that_try_again_make_one_row(bench: Bench) -> None:
    """Every write lands once, and each number has the document of whoever got it."""

    async def write(offset_dbm: float) -> tuple[int, float]:
        while True:
            current = await bench.calibrations.current()
            try:
                return (await bench.write(offset_dbm, current)).number, offset_dbm
            except StaleCalibration:
                continue

    done = dict(await asyncio.gather(*(write(-50.0 - i) for i in range(8))))
    assert sorted(done) == list(range(1, 9))
    for number, offset_dbm in done.items():
        assert (await bench.calibrations.read(VersionId(number))).offset_dbm == offset_dbm


async def test_a_version_is_announced_to_all_partitions_in_order(bench: Bench) -> None:
    """Every stream has the numbers in the order of writing, the first one too."""
    await bench.write(-60.0, 0)
    await bench.write(-61.0, 1)
    for p in (0, 1):
        assert await bench.announced(p) == [(b"c", b"1"), (b"c", b"2")]


async def test_a_write_whose_answer_was_lost_is_a_success(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link sends it again; what it then meets is its own version, made once."""
    script = bench.store.link.script
    lost: list[object] = []

    async def losing(*args: object) -> object:
        answer = await script(*args)  # type: ignore[arg-type]  # passed on as they came
        if not lost:
            lost.append(answer)
            return await script(*args)  # type: ignore[arg-type]  # as the connection does
        return answer

    monkeypatch.setattr(bench.store.link, "script", losing)
    assert await bench.write(-60.0, 0) == VersionId(1)
    assert lost == [[1, 1]]
    assert len(await bench.calibrations.listed()) == 1
    assert await bench.announced() == [(b"c", b"1")]


async def test_a_rollback_is_a_new_version(bench: Bench) -> None:
    """The document of an earlier one, or the prior, under the next number; the rest stays."""
    await bench.write(-60.0, 0)
    await bench.write(-62.0, 1)
    back = await bench.calibrations.roll_back(
        VersionId(1), 2, t=T0 + 9.0, by="bob", note="racks moved back"
    )
    assert back.id == VersionId(3)
    assert await bench.calibrations.read(back.id) == fitted(-60.0)
    assert (back.about.t, back.about.by) == (T0 + 9.0, "bob")
    assert back.about.note == "back to 1: racks moved back"
    assert await bench.calibrations.read(VersionId(2)) == fitted(-62.0)
    to_prior = await bench.calibrations.roll_back(VersionId(0), 3, t=T0, by="bob")
    assert await bench.calibrations.read(to_prior.id) == prior("depot")
    assert to_prior.about.note == "back to 0"
    assert await bench.announced() == [(b"c", b"%d" % n) for n in (1, 2, 3, 4)]
    with pytest.raises(StaleCalibration):
        await bench.calibrations.roll_back(VersionId(1), 3, t=T0, by="bob")


@pytest.mark.parametrize("version", ["7", "0.1", "1.1", "9.4", "0.0"])
async def test_going_back_to_nothing_is_refused(bench: Bench, version: str) -> None:
    """A version that is not kept is named, and nothing is written."""
    with pytest.raises(CalibrationAbsent, match=f"does not hold calibration {version} of"):
        await bench.calibrations.roll_back(parse_version(version), 0, t=T0, by="bob")
    assert await bench.calibrations.current() == 0


async def test_old_versions_are_dropped(bench: Bench) -> None:
    """The last fifty are kept, with what is said about them, and numbers go on."""
    for number in range(KEPT_CALIBRATIONS + 3):
        await bench.write(-60.0 - number / 10, number)
    listed = await bench.calibrations.listed()
    assert [version.id.number for version in listed] == list(range(KEPT_CALIBRATIONS + 3, 3, -1))
    with pytest.raises(CalibrationAbsent, match="the last 50 are kept"):
        await bench.calibrations.read(VersionId(3))
    fields = await bench.store.link.call("HLEN", bench.store.keys.calibration)
    assert fields == 2 * KEPT_CALIBRATIONS + 1


async def test_documents_are_bounded_together(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large ones push the oldest out earlier; the newest stays however large it is."""
    large = msgspec.structs.replace(fitted(-60.0), note="x" * 5_000)
    monkeypatch.setattr(calibration_store, "KEPT_BYTES", 12_000)
    for number in range(4):
        await bench.calibrations.write(large, number, t=T0, by="ann")
    assert [version.id.number for version in await bench.calibrations.listed()] == [4, 3]
    monkeypatch.setattr(calibration_store, "KEPT_BYTES", 1_000)
    await bench.calibrations.write(large, 4, t=T0, by="ann")
    assert [version.id.number for version in await bench.calibrations.listed()] == [5]


async def test_what_cannot_be_kept_is_refused_in_one_sentence(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another site's, too large, or with an author or note that is none."""
    write = bench.calibrations.write
    with pytest.raises(CalibrationError, match="is of the site `hall`, not of `depot`"):
        await write(fitted(-60.0, "hall"), 0, t=T0, by="ann")
    for by, note in (("", ""), ("x" * 65, ""), ("a\nb", ""), ("ann", "x" * 301), ("ann", "\x00")):
        with pytest.raises(VersionError, match="printable ones are expected"):
            await write(fitted(-60.0), 0, t=T0, by=by, note=note)
    monkeypatch.setattr(calibration_store, "MAX_DOCUMENT_BYTES", 100)
    with pytest.raises(CalibrationError, match="at most 100 are kept"):
        await write(fitted(-60.0), 0, t=T0, by="ann")
    assert await bench.calibrations.current() == 0


async def test_a_site_that_is_not_there_has_no_calibration(valkey_url: str) -> None:
    """The sentence says how to import it."""
    store = await Store.connect(valkey_url, "depot")
    with pytest.raises(SiteAbsent, match="balise site import"):
        await Calibrations(store).write(fitted(-60.0), 0, t=T0, by="ann")
    assert await Calibrations(store).listed() == []
    await store.close()


async def test_a_document_of_another_program_is_not_there(bench: Bench) -> None:
    """What cannot be read is told as absent, so that no worker waits for it for ever."""
    await bench.write(-60.0, 0)
    await bench.store.link.call("HSET", bench.store.keys.calibration, "1", b'{"v":2}')
    with pytest.raises(CalibrationAbsent, match="calibration 1 in the store: is no calibration"):
        await bench.calibrations.read(VersionId(1))


async def test_what_partitions_fit_is_kept_in_rows_of_their_own(bench: Bench) -> None:
    """Numbered by the commit, listed after the site's; each partition uses its last."""
    await bench.write(-60.0, 0)
    first, second = await bench.held(0), await bench.held(1)
    own = msgspec.structs.replace(fitted(-63.0), origin="work", t=T0 + 60.0)
    later = msgspec.structs.replace(own, offset_dbm=-64.0)
    await commit(first, 1, own, base=1)
    await commit(first, 2, later, own, base=1)
    await commit(second, 1, base=1)
    listed = await bench.calibrations.listed()
    assert [str(version.id) for version in listed] == ["1", "0.3", "0.2", "0.1"]
    assert await bench.calibrations.read(VersionId(2, 0)) == later
    about = listed[1].about
    assert (about.t, about.by, about.origin, about.base) == (T0 + 60.0, "worker", "work", 1)
    assert await bench.calibrations.in_use() == [VersionId(3, 0), VersionId(1)]
    assert await bench.calibrations.current() == 1


async def test_a_fit_holds_until_the_sites_next_version(bench: Bench) -> None:
    """What a partition uses changes when its worker has taken the new version, not before."""
    lease = await bench.held(0)
    await commit(lease, 1, fitted(-63.0), base=0)
    back = await bench.calibrations.roll_back(VersionId(1, 0), 0, t=T0, by="ann")
    assert await bench.calibrations.read(back.id) == fitted(-63.0)
    assert (await bench.calibrations.in_use())[0] == VersionId(1, 0)
    await commit(lease, 2, base=1)
    assert (await bench.calibrations.in_use())[0] == VersionId(1)
    await commit(lease, 3, fitted(-65.0), base=1)
    assert (await bench.calibrations.in_use())[0] == VersionId(2, 0)
    await commit(lease, 4, taken=1, is_new=True)
    assert (await bench.calibrations.in_use())[0] == VersionId(1)
    await commit(lease, 5, fitted(-66.0), base=1)
    assert (await bench.calibrations.in_use())[0] == VersionId(3, 0)


async def test_a_refused_step_keeps_no_fit(bench: Bench) -> None:
    """Neither a step sent twice nor one of a replaced worker stores what it fitted."""
    zombie = await bench.held(0)
    await commit(zombie, 1, fitted(-63.0))
    with pytest.raises(StepMismatch):
        await commit(zombie, 1, fitted(-63.0))
    heir = Lease(bench.link, bench.store.keys.partition(0), "w", "2")
    assert await heir.take(from_namesake=True)
    with pytest.raises(StaleEpoch):
        await commit(zombie, 2, fitted(-64.0))
    assert [str(version.id) for version in await bench.calibrations.listed()] == ["0.1"]


async def test_own_fits_are_bounded(bench: Bench) -> None:
    """A partition that fits all the time keeps its last fifty."""
    lease = await bench.held(1)
    await commit(lease, 1, *(fitted(-60.0 - i / 10) for i in range(KEPT_CALIBRATIONS + 5)))
    listed = await bench.calibrations.listed()
    assert [str(version.id) for version in listed] == [f"1.{n}" for n in range(55, 5, -1)]


async def test_a_store_that_is_away_is_one_sentence() -> None:
    """As for every other reader."""
    store = Store("redis://127.0.0.1:1/0", "depot")
    with pytest.raises(StoreDown, match="does not answer"):
        await Calibrations(store).current()
    await store.close()


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("0", VersionId(0)),
        ("12", VersionId(12)),
        ("0.3", VersionId(3, 0)),
        ("7.0", VersionId(0, 7)),
    ],
)
def test_versions_have_names(text: str, version: VersionId) -> None:
    """Both ways."""
    assert parse_version(text) == version
    assert str(version) == text


@pytest.mark.parametrize("text", ["", "-1", "1.", ".1", "1.2.3", "one", "1 ", "٣", "1234567890"])
def test_other_words_are_no_versions(text: str) -> None:
    """One sentence that shows what versions look like."""
    with pytest.raises(VersionError, match="is not a version of a calibration; `3` is one"):
        parse_version(text)


@given(st.text(max_size=30))
def test_any_text_is_a_version_or_refused(text: str) -> None:
    """Nothing else comes out, and what is taken names itself again."""
    try:
        version = parse_version(text)
    except VersionError:
        return
    assert parse_version(str(version)) == version
