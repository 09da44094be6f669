"""What people do on the page, by keyboard only and by touch, in Chromium and in Firefox.

Every journey is made in both browsers and by both kinds of hands, in two runs: Chromium by keyboard
and Firefox by touch, or the other way round, in turn. Those of `IN_ALL_PLACES` are made in all four
places: together they use each kind of thing whose handling depends on browser and hands at once,
which are the file chooser, dialogs that give the focus back, fields, boxes to tick, menus, and
saved files. WHICHLANDMARK_ALL_JOURNEYS=1 makes all of them in all four.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.page_browser import (
    BROWSER,
    CHROMIUM,
    TIMEOUT,
    context_of,
    shared_chromium,
    shared_playwright,
    stored,
)
from tests.support.page_hands import FIREFOX, HANDS, Hands, launched
from tests.support.page_server import PageServer
from tests.support.page_world import World, drawn

pytestmark = BROWSER[:1]
ON_THIS_MACHINE = {"chromium": CHROMIUM, "firefox": FIREFOX}
PLACES = {
    f"{name}-{kind}": (name, kind)
    for name in ON_THIS_MACHINE
    for kind in HANDS
}  # fmt: skip
IN_TURN = (("chromium-keyboard", "firefox-touch"), ("chromium-touch", "firefox-keyboard"))
IN_ALL_PLACES = (
    "test_a_photo_is_named_explained_and_confirmed",
    "test_a_wrong_answer_is_corrected_and_the_photo_kept",
    "test_many_photos_are_filtered_grouped_selected_and_saved",
    "test_a_photo_is_moved_removed_and_brought_back",
)
SIZE = {"width": 390, "height": 844}
PHOTO = base64.b64encode(drawn(0, "query")).decode()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    journeys = [name for name in vars(metafunc.module) if name.startswith("test_")]
    name = metafunc.function.__name__
    everywhere = name in IN_ALL_PLACES or os.environ.get("WHICHLANDMARK_ALL_JOURNEYS") == "1"
    places = PLACES if everywhere else IN_TURN[journeys.index(name) % 2]
    assert {*IN_ALL_PLACES} <= {*journeys}
    metafunc.parametrize("browser", places, indirect=True, scope="module")


@pytest.fixture(scope="module")
def browser(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Browser, Any, Path]]:
    name, kind = PLACES[request.param]
    if not ON_THIS_MACHINE[name]:
        pytest.skip(f"no {name} on this machine")
    expect.set_options(timeout=TIMEOUT)
    saved = tmp_path_factory.mktemp("saved")
    if name == "chromium":
        yield shared_chromium(), kind, saved
        return
    with launched(shared_playwright(), name, kind, saved) as started:
        yield started, kind, saved


@pytest.fixture
def world() -> World:
    return World.of(6)


@pytest.fixture
def address(world: World) -> Iterator[str]:
    with PageServer(world) as at:
        yield at


@pytest.fixture
def hands(browser: Any, address: str, tmp_path: Path) -> Iterator[Hands]:
    with visitor(browser, address, tmp_path) as there:
        yield there


@contextmanager
def visitor(browser: Any, address: str, folder: Path, locale: str = "en-GB") -> Iterator[Hands]:
    """A new visitor of an address."""
    started, kind, saved = browser
    options = {"viewport": SIZE, "has_touch": kind == "touch", "locale": locale}
    with context_of(started, **options) as context:
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("filechooser", lambda _: None)  # early, as the first press could be missed
        page.goto(address)
        page.wait_for_selector("html[data-ready]")
        yield Hands(page, kind, folder, saved)
    assert errors == []


def named(page: Any, role: Any, name: str, **more: Any) -> Locator:
    found: Locator = page.get_by_role(role, name=name, **more)
    return found


def card(page: Page, number: int = 0) -> Locator:
    return page.locator("article.answer").nth(number)


def choose(hands: Hands, *names: str) -> None:
    """Choose photos, and wait until each has its answer."""
    done = hands.page.locator('[data-state="answered"], [data-state="failed"]')
    before = done.count()
    hands.choose(hands.page.locator("#choose"), *names)
    expect(done).to_have_count(before + len(names))


# ——— one photo


def test_a_photo_is_named_explained_and_confirmed(hands: Hands, world: World) -> None:
    page = hands.page
    choose(hands, "palace.jpg")
    name = named(card(page), "heading", "Cathedral of Velras")
    expect(name).to_be_in_viewport(ratio=1)
    expect(card(page)).to_contain_text("97 % sure")
    hands.press(named(card(page), "button", "Why?"))
    dialog = page.locator("#why")
    expect(dialog.locator("img").first).to_be_visible()
    expect(dialog).to_contain_text("Cathedral of Velras")
    hands.close(dialog)
    hands.press(named(card(page), "button", "Yes, it is right"))
    expect(card(page)).to_contain_text("Thank you.")
    assert [(f["right"], f["correct"], f["image"]) for f in world.feedback] == [
        (True, "cathedral_of_velras", None)
    ]


def test_a_wrong_answer_is_corrected_and_the_photo_kept(hands: Hands, world: World) -> None:
    page = hands.page
    choose(hands, "unsure.jpg")
    expect(card(page)).to_contain_text("Maybe Cathedral of Velras, or something I don’t know")
    expect(card(page)).to_contain_text("48 %")
    expect(card(page)).to_contain_text("31 %")
    hands.press(named(card(page), "button", "Something else"))
    hands.type(card(page).get_by_label("What is it?"), "Linlosk Old Bridge")
    expect(card(page).locator("datalist option[value='Linlosk Old Bridge']")).to_have_count(1)
    hands.press(card(page).get_by_label("My photo may be kept"))
    hands.press(named(card(page), "button", "Send"))
    expect(card(page)).to_contain_text("may add it to the gallery")
    (sent,) = world.feedback
    assert (sent["right"], sent["correct"]) == (False, "linlosk_old_bridge")
    assert sent["image"]


def test_what_no_landmark_is_gets_no_name(hands: Hands) -> None:
    page = hands.page
    choose(hands, "nothing.jpg")
    expect(named(card(page), "heading", "No landmark I know")).to_be_in_viewport(ratio=1)
    expect(card(page).locator(".head")).not_to_contain_text("Cathedral")
    expect(card(page)).not_to_contain_text("% sure")


def test_a_part_of_the_photo_is_asked_again(hands: Hands, world: World) -> None:
    page = hands.page
    choose(hands, "unsure.jpg")
    hands.press(named(card(page), "button", "Choose a part"))
    dialog = named(page, "dialog", "Which part of the photo?")
    expect(dialog).to_be_visible()
    if hands.kind == "keyboard":
        for key in ("ArrowRight", "ArrowDown", "Shift+ArrowLeft"):
            page.keyboard.press(key)
    hands.press(named(dialog, "button", "Ask about this part"))
    expect(page.locator('[data-state="answered"]')).to_have_count(2)
    expect(page.get_by_text("Part of unsure").first).to_be_visible()
    assert world.requests.count("POST /v1/recognize") == 2


def test_the_name_is_copied_and_the_photo_added(hands: Hands, world: World) -> None:
    page = hands.page
    choose(hands, "palace.jpg")
    hands.press(card(page).locator("summary", has_text="More"))
    hands.press(named(card(page), "button", "Copy name and place"))
    expect(page.locator("body")).to_contain_text("Name and place copied.")
    hands.press(named(card(page), "button", "Add to the gallery"))
    hands.press(named(page, "button", "Add the photo"))
    expect(page.locator("body")).to_contain_text("1 photo added")
    assert len(world.landmarks["cathedral_of_velras"]) == 6


def test_answers_are_there_after_a_reload(hands: Hands, world: World) -> None:
    page = hands.page
    choose(hands, "palace.jpg", "nothing.jpg")
    stored(page, 2)  # a moment after they are shown
    page.reload()
    expect(card(page, 0)).to_contain_text("Cathedral of Velras")
    expect(card(page, 1)).to_contain_text("No landmark I know")
    assert world.requests.count("POST /v1/recognize") == 2


# ——— many photos

MANY = ["a.jpg", "b.jpg", "unsure.jpg", "nothing.jpg", "likely.jpg", "unreadable.jpg"]


def rows(page: Page) -> Locator:
    return page.locator("#list li[data-state]:visible")


def test_many_photos_are_filtered_grouped_selected_and_saved(hands: Hands) -> None:
    page = hands.page
    choose(hands, *MANY)
    expect(rows(page)).to_have_count(6)
    hands.press(named(page, "button", "No landmark 1"))
    expect(rows(page)).to_have_count(1)
    hands.press(named(page, "button", "Sure 2", exact=True))
    expect(rows(page)).to_have_count(2)
    hands.press(named(page, "button", "All 6"))
    hands.press(named(page, "button", "By landmark"))
    expect(page.locator("#list")).to_contain_text("Cathedral of Velras")
    hands.press(page.locator("#save summary"))
    table = hands.save(named(page, "button", "Save as CSV").filter(visible=True))
    lines = list(csv.DictReader(io.StringIO(table.removeprefix("\ufeff"))))
    assert [line["path"] for line in lines] == MANY
    assert [line["title"] for line in lines][:3] == ["Cathedral of Velras"] * 2 + [""]


def test_cleared_photos_come_back(hands: Hands) -> None:
    page = hands.page
    choose(hands, *MANY[:4])
    hands.press(named(page, "button", "Clear all"))
    expect(rows(page)).to_have_count(0)
    hands.press(named(page, "button", "Undo"))
    expect(rows(page)).to_have_count(4)
    hands.press(named(page, "checkbox", "Select b.jpg"))
    hands.press(page.locator("#list").get_by_role("button", name="Remove", exact=True).first)
    expect(rows(page)).to_have_count(3)
    expect(page.locator("#list")).not_to_contain_text("b.jpg")


# ——— the gallery


def test_a_link_opens_a_landmark_and_search_forgives_typos(
    browser: Any, address: str, tmp_path: Path
) -> None:
    with visitor(browser, f"{address}/#gallery/tower_of_fenven", tmp_path) as hands:
        page = hands.page
        dialog = page.locator("#landmark")
        expect(named(dialog, "heading", "Tower of Fenven")).to_be_visible()
        expect(dialog.locator("li img")).to_have_count(5)
        hands.close(dialog)
        expect(page).to_have_url(f"{address}/#gallery")
        expect(page.locator("#landmarks .card")).to_have_count(6)
        hands.type(page.get_by_label("Search landmarks"), "catedral of velraz")
        expect(page.locator("#landmarks .card").first).to_contain_text("Cathedral of Velras")
        hands.type(page.get_by_label("Search landmarks"), "atlantis")
        expect(page.locator("#gallery-state")).to_contain_text("atlantis")


def open_landmark(hands: Hands, label: str) -> Locator:
    page = hands.page
    page.evaluate("(label) => { location.hash = `#gallery/${label}`; }", label)
    dialog = page.locator("#landmark")
    expect(dialog.locator("li img").first).to_be_visible()
    return dialog


def test_a_landmark_gets_another_name_and_a_merge_is_asked(hands: Hands, world: World) -> None:
    page = hands.page
    dialog = open_landmark(hands, "tower_of_fenven")
    hands.press(named(dialog, "button", "Edit", exact=True))
    form = page.locator("#edit")
    hands.type(form.locator("#edit-name"), "Fenven Tower")
    hands.press(named(form, "button", "Save"))
    expect(form).to_be_hidden()
    expect(named(dialog, "heading", "Fenven Tower")).to_be_visible()
    assert world.records["tower_of_fenven"]["title"] == "Fenven Tower"

    hands.press(named(dialog, "button", "Edit", exact=True))
    hands.type(form.locator("#edit-label"), "cathedral_of_velras")
    hands.press(named(form, "button", "Save"))
    question = page.locator("#confirm")
    expect(question).to_contain_text("Put the photos into")
    hands.press(named(question, "button", "Cancel"))
    assert len(world.landmarks) == 6


def test_a_photo_is_moved_removed_and_brought_back(hands: Hands, world: World) -> None:
    page = hands.page
    dialog = open_landmark(hands, "tower_of_fenven")
    hands.press(named(dialog, "checkbox", "Select Tower of Fenven, photo 1"))
    hands.press(named(dialog, "button", "Move to…"))
    picker = page.locator("#pick")
    hands.type(picker.locator("#pick-name"), "velras")
    expect(picker).not_to_contain_text("Linlosk")  # of the list before the search
    hands.press(named(picker, "button", "Cathedral of Velras"))
    expect(page.locator("#notices")).to_contain_text("moved to “Cathedral of Velras”")
    expect(dialog.locator("li img")).to_have_count(4)
    assert world.landmarks["cathedral_of_velras"][-1] == "tower_of_fenven/0.jpg"

    hands.press(named(dialog, "checkbox", "Select Tower of Fenven, photo 1"))
    hands.press(named(dialog, "button", "Remove", exact=True))
    question = page.locator("#confirm")
    expect(question.locator("img")).to_be_visible()
    hands.press(named(question, "button", "Remove"))
    expect(dialog.locator("li img")).to_have_count(3)
    hands.press(named(page, "button", "Undo: The photo was removed."))
    expect(dialog.locator("li img")).to_have_count(4)
    assert "tower_of_fenven/1.jpg" in world.landmarks["tower_of_fenven"]


def test_feedback_is_reviewed(browser: Any, address: str, world: World, tmp_path: Path) -> None:
    for number, name in enumerate(["tower_of_fenven", None], 1):
        world.feedback.append({
            "id": f"f-{number}", "time": "2026-11-28T17:00:00Z", "photo": f"{number}.jpg",
            "answer": "cathedral_of_velras", "right": False, "correct": name, "note": "",
            "key": "", "state": "open", "landmark": None, "request_id": "r-1",
            "image": f"/v1/feedback/f-{number}/photo",
        })  # fmt: skip
    with visitor(browser, f"{address}/#review", tmp_path) as hands:
        page = hands.page
        entries = page.locator("#review-list > li")
        expect(entries).to_have_count(2)
        hands.press(named(page, "button", "Add to “Tower of fenven”"))
        expect(entries).to_have_count(1)
        expect(page.locator("#notices")).to_contain_text("was added to")
        hands.press(named(page, "button", "Discard"))
        question = page.locator("#confirm")
        hands.press(named(question, "button", "Discard"))
        expect(page.locator("#review-empty")).to_contain_text("nothing to review")
        assert [entry["state"] for entry in world.feedback] == ["approved", "discarded"]
        assert "feedback/f-1.jpg" in world.landmarks["tower_of_fenven"]


# ——— keys, languages, what is pasted and dragged


def test_a_key_is_asked_on_arrival_and_a_wrong_one_told(
    browser: Any, address: str, world: World, tmp_path: Path
) -> None:
    world.read_key = world.write_key = "right"
    with visitor(browser, address, tmp_path) as hands:
        page = hands.page
        expect(page.locator("#key-panel, #key").filter(visible=True).first).to_contain_text("key")
        hands.choose(page.locator("#choose"), "a.jpg", "b.jpg")
        field = page.locator("input[type=password]").filter(visible=True).first
        hands.type(field, "wrong")
        page.keyboard.press("Enter")
        expect(page.locator("body")).to_contain_text("does not know this key")
        hands.type(page.locator("input[type=password]").filter(visible=True).first, "right")
        page.keyboard.press("Enter")
        expect(page.locator('[data-state="answered"]')).to_have_count(2)


def test_a_french_reader_gets_french(browser: Any, address: str, tmp_path: Path) -> None:
    with visitor(browser, address, tmp_path, "fr-FR") as hands:
        page = hands.page
        expect(page.locator("html")).to_have_attribute("lang", "fr")
        hands.choose(page.locator("#choose"), "palace.jpg")
        expect(card(page)).to_contain_text("Cathedral of Velras (fr)")
        text = page.locator("body").inner_text()
        assert not any(word in text for word in ("Choose", "Drop", "Gallery", "sure"))


def test_paste_after_the_skip_link_is_answered(hands: Hands) -> None:
    page = hands.page
    if hands.kind == "keyboard":
        hands.press(page.locator("a.skip"))
    hands.paste("image/jpeg", "palace.jpg", PHOTO)
    expect(named(card(page), "heading", "Cathedral of Velras")).to_be_visible()


def test_pasted_addresses_and_dragged_pictures_are_told(hands: Hands, world: World) -> None:
    page = hands.page
    notice = page.locator("#notice")
    hands.paste("text/plain", "https://example.org/tower.jpg")
    expect(notice).to_contain_text("address of a picture on another site")
    hands.paste("text/plain", "The tower stands since 1889")
    expect(notice).to_contain_text("text, not a photo")
    html = '<img src="https://example.org/tower.jpg">'
    hands.drop({"text/uri-list": "https://example.org/tower.jpg", "text/html": html})
    expect(notice).to_contain_text("address of a picture on another site")
    hands.drop({}, {"palace.jpg": PHOTO})
    expect(named(card(page), "heading", "Cathedral of Velras")).to_be_visible()
    assert world.requests.count("POST /v1/recognize") == 1


def test_answers_are_saved_as_json(hands: Hands) -> None:
    page = hands.page
    choose(hands, *MANY[:3])
    hands.press(page.locator("#save summary"))
    answers = json.loads(hands.save(named(page, "button", "Save as JSON").filter(visible=True)))
    assert [answer["photo"] for answer in answers] == MANY[:3]
