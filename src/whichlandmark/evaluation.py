"""Ask a recognizer about photos whose answers are known → predictions and Scores.

What a number means depends on the protocol, so it is stamped on the Scores: which gallery,
which bank, which questions, what was left out.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .embedding import Embedded, Failure, Progress, embed
from .errors import DataError
from .metrics import gap, recall_at_k
from .predictions import Predictions, gap_by_usage
from .recognition import Recognizer
from .scoring import Score, Scorer
from .types import Photos, Vectors, is_true, true_landmarks

DEPTH = 10  # neighbours kept of each query: recall is measured up to there


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Results of one evaluation. A *known* query shows a landmark of the gallery.

    Where a query has several true landmarks, any of them is right; it is known when one is.

    gap: M = known queries; an unknown landmark counts as no landmark (any guess is wrong).
    gap_all_landmarks: M = every query with a true landmark, as Google's test set counts:
      landmarks outside the gallery cannot be found and cap it.
    top1: known queries whose best guess is right, whatever the decision.
    accuracy: queries answered rightly: a known landmark named, or nothing named otherwise.
    recall_at_k: known queries with a right photo among the k nearest.
    gap_by_usage: gap_all_landmarks of each Usage ("Public", "Private") ranked apart, as Kaggle
      does; queries_by_usage, landmarks_by_usage: their queries, and those with a landmark.
    """

    gap: float
    gap_all_landmarks: float
    top1: float
    accuracy: float
    recall_at_1: float
    recall_at_5: float
    recall_at_10: float
    gap_by_score: dict[str, float] = field(default_factory=dict)
    gap_by_usage: dict[str, float] = field(default_factory=dict)
    queries_by_usage: dict[str, int] = field(default_factory=dict)
    landmarks_by_usage: dict[str, int] = field(default_factory=dict)
    queries: int
    known: int
    unknown: int
    no_landmark: int
    unreadable: int
    leaked: int
    seconds: float
    protocol: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predictions in table order, the photos left out and why, and the Scores."""

    predictions: Predictions
    failures: list[Failure]
    leaked: list[str]
    scores: Scores


def examine(
    recognizer: Recognizer,
    photos: Photos,
    *,
    also: Sequence[Score] = (),
    progress: Progress | None = None,
) -> Evaluation:
    """Predict every photo and score it. `also`: other scores whose GAP is wanted beside it.

    A photo whose id or content is in the gallery (bank included) would answer itself: it is
    left out, and listed in `leaked`. An unreadable photo has no prediction; it takes no
    rank, but counts among the photos that show a landmark.
    Raises DataError when no photo is left, or none shows a landmark.
    """
    started = time.monotonic()
    asked = _Questions(recognizer, photos, also)
    for batch in embed(recognizer.embedder, photos, progress=progress):
        asked.add(batch)
    predictions = asked.predictions()
    scores = _scores(predictions, asked, time.monotonic() - started)
    return Evaluation(predictions, asked.failures, asked.leaked, scores)


def evaluate(recognizer: Recognizer, photos: Photos) -> Scores:
    """The Scores of `examine`, for when the single predictions do not matter."""
    return examine(recognizer, photos).scores


class _Questions:
    """Collects the answers batch by batch; vectors are not kept."""

    def __init__(self, recognizer: Recognizer, photos: Photos, also: Sequence[Score]) -> None:
        self.recognizer, self.photos = recognizer, photos
        self.gallery_ids = set(recognizer.table.ids)
        self.gallery_hashes = set(recognizer.table.hashes)
        index = recognizer.index
        self.others = {score: Scorer(index, recognizer.rules.with_score(score)) for score in also}
        self.failures: list[Failure] = []
        self.leaked: list[str] = []
        count = len(photos)
        names = set(index.names)
        self.known = np.array(
            [not names.isdisjoint(true_landmarks(cell)) for cell in photos.landmarks], dtype=bool
        )
        self.kept = np.ones(count, dtype=bool)
        self.score = np.full(count, -np.inf)
        self.confidence = np.zeros(count)
        self.similarity = np.zeros(count)
        self.rank = np.zeros(count, dtype=np.int64)
        text = {name: np.full(count, "", dtype=object) for name in ("guess", "near", "near_path")}
        self.guess, self.nearest, self.nearest_path = text.values()
        self.decision = np.full(count, "no_landmark", dtype=object)
        self.other_scores = {score: np.full(count, -np.inf) for score in also}
        self.other_guesses = {score: np.full(count, "", dtype=object) for score in also}

    def add(self, batch: Embedded) -> None:
        """Answer one batch."""
        self.failures += batch.failures
        inside = np.array(
            [
                self.photos.ids[row] in self.gallery_ids or digest in self.gallery_hashes
                for row, digest in zip(batch.rows, batch.hashes, strict=True)
            ],
            dtype=bool,
        )
        self.kept[batch.rows[inside]] = False
        self.leaked += list(self.photos.ids[batch.rows[inside]])
        rows, vectors = batch.rows[~inside], batch.vectors[~inside]
        if len(rows):
            self._answer(rows, vectors)
            for score, scorer in self.others.items():
                answers = scorer(vectors)
                self.other_scores[score][rows] = answers.scores
                self.other_guesses[score][rows] = self._names(answers.codes)

    def _answer(self, rows: NDArray[np.int64], vectors: Vectors) -> None:
        index = self.recognizer.index
        answers = self.recognizer.scorer(vectors, depth=DEPTH)
        self.guess[rows] = self._names(answers.codes)
        self.score[rows] = answers.scores
        self.confidence[rows] = self.recognizer.confidence(answers)
        self.decision[rows] = [self.recognizer.decide(c) for c in self.confidence[rows]]
        found = answers.neighbours
        if found.rows.shape[1]:
            self.nearest[rows] = index.ids[found.rows[:, 0]]
            self.nearest_path[rows] = index.paths[found.rows[:, 0]]
            self.similarity[rows] = found.similarity[:, 0]
            truth = self.photos.landmarks[rows]
            right = is_true(truth, index.names[index.codes[found.rows]])
            self.rank[rows] = np.where(right.any(axis=1), right.argmax(axis=1) + 1, 0)

    def _names(self, codes: NDArray[np.int64]) -> NDArray[np.object_]:
        names = np.append(self.recognizer.index.names, "")  # code −1 = no guess
        return np.asarray(names[codes], dtype=object)

    def predictions(self) -> Predictions:
        """What was answered, without the leaked photos."""
        kept = self.kept
        return Predictions(
            ids=self.photos.ids[kept], guess=self.guess[kept], score=self.score[kept],
            confidence=self.confidence[kept], decision=self.decision[kept],
            truth=self.photos.landmarks[kept], nearest=self.nearest[kept],
            similarity=self.similarity[kept], rank=self.rank[kept],
            path=self.photos.paths[kept], nearest_path=self.nearest_path[kept],
            known=self.known[kept], usage=self.photos.usages[kept],
        )  # fmt: skip


def _scores(predictions: Predictions, asked: _Questions, seconds: float) -> Scores:
    known, landmark = predictions.known, predictions.truth != ""
    if not len(known) or not landmark.any():
        raise DataError(
            f"{len(known)} photos left to score, {int(landmark.sum())} of them with a landmark; "
            f"GAP needs at least one ({len(asked.leaked)} were in the gallery)"
        )
    right = predictions.right
    named = predictions.decision == "landmark"
    truths, kept = int(landmark.sum()), asked.kept

    def measured(score: NDArray[np.float64], guess: NDArray[np.object_], count: int) -> float:
        hits = is_true(predictions.truth, guess) & known
        return gap(score, hits, count, predicted=guess != "") if count else 0.0

    return Scores(
        gap=measured(predictions.score, predictions.guess, int(known.sum())),
        gap_all_landmarks=measured(predictions.score, predictions.guess, truths),
        top1=float(right[known].mean()) if known.any() else 0.0,
        accuracy=float(np.where(known, named & right, ~named).mean()),
        recall_at_1=recall_at_k(predictions.rank[known], 1) if known.any() else 0.0,
        recall_at_5=recall_at_k(predictions.rank[known], 5) if known.any() else 0.0,
        recall_at_10=recall_at_k(predictions.rank[known], 10) if known.any() else 0.0,
        gap_by_score={
            score: measured(asked.other_scores[score][kept], guess[kept], int(known.sum()))
            for score, guess in asked.other_guesses.items()
        },
        gap_by_usage=gap_by_usage(predictions),
        queries_by_usage=predictions.count_by_usage(),
        landmarks_by_usage=predictions.count_by_usage(landmark),
        queries=len(known),
        known=int(known.sum()),
        unknown=truths - int(known.sum()),
        no_landmark=len(known) - truths,
        unreadable=len(asked.failures),
        leaked=len(asked.leaked),
        seconds=round(seconds, 3),
        protocol=_protocol(asked.recognizer),
    )


def _protocol(recognizer: Recognizer) -> dict[str, Any]:
    index, rules = recognizer.index, recognizer.rules
    return {
        "embedder": recognizer.embedder.id,
        "score": rules.score,
        "gallery": f"{len(index.ids)} photos of {len(index.names)} landmarks",
        "distractor bank": f"{len(index.bank)} photos",
        "generation": recognizer.gallery.generation,
        "statistics": "inductive: nothing is taken from the other queries",
        "ties": "mean over all orders of equal scores",
        "left out": "queries whose id or content is in the gallery",
    }
