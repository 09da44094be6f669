"""Choose the rules of a recognizer on queries held out from its gallery, never on test photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import DataError
from ...core.fingerprint import fingerprint
from ...core.types import Embedder, Photos
from ...features.embedders.load import load_embedder
from ...features.pipeline import Failure, PerPhoto, Progress, embed
from ...gallery.index import GalleryIndex
from ...gallery.leak_check import Leak, LeakCheck
from ..calibration import threshold_for
from ..fitting import fit
from ..fitting.fit import HeldOutScores
from ..fitting.leave_one_out import KNOWN, NON_LANDMARK, UNKNOWN, Whitenings, hold_out_queries
from ..fitting.whitening import Labelled
from ..rules import FORMULAS, Rules
from ..spatial_verification import SpatialVerifier
from .edit import open_gallery
from .load import refresh_segments
from .settings import stored_rules, write_settings

FINGERPRINT_SIDE = 96  # pixels that a fingerprint needs

FALSE_ANSWER_RATES = (0.01, 0.05)

WHITENINGS: tuple[dict[str, Any], ...] = (
    {"whitening": "none"},
    {"whitening": "pca", "whitening_dim": 128, "whitening_shrinkage": 0.0},
    {"whitening": "pca", "whitening_dim": 256, "whitening_shrinkage": 1.0},
    {"whitening": "learned", "whitening_dim": 128, "whitening_shrinkage": 0.2},
    {"whitening": "learned", "whitening_dim": 256, "whitening_shrinkage": 0.2},
    {"whitening": "learned", "whitening_dim": 256, "whitening_shrinkage": 0.5},
)

MIN_GAIN = 0.01  # GAP that mixing photos must gain: less is chance with some hundred queries

MIXED: tuple[dict[str, Any], ...] = (
    {"expansion": 3}, {"augmentation": 3}, {"superglobal": True},
)  # fmt: skip


@dataclass(frozen=True)
class TunedRow:
    """One set of rules and what queries held out from the gallery say of it."""

    rules: Rules
    name: str
    gap: float
    top1: float
    answered: float  # share of known queries answered right at 1 % of non-landmarks answered


@dataclass(frozen=True)
class Tuned:
    """The table it was chosen from (best first), the chosen rules, the promises, and what was
    left out of the training photos.
    """

    rows: list[TunedRow]
    chosen: TunedRow
    promises: list[str]
    photos: int
    failures: list[Failure]
    leaks: list[Leak]


def tune(
    folder: Path,
    photos: Photos | None = None,
    *,
    false_answers: float | None = None,
    device: str = "auto",
    embedder: Embedder | None = None,
    progress: Callable[[str], Progress],
) -> Tuned:
    """Choose rules for the recognizer in `folder`, fit them and store both.

    photos: labelled training photos that the whitening is fitted on beside the gallery's own; those
      whose id, content or look is in the gallery are left out, because the whitening must not know
      a held-out query. false_answers: answer so that this share of non-landmark photos is answered;
      None = by confidence. embedder: None = the one of the folder, on `device`. Raises DataError
      when the gallery has too few photos to hold queries out.
    """
    with open_gallery(folder) as gallery:
        embedder = embedder or load_embedder(folder / "embedder", device=device)
        gallery.require(embedder.id)
        table = gallery.table()
        index = GalleryIndex.of(table)
        extra: Labelled | None = None
        failures: list[Failure] = []
        leaks: list[Leak] = []
        if photos is not None:
            check = LeakCheck(table.ids, table.hashes, gallery.looks)
            extra, failures, leaks = labelled(embedder, photos, check, progress("embedding"))
        del table
        geometry = SpatialVerifier(gallery)
        kept = any(found is not None for found in geometry.of(index.ids[:20].tolist()))
        stored = stored_rules(folder) or Rules()
        verify = (stored.verify or Rules().verify) if kept else 0
        start = replace(stored, false_answers=false_answers, verify=verify)
        rows = compare_rules(index, start, extra, geometry, progress("comparing rules"))
        chosen = max(rows, key=_worth)
        fitted, outcome = fit.learn(index, chosen.rules, extra, geometry=geometry)
        write_settings(folder, chosen.rules, fitted, gallery.generation)
        refresh_segments(folder, gallery)
    count = 0 if extra is None else len(extra.landmarks)
    return Tuned(rows, chosen, promises(outcome), count, failures, leaks)


def compare_rules(
    index: GalleryIndex,
    start: Rules,
    extra: Labelled | None,
    geometry: SpatialVerifier,
    progress: Progress,
) -> list[TunedRow]:
    """All sets of rules, the best GAP first."""
    known: Whitenings = {}
    rows: list[TunedRow] = []

    def try_out(rules: Rules, name: str) -> None:
        rows.append(_row(index, rules, name, extra, geometry, known))
        progress(len(rows), total)

    candidates = list(_first_round(start))
    total = len(candidates) + len(MIXED) + 1
    for rules, name in candidates:
        try_out(rules, name)
    learned = [row for row in rows if row.rules.score == "learned"]
    best = max(learned, key=lambda row: row.gap)
    for change in MIXED:
        (word,) = change
        try_out(replace(best.rules, **change), f"{best.name}, {word}")
    best = max((row for row in rows if row.rules.score == "learned"), key=_worth)
    if start.verify:
        try_out(replace(best.rules, verify=start.verify), f"{best.name}, geometry")
    if not any(np.isfinite(row.gap) and row.gap > 0 for row in rows):
        raise DataError("the gallery has no queries to hold out: it needs landmarks of two photos")
    return sorted(rows, key=lambda row: -row.gap)


def _worth(row: TunedRow) -> float:
    """The number that the best row is chosen by; of equal rows the earlier one is taken."""
    rules = row.rules
    mixed = rules.expansion or rules.augmentation or rules.superglobal
    return row.gap - (MIN_GAIN if mixed else 0.0)


def promises(outcome: HeldOutScores) -> list[str]:
    """What thresholds for stated false-answer rates would answer, in words."""
    said = []
    for rate in FALSE_ANSWER_RATES:
        negatives = outcome.scores[outcome.kind == NON_LANDMARK]
        if not np.isfinite(threshold_for(rate, negatives)):
            said.append(f"at {rate:.0%} false answers on non-landmarks: too few distractors "
                        f"({len(negatives)}) to promise it")  # fmt: skip
            continue
        strangers = outcome.scores[outcome.kind == UNKNOWN]
        wrong = (strangers >= threshold_for(rate, negatives)).mean() if len(strangers) else 0.0
        said.append(
            f"at {rate:.0%} false answers on non-landmarks, {outcome.answered(rate):.1%} of "
            f"landmarks are answered rightly, and {wrong:.1%} of unknown landmarks wrongly"
        )
    return said


def labelled(
    embedder: Embedder, photos: Photos, check: LeakCheck, progress: Progress | None = None
) -> tuple[Labelled, list[Failure], list[Leak]]:
    """Embed training photos, without those that the gallery holds by id, content or look."""
    photos.require_one_landmark("training")
    vectors, landmarks = [np.empty((0, embedder.dim), np.float32)], []
    failures: list[Failure] = []
    leaks: list[Leak] = []
    each = PerPhoto(fingerprint, FINGERPRINT_SIDE)
    for batch in embed(embedder, photos, each=each, progress=progress):
        found = check(photos.ids[batch.rows].tolist(), batch.hashes, batch.made)
        clean = np.array([leak is None for leak in found], dtype=bool)
        vectors.append(batch.vectors[clean])
        landmarks += photos.landmarks[batch.rows[clean]].tolist()
        leaks += [leak for leak in found if leak]
        failures += batch.failures
    names = np.empty(len(landmarks), dtype=object)
    names[:] = landmarks
    return Labelled(np.concatenate(vectors), names), failures, leaks


def _first_round(start: Rules) -> Iterator[tuple[Rules, str]]:
    plain = replace(start, verify=0, expansion=0, augmentation=0, superglobal=False)
    for whitening in WHITENINGS:
        rules = replace(plain, **whitening)
        words = "none" if rules.whitening == "none" else (
            f"{rules.whitening} {rules.whitening_dim}/{rules.whitening_shrinkage:g}"
        )  # fmt: skip
        for score in (*FORMULAS, "learned"):
            yield replace(rules, score=score), f"{words}, {score}"


def _row(
    index: GalleryIndex,
    rules: Rules,
    name: str,
    extra: Labelled | None,
    geometry: SpatialVerifier,
    known: Whitenings,
) -> TunedRow:
    blocks = hold_out_queries(index, rules, extra, whitenings=known)
    if not blocks:
        raise DataError("the gallery has no queries to hold out: it needs landmarks of two photos")
    _, outcome = fit.held_out(blocks, rules, geometry)
    lowest = FALSE_ANSWER_RATES[0]
    negatives = (outcome.kind == NON_LANDMARK).sum()
    enough = (outcome.kind == KNOWN).any() and negatives >= 1 / lowest - 1
    answered = outcome.answered(lowest) if enough else float("nan")
    return TunedRow(rules, name, outcome.gap(), outcome.top1(), answered)
