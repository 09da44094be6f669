"""Fitting on whole galleries: features against loops, no query sees its own answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from whichlandmark.core.errors import GalleryError, OptionError
from whichlandmark.core.json_options import to_json
from whichlandmark.features.local.keypoints import Keypoints
from whichlandmark.features.local.matching import VerifiedMatch
from whichlandmark.gallery.index import GalleryIndex
from whichlandmark.gallery.records import GalleryTable
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.metrics.ranking import gap
from whichlandmark.recognition.candidates import (
    FEATURES,
    GEOMETRY_FEATURES,
    add_geometry,
    make_candidates,
)
from whichlandmark.recognition.decision import Decider
from whichlandmark.recognition.fitting import leave_one_out
from whichlandmark.recognition.fitting.fit import HeldOutScores, fit_and_score
from whichlandmark.recognition.fitting.leave_one_out import (
    KNOWN,
    NON_LANDMARK,
    UNKNOWN,
    hold_out_queries,
    query_weights,
)
from whichlandmark.recognition.fitting.whitening import LabelledVectors, fit_whitening
from whichlandmark.recognition.folder.settings import read_settings, write_settings
from whichlandmark.recognition.folder.tune import compare_rules
from whichlandmark.recognition.location import LandmarkLocations
from whichlandmark.recognition.query import Queries
from whichlandmark.recognition.retrieval import Retriever
from whichlandmark.recognition.rules import Rules
from whichlandmark.recognition.spatial_verification import SpatialVerifier
from whichlandmark.recognition.stacker import fit_stacker

LANDMARKS, EACH, BANK, DIM = 8, 6, 120, 16
PLAIN = Rules(whitening="none", verify=0)


@pytest.fixture(scope="module")
def index() -> GalleryIndex:
    """Photos scattered around the centre of their landmark, and random distractors."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(LANDMARKS, DIM))
    photos = np.repeat(centres, EACH, axis=0) + 0.8 * rng.normal(size=(LANDMARKS * EACH, DIM))
    vectors = np.concatenate([photos, rng.normal(size=(BANK, DIM))])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    landmarks = [f"l{i}" for i in range(LANDMARKS) for _ in range(EACH)] + [""] * BANK
    ids = [f"p{i}" for i in range(len(vectors))]
    columns = [np.array(c, dtype=object) for c in (ids, ids, landmarks, ids)]
    return GalleryIndex.of(GalleryTable(*columns, vectors.astype(np.float16)))


def queries(index: GalleryIndex, count: int = 9) -> np.ndarray:
    rng = np.random.default_rng(4)
    rows = index.vectors[:: len(index.vectors) // count][:count].astype(np.float32)
    noisy = rows + 0.2 * rng.normal(size=rows.shape).astype(np.float32)
    return np.asarray(noisy / np.linalg.norm(noisy, axis=1, keepdims=True), dtype=np.float32)


def test_candidate_features_match_slow_loops(index: GalleryIndex) -> None:
    vectors = queries(index)
    retriever = Retriever(index, PLAIN)
    candidates = make_candidates(retriever, retriever.search(vectors))
    gallery = index.vectors.astype(np.float64)
    distractors = index.distractor_vectors.astype(np.float64)
    for q, query in enumerate(vectors.astype(np.float64)):
        cos = gallery @ query
        best = {c: max(cos[index.codes == c]) for c in range(LANDMARKS)}
        named = sorted(best, key=lambda c: -best[c])[:4]
        near = np.argsort(-cos)
        assert candidates.codes[q].tolist() == named
        for t, c in enumerate(named):
            other = max(best[d] for d in best if d != c)
            mine = [cos[j] for j in near[:30] if index.codes[j] == c]
            nearest = gallery[next(j for j in near if index.codes[j] == c)]
            centre = gallery[index.codes == c].sum(axis=0)
            expected = {
                "similarity": best[c], "lead": best[c] - other, "company": np.mean(mine[:3]),
                "centre": centre @ query / np.linalg.norm(centre),
                "votes": sum(max(cos[j], 0) ** 3 for j in near[:5] if index.codes[j] == c),
                "unwhitened": best[c], "bank": np.mean(sorted(distractors @ query)[-5:]),
                "photo_bank": np.mean(sorted(distractors @ nearest)[-5:]), "photos": np.log1p(EACH),
                "place": 0.0,
            }  # fmt: skip
            assert set(expected) == set(FEATURES)
            for name, value in expected.items():
                found = candidates.features[q, t, FEATURES.index(name)]
                assert found == pytest.approx(value, abs=2e-3), name


def test_inliers_beyond_chance_count(index: GalleryIndex) -> None:
    retriever = Retriever(index, PLAIN)
    found = retriever.search(queries(index))
    candidates = make_candidates(retriever, found)
    inliers = np.full(found.codes.shape, -1)
    rank = int(np.flatnonzero(found.codes[0] == candidates.codes[0, 1])[0])
    inliers[0, rank], inliers[0, 0] = 26, 5  # 20 beyond chance; none beyond chance
    agreement = np.where(inliers == 26, 4.0, 0.0)
    extra = add_geometry(candidates, found, inliers, agreement)[..., len(FEATURES) :]
    assert len(GEOMETRY_FEATURES) == extra.shape[2]
    assert extra[0, 1] == pytest.approx([np.log(21)] * 3 + [np.log(5)] * 3)
    assert extra[0, 0, [1, 4]] == pytest.approx([-np.log(21), -np.log(5)])
    assert not extra[1:].any()


def test_hiding_a_photo_does_not_reveal_the_answer(index: GalleryIndex) -> None:
    """A hidden photo does not count in the centre, but counts in the landmark's size."""
    rows = np.arange(0, len(index.codes), 7)
    retriever = Retriever(index, PLAIN)
    vectors = index.vectors[rows].astype(np.float32)
    found = retriever.search(vectors, hidden=list(rows[:, None]))
    candidates = make_candidates(retriever, found, list(rows[:, None]))
    assert np.allclose(candidates.features[..., FEATURES.index("photos")], np.log1p(EACH))
    for q, row in enumerate(rows):
        (t,) = np.flatnonzero(candidates.codes[q] == index.codes[row]) if (
            index.codes[row] in candidates.codes[q]) else (None,)  # fmt: skip
        if t is None:
            continue
        others = np.flatnonzero((index.codes == index.codes[row]) & (np.arange(48) != row))
        centre = index.vectors[others].astype(np.float64).sum(axis=0)
        expected = centre @ vectors[q] / np.linalg.norm(centre)
        assert candidates.features[q, t, FEATURES.index("centre")] == pytest.approx(
            expected, abs=2e-3
        )


def test_no_query_uses_a_whitening_fitted_on_it(
    index: GalleryIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted_on: list[tuple[set[str], set[str], set[str]]] = []

    def spy(given: GalleryIndex, rules: Rules, extra: LabelledVectors | None) -> None:
        named = set() if extra is None else set(extra.landmarks)
        fitted_on.append((set(given.ids), set(given.distractor_ids), named))

    monkeypatch.setattr(leave_one_out, "fit_whitening", spy)
    monkeypatch.setattr(leave_one_out, "whitenings_at_once", lambda *_: 1)  # seen in order
    extra = LabelledVectors(index.vectors[:20].astype(np.float32), index.names[index.codes[:20]])
    blocks = hold_out_queries(index, PLAIN, extra)
    assert len(blocks) == len(fitted_on) == 15
    landmark_of = dict(zip(index.ids, index.names[index.codes], strict=True))
    for block, (ids, distractors, names) in zip(blocks, fitted_on, strict=True):
        assert not (set(block.ids) & (ids | distractors))
        if block.kind == UNKNOWN:
            away = {landmark_of[i] for i in block.ids}
            assert not (away & {landmark_of[i] for i in ids})
            assert not (away & names)
        if block.kind == NON_LANDMARK:
            assert not set(block.ids) & set(block.retriever.index.distractor_ids)
    vectors = {k: sorted(i for b in blocks if b.kind == k for i in b.ids) for k in range(3)}
    assert vectors[KNOWN] == vectors[UNKNOWN] == sorted(index.ids)
    assert vectors[NON_LANDMARK] == sorted(index.distractor_ids)


def test_query_kinds_are_weighted_as_the_rules_state(index: GalleryIndex) -> None:
    rules = replace(PLAIN, known_share=0.6, unknown_share=0.1)
    blocks = hold_out_queries(index, rules)
    weights, kinds = query_weights(blocks, rules), np.repeat([b.kind for b in blocks],
                                                      [len(b.ids) for b in blocks])  # fmt: skip
    total = [
        weights[kinds == kind].sum() / weights.sum() for kind in (KNOWN, UNKNOWN, NON_LANDMARK)
    ]
    assert total == pytest.approx([0.6, 0.1, 0.3])


def test_weighted_gap_with_equal_weights_is_gap() -> None:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 80)
    right = (rng.random(80) < 0.5) & (kind == KNOWN)
    outcome = HeldOutScores(rng.normal(size=80), right, np.ones(80), kind, kind)
    assert outcome.gap() == pytest.approx(gap(outcome.scores, right, int((kind == KNOWN).sum())))
    double = replace(outcome, weight=np.full(80, 2.0))
    assert double.gap() == pytest.approx(outcome.gap())


def test_the_stacker_recovers_the_generating_coefficients() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40_000, 2)) * [1, 5] + [3, -2]
    odds = 2 * (features[:, 0] - 3) - 0.2 * (features[:, 1] + 2)
    right = rng.random(len(odds)) < 1 / (1 + np.exp(-odds))
    stacker = fit_stacker(("a", "b"), features, right, np.ones(len(odds)))
    assert stacker.logits(features) == pytest.approx(odds, abs=0.4)
    parts = stacker.contributions(features)
    assert parts.sum(axis=1) + stacker.offset == pytest.approx(stacker.logits(features))
    few = fit_stacker(("a", "b"), features[:30], right[:30], np.ones(30))
    assert few.logits(features[:5]) == pytest.approx(features[:5, 0])  # the first feature alone


def test_learned_answers_are_right_confident_and_deterministic(index: GalleryIndex) -> None:
    rules = Rules(verify=0)
    fitted, outcome = fit_and_score(index, rules)
    again, _ = fit_and_score(index, rules)
    assert to_json(fitted.stacker) == to_json(again.stacker)
    assert outcome.top1() > 0.7
    decider = Decider(index, rules, fitted)
    known = decider.answer(Queries(queries(index)))
    unknown_queries = np.random.default_rng(9).normal(size=(50, DIM)).astype(np.float32)
    unknown_queries /= np.linalg.norm(unknown_queries, axis=1, keepdims=True)
    assert (
        known.confidence.mean() > decider.answer(Queries(unknown_queries)).confidence.mean() + 0.3
    )
    assert ((known.second_codes != known.codes) & (known.second_codes >= 0)).all()


def test_a_stated_false_answer_rate_is_kept(index: GalleryIndex) -> None:
    fitted, _ = fit_and_score(index, Rules(verify=0))
    strict = Decider(index, Rules(verify=0, false_answers=0.05), fitted)
    assert strict.threshold is not None
    share = (np.array(fitted.negatives) >= strict.threshold).mean()
    assert 0.02 < share <= 0.05
    assert strict.decide(0.99, strict.threshold) == "landmark"
    assert strict.decide(0.99, strict.threshold - 1e-6) == "uncertain"
    assert strict.decide(0.1, strict.threshold - 1e-6) == "no_landmark"
    few = replace(fitted, negatives=fitted.negatives[:5])
    never = Decider(index, Rules(verify=0, false_answers=0.05), few)
    assert never.decide(1.0, 1e9) != "landmark"  # five distractors are too few for 5 %


class OneLandmarkVerifier(SpatialVerifier):
    """Finds 40 inliers with the photos of one landmark."""

    def __init__(self, ids: set[str]) -> None:
        self.ids, self.calls = ids, 0

    def keypoints(self, ids):  # type: ignore[no-untyped-def]
        empty = Keypoints(np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8), 1.0)
        return [empty for _ in ids]

    def verify(self, query, ids):  # type: ignore[no-untyped-def]
        self.calls += 1
        points = np.random.default_rng(0).random((40, 2)).astype(np.float32)
        match = VerifiedMatch(points, points, np.eye(3))
        no_match = VerifiedMatch(points[:0], points[:0], None)
        return [match if photo_id in self.ids else no_match for photo_id in ids]


def test_spatial_verification_only_for_open_answers_and_evidence_changes_no_score(
    index: GalleryIndex,
) -> None:
    fitted, _ = fit_and_score(index, Rules(verify=0))
    stacker = fitted.stacker
    assert stacker is not None
    wide = replace(
        stacker, names=FEATURES + GEOMETRY_FEATURES, means=(*stacker.means, *[0.0] * 6),
        scales=(*stacker.scales, *[1.0] * 6), weights=(*stacker.weights, 0.0, 3.0, *[0.0] * 4),
    )  # fmt: skip
    second = set(index.ids[index.codes == 1])
    verifier = OneLandmarkVerifier(second)
    vectors = queries(index)
    rules = Rules(verify=6, sure_above=0.9, sure_below=0.1)
    decider = Decider(index, rules, replace(fitted, geometric_stacker=wide), verifier)
    plain = Decider(index, Rules(verify=0), fitted).answer(Queries(vectors))
    open_rows = (plain.confidence > 0.1) & (plain.confidence < 0.9)
    answers = decider.answer(Queries(vectors, keypoints_of=lambda row: verifier.keypoints([""])[0]))
    assert verifier.calls == open_rows.sum()
    assert (answers.scores[~open_rows] == plain.scores[~open_rows]).all()
    every = decider.answer(
        Queries(vectors, keypoints_of=lambda row: verifier.keypoints([""])[0]), evidence=True
    )
    assert verifier.calls == open_rows.sum() + len(vectors)
    assert (every.scores == answers.scores).all()
    assert all(every.verified)


def test_settings_round_trip_and_damage_is_detected(index: GalleryIndex, tmp_path: Path) -> None:
    rules = Rules(verify=0, whitening_dim=5)
    fitted, _ = fit_and_score(index, rules)
    write_settings(tmp_path, rules, fitted, 7)
    stored, opened, generation = read_settings(tmp_path)
    assert (stored, generation) == (rules, 7)
    assert opened is not None
    assert (opened.projection.axes == fitted.projection.axes).all()  # type: ignore[union-attr]
    assert (opened.stacker, opened.calibration) == (fitted.stacker, fitted.calibration)
    assert opened.negatives == fitted.negatives
    (whitening,) = tmp_path.glob("whitening-*.safetensors")
    data = bytearray(whitening.read_bytes())
    data[-1] ^= 1
    whitening.write_bytes(data)
    with pytest.raises(GalleryError, match="damaged; run `whichlandmark tune"):
        read_settings(tmp_path)
    whitening.unlink()
    with pytest.raises(GalleryError, match="missing"):
        read_settings(tmp_path)


def test_rules_are_chosen_on_leave_one_out_queries(index: GalleryIndex) -> None:
    with SqliteGallery.create(None, "e", DIM) as gallery:
        rows = compare_rules(
            index, Rules(verify=0), None, SpatialVerifier(gallery), lambda *a: None
        )
    assert [row.gap for row in rows] == sorted((row.gap for row in rows), reverse=True)
    assert len(rows) == len({row.name for row in rows}) == 45
    best = fit_and_score(index, rows[0].rules)[1]
    assert best.gap() == pytest.approx(rows[0].gap, abs=1e-9)


def test_whitening_is_overconfident_on_the_photos_it_was_fitted_on(index: GalleryIndex) -> None:
    """Why each fold is searched with a whitening fitted without it."""
    rules = Rules(whitening_dim=12, whitening_shrinkage=0.0)
    whitening = fit_whitening(index, rules)
    assert whitening is not None
    whitened = whitening(index.vectors)
    seen_nearest = np.argsort(-(whitened @ whitened.T), axis=1)[:, 1]
    held_out = [
        b.found.codes[:, 0] == b.truth for b in hold_out_queries(index, rules) if b.kind == KNOWN
    ]
    assert (index.codes[seen_nearest] == index.codes).mean() > np.concatenate(
        held_out
    ).mean() + 0.02


def test_the_location_prior_applies_only_where_both_locations_are_known(
    index: GalleryIndex,
) -> None:
    coordinates = np.full((LANDMARKS, 2), np.nan)
    coordinates[0], coordinates[1] = (48.858, 2.294), (51.5, -0.12)
    prior = LandmarkLocations(coordinates).prior([(48.86, 2.29), None], 5.0)
    near, far, unknown = prior(0, np.array([0, 1, 2]))
    assert far < near <= 0
    assert unknown == 0
    assert not prior(1, np.array([0, 1, 2])).any()


def test_invalid_rules_are_refused() -> None:
    for wrong in ({"unknown_share": 0.6}, {"verify": -1}, {"false_answers": 1.5},
                  {"sure_below": 0.99}, {"location_km": 0.0}, {"whitening_shrinkage": 2.0},
                  {"score": "inlier_vote", "verify": 0}):  # fmt: skip
        with pytest.raises(OptionError):
            Rules(**wrong)  # type: ignore[arg-type]
