"""The inverted-file index: recall against exact search, and the recall it reports."""

from __future__ import annotations

import numpy as np
import pytest

from whichlandmark.gallery.index import exact, ivf
from whichlandmark.gallery.index.exact import nearest
from whichlandmark.gallery.index.ivf import IvfIndex, build_ivf, clusters_of

D = 32


def clustered(rows: int, landmarks: int, seed: int = 0, noise: float = 0.7):
    """(vectors float16, codes): landmarks of unequal size, each around a random direction."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((landmarks, D))
    codes = (landmarks * rng.random(rows) ** 2).astype(np.int64)
    vectors = centres[codes] + noise * rng.standard_normal((rows, D))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float16), codes


def shared(one, other):
    return np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(one, other, strict=True)])


@pytest.mark.parametrize("with_codes", [True, False])
@pytest.mark.parametrize("landmarks", [3, 60, 2_000])
def test_the_requested_recall_is_reached(landmarks, with_codes):
    vectors, codes = clustered(5_000, landmarks)
    ivf_index = build_ivf(vectors, codes if with_codes else None, recall=0.95)
    queries = clustered(5_300, landmarks)[0][5_000:].astype(np.float32)
    truth = nearest(queries, vectors, 10)
    found = nearest(queries, vectors, 10, source=ivf_index)
    assert ivf_index.recall >= 0.95
    assert shared(truth.rows, found.rows) > 0.9
    same = truth.rows == found.rows
    assert np.allclose(truth.similarity[same], found.similarity[same], atol=1e-6)
    assert (np.diff(found.similarity, axis=1) <= 0).all()


def test_similarities_are_exact_and_offsets_count():
    vectors, codes = clustered(3_000, 100)
    ivf_index = build_ivf(vectors, codes)
    offsets = np.random.default_rng(1).random(3_000).astype(np.float32)
    found = nearest(vectors[:20].astype(np.float32), vectors, 5, offsets=offsets, source=ivf_index)
    for row in range(20):
        for place in range(5):
            other = found.rows[row, place]
            product = vectors[row].astype(np.float64) @ vectors[other].astype(np.float64)
            assert found.similarity[row, place] == pytest.approx(product + offsets[other], abs=1e-5)


def test_probing_more_clusters_finds_more():
    vectors, codes = clustered(4_000, 200, noise=2.0)
    ivf_index = build_ivf(vectors, codes)
    queries = vectors[:200].astype(np.float32)
    truth = nearest(queries, vectors, 10).rows
    reached = [
        shared(
            truth, nearest(queries, vectors, 10, source=ivf_index.with_effort(probes, 2_000)).rows
        )
        for probes in (1, 8, ivf_index.index.nlist)
    ]
    assert reached[0] < reached[1] < reached[2]
    assert reached[2] > 0.99


def test_without_structure_the_lower_recall_is_reported(monkeypatch):
    monkeypatch.setattr(ivf, "REFINE_STEPS", (32,))
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((6_000, 256)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ivf_index = build_ivf(vectors, rng.integers(0, 600, 6_000), recall=0.999)
    assert 0.1 < ivf_index.recall < 0.999


def test_a_serialized_index_answers_the_same_without_removed_rows():
    vectors, codes = clustered(3_000, 100)
    numbers = np.arange(3_000) * 3 + 7
    ivf_index = build_ivf(vectors, codes, numbers=numbers)
    again = IvfIndex.from_bytes(ivf_index.to_bytes(), numbers, ivf_index.effort())
    queries = vectors[:50].astype(np.float32)
    one = nearest(queries, vectors, 10, source=ivf_index)
    assert np.array_equal(one.rows, nearest(queries, vectors, 10, source=again).rows)
    assert (one.rows[:, 0] == np.arange(50)).all()  # each is nearest to itself
    kept = np.arange(25, 3_000)
    less = again.without(numbers[:25])
    found = nearest(queries, vectors[kept], 10, source=less)
    assert found.rows.max() < len(kept)
    assert (found.rows[25:, 0] == np.arange(25)).all()
    assert less.index.ntotal == len(kept)


@pytest.mark.parametrize("most", [4_096, 10])  # all centres are compared, or a graph finds them
def test_the_center_of_a_removed_landmark_leaves_the_index_with_it(monkeypatch, most):
    monkeypatch.setattr(ivf, "MAX_CENTRES_COMPARED", most)
    vectors, codes = clustered(3_000, 100)
    vectors[7], codes[7] = np.eye(D, dtype=np.float16)[3], 500  # the only photo of its landmark
    ivf_index = build_ivf(vectors, codes)
    vector = np.eye(D, dtype=np.float32)[3].tobytes()
    assert vector in ivf_index.to_bytes().tobytes()
    less = ivf_index.without(np.array([7]))
    assert vector not in less.to_bytes().tobytes()
    kept = np.delete(vectors, 7, axis=0)
    queries = kept[:200].astype(np.float32)
    truth = nearest(queries, kept, 10).rows
    assert shared(truth, nearest(queries, kept, 10, source=less).rows) > 0.95


def test_rows_outside_the_index_are_never_returned():
    vectors, codes = clustered(2_000, 50)
    ivf_index = build_ivf(vectors, codes, numbers=np.arange(2_000))
    later = IvfIndex(ivf_index.index, np.arange(500, 2_000), 1, ivf_index.refine, ivf_index.recall)
    found = later.candidates(vectors[:40].astype(np.float32), 10)
    assert (found < 1_500).all()
    few = IvfIndex(ivf_index.index, np.arange(1_990, 2_000), 1, ivf_index.refine, ivf_index.recall)
    assert (few.candidates(vectors[:40].astype(np.float32), 10) >= 0).sum() < 200
    whole = nearest(vectors[:40].astype(np.float32), vectors[1_990:], 5, source=few)
    truth = nearest(vectors[:40].astype(np.float32), vectors[1_990:], 5)
    assert np.array_equal(whole.rows, truth.rows)  # too few candidates, so all rows are compared


def test_the_index_does_not_depend_on_the_number_of_threads(monkeypatch):
    import faiss

    monkeypatch.setattr(ivf, "MAX_CENTRES_COMPARED", 10)  # the graph too
    vectors, codes = clustered(4_000, 300)
    serialised = []
    before = faiss.omp_get_max_threads()
    try:
        for threads in (1, 2, 8):
            faiss.omp_set_num_threads(threads)
            serialised.append(build_ivf(vectors, codes).to_bytes().tobytes())
    finally:
        faiss.omp_set_num_threads(before)
    assert serialised[0] == serialised[1] == serialised[2]


def test_the_graph_over_centers_finds_what_comparing_all_centers_finds(monkeypatch):
    vectors, codes = clustered(6_000, 500)
    flat = build_ivf(vectors, codes, recall=0.98)
    monkeypatch.setattr(ivf, "MAX_CENTRES_COMPARED", 10)
    graph = build_ivf(vectors, codes, recall=0.98)
    assert flat.recall >= 0.98
    assert graph.recall >= 0.98
    queries = vectors[:300].astype(np.float32)
    one, other = (nearest(queries, vectors, 10, source=c).rows for c in (flat, graph))
    assert shared(one, other) > 0.95


def test_every_row_is_in_a_cluster_of_its_landmark():
    vectors, codes = clustered(8_000, 20)
    clusters = clusters_of(vectors, codes)
    assert len(clusters.cluster_of) == 8_000
    assert len(clusters.centres) == clusters.cluster_of.max() + 1 > 20  # large landmarks are split
    for cluster in np.unique(clusters.cluster_of):
        assert len(np.unique(codes[clusters.cluster_of == cluster])) == 1
    assert np.allclose(np.linalg.norm(clusters.centres, axis=1), 1, atol=1e-4)


def test_landmarks_of_few_photos_share_clusters():
    vectors, codes = clustered(4_000, 3_900)
    clusters = clusters_of(vectors, codes)
    assert len(clusters.centres) < 1_000
    for landmark in np.unique(codes)[:50]:
        assert len(np.unique(clusters.cluster_of[codes == landmark])) == 1


@pytest.mark.parametrize("shape", [(3, 8), (70_000, 64), (200, 16, 64)])
def test_float16_to_float32_matches_numpy(shape):
    rng = np.random.default_rng(0)
    halves_ = rng.standard_normal(shape).astype(np.float16)
    assert np.array_equal(exact.widen(halves_), halves_.astype(np.float32))


def test_few_queries_find_what_many_queries_find():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((9_000, 512)).astype(np.float16)
    queries = rng.standard_normal((40, 512)).astype(np.float32)
    many = nearest(queries, vectors, 7)
    few = nearest(queries[:3], vectors, 7)
    assert np.array_equal(many.rows[:3], few.rows)
    assert np.allclose(many.similarity[:3], few.similarity, rtol=1e-5)
