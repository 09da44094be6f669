"""predictions.csv → one self-contained HTML page: what was right, what was wrong, how sure it was.

No script, nothing fetched: style and pictures are inside the page.
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
from .scores import measured


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What the page says beyond the predictions, and how much of them it shows."""

    title: str = "Landmark recognition"
    protocol: Mapping[str, Any] = field(default_factory=dict)  # what the numbers belong to
    scores: Mapping[str, Any] = field(default_factory=dict)  # other numbers to show
    each: int = 9  # pairs in a grid
    landmarks: int = 300  # rows of the table of landmarks, the worst ones
    seed: int = 0  # of the two sampled grids


@dataclass(frozen=True)
class PhotoPair:
    """A query beside its nearest gallery photo, ready to print."""

    id: str
    query: str  # data: URI, "" = the file is gone
    nearest: str
    nearest_id: str
    similarity: str
    shows: str
    kind: str  # of what it shows, when the guess is wrong
    guess: str
    score: str
    confidence: str
    decision: str
    right: bool


@dataclass(frozen=True)
class PhotoGrid:
    """One of the five grids."""

    title: str
    tells: str
    pairs: list[PhotoPair]


@dataclass(frozen=True)
class AnswerCounts:
    """What was answered to the queries of one kind, as counts."""

    kind: str
    queries: int
    right: int  # named, and rightly
    wrong: int  # named, but wrongly
    uncertain: int
    refused: int  # "no landmark"


@dataclass(frozen=True)
class LandmarkRow:
    """One landmark's results; `confused` is its most frequent wrong guess."""

    name: str
    queries: int
    right: int
    confidence: float
    confused: str


def report_file(predictions: Path, out: Path, *, title: str) -> None:
    """predictions.csv, and the .scores.json that `evaluate` writes beside it, → the page.

    Raises OptionError without matplotlib.
    """
    require_matplotlib("a report")
    beside = predictions.with_suffix(".scores.json")
    stored = read_json(beside) if beside.exists() else {}
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
    numbers = measured(predictions)
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
    write_text(path, page)


def _cards(numbers: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, value, what it is) of the headline numbers."""
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
                f"{low:.3f} to {high:.3f} (95 %). Global average "
                "precision: is what is right ranked first?",
            ),
            ("Top-1", f"{numbers['top1']:.1%}", "best guess right, of known landmarks"),
            (
                "Recall@5",
                f"{numbers['recall_at_5']:.1%}",
                "a right photo among the five nearest, of known landmarks",
            ),
        ]
    cards += [
        (f"GAP, {usage}", f"{value:.3f}", f"of the {usage} queries alone, as Kaggle scores them")
        for usage, value in numbers["gap_by_usage"].items()
    ]
    if numbers["queries"]:
        told = "named rightly, or not named where unknown or none"
        cards.append(("Answered well", f"{numbers['accuracy']:.1%}", told))
    return cards + [
        (f"AUROC, {words}", f"{value:.3f}", f"how often a known landmark scores above {words}")
        for words, value in (
            ("no landmark", numbers["auroc_no_landmark"]),
            ("an unknown one", numbers["auroc_unknown"]),
        )
        if value is not None
    ]


def _answers(p: Predictions) -> list[AnswerCounts]:
    """What was answered to each kind of query."""
    kinds = [("a known landmark", p.known), ("an unknown landmark", p.unknown),
             ("no landmark", p.truth == "")]  # fmt: skip
    named = p.decision == "landmark"
    answers = [
        named & p.right,
        named & ~p.right,
        p.decision == "uncertain",
        p.decision == "no_landmark",
    ]
    return [
        AnswerCounts(kind, int(of.sum()), *(int((of & answer).sum()) for answer in answers))
        for kind, of in kinds
        if of.any()
    ]


def _grids(p: Predictions, options: ReportOptions) -> list[PhotoGrid]:
    """The five grids: by score, the right guesses from both ends, the wrong from the top.

    No query stands in two grids: samples are drawn from what the first three do not show.
    """
    order = np.lexsort((p.ids.astype(str), -p.score))
    order = order[p.predicted[order]]
    right, wrong = order[p.right[order]], order[~p.right[order]]
    n, rng = options.each, np.random.default_rng(options.seed)
    last = max(n, len(right) - n)
    upper_half = wrong[n : max(2 * n, len(wrong) // 2)]
    grids = [
        ("Most confident, right", "The highest scores of all right guesses.", right[:n]),
        ("Least confident, right", "Right guesses that the ranking puts last, the lowest first: "
         "a threshold loses these.", right[last:][::-1]),
        ("Most confident, wrong", "The mistakes that cost most: each pushes right guesses down "
         "the ranking.", wrong[:n]),
        ("More confident, wrong", "Mistakes drawn by chance from the next ones, down to the middle "
         "of all mistakes.", _sample(upper_half, n, rng)),
        ("More right", "Right guesses drawn by chance from between the first two grids.",
         _sample(right[n:last], n, rng)),
    ]  # fmt: skip
    return [
        PhotoGrid(title, tells, [_pair(p, int(row)) for row in rows])
        for title, tells, rows in grids
    ]


def _sample(rows: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Up to `count` of the rows by chance, in their order."""
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
    """Results of each known landmark: the lowest share of right guesses first, then by name."""
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
