"""Inverted file (IVF): cluster the rows by landmark, build, tune to a recall, search, refine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.types import Progress, RowArray, Vectors
from .exact import nearest, refined, widen

BLOCK = 65_536

SPREAD = 6.5  # cells where landmarks are none: the power of two nearest to this times √rows …

MOST = 8_192  # … and no more

LANDMARK_ROWS = 4  # rows a landmark, on average, from which each is a cell of its own

SPLIT = 256  # rows from which a landmark is several cells …

A_PIECE = 64  # … of about so many

A_CENTRE = 40  # points that a centre is learned from, at most

EXAMPLES = 400_000  # rows that centres are learned from, where there are no landmarks


@dataclass(frozen=True, eq=False)
class Clusters:
    """centres: (P, D) unit rows; piece: (N,) the cell of each row."""

    centres: Vectors
    piece: NDArray[np.int64]


def clusters_of(vectors: RowArray, codes: NDArray[np.int64] | None, *, seed: int = 0) -> Clusters:
    """Cells of (N, D) rows with landmark codes (N,), or None."""
    if codes is None or not len(codes):
        return _by_nearness(vectors, seed)
    present, landmark = np.unique(codes, return_inverse=True)
    means = _means(vectors, landmark, len(present))
    if len(vectors) < LANDMARK_ROWS * len(present):  # as many centres as rows would be no help
        centres = _learned(means, cell_count(len(vectors), len(means)), seed)
        return Clusters(centres, _nearest_centre(means, centres)[landmark])
    return _split(vectors, Clusters(means, landmark), seed)


def cell_count(rows: int, points: int) -> int:
    """How many cells: a power of two near SPREAD × √rows, at most MOST and one in two points."""
    wanted = min(SPREAD * rows**0.5, MOST, max(points / 2, 1))
    return 1 << max(0, round(float(np.log2(wanted))))


def _by_nearness(vectors: RowArray, seed: int) -> Clusters:
    drawn = np.random.default_rng(seed).permutation(len(vectors))
    count = cell_count(len(vectors), len(vectors))
    rows = np.sort(drawn[: min(count * A_CENTRE, EXAMPLES)])
    centres = _learned(widen(vectors[rows]), count, seed)
    found = [
        _nearest_centre(widen(vectors[start : start + BLOCK]), centres)
        for start in range(0, len(vectors), BLOCK)
    ]
    return Clusters(centres, np.concatenate(found))


def _split(vectors: RowArray, found: Clusters, seed: int) -> Clusters:
    """Landmarks of many rows as several cells each."""
    centres, piece = [found.centres], found.piece.copy()
    order = np.argsort(found.piece, kind="stable")
    ends = np.cumsum([0, *np.bincount(found.piece)])
    count = len(found.centres)
    for start, stop in pairwise(ends.tolist()):
        if stop - start < SPLIT:
            continue
        rows = order[start:stop]
        own = widen(vectors[rows])
        more = _learned(own, (stop - start) // A_PIECE, seed)
        piece[rows] = count + _nearest_centre(own, more)
        centres.append(more)
        count += len(more)
    used, renamed = np.unique(piece, return_inverse=True)
    return Clusters(np.concatenate(centres)[used], renamed)


def _learned(points: Vectors, count: int, seed: int) -> Vectors:
    import faiss

    limits = {"min_points_per_centroid": 1, "max_points_per_centroid": A_CENTRE}
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


def _means(vectors: RowArray, landmark: NDArray[np.int64], count: int) -> Vectors:
    """(N, D), (N,) of 0 … C − 1 → (C, D) unit rows: the direction of each landmark's sum."""
    order = np.argsort(landmark, kind="stable")
    sums = np.zeros((count, vectors.shape[1]), dtype=np.float32)
    for start in range(0, len(order), BLOCK):
        rows = order[start : start + BLOCK]
        firsts = np.flatnonzero(np.diff(landmark[rows], prepend=-1))
        sums[landmark[rows[firsts]]] += np.add.reduceat(widen(vectors[rows]), firsts, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.maximum(lengths, 1e-12), dtype=np.float32)


WORTHWHILE = 20_000  # rows from which cells are faster than comparing all; see search_speed.py

RECALL_AT = 10

ASKED = 400  # rows that ask for their neighbours, to measure recall

FEW_CENTRES = 4_096  # all compared with each query; more are found through a graph

LINKS, CARE = 48, 200  # of that graph (M and efConstruction)

MOST_PROBES = 4_096

REFINE = (64, 128, 256)

MARGIN = 0.3  # of what may be missed


def build_ivf(
    vectors: RowArray,
    codes: NDArray[np.int64] | None = None,
    *,
    numbers: NDArray[np.int64] | None = None,
    recall: float = 0.99,
    seed: int = 0,
    progress: Progress | None = None,
) -> IvfIndex:
    """An index of (N, D) unit rows, float16 or float32.

    codes: (N,) landmark of each row: cells are then landmarks, or pieces of large ones. None =
      rows without landmarks.
    numbers: (N,) rising, by which the index is to know the rows; None = 0 … N − 1.
    recall: of the 10 nearest, this share is to be found: a little more of rows with landmarks,
      whose cells are made of their own photos, so that fresh photos find it too. The effort is
      measured on rows of the index, each asking for its neighbours; what was reached is in
      `Cells.recall`: less than asked where half of all cells do not reach it, as with vectors
      without structure.
    progress: called with (rows done, rows in all).
    """
    import faiss

    pieces = clusters_of(vectors, codes, seed=seed)
    quantizer = _quantizer(pieces.centres)
    index: Any = faiss.IndexIVFRaBitQ(
        quantizer, vectors.shape[1], len(pieces.centres), faiss.METRIC_INNER_PRODUCT
    )
    index.own_fields = True
    quantizer.this.disown()
    index.train(pieces.centres[:BLOCK])
    known_by = np.arange(len(vectors)) if numbers is None else numbers
    for start in range(0, len(vectors), BLOCK):
        part = slice(start, start + BLOCK)
        rows, names, cell = widen(vectors[part]), known_by[part], pieces.piece[part]
        index.add_core(
            len(rows), *map(faiss.swig_ptr, map(np.ascontiguousarray, (rows, names, cell)))
        )
        if progress:
            progress(min(start + BLOCK, len(vectors)), len(vectors))
    asking = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:ASKED])
    if codes is not None:
        recall += MARGIN * (1 - recall)
    return with_recall(IvfIndex(index, known_by, 1, REFINE[0], 0.0), vectors, recall, asking)


def _quantizer(centres: Vectors) -> Any:
    """What finds the cells near a query: all centres, or a graph of them (Malkov & Yashunin,
    "Efficient and robust approximate nearest neighbor search using HNSW graphs", 2018).
    """
    import faiss

    if len(centres) <= FEW_CENTRES:
        flat: Any = faiss.IndexFlatIP(centres.shape[1])
        flat.add(centres)
        return flat
    graph: Any = faiss.IndexHNSWFlat(centres.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = CARE
    with _one_thread():  # several would link in another order each time
        graph.add(centres)
    return graph


@contextmanager
def _one_thread() -> Iterator[None]:
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def with_recall(
    cells: IvfIndex, vectors: RowArray, recall: float, drawn: NDArray[np.int64]
) -> IvfIndex:
    """The least effort that finds this share of the 10 nearest of some rows of the index.

    A row that asks is itself one of the 10; it does not count.
    """
    asked = widen(vectors[drawn])
    k = min(RECALL_AT, len(vectors))
    truth = _without_itself(nearest(asked, vectors, k).rows, drawn)
    best = cells
    for refine in REFINE:
        for probes in _efforts(cells.index.nlist):
            found = cells.with_effort(probes, refine)
            rows = refined(asked, vectors, k, found).rows
            reached = _shared(truth, _without_itself(rows, drawn))
            if reached > best.recall or best.recall == 0.0:
                best = cells.with_effort(probes, refine, reached)
            if reached >= recall:
                return best
    return best


def _efforts(cells: int) -> list[int]:
    """Probe counts to try: each a fifth more than the one before, up to half of all cells."""
    most = min(max(cells // 2, 1), MOST_PROBES)
    steps = 1.2 ** np.arange(int(np.log(most) / np.log(1.2)) + 2)
    return sorted({min(int(step), most) for step in steps})


def _shared(truth: NDArray[np.int64], found: NDArray[np.int64]) -> float:
    same = (truth[:, :, None] == found[:, None, :]).any(axis=2)
    return float(same.mean()) if same.size else 1.0


def _without_itself(rows: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each line without the row that asks, or without its last where that is not there."""
    last = np.argsort(rows == own[:, None], axis=1, kind="stable")[:, :-1]
    return np.take_along_axis(rows, last, axis=1)


QUERY_BITS = 4  # bits of a query's own numbers inside a cell; 8 were slower and found no more

AHEAD = 224  # centres that the graph follows, at least (efSearch): what it misses, no probe finds


@dataclass(frozen=True, eq=False)
class IvfIndex:
    """An index of (N, D) rows.

    numbers: (N,) rising: the number that the index knows each row by; rows that the index does
    not know, and the other way round, are passed over. probes: cells that are looked into;
    refine: candidates that go on to exact comparison; recall: the share of the true nearest that
    was found with these, measured on the rows.
    """

    index: Any  # faiss.IndexIVFRaBitQ
    numbers: NDArray[np.int64]
    probes: int
    refine: int
    recall: float

    def with_effort(self, probes: int, refine: int, recall: float = 0.0) -> IvfIndex:
        """The same cells, searched with another effort."""
        return replace(self, probes=probes, refine=refine, recall=recall)

    def candidates(self, queries: Vectors, least: int) -> NDArray[np.int64]:
        """(Q, D) → (Q, R) row numbers that are likely the nearest, −1 = no more; R ≥ least."""
        import faiss

        asked = np.ascontiguousarray(queries, dtype=np.float32)
        effort = faiss.IVFRaBitQSearchParameters()
        effort.nprobe, effort.qb = self.probes, QUERY_BITS
        if isinstance(faiss.downcast_index(self.index.quantizer), faiss.IndexHNSWFlat):
            ahead: Any = faiss.SearchParametersHNSW()  # type: ignore[attr-defined]
            ahead.efSearch = max(2 * self.probes, AHEAD)
            effort.quantizer_params = ahead
        width = min(max(self.refine, least), self.index.ntotal)
        found: NDArray[np.int64] = self.index.search(asked, width, params=effort)[1]
        rows = np.minimum(np.searchsorted(self.numbers, found), len(self.numbers) - 1)
        return np.where(self.numbers[rows] == found, rows, -1)

    def without(self, numbers: NDArray[np.int64]) -> IvfIndex:
        """The same cells, with the rows of these numbers taken out. Changes the index in place."""
        import faiss

        self.index.remove_ids(faiss.IDSelectorBatch(numbers))
        return replace(self, numbers=np.setdiff1d(self.numbers, numbers))

    def to_bytes(self) -> NDArray[np.uint8]:
        """The index as FAISS writes it."""
        import faiss

        data: NDArray[np.uint8] = faiss.serialize_index(self.index)
        return data

    @classmethod
    def from_bytes(
        cls,
        data: NDArray[np.uint8],
        numbers: NDArray[np.int64],
        *,
        probes: int,
        refine: int,
        recall: float,
    ) -> IvfIndex:
        """What `to_bytes` made. The bytes must be known to be whole: FAISS trusts them."""
        import faiss

        return cls(faiss.deserialize_index(np.asarray(data)), numbers, probes, refine, recall)
