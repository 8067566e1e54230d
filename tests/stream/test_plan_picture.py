"""The pictures are well-formed whatever a site is called, and show what the plan says."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.plan_picture import STEPS, file_names, picture
from stream.planner import plan
from stream.site import Site, check_site

SVG = "{http://www.w3.org/2000/svg}"
FLOOR = {
    "id": "0",
    "name": "ground",
    "level": 0,
    "outline": [[10, 5], [40, 5], [40, 15], [25, 15], [25, 25], [10, 25]],
}


def make_site(**more: Any) -> Site:
    """An L-shaped floor with three gateways, a rack and a wall."""
    document: dict[str, Any] = {
        "id": "test",
        "name": "test",
        "timezone": "UTC",
        "floors": [FLOOR],
        "gateways": [
            {"id": "near", "floor": "0", "position": [12, 7]},
            {"id": "far", "floor": "0", "position": [38, 13]},
            {"id": "top", "floor": "0", "position": [12, 23]},
        ],
        "obstacles": [
            {"id": "rack-1", "floor": "0", "kind": "rack", "polygon": [[20, 8], [22, 8], [22, 12]]},
            {
                "id": "wall-1",
                "floor": "0",
                "kind": "wall",
                "polygon": [[15, 18], [20, 18], [20, 19]],
            },
        ],
    }
    site = msgspec.convert(document | more, Site)
    check_site(site, "test")
    return site


def drawn(site: Site, row: int = 0) -> ET.Element:
    """The floor's picture, parsed."""
    return ET.fromstring(picture(site, plan(site), row))  # noqa: S314  # our own document


def texts(root: ET.Element) -> list[str]:
    """The words on the sheet."""
    return [part.text or "" for part in root.iter(f"{SVG}text")]


def boxes(path: str) -> list[tuple[float, float, float, float]]:
    """Left, top, width and height of the boxes of a map's path."""
    found = re.findall(r"M([\d.-]+) ([\d.-]+)h([\d.-]+)v([\d.-]+)H", path)
    return [(float(x), float(y), float(w), float(h)) for x, y, w, h in found]


def test_a_picture_shows_the_map_the_gateways_and_the_advice() -> None:
    """One colour path per step in use, each gateway by its id, the legend and the proposal."""
    site = make_site()
    made = plan(site)
    root = drawn(site)
    assert {"near", "far", "top", "one more here", "gateway"} <= set(texts(root))
    assert "0 to 1.5 m" in texts(root)
    assert "over 10 m" in texts(root)
    used = {p.get("fill") for p in root.iter(f"{SVG}path")} & {colour for _, colour in STEPS}
    steps = np.searchsorted([most for most, _ in STEPS], made.radius[made.grid.inside])
    assert {STEPS[i][1] for i in set(steps.tolist())} <= used
    circles = list(root.iter(f"{SVG}circle"))
    assert len(circles) == len(site.gateways) + 1  # one in the legend
    assert {c[0].text for c in circles if len(c)} == {"near", "far", "top"}
    classes = [p.get("class") for p in root.iter(f"{SVG}path")]
    assert (classes.count("rack"), classes.count("wall"), classes.count("outline")) == (1, 1, 1)
    assert classes.count("next") == 2


def test_y_grows_upwards() -> None:
    """The gateway with the largest y is nearest to the top of the sheet, x as it is."""
    circles = {c[0].text: c for c in drawn(make_site()).iter(f"{SVG}circle") if len(c)}
    at = {name: (float(c.get("cx", "")), float(c.get("cy", ""))) for name, c in circles.items()}
    assert at["top"][1] < at["far"][1] < at["near"][1]
    assert at["near"][0] == at["top"][0] < at["far"][0]
    # 16 m between two gateways are as many pixels in y as 16 m are in x.
    across = (at["far"][0] - at["near"][0]) / 26
    assert abs((at["near"][1] - at["top"][1]) / 16 - across) < 0.02


def test_the_boxes_of_all_colours_cover_the_floor_once() -> None:
    """No cell inside is left out or coloured twice."""
    site = make_site()
    made = plan(site)
    colours = {colour for _, colour in STEPS}
    found = [
        box
        for part in drawn(site).iter(f"{SVG}path")
        if part.get("fill") in colours
        for box in boxes(part.get("d", ""))
    ]
    side = found[0][3] - 0.3
    cells = sum(round((wide - 0.3) / side) for _, _, wide, _ in found)
    inside = int(made.grid.inside.sum())
    # Besides those inside, the cells that the outline may cut.
    assert inside <= cells < inside + 2 * (20 + 30 + 20) / made.grid.cell_m + 20
    places = [
        (round(x + i * side), round(y))
        for x, y, wide, _ in found
        for i in range(round((wide - 0.3) / side))
    ]
    assert len(set(places)) == len(places)


def test_the_hatching_is_where_the_plan_is_dead() -> None:
    """All of it without gateways, none of it with many."""
    none = drawn(make_site(gateways=[]))
    many = [
        {"id": f"g{i}", "floor": "0", "position": [11 + 7 * (i % 5), 6 + 4.5 * (i // 5)]}
        for i in range(25)
    ]
    hatched = [p for p in none.iter(f"{SVG}path") if p.get("class") == "dead"]
    assert len(hatched) == 1
    enough = drawn(make_site(gateways=many))
    assert not any(p.get("class") == "dead" for p in enough.iter(f"{SVG}path"))
    assert "100 % dead" in " ".join(texts(none))
    assert " 0 % dead" in " ".join(texts(enough))


def test_crowded_gateways_go_without_their_ids() -> None:
    """Ids that would overlap are left out; pointing at the gateway still names it."""
    pair = [
        {"id": name, "floor": "0", "position": [20 + 0.1 * i, 10]}
        for i, name in enumerate(("left", "right"))
    ]
    root = drawn(make_site(gateways=pair))
    assert not {"left", "right"} & set(texts(root))
    assert {"left", "right"} <= {part.text for part in root.iter(f"{SVG}title")}


words = st.text(st.characters(categories=["L", "N", "P", "S", "Zs", "Cc"]), min_size=1, max_size=30)


@settings(max_examples=25, deadline=None)
@given(name=words, floor=words)
def test_any_words_make_a_well_formed_picture(name: str, floor: str) -> None:
    """Angle brackets, quotes and control characters included; nothing of them is markup."""
    site = make_site(name=name, floors=[FLOOR | {"name": floor}])
    root = drawn(site)
    assert {part.tag.removeprefix(SVG) for part in root.iter()} <= {
        "svg", "title", "desc", "style", "defs", "pattern", "clipPath", "path", "rect", "g",
        "text", "circle",
    }  # fmt: skip


def test_a_name_is_words_and_not_markup() -> None:
    """A script in a site's name is shown, not run."""
    root = drawn(make_site(name="<script>alert(1)</script> & co"))
    assert any("<script>alert(1)</script> & co" in text for text in texts(root))
    assert not list(root.iter(f"{SVG}script"))


def test_file_names_are_plain_and_none_stands_twice() -> None:
    """Floor ids may hold anything; capital and small letters may be one to a file system."""
    ids = ["0", "a/b", "a b", "A_B", "../../etc", "\u00e9tage"]
    floors = [FLOOR | {"id": name, "level": level} for level, name in enumerate(ids)]
    site = make_site(floors=floors)
    assert file_names(site) == [
        "plan-0.svg",
        "plan-a_b.svg",
        "plan-a_b-2.svg",
        "plan-A_B-3.svg",
        "plan-.._.._etc.svg",
        "plan-_tage.svg",
    ]


def test_each_floor_has_its_own_things() -> None:
    """Gateways and racks of other floors are not drawn; an empty floor is."""
    floors = [FLOOR, FLOOR | {"id": "1", "name": "gallery", "level": 1}]
    root = drawn(make_site(floors=floors), 1)
    assert not {"near", "far", "top"} & set(texts(root))
    assert any(text.startswith("test, gallery") for text in texts(root))
    assert any(text.startswith("0 gateways:") for text in texts(root))
    assert not any(p.get("class") == "rack" for p in root.iter(f"{SVG}path"))


def test_the_same_plan_gives_the_same_bytes() -> None:
    """No clock and no dice."""
    assert picture(make_site(), plan(make_site()), 0) == picture(make_site(), plan(make_site()), 0)
