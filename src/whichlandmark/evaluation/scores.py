"""Scores: all measures of an evaluation; and those that need only the predictions.

The report and the comparison of two runs use the same functions, so that numbers agree.
"""

from __future__ import annotations

import dataclasses
import difflib
import time
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.figures import require_pandas
from ..core.files import read_json
from ..core.html import html_table
from ..core.types import true_landmarks
from ..metrics.bootstrap import bootstrap_interval
from ..metrics.calibration_error import RiskCoverage, calibration_error, risk_coverage
from ..metrics.open_set import answered_share, auroc, threshold_at
from ..metrics.ranking import gap, gap_authors, gap_of_draws, recall_at_k
from .predictions import Predictions, gap_by_usage

MAX_HINTS = 5  # names listed in a note

FALSE_ANSWER_RATES = (0.01, 0.05)  # on non-landmark queries, for `answered_at`


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Results of one evaluation. A *known* query shows a landmark of the gallery.

    For a query with several true landmarks, any of them is right; it is known when one of them is.
    All measures but intervals and counts are in [0, 1]; None = not measured, because there is no
    query of that kind; `notes` says why. Formulas and papers are in `whichlandmark.metrics`.

    Attributes:
        summary: The answers as a sentence: "22 of 30 named rightly, 8 refused, 0 named wrongly; of
            40 others 1 was named".
        notes: What the numbers do not say, and why some are missing.
        gap: Global average precision (Perronnin et al., CVPR 2009), M = known queries; an unknown
            landmark counts as no landmark (any guess is wrong).
        gap_interval: Its 95 % confidence interval, (low, high), by 1,000 bootstrap draws of the
            queries.
        gap_authors: The same GAP with ties ordered by id, as the data set's authors do.
        gap_landmark_queries: GAP over the known queries alone.
        gap_all_landmarks: GAP with M = all queries with a true landmark, as Google's test set
            counts. Landmarks outside the gallery cannot be found, so it cannot exceed `coverage`.
        coverage: Share of the landmark queries that are known.
        top1: Share of known queries whose best guess is right, whatever the decision.
        accuracy: Share of queries answered correctly: a known landmark is named, or the query
            shows none and none is named.
        recall_at_1: Share of known queries whose nearest photo is a right one …
        recall_at_5: … with a right photo among the 5 nearest …
        recall_at_10: … and among the 10 nearest.
        map_at_100: Mean average precision of the 100 gallery photos with the highest cosine, over
            the known queries (Weyand et al., CVPR 2020).
        auroc_no_landmark: Probability that a known query scores above a query without a landmark;
            queries without a guess score lowest …
        auroc_unknown: … and above a query of an unknown landmark.
        calibration_error: Expected calibration error of the confidence in 15 bins of equally many
            queries, over the queries with a guess (Naeini et al., AAAI 2015); 0 is best.
        risk_coverage_area: Area under the risk–coverage curve of the confidence, over the same
            queries (Geifman et al., ICLR 2019); 0 is best.
        answered_at: Rate, "0.01" or "0.05" → share of known queries whose score reaches the
            threshold that this share of the non-landmark queries reaches. For diagnosis only,
            because the threshold is chosen on the evaluated queries.
        gap_by_score: Name of another score → its GAP.
        by_tier: Tier → "queries", "known", their "top1", and their "gap", ranked together with all
            queries that show no known landmark.
        gap_by_usage: Usage ("Public", "Private") → gap_all_landmarks, each ranked separately, as
            Kaggle does …
        queries_by_usage: … → number of its queries …
        landmarks_by_usage: … → and of those with a landmark.
        queries: Number of scored queries, the sum of the next three …
        known: … that show a landmark of the gallery …
        unknown: … another landmark …
        no_landmark: … or none.
        unreadable: Number of queries that could not be read; they are scored without a guess.
        leaked: Number of queries left out because they are in the gallery.
        leaked_by: What is equal ("id", "content", "look" = perceptual hash) → number of these.
        seconds: Duration of the evaluation.
        protocol: The settings that the numbers depend on: embedder, score, gallery, distractors ….
    """

    summary: str = ""
    notes: list[str] = field(default_factory=list)
    gap: float | None = None
    gap_interval: tuple[float, float] | None = None
    gap_authors: float | None = None
    gap_landmark_queries: float | None = None
    gap_all_landmarks: float | None = None
    coverage: float | None = None
    top1: float | None = None
    accuracy: float | None = None
    recall_at_1: float | None = None
    recall_at_5: float | None = None
    recall_at_10: float | None = None
    map_at_100: float | None = None
    auroc_no_landmark: float | None = None
    auroc_unknown: float | None = None
    calibration_error: float | None = None
    risk_coverage_area: float | None = None
    answered_at: dict[str, float] = field(default_factory=dict)
    gap_by_score: dict[str, float | None] = field(default_factory=dict)
    by_tier: dict[str, dict[str, float | None]] = field(default_factory=dict)
    gap_by_usage: dict[str, float] = field(default_factory=dict)
    queries_by_usage: dict[str, int] = field(default_factory=dict)
    landmarks_by_usage: dict[str, int] = field(default_factory=dict)
    queries: int
    known: int
    unknown: int
    no_landmark: int
    unreadable: int
    leaked: int
    leaked_by: dict[str, int] = field(default_factory=dict)
    seconds: float
    protocol: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """The sentence, GAP and top-1; `to_dict` has every number."""
        parts = [self.summary or f"{self.queries} queries"]
        for words, value in (("GAP", self.gap), ("top-1", self.top1)):
            parts += [] if value is None else [f"{words} {value:.3f}"]
        return "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Every number by its name, as `whichlandmark evaluate --json` prints them."""
        return asdict(self)

    def to_pandas(self) -> Any:
        """The numbers that are single as a pandas Series.

        Raises:
            OptionError: When pandas is not installed.
        """
        return require_pandas().Series(self._single())

    def _single(self) -> dict[str, float | int | None]:
        single = (int, float, type(None))
        return {name: value for name, value in self.to_dict().items() if isinstance(value, single)}

    def __repr__(self) -> str:
        return (
            f"Scores({_shown(self.gap)} GAP, {_shown(self.top1)} top-1; {self.queries} queries: "
            f"{self.known} known, {self.unknown} unknown, {self.no_landmark} without a landmark)"
        )

    def _repr_html_(self) -> str:
        return html_table([(name, _shown(value)) for name, value in self._single().items()])


def _shown(value: float | int | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def prediction_scores(p: Predictions) -> dict[str, Any]:
    """The fields of Scores that need only the predictions."""
    known, landmark = int(p.known.sum()), p.truth != ""
    landmarks = int(landmark.sum())
    curve = risk_curve(p)
    no_landmark, unknown = aurocs(p)
    ranks = p.rank[p.known]
    recalls = {f"recall_at_{k}": recall_at_k(ranks, k) if known else None for k in (1, 5, 10)}
    return recalls | {
        "summary": answers_in_words(p),
        "gap": gap_of(p),
        "gap_interval": gap_interval(p),
        "gap_authors": _gap_authors(p),
        "gap_landmark_queries": _gap_of_rows(p, p.known),
        "gap_all_landmarks": gap(p.score, p.right, landmarks, predicted=p.predicted)
        if known
        else None,
        "coverage": known / landmarks if landmarks else None,
        "top1": float(p.right[p.known].mean()) if known else None,
        "accuracy": float(p.answered_correctly.mean()) if len(p) else None,
        "auroc_no_landmark": no_landmark,
        "auroc_unknown": unknown,
        "calibration_error": error_of_confidence(p),
        "risk_coverage_area": curve.area if curve else None,
        "answered_at": answered_at(p),
        "by_tier": by_tier(p),
        "gap_by_usage": gap_by_usage(p),
        "queries_by_usage": p.count_by_usage(),
        "landmarks_by_usage": p.count_by_usage(landmark),
        "queries": len(p),
        "known": known,
        "unknown": landmarks - known,
        "no_landmark": len(p) - landmarks,
    }


def scores_file(
    scores: Scores,
    p: Predictions,
    *,
    titles: Mapping[str, str],
    gallery_photos: Mapping[str, int],
    made: Mapping[str, str],
) -> dict[str, Any]:
    """The content of the .scores.json beside the predictions, which a report reads.

    titles, gallery_photos: label → title, and number of photos in the gallery, of its landmarks.
    made: what was evaluated: "questions", "recognizer".
    """
    import whichlandmark

    when = {"date": time.strftime("%Y-%m-%d %H:%M"), "whichlandmark": whichlandmark.__version__}
    cells = {*p.guess, *p.truth}
    names = sorted({name for cell in cells for name in true_landmarks(cell)})
    return {
        **dataclasses.asdict(scores),
        "made": {**made, **when},
        "titles": {name: titles[name] for name in names if name in titles},
        "gallery_photos": {n: gallery_photos[n] for n in names if n in gallery_photos},
    }


def stored_titles(predictions: Path) -> dict[str, str]:
    """Label → title, as `evaluate` noted them beside a predictions.csv; {} = nothing is there."""
    path = predictions.with_suffix(".scores.json")
    titles = read_json(path).get("titles", {}) if path.exists() else {}
    return {str(label): str(title) for label, title in dict(titles).items()}


def answers_in_words(p: Predictions) -> str:
    """How the queries were answered, as a sentence of counts."""
    named, unread = p.decision == "landmark", p.unreadable
    known, right = int(p.known.sum()), int((named & p.right).sum())
    wrong, lost = int((named & p.known & ~p.right).sum()), int((unread & p.known).sum())
    others, named_others = len(p) - known, int((named & ~p.known).sum())
    lost_others = int((unread & ~p.known).sum())
    were = f"{named_others or 'none'} {'was' if named_others == 1 else 'were'} named"
    if not known:
        first = f"none of {len(p)} shows a landmark of the gallery; of these {were}"
        return first + (f", {lost_others} not readable" if lost_others else "")
    first = f"{right} of {known} named rightly, {known - right - wrong - lost} refused"
    first += f", {wrong} named wrongly" + (f", {lost} not readable" if lost else "")
    if not others:
        return f"{first}; there were no others"
    last = f", {lost_others} not readable" if lost_others else ""
    return f"{first}; of {others} others {were}{last}"


def what_is_not_measured(p: Predictions, names: Sequence[str]) -> list[str]:
    """What the scores of these queries cannot say, each as a sentence.

    names: the landmarks of the gallery.
    """
    known, notes = int(p.known.sum()), []
    shown = sorted({one for cell in p.truth[p.known] for one in true_landmarks(cell)})
    if not known:
        notes.append(
            f"0 of {len(p)} queries show a landmark of this gallery, so GAP, top-1 and recall are "
            "not measured"
        )
    elif len(names) == 1:
        notes.append(
            "the gallery has one landmark: GAP and top-1 cannot tell whether it is confused with "
            "another" + ("" if known < len(p) else "; ask photos of other things too")
        )
    elif len(set(shown)) == 1:
        notes.append(
            f"all known queries show one landmark ({shown[0]}): the numbers say nothing of the "
            f"other {len(names) - 1}"
        )
    if known == len(p):
        notes.append(
            "every query shows a landmark of the gallery: how often other photos are named is not "
            "measured; add photos of other things (landmark empty) to the queries"
        )
    return notes + _likely_typos(p, names)


def _likely_typos(p: Predictions, names: Sequence[str]) -> list[str]:
    """Names of the queries that the gallery lacks, though it has one nearly the same."""
    missing = Counter(one for cell in p.truth[p.unknown] for one in true_landmarks(cell))
    plain = {_plain_name(name): name for name in names}
    hints = []
    for name, queries in missing.most_common():
        near = difflib.get_close_matches(_plain_name(name), plain, n=1, cutoff=0.75)
        if near:
            hints.append(f"{name!r} ({queries}): the gallery has {plain[near[0]]!r}")
    if hints:
        more = f"; and {len(hints) - MAX_HINTS} more" if len(hints) > MAX_HINTS else ""
        listed = "; ".join(hints[:MAX_HINTS])
        return [f"are these names spelled as in the gallery? {listed}{more}"]
    if missing and not p.known.any():
        first, have = (", ".join(map(repr, some[:MAX_HINTS])) for some in (sorted(missing), names))
        return [f"the queries name {first}; the gallery has {have or 'no landmark'}"]
    return []


def _plain_name(name: str) -> str:
    """A name as it is compared: without case, accents, and what separates words."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in letters if letter.isalnum())


def gap_of(p: Predictions) -> float | None:
    """GAP with M = known queries; None without a known query."""
    return _gap_of_rows(p, np.ones(len(p), dtype=bool))


def gap_interval(p: Predictions) -> tuple[float, float] | None:
    """95 % confidence interval of `gap_of`, by the bootstrap over queries."""
    if not p.known.any():
        return None
    gap_of_draw = gap_of_draws(p.score, p.right, p.known, predicted=p.predicted)
    return bootstrap_interval(gap_of_draw, len(p))


def _gap_of_rows(p: Predictions, rows: NDArray[np.bool_]) -> float | None:
    known = int((p.known & rows).sum())
    if not known:
        return None
    return gap(p.score[rows], p.right[rows], known, predicted=p.predicted[rows])


def _gap_authors(p: Predictions) -> float | None:
    if not p.known.any():
        return None
    guessed = p.predicted
    return gap_authors(
        p.score[guessed],
        p.right[guessed],
        int(p.known.sum()),
        ids=p.ids[guessed].tolist(),
        classes=p.guess[guessed].tolist(),
    )


def aurocs(p: Predictions) -> tuple[float | None, float | None]:
    """AUROC of known queries against non-landmark queries, and against unknown landmarks."""

    def against(others: NDArray[np.bool_]) -> float | None:
        defined = p.known.any() and others.any()
        return auroc(p.ranked_score[p.known], p.ranked_score[others]) if defined else None

    return against(p.no_landmark), against(p.unknown)


def error_of_confidence(p: Predictions) -> float | None:
    """Calibration error in bins of equally many queries, over the queries with a guess."""
    guessed = p.predicted
    return (
        calibration_error(p.confidence[guessed], p.right[guessed])
        if guessed.any() and p.known.any()
        else None
    )


def risk_curve(p: Predictions) -> RiskCoverage | None:
    """Share of wrong guesses as the required confidence falls, over the queries with a guess."""
    guessed = p.predicted
    return (
        risk_coverage(p.confidence[guessed], p.right[guessed])
        if guessed.any() and p.known.any()
        else None
    )


def answered_at(p: Predictions) -> dict[str, float]:
    """Rate → share of known queries above the threshold that this share of others reaches."""
    if not (p.known.any() and p.no_landmark.any()):
        return {}
    known, none = p.ranked_score[p.known], p.ranked_score[p.no_landmark]
    # A query without a guess is never answered, even when the threshold is −∞.
    guessed = known[known > -np.inf]
    if not len(guessed):
        return {str(rate): 0.0 for rate in FALSE_ANSWER_RATES}
    return {
        str(rate): answered_share(guessed, threshold_at(rate, none)) * len(guessed) / len(known)
        for rate in FALSE_ANSWER_RATES
    }


def by_tier(p: Predictions) -> dict[str, dict[str, float | None]]:
    """Tier → its queries, known queries, top1 and GAP; sorted, without the blank tier."""
    found: dict[str, dict[str, float | None]] = {}
    for tier in sorted(set(p.tier) - {""}):
        in_tier = np.asarray(p.tier == tier, dtype=bool)
        known = in_tier & p.known
        found[tier] = {
            "queries": int(in_tier.sum()),
            "known": int(known.sum()),
            "top1": float(p.right[known].mean()) if known.any() else None,
            "gap": _gap_of_rows(p, known | ~p.known),
        }
    return found
