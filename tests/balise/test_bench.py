"""The bench: its load is what it says, and a small one runs through the real pipeline."""

from __future__ import annotations

import numpy as np
import pytest

from balise.bench import bench, table
from balise.load import HEARD_BY, make_load, window
from gateway.readings import decode, encode
from stream.site import check_site


def test_the_load_is_what_it_says() -> None:
    """Every beacon is heard by as many gateways as promised, at levels a radio could have."""
    load = make_load(200)
    check_site(load.site, "the load")
    counts = np.bincount(np.concatenate(load.heard), minlength=200)
    assert set(counts.tolist()) == {HEARD_BY}
    assert load.readings == 200 * HEARD_BY
    batches = window(load, 3, 1_700_000_000.0, "boot")
    assert [batch.gateway for batch in batches] == [part.id for part in load.site.gateways]
    assert sum(map(len, batches)) == load.readings
    assert all(decode(encode(batch)) == batch for batch in batches)
    assert all(-110.0 < level < -20.0 for batch in batches for level in batch.rssi)


@pytest.mark.timeout(180)
async def test_a_small_bench_runs_through_the_real_pipeline() -> None:
    """Every stage has its figure, nothing came too late, and frames followed their readings."""
    [figures] = await bench([60], lambda _: None, flat_out=60 * HEARD_BY * 40, paced=8)
    assert figures.readings == 60 * HEARD_BY
    assert figures.late == 0
    assert min(figures.ingest, figures.whole, figures.locate) > 0.0
    assert len(figures.latency_ms) == 3
    assert all(latency > 0.0 for latency in figures.latency_ms)
    assert "whole pipeline, readings/s" in table([figures])
