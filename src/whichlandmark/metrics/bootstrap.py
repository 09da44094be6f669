"""How sure is a number, and is one run better than another? Draws of queries tell."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from ..core.errors import DataError, OptionError
from ..core.types import Rows
from .ranking import Floats

ROUNDING = 1e-12  # two ways to one number may differ by so much

Metric = Callable[[Rows], float]  # rows drawn with replacement → value


def bootstrap_interval(
    metric: Metric, queries: int, *, samples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap over queries: (low, high) of `metric(rows)` at this level.

    Efron & Tibshirani, "An introduction to the bootstrap", 1993, chapter 13.
    rows: (queries,) row numbers drawn with replacement. A draw for which the metric raises
    DataError (GAP, when no landmark query was drawn) is left out.
    Raises OptionError unless samples ≥ 1 and 0 < level < 1; DataError when no draw counts.
    """
    values = _draws(metric, queries, samples, level, seed)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True, kw_only=True)
class Paired:
    """a − b on the same queries: the difference, its interval, and the shares of draws in which
    a is higher than b, and equal to it (the rest: lower)."""

    difference: float
    low: float
    high: float
    higher: float
    equal: float


def paired_bootstrap(
    a: Metric,
    b: Metric,
    queries: int,
    *,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Paired:
    """Two runs on the same queries: in how many draws is a above b?

    Both are measured on the same rows of each draw, so that what makes a query hard for both
    cancels out: Efron & Tibshirani 1993, chapter 16; for rankings, Sakai, "Evaluating evaluation
    metrics based on the bootstrap", SIGIR 2006.
    Raises as `bootstrap_interval` does, and DataError when a metric is undefined on all queries.
    """

    def difference(rows: Rows) -> float:
        return a(rows) - b(rows)

    values = _draws(difference, queries, samples, level, seed)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Paired(
        difference=difference(np.arange(queries)),
        low=float(low),
        high=float(high),
        higher=float((values > ROUNDING).mean()),
        equal=float((abs(values) <= ROUNDING).mean()),
    )


def _draws(metric: Metric, queries: int, samples: int, level: float, seed: int) -> Floats:
    """The metric of each draw on which it is defined."""
    if queries < 1 or samples < 1 or not 0 < level < 1:
        raise OptionError(
            f"{queries} queries, {samples} samples, level {level} given; expected at least "
            f"one query, one sample and a level between 0 and 1"
        )
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(samples):
        with suppress(DataError):
            values.append(metric(rng.integers(0, queries, queries)))
    if not values:
        raise DataError(f"the metric is undefined on all {samples} samples of the queries")
    return np.array(values)
