"""The site contract: one JSON document that describes a site, checked before anything uses it.

This module knows the document and its rules; geometry that needs more than coordinates lives in
`stream.geometry`. The document is described in docs/site.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from gateway.errors import UserError
from gateway.readings import is_beacon, is_name
from stream.geometry import Point, ring_fault

MAX_FLOORS: Final = 64
MAX_DOCUMENT_BYTES: Final = 32 * 1024 * 1024
# Live positions travel as unsigned 16-bit centimetres from the site's corner.
MAX_EXTENT_M: Final = 655.0

Kind = Literal["item", "picker", "visitor", "cart", "other"]
KINDS: Final[tuple[Kind, ...]] = ("item", "picker", "visitor", "cart", "other")
Ring = list[Point]
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class SiteError(UserError, ValueError):
    """A site document that cannot be used.

    Attributes:
        source: the file or request it came from.
        key: where in the document, as `floors[0].outline`.
        reason: what is wrong there and what was expected.
    """

    def __init__(self, source: str, key: str, reason: str) -> None:
        super().__init__(f"{source}: {key}: {reason}" if key else f"{source}: {reason}")
        self.source: Final = source
        self.key: Final = key
        self.reason: Final = reason


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Shared settings of the document's parts: immutable, and unknown keys are errors."""


class Floor(_Part):
    """A storey; `outline` in metres, counter-clockwise or not, not closed."""

    id: _Id
    name: str
    level: int
    outline: Ring
    plan: str | None = None


class GatewayPlace(_Part):
    """Where a gateway hangs; position [x, y] or [x, y, z above its floor] in metres."""

    id: _Id
    floor: _Id
    position: list[float]


class Obstacle(_Part):
    """A rack or wall; `loss_db` is what one crossing costs, where it is known."""

    id: _Id
    floor: _Id
    kind: Literal["rack", "wall"]
    polygon: Ring
    loss_db: float | None = None


class Zone(_Part):
    """A named area of a floor."""

    id: _Id
    floor: _Id
    name: str
    kind: str
    polygon: Ring


class Slot(_Part):
    """A storage place; `sku` is what the warehouse system says lies there."""

    id: _Id
    floor: _Id
    position: list[float]
    sku: str | None = None


class Trackable(_Part):
    """The thing followed, wearing one beacon or more."""

    id: _Id
    name: str
    kind: Kind
    beacons: list[str]
    sku: str | None = None
    quantity: float | None = None


class Site(_Part):
    """The whole document. Rows of fixes refer to trackables, floors and zones by their place in
    these lists, so a changed document is a new version and never an edit of this one."""

    id: _Id
    name: str
    timezone: str
    floors: list[Floor]
    gateways: list[GatewayPlace] = []
    obstacles: list[Obstacle] = []
    zones: list[Zone] = []
    slots: list[Slot] = []
    trackables: list[Trackable] = []

    def bounds(self) -> tuple[float, float, float, float]:
        """The outlines' box over all floors: x least, y least, x most, y most, in metres."""
        xs = [x for floor in self.floors for x, _ in floor.outline]
        ys = [y for floor in self.floors for _, y in floor.outline]
        return min(xs), min(ys), max(xs), max(ys)

    def beacons(self) -> dict[str, int]:
        """Beacon id to its trackable's row."""
        return {b: row for row, part in enumerate(self.trackables) for b in part.beacons}


_decode: Final = msgspec.json.Decoder(Site).decode
_PATH: Final = re.compile(r" - at `\$\.?(?P<path>.*?)`$")


def load_site(path: Path) -> Site:
    """Reads and checks a site file.

    Raises:
        SiteError: one sentence with file, key and reason.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SiteError(str(path), "", f"cannot be read: {error.strerror}") from error
    return parse_site(text, str(path))


def parse_site(text: bytes, source: str) -> Site:
    """Decodes and checks a site document; `source` names it in errors.

    Raises:
        SiteError: one sentence with source, key and reason.
    """
    if len(text) > MAX_DOCUMENT_BYTES:
        raise SiteError(source, "", f"has {len(text)} bytes; at most {MAX_DOCUMENT_BYTES}")
    try:
        site = _decode(text)
    except msgspec.ValidationError as error:
        message = str(error)
        place = _PATH.search(message)
        key = place["path"] if place else ""
        raise SiteError(source, key, _plain(_PATH.sub("", message))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SiteError(source, "", f"is not JSON: {error}") from error
    check_site(site, source)
    return site


def encode_site(site: Site) -> bytes:
    """The document as JSON bytes; equal sites give equal bytes."""
    return msgspec.json.encode(site)


def check_site(site: Site, source: str) -> None:
    """Checks what types cannot: references, geometry, uniqueness.

    Raises:
        SiteError: for the first fault found.
    """
    for key, reason in _faults(site):
        raise SiteError(source, key, reason)


def _plain(message: str) -> str:
    """Says msgspec's sentence in the words of the document."""
    message = message.replace("Object contains unknown field", "unknown key")
    message = message.replace("Object missing required field", "missing key")
    return message[:1].lower() + message[1:]


def _faults(site: Site) -> Iterator[tuple[str, str]]:
    if not is_name(site.id) or any(c in site.id for c in "{}:*?[]"):
        yield "id", "must be printable, at most 64 characters, without blanks or any of / + # { } :"
    # available_timezones() is slow and empty where no tz database is installed.
    if site.timezone != "UTC" and not _is_timezone(site.timezone):
        yield "timezone", f"`{site.timezone}` is not an IANA time zone such as Europe/Paris"
    if not 0 < len(site.floors) <= MAX_FLOORS:
        yield "floors", f"{len(site.floors)} floors; 1 to {MAX_FLOORS} are expected"
        return
    for name, parts in _lists(site).items():
        yield from _duplicates(name, (part.id for part in parts))
    yield from _duplicates("floors[].level", (str(floor.level) for floor in site.floors))
    for i, floor in enumerate(site.floors):
        if fault := ring_fault(floor.outline):
            yield f"floors[{i}].outline", fault
    x0, y0, x1, y1 = site.bounds()
    if max(x1 - x0, y1 - y0) > MAX_EXTENT_M:
        yield "floors", f"the site is more than {MAX_EXTENT_M:.0f} m long; split it into sites"
    yield from _placement_faults(site)
    yield from _trackable_faults(site)


def _is_timezone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return name in available_timezones()
    return True


def _lists(site: Site) -> dict[str, list[Floor] | list[GatewayPlace] | list[Obstacle] | list[Zone]]:
    return {
        "floors": site.floors,
        "gateways": site.gateways,
        "obstacles": site.obstacles,
        "zones": site.zones,
        "slots": site.slots,  # type: ignore[dict-item]  # all parts have an id, which is all we use
        "trackables": site.trackables,  # type: ignore[dict-item]
    }


def _duplicates(key: str, ids: Iterable[str]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for id_ in ids:
        if id_ in seen:
            yield key, f"`{id_}` stands more than once"
        seen.add(id_)


def _placement_faults(site: Site) -> Iterator[tuple[str, str]]:
    floors = {floor.id for floor in site.floors}
    for name, parts in _lists(site).items():
        for i, part in enumerate(parts):
            key = f"{name}[{i}]"
            if isinstance(part, (GatewayPlace, Obstacle, Zone, Slot)) and part.floor not in floors:
                yield f"{key}.floor", f"there is no floor `{part.floor}`"
            if isinstance(part, (GatewayPlace, Slot)):
                if len(part.position) not in (2, 3) or not all(map(math.isfinite, part.position)):
                    yield f"{key}.position", "two or three finite numbers of metres are expected"
            elif isinstance(part, (Obstacle, Zone)) and (fault := ring_fault(part.polygon)):
                yield f"{key}.polygon", fault
    for i, gateway in enumerate(site.gateways):
        if not is_name(gateway.id):
            yield f"gateways[{i}].id", "must be printable, without blanks or any of / + #"
    for i, obstacle in enumerate(site.obstacles):
        if obstacle.loss_db is not None and not 0.0 <= obstacle.loss_db <= 60.0:
            yield f"obstacles[{i}].loss_db", "0 to 60 dB are expected"


def _trackable_faults(site: Site) -> Iterator[tuple[str, str]]:
    owner: dict[str, str] = {}
    for i, trackable in enumerate(site.trackables):
        for beacon in trackable.beacons:
            if not is_beacon(beacon):
                yield f"trackables[{i}].beacons", "a beacon id has 1 to 128 printable characters"
            if beacon in owner:
                yield (
                    f"trackables[{i}].beacons",
                    f"`{beacon}` already belongs to trackable `{owner[beacon]}`",
                )
            owner[beacon] = trackable.id
        if trackable.quantity is not None and not math.isfinite(trackable.quantity):
            yield f"trackables[{i}].quantity", "a finite number is expected"
