"""AP of two kinds and precision@k: by hand, slowly from the definition, and over orders of ties."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from whichlandmark.core.errors import DataError, OptionError
from whichlandmark.metrics.retrieval import TieGroups, cut_off_ap, precision_at, trapezoid_ap


def curve_area(relevant: list[bool], positives: int) -> float:
    """The area under the precision–recall curve, walked photo by photo, as Oxford's first program
    (compute_ap.cpp) does.
    """
    area, recall, precision, found = 0.0, 0.0, 1.0, 0
    for rank, hit in enumerate(relevant, 1):
        found += hit
        new_recall, new_precision = found / positives, found / rank
        area += (new_recall - recall) * (precision + new_precision) / 2
        recall, precision = new_recall, new_precision
    return area


def cut_area(relevant: list[bool], positives: int, k: int) -> float:
    """Σ P(i)·rel(i) / min(R, k), from the definition."""
    total = 0.0
    for rank in range(1, min(k, len(relevant)) + 1):
        if relevant[rank - 1]:
            total += sum(relevant[:rank]) / rank
    return total / min(positives, k)


def ranks_of(relevant: list[bool]) -> np.ndarray:
    return np.flatnonzero(relevant)


def test_by_hand() -> None:
    """Right, wrong, right of two: (1 + 1)/2·½ + (½ + ⅔)/2·½ = 19/24; 1·½ + ⅔·½ = 5/6."""
    ranks = np.array([0, 2])
    assert trapezoid_ap(ranks, 2) == pytest.approx(19 / 24)
    assert cut_off_ap(ranks, 2, 100) == pytest.approx(5 / 6)
    assert trapezoid_ap(np.array([1]), 1) == pytest.approx(1 / 4)  # wrong, right: (0 + ½)/2
    assert cut_off_ap(np.array([1]), 1, 1) == 0
    assert trapezoid_ap(np.arange(5), 5) == pytest.approx(1)
    assert trapezoid_ap(np.array([], dtype=np.int64), 3) == 0
    assert trapezoid_ap(np.array([0]), 2) == pytest.approx(1 / 2)  # the other is never retrieved


def test_precision_goes_down_to_the_last_positive_only() -> None:
    """Of revisited Oxford: k' = min(k, rank of the last positive)."""
    assert precision_at(np.array([0, 1, 2]), 10) == 1  # three positives, all first: 3 / 3
    assert precision_at(np.array([0, 3]), 10) == pytest.approx(2 / 4)
    assert precision_at(np.array([0, 30]), 10) == pytest.approx(1 / 10)
    assert precision_at(np.array([4]), 1) == 0
    assert precision_at(np.array([], dtype=np.int64), 5) == 0


@pytest.mark.parametrize("seed", range(30))
def test_against_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    relevant = (rng.random(int(rng.integers(1, 40))) < rng.random()).tolist()
    positives = max(1, sum(relevant) + int(rng.integers(0, 3)))
    ranks = ranks_of(relevant)
    if sum(relevant) == positives:  # the curve ends at recall 1
        assert trapezoid_ap(ranks, positives) == pytest.approx(curve_area(relevant, positives))
    for k in (1, 3, 10, 1000):
        assert cut_off_ap(ranks, positives, k) == pytest.approx(cut_area(relevant, positives, k))


@pytest.mark.parametrize("seed", range(30))
def test_the_mean_over_orders_is_that_of_all_orders(seed: int) -> None:
    """Small groups of equal similarity, all their orders one by one."""
    rng = np.random.default_rng(seed)
    groups = [(rng.random(int(rng.integers(1, 5))) < 0.5).tolist() for _ in range(2)]
    positives = sum(map(sum, groups)) + int(rng.integers(0, 2))
    if not sum(map(sum, groups)):
        groups[0][0], positives = True, positives + 1
    trapezoid, cut = [], []
    for first in permutations(groups[0]):
        for second in permutations(groups[1]):
            relevant = [*first, *second]
            trapezoid.append(trapezoid_ap(ranks_of(relevant), positives))
            cut.append(cut_area(relevant, positives, 3))
    right = [sum(group) for group in groups]
    before = [0, len(groups[0])]
    with_one = [at for at in (0, 1) if right[at]]
    found = TieGroups(
        before=np.array(before)[with_one],
        right_before=np.array([0, right[0]])[with_one],
        size=np.array([len(group) for group in groups])[with_one],
        right=np.array(right)[with_one],
    )
    assert found.mean_trapezoid_ap(positives) == pytest.approx(np.mean(trapezoid))
    assert found.mean_cut_off_ap(positives, 3) == pytest.approx(np.mean(cut))
    assert found.matter == any(0 < sum(group) < len(group) for group in groups)


def test_what_cannot_be_measured() -> None:
    with pytest.raises(DataError, match="at least one positive"):
        trapezoid_ap(np.array([], dtype=np.int64), 0)
    with pytest.raises(DataError, match="2 of 1 positives"):
        cut_off_ap(np.array([0, 1]), 1, 10)
    with pytest.raises(OptionError, match="k = 0"):
        precision_at(np.array([0]), 0)
