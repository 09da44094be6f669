"""Exact nearest-neighbour search by inner product, over float16 or float32 vectors.

Few queries are compared with float16 vectors by FAISS, in one scan of a copy that FAISS keeps
(`HalfRows`), or stripe by stripe. For many queries blocks are converted to float32 and multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...core.hardware import cpu_count
from ...core.types import Neighbours, RowArray, Vectors

BLOCK_ROWS = 16_384  # vectors compared at once: 16,384 × 512 float32 = 32 MB

QUERY_BLOCK = 1_024  # queries compared at once

MAX_FEW_QUERIES = 4  # up to here FAISS compares float16 vectors, which are not converted

MAX_CANDIDATES_PER_BLOCK = 512  # of one query; with more, the whole block is sorted

GATHERED_QUERIES = 32  # whose candidates are read at once: 32 × 64 × 512 float32 = 4 MB

OFFSET_CANDIDATE_FACTOR = 4  # more candidates with offsets, because these change the order

MIN_NUMBERS_FOR_FAISS = 65_536  # with fewer, a call of FAISS costs more than it saves

MIN_NUMBERS_FOR_THREADS = 4_194_304  # with fewer, one thread is faster

STRIPE_ROWS = 512  # converted at once for few queries, for the same reason as STRIPE_BYTES

STRIPE_BYTES = 1 << 20  # given to FAISS at once, so that they stay in the processor's cache

MAX_COPIED_BYTES = 256_000_000  # of `HalfRows`; more are compared in stripes, which is slower

EXTRA_FOR_TIES = 16  # beyond the k best, to see whether others are equal to the last of them


class CandidateSource(Protocol):
    """Proposes rows that are likely the nearest, e.g. an `IvfIndex`."""

    def candidates(self, queries: Vectors, least: int) -> NDArray[np.int64]:
        """(Q, D) queries → (Q, R) row numbers, −1 = no more; R ≥ least if there are enough rows."""


class HalfRows:
    """(N, D) float16 rows that few queries are often compared with.

    The first such search copies the rows into a FAISS index, if they are few enough. Index them as
    the rows themselves.
    """

    def __init__(self, rows: RowArray) -> None:
        self._rows, self.shape, self.dtype = rows, rows.shape, rows.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> Any:
        return self._rows[key]

    @cached_property
    def copy(self) -> Any:
        """The FAISS index of all rows; None = they are too many."""
        if 2 * len(self) * self.shape[1] > MAX_COPIED_BYTES:
            return None
        index = _half_index(self.shape[1])
        index.add_sa_codes(_bytes_of(self[:]))
        return index


def nearest(
    queries: NDArray[np.float32],
    vectors: RowArray,
    k: int,
    *,
    offsets: NDArray[np.float32] | None = None,
    source: CandidateSource | None = None,
) -> Neighbours:
    """The k largest inner products of each query, descending, ties by lower row.

    Args:
        queries: (Q, D) float32.
        vectors: (N, D) float32 or float16.
        k: rows per query.
        offsets: (N,) added to the inner products before they are compared.
        source: proposes candidates among the same vectors; only these are compared, so the search
            is approximate. A query with fewer than k candidates is compared with all vectors.

    Returns:
        Rows and similarities (offsets included), each (Q, min(k, N)).
    """
    k = min(k, len(vectors))
    if source is not None and k:
        found = refined(queries, vectors, k, source, offsets=offsets)
        if (short := np.flatnonzero(found.rows[:, -1] < 0)).size:
            rest = nearest(queries[short], vectors, k, offsets=offsets)
            found.rows[short], found.similarity[short] = rest.rows, rest.similarity
        return found
    rows = np.empty((len(queries), k), dtype=np.int64)
    similarity = np.empty((len(queries), k), dtype=np.float32)
    for start in range(0, len(queries), QUERY_BLOCK):
        part = slice(start, start + QUERY_BLOCK)
        rows[part], similarity[part] = _nearest_block(queries[part], vectors, k, offsets)
    return Neighbours(rows, similarity)


def refined(
    queries: NDArray[np.float32],
    vectors: RowArray,
    k: int,
    source: CandidateSource,
    *,
    offsets: NDArray[np.float32] | None = None,
) -> Neighbours:
    """The k best of the candidates that `source` proposes, by their exact inner products.

    As `nearest`, but with row −1 and similarity −inf where a query has fewer candidates.
    """
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    similarity = np.full((len(queries), k), -np.inf, dtype=np.float32)
    least = 2 * k if offsets is None else OFFSET_CANDIDATE_FACTOR * 2 * k
    for start in range(0, len(queries), QUERY_BLOCK):
        block = queries[start : start + QUERY_BLOCK]
        found = np.sort(source.candidates(block, least), axis=1)
        products = inner_products(block, vectors, found)
        if offsets is not None:
            products += np.where(found < 0, np.float32(0), offsets[found])
        best_rows, best = _top(found, products, k)
        rows[start : start + QUERY_BLOCK, : best.shape[1]] = best_rows
        similarity[start : start + QUERY_BLOCK, : best.shape[1]] = best
    return Neighbours(rows, similarity)


def inner_products(
    queries: NDArray[np.float32], vectors: RowArray, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Inner products of each query with rows of its own, −inf for row −1.

    Args:
        queries: (Q, D).
        vectors: (N, D).
        rows: (Q, R) rows of `vectors`.

    Returns:
        (Q, R).
    """
    products = np.empty(rows.shape, dtype=np.float32)

    def compare(part: slice) -> None:
        candidates = widen(vectors[np.maximum(rows[part], 0)])
        products[part] = np.matmul(candidates, queries[part, :, None])[:, :, 0]

    if rows.size:
        run_in_threads(compare, len(queries), GATHERED_QUERIES, cpu_count())
    return np.where(rows < 0, np.float32(-np.inf), products)


def _nearest_block(
    queries: NDArray[np.float32],
    vectors: RowArray,
    k: int,
    offsets: NDArray[np.float32] | None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    if len(queries) <= MAX_FEW_QUERIES and offsets is None and (found := scan(queries, vectors, k)):
        return found
    best_rows = np.empty((len(queries), 0), dtype=np.int64)
    best = np.empty((len(queries), 0), dtype=np.float32)
    for start in range(0, len(vectors) if k else 0, BLOCK_ROWS):
        block = vectors[start : start + BLOCK_ROWS]
        if len(queries) <= MAX_FEW_QUERIES:
            stripes = (block[at : at + STRIPE_ROWS] for at in range(0, len(block), STRIPE_ROWS))
            similarity = np.concatenate([queries @ widen(stripe).T for stripe in stripes], axis=1)
        else:
            similarity = queries @ widen(block).T
        if offsets is not None:
            similarity += offsets[start : start + BLOCK_ROWS]
        rows, similarity = _block_candidates(similarity, start, best[:, k - 1 : k])
        best_rows, best = _top(
            np.concatenate([best_rows, rows], axis=1),
            np.concatenate([best, similarity], axis=1),
            k,
        )
    return best_rows, best


def scan(
    queries: NDArray[np.float32], vectors: RowArray, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    """The k largest inner products of few queries (Q, D) with float16 vectors, by FAISS.

    Returns:
        Row numbers and values, (Q, k) each; None if FAISS cannot be used, if too many rows tie
        with the k-th to find the lowest ones, or if a product is NaN or infinite.
    """
    if not k or vectors.dtype != np.float16 or np.prod(vectors.shape) < MIN_NUMBERS_FOR_FAISS:
        return None
    wanted = min(k + EXTRA_FOR_TIES, len(vectors))
    contiguous = np.ascontiguousarray(queries, dtype=np.float32)
    copy = vectors.copy if isinstance(vectors, HalfRows) else None
    found: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []

    def compare(part: slice) -> None:
        index = _half_index(vectors.shape[1])
        for start in range(part.start, part.stop, step):
            stripe = vectors[start : min(start + step, part.stop)]
            index.reset()
            index.add_sa_codes(_bytes_of(stripe))
            search(index, start)

    def search(index: Any, start: int) -> None:
        with one_faiss_thread():
            values, rows = index.search(contiguous, min(wanted, index.ntotal))
        found.append((rows + start, values))

    if copy is not None:
        search(copy, 0)
    else:
        step = max(STRIPE_BYTES // (2 * vectors.shape[1]), 1)
        threads = cpu_count() if np.prod(vectors.shape) >= MIN_NUMBERS_FOR_THREADS else 1
        run_in_threads(compare, len(vectors), -(-len(vectors) // threads), threads)
    rows, values = (np.concatenate(both, axis=1) for both in zip(*found, strict=True))
    rows, values = _top(rows, values, wanted)
    if not np.isfinite(values).all():  # −inf marks a place without a row
        return None
    if wanted < len(vectors) and not (values[:, k - 1] > values[:, -1]).all():
        return None
    return rows[:, :k], values[:, :k]


def _block_candidates(
    similarity: NDArray[np.float32], start: int, worst: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Row numbers and similarities of a block that may be among the k best, padded with −inf.

    worst: (Q, 1) the k-th best similarity so far, (Q, 0) while there are fewer. A row that equals
    it is left out, because ties go to the lower row. In a large gallery few rows of a block remain.
    """
    if worst.shape[1]:
        query, column = np.nonzero(similarity > worst)
        counts = np.bincount(query, minlength=len(similarity))
        most = int(counts.max(initial=0))
        if most <= MAX_CANDIDATES_PER_BLOCK:
            place = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
            rows = np.zeros((len(similarity), most), dtype=np.int64)
            best = np.full((len(similarity), most), -np.inf, dtype=np.float32)
            rows[query, place] = column + start
            best[query, place] = similarity[query, column]
            return rows, best
    numbers = np.arange(start, start + similarity.shape[1])
    return np.broadcast_to(numbers, similarity.shape), similarity


def _top(
    rows: NDArray[np.int64], similarity: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k best columns of each line, by descending similarity, then ascending row number."""
    if similarity.shape[1] > k > 0:
        # All values above the k-th largest are taken; of those equal to it, the lowest rows.
        limit = -np.partition(-similarity, k - 1, axis=1)[:, k - 1 : k]
        ties_taken = k - np.count_nonzero(similarity > limit, axis=1, keepdims=True)
        equal = similarity == limit
        taken = (similarity > limit) | (equal & (np.cumsum(equal, axis=1) <= ties_taken))
        columns = np.nonzero(taken)[1].reshape(len(rows), k)
        rows = np.take_along_axis(rows, columns, axis=1)
        similarity = np.take_along_axis(similarity, columns, axis=1)
    order = np.lexsort((rows, -similarity), axis=1)[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(similarity, order, axis=1)


def widen(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Convert (…, D) float16 or float32 to float32, large arrays by FAISS in several threads."""
    if vectors.dtype != np.float16 or vectors.size < MIN_NUMBERS_FOR_FAISS:
        return np.asarray(vectors, dtype=np.float32)
    whole = np.ascontiguousarray(vectors).reshape(-1, vectors.shape[-1])
    wide = np.empty(whole.shape, dtype=np.float32)
    codec = _half_index(whole.shape[1])

    def convert(part: slice) -> None:
        with one_faiss_thread():
            codec.sa_decode(_bytes_of(whole[part]), wide[part])

    threads = cpu_count() if whole.size >= MIN_NUMBERS_FOR_THREADS else 1
    run_in_threads(convert, len(whole), -(-len(whole) // threads), threads)
    return wide.reshape(vectors.shape)


def _half_index(dim: int) -> Any:
    """An empty FAISS index of float16 rows, which compares all of them."""
    import faiss

    return faiss.IndexScalarQuantizer(
        dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )


def _bytes_of(rows: NDArray[np.float16]) -> NDArray[np.uint8]:
    """(n, D) float16 rows as FAISS takes them."""
    return np.ascontiguousarray(rows).view(np.uint8)


@contextmanager
def one_faiss_thread() -> Iterator[None]:
    """Let FAISS compute in the calling thread alone within the block."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # for calls from this thread
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def run_in_threads(work: Callable[[slice], None], count: int, step: int, threads: int) -> None:
    """Call `work` with slices of `step` rows until all `count` rows are done."""
    parts = [slice(start, min(start + step, count)) for start in range(0, count, step)]
    if threads == 1 or len(parts) == 1:
        for part in parts:
            work(part)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, part) for part in parts]:
            done.result()
