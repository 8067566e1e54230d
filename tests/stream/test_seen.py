"""Seen batches: ranges behave as a set, bounds give up the oldest gaps only."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stream.seen import MAX_BOOTS, MAX_RANGES, Numbers, Seen


@given(st.lists(st.integers(0, 60), max_size=80))
def test_numbers_are_a_set(values: list[int]) -> None:
    """Adding tells whether a number is new, and ranges stay sorted, disjoint and apart."""
    numbers, reference = Numbers(), set[int]()
    for value in values:
        assert numbers.add(value) == (value not in reference)
        reference.add(value)
    assert all((n in numbers) == (n in reference) for n in range(-1, 62))
    ranges = numbers.dump()
    assert all(a[1] + 1 < b[0] for a, b in pairwise(ranges))
    assert numbers.highest == max(reference, default=0)
    lowest = min(reference, default=0)
    assert numbers.missing == len(set(range(lowest, numbers.highest)) - reference)


def test_the_oldest_gap_is_given_up_first() -> None:
    """With too many gaps the oldest closes: its numbers count as taken, newer gaps stay open."""
    numbers = Numbers()
    for value in range(0, 2 * MAX_RANGES + 2, 2):
        assert numbers.add(value)
    assert len(numbers.dump()) == MAX_RANGES
    assert 1 in numbers
    assert 3 not in numbers
    assert 2 * MAX_RANGES - 1 not in numbers


def test_boots_are_kept_apart_and_bounded() -> None:
    """The same number under another boot is another batch; the oldest boot is forgotten."""
    seen = Seen()
    for boot in range(MAX_BOOTS + 1):
        assert not seen.has(f"b{boot}", 1)
        seen.add(f"b{boot}", 1)
        assert seen.has(f"b{boot}", 1)
    assert not seen.has("b0", 1)
    assert seen.latest == (f"b{MAX_BOOTS}", 1, 0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), max_size=50))
def test_a_restored_ledger_is_the_same(batches: list[tuple[str, int]]) -> None:
    """Dump and restore keep every answer."""
    seen = Seen()
    for boot, seq in batches:
        seen.add(boot, seq)
    again = Seen.restore(seen.dump())
    assert again.dump() == seen.dump()
    assert all(again.has(boot, seq) for boot, seq in batches)
