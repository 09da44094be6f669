"""The page in a browser: ways to choose photos, kinds of answers, errors."""

from __future__ import annotations

from collections.abc import Iterator

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
    still,
    submit_photos,
    transfer,
    until,
)
from tests.support.page_server import PageServer
from tests.support.page_world import World

pytestmark = BROWSER
browser = pytest.fixture(scope="module")(page_browser.chromium)
world = pytest.fixture(page_browser.small_world)
address = pytest.fixture(page_browser.serving)
page = pytest.fixture(page_browser.ready_page)


@pytest.fixture(scope="module")
def one_page(browser: Browser) -> Iterator[Page]:
    """One page for all tests of single functions of its script, which leave it as it was."""
    with PageServer(World.of(6)) as address:
        yield from page_browser.ready_page(browser, address)


def test_a_dropped_photo_gets_its_name_first(page: Page) -> None:
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer(page, "palace.jpg")})
    expect(heading(page)).to_have_text("Cathedral of Velras")
    expect(page.locator(".sureness.sure summary")).to_have_text("97 % sure")
    expect(page.locator("#live")).to_have_text("Cathedral of Velras. 97 % sure.")
    page.locator(".sureness summary").click()
    expect(page.locator(".sureness")).to_contain_text("about 97 are right. Score: 3.2")
    first = page.locator(".candidates .thumb").first
    expect(first).to_contain_text("Photo: Mira Ansel, CC BY-SA 4.0")
    expect(first.get_by_role("link", name="CC BY-SA 4.0")).to_be_visible()
    expect(page.locator(".candidates .thumb").nth(1)).to_contain_text("No credit recorded")
    expect(page.locator(".candidates > ol > li")).to_have_count(1)  # the rest opens on request
    assert page.locator(".names span[lang=hi]").inner_text() == "हवा महल"


@pytest.mark.parametrize(("name", "tone", "words", "numbers"), [
    ("palace", "sure", "Cathedral of Velras", ["97 % sure"]),
    ("likely", "likely", "Probably Cathedral of Velras", ["71 % sure"]),
    ("unsure", "maybe", "Maybe Cathedral of Velras, or something I don’t know",
     ["Cathedral of Velras48 %", "Tower of Fenven31 %", "6 %", "Something I don’t know15 %"]),
    ("nothing", "none", "No landmark I know", []),
    ("elsewhere", "none", "No landmark I know", []),
])  # fmt: skip
def test_the_tone_follows_the_confidence(
    page: Page, name: str, tone: str, words: str, numbers: list[str]
) -> None:
    submit_photos(page, f"{name}.jpg")
    expect(heading(page)).to_have_text(words)
    expect(page.locator(".answer")).to_have_attribute("data-tone", tone)
    shown = page.locator(".sureness summary, .odds li")
    expect(shown).to_have_count(len(numbers))
    for node, number in zip(shown.all(), numbers, strict=True):
        expect(node).to_contain_text(number)
    if tone == "none":
        told = page.locator(".answer").inner_text()
        assert "%" not in told
        assert "Velras" not in told
        page.get_by_text("What came closest").click()
        expect(page.locator(".candidates")).to_contain_text("Cathedral of Velras")
        expect(page.locator(".candidates")).to_contain_text("Score: 3.2")


@pytest.mark.parametrize("name", ["palace", "unsure", "nothing"])
def test_the_name_is_seen_without_scrolling_on_a_small_phone(
    browser: Browser, address: str, name: str
) -> None:
    size = {"width": 360, "height": 640}
    with opened(browser, address, viewport=size, is_mobile=True, has_touch=True) as (page, _):
        ready(page)
        expect(page.locator("#choose")).to_be_in_viewport(ratio=1)
        submit_photos(page, f"{name}.jpg")
        expect(heading(page)).to_be_in_viewport(ratio=1)
        expect(page.locator(".query img")).to_be_in_viewport(ratio=0.9)
        page.evaluate("() => scrollTo(0, 0)")
        submit_photos(page, "likely.jpg")
        expect(heading(page)).to_have_text("Probably Cathedral of Velras")
        expect(heading(page)).to_be_in_viewport(ratio=1)


def test_a_new_card_leaves_somebody_who_types_alone(page: Page) -> None:
    submit_photos(page, "palace.jpg")
    page.get_by_role("button", name="No, it is wrong").click()
    page.get_by_label("What is it?").fill("Fenv")
    before = still(page)
    page.set_input_files("#files", [photo("likely.jpg")])
    finished_photos(page).nth(1).wait_for()
    expect(page.get_by_label("What is it?")).to_be_focused()
    assert still(page) == before


def test_the_box_is_drawn_where_the_answer_says(page: Page) -> None:
    submit_photos(page, "palace.jpg")
    page.locator(".frame img").evaluate("i => i.decode()")
    still(page)
    photo_box = page.locator(".frame img").bounding_box()
    box = page.locator(".boxes .line").bounding_box()
    assert photo_box
    assert box
    assert (box["x"] - photo_box["x"]) / photo_box["width"] == pytest.approx(0.2, abs=0.02)
    assert box["height"] / photo_box["height"] == pytest.approx(0.8, abs=0.03)


def test_a_pasted_photo_is_answered(page: Page) -> None:
    paste = "new ClipboardEvent('paste', { clipboardData: files, bubbles: true })"
    page.evaluate(f"(files) => document.dispatchEvent({paste})", transfer(page, "image.png"))
    expect(heading(page)).to_have_text("Cathedral of Velras")


def test_two_photos_each_get_a_card(page: Page) -> None:
    submit_photos(page, "unsure.jpg", "unreadable.jpg")
    expect(page.locator(".answer .head h3")).to_have_text(
        ["Maybe Cathedral of Velras, or something I don’t know", "This photo cannot be used"]
    )
    failed = page.locator(".answer").nth(1)
    expect(failed).to_contain_text("This file is damaged or incomplete.")
    expect(failed).to_contain_text("save it again as JPEG")


def test_warnings_of_an_answer_are_shown(page: Page) -> None:
    submit_photos(page, "small.jpg")
    expect(page.locator(".warning")).to_have_text("This photo is small: 240 pixels")


@pytest.mark.parametrize(("warning", "words"), [
    ("the photo is very small (40 × 30 px), so the answer is less reliable",
     "The photo is very small, so the answer is less sure."),
    ("no landmark, because it shows one even color", "The photo shows one even color."),
    ("something new of the server", "Something new of the server"),
])  # fmt: skip
def test_a_known_warning_is_said_in_words_for_people(
    one_page: Page, warning: str, words: str
) -> None:
    said = """async (warning) => {
      const { warningText } = await import("/static/tone.js");
      return warningText(warning);
    }"""
    assert one_page.evaluate(said, warning) == words


def test_the_map_is_drawn_from_this_server(browser: Browser, address: str) -> None:
    with opened(browser, address) as (page, _):
        ready(page)
        submit_photos(page, "unsure.jpg")
        page.locator(".map").scroll_into_view_if_needed()
        expect(page.locator(".map .pin")).to_have_count(2)
        expect(page.locator(".map .pin").first).to_have_attribute("title", "Cathedral of Velras")
        land = page.locator(".map path.land")
        until(page, lambda: len(land.get_attribute("d") or "") > 5000)
        expect(page.locator(".map .leaflet-control-attribution")).to_have_count(0)


def test_no_map_shows_only_a_less_likely_landmark(page: Page, world: World) -> None:
    world.records["cathedral_of_velras"] = {"latitude": None, "longitude": None}
    submit_photos(page, "unsure.jpg")
    expect(heading(page)).to_contain_text("Cathedral of Velras")
    expect(page.locator(".map")).to_have_count(0)


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
        until(page, lambda: any("tile-14-" in request for request in world.requests))


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
    one_page: Page, markup: str, shown: list[object]
) -> None:
    nodes = one_page.evaluate(
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
    assert one_page.evaluate("window.hacked") is None


def test_a_busy_server_is_retried_automatically(page: Page, world: World) -> None:
    page.set_input_files("#files", [photo("busy.jpg")])
    expect(heading(page)).to_have_text("The server is busy")
    expect(page.locator("#live")).to_contain_text("busy.jpg has to wait")
    expect(heading(page)).to_have_text("Cathedral of Velras")
    assert world.requests.count("POST /v1/recognize") == 2


def test_a_busy_server_can_be_retried_by_hand(page: Page, world: World) -> None:
    world.wait = 600
    page.set_input_files("#files", [photo("busy.jpg")])
    expect(page.locator(".head .lead")).to_contain_text("Next try in 600 seconds")
    page.get_by_role("button", name="Try now").click()
    expect(heading(page)).to_have_text("Cathedral of Velras")


def test_offline_photos_wait_and_resume_automatically(page: Page) -> None:
    page.context.set_offline(True)
    expect(page.locator("#offline")).to_be_visible()
    page.set_input_files("#files", [photo("palace.jpg")])
    expect(heading(page)).to_have_text("You are offline")
    page.context.set_offline(False)
    expect(heading(page)).to_have_text("Cathedral of Velras")
    expect(page.locator("#offline")).to_be_hidden()


def test_dismissing_a_pending_photo_leaves_nothing_behind(page: Page, world: World) -> None:
    world.wait = 600
    page.set_input_files("#files", [photo("busy.jpg")])
    page.get_by_role("button", name="Remove busy.jpg").click()
    expect(page.locator(".answer")).to_have_count(0)
    expect(page.locator("#answers-head")).to_be_hidden()
