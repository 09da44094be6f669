"""Decision and confidence; spatial verification only where the decision is open."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.random_galleries import queries_near, random_index, unit
from whichlandmark.features.local.keypoints import Keypoints
from whichlandmark.features.local.matching import VerifiedMatch
from whichlandmark.gallery.index import GalleryIndex
from whichlandmark.recognition.calibration import Calibration
from whichlandmark.recognition.candidates import (
    CANDIDATES_COMPARED,
    FEATURES,
    GEOMETRY_FEATURES,
    make_candidates,
    ranks_to_compare,
)
from whichlandmark.recognition.decision import (
    EVIDENCE_PHOTOS,
    Answers,
    Decider,
    Fitted,
    undecided,
)
from whichlandmark.recognition.location import LandmarkLocations, Prior
from whichlandmark.recognition.query import Queries
from whichlandmark.recognition.retrieval import Retriever
from whichlandmark.recognition.rules import FORMULAS, Rules
from whichlandmark.recognition.spatial_verification import SpatialVerifier, inliers_by_rank
from whichlandmark.recognition.stacker import Stacker

PLAIN = Rules(whitening="none", verify=0)
EMPTY = Keypoints(np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8), 1.0)


def by(**weights: float) -> Stacker:
    """A stacker of given weights for some features, 0 for the others."""
    names = FEATURES + (GEOMETRY_FEATURES if set(weights) & set(GEOMETRY_FEATURES) else ())
    return Stacker(names=names, means=(0.0,) * len(names), scales=(1.0,) * len(names),
                   weights=tuple(weights.get(name, 0.0) for name in names))  # fmt: skip


FITTED = Fitted(None, by(similarity=1.0), by(similarity=1.0, inlier_lead=1.0),
                Calibration(slope=8.0, offset=-6.0))  # fmt: skip


class FixedVerifier(SpatialVerifier):
    """Landmark code → inliers with each of its photos (2 if not given); None = no keypoints."""

    def __init__(self, index: GalleryIndex, inliers: dict[int, int | None]) -> None:
        self.code = dict(zip(index.ids, index.codes.tolist(), strict=True))
        self.inliers, self.geometry_used = inliers, []  # type: ignore[var-annotated]

    def verify(self, query, ids):  # type: ignore[no-untyped-def]
        assert query is EMPTY
        self.geometry_used.append(list(ids))
        counts = [self.inliers.get(self.code[i], 2) for i in ids]
        return [None if n is None else
                VerifiedMatch(np.zeros((n, 2), np.float32), np.zeros((n, 2), np.float32), None)
                for n in counts]  # fmt: skip


@pytest.fixture(scope="module")
def index() -> GalleryIndex:
    return random_index([5] * 6, 30, seed=21)


def queries_of(index: GalleryIndex) -> np.ndarray:
    return np.concatenate(
        [queries_near(index, 20, noise=0.35), queries_near(index, 10, noise=0.05)]
    )


def some_keypoints(row: int) -> Keypoints | None:
    return EMPTY


def test_the_learned_score_is_the_best_candidate_of_the_stacker(index: GalleryIndex) -> None:
    fitted = replace(
        FITTED, stacker=by(similarity=2.0, company=1.0, bank=-1.0), geometric_stacker=None
    )
    answers = Decider(index, PLAIN, fitted).answer(Queries(queries_of(index)))
    for row, features in enumerate(answers.candidates.features):  # type: ignore[union-attr]
        codes = answers.candidates.codes[row].tolist()  # type: ignore[union-attr]
        f = {name: features[:, rank] for rank, name in enumerate(FEATURES)}
        odds = 2 * f["similarity"] + f["company"] - f["bank"]
        ranked = sorted(range(len(codes)), key=lambda t: -odds[t])
        assert answers.codes[row] == codes[ranked[0]]
        assert answers.second_codes[row] == codes[ranked[1]]
        assert answers.scores[row] == pytest.approx(odds[ranked[0]])
        expected = 1 / (1 + np.exp(-(8 * odds[ranked[0]] - 6)))
        assert answers.confidence[row] == pytest.approx(expected)


def test_undecided_is_strictly_between_the_thresholds() -> None:
    rules = Rules(sure_below=0.25, sure_above=0.75)
    confidence = np.array([0.0, 0.25, 0.2500001, 0.5, 0.7499999, 0.75, 1.0])
    assert undecided(confidence, rules) == [2, 3, 4]
    assert undecided(confidence, Rules(sure_below=0.0, sure_above=1.0)) == [1, 2, 3, 4, 5]


def test_spatial_verification_runs_only_for_open_answers(index: GalleryIndex) -> None:
    vectors = queries_of(index)
    plain = Decider(index, PLAIN, FITTED).answer(Queries(vectors))
    rules = replace(PLAIN, verify=4, sure_below=0.4, sure_above=0.8)
    verifier = FixedVerifier(index, {})
    rows: list[int] = []

    def keypoints_of(row: int) -> Keypoints | None:
        rows.append(row)
        return EMPTY

    answers = Decider(index, rules, FITTED, verifier).answer(
        Queries(vectors, keypoints_of=keypoints_of)
    )
    open_rows = [r for r, c in enumerate(plain.confidence) if 0.4 < c < 0.8]
    assert 0 < len(open_rows) < len(vectors)
    assert rows == open_rows  # no keypoints are extracted for the others
    assert np.flatnonzero(answers.geometry_used).tolist() == open_rows
    closed = np.setdiff1d(np.arange(len(vectors)), open_rows)
    assert (answers.scores[closed] == plain.scores[closed]).all()
    assert (answers.codes[closed] == plain.codes[closed]).all()
    assert (answers.inliers[closed] == -1).all()
    assert not any(answers.verified[row] for row in closed)
    for row, ids in zip(open_rows, verifier.geometry_used, strict=True):
        assert len(ids) == len(answers.verified[row]) == 4
        assert (answers.inliers[row] >= 0).sum() == 4
        for rank, verified in answers.verified[row].items():
            assert answers.inliers[row, rank] == verified.inliers


def test_inliers_can_change_an_open_answer(index: GalleryIndex) -> None:
    vectors = queries_of(index)
    plain = Decider(index, PLAIN, FITTED).answer(Queries(vectors))
    rules = replace(PLAIN, verify=4, sure_below=0.0, sure_above=1.0)
    for code in range(6):
        answers = Decider(index, rules, FITTED, FixedVerifier(index, {code: 60})).answer(
            Queries(vectors, keypoints_of=some_keypoints)
        )
        near = (plain.candidates.codes[:, :CANDIDATES_COMPARED] == code).any(axis=1)  # type: ignore[union-attr]
        assert (answers.codes[near] == code).all()
        changed = near & (plain.codes != code)
        assert (answers.second_codes[changed] == plain.codes[changed]).all()
        # log(1 + 60 − 6) less log(1 + 0) of the others
        best = (answers.candidates.codes == code)[near]  # type: ignore[union-attr]
        similarity = answers.candidates.features[near][best][:, 0]  # type: ignore[union-attr]
        assert answers.scores[near] == pytest.approx(similarity + np.log(55))


@pytest.mark.parametrize("score", ["learned", *FORMULAS])
def test_evidence_changes_no_score(index: GalleryIndex, score: str) -> None:
    vectors = queries_of(index)
    rules = replace(PLAIN, verify=4, sure_below=0.4, sure_above=0.8)
    if score != "learned":
        rules = rules.with_score(score)  # type: ignore[arg-type]
    verifier = FixedVerifier(index, {1: 50, 2: 9})
    decider = Decider(index, rules, FITTED, verifier)
    plain = decider.answer(Queries(vectors, keypoints_of=some_keypoints))
    before = len(verifier.geometry_used)
    every = decider.answer(Queries(vectors, keypoints_of=some_keypoints), evidence=True)
    assert len(verifier.geometry_used) - before == len(vectors) > before
    for name in ("codes", "second_codes", "scores", "confidence"):
        assert (getattr(every, name) == getattr(plain, name)).all(), name
    assert (every.geometry_used == plain.geometry_used).all()
    assert all(len(found) == (rules.verify or EVIDENCE_PHOTOS) for found in every.verified)


def test_nothing_is_verified_without_pixels_or_keypoints(index: GalleryIndex) -> None:
    vectors = queries_of(index)
    rules = replace(PLAIN, verify=4, sure_below=0.0, sure_above=1.0)
    plain = Decider(index, PLAIN, FITTED).answer(Queries(vectors))
    verifier = FixedVerifier(index, {1: 50})
    bare = FixedVerifier(index, dict.fromkeys(range(6)))
    for decider, keypoints_of in (
        (Decider(index, rules, FITTED, verifier), None),
        (Decider(index, rules, FITTED, verifier), lambda row: None),
        (Decider(index, rules, FITTED, None), some_keypoints),
        (Decider(index, rules, replace(FITTED, geometric_stacker=None), verifier), some_keypoints),
        (Decider(index, rules, FITTED, bare), some_keypoints),
    ):
        answers = decider.answer(Queries(vectors, keypoints_of=keypoints_of))
        assert (answers.scores == plain.scores).all()
        assert (answers.inliers == -1).all()
        assert not answers.geometry_used.any()
    assert not verifier.geometry_used
    assert bare.geometry_used


def test_candidates_are_verified_before_the_nearest_photos(index: GalleryIndex) -> None:
    retriever = Retriever(index, PLAIN)
    found = retriever.search(queries_of(index))
    candidates = make_candidates(retriever, found)
    for row in range(len(found.codes)):
        codes = found.codes[row].tolist()
        first = [
            codes.index(code) for code in candidates.codes[row][:CANDIDATES_COMPARED] if code >= 0
        ]
        rest = [rank for rank in range(len(codes)) if rank not in first]
        for most in (1, 4, 99):
            assert ranks_to_compare(found, candidates, row, most) == (first + rest)[:most]
        assert ranks_to_compare(found, None, row, 5) == [0, 1, 2, 3, 4]


def test_hidden_neighbours_are_never_verified(index: GalleryIndex) -> None:
    rows = np.arange(6)
    hidden = [np.flatnonzero(index.codes != 3)] * 6  # five photos remain
    retriever = Retriever(index, PLAIN)
    found = retriever.search(index.vectors[rows].astype(np.float32), hidden=hidden)
    candidates = make_candidates(retriever, found, hidden)
    assert sorted(ranks_to_compare(found, candidates, 0, 99)) == [0, 1, 2, 3, 4]


def test_the_inlier_row_lists_counts_by_neighbour_position() -> None:
    some = [VerifiedMatch(np.zeros((n, 2), np.float32), np.zeros((n, 2), np.float32), None)
            for n in (5, 0)]  # fmt: skip
    assert inliers_by_rank([some[0], None, some[1]], [3, 0, 1], 5).tolist() == [-1, 0, -1, 5, -1]
    assert inliers_by_rank([], [], 2).tolist() == [-1, -1]


class FixedLocations(LandmarkLocations):
    """Gives the same prior for all locations."""

    def __init__(self, prior: Prior) -> None:
        object.__setattr__(self, "fixed", prior)

    def prior(self, locations, scale_km):  # type: ignore[no-untyped-def]
        return self.fixed  # type: ignore[attr-defined]


def answers_with_prior(index: GalleryIndex, vectors: np.ndarray, prior: Prior) -> Answers:
    rules = replace(PLAIN, location_km=1.0)
    decider = Decider(index, rules, FITTED, locations=FixedLocations(prior))
    return decider.answer(Queries(vectors, locations=[None] * len(vectors)))


def test_the_location_prior_is_added_to_the_log_odds(index: GalleryIndex) -> None:
    vectors = queries_of(index)
    plain = Decider(index, PLAIN, FITTED).answer(Queries(vectors))
    given: list[tuple[int, list[int]]] = []

    def prior(row: int, codes: np.ndarray) -> np.ndarray:
        given.append((row, codes.tolist()))
        return np.where(codes == 2, 0.0, -5.0)

    answers = answers_with_prior(index, vectors, prior)
    assert given == list(enumerate(plain.candidates.codes.tolist()))  # type: ignore[union-attr]
    near = (plain.candidates.codes == 2).any(axis=1)  # type: ignore[union-attr]
    assert near.any()
    assert (answers.codes[near] == 2).all()
    assert answers.scores[~near] == pytest.approx(plain.scores[~near] - 5)
    neutral = answers_with_prior(index, vectors, lambda row, codes: np.zeros(4))
    assert (plain.scores == neutral.scores).all()


def test_a_gallery_of_one_landmark_has_no_second_candidate() -> None:
    index = random_index([5], 6)
    for rules in (PLAIN, PLAIN.with_score("cosine"), PLAIN.with_score("class_centre")):
        answers = Decider(index, rules, FITTED).answer(Queries(queries_near(index, 4)))
        assert (answers.codes == 0).all()
        assert (answers.second_codes == -1).all()


def test_the_second_candidate_of_a_formula_is_another_landmark(index: GalleryIndex) -> None:
    for score in FORMULAS:
        answers = Decider(index, PLAIN.with_score(score), FITTED).answer(Queries(queries_of(index)))
        has_second = answers.second_codes >= 0
        assert (answers.second_codes[has_second] != answers.codes[has_second]).all()


def test_the_learned_score_needs_a_stacker(index: GalleryIndex) -> None:
    with pytest.raises(ValueError, match="needs a stacker"):
        Decider(index, PLAIN, replace(FITTED, stacker=None)).answer(Queries(queries_of(index)))


def test_decisions_by_confidence_thresholds(index: GalleryIndex) -> None:
    decider = Decider(index, replace(PLAIN, answer_above=0.6, doubt_above=0.2), FITTED)
    assert decider.threshold is None
    decisions = [
        decider.decide(confidence, -99.0) for confidence in (1.0, 0.6, 0.59, 0.2, 0.19, 0.0)
    ]
    assert decisions == ["landmark"] * 2 + ["uncertain"] * 2 + ["no_landmark"] * 2


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_decisions_keep_the_stated_false_answer_rate(index: GalleryIndex, rate: float) -> None:
    """New negatives of the same kind are answered no more often than the stated rate."""
    rng = np.random.default_rng(0)
    rules = replace(PLAIN, false_answers=rate, doubt_above=0.2)
    answered = []
    for _ in range(200):
        negatives = tuple(rng.normal(size=150).tolist())
        decider = Decider(index, rules, replace(FITTED, negatives=negatives))
        above = [score for score in negatives if decider.decide(0.9, score) == "landmark"]
        assert len(above) <= rate * 151
        answered += [decider.decide(0.9, score) for score in rng.normal(size=20)]
    promised = int(rate * 151) / 151  # the mean over draws of the negatives
    chance = (promised * (1 - promised) / 4000 + promised / (151 * 200)) ** 0.5
    assert answered.count("landmark") / 4000 == pytest.approx(promised, abs=4 * chance)
    assert answered.count("uncertain") == len(answered) - answered.count("landmark")
    assert decider.decide(0.1, -9.0) == "no_landmark"
    assert decider.decide(0.0, 9.0) == "landmark"  # the score alone decides


def test_too_few_negatives_give_no_answer(index: GalleryIndex) -> None:
    rules = replace(PLAIN, false_answers=0.01)
    decider = Decider(index, rules, replace(FITTED, negatives=tuple(range(98))))
    assert decider.decide(1.0, 1e300) == "uncertain"
    enough = Decider(index, rules, replace(FITTED, negatives=tuple(range(99))))
    assert enough.decide(1.0, 98.0) == "uncertain"
    assert enough.decide(1.0, 98.1) == "landmark"


def test_no_queries_give_no_answers(index: GalleryIndex) -> None:
    for score in ("learned", *FORMULAS):
        rules = replace(PLAIN, score=score)
        answers = Decider(index, rules, FITTED).answer(Queries(np.empty((0, 12), np.float32)))
        assert len(answers.codes) == len(answers.confidence) == 0


def test_no_queries_with_a_location_prior_give_no_answers(index: GalleryIndex) -> None:
    no_vectors = np.empty((0, 12), np.float32)
    assert len(answers_with_prior(index, no_vectors, lambda row, codes: codes).codes) == 0


def test_a_query_unlike_all_photos_has_the_lowest_confidence(index: GalleryIndex) -> None:
    away = unit(-index.vectors.astype(np.float64).mean(axis=0, keepdims=True))
    decider = Decider(index, PLAIN, FITTED)
    lowest = decider.answer(Queries(queries_of(index))).confidence.min()
    assert decider.answer(Queries(away)).confidence[0] < lowest
