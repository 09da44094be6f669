"""Prediction → JSON object and sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict
from urllib.parse import quote

from ..core.types import Decision, Match, Prediction
from ..gallery.protocol import Gallery
from ..gallery.records import Credit, LandmarkRecord
from .recognizer import Recognizer

if TYPE_CHECKING:
    from ..core.types import Prediction

Schema = Literal["whichlandmark.answer/1"]

SCHEMA: Schema = "whichlandmark.answer/1"  # an incompatible change gets the next number

CANDIDATES = 5

LOOKED_AT = 10  # nearest photos that candidates are named from

SAMPLE = 3  # photos looked at to learn whether a gallery keeps thumbnails


class MatchObject(TypedDict):
    """One gallery photo. similarity: a cosine; inliers: matched points, null = not compared."""

    id: str
    landmark: str | None
    similarity: float
    inliers: int | None
    thumbnail: str | None
    author: str
    licence: str


class LandmarkObject(TypedDict):
    """What is known of a landmark. names: by language."""

    landmark: str
    title: str
    names: dict[str, str]
    wikidata: str
    latitude: float | None
    longitude: float | None


class Candidate(LandmarkObject):
    """A landmark that it may be, with the photos that speak for it."""

    photos: list[MatchObject]


class SeenObject(TypedDict):
    """Where a landmark stands: left, top, right, bottom in shares of the photo."""

    landmark: str
    confidence: float
    box: Annotated[list[float] | None, {"min_length": 4, "max_length": 4}]


class AnswerObject(TypedDict):
    """The answer to one photo. landmark: null unless the decision is "landmark"."""

    schema: Schema
    photo: str
    decision: Decision
    landmark: str | None
    guess: str | None
    second: str | None
    confidence: Annotated[float, {"ge": 0, "le": 1}]
    score: float | None
    words: str
    candidates: list[Candidate]
    matches: list[MatchObject]
    landmarks: list[SeenObject]
    warnings: list[str]


@dataclass(frozen=True, eq=False)
class GalleryFacts:
    """What a gallery tells of an answer beside its vectors, as it was at one generation."""

    gallery: Gallery
    records: Mapping[str, LandmarkRecord]
    generation: int
    thumbnails: bool  # does it keep small pictures of its photos?

    @classmethod
    def of(cls, recognizer: Recognizer) -> GalleryFacts:
        """Of a recognizer as it was opened."""
        gallery, ids = recognizer.gallery, recognizer.index.ids
        few = [str(ids[row]) for row in range(min(SAMPLE, len(ids)))]
        kept = bool(gallery.thumbnails(few)) if few else True
        return cls(gallery, gallery.landmarks(), gallery.generation, kept)

    @property
    def titles(self) -> dict[str, str]:
        """Label → title, of the landmarks that have one."""
        return {name: record.title for name, record in self.records.items() if record.title}


def answer_object(
    photo: str,
    answer: Prediction,
    facts: GalleryFacts,
    *,
    matches: int = 5,
    warnings: Sequence[str] = (),
) -> AnswerObject:
    """A prediction as JSON. photo: what it is called; matches: nearest photos to list.

    Numbers that JSON lacks (a score of −∞, where there is no candidate) become null.
    """
    credits = facts.gallery.credits([match.photo_id for match in answer.matches])
    shown = [match_object(match, credits, facts) for match in answer.matches]
    return {
        "schema": SCHEMA,
        "photo": photo,
        "decision": answer.decision,
        "landmark": answer.landmark,
        "guess": answer.guess,
        "second": answer.second,
        "confidence": answer.confidence,
        "score": answer.score if math.isfinite(answer.score) else None,
        "words": answer_in_words(answer, facts.titles),
        "candidates": _candidates(answer, shown, facts),
        "matches": shown[:matches],
        "landmarks": [
            {"landmark": seen.landmark, "confidence": seen.confidence,
             "box": list(seen.box) if seen.box else None}
            for seen in answer.landmarks
        ],
        "warnings": list(warnings),
    }  # fmt: skip


def match_object(match: Match, credits: Mapping[str, Credit], facts: GalleryFacts) -> MatchObject:
    """One gallery photo that speaks for an answer."""
    credit = credits.get(match.photo_id, Credit("", ""))
    return {
        "id": match.photo_id,
        "landmark": match.landmark,
        "similarity": match.similarity,
        "inliers": match.inliers,
        "thumbnail": thumbnail_address(match.photo_id) if facts.thumbnails else None,
        "author": credit.author,
        "licence": credit.licence,
    }


def landmark_object(landmark: str, facts: GalleryFacts) -> LandmarkObject:
    """What is known of a landmark; without a record, its label and empty words."""
    record = facts.records.get(landmark) or LandmarkRecord(landmark)
    return {
        "landmark": landmark,
        "title": record.title,
        "names": dict(record.names),
        "wikidata": record.wikidata,
        "latitude": record.latitude,
        "longitude": record.longitude,
    }


def thumbnail_address(photo_id: str) -> str:
    """Where a server has the small picture of a gallery photo."""
    return f"/v1/photos/{quote(photo_id, safe='')}/thumbnail"


def _candidates(
    answer: Prediction, shown: Sequence[MatchObject], facts: GalleryFacts
) -> list[Candidate]:
    """The landmarks it may be, the likeliest first, each with the photos that speak for it."""
    nearest = [match["landmark"] for match in shown]
    names = [name for name in (answer.guess, answer.second, *nearest) if name]
    return [
        {**landmark_object(name, facts),
         "photos": [match for match in shown if match["landmark"] == name]}
        for name in list(dict.fromkeys(names))[:CANDIDATES]
    ]  # fmt: skip


# Confidence from which → how sure that sounds. Words of estimative probability: Kent, 1964.
SURENESS = ((0.95, "almost certainly"), (0.75, "very likely"), (0.5, "probably"), (0.0, "perhaps"))


def answer_in_words(answer: Prediction, titles: Mapping[str, str] | None = None) -> str:
    """What is answered, in one sentence. titles: label → how the landmark is called."""

    def named(landmark: str | None) -> str:
        label = landmark or "nothing"
        return (titles or {}).get(label, label.replace("_", " "))

    if answer.decision == "landmark":
        return f"{named(answer.guess)}, {_sureness(answer.confidence)}"
    if answer.decision == "no_landmark":
        return "no landmark that I know"
    if answer.second is None:
        return f"not sure: perhaps {named(answer.guess)}"
    return f"not sure: {named(answer.guess)} or {named(answer.second)}"


def _sureness(confidence: float) -> str:
    return next((words for least, words in SURENESS if confidence >= least), SURENESS[-1][1])
