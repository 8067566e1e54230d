"""The solver: exact data, robustness, invariances, and Gauss-Newton against scipy's optimum."""

from __future__ import annotations

import numpy as np
import pytest

from stream.solver import EXPONENT, TAG_HEIGHT_M, centroid_db, solve, weighted_centroid


def gateways(count: int, seed: int = 1, size: float = 30.0) -> np.ndarray:
    """Places in a square hall at 3 m height."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.uniform(0.0, size, (count, 2)), np.full(count, 3.0)])


def levels(place: np.ndarray, xy: np.ndarray, offset: float = -58.0) -> np.ndarray:
    """What the model says the gateways hear, dBm."""
    d2 = ((place[:, :2] - xy) ** 2).sum(axis=1) + (place[:, 2] - TAG_HEIGHT_M) ** 2
    heard: np.ndarray = offset - 5.0 * EXPONENT * np.log10(d2)
    return heard


def locate(place: np.ndarray, rssi: np.ndarray, n: float = 100.0) -> tuple[np.ndarray, float]:
    """One beacon's place and stated standard deviation."""
    heard = np.ones((1, len(place)), bool)
    solved = solve(place[None], rssi[None], np.full((1, len(place)), n), heard, 6.0)
    return np.array([solved.x[0], solved.y[0]]), float(np.sqrt(solved.variance[0]))


@pytest.mark.parametrize("offset", [-80.0, -61.0, -45.0])
@pytest.mark.parametrize("xy", [(15.0, 15.0), (8.0, 20.0), (22.0, 9.0)])
def test_a_tag_of_any_strength_is_where_the_model_says(
    xy: tuple[float, float], offset: float
) -> None:
    """Without noise only the weak prior's pull is left, whatever the beacon's own offset."""
    place = gateways(12)
    found, _ = locate(place, levels(place, np.array(xy), offset))
    assert np.hypot(*(found - xy)) < 1.5


def test_one_wild_gateway_hardly_moves_the_place() -> None:
    """A reading 40 dB off, as behind a steel door, is set aside by the heavy-tailed weights."""
    place = gateways(12)
    rssi = levels(place, np.array([15.0, 15.0]))
    clean, _ = locate(place, rssi)
    far = int(np.argmin(rssi))
    rssi[far] -= 40.0
    spoilt, _ = locate(place, rssi)
    assert np.hypot(*(spoilt - clean)) < 0.5


def test_the_place_moves_with_the_hall() -> None:
    """Shifting all gateways shifts the answer by as much."""
    place = gateways(8)
    rssi = levels(place, np.array([10.0, 12.0]))
    here, _ = locate(place, rssi)
    place[:, :2] += [100.0, -40.0]
    there, _ = locate(place, rssi)
    assert there - here == pytest.approx([100.0, -40.0], abs=1e-6)


def test_one_gateway_gives_its_own_place() -> None:
    """A single gateway leaves its place, and no more certainty than its cell of 6 m allows."""
    found, sd = locate(np.array([[4.0, 5.0, 3.0]]), np.array([-70.0]))
    assert found == pytest.approx([4.0, 5.0], abs=1e-6)
    assert 6.0 / 12.0**0.5 <= sd < 6.0


def test_more_adverts_make_surer() -> None:
    """The stated error shrinks with the number of adverts."""
    place = gateways(8)
    rssi = levels(place, np.array([10.0, 12.0]))
    assert locate(place, rssi, n=50.0)[1] < locate(place, rssi, n=1.0)[1]


def test_a_batch_gives_what_each_gives_alone() -> None:
    """Beacons do not influence each other, and unheard slots count for nothing."""
    rng = np.random.default_rng(5)
    place = np.stack([gateways(12, seed) for seed in range(20)])
    rssi = rng.uniform(-90.0, -50.0, (20, 12))
    n = rng.uniform(0.1, 20.0, (20, 12))
    heard = rng.random((20, 12)) < 0.7
    heard[:, 0] = True
    together = solve(place, rssi, n, heard, 6.0)
    for i in range(20):
        k = heard[i]
        at = slice(i, i + 1), k
        alone = solve(place[at], rssi[at], n[at], heard[at], 6.0)
        assert together.x[i] == pytest.approx(alone.x[0], abs=1e-9)
        assert together.y[i] == pytest.approx(alone.y[0], abs=1e-9)
        assert together.variance[i] == pytest.approx(alone.variance[0], rel=1e-9)


def test_weighted_centroid_by_hand() -> None:
    """Ten decibels more are ten times the weight when asked for."""
    place = np.array([[[0.0, 0.0, 3.0], [11.0, 0.0, 3.0]]])
    middle = weighted_centroid(
        place, np.array([[-60.0, -70.0]]), np.ones((1, 2), bool), db_per_decade=10.0
    )
    assert middle[0] == pytest.approx([1.0, 0.0])


def test_sparse_gateways_flatten_the_centroid_within_bounds() -> None:
    """The farther apart they hang, the less the loudest alone decides."""
    steps = [centroid_db(metres) for metres in (0.0, 3.0, 5.0, 12.0, 100.0)]
    assert steps == sorted(steps)
    assert steps[0] == steps[1] == 8.0
    assert steps[-1] == 18.0
