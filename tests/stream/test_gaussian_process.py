"""Gaussian processes: against the closed form by hand, and on fields drawn from a known kernel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.gaussian_process import (
    LENGTH_M,
    Field,
    Kernel,
    correlation,
    left_out,
    posterior_mean,
    search_kernels,
)

KERNEL = Kernel(4.0, 3.0, 2.0)


def field(places: list[tuple[float, float]], values: list[float]) -> Field:
    """Values of usual noise."""
    return Field(np.array(places), np.array(values), np.ones(len(values)))


def test_one_place_by_hand() -> None:
    """The value shrinks by signal over signal and noise, and fades as Matern 3/2 does."""
    at = np.array([[0.0, 0.0], [4.0, 0.0], [400.0, 0.0]])
    found = posterior_mean(field([(0.0, 0.0)], [6.5]), KERNEL, at)
    shrunk = 6.5 * 9.0 / 13.0
    assert found == pytest.approx(
        [shrunk, (1.0 + math.sqrt(3.0)) * math.exp(-math.sqrt(3.0)) * shrunk, 0.0], abs=1e-9
    )


def test_two_places_by_hand() -> None:
    """The two-by-two inverse, written out."""
    likeness = (1.0 + math.sqrt(0.75)) * math.exp(-math.sqrt(0.75))
    one = field([(0.0, 0.0), (2.0, 0.0)], [4.0, -1.0])
    diagonal, aside = 13.0, 9.0 * likeness
    determinant = diagonal**2 - aside**2
    weights = (
        (diagonal * 4.0 + aside * 1.0) / determinant,
        (-aside * 4.0 - diagonal * 1.0) / determinant,
    )
    expected = 9.0 * (weights[0] + likeness * weights[1])
    assert posterior_mean(one, KERNEL, np.zeros((1, 2))) == pytest.approx([expected])


def test_a_value_left_out_is_told_by_the_others() -> None:
    """The closed form equals the posterior of the field without the value."""
    rng = np.random.default_rng(3)
    whole = Field(rng.uniform(0, 20, (12, 2)), rng.normal(0, 3, 12), rng.uniform(0.5, 2.0, 12))
    for k, told in enumerate(left_out(whole, KERNEL)):
        rest = Field(*(np.delete(column, k, axis=0) for column in whole))
        assert told == pytest.approx(posterior_mean(rest, KERNEL, whole.place[k : k + 1])[0])


def test_the_search_finds_the_kernel_that_fields_were_drawn_from() -> None:
    """Eight fields of 150 places: length within a step of the grid, deviations within a third."""
    rng = np.random.default_rng(11)
    fields = []
    for _ in range(8):
        places = rng.uniform(0.0, 40.0, (150, 2))
        root = np.linalg.cholesky(correlation(places, places, 4.5) + 1e-9 * np.eye(150))
        values = 4.0 * root @ rng.normal(size=150) + 2.0 * rng.normal(size=150)
        fields.append(Field(places, values, np.ones(150)))
    for found in search_kernels(fields):
        assert 2.2 <= found.length_m <= 9.5
        assert found.sd_db == pytest.approx(4.0, rel=0.4)
        assert found.noise_db == pytest.approx(2.0, rel=0.4)


def test_noise_alone_gives_next_to_no_field() -> None:
    """Values of 3 dB without any order in space: what is told between them is under 1 dB."""
    rng = np.random.default_rng(5)
    at = rng.uniform(0.0, 40.0, (400, 2))
    fields = [
        Field(rng.uniform(0, 40, (150, 2)), rng.normal(0, 3, 150), np.ones(150)) for _ in range(6)
    ]
    told = [
        posterior_mean(one, kernel, at)
        for one, kernel in zip(fields, search_kernels(fields), strict=True)
    ]
    assert np.sqrt(np.mean(np.square(told))) < 1.0


def test_a_field_keeps_its_own_when_the_others_are_flat() -> None:
    """One field in order among seven without: it is not taken for noise."""
    rng = np.random.default_rng(7)
    places = rng.uniform(0.0, 40.0, (150, 2))
    fields = [Field(places, rng.normal(0.0, 2.0, 150), np.ones(150)) for _ in range(7)]
    step = np.where(places[:, 0] > 20.0, -5.0, 5.0) + rng.normal(0.0, 2.0, 150)
    found = search_kernels([*fields, Field(places, step, np.ones(150))])
    assert found[-1].sd_db > 3.0
    assert max(kernel.sd_db for kernel in found[:-1]) < 1.2


def test_nothing_gives_the_prior() -> None:
    """An empty field: the kernel is the prior's and the map is flat."""
    empty = Field(np.zeros((0, 2)), np.zeros(0), np.zeros(0))
    assert search_kernels([]) == []
    assert search_kernels([empty])[0].length_m == pytest.approx(LENGTH_M, rel=0.25)
    assert posterior_mean(empty, KERNEL, np.ones((3, 2))).tolist() == [0.0, 0.0, 0.0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.floats(-40, 40)),
        min_size=1,
        max_size=12,
    )
)
def test_any_field_is_finite_and_bounded(rows: list[tuple[float, float, float]]) -> None:
    """Places may repeat; the posterior never leaves what the values can support."""
    table = np.array(rows)
    one = Field(table[:, :2], table[:, 2], np.ones(len(table)))
    found = posterior_mean(one, search_kernels([one])[0], np.array([[0.0, 0.0], [30.0, 7.0]]))
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= np.abs(table[:, 2]).sum() + 1e-6
