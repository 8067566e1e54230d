"""The shapes of the API's answers and requests, as OpenAPI shows them.

Units stand in the descriptions: metres from the site's origin, Unix seconds, radians.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dashboard.edit import MAX_BEACONS
from dashboard.health import State
from stream.calibration import Origin
from stream.calibration_store import MAX_BY_CHARS, MAX_NOTE_CHARS
from stream.site import Kind
from stream.summary import Standing

Id = Annotated[str, Field(min_length=1, max_length=128, examples=["forklift-3"])]
BeaconId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        description="A beacon's id, as its gateways name it.",
        examples=["ibeacon:f7826da6-4fa2-4e98-8024-bc5b71e0893e:1:7"],
    ),
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Position(_Model):
    """A trackable's last fix."""

    x: float = Field(description="Metres, in the site's frame.", examples=[12.41])
    y: float = Field(description="Metres, in the site's frame.", examples=[7.9])
    floor: str = Field(description="The floor's id.", examples=["ground"])
    accuracy: float = Field(
        description="Metres: the radius that holds 68 % of errors.", examples=[1.8]
    )
    speed: float = Field(description="Metres a second.", examples=[1.2])
    heading: float = Field(
        description="Radians, counter-clockwise from the x axis; says little below walking speed.",
        examples=[1.57],
    )
    zone: str | None = Field(description="The zone's id, null outside of all.", examples=["dock"])
    zone_probability: float = Field(
        description="How likely it is in that zone, 0 to 1.", examples=[0.93]
    )
    t: float = Field(
        description="When it was located, Unix seconds (the end of the tick).",
        examples=[1785153600.5],
    )
    age_s: float = Field(description="Seconds since then, by this server's clock.", examples=[0.4])
    lost: bool = Field(
        description="Whether it was unheard for too long since; then this is its last place, and "
        "`t` when it was there."
    )


class TrackPoint(_Model):
    """One point of a track."""

    t: float = Field(description="Unix seconds.", examples=[1785153600.5])
    x: float = Field(description="Metres.", examples=[12.41])
    y: float = Field(description="Metres.", examples=[7.9])
    floor: str = Field(description="The floor's id.", examples=["ground"])
    accuracy: float = Field(description="Metres.", examples=[1.8])


class Trackable(_Model):
    """A thing that is followed."""

    id: str = Field(examples=["forklift-3"])
    name: str = Field(examples=["Forklift 3"])
    kind: Kind
    beacons: list[str] = Field(description="The beacons it wears.")
    sku: str | None = Field(description="What it is stock of.", examples=["4006381333931"])
    quantity: float | None = Field(description="How much of it, in units of the SKU.")
    position: Position | None = Field(description="Null until it is located for the first time.")


class TrackableDetail(Trackable):
    """A thing that is followed, with where it was lately."""

    track: list[TrackPoint] = Field(description="The last 30 seconds, oldest first.")


class TrackablePage(_Model):
    """A page of trackables, in order of id."""

    trackables: list[Trackable]
    next: str | None = Field(
        description="The next page's path and query; null on the last page.",
        examples=["/api/v1/trackables?limit=100&after=Zm9ya2xpZnQtMw"],
    )


class Track(_Model):
    """A trackable's recent track."""

    id: str = Field(examples=["forklift-3"])
    points: list[TrackPoint] = Field(description="Oldest first.")


class NewTrackable(_Model):
    """A trackable to be followed from now on: how a beacon is adopted."""

    id: Id | None = Field(
        default=None, description="Made from the name when it is left out.", examples=["pump-7"]
    )
    name: Annotated[str, Field(min_length=1, max_length=200, examples=["Pump 7"])]
    kind: Kind
    beacons: list[BeaconId] = Field(max_length=MAX_BEACONS)
    sku: str | None = Field(default=None, max_length=128)
    quantity: float | None = Field(default=None, description="In units of the SKU.")


class NewBeacon(_Model):
    """A beacon for a trackable to wear."""

    beacon: BeaconId


class ZoneOccupancy(_Model):
    """A zone and how many trackables are in it."""

    id: str = Field(examples=["dock"])
    name: str = Field(examples=["Loading dock"])
    kind: str = Field(examples=["dock"])
    floor: str = Field(description="The floor's id.", examples=["ground"])
    total: int = Field(description="Trackables in it.", examples=[12])
    by_kind: dict[Kind, int] = Field(description="The same by kind; kinds with none are left out.")


class Zones(_Model):
    """The zones of the site, in its order."""

    heard_within_s: float = Field(
        description="Trackables located longer ago than this, in seconds before the newest tick, "
        "are not counted."
    )
    zones: list[ZoneOccupancy]


class Gateway(_Model):
    """A gateway and its health."""

    id: str = Field(examples=["gw-07"])
    floor: str = Field(description="The floor's id.", examples=["ground"])
    position: list[float] = Field(description="[x, y] or [x, y, z above its floor], metres.")
    state: State
    reason: str = Field(description="Why, in a sentence.", examples=["its readings arrive"])
    rate: float = Field(description="Readings a second, over ten seconds.", examples=[312.5])
    age_s: float | None = Field(
        description="Seconds since its latest window ended; null when never heard.", examples=[0.8]
    )
    last_seen: float | None = Field(
        description="The end of its latest window, Unix seconds.", examples=[1785153600.0]
    )
    status_at: float | None = Field(
        description="When its last status came in, Unix seconds.", examples=[1785153595.2]
    )
    standing: Standing = Field(
        description="`current`: the map waits for it; `quiet`: not for now; `gone`: given up."
    )
    version: str = Field(description="Its software; empty when it never said.", examples=["0.1.0"])
    scanner: str = Field(description="What it listens with.", examples=["bluez"])
    uptime_s: float | None = Field(description="Seconds since its start, at its last status.")
    window_s: float | None = Field(description="Its summing-up interval, seconds.", examples=[1.0])
    error: str = Field(description="Its scanner's present trouble, empty when well.")
    batches: int = Field(description="Batches taken, each once.")
    readings: int = Field(description="Readings in them.")
    missing: int = Field(description="Batches of its present run that have not come.")
    duplicates: int = Field(description="Batches that came again and were dropped.")
    late: int = Field(description="Batches that came too late to be located.")
    spooled: int = Field(description="Batches waiting in it, at its last status.")
    dropped: int = Field(description="Batches it had to drop, at its last status.")
    suspect: str | None = Field(
        description="Why it is suspected not to be as it should, in a word; null when it is well.",
        examples=["deaf"],
    )
    suspect_text: str = Field(
        description="The same for people: what it looks like and what to do; empty when well.",
    )
    residual_db: float | None = Field(
        description="How much louder than the radio model says it hears tags, dB, mean of minutes; "
        "null where too little was heard.",
        examples=[-1.3],
    )
    hears: float | None = Field(
        description="The share of the adverts that it surely should have heard and did, 0 to 1; "
        "null where too little was heard.",
        examples=[0.81],
    )
    refused: dict[str, int] = Field(
        description="Messages refused by ingest, by reason.", examples=[{"clock-ahead": 3}]
    )


class Gateways(_Model):
    """The gateways of the site, in its order."""

    gateways: list[Gateway]


class UnassignedBeacon(_Model):
    """A beacon that belongs to no trackable."""

    beacon: BeaconId
    gateway: str = Field(description="Where it was heard loudest.", examples=["gw-07"])
    rssi: float = Field(description="dBm, fading with time.", examples=[-52.0])
    t: float = Field(description="When it was last heard, Unix seconds.")
    n: int = Field(description="Adverts heard.")


class Unassigned(_Model):
    """Beacons to adopt, the strongest and latest first."""

    total: int = Field(description="How many are known of.", examples=[17])
    beacons: list[UnassignedBeacon]


class CalibrationVersion(_Model):
    """A version of the calibration, without its document."""

    version: str = Field(
        description="`3`: the site's third; `0.12`: the twelfth that partition 0 fitted itself.",
        examples=["3"],
    )
    t: float = Field(
        description="When it was made, Unix seconds; a fit in the readings' time.",
        examples=[1785153600.0],
    )
    by: str = Field(description="Who or what made it.", examples=["ann"])
    note: str = Field(description="Why.", examples=["back to 1: the racks were moved back"])
    origin: Origin = Field(description="What its document was made from.")
    readings: int = Field(
        description="How many readings the document was made from.", examples=[120000]
    )
    fitted_t: float = Field(
        description="The time up to which it saw readings, Unix seconds; 0 when it does not say.",
        examples=[1785150000.0],
    )
    size: int = Field(description="The document's bytes.", examples=[2310])
    base: int | None = Field(
        description="For a fit: the site's version that it was made under; null otherwise."
    )


class CalibrationVersions(_Model):
    """The versions of the calibration that are kept."""

    current: str = Field(
        description="The site's current version; `0` is the prior.", examples=["3"]
    )
    in_use: list[str] = Field(
        description="What each partition used at its last commit.", examples=[["3"]]
    )
    versions: list[CalibrationVersion] = Field(
        description="The site's, newest first, then each partition's."
    )


class CalibrationInUse(_Model):
    """What one partition uses, and how far it is with fitting by itself."""

    partition: int = Field(description="Its number, from 0.", examples=[0])
    version: str = Field(description="What it used at its last commit.", examples=["0.3"])
    origin: str = Field(
        description="What that was made from: `prior`, `survey`, `gateways` or `work`.",
        examples=["work"],
    )
    snapshots: int = Field(
        description="Moments of single beacons that it holds to fit from.", examples=[640]
    )
    fits: int = Field(description="Fits that it has put on trial.", examples=[5])
    adopted: int = Field(description="... and taken into use.", examples=[3])


class CalibrationsInUse(_Model):
    """The radio model in use, partition by partition."""

    partitions: list[CalibrationInUse]


class Rollback(_Model):
    """Which version is to become the next one."""

    to: Annotated[
        str,
        Field(max_length=32, description="A version; `0` is the prior.", examples=["1"]),
    ]
    by: Annotated[str, Field(min_length=1, max_length=MAX_BY_CHARS, description="Who.")] = "api"
    note: Annotated[str, Field(max_length=MAX_NOTE_CHARS, description="Why.")] = ""


class Alive(_Model):
    """The process runs."""

    status: Literal["ok"] = "ok"


class Ready(_Model):
    """The dashboard has what it needs."""

    status: Literal["ready"] = "ready"
    site: str = Field(examples=["warehouse"])
    site_version: int = Field(examples=[3])


class Fault(_Model):
    """One fault of a request."""

    where: str = Field(alias="in", description="`body`, `query`, `path` or `site`.")
    key: str = Field(examples=["limit"])
    reason: str = Field(examples=["input should be less than or equal to 1000"])


class ProblemDocument(_Model):
    """An error (RFC 9457)."""

    type: str = Field(examples=["urn:balise:problem:not-found"])
    title: str = Field(examples=["There is no such thing"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no trackable `forklift-9`"])
    errors: list[Fault] | None = None
