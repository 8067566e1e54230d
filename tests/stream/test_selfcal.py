"""Self-calibration: from levels of unknown places towards the numbers that made them."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import shapely

from stream.calibration import (
    EXPONENT,
    OFFSET_DBM,
    OFFSET_SD_DB,
    RACK_DB,
    Calibration,
    parse_calibration,
    prior,
)
from stream.evidence import EMPTY, SLOTS
from stream.layout import Layout
from stream.selfcal import (
    EXPONENT_RANGE,
    LOSS_RANGE_DB,
    SNAPSHOT,
    Believed,
    believe,
    levels,
    refit,
)
from stream.sensing import Sensing
from stream.site import Kind, Site
from tests.support.locating import T0, Air, Place, hall, rectangle

Floats = npt.NDArray[np.float64]

TAGS = 20
LIMIT = -91.0
RACKS = [rectangle(x, 2.0, x + 1.0, 28.0) for x in (9.5, 19.5, 29.5)]


def snapshots(
    air: Air, count: int, seed: int, *, tag_sd_db: float = 3.0, walks: bool = False
) -> tuple[npt.NDArray[np.void], list[Place]]:
    """What tags at random places are heard with, by those gateways that hear them, and where."""
    rng = np.random.default_rng(seed)
    wide, deep = air.site.floors[0].outline[2]
    more = rng.normal(0.0, tag_sd_db, TAGS)
    made = np.zeros(count, SNAPSHOT)
    made["gateway"] = EMPTY
    made["walks"] = walks
    places: list[Place] = []
    row = 0
    while row < count:
        tag = int(rng.integers(TAGS))
        floor = int(rng.integers(len(air.site.floors)))
        place = (rng.uniform(0.0, wide), rng.uniform(0.0, deep), floor)
        heard = air.heard({tag: place}, rng, offset_db=float(more[tag]))
        order = np.argsort(-heard.rssi)[:SLOTS]
        if len(order) < 3:
            continue
        one = made[row]
        one["t"], one["beacon"] = T0 + row, tag
        one["gateway"][: len(order)] = heard.gateway[order]
        one["rssi"][: len(order)] = heard.rssi[order]
        one["n"][: len(order)] = 20.0
        places.append(place)
        row += 1
    return made, places


class Fit:
    """A layout, snapshots, and turns of the fit.

    Attributes:
        calibration: as it is after the turns so far.
    """

    def __init__(self, site: Site, made: npt.NDArray[np.void]) -> None:
        self.layout = Layout(site)
        self.table = levels(self.layout)
        self.made = made
        self.calibration = prior("hall")

    def sensing(self, calibration: Calibration | None = None) -> Sensing:
        """The tables under a calibration, the present one by default."""
        online = np.ones(len(self.layout.gateway_row), np.bool_)
        return Sensing(self.layout, calibration or self.calibration, online, LIMIT)

    def believed(self, calibration: Calibration | None = None) -> Believed:
        """Where the snapshots may have been made."""
        return believe(self.layout, self.sensing(calibration), self.made, 0.8)

    def turn(self, turns: int = 4) -> Calibration:
        """The calibration after so many turns."""
        for _ in range(turns):
            self.calibration = refit(
                self.layout, self.table, self.sensing(), self.made, self.believed()
            )
        return self.calibration

    def offsets(self) -> Floats:
        """The gateways' offsets in dB."""
        return np.array([self.calibration.gateways[g].offset_db for g in self.layout.gateway_row])


def fitted(air: Air, seed: int = 1, count: int = 350, turns: int = 4) -> Fit:
    """A fit to snapshots of this air."""
    fit = Fit(air.site, snapshots(air, count, seed)[0])
    fit.turn(turns)
    return fit


ITEMS: list[Kind] = ["item"] * TAGS


@pytest.mark.parametrize("floors", [1, 2])
@pytest.mark.parametrize(("exponent", "offset"), [(2.0, OFFSET_DBM), (3.0, OFFSET_DBM + 8.0)])
def test_the_exponent_is_found_without_truth(exponent: float, offset: float, floors: int) -> None:
    """Towards the true one from the prior's, on one floor and through slabs."""
    air = Air(hall(ITEMS, floors=floors), exponent=exponent, offset_dbm=offset, noise_db=3.0)
    found = fitted(air).calibration.exponent
    assert abs(found - exponent) < 0.8 * abs(EXPONENT - exponent)


def test_gateways_that_hear_better_are_found() -> None:
    """Offsets of 4 dB are told from the work to 2 dB; the mean over gateways stays 0."""
    site = hall(ITEMS)
    rng = np.random.default_rng(3)
    true = rng.normal(0.0, 4.0, len(site.gateways))
    true -= true.mean()
    air = Air(site, exponent=2.3, gateway_db=true.tolist(), noise_db=3.0)
    fit = fitted(air, count=600)
    off = fit.offsets()
    assert off.mean() == pytest.approx(0.0, abs=0.02)
    assert np.sqrt(np.mean((off - true) ** 2)) < 0.5 * np.sqrt(np.mean(true**2))
    assert np.corrcoef(off, true)[0, 1] > 0.9


def through_racks(site: Site, loss_db: float) -> Air:
    """An air in which each rack on the way takes this away, by the part of it that is crossed."""
    rings = [shapely.Polygon(ring) for ring in RACKS]

    def shadow(gateway: int, place: Place) -> float:
        ray = shapely.LineString([site.gateways[gateway].position[:2], place[:2]])
        return loss_db * sum(min(1.0, ring.intersection(ray).length) for ring in rings)

    return Air(site, exponent=2.2, noise_db=3.0, shadow=shadow)


@pytest.mark.parametrize("loss", [1.0, 9.0])
def test_what_a_rack_takes_away_is_found(loss: float) -> None:
    """Towards the true loss from the prior's, though nobody says where the tags were."""
    site = hall(ITEMS, racks=RACKS)
    fit = Fit(site, snapshots(through_racks(site, loss), 350, 1)[0])
    assert abs(fit.turn(5).rack_db - loss) < 0.7 * abs(RACK_DB - loss)


def test_a_loss_that_the_site_states_is_not_fitted_again() -> None:
    """Racks that say what they cost are taken at their word: the common loss stays the prior's."""
    site = hall(ITEMS, racks=RACKS)
    told = [msgspec.structs.replace(part, loss_db=9.0) for part in site.obstacles]
    site = msgspec.structs.replace(site, obstacles=told)
    fit = Fit(site, snapshots(through_racks(site, 9.0), 250, 1)[0])
    assert not fit.table.racks.any()
    assert fit.table.known.max() > 8.0
    found = fit.turn(3)
    assert found.rack_db == pytest.approx(RACK_DB, abs=0.01)
    assert abs(found.exponent - 2.2) < abs(EXPONENT - 2.2)


def test_crossings_are_summed_by_kind() -> None:
    """A ray through two racks has two crossings, and none of walls."""
    site = hall(ITEMS, racks=RACKS)
    walls = [msgspec.structs.replace(site.obstacles[2], kind="wall")]
    layout = Layout(msgspec.structs.replace(site, obstacles=[*site.obstacles[:2], *walls]))
    table = levels(layout)
    grid = layout.grid
    cell = int(np.hypot(grid.x - 38.5, grid.y - 5.5).argmin())
    assert layout.site.gateways[0].position[:2] == [5.0, 5.0]
    assert table.racks[0, cell] == pytest.approx(2.0, abs=0.01)
    assert table.walls[0, cell] == pytest.approx(1.0, abs=0.01)
    assert table.known[0, cell] == 0.0


def test_tags_of_another_power_shift_the_common_offset() -> None:
    """Tags that are 9 dB louder than assumed are believed to be, most of the way."""
    air = Air(hall(ITEMS), offset_dbm=OFFSET_DBM + 9.0, noise_db=3.0)
    found = fitted(air).calibration
    assert OFFSET_DBM + 4.0 < found.offset_dbm < OFFSET_DBM + 12.0
    assert found.offset_sd_db < OFFSET_SD_DB


def test_where_snapshots_were_made_is_believed_about_right() -> None:
    """Chances add up to 1, and the mean place is nearer than a gateway's distance."""
    site = hall(ITEMS)
    made, places = snapshots(Air(site, noise_db=3.0), 150, 2)
    fit = Fit(site, made)
    found = fit.believed()
    assert found.chance.sum(axis=1) == pytest.approx(np.ones(150))
    x = (found.chance * fit.layout.grid.x[found.cells]).sum(axis=1)
    y = (found.chance * fit.layout.grid.y[found.cells]).sum(axis=1)
    true = np.array([place[:2] for place in places])
    assert np.median(np.hypot(x - true[:, 0], y - true[:, 1])) < 3.0


def test_the_true_model_explains_more_than_a_wrong_one() -> None:
    """By the mean evidence of snapshots, for exponents, gateways and the spread of tags."""
    site = hall(ITEMS)
    air = Air(site, exponent=2.0, noise_db=4.0)
    fit = Fit(site, snapshots(air, 200, 4)[0])
    base = msgspec.structs.replace(prior("hall"), exponent=2.0, offset_sd_db=3.5)

    def mean(**changes: float) -> float:
        return float(fit.believed(msgspec.structs.replace(base, **changes)).evidence.mean())

    best = mean()
    assert best > mean(exponent=3.2) + 0.2
    assert best > mean(exponent=1.5) + 0.02
    assert best > mean(offset_dbm=OFFSET_DBM - 15.0) + 0.2
    assert best > mean(offset_sd_db=12.0) + 0.2
    assert best > mean(sd_db=12.0) + 0.2


def test_nobody_walks_in_a_rack() -> None:
    """A walker's snapshot gives no chance to cells in racks; a lying item's does."""
    site = hall(ITEMS, racks=[rectangle(14.0, 8.0, 26.0, 22.0)])
    made, _ = snapshots(Air(site, noise_db=2.0), 60, 5)
    fit = Fit(site, made)
    blocked = ~fit.layout.grid.free
    lying = fit.believed()
    assert lying.chance[blocked[lying.cells]].sum() > 1.0
    made["walks"] = True
    walking = fit.believed()
    assert walking.chance[blocked[walking.cells]].sum() == 0.0
    assert walking.chance.sum(axis=1) == pytest.approx(np.ones(60))


def test_numbers_stay_within_what_buildings_are_and_the_document_is_valid() -> None:
    """Levels that follow no law at all still give a calibration that can be read back."""
    site = hall(ITEMS, racks=RACKS)
    made, _ = snapshots(Air(site, noise_db=1.0), 120, 6)
    made["rssi"] = np.random.default_rng(1).uniform(-110.0, -20.0, made["rssi"].shape)
    fit = Fit(site, made)
    found = fit.turn(3)
    assert EXPONENT_RANGE[0] <= found.exponent <= EXPONENT_RANGE[1]
    assert LOSS_RANGE_DB[0] <= found.rack_db <= LOSS_RANGE_DB[1]
    assert LOSS_RANGE_DB[0] <= found.wall_db <= LOSS_RANGE_DB[1]
    assert parse_calibration(msgspec.json.encode(found), "fit") == found
    assert (found.origin, found.t) == ("work", T0 + 119.0)
    assert found.readings == int((made["gateway"] != EMPTY).sum())


def test_a_fit_is_the_same_each_time() -> None:
    """Equal snapshots give an equal document, to the byte."""
    air = Air(hall(ITEMS), exponent=2.0, noise_db=3.0)
    one, other = (fitted(air, count=120, turns=2).calibration for _ in range(2))
    assert msgspec.json.encode(one) == msgspec.json.encode(other)
