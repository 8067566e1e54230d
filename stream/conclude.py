"""From a posterior over cells to a place: mean, spread, speed, zone, and which beacon told most."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from stream.evidence import EMPTY
from stream.fixes import NONE
from stream.grid import WINDOW
from stream.motion import HEADINGS
from stream.scene import Part, Scene
from stream.track import RESTS, Tracks

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

# No fix claims less than this: shadowing at one place does not average out.
LEAST_SD_M: Final = 0.3
# What the model does not know of its own error: factors on the posterior's spread that bring the
# stated radius to the errors of measured surveys and simulated halls. A walk filter takes
# readings for more independent than they are.
WALK_HONESTY: Final = 1.3
REST_HONESTY: Final = 0.95
# What is wrong near the tag, or with the model, is wrong for all gateways alike: more of them than
# this average nothing more out.
INDEPENDENT: Final = 10.0


def conclude(
    scene: Scene,
    part: Part,
    track: Tracks,
    posterior: Singles,
    walkers: Ints,
    chances: Singles,
) -> None:
    """Place, spread, speed and zone from the posterior."""
    along_x = posterior.sum(axis=1, dtype=np.float64)
    along_y = posterior.sum(axis=2, dtype=np.float64)
    total = along_x.sum(axis=1)
    axis_x, axis_y = scene.axes(track)
    x, y = _place(track, posterior, axis_x, axis_y)
    variance = (
        (along_x * (axis_x - x[:, None]) ** 2).sum(axis=1)
        + (along_y * (axis_y - y[:, None]) ** 2).sum(axis=1)
    ) / (2.0 * total)
    told = (part.memory[0] != EMPTY).sum(axis=1)
    most = np.zeros(len(track))
    np.maximum.at(most, part.owner, told)
    factor = np.where(track["mode"] == RESTS, REST_HONESTY, WALK_HONESTY)
    factor = factor * np.sqrt(np.maximum(most, INDEPENDENT) / INDEPENDENT)
    track["sd"] = factor * np.sqrt(variance + LEAST_SD_M**2)
    speed = scene.layout.motions.speed_m_s[part.rows]
    going = np.zeros((len(track), 2))
    if len(walkers):
        heading = chances[:, 1:].sum(axis=(2, 3), dtype=np.float64)
        going[walkers] = heading @ np.array(HEADINGS, np.float64) * speed[walkers][:, None]
    track["vx"], track["vy"] = going[:, 0], going[:, 1]
    # The readings were taken some time ago; one who walks has walked on since.
    age = np.bincount(part.owner, part.age) / np.bincount(part.owner)
    track["x"], track["y"] = x + going[:, 0] * age, y + going[:, 1] * age
    track["zone"], track["chance"] = _zones(scene, track, posterior, total)
    order = np.lexsort((part.beacons, -told, part.owner))
    telling = order[np.unique(part.owner[order], return_index=True)[1]]
    track["beacon"] = scene.layout.beacon_place[part.beacons[telling]]


def _place(
    track: Tracks, posterior: Singles, axis_x: Floats, axis_y: Floats
) -> tuple[Floats, Floats]:
    """The mean of a walker's posterior; of what rests, the mean of its square.

    A wide posterior leans to where there is most room, and its mean with it; squared, it is
    nearer to its peak. A walker's own place in it changes too fast for that.
    """
    weight = np.where((track["mode"] == RESTS)[:, None, None], posterior * posterior, posterior)
    along_x = weight.sum(axis=1, dtype=np.float64)
    along_y = weight.sum(axis=2, dtype=np.float64)
    total = along_x.sum(axis=1)
    return (along_x * axis_x).sum(axis=1) / total, (along_y * axis_y).sum(axis=1) / total


def _zones(
    scene: Scene, track: Tracks, posterior: Singles, total: Floats
) -> tuple[npt.NDArray[np.uint16], Floats]:
    """The likeliest zone (NONE outside of all) and its share of the posterior."""
    zones = len(scene.layout.site.zones)
    if not zones:
        return np.full(len(track), NONE, np.uint16), np.zeros(len(track))
    starts = scene.starts(track)
    cells = (starts[:, :, None] + np.arange(WINDOW)).reshape(len(track), -1)
    zone = scene.layout.zone_of[cells]
    # Numbered within the chunk, so that a site may have very many.
    names, numbered = np.unique(zone, return_inverse=True)
    numbered = numbered.reshape(zone.shape) + len(names) * np.arange(len(track))[:, None]
    mass = np.bincount(
        numbered.ravel(), posterior.reshape(-1).astype(np.float64), len(names) * len(track)
    ).reshape(len(track), len(names))
    best = mass.argmax(axis=1)
    likeliest = names[best]
    chance = np.where(likeliest >= 0, mass[np.arange(len(track)), best] / total, 0.0)
    return np.where(likeliest >= 0, likeliest, NONE).astype(np.uint16), chance
