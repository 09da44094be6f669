"""A gallery questions itself, to learn what its scores mean: three kinds of questions.

- known: each landmark photo, itself hidden: the right answer is its landmark;
- unknown: each landmark photo, all of its landmark hidden: every answer is wrong;
- no landmark: each distractor, against a bank without its fifth: every answer is wrong.

No test photo is ever seen. The mix of the three is a choice (`Rules.known_share`), not a
fact of the gallery: the confidence holds for questions mixed like that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from . import calibration
from .calibration import Calibration
from .gallery.index import GalleryIndex
from .scoring import Rules, Scorer

SAMPLE = 1000  # questions of each kind; sets the time, a few hundred are enough for two numbers
FOLDS = 5


def calibrate(index: GalleryIndex, rules: Rules, *, seed: int = 0) -> Calibration:
    """Fit score → confidence on the gallery's own questions."""
    rng = np.random.default_rng(seed)
    known, right = _landmark_questions(index, rules, rng)
    unknown, _ = _landmark_questions(index, rules, rng, hide_landmark=True)
    distractors = _distractor_questions(index, rules, rng)
    scores = np.concatenate([known, unknown, distractors])
    if not len(scores):
        return Calibration(slope=0.0, offset=0.0)
    outcomes = np.concatenate([right, np.zeros(len(unknown) + len(distractors), dtype=bool)])
    return calibration.fit(scores, outcomes, _weights(known, unknown, distractors, rules))


def _weights(
    known: NDArray[np.float64],
    unknown: NDArray[np.float64],
    distractors: NDArray[np.float64],
    rules: Rules,
) -> NDArray[np.float64]:
    """Each kind weighs its share; the two kinds without a right answer halve theirs."""
    total = len(known) + len(unknown) + len(distractors)
    kinds = [kind for kind in (unknown, distractors) if len(kind)]
    parts = [np.full(len(known), total * rules.known_share / max(1, len(known)))]
    for kind in kinds:
        share = (1 - rules.known_share) / len(kinds)
        parts.append(np.full(len(kind), total * share / len(kind)))
    return np.concatenate(parts)


def _landmark_questions(
    index: GalleryIndex, rules: Rules, rng: np.random.Generator, *, hide_landmark: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores and outcomes of landmark photos asked of the rest of the gallery."""
    sizes = np.bincount(index.codes, minlength=len(index.names))
    # Alone in its landmark, a photo has no right answer left when it is hidden.
    askable = (
        np.arange(len(index.codes)) if hide_landmark else np.flatnonzero(sizes[index.codes] > 1)
    )
    if not len(askable) or (hide_landmark and len(index.names) < 2):
        return np.empty(0), np.empty(0, dtype=bool)
    asked = np.sort(rng.permutation(askable)[:SAMPLE])
    if hide_landmark:
        hidden = index.codes[asked][:, None] == index.codes[None, :]
    else:
        hidden = asked[:, None] == np.arange(len(index.codes))[None, :]
    queries = index.vectors[asked].astype(np.float32)
    answers = Scorer(index, rules)(queries, depth=1, hidden=hidden)
    return answers.scores, answers.codes == index.codes[asked]


def _distractor_questions(
    index: GalleryIndex, rules: Rules, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Scores of distractors, each asked of a bank that it is not part of."""
    if len(index.bank) < FOLDS or not len(index.codes):
        return np.empty(0)
    asked = rng.permutation(len(index.bank))[:SAMPLE]
    scores = []
    for fold in np.array_split(asked, FOLDS):
        rest = np.setdiff1d(np.arange(len(index.bank)), fold)
        smaller = replace(index, bank=index.bank[rest], bank_ids=index.bank_ids[rest])
        queries = index.bank[fold].astype(np.float32)
        scores.append(Scorer(smaller, rules)(queries, depth=1).scores)
    return np.concatenate(scores)
