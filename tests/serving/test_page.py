"""The page in a browser: ways to choose photos, kinds of answers, errors."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import page_browser
from tests.support.page_browser import (
    BROWSER,
    finished_photos,
    heading,
    opened,
    photo,
    ready,
    submit_photos,
    transfer,
)
from tests.support.page_world import World

pytestmark = BROWSER
browser = pytest.fixture(scope="module")(page_browser.chromium)
world = pytest.fixture(page_browser.small_world)
address = pytest.fixture(page_browser.serving)
page = pytest.fixture(page_browser.ready_page)


def test_a_dropped_photo_gets_a_text_answer_first(page: Page) -> None:
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer(page, "palace.jpg")})
    expect(heading(page)).to_have_text("Cathedral of Velras, almost certainly")
    meter = page.locator(".meter")
    expect(meter).to_have_attribute("aria-valuenow", "97")
    share = meter.evaluate(
        "m => m.firstChild.getBoundingClientRect().width / m.getBoundingClientRect().width"
    )
    assert share == pytest.approx(0.97, abs=0.005)
    expect(page.locator("#live")).to_contain_text(
        "palace.jpg: Cathedral of Velras, almost certainly. 97 %"
    )
    expect(page.locator(".candidates .thumb").first).to_contain_text("Mira Ansel · CC BY-SA 4.0")
    expect(page.locator(".candidates .thumb").nth(1)).to_contain_text("No credit recorded")
    expect(page.locator(".candidates > ol > li")).to_have_count(1)  # the rest opens on request
    assert page.locator(".names span[lang=hi]").inner_text() == "हवा महल"


def test_the_box_is_drawn_where_the_answer_says(page: Page) -> None:
    submit_photos(page, "palace.jpg")
    photo_box = page.locator(".frame img").bounding_box()
    box = page.locator(".boxes .line").bounding_box()
    assert photo_box
    assert box
    assert (box["x"] - photo_box["x"]) / photo_box["width"] == pytest.approx(0.2, abs=0.02)
    assert box["height"] / photo_box["height"] == pytest.approx(0.8, abs=0.03)


def test_a_pasted_photo_is_answered(page: Page) -> None:
    paste = "new ClipboardEvent('paste', { clipboardData: files, bubbles: true })"
    page.evaluate(f"(files) => document.dispatchEvent({paste})", transfer(page, "image.png"))
    expect(heading(page)).to_contain_text("almost certainly")


def test_several_photos_each_get_their_own_answer_in_order(page: Page) -> None:
    submit_photos(page, "unsure.jpg", "nothing.jpg", "unreadable.jpg", "palace.jpg")
    words = [h.inner_text() for h in page.locator(".answer h3").all()]
    assert words == [
        "Not sure: Cathedral of Velras or Tower of Fenven",
        "No landmark that I know",
        "This photo cannot be used",
        "Cathedral of Velras, almost certainly",
    ]
    failed = page.locator(".answer").nth(2)
    expect(failed).to_contain_text("This file is not a picture that can be read")
    expect(failed).to_contain_text("Open it in a viewer, save it as JPEG")
    expect(page.locator("#answers-count")).to_have_text("4 photos")
    expect(page.locator(".answer").nth(1)).to_contain_text("under 1 % confidence")
    page.click("#clear")
    expect(page.locator(".answer")).to_have_count(0)
    expect(page.locator("#lead")).to_be_visible()


def test_warnings_of_an_answer_are_shown(page: Page) -> None:
    submit_photos(page, "small.jpg")
    expect(page.locator(".warning")).to_have_text("This photo is small: 240 pixels")


def test_the_map_is_drawn_from_this_server(browser: Browser, address: str) -> None:
    with opened(browser, address) as (page, _):
        ready(page)
        submit_photos(page, "unsure.jpg")
        page.locator(".map").scroll_into_view_if_needed()
        expect(page.locator(".map .pin")).to_have_count(2)
        expect(page.locator(".map .pin").first).to_have_attribute("title", "Cathedral of Velras")
        assert len(page.locator(".map path.land").get_attribute("d") or "") > 5000
        expect(page.locator(".map .leaflet-control-attribution")).to_have_count(0)


def test_map_tiles_load_only_from_the_configured_server(
    browser: Browser, world: World, address: str
) -> None:
    credit = '© <a href="https://maps.example.org">Maps</a><img src=x onerror="window.hacked=1">'
    world.tiles = {"url": f"{address}/static/tile-{{z}}-{{x}}-{{y}}.png", "attribution": credit}
    with opened(browser, address) as (page, _):
        ready(page)
        submit_photos(page, "palace.jpg")
        page.locator(".map").scroll_into_view_if_needed()
        expect(page.locator(".leaflet-control-attribution")).to_have_text("© Maps")
        assert page.evaluate("window.hacked") is None
        assert any("tile-14-" in request for request in world.requests)


@pytest.mark.parametrize(("markup", "shown"), [
    ("&copy; Maps &amp; co", ["© Maps & co"]),
    ('a <A HREF=\'https://x.org/?a=1&amp;b="\' onclick="hacked()">b <b>c</b></A> d',
     ["a ", ["https://x.org/?a=1&b=%22", "b c"], " d"]),
    ("<a href=http://x.org/a>b</a>", [["http://x.org/a", "b"]]),
    ('<a href="javascript:window.hacked=1">b</a>', ["b"]),
    ('<a href="java&#115;cript:window.hacked=1">b</a><a href=" data:text/html,x">c</a>',
     ["b", "c"]),
    ('<a href="/v1/config">b</a> <a name="c">d</a>', ["b", " ", "d"]),
    ('<a title=" href=https://x.org" href="//y.org">b</a>', ["b"]),
    ("<a data-href='https://x.org' href>b</a>", ["b"]),
    ("<script>window.hacked=1</script><svg onload='window.hacked=1'><style>a{}", [
        "window.hacked=1a{}"]),
    ('<iframe srcdoc="<script>window.hacked=1</script>"></iframe><!-- <b> -->x', ["x"]),
    ("1 < 2 <img src=x onerror=window.hacked=1", ["1 < 2 <img src=x onerror=window.hacked=1"]),
    ("&lt;img src=x onerror=window.hacked=1&gt;", ["<img src=x onerror=window.hacked=1>"]),
    ("", []),
])  # fmt: skip
def test_a_tile_credit_becomes_text_and_web_links(
    page: Page, markup: str, shown: list[object]
) -> None:
    nodes = page.evaluate(
        """async (markup) => {
          const { credited } = await import("/static/map.js");
          return credited(markup).map((node) =>
            node.nodeType === Node.TEXT_NODE
              ? node.data
              : [node.getAttribute("href"), node.textContent, node.outerHTML]);
        }""",
        markup,
    )
    assert [node if isinstance(node, str) else node[:2] for node in nodes] == shown
    for node in nodes:
        if isinstance(node, list):
            assert "onclick" not in node[2]
            assert 'target="_blank" rel="noopener noreferrer"' in node[2]
    assert page.evaluate("window.hacked") is None


def test_a_busy_server_is_retried_automatically(page: Page, world: World) -> None:
    page.set_input_files("#files", [photo("busy.jpg")])
    expect(heading(page)).to_have_text("The server is busy")
    expect(page.locator("#live")).to_contain_text("Trying busy.jpg again in 1 seconds")
    expect(heading(page)).to_contain_text("almost certainly")
    assert world.requests.count("POST /v1/recognize") == 2


def test_a_busy_server_can_be_retried_by_hand(page: Page, world: World) -> None:
    world.wait = 600
    page.set_input_files("#files", [photo("busy.jpg")])
    expect(page.locator(".result .lead")).to_contain_text("Trying again in")
    page.get_by_role("button", name="Try now").click()
    expect(heading(page)).to_contain_text("almost certainly")


def test_offline_photos_wait_and_resume_automatically(page: Page) -> None:
    page.context.set_offline(True)
    expect(page.locator("#offline")).to_be_visible()
    page.set_input_files("#files", [photo("palace.jpg")])
    expect(heading(page)).to_have_text("You are offline")
    page.context.set_offline(False)
    expect(heading(page)).to_contain_text("almost certainly")
    expect(page.locator("#offline")).to_be_hidden()


def test_files_that_are_no_photos_are_not_sent(page: Page, world: World) -> None:
    files = [{"name": "notes.txt", "mimeType": "text/plain", "buffer": b"words"},
             {"name": "empty.jpg", "mimeType": "image/jpeg", "buffer": b""}]  # fmt: skip
    page.set_input_files("#files", files)
    finished_photos(page).nth(1).wait_for()
    expect(page.locator(".answer").first).to_contain_text("This is not a photo.")
    expect(page.locator(".answer").nth(1)).to_contain_text("This file is empty.")
    assert "POST /v1/recognize" not in world.requests


def test_dismissing_a_pending_photo_leaves_nothing_behind(page: Page, world: World) -> None:
    world.wait = 600
    page.set_input_files("#files", [photo("busy.jpg")])
    page.get_by_role("button", name="Dismiss").click()
    expect(page.locator(".answer")).to_have_count(0)
    expect(page.locator("#answers-head")).to_be_hidden()
