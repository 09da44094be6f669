"""What an import could not use: a csv of everything, counts and the first few to print."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ..files import whole_file

SHOWN = 5  # of each kind


class Problems:
    """Counts problems by kind ("tar", "photo", "row", …) and writes each as a line, at once."""

    def __init__(self, file: TextIO) -> None:
        self._writer = csv.writer(file, lineterminator="\n")
        self._writer.writerow(("kind", "name", "detail"))
        self.counts: Counter[str] = Counter()
        self.first: dict[str, list[str]] = {}

    def add(self, kind: str, name: str, detail: str) -> None:
        """One problem: what it is about, and what is wrong."""
        self.counts[kind] += 1
        self._writer.writerow((kind, name, detail))
        shown = self.first.setdefault(kind, [])
        if len(shown) < SHOWN:
            shown.append(f"{name}: {detail}")

    def lines(self, kind: str) -> list[str]:
        """The first ones of a kind, and how many more there are."""
        shown = self.first.get(kind, [])
        more = self.counts[kind] - len(shown)
        return [*shown, f"… {more:,} more of this kind ({kind})"] if more else shown


@contextmanager
def listing_problems(path: Path) -> Iterator[Problems]:
    """Problems that go into a csv (kind, name, detail). No problem, no file."""
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8",
                                             errors="replace") as file:  # fmt: skip
        problems = Problems(file)
        yield problems
    if not problems.counts:
        path.unlink()
