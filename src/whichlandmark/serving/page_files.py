"""The page's files: one script, one style sheet, and the HTML with the configuration in it.

The sources in static/ are small modules; a browser gets them joined, because each file that it asks
for costs a round trip. Joining works because every top-level name is unique among the modules, and
modules import names only by `import { a, b } from "./file.js"`; a test checks both. The HTML is
sent with its words, in the language of the reader, because the script that fills them in arrives
later.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

STATIC = Path(__file__).parent / "static"

FIRST_MODULE = "main.js"  # the others are those that it imports, directly or not

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w.]+)";\n', re.MULTILINE)

_EXPORT = re.compile(r"^export (?=const |let |async |function |class )", re.MULTILINE)

LANGUAGES = ("en", "fr")  # with a file strings_XX.js

_STRING = r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\''

_FORMS = rf"\{{(?P<forms>(?:\s*\w+:\s*(?:{_STRING}),?)+)\s*\}}"

_TEXT = re.compile(rf'^  "(?P<key>[\w.]+)":\s*(?:(?P<text>{_STRING})|{_FORMS})', re.MULTILINE)

_TO_FILL = re.compile(r'(<(\w+)\b[^>]*\bdata-text="([\w.]+)"[^>]*>)[^<]*(?=</\2>)')

_NO_CONFIG = '<script id="config" type="application/json"></script>'


def page_script(folder: Path = STATIC) -> str:
    """The modules of the page as one, each after those that it imports."""
    return "\n".join(
        _EXPORT.sub("", _IMPORT.sub("", text)).strip() + "\n"
        for text in imported_modules(folder).values()
    )


def imported_modules(folder: Path) -> dict[str, str]:
    """Name → text of `FIRST_MODULE` and of what it imports, each after its own imports."""
    found: dict[str, str] = {}
    open_names: list[str] = []

    def visit(name: str) -> None:
        if name in found:
            return
        if name in open_names:
            raise ValueError(f"modules that import each other: {[*open_names, name]}")
        open_names.append(name)
        text = (folder / name).read_text(encoding="utf-8")
        for imported in _IMPORT.findall(text):
            visit(imported)
        open_names.pop()
        found[name] = text

    visit(FIRST_MODULE)
    return found


def page_style(folder: Path = STATIC) -> str:
    """The style sheets as one: base.css, then the others by name."""
    names = sorted(folder.glob("*.css"), key=lambda path: (path.name != "base.css", path.name))
    return "\n".join(path.read_text(encoding="utf-8") for path in names)


def page_html(config: Mapping[str, Any], language: str = "en") -> str:
    """index.html with its words, and with the configuration as data that no browser runs."""
    text = json.dumps(config, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    filled = _NO_CONFIG.replace("></script>", f">{text}</script>")
    brand = f'<span id="brand">{html.escape(str(config.get("title") or "whichlandmark"))}</span>'
    page = re.sub(r'<span id="brand">[^<]*</span>', lambda _: brand, _markup(language))
    return page.replace(_NO_CONFIG, filled)


@cache
def _markup(language: str) -> str:
    """index.html with the words of a language in the elements that name them."""
    words = page_texts(language)
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    page = page.replace('<html lang="en"', f'<html lang="{language}"', 1)
    return _TO_FILL.sub(lambda m: m[1] + html.escape(words[m[3]][0], quote=False), page)


def page_language(accepted: str) -> str:
    """The language of the page for a header Accept-Language: the first that the page has."""
    wanted = []
    for place, part in enumerate(accepted[:1000].split(",")):
        tag, _, weight = part.partition(";")
        number = re.fullmatch(r"\s*q=([01](?:\.\d{0,3})?)\s*", weight)
        share = float(number[1]) if number else 1.0
        wanted.append((-share, place, tag.strip().split("-")[0].lower()))
    found = [base for share, _, base in sorted(wanted) if share and base in LANGUAGES]
    return found[0] if found else "en"


def page_texts(language: str, folder: Path = STATIC) -> dict[str, list[str]]:
    """Key → its text in a language, or its forms by number."""
    source = (folder / f"strings_{language}.js").read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    for entry in _TEXT.finditer(source):
        literals = [entry["text"]] if entry["text"] else re.findall(_STRING, entry["forms"])
        found[entry["key"]] = [_unquoted(literal) for literal in literals]
    missed = {*re.findall(r'^  "([\w.]+)":', source, re.MULTILINE)} - {*found}
    if missed:
        raise ValueError(f"texts of {language} that cannot be read: {sorted(missed)}")
    return found


def _unquoted(literal: str) -> str:
    """The text of a string of JavaScript."""
    escapes = {"n": "\n", "t": "\t"}
    return re.sub(
        r"\\(?:u([0-9a-fA-F]{4})|(.))",
        lambda m: chr(int(m[1], 16)) if m[1] else escapes.get(m[2], m[2]),
        literal[1:-1],
    )
