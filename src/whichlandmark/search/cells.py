"""Approximate search: cells around centres, one bit a dimension, candidates refined exactly.

Sivic & Zisserman, "Video Google", ICCV 2003 (inverted lists); Gao & Long, "RaBitQ", SIGMOD 2024
(one bit a dimension, with an unbiased estimate of the inner product); both as FAISS has them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import Vectors

QUERY_BITS = 4  # bits of a query's own numbers inside a cell; 8 were slower and found no more
AHEAD = 224  # centres that the graph follows, at least (efSearch): what it misses, no probe finds


@dataclass(frozen=True, eq=False)
class Cells:
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

    def with_effort(self, probes: int, refine: int, recall: float = 0.0) -> Cells:
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

    def without(self, numbers: NDArray[np.int64]) -> Cells:
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
    ) -> Cells:
        """What `to_bytes` made. The bytes must be known to be whole: FAISS trusts them."""
        import faiss

        return cls(faiss.deserialize_index(np.asarray(data)), numbers, probes, refine, recall)
