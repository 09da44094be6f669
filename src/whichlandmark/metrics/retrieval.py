"""Metrics of one query's ranking, from the ranks of what is right: AP of two kinds, precision@k.

Ranks are counted from 0, without the photos that a protocol ignores (junk). Where photos have equal
similarity, `TieGroups` gives the mean over all their orders.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..core.errors import DataError
from ..core.types import Floats, Rows
from .ranking import check_k


def trapezoid_ap(ranks: Rows, positives: int) -> float:
    """The area under the precision–recall curve, by trapezoids, of a whole ranking: 0 to 1.

    Philbin et al., "Object retrieval with large vocabularies and fast spatial matching", CVPR 2007;
    as `compute_ap` of Radenović et al., "Revisiting Oxford and Paris", CVPR 2018, computes it:
    (1/R) Σ_j (j/r_j + (j + 1)/(r_j + 1)) / 2, where j counts the positives before and j/r_j is 1 at
    the first rank. A positive that is not retrieved adds nothing.

    Args:
        ranks: (P,) of the positives that were retrieved, ascending.
        positives: R, all positives, at least P and 1.
    """
    _check(ranks, positives)
    before = np.arange(len(ranks))
    left = np.where(ranks == 0, 1.0, before / np.maximum(ranks, 1))
    return float((left + (before + 1) / (ranks + 1)).sum() / 2 / positives)


def cut_off_ap(ranks: Rows, positives: int, k: int) -> float:
    """Average precision of the first k: Σ_{i≤k} P(i)·rel(i) / min(R, k), 0 to 1.

    Weyand et al., "Google Landmarks Dataset v2", CVPR 2020 (k = 100); Kordopatis-Zilos et al.,
    "ILIAS", CVPR 2025 (k = 1000). Arguments as for `trapezoid_ap`.
    """
    _check(ranks, positives)
    check_k(k)
    precision = np.arange(1, len(ranks) + 1) / (ranks + 1)
    return float(precision[ranks < k].sum() / min(positives, k))


def precision_at(ranks: Rows, k: int) -> float:
    """Precision among the first k, or, where the last positive comes before, down to that one.

    As `compute_map` of revisited Oxford and Paris computes mP@k: the number of positives among the
    first k' = min(k, rank of the last positive, counted from 1), divided by k'. 0 without any.
    """
    check_k(k)
    if not len(ranks):
        return 0.0
    depth = min(k, int(ranks[-1]) + 1)
    return float((ranks < depth).sum() / depth)


def precision_of_k(ranks: Rows, k: int) -> float:
    """Right ones among the first k, divided by k, however many there are.

    As `MeanPrecisions` of Google Landmarks v2 (tensorflow/models, delf) computes it.
    """
    check_k(k)
    return float((ranks < k).sum() / k)


def first_position(ranks: Rows, k: int) -> float:
    """The position, from 1, of the first right one among the first k; k + 1 where there is none.

    As `MeanMedianPosition` of Google Landmarks v2 (tensorflow/models, delf) computes it.
    """
    check_k(k)
    return float(ranks[0] + 1) if len(ranks) and ranks[0] < k else float(k + 1)


@dataclass(frozen=True, eq=False)
class TieGroups:
    """The groups of equal similarity that hold a positive, most similar first.

    before: photos ranked before the group; right_before: the positives among them; size: photos in
    the group; right: its positives. All (G,).
    """

    before: Rows
    right_before: Rows
    size: Rows
    right: Rows

    @property
    def matter(self) -> bool:
        """Does the order of equal similarities change a figure?"""
        return bool((self.size > self.right).any())

    def mean_trapezoid_ap(self, positives: int) -> float:
        """`trapezoid_ap`, as its mean over all orders of equal similarities.

        In a group of n with r right, the photo at place p (from 0) is right with probability r/n,
        and then p·(r − 1)/(n − 1) of those before it in the group are, on average.
        """
        total = 0.0
        for rank, found, chance in self._places():
            left = np.where(rank == 0, 1.0, found / np.maximum(rank, 1))
            total += float((chance * (left + (found + 1) / (rank + 1))).sum()) / 2
        return float(total / positives)

    def mean_cut_off_ap(self, positives: int, k: int) -> float:
        """`cut_off_ap`, as its mean over all orders of equal similarities."""
        total = 0.0
        for rank, found, chance in self._places():
            total += float((chance * (found + 1) / (rank + 1))[rank < k].sum())
        return float(total / min(positives, k))

    def tied_cut_off_ap(self, positives: int, k: int) -> float:
        """`cut_off_ap` where a group of equal similarities counts as one step.

        Each right photo of a group has the precision after the group's last photo, as
        `average_precision_score` of scikit-learn computes it, which ILIAS multiplies by
        hits / min(R, k). A group that the cut-off divides gives the mean over what may stand
        before it: with h of its r right photos there, h is hypergeometric.
        """
        inside = np.clip(k - self.before, 0, self.size)
        size, right = np.maximum(self.size, 1), self.right.astype(np.float64)
        mean = inside * right / size
        variance = mean * (1 - right / size) * (size - inside) / np.maximum(size - 1, 1)
        ends = np.maximum(self.before + inside, 1)
        steps = (self.right_before * mean + variance + mean**2) / ends
        return float(steps.sum() / min(positives, k))

    def _places(self) -> Iterator[tuple[Rows, Floats, float]]:
        """Per group: ranks of its places; positives before each, on average, where it holds one;
        and the probability that it does.
        """
        for before, found, size, right in zip(
            self.before, self.right_before, self.size, self.right, strict=True
        ):
            place = np.arange(size)
            inside = place * (right - 1) / max(size - 1, 1)
            yield before + place, found + inside, float(right / size)


def _check(ranks: Rows, positives: int) -> None:
    if positives < max(1, len(ranks)):
        raise DataError(
            f"{len(ranks)} of {positives} positives retrieved; expected at least one positive, and "
            "no more retrieved than there are"
        )
