"""Retrieval scores against formulas written as loops, on random vectors."""

from __future__ import annotations

import numpy as np
import pytest

from whichlandmark.core.errors import OptionError
from whichlandmark.core.json_options import from_json, to_json
from whichlandmark.gallery.index import GalleryIndex
from whichlandmark.gallery.records import GalleryTable
from whichlandmark.recognition.reranking.class_centres import distractor_penalty
from whichlandmark.recognition.reranking.votes import vote
from whichlandmark.recognition.retrieval import Retriever
from whichlandmark.recognition.rules import FORMULAS, Rules


def unit(rng: np.random.Generator, rows: int, dim: int = 6) -> np.ndarray:
    vectors = rng.normal(size=(rows, dim)) + 0.4  # shifted, so that most cosines are positive
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def column(values: list[str]) -> np.ndarray:
    return np.array(values, dtype=object)


def index_of(landmarks: list[str], vectors: np.ndarray) -> GalleryIndex:
    ids = [f"p{i}" for i in range(len(landmarks))]
    return GalleryIndex.of(
        GalleryTable(
            column(ids), column(ids), column(landmarks), column(ids), vectors.astype(np.float16)
        )
    )


@pytest.fixture
def index() -> GalleryIndex:
    landmarks = [f"l{i % 7}" for i in range(30)] + [""] * 15
    return index_of(landmarks, unit(np.random.default_rng(1), 45))


def answered(index: GalleryIndex, rules: Rules, queries: np.ndarray):  # type: ignore[no-untyped-def]
    retriever = Retriever(index, rules)
    return retriever.votes(retriever.search(queries))


def slow_score(index: GalleryIndex, q: np.ndarray, score: str) -> tuple[str, float]:
    """The published formulas, one photo at a time."""
    gallery = index.vectors.astype(np.float64)
    distractors = index.distractor_vectors.astype(np.float64)
    cos = [float(v @ q) for v in gallery]
    to_distractors = sorted((float(n @ q) for n in distractors), reverse=True)
    penalty = 0.0
    if score == "class_centre":
        means = {}
        for name in set(index.codes):
            mean = gallery[index.codes == name].mean(axis=0)
            means[name] = float(mean @ q / np.linalg.norm(mean))
        best_code = max(means, key=lambda name: means[name])
        return index.names[best_code], means[best_code]
    if score == "power_vote":
        powers: dict[str, float] = {}
        for j in sorted(range(len(cos)), key=lambda j: -cos[j])[:5]:
            name = index.names[index.codes[j]]
            powers[name] = powers.get(name, 0.0) + max(cos[j], 0) ** 9
        best_power = max(powers, key=lambda name: powers[name])
        return best_power, float(np.log(powers[best_power]))
    if score == "query_penalty":
        penalty = sum(to_distractors[:5]) / 5
    if score == "both_penalties":
        penalty = sum(to_distractors[:10]) / 10
    if score in ("cosine", "query_penalty"):
        best = max(range(len(cos)), key=lambda j: cos[j])
        return index.names[index.codes[best]], cos[best] - penalty
    penalties = [
        sum(sorted((float(n @ v) for n in distractors), reverse=True)[:5]) / 5 for v in gallery
    ]
    ranked = sorted(range(len(cos)), key=lambda j: penalties[j] - cos[j])[:3]
    sums: dict[str, float] = {}
    for j in ranked:
        name = index.names[index.codes[j]]
        sums[name] = sums.get(name, 0.0) + max(cos[j], 0) - penalties[j]
    best_name = max(sums, key=lambda name: sums[name])
    return best_name, sums[best_name] - penalty


@pytest.mark.parametrize("score", FORMULAS)
def test_every_score_equals_its_formula(index: GalleryIndex, score: str) -> None:
    queries = unit(np.random.default_rng(2), 25)
    votes = answered(index, Rules().with_score(score), queries)
    for row, query in enumerate(queries.astype(np.float64)):
        name, value = slow_score(index, query, score)
        assert index.names[votes.codes[row]] == name
        assert votes.scores[row] == pytest.approx(
            value, abs=3e-3 if score == "power_vote" else 1e-3
        )


@pytest.mark.parametrize("score", FORMULAS)
def test_neighbours_carry_cosine_similarities(index: GalleryIndex, score: str) -> None:
    queries = unit(np.random.default_rng(3), 8)
    found = Retriever(index, Rules().with_score(score)).search(queries, depth=6).neighbours
    for row in range(8):
        for j, similarity in zip(found.rows[row], found.similarity[row], strict=True):
            expected = float(index.vectors[j].astype(np.float32) @ queries[row])
            assert similarity == pytest.approx(expected, abs=1e-5)


def test_hidden_photos_are_never_found(index: GalleryIndex) -> None:
    queries = index.vectors[:12].astype(np.float32)
    hidden = [np.flatnonzero(index.codes == code) for code in index.codes[:12]]
    for rules in (
        Rules(whitening="none"),
        Rules().with_score("both_penalties"),
        Rules(whitening="none", expansion=3),
        Rules(whitening="none", superglobal=True),
    ):
        found = Retriever(index, rules).search(queries, depth=40, hidden=hidden)
        for row in range(12):
            seen = found.neighbours.rows[row]
            assert not np.isin(seen[seen >= 0], hidden[row]).any()
            assert (seen >= 0).sum() == len(index.codes) - len(hidden[row])
            assert (found.codes[row] >= 0).tolist() == (seen >= 0).tolist()


def test_without_distractors_all_penalties_are_zero() -> None:
    index = index_of(["a", "a", "b"], unit(np.random.default_rng(4), 3))
    queries = unit(np.random.default_rng(5), 4)
    plain = answered(index, Rules().with_score("cosine"), queries)
    seed = answered(index, Rules().with_score("query_penalty"), queries)
    assert (plain.scores == seed.scores).all()


def test_an_empty_gallery_has_no_guess() -> None:
    index = index_of(["", ""], unit(np.random.default_rng(6), 2))
    votes = answered(index, Rules().with_score("cosine"), unit(np.random.default_rng(7), 3))
    assert votes.codes.tolist() == [-1, -1, -1]


def test_augmented_vectors_include_their_neighbours(index: GalleryIndex) -> None:
    rules = Rules(score="cosine", whitening="none", augmentation=2)
    mixed = Retriever(index, rules).vectors[:].astype(np.float64)
    vectors = index.vectors.astype(np.float64)
    for i in range(len(vectors)):
        cosines = vectors @ vectors[i]
        near = [j for j in np.argsort(-cosines, kind="stable") if j != i][:2]
        sum_ = vectors[i] + sum(max(cosines[j], 0) ** 3 * vectors[j] for j in near)
        assert mixed[i] == pytest.approx(sum_ / np.linalg.norm(sum_), abs=2e-3)


def test_the_vote_matches_a_hand_computation() -> None:
    codes = np.array([[4, 7, 7], [1, 2, 3]])
    scores = np.array([[0.5, 0.3, 0.3], [0.2, 0.2, 0.1]], dtype=np.float32)
    best = vote(codes, scores, 3)
    assert best.codes.tolist() == [7, 1]  # 0.6 beats 0.5; equal sums: the nearer one
    assert best.scores == pytest.approx([0.6, 0.2])
    assert vote(codes, scores, 1).codes.tolist() == [4, 1]


def test_distractor_similarity_is_a_mean() -> None:
    assert distractor_penalty(np.array([[0.5, 0.1], [0.3, 0.2]], np.float32)) == pytest.approx(
        [0.3, 0.25]
    )
    assert distractor_penalty(np.empty((2, 0), np.float32)).tolist() == [0, 0]


def test_rules_survive_json_and_invalid_ones_are_refused() -> None:
    rules = Rules(score="query_penalty", votes=5)
    assert from_json(Rules, to_json(rules)) == rules
    with pytest.raises(OptionError, match="did you mean 'votes'"):
        from_json(Rules, {"vote": 3})
    with pytest.raises(OptionError, match="doubt_above"):
        Rules(doubt_above=0.9, answer_above=0.5)
    with pytest.raises(OptionError, match="expected a whole number, 1 to 10,000"):
        from_json(Rules, {"votes": "3"})
