"""Metrics: what the store counts is what Prometheus reads, under bounded labels."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from dashboard.health import Rates, gateway_healths, merged
from dashboard.metrics import MAX_REASONS, MEDIA_TYPE, Values, render
from dashboard.positions import Positions
from dashboard.watch import Overview
from stream.store import IngestHealth
from stream.summary import GatewayCounts, Summary
from tests.support.dashboards import dashboard
from tests.support.stepper import T0, depot, pipeline, places


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and label values, as Prometheus' own parser reads them."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def values(overview: Overview | None, positions: Positions | None) -> Values:
    """Values around an overview, a minute after the start."""
    healths = []
    if overview is not None and positions is not None:
        healths = gateway_healths(
            positions.site.gateways,
            overview.records,
            overview.summary.gateways,
            overview.refusals,
            Rates(),
            T0 + 60.0,
        )
    return Values("1.2", T0 + 60.0, overview, positions, healths, 3, 2, 40, 1)


def test_every_number_is_there() -> None:
    """Each metric has its value under its labels."""
    summary = Summary(
        tick=T0 + 58.5,
        site_version=7,
        out_of_range=11,
        unknown=12,
        fixes=13,
        gateways={
            "gw-0": GatewayCounts(
                *(T0 + 59.0, "current", "b", 30, 4, 26, 500, 2, 3),
                suspect="deaf",
                suspect_text="`gw-0` hears little",
            )
        },
        unassigned_total=14,
        fits=16,
        adopted=17,
        lost=18,
    )
    refusals = {
        ("gw-0", "shape"): 5,
        ("stranger", "shape"): 6,
        ("?", "topic"): 7,
        ("x", "topic"): 8,
    }
    overview = Overview(
        T0, merged([summary]), [summary, Summary()], {}, refusals, [15, 0], ingest=True
    )
    text = render(values(overview, Positions(depot(5), 7))).decode()
    got = samples(text)
    assert got == {
        ("balise_build_info", "1.2"): 1,
        ("balise_store_up",): 1,
        ("balise_ingest_up",): 1,
        ("balise_live_clients",): 3,
        ("balise_live_deltas_total",): 40,
        ("balise_live_resyncs_total",): 2,
        ("balise_live_skipped_ticks_total",): 1,
        ("balise_site_version",): 7,
        ("balise_trackables", "item"): 2,
        ("balise_trackables", "picker"): 1,
        ("balise_trackables", "visitor"): 1,
        ("balise_trackables", "cart"): 1,
        ("balise_trackables", "other"): 0,
        ("balise_trackables_located",): 0,
        ("balise_fixes_total",): 13,
        ("balise_out_of_range_readings_total",): 11,
        ("balise_unknown_gateway_batches_total",): 12,
        ("balise_unassigned_beacons",): 14,
        ("balise_trackables_lost",): 18,
        ("balise_calibration_fits_total",): 16,
        ("balise_calibration_adopted_total",): 17,
        ("balise_gateway_suspect", "gw-0"): 1,
        ("balise_tick_lag_seconds", "0"): 1.5,
        ("balise_backlog_batches", "0"): 15,
        ("balise_backlog_batches", "1"): 0,
        ("balise_gateways", "online"): 1,
        ("balise_gateways", "late"): 0,
        ("balise_gateways", "offline"): 0,
        ("balise_gateways", "unknown"): 3,
        ("balise_batches_total", "gw-0"): 26,
        ("balise_readings_total", "gw-0"): 500,
        ("balise_duplicate_batches_total", "gw-0"): 2,
        ("balise_late_batches_total", "gw-0"): 3,
        ("balise_missing_batches", "gw-0"): 4,
        ("balise_gateway_age_seconds", "gw-0"): 1.0,
        ("balise_refused_messages_total", "gw-0", "shape"): 5,
        ("balise_refused_messages_total", "?", "shape"): 6,
        ("balise_refused_messages_total", "?", "topic"): 15,
    } | {
        (name, f"gw-{i}"): 0
        for i in (1, 2, 3)
        for name in (
            "balise_batches_total",
            "balise_readings_total",
            "balise_duplicate_batches_total",
            "balise_late_batches_total",
            "balise_missing_batches",
            "balise_gateway_suspect",
        )
    }
    assert text.count("# HELP") == text.count("# TYPE")


def test_labels_are_bounded() -> None:
    """However many gateways and reasons somebody invents, the series stay few and the sum right."""
    refusals = {
        (f"gw-{g}", f"reason-{r:03d}"): 1 + r for g in range(50) for r in range(MAX_REASONS + 20)
    }
    overview = Overview(T0, Summary(), [], {}, refusals, [], ingest=False)
    got = samples(render(values(overview, Positions(depot(), 1))).decode())
    refused = {k: v for k, v in got.items() if k[0] == "balise_refused_messages_total"}
    assert {k[1] for k in refused} == {"gw-0", "gw-1", "gw-2", "gw-3", "?"}
    assert len({k[2] for k in refused}) == MAX_REASONS + 1
    assert sum(refused.values()) == sum(refusals.values())


def test_labels_may_hold_anything() -> None:
    """Quotes, backslashes and line ends in an id do not break the text."""
    site = depot(0, gateways=1)
    odd = 'a"b\\c\nd'
    site.gateways[0] = type(site.gateways[0])(odd, "ground", [0.0, 0.0])
    overview = Overview(T0, Summary(), [], {}, {(odd, odd): 1}, [], ingest=False)
    got = samples(render(values(overview, Positions(site, 1))).decode())
    assert got["balise_refused_messages_total", odd, odd] == 1


def test_without_a_store_the_own_numbers_stay() -> None:
    """The store's numbers are left out, not said to be zero."""
    got = samples(render(values(None, None)).decode())
    assert got["balise_store_up",] == 0
    assert got["balise_live_clients",] == 3
    assert not any(name[0].startswith(("balise_fixes", "balise_gateways")) for name in got)


async def test_metrics_of_a_real_pipeline(valkey_url: str) -> None:
    """What a worker committed and ingest refused stands in /metrics."""
    async with pipeline(valkey_url, partitions=2) as worker:
        await worker.move(T0, {**places(worker.site), "mac:9": (1.0, 1.0)})
        store = worker.store
        await store.link.call("HSET", store.keys.refused, "gw-1 clock-ahead", 3)
        health = IngestHealth(T0, T0)
        await store.link.call("SET", store.keys.ingest, b'{"t":%f,"started":1}' % health.t)
        async with dashboard(valkey_url, clock=lambda: T0 + 2.0) as board:
            response = await board.http.get("/metrics")
            assert response.headers["content-type"] == MEDIA_TYPE
            got = samples(response.text)
            expected = {
                ("balise_batches_total", "gw-0"): 1,
                ("balise_readings_total", "gw-0"): 5,
                ("balise_fixes_total",): 4,
                ("balise_trackables_located",): 4,
                ("balise_unassigned_beacons",): 1,
                ("balise_refused_messages_total", "gw-1", "clock-ahead"): 3,
                ("balise_gateways", "online"): 4,
                ("balise_tick_lag_seconds", "0"): 2,
                ("balise_tick_lag_seconds", "1"): 2,
                ("balise_ingest_up",): 1,
                ("balise_store_up",): 1,
            }
            assert {name: got[name] for name in expected} == expected
