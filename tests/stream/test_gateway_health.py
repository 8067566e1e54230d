"""Which gateway is named, when and for what; and who is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from stream.gateway_health import GATEWAY, GatewayHealth
from stream.residuals import Checked
from stream.summary import GatewayCounts

Floats = npt.NDArray[np.float64]
T0 = 1_700_000_000.0
NAMES = [f"g{i}" for i in range(12)]
STEP_S = 6.0
NONE = np.zeros(len(NAMES))


class Air(NamedTuple):
    """What gateways hear: dB against the model, share of adverts, readings a step, scatter, dB."""

    level: Floats
    share: Floats
    readings: Floats
    spread: Floats


def sound() -> Air:
    """Gateways that differ as sound ones do."""
    rng = np.random.default_rng(5)
    return Air(
        rng.normal(0.0, 2.5, len(NAMES)),
        rng.uniform(0.9, 1.0, len(NAMES)),
        rng.uniform(6.0, 36.0, len(NAMES)),
        rng.uniform(4.0, 6.0, len(NAMES)),
    )


def changed(air: Air, row: int, level: float, share: float, readings: float) -> Air:
    """One gateway hears so many dB more, and such parts of adverts and readings."""
    out = Air(*(column.copy() for column in air))
    out.level[row] += level
    out.share[row] *= share
    out.readings[row] *= readings
    return out


class Shift:
    """Event time goes on."""

    def __init__(self, health: GatewayHealth | None = None) -> None:
        self.health = health or GatewayHealth(NAMES)
        self.t = T0
        self.offsets = NONE.copy()
        self.told: list[tuple[float, str, str]] = []
        self.counts = {name: GatewayCounts() for name in NAMES}
        self.lead = NONE.copy()
        self._rng = np.random.default_rng(7)
        self._named: set[str] = set()

    def works(
        self, seconds: float, air: Air, late: Callable[[float], set[str]] | None = None
    ) -> None:
        """Tags are heard for so long; `late` names the gateways whose batches come late."""
        for _ in range(int(seconds / STEP_S)):
            self.t += STEP_S
            tardy = late(self.t - T0) if late else set()
            n = self._rng.poisson(air.readings).astype(float)
            # A moment's readings are shadowed alike.
            off = air.level - self.offsets + self._rng.normal(0.0, 3.0, len(NAMES))
            adverts = 20.0 * n
            checked = Checked(
                n, n * off, n * (off**2 + air.spread**2), adverts * air.share, adverts, 0.0, 0.0
            )
            self.health.follow([checked], self.offsets, self.t)
            for name in NAMES:
                self.counts[name].batches += 2
                self.counts[name].late += 2 * (name in tardy)
            self.health.judge(self.counts, self.t + self.lead, self.t)
            now = self.health.suspicions()
            for name in sorted(set(now) ^ self._named):
                reason = now[name].reason if name in now else "well"
                self.told.append((self.t - T0, name, reason))
            self._named = set(now)


@pytest.fixture
def shift() -> Shift:
    """A quarter of an hour of sound gateways."""
    shift = Shift()
    shift.works(900.0, sound())
    return shift


def test_sound_gateways_are_not_named(shift: Shift) -> None:
    """Over two hours nobody is."""
    shift.works(6_300.0, sound())
    assert shift.told == []


def test_a_deaf_gateway_is_named_within_ten_minutes(shift: Shift) -> None:
    """As one looks that lost 15 dB: what is near is still heard, and the louder part of it."""
    shift.works(900.0, changed(sound(), 3, -5.0, 0.65, 0.3))
    ((when, name, reason),) = shift.told
    assert (name, reason) == ("g3", "deaf")
    assert 900.0 < when <= 900.0 + 600.0
    assert "`g3`" in shift.health.suspicions()["g3"].text


def test_an_obstructed_gateway_is_named_when_it_stays_so(shift: Shift) -> None:
    """A moderate drop is a pallet at first."""
    shift.works(600.0, changed(sound(), 3, -5.5, 1.0, 0.85))
    assert shift.told == []
    shift.works(900.0, changed(sound(), 3, -5.5, 1.0, 0.85))
    assert [told[1:] for told in shift.told] == [("g3", "obstructed")]


def test_a_gateway_that_hangs_elsewhere_hears_louder_and_misses_more(shift: Shift) -> None:
    """As one looks that changed places with another: either sign of a change counts."""
    shift.works(600.0, changed(sound(), 3, 5.0, 0.5, 1.1))
    assert [told[1:] for told in shift.told] == [("g3", "moved")]


def test_a_gateway_in_a_wrong_place_needs_no_reference() -> None:
    """Its residuals scatter and it misses what should be near; either alone is a bad corner."""
    for spread, share, named in ((12.0, 0.3, ["moved"]), (12.0, 1.0, []), (1.0, 0.3, [])):
        shift, air = Shift(), sound()
        air.spread[3] = max(spread, air.spread[3])
        air.share[3] *= share
        shift.works(480.0, air)
        assert [reason for _, _, reason in shift.told] == named


def test_a_pallet_for_some_minutes_is_no_fault(shift: Shift) -> None:
    """What goes away again is not told."""
    shift.works(300.0, changed(sound(), 3, -5.5, 1.0, 0.85))
    shift.works(1_800.0, sound())
    assert shift.told == []


def test_a_fit_does_not_explain_a_fault_away(shift: Shift) -> None:
    """Residuals are nil again, since the fitted offset fell; the gateway is deaf all the same."""
    deaf = changed(sound(), 3, -9.0, 1.0, 0.4)
    shift.works(120.0, deaf)
    shift.offsets[3] = -9.0
    shift.works(600.0, deaf)
    assert [told[1:] for told in shift.told] == [("g3", "deaf")]


def test_a_fit_makes_nobody_suspect(shift: Shift) -> None:
    """What moves from residuals into offsets has not changed."""
    shift.offsets = np.linspace(-4.0, 4.0, len(NAMES))
    shift.works(1_800.0, sound())
    assert shift.told == []


def test_what_all_share_is_nobodys_fault(shift: Shift) -> None:
    """Tags of less power, or fewer tags, are the site's."""
    air = sound()
    shift.works(1_800.0, Air(air.level - 8.0, air.share * 0.7, air.readings * 0.3, air.spread))
    assert shift.told == []


def test_slow_change_is_got_used_to(shift: Shift) -> None:
    """Goods put elsewhere take 5 dB in 11 hours; at once they would be a fault."""
    for hour in range(12):
        shift.works(3_600.0, changed(sound(), 3, -0.45 * hour, 1.0, 1.0))
    assert shift.told == []


def test_a_gateway_far_below_the_others_needs_no_reference() -> None:
    """Deaf from the first day on."""
    shift = Shift()
    shift.works(420.0, changed(sound(), 3, -12.0, 0.8, 0.5))
    assert [told[1:] for told in shift.told] == [("g3", "deaf")]
    assert "than others do" in shift.health.suspicions()["g3"].text


def test_a_gateway_is_well_again(shift: Shift) -> None:
    """Named once and cleared once."""
    shift.works(900.0, changed(sound(), 3, -5.0, 0.65, 0.3))
    shift.works(2_400.0, sound())
    assert [told[1:] for told in shift.told] == [("g3", "deaf"), ("g3", "well")]


def test_where_hardly_anything_is_heard_nobody_is_judged() -> None:
    """A night with a tag or two."""
    shift = Shift()
    air = sound()
    quiet = air._replace(readings=air.readings * 0.01)
    shift.works(3_600.0, quiet)
    shift.works(1_800.0, changed(quiet, 3, -15.0, 0.1, 0.1))
    assert shift.told == []


def test_a_clock_behind_is_named(shift: Shift) -> None:
    """Its batches come late, all of them; what it does not hear then is no other fault."""
    shift.works(900.0, changed(sound(), 3, 0.0, 0.0, 0.0), late=lambda _: {"g3"})
    ((when, name, reason),) = shift.told
    assert (name, reason) == ("g3", "clock")
    assert when <= 900.0 + 600.0


def test_a_clock_ahead_is_named_instead_of_those_it_makes_late(shift: Shift) -> None:
    """All others come late when one runs ahead."""
    shift.lead[3] = 4.0
    shift.works(900.0, sound(), late=lambda _: set(NAMES) - {"g3"})
    assert [told[1:] for told in shift.told] == [("g3", "clock")]
    assert "ahead" in shift.health.suspicions()["g3"].text


def test_a_backlog_is_no_clock(shift: Shift) -> None:
    """After an outage many batches come late within a minute."""
    shift.works(900.0, sound(), late=lambda t: {"g3"} if t < 960.0 else set())
    assert shift.told == []


def test_state_is_restored_to_the_byte(shift: Shift) -> None:
    """Restored anywhere, it goes on as if nothing had happened."""
    deaf = changed(sound(), 3, -5.0, 0.65, 0.3)
    shift.works(200.0, deaf)
    twin = GatewayHealth.restore(shift.health.dump(), NAMES)
    assert twin.dump() == shift.health.dump()
    one = np.ones(len(NAMES))
    same = Checked(9.0 * one, one, 30.0 * one, 50.0 * one, 60.0 * one, 0.0, 0.0)
    for health in (twin, shift.health):
        for k in range(400):
            health.follow([same], NONE, shift.t + k)
            health.judge(shift.counts, np.full(len(NAMES), shift.t), shift.t + k)
    assert twin.dump() == shift.health.dump()
    assert len(twin.dump()) <= 200 * len(NAMES)


@pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b"x" + b[1:], lambda _: b""])
def test_another_state_is_refused(spoil: Callable[[bytes], bytes]) -> None:
    """Cut off, of another kind, or empty."""
    with pytest.raises(ValueError, match="health"):
        GatewayHealth.restore(spoil(GatewayHealth(NAMES).dump()), NAMES)


def test_gateways_are_followed_by_id(shift: Shift) -> None:
    """Under a new site: those that stay keep all, those that hang elsewhere begin blank."""
    shift.works(900.0, changed(sound(), 3, -5.0, 0.65, 0.3))
    after = ["new", *reversed(NAMES[1:])]
    kept = shift.health.carry_over(after, frozenset({"g5"}))
    assert list(kept.suspicions()) == ["g3"]
    rows = np.frombuffer(kept.dump()[-len(after) * GATEWAY.itemsize :], GATEWAY)
    assert (rows["learnt"] > 0.0).tolist() == [name not in ("new", "g5") for name in after]
    again = shift.health.carry_over(after, frozenset({"g3"}))
    assert again.suspicions() == {}
