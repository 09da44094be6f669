"""Nearest photos → an answer, how sure it is, and the geometry where that is not decided yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .calibration import Calibration, threshold_for
from .candidates import Candidates, candidates, with_geometry
from .gallery.index import GalleryIndex
from .geometry import Geometry, inlier_row
from .reranking import Projection, Votes
from .rules import Rules
from .scoring import Found, Scorer
from .segments import Prepared
from .stacking import Stacker
from .types import Decision, Vectors
from .verification import Keypoints, Verified

Look = Callable[[int], Keypoints | None]  # keypoints of a query, made only when they are wanted
Prior = Callable[[int, NDArray[np.int64]], NDArray[np.float64]]  # query, its codes → log weights
AS_EVIDENCE = 6  # photos compared where the score asks for none
FIRST = 3  # candidate landmarks whose nearest photo is always compared


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a gallery's own questions taught. None = the rules have no use for it.

    projection: the whitening; stacker: evidence → log-odds; geometric: the same where photos were
    compared by geometry; negatives: scores of the questions without a landmark, for thresholds.
    """

    projection: Projection | None
    stacker: Stacker | None
    geometric: Stacker | None
    calibration: Calibration
    negatives: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Answers:
    """For Q queries: the best and the second landmark's codes (Q,) (−1 = none), the score and the
    confidence of the best (Q,); what was found; the candidates (None unless the score is learned);
    verified: of each query, place among the neighbours → its matches (empty = not compared);
    inliers: (Q, K), −1 = not compared; logits: (Q, T) log-odds of the candidates;
    compared: (Q,) was the geometry part of the score?
    """

    codes: NDArray[np.int64]
    second_codes: NDArray[np.int64]
    scores: NDArray[np.float64]
    confidence: NDArray[np.float64]
    found: Found
    candidates: Candidates | None = None
    verified: list[Mapping[int, Verified]] = field(default_factory=list)
    inliers: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 0), dtype=np.int64))
    logits: NDArray[np.float64] | None = None
    compared: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(1, dtype=bool))


class Decider:
    """A gallery, its rules and what was fitted for them, ready to answer."""

    def __init__(
        self,
        index: GalleryIndex,
        rules: Rules,
        fitted: Fitted,
        geometry: Geometry | None = None,
        prepared: Prepared | None = None,
    ) -> None:
        self.index, self.rules, self.fitted = index, rules, fitted
        self.geometry = geometry
        self.scorer = Scorer(index, rules, fitted.projection, prepared)
        self.threshold = (
            threshold_for(rules.false_answers, np.array(fitted.negatives))
            if rules.false_answers else None
        )  # fmt: skip

    def __call__(
        self,
        vectors: Vectors,
        *,
        look: Look | None = None,
        prior: Prior | None = None,
        evidence: bool = False,
    ) -> Answers:
        """Answer queries (Q, D). Without `look` nothing is compared by geometry.

        evidence: compare also where nothing is open; that changes no score.
        """
        found = self.scorer.find(vectors)
        if self.rules.score != "learned":
            return self._voted(found, look, evidence)
        made = candidates(self.scorer, found)
        stacker, geometric = self.fitted.stacker, self.fitted.geometric
        if stacker is None:
            raise ValueError("the learned score needs a stacker; fit one first")
        logits = _known_only(stacker.logits(made.features), made)
        open_ones = self._undecided(logits.max(axis=1)) if geometric else []
        asked = list(range(len(logits))) if evidence else open_ones
        verified, inliers = self.compare(found, made, asked, look)
        compared = np.zeros(len(logits), dtype=bool)
        compared[[row for row in open_ones if verified[row]]] = True
        if geometric and compared.any():
            wide = with_geometry(made, found, inliers)
            logits[compared] = _known_only(geometric.logits(wide), made)[compared]
        if prior is not None and len(made.codes):
            logits += np.stack([prior(row, codes) for row, codes in enumerate(made.codes)])
        answers = self._answers(_best_two(made.codes, logits), found, verified, inliers)
        return replace(answers, candidates=made, logits=logits, compared=compared)

    def compare(
        self, found: Found, made: Candidates | None, rows: list[int], look: Look | None
    ) -> tuple[list[Mapping[int, Verified]], NDArray[np.int64]]:
        """Geometry of some queries with their nearest photos: matches by place, and inliers."""
        inliers = np.full(found.codes.shape, -1, dtype=np.int64)
        verified: list[Mapping[int, Verified]] = [{} for _ in range(len(inliers))]
        for row in rows if look and self.geometry else []:
            query = look(row) if look else None
            if query is None or self.geometry is None:
                continue
            places = places_to_compare(found, made, row, self.rules.verify or AS_EVIDENCE)
            ids = [self.index.ids[found.neighbours.rows[row, place]] for place in places]
            checked = self.geometry.check(query, ids)
            verified[row] = {p: v for p, v in zip(places, checked, strict=True) if v is not None}
            inliers[row] = inlier_row(checked, places, found.codes.shape[1])
        return verified, inliers

    def decide(self, confidence: float, score: float) -> Decision:
        """What is said at this confidence and score."""
        if self.threshold is not None:
            sure = score >= self.threshold
        else:
            sure = confidence >= self.rules.answer_above
        if sure:
            return "landmark"
        return "uncertain" if confidence >= self.rules.doubt_above else "no_landmark"

    def _voted(self, found: Found, look: Look | None, evidence: bool) -> Answers:
        compared = evidence or self.rules.score == "inlier_vote"
        everyone = list(range(len(found.codes))) if compared else []
        verified, inliers = self.compare(found, None, everyone, look)
        return self._answers(self.scorer.votes(found, inliers), found, verified, inliers)

    def _undecided(self, logits: NDArray[np.float64]) -> list[int]:
        confidence = self.fitted.calibration.confidence(logits)
        return undecided(confidence, self.rules)

    def _answers(
        self,
        votes: Votes,
        found: Found,
        verified: list[Mapping[int, Verified]],
        inliers: NDArray[np.int64],
    ) -> Answers:
        sure = np.where(votes.codes < 0, 0.0, self.fitted.calibration.confidence(votes.scores))
        return Answers(
            votes.codes, votes.second_codes, votes.scores, sure, found, verified=verified,
            inliers=inliers,
        )  # fmt: skip


def undecided(confidence: NDArray[np.float64], rules: Rules) -> list[int]:
    """Rows that geometry may still turn."""
    between = (confidence > rules.sure_below) & (confidence < rules.sure_above)
    return [int(row) for row in np.flatnonzero(between)]


def places_to_compare(found: Found, made: Candidates | None, row: int, most: int) -> list[int]:
    """Neighbours to compare: the nearest photo of the first candidates, then the nearest ones."""
    codes = found.codes[row]
    first: list[int] = []
    if made is not None:
        first = [int(place) for place in made.places[row][made.codes[row] >= 0]][:FIRST]
    rest = [int(place) for place in np.flatnonzero(codes >= 0) if place not in first]
    return (first + rest)[:most]


def _known_only(logits: NDArray[np.float64], made: Candidates) -> NDArray[np.float64]:
    return np.where(made.codes < 0, -np.inf, logits)


def _best_two(codes: NDArray[np.int64], logits: NDArray[np.float64]) -> Votes:
    """Equal log-odds: the candidate of the nearer photo."""
    order = np.argsort(-logits, axis=1, kind="stable")[:, :2]
    best = np.take_along_axis(codes, order, axis=1)
    scores = np.take_along_axis(logits, order, axis=1)
    return Votes(best[:, 0], scores[:, 0], best[:, 1], scores[:, 1])
