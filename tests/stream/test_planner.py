"""The planner sees holes, dead corners and spare gateways where anybody would."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from stream.bound import Looks, bound
from stream.calibration import Calibration, prior
from stream.grid import Grid
from stream.planner import RADIUS_PER_RMS, Plan, PlanError, plan
from stream.radio_model import Geometry, RadioModel
from stream.site import Site, check_site, load_site

Floats = npt.NDArray[np.float64]
ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared/data"


def make_site(
    places: list[tuple[float, ...]], wide: float = 40.0, deep: float = 40.0, **more: Any
) -> Site:
    """A floor of a box with gateways."""
    document = {
        "id": "test",
        "name": "test",
        "timezone": "UTC",
        "floors": [
            {
                "id": "0",
                "name": "ground",
                "level": 0,
                "outline": [[0, 0], [wide, 0], [wide, deep], [0, deep]],
            }
        ],
        "gateways": [
            {"id": f"g{i}", "floor": "0", "position": list(at)} for i, at in enumerate(places)
        ],
    }
    site = msgspec.convert(document | more, Site)
    check_site(site, "test")
    return site


def lattice(side: float, step: float) -> list[tuple[float, ...]]:
    """A grid of gateways from wall to wall."""
    marks = [min(max(v, 0.5), side - 0.5) for v in np.arange(0.0, side + step / 2, step)]
    return [(float(x), float(y)) for x in marks for y in marks]


def sheet(made: Plan, values: npt.NDArray[Any], row: int = 0) -> npt.NDArray[Any]:
    """Values of a floor's cells as a picture, (y, x), its padding cut off."""
    grid = made.grid
    part = slice(grid.base[row], grid.base[row] + grid.wide[row] * grid.deep[row])
    shape = grid.deep[row], grid.wide[row]
    inside = grid.inside[part].reshape(shape)
    ys, xs = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return values[part].reshape(shape)[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]


def test_the_next_gateway_goes_into_the_hole() -> None:
    """A regular grid with one missing: the advice is the missing one's place."""
    hole = (20.0, 30.0)
    site = make_site([at for at in lattice(40.0, 10.0) if at != hole])
    assert len(site.gateways) == 24
    made = plan(site)
    place = made.report.next
    assert place is not None
    assert math.dist((place.x, place.y), hole) < 5.0
    # It stands between the missing one's neighbours, and takes the hole away.
    now = made.report.floors[0].now
    assert place.then.rms_m < now.rms_m
    assert place.then.p90_m < now.p90_m


def test_what_the_advice_promises_is_what_the_next_plan_says() -> None:
    """With the proposed gateway in the document the figures are those that were foretold."""
    rack = {
        "id": "r",
        "floor": "0",
        "kind": "rack",
        "polygon": [[9, 5], [11, 5], [11, 30], [9, 30]],
    }
    gateways: list[tuple[float, ...]] = [(5.0, 5.0, 3.0), (35.0, 8.0, 3.0), (20.0, 36.0, 3.0)]
    place = plan(make_site(gateways, obstacles=[rack])).report.next
    assert place is not None
    after = plan(make_site([*gateways, (place.x, place.y, place.z)], obstacles=[rack]))
    now = after.report.floors[0].now
    assert now.median_m == pytest.approx(place.then.median_m, rel=0.02)
    assert now.rms_m == pytest.approx(place.then.rms_m, rel=0.02)


def test_a_symmetric_site_has_a_symmetric_map() -> None:
    """Mirrored at both axes and at the diagonal, racks included."""
    racks = [
        {"id": f"r{i}", "floor": "0", "kind": "rack", "polygon": ring}
        for i, ring in enumerate(
            [
                [[10, 10], [12, 10], [12, 12], [10, 12]],
                [[28, 10], [30, 10], [30, 12], [28, 12]],
                [[10, 28], [12, 28], [12, 30], [10, 30]],
                [[28, 28], [30, 28], [30, 30], [28, 30]],
            ]
        )
    ]
    made = plan(make_site(lattice(40.0, 20.0), obstacles=racks))
    radius = sheet(made, made.radius)
    np.testing.assert_allclose(radius, radius[::-1], rtol=1e-4)
    np.testing.assert_allclose(radius, radius[:, ::-1], rtol=1e-4)
    np.testing.assert_allclose(radius, radius.T, rtol=1e-4)


def test_a_corner_without_its_gateway_is_dead() -> None:
    """On a long floor with gateways at the other end alone, the far end is dead."""
    near: list[tuple[float, ...]] = [(1.0, 1.0), (1.0, 14.0), (8.0, 8.0)]
    far: list[tuple[float, ...]] = [(59.0, 1.0), (59.0, 14.0), (52.0, 8.0)]
    both = plan(make_site([*near, *far], 60.0, 15.0))
    one = plan(make_site(near, 60.0, 15.0))
    dead = sheet(one, one.dead)
    assert dead[:, -10:].all()
    assert not dead[4:11, 2:6].any()
    assert not sheet(both, both.dead)[4:11, -6:-2].any()
    assert one.report.floors[0].now.dead_share > both.report.floors[0].now.dead_share
    place = one.report.next
    assert place is not None
    assert place.x > 20.0


def test_a_twin_adds_less_than_one_alone() -> None:
    """Of two gateways at one place and others apart, the twins are named first."""
    alone: list[tuple[float, ...]] = [(2.0, 2.0), (38.0, 2.0), (20.0, 38.0), (38.0, 30.0)]
    site = make_site([*alone, (4.0, 30.0), (4.0, 30.2)])
    spares = plan(site).report.spares
    assert {spare.gateway for spare in spares[:2]} == {"g4", "g5"}
    assert [s.adds for s in spares] == sorted(s.adds for s in spares)
    now = plan(site).report.floors[0].now
    assert all(spare.without.rms_m >= now.rms_m for spare in spares)
    # What is foretold of a gateway's leaving is what the plan without it says.
    gone = [part for part in site.gateways if part.id != spares[-1].gateway]
    after = plan(msgspec.structs.replace(site, gateways=gone)).report.floors[0].now
    assert after.rms_m == pytest.approx(spares[-1].without.rms_m, rel=0.02)


def test_the_radius_is_the_bound_s_and_holds_68_percent_of_a_round_error() -> None:
    """Known answer of the factor; and the map is the bound times one number."""
    rng = np.random.default_rng(2)
    error = np.hypot(*rng.normal(0.0, 1.0, (2, 200_000)))
    assert float((error <= RADIUS_PER_RMS * math.sqrt(2.0)).mean()) == pytest.approx(0.68, abs=0.01)
    site = make_site(lattice(40.0, 20.0))
    made = plan(site)
    grid = Grid(site)
    geometry = Geometry(site, grid)
    model = RadioModel(site, grid, geometry, prior(site.id))
    ratio = made.radius / bound(site, grid, geometry, model, Looks(), on_floor=True)
    assert np.ptp(ratio) < 1e-9


def test_a_site_without_gateways_gets_its_first() -> None:
    """All of it is dead, and the first goes where it hears most."""
    made = plan(make_site([], 30.0, 20.0))
    floor = made.report.floors[0]
    assert (floor.gateways, floor.now.dead_share, made.report.spares) == (0, 1.0, [])
    assert made.report.next is not None
    assert math.isfinite(floor.now.p90_m)


def test_the_next_gateway_hangs_in_free_room() -> None:
    """Not in racks; and none at all where there is no room."""
    left = range(2, 28, 5)
    racks = [
        {
            "id": f"r{i}",
            "floor": "0",
            "kind": "rack",
            "polygon": [[x, 2], [x + 3, 2], [x + 3, 28], [x, 28]],
        }
        for i, x in enumerate(left)
    ]
    place = plan(make_site([(1.0, 1.0), (29.0, 1.0)], 30.0, 30.0, obstacles=racks)).report.next
    assert place is not None
    assert not any(x < place.x < x + 3 and 2 < place.y < 28 for x in left)
    full = [
        {"id": "r", "floor": "0", "kind": "rack", "polygon": [[-1, -1], [9, -1], [9, 9], [-1, 9]]}
    ]
    assert plan(make_site([(4.0, 4.0)], 8.0, 8.0, obstacles=full)).report.next is None


def test_of_several_floors_the_neediest_gets_the_next() -> None:
    """Each floor has its figures and its own advice; a floor smaller than a cell is no fault."""
    floors = [
        {
            "id": name,
            "name": name,
            "level": level,
            "outline": [[0, 0], [side, 0], [side, side], [0, side]],
        }
        for level, (name, side) in enumerate((("low", 30.0), ("high", 30.0), ("box", 0.2)))
    ]
    gateways = [
        {"id": f"g{i}", "floor": "low", "position": [x, y]}
        for i, (x, y) in enumerate(lattice(30.0, 10.0))
    ]
    report = plan(make_site([], floors=floors, gateways=gateways)).report
    assert [floor.gateways for floor in report.floors] == [16, 0, 0]
    assert report.floors[1].now.median_m > report.floors[0].now.median_m
    assert report.next is not None
    assert report.next.floor == "high"


def test_a_better_radio_makes_a_better_plan() -> None:
    """The calibration counts: half the noise."""
    site = make_site(lattice(40.0, 20.0))
    quiet = plan(site, Calibration(1, "test", "survey", sd_db=2.25)).report
    assert quiet.origin == "survey"
    assert quiet.floors[0].now.median_m < 0.8 * plan(site).report.floors[0].now.median_m


def test_a_calibration_of_another_site_is_refused() -> None:
    """One sentence names both."""
    with pytest.raises(PlanError, match=r"is of site `other`, not of `test`; give the one"):
        plan(make_site([(1.0, 1.0)]), prior("other"))


def test_the_same_site_gives_the_same_plan() -> None:
    """No clock and no dice."""
    site = make_site(lattice(40.0, 20.0))
    assert msgspec.json.encode(plan(site).report) == msgspec.json.encode(plan(site).report)


def test_the_page_s_table_is_what_the_planner_says() -> None:
    """Rules of thumb in docs/placement.md, for the rows that are quick to compute."""
    page = (ROOT / "docs/placement.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) m \| ([\d.]+) m \| ([\d.]+) m \| (\d+) % \|$", page, re.MULTILINE)
    assert [row[0] for row in rows] == ["6", "8", "10", "12", "15", "20"]
    for step, *said in rows[:3]:
        side = 5.0 * float(step)
        now = plan(make_site(lattice(side, float(step)), side, side)).report.floors[0].now
        found = [f"{now.median_m:.1f}", f"{now.p90_m:.1f}", f"{100 * now.dead_share:.0f}"]
        assert found == said


# The bounds that positioning research on these surveys found with the noise fitted to them.
@pytest.mark.measured
@pytest.mark.parametrize(
    ("name", "exponent", "offset_dbm", "sd_db", "stated_m"),
    [
        ("tetam", 1.56, -55.5, 4.06, 2.6),
        ("uji-library", 3.35, -45.7, 5.82, 0.84),
        ("uji-office", 2.39, -47.5, 5.05, 1.1),
    ],
)
def test_measured_sites_have_the_bounds_that_were_stated_for_them(
    name: str, exponent: float, offset_dbm: float, sd_db: float, stated_m: float
) -> None:
    """Same order, with path loss and noise as least squares on each survey gives them."""
    if not (DATA / name).is_dir():
        pytest.skip(f"there is no {name} in ../shared/data")
    site = load_site(DATA / name / "site.json")
    grid = Grid(site)
    geometry = Geometry(site, grid)
    calibration = Calibration(
        1, site.id, "survey", exponent=exponent, offset_dbm=offset_dbm, sd_db=sd_db
    )
    model = RadioModel(site, grid, geometry, calibration)
    looks = Looks(fading_db=0.0, tag_sd_db=0.0)
    median = float(np.median(bound(site, grid, geometry, model, looks)[grid.inside]))
    assert median == pytest.approx(stated_m, rel=0.3)
