"""Query expansion, database-side augmentation, and re-ranking by SuperGlobal."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import OptionError
from ...core.types import Floats, Rows, Vectors
from ...gallery.index.projection import unit_rows

ROWS_PER_BLOCK = 1024  # gallery rows at a time: 1,024 × 10 neighbours × 512 × 4 bytes = 21 MB


def expanded(
    queries: Vectors, vectors: NDArray[Any], similarity: NDArray[Any], *, alpha: float = 3.0
) -> Vectors:
    """αQE: unit vector of q + Σ cos^alpha · e over its neighbours e. *Inductive.*

    Radenović, Tolias, Chum, "Fine-tuning CNN image retrieval with no human annotation", TPAMI
    2019: alpha 3; alpha 0 is the average query expansion of Chum et al., ICCV 2007. queries
    (Q, D), their neighbours' vectors (Q, n, D) and cosines (Q, n) → (Q, D). A neighbour of
    cosine 0 or less has weight 0. Raises OptionError for a negative alpha.
    """
    weights = _weights(similarity, alpha)
    weighted = np.einsum("qn,qnd->qd", weights, np.asarray(vectors, dtype=np.float64))
    return unit_rows(queries + weighted)


def augmented(
    gallery: NDArray[Any], rows: Rows, similarity: NDArray[Any], *, alpha: float = 3.0
) -> Vectors:
    """Database-side augmentation: average each gallery row with its neighbours, as in `expanded`.

    *Inductive.* Turcot & Lowe, "Better matching with fewer features", ICCV workshops 2009;
    Arandjelović & Zisserman, "Three things everyone should know to improve object retrieval",
    CVPR 2012. gallery (N, D), rows (N, n) of the neighbours, similarity (N, n) → (N, D). A row
    that names itself, or is below 0, adds nothing, because the photo already has weight 1.
    """
    own = rows == np.arange(len(rows))[:, None]
    cosines = np.where(own | (rows < 0), 0, similarity)
    blocks = [np.empty((0, gallery.shape[1]), dtype=np.float32)]
    for start in range(0, len(gallery), ROWS_PER_BLOCK):
        block = slice(start, start + ROWS_PER_BLOCK)
        near = gallery[np.maximum(rows[block], 0)]
        own_rows = np.asarray(gallery[block], dtype=np.float32)
        blocks.append(expanded(own_rows, near, cosines[block], alpha=alpha))
    return np.concatenate(blocks)


def _weights(similarity: NDArray[Any], alpha: float) -> NDArray[np.float64]:
    if not alpha >= 0:
        raise OptionError(f"alpha {alpha} given; expected 0 or more (3 is usual)")
    cosines = np.asarray(similarity, dtype=np.float64)
    return np.where(cosines > 0, np.maximum(cosines, 0) ** alpha, 0)  # also for alpha 0


def superglobal_scores(
    queries: Vectors, gallery: NDArray[Any], rows: Rows, *, near: int = 9, beta: float = 0.15
) -> Floats:
    """SuperGlobal scores of each query's M candidates, in their order: (Q, M). *Inductive.*

    Shao, Chen, Karpur, Cui, Araujo, Cao, "Global features are all you need for image
    retrieval and reranking", ICCV 2023, with M = 400. Every candidate is refined by its
    `near` nearest among the candidates, x'_i = (x_i + Σ β s_ij x_j)/(1 + Σ β s_ij), s_ij their
    cosine; q' is the element-wise maximum of the near + 1 refined ones nearest to q; the score
    is ½(q·x'_i + q'·x'_i). queries (Q, D); gallery (N, D); rows (Q, M) into it, best first,
    below 0 = no candidate (score −inf). Memory: M² + M·D numbers, for one query at a time.
    """
    scores = np.full(rows.shape, -np.inf)
    for i, query in enumerate(queries):
        known = rows[i] >= 0
        if known.any():
            candidates = np.asarray(gallery[rows[i, known]], dtype=np.float32)
            refined = _refined(candidates, near, beta)
            plain = refined @ query.astype(np.float64)
            best = np.argsort(-plain, kind="stable")[: near + 1]
            scores[i, known] = (plain + refined @ refined[best].max(axis=0)) / 2
    return scores


def _refined(candidates: Vectors, near: int, beta: float) -> Floats:
    """x'_i of each candidate: (M, D) → (M, D) float64, not of unit length, as in the paper.

    Unlike in the paper a negative cosine has weight 0, because nine of them could make the divisor
    zero.
    """
    cosines = (candidates @ candidates.T).astype(np.float64)
    np.fill_diagonal(cosines, -np.inf)  # a candidate is not its own neighbour
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :near]
    weights = np.zeros_like(cosines)
    nearest = np.take_along_axis(cosines, order, axis=1)
    np.put_along_axis(weights, order, beta * np.maximum(nearest, 0), axis=1)
    return np.asarray(
        (candidates + weights @ candidates) / (1 + weights.sum(axis=1, keepdims=True))
    )
