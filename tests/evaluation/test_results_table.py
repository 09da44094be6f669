"""The table of a paper from results: cells, footnotes, joining, escaping, bad files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from whichlandmark.core.errors import DataError, OptionError
from whichlandmark.evaluation.results_table import joined, read_result, row_of
from whichlandmark.evaluation.table_formats import add_to_table, table_text, write_table

SETTINGS = {
    "roxford5k": [("easy", "mAP"), ("medium", "mAP"), ("hard", "mAP"), ("hard", "mP@1")],
    "rparis6k": [("medium", "mAP"), ("hard", "mAP")],
    "gldv2-retrieval": [("public", "mAP@100"), ("private", "mAP@100"), ("all", "P@1")],
    "gldv2-recognition": [("public", "GAP"), ("private", "GAP"), ("private", "GAP (ties by id)")],
    "ilias": [("all", "mAP@1000")],
    "mini-ilias": [("all", "mAP@1000")],
}

SIZES = {"roxford5k": (4993, 70), "rparis6k": (6322, 70), "gldv2-retrieval": (761757, 1129),
         "gldv2-recognition": (1580470, 117577)}  # fmt: skip


def result(protocol: str, value: float = 0.5, **others: Any) -> dict[str, Any]:
    """A result file: each figure is 0.001 above the one before it."""
    database, queries = SIZES.get(protocol, (100, 10))
    rows = [
        {"setting": setting, "measure": measure, "value": value + at / 1000,
         "interval": [value - 0.02, value + 0.02], "queries": queries, "distractors": 0}
        for at, (setting, measure) in enumerate(SETTINGS[protocol])
    ]  # fmt: skip
    facts = {
        "protocol": protocol, "rows": rows, "embedder": "net-123", "licence": "Apache-2.0",
        "image_size": "long side 512 px", "dim": 512, "queries": queries, "database": database,
        "distractors": 0, "missing": [], "unreadable": {}, "seconds": {"embedding": 10.0},
        "rules": ["as published"], "part": "", "notes": [],
    }  # fmt: skip
    return facts | others


def cells_of(text: str) -> list[list[str]]:
    """Cells of the rows of a Markdown table, its heading first."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_results_of_one_embedder_are_one_row_with_percent_and_interval() -> None:
    rows = joined(row_of(result(name, 0.3)) for name in SETTINGS)
    heading, cells = cells_of(table_text(rows, ".md"))
    assert heading[5:] == [
        "ROxf M", "ROxf H", "RPar M", "RPar H", "GLDv2 mAP@100 public", "GLDv2 mAP@100 private",
        "GLDv2 GAP public", "GLDv2 GAP private", "mini-ILIAS mAP@1000", "ILIAS mAP@1000",
    ]  # fmt: skip
    assert cells[:5] == ["net-123", "512", "long side 512 px", "Apache-2.0", "60"]
    assert cells[5:] == [
        "30.1 (28.0–32.0)", "30.2 (28.0–32.0)", *["30.0 (28.0–32.0)", "30.1 (28.0–32.0)"] * 3,
        "30.0 (28.0–32.0)", "30.0 (28.0–32.0)",
    ]  # fmt: skip


def test_the_best_of_a_column_is_bold_and_a_part_of_the_data_is_told_apart() -> None:
    rows = [
        row_of(result("roxford5k", 0.3)),
        row_of(result("roxford5k", 0.31, embedder="b")),
        row_of(result("roxford5k", 0.9, embedder="c", part="12 of 100 photos")),
    ]
    text = table_text(rows, ".md")
    _, first, second, third = cells_of(text)
    assert first[5] == "30.1 (28.0–32.0)"
    assert second[5] == "**31.1** (29.0–33.0)"
    assert third[5] == "90.1<sup>a</sup> (88.0–92.0)"
    assert "<sup>a</sup> on a part of the data: 12 of 100 photos" in text
    assert "**" not in table_text(rows, ".md", bold=False)
    assert "**" not in table_text([rows[0], rows[2]], ".md")  # nothing to compare with


def test_a_part_of_the_test_shows_the_figure_of_the_photos_that_are_there() -> None:
    facts = result("gldv2-recognition", 0.1, part="6 of 117,577 test photos")
    facts["rows"] += [
        {**row, "setting": f"{row['setting']} (photos that are there)", "value": 0.6,
         "interval": [0.5, 0.7]}
        for row in facts["rows"]
    ]  # fmt: skip
    _, cells = cells_of(table_text([row_of(facts)], ".md"))
    assert cells[5].startswith("60.0<sup>a</sup>")


def test_other_sizes_missing_photos_and_distractors_have_footnotes() -> None:
    facts = result("roxford5k", database=100, missing=["x", "y"], unreadable={"y": "gone", "z": ""})
    facts["rows"] += [{**row, "distractors": 5000} for row in facts["rows"]]
    text = table_text([row_of(facts)], ".md")
    heading, cells = cells_of(text)
    assert heading[5:] == ["ROxf M", "ROxf H", "ROxf+R1M M", "ROxf+R1M H"]
    assert cells[5].startswith("50.1<sup>a,b</sup>")
    assert cells[7].startswith("50.1<sup>a,c,b</sup>")
    assert "<sup>a</sup> 100 photos in the database, not the 4,993 of the published data" in text
    assert "<sup>b</sup> 3 photos are missing or could not be read" in text
    assert "<sup>c</sup> 5,000 distractors, not the 1,001,001 of R1M" in text
    whole = result("roxford5k")
    whole["rows"] = [{**row, "distractors": 1001001} for row in whole["rows"]]
    assert "sup" not in cells_of(table_text([row_of(whole)], ".md"))[1][5]


def test_other_rules_are_another_row_with_a_footnote() -> None:
    rows = joined([
        row_of(result("gldv2-recognition", 0.5)),
        row_of(result("gldv2-recognition", 0.6)),  # the same again
        row_of(result("gldv2-recognition", 0.4, rules=["as published", "score: cosine"])),
        row_of(result("roxford5k")),
    ])  # fmt: skip
    text = table_text(rows, ".md")
    _, first, second = cells_of(text)
    assert first[7].startswith("**60.0**")
    assert first[5].startswith("50.1")
    assert second[5] == "–"
    assert second[7].startswith("40.0<sup>a</sup>")
    assert r"<sup>a</sup> other rules than in the first row: score: cosine" in text


def test_a_submission_has_no_dimension_and_says_so() -> None:
    facts = result("gldv2-recognition", embedder="theirs.csv", dim=0, licence="unknown", database=0)
    text = table_text([row_of(facts)], ".md")
    _, cells = cells_of(text)
    assert cells[:2] == ["theirs.csv", "–"]
    assert cells[3] == "unknown"
    assert "<sup>a</sup> scored from a submission" in text


@pytest.mark.parametrize("suffix", [".md", ".tex", ".csv"])
def test_a_later_run_is_added_to_the_table_that_is_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    odd = result("roxford5k", embedder="a|b & c_d --> <x> 5% \\ é", part='3 of 9, "as" -- such')
    add_to_table(path, [row_of(odd)])
    add_to_table(path, [row_of(result("rparis6k", 0.123))])
    add_to_table(path, [row_of(result("roxford5k", 0.2))])
    write_table(tmp_path / f"once{suffix}", [
        row_of(odd), row_of(result("rparis6k", 0.123)), row_of(result("roxford5k", 0.2)),
    ])  # fmt: skip
    text = path.read_text(encoding="utf-8")
    assert text == (tmp_path / f"once{suffix}").read_text(encoding="utf-8")
    assert text.count("net-123") == (2 if suffix != ".csv" else 1)  # the row, and the data


def test_markdown_and_latex_are_escaped(tmp_path: Path) -> None:
    odd = row_of(result("roxford5k", embedder="a|b*_`<i> $x^2~ 5% #1 {y} & \\ new\nline"))
    markdown = table_text([odd], ".md").splitlines()[4]
    assert markdown.startswith(r"| a\|b\*\_\`&lt;i&gt; $x^2\~ 5% \#1 {y} &amp; \\ new line | 512 |")
    latex = table_text([odd], ".tex")
    row = next(line for line in latex.splitlines() if line.startswith("a"))
    assert row.startswith(
        r"a\textbar{}b*\_`\textless{}i\textgreater{} \$x\textasciicircum{}2\textasciitilde{} 5\% "
        r"\#1 \{y\} \& \textbackslash{} new line & 512 &"
    )
    assert r"\multicolumn{2}{c}{ROxf}" in latex
    assert r"\cmidrule(lr){6-7}" in latex
    assert latex.count(r"\toprule") == latex.count(r"\midrule") == latex.count(r"\bottomrule") == 1
    cells = row.removesuffix(r" \\").replace(r"\&", "").split("&")
    assert len(cells) == 7
    closing = row_of(result("roxford5k", embedder="x --> y <!-- z"))
    assert table_text([closing], ".md").count("-->") == 2  # of the two comments


def test_a_csv_table_has_numbers_in_columns_of_their_own(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", [row_of(result("roxford5k", part="a bit"))])
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    assert row["ROxf M"] == "50.1"
    assert (row["ROxf M low"], row["ROxf M high"]) == ("48.0", "52.0")
    assert row["ROxf M notes"] == "not comparable: on a part of the data: a bit"
    assert (row["method"], row["licence"], row["seconds"]) == ("net-123", "Apache-2.0", "10")


def test_a_table_of_another_kind_or_origin_is_refused(tmp_path: Path) -> None:
    rows = [row_of(result("roxford5k"))]
    with pytest.raises(OptionError, match=r"expected a name ending in \.md, \.tex, \.csv"):
        add_to_table(tmp_path / "t.html", rows)
    own = tmp_path / "own.md"
    own.write_text("# my table\n")
    with pytest.raises(OptionError, match="is not a table of results that whichlandmark wrote"):
        add_to_table(own, rows)
    assert own.read_text() == "# my table\n"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("<!-- data ", "<!-- "),
        lambda text: text.replace('"value": 0.501', '"value": "much"'),
        lambda text: text.replace('"value": 0.501', '"value": NaN'),
        lambda text: text.replace('{"rows"', '{"r"'),
        lambda text: text.replace('"seconds": {', '"seconds": {"a": [], '),
        lambda text: text[: text.index("<!-- data") + 60] + "\n",
        lambda text: text.replace('{"rows": [', '{"rows": [' + "[" * 200_000, 1),
    ],
)
def test_a_damaged_table_is_refused_and_stays_as_it_is(tmp_path: Path, spoil: Any) -> None:
    path = tmp_path / "t.md"
    write_table(path, [row_of(result("roxford5k"))])
    path.write_text(spoil(path.read_text()))
    before = path.read_text()
    with pytest.raises(DataError, match=r"t\.md: cannot be added to"):
        add_to_table(path, [row_of(result("rparis6k"))])
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({}, "KeyError: 'protocol'"),
        ([], "expected"),
        (result("roxford5k", rows=[]), "has no figure that a table shows"),
        (result("roxford5k") | {"protocol": "other"}, "the result of other has no figure"),
        (result("roxford5k", rows=[{"setting": "hard", "measure": "mAP"}]), "KeyError"),
        (result("roxford5k", rows="text"), "not a result"),
        (result("roxford5k", 7.0), "expected 0 to 1"),
        (result("roxford5k", seconds={"a": "b"}), "not a result"),
    ],
)
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, facts: Any, message: str) -> None:
    (tmp_path / "r.json").write_text(json.dumps(facts))
    with pytest.raises(DataError, match=r"r\.json: ") as error:
        read_result(tmp_path / "r.json")
    assert message in str(error.value)


def test_a_result_file_that_is_missing_broken_or_nested_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json"):
        read_result(tmp_path / "none.json")
    for text, message in (("{", "not readable as JSON"), ("[" * 200_000, "nested too deeply")):
        (tmp_path / "r.json").write_text(text)
        with pytest.raises(DataError, match=rf"r\.json: {message}"):
            read_result(tmp_path / "r.json")
