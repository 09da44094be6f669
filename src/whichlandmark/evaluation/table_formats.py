"""The table of a paper from results of protocols: Markdown, LaTeX (booktabs) or CSV, in percent.

A cell has a footnote where its run differs from the others or from the published benchmark. A table
holds its own data, so that later runs are added to it.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..core.csv_files import open_csv
from ..core.errors import DataError, OptionError
from ..core.files import atomic_file
from ..core.results import require_own_result
from .results_table import COLUMNS, NO_DIM, Cell, Column, TableRow, joined

KIND = "table of results"

FORMATS = (".md", ".tex", ".csv")

MAX_TABLE_BYTES = 20_000_000

MARKER = "whichlandmark results table"

ABOUT = "In percent, with 95 % intervals by the bootstrap over queries."

_FIXED = ("method", "dimension", "image size", "licence", "seconds")

_MARKED = re.compile(r"(?m)^(?:<!-- data |% data )(\{.*\})(?: -->)?$")


def add_to_table(path: Path, rows: Sequence[TableRow]) -> None:
    """Write a table, or add to the one that is there.

    The end of the name says how: .md, .tex or .csv.

    Raises:
        OptionError: For another end, or a file of another origin.
        DataError: When the table there cannot be read any more.
    """
    write_table(path, [*rows_to_add_to(path), *rows])


def rows_to_add_to(path: Path) -> list[TableRow]:
    """The rows of the table that is there; call it before the work. Raises as `add_to_table`."""
    check_table_name(path)
    require_own_result(path, KIND)
    return _read_table(path) if path.exists() and path.stat().st_size else []


def write_table(path: Path, rows: Sequence[TableRow]) -> None:
    """Write a table anew. Raises OptionError for a file of another origin."""
    check_table_name(path)
    text = table_text(joined(rows), path.suffix.lower())
    with atomic_file(path, KIND) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def check_table_name(path: Path) -> None:
    """Raises OptionError where the end of the name is of no format."""
    if path.suffix.lower() not in FORMATS:
        raise OptionError(
            f"{path}: no table of this kind; expected a name ending in {', '.join(FORMATS)}"
        )


def table_text(rows: Sequence[TableRow], suffix: str, *, bold: bool = True) -> str:
    """The table in one format. bold: the best of each column, where two or more can be compared."""
    columns = [c for c in COLUMNS if any(c.heading in row.cells for row in rows)]
    if suffix == ".csv":
        return _csv(rows, columns)
    footnotes: dict[str, str] = {}
    best = _best(rows, columns) if bold else {}
    body = []
    for row in rows:
        cells = [_Shown.of(row, column, rows, best, footnotes) for column in columns]
        body.append((_fixed(row), cells))
    data = json.dumps({"rows": [asdict(row) for row in rows]}, ensure_ascii=True)
    # No "--", which would end the comment, and no "<" and ">".
    data = data.replace("--", "-\\u002d").replace("<", "\\u003c").replace(">", "\\u003e")
    return (_markdown if suffix == ".md" else _latex)(columns, body, footnotes, data)


@dataclass(frozen=True)
class _Shown:
    """A cell as it is printed: percent, interval, footnote marks, is it the best?"""

    value: str = ""
    interval: str = ""
    marks: str = ""
    best: bool = False

    @classmethod
    def of(
        cls, row: TableRow, column: Column, rows: Sequence[TableRow],
        best: Mapping[str, str], footnotes: dict[str, str],
    ) -> _Shown:  # fmt: skip
        cell = row.cells.get(column.heading)
        if cell is None:
            return cls()
        marks = [
            footnotes.setdefault(note, _letters(len(footnotes)))
            for note in (*cell.notes, *_other_rules(row, column, rows))
        ]
        value = _percent(cell.value)
        return cls(
            value, f"{_percent(cell.low)}–{_percent(cell.high)}", ",".join(marks),
            cell.comparable and best.get(column.heading) == value,
        )  # fmt: skip


def _other_rules(row: TableRow, column: Column, rows: Sequence[TableRow]) -> list[str]:
    """What differs from the rules of the first such row of the column.

    Rules of submissions are compared with those of submissions only.
    """
    name = column.heading
    stated = [
        other.cells[name].rules
        for other in rows
        if name in other.cells and (other.dim == NO_DIM) == (row.dim == NO_DIM)
    ]
    first = next(filter(None, stated), ())
    differing = [rule for rule in row.cells[name].rules if rule not in first]
    return [f"other rules than in the first row: {'; '.join(differing)}"] if differing else []


def _best(rows: Sequence[TableRow], columns: Sequence[Column]) -> dict[str, str]:
    """Heading → the highest value as printed, where two or more rows can be compared."""
    found = {}
    for column in columns:
        cells = [row.cells[column.heading] for row in rows if column.heading in row.cells]
        values = [cell.value for cell in cells if cell.comparable]
        if len(values) > 1:
            found[column.heading] = _percent(max(values))
    return found


def _fixed(row: TableRow) -> list[str]:
    total = sum(row.seconds.values())
    return [row.method, row.dim, row.image_size, row.licence, f"{total:.0f}" if total else "–"]


def _markdown(
    columns: Sequence[Column], body: Sequence[tuple[list[str], list[_Shown]]],
    footnotes: Mapping[str, str], data: str,
) -> str:  # fmt: skip
    lines = [f"<!-- {MARKER}: `evaluate --table` adds to it -->", ""]
    lines.append("| " + " | ".join([*_FIXED, *(column.heading for column in columns)]) + " |")
    lines.append("|" + "---|" * (len(_FIXED) + len(columns)))
    for fixed, cells in body:
        shown = [_escaped_markdown(text) for text in fixed]
        for cell in cells:
            value = f"**{cell.value}**" if cell.best else cell.value
            marks = f"<sup>{cell.marks}</sup>" if cell.marks else ""
            shown.append(f"{value}{marks} ({cell.interval})" if cell.value else "–")
        lines.append("| " + " | ".join(shown) + " |")
    lines += ["", ABOUT, ""]
    lines += [f"<sup>{mark}</sup> {_escaped_markdown(note)}  " for note, mark in footnotes.items()]
    return "\n".join([*lines, "", f"<!-- data {data} -->", ""])


def _latex(
    columns: Sequence[Column], body: Sequence[tuple[list[str], list[_Shown]]],
    footnotes: Mapping[str, str], data: str,
) -> str:  # fmt: skip
    groups: list[tuple[str, int]] = []
    for column in columns:
        if groups and groups[-1][0] == column.group:
            groups[-1] = (column.group, groups[-1][1] + 1)
        else:
            groups.append((column.group, 1))
    first, rules, at = [""] * len(_FIXED), [], len(_FIXED) + 1
    for name, width in groups:
        first.append(rf"\multicolumn{{{width}}}{{c}}{{{_escaped_latex(name)}}}")
        rules.append(rf"\cmidrule(lr){{{at}-{at + width - 1}}}")
        at += width
    second = [*_FIXED, *(column.name for column in columns)]
    lines = [
        f"% {MARKER}: evaluate --table adds to it; needs \\usepackage{{booktabs}}",
        r"\begin{table}", r"\centering",
        rf"\begin{{tabular}}{{l{'r' * (len(_FIXED) - 1)}{'c' * len(columns)}}}", r"\toprule",
        " & ".join(first) + r" \\", " ".join(rules), " & ".join(second) + r" \\", r"\midrule",
    ]  # fmt: skip
    for fixed, cells in body:
        shown = [_escaped_latex(text) for text in fixed]
        for cell in cells:
            value = rf"\textbf{{{cell.value}}}" if cell.best else cell.value
            marks = rf"\textsuperscript{{{cell.marks}}}" if cell.marks else ""
            interval = rf" {{\scriptsize {_escaped_latex(cell.interval)}}}"
            shown.append(f"{value}{marks}{interval}" if cell.value else "--")
        lines.append(" & ".join(shown) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines.append(rf"\caption{{{_escaped_latex(ABOUT)}}}")
    for note, mark in footnotes.items():
        text = rf"\textsuperscript{{{mark}}} {_escaped_latex(note)}"
        lines.append(rf"\par\footnotesize {text}")
    return "\n".join([*lines, r"\end{table}", f"% data {data}", ""])


def _csv(rows: Sequence[TableRow], columns: Sequence[Column]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    parts = ("", " low", " high", " notes")
    writer.writerow([*_FIXED, *(c.heading + part for c in columns for part in parts)])
    for row in rows:
        cells: list[str] = []
        for column in columns:
            if (cell := row.cells.get(column.heading)) is None:
                cells += [""] * len(parts)
                continue
            cells += [_percent(number) for number in (cell.value, cell.low, cell.high)]
            notes = (*cell.notes, *_other_rules(row, column, rows))
            cells.append(" / ".join(notes) if cell.comparable else f"{_APART} {' / '.join(notes)}")
        writer.writerow([_one_line(text) for text in (*_fixed(row), *cells)])
    return file.getvalue()


_APART = "not comparable:"  # at the beginning of the notes in a csv table


def _read_table(path: Path) -> list[TableRow]:
    """The rows of a table that was written before. Raises DataError where they are damaged."""
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise DataError(f"{path}: more than {MAX_TABLE_BYTES // 1_000_000} MB; no table of results")
    try:
        if path.suffix.lower() == ".csv":
            return _rows_of_csv(path)
        text = path.read_text(encoding="utf-8")
        marked = _MARKED.findall(text)
        if MARKER not in text[:4096] or len(marked) != 1:
            raise ValueError("its line of data is missing")
        return [_row_of_data(row) for row in json.loads(marked[0])["rows"]]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path}: cannot be added to ({error}); expected a table that `evaluate --table` "
            "wrote: give another name, or make it anew of result files with `report`"
        ) from None


def _row_of_data(data: dict[str, Any]) -> TableRow:
    cells = {}
    for heading, cell in data["cells"].items():
        if heading in {column.heading for column in COLUMNS}:
            value, low, high = (float(cell[name]) for name in ("value", "low", "high"))
            if not all(map(math.isfinite, (value, low, high))):
                raise ValueError(f"{heading} is no number")
            notes, rules = (tuple(map(str, cell[name])) for name in ("notes", "rules"))
            cells[heading] = Cell(value, low, high, notes, rules, bool(cell["comparable"]))
    method, dim, size, licence = (
        str(data[name]) for name in ("method", "dim", "image_size", "licence")
    )
    seconds = {str(name): float(value) for name, value in data["seconds"].items()}
    return TableRow(method, dim, size, licence, seconds, cells)


def _rows_of_csv(path: Path) -> list[TableRow]:
    found = []
    with open_csv(path) as (header, rows):
        if tuple(header[: len(_FIXED)]) != _FIXED:
            raise ValueError(f"its first columns are {','.join(header[: len(_FIXED)])}")
        for _, cells in rows:
            row = dict(zip(header, cells, strict=True))
            method, dim, size, licence, total = (row[name] for name in _FIXED)
            shown = {}
            for heading in (column.heading for column in COLUMNS):
                if not row.get(heading):
                    continue
                value, low, high = (
                    float(row[heading + part]) / 100 for part in ("", " low", " high")
                )
                text = row[f"{heading} notes"]
                notes = tuple(filter(None, text.removeprefix(_APART).strip().split(" / ")))
                shown[heading] = Cell(value, low, high, notes, (), not text.startswith(_APART))
            seconds = {"": float(total)} if total != "–" else {}
            found.append(TableRow(method, dim, size, licence, seconds, shown))
    return found


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _letters(number: int) -> str:
    """0 → a, 25 → z, 26 → aa."""
    text = ""
    while number >= 0:
        text, number = chr(ord("a") + number % 26) + text, number // 26 - 1
    return text


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _escaped_markdown(text: str) -> str:
    plain = _one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", plain)


_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "–": "--", "≤": r"$\le$",
    "Σ": r"$\Sigma$", "·": r"$\cdot$", "×": r"$\times$", '"': "''",
}  # fmt: skip


def _escaped_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in _one_line(text))
