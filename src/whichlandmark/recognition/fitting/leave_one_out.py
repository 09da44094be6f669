"""Leave-one-out queries from the gallery, used to fit the calibration. Three kinds:

- known: each landmark photo, with itself hidden: its landmark is the right answer;
- unknown: each landmark photo, with all photos of its landmark hidden: every answer is wrong;
- no landmark: each distractor, without the distractors of its fold: every answer is wrong.

No query is compared under a whitening that was fitted on it: photos (for unknown queries,
landmarks, those of training photos included) are split into folds, and each fold is searched with a
whitening fitted without it. Test photos are never used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from ...core.parallel import map_in_threads
from ...core.types import Floats, Progress, Rows, Vectors
from ...gallery.index import GalleryIndex
from ...gallery.index.projection import Projection
from ..calibration import threshold_for
from ..candidates import Candidates, make_candidates
from ..retrieval import HiddenRows, Retrieved, Retriever
from ..rules import Rules
from .whitening import LabelledVectors, fit_whitening, whitenings_at_once

QUERIES_PER_KIND = 1000  # a few hundred are enough to fit a dozen numbers

FOLDS = 5

# Of the share of photos without a landmark, where there are no distractors to ask about and a
# default stacker knows such photos: unknown landmarks, which are harder to refuse, get this part of
# it. Chosen on the development queries of the log: with 1 fewer landmarks are named, with 0.5 other
# things are.
STAND_IN = 0.75

KNOWN, UNKNOWN, NON_LANDMARK = 0, 1, 2

# (kind, fold, whitening, dim, shrinkage) → the projection, None where none can be fitted.
Whitenings = dict[tuple[object, ...], Projection | None]


@dataclass(frozen=True, eq=False)
class HoldOutQueries:
    """n leave-one-out queries of one kind.

    Attributes:
        kind: KNOWN, UNKNOWN or NON_LANDMARK.
        ids: (n,) photo ids.
        vectors: (n, D) as embedded.
        groups: (n,) code of the landmark; each distractor has a code of its own, below 0.
        truth: (n,) code of the right landmark in the retriever's index, −1 = every answer is wrong.
        hidden: Rows that each query must not find; None = none.
    """

    kind: int
    ids: NDArray[np.object_]
    vectors: Vectors
    groups: Rows
    truth: Rows
    hidden: HiddenRows | None = None


@dataclass(frozen=True, eq=False)
class HoldOutBlock:
    """Leave-one-out queries of one fold with the retriever that searched and its results.

    Attributes:
        kind, ids, groups, truth: As in `HoldOutQueries`.
        retriever: The gallery as these queries searched it.
        found: What the search found.
        candidates: Made from what was found.
    """

    kind: int
    ids: NDArray[np.object_]
    groups: Rows
    truth: Rows
    retriever: Retriever
    found: Retrieved
    candidates: Candidates

    @property
    def right(self) -> NDArray[np.bool_]:
        """(Q, T) is the candidate the right landmark?"""
        truth = self.truth[:, None]
        return np.asarray((self.candidates.codes == truth) & (truth >= 0))


@dataclass(frozen=True, eq=False)
class FoldWhitening:
    """Fits the whitening of each fold, unless it is in `fitted` already."""

    rules: Rules
    extra: LabelledVectors | None
    fitted: Whitenings

    def __call__(
        self, index: GalleryIndex, kind: int, fold: int, extra: LabelledVectors | None
    ) -> Projection | None:
        rules = self.rules
        key = (kind, fold, rules.whitening, rules.whitening_dim, rules.whitening_shrinkage)
        if key not in self.fitted:
            self.fitted[key] = fit_whitening(index, rules, extra)
        return self.fitted[key]


@dataclass(frozen=True, eq=False)
class FitExamples:
    """The queries of all blocks as examples for a stacker: Q queries, T candidates each.

    Attributes:
        kind: (Q,) KNOWN, UNKNOWN or NON_LANDMARK.
        weight: (Q,) how much each query counts.
        group: (Q,) queries of one group are held out together.
        features: (Q, T, F) features of the candidates.
        codes: (Q, T) codes of the candidates, −1 = none.
        right: (Q, T) is the candidate the right landmark?
    """

    kind: NDArray[np.int64]
    weight: Floats
    group: NDArray[np.int64]
    features: Floats
    codes: NDArray[np.int64]
    right: NDArray[np.bool_]

    @classmethod
    def of(cls, blocks: list[HoldOutBlock], rules: Rules, *, stand_in: float = 1.0) -> FitExamples:
        """The queries of all blocks, one block after the other. stand_in: see `query_weights`."""
        right = [block.right for block in blocks]
        return cls(
            kind=np.concatenate([np.full(len(b.ids), b.kind) for b in blocks]),
            weight=query_weights(blocks, rules, stand_in=stand_in),
            group=np.concatenate([b.groups for b in blocks]),
            features=np.concatenate([b.candidates.features for b in blocks]),
            codes=np.concatenate([b.candidates.codes for b in blocks]),
            right=np.concatenate(right),
        )

    def take(self, rows: NDArray[np.int64], weight: Floats | None = None) -> FitExamples:
        """Some of the queries, with new weights where they are given."""
        weight = self.weight[rows] if weight is None else weight
        return FitExamples(
            self.kind[rows],
            weight,
            self.group[rows],
            self.features[rows],
            self.codes[rows],
            self.right[rows],
        )


@dataclass(frozen=True, eq=False)
class HeldOutScores:
    """Best candidate of each query, scored by a stacker that was fitted without it: (Q,) each.

    Attributes:
        scores: Score of the best candidate.
        right: Is the best candidate the right landmark?
        weight: How much the query counts.
        kind: KNOWN, UNKNOWN or NON_LANDMARK.
        group: Queries of one group are held out together.
    """

    scores: Floats
    right: NDArray[np.bool_]
    weight: Floats
    kind: NDArray[np.int64]
    group: NDArray[np.int64]

    @classmethod
    def empty(cls) -> HeldOutScores:
        """Of no queries."""
        floats, codes = np.empty(0), np.empty(0, dtype=np.int64)
        return cls(floats, np.empty(0, dtype=bool), floats, codes, codes)

    @classmethod
    def best_of(cls, examples: FitExamples, logits: Floats) -> HeldOutScores:
        """The candidate of the highest log-odds of each query. logits: (Q, T)."""
        best = logits.argmax(axis=1)[:, None]
        right = np.take_along_axis(examples.right, best, axis=1)[:, 0]
        scores = np.take_along_axis(logits, best, axis=1)[:, 0]
        return cls(scores, right, examples.weight, examples.kind, examples.group)

    def joined(self, other: HeldOutScores) -> HeldOutScores:
        """These queries, then the other ones."""
        return HeldOutScores(
            *(
                np.concatenate([getattr(self, name), getattr(other, name)])
                for name in ("scores", "right", "weight", "kind", "group")
            )
        )

    def answered(self, rate: float) -> float:
        """Share of known queries answered rightly where `rate` of the non-landmarks is answered."""
        threshold = threshold_for(rate, self.scores[self.kind == NON_LANDMARK])
        known = self.kind == KNOWN
        answered = self.right & (self.scores >= threshold)
        return float(answered[known].mean()) if known.any() else 0.0

    def gap(self) -> float:
        """GAP of the weighted queries: Σ w·P·right / Σ w of the known ones, P weighted too.

        With equal weights and distinct scores it equals `metrics.ranking.gap`; queries of equal
        score share one precision P.
        """
        order = np.argsort(-self.scores, kind="stable")
        _, group = np.unique(-self.scores[order], return_inverse=True)
        weight, right = self.weight[order], self.right[order]
        above = np.cumsum(np.bincount(group, weights=weight))
        good = np.cumsum(np.bincount(group, weights=weight * right))
        known = self.weight[self.kind == KNOWN].sum()
        precision = (good / np.maximum(above, 1e-12))[group]
        return float((weight * right * precision).sum() / known) if known else 0.0

    def top1(self) -> float:
        """Share of the known queries whose best candidate is right."""
        known = self.kind == KNOWN
        return float(self.right[known].mean()) if known.any() else 0.0


def hold_out_queries(
    index: GalleryIndex,
    rules: Rules,
    extra: LabelledVectors | None = None,
    *,
    seed: int = 0,
    whitenings: Whitenings | None = None,
    progress: Progress | None = None,
) -> list[HoldOutBlock]:
    """Search the gallery for leave-one-out queries, at most QUERIES_PER_KIND of each kind.

    Args:
        index: The gallery.
        rules: The rules that the queries are searched under.
        extra: Training photos that the whitenings are fitted on too.
        seed: Draws queries and folds.
        whitenings: Those fitted before on the same gallery, training photos and seed; new ones
            are added.
        progress: Called after each kind.
    """
    whiten = FoldWhitening(rules, extra, {} if whitenings is None else whitenings)
    kinds = (_known_queries, _unknown_queries, _non_landmark_queries)
    folds = [
        list(fold(index, whiten, np.random.default_rng([seed, kind])))
        for kind, fold in enumerate(kinds)
    ]
    blocks: list[HoldOutBlock] = []
    threads = whitenings_at_once(index, extra)
    found = map_in_threads(lambda fold: fold(), chain(*folds), threads=threads)
    with closing(found):
        for kind, own in enumerate(folds):
            blocks += islice(found, len(own))
            if progress:
                progress(kind + 1, 3)
    return blocks


def query_weights(blocks: list[HoldOutBlock], rules: Rules, *, stand_in: float = 1.0) -> Floats:
    """Weight of each query, so that each kind has the share that the rules state.

    A kind without queries leaves its share to the other kind without a right answer; where it is
    the distractors', `stand_in` of it.
    """
    kinds = np.concatenate([np.full(len(block.ids), block.kind) for block in blocks])
    stated = [rules.known_share, rules.unknown_share, 1 - rules.known_share - rules.unknown_share]
    counts = np.bincount(kinds, minlength=3)
    wrong = [share if count else 0.0 for share, count in zip(stated, counts, strict=True)][1:]
    if not sum(wrong):  # the rules give the only kind that has queries no share
        wrong = [1.0 if count else 0.0 for count in counts[1:]]
    scale = (1 - rules.known_share) / sum(wrong) if sum(wrong) else 0.0
    if counts[1] and not counts[2] and stated[1]:
        scale *= (stated[1] + stand_in * stated[2]) / (stated[1] + stated[2])
    weights = np.array([stated[0], *(share * scale for share in wrong)])
    return np.asarray((len(kinds) * weights / np.maximum(counts, 1))[kinds])


def _known_queries(
    index: GalleryIndex, whiten: FoldWhitening, rng: np.random.Generator
) -> Iterator[Callable[[], HoldOutBlock]]:
    # A landmark's only photo is no query, because without it there is no right answer.
    usable = np.flatnonzero(np.bincount(index.codes, minlength=1)[index.codes] > 1)
    drawn = rng.permutation(usable)[:QUERIES_PER_KIND]
    # Folds that never hold all photos of a landmark, so that a right answer remains.
    dealt = drawn[np.argsort(index.codes[drawn], kind="stable")]
    folds = [np.sort(dealt[start::FOLDS]) for start in range(FOLDS) if start < len(dealt)]
    for number, fold in enumerate(folds):
        yield partial(_known_block, index, whiten, number, fold)


def _known_block(
    index: GalleryIndex, whiten: FoldWhitening, number: int, fold: Rows
) -> HoldOutBlock:
    rest, rules = index.without(fold), whiten.rules
    whitening = whiten(rest, KNOWN, number, whiten.extra)
    # Where photos are averaged, hiding a photo does not remove it from the others' vectors.
    searched = rest if rules.mixes_photos else index
    names = index.names[index.codes[fold]]
    code_of = {name: code for code, name in enumerate(searched.names)}
    queries = HoldOutQueries(
        kind=KNOWN,
        ids=index.ids[fold],
        vectors=index.vectors[fold].astype(np.float32),
        groups=index.codes[fold],
        truth=np.array([code_of.get(name, -1) for name in names], dtype=np.int64),
        hidden=None if rules.mixes_photos else list(fold[:, None]),
    )
    return _search(Retriever(searched, rules, whitening), queries)


def _unknown_queries(
    index: GalleryIndex, whiten: FoldWhitening, rng: np.random.Generator
) -> Iterator[Callable[[], HoldOutBlock]]:
    if len(index.names) < 2:
        return
    drawn = rng.permutation(len(index.codes))[:QUERIES_PER_KIND]
    for number, landmarks in enumerate(_folds(rng.permutation(len(index.names)))):
        fold = np.sort(drawn[np.isin(index.codes[drawn], landmarks)])
        if len(fold):
            yield partial(_unknown_block, index, whiten, number, fold, landmarks)


def _unknown_block(
    index: GalleryIndex, whiten: FoldWhitening, number: int, fold: Rows, landmarks: Rows
) -> HoldOutBlock:
    rules = whiten.rules
    rest = index.without(np.flatnonzero(np.isin(index.codes, landmarks)))
    extra = _without_landmarks(whiten.extra, index.names[landmarks])
    whitening = whiten(rest, UNKNOWN, number, extra)
    own = [np.flatnonzero(index.codes == code) for code in index.codes[fold]]
    queries = HoldOutQueries(
        kind=UNKNOWN,
        ids=index.ids[fold],
        vectors=index.vectors[fold].astype(np.float32),
        groups=index.codes[fold],
        truth=np.full(len(fold), -1, dtype=np.int64),
        hidden=None if rules.mixes_photos else own,
    )
    return _search(Retriever(rest if rules.mixes_photos else index, rules, whitening), queries)


def _non_landmark_queries(
    index: GalleryIndex, whiten: FoldWhitening, rng: np.random.Generator
) -> Iterator[Callable[[], HoldOutBlock]]:
    count = len(index.distractor_vectors)
    if count < FOLDS or not len(index.codes):
        return
    for number, fold in enumerate(_folds(rng.permutation(count)[:QUERIES_PER_KIND])):
        yield partial(_non_landmark_block, index, whiten, number, fold)


def _non_landmark_block(
    index: GalleryIndex, whiten: FoldWhitening, number: int, fold: Rows
) -> HoldOutBlock:
    rest = np.setdiff1d(np.arange(len(index.distractor_vectors)), fold)
    searched = replace(
        index,
        distractor_vectors=index.distractor_vectors[rest],
        distractor_ids=index.distractor_ids[rest],
        distractor_paths=index.distractor_paths[rest],
    )
    whitening = whiten(searched, NON_LANDMARK, number, whiten.extra)
    queries = HoldOutQueries(
        kind=NON_LANDMARK,
        ids=index.distractor_ids[fold],
        vectors=index.distractor_vectors[fold].astype(np.float32),
        groups=-1 - fold,
        truth=np.full(len(fold), -1, dtype=np.int64),
    )
    return _search(Retriever(searched, whiten.rules, whitening), queries)


def _search(retriever: Retriever, queries: HoldOutQueries) -> HoldOutBlock:
    found = retriever.search(queries.vectors, hidden=queries.hidden)
    candidates = make_candidates(retriever, found, queries.hidden)
    return HoldOutBlock(
        queries.kind, queries.ids, queries.groups, queries.truth, retriever, found, candidates
    )


def _folds(rows: Rows) -> list[Rows]:
    return [np.sort(fold) for fold in np.array_split(rows, FOLDS) if len(fold)]


def _without_landmarks(
    extra: LabelledVectors | None, names: NDArray[np.object_]
) -> LabelledVectors | None:
    if extra is None:
        return None
    kept = ~np.isin(extra.landmarks.astype(str), names.astype(str))
    return LabelledVectors(extra.vectors[kept], extra.landmarks[kept])
