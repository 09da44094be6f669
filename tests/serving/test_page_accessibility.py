"""Accessibility of the page: keyboard, axe-core, small screens, dark mode; hostile names."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import page_browser
from tests.support.page_browser import (
    BROWSER,
    open_explanation,
    open_gallery,
    opened,
    photo,
    ready,
    submit_photos,
)
from tests.support.page_checks import axe
from tests.support.page_world import World

pytestmark = BROWSER
browser = pytest.fixture(scope="module")(page_browser.chromium)
world = pytest.fixture(page_browser.small_world)
address = pytest.fixture(page_browser.serving)
page = pytest.fixture(page_browser.ready_page)

ACTIVE = """() => {
  const at = document.activeElement;
  const style = getComputedStyle(at);
  const box = at.getBoundingClientRect();
  return { name: at.getAttribute("aria-label") || at.textContent.trim() || at.id, id: at.id,
           outline: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
           seen: box.width > 0 && box.bottom > 0 && box.top < innerHeight };
}"""
WIDE = "() => [document.documentElement.scrollWidth, innerWidth]"


def settled(page: Page, what: str) -> dict[str, Any]:
    """The focused element, once `what` is true of it: scrolling and styles need some time."""
    at: dict[str, Any] = {}
    for _ in range(30):
        at = page.evaluate(ACTIVE)
        if at[what]:
            break
        page.wait_for_timeout(50)
    return at


def tab_to(page: Page, name: str, most: int = 60) -> None:
    """Press Tab until an element of this name has the focus; every stop must show a focus ring."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement === document.body"):
            continue  # past the last element Tab leaves the page, and comes back with the next
        at = settled(page, "outline")
        assert at["outline"], f"no focus ring on {at['name']!r}"
        if at["name"].startswith(name) or at["id"] == name:
            assert settled(page, "seen")["seen"], f"{name!r} has the focus outside of the window"
            return
    raise AssertionError(f"Tab does not reach {name!r}")


# ——— keyboard


def test_the_first_tab_stop_skips_to_the_content(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    expect(page.locator("#recognize")).to_be_visible()


def test_everything_works_with_the_keyboard_alone(page: Page, world: World) -> None:
    tab_to(page, "choose")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files([photo("palace.jpg")])
    page.locator('[data-state="answered"]').wait_for()
    tab_to(page, "Why?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".pair")
    expect(page.locator("#why-title")).to_be_focused()
    tab_to(page, "why-lines")
    page.keyboard.press("Space")
    expect(page.locator(".pair .lines")).to_be_hidden()
    page.keyboard.press("Escape")
    tab_to(page, "Yes, it is right")
    page.keyboard.press("Enter")
    expect(page.locator(".thanks")).to_be_focused()
    assert len(world.feedback) == 1

    page.locator("#to-recognize").focus()
    tab_to(page, "to-gallery")
    page.keyboard.press("Enter")
    expect(page.locator("#gallery-title")).to_be_focused()
    tab_to(page, "Tower of Fenven")
    page.keyboard.press("Enter")
    expect(page.locator("#landmark-title")).to_be_focused()
    tab_to(page, "Remove landmark")
    page.keyboard.press("Enter")
    expect(page.locator("#confirm-no")).to_be_focused()
    tab_to(page, "confirm-yes")
    page.keyboard.press("Enter")
    expect(page.locator("#gallery-count")).to_contain_text("5 landmarks")
    expect(page.locator("#gallery-title")).to_be_focused()


def test_an_open_dialog_keeps_the_focus(page: Page) -> None:
    open_explanation(page)
    for _ in range(25):
        page.keyboard.press("Tab")
        inside = page.evaluate("() => document.activeElement.matches('body, #why, #why *')")
        assert inside


# ——— axe-core


def stages(page: Page, world: World) -> Any:
    """Bring the page into each of its states and yield the name of the state."""
    yield "empty"
    submit_photos(page, "palace.jpg", "nothing.jpg")
    page.locator(".map").first.scroll_into_view_if_needed()
    page.locator(".pin").first.wait_for()
    page.locator(".answer").first.get_by_role("button", name="No, it is wrong").click()
    page.locator(".answer").nth(1).get_by_text("What came closest").click()
    page.locator(".sureness summary").click()
    page.locator(".next .more > summary").first.click()
    page.get_by_role("button", name="Add to the gallery").first.click()
    yield "cards"
    page.get_by_role("button", name="Choose a part").nth(1).click()
    page.locator(".part").wait_for()
    page.get_by_text("Set the edges by sliders").click()
    yield "part"
    page.keyboard.press("Escape")
    submit_photos(page, "unsure.jpg", "likely.jpg", "unreadable.jpg")
    page.set_input_files("#files", [{**photo("film.mp4"), "mimeType": "video/mp4"}])
    page.locator("#list .open").nth(0).click()
    page.get_by_label("Select likely.jpg").check()
    page.get_by_role("button", name="Group by landmark").click()
    page.locator("#save summary").click()
    yield "list"
    page.locator("#list .open").nth(0).click()
    page.get_by_label("Select likely.jpg").uncheck()
    world.wait = 600
    page.set_input_files("#files", [photo("busy.jpg")])
    page.locator('[data-state="busy"]').wait_for()
    yield "busy"
    page.locator('#list [data-state="answered"] .open').first.click()
    page.get_by_role("button", name="Why?").click()
    page.wait_for_selector(".pair")
    page.locator(".numbers summary").click()
    yield "why"
    page.keyboard.press("Escape")
    open_gallery(page)
    yield "gallery"
    page.locator("#landmarks .card").first.click()
    page.set_input_files(
        "#landmark-body input[type=file]", [photo("a.jpg"), photo("unreadable.jpg")]
    )
    page.locator(".problems").wait_for()
    yield "landmark"
    page.get_by_role("button", name="Remove landmark").click()
    page.locator("#confirm").wait_for()
    yield "confirm"
    page.keyboard.press("Escape")
    page.locator("#confirm").wait_for(state="hidden")
    page.keyboard.press("Escape")
    page.locator("#landmark").wait_for(state="hidden")
    page.click("#landmark-new")
    yield "new"


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (360, "dark")])
def test_axe_finds_nothing_serious(
    browser: Browser, world: World, address: str, width: int, scheme: Any
) -> None:
    size = {"width": width, "height": 800}
    with opened(browser, address, viewport=size, color_scheme=scheme, axe=True) as (page, _):
        ready(page)
        for stage in stages(page, world):
            assert axe(page) == [], stage


def test_axe_finds_a_planted_fault(browser: Browser, address: str) -> None:
    with opened(browser, address, axe=True) as (page, _):
        ready(page)
        page.evaluate("() => { document.getElementById('choose').style.color = '#4499cc'; }")
        page.evaluate(
            "() => document.getElementById('drop').append(document.createElement('button'))"
        )
        found = " ".join(axe(page))
        assert "color-contrast" in found
        assert "button-name" in found


# ——— screens


def test_nothing_is_wider_than_a_narrow_screen(
    browser: Browser, world: World, address: str
) -> None:
    long = "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch" * 2
    world.titles[next(iter(world.titles))] = long
    with opened(browser, address, viewport={"width": 320, "height": 640}) as (page, _):
        ready(page)
        submit_photos(page, f"{long}.jpg")
        wide, window = page.evaluate(WIDE)
        assert wide <= window
        page.click("#clear")
        for stage in stages(page, world):
            wide, window = page.evaluate(WIDE)
            assert wide <= window, stage
            for box in page.locator("dialog[open]").all():
                inner = box.evaluate("d => [d.scrollWidth, d.clientWidth]")
                assert inner[0] <= inner[1], stage


def test_dark_mode_and_reduced_motion_are_respected(
    browser: Browser, world: World, address: str
) -> None:
    colour = "() => getComputedStyle(document.body).backgroundColor"
    options: list[dict[str, Any]] = [
        {"color_scheme": "light"},
        {"color_scheme": "dark", "reduced_motion": "reduce"},
    ]
    found = []
    for option in options:
        with opened(browser, address, **option) as (page, _):
            ready(page)
            moves = page.evaluate("""() => {
              const bar = document.body.appendChild(document.createElement("div"));
              bar.className = "running";
              return getComputedStyle(bar, "::after").animationName;
            }""")
            found.append((page.evaluate(colour), moves))
    assert found == [("rgb(247, 248, 250)", "pass"), ("rgb(17, 21, 28)", "none")]


def test_a_phone_is_offered_its_camera(browser: Browser, address: str) -> None:
    with opened(
        browser, address, viewport={"width": 390, "height": 800}, is_mobile=True, has_touch=True
    ) as (page, _):
        ready(page)
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Take a photo").tap()
        assert chooser.value.element.get_attribute("capture") == "environment"
        chooser.value.set_files([photo("palace.jpg")])
        page.locator('[data-state="answered"]').wait_for()


# ——— hostile names

HOSTILE = [
    '<img src=x onerror="window.hacked=1">',
    "<script>window.hacked=1</script>",
    '"><svg onload=window.hacked=1>',
    "javascript:window.hacked=1",
    "{{constructor.constructor('window.hacked=1')()}}",
    "'-window.hacked-'",
    '<iframe srcdoc="<script>parent.hacked=1</script>">',
    "</title><script>window.hacked=1</script>",
]


@pytest.mark.parametrize("number", range(2))
def test_scripts_in_names_are_not_run(
    browser: Browser, world: World, address: str, number: int
) -> None:
    names = list(world.titles)
    for name, title in zip(names, HOSTILE[4 * number :] + HOSTILE, strict=False):
        world.titles[name] = title
        world.landmarks[name] = [f"{title}/{i}" for i in range(3)]
    with opened(browser, address) as (page, _):
        ready(page)
        files = [photo(f"unsure {hostile}.jpg") for hostile in HOSTILE[4 * number :][:4]]
        page.set_input_files("#files", files)
        page.locator('[data-state="answered"]').nth(3).wait_for()
        page.locator("#list .open").first.click()
        expect(page.locator(".answer h3").first).to_contain_text(HOSTILE[4 * number])
        page.locator(".map").first.scroll_into_view_if_needed()
        page.locator(".pin").first.wait_for()
        page.get_by_role("button", name="Why?").first.click()
        page.wait_for_selector(".pair")
        page.keyboard.press("Escape")
        open_gallery(page)
        page.locator("#landmarks .card", has_text=HOSTILE[4 * number]).first.click()
        page.locator(".photos li").first.wait_for()
        page.get_by_role("button", name="Remove landmark").click()
        expect(page.locator("#confirm-title")).to_contain_text(HOSTILE[4 * number])
        assert page.evaluate("window.hacked") is None
        assert page.locator("main script, main iframe, dialog script, dialog iframe").count() == 0
        links = [a.get_attribute("href") or "" for a in page.locator("a").all()]
        assert all(
            link.startswith(("#", "https://www.openstreetmap.org/", "https://www.wikidata.org/",
                             "https://creativecommons.org/licenses/by-sa/4.0/"))
            for link in links
        )  # fmt: skip
