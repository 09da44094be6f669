"""Faults that are planted in the page are found by what measures it."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.support import page_browser
from tests.support.page_browser import BROWSER, heading, opened, ready, still, submit_photos
from tests.support.page_checks import axe, first_load, in_sight, small_targets, too_wide
from tests.support.page_world import World

pytestmark = BROWSER
browser = pytest.fixture(scope="module")(page_browser.chromium)
world = pytest.fixture(page_browser.small_world)
address = pytest.fixture(page_browser.serving)
PHONE: dict[str, Any] = {
    "viewport": {"width": 360, "height": 640}, "is_mobile": True, "has_touch": True,
}  # fmt: skip


def plant(page: Page, markup: str) -> None:
    page.evaluate(
        "(markup) => document.querySelector('#recognize').insertAdjacentHTML('afterbegin', markup)",
        markup,
    )


@pytest.mark.parametrize(("markup", "found"), [
    ("<button id=planted>x</button>", True),
    ("<p>Some words and <a id=planted href=x>a link within them</a>.</p>", False),
    ("<p><a id=planted href=x>a link that stands alone</a></p>", True),
    ("<input type=checkbox id=planted>", True),
    ("<button id=planted hidden>x</button>", False),
    ("<details><summary>more</summary><button id=planted>x</button></details>", False),
])  # fmt: skip
def test_targets_that_are_too_small_for_a_finger(
    browser: Browser, address: str, markup: str, found: bool
) -> None:
    with opened(browser, address, **PHONE) as (page, _):
        ready(page)
        assert small_targets(page) == []
        plant(page, markup)
        page.evaluate("""() => { for (const node of document.querySelectorAll("#planted"))
          if (node.tagName !== "A") node.style.minHeight = node.style.height = "30px"; }""")
        assert any("#planted is" in line for line in small_targets(page)) is found


def test_the_answer_is_in_sight_on_a_small_phone(browser: Browser, address: str) -> None:
    with opened(browser, address, **PHONE) as (page, _):
        ready(page)
        for number, name in enumerate(["palace.jpg", "unsure.jpg"]):
            submit_photos(page, name)
            still(page)  # it scrolls to its card
            assert in_sight(heading(page)), number
        page.evaluate("() => scrollTo(0, document.body.scrollHeight)")
        still(page)
        assert not in_sight(heading(page))


def test_what_scrolls_sideways_is_found(browser: Browser, address: str) -> None:
    with opened(browser, address, **PHONE) as (page, _):
        ready(page)
        assert too_wide(page) == []
        plant(page, f"<p>{'<b>wide</b>&nbsp;' * 60}</p>")
        page.evaluate("() => { document.querySelector('#recognize p').style.whiteSpace = 'pre'; }")
        assert len(too_wide(page)) == 1


def test_axe_reports_findings_of_every_impact(browser: Browser, address: str) -> None:
    with opened(browser, address, axe=True) as (page, _):
        ready(page)
        assert axe(page) == []
        plant(page, "<h1>A heading</h1><h5>A heading that skips levels</h5>")
        assert [line.split(":")[0] for line in axe(page)] == ["heading-order (moderate)"]


def test_the_first_load_is_small(browser: Browser, address: str, world: World) -> None:
    context = browser.new_context(**PHONE)
    found = first_load(context, address)
    context.close()
    assert {"/", "/static/page.js", "/static/page.css"} <= {*found["requests"]}
    assert len(found["requests"]) < 10, found["requests"]
    assert found["bytes"] == sum(found["requests"].values()) > 50_000
    assert 0 < found["fcp"] <= found["lcp"]
    assert found["cls"] < 0.1
