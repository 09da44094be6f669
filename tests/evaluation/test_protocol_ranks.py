"""Ranks counted in chunks: as a sort of the whole database would give them, ties and junk too."""

from __future__ import annotations

import numpy as np
import pytest

from whichlandmark.core.benchmark import Judgements
from whichlandmark.core.errors import DataError
from whichlandmark.evaluation import protocol_ranks
from whichlandmark.evaluation.protocol_ranks import RankCounter, unit_rows


def sorted_ranks(similarity: np.ndarray, right: np.ndarray, junk: np.ndarray) -> list[int]:
    """Ranks of the positives: sort everything, drop the junk, look."""
    order = sorted(range(len(similarity)), key=lambda row: (-similarity[row], row))
    kept = [row for row in order if row not in set(junk.tolist())]
    return [rank for rank, row in enumerate(kept) if row in set(right.tolist())]


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Vectors of few values, so that many similarities are equal; positives and junk."""
    rng = np.random.default_rng(seed)
    database = rng.integers(-1, 2, (int(rng.integers(5, 60)), 3)).astype(np.float32)
    database[~database.any(axis=1)] = 1
    queries = rng.normal(size=(4, 3)).astype(np.float32)
    queries[0] = database[0]
    positives, junk = [], []
    for _ in queries:
        shuffled = rng.permutation(len(database))
        cut = np.sort(rng.integers(0, min(12, len(database)), 2))
        positives.append(np.sort(shuffled[: cut[0]]))
        junk.append(np.sort(shuffled[cut[0] : cut[1]]))
    return queries, database, positives, junk


@pytest.mark.parametrize("seed", range(40))
def test_against_a_sort_of_the_whole_database(seed: int) -> None:
    queries, database, positives, junk = random_case(seed)
    rng = np.random.default_rng(seed + 1000)
    present = rng.random(len(database)) < 0.9
    unit_queries, rows = unit_rows(queries)[0], unit_rows(database)[0]
    similarity = np.round(unit_queries @ rows.T, 9)
    similarity[:, ~present] = -np.inf  # behind all others, and never retrieved
    marked = [np.union1d(a, b).astype(np.int64) for a, b in zip(positives, junk, strict=True)]
    counter = RankCounter(unit_queries, marked, database, present)
    step = int(rng.integers(1, 10))
    for start in range(0, len(rows), step):
        counter.add(rows[start : start + step], present[start : start + step])
    judged = Judgements(positives, junk, np.ones(len(queries), dtype=bool))
    for query, ranks in enumerate(counter.ranks()):
        right = positives[query][present[positives[query]]]
        expected = sorted_ranks(similarity[query], right, junk[query])
        assert ranks.ranks(judged, query).tolist() == expected
        groups = ranks.groups(judged, query)
        kept = np.setdiff1d(np.flatnonzero(present), junk[query])
        keys = sorted({*similarity[query][right]}, reverse=True)
        assert groups.before.tolist() == [(similarity[query][kept] > k).sum() for k in keys]
        assert groups.size.tolist() == [(similarity[query][kept] == k).sum() for k in keys]
        assert groups.right.tolist() == [(similarity[query][right] == k).sum() for k in keys]
        assert groups.right_before.tolist() == [(similarity[query][right] > k).sum() for k in keys]


@pytest.mark.parametrize("rows_at_once", [1, 7, 1000])
def test_figures_do_not_depend_on_the_chunks(
    rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal vectors far apart are equal, whatever the chunks are and however many queries wait."""
    rng = np.random.default_rng(1)
    database = rng.normal(size=(300, 37)).astype(np.float32)
    database[200:220] = database[10:30]
    rows = unit_rows(database)[0]
    queries = unit_rows(rng.normal(size=(9, 37)))[0]
    monkeypatch.setattr(protocol_ranks, "CHUNK_BYTES", 8 * 1000)
    marked = [np.array([3, 15, 250])] * 9
    counter = RankCounter(queries, marked, database, np.ones(300, dtype=bool))
    for start in range(0, 300, rows_at_once):
        counter.add(rows[start : start + rows_at_once])
    for query, ranks in enumerate(counter.ranks()):
        assert ranks.tied.tolist() == [1, 2, 1]  # row 15 and its copy, row 205
        assert ranks.tied_before.tolist() == [0, 0, 0]
        above = [(rows @ queries[query] > rows[row] @ queries[query] + 1e-9).sum()
                 for row in (3, 15, 250)]  # fmt: skip
        assert ranks.above.tolist() == above


def test_distractors_come_last_among_equals() -> None:
    database = np.eye(2, dtype=np.float32)
    counter = RankCounter(np.array([[1.0, 0.0]]), [np.array([0])], database, np.ones(2, dtype=bool))
    judged = Judgements([np.array([0])], [np.array([], np.int64)], np.array([True]))
    counter.add(database.astype(np.float64))
    assert counter.ranks()[0].ranks(judged, 0).tolist() == [0]
    counter.add(np.array([[1.0, 0.0], [1.0, 0.0]]))
    found = counter.ranks()[0]
    assert found.ranks(judged, 0).tolist() == [0]
    assert found.groups(judged, 0).size.tolist() == [3]


def test_vectors_are_made_unit_rows_and_nan_is_refused() -> None:
    rows, changed = unit_rows(np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]]))
    assert rows.tolist() == [[0.6, 0.8], [1.0, 0.0], [0.0, 0.0]]
    assert changed == 1
    with pytest.raises(DataError, match="distractors: NaN or infinite numbers, first in row 1"):
        unit_rows(np.array([[1.0], [np.nan]]), "distractors")
