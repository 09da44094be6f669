"""Why did a recognizer answer so? Its answers to one photo → the evidence, for a page or a picture.

Nothing is searched or compared here: all of it is read off the `Answers`.
"""

from __future__ import annotations

import numpy as np

from ...core.errors import ImageError
from ...core.images import photo_size
from ...core.types import Prediction
from ..answer import answer_in_words
from ..candidates import FEATURES, GEOMETRY, with_geometry
from ..decision import Answers
from ..query import QueryPhoto
from ..recognizer import Recognizer, prediction
from .drawing import Explanation, NearDistractor, Reference, ScorePart

DISTRACTORS = 4

TELLS = {
    "similarity": "How like the nearest photo of it the query is (cosine {:.2f}).",
    "lead": "How far that lies before the nearest photo of any other landmark ({:+.2f}).",
    "company": "How like its three nearest photos on average ({:.2f}).",
    "centre": "How like the mean of all its photos ({:.2f}).",
    "votes": "How strongly the five nearest photos speak for it ({:.2f}).",
    "unwhitened": "How like the nearest photo before whitening ({:.2f}).",
    "bank": "How like photos without a landmark the query is ({:.2f}): pulls down.",
    "photo_bank": "How like photos without a landmark its nearest photo is ({:.2f}).",
    "photos": "How many photos of it the gallery holds (log {:.1f}).",
    "inliers": "Matched details that one view explains, beyond chance (log {:.1f}).",
    "inlier_lead": "Those beyond what any other landmark has (log {:+.1f}).",
    "inlier_company": "Those with all its compared photos together (log {:.1f}).",
}


def explain_answer(
    recognizer: Recognizer, answers: Answers, row: int, photo: QueryPhoto, *, name: str = ""
) -> Explanation:
    """Why one query was answered so. answers: with evidence; name: what the photo is called."""
    answer = prediction(answers, row)
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
    """What each piece of evidence adds to the log-odds; of a formula, what it is made of."""
    made, fitted = answers.candidates, answers.decider.fitted
    confidence = ScorePart("confidence", answer.confidence, "The score as a probability, fitted on "
                      "questions that the gallery asked itself.")  # fmt: skip
    if made is None or fitted.stacker is None:
        penalty = float(answers.found.penalty[row])
        return (
            ScorePart("score", answer.score, f"By the formula {answers.decider.rules.score}."),
            ScorePart("bank", -penalty, "Mean cosine to the distractors."),
            confidence,
        )
    code = answers.codes[row]
    at = int(np.flatnonzero(made.codes[row] == code)[0]) if code >= 0 else 0
    stacker, features = fitted.stacker, made.features
    names: tuple[str, ...] = FEATURES
    if fitted.geometric and answers.compared[row]:
        stacker, names = fitted.geometric, (*FEATURES, *GEOMETRY)
        features = with_geometry(made, answers.found, answers.inliers)
    added = stacker.parts(features[row : row + 1])[0, at]
    values = features[row, at]
    parts = [
        ScorePart(name.replace("_", " "), float(part), TELLS[name].format(float(value)))
        for name, part, value in zip(names, added, values, strict=True)
    ]
    parts.append(ScorePart("usual", stacker.offset, "Where a candidate of usual evidence starts."))
    if answers.location_weights is not None:
        weight = float(answers.location_weights[row, at])
        parts.append(ScorePart("location", weight, "How far from it the photo says it was taken."))
    return (*parts, ScorePart("score", answer.score, "The sum: log-odds."), confidence)


def _references(recognizer: Recognizer, answers: Answers, row: int) -> tuple[Reference, ...]:
    """The nearest photos, and those of the best two landmarks first where they were compared."""
    index, neighbours = answers.index, answers.found.neighbours
    references = []
    for place in answers.references(row):
        photo, match = int(neighbours.rows[row, place]), answers.verified[row].get(place)
        penalties = answers.photo_penalties
        references.append(
            Reference(
                photo_id=index.ids[photo],
                landmark=index.names[index.codes[photo]],
                path=index.paths[photo],
                similarity=float(neighbours.similarity[row, place]),
                penalty=None if penalties is None else float(penalties[row, place]),
                inliers=None if match is None else match.inliers,
                query_points=None if match is None else match.query_points,
                gallery_points=None if match is None else match.gallery_points,
                shape=None if match is None else _frame(index.paths[photo], recognizer.short_side),
            )
        )
    return tuple(references)


def _frame(path: str, short_side: int) -> tuple[int, int] | None:
    """Height and width that a gallery photo's keypoints were found at; None when it is gone."""
    try:
        return photo_size(path, short_side=short_side)
    except ImageError:
        return None


def _distractors(answers: Answers, row: int) -> tuple[NearDistractor, ...]:
    """The nearest of those that made the query's penalty."""
    index, near = answers.index, answers.found.distractors
    return tuple(
        NearDistractor(index.bank_ids[photo], index.bank_paths[photo], float(similarity))
        for photo, similarity in zip(
            near.rows[row, :DISTRACTORS], near.similarity[row, :DISTRACTORS], strict=True
        )
    )
