"""Many photos on the page: the list, what is given to it, reloads, and photos made smaller."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow
from playwright.sync_api import Page, expect

from tests.support import page_browser, page_server
from tests.support.page_browser import (
    BROWSER,
    finished_photos,
    heading,
    open_row,
    photo,
    ready,
    rows,
    stored,
    submit_photos,
)
from tests.support.page_gallery import Asked
from tests.support.page_world import World, drawn

pytestmark = BROWSER
browser = pytest.fixture(scope="module")(page_browser.chromium)
world = pytest.fixture(page_browser.small_world)
address = pytest.fixture(page_browser.serving)
page = pytest.fixture(page_browser.ready_page)

MIXED = ("a.jpg", "b.jpg", "likely.jpg", "unsure.jpg", "nothing.jpg", "unreadable.jpg")


def expect_names(page: Page, *names: str) -> None:
    """Wait until the list shows these photos, in this order."""
    expect(page.locator("#list .row-words .small")).to_have_text(names)


def filter_button(page: Page, words: str) -> Any:
    return page.locator(".filters button:visible", has_text=words)


# ——— the list


def test_many_photos_are_a_list_in_the_given_order(page: Page) -> None:
    submit_photos(page, *MIXED)
    expect(page.locator("#list .entry b")).to_have_text([
        "Cathedral of Velras", "Cathedral of Velras", "Probably Cathedral of Velras",
        "Maybe Cathedral of Velras", "No landmark I know", "This photo cannot be used",
    ])  # fmt: skip
    numbers = page.locator("#list .entry .open > .n")
    expect(numbers).to_have_text(["97 %", "97 %", "71 %", "48 %", "", ""])
    expect(page.locator("#answers-count")).to_have_text("5 of 6 answered, 1 failed")
    expect(page.locator("#live")).to_contain_text("5 photos are answered, 3 with a landmark")
    expect(page.locator("#live p")).to_have_count(1)  # one announcement for all
    submit_photos(page, "c.jpg")
    expect_names(page, "c.jpg", *MIXED)


def test_one_card_is_open_at_a_time(page: Page) -> None:
    submit_photos(page, *MIXED)
    card = open_row(page, 0)
    expect(card.locator("h3")).to_have_text("Cathedral of Velras")
    open_row(page, 4)
    expect(card).to_have_count(1)
    expect(card.locator("h3")).to_have_text("No landmark I know")
    expect(page.locator('.open[aria-expanded="true"]')).to_have_count(1)
    rows(page).nth(4).locator(".open").click()
    expect(card).to_have_count(0)


def test_filters_show_their_counts_and_their_photos(page: Page) -> None:
    submit_photos(page, *MIXED)
    expect(page.locator(".filters button:visible")).to_have_text(
        ["All 6", "Sure 2", "Unsure 2", "No landmark 1", "Not answered 1"]
    )
    filter_button(page, "Unsure").click()
    expect_names(page, "likely.jpg", "unsure.jpg")
    filter_button(page, "Not answered").click()
    expect_names(page, "unreadable.jpg")
    filter_button(page, "All").click()
    expect_names(page, *MIXED)


def test_photos_are_grouped_by_landmark_the_largest_group_first(page: Page) -> None:
    submit_photos(page, *MIXED)
    page.get_by_role("button", name="Group by landmark").click()
    expect(page.locator(".group h3")).to_have_text([
        "Cathedral of Velras 3 photos", "Unsure 1 photo", "No landmark I know 1 photo",
        "Not answered 1 photo",
    ])  # fmt: skip
    page.get_by_role("button", name="Select all of Cathedral of Velras").click()
    expect(page.locator(".chosen")).to_contain_text("3 photos are selected")


def test_selected_photos_are_removed_and_come_back(page: Page) -> None:
    submit_photos(page, *MIXED)
    page.get_by_label("Select a.jpg").check()
    page.get_by_label("Select unsure.jpg").check()
    page.locator(".chosen").get_by_role("button", name="Remove").click()
    expect_names(page, "b.jpg", "likely.jpg", "nothing.jpg", "unreadable.jpg")
    page.get_by_role("button", name="Undo").click()
    expect_names(page, *MIXED)
    page.get_by_label("Select all", exact=True).check()
    expect(page.locator(".chosen")).to_contain_text("6 photos are selected")


def test_clear_can_be_undone_also_for_photos_that_wait(page: Page, world: World) -> None:
    world.delay = 0.5
    page.set_input_files("#files", [photo(f"{n}.jpg") for n in range(8)])
    rows(page).nth(7).wait_for()
    page.click("#clear")
    expect(rows(page)).to_have_count(0)
    expect(page.locator("#lead")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator('.entry[data-state="answered"]')).to_have_count(8)
    expect_names(page, *(f"{n}.jpg" for n in range(8)))


def test_selected_photos_are_added_to_the_gallery(page: Page, world: World) -> None:
    submit_photos(page, "a.jpg", "b.jpg", "nothing.jpg")
    page.get_by_label("Select a.jpg").check()
    page.get_by_label("Select nothing.jpg").check()
    page.locator(".chosen").get_by_role("button", name="Add to the gallery").click()
    field = page.get_by_label("Add it under")
    expect(field).to_have_value("Cathedral of Velras")
    page.get_by_role("button", name="Add 2 photos").click()
    expect(page.locator(".chosen .adding")).to_contain_text("2 photos added")
    assert world.landmarks["cathedral_of_velras"][-2:] == [
        "cathedral_of_velras/a.jpg", "cathedral_of_velras/nothing.jpg",
    ]  # fmt: skip


def test_pause_and_stop_hold_photos_back(page: Page, world: World) -> None:
    world.delay = 0.3
    page.set_input_files("#files", [photo(f"{n}.jpg") for n in range(12)])
    page.click("#pause")
    expect(page.locator("#pause")).to_have_text("Go on")
    expect(page.locator('.entry[data-state="recognizing"]')).to_have_count(0)
    held = page.locator('.entry[data-state="waiting"]').count()
    assert held >= 5
    page.wait_for_timeout(500)
    expect(page.locator('.entry[data-state="waiting"]')).to_have_count(held)
    world.delay = 5.0  # so that none is answered before all are stopped
    page.click("#pause")
    page.locator('.entry[data-state="recognizing"]').first.wait_for()
    page.click("#stop")
    expect(page.locator('.entry[data-state="stopped"]')).to_have_count(held)
    expect(page.locator('.entry[data-state="waiting"]')).to_have_count(0)
    world.delay = 0.0
    open_row(page, 11)
    page.get_by_role("button", name="Ask again").click()
    expect(rows(page).nth(11)).to_have_attribute("data-state", "answered")


# ——— what is saved


def saved(page: Page, kind: str) -> str:
    page.locator("#save summary").click()
    with page.expect_download() as download:
        page.click(f"#save-{kind}")
    return Path(download.value.path()).read_text(encoding="utf-8-sig")


def test_the_saved_table_has_the_columns_of_the_command(page: Page, world: World) -> None:
    world.titles["cathedral_of_velras"] = '=HYPERLINK("x"), "y"'
    submit_photos(page, "+a.jpg", "unsure.jpg", "unreadable.jpg")
    head, *table = csv.reader(io.StringIO(saved(page, "csv")))
    assert head == [
        "path", "landmark", "title", "decision", "confidence", "score", "guess", "second",
        "nearest", "similarity", "error",
    ]  # fmt: skip
    first = "cathedral_of_velras"
    assert table == [
        ["'+a.jpg", first, "'=HYPERLINK(\"x\"), \"y\"", "landmark", "0.968", "3.2", first,
         "tower_of_fenven", f"{first}/0.jpg", "0.9100", ""],
        ["unsure.jpg", "", "", "uncertain", "0.48", "3.2", first, "tower_of_fenven",
         f"{first}/0.jpg", "0.9100", ""],
        ["unreadable.jpg", "", "", "failed", "", "", "", "", "", "",
         "This file is damaged or incomplete."],
    ]  # fmt: skip


def test_answers_are_saved_as_json(page: Page) -> None:
    submit_photos(page, "a.jpg", "unreadable.jpg")
    found = json.loads(saved(page, "json"))
    assert [one["photo"] for one in found] == ["a.jpg", "unreadable.jpg"]
    assert found[0]["confidence"] == 0.968
    assert found[1]["error"]["code"] == "unreadable"


NUMBERS = [0.968, 1e-5, 0.000123456789, 123456.789, 1234567.8, -0.5, 0, 3.2, 1.5e-7]


def test_numbers_are_written_as_the_command_writes_them(page: Page) -> None:
    script = """async (numbers) => {
      const { significant } = await import("/static/export.js");
      return numbers.map(significant);
    }"""
    assert page.evaluate(script, NUMBERS) == [f"{number:.6g}" for number in NUMBERS]


# ——— over a reload


def test_a_reload_keeps_the_answers_without_asking_again(page: Page, world: World) -> None:
    submit_photos(page, *MIXED)
    stored(page, 6)
    page.reload()
    expect(rows(page)).to_have_count(6)
    expect_names(page, *MIXED)
    card = open_row(page, 0)
    expect(card.locator("h3")).to_have_text("Cathedral of Velras")
    card.locator(".query img").evaluate("i => i.decode()")
    assert world.requests.count("POST /v1/recognize") == 6
    page.click("#clear")
    stored(page, 0)
    page.reload()
    ready(page)
    page.wait_for_timeout(300)
    expect(rows(page)).to_have_count(0)


def test_a_photo_that_was_not_answered_is_asked_after_a_reload(page: Page, world: World) -> None:
    world.wait = 600
    page.set_input_files("#files", [photo("busy.jpg")])
    expect(heading(page)).to_have_text("The server is busy")
    stored(page, 1, answered=False)
    page.reload()
    expect(heading(page)).to_have_text("Cathedral of Velras")


def test_another_tab_and_old_answers_are_apart(page: Page, address: str) -> None:
    submit_photos(page, "a.jpg")
    stored(page, 1)
    other = page.context.new_page()
    other.goto(address)
    ready(other)
    other.wait_for_timeout(300)
    expect(other.locator(".answer")).to_have_count(0)
    other.close()
    page.evaluate("""() => new Promise((resolve) => {
      const opening = indexedDB.open("whichlandmark", 1);
      opening.onsuccess = () => {
        const store = opening.result.transaction("answers", "readwrite").objectStore("answers");
        store.openCursor().onsuccess = ({ target }) => {
          if (!target.result) return resolve();
          target.result.update({ ...target.result.value, time: Date.now() - 25 * 3600 * 1000 });
          target.result.continue();
        };
      };
    })""")
    page.reload()
    ready(page)
    page.wait_for_timeout(300)
    expect(page.locator(".answer")).to_have_count(0)


WITHOUT_PHOTO = """() => new Promise((resolve) => {
  const opening = indexedDB.open("whichlandmark", 1);
  opening.onsuccess = () => {
    const store = opening.result.transaction("answers", "readwrite").objectStore("answers");
    store.openCursor().onsuccess = ({ target }) => {
      if (!target.result) return resolve();
      target.result.update({ ...target.result.value, photo: null });
      target.result.continue();
    };
  };
})"""


def test_an_answer_is_shown_also_where_there_was_no_room_for_its_photo(page: Page) -> None:
    submit_photos(page, "a.jpg")
    stored(page, 1)
    page.evaluate(WITHOUT_PHOTO)
    page.reload()
    expect(heading(page)).to_have_text("Cathedral of Velras")
    page.locator(".query img").evaluate("i => i.decode()")  # the thumbnail
    expect(page.get_by_role("button", name="Why?")).to_have_count(0)
    page.get_by_role("button", name="Yes, it is right").click()
    expect(page.locator(".thanks")).to_be_visible()


def test_a_worker_that_cannot_start_is_replaced(page: Page, bodies: list[bytes]) -> None:
    page.route("**/shrink_worker.js", lambda route: route.abort())
    page.set_input_files("#files", [given("large.jpg", camera_photo(3000, 2000))])
    page.locator('[data-state="answered"]').wait_for()
    with Pillow.open(io.BytesIO(bodies[0])) as sent:
        assert sent.size == (1600, 1067)


def test_the_page_works_without_a_database(page: Page) -> None:
    page.add_init_script("Object.defineProperty(window, 'indexedDB',"
                         " { get() { throw new Error('private'); } })")  # fmt: skip
    page.reload()
    ready(page)
    submit_photos(page, "a.jpg")
    expect(heading(page)).to_have_text("Cathedral of Velras")
    page.reload()
    ready(page)
    expect(page.locator(".answer")).to_have_count(0)


# ——— keys


def test_all_photos_go_on_after_the_right_key(page: Page, world: World) -> None:
    world.read_key = "right"
    page.set_input_files("#files", [photo(f"{n}.jpg") for n in range(6)])
    field = page.locator("#key-value")
    expect(field).to_be_visible()
    assert world.requests.count("POST /v1/recognize") <= 3  # the others wait for the key
    field.fill("right")
    field.press("Enter")
    expect(page.locator('.entry[data-state="answered"]')).to_have_count(6)


# ——— photos made smaller


def camera_photo(width: int, height: int, orientation: int = 1) -> bytes:
    """A photo with a red top left corner as stored, and an EXIF orientation."""
    image = Pillow.effect_noise((width, height), 60).convert("RGB")
    image.paste((255, 0, 0), (0, 0, width // 3, height // 3))
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    image.save(data, "JPEG", quality=92, exif=exif)
    return data.getvalue()


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """The photos that the stub server got."""
    got: list[bytes] = []

    def recorded(world: World, asked: Asked) -> Any:
        if asked.path == "/v1/recognize":
            got.extend(content for _, name, content in asked.parts() if name)
        return plain(world, asked)

    plain = page_server.answered
    monkeypatch.setattr(page_server, "answered", recorded)
    return got


def given(name: str, data: bytes, kind: str = "image/jpeg") -> dict[str, Any]:
    return {"name": name, "mimeType": kind, "buffer": data}


def test_a_large_photo_travels_small_and_upright(page: Page, bodies: list[bytes]) -> None:
    sideways = camera_photo(4000, 2400, 6)  # turn clockwise to show
    page.set_input_files("#files", [given("phone.jpg", sideways)])
    page.locator('[data-state="answered"]').wait_for()
    with Pillow.open(io.BytesIO(bodies[0])) as sent:
        assert sent.size == (960, 1600)
        assert sent.getexif().get(0x0112, 1) == 1
        red, green, _ = sent.convert("RGB").getpixel((900, 60))  # type: ignore[misc]
        assert red > 200
        assert green < 60
    assert len(bodies[0]) < len(sideways) / 3


def test_a_small_photo_travels_as_it_is(page: Page, bodies: list[bytes]) -> None:
    submit_photos(page, "a.jpg")
    assert bodies == [drawn(0, "query")]


def test_a_photo_whose_place_is_used_travels_as_it_is(page: Page) -> None:
    script = """async (bytes) => {
      const { smallPhoto } = await import("/static/shrink.js");
      const data = Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0));
      const file = new File([data], "a.jpg", { type: "image/jpeg" });
      const { photo } = await smallPhoto(file, { uses_location: true, formats: ["JPEG"] });
      const { photo: small } = await smallPhoto(file, { uses_location: true, max_bytes: 1000 });
      return [photo === file, small.size < file.size];
    }"""
    large = base64.b64encode(camera_photo(2600, 1800)).decode()
    assert page.evaluate(script, large) == [True, True]


def test_a_format_that_only_the_browser_reads_becomes_a_jpeg(
    page: Page, bodies: list[bytes]
) -> None:
    data = io.BytesIO()
    Pillow.new("RGB", (300, 200), "green").save(data, "BMP")
    page.set_input_files("#files", [given("scan.bmp", data.getvalue(), "image/bmp")])
    page.locator('[data-state="answered"]').wait_for()
    with Pillow.open(io.BytesIO(bodies[0])) as sent:
        assert (sent.format, sent.size) == ("JPEG", (300, 200))


def test_heic_that_nobody_reads_is_told_by_name(page: Page, world: World) -> None:
    page.set_input_files("#files", [given("IMG_1.HEIC", b"\0\0\0\x18ftypheic" + bytes(90), "")])
    finished_photos(page).first.wait_for()
    expect(page.locator(".answer")).to_contain_text("HEIC")
    expect(page.locator(".answer")).to_contain_text("Most Compatible")
    assert "POST /v1/recognize" not in world.requests
