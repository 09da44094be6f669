"""Fitting on leave-one-out queries: scores are held out, weighted and deterministic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.random_galleries import random_index
from whichlandmark.core.json_options import to_json
from whichlandmark.features.local.keypoints import Keypoints
from whichlandmark.features.local.matching import VerifiedMatch
from whichlandmark.gallery.index import GalleryIndex
from whichlandmark.metrics.ranking import gap
from whichlandmark.recognition import calibration
from whichlandmark.recognition.calibration import threshold_for
from whichlandmark.recognition.candidates import FEATURES, GEOMETRY_FEATURES
from whichlandmark.recognition.fitting import fit as fit_module
from whichlandmark.recognition.fitting.fit import (
    FitExamples,
    HeldOutScores,
    fit,
    fit_and_score,
    fit_stackers,
)
from whichlandmark.recognition.fitting.leave_one_out import (
    KNOWN,
    NON_LANDMARK,
    UNKNOWN,
    hold_out_queries,
)
from whichlandmark.recognition.rules import FORMULAS, Rules
from whichlandmark.recognition.spatial_verification import SpatialVerifier
from whichlandmark.recognition.stacker import Stacker, fit_stacker

PLAIN = Rules(whitening="none", verify=0)
OPEN = Rules(whitening="none", verify=4, sure_below=0.0, sure_above=1.0)


@pytest.fixture(scope="module")
def index() -> GalleryIndex:
    return random_index([6] * 9, 60, spread=0.9, seed=11)


def random_scores(count: int, seed: int = 0, levels: int = 0) -> HeldOutScores:
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, count)
    scores = rng.normal(size=count)
    if levels:
        scores = np.round(scores * levels) / levels
    right = (rng.random(count) < 0.6) & (kind == KNOWN)
    return HeldOutScores(scores, right, rng.uniform(0.2, 3, count), kind, np.arange(count))


@pytest.mark.parametrize("seed", range(5))
def test_gap_with_equal_weights_equals_the_metric(seed: int) -> None:
    outcome = random_scores(70, seed)
    known = int((outcome.kind == KNOWN).sum())
    for weight in (1.0, 0.3):
        same = replace(outcome, weight=np.full(70, weight))
        assert same.gap() == pytest.approx(gap(outcome.scores, outcome.right, known))


def slow_gap(outcome: HeldOutScores) -> float:
    """Σ w·P·right / Σ w, each precision P computed from all queries that score as high."""
    rows = list(zip(outcome.scores, outcome.right, outcome.weight, outcome.kind, strict=True))
    total = 0.0
    for score, right, weight, _ in rows:
        if right:
            above = [(r, w) for s, r, w, _ in rows if s >= score]
            total += weight * sum(w for r, w in above if r) / sum(w for _, w in above)
    return total / sum(w for *_, w, kind in rows if kind == KNOWN)


@pytest.mark.parametrize("levels", [0, 2])
def test_weighted_gap_matches_a_slow_computation(levels: int) -> None:
    outcome = random_scores(60, 3, levels)
    assert outcome.gap() == pytest.approx(slow_gap(outcome))


def test_gap_does_not_depend_on_query_order() -> None:
    outcome = random_scores(60, 4, levels=2)
    order = np.random.default_rng(0).permutation(60)
    shuffled_rows = HeldOutScores(*(getattr(outcome, name)[order]
                      for name in ("scores", "right", "weight", "kind", "group")))  # fmt: skip
    assert shuffled_rows.gap() == pytest.approx(outcome.gap())


def test_a_repeated_query_counts_twice() -> None:
    outcome = replace(random_scores(40, 5), weight=np.ones(40))
    twice = np.concatenate([np.arange(40), np.arange(12)])
    repeated = HeldOutScores(outcome.scores[twice], outcome.right[twice], np.ones(52),
                       outcome.kind[twice], twice)  # fmt: skip
    weights = np.where(np.arange(40) < 12, 2.0, 1.0)
    assert replace(outcome, weight=weights).gap() == pytest.approx(repeated.gap())


def test_without_known_queries_gap_is_undefined() -> None:
    outcome = random_scores(20)
    none = replace(outcome, kind=np.full(20, NON_LANDMARK), right=np.zeros(20, dtype=bool))
    assert (none.gap(), none.top1(), none.answered(0.1)) == (0.0, 0.0, 0.0)


def test_the_answered_share_matches_a_hand_computation() -> None:
    outcome = random_scores(400, 6)
    for rate in (0.02, 0.1, 0.5):
        threshold = threshold_for(rate, outcome.scores[outcome.kind == NON_LANDMARK])
        known = outcome.kind == KNOWN
        answered = [r and s >= threshold for r, s in
                    zip(outcome.right[known], outcome.scores[known], strict=True)]  # fmt: skip
        assert outcome.answered(rate) == pytest.approx(sum(answered) / known.sum())
        negatives = outcome.scores[outcome.kind == NON_LANDMARK]
        assert (negatives >= threshold).mean() <= rate


def test_scores_come_from_stackers_that_did_not_see_the_landmark(
    index: GalleryIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each query's score equals that of the one stacker fitted without its whole group."""
    examples = FitExamples.of(hold_out_queries(index, PLAIN), PLAIN)
    fits: list[tuple[set[int], Stacker]] = []

    def spy(names: tuple[str, ...], part: FitExamples, default: Stacker | None) -> Stacker:
        assert default is None  # the embedder of these vectors has none
        present = part.codes >= 0
        weights = np.repeat(part.weight[:, None], present.shape[1], axis=1)
        stacker = fit_stacker(names, part.features[present], part.right[present], weights[present])
        fits.append((set(part.group.tolist()), stacker))
        return stacker

    monkeypatch.setattr(fit_module, "_fit", spy)
    _, outcome = fit_stackers(hold_out_queries(index, PLAIN), PLAIN, None)
    all_groups = set(examples.group.tolist())
    (whole,) = [stacker for groups, stacker in fits if groups == all_groups]
    folds = [(groups, stacker) for groups, stacker in fits if groups != all_groups]
    assert len(folds) == fit_module.FOLDS
    for row, group in enumerate(examples.group.tolist()):
        (stacker,) = [stacker for groups, stacker in folds if group not in groups]
        logits = np.where(examples.codes[row] < 0, -np.inf, stacker.logits(examples.features[row]))
        assert outcome.scores[row] == pytest.approx(logits.max())
        assert outcome.right[row] == examples.right[row, logits.argmax()]
    in_sample = whole.logits(examples.features).max(axis=1)
    assert not np.allclose(in_sample, outcome.scores)  # a planted fault: not held out


@pytest.mark.parametrize("score", ["learned", "cosine", "both_penalties"])
def test_calibration_is_fitted_on_held_out_scores(
    index: GalleryIndex, score: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[np.ndarray, ...]] = []
    plain = calibration.fit_calibration

    def spy(scores, right, weights, **more):  # type: ignore[no-untyped-def]
        given.append((scores, right, weights, more["groups"]))
        return plain(scores, right, weights, **more)

    monkeypatch.setattr(fit_module, "fit_calibration", spy)
    rules = replace(PLAIN, score=score)  # type: ignore[arg-type]
    fitted, outcome = fit_and_score(index, rules)
    ((scores, right, weights, groups),) = given
    assert (scores == outcome.scores).all()
    assert (right == outcome.right).all()
    assert (weights == outcome.weight).all()
    assert (groups == outcome.group).all()
    assert fitted.calibration == plain(scores, right, weights, groups=groups)
    # Over the mix that the rules state, confidence is the share of right answers.
    confidence = fitted.calibration.confidence(outcome.scores)
    assert np.average(confidence, weights=weights) == pytest.approx(
        np.average(right, weights=weights), abs=0.03
    )
    assert (fitted.stacker is not None) == (score == "learned")


@pytest.mark.parametrize("score", FORMULAS)
def test_formula_scores_equal_their_votes(index: GalleryIndex, score: str) -> None:
    rules = PLAIN.with_score(score)  # type: ignore[arg-type]
    blocks = hold_out_queries(index, rules)
    fits, outcome = fit_stackers(blocks, rules, None)
    assert fits == (None, None)
    at = 0
    for block in blocks:
        votes = block.retriever.votes(block.found)
        for row in range(len(block.ids)):
            assert outcome.scores[at] == votes.scores[row]
            assert outcome.right[at] == (block.truth[row] >= 0
                                         and votes.codes[row] == block.truth[row])  # fmt: skip
            at += 1
    assert at == len(outcome.scores)
    assert not outcome.right[outcome.kind != KNOWN].any()


def test_negatives_are_the_scores_of_queries_without_a_landmark(index: GalleryIndex) -> None:
    fitted, outcome = fit_and_score(index, PLAIN)
    expected = sorted(outcome.scores[outcome.kind == NON_LANDMARK].tolist())
    assert list(fitted.negatives) == expected
    assert len(expected) == 60


def test_fitting_is_deterministic(index: GalleryIndex) -> None:
    rules = Rules(whitening_dim=8, verify=0)
    (one, first), (two, second) = fit_and_score(index, rules), fit_and_score(index, rules)
    assert to_json(one.stacker) == to_json(two.stacker)
    assert (one.calibration, one.negatives) == (two.calibration, two.negatives)
    assert one.projection is not None
    assert two.projection is not None
    assert (one.projection.axes == two.projection.axes).all()
    assert (first.scores == second.scores).all()
    assert to_json(fit(index, rules).stacker) == to_json(one.stacker)


def test_shuffled_labels_give_low_scores(index: GalleryIndex) -> None:
    codes = np.random.default_rng(0).permutation(index.codes)
    _, true_labels = fit_and_score(index, PLAIN)
    _, shuffled = fit_and_score(replace(index, codes=codes), PLAIN)
    assert true_labels.top1() > 0.7
    assert true_labels.gap() > 0.5
    assert shuffled.top1() < 0.35
    assert shuffled.gap() < 0.2


def test_a_gallery_too_small_for_leave_one_out_still_answers() -> None:
    fitted, outcome = fit_and_score(random_index([], 7), PLAIN)
    assert len(outcome.scores) == 0
    assert outcome.gap() == 0.0
    assert fitted.stacker is not None
    scores = fitted.stacker.logits(np.array([[-9.0], [9.0]]))
    confidence = fitted.calibration.confidence(scores)
    assert confidence[0] == confidence[1] < 0.25  # nothing is named without matching points


class LandmarkVerifier(SpatialVerifier):
    """Gives 30 inliers between photos of one landmark, and 3 between others."""

    def __init__(self, index: GalleryIndex, without: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        self.name = dict(zip(index.ids, index.codes.tolist(), strict=True))
        self.without = without
        self.pairs: list[tuple[str, list[str]]] = []

    def keypoints(self, ids):  # type: ignore[no-untyped-def]
        return [None if photo_id in self.without else Named(photo_id) for photo_id in ids]

    def verify(self, query, ids):  # type: ignore[no-untyped-def]
        self.pairs.append((query.photo, list(ids)))
        mine = self.name.get(query.photo, -1)
        return [verified(30 if self.name[i] == mine else 3) for i in ids]


class Named(Keypoints):
    def __init__(self, photo: str) -> None:
        super().__init__(np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8), 1.0)
        object.__setattr__(self, "photo", photo)


def verified(inliers: int) -> VerifiedMatch:
    points = np.zeros((inliers, 2), np.float32)
    return VerifiedMatch(points, points, None)


def test_spatial_verification_features_are_fitted_and_no_photo_is_matched_with_itself(
    index: GalleryIndex,
) -> None:
    verifier = LandmarkVerifier(index)
    (stacker, geometric), outcome = fit_stackers(hold_out_queries(index, OPEN), OPEN, verifier)
    _, plain = fit_stackers(hold_out_queries(index, PLAIN), PLAIN, None)
    assert stacker is not None
    assert geometric is not None
    assert geometric.names == FEATURES + GEOMETRY_FEATURES
    assert sum(geometric.weights[-6:]) > 1
    assert outcome.gap() > plain.gap() + 0.05
    kinds = {KNOWN: 54, UNKNOWN: 54, NON_LANDMARK: 60}
    assert {k: int((outcome.kind == k).sum()) for k in kinds} == kinds
    compared = [photo for photo, _ in verifier.pairs]
    assert len(compared) == sum(kinds.values())
    for photo, ids in verifier.pairs:
        assert photo not in ids
        assert len(ids) == len(set(ids)) <= OPEN.verify
    # A landmark's photos meet each other in known queries only.
    met = sum(any(verifier.name[i] == verifier.name.get(photo) for i in ids)
              for photo, ids in verifier.pairs)  # fmt: skip
    assert met <= kinds[KNOWN]


def test_only_a_weighted_sample_is_spatially_verified(
    index: GalleryIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "VERIFIED_PER_KIND", 30)
    verifier = LandmarkVerifier(index)
    _, outcome = fit_stackers(hold_out_queries(index, OPEN), OPEN, verifier)
    assert len(verifier.pairs) == len(outcome.scores) == 90
    total = outcome.weight.sum()
    mix = [outcome.weight[outcome.kind == k].sum() / total for k in (KNOWN, UNKNOWN, NON_LANDMARK)]
    assert mix == pytest.approx([0.5, 0.125, 0.375])


def test_photos_without_keypoints_are_left_out_of_the_geometry_fit(
    index: GalleryIndex,
) -> None:
    bare = set(index.ids[::2]) | set(index.distractor_ids[::2])
    verifier = LandmarkVerifier(index, without=bare)
    (_, geometric), outcome = fit_stackers(hold_out_queries(index, OPEN), OPEN, verifier)
    assert geometric is not None
    assert not {photo for photo, _ in verifier.pairs} & bare
    assert np.isfinite(outcome.scores).all()
    all_groups = set(index.ids) | set(index.distractor_ids)
    (_, none), whole = fit_stackers(
        hold_out_queries(index, OPEN), OPEN, LandmarkVerifier(index, without=all_groups)
    )
    assert none is None
    assert len(whole.scores) == 54 + 54 + 60


def test_inlier_scores_count_inliers(index: GalleryIndex) -> None:
    rules = Rules(verify=4).with_score("inlier_vote")
    verifier = LandmarkVerifier(index)
    _, outcome = fit_stackers(hold_out_queries(index, rules), rules, verifier)
    _, blind = fit_stackers(hold_out_queries(index, rules), rules, None)
    assert len(verifier.pairs) == len(outcome.scores)
    assert outcome.top1() >= blind.top1()
    assert outcome.gap() > blind.gap()
