"""Detections: where the verified landmark is in a photo, and which other landmarks are in it."""

from __future__ import annotations

import numpy as np

from ..core.types import Detection
from ..features.local.matching import Box, box_around, separate_boxes
from .decision import Answers, Decider

MIN_INLIERS_SECOND_LANDMARK = 15  # inliers from which another landmark is reported too


def detect_landmarks(
    decider: Decider, answers: Answers, row: int, shape: tuple[int, ...] | None
) -> tuple[Detection, ...]:
    """The answered landmark first, then others that were verified in other parts of the photo.

    shape: (height, width) of the compared pixels; None = nothing was compared, so no boxes.
    """
    names, verified = decider.index.names, answers.verified[row] if answers.verified else {}
    answered, confidence = int(answers.codes[row]), float(answers.confidence[row])
    if shape is None or not verified:
        return (Detection(names[answered], confidence),)
    codes = answers.found.codes[row]

    def most_inliers(code: int) -> int:
        return max(match.inliers for rank, match in verified.items() if codes[rank] == code)

    others = {int(codes[rank]) for rank in verified} - {answered}
    strong = [code for code in others if most_inliers(code) >= MIN_INLIERS_SECOND_LANDMARK]
    strong.sort(key=lambda code: (-most_inliers(code), code))
    frame = (int(shape[0]), int(shape[1]))
    named = [answered, *strong]
    boxes = [
        box_around([m.query_points for rank, m in verified.items() if codes[rank] == code], frame)
        for code in named
    ]
    # The answer is kept whatever its inliers; the boxes of the others must not overlap it.
    priorities = [float("inf"), *map(float, map(most_inliers, strong))]
    kept = [i for i in separate_boxes(boxes, priorities) if i == 0 or boxes[i] is not None]
    return tuple(
        Detection(
            names[named[i]],
            confidence if i == 0 else _own_confidence(decider, answers, row, named[i]),
            _relative(boxes[i], frame),
        )
        for i in kept
    )


def _relative(box: Box | None, frame: tuple[int, int]) -> Box | None:
    """A box in pixels → in shares of the photo's width and height."""
    if box is None:
        return None
    height, width = frame
    left, top, right, bottom = box
    return (left / width, top / height, right / width, bottom / height)


def _own_confidence(decider: Decider, answers: Answers, row: int, code: int) -> float:
    """Confidence of a landmark that is not the answer, from its own log-odds as a candidate."""
    candidates = answers.candidates
    if candidates is None or answers.logits is None or code not in candidates.codes[row]:
        return 0.0
    at = int(np.flatnonzero(candidates.codes[row] == code)[0])
    return float(decider.confidence(answers.logits[row, at : at + 1])[0])
