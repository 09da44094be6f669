"""Search: query vectors → nearest gallery photos, nearest distractors, penalties and votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..core.prediction import Match
from ..core.types import Neighbours, RowArray, Vectors
from ..gallery.index import GalleryIndex, SearchRows
from ..gallery.index.exact import CandidateSource, HalfRows, nearest, widen
from ..gallery.index.projection import Projection, projection_key
from .reranking.class_centres import centre_votes, class_centres, distractor_penalty
from .reranking.expansion import augmented, expanded, superglobal_scores
from .reranking.votes import Votes, inlier_vote, power_vote, vote
from .rules import Rules

SEARCH_DEPTH = 30  # neighbours that candidates and votes are taken from

SUPERGLOBAL_DEPTH = 400  # neighbours that SuperGlobal re-ranks (M in the paper)

ROWS_PER_BLOCK = 4096  # gallery rows that are projected or compared with distractors at once

QUERIES_PER_BLOCK = 256  # queries whose neighbours' vectors are in memory at once

MAX_FLOAT32_DISTRACTOR_BYTES = 64_000_000  # more distractors are widened anew for every batch

MIN_QUERIES_TO_WIDEN = 5  # fewer are compared with float16 rows directly: `gallery.index.exact`

HiddenRows = Sequence[NDArray[np.int64]]  # for each query, the gallery rows it must not find


@dataclass(frozen=True, eq=False)
class Retrieved:
    """What the search found for Q queries, K neighbours and k distractors each.

    Attributes:
        queries: (Q, d) query vectors as compared: whitened and expanded.
        raw_queries: (Q, D) query vectors as embedded.
        neighbours: rows (Q, K) of the index in the order of the rules, −1 = none; similarity
            (Q, K), the cosines of the vectors as compared.
        ranking: (Q, K) the numbers that order the neighbours.
        codes: (Q, K) landmark code of each neighbour, −1 = none.
        distractors: rows (Q, k) of the nearest distractors and their cosines.
        penalty: (Q,) C, the mean of these k cosines.
    """

    queries: Vectors
    raw_queries: Vectors
    neighbours: Neighbours
    ranking: NDArray[np.float32]
    codes: NDArray[np.int64]
    distractors: Neighbours
    penalty: NDArray[np.float32]


class Retriever:
    """A gallery index prepared for one set of rules; everything computed once is computed here.

    Args:
        index: The gallery's arrays.
        rules: How neighbours are ranked and scored.
        projection: The whitening; None = vectors are compared as embedded.
        prepared: The index's rows after a projection, with their inverted files; used when that
            projection is this one.
    """

    vectors: RowArray  # (G, d) landmark photos as compared
    distractor_vectors: RowArray  # (M, d) distractors as compared
    candidate_source: CandidateSource | None  # inverted file of `vectors`; None = compare all rows
    distractor_source: CandidateSource | None

    def __init__(
        self,
        index: GalleryIndex,
        rules: Rules,
        projection: Projection | None = None,
        prepared: SearchRows | None = None,
    ) -> None:
        self.index, self.rules, self.projection = index, rules, projection
        self.candidate_source, self.distractor_source = None, None
        if prepared and prepared.key == projection_key(projection) and not rules.augmentation:
            self.vectors = prepared.vectors
            self.distractor_vectors = prepared.distractor_vectors
            if rules.recall < 1:
                self.candidate_source = prepared.candidate_source
                self.distractor_source = prepared.distractor_source
        else:
            self.vectors = self._projected(index.vectors)
            self.distractor_vectors = self._projected(index.distractor_vectors)
        if rules.augmentation:
            self.vectors = self._augmented()
        if self.candidate_source is None:
            self.vectors = HalfRows(self.vectors)
        if self.distractor_source is None:
            self.distractor_vectors = HalfRows(self.distractor_vectors)
        # B of each gallery photo; NaN = not computed yet.
        self._penalty_cache = np.full(len(self.vectors), np.nan, dtype=np.float32)
        self.penalties: NDArray[np.float32] | None = None
        if rules.uses_gallery_penalty:
            self.penalties = self.gallery_penalties(np.arange(len(self.vectors)))
        self.centres = np.empty((0, 0), dtype=np.float32)
        if rules.score == "class_centre":
            self.centres = class_centres(self.vectors[:], index.codes, len(index.names))

    def search(
        self, queries: Vectors, *, depth: int = SEARCH_DEPTH, hidden: HiddenRows | None = None
    ) -> Retrieved:
        """Find the neighbours and the nearest distractors of each query.

        Args:
            queries: (Q, D) unit rows, as embedded.
            depth: Neighbours to keep of each query, where the gallery has as many.
            hidden: For each query the gallery rows that it must not find: for leave-one-out
                queries the photo itself, or all photos of its landmark.
        """
        compared = self.projection(queries) if self.projection else queries
        depth = max(depth, self.rules.votes, SUPERGLOBAL_DEPTH if self.rules.superglobal else 0)
        if self.rules.expansion and len(self.vectors):
            rows, _ = self._ranked(compared, self.rules.expansion, hidden)
            near = self.vectors[rows].astype(np.float32)
            compared = expanded(compared, near, self.cosines(compared, rows))
        rows, ranking = self._ranked(compared, depth, hidden)
        if self.rules.superglobal:
            ranking = superglobal_scores(compared, self.vectors[:], rows).astype(np.float32)
            order = np.argsort(-ranking, axis=1, kind="stable")
            rows = np.take_along_axis(rows, order, axis=1)
            ranking = np.take_along_axis(ranking, order, axis=1)
        neighbours = Neighbours(rows, self.cosines(compared, rows))
        codes = np.where(rows < 0, -1, self.index.codes[rows]) if rows.size else rows
        averaged = self.rules.query_bank or (10 if self.rules.uses_gallery_penalty else 5)
        distractors = self._nearest_distractors(compared, averaged)
        penalty = distractor_penalty(distractors.similarity)
        return Retrieved(compared, queries, neighbours, ranking, codes, distractors, penalty)

    def similar(self, query: Vectors, limit: int) -> list[Match]:
        """The gallery photos of highest cosine to one query (D,), distractors among them.

        The vectors are compared after whitening where the rules have it, as in `search`; nothing
        else of the rules changes the order.
        """
        queries = query[None]
        compared = self.projection(queries) if self.projection else queries
        index, found = self.index, []
        near = nearest(compared, self.vectors, limit, source=self.candidate_source)
        for row, cosine in zip(near.rows[0], near.similarity[0], strict=True):
            if row >= 0:
                found.append(Match(index.ids[row], index.names[index.codes[row]], float(cosine)))
        near = self._nearest_distractors(compared, limit)
        for row, cosine in zip(near.rows[0], near.similarity[0], strict=True):
            if row >= 0:
                found.append(Match(index.distractor_ids[row], None, float(cosine)))
        return sorted(found, key=lambda match: -match.similarity)[:limit]

    def votes(self, found: Retrieved, inliers: NDArray[np.int64] | None = None) -> Votes:
        """The best and the second landmark of each query by the formula of the rules' score.

        Not for the score "learned". inliers: (Q, K) inliers of each neighbour, −1 = not compared;
        used by "inlier_vote".
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
        else:  # max(cos, 0) − B, as in psinger's code
            penalized = np.maximum(similarity, 0) - self.penalties[found.neighbours.rows]
            penalized = np.where(found.codes < 0, 0, penalized)
            best = vote(found.codes, penalized, self.rules.votes)
        if not self.rules.uses_query_penalty:
            return best
        return Votes(best.codes, best.scores - found.penalty,
                     best.second_codes, best.second_scores - found.penalty)  # fmt: skip

    def gallery_penalties(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """B of gallery photos: (n,) rows → (n,) mean cosines to their nearest distractors.

        Each is computed when it is first needed, and cached.
        """
        new = _distinct(rows[np.isnan(self._penalty_cache[rows])])
        for start in range(0, len(new), ROWS_PER_BLOCK):
            block = new[start : start + ROWS_PER_BLOCK]
            vectors = self.vectors[block].astype(np.float32)
            near = self._nearest_distractors(vectors, self.rules.gallery_bank)
            self._penalty_cache[block] = distractor_penalty(near.similarity)
        return self._penalty_cache[rows]

    def cosines(self, queries: Vectors, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Cosines of each query to its own rows, as compared: (Q, d), (Q, K) → (Q, K)."""
        return _row_products(queries, self.vectors, rows)

    def compare_raw(
        self, found: Retrieved, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Each query with gallery photos, by the vectors as embedded: (Q, K) rows, −1 = none.

        Returns:
            Cosines before whitening and expansion; and how much less a query looks like a place
            than the photo does, as log-odds of at most 0, where the embedder says so.
        """
        evidence, gaps = self.index.place_evidence, np.zeros(rows.shape)
        if evidence is None or not (rows >= 0).any():
            return _row_products(found.raw_queries, self.index.vectors, rows), gaps
        cosines = np.full(rows.shape, -1, dtype=np.float32)
        for start in range(0, len(rows), QUERIES_PER_BLOCK):
            block = slice(start, start + QUERIES_PER_BLOCK)
            queries, own = found.raw_queries[block], rows[block]
            photos = _distinct(np.maximum(own, 0))
            position = np.searchsorted(photos, np.maximum(own, 0))
            near = np.asarray(self.index.vectors[photos], dtype=np.float32)
            products = np.einsum("qd,qkd->qk", queries, near[position])
            cosines[block] = np.where(own < 0, -1, products)
            lead = evidence(queries)[:, None] - evidence(near)[position]
            gaps[block] = np.where(own < 0, 0.0, np.minimum(lead, 0.0))
        return cosines, gaps

    def landmark_sums(self, codes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Sums of each landmark's rows, whose direction is its centre: (…,) codes → (…, d).

        Each sum is computed when it is first needed, because one query needs very few of them.
        """
        order, starts, sums, computed = self._sum_cache
        for code in _distinct(codes[codes >= 0]):
            if not computed[code]:
                rows = self.vectors[order[starts[code] : starts[code + 1]]]
                sums[code], computed[code] = rows.sum(axis=0, dtype=np.float32), True
        return sums[codes]

    @cached_property
    def _sum_cache(
        self,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], Vectors, NDArray[np.bool_]]:
        """Rows sorted by landmark, where each landmark starts, the sums, and which are computed."""
        count = len(self.index.names)
        order = np.argsort(self.index.codes, kind="stable")
        starts = np.cumsum([0, *self.landmark_sizes])
        sums = np.zeros((count, self.vectors.shape[1]), dtype=np.float32)
        return order, starts, sums, np.zeros(count, dtype=bool)

    @cached_property
    def landmark_sizes(self) -> NDArray[np.int64]:
        """(C,) number of photos of each landmark."""
        return np.bincount(self.index.codes, minlength=len(self.index.names))

    def _ranked(
        self, queries: Vectors, k: int, hidden: HiddenRows | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k best rows of each query and the numbers that rank them, without hidden rows."""
        most = max(map(len, hidden), default=0) if hidden is not None else 0
        offsets = None if self.penalties is None else -self.penalties
        found = nearest(
            queries, self.vectors, k + most, offsets=offsets, source=self.candidate_source
        )
        if hidden is None:
            return found.rows, found.similarity
        return _drop_hidden(found, hidden, k)

    def _augmented(self) -> NDArray[np.float16]:
        queries = np.asarray(self.vectors[:], dtype=np.float32)
        found = nearest(queries, self.vectors, self.rules.augmentation + 1)  # itself is one of them
        return augmented(self.vectors[:], found.rows, found.similarity).astype(np.float16)

    def _nearest_distractors(self, queries: Vectors, k: int) -> Neighbours:
        distractors = self.distractor_vectors
        if len(queries) >= MIN_QUERIES_TO_WIDEN and self._float32_distractors is not None:
            distractors = self._float32_distractors
        return nearest(queries, distractors, k, source=self.distractor_source)

    @cached_property
    def _float32_distractors(self) -> Vectors | None:
        """The distractors as float32, or None where that does not pay.

        Made for the first batch, because every batch has to widen the rows anyway. It does not pay
        where an inverted file selects few rows, nor where it would take too much memory.
        """
        size = 4 * np.prod(self.distractor_vectors.shape)
        if self.distractor_source is not None or size > MAX_FLOAT32_DISTRACTOR_BYTES:
            return None
        return widen(self.distractor_vectors[:])

    def _projected(self, vectors: RowArray) -> RowArray:
        """(N, D) → (N, d) float16, or the rows as they are without a projection."""
        if self.projection is None:
            return vectors
        blocks = [
            self.projection(vectors[start : start + ROWS_PER_BLOCK]).astype(np.float16)
            for start in range(0, len(vectors), ROWS_PER_BLOCK)
        ]
        empty = np.empty((0, len(self.projection.axes)), dtype=np.float16)
        return np.concatenate([empty, *blocks])


def _distinct(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The distinct numbers, ascending. Not np.unique, which imports numpy.ma for a single photo."""
    return np.array(sorted(set(numbers.ravel().tolist())), dtype=np.int64)


def _row_products(
    queries: Vectors, vectors: RowArray, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """(Q, d), (N, d), (Q, K) rows → (Q, K) inner products; −1 where a row is below 0."""
    products = np.full(rows.shape, -1, dtype=np.float32)
    if not rows.size or not len(vectors):
        return products
    for start in range(0, len(queries), QUERIES_PER_BLOCK):
        block = slice(start, start + QUERIES_PER_BLOCK)
        near = vectors[rows[block]].astype(np.float32)
        products[block] = np.einsum("qd,qkd->qk", queries[block], near)
    return np.where(rows < 0, np.float32(-1), products)


def _drop_hidden(
    found: Neighbours, hidden: HiddenRows, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The first k neighbours that are not hidden, padded with row −1 of similarity −inf."""
    masks = [np.isin(rows, own) for rows, own in zip(found.rows, hidden, strict=True)]
    mask = np.array(masks).reshape(found.rows.shape)
    order = np.argsort(mask, axis=1, kind="stable")[:, :k]
    is_hidden = np.take_along_axis(mask, order, axis=1)
    rows = np.where(is_hidden, -1, np.take_along_axis(found.rows, order, axis=1))
    similarity = np.take_along_axis(found.similarity, order, axis=1)
    return rows, np.where(is_hidden, np.float32(-np.inf), similarity)
