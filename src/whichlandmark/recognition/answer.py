"""Answer: Prediction → the JSON object and the sentence that all interfaces give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict
from urllib.parse import quote

from ..core.files import text_of_bytes, valid_text
from ..core.types import Decision, Match, Prediction
from ..gallery.base import Gallery
from ..gallery.records import Credit, LandmarkRecord
from .recognizer import Recognizer

Schema = Literal["whichlandmark.answer/1"]

SCHEMA: Schema = "whichlandmark.answer/1"  # an incompatible change increments the number

MAX_CANDIDATES = 5  # landmarks listed in an answer

CANDIDATE_MATCHES = 10  # nearest photos that candidates are taken from

THUMBNAILS_PROBED = 3  # photos read to find out whether a gallery stores thumbnails

# Least confidence → how to say it. Words of estimative probability: Kent, 1964.
CONFIDENCE_WORDS = (
    (0.95, "almost certainly"), (0.75, "very likely"), (0.5, "probably"), (0.0, "perhaps"),
)  # fmt: skip


class MatchObject(TypedDict):
    """One gallery photo.

    similarity: cosine, −1 to 1; inliers: null = not compared; licence_url, source: web addresses.
    """

    id: str
    landmark: str | None
    similarity: float
    inliers: int | None
    thumbnail: str | None
    author: str
    licence: str
    licence_url: str
    source: str


class LandmarkObject(TypedDict):
    """A landmark as the gallery describes it. names: by language; source: URL of these.

    wikipedia: title of the article, by language as in the host fr.wikipedia.org. city, country: in
    the language of the title that the gallery stores; country_code: ISO 3166-1, as "FR".
    """

    landmark: str
    title: str
    names: dict[str, str]
    wikidata: str
    latitude: float | None
    longitude: float | None
    source: str
    wikipedia: dict[str, str]
    city: str
    country: str
    country_code: str


class Candidate(LandmarkObject):
    """A landmark that the photo may show, with the nearest photos of it.

    confidence: calibrated probability that it is right; null where it was not computed.
    """

    confidence: Annotated[float | None, {"ge": 0, "le": 1}]
    photos: list[MatchObject]


class DetectionObject(TypedDict):
    """A landmark in the photo. box: left, top, right, bottom in shares of the photo."""

    landmark: str
    confidence: float
    box: Annotated[list[float] | None, {"min_length": 4, "max_length": 4}]


class UnfinishedObject(TypedDict):
    """An index run has not finished: photos in the gallery so far, and of how many."""

    photos: int
    of: int


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
    landmarks: list[DetectionObject]
    warnings: list[str]
    unfinished: UnfinishedObject | None


@dataclass(frozen=True, eq=False)
class GalleryFacts:
    """What answers show of a gallery besides its vectors, as of one generation.

    thumbnails: Does it store thumbnails of its photos? notes: what every answer has to say.
    unfinished: photos in the gallery and of how many, where an index run has not finished.
    """

    gallery: Gallery
    records: Mapping[str, LandmarkRecord]
    generation: int
    thumbnails: bool
    notes: tuple[str, ...] = ()
    unfinished: Mapping[str, int] | None = None

    @classmethod
    def of(cls, recognizer: Recognizer) -> GalleryFacts:
        """The facts of a recognizer's gallery."""
        gallery, ids = recognizer.gallery, recognizer.index.ids
        probed = [str(ids[row]) for row in range(min(THUMBNAILS_PROBED, len(ids)))]
        stored = bool(gallery.thumbnails(probed)) if probed else True
        return cls(
            gallery, recognizer.records, gallery.generation, stored, recognizer.notes,
            recognizer.unfinished,
        )  # fmt: skip

    @property
    def titles(self) -> dict[str, str]:
        """Label → title, of the landmarks that have a title."""
        return {name: record.title for name, record in self.records.items() if record.title}


def answer_object(
    photo: str,
    answer: Prediction,
    facts: GalleryFacts,
    *,
    matches: int = 5,
    warnings: Sequence[str] = (),
    language: str = "",
) -> AnswerObject:
    """The prediction of a photo that could be read, as a JSON object.

    A score of −∞, where there is no candidate, becomes null, because JSON has no infinity.

    Args:
        photo: Name of the photo.
        answer: The prediction.
        facts: The gallery's records and credits.
        matches: Nearest photos to list.
        warnings: Texts to add.
        language: BCP 47 tag of the names in `words` and of the titles; "" = each record's title.
    """
    assert answer.decision != "failed"
    credits = facts.gallery.credits([match.photo_id for match in answer.matches])
    shown = [match_object(match, credits, facts) for match in answer.matches]
    named = [name for name in (answer.guess, answer.second) if name]
    titles = {name: shown_name(name, facts.records, language) for name in named}
    return {
        "schema": SCHEMA,
        "photo": valid_text(photo),
        "decision": answer.decision,
        "landmark": answer.landmark,
        "guess": answer.guess,
        "second": answer.second,
        "confidence": answer.confidence,
        "score": answer.score if math.isfinite(answer.score) else None,
        "words": answer_in_words(answer, titles),
        "candidates": _candidates(answer, shown, facts, language),
        "matches": shown[:matches],
        "landmarks": [
            {"landmark": found.landmark, "confidence": found.confidence,
             "box": list(found.box) if found.box else None}
            for found in answer.landmarks
        ],
        "warnings": [*facts.notes, *answer.warnings, *warnings],
        "unfinished": unfinished_object(facts.unfinished),
    }  # fmt: skip


CSV_COLUMNS = (
    "path", "landmark", "title", "decision", "confidence", "score", "guess", "second", "nearest",
    "similarity", "error",
)  # fmt: skip


def csv_row(answer: Prediction, titles: Mapping[str, str]) -> list[str]:
    """The cells of CSV_COLUMNS for one photo; what was not measured is an empty cell.

    Text that a spreadsheet would run as a formula begins with an apostrophe.
    """
    nearest = answer.matches[0] if answer.matches else None
    known = answer.decision != "failed" and answer.guess is not None
    shown = titles.get(answer.landmark or "", (answer.landmark or "").replace("_", " "))
    return [
        spreadsheet_text(valid_text(answer.photo)),
        spreadsheet_text(answer.landmark or ""),
        spreadsheet_text(shown),
        answer.decision,
        f"{answer.confidence:.6g}" if known else "",
        f"{answer.score:.6g}" if known and math.isfinite(answer.score) else "",
        spreadsheet_text(answer.guess or ""),
        spreadsheet_text(answer.second or ""),
        spreadsheet_text(nearest.photo_id if nearest else ""),
        f"{nearest.similarity:.4f}" if nearest else "",
        spreadsheet_text(text_of_bytes(answer.error or "")),
    ]


def spreadsheet_text(text: str) -> str:
    """The text, after an apostrophe where a spreadsheet would take it for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


def unfinished_object(found: Mapping[str, int] | None) -> UnfinishedObject | None:
    """The field `unfinished` of answers and of the server's configuration."""
    return None if found is None else {"photos": found["photos"], "of": found["of"]}


def match_object(match: Match, credits: Mapping[str, Credit], facts: GalleryFacts) -> MatchObject:
    """A match as a JSON object."""
    credit = credits.get(match.photo_id, Credit("", ""))
    return {
        "id": match.photo_id,
        "landmark": match.landmark,
        "similarity": match.similarity,
        "inliers": match.inliers,
        "thumbnail": thumbnail_address(match.photo_id) if facts.thumbnails else None,
        "author": credit.author,
        "licence": credit.licence,
        "licence_url": credit.licence_url,
        "source": credit.source,
    }


def landmark_object(
    landmark: str, records: Mapping[str, LandmarkRecord], language: str = ""
) -> LandmarkObject:
    """A landmark's record as a JSON object, its title by `title_in`; else its label alone."""
    record = records.get(landmark) or LandmarkRecord(landmark)
    return {
        "landmark": landmark,
        "title": title_in(record, language),
        "names": dict(record.names),
        "wikidata": record.wikidata,
        "latitude": record.latitude,
        "longitude": record.longitude,
        "source": record.source,
        "wikipedia": dict(record.wikipedia),
        "city": record.city,
        "country": record.country,
        "country_code": record.country_code,
    }


def title_in(record: LandmarkRecord, language: str) -> str:
    """A landmark's title in a language; "" when the record has neither such a name nor a title.

    In this order: the very tag, the tag without its last parts ("zh-Hant-TW", "zh-Hant", "zh"), a
    variant of the same language ("pt-BR" for "pt"), the title. language: BCP 47 tag; "" = none.
    """
    names = {tag.lower(): name for tag, name in record.names.items() if name}
    parts = language.lower().replace("_", "-").split("-")
    for end in range(len(parts), 0, -1):
        if name := names.get("-".join(parts[:end])):
            return name
    variants = (name for tag, name in sorted(names.items()) if tag.split("-")[0] == parts[0])
    return next(variants, record.title)


def shown_name(landmark: str, records: Mapping[str, LandmarkRecord], language: str = "") -> str:
    """What people read for a landmark: `title_in` the language, else its label without "_"."""
    record = records.get(landmark)
    return (title_in(record, language) if record else "") or landmark.replace("_", " ")


def thumbnail_address(photo_id: str) -> str:
    """Path under which a server has the thumbnail of a gallery photo."""
    return f"/v1/photos/{quote(photo_id, safe='')}/thumbnail"


def preview_address(photo_id: str) -> str:
    """Path under which a server has a gallery photo at the size of a screen."""
    return f"/v1/photos/{quote(photo_id, safe='')}/preview"


def _candidates(
    answer: Prediction, shown: Sequence[MatchObject], facts: GalleryFacts, language: str
) -> list[Candidate]:
    """The landmarks that the photo may show, the likeliest first, with their nearest photos."""
    confidences = dict(answer.candidates)
    return [
        {**landmark_object(name, facts.records, language),
         "confidence": confidences.get(name),
         "photos": [match for match in shown if match["landmark"] == name]}
        for name in candidate_names(answer)
    ]  # fmt: skip


def candidate_names(answer: Prediction) -> list[str]:
    """The landmarks that an answer lists: guess, second, then those of the nearest photos."""
    nearest = [match.landmark for match in answer.matches]
    names = [name for name in (answer.guess, answer.second, *nearest) if name]
    return list(dict.fromkeys(names))[:MAX_CANDIDATES]


def answer_in_words(answer: Prediction, titles: Mapping[str, str] | None = None) -> str:
    """The answer as a sentence. titles: label → title of the landmark."""

    def named(landmark: str | None) -> str:
        label = landmark or "nothing"
        return (titles or {}).get(label, label.replace("_", " "))

    if answer.decision == "landmark":
        return f"{named(answer.guess)}, {confidence_in_words(answer)}"
    if answer.decision == "failed":
        return f"not readable: {answer.error}"
    if answer.decision == "no_landmark":
        reasons = (text for text in answer.warnings if text.startswith("no landmark, because"))
        return next(reasons, "no landmark that I know")
    if answer.second is None:
        return f"not sure: perhaps {named(answer.guess)}"
    return f"not sure: {named(answer.guess)} or {named(answer.second)}"


def confidence_in_words(answer: Prediction) -> str:
    """How sure the answer is, as "very likely"."""
    words = (word for least, word in CONFIDENCE_WORDS if answer.confidence >= least)
    return next(words, CONFIDENCE_WORDS[-1][1])


def answer_and_confidence(answer: Prediction, titles: Mapping[str, str] | None = None) -> str:
    """The answer as a sentence, with the confidence and what it is of.

    The confidence is the probability that the best guess is right, also where nothing is named, so
    there the guess is named with it.
    """
    words = answer_in_words(answer, titles)
    sure = f"{answer.confidence:.2f}" if answer.confidence >= 0.005 else "below 0.01"
    if answer.decision != "no_landmark":
        return f"{words} (confidence {sure})"
    if answer.guess is None:
        return words
    guess = (titles or {}).get(answer.guess, answer.guess.replace("_", " "))
    return f"{words} (the likeliest is {guess}, with confidence {sure})"
