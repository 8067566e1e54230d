"""A site document is taken whole or refused with one sentence: file, key, reason."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UserError
from stream import site as contract
from stream.site import Site, SiteError, check_site, encode_site, load_site, parse_site
from tests.support.sources import ROOT

SQUARE: Final = [[0, 0], [20, 0], [20, 10], [0, 10]]
DOCUMENT: Final[dict[str, Any]] = {
    "id": "hall-3",
    "name": "Hall 3",
    "timezone": "Europe/Paris",
    "floors": [
        {"id": "0", "name": "Ground", "level": 0, "outline": SQUARE},
        {"id": "1", "name": "Gallery", "level": 1, "outline": SQUARE, "plan": "gallery.png"},
    ],
    "gateways": [
        {"id": "g1", "floor": "0", "position": [1, 1]},
        {"id": "g2", "floor": "1", "position": [19, 9, 2.5], "beacon": "own"},
    ],
    "obstacles": [
        {"id": "r1", "floor": "0", "kind": "rack", "polygon": SQUARE, "loss_db": 4},
        {"id": "w1", "floor": "0", "kind": "wall", "polygon": SQUARE},
    ],
    "zones": [{"id": "z", "floor": "0", "name": "In", "kind": "inbound", "polygon": SQUARE}],
    "slots": [{"id": "A-01", "floor": "0", "position": [3, 4, 1], "sku": "4711"}],
    "trackables": [
        {"id": "t1", "name": "Pallet", "kind": "item", "beacons": ["b1"], "quantity": 12},
        {"id": "t2", "name": "Ann", "kind": "picker", "beacons": []},
    ],
}
MEASURED: Final = ("tetam", "uji-library", "uji-office")
Path_ = tuple[str | int, ...]


def inside(part: Any, path: Path_) -> Any:
    """The part of a document at `path`."""
    for key in path:
        part = part[key]
    return part


def changed(path: Path_, value: Any) -> bytes:
    """DOCUMENT with the value at `path` replaced (added, when it is the place behind the last)."""
    document = copy.deepcopy(DOCUMENT)
    place = inside(document, path[:-1])
    if isinstance(place, list) and path[-1] == len(place):
        place.append(value)
    else:
        place[path[-1]] = value
    return json.dumps(document).encode()


def test_the_whole_document_is_taken() -> None:
    """Every key of the contract is read into its place."""
    site = parse_site(json.dumps(DOCUMENT).encode(), "site.json")
    assert (site.id, site.timezone, len(site.floors)) == ("hall-3", "Europe/Paris", 2)
    assert site.floors[1].plan == "gallery.png"
    assert site.gateways[1].position == [19, 9, 2.5]
    assert site.obstacles[0].loss_db == 4
    assert site.slots[0].sku == "4711"
    assert site.trackables[0].quantity == 12
    assert site.bounds() == (0, 0, 20, 10)
    assert site.beacons() == {"b1": 0}
    assert site.gateway_beacons() == {"own": 1}


def test_the_least_document_is_taken() -> None:
    """Lists but the floors may be missing; they are empty then."""
    document = {key: DOCUMENT[key] for key in ("id", "name", "timezone", "floors")}
    site = parse_site(json.dumps(document).encode(), "site.json")
    assert [*site.gateways, *site.obstacles, *site.zones, *site.slots, *site.trackables] == []


OWN: Final[Path_] = ("gateways", 0, "beacon")
BROKEN: Final[list[tuple[Path_, Any, str]]] = [
    # what is at a key, what it is changed to, the sentence
    (("nam",), "x", "unknown key `nam`"),
    (("floors", 0, "colour"), "x", "floors[0]: unknown key `colour`"),
    (("trackables", 1, "beacon"), "x", "trackables[1]: unknown key `beacon`"),
    (("id",), 7, "id: text is expected, not a whole number"),
    (("id",), None, "id: text is expected, not nothing"),
    (("id",), "", "id: text of 1 to 128 characters is expected, not of none"),
    (("id",), "x" * 129, "id: text of 1 to 128 characters is expected, not of more"),
    (
        ("id",),
        "a b",
        (
            "id: must be printable, at most 64 characters, without blanks or any of"
            " / + # { } : * ? [ ]"
        ),
    ),
    (("timezone",), "Paris", "timezone: `Paris` is not an IANA time zone such as Europe/Paris"),
    (("timezone",), "Europe", "timezone: `Europe` is not an IANA time zone such as Europe/Paris"),
    (("timezone",), "../etc", "timezone: `../etc` is not an IANA time zone such as Europe/Paris"),
    (("timezone",), "a\nb", "timezone: `a?b` is not an IANA time zone such as Europe/Paris"),
    (("timezone",), "x" * 900, f"timezone: `{'x' * 299}..."),
    (("timezone",), "", "timezone: `` is not an IANA time zone such as Europe/Paris"),
    (("floors",), [], "floors: 0 floors; 1 to 64 are expected"),
    (("floors",), {}, "floors: a list is expected, not an object"),
    (("floors", 0), "0", "floors[0]: an object is expected, not text"),
    (("floors", 1, "id"), "0", "floors[1].id: `0` stands more than once"),
    (("floors", 1, "level"), 0, "floors[1].level: two floors have level 0"),
    (("floors", 1, "level"), 1.5, "floors[1].level: a whole number is expected, not a number"),
    (("floors", 1, "level"), 10**30, "floors[1].level: -200 to 200 are expected"),
    (
        ("floors", 0, "outline"),
        SQUARE[:2],
        "floors[0].outline: a polygon needs at least 3 corners, not 2",
    ),
    (
        ("floors", 0, "outline", 2),
        [1, 2, 3],
        "floors[0].outline[2]: two numbers [x, y] are expected",
    ),
    (
        ("floors", 0, "outline", 2, 1),
        "10",
        "floors[0].outline[2][1]: a number is expected, not text",
    ),
    (
        ("floors", 0, "outline"),
        [[0, 0], [2, 2], [2, 0], [0, 2]],
        "floors[0].outline: the polygon is not simple: Self-intersection at [1 1]",
    ),
    (
        ("floors", 0, "outline", 1),
        [700, 0],
        "floors: the site is more than 655 m long; split it into sites",
    ),
    (
        ("floors", 0, "outline"),
        [[500_000, 0], [500_020, 0], [500_020, 10]],
        ("floors[0].outline: [500000, 0] is over 10000 m from [0, 0]; use a local frame in metres"),
    ),
    (("gateways", 0, "id"), "g2", "gateways[1].id: `g2` stands more than once"),
    (
        ("gateways", 0, "id"),
        "g/1",
        (
            "gateways[0].id: must be printable, at most 64 characters, without blanks or any of"
            " / + #"
        ),
    ),
    (("gateways", 0, "floor"), "9", "gateways[0].floor: there is no floor `9`"),
    (
        ("gateways", 0, "position"),
        [1],
        "gateways[0].position: two or three finite numbers of metres are expected",
    ),
    (
        ("gateways", 0, "position"),
        [150, 1000],
        "gateways[0].position: [150, 1000] lies more than 100 m outside the floors",
    ),
    (
        ("gateways", 0, "position"),
        [1, 1, 250],
        "gateways[0].position: a height of 250 m above the floor is not possible",
    ),
    (OWN, "b1", "gateways[0].beacon: `b1` already belongs to trackable `t1`"),
    (OWN, "own", "gateways[1].beacon: `own` already belongs to gateway `g1`"),
    (OWN, "", "gateways[0].beacon: a beacon id has 1 to 128 printable characters"),
    (OWN, 7, "gateways[0].beacon: text or nothing is expected, not a whole number"),
    (
        ("obstacles", 0, "kind"),
        "shelf",
        "obstacles[0].kind: one of rack, wall is expected, not 'shelf'",
    ),
    (("obstacles", 0, "loss_db"), -1, "obstacles[0].loss_db: 0 to 60 dB are expected"),
    (
        ("zones", 0, "polygon"),
        [[0, 0], [1, 0], [2, 0]],
        "zones[0].polygon: the polygon is not simple: Self-intersection at [1 0]",
    ),
    (
        ("zones", 0, "polygon"),
        [[0, 0], [2000, 0], [2000, 1000]],
        "zones[0].polygon: [2000, 0] lies more than 100 m outside the floors",
    ),
    (("slots", 0, "floor"), "9", "slots[0].floor: there is no floor `9`"),
    (("slots", 0, "id"), "a\nb", "slots[0].id: must be printable"),
    (
        ("trackables", 0, "kind"),
        "box",
        "trackables[0].kind: one of item, picker, visitor, cart, other is expected, not 'box'",
    ),
    (
        ("trackables", 1, "beacons"),
        ["b1"],
        "trackables[1].beacons: `b1` already belongs to trackable `t1`",
    ),
    (
        ("trackables", 0, "beacons"),
        ["x", "x"],
        "trackables[0].beacons: `x` already belongs to trackable `t1`",
    ),
    (
        ("trackables", 0, "beacons"),
        [""],
        "trackables[0].beacons: a beacon id has 1 to 128 printable characters",
    ),
    (
        ("trackables", 0, "beacons"),
        [f"b{i}" for i in range(65)],
        "trackables[0].beacons: 65 beacons; at most 64 are expected",
    ),
]


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    BROKEN,
    ids=[f"{i}-{row[2][:30]}" for i, row in enumerate(BROKEN)],
)
def test_a_broken_document_is_refused_in_a_sentence(path: Path_, value: Any, sentence: str) -> None:
    """The error says file, key and reason, and keeps them apart for programs."""
    with pytest.raises(SiteError) as caught:
        parse_site(changed(path, value), "site.json")
    error = caught.value
    assert str(error) == f"site.json: {sentence}"
    assert isinstance(error, UserError)
    assert str(error) == ": ".join(filter(None, [error.source, error.key, error.reason]))


@pytest.mark.parametrize("key", ["id", "name", "timezone", "floors"])
def test_a_missing_key_is_named(key: str) -> None:
    """What the contract asks for and is not there is named."""
    document = {name: value for name, value in DOCUMENT.items() if name != key}
    with pytest.raises(SiteError, match=f"^site.json: missing key `{key}`$"):
        parse_site(json.dumps(document).encode(), "site.json")


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (b"", "s: is not JSON: "),
        (b"{", "s: is not JSON: "),
        (b"\xff\xfe", "s: is not JSON: "),
        (b'{"id": "\xff"}', "s: is not JSON: "),
        (b'{"id": "\\ud800"}', "s: is not JSON: "),
        (b"[" * 200_000, "s: "),
        (b'{"x": ' * 200_000, "s: "),
        (b"[]", "s: an object is expected, not a list"),
        (b"null", "s: an object is expected, not nothing"),
    ],
    ids=lambda part: str(part[:10]),
)
def test_what_is_no_document_at_all_is_refused(text: bytes, start: str) -> None:
    """Files that are not JSON, or JSON of another kind, give a sentence as well."""
    with pytest.raises(SiteError) as caught:
        parse_site(text, "s")
    assert str(caught.value).startswith(start)


def test_a_huge_document_is_refused_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size is looked at before anything is decoded."""
    monkeypatch.setattr(contract, "MAX_DOCUMENT_BYTES", 10)
    with pytest.raises(SiteError, match=r"^s: has 11 bytes; at most 10$"):
        parse_site(b" " * 11, "s")


def test_more_zones_than_a_fix_can_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fix's zone is a 16-bit number; the limit is checked where the zones are counted."""
    monkeypatch.setattr(contract, "MAX_ZONES", 0)
    with pytest.raises(SiteError, match=r"^s: zones: 1 zones; at most 0 are expected$"):
        parse_site(json.dumps(DOCUMENT).encode(), "s")


def test_a_site_that_was_built_in_python_is_checked_too() -> None:
    """JSON cannot say NaN, but an edit in memory can; it is refused before it is stored."""
    site = parse_site(json.dumps(DOCUMENT).encode(), "s")
    site.gateways[0].position[0] = float("nan")
    with pytest.raises(SiteError, match=r"gateways\[0\]\.position"):
        check_site(site, "edit")


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """A missing file is one sentence, and a file's errors carry its name."""
    path = tmp_path / "none.json"
    with pytest.raises(SiteError, match=f"^{re.escape(str(path))}: cannot be read: No such file"):
        load_site(path)
    path.write_text("{}", "utf-8")
    with pytest.raises(SiteError, match=f"^{re.escape(str(path))}: missing key `id`$"):
        load_site(path)


@pytest.mark.measured
@pytest.mark.parametrize("name", MEASURED)
def test_the_measured_sites_load(name: str) -> None:
    """The sites that were measured keep to the contract and survive a round trip."""
    path = ROOT.parent / "shared/data" / name / "site.json"
    if not path.is_file():
        pytest.skip("the measured sites are not beside the repository")
    site = load_site(path)
    assert site.id == name
    assert site.gateways
    assert site.trackables
    assert parse_site(encode_site(site), "again") == site


SCALARS: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 3),
    st.floats(),
    st.floats(-1e6, 1e6),
    st.text(max_size=8),
    st.sampled_from(["0", "1", "b1", "t1", "g1", "z", "rack", "item", "UTC", "Europe", "a" * 200]),
)
POINTS: Final = st.lists(st.floats(-50, 50) | st.integers(-20, 20), min_size=2, max_size=3)
JSONISH: Final = st.recursive(
    SCALARS | POINTS | st.lists(POINTS, max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*DOCUMENT, "position", "kind", "beacons", "x"]), inner)
    ),
    max_leaves=8,
)


def places(part: Any, path: Path_ = ()) -> list[Path_]:
    """The path of every value in a document."""
    inner: list[tuple[str | int, Any]] = []
    if isinstance(part, dict):
        inner = list(part.items())
    elif isinstance(part, list):
        inner = list(enumerate(part))
    return [path, *(deeper for key, value in inner for deeper in places(value, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """DOCUMENT with up to four values replaced, removed, or doubled at any depth."""
    document = copy.deepcopy(DOCUMENT)
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from([path for path in places(document) if path]))
        place = inside(document, path[:-1])
        change = draw(st.sampled_from(["replace", "replace", "remove", "double"]))
        if change == "replace":
            place[path[-1]] = draw(JSONISH)
        elif change == "remove":
            del place[path[-1]]
        elif isinstance(place, list):
            place.append(copy.deepcopy(inside(place, path[-1:])))
    return json.dumps(document).encode()


def _taken_or_refused(text: bytes) -> Site | None:
    try:
        site = parse_site(text, "fuzz.json")
    except SiteError as error:
        sentence = str(error)
    else:
        sentence = ""
    if sentence:
        assert sentence.startswith("fuzz.json: ")
        assert sentence.isprintable()
        assert len(sentence) < 1_000
        return None
    assert parse_site(encode_site(site), "again") == site
    assert encode_site(site) == encode_site(parse_site(text, "fuzz.json"))
    return site


@given(mutated())
def test_a_mutated_document_is_taken_or_refused(text: bytes) -> None:
    """Nothing but SiteError comes out, in one line; what is taken survives a round trip."""
    _taken_or_refused(text)


@given(JSONISH)
def test_any_json_is_taken_or_refused(value: Any) -> None:
    """Any JSON at all, NaN and huge numbers included, gives a site or a sentence."""
    _taken_or_refused(json.dumps(value).encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(text: bytes) -> None:
    """Noise is never a site."""
    assert _taken_or_refused(text) is None


def test_the_fuzz_reaches_both_outcomes() -> None:
    """The mutations leave some documents valid: both ways through the parser are tried."""
    assert _taken_or_refused(changed(("zones", 0, "name"), "Out")) is not None
    assert _taken_or_refused(changed(("zones", 0, "name"), 3)) is None


PAGE: Final = (ROOT / "docs/site.md").read_text("utf-8")
PARTS: Final = {
    "floors": contract.Floor,
    "gateways": contract.GatewayPlace,
    "obstacles": contract.Obstacle,
    "zones": contract.Zone,
    "slots": contract.Slot,
    "trackables": contract.Trackable,
}


def test_the_example_of_the_page_is_a_site_with_every_key() -> None:
    """The example in docs/site.md is valid, and shows each key of the contract at least once."""
    (text,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    parse_site(text.encode(), "docs/site.md")
    document = json.loads(text)
    assert set(document) == set(Site.__struct_fields__)
    for name, part in PARTS.items():
        assert {key for member in document[name] for key in member} == set(part.__struct_fields__)


def test_the_page_explains_every_key_and_limit() -> None:
    """Each list has a table with each of its keys, and the numbers are those of the code."""
    for name, part in PARTS.items():
        (table,) = re.findall(rf"^`{name}`:.*?(?=^`|^## )", PAGE, re.MULTILINE | re.DOTALL)
        told = {
            key
            for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
            for key in re.findall(r"`(\w+)`", row)
        }
        assert told == set(part.__struct_fields__), name
    for limit in (
        f"1 to {contract.MAX_FLOORS}.",
        f"at most {contract.MAX_EXTENT_M:.0f} m long",
        f"within {contract.MAX_FROM_ORIGIN_M / 1000:.0f} km",
        f"within {contract.MAX_OUTSIDE_M:.0f} m of its",
        f"-{contract.MAX_LEVEL} to {contract.MAX_LEVEL}",
        f"at most {contract.MAX_BEACONS} beacons",
        f"at most {contract.MAX_DOCUMENT_BYTES // 2**20} MiB",
        f"1 to {contract.MAX_ID_CHARS} characters",
    ):
        assert limit in PAGE, limit
    assert all(f"`{kind}`" in PAGE for kind in contract.KINDS)


def test_the_error_of_the_page_is_the_one_that_is_given() -> None:
    """The sentence that docs/site.md shows comes from the code."""
    (shown,) = re.findall(r"^ +(hall\.json: .*)$", PAGE, re.MULTILINE)
    (text,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    document = json.loads(text)
    document["gateways"][3]["floor"] = "2"
    with pytest.raises(SiteError) as caught:
        parse_site(json.dumps(document).encode(), "hall.json")
    assert str(caught.value) == shown


def test_a_beacon_in_capitals_is_the_beacon_that_gateways_hear() -> None:
    """A UUID pasted in capitals from a vendor's sheet is brought to the spelling of readings."""
    text = (
        b'{"id":"s","name":"S","timezone":"UTC","floors":[{"id":"0","name":"G","level":0,'
        b'"outline":[[0,0],[9,0],[9,9]]}],"trackables":[{"id":"t","name":"T","kind":"item",'
        b'"beacons":["ibeacon:F7826DA6-4FA2-4E98-8024-BC5B71E0893E:1:2","mac:ac:23:3f:00:00:01"]}]}'
    )
    [trackable] = parse_site(text, "s.json").trackables
    assert trackable.beacons == [
        "ibeacon:f7826da6-4fa2-4e98-8024-bc5b71e0893e:1:2",
        "mac:AC:23:3F:00:00:01",
    ]


def test_a_gateways_beacon_in_capitals_is_the_one_that_others_hear() -> None:
    """Gateways' own beacons get the spelling of readings too, and clash with it in any spelling."""
    text = changed(OWN, "mac:ac:23:3f:00:00:01")
    assert parse_site(text, "s.json").gateway_beacons() == {"mac:AC:23:3F:00:00:01": 0, "own": 1}
    document = json.loads(text)
    document["gateways"][1]["beacon"] = "mac:AC:23:3f:00:00:01"
    with pytest.raises(SiteError, match=r"gateways\[1\]\.beacon: .* belongs to gateway `g1`"):
        parse_site(json.dumps(document).encode(), "s.json")


def test_a_site_without_advertising_gateways_keeps_its_bytes() -> None:
    """The key is left out where it says nothing, so that stored documents stay what they are."""
    site = parse_site(changed(("gateways", 1, "beacon"), None), "s.json")
    assert b'beacon"' not in encode_site(site)
    assert site.gateway_beacons() == {}
