"""Which batches have been taken, by (gateway, boot, seq): what makes a redelivered batch harmless.

Sets of numbers are kept as ranges, so a gateway that loses nothing costs one pair of integers.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, Final

# Gaps remembered per boot: a gap is a batch lost or still on its way. Past this the oldest gap
# is given up: its batches, should they come at all, would be late for their tick by minutes.
MAX_RANGES: Final = 64
# Boots remembered per gateway. A batch of an older boot is late for its tick in any case.
MAX_BOOTS: Final = 4


class Numbers:
    """A growing set of integers as sorted, disjoint, non-touching ranges [first, last]."""

    __slots__ = ("_ranges",)

    def __init__(self, ranges: list[list[int]] | None = None) -> None:
        self._ranges: list[list[int]] = ranges or []

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._ranges, [number, 2**63]) - 1
        return at >= 0 and number <= self._ranges[at][1]

    def add(self, number: int) -> bool:
        """Adds a number; False when it was there already."""
        ranges = self._ranges
        at = bisect_right(ranges, [number, 2**63])
        before = ranges[at - 1] if at else None
        after = ranges[at] if at < len(ranges) else None
        if before and number <= before[1]:
            return False
        joins_before = before is not None and before[1] == number - 1
        joins_after = after is not None and after[0] == number + 1
        if before and after and joins_before and joins_after:
            before[1] = after[1]
            del ranges[at]
        elif before and joins_before:
            before[1] = number
        elif after and joins_after:
            after[0] = number
        else:
            ranges.insert(at, [number, number])
            if len(ranges) > MAX_RANGES:
                ranges[0][1] = ranges[1][1]
                del ranges[1]
        return True

    @property
    def highest(self) -> int:
        """The highest number, 0 when empty."""
        return self._ranges[-1][1] if self._ranges else 0

    @property
    def missing(self) -> int:
        """How many numbers between the lowest and the highest are not there."""
        return sum(b[0] - a[1] - 1 for a, b in zip(self._ranges, self._ranges[1:], strict=False))

    def dump(self) -> list[list[int]]:
        """The ranges, for the state."""
        return [list(pair) for pair in self._ranges]


class Seen:
    """The batches taken from one gateway."""

    __slots__ = ("_boots",)

    def __init__(self) -> None:
        self._boots: dict[str, Numbers] = {}

    def has(self, boot: str, seq: int) -> bool:
        """Whether the batch has been taken."""
        numbers = self._boots.get(boot)
        return numbers is not None and seq in numbers

    def add(self, boot: str, seq: int) -> None:
        """Marks the batch as taken."""
        numbers = self._boots.get(boot)
        if numbers is None:
            numbers = self._boots[boot] = Numbers()
            if len(self._boots) > MAX_BOOTS:
                del self._boots[next(iter(self._boots))]
        numbers.add(seq)

    @property
    def latest(self) -> tuple[str, int, int]:
        """The latest boot, its highest number and how many below it are missing."""
        if not self._boots:
            return "", 0, 0
        boot, numbers = next(reversed(self._boots.items()))
        return boot, numbers.highest, numbers.missing

    def dump(self) -> list[Any]:
        """Plain values for the state, oldest boot first."""
        return [[boot, numbers.dump()] for boot, numbers in self._boots.items()]

    @classmethod
    def restore(cls, dumped: list[Any]) -> Seen:
        """What `dump` gave, as a Seen."""
        seen = cls()
        seen._boots = {boot: Numbers(ranges) for boot, ranges in dumped}
        return seen
