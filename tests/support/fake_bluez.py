"""An org.bluez of our own on a private message bus, so that unmodified bleak can be tested.

It behaves as measured on real systems where that decides what a scanner hears:
- without an advertisement monitor the controller's duplicate filter is on: one advert a device;
- without an RSSI filter BlueZ hides changes of RSSI below 8 dB;
- without DuplicateData an unchanged payload is not told again;
- nobody hears anything unless a discovery runs.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from dbus_fast import Message, MessageType, RequestNameReply, Variant
from dbus_fast.aio.message_bus import MessageBus

OBJECTS: Final = "org.freedesktop.DBus.ObjectManager"
PROPERTIES: Final = "org.freedesktop.DBus.Properties"
ADAPTER: Final = "org.bluez.Adapter1"
DEVICE: Final = "org.bluez.Device1"
MONITORS: Final = "org.bluez.AdvertisementMonitorManager1"
MONITOR: Final = "org.bluez.AdvertisementMonitor1"
RSSI_STEP_DB: Final = 8

_CONFIG: Final = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
  </policy>
</busconfig>
"""


def missing() -> str:
    """Why no private bus can run here, or an empty string."""
    return "" if shutil.which("dbus-daemon") else "dbus-daemon is not installed (Debian: dbus)"


class PrivateBus:
    """A dbus-daemon of this test's own; it can be killed and started again.

    Attributes:
        address: as in DBUS_SYSTEM_BUS_ADDRESS.
    """

    def __init__(self, directory: Path) -> None:
        self._socket = directory / "bus"
        self._config = directory / "bus.conf"
        self._config.write_text(_CONFIG.format(socket=self._socket))
        self.address = f"unix:path={self._socket}"
        self.start()

    def start(self) -> None:
        """Starts it and waits until it accepts connections."""
        self._socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            ["dbus-daemon", "--nofork", "--nopidfile", "--config-file", str(self._config)]
        )
        limit = time.monotonic() + 10.0
        while not self._listens():
            assert time.monotonic() < limit, "dbus-daemon does not listen"
            time.sleep(0.005)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self._socket)) == 0

    def stop(self) -> None:
        """Kills it."""
        self._process.kill()
        self._process.wait(10.0)


@contextmanager
def private_bus(directory: Path) -> Iterator[PrivateBus]:
    """A message bus for the length of a with block."""
    bus = PrivateBus(directory)
    try:
        yield bus
    finally:
        bus.stop()


class Call(NamedTuple):
    """A method call that a client made."""

    member: str
    body: list[Any]


class _Device:
    def __init__(self, properties: dict[str, Variant]) -> None:
        self.properties = properties


class FakeBluez:
    """bluetoothd with adapters hci0 and hci1.

    Args:
        address: the private bus.
        experimental: whether advertisement monitors are offered.

    Attributes:
        calls: what clients asked of the adapter, in order.
        filter: the discovery filter in force, plain values.
        monitors: object paths of registered monitors, with their owner on the bus.
        discovering: whether a discovery runs.
        sent: signals about adverts sent.
    """

    def __init__(self, address: str, *, experimental: bool = True) -> None:
        self._address: Final = address
        self._experimental: Final = experimental
        self.adapter = "hci0"
        self.powered = True
        self.calls: list[Call] = []
        self.filter: dict[str, Any] = {}
        self.monitors: dict[str, str] = {}
        self.discovering = False
        self.sent = 0
        self._devices: dict[str, _Device] = {}
        self._bus: MessageBus | None = None

    async def start(self) -> None:
        """Comes up with nothing known, as bluetoothd after a restart."""
        self.filter, self.monitors, self.discovering = {}, {}, False
        self._devices.clear()
        self._bus = await MessageBus(bus_address=self._address).connect()
        self._bus.add_message_handler(self._answer)
        reply = await self._bus.request_name("org.bluez")
        assert reply is RequestNameReply.PRIMARY_OWNER

    async def stop(self) -> None:
        """Dies: its name leaves the bus, and with it everything it knew."""
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.disconnect()
            with suppress(OSError, EOFError):  # the bus itself may have died before
                await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]  # dbus-fast's

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[FakeBluez]:
        """Runs for the length of a with block."""
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def patterns(self) -> list[list[Any]]:
        """Asks every registered monitor for its patterns, as bluetoothd does."""
        assert self._bus is not None
        found: list[list[Any]] = []
        for path, owner in self.monitors.items():
            reply = await self._bus.call(
                Message(
                    destination=owner,
                    path=path,
                    interface=PROPERTIES,
                    member="GetAll",
                    signature="s",
                    body=[MONITOR],
                )
            )
            found.extend(reply.body[0]["Patterns"].value)
        return found

    async def advert(
        self,
        mac: str,
        rssi: int,
        manufacturer: dict[int, bytes] | None = None,
        service: dict[str, bytes] | None = None,
        *,
        address_type: str = "random",
    ) -> bool:
        """A device advertises; returns whether clients were told."""
        assert self._bus is not None
        path = f"/org/bluez/{self.adapter}/dev_{mac.replace(':', '_')}"
        payload: dict[str, Variant] = {}
        if manufacturer:
            values = {company: Variant("ay", data) for company, data in manufacturer.items()}
            payload["ManufacturerData"] = Variant("a{qv}", values)
        if service:
            payload["ServiceData"] = Variant(
                "a{sv}", {uuid: Variant("ay", data) for uuid, data in service.items()}
            )
        if not self.discovering:
            return False
        device = self._devices.get(path)
        if device is None:
            properties = {
                "Address": Variant("s", mac),
                "AddressType": Variant("s", address_type),
                "Alias": Variant("s", mac.replace(":", "-")),
                "Paired": Variant("b", False),
                "Connected": Variant("b", False),
                "UUIDs": Variant("as", []),
                "Adapter": Variant("o", f"/org/bluez/{self.adapter}"),
                "RSSI": Variant("n", rssi),
                **payload,
            }
            self._devices[path] = _Device(properties)
            interfaces = {PROPERTIES: {}, DEVICE: properties}
            return await self._signal(
                "/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", path, interfaces
            )
        if not self.monitors:
            return False  # the controller's duplicate filter
        known = device.properties
        changed = {
            key: value
            for key, value in payload.items()
            if self.filter.get("DuplicateData", True) or known.get(key) != value
        }
        if "RSSI" in self.filter or abs(known["RSSI"].value - rssi) >= RSSI_STEP_DB:
            changed["RSSI"] = Variant("n", rssi)
        known.update(changed)
        if not changed:
            return False
        return await self._signal(
            path, PROPERTIES, "PropertiesChanged", "sa{sv}as", DEVICE, changed, []
        )

    async def _signal(
        self, path: str, interface: str, member: str, signature: str, *body: object
    ) -> bool:
        assert self._bus is not None
        assert self._bus._fd is not None
        # dbus-fast takes a full socket for a dead bus, so room is waited for; the daemon on the
        # other side is a process of its own and makes it.
        select.select([], [self._bus._fd], [], 10.0)
        await self._bus.send(
            Message(
                message_type=MessageType.SIGNAL,
                path=path,
                interface=interface,
                member=member,
                signature=signature,
                body=list(body),
            )
        )
        self.sent += 1
        return True

    def _objects(self) -> dict[str, dict[str, dict[str, Variant]]]:
        objects: dict[str, dict[str, dict[str, Variant]]] = {}
        for i, name in enumerate(("hci0", "hci1")):
            objects[f"/org/bluez/{name}"] = {
                ADAPTER: {
                    "Address": Variant("s", f"B8:27:EB:00:00:0{i + 1}"),
                    "Powered": Variant("b", self.powered),
                    "Roles": Variant("as", ["central", "peripheral"]),
                }
            }
        for path, device in self._devices.items():
            objects[path] = {DEVICE: device.properties}
        return objects

    def _answer(self, message: Message) -> Message | None:
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        if message.interface == OBJECTS:
            return Message.new_method_return(message, "a{oa{sa{sv}}}", [self._objects()])
        if message.path not in ("/org/bluez/hci0", "/org/bluez/hci1"):
            return None
        self.calls.append(Call(message.member or "", list(message.body)))
        error = self._obey(message)
        if error:
            return Message.new_error(message, error, message.member or "")
        return Message.new_method_return(message)

    def _obey(self, message: Message) -> str:
        """Carries a call out; returns an error's name when it cannot."""
        if message.interface == MONITORS:
            if not self._experimental:
                return "org.freedesktop.DBus.Error.UnknownMethod"
            path = message.body[0]
            if message.member == "RegisterMonitor":
                self.monitors[path] = message.sender or ""
            else:
                self.monitors.pop(path, None)
            return ""
        if not self.powered:
            return "org.bluez.Error.NotReady"
        if message.member == "SetDiscoveryFilter":
            self.filter = {key: value.value for key, value in message.body[0].items()}
        elif message.member == "StartDiscovery":
            self.discovering = True
            self.adapter = (message.path or "").rpartition("/")[2]
        elif message.member == "StopDiscovery":
            self.discovering = False
        else:
            return "org.freedesktop.DBus.Error.UnknownMethod"
        return ""


def system_bus_environment(bus: PrivateBus) -> dict[str, str]:
    """The environment in which a program takes the private bus for the system's."""
    return {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bus.address}
