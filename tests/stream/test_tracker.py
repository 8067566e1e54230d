"""The motion filter: a walker is followed without lag, what lies still lies still."""

from __future__ import annotations

import numpy as np
import pytest

from stream.site import Kind
from stream.tracker import FORGET_S, TRACK, Motions, advance

T0 = 1_700_000_000.0
TICK = 0.5


def follow(
    kind: Kind, true: np.ndarray, noise: float, seed: int = 0, age: float = 1.0, sd: float = 0.0
) -> np.ndarray:
    """The track (n, 2) of a path (n, 2) measured each tick with noise, `age` seconds late.

    The solver is taken to state the standard deviation `sd`, or the noise.
    """
    rng = np.random.default_rng(seed)
    tracks, motions = np.zeros(1, TRACK), Motions.of([kind])
    rows, found = np.zeros(1, np.int64), []
    late = int(age / TICK)
    for k in range(len(true)):
        z = true[max(0, k - late)] + rng.normal(0.0, noise, 2)
        advance(
            tracks,
            rows,
            motions,
            T0 + k * TICK,
            z[None],
            np.array([max(noise, sd, 0.3) ** 2]),
            np.array([age]),
        )
        found.append((float(tracks["x"][0]), float(tracks["y"][0])))
    return np.array(found)


def test_a_walker_is_not_lagged() -> None:
    """At 1.3 m/s, measured a second late, the track is within half a second of the walker."""
    k = np.arange(80)
    true = np.column_stack([1.3 * TICK * k, np.zeros(80)])
    behind = [true[20:, 0] - follow("picker", true, 0.8, seed)[20:, 0] for seed in range(20)]
    assert abs(np.mean(behind)) < 0.65


def test_a_walker_who_stops_is_not_overrun() -> None:
    """Ten seconds after a sudden stop the track is at the stop."""
    k = np.arange(80)
    true = np.column_stack([1.3 * TICK * np.minimum(k, 40), np.zeros(80)])
    over = [follow("picker", true, 0.5, seed)[60:, 0] - true[60:, 0] for seed in range(20)]
    assert abs(np.mean(over)) < 0.3


def test_a_still_item_does_not_jitter() -> None:
    """Places that wander by a metre leave an item's track within a hand of itself each tick."""
    rng = np.random.default_rng(3)
    steps = []
    for _ in range(10):
        # The errors of places that follow each other share their evidence, and so each other.
        wander = np.zeros((200, 2))
        for k in range(1, 200):
            wander[k] = 0.78 * wander[k - 1] + rng.normal(0.0, 0.62, 2)
        steps.append(np.hypot(*np.diff(follow("item", wander, 0.0, sd=2.0)[60:], axis=0).T).mean())
    assert np.mean(steps) < 0.1


def test_a_carried_item_is_followed() -> None:
    """An item that lay for a minute and is carried 20 m is there within 10 s of arriving."""
    k = np.arange(220)
    walked = np.clip((k - 120) * 1.2 * TICK, 0.0, 20.0)
    true = np.column_stack([walked, np.zeros(220)])
    for seed in range(10):
        found = follow("item", true, 1.0, seed)
        assert np.hypot(*(found[185:] - true[185:]).T).mean() < 2.0


def test_after_long_silence_it_starts_anew() -> None:
    """Unheard for longer than FORGET_S, the next place is believed outright."""
    tracks, motions, rows = np.zeros(1, TRACK), Motions.of(["picker"]), np.zeros(1, np.int64)
    one, age = np.ones(1), np.zeros(1)
    for k in range(40):
        advance(tracks, rows, motions, T0 + k * TICK, np.zeros((1, 2)), one, age)
    advance(tracks, rows, motions, T0 + 40 * TICK + FORGET_S, np.full((1, 2), 30.0), one, age)
    assert (tracks["x"][0], tracks["y"][0]) == (30.0, 30.0)


def test_rows_do_not_touch_each_other() -> None:
    """Only the rows named move, each by its own measurement."""
    tracks, motions = np.zeros(3, TRACK), Motions.of(["item", "picker", "item"])
    z = np.array([[1.0, 2.0], [5.0, 6.0]])
    advance(tracks, np.array([0, 2]), motions, T0, z, np.ones(2), np.zeros(2))
    assert tracks["x"].tolist() == pytest.approx([1.0, 0.0, 5.0])
    assert tracks["t"][1] == 0.0
