"""Fit what the rules need on leave-one-out queries: whitening, stackers, calibration."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...core.json_options import from_json
from ...core.types import Floats, Progress
from ...gallery.index import GalleryIndex
from ...gallery.index.projection import Projection
from ..calibration import Calibration, fit_calibration, threshold_for
from ..candidates import FEATURES, GEOMETRY_FEATURES, add_geometry
from ..decision import Fitted, ranks_to_compare, undecided
from ..rules import Rules
from ..spatial_verification import SpatialVerifier, inliers_by_rank
from ..stacker import MIN_EXAMPLES_PER_OUTCOME, Stacker, fit_stacker
from .leave_one_out import (
    KNOWN,
    NON_LANDMARK,
    UNKNOWN,
    HoldOutBlock,
    hold_out_queries,
    query_weights,
)
from .whitening import LabelledVectors, fit_whitening

VERIFIED_PER_KIND = 200  # undecided queries of each kind that are verified

FOLDS = 5


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
    def of(cls, blocks: list[HoldOutBlock], rules: Rules) -> FitExamples:
        """The queries of all blocks, one block after the other."""
        right = [(b.candidates.codes == b.truth[:, None]) & (b.truth[:, None] >= 0) for b in blocks]
        return cls(
            kind=np.concatenate([np.full(len(b.ids), b.kind) for b in blocks]),
            weight=query_weights(blocks, rules),
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


def fit(
    index: GalleryIndex,
    rules: Rules,
    extra: LabelledVectors | None = None,
    *,
    verifier: SpatialVerifier | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Fitted:
    """Fit all that the rules need on leave-one-out queries of the gallery.

    Args:
        index: The gallery.
        rules: The rules to fit for.
        extra: Training photos that the whitening is fitted on too.
        verifier: Verifies undecided queries, where the rules verify; None = none is verified.
        seed: Draws queries and folds.
        progress: Called after each kind of queries.
    """
    return fit_and_score(index, rules, extra, verifier=verifier, seed=seed, progress=progress)[0]


def fit_and_score(
    index: GalleryIndex,
    rules: Rules,
    extra: LabelledVectors | None = None,
    *,
    verifier: SpatialVerifier | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Fitted, HeldOutScores]:
    """As `fit`, with the held-out scores that the calibration was fitted on."""
    whitening = fit_whitening(index, rules, extra)
    defaults = DefaultStackers.of(index, rules, whitening)
    blocks = hold_out_queries(index, rules, extra, seed=seed, progress=progress)
    if not blocks and defaults.plain is not None:
        empty = (np.empty((0, len(FEATURES))), np.empty(0, dtype=bool), np.empty(0))
        as_scored = Calibration(slope=1.0, offset=0.0)
        return (
            Fitted(whitening, fit_stacker(FEATURES, *empty, default=defaults.plain),
                   defaults.verified if verifier and rules.verify else None, as_scored,
                   own_queries=0),
            HeldOutScores.empty(),
        )  # fmt: skip
    if not blocks:
        no_examples = np.empty((0, len(FEATURES))), np.empty(0, dtype=bool), np.empty(0)
        stacker = fit_stacker(FEATURES, *no_examples)
        constant = Calibration(slope=0.0, offset=0.0)
        return Fitted(whitening, stacker, None, constant), HeldOutScores.empty()
    stackers, held_out = fit_stackers(blocks, rules, verifier, defaults)
    calibration = fit_calibration(
        held_out.scores, held_out.right, held_out.weight, groups=held_out.group,
        log_odds=defaults.plain is not None,
    )  # fmt: skip
    negatives = held_out.scores[held_out.kind == NON_LANDMARK]
    finite = tuple(sorted(map(float, negatives[np.isfinite(negatives)])))
    right = int(held_out.right.sum())
    own = min(right, len(held_out.right) - right) if defaults.plain is not None else None
    return Fitted(whitening, *stackers, calibration, finite, own), held_out


@dataclass(frozen=True, eq=False)
class DefaultStackers:
    """Stackers that come with the embedder, fitted on other galleries; None = it has none.

    plain: of FEATURES. verified: with GEOMETRY_FEATURES.
    """

    plain: Stacker | None = None
    verified: Stacker | None = None

    @classmethod
    def of(cls, index: GalleryIndex, rules: Rules, whitening: Projection | None) -> DefaultStackers:
        """Those for such a gallery; none where the rules need no stacker, or average photos."""
        if not index.default_fit or rules.score != "learned" or rules.mixes_photos:
            return cls()
        found = index.default_fit[cls.case(index, whitening)]
        return cls(from_json(Stacker, found["plain"]), from_json(Stacker, found["verified"]))

    @staticmethod
    def case(index: GalleryIndex, whitening: Projection | None) -> str:
        """What kind of gallery it is, because features are distributed differently in each.

        Whitening learned from pairs of photos; by PCA, with one photo of each landmark; none,
        with too few photos to whiten; one landmark alone.
        """
        if len(index.names) == 1:
            return "one_landmark"
        if whitening is None:
            return "as_embedded"
        return "learned" if len(index.codes) > len(index.names) else "pca"


NO_DEFAULTS = DefaultStackers()


def fit_stackers(
    blocks: list[HoldOutBlock],
    rules: Rules,
    verifier: SpatialVerifier | None,
    defaults: DefaultStackers = NO_DEFAULTS,
) -> tuple[tuple[Stacker | None, Stacker | None], HeldOutScores]:
    """The stackers that the rules need, and held-out scores of the queries.

    Returns:
        (stacker, stacker with inlier features), each None where the rules do not use it; and the
        scores of the queries by stackers fitted without them, or by the formula of the rules.
    """
    if rules.score != "learned":
        return (None, None), _formula_scores(blocks, rules, verifier)
    examples = FitExamples.of(blocks, rules)
    stacker = _fit(FEATURES, examples, defaults.plain)
    logits = _held_out_logits(FEATURES, examples, defaults.plain)
    held_out = HeldOutScores.best_of(examples, logits)
    if verifier is None or not rules.verify:
        return (stacker, None), held_out
    calibration = fit_calibration(
        held_out.scores, held_out.right, held_out.weight, groups=held_out.group,
        log_odds=defaults.plain is not None,
    )  # fmt: skip
    open_rows = np.array(undecided(calibration.confidence(held_out.scores), rules), dtype=np.int64)
    verified = _verified_examples(blocks, examples, open_rows, rules, verifier)
    right = verified.right.any(axis=1)
    few = min(right.sum(), (~verified.right).any(axis=1).sum()) < MIN_EXAMPLES_PER_OUTCOME
    if few and defaults.verified is None:
        return (stacker, None), held_out
    names = FEATURES + GEOMETRY_FEATURES
    closed = np.setdiff1d(np.arange(len(examples.kind)), open_rows)
    scores = HeldOutScores.best_of(examples.take(closed), logits[closed])
    logits = _held_out_logits(names, verified, defaults.verified)
    geometric = _fit(names, verified, defaults.verified)
    return (stacker, geometric), scores.joined(HeldOutScores.best_of(verified, logits))


def _formula_scores(
    blocks: list[HoldOutBlock], rules: Rules, verifier: SpatialVerifier | None
) -> HeldOutScores:
    examples = FitExamples.of(blocks, rules)
    votes = []
    for block in blocks:
        inliers = None
        if rules.score == "inlier_vote" and verifier is not None:
            rows = range(len(block.ids))
            inliers = np.stack([_inliers(block, row, rules, verifier) for row in rows])
        votes.append(block.retriever.votes(block.found, inliers))
    right = [(v.codes == b.truth) & (b.truth >= 0) for v, b in zip(votes, blocks, strict=True)]
    return HeldOutScores(
        scores=np.concatenate([v.scores for v in votes]),
        right=np.concatenate(right),
        weight=examples.weight,
        kind=examples.kind,
        group=examples.group,
    )


def _fit(names: tuple[str, ...], examples: FitExamples, default: Stacker | None) -> Stacker:
    """A stacker of all candidates; each counts as much as its query."""
    present = examples.codes >= 0
    weights = np.repeat(examples.weight[:, None], present.shape[1], axis=1)
    return fit_stacker(
        names, examples.features[present], examples.right[present], weights[present],
        default=default,
    )  # fmt: skip


def _held_out_logits(
    names: tuple[str, ...], examples: FitExamples, default: Stacker | None
) -> Floats:
    """Log-odds of each candidate by a stacker fitted without the query's group: (Q, T)."""
    groups, group_of = np.unique(examples.group, return_inverse=True)
    fold_of = np.random.default_rng(0).permutation(len(groups)) % FOLDS
    logits = np.full(examples.codes.shape, -np.inf)
    for fold in range(FOLDS):
        held = np.flatnonzero(fold_of[group_of] == fold)
        rest = np.flatnonzero(fold_of[group_of] != fold)
        stacker = _fit(names, examples.take(rest), default)
        logits[held] = stacker.logits(examples.features[held])
    return np.where(examples.codes < 0, -np.inf, logits)


def _verified_examples(
    blocks: list[HoldOutBlock],
    examples: FitExamples,
    open_rows: NDArray[np.int64],
    rules: Rules,
    verifier: SpatialVerifier,
) -> FitExamples:
    """Undecided queries with inlier features, at most VERIFIED_PER_KIND of each kind.

    Each kind keeps its weight: those drawn count for all undecided queries of their kind.
    """
    rng = np.random.default_rng(0)
    kinds = (KNOWN, UNKNOWN, NON_LANDMARK)
    of_kind = [open_rows[examples.kind[open_rows] == kind] for kind in kinds]
    drawn = np.sort(np.concatenate([rng.permutation(r)[:VERIFIED_PER_KIND] for r in of_kind]))
    features = _geometry_features(blocks, drawn, rules, verifier)
    compared = np.isfinite(features).all(axis=(1, 2))
    drawn, features = drawn[compared], features[compared]
    weight = examples.weight[drawn].copy()
    for kind, rows in zip(kinds, of_kind, strict=True):
        same = examples.kind[drawn] == kind
        if same.any():
            weight[same] *= len(rows) / same.sum()
    return replace(examples.take(drawn, weight), features=features)


def _geometry_features(
    blocks: list[HoldOutBlock], rows: NDArray[np.int64], rules: Rules, verifier: SpatialVerifier
) -> Floats:
    """Features with inliers of some queries: (n, T, F + 3), NaN where no photo could be compared.

    rows: ascending numbers of queries, counted over all blocks.
    """
    starts = np.cumsum([0, *(len(block.ids) for block in blocks)])
    width = len(FEATURES) + len(GEOMETRY_FEATURES)
    parts = [np.empty((0, blocks[0].candidates.codes.shape[1], width))]
    for block, start, stop in zip(blocks, starts[:-1], starts[1:], strict=True):
        own = rows[(rows >= start) & (rows < stop)] - start
        if not len(own):
            continue
        inliers = np.full(block.found.codes.shape, -1, dtype=np.int64)
        for row in own:
            inliers[row] = _inliers(block, int(row), rules, verifier)
        features = add_geometry(block.candidates, block.found, inliers)[own]
        features[(inliers[own] < 0).all(axis=1)] = np.nan
        parts.append(features)
    return np.concatenate(parts)


def _inliers(
    block: HoldOutBlock, row: int, rules: Rules, verifier: SpatialVerifier
) -> NDArray[np.int64]:
    """(K,) inliers of one query with its nearest photos, −1 = not compared."""
    index, width = block.retriever.index, block.found.codes.shape[1]
    (query,) = verifier.keypoints([block.ids[row]])
    if query is None:
        return np.full(width, -1, dtype=np.int64)
    ranks = ranks_to_compare(block.found, block.candidates, row, rules.verify)
    ids = [index.ids[block.found.neighbours.rows[row, rank]] for rank in ranks]
    return inliers_by_rank(verifier.verify(query, ids), ranks, width)
