"""Explanation → JSON object: reasons, pairs of photos with matched points, parts of the score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.types import Match, Prediction
from ..gallery.records import Credit
from ..recognition.answer import answer_object, match_object, preview_address, thumbnail_address
from ..recognition.candidates import CHANCE_INLIERS
from ..recognition.explanation.drawing import Explanation, Reference, ScorePart
from .live_recognizer import OpenRecognizer

MAX_LINES = 200  # matched points of one pair


def explanation_object(
    photo: str,
    explanation: Explanation,
    answer: Prediction,
    opened: OpenRecognizer,
    *,
    language: str = "",
) -> dict[str, Any]:
    """The body of POST /v1/explain.

    photo: its name; answer: the prediction that is explained; language: of the names.
    """
    facts = opened.facts
    credits = explanation.credits
    high, wide = explanation.shape or (1, 1)
    return {
        "answer": answer_object(photo, answer, facts, language=language),
        "title": explanation.title,
        "words": explanation.why,
        "reasons": {**asdict(explanation.reasons), "chance": CHANCE_INLIERS},
        "query": {"width": wide, "height": high},
        "pairs": [_pair(r, (high, wide), credits, opened) for r in explanation.references],
        "parts": [_part(part) for part in explanation.parts],
        "distractors": [
            match_object(Match(near.photo_id, None, near.similarity), credits, facts)
            for near in explanation.distractors
        ],
    }


def _pair(
    reference: Reference,
    frame: tuple[int, int],
    credits: Mapping[str, Credit],
    opened: OpenRecognizer,
) -> dict[str, Any]:
    facts = opened.facts
    match = Match(reference.photo_id, reference.landmark, reference.similarity, reference.inliers)
    in_query, in_gallery, shape = reference.query_points, reference.gallery_points, reference.shape
    lines: list[list[float]] = []
    if reference.above_chance and in_query is not None and in_gallery is not None and shape:
        lines = np.concatenate(
            [_normalized(in_query, frame), _normalized(in_gallery, shape)], axis=1
        )[:MAX_LINES].tolist()
    high, wide = shape or (3, 4)
    return {
        "photo": match_object(match, credits, facts),
        "width": wide, "height": high,
        "image": thumbnail_address(reference.photo_id) if facts.thumbnails else None,
        "preview": preview_address(reference.photo_id),
        "lines": lines, "inliers": reference.inliers or 0,
        "above_chance": reference.above_chance, "alike": reference.alike,
        "text": _match_text(reference, bool(lines)),
    }  # fmt: skip


def _normalized(points: NDArray[np.float32], frame: tuple[int, int]) -> NDArray[np.float64]:
    """(n, 2) pixel coordinates → shares of width and height, 0 to 1. frame: height and width."""
    size = np.array([frame[1], frame[0]], dtype=np.float64)
    shares: NDArray[np.float64] = np.clip((points.astype(np.float64) + 0.5) / size, 0.0, 1.0)
    return shares.round(5)


def _match_text(reference: Reference, drawn: bool) -> str:
    if reference.inliers is None:
        return "This photo was not compared point by point."
    if reference.inliers == 0:
        return "No points of your photo match this photo consistently."
    points = "1 point" if reference.inliers == 1 else f"{reference.inliers} points"
    match = "matches" if reference.inliers == 1 else "match"
    text = f"{points} of your photo {match} this photo, consistent with one change of viewpoint"
    if not reference.above_chance:
        return f"{text}, as many as by chance."
    return f"{text}." if drawn else f"{text}. They cannot be drawn because its file is missing."


def _part(part: ScorePart) -> dict[str, Any]:
    value = part.value if np.isfinite(part.value) else None
    contribution = None if part.name in ("score", "confidence") else value
    return {
        "name": part.name,
        "value": value,
        "measured": part.measured,
        "contribution": contribution,
        "text": part.description,
    }
