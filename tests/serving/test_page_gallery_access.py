"""Accessibility of the gallery's views and the panel for the key: axe-core, sizes, widths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import page_browser
from tests.support.page_browser import BROWSER, opened, ready
from tests.support.page_checks import axe, small_targets, too_wide
from tests.support.page_world import World

pytestmark = BROWSER
browser = pytest.fixture(scope="module")(page_browser.chromium)
world = pytest.fixture(page_browser.small_world)
address = pytest.fixture(page_browser.serving)
FIRST, SECOND = "cathedral_of_velras", "tower_of_fenven"


def stages(page: Page, address: str) -> Iterator[str]:
    """Bring the page into each state of the gallery, and yield the name of the state."""
    page.goto(f"{address}/#gallery/{FIRST}x")
    page.locator("#gallery-lost").wait_for()
    yield "no such landmark"
    page.goto(f"{address}/#gallery/{FIRST}")
    page.locator(".photos li").nth(4).wait_for()
    yield "landmark"
    page.locator("#landmark .pick input").first.check()
    yield "selection"
    page.locator("#landmark .selection button").nth(0).click()
    page.locator("#pick-found img").first.wait_for()
    yield "move"
    page.keyboard.press("Escape")
    page.locator("#landmark .selection button").nth(1).click()
    page.fill("#credits-source", "x")
    page.click("#credits-save")
    yield "credits"
    page.fill("#credits-source", "")
    page.keyboard.press("Escape")
    page.locator(".open-photo").nth(1).click()
    yield "photo"
    page.locator("#photo .danger").click()
    yield "question"
    page.click("#confirm-yes")
    page.locator(".toast").wait_for()
    yield "undo"
    page.locator("#landmark .buttons button").nth(1).click()
    page.click("#edit-add-name")
    page.fill("#edit-place", "x")
    page.click("#edit-save")
    yield "edit"
    page.fill("#edit-place", "")
    page.locator("#edit-names li").last.locator("button").click()
    page.fill("#edit-label", SECOND)
    page.click("#edit-save")
    page.locator(".merged").nth(1).wait_for()
    yield "merge"
    page.keyboard.press("Escape")
    expect(page.locator("#confirm")).to_be_hidden()
    page.click("#edit-cancel")
    page.click("#confirm-yes")
    expect(page.locator("#edit")).to_be_hidden()
    page.goto(f"{address}/#unlabelled")
    page.locator("#unlabelled .photos li").first.wait_for()
    yield "unlabelled"
    page.goto(f"{address}/#review")
    page.locator(".feedback-entry").first.wait_for()
    yield "review"


@pytest.mark.parametrize(
    ("width", "scheme", "locale"), [(1200, "dark", "en-US"), (360, "light", "fr-FR")]
)
def test_every_state_is_accessible(
    browser: Browser, world: World, address: str, width: int, scheme: Any, locale: str
) -> None:
    world.feedback.append(
        {"id": "f-1", "time": "2026-11-28T17:00:00Z", "photo": "a.jpg", "answer": FIRST,
         "right": False, "correct": SECOND, "note": "a note", "key": "", "state": "open",
         "landmark": None, "image": "/v1/feedback/f-1/photo"}
    )  # fmt: skip
    options: dict[str, Any] = {
        "viewport": {"width": width, "height": 740}, "color_scheme": scheme, "locale": locale,
        "has_touch": width < 1000, "reduced_motion": "reduce",
    }  # fmt: skip
    with opened(browser, address, axe=True, **options) as (page, _):
        ready(page)
        for stage in stages(page, address):
            assert axe(page) == [], stage
            assert too_wide(page) == [], stage
            if width < 1000:
                assert small_targets(page) == [], stage


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (360, "dark")])
def test_the_panel_for_the_key_is_accessible(
    browser: Browser, world: World, address: str, width: int, scheme: Any
) -> None:
    world.read_key = world.write_key = "k"
    options: dict[str, Any] = {
        "viewport": {"width": width, "height": 740},
        "color_scheme": scheme,
    }
    with opened(browser, address, axe=True, **options) as (page, _):
        ready(page)
        assert axe(page) == []
        page.fill("#key-value", "wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-problem")).to_contain_text("does not know")
        assert axe(page) == []
        assert too_wide(page) == []
        assert small_targets(page) == []
