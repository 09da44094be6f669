"""Write the evaluation report: one self-contained HTML page with scores, plots and example queries.

Style and pictures are inside the page; it has no script and loads no URL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.figures import require_matplotlib
from ..core.files import read_json, write_text
from ..core.html import render
from ..core.images import thumbnail
from ..core.types import true_landmarks
from .plots import precision_recall_plot, reliability_plot, risk_coverage_plot, score_histogram
from .predictions import Predictions, read_predictions
from .scores import prediction_scores


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Additional contents of the page, and sizes.

    protocol: name → value, the settings of the evaluation. scores: name → value, other numbers to
    show. pairs_per_grid: maximum. landmarks: maximum rows of the table of landmarks, which has the
    worst ones. seed: of the two sampled grids.
    """

    title: str = "Landmark recognition"
    protocol: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    pairs_per_grid: int = 9
    landmarks: int = 300
    seed: int = 0


@dataclass(frozen=True)
class PhotoPair:
    """A query and its nearest gallery photo, ready to print.

    query, nearest: data: URIs of the pictures, "" = the file cannot be read. shows: the true
    landmarks. kind: whether they are in the gallery; printed when the guess is wrong.
    """

    id: str
    query: str
    nearest: str
    nearest_id: str
    similarity: str
    shows: str
    kind: str
    guess: str
    score: str
    confidence: str
    decision: str
    right: bool


@dataclass(frozen=True)
class PhotoGrid:
    """One of the five grids."""

    title: str
    explanation: str
    pairs: list[PhotoPair]


@dataclass(frozen=True)
class AnswerCounts:
    """Numbers of answers to the queries of one kind.

    right, wrong: a landmark was named correctly, or wrongly. uncertain, no_landmark: the decision.
    """

    kind: str
    queries: int
    right: int
    wrong: int
    uncertain: int
    no_landmark: int


@dataclass(frozen=True)
class LandmarkRow:
    """One landmark's results. confidence: mean. confused: most frequent wrong guess, "" = none."""

    name: str
    queries: int
    right: int
    confidence: float
    confused: str


def report_file(predictions: Path, out: Path, *, title: str) -> None:
    """Write the page of a predictions.csv, with the protocol from the .scores.json beside it.

    Raises DataError when the file is not readable, OptionError without matplotlib.
    """
    require_matplotlib("a report")
    scores_file = predictions.with_suffix(".scores.json")
    stored = read_json(scores_file) if scores_file.exists() else {}
    gaps = {
        f"GAP by {name}": f"{value:.3f}" for name, value in stored.get("gap_by_score", {}).items()
    }
    options = ReportOptions(title=title, protocol=stored.get("protocol", {}), scores=gaps)
    write_report(read_predictions(predictions), out, options)


def write_report(
    predictions: Predictions, path: str | Path, options: ReportOptions | None = None
) -> None:
    """Write the page, atomically. A photo that cannot be read gets a placeholder.

    The same predictions, photos and options give the same bytes. Raises DataError when a
    score is NaN, OptionError without matplotlib.
    """
    options = options or ReportOptions()
    table = _landmarks(predictions)
    numbers = prediction_scores(predictions)
    page = render(
        "report.html",
        title=options.title,
        cards=_cards(numbers),
        facts=[*options.protocol.items(), *options.scores.items()],
        answers=_answers(predictions),
        grids=_grids(predictions, options),
        histogram=score_histogram(predictions),
        curve=precision_recall_plot(predictions) if predictions.known.any() else "",
        reliability=reliability_plot(predictions),
        error=numbers["calibration_error"],
        risk=risk_coverage_plot(predictions) if predictions.predicted.any() else "",
        answered_at=numbers["answered_at"],
        tiers=numbers["by_tier"],
        landmarks=table[: options.landmarks],
        landmarks_in_all=len(table),
    )
    write_text(path, page, "page")


def _cards(numbers: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, value, meaning) of the headline numbers."""
    counts = (
        f"{numbers['known']:,} of known landmarks, {numbers['unknown']:,} of unknown landmarks, "
        f"{numbers['no_landmark']:,} of no landmark"
    )
    cards = [("Queries", f"{numbers['queries']:,}", counts)]
    if numbers["known"]:
        low, high = numbers["gap_interval"]
        cards += [
            (
                "GAP",
                f"{numbers['gap']:.3f}",
                f"95 % interval {low:.3f} to {high:.3f}. Global average "
                "precision: 1 = every known landmark is found and ranked above all mistakes.",
            ),
            (
                "Top-1",
                f"{numbers['top1']:.1%}",
                "share of known landmarks whose best guess is right",
            ),
            (
                "Recall@5",
                f"{numbers['recall_at_5']:.1%}",
                "share of known landmarks with a right photo among the five nearest",
            ),
        ]
    cards += [
        (f"GAP, {usage}", f"{value:.3f}", f"over the {usage} queries alone, as Kaggle scores them")
        for usage, value in numbers["gap_by_usage"].items()
    ]
    if numbers["queries"]:
        meaning = "known landmark named correctly, or none named for other photos"
        cards.append(("Answered correctly", f"{numbers['accuracy']:.1%}", meaning))
    return cards + [
        (
            f"AUROC, {words}",
            f"{value:.3f}",
            f"probability that a known landmark scores above {words}",
        )
        for words, value in (
            ("no landmark", numbers["auroc_no_landmark"]),
            ("an unknown one", numbers["auroc_unknown"]),
        )
        if value is not None
    ]


def _answers(p: Predictions) -> list[AnswerCounts]:
    """Count the answers to each kind of query."""
    kinds = [
        ("a known landmark", p.known),
        ("an unknown landmark", p.unknown),
        ("no landmark", p.no_landmark),
    ]
    named = p.decision == "landmark"
    answers = [
        named & p.right,
        named & ~p.right,
        p.decision == "uncertain",
        p.decision == "no_landmark",
    ]
    return [
        AnswerCounts(
            kind, int(of_kind.sum()), *(int((of_kind & answer).sum()) for answer in answers)
        )
        for kind, of_kind in kinds
        if of_kind.any()
    ]


def _grids(p: Predictions, options: ReportOptions) -> list[PhotoGrid]:
    """The five grids: right guesses of highest and lowest score, wrong guesses of highest score,
    and samples of both.

    No query is in two grids, because samples are drawn from queries that the first three lack.
    """
    order = np.lexsort((p.ids.astype(str), -p.score))
    order = order[p.predicted[order]]
    right, wrong = order[p.right[order]], order[~p.right[order]]
    n, rng = options.pairs_per_grid, np.random.default_rng(options.seed)
    last = max(n, len(right) - n)
    upper_half = wrong[n : max(2 * n, len(wrong) // 2)]
    grids = [
        ("Most confident, right", "The highest scores of all right guesses.", right[:n]),
        ("Least confident, right", "The lowest scores of all right guesses, the lowest first. A "
         "threshold on the score loses these first.", right[last:][::-1]),
        ("Most confident, wrong", "The highest scores of all wrong guesses. They harm the ranking "
         "most, because they are above right guesses.", wrong[:n]),
        ("More confident, wrong", "A random sample of the next mistakes, down to the median score "
         "of all mistakes.", _sample(upper_half, n, rng)),
        ("More right", "A random sample of the right guesses between the first two grids.",
         _sample(right[n:last], n, rng)),
    ]  # fmt: skip
    return [
        PhotoGrid(title, explanation, [_pair(p, int(row)) for row in rows])
        for title, explanation, rows in grids
    ]


def _sample(rows: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """A random sample of up to `count` rows, in their order."""
    return rows[np.sort(rng.permutation(len(rows))[:count])]


def _pair(p: Predictions, row: int) -> PhotoPair:
    truth, known = p.truth[row], bool(p.known[row])
    kind = "another landmark of the gallery" if known else "unknown: not in the gallery"
    return PhotoPair(
        id=p.ids[row],
        query=thumbnail(p.path[row]),
        nearest=thumbnail(p.nearest_path[row]),
        nearest_id=p.nearest[row],
        similarity=_number(p.similarity[row]),
        shows=" or ".join(true_landmarks(truth)) or "no landmark",
        kind=kind if truth else "",
        guess=p.guess[row],
        score=_number(p.score[row]),
        confidence=f"{p.confidence[row]:.2f}",
        decision=p.decision[row].replace("_", " "),
        right=bool(p.right[row]),
    )


def _number(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _landmarks(p: Predictions) -> list[LandmarkRow]:
    """Results per known landmark; sorted by share of right guesses, queries (most first), name."""
    rows_of: dict[str, list[int]] = {}
    for row in np.flatnonzero(p.known):
        rows_of.setdefault(p.truth[row], []).append(int(row))
    all_right, table = p.right, []
    for name, rows in rows_of.items():
        wrong = Counter(p.guess[[row for row in rows if p.predicted[row] and not all_right[row]]])
        confused = min(wrong, key=lambda guess: (-wrong[guess], guess)) if wrong else ""
        right, confidence = int(all_right[rows].sum()), float(p.confidence[rows].mean())
        name = " or ".join(true_landmarks(name))
        table.append(LandmarkRow(name, len(rows), right, confidence, confused))
    return sorted(table, key=lambda row: (row.right / row.queries, -row.queries, row.name))
