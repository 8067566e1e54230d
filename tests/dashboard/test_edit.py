"""Edits are functions from a site to a site; colliding ones are repeated, not lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from dashboard.edit import MAX_BEACONS, MAX_TRIES, edit, with_beacon, with_trackable
from dashboard.problems import Problem
from stream.site import Site, SiteError
from stream.store import StaleSite
from tests.support.stepper import beacon, depot, pipeline


def adopted(site: Site, name: str, *beacons: str, id_: str | None = None) -> Site:
    """The site with one item more."""
    return with_trackable(site, id_=id_, name=name, kind="item", beacons=list(beacons))


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("Pump 7", "pump-7"),
        ("  Élan -- vital!  ", "elan-vital"),
        ("倉庫", "item"),
        ("x" * 100, "x" * 40),
        ("thing 0001", "thing-0001-2"),
    ],
)
def test_ids_are_made_from_names(name: str, id_: str) -> None:
    """Plain, short, and never one that is taken."""
    assert adopted(depot(), name).trackables[-1].id == id_


def test_an_edit_leaves_the_rest_alone() -> None:
    """Rows keep their places, the site before is untouched."""
    site = depot()
    changed = with_beacon(adopted(site, "Pump", "a", id_="p"), "thing-0001", "b")
    assert changed.trackables[:1] == site.trackables[:1]
    assert changed.trackables[1].beacons == [beacon(1), "b"]
    assert changed.trackables[4].id == "p"
    assert site == depot()
    assert with_beacon(changed, "thing-0001", "b") is changed


def test_what_is_taken_is_a_conflict() -> None:
    """Ids, beacons of others, and a trackable that wears too many."""
    site = depot()
    conflicts: list[Callable[[], Site]] = [
        lambda: adopted(site, "Pump", id_="thing-0001"),
        lambda: adopted(site, "Pump", beacon(1)),
        lambda: with_beacon(site, "thing-0000", beacon(1)),
    ]
    for conflict in conflicts:
        with pytest.raises(Problem) as problem:
            conflict()
        assert problem.value.status == 409
        assert "thing-0001" in problem.value.detail
    for i in range(MAX_BEACONS - 1):
        site = with_beacon(site, "thing-0000", f"b{i}")
    with pytest.raises(Problem) as problem:
        with_beacon(site, "thing-0000", "one too many")
    assert problem.value.status == 409
    with pytest.raises(Problem) as problem:
        with_beacon(site, "nobody", "b")
    assert problem.value.status == 404


async def test_an_edit_that_was_overtaken_is_repeated(valkey_url: str) -> None:
    """It is made again on what the other one wrote, so both are there."""
    async with pipeline(valkey_url) as worker:
        seen: list[int] = []

        def change(site: Site) -> Site:
            seen.append(len(site.trackables))
            return adopted(site, "Mine", "mine")

        real = worker.store.write_site
        overtaken = asyncio.Event()

        async def overtake(site: Site, expected: int) -> int:
            if not overtaken.is_set():
                overtaken.set()
                await real(adopted(worker.site, "Theirs", "theirs"), expected)
            return await real(site, expected)

        worker.store.write_site = overtake  # type: ignore[method-assign]  # somebody else, in time
        version, site = await edit(worker.store, change)
        assert (version, seen) == (3, [4, 5])
        assert [part.id for part in site.trackables[-2:]] == ["theirs", "mine"]
        assert (await worker.store.read_site()) == (3, site)


async def test_an_edit_gives_up_in_the_end(valkey_url: str) -> None:
    """Overtaken every time, it says so instead of going on for ever."""
    async with pipeline(valkey_url) as worker:
        real, tries = worker.store.write_site, 0

        async def overtake(site: Site, expected: int) -> int:
            nonlocal tries
            tries += 1
            _, current = await worker.store.read_site()
            await real(adopted(current, "Theirs", f"theirs-{tries}"), expected)
            return await real(site, expected)

        worker.store.write_site = overtake  # type: ignore[method-assign]  # somebody else, in time
        with pytest.raises(StaleSite):
            await edit(worker.store, lambda site: adopted(site, "Mine", "mine"))
        assert tries == MAX_TRIES


async def test_an_edit_that_breaks_the_site_is_not_written(valkey_url: str) -> None:
    """The whole document is checked first."""
    async with pipeline(valkey_url) as worker:
        with pytest.raises(SiteError, match="`a` already belongs"):
            await edit(worker.store, lambda site: adopted(site, "Pump", "a", "a"))
        assert await worker.store.site_version() == 1
