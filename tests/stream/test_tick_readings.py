"""What a tick's batches are sorted into."""

from __future__ import annotations

from array import array

import numpy as np

from gateway.readings import Batch
from stream.layout import Layout
from stream.site import Floor, GatewayPlace, Site, Trackable
from stream.tick_readings import OF_GATEWAY, STRANGER, beacon_rows, rows_of, sort_readings

SITE = Site(
    id="hall",
    name="Hall",
    timezone="UTC",
    floors=[Floor("0", "Ground", 0, [(0.0, 0.0), (9.0, 0.0), (9.0, 9.0)])],
    gateways=[GatewayPlace("g0", "0", [1.0, 1.0]), GatewayPlace("g1", "0", [8.0, 8.0], "own")],
    trackables=[Trackable("t0", "T", "item", ["b0", "b1"])],
)
LAYOUT = Layout(SITE)
KNOWN = beacon_rows(LAYOUT)


def batch(gateway: str, t: float, rssi: dict[str, float], window: float = 1.0) -> Batch:
    """A batch of two adverts each."""
    return Batch(
        gateway,
        "boot",
        1,
        t,
        window,
        list(rssi),
        array("f", rssi.values()),
        array("H", [2] * len(rssi)),
    )


def test_every_beacon_has_its_kind_of_row() -> None:
    """Trackables' from 0, gateways' from -2 down, others -1."""
    assert rows_of(batch("g0", 9.0, dict.fromkeys(("b1", "own", "x"), -60.0)), KNOWN).tolist() == [
        1,
        OF_GATEWAY - 1,
        STRANGER,
    ]


def test_readings_go_where_they_belong() -> None:
    """Trackables' to the locator, gateways' own apart, strangers named, the impossible counted."""
    first = batch("g0", 9.5, {"b0": -60.0, "own": -70.0, "x": -80.0, "b1": -127.0})
    second = batch("g1", 10.0, {"b1": -65.0, "y": 5.0})
    batches = [(each, rows_of(each, KNOWN)) for each in (first, second)]
    readings, own, strangers, out_of_range = sort_readings(batches, LAYOUT.gateway_row, 10.0)
    assert readings.beacon.tolist() == [0, 1]
    assert readings.gateway.tolist() == [0, 1]
    assert readings.rssi.tolist() == [-60.0, -65.0]
    assert readings.n.tolist() == [2.0, 2.0]
    assert readings.age.tolist() == [1.0, 0.5]
    assert (own.gateway.tolist(), own.beacon.tolist(), own.rssi.tolist()) == ([0], [1], [-70.0])
    assert strangers == [(first, 2)]
    assert out_of_range == 2


def test_nothing_is_empty_columns() -> None:
    """Of the types that the locator wants."""
    for batches in ([], [(batch("g0", 1.0, {}), np.zeros(0, np.int64))]):
        readings, own, strangers, out_of_range = sort_readings(batches, LAYOUT.gateway_row, 1.0)
        assert (len(readings.beacon), len(own.beacon), strangers, out_of_range) == (0, 0, [], 0)
        assert readings.beacon.dtype == readings.gateway.dtype == np.dtype(np.int64)
