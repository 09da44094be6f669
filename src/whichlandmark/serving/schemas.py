"""Types of request and response bodies."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from ..recognition import answer as answer_module
from ..recognition.answer import PhotoFailure
from .openapi import ErrorReply as ErrorReply
from .openapi import files as files
from .openapi import json_of as json_of
from .openapi import model_of as model_of
from .openapi import refusals as refusals
from .uploads import MAX_NAME_CHARS

EmbeddingSchema = Literal["whichlandmark.embedding/1"]

SimilarSchema = Literal["whichlandmark.similar/1"]

EMBEDDING_SCHEMA: EmbeddingSchema = "whichlandmark.embedding/1"

SIMILAR_SCHEMA: SimilarSchema = "whichlandmark.similar/1"

NOT_BLANK = (
    r"\S"  # pattern of landmark names and photo ids: at least one character that is not blank
)


LANGUAGE = r"^([A-Za-z]{1,8}([-_][A-Za-z0-9]{1,8})*)?$"

Language = Annotated[
    str,
    Query(
        pattern=LANGUAGE,
        max_length=35,
        description="Language of the names, as a BCP 47 tag: title is then the name in that "
        "language where the gallery has it.",
    ),
]

PhotoName = Annotated[
    str,
    Query(max_length=MAX_NAME_CHARS, description="Name of a photo that is the whole body."),
]


class ModelInfo(TypedDict):
    """Embedder, and generation of the gallery."""

    embedder: str
    generation: int


class Timings(TypedDict):
    """Milliseconds: the slowest photo in each stage, and the whole request."""

    queue: float
    decode: float
    embed: float
    search: float
    total: float


class RecognizeReply(TypedDict):
    """One answer or failure for each photo, in order."""

    schema: answer_module.Schema
    request_id: str
    model: ModelInfo
    timings_ms: Timings
    results: list[answer_module.AnswerObject | PhotoFailure]


class PhotoVector(TypedDict):
    """A photo's embedding: a unit vector. The dot product of two is their cosine similarity."""

    photo: str
    vector: list[float]


class EmbedReply(TypedDict):
    """One embedding or failure for each photo, in order."""

    schema: EmbeddingSchema
    request_id: str
    model: ModelInfo
    timings_ms: Timings
    results: list[PhotoVector | PhotoFailure]


class SimilarPhotos(TypedDict):
    """The gallery photos nearest to a photo, the nearest first. landmark null: shows none."""

    photo: str
    matches: list[answer_module.MatchObject]


class SimilarReply(TypedDict):
    """The nearest gallery photos of each photo, or a failure, in order."""

    schema: SimilarSchema
    request_id: str
    model: ModelInfo
    timings_ms: Timings
    results: list[SimilarPhotos | PhotoFailure]


class Size(TypedDict):
    """Size in pixels."""

    width: int
    height: int


class MatchedPair(TypedDict):
    """A gallery photo compared with the query.

    lines: matched points as [x, y in the query, x, y in the gallery photo], each a share of the
    width or height, the strongest first.
    """

    photo: answer_module.MatchObject
    width: int
    height: int
    image: str | None
    lines: list[list[float]]
    inliers: int
    text: str


class PartObject(TypedDict):
    """One part of the score. contribution: what it adds; null for the score and the confidence."""

    name: str
    value: float | None
    contribution: float | None
    text: str


class ExplainReply(TypedDict):
    """The evidence for an answer."""

    schema: answer_module.Schema
    request_id: str
    answer: answer_module.AnswerObject
    query: Size
    pairs: list[MatchedPair]
    parts: list[PartObject]
    distractors: list[answer_module.MatchObject]


class ListedLandmark(answer_module.LandmarkObject):
    """A landmark of the gallery. photos: number of its photos."""

    photos: int
    thumbnail: str | None


class LandmarksReply(TypedDict):
    """Found landmarks. total: number of them; photos, distractors: of the whole gallery."""

    total: int
    photos: int
    distractors: int
    generation: int
    landmarks: list[ListedLandmark]


class ListedPhoto(TypedDict):
    """A photo of the gallery."""

    id: str
    author: str
    licence: str
    source: str
    thumbnail: str | None


class CreditReply(ListedPhoto):
    """A photo with its landmark; "" = distractor."""

    landmark: str
    generation: int


class RecordReply(answer_module.LandmarkObject):
    """What the gallery says of a landmark."""

    generation: int


class PhotosReply(TypedDict):
    """The photos of a landmark."""

    landmark: str
    total: int
    photos: list[ListedPhoto]


class OtherLandmark(TypedDict):
    """A sent photo that the gallery has, by its bytes, under another landmark; "" = distractor."""

    id: str
    landmark: str


class AddedReply(TypedDict):
    """Ids of new photos, and of photos whose bytes the gallery had: under this landmark, under
    another one, where they stay, and moved from there, which the query parameter `move` asks for.
    """

    added: list[str]
    already_there: list[str]
    other_landmark: list[OtherLandmark]
    moved: list[str]
    failed: list[PhotoFailure]
    generation: int


class RemovedReply(TypedDict):
    """Number of removed photos."""

    removed: int
    generation: int


class RelabelledReply(TypedDict):
    """Number of photos that were moved to another landmark."""

    relabelled: int
    generation: int


class Rename(BaseModel):
    """The new name of a landmark. merge: put its photos into a landmark that exists."""

    model_config = ConfigDict(extra="forbid", strict=True)
    landmark: str = Field(min_length=1, max_length=1000, pattern=NOT_BLANK)
    merge: bool = False


class Relabel(BaseModel):
    """The new landmark of a photo; "" makes it a distractor."""

    model_config = ConfigDict(extra="forbid", strict=True)
    landmark: str = Field(max_length=1000, pattern=rf"^$|{NOT_BLANK}")


class RecordPatch(BaseModel):
    """Fields of a landmark to change, names by language; null removes, the others stay."""

    model_config = ConfigDict(extra="forbid", strict=True)
    title: str | None = Field(default=None, max_length=1000)
    names: dict[str, str | None] | None = Field(default=None, max_length=400)
    wikidata: str | None = Field(default=None, pattern=r"^(Q[1-9][0-9]{0,15})?$")
    latitude: float | None = Field(default=None, ge=-90, le=90)
    longitude: float | None = Field(default=None, ge=-180, le=180)
    source: str | None = Field(default=None, max_length=4000, pattern=r"^(https?://\S+)?$")


class CreditPatch(BaseModel):
    """Parts of the credit of a photo to change; null removes, the others stay."""

    model_config = ConfigDict(extra="forbid", strict=True)
    author: str | None = Field(default=None, max_length=4000)
    licence: str | None = Field(default=None, max_length=4000)
    source: str | None = Field(default=None, max_length=4000, pattern=r"^(https?://\S+)?$")


class FeedbackEntry(BaseModel):
    """Feedback on an answer. correct: the true landmark; null = none or unknown."""

    model_config = ConfigDict(extra="forbid", strict=True)
    request_id: str = Field(max_length=64)
    photo: str = Field(default="", max_length=300)
    answer: str | None = Field(default=None, min_length=1, max_length=1000, pattern=NOT_BLANK)
    right: bool
    correct: str | None = Field(default=None, min_length=1, max_length=1000, pattern=NOT_BLANK)
    note: str = Field(default="", max_length=2000)


class QueuedReply(TypedDict):
    """The entry is stored for review."""

    queued: bool


class Tiles(TypedDict):
    """Address and attribution of map tiles."""

    url: str
    attribution: str


class ConfigReply(TypedDict):
    """Configuration of the page; licence: of the embedder's weights, "unknown" if nobody said.

    warnings: what every answer has to say of the gallery. unfinished: an index run has not
    finished; null = all have. landmarks: number of them. uses_location: the location in a photo's
    metadata counts. shrink_side: pixels of the long side to which a photo may be shrunk before it
    is sent.
    """

    title: str
    licence: str
    read: Literal["open", "key"]
    write: Literal["open", "key"]
    tiles: Tiles | None
    max_photos: int
    max_bytes: int
    formats: list[str]
    warnings: list[str]
    unfinished: answer_module.UnfinishedObject | None
    landmarks: int
    uses_location: bool
    shrink_side: int
    version: str


class Health(TypedDict):
    """ready: photos are accepted; trouble: why not, or why the newest gallery is not in use."""

    ready: bool
    trouble: str
    generation: int
    queue: int
