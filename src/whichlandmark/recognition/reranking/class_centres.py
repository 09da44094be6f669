"""Class centres (nearest class mean) and distractor penalties."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.types import Floats, Rows, Vectors
from ...gallery.index.projection import unit_rows
from .votes import Votes, best_first

QUERIES_PER_BLOCK = 256  # queries at a time: 256 × 81,313 landmarks × 4 bytes = 83 MB


def class_centres(vectors: NDArray[Any], codes: Rows, count: int) -> Vectors:
    """Unit mean of each landmark's photos: (N, D), (N,) codes → (count, D). *Inductive.*

    Mensink, Verbeek, Perronnin, Csurka, "Distance-based image classification: generalizing to
    new classes at near-zero cost", TPAMI 2013 (nearest class mean). Codes below 0 belong to
    no landmark. A landmark without photos gets zeros.
    """
    sums = np.zeros((count, vectors.shape[1]), dtype=np.float64)
    order = np.argsort(codes, kind="stable")
    order = order[np.searchsorted(codes[order], 0) :]
    present, starts = np.unique(codes[order], return_index=True)
    for code, rows in zip(present, np.split(order, starts[1:]), strict=False):
        sums[code] = vectors[rows].sum(axis=0, dtype=np.float64)
    return unit_rows(sums)


def centre_votes(queries: Vectors, centres: Vectors) -> Votes:
    """The two landmarks of nearest centre, scored by cosine: (Q, D), (C, D). *Inductive.*

    Nearest class mean, as in `class_centres`. Of equal cosines, the lower code wins. A landmark
    whose centre is zeros is never answered.
    """
    empty = ~centres.any(axis=1)
    best_codes = [np.empty((0, 2), dtype=np.int64)]
    best_scores: list[Floats] = [np.empty((0, 2))]
    for start in range(0, len(queries), QUERIES_PER_BLOCK):
        cosines = np.where(empty, -np.inf, queries[start : start + QUERIES_PER_BLOCK] @ centres.T)
        codes, scores = _two_best(cosines)
        best_codes.append(np.where(np.isneginf(scores), -1, codes))
        best_scores.append(scores)
    codes, scores = np.concatenate(best_codes), np.concatenate(best_scores)
    return Votes(codes[:, 0], scores[:, 0], codes[:, 1], scores[:, 1])


def _two_best(cosines: NDArray[Any]) -> tuple[Rows, Floats]:
    """Columns and values of the two largest of each row (q, C) → (q, 2), −inf where C < 2."""
    padding = ((0, 0), (0, max(0, 2 - cosines.shape[1])))
    remaining = np.pad(cosines, padding, constant_values=-np.inf)
    first = remaining.argmax(axis=1)[:, None]
    best = np.take_along_axis(remaining, first, axis=1)
    np.put_along_axis(remaining, first, -np.inf, axis=1)
    second = remaining.argmax(axis=1)[:, None]
    columns = np.concatenate([first, second], axis=1)
    return best_first(
        columns, np.concatenate([best, np.take_along_axis(remaining, second, axis=1)], axis=1)
    )


def distractor_penalty(similarity: Vectors) -> Vectors:
    """Mean cosine to the nearest distractors: (Q, n) their cosines → (Q,). *Inductive.*

    Of queries: C of the score s₁ − C (n = 5) and of psinger's score (n = 10). Of gallery photos:
    B of psinger's score (n = 5). 0 where there are no distractors. psinger & philippsinger,
    1st of Google Landmark Recognition 2020, arXiv:2010.01650: cos − B for every neighbour, a vote
    of the 3 nearest, then − C.
    """
    if similarity.shape[1] == 0:
        return np.zeros(len(similarity), dtype=np.float32)
    return np.asarray(similarity.mean(axis=1, dtype=np.float64), dtype=np.float32)
