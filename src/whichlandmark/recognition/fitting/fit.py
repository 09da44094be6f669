"""A gallery's questions to itself → what its rules need: whitening, stackers, calibration."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...gallery.index import GalleryIndex
from .. import calibration
from ..calibration import LEAST, Calibration, Stacker, fit_stacker
from ..candidates import FEATURES, GEOMETRY, with_geometry
from ..decision import Fitted, ranks_to_compare, undecided
from ..rules import Rules
from ..spatial_verification import SpatialVerifier, inlier_row
from .leave_one_out import (
    KNOWN,
    NON_LANDMARK,
    UNKNOWN,
    HoldOutBlock,
    Progress,
    hold_out_queries,
    shares,
)
from .whitening import Labelled, fit_whitening

COMPARED = 200  # undecided questions of each kind that are compared by geometry

FOLDS = 5

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FitExamples:
    """All questions in a row, (Q,) each: kind, weight, group (what is held out together), truth
    (code in its own block's index); features (Q, T, F), codes (Q, T), right (Q, T).
    """

    kind: NDArray[np.int64]
    weight: Floats
    group: NDArray[np.int64]
    features: Floats
    codes: NDArray[np.int64]
    right: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64], weight: Floats) -> FitExamples:
        """Some of the questions, weighed anew."""
        return FitExamples(self.kind[rows], weight, self.group[rows], self.features[rows],
                     self.codes[rows], self.right[rows])  # fmt: skip


@dataclass(frozen=True, eq=False)
class HeldOutScores:
    """Held-out scores of questions, whether the best guess was right, weights and kinds: (Q,)."""

    scores: Floats
    right: NDArray[np.bool_]
    weight: Floats
    kind: NDArray[np.int64]
    group: NDArray[np.int64]

    def answered(self, rate: float) -> float:
        """Share of known questions rightly answered where this share of non-landmarks is."""
        threshold = calibration.threshold_for(rate, self.scores[self.kind == NON_LANDMARK])
        known = self.kind == KNOWN
        answered = self.right & (self.scores >= threshold)
        return float(answered[known].mean()) if known.any() else 0.0

    def gap(self) -> float:
        """GAP of the weighed questions: Σ w·P·rel / Σ w of the known ones, P by weight too.

        With equal weights and distinct scores that is `metrics.gap`; equal scores share one P.
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
        """Share of the known questions whose best guess is right."""
        known = self.kind == KNOWN
        return float(self.right[known].mean()) if known.any() else 0.0


def fit(
    index: GalleryIndex,
    rules: Rules,
    extra: Labelled | None = None,
    *,
    geometry: SpatialVerifier | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Fitted:
    """Fit all that the rules need, on the gallery's own questions."""
    return learn(index, rules, extra, geometry=geometry, seed=seed, progress=progress)[0]


def learn(
    index: GalleryIndex,
    rules: Rules,
    extra: Labelled | None = None,
    *,
    geometry: SpatialVerifier | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Fitted, HeldOutScores]:
    """`fit`, with the held-out outcome that the calibration was fitted on."""
    whitening = fit_whitening(index, rules, extra)
    blocks = hold_out_queries(index, rules, extra, seed=seed, progress=progress)
    if not blocks:
        plain = fit_stacker(FEATURES, np.empty((0, len(FEATURES))), *_nothing())
        nobody = np.empty(0, dtype=np.int64)
        level = Calibration(slope=0.0, offset=0.0)
        return (Fitted(whitening, plain, None, level),
                HeldOutScores(*_empty(), nobody, nobody))  # fmt: skip
    made, outcome = held_out(blocks, rules, geometry)
    curve = calibration.fit(outcome.scores, outcome.right, outcome.weight, groups=outcome.group)
    negatives = outcome.scores[outcome.kind == NON_LANDMARK]
    kept = tuple(sorted(map(float, negatives[np.isfinite(negatives)])))
    return Fitted(whitening, *made, curve, kept), outcome


def held_out(
    blocks: list[HoldOutBlock], rules: Rules, geometry: SpatialVerifier | None
) -> tuple[tuple[Stacker | None, Stacker | None], HeldOutScores]:
    """The stackers that the rules need, and the scores of questions that these have not seen."""
    if rules.score == "learned":
        return _stacked(blocks, rules, geometry if rules.verify else None)
    return (None, None), _voted(blocks, rules, geometry)


def gathered(blocks: list[HoldOutBlock], rules: Rules) -> FitExamples:
    """The questions of all blocks in a row."""
    right = [(b.candidates.codes == b.truth[:, None]) & (b.truth[:, None] >= 0) for b in blocks]
    return FitExamples(
        kind=np.concatenate([np.full(len(b.ids), b.kind) for b in blocks]),
        weight=shares(blocks, rules),
        group=np.concatenate([b.groups for b in blocks]),
        features=np.concatenate([b.candidates.features for b in blocks]),
        codes=np.concatenate([b.candidates.codes for b in blocks]),
        right=np.concatenate(right),
    )


def _stacked(
    blocks: list[HoldOutBlock], rules: Rules, geometry: SpatialVerifier | None
) -> tuple[tuple[Stacker, Stacker | None], HeldOutScores]:
    asked = gathered(blocks, rules)
    stacker = _fit(FEATURES, asked)
    logits = _held_out(FEATURES, asked)
    first = _outcome(asked, logits)
    if geometry is None:
        return (stacker, None), first
    curve = calibration.fit(first.scores, first.right, first.weight, groups=first.group)
    open_ones = np.array(undecided(curve.confidence(first.scores), rules), dtype=np.int64)
    compared = _drawn(open_ones, asked.kind)
    features = _compared_features(blocks, compared, rules, geometry)
    there = np.isfinite(features).all(axis=(1, 2))
    compared, features = compared[there], features[there]
    weight = _weights_of_drawn(asked, open_ones, compared)
    second = replace(asked.take(compared, weight), features=features)
    if min(second.right.any(axis=1).sum(), (~second.right).any(axis=1).sum()) < LEAST:
        return (stacker, None), first
    names = FEATURES + GEOMETRY
    closed = np.setdiff1d(np.arange(len(asked.kind)), open_ones)
    outcome = _joined(
        _outcome(asked.take(closed, asked.weight[closed]), logits[closed]),
        _outcome(second, _held_out(names, second)),
    )
    return (stacker, _fit(names, second)), outcome


def _voted(
    blocks: list[HoldOutBlock], rules: Rules, geometry: SpatialVerifier | None
) -> HeldOutScores:
    asked = gathered(blocks, rules)
    votes = []
    for block in blocks:
        inliers = None
        if rules.score == "inlier_vote" and geometry is not None:
            inliers = np.stack([_inliers(block, row, rules, geometry)
                                for row in range(len(block.ids))])  # fmt: skip
        votes.append(block.scorer.votes(block.found, inliers))
    right = [(v.codes == b.truth) & (b.truth >= 0) for v, b in zip(votes, blocks, strict=True)]
    scores = np.concatenate([v.scores for v in votes])
    return HeldOutScores(scores, np.concatenate(right), asked.weight, asked.kind, asked.group)


def _fit(names: tuple[str, ...], asked: FitExamples) -> Stacker:
    there = asked.codes >= 0
    weights = np.repeat(asked.weight[:, None], there.shape[1], axis=1)
    return fit_stacker(names, asked.features[there], asked.right[there], weights[there])


def _held_out(names: tuple[str, ...], asked: FitExamples) -> Floats:
    """Log-odds of each candidate by a stacker that has not seen its landmark: (Q, T)."""
    groups, places = np.unique(asked.group, return_inverse=True)
    fold_of = np.random.default_rng(0).permutation(len(groups)) % FOLDS
    logits = np.full(asked.codes.shape, -np.inf)
    for fold in range(FOLDS):
        held = np.flatnonzero(fold_of[places] == fold)
        rest = np.flatnonzero(fold_of[places] != fold)
        stacker = _fit(names, asked.take(rest, asked.weight[rest]))
        logits[held] = stacker.logits(asked.features[held])
    return np.where(asked.codes < 0, -np.inf, logits)


def _outcome(asked: FitExamples, logits: Floats) -> HeldOutScores:
    best = logits.argmax(axis=1)[:, None]
    right = np.take_along_axis(asked.right, best, axis=1)[:, 0]
    scores = np.take_along_axis(logits, best, axis=1)[:, 0]
    return HeldOutScores(scores, right, asked.weight, asked.kind, asked.group)


def _joined(one: HeldOutScores, two: HeldOutScores) -> HeldOutScores:
    return HeldOutScores(*(np.concatenate([getattr(one, name), getattr(two, name)])
                     for name in ("scores", "right", "weight", "kind", "group")))  # fmt: skip


def _drawn(open_ones: NDArray[np.int64], kind: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most COMPARED undecided questions of each kind."""
    rng = np.random.default_rng(0)
    of_kind = [open_ones[kind[open_ones] == k] for k in (KNOWN, UNKNOWN, NON_LANDMARK)]
    return np.sort(np.concatenate([rng.permutation(rows)[:COMPARED] for rows in of_kind]))


def _weights_of_drawn(
    asked: FitExamples, open_ones: NDArray[np.int64], drawn: NDArray[np.int64]
) -> Floats:
    """The drawn ones stand for all undecided ones of their kind."""
    weight = asked.weight[drawn].copy()
    for kind in (KNOWN, UNKNOWN, NON_LANDMARK):
        of_kind = asked.kind[drawn] == kind
        if of_kind.any():
            weight[of_kind] *= (asked.kind[open_ones] == kind).sum() / of_kind.sum()
    return weight


def _compared_features(
    blocks: list[HoldOutBlock], rows: NDArray[np.int64], rules: Rules, geometry: SpatialVerifier
) -> Floats:
    """Features with geometry of some questions, counted over all blocks; NaN without keypoints."""
    starts = np.cumsum([0, *(len(block.ids) for block in blocks)])
    width = len(FEATURES) + len(GEOMETRY)
    parts = [np.empty((0, blocks[0].candidates.codes.shape[1], width))]
    for block, start, stop in zip(blocks, starts[:-1], starts[1:], strict=True):
        own = rows[(rows >= start) & (rows < stop)] - start
        if not len(own):
            continue
        inliers = np.full(block.found.codes.shape, -1, dtype=np.int64)
        for row in own:
            inliers[row] = _inliers(block, int(row), rules, geometry)
        wide = with_geometry(block.candidates, block.found, inliers)[own]
        wide[(inliers[own] < 0).all(axis=1)] = np.nan
        parts.append(wide)
    return np.concatenate(parts)


def _inliers(
    block: HoldOutBlock, row: int, rules: Rules, geometry: SpatialVerifier
) -> NDArray[np.int64]:
    """(K,) inliers of one question with its nearest photos, −1 = not compared."""
    index, width = block.scorer.index, block.found.codes.shape[1]
    (query,) = geometry.of([block.ids[row]])
    if query is None:
        return np.full(width, -1, dtype=np.int64)
    places = ranks_to_compare(block.found, block.candidates, row, rules.verify)
    ids = [index.ids[block.found.neighbours.rows[row, place]] for place in places]
    return inlier_row(geometry.check(query, ids), places, width)


def _nothing() -> tuple[NDArray[np.bool_], Floats]:
    return np.empty(0, dtype=bool), np.empty(0)


def _empty() -> tuple[Floats, NDArray[np.bool_], Floats]:
    return np.empty(0), np.empty(0, dtype=bool), np.empty(0)
