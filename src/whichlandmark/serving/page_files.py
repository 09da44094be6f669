"""The page's files: one script, one style sheet, and the HTML with the configuration in it.

The sources in static/ are small modules; a browser gets them joined, because each file that it asks
for costs a round trip. Joining works because every top-level name is unique among the modules, and
modules import names only by `import { a, b } from "./file.js"`; a test checks both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STATIC = Path(__file__).parent / "static"

FIRST_MODULE = "main.js"  # the others are those that it imports, directly or not

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w.]+)";\n', re.MULTILINE)

_EXPORT = re.compile(r"^export (?=const |let |async |function |class )", re.MULTILINE)

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


def page_html(config: Mapping[str, Any], folder: Path = STATIC) -> str:
    """index.html with the configuration, as data that no browser runs, so that it need not ask."""
    text = json.dumps(config, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    filled = _NO_CONFIG.replace("></script>", f">{text}</script>")
    return (folder / "index.html").read_text(encoding="utf-8").replace(_NO_CONFIG, filled)
