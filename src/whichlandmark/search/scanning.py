"""One query against float16 rows as they lie in memory, none of them widened: as fast as they are
read.

FAISS computes the inner products from the halves (ScalarQuantizer, QT_fp16) and keeps the best.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..machine import cpu_count
from .halves import SHARED, share

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
