"""Fixes as columns: one tick's fixes packed for the store, and as rows of text for people.

Rows refer to the site's lists by number, so a pack is only read together with the site version
it names.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from stream.site import Site

NONE: Final = 0xFFFF
"""The zone of a fix that is in no zone."""

FIX: Final = np.dtype(
    [
        ("trackable", "<u4"),  # row in site.trackables
        ("beacon", "<u2"),  # place in the trackable's beacons of the one that told most
        ("floor", "<u2"),  # row in site.floors
        ("x", "<f4"),  # metres
        ("y", "<f4"),
        ("accuracy", "<f4"),  # metres: the radius that holds 68 % of errors
        ("speed", "<f4"),  # metres a second
        ("heading", "<f4"),  # radians, counter-clockwise from the x axis
        ("zone", "<u2"),  # row in site.zones, or NONE
        ("zone_probability", "<f4"),
    ]
)
Fixes = npt.NDArray[np.void]
"""An array of FIX, in order of trackable."""

CSV_HEADER: Final = "t,beacon,trackable,x,y,floor,accuracy,zone"


class TickFixes(NamedTuple):
    """The fixes of one tick: `t` its end in Unix seconds, `version` the site's version."""

    t: float
    version: int
    fixes: Fixes


class _Packed(msgspec.Struct, array_like=True):
    t: float
    version: int
    rows: bytes


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Packed).decode


def empty(count: int = 0) -> Fixes:
    """An array for `count` fixes, zeroed."""
    return np.zeros(count, FIX)


def pack(tick: TickFixes) -> bytes:
    """A tick's fixes as bytes (34 a fix)."""
    return _encode(_Packed(tick.t, tick.version, tick.fixes.tobytes()))


def unpack(blob: bytes) -> TickFixes:
    """What `pack` packed."""
    packed = _decode(blob)
    return TickFixes(packed.t, packed.version, np.frombuffer(packed.rows, FIX))


def csv_rows(tick: TickFixes, site: Site) -> list[str]:
    """The tick's fixes as lines of CSV under CSV_HEADER (millimetres and milliseconds)."""
    return [",".join(_quoted(field) for field in _fields(fix, tick.t, site)) for fix in tick.fixes]


def _fields(fix: Any, t: float, site: Site) -> tuple[str, ...]:  # noqa: ANN401  # a numpy record
    trackable = site.trackables[int(fix["trackable"])]
    zone = int(fix["zone"])
    return (
        f"{t:.3f}",
        trackable.beacons[int(fix["beacon"])],
        trackable.id,
        f"{fix['x']:.3f}",
        f"{fix['y']:.3f}",
        site.floors[int(fix["floor"])].id,
        f"{fix['accuracy']:.3f}",
        "" if zone == NONE else site.zones[zone].id,
    )


def _quoted(field: str) -> str:
    if any(c in field for c in ',"\r\n'):
        return '"' + field.replace('"', '""') + '"'
    return field
