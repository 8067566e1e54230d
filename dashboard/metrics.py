"""The pipeline's numbers for Prometheus, made from values at the moment they are asked for.

Labels are bounded: gateways are those of the site, everything else is `?`; reasons of refusals
are at most MAX_REASONS, the rest is `other`. Units are base units, times are Unix seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dashboard.health import STATES, GatewayHealth
from dashboard.positions import Positions
from dashboard.watch import Overview
from stream.site import KINDS

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
MAX_REASONS: Final = 32


class Values(NamedTuple):
    """What is rendered.

    Attributes:
        version: the software's.
        now: Unix seconds.
        overview: of the store, None when it cannot be read.
        positions: the live table, None until there is a site.
        healths: of the site's gateways.
        clients: of the live feed.
        resyncs: how often one of them could not keep up.
        deltas: sent to them, each counted once.
        skipped: ticks that could not be read.
    """

    version: str
    now: float
    overview: Overview | None
    positions: Positions | None
    healths: list[GatewayHealth]
    clients: int
    resyncs: int
    deltas: int
    skipped: int


def render(values: Values) -> bytes:
    """The text that Prometheus reads."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Values(values))
    return generate_latest(registry)


class _Values(Collector):
    def __init__(self, values: Values) -> None:
        self._values: Final = values

    def collect(self) -> Iterable[Metric]:
        values = self._values
        info = GaugeMetricFamily("balise_build_info", "The software, always 1.", labels=["version"])
        info.add_metric([values.version], 1.0)
        yield info
        yield _gauge(
            "balise_store_up", "Whether the store can be read.", values.overview is not None
        )
        yield _gauge("balise_live_clients", "Clients of the live feed.", values.clients)
        yield _counter("balise_live_deltas", "Deltas sent to them.", values.deltas)
        yield _counter("balise_live_resyncs", "Clients that could not keep up.", values.resyncs)
        yield _counter(
            "balise_live_skipped_ticks", "Ticks of a site version that is gone.", values.skipped
        )
        if values.positions is not None:
            yield from _site(values.positions)
        if values.overview is not None:
            yield from _pipeline(values.overview, values.now)
            yield from _gateways(values.healths)
            yield _refused(values.overview, {health.id for health in values.healths})


def _site(positions: Positions) -> Iterator[Metric]:
    yield _gauge("balise_site_version", "The site version in use.", positions.version)
    kinds = Counter(part.kind for part in positions.site.trackables)
    trackables = GaugeMetricFamily("balise_trackables", "Trackables of the site.", labels=["kind"])
    for kind in KINDS:
        trackables.add_metric([kind], kinds[kind])
    yield trackables
    located = int((positions.t > 0.0).sum())
    yield _gauge("balise_trackables_located", "Trackables ever located.", located)


def _pipeline(overview: Overview, now: float) -> Iterator[Metric]:
    summary = overview.summary
    yield _gauge("balise_ingest_up", "Whether ingest gave a sign of life.", overview.ingest)
    yield _counter("balise_fixes", "Fixes made.", summary.fixes)
    yield _counter(
        "balise_out_of_range_readings",
        "Readings dropped for an impossible RSSI.",
        summary.out_of_range,
    )
    yield _counter(
        "balise_unknown_gateway_batches",
        "Batches of gateways that are not in the site.",
        summary.unknown,
    )
    yield _gauge("balise_trackables_lost", "Trackables unheard for too long by now.", summary.lost)
    yield _counter("balise_calibration_fits", "Own fits put on trial.", summary.fits)
    yield _counter("balise_calibration_adopted", "Own fits taken into use.", summary.adopted)
    yield _gauge(
        "balise_unassigned_beacons",
        "Beacons that belong to no trackable.",
        summary.unassigned_total,
    )
    lag = GaugeMetricFamily(
        "balise_tick_lag_seconds",
        "How far the last closed tick is behind this server's clock.",
        labels=["partition"],
    )
    backlog = GaugeMetricFamily(
        "balise_backlog_batches", "Entries in the partition's stream.", labels=["partition"]
    )
    for p, partition in enumerate(overview.partitions):
        if partition.tick > 0.0:
            lag.add_metric([str(p)], now - partition.tick)
    for p, entries in enumerate(overview.backlogs):
        backlog.add_metric([str(p)], entries)
    yield lag
    yield backlog


def _gateways(healths: list[GatewayHealth]) -> Iterator[Metric]:
    states = Counter(health.state for health in healths)
    by_state = GaugeMetricFamily("balise_gateways", "Gateways by health.", labels=["state"])
    for state in STATES:
        by_state.add_metric([state], states[state])
    yield by_state
    batches = _by_gateway("balise_batches", "Batches taken, each once.")
    readings = _by_gateway("balise_readings", "Readings taken.")
    duplicates = _by_gateway("balise_duplicate_batches", "Batches that came again.")
    late = _by_gateway("balise_late_batches", "Batches that came after their tick.")
    missing = GaugeMetricFamily(
        "balise_missing_batches", "Numbers that have not come in this boot.", labels=["gateway"]
    )
    age = GaugeMetricFamily(
        "balise_gateway_age_seconds", "Since its latest window ended.", labels=["gateway"]
    )
    suspect = GaugeMetricFamily(
        "balise_gateway_suspect",
        "Whether it is suspected not to be as it should.",
        labels=["gateway"],
    )
    for health in healths:
        labels = [health.id]
        suspect.add_metric(labels, float(bool(health.counts.suspect)))
        batches.add_metric(labels, health.counts.batches)
        readings.add_metric(labels, health.counts.readings)
        duplicates.add_metric(labels, health.counts.duplicates)
        late.add_metric(labels, health.counts.late)
        missing.add_metric(labels, health.counts.missing)
        if health.age_s is not None:
            age.add_metric(labels, health.age_s)
    yield from (batches, readings, duplicates, late, missing, age, suspect)


def _refused(overview: Overview, gateways: set[str]) -> Metric:
    totals: Counter[str] = Counter()
    for (_, reason), count in overview.refusals.items():
        totals[reason] += count
    # The commonest keep their names; ties go by name so that series do not flicker.
    ranked = sorted(totals, key=lambda reason: (-totals[reason], reason))
    named = set(ranked[:MAX_REASONS])
    cells: Counter[tuple[str, str]] = Counter()
    for (gateway, reason), count in overview.refusals.items():
        who = gateway if gateway in gateways else "?"
        cells[who, reason if reason in named else "other"] += count
    refused = CounterMetricFamily(
        "balise_refused_messages",
        "Messages that ingest refused; gateway `?` is none of the site.",
        labels=["gateway", "reason"],
    )
    for labels, count in sorted(cells.items()):
        refused.add_metric(labels, count)
    return refused


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=float(value))


def _by_gateway(name: str, text: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=["gateway"])
