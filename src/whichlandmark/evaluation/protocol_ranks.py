"""Ranks of chosen photos in the ranking of a whole database, counted in chunks.

No (queries × database) matrix is ever held: a database of a million photos, or more, passes by in
chunks, and for each positive or ignored photo it is counted how many are more similar. Vectors may
lie on disk.

Similarities are computed in double precision and rounded to 2⁻³², so that equal vectors have equal
similarities wherever they stand in a chunk, and others practically never.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.benchmark import Judgements
from ..core.errors import DataError
from ..core.types import Floats, RowArray, Rows
from ..metrics.retrieval import TieGroups

CHUNK_BYTES = 64_000_000  # of similarities, and of vectors, that are held at a time

UNIT_TOLERANCE = 1e-3  # rows whose length differs from 1 by more are normalised, and it is said

_GRID = 2.0**32

_MAX_ROWS = 1 << 42  # of database and distractors together


@dataclass(frozen=True, eq=False)
class QueryRanks:
    """Counts for the marked photos of one query, (M,) each, by row of the database.

    rows: their rows, ascending; a photo without a vector is not among them. keys: similarities.
    above: photos that are more similar. tied: those equally similar, itself included. tied_before:
    of these, how many come earlier in the database.
    """

    rows: Rows
    keys: Floats
    above: Rows
    tied: Rows
    tied_before: Rows

    def ranks(self, judged: Judgements, query: int) -> Rows:
        """Ranks of the positives, ascending from 0, without the ignored photos.

        Equal similarities are in the order of the database, distractors last.
        """
        place = self.above + self.tied_before
        right = np.sort(place[self._among(judged.positives[query])])
        junk = np.sort(place[self._among(judged.ignored[query])])
        return np.asarray(right - np.searchsorted(junk, right), dtype=np.int64)

    def groups(self, judged: Judgements, query: int) -> TieGroups:
        """The groups of equal similarity that hold a positive, without the ignored photos."""
        right = self._among(judged.positives[query])
        junk_keys = np.sort(self.keys[self._among(judged.ignored[query])])
        keys, first, count = np.unique(-self.keys[right], return_index=True, return_counts=True)
        keys = -keys
        below_or_equal = np.searchsorted(junk_keys, keys, side="right")
        junk_above = len(junk_keys) - below_or_equal
        junk_tied = below_or_equal - np.searchsorted(junk_keys, keys)
        return TieGroups(
            before=self.above[right][first] - junk_above,
            right_before=np.cumsum(count) - count,
            size=self.tied[right][first] - junk_tied,
            right=count,
        )

    def _among(self, rows: Rows) -> NDArray[np.bool_]:
        return np.isin(self.rows, rows, assume_unique=True)


class RankCounter:
    """Counts, chunk by chunk, what is more similar to each query than its marked photos.

    `add` takes chunks in the order of the database; `ranks` may be called between chunks.

    Args:
        queries: (Q, D) unit rows.
        marked: per query, rows of the database whose ranks are wanted.
        database: (N, D) vectors.
        present: (N,) False = the photo has no vector and is never retrieved.
    """

    def __init__(
        self,
        queries: NDArray[Any],
        marked: Sequence[Rows],
        database: RowArray,
        present: NDArray[np.bool_],
    ) -> None:
        self._queries = np.asarray(queries, dtype=np.float64)
        self._rows = [rows[present[rows]] for rows in marked]
        self._keys = [np.empty(len(rows)) for rows in self._rows]
        for query, rows in enumerate(self._rows):
            for start in range(0, len(rows), 4096):
                some = rows[start : start + 4096]
                vectors = unit_rows(database[some])[0]
                self._keys[query][start : start + 4096] = rounded(vectors @ self._queries[query])
        self._distinct = [np.unique(keys) for keys in self._keys]
        self._group = [
            np.searchsorted(u, k) for u, k in zip(self._distinct, self._keys, strict=True)
        ]
        self._above = [np.zeros(len(u), np.int64) for u in self._distinct]
        self._tied = [np.zeros(len(u), np.int64) for u in self._distinct]
        self._tied_before = [np.zeros(len(rows), np.int64) for rows in self._rows]
        self._next_row = 0

    def add(self, vectors: NDArray[Any], present: NDArray[np.bool_] | None = None) -> None:
        """Count the next rows. vectors: (n, D) unit rows, float64. present: as for the class."""
        start, self._next_row = self._next_row, self._next_row + len(vectors)
        if self._next_row > _MAX_ROWS:
            raise DataError(f"{self._next_row} photos; at most {_MAX_ROWS} can be ranked")
        at_once = max(1, CHUNK_BYTES // (8 * max(1, len(vectors))))
        for first in range(0, len(self._queries), at_once):
            some = self._queries[first : first + at_once]
            similarity = rounded(some @ vectors.T)
            if present is not None:
                similarity[:, ~present] = -np.inf
            for query, keys in enumerate(similarity, first):
                self._count(query, keys, start)

    def _count(self, query: int, keys: Floats, start: int) -> None:
        distinct = self._distinct[query]
        if not len(distinct):
            return
        rows = self._rows[query]
        here = slice(*np.searchsorted(rows, [start, start + len(keys)]))
        keys[rows[here] - start] = self._keys[query][here]  # the same to the last bit
        near = np.flatnonzero(keys >= distinct[0])
        lower = np.searchsorted(distinct, keys[near])  # how many distinct keys are lower
        counts = np.bincount(lower, minlength=len(distinct) + 1)
        self._above[query] += counts[::-1].cumsum()[::-1][1:]
        equal = distinct[np.minimum(lower, len(distinct) - 1)] == keys[near]
        group, tied_rows = lower[equal], near[equal] + start
        self._tied[query] += np.bincount(group, minlength=len(distinct))
        codes = np.sort(group * _MAX_ROWS + tied_rows)
        own = self._group[query] * _MAX_ROWS
        self._tied_before[query] += np.searchsorted(codes, own + rows)
        self._tied_before[query] -= np.searchsorted(codes, own)

    def ranks(self) -> list[QueryRanks]:
        """The counts of each query, of all chunks so far."""
        return [
            QueryRanks(rows, keys, above[group], tied[group], before.copy())
            for rows, keys, group, above, tied, before in zip(
                self._rows, self._keys, self._group, self._above, self._tied, self._tied_before,
                strict=True,
            )
        ]  # fmt: skip


def rounded(similarity: NDArray[Any]) -> Floats:
    return np.rint(np.asarray(similarity, dtype=np.float64) * _GRID)


def chunk_rows(dim: int) -> int:
    """Rows of vectors that are read at a time."""
    return int(max(1, min(16_384, CHUNK_BYTES // (8 * max(1, dim)))))


def unit_rows(vectors: NDArray[Any], name: str = "vectors") -> tuple[Floats, int]:
    """(n, D) float64 rows of unit length, and how many had another; rows of zeros stay, uncounted.

    Raises DataError where a number is NaN or infinite.
    """
    rows = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        wrong = int(np.flatnonzero(~np.isfinite(lengths[:, 0]))[0])
        raise DataError(f"{name}: NaN or infinite numbers, first in row {wrong} of a chunk")
    others = int(((abs(lengths - 1) > UNIT_TOLERANCE) & (lengths > 0)).sum())
    return rows / np.where(lengths > 0, lengths, 1), others
