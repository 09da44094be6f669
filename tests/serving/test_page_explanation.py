"""The explanation view and the feedback in a real browser."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from PIL import Image as Pillow
from playwright.sync_api import Browser, Page, expect

from tests.support import page_browser
from tests.support.page_browser import (
    BROWSER,
    ENDS,
    open_explanation,
    opened,
    ready,
    submit_photos,
    until,
)
from tests.support.page_checks import axe
from tests.support.page_world import World, explanation

pytestmark = BROWSER
browser = pytest.fixture(scope="module")(page_browser.chromium)
world = pytest.fixture(page_browser.small_world)
address = pytest.fixture(page_browser.serving)
page = pytest.fixture(page_browser.ready_page)


SENTENCES = {
    "palace.jpg": "Your photo looks like these 2 photos of Cathedral of Velras, and far less like "
    "any other landmark. 61 details agree with Cathedral of Velras, and 21 with another landmark.",
    "plain alone.jpg": "Your photo looks like this photo of Cathedral of Velras, and far less like "
    "any other landmark. Details were not compared.",
    "likely.jpg": "Your photo probably shows Cathedral of Velras: it looks rather like these 2 "
    "photos of it, and less like any other landmark. 61 details agree with Cathedral of Velras, "
    "and 21 with another landmark.",
    "unsure.jpg": "Your photo looks a little like Cathedral of Velras and Tower of Fenven, not "
    "enough to be sure of either. 12 details agree.",
    "nothing.jpg": "Nothing in the gallery looks enough like your photo. The closest is Cathedral "
    "of Velras, but only 4 details agree, as many as by chance.",
    "nothing else.jpg": "Nothing in the gallery looks enough like your photo. It is more like "
    "photos without a landmark than like any landmark.",
    "nothing plain.jpg": "Nothing in the gallery looks enough like your photo. The closest is "
    "Cathedral of Velras.",
}


def why(page: Page, name: str) -> None:
    """Ask for a photo of this name, and why."""
    submit_photos(page, name)
    page.get_by_role("button", name="Why?").first.click()
    page.wait_for_selector(".why-words")


def open_flat_explanation(page: Page, size: tuple[int, int]) -> None:
    """The explanation of a photo of this size, whose gallery photos have it too."""
    data = io.BytesIO()
    Pillow.new("RGB", size, "teal").save(data, "JPEG")
    reply = {"status": 200, "content_type": "image/jpeg", "body": data.getvalue()}
    page.route("**/preview*", lambda route: route.fulfill(**reply))
    file = {"name": "palace.jpg", "mimeType": "image/jpeg", "buffer": data.getvalue()}
    page.set_input_files("#files", [file])
    page.locator('[data-state="answered"]').wait_for()
    page.get_by_role("button", name="Why?").click()
    for number in range(2):
        page.locator(".pair img").nth(number).evaluate("i => i.decode()")


@pytest.mark.parametrize("name", SENTENCES)
def test_two_sentences_say_why_and_are_no_surer_than_the_answer(page: Page, name: str) -> None:
    why(page, name)
    expect(page.locator(".why-words")).to_have_text(SENTENCES[name])
    titles = {"u": "Why maybe Cathedral of Velras?", "n": "Why no landmark?"}
    expect(page.locator("#why-title")).to_have_text(titles.get(name[0], "Why Cathedral of Velras?"))


def test_the_sentences_are_in_the_language_of_the_reader(browser: Browser, address: str) -> None:
    with opened(browser, address, locale="fr-CA") as (page, _):
        ready(page)
        submit_photos(page, "palace.jpg")
        page.get_by_role("button", name="Pourquoi").click()
        expect(page.locator("#why-title")).to_have_text("Pourquoi Cathedral of Velras (fr) ?")
        expect(page.locator(".why-words")).to_have_text(
            "Votre photo ressemble à ces 2 photos (Cathedral of Velras (fr)), et beaucoup moins à "
            "tout autre monument. 61 détails concordent avec Cathedral of Velras (fr), et 21 avec "
            "un autre monument."
        )


def test_score_and_confidence_are_in_sight_and_the_numbers_folded(page: Page) -> None:
    why(page, "unsure.jpg")
    facts = page.locator(".why-facts")
    expect(facts).to_contain_text("48 % that it is Cathedral of Velras")
    expect(page.get_by_text("This is a new look at the photo")).to_have_count(0)
    expect(facts).to_contain_text("3.20")
    table = page.locator(".numbers table")
    expect(table).to_be_hidden()
    page.get_by_text("Numbers", exact=True).click()
    row = table.get_by_role("row").filter(has_text="Similarity to distractors")
    expect(row.locator("td")).to_have_text(["0.40", "-0.60"])
    inliers = table.get_by_role("row").filter(has_text="beyond the 6 that agree by chance")
    expect(inliers.locator("td").first).to_have_text("55")
    expect(page.locator(".numbers .thumbs img")).to_have_attribute(
        "alt", "A photo without a landmark, a photo of the gallery"
    )


def test_a_new_answer_is_told_where_it_differs(page: Page) -> None:
    why(page, "changed.jpg")
    expect(page.get_by_text("This is a new look at the photo")).to_be_visible()
    expect(page.locator(".why-facts")).to_contain_text("87 %")


@pytest.mark.parametrize(("width", "stacked"), [(1000, False), (360, True)])
def test_lines_end_at_the_matched_points_on_screen(
    browser: Browser, world: World, address: str, width: int, stacked: bool
) -> None:
    with opened(browser, address, viewport={"width": width, "height": 800}) as (page, _):
        ready(page)
        open_flat_explanation(page, (640, 400))
        drawn = page.evaluate(ENDS)
        (_, first), (_, second) = [(i["x"], i["y"]) for i in drawn["images"]]
        assert (second > first + 20) is stacked
        wanted = explanation(world, "palace.jpg")["pairs"][0]["lines"]
        assert len(drawn["lines"]) == 60  # of 61
        for line, truth in zip(drawn["lines"], wanted, strict=False):
            assert line == pytest.approx(truth, abs=0.01)


def test_tall_photos_stay_beside_each_other_and_whole_on_a_phone(
    browser: Browser, address: str
) -> None:
    with opened(browser, address, viewport={"width": 360, "height": 640}) as (page, _):
        ready(page)
        open_flat_explanation(page, (300, 700))
        one, two = page.evaluate(ENDS)["images"]
        assert one["y"] == pytest.approx(two["y"], abs=1)
        assert two["x"] > one["x"] + one["width"]
        for shown in (one, two):
            assert shown["width"] / shown["height"] == pytest.approx(3 / 7, abs=0.02)
            assert shown["height"] <= 640
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_lines_can_be_switched_off(page: Page) -> None:
    open_explanation(page)
    lines = page.locator(".pair .lines")
    expect(page.locator(".pair-text")).to_have_text(
        "61 details agree between both photos; lines join the 60 strongest."
    )
    switch = page.get_by_label("Lines between details that agree")
    switch.press("Space")
    expect(lines).to_be_hidden()
    switch.press("Space")
    expect(lines).to_be_visible()


def test_details_that_agree_by_chance_are_not_drawn(page: Page) -> None:
    why(page, "nothing.jpg")
    expect(page.locator(".pair-text")).to_have_text(
        "Only 3 details agree, as many as by chance, so no lines are drawn."
    )
    expect(page.locator(".pair line")).to_have_count(0)
    expect(page.get_by_label("Lines between details that agree")).to_have_count(0)


def test_each_candidate_has_a_photo_to_choose(page: Page) -> None:
    why(page, "unsure.jpg")
    expect(page.locator(".why-group p")).to_have_text(
        ["Cathedral of Velras48 %", "Tower of Fenven31 %"]
    )
    chips = page.locator(".chip")
    expect(chips).to_have_text(["12 details", "looks alike", "less alike"])
    page.get_by_role("button", name="Tower of Fenven, photo 1 of 1: less alike").click()
    expect(chips.nth(2)).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".pair-text")).to_have_text("No details agree between these photos.")
    image = page.locator(".pair img").nth(1)
    expect(image).to_have_attribute("alt", "Gallery photo: Tower of Fenven")
    expect(image).to_have_attribute(
        "src", re.compile(r"tower_of_fenven%2F0.jpg/preview\?side=640$")
    )


def test_a_photo_opens_large_and_is_zoomed(page: Page) -> None:
    open_explanation(page)
    photo = page.get_by_role("button", name="Gallery photo of Cathedral of Velras: open large")
    photo.press("Enter")
    large = page.locator("dialog.large")
    image = large.locator("img")
    expect(image).to_have_attribute("src", re.compile(r"/preview\?side=2048$"))
    image.evaluate("i => i.decode()")
    expect(large).to_contain_text("Photo: Mira Ansel, CC BY-SA 4.0")

    def width() -> float:
        return float(image.evaluate("i => i.getBoundingClientRect().width"))

    def expect_zoom(share: float) -> None:
        until(page, lambda: width() == pytest.approx(share * fitted, rel=0.01))

    fitted = width()
    assert fitted <= 1000
    large.get_by_role("button", name="Zoom in").click()
    expect_zoom(1.5)
    page.keyboard.press("+")
    expect_zoom(2.25)
    large.get_by_role("button", name="Zoom out").click()
    expect_zoom(1.5)
    large.get_by_role("button", name="Fit").click()
    expect_zoom(1)
    page.keyboard.press("Escape")
    expect(large).to_have_count(0)
    expect(page.locator("#why")).to_be_visible()
    expect(photo).to_be_focused()
    page.get_by_role("button", name="Your photo: open large").click()
    expect(image).to_have_attribute("src", re.compile("^blob:"))
    large.get_by_role("button", name="Close").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Why?")).to_be_focused()
    expect(page.locator("#why-body")).to_have_text("")


def test_the_query_photo_stays_in_the_browser(page: Page) -> None:
    open_explanation(page)
    expect(page.locator(".pair img").nth(0)).to_have_attribute("src", re.compile("^blob:"))
    expect(page.locator(".pair img").nth(1)).to_have_attribute("src", re.compile("/v1/photos/"))


def test_feedback_right_and_wrong_reaches_the_server(page: Page, world: World) -> None:
    submit_photos(page, "palace.jpg", "unsure.jpg")
    cards = page.locator(".answer")
    cards.nth(0).get_by_role("button", name="No, it is wrong").click()
    name = cards.nth(0).get_by_label("What is it?")
    expect(name).to_be_focused()
    name.fill("Linlosk")
    expect(cards.nth(0).locator("datalist option")).to_have_count(1)
    name.fill("Linlosk Old Bridge")
    name.press("Enter")
    expect(cards.nth(0)).to_contain_text("Thank you")
    cards.nth(1).get_by_role("button", name="Tower of Fenven", exact=True).click()
    expect(cards.nth(1)).to_contain_text("Thank you")
    page.click("#clear")
    submit_photos(page, "nothing.jpg")
    cards.nth(0).get_by_role("button", name="Yes, it is right").click()
    expect(cards.nth(0)).to_contain_text("Thank you")
    sent = [(f["photo"], f["answer"], f["right"], f["correct"]) for f in world.feedback]
    assert sent == [
        ("palace.jpg", "cathedral_of_velras", False, "linlosk_old_bridge"),
        ("unsure.jpg", "cathedral_of_velras", False, "tower_of_fenven"),
        ("nothing.jpg", None, True, None),
    ]
    assert all(f["request_id"] == "r-1" for f in world.feedback)


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (360, "dark")])
def test_axe_finds_nothing_in_the_explanation_and_the_large_view(
    browser: Browser, address: str, width: int, scheme: Any
) -> None:
    size = {"width": width, "height": 800}
    with opened(browser, address, viewport=size, color_scheme=scheme, axe=True) as (page, _):
        ready(page)
        why(page, "unsure.jpg")
        page.locator(".numbers summary").click()
        assert axe(page) == []
        page.get_by_role("button", name="Your photo: open large").click()
        assert axe(page) == []
        small = page.evaluate(
            """() => [...document.querySelectorAll("#why button, #why summary, #why label, "
                + "dialog.large button")].filter((n) => n.getBoundingClientRect().height < 44)
                .map((n) => n.outerHTML)"""
        )
        assert small == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
