"""The walk filter: chances stay chances, racks stay shut, and walkers are followed."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stream.grid import WINDOW
from stream.motion import HEADINGS, MODES, MOTIONS, STAND, STEP_S, change_of_mode
from stream.walk import (
    begin,
    moved_window,
    normalised,
    pack,
    standing,
    step,
    unpack,
    weighed,
)

Singles = npt.NDArray[np.float32]
SHAPE = (MODES, WINDOW, WINDOW)
OPEN = np.ones((1, WINDOW, WINDOW), np.float32)


def numbers(rng: np.random.Generator, count: int = 1, spread: float = 6.0) -> Singles:
    """Chances of any kind: some cells almost sure, many almost nothing."""
    drawn = np.exp(spread * rng.normal(size=(count, *SHAPE))).astype(np.float32)
    drawn *= rng.random(drawn.shape) < 0.3
    drawn[:, STAND, 3, 3] += np.float32(1.0)
    return normalised(drawn)


def moves(count: int = 1, reach: float = 0.55, stray: float = 0.05) -> tuple[Singles, ...]:
    """Change of mode, reach and stray for a picker."""
    change = np.repeat(change_of_mode(MOTIONS["picker"])[None], count, axis=0).astype(np.float32)
    return change, np.full(count, reach, np.float32), np.full(count, stray, np.float32)


def stepped(chances: Singles, free: Singles, reach: float = 0.55, stray: float = 0.05) -> Singles:
    """One step of a picker's."""
    change, reaches, strays = moves(len(chances), reach, stray)
    free = np.broadcast_to(free, (len(chances), WINDOW, WINDOW))
    return step(chances.copy(), change, free, reaches, strays)


def one_at(x: int, y: int, mode: int) -> Singles:
    """One who is in a cell for sure."""
    chances = np.zeros((1, *SHAPE), np.float32)
    chances[0, mode, y, x] = 1.0
    return chances


seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@settings(max_examples=40, deadline=None)
@given(seeds, st.floats(0.0, 1.0), st.floats(0.0, 0.2))
def test_chances_add_up_to_one_and_racks_stay_shut(
    rng: np.random.Generator, reach: float, stray: float
) -> None:
    """Steps lose and invent nothing; no blocked cell gains in any walking mode or standing."""
    free = (rng.random((1, WINDOW, WINDOW)) < 0.7).astype(np.float32)
    chances = numbers(rng, 2)
    chances[1] *= free
    chances = normalised(chances)
    blocked = free[0] == 0.0
    inside = chances.sum(axis=1)[:, blocked].copy()
    for _ in range(5):
        chances = stepped(chances, free, reach, stray)
        assert (chances >= -1e-7).all()
        assert chances.sum(axis=(1, 2, 3)) == pytest.approx([1.0, 1.0], abs=1e-5)
        now = chances.sum(axis=1)[:, blocked]
        # What began there may come out; nothing gets in.
        assert (now <= inside + 1e-6).all()
        inside = now.copy()
    assert not chances[1][:, blocked].any()


def test_evidence_and_storing_keep_one_out_of_racks() -> None:
    """Over many ticks with levels that pull into a rack, one who was outside stays outside."""
    free = np.ones((1, WINDOW, WINDOW), np.float32)
    free[0, :, 8:11] = 0.0
    x = np.arange(WINDOW)
    likelihood = np.exp(-0.1 * (x - 9.0) ** 2)[None, None, :].astype(np.float32) * OPEN
    chances = one_at(4, 7, STAND)
    for _ in range(200):
        chances = unpack(pack(weighed(stepped(chances, free), likelihood)))
    assert chances[:, :, :, 8:11].sum() < 1e-3
    # Nor was it let through.
    assert chances[:, :, :, 11:].sum() < 1e-2
    assert chances.sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("heading", range(len(HEADINGS)))
def test_a_walk_goes_where_it_heads(heading: int) -> None:
    """Along its heading by its reach on average; standing modes shift, but go nowhere."""
    change = np.eye(MODES, dtype=np.float32)[None]
    dx, dy = HEADINGS[heading]
    chances = one_at(8, 8, 1 + heading)
    count = 6
    for _ in range(count):
        chances = step(chances, change, OPEN, np.array([0.55], np.float32), np.zeros(1, np.float32))
    along = np.arange(WINDOW)
    cells = chances[0].sum(axis=0)
    assert (cells.sum(axis=0) * along).sum() == pytest.approx(8 + dx * 0.55 * count, abs=1e-4)
    assert (cells.sum(axis=1) * along).sum() == pytest.approx(8 + dy * 0.55 * count, abs=1e-4)


def test_one_who_stands_spreads_by_what_it_strays() -> None:
    """After a step its variance is two strays along each axis, about its place."""
    change = np.eye(MODES, dtype=np.float32)[None]
    chances = one_at(8, 8, STAND)
    for _ in range(4):
        chances = step(
            chances, change, OPEN, np.array([0.55], np.float32), np.array([0.06], np.float32)
        )
    along = np.arange(WINDOW) - 8.0
    cells = chances[0].sum(axis=0)
    for axis in (0, 1):
        line = cells.sum(axis=axis)
        assert (line * along).sum() == pytest.approx(0.0, abs=1e-5)
        assert (line * along**2).sum() == pytest.approx(4 * 2 * 0.06, rel=1e-4)


@settings(max_examples=60, deadline=None)
@given(seeds, st.floats(0.0, 12.0))
def test_what_is_stored_is_what_goes_on(rng: np.random.Generator, spread: float) -> None:
    """Storing what was stored changes no byte, so it does not matter how often it happens."""
    once = pack(numbers(rng, 3, spread))
    assert pack(unpack(once)).tobytes() == once.tobytes()


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, (1, *SHAPE), elements=st.integers(0, 255)))
def test_any_bytes_are_chances(stored: npt.NDArray[np.uint8]) -> None:
    """Whatever is read back adds up to 1, or to nothing where there is nothing."""
    chances = unpack(stored)
    assert np.isfinite(chances).all()
    total = 1.0 if stored.any() else 0.0
    assert chances.sum() == pytest.approx(total, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_storing_loses_little(rng: np.random.Generator) -> None:
    """No chance is off by more than a part in a hundred of the largest."""
    chances = numbers(rng, 2)
    off = np.abs(unpack(pack(chances)) - chances).max(axis=(1, 2, 3))
    assert (off <= 0.01 * chances.max(axis=(1, 2, 3)) + 1e-6).all()


def shifted(chances: Singles, dx: int, dy: int) -> Singles:
    """A window that lies dx, dy further, cell by cell."""
    out = np.zeros_like(chances)
    for y in range(WINDOW):
        for x in range(WINDOW):
            if 0 <= x + dx < WINDOW and 0 <= y + dy < WINDOW:
                out[:, y, x] = chances[:, y + dy, x + dx]
    return out


@settings(max_examples=40, deadline=None)
@given(seeds, st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), min_size=1))
def test_a_moved_window_sees_the_same_cells(
    rng: np.random.Generator, shifts: list[tuple[int, int]]
) -> None:
    """For many at once, each by its own shift; what falls out is lost."""
    shifts = shifts[:6]
    chances = numbers(rng, len(shifts))
    dx, dy = (np.array(column, np.int64) for column in zip(*shifts, strict=True))
    moved = moved_window(chances, dx, dy)
    for k, (x, y) in enumerate(shifts):
        assert (moved[k] == shifted(chances[k], x, y)).all()


def test_one_who_was_just_found_may_be_doing_anything() -> None:
    """Its place is the likelihood's, its mode open."""
    likelihood = np.random.default_rng(1).random((2, WINDOW, WINDOW)).astype(np.float32)
    chances = begin(likelihood)
    assert chances.sum(axis=1) == pytest.approx(
        likelihood / likelihood.sum(axis=(1, 2), keepdims=True), rel=1e-4
    )
    assert 0.2 < standing(chances)[0] < 0.8
    modes = chances.sum(axis=(2, 3))[:, 1:]
    assert modes == pytest.approx(np.repeat(modes[:, :1], len(HEADINGS), axis=1), rel=1e-4)


def test_evidence_that_nothing_foresaw_still_moves_it() -> None:
    """A filter that is sure of the wrong place comes back within a few ticks."""
    x = np.arange(WINDOW)
    far = np.exp(-0.5 * (x[None, :] - 13.0) ** 2 - 0.5 * (x[:, None] - 13.0) ** 2)
    likelihood = far[None].astype(np.float32) + np.float32(1e-12)
    chances = unpack(pack(one_at(2, 2, STAND)))
    for _ in range(4):
        chances = weighed(stepped(chances, OPEN), likelihood)
        chances = unpack(pack(chances))
    cells = chances[0].sum(axis=0)
    assert cells[10:, 10:].sum() > 0.9


def test_evidence_rules_out_what_it_gives_no_chance() -> None:
    """A cell outside the outline keeps nothing."""
    likelihood = OPEN.copy()
    likelihood[0, :, :5] = 0.0
    chances = weighed(numbers(np.random.default_rng(4)), likelihood)
    assert not chances[:, :, :, :5].any()
    assert chances.sum() == pytest.approx(1.0, abs=1e-5)


def follow(
    path: Callable[[float], float], seconds: float, sd_m: float, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """One in an aisle three cells wide: truth and mean of the filter along it, tick by tick.

    Places are seen with a round error of `sd_m` metres; cells are a metre.
    """
    rng = np.random.default_rng(seed)
    free = np.zeros((1, WINDOW, WINDOW), np.float32)
    free[0, 6:9] = 1.0
    along = np.arange(WINDOW, dtype=np.float64)
    motion = MOTIONS["picker"]
    reach, stray = motion.speed_m_s * STEP_S, motion.strays_m2_s * STEP_S / 2.0
    left = 0
    truth, found = [], []
    chances = np.zeros(0, np.float32)
    for k in range(round(seconds / STEP_S)):
        at = path(STEP_S * (k + 1))
        seen_x, seen_y = at + rng.normal(0.0, sd_m), 7.0 + rng.normal(0.0, sd_m)
        sharp = -0.5 / sd_m**2
        near = np.exp(
            sharp * (left + along[None, :] - seen_x) ** 2 + sharp * (along[:, None] - seen_y) ** 2
        )
        likelihood = (near[None] + 1e-12).astype(np.float32)
        if k == 0:
            chances = begin(likelihood * free)
        else:
            chances = weighed(stepped(unpack(pack(chances)), free, reach, stray), likelihood)
        mean = float((chances[0].sum(axis=(0, 1)) * along).sum())
        truth.append(at)
        found.append(left + mean)
        shift = round(mean) - WINDOW // 2
        if abs(shift) > 2:
            left += shift
            chances = moved_window(chances, np.array([shift]), np.array([0]))
    return np.array(truth), np.array(found)


@pytest.mark.parametrize("speed", [0.6, 0.9, 1.2, 1.6])
def test_a_walker_in_an_aisle_is_followed(speed: float) -> None:
    """Seen with 2 m of error each half second: after 10 s along the aisle below 1.5 m."""
    errors = []
    for seed in range(4):
        truth, found = follow(lambda t: 4.0 + speed * t, 30.0, 2.0, seed)
        errors.append(np.abs(found - truth)[20:])
    assert np.mean(errors) < 1.5


def test_one_who_stands_does_not_jitter() -> None:
    """With the same errors the fixes of one who stands scatter a third as much at most."""
    spread = []
    for seed in range(4):
        _, found = follow(lambda _: 7.0, 60.0, 2.0, seed)
        spread.append(float(np.std(found[40:])))
    assert float(np.mean(spread)) < 2.0 / 3.0


def test_one_who_stops_is_not_carried_on() -> None:
    """3 s after a stop it is where it stopped, to about a metre, and stays."""
    for seed in range(4):
        truth, found = follow(lambda t: 4.0 + 1.1 * min(t, 12.0), 30.0, 2.0, seed)
        assert np.abs(found - truth)[30:].mean() < 1.2
        assert np.abs(found - truth)[40:].mean() < 0.9


def test_the_chance_of_standing() -> None:
    """It is the share of the standing mode."""
    chances = numbers(np.random.default_rng(3), 2)
    expected = [math.fsum(each[STAND].ravel().tolist()) for each in chances]
    assert standing(chances) == pytest.approx(expected, rel=1e-5)
