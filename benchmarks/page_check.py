"""Check the web page in Chromium with real photos: accessibility, layout, contacted hosts.

    python benchmarks/page_check.py paris.wl photos/ --out shots/

Serves a copy of a recognizer folder, uses the page at three widths, in the light and dark scheme,
writes screenshots, and prints the findings of axe-core, seconds of answers, and every contacted
host.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tests_on_path  # noqa: F401
from tests.support.page_checks import axe, served, with_axe

SCREENS = [(w, scheme) for w in (360, 768, 1440) for scheme in ("light", "dark")]
PHOTOS = {".jpg", ".jpeg", ".png", ".webp"}
TIMEOUT_MS = 30_000  # ms
NAME = "added by page_check"


def some_photos(folder: Path, count: int) -> list[Path]:
    """`count` photos at equal distances in the folder's sorted photos."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTOS)
    if len(found) < count:
        sys.exit(f"{folder}: {len(found)} photos; expected at least {count}")
    return [found[i * len(found) // count] for i in range(count)]


class Walk:
    """The page at one width and colour scheme: contacted hosts and findings."""

    def __init__(self, page: Any, out: Path, name: str) -> None:
        self.page, self.out, self.name = page, out, name
        self.hosts: Counter[str] = Counter()
        self.errors: list[str] = []
        self.findings: list[str] = []
        self.steps = 0
        page.on("request", lambda request: self._asked(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _asked(self, url: str) -> None:
        if urlsplit(url).scheme not in ("blob", "data"):
            self.hosts[urlsplit(url).netloc] += 1

    def inspect(self, step: str, *, whole: bool = False) -> None:
        """Take a screenshot, run axe-core, and check that nothing is wider than the window."""
        self.steps += 1
        if whole:  # because pictures load only when they are scrolled into view
            self.page.mouse.wheel(0, 20_000)
        self.page.wait_for_timeout(300)
        self.page.screenshot(
            path=self.out / f"{self.name}-{self.steps:02}-{step}.png", full_page=whole
        )
        self.findings += [f"{self.name} {step}: {found}" for found in axe(self.page)]
        wide, window = self.page.evaluate(
            "() => [document.documentElement.scrollWidth, innerWidth]"
        )
        if wide > window:
            self.errors.append(f"{self.name} {step}: {wide} px wide in a window of {window}")


def ask(walk: Walk, photos: list[Path]) -> float:
    """Choose photos and wait for all answers; returns seconds."""
    began = time.monotonic()
    walk.page.set_input_files("#files", photos)
    settled = walk.page.locator('[data-state="answered"], [data-state="failed"]')
    settled.nth(len(photos) - 1).wait_for()
    return time.monotonic() - began


def recognize(walk: Walk, photos: list[Path]) -> float:
    """The empty page, answers, and an explanation."""
    page = walk.page
    page.wait_for_selector("html[data-ready]")
    walk.inspect("empty")
    took = ask(walk, photos)
    for heading in page.locator(".answer h3").all_inner_texts():
        print(f"    {heading}")
    walk.inspect("answers", whole=True)
    page.locator('[data-state="answered"]').first.get_by_role("button", name="Why?").click()
    page.locator("#why-body > section").first.wait_for()
    walk.inspect("why")
    page.keyboard.press("Escape")
    page.click("#clear")
    return took


def troubles(walk: Walk, photo: Path) -> None:
    """An unreadable photo, a busy server, and a lost connection."""
    page = walk.page
    broken = {"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": b"\xff\xd8\xff no photo"}
    page.set_input_files("#files", [broken])
    page.locator('[data-state="failed"]').wait_for()
    told = (
        '{"error": {"code": "busy", "message": "Every place in the queue is taken.", "hint": ""}}'
    )
    page.route("**/v1/recognize", lambda route: route.fulfill(
        status=503, headers={"Retry-After": "30"}, content_type="application/json", body=told,
    ))  # fmt: skip
    page.set_input_files("#files", [photo])
    page.locator('[data-state="busy"]').wait_for()
    page.unroute("**/v1/recognize")
    page.context.set_offline(True)
    page.set_input_files("#files", [photo])
    page.locator('[data-state="failed"]').nth(1).wait_for()
    walk.inspect("troubles", whole=True)
    page.context.set_offline(False)
    page.locator('[data-state="answered"]').first.wait_for()
    page.click("#clear")


def gallery(walk: Walk, photos: list[Path]) -> None:
    """Browse the gallery, add a landmark, and remove it."""
    page = walk.page
    page.click("#to-gallery")
    page.wait_for_selector("#landmarks .card")
    before = page.inner_text("#gallery-count")
    walk.inspect("gallery")
    page.locator("#landmarks .card").first.click()
    page.locator(".photos li").first.wait_for()
    walk.inspect("landmark")
    page.keyboard.press("Escape")
    page.click("#landmark-new")
    page.fill("#new-name", NAME)
    page.set_input_files("#new-files", photos)
    walk.inspect("new")
    page.click("#new-add")
    page.locator("#new").wait_for(state="hidden")
    page.fill("#query", NAME)
    page.locator("#landmarks .card", has_text="Added by page").click()
    page.get_by_role("button", name="Remove landmark").click()
    walk.inspect("confirm")
    page.click("#confirm-yes")
    page.locator("#landmark").wait_for(state="hidden")
    page.fill("#query", "")
    page.get_by_text(before).wait_for()


def walked(
    browser: Any, address: str, photos: list[Path], out: Path, screen: tuple[int, str]
) -> Walk:
    """Run all steps at one width and colour scheme."""
    width, scheme = screen
    phone = {"is_mobile": True, "has_touch": True} if width < 500 else {}
    context = with_axe(browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, **phone
    ))  # fmt: skip
    context.set_default_timeout(TIMEOUT_MS)
    walk = Walk(context.new_page(), out, f"{width}-{scheme}")
    print(f"{walk.name}")
    walk.page.goto(address)
    took = recognize(walk, photos)
    print(f"    {len(photos)} photos answered in the page in {took:.2f} s")
    troubles(walk, photos[0])
    gallery(walk, photos[:2])
    context.close()
    return walk


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("recognizer", type=Path)
    parser.add_argument("photos", type=Path, help="folder of query photos")
    parser.add_argument("--out", type=Path, default=Path("shots"), help="folder of the screenshots")
    parser.add_argument("--count", type=int, default=4, help="number of query photos")
    parser.add_argument(
        "--chromium", default=shutil.which("chromium") or shutil.which("google-chrome")
    )
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    options.out.mkdir(parents=True, exist_ok=True)
    photos = some_photos(options.photos, options.count)
    with served(options.recognizer) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=options.chromium, args=["--no-sandbox"]
        )
        walks = [walked(browser, address, photos, options.out, screen) for screen in SCREENS]
        browser.close()
    hosts: Counter[str] = sum((walk.hosts for walk in walks), Counter())
    errors = [error for walk in walks for error in walk.errors]
    findings = [found for walk in walks for found in walk.findings]
    elsewhere = sorted(set(hosts) - {urlsplit(address).netloc})
    print(*(f"host {host}: {count} requests" for host, count in hosts.items()), sep="\n")
    print(f"hosts that are not this server: {elsewhere or 'none'}")
    print(f"axe-core, serious or critical: {len(findings)}", *findings, sep="\n  ")
    print(f"errors in the page: {len(errors)}", *errors, sep="\n  ")
    print(f"{sum(walk.steps for walk in walks)} screenshots in {options.out}")
    sys.exit(1 if errors or findings or elsewhere else 0)


if __name__ == "__main__":
    main()
