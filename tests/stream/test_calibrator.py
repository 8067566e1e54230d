"""When the site calibrates itself: better models are taken, others are not, and nothing grows.

The locator's places play no part here: its evidence is written by hand, so that hours of work
take a second.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from stream.calibration import EXPONENT, OFFSET_DBM, OFFSET_SD_DB, SD_DB, Calibration, prior
from stream.calibrator import (
    KEPT,
    LEAST_SNAPSHOTS,
    MOST_PAUSE_S,
    PER_TICK,
    TRIAL_FROM,
    TRIAL_MOST,
    Calibrator,
    CalibratorState,
    carry_over,
)
from stream.evidence import EMPTY, Evidence, Readings, summed
from stream.layout import Layout
from stream.learnt import LIMIT_DBM
from stream.likelihood import FADING_SD_DB, SILENCE_MOST, STUDENT_NU
from stream.locator import Locator
from stream.selfcal import SNAPSHOT
from stream.sensing import ramp
from stream.site import Kind, Site
from stream.track import RESTS, WALKS, blank_state
from tests.support.locating import T0, Air, Place, hall, joined, readings

STEP_S = 4.0
PICKERS: list[Kind] = ["picker"] * 8
# As many gateways as no site has: tables cannot be made of it.
NOBODY = np.ones(0, np.bool_)


class Adopted(NamedTuple):
    """A calibration that was taken into use, and after how many steps."""

    number: int
    calibration: Calibration


class Work:
    """A site at work: every few seconds each tag is somewhere else.

    Attributes:
        calibrator: the one under test.
        locator: in front of it; its calibration is the one in use.
        adopted: what was taken into use.
        number: steps so far.
    """

    def __init__(
        self,
        air: Air,
        *,
        seed: int = 1,
        calibration: Calibration | None = None,
        tag_sd_db: float = 3.0,
        learns: bool = True,
    ) -> None:
        self.air = air
        self.seed = seed
        self.layout = Layout(air.site)
        self.online = np.ones(len(self.layout.gateway_row), np.bool_)
        self.calibrator = Calibrator(self.layout)
        self.locator = Locator(self.layout, calibration=calibration)
        count = len(self.layout.beacon_row)
        # Tags as the model expects them: their mean is its offset, and their spread its spread.
        spread = np.linspace(-1.0, 1.0, count) if count > 1 else np.zeros(count)
        self.more = tag_sd_db * spread / max(float(spread.std()), 1e-9)
        self.adopted: list[Adopted] = []
        self.number = 0
        self.resting = False
        self.learns = learns

    @property
    def t(self) -> float:
        """Event time."""
        return T0 + STEP_S * self.number

    def step(self, which: list[int] | None = None) -> None:
        """The next step, of all trackables or some; what is adopted is taken into use."""
        self.number += 1
        rng = np.random.default_rng([self.seed, self.number])
        layout, locator = self.layout, self.locator
        rows = np.arange(len(layout.motions.rests)) if which is None else np.array(which)
        wide, deep = self.air.site.floors[0].outline[2]
        place: Place = (0.0, 0.0, 0)
        parts = []
        for beacon in layout.beacons_of(rows).tolist():
            place = (rng.uniform(0.0, wide), rng.uniform(0.0, deep), 0)
            heard = self.air.heard({beacon: place}, rng, offset_db=float(self.more[beacon]))
            parts.append(heard._replace(n=np.full(len(heard.n), 20.0)))
        together = joined(parts)
        if not len(together.beacon):
            return
        if self.learns:
            locator.learnt.take_levels(together.rssi)
        pairs = summed(together)
        locator.evidence.forget(pairs.rows)
        locator.evidence.update(pairs, self.t, np.full(len(pairs.rows), 5.0))
        track = locator.tracks
        track["mode"][rows] = RESTS if self.resting else WALKS
        track["since"][rows[track["t"][rows] == 0.0]] = self.t
        track["calm"][rows] = (track["calm"][rows] + STEP_S) if self.resting else 0.0
        track["t"][rows] = self.t
        found = self.calibrator.follow(locator, rows, self.t, self.online)
        if found is not None:
            self.adopted.append(Adopted(self.number, found))
            self.use(found)

    def use(self, calibration: Calibration) -> None:
        """Another model in use."""
        self.locator = Locator(self.layout, self.locator.state, calibration)

    def run(self, minutes: float) -> Work:
        """Some minutes of work."""
        for _ in range(round(60.0 * minutes / STEP_S)):
            self.step()
        return self

    def killed(self) -> None:
        """Everything is restored from what was stored."""
        stored = msgspec.msgpack.encode(self.calibrator.dump())
        state = self.locator.state
        self.locator = Locator(self.layout, state, self.locator.calibration)
        read = msgspec.msgpack.decode(stored, type=CalibratorState)
        self.calibrator = Calibrator(self.layout, read)


def other(seed: int = 3) -> Air:
    """An air that is far from the prior: open, and with gateways that differ."""
    site = hall(PICKERS)
    true = np.random.default_rng(seed).normal(0.0, 4.0, len(site.gateways))
    return Air(site, exponent=1.9, gateway_db=(true - true.mean()).tolist(), noise_db=3.0)


def as_assumed() -> Air:
    """An air that is just what the prior says, with the noise that it states."""
    return Air(hall(PICKERS), noise_db=5.0)


class AsBelieved(Air):
    """An air that is what the likelihood takes it for, its tails and its silence included."""

    def heard(
        self,
        places: dict[int, Place],
        rng: np.random.Generator | None = None,
        *,
        n: float = 20.0,
        offset_db: float | dict[int, float] = 0.0,
        deaf: Iterable[int] = (),
    ) -> Readings:
        """Levels with Student's t around the model's; heard by the chance that it gives."""
        assert rng is not None
        assert isinstance(offset_db, float)
        assert not deaf
        sd = np.sqrt(SD_DB**2 + FADING_SD_DB**2 / n)
        columns = []
        for beacon, place in places.items():
            for gateway in range(len(self.site.gateways)):
                level = self.level(gateway, place, offset_db)
                share = float(ramp(np.array([level - LIMIT_DBM], np.float32))[0])
                if rng.random() < 1.0 - (1.0 - SILENCE_MOST) ** share:
                    columns.append((beacon, gateway, level + sd * rng.standard_t(STUDENT_NU)))
        return readings(columns, n)


def test_a_better_model_is_taken_within_minutes_and_explains_itself() -> None:
    """It is nearer to the truth than the prior, and says how much better it did."""
    work = Work(other()).run(12.0)
    assert work.adopted
    first = work.adopted[0]
    assert STEP_S * first.number < 400.0
    found = first.calibration
    assert found.origin == "work"
    assert abs(found.exponent - 1.9) < abs(EXPONENT - 1.9)
    true = np.array(work.air.gateway_db)
    off = np.array([found.gateways[name].offset_db for name in work.layout.gateway_row])
    assert np.sqrt(np.mean((off - true) ** 2)) < np.sqrt(np.mean(true**2))
    assert "better" in found.note
    assert work.calibrator.counts[2] == len(work.adopted)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_model_that_is_true_already_is_not_replaced(seed: int) -> None:
    """While the model in use makes the data itself, fits are made and none is taken."""
    air = AsBelieved(hall(PICKERS))
    work = Work(air, seed=seed, tag_sd_db=OFFSET_SD_DB, learns=False).run(15.0)
    assert work.calibrator.counts[1] >= 2
    assert work.adopted == []


def test_what_is_taken_in_a_hall_as_assumed_is_nearly_the_same() -> None:
    """Where the prior is right but for the sharp edge of hearing, no fit strays far from it."""
    work = Work(as_assumed(), tag_sd_db=OFFSET_SD_DB, seed=3).run(12.0)
    assert work.calibrator.counts[1] >= 2
    for _, found in work.adopted:
        assert abs(found.exponent - EXPONENT) < 0.3
        assert abs(found.offset_dbm - OFFSET_DBM) < 3.0
        assert max(abs(fit.offset_db) for fit in found.gateways.values()) < 2.0


def test_a_worse_model_on_trial_is_refused() -> None:
    """One that is put on trial by hand and explains less is dropped, and the next fit waits."""
    work = Work(as_assumed()).run(1.0)
    worse = msgspec.structs.replace(prior("hall"), exponent=1.7)
    assert work.calibrator.propose(worse)
    assert not work.calibrator.propose(worse)
    state = work.calibrator.dump()
    assert (state.phase, state.fits) == ("trial", 1)
    while work.calibrator.dump().phase == "trial":
        work.step()
        assert work.number < 200
    assert work.adopted == []
    assert work.calibrator.dump().due > work.t
    assert work.calibrator.dump().candidate is None


def test_the_same_model_on_trial_is_no_better() -> None:
    """What explains exactly as much is not taken."""
    work = Work(as_assumed()).run(1.0)
    assert work.calibrator.propose(prior("hall"))
    while work.calibrator.dump().phase == "trial":
        work.step()
    assert work.adopted == []
    assert work.calibrator.dump().fits == 1


def test_a_better_one_from_elsewhere_is_taken_by_trial() -> None:
    """The true model of an unusual hall, once proposed, is in use as soon as a trial can end."""
    work = Work(other()).run(0.5)
    gateways = dict(zip(work.layout.gateway_row, work.air.gateway_db, strict=True))
    true = msgspec.json.decode(
        msgspec.json.encode(
            {
                "v": 1,
                "site": "hall",
                "origin": "gateways",
                "exponent": 1.9,
                "gateways": {name: {"offset_db": db} for name, db in gateways.items()},
            }
        ),
        type=Calibration,
    )
    assert work.calibrator.propose(true)
    begun = work.number
    while not work.adopted:
        work.step()
        assert work.number < 100
    assert (work.number - begun) * len(PICKERS) >= TRIAL_FROM
    assert msgspec.structs.replace(work.adopted[0].calibration, note="") == true


def test_what_one_tag_teaches_is_kept_near_the_prior() -> None:
    """A site with one tag calibrates itself, too; where the prior was right it stays about so."""
    air = AsBelieved(hall(["picker"]))
    work = Work(air, tag_sd_db=0.0, learns=False).run(15.0)
    assert work.calibrator.counts[1] >= 1
    for _, found in work.adopted:
        assert abs(found.exponent - EXPONENT) < 0.7
        assert abs(found.offset_dbm - OFFSET_DBM) < 3.0
        assert max(abs(fit.offset_db) for fit in found.gateways.values()) < 2.0


def test_one_tag_is_enough_where_the_model_is_far_off() -> None:
    """Many snapshots of one tag say as well that the hall is open."""
    air = Air(hall(["picker"]), exponent=1.7, noise_db=3.0)
    work = Work(air).run(25.0)
    assert work.adopted
    assert abs(work.adopted[-1].calibration.exponent - 1.7) < 0.9 * abs(EXPONENT - 1.7)


def test_a_trial_is_judged_from_its_own_beginning() -> None:
    """However far the trial before it went, a bad proposal is refused soon."""
    work = Work(as_assumed())
    work.calibrator = Calibrator(work.layout, CalibratorState(judged=TRIAL_MOST - 1))
    assert work.calibrator.propose(msgspec.structs.replace(prior("hall"), exponent=1.5))
    while work.calibrator.dump().phase == "trial":
        work.step()
        assert work.number * len(PICKERS) < TRIAL_MOST // 2
    assert work.adopted == []


def test_a_survey_is_never_replaced_and_nothing_grows_under_it() -> None:
    """People measured it: neither fits nor proposals touch it, however wrong it is."""
    survey = msgspec.structs.replace(prior("hall"), origin="survey", exponent=3.5)
    work = Work(other(), calibration=survey).run(4.0)
    assert work.calibrator.counts[1] == 0
    assert work.calibrator.counts[0] > LEAST_SNAPSHOTS
    work.calibrator.propose(prior("hall"))
    work.run(25.0)
    assert work.adopted == []
    state = work.calibrator.dump()
    assert len(state.trial) <= TRIAL_MOST * SNAPSHOT.itemsize
    assert len(state.snapshots) <= KEPT * SNAPSHOT.itemsize


def test_what_is_kept_is_bounded_and_the_newest() -> None:
    """After hours there are so many snapshots and no more; the state's size is stated."""
    work = Work(as_assumed(), calibration=msgspec.structs.replace(prior("hall"), origin="survey"))
    work.run(12.0)
    made = work.calibrator.snapshots
    assert len(made) == KEPT
    assert made["t"][-1] == work.t
    assert (np.diff(made["t"]) >= 0.0).all()
    size = len(msgspec.msgpack.encode(work.calibrator.dump()))
    print(f"the calibrator's state: {size} bytes with {KEPT} snapshots of 20 gateways")
    assert size < 300_000


def test_snapshots_are_taken_in_turn_and_rarely_of_what_rests() -> None:
    """No more than a few in a tick; of what lies ever more rarely, of what walks every few s."""
    kinds: list[Kind] = ["item"] * 30
    work = Work(Air(hall(kinds), noise_db=3.0))
    work.resting = True
    counts = []
    for _ in range(60):
        work.step()
        counts.append(work.calibrator.counts[0])
    assert max(np.diff([0, *counts])) <= PER_TICK
    taken = work.calibrator.snapshots["beacon"]
    assert set(taken.tolist()) == set(range(30))
    early, late = counts[29], counts[59] - counts[29]
    assert late < early
    assert not work.calibrator.snapshots["walks"].any()
    work.run(2.0 * MOST_PAUSE_S / 60.0)
    assert work.calibrator.counts[0] < 12 * 30


def test_what_few_gateways_hear_is_left_out() -> None:
    """Two gateways explain any place: of tags that no more of them hear nothing is taken."""
    faint = other()._replace(offset_dbm=-95.0)
    assert Work(faint).run(3.0).calibrator.counts[0] < LEAST_SNAPSHOTS


def test_killed_anywhere_it_goes_on_as_if_nothing_had_happened() -> None:
    """Restored after every step, mid-fit and mid-trial: the same fits at the same times."""
    steady, killed = Work(other()), Work(other())
    phases = set()
    for _ in range(110):
        steady.step()
        killed.step()
        killed.killed()
        phases.add(killed.calibrator.dump().phase)
        assert killed.calibrator.dump() == steady.calibrator.dump()
    assert phases == {"gathers", "fits", "trial"}
    assert steady.adopted == killed.adopted
    assert steady.adopted


def test_a_verdict_is_not_sought_again_until_there_is_more_to_judge() -> None:
    """Ticks that bring nothing new cost no verdict, also when the count stands at a step."""
    work = Work(as_assumed()).run(1.0)
    work.calibrator.propose(prior("hall"))
    while len(work.calibrator.dump().trial) < TRIAL_FROM * SNAPSHOT.itemsize:
        work.step()
    state = work.calibrator.dump()
    if state.phase == "trial":
        for _ in range(10):
            # Were it to look again, it would have to make tables; of these none can be made.
            work.calibrator.follow(work.locator, np.zeros(0, np.int64), work.t, NOBODY)
        assert work.calibrator.dump() == state


def renamed(site: Site, ids: list[str]) -> Site:
    """The same site with these trackables, in this order."""
    by_id = {part.id: part for part in site.trackables}
    return msgspec.structs.replace(site, trackables=[by_id[name] for name in ids])


def test_a_new_version_keeps_what_still_means_the_same() -> None:
    """Snapshots follow their beacons to other rows; those of beacons that are gone are dropped."""
    work = Work(other()).run(3.0)
    old = work.calibrator.dump()
    before = work.layout
    after = Layout(renamed(work.air.site, ["t5", "t2", "t7"]), before)
    new = carry_over(old, before, after, [5, 2, 7])
    was = np.frombuffer(old.snapshots, SNAPSHOT)
    now = np.frombuffer(new.snapshots, SNAPSHOT)
    kept = was[np.isin(was["beacon"], [5, 2, 7])]
    assert [5 if b == 0 else 2 if b == 1 else 7 for b in now["beacon"]] == kept["beacon"].tolist()
    assert (now["rssi"] == kept["rssi"]).all()
    taken = np.frombuffer(old.taken)
    assert np.frombuffer(new.taken).tolist() == taken[[5, 2, 7]].tolist()
    assert (new.phase, new.due, new.fits, new.candidate) == (
        old.phase,
        old.due,
        old.fits,
        old.candidate,
    )
    # And it goes on from there.
    Calibrator(after, new).follow(Locator(after), np.zeros(0, np.int64), work.t, work.online)


def test_new_trackables_are_taken_at_once() -> None:
    """Nothing was taken of them before."""
    work = Work(other()).run(1.0)
    after = Layout(hall([*PICKERS, "picker"]), work.layout)
    new = carry_over(work.calibrator.dump(), work.layout, after, [*range(8), -1])
    taken = np.frombuffer(new.taken)
    assert len(taken) == 9
    assert taken[8] < 0.0 < taken[0]


def test_other_gateways_or_outlines_begin_anew() -> None:
    """Where cells or gateways mean something else, snapshots mean nothing; counts are kept."""
    work = Work(other()).run(6.0)
    old = work.calibrator.dump()
    assert old.fits > 0
    site = work.air.site
    after = Layout(msgspec.structs.replace(site, gateways=site.gateways[1:]), work.layout)
    new = carry_over(old, work.layout, after, list(range(8)))
    assert new == CalibratorState(fits=old.fits, adopted=old.adopted)
    assert Calibrator(after, new).counts == (0, old.fits, old.adopted)


def test_evidence_of_a_blank_locator_gives_no_snapshots() -> None:
    """Nothing heard, nothing taken."""
    layout = Layout(hall(PICKERS))
    blank = blank_state(layout)
    assert (Evidence(blank.slots, blank.heard).slots["gateway"] == EMPTY).all()
    calibrator = Calibrator(layout)
    everyone: npt.NDArray[np.int64] = np.arange(8)
    online = np.ones(12, np.bool_)
    assert calibrator.follow(Locator(layout), everyone, T0, online) is None
    assert calibrator.counts == (0, 0, 0)
