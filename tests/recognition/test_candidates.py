"""Candidate features against plain Python, one photo at a time; hidden photos have no effect."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.support.random_galleries import index_of, queries_near, random_index, unit
from whichlandmark.gallery.index import GalleryIndex
from whichlandmark.recognition.candidates import (
    CANDIDATES,
    CHANCE_INLIERS,
    FEATURES,
    GEOMETRY_FEATURES,
    VOTING_NEIGHBOURS,
    add_geometry,
    make_candidates,
)
from whichlandmark.recognition.fitting.whitening import fit_whitening
from whichlandmark.recognition.retrieval import SEARCH_DEPTH, HiddenRows, Retriever
from whichlandmark.recognition.rules import Rules

SIZES = [9, 1, 5, 3, 7, 2, 4]
PLAIN = Rules(whitening="none", verify=0)
WHITE = Rules(whitening="learned", whitening_dim=7, verify=0)


@pytest.fixture(scope="module")
def index() -> GalleryIndex:
    return random_index(SIZES, 25, seed=5)


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def slow_features(
    retriever: Retriever, raw: np.ndarray, query: np.ndarray, gone: set[int]
) -> dict[int, dict[str, float]]:
    """Each feature by its definition; landmarks in the order of their nearest photos."""
    photos, distractors = retriever.vectors[:].tolist(), retriever.distractor_vectors[:].tolist()
    codes, vectors = retriever.index.codes.tolist(), query.tolist()
    cos = {j: dot(photos[j], vectors) for j in range(len(photos)) if j not in gone}
    near = sorted(cos, key=lambda j: -cos[j])[:SEARCH_DEPTH]
    found: dict[int, dict[str, float]] = {}
    first = {code: next(j for j in near if codes[j] == code) for code in {codes[j] for j in near}}
    for code in sorted(first, key=lambda c: -cos[first[c]])[:CANDIDATES]:
        j = first[code]
        rivals = [cos[other] for c, other in first.items() if c != code]
        # All neighbours show one landmark: others are at most as similar as the last of them.
        rival = max(rivals) if rivals else min(cos[i] for i in near)
        mine = [cos[i] for i in near if codes[i] == code]
        seen = [photos[i] for i in cos if codes[i] == code]
        centre = [sum(parts) for parts in zip(*seen, strict=True)]
        of_query = sorted((dot(n, vectors) for n in distractors), reverse=True)
        of_photo = sorted((dot(n, photos[j]) for n in distractors), reverse=True)
        found[code] = {
            "similarity": cos[j],
            "lead": cos[j] - rival,
            "company": mean(mine[:3]),
            "centre": dot(centre, vectors) / math.sqrt(dot(centre, centre)),
            "votes": sum(max(cos[i], 0) ** 3 for i in near[:VOTING_NEIGHBOURS] if codes[i] == code),
            "unwhitened": dot(retriever.index.vectors[j].tolist(), raw.tolist()),
            "bank": mean(of_query[:5]),
            "photo_bank": mean(of_photo[:5]),
            "photos": math.log(1 + codes.count(code)),
            "place": 0.0,  # nothing says what these vectors show
        }
    return found


def check(retriever: Retriever, vectors: np.ndarray, hidden: HiddenRows | None = None) -> int:
    """Compare all features of all candidates; returns how many were compared."""
    found = retriever.search(vectors, hidden=hidden)
    candidates = make_candidates(retriever, found, hidden)
    compared = 0
    for row, query in enumerate(found.queries):
        gone = set(hidden[row].tolist()) if hidden is not None else set()
        slow = slow_features(retriever, vectors[row], query, gone)
        assert candidates.codes[row].tolist() == [*slow, *[-1] * (CANDIDATES - len(slow))]
        for place, (code, evidence) in enumerate(slow.items()):
            assert set(evidence) == set(FEATURES)
            nearest = found.neighbours.rows[row, candidates.ranks[row, place]]
            assert retriever.index.codes[nearest] == code
            for name, value in evidence.items():
                found_value = candidates.features[row, place, FEATURES.index(name)]
                assert found_value == pytest.approx(value, abs=2e-3), (name, row, code)
                compared += 1
    return compared


@pytest.mark.parametrize("rules", [PLAIN, WHITE])
def test_every_candidate_feature_matches_plain_python(index: GalleryIndex, rules: Rules) -> None:
    retriever = Retriever(index, rules, fit_whitening(index, rules))
    assert check(retriever, queries_near(index, 15)) == 15 * CANDIDATES * len(FEATURES)


@pytest.mark.parametrize("rules", [PLAIN, WHITE])
def test_hidden_photos_are_neither_neighbours_nor_part_of_a_class_center(
    index: GalleryIndex, rules: Rules
) -> None:
    """One hidden photo, or a whole landmark; the number of photos does not change."""
    retriever = Retriever(index, rules, fit_whitening(index, rules))
    vectors = index.vectors.astype(np.float32)
    several = np.flatnonzero(np.bincount(index.codes)[index.codes] > 1)
    itself = list(several[:, None])
    assert check(retriever, vectors[several], itself) > 0
    landmark = [np.flatnonzero(index.codes == code) for code in index.codes]
    assert check(retriever, vectors, landmark) > 0


def test_the_reference_detects_a_class_center_that_contains_the_query(index: GalleryIndex) -> None:
    """A planted fault: candidates made without the list of hidden photos."""
    retriever = Retriever(index, PLAIN)
    rows = np.flatnonzero(index.codes == 2)
    vectors, hidden = index.vectors[rows].astype(np.float32), list(rows[:, None])
    found = retriever.search(vectors, hidden=hidden)
    correct, leaking = make_candidates(retriever, found, hidden), make_candidates(retriever, found)
    centre = FEATURES.index("centre")
    own = correct.codes == 2
    assert own.any()
    assert (leaking.features[own][:, centre] > correct.features[own][:, centre] + 0.02).all()
    assert (leaking.features[~own] == correct.features[~own]).all()
    others = [place for place in range(len(FEATURES)) if place != centre]
    assert (leaking.features[..., others] == correct.features[..., others]).all()


def test_the_photo_count_does_not_reveal_the_hidden_landmark() -> None:
    """Of landmarks of equal size the true one would stand out if hidden photos were not counted."""
    index = random_index([4] * 6, 10, seed=2)
    retriever, rows = Retriever(index, PLAIN), np.arange(24)
    hidden = list(rows[:, None])
    vectors = index.vectors.astype(np.float32)
    candidates = make_candidates(retriever, retriever.search(vectors, hidden=hidden), hidden)
    counts = candidates.features[..., FEATURES.index("photos")][candidates.codes >= 0]
    assert counts == pytest.approx(np.full(counts.shape, math.log(5)))


def test_scores_do_not_depend_on_the_other_queries(index: GalleryIndex) -> None:
    retriever, vectors = Retriever(index, PLAIN), queries_near(index, 8)
    together = make_candidates(retriever, retriever.search(vectors))
    for row in range(8):
        alone = make_candidates(retriever, retriever.search(vectors[row : row + 1]))
        assert alone.codes[0].tolist() == together.codes[row].tolist()
        assert alone.features[0] == pytest.approx(together.features[row], abs=1e-5)


def test_a_gallery_of_one_landmark_has_one_candidate() -> None:
    index = random_index([6], 8)
    retriever, vectors = Retriever(index, PLAIN), queries_near(index, 3)
    candidates = make_candidates(retriever, retriever.search(vectors))
    assert (candidates.codes == [0, -1, -1, -1]).all()
    assert not candidates.features[:, 1:].any()
    assert check(retriever, vectors) == 3 * len(FEATURES)


def test_a_gallery_without_landmarks_has_no_candidates() -> None:
    index = random_index([], 8)
    retriever = Retriever(index, PLAIN)
    vectors = index.distractor_vectors[:2].astype(np.float32)
    candidates = make_candidates(retriever, retriever.search(vectors))
    assert candidates.codes.shape == (2, CANDIDATES)
    assert (candidates.codes == -1).all()
    assert not candidates.features.any()


def test_without_distractors_their_features_are_zero() -> None:
    index = random_index([3, 3], 0)
    retriever = Retriever(index, PLAIN)
    candidates = make_candidates(retriever, retriever.search(queries_near(index, 4)))
    for name in ("bank", "photo_bank"):
        assert not candidates.features[..., FEATURES.index(name)].any()


def test_of_equal_photos_the_earlier_landmark_comes_first() -> None:
    same = unit(np.ones((1, 4)))
    index = index_of(["a", "b", "c"], np.repeat(same, 3, axis=0))
    retriever = Retriever(index, PLAIN)
    candidates = make_candidates(retriever, retriever.search(same))
    assert candidates.codes[0].tolist() == [0, 1, 2, -1]
    assert candidates.features[0, :3, FEATURES.index("lead")] == pytest.approx([0, 0, 0], abs=1e-6)


def test_inlier_features_match_plain_python(index: GalleryIndex) -> None:
    retriever = Retriever(index, PLAIN)
    found = retriever.search(queries_near(index, 10))
    candidates = make_candidates(retriever, found)
    rng = np.random.default_rng(0)
    inliers = np.where(rng.random(found.codes.shape) < 0.4,
                       rng.integers(0, 40, found.codes.shape), -1)  # fmt: skip
    agreement = np.where(inliers >= 0, rng.random(inliers.shape) * 9, 0)
    extended = add_geometry(candidates, found, inliers, agreement)
    assert extended.shape[2] == len(FEATURES) + len(GEOMETRY_FEATURES)
    assert (extended[..., : len(FEATURES)] == candidates.features).all()
    for q in range(10):
        for t, code in enumerate(candidates.codes[q].tolist()):
            mine, others = [0], [0]
            for neighbour, count in zip(found.codes[q], inliers[q].tolist(), strict=True):
                beyond = max(count - CHANCE_INLIERS, 0)
                (mine if neighbour == code and code >= 0 else others).append(beyond)
            most = math.log(1 + max(mine))
            expected = [most, most - math.log(1 + max(others)), math.log(1 + sum(mine))]
            own = (found.codes[q] == code) & (code >= 0)
            best, other = (np.log1p(agreement[q][rows].max(initial=0)) for rows in (own, ~own))
            expected += [best, best - other, np.log1p(agreement[q][own].sum())]
            assert extended[q, t, len(FEATURES) :] == pytest.approx(expected)


def test_inliers_expected_by_chance_count_as_none(index: GalleryIndex) -> None:
    retriever = Retriever(index, PLAIN)
    found = retriever.search(queries_near(index, 3))
    candidates = make_candidates(retriever, found)
    none = np.zeros(found.codes.shape)
    for inliers in (-1, 0, CHANCE_INLIERS):
        extra = add_geometry(candidates, found, np.full(found.codes.shape, inliers), none)
        assert not extra[..., len(FEATURES) :].any()
    counts = np.full(found.codes.shape, CHANCE_INLIERS + 1)
    more = add_geometry(candidates, found, counts, none)
    assert more[0, 0, len(FEATURES)] == pytest.approx(math.log(2))
