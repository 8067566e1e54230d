"""What gateways hear of each other is kept exactly, in bounds, and whatever order it came in."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stream import mutual as module
from stream.mutual import FADE_S, LEARN_S, PAIR, Mutual
from tests.support.mutual import T0, Air, hall, hung, listened

Row = tuple[int, int, float, float]
NAMES = [f"g{i}" for i in range(5)]


def say(mutual: Mutual, rows: list[Row], t: float) -> None:
    """One tick."""
    hearer, advertiser, rssi, n = (np.array(column) for column in zip(*rows, strict=True))
    mutual.update(
        hearer.astype(int), advertiser.astype(int), rssi.astype(float), n.astype(float), t
    )


def test_a_mean_is_that_of_its_adverts() -> None:
    """Two readings of a tick weigh by their adverts; the other direction is another pair."""
    mutual = Mutual(NAMES)
    say(mutual, [(0, 1, -60.0, 3), (0, 1, -64.0, 1), (1, 0, -70.0, 2)], T0)
    heard = mutual.heard()
    assert heard.adverts[0, 1] == 4
    assert heard.level[0, 1] == pytest.approx(-61.0)
    assert heard.level[1, 0] == pytest.approx(-70.0)
    assert math.isnan(heard.level[0, 2])


def test_what_was_heard_fades_in_event_time() -> None:
    """After one time constant an advert counts 1 / e; the mean follows what is new."""
    mutual = Mutual(NAMES)
    say(mutual, [(0, 1, -60.0, 100)], T0)
    say(mutual, [(0, 1, -70.0, 100)], T0 + FADE_S)
    old = 1.0 / math.e
    heard = mutual.heard()
    assert heard.adverts[0, 1] == pytest.approx(100 * (1 + old), rel=1e-5)
    assert heard.level[0, 1] == pytest.approx(-(70 + 60 * old) / (1 + old), rel=1e-5)
    assert mutual.heard(T0 + 20 * FADE_S).adverts[0, 1] < 1e-3
    assert math.isnan(mutual.heard(T0 + 20 * FADE_S).level[0, 1])


def test_a_reference_keeps_what_was_before() -> None:
    """An hour at -60 dBm, then half an hour at -75: the mean follows, the reference hardly."""
    mutual = Mutual(NAMES)
    for second in range(int(LEARN_S) + 60):
        say(mutual, [(0, 1, -60.0, 1)], T0 + second)
    begin = mutual.t
    for second in range(1, 1801):
        say(mutual, [(0, 1, -75.0, 1)], begin + second)
    heard = mutual.heard()
    assert heard.learnt[0, 1] == LEARN_S
    assert heard.level[0, 1] == pytest.approx(-75 + 15 * math.exp(-3), abs=0.1)
    assert heard.reference[0, 1] == pytest.approx(-60.0, abs=0.4)


def test_a_gateway_that_hears_itself_is_not_heard() -> None:
    """It says nothing about the air; nor does an empty tick."""
    mutual = Mutual(NAMES)
    say(mutual, [(2, 2, -20.0, 9)], T0)
    nothing = np.zeros(0, np.int64)
    mutual.update(nothing, nothing, np.zeros(0), np.zeros(0), T0)
    assert len(mutual) == 0


READING: st.SearchStrategy[Row] = st.tuples(
    st.integers(0, 4),
    st.integers(0, 4),
    st.sampled_from([-50.25, -61.3, -80.0]),
    st.sampled_from([1.0, 2.0, 9.0]),
)


@given(st.lists(st.lists(READING, min_size=1, max_size=12), min_size=1, max_size=4), st.data())
def test_the_order_within_a_tick_does_not_matter(
    ticks: list[list[Row]], data: st.DataObject
) -> None:
    """To the last bit: recordings have the readings of a tick in any order."""
    one, other = Mutual(NAMES), Mutual(NAMES)
    for i, tick in enumerate(ticks):
        say(one, tick, T0 + i)
        say(other, data.draw(st.permutations(tick)), T0 + i)
    assert one.dump() == other.dump()


def test_what_was_dumped_goes_on_as_if_nothing_had_been() -> None:
    """Bytes out, bytes in, and the same bytes after the same ticks."""
    air = Air(hall())
    mutual = listened(air)
    again = Mutual.restore(mutual.dump(), mutual.gateways)
    assert again.dump() == mutual.dump()
    for each in (mutual, again):
        air.play(each, air.levels(), T0 + 30.0, 10)
    assert again.dump() == mutual.dump()
    assert len(mutual.dump()) <= 20 + PAIR.itemsize * 24 * 23


@pytest.mark.parametrize("damage", ["cut", "other", "kind", "rows", "order"])
def test_a_damaged_state_is_refused(damage: str) -> None:
    """A state of other gateways, cut off, or out of order."""
    mutual = Mutual(NAMES)
    say(mutual, [(0, 1, -60.0, 1), (4, 1, -60.0, 1)], T0)
    blob, names = mutual.dump(), NAMES
    pair = PAIR.itemsize
    if damage == "cut":
        blob = blob[:-1]
    elif damage == "other":
        names = NAMES[:3]
    elif damage == "kind":
        blob = b"nope" + blob[4:]
    elif damage == "rows":
        blob = blob[:-pair] + struct.pack("<H", 9) + blob[-pair + 2 :]
    else:
        blob = blob[: -2 * pair] + blob[-pair:] + blob[-2 * pair : -pair]
    with pytest.raises(ValueError, match="what gateways hear of each other"):
        Mutual.restore(blob, names)
    with pytest.raises(ValueError, match="cut off"):
        Mutual.restore(b"", names)


def test_pairs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is left out; what is known goes on."""
    monkeypatch.setattr(module, "MOST_PAIRS", 3)
    mutual = Mutual(NAMES)
    say(mutual, [(0, 1, -60.0, 1), (0, 2, -61.0, 1)], T0)
    say(mutual, [(1, 0, -62.0, 1), (0, 1, -60.0, 1), (3, 1, -63.0, 1)], T0)
    assert len(mutual) == 3
    heard = mutual.heard()
    assert heard.adverts[0, 1] == 2
    assert heard.adverts[1, 0] == 1
    assert heard.adverts[3, 1] == 0


def test_a_changed_site_keeps_what_still_holds() -> None:
    """By id: one gone, one new in front, one re-placed, one with another beacon."""
    site = hall(2, 2)
    mutual = Mutual([part.id for part in site.gateways])
    pairs = [(i, j, -50.0 - 4 * i - j, 5.0) for i in range(4) for j in range(4) if i != j]
    for second in range(int(LEARN_S)):
        say(mutual, pairs, T0 + second)
    moved = hung(site, 0, [1.0, 1.0, 4.0])
    zero, one, _, three = moved.gateways
    after = replace(
        moved,
        gateways=[replace(three, id="new", beacon="n"), zero, replace(one, beacon="x"), three],
    )
    heard = mutual.carry_over(site, after).heard()
    was = mutual.heard()
    # Rows now: new, 0, 1, 3.
    assert not heard.adverts[0].any()
    assert not heard.adverts[:, 0].any()
    assert heard.level[1, 3] == was.level[0, 3]
    assert heard.level[3, 1] == was.level[3, 0]
    # A re-placed gateway's references go, others' stay; what a renamed one sent goes.
    assert heard.learnt[1, 3] == 0.0
    assert heard.learnt[2, 3] == LEARN_S
    assert heard.level[2, 3] == was.level[1, 3]
    assert not heard.adverts[:, 2].any()
