"""What is learnt of a site's radio: from nothing, from much, and that it can change again."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.learnt import HEARS, LIMIT_DBM, Learnt


def levels(learnt: Learnt, mean: float, limit: float, count: int = 20_000, seed: int = 1) -> None:
    """Lets it hear levels around a mean of which those below the limit are lost."""
    heard = np.random.default_rng(seed).normal(mean, 8.0, count)
    for part in np.array_split(heard[heard > limit], 50):
        learnt.take_levels(part)


def test_before_anything_is_heard() -> None:
    """What is assumed: a Pi's sensitivity, its share of adverts, the model's own noise."""
    learnt = Learnt()
    assert learnt.limit_dbm == LIMIT_DBM
    assert learnt.hears == HEARS
    assert learnt.noise == 1.0
    assert learnt.flutter_db2 == Learnt(learnt.sums).flutter_db2 > 0.0
    learnt.take_levels(np.full(20, -60.0))
    assert learnt.limit_dbm == LIMIT_DBM


@pytest.mark.parametrize("limit", [-98.0, -91.0, -84.0])
def test_the_weakest_levels_that_are_heard(limit: float) -> None:
    """Within 3 dB of where the receivers stop hearing, whatever lies above; a whole number."""
    learnt = Learnt()
    levels(learnt, limit + 10.0, limit)
    assert limit <= learnt.limit_dbm <= limit + 3.0
    assert learnt.limit_dbm == int(learnt.limit_dbm)


def test_a_faint_outlier_is_not_the_limit() -> None:
    """One corrupt reading in a hundred does not make every gateway a better receiver."""
    learnt = Learnt()
    levels(learnt, -70.0, -85.0)
    before = learnt.limit_dbm
    learnt.take_levels(np.full(150, -114.0))
    assert learnt.limit_dbm == before


def test_levels_beyond_all_bins_are_counted_in_the_last() -> None:
    """Nothing that comes through is an error."""
    learnt = Learnt()
    learnt.take_levels(np.array([5.0, 0.0, -127.0, -300.0]))
    assert learnt.sums.sum() == pytest.approx(4.0)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_the_share_of_adverts_heard(share: float) -> None:
    """After many adverts it is what was heard of them."""
    learnt = Learnt()
    for _ in range(100):
        learnt.take_adverts(200.0 * share, 200.0)
    assert learnt.hears == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("factor", [1.0, 1.4, 2.0])
def test_the_noise_that_residuals_show(factor: float) -> None:
    """The factor on the standard deviations is the root of the mean square."""
    learnt = Learnt()
    learnt.take_residuals(factor**2 * 50_000.0, 50_000.0)
    assert learnt.noise == pytest.approx(factor, rel=0.02)


def test_flutter_is_the_variance_at_rest() -> None:
    """A quiet hall has less of it than is assumed, a busy one more."""
    assumed = Learnt().flutter_db2
    for sd in (1.5, 9.0):
        learnt = Learnt()
        learnt.take_flutter(sd**2 * 50_000.0, 50_000.0)
        assert learnt.flutter_db2 == pytest.approx(sd**2, rel=0.15)
        assert (learnt.flutter_db2 < assumed) == (sd == 1.5)


def test_a_few_readings_do_not_overturn_what_is_assumed() -> None:
    """Ten times the noise in ten readings moves the factor by a fraction."""
    learnt = Learnt()
    learnt.take_residuals(100.0 * 10.0, 10.0)
    assert learnt.noise < 2.0
    learnt.take_adverts(0.0, 10.0)
    assert learnt.hears > 0.9 * HEARS


def test_a_site_may_change() -> None:
    """After new receivers the old limit is forgotten, within a day of a busy site."""
    learnt = Learnt()
    levels(learnt, -70.0, -82.0, 400_000)
    assert learnt.limit_dbm >= -83.0
    for seed in range(5):
        levels(learnt, -85.0, -97.0, 400_000, seed)
    assert learnt.limit_dbm <= -93.0


finite = st.floats(0.0, 1e9)


@given(st.lists(st.tuples(finite, finite, finite, finite, finite, finite), max_size=5))
def test_whatever_is_summed_gives_usable_numbers(sums: list[tuple[float, ...]]) -> None:
    """No sums make a share that is none, or a noise of nothing."""
    learnt = Learnt()
    for heard, expected, a, b, c, d in sums:
        learnt.take_adverts(heard, expected)
        learnt.take_residuals(a, b)
        learnt.take_flutter(c, d)
    assert 0.0 < learnt.hears < 1.0
    assert 0.5 < learnt.noise < 5.0
    assert learnt.flutter_db2 > 0.0
    assert all(map(math.isfinite, (learnt.hears, learnt.noise, learnt.flutter_db2)))


def test_what_is_handed_over_is_copied_in() -> None:
    """Two that go on from the same sums do not disturb each other."""
    first = Learnt()
    first.take_residuals(10.0, 10.0)
    second = Learnt(first.sums)
    second.take_residuals(1e6, 10.0)
    assert first.noise < second.noise
