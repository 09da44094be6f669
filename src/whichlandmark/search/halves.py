"""float16 rows → float32, as fast as the processor converts, in threads that do not spin.

numpy widens one number after the other; FAISS's scalar quantizer takes sixteen at once. Its own
threads wait for more work by spinning, and on few cores a matrix product beside them takes
several times as long: here each of our threads calls it alone. Widening is exact either way.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..machine import cpu_count

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
