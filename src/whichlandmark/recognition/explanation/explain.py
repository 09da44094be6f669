"""Explain an answer: `Answers` of one photo → its evidence and the sentences that tell it.

Nothing is searched again. Photos are compared only where the answer compared no photo of a landmark
that is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from ...core.errors import ImageError
from ...core.images import header_size, photo_size
from ...core.types import Prediction
from ...features.local.keypoints import MAX_ENLARGEMENT
from ...features.local.matching import VerifiedMatch
from ..answer import CANDIDATE_MATCHES, answer_in_words, candidate_names, shown_name
from ..candidates import CHANCE_INLIERS, add_geometry, columns
from ..decision import Answers
from ..predictions import prediction
from ..query import QueryPhoto
from ..recognizer import Recognizer
from ..spatial_verification import MATCHING, agreement_by_rank
from .drawing import (
    Contrast,
    Explanation,
    NearDistractor,
    Nothing,
    Reasons,
    Reference,
    ScorePart,
)
from .sentences import PHOTOS_OF_GUESS, why_sentences, why_title

DISTRACTORS = 4  # nearest distractors shown

# Shares of the way from unrelated photos to the nearest photo of the guess: where the nearest photo
# of any other landmark is below the first, it is far less like the query; below the second, less.
FAR_SHARE, LESS_SHARE = 0.5, 0.85

HARDLY = 0.05  # confidence below which the guess is not worth a word, where distractors are nearer

NOTHING_PARTS: dict[str, Nothing] = {
    "its short side": "small", "one even color": "even", "even areas": "plain",
}  # fmt: skip  # parts of the texts of `nothing_to_compare`

FEATURE_SENTENCES = {
    "similarity": "Similarity to its nearest photo (cosine {:.2f}).",
    "lead": "Lead over the nearest photo of any other landmark ({:+.2f}).",
    "company": "Mean similarity to its three nearest photos ({:.2f}).",
    "centre": "Similarity to the mean of all its photos ({:.2f}).",
    "votes": "Votes of the five nearest photos for it ({:.2f}).",
    "unwhitened": "Similarity to its nearest photo before whitening ({:.2f}).",
    "bank": "Similarity of the query to photos without a landmark ({:.2f}); lowers the score.",
    "photo_bank": "Similarity of its nearest photo to photos without a landmark ({:.2f}).",
    "photos": "Number of its photos in the gallery ({:.0f}), as a logarithm.",
    "place": "Less like a building or another place than its nearest photo, by ({:.1f}).",
    "inliers": "Details that agree with one of its photos, beyond chance ({:.0f}), as a logarithm.",
    "inlier_lead": "Lead of these over any other landmark (logarithm {:+.1f}).",
    "inlier_company": "The same with all its photos together ({:.0f}), as a logarithm.",
    "agreement": "Weight of the details that fit one change of place and size ({:.1f}), as a "
    "logarithm.",
    "agreement_lead": "Lead of this weight over any other landmark (logarithm {:+.1f}).",
    "agreement_company": "The same weight with all its photos together ({:.1f}), as a logarithm.",
}

# log(1 + count)
COUNTED_FEATURES = {"photos", "inliers", "inlier_company", "agreement", "agreement_company"}


@dataclass(frozen=True, eq=False)
class _Shown:
    """A gallery photo of the explanation: row of the index, cosine to the query, its matches."""

    row: int
    similarity: float
    match: VerifiedMatch | None

    @property
    def above_chance(self) -> int:
        """Inliers beyond those of unrelated photos."""
        return max(0, self.match.inliers - CHANCE_INLIERS) if self.match else 0


def explain_answer(
    recognizer: Recognizer,
    answers: Answers,
    row: int,
    photo: QueryPhoto,
    *,
    name: str = "",
    language: str = "",
) -> Explanation:
    """The evidence of one answer.

    Args:
        recognizer: The recognizer that answered.
        answers: Made with `evidence=True`.
        row: Which query.
        photo: That query.
        name: Name of the photo.
        language: BCP 47 tag of the landmarks' names in its sentences; "" = each record's title.
    """
    answer = prediction(answers, row, matches=CANDIDATE_MATCHES)
    assert answer.decision != "failed"
    height, width = photo.image.shape[:2]
    box = answer.landmarks[0].box if answer.landmarks else None
    shown = _shown(answers, row, answer)
    reasons, alike_from = _reasons(answers, row, answer, shown)
    told = {one for one in (answer.guess, answer.second, reasons.other) if one}
    titles = {one: shown_name(one, recognizer.records, language) for one in told}
    references = _references(recognizer, answers, shown, answer.guess, alike_from)
    distractors = () if row in answers.nothing else _distractors(answers, row)
    ids = [one.photo_id for one in references] + [one.photo_id for one in distractors]
    return Explanation(
        photo=photo.image,
        name=name,
        decision=answer.decision,
        words=answer_in_words(answer, titles),
        confidence=answer.confidence,
        guess=answer.guess,
        second=answer.second,
        title=why_title(answer, titles),
        why=why_sentences(answer, reasons, titles),
        reasons=reasons,
        parts=_parts(answers, row, answer),
        references=references,
        distractors=distractors,
        credits=recognizer.gallery.credits(ids),
        box=(box[0] * width, box[1] * height, box[2] * width, box[3] * height) if box else None,
        shape=(height, width),
    )


def _shown(answers: Answers, row: int, answer: Prediction) -> dict[str, list[_Shown]]:
    """Candidate → its photos that are shown, the strongest evidence first; none without any."""
    if row in answers.nothing:
        return {}
    found = {name: _photos_of(answers, row, name, name == answer.guess)
             for name in candidate_names(answer)}  # fmt: skip
    todo = [one.row for photos in found.values() for one in photos if one.match is None]
    verifier, keypoints_of = answers.decider.verifier, answers.keypoints_of
    query = keypoints_of(row) if todo and verifier and keypoints_of else None
    if query is not None and verifier is not None:
        matches = verifier.verify(query, [answers.index.ids[photo] for photo in todo])
        compared = dict(zip(todo, matches, strict=True))
        found = {
            name: [one if one.match else _Shown(one.row, one.similarity, compared[one.row])
                   for one in photos]
            for name, photos in found.items()
        }  # fmt: skip
    return {name: sorted(photos, key=_strength) for name, photos in found.items()}


def _strength(photo: _Shown) -> tuple[int, float]:
    """Sort key: most inliers beyond chance first, then the most similar."""
    return (-photo.above_chance, -photo.similarity)


def _photos_of(answers: Answers, row: int, name: str, guess: bool) -> list[_Shown]:
    """The photos of a candidate to show: those compared with success, then the nearest."""
    index, found = answers.index, answers.found
    code = int(np.searchsorted(index.names.astype(str), name))
    ranks = np.flatnonzero(found.codes[row] == code).tolist()
    photos = [
        _Shown(
            int(found.neighbours.rows[row, rank]),
            float(found.neighbours.similarity[row, rank]),
            answers.verified[row].get(rank),
        )
        for rank in ranks
    ]
    if not photos:  # a formula may name a landmark that is not among the neighbours
        rows = np.flatnonzero(np.asarray(index.codes) == code)[:CANDIDATE_MATCHES]
        cosines = answers.decider.retriever.cosines(found.queries[row : row + 1], rows[None])[0]
        photos = [_Shown(*pair, None) for pair in zip(rows.tolist(), cosines.tolist(), strict=True)]
    return sorted(photos, key=_strength)[: PHOTOS_OF_GUESS if guess else 1]


def _reasons(
    answers: Answers, row: int, answer: Prediction, shown: Mapping[str, Sequence[_Shown]]
) -> tuple[Reasons, float | None]:
    """What the sentences say; and the cosine from which a photo of the guess is alike, None = none.

    Alike are photos of the guess nearer to its nearest one than to that of any other landmark, and
    those with inliers beyond chance.
    """
    if row in answers.nothing:
        text = answers.nothing[row]
        code = next(code for part, code in NOTHING_PARTS.items() if part in text)
        return Reasons(nothing=code), None
    if answer.guess is None:
        return Reasons(), None
    cosines, codes = answers.found.neighbours.similarity[row], answers.found.codes[row]
    names, mine = answers.index.names, shown[answer.guess]
    own = codes == answers.codes[row]
    others = np.flatnonzero((codes >= 0) & ~own)
    best = max([*cosines[own].tolist(), *(one.similarity for one in mine)], default=-1.0)
    unrelated = float(answers.found.penalty[row]) if len(answers.index.distractor_ids) else None
    nearest, contrast = None, None
    following = unrelated or 0.0  # in a gallery of one landmark
    if len(others):
        nearest = int(others[cosines[others].argmax()])
        following = float(cosines[nearest])
    elif len(names) > 1:  # other landmarks are farther than the last neighbour
        following = float(cosines[codes >= 0].min(initial=best))
    if len(names) > 1:
        contrast = _contrast(best, following, unrelated)
    alike_from = (best + following) / 2 if best > following else np.inf
    proven = answers.inliers[row] > CHANCE_INLIERS
    told = answer.decision != "no_landmark"
    alike = int((own & ((cosines >= alike_from) | proven)).sum()) if told else 0
    nearest_landmark = float(cosines.max(initial=-1.0))
    rest = [one for name, photos in shown.items() if name != answer.guess for one in photos]
    reasons = Reasons(
        alike=alike,
        similarity=best,
        lead=best - following if contrast else None,
        contrast=contrast,
        other=None if nearest is None else names[codes[nearest]],
        details=_most_inliers(mine),
        other_details=_most_inliers(rest),
        unlike=answer.confidence < HARDLY
        and float(answers.found.distractors.similarity[row].max(initial=-1.0)) > nearest_landmark,
    )
    return reasons, alike_from if told else None


def _contrast(best: float, following: float, unrelated: float | None) -> Contrast:
    """unrelated: cosine that photos without a landmark reach; None = the gallery has none."""
    if following >= best:
        return "behind"
    if unrelated is None or unrelated >= best:
        return "less" if following < LESS_SHARE * best else "close"
    share = (following - unrelated) / (best - unrelated)
    if share < FAR_SHARE:
        return "far"
    return "less" if share < LESS_SHARE else "close"


def _most_inliers(photos: Sequence[_Shown]) -> int | None:
    return max((one.match.inliers for one in photos if one.match), default=None)


def _parts(answers: Answers, row: int, answer: Prediction) -> tuple[ScorePart, ...]:
    """What each feature adds to the log-odds; for a formula, the parts of the formula.

    None of a photo without a candidate, or with nothing in it to compare.
    """
    if answers.codes[row] < 0:
        return ()
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
            ScorePart("bank", -penalty, "Mean cosine to the distractors.", penalty),
            confidence,
        )
    at = int(np.flatnonzero(candidates.codes[row] == answers.codes[row])[0])
    stacker, features = fitted.stacker, candidates.features
    if fitted.geometric_stacker and answers.geometry_used[row]:
        stacker = fitted.geometric_stacker
        agreement = agreement_by_rank(answers.verified, answers.found.codes.shape[1])
        features = add_geometry(candidates, answers.found, answers.inliers, agreement)
    features = columns(features, stacker.names)
    added = stacker.contributions(features[row : row + 1])[0, at]
    values = [
        float(np.expm1(value)) if name in COUNTED_FEATURES else float(value)
        for name, value in zip(stacker.names, features[row, at], strict=True)
    ]
    parts = [
        ScorePart(name.replace("_", " "), float(part), FEATURE_SENTENCES[name].format(value), value)
        for name, part, value in zip(stacker.names, added, values, strict=True)
    ]
    parts.append(
        ScorePart("usual", stacker.offset, "Log-odds of a candidate with average features.")
    )
    if answers.location_weights is not None:
        weight = float(answers.location_weights[row, at])
        parts.append(ScorePart("location", weight, "Distance from where the photo was taken."))
    return (*parts, ScorePart("score", answer.score, "The sum: log-odds."), confidence)


def _references(
    recognizer: Recognizer,
    answers: Answers,
    shown: Mapping[str, Sequence[_Shown]],
    guess: str | None,
    alike_from: float | None,
) -> tuple[Reference, ...]:
    """The photos that are shown, those of the guess first."""
    index, photos = answers.index, [(name, one) for name in shown for one in shown[name]]
    if not photos:
        return ()
    rows = np.array([one.row for _, one in photos])
    frames = _frames(recognizer, {index.ids[one.row]: index.paths[one.row]
                                  for _, one in photos if one.match})  # fmt: skip
    penalties = answers.decider.retriever.gallery_penalties(rows).tolist()
    return tuple(
        Reference(
            photo_id=index.ids[one.row],
            landmark=name,
            path=index.paths[one.row],
            similarity=one.similarity,
            penalty=penalty,
            inliers=None if one.match is None else one.match.inliers,
            query_points=None if one.match is None else one.match.query_points,
            gallery_points=None if one.match is None else one.match.gallery_points,
            shape=frames.get(index.ids[one.row]),
            alike=alike_from is not None
            and name == guess
            and (one.similarity >= alike_from or one.above_chance > 0),
        )
        for (name, one), penalty in zip(photos, penalties, strict=True)
    )


def _frames(recognizer: Recognizer, paths: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """Height and width that the keypoints of gallery photos refer to; without those not known.

    The keypoints' scale gives the long side and the thumbnail the proportions, so that the file,
    which may be large, far away or gone, is seldom read.
    """
    ids = list(paths)
    small, found = recognizer.gallery.thumbnails(ids), {}
    for photo_id, stored in zip(ids, recognizer.verifier.keypoints(ids), strict=True):
        with suppress(ImageError):
            if stored and stored.scale < MAX_ENLARGEMENT and (data := small.get(photo_id)):
                sides = np.array(header_size(data, full=True))
                height, width = (sides * MATCHING.size / stored.scale / sides.max()).tolist()
                found[photo_id] = (round(height), round(width))
            else:
                found[photo_id] = photo_size(paths[photo_id], short_side=recognizer.short_side)
    return found


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
