"""The gallery browser, the addresses of its views and landmarks, and adding photos."""

from __future__ import annotations

import io
import re
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image as Pillow
from playwright.sync_api import Browser, Page, expect

from tests.support import page_browser
from tests.support.page_browser import (
    BROWSER,
    expect_hash,
    open_gallery,
    opened,
    photo,
    ready,
    still,
    transfer,
    until,
)
from tests.support.page_world import World

pytestmark = BROWSER
browser = pytest.fixture(scope="module")(page_browser.chromium)
world = pytest.fixture(page_browser.small_world)
address = pytest.fixture(page_browser.serving)
page = pytest.fixture(page_browser.ready_page)


def test_a_first_visit_shows_three_landmarks_with_few_requests(
    browser: Browser, address: str, world: World
) -> None:
    with opened(browser, address, locale="fr-FR") as (page, _):
        expect(page.locator("#known-few .card")).to_have_count(3)
        page.locator("#known-few img").nth(2).evaluate("i => i.decode()")
        page.wait_for_load_state("networkidle")
        assert len(world.requests) < 10, world.requests
        page.locator("#known-few .card").nth(1).click()
        expect(page.locator("#landmark")).to_be_visible()
        expect(page.locator("#gallery")).to_be_hidden()  # Close leads back to this view


def test_landmarks_are_counted_searched_and_paged(
    browser: Browser, address: str, world: World
) -> None:
    world.__dict__.update(World.of(30, photos=2).__dict__)
    with opened(browser, f"{address}/#gallery") as (page, _):
        cards = page.locator("#landmarks .card")
        expect(cards).to_have_count(24)
        expect(page.locator("#gallery-count")).to_have_text("30 landmarks · 60 photos")
        expect(page.locator("#to-unlabelled")).to_have_text("160 photos without a landmark")
        titles = [card.inner_text().split("\n")[0] for card in cards.all()]
        assert titles == sorted(titles)
        page.click("#next")
        expect(cards).to_have_count(6)
        expect(page.locator("#page-words")).to_have_text("25–30 of 30")
        expect(page.locator("#next")).to_be_disabled()
        expect_hash(page, "#gallery?page=2")
        page.reload()
        expect(page.locator("#page-words")).to_have_text("25–30 of 30")
        page.get_by_label("Search landmarks").fill("tówer-of")
        expect(page.locator("#gallery-count")).to_contain_text("for “tówer-of”")
        expect(cards.first).to_contain_text(re.compile("tower of", re.IGNORECASE))
        page.reload()
        expect(page.get_by_label("Search landmarks")).to_have_value("tówer-of")
        expect(page.locator("#gallery-count")).to_contain_text("for “tówer-of”")
        page.get_by_label("Search landmarks").fill("zzzz")
        expect(page.locator("#gallery-state")).to_contain_text("No landmark matches “zzzz”.")
        page.get_by_role("button", name="Show all landmarks").click()
        expect(cards).to_have_count(24)


def test_a_landmark_has_an_address_that_back_leaves(page: Page, address: str) -> None:
    open_gallery(page)
    card = page.locator("#landmarks .card", has_text="Tower of Fenven")
    expect(card).to_have_attribute("href", "#gallery/tower_of_fenven")
    card.click()
    expect(page.locator("#landmark-title")).to_have_text("Tower of Fenven")
    expect(page).to_have_title("Tower of Fenven – Drawn world")
    expect_hash(page, "#gallery/tower_of_fenven")
    page.go_back()
    expect(page.locator("#landmark")).to_be_hidden()
    expect(page).to_have_title("Gallery – Drawn world")
    expect(card).to_be_focused()
    page.go_forward()
    expect(page.locator("#landmark")).to_be_visible()
    page.reload()
    expect(page.locator("#landmark-title")).to_have_text("Tower of Fenven")
    expect(page.locator(".photos li")).to_have_count(5)
    page.keyboard.press("Escape")
    expect(page.locator("#landmark")).to_be_hidden()
    expect_hash(page, "#gallery")
    expect(page.locator("#landmarks .card")).to_have_count(6)


def test_back_returns_to_where_the_gallery_was(
    browser: Browser, address: str, world: World
) -> None:
    world.__dict__.update(World.of(24, photos=1).__dict__)
    with opened(browser, address) as (page, _):
        ready(page)
        open_gallery(page)
        page.locator("#landmarks .card").nth(23).scroll_into_view_if_needed()
        depth = still(page)
        assert depth > 200
        page.evaluate("location.hash = '#recognize'")
        expect(page.locator("#recognize-title")).to_be_focused()
        page.wait_for_function("scrollY === 0")
        page.go_back()
        expect(page.locator("#gallery")).to_be_visible()
        page.wait_for_function("(depth) => scrollY === depth", arg=depth)
        page.locator("#landmarks .card").nth(23).click()
        page.locator(".photos li").first.wait_for()
        page.keyboard.press("Escape")
        page.wait_for_url(re.compile("#gallery$"))
        page.wait_for_function("(depth) => scrollY === depth", arg=depth)


@pytest.mark.parametrize(("place", "view"), [("nonsense", "recognize"), ("gallery/", "gallery")])
def test_an_address_of_nothing_leads_to_a_view(
    browser: Browser, address: str, place: str, view: str
) -> None:
    with opened(browser, f"{address}/#{place}") as (page, _):
        ready(page)
        expect(page.locator(f"#{view}-title")).to_be_visible()


def test_closing_a_landmark_returns_the_focus_to_its_card(page: Page) -> None:
    open_gallery(page)
    card = page.locator("#landmarks .card").nth(3)
    card.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#landmark-title")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#landmark")).to_be_hidden()
    page.wait_for_url(re.compile("#gallery$"))
    expect(card).to_be_focused()


def test_an_address_of_no_landmark_leads_to_similar_names(browser: Browser, address: str) -> None:
    with opened(browser, f"{address}/#gallery/tower_of_fenvem") as (page, _):
        expect(page.locator("#gallery-lost")).to_contain_text(
            "The gallery has no landmark “tower_of_fenvem”"
        )
        expect(page.locator("#landmarks .card").first).to_contain_text("Tower of Fenven")
        expect(page.locator("#landmark")).to_be_hidden()
        page.get_by_label("Search landmarks").fill("temple")
        expect(page.locator("#gallery-lost")).to_be_hidden()


@pytest.mark.parametrize("label", ["hawa/mahal & co?", "100%", "a#b"])
def test_labels_with_any_characters_have_an_address(
    browser: Browser, address: str, world: World, label: str
) -> None:
    world.landmarks[label] = ["one.jpg"]
    with opened(browser, f"{address}/#gallery/{quote(label, safe='')}") as (page, _):
        expect(page.locator("#landmark-title")).to_have_text(label.capitalize())
        expect(page.locator(".photos li")).to_have_count(1)


def test_a_landmark_shows_its_names_place_and_credits(
    browser: Browser, world: World, address: str
) -> None:
    first = next(iter(world.landmarks))
    world.credits[f"{first}/0.jpg"] = {
        "author": "A",
        "licence": "CC0",
        "licence_url": "https://l.example.org/cc0",
        "source": "https://a.example.org/1",
    }
    world.credits[f"{first}/1.jpg"] = {"licence_url": "https://l.example.org/by"}
    unsafe = "javascript:alert(1)"
    world.credits[f"{first}/2.jpg"] = {
        "author": "B", "licence": "CC BY 4.0", "licence_url": unsafe, "source": unsafe,
    }  # fmt: skip
    world.credits[f"{first}/3.jpg"] = {"source": "https://a.example.org/3"}
    world.records[first] = {"source": "https://b.example.org/x"}
    with opened(browser, f"{address}/#gallery/{first}") as (page, _):
        expect(page.locator(".facts .names li").first).to_have_text(re.compile("Hindi\\s*हवा महल"))
        link = page.get_by_role("link", name="Map: 26.9239° N, 75.8267° E")
        assert "mlat=26.9239&mlon=75.8267" in (link.get_attribute("href") or "")
        expect(page.get_by_role("link", name="Wikidata Q9000")).to_be_visible()
        wiki = page.get_by_role("link", name="Wikipedia").get_attribute("href") or ""
        assert wiki.endswith("Special:GoToLinkedPage/enwiki/Q9000")
        expect(page.get_by_role("link", name="Source: b.example.org")).to_be_visible()
        credits = page.locator(".photos .credit")
        for at, words in enumerate((
            "Photo: A, CC0 · Source", "Photo: author not recorded, licence",
            "Photo: B, CC BY 4.0", "No credit recorded · Source",
        )):  # fmt: skip
            expect(credits.nth(at)).to_have_text(words)
        links = credits.get_by_role("link").evaluate_all(
            "links => links.slice(0, 4).map((a) => [a.textContent, a.href, a.rel, a.target])"
        )
        safe = "noopener noreferrer"
        assert links == [
            ["CC0", "https://l.example.org/cc0", f"license {safe}", "_blank"],
            ["Source", "https://a.example.org/1", safe, "_blank"],
            ["licence", "https://l.example.org/by", f"license {safe}", "_blank"],
            ["Source", "https://a.example.org/3", safe, "_blank"],
        ]


def test_a_photo_opens_large_and_the_arrow_keys_turn(page: Page, world: World) -> None:
    open_gallery(page)
    page.locator("#landmarks .card").first.click()
    page.locator(".open-photo").first.click()
    expect(page.locator("#photo-title")).to_have_text("Cathedral of Velras, photo 1 of 5")
    image = page.locator("#photo-body img")
    until(page, lambda: image.evaluate("i => i.naturalWidth") > 640)  # not the thumbnail
    page.keyboard.press("ArrowRight")
    expect(page.locator("#photo-title")).to_have_text("Cathedral of Velras, photo 2 of 5")
    page.keyboard.press("Escape")
    expect(page.locator("#photo")).to_be_hidden()
    expect(page.locator("#landmark")).to_be_visible()


def test_the_skip_link_keeps_the_view(page: Page) -> None:
    open_gallery(page)
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    expect_hash(page, "#gallery")


def test_photos_are_added_with_progress_and_failures_are_listed(page: Page, world: World) -> None:
    open_gallery(page)
    page.locator("#landmarks .card").first.click()
    page.set_input_files(
        "#landmark-body input[type=file]",
        [photo("a.jpg"), photo("unreadable.jpg"), photo("b.jpg", 1)],
    )
    expect(page.locator(".adding")).to_contain_text("2 photos added, 1 could not be used.")
    expect(page.locator(".problems")).to_contain_text(
        "unreadable.jpg This file is damaged or incomplete."
    )
    expect(page.locator("#live")).to_contain_text("2 photos added, 1 could not be used.")
    assert len(world.landmarks["cathedral_of_velras"]) == 7
    expect(page.locator(".photos li")).to_have_count(7)
    page.keyboard.press("Escape")
    expect(page.locator("#landmarks .card").first).to_contain_text("7 photos")


def test_large_photos_are_made_small_before_they_travel(page: Page) -> None:
    """Photos are stored with 2048 pixels at most."""
    data = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (2400, 3200, 3), dtype=np.uint8)
    Pillow.fromarray(noise).save(data, "JPEG", quality=90)
    page.evaluate("""() => {
      const send = fetch;
      window.fetch = (url, options) => {
        if (options.body instanceof FormData) window.sent = options.body.get("photos");
        return send(url, options);
      };
    }""")
    open_gallery(page)
    page.locator("#landmarks .card").first.click()
    page.set_input_files(
        "#landmark-body input[type=file]",
        [{"name": "large.jpg", "mimeType": "image/jpeg", "buffer": data.getvalue()}],
    )
    expect(page.locator(".adding")).to_contain_text("1 photo added.")
    size = page.evaluate("createImageBitmap(sent).then((photo) => [photo.width, photo.height])")
    assert size == [2048, 1536]


def test_photos_are_dropped_on_a_landmark(page: Page, world: World) -> None:
    open_gallery(page)
    page.locator("#landmarks .card").first.click()
    page.locator(".photos li").first.wait_for()
    drop = {"dataTransfer": transfer(page, "dropped.jpg")}
    page.dispatch_event("#landmark-body", "drop", drop)
    expect(page.locator(".adding")).to_contain_text("1 photo added.")
    assert "cathedral_of_velras/dropped.jpg" in world.landmarks["cathedral_of_velras"]
    assert "POST /v1/recognize" not in world.requests


def test_a_landmark_is_added_by_name_and_photos(page: Page, world: World) -> None:
    open_gallery(page)
    page.click("#landmark-new")
    page.click("#new-add")
    expect(page.locator("#new-name-fault")).to_have_text("Enter a name.")
    expect(page.locator("#new-name")).to_be_focused()
    page.fill("#new-name", "hawa/mahal & co")
    page.click("#new-add")
    expect(page.locator("#new-files-fault")).to_have_text("Choose at least one photo.")
    page.keyboard.press("Escape")
    expect(page.locator("#confirm-title")).to_have_text("Leave without saving?")
    page.click("#confirm-no")
    page.set_input_files("#new-files", [photo("a.jpg"), photo("b.jpg")])
    page.click("#new-add")
    expect(page.locator("#new")).to_be_hidden()
    expect(page.locator("#gallery-count")).to_contain_text("7 landmarks")
    assert len(world.landmarks["hawa/mahal & co"]) == 2


def test_photos_without_a_landmark_are_listed_and_moved(
    browser: Browser, address: str, world: World
) -> None:
    world.distractors = [f"street/{i}.jpg" for i in range(30)]
    with opened(browser, address) as (page, _):
        ready(page)
        open_gallery(page)
        page.click("#to-unlabelled")
        expect(page.locator("#unlabelled-title")).to_be_focused()
        expect(page).to_have_title("Photos without a landmark – Drawn world")
        expect(page.locator("#unlabelled .photos li")).to_have_count(24)
        page.get_by_role("button", name="Show 6 more").click()
        expect(page.locator("#unlabelled .photos li")).to_have_count(30)
        page.get_by_label("Select No landmark, photo 2", exact=True).check()
        page.get_by_role("button", name="Move to…").click()
        page.get_by_label("Landmark", exact=True).fill("fenvem")
        page.locator("#pick-found").get_by_role("button", name="Tower of Fenven").click()
        expect(page.locator(".toast")).to_contain_text("was moved to “Tower of Fenven”")
        expect(page.locator("#unlabelled-count")).to_have_text("29 photos")
        assert world.landmarks["tower_of_fenven"][-1] == "street/1.jpg"
        page.locator(".toast").get_by_role("button", name="Undo").click()
        expect(page.locator("#unlabelled-count")).to_have_text("30 photos")
        assert "street/1.jpg" in world.distractors
