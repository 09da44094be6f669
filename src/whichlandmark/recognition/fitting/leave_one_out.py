"""A gallery questions itself, to learn what its scores mean: three kinds of questions.

- known: each landmark photo, itself hidden: the right answer is its landmark;
- unknown: each landmark photo, all of its landmark hidden: every answer is wrong;
- no landmark: each distractor, against a bank without its fold: every answer is wrong.

No question is asked of a whitening that was fitted on it: the photos (for unknown questions the
landmarks, training photos included) fall into folds, and each fold is asked of a whitening fitted
without it. No test photo is ever seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...core.types import Vectors
from ...gallery.index import GalleryIndex
from ...gallery.index.projection import Projection
from ..candidates import Candidates, make_candidates
from ..retrieval import Hidden, Retrieved, Retriever
from ..rules import Rules
from .whitening import Labelled, fit_whitening

SAMPLE = 1000  # questions of each kind: a few hundred are enough for a dozen numbers

FOLDS = 5

KNOWN, UNKNOWN, NON_LANDMARK = 0, 1, 2

Rows = NDArray[np.int64]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class HoldOutBlock:
    """Questions that were asked together, and what was found for them.

    kind: KNOWN, UNKNOWN or NOTHING; ids: (n,) of the photos asked about; groups: (n,) what they
    show, as one number (each distractor its own, below 0); truth: (n,) the right landmark's code
    in the scorer's index, −1 where every answer is wrong; scorer: what was asked.
    """

    kind: int
    ids: NDArray[np.object_]
    groups: Rows
    truth: Rows
    scorer: Retriever
    found: Retrieved
    candidates: Candidates


Whitenings = dict[tuple[object, ...], Projection | None]


@dataclass(frozen=True, eq=False)
class FoldWhitening:
    """Fits the whitening of each fold, or finds it among those that were fitted before."""

    rules: Rules
    extra: Labelled | None
    known: Whitenings

    def __call__(
        self, index: GalleryIndex, kind: int, fold: int, extra: Labelled | None
    ) -> Projection | None:
        rules = self.rules
        key = (kind, fold, rules.whitening, rules.whitening_dim, rules.whitening_shrinkage)
        if key not in self.known:
            self.known[key] = fit_whitening(index, rules, extra)
        return self.known[key]


def hold_out_queries(
    index: GalleryIndex,
    rules: Rules,
    extra: Labelled | None = None,
    *,
    seed: int = 0,
    whitenings: Whitenings | None = None,
    progress: Progress | None = None,
) -> list[HoldOutBlock]:
    """Ask all three kinds of questions, at most SAMPLE of each kind.

    whitenings: those fitted before on the same gallery, training photos and seed, for other rules
      of the same whitening; what is fitted now is added.
    """
    blocks: list[HoldOutBlock] = []
    whiten = FoldWhitening(rules, extra, {} if whitenings is None else whitenings)
    for kind, fold in enumerate((_known, _unknown, _nothing)):
        blocks += fold(index, whiten, np.random.default_rng([seed, kind]))
        if progress:
            progress(kind + 1, 3)
    return blocks


def shares(blocks: list[HoldOutBlock], rules: Rules) -> NDArray[np.float64]:
    """How much each question counts: each kind its share of the mix that the rules state.

    A kind without questions leaves its share to the other one without a right answer.
    """
    kinds = np.concatenate([np.full(len(b.ids), b.kind) for b in blocks])
    wanted = [rules.known_share, rules.unknown_share, 1 - rules.known_share - rules.unknown_share]
    counts = np.bincount(kinds, minlength=3)
    wrong = [share if count else 0.0 for share, count in zip(wanted, counts, strict=True)][1:]
    if not sum(wrong):  # the one that has questions was to have no share
        wrong = [1.0 if count else 0.0 for count in counts[1:]]
    scale = (1 - rules.known_share) / sum(wrong) if sum(wrong) else 0.0
    weights = np.array([wanted[0], *(share * scale for share in wrong)])
    return np.asarray((len(kinds) * weights / np.maximum(counts, 1))[kinds])


def _known(
    index: GalleryIndex, whiten: FoldWhitening, rng: np.random.Generator
) -> Iterator[HoldOutBlock]:
    # Alone in its landmark, a photo has no right answer left when it is hidden.
    askable = np.flatnonzero(np.bincount(index.codes, minlength=1)[index.codes] > 1)
    rules = whiten.rules
    for number, fold in enumerate(_apart(rng.permutation(askable)[:SAMPLE], index.codes)):
        whitening = whiten(index.without(fold), KNOWN, number, whiten.extra)
        # Where photos are mixed, hiding one does not take it out of the others.
        seen = index.without(fold) if rules.mixes_photos else index
        hidden = None if rules.mixes_photos else list(fold[:, None])
        queries = index.vectors[fold].astype(np.float32)
        truth = _codes_in(seen, index.names[index.codes[fold]])
        photos = KNOWN, index.ids[fold], index.codes[fold], truth
        yield _block(photos, Retriever(seen, rules, whitening), queries, hidden)


def _unknown(
    index: GalleryIndex, whiten: FoldWhitening, rng: np.random.Generator
) -> Iterator[HoldOutBlock]:
    rules = whiten.rules
    if len(index.names) < 2:
        return
    asked = rng.permutation(len(index.codes))[:SAMPLE]
    for number, names in enumerate(_folds(rng.permutation(len(index.names)))):
        fold = np.sort(asked[np.isin(index.codes[asked], names)])
        if not len(fold):
            continue
        away = np.flatnonzero(np.isin(index.codes, names))
        others = _without_landmarks(whiten.extra, index.names[names])
        whitening = whiten(index.without(away), UNKNOWN, number, others)
        queries = index.vectors[fold].astype(np.float32)
        nobody = np.full(len(fold), -1, dtype=np.int64)
        seen, hidden = index.without(away), None
        if not rules.mixes_photos:
            seen, hidden = index, [np.flatnonzero(index.codes == c) for c in index.codes[fold]]
        photos = UNKNOWN, index.ids[fold], index.codes[fold], nobody
        yield _block(photos, Retriever(seen, rules, whitening), queries, hidden)


def _nothing(
    index: GalleryIndex, whiten: FoldWhitening, rng: np.random.Generator
) -> Iterator[HoldOutBlock]:
    if len(index.bank) < FOLDS or not len(index.codes):
        return
    for number, fold in enumerate(_folds(rng.permutation(len(index.bank))[:SAMPLE])):
        rest = np.setdiff1d(np.arange(len(index.bank)), fold)
        smaller = replace(index, bank=index.bank[rest], bank_ids=index.bank_ids[rest],
                          bank_paths=index.bank_paths[rest])  # fmt: skip
        whitening = whiten(smaller, NON_LANDMARK, number, whiten.extra)
        scorer = Retriever(smaller, whiten.rules, whitening)
        queries = index.bank[fold].astype(np.float32)
        nobody = np.full(len(fold), -1, dtype=np.int64)
        photos = NON_LANDMARK, index.bank_ids[fold], -1 - fold, nobody
        yield _block(photos, scorer, queries, None)


def _block(
    photos: tuple[int, NDArray[np.object_], Rows, Rows],
    scorer: Retriever,
    queries: Vectors,
    hidden: Hidden | None,
) -> HoldOutBlock:
    found = scorer.find(queries, hidden=hidden)
    return HoldOutBlock(*photos, scorer, found, make_candidates(scorer, found, hidden))


def _folds(rows: Rows) -> list[Rows]:
    return [np.sort(fold) for fold in np.array_split(rows, FOLDS) if len(fold)]


def _apart(rows: Rows, codes: Rows) -> list[Rows]:
    """Folds that never hold all photos of a landmark: what is taken away leaves an answer."""
    dealt = rows[np.argsort(codes[rows], kind="stable")]
    return [np.sort(dealt[fold::FOLDS]) for fold in range(FOLDS) if fold < len(dealt)]


def _codes_in(index: GalleryIndex, names: NDArray[np.object_]) -> Rows:
    """Codes of landmarks in another index, −1 for those that it lacks."""
    code_of = {name: code for code, name in enumerate(index.names)}
    return np.array([code_of.get(name, -1) for name in names], dtype=np.int64)


def _without_landmarks(extra: Labelled | None, names: NDArray[np.object_]) -> Labelled | None:
    if extra is None:
        return None
    kept = ~np.isin(extra.landmarks.astype(str), names.astype(str))
    return Labelled(extra.vectors[kept], extra.landmarks[kept])
