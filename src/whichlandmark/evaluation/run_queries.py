"""Ask a recognizer in batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..core.types import Neighbours, Photos, Vectors, is_true, true_landmarks
from ..gallery.index import GalleryIndex
from ..metrics.ranking import average_precision, gap
from ..recognition.decision import Decider
from ..recognition.fitting import fit
from ..recognition.query import Queries
from ..recognition.recognizer import Recognizer
from ..recognition.rules import Score
from .predictions import Predictions


def responder_of(recognizer: Recognizer, also: Sequence[Score] = ()) -> Responder:
    """Its answers, and those of other scores on the same gallery."""
    names = np.append(recognizer.index.names, "").astype(object)  # code −1 = no guess

    def ask(queries: Queries) -> BatchAnswers:
        answers = recognizer.answer(queries)
        decisions = map(answers.decider.decide, answers.confidence, answers.scores)
        return BatchAnswers(
            guess=names[answers.codes],
            score=answers.scores,
            confidence=answers.confidence,
            decision=np.array(list(decisions), dtype=object),
            neighbours=answers.found.neighbours,
        )

    def other(score: Score) -> ScoreFunction:
        decider = _decider(recognizer, score)

        def scored(queries: Queries) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
            answers = decider.answer(queries)
            return names[answers.codes], answers.scores

        return scored

    return Responder(recognizer.index, ask, {score: other(score) for score in also})


def _decider(recognizer: Recognizer, score: Score) -> Decider:
    """The same gallery under another score; fitted anew only for a stacker that is not there."""
    rules, fitted = recognizer.rules.with_score(score), recognizer.fitted
    if score == "learned" and fitted.stacker is None:
        fitted = fit.fit(recognizer.index, rules, geometry=recognizer.geometry)
    if rules.whitening == "none":
        fitted = replace(fitted, projection=None)
    return Decider(
        recognizer.index, rules, fitted, recognizer.geometry, places=recognizer.decider.places
    )


NEIGHBOURS_KEPT = 10  # neighbours kept of each query: recall is measured up to there

RETRIEVAL_DEPTH = 100  # gallery photos ranked for mAP, of known queries only


@dataclass(frozen=True, eq=False)
class BatchAnswers:
    """Answers to n queries, each (n,): guess ("" = none), score, confidence, decision; and their
    neighbours (n, K) in the order of the rules, row −1 = none, similarity = cosine."""

    guess: NDArray[np.object_]
    score: NDArray[np.float64]
    confidence: NDArray[np.float64]
    decision: NDArray[np.object_]
    neighbours: Neighbours


ScoreFunction = Callable[[Queries], tuple[NDArray[np.object_], NDArray[np.float64]]]


@dataclass(frozen=True, eq=False)
class Responder:
    """Who answers, from vectors on.

    ask: n queries → Answered, with DEPTH neighbours or more; also: other scores by name, the same →
    (guess, score), both (n,).
    """

    index: GalleryIndex
    ask: Callable[[Queries], BatchAnswers]
    also: Mapping[str, ScoreFunction] = field(default_factory=dict)


class QueryRun:
    """Collects the answers; vectors are not kept, nor anything of size queries × gallery."""

    def __init__(self, answering: Responder, photos: Photos) -> None:
        self.answering, self.photos = answering, photos
        index, count = answering.index, len(photos)
        codes = {name: code for code, name in enumerate(index.names.tolist())}
        photos_of = np.bincount(index.codes, minlength=len(index.names))
        truths = [
            [codes[name] for name in {*true_landmarks(cell)} if name in codes]
            for cell in photos.landmarks
        ]
        self.relevant = np.array([photos_of[t].sum() for t in truths], dtype=np.int64)
        self.known = self.relevant > 0
        self.kept = np.ones(count, dtype=bool)
        self.score = np.full(count, -np.inf)
        self.confidence = np.zeros(count)
        self.similarity = np.zeros(count)
        self.average_precision = np.zeros(count)
        self.rank = np.zeros(count, dtype=np.int64)
        text = {name: np.full(count, "", dtype=object) for name in ("guess", "near", "near_path")}
        self.guess, self.nearest, self.nearest_path = text.values()
        self.decision = np.full(count, "no_landmark", dtype=object)
        self.other_scores = {name: np.full(count, -np.inf) for name in answering.also}
        self.other_guesses = {name: np.full(count, "", dtype=object) for name in answering.also}

    def leave_out(self, rows: NDArray[np.int64]) -> None:
        """These queries are not scored."""
        self.kept[rows] = False

    def answer(self, rows: NDArray[np.int64], queries: Queries) -> None:
        """Ask about n queries. rows: (n,) of the table."""
        if not len(rows):
            return
        answered = self.answering.ask(queries)
        self.guess[rows], self.score[rows] = answered.guess, answered.score
        self.confidence[rows], self.decision[rows] = answered.confidence, answered.decision
        self._note_nearest(rows, answered.neighbours)
        self._retrieve(rows[self.known[rows]], queries.vectors[self.known[rows]])
        for name, scored in self.answering.also.items():
            self.other_guesses[name][rows], self.other_scores[name][rows] = scored(queries)

    def _note_nearest(self, rows: NDArray[np.int64], found: Neighbours) -> None:
        if not found.rows.shape[1]:
            return
        index, near = self.answering.index, found.rows[:, :NEIGHBOURS_KEPT]
        right = self._right(rows, near)
        self.rank[rows] = np.where(right.any(axis=1), right.argmax(axis=1) + 1, 0)
        some = near[:, 0] >= 0
        rows, first = rows[some], near[some, 0]
        self.nearest[rows] = index.ids[first]
        self.nearest_path[rows] = index.paths[first]
        self.similarity[rows] = found.similarity[some, 0]

    def _retrieve(self, rows: NDArray[np.int64], vectors: Vectors) -> None:
        """AP of known queries, by plain cosine whatever the rules are."""
        if len(rows):
            near = self.answering.index.nearest(vectors, RETRIEVAL_DEPTH).rows
            self.average_precision[rows] = average_precision(
                self._right(rows, near), self.relevant[rows], RETRIEVAL_DEPTH
            )

    def _right(self, rows: NDArray[np.int64], near: NDArray[np.int64]) -> NDArray[np.bool_]:
        index = self.answering.index
        return is_true(self.photos.landmarks[rows], index.names[index.codes[near]]) & (near >= 0)

    def predictions(self) -> Predictions:
        """What was answered, without what was left out."""
        kept = self.kept
        return Predictions(
            ids=self.photos.ids[kept], guess=self.guess[kept], score=self.score[kept],
            confidence=self.confidence[kept], decision=self.decision[kept],
            truth=self.photos.landmarks[kept], nearest=self.nearest[kept],
            similarity=self.similarity[kept], rank=self.rank[kept],
            path=self.photos.paths[kept], nearest_path=self.nearest_path[kept],
            known=self.known[kept], usage=self.photos.usages[kept], tier=self.photos.tiers[kept],
        )  # fmt: skip

    def map_at_100(self) -> float | None:
        """mAP over the known queries; one that could not be asked counts 0."""
        scored = self.known & self.kept
        return float(self.average_precision[scored].mean()) if scored.any() else None

    def gap_by_score(self) -> dict[str, float]:
        """Name of each other score → its GAP, M = known queries."""
        scored, known = self.kept, self.known[self.kept]
        count, truth = int(known.sum()), self.photos.landmarks[self.kept]
        found = {}
        for name, guesses in self.other_guesses.items():
            guess = guesses[scored]
            hits = is_true(truth, guess) & known
            score = self.other_scores[name][scored]
            found[name] = gap(score, hits, count, predicted=guess != "") if count else 0.0
        return found
