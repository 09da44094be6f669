"""Exact search against a full sort, across block borders, with ties."""

from __future__ import annotations

import numpy as np
import pytest

from whichlandmark.gallery.index import exact as search
from whichlandmark.gallery.index.exact import HalfRows, nearest, scan


def slow(
    queries: np.ndarray, vectors: np.ndarray, k: int, offsets: np.ndarray | None = None
) -> list[list[int]]:
    found = []
    added = np.zeros(len(vectors), np.float32) if offsets is None else offsets
    for query in queries:
        similarity = [float(np.float32(query @ v.astype(np.float32))) + float(o)
                      for v, o in zip(vectors, added, strict=True)]  # fmt: skip
        found.append(sorted(range(len(vectors)), key=lambda i: (-similarity[i], i))[:k])
    return found


@pytest.mark.parametrize("k", [1, 3, 10, 50])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_exact_search_equals_a_full_sort(
    k: int, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "BLOCK_ROWS", 7)
    monkeypatch.setattr(search, "QUERY_BLOCK", 4)
    rng = np.random.default_rng(0)
    # Small integers: products are exact in float32, and many are equal.
    vectors = rng.integers(-2, 3, (40, 4)).astype(dtype)
    queries = rng.integers(-2, 3, (9, 4)).astype(np.float32)
    found = nearest(queries, vectors, k)
    assert found.rows.tolist() == slow(queries, vectors, k)
    assert (np.diff(found.similarity, axis=1) <= 0).all()


def test_fewer_vectors_than_k_or_none_are_padded() -> None:
    queries = np.eye(3, dtype=np.float32)
    assert nearest(queries, queries[:2], 5).rows.shape == (3, 2)
    assert nearest(queries, np.empty((0, 3), np.float32), 5).rows.shape == (3, 0)
    assert nearest(queries[:0], queries, 2).rows.shape == (0, 2)


@pytest.mark.parametrize("few", [0, 2, 512])  # candidates fit in no, in some, in all blocks
@pytest.mark.parametrize("k", [1, 4, 7, 11, 60])
def test_offsets_and_ties_across_blocks(k: int, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BLOCK_ROWS", 7)
    monkeypatch.setattr(search, "MAX_CANDIDATES_PER_BLOCK", few)
    rng = np.random.default_rng(k)
    vectors = rng.integers(-1, 2, (60, 3)).astype(np.float16)
    queries = rng.integers(-1, 2, (12, 3)).astype(np.float32)
    offsets = rng.integers(-3, 4, 60).astype(np.float32) / 2  # halves: sums stay exact
    found = nearest(queries, vectors, k, offsets=offsets)
    expected = slow(queries, vectors, k, offsets)
    assert found.rows.tolist() == expected
    for q, rows in enumerate(expected):
        sums = [float(vectors[r].astype(np.float32) @ queries[q] + offsets[r]) for r in rows]
        assert found.similarity[q].tolist() == sums


def test_a_later_row_equal_to_the_last_neighbour_does_not_replace_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "BLOCK_ROWS", 4)
    same = np.ones((13, 2), np.float16)
    assert nearest(same[:2].astype(np.float32), same, 3).rows.tolist() == [[0, 1, 2]] * 2
    same[11] *= 2
    assert nearest(same[:1].astype(np.float32), same, 3).rows.tolist() == [[11, 0, 1]]


def test_the_block_filter_keeps_only_better_rows() -> None:
    similarity = np.array([[0.5, 0.7, 0.5], [0.1, 0.2, 0.3]], np.float32)
    worst = np.array([[0.5], [0.15]], np.float32)
    rows, kept = search._block_candidates(similarity, 10, worst)
    # For the first query only rows above the worst; for the second two, in row order.
    assert kept.tolist() == np.array([[0.7, -np.inf], [0.2, 0.3]], np.float32).tolist()
    assert rows[0, 0] == 11
    assert rows[1].tolist() == [11, 12]
    everything, same = search._block_candidates(similarity, 10, worst[:, :0])
    assert everything.tolist() == [[10, 11, 12]] * 2
    assert same is similarity


def test_rows_with_offset_minus_infinity_appear_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding of a block's candidates is −inf too, and must not be taken for row 0."""
    monkeypatch.setattr(search, "BLOCK_ROWS", 5)
    rng = np.random.default_rng(0)
    vectors, queries = rng.normal(size=(20, 4)), rng.normal(size=(6, 4)).astype(np.float32)
    offsets = np.where(np.arange(20) % 3 == 0, 0, -np.inf).astype(np.float32)
    found = nearest(queries, vectors.astype(np.float32), 12, offsets=offsets)
    for rows in found.rows:
        assert len(set(rows.tolist())) == 12
        assert set(range(0, 20, 3)) <= set(rows.tolist())


def test_float16_search_finds_the_float32_neighbours() -> None:
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((3000, 64), dtype=np.float32)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    rows[2500:2504] = rows[7]  # ties: the lower row comes first
    queries = np.stack([rows[7], rows[11], -rows[3]]).astype(np.float32)
    found = nearest(queries, rows, 9)
    products = queries @ rows.astype(np.float32).T
    for query in range(3):
        wanted = np.lexsort((np.arange(3000), -products[query]))[:9]
        assert found.rows[query].tolist() == wanted.tolist()
        assert np.allclose(found.similarity[query], products[query][wanted], atol=1e-6)
    assert found.rows[0, :5].tolist() == [7, 2500, 2501, 2502, 2503]


@pytest.mark.parametrize("copied", [True, False])
def test_ties_beyond_the_prefilter_are_all_compared(copied: bool) -> None:
    rows = np.tile(np.eye(64, dtype=np.float16)[0], (2000, 1))
    query = rows[:1].astype(np.float32)
    vectors = HalfRows(rows) if copied else rows
    assert scan(query, vectors, 5) is None
    assert nearest(query, vectors, 5).rows.tolist() == [[0, 1, 2, 3, 4]]
    rows[7:, 0] = 0.5  # too few are left to leave any of the ties out
    found = scan(query, HalfRows(rows) if copied else rows, 7)
    assert found is not None
    assert found[0].tolist() == [[0, 1, 2, 3, 4, 5, 6]]


@pytest.mark.parametrize("queries", [1, 4, 5])
@pytest.mark.parametrize("limit", [256_000_000, 0])  # a copy within FAISS, or stripes
def test_rows_that_faiss_copies_are_found_as_the_rows_themselves(
    limit: int, queries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_COPIED_BYTES", limit)
    monkeypatch.setattr(search, "STRIPE_BYTES", 2 * 32 * 700)
    monkeypatch.setattr(search, "MIN_NUMBERS_FOR_THREADS", 1)  # stripes in several threads
    rng = np.random.default_rng(5)
    rows = rng.integers(-3, 4, (3000, 32)).astype(np.float16)  # exact products, many ties
    rows[2000] = rows[1] * 2
    asked = np.concatenate([rows[:1], rng.standard_normal((4, 32))]).astype(np.float32)[:queries]
    found = nearest(asked, HalfRows(rows), 20)
    products = asked @ rows.astype(np.float32).T
    assert found.rows[0].tolist() == np.lexsort((np.arange(3000), -products[0]))[:20].tolist()
    wanted = nearest(asked, rows.astype(np.float32), 20)
    assert np.array_equal(found.rows, wanted.rows)
    assert np.allclose(found.similarity, wanted.similarity, atol=1e-5)


def test_a_value_that_is_not_finite_is_not_left_to_faiss() -> None:
    rows = np.ones((2000, 64), np.float16)
    rows[3, 0] = np.inf
    assert scan(np.ones((1, 64), np.float32), rows, 2) is None
