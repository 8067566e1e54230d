"""Whose advert is it: the beacon's id from an advertisement's data, or None.

Everything that decides how an advertisement names its beacon lives here: iBeacon, AltBeacon,
Eddystone-UID and plain MAC, and which of them a gateway listens to. Knows no radio and no clock.
Ids are one spelling each (docs/readings.md): UUIDs and hexadecimal in lower case, MACs in upper.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from struct import Struct
from typing import Final
from uuid import UUID

APPLE: Final = 0x004C
EDDYSTONE: Final = "0000feaa-0000-1000-8000-00805f9b34fb"

# iBeacon, after the company id: type 0x02, length 0x15, UUID, major, minor, power at 1 m.
_IBEACON_BYTES: Final = 23
_IBEACON_PREFIX: Final = b"\x02\x15"
# AltBeacon, after any company id: 0xBEAC, 20 bytes of id, power at 1 m, one byte of the maker.
_ALTBEACON_BYTES: Final = 24
_ALTBEACON_PREFIX: Final = b"\xbe\xac"
# Eddystone-UID: frame 0x00, power at 0 m, namespace (10), instance (6), and two reserved bytes
# that some makers leave out.
_EDDYSTONE_BYTES: Final = (18, 20)
_EDDYSTONE_UID: Final = 0

_pair: Final = Struct(">HH").unpack_from
_MAC: Final = re.compile(r"[0-9A-F]{2}(?::[0-9A-F]{2}){5}").fullmatch
_MAC_PREFIX: Final = re.compile(r"[0-9A-F]{2}(?::[0-9A-F]{2}){0,5}").fullmatch
_NAMESPACE: Final = re.compile(r"[0-9a-f]{20}").fullmatch


class Identities:
    """Names beacons, and knows which kinds and owners this gateway listens to.

    For each kind, None listens to all, an empty list to none of it, and a list to these only.
    An advertisement in a format that is listened to goes by that format or not at all: another
    owner's iBeacon does not come back as a MAC.

    Args:
        ibeacon: UUIDs.
        altbeacon: UUIDs (the first 16 bytes of the id).
        eddystone: namespaces, 20 hexadecimal digits.
        mac: MACs or beginnings of them in whole bytes, as `AC:23:3F`.
        random_mac: whether random addresses may be named by MAC; phones change theirs all the
            time, so they would come as ever new beacons.

    Raises:
        ValueError: an entry that cannot be read, with a sentence about it.
    """

    def __init__(
        self,
        *,
        ibeacon: Iterable[str] | None = None,
        altbeacon: Iterable[str] | None = None,
        eddystone: Iterable[str] | None = None,
        mac: Iterable[str] | None = None,
        random_mac: bool = False,
    ) -> None:
        self._ibeacon: Final = _each(_uuid, ibeacon)
        self._altbeacon: Final = _each(_uuid, altbeacon)
        self._eddystone: Final = _each(_namespace, eddystone)
        self._mac: Final = None if mac is None else tuple(_mac_prefix(text) for text in mac)
        self._random_mac: Final = random_mac

    def identify(
        self,
        address: str,
        manufacturer_data: Mapping[int, bytes],
        service_data: Mapping[str, bytes],
        *,
        random: bool = False,
    ) -> str | None:
        """The beacon's id, or None for what this gateway does not listen to.

        Args:
            address: the advertiser's MAC in upper case (or whatever a platform gives instead).
            manufacturer_data: by company id, without the id.
            service_data: by UUID in lower case, long form.
            random: whether the address is a random one.
        """
        foreign = False
        if manufacturer_data:
            if self._ibeacon is None or self._ibeacon:
                data = manufacturer_data.get(APPLE)
                if data is not None and len(data) == _IBEACON_BYTES and data[:2] == _IBEACON_PREFIX:
                    if self._ibeacon is None or data[2:18] in self._ibeacon:
                        return f"ibeacon:{_numbered(data)}"
                    foreign = True
            if self._altbeacon is None or self._altbeacon:
                for data in manufacturer_data.values():
                    if len(data) == _ALTBEACON_BYTES and data[:2] == _ALTBEACON_PREFIX:
                        if self._altbeacon is None or data[2:18] in self._altbeacon:
                            return f"altbeacon:{_numbered(data)}"
                        foreign = True
        if service_data and (self._eddystone is None or self._eddystone):
            data = service_data.get(EDDYSTONE)
            if data is not None and len(data) in _EDDYSTONE_BYTES and data[0] == _EDDYSTONE_UID:
                if self._eddystone is None or data[2:12] in self._eddystone:
                    return f"eddystone:{data[2:12].hex()}:{data[12:18].hex()}"
                foreign = True
        if foreign or (random and not self._random_mac):
            return None
        if self._mac is not None and not address.startswith(self._mac):
            return None
        return f"mac:{address}" if _MAC(address) else None


def _numbered(data: bytes) -> str:
    """UUID, major and minor, which iBeacon and AltBeacon hold at the same place."""
    x = data[2:18].hex()
    major, minor = _pair(data, 18)
    return f"{x[:8]}-{x[8:12]}-{x[12:16]}-{x[16:20]}-{x[20:]}:{major}:{minor}"


def _each(read: Callable[[str], bytes], texts: Iterable[str] | None) -> frozenset[bytes] | None:
    return None if texts is None else frozenset(map(read, texts))


def _uuid(text: str) -> bytes:
    try:
        return UUID(text).bytes
    except ValueError as error:
        raise ValueError(f"`{text}` is not a UUID") from error


def _namespace(text: str) -> bytes:
    if not _NAMESPACE(text.lower()):
        raise ValueError(f"`{text}` is not a namespace of 20 hexadecimal digits")
    return bytes.fromhex(text)


def _mac_prefix(text: str) -> str:
    if not _MAC_PREFIX(text.upper()):
        raise ValueError(f"`{text}` is not a MAC or a beginning of one, such as AC:23:3F")
    return text.upper()
