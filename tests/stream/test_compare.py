"""What is said to differ between two calibrations is what differs, in dB that can be recomputed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from stream.calibration import Calibration, GatewayFit, MapPatch, pack_map, prior
from stream.compare import LISTED, Comparison, compare, strangers, table
from stream.site import Floor, GatewayPlace, Obstacle, Site

# 30 x 10 m, a gateway at each end, a wall across the middle.
HALL = Site(
    "hall",
    "Hall",
    "UTC",
    [Floor("g", "Ground", 0, [(0.0, 0.0), (30.0, 0.0), (30.0, 10.0), (0.0, 10.0)])],
    [GatewayPlace("west", "g", [0.0, 5.0]), GatewayPlace("east", "g", [30.0, 5.0])],
    [
        Obstacle("wall", "g", "wall", [(15.0, 0.0), (15.5, 0.0), (15.5, 10.0), (15.0, 10.0)]),
        Obstacle(
            "known", "g", "rack", [(20.0, 1.0), (24.0, 1.0), (24.0, 2.0), (20.0, 2.0)], loss_db=3.0
        ),
    ],
)


def calibration(**parts: Any) -> Calibration:
    """A calibration of the hall: numbers these tests reckon with, and some parts."""
    numbers = {"offset_dbm": -61.0, "exponent": 2.3, "rack_db": 4.5, "wall_db": 5.0}
    return Calibration(1, "hall", **{**numbers, **parts})


PLAIN = calibration()


def changes(found: Comparison) -> dict[str, float]:
    """The largest change by gateway."""
    return {part.gateway: part.change_db for part in found.gateways}


def test_a_calibration_is_like_itself() -> None:
    """Nothing differs, and the table says so."""
    one = calibration(gateways={"west": GatewayFit(1.0, 2.0, 3.0)}, obstacles={"wall": 7.0})
    found = compare(HALL, one, one)
    assert found.site == []
    assert found.obstacles == []
    assert changes(found) == {"west": 0.0, "east": 0.0}
    assert [line.split()[-1] for line in table(found, "1", "2")[2:]] == ["none", "none"]


def test_what_is_left_out_counts_as_what_it_stands_for() -> None:
    """A document that says the priors is no other than one that says nothing."""
    p = prior("hall")
    said = Calibration(
        *(1, "hall"),
        gateways={"west": GatewayFit(0.0, p.exponent, p.sd_db)},
        obstacles={"wall": p.wall_db, "known": 3.0},
    )
    found = compare(HALL, p, said)
    assert (found.site, found.obstacles) == ([], [])
    assert changes(found) == {"west": 0.0, "east": 0.0}


def test_an_offset_is_a_change_everywhere() -> None:
    """A gateway that hears 4 dB louder, a tag that is 2 dB weaker."""
    louder = calibration(gateways={"west": GatewayFit(4.0)}, offset_dbm=-63.0)
    found = compare(HALL, PLAIN, louder)
    assert changes(found) == {"west": pytest.approx(2.0), "east": pytest.approx(-2.0)}
    west = found.gateways[0]
    assert (west.offset_db.a, west.offset_db.b) == (0.0, 4.0)
    assert [(pair.name, pair.a, pair.b) for pair in found.site] == [("offset_dbm", -61.0, -63.0)]


def test_an_exponent_changes_most_where_it_is_farthest_and_still_heard() -> None:
    """10 (2.3 - 2.0) log10 d behind the wall, where -61 - 20 log10 d - 5 reaches -95: 28.2 m."""
    found = compare(HALL, PLAIN, calibration(gateways={"west": GatewayFit(exponent=2.0)}))
    west, east = found.gateways
    distance = math.hypot(west.x - 0.0, west.y - 5.0, 2.5 - 1.1)
    assert west.change_db == pytest.approx(3.0 * math.log10(distance), abs=0.01)
    assert west.floor == "g"
    assert 27.0 < distance <= 28.2
    assert east.change_db == 0.0


def test_what_neither_hears_does_not_count() -> None:
    """Far below what any receiver hears, a large change is none."""
    deaf = {"east": GatewayFit(-60.0)}
    found = compare(
        HALL,
        calibration(gateways=deaf),
        calibration(gateways={"east": GatewayFit(-60.0, exponent=4.0)}),
    )
    assert changes(found) == {"west": 0.0, "east": 0.0}


def test_a_loss_is_a_change_behind_the_obstacle() -> None:
    """The wall that costs 3 dB more is named, and both gateways see it from their side."""
    found = compare(HALL, PLAIN, calibration(obstacles={"wall": 8.0, "known": 4.0}))
    assert [(pair.name, pair.a, pair.b) for pair in found.obstacles] == [
        ("wall", 5.0, 8.0),
        ("known", 3.0, 4.0),
    ]
    west, east = found.gateways
    # Behind both it would be 4 dB, where neither hears a tag any more.
    assert west.change_db == pytest.approx(-3.0, abs=0.01)
    assert west.x > 15.0
    assert east.change_db == pytest.approx(-3.0, abs=0.01)
    assert east.x < 15.5


def test_a_radio_map_is_a_change_where_it_says() -> None:
    """The largest correction is found west of x = 24 m, where its edge goes on."""
    values = np.zeros((3, 4))
    values[:, 0] = -6.0
    patch = MapPatch("east", "g", (24.0, 3.0), (4, 3), pack_map(values))
    found = compare(HALL, PLAIN, calibration(map_cell_m=2.0, radio_map=[patch]))
    west, east = found.gateways
    assert west.change_db == 0.0
    assert east.change_db == pytest.approx(-6.0)
    assert east.x <= 24.0
    assert found.maps == (0, 1)


def test_gateways_that_are_not_there_are_named() -> None:
    """In either document, in fits or in maps."""
    patch = MapPatch("moved", "g", (0.0, 0.0), (1, 1), "AA==")
    a = calibration(gateways={"est": GatewayFit(1.0), "west": GatewayFit(1.0)})
    b = calibration(map_cell_m=1.0, radio_map=[patch])
    assert compare(HALL, a, b).strangers == ["est", "moved"]
    assert strangers(HALL, a) == ["est"]
    assert strangers(HALL, prior("hall")) == []


def test_the_table_is_plain_and_bounded() -> None:
    """One line a gateway, some obstacles, nothing unprintable."""
    racks = [
        Obstacle(f"r{i}", "g", "rack", [(1.0 + i, 1.0), (1.5 + i, 1.0), (1.5 + i, 2.0)])
        for i in range(LISTED + 5)
    ]
    site = Site("hall", "Hall", "UTC", HALL.floors, HALL.gateways, racks)
    odd = {f"x\n{i:02d}": GatewayFit(1.0) for i in range(LISTED + 5)}
    found = compare(site, PLAIN, calibration(rack_db=6.0, gateways=odd))
    lines = table(found, "1", "a file")
    assert lines[0] == "from 1 to a file"
    assert lines[1] == "  rack_db: 4.50 to 6.00 (+1.50)"
    assert "  r0: 4.5 to 6.0" in lines
    assert "  and 5 obstacles with smaller differences" in lines
    assert lines[-1].startswith("gateways that are not in the site: 'x\\n00'")
    assert lines[-1].endswith(", ...")
    assert all(line.isprintable() for line in lines)
    assert sum(line.startswith(("west", "east")) for line in lines) == 2


def test_a_site_without_gateways_has_nothing_to_compare() -> None:
    """Only the numbers of the whole site."""
    bare = Site("hall", "Hall", "UTC", HALL.floors)
    found = compare(bare, PLAIN, calibration(slab_db=15.0))
    assert found.gateways == []
    assert [pair.name for pair in found.site] == ["slab_db"]
