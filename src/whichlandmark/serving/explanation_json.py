"""Why was it answered so: matched points beside references, as JSON that a page can draw."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.types import Match, Prediction
from ..gallery.records import Credit
from ..recognition.answer import MatchObject, answer_object, match_object, thumbnail_address
from ..recognition.explanation.drawing import Explanation, NearDistractor, Reference, ScorePart
from .live_recognizer import OpenRecognizer

LINES = 200  # of one pair, at most


def explanation_object(
    photo: str, told: Explanation, answer: Prediction, opened: OpenRecognizer
) -> dict[str, Any]:
    """What POST /v1/explain says. answer: what `told` explains."""
    facts = opened.facts
    shown = [reference.photo_id for reference in told.references]
    credits = facts.gallery.credits([*shown, *(pulled.photo_id for pulled in told.distractors)])
    high, wide = told.shape or (1, 1)
    return {
        "answer": answer_object(photo, answer, facts),
        "query": {"width": wide, "height": high},
        "pairs": [_pair(r, (high, wide), credits, opened) for r in told.references],
        "parts": [_part(part) for part in told.parts],
        "distractors": [_distractor(pulled, credits, opened) for pulled in told.distractors],
    }


def _pair(
    reference: Reference, frame: tuple[int, int], credits: dict[str, Credit], opened: OpenRecognizer
) -> dict[str, Any]:
    facts = opened.facts
    match = Match(reference.photo_id, reference.landmark, reference.similarity, reference.inliers)
    image = thumbnail_address(reference.photo_id) if facts.thumbnails else None
    in_query, in_gallery, shape = reference.query_points, reference.gallery_points, reference.shape
    drawn = in_query is not None and shape is not None
    lines: list[list[float]] = []
    if in_query is not None and in_gallery is not None and shape is not None:
        lines = np.concatenate([_shares(in_query, frame), _shares(in_gallery, shape)], axis=1)[
            :LINES
        ].tolist()
    high, wide = shape or (3, 4)
    return {
        "photo": match_object(match, credits, facts),
        "width": wide, "height": high, "image": image, "lines": lines,
        "inliers": reference.inliers or 0,
        "text": _words(reference, drawn),
    }  # fmt: skip


def _shares(points: NDArray[np.float32], frame: tuple[int, int]) -> NDArray[np.float64]:
    """(n, 2) pixel centres → shares of width and height, 0 to 1."""
    size = np.array([frame[1], frame[0]], dtype=np.float64)
    shares: NDArray[np.float64] = np.clip((points.astype(np.float64) + 0.5) / size, 0.0, 1.0)
    return shares.round(5)


def _words(reference: Reference, drawn: bool) -> str:
    if reference.inliers is None:
        return "This photo was not compared point by point."
    if reference.inliers == 0:
        return "No points of your photo lie where one view of this photo would have them."
    points = "1 point" if reference.inliers == 1 else f"{reference.inliers} points"
    lie = "lies" if reference.inliers == 1 else "lie"
    words = f"{points} of your photo {lie} where one view of this photo has them."
    return words if drawn else f"{words} Its file is gone, so they cannot be drawn."


def _part(part: ScorePart) -> dict[str, Any]:
    value = part.value if np.isfinite(part.value) else None
    adds = None if part.name in ("score", "confidence") else value
    return {"name": part.name, "value": value, "contribution": adds, "text": part.tells}


def _distractor(
    pulled: NearDistractor, credits: dict[str, Credit], opened: OpenRecognizer
) -> MatchObject:
    match = Match(pulled.photo_id, None, pulled.similarity)
    return match_object(match, credits, opened.facts)
