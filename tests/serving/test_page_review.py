"""Review of feedback on the page: approve, correct, discard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import page_browser
from tests.support.page_browser import BROWSER, opened, ready
from tests.support.page_world import World

pytestmark = BROWSER
browser = pytest.fixture(scope="module")(page_browser.chromium)
world = pytest.fixture(page_browser.small_world)
address = pytest.fixture(page_browser.serving)
FIRST, SECOND = "cathedral_of_velras", "tower_of_fenven"


def entry(number: int, **values: Any) -> dict[str, Any]:
    image = f"/v1/feedback/f-{number}/photo"
    usual = {"id": f"f-{number}", "time": "2026-11-28T17:00:00Z", "photo": f"{number}.jpg",
             "answer": FIRST, "right": False, "correct": None, "note": "", "key": "",
             "state": "open", "landmark": None, "image": image}  # fmt: skip
    return {**usual, **values}


@pytest.fixture
def page(browser: Browser, address: str, world: World) -> Iterator[Page]:
    world.feedback += [
        entry(1, right=True),
        entry(2, correct=SECOND, note="seen from the river", key="anna"),
        entry(3, answer=None, image=None),
    ]
    with opened(browser, f"{address}/#gallery") as (page, _):
        ready(page)
        page.get_by_role("link", name="Review (3)").click()
        page.locator(".feedback-entry").nth(2).wait_for()
        yield page


def item(page: Page, number: int) -> Any:
    return page.locator(".feedback-entry", has=page.get_by_role("heading", name=f"{number}.jpg"))


def test_entries_say_what_was_answered_and_what_was_said(page: Page) -> None:
    expect(page.locator("#review-title")).to_be_focused()
    expect(page).to_have_title("Review – Drawn world")
    expect(item(page, 1)).to_contain_text("The answer was “Cathedral of Velras”.")
    expect(item(page, 1)).to_contain_text("It was said to be right.")
    item(page, 1).locator("img").evaluate("i => i.decode()")
    expect(item(page, 2)).to_contain_text("It was said to be “Tower of Fenven”.")
    expect(item(page, 2)).to_contain_text("Note: seen from the river")
    expect(item(page, 2)).to_contain_text("anna")
    expect(item(page, 3)).to_contain_text("The answer was “no landmark”.")
    expect(item(page, 3)).to_contain_text("the photo was not kept")


def test_feedback_is_approved_corrected_and_discarded(page: Page, world: World) -> None:
    item(page, 2).get_by_role("button", name="Add to “Tower of Fenven”").click()
    expect(page.locator(".toast")).to_contain_text("The photo was added to “Tower of Fenven”.")
    expect(page.locator(".feedback-entry")).to_have_count(2)
    expect(page.get_by_role("link", name="Review (2)")).to_be_visible()
    assert world.landmarks[SECOND][-1] == "feedback/f-2.jpg"
    expect(item(page, 1).locator("button").first).to_be_focused()

    item(page, 1).get_by_role("button", name="Another landmark…").click()
    page.fill("#pick-name", "Harbour Bridge")
    page.get_by_role("button", name="New landmark “Harbour Bridge”").click()
    expect(page.locator(".toast").last).to_contain_text("added to “Harbour Bridge”.")
    assert world.feedback[0]["state"] == "corrected"

    item(page, 3).get_by_role("button", name="Discard").click()
    expect(page.locator("#review-empty")).to_have_text("There is nothing to review.")
    expect(page.locator("#review-title")).to_be_focused()
    page.locator("#review-state").select_option("Corrected")
    expect(page.locator(".feedback-entry")).to_contain_text("Corrected to “Harbour Bridge”.")
    expect(page.locator(".feedback-entry button")).to_have_count(0)


def test_discarding_a_photo_asks(page: Page, world: World) -> None:
    item(page, 1).get_by_role("button", name="Discard").click()
    expect(page.locator("#confirm-words")).to_contain_text("the server deletes it")
    expect(page.locator("#confirm-extra img")).to_have_count(1)
    page.click("#confirm-no")
    assert world.feedback[0]["state"] == "open"
    item(page, 1).get_by_role("button", name="Discard").click()
    page.click("#confirm-yes")
    expect(page.locator(".feedback-entry")).to_have_count(2)
    assert world.feedback[0]["state"] == "discarded"


def test_a_decision_of_somebody_else_is_said(page: Page, world: World) -> None:
    world.feedback[0]["state"] = "approved"
    item(page, 1).get_by_role("button", name="Add to “Cathedral of Velras”").click()
    expect(item(page, 1)).to_contain_text("Somebody else has decided on this already.")


def test_review_is_not_offered_without_feedback_or_the_right(
    browser: Browser, address: str, world: World
) -> None:
    with opened(browser, f"{address}/#gallery") as (page, _):
        page.locator("#landmarks .card").first.wait_for()
        expect(page.locator("#to-review")).to_be_hidden()
        page.goto(f"{address}/#review")
        expect(page.locator("#review-empty")).to_have_text("There is nothing to review.")
    world.write_key = "writes"
    world.feedback.append(entry(1))
    with opened(browser, f"{address}/#review") as (page, _):
        expect(page.locator("#key")).to_contain_text("Changes need a key")
        page.fill("#key-value", "writes")
        page.keyboard.press("Enter")
        expect(page.locator(".feedback-entry")).to_have_count(1)
