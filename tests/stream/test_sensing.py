"""Sensing: expected silence over the cells, added gateway by gateway and taken away again."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.calibration import GatewayFit, prior
from stream.grid import WINDOW
from stream.layout import Layout
from stream.sensing import (
    OFFSET_STEP_DB,
    OFFSET_STEPS,
    OFFSETS_DBM,
    REACH_DECADES,
    SILENT_ABOVE_DB,
    SILENT_BELOW_DB,
    Sensing,
    ramp,
)
from tests.support.locating import hall

LAYOUT = Layout(hall(wide=30.0, deep=20.0, spacing=10.0))
GATEWAYS = len(LAYOUT.gateway_row)
LIMIT = -90.0

Bools = npt.NDArray[np.bool_]


def sensing(online: Bools | None = None, layout: Layout = LAYOUT) -> Sensing:
    """The tables under the prior."""
    everyone = np.ones(len(layout.gateway_row), np.bool_)
    return Sensing(layout, prior("hall"), everyone if online is None else online, LIMIT)


def plain(online: Bools, cells: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Expected silence at cells, summed one by one, (offset steps, cells)."""
    level = sensing().level.reshape(GATEWAYS, -1)[:, cells].astype(np.float64)
    total = np.zeros((OFFSET_STEPS, len(cells)))
    for step in range(OFFSET_STEPS):
        offset = OFFSETS_DBM[0] + OFFSET_STEP_DB * step
        for gateway in np.flatnonzero(online):
            above = level[gateway] + offset - LIMIT
            share = (above + SILENT_BELOW_DB) / (SILENT_BELOW_DB + SILENT_ABOVE_DB)
            total[step] += np.minimum(np.maximum(share, 0.0), 1.0)
    return total


masks = st.lists(st.booleans(), min_size=GATEWAYS, max_size=GATEWAYS).map(np.array)


@settings(max_examples=20, deadline=None)
@given(masks, st.lists(st.integers(0, len(LAYOUT.grid) - 1), min_size=1, max_size=20))
def test_silence_is_the_sum_over_gateways_on_line(online: Bools, cells: list[int]) -> None:
    """By table and by hand, for any set of gateways; those off line add nothing."""
    at = np.array(cells)
    made = sensing(online).silence.reshape(OFFSET_STEPS, -1)[:, at]
    # Each gateway's part is rounded to 1/1024.
    assert made == pytest.approx(plain(online, at), abs=GATEWAYS / 2000.0 + 1e-5)


@settings(max_examples=20, deadline=None)
@given(masks, st.lists(masks, max_size=5))
def test_whatever_went_off_and_came_back(begin: Bools, after: list[Bools]) -> None:
    """Switching there and back leaves the very bytes that building anew gives."""
    table = sensing(begin)
    for online in after:
        table.switch(online)
        assert table.silence.tobytes() == sensing(online).silence.tobytes()
        assert table.online.tolist() == online.tolist()
    table.switch(begin)
    assert table.silence.tobytes() == sensing(begin).silence.tobytes()


def test_what_went_off_line_is_not_the_callers_to_change() -> None:
    """The mask is the tables' own: a caller that reuses its array does not confuse them."""
    mask = np.ones(GATEWAYS, np.bool_)
    table = sensing(mask)
    mask[0] = False
    table.switch(mask)
    assert table.silence.tobytes() == sensing(mask).silence.tobytes()


def test_nobody_is_expected_to_hear_from_afar() -> None:
    """Past a gateway's reach its silence is as it must be, whatever the beacon's power."""
    layout = Layout(hall(wide=120.0, deep=10.0, spacing=10.0))
    last = np.zeros(12, np.bool_)
    last[11] = True
    silence = sensing(last, layout).silence.reshape(OFFSET_STEPS, -1)
    far = np.flatnonzero(layout.geometry.decades[11] >= REACH_DECADES)
    assert len(far) > 0
    assert not silence[:, far].any()
    assert silence[-1, np.argmin(layout.geometry.decades[11])] == 1.0


def test_the_louder_the_beacon_the_more_a_silence_says() -> None:
    """It rises with the beacon's power, and with nearness to the gateway."""
    only = np.zeros(GATEWAYS, np.bool_)
    only[0] = True
    silence = sensing(only).silence.reshape(OFFSET_STEPS, -1)
    assert (np.diff(silence, axis=0) >= 0.0).all()
    order = np.argsort(LAYOUT.geometry.decades[0])
    assert (np.diff(silence[:, order], axis=1) <= 0.0).all()
    assert len(np.unique(silence)) > 100


def test_the_ramp() -> None:
    """Nothing well below the limit, everything well above, a straight line between."""
    above = np.array([-99.0, -SILENT_BELOW_DB, 0.0, SILENT_ABOVE_DB, 99.0], np.float32)
    middle = SILENT_BELOW_DB / (SILENT_BELOW_DB + SILENT_ABOVE_DB)
    assert ramp(above).tolist() == pytest.approx([0.0, 0.0, middle, 1.0, 1.0])


def test_levels_are_those_of_the_calibration() -> None:
    """A gateway that hears 3 dB louder is 3 dB louder everywhere; lines are the same numbers."""
    fit = msgspec.structs.replace(prior("hall"), gateways={"g0-01": GatewayFit(3.0)})
    online = np.ones(GATEWAYS, np.bool_)
    levels = Sensing(LAYOUT, fit, online, LIMIT).level.reshape(GATEWAYS, -1)
    before = sensing().level.reshape(GATEWAYS, -1)
    assert levels[1] - before[1] == pytest.approx(np.full(levels.shape[1], 3.0), abs=1e-4)
    assert (levels[0] == before[0]).all()
    table = sensing()
    for start in (0, 17, len(table.level) - WINDOW):
        assert (table.lines[start] == table.level[start : start + WINDOW]).all()
