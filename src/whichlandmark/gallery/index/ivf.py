"""Approximate search by an inverted file (IVF): vectors in clusters, of which few are searched.

A landmark's photos are close together, so each landmark is a cluster where it has enough photos;
then fewer clusters need to be searched than with clusters made from vectors alone. Vectors are
stored as RaBitQ codes; their candidates are compared exactly (`exact.refined`). RaBitQ: Gao & Long,
"RaBitQ: Quantizing high-dimensional vectors with a theoretical error bound for approximate nearest
neighbor search", 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.types import RowArray, Vectors
from .exact import nearest, one_faiss_thread, refined, widen

MIN_ROWS_FOR_IVF = 20_000  # with fewer, comparing all is faster; see benchmarks/search_speed.py

BLOCK_ROWS = 65_536  # read at once

CLUSTERS_PER_SQRT_ROW = 6.5  # number of clusters, as a multiple of √rows

MAX_CLUSTERS = 8_192

MIN_ROWS_PER_LANDMARK = 4  # on average; with fewer, landmarks are joined into clusters

MIN_ROWS_TO_SPLIT = 256  # of a landmark that becomes several clusters

ROWS_PER_SPLIT_CLUSTER = 64  # of such a landmark, on average

MAX_TRAINING_ROWS_PER_CENTRE = 40  # for k-means

MAX_TRAINING_ROWS = 400_000  # for k-means

RECALL_AT = 10  # recall is the share of this many nearest rows that is found

RECALL_QUERIES = 400  # rows of the index that are used as queries to measure recall

RECALL_MARGIN = 0.3  # of 1 − recall, added for rows with landmarks (see `build_ivf`)

MAX_PROBES = 4_096

REFINE_STEPS = (64, 128, 256)  # numbers of candidates to try

MAX_CENTRES_COMPARED = 4_096  # more centres are searched through an HNSW graph

HNSW_LINKS = 48  # HNSW's M

HNSW_BUILD_EFFORT = 200  # HNSW's efConstruction

MIN_HNSW_SEARCH_EFFORT = 224  # HNSW's efSearch, because no cluster is searched that it misses

QUERY_BITS = 4  # of a query's numbers inside a cluster; 8 are slower and find no more


@dataclass(frozen=True, eq=False)
class Clusters:
    """centres: (P, D) unit rows; cluster_of: (N,) the cluster of each row."""

    centres: Vectors
    cluster_of: NDArray[np.int64]


def clusters_of(vectors: RowArray, codes: NDArray[np.int64] | None, *, seed: int = 0) -> Clusters:
    """Assign rows to clusters.

    Args:
        vectors: (N, D) unit rows.
        codes: (N,) landmark of each row; None = cluster by vectors alone.
        seed: of k-means.
    """
    if codes is None or not len(codes):
        return _cluster_by_distance(vectors, seed)
    present, landmark = np.unique(codes, return_inverse=True)
    means = _landmark_directions(vectors, landmark, len(present))
    if len(vectors) < MIN_ROWS_PER_LANDMARK * len(present):
        # Join landmarks, because nearly as many clusters as rows would save no comparisons.
        centres = _kmeans(means, cluster_count(len(vectors), len(means)), seed)
        return Clusters(centres, _nearest_centre(means, centres)[landmark])
    return _split_large_landmarks(vectors, Clusters(means, landmark), seed)


def cluster_count(rows: int, points: int) -> int:
    """Number of clusters: a power of two, at most one for two points.

    rows: of the index; points: that k-means learns from.
    """
    wanted = min(CLUSTERS_PER_SQRT_ROW * rows**0.5, MAX_CLUSTERS, max(points / 2, 1))
    return 1 << max(0, round(float(np.log2(wanted))))


def _cluster_by_distance(vectors: RowArray, seed: int) -> Clusters:
    drawn = np.random.default_rng(seed).permutation(len(vectors))
    count = cluster_count(len(vectors), len(vectors))
    rows = np.sort(drawn[: min(count * MAX_TRAINING_ROWS_PER_CENTRE, MAX_TRAINING_ROWS)])
    centres = _kmeans(widen(vectors[rows]), count, seed)
    found = [
        _nearest_centre(widen(vectors[start : start + BLOCK_ROWS]), centres)
        for start in range(0, len(vectors), BLOCK_ROWS)
    ]
    return Clusters(centres, np.concatenate(found))


def _split_large_landmarks(vectors: RowArray, found: Clusters, seed: int) -> Clusters:
    """Split each landmark of many rows into several clusters."""
    centres, cluster_of = [found.centres], found.cluster_of.copy()
    order = np.argsort(found.cluster_of, kind="stable")
    ends = np.cumsum([0, *np.bincount(found.cluster_of)])
    count = len(found.centres)
    for start, stop in pairwise(ends.tolist()):
        if stop - start < MIN_ROWS_TO_SPLIT:
            continue
        rows = order[start:stop]
        of_landmark = widen(vectors[rows])
        new = _kmeans(of_landmark, (stop - start) // ROWS_PER_SPLIT_CLUSTER, seed)
        cluster_of[rows] = count + _nearest_centre(of_landmark, new)
        centres.append(new)
        count += len(new)
    used, renumbered = np.unique(cluster_of, return_inverse=True)
    return Clusters(np.concatenate(centres)[used], renumbered)


def _kmeans(points: Vectors, count: int, seed: int) -> Vectors:
    import faiss

    limits = {"min_points_per_centroid": 1, "max_points_per_centroid": MAX_TRAINING_ROWS_PER_CENTRE}
    means: Any = faiss.Kmeans(
        points.shape[1], count, niter=10, spherical=True, seed=seed + 1, **limits
    )
    means.train(np.ascontiguousarray(points))
    centres: Vectors = means.centroids
    return centres


def _nearest_centre(rows: Vectors, centres: Vectors) -> NDArray[np.int64]:
    return np.concatenate(
        [
            np.argmax(rows[start : start + 4096] @ centres.T, axis=1)
            for start in range(0, len(rows), 4096)
        ]
    )


def _landmark_directions(vectors: RowArray, landmark: NDArray[np.int64], count: int) -> Vectors:
    """The normalised mean of each landmark's rows: (N, D), (N,) of 0 … C − 1 → (C, D)."""
    order = np.argsort(landmark, kind="stable")
    sums = np.zeros((count, vectors.shape[1]), dtype=np.float32)
    for start in range(0, len(order), BLOCK_ROWS):
        rows = order[start : start + BLOCK_ROWS]
        firsts = np.flatnonzero(np.diff(landmark[rows], prepend=-1))
        sums[landmark[rows[firsts]]] += np.add.reduceat(widen(vectors[rows]), firsts, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.maximum(lengths, 1e-12), dtype=np.float32)


def build_ivf(
    vectors: RowArray,
    codes: NDArray[np.int64] | None = None,
    *,
    numbers: NDArray[np.int64] | None = None,
    recall: float = 0.99,
    seed: int = 0,
) -> IvfIndex:
    """Build an index, and tune its search effort to a recall.

    Args:
        vectors: (N, D) unit rows, float16 or float32.
        codes: (N,) landmark of each row, which is then its cluster, or None.
        numbers: (N,) ascending ids of the rows in the index; None = 0 … N − 1.
        recall: share of the 10 nearest rows to find, measured with rows of the index as queries.
            With `codes` the target is RECALL_MARGIN · (1 − recall) higher, because clusters made of
            these rows suit them better than new photos.
        seed: of clustering and of the queries.

    Returns:
        The index; its `recall` is the measured one. It is below the target when searching half of
        all clusters does not reach it, as with vectors without structure.
    """
    import faiss
    from faiss.contrib.ivf_tools import add_preassigned

    clusters = clusters_of(vectors, codes, seed=seed)
    index: Any = faiss.IndexIVFRaBitQ(
        _quantizer(clusters.centres), vectors.shape[1], len(clusters.centres),
        faiss.METRIC_INNER_PRODUCT,
    )  # fmt: skip
    index.train(clusters.centres[:BLOCK_ROWS])
    numbers_of_rows = np.arange(len(vectors)) if numbers is None else numbers
    for start in range(0, len(vectors), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        columns = widen(vectors[part]), clusters.cluster_of[part], numbers_of_rows[part]
        add_preassigned(index, *map(np.ascontiguousarray, columns))
    query_rows = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:RECALL_QUERIES])
    if codes is not None:
        recall += RECALL_MARGIN * (1 - recall)
    return tune_effort(
        IvfIndex(index, numbers_of_rows, 1, REFINE_STEPS[0], 0.0), vectors, recall, query_rows
    )


def _quantizer(centres: Vectors) -> Any:
    """The FAISS index of the centres: all are compared, or, if many, found through an HNSW graph.

    HNSW: Malkov & Yashunin, "Efficient and robust approximate nearest neighbor search using HNSW
    graphs", 2018.
    """
    import faiss

    if len(centres) <= MAX_CENTRES_COMPARED:
        flat: Any = faiss.IndexFlatIP(centres.shape[1])
        flat.add(centres)
        return flat
    graph: Any = faiss.IndexHNSWFlat(centres.shape[1], HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = HNSW_BUILD_EFFORT
    with one_faiss_thread():  # because several threads would build a different graph each time
        graph.add(centres)
    return graph


def tune_effort(
    ivf: IvfIndex, vectors: RowArray, recall: float, query_rows: NDArray[np.int64]
) -> IvfIndex:
    """The index with the least effort that reaches a recall, else with the best recall.

    Args:
        ivf: the index of `vectors`.
        vectors: (N, D).
        recall: the target.
        query_rows: rows used as queries; a query's own row does not count as found.
    """
    queries = widen(vectors[query_rows])
    k = min(RECALL_AT, len(vectors))
    truth = _without_query_row(nearest(queries, vectors, k).rows, query_rows)
    best = ivf
    for refine in REFINE_STEPS:
        for probes in _probe_counts(ivf.index.nlist):
            rows = refined(queries, vectors, k, ivf.with_effort(probes, refine)).rows
            found = _without_query_row(rows, query_rows)
            same = (truth[:, :, None] == found[:, None, :]).any(axis=2)
            reached = float(same.mean()) if same.size else 1.0
            if reached > best.recall or best.recall == 0.0:
                best = ivf.with_effort(probes, refine, reached)
            if reached >= recall:
                return best
    return best


def _probe_counts(clusters: int) -> list[int]:
    """Probe counts to try: growing by a fifth, up to half of all clusters."""
    most = min(max(clusters // 2, 1), MAX_PROBES)
    steps = 1.2 ** np.arange(int(np.log(most) / np.log(1.2)) + 2)
    return sorted({min(int(step), most) for step in steps})


def _without_query_row(rows: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each line without the query's own row, or, where that is missing, without its last row."""
    last = np.argsort(rows == own[:, None], axis=1, kind="stable")[:, :-1]
    return np.take_along_axis(rows, last, axis=1)


@dataclass(frozen=True, eq=False)
class IvfIndex:
    """An inverted file over N rows; a `CandidateSource`.

    numbers: (N,) ascending ids of the rows in the FAISS index; ids found in only one of both are
    ignored; probes: clusters searched for a query; refine: candidates to compare exactly; recall:
    share of the nearest rows found with these, measured with rows as queries.
    """

    index: Any  # faiss.IndexIVFRaBitQ
    numbers: NDArray[np.int64]
    probes: int
    refine: int
    recall: float

    def with_effort(self, probes: int, refine: int, recall: float = 0.0) -> IvfIndex:
        """The same index with another search effort."""
        return replace(self, probes=probes, refine=refine, recall=recall)

    def candidates(self, queries: Vectors, least: int) -> NDArray[np.int64]:
        """(Q, D) queries → (Q, R) rows that are likely the nearest, −1 = no more; R ≥ least."""
        import faiss

        contiguous = np.ascontiguousarray(queries, dtype=np.float32)
        effort = faiss.IVFRaBitQSearchParameters()
        effort.nprobe, effort.qb = self.probes, QUERY_BITS
        if isinstance(faiss.downcast_index(self.index.quantizer), faiss.IndexHNSWFlat):
            hnsw: Any = faiss.SearchParametersHNSW()  # type: ignore[attr-defined]
            hnsw.efSearch = max(2 * self.probes, MIN_HNSW_SEARCH_EFFORT)
            effort.quantizer_params = hnsw
        width = min(max(self.refine, least), self.index.ntotal)
        found: NDArray[np.int64] = self.index.search(contiguous, width, params=effort)[1]
        rows = np.minimum(np.searchsorted(self.numbers, found), len(self.numbers) - 1)
        return np.where(self.numbers[rows] == found, rows, -1)

    def without(self, numbers: NDArray[np.int64]) -> IvfIndex:
        """The index without the rows of these ids. Changes the FAISS index in place."""
        import faiss

        self.index.remove_ids(faiss.IDSelectorBatch(numbers))
        lists, quantizer = self.index.invlists, faiss.downcast_index(self.index.quantizer)
        empty = [at for at in range(self.index.nlist) if not lists.list_size(at)]
        if empty:  # their centres become zeros, because each may be a removed vector itself
            stored = faiss.downcast_index(getattr(quantizer, "storage", quantizer))
            centres = stored.reconstruct_n(0, self.index.nlist)
            centres[empty] = 0
            stored.reset()
            stored.add(centres)
        return replace(self, numbers=np.setdiff1d(self.numbers, numbers))

    def to_bytes(self) -> NDArray[np.uint8]:
        """The FAISS index, serialised."""
        import faiss

        data: NDArray[np.uint8] = faiss.serialize_index(self.index)
        return data

    @classmethod
    def from_bytes(
        cls, data: NDArray[np.uint8], numbers: NDArray[np.int64], effort: Mapping[str, Any]
    ) -> IvfIndex:
        """The inverse of `to_bytes`. Verify the bytes first, because FAISS does not.

        effort: probes, refine and recall.
        """
        import faiss

        return cls(faiss.deserialize_index(np.asarray(data)), numbers, **effort)

    def effort(self) -> dict[str, Any]:
        """What `from_bytes` takes."""
        return {"probes": self.probes, "refine": self.refine, "recall": self.recall}
