"""Run a recognizer on evaluation queries, in batches, and collect its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..core.types import Floats, Neighbours, Photos, Rows, Vectors, is_true, true_landmarks
from ..gallery.index import GalleryIndex
from ..metrics.ranking import average_precision, gap
from ..recognition.decision import Decider
from ..recognition.fitting import fit
from ..recognition.query import Queries
from ..recognition.recognizer import Recognizer
from ..recognition.rules import Score
from .predictions import Predictions

NEIGHBOURS_KEPT = 10  # per query, because recall is computed up to 10

RETRIEVAL_DEPTH = 100  # gallery photos ranked per known query, for mAP@100


def responder_of(recognizer: Recognizer, other_scores: Sequence[Score] = ()) -> Responder:
    """A responder with the recognizer's answers, and the guesses of other scores."""
    names = np.append(recognizer.index.names, "").astype(object)  # code −1 = no guess

    def answer(queries: Queries) -> BatchAnswers:
        answers = recognizer.answer(queries)
        decisions = map(answers.decider.decide, answers.confidence, answers.scores)
        return BatchAnswers(
            guess=names[answers.codes],
            score=answers.scores,
            confidence=answers.confidence,
            decision=np.array(list(decisions), dtype=object),
            neighbours=answers.found.neighbours,
        )

    def score_function(score: Score) -> ScoreFunction:
        decider = _decider_with_score(recognizer, score)

        def guess_and_score(queries: Queries) -> tuple[NDArray[np.object_], Floats]:
            answers = decider.answer(queries)
            return names[answers.codes], answers.scores

        return guess_and_score

    functions: dict[str, ScoreFunction] = {score: score_function(score) for score in other_scores}
    return Responder(recognizer.index, answer, functions)


def _decider_with_score(recognizer: Recognizer, score: Score) -> Decider:
    """The recognizer's decider with another score.

    Fitted again only for the score "learned" when the recognizer has no stacker.
    """
    rules, fitted = recognizer.rules.with_score(score), recognizer.fitted
    if score == "learned" and fitted.stacker is None:
        fitted = fit.fit(recognizer.index, rules, verifier=recognizer.verifier)
    if rules.whitening == "none":
        fitted = replace(fitted, projection=None)
    return Decider(
        recognizer.index, rules, fitted, recognizer.verifier, locations=recognizer.decider.locations
    )


@dataclass(frozen=True, eq=False)
class BatchAnswers:
    """Answers to n queries.

    guess ("" = none), score, confidence, decision: (n,). neighbours: (n, K) in the order that the
    rules give; row −1 = none; similarity = cosine.
    """

    guess: NDArray[np.object_]
    score: Floats
    confidence: Floats
    decision: NDArray[np.object_]
    neighbours: Neighbours


# n queries → (guess, score), both (n,).
ScoreFunction = Callable[[Queries], tuple[NDArray[np.object_], Floats]]


@dataclass(frozen=True, eq=False)
class Responder:
    """Functions that answer queries given as vectors.

    index: the gallery. answer: should give at least NEIGHBOURS_KEPT neighbours. other_scores:
    name of a score → its function.
    """

    index: GalleryIndex
    answer: Callable[[Queries], BatchAnswers]
    other_scores: Mapping[str, ScoreFunction] = field(default_factory=dict)


class QueryRun:
    """Collects the answers to the Q queries of a table.

    Memory grows with Q alone: no vectors and nothing of size queries × gallery is kept. Queries
    that were never answered, because they are unreadable, have no guess.
    """

    def __init__(self, responder: Responder, photos: Photos) -> None:
        self.responder, self.photos = responder, photos
        index, count = responder.index, len(photos)
        codes = {name: code for code, name in enumerate(index.names.tolist())}
        photos_of = np.bincount(index.codes, minlength=len(index.names))
        truths = [
            [codes[name] for name in {*true_landmarks(cell)} if name in codes]
            for cell in photos.landmarks
        ]
        # (Q,) gallery photos of the true landmarks of each query.
        self.relevant = np.array([photos_of[t].sum() for t in truths], dtype=np.int64)
        self.known = self.relevant > 0
        self.scored = np.ones(count, dtype=bool)  # False = left out
        self.score = np.full(count, -np.inf)
        self.confidence = np.zeros(count)
        self.similarity = np.zeros(count)
        self.average_precision = np.zeros(count)
        self.rank = np.zeros(count, dtype=np.int64)
        text = {name: np.full(count, "", dtype=object) for name in ("guess", "near", "near_path")}
        self.guess, self.nearest, self.nearest_path = text.values()
        self.decision = np.full(count, "no_landmark", dtype=object)
        self.other_scores = {name: np.full(count, -np.inf) for name in responder.other_scores}
        self.other_guesses = {
            name: np.full(count, "", dtype=object) for name in responder.other_scores
        }

    def leave_out(self, rows: Rows) -> None:
        """Leave these rows of the table out of all scores."""
        self.scored[rows] = False

    def answer(self, rows: Rows, queries: Queries) -> None:
        """Answer n queries. rows: (n,) their rows of the table."""
        if not len(rows):
            return
        answers = self.responder.answer(queries)
        self.guess[rows], self.score[rows] = answers.guess, answers.score
        self.confidence[rows], self.decision[rows] = answers.confidence, answers.decision
        self._record_neighbours(rows, answers.neighbours)
        known = self.known[rows]
        self._record_average_precision(rows[known], queries.vectors[known])
        for name, function in self.responder.other_scores.items():
            self.other_guesses[name][rows], self.other_scores[name][rows] = function(queries)

    def _record_neighbours(self, rows: Rows, found: Neighbours) -> None:
        if not found.rows.shape[1]:
            return
        index, near = self.responder.index, found.rows[:, :NEIGHBOURS_KEPT]
        right = self._right(rows, near)
        self.rank[rows] = np.where(right.any(axis=1), right.argmax(axis=1) + 1, 0)
        has_neighbour = near[:, 0] >= 0
        rows, first = rows[has_neighbour], near[has_neighbour, 0]
        self.nearest[rows] = index.ids[first]
        self.nearest_path[rows] = index.paths[first]
        self.similarity[rows] = found.similarity[has_neighbour, 0]

    def _record_average_precision(self, rows: Rows, vectors: Vectors) -> None:
        """AP of known queries, ranked by cosine whatever the rules are."""
        if len(rows):
            near = self.responder.index.nearest(vectors, RETRIEVAL_DEPTH).rows
            self.average_precision[rows] = average_precision(
                self._right(rows, near), self.relevant[rows], RETRIEVAL_DEPTH
            )

    def _right(self, rows: Rows, near: Rows) -> NDArray[np.bool_]:
        """(n, K) the gallery row `near` shows a true landmark of the query."""
        index = self.responder.index
        return is_true(self.photos.landmarks[rows], index.names[index.codes[near]]) & (near >= 0)

    def predictions(self) -> Predictions:
        """The answers in table order, without the queries that were left out."""
        scored = self.scored
        return Predictions(
            ids=self.photos.ids[scored],
            guess=self.guess[scored],
            score=self.score[scored],
            confidence=self.confidence[scored],
            decision=self.decision[scored],
            truth=self.photos.landmarks[scored],
            nearest=self.nearest[scored],
            similarity=self.similarity[scored],
            rank=self.rank[scored],
            path=self.photos.paths[scored],
            nearest_path=self.nearest_path[scored],
            known=self.known[scored],
            usage=self.photos.usages[scored],
            tier=self.photos.tiers[scored],
        )

    def map_at_100(self) -> float | None:
        """mAP@100 over the known queries; unreadable ones count 0. None without a known query."""
        known = self.known & self.scored
        return float(self.average_precision[known].mean()) if known.any() else None

    def gap_by_score(self) -> dict[str, float | None]:
        """Name of each other score → its GAP, with M = known queries."""
        scored, known = self.scored, self.known[self.scored]
        count, truth = int(known.sum()), self.photos.landmarks[self.scored]
        found: dict[str, float | None] = {}
        for name, guesses in self.other_guesses.items():
            guess = guesses[scored]
            hits = is_true(truth, guess) & known
            score = self.other_scores[name][scored]
            found[name] = gap(score, hits, count, predicted=guess != "") if count else None
        return found
