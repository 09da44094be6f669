"""Query vectors + gallery + rules → the best landmark and its score, for many queries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .errors import OptionError
from .gallery.index import GalleryIndex
from .reranking import bank_likeness, vote, with_one, with_penalty_column
from .search import nearest
from .types import Neighbours, Vectors

Score = Literal["cosine", "query_penalty", "gallery_penalty", "both_penalties"]
SCORES: tuple[Score, ...] = get_args(Score)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How a gallery answers: the score, and what is said of it. Flat, JSON in and out.

    score: "cosine" s₁ · "query_penalty" the seed's s₁ − C · "gallery_penalty" cos − B and a
      vote · "both_penalties" psinger's cos − B, a vote, − C. All are inductive: nothing is
      taken from other queries.
    """

    score: Score = "both_penalties"
    gallery_bank: int = 5  # distractors averaged for B
    query_bank: int | None = None  # distractors averaged for C; None = 5 alone, 10 with B
    votes: int = 3  # nearest photos that vote when B is on
    known_share: float = 0.5  # calibration: share of questions that show a gallery landmark
    answer_above: float = 0.5  # confidence from which a landmark is answered
    doubt_above: float = 0.25  # confidence from which the answer is "uncertain"

    def __post_init__(self) -> None:
        if not 0 <= self.doubt_above <= self.answer_above <= 1:
            raise OptionError(
                f"doubt_above {self.doubt_above}, answer_above {self.answer_above} given; "
                "expected 0 ≤ doubt_above ≤ answer_above ≤ 1"
            )
        if not 0 < self.known_share < 1:
            raise OptionError(f"known_share {self.known_share} given; expected between 0 and 1")
        if min(self.gallery_bank, self.votes, self.query_bank or 1) < 1:
            raise OptionError("gallery_bank, query_bank and votes must be at least 1")

    def with_score(self, score: Score) -> Rules:
        """The same rules with another score."""
        return replace(self, score=score)

    @property
    def uses_gallery_penalty(self) -> bool:
        """B and the vote are on."""
        return self.score in ("gallery_penalty", "both_penalties")

    @property
    def uses_query_penalty(self) -> bool:
        """C is on."""
        return self.score in ("query_penalty", "both_penalties")


@dataclass(frozen=True, eq=False)
class Answers:
    """For Q queries: landmark code (−1 = the gallery is empty) and score, each (Q,).

    neighbours: photos in the order of the rules, similarity = plain cosine (Q, K);
    penalty: C of each query, 0 where it is off.
    """

    codes: NDArray[np.int64]
    scores: NDArray[np.float64]
    neighbours: Neighbours
    penalty: NDArray[np.float32]


class Scorer:
    """A gallery made ready for one set of rules: B is computed once, here."""

    def __init__(self, index: GalleryIndex, rules: Rules) -> None:
        self.index = index
        self.rules = rules
        self.votes = rules.votes if rules.uses_gallery_penalty else 1
        self.penalties = np.zeros(len(index.vectors), dtype=np.float32)
        self.vectors: NDArray[np.float16] | NDArray[np.float32] = index.vectors
        if rules.uses_gallery_penalty:
            self.penalties = self._gallery_penalties()
            self.vectors = with_penalty_column(index.vectors.astype(np.float32), self.penalties)

    def __call__(
        self, queries: Vectors, *, depth: int = 10, hidden: NDArray[np.bool_] | None = None
    ) -> Answers:
        """Score queries (Q, D); keep `depth` neighbours of each.

        hidden: (Q, G) gallery photos that must not be seen by each query (itself, say, or
          all of its landmark): how the gallery questions itself for calibration.
        """
        found = self._ranked(queries, max(depth, self.votes), hidden)
        penalty = self._query_penalty(queries)
        rows = found.rows[:, : self.votes]
        if rows.shape[1] == 0:
            nothing = np.full(len(queries), -1, dtype=np.int64)
            return Answers(nothing, np.full(len(queries), -1.0) - penalty, found, penalty)
        ranking = found.similarity[:, : self.votes] - self.penalties[rows]
        if self.rules.uses_gallery_penalty:  # max(cos, 0) − B, as its authors have it
            ranking = np.maximum(found.similarity[:, : self.votes], 0) - self.penalties[rows]
        best = vote(self.index.codes[rows], ranking, self.votes)
        return Answers(best.codes, best.scores - penalty, found, penalty)

    def _ranked(self, queries: Vectors, k: int, hidden: NDArray[np.bool_] | None) -> Neighbours:
        asked = with_one(queries) if self.rules.uses_gallery_penalty else queries
        most = int(hidden.sum(axis=1).max()) if hidden is not None and len(hidden) else 0
        found = nearest(asked, self.vectors, k + most)
        if hidden is not None:
            found = _without(found, np.take_along_axis(hidden, found.rows, axis=1), k)
        return Neighbours(found.rows, found.similarity + self.penalties[found.rows])

    def _query_penalty(self, queries: Vectors) -> NDArray[np.float32]:
        if not self.rules.uses_query_penalty:
            return np.zeros(len(queries), dtype=np.float32)
        count = self.rules.query_bank or (10 if self.rules.uses_gallery_penalty else 5)
        return bank_likeness(self.index.nearest_distractors(queries, count).similarity)

    def _gallery_penalties(self) -> NDArray[np.float32]:
        block = 4096
        parts = [
            bank_likeness(
                self.index.nearest_distractors(
                    self.index.vectors[start : start + block].astype(np.float32),
                    self.rules.gallery_bank,
                ).similarity
            )
            for start in range(0, len(self.index.vectors), block)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def _without(found: Neighbours, hidden: NDArray[np.bool_], k: int) -> Neighbours:
    """The first k neighbours that are not hidden (fewer columns when some query has fewer)."""
    k = min(k, int((~hidden).sum(axis=1).min())) if len(hidden) else k
    columns = np.argsort(hidden, axis=1, kind="stable")[:, :k]
    return Neighbours(
        np.take_along_axis(found.rows, columns, axis=1),
        np.take_along_axis(found.similarity, columns, axis=1),
    )
