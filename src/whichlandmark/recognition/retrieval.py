"""Query vectors + gallery + rules → the nearest photos, what the bank says, and the votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..core.types import Neighbours, RowArray, Vectors
from ..gallery.index import GalleryIndex, SearchRows
from ..gallery.index.exact import CandidateSource, nearest, widen
from ..gallery.index.open import projection_key
from ..gallery.index.projection import Projection
from .reranking.class_centres import bank_likeness, centre_votes, class_centres
from .reranking.expansion import augmented, expanded, superglobal_scores
from .reranking.votes import Votes, inlier_vote, power_vote, vote
from .rules import Rules

NEIGHBOURS = 30  # neighbours that candidates and votes are taken from

RERANKED = 400  # neighbours that SuperGlobal re-ranks (M of its authors)

BLOCK = 4096

MAX_FLOAT32_BANK_BYTES = 64_000_000  # a larger bank is widened block by block for every batch

MIN_QUERIES_TO_WIDEN = 5  # fewer are compared with float16 rows as they are: `search.exact`

Hidden = Sequence[NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Retrieved:
    """What was found for Q queries.

    queries: (Q, d) as they are compared (whitened, expanded); raw: (Q, D) as embedded;
    neighbours: rows (Q, K) in the order of the rules, similarity = cosine as compared;
    ranking: (Q, K) what orders them; codes: (Q, K) landmark of each; distractors: the nearest ones,
    rows of the bank (Q, k) and cosines; penalty: (Q,) C, the mean of these cosines.
    """

    queries: Vectors
    raw: Vectors
    neighbours: Neighbours
    ranking: NDArray[np.float32]
    codes: NDArray[np.int64]
    distractors: Neighbours
    penalty: NDArray[np.float32]


class Retriever:
    """A gallery made ready for one set of rules: what is computed once is computed here.

    prepared: its rows as they are searched, with cells around them; used where it was made for
    this very projection.
    """

    vectors: RowArray
    bank: RowArray
    cells: CandidateSource | None
    bank_cells: CandidateSource | None

    def __init__(
        self,
        index: GalleryIndex,
        rules: Rules,
        projection: Projection | None = None,
        prepared: SearchRows | None = None,
    ) -> None:
        self.index = index
        self.rules = rules
        self.projection = projection
        self.cells, self.bank_cells = None, None
        if prepared and prepared.key == projection_key(projection) and not rules.augmentation:
            self.vectors, self.bank = prepared.vectors, prepared.bank
            if rules.recall < 1:
                self.cells, self.bank_cells = prepared.cells, prepared.bank_cells
        else:
            self.vectors, self.bank = self._turned(index.vectors), self._turned(index.bank)
        if rules.augmentation:
            self.vectors = self._augmented()
        self._likeness = np.full(len(self.vectors), np.nan, dtype=np.float32)  # B, once it is known
        self.penalties: NDArray[np.float32] | None = None
        if rules.uses_gallery_penalty:
            self.penalties = self.gallery_likeness(np.arange(len(self.vectors)))
        self.centres = np.empty((0, 0), dtype=np.float32)
        if rules.score == "class_centre":
            self.centres = class_centres(self.vectors[:], index.codes, len(index.names))

    def landmark_sums(self, codes: NDArray[np.int64]) -> NDArray[np.float32]:
        """(…,) landmarks → (…, d): the sum of each one's rows; its direction is the centre.

        Sums are made when they are first asked for: a single photo wants very few of them.
        """
        order, starts, sums, made = self._sums
        for code in np.unique(codes[codes >= 0]):
            if not made[code]:
                rows = self.vectors[order[starts[code] : starts[code + 1]]]
                sums[code], made[code] = rows.sum(axis=0, dtype=np.float32), True
        return sums[codes]

    @cached_property
    def _sums(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Vectors, NDArray[np.bool_]]:
        """Rows by landmark, where each begins, their sums, and which of these are made."""
        codes, count = self.index.codes, len(self.index.names)
        order = np.argsort(codes, kind="stable")
        starts = np.cumsum([0, *self.landmark_sizes])
        sums = np.zeros((count, self.vectors.shape[1]), dtype=np.float32)
        return order, starts, sums, np.zeros(count, dtype=bool)

    @cached_property
    def landmark_sizes(self) -> NDArray[np.int64]:
        """(C,) photos of each landmark."""
        return np.bincount(self.index.codes, minlength=len(self.index.names))

    def find(
        self, queries: Vectors, *, depth: int = NEIGHBOURS, hidden: Hidden | None = None
    ) -> Retrieved:
        """Search for queries (Q, D), and keep `depth` neighbours of each, or fewer.

        hidden: for each query the gallery rows that it must not see (itself, say, or all of
          its landmark): how the gallery questions itself.
        """
        asked = self.projection(queries) if self.projection else queries
        depth = max(depth, self.rules.votes, RERANKED if self.rules.superglobal else 0)
        if self.rules.expansion and len(self.vectors):
            asked = self._expanded(asked, hidden)
        rows, ranking = self._ranked(asked, depth, hidden)
        if self.rules.superglobal:
            ranking = superglobal_scores(asked, self.vectors[:], rows).astype(np.float32)
            order = np.argsort(-ranking, axis=1, kind="stable")
            rows = np.take_along_axis(rows, order, axis=1)
            ranking = np.take_along_axis(ranking, order, axis=1)
        similarity = self.cosines(asked, rows)
        codes = np.where(rows < 0, -1, self.index.codes[rows]) if rows.size else rows
        distractors = self._nearest_distractors(asked, self._bank_size())
        penalty = bank_likeness(distractors.similarity)
        neighbours = Neighbours(rows, similarity)
        return Retrieved(asked, queries, neighbours, ranking, codes, distractors, penalty)

    def votes(self, found: Retrieved, inliers: NDArray[np.int64] | None = None) -> Votes:
        """The best and the second landmark by the rules' formula; not for score "learned".

        inliers: (Q, K) of each neighbour, −1 = not compared; for "inlier_vote".
        """
        score = self.rules.score
        similarity = found.neighbours.similarity
        if score == "power_vote":
            return power_vote(found.codes, similarity)
        if score == "class_centre":
            return centre_votes(found.queries, self.centres)
        if score == "inlier_vote":
            counts = np.full(found.codes.shape, -1) if inliers is None else inliers
            return inlier_vote(found.codes, similarity, counts)
        if self.penalties is None:
            best = vote(found.codes, found.ranking, 1)
        else:  # max(cos, 0) − B, as its authors have it
            share = np.maximum(similarity, 0) - self.penalties[found.neighbours.rows]
            share = np.where(found.codes < 0, 0, share)
            best = vote(found.codes, share, self.rules.votes)
        if not self.rules.uses_query_penalty:
            return best
        return Votes(best.codes, best.scores - found.penalty,
                     best.second_codes, best.second_scores - found.penalty)  # fmt: skip

    def gallery_likeness(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """B of gallery photos: (n,) rows → (n,) mean cosines to their nearest distractors.

        Each is made when it is first asked for, and kept.
        """
        new = np.unique(rows[np.isnan(self._likeness[rows])])
        for start in range(0, len(new), BLOCK):
            part = new[start : start + BLOCK]
            asked = self.vectors[part].astype(np.float32)
            near = self._nearest_distractors(asked, self.rules.gallery_bank)
            self._likeness[part] = bank_likeness(near.similarity)
        return self._likeness[rows]

    def cosines(self, queries: Vectors, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Cosines of each query to its own rows: (Q, d), (Q, K) → (Q, K)."""
        return _products(queries, self.vectors, rows)

    def raw_cosines(self, found: Retrieved, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The same before whitening and expansion."""
        return _products(found.raw, self.index.vectors, rows)

    def _ranked(
        self, asked: Vectors, k: int, hidden: Hidden | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        most = max(map(len, hidden), default=0) if hidden is not None else 0
        offsets = None if self.penalties is None else -self.penalties
        found = nearest(asked, self.vectors, k + most, offsets=offsets, cells=self.cells)
        if hidden is None:
            return found.rows, found.similarity
        return _without(found, hidden, k)

    def _expanded(self, asked: Vectors, hidden: Hidden | None) -> Vectors:
        rows, _ = self._ranked(asked, self.rules.expansion, hidden)
        near = self.vectors[rows].astype(np.float32)
        return expanded(asked, near, self.cosines(asked, rows))

    def _nearest_distractors(self, queries: Vectors, k: int) -> Neighbours:
        bank = self.bank
        if len(queries) >= MIN_QUERIES_TO_WIDEN and self._float32_bank is not None:
            bank = self._float32_bank
        return nearest(queries, bank, k, cells=self.bank_cells)

    @cached_property
    def _float32_bank(self) -> Vectors | None:
        """The bank as float32, made for the first batch, because that batch has to widen it anyway
        and so would every later one. One photo alone never pays for it.

        None where cells name a few rows to compare, or it would take too much memory.
        """
        if self.bank_cells is not None or 4 * np.prod(self.bank.shape) > MAX_FLOAT32_BANK_BYTES:
            return None
        return widen(self.bank[:])

    def _augmented(self) -> NDArray[np.float16]:
        everyone = np.asarray(self.vectors[:], dtype=np.float32)
        found = nearest(everyone, self.vectors, self.rules.augmentation + 1)  # and itself
        return augmented(self.vectors[:], found.rows, found.similarity).astype(np.float16)

    def _turned(self, vectors: RowArray) -> RowArray:
        if self.projection is None:
            return vectors
        parts = [
            self.projection(vectors[start : start + BLOCK]).astype(np.float16)
            for start in range(0, len(vectors), BLOCK)
        ]
        empty = np.empty((0, len(self.projection.axes)), dtype=np.float16)
        return np.concatenate([empty, *parts])

    def _bank_size(self) -> int:
        return self.rules.query_bank or (10 if self.rules.uses_gallery_penalty else 5)


def _products(queries: Vectors, vectors: RowArray, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """(Q, d), (N, d), (Q, K) rows → (Q, K); −1 where a row is below 0."""
    products = np.full(rows.shape, -1, dtype=np.float32)
    some = rows.size and len(vectors)
    for start in range(0, len(queries) if some else 0, 256):  # bounds what is gathered
        part = slice(start, start + 256)
        near = vectors[rows[part]].astype(np.float32)
        products[part] = np.einsum("qd,qkd->qk", queries[part], near)
    return np.where(rows < 0, np.float32(-1), products)


def _without(
    found: Neighbours, hidden: Hidden, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The first k neighbours that are not hidden, then row −1 of similarity −inf."""
    out = [np.isin(rows, gone) for rows, gone in zip(found.rows, hidden, strict=True)]
    order = np.argsort(np.array(out).reshape(found.rows.shape), axis=1, kind="stable")[:, :k]
    gone = np.take_along_axis(np.array(out).reshape(found.rows.shape), order, axis=1)
    rows = np.where(gone, -1, np.take_along_axis(found.rows, order, axis=1))
    similarity = np.take_along_axis(found.similarity, order, axis=1)
    return rows, np.where(gone, np.float32(-np.inf), similarity)
