"""Unmodified bleak against an org.bluez of our own on a private message bus."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from bleak.backends.bluezdbus.manager import _global_instances

from gateway.adverts import Advert, Scanner, ScannerError
from gateway.decoders import APPLE, EDDYSTONE, Identities
from gateway.scanner_bleak import NEVER, BluezScanner, PortableScanner
from tests.support.fake_bluez import FakeBluez, PrivateBus, missing, private_bus
from tests.support.listener import until

pytestmark = [
    pytest.mark.debian,
    pytest.mark.skipif(sys.platform != "linux", reason="BlueZ is Linux'"),
    pytest.mark.skipif(bool(missing()), reason=missing() or "present"),
]

UUID = "e2c56db5dffb48d2b060d0f5a71096e0"


def ibeacon(minor: int) -> dict[int, bytes]:
    """An iBeacon's manufacturer data."""
    return {APPLE: bytes.fromhex(f"0215{UUID}0001{minor:04x}c5")}


def name(minor: int) -> str:
    """Its id."""
    return f"ibeacon:e2c56db5-dffb-48d2-b060-d0f5a71096e0:1:{minor}"


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateBus]:
    """A private bus that this process takes for the system's."""
    with private_bus(tmp_path) as bus:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
        yield bus


@pytest_asyncio.fixture(autouse=True)
async def _no_connection_left() -> AsyncIterator[None]:
    """Closes the connection that bleak keeps to the bus for the length of the loop."""
    yield
    manager = _global_instances.pop(asyncio.get_running_loop(), None)
    if manager is not None and manager._bus is not None:
        manager._bus.disconnect()
        if manager._bus_watcher_task is not None:
            await asyncio.wait([manager._bus_watcher_task])
    # What dbus-fast could not send on a dead bus is logged when it is collected: not later,
    # in the middle of somebody else's test.
    gc.collect()


@pytest_asyncio.fixture
async def bluetoothd(bus: PrivateBus) -> AsyncIterator[FakeBluez]:
    """A bluetoothd with advertisement monitors."""
    async with FakeBluez(bus.address).alive() as fake:
        yield fake


class Run:
    """A scanner at work.

    Attributes:
        adverts: what it heard.
        task: its run.
    """

    def __init__(self, scanner: Scanner) -> None:
        self.adverts: list[Advert] = []
        self.task = asyncio.create_task(scanner.run(self.adverts.append))


@asynccontextmanager
async def running(scanner: Scanner, fake: FakeBluez) -> AsyncIterator[Run]:
    """Runs a scanner until the block ends; enters once the discovery runs."""
    run = Run(scanner)
    try:
        await until(lambda: fake.discovering or run.task.done(), "the discovery")
        if run.task.done():
            run.task.result()
        yield run
    finally:
        run.task.cancel()
        await asyncio.wait([run.task])


async def test_every_advert_is_heard_in_order_with_its_rssi(bluetoothd: FakeBluez) -> None:
    """Ten thousand adverts of fifty beacons, RSSI differing by little: none lost, none changed."""
    rng = random.Random(1)
    expected: list[tuple[str, float]] = []
    async with running(BluezScanner(Identities()), bluetoothd) as run:
        for i in range(10_000):
            minor, rssi = rng.randrange(50), rng.randint(-74, -66)
            mac = f"F0:00:00:00:00:{minor:02X}"
            assert await bluetoothd.advert(mac, rssi, ibeacon(minor))
            expected.append((name(minor), float(rssi)))
            if i % 500 == 499:
                await until(lambda: len(run.adverts) == len(expected), "what was sent")
    assert [(a.beacon, a.rssi) for a in run.adverts] == expected
    stamps = [a.t for a in run.adverts]
    assert stamps == sorted(stamps)


async def test_it_scans_as_was_measured_to_lose_nothing(bluetoothd: FakeBluez) -> None:
    """A monitor that matches nothing is held, then an active scan with its filters is begun."""
    async with running(BluezScanner(Identities()), bluetoothd):
        members = [call.member for call in bluetoothd.calls]
        assert members == ["RegisterMonitor", "SetDiscoveryFilter", "StartDiscovery"]
        assert bluetoothd.filter == {"Transport": "le", "RSSI": -127, "DuplicateData": True}
        patterns = await bluetoothd.patterns()
        assert [(start, kind, bytes(content)) for start, kind, content in patterns] == [
            (0, 0xFF, NEVER)
        ]
    members = [call.member for call in bluetoothd.calls][3:]
    assert members[0] == "StopDiscovery"
    assert members[-1] == "UnregisterMonitor"
    assert bluetoothd.monitors == {}


async def test_without_monitors_it_says_that_adverts_are_lost(bus: PrivateBus) -> None:
    """A bluetoothd without --experimental is scanned all the same, with a warning."""
    scanner = BluezScanner(Identities())
    async with (
        FakeBluez(bus.address, experimental=False).alive() as fake,
        running(scanner, fake) as run,
    ):
        for rssi in (-60, -61, -80):
            await fake.advert("F0:00:00:00:00:01", rssi, ibeacon(1))
        await until(lambda: bool(run.adverts), "an advert")
    assert "--experimental" in scanner.warning
    # The fake does as real controllers do: this is why the monitor is needed.
    assert [a.rssi for a in run.adverts] == [-60.0]


async def test_formats_addresses_and_unknown_rssi(bluetoothd: FakeBluez) -> None:
    """Eddystone and public MACs are named, random ones and unknown levels are left out."""
    frame = bytes([0, 0xE3, *range(10), *range(6), 0, 0])
    async with running(BluezScanner(Identities()), bluetoothd) as run:
        await bluetoothd.advert("F0:00:00:00:00:01", -50, service={EDDYSTONE: frame})
        await bluetoothd.advert("AC:23:3F:00:00:01", -51, address_type="public")
        await bluetoothd.advert("5F:00:00:00:00:01", -52)
        await bluetoothd.advert("F0:00:00:00:00:02", -127, ibeacon(2))
        await bluetoothd.advert("F0:00:00:00:00:03", 127, ibeacon(3))
        await bluetoothd.advert("F0:00:00:00:00:04", -53, ibeacon(4))
        await until(lambda: len(run.adverts) == 3, "three adverts")
    assert [(a.beacon, a.rssi) for a in run.adverts] == [
        ("eddystone:00010203040506070809:000102030405", -50.0),
        ("mac:AC:23:3F:00:00:01", -51.0),
        (name(4), -53.0),
    ]


async def test_the_adapter_is_found_by_name_or_mac(bluetoothd: FakeBluez) -> None:
    """An adapter is named by its number or, better, by its MAC."""
    for wanted in ("hci1", "b8:27:eb:00:00:02"):
        async with running(BluezScanner(Identities(), adapter=wanted), bluetoothd):
            assert bluetoothd.adapter == "hci1"
        await until(lambda: not bluetoothd.discovering, "the end of the scan")


async def test_a_missing_adapter_is_named(bluetoothd: FakeBluez) -> None:
    """An adapter that is not there is named beside those that are."""
    assert not bluetoothd.discovering
    with pytest.raises(ScannerError, match=r"no Bluetooth adapter hci7; present: hci0 \(B8:27"):
        await BluezScanner(Identities(), adapter="hci7").run(lambda _: None)


async def test_an_adapter_switched_off_is_told(bluetoothd: FakeBluez) -> None:
    """A powered-down adapter is told with what to do."""
    bluetoothd.powered = False
    with pytest.raises(ScannerError, match="hci0 is switched off"):
        await BluezScanner(Identities()).run(lambda _: None)


@pytest.mark.usefixtures("bus")
async def test_a_missing_bluetoothd_is_told() -> None:
    """Without bluetoothd the sentence says how to start it."""
    with pytest.raises(ScannerError, match="bluetoothd is not running; start it"):
        await BluezScanner(Identities()).run(lambda _: None)


async def test_a_missing_bus_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a message bus the sentence says so."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    with pytest.raises(ScannerError, match="message bus cannot be reached"):
        await BluezScanner(Identities()).run(lambda _: None)


async def test_bluetoothd_gone_and_back(bluetoothd: FakeBluez) -> None:
    """A dead bluetoothd is a fault at once; run again, the scanner hears when it is back."""
    scanner = BluezScanner(Identities())
    async with running(scanner, bluetoothd) as run:
        await bluetoothd.advert("F0:00:00:00:00:01", -60, ibeacon(1))
        await until(lambda: len(run.adverts) == 1, "the advert")
        await bluetoothd.stop()
        with pytest.raises(ScannerError, match="bluetoothd has stopped"):
            await asyncio.wait_for(run.task, 10.0)
    with pytest.raises(ScannerError, match="bluetoothd is not running"):
        await scanner.run(lambda _: None)
    await bluetoothd.start()
    async with running(scanner, bluetoothd) as run:
        await bluetoothd.advert("F0:00:00:00:00:01", -61, ibeacon(1))
        await bluetoothd.advert("F0:00:00:00:00:01", -62, ibeacon(1))
        await until(lambda: len(run.adverts) == 2, "the adverts")
    assert [a.rssi for a in run.adverts] == [-61.0, -62.0]


async def test_the_bus_gone_and_back(
    bluetoothd: FakeBluez, bus: PrivateBus, caplog: pytest.LogCaptureFixture
) -> None:
    """A dead message bus is a fault at once; run again, the scanner hears when all is back."""
    scanner = BluezScanner(Identities())
    async with running(scanner, bluetoothd) as run:
        bus.stop()
        with pytest.raises(ScannerError, match=r"has gone|has stopped"):
            await asyncio.wait_for(run.task, 20.0)
    bus.start()
    async with FakeBluez(bus.address).alive() as again, running(scanner, again) as run:
        await again.advert("F0:00:00:00:00:01", -61, ibeacon(1))
        await until(lambda: len(run.adverts) == 1, "the advert")
    assert "Traceback" not in caplog.text


async def test_silence_begins_the_scan_anew_and_is_told_at_last(bluetoothd: FakeBluez) -> None:
    """A scan that bluetoothd forgot is begun anew; when nothing helps it is a fault."""
    scanner = BluezScanner(Identities(), silence_s=0.2)
    async with running(scanner, bluetoothd) as run:
        bluetoothd.discovering = False  # as after a power cycle: nobody is told
        bluetoothd.monitors.clear()
        await until(lambda: bluetoothd.discovering, "a new scan")
        assert scanner.rounds >= 2
        await bluetoothd.advert("F0:00:00:00:00:01", -61, ibeacon(1))
        await until(lambda: len(run.adverts) == 1, "the advert")
        with pytest.raises(ScannerError, match="nothing was heard on hci0"):
            await asyncio.wait_for(run.task, 10.0)


async def test_the_portable_scanner_hears_what_a_plain_scan_lets_through(
    bluetoothd: FakeBluez,
) -> None:
    """It hears each device at least once, says that adverts are lost, and tells silence."""
    scanner = PortableScanner(Identities(), silence_s=0.1)
    async with running(scanner, bluetoothd) as run:
        assert "RegisterMonitor" not in [call.member for call in bluetoothd.calls]
        for minor in range(3):
            for rssi in (-60, -61):
                await bluetoothd.advert(f"F0:00:00:00:00:0{minor}", rssi, ibeacon(minor))
        await until(lambda: len(run.adverts) == 3, "each device once")
        assert "loses adverts" in scanner.warning
        with pytest.raises(ScannerError, match="nothing was heard"):
            await asyncio.wait_for(run.task, 10.0)
