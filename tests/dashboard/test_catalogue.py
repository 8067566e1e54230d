"""Finding and paging: pages together are everything, in order, whatever happens in between."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.catalogue import Catalogue, CursorError, Query, decode_cursor, encode_cursor
from dashboard.positions import Positions
from stream.fixes import NONE, TickFixes, empty
from stream.site import KINDS, Floor, Site, Trackable, Zone
from tests.support.stepper import T0

RING = [(0.0, 0.0), (9.0, 0.0), (9.0, 9.0)]


def site_of(parts: list[Trackable]) -> Site:
    """A site with two floors and two zones."""
    return Site(
        "s",
        "S",
        "UTC",
        [Floor("f0", "F0", 0, RING), Floor("f1", "F1", 1, RING)],
        zones=[Zone("z0", "f0", "Z0", "k", RING), Zone("z1", "f0", "Z1", "k", RING)],
        trackables=parts,
    )


_words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
_parts = st.lists(
    st.builds(
        Trackable,
        id=_words,
        name=_words,
        kind=st.sampled_from(KINDS),
        beacons=st.just([]),
        sku=st.none() | _words,
    ),
    max_size=20,
    unique_by=lambda part: part.id,
)


def pages(catalogue: Catalogue, table: Positions, query: Query, limit: int) -> list[str]:
    """The ids on all pages, following the cursors."""
    ids: list[str] = []
    after = None
    while True:
        rows, after = catalogue.page(table, query, after, limit)
        assert len(rows) == limit or after is None
        ids += [table.site.trackables[row].id for row in rows]
        if after is None:
            return ids
        assert rows


@given(
    _parts,
    st.integers(1, 7),
    st.none() | st.sampled_from(KINDS),
    st.none() | st.integers(0, 1),
    st.none() | st.integers(0, 1),
    st.text(max_size=2),
    st.data(),
)
def test_pages_are_the_filtered_list_in_order(
    parts: list[Trackable],
    limit: int,
    kind: object,
    zone: int | None,
    floor: int | None,
    text: str,
    data: st.DataObject,
) -> None:
    """Against the plain definition, for any site, filter and page size."""
    site = site_of(parts)
    table = Positions(site, 1)
    located = data.draw(st.lists(st.sampled_from(range(len(parts))), unique=True)) if parts else []
    fixes = empty(len(located))
    fixes["trackable"] = sorted(located)
    fixes["zone"] = data.draw(
        st.lists(st.sampled_from([0, 1, NONE]), min_size=len(located), max_size=len(located))
    )
    fixes["floor"] = data.draw(
        st.lists(st.sampled_from([0, 1]), min_size=len(located), max_size=len(located))
    )
    table.apply(TickFixes(T0, 1, fixes))
    by_row = {int(fix["trackable"]): fix for fix in fixes}
    wanted = []
    for row, part in enumerate(parts):
        fix = by_row.get(row)
        words = (part.id, part.name, part.sku or "")
        if kind is not None and part.kind != kind:
            continue
        if zone is not None and (fix is None or fix["zone"] != zone):
            continue
        if floor is not None and (fix is None or fix["floor"] != floor):
            continue
        if "\n" not in text and not any(text.casefold() in word.casefold() for word in words):
            continue
        wanted.append(part.id)
    query = Query(kind, zone, floor, text)  # type: ignore[arg-type]  # one of KINDS or None
    got = pages(Catalogue(site), table, query, limit)
    if "\n" not in text:
        assert got == sorted(wanted)


def test_pages_neither_repeat_nor_skip_over_an_edit() -> None:
    """What was there all the time is met once, though the list changed between the pages."""
    before = site_of([Trackable(c, c, "item", []) for c in "bdfh"])
    after = site_of([Trackable(c, c, "item", []) for c in "abcefgh"])
    rows, cursor = Catalogue(before).page(Positions(before, 1), Query(), None, 2)
    assert [before.trackables[row].id for row in rows] == ["b", "d"]
    rows, cursor = Catalogue(after).page(Positions(after, 2), Query(), cursor, 9)
    assert [after.trackables[row].id for row in rows] == ["e", "f", "g", "h"]
    assert cursor is None


@given(st.text(st.characters(codec="utf-8"), max_size=50))
def test_cursors_come_back(id_: str) -> None:
    """Any id survives, and the cursor is fit for an address."""
    cursor = encode_cursor(id_)
    assert decode_cursor(cursor) == id_
    assert all(c.isalnum() or c in "-_" for c in cursor)


@given(st.text(max_size=20))
def test_other_words_are_refused_or_read(word: str) -> None:
    """Nothing but CursorError comes out of a word that is no cursor."""
    with contextlib.suppress(CursorError):
        assert isinstance(decode_cursor(word), str)


@pytest.mark.parametrize("word", ["é", "a b", "_w", "A" * 5, "Zm9v" * 1_000])
def test_words_that_are_no_cursors(word: str) -> None:
    """Each is refused."""
    with pytest.raises(CursorError):
        decode_cursor(word)
