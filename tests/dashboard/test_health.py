"""Gateways' health: by what they say and what they deliver, never by hope."""

from __future__ import annotations

import pytest

from dashboard.health import (
    LATE_AFTER_S,
    OFFLINE_AFTER_S,
    STATUS_HOLDS_S,
    Rates,
    gateway_healths,
    gateway_state,
    merged,
)
from gateway.status import Status
from stream.site import GatewayPlace
from stream.store import GatewayRecord
from stream.summary import GatewayCounts, Summary, Unassigned

NOW = 1_785_153_600.0


def said(state: str, ago: float, *, told: float | None = None, **more: object) -> GatewayRecord:
    """A status received `ago` seconds before now, and told then unless `told` says otherwise."""
    t = NOW - (ago if told is None else told)
    status = Status("g", state, "b", t, **more)  # type: ignore[arg-type]  # a table's words
    return GatewayRecord(status, NOW - ago)


@pytest.mark.parametrize(
    ("record", "heard_ago", "state", "reason"),
    [
        (None, None, "unknown", "never been heard"),
        (None, 1.0, "online", "readings arrive"),
        (None, LATE_AFTER_S + 1.0, "late", "6 s"),
        (None, OFFLINE_AFTER_S + 1.0, "offline", "61 s"),
        (said("online", 5.0), 0.5, "online", "readings arrive"),
        (said("online", 5.0), None, "late", "no readings so far"),
        (said("online", 5.0), 100.0, "late", "says it is online"),
        (said("online", STATUS_HOLDS_S + 1.0), 100.0, "offline", "100 s"),
        (said("online", STATUS_HOLDS_S + 1.0), None, "offline", "never sent readings"),
        # A retained status is handed out again when ingest restarts.
        (said("online", 1.0, told=5_000.0), 100.0, "offline", "100 s"),
        # A will arrives after the last readings.
        (said("offline", 0.5), 1.0, "offline", "signed off"),
        # Readings that came after the will: it is back, its birth is on the way.
        (said("offline", 10.0), 1.0, "online", "readings arrive"),
        # A window of 20 s may be silent for three of them.
        (said("online", 5.0, window=20.0), 59.0, "online", "readings arrive"),
        (said("online", 5.0, window=1.0), 59.0, "late", "59 s"),
        (said("online", 5.0, error="no adapter"), 1.0, "online", "no adapter"),
        (said("online", 5.0, error="no adapter"), None, "late", "no adapter"),
        # A gateway whose clock is a little ahead is not late.
        (None, -0.8, "online", "readings arrive"),
    ],
)
def test_state(
    record: GatewayRecord | None, heard_ago: float | None, state: str, reason: str
) -> None:
    """The table of states."""
    counts = GatewayCounts(t=0.0 if heard_ago is None else NOW - heard_ago)
    got, why = gateway_state(record, counts, NOW)
    assert got == state, why
    assert reason in why


def test_every_gateway_of_the_site_has_health() -> None:
    """In the site's order, with refusals by reason; strangers are left out."""
    places = [GatewayPlace(name, "f", [0.0, 0.0]) for name in ("b", "a")]
    records = {"a": said("online", 1.0), "stranger": said("online", 1.0)}
    counts = {"a": GatewayCounts(t=NOW - 2.0, readings=7)}
    refusals = {("a", "shape"): 2, ("a", "clock-ahead"): 1, ("?", "topic"): 9}
    b, a = gateway_healths(places, records, counts, refusals, Rates(), NOW)
    assert (b.id, b.state, b.age_s, b.refused, b.received) == ("b", "unknown", None, {}, None)
    assert (a.id, a.state, a.age_s) == ("a", "online", 2.0)
    assert (a.counts.readings, a.received) == (7, NOW - 1.0)
    assert a.refused == {"clock-ahead": 1, "shape": 2}


def look(rates: Rates, readings: int, at: float) -> None:
    """Notes one gateway's counter."""
    rates.look({"g": GatewayCounts(readings=readings)}, NOW + at)


def test_rates_are_readings_a_second_over_ten_seconds() -> None:
    """The mean over the last ten seconds, 0 before there are two looks."""
    rates = Rates()
    assert rates.rate("g") == 0.0
    look(rates, 1_000, 0.0)
    assert rates.rate("g") == 0.0
    look(rates, 1_100, 2.0)
    assert rates.rate("g") == 50.0
    look(rates, 9_999, 2.2)  # too soon after the last: skipped
    assert rates.rate("g") == 50.0
    for second in range(4, 31, 2):
        look(rates, 1_100, float(second))
    assert rates.rate("g") == 0.0
    assert rates.rate("other") == 0.0


def test_counters_and_clocks_that_go_back_give_no_nonsense() -> None:
    """A site imported anew, or a clock set back, gives 0 until there is a rate again."""
    rates = Rates()
    look(rates, 1_000, 0.0)
    look(rates, 10, 2.0)
    assert rates.rate("g") == 0.0
    look(rates, 50, -100.0)
    assert rates.rate("g") == 0.0
    look(rates, 90, -98.0)
    assert rates.rate("g") == 20.0


def test_partitions_are_one_witness_of_a_gateway() -> None:
    """Whoever suspects it is heard; levels and shares are means of those who know."""
    one = Summary(
        tick=10.0,
        gateways={
            "g": GatewayCounts(1.0, suspect="deaf", suspect_text="look at it", residual_db=-4.0),
            "h": GatewayCounts(1.0, hears=0.5),
        },
        snapshots=100,
        fits=3,
        adopted=1,
        lost=2,
    )
    two = Summary(
        tick=10.0,
        gateways={
            "g": GatewayCounts(2.0, residual_db=-2.0, hears=0.25),
            "h": GatewayCounts(2.0, suspect="clock", suspect_text="set it", hears=0.75),
        },
        snapshots=50,
        fits=2,
        adopted=2,
        lost=5,
    )
    for order in ([one, two], [two, one]):
        both = merged(order)
        g, h = both.gateways["g"], both.gateways["h"]
        assert (g.suspect, g.suspect_text) == ("deaf", "look at it")
        assert (g.residual_db, g.hears) == (-3.0, 0.25)
        assert (h.suspect, h.suspect_text) == ("clock", "set it")
        assert (h.residual_db, h.hears) == (None, 0.625)
        assert (both.snapshots, both.fits, both.adopted, both.lost) == (150, 5, 3, 7)
    assert one.gateways["g"].residual_db == -4.0, "what was given stays as it is"
    assert one.gateways["g"].hears is None


def test_partitions_are_summed_up_as_one() -> None:
    """Batches reach every partition and count once; readings are parts and add up."""
    one = Summary(
        tick=10.0,
        front=12.0,
        watermark=10.2,
        site_version=3,
        out_of_range=1,
        unknown=5,
        fixes=100,
        gateways={"g": GatewayCounts(11.0, "quiet", "b", 8, 1, 8, 300, 2, 1)},
        unassigned=[Unassigned("x", "g", -60.0, 9.0, 1)],
        unassigned_total=4,
    )
    two = Summary(
        tick=11.0,
        front=11.5,
        watermark=11.2,
        site_version=4,
        out_of_range=2,
        unknown=5,
        fixes=50,
        gateways={
            "g": GatewayCounts(12.0, "current", "b", 9, 0, 9, 200, 2, 0),
            "h": GatewayCounts(1.0, "gone", "c", 1, 0, 1, 10, 0, 0),
        },
        unassigned=[Unassigned("y", "g", -50.0, 9.0, 1), Unassigned("z", "g", -60.0, 9.5, 1)],
        unassigned_total=3,
    )
    both = merged([one, two, Summary()])
    assert both.gateways["g"] == GatewayCounts(12.0, "current", "b", 9, 1, 9, 500, 2, 1)
    assert (both.tick, both.front, both.watermark, both.site_version) == (10.0, 12.0, 10.2, 4)
    assert (both.batches, both.readings, both.duplicates, both.late) == (10, 510, 2, 1)
    assert (both.out_of_range, both.unknown, both.fixes, both.unassigned_total) == (3, 5, 150, 7)
    assert [beacon.beacon for beacon in both.unassigned] == ["y", "z", "x"]
    assert merged([]) == Summary()
