"""The live feed's frames and queues: exact bytes, one encoding for all, bounded by snapshots."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import live as module
from dashboard.health import GatewayHealth
from dashboard.live import (
    QUEUE_FRAMES,
    RESYNC,
    Hub,
    encode_frame,
    gateways_text,
    hello_text,
    lost_text,
)
from dashboard.positions import Positions
from stream.fixes import NONE, TickFixes, empty
from stream.summary import GatewayCounts
from tests.support.dashboards import Frame, read_frame
from tests.support.stepper import T0, depot


def test_the_bytes_of_a_frame() -> None:
    """A frame of two fixes, byte by byte."""
    fixes = empty(2)
    fixes["trackable"] = [1, 70_000]
    fixes["x"] = [-3.0, 12.345]
    fixes["y"] = [2.5, 0.004]
    fixes["accuracy"] = [1.26, 900.0]
    fixes["zone"] = [NONE, 3]
    fixes["floor"] = [0, 2]
    fixes["speed"] = [1.34, 40.0]
    frame = encode_frame(
        fixes, sequence=7, t=T0 + 0.5, version=9, origin=(-4.0, 0.0), ages=np.array([1.6, 1e6])
    )
    head, tail = (
        "01 01 0000 07000000",
        (
            "02000000 09000000"
            "01000000 70110100 6400 6306 fa00 0000 0200 ffff 7e00 ffff ffff 0300 00 02 0d ff"
        ),
    )
    assert frame[:8] == bytes.fromhex(head)
    assert frame[8:16] == np.array([T0 + 0.5], "<f8").tobytes()
    assert frame[16:] == bytes.fromhex(tail)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**32 - 1),
            st.floats(0.0, 655.25, width=32),
            st.floats(0.0, 655.25, width=32),
            st.floats(0.0, 655.25, width=32),
            st.integers(0, 0xFFFF),
            st.integers(0, 63),
            st.floats(0.0, 25.5, width=32),
        ),
        max_size=20,
    )
)
def test_a_client_reads_what_was_meant(rows: list[tuple[Any, ...]]) -> None:
    """Places come over to the centimetre, speeds to the decimetre a second."""
    fixes = empty(len(rows))
    for name, column in zip(
        ("trackable", "x", "y", "accuracy", "zone", "floor", "speed"),
        zip(*rows, strict=True),
        strict=bool(rows),
    ):
        fixes[name] = column
    frame = read_frame(encode_frame(fixes, sequence=1, t=T0, version=2, origin=(0.0, 0.0)))
    columns = frame.columns
    assert (frame.snapshot, frame.length, frame.site_version) == (False, len(rows), 2)
    assert not columns["age"].any()
    for name, sent in (("row", "trackable"), ("zone", "zone"), ("floor", "floor")):
        assert (columns[name] == fixes[sent]).all()
    for name in ("x", "y", "accuracy"):
        assert np.abs(columns[name] / 100.0 - fixes[name]).max(initial=0.0) <= 0.005 + 1e-4
    assert np.abs(columns["speed"] / 10.0 - fixes["speed"]).max(initial=0.0) <= 0.05 + 1e-4


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30])
def test_numbers_that_do_not_fit_are_bounded(value: float) -> None:
    """No value can wrap around into a plausible place."""
    fixes = empty(1)
    for name in ("x", "y", "accuracy", "speed"):
        fixes[name] = value
    columns = read_frame(
        encode_frame(fixes, sequence=0, t=0.0, version=1, origin=(0.0, 0.0))
    ).columns
    low = value < 0
    assert columns["x"][0] == columns["accuracy"][0] == (0 if low else 0xFFFF)
    assert columns["speed"][0] == (0 if low else 0xFF)


def test_hello_names_the_rows() -> None:
    """The lists stand in row order; a SKU only where there is one."""
    hello = json.loads(hello_text(depot(2), 5))
    assert hello == {
        "type": "hello",
        "v": 1,
        "site_version": 5,
        "origin": [0.0, 0.0],
        "floors": ["ground"],
        "zones": ["west", "east"],
        "trackables": [
            {"id": "thing-0000", "name": "Thing 0", "kind": "item", "sku": "SKU-0"},
            {"id": "thing-0001", "name": "Thing 1", "kind": "picker"},
        ],
    }


def test_gateways_text() -> None:
    """State, rate and age of each gateway, no age when it was never heard; what is suspected."""
    odd = GatewayCounts(suspect="deaf", suspect_text="a long sentence")
    heard = GatewayHealth("a", "online", "", 12.34, 0.51, odd, None, None, {})
    never = GatewayHealth("b", "unknown", "", 0.0, None, GatewayCounts(), None, None, {})
    assert json.loads(gateways_text([heard, never])) == {
        "type": "gateways",
        "gateways": [
            {"id": "a", "state": "online", "rate": 12.3, "age": 0.5, "suspect": "deaf"},
            {"id": "b", "state": "unknown", "rate": 0.0, "age": None},
        ],
    }


def test_lost_text() -> None:
    """The rows of those that are lost, ascending."""
    lost = np.array([False, True, False, True])
    assert json.loads(lost_text(lost)) == {"type": "lost", "rows": [1, 3]}
    assert json.loads(lost_text(lost[:0])) == {"type": "lost", "rows": []}


class Page:
    """A client as the page is one: rows by the hello, deltas by their sequence."""

    def __init__(self, hub: Hub) -> None:
        client = hub.open()
        assert client is not None
        self.hub = hub
        self.client = client
        self.texts: list[str] = []
        self.sequence = -1
        self.version = 0
        self.x: dict[int, int] = {}

    def take(self, data: bytes | str) -> Frame | None:
        """Takes one message in, as docs/api.md tells a client to."""
        if isinstance(data, str):
            text = msgspec.json.decode(data)
            self.texts.append(text["type"])
            if text["type"] == "hello":
                self.version = text["site_version"]
            return None
        frame = read_frame(data)
        assert frame.site_version == self.version
        if frame.snapshot:
            self.x = {}
        else:
            assert frame.sequence == self.sequence + 1, "a gap"
        self.sequence = frame.sequence
        self.x.update(zip(frame.columns["row"].tolist(), frame.columns["x"].tolist(), strict=True))
        return frame

    async def catch_up(self) -> None:
        """Takes everything that waits."""
        while True:
            try:
                async with asyncio.timeout(0.01):
                    for data in await self.client.next(self.hub):
                        self.take(data)
            except TimeoutError:
                return


class Show:
    """A hub with a table behind it."""

    def __init__(self, count: int = 3) -> None:
        self.table = Positions(depot(count), 1)
        self.hub = Hub()
        self.t = T0

    def move(self, rows: list[int]) -> None:
        """One tick."""
        self.t += 0.5
        fixes = empty(len(rows))
        fixes["trackable"] = rows
        fixes["x"] = (self.t - T0) / 10.0
        fixes["zone"] = NONE
        self.hub.publish(self.table.apply(TickFixes(self.t, self.table.version, fixes)))

    def now(self) -> dict[int, int]:
        """What a page must show."""
        fixes, _ = self.table.snapshot()
        x = np.rint(fixes["x"].astype(float) * 100.0).astype(int)
        return dict(zip(fixes["trackable"].tolist(), x.tolist(), strict=True))


async def test_a_client_follows() -> None:
    """Hello, snapshot, texts, then deltas without a gap; those who come later see the same."""
    show = Show()
    early = Page(show.hub)
    show.move([0])  # there is no site yet: nobody is told
    show.hub.show(show.table)
    show.hub.tell("zones", '{"type":"zones","counts":[0,0]}')
    await early.catch_up()
    assert early.texts == ["hello", "zones"]
    show.move([0, 1])
    show.move([1])
    late = Page(show.hub)
    await late.catch_up()
    assert late.texts == ["hello", "zones"]
    show.move([2])
    for page in (early, late):
        await page.catch_up()
        assert page.x == show.now()
        assert page.sequence == show.hub.sequence == 3
    assert len(show.hub) == 2


async def test_news_are_told_when_they_are_new() -> None:
    """A text told before is not told again, but to those who come later and to a changed site."""
    show = Show()
    show.hub.show(show.table)
    page = Page(show.hub)
    for text in ('{"type":"a"}', '{"type":"a"}', '{"type":"b"}'):
        show.hub.tell_news("news", text)
        await page.catch_up()
    assert page.texts == ["hello", "a", "b"]
    late = Page(show.hub)
    await late.catch_up()
    assert late.texts == ["hello", "b"]
    show.hub.show(show.table)
    show.hub.tell_news("news", '{"type":"b"}')
    await page.catch_up()
    assert page.texts == ["hello", "a", "b", "resync", "hello", "b"]


async def test_a_snapshot_has_ages() -> None:
    """Ages count from the newest tick."""
    show = Show()
    show.hub.show(show.table)
    for rows in ([0], [1], [1], [2]):
        show.move(rows)
    page = Page(show.hub)
    hello, snapshot = await page.client.next(show.hub)
    page.take(hello)
    frame = page.take(snapshot)
    assert frame is not None
    assert frame.t == show.t
    assert frame.columns["age"].tolist() == [2, 0, 0]  # 1.5, 0.5 and 0 s, rounded half to even


async def test_a_slow_client_gets_a_snapshot() -> None:
    """A full queue is dropped; resync and a snapshot bring the client back, others see nothing."""
    show = Show()
    show.hub.show(show.table)
    slow, quick = Page(show.hub), Page(show.hub)
    await slow.catch_up()
    for i in range(QUEUE_FRAMES + 5):
        show.move([i % 3])
        await quick.catch_up()
    assert show.hub.resyncs == 1
    await slow.catch_up()
    assert slow.texts == ["hello", "resync"]
    assert quick.texts == ["hello"]
    assert slow.x == quick.x == show.now()
    show.move([0])
    await slow.catch_up()
    assert slow.x == show.now()
    assert show.hub.resyncs == 1


async def test_a_client_asks_for_a_snapshot() -> None:
    """What waits is dropped, the snapshot contains it."""
    show = Show()
    show.hub.show(show.table)
    page = Page(show.hub)
    await page.catch_up()
    show.move([0])
    page.client.fall_behind()
    show.move([1])
    frames = await page.client.next(show.hub)
    assert frames[0] == RESYNC
    assert isinstance(frames[1], bytes)
    assert read_frame(frames[1]).sequence == 2
    assert len(frames) == 2


async def test_a_changed_site_greets_again() -> None:
    """Everybody gets the new table of rows with a snapshot, and no frame of the old one after."""
    show = Show()
    show.hub.show(show.table)
    show.move([0, 1, 2])
    page = Page(show.hub)
    await page.catch_up()
    show.move([1])
    changed = depot(4)
    changed.trackables.reverse()
    show.table.change_site(changed, 2)
    show.hub.show(show.table)
    show.move([0])
    await page.catch_up()
    assert page.texts == ["hello", "resync", "hello"]
    assert page.version == 2
    assert page.x == show.now()
    assert set(page.x) == {0, 1, 2, 3}


async def test_each_delta_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty clients share one frame, and the snapshots of one moment too."""
    encoded: list[bytes] = []
    real = module.encode_frame

    def counting(*args: Any, **more: Any) -> bytes:
        encoded.append(real(*args, **more))
        return encoded[-1]

    monkeypatch.setattr(module, "encode_frame", counting)
    show = Show()
    show.hub.show(show.table)
    pages = [Page(show.hub) for _ in range(50)]
    for page in pages:
        await page.client.next(show.hub)
    assert len(encoded) == 1
    show.move([0])
    sent = [(await page.client.next(show.hub))[0] for page in pages]
    assert len(encoded) == 2
    assert all(frame is encoded[1] for frame in sent)


def test_clients_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is turned away, until another leaves."""
    monkeypatch.setattr(module, "MAX_CLIENTS", 2)
    hub = Hub()
    first = hub.open()
    assert first is not None
    assert hub.open() is not None
    assert hub.open() is None
    hub.close(first)
    assert hub.open() is not None
