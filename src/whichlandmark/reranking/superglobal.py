"""SuperGlobal: re-ranking by global vectors alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import Rows
from .rows import Floats, Scores


def superglobal_scores(
    queries: Floats, gallery: NDArray[Any], rows: Rows, *, near: int = 9, beta: float = 0.15
) -> Scores:
    """Scores of each query's M candidates, in their order: (Q, M). *Inductive.*

    Shao, Chen, Karpur, Cui, Araujo, Cao, "Global features are all you need for image
    retrieval and reranking", ICCV 2023, with M = 400 there. Every candidate is refined by its
    `near` nearest among the candidates, x'_i = (x_i + Σ β s_ij x_j)/(1 + Σ β s_ij), s_ij their
    cosine; q' is the element-wise maximum of the near + 1 refined ones nearest to q; the score
    is ½(q·x'_i + q'·x'_i). queries (Q, D); gallery (N, D); rows (Q, M) into it, best first,
    below 0 = no candidate (score −inf). Candidates are gallery photos only, so no query is
    used for another. Memory: M² + M·D numbers, one query at a time.
    """
    scores = np.full(rows.shape, -np.inf)
    for i, query in enumerate(queries):
        known = rows[i] >= 0
        if known.any():
            candidates = np.asarray(gallery[rows[i, known]], dtype=np.float32)
            scores[i, known] = _one_query(query, candidates, near, beta)
    return scores


def _one_query(query: Floats, candidates: Floats, near: int, beta: float) -> Scores:
    refined = _refined(candidates, near, beta)
    plain = refined @ query.astype(np.float64)
    best = np.argsort(-plain, kind="stable")[: near + 1]
    return np.asarray((plain + refined @ refined[best].max(axis=0)) / 2)


def _refined(candidates: Floats, near: int, beta: float) -> Scores:
    """x'_i of each candidate (M, D) → (M, D) float64, not of unit length (as its authors have it).

    Unlike theirs, a negative cosine weighs nothing: nine of them could make the divisor zero.
    """
    cosines = (candidates @ candidates.T).astype(np.float64)
    np.fill_diagonal(cosines, -np.inf)  # a candidate is no neighbour of itself
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :near]
    weights = np.zeros_like(cosines)
    nearest = np.take_along_axis(cosines, order, axis=1)
    np.put_along_axis(weights, order, beta * np.maximum(nearest, 0), axis=1)
    return np.asarray(
        (candidates + weights @ candidates) / (1 + weights.sum(axis=1, keepdims=True))
    )
