"""Predictions as JSON in the state of a library, and what tells that they are still right."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import numpy as np

from ..core.json_options import to_json
from ..core.prediction import Detection, Match, Prediction
from ..recognition.recognizer import Recognizer

ANSWERS_VERSION = 1  # incremented when the same recognizer answers otherwise than before


def answer_keys(recognizer: Recognizer) -> tuple[str, str]:
    """Digests of what the vector of a photo depends on, and of what its answer does."""
    with_location = recognizer.rules.location_km is not None
    by = [recognizer.embedder.id, recognizer.short_side, with_location]
    state, fitted = recognizer.gallery.state(), recognizer.fitted
    stackers = [to_json(one) for one in (fitted.stacker, fitted.geometric_stacker) if one]
    whitening = hashlib.sha256()
    if fitted.projection is not None:
        for name, values in sorted(fitted.projection.to_arrays().items()):
            whitening.update(name.encode() + np.ascontiguousarray(values).tobytes())
    depends = [
        ANSWERS_VERSION, *by, state.photos, state.photo_digest, to_json(recognizer.rules),
        stackers, to_json(fitted.calibration), fitted.own_queries, whitening.hexdigest(),
        state.landmark_digest if with_location else 0, recognizer.features,
    ]  # fmt: skip
    return _digest(by), _digest(depends)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]


def stored_prediction(prediction: Prediction) -> dict[str, Any]:
    """A prediction as JSON, without what the gallery's records say."""
    if prediction.decision == "failed":
        return {"decision": "failed", "error": prediction.error}
    score = prediction.score if math.isfinite(prediction.score) else None
    return {
        "decision": prediction.decision, "confidence": prediction.confidence, "score": score,
        "guess": prediction.guess, "second": prediction.second,
        "matches": [[m.photo_id, m.landmark, m.similarity, m.inliers] for m in prediction.matches],
        "landmarks": [[d.landmark, d.confidence, d.box] for d in prediction.landmarks],
        "candidates": prediction.candidates, "warnings": prediction.warnings,
    }  # fmt: skip


def prediction_of(stored: dict[str, Any], photo: str) -> Prediction:
    """The inverse of `stored_prediction`."""
    decision = stored["decision"]
    if decision == "failed":
        return Prediction.of_failed(photo, str(stored["error"]))
    score, guess = stored["score"], stored["guess"]
    return Prediction(
        landmark=guess if decision == "landmark" else None, decision=decision,
        confidence=float(stored["confidence"]), score=-math.inf if score is None else float(score),
        guess=guess, second=stored["second"], photo=photo,
        matches=tuple(Match(*match) for match in stored["matches"]),
        landmarks=tuple(
            Detection(name, confidence, tuple(box) if box else None)
            for name, confidence, box in stored["landmarks"]
        ),
        warnings=tuple(stored["warnings"]),
        candidates=tuple((name, confidence) for name, confidence in stored["candidates"]),
    )  # fmt: skip
