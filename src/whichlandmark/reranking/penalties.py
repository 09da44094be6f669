"""Distractor penalties B and C: how much does a photo look like no landmark?

Notation of the sources: q a query, j a gallery photo, N the bank of distractors.
"""

from __future__ import annotations

import numpy as np

from .rows import Floats


def bank_likeness(similarity: Floats) -> Floats:
    """Mean cosine to the nearest distractors: (Q, n) their cosines → (Q,). *Inductive.*

    C of the seed when the rows are queries (n = 5); C of psinger's score (n = 10); B of
    psinger's score when they are gallery photos (n = 5). 0 where there are none.
    Seed: s₁ − C. psinger & philippsinger, 1st of Google Landmark Recognition 2020,
    arXiv:2010.01650: cos − B for every neighbour, a vote of the 3 nearest, then − C.
    """
    if similarity.shape[1] == 0:
        return np.zeros(len(similarity), dtype=np.float32)
    return np.asarray(similarity.mean(axis=1, dtype=np.float64), dtype=np.float32)
