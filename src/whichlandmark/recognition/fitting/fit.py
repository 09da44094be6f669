"""Fit what the rules need on leave-one-out queries: whitening, stackers, calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ...core.json_options import from_json
from ...core.parallel import in_threads
from ...core.types import Floats, Progress
from ...features.local.matching import VerifiedMatch
from ...gallery.index import GalleryIndex
from ...gallery.index.projection import Projection
from ..calibration import Calibration, Sure, fit_calibration, rule_of_thumb
from ..candidates import FEATURES, GEOMETRY_FEATURES, add_geometry, ranks_to_compare
from ..decision import RULE_OF_THUMB, Fitted, undecided
from ..rules import Rules
from ..spatial_verification import SpatialVerifier, agreement_by_rank, inliers_by_rank
from ..stacker import MIN_EXAMPLES_PER_OUTCOME, Stacker, fit_stacker
from ..sure import sure_of
from .leave_one_out import (
    KNOWN,
    NON_LANDMARK,
    STAND_IN,
    UNKNOWN,
    FitExamples,
    HeldOutScores,
    HoldOutBlock,
    hold_out_queries,
)
from .whitening import LabelledVectors, fit_whitening

VERIFIED_PER_KIND = 200  # undecided queries of each kind that are verified

FOLDS = 5

# Of a rule of thumb, for a unit of the feature "inliers": 11 inliers, 1.8 units, name a landmark.
INLIER_LOG_ODDS = 1.5


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
                   own_queries=0, sure=Sure()),
            HeldOutScores.empty(),
        )  # fmt: skip
    if not blocks:
        return _by_rule_of_thumb(whitening, blocks, rules, verifier)
    outcomes = np.concatenate([block.right.any(axis=1) for block in blocks])
    if outcomes.all() == outcomes.any() and defaults.plain is None:
        return _by_rule_of_thumb(whitening, blocks, rules, verifier)
    stackers, held_out = fit_stackers(blocks, rules, verifier, defaults)
    calibration = fit_calibration(
        held_out.scores, held_out.right, held_out.weight, groups=held_out.group,
        log_odds=defaults.plain is not None,
    )  # fmt: skip
    negatives = held_out.scores[held_out.kind == NON_LANDMARK]
    finite = tuple(sorted(map(float, negatives[np.isfinite(negatives)])))
    right = int(held_out.right.sum())
    own = min(right, len(held_out.right) - right) if defaults.plain is not None else None
    return Fitted(whitening, *stackers, calibration, finite, own, sure_of(held_out)), held_out


def _by_rule_of_thumb(
    whitening: Projection | None,
    blocks: list[HoldOutBlock],
    rules: Rules,
    verifier: SpatialVerifier | None,
) -> tuple[Fitted, HeldOutScores]:
    """A fit where all queries have one outcome, or there are none, and no default is there.

    The score is the similarity. Where only right answers are known, it has to be about as high as
    theirs; where only wrong ones are, clearly higher than theirs; where neither is, it alone names
    nothing. Matching points name a landmark in each case, because they do not depend on the
    embedder.
    """
    learned = rules.score == "learned"
    found = _formula_scores(blocks, rules, None) if blocks else HeldOutScores.empty()
    if blocks and learned:
        scores = np.concatenate([block.candidates.features[:, 0, 0] for block in blocks])
        found = replace(found, scores=scores)
    curve = rule_of_thumb(found.scores, right=bool(found.right.any()), cosines=learned)
    if not learned:
        fitted = Fitted(whitening, None, None, curve, own_queries=RULE_OF_THUMB, sure=Sure())
        return fitted, found
    slope, offset = curve.slope, curve.offset
    plain = Stacker(
        names=("similarity",), means=(0.0,), scales=(1.0,), weights=(slope,), offset=offset
    )
    verified = Stacker(
        names=("similarity", "inliers"), means=(0.0, 0.0), scales=(1.0, 1.0),
        weights=(slope, INLIER_LOG_ODDS), offset=offset,
    )  # fmt: skip
    geometric = verified if verifier is not None and rules.verify else None
    as_scored = Calibration(slope=1.0, offset=0.0)
    fitted = Fitted(whitening, plain, geometric, as_scored, own_queries=RULE_OF_THUMB, sure=Sure())
    return fitted, replace(found, scores=slope * found.scores + offset)


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

        Whitening learned from pairs of photos; by PCA, with one photo of each landmark; both
        "alone" without distractors; none, with too few photos to whiten; one landmark.
        """
        if len(index.names) == 1:
            return "one_landmark"
        if whitening is None:
            return "as_embedded"
        kind = "learned" if len(index.codes) > len(index.names) else "pca"
        return kind if len(index.distractor_ids) else f"{kind}_alone"


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
    stand_in = STAND_IN if defaults.plain is not None else 1.0
    examples = FitExamples.of(blocks, rules, stand_in=stand_in)
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
            compare = partial(_verify, block, rules=rules, verifier=verifier)
            inliers = np.stack([found for found, _ in in_threads(compare, range(len(block.ids)))])
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

    def score(fold: int) -> None:
        held = np.flatnonzero(fold_of[group_of] == fold)
        rest = np.flatnonzero(fold_of[group_of] != fold)
        stacker = _fit(names, examples.take(rest), default)
        logits[held] = stacker.logits(examples.features[held])

    in_threads(score, range(FOLDS))
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
    block_of = np.searchsorted(starts, rows, side="right") - 1
    places = [(blocks[at], int(row - starts[at])) for at, row in zip(block_of, rows, strict=True)]
    found = in_threads(lambda place: _verify(*place, rules, verifier), places)
    width = len(FEATURES) + len(GEOMETRY_FEATURES)
    parts = [np.empty((0, blocks[0].candidates.codes.shape[1], width))]
    for at, block in enumerate(blocks):
        own = rows[block_of == at] - starts[at]
        if not len(own):
            continue
        inliers = np.full(block.found.codes.shape, -1, dtype=np.int64)
        verified: list[Mapping[int, VerifiedMatch]] = [{} for _ in inliers]
        for place in np.flatnonzero(block_of == at):
            row = rows[place] - starts[at]
            inliers[row], verified[row] = found[place]
        agreement = agreement_by_rank(verified, block.found.codes.shape[1])
        features = add_geometry(block.candidates, block.found, inliers, agreement)[own]
        features[(inliers[own] < 0).all(axis=1)] = np.nan
        parts.append(features)
    return np.concatenate(parts)


def _verify(
    block: HoldOutBlock, row: int, rules: Rules, verifier: SpatialVerifier
) -> tuple[NDArray[np.int64], Mapping[int, VerifiedMatch]]:
    """(K,) inliers of one query with its nearest photos, −1 = not compared; and the matches."""
    index, width = block.retriever.index, block.found.codes.shape[1]
    (query,) = verifier.keypoints([block.ids[row]])
    if query is None:
        return np.full(width, -1, dtype=np.int64), {}
    ranks = ranks_to_compare(block.found, block.candidates, row, rules.verify)
    ids = [index.ids[block.found.neighbours.rows[row, rank]] for rank in ranks]
    matches = verifier.verify(query, ids)
    known = {rank: match for rank, match in zip(ranks, matches, strict=True) if match is not None}
    return inliers_by_rank(matches, ranks, width), known
