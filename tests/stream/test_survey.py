"""Surveyed calibration: known halls give their own parameters back, measured sites gain by maps."""

from __future__ import annotations

import math
from array import array
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.readings import Batch
from stream.calibration import encode_calibration, parse_calibration
from stream.recording import read_batches
from stream.site import Floor, GatewayPlace, Obstacle, Site, load_site
from stream.survey import Survey, run_survey, survey
from stream.survey_fit import fit_path_loss, mills, paths, silent_limit
from stream.survey_places import MOST_PLACES, SurveyError, gather
from stream.truth import Path2D, Truth, load_truth

Floats = npt.NDArray[np.float64]

MEASURED = Path(__file__).parents[2].parent / "shared" / "data"
measured = pytest.mark.skipif(not MEASURED.is_dir(), reason="the measured sites are not here")
T0 = 1_700_000_000.0
VISIT_S = 10
HALL = [(0.0, 0.0), (40.0, 0.0), (40.0, 30.0), (0.0, 30.0)]
OFFSET, EXPONENT, FADE = -58.0, 2.9, 3.0


def hall(*, floors: int = 1, obstacles: list[Obstacle] | None = None) -> Site:
    """Twelve gateways, 10 m apart, at the height of the tags, on each floor."""
    return Site(
        id="hall",
        name="Hall",
        timezone="UTC",
        floors=[Floor(str(k), f"Floor {k}", k, HALL) for k in range(floors)],
        gateways=[
            GatewayPlace(f"g{k}-{i}-{j}", str(k), [5.0 + 10.0 * i, 5.0 + 10.0 * j, 1.1])
            for k in range(floors)
            for i in range(4)
            for j in range(3)
        ],
        obstacles=obstacles or [],
    )


def recorded(
    site: Site,
    spots: list[tuple[str, float, float, int]],
    level: dict[str, Floats],
    *,
    limit: float = -200.0,
    seed: int = 1,
) -> tuple[list[Batch], Truth]:
    """A survey: at each spot (beacon, x, y, floor) ten windows, of what is above the limit.

    Args:
        site: its site.
        spots: where which beacon was, one after the other.
        level: by gateway id, the mean RSSI at each spot.
        limit: weaker adverts are not heard.
        seed: of the fading.
    """
    rng = np.random.default_rng(seed)
    batches: list[Batch] = []
    rows: dict[str, list[tuple[float, float, float, int]]] = {}
    for k, (beacon, x, y, floor) in enumerate(spots):
        start = T0 + k * (VISIT_S + 5.0)
        rows.setdefault(beacon, []).extend([(start, x, y, floor), (start + VISIT_S, x, y, floor)])
        fading = rng.normal(0.0, FADE, (len(site.gateways), VISIT_S))
        for gateway, fade in zip(site.gateways, fading, strict=True):
            for second, rssi in enumerate(level[gateway.id][k] + fade, 1):
                heard = rssi > limit
                batches.append(
                    Batch(
                        gateway.id,
                        "a",
                        len(batches) + 1,
                        start + second,
                        1.0,
                        [beacon] if heard else [],
                        array("f", [rssi] if heard else []),
                        array("H", [1] if heard else []),
                    )
                )
    truth = {}
    for beacon, entries in rows.items():
        t, xs, ys, floors = (np.array(column) for column in zip(*entries, strict=True))
        # A row each second, as surveys have them.
        steps = np.concatenate([a + np.arange(VISIT_S + 1.0) for a in t[::2]])
        repeat = VISIT_S + 1
        truth[beacon] = Path2D(
            steps,
            np.repeat(xs[::2], repeat).astype(float),
            np.repeat(ys[::2], repeat).astype(float),
            np.repeat(floors[::2], repeat).astype(np.int64),
        )
    return batches, truth


def lattice(step: float, beacons: int = 1, floor: int = 0) -> list[tuple[str, float, float, int]]:
    """Spots over the hall, the beacons by turns."""
    places = [
        (x, y)
        for x in np.arange(2.0, 40.0, step).tolist()
        for y in np.arange(2.0, 30.0, step).tolist()
    ]
    return [(f"b{k % beacons}", x, y, floor) for k, (x, y) in enumerate(places)]


def levels(
    site: Site,
    spots: list[tuple[str, float, float, int]],
    *,
    beacon_db: dict[str, float] | None = None,
    exponents: dict[str, float] | None = None,
    shadow_db: float = 1.5,
    seed: int = 2,
) -> dict[str, Floats]:
    """Log-distance path loss with shadowing drawn for each gateway and spot."""
    rng = np.random.default_rng(seed)
    x, y = np.array([spot[1] for spot in spots]), np.array([spot[2] for spot in spots])
    own = np.array([(beacon_db or {}).get(spot[0], 0.0) for spot in spots])
    found = {}
    for part in site.gateways:
        away = np.maximum(np.hypot(x - part.position[0], y - part.position[1]), 1.0)
        exponent = (exponents or {}).get(part.id, EXPONENT)
        shadow = rng.normal(0.0, shadow_db, len(spots))
        found[part.id] = OFFSET + own - 10.0 * exponent * np.log10(away) + shadow
    return found


def test_a_known_hall_gives_its_parameters_back() -> None:
    """Offset within 1 dB, exponent within 0.1, and the shadowing as what is not explained."""
    site, spots = hall(), lattice(4.0)
    batches, truth = recorded(site, spots, levels(site, spots))
    found = run_survey(site, batches, truth)
    document = found.calibration
    assert document.origin == "survey"
    assert document.readings == len(batches)
    assert document.t == max(batch.t for batch in batches)
    assert found.places == len(spots)
    # The beacon's own offset is a nuisance; what both make together is known.
    assert document.offset_dbm == pytest.approx(OFFSET, abs=3.0)
    assert document.exponent == pytest.approx(EXPONENT, abs=0.1)
    assert document.sd_db == pytest.approx(1.5, abs=0.3)
    assert all(abs(fit.offset_db) < 1.0 for fit in document.gateways.values())
    assert parse_calibration(encode_calibration(document), "own") == document


def test_a_gateway_of_another_slope_keeps_it() -> None:
    """Shrunk to the site's, yet most of its own way."""
    site, spots = hall(), lattice(4.0)
    told = levels(site, spots, exponents={"g0-1-1": 3.7})
    fits = survey(site, *recorded(site, spots, told)).gateways
    assert fits["g0-1-1"].exponent == pytest.approx(3.7, abs=0.3)
    assert fits["g0-0-0"].exponent == pytest.approx(EXPONENT, abs=0.2)


def test_what_is_not_heard_keeps_the_exponent_true() -> None:
    """A limit of -92 dBm hides the far half: ignoring that loses 0.15 of the exponent or more."""
    site, spots = hall(), lattice(4.0)
    told = levels(site, spots, shadow_db=4.0)
    batches, truth = recorded(site, spots, told, limit=-92.0)
    visits = gather(site, batches, truth)
    assert (visits.windows == 0).sum() > 50
    between = paths(site, visits.places)
    blind = fit_path_loss(between, visits.only(visits.windows > 0)._replace(limit_dbm=-200.0))
    whole = fit_path_loss(between, visits)
    assert blind.shared[1] < EXPONENT - 0.15
    assert whole.shared[1] == pytest.approx(EXPONENT, abs=0.12)


def test_beacons_of_very_different_power_do_not_matter() -> None:
    """Three tags 8 dB apart: the same exponent, and the spread is told."""
    site, spots = hall(), lattice(4.0, beacons=3)
    told = levels(site, spots, beacon_db={"b0": 8.0, "b1": 0.0, "b2": -8.0})
    document = survey(site, *recorded(site, spots, told))
    assert document.exponent == pytest.approx(EXPONENT, abs=0.1)
    assert document.offset_dbm == pytest.approx(OFFSET, abs=3.0)
    assert document.offset_sd_db == pytest.approx(6.5, abs=2.0)


def test_rack_losses_are_found() -> None:
    """Each crossing of a long rack costs 8 dB; the site's own number is left as it is."""
    rack = Obstacle("r", "0", "rack", [(1.0, 14.5), (39.0, 14.5), (39.0, 15.5), (1.0, 15.5)])
    site, spots = hall(obstacles=[rack]), lattice(4.0)
    told = levels(site, spots)
    y = np.array([spot[2] for spot in spots])
    for part in site.gateways:
        told[part.id] -= 8.0 * ((y > 15.0) != (part.position[1] > 15.0))
    # The middle row of gateways stands in the rack, at 15 m.
    outer = msgspec.structs.replace(site, gateways=[g for g in site.gateways if g.id[-1] != "1"])
    batches, truth = recorded(outer, spots, told)
    document = survey(outer, batches, truth)
    assert document.rack_db == pytest.approx(8.0, abs=0.7)
    assert document.exponent == pytest.approx(EXPONENT, abs=0.15)
    stated = msgspec.structs.replace(outer, obstacles=[msgspec.structs.replace(rack, loss_db=8.0)])
    assert survey(stated, batches, truth).exponent == pytest.approx(EXPONENT, abs=0.15)


def test_the_map_holds_a_shadow_that_path_loss_cannot() -> None:
    """A corner 10 dB darker for one gateway: the map says so there, and nothing elsewhere."""
    site, spots = hall(), lattice(3.0)
    told = levels(site, spots, beacon_db={"b0": 20.0})
    x, y = np.array([spot[1] for spot in spots]), np.array([spot[2] for spot in spots])
    told["g0-0-0"] -= 10.0 * ((x > 25.0) & (y > 15.0))
    found = run_survey(site, *recorded(site, spots, told))
    assert found.map_rmse_db < found.rmse_db
    document = found.calibration
    patch = next(part for part in document.radio_map if part.gateway == "g0-0-0")
    values = patch.values()
    column = round((33.0 - patch.corner[0]) / document.map_cell_m)
    row = round((23.0 - patch.corner[1]) / document.map_cell_m)
    # The gateway's own fit takes a part; between corners the step stands.
    dark, light = values[row, column], values[row, round(10.0 / document.map_cell_m)]
    assert dark - light < -5.0
    other = next(part for part in document.radio_map if part.gateway == "g0-3-0")
    assert np.abs(other.values()).mean() < 1.5


def test_floors_keep_to_themselves() -> None:
    """Spots of two floors at the same x and y are two places, with a patch for each floor."""
    site = hall(floors=2)
    spots = lattice(6.0) + lattice(6.0, floor=1)
    told = levels(site, spots, shadow_db=3.0)
    floor = np.array([spot[3] for spot in spots])
    for part in site.gateways:
        told[part.id] -= 12.0 * (floor != int(part.floor))
    found = run_survey(site, *recorded(site, spots, told))
    assert found.places == len(spots)
    assert found.calibration.slab_db == pytest.approx(12.0, abs=1.5)
    patches = [(part.gateway, part.floor) for part in found.calibration.radio_map]
    assert len(set(patches)) == len(patches)


def test_corrupt_rssi_changes_next_to_nothing() -> None:
    """Impossible values are gated; every twentieth reading at random moves the fit little."""
    site, spots = hall(), lattice(5.0)
    batches, truth = recorded(site, spots, levels(site, spots))
    clean = survey(site, batches, truth)
    rng = np.random.default_rng(9)
    broken = []
    for k, batch in enumerate(batches):
        if k % 20 == 0:
            wrong = float(rng.choice([62.0, -127.0, rng.uniform(-110.0, -20.0)]))
            batch = msgspec.structs.replace(batch, rssi=array("f", [wrong]))  # the batch, broken
        broken.append(batch)
    dirty = survey(site, broken, truth)
    assert dirty.exponent == pytest.approx(clean.exponent, abs=0.1)
    assert dirty.sd_db == pytest.approx(clean.sd_db, abs=0.5)
    assert dirty.readings < clean.readings


def test_one_place_and_one_gateway_stay_near_the_priors() -> None:
    """Not enough for an exponent: it stays, no map is made, and the document is in its bounds."""
    site = hall()
    spots = [("b0", 12.0, 12.0, 0)]
    batches, truth = recorded(site, spots, levels(site, spots))
    few = [batch for batch in batches if batch.gateway == "g0-1-1"]
    found = run_survey(site, few, truth)
    assert math.isnan(found.rmse_db)
    assert found.calibration.radio_map == []
    assert found.calibration.exponent == pytest.approx(2.3, abs=0.3)
    assert list(found.calibration.gateways) == ["g0-1-1"]
    parse_calibration(encode_calibration(found.calibration), "own")


@pytest.mark.parametrize(
    ("beacon", "gateway", "rssi", "shift", "sentence"),
    [
        ("b0", "elsewhere", -60.0, 0.0, "3 readings are of gateways that site `hall` does not"),
        ("b9", "g0-0-0", -60.0, 0.0, "3 of beacons without truth"),
        ("b0", "g0-0-0", 40.0, 0.0, "3 have an impossible RSSI"),
        ("b0", "g0-0-0", -60.0, 3600.0, "3 were heard over 2 s from any row"),
        ("b0", "g0-0-0", None, 0.0, "no readings of site `hall`"),
    ],
)
def test_what_does_not_match_is_said(
    beacon: str, gateway: str, rssi: float | None, shift: float, sentence: str
) -> None:
    """One sentence that says what the two files do not have in common."""
    truth = {"b0": Path2D(T0 + np.arange(5.0), np.ones(5), np.ones(5), np.zeros(5, np.int64))}
    level = array("f", [] if rssi is None else [rssi])
    batches = [
        Batch(gateway, "a", k, T0 + k + shift, 1.0, [beacon][: len(level)], level, array("H", [1]))
        for k in range(1, 4)
    ]
    batches = [msgspec.structs.replace(batch, n=batch.n[: len(level)]) for batch in batches]
    with pytest.raises(SurveyError, match=sentence):
        survey(hall(), batches, truth)


def test_a_site_without_gateways_is_refused() -> None:
    """There is nothing to calibrate."""
    site = msgspec.structs.replace(hall(), gateways=[])
    with pytest.raises(SurveyError, match="has no gateways"):
        survey(site, [], {})


def test_places_stay_bounded() -> None:
    """A beacon that walks everywhere: places are merged rather than grown without end."""
    count = 8_000
    t = T0 + np.arange(float(count))
    rng = np.random.default_rng(4)
    x, y = rng.uniform(0, 1000, count), rng.uniform(0, 1000, count)
    truth = {"b0": Path2D(t, x, y, np.zeros(count, np.int64))}
    # A window this short has no way in it, however fast the beacon.
    batches = [
        Batch("g0-0-0", "a", k, T0 + k, 1e-4, ["b0"], array("f", [-70.0]), array("H", [1]))
        for k in range(count)
    ]
    visits = gather(hall(), batches, truth)
    assert 100 < len(visits.places.x) <= MOST_PLACES
    assert visits.readings == count


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 11), st.integers(0, 3), st.floats(-130.0, 70.0), st.integers(0, 30)
        ),
        max_size=30,
    )
)
def test_any_readings_give_a_document_or_a_sentence(
    rows: list[tuple[int, int, float, int]],
) -> None:
    """Whatever was heard: a calibration that its own parser takes, or a SurveyError."""
    site = hall()
    t = T0 + np.arange(31.0)
    truth = {
        f"b{k}": Path2D(t, np.linspace(1, 9 * k + 2, 31), t - T0, np.zeros(31, np.int64))
        for k in range(3)
    }
    batches = [
        Batch(site.gateways[g].id, "a", i, T0 + s, 1.0, [f"b{b}"], array("f", [r]), array("H", [1]))
        for i, (g, b, r, s) in enumerate(rows, 1)
    ]
    try:
        document = survey(site, batches, truth)
    except SurveyError:
        return
    assert parse_calibration(encode_calibration(document), "own") == document


def test_normal_ratios_by_hand() -> None:
    """Density over distribution at 0 is sqrt(2 / pi); far out it grows like the distance."""
    ratio, below = mills(np.array([0.0, -20.0]))
    assert ratio == pytest.approx([math.sqrt(2.0 / math.pi), 20.05], rel=1e-3)
    assert below[0] == 0.5


def test_one_advert_is_missed_half_the_time_at_the_limit() -> None:
    """Many adverts have to be weaker to be missed all together."""
    site, spots = hall(), [("b0", 12.0, 12.0, 0)]
    visits = gather(site, *recorded(site, spots, levels(site, spots)))
    first = np.array([0])
    alone = visits._replace(expected=np.ones_like(visits.expected))
    assert silent_limit(alone, first)[0] == pytest.approx(alone.limit_dbm, abs=0.01)
    # One of ten is heard half the time when each is with 1 - 0.5 ** 0.1 = 0.067: 1.4985 below.
    ten = visits._replace(expected=10.0 * np.ones_like(visits.expected))
    expected = ten.limit_dbm - 1.4985 * ten.fade_db
    assert silent_limit(ten, first)[0] == pytest.approx(expected, abs=0.01)


@cache
def surveyed(name: str) -> Survey:
    """A measured site's survey; its tracks are never read."""
    folder = MEASURED / name
    site = load_site(folder / "site.json")
    truth = load_truth(folder / "survey" / "truth.csv", site)
    recording = folder / "survey" / "recording.jsonl.gz"
    return run_survey(site, read_batches(recording, site.id), truth)


@measured
@pytest.mark.measured
@pytest.mark.parametrize("name", ["tetam", "uji-library", "uji-office"])
def test_measured_sites_gain_by_the_map(name: str) -> None:
    """At places left out of the fit the map errs less than path loss alone."""
    found = surveyed(name)
    assert found.map_rmse_db < found.rmse_db
    assert found.calibration.map_cell_m == 0.5
    assert len(found.calibration.radio_map) >= len(found.calibration.gateways)
    parse_calibration(encode_calibration(found.calibration), "own")


@measured
@pytest.mark.measured
def test_the_same_survey_gives_the_same_bytes() -> None:
    """Twice from the file, byte for byte."""
    first = encode_calibration(surveyed("uji-office").calibration)
    surveyed.cache_clear()
    assert encode_calibration(surveyed("uji-office").calibration) == first
