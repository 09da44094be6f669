"""The page on the real server: drawn matches agree with how the photos were generated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from playwright.sync_api import Browser, expect

from tests.support import page_browser
from tests.support.page_browser import BROWSER, ENDS, expect_hash, open_gallery, opened, ready
from tests.support.page_checks import served
from tests.support.served_world import front, jpeg, made, with_gps

pytestmark = [*BROWSER, pytest.mark.server]
browser = pytest.fixture(scope="module")(page_browser.chromium)
PLACE, QUERY = 1, 9  # painted front, and seed of the viewpoint of the query
SIDEWAYS = 6  # EXIF orientation: turn clockwise to show


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(made()) as url:
        yield url


def file(name: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "image/jpeg", "buffer": data}


def corner(seed: int) -> np.ndarray:
    """Top left corner of a photo on its painted front, as `front` crops it."""
    return np.random.default_rng([PLACE, seed]).integers(0, 30, 2)


def test_a_sideways_photo_is_answered_and_explained_upright(browser: Browser, address: str) -> None:
    stored = front(PLACE, QUERY).transpose(Pillow.Transpose.ROTATE_90)
    with opened(browser, address) as (page, _):
        ready(page)
        sideways = with_gps(stored, "<b>words</b>", SIDEWAYS)
        page.set_input_files("#files", [file("<i>sideways</i>.jpg", sideways)])
        page.locator('[data-state="answered"]').wait_for()
        expect(page.locator(".answer h3")).to_contain_text("First Place")
        thumb = page.locator(".candidates .thumb").first
        expect(thumb).to_contain_text("Photo: A. Author, CC BY 4.0")
        expect(thumb.get_by_role("link", name="CC BY 4.0")).to_have_attribute(
            "href", "https://creativecommons.org/licenses/by/4.0/"
        )
        expect(page.locator(".places").first).to_contain_text("48.8583° N, 2.2945° E")
        page.get_by_role("button", name="Why?").click()
        page.wait_for_selector(".pair")
        for number in range(2):
            page.locator(".pair img").nth(number).evaluate("i => i.decode()")
        drawn = page.evaluate(ENDS)
        reference = page.locator(".pair img").nth(1).get_attribute("src") or ""
        seed = int(reference.split(".jpg")[0].split("%2F")[-1])
        size = np.array([360, 270])
        query_points, gallery_points = (
            np.array(drawn["lines"])[:, side] for side in (slice(0, 2), slice(2, 4))
        )
        shift = (query_points * size + corner(QUERY)) - (gallery_points * size + corner(seed))
        assert len(drawn["lines"]) >= 20
        assert np.median(np.abs(shift)) < 1.5  # pixels of the front: the same spot in both
        assert drawn["images"][0]["width"] > drawn["images"][0]["height"]


def test_a_landmark_is_added_recognized_and_removed(browser: Browser, address: str) -> None:
    photos = [file(f"{seed}.jpg", jpeg(front(30, seed))) for seed in range(3)]
    with opened(browser, address) as (page, _):
        ready(page)
        open_gallery(page)
        expect(page.locator("#gallery-count")).to_contain_text("4 landmarks · 16 photos")
        page.click("#landmark-new")
        page.fill("#new-name", "new/place & co")
        page.set_input_files("#new-files", photos)
        page.click("#new-add")
        expect(page.locator("#new")).to_be_hidden()
        expect(page.locator("#gallery-count")).to_contain_text("5 landmarks · 19 photos")
        page.click("#to-recognize")
        page.set_input_files("#files", [file("query.jpg", jpeg(front(30, QUERY)))])
        page.locator('[data-state="answered"]').wait_for()
        expect(page.locator(".answer")).to_contain_text("New/place & co")
        page.get_by_role("button", name="Yes, it is right").or_(
            page.get_by_role("button", name="New/place & co", exact=True)
        ).click()
        expect(page.locator(".thanks")).to_be_visible()
        open_gallery(page)
        page.locator("#landmarks .card", has_text="New/place").click()
        page.get_by_label("Select New/place & co, photo 1", exact=True).check()
        page.locator("#landmark .selection").get_by_role("button", name="Remove").click()
        page.click("#confirm-yes")
        expect(page.locator(".photos li")).to_have_count(2)
        page.get_by_role("button", name="Remove landmark").click()
        page.click("#confirm-yes")
        expect(page.locator("#gallery-count")).to_contain_text("4 landmarks · 16 photos")
        page.locator(".toast", has_text="New/place").get_by_role("button", name="Undo").click()
        expect(page.locator("#gallery-count")).to_contain_text("5 landmarks · 18 photos")
        page.locator(".toast").get_by_role("button", name="Undo").click()
        expect(page.locator("#gallery-count")).to_contain_text("5 landmarks · 19 photos")


def test_a_landmark_is_edited_moved_merged_and_reviewed(browser: Browser, address: str) -> None:
    photos = [file(f"{seed}.jpg", jpeg(front(31, seed))) for seed in range(3)]
    with opened(browser, f"{address}/#gallery") as (page, _):
        page.locator("#landmarks .card").first.wait_for()
        count = page.locator("#gallery-count")
        expect(count).to_contain_text("landmarks")
        before = count.inner_text()
        page.click("#landmark-new")
        page.fill("#new-name", "harbour")
        page.set_input_files("#new-files", photos)
        page.click("#new-add")
        expect(page.locator("#new")).to_be_hidden()
        page.get_by_label("Search landmarks").fill("HÁRBOUR")
        page.locator("#landmarks .card", has_text="Harbour").click()
        page.get_by_role("button", name="Edit", exact=True).click()
        page.fill("#edit-name", "Old Harbour")
        page.fill("#edit-place", "48.8584, 2.2945")
        page.fill("#edit-wikidata", "Q243")
        page.get_by_role("button", name="Add a name").click()
        page.get_by_label("Language").fill("French")
        page.locator("#edit-names").get_by_label("Name", exact=True).fill("Vieux port")
        page.click("#edit-save")
        expect(page.locator("#landmark-title")).to_have_text("Old Harbour")
        expect(page.locator(".facts")).to_contain_text("French Vieux port")
        expect(page.get_by_role("link", name="Wikidata Q243")).to_be_visible()
        page.locator(".open-photo").first.click()
        image = page.locator("#photo-body img")
        expect(image).to_have_attribute("src", re.compile(r"preview\?side=1600$"))
        image.evaluate("i => i.decode()")
        page.locator("#photo").get_by_role("button", name="Credit…").click()
        page.fill("#credits-author", "A. Nother")
        page.click("#credits-save")
        expect(page.locator(".photos li").first).to_contain_text("A. Nother")
        page.get_by_label("Select Old Harbour, photo 2", exact=True).check()
        page.locator("#landmark .selection").get_by_role("button", name="Move to…").click()
        page.get_by_role("button", name="No landmark: it shows something else").click()
        expect(page.locator(".photos li")).to_have_count(2)
        page.keyboard.press("Escape")
        page.locator("#to-unlabelled").click()
        expect(page.locator("#unlabelled .photos li").first).to_be_visible()
        page.goto(f"{address}/#gallery/harbour")
        page.get_by_role("button", name="Edit", exact=True).click()
        page.fill("#edit-label", "place 1")
        page.click("#edit-save")
        expect(page.locator("#confirm-title")).to_contain_text("Put the photos into")
        expect(page.locator(".merged").first).to_contain_text("Old Harbour 2 photos")
        page.click("#confirm-yes")
        expect(page.locator("#edit")).to_be_hidden()
        expect_hash(page, "#gallery/place%201")
        page.keyboard.press("Escape")
        page.goto(f"{address}/#gallery")
        expect(count).not_to_have_text(before)
