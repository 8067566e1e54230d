"""The bound is that of the papers where they have one, and behaves as information does."""

from __future__ import annotations

import itertools
import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.bound import Curve, Information, Looks, bound, bound_at, cells_of, rms
from stream.calibration import Calibration, GatewayFit
from stream.grid import Grid
from stream.obstacle_slopes import SMOOTH_M, Slopes
from stream.radio_model import TAG_HEIGHT_M, Geometry, RadioModel
from stream.site import Site, check_site

Floats = npt.NDArray[np.float64]

# Everything is heard, nothing fades and the tag is known: the setting of Patwari et al.
CLEAR = Looks(adverts=1.0, fading_db=0.0, tag_sd_db=0.0, limit_dbm=-1000.0)
SD_DB, EXPONENT = 3.4, 2.0


def make_site(
    places: list[tuple[float, float]],
    side: float = 20.0,
    height: float = TAG_HEIGHT_M,
    **more: Any,
) -> Site:
    """A square floor with gateways, as high as tags unless told."""
    document = {
        "id": "test",
        "name": "test",
        "timezone": "UTC",
        "floors": [
            {
                "id": "0",
                "name": "ground",
                "level": 0,
                "outline": [[0, 0], [side, 0], [side, side], [0, side]],
            }
        ],
        "gateways": [
            {"id": f"g{i}", "floor": "0", "position": [x, y, height]}
            for i, (x, y) in enumerate(places)
        ],
    }
    site = msgspec.convert(document | more, Site)
    check_site(site, "test")
    return site


def parts(site: Site, **settings: Any) -> tuple[Site, Grid, Geometry, RadioModel]:
    """What every bound needs."""
    grid = Grid(site)
    geometry = Geometry(site, grid)
    calibration = Calibration(1, site.id, **({"exponent": EXPONENT, "sd_db": SD_DB} | settings))
    return site, grid, geometry, RadioModel(site, grid, geometry, calibration)


def at(site: Site, x: float, y: float, looks: Looks, **settings: Any) -> float:
    """The bound at one place of the ground floor."""
    place = np.array([x]), np.array([y]), np.array([0])
    return float(bound_at(*parts(site, **settings), *place, looks)[0])


def patwari(place: tuple[float, float], references: list[tuple[float, float]]) -> float:
    """Equation for one blindfolded device by RSS in Patwari et al. 2003, from distances alone.

    sigma^2 = 1/b * sum_i d_i^-2 / sum_{i<j} (d_perp_ij d_ij / (d_i^2 d_j^2))^2 with
    b = (10 n / (sigma_dB log 10))^2, d_perp_ij the distance from the device to the line through
    i and j and d_ij theirs from each other.
    """
    b = (10.0 * EXPONENT / (SD_DB * math.log(10.0))) ** 2
    d = [math.dist(place, reference) for reference in references]
    below = 0.0
    for i, j in itertools.combinations(range(len(references)), 2):
        between = math.dist(references[i], references[j])
        # Heron's formula: twice the triangle's area is the base times the distance to it.
        half = (d[i] + d[j] + between) / 2
        area = math.sqrt(max(half * (half - d[i]) * (half - d[j]) * (half - between), 0.0))
        below += (2.0 * area / (d[i] ** 2 * d[j] ** 2)) ** 2
    return math.sqrt(sum(1.0 / x**2 for x in d) / below / b)


places = st.tuples(st.floats(1.0, 19.0), st.floats(1.0, 19.0))


@settings(max_examples=40, deadline=None)
@given(place=places, references=st.lists(places, min_size=3, max_size=6, unique=True))
def test_a_known_tag_among_gateways_has_the_published_bound(
    place: tuple[float, float], references: list[tuple[float, float]]
) -> None:
    """Any layout, against the closed form of Patwari et al., which has no matrix in it."""
    if min(math.dist(place, reference) for reference in references) < 1.05:
        return  # nearer than the model has a meaning
    try:
        expected = patwari(place, references)
    except ZeroDivisionError:
        return
    if expected < 100.0:
        assert at(make_site(references), *place, CLEAR) == pytest.approx(expected, rel=1e-3)


def test_the_middle_of_four_corners_has_the_value_they_print() -> None:
    """Side L, sigma_dB / n = 1.7: 0.27 L in the paper, which is L sigma log 10 / (10 n sqrt 2)."""
    corners = [(0.0, 0.0), (20.0, 0.0), (0.0, 20.0), (20.0, 20.0)]
    here = at(make_site(corners), 10.0, 10.0, CLEAR)
    assert here / 20.0 == pytest.approx(0.27, abs=0.01)
    assert here == pytest.approx(20.0 * 1.7 * math.log(10.0) / (10.0 * math.sqrt(2.0)))


def test_an_unknown_tag_costs_what_the_full_matrix_says() -> None:
    """Place and offset together, the 3 x 3 matrix inverted, with the prior on the offset."""
    gateways = [(2.0, 3.0), (18.0, 1.0), (16.0, 17.0), (3.0, 12.0)]
    place = np.array([7.0, 6.0])
    tag_sd = 4.0
    full = np.diag([0.0, 0.0, 1.0 / tag_sd**2])
    for gateway in gateways:
        away = place - gateway
        slope = -10.0 * EXPONENT / math.log(10.0) * away / (away @ away)
        row = np.array([*slope, 1.0])
        full += np.outer(row, row) / SD_DB**2
    expected = math.sqrt(np.trace(np.linalg.inv(full)[:2, :2]))
    looks = msgspec.structs.replace(CLEAR, tag_sd_db=tag_sd)
    assert at(make_site(gateways), 7.0, 6.0, looks) == pytest.approx(expected, rel=1e-6)
    assert expected > 1.02 * at(make_site(gateways), 7.0, 6.0, CLEAR)


def test_the_best_estimate_of_many_draws_reaches_the_bound() -> None:
    """Gauss-Newton on drawn levels with little noise: its rms error is the bound's."""
    gateways = np.array([(2.0, 3.0), (18.0, 1.0), (16.0, 17.0), (3.0, 12.0), (9.0, 19.0)])
    true, sd, draws = np.array([7.0, 6.0]), 0.05, 4000
    rng = np.random.default_rng(5)

    def level(place: Floats) -> Floats:
        away = np.hypot(*(place[:, None] - gateways).transpose(2, 0, 1))
        levels: Floats = -10.0 * EXPONENT * np.log10(away)
        return levels

    heard = level(true[None]) + rng.normal(0.0, sd, (draws, len(gateways)))
    found = np.tile(true + 0.3, (draws, 1))
    for _ in range(6):
        away = found[:, None] - gateways
        rows = -10.0 * EXPONENT / math.log(10.0) * away / (away**2).sum(axis=2, keepdims=True)
        rest = heard - level(found)
        found += np.linalg.solve(
            np.einsum("dgi,dgj->dij", rows, rows), np.einsum("dgi,dg->di", rows, rest)[..., None]
        )[..., 0]
    error = math.sqrt(((found - true) ** 2).sum(axis=1).mean())
    site = make_site([tuple(g) for g in gateways.tolist()])
    assert at(site, 7.0, 6.0, CLEAR, sd_db=0.1) / 2 == pytest.approx(error, rel=0.04)


def test_fading_averages_out_and_the_rest_stays() -> None:
    """Of n adverts the variance is sd^2 + fading^2 / n, when all are heard."""
    gateways = [(2.0, 3.0), (18.0, 1.0), (16.0, 17.0)]
    site = make_site(gateways)
    known = at(site, 7.0, 6.0, CLEAR)
    for adverts in (1.0, 4.0, 100.0):
        looks = msgspec.structs.replace(CLEAR, adverts=adverts, fading_db=6.0)
        expected = known * math.sqrt(SD_DB**2 + 36.0 / adverts) / SD_DB
        assert at(site, 7.0, 6.0, looks) == pytest.approx(expected, rel=1e-6)


def test_a_gateway_s_own_fit_counts() -> None:
    """The noise and the exponent of a gateway are its own where the calibration has them."""
    gateways = [(2.0, 3.0), (18.0, 1.0), (16.0, 17.0)]
    site = make_site(gateways)
    noisy = {f"g{i}": GatewayFit(sd_db=2 * SD_DB) for i in range(3)}
    steep = {f"g{i}": GatewayFit(exponent=2 * EXPONENT) for i in range(3)}
    usual = at(site, 7.0, 6.0, CLEAR)
    assert at(site, 7.0, 6.0, CLEAR, gateways=noisy) == pytest.approx(2 * usual)
    assert at(site, 7.0, 6.0, CLEAR, gateways=steep) == pytest.approx(usual / 2)


@pytest.mark.parametrize("gateways", [[], [(5.0, 5.0)], [(2.0, 2.0), (4.0, 4.0), (9.0, 9.0)]])
def test_a_direction_that_nobody_tells_is_infinite(gateways: list[tuple[float, float]]) -> None:
    """No gateway, one, or all in line with the place; with the floor known it is a guess."""
    site = make_site(gateways)
    place = np.array([14.0]), np.array([14.0]), np.array([0])
    assert at(site, 14.0, 14.0, CLEAR) == math.inf
    guess = math.sqrt(2 * 20.0**2 / 12.0)
    on_floor = bound_at(*parts(site), *place, CLEAR, on_floor=True)[0]
    assert on_floor <= guess + 1e-9
    assert on_floor == pytest.approx(guess) or gateways


def test_silence_is_worth_what_a_censored_reading_is() -> None:
    """At even odds a reading is worth 1/2 + 1/pi of a sure one (Tobin 1958), by integration too."""
    looks = Looks(adverts=1.0, fading_db=0.0, tag_sd_db=0.0, limit_dbm=-90.0, limit_sd_db=1.0)
    curve = Curve(5.0, looks)
    heard, weight = curve(np.array([-90.0, -200.0, 0.0]))
    assert heard == pytest.approx([0.5, 0.0, 1.0], abs=1e-6)
    assert weight * 25.0 == pytest.approx([0.5 + 1.0 / math.pi, 0.0, 1.0], abs=1e-6)
    for z in (-1.5, -0.5, 0.8):
        # Information by its definition: the mean of the squared score over what may be read.
        u = np.linspace(-z, 10.0, 200_001)
        density = np.exp(-0.5 * u * u) / math.sqrt(2.0 * math.pi)
        share = 0.5 * math.erfc(-z / math.sqrt(2.0))
        silent = (math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)) ** 2 / (1.0 - share)
        expected = float(np.trapezoid(u * u * density, u)) + silent
        level = np.array([-90.0 + z * math.hypot(5.0, 1.0)])
        assert curve(level)[1][0] * 25.0 == pytest.approx(expected, rel=0.01)


def test_what_is_heard_of_several_adverts_is_what_drawing_them_gives() -> None:
    """Shares of heard snapshots over drawn offsets, fading and decoding."""
    looks = Looks(adverts=5.0)
    rng = np.random.default_rng(1)
    for level in (-105.0, -95.0, -88.0):
        slow = rng.normal(0.0, math.hypot(4.5, looks.tag_sd_db), 40_000)
        fast = rng.normal(0.0, math.hypot(looks.fading_db, looks.limit_sd_db), (5, 40_000))
        drawn = float((level + slow + fast >= looks.limit_dbm).any(axis=0).mean())
        assert Curve(4.5, looks)(np.array([level]))[0][0] == pytest.approx(drawn, abs=0.01)


gateway_lists = st.lists(
    st.tuples(st.floats(0.0, 20.0), st.floats(0.0, 20.0)), min_size=1, max_size=5
)


@settings(max_examples=15, deadline=None)
@given(gateways=gateway_lists, more=st.tuples(st.floats(0.0, 20.0), st.floats(0.0, 20.0)))
def test_one_more_gateway_never_raises_the_bound(
    gateways: list[tuple[float, float]], more: tuple[float, float]
) -> None:
    """At no cell, with all that is unknown."""
    rack = {
        "id": "r",
        "floor": "0",
        "kind": "rack",
        "polygon": [[8, 4], [10, 4], [10, 16], [8, 16]],
    }
    before = bound(*parts(make_site(gateways, obstacles=[rack])), on_floor=True)
    after = bound(*parts(make_site([*gateways, more], obstacles=[rack])), on_floor=True)
    assert np.all(after <= before * (1 + 1e-9))


def test_places_in_the_middle_of_cells_have_the_cells_bound() -> None:
    """The two functions agree, on every floor."""
    floors = [
        {"id": name, "name": name, "level": level, "outline": [[0, 0], [9, 0], [9, 9], [0, 9]]}
        for level, name in enumerate(("a", "b"))
    ]
    gateways = [
        {"id": f"{floor}{i}", "floor": floor, "position": [1 + 3 * i, 2 + i * i]}
        for floor in ("a", "b")
        for i in range(3)
    ]
    wall = {
        "id": "w",
        "floor": "b",
        "kind": "wall",
        "polygon": [[4, 0], [4.2, 0], [4.2, 9], [4, 9]],
    }
    made = parts(make_site([], floors=floors, gateways=gateways, obstacles=[wall]))
    grid = made[1]
    here = np.flatnonzero(grid.inside)
    np.testing.assert_array_equal(
        cells_of(grid, grid.x[here], grid.y[here], grid.floor[here]), here
    )
    np.testing.assert_allclose(
        bound_at(*made, grid.x[here], grid.y[here], grid.floor[here]), bound(*made)[here]
    )


def test_the_gradient_is_that_of_the_model_s_levels() -> None:
    """Differences of levels in free space, across floors too."""
    floors = [
        {"id": n, "name": n, "level": v, "outline": [[0, 0], [20, 0], [20, 20], [0, 20]]}
        for v, n in enumerate("ab")
    ]
    gateways = [{"id": "g", "floor": "a", "position": [3.3, 4.4, 3.0]}]
    made = parts(make_site([], floors=floors, gateways=gateways))
    _, grid, _, model = made
    sums = Information(*made, CLEAR).at_cells(0).sums
    gx, gy = sums[3] / sums[5], sums[4] / sums[5]
    for row in range(2):
        first, wide, deep = grid.base[row], grid.wide[row], grid.deep[row]
        part = slice(first, first + wide * deep)
        level = model.level[0, part].reshape(deep, wide).astype(np.float64)
        dy, dx = np.gradient(level, grid.cell_m)
        far = (np.hypot(grid.x - 3.3, grid.y - 4.4) > 6.0)[part].reshape(deep, wide)
        far[[0, -1]] = far[:, [0, -1]] = False
        np.testing.assert_allclose(gx[part].reshape(deep, wide)[far], dx[far], atol=0.02)
        np.testing.assert_allclose(gy[part].reshape(deep, wide)[far], dy[far], atol=0.02)


def test_a_wall_adds_the_slope_of_a_smoothed_step() -> None:
    """Far from the outline the slope is the loss times a normal density across the wall."""
    wall = {
        "id": "w",
        "floor": "0",
        "kind": "wall",
        "loss_db": 8.0,
        "polygon": [[40, 0], [40.4, 0], [40.4, 80], [40, 80]],
    }
    made = parts(make_site([(1.0, 40.0)], side=80.0, obstacles=[wall]))
    grid = made[1]
    slope_x, slope_y = Slopes(*made).of(0)
    row = np.flatnonzero((np.abs(grid.y - 40.25) < grid.cell_m / 2) & (grid.x > 30) & (grid.x < 50))
    z = (grid.x[row] - 40.2) / SMOOTH_M
    expected = -8.0 * np.exp(-0.5 * z * z) / (SMOOTH_M * math.sqrt(2.0 * math.pi))
    np.testing.assert_allclose(slope_x[row], expected, atol=0.12)
    assert np.abs(slope_y[row]).max() < 0.05
    # What it falls by over all is what the wall takes.
    assert slope_x[row].sum() * grid.cell_m == pytest.approx(-8.0, rel=0.02)


def test_what_is_known_beforehand_adds_up() -> None:
    """Precisions of independent sources add; along x and y each."""
    sums = np.array([1.0, 0.0, 4.0, 0.0, 0.0, 1.0])
    assert rms(sums, 0.0) == pytest.approx(math.sqrt(1.25))
    assert rms(sums, 0.0, np.array([3.0, 0.0])) == pytest.approx(math.sqrt(0.25 + 0.25))
