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

from ..core.errors import DataError
from ..core.fingerprint import SIDE, Fingerprint, fingerprint
from ..core.types import Image, Photos
from ..features.local.keypoints import Grey
from ..features.pipeline import EmbeddedBatch, Failure, PerPhoto, Progress, embed
from ..gallery.leak_check import Leak, LeakCheck, by_kind
from ..recognition.query import Queries
from ..recognition.recognizer import Recognizer
from ..recognition.rules import Score
from ..recognition.spatial_verification import query_grey, query_keypoints
from .predictions import Predictions
from .run_queries import QueryRun, responder_of
from .scores import Scores, measured

QUERIES_PER_SEARCH = 512  # the gallery is read once for each such part, which keeps 0.2 MB a query


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


def evaluate_in_detail(
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
    questions = QueryRun(responder_of(recognizer, also), photos)
    failures: list[Failure] = []
    leaks: list[Leak] = []
    check = _leak_check(recognizer)

    def keep(image: Image) -> QueryExtras:
        return QueryExtras(
            fingerprint(image) if check.looks else None,
            query_grey(image) if recognizer.features else None,
        )

    # Decoded as the recognizer itself does, so that its answer is the one that is scored.
    side = max(recognizer.short_side, SIDE if check.looks else 0)
    each = PerPhoto(keep, side, location=recognizer.rules.location_km is not None)
    batches = embed(recognizer.embedder, photos, each=each, progress=progress)
    for rows, queries in _gathered(_without_leaks(batches, photos, check, leaks), failures):
        questions.answer(rows, queries)
    row_of = {photo_id: row for row, photo_id in enumerate(photos.ids)}
    questions.leave_out(np.array([row_of[leak.id] for leak in leaks], dtype=np.int64))
    protocol = _protocol(recognizer, check)
    scores = scored(questions, leaks, unreadable=len(failures), started=started, protocol=protocol)
    return Evaluation(questions.predictions(), failures, [leak.id for leak in leaks], leaks, scores)


def evaluate(recognizer: Recognizer, photos: Photos) -> Scores:
    """The Scores of `examine`, for when the single predictions do not matter."""
    return evaluate_in_detail(recognizer, photos).scores


def scored(
    questions: QueryRun,
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


@dataclass(frozen=True, eq=False)
class QueryExtras:
    """What is wanted of a photo beside its vector, made while its pixels are in memory."""

    fingerprint: Fingerprint | None
    grey: Grey | None


Part = tuple[NDArray[np.int64], Queries]


def _leak_check(recognizer: Recognizer) -> LeakCheck:
    table = recognizer.gallery.table(vectors=False)
    return LeakCheck(table.ids, table.hashes, recognizer.gallery.looks)


def _without_leaks(
    batches: Iterator[EmbeddedBatch], photos: Photos, check: LeakCheck, leaks: list[Leak]
) -> Iterator[EmbeddedBatch]:
    """The batches without photos of the gallery, which go to `leaks`."""
    for batch in batches:
        prints = [kept.fingerprint for kept in batch.made if kept.fingerprint]
        found = check(photos.ids[batch.rows].tolist(), batch.hashes, prints)
        leaks += [leak for leak in found if leak]
        clean = np.flatnonzero([leak is None for leak in found])
        yield replace(
            batch, rows=batch.rows[clean], vectors=batch.vectors[clean],
            made=[batch.made[i] for i in clean], locations=[batch.locations[i] for i in clean],
        )  # fmt: skip


def _gathered(batches: Iterator[EmbeddedBatch], failures: list[Failure]) -> Iterator[Part]:
    """Batches joined to ASKED_AT_ONCE queries or a few more; their failures go to `failures`."""
    waiting: list[EmbeddedBatch] = []
    for batch in batches:
        failures += batch.failures
        waiting.append(batch)
        if sum(len(one.rows) for one in waiting) >= QUERIES_PER_SEARCH:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(batches: Sequence[EmbeddedBatch]) -> Part:
    greys = [kept.grey for batch in batches for kept in batch.made]
    queries = Queries(
        np.concatenate([batch.vectors for batch in batches]),
        keypoints_of=lambda row: query_keypoints(grey) if (grey := greys[row]) else None,
        locations=[location for batch in batches for location in batch.locations],
    )
    return np.concatenate([batch.rows for batch in batches]), queries


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
