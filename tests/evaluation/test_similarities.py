"""Files of similarities: read in parts, measured as the authors of ILIAS do, written again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.ilias_layout import authors_ap
from whichlandmark.core.benchmark import Benchmark, Judgements
from whichlandmark.core.errors import DataError
from whichlandmark.core.results import require_own_result
from whichlandmark.core.types import Photos
from whichlandmark.evaluation import similarities as module
from whichlandmark.evaluation.similarities import (
    KIND,
    NearestPhotos,
    measure_similarities,
    read_similarities,
    write_similarities,
)

QUERIES = ["a/query/Q0.jpg", "b/query/Q1.jpg", "b/query/Q2.jpg"]
DATABASE = ["a/pos/P0.jpg", "a/pos/P1.jpg", "b/pos/P2.jpg"]


def table(ids: list[str]) -> Photos:
    return Photos.of_columns(ids, ids, [""] * len(ids))


def benchmark(k: int = 1000) -> Benchmark:
    positives = [np.array(rows, dtype=np.int64) for rows in ([0, 1], [2], [2])]
    nothing = np.empty(0, dtype=np.int64)
    judged = Judgements(positives, [nothing] * 3, np.ones(3, dtype=bool))
    return Benchmark(
        name="ilias", queries=table(QUERIES), database=table(DATABASE), settings={"all": judged},
        average_precision="cut_off_tied", k=k,
    )  # fmt: skip


SCORES: dict[str, Any] = {
    QUERIES[0]: {"a/pos/P0.jpg": 0.9, "yfcc.tar/x": 0.8, "a/pos/P1.jpg": 0.7, "b/pos/P2.jpg": 0.1},
    QUERIES[1]: {"yfcc.tar/x": 1, "b/pos/P2.jpg": 1, "a/pos/P0.jpg": -3e-2},
    QUERIES[2]: {"yfcc.tar/x": 0.5},
}


def written(at: Path, scores: Any = SCORES, **options: Any) -> Path:
    (at / "s.json").write_text(json.dumps(scores, **options), encoding="utf-8")
    return at / "s.json"


@pytest.mark.parametrize("indent", [None, 4])
@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_read_in_parts(
    tmp_path: Path, indent: int | None, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    scores = {**SCORES, 'odd "{\u00fc}" name': {"}": 1.5, '\\"': 2}, "empty": {}}
    found = dict(read_similarities(written(tmp_path, scores, indent=indent)))
    assert found == scores


def test_measured_as_by_hand(tmp_path: Path) -> None:
    result = measure_similarities(written(tmp_path), benchmark())
    precision = result.average_precision["all"]
    assert precision[QUERIES[0]] == pytest.approx((1 + 2 / 3) / 2)
    assert precision[QUERIES[1]] == pytest.approx(1 / 2)  # tied with a distractor
    assert precision[QUERIES[2]] == 0
    assert result.rows[0].value == pytest.approx(np.mean([5 / 6, 1 / 2, 0]))
    assert result.rows[0].measure == "mAP@1000"
    assert any("3 entries are of photos that show no object" in note for note in result.notes)
    assert any("at most 4 photos a query" in note for note in result.notes)


@pytest.mark.parametrize("k", [1, 2, 3, 1000])
def test_measured_as_the_script_of_the_authors(tmp_path: Path, k: int) -> None:
    random = np.random.default_rng(k)
    ids = [*DATABASE, *(f"d{i}" for i in range(30))]
    scores = {query: dict(zip(ids, random.random(33).tolist(), strict=True)) for query in QUERIES}
    result = measure_similarities(written(tmp_path, scores), benchmark(k))
    for query in QUERIES:
        values = np.array(list(scores[query].values()))
        expected = authors_ap(query.split("/")[0], ids, values, DATABASE, k)
        assert result.average_precision["all"][query] == pytest.approx(expected)


def test_missing_queries_count_nothing_and_it_is_said(tmp_path: Path) -> None:
    result = measure_similarities(written(tmp_path, {QUERIES[0]: SCORES[QUERIES[0]]}), benchmark())
    assert result.rows[0].value == pytest.approx(5 / 6 / 3)
    assert result.rows[0].queries == 3
    assert any("2 queries have no entry" in n and "is 83.33" in n for n in result.notes)


def test_text_queries_are_left_out(tmp_path: Path) -> None:
    scores = {**SCORES, "a/query/T000.txt": {"a/pos/P0.jpg": 1}}
    result = measure_similarities(written(tmp_path, scores), benchmark())
    assert any("1 text queries are left out" in note for note in result.notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a file of similarities"),
        ("[]", "expected '{'"),
        ("{}", "no query of ilias in it"),
        ('{"a/query/Q0.jpg": [1]}', "expected {query: {photo: score}}"),
        ('{"a/query/Q0.jpg": {"x": "1"}}', "has the score 1; expected a number"),
        ('{"a/query/Q0.jpg": {"x": true}}', "has the score True"),
        ('{"a/query/Q0.jpg": {"x": NaN}}', "a score is NaN"),
        ('{"a/query/Q0.jpg": {"x": -Infinity}}', "a score is -Infinity"),
        ('{"a/query/Q0.jpg": {"x": 1e999}}', "has the score inf"),
        ('{"a/query/Q0.jpg": {"x": null}}', "has the score None"),
        ('{"a/query/Q0.jpg": {"x": 1' + "0" * 400 + "}}", "expected a number"),
        ('{"a/query/Q0.jpg": {"x": 1, "x": 2}}', "'x' occurs twice for one query"),
        ('{"a/query/Q0.jpg": {}, "a/query/Q0.jpg": {}}', "occurs twice"),
        ('{"c/query/Q9.jpg": {"x": 1}}', "is not one of ilias"),
        ('{"a/query/Q0.jpg": {"x": 1}', "not a file of similarities"),
        ('{"a/query/Q0.jpg": {"x": 1}} {}', "after the end"),
        ('{"a/query/Q0.jpg" {"x": 1}}', "expected ':'"),
        ('{"a/query/Q0.jpg": {"x": ' + "[" * 100_000 + "}}", "not a file of similarities"),
    ],
)
def test_odd_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(DataError) as caught:
        measure_similarities(tmp_path / "s.json", benchmark())
    assert message in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        measure_similarities(tmp_path / "none.json", benchmark())


def test_one_query_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 16)
    monkeypatch.setattr(module, "MAX_QUERY_CHARACTERS", 200)
    scores = {QUERIES[0]: {f"photo {i}": i for i in range(500)}}
    with pytest.raises(DataError, match="more photos for one query than are read"):
        measure_similarities(written(tmp_path, scores), benchmark())


@pytest.mark.parametrize("step", [1, 4, 100])
def test_nearest_photos_of_chunks(tmp_path: Path, step: int) -> None:
    random = np.random.default_rng(0)
    queries = random.normal(size=(3, 8)).astype(np.float32)
    vectors = np.round(random.normal(size=(40, 8)), 1).astype(np.float32)
    vectors[20] = vectors[3]
    ids = [f"p{i}" for i in range(40)]
    kept = NearestPhotos(QUERIES, queries, 7)
    for start in range(0, 40, step):
        kept.add(ids[start : start + step], vectors[start : start + step])
    path = tmp_path / "s.json"
    write_similarities(path, kept)
    require_own_result(path, KIND)  # it may be written again
    found = json.loads(path.read_text())
    assert list(found) == QUERIES
    for query, similar in zip(QUERIES, queries @ vectors.T, strict=True):
        order = np.argsort(-similar, kind="stable")[:7]
        assert set(found[query]) == {ids[row] for row in order}
        values = list(found[query].values())
        assert values == sorted(values, reverse=True)
        np.testing.assert_allclose(values, similar[order], atol=1e-5)
