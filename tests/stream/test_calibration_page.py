"""docs/calibration.md keeps its word: its example is read, its keys and numbers are the code's."""

from __future__ import annotations

import json
import re
from typing import Any, Final, get_args

import msgspec
import pytest

from stream import calibration_store as kept
from stream.calibration import (
    MAP_STEP_DB,
    MAX_DOCUMENT_BYTES,
    Calibration,
    CalibrationError,
    GatewayFit,
    MapPatch,
    Origin,
    encode_calibration,
    parse_calibration,
    prior,
)
from stream.compare import compare
from stream.site import parse_site
from tests.support.sources import ROOT

PAGE: Final = (ROOT / "docs/calibration.md").read_text("utf-8")
(EXAMPLE,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
# The table of a part begins with its name, the first one with the keys that must be there.
TABLES: Final = {"`v` and `site`": Calibration, "`gateways`:": GatewayFit, "`radio_map`:": MapPatch}


def rows(start: str) -> dict[str, list[str]]:
    """A table of the page: its other cells by key; two keys in one cell share them."""
    table = PAGE.split(f"\n{start}", 1)[1].split("\n| ", 1)[1].split("\n\n", 1)[0]
    found = {}
    for line in table.splitlines()[2:]:
        first, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        keys = re.findall(r"`(\w+)`", first)
        for i, key in enumerate(keys):
            prior_of = cells[-1].split(", ")
            own = prior_of[i] if len(prior_of) == len(keys) else cells[-1]
            found[key] = [*cells[:-1], own]
    return found


def test_the_example_is_a_calibration_with_every_key() -> None:
    """It is read, and shows each key of the contract."""
    calibration = parse_calibration(EXAMPLE.encode(), "docs/calibration.md")
    document = json.loads(EXAMPLE)
    assert set(document) == set(Calibration.__struct_fields__)
    fits = document["gateways"].values()
    assert {key for fit in fits for key in fit} == set(GatewayFit.__struct_fields__)
    patches = document["radio_map"]
    assert {key for patch in patches for key in patch} == set(MapPatch.__struct_fields__)
    # The bytes are 0, 4, -8 dB steps of a quarter, and so on.
    assert calibration.radio_map[0].values().tolist() == [[0.0, 1.0, -2.0], [2.0, 0.0, -1.0]]


def test_the_example_belongs_to_the_sites_example() -> None:
    """Every gateway, floor and obstacle it names is there."""
    text = (ROOT / "docs/site.md").read_text("utf-8")
    found = re.search(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found
    site = parse_site(found[1].encode(), "docs/site.md")
    calibration = parse_calibration(EXAMPLE.encode(), "docs/calibration.md")
    assert calibration.site == site.id
    assert set(calibration.obstacles) <= {part.id for part in site.obstacles}
    assert {patch.floor for patch in calibration.radio_map} <= {part.id for part in site.floors}
    difference = compare(site, prior(site.id), calibration)
    assert difference.strangers == []
    assert any(part.change_db for part in difference.gateways)


@pytest.mark.parametrize(("start", "part"), TABLES.items(), ids=["whole", "gateways", "map"])
def test_every_key_is_explained(start: str, part: type[msgspec.Struct]) -> None:
    """Each part has a table with each of its keys, and no other."""
    assert set(rows(start)) == set(part.__struct_fields__)


def test_the_priors_are_those_of_the_code() -> None:
    """What holds where nothing is said."""
    told = rows("`v` and `site`")
    for field in msgspec.structs.fields(Calibration):
        if isinstance(field.default, float | int):
            assert float(told[field.name][-1]) == field.default, field.name
    assert told["origin"][-1] == f"`{prior('x').origin}`"
    assert float(rows("`gateways`:")["offset_db"][-1]) == GatewayFit().offset_db


def _is_taken(document: dict[str, Any]) -> bool:
    try:
        parse_calibration(json.dumps({"v": 1, "site": "x", **document}).encode(), "x")
    except CalibrationError:
        return False
    return True


def test_the_ranges_are_those_of_the_code() -> None:
    """Both ends are taken, and what is beyond them is not."""
    seen = 0
    for start in ("`v` and `site`", "`gateways`:"):
        for key, cells in rows(start).items():
            found = re.match(r"(-?[\d.]+) to (-?[\d.]+)", cells[-2])
            if not found:
                continue
            seen += 1
            least, most = map(float, found.groups())
            for value, taken in (
                (least, True),
                (most, True),
                (least - 0.01, False),
                (most + 0.01, False),
            ):
                document: dict[str, Any] = {key: value}
                if start == "`gateways`:":
                    document = {"gateways": {"g": {key: value}}}
                elif key == "obstacles":
                    document = {"obstacles": {"o": value}}
                elif key == "map_cell_m":
                    patch = {"gateway": "g", "floor": "f", "corner": [0, 0], "shape": [1, 1]}
                    document["radio_map"] = [{**patch, "db": "AA=="}]
                assert _is_taken(document) == taken, (key, value)
    assert seen == 12


def test_the_limits_and_words_are_those_of_the_code() -> None:
    """Numbers and names that stand in the text."""
    assert all(f"`{origin}`" in PAGE for origin in get_args(Origin))
    for limit in (
        f"steps of {MAP_STEP_DB:g} dB",
        f"at most {MAX_DOCUMENT_BYTES // 2**20} MiB",
        f"the last {kept.KEPT_CALIBRATIONS} versions are kept",
        f"no more than {kept.KEPT_BYTES // 2**20} MiB",
        f"({kept.KEPT_OWN_BYTES // 2**20} MiB",
    ):
        assert limit in " ".join(PAGE.split()), limit
    keys = (ROOT / "docs/architecture.md").read_text("utf-8")
    said = f"the last {kept.KEPT_CALIBRATIONS} are kept, and at most {kept.KEPT_BYTES // 2**20} MiB"
    assert said in keys


def test_the_error_of_the_page_is_the_one_that_is_given() -> None:
    """The sentence comes from the code."""
    (shown,) = re.findall(r"^ +balise: (cal\.json: .*)$", PAGE, re.MULTILINE)
    calibration = parse_calibration(EXAMPLE.encode(), "x")
    fits = {"g-01": msgspec.structs.replace(calibration.gateways["g-01"], offset_db=99.0)}
    text = encode_calibration(msgspec.structs.replace(calibration, gateways=fits))
    with pytest.raises(CalibrationError) as caught:
        parse_calibration(text, "cal.json")
    assert str(caught.value) == shown
