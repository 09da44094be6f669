"""Groups of equal scores, and the checks that all measures share."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, OptionError
from ..types import Rows

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Mask = NDArray[np.bool_]


def groups_of(score: NDArray[Any]) -> tuple[Floats, Rows]:
    """(Q,) scores → their G distinct values, highest first, and the group of each (Q,).

    Raises DataError when a score is NaN: it has no place in an order.
    """
    score = np.asarray(score, dtype=np.float64)
    check_numbers(score)
    values, group = np.unique(-score, return_inverse=True)
    return -values, group.astype(np.int64)


def count(group: Rows, of: NDArray[Any], groups: int) -> Counts:
    """How many of each group `of` marks: (Q,) groups, (Q,) bool or whole numbers → (G,)."""
    return np.bincount(group, weights=of, minlength=groups).astype(np.int64)


def harmonic(most: int) -> Floats:
    """(most + 1,) H_0 … H_most, H_n = 1 + 1/2 + … + 1/n."""
    return np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, most + 1))])


def check_lengths(**columns: Sized) -> None:
    """Raises DataError unless all columns are of one length."""
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"columns differ in length: {lengths}; expected one value a query")


def check_numbers(score: Floats) -> None:
    """Raises DataError when a score is NaN."""
    if missing := int(np.isnan(score).sum()):
        raise DataError(f"{missing} scores are NaN; predictions need numbers to be ranked by")


def check_landmark_queries(given: int, right: int) -> None:
    """Raises DataError unless 0 < given and right ≤ given."""
    if given < 1:
        raise DataError("GAP is undefined without a photo that shows a landmark")
    if right > given:
        raise DataError(
            f"{right} predictions are right but only {given} queries show a landmark; "
            f"count every query with a true landmark, at most one prediction each"
        )


def check_k(k: int) -> None:
    """Raises OptionError when k is below 1."""
    if k < 1:
        raise OptionError(f"k = {k} given; expected 1 or more")
