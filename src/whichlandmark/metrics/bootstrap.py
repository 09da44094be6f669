"""Bootstrap over queries: confidence interval of a metric, paired comparison of two runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from ..core.errors import DataError, OptionError
from ..core.types import Floats, Rows

TIE_TOLERANCE = 1e-12  # differences up to this are rounding errors of equal values

Metric = Callable[[Rows], float]  # rows drawn with replacement → value


def bootstrap_interval(
    metric: Metric, queries: int, *, samples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap over queries: the confidence interval (low, high) of a metric.

    Efron & Tibshirani, "An introduction to the bootstrap", 1993, chapter 13. Samples for which the
    metric raises DataError (GAP, when no landmark query was drawn) are left out.

    Args:
        metric: its value for (queries,) row numbers that are drawn with replacement.
        queries: number of queries.
        samples: number of samples drawn.
        level: of the interval, 0 to 1.
        seed: of the draws.

    Raises:
        OptionError: unless queries ≥ 1, samples ≥ 1 and 0 < level < 1.
        DataError: when the metric is undefined on every sample.
    """
    values = _sampled_values(metric, queries, samples, level, seed)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The difference a − b of two runs on the same queries.

    Attributes:
        difference: on all queries.
        low, high: its confidence interval.
        higher, equal: the shares of samples in which a is higher than b, and equal to b.
    """

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
    """Compare two runs on the same queries by a paired bootstrap.

    Both runs are measured on the same rows of each sample, so that the difficulty of a query,
    which affects both, cancels out: Efron & Tibshirani 1993, chapter 16; for rankings, Sakai,
    "Evaluating evaluation metrics based on the bootstrap", SIGIR 2006.

    Raises:
        OptionError: as `bootstrap_interval` does.
        DataError: when a metric is undefined on every sample, or on all queries together.
    """

    def difference(rows: Rows) -> float:
        return a(rows) - b(rows)

    values = _sampled_values(difference, queries, samples, level, seed)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Paired(
        difference=difference(np.arange(queries)),
        low=float(low),
        high=float(high),
        higher=float((values > TIE_TOLERANCE).mean()),
        equal=float((abs(values) <= TIE_TOLERANCE).mean()),
    )


def _sampled_values(metric: Metric, queries: int, samples: int, level: float, seed: int) -> Floats:
    """The metric's value for each sample of the queries on which it is defined."""
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
