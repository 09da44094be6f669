"""Write docs/page-words.md: every text of the web page, in each language, and where it is shown.

    python tools/page_words.py

The texts stand in serving/static/strings_XX.js; a test fails while the table is not current.
"""

from __future__ import annotations

import re
from pathlib import Path

from whichlandmark.serving.page_files import STATIC, page_texts

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "page-words.md"
LANGUAGES = {"en": "English", "fr": "French"}
HEAD = """# The words of the page

Every text that the web page can show, made by `python tools/page_words.py` from
`src/whichlandmark/serving/static/strings_en.js` and `strings_fr.js`: change a text there, then make
this table again. `{name}` is replaced by a value; a text with two forms is chosen by its number.
"""

_GROUP = re.compile(r"^  // (?P<name>\w+): (?P<about>.+(?:\n  // (?!\w+: ).+)*)", re.MULTILINE)


def groups(folder: Path = STATIC) -> dict[str, str]:
    """Group of keys → what it is about, as the comments in strings_en.js say."""
    source = (folder / "strings_en.js").read_text(encoding="utf-8")
    found = {m["name"]: re.sub(r"\s*\n  // ", " ", m["about"]) for m in _GROUP.finditer(source)}
    return {name: about.strip() for name, about in found.items()}


def users(key: str, folder: Path = STATIC) -> list[str]:
    """The files of the page that name a key, else those that put it together."""
    files = [
        path for path in sorted(folder.iterdir())
        if path.suffix in (".js", ".html") and not path.name.startswith("strings_")
    ]  # fmt: skip
    sources = {path.name: path.read_text(encoding="utf-8") for path in files}
    named = [
        name for name, text in sources.items() if re.search(rf"['\"`]{re.escape(key)}['\"`]", text)
    ]
    if named:
        return named
    start = key
    while "." in start:
        start = re.sub(r"[._]?[^._]*$", "", start)
        made = re.compile(rf"['\"`]{re.escape(start)}[._]?(?:\$\{{|['\"`] ?\+)")
        if found := [name for name, text in sources.items() if made.search(text)]:
            return found
    return []


def table(folder: Path = STATIC) -> str:
    """The whole document."""
    language_texts = {language: page_texts(language, folder) for language in LANGUAGES}
    parts = [HEAD]
    keys = list(language_texts["en"])
    about = groups(folder)
    for group in dict.fromkeys(key.split(".")[0] for key in keys):
        heads = ["key", *LANGUAGES.values(), "shown by"]
        rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        for key in [key for key in keys if key.split(".")[0] == group]:
            cells = [f"`{key}`"]
            for found in language_texts.values():
                cells.append(" / ".join(found.get(key, ["—"])))
            cells.append(", ".join(users(key, folder)))
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        title = f"## {group}" + (f": {about[group]}" if group in about else "")
        parts += [title + "\n", "\n".join(rows) + "\n"]
    return "\n".join(parts)


def main() -> None:
    TABLE.write_text(table(), encoding="utf-8")
    print(f"{TABLE.relative_to(ROOT)}: {len(page_texts('en'))} texts")


if __name__ == "__main__":
    main()
