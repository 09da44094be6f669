"""Decision: candidate landmarks → answer and confidence; spatial verification where undecided."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..core.parallel import in_threads
from ..core.types import Decision
from ..features.local.matching import VerifiedMatch
from ..gallery.index import GalleryIndex, SearchRows
from ..gallery.index.mapped import IndexFileError
from ..gallery.index.open import check_index_files, warn_index_files_unusable
from ..gallery.index.projection import Projection
from ..gallery.index.remote import NotSearchedError
from .calibration import Calibration, Sure, threshold_for
from .candidates import Candidates, add_geometry, columns, make_candidates, ranks_to_compare
from .location import LandmarkLocations
from .query import KeypointsOf, Queries, Shape
from .reranking.votes import Votes
from .retrieval import Retrieved, Retriever
from .rules import Rules
from .spatial_verification import SpatialVerifier, agreement_by_rank, inliers_by_rank
from .stacker import Stacker

# Most confidence where no distractors have taught the gallery what shows no landmark, with an
# embedder that knows places from other things, and with any other; "almost certainly" is from 0.95.
MOST_WITHOUT_DISTRACTORS = 0.94

MOST_UNTAUGHT = 0.74  # also where the calibration is a rule of thumb

RULE_OF_THUMB = -1  # value of Fitted.own_queries

MIN_OWN_QUERIES = 20  # of each outcome; with fewer an answer says that a default calibrates it

EVIDENCE_PHOTOS = 6  # photos compared for evidence where the rules verify none


@dataclass(frozen=True, eq=False)
class Fitted:
    """What was fitted on leave-one-out queries of the gallery. None = the rules do not use it.

    Attributes:
        projection: The whitening.
        stacker: Features of a candidate → log-odds that it is right.
        geometric_stacker: The same with inlier features, for queries that were verified.
        calibration: Score → confidence.
        negatives: Ascending scores of the queries without a landmark, for thresholds.
        own_queries: Leave-one-out queries of the rarer outcome, right or wrong, where a default
            that comes with the embedder took part in the fit; None = it did not; RULE_OF_THUMB =
            all queries had one outcome, and no such default is there.
        sure: From which scores on an answer can be a label; None = fitted by an older version.
    """

    projection: Projection | None
    stacker: Stacker | None
    geometric_stacker: Stacker | None
    calibration: Calibration
    negatives: tuple[float, ...] = ()
    own_queries: int | None = None
    sure: Sure | None = None

    @property
    def note(self) -> str | None:
        """What a reader of a confidence has to know of where it comes from; None = nothing."""
        if self.own_queries is None or self.own_queries >= MIN_OWN_QUERIES:
            return None
        if self.own_queries == RULE_OF_THUMB:
            return (
                "the confidence is a rule of thumb, because this gallery has too few photos to "
                "question itself: add 2 or more photos of each of 2 or more landmarks, and "
                "distractors"
            )
        return (
            "the confidence comes from a default calibration, fitted on other galleries, because "
            "this gallery has too few photos to question itself; it fades as photos are added "
            "and `tune` runs"
        )


@dataclass(frozen=True, eq=False)
class Answers:
    """All results for Q queries; predictions and explanations are only read from it.

    Attributes:
        decider: The decider that answered; codes and rows number landmarks and photos of its index.
        codes: (Q,) code of the best landmark, −1 = none.
        second_codes: (Q,) code of the second best.
        scores: (Q,) score of the best.
        confidence: (Q,) calibrated probability that the best is right, 0 to 1.
        found: What the search found.
        candidates: None unless the score is learned.
        verified: For each query, rank among the neighbours → its matches; empty = not compared.
        inliers: (Q, K) inliers with each neighbour, −1 = not compared.
        logits: (Q, T) log-odds of the candidates; None unless the score is learned.
        geometry_used: (Q,) do the inliers count in the score?
        location_weights: (Q, T) what the location prior adds to the logits; None = not used.
        shapes: Height and width of the queries' pixels.
        keypoints_of: Row → keypoints of that query, found once; None without evidence.
        nothing: Row → why that photo is not answered: there is nothing in it to compare.
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
    geometry_used: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(1, dtype=bool))
    location_weights: NDArray[np.float64] | None = None
    shapes: Sequence[Shape] | None = None
    keypoints_of: KeypointsOf | None = None
    nothing: Mapping[int, str] = field(default_factory=dict)

    @property
    def index(self) -> GalleryIndex:
        """The index that codes and rows refer to."""
        return self.decider.index


class Decider:
    """Answers queries from an index, under rules and with what was fitted for them.

    Args:
        index: The gallery's arrays.
        rules: How the gallery answers.
        fitted: What was fitted for these rules.
        verifier: Compares local features; None = nothing is verified.
        prepared: See `Retriever`.
        locations: Coordinates of the landmarks, for rules with `location_km`.
    """

    def __init__(
        self,
        index: GalleryIndex,
        rules: Rules,
        fitted: Fitted,
        verifier: SpatialVerifier | None = None,
        prepared: SearchRows | None = None,
        locations: LandmarkLocations | None = None,
    ) -> None:
        self.index, self.rules, self.fitted = index, rules, fitted
        self.verifier, self.locations = verifier, locations
        self.retriever = Retriever(index, rules, fitted.projection, prepared)
        self.threshold: float | None = None
        if rules.false_answers:
            self.threshold = threshold_for(rules.false_answers, np.array(fitted.negatives))

    @property
    def ceiling(self) -> float:
        """The most that a confidence can be in such a gallery."""
        if self.fitted.own_queries == RULE_OF_THUMB:
            return MOST_UNTAUGHT
        if len(self.index.distractor_ids):
            return max(MOST_UNTAUGHT, self.fitted.calibration.proven)
        return MOST_WITHOUT_DISTRACTORS if self.index.default_fit else MOST_UNTAUGHT

    def confidence(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """(Q,) scores → (Q,) probabilities; those above a knee squeezed below the ceiling."""
        found = self.fitted.calibration.confidence(scores)
        knee = max(0.5, 2 * self.ceiling - 1)  # no default decision is above it
        slope = (self.ceiling - knee) / (1 - knee) if knee < 1 else 1.0
        return np.minimum(found, knee + (found - knee) * slope)

    def answer(self, queries: Queries, *, evidence: bool = False) -> Answers:
        """Search, make candidates, decide; verify where the decision is open.

        evidence: verify decided queries too, for an explanation. It changes no score.
        """
        if evidence and queries.keypoints_of:  # an explanation compares more photos with them
            queries = replace(queries, keypoints_of=cache(queries.keypoints_of))
        found = self.retriever.search(queries.vectors)
        if self.rules.score == "learned":
            candidates = make_candidates(self.retriever, found)
            answers = self._decide_learned(queries, found, candidates, evidence)
        else:
            answers = self._decide_by_formula(queries, found, evidence)
        kept = queries.keypoints_of if evidence else None
        answers = replace(answers, shapes=queries.shapes, keypoints_of=kept)
        return self._without_nothing(answers, queries)

    def _without_nothing(self, answers: Answers, queries: Queries) -> Answers:
        """Without an answer for photos in which there is nothing to compare."""
        decide, why = self.decide, queries.nothing_in or (lambda row: "")
        open_rows = [
            row for row in np.flatnonzero(answers.codes >= 0).tolist()
            if decide(answers.confidence[row], answers.scores[row]) != "no_landmark"
        ]  # fmt: skip
        reasons = zip(open_rows, in_threads(why, open_rows), strict=True)
        nothing = {row: reason for row, reason in reasons if reason}
        gone = np.isin(np.arange(len(answers.codes)), list(nothing))
        return replace(
            answers,
            codes=np.where(gone, -1, answers.codes),
            second_codes=np.where(gone, -1, answers.second_codes),
            scores=np.where(gone, -np.inf, answers.scores),
            confidence=np.where(gone, 0.0, answers.confidence),
            nothing=nothing,
        )

    def decide(self, confidence: float, score: float) -> Decision:
        """The decision at a confidence (0 to 1) and a score.

        With `false_answers` the threshold on the score decides, else the confidence does.
        """
        if self.threshold is not None:
            answered = score >= self.threshold
        else:
            answered = confidence >= self.rules.answer_above
        if answered:
            return "landmark"
        return "uncertain" if confidence >= self.rules.doubt_above else "no_landmark"

    def _decide_learned(
        self, queries: Queries, found: Retrieved, candidates: Candidates, evidence: bool
    ) -> Answers:
        """The candidate of the highest log-odds, with inlier features where it is undecided."""
        stacker, geometric = self.fitted.stacker, self.fitted.geometric_stacker
        if stacker is None:
            raise ValueError("the learned score needs a stacker; fit one first")
        known = columns(candidates.features, stacker.names)
        logits = _mask_missing(stacker.logits(known), candidates)
        open_rows: list[int] = []
        if geometric:
            confidence = self.fitted.calibration.confidence(logits.max(axis=1))
            open_rows = undecided(confidence, self.rules)
        compared = list(range(len(logits))) if evidence else open_rows
        verified, inliers = self._verify(found, candidates, compared, queries.keypoints_of)
        geometry_used = np.zeros(len(logits), dtype=bool)
        geometry_used[[row for row in open_rows if verified[row]]] = True
        if geometric and geometry_used.any():
            agreement = agreement_by_rank(verified, found.codes.shape[1])
            features = add_geometry(candidates, found, inliers, agreement)
            features = columns(features, geometric.names)
            with_inliers = _mask_missing(geometric.logits(features), candidates)
            logits[geometry_used] = with_inliers[geometry_used]
        weights = self._location_weights(queries, candidates)
        if weights is not None:
            logits += weights
        answers = self._answers(_best_two(candidates.codes, logits), found, verified, inliers)
        return replace(answers, candidates=candidates, logits=logits, geometry_used=geometry_used,
                       location_weights=weights)  # fmt: skip

    def _decide_by_formula(self, queries: Queries, found: Retrieved, evidence: bool) -> Answers:
        """The landmark with the best vote by the formula of the rules' score."""
        verify = evidence or self.rules.score == "inlier_vote"
        rows = list(range(len(found.codes))) if verify else []
        verified, inliers = self._verify(found, None, rows, queries.keypoints_of)
        return self._answers(self.retriever.votes(found, inliers), found, verified, inliers)

    def _verify(
        self,
        found: Retrieved,
        candidates: Candidates | None,
        rows: list[int],
        keypoints_of: KeypointsOf | None,
    ) -> tuple[list[Mapping[int, VerifiedMatch]], NDArray[np.int64]]:
        """Compare local features of some queries with those of their nearest photos.

        Returns:
            For each query, rank → matches; and the inliers (Q, K), −1 = not compared.
        """
        inliers = np.full(found.codes.shape, -1, dtype=np.int64)
        verified: list[Mapping[int, VerifiedMatch]] = [{} for _ in range(len(inliers))]
        if keypoints_of is None or self.verifier is None:
            return verified, inliers
        verify = self.verifier.verify

        def compare(row: int) -> None:
            query = keypoints_of(row)
            if query is None:
                return
            ranks = ranks_to_compare(found, candidates, row, self.rules.verify or EVIDENCE_PHOTOS)
            ids = [self.index.ids[found.neighbours.rows[row, rank]] for rank in ranks]
            matches = verify(query, ids)
            verified[row] = {r: m for r, m in zip(ranks, matches, strict=True) if m is not None}
            inliers[row] = inliers_by_rank(matches, ranks, found.codes.shape[1])

        in_threads(compare, rows)
        return verified, inliers

    def _location_weights(
        self, queries: Queries, candidates: Candidates
    ) -> NDArray[np.float64] | None:
        """(Q, T) log weights of the candidates by distance; None unless the rules use locations."""
        scale_km = self.rules.location_km
        if not scale_km or not self.locations or queries.locations is None:
            return None
        if not len(candidates.codes):
            return None
        prior = self.locations.prior(queries.locations, scale_km)
        return np.stack([prior(row, codes) for row, codes in enumerate(candidates.codes)])

    def _answers(
        self,
        votes: Votes,
        found: Retrieved,
        verified: list[Mapping[int, VerifiedMatch]],
        inliers: NDArray[np.int64],
    ) -> Answers:
        confidence = self.confidence(votes.scores)
        return Answers(
            decider=self, codes=votes.codes, second_codes=votes.second_codes, scores=votes.scores,
            confidence=np.where(votes.codes < 0, 0.0, confidence), found=found, verified=verified,
            inliers=inliers,
        )  # fmt: skip


class FallbackDecider:
    """Answers from index files until one proves damaged, then from the gallery itself.

    A block of an index file is checked when it is first read, so damage may be found in the middle
    of an answer; it is then computed again, also where a server cannot be searched. Thread-safe.
    """

    def __init__(
        self,
        first: Decider,
        over_gallery: Callable[[], Decider],
        index_files: Path | None,
        unindexed: Callable[[], FallbackDecider] | None = None,
    ) -> None:
        """Start with `first`, which reads index files in the folder `index_files`, None = none.

        over_gallery, unindexed: make a decider that reads none, and that needs no search index."""
        self._current, self._over_gallery, self._index_files = first, over_gallery, index_files
        self._unindexed, self._lock = cache(unindexed or (lambda: self)), threading.Lock()

    @property
    def current(self) -> Decider:
        """The decider in use."""
        return self._current

    def answer(self, queries: Queries, *, evidence: bool = False) -> Answers:
        """As `Decider.answer`."""
        return cast(Answers, self.using(lambda used: used.answer(queries, evidence=evidence)))

    def using(self, work: Callable[[Decider], Any]) -> Any:
        """The result of `work` on the decider in use, or on another where that one fails."""
        decider = self._current
        try:
            return work(decider)
        except IndexFileError as error:
            return work(self._fall_back(decider, error))
        except NotSearchedError:
            with self._lock:
                unindexed = self._unindexed()
        return unindexed.using(work)

    def check(self) -> None:
        """Read every block of the index files now, and fall back where one is damaged."""
        decider = self._current
        if self._index_files is not None:
            try:
                check_index_files(self._index_files)
            except IndexFileError as error:
                self._fall_back(decider, error)

    def _fall_back(self, damaged: Decider, error: IndexFileError) -> Decider:
        """The decider over the gallery, made once: by the first thread that found the damage."""
        with self._lock:
            if self._current is damaged and self._index_files is not None:
                warn_index_files_unusable(error, self._index_files.parent)
                self._current, self._index_files = self._over_gallery(), None
            return self._current


def undecided(confidence: NDArray[np.float64], rules: Rules) -> list[int]:
    """Rows whose decision spatial verification may still change."""
    between = (confidence > rules.sure_below) & (confidence < rules.sure_above)
    return [int(row) for row in np.flatnonzero(between)]


def _mask_missing(logits: NDArray[np.float64], candidates: Candidates) -> NDArray[np.float64]:
    """The logits, −inf where there is no candidate."""
    return np.where(candidates.codes < 0, -np.inf, logits)


def _best_two(codes: NDArray[np.int64], logits: NDArray[np.float64]) -> Votes:
    """Of equal log-odds, the candidate of the nearer photo comes first."""
    order = np.argsort(-logits, axis=1, kind="stable")[:, :2]
    best = np.take_along_axis(codes, order, axis=1)
    scores = np.take_along_axis(logits, order, axis=1)
    return Votes(best[:, 0], scores[:, 0], best[:, 1], scores[:, 1])
