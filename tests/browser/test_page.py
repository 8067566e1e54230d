"""The page in a real browser, over the real dashboard and store."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from datetime import datetime
from io import BytesIO
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from stream.site import Site, Trackable
from tests.support.browser import DESKTOP, Dashboard, Window, windows
from tests.support.feeder import SUSPECT_TEXT, UNASSIGNED, Feeder
from tests.support.processes import until

pytestmark = pytest.mark.browser

STALE_WITHIN_MS: Final = 8_000


def api(dashboard: Dashboard, path: str) -> Any:
    """An answer of the API."""
    with urllib.request.urlopen(f"{dashboard.url}api/v1/{path}", timeout=10) as answer:  # noqa: S310  # our own server
        return json.load(answer)


def choose_by_search(page: Page, text: str) -> None:
    """Finds something with the keyboard alone."""
    page.keyboard.press("/")
    page.keyboard.type(text)
    expect(page.get_by_role("option").first).to_contain_text(text)
    page.keyboard.press("Enter")


def card(page: Page) -> Any:
    """What is chosen."""
    return page.locator(".card")


def test_tags_move_on_the_map_while_the_feed_runs(window: Window, feeder: Feeder) -> None:
    """Frames arrive and the picture changes with them; without them it stands still."""
    window.open()
    first, before = window.sequence(), window.picture()
    until(lambda: window.sequence() >= first + 2, "two more frames are drawn")
    assert window.picture() != before
    assert int(window.page.locator(".map").get_attribute("data-drawn") or 0) > 10

    feeder.pause()
    expect(window.page.locator(".map")).to_have_attribute(
        "data-stale", "true", timeout=STALE_WITHIN_MS
    )
    until(lambda: window.picture() == window.picture(), "the picture stands still")


def test_all_requests_stay_on_our_own_server(window: Window) -> None:
    """The page, its parts, the API and the feed come from one place, by HTTP and WebSocket."""
    page = window.open()
    for tab in ("Zones", "Gateways", "Beacons", "Things"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_load_state("networkidle")
    kinds = {re.sub(r"[-_A-Za-z0-9]+\.(js|css|svg)$", r"*.\1", url) for url in window.requests}
    assert any(url.startswith("ws://") for url in kinds)
    assert any(url.endswith("*.js") for url in kinds)
    assert any("/api/v1/beacons/unassigned" in url for url in kinds)
    foreign = [url for url in window.requests if not re.match(r"(http|ws)://127\.0\.0\.1:", url)]
    assert not foreign


def test_search_flies_to_a_thing_and_follows_it(window: Window, site: Site) -> None:
    """`/` focuses the box, Enter brings the thing to the middle of the map, list and address."""
    page = window.open()
    before = window.floor()
    picker = next(part for part in site.trackables if part.kind == "picker")
    choose_by_search(page, picker.name)
    expect(card(page).get_by_role("heading")).to_have_text(picker.name)
    expect(card(page).get_by_role("button", name="Following")).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(page.locator(".row[aria-current=true]")).to_contain_text(picker.name)
    assert f"thing={picker.id}" in page.url
    until(lambda: accent_in_the_middle(page), "the thing is in the middle of the map")
    assert window.floor() != before


def accent_in_the_middle(page: Page) -> bool:
    """Whether the middle of the map shows the colour of what is chosen."""
    box = page.locator(".map").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    clip = {"x": x - 25, "y": y - 25, "width": 50, "height": 50}
    return count_pixels(page, page.screenshot(clip=clip), (10, 91, 184)) > 20  # type: ignore[arg-type]  # a plain dict is what it takes


def count_pixels(page: Page, png: bytes, colour: tuple[int, int, int]) -> int:
    """How many pixels have about this colour; the browser itself reads the PNG."""
    script = """async ([bytes, r, g, b]) => {
        const picture = await createImageBitmap(new Blob([new Uint8Array(bytes)]));
        const canvas = new OffscreenCanvas(picture.width, picture.height);
        const context = canvas.getContext("2d");
        context.drawImage(picture, 0, 0);
        const { data } = context.getImageData(0, 0, picture.width, picture.height);
        let found = 0;
        for (let i = 0; i < data.length; i += 4) {
            const far = Math.abs(data[i] - r) + Math.abs(data[i+1] - g) + Math.abs(data[i+2] - b);
            if (far < 24) found++;
        }
        return found;
    }"""
    return int(page.evaluate(script, [list(BytesIO(png).getvalue()), *colour]))


def test_what_is_in_the_middle_can_be_chosen_on_the_map(window: Window, site: Site) -> None:
    """A click on a tag chooses it in the list too; Escape clears the choice everywhere."""
    page = window.open()
    item = next(part for part in site.trackables if part.kind == "item")
    choose_by_search(page, item.name)
    until(lambda: accent_in_the_middle(page), "the item is in the middle of the map")
    window.settle()
    page.locator(".map").press("Escape")
    expect(card(page)).to_have_count(0)
    assert "thing=" not in page.url
    page.locator(".map").click()
    expect(card(page).get_by_role("heading")).to_have_text(re.compile(r"\w"))
    chosen = card(page).get_by_role("heading").inner_text()
    expect(page.locator(".row[aria-current=true]")).to_contain_text(chosen)


def test_the_address_brings_floor_and_choice_back(window: Window, site: Site) -> None:
    """A link to a gateway on the upper floor opens that floor with the gateway chosen."""
    upper = next(place for place in site.gateways if place.floor == site.floors[1].id)
    page = window.open(f"?gateway={upper.id}")
    floor = page.get_by_role("group", name="Floor").get_by_role(
        "button", name=site.floors[1].name, exact=True
    )
    expect(floor).to_have_attribute("aria-pressed", "true")
    expect(card(page).get_by_role("heading")).to_have_text(upper.id)
    expect(card(page)).to_contain_text("its readings arrive")
    assert f"floor={site.floors[1].id}" in page.url


def test_the_keyboard_pans_zooms_and_fits(window: Window) -> None:
    """Arrows and signs change the floor's picture; 0 brings the first one back."""
    page = window.open("?floor=0")
    page.emulate_media(reduced_motion="reduce")
    # Zones show how many are in them, which changes by itself.
    page.get_by_role("button", name="Layers").click()
    page.get_by_role("checkbox", name="Zones").uncheck()
    page.locator(".map").focus()
    window.settle()
    start = window.floor()
    seen = [start]
    for key in ("+", "ArrowRight", "ArrowDown", "-"):
        page.keyboard.press(key)
        until(lambda: window.floor() != seen[-1], f"{key} changes the picture")
        seen.append(window.floor())
    page.keyboard.press("0")
    until(lambda: window.floor() == start, "0 shows the whole floor as at first")


def test_the_pointer_pans_and_the_wheel_zooms(window: Window) -> None:
    """Dragging moves the floor and ends following; the wheel zooms."""
    page = window.open("?floor=0")
    before = window.floor()
    page.mouse.move(400, 400)
    page.mouse.down()
    page.mouse.move(300, 330, steps=5)
    page.mouse.up()
    until(lambda: window.floor() != before, "dragging moves the floor")
    before = window.floor()
    page.mouse.wheel(0, -300)
    until(lambda: window.floor() != before, "the wheel zooms")


def test_the_lost_are_ghosts_at_their_last_place(
    window: Window, dashboard: Dashboard, site: Site, silent: list[Trackable]
) -> None:
    """Apart from what is there in figures and list, hollow on the map, found by the search."""
    page = window.open()
    everything = len(api(dashboard, "site")["trackables"])
    located = page.locator(".figures-row dd").first
    expect(located).to_contain_text(f"{everything - len(silent)} of {everything}")
    heading = page.get_by_role("heading", name="Lost: where they were last")
    page.locator(".window").evaluate("list => list.scrollTo(0, list.scrollHeight)")
    expect(heading).to_be_visible()
    rows = page.locator(".row", has_text="Lost since")
    expect(rows).to_have_count(len(silent))
    assert heading.evaluate(
        "(heading, row) => heading.getBoundingClientRect().top < row.getBoundingClientRect().top",
        rows.first.element_handle(),
    )
    # By the search, which knows it as well.
    picker = silent[0]
    page.keyboard.press("/")
    page.keyboard.type(picker.name)
    expect(page.get_by_role("option").first).to_contain_text("lost since")
    page.keyboard.press("Enter")
    last = api(dashboard, f"trackables/{picker.id}")["position"]
    assert last["lost"]
    assert last["age_s"] > 1_800.0
    clock = datetime.fromtimestamp(last["t"], ZoneInfo(site.timezone)).strftime("%H:%M")
    expect(card(page).locator(".alarm")).to_contain_text(f"{clock}. No gateway has heard it for 3")
    expect(card(page)).to_contain_text(f"{last['x']:.1f}, {last['y']:.1f} m")
    # On the map until they are hidden; hidden they are in no list either.
    drawn = page.locator(".map")
    page.keyboard.press("0")
    window.settle()
    until(lambda: int(drawn.get_attribute("data-lost") or 0) >= 1, "ghosts are on the map")
    ghosts = int(drawn.get_attribute("data-lost") or 0)
    chip = page.get_by_role("button", name=f"Lost {len(silent)}")
    chip.click()
    until(lambda: int(drawn.get_attribute("data-lost") or -1) == 0, "ghosts leave the map")
    expect(page.locator(".row", has_text="Lost since")).to_have_count(0)
    expect(heading).to_have_count(0)
    chip.click()
    until(lambda: int(drawn.get_attribute("data-lost") or 0) == ghosts, "ghosts come back")


def test_a_suspect_gateway_is_named_with_its_reason(window: Window, site: Site) -> None:
    """In the list before all that is well, and in its card as a sentence with the figures."""
    page = window.open()
    page.get_by_role("tab", name="Gateways").click()
    suspect = site.gateways[4].id
    # The offline one and the late one come first.
    third = page.get_by_role("list", name="Gateways").get_by_role("listitem").nth(2)
    expect(third).to_contain_text(suspect)
    expect(third).to_contain_text("Hears less than it should. Online")
    expect(page.locator(".warns")).to_have_count(1)
    third.get_by_role("button").click()
    alarm = card(page).locator(".alarm")
    expect(alarm).to_have_text(f"Hears less than it should. {suspect} {SUSPECT_TEXT}.")
    expect(card(page)).to_contain_text("−6.2 dB")
    expect(card(page)).to_contain_text("31 %")
    page.locator(".row", has_text=site.gateways[5].id).click()
    expect(card(page).get_by_role("heading")).to_have_text(site.gateways[5].id)
    expect(alarm).to_have_count(0)
    expect(card(page)).to_contain_text("+0.4 dB")


def test_the_radio_model_is_named_beside_the_gateways(window: Window) -> None:
    """What it is from, its version, and what the site has fitted itself."""
    page = window.open()
    page.get_by_role("tab", name="Gateways").click()
    expect(page.locator(".radio-model")).to_have_text(
        "Radio model: from the daily work, version 0. 5 fits made, 3 adopted."
    )


def test_a_banner_says_when_positions_stop_coming(window: Window, feeder: Feeder) -> None:
    """It comes within seconds, says since when, and goes when positions come again."""
    page = window.open()
    banner = page.locator(".banner")
    expect(banner).not_to_be_visible()
    feeder.pause()
    expect(banner).to_be_visible(timeout=STALE_WITHIN_MS)
    expect(banner).to_contain_text("No positions are coming in.")
    expect(banner).to_contain_text(re.compile(r"Last update \d\d:\d\d:\d\d, \d+ s ago"))
    expect(page.locator(".feed")).to_contain_text("Stale")
    feeder.go_on()
    expect(banner).not_to_be_visible()
    expect(page.locator(".feed")).to_contain_text("Live")


def test_the_page_finds_its_way_back_to_a_restarted_dashboard(
    browser: Browser, dashboard: Dashboard, feeder: Feeder
) -> None:
    """With the server gone it says so and keeps what it knows; with the server back it is live."""
    feeder.go_on()
    with windows(browser, dashboard.url) as window:
        page = window.open()
        dashboard.stop()
        try:
            banner = page.locator(".banner")
            expect(banner).to_be_visible(timeout=STALE_WITHIN_MS)
            expect(banner).to_contain_text("The connection is lost")
            assert int(page.locator(".map").get_attribute("data-drawn") or 0) > 10
        finally:
            dashboard.start()
        expect(banner).not_to_be_visible(timeout=20_000)
        expect(page.locator(".feed")).to_contain_text("Live")
        strange = [fault for fault in window.faults if "ERR_CONNECTION" not in fault]
        assert not strange


def test_an_unassigned_beacon_can_be_adopted(
    window: Window, dashboard: Dashboard, site: Site
) -> None:
    """The form makes a trackable of it, which then is in the lists and on the map."""
    page = window.open()
    page.get_by_role("tab", name="Beacons").click()
    beacon = UNASSIGNED[0]
    page.get_by_role("button", name=f"Adopt {beacon}").click()
    page.get_by_role("textbox", name="Name").fill("Pump 7")
    page.get_by_role("textbox", name="SKU").fill("4711")
    page.get_by_role("button", name="Adopt this beacon").click()
    expect(card(page).get_by_role("heading")).to_have_text("Pump 7")
    expect(page.locator(".notice")).to_contain_text("Pump 7")
    expect(page.get_by_role("button", name=f"Adopt {beacon}")).to_have_count(0)
    # The feeder locates what the new version of the site holds; the page then follows it.
    expect(card(page)).to_contain_text("Last seen")
    made = api(dashboard, "trackables?q=Pump")["trackables"]
    assert [(part["kind"], part["sku"], part["beacons"]) for part in made] == [
        ("item", "4711", [beacon])
    ]
    assert len(api(dashboard, "site")["trackables"]) == len(site.trackables) + 1


def test_a_beacon_that_somebody_else_adopted_is_refused_with_a_sentence(
    browser: Browser, dashboard: Dashboard, feeder: Feeder
) -> None:
    """The form stays open and says whose the beacon is."""
    feeder.go_on()
    beacon = UNASSIGNED[1]
    with windows(browser, dashboard.url) as window:
        page = window.open()
        page.get_by_role("tab", name="Beacons").click()
        page.get_by_role("button", name=f"Adopt {beacon}").click()
        page.get_by_role("textbox", name="Name").fill("Mine")
        body = json.dumps({"name": "Theirs", "kind": "cart", "beacons": [beacon]}).encode()
        request = urllib.request.Request(  # noqa: S310  # our own server
            f"{dashboard.url}api/v1/trackables", body, {"Content-Type": "application/json"}
        )
        # Held back, so that the list does not renew itself between the two.
        page.route("**/beacons/unassigned", lambda route: route.abort())
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310  # our own server
        page.get_by_role("button", name="Adopt this beacon").click()
        expect(page.get_by_role("alert")).to_contain_text("already belongs to trackable `theirs`")


def test_kinds_can_be_hidden_in_list_and_map(window: Window) -> None:
    """A chip takes its kind out of both, and brings it back."""
    page = window.open("?floor=0")
    drawn = page.locator(".map")
    count = int(drawn.get_attribute("data-drawn") or 0)
    chip = page.get_by_role("group", name="Kinds shown").get_by_role("button", name="Items")
    chip.click()
    until(lambda: int(drawn.get_attribute("data-drawn") or 0) < count, "items leave the map")
    expect(chip).to_have_attribute("aria-pressed", "false")
    expect(page.get_by_role("list", name="Things").get_by_role("listitem").last).to_have_attribute(
        "aria-setsize", re.compile(r"^\d$")
    )
    chip.click()
    until(lambda: int(drawn.get_attribute("data-drawn") or 0) >= count, "items come back")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    browser: Browser, dashboard: Dashboard, feeder: Feeder, scheme: str
) -> None:
    """In each tab, with something chosen, with a form open, with menus and the banner shown."""
    feeder.go_on()
    found: dict[str, list[str]] = {}
    with windows(browser, dashboard.url, color_scheme=scheme) as window:
        page = window.open()

        def look(where: str) -> None:
            results = Axe().run(page)
            serious = [
                f"{rule['id']}: {rule['nodes'][0]['html'][:200]}: "
                f"{rule['nodes'][0].get('failureSummary', '')[:200]}"
                for rule in results.response["violations"]
                if rule["impact"] in ("serious", "critical")
            ]
            if serious:
                found[where] = serious

        page.locator(".row").first.click()
        expect(card(page)).to_be_visible()
        look("things")
        page.locator(".window").evaluate("list => list.scrollTo(0, list.scrollHeight)")
        page.locator(".row", has_text="Lost since").first.click()
        expect(card(page).locator(".alarm")).to_be_visible()
        look("lost")
        page.get_by_role("button", name="Layers").click()
        for tab in ("Zones", "Gateways", "Beacons"):
            page.get_by_role("tab", name=tab).click()
            page.locator(".row").first.wait_for()
            look(tab)
            if tab == "Gateways":
                page.locator(".row", has=page.locator(".warns")).click()
                expect(card(page).locator(".alarm")).to_be_visible()
                look("suspect")
        page.get_by_role("button", name=f"Adopt {UNASSIGNED[2]}").click()
        look("form")
        page.keyboard.press("Escape")
        page.keyboard.press("/")
        page.keyboard.type("a")
        page.get_by_role("option").first.wait_for()
        look("search")
        feeder.pause()
        expect(page.locator(".banner")).to_be_visible(timeout=STALE_WITHIN_MS)
        look("banner")
    assert not found, json.dumps(found, indent=1)


@pytest.mark.parametrize(("width", "height"), [(390, 844), (768, 1024)])
def test_narrow_screens_have_the_list_below_the_map(
    browser: Browser, dashboard: Dashboard, feeder: Feeder, width: int, height: int
) -> None:
    """Nothing sticks out, map and list both have room, and a tap chooses."""
    feeder.go_on()
    settings = {"viewport": {"width": width, "height": height}, "has_touch": True}
    with windows(browser, dashboard.url, **settings) as window:
        page = window.open()
        map_box = page.locator(".map").bounding_box()
        panel_box = page.locator(".panel").bounding_box()
        assert map_box is not None
        assert panel_box is not None
        assert panel_box["y"] >= map_box["y"] + map_box["height"] - 1
        assert map_box["height"] > 0.3 * height
        assert panel_box["height"] > 0.3 * height
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator(".row").first.tap()
        expect(card(page)).to_be_visible()
        assert not window.faults


def test_motion_can_be_reduced(browser: Browser, dashboard: Dashboard, feeder: Feeder) -> None:
    """Who asks for less motion gets flights that are over at once, and the feed all the same."""
    feeder.go_on()
    with windows(browser, dashboard.url, reduced_motion="reduce") as window:
        page = window.open()
        first = window.sequence()
        page.locator(".row").first.click()
        until(lambda: accent_in_the_middle(page), "the thing is in the middle")
        until(lambda: window.sequence() > first + 1, "frames go on")
        assert not window.faults


def test_the_window_is_used_to_its_edges(window: Window) -> None:
    """On a desktop the map and the panel fill the window, and only lists scroll."""
    page = window.open()
    width, height = DESKTOP
    size = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    )
    assert size == [width, height]


def test_a_page_opened_on_a_feed_that_has_stopped_tells_how_old_it_is(
    browser: Browser, dashboard: Dashboard, feeder: Feeder
) -> None:
    """Ages count from the last update, not from when the page was opened; a restart is no news."""
    feeder.go_on()
    until(lambda: len(api(dashboard, "trackables?limit=1")["trackables"]) == 1, "things are known")
    feeder.pause()
    began = time.time()
    until(lambda: time.time() - began > 6.0, "the last update is old", 10.0)
    with windows(browser, dashboard.url) as window:
        page = window.open()
        banner = page.locator(".banner")
        expect(banner).to_be_visible(timeout=STALE_WITHIN_MS)
        said = re.search(r"Last update [\d:]+, (\d+) s ago", banner.inner_text())
        assert said is not None
        assert int(said[1]) >= 6
        oldest = page.locator(".row .age").first.inner_text()
        assert int(oldest.removesuffix(" s")) >= 6
        assert not window.faults
    feeder.go_on()
