"""New landmarks on the page: groups of photos are named, put aside, put off; what that undoes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import page_browser
from tests.support.page_browser import BROWSER, opened, ready
from tests.support.page_checks import axe, small_targets, too_wide
from tests.support.page_discoveries import DISCOVERIES, group, reply, suggested
from tests.support.page_gallery import Asked
from tests.support.page_world import World
from whichlandmark.serving.discoveries import DecidedReply, DiscoveriesReply
from whichlandmark.serving.openapi import model_of

pytestmark = BROWSER
browser = pytest.fixture(scope="module")(page_browser.chromium)
world = pytest.fixture(page_browser.small_world)
address = pytest.fixture(page_browser.serving)

KNOWN = "cathedral_of_velras"
LONG = "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch"


def groups() -> list[dict[str, Any]]:
    return [
        group(1, 14, suggestion=suggested("Sainte-Chapelle"), latitude=48.8554, longitude=2.345),
        group(2, 5),
        group(3, 3, suggestion=suggested("Cathedral of Velras", KNOWN), lost=["IMG_3001.jpg"]),
    ]


@pytest.fixture
def page(browser: Browser, address: str, world: World) -> Iterator[Page]:
    world.discoveries += groups()
    with opened(browser, f"{address}/#gallery") as (page, _):
        ready(page)
        page.get_by_role("link", name="New landmarks (3)").click()
        page.locator(".discovery").nth(2).wait_for()
        yield page


def item(page: Page, number: int) -> Any:
    return page.locator(f'[data-group="g-{number}"]')


@pytest.mark.server
def test_the_stub_server_answers_as_the_real_one(world: World) -> None:
    world.discoveries += groups()
    listed = reply(world, Asked("GET", DISCOVERIES, {}, b"", ""))
    model_of(DiscoveriesReply).model_validate(listed)
    for given in ({"action": "name", "landmark": "x", "version": "v-3"}, {"action": "reopen"}):
        asked = Asked("POST", f"{DISCOVERIES}/g-3", {}, json.dumps(given).encode(), "")
        model_of(DecidedReply).model_validate(reply(world, asked))


def test_a_group_is_named_as_suggested_and_undone(page: Page, world: World) -> None:
    expect(page.locator("#discoveries-title")).to_be_focused()
    expect(page).to_have_title("New landmarks – Drawn world")
    first = item(page, 1)
    expect(first.get_by_role("heading")).to_have_text("14 photos of one place")
    expect(first).to_contain_text("Perhaps Sainte-Chapelle")
    expect(first).to_contain_text("Paris, France")
    expect(first).to_contain_text("It is where the photos were taken.")
    expect(first.get_by_role("link", name="48.8554° N, 2.3450° E")).to_have_attribute(
        "href", "https://www.openstreetmap.org/?mlat=48.8554&mlon=2.345#map=16/48.8554/2.345"
    )
    first.get_by_label("IMG_1001.jpg belongs to it").uncheck()
    first.get_by_role("button", name="Show all 14 photos").click()
    expect(first.get_by_role("button", name="IMG_1012.jpg: show it large")).to_be_focused()
    first.get_by_label("IMG_1013.jpg belongs to it").uncheck()
    expect(first).to_contain_text("2 photos are left out.")
    first.get_by_role("button", name="Name it “Sainte-Chapelle”").click()
    done = page.locator(".decided")
    expect(done).to_contain_text("12 photos were added to “Sainte-Chapelle”.")
    assert len(world.landmarks["Sainte-Chapelle"]) == 12
    assert "library/IMG_1001.jpg" not in world.landmarks["Sainte-Chapelle"]
    expect(item(page, 2).get_by_role("heading")).to_be_focused()
    expect(page.locator("#to-discoveries")).to_have_text("New landmarks (2)")
    page.keyboard.press("Control+z")
    expect(page.locator(".toast")).to_contain_text("The group is to be named again.")
    expect(page.locator(".discovery")).to_have_count(3)
    expect(page.locator("#discoveries-count")).to_have_text("3 groups")
    assert "Sainte-Chapelle" not in world.landmarks
    item(page, 2).get_by_label("IMG_2003.jpg belongs to it").uncheck()
    page.get_by_role("button", name="Name it “Sainte-Chapelle”").click()
    done.get_by_role("link", name="See it in the gallery").click()
    expect(page.locator("#landmark-title")).to_have_text("Sainte-Chapelle")
    page.keyboard.press("Escape")
    done.get_by_role("button", name="Undo").click()
    expect(item(page, 1).get_by_role("heading")).to_be_focused()
    expect(item(page, 1).locator(".group-photos li")).to_have_count(14)
    expect(page.locator("#to-discoveries")).to_have_text("New landmarks (3)")
    expect(page.locator(".toast")).to_have_count(0)
    expect(item(page, 2)).to_contain_text("1 photo is left out.")  # what was begun there stays


def test_a_group_is_named_by_hand_or_joins_a_landmark(page: Page, world: World) -> None:
    item(page, 2).get_by_role("button", name="Name it…").click()
    expect(page.locator("#pick")).to_contain_text("Type its name: a new one")
    page.fill("#pick-name", "Harbour Bridge")
    page.get_by_role("button", name="New landmark “Harbour Bridge”").click()
    expect(page.locator(".decided")).to_contain_text("5 photos were added to “Harbour Bridge”.")
    expect(item(page, 3).get_by_role("heading")).to_be_focused()

    before = len(world.landmarks[KNOWN])
    item(page, 3).get_by_role("button", name="Add to “Cathedral of Velras”").click()
    told = page.locator(".decided").last
    expect(told).to_contain_text("2 photos were added to “Cathedral of Velras”.")
    expect(told).to_contain_text("1 photo is not where it was found any more: IMG_3001.jpg.")
    assert len(world.landmarks[KNOWN]) == before + 2

    page.locator("#discoveries-state").select_option("Named")
    expect(page.locator(".discovery")).to_have_count(2)
    expect(item(page, 2)).to_contain_text("Named Harbour Bridge")
    item(page, 2).get_by_role("button", name="Take it back").click()
    expect(page.locator("#confirm-words")).to_contain_text("“Harbour Bridge” leave the gallery")
    page.click("#confirm-yes")
    expect(page.locator(".discovery")).to_have_count(1)
    assert "Harbour Bridge" not in world.landmarks


def test_groups_are_dismissed_put_off_and_all_done(page: Page, world: World) -> None:
    item(page, 1).get_by_role("button", name="Not now").click()
    expect(item(page, 1)).to_be_hidden()
    expect(item(page, 2).get_by_role("heading")).to_be_focused()
    for number in (2, 3):
        item(page, number).get_by_role("button", name="Not a landmark").click()
        expect(item(page, number)).to_contain_text("It was noted that this is not a landmark.")
    expect(page.locator("#discoveries-title")).to_be_focused()
    expect(page.locator("#discoveries-more")).to_contain_text("1 group is put off.")
    page.get_by_role("button", name="Show them").click()
    expect(item(page, 1).get_by_role("heading")).to_be_focused()

    first = item(page, 1)
    first.get_by_role("button", name="Show all 14 photos").click()
    for number in range(14):
        first.locator("input").nth(number).uncheck()
    first.get_by_role("button", name="Name it").click()
    expect(first.locator(".problem")).to_contain_text("Every photo is left out.")
    first.get_by_role("button", name="Not a landmark").click()
    expect(page.locator("#discoveries-empty")).to_contain_text("There is no group to name.")
    expect(page.locator("#discoveries-empty code")).to_contain_text("whichlandmark discover")
    page.locator("#discoveries-state").select_option("Not landmarks")
    item(page, 3).get_by_role("button", name="Ask about it again").click()
    expect(page.locator(".discovery")).to_have_count(2)
    assert [one["state"] for one in world.discoveries] == ["dismissed", "dismissed", "open"]


# Whether a click on the next group, at the moment when it gets the focus, would press its button.
PRESSED = """() => addEventListener("focusin", ({ target }) => {
  const button = target.closest(".discovery:not(.decided)")?.querySelector("button");
  if (!button || target === button) return;
  const { x, y } = button.getBoundingClientRect();
  globalThis.pressed = button.contains(document.elementFromPoint(x + 9, y + 9));
})"""


def test_the_second_of_two_clicks_decides_nothing(page: Page, world: World) -> None:
    page.set_viewport_size({"width": 1000, "height": 2000})
    page.evaluate(PRESSED)
    item(page, 1).get_by_role("button", name="Not a landmark").dblclick()
    expect(item(page, 2).get_by_role("heading")).to_be_focused()
    assert page.evaluate("globalThis.pressed") is False
    item(page, 2).get_by_role("button", name="Not a landmark").click()
    expect(page.locator(".decided")).to_have_count(2)
    assert [one["state"] for one in world.discoveries] == ["dismissed", "dismissed", "open"]


def test_what_somebody_else_has_changed_meanwhile_is_said(page: Page, world: World) -> None:
    world.discoveries[0]["version"] = "v-new"
    world.discoveries[1]["state"] = "named"
    for number, words in ((1, "This group has other photos by now."),
                          (2, "Somebody else has named this group already.")):  # fmt: skip
        item(page, number).get_by_role("button", name="Another name…").or_(
            item(page, number).get_by_role("button", name="Name it…")
        ).click()
        page.fill("#pick-name", "Pier")
        page.get_by_role("button", name="New landmark “Pier”").click()
        expect(item(page, number).locator(".problem")).to_contain_text(words)
        expect(item(page, number).get_by_role("button", name="Not now")).to_be_enabled()
    assert "Pier" not in world.landmarks


def test_the_view_needs_the_right_to_write_and_tells_how_to_find_groups(
    browser: Browser, address: str, world: World
) -> None:
    with opened(browser, f"{address}/#gallery") as (page, _):
        page.locator("#landmarks .card").first.wait_for()
        expect(page.locator("#to-discoveries")).to_be_hidden()
        page.goto(f"{address}/#discoveries")
        expect(page.locator("#discoveries-empty")).to_contain_text("run this on the computer")
    world.write_key = "writes"
    world.discoveries += groups()
    with opened(browser, f"{address}/#discoveries") as (page, _):
        expect(page.locator("#key")).to_contain_text("Changes need a key")
        page.fill("#key-value", "writes")
        page.keyboard.press("Enter")
        expect(page.locator(".discovery")).to_have_count(3)
        expect(item(page, 2).locator("img").first).to_have_js_property("complete", True)


def test_many_groups_come_in_pages_and_a_failure_is_told(
    browser: Browser, address: str, world: World
) -> None:
    world.discoveries += [group(number, 20 - number) for number in range(1, 13)]
    world.down = True
    with opened(browser, f"{address}/#discoveries") as (page, _):
        expect(page.locator("#discoveries-empty")).to_contain_text("more to do than it can at once")
        world.down = False
        page.get_by_role("button", name="Try again").click()
        expect(page.locator(".discovery")).to_have_count(10)
        item(page, 1).get_by_role("button", name="Not a landmark").click()
        page.get_by_role("button", name="Show 2 more").click()
        expect(page.locator(".discovery")).to_have_count(12)
        expect(item(page, 11).get_by_role("button", name="Name it…")).to_be_focused()
        expect(page.locator("#discoveries-more button")).to_have_count(0)


@pytest.mark.parametrize(
    ("width", "scheme", "locale"), [(1440, "light", "en"), (390, "dark", "fr")]
)
def test_groups_suit_every_screen_and_reader(
    browser: Browser, world: World, address: str, width: int, scheme: Any, locale: str
) -> None:
    world.discoveries += [*groups(), group(4, 60, suggestion=suggested(f"{LONG} {LONG}"))]
    size = {"width": width, "height": 844}
    options: dict[str, Any] = {"viewport": size, "color_scheme": scheme, "locale": locale}
    with opened(browser, f"{address}/#discoveries", axe=True, **options) as (page, _):
        page.locator(".discovery").nth(3).wait_for()
        page.locator(".group-photos input").first.uncheck()
        assert axe(page) == []
        assert small_targets(page) == []
        assert too_wide(page) == []
        page.locator(".group-photos .open-photo").first.click()
        expect(page.locator(".large img")).to_have_attribute("alt", "IMG_4000.jpg")
        page.keyboard.press("Escape")
        item(page, 4).locator("button.main").click()
        page.locator(".decided").wait_for()
        assert axe(page) == []
        assert too_wide(page) == []
