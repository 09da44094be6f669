"""Exact nearest-neighbour search by inner product, over float16 or float32 vectors.

With few queries the float16 vectors are scanned by FAISS, or converted in stripes that fit the
processor's cache; with many queries blocks are converted to float32 and multiplied.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...core.hardware import cpu_count
from ...core.types import Neighbours, RowArray, Vectors

BLOCK_ROWS = 16_384  # vectors compared at once: 16,384 × 512 float32 = 32 MB

QUERY_BLOCK = 1_024  # queries compared at once

MAX_FEW_QUERIES = 4  # up to here a block is not converted to float32 as a whole

BLOCKS_FOR_FEW_QUERIES = 8  # compared at once with few queries

MAX_CANDIDATES_PER_BLOCK = 512  # of one query; with more, the whole block is sorted

GATHERED_QUERIES = 32  # whose candidates are read at once: 32 × 64 × 512 float32 = 4 MB

OFFSET_CANDIDATE_FACTOR = 4  # more candidates with offsets, because these change the order

MIN_NUMBERS_FOR_FAISS = 65_536  # with fewer, a call of FAISS costs more than it saves

MIN_NUMBERS_FOR_THREADS = 4_194_304  # with fewer, one thread is faster

STRIPE_ROWS = 512  # converted at once for few queries, so that they stay in the processor's cache

EXTRA_FOR_TIES = 16  # beyond the k best, to see whether others are equal to the last of them


class CandidateSource(Protocol):
    """Proposes rows that are likely the nearest, e.g. an `IvfIndex`."""

    def candidates(self, queries: Vectors, least: int) -> NDArray[np.int64]:
        """(Q, D) queries → (Q, R) row numbers, −1 = no more; R ≥ least if there are enough rows."""


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
    best_rows = np.empty((len(queries), 0), dtype=np.int64)
    best = np.empty((len(queries), 0), dtype=np.float32)
    few = len(queries) <= MAX_FEW_QUERIES
    step = BLOCK_ROWS * BLOCKS_FOR_FEW_QUERIES if few else BLOCK_ROWS
    for start in range(0, len(vectors) if k else 0, step):
        block = vectors[start : start + step]
        found = _faiss_block(queries, block, start, k) if few and offsets is None else None
        if found is None:
            similarity = few_query_products(queries, block) if few else queries @ widen(block).T
            if offsets is not None:
                similarity += offsets[start : start + step]
            found = _block_candidates(similarity, start, best[:, k - 1 : k])
        rows, similarity = found
        best_rows, best = _top(
            np.concatenate([best_rows, rows], axis=1),
            np.concatenate([best, similarity], axis=1),
            k,
        )
    return best_rows, best


def _faiss_block(
    queries: NDArray[np.float32], block: NDArray[Any], start: int, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    """The k best of a float16 block for each query by `faiss_top`; None where that cannot be used.

    start: the row number of the block's first row.
    """
    if block.dtype != np.float16 or block.size < MIN_NUMBERS_FOR_FAISS:
        return None
    found = [faiss_top(query, block, min(k, len(block))) for query in queries]
    known = [one for one in found if one is not None]
    if len(known) < len(queries):
        return None
    return np.stack([rows for rows, _ in known]) + start, np.stack([best for _, best in known])


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

    def convert(part: slice) -> None:
        _convert(whole[part], wide[part])

    threads = cpu_count() if whole.size >= MIN_NUMBERS_FOR_THREADS else 1
    run_in_threads(convert, len(whole), -(-len(whole) // threads), threads)
    return wide.reshape(vectors.shape)


def few_query_products(queries: NDArray[np.float32], vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Inner products (Q, N) of few queries (Q, D) with all vectors (N, D).

    The vectors are converted to float32 in stripes, so that only the processor's cache holds them.
    """
    if vectors.dtype != np.float16 or vectors.size < MIN_NUMBERS_FOR_FAISS:
        return queries @ widen(vectors).T
    products = np.empty((len(queries), len(vectors)), dtype=np.float32)
    rows = np.ascontiguousarray(vectors)

    def multiply(part: slice) -> None:
        wide = np.empty((STRIPE_ROWS, rows.shape[1]), dtype=np.float32)
        for start in range(part.start, part.stop, STRIPE_ROWS):
            stripe = rows[start : min(start + STRIPE_ROWS, part.stop)]
            _convert(stripe, wide[: len(stripe)])
            products[:, start : start + len(stripe)] = queries @ wide[: len(stripe)].T

    threads = cpu_count() if rows.size >= MIN_NUMBERS_FOR_THREADS else 1
    run_in_threads(multiply, len(rows), -(-len(rows) // threads), threads)
    return products


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


def _convert(half_rows: NDArray[Any], wide: NDArray[np.float32]) -> None:
    """Convert (n, D) float16 into the array `wide`, both contiguous, in this thread."""
    import faiss

    quantizer: Any = faiss.ScalarQuantizer(half_rows.shape[1], faiss.ScalarQuantizer.QT_fp16)
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # for calls from this thread
    try:
        codes = half_rows.view(np.uint8)
        quantizer.decode_c(faiss.swig_ptr(codes), faiss.swig_ptr(wide), len(half_rows))
    finally:
        faiss.omp_set_num_threads(before)


def faiss_top(
    query: NDArray[np.float32], rows: NDArray[np.float16], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    """The k largest inner products of a query (D,) with float16 rows (N, D), ties by lower row.

    Returns:
        Row indices and values, (k,) each; None if too many rows tie with the k-th to find the
        lowest ones, or if a product is NaN or infinite.
    """
    wanted = k + EXTRA_FOR_TIES
    threads = cpu_count() if rows.size >= MIN_NUMBERS_FOR_THREADS else 1
    parts: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []

    def scan(part: slice) -> None:
        parts.append(
            _faiss_scan(query, rows[part], min(wanted, part.stop - part.start), part.start)
        )

    run_in_threads(scan, len(rows), -(-len(rows) // threads), threads)
    indices = np.concatenate([index for index, _ in parts])
    values = np.concatenate([value for _, value in parts])
    order = np.lexsort((indices, -values))[:wanted]
    indices, values = indices[order], values[order]
    if len(values) == wanted and not values[k - 1] > values[-1]:
        return None
    if not np.isfinite(values).all():  # −inf marks a place without a row
        return None
    return indices[:k], values[:k]


def _faiss_scan(
    query: NDArray[np.float32], rows: NDArray[np.float16], k: int, first: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Indices and values of the k best rows, in this thread; `first` is added to the indices."""
    import faiss

    quantizer: Any = faiss.ScalarQuantizer(rows.shape[1], faiss.ScalarQuantizer.QT_fp16)
    scanner: Any = quantizer.select_InvertedListScanner(
        faiss.METRIC_INNER_PRODUCT, None, True, None, False
    )  # True: return row indices
    contiguous = np.ascontiguousarray(query, dtype=np.float32)
    codes = np.ascontiguousarray(rows).view(np.uint8)
    values = np.full(k, -np.inf, dtype=np.float32)
    indices = np.full(k, -1, dtype=np.int64)
    scanner.set_query(faiss.swig_ptr(contiguous))
    scanner.set_list(0, 0.0)
    pointers = faiss.swig_ptr(codes), None, faiss.swig_ptr(values), faiss.swig_ptr(indices)
    scanner.scan_codes(len(rows), *pointers, k)
    return indices + first, values
