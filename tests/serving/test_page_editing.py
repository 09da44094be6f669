"""Editing the gallery on the page: records, photos, undo, merging, and nothing lost in silence."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import page_browser
from tests.support.page_browser import (
    BROWSER,
    expect_hash,
    open_gallery,
    opened,
    photo,
    until,
)
from tests.support.page_world import World

pytestmark = BROWSER
browser = pytest.fixture(scope="module")(page_browser.chromium)
world = pytest.fixture(page_browser.small_world)
address = pytest.fixture(page_browser.serving)
FIRST, SECOND = "cathedral_of_velras", "tower_of_fenven"


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The first landmark, open."""
    with opened(browser, f"{address}/#gallery/{FIRST}") as (page, _):
        page.locator(".photos li").nth(4).wait_for()
        yield page


def edit(page: Page) -> None:
    page.get_by_role("button", name="Edit", exact=True).click()
    expect(page.locator("#edit-label")).to_have_value(FIRST)


def undo(page: Page) -> None:
    page.locator(".toast").last.get_by_role("button", name="Undo").click()


# ——— the record


def test_a_record_is_edited_in_one_request(page: Page, world: World) -> None:
    edit(page)
    expect(page.locator("#edit-name")).to_have_value("Cathedral of Velras")
    expect(page.locator("#edit-place")).to_have_value("26.9239, 75.8267")
    page.fill("#edit-name", "Hawa Mahal")
    page.fill("#edit-place", "26.5° S, 75,25")
    page.fill("#edit-wikidata", "https://www.wikidata.org/wiki/q42")
    page.fill("#edit-city", " Jaipur ")
    page.fill("#edit-country", "India")
    page.fill("#edit-country-code", "in")
    page.fill("#edit-source", "https://example.org/hawa")
    page.get_by_role("button", name="Add a name").click()
    row = page.locator("#edit-names li").last
    row.get_by_label("Language").fill("German")
    row.get_by_label("Name", exact=True).fill("Palast der Winde")
    page.get_by_label("Name in Arabic").fill("")
    page.get_by_label("Name in Arabic").locator("xpath=ancestor::li").get_by_role("button").click()
    page.click("#edit-save")
    expect(page.locator("#landmark-title")).to_have_text("Hawa Mahal")
    expect(page.locator(".toast")).to_contain_text("“Hawa Mahal” was saved.")
    expect(page.locator("#landmark-title")).to_be_focused()
    record = world.record(FIRST)
    assert record["latitude"] == -26.5
    assert record["longitude"] == 75.25
    assert record["wikidata"] == "Q42"
    assert (record["city"], record["country"], record["country_code"]) == ("Jaipur", "India", "IN")
    expect(page.locator("#landmark-body .town")).to_have_text("Jaipur, India")
    assert record["source"] == "https://example.org/hawa"
    assert record["names"]["de"] == "Palast der Winde"
    assert "ar" not in record["names"]
    assert record["names"]["hi"] == "हवा महल"
    assert world.requests.count(f"PATCH /v1/landmarks/{FIRST}") == 1


def test_what_is_used_after_a_save_keeps_the_focus(page: Page) -> None:
    """Also where the server takes its time to say what is stored."""
    held: list[Any] = []
    page.route(f"**/v1/landmarks/{FIRST}?*", lambda route: held.append(route))
    edit(page)
    page.fill("#edit-name", "Hawa Mahal")
    page.click("#edit-save")
    expect(page.locator("#landmark-title")).to_have_text("Hawa Mahal")
    expect(page.locator("#landmark-title")).to_be_focused()
    again = page.get_by_role("button", name="Edit", exact=True)
    again.focus()
    until(page, lambda: held)
    with page.expect_response(f"**/v1/landmarks/{FIRST}/photos?*"):
        for route in held:
            route.continue_()
    expect(page.locator(".photos li")).to_have_count(5)
    expect(again).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#edit-name")).to_have_value("Hawa Mahal")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("#edit-place", "somewhere", "Enter two numbers such as 48.8584, 2.2945"),
        ("#edit-place", "91, 10", "Enter two numbers such as 48.8584, 2.2945"),
        ("#edit-wikidata", "243", "A Wikidata number is a Q and digits"),
        ("#edit-country-code", "FRA", "Enter two letters such as FR"),
        ("#edit-source", "example.org", "begins with https://"),
        ("#edit-label", " ", "Enter a short name."),
    ],
)
def test_a_wrong_value_is_said_at_its_field(
    page: Page, world: World, field: str, value: str, words: str
) -> None:
    edit(page)
    page.fill(field, value)
    page.click("#edit-save")
    expect(page.locator(f"{field}-fault")).to_contain_text(words)
    expect(page.locator(field)).to_be_focused()
    expect(page.locator(field)).to_have_attribute("aria-describedby", f"{field[1:]}-fault")
    expect(page.locator(field)).to_have_value(value)
    assert f"PATCH /v1/landmarks/{FIRST}" not in world.requests


@pytest.mark.parametrize(
    "text",
    ["https://www.openstreetmap.org/?mlat=48.85&mlon=2.29#map=16/48.85/2.29",
     "https://maps.example.org/@48.85,2.29,15z", "geo:48.85,2.29", "48.85 N 2.29 E"],
)  # fmt: skip
def test_a_place_may_be_the_address_of_a_map(page: Page, world: World, text: str) -> None:
    edit(page)
    page.fill("#edit-place", text)
    page.click("#edit-save")
    expect(page.locator("#edit")).to_be_hidden()
    assert (world.record(FIRST)["latitude"], world.record(FIRST)["longitude"]) == (48.85, 2.29)


def test_a_failed_save_keeps_what_was_typed(page: Page, world: World) -> None:
    edit(page)
    page.fill("#edit-name", "Hawa Mahal")
    world.down = True
    page.click("#edit-save")
    expect(page.locator("#edit-problem")).to_contain_text("The server has more to do")
    expect(page.locator("#edit-problem")).to_contain_text("What you typed is still here.")
    expect(page.locator("#edit-name")).to_have_value("Hawa Mahal")
    world.down = False
    page.click("#edit-save")
    expect(page.locator("#landmark-title")).to_have_text("Hawa Mahal")


def test_a_rename_changes_the_address(page: Page, world: World) -> None:
    edit(page)
    page.fill("#edit-label", "hawa_mahal")
    page.click("#edit-save")
    expect(page.locator("#edit")).to_be_hidden()
    expect_hash(page, "#gallery/hawa_mahal")
    expect(page.locator(".photos li")).to_have_count(5)
    assert "hawa_mahal" in world.landmarks
    assert FIRST not in world.landmarks


def test_a_rename_that_would_merge_asks_and_shows_both(page: Page, world: World) -> None:
    world.landmarks[SECOND] = world.landmarks[SECOND][:3]
    edit(page)
    page.fill("#edit-label", SECOND)
    page.click("#edit-save")
    expect(page.locator("#confirm-title")).to_have_text("Put the photos into “Tower of Fenven”?")
    expect(page.locator(".merged").nth(0)).to_contain_text("Cathedral of Velras 5 photos")
    expect(page.locator(".merged").nth(1)).to_contain_text("Tower of Fenven 3 photos")
    expect(page.locator(".merged").nth(1).locator("img")).to_have_count(3)
    page.click("#confirm-no")
    expect(page.locator("#edit-label")).to_have_value(SECOND)
    assert len(world.landmarks) == 6
    page.click("#edit-save")
    page.click("#confirm-yes")
    expect(page.locator("#landmark-title")).to_have_text("Tower of Fenven")
    expect(page.locator(".photos li")).to_have_count(8)
    assert FIRST not in world.landmarks


def test_a_change_by_somebody_else_is_not_overwritten_in_silence(
    page: Page, world: World, address: str
) -> None:
    edit(page)
    page.fill("#edit-name", "Mine")
    patch(address, {"title": "Theirs", "wikidata": "Q7"})
    page.click("#edit-save")
    expect(page.locator("#confirm-title")).to_have_text("Somebody else changed this, too")
    expect(page.locator("#confirm-extra")).to_have_text("Name Theirs")
    page.click("#confirm-no")
    expect(page.locator("#edit-name")).to_have_value("Mine")
    page.click("#edit-save")
    page.click("#confirm-yes")
    expect(page.locator("#landmark-title")).to_have_text("Mine")
    assert world.record(FIRST)["wikidata"] == "Q7"  # another field, which is kept


@pytest.mark.parametrize(
    ("message", "field"),
    [("landmark 'x': latitude 91.0; expected −90 to 90 degrees", "#edit-place"),
     ("landmark 'x': Wikidata id 'Q0'; expected Q and a number", "#edit-wikidata"),
     ("landmark 'x': a city of 1001 characters; at most 1000", "#edit-city"),
     ("landmark 'x': a country of 1001 characters; at most 1000", "#edit-country"),
     ("landmark 'x': country code 'fr'; expected two capital letters", "#edit-country-code"),
     ("country_code: expected two letters", "#edit-country-code"),
     ("landmark 'x': source 'y'; expected a web address", "#edit-source")],
)  # fmt: skip
def test_a_refusal_of_the_server_is_said_at_its_field(page: Page, message: str, field: str) -> None:
    error = {"code": "invalid_record", "message": message, "hint": ""}

    def refuse(route: Any) -> None:
        if route.request.method == "PATCH":
            route.fulfill(status=422, json={"error": error, "request_id": "r"})
        else:
            route.continue_()

    page.route(f"**/v1/landmarks/{FIRST}", refuse)
    edit(page)
    page.fill("#edit-name", "Typed")
    page.click("#edit-save")
    expect(page.locator(f"{field}-fault")).to_contain_text("The server does not accept this value.")
    expect(page.locator(field)).to_be_focused()
    expect(page.locator("#edit-name")).to_have_value("Typed")


def test_a_change_by_somebody_else_is_shown_on_return(page: Page, address: str) -> None:
    patch(address, {"title": "Theirs"})
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#landmark-title")).to_have_text("Theirs")
    expect(page.locator(".toast")).to_contain_text("Somebody else changed “Theirs”")


def patch(address: str, body: dict[str, str]) -> None:
    request = urllib.request.Request(
        f"{address}/v1/landmarks/{FIRST}", json.dumps(body).encode(), method="PATCH"
    )
    urllib.request.urlopen(request).close()


# ——— leaving a form


def test_leaving_a_changed_form_asks(page: Page) -> None:
    page.keyboard.press("Escape")
    page.locator("#landmarks .card").first.click()
    edit(page)
    page.keyboard.press("Escape")
    expect(page.locator("#edit")).to_be_hidden()  # nothing was typed
    edit(page)
    page.fill("#edit-name", "Typed")
    for leave in (
        lambda: page.keyboard.press("Escape"),
        lambda: page.click("#edit [data-close]"),
        lambda: page.click("#edit-cancel"),
        lambda: page.mouse.click(3, 3),
        page.go_back,
        lambda: page.evaluate("location.hash = '#recognize'"),
    ):
        leave()
        expect(page.locator("#confirm")).to_be_visible()  # the text is there from the time before
        expect(page.locator("#confirm-title")).to_have_text("Leave without saving?")
        page.keyboard.press("Escape")
        expect(page.locator("#confirm")).to_be_hidden()
        expect(page.locator("#edit-name")).to_have_value("Typed")
        expect_hash(page, f"#gallery/{FIRST}")
    page.evaluate("location.hash = '#recognize'")
    page.click("#confirm-yes")
    expect(page.locator("#edit")).to_be_hidden()
    expect(page.locator("#landmark")).to_be_hidden()
    expect(page.locator("#recognize")).to_be_visible()


def test_a_page_with_changes_is_not_closed_in_silence(page: Page) -> None:
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    edit(page)
    page.fill("#edit-name", "Typed")
    page.close(run_before_unload=True)
    expect(page.locator("#edit-name")).to_have_value("Typed")
    assert asked == ["beforeunload"]
    page.fill("#edit-name", "Cathedral of Velras")  # as it was: nothing to lose
    page.keyboard.press("Escape")
    expect(page.locator("#edit")).to_be_hidden()


# ——— photos


def test_removed_photos_are_shown_before_and_come_back(page: Page, world: World) -> None:
    page.get_by_label("Select Cathedral of Velras, photo 2", exact=True).check()
    page.get_by_label("Select Cathedral of Velras, photo 3", exact=True).check()
    expect(page.locator("#landmark .selection")).to_contain_text("2 photos selected")
    page.locator("#landmark .selection").get_by_role("button", name="Remove").click()
    expect(page.locator("#confirm-title")).to_have_text("Remove these 2 photos?")
    expect(page.locator("#confirm-words")).to_have_text("You can undo this for a minute.")
    expect(page.locator("#confirm-extra img")).to_have_count(2)
    expect(page.locator("#confirm-no")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#confirm")).to_be_hidden()
    assert len(world.landmarks[FIRST]) == 5
    page.locator("#landmark .selection").get_by_role("button", name="Remove").click()
    page.click("#confirm-yes")
    expect(page.locator(".photos li")).to_have_count(3)
    expect(page.locator(".photos li").nth(1).locator("button")).to_be_focused()
    page.keyboard.press("Escape")
    page.click("#to-recognize")
    expect(page.locator(".toast")).to_contain_text("2 photos were removed.")  # in every view
    undo(page)
    expect(page.locator(".toast")).to_contain_text("The 2 photos are back.")
    assert len(world.landmarks[FIRST]) == 5
    open_gallery(page)
    expect(page.locator("#landmarks .card").first).to_contain_text("5 photos")


def test_a_removed_landmark_comes_back_by_the_keyboard(page: Page, world: World) -> None:
    page.get_by_role("button", name="Remove landmark").click()
    expect(page.locator("#confirm-title")).to_have_text("Remove “Cathedral of Velras”?")
    expect(page.locator("#confirm-words")).to_have_text(
        "It goes with its 5 photos and will no longer be recognized. "
        "You can undo this for a minute."
    )
    expect(page.locator("#confirm-extra img")).to_have_count(5)
    page.click("#confirm-yes")
    expect(page.locator("#landmark")).to_be_hidden()
    expect(page.locator("#gallery-count")).to_contain_text("5 landmarks")
    assert FIRST not in world.landmarks
    page.keyboard.press("Control+z")
    expect(page.locator("#gallery-count")).to_contain_text("6 landmarks")
    assert len(world.landmarks[FIRST]) == 5


def test_a_removal_that_cannot_be_undone_says_so_before(
    browser: Browser, address: str, world: World
) -> None:
    world.config["undo_photos"] = 3
    with opened(browser, f"{address}/#gallery/{FIRST}") as (page, _):
        page.locator(".photos li").nth(4).wait_for()
        page.get_by_role("button", name="Remove landmark").click()
        expect(page.locator("#confirm-words")).to_contain_text(
            "These are too many photos to undo this: they are gone for good."
        )
        page.click("#confirm-yes")
        expect(page.locator(".toast")).to_contain_text("was removed.")
        expect(page.locator(".toast").get_by_role("button", name="Undo")).to_have_count(0)


def test_it_is_said_when_it_is_too_late_to_undo(page: Page, world: World) -> None:
    page.get_by_role("button", name="Remove landmark").click()
    page.click("#confirm-yes")
    expect(page.locator(".toast")).to_contain_text("was removed.")
    world.undo.clear()
    undo(page)
    expect(page.locator(".toast")).to_contain_text("It is too late to undo this.")


def test_the_last_photo_of_a_landmark_takes_it_along(page: Page, world: World) -> None:
    page.get_by_label("Select Cathedral of Velras, photo 1", exact=True).check()
    page.get_by_role("button", name="Select all shown").click()
    page.locator("#landmark .selection").get_by_role("button", name="Remove").click()
    expect(page.locator("#confirm-words")).to_contain_text(
        "“Cathedral of Velras” has no other photos and disappears with them."
    )
    page.click("#confirm-yes")
    expect(page.locator("#landmark")).to_be_hidden()
    expect(page.locator("#gallery-count")).to_contain_text("5 landmarks")
    undo(page)
    expect(page.locator("#gallery-count")).to_contain_text("6 landmarks")


def test_a_photo_moves_to_a_new_landmark_and_back(page: Page, world: World) -> None:
    page.locator(".open-photo").nth(1).click()
    page.locator("#photo").get_by_role("button", name="Move to…").click()
    page.fill("#pick-name", "Harbour Bridge")
    page.get_by_role("button", name="New landmark “Harbour Bridge”").click()
    expect(page.locator(".toast")).to_contain_text("The photo was moved to “Harbour Bridge”.")
    expect(page.locator(".photos li")).to_have_count(4)
    assert world.landmarks["Harbour Bridge"] == [f"{FIRST}/1.jpg"]
    undo(page)
    expect(page.locator(".photos li")).to_have_count(5)
    assert "Harbour Bridge" not in world.landmarks


def test_a_photo_moves_to_those_without_a_landmark(page: Page, world: World) -> None:
    page.get_by_label("Select Cathedral of Velras, photo 5", exact=True).check()
    page.get_by_role("button", name="Move to…").click()
    page.get_by_role("button", name="No landmark: it shows something else").click()
    expect(page.locator(".photos li")).to_have_count(4)
    assert f"{FIRST}/4.jpg" in world.distractors


def test_credits_of_several_photos_change_only_what_is_typed(page: Page, world: World) -> None:
    world.credits[f"{FIRST}/0.jpg"] = {"author": "One", "licence": "CC0"}
    page.reload()
    page.get_by_label("Select Cathedral of Velras, photo 1", exact=True).check()
    page.get_by_label("Select Cathedral of Velras, photo 3", exact=True).check()
    page.get_by_role("button", name="Credit…").click()
    expect(page.locator("#credits-author")).to_have_value("")
    expect(page.locator("#credits-author")).to_have_attribute(
        "placeholder", "Various, kept if left empty"
    )
    page.fill("#credits-source", "example")
    page.click("#credits-save")
    expect(page.locator("#credits-source-fault")).to_contain_text("https://")
    page.fill("#credits-source", "https://example.org/p")
    page.fill("#credits-licence_url", "CC0")
    page.click("#credits-save")
    expect(page.locator("#credits-licence_url-fault")).to_contain_text("https://")
    page.fill("#credits-licence_url", "https://example.org/cc0")
    page.click("#credits-save")
    expect(page.locator(".toast")).to_contain_text("The credit of 2 photos was saved.")
    credit = world.photo(f"{FIRST}/0.jpg")
    assert (credit["author"], credit["source"]) == ("One", "https://example.org/p")
    assert credit["licence_url"] == "https://example.org/cc0"
    assert world.photo(f"{FIRST}/2.jpg")["author"] == "Mira Ansel"
    expect(page.locator(".photos li").first.get_by_role("link", name="Source")).to_be_visible()


def test_a_corrected_licence_keeps_the_address_that_the_form_shows(
    page: Page, world: World
) -> None:
    asked: list[object] = []
    page.on("request", lambda one: asked.append(one.post_data_json) if one.method == "PATCH" else 0)
    page.get_by_label("Select Cathedral of Velras, photo 1", exact=True).check()
    page.get_by_role("button", name="Credit…").click()
    page.fill("#credits-licence", "CC BY-SA 4.0 International")
    page.click("#credits-save")
    expect(page.locator(".toast")).to_contain_text("The credit was saved.")
    by_sa = "https://creativecommons.org/licenses/by-sa/4.0/"
    assert asked == [{"licence": "CC BY-SA 4.0 International", "licence_url": by_sa}]
    assert world.photo(f"{FIRST}/0.jpg")["licence_url"] == by_sa


def test_an_upload_that_goes_on_after_closing_is_reported(page: Page, world: World) -> None:
    page.set_input_files(
        "#landmark-body input[type=file]", [photo(f"{i}.jpg", i % 3) for i in range(6, 10)]
    )
    page.keyboard.press("Escape")
    expect(page.locator(".toast")).to_contain_text("4 photos were added to “Cathedral of Velras”.")
    assert len(world.landmarks[FIRST]) == 9
