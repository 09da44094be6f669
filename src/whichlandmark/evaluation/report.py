"""Write the evaluation report: one self-contained HTML page with scores, plots and example queries.

Style and pictures are inside the page; it has no script and loads no URL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any
from unicodedata import bidirectional

import numpy as np

from ..core.figures import require_matplotlib
from ..core.files import read_json, write_text
from ..core.html import credit_html, render
from ..core.images import thumbnail
from ..core.types import true_landmarks
from ..gallery.records import Credit
from ..recognition.folder.maintain import credits_at
from .plots import precision_recall_plot, reliability_plot, risk_coverage_plot, score_histogram
from .predictions import Predictions, read_predictions
from .scores import prediction_scores

FEW_PHOTOS = 5  # with fewer photos in the gallery, a landmark is often refused

MAX_NAMES = 6  # landmarks listed in a sentence


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Additional contents of the page, and sizes.

    protocol: name → value, the settings of the evaluation. scores: name → value, other numbers to
    show. made: name → value, of when and on what the evaluation ran. notes: what the numbers do not
    say. titles: label → title of a landmark. gallery_photos: label → its photos in the gallery.
    recognizer: its folder, for the credits of gallery photos, "" = none.
    pairs_per_grid: maximum. landmarks: maximum rows of the table of landmarks, which has the worst
    ones.
    """

    title: str = "Landmark recognition"
    protocol: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    made: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    titles: Mapping[str, str] = field(default_factory=dict)
    gallery_photos: Mapping[str, int] = field(default_factory=dict)
    recognizer: str = ""
    pairs_per_grid: int = 9
    landmarks: int = 300

    def name(self, cell: str) -> str:
        """The title of a landmark, or of several with "or" between them; "" stays ""."""
        return " or ".join(self.titles.get(one, one) for one in true_landmarks(cell))


@dataclass(frozen=True)
class PhotoPair:
    """A query and its nearest gallery photo, ready to print.

    query, nearest: data: URIs of the pictures, "" = the file cannot be read. file: name of the
    query's file with its folder, or its id. verdict, kind: what became of the query, in words, and
    as the color: "right", "wrong" or "refused". answer: what was named, "" = nothing; guess: the
    likeliest landmark of a query for which nothing was named. shows: the true landmarks. credit: of
    the gallery photo, as HTML.
    """

    id: str
    file: str
    query: str
    nearest: str
    nearest_id: str
    similarity: str
    verdict: str
    kind: str
    answer: str
    guess: str
    shows: str
    score: str
    confidence: str
    credit: str


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
        f"GAP by {name}": "not measured" if value is None else f"{value:.3f}"
        for name, value in stored.get("gap_by_score", {}).items()
    }
    made = {"predictions": str(predictions), **stored.get("made", {})}
    options = ReportOptions(
        title=title, protocol=stored.get("protocol", {}), scores=gaps, made=made,
        notes=stored.get("notes", ()), titles=stored.get("titles", {}),
        gallery_photos=stored.get("gallery_photos", {}), recognizer=made.get("recognizer", ""),
    )  # fmt: skip
    write_report(read_predictions(predictions), out, options)


def write_report(
    predictions: Predictions, path: str | Path, options: ReportOptions | None = None
) -> None:
    """Write the page, atomically. A photo that cannot be read gets a placeholder.

    The same predictions, photos and options give the same bytes. Raises DataError when a
    score is NaN, OptionError without matplotlib.
    """
    options = options or ReportOptions()
    table = _landmarks(predictions, options)
    numbers = prediction_scores(predictions)
    page = render(
        "report.html",
        title=options.title,
        summary=numbers["summary"],
        made=options.made,
        advice=[*options.notes, *_advice(predictions, options)],
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
    """The grids, by what was decided: named wrongly, refused, named rightly, rightly not named.

    No query is in two grids; one that could not be read is in none.
    """
    order = np.lexsort((p.ids.astype(str), -p.score, -p.confidence))
    order = order[~p.unreadable[order]]
    named, n = np.asarray(p.decision == "landmark", dtype=bool), options.pairs_per_grid
    right = order[(named & p.right)[order]]
    last = max(n, len(right) - n)
    grids = [
        ("Named wrongly", "Another landmark was named, or one though the photo shows none of the "
         "gallery; the most confident first.", order[(named & ~p.right)[order]][:n]),
        ("Refused, though the gallery has the landmark", "No name was given to these photos of "
         "landmarks of the gallery; those closest to being named first.",
         order[(~named & p.known)[order]][:n]),
        ("Named rightly, the least sure", "The lowest confidences of all right names. A higher "
         "threshold loses these first.", right[last:][::-1] if len(right) > n else right[:0]),
        ("Named rightly, the surest", "The highest confidences of all right names.", right[:n]),
        ("Rightly not named", "Photos of nothing that the gallery has, and nothing was named; "
         "those closest to being named first.", order[(~named & ~p.known)[order]][:n]),
    ]  # fmt: skip
    shown = {p.nearest[row]: p.nearest_path[row] for *_, rows in grids for row in rows}
    credits = credits_at(options.recognizer, shown) if options.recognizer else {}
    return [
        PhotoGrid(title, explanation, [_pair(p, int(row), options, credits) for row in rows])
        for title, explanation, rows in grids
    ]


def _pair(
    p: Predictions, row: int, options: ReportOptions, credits: Mapping[str, Credit]
) -> PhotoPair:
    known, named = bool(p.known[row]), p.decision[row] == "landmark"
    if named and p.right[row]:
        verdict, kind = "✓ named rightly", "right"
    elif named:
        verdict = "✕ named wrongly" if known else "✕ named, though the gallery lacks what it shows"
        kind = "wrong"
    elif not known:
        verdict, kind = "✓ rightly not named", "right"
    else:
        guess = "right" if p.right[row] else "wrong"
        why = "not sure" if p.decision[row] == "uncertain" else "taken for no landmark"
        verdict, kind = f"– refused: {why}; the likeliest is {guess}", "refused"
    shows, guess = options.name(p.truth[row]), options.name(p.guess[row])
    if shows and not known:
        shows += " (not in the gallery)"
    return PhotoPair(
        id=p.ids[row],
        file="/".join(PurePath(p.path[row]).parts[-2:]) or p.ids[row],
        query=thumbnail(p.path[row]),
        nearest=thumbnail(p.nearest_path[row]),
        nearest_id=p.nearest[row],
        similarity=_number(p.similarity[row]),
        verdict=verdict,
        kind=kind,
        answer=guess if named else "",
        guess="" if named else guess,
        shows=shows or "no landmark",
        score=_number(p.score[row]),
        confidence=f"{p.confidence[row]:.2f}",
        credit=credit_html(*credits.get(p.nearest[row], ("", "", "", ""))),
    )


def _advice(p: Predictions, options: ReportOptions) -> list[str]:
    """What to do about what the page shows, each as a sentence."""
    named = np.asarray(p.decision == "landmark", dtype=bool)
    refused = p.known & ~named & ~p.unreadable
    advice = []
    if lost := int(p.unreadable.sum()):
        advice.append(f"{_photos(lost)} could not be read: mend or remove what `evaluate` lists")
    by_landmark = Counter(_name(options, cell) for cell in p.truth[refused])
    have = {_name(options, label): count for label, count in options.gallery_photos.items()}
    few = {name: n for name, n in by_landmark.items() if have.get(name, FEW_PHOTOS) < FEW_PHOTOS}
    if few:
        listed = _listed([f"{name} ({have[name]})" for name in sorted(few, key=have.__getitem__)])
        advice.append(
            f"{sum(few.values())} refused {'photo is' if sum(few.values()) == 1 else 'photos are'} "
            f"of {_landmarks_in_words(len(few))} with fewer than {FEW_PHOTOS} photos in the "
            f"gallery: add photos of {listed}"
        )
    if rest := by_landmark - Counter(few):
        listed = _listed([f"{name} ({count})" for name, count in rest.most_common()])
        advice.append(
            f"{_photos(sum(rest.values()))} of {_landmarks_in_words(len(rest))} "
            f"{'was' if sum(rest.values()) == 1 else 'were'} refused: {listed}; photos taken from "
            "the same sides, at other times of day, help most"
        )
    mixed = Counter(
        (_name(options, truth), _name(options, guess))
        for truth, guess in zip(
            p.truth[p.known & named & ~p.right], p.guess[p.known & named & ~p.right], strict=True
        )
    )
    if mixed:
        listed = _listed([f"{a} as {b} ({count})" for (a, b), count in mixed.most_common()])
        advice.append(
            f"{_photos(sum(mixed.values()))} got a wrong name: {listed}; look whether their labels "
            "are right, then add photos of both"
        )
    kinds = (
        (p.unknown, "of landmarks that the gallery lacks", "add these landmarks"),
        (p.no_landmark, "without a landmark", "add photos like them to the gallery as distractors"),
    )
    for kind, what, todo in kinds:
        if wrong := int((named & kind).sum()):
            were = "was" if wrong == 1 else "were"
            advice.append(f"{wrong} of {_photos(int(kind.sum()))} {what} {were} named: {todo}")
    return advice


def _name(options: ReportOptions, cell: str) -> str:
    """A name within a sentence; one written from right to left is isolated from what follows."""
    name = options.name(cell)
    from_right = any(bidirectional(letter) in ("R", "AL") for letter in name)
    return f"\u2068{name}\u2069" if from_right else name


def _photos(count: int) -> str:
    return f"{count} photo{'' if count == 1 else 's'}"


def _landmarks_in_words(count: int) -> str:
    return f"{count} landmark{'' if count == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    """The first names, and the number of the others."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def _number(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _landmarks(p: Predictions, options: ReportOptions) -> list[LandmarkRow]:
    """Results per known landmark; sorted by share of right guesses, queries (most first), name."""
    rows_of: dict[str, list[int]] = {}
    for row in np.flatnonzero(p.known):
        rows_of.setdefault(p.truth[row], []).append(int(row))
    all_right, table = p.right, []
    for name, rows in rows_of.items():
        wrong = Counter(p.guess[[row for row in rows if p.predicted[row] and not all_right[row]]])
        confused = min(wrong, key=lambda guess: (-wrong[guess], guess)) if wrong else ""
        right, confidence = int(all_right[rows].sum()), float(p.confidence[rows].mean())
        table.append(
            LandmarkRow(options.name(name), len(rows), right, confidence, options.name(confused))
        )
    return sorted(table, key=lambda row: (row.right / row.queries, -row.queries, row.name))
