"""Ask a recognizer about photos whose answers are known → predictions and Scores.

What a number means depends on the protocol, so it is stamped on the Scores: which gallery,
which bank, which questions, what was left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .answering import answering
from .data.likeness import SIDE, fingerprint
from .errors import DataError
from .leaks import Leak, LeakCheck, by_kind
from .pipeline.pipeline import NOTHING, Each, Embedded, Failure, Progress, embed
from .predictions import Predictions
from .questions import Questions
from .recognition import Recognizer
from .rules import Score
from .scores import Scores, measured
from .types import Photos, Vectors

__all__ = ["Evaluation", "Scores", "evaluate", "examine", "scored"]

ASKED_AT_ONCE = 1024  # the gallery is read once for each such part


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predictions in table order, the photos left out and why, and the Scores.

    failures: of photos that could not be read; leaked: ids of those that stand in the gallery,
    leaks: the same with the gallery photo that each equals.
    """

    predictions: Predictions
    failures: list[Failure]
    leaked: list[str]
    leaks: list[Leak]
    scores: Scores


def examine(
    recognizer: Recognizer,
    photos: Photos,
    *,
    also: Sequence[Score] = (),
    progress: Progress | None = None,
) -> Evaluation:
    """Predict every photo and score it. `also`: other scores whose GAP is wanted beside it.

    A photo whose id, content or look is in the gallery (bank included) would answer itself: it
    is left out, and listed in `leaks`. An unreadable photo has no prediction; it takes no
    rank, but counts among the photos that show a landmark.
    Raises DataError when no photo is left, or none shows a landmark.
    """
    started = time.monotonic()
    recognizer.check_segments()
    questions = Questions(answering(recognizer, photos, also), photos)
    failures: list[Failure] = []
    leaks: list[Leak] = []
    check = _leak_check(recognizer)
    each = Each(fingerprint, SIDE) if check.looks else NOTHING
    batches = embed(recognizer.embedder, photos, each=each, progress=progress)
    for rows, vectors in _gathered(_without_leaks(batches, photos, check, leaks), failures):
        questions.answer(rows, vectors)
    row_of = {photo_id: row for row, photo_id in enumerate(photos.ids)}
    questions.leave_out(np.array([row_of[leak.id] for leak in leaks], dtype=np.int64))
    protocol = _protocol(recognizer, check)
    scores = scored(questions, leaks, unreadable=len(failures), started=started, protocol=protocol)
    return Evaluation(questions.predictions(), failures, [leak.id for leak in leaks], leaks, scores)


def evaluate(recognizer: Recognizer, photos: Photos) -> Scores:
    """The Scores of `examine`, for when the single predictions do not matter."""
    return examine(recognizer, photos).scores


def scored(
    questions: Questions,
    leaks: Sequence[Leak] = (),
    *,
    unreadable: int = 0,
    started: float = 0.0,
    protocol: Mapping[str, Any] | None = None,
) -> Scores:
    """The Scores of questions that were asked. started: time.monotonic() of the beginning.

    Raises DataError when none is left, or none shows a landmark.
    """
    predictions = questions.predictions()
    landmarks = int((predictions.truth != "").sum())
    if not landmarks:
        raise DataError(
            f"{len(predictions)} photos left to score, none of them with a landmark; "
            f"GAP needs at least one ({len(leaks)} were in the gallery)"
        )
    return Scores(
        **measured(predictions),
        map_at_100=questions.map_at_100(),
        gap_by_score=questions.gap_by_score(),
        unreadable=unreadable,
        leaked=len(leaks),
        leaked_by=by_kind(leaks),
        seconds=round(time.monotonic() - started, 3),
        protocol=dict(protocol or {}),
    )


Part = tuple[NDArray[np.int64], Vectors]


def _leak_check(recognizer: Recognizer) -> LeakCheck:
    table = recognizer.table
    return LeakCheck(table.ids, table.hashes, recognizer.gallery.looks)


def _without_leaks(
    batches: Iterator[Embedded], photos: Photos, check: LeakCheck, leaks: list[Leak]
) -> Iterator[Embedded]:
    """The batches without photos of the gallery, which go to `leaks`."""
    for batch in batches:
        prints = batch.made if check.looks else []
        found = check(photos.ids[batch.rows].tolist(), batch.hashes, prints)
        leaks += [leak for leak in found if leak]
        clean = np.array([leak is None for leak in found], dtype=bool)
        yield replace(batch, rows=batch.rows[clean], vectors=batch.vectors[clean])


def _gathered(batches: Iterator[Embedded], failures: list[Failure]) -> Iterator[Part]:
    """Batches joined to ASKED_AT_ONCE queries or a few more; their failures go to `failures`."""
    rows: list[NDArray[np.int64]] = []
    vectors: list[Vectors] = []
    for batch in batches:
        failures += batch.failures
        rows.append(batch.rows)
        vectors.append(batch.vectors)
        if sum(map(len, rows)) >= ASKED_AT_ONCE:
            yield np.concatenate(rows), np.concatenate(vectors)
            rows, vectors = [], []
    if rows:
        yield np.concatenate(rows), np.concatenate(vectors)


def _protocol(recognizer: Recognizer, check: LeakCheck) -> dict[str, Any]:
    index, rules = recognizer.index, recognizer.rules
    known_by = "id, content or look" if check.looks else "id or content"
    return {
        "embedder": recognizer.embedder.id,
        "score": rules.score,
        "gallery": f"{len(index.ids)} photos of {len(index.names)} landmarks",
        "distractor bank": f"{len(index.bank)} photos",
        "generation": recognizer.gallery.generation,
        "statistics": "inductive: nothing is taken from the other queries",
        "ties": "mean over all orders of equal scores",
        "left out": f"queries whose {known_by} is in the gallery",
        "answered_at": "thresholds seen on these very non-landmark queries: a diagnosis",
    }
