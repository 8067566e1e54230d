"""BlueZ beside bleak: which adapters there are, and the news that bluetoothd has gone.

bleak tells neither: without this, a killed bluetoothd is only noticed by silence, and an adapter
can only be named by a number that changes when another one is plugged in. Linux only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple

from dbus_fast import BusType, DBusFastError, Message, MessageType
from dbus_fast.aio.message_bus import MessageBus

from gateway.adverts import ScannerError

SERVICE: Final = "org.bluez"
_ADAPTER: Final = "org.bluez.Adapter1"
_DBUS: Final = "org.freedesktop.DBus"
# bluetoothd answers at once, or it hangs.
ANSWER_S: Final = 10.0


class Adapter(NamedTuple):
    """A Bluetooth adapter: `name` as hci0, `address` its MAC in upper case."""

    name: str
    address: str
    powered: bool


class Bluez:
    """A connection of our own to the system's message bus.

    Attributes:
        trouble: set to a sentence when bluetoothd or the bus has gone; empty until then.
    """

    def __init__(self, bus: MessageBus) -> None:
        self.trouble = ""
        self._bus: Final = bus
        self._gone: Final = asyncio.Event()

    async def gone(self) -> None:
        """Returns when bluetoothd or the bus has gone; `trouble` says which."""
        await self._gone.wait()

    async def adapter(self, wanted: str) -> Adapter:
        """The adapter of that name or MAC, the first powered one when `wanted` is empty.

        Raises:
            ScannerError: there is none such, or it is switched off.
        """
        adapters = await self._adapters()
        if not adapters:
            raise ScannerError("there is no Bluetooth adapter; plug one in or enable it")
        found = [a for a in adapters if wanted in ("", a.name) or wanted.upper() == a.address]
        if not found:
            present = ", ".join(f"{a.name} ({a.address})" for a in adapters)
            raise ScannerError(f"there is no Bluetooth adapter {wanted}; present: {present}")
        powered = [a for a in found if a.powered]
        if not powered:
            raise ScannerError(
                f"the Bluetooth adapter {found[0].name} is switched off; "
                "try `rfkill unblock bluetooth` and `bluetoothctl power on`"
            )
        return powered[0]

    async def _adapters(self) -> list[Adapter]:
        objects = await self._call(
            Message(
                destination=SERVICE,
                path="/",
                interface="org.freedesktop.DBus.ObjectManager",
                member="GetManagedObjects",
            )
        )
        return [
            Adapter(
                path.rpartition("/")[2],
                str(interfaces[_ADAPTER]["Address"].value).upper(),
                bool(interfaces[_ADAPTER]["Powered"].value),
            )
            for path, interfaces in sorted(objects.items())
            if _ADAPTER in interfaces
        ]

    async def _call(self, message: Message) -> Any:  # noqa: ANN401  # a D-Bus body
        try:
            async with asyncio.timeout(ANSWER_S):
                reply = await self._bus.call(message)
        except TimeoutError as error:
            raise ScannerError(
                "bluetoothd does not answer; restart it: `systemctl restart bluetooth`"
            ) from error
        except (DBusFastError, OSError, EOFError) as error:
            raise ScannerError(f"the system's message bus failed: {error}") from error
        if reply.message_type is MessageType.ERROR:
            raise ScannerError(sentence(reply.error_name))
        return reply.body[0] if reply.body else None

    async def begin(self) -> None:
        """Asks the bus for news of bluetoothd."""
        self._bus.add_message_handler(self._hear)
        rule = f"type='signal',interface='{_DBUS}',member='NameOwnerChanged',arg0='{SERVICE}'"
        await self._call(
            Message(
                destination=_DBUS,
                path="/org/freedesktop/DBus",
                interface=_DBUS,
                member="AddMatch",
                signature="s",
                body=[rule],
            )
        )

    def _hear(self, message: Message) -> None:
        if message.member == "NameOwnerChanged" and message.body[0] == SERVICE:
            # Whoever holds the name now knows nothing of our scan.
            self.told("bluetoothd has stopped; it should be back in a moment")

    def told(self, trouble: str) -> None:
        """Something has gone; the first word counts."""
        self.trouble = self.trouble or trouble
        self._gone.set()


@asynccontextmanager
async def bluez() -> AsyncIterator[Bluez]:
    """A watch over bluetoothd for the length of a with block.

    Raises:
        ScannerError: the bus or bluetoothd cannot be reached.
    """
    bus = MessageBus(bus_type=BusType.SYSTEM)
    try:
        async with asyncio.timeout(ANSWER_S):
            await bus.connect()
    except (DBusFastError, OSError, EOFError) as error:
        bus.disconnect()
        raise ScannerError(
            f"the system's message bus cannot be reached ({error}); is dbus installed and running?"
        ) from error
    watch = Bluez(bus)
    lost = asyncio.ensure_future(_lost(bus, watch))
    try:
        await watch.begin()
        yield watch
    finally:
        bus.disconnect()
        await asyncio.wait([lost], timeout=1.0)
        lost.cancel()


async def _lost(bus: MessageBus, watch: Bluez) -> None:
    with suppress(DBusFastError, OSError, EOFError):
        await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]  # dbus-fast's
    watch.told("the system's message bus has gone; it should be back in a moment")


def sentence(error_name: str | None) -> str:
    """A D-Bus error's name as advice."""
    if error_name in (f"{_DBUS}.Error.ServiceUnknown", f"{_DBUS}.Error.NameHasNoOwner"):
        return "bluetoothd is not running; start it: `systemctl start bluetooth`"
    if error_name == f"{_DBUS}.Error.AccessDenied":
        return "Bluetooth is denied to this user; add it to the group `bluetooth`"
    return f"bluetoothd refuses: {error_name}"
