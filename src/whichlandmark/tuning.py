"""Which rules suit this gallery? Chosen by its own questions, never by test photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import fitting
from .calibration import threshold_for
from .data.likeness import fingerprint
from .embedding import Each, Failure, Progress, embed
from .errors import DataError, GalleryError
from .fitting import Outcome
from .gallery.contract import AnyGallery
from .gallery.index import GalleryIndex
from .gallery_editing import open_gallery
from .geometry import Geometry
from .leaks import Leak, LeakCheck
from .loading import load_embedder
from .opening import refresh_segments
from .rules import FORMULAS, Rules
from .self_questions import KNOWN, NOTHING, UNKNOWN, Whitenings, ask
from .settings import read_settings, write_settings
from .types import Embedder, Photos
from .whitening import Labelled

PRINT_SIDE = 96  # pixels that a fingerprint needs
RATES = (0.01, 0.05)
WHITENINGS: tuple[dict[str, Any], ...] = (
    {"whitening": "none"},
    {"whitening": "pca", "whitening_dim": 128, "whitening_shrinkage": 0.0},
    {"whitening": "pca", "whitening_dim": 256, "whitening_shrinkage": 1.0},
    {"whitening": "learned", "whitening_dim": 128, "whitening_shrinkage": 0.2},
    {"whitening": "learned", "whitening_dim": 256, "whitening_shrinkage": 0.2},
    {"whitening": "learned", "whitening_dim": 256, "whitening_shrinkage": 0.5},
)
WORTH = 0.01  # GAP that mixing must gain: less is chance with some hundreds of questions
MIXED: tuple[dict[str, Any], ...] = (
    {"expansion": 3}, {"augmentation": 3}, {"superglobal": True},
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One set of rules and what its held-out questions say."""

    rules: Rules
    name: str
    gap: float
    top1: float
    answered: float  # known questions rightly answered where 1 % of non-landmarks are


@dataclass(frozen=True)
class Tuned:
    """The table it was chosen from (best first), the chosen rules, the promises, and what was
    left out of the training photos.
    """

    rows: list[Row]
    chosen: Row
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
    progress: Callable[[str], Progress],
) -> Tuned:
    """Choose rules for the recognizer in `folder`, fit them and store both.

    photos: labelled training photos that teach the whitening beside the gallery's own; those
      whose id, content or look is in the gallery are left out, or a question would be asked of
      a whitening that knows it. false_answers: answer so that this share of non-landmark photos
      is answered; None = by confidence. Raises DataError when the gallery has too few photos to
      question itself.
    """
    with open_gallery(folder) as gallery:
        embedder = load_embedder(folder / "embedder", device=device)
        gallery.require(embedder.id)
        index = GalleryIndex.of(gallery.table())
        extra: Labelled | None = None
        failures: list[Failure] = []
        leaks: list[Leak] = []
        if photos is not None:
            extra, failures, leaks = labelled(embedder, photos, gallery, progress("embedding"))
        geometry = Geometry(gallery)
        kept = any(found is not None for found in geometry.of(index.ids[:20].tolist()))
        verify = (_stored(folder).verify or Rules().verify) if kept else 0
        start = replace(_stored(folder), false_answers=false_answers, verify=verify)
        rows = compare_rules(index, start, extra, geometry, progress("questioning"))
        chosen = max(rows, key=_worth)
        fitted, outcome = fitting.learn(index, chosen.rules, extra, geometry=geometry)
        write_settings(folder, chosen.rules, fitted, gallery.generation)
        refresh_segments(folder, gallery)
    count = 0 if extra is None else len(extra.landmarks)
    return Tuned(rows, chosen, promises(outcome), count, failures, leaks)


def compare_rules(
    index: GalleryIndex,
    start: Rules,
    extra: Labelled | None,
    geometry: Geometry,
    progress: Progress,
) -> list[Row]:
    """All sets of rules, the best GAP first."""
    known: Whitenings = {}
    rows: list[Row] = []

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
        raise DataError("the gallery cannot question itself: it needs landmarks of two photos")
    return sorted(rows, key=lambda row: -row.gap)


def _worth(row: Row) -> float:
    """What a row is chosen by; of equal ones the earlier in the table."""
    rules = row.rules
    mixed = rules.expansion or rules.augmentation or rules.superglobal
    return row.gap - (WORTH if mixed else 0.0)


def promises(outcome: Outcome) -> list[str]:
    """What thresholds for stated false-answer rates would answer, in words."""
    said = []
    for rate in RATES:
        negatives = outcome.scores[outcome.kind == NOTHING]
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
    embedder: Embedder, photos: Photos, gallery: AnyGallery, progress: Progress | None = None
) -> tuple[Labelled, list[Failure], list[Leak]]:
    """Embed training photos, without those that the gallery holds by id, content or look."""
    photos.require_one_landmark("training")
    table = gallery.table(vectors=False)
    check = LeakCheck(table.ids, table.hashes, gallery.looks)
    vectors, landmarks = [np.empty((0, embedder.dim), np.float32)], []
    failures: list[Failure] = []
    leaks: list[Leak] = []
    each = Each(fingerprint, PRINT_SIDE)
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
    geometry: Geometry,
    known: Whitenings,
) -> Row:
    blocks = ask(index, rules, extra, whitenings=known)
    if not blocks:
        raise DataError("the gallery cannot question itself: it needs landmarks of two photos")
    _, outcome = fitting.held_out(blocks, rules, geometry)
    enough = (outcome.kind == KNOWN).any() and (outcome.kind == NOTHING).sum() >= 1 / RATES[0] - 1
    answered = outcome.answered(RATES[0]) if enough else float("nan")
    return Row(rules, name, outcome.gap(), outcome.top1(), answered)


def _stored(folder: Path) -> Rules:
    try:
        return read_settings(folder)[0]
    except GalleryError:
        return Rules()
