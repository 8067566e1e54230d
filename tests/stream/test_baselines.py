"""Peers' methods: known answers, and what makes the least-squares one a fair opponent."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stream.baselines import (
    NOBODY,
    TEXTBOOK_DBM,
    Heard,
    Plan,
    centroid,
    nearest_gateway,
    plan_of,
    range_least_squares,
    weighted_centroid,
)
from stream.radio_model import GATEWAY_HEIGHT_M, STOREY_M, TAG_HEIGHT_M
from stream.site import Floor, GatewayPlace, Site

Floats = npt.NDArray[np.float64]

HALL = [(0.0, 0.0), (30.0, 0.0), (30.0, 20.0), (0.0, 20.0)]
CORNERS = [(2.0, 2.0), (28.0, 1.0), (27.0, 18.0), (3.0, 19.0), (14.0, 8.0)]


def hall() -> Plan:
    """Five gateways of one floor, and one above the middle on the next."""
    return plan_of(
        Site(
            "hall",
            "Hall",
            "UTC",
            [Floor("0", "Ground", 0, HALL), Floor("1", "First", 1, HALL)],
            [
                *(GatewayPlace(f"g{i}", "0", [*place]) for i, place in enumerate(CORNERS)),
                GatewayPlace("up", "1", [15.0, 10.0, 3.0]),
            ],
        )
    )


def heard_at(x: float, y: float, gateways: list[int]) -> Heard:
    """What gateways of the ground floor hear without noise, by the textbook's model."""
    away = [
        np.sqrt((x - gx) ** 2 + (y - gy) ** 2 + (GATEWAY_HEIGHT_M - TAG_HEIGHT_M) ** 2)
        for gx, gy in (CORNERS[g] for g in gateways)
    ]
    return Heard(np.array([gateways]), np.array([TEXTBOOK_DBM - 20.0 * np.log10(away)]))


def test_the_plan_gives_gateways_a_height_and_floors_a_box() -> None:
    """In the site's order."""
    plan = hall()
    assert plan.place[0].tolist() == [2.0, 2.0, GATEWAY_HEIGHT_M]
    assert plan.place[5].tolist() == [15.0, 10.0, 3.0]
    assert plan.floor.tolist() == [0, 0, 0, 0, 0, 1]
    assert plan.least.tolist() == [[0.0, 0.0]] * 2
    assert plan.most.tolist() == [[30.0, 20.0]] * 2


def test_nearest_and_centroid_by_hand() -> None:
    """10 dB louder is ten times the weight; empty slots weigh nothing."""
    heard = Heard(np.array([[0, 1, NOBODY], [5, 4, 3]]), np.array([[-70, -60, 0], [-50, -60, -60]]))
    nearest = nearest_gateway(hall(), heard)
    assert nearest.xy.tolist() == [[28.0, 1.0], [15.0, 10.0]]
    assert nearest.floor.tolist() == [0, 1]
    middle = centroid(hall(), heard)
    assert middle.xy[0] == pytest.approx([(2.0 + 280.0) / 11, (2.0 + 10.0) / 11])
    assert middle.xy[1] == pytest.approx([(150.0 + 14.0 + 3.0) / 12, (100.0 + 8.0 + 19.0) / 12])
    assert middle.floor.tolist() == [0, 1]


def test_the_centroid_survives_any_level() -> None:
    """Only differences count: very weak levels do not underflow."""
    place = np.array([[[0.0, 0.0, 2.0], [10.0, 0.0, 2.0]]])
    everywhere = np.ones((1, 2), np.bool_)
    weak = weighted_centroid(place, np.array([[-4000.0, -4010.0]]), everywhere, 10.0)
    assert weak[0] == pytest.approx([10.0 / 11.0, 0.0])


@given(
    st.floats(0.0, 30.0),
    st.floats(0.0, 20.0),
    st.sets(st.integers(0, 4), min_size=3).map(sorted),
)
def test_exact_ranges_give_the_exact_place(x: float, y: float, gateways: list[int]) -> None:
    """Wherever in the hall, when the tag stands in the gateways' hull or all of them hear it."""
    inside = len(gateways) == 5 or _in_hull(x, y, [CORNERS[g] for g in gateways])
    assume(inside)
    found = range_least_squares(hall(), heard_at(x, y, gateways))
    assert found.xy[0] == pytest.approx([x, y], abs=0.02)
    assert found.floor.tolist() == [0]


def test_a_gateway_upstairs_ranges_through_the_storey() -> None:
    """Its range is along the slant; the floor is that of the loudest."""
    heard = heard_at(12.0, 9.0, [0, 1, 4])
    slant = np.sqrt(3.0**2 + 1.0 + (3.0 + STOREY_M - TAG_HEIGHT_M) ** 2)
    level = TEXTBOOK_DBM - 20.0 * np.log10(slant)
    found = range_least_squares(
        hall(), Heard(np.array([[0, 1, 4, 5]]), np.append(heard.rssi, [[level]], axis=1))
    )
    assert found.xy[0] == pytest.approx([12.0, 9.0], abs=0.02)
    assert found.floor.tolist() == [0]


@pytest.mark.parametrize("seed", range(4))
def test_noisy_ranges_end_in_a_least_sum_of_squares(seed: int) -> None:
    """No place 5 cm away fits better: also at the hall's edge, and in a block of very many."""
    chance = np.random.default_rng(seed)
    plan, count = hall(), 200
    gateway = np.array([[0, 1, 2, 3, 4]]).repeat(count, axis=0)
    gateway[: count // 2, 3:] = NOBODY
    truth = np.column_stack([chance.uniform(0, 30, count), chance.uniform(0, 20, count)])
    away = np.hypot(*(truth[:, None, :] - np.array(CORNERS)).transpose(2, 0, 1))
    rssi = TEXTBOOK_DBM - 20.0 * np.log10(np.maximum(away, 1.0)) + chance.normal(0, 8, (count, 5))
    heard = Heard(gateway, rssi)
    found = range_least_squares(plan, heard).xy
    assert (found >= plan.least[0]).all()
    assert (found <= plan.most[0]).all()
    edge = ((found <= plan.least[0]) | (found >= plan.most[0])).any(axis=1)
    assert edge.any()
    assert not edge.all()
    least = _squares(plan, heard, found)
    for step in (0.05 * np.array([np.cos(a), np.sin(a)]) for a in np.arange(8) * np.pi / 4):
        beside = np.clip(found + step, plan.least[0], plan.most[0])
        assert (_squares(plan, heard, beside) >= least - 1e-6).all()
    one_by_one = [
        range_least_squares(plan, Heard(gateway[i : i + 1], rssi[i : i + 1])).xy[0]
        for i in range(0, count, 20)
    ]
    assert np.allclose(found[::20], one_by_one)


@pytest.mark.parametrize("gateways", [[0], [0, 1], [2, 4]])
@pytest.mark.parametrize("rssi", [-20.0, -59.0, -75.0, -110.0])
def test_too_few_ranges_still_give_a_place_in_the_building(
    gateways: list[int], rssi: float
) -> None:
    """Never a NaN, whatever the level."""
    found = range_least_squares(
        hall(), Heard(np.array([gateways]), np.full((1, len(gateways)), rssi))
    )
    assert np.isfinite(found.xy).all()
    assert (found.xy >= 0.0).all()
    assert (found.xy <= [30.0, 20.0]).all()


def _squares(plan: Plan, heard: Heard, xy: Floats) -> Floats:
    place = plan.place[heard.gateway]
    rise = place[:, :, 2] - TAG_HEIGHT_M
    away = np.sqrt(((xy[:, None, :] - place[:, :, :2]) ** 2).sum(axis=2) + rise**2)
    rest = away - 10.0 ** ((TEXTBOOK_DBM - heard.rssi) / 20.0)
    squares: Floats = np.where(heard.filled, rest**2, 0.0).sum(axis=1)
    return squares


def _in_hull(x: float, y: float, corners: list[tuple[float, float]]) -> bool:
    import shapely

    hull = shapely.MultiPoint(corners).convex_hull
    return bool(hull.buffer(-0.5).contains(shapely.Point(x, y)))
