"""A default stacker that comes with the embedder: where it decides, and how it fades."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.random_galleries import queries_near, random_index
from whichlandmark.core.json_options import to_json
from whichlandmark.gallery.index import GalleryIndex
from whichlandmark.recognition.calibration import fit_calibration
from whichlandmark.recognition.candidates import FEATURES, make_candidates
from whichlandmark.recognition.decision import MIN_OWN_QUERIES, RULE_OF_THUMB, Decider
from whichlandmark.recognition.fitting.fit import DefaultStackers, fit
from whichlandmark.recognition.fitting.leave_one_out import (
    KNOWN,
    UNKNOWN,
    hold_out_queries,
    query_weights,
)
from whichlandmark.recognition.fitting.whitening import MIN_PHOTOS, fit_whitening
from whichlandmark.recognition.query import Queries
from whichlandmark.recognition.retrieval import Retriever
from whichlandmark.recognition.rules import Rules
from whichlandmark.recognition.stacker import Stacker, fit_stacker, ridge_logistic

RULES = Rules(verify=0)

DEFAULT = Stacker(names=("similarity", "lead"), means=(0.5, 0.1), scales=(0.2, 0.1),
                  weights=(2.0, 1.0), offset=-1.0)  # fmt: skip

CASES = ("learned", "learned_alone", "pca", "pca_alone", "as_embedded", "one_landmark")

DEFAULT_FIT = {case: {"plain": to_json(DEFAULT), "verified": to_json(DEFAULT)} for case in CASES}


def with_default(index: GalleryIndex) -> GalleryIndex:
    return replace(index, default_fit=DEFAULT_FIT)


def test_ridge_logistic_is_the_minimum_that_a_general_optimizer_finds() -> None:
    from scipy.optimize import minimize

    rng = np.random.default_rng(0)
    rows, start = np.append(rng.normal(size=(60, 3)), np.ones((60, 1)), axis=1), rng.normal(size=4)
    right, weights = rng.random(60) < 0.4, rng.random(60)

    def loss(c: np.ndarray) -> float:
        total = 2.5 / 2 * sum((a - b) ** 2 for a, b in zip(c, start, strict=True))
        for row, is_right, weight in zip(rows, right, weights, strict=True):
            p = 1 / (1 + np.exp(-float(row @ c)))
            total -= weight * np.log(p if is_right else 1 - p)
        return total

    found = ridge_logistic(rows, right, weights, start, 2.5)
    assert found == pytest.approx(minimize(loss, start, tol=1e-12).x, abs=1e-4)


def test_ridge_logistic_survives_examples_that_separate_perfectly() -> None:
    rows = np.array([[-1000.0, 1], [1000.0, 1]])
    found = ridge_logistic(rows, np.array([False, True]), np.ones(2), np.array([50.0, 0]), 1.0)
    assert np.isfinite(found).all()


def test_few_examples_keep_the_default_and_many_replace_it() -> None:
    rng = np.random.default_rng(0)
    names = ("similarity", "lead", "votes")

    def fitted(count: int) -> Stacker:
        rows = rng.normal([0.5, 0.1, 1.0], [0.2, 0.1, 1.0], size=(count, 3))
        right = rng.random(count) < 1 / (1 + np.exp(-3 * (rows[:, 2] - 1)))  # only votes count
        return fit_stacker(names, rows, right, np.ones(count), default=DEFAULT)

    few, many = fitted(6), fitted(20_000)
    assert few.weights[0] == pytest.approx(2.0, abs=0.15)
    assert few.weights[2] == pytest.approx(0.0, abs=0.15)
    assert abs(many.weights[0]) < 0.2
    assert many.weights[2] == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("outcome", [True, False])
def test_examples_of_one_outcome_leave_the_default_as_it_is(outcome: bool) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3))
    names = ("lead", "votes", "similarity")  # another order, and a feature that it lacks
    found = fit_stacker(names, rows, np.full(50, outcome), np.ones(50), default=DEFAULT)
    expected = DEFAULT.logits(rows[:, [2, 0]])
    assert found.logits(rows) == pytest.approx(expected)


def test_a_curve_of_few_log_odds_stays_near_them() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=12)
    right = rng.random(12) < 0.5
    near = fit_calibration(scores, right, np.ones(12), log_odds=True)
    assert near.slope == pytest.approx(1, abs=0.3)
    assert near.offset == pytest.approx(0, abs=0.3)
    none = fit_calibration(np.empty(0), np.empty(0, dtype=bool), np.empty(0), log_odds=True)
    assert (none.slope, none.offset) == (1, 0)


def test_the_case_of_a_gallery() -> None:
    cases = {
        "learned": random_index([3] * 10, 30),
        "learned_alone": random_index([3] * 10, 0),
        "pca": random_index([1] * 30, 30),
        "pca_alone": random_index([1] * 30, 0),
        "as_embedded": random_index([1] * 4, 0),
        "one_landmark": random_index([8], 60),
    }
    for case, index in cases.items():
        known = with_default(index)
        assert DefaultStackers.case(known, fit_whitening(known, RULES)) == case


def test_few_photos_or_one_landmark_are_not_whitened() -> None:
    assert fit_whitening(with_default(random_index([1] * (MIN_PHOTOS - 1), 0)), RULES) is None
    assert fit_whitening(with_default(random_index([1] * MIN_PHOTOS, 0)), RULES) is not None
    assert fit_whitening(with_default(random_index([30], 40)), RULES) is None
    assert fit_whitening(random_index([1] * 5, 0), RULES) is None  # nor without a default
    assert fit_whitening(random_index([2] * 3, 0), RULES) is not None


@pytest.mark.parametrize("sizes", [[1], [1] * 12, [5]])
def test_a_gallery_that_cannot_question_itself_answers_by_the_default(sizes: list[int]) -> None:
    index = with_default(random_index(sizes, 0, spread=0.2))
    fitted = fit(index, RULES)
    assert fitted.own_queries == 0
    assert fitted.note is not None
    assert "default calibration" in fitted.note
    answers = Decider(index, RULES, fitted).answer(Queries(queries_near(index, 20, noise=0.05)))
    features = answers.candidates.features[:, 0, :2]
    expected = 1 / (1 + np.exp(-DEFAULT.logits(features)))
    squeezed = 0.88 + (expected - 0.88) / 2  # without distractors at most 0.94, in the same order
    assert answers.confidence == pytest.approx(np.minimum(expected, squeezed))


def test_without_a_default_such_a_gallery_answers_by_a_rule_of_thumb() -> None:
    index = random_index([1] * 12, 0)
    fitted = fit(index, RULES)
    assert fitted.own_queries == RULE_OF_THUMB
    assert fitted.note is not None
    assert "rule of thumb" in fitted.note


def test_the_note_goes_when_the_gallery_questions_itself() -> None:
    fitted = fit(with_default(random_index([8] * 8, 60, spread=0.3)), RULES)
    assert fitted.own_queries is not None
    assert fitted.own_queries >= MIN_OWN_QUERIES
    assert fitted.note is None


def test_unknown_landmarks_stand_in_for_missing_distractors() -> None:
    blocks = hold_out_queries(random_index([4] * 5, 0), RULES)
    kinds = np.concatenate([np.full(len(b.ids), b.kind) for b in blocks])
    for stand_in, share in ((1.0, 0.5), (0.75, 0.125 + 0.75 * 0.375), (0.0, 0.125)):
        weights = query_weights(blocks, RULES, stand_in=stand_in)
        unknown, known = weights[kinds == UNKNOWN].sum(), weights[kinds == KNOWN].sum()
        assert unknown / known == pytest.approx(share / 0.5)
    with_bank = hold_out_queries(random_index([4] * 5, 20), RULES)
    assert np.array_equal(
        query_weights(with_bank, RULES, stand_in=0.5), query_weights(with_bank, RULES)
    )


def test_formula_scores_have_no_default() -> None:
    index = with_default(random_index([1] * 12, 0))
    assert DefaultStackers.of(index, RULES.with_score("cosine"), None).plain is None


def test_the_place_feature_is_what_the_query_lacks_of_its_nearest_photo() -> None:
    index = random_index([4, 4, 4], 10)
    evidence = {tuple(v): float(i) for i, v in enumerate(index.vectors.astype(np.float32))}

    def place(vectors: np.ndarray) -> np.ndarray:
        return np.array([evidence.get(tuple(v), 5.5) for v in np.asarray(vectors, np.float32)])

    known = replace(index, place_evidence=place)
    queries = queries_near(index, 7)  # not photos of the gallery: 5.5
    retriever = Retriever(known, RULES, None)
    found = retriever.search(queries)
    candidates = make_candidates(retriever, found)
    gaps = candidates.features[..., FEATURES.index("place")]
    rows = np.take_along_axis(found.neighbours.rows, candidates.ranks, axis=1)
    for query in range(7):
        for t, code in enumerate(candidates.codes[query]):
            expected = min(0.0, 5.5 - float(rows[query, t])) if code >= 0 else 0.0
            assert gaps[query, t] == pytest.approx(expected)
    plain = make_candidates(Retriever(index, RULES, None), found)
    assert not plain.features[..., FEATURES.index("place")].any()
    others = [name for name in FEATURES if name != "place"]
    for name in others:
        at = FEATURES.index(name)
        assert candidates.features[..., at] == pytest.approx(plain.features[..., at], abs=1e-6)
