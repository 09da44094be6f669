"""A real browser for the tests of the page, recording its requests, errors and console.

One Chromium serves all tests of a process, and a context all tests with the same options. A context
keeps an empty tab, because the first tab of a window costs more than most tests do. Each test still
has a tab and an origin (a server's port) of its own, so nothing that one stores is seen by another.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Playwright,
    PlaywrightContextManager,
    expect,
    sync_playwright,
)

from tests.support.page_checks import with_axe
from tests.support.page_server import PageServer
from tests.support.page_world import World, drawn

CHROMIUM = os.environ.get("WHICHLANDMARK_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
BROWSER = [  # marks of a module that needs one
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]
TIMEOUT = 20_000  # ms; generous, because other tests may keep the cores busy
FILES = """([data, names]) => {
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  for (const name of names) transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
  return transfer;
}"""

STILL = """() => new Promise((done) => {
  let [last, same] = [scrollY, 0];
  const look = () => {
    same = scrollY === last ? same + 1 : 0;
    last = scrollY;
    if (same < 10) requestAnimationFrame(look);
    else done(last);
  };
  requestAnimationFrame(look);
})"""
STORED = """(answered) => new Promise((done) => {
  const opening = indexedDB.open("whichlandmark", 1);
  opening.onsuccess = () => {
    const reading = opening.result.transaction("answers").objectStore("answers").getAll();
    reading.onsuccess = () => {
      opening.result.close();
      const own = reading.result.filter((one) => one.tab === sessionStorage["whichlandmark.tab"]);
      const done_states = ["answered", "failed", "stopped"];
      done(own.filter((one) => answered ? done_states.includes(one.state) : one.photo).length);
    };
  };
})"""

# Ends of the drawn lines on the screen, in shares of each photo.
ENDS = """() => {
  const images = [...document.querySelectorAll(".pair img")].map((i) => i.getBoundingClientRect());
  const svg = document.querySelector(".pair .lines");
  const lines = [...svg.querySelectorAll("line:not(.halo, .dot)")].map((line) => {
    const at = (name) => line[name].baseVal.value;
    const end = (n) => new DOMPoint(at(`x${n}`), at(`y${n}`)).matrixTransform(svg.getScreenCTM());
    const [a, b] = [end(1), end(2)];
    return [(a.x - images[0].x) / images[0].width, (a.y - images[0].y) / images[0].height,
            (b.x - images[1].x) / images[1].width, (b.y - images[1].y) / images[1].height];
  });
  return { lines, images };
}"""


def photo(name: str, number: int = 0) -> dict[str, Any]:
    """A file for a file input."""
    return {"name": name, "mimeType": "image/jpeg", "buffer": drawn(number, "query")}


def transfer(page: Page, *names: str) -> Any:
    """The DataTransfer of photos that are dropped or pasted."""
    data = base64.b64encode(drawn(0, "query")).decode()
    return page.evaluate_handle(FILES, [data, list(names)])


@dataclass
class PageLog:
    """The hosts that a page contacted, its errors and its console messages."""

    hosts: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        def record(url: str) -> None:
            if urlsplit(url).scheme not in ("blob", "data"):
                self.hosts.add(urlsplit(url).netloc)

        page.on("request", lambda request: record(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda line: self.console.append(f"{line.type}: {line.text}"))

    def unexpected(self) -> list[str]:
        """Errors, without the console messages of requests that the server refused."""
        refused = "Failed to load resource"
        errors = [line for line in self.console if line.startswith("error") and refused not in line]
        return self.errors + errors


# ——— what the tests of a process share

_running: list[tuple[PlaywrightContextManager, Playwright]] = []
_browsers: list[Browser] = []
_contexts: dict[Browser, dict[str, BrowserContext]] = {}


def shared_playwright() -> Playwright:
    """Playwright, until `close_browsers`: while it runs, asyncio cannot be used in this thread."""
    if not _running:
        manager = sync_playwright()
        _running.append((manager, manager.start()))
    return _running[0][1]


def shared_chromium() -> Browser:
    """Chromium, until `close_browsers`."""
    if not _browsers or not _browsers[-1].is_connected():
        launch = shared_playwright().chromium.launch
        _browsers.append(launch(executable_path=CHROMIUM, args=["--no-sandbox"]))
    return _browsers[-1]


def close_browsers() -> None:
    for browser in _browsers:
        browser.close()
    for manager, _ in _running:
        manager.__exit__()
    _browsers.clear(), _contexts.clear(), _running.clear()


@contextmanager
def context_of(browser: Browser, *, axe: bool = False, **options: Any) -> Iterator[BrowserContext]:
    """A context with one empty tab; one that was used before, where nothing failed in it."""
    free, key = _contexts.setdefault(browser, {}), repr((axe, sorted(options.items())))
    context = free.pop(key, None)
    if context is None:
        context = browser.new_context(**{"viewport": {"width": 1000, "height": 800}} | options)
        context.set_default_timeout(TIMEOUT)
        if axe:
            with_axe(context)
        context.new_page()
    try:
        yield context
        for page in context.pages[1:]:
            page.close()
        context.set_offline(False)
    except BaseException:
        context.close()
        raise
    free[key] = context


@contextmanager
def opened(
    browser: Browser, address: str, *, axe: bool = False, **options: Any
) -> Iterator[tuple[Page, PageLog]]:
    """A new page of the server. Errors and requests to other hosts fail the test."""
    with context_of(browser, axe=axe, **options) as context:
        page, log = context.new_page(), PageLog()
        log.watch(page)
        page.on(
            "filechooser", lambda _: None
        )  # registered early, because later the first key press could be missed
        page.goto(address, wait_until="domcontentloaded")
        yield page, log
        text = page.inner_text("body")
        assert not any(word in text for word in ("null", "undefined", "NaN", "[object")), text
    assert log.unexpected() == []
    assert log.hosts == {urlsplit(address).netloc}


def ready(page: Page) -> None:
    page.wait_for_selector("html[data-ready]")


def until(page: Page, check: Callable[[], Any]) -> None:
    """Wait for what no locator shows, such as a request that the server gets."""
    deadline = time.monotonic() + TIMEOUT / 1000
    while not check():
        assert time.monotonic() < deadline, "it did not come true"
        page.wait_for_timeout(20)


def still(page: Page) -> float:
    """Wait until the page has stopped scrolling; returns its scrollY."""
    return float(page.evaluate(STILL))


def stored(page: Page, count: int, *, answered: bool = True) -> None:
    """Wait until the browser keeps so many answers (else photos) of this tab for a reload."""
    until(page, lambda: page.evaluate(STORED, answered) == count)


def submit_photos(page: Page, *names: str) -> None:
    """Choose photos, and wait until each is answered or refused."""
    before = finished_photos(page).count()
    page.set_input_files("#files", [photo(name, i % 4) for i, name in enumerate(names)])
    finished_photos(page).nth(before + len(names) - 1).wait_for()


def finished_photos(page: Page) -> Any:
    return page.locator('[data-state="answered"], [data-state="failed"]')


def expect_hash(page: Page, wanted: str) -> None:
    """Wait until the page's address ends so, because going back in the history takes its time."""
    expect(page).to_have_url(re.compile(re.escape(wanted) + "$"))


def heading(page: Page, number: int = 0) -> Any:
    return page.locator(".answer h3").nth(number)


def rows(page: Page) -> Any:
    """The rows of the list that many photos are shown as."""
    return page.locator("#list .entry")


def open_row(page: Page, number: int) -> Any:
    """Open the card of a row."""
    rows(page).nth(number).locator(".open").click()
    return page.locator("#list .answer")


def open_explanation(page: Page) -> None:
    submit_photos(page, "palace.jpg")
    page.get_by_role("button", name="Why?").click()
    page.wait_for_selector(".pair")


def open_gallery(page: Page) -> None:
    page.click("#to-gallery")
    page.wait_for_selector("#landmarks .card")


# Each test file makes fixtures of these: browser, world, address, page.


def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=TIMEOUT)
    yield shared_chromium()


def small_world() -> World:
    return World.of(6)


def serving(world: World) -> Iterator[str]:
    with PageServer(world) as address:
        yield address


def ready_page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address) as (page, _):
        ready(page)
        yield page
