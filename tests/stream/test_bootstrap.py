"""Confidence intervals: they hold what they state on series whose true median is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.bootstrap import (
    LEAST_UNITS,
    MANY,
    MOST_ERRORS,
    Redraw,
    interval,
    redrawn,
    weighted_quantiles,
)

Floats = npt.NDArray[np.float64]
MEDIAN = np.array([0.5])


def walks(chance: np.random.Generator, shape: tuple[int, int], memory: float = 0.9) -> Floats:
    """Stationary AR(1) series of variance 1 in rows; at 2 fixes a second, some 10 s of memory."""
    noise = chance.normal(size=shape)
    series = np.empty(shape)
    series[:, 0] = noise[:, 0]
    for k in range(1, shape[1]):
        series[:, k] = memory * series[:, k - 1] + np.sqrt(1 - memory**2) * noise[:, k]
    return series


def held(errors: Floats, redraw: Redraw, truth: float) -> bool:
    """Whether the interval of the median holds the truth."""
    low, high = interval(redrawn(errors[None], redraw, MEDIAN, 200)[0, :, 0])
    return low <= truth <= high


@given(
    st.lists(st.tuples(st.floats(0, 50), st.integers(0, 4)), min_size=1).filter(
        lambda rows: any(times for _, times in rows)
    ),
    st.lists(st.floats(0, 1), min_size=1, max_size=4),
)
def test_weighted_quantiles_are_those_of_the_values_repeated(
    rows: list[tuple[float, int]], quantiles: list[float]
) -> None:
    """As numpy finds them."""
    values, times = (np.array(column) for column in zip(*rows, strict=True))
    at = np.array(quantiles)
    found = weighted_quantiles(values, np.argsort(values), times.astype(np.int32), at)
    assert np.allclose(found, np.quantile(np.repeat(values, times), at), atol=1e-9)


def test_few_beacons_intervals_hold_95_percent_where_independence_would_hold_far_less() -> None:
    """Three beacons, 200 s each: 150 trials of a known median; single fixes as the contrast."""
    chance = np.random.default_rng(5)
    t = np.tile(np.arange(400) * 0.5, 3)
    cluster = np.repeat(np.arange(3), 400)
    blocks, singles = Redraw(cluster, t), Redraw(cluster, t, block_s=0.5)
    assert not blocks.by_cluster
    assert blocks.units == pytest.approx(30, rel=0.05)
    trials = [np.exp(walks(chance, (3, 400)).ravel()) for _ in range(150)]
    share = np.mean([held(errors, blocks, 1.0) for errors in trials])
    naive = np.mean([held(errors, singles, 1.0) for errors in trials])
    assert 0.87 <= share <= 0.99
    assert naive < 0.6


def test_many_beacons_intervals_hold_95_percent_though_each_has_an_error_of_its_own() -> None:
    """Fifteen tags that lie still, each wrong by its own amount: time would tell nothing."""
    chance = np.random.default_rng(6)
    t = np.tile(np.arange(100) * 0.5, 15)
    cluster = np.repeat(np.arange(15), 100)
    redraw = Redraw(cluster, t)
    assert redraw.by_cluster
    assert redraw.units == 15
    trials = [
        np.exp(chance.normal(size=(15, 1)) + 0.3 * walks(chance, (15, 100))).ravel()
        for _ in range(150)
    ]
    share = np.mean([held(errors, redraw, 1.0) for errors in trials])
    assert 0.87 <= share <= 0.99


def test_the_difference_of_two_methods_is_paired() -> None:
    """What both share leaves the difference: its interval is narrow and still holds the truth."""
    chance = np.random.default_rng(7)
    cluster, t = np.repeat(np.arange(20), 60), np.tile(np.arange(60) * 0.5, 20)
    redraw = Redraw(cluster, t)
    inside = 0
    for _ in range(40):
        shared = 5.0 + np.repeat(chance.normal(size=20), 60)
        errors = np.stack([shared, shared + 0.5 + 0.1 * chance.normal(size=len(shared))])
        drawn = redrawn(errors, redraw, MEDIAN, 200)[:, :, 0]
        low, high = interval(drawn[1] - drawn[0])
        single = interval(drawn[0])
        assert high - low < 0.5 * (single.high - single.low)
        inside += low <= 0.5 <= high
    assert inside >= 35


@pytest.mark.parametrize("clusters", [3, MANY])
def test_every_fix_is_drawn_as_often_as_any_other(clusters: int) -> None:
    """Long series or short, first fix or middle one; one unit less than there are in all."""
    chance = np.random.default_rng(8)
    counts = [7, 300, 41, *[20] * (clusters - 3)]
    cluster = np.repeat(np.arange(clusters), counts)
    t: Floats = np.concatenate([np.arange(count) * 0.5 for count in counts])
    redraw = Redraw(cluster, t)
    times = np.mean([redraw.times(chance) for _ in range(4000)], axis=0)
    expected = (round(redraw.units) - 1) / redraw.units
    means = np.array([times[cluster[redraw.rows] == c].mean() for c in range(clusters)])
    assert means == pytest.approx(np.full(clusters, expected), rel=0.1)
    ends = times[cluster[redraw.rows] == 1]
    assert ends[:20].mean() == pytest.approx(ends[140:160].mean(), rel=0.1)


def test_a_gap_divides_a_series() -> None:
    """Ten visits of 8 s are ten units, however long nothing was heard between them."""
    t = np.add.outer(600.0 * np.arange(10.0), 0.5 * np.arange(16.0)).ravel()
    assert Redraw(np.zeros(160, np.int64), t).units == 10


def test_too_little_has_no_interval() -> None:
    """A zero-width one would be a lie."""
    t = np.linspace(0.0, 29.5, 60)
    redraw = Redraw(np.zeros(60, np.int64), t)
    assert redraw.units < LEAST_UNITS
    assert np.isnan(interval(redrawn(np.ones((1, 60)), redraw, MEDIAN)[0, :, 0])).all()


def test_the_order_of_fixes_does_not_matter_and_the_same_gives_the_same() -> None:
    """To the last bit."""
    chance = np.random.default_rng(9)
    cluster, t = np.repeat(np.arange(4), 200), np.tile(np.arange(200) * 0.5, 4)
    errors = chance.random((2, 800))
    once = redrawn(errors, Redraw(cluster, t), MEDIAN, 20)
    assert np.array_equal(once, redrawn(errors, Redraw(cluster, t), MEDIAN, 20))
    mixed = chance.permutation(800)
    again = redrawn(errors[:, mixed], Redraw(cluster[mixed], t[mixed]), MEDIAN, 20)
    assert np.array_equal(once, again)


def test_more_errors_than_needed_are_thinned_and_the_interval_stays_around_the_figure() -> None:
    """A moment that is bad for all does not weigh more for it."""
    chance = np.random.default_rng(10)
    count, each = 50, 5000
    cluster, t = np.repeat(np.arange(count), each), np.tile(np.arange(each) * 0.5, count)
    errors = chance.random(count * each) + np.where(t == 0.0, 50.0, 0.0)
    redraw = Redraw(cluster, t)
    assert len(redraw.rows) <= MOST_ERRORS
    assert len(np.unique(cluster[redraw.rows])) == count
    assert (t[redraw.rows] == 0.0).sum() < 0.5 * count
    low, high = interval(redrawn(errors[None], redraw, MEDIAN, 50)[0, :, 0])
    assert low < np.median(errors) < high
    assert high - low < 0.02
