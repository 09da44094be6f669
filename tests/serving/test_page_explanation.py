"""The explanation view and the feedback in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import page_browser
from tests.support.page_browser import BROWSER, ENDS, open_explanation, opened, ready, submit_photos
from tests.support.page_world import World, explanation

pytestmark = BROWSER
browser = pytest.fixture(scope="module")(page_browser.chromium)
world = pytest.fixture(page_browser.small_world)
address = pytest.fixture(page_browser.serving)
page = pytest.fixture(page_browser.ready_page)


@pytest.mark.parametrize(("width", "stacked"), [(1000, False), (360, True)])
def test_lines_end_at_the_matched_points_on_screen(
    browser: Browser, world: World, address: str, width: int, stacked: bool
) -> None:
    with opened(browser, address, viewport={"width": width, "height": 800}) as (page, _):
        ready(page)
        open_explanation(page)
        drawn = page.evaluate(ENDS)
        (_, first), (_, second) = [(i["x"], i["y"]) for i in drawn["images"]]
        assert (second > first + 20) is stacked
        wanted = explanation(world, "palace.jpg")["pairs"][0]["lines"]
        assert len(drawn["lines"]) == 40
        for line, truth in zip(drawn["lines"], wanted, strict=False):
            assert line == pytest.approx(truth, abs=0.01)


def test_the_slider_shows_the_strongest_matches(page: Page) -> None:
    open_explanation(page)
    slider = page.get_by_role("slider", name="Strongest matches")
    strokes = page.locator(".pair line:not(.halo, .dot)")
    expect(strokes).to_have_count(40)
    slider.press("End")
    expect(strokes).to_have_count(61)
    expect(page.locator("output")).to_have_text("all 61")
    slider.press("Home")
    expect(strokes).to_have_count(1)
    slider.press("ArrowRight")
    expect(strokes).to_have_count(2)
    expect(slider).to_have_attribute("aria-valuetext", "the strongest 2 of 61")


def test_the_explanation_is_also_given_as_text(page: Page, world: World) -> None:
    open_explanation(page)
    expect(page.locator(".pair-text")).to_contain_text("61 points of your photo match this photo")
    page.get_by_text("61 matched points as a table").click()
    row = page.locator("details tbody tr").first
    expect(row.locator("td")).to_have_text(["20 %", "15 %", "23 %", "14 %"])
    expect(page.locator("#why-body")).to_contain_text("Adds to the score")
    page.get_by_role("button", name="Gallery photo 3: Tower of Fenven, 21 points").click()
    expect(page.locator(".pair-text")).to_contain_text("21 points")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Why?")).to_be_focused()
    expect(page.locator("#why-body")).to_have_text("")


def test_the_query_photo_stays_in_the_browser(page: Page) -> None:
    open_explanation(page)
    sources = [image.get_attribute("src") or "" for image in page.locator(".pair img").all()]
    assert sources[0].startswith("blob:")
    assert "/v1/photos/" in sources[1]


def test_feedback_right_and_wrong_reaches_the_server(page: Page, world: World) -> None:
    submit_photos(page, "palace.jpg", "unsure.jpg", "nothing.jpg")
    cards = page.locator(".answer")
    cards.nth(0).get_by_role("button", name="No, it is wrong").click()
    name = cards.nth(0).get_by_label("Correct landmark")
    expect(name).to_be_focused()
    name.fill("Linlosk")
    expect(cards.nth(0).locator("datalist option")).to_have_count(1)
    name.fill("Linlosk Old Bridge")
    name.press("Enter")
    expect(cards.nth(0)).to_contain_text("Thank you")
    cards.nth(1).get_by_role("button", name="Tower of Fenven", exact=True).click()
    expect(cards.nth(1)).to_contain_text("Thank you")
    cards.nth(2).get_by_role("button", name="Yes, it is right").click()
    expect(cards.nth(2)).to_contain_text("Thank you")
    sent = [(f["photo"], f["answer"], f["right"], f["correct"]) for f in world.feedback]
    assert sent == [
        ("palace.jpg", "cathedral_of_velras", False, "linlosk_old_bridge"),
        ("unsure.jpg", "cathedral_of_velras", False, "tower_of_fenven"),
        ("nothing.jpg", None, True, None),
    ]
    assert all(f["request_id"] == "r-1" for f in world.feedback)
