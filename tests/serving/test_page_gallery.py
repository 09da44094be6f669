"""The gallery browser and API keys in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import page_browser
from tests.support.page_browser import BROWSER, heading, open_gallery, opened, photo, ready
from tests.support.page_world import World

pytestmark = BROWSER
browser = pytest.fixture(scope="module")(page_browser.chromium)
world = pytest.fixture(page_browser.small_world)
address = pytest.fixture(page_browser.serving)
page = pytest.fixture(page_browser.ready_page)


def test_landmarks_are_counted_searched_and_paged(
    browser: Browser, address: str, world: World
) -> None:
    world.__dict__.update(World.of(30, photos=2).__dict__)
    with opened(browser, f"{address}/#gallery") as (page, _):
        cards = page.locator("#landmarks .card")
        expect(cards).to_have_count(24)
        expect(page.locator("#gallery-count")).to_have_text(
            "30 landmarks · 60 photos · 160 distractors (photos without a landmark)"
        )
        page.click("#next")
        expect(cards).to_have_count(6)
        expect(page.locator("#page-words")).to_have_text("25–30 of 30")
        expect(page.locator("#next")).to_be_disabled()
        page.get_by_label("Search landmarks").fill("tower of")
        expect(page.locator("#gallery-count")).to_contain_text("for “tower of”")
        assert all("tower of" in text.lower() for text in cards.all_inner_texts())
        page.get_by_label("Search landmarks").fill("atlantis")
        expect(page.locator("#gallery-state")).to_have_text("No landmark matches “atlantis”.")


def test_photos_are_added_with_progress_and_failures_are_listed(page: Page, world: World) -> None:
    open_gallery(page)
    page.locator("#landmarks .card").first.click()
    page.set_input_files(
        "#landmark-body input[type=file]",
        [photo("a.jpg"), photo("unreadable.jpg"), photo("b.jpg", 1)],
    )
    expect(page.locator(".adding")).to_contain_text("2 photos added, 1 could not be used.")
    expect(page.locator(".problems")).to_contain_text("unreadable.jpg This file is not a picture")
    expect(page.locator("#live")).to_contain_text("2 photos added, 1 could not be used.")
    assert len(world.landmarks["cathedral_of_velras"]) == 7
    expect(page.locator(".photos li")).to_have_count(7)
    page.keyboard.press("Escape")
    expect(page.locator("#landmarks .card").first).to_contain_text("7 photos")


def test_a_landmark_is_added_by_name_and_photos(page: Page, world: World) -> None:
    open_gallery(page)
    page.click("#landmark-new")
    page.click("#new-add")
    expect(page.locator("#new-problem")).to_have_text("Enter a name.")
    expect(page.locator("#new-name")).to_be_focused()
    page.fill("#new-name", "hawa/mahal & co")
    page.click("#new-add")
    expect(page.locator("#new-problem")).to_contain_text("at least one photo")
    page.set_input_files("#new-files", [photo("a.jpg"), photo("b.jpg")])
    page.click("#new-add")
    expect(page.locator("#new")).to_be_hidden()
    expect(page.locator("#gallery-count")).to_contain_text("7 landmarks")
    assert len(world.landmarks["hawa/mahal & co"]) == 2


def test_removal_asks_for_confirmation(page: Page, world: World) -> None:
    open_gallery(page)
    page.locator("#landmarks .card", has_text="Tower of Fenven").click()
    remove = page.get_by_role("button", name="Remove photo tower_of_fenven/0.jpg")
    remove.click()
    expect(page.locator("#confirm-no")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#confirm")).to_be_hidden()
    assert len(world.landmarks["tower_of_fenven"]) == 5
    remove.click()
    page.click("#confirm-yes")
    expect(page.locator(".photos li")).to_have_count(4)
    expect(page.get_by_role("button", name="Remove photo tower_of_fenven/1.jpg")).to_be_focused()
    page.get_by_role("button", name="Remove landmark").click()
    expect(page.locator("#confirm-words")).to_contain_text(
        "its 4 photos are removed from the gallery for good"
    )
    page.click("#confirm-yes")
    expect(page.locator("#landmark")).to_be_hidden()
    expect(page.locator("#gallery-count")).to_contain_text("5 landmarks")
    assert "tower_of_fenven" not in world.landmarks


def test_a_landmark_is_renamed(page: Page, world: World) -> None:
    open_gallery(page)
    page.locator("#landmarks .card").first.click()
    page.get_by_role("button", name="Rename").click()
    page.get_by_label("New name").fill("hawa_mahal")
    page.get_by_label("New name").press("Enter")
    expect(page.locator("#landmark-title")).to_have_text("Hawa mahal")
    assert "hawa_mahal" in world.landmarks


def test_a_key_is_requested_used_for_images_and_forgotten(
    browser: Browser, world: World, address: str
) -> None:
    world.read_key = world.write_key = "s3cret"
    with opened(browser, address) as (page, _):
        ready(page)
        page.set_input_files("#files", [photo("palace.jpg")])
        expect(page.locator("#key")).to_be_visible()
        expect(page.locator("#key-value")).to_be_focused()
        page.fill("#key-value", "s3cret")
        page.keyboard.press("Enter")
        expect(heading(page)).to_contain_text("almost certainly")
        image = page.locator(".candidates .thumb img").first
        expect(image).to_have_attribute("src", re.compile("^blob:"))
        assert image.evaluate("i => i.decode().then(() => i.naturalWidth)") > 100
        assert (
            page.evaluate(
                "JSON.stringify([sessionStorage.length, localStorage.length, document.cookie])"
            )
            == '[1,0,""]'
        )
        assert not any("s3cret" in request for request in world.requests)
        page.click("#key-open")
        page.click("#key-forget")
        assert page.evaluate("sessionStorage.length") == 0


def test_an_edit_requests_a_key_and_continues(browser: Browser, world: World, address: str) -> None:
    world.write_key = "pen"
    with opened(browser, address) as (page, _):
        ready(page)
        open_gallery(page)
        page.locator("#landmarks .card").first.click()
        page.set_input_files("#landmark-body input[type=file]", [photo("a.jpg")])
        expect(page.locator("#key")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator(".problems")).to_contain_text("This needs an API key")
        page.set_input_files("#landmark-body input[type=file]", [photo("a.jpg")])
        page.fill("#key-value", "pen")
        page.keyboard.press("Enter")
        expect(page.locator(".adding")).to_contain_text("1 photo added.")
        assert len(world.landmarks["cathedral_of_velras"]) == 6
