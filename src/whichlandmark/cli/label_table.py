"""The plan of a library as a table on stdout."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence

from ..library.plan import Plan, PlannedLabel
from . import output
from .answers import MIN_TABLE_WIDTH, cells, fitted


class LabelTable:
    """What would be written, one line for each photo that is concerned, on stdout.

    A terminal gets lines of its width, where names are cut; a file or pipe gets whole names.
    """

    def __init__(self, plan: Plan) -> None:
        self.rows = [row for row in plan if _is_shown(row, plan.above)]
        self.width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0

    def print(self) -> None:
        if not self.rows:
            return
        narrow = 0 < self.width < MIN_TABLE_WIDTH
        sizes = [_widest((row.photo for row in self.rows), 5, 60),
                 _widest((row.title for row in self.rows), 8, 40)]  # fmt: skip
        rest = self.width - 30
        if self.width and sum(sizes) > rest:
            sizes = [max(rest // 2, rest - sizes[1]), 0]
            sizes[1] = rest - sizes[0]
        if not narrow:
            self._line(("photo", "landmark", "sure", "what"), sizes)
        for row in self.rows:
            sure = f"{row.confidence:.2f}"
            columns = (row.photo, row.title, sure, _what(row))
            if narrow:
                output.say(fitted(row.photo, self.width, keep_end=True).rstrip())
                output.say(fitted(f"  {row.title} {sure}, {columns[3]}", self.width).rstrip())
            else:
                self._line(columns, sizes)

    def _line(self, columns: Sequence[str], sizes: Sequence[int]) -> None:
        photo, title, sure, what = (output.visible(text) for text in columns)
        if self.width:
            photo, title = fitted(photo, sizes[0], keep_end=True), fitted(title, sizes[1])
            what = fitted(what, self.width - sum(sizes) - 10)
        else:
            photo += " " * (sizes[0] - cells(photo))
            title += " " * (sizes[1] - cells(title))
        output.say(f"{photo}  {title}  {sure:<4}  {what}".rstrip())


def _widest(texts: Iterable[str], least: int, most: int) -> int:
    return max(least, min(most, max(cells(output.visible(text)) for text in texts)))


def _is_shown(row: PlannedLabel, above: float) -> bool:
    """Does a row say more than the summary does?"""
    contradicted = row.decision == "landmark" and row.confidence >= above
    return row.state in ("write", "blocked") or (row.state == "not_sure" and contradicted)


def _what(row: PlannedLabel) -> str:
    if row.state == "blocked":
        return f"blocked: {row.why}"
    if not row.labelled:
        return row.why
    name = os.path.basename(row.sidecar)
    return f"into {name}" if os.path.exists(row.sidecar) else f"new {name}"
