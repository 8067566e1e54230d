"""The site contract: one JSON document that describes a site, checked before anything uses it.

This module knows the document and its rules; geometry that needs more than coordinates lives in
`stream.geometry`. The document is described in docs/site.md.
"""

from __future__ import annotations

import importlib.util
import math
import re
import zoneinfo
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from gateway.errors import UserError
from gateway.readings import MAX_BEACON_CHARS, MAX_NAME_CHARS, canonical_beacon, is_beacon, is_name
from stream.geometry import Point, ring_fault

MAX_FLOORS: Final = 64
MAX_DOCUMENT_BYTES: Final = 32 * 1024 * 1024
MAX_REASON_CHARS: Final = 300
# Live positions travel as unsigned 16-bit centimetres from the site's corner.
MAX_EXTENT_M: Final = 655.0
# Fixes hold float32 metres, exact to a millimetre up to here; map coordinates would lose more.
MAX_FROM_ORIGIN_M: Final = 10_000.0
# A yard or a gateway on a mast stands outside the outlines; a place in centimetres or in another
# frame stands much farther.
MAX_OUTSIDE_M: Final = 100.0
# Above or below its floor: the highest warehouses have 50 m.
MAX_HEIGHT_M: Final = 100.0
MAX_LEVEL: Final = 200
# Fixes refer to zones by an unsigned 16-bit number, the highest of which means none.
MAX_ZONES: Final = 65_535
# A trackable wears a few; the number guards against a list that was meant for many trackables.
MAX_BEACONS: Final = 64

Kind = Literal["item", "picker", "visitor", "cart", "other"]
KINDS: Final[tuple[Kind, ...]] = ("item", "picker", "visitor", "cart", "other")
Ring = list[Point]
Bounds = tuple[float, float, float, float]
MAX_ID_CHARS: Final = 128
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARS)]


class SiteError(UserError, ValueError):
    """A site document that cannot be used.

    Attributes:
        source: the file or request it came from.
        key: where in the document, as `floors[0].outline`.
        reason: what is wrong there and what was expected.
    """

    def __init__(self, source: str, key: str, reason: str) -> None:
        # Both may quote the document, which may hold anything; a sentence is one short line.
        key, reason = _one_line(key), _one_line(reason)
        super().__init__(f"{source}: {key}: {reason}" if key else f"{source}: {reason}")
        self.source: Final = source
        self.key: Final = key
        self.reason: Final = reason


def _one_line(text: str) -> str:
    short = text if len(text) <= MAX_REASON_CHARS else f"{text[:MAX_REASON_CHARS]}..."
    return "".join(c if c.isprintable() else "?" for c in short)


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Shared settings of the document's parts: immutable, and unknown keys are errors."""


class _Member(_Part, frozen=True):
    """A part of one of the document's lists; its id is the first key of each."""

    id: _Id


class Floor(_Member, frozen=True):
    """A storey; `outline` in metres, counter-clockwise or not, not closed."""

    name: str
    level: int
    outline: Ring
    plan: str | None = None


class GatewayPlace(_Member, frozen=True):
    """Where a gateway hangs; position [x, y] or [x, y, z above its floor] in metres.

    `beacon` is the id that it advertises itself, where it does.
    """

    floor: _Id
    position: list[float]
    beacon: str | None = None


class Obstacle(_Member, frozen=True):
    """A rack or wall; `loss_db` is what one crossing costs, where it is known."""

    floor: _Id
    kind: Literal["rack", "wall"]
    polygon: Ring
    loss_db: float | None = None


class Zone(_Member, frozen=True):
    """A named area of a floor."""

    floor: _Id
    name: str
    kind: str
    polygon: Ring


class Slot(_Member, frozen=True):
    """A storage place; `sku` is what the warehouse system says lies there."""

    floor: _Id
    position: list[float]
    sku: str | None = None


class Trackable(_Member, frozen=True):
    """The thing followed, wearing one beacon or more."""

    name: str
    kind: Kind
    beacons: list[str]
    sku: str | None = None
    quantity: float | None = None


class Site(_Part, frozen=True):
    """The whole document.

    Rows of fixes refer to trackables, floors and zones by their place in these lists, so a
    changed document is a new version and never an edit of this one.
    """

    id: _Id
    name: str
    timezone: str
    floors: list[Floor]
    gateways: list[GatewayPlace] = []
    obstacles: list[Obstacle] = []
    zones: list[Zone] = []
    slots: list[Slot] = []
    trackables: list[Trackable] = []

    def bounds(self) -> Bounds:
        """The outlines' box over all floors: x least, y least, x most, y most, in metres."""
        xs = [x for floor in self.floors for x, _ in floor.outline]
        ys = [y for floor in self.floors for _, y in floor.outline]
        return min(xs), min(ys), max(xs), max(ys)

    def beacons(self) -> dict[str, int]:
        """Beacon id to its trackable's row."""
        return {b: row for row, part in enumerate(self.trackables) for b in part.beacons}

    def gateway_beacons(self) -> dict[str, int]:
        """Beacon id to the row of the gateway that advertises it."""
        return {part.beacon: row for row, part in enumerate(self.gateways) if part.beacon}


_decode: Final = msgspec.json.Decoder(Site).decode
_PATH: Final = re.compile(r" - at `\$\.?(?P<path>.*?)`$")
_LIMIT: Final = re.compile(r"Expected `str` of length [<>]= (?P<limit>\d+)")
# A gateway's id is a level of a topic; a site's id is also part of the store's keys.
_NAME_RULE: Final = (
    f"must be printable, at most {MAX_NAME_CHARS} characters, without blanks or any of / + #"
)
_BEACON_RULE: Final = f"a beacon id has 1 to {MAX_BEACON_CHARS} printable characters"
_TYPES: Final = re.compile(r"Expected `(?P<wanted>[^`]+)`, got `(?P<got>[^`]+)`")
_WORDS: Final = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "null": "nothing",
    "object": "an object",
    "str": "text",
}


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
        raise SiteError(source, key, _plain(_PATH.sub("", message), key)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SiteError(source, "", f"is not JSON: {error}") from error
    site = canonical_site(site)
    check_site(site, source)
    return site


def canonical_site(site: Site) -> Site:
    """The site with every beacon's id in its one spelling, as readings have it."""
    spelt = [[canonical_beacon(beacon) for beacon in part.beacons] for part in site.trackables]
    own = [None if g.beacon is None else canonical_beacon(g.beacon) for g in site.gateways]
    if [part.beacons for part in site.trackables] == spelt and [
        part.beacon for part in site.gateways
    ] == own:
        return site
    return msgspec.structs.replace(
        site,
        gateways=[
            msgspec.structs.replace(part, beacon=beacon)
            for part, beacon in zip(site.gateways, own, strict=True)
        ],
        trackables=[
            msgspec.structs.replace(part, beacons=beacons)
            for part, beacons in zip(site.trackables, spelt, strict=True)
        ],
    )


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


def _plain(message: str, key: str) -> str:
    """Says msgspec's sentence in the words of the document."""
    if types := _TYPES.fullmatch(message):
        wanted = " or ".join(_WORDS.get(name, name) for name in types["wanted"].split(" | "))
        return f"{wanted} is expected, not {_WORDS.get(types['got'], types['got'])}"
    if limit := _LIMIT.fullmatch(message):
        return f"text of 1 to {MAX_ID_CHARS} characters is expected, not of {_than(limit['limit'])}"
    if message.startswith("Invalid enum value"):
        kinds = KINDS if key.startswith("trackables") else ("rack", "wall")
        return f"one of {', '.join(kinds)} is expected, not {message.split(maxsplit=3)[3]}"
    message = message.replace("Expected `array` of length 2", "two numbers [x, y] are expected")
    message = message.replace("Object contains unknown field", "unknown key")
    message = message.replace("Object missing required field", "missing key")
    return message[:1].lower() + message[1:]


def _than(limit: str) -> str:
    return "none" if limit == "1" else "more"


def _faults(site: Site) -> Iterator[tuple[str, str]]:
    if not is_name(site.id) or any(c in site.id for c in "{}:*?[]"):
        yield "id", f"{_NAME_RULE} {{ }} : * ? [ ]"
    if fault := _timezone_fault(site.timezone):
        yield "timezone", fault
    if not 0 < len(site.floors) <= MAX_FLOORS:
        yield "floors", f"{len(site.floors)} floors; 1 to {MAX_FLOORS} are expected"
        return
    if len(site.zones) > MAX_ZONES:
        yield "zones", f"{len(site.zones)} zones; at most {MAX_ZONES} are expected"
    for name, members in _lists(site).items():
        yield from _id_faults(name, members)
    yield from _floor_faults(site.floors)
    yield from _placement_faults(site)
    yield from _trackable_faults(site)
    yield from _advertiser_faults(site)


def _timezone_fault(name: str) -> str | None:
    try:
        zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        if name == "UTC":  # needs no database
            return None
        found = any(Path(place).is_dir() for place in zoneinfo.TZPATH)
        if not found and importlib.util.find_spec("tzdata") is None:
            return f"`{name}` cannot be checked: this machine has no time zones; install tzdata"
        return f"`{name}` is not an IANA time zone such as Europe/Paris"
    return None


def _lists(site: Site) -> dict[str, Sequence[_Member]]:
    return {
        "floors": site.floors,
        "gateways": site.gateways,
        "obstacles": site.obstacles,
        "zones": site.zones,
        "slots": site.slots,
        "trackables": site.trackables,
    }


def _id_faults(name: str, members: Sequence[_Member]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for i, member in enumerate(members):
        if not member.id.isprintable():
            yield f"{name}[{i}].id", "must be printable"
        if member.id in seen:
            yield f"{name}[{i}].id", f"`{member.id}` stands more than once"
        seen.add(member.id)


def _floor_faults(floors: Sequence[Floor]) -> Iterator[tuple[str, str]]:
    levels: set[int] = set()
    for i, floor in enumerate(floors):
        if abs(floor.level) > MAX_LEVEL:
            yield f"floors[{i}].level", f"-{MAX_LEVEL} to {MAX_LEVEL} are expected"
        if floor.level in levels:
            yield f"floors[{i}].level", f"two floors have level {floor.level}"
        levels.add(floor.level)
        if fault := ring_fault(floor.outline) or _frame_fault(floor.outline):
            yield f"floors[{i}].outline", fault
    corners = [corner for floor in floors for corner in floor.outline]
    extents = [max(values) - min(values) for values in zip(*corners, strict=True)]
    if max(extents) > MAX_EXTENT_M:
        yield "floors", f"the site is more than {MAX_EXTENT_M:.0f} m long; split it into sites"


def _frame_fault(outline: Ring) -> str | None:
    for x, y in outline:
        if max(abs(x), abs(y)) > MAX_FROM_ORIGIN_M:
            limit = f"{MAX_FROM_ORIGIN_M:.0f} m"
            return f"[{x:g}, {y:g}] is over {limit} from [0, 0]; use a local frame in metres"
    return None


def _placement_faults(site: Site) -> Iterator[tuple[str, str]]:
    floors = {floor.id for floor in site.floors}
    bounds = site.bounds()
    for name, members in _lists(site).items():
        for i, member in enumerate(members):
            if not isinstance(member, (GatewayPlace, Obstacle, Zone, Slot)):
                continue
            key = f"{name}[{i}]"
            if member.floor not in floors:
                yield f"{key}.floor", f"there is no floor `{member.floor}`"
            if isinstance(member, (GatewayPlace, Slot)):
                if fault := _position_fault(member.position, bounds):
                    yield f"{key}.position", fault
            elif fault := ring_fault(member.polygon) or _far_fault(member.polygon, bounds):
                yield f"{key}.polygon", fault
    for i, gateway in enumerate(site.gateways):
        if not is_name(gateway.id):
            yield f"gateways[{i}].id", _NAME_RULE
    for i, obstacle in enumerate(site.obstacles):
        if obstacle.loss_db is not None and not 0.0 <= obstacle.loss_db <= 60.0:
            yield f"obstacles[{i}].loss_db", "0 to 60 dB are expected"


def _position_fault(position: list[float], bounds: Bounds) -> str | None:
    if len(position) not in (2, 3) or not all(map(math.isfinite, position)):
        return "two or three finite numbers of metres are expected"
    if len(position) == 3 and abs(position[2]) > MAX_HEIGHT_M:
        return f"a height of {position[2]:g} m above the floor is not possible"
    return _far_fault([(position[0], position[1])], bounds)


def _far_fault(points: Ring, bounds: Bounds) -> str | None:
    x0, y0, x1, y1 = bounds
    for x, y in points:
        if max(x0 - x, x - x1, y0 - y, y - y1) > MAX_OUTSIDE_M:
            return f"[{x:g}, {y:g}] lies more than {MAX_OUTSIDE_M:.0f} m outside the floors"
    return None


def _trackable_faults(site: Site) -> Iterator[tuple[str, str]]:
    owner: dict[str, str] = {}
    for i, trackable in enumerate(site.trackables):
        key = f"trackables[{i}].beacons"
        if len(trackable.beacons) > MAX_BEACONS:
            yield key, f"{len(trackable.beacons)} beacons; at most {MAX_BEACONS} are expected"
        for beacon in trackable.beacons:
            if not is_beacon(beacon):
                yield key, _BEACON_RULE
            if beacon in owner:
                yield key, f"`{beacon}` already belongs to trackable `{owner[beacon]}`"
            owner[beacon] = trackable.id
        if trackable.quantity is not None and not math.isfinite(trackable.quantity):
            yield f"trackables[{i}].quantity", "a finite number is expected"


def _advertiser_faults(site: Site) -> Iterator[tuple[str, str]]:
    owner = {b: f"trackable `{part.id}`" for part in site.trackables for b in part.beacons}
    for i, gateway in enumerate(site.gateways):
        if gateway.beacon is None:
            continue
        if not is_beacon(gateway.beacon):
            yield f"gateways[{i}].beacon", _BEACON_RULE
        if gateway.beacon in owner:
            told = f"`{gateway.beacon}` already belongs to {owner[gateway.beacon]}"
            yield f"gateways[{i}].beacon", told
        owner[gateway.beacon] = f"gateway `{gateway.id}`"
