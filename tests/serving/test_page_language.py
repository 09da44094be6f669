"""The page in the reader's language, names of landmarks too; errors in words for people."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.serving.test_page_files import strings_of
from tests.support import page_browser
from tests.support.page_browser import BROWSER, open_gallery, opened, ready
from tests.support.page_world import World
from whichlandmark.serving.discoveries import DISCOVERY_FAULTS
from whichlandmark.serving.page_files import STATIC

pytestmark = BROWSER
browser = pytest.fixture(scope="module")(page_browser.chromium)
world = pytest.fixture(page_browser.small_world)
address = pytest.fixture(page_browser.serving)
page = pytest.fixture(page_browser.ready_page)
FIRST = "cathedral_of_velras"


def test_the_page_speaks_french(browser: Browser, address: str, world: World) -> None:
    with opened(browser, address, locale="fr-CA") as (page, _):
        ready(page)
        assert page.evaluate("document.documentElement.lang") == "fr"
        open_gallery(page)
        expect(page.locator("#gallery-count")).to_have_text("6 monuments · 30 photos")
        card = page.locator("#landmarks .card", has_text="Cathedral of Velras (fr)")
        card.click()  # its name in French
        expect(page.locator("#landmark-title")).to_have_text("Cathedral of Velras (fr)")
        page.locator(".photos li").nth(4).wait_for()
        page.get_by_role("button", name="Retirer le monument").click()
        expect(page.locator("#confirm-title")).to_have_text(
            "Retirer « Cathedral of Velras (fr) » ?"
        )
        expect(page.locator("#confirm-words")).to_contain_text("Il part avec ses 5 photos")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Modifier").click()
        expect(page.locator("#edit-name")).to_have_value("Cathedral of Velras")  # the title itself
        expect(page.get_by_label("Nom en Hindi")).to_have_value("हवा महल")


def test_unknown_languages_get_english_words_and_their_own_names(
    browser: Browser, address: str, world: World
) -> None:
    with opened(browser, f"{address}/#gallery", locale="hi-IN") as (page, _):
        expect(page.locator("#gallery-title")).to_have_text("Gallery")
        expect(page.locator("#landmarks .card", has_text="हवा महल")).to_have_count(1)
        assert page.evaluate("document.documentElement.lang") == "en"


SPOKEN = r"""[...document.querySelectorAll("body *")].filter((node) =>
  [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim()) &&
  !node.closest("script, noscript, style, kbd, #brand")).map((node) => node.textContent.trim())"""


def test_nothing_english_is_left_in_the_markup(browser: Browser, address: str) -> None:
    """Every text in index.html is filled in from the strings."""
    with opened(browser, address, locale="fr-FR") as (page, _):
        ready(page)
        french = " ".join(page.evaluate(SPOKEN))
        for word in ("Close", "Save", "Search", "Remove", "Photos of", "Landmark", "Cancel", "Key"):
            assert not re.search(rf"\b{word}\b", french), word


# Reply of the server → what the page says. No text of the server is shown where the code is known.
FAULTS: list[tuple[int, str, dict[str, str], str]] = [
    (503, "busy", {"Retry-After": "7"}, "more to do than it can at once. Try again in 7 s."),
    (429, "rate_limited", {"Retry-After": "9"}, "Try again in 9 s."),
    (503, "storage", {}, "The server cannot store anything at the moment."),
    (403, "cross_site", {}, "The server takes changes only from its own page."),
    (421, "wrong_host", {}, "The server does not answer under this address."),
    (408, "too_slow", {}, "It took too long to send this."),
    (500, "internal", {}, "tell the people who run it this number: r-77."),
    (502, "", {}, "The server is not running at the moment. Try again in a few minutes."),
    (418, "teapot", {}, "MESSAGE OF THE SERVER HINT"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "code", "headers", "words"), FAULTS)
def test_errors_are_told_in_words_for_people(
    page: Page, status: int, code: str, headers: dict[str, str], words: str
) -> None:
    error = {"code": code, "message": "MESSAGE OF THE SERVER", "hint": "HINT"}
    body: Any = {"error": error, "request_id": "r-77"}

    def refuse(route: Any) -> None:
        if code:
            route.fulfill(status=status, json=body, headers=headers)
        else:
            route.fulfill(status=status, body="<html>Bad gateway</html>")

    page.route("**/v1/landmarks?*", refuse)
    page.click("#to-gallery")
    state = page.locator("#gallery-state")
    expect(state).to_contain_text("Try again")
    said = " ".join(line.inner_text() for line in state.locator("p").all())
    assert words in said
    assert ("MESSAGE" in said) == (code == "teapot")
    page.unroute("**/v1/landmarks?*")
    state.get_by_role("button", name="Try again").click()
    expect(page.locator("#landmarks .card")).to_have_count(6)


def test_a_lost_connection_is_told(page: Page) -> None:
    page.route("**/v1/landmarks?*", lambda route: route.abort())
    page.click("#to-gallery")
    expect(page.locator("#gallery-state")).to_contain_text(
        "The server cannot be reached.Check your connection and try again in a moment."
    )
    page.context.set_offline(True)
    expect(page.locator("#offline")).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#gallery-state")).to_contain_text("You are offline.")
    page.context.set_offline(False)
    page.unroute("**/v1/landmarks?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#landmarks .card")).to_have_count(6)


def test_no_text_speaks_to_programs() -> None:
    """The table of numbers (why.*) uses words of the field."""
    said = {**strings_of("en"), **{f"{key} (fr)": text for key, text in strings_of("fr").items()}}
    for key, text in said.items():
        for word in ("header", "--", "bearer", "http ", "status ", "distractor", "inlier", "api"):
            found = re.search(rf"(?<![a-z]){re.escape(word)}", text.lower())
            assert not found or key.startswith("why."), key


# Codes that the page never meets: it does not ask for such things, or shows a placeholder.
UNSEEN = {"no_thumbnail", "method_not_allowed", "unimplemented"}


def test_every_code_of_the_server_has_words() -> None:
    sources = [*STATIC.parent.glob("*.py"), STATIC.parents[1] / "recognition/folder/feedback.py"]
    text = "".join(path.read_text() for path in sources)
    whole = {
        *re.findall(r"(?:ApiError|_or_invalid)\(\s*(?:\d+,\s*)?\"([a-z_]+)\"", text),
        *re.findall(r"ReviewError\(\s*\"([a-z_]+)\"", text),
        *DISCOVERY_FAULTS,
    }
    photos = {*re.findall(r"PhotoError\(\s*\"([a-z_]+)\"", text)}
    assert len(whole) > 20
    assert len(photos) > 5
    known = {*strings_of("en")}
    for code in whole - UNSEEN:
        assert {f"error.{code}", f"error.{code}_hint"} <= known, code
    for code in photos:
        assert {f"error.photo_{code}", f"error.photo_{code}_hint"} <= known, code


def test_a_fault_of_the_page_is_told_without_the_words_of_the_browser(
    browser: Browser, address: str
) -> None:
    with opened(browser, address) as (page, log):
        ready(page)
        page.route("**/v1/landmarks?*", lambda route: route.fulfill(json={"total": 1}))
        page.click("#to-gallery")
        expect(page.locator("#gallery-state")).to_contain_text(
            "Something on this page went wrong.Reload the page and try again."
        )
        log.console.clear()  # where the fault itself is written for those who mend it
