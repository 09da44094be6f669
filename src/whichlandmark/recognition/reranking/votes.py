"""k-nearest-neighbour votes: each of the nearest photos votes for its landmark with its score.

All are *inductive*: a query's votes come from the gallery alone. A code below 0 pads a short row
and never votes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.types import Floats, Rows, Vectors


@dataclass(frozen=True)
class Votes:
    """The best and the second landmark of each query: codes and scores, each (Q,).

    Code −1 and score −inf where no photo voted for a first or a second landmark.
    """

    codes: Rows
    scores: Floats
    second_codes: Rows
    second_scores: Floats


def vote(codes: Rows, scores: NDArray[Any], count: int) -> Votes:
    """Sum the scores of the `count` nearest per landmark; the largest sum wins. *Inductive.*

    codes, scores: (Q, K) landmark code and score of each neighbour, best first.
    psinger's vote (arXiv:2010.01650) takes count 3; count 1 is the plain nearest neighbour.
    Of equal sums, the landmark of the nearer neighbour wins.
    """
    return _best_two(*ranked_votes(codes, scores, count, 2))


def power_vote(codes: Rows, similarity: Vectors, *, count: int = 5, power: float = 9.0) -> Votes:
    """log Σ cos^power of the `count` nearest per landmark. *Inductive.*

    haqishen, 3rd of Google Landmark Recognition 2020: count 5, power 9. Logarithms keep the order
    of the sums and never underflow, whatever the power. codes, similarity: (Q, K), best first;
    a cosine of 0 or less does not vote.
    """
    cosines = np.asarray(similarity, dtype=np.float64)
    logs = power * np.log(cosines, where=cosines > 0, out=np.full(cosines.shape, -np.inf))
    return _best_two(*ranked_votes(codes, logs, count, 2, logs=True))


def inlier_vote(
    codes: Rows, similarity: Vectors, inliers: NDArray[Any], *, count: int = 5, cap: int = 70
) -> Votes:
    """cos + min(inliers, cap)/cap, summed over the `count` best per landmark. *Inductive.*

    Cao, Araujo, Sim, "Unifying deep local and global features for image search" (DELG), ECCV
    2020; Weyand et al., "Google Landmarks Dataset v2", CVPR 2020. codes, similarity, inliers:
    (Q, K), by falling cosine; inliers 0 or less where a pair was not verified. The K neighbours
    are re-ordered by this score before the `count` best of them vote.
    """
    share = np.clip(np.asarray(inliers, dtype=np.float64), 0, cap) / cap
    return vote(*best_first(codes, similarity + share), count)


def best_first(codes: Rows, scores: NDArray[Any]) -> tuple[Rows, Floats]:
    """(Q, K) codes and scores sorted by falling score; equal scores keep their order."""
    scores = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(codes, order, axis=1), np.take_along_axis(scores, order, axis=1)


def ranked_votes(
    codes: Rows, scores: NDArray[Any], count: int, most: int, *, logs: bool = False
) -> tuple[Rows, Floats]:
    """The landmarks that the `count` nearest vote for, by falling sum of their scores. *Inductive.*

    codes, scores: (Q, K), best first → codes and sums (Q, most), −1 and −inf after the last
    landmark. Of equal sums, the landmark of the nearer neighbour comes first. `logs`: scores are
    logarithms of the votes, and so are the sums.
    """
    codes, scores = codes[:, :count], np.asarray(scores[:, :count], dtype=np.float64)
    same = codes[:, :, None] == codes[:, None, :]
    sums = _log_sums(same, scores) if logs else np.where(same, scores[:, None, :], 0).sum(axis=2)
    # A landmark keeps the position of its nearest neighbour; its other positions are cleared.
    earlier = np.tril(np.ones((codes.shape[1], codes.shape[1]), dtype=bool), k=-1)
    sums = np.where((same & earlier).any(axis=2) | (codes < 0), -np.inf, sums)
    codes, sums = best_first(codes, sums)
    codes = np.where(np.isneginf(sums), -1, codes)[:, :most]
    padding = ((0, 0), (0, most - codes.shape[1]))
    return np.pad(codes, padding, constant_values=-1), np.pad(
        sums[:, :most], padding, constant_values=-np.inf
    )


def _log_sums(same: NDArray[np.bool_], logs: Floats) -> Floats:
    """log Σ exp over the neighbours of the same landmark: (Q, K, K), (Q, K) → (Q, K)."""
    peak = np.where(same, logs[:, None, :], -np.inf).max(axis=2, initial=-np.inf)
    base = np.where(np.isfinite(peak), peak, 0)[:, :, None]
    # Mask before exponentiating, because another landmark's score far above the peak overflows.
    total = np.exp(np.where(same, logs[:, None, :] - base, -np.inf)).sum(axis=2)
    logarithms = np.log(total, where=total > 0, out=np.full(total.shape, -np.inf))
    return np.asarray(base[:, :, 0] + logarithms)


def _best_two(codes: Rows, scores: Floats) -> Votes:
    return Votes(codes[:, 0], scores[:, 0], codes[:, 1], scores[:, 1])
