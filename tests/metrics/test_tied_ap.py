"""AP of ILIAS: by hand, against scikit-learn, and over all orders at the cut-off."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.ilias_layout import authors_ap
from whichlandmark.metrics.retrieval import TieGroups


def groups(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> TieGroups:
    """The groups of equal scores that hold a right photo, counted slowly."""
    found = []
    for value in sorted({*scores[right].tolist()}, reverse=True):
        above, same = scores > value, scores == value
        found.append((above.sum(), (above & right).sum(), same.sum(), (same & right).sum()))
    columns = np.array(found, dtype=np.int64).reshape(-1, 4).T
    return TieGroups(*columns)


def ap(scores: list[float], right: list[int], positives: int, k: int) -> float:
    truth = np.zeros(len(scores), dtype=bool)
    truth[right] = True
    return groups(np.array(scores, dtype=float), truth).tied_cut_off_ap(positives, k)


@pytest.mark.parametrize(
    ("scores", "right", "positives", "k", "expected"),
    [
        ([9, 8, 7, 6], [0, 2], 2, 1000, (1 + 2 / 3) / 2),
        ([9, 8, 7, 6], [0, 2], 5, 1000, (1 + 2 / 3) / 5),  # three were not retrieved
        ([9, 8, 7, 6], [3], 1, 3, 0.0),  # beyond the cut-off
        ([9, 8, 7, 6], [0, 1], 9, 2, 1.0),  # min(R, k) = 2
        ([9, 9, 7, 6], [0], 1, 1000, 1 / 2),  # the precision after the last of the tie
        ([9, 9, 9, 6], [0, 2], 2, 1000, 2 / 3),
        ([9, 8, 8, 6], [0, 2], 2, 1000, (1 + 2 / 3) / 2),
        ([9, 9], [0], 1, 1, 1 / 2),  # either may stand before the cut-off
        ([9, 9, 9], [0, 1], 2, 2, (1 / 3 * 2 * 1 + 2 / 3 * 1 * 1 / 2) / 2),
    ],
)
def test_by_hand(
    scores: list[float], right: list[int], positives: int, k: int, expected: float
) -> None:
    assert ap(scores, right, positives, k) == pytest.approx(expected)


def test_without_any_right_photo() -> None:
    assert ap([3, 2, 1], [], 4, 1000) == 0


@pytest.mark.parametrize("seed", range(12))
def test_as_scikit_learn_where_the_cut_off_divides_no_tie(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.integers(0, 12, 60).astype(float)
    right = random.random(60) < 0.2
    right[0] = True
    positives = [f"a/pos/{i}" for i in range(int(right.sum()) + int(random.integers(0, 4)))]
    free = iter(positives)
    ids = [next(free) if each else f"other/pos/{i}" for i, each in enumerate(right)]
    ordered = -np.sort(-scores)
    for k in (1000, *(cut for cut in range(1, 60) if ordered[cut - 1] != ordered[cut])):
        expected = authors_ap("a", ids, scores, positives, k)
        found = groups(scores, right).tied_cut_off_ap(len(positives), k)
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_as_the_mean_over_orders_where_it_does(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.integers(0, 2, 5).astype(float)
    right = random.random(5) < 0.5
    right[0] = True
    positives = [f"a/pos/{i}" for i in range(int(right.sum()) + 1)]
    for k in range(1, 5):
        values = []
        for order in map(list, permutations(range(5))):
            free = iter(positives)
            ids = [next(free) if each else f"o/{i}" for i, each in enumerate(right[order])]
            values.append(authors_ap("a", ids, scores[order], positives, k))
        found = groups(scores, right).tied_cut_off_ap(len(positives), k)
        assert found == pytest.approx(np.mean(values), abs=1e-12)
