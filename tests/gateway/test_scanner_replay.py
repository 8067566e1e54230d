"""A recording as a scanner: the readings come back, the clock keeps pace, mistakes are named."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
from pathlib import Path

import pytest

from gateway.adverts import Advert
from gateway.daemon import Gateway
from gateway.readings import Batch, decode
from gateway.scanner_replay import ReplayError, ReplayScanner
from gateway.windows import Windows
from tests.support.listener import listening, until

TETAM = Path(__file__).parents[2].parent / "shared" / "data" / "tetam" / "tracks"


def line(t: float, beacons: dict[str, tuple[float, int]], gateway: str = "g") -> str:
    """One recorded batch."""
    payload = {
        "v": 1,
        "gateway": gateway,
        "boot": "b",
        "seq": round(t),
        "t": t,
        "window": 1.0,
        "beacons": list(beacons),
        "rssi": [rssi for rssi, _ in beacons.values()],
        "n": [n for _, n in beacons.values()],
    }
    topic = f"balise/v1/s/gateways/{gateway}/readings"
    return json.dumps({"topic": topic, "payload": payload})


def write(path: Path, *lines: str) -> Path:
    """A recording, gzipped by its name."""
    data = "".join(f"{text}\n" for text in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz"])
async def test_readings_become_adverts(tmp_path: Path, name: str) -> None:
    """Each reading comes back as its number of adverts, in time and within its window."""
    path = write(
        tmp_path / name,
        line(101.0, {"a": (-60.5, 2), "b": (-70.0, 1)}),
        line(101.0, {"x": (-1.0, 9)}, gateway="other"),
        "",
        line(102.0, {"a": (-61.0, 1)}),
    )
    scanner = ReplayScanner(path, "g", speed=math.inf)
    heard: list[Advert] = []
    assert scanner.now() == 100.0
    await scanner.run(heard.append)
    assert heard == [
        Advert(100.25, "a", -60.5),
        Advert(100.5, "b", -70.0),
        Advert(100.75, "a", -60.5),
        Advert(101.5, "a", -61.0),
    ]
    assert scanner.now() == 101.5


async def test_the_speed_is_kept(tmp_path: Path) -> None:
    """Ten recorded seconds at a hundred times real time take a tenth of a second, not less."""
    path = write(tmp_path / "r.jsonl", *(line(100.0 + i, {"a": (-60.0, 4)}) for i in range(10)))
    scanner = ReplayScanner(path, "g", speed=100.0)
    heard: list[float] = []
    loop = asyncio.get_running_loop()
    start = loop.time()
    await scanner.run(lambda _: heard.append(loop.time() - start))
    assert len(heard) == 40
    assert heard[-1] >= 0.095
    assert all(at >= (0.125 + 0.25 * i) / 100.0 - 0.002 for i, at in enumerate(heard))


@pytest.mark.measured
@pytest.mark.skipif(not TETAM.exists(), reason="the measured sites are not beside the repository")
async def test_a_measured_gateway_comes_back_the_same(any_broker_url: str) -> None:
    """A measured recording replayed through windows, broker and all is the same readings."""
    recording = TETAM / "recording.jsonl.gz"
    scanner = ReplayScanner(recording, "sensor10", speed=math.inf)
    gateway = Gateway("tetam", "sensor10", scanner, any_broker_url, window=0.5)
    scanner.hold = lambda: len(gateway.publisher.spool) > 256
    with gzip.open(recording, "rb") as lines:
        payloads = [json.loads(text)["payload"] for text in lines]
    expected = [
        decode(json.dumps(payload).encode())
        for payload in payloads
        if payload["gateway"] == "sensor10"
    ]
    async with listening(any_broker_url, "tetam") as heard:
        await asyncio.wait_for(gateway.run(), 60.0)
        await until(lambda: heard.batches[-1].t >= expected[-1].t, "the last batch")
    assert gateway.publisher.spool.dropped == gateway.windows.late == gateway.windows.dropped == 0
    assert _readings(heard.batches) == _readings(expected)


def _readings(batches: list[Batch]) -> list[tuple[float, str, float, int]]:
    return sorted(
        (batch.t, beacon, round(rssi, 3), n)
        for batch in batches
        for beacon, rssi, n in zip(batch.beacons, batch.rssi, batch.n, strict=True)
    )


def test_windows_of_the_same_length_give_the_same_readings(tmp_path: Path) -> None:
    """Adverts of a batch summed up again are that batch."""
    path = write(tmp_path / "r.jsonl", line(101.0, {"a": (-60.5, 3), "b": (-70.25, 1)}))
    heard: list[Advert] = []
    asyncio.run(ReplayScanner(path, "g", speed=math.inf).run(heard.append))
    windows = Windows(1.0)
    for advert in heard:
        windows.add(advert)
    (window,) = windows.flush()
    assert (window.end, sorted(window.beacons)) == (101.0, ["a", "b"])
    assert dict(zip(window.beacons, window.rssi, strict=True)) == {"a": -60.5, "b": -70.25}
    assert dict(zip(window.beacons, window.n, strict=True)) == {"a": 3, "b": 1}


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        ([], "holds no readings of gateway `g`"),
        ([line(1.0, {}, gateway="other")], "holds no readings of gateway `g`"),
        (["{"], "line 1"),
        (['{"topic": "balise/v1/s/gateways/g/readings", "payload": {"v": 2}}'], "line 1"),
    ],
)
def test_what_cannot_be_replayed_is_named(tmp_path: Path, lines: list[str], word: str) -> None:
    """A recording that cannot be used is told at once, with file and line."""
    path = write(tmp_path / "r.jsonl", *lines)
    with pytest.raises(ReplayError, match=word) as caught:
        ReplayScanner(path, "g")
    assert str(path) in str(caught.value)


def test_a_cut_gzip_file_is_named(tmp_path: Path) -> None:
    """A file that was cut off is told as such."""
    path = write(
        tmp_path / "r.jsonl.gz", *(line(float(i), {"a": (-60.0, 1)}) for i in range(9, 99))
    )
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ReplayError, match="cannot be read"):
        ReplayScanner(path, "g")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A path that leads nowhere is told."""
    with pytest.raises(ReplayError, match="No such file"):
        ReplayScanner(tmp_path / "none.jsonl", "g")


def test_a_speed_must_be_above_zero(tmp_path: Path) -> None:
    """No speed at all is a mistake."""
    with pytest.raises(ReplayError, match="above 0"):
        ReplayScanner(tmp_path / "none.jsonl", "g", speed=0.0)
