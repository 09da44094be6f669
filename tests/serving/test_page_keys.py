"""Keys: asked for on arrival, told as wrong; what waits goes on with the right one."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import page_browser
from tests.support.page_browser import BROWSER, open_gallery, opened, photo, ready
from tests.support.page_world import World

pytestmark = BROWSER
browser = pytest.fixture(scope="module")(page_browser.chromium)
world = pytest.fixture(page_browser.small_world)
address = pytest.fixture(page_browser.serving)
FIRST = "cathedral_of_velras"
PHOTOS = ["one.jpg", "two.jpg", "three.jpg", "four.jpg"]


@pytest.fixture
def page(browser: Browser, address: str, world: World) -> Iterator[Page]:
    """A server that needs a key to read, and another one to write."""
    world.read_key, world.write_key = "reads", "writes"
    with opened(browser, address) as (page, _):
        ready(page)
        yield page


def enter(page: Page, value: str) -> None:
    page.fill("#key-value", value)
    page.keyboard.press("Enter")


def test_the_page_says_on_arrival_that_a_key_is_needed(page: Page, world: World) -> None:
    panel = page.locator("#key-panel")
    expect(panel).to_contain_text("You need a key")
    expect(panel).to_contain_text("ask the people who run this server for one")
    expect(page.locator("dialog[open]")).to_have_count(0)
    expect(page.locator("#key-value")).not_to_be_focused()  # nothing pops up
    assert not [r for r in world.requests if "/v1/" in r]
    enter(page, ' Bearer "reads" ')  # as copied from a message
    expect(panel).to_be_hidden()
    expect(page.locator("#recognize-title")).to_be_focused()
    expect(page.locator("#known-few .card")).to_have_count(3)
    image = page.locator("#known-few img").first
    expect(image).to_have_attribute("src", re.compile("^blob:"))
    assert image.evaluate("i => i.decode().then(() => i.naturalWidth)") > 100
    assert page.evaluate("sessionStorage['whichlandmark.key']") == "reads"
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    page.reload()
    expect(page.locator("#known-few .card")).to_have_count(3)
    expect(panel).to_be_hidden()


def test_a_wrong_key_is_told_as_wrong_and_not_kept(page: Page, world: World) -> None:
    enter(page, "nonsense")
    expect(page.locator("#key-problem")).to_have_text(
        "The server does not know this key. Check that you copied all of it."
    )
    expect(page.locator("#key-value")).to_have_value("nonsense")
    expect(page.locator("#key-value")).to_be_focused()
    assert page.evaluate("sessionStorage['whichlandmark.key']") is None
    enter(page, "clé–é")  # no key has such characters, and no header may
    expect(page.locator("#key-problem")).to_contain_text("does not know this key")
    enter(page, "")
    expect(page.locator("#key-problem")).to_have_text("Enter your key.")


def test_too_many_wrong_keys_tell_how_long_to_wait(page: Page, world: World) -> None:
    world.wrong_keys, world.wait = 0, 3
    enter(page, "nonsense")
    expect(page.locator("#key-problem")).to_have_text(
        re.compile(r"Too many wrong keys\. Wait [1-3] s, then try again\.")
    )
    expect(page.locator("#key-use")).to_be_disabled()
    expect(page.locator("#key-use")).to_be_enabled()
    enter(page, "reads")
    expect(page.locator("#key-panel")).to_be_hidden()


def test_all_waiting_photos_go_on_after_the_right_key(page: Page, world: World) -> None:
    page.set_input_files("#files", [photo(name, i) for i, name in enumerate(PHOTOS)])
    expect(page.locator("#key-value")).to_be_focused()
    expect(page.locator("dialog[open]")).to_have_count(0)
    enter(page, "wrong")
    expect(page.locator("#key-problem")).to_contain_text("does not know this key")
    expect(page.locator('[data-state="answered"]')).to_have_count(0)
    enter(page, "reads")
    expect(page.locator('[data-state="answered"]')).to_have_count(4)


def test_a_key_that_was_withdrawn_is_asked_for_again(page: Page, world: World) -> None:
    enter(page, "reads")
    expect(page.locator("#key-panel")).to_be_hidden()
    world.read_key = "new"
    page.set_input_files("#files", [photo(name, i) for i, name in enumerate(PHOTOS)])
    expect(page.locator("#key-panel")).to_contain_text("Your key does not work any more")
    enter(page, "new")
    expect(page.locator('[data-state="answered"]')).to_have_count(4)
    world.read_key = "newest"
    page.click("#to-gallery")
    expect(page.locator("#key-panel")).to_contain_text("Your key does not work any more")
    enter(page, "newest")
    expect(page.locator("#landmarks .card")).to_have_count(6)


def test_a_withdrawn_key_is_told_on_arrival(page: Page, world: World) -> None:
    enter(page, "reads")
    expect(page.locator("#known-few .card")).to_have_count(3)
    world.read_key = "new"
    page.reload()
    expect(page.locator("#key-panel")).to_contain_text("Your key does not work any more")
    expect(page.locator("dialog[open]")).to_have_count(0)
    enter(page, "new")
    expect(page.locator("#known-few .card")).to_have_count(3)


def test_the_gallery_waits_for_the_key(page: Page) -> None:
    page.click("#to-gallery")
    expect(page.locator("#gallery-state")).to_have_text("Enter your key above to see the gallery.")
    enter(page, "reads")
    expect(page.locator("#landmarks .card")).to_have_count(6)
    expect(page.locator("#gallery-note")).to_contain_text(
        "Your key may look at the gallery, but not change it."
    )


def test_a_linked_landmark_waits_for_the_key(browser: Browser, address: str, world: World) -> None:
    world.read_key = "reads"
    with opened(browser, f"{address}/#gallery/{FIRST}") as (page, _):
        expect(page.locator("#key-panel")).to_contain_text("You need a key")
        expect(page.locator("dialog[open]")).to_have_count(0)
        enter(page, "reads")
        expect(page.locator("#landmark-title")).to_have_text("Cathedral of Velras")
        expect(page.locator(".photos li")).to_have_count(5)


def test_a_key_that_may_only_read_is_told_as_that(page: Page, world: World) -> None:
    enter(page, "reads")
    open_gallery(page)
    page.locator("#landmarks .card").first.click()
    page.locator(".photos li").first.wait_for()
    expect(page.locator("#landmark .note")).to_contain_text("Your key may look at the gallery")
    page.set_input_files("#landmark-body input[type=file]", [photo("a.jpg")])
    expect(page.locator("#key")).to_contain_text("Your key may not change the gallery")
    expect(page.locator("#key")).to_contain_text("With it you can recognize photos")
    enter(page, "reads")
    expect(page.locator("#key-problem")).to_contain_text("it may not change the gallery")
    enter(page, "writes")
    expect(page.locator(".adding")).to_contain_text("1 photo added.")
    assert len(world.landmarks[FIRST]) == 6
    expect(page.locator("#landmark .note")).to_be_hidden()


def test_a_form_waits_for_the_key_with_what_was_typed(
    browser: Browser, address: str, world: World
) -> None:
    world.write_key = "writes"
    with opened(browser, f"{address}/#gallery/{FIRST}") as (page, _):
        page.locator(".photos li").first.wait_for()
        expect(page.locator("#landmark .note")).to_contain_text(
            "Changes to the gallery need a key."
        )
        page.get_by_role("button", name="Edit", exact=True).click()
        page.fill("#edit-name", "Typed")
        page.click("#edit-save")
        expect(page.locator("#key")).to_contain_text("Changes need a key")
        page.keyboard.press("Escape")
        expect(page.locator("#edit-problem")).to_contain_text("This needs a key.")
        expect(page.locator("#edit-name")).to_have_value("Typed")
        page.click("#edit-save")
        enter(page, "writes")
        expect(page.locator("#landmark-title")).to_have_text("Typed")
        world.write_key = "other"  # withdrawn in the middle
        page.get_by_role("button", name="Remove landmark").click()
        page.click("#confirm-yes")
        expect(page.locator("#key")).to_contain_text("Your key does not work any more")
        enter(page, "other")
        expect(page.locator("#landmark")).to_be_hidden()
        assert FIRST not in world.landmarks


def test_a_key_is_forgotten(page: Page) -> None:
    enter(page, "reads")
    expect(page.locator("#key-panel")).to_be_hidden()
    page.click("#key-open")
    expect(page.locator("#key")).to_contain_text("A key is in use")
    page.click("#key-forget")
    expect(page.locator("#key-panel")).to_contain_text("You need a key")
    assert page.evaluate("sessionStorage['whichlandmark.key']") is None


def test_an_open_server_asks_for_nothing(browser: Browser, address: str) -> None:
    with opened(browser, address) as (page, _):
        ready(page)
        expect(page.locator("#known-few .card")).to_have_count(3)
        expect(page.locator("#key-open")).to_be_hidden()
        expect(page.locator("#key-panel")).to_be_hidden()
