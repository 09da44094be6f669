"""Exact top-k of float16 or float32 rows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...core.hardware import cpu_count
from ...core.types import Neighbours, RowArray, Vectors

BLOCK = 16_384  # gallery rows at a time: 16,384 × 512 float32 = 32 MB

QUERIES = 1_024

FEWER_BLOCKS = 8  # blocks that a handful of queries is compared with at once

HANDFUL = 4  # queries that are compared without widening a whole block

FEW = 512  # candidates of one query in one block; more are cut down with the whole block

GATHERED = 32  # queries whose candidates are gathered at once: 32 × 64 × 512 float32 = 4 MB

APART = 4  # candidates wanted, times this, where offsets change their order


class CandidateSource(Protocol):
    """Names rows that are likely the nearest; see `Cells.candidates`."""

    def candidates(self, queries: Vectors, least: int) -> NDArray[np.int64]:
        """(Q, D) → (Q, R) row numbers, −1 = no more."""


def nearest(
    queries: NDArray[np.float32],
    vectors: RowArray,
    k: int,
    *,
    offsets: NDArray[np.float32] | None = None,
    cells: CandidateSource | None = None,
) -> Neighbours:
    """The k largest inner products of each query, descending; equal ones by lower row.

    queries: (Q, D) float32; vectors: (N, D) float32 or float16 (widened block by block);
    offsets: (N,) added to the inner products before they are compared.
    cells: an index of the same vectors; with it only its candidates are compared (exactly): most
      of the nearest are found, not all. Where it names fewer than k rows, all are compared.
    Returns rows and similarity (offsets included), each (Q, min(k, N)).
    """
    k = min(k, len(vectors))
    if cells is not None and k:
        found = refined(queries, vectors, k, cells, offsets=offsets)
        if (short := np.flatnonzero(found.rows[:, -1] < 0)).size:
            rest = nearest(queries[short], vectors, k, offsets=offsets)
            found.rows[short], found.similarity[short] = rest.rows, rest.similarity
        return found
    rows = np.empty((len(queries), k), dtype=np.int64)
    similarity = np.empty((len(queries), k), dtype=np.float32)
    for start in range(0, len(queries), QUERIES):
        part = slice(start, start + QUERIES)
        rows[part], similarity[part] = _nearest_block(queries[part], vectors, k, offsets)
    return Neighbours(rows, similarity)


def refined(
    queries: NDArray[np.float32],
    vectors: RowArray,
    k: int,
    cells: CandidateSource,
    *,
    offsets: NDArray[np.float32] | None = None,
) -> Neighbours:
    """The k best of the candidates that `cells` names, by their exact inner products.

    As `nearest`, but a place without a candidate has row −1 and similarity −inf.
    """
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    similarity = np.full((len(queries), k), -np.inf, dtype=np.float32)
    least = 2 * k if offsets is None else APART * 2 * k
    for start in range(0, len(queries), QUERIES):
        asked = queries[start : start + QUERIES]
        found = np.sort(cells.candidates(asked, least), axis=1)
        products = inner_products(asked, vectors, found)
        if offsets is not None:
            products += np.where(found < 0, np.float32(0), offsets[found])
        best_rows, best = _top(found, products, k)
        rows[start : start + QUERIES, : best.shape[1]] = best_rows
        similarity[start : start + QUERIES, : best.shape[1]] = best
    return Neighbours(rows, similarity)


def inner_products(
    queries: NDArray[np.float32], vectors: RowArray, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Of each query with its own rows: (Q, D), (N, D), (Q, R) → (Q, R); −inf for row −1."""
    products = np.empty(rows.shape, dtype=np.float32)

    def compare(part: slice) -> None:
        near = widen(vectors[np.maximum(rows[part], 0)])
        products[part] = np.matmul(near, queries[part, :, None])[:, :, 0]

    if rows.size:
        share(compare, len(queries), GATHERED, cpu_count())
    return np.where(rows < 0, np.float32(-np.inf), products)


def _nearest_block(
    queries: NDArray[np.float32],
    vectors: RowArray,
    k: int,
    offsets: NDArray[np.float32] | None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    best_rows = np.empty((len(queries), 0), dtype=np.int64)
    best = np.empty((len(queries), 0), dtype=np.float32)
    few = len(queries) <= HANDFUL
    step = BLOCK * FEWER_BLOCKS if few else BLOCK
    for start in range(0, len(vectors) if k else 0, step):
        block = vectors[start : start + step]
        found = _scanned(queries, block, start, k) if few and offsets is None else None
        if found is None:
            similarity = few_products(queries, block) if few else queries @ widen(block).T
            if offsets is not None:
                similarity += offsets[start : start + step]
            found = _better(similarity, start, best[:, k - 1 : k])
        rows, similarity = found
        best_rows, best = _top(
            np.concatenate([best_rows, rows], axis=1),
            np.concatenate([best, similarity], axis=1),
            k,
        )
    return best_rows, best


def _scanned(
    queries: NDArray[np.float32], block: NDArray[Any], start: int, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    """The k best of a block for each query, halves compared as they are. None = not so."""
    if block.dtype != np.float16 or block.size < MANY:
        return None
    found = [scanned(query, block, min(k, len(block))) for query in queries]
    known = [one for one in found if one is not None]
    if len(known) < len(queries):
        return None
    return np.stack([rows for rows, _ in known]) + start, np.stack([best for _, best in known])


def _better(
    similarity: NDArray[np.float32], start: int, worst: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Row numbers and similarities of a block that may enter the k best; padded with −inf.

    worst: (Q, 1) the k-th best so far, (Q, 0) while there are fewer. A later row that only
    equals it stays out. In a large gallery hardly anything of a block is left.
    """
    if worst.shape[1]:
        query, column = np.nonzero(similarity > worst)
        counts = np.bincount(query, minlength=len(similarity))
        most = int(counts.max(initial=0))
        if most <= FEW:
            place = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
            rows = np.zeros((len(similarity), most), dtype=np.int64)
            kept = np.full((len(similarity), most), -np.inf, dtype=np.float32)
            rows[query, place] = column + start
            kept[query, place] = similarity[query, column]
            return rows, kept
    numbers = np.arange(start, start + similarity.shape[1])
    return np.broadcast_to(numbers, similarity.shape), similarity


def _top(
    rows: NDArray[np.int64], similarity: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k best columns of each row, by falling similarity, then rising row number."""
    if similarity.shape[1] > k > 0:
        # Everything above the k-th value is in; of the values equal to it, the lowest rows.
        limit = -np.partition(-similarity, k - 1, axis=1)[:, k - 1 : k]
        room = k - np.count_nonzero(similarity > limit, axis=1, keepdims=True)
        equal = similarity == limit
        inside = (similarity > limit) | (equal & (np.cumsum(equal, axis=1) <= room))
        columns = np.nonzero(inside)[1].reshape(len(rows), k)
        rows = np.take_along_axis(rows, columns, axis=1)
        similarity = np.take_along_axis(similarity, columns, axis=1)
    order = np.lexsort((rows, -similarity), axis=1)[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(similarity, order, axis=1)


MANY = 65_536  # numbers from which calling FAISS pays

SHARED = 4_194_304  # numbers from which the work is shared between threads

STRIPE = 512  # rows widened at once for few queries: they stay in the processor's cache


def widen(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """(…, D) float16 or float32 → the same numbers as float32."""
    if vectors.dtype != np.float16 or vectors.size < MANY:
        return np.asarray(vectors, dtype=np.float32)
    whole = np.ascontiguousarray(vectors).reshape(-1, vectors.shape[-1])
    wide = np.empty(whole.shape, dtype=np.float32)

    def convert(part: slice) -> None:
        _convert(whole[part], wide[part])

    threads = cpu_count() if whole.size >= SHARED else 1
    share(convert, len(whole), -(-len(whole) // threads), threads)
    return wide.reshape(vectors.shape)


def few_products(queries: NDArray[np.float32], vectors: NDArray[Any]) -> NDArray[np.float32]:
    """(Q, D) with all of (N, D): (Q, N) inner products, for a handful of queries.

    The rows are widened stripe by stripe into small buffers, and never written to memory.
    """
    if vectors.dtype != np.float16 or vectors.size < MANY:
        return queries @ widen(vectors).T
    products = np.empty((len(queries), len(vectors)), dtype=np.float32)
    rows = np.ascontiguousarray(vectors)

    def multiply(part: slice) -> None:
        wide = np.empty((STRIPE, rows.shape[1]), dtype=np.float32)
        for start in range(part.start, part.stop, STRIPE):
            stripe = rows[start : min(start + STRIPE, part.stop)]
            _convert(stripe, wide[: len(stripe)])
            products[:, start : start + len(stripe)] = queries @ wide[: len(stripe)].T

    threads = cpu_count() if rows.size >= SHARED else 1
    share(multiply, len(rows), -(-len(rows) // threads), threads)
    return products


def share(work: Callable[[slice], None], count: int, step: int, threads: int) -> None:
    """Do `work` on each `step` of `count` rows, in so many threads of our own."""
    parts = [slice(start, min(start + step, count)) for start in range(0, count, step)]
    if threads == 1 or len(parts) == 1:
        for part in parts:
            work(part)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, part) for part in parts]:
            done.result()


def _convert(halves: NDArray[Any], wide: NDArray[np.float32]) -> None:
    """(n, D) float16 into (n, D) float32, both whole, in this thread."""
    import faiss

    quantizer: Any = faiss.ScalarQuantizer(halves.shape[1], faiss.ScalarQuantizer.QT_fp16)
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # of this thread of ours only
    try:
        codes = halves.view(np.uint8)
        quantizer.decode_c(faiss.swig_ptr(codes), faiss.swig_ptr(wide), len(halves))
    finally:
        faiss.omp_set_num_threads(before)


MORE = 16  # beyond the k best, so that rows as good as the last of them are known


def scanned(
    query: NDArray[np.float32], rows: NDArray[np.float16], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    """The k largest inner products of (D,) with (N, D), falling, equal ones by lower row: places
    and values, (k,) each. None where more rows are equal than can be told apart, or a product is
    no number: compare all.
    """
    wanted = k + MORE
    threads = cpu_count() if rows.size >= SHARED else 1
    parts: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []

    def scan(part: slice) -> None:
        parts.append(_scan(query, rows[part], min(wanted, part.stop - part.start), part.start))

    share(scan, len(rows), -(-len(rows) // threads), threads)
    places = np.concatenate([place for place, _ in parts])
    values = np.concatenate([value for _, value in parts])
    order = np.lexsort((places, -values))[:wanted]
    places, values = places[order], values[order]
    if len(values) == wanted and not values[k - 1] > values[-1]:
        return None
    if not np.isfinite(values).all():  # no number, or nothing found
        return None
    return places[:k], values[:k]


def _scan(
    query: NDArray[np.float32], rows: NDArray[np.float16], k: int, first: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k best of some rows, in this thread; `first` is added to their places."""
    import faiss

    quantizer: Any = faiss.ScalarQuantizer(rows.shape[1], faiss.ScalarQuantizer.QT_fp16)
    scanner: Any = quantizer.select_InvertedListScanner(
        faiss.METRIC_INNER_PRODUCT, None, True, None, False
    )  # True: a row is named by its place
    asked = np.ascontiguousarray(query, dtype=np.float32)
    codes = np.ascontiguousarray(rows).view(np.uint8)
    values = np.full(k, -np.inf, dtype=np.float32)
    places = np.full(k, -1, dtype=np.int64)
    scanner.set_query(faiss.swig_ptr(asked))
    scanner.set_list(0, 0.0)
    pointers = faiss.swig_ptr(codes), None, faiss.swig_ptr(values), faiss.swig_ptr(places)
    scanner.scan_codes(len(rows), *pointers, k)
    return places + first, values
