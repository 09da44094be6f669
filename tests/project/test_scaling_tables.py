"""The tables of docs/scaling.md are those that the script computes."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.support import ROOT

TABLE = re.compile(r"<!-- (\w+) -->\n(.*?)\n<!-- /\1 -->", re.DOTALL)
DOCUMENTED = dict(TABLE.findall((ROOT / "docs" / "scaling.md").read_text()))


@pytest.fixture(scope="module")
def printed() -> dict[str, str]:
    """Table name → what benchmarks/sizing.py prints of it."""
    run = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "sizing.py"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return dict(TABLE.findall(run.stdout))


@pytest.mark.parametrize("name", ["embedding", "engine", "here", "vectors"])
def test_the_document_has_this_table(name: str, printed: dict[str, str]) -> None:
    assert printed.keys() == DOCUMENTED.keys()
    assert DOCUMENTED[name] == printed[name]


def test_numbers_by_hand(printed: dict[str, str]) -> None:
    lines = printed["here"].splitlines()
    (found,) = [line for line in lines if line.startswith("| 100 million | 512 ")]
    assert " 130 GB " in found  # 10^8 · (2 · 512 + 278) bytes
    assert " 4.9 TB " in found  # 10^8 · 49 kB
    (found,) = [line for line in printed["vectors"].splitlines() if "1 billion | 256" in line]
    assert found.split("|")[3:6] == [" 512 GB ", " 256 GB ", " 32 GB "]
    assert " 111 s " in printed["here"].splitlines()[2]  # 4e6 · 88 s / 1.58e6 · 256 / 512
    assert printed["embedding"].splitlines()[2].split("|")[1:4] == [
        " 4 million ", " 4 h ", " 2.4 min ",  # 4e6 / 278 a second, on 1 machine and on 100
    ]  # fmt: skip
