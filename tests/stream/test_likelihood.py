"""The likelihood against the formula of its docstring, worked out term by term in plain Python."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.calibration import Calibration, GatewayFit
from stream.evidence import SLOTS
from stream.grid import WINDOW
from stream.layout import Layout
from stream.likelihood import (
    FADING_SD_DB,
    SILENCE_MOST,
    STUDENT_NU,
    Heard,
    Scored,
    over_cells,
    over_windows,
    terms,
)
from stream.sensing import OFFSET_STEP_DB, OFFSET_STEPS, OFFSETS_DBM, Sensing, ramp
from tests.support.locating import hall, rectangle

LAYOUT = Layout(hall(wide=30.0, deep=20.0, racks=[rectangle(9.0, 3.0, 10.0, 17.0)]))
GATEWAYS = len(LAYOUT.gateway_row)
CELLS = len(LAYOUT.grid)
LIMIT = -90.0
CALIBRATION = Calibration(
    1,
    "hall",
    exponent=2.7,
    gateways={"g0-01": GatewayFit(2.0, 2.2, 3.0), "g0-04": GatewayFit(-3.0, None, 7.0)},
)
SENSING = Sensing(LAYOUT, CALIBRATION, np.ones(GATEWAYS, np.bool_), LIMIT)

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class Case(NamedTuple):
    """One beacon's readings by gateway, and what the rest is."""

    rssi: dict[int, float]
    n: dict[int, float]
    weight: float
    noise: float
    hears: float


def heard(case: Case, slots: int = GATEWAYS) -> Heard:
    """The case as a row of columns, with holes at its end."""
    gateway = np.full((1, slots), -1, np.int64)
    rssi, n = np.zeros((1, slots)), np.zeros((1, slots))
    for k, (row, level) in enumerate(case.rssi.items()):
        gateway[0, k], rssi[0, k], n[0, k] = row, level, case.n[row]
    return Heard(gateway, rssi, n, np.array([case.weight]))


def score(case: Case, cells: Ints, sensing: Sensing = SENSING) -> Scored:
    """What the code under test says."""
    part = terms(heard(case), sensing, case.noise, case.hears)
    return over_cells(part, sensing, cells[None, :])


class Plain:
    """The formula at one cell."""

    def __init__(self, case: Case, cell: int, sensing: Sensing = SENSING) -> None:
        self.case = case
        self.sensing = sensing
        self.cell = cell
        self.terms: list[tuple[float, float, float, float]] = []
        for gateway, rssi in case.rssi.items():
            level = float(sensing.level[gateway * sensing.cells + cell])
            lasting = (case.noise * float(sensing.sd[gateway])) ** 2
            passing = (case.noise * FADING_SD_DB) ** 2 / case.n[gateway]
            v = lasting + passing
            k = case.weight * v / (lasting + case.weight * passing)
            self.terms.append((rssi, level, v, k))

    def offset(self) -> float:
        """The beacon's own level: a weighted mean, then once more with less for what misfits."""
        model = self.sensing.model.calibration
        sharp = model.offset_sd_db**-2
        weights = [k / v for _, _, v, k in self.terms]
        first = self._mean(weights, sharp, model.offset_dbm)
        weights = [
            k / v / (1.0 + (rssi - first - level) ** 2 / (STUDENT_NU * v))
            for rssi, level, v, k in self.terms
        ]
        return self._mean(weights, sharp, model.offset_dbm)

    def _mean(self, weights: list[float], sharp: float, prior: float) -> float:
        total = sum(w * (t[0] - t[1]) for w, t in zip(weights, self.terms, strict=True))
        return (total + sharp * prior) / (sum(weights) + sharp)

    def levels(self, a: float) -> float:
        """The first two lines of the formula, at an offset."""
        model = self.sensing.model.calibration
        log = -0.5 * ((a - model.offset_dbm) / model.offset_sd_db) ** 2
        for rssi, level, v, k in self.terms:
            misfit = (rssi - a - level) ** 2 / (STUDENT_NU * v)
            log -= k * 0.5 * (STUDENT_NU + 1.0) * math.log(1.0 + misfit)
        return log

    def silence(self, a: float) -> float:
        """Its third line, with the offset rounded as the table has it."""
        step = round((a - OFFSETS_DBM[0]) / OFFSET_STEP_DB)
        step = min(max(step, 0), OFFSET_STEPS - 1)
        every = float(self.sensing.silence[step * self.sensing.cells + self.cell])
        own = OFFSETS_DBM[0] + OFFSET_STEP_DB * step
        above = np.array([level + own - LIMIT for _, level, _, _ in self.terms], np.float32)
        chance = 1.0 - (1.0 - self.case.hears) ** max(self.case.n.values())
        weight = -self.case.weight * math.log1p(-min(SILENCE_MOST, chance))
        return -weight * max(0.0, every - float(ramp(above).sum()))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any levels at any gateways."""
    rows = draw(st.lists(st.integers(0, GATEWAYS - 1), min_size=1, unique=True))
    return Case(
        {row: draw(st.floats(-95.0, -35.0)) for row in rows},
        {row: float(draw(st.integers(1, 40))) for row in rows},
        draw(st.sampled_from([0.2, 0.5, 1.0])),
        draw(st.sampled_from([0.9, 1.0, 1.7])),
        draw(st.sampled_from([0.05, 0.5, 0.95])),
    )


@settings(max_examples=60, deadline=None)
@given(cases(), st.lists(st.integers(0, CELLS - 1), min_size=1, max_size=12))
def test_scores_are_the_formula(case: Case, cells: list[int]) -> None:
    """Offset and score of each cell are those of the sums written out."""
    found = score(case, np.array(cells))
    for k, cell in enumerate(cells):
        plain = Plain(case, cell)
        a = plain.offset()
        assert found.offset[0, k] == pytest.approx(a, abs=2e-3)
        # An offset on the edge of two steps of the table may fall to either.
        near = plain.levels(a) + np.array([plain.silence(a + d) for d in (-2e-3, 0.0, 2e-3)])
        assert min(near) - 0.02 <= found.score[0, k] <= max(near) + 0.02


@settings(max_examples=30, deadline=None)
@given(st.lists(cases(), min_size=1, max_size=3), st.data())
def test_windows_and_cells_agree(several: list[Case], data: st.DataObject) -> None:
    """A window's scores are those of its cells, for one beacon or several at once."""
    parts = [heard(case) for case in several]
    part = terms(
        Heard(
            np.concatenate([each.gateway for each in parts]),
            np.concatenate([each.rssi for each in parts]),
            np.concatenate([each.n for each in parts]),
            np.concatenate([each.weight for each in parts]),
        ),
        SENSING,
        1.0,
        0.8,
    )
    grid = LAYOUT.grid
    ix = np.array([data.draw(st.integers(0, int(grid.wide[0]) - WINDOW)) for _ in several])
    iy = np.array([data.draw(st.integers(0, int(grid.deep[0]) - WINDOW)) for _ in several])
    starts = grid.line_starts(ix, iy, np.zeros(len(several), np.int64))
    cells = (starts[:, :, None] + np.arange(WINDOW)).reshape(len(several), -1)
    windows, single = over_windows(part, SENSING, starts), over_cells(part, SENSING, cells)
    assert windows.score == pytest.approx(single.score, abs=1e-3)
    assert windows.offset == pytest.approx(single.offset, abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, CELLS - 1), st.data())
def test_the_offset_is_the_best_one_where_nothing_is_far_out(
    cell: int, data: st.DataObject
) -> None:
    """For levels that fit a cell no offset does much better than the one that was found."""
    level = SENSING.level.reshape(GATEWAYS, -1)[:, cell]
    own = data.draw(st.floats(-72.0, -50.0))
    rssi = {row: own + float(level[row]) + data.draw(st.floats(-4.0, 4.0)) for row in range(5)}
    case = Case(rssi, dict.fromkeys(rssi, 8.0), 1.0, 1.0, 0.8)
    plain = Plain(case, cell)
    best = max(plain.levels(a) for a in np.arange(-90.0, -30.0, 0.05))
    found = score(case, np.array([cell]))
    assert plain.levels(float(found.offset[0, 0])) >= best - 0.05


def place(x: float, y: float) -> Ints:
    """The cell nearest to a place."""
    return np.array([int(np.hypot(LAYOUT.grid.x - x, LAYOUT.grid.y - y).argmin())])


def levels_at(cell: Ints, own: float = -61.0) -> dict[int, float]:
    """What all gateways hear of a beacon in a cell, by the model itself."""
    level = SENSING.level.reshape(GATEWAYS, -1)[:, int(cell[0])]
    return {row: own + float(level[row]) for row in range(GATEWAYS)}


def test_the_likeliest_cell_is_the_one_that_the_levels_come_from() -> None:
    """Without noise the right cell is the best of all, or next to it for an unusual beacon."""
    every = np.arange(CELLS)
    for x, y in ((4.0, 5.0), (15.0, 10.0), (26.0, 16.0)):
        cell = place(x, y)
        for own in (-66.0, -61.0, -56.0):
            rssi = levels_at(cell, own)
            found = score(Case(rssi, dict.fromkeys(rssi, 30.0), 1.0, 1.0, 0.8), every).score[0]
            assert found.max() - found[cell[0]] < (0.25 if own != CALIBRATION.offset_dbm else 1e-3)
            assert found.max() - found[place(x + 10.0 if x < 20.0 else x - 10.0, y)[0]] > 1.0


def test_where_all_were_heard_there_is_no_silence() -> None:
    """A beacon that every gateway near it heard is not blamed for the steps of the table."""
    cell = place(15.0, 10.0)
    for own in np.arange(-68.0, -54.0, 0.5):
        rssi = levels_at(cell, own)
        case = Case(rssi, dict.fromkeys(rssi, 30.0), 1.0, 1.0, 0.8)
        found = score(case, cell)
        levels = Plain(case, int(cell[0])).levels(float(found.offset[0, 0]))
        assert found.score[0, 0] == pytest.approx(levels, abs=0.02)


def test_one_gateway_that_is_far_off_does_not_carry_the_day() -> None:
    """40 dB too little at one of six costs a bounded number of nats, and moves the offset little.

    Under a normal law with the same variance it would cost about 20.
    """
    cell = place(15.0, 10.0)
    rssi = levels_at(cell)
    n = dict.fromkeys(rssi, 30.0)
    clean = score(Case(rssi, n, 1.0, 1.0, 0.8), cell)
    spoilt = score(Case(rssi | {2: rssi[2] - 40.0}, n, 1.0, 1.0, 0.8), cell)
    assert 1.0 < clean.score[0, 0] - spoilt.score[0, 0] < 9.0
    assert abs(spoilt.offset[0, 0] - clean.offset[0, 0]) < 2.0


def test_readings_that_share_their_shadow_count_for_less() -> None:
    """With a weight of 0.2 the same readings tell cells apart less than half as sharply."""
    here, there = place(6.0, 6.0), place(22.0, 14.0)
    cells = np.concatenate((here, there))
    rssi = levels_at(here)
    gains = []
    for weight in (1.0, 0.2):
        found = score(Case(rssi, dict.fromkeys(rssi, 30.0), weight, 1.0, 0.8), cells)
        gains.append(float(found.score[0, 0] - found.score[0, 1]))
    assert 0.1 * gains[0] < gains[1] < 0.5 * gains[0]


def silent(online: Bools, unheard: int, cells: Ints) -> npt.NDArray[np.float64]:
    """Scores of cells when all near (15, 10) were heard but one, among those on line."""
    rssi = levels_at(place(15.0, 10.0))
    del rssi[unheard]
    sensing = Sensing(LAYOUT, CALIBRATION, online, LIMIT)
    found = score(Case(rssi, dict.fromkeys(rssi, 5.0), 1.0, 1.0, 0.8), cells, sensing)
    scores: npt.NDArray[np.float64] = found.score[0].astype(np.float64)
    return scores


def test_silence_lowers_what_is_near_and_an_offline_gateway_says_nothing() -> None:
    """A gateway on line that heard nothing makes its surroundings less likely, and only them."""
    near, far = place(5.0, 5.0), place(28.0, 18.0)
    cells = np.concatenate((near, far))
    online = np.ones(GATEWAYS, np.bool_)
    with_it = silent(online, 0, cells)
    online[0] = False
    without = silent(online, 0, cells)
    assert with_it[0] < without[0] - 0.5
    assert (without[0] - with_it[0]) > 3.0 * (without[1] - with_it[1])
    # What a gateway that is off line did not hear is no evidence at all.
    rssi = levels_at(place(15.0, 10.0))
    del rssi[0]
    case = Case(rssi, dict.fromkeys(rssi, 5.0), 1.0, 1.0, 0.8)
    plain = Plain(case, int(near[0]), Sensing(LAYOUT, CALIBRATION, online, LIMIT))
    assert without[0] == pytest.approx(plain.levels(plain.offset()), abs=0.05)


def test_silence_weighs_more_the_more_adverts_were_missed_but_never_all() -> None:
    """One advert missed says less than five; a hundred say no more than the bound."""
    rssi = levels_at(place(15.0, 10.0))
    del rssi[0]
    heard_by = [
        terms(heard(Case(rssi, dict.fromkeys(rssi, n), 1.0, 1.0, 0.5)), SENSING, 1.0, 0.5).silence[
            0
        ]
        for n in (1.0, 2.0, 5.0, 100.0)
    ]
    assert heard_by == sorted(heard_by)
    assert heard_by[0] == pytest.approx(math.log(2.0), rel=1e-5)
    assert heard_by[-1] == pytest.approx(-math.log1p(-SILENCE_MOST), rel=1e-5)


def test_a_full_table_says_nothing_of_silence() -> None:
    """Gateways that a full table had no room for may have heard the beacon."""
    wide = Layout(hall(wide=60.0, deep=40.0))
    count = len(wide.gateway_row)
    assert count > SLOTS
    sensing = Sensing(wide, CALIBRATION, np.ones(count, np.bool_), LIMIT)
    for slots, says in ((SLOTS - 1, True), (SLOTS, False)):
        part = terms(
            Heard(
                np.arange(slots)[None, :],
                np.full((1, slots), -70.0),
                np.full((1, slots), 5.0),
                np.ones(1),
            ),
            sensing,
            1.0,
            0.8,
        )
        assert (part.silence[0] > 0.0) == says
