"""Two runs on the same questions: which is better, how sure is that, and what changed?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError
from ..metrics.bootstrap import Paired, paired_bootstrap
from ..metrics.calibration_error import calibration_error_of_draws
from ..metrics.open_set import auroc_of_draws
from ..metrics.ranking import gap_of_draws
from .predictions import Predictions, read_predictions

SHOWN = 10  # photos listed of each kind of change

Measure = Callable[[NDArray[np.int64]], float]  # rows drawn with replacement → value


@dataclass(frozen=True, kw_only=True)
class MeasurePair:
    """One number of both runs. difference: b − a, with its 95 % interval over paired draws of the
    queries; b_better: share of draws in which b is better (lower, for the calibration error)."""

    a: float
    b: float
    difference: float
    interval: tuple[float, float]
    b_better: float


@dataclass(frozen=True, kw_only=True)
class ChangedQueries:
    """Queries that were wrong in a and are right in b, and back; the first ones with paths."""

    fixed: int
    broken: int
    first_fixed: list[dict[str, str]]
    first_broken: list[dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `compare` finds.

    only_in_a, only_in_b: queries left out because the other file lacks them; known_in_one:
    queries whose landmark only one of the two galleries has (each GAP has its own M).
    measures: of the numbers that are defined on both, in the words of Scores.
    guesses: known queries (of both) by their best guess; answers: all queries, by whether a
    known landmark was named, or nothing where there was none to name.
    """

    queries: int
    only_in_a: int
    only_in_b: int
    known_in_one: int
    measures: dict[str, MeasurePair]
    guesses: ChangedQueries
    answers: ChangedQueries


def compare_files(a: Path, b: Path, *, common: bool = False) -> Comparison:
    """Compare two predictions.csv. Raises DataError as `compare` and `read_predictions` do."""
    return compare(read_predictions(a), read_predictions(b), names=(str(a), str(b)), common=common)


def compare(
    a: Predictions,
    b: Predictions,
    *,
    names: tuple[str, str] = ("a", "b"),
    common: bool = False,
    samples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Both on the same queries, which may stand in any order.

    common: leave out (and count) queries that only one has; otherwise they are an error.
    Raises DataError when a query is in one only, when none is in both, or when an id has
    another truth in b.
    """
    only = _only(a, b), _only(b, a)
    if not common and any(only):
        raise DataError(_missing(only, names))
    a, b = _aligned(a, b, names)
    rows = np.arange(len(a))
    both = a.known & b.known
    one, other = _measures(a), _measures(b)
    measures = {
        name: _compared(one[name], other[name], rows, (samples, seed), lower=lower)
        for name, lower in LOWER_IS_BETTER.items()
        if name in one and name in other
    }
    return Comparison(
        queries=len(a),
        only_in_a=len(only[0]),
        only_in_b=len(only[1]),
        known_in_one=int((a.known != b.known).sum()),
        measures=measures,
        guesses=_changed(a, b, a.right & both, b.right & both),
        answers=_changed(a, b, a.well, b.well),
    )


LOWER_IS_BETTER = {
    "gap": False, "top1": False, "accuracy": False, "auroc_no_landmark": False,
    "auroc_unknown": False, "calibration_error": True,
}  # fmt: skip


def _measures(p: Predictions) -> dict[str, Measure]:
    """The numbers that are defined on these queries, each a function of drawn rows."""
    found: dict[str, Measure] = {"accuracy": _share_of_draws(p.well, np.ones(len(p), dtype=bool))}
    guessed = np.flatnonzero(p.predicted)
    if len(guessed):
        found["calibration_error"] = _of_guessed(p)
    if p.known.any():
        found["gap"] = gap_of_draws(p.score, p.right, p.known, predicted=p.predicted)
        found["top1"] = _share_of_draws(p.right, p.known)
        for name, others in (("no_landmark", p.no_landmark), ("unknown", p.unknown)):
            if others.any():
                found[f"auroc_{name}"] = auroc_of_draws(p.ranked_score, p.known, others)
    return found


def _share_of_draws(right: NDArray[np.bool_], of: NDArray[np.bool_]) -> Measure:
    """Share of the drawn queries of a kind that are right."""

    def share(rows: NDArray[np.int64]) -> float:
        drawn = rows[of[rows]]
        if not len(drawn):
            raise DataError("a share is undefined without a query")
        return float(right[drawn].mean())

    return share


def _of_guessed(p: Predictions) -> Measure:
    """Calibration error of the drawn queries that have a guess."""
    guessed, place = np.flatnonzero(p.predicted), np.cumsum(p.predicted) - 1
    error = calibration_error_of_draws(p.confidence[guessed], p.right[guessed])

    def of(rows: NDArray[np.int64]) -> float:
        drawn = place[rows[p.predicted[rows]]]
        if not len(drawn):
            raise DataError("the calibration error is undefined without a guess")
        return error(drawn)

    return of


def _compared(
    a: Measure, b: Measure, rows: NDArray[np.int64], draws: tuple[int, int], *, lower: bool
) -> MeasurePair:
    samples, seed = draws
    paired: Paired = paired_bootstrap(b, a, len(rows), samples=samples, seed=seed)
    better = 1 - paired.higher - paired.equal if lower else paired.higher
    return MeasurePair(
        a=a(rows), b=b(rows), difference=paired.difference,
        interval=(paired.low, paired.high), b_better=max(0.0, better),
    )  # fmt: skip


def _only(a: Predictions, b: Predictions) -> list[str]:
    """Ids that only a has, in its order."""
    others = set(b.ids)
    return [photo_id for photo_id in a.ids if photo_id not in others]


def _missing(only: tuple[list[str], list[str]], names: tuple[str, str]) -> str:
    parts = [
        f"{len(ids)} queries are only in {name}: {_listed(ids)}"
        for ids, name in zip(only, names, strict=True)
        if ids
    ]
    return f"{'; '.join(parts)}. Compare runs on the same queries, or leave these out: --common"


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(map(repr, ids[:SHOWN])) + (", …" if len(ids) > SHOWN else "")


def _aligned(
    a: Predictions, b: Predictions, names: tuple[str, str]
) -> tuple[Predictions, Predictions]:
    """Both cut to the queries they share, in the order of a."""
    row_of = {photo_id: row for row, photo_id in enumerate(b.ids)}
    rows = [row for row, photo_id in enumerate(a.ids) if photo_id in row_of]
    if not rows:
        raise DataError(f"{names[0]} and {names[1]} have no query in common")
    a = _taken(a, np.array(rows))
    b = _taken(b, np.array([row_of[photo_id] for photo_id in a.ids]))
    if len(different := np.flatnonzero(a.truth != b.truth)):
        row = different[0]
        raise DataError(
            f"{len(different)} queries have different truths, such as {a.ids[row]!r}: "
            f"{a.truth[row]!r} in {names[0]}, {b.truth[row]!r} in {names[1]}; "
            "evaluate both runs on the same table"
        )
    return a, b


def _taken(p: Predictions, rows: NDArray[np.int64]) -> Predictions:
    columns: dict[str, Any] = {
        field.name: getattr(p, field.name)[rows] for field in dataclasses.fields(p)
    }
    return Predictions(**columns)


def _changed(
    a: Predictions, b: Predictions, before: NDArray[np.bool_], after: NDArray[np.bool_]
) -> ChangedQueries:
    fixed, broken = np.flatnonzero(after & ~before), np.flatnonzero(before & ~after)

    def first(rows: NDArray[np.int64]) -> list[dict[str, str]]:
        return [
            {"id": a.ids[row], "path": a.path[row], "truth": a.truth[row], "a": _said(a, row),
             "b": _said(b, row)}
            for row in rows[:SHOWN]
        ]  # fmt: skip

    return ChangedQueries(fixed=len(fixed), broken=len(broken), first_fixed=first(fixed),
                   first_broken=first(broken))  # fmt: skip


def _said(p: Predictions, row: int) -> str:
    return f"{p.guess[row] or 'no guess'} ({p.decision[row]})"
