"""Where a gateway seems to hang by what it hears of tags."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from stream.calibration import prior
from stream.evidence import EMPTY
from stream.gateway_places import LEAST, Elsewhere, seems_at
from stream.gateway_watch import MOVED_SCORE
from stream.layout import Layout
from stream.selfcal import SNAPSHOT
from stream.sensing import Sensing
from stream.site import Trackable
from tests.support.mutual import hall

T0 = 1_700_000_000.0
TAGS = 150


def heard(
    places: list[list[float]], *, offset: float = 0.0, of: int = 0, exponent: float = 2.7
) -> npt.NDArray[np.void]:
    """Snapshots of tags all over the hall by gateways that truly hang at these places.

    Gateway `of` hears so many dB more. Shadowing is 4 dB.
    """
    rng = np.random.default_rng(2)
    snapshots = np.zeros(TAGS, SNAPSHOT)
    for beacon, each in enumerate(snapshots):
        x, y, own = rng.uniform(2, 58), rng.uniform(2, 38), rng.normal(-52.0, 4.0)
        levels = []
        for row, (gx, gy, _) in enumerate(places):
            away = math.hypot(x - gx, y - gy, 3.0)
            level = own - 10.0 * exponent * math.log10(away) + rng.normal(0.0, 4.0)
            level += offset if row == of else 0.0
            if level > -90.0:
                levels.append((level, row))
        levels.sort(reverse=True)
        levels = levels[: len(each["gateway"])]
        each["gateway"] = EMPTY
        each["t"], each["beacon"] = T0, beacon
        for k, (level, row) in enumerate(levels):
            each["gateway"][k], each["rssi"][k], each["n"][k] = row, level, 8.0
    return snapshots


def looked(snapshots: npt.NDArray[np.void], row: int, t: float = T0) -> Elsewhere | None:
    """The place of a gateway of the hall by these snapshots."""
    site = hall(trackables=[Trackable(f"t{i}", f"T {i}", "item", [f"b{i}"]) for i in range(TAGS)])
    layout = Layout(site)
    online = np.ones(len(site.gateways), np.bool_)
    sensing = Sensing(layout, prior(site.id), online, -91.0)
    return seems_at(layout, sensing, snapshots, 0.9, row, t)


def true_places() -> list[list[float]]:
    """Where the hall's gateways hang by the document."""
    return [list(part.position) for part in hall().gateways]


def test_sound_gateways_hang_where_the_site_says() -> None:
    """In the middle and at the edge, with offsets and another exponent than the model's."""
    for row in (0, 3, 8, 14, 23):
        for offset in (-4.0, 0.0, 8.0):
            found = looked(heard(true_places(), offset=offset, of=row), row)
            assert found is not None
            assert found.score < 0.5


@pytest.mark.parametrize("row", [8, 9, 14, 15])
@pytest.mark.parametrize("offset", [-6.0, 4.0])
def test_a_gateway_that_hangs_elsewhere_is_found_there(row: int, offset: float) -> None:
    """12 m off its documented place: found within 5 m of where it is."""
    places = true_places()
    x, y, z = places[row]
    places[row] = [x + 12.0 if x < 30.0 else x - 12.0, y, z]
    found = looked(heard(places, offset=offset, of=row), row)
    assert found is not None
    assert found.score >= MOVED_SCORE
    assert math.dist((found.x, found.y), places[row][:2]) <= 5.0
    assert found.away_m == pytest.approx(12.0, abs=5.0)


def test_too_little_tells_nothing() -> None:
    """Few snapshots, one beacon's, or old ones."""
    snapshots = heard(true_places())
    assert looked(snapshots[: LEAST - 1], 8) is None
    assert looked(snapshots[:0], 8) is None
    same = snapshots.copy()
    same["beacon"] = 1
    assert looked(same, 8) is None
    assert looked(snapshots, 8, T0 + 3_600.0) is None


def test_snapshots_are_left_as_they_were() -> None:
    """They are the calibrator's."""
    snapshots = heard(true_places())
    before = snapshots.tobytes()
    looked(snapshots, 8)
    assert snapshots.tobytes() == before
