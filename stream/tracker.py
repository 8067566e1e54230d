"""The motion filter: a Kalman filter per trackable that knows rest from motion.

In motion, velocity is an Ornstein-Uhlenbeck process (it forgets itself within a few seconds) and
position its integral, so a walker is followed without lag; at rest there is next to no process
noise, so what lies still does not jitter. What tells them apart is whether the measured places
keep pulling to one side. A measured place is compared with where the trackable was at the
measurement's own age, so the fading of the evidence costs no lag either. x and y share one
covariance, since a measured place's error is taken as round: the filter is plain arithmetic on
columns, one row per trackable.
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
        fade_s: over how long its readings are averaged.
        wakes: how many standard deviations of one-sided pull end its rest.
        settles_s: how long it must hardly move before it counts as at rest.
    """

    fade_s: float
    wakes: float
    settles_s: float


# People and carts stop for a pick and walk on, so they wake easily; items lie for days and are
# carried now and then, so they need clear evidence, and their slow adverts a longer average.
_WALKS: Final = Motion(fade_s=1.0, wakes=0.7, settles_s=5.0)
MOTIONS: Final[dict[Kind, Motion]] = {
    "picker": _WALKS,
    "visitor": _WALKS,
    "cart": _WALKS,
    "other": _WALKS,
    "item": Motion(fade_s=2.5, wakes=1.3, settles_s=5.0),
}
# In motion: 1.2 m/s over 8 s is the unrest of someone who walks at 0.8 to 1.6 m/s and turns or
# stops every few seconds; a shorter memory would pull a steady walker back at every tick.
WALK_SD_M_S: Final = 1.2
WALK_KEEPS_S: Final = 8.0
# At rest: what a slowly changing radio field moves a place by, and how fast it is forgotten.
REST_SD_M_S: Final = 0.02
REST_KEEPS_S: Final = 2.0
# Slower than this is hardly moving: below any walk, above the filter's own unrest.
STILL_M_S: Final = 0.3
# ... and only while the pull is this share of what would wake it.
CALM: Final = 0.3
# The pull is averaged over this: long enough to outlast fading, short enough to wake in time.
PULL_S: Final = 3.0
# The solver's curvature knows nothing of its model's own error (racks, bodies, antennas). This
# factor on its standard deviation brings the stated radius to the errors of measured surveys.
HONESTY: Final = 1.4
# Evidence counts as gathered after this many time constants of its fading.
YOUNG: Final = 1.5
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
        ("pull_x", "<f4"),  # faded mean of (measured - predicted), m
        ("pull_y", "<f4"),
        ("still", "<f4"),  # seconds it has hardly moved; at rest from settles_s on
        ("error", "<f4"),  # faded variance of the measured places, m2
        ("old", "<f4"),  # seconds since it was acquired
    ]
)
Tracks = npt.NDArray[np.void]


class Motions(NamedTuple):
    """MOTIONS as columns by trackable row."""

    fade_s: Floats
    wakes: Floats
    settles_s: Floats

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
        variance: (rows,) of either coordinate as the solver states it, m2.
        age: (rows,) seconds from the moment the places stand for to t.
    """
    track = tracks[rows]
    fade, wakes, settles = (column[rows] for column in motions)
    x, y, vx, vy = (track[name].astype(np.float64) for name in ("x", "y", "vx", "vy"))
    pp, pv, vv = (track[name].astype(np.float64) for name in ("pp", "pv", "vv"))
    variance = variance * HONESTY**2
    passed = np.maximum(t - track["t"], 0.0)
    lost = (track["t"] == 0.0) | (passed > FORGET_S)
    dt = np.where(lost, 0.0, passed)
    old = np.where(lost, 0.0, track["old"] + dt)
    # While evidence still gathers, the latest place holds all that the earlier ones held.
    new = old < YOUNG * fade
    rest = track["still"] >= settles
    speed_sd = np.where(rest, REST_SD_M_S, WALK_SD_M_S)
    keeps = np.where(rest, REST_KEEPS_S, WALK_KEEPS_S)

    # Prediction: the integrated Ornstein-Uhlenbeck process.
    keep = np.exp(-dt / keeps)
    reach = keeps * (1.0 - keep)
    x, y = x + reach * vx, y + reach * vy
    vx, vy = vx * keep, vy * keep
    spread = speed_sd * speed_sd
    pp = pp + 2.0 * reach * pv + reach * reach * vv
    pp += spread * keeps * (2.0 * dt - keeps * (3.0 - 4.0 * keep + keep * keep))
    pv = keep * (pv + reach * vv) + spread * keeps * (1.0 - keep) ** 2
    vv = keep * keep * vv + spread * (1.0 - keep * keep)

    # The place measured is the one of `age` ago: H = (1, -age) in each coordinate.
    hx, hy = z[:, 0] - (x - age * vx), z[:, 1] - (y - age * vy)
    hp, hv = pp - age * pv, pv - age * vv

    # Rest ends when the pull is more than the scatter of the places explains.
    part = 1.0 - np.exp(-dt / PULL_S)
    pull_x = track["pull_x"] + part * (hx - track["pull_x"])
    pull_y = track["pull_y"] + part * (hy - track["pull_y"])
    pulled = pull_x * pull_x + pull_y * pull_y
    scatter = 2.0 * (variance * fade / (fade + PULL_S) + pp)
    woken = rest & (pulled > wakes * wakes * scatter)
    # What wakes may already be metres away: its place is open again, its velocity unknown.
    pp = np.where(woken, pp + 0.5 * pulled, pp)
    pv = np.where(woken, 0.0, pv)
    vv = np.where(woken, WALK_SD_M_S**2, vv)
    hp, hv = np.where(woken, pp - age * pv, hp), np.where(woken, pv - age * vv, hv)

    # Places of following ticks share most of their evidence; counting each in full would count
    # every reading several times over.
    shared = np.maximum(1.0, fade / np.maximum(dt, 0.25))
    gain = 1.0 / (hp - age * hv + variance * np.where(woken, 1.0, shared))
    kp, kv = hp * gain, hv * gain
    x, y = x + kp * hx, y + kp * hy
    vx, vy = vx + kv * hx, vy + kv * hy
    pp, pv, vv = pp - kp * hp, pv - kp * hv, vv - kv * hv

    slow = (np.hypot(vx, vy) < STILL_M_S) & (pulled < CALM * wakes * wakes * scatter)
    still = np.where(slow, track["still"] + dt, 0.0)
    settled = ~rest & (still >= settles)
    error = track["error"] + (1.0 - np.exp(-dt / fade)) * (variance - track["error"])
    track["t"] = t
    track["x"], track["y"] = np.where(new, z[:, 0], x), np.where(new, z[:, 1], y)
    track["vx"] = np.where(new | settled, 0.0, vx)
    track["vy"] = np.where(new | settled, 0.0, vy)
    track["pp"] = np.where(new, variance, np.maximum(pp, LEAST_SD_M**2))
    track["pv"] = np.where(new | settled, 0.0, pv)
    track["vv"] = np.where(new, WALK_SD_M_S**2, np.where(settled, REST_SD_M_S**2, vv))
    track["pull_x"] = np.where(new | woken | settled, 0.0, pull_x)
    track["pull_y"] = np.where(new | woken | settled, 0.0, pull_y)
    track["still"] = np.where(new | woken, 0.0, still)
    track["error"] = np.where(new, variance, error)
    track["old"] = old
    tracks[rows] = track


def error_sd(tracks: Tracks) -> Floats:
    """Standard deviation of either coordinate's error in metres, for tracks that have a place.

    A measured place's error is mostly the radio model's, which following places share, so the
    filter's own covariance would promise too much.
    """
    sd: Floats = np.sqrt(tracks["error"].astype(np.float64))
    return sd
