"""Evaluate a recognizer on labelled photos: predictions and Scores.

The Scores include the protocol (gallery, distractors, score, which queries were left out), because
numbers are comparable only when it is the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.errors import DataError, OptionError
from ..core.fingerprint import SMALL_COPY_SIDE, Fingerprint, fingerprint
from ..core.progress import progress_for
from ..core.types import Image, Photos, Progress, Rows, require_table
from ..features.local.keypoints import GreyImage
from ..features.pipeline import EmbeddedBatch, Failure, PerPhoto, embed
from ..gallery.leak_check import Leak, LeakCheck, by_kind
from ..recognition.query import Queries
from ..recognition.recognizer import Recognizer
from ..recognition.rules import Score
from ..recognition.spatial_verification import query_grey
from .predictions import Predictions
from .run_queries import QueryRun, responder_of
from .scores import Scores, prediction_scores, what_is_not_measured

# The gallery is read once for so many queries; each takes 0.3 MB of memory.
QUERIES_PER_SEARCH = 512

RowsAndQueries = tuple[Rows, Queries]  # rows of the query table, and their queries


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predictions in table order, the photos left out, and the Scores.

    failures: photos that could not be read. leaked: ids of the queries left out because they are
    in the gallery; leaks: the same, each with the gallery photo that it equals.
    """

    predictions: Predictions
    failures: list[Failure]
    leaked: list[str]
    leaks: list[Leak]
    scores: Scores


@dataclass(frozen=True, eq=False)
class QueryExtras:
    """What is computed from a query's pixels besides its vector.

    fingerprint: for the leak check; None = the gallery has none. grey: for local features; None =
    the recognizer uses none.
    """

    fingerprint: Fingerprint | None
    grey: GreyImage


def evaluate_in_detail(
    recognizer: Recognizer,
    photos: Photos,
    *,
    other_scores: Sequence[Score] = (),
    keep_leaks: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Predict the landmark of every photo and compute the Scores.

    A query whose id, content or look (perceptual hash) is in the gallery or among its distractors
    is left out, because it would retrieve itself; it is listed in `leaks`. An unreadable query has
    no guess, and counts as missed when it shows a landmark.

    Args:
        recognizer: Answers with its own rules.
        photos: The queries. A landmark that the gallery lacks is an unknown one; "" = none.
        other_scores: Scores to compute the GAP of as well, into `gap_by_score`.
        keep_leaks: Score queries that are in the gallery too; they are listed all the same.
        progress: Called with (photos done, all photos).

    Raises:
        DataError: When no query is left, or none shows a landmark.
    """
    started = time.monotonic()
    recognizer.check_index_files()
    run = QueryRun(responder_of(recognizer, other_scores), photos)
    failures: list[Failure] = []
    leaks: list[Leak] = []
    check = _leak_check(recognizer)

    def keep(image: Image) -> QueryExtras:
        return QueryExtras(
            fingerprint(image) if check.compares_fingerprints else None,
            query_grey(image),
        )

    # Decoded at the recognizer's own scale, because the scale changes vectors slightly.
    side = max(recognizer.short_side, SMALL_COPY_SIDE if check.compares_fingerprints else 0)
    each = PerPhoto(keep, side, location=recognizer.rules.location_km is not None)
    batches = embed(recognizer.embedder, photos, per_photo=each, progress=progress)
    asked = _without_leaks(batches, photos, check, leaks, keep=keep_leaks)
    for rows, queries in _group_batches(asked, failures, recognizer.features):
        run.answer(rows, queries)
    row_of = {photo_id: row for row, photo_id in enumerate(photos.ids)}
    if not keep_leaks:
        run.leave_out(np.array([row_of[leak.id] for leak in leaks], dtype=np.int64))
    protocol = _protocol(recognizer, check)
    scores = compute_scores(
        run, leaks, unreadable=len(failures), started=started, protocol=protocol
    )
    return Evaluation(run.predictions(), failures, [leak.id for leak in leaks], leaks, scores)


def evaluate(
    recognizer: Recognizer, photos: Photos, *, progress: bool | Progress | None = None
) -> Scores:
    """Evaluate a recognizer on labelled photos.

    A query that is in the gallery or among its distractors (the same id, file or picture) is left
    out, because it would retrieve itself. An unreadable query has no guess, and counts as missed
    when it shows a landmark.

    Args:
        recognizer: What to evaluate, under its own rules.
        photos: The queries: photos of known landmarks (those of the gallery), of unknown landmarks,
            and of none (landmark ""); several true landmarks are written "A|B".
        progress: True = show it; a function = call it with (photos done, all photos).

    Returns:
        GAP, top-1, open-set and calibration measures, the counts of queries, and the protocol that
        they belong to; see `Scores`.

    Raises:
        DataError: When no query is left, or none shows a landmark.
        OptionError: When `photos` is no photo table, or `recognizer` no recognizer.
    """
    require_table(photos, "evaluate(recognizer, photos)")
    if not isinstance(recognizer, Recognizer):
        raise OptionError(
            f"a {type(recognizer).__name__} given; expected evaluate(recognizer, photos), with a "
            "recognizer of load or build"
        )
    with progress_for(progress, "evaluating") as move:
        return evaluate_in_detail(recognizer, photos, progress=move).scores


def compute_scores(
    run: QueryRun,
    leaks: Sequence[Leak] = (),
    *,
    unreadable: int = 0,
    started: float = 0.0,
    protocol: Mapping[str, Any] | None = None,
) -> Scores:
    """Compute the Scores of the queries of a run.

    leaks: of the queries left out. unreadable: number of queries that could not be read.
    started: time.monotonic() at the beginning. protocol: goes into the Scores as it is.
    Raises DataError when no query is left, or none shows a landmark.
    """
    predictions = run.predictions()
    landmarks = int((predictions.truth != "").sum())
    if not landmarks:
        raise DataError(
            f"{len(predictions)} queries left to score, none of them with a landmark; "
            f"GAP needs at least one ({len(leaks)} were in the gallery)"
        )
    return Scores(
        **prediction_scores(predictions),
        notes=what_is_not_measured(predictions, run.responder.index.names.tolist()),
        map_at_100=run.map_at_100(),
        gap_by_score=run.gap_by_score(),
        unreadable=unreadable,
        leaked=len(leaks),
        leaked_by=by_kind(leaks),
        seconds=round(time.monotonic() - started, 3),
        protocol=dict(protocol or {}),
    )


def _leak_check(recognizer: Recognizer) -> LeakCheck:
    table = recognizer.gallery.table(vectors=False)
    return LeakCheck(table.ids, table.hashes, recognizer.gallery.fingerprints)


def _without_leaks(
    batches: Iterator[EmbeddedBatch],
    photos: Photos,
    check: LeakCheck,
    leaks: list[Leak],
    *,
    keep: bool = False,
) -> Iterator[EmbeddedBatch]:
    """The batches without queries that are in the gallery, or with them (keep); those are added to
    `leaks`.
    """
    for batch in batches:
        prints = [extras.fingerprint for extras in batch.computed if extras.fingerprint]
        found = check(photos.ids[batch.rows].tolist(), batch.hashes, prints)
        leaks += [leak for leak in found if leak]
        clean = np.flatnonzero([keep or leak is None for leak in found])
        yield replace(
            batch,
            rows=batch.rows[clean],
            vectors=batch.vectors[clean],
            computed=[batch.computed[i] for i in clean],
            locations=[batch.locations[i] for i in clean],
        )


def _group_batches(
    batches: Iterator[EmbeddedBatch], failures: list[Failure], verify: bool
) -> Iterator[RowsAndQueries]:
    """Join batches to QUERIES_PER_SEARCH queries or more; adds their failures to `failures`."""
    waiting: list[EmbeddedBatch] = []
    for batch in batches:
        failures += batch.failures
        waiting.append(batch)
        if sum(len(joined.rows) for joined in waiting) >= QUERIES_PER_SEARCH:
            yield _join_batches(waiting, verify)
            waiting = []
    if waiting:
        yield _join_batches(waiting, verify)


def _join_batches(batches: Sequence[EmbeddedBatch], verify: bool) -> RowsAndQueries:
    greys = [extras.grey for batch in batches for extras in batch.computed]
    queries = Queries.of_greys(
        np.concatenate([batch.vectors for batch in batches]),
        greys,
        [location for batch in batches for location in batch.locations],
        verify=verify,
    )
    return np.concatenate([batch.rows for batch in batches]), queries


def _protocol(recognizer: Recognizer, check: LeakCheck) -> dict[str, Any]:
    index, rules = recognizer.index, recognizer.rules
    compared_by = (
        "id, content or look (perceptual hash)" if check.compares_fingerprints else "id or content"
    )
    return {
        "embedder": recognizer.embedder.id,
        "score": rules.score,
        "gallery": f"{len(index.ids)} photos of {len(index.names)} landmarks",
        "distractor bank": f"{len(index.distractor_vectors)} photos",
        "generation": recognizer.gallery.generation,
        "statistics": "inductive: the answer to a query does not depend on the other queries",
        "ties": "mean over all orders of equal scores",
        "left out": f"queries whose {compared_by} is in the gallery",
        "answered_at": "thresholds chosen on these non-landmark queries: for diagnosis only",
    }
