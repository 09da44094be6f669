"""The table of the page's words is current, and reads every text."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import whichlandmark

ROOT = Path(whichlandmark.__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    found = importlib.util.spec_from_file_location("page_words", ROOT / "tools" / "page_words.py")
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_table_is_current(tool: ModuleType) -> None:
    assert tool.TABLE.read_text() == tool.table(), "run: python tools/page_words.py"


def test_every_text_is_shown_by_a_file(tool: ModuleType) -> None:
    assert [key for key in tool.page_texts("en") if not tool.users(key)] == []


def test_texts_are_read_as_a_browser_reads_them(tool: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "strings_en.js").write_text(
        "export const english = {\n  // a: the first\n"
        '  "a.one": "Say \\"yes\\"",\n  "a.two": {\n    one: "{n} dog",\n    other: "{n} dogs",\n'
        '  },\n  "a.three":\n    \'a "b"\',\n};\n'
    )
    assert tool.page_texts("en", tmp_path) == {
        "a.one": ['Say "yes"'], "a.two": ["{n} dog", "{n} dogs"], "a.three": ['a "b"']
    }  # fmt: skip
    assert tool.groups(tmp_path) == {"a": "the first"}
    (tmp_path / "strings_en.js").write_text('  "a.one": `x`,\n')
    with pytest.raises(ValueError, match=r"a\.one"):
        tool.page_texts("en", tmp_path)


def test_texts_that_the_page_puts_together_are_found(tool: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("t(`a.kind.${x}`); t('a.plain');\n")
    assert tool.users("a.plain", tmp_path) == ["a.js"]
    assert tool.users("a.kind.small", tmp_path) == ["a.js"]
    assert tool.users("b.other", tmp_path) == []
