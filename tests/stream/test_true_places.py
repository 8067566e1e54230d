"""Many true places at once: the same as one at a time."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.true_places import TruePlaces
from stream.truth import Path2D

T0 = 1_700_000_000.0

paths = st.lists(
    st.tuples(
        st.integers(0, 200).map(lambda tenth: T0 + tenth / 10),
        st.floats(0, 60),
        st.floats(0, 40),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda row: row[0],
).map(lambda rows: Path2D(*(np.array(column) for column in zip(*sorted(rows), strict=True))))


@given(st.lists(paths, min_size=1, max_size=4), st.lists(st.integers(-50, 250), min_size=1))
def test_as_each_path_says(some: list[Path2D], tenths: list[int]) -> None:
    """Before, between, after and far from the rows."""
    places = TruePlaces({f"b{i}": path for i, path in enumerate(some)})
    for row, path in enumerate(some):
        # A row's time and the middle between two may be as near on either side: let them be.
        t = T0 + np.array(tenths) / 10 + 0.013
        known = places.at(np.full(len(t), row), t)
        for k, moment in enumerate(t):
            place = path.at(float(moment))
            assert (place is not None) == known.known[k]
            if place is not None:
                assert np.allclose(known.xy[k], place[:2], atol=1e-6)
                assert known.floor[k] == place[2]


def test_an_empty_truth_knows_nothing() -> None:
    """And does not fail."""
    assert not TruePlaces({}).at(np.zeros(0, np.int64), np.zeros(0)).known.any()
    nothing = np.zeros(0)
    empty = Path2D(nothing, nothing, nothing, nothing.astype(np.int64))
    assert TruePlaces({"b": empty}).beacons == []
