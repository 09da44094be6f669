"""Compare two runs on the same queries: differences with confidence intervals, changed answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError
from ..core.types import true_landmarks
from ..metrics.bootstrap import Paired, paired_bootstrap
from ..metrics.calibration_error import calibration_error_of_draws
from ..metrics.open_set import auroc_of_draws
from ..metrics.ranking import gap_of_draws
from .predictions import Predictions

MAX_LISTED = 10  # photos of each kind of change, and ids in an error message

# Measure → True when lower is better.
LOWER_IS_BETTER = {
    "gap": False,
    "top1": False,
    "accuracy": False,
    "auroc_no_landmark": False,
    "auroc_unknown": False,
    "calibration_error": True,
}

Measure = Callable[[NDArray[np.int64]], float]  # rows drawn with replacement → value


@dataclass(frozen=True, kw_only=True)
class MeasurePair:
    """One measure of both runs.

    difference: b − a. interval: its 95 % confidence interval, by the paired bootstrap over queries.
    b_better: share of bootstrap draws in which b is better.
    """

    a: float
    b: float
    difference: float
    interval: tuple[float, float]
    b_better: float


@dataclass(frozen=True, kw_only=True)
class ChangedQueries:
    """Queries that changed between wrong and right.

    fixed: number of queries that are wrong in a and right in b; broken: the reverse.
    first_fixed, first_broken: the first of them: id, path, truth, answers of a and of b.
    """

    fixed: int
    broken: int
    first_fixed: list[dict[str, str]]
    first_broken: list[dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result of `compare`.

    queries: compared in both runs. only_in_a, only_in_b: queries left out because the other run
      lacks them.
    known_in_one: queries whose landmark only one of the two galleries has. Each GAP counts the
      known queries of its own gallery.
    measures: those that are defined for both runs; names as in `Scores`.
    guesses: changes of the best guess, over the queries that are known in both runs.
    answers: changes of `Predictions.answered_correctly`, over all queries.
    """

    queries: int
    only_in_a: int
    only_in_b: int
    known_in_one: int
    measures: dict[str, MeasurePair]
    guesses: ChangedQueries
    answers: ChangedQueries


def compare(
    a: Predictions,
    b: Predictions,
    *,
    names: tuple[str, str] = ("a", "b"),
    common: bool = False,
    samples: int = 1000,
    seed: int = 0,
    titles: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare two runs query by query; the order of rows does not matter.

    Args:
        a: Predictions of one run.
        b: Predictions of the other.
        names: Of the runs, for error messages.
        common: Leave out (and count) queries that only one run has; else they are an error.
        samples: Bootstrap draws.
        seed: Of the draws.
        titles: Label → title, to put changed answers into words; None = labels and decisions.

    Raises:
        DataError: When only one run has a query, when no query is in both, or when a query has
            different true landmarks in the two runs.
    """
    only = _ids_missing_in(b, a), _ids_missing_in(a, b)
    if not common and any(only):
        raise DataError(_missing_message(only, names))
    a, b = _aligned(a, b, names)
    rows = np.arange(len(a))
    both = a.known & b.known
    measures_a, measures_b = _measures(a), _measures(b)
    measures = {
        name: _measure_pair(measures_a[name], measures_b[name], rows, (samples, seed), lower=lower)
        for name, lower in LOWER_IS_BETTER.items()
        if name in measures_a and name in measures_b
    }
    return Comparison(
        queries=len(a),
        only_in_a=len(only[0]),
        only_in_b=len(only[1]),
        known_in_one=int((a.known != b.known).sum()),
        measures=measures,
        guesses=_changed(a, b, (a.right & both, b.right & both), titles),
        answers=_changed(a, b, (a.answered_correctly, b.answered_correctly), titles),
    )


def _measures(p: Predictions) -> dict[str, Measure]:
    """The measures that are defined on these queries, each a function of drawn rows."""
    every = np.ones(len(p), dtype=bool)
    found: dict[str, Measure] = {"accuracy": _share_of_draws(p.answered_correctly, every)}
    if p.predicted.any():
        found["calibration_error"] = _calibration_error_of_draws(p)
    if p.known.any():
        found["gap"] = gap_of_draws(p.score, p.right, p.known, predicted=p.predicted)
        found["top1"] = _share_of_draws(p.right, p.known)
        for name, others in (("no_landmark", p.no_landmark), ("unknown", p.unknown)):
            if others.any():
                found[f"auroc_{name}"] = auroc_of_draws(p.ranked_score, p.known, others)
    return found


def _share_of_draws(right: NDArray[np.bool_], counted: NDArray[np.bool_]) -> Measure:
    """Share of right ones among the drawn queries that are `counted`."""

    def share(rows: NDArray[np.int64]) -> float:
        drawn = rows[counted[rows]]
        if not len(drawn):
            raise DataError("the share is undefined, because no query of that kind was drawn")
        return float(right[drawn].mean())

    return share


def _calibration_error_of_draws(p: Predictions) -> Measure:
    """Calibration error of the drawn queries that have a guess."""
    guessed = np.flatnonzero(p.predicted)
    number_of = np.cumsum(p.predicted) - 1  # row → number among the guessed queries
    error = calibration_error_of_draws(p.confidence[guessed], p.right[guessed])

    def error_of(rows: NDArray[np.int64]) -> float:
        drawn = number_of[rows[p.predicted[rows]]]
        if not len(drawn):
            raise DataError(
                "the calibration error is undefined, because no query with a guess was drawn"
            )
        return error(drawn)

    return error_of


def _measure_pair(
    a: Measure, b: Measure, rows: NDArray[np.int64], draws: tuple[int, int], *, lower: bool
) -> MeasurePair:
    samples, seed = draws
    paired: Paired = paired_bootstrap(b, a, len(rows), samples=samples, seed=seed)
    better = 1 - paired.higher - paired.equal if lower else paired.higher
    return MeasurePair(
        a=a(rows),
        b=b(rows),
        difference=paired.difference,
        interval=(paired.low, paired.high),
        b_better=max(0.0, better),
    )


def _ids_missing_in(other: Predictions, p: Predictions) -> list[str]:
    """Ids that `p` has and `other` lacks, in the order of `p`."""
    ids = set(other.ids)
    return [photo_id for photo_id in p.ids if photo_id not in ids]


def _missing_message(only: tuple[list[str], list[str]], names: tuple[str, str]) -> str:
    parts = [
        f"{len(ids)} queries are only in {name}: {', '.join(map(repr, ids[:MAX_LISTED]))}"
        + (", …" if len(ids) > MAX_LISTED else "")
        for ids, name in zip(only, names, strict=True)
        if ids
    ]
    return f"{'; '.join(parts)}. Compare runs on the same queries, or leave these out: --common"


def _aligned(
    a: Predictions, b: Predictions, names: tuple[str, str]
) -> tuple[Predictions, Predictions]:
    """Both runs, with only the queries that both have, in the order of `a`."""
    row_of = {photo_id: row for row, photo_id in enumerate(b.ids)}
    rows = [row for row, photo_id in enumerate(a.ids) if photo_id in row_of]
    if not rows:
        raise DataError(f"{names[0]} and {names[1]} have no query in common")
    a = _select(a, np.array(rows))
    b = _select(b, np.array([row_of[photo_id] for photo_id in a.ids]))
    if len(different := np.flatnonzero(a.truth != b.truth)):
        row = different[0]
        raise DataError(
            f"{len(different)} queries have different truths, such as {a.ids[row]!r}: "
            f"{a.truth[row]!r} in {names[0]}, {b.truth[row]!r} in {names[1]}; "
            "evaluate both runs on the same table"
        )
    return a, b


def _select(p: Predictions, rows: NDArray[np.int64]) -> Predictions:
    columns: dict[str, Any] = {
        field.name: getattr(p, field.name)[rows] for field in dataclasses.fields(p)
    }
    return Predictions(**columns)


def _changed(
    a: Predictions,
    b: Predictions,
    right: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    titles: Mapping[str, str] | None,
) -> ChangedQueries:
    before, after = right
    fixed, broken = np.flatnonzero(after & ~before), np.flatnonzero(before & ~after)

    def first(rows: NDArray[np.int64]) -> list[dict[str, str]]:
        return [
            {
                "id": a.ids[row],
                "path": a.path[row],
                "truth": _truth_text(a, row, titles),
                "a": _answer_text(a, row, titles),
                "b": _answer_text(b, row, titles),
            }
            for row in rows[:MAX_LISTED]
        ]

    return ChangedQueries(
        fixed=len(fixed),
        broken=len(broken),
        first_fixed=first(fixed),
        first_broken=first(broken),
    )


def _truth_text(p: Predictions, row: int, titles: Mapping[str, str] | None) -> str:
    names = [titles.get(name, name) for name in true_landmarks(p.truth[row])] if titles else []
    return " or ".join(names) or str(p.truth[row])


def _answer_text(p: Predictions, row: int, titles: Mapping[str, str] | None) -> str:
    """The best guess, and what was decided; in words where there are titles."""
    if titles is None:
        return f"{p.guess[row] or 'no guess'} ({p.decision[row]})"
    guess = titles.get(p.guess[row], p.guess[row]) or "no guess"
    decided = {"landmark": "named", "uncertain": "not sure, so not named"}
    return f"{guess} ({decided.get(p.decision[row], 'taken for no landmark')})"
