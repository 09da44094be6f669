"""Results of protocols as rows of a table: a row is an embedder or method, a column a figure.

A cell notes where its run differs from the published benchmark: a part of the data, other sizes,
photos that are missing. `table_formats` writes the table and says where rules differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import DataError
from ..core.files import read_json
from .challenges import GAP, PRESENT

MAX_RESULT_BYTES = 100_000_000

NO_DIM = "–"  # of a submission

R1M = 1_001_001  # photos of the distractors that Oxford and Paris are extended by

# Photos of the database, and queries, as published: Radenović et al., CVPR 2018; for Google
# Landmarks the README of github.com/cvdfoundation/google-landmark.
PUBLISHED = {
    "roxford5k": (4_993, 70), "rparis6k": (6_322, 70), "gldv2-retrieval": (761_757, None),
    "gldv2-recognition": (None, 117_577),
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One figure of a benchmark. distractors: None = as many as the run had."""

    group: str
    name: str
    protocol: str
    setting: str
    measure: str
    distractors: bool | None = False

    @property
    def heading(self) -> str:
        """Its name where groups have no heading of their own."""
        return f"{self.group} {self.name}".strip()


def _revisited(short: str, protocol: str) -> list[Column]:
    return [
        Column(short + more, setting[0].upper(), protocol, setting, "mAP", bool(more))
        for more in ("", "+R1M")
        for setting in ("medium", "hard")
    ]


COLUMNS = (
    *_revisited("ROxf", "roxford5k"),
    *_revisited("RPar", "rparis6k"),
    Column("GLDv2 mAP@100", "public", "gldv2-retrieval", "public", "mAP@100"),
    Column("GLDv2 mAP@100", "private", "gldv2-retrieval", "private", "mAP@100"),
    Column("GLDv2 GAP", "public", "gldv2-recognition", "public", GAP),
    Column("GLDv2 GAP", "private", "gldv2-recognition", "private", GAP),
    Column("mini-ILIAS mAP@1000", "", "mini-ilias", "all", "mAP@1000", None),
    Column("ILIAS mAP@1000", "", "ilias", "all", "mAP@1000", None),
)


@dataclass(frozen=True)
class Cell:
    """One figure with its interval, 0 to 1; notes: what to know of it; rules: of its protocol."""

    value: float
    low: float
    high: float
    notes: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    comparable: bool = True


@dataclass(frozen=True)
class TableRow:
    """One method. seconds: protocol → seconds of its run; cells: heading of a column → cell."""

    method: str
    dim: str
    image_size: str
    licence: str
    seconds: dict[str, float] = field(default_factory=dict)
    cells: dict[str, Cell] = field(default_factory=dict)


def row_of(result: Mapping[str, Any]) -> TableRow:
    """The row of one result, as `ProtocolResult.to_dict` or its file has it.

    Raises DataError where it is no result of a protocol, or has no figure that a table shows.
    """
    try:
        protocol = str(result["protocol"])
        rows = [dict(row) for row in result["rows"]]
        found = TableRow(
            str(result["embedder"]), str(result["dim"] or NO_DIM), str(result["image_size"]),
            str(result["licence"] or "unknown"), {protocol: _total(result["seconds"])},
        )  # fmt: skip
        for column in COLUMNS:
            if column.protocol == protocol and (row := _figure(column, rows, bool(result["part"]))):
                found.cells[column.heading] = _cell(column, row, result)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"not a result of a protocol ({type(error).__name__}: {error}); expected the JSON that "
            "`evaluate --protocol … -o result.json` writes"
        ) from None
    if not found.cells:
        raise DataError(
            f"the result of {protocol} has no figure that a table shows; expected one of "
            f"{', '.join(dict.fromkeys(column.protocol for column in COLUMNS))}"
        )
    return found


def _total(seconds: Mapping[str, Any]) -> float:
    return sum(float(value) for value in seconds.values())


def _figure(column: Column, rows: list[dict[str, Any]], part: bool) -> dict[str, Any] | None:
    """The row of a result that a column shows: of a part of the test, the photos that are there."""
    settings = [column.setting + PRESENT, column.setting] if part else [column.setting]
    for setting in settings:
        some = [
            row for row in rows
            if row["setting"] == setting and row["measure"] == column.measure
            and (column.distractors is None or bool(row["distractors"]) == column.distractors)
        ]  # fmt: skip
        if some:
            return max(some, key=lambda row: int(row["distractors"]))
    return None


def _cell(column: Column, row: Mapping[str, Any], result: Mapping[str, Any]) -> Cell:
    value, (low, high) = float(row["value"]), map(float, row["interval"])
    if not all(0 <= number <= 1 for number in (value, low, high)):
        raise ValueError(f"{column.heading}: {value}, {low}, {high}; expected 0 to 1")
    notes, measured = [], bool(result["dim"])
    if result["part"]:
        notes.append(f"on a part of the data: {result['part']}")
    else:
        sizes = (int(result["database"]) if measured else None, int(result["queries"]))
        published = PUBLISHED.get(column.protocol, (None, None))
        names = ("photos in the database", "queries")
        for size, expected, name in zip(sizes, published, names, strict=True):
            if size is not None and expected is not None and size != expected:
                notes.append(f"{size:,} {name}, not the {expected:,} of the published data")
    added = int(row["distractors"])
    if column.distractors and abs(added - R1M) > R1M // 100:
        notes.append(f"{added:,} distractors, not the {R1M:,} of R1M")
    comparable = not notes
    if lost := len({*result["missing"], *result["unreadable"]}):
        notes.append(f"{lost:,} photos are missing or could not be read")
    if not measured:
        notes.append("scored from a submission")
    rules = tuple(map(str, result["rules"]))
    return Cell(value, low, high, tuple(notes), rules, comparable)


def joined(rows: Iterable[TableRow]) -> list[TableRow]:
    """The rows with those of one method as one row.

    A figure that is there already is replaced, if its rules are the same; by other rules (another
    gallery or score) the method gets another row.
    """
    found: list[TableRow] = []
    for row in rows:
        for at, earlier in enumerate(found):
            if _key(earlier) == _key(row) and _same_rules(earlier, row):
                found[at] = TableRow(
                    *_key(row),
                    row.licence,
                    earlier.seconds | row.seconds,
                    earlier.cells | row.cells,
                )
                break
        else:
            found.append(row)
    return found


def _key(row: TableRow) -> tuple[str, str, str]:
    return row.method, row.dim, row.image_size


def _same_rules(a: TableRow, b: TableRow) -> bool:
    """No figure of both has other rules; those of a csv table are not known."""
    both = [(a.cells[name].rules, b.cells[name].rules) for name in a.cells.keys() & b.cells.keys()]
    return all(one == other or not one or not other for one, other in both)


def read_result(path: Path) -> TableRow:
    """The row of a result file. Raises DataError naming it."""
    if path.is_file() and path.stat().st_size > MAX_RESULT_BYTES:
        raise DataError(f"{path}: more than {MAX_RESULT_BYTES // 1_000_000} MB; no result file")
    try:
        facts = read_json(path)
    except RecursionError:
        raise DataError(f"{path}: nested too deeply; no result file") from None
    try:
        return row_of(facts)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
