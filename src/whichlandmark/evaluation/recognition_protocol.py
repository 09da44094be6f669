"""Recognition of Google Landmarks v2 by a recognizer: GAP over all photos of the solution.

As the data set's authors count: no photo of the solution is left out, one without a file has no
prediction, and M is every photo that shows a landmark, whether the gallery has it or not. What the
figure depends on is stated: gallery, distractors, landmarks that the gallery lacks, photos that it
has.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from ..core.challenge_files import Solution, landmark_id
from ..core.errors import DataError
from ..core.types import Photos, Progress
from ..recognition.recognizer import Recognizer
from .challenges import RECOGNITION_RULES, recognition_rows, tied_predictions
from .evaluate import Evaluation, evaluate_in_detail
from .predictions import Predictions
from .protocol_vectors import image_size
from .protocols import ProtocolResult

_SHOWN = 5  # landmarks or photos in a note


@dataclass(frozen=True, eq=False)
class RecognitionRun:
    """The result, and the predictions of the photos that are there."""

    result: ProtocolResult
    predictions: Predictions


def run_recognition(
    recognizer: Recognizer,
    solution: Solution,
    photos: Photos,
    *,
    missing: Sequence[str] = (),
    part: str = "",
    notes: Sequence[str] = (),
    progress: Progress | None = None,
) -> RecognitionRun:
    """Recognize the test photos and measure them as the data set's authors do.

    Args:
        recognizer: Answers with its own rules; every guess counts, whatever the decision.
        solution: Of recognition.
        photos: Its photos that have a file.
        missing: Those that have none.
        part: Which part of the data this is; "" = all of it.
        notes: What the loader met.
        progress: Called with (photos done, all photos).

    Raises:
        DataError: When the gallery has no landmark of the solution.
    """
    started = time.monotonic()
    notes = [*_about_landmarks(recognizer, solution), *notes]
    evaluation = evaluate_in_detail(recognizer, photos, keep_leaks=True, progress=progress)
    found = evaluation.predictions
    predicted = {
        photo_id: (landmark_id(guess), float(score))
        for photo_id, guess, score in zip(found.ids, found.guess, found.score, strict=True)
        if guess
    }
    embedder, index = recognizer.embedder, recognizer.index
    result = ProtocolResult(
        protocol="gldv2-recognition",
        rows=recognition_rows(solution, predicted, missing=missing),
        embedder=embedder.id,
        licence=str(getattr(embedder, "licence", "") or "unknown"),
        image_size=image_size(embedder),
        dim=embedder.dim,
        queries=len(solution),
        database=len(index.ids),
        distractors=0,
        average_precision={},
        with_distractors={},
        left_out={"all": len(solution.ignored)},
        tied_queries=tied_predictions(solution, predicted),
        missing=list(missing),
        unreadable={failure.id: failure.reason for failure in evaluation.failures},
        seconds={"recognizing": round(time.monotonic() - started, 3)},
        rules=[*RECOGNITION_RULES, *_about_gallery(recognizer)],
        notes=[*notes, *_about_photos(evaluation, solution, missing)],
        name=embedder.name,
        part=part,
    )
    return RecognitionRun(result, found)


def _about_gallery(recognizer: Recognizer) -> list[str]:
    """What the figures depend on besides the test photos."""
    index = recognizer.index
    return [
        f"gallery: {len(index.ids):,} photos of {len(index.names):,} landmarks",
        f"distractors: {len(index.distractor_vectors):,} photos"
        + ("" if len(index.distractor_vectors) else ", so that no score is lowered by them"),
        f"score: {recognizer.rules.score}",
    ]


def _about_landmarks(recognizer: Recognizer, solution: Solution) -> list[str]:
    """Which landmarks of the solution the gallery has."""
    index = recognizer.index
    have = {landmark_id(name) for name in index.names.tolist()}
    wanted = sorted(set(chain.from_iterable(solution.truth)))
    lacking = [name for name in wanted if name not in have]
    if wanted and len(lacking) == len(wanted):
        own = ", ".join(index.names.tolist()[:_SHOWN])
        raise DataError(
            f"the gallery has none of the {len(wanted):,} landmarks of the solution, such as "
            f"{', '.join(wanted[:_SHOWN])}; its own are {own}: "
            "expected the ids of train.csv (those of index_image_to_landmark.csv are others)"
        )
    shown = [truth for truth in solution.truth if truth]
    known = sum(any(name in have for name in truth) for truth in shown)
    notes = [
        f"{known:,} of {len(shown):,} photos that show a landmark show one of the gallery: GAP "
        f"cannot exceed {known / max(len(shown), 1):.3f}",
    ]
    if lacking:
        more = ", …" if len(lacking) > _SHOWN else ""
        notes.append(
            f"{len(lacking):,} of {len(wanted):,} landmarks of the solution are not in the "
            f"gallery: {', '.join(lacking[:_SHOWN])}{more}"
        )
    return notes


def _about_photos(evaluation: Evaluation, solution: Solution, missing: Sequence[str]) -> list[str]:
    """Which photos had no prediction, and which are in the gallery."""
    notes, absent = [], set(missing)
    if missing:
        landmarks = sum(
            bool(truth)
            for one, truth in zip(solution.ids.tolist(), solution.truth, strict=True)
            if one in absent
        )
        notes.append(
            f"photos of the solution without a file: {len(missing):,}, of them {landmarks:,} with "
            f"a landmark; they count as without a prediction: {_some(missing)}"
        )
    if evaluation.failures:
        names = [failure.id for failure in evaluation.failures]
        notes.append(
            f"photos that cannot be read, and count as without a prediction: {len(names):,}: "
            f"{_some(names)}"
        )
    if evaluation.leaks:
        names = [leak.id for leak in evaluation.leaks]
        notes.append(
            "test photos that are in the gallery or among its distractors (the same id, file or "
            "picture), and count all the same, so that the figure says less of new photos: "
            f"{len(names):,}: {_some(names)}"
        )
    return notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
