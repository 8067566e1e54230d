"""The locator: places, floors, silence, rest and motion, and that nothing depends on how."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from stream import locator as module
from stream.evidence import Readings
from stream.fixes import NONE, Fixes
from stream.grid import spacing
from stream.layout import Layout
from stream.locator import Locator
from stream.site import Floor, GatewayPlace, Kind, Site, Trackable, Zone
from stream.track import RESTS, LocatorState
from stream.walk import step
from tests.support.locating import shuffled

T0 = 1_700_000_000.0
WIDE, DEEP = 40.0, 30.0
EXPONENT = 2.5
Place = tuple[float, float, int]


def hall(kinds: list[Kind], *, floors: int = 1, beacons: int = 1) -> Site:
    """A hall with a gateway every 10 m on each floor, 2.5 m up."""
    outline = [(0.0, 0.0), (WIDE, 0.0), (WIDE, DEEP), (0.0, DEEP)]
    return Site(
        id="hall",
        name="Hall",
        timezone="UTC",
        floors=[Floor(str(level), str(level), level, outline) for level in range(floors)],
        gateways=[
            GatewayPlace(f"g{level}-{x:g}-{y:g}", str(level), [x, y, 2.5])
            for level in range(floors)
            for x in (5.0, 15.0, 25.0, 35.0)
            for y in (5.0, 15.0, 25.0)
        ],
        zones=[
            Zone("west", "0", "West", "zone", [(0.0, 0.0), (20.0, 0.0), (20.0, DEEP), (0.0, DEEP)]),
            Zone("desk", "0", "Desk", "zone", [(3.1, 3.1), (3.4, 3.1), (3.4, 3.4), (3.1, 3.4)]),
        ],
        trackables=[
            Trackable(f"t{i}", f"t{i}", kind, [f"t{i}-{k}" for k in range(beacons)])
            for i, kind in enumerate(kinds)
        ],
    )


class Air:
    """Levels of an exact log-distance law, with fading from a seed."""

    def __init__(self, site: Site, *, noise_db: float = 0.0, seed: int = 1) -> None:
        self.layout = Layout(site)
        self.noise_db = noise_db
        self.rng = np.random.default_rng(seed)
        self.deaf: set[int] = set()

    def heard(self, places: dict[int, Place], n: int = 4) -> Readings:
        """A tick's readings of beacons (by row) at places."""
        geometry = self.layout.geometry
        rows = []
        for beacon, (x, y, floor) in sorted(places.items()):
            rise = geometry.place[:, 2] + 4.0 * (geometry.floor - floor) - 1.1
            away = np.sqrt(
                (geometry.place[:, 0] - x) ** 2 + (geometry.place[:, 1] - y) ** 2 + rise**2
            )
            level = -61.0 - 10.0 * EXPONENT * np.log10(np.maximum(away, 1.0))
            level -= 17.0 * np.abs(geometry.floor - floor)
            level += self.noise_db * self.rng.standard_normal(len(level))
            rows += [
                (beacon, gateway, rssi)
                for gateway, rssi in enumerate(level.tolist())
                if rssi > -92.0 and gateway not in self.deaf
            ]
        beacons, gateways, rssi = zip(*rows, strict=True)
        count = len(rows)
        return Readings(
            np.array(beacons, np.int64),
            np.array(gateways, np.int64),
            np.array(rssi),
            np.full(count, float(n)),
            np.full(count, 0.25),
        )


def told(locator: Locator, air: Air, way: Iterator[dict[int, Place]], step: float = 0.5) -> Fixes:
    """The last fixes after the places of `way`, one per step."""
    fixes = None
    for number, places in enumerate(way):
        fixes = locator.locate(air.heard(places), T0 + step * number)
    assert fixes is not None
    return fixes


def still(place: Place, ticks: int, beacon: int = 0) -> Iterator[dict[int, Place]]:
    """Somebody who stays."""
    return iter([{beacon: place}] * ticks)


def along(start: Place, speed: float, ticks: int) -> Iterator[dict[int, Place]]:
    """A walker along +x."""
    x, y, floor = start
    return iter([{0: (x + speed * 0.5 * k, y, floor)} for k in range(ticks)])


def error(fix: Fixes, place: Place) -> float:
    """Metres."""
    return math.hypot(float(fix["x"][0]) - place[0], float(fix["y"][0]) - place[1])


@pytest.mark.parametrize("kind", ["item", "picker"])
@pytest.mark.parametrize("place", [(20.0, 15.0, 0), (8.5, 11.5, 0), (31.5, 22.0, 0)])
def test_levels_of_the_model_s_own_law_give_the_place(kind: Kind, place: Place) -> None:
    """Without noise what is left is the lean of a wide posterior to where there is more room."""
    site = hall([kind])
    fix = told(Locator(Layout(site)), Air(site), still(place, 20))
    assert error(fix, place) < 2.2
    assert 0.3 < fix["accuracy"][0] < 6.0
    assert fix["zone"][0] in ({20.0: (0, NONE)}.get(place[0], (0 if place[0] < 20.0 else NONE,)))


@pytest.mark.parametrize("speed", [0.7, 1.1, 1.5])
def test_a_walker_is_followed_without_lag(speed: float) -> None:
    """Behind by less than the error itself, and its heading is known."""
    site = hall(["picker"])
    way = list(along((3.0, 10.0, 0), speed, 40))
    fix = told(Locator(Layout(site)), Air(site, noise_db=2.0), iter(way))
    x = way[-1][0][0]
    assert abs(fix["x"][0] - x) < 2.5
    assert abs(fix["heading"][0]) < math.pi / 4


@pytest.mark.parametrize(("kind", "sway"), [("item", 0.25), ("picker", 0.9)])
def test_what_stays_does_not_jitter(kind: Kind, sway: float) -> None:
    """The standard deviation of its fixes, with 3 dB of fading on every reading."""
    site = hall([kind])
    locator, air = Locator(Layout(site)), Air(site, noise_db=3.0)
    places = []
    for number in range(160):
        fix = locator.locate(air.heard({0: (17.0, 12.0, 0)}), T0 + 0.5 * number)
        places.append((float(fix["x"][0]), float(fix["y"][0])))
    assert np.std(np.array(places[60:]), axis=0).max() < sway


def test_an_item_is_found_again_where_it_was_carried() -> None:
    """Long averages end when its levels drift: within 10 s it is where it is put."""
    site = hall(["item"])
    locator, air = Locator(Layout(site)), Air(site, noise_db=2.0)
    told(locator, air, still((8.0, 8.0, 0), 120))
    assert locator.tracks["mode"][0] == RESTS
    fix = None
    for number in range(20):
        fix = locator.locate(air.heard({0: (30.0, 20.0, 0)}), T0 + 60.0 + 0.5 * number)
    assert fix is not None
    assert error(fix, (30.0, 20.0, 0)) < 2.5


def test_one_deep_fade_moves_no_item() -> None:
    """A gateway that loses 20 dB for one tick is outvoted."""
    site = hall(["item"])
    locator, air = Locator(Layout(site)), Air(site, noise_db=1.0)
    before = told(locator, air, still((17.0, 12.0, 0), 100))
    readings = air.heard({0: (17.0, 12.0, 0)})
    loudest = int(readings.rssi.argmax())
    readings.rssi[loudest] -= 20.0
    after = locator.locate(readings, T0 + 50.0)
    moved = math.hypot(after["x"][0] - before["x"][0], after["y"][0] - before["y"][0])
    assert moved < 0.5


def test_several_beacons_are_better_than_one() -> None:
    """Their likelihoods multiply."""
    place = (22.0, 13.0, 0)
    errors: dict[int, list[float]] = {1: [], 3: []}
    for beacons, found in errors.items():
        site = hall(["item"], beacons=beacons)
        for seed in range(12):
            air = Air(site, noise_db=5.0, seed=seed)
            fix = told(Locator(Layout(site)), air, iter([dict.fromkeys(range(beacons), place)] * 3))
            found.append(error(fix, place))
    assert np.mean(errors[3]) < np.mean(errors[1])


def test_the_floor_is_found_and_left_only_when_it_is_left() -> None:
    """A slab tells floors apart; a bad tick changes none; a lift ride does."""
    site = hall(["picker"], floors=2)
    locator, air = Locator(Layout(site)), Air(site, noise_db=3.0)
    fix = told(locator, air, still((20.0, 15.0, 1), 30))
    assert fix["floor"][0] == 1
    for number in range(4):
        fix = locator.locate(air.heard({0: (20.0, 15.0, 0)}), T0 + 15.0 + 0.5 * number)
        if number == 0:
            assert fix["floor"][0] == 1
    for number in range(24):
        fix = locator.locate(air.heard({0: (20.0, 15.0, 0)}), T0 + 17.0 + 0.5 * number)
    assert fix["floor"][0] == 0


def test_a_gateway_that_is_off_line_says_nothing() -> None:
    """The silence of one that is on line pushes the place away from it."""
    site = hall(["item"])
    near = site.gateways.index(next(g for g in site.gateways if g.id == "g0-15-15"))
    place = (21.5, 15.0, 0)
    found = {}
    for online in (True, False):
        locator, air = Locator(Layout(site)), Air(site)
        air.deaf = {near}
        lines = np.ones(len(site.gateways), np.bool_)
        lines[near] = online
        fix = None
        for number in range(20):
            fix = locator.locate(air.heard({0: place}), T0 + 0.5 * number, lines)
        assert fix is not None
        found[online] = float(fix["x"][0])
    assert found[True] > found[False] + 0.1


def test_silence_makes_lost_and_a_word_makes_found() -> None:
    """Each is told once."""
    site = hall(["picker"])
    locator, air = Locator(Layout(site)), Air(site)
    told(locator, air, still((10.0, 10.0, 0), 20))
    end = T0 + 9.5
    assert len(locator.newly_lost(end + 59.0)) == 0
    assert locator.newly_lost(end + 61.0).tolist() == [0]
    assert len(locator.newly_lost(end + 62.0)) == 0
    rows = locator.locate(air.heard({0: (12.0, 10.0, 0)}), end + 70.0)["trackable"]
    assert locator.newly_found(rows.astype(np.int64)).tolist() == [0]
    assert len(locator.newly_found(rows.astype(np.int64))) == 0


def test_the_radius_grows_with_the_noise() -> None:
    """Residuals tell how noisy the site is."""
    radius, noises = [], []
    for noise in (1.0, 9.0):
        site = hall(["item"] * 30)
        air = Air(site, noise_db=noise)
        locator = Locator(Layout(site))
        rng = np.random.default_rng(5)
        places = {i: (*rng.uniform((2, 2), (WIDE - 2, DEEP - 2)).tolist(), 0) for i in range(30)}
        shadow = noise * rng.standard_normal((30, len(site.gateways)))
        fix = None
        for number in range(40):
            readings = air.heard(places)
            readings = readings._replace(
                rssi=readings.rssi + shadow[readings.beacon, readings.gateway]
            )
            fix = locator.locate(readings, T0 + 0.5 * number)
        assert fix is not None
        radius.append(float(np.median(fix["accuracy"])))
        noises.append(locator.learnt.noise)
    assert radius[1] > 1.2 * radius[0]
    assert noises[0] < 1.0 < noises[1]


def crowd(seed: int) -> tuple[Site, list[Readings]]:
    """Some who walk and some that lie, over two floors, tick by tick."""
    kinds: list[Kind] = ["picker", "item", "visitor", "cart", "item", "other"]
    site = hall(kinds, floors=2, beacons=2)
    air = Air(site, noise_db=3.0, seed=seed)
    rng = np.random.default_rng(seed)
    start = rng.uniform((3, 3), (WIDE - 3, DEEP - 3), (len(kinds), 2))
    ticks = []
    for number in range(60):
        places = {}
        for row, kind in enumerate(kinds):
            moved = 0.0 if kind == "item" else 0.5 * number
            x = 3.0 + (start[row, 0] + moved) % (WIDE - 6.0)
            if rng.random() < 0.8:
                for k in range(2):
                    places[2 * row + k] = (x, float(start[row, 1]), row % 2)
        ticks.append(air.heard(places))
    return site, ticks


def all_fixes(locator: Locator, ticks: list[Readings], first: int = 0) -> list[bytes]:
    """The fixes of every tick as bytes."""
    return [
        locator.locate(readings, T0 + 0.5 * (first + k)).tobytes()
        for k, readings in enumerate(ticks)
    ]


def copied(state: LocatorState) -> LocatorState:
    """As it comes back from the store."""
    return LocatorState(
        state.slots.copy(),
        state.heard.copy(),
        state.tracks.copy(),
        state.walkers.copy(),
        state.chances.copy(),
        state.learnt.copy(),
    )


@pytest.mark.parametrize("at", [1, 17, 40])
def test_it_goes_on_from_its_state_to_the_byte(at: int) -> None:
    """What is remembered between ticks is all there is."""
    site, ticks = crowd(3)
    layout = Layout(site)
    whole = all_fixes(Locator(layout), ticks)
    first = Locator(layout)
    all_fixes(first, ticks[:at])
    second = Locator(layout, copied(first.state))
    assert all_fixes(second, ticks[at:], at) == whole[at:]


def test_neither_order_nor_batch_changes_a_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readings may come in any order, and trackables be worked on in batches of any size."""
    site, ticks = crowd(4)
    layout = Layout(site)
    whole = all_fixes(Locator(layout), ticks)
    rng = np.random.default_rng(9)
    mixed = [shuffled(readings, rng) for readings in ticks]
    assert all_fixes(Locator(layout), mixed) == whole
    monkeypatch.setattr(module, "CHUNK", 1)
    assert all_fixes(Locator(layout), ticks) == whole


def test_the_state_is_small() -> None:
    """Bytes a beacon of an item, and a walker's on top."""
    site = hall(["item", "picker"])
    locator = Locator(Layout(site))
    told(locator, Air(site), iter([{0: (10.0, 10.0, 0), 1: (20.0, 20.0, 0)}] * 10))
    state = locator.state
    item = state.slots[0].nbytes + state.heard.itemsize + state.tracks.itemsize
    walker = state.chances[0].nbytes + 4
    print(f"{item} bytes an item, {item + walker} a walker")
    assert item <= 400
    assert walker <= 1_300
    assert len(state.walkers) == 1


def test_the_spacing_of_gateways() -> None:
    """The median distance to the nearest of the same floor."""
    layout = Layout(hall(["item"], floors=2))
    assert spacing(layout.geometry.place, layout.geometry.floor) == pytest.approx(10.0)


def test_after_a_silence_one_is_found_where_it_is_heard() -> None:
    """Half an hour later at the other end of the hall: no way between, no pull to the old place."""
    for kind in ("picker", "item"):
        site = hall([kind])
        locator, air = Locator(Layout(site)), Air(site, noise_db=2.0)
        told(locator, air, still((6.0, 6.0, 0), 60))
        fix = None
        for number in range(4):
            fix = locator.locate(air.heard({0: (34.0, 24.0, 0)}), T0 + 1_830.0 + 0.5 * number)
            assert error(fix, (34.0, 24.0, 0)) < 6.0
        assert fix is not None
        assert locator.tracks["since"][0] == T0 + 1_830.0


def test_who_is_lost_leaves_no_filter_behind() -> None:
    """Visitors who went home do not make every commit heavier; on return they are found anew."""
    site = hall(["visitor", "picker"])
    locator, air = Locator(Layout(site)), Air(site)
    places: dict[int, Place] = {0: (10.0, 10.0, 0), 1: (25.0, 20.0, 0)}
    told(locator, air, iter([places] * 10))
    assert locator.state.walkers.tolist() == [0, 1]
    for number in range(130):
        t = T0 + 5.0 + 0.5 * number
        locator.locate(air.heard({1: places[1]}), t)
        locator.newly_lost(t)
    assert locator.state.walkers.tolist() == [1]
    fix = locator.locate(air.heard({0: (30.0, 9.0, 0)}), T0 + 80.0)
    assert error(fix, (30.0, 9.0, 0)) < 4.0
    assert locator.state.walkers.tolist() == [0, 1]


def test_a_beacon_heard_by_turns_does_not_hold_its_item_back() -> None:
    """What was carried away is found anew by all its beacons, not only by the one just heard."""
    site = hall(["item"], beacons=2)
    locator, air = Locator(Layout(site)), Air(site, noise_db=1.0)
    for number in range(120):
        locator.locate(air.heard({number % 2: (8.0, 8.0, 0)}), T0 + 0.5 * number)
    slots = locator.evidence.slots
    fix = None
    for number in range(120, 144):
        before = locator.tracks["calm"][0]
        fix = locator.locate(air.heard({number % 2: (32.0, 22.0, 0)}), T0 + 0.5 * number)
        if locator.tracks["calm"][0] < before:
            # Roused just now: of the beacon that is silent nothing is left of the old place.
            assert (slots["gateway"][(number + 1) % 2] < 0).all()
            break
    else:
        pytest.fail("it was never roused")
    for number in range(144, 168):
        fix = locator.locate(air.heard({number % 2: (32.0, 22.0, 0)}), T0 + 0.5 * number)
    assert error(fix, (32.0, 22.0, 0)) < 3.0


def test_a_slow_tag_costs_no_more_than_a_quick_one() -> None:
    """One that walks and is heard every ten minutes is moved by a bounded number of steps."""
    site = hall(["picker"])
    locator, air = Locator(Layout(site)), Air(site)
    calls = 0

    def counted(*columns: object) -> object:
        nonlocal calls
        calls += 1
        return step(*columns)  # type: ignore[arg-type]  # as it was called

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "step", counted)
        for number in range(12):
            calls = 0
            locator.locate(air.heard({0: (20.0, 15.0, 0)}), T0 + 600.0 * number)
            assert calls <= module.MOST_STEPS
    # By now it is not found anew each time.
    assert calls > 1


def test_no_fix_is_outside_the_walls() -> None:
    """In the corners, with noise, over many fixes."""
    site = hall(["picker", "item"])
    locator, air = Locator(Layout(site)), Air(site, noise_db=6.0)
    for number in range(80):
        fixes = locator.locate(
            air.heard({0: (0.2, 0.2, 0), 1: (WIDE - 0.2, DEEP - 0.2, 0)}), T0 + 0.5 * number
        )
        assert ((fixes["x"] >= 0.0) & (fixes["x"] <= WIDE)).all()
        assert ((fixes["y"] >= 0.0) & (fixes["y"] <= DEEP)).all()


def test_the_radius_holds_about_what_it_says() -> None:
    """68 % of errors, give or take what a small hall and 120 items leave to chance.

    Shadowing of 4 dB for each item and gateway, fading of 3 dB for each reading.
    """
    inside = []
    for seed in range(3):
        site = hall(["item"] * 40)
        air = Air(site, noise_db=3.0, seed=seed)
        rng = np.random.default_rng(seed)
        places = {i: (*rng.uniform((1, 1), (WIDE - 1, DEEP - 1)).tolist(), 0) for i in range(40)}
        shadow = 4.0 * rng.standard_normal((40, len(site.gateways)))
        locator = Locator(Layout(site))
        fix = None
        for number in range(40):
            heard = air.heard(places)
            rssi = heard.rssi + shadow[heard.beacon, heard.gateway]
            fix = locator.locate(heard._replace(rssi=rssi), T0 + 0.5 * number)
        assert fix is not None
        inside += [error(fix[i : i + 1], places[i]) <= float(fix["accuracy"][i]) for i in range(40)]
    assert 0.5 < np.mean(inside) < 0.92


@pytest.mark.parametrize("kind", ["picker", "item"])
def test_a_second_on_the_wrong_floor_lifts_nobody(kind: Kind) -> None:
    """At whatever moment it comes between two looks around: one look alone decides nothing."""
    site = hall([kind], floors=2)
    layout = Layout(site)
    air = Air(site)
    for phase in range(8):
        locator = Locator(layout)
        told(locator, air, still((20.0, 15.0, 0), 20 + phase))
        for number in range(10):
            fix = locator.locate(
                air.heard({0: (20.0, 15.0, int(number < 2))}),
                T0 + 0.5 * (20 + phase + number),
            )
            assert fix["floor"][0] == 0
