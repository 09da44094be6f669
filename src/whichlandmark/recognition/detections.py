"""Where in a photo its landmark stands, and which other landmarks stand beside it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..core.types import Detection
from ..features.local.matching import Box, VerifiedMatch, box_around, several
from .decision import Answers, Decider

MIN_INLIERS_SECOND_LANDMARK = 15  # inliers from which another landmark is named too


def detect_landmarks(
    decider: Decider, answers: Answers, row: int, shape: tuple[int, ...] | None
) -> tuple[Detection, ...]:
    """The answer, with its box where it was verified; then others verified beside it.

    shape: (height, width) of the pixels that were compared; None = nothing was compared.
    """
    names, verified = decider.index.names, answers.verified[row] if answers.verified else {}
    code = int(answers.codes[row])
    sure = float(answers.confidence[row])
    if shape is None or not verified:
        return (Detection(names[code], sure),)
    codes = answers.found.codes[row]
    others = sorted({int(codes[place]) for place in verified} - {code})
    strong = [c for c in others if _most(verified, codes, c) >= MIN_INLIERS_SECOND_LANDMARK]
    named = [code, *sorted(strong, key=lambda c: (-_most(verified, codes, c), c))]
    frame = (int(shape[0]), int(shape[1]))
    boxes = [_box(verified, codes, c, frame) for c in named]
    # The answer comes first whatever its inliers; the others must stand apart from it.
    ranks = [float("inf"), *(float(_most(verified, codes, c)) for c in named[1:])]
    kept = [i for i in several(boxes, ranks) if i == 0 or boxes[i] is not None]
    return tuple(
        Detection(names[named[i]], sure if i == 0 else _sure(decider, answers, row, named[i]),
             _shares(boxes[i], frame))
        for i in kept
    )  # fmt: skip


def _most(verified: Mapping[int, VerifiedMatch], codes: np.ndarray, code: int) -> int:
    return max((v.inliers for place, v in verified.items() if codes[place] == code), default=0)


def _box(
    verified: Mapping[int, VerifiedMatch], codes: np.ndarray, code: int, frame: tuple[int, int]
) -> Box | None:
    return box_around(
        [v.query_points for place, v in verified.items() if codes[place] == code], frame
    )


def _shares(box: Box | None, frame: tuple[int, int]) -> Box | None:
    if box is None:
        return None
    height, width = frame
    left, top, right, bottom = box
    return (left / width, top / height, right / width, bottom / height)


def _sure(decider: Decider, answers: Answers, row: int, code: int) -> float:
    """Confidence of another landmark, by its own evidence."""
    made = answers.candidates
    if made is None or answers.logits is None or code not in made.codes[row]:
        return 0.0
    place = int(np.flatnonzero(made.codes[row] == code)[0])
    return float(decider.fitted.calibration.confidence(answers.logits[row, place : place + 1])[0])
