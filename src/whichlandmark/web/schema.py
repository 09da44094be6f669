"""The published JSON, as types: what /openapi.json says and the tests hold every answer to."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ..types import Decision

NAMED = r"\S"  # pattern of a landmark's name or a photo's id: never empty, never blanks alone


class _Closed(BaseModel):
    """A name that is not told here is an error."""

    model_config = ConfigDict(extra="forbid")


class Fault(_Closed):
    """What went wrong, and what to do."""

    code: str
    message: str
    hint: str


class ErrorReply(_Closed):
    """A whole request was refused."""

    error: Fault
    request_id: str


class Failure(_Closed):
    """One photo got no answer."""

    photo: str
    error: Fault


class MatchObject(_Closed):
    """One gallery photo. similarity: a cosine; inliers: matched points, null = not compared."""

    id: str
    landmark: str | None
    similarity: float
    inliers: int | None
    thumbnail: str | None
    author: str
    licence: str


class LandmarkObject(_Closed):
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


class SeenObject(_Closed):
    """Where a landmark stands: left, top, right, bottom in shares of the photo."""

    landmark: str
    confidence: float
    box: list[float] | None = Field(min_length=4, max_length=4)


class AnswerObject(_Closed):
    """The answer to one photo. landmark: null unless the decision is "landmark"."""

    schema_: Literal["whichlandmark.answer/1"] = Field(alias="schema")
    photo: str
    decision: Decision
    landmark: str | None
    guess: str | None
    second: str | None
    confidence: float = Field(ge=0, le=1)
    score: float | None
    words: str
    candidates: list[Candidate]
    matches: list[MatchObject]
    landmarks: list[SeenObject]
    warnings: list[str]


class Model(_Closed):
    """What answered."""

    embedder: str
    generation: int


class Timings(_Closed):
    """Milliseconds, of the slowest photo in each stage, and in all."""

    queue: float
    decode: float
    embed: float
    search: float
    total: float


class RecognizeReply(_Closed):
    """One answer or failure for each photo, in order."""

    schema_: Literal["whichlandmark.answer/1"] = Field(alias="schema")
    request_id: str
    model: Model
    timings_ms: Timings
    results: list[AnswerObject | Failure]


class Size(_Closed):
    """Pixels."""

    width: int
    height: int


class Pair(_Closed):
    """A reference. lines: x and y in the query, x and y in it, in shares, the strongest first."""

    photo: MatchObject
    width: int
    height: int
    image: str | None
    lines: list[list[float]]
    inliers: int
    text: str


class PartObject(_Closed):
    """One part of the score."""

    name: str
    value: float | None
    contribution: float | None
    text: str


class ExplainReply(_Closed):
    """Why it was answered so."""

    schema_: Literal["whichlandmark.answer/1"] = Field(alias="schema")
    request_id: str
    answer: AnswerObject
    query: Size
    pairs: list[Pair]
    parts: list[PartObject]
    distractors: list[MatchObject]


class ListedLandmark(LandmarkObject):
    """A landmark of the gallery. photos: how many it has."""

    photos: int
    thumbnail: str | None


class LandmarksReply(_Closed):
    """total: landmarks that the query finds; photos, distractors: of the whole gallery."""

    total: int
    photos: int
    distractors: int
    generation: int
    landmarks: list[ListedLandmark]


class ListedPhoto(_Closed):
    """A photo of the gallery."""

    id: str
    author: str
    licence: str
    thumbnail: str | None


class PhotosReply(_Closed):
    """The photos of a landmark."""

    landmark: str
    total: int
    photos: list[ListedPhoto]


class AddedReply(_Closed):
    """Ids that are now in the gallery, and what failed."""

    added: list[str]
    failed: list[Failure]
    generation: int


class RemovedReply(_Closed):
    """How many photos were forgotten."""

    removed: int
    generation: int


class RelabelledReply(_Closed):
    """How many photos have another landmark now."""

    relabelled: int
    generation: int


class Rename(_Closed):
    """The new name of a landmark."""

    model_config = ConfigDict(extra="forbid", strict=True)
    landmark: str = Field(min_length=1, max_length=1000, pattern=NAMED)


class Relabel(_Closed):
    """The new landmark of a photo; "" = none: a photo without a landmark."""

    model_config = ConfigDict(extra="forbid", strict=True)
    landmark: str = Field(max_length=1000, pattern=rf"^$|{NAMED}")


class FeedbackEntry(_Closed):
    """What a person says of an answer. correct: which landmark it is, null = none, or not told."""

    model_config = ConfigDict(extra="forbid", strict=True)
    request_id: str = Field(max_length=64)
    photo: str = Field(default="", max_length=300)
    answer: str | None = Field(default=None, min_length=1, max_length=1000, pattern=NAMED)
    right: bool
    correct: str | None = Field(default=None, min_length=1, max_length=1000, pattern=NAMED)
    note: str = Field(default="", max_length=2000)


class QueuedReply(_Closed):
    """It waits for review."""

    queued: bool


class Tiles(_Closed):
    """Where map tiles come from."""

    url: str
    attribution: str


class ConfigReply(_Closed):
    """What a page has to know before it asks."""

    title: str
    read: Literal["open", "key"]
    write: Literal["open", "key"]
    tiles: Tiles | None
    max_photos: int
    max_bytes: int
    formats: list[str]


class Health(_Closed):
    """ready: may photos be sent? trouble: why not, or why the newest gallery does not answer."""

    ready: bool
    trouble: str
    generation: int
    queue: int
