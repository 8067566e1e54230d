"""The store keeps sites by version, and gives back what workers committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from stream.site import Floor, GatewayPlace, Site, Trackable
from stream.store import KEPT_VERSIONS, StaleSite, Store, StoreDown, StoreError

SITE = Site(
    id="depot",
    name="Depot",
    timezone="UTC",
    floors=[Floor("ground", "Ground", 0, [(0.0, 0.0), (20.0, 0.0), (20.0, 10.0), (0.0, 10.0)])],
    gateways=[GatewayPlace("gw1", "ground", [1.0, 1.0])],
    trackables=[Trackable("t1", "One", "item", ["b1"])],
)


def named(name: str) -> Site:
    """The site under another name: another document."""
    return msgspec.structs.replace(SITE, name=name)


@pytest.fixture
async def store(any_store_url: str) -> AsyncIterator[Store]:
    """A connected store, empty."""
    opened = await Store.connect(any_store_url, "depot")
    yield opened
    await opened.close()


async def test_import_gives_versions(store: Store) -> None:
    """A new document is a new version, the same again is not."""
    assert store.partitions == 0
    assert await store.import_site(SITE) == 1
    assert store.partitions == 1
    assert await store.import_site(SITE) == 1
    assert await store.import_site(named("Other")) == 2
    assert await store.read_site() == (2, named("Other"))
    assert await store.read_site(1) == (1, SITE)


async def test_import_of_the_same_file_keeps_edits(store: Store) -> None:
    """Starting again with the file that was imported last does not undo an edit."""
    await store.import_site(SITE)
    assert await store.write_site(named("Edited"), 1) == 2
    assert await store.import_site(SITE) == 2
    assert await store.read_site() == (2, named("Edited"))
    assert await store.import_site(named("A new file")) == 3


async def test_partitions_are_fixed(store: Store) -> None:
    """The number of partitions is that of the first import."""
    await store.import_site(SITE, 3)
    with pytest.raises(StoreError, match="has had 3 partitions since its first import"):
        await store.import_site(named("Other"), 2)
    with pytest.raises(StoreError, match="has had 3 partitions"):
        await store.import_site(SITE)
    other = await Store.connect(store.url, "depot")
    assert other.partitions == 3
    await other.close()


@pytest.mark.parametrize("partitions", [0, -1, 100_000])
async def test_absurd_partitions_are_refused(store: Store, partitions: int) -> None:
    """A number out of range changes nothing."""
    with pytest.raises(StoreError, match="partitions; 1 to"):
        await store.import_site(SITE, partitions)
    assert await store.site_version() == 0


async def test_write_site_is_optimistic(store: Store) -> None:
    """Of two writers from the same version one is refused, and told the current version."""
    await store.import_site(SITE, 2)
    results = await asyncio.gather(
        store.write_site(named("A"), 1), store.write_site(named("B"), 1), return_exceptions=True
    )
    stale = [result for result in results if isinstance(result, StaleSite)]
    assert sorted(map(str, map(type, results))) == sorted(map(str, [int, StaleSite]))
    assert stale[0].current == 2
    assert await store.site_version() == 2


async def test_write_of_the_same_document_is_no_version(store: Store) -> None:
    """Nothing changed, nothing announced."""
    await store.import_site(SITE)
    assert await store.write_site(SITE, 1) == 1
    assert await store.backlogs() == [0]


async def test_new_versions_are_announced_to_all_partitions(store: Store) -> None:
    """Every partition hears of an edit in the order of its readings."""
    await store.import_site(SITE, 3)
    assert await store.backlogs() == [0, 0, 0]
    await store.write_site(named("A"), 1)
    await store.import_site(named("B"), 3)
    for p in range(3):
        entries = await store.link.call("XRANGE", store.keys.partition(p).readings, "-", "+")
        assert [fields for _, fields in entries] == [[b"s", b"2"], [b"s", b"3"]]


async def test_old_versions_are_dropped(store: Store) -> None:
    """The last 20 documents are kept, and asking for an older one says so."""
    await store.import_site(SITE)
    for version in range(1, KEPT_VERSIONS + 3):
        await store.write_site(named(f"Edit {version}"), version)
    oldest = KEPT_VERSIONS + 3 - KEPT_VERSIONS + 1
    assert (await store.read_site(oldest))[0] == oldest
    with pytest.raises(StoreError, match=f"does not hold version {oldest - 1} of"):
        await store.read_site(oldest - 1)


async def test_an_unknown_site_says_how_to_import_it(store: Store) -> None:
    """The sentence names the site and the command."""
    with pytest.raises(StoreError, match="does not hold the site `depot`; import it with"):
        await store.read_site()


async def test_readers_of_an_empty_site_find_nothing(store: Store) -> None:
    """Before the first commit there is no state and no fix."""
    await store.import_site(SITE, 2)
    snapshot = await store.snapshot(1)
    assert snapshot == (None, "0-0")
    assert await store.read_fixes({0: "0-0", 1: "0-0"}, 10) == []
    assert await store.fixes_between(0, 0.0, 2e9) == []
    assert [summary.batches for summary in await store.summaries()] == [0, 0]
    assert await store.gateway_statuses() == {}
    assert await store.refusals() == {}
    assert await store.ingest_health() is None
    assert await store.workers() == []
    assert await store.holders() == ["", ""]


async def test_no_server_is_one_sentence() -> None:
    """The sentence names the address without its password."""
    with pytest.raises(StoreDown, match="does not answer") as caught:
        await Store.connect("redis://me:secret@127.0.0.1:1/0", "depot")
    assert "127.0.0.1:1" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "localhost", "http://localhost", "redis://host:port"])
async def test_a_wrong_address_is_one_sentence(url: str) -> None:
    """What is no address of a store is refused before anything is tried."""
    with pytest.raises(StoreError, match="is not an address of a store"):
        await Store.connect(url, "depot")
