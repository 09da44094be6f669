"""Exact search against a full sort, across block borders, with ties."""

from __future__ import annotations

import numpy as np
import pytest

from whichlandmark import search
from whichlandmark.search import nearest


def slow(queries: np.ndarray, vectors: np.ndarray, k: int) -> list[list[int]]:
    found = []
    for query in queries:
        similarity = [float(np.float32(query @ v.astype(np.float32))) for v in vectors]
        found.append(sorted(range(len(vectors)), key=lambda i: (-similarity[i], i))[:k])
    return found


@pytest.mark.parametrize("k", [1, 3, 10, 50])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_equals_a_full_sort(k: int, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BLOCK", 7)
    monkeypatch.setattr(search, "QUERIES", 4)
    rng = np.random.default_rng(0)
    # Small integers: products are exact in float32, and ties are many.
    vectors = rng.integers(-2, 3, (40, 4)).astype(dtype)
    queries = rng.integers(-2, 3, (9, 4)).astype(np.float32)
    found = nearest(queries, vectors, k)
    assert found.rows.tolist() == slow(queries, vectors, k)
    assert (np.diff(found.similarity, axis=1) <= 0).all()


def test_fewer_vectors_than_k_and_none() -> None:
    queries = np.eye(3, dtype=np.float32)
    assert nearest(queries, queries[:2], 5).rows.shape == (3, 2)
    assert nearest(queries, np.empty((0, 3), np.float32), 5).rows.shape == (3, 0)
    assert nearest(queries[:0], queries, 2).rows.shape == (0, 2)
