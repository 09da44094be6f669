"""The tables of docs/scaling.md are those that the script computes."""

from __future__ import annotations

from pathlib import Path

import pytest

import sizing

DOC = Path(__file__).parent.parent / "docs" / "scaling.md"


@pytest.mark.parametrize("name", sorted(sizing.TABLES))
def test_the_document_has_this_table(name: str) -> None:
    text = DOC.read_text()
    begin, end = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
    assert text[text.index(begin) + len(begin) : text.index(end)] == sizing.TABLES[name]()


def test_numbers_by_hand() -> None:
    lines = sizing.here_table().splitlines()
    (found,) = [line for line in lines if line.startswith("| 100 million | 512 ")]
    assert " 130 GB " in found  # 10^8 · (2 · 512 + 278) bytes
    assert " 4.9 TB " in found  # 10^8 · 49 kB
    (found,) = [line for line in sizing.vectors_table().splitlines() if "1 billion | 256" in line]
    assert found.split("|")[3:6] == [" 512 GB ", " 256 GB ", " 32 GB "]
    assert sizing.time(90) == "90 s"
    assert sizing.time(3 * 3600) == "3 h"
    assert sizing.size(999) == "999 B"
