"""The spool: in order, bounded, nothing forgotten uncounted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.spool import Spool, Spooled


def fill(spool: Spool, *seqs: int, size: int = 10) -> None:
    """Adds batches of one size."""
    for seq in seqs:
        spool.add(Spooled(seq, bytes(size)))


def taken(spool: Spool) -> list[int]:
    """Everything that is to be sent."""
    found = []
    while (batch := spool.take()) is not None:
        found.append(batch.seq)
    return found


def test_batches_go_out_in_order_and_stay_until_acknowledged() -> None:
    """Taking removes nothing; acknowledging does, in any order."""
    spool = Spool(10, 1_000)
    fill(spool, 1, 2, 3)
    assert taken(spool) == [1, 2, 3]
    assert len(spool) == 3
    assert spool.acknowledged(2)
    assert not spool.acknowledged(2)
    assert (len(spool), spool.bytes) == (2, 20)
    spool.rewind()
    assert taken(spool) == [1, 3]


def test_the_oldest_goes_when_it_is_full() -> None:
    """Beyond either bound the oldest batches are dropped and counted."""
    spool = Spool(3, 1_000)
    fill(spool, 1, 2, 3, 4, 5)
    assert (taken(spool), spool.dropped) == ([3, 4, 5], 2)
    spool = Spool(100, 35)
    fill(spool, 1, 2, 3, 4, 5)
    assert (taken(spool), spool.dropped, spool.bytes) == ([3, 4, 5], 2, 30)
    fill(spool, 6, size=36)
    assert (len(spool), spool.dropped, spool.bytes) == (0, 6, 0)


def test_what_can_never_be_sent_is_given_up_once() -> None:
    """A batch given up is counted once, an acknowledged one not at all."""
    spool = Spool(10, 1_000)
    fill(spool, 1, 2)
    spool.give_up(1)
    spool.give_up(1)
    spool.acknowledged(2)
    spool.give_up(2)
    assert spool.dropped == 1


@given(st.lists(st.sampled_from(["add", "take", "acknowledge", "rewind"]), max_size=200))
def test_every_batch_is_waiting_acknowledged_or_dropped(steps: list[str]) -> None:
    """Whatever happens, each batch is in one place, and what is sent comes in rising order."""
    spool = Spool(5, 1_000)
    added = acknowledged = 0
    under_way: list[int] = []
    for step in steps:
        if step == "add":
            added += 1
            fill(spool, added)
        elif step == "take" and (batch := spool.take()) is not None:
            assert not under_way or batch.seq > under_way[-1]
            under_way.append(batch.seq)
        elif step == "acknowledge" and under_way:
            acknowledged += spool.acknowledged(under_way.pop(0))
        elif step == "rewind":
            under_way.clear()
            spool.rewind()
        assert len(spool) <= 5
        assert len(spool) + acknowledged + spool.dropped == added
        assert spool.bytes == 10 * len(spool)


def test_a_broker_that_stays_away_costs_no_more_than_the_bound() -> None:
    """What was dropped unsent leaves nothing behind, however long nobody takes."""
    spool = Spool(3, 1_000)
    fill(spool, *range(1, 10_001))
    assert len(spool._unsent) == 3
    assert taken(spool) == [9_998, 9_999, 10_000]
    fill(spool, 10_001, size=2_000)
    assert (len(spool), len(spool._unsent)) == (0, 0)
