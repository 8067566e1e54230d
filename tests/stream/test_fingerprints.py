"""Fingerprints: a survey knows its own places, and says so when it knows none."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

from gateway.readings import Batch
from stream.baselines import NOBODY, Heard
from stream.fingerprints import (
    NEIGHBOURS,
    UNHEARD_DBM,
    Fingerprints,
    SurveyError,
    fingerprints,
    nearest_fingerprints,
)
from stream.site import Floor, GatewayPlace, Site
from stream.truth import Path2D

T0 = 1_700_000_000.0
SQUARE = [(0.0, 0.0), (20.0, 0.0), (20.0, 20.0), (0.0, 20.0)]


def hall() -> Site:
    """Three gateways, no trackables: a survey's tags need not be in the site."""
    return Site(
        "hall",
        "Hall",
        "UTC",
        [Floor("0", "Ground", 0, SQUARE), Floor("1", "First", 1, SQUARE)],
        [GatewayPlace(f"g{i}", "0", [5.0 * i, 5.0]) for i in range(3)],
    )


def carried(*visits: tuple[float, float, float, list[float]]) -> tuple[list[Batch], Path2D]:
    """A tag that stays 9 s at each (t, x, y, level by gateway); an infinite level is silence."""
    batches, rows = [], []
    seq = 0
    for begin, x, y, levels in visits:
        for k in range(9):
            rows.append((T0 + begin + k, x, y))
            for g, level in enumerate(levels):
                if np.isfinite(level):
                    seq += 1
                    t = T0 + begin + k
                    batches.append(
                        Batch(
                            f"g{g}", "a", seq, t, 1.0, ["tag"], array("f", [level]), array("H", [1])
                        )
                    )
    times, xs, ys = (np.array(column) for column in zip(*rows, strict=True))
    return batches, Path2D(times, xs, ys, np.zeros(len(rows), np.int64))


def test_a_tag_carried_from_place_to_place_leaves_one_fingerprint_at_each() -> None:
    """With the levels heard there, and silence where nothing was heard."""
    batches, path = carried(
        (0.0, 3.0, 4.0, [-50.0, -60.0, -np.inf]), (20.0, 12.0, 6.0, [-70.0, -65.0, -80.0])
    )
    prints = fingerprints(hall(), batches, {"tag": path})
    assert prints.xy.tolist() == [[3.0, 4.0], [12.0, 6.0]]
    assert prints.rssi.tolist() == [[-50.0, -60.0, UNHEARD_DBM], [-70.0, -65.0, -80.0]]
    assert prints.floor.tolist() == [0, 0]


def test_without_a_pause_the_window_of_the_jump_is_left_out() -> None:
    """It mixes two places; those before and after do not."""
    batches, path = carried((0.0, 3.0, 4.0, [-50.0, -60.0]), (9.0, 18.0, 6.0, [-70.0, -65.0]))
    prints = fingerprints(hall(), batches, {"tag": path})
    assert prints.xy.tolist() == [[3.0, 4.0], [18.0, 6.0]]
    assert prints.rssi[:, :2].tolist() == [[-50.0, -60.0], [-70.0, -65.0]]


def test_a_survey_without_common_truth_is_refused() -> None:
    """In one sentence."""
    batches, path = carried((0.0, 3.0, 4.0, [-50.0]))
    with pytest.raises(SurveyError, match="gives no fingerprint"):
        fingerprints(hall(), batches, {"other": path})
    with pytest.raises(SurveyError, match="gives no fingerprint"):
        fingerprints(hall(), batches, {"tag": path._replace(t=path.t + 3600.0)})
    with pytest.raises(SurveyError, match="gives no fingerprint"):
        fingerprints(hall(), [], {})


def test_every_fingerprint_finds_its_own_place() -> None:
    """Exactly, among very many of very many gateways."""
    chance = np.random.default_rng(1)
    rssi = np.where(
        chance.random((700, 40)) < 0.2, chance.uniform(-95, -40, (700, 40)), UNHEARD_DBM
    )
    prints = Fingerprints(rssi, chance.uniform(0, 50, (700, 2)), chance.integers(0, 2, 700))
    gateway = np.where(rssi > UNHEARD_DBM, np.arange(40), NOBODY)
    found = nearest_fingerprints(prints, Heard(gateway, rssi))
    assert np.abs(found.xy - prints.xy).max() < 1e-3
    assert (found.floor == prints.floor).all()


def test_neighbours_weigh_by_how_near_they_sound() -> None:
    """1 dB off weighs three times as much as 3 dB off; other floors and the sixth nothing."""
    rssi = np.array([[-61.0], [-57.0], [-61.0], [-75.0], [-90.0], [-99.0]])
    xy = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 90.0], [0.0, 0.0], [0.0, 0.0], [900.0, 0.0]])
    prints = Fingerprints(rssi, xy, np.array([0, 0, 1, 1, 1, 0]))
    assert NEIGHBOURS == 5
    found = nearest_fingerprints(prints, Heard(np.array([[0]]), np.array([[-60.0]])))
    assert found.xy[0] == pytest.approx([8.0 * (1 / 3) / (1 + 1 / 3), 0.0], abs=1e-4)
    assert found.floor.tolist() == [0]
    few = Fingerprints(rssi[:2], xy[:2], np.array([0, 0]))
    assert nearest_fingerprints(few, Heard(np.array([[0]]), np.array([[-57.0]]))).xy[
        0
    ] == pytest.approx([8.0, 0.0], abs=1e-4)
