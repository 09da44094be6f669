"""What photos are given to the page by, and what can be done after an answer."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image as Pillow
from playwright.sync_api import Browser, Page, expect

from tests.support import page_browser, page_server
from tests.support.page_browser import (
    BROWSER,
    finished_photos,
    heading,
    opened,
    photo,
    ready,
    still,
    submit_photos,
)
from tests.support.page_gallery import Asked
from tests.support.page_world import World, drawn

pytestmark = BROWSER
browser = pytest.fixture(scope="module")(page_browser.chromium)
world = pytest.fixture(page_browser.small_world)
address = pytest.fixture(page_browser.serving)
page = pytest.fixture(page_browser.ready_page)

GIVE = """([event, texts]) => {
  const data = new DataTransfer();
  for (const [type, text] of Object.entries(texts)) data.setData(type, text);
  const options = { bubbles: true, cancelable: true };
  const given = event === "paste"
    ? new ClipboardEvent("paste", { ...options, clipboardData: data })
    : new DragEvent("drop", { ...options, dataTransfer: data });
  const at = event === "paste" ? document.activeElement : document.getElementById("drop");
  at.dispatchEvent(given);
  return given.defaultPrevented;
}"""
DATA = "data:image/jpeg;base64," + base64.b64encode(drawn(0, "query")).decode()
ELSEWHERE = "https://example.org/tower.jpg"


def file(name: str, kind: str, data: bytes = b"words") -> dict[str, Any]:
    return {"name": name, "mimeType": kind, "buffer": data}


# ——— given by paste and drop


@pytest.mark.parametrize(("event", "texts", "words"), [
    ("paste", {"text/plain": ELSEWHERE}, "Save the picture first, then drop it here"),
    ("paste", {"text/html": f"<img src='{ELSEWHERE}'>", "text/plain": ""}, "Save the picture"),
    ("paste", {"text/plain": "C:\\Photos\\a.jpg"}, "That is where a file is"),
    ("paste", {"text/plain": "/home/me/a.jpg"}, "That is where a file is"),
    ("paste", {"text/plain": "file:///home/me/a.jpg"}, "That is where a file is"),
    ("paste", {"text/plain": "The tower of Pisa"}, "That is text, not a photo"),
    ("paste", {}, "There is no picture to paste"),
    ("drop", {"text/uri-list": ELSEWHERE}, "Save the picture first, then drop it here"),
    ("drop", {"text/html": f"<p><img src='{ELSEWHERE}'></p>"}, "Save the picture first"),
    ("drop", {"text/uri-list": "blob:https://example.org/1"}, "Save the picture first"),
    ("drop", {"text/uri-list": "http://["}, "Save the picture first"),
])  # fmt: skip
def test_what_cannot_be_fetched_is_told_in_words_for_people(
    page: Page, world: World, event: str, texts: dict[str, str], words: str
) -> None:
    assert page.evaluate(GIVE, [event, texts])
    expect(page.locator("#notice")).to_contain_text(words)
    assert "POST /v1/recognize" not in world.requests


@pytest.mark.parametrize(("event", "texts"), [
    ("paste", {"text/html": f"<img src='{DATA}'>"}),
    ("paste", {"text/plain": DATA}),
    ("drop", {"text/uri-list": DATA}),
    ("drop", {"text/html": "<img src='ORIGIN/v1/photos/tower_of_fenven%2F0.jpg/thumbnail'>"}),
    ("paste", {"text/plain": "ORIGIN/v1/photos/tower_of_fenven%2F0.jpg/thumbnail"}),
])  # fmt: skip
def test_pictures_that_the_page_may_read_are_answered(
    page: Page, address: str, event: str, texts: dict[str, str]
) -> None:
    given = {kind: text.replace("ORIGIN", address) for kind, text in texts.items()}
    assert page.evaluate(GIVE, [event, given])
    expect(heading(page)).to_have_text("Cathedral of Velras")


def test_paste_works_after_the_skip_link_and_not_within_a_field(page: Page) -> None:
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.evaluate(GIVE, ["paste", {"text/plain": DATA}])
    expect(heading(page)).to_have_text("Cathedral of Velras")
    page.get_by_role("button", name="No, it is wrong").click()
    assert not page.evaluate(GIVE, ["paste", {"text/plain": "Fenven"}])
    expect(page.locator("#notice")).to_be_hidden()


def test_files_that_are_no_photos_are_listed_once(page: Page, world: World) -> None:
    files = [
        file("notes.txt", "text/plain"), file("trip.mp4", "video/mp4"), file("trip.mov", ""),
        file("map.pdf", "application/pdf"), file("empty.jpg", "image/jpeg", b""),
        file("more.zip", "application/zip"), photo("palace.jpg"),
    ]  # fmt: skip
    page.set_input_files("#files", files)
    expect(heading(page)).to_have_text("Cathedral of Velras")
    expect(page.locator(".answer")).to_have_count(1)
    expect(page.locator("#notice")).to_have_text(
        "6 files were left out: notes.txt (no photo), trip.mp4 (a video), trip.mov (a video), "
        "map.pdf (a PDF), empty.jpg (an empty file), and 1 more. "
        "Stop a video at a good moment and take a screenshot of it. "
        "Take a screenshot of the picture in the PDF."
    )
    assert world.requests.count("POST /v1/recognize") == 1
    submit_photos(page, "likely.jpg")
    expect(page.locator("#notice")).to_be_hidden()


FOLDER = """(bytes) => {
  const data = Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0));
  const fileEntry = (name, type) => ({ isFile: true, isDirectory: false, name,
    file: (give) => give(new File([data], name, { type })) });
  const folder = (name, children) => ({ isFile: false, isDirectory: true, name,
    createReader: () => { const parts = [children.slice(0, 1), children.slice(1), []];
      return { readEntries: (give) => give(parts.shift() ?? []) }; } });
  const top = folder("trip", [fileEntry("1.jpg", "image/jpeg"), fileEntry("2.jpg", ""),
    folder("more", [fileEntry("3.png", "image/png"), fileEntry("x.txt", "text/plain")]),
    fileEntry(".DS_Store", "")]);
  const event = new Event("drop", { bubbles: true, cancelable: true });
  event.dataTransfer = { types: ["Files"], files: [], getData: () => "",
    items: [{ webkitGetAsEntry: () => top }] };
  document.getElementById("drop").dispatchEvent(event);
}"""


def test_a_dropped_folder_is_walked(page: Page) -> None:
    page.evaluate(FOLDER, base64.b64encode(drawn(0, "query")).decode())
    expect(page.locator('.entry[data-state="answered"]')).to_have_count(3)
    names = page.locator("#list .row-words .small")
    expect(names).to_have_text(["1.jpg", "2.jpg", "3.png"])
    expect(page.locator("#notice")).to_contain_text("Left out: x.txt (no photo).")


# ——— what next


def more(page: Page, words: str) -> Any:
    page.locator(".next .more > summary").click()
    return page.locator(".next").get_by_role("button", name=words)


def test_name_and_place_are_copied(browser: Browser, address: str) -> None:
    options = {"permissions": ["clipboard-read", "clipboard-write"]}
    with opened(browser, address, **options) as (page, _):
        ready(page)
        submit_photos(page, "palace.jpg")
        more(page, "Copy name and place").click()
        expect(page.locator(".told")).to_have_text("Name and place copied.")
        assert page.evaluate("() => navigator.clipboard.readText()") == (
            "Cathedral of Velras\n26.9239° N, 75.8267° E"
        )
        page.locator(".next").get_by_role("button", name="Share").click()
        expect(page.locator(".told")).to_have_text("A link to this landmark was copied.")
        assert page.evaluate("() => navigator.clipboard.readText()") == (
            f"{address}/#gallery/cathedral_of_velras"
        )


def test_city_and_country_stand_under_the_name(
    browser: Browser, address: str, world: World
) -> None:
    world.records["cathedral_of_velras"] = {"city": "Velras", "country": "Velmora"}
    options = {"permissions": ["clipboard-read", "clipboard-write"]}
    with opened(browser, address, **options) as (page, _):
        ready(page)
        submit_photos(page, "palace.jpg")
        expect(page.locator(".answer .head > h3 + .town")).to_have_text("Velras, Velmora")
        more(page, "Copy name and place").click()
        expect(page.locator(".told")).to_have_text("Name and place copied.")
        assert page.evaluate("() => navigator.clipboard.readText()") == (
            "Cathedral of Velras\nVelras, Velmora\n26.9239° N, 75.8267° E"
        )
        page.click("#clear")
        for record, words in (
            ({"city": "Singapore", "country": "Singapore", "country_code": "SG"}, "Singapore"),
            ({"city": "", "country": "France", "country_code": "FR"}, "France"),
            ({"city": "Paris <b>", "country": ""}, "Paris <b>"),
        ):
            world.records["cathedral_of_velras"] = record
            submit_photos(page, "palace.jpg")
            expect(page.locator(".answer .head .town")).to_have_text(words)
            page.click("#clear")
        world.records["cathedral_of_velras"] = {"city": "", "country": "", "country_code": "FR"}
        submit_photos(page, "unsure.jpg")
        expect(page.locator(".answer .head h3")).to_be_visible()
        expect(page.locator(".town")).to_have_count(0)


def test_a_phone_shares_by_its_own_menu(browser: Browser, address: str) -> None:
    size = {"width": 390, "height": 844}
    with opened(browser, address, viewport=size, is_mobile=True, has_touch=True) as (page, _):
        page.add_init_script("navigator.share = async (what) => { window.shared = what; }")
        page.reload()
        ready(page)
        submit_photos(page, "palace.jpg")
        more(page, "Share").tap()
        page.wait_for_function("() => window.shared")
        assert page.evaluate("() => shared.url") == f"{address}/#gallery/cathedral_of_velras"


def test_links_lead_to_directions_and_to_wikipedia(page: Page, world: World) -> None:
    submit_photos(page, "palace.jpg")
    links = {a.inner_text(): a.get_attribute("href") for a in page.locator(".next a").all()}
    assert links == {
        "Wikipedia": "https://www.wikidata.org/wiki/Special:GoToLinkedPage/enwiki/Q9000",
        "Directions": "https://www.openstreetmap.org/directions?to=26.9239%2C75.8267",
    }
    page.click("#clear")
    nowhere = {"wikidata": "", "latitude": None, "longitude": None}
    world.records["cathedral_of_velras"] = nowhere | {
        "wikipedia": {"fr": "Cathédrale/tour ?", "en": "Cathedral of Velras"}
    }
    submit_photos(page, "palace.jpg")
    link = page.locator(".next a")
    expect(link).to_have_text("Wikipedia")
    expect(link).to_have_attribute("href", "https://en.wikipedia.org/wiki/Cathedral_of_Velras")
    page.click("#clear")
    world.records["cathedral_of_velras"]["wikipedia"].pop("en")
    submit_photos(page, "palace.jpg")
    expect(link).to_have_text("Wikipedia (French)")
    article = "https://fr.wikipedia.org/wiki/Cath%C3%A9drale/tour_%3F"
    expect(link).to_have_attribute("href", article)
    page.click("#clear")
    world.records["cathedral_of_velras"] = nowhere
    submit_photos(page, "palace.jpg")
    expect(page.locator(".next a")).to_have_count(0)


def test_a_photo_is_added_under_another_landmark_after_a_key(page: Page, world: World) -> None:
    world.write_key = "writer"
    submit_photos(page, "palace.jpg")
    more(page, "Add to the gallery").click()
    field = page.get_by_label("Add it under")
    expect(field).to_have_value("Cathedral of Velras")
    field.fill("Tower of Fenven")
    expect(page.locator("datalist option[value='Tower of Fenven']")).to_have_count(1)
    page.get_by_role("button", name="Add the photo").click()
    page.fill("#key-value", "writer")
    page.keyboard.press("Enter")
    expect(page.locator(".adding")).to_contain_text("1 photo added")
    assert world.landmarks["tower_of_fenven"][-1] == "tower_of_fenven/palace.jpg"


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes]]:
    """Name and content of the photos that the stub server got."""
    got: list[tuple[str, bytes]] = []

    def recorded(world: World, asked: Asked) -> Any:
        if asked.path == "/v1/recognize":
            got.extend((name, content) for _, name, content in asked.parts() if name)
        return plain(world, asked)

    plain = page_server.answered
    monkeypatch.setattr(page_server, "answered", recorded)
    return got


def quarters() -> bytes:
    """A large photo: red, green above, blue, white below."""
    image = Pillow.new("RGB", (4000, 3000), "white")
    for color, box in (("red", (0, 0, 2000, 1500)), ("green", (2000, 0, 4000, 1500)),
                       ("blue", (0, 1500, 2000, 3000))):  # fmt: skip
        image.paste(color, box)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=90)
    return data.getvalue()


def color_at(data: bytes, x: float, y: float) -> Any:
    with Pillow.open(io.BytesIO(data)) as image:
        return image.convert("RGB").getpixel((int(x * image.width), int(y * image.height)))


def test_a_part_drawn_by_the_mouse_is_asked_as_a_card_below(
    page: Page, parts: list[tuple[str, bytes]]
) -> None:
    page.set_input_files("#files", [file("unsure.jpg", "image/jpeg", quarters())])
    finished_photos(page).first.wait_for()
    page.get_by_role("button", name="Choose a part").click()
    stage = page.locator(".crop-stage img")
    stage.evaluate("i => i.decode()")
    still(page)
    box = stage.bounding_box()
    assert box
    at = lambda x, y: (box["x"] + x * box["width"], box["y"] + y * box["height"])  # noqa: E731
    page.mouse.move(*at(0.98, 0.02))
    page.mouse.down()
    page.mouse.move(*at(0.75, 0.2))
    page.mouse.move(*at(0.55, 0.45))
    page.mouse.up()
    page.get_by_role("button", name="Ask about this part").click()
    finished_photos(page).nth(1).wait_for()
    expect(page.locator(".answer").nth(1)).to_contain_text("Part of unsure.jpg")
    name, data = parts[1]
    assert name == "Part of unsure.jpg"
    with Pillow.open(io.BytesIO(data)) as image:
        assert image.width == pytest.approx(1600, abs=2)  # cut from the original of 4000 pixels
        assert image.height == pytest.approx(1600 * (0.43 * 3000) / (0.43 * 4000), rel=0.05)
    for x, y in ((0.1, 0.1), (0.9, 0.9), (0.1, 0.9)):
        red, green, blue = color_at(data, x, y)
        assert (red < 60, green > 90, blue < 60) == (True, True, True)


def test_a_part_is_chosen_by_the_keyboard(page: Page, parts: list[tuple[str, bytes]]) -> None:
    page.set_input_files("#files", [file("unsure.jpg", "image/jpeg", quarters())])
    finished_photos(page).first.wait_for()
    page.get_by_role("button", name="Choose a part").press("Enter")
    expect(page.locator(".part")).to_be_focused()
    for _ in range(30):
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowLeft")
    for _ in range(10):
        page.keyboard.press("Shift+ArrowUp")
        page.keyboard.press("Shift+ArrowLeft")
    page.get_by_text("Set the edges by sliders").click()
    expect(page.get_by_label("Right edge")).to_have_value("40")
    page.get_by_label("Right edge").press("ArrowRight")
    expect(page.get_by_label("Right edge")).to_have_value("41")
    page.get_by_role("button", name="Ask about this part").press("Enter")
    finished_photos(page).nth(1).wait_for()
    with Pillow.open(io.BytesIO(parts[1][1])) as image:
        assert image.width / image.height == pytest.approx((0.41 * 4000) / (0.4 * 3000), abs=0.01)
    red, green, blue = color_at(parts[1][1], 0.5, 0.5)
    assert (red > 200, green < 60, blue < 60) == (True, True, True)
    page.get_by_role("button", name="Choose a part").first.click()
    expect(page.locator(".part")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".crop")).to_have_count(0)
    expect(page.locator(".answer")).to_have_count(2)


# ——— feedback


@pytest.mark.parametrize("keep", [False, True])
def test_feedback_takes_the_photo_along_only_when_allowed(
    page: Page, world: World, keep: bool
) -> None:
    submit_photos(page, "palace.jpg")
    allowed = page.get_by_label("My photo may be kept")
    expect(allowed).not_to_be_checked()
    allowed.set_checked(keep)
    page.get_by_role("button", name="Yes, it is right").click()
    words = "may add it to the gallery" if keep else "your photo was not kept"
    expect(page.locator(".thanks")).to_contain_text(words)
    (sent,) = world.feedback
    assert (sent["right"], sent["correct"], bool(sent["image"])) == (
        True, "cathedral_of_velras", keep,
    )  # fmt: skip


def test_french_readers_get_french(browser: Browser, address: str) -> None:
    with opened(browser, address, locale="fr-FR") as (page, _):
        ready(page)
        expect(page.locator("#recognize-title")).to_have_text("Quel est ce monument ?")
        submit_photos(page, "palace.jpg")
        expect(heading(page)).to_have_text("Cathedral of Velras (fr)")
        expect(page.locator(".sureness summary")).to_have_text("sûr à 97 %")
        assert page.locator(".names").inner_text().startswith("Cathedral of Velras")
        href = page.locator(".next a").first.get_attribute("href") or ""
        assert "/frwiki/" in href
