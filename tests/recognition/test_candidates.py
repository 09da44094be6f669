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
    GEOMETRY,
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
    scorer: Retriever, raw: np.ndarray, query: np.ndarray, gone: set[int]
) -> dict[int, dict[str, float]]:
    """Each feature by its definition; landmarks in the order of their nearest photos."""
    photos, bank = scorer.vectors.tolist(), scorer.distractor_vectors.tolist()
    codes, asked = scorer.index.codes.tolist(), query.tolist()
    cos = {j: dot(photos[j], asked) for j in range(len(photos)) if j not in gone}
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
        of_query = sorted((dot(n, asked) for n in bank), reverse=True)
        of_photo = sorted((dot(n, photos[j]) for n in bank), reverse=True)
        found[code] = {
            "similarity": cos[j],
            "lead": cos[j] - rival,
            "company": mean(mine[:3]),
            "centre": dot(centre, asked) / math.sqrt(dot(centre, centre)),
            "votes": sum(max(cos[i], 0) ** 3 for i in near[:VOTING_NEIGHBOURS] if codes[i] == code),
            "unwhitened": dot(scorer.index.vectors[j].tolist(), raw.tolist()),
            "bank": mean(of_query[:5]),
            "photo_bank": mean(of_photo[:5]),
            "photos": math.log(1 + codes.count(code)),
        }
    return found


def check(scorer: Retriever, asked: np.ndarray, hidden: HiddenRows | None = None) -> int:
    """Compare all features of all candidates; returns how many were compared."""
    found = scorer.search(asked, hidden=hidden)
    made = make_candidates(scorer, found, hidden)
    compared = 0
    for row, query in enumerate(found.queries):
        gone = set(hidden[row].tolist()) if hidden is not None else set()
        slow = slow_features(scorer, asked[row], query, gone)
        assert made.codes[row].tolist() == [*slow, *[-1] * (CANDIDATES - len(slow))]
        for place, (code, evidence) in enumerate(slow.items()):
            assert set(evidence) == set(FEATURES)
            nearest = found.neighbours.rows[row, made.ranks[row, place]]
            assert scorer.index.codes[nearest] == code
            for name, value in evidence.items():
                told = made.features[row, place, FEATURES.index(name)]
                assert told == pytest.approx(value, abs=2e-3), (name, row, code)
                compared += 1
    return compared


@pytest.mark.parametrize("rules", [PLAIN, WHITE])
def test_every_candidate_feature_matches_plain_python(index: GalleryIndex, rules: Rules) -> None:
    scorer = Retriever(index, rules, fit_whitening(index, rules))
    assert check(scorer, queries_near(index, 15)) == 15 * CANDIDATES * len(FEATURES)


@pytest.mark.parametrize("rules", [PLAIN, WHITE])
def test_hidden_photos_are_neither_neighbours_nor_part_of_a_class_center(
    index: GalleryIndex, rules: Rules
) -> None:
    """One hidden photo, or a whole landmark; the number of photos does not change."""
    scorer = Retriever(index, rules, fit_whitening(index, rules))
    asked = index.vectors.astype(np.float32)
    several = np.flatnonzero(np.bincount(index.codes)[index.codes] > 1)
    itself = list(several[:, None])
    assert check(scorer, asked[several], itself) > 0
    landmark = [np.flatnonzero(index.codes == code) for code in index.codes]
    assert check(scorer, asked, landmark) > 0


def test_the_reference_detects_a_class_center_that_contains_the_query(index: GalleryIndex) -> None:
    """A planted fault: candidates made without the list of hidden photos."""
    scorer = Retriever(index, PLAIN)
    rows = np.flatnonzero(index.codes == 2)
    asked, hidden = index.vectors[rows].astype(np.float32), list(rows[:, None])
    found = scorer.search(asked, hidden=hidden)
    honest, lying = make_candidates(scorer, found, hidden), make_candidates(scorer, found)
    centre = FEATURES.index("centre")
    own = honest.codes == 2
    assert own.any()
    assert (lying.features[own][:, centre] > honest.features[own][:, centre] + 0.02).all()
    assert (lying.features[~own] == honest.features[~own]).all()
    others = [place for place in range(len(FEATURES)) if place != centre]
    assert (lying.features[..., others] == honest.features[..., others]).all()


def test_the_photo_count_does_not_reveal_the_hidden_landmark() -> None:
    """Of landmarks of equal size the true one would stand out if hidden photos were not counted."""
    index = random_index([4] * 6, 10, seed=2)
    scorer, rows = Retriever(index, PLAIN), np.arange(24)
    hidden = list(rows[:, None])
    asked = index.vectors.astype(np.float32)
    made = make_candidates(scorer, scorer.search(asked, hidden=hidden), hidden)
    counts = made.features[..., FEATURES.index("photos")][made.codes >= 0]
    assert counts == pytest.approx(np.full(counts.shape, math.log(5)))


def test_scores_do_not_depend_on_the_other_queries(index: GalleryIndex) -> None:
    scorer, asked = Retriever(index, PLAIN), queries_near(index, 8)
    together = make_candidates(scorer, scorer.search(asked))
    for row in range(8):
        alone = make_candidates(scorer, scorer.search(asked[row : row + 1]))
        assert alone.codes[0].tolist() == together.codes[row].tolist()
        assert alone.features[0] == pytest.approx(together.features[row], abs=1e-5)


def test_a_gallery_of_one_landmark_has_one_candidate() -> None:
    index = random_index([6], 8)
    scorer, asked = Retriever(index, PLAIN), queries_near(index, 3)
    made = make_candidates(scorer, scorer.search(asked))
    assert (made.codes == [0, -1, -1, -1]).all()
    assert not made.features[:, 1:].any()
    assert check(scorer, asked) == 3 * len(FEATURES)


def test_a_gallery_without_landmarks_has_no_candidates() -> None:
    index = random_index([], 8)
    scorer = Retriever(index, PLAIN)
    made = make_candidates(scorer, scorer.search(index.distractor_vectors[:2].astype(np.float32)))
    assert made.codes.shape == (2, CANDIDATES)
    assert (made.codes == -1).all()
    assert not made.features.any()


def test_without_distractors_their_features_are_zero() -> None:
    index = random_index([3, 3], 0)
    scorer = Retriever(index, PLAIN)
    made = make_candidates(scorer, scorer.search(queries_near(index, 4)))
    for name in ("bank", "photo_bank"):
        assert not made.features[..., FEATURES.index(name)].any()


def test_of_equal_photos_the_earlier_landmark_comes_first() -> None:
    same = unit(np.ones((1, 4)))
    index = index_of(["a", "b", "c"], np.repeat(same, 3, axis=0))
    scorer = Retriever(index, PLAIN)
    made = make_candidates(scorer, scorer.search(same))
    assert made.codes[0].tolist() == [0, 1, 2, -1]
    assert made.features[0, :3, FEATURES.index("lead")] == pytest.approx([0, 0, 0], abs=1e-6)


def test_inlier_features_match_plain_python(index: GalleryIndex) -> None:
    scorer = Retriever(index, PLAIN)
    found = scorer.search(queries_near(index, 10))
    made = make_candidates(scorer, found)
    rng = np.random.default_rng(0)
    inliers = np.where(rng.random(found.codes.shape) < 0.4,
                       rng.integers(0, 40, found.codes.shape), -1)  # fmt: skip
    wide = add_geometry(made, found, inliers)
    assert wide.shape[2] == len(FEATURES) + len(GEOMETRY)
    assert (wide[..., : len(FEATURES)] == made.features).all()
    for q in range(10):
        for t, code in enumerate(made.codes[q].tolist()):
            mine, others = [0], [0]
            for neighbour, count in zip(found.codes[q], inliers[q].tolist(), strict=True):
                beyond = max(count - CHANCE_INLIERS, 0)
                (mine if neighbour == code and code >= 0 else others).append(beyond)
            most = math.log(1 + max(mine))
            expected = [most, most - math.log(1 + max(others)), math.log(1 + sum(mine))]
            assert wide[q, t, len(FEATURES) :] == pytest.approx(expected)


def test_inliers_expected_by_chance_count_as_none(index: GalleryIndex) -> None:
    scorer = Retriever(index, PLAIN)
    found = scorer.search(queries_near(index, 3))
    made = make_candidates(scorer, found)
    for inliers in (-1, 0, CHANCE_INLIERS):
        extra = add_geometry(made, found, np.full(found.codes.shape, inliers))
        assert not extra[..., len(FEATURES) :].any()
    more = add_geometry(made, found, np.full(found.codes.shape, CHANCE_INLIERS + 1))
    assert more[0, 0, len(FEATURES)] == pytest.approx(math.log(2))
