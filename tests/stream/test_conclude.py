"""From posterior to place: means, spreads, speeds, zones and beacons, summed up by hand."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.calibration import prior
from stream.conclude import INDEPENDENT, LEAST_SD_M, REST_HONESTY, WALK_HONESTY, conclude
from stream.evidence import EMPTY, SLOTS
from stream.fixes import NONE
from stream.grid import WINDOW
from stream.layout import Layout
from stream.learnt import Learnt
from stream.motion import HEADINGS, MODES, STAND
from stream.scene import Part, Scene
from stream.sensing import Sensing
from stream.track import RESTS, TRACK, WALKS, Tracks
from tests.support.locating import hall, rectangle

Singles = npt.NDArray[np.float32]

ZONES = [
    rectangle(0.0, 0.0, 12.0, 30.0),
    rectangle(10.0, 8.0, 16.0, 14.0),
    rectangle(13.05, 10.05, 13.4, 10.4),
]


def scene(zones: bool = True) -> Scene:
    """A hall with two zones that overlap, and a tiny one in the second."""
    layout = Layout(hall(("picker", "item"), beacons=2, zones=ZONES if zones else ()))
    online = np.ones(len(layout.gateway_row), np.bool_)
    return Scene(layout, Sensing(layout, prior("hall"), online, -91.0), Learnt())


SCENE = scene()


def part(
    count: int = 1, age: float = 0.0, owner: list[int] | None = None, many: list[int] | None = None
) -> Part:
    """Some trackables' beacons, each heard by so many gateways."""
    owner = list(range(count)) if owner is None else owner
    many = [3] * len(owner) if many is None else many
    gateway = np.full((len(owner), SLOTS), EMPTY, np.int64)
    for row, heard in enumerate(many):
        gateway[row, :heard] = np.arange(heard)
    levels = (gateway, np.full(gateway.shape, -70.0), np.full(gateway.shape, 5.0))
    beacons = np.array([2 * own + owner[:k].count(own) for k, own in enumerate(owner)])
    return Part(
        np.arange(count), np.array(owner), beacons, levels, levels, np.full(len(owner), age)
    )


def tracks(modes: list[int], ix: int = 8, iy: int = 6) -> Tracks:
    """Tracks on the ground floor, with windows from this column and row on."""
    track = np.zeros(len(modes), TRACK)
    track["mode"], track["ix"], track["iy"] = modes, ix, iy
    return track


def posterior(seed: int, count: int = 1) -> Singles:
    """Some chances over windows, not normalised."""
    rng = np.random.default_rng(seed)
    drawn = rng.random((count, WINDOW, WINDOW)) * (rng.random((count, WINDOW, WINDOW)) < 0.2)
    drawn[:, 5, 7] += 0.5
    return drawn.astype(np.float32)


def of_mode(mode: int, cells: Singles) -> Singles:
    """The walk filters of some who are in one mode."""
    chances = np.zeros((len(cells), MODES, WINDOW, WINDOW), np.float32)
    chances[:, mode] = cells / cells.sum(axis=(1, 2), keepdims=True)
    return chances


def told(track: Tracks, cells: Singles, some: Part | None = None, of: Scene = SCENE) -> Tracks:
    """The tracks after their posteriors; those that walk stand."""
    walkers = np.flatnonzero(track["mode"] == WALKS)
    some = part(len(track)) if some is None else some
    conclude(of, some, track, cells, walkers, of_mode(STAND, cells[walkers]))
    return track


def places(track: Tracks) -> list[tuple[float, float, int]]:
    """x, y and number of the window's cells, line by line."""
    grid = SCENE.layout.grid
    found = []
    for j in range(WINDOW):
        for i in range(WINDOW):
            column, row = int(track["ix"][0]) + i, int(track["iy"][0]) + j
            cell = row * int(grid.wide[0]) + column
            found.append((float(grid.x[cell]), float(grid.y[cell]), cell))
    return found


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([WALKS, RESTS]))
def test_place_and_spread_are_moments_of_the_posterior(seed: int, mode: int) -> None:
    """Mean over cells, and root of the mean variance of both axes, with what is owned up to."""
    track = tracks([mode])
    cells = posterior(seed)
    told(track, cells)
    weights = cells[0].ravel().astype(float)
    total = weights.sum()
    # What rests is taken to be nearer to the peak.
    near = weights**2 if mode == RESTS else weights
    x = sum(w * place[0] for w, place in zip(near, places(track), strict=True)) / near.sum()
    y = sum(w * place[1] for w, place in zip(near, places(track), strict=True)) / near.sum()
    spread = sum(
        w * ((place[0] - x) ** 2 + (place[1] - y) ** 2)
        for w, place in zip(weights, places(track), strict=True)
    ) / (2.0 * total)
    honesty = WALK_HONESTY if mode == WALKS else REST_HONESTY
    assert (track["x"][0], track["y"][0]) == pytest.approx((x, y), abs=1e-3)
    assert track["sd"][0] == pytest.approx(honesty * math.sqrt(spread + LEAST_SD_M**2), rel=1e-3)
    assert (track["vx"][0], track["vy"][0]) == (0.0, 0.0)


@pytest.mark.parametrize("heading", range(len(HEADINGS)))
def test_one_who_walks_has_walked_on_since_it_was_heard(heading: int) -> None:
    """Its speed is its kind's along its heading, and its place is that of the tick's end."""
    cells = posterior(3)
    still, going = tracks([WALKS]), tracks([WALKS])
    only = np.array([0])
    told(still, cells)
    conclude(SCENE, part(age=0.5), going, cells, only, of_mode(1 + heading, cells))
    speed = SCENE.layout.motions.speed_m_s[0]
    dx, dy = HEADINGS[heading]
    assert (going["vx"][0], going["vy"][0]) == pytest.approx((speed * dx, speed * dy))
    assert going["x"][0] - still["x"][0] == pytest.approx(0.5 * speed * dx, abs=1e-4)
    assert going["y"][0] - still["y"][0] == pytest.approx(0.5 * speed * dy, abs=1e-4)


def test_one_who_may_be_standing_has_half_the_speed() -> None:
    """Speed is the mean over modes."""
    cells = posterior(4)
    track = tracks([WALKS])
    both = 0.5 * (of_mode(STAND, cells) + of_mode(1, cells))
    conclude(SCENE, part(), track, cells, np.array([0]), both)
    assert track["vx"][0] == pytest.approx(0.5 * SCENE.layout.motions.speed_m_s[0])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 20), st.integers(0, 20))
def test_a_zone_has_the_share_of_the_posterior_that_lies_in_it(seed: int, ix: int, iy: int) -> None:
    """Cell by cell: the smallest zone that holds the cell's middle; outside counts as well."""
    track = tracks([RESTS], ix, iy)
    cells = posterior(seed)
    told(track, cells)
    share: dict[int, float] = {}
    for weight, (x, y, cell) in zip(cells[0].ravel().astype(float), places(track), strict=True):
        zone = -1
        if 0.0 <= x <= 12.0 and 0.0 <= y <= 30.0:
            zone = 0
        if 10.0 <= x <= 16.0 and 8.0 <= y <= 14.0:
            zone = 1
        if cell == tiny():
            zone = 2
        share[zone] = share.get(zone, 0.0) + weight
    likeliest = max(sorted(share), key=lambda zone: share[zone])
    expected = share[likeliest] / sum(share.values()) if likeliest >= 0 else 0.0
    assert track["zone"][0] == (likeliest if likeliest >= 0 else NONE)
    assert track["chance"][0] == pytest.approx(expected, abs=1e-4)


def tiny() -> int:
    """The cell nearest to the zone that holds no cell's middle."""
    grid = SCENE.layout.grid
    return int(np.hypot(grid.x - 13.225, grid.y - 10.225).argmin())


def test_a_zone_smaller_than_a_cell_can_be_the_answer() -> None:
    """One that lies in its cell for sure is in it for sure."""
    track = tracks([RESTS])
    cells = np.zeros((1, WINDOW, WINDOW), np.float32)
    column = [cell for _, _, cell in places(track)].index(tiny())
    cells[0, column // WINDOW, column % WINDOW] = 1.0
    told(track, cells)
    assert (track["zone"][0], track["chance"][0]) == (2, 1.0)


def test_trackables_of_a_chunk_do_not_share_zones() -> None:
    """Each one's zone is that of its own posterior."""
    track = tracks([RESTS, RESTS])
    track["ix"], track["iy"] = [8, 28], 14
    told(track, posterior(9, 2))
    assert track["zone"].tolist() == [0, NONE]
    assert track["chance"][0] > 0.4
    assert track["chance"][1] == 0.0


def test_a_site_without_zones_has_fixes_without() -> None:
    """No zones, no probability."""
    track = tracks([RESTS])
    cells = posterior(2)
    told(track, cells, of=scene(False))
    assert (track["zone"][0], track["chance"][0]) == (NONE, 0.0)


def test_many_gateways_are_not_taken_for_as_many_witnesses() -> None:
    """The spread is that of the posterior up to some gateways; of more, errors are common."""
    few, many = int(INDEPENDENT), SLOTS
    spread = []
    for heard in (2, few, many):
        track = told(tracks([RESTS]), posterior(5), part(many=[heard]))
        spread.append(float(track["sd"][0]))
    assert spread[0] == spread[1]
    assert spread[2] == pytest.approx(spread[1] * math.sqrt(max(1.0, many / INDEPENDENT)))


def test_the_beacon_that_most_gateways_heard_is_named() -> None:
    """Of equals the first one that it wears."""
    track = tracks([RESTS, RESTS])
    cells = posterior(2, 2)
    worn = part(2, owner=[0, 0, 1, 1], many=[2, 4, 3, 3])
    told(track, cells, worn)
    assert track["beacon"].tolist() == [1, 0]
