"""Nearest photos → an answer, how sure it is, and the geometry where that is not decided yet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.types import Decision, Vectors
from ..features.local.matching import VerifiedMatch
from ..gallery.index import GalleryIndex, SearchRows
from ..gallery.index.mapped import IndexFileError
from ..gallery.index.open import warn_of_segments
from ..gallery.index.projection import Projection
from ..gallery.index.refresh import check_segments
from .calibration import Calibration, Stacker, threshold_for
from .candidates import Candidates, make_candidates, with_geometry
from .location import LandmarkLocations, Prior
from .query import KeypointsOf, Queries, Shape
from .reranking.votes import Votes
from .retrieval import Retrieved, Retriever
from .rules import Rules
from .spatial_verification import SpatialVerifier, inlier_row

EVIDENCE_PHOTOS = 6  # photos compared where the score asks for none

CANDIDATES_COMPARED = 3  # candidate landmarks whose nearest photo is always compared

REFERENCES = 5  # gallery photos that are shown as evidence


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
    """Everything that was found out about Q queries: predictions and explanations only read it.

    decider: who answered; codes, rows and places are those of its index. codes, second_codes: (Q,)
    the best two landmarks, −1 = none; scores, confidence: (Q,) of the best. candidates: None unless
    the score is learned. verified: of each query, place among the neighbours → its matches (empty =
    not compared); inliers: (Q, K), −1 = not compared; logits: (Q, T) log-odds of the candidates;
    compared: (Q,) was the geometry part of the score? location_weights: (Q, T), the part of the
    logits that the place of the photo adds, None = not used. photo_penalties: (Q, K) B of the
    reference photos, NaN = not wanted. shapes: of the queries' pixels.
    """

    decider: Decider
    codes: NDArray[np.int64]
    second_codes: NDArray[np.int64]
    scores: NDArray[np.float64]
    confidence: NDArray[np.float64]
    found: Retrieved
    candidates: Candidates | None = None
    verified: list[Mapping[int, VerifiedMatch]] = field(default_factory=list)
    inliers: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 0), dtype=np.int64))
    logits: NDArray[np.float64] | None = None
    compared: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(1, dtype=bool))
    location_weights: NDArray[np.float64] | None = None
    photo_penalties: NDArray[np.float32] | None = None
    shapes: Sequence[Shape] | None = None

    @property
    def index(self) -> GalleryIndex:
        """What codes and rows are numbers of."""
        return self.decider.index

    def references(self, row: int) -> list[int]:
        """Neighbours that are shown as evidence, as places: those compared, else the nearest."""
        found = np.flatnonzero(self.found.neighbours.rows[row] >= 0).tolist()
        compared = self.verified[row] if self.verified else {}
        return (sorted(compared) or found)[:REFERENCES]


class Decider:
    """A gallery, its rules and what was fitted for them, ready to answer.

    places: where its landmarks stand, for rules with `location_km`.
    """

    def __init__(
        self,
        index: GalleryIndex,
        rules: Rules,
        fitted: Fitted,
        geometry: SpatialVerifier | None = None,
        prepared: SearchRows | None = None,
        places: LandmarkLocations | None = None,
    ) -> None:
        self.index, self.rules, self.fitted = index, rules, fitted
        self.geometry, self.places = geometry, places
        self.scorer = Retriever(index, rules, fitted.projection, prepared)
        self.threshold = (
            threshold_for(rules.false_answers, np.array(fitted.negatives))
            if rules.false_answers else None
        )  # fmt: skip

    def answer(self, queries: Queries, *, evidence: bool = False) -> Answers:
        """Answer photos. evidence: find out what an explanation shows; that changes no score."""
        prior = None
        if self.rules.location_km and self.places and queries.locations is not None:
            prior = self.places.prior(queries.locations, self.rules.location_km)
        answers = self(
            queries.vectors, keypoints_of=queries.keypoints_of, prior=prior, evidence=evidence
        )
        return replace(answers, shapes=queries.shapes)

    def __call__(
        self,
        vectors: Vectors,
        *,
        keypoints_of: KeypointsOf | None = None,
        prior: Prior | None = None,
        evidence: bool = False,
    ) -> Answers:
        """Answer vectors (Q, D). Without `keypoints_of` nothing is compared by geometry.

        evidence: compare also where nothing is open, and ask how like distractors the reference
          photos are; that changes no score.
        """
        found = self.scorer.find(vectors)
        if self.rules.score != "learned":
            answers = self._voted(found, keypoints_of, evidence)
        else:
            answers = self._learned(found, keypoints_of, prior, evidence)
        return self._with_penalties(answers) if evidence else answers

    def _learned(
        self,
        found: Retrieved,
        keypoints_of: KeypointsOf | None,
        prior: Prior | None,
        evidence: bool,
    ) -> Answers:
        made = make_candidates(self.scorer, found)
        stacker, geometric = self.fitted.stacker, self.fitted.geometric
        if stacker is None:
            raise ValueError("the learned score needs a stacker; fit one first")
        logits = _known_only(stacker.logits(made.features), made)
        open_ones = self._undecided(logits.max(axis=1)) if geometric else []
        asked = list(range(len(logits))) if evidence else open_ones
        verified, inliers = self.compare(found, made, asked, keypoints_of)
        compared = np.zeros(len(logits), dtype=bool)
        compared[[row for row in open_ones if verified[row]]] = True
        if geometric and compared.any():
            wide = with_geometry(made, found, inliers)
            logits[compared] = _known_only(geometric.logits(wide), made)[compared]
        weights = None
        if prior is not None and len(made.codes):
            weights = np.stack([prior(row, codes) for row, codes in enumerate(made.codes)])
            logits += weights
        answers = self._answers(_best_two(made.codes, logits), found, verified, inliers)
        return replace(
            answers, candidates=made, logits=logits, compared=compared, location_weights=weights
        )

    def compare(
        self,
        found: Retrieved,
        made: Candidates | None,
        rows: list[int],
        keypoints_of: KeypointsOf | None,
    ) -> tuple[list[Mapping[int, VerifiedMatch]], NDArray[np.int64]]:
        """Geometry of some queries with their nearest photos: matches by place, and inliers."""
        inliers = np.full(found.codes.shape, -1, dtype=np.int64)
        verified: list[Mapping[int, VerifiedMatch]] = [{} for _ in range(len(inliers))]
        for row in rows if keypoints_of and self.geometry else []:
            query = keypoints_of(row) if keypoints_of else None
            if query is None or self.geometry is None:
                continue
            places = ranks_to_compare(found, made, row, self.rules.verify or EVIDENCE_PHOTOS)
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

    def _voted(self, found: Retrieved, keypoints_of: KeypointsOf | None, evidence: bool) -> Answers:
        compared = evidence or self.rules.score == "inlier_vote"
        everyone = list(range(len(found.codes))) if compared else []
        verified, inliers = self.compare(found, None, everyone, keypoints_of)
        return self._answers(self.scorer.votes(found, inliers), found, verified, inliers)

    def _with_penalties(self, answers: Answers) -> Answers:
        rows = answers.found.neighbours.rows
        penalties = np.full(rows.shape, np.nan, dtype=np.float32)
        for query, own in enumerate(rows):
            shown = answers.references(query)
            penalties[query, shown] = self.scorer.gallery_likeness(own[shown])
        return replace(answers, photo_penalties=penalties)

    def _undecided(self, logits: NDArray[np.float64]) -> list[int]:
        confidence = self.fitted.calibration.confidence(logits)
        return undecided(confidence, self.rules)

    def _answers(
        self,
        votes: Votes,
        found: Retrieved,
        verified: list[Mapping[int, VerifiedMatch]],
        inliers: NDArray[np.int64],
    ) -> Answers:
        sure = np.where(votes.codes < 0, 0.0, self.fitted.calibration.confidence(votes.scores))
        return Answers(
            self, votes.codes, votes.second_codes, votes.scores, sure, found, verified=verified,
            inliers=inliers,
        )  # fmt: skip


class FallbackDecider:
    """A decider over segment files, until one of them turns out damaged; then over the gallery.

    A block of a segment file is compared with its checksum when it is first read, so damage may
    come to light in the middle of an answer: that answer is then given again. Threads may share it.
    """

    def __init__(
        self, first: Decider, over_gallery: Callable[[], Decider], segments: Path | None
    ) -> None:
        """over_gallery: makes a decider that reads no segment file. segments: where those are that
        `first` reads; None = it reads none.
        """
        self._now, self._over_gallery, self._segments = first, over_gallery, segments
        self._lock = threading.Lock()

    @property
    def now(self) -> Decider:
        """Who answers now."""
        return self._now

    def answer(self, queries: Queries, *, evidence: bool = False) -> Answers:
        """As `Decider.answer`."""
        decider = self._now
        try:
            return decider.answer(queries, evidence=evidence)
        except IndexFileError as error:
            return self._fall_back(decider, error).answer(queries, evidence=evidence)

    def check(self) -> None:
        """Read every block now, for work that reads vectors beside `answer`."""
        decider = self._now
        if self._segments is not None:
            try:
                check_segments(self._segments)
            except IndexFileError as error:
                self._fall_back(decider, error)

    def _fall_back(self, damaged: Decider, error: IndexFileError) -> Decider:
        """The decider over the gallery: made by the first thread that met the damage."""
        with self._lock:
            if self._now is damaged and self._segments is not None:
                warn_of_segments(error, self._segments.parent)
                self._now, self._segments = self._over_gallery(), None
            return self._now


def undecided(confidence: NDArray[np.float64], rules: Rules) -> list[int]:
    """Rows that geometry may still turn."""
    between = (confidence > rules.sure_below) & (confidence < rules.sure_above)
    return [int(row) for row in np.flatnonzero(between)]


def ranks_to_compare(found: Retrieved, made: Candidates | None, row: int, most: int) -> list[int]:
    """Neighbours to compare: the nearest photo of the first candidates, then the nearest ones."""
    codes = found.codes[row]
    first: list[int] = []
    if made is not None:
        first = [int(place) for place in made.places[row][made.codes[row] >= 0]][
            :CANDIDATES_COMPARED
        ]
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
