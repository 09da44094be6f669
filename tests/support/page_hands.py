"""Use the page as a person does, in Chromium or Firefox: by keyboard only, or by touch."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, Locator, Page, Playwright, expect

from tests.support import firefox_relay
from tests.support.page_browser import CHROMIUM
from tests.support.page_world import drawn

FIREFOX = os.environ.get("WHICHLANDMARK_FIREFOX") or next(
    filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None
)
HANDS = ["keyboard", "touch"]
Kind = Literal["keyboard", "touch"]
MOST_TABS = 250
FOCUSED = """(node) => {
  const at = document.activeElement;
  const box = at.getBoundingClientRect();
  const style = getComputedStyle(at);
  return { here: at === node, ring: style.outlineStyle !== "none" && style.outlineWidth !== "0px",
           seen: box.bottom > 0 && box.top < innerHeight,
           before: Boolean(at.compareDocumentPosition(node) & Node.DOCUMENT_POSITION_PRECEDING),
           name: at.outerHTML.slice(0, 120) };
}"""
PASTE = """([kind, text, bytes]) => {
  const clipboardData = new DataTransfer();
  if (bytes) {
    const data = Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0));
    clipboardData.items.add(new File([data], text, { type: kind }));
  } else clipboardData.setData(kind, text);
  const event = new ClipboardEvent("paste", { bubbles: true, cancelable: true });
  Object.defineProperty(event, "clipboardData", { value: clipboardData }); // Firefox leaves it out
  document.activeElement.dispatchEvent(event);
}"""
DROP = """([node, texts, files]) => {
  const dataTransfer = new DataTransfer();
  for (const [kind, text] of Object.entries(texts)) dataTransfer.setData(kind, text);
  for (const [name, bytes] of Object.entries(files)) {
    const data = Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0));
    dataTransfer.items.add(new File([data], name, { type: "image/jpeg" }));
  }
  for (const kind of ["dragenter", "dragover", "drop"])
    document.querySelector(node).dispatchEvent(
      new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
}"""


@contextmanager
def launched(
    playwright: Playwright, name: str, kind: Kind, saved: Path, *, dark: bool = False
) -> Iterator[Browser]:
    """Chromium or Firefox, which are on this machine, for one kind of hands.

    saved: the folder of the files that Firefox saves; dark: of Firefox, as contexts cannot set it.
    """
    if name == "chromium":
        yield from closing(
            playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "firefox"
        relay = Path(firefox_relay.__file__)
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{relay}" "{FIREFOX}" "$@"\n')
        program.chmod(0o755)
        touch = {firefox_relay.TOUCH: "1"} if kind == "touch" else {}
        coarse = {f"ui.{which}PointerCapabilities": 1 for which in ("primary", "all")}
        usual = {"focusmanager.testmode": True, "browser.download.alwaysOpenPanel": False,
                 "layout.css.prefers-color-scheme.content-override": 0 if dark else 1}  # fmt: skip
        yield from closing(playwright.firefox.launch(
            channel="moz-firefox", executable_path=program, downloads_path=saved,
            env={**os.environ, **touch},
            firefox_user_prefs={**usual, **coarse} if touch else usual,
        ))  # fmt: skip


def closing(browser: Browser) -> Iterator[Browser]:
    yield browser
    browser.close()


class Hands:
    """Presses, types and chooses files by one kind of hands.

    By keyboard, what is used must be reached by Tab, show a focus ring, and be in the window.
    """

    def __init__(self, page: Page, kind: Kind, folder: Path, saved: Path) -> None:
        self.page, self.kind, self.folder, self.saved = page, kind, folder, saved
        browser = page.context.browser
        self.firefox = bool(browser and browser.browser_type.name == "firefox")

    def tab_to(self, target: Locator) -> None:
        target.wait_for()
        at: dict[str, Any] = {}
        for _ in range(MOST_TABS):
            at = target.evaluate(FOCUSED)
            if at["here"]:
                break
            back = at["before"] and "<body" not in at["name"]
            self.page.keyboard.press("Shift+Tab" if back else "Tab")
        assert at["here"], f"Tab does not reach {target}; it stops at {at['name']}"
        for _ in range(60):  # styles and scrolling take a moment
            if at["ring"] and at["seen"]:
                return
            self.page.wait_for_timeout(50)
            at = target.evaluate(FOCUSED)
        assert at["ring"], f"no focus ring on {at['name']}"
        assert at["seen"], f"the focus is out of sight on {at['name']}"

    def press(self, target: Locator) -> None:
        """A button, link, summary, or box to tick."""
        if self.kind == "keyboard":
            self.tab_to(target)
            box = target.evaluate("(n) => n.matches('input[type=checkbox], input[type=radio]')")
            self.page.keyboard.press("Space" if box else "Enter")
        elif self.firefox:
            target.click()  # by the finger of firefox_relay
        else:
            target.tap()

    def type(self, target: Locator, text: str) -> None:
        """Replace the content of a field."""
        if self.kind == "keyboard":
            self.tab_to(target)
        else:
            self.press(target)
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.press("Delete")
        self.page.keyboard.type(text)

    def choose(self, target: Locator, *names: str) -> None:
        """Press what opens a file chooser, and choose drawn photos of these names."""
        with self.page.expect_file_chooser() as chooser:
            self.press(target)
        chooser.value.set_files([self.file(name, i) for i, name in enumerate(names)])

    def file(self, name: str, number: int = 0) -> Path:
        path = self.folder / name
        path.write_bytes(drawn(number % 4, "query"))
        return path

    def save(self, target: Locator) -> str:
        """Press what saves a file; returns its text."""
        if not self.firefox:
            with self.page.expect_download() as download:
                self.press(target)
            return download.value.path().read_text(encoding="utf-8")
        old = {*self.saved.rglob("*")}
        self.press(target)  # Playwright is not told of files that are saved in Firefox
        for _ in range(200):
            new = [path for path in {*self.saved.rglob("*")} - old if path.is_file()]
            if new and new[0].stat().st_size and new[0].suffix != ".part":
                return new[0].read_text(encoding="utf-8")
            self.page.wait_for_timeout(50)
        raise AssertionError(f"{target} saved nothing")

    def close(self, dialog: Locator) -> None:
        """Escape, or the button for it."""
        if self.kind == "keyboard":
            self.page.keyboard.press("Escape")
        else:
            self.press(dialog.get_by_role("button", name="Close", exact=True).first)
        expect(dialog).to_be_hidden()

    def paste(self, kind: str, text: str, data: str = "") -> None:
        """Paste a text, or a file with this base64 content, where the focus is."""
        self.page.evaluate(PASTE, [kind, text, data])

    def drop(self, texts: dict[str, str], files: dict[str, str] | None = None) -> None:
        """Drop texts by type, and files by name with base64 content, on the page."""
        self.page.evaluate(DROP, ["#main", texts, files or {}])
