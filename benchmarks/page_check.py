"""Check the web page with real photos, in each of its states, at four sizes, light and dark.

    python benchmarks/page_check.py paris.wl known/ unknown/ nothing/ --out shots/ [--firefox]

known/, unknown/, nothing/: photos of landmarks of the gallery, of other landmarks, of none. Serves
copies of the recognizer folder, one of them with keys, and picks photos by their answers. Writes a
screenshot of each state, and prints every finding of axe-core, what scrolls sideways, what is too
small to be pressed by a finger, answers that are out of sight, errors, contacted hosts, and the
first load as Lighthouse throttles it. Exit code 1 = a fault was found.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tests_on_path  # noqa: F401
from tests.support.page_checks import (
    axe,
    first_load,
    in_sight,
    served,
    small_targets,
    too_wide,
    with_axe,
)
from tests.support.page_hands import Kind, launched

SIZES = [(360, 640), (390, 844), (768, 1024), (1440, 900)]
TOUCH_BELOW = 1000  # px wide: these are phones and tablets
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
TIMEOUT_MS = 60_000
MANY = 40
SCREENSHOT_STYLE = "sha256-YjaKGiklmzC6wjXA513HAMmzus8VE61XCOT+SmwNZWA="  # of Playwright, refused
SURE = 0.8
MOST_BYTES, MOST_REQUESTS = 150_000, 9
BROKEN = {"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": b"\xff\xd8\xff no photo"}
DONE = '[data-state="answered"], [data-state="failed"]'
WHY_READY = "#why-body > section, #why-body > figure, #why-body .pair"


@dataclass
class Faults:
    """What was found at each place, and the number of requests to each host."""

    found: dict[str, list[str]] = field(default_factory=dict)
    hosts: Counter[str] = field(default_factory=Counter)
    shots: int = 0

    def add(self, kind: str, where: str, faults: list[str]) -> None:
        self.found.setdefault(kind, []).extend(f"{where}: {fault}" for fault in faults)

    def print(self, kinds: list[str]) -> int:
        """Print the faults, the same one of several places in one line; returns their number."""
        for kind in kinds:
            places: dict[str, list[str]] = {}
            for line in self.found.get(kind, []):
                where, _, fault = line.partition(": ")
                places.setdefault(fault, []).append(where)
            print(f"{kind}: {len(places) or 'none'}")
            for fault, where in places.items():
                where = list(dict.fromkeys(where))
                print(f"  {fault}\n      {', '.join(where[:6])}{' …' if len(where) > 6 else ''}")
        return sum(map(len, self.found.values()))


def photos_in(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return found or sys.exit(f"{folder}: no photos")


def ask(address: str, photo: Path) -> dict[str, Any]:
    """The server's answer to a photo."""
    line = b"--cut\r\n"
    head = f'Content-Disposition: form-data; name="photos"; filename="{photo.name}"\r\n\r\n'
    body = line + head.encode() + photo.read_bytes() + b"\r\n--cut--\r\n"
    request = urllib.request.Request(f"{address}/v1/recognize", body)
    request.add_header("Content-Type", "multipart/form-data; boundary=cut")
    with urllib.request.urlopen(request, timeout=60) as reply:
        (result,) = json.load(reply)["results"]
    return dict(result)


def pick(address: str, photos: list[Path], fits: Callable[[dict[str, Any]], bool]) -> Path | None:
    """The first photo whose answer fits; None = there is none."""
    return next((photo for photo in photos if fits(ask(address, photo))), None)


def examples(address: str, known: list[Path], unknown: list[Path], nothing: list[Path]) -> Any:
    """State → a photo that shows it."""

    def named(least: float, most: float) -> Callable[[dict[str, Any]], bool]:
        return lambda a: a.get("landmark") is not None and least <= a["confidence"] < most

    found = {
        "sure": pick(address, known, named(SURE, 1)),
        "likely": pick(address, known, named(0, SURE)),
        "maybe": pick(address, known, lambda a: a.get("decision") == "uncertain"),
        "unknown": pick(address, unknown, lambda a: a.get("decision") == "no_landmark"),
        "unknown-maybe": pick(address, unknown, lambda a: a.get("decision") == "uncertain"),
        "nothing": pick(address, nothing, lambda a: a.get("decision") == "no_landmark"),
    }
    for state, photo in found.items():
        print(f"{state}: {photo or 'no photo has this answer'}")
    return {state: photo for state, photo in found.items() if photo}


class Screen:
    """Pages of one size and colour scheme."""

    def __init__(self, browser: Any, faults: Faults, out: Path, screen: Any) -> None:
        (self.width, self.height), self.scheme = screen
        self.browser, self.faults, self.out = browser, faults, out

    @contextmanager
    def page(self, address: str, refused: int = 0) -> Iterator[Any]:
        """A page in a context of its own. refused: how many requests may be answered by an error,
        because the state is about that."""
        touch = {"has_touch": True} if self.width < TOUCH_BELOW else {}
        if touch and self.browser.browser_type.name == "chromium":
            touch["is_mobile"] = True
        context = with_axe(self.browser.new_context(
            viewport={"width": self.width, "height": self.height}, color_scheme=self.scheme, **touch
        ))  # fmt: skip
        context.set_default_timeout(TIMEOUT_MS)
        page, errors = context.new_page(), []
        page.on("request", lambda request: self._asked(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.goto(address)
        page.wait_for_selector("html[data-ready]")
        yield page
        context.close()
        errors = [line for line in errors if SCREENSHOT_STYLE not in line]
        failed = [line for line in errors if "Failed to load resource" in line]
        wrong = [line for line in errors if line not in failed] + failed[refused:]
        self.faults.add("errors in the page", self.name, wrong)

    @property
    def name(self) -> str:
        return f"{self.width}-{self.scheme}"

    def _asked(self, url: str) -> None:
        if urlsplit(url).scheme not in ("blob", "data"):
            self.faults.hosts[urlsplit(url).netloc] += 1

    def look(self, page: Any, state: str, *, whole: bool = False) -> None:
        """Take a screenshot, and check what is on it."""
        page.wait_for_timeout(400)  # pictures and transitions
        where = f"{state}-{self.name}"
        page.screenshot(path=self.out / f"{where}.png")
        self.faults.shots += 1
        if whole:
            self.whole(page, self.out / f"{state}-whole-{self.name}.png")
        self.faults.add("axe-core", where, axe(page))
        self.faults.add("scrolls sideways", where, too_wide(page))
        least = 44 if self.width < TOUCH_BELOW else 24
        self.faults.add("too small to press", where, small_targets(page, least))

    def whole(self, page: Any, path: Path) -> None:
        """A screenshot of everything, also of what an open dialog would scroll."""
        tall = page.evaluate("""() => {
          const dialog = document.querySelector("dialog[open]");
          if (!dialog) return 0;
          const inner = [dialog, ...dialog.children].map((n) => n.scrollHeight);
          return Math.max(...inner) + 200;
        }""")
        if tall > self.height:
            page.set_viewport_size({"width": self.width, "height": min(tall, 8000)})
            page.wait_for_timeout(400)
        page.screenshot(path=path, full_page=not tall)
        page.set_viewport_size({"width": self.width, "height": self.height})
        self.faults.shots += 1

    def answer(self, page: Any, state: str, photo: Path) -> None:
        """Choose a photo; its answer must come into sight."""
        page.set_input_files("#files", photo)
        page.locator(DONE).first.wait_for()
        page.wait_for_timeout(600)
        if not in_sight(page.locator(DONE).first.locator("h3, h2").first):
            self.faults.add("answer out of sight", f"{state}-{self.name}", ["its heading"])


def recognize(screen: Screen, address: str, photos: dict[str, Path], many: list[Path]) -> None:
    """The first visit, each kind of answer, why, many photos."""
    with screen.page(address) as page:
        screen.look(page, "first", whole=True)
    for state, photo in photos.items():
        with screen.page(address) as page:
            screen.answer(page, state, photo)
            screen.look(page, state, whole=True)
            if state in ("sure", "maybe"):
                page.get_by_role("button", name="Why").first.click()
                page.locator(WHY_READY).first.wait_for()
                screen.look(page, f"why-{state}", whole=True)
    with screen.page(address) as page:
        began = time.monotonic()
        page.set_input_files("#files", many)
        page.locator(DONE).nth(len(many) - 1).wait_for()
        print(f"{screen.name}: {len(many)} photos answered in {time.monotonic() - began:.1f} s")
        screen.look(page, "many", whole=True)


def gallery(screen: Screen, address: str) -> None:
    """The list of landmarks, a search, one landmark, photos without a landmark, review."""
    with screen.page(f"{address}/#gallery") as page:
        page.locator("#landmarks .card").first.wait_for()
        screen.look(page, "gallery", whole=True)
        page.locator("#query").fill("eifel")
        page.wait_for_timeout(800)
        screen.look(page, "search")
        page.locator("#query").fill("")
        page.locator("#landmarks .card").nth(1).wait_for()
        page.locator("#landmarks .card").first.click()
        page.locator("#landmark img").first.wait_for()
        screen.look(page, "landmark", whole=True)
    for view in ("unlabelled", "review"):
        with screen.page(f"{address}/#{view}") as page:
            page.wait_for_timeout(500)
            screen.look(page, view)


def refusals(screen: Screen, address: str, keyed: str, photo: Path) -> None:
    """A key that is needed, a wrong one, an unreadable photo, a busy and an absent server."""
    with screen.page(keyed, refused=9) as page:
        page.wait_for_timeout(500)
        screen.look(page, "key-arrival")
        if not page.locator("#key-value").is_visible():
            page.set_input_files("#files", photo)
        page.locator("#key-value").wait_for()
        screen.look(page, "key")
        page.fill("#key-value", "wl_a-key-that-nobody-has")
        page.keyboard.press("Enter")
        page.wait_for_timeout(1200)
        screen.look(page, "key-wrong")
    with screen.page(address) as page:
        page.set_input_files("#files", [BROKEN])
        page.locator(DONE).first.wait_for()
        screen.look(page, "error-photo")
    with screen.page(address, refused=9) as page:
        told = {"error": {"code": "busy", "message": "The queue is full.", "hint": ""}}
        page.route("**/v1/recognize*", lambda route: route.fulfill(
            status=503, headers={"Retry-After": "30"}, json=told
        ))  # fmt: skip
        page.set_input_files("#files", photo)
        page.locator('[data-state="busy"]').wait_for()
        screen.look(page, "error-busy")
    with screen.page(address, refused=9) as page:
        page.context.set_offline(True)
        page.set_input_files("#files", photo)
        page.locator(DONE).first.wait_for()
        screen.look(page, "error-offline")
        page.context.set_offline(False)


def load(browser: Any, address: str, faults: Faults) -> None:
    """Print the first load at the size of a phone."""
    context = browser.new_context(viewport={"width": 360, "height": 640}, is_mobile=True)
    found = first_load(context, address)
    context.close()
    for path, size in found["requests"].items():
        print(f"  {size:7,} bytes {path}")
    print(
        f"first load (slow 4G, CPU / 4): {len(found['requests'])} requests, {found['bytes']:,} "
        f"bytes; first paint {found['fcp'] / 1000:.2f} s, largest {found['lcp'] / 1000:.2f} s, "
        f"ready {found['ready'] / 1000:.2f} s, blocked {found['blocked']:.0f} ms, "
        f"layout shift {found['cls']:.3f}"
    )
    if found["bytes"] > MOST_BYTES:
        faults.add("first load", "360", [f"{found['bytes']:,} bytes; at most {MOST_BYTES:,}"])
    if len(found["requests"]) > MOST_REQUESTS:
        faults.add(
            "first load", "360", [f"{len(found['requests'])} requests; at most {MOST_REQUESTS}"]
        )


def make_key(folder: Path) -> Path:
    """A key file with a key, which nobody uses."""
    path = folder / "keys.json"
    command = [sys.executable, "-m", "whichlandmark.cli", "keys", "add", str(path), "somebody"]
    subprocess.run(command, check=True, capture_output=True)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("recognizer", type=Path)
    for kind in ("known", "unknown", "nothing"):
        parser.add_argument(kind, type=Path, help="folder of photos")
    parser.add_argument("--out", type=Path, default=Path("shots"), help="folder of the screenshots")
    parser.add_argument("--first", default="", help="known photos with this in their path first")
    parser.add_argument("--width", type=int, action="append", help="of the screens; else all four")
    parser.add_argument("--firefox", action="store_true", help="instead of Chromium")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    options.out.mkdir(parents=True, exist_ok=True)
    known, unknown, nothing = map(photos_in, (options.known, options.unknown, options.nothing))
    known.sort(key=lambda path: (options.first not in str(path), path))
    spread = [*known, *unknown, *nothing]
    many = [spread[i * len(spread) // MANY] for i in range(min(MANY, len(spread)))]
    sizes = [size for size in SIZES if not options.width or size[0] in options.width]
    faults = Faults()
    with (
        tempfile.TemporaryDirectory() as folder,
        served(options.recognizer) as address,
        served(options.recognizer, "--keys", str(make_key(Path(folder)))) as keyed,
        sync_playwright() as playwright,
    ):
        photos = examples(address, known, unknown, nothing)
        name = "firefox" if options.firefox else "chromium"
        for screen in [(size, scheme) for size in sizes for scheme in ("light", "dark")]:
            kind: Kind = "touch" if screen[0][0] < TOUCH_BELOW else "keyboard"
            with launched(
                playwright, name, kind, Path(folder), dark=screen[1] == "dark"
            ) as browser:
                shown = Screen(browser, faults, options.out, screen)
                recognize(shown, address, photos, many)
                gallery(shown, address)
                refusals(shown, address, keyed, photos["sure"])
                if not options.firefox and screen == (sizes[0], "light"):
                    load(browser, address, faults)
    own = {urlsplit(address).netloc, urlsplit(keyed).netloc}
    faults.add("other hosts", "all", sorted(set(faults.hosts) - own))
    kinds = ["axe-core", "scrolls sideways", "too small to press", "answer out of sight",
             "errors in the page", "other hosts", "first load"]  # fmt: skip
    count = faults.print(kinds)
    print(f"{faults.shots} screenshots in {os.fspath(options.out)}; {count} faults")
    sys.exit(1 if count else 0)


if __name__ == "__main__":
    main()
