"""Choose the rules of a recognizer on leave-one-out queries of its gallery, without test photos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.disks import require_writable
from ...core.errors import DataError
from ...core.fingerprint import fingerprint
from ...core.types import Embedder, Photos, Progress, ProgressFor, one_landmark_each
from ...features.embedders.load import load_embedder
from ...features.pipeline import Failure, PerPhoto, embed
from ...gallery.index import GalleryIndex
from ...gallery.index.open import searched_on_server
from ...gallery.leak_check import Leak, LeakCheck
from ..calibration import threshold_for
from ..fitting import fit
from ..fitting.leave_one_out import (
    KNOWN,
    NON_LANDMARK,
    UNKNOWN,
    HeldOutScores,
    Whitenings,
    hold_out_queries,
)
from ..fitting.whitening import LabelledVectors, fit_whitening
from ..rules import FORMULAS, Rules, unsupported_on_servers
from ..spatial_verification import SpatialVerifier
from .edit import open_gallery
from .load import refresh_index_files
from .settings import stored_rules, write_settings

FINGERPRINT_SIDE = 96  # short side in pixels that a fingerprint needs

FALSE_ANSWER_RATES = (0.01, 0.05)  # of non-landmark photos, reported and compared

WHITENINGS: tuple[dict[str, Any], ...] = (
    {"whitening": "none"},
    {"whitening": "pca", "whitening_dim": 128, "whitening_shrinkage": 0.0},
    {"whitening": "pca", "whitening_dim": 256, "whitening_shrinkage": 1.0},
    {"whitening": "learned", "whitening_dim": 128, "whitening_shrinkage": 0.2},
    {"whitening": "learned", "whitening_dim": 256, "whitening_shrinkage": 0.2},
    {"whitening": "learned", "whitening_dim": 256, "whitening_shrinkage": 0.5},
)

MIN_GAIN = 0.01  # GAP that averaging photos must gain; less is noise with some hundred queries

AVERAGINGS: tuple[dict[str, Any], ...] = (
    {"expansion": 3}, {"augmentation": 3}, {"superglobal": True},
)  # fmt: skip


@dataclass(frozen=True)
class TunedRow:
    """One set of rules with its results on leave-one-out queries.

    Attributes:
        rules: The rules.
        name: How the table names them.
        gap: GAP, 0 to 1.
        top1: Share of known queries whose best candidate is right.
        answered: Share of known queries answered rightly where 1 % of non-landmarks is answered;
            None = not measured, with fewer than 99 distractors.
    """

    rules: Rules
    name: str
    gap: float
    top1: float
    answered: float | None


@dataclass(frozen=True)
class Tuned:
    """Result of `tune`.

    Attributes:
        rows: All sets of rules, the best GAP first.
        chosen: The chosen one.
        promises: For each false-answer rate, a sentence on what would be answered.
        photos: Number of training photos used.
        failures: Training photos that could not be read.
        leaks: Training photos left out because the gallery has them.
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
    progress: ProgressFor,
) -> Tuned:
    """Choose rules for the recognizer in `folder`, fit them and store both.

    Args:
        folder: The recognizer folder.
        photos: Labelled training photos that the whitening is fitted on too. Those that the gallery
            has, by id, content or fingerprint, are left out, because the whitening must not be
            fitted on a held-out query.
        false_answers: Share of non-landmark photos to answer; None = decide by confidence.
        device: Device of the folder's embedder.
        embedder: None = open the folder's.
        progress: Name of a step → its progress function.

    Raises:
        DataError: When the gallery has too few photos for leave-one-out queries.
    """
    require_writable(folder, folder=True)
    with open_gallery(folder) as gallery:
        if embedder is None:
            embedder = load_embedder(folder / "embedder", device=device)
        gallery.require(embedder.id)
        table = gallery.table()
        index = GalleryIndex.of(table).made_by(embedder)
        extra: LabelledVectors | None = None
        failures: list[Failure] = []
        leaks: list[Leak] = []
        if photos is not None:
            check = LeakCheck(table.ids, table.hashes, gallery.fingerprints)
            extra, failures, leaks = embed_training_photos(
                embedder, photos, check, progress("embedding")
            )
        del table
        verifier = SpatialVerifier(gallery)
        probed = verifier.keypoints(index.ids[:20].tolist())
        has_features = any(keypoints is not None for keypoints in probed)
        stored = stored_rules(folder) or Rules()
        verify = (stored.verify or Rules().verify) if has_features else 0
        start = replace(stored, false_answers=false_answers, verify=verify)
        rows = compare_rules(index, start, extra, verifier, progress("comparing rules"))
        if searched_on_server(folder):
            rows = [row for row in rows if not unsupported_on_servers(row.rules)]
        chosen = max(rows, key=_penalized_gap)
        fitted, held_out = fit.fit_and_score(index, chosen.rules, extra, verifier=verifier)
        write_settings(folder, chosen.rules, fitted, gallery.generation)
        refresh_index_files(folder, gallery)
    count = 0 if extra is None else len(extra.landmarks)
    return Tuned(rows, chosen, promises(held_out), count, failures, leaks)


def compare_rules(
    index: GalleryIndex,
    start: Rules,
    extra: LabelledVectors | None,
    verifier: SpatialVerifier,
    progress: Progress,
) -> list[TunedRow]:
    """Results of all sets of rules, the best GAP first.

    First every whitening with every score; then the best learned one with photos averaged, and
    verified.
    """
    whitenings: Whitenings = {}
    rows: list[TunedRow] = []

    def add_row(rules: Rules, name: str) -> None:
        rows.append(_row(index, rules, name, extra, verifier, whitenings))
        progress(len(rows), total)

    candidates = list(_whitenings_and_scores(start))
    total = len(candidates) + len(AVERAGINGS) + 1
    for rules, name in candidates:
        add_row(rules, name)
    learned = [row for row in rows if row.rules.score == "learned"]
    best = max(learned, key=lambda row: row.gap)
    for change in AVERAGINGS:
        (setting,) = change
        add_row(replace(best.rules, **change), f"{best.name}, {setting}")
    best = max((row for row in rows if row.rules.score == "learned"), key=_penalized_gap)
    if start.verify:
        add_row(replace(best.rules, verify=start.verify), f"{best.name}, geometry")
    if not any(np.isfinite(row.gap) and row.gap > 0 for row in rows):
        raise DataError("the gallery has no queries to hold out: it needs landmarks of two photos")
    return sorted(rows, key=lambda row: -row.gap)


def _penalized_gap(row: TunedRow) -> float:
    """The GAP by which the best row is chosen, less MIN_GAIN where photos are averaged."""
    rules = row.rules
    averaged = rules.expansion or rules.augmentation or rules.superglobal
    return row.gap - (MIN_GAIN if averaged else 0.0)


def promises(held_out: HeldOutScores) -> list[str]:
    """For each false-answer rate, a sentence on what its threshold would answer."""
    sentences = []
    for rate in FALSE_ANSWER_RATES:
        negatives = held_out.scores[held_out.kind == NON_LANDMARK]
        if not np.isfinite(threshold_for(rate, negatives)):
            sentences.append(f"at {rate:.0%} false answers on non-landmarks: too few distractors "
                        f"({len(negatives)}) to promise it")  # fmt: skip
            continue
        unknown = held_out.scores[held_out.kind == UNKNOWN]
        sentence = (
            f"at {rate:.0%} false answers on non-landmarks, {held_out.answered(rate):.1%} of "
            "landmarks are answered rightly"
        )
        if len(unknown):
            wrong = (unknown >= threshold_for(rate, negatives)).mean()
            sentence += f", and {wrong:.1%} of unknown landmarks wrongly"
        sentences.append(sentence)
    return sentences


def embed_training_photos(
    embedder: Embedder, photos: Photos, check: LeakCheck, progress: Progress | None = None
) -> tuple[LabelledVectors, list[Failure], list[Leak]]:
    """Embed training photos, without those that the gallery has by id, content or fingerprint."""
    photos = one_landmark_each(photos)
    vectors, landmarks = [np.empty((0, embedder.dim), np.float32)], []
    failures: list[Failure] = []
    leaks: list[Leak] = []
    per_photo = PerPhoto(fingerprint, FINGERPRINT_SIDE)
    for batch in embed(embedder, photos, per_photo=per_photo, progress=progress):
        found = check(photos.ids[batch.rows].tolist(), batch.hashes, batch.computed)
        clean = np.array([leak is None for leak in found], dtype=bool)
        vectors.append(batch.vectors[clean])
        landmarks += photos.landmarks[batch.rows[clean]].tolist()
        leaks += [leak for leak in found if leak]
        failures += batch.failures
    names = np.empty(len(landmarks), dtype=object)
    names[:] = landmarks
    return LabelledVectors(np.concatenate(vectors), names), failures, leaks


def _whitenings_and_scores(start: Rules) -> Iterator[tuple[Rules, str]]:
    plain = replace(start, verify=0, expansion=0, augmentation=0, superglobal=False)
    for whitening in WHITENINGS:
        rules = replace(plain, **whitening)
        name = "none" if rules.whitening == "none" else (
            f"{rules.whitening} {rules.whitening_dim}/{rules.whitening_shrinkage:g}"
        )  # fmt: skip
        for score in (*FORMULAS, "learned"):
            yield replace(rules, score=score), f"{name}, {score}"


def _row(
    index: GalleryIndex,
    rules: Rules,
    name: str,
    extra: LabelledVectors | None,
    verifier: SpatialVerifier,
    whitenings: Whitenings,
) -> TunedRow:
    blocks = hold_out_queries(index, rules, extra, whitenings=whitenings)
    if not blocks:
        raise DataError("the gallery has no queries to hold out: it needs landmarks of two photos")
    defaults = fit.NO_DEFAULTS
    if index.default_fit and rules.score == "learned":
        defaults = fit.DefaultStackers.of(index, rules, fit_whitening(index, rules, extra))
    _, held_out = fit.fit_stackers(blocks, rules, verifier, defaults)
    lowest = FALSE_ANSWER_RATES[0]
    negatives = (held_out.kind == NON_LANDMARK).sum()
    enough = (held_out.kind == KNOWN).any() and negatives >= 1 / lowest - 1
    answered = held_out.answered(lowest) if enough else None
    return TunedRow(rules, name, held_out.gap(), held_out.top1(), answered)
