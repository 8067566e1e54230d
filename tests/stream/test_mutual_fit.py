"""What is fitted to gateways that hear each other is what was put in."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from stream.calibration import Calibration, GatewayFit, encode_calibration, parse_calibration, prior
from stream.mutual import Mutual
from stream.mutual_fit import CARRIED, LinkFit, calibrate, fit_links
from stream.mutual_links import Links
from stream.site import Floor
from tests.support.mutual import T0, Air, hall, hung, listened, racks


def fitted(air: Air) -> LinkFit:
    """The fit of ten minutes."""
    fit = fit_links(Links(air.site), listened(air).heard())
    assert fit is not None
    return fit


def centred(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> object:
    """Without their mean."""
    return values - values.mean()


@pytest.mark.parametrize("exponent", [1.8, 2.4, 3.0])
def test_exponent_offsets_and_spread_come_out_as_they_went_in(exponent: float) -> None:
    """24 gateways, 4 dB of shadowing, over ten halls: on average and in nearly each."""
    errors, worst, ratios = [], [], []
    for seed in range(10):
        air = Air(hall(), seed=seed, exponent=exponent)
        fit = fitted(air)
        errors.append(fit.exponent - exponent)
        off = np.asarray(centred(fit.hear_db)) - np.asarray(centred(air.hears_db))
        worst.append(float(np.sqrt(np.mean(off**2))))
        ratios.append(fit.path_sd_db / 4.0)
    assert abs(float(np.mean(errors))) < 0.12
    assert float(np.quantile(np.abs(errors), 0.7)) < (0.2 if exponent < 3.0 else 0.25)
    assert max(worst) < 1.5
    assert float(np.mean(ratios)) == pytest.approx(1.0, abs=0.15)


def test_standard_errors_are_true() -> None:
    """Two thirds of the errors of what gateways hear are within one of them."""
    within = []
    for seed in range(12):
        air = Air(hall(), seed=100 + seed)
        fit = fitted(air)
        off = np.asarray(centred(fit.hear_db)) - np.asarray(centred(air.hears_db))
        within.append(np.abs(off) <= fit.hear_se)
    assert 0.58 <= float(np.mean(within)) <= 0.85


def test_what_is_faint_does_not_lower_the_exponent() -> None:
    """Nearly all far links are below the limit: taken at face value they would give 2."""
    errors, plain = [], []
    for seed in range(8):
        air = Air(hall(8, 4), seed=seed, exponent=3.2, power_dbm=-52.0, shadowing_db=6.0)
        heard = listened(air).heard()
        links = Links(air.site)
        fit = fit_links(links, heard)
        assert fit is not None
        errors.append(fit.exponent - 3.2)
        known = np.isfinite(heard.level) & ~links.near
        slope = np.polyfit(-10.0 * links.decades[known], heard.level[known], 1)[0]
        plain.append(slope - 3.2)
    assert float(np.mean(plain)) < -1.0
    assert abs(float(np.mean(errors))) < 0.3


def test_racks_between_are_charged_to_racks() -> None:
    """6 dB each, on paths that cross up to five."""
    found = []
    for seed in range(6):
        air = Air(hall(obstacles=racks(5)), seed=seed, rack_db=6.0, power_dbm=-50.0)
        fit = fitted(air)
        found.append((fit.rack_db, fit.exponent))
    assert np.mean(found, axis=0)[0] == pytest.approx(6.0, abs=0.8)
    assert np.mean(found, axis=0)[1] == pytest.approx(2.4, abs=0.2)


def test_crossings_are_counted_as_the_radio_model_counts_them() -> None:
    """One, two, none, and those of known loss in dB; not those of another floor."""
    site = hall(3, 1, obstacles=racks(2, deep=10.0))
    links = Links(site)
    assert links.racks[0].tolist() == pytest.approx([0.0, 1.0, 2.0])
    known = [replace(site.obstacles[0], loss_db=3.5), site.obstacles[1]]
    links = Links(replace(site, obstacles=known))
    assert links.racks[0].tolist() == pytest.approx([0.0, 0.0, 1.0])
    assert links.known_db[0].tolist() == pytest.approx([0.0, 3.5, 3.5])
    floors = [*site.floors, Floor("1", "Up", 1, site.floors[0].outline)]
    upstairs = [replace(part, floor="1") for part in site.obstacles]
    links = Links(replace(site, floors=floors, obstacles=upstairs))
    assert not links.racks.any()


def test_distances_are_in_space() -> None:
    """A storey is 4 m, and heights count."""
    site = hall(2, 1)
    floors = [*site.floors, Floor("1", "Up", 1, site.floors[0].outline)]
    one, other = site.gateways
    up = replace(other, floor="1", position=[5.0, 8.0, 4.0])
    links = Links(
        replace(site, floors=floors, gateways=[replace(one, position=[5.0, 5.0, 4.0]), up])
    )
    assert 10.0 ** links.decades[0, 1] == pytest.approx(5.0)
    assert links.slabs[0, 1] == 1.0
    assert Links(hung(site, 1, [5.3, 5.0, 4.0])).near.all()


def test_a_gateway_that_only_listens_is_fitted_too() -> None:
    """Its beacon is not in the document: it hears, and nobody hears it."""
    air = Air(hall())
    part = air.site.gateways[7]
    air.site = replace(
        air.site, gateways=[replace(g, beacon=None) if g is part else g for g in air.site.gateways]
    )
    air.hears_db[7] = -6.0
    levels = air.levels()
    levels[:, 7] = -200.0
    fit = fit_links(Links(air.site), listened(air, levels).heard())
    assert fit is not None
    assert fit.hear_db[7] - fit.hear_db.mean() == pytest.approx(-6.0, abs=2.0)


def test_too_little_is_not_fitted() -> None:
    """Nothing, three gateways, or a minute that has only begun."""
    empty = Mutual([part.id for part in hall().gateways])
    assert fit_links(Links(hall()), empty.heard()) is None
    air = Air(hall(3, 1))
    assert fit_links(Links(air.site), listened(air).heard()) is None
    air = Air(hall())
    air.play(empty, air.levels(), T0, 5)
    assert calibrate(empty, Links(air.site)) is None


def test_the_calibration_carries_over_what_holds_for_tags() -> None:
    """Offsets in full, exponents and losses in part, the level at 1 m not at all."""
    air = Air(hall(obstacles=racks(5)), rack_db=7.0, power_dbm=-48.0)
    mutual, links = listened(air), Links(air.site)
    fit = fit_links(links, mutual.heard())
    made = calibrate(mutual, links)
    assert fit is not None
    assert made is not None
    plain = prior("hall")
    assert (made.origin, made.site, made.t) == ("gateways", "hall", T0)
    assert made.readings > 10_000
    assert made.offset_dbm == plain.offset_dbm
    assert made.exponent - plain.exponent == pytest.approx(
        CARRIED * (fit.exponent - plain.exponent), abs=1e-3
    )
    assert plain.rack_db < made.rack_db < fit.rack_db
    offsets = np.array([made.gateways[part.id].offset_db for part in air.site.gateways])
    assert np.sqrt(np.mean((offsets - (air.hears_db - air.hears_db.mean())) ** 2)) < 1.5
    assert parse_calibration(encode_calibration(made), "made") == made
    # The same state gives the same bytes.
    again = calibrate(Mutual.restore(mutual.dump(), mutual.gateways), links)
    assert again is not None
    assert encode_calibration(again) == encode_calibration(made)


def test_what_was_measured_with_tags_is_kept() -> None:
    """Of a survey only the gateways are added of which it says nothing."""
    air = Air(hall())
    base = Calibration(
        1, "hall", origin="survey", offset_dbm=-63.0, exponent=2.9, rack_db=3.0,
        gateways={"g03": GatewayFit(offset_db=4.5, exponent=3.0)},
    )  # fmt: skip
    made = calibrate(listened(air), Links(air.site), base=base)
    assert made is not None
    assert replace(made, gateways={}) == replace(base, gateways={})
    assert made.gateways["g03"] == base.gateways["g03"]
    assert len(made.gateways) == 24
    # One of its own kind is made anew, but for what it does not touch.
    before = replace(base, origin="gateways", obstacles={"r": 9.0})
    made = calibrate(listened(air), Links(air.site), base=before)
    assert made is not None
    assert made.gateways["g03"] != before.gateways["g03"]
    assert (made.obstacles, made.offset_dbm) == ({"r": 9.0}, -63.0)
