"""Scores that push non-landmarks down: arrays in, arrays out, all inductive.

Notation of the sources: q a query, j a gallery photo, N the bank of distractors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Votes:
    """The best landmark of each query: its code and score (Q,), and each neighbour's share."""

    codes: Rows
    scores: NDArray[np.float64]


def bank_likeness(similarity: Floats) -> Floats:
    """Mean cosine to the nearest distractors: (Q, n) their cosines → (Q,).

    C of the seed when the rows are queries (n = 5); C of psinger's score (n = 10); B of
    psinger's score when they are gallery photos (n = 5). 0 where there are none.
    Seed: s₁ − C. psinger & philippsinger, 1st of Google Landmark Recognition 2020,
    arXiv:2010.01650: cos − B for every neighbour, a vote of the 3 nearest, then − C.
    """
    if similarity.shape[1] == 0:
        return np.zeros(len(similarity), dtype=np.float32)
    return np.asarray(similarity.mean(axis=1, dtype=np.float64), dtype=np.float32)


def with_penalty_column(vectors: Floats, penalties: Floats) -> Floats:
    """Gallery rows whose product with (q, 1) is cos(q, j) − B_j: (N, D), (N,) → (N, D + 1).

    With it an ordinary nearest-neighbour search is exact for the penalised score.
    """
    return np.concatenate([vectors, -penalties[:, None]], axis=1, dtype=np.float32)


def with_one(queries: Floats) -> Floats:
    """(Q, D) → (Q, D + 1): the query side of `with_penalty_column`."""
    ones = np.ones((len(queries), 1), dtype=np.float32)
    return np.concatenate([queries, ones], axis=1)


def vote(codes: Rows, scores: Floats, count: int) -> Votes:
    """Sum the scores of the `count` nearest per landmark; the largest sum wins.

    codes, scores: (Q, K) landmark code and score of each neighbour, best first.
    psinger's vote takes count 3; count 1 is the plain nearest neighbour. Equal sums: the
    landmark of the nearer neighbour.
    """
    codes, scores = codes[:, :count], scores[:, :count].astype(np.float64)
    same = codes[:, :, None] == codes[:, None, :]
    sums = (same * scores[:, None, :]).sum(axis=2)
    best = sums.argmax(axis=1)[:, None]
    return Votes(
        np.take_along_axis(codes, best, axis=1)[:, 0], np.take_along_axis(sums, best, axis=1)[:, 0]
    )
