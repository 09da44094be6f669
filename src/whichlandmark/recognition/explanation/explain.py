"""Explain an answer: `Answers` of one photo → its evidence, for a page or a picture.

Everything is read from the `Answers`; nothing is searched or compared again.
"""

from __future__ import annotations

import numpy as np

from ...core.errors import ImageError
from ...core.images import photo_size
from ...core.types import Prediction
from ..answer import answer_in_words
from ..candidates import add_geometry, columns
from ..decision import Answers
from ..predictions import prediction
from ..query import QueryPhoto
from ..recognizer import Recognizer
from .drawing import Explanation, NearDistractor, Reference, ScorePart

DISTRACTORS = 4  # nearest distractors shown

FEATURE_SENTENCES = {
    "similarity": "Similarity to its nearest photo (cosine {:.2f}).",
    "lead": "Lead over the nearest photo of any other landmark ({:+.2f}).",
    "company": "Mean similarity to its three nearest photos ({:.2f}).",
    "centre": "Similarity to the mean of all its photos ({:.2f}).",
    "votes": "Votes of the five nearest photos for it ({:.2f}).",
    "unwhitened": "Similarity to its nearest photo before whitening ({:.2f}).",
    "bank": "Similarity of the query to photos without a landmark ({:.2f}); lowers the score.",
    "photo_bank": "Similarity of its nearest photo to photos without a landmark ({:.2f}).",
    "photos": "Number of its photos in the gallery (log {:.1f}).",
    "place": "Less like a building or another place than its nearest photo, by ({:.1f}).",
    "inliers": "Matched points that agree, beyond chance, with one of its photos (log {:.1f}).",
    "inlier_lead": "Lead of these over any other landmark (log {:+.1f}).",
    "inlier_company": "Matched points that agree, beyond chance, with all its photos (log {:.1f}).",
}


def explain_answer(
    recognizer: Recognizer, answers: Answers, row: int, photo: QueryPhoto, *, name: str = ""
) -> Explanation:
    """The evidence of one answer.

    Args:
        recognizer: The recognizer that answered.
        answers: Made with `evidence=True`.
        row: Which query.
        photo: That query.
        name: Name of the photo.
    """
    answer = prediction(answers, row)
    assert answer.decision != "failed"
    height, width = photo.image.shape[:2]
    box = answer.landmarks[0].box if answer.landmarks else None
    return Explanation(
        photo=photo.image,
        name=name,
        decision=answer.decision,
        words=answer_in_words(answer, recognizer.titles()),
        confidence=answer.confidence,
        guess=answer.guess,
        second=answer.second,
        parts=_parts(answers, row, answer),
        references=_references(recognizer, answers, row),
        distractors=_distractors(answers, row),
        box=(box[0] * width, box[1] * height, box[2] * width, box[3] * height) if box else None,
        shape=(height, width),
    )


def _parts(answers: Answers, row: int, answer: Prediction) -> tuple[ScorePart, ...]:
    """What each feature adds to the log-odds; for a formula, the parts of the formula."""
    candidates, fitted = answers.candidates, answers.decider.fitted
    confidence = ScorePart(
        "confidence",
        answer.confidence,
        "The score as a probability, by a default calibration fitted on other galleries."
        if fitted.note
        else "The score as a probability, calibrated on leave-one-out queries from the gallery.",
    )
    if candidates is None or fitted.stacker is None:
        penalty = float(answers.found.penalty[row])
        return (
            ScorePart("score", answer.score, f"By the formula {answers.decider.rules.score}."),
            ScorePart("bank", -penalty, "Mean cosine to the distractors."),
            confidence,
        )
    code = answers.codes[row]
    at = int(np.flatnonzero(candidates.codes[row] == code)[0]) if code >= 0 else 0
    stacker, features = fitted.stacker, candidates.features
    if fitted.geometric_stacker and answers.geometry_used[row]:
        stacker = fitted.geometric_stacker
        features = add_geometry(candidates, answers.found, answers.inliers)
    features = columns(features, stacker.names)
    added = stacker.contributions(features[row : row + 1])[0, at]
    values = features[row, at]
    parts = [
        ScorePart(name.replace("_", " "), float(part), FEATURE_SENTENCES[name].format(float(value)))
        for name, part, value in zip(stacker.names, added, values, strict=True)
    ]
    parts.append(
        ScorePart("usual", stacker.offset, "Log-odds of a candidate with average features.")
    )
    if answers.location_weights is not None:
        weight = float(answers.location_weights[row, at])
        parts.append(ScorePart("location", weight, "Distance from where the photo was taken."))
    return (*parts, ScorePart("score", answer.score, "The sum: log-odds."), confidence)


def _references(recognizer: Recognizer, answers: Answers, row: int) -> tuple[Reference, ...]:
    """The gallery photos that were compared, else the nearest ones."""
    index, neighbours = answers.index, answers.found.neighbours
    references = []
    for rank in answers.references(row):
        photo, match = int(neighbours.rows[row, rank]), answers.verified[row].get(rank)
        penalties = answers.photo_penalties
        references.append(
            Reference(
                photo_id=index.ids[photo],
                landmark=index.names[index.codes[photo]],
                path=index.paths[photo],
                similarity=float(neighbours.similarity[row, rank]),
                penalty=None if penalties is None else float(penalties[row, rank]),
                inliers=None if match is None else match.inliers,
                query_points=None if match is None else match.query_points,
                gallery_points=None if match is None else match.gallery_points,
                shape=None if match is None else _frame(index.paths[photo], recognizer.short_side),
            )
        )
    return tuple(references)


def _frame(path: str, short_side: int) -> tuple[int, int] | None:
    """Height and width that a gallery photo was decoded at; None when its file is missing."""
    try:
        return photo_size(path, short_side=short_side)
    except ImageError:
        return None


def _distractors(answers: Answers, row: int) -> tuple[NearDistractor, ...]:
    """The nearest of the distractors in the query's penalty."""
    index, near = answers.index, answers.found.distractors
    return tuple(
        NearDistractor(
            index.distractor_ids[photo], index.distractor_paths[photo], float(similarity)
        )
        for photo, similarity in zip(
            near.rows[row, :DISTRACTORS], near.similarity[row, :DISTRACTORS], strict=True
        )
    )
