"""The motion filter: a Kalman filter per trackable with the motion of its kind.

Velocity is an Ornstein-Uhlenbeck process (it forgets itself within `keeps_s`), position its
integral: a walker is followed without lag and a thing at rest does not wander off. A measured
place is compared with where the trackable was at the measurement's own age, so the fading of the
evidence costs no lag either. x and y share one covariance, since a measured place's error is
taken as round: the filter is seven numbers a trackable and plain arithmetic on columns.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.site import Kind

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Motion(NamedTuple):
    """How a kind moves.

    Attributes:
        speed_sd: long-run standard deviation of either velocity component, m/s.
        keeps_s: how long a velocity lasts.
        fade_s: over how long its readings are averaged.
    """

    speed_sd: float
    keeps_s: float
    fade_s: float


# People and carts walk at 0.8 to 1.6 m/s for a few seconds at a time; items lie, and when they are
# carried the gate below lets go of the old place.
_WALKS: Final = Motion(speed_sd=0.8, keeps_s=4.0, fade_s=1.5)
MOTIONS: Final[dict[Kind, Motion]] = {
    "picker": _WALKS,
    "visitor": _WALKS,
    "cart": _WALKS,
    "other": _WALKS,
    "item": Motion(speed_sd=0.03, keeps_s=2.0, fade_s=8.0),
}
# Beyond this many standard deviations, this many times in a row, the trackable is elsewhere.
GATE: Final = 3.5
GATE_TIMES: Final = 4
# After this long unheard the old place says nothing any more.
FORGET_S: Final = 60.0
# A track is not surer than this: shadowing at one place does not average out.
LEAST_SD_M: Final = 0.35

TRACK: Final = np.dtype(
    [
        ("t", "<f8"),  # tick end of the last update, 0 when never
        ("x", "<f8"),
        ("y", "<f8"),
        ("vx", "<f4"),
        ("vy", "<f4"),
        ("pp", "<f4"),  # variance of position, m2
        ("pv", "<f4"),  # covariance of position and velocity
        ("vv", "<f4"),  # variance of velocity
        ("misses", "<i2"),  # gate exceeded, times in a row
    ]
)
Tracks = npt.NDArray[np.void]


class Motions(NamedTuple):
    """MOTIONS as columns by trackable row."""

    speed_sd: Floats
    keeps_s: Floats
    fade_s: Floats

    @classmethod
    def of(cls, kinds: list[Kind]) -> Motions:
        """The columns for trackables of these kinds."""
        rows = np.array([MOTIONS[kind] for kind in kinds], np.float64).reshape(-1, 3)
        return cls(rows[:, 0].copy(), rows[:, 1].copy(), rows[:, 2].copy())


def advance(
    tracks: Tracks, rows: Ints, motions: Motions, t: float, z: Floats, variance: Floats, age: Floats
) -> None:
    """Moves the rows' tracks on to time t with a measured place each, in place.

    Args:
        tracks: structured array of TRACK by trackable row.
        rows: the trackables measured, each once.
        motions: by trackable row.
        t: the tick's end, Unix seconds.
        z: (rows, 2) measured places in metres.
        variance: (rows,) of either coordinate, m2.
        age: (rows,) seconds from the moment the places stand for to t.
    """
    track = tracks[rows]
    speed_sd, keeps, fade = motions.speed_sd[rows], motions.keeps_s[rows], motions.fade_s[rows]
    x, y, vx, vy = (track[name].astype(np.float64) for name in ("x", "y", "vx", "vy"))
    pp, pv, vv = (track[name].astype(np.float64) for name in ("pp", "pv", "vv"))
    passed = np.maximum(t - track["t"], 0.0)
    new = (track["t"] == 0.0) | (passed > FORGET_S)
    dt = np.where(new, 0.0, passed)

    # Prediction: the integrated Ornstein-Uhlenbeck process.
    keep = np.exp(-dt / keeps)
    reach = keeps * (1.0 - keep)
    x, y = x + reach * vx, y + reach * vy
    vx, vy = vx * keep, vy * keep
    spread = speed_sd * speed_sd
    pp = (
        pp
        + 2.0 * reach * pv
        + reach * reach * vv
        + spread * keeps * (2.0 * dt - keeps * (3.0 - 4.0 * keep + keep * keep))
    )
    pv = keep * (pv + reach * vv) + spread * keeps * (1.0 - keep) ** 2
    vv = keep * keep * vv + spread * (1.0 - keep * keep)

    # Places of following ticks share most of their evidence; counting each in full would count
    # every reading fade / dt times over.
    shared = np.maximum(1.0, 2.0 * fade / np.maximum(dt, 0.25))
    r = np.where(new, variance, variance * shared)

    # The place measured is the one of `age` ago: H = (1, -age) in each coordinate.
    hx, hy = z[:, 0] - (x - age * vx), z[:, 1] - (y - age * vy)
    hp, hv = pp - age * pv, pv - age * vv
    s = hp - age * hv + r
    misses = np.where(
        (hx * hx + hy * hy > 2.0 * GATE * GATE * (hp - age * hv + variance)) & ~new,
        track["misses"] + 1,
        0,
    )
    new |= misses >= GATE_TIMES
    kp, kv = hp / s, hv / s
    x, y = x + kp * hx, y + kp * hy
    vx, vy = vx + kv * hx, vy + kv * hy
    pp, pv, vv = pp - kp * hp, pv - kp * hv, vv - kv * hv

    track["t"] = t
    track["x"], track["y"] = np.where(new, z[:, 0], x), np.where(new, z[:, 1], y)
    track["vx"], track["vy"] = np.where(new, 0.0, vx), np.where(new, 0.0, vy)
    track["pp"] = np.where(new, variance, np.maximum(pp, LEAST_SD_M**2))
    track["pv"] = np.where(new, 0.0, pv)
    track["vv"] = np.where(new, spread, vv)
    track["misses"] = np.where(new, 0, misses)
    tracks[rows] = track
