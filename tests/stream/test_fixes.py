"""Fixes survive packing bit by bit, and their CSV is read back by anybody's reader."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.fixes import CSV_HEADER, FIX, NONE, Fixes, TickFixes, csv_rows, empty, pack, unpack
from stream.site import Floor, Site, Trackable, Zone

TEXT = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=12)
METRES = st.floats(-10_000, 10_000, width=32)


@st.composite
def fixes(draw: st.DrawFn, trackables: int = 2**32 - 1, zones: int = NONE) -> Fixes:
    """Up to eight fixes of any values that the columns can hold."""
    rows = draw(st.integers(0, 8))
    made = empty(rows)
    for fix in made:
        fix["trackable"] = draw(st.integers(0, trackables))
        fix["zone"] = draw(st.one_of(st.just(NONE), st.integers(0, zones)))
        fix["zone_probability"] = draw(st.floats(0, 1, width=32))
        for name in ("x", "y", "accuracy", "speed", "heading"):
            fix[name] = draw(METRES)
    return made


@given(st.floats(0, 4e9), st.integers(0, 2**53), fixes())
def test_a_pack_comes_back(t: float, version: int, rows: Fixes) -> None:
    """What is packed is unpacked, to the last bit."""
    tick = unpack(pack(TickFixes(t, version, rows)))
    assert (tick.t, tick.version, tick.fixes.dtype) == (t, version, FIX)
    assert tick.fixes.tobytes() == rows.tobytes()


def test_a_fix_takes_34_bytes() -> None:
    """The layout is a contract with what is already stored: its size and its order are fixed."""
    assert FIX.itemsize == 34
    one = empty(1)
    one["trackable"], one["x"], one["zone_probability"] = 7, 1.0, 1.0
    assert one.tobytes() == (
        b"\x07\0\0\0" + b"\0\0" * 2 + b"\0\0\x80\x3f" + b"\0" * 18 + b"\0\0\x80\x3f"
    )
    assert len(pack(TickFixes(0.5, 1, empty(100)))) - len(pack(TickFixes(0.5, 1, empty(99)))) == 34


def site(names: list[str]) -> Site:
    """A site whose ids are `names`, everywhere."""
    outline = [(0.0, 0.0), (9.0, 0.0), (9.0, 9.0)]
    return Site(
        "s",
        "S",
        "UTC",
        [Floor(names[0], "", 0, outline)],
        zones=[Zone(name, names[0], "", "aisle", outline) for name in names],
        trackables=[Trackable(name, "", "item", [f"b{name}", name]) for name in names],
    )


@given(st.data(), st.lists(TEXT, min_size=1, max_size=4, unique=True))
def test_csv_is_read_back(data: st.DataObject, names: list[str]) -> None:
    """Any ids, also with commas and quotes, stand in the CSV as a reader expects them."""
    rows = data.draw(fixes(len(names) - 1, len(names) - 1))
    rows["beacon"] = 1
    text = "\r\n".join([CSV_HEADER, *csv_rows(TickFixes(12.5, 1, rows), site(names))])
    read = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(read) == len(rows)
    for line, fix in zip(read, rows, strict=True):
        name = names[fix["trackable"]]
        assert (line["t"], line["trackable"], line["beacon"]) == ("12.500", name, name)
        assert float(line["x"]) == pytest.approx(float(fix["x"]), abs=5.1e-4)
        assert float(line["accuracy"]) == pytest.approx(float(fix["accuracy"]), abs=5.1e-4)
        assert line["floor"] == names[0]
        assert line["zone"] == ("" if fix["zone"] == NONE else names[fix["zone"]])


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("plain", "plain"),
        ("a,b", '"a,b"'),
        ('5" pipe', '"5"" pipe"'),
        ("two\nlines", '"two\nlines"'),
        ("two\rlines", '"two\rlines"'),
        (" blank ", " blank "),
    ],
)
def test_a_field_is_quoted_when_it_must_be(name: str, field: str) -> None:
    """Quotes stand around a field only where CSV needs them."""
    row = empty(1)
    row["x"], row["y"], row["accuracy"], row["zone"] = 1.0, 2.25, 0.5, NONE
    (line,) = csv_rows(TickFixes(1700000000.5, 1, row), site([name]))
    beacon = '"b' + field[1:] if field.startswith('"') else "b" + field
    assert line == f"1700000000.500,{beacon},{field},1.000,2.250,{field},0.500,"


def test_empty_fixes_are_zeroed() -> None:
    """New rows hold no remains of memory."""
    assert not np.any(empty(5).view(np.uint8))
