"""Answers → predictions: each with its nearest photos, candidates, and landmarks in boxes."""

from __future__ import annotations

import numpy as np

from ..core.prediction import Detection, Match, Prediction
from ..features.local.matching import Box, box_around, separate_boxes
from .decision import Answers, Decider

MATCHES = 5  # nearest photos in a prediction

MIN_INLIERS_SECOND_LANDMARK = 15  # inliers from which another landmark is reported too


def predictions(answers: Answers, *, matches: int = MATCHES) -> list[Prediction]:
    """The prediction of each query. matches: nearest photos to list in each."""
    return [prediction(answers, row, matches=matches) for row in range(len(answers.codes))]


def prediction(answers: Answers, row: int, *, matches: int = MATCHES) -> Prediction:
    """The prediction of one query. matches: nearest photos to list."""
    names, code, second = answers.index.names, answers.codes[row], answers.second_codes[row]
    guess = names[code] if code >= 0 else None
    confidence, score = float(answers.confidence[row]), float(answers.scores[row])
    decision = answers.decider.decide(confidence, score) if code >= 0 else "no_landmark"
    landmarks: tuple[Detection, ...] = ()
    if decision == "landmark":
        shape = answers.shapes[row] if answers.shapes is not None else None
        landmarks = detect_landmarks(answers.decider, answers, row, shape)
    return Prediction(
        landmark=guess if decision == "landmark" else None,
        decision=decision,
        confidence=confidence,
        score=score,
        guess=guess,
        matches=_matches(answers, row, matches),
        second=names[second] if second >= 0 else None,
        landmarks=landmarks,
        warnings=(answers.nothing[row],) if row in answers.nothing else (),
        candidates=_candidates(answers, row),
    )


def _candidates(answers: Answers, row: int) -> tuple[tuple[str, float], ...]:
    """The candidate landmarks, each with the probability that it is right, the likeliest first.

    Each is calibrated by its own log-odds; those after the first share at most what it leaves.
    """
    if answers.candidates is None or answers.logits is None or answers.codes[row] < 0:
        return ()
    codes, logits = answers.candidates.codes[row], answers.logits[row]
    order = [i for i in np.argsort(-logits, kind="stable") if codes[i] >= 0]
    first, *others = answers.decider.confidence(logits[order]).tolist()
    scale = min(1.0, (1.0 - first) / sum(others)) if sum(others) > 0 else 1.0
    return tuple(
        (answers.index.names[codes[i]], confidence)
        for i, confidence in zip(order, (first, *(scale * c for c in others)), strict=True)
    )


def _matches(answers: Answers, row: int, most: int) -> tuple[Match, ...]:
    index, found = answers.index, answers.found.neighbours
    ranks = np.flatnonzero(found.rows[row] >= 0)[:most]
    inliers = answers.inliers[row]
    return tuple(
        Match(
            index.ids[found.rows[row, i]],
            index.names[answers.found.codes[row, i]],
            float(found.similarity[row, i]),
            int(inliers[i]) if inliers[i] >= 0 else None,
        )
        for i in ranks
    )


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
