"""Scanners over bleak: every advert on Linux, and what a desktop system lets through elsewhere.

On Linux a plain scan is unfit: the kernel filters duplicates and BlueZ hides small changes of
RSSI. A passive monitor that never matches, held beside an active scan with an RSSI filter, makes
both stop (measured: 97 to 100 % of the adverts instead of 2 %). The rule of this module: whatever
the radio does, `run` either hears, or says in a ScannerError why not; the daemon runs it again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from bleak import BleakScanner
from bleak.assigned_numbers import AdvertisementDataType
from bleak.exc import BleakDBusError, BleakError

from gateway.adverts import Advert, Hear, ScannerError
from gateway.decoders import Identities

if TYPE_CHECKING:
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementData

_log: Final = logging.getLogger(__name__)

# A site is never silent for so long: there is always some device about.
SILENCE_S: Final = 30.0
# Fresh scanners are tried this often before silence is called a fault.
SILENT_ROUNDS: Final = 3
START_S: Final = 15.0
STOP_S: Final = 5.0
# Company id 0xFFFF is nobody's, and no maker sends these words.
NEVER: Final = b"\xff\xffbalise matches nothing"
# -127 is BlueZ's and bleak's `unknown`, 127 the controller's.
LEAST_RSSI: Final = -126
MOST_RSSI: Final = 20

_Stop = Callable[[], Any]


class _Ears:
    """Turns bleak's callbacks into adverts; counts everything that is on the air.

    Attributes:
        heard: callbacks, of beacons and of anything else.
    """

    def __init__(self, hear: Hear, identities: Identities, now: Callable[[], float]) -> None:
        self.heard = 0
        self._hear: Final = hear
        self._identify: Final = identities.identify
        self._now: Final = now

    def __call__(self, device: BLEDevice, data: AdvertisementData) -> None:
        self.heard += 1
        rssi = data.rssi
        if not LEAST_RSSI <= rssi <= MOST_RSSI:
            return
        beacon = self._identify(
            device.address,
            data.manufacturer_data,
            data.service_data,
            random=_is_random(data.platform_data),
        )
        if beacon is not None:
            self._hear(Advert(self._now(), beacon, float(rssi)))


def _is_random(platform_data: tuple[Any, ...]) -> bool:
    """Whether the address is a random one; where the platform does not tell, it may be."""
    properties = platform_data[1] if len(platform_data) > 1 else None
    return not isinstance(properties, dict) or properties.get("AddressType") != "public"


class BluezScanner:
    """All adverts of one adapter, through bluetoothd.

    Args:
        identities: names beacons and drops the others.
        adapter: as hci0, or the adapter's MAC; the first powered one when empty.
        silence_s: seconds without any callback after which the scan is begun anew.

    Attributes:
        warning: a sentence while the scan runs but loses adverts.
        rounds: scans begun.
    """

    name = "bluez"

    def __init__(
        self, identities: Identities, *, adapter: str = "", silence_s: float = SILENCE_S
    ) -> None:
        self.warning = ""
        self.rounds = 0
        self._identities: Final = identities
        self._adapter: Final = adapter
        self._silence_s: Final = silence_s

    def now(self) -> float:
        """The system's clock."""
        return time.time()

    async def run(self, hear: Hear) -> None:
        """Hears until cancelled.

        Raises:
            ScannerError: bluetoothd, the adapter or the air is not there.
        """
        from gateway.bluez import bluez  # D-Bus is there on Linux only

        ears = _Ears(hear, self._identities, self.now)
        async with bluez() as watch:
            adapter = await watch.adapter(self._adapter)
            silent = 0
            while silent < SILENT_ROUNDS:
                before = ears.heard
                await self._round(ears, adapter.name, watch.gone())
                if watch.trouble:
                    raise ScannerError(watch.trouble)
                silent = 0 if ears.heard > before else silent + 1
        raise ScannerError(
            f"nothing was heard on {adapter.name} for {SILENT_ROUNDS * self._silence_s:.0f} s; "
            "is its antenna connected?"
        )

    async def _round(self, ears: _Ears, adapter: str, gone: Any) -> None:  # noqa: ANN401  # a coroutine
        """Scans until silence, or until bluetoothd has gone, and ends the scan."""
        self.rounds += 1
        ended = asyncio.ensure_future(gone)
        stops: list[_Stop] = []
        try:
            await self._begin(ears, adapter, stops)
            while not ended.done():
                before = ears.heard
                await asyncio.wait([ended], timeout=self._silence_s)
                if ears.heard == before:
                    if not ended.done():
                        _log.warning("silence on %s; scanning anew", adapter)
                    return
        finally:
            ended.cancel()
            for stop in reversed(stops):
                await _end(stop)

    async def _begin(self, ears: _Ears, adapter: str, stops: list[_Stop]) -> None:
        monitor = BleakScanner(
            scanning_mode="passive",
            bluez={
                "adapter": adapter,
                "or_patterns": [(0, AdvertisementDataType.MANUFACTURER_SPECIFIC_DATA, NEVER)],
            },
        )
        try:
            await _start(monitor, adapter)
        except ScannerError as error:
            if "experimental" not in str(error):
                raise
            self.warning = (
                "bluetoothd runs without --experimental, so most adverts are lost; "
                "see docs/install-gateways.md"
            )
            _log.warning("%s", self.warning)
        else:
            self.warning = ""
            stops.append(monitor.stop)
        scanner = BleakScanner(
            ears,
            scanning_mode="active",
            bluez={"adapter": adapter, "filters": {"RSSI": -127, "DuplicateData": True}},
        )
        await _start(scanner, adapter)
        stops.append(scanner.stop)


class PortableScanner:
    """Whatever bleak hears on macOS, Windows or anywhere: good for a try, not for a site.

    Args:
        identities: names beacons and drops the others.
        silence_s: seconds without any callback after which the scan is begun anew.
    """

    name = "portable"

    def __init__(self, identities: Identities, *, silence_s: float = SILENCE_S) -> None:
        self.warning = "this system's scanner loses adverts; use a Linux gateway for a site"
        self.rounds = 0
        self._identities: Final = identities
        self._silence_s: Final = silence_s

    def now(self) -> float:
        """The system's clock."""
        return time.time()

    async def run(self, hear: Hear) -> None:
        """Hears until cancelled.

        Raises:
            ScannerError: Bluetooth is off, denied or silent.
        """
        ears = _Ears(hear, self._identities, self.now)
        silent = 0
        while silent < SILENT_ROUNDS:
            first = before = ears.heard
            self.rounds += 1
            scanner = BleakScanner(ears)
            await _start(scanner, "the adapter")
            try:
                while True:
                    await asyncio.sleep(self._silence_s)
                    if ears.heard == before:
                        break
                    before = ears.heard
            finally:
                await _end(scanner.stop)
            silent = 0 if ears.heard > first else silent + 1
        raise ScannerError(
            f"nothing was heard for {SILENT_ROUNDS * self._silence_s:.0f} s; is Bluetooth on?"
        )


async def _start(scanner: BleakScanner, adapter: str) -> None:
    try:
        async with asyncio.timeout(START_S):
            await scanner.start()
    except TimeoutError as error:
        raise ScannerError(
            "bluetoothd does not answer; restart it: `systemctl restart bluetooth`"
        ) from error
    except BleakDBusError as error:
        if error.dbus_error == "org.bluez.Error.NotReady":
            raise ScannerError(f"the Bluetooth adapter {adapter} is switched off") from error
        raise ScannerError(f"scanning on {adapter} cannot start: {error}") from error
    except (BleakError, OSError, EOFError, ValueError) as error:
        raise ScannerError(f"scanning on {adapter} cannot start: {error}") from error


async def _end(stop: _Stop) -> None:
    """Stops a scan; when bluetoothd has gone there is nothing left to stop."""
    try:
        async with asyncio.timeout(STOP_S):
            await stop()
    except (TimeoutError, BleakError, OSError, EOFError, ValueError) as error:
        _log.debug("a scan could not be stopped: %s", error)
