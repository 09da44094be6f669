"""Query expansion, database augmentation and SuperGlobal against slow loops, and edge cases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from whichlandmark.core.errors import OptionError
from whichlandmark.recognition.reranking import expansion

NOTHING = -np.inf


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    rows_made = rng.normal(size=shape) + 0.3
    return (rows_made / np.linalg.norm(rows_made, axis=-1, keepdims=True)).astype(np.float32)


def slow_expansion(q: np.ndarray, near: list[np.ndarray], cosines: list[float]) -> np.ndarray:
    mixed = q.astype(float).copy()
    for e, s in zip(near, cosines, strict=True):
        if s > 0:
            mixed += s**3 * e
    return mixed / np.linalg.norm(mixed)


def test_query_expansion_and_database_augmentation_match_a_slow_loop() -> None:
    rng = np.random.default_rng(13)
    gallery, queries = unit(rng, 30, 5), unit(rng, 9, 5)
    cosines = queries @ gallery.T
    rows = np.argsort(-cosines, axis=1)[:, :25]
    near = np.take_along_axis(cosines, rows, axis=1)
    assert (near < 0).any()  # neighbours that must have weight 0
    rows_made = expansion.expanded(queries, gallery[rows], near)
    for i in range(9):
        expected = slow_expansion(queries[i], list(gallery[rows[i]]), near[i].tolist())
        assert rows_made[i] == pytest.approx(expected, abs=1e-6)
    own = gallery @ gallery.T
    rows = np.argsort(-own, axis=1)[:, :6]  # the photo itself comes first
    near = np.take_along_axis(own, rows, axis=1)
    rows[3, 4:], near[3, 4:] = -1, 0.9  # padded: its similarity must be ignored
    augmented = expansion.augmented(gallery, rows, near)
    for i in range(30):
        others = [j for j in rows[i].tolist() if j not in (i, -1)]
        expected = slow_expansion(gallery[i], [gallery[j] for j in others], own[i, others].tolist())
        assert augmented[i] == pytest.approx(expected, abs=1e-6)


def test_expansion_edge_cases() -> None:
    queries = np.array([[1, 0], [0, 0]], dtype=np.float32)
    alone = expansion.expanded(queries, np.empty((2, 0, 2)), np.empty((2, 0)))
    assert alone.tolist() == queries.tolist()  # a zero row stays zero
    opposite = expansion.expanded(queries[:1], -queries[None, :1], np.array([[-1.0]]), alpha=0)
    assert opposite.tolist() == [[1, 0]]
    average = expansion.expanded(queries[:1], np.array([[[0, 1.0]]]), np.array([[1e-3]]), alpha=0)
    assert average[0] == pytest.approx([math.sqrt(0.5)] * 2)
    empty = np.empty((0, 4), dtype=np.float32)
    no_rows = np.empty((0, 2), dtype=np.int64)
    assert expansion.augmented(empty, no_rows, np.empty((0, 2))).shape == (0, 4)
    with pytest.raises(OptionError, match="alpha -1 given"):
        expansion.expanded(queries, np.empty((2, 0, 2)), np.empty((2, 0)), alpha=-1)


def slow_superglobal(q: np.ndarray, x: np.ndarray, near: int) -> list[float]:
    """The paper's two steps for one query and its candidates, in loops."""
    refined = []
    for i in range(len(x)):
        s = {j: float(x[i] @ x[j]) for j in range(len(x)) if j != i}
        top = sorted(s, key=lambda j: -s[j])[:near]
        mixed, weight = x[i].astype(float), 1.0
        for j in top:
            mixed = mixed + 0.15 * max(s[j], 0) * x[j]
            weight += 0.15 * max(s[j], 0)
        refined.append(mixed / weight)
    best = sorted(refined, key=lambda r: -float(q @ r))[: near + 1]
    q_max = [max(float(r[d]) for r in best) for d in range(len(q))]
    return [(float(q @ r) + float(np.dot(q_max, r))) / 2 for r in refined]


@pytest.mark.parametrize("near", [2, 9, 50])
def test_superglobal_follows_the_paper(near: int) -> None:
    rng = np.random.default_rng(17)
    gallery, queries = unit(rng, 40, 6), unit(rng, 5, 6)
    rows = np.argsort(-(queries @ gallery.T), axis=1)[:, :20]
    scores = expansion.superglobal_scores(queries, gallery.astype(np.float16), rows, near=near)
    for i in range(5):
        candidates = gallery.astype(np.float16).astype(np.float32)[rows[i]]
        assert scores[i] == pytest.approx(slow_superglobal(queries[i], candidates, near), abs=1e-5)


def test_superglobal_edge_cases() -> None:
    gallery = np.array([[1, 0], [-1, 0], [0, 0]], dtype=np.float32)
    query = gallery[:1]
    scores = expansion.superglobal_scores(query, gallery, np.array([[0, -1, 1, 2]]), near=9)
    assert scores[0, 1] == NOTHING
    assert np.isfinite(scores[0, [0, 2, 3]]).all()
    one = expansion.superglobal_scores(query, gallery, np.array([[0]]))
    assert one.tolist() == [[1.0]]
    nothing = np.empty((1, 0), dtype=np.int64)
    assert expansion.superglobal_scores(query, gallery[:0], nothing).shape == (1, 0)
    assert (expansion.superglobal_scores(query, gallery, np.array([[-1, -1]])) == NOTHING).all()
