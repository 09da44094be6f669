"""Why did a recognizer answer so? Its evidence for one photo, for a page or a picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from .candidates import FEATURES, GEOMETRY, with_geometry
from .deciding import Answers
from .errors import ImageError
from .explanation import Explanation, Part, Pulled, Reference, write_explanation
from .images import read_image
from .recognition import Recognizer
from .search import nearest
from .types import Image, Prediction, Vectors
from .words import answer_in_words

REFERENCES, DISTRACTORS = 5, 4
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


def write_why(recognizer: Recognizer, photo: Path, out: Path) -> None:
    """Answer a photo and write why: .html or .png. Raises ImageError, or OptionError for `out`."""
    write_explanation(explain(recognizer, photo), out)


def explain(recognizer: Recognizer, photo: Path) -> Explanation:
    """The answer to one photo, with everything it rests on."""
    recognizer.check_segments()  # the evidence reads more of them than the answer does
    image = recognizer.decode(photo)
    place = recognizer.places.of_photo(photo) if recognizer.rules.location_km else None
    vectors = recognizer.embedder([image])
    answer = recognizer.predict(vectors, images=[image], places=[place], evidence=True)[0]
    told = explain_pixels(recognizer, image, vectors, answer, place=place)
    return replace(told, photo=str(photo), name=photo.name)


def explain_pixels(
    recognizer: Recognizer,
    image: Image,
    vectors: Vectors,
    answer: Prediction,
    *,
    place: tuple[float, float] | None = None,
) -> Explanation:
    """The same for a photo that is decoded, embedded, (1, D), and answered with evidence.

    It has neither bytes nor a name then.
    """
    answers = recognizer.answer(vectors, images=[image], places=[place], evidence=True)
    height, width = image.shape[:2]
    box = answer.landmarks[0].box if answer.landmarks else None
    return Explanation(
        photo=b"",
        name="",
        decision=answer.decision,
        words=answer_in_words(answer, recognizer.titles()),
        confidence=answer.confidence,
        guess=answer.guess,
        second=answer.second,
        parts=_parts(recognizer, answers, answer),
        references=_references(recognizer, answers),
        distractors=_distractors(recognizer, answers),
        box=(box[0] * width, box[1] * height, box[2] * width, box[3] * height) if box else None,
        shape=(height, width),
    )


def _parts(recognizer: Recognizer, answers: Answers, answer: Prediction) -> tuple[Part, ...]:
    """What each piece of evidence adds to the log-odds; of a formula, what it is made of."""
    made, fitted = answers.candidates, recognizer.fitted
    sure = Part("confidence", answer.confidence, "The score as a probability, fitted on questions "
                "that the gallery asked itself.")  # fmt: skip
    if made is None or fitted.stacker is None:
        bank = Part("bank", -float(answers.found.penalty[0]), "Mean cosine to the distractors.")
        return (
            Part("score", answer.score, f"By the formula {recognizer.rules.score}."),
            bank,
            sure,
        )
    at = int(np.flatnonzero(made.codes[0] == answers.codes[0])[0]) if answers.codes[0] >= 0 else 0
    stacker, features = fitted.stacker, made.features
    names: tuple[str, ...] = FEATURES
    if fitted.geometric and answers.compared[0]:
        stacker, names = fitted.geometric, (*FEATURES, *GEOMETRY)
        features = with_geometry(made, answers.found, answers.inliers)
    added = stacker.parts(features)[0, at]
    values = features[0, at]
    parts = [
        Part(name.replace("_", " "), float(part), TELLS[name].format(float(value)))
        for name, part, value in zip(names, added, values, strict=True)
    ]
    usual = Part("usual", stacker.offset, "Where a candidate of usual evidence starts.")
    return (*parts, usual, Part("score", answer.score, "The sum: log-odds."), sure)


def _references(recognizer: Recognizer, answers: Answers) -> tuple[Reference, ...]:
    """The nearest photos, and those of the best two landmarks first where they were compared."""
    found, verified = answers.found, answers.verified[0]
    rows = found.neighbours.rows[0]
    places = sorted(verified) or [int(p) for p in np.flatnonzero(rows >= 0)]
    index = recognizer.index
    references = []
    for place in places[:REFERENCES]:
        row, match = int(rows[place]), verified.get(place)
        references.append(
            Reference(
                photo_id=index.ids[row],
                landmark=index.names[index.codes[row]],
                path=index.paths[row],
                similarity=float(found.neighbours.similarity[0, place]),
                penalty=float(recognizer.decider.scorer.gallery_likeness(np.array([row]))[0]),
                inliers=None if match is None else match.inliers,
                here=None if match is None else match.here,
                there=None if match is None else match.there,
                shape=_frame(recognizer, index.paths[row]) if match is not None else None,
            )
        )
    return tuple(references)


def _frame(recognizer: Recognizer, path: str) -> tuple[int, int] | None:
    """Height and width that a gallery photo's keypoints were found at; None when it is gone."""
    try:
        image = read_image(path, short_side=recognizer.short_side)
    except ImageError:
        return None
    return image.shape[0], image.shape[1]


def _distractors(recognizer: Recognizer, answers: Answers) -> tuple[Pulled, ...]:
    scorer, index = recognizer.decider.scorer, recognizer.index
    near = nearest(answers.found.queries, scorer.bank, DISTRACTORS)
    return tuple(
        Pulled(index.bank_ids[row], index.bank_paths[row], float(similarity))
        for row, similarity in zip(near.rows[0], near.similarity[0], strict=True)
    )
