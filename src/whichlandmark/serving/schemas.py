"""Types of request and response bodies."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from ..recognition import answer as answer_module
from ..recognition.answer import PhotoFailure
from ..recognition.folder.feedback import FeedbackObject
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


MAX_CHOSEN = 1000  # photos to move or remove in one request

GivenId = Annotated[str, Field(min_length=1, max_length=1000, pattern=NOT_BLANK)]

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


class SimilarMatch(answer_module.MatchObject):
    """A similar gallery photo. title: what people read for its landmark; "" = it shows none."""

    title: str


class SimilarPhotos(TypedDict):
    """The gallery photos nearest to a photo, the nearest first."""

    photo: str
    matches: list[SimilarMatch]


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

    image: path of its thumbnail; preview: path of it at the size of a screen, takes `side`.
    lines: matched points as [x, y in the query, x, y in the gallery photo], each a share of the
    width or height, the strongest first; none where they are no more than by chance.
    above_chance: are there more inliers than unrelated photos have? alike: is it one of the photos
    of the guess that the query looks like?
    """

    photo: answer_module.MatchObject
    width: int
    height: int
    image: str | None
    preview: str
    lines: list[list[float]]
    inliers: int
    above_chance: bool
    alike: bool
    text: str


class PartObject(TypedDict):
    """One part of the score. contribution: what it adds; null for the score and the confidence.

    measured: the cosine, log-odds or count that it was computed from; null where it is none.
    """

    name: str
    value: float | None
    measured: float | None
    contribution: float | None
    text: str


class ReasonsObject(TypedDict):
    """What the words of an explanation say, as numbers.

    alike: photos of the guess that the query looks like, among the nearest; similarity: cosine to
    the nearest photo of the guess; lead: that less the cosine to `other`, the nearest other
    landmark; contrast: that landmark is far less like the query, less, nearly as much (close) or
    more (behind). details, other_details: most inliers with one photo of the guess, and of any
    other landmark; null = none was compared; chance: as many inliers agree by chance. unlike: the
    query is hardly the guess, and nearer to a distractor than to any landmark. nothing: why the
    photo is not compared: it is too small, of one even color, or plain; null = it is.
    """

    alike: int
    similarity: float | None
    lead: float | None
    contrast: Literal["far", "less", "close", "behind"] | None
    other: str | None
    details: int | None
    other_details: int | None
    chance: int
    unlike: bool
    nothing: Literal["small", "even", "plain"] | None


class ExplainReply(TypedDict):
    """The evidence for an answer. title: the question; words: the answer to it, in sentences.

    pairs: photos of the guess first, and one or more of each candidate of the answer.
    """

    schema: answer_module.Schema
    request_id: str
    answer: answer_module.AnswerObject
    title: str
    words: str
    reasons: ReasonsObject
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


class LandmarkReply(ListedLandmark):
    """One landmark of the gallery."""

    generation: int


class ChangedLandmarkReply(LandmarkReply):
    """A landmark after a change. relabelled: photos that got a new name of their landmark."""

    relabelled: int


class CreditReply(ListedPhoto):
    """A photo with its landmark; "" = distractor."""

    landmark: str
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
    """Number of removed photos. undo: token of POST /v1/undo/{token}; null = too many to undo."""

    removed: int
    generation: int
    undo: str | None
    undo_seconds: int


class UndoneReply(TypedDict):
    """Number of photos put back. not_restored: ids of those that the gallery has again."""

    restored: int
    not_restored: list[str]
    generation: int


class RelabelledReply(TypedDict):
    """Number of photos that were moved to another landmark."""

    relabelled: int
    generation: int


class ChosenPhotos(BaseModel):
    """Ids of photos to remove."""

    model_config = ConfigDict(extra="forbid", strict=True)
    photos: list[GivenId] = Field(min_length=1, max_length=MAX_CHOSEN)


class MovedPhotos(ChosenPhotos):
    """Ids of photos, and the landmark that they get; "" = they show none."""

    landmark: str = Field(max_length=1000, pattern=rf"^$|{NOT_BLANK}")


class LandmarkPatch(BaseModel):
    """Fields of a landmark to change; those that are not sent stay, and null removes.

    landmark: its new name; null = it keeps its name. merge: it may become part of a landmark that
    exists. names: by language; those of other languages stay.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    landmark: str | None = Field(default=None, min_length=1, max_length=1000, pattern=NOT_BLANK)
    merge: bool = False
    title: str | None = Field(default=None, max_length=1000)
    names: dict[str, str | None] | None = Field(default=None, max_length=400)
    wikidata: str | None = Field(default=None, pattern=r"^(Q[1-9][0-9]{0,15})?$")
    latitude: float | None = Field(default=None, ge=-90, le=90)
    longitude: float | None = Field(default=None, ge=-180, le=180)
    source: str | None = Field(default=None, max_length=4000, pattern=r"^(https?://\S+)?$")


class PhotoPatch(BaseModel):
    """Landmark and credit of a photo to change; those that are not sent stay, and null removes.

    landmark: "" = the photo shows none; null = it keeps its landmark.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    landmark: str | None = Field(default=None, max_length=1000, pattern=rf"^$|{NOT_BLANK}")
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
    """The entry is stored for review. photo_kept: false where none was sent, or there is no room
    for it.
    """

    queued: bool
    id: str
    photo_kept: bool


class FeedbackReply(TypedDict):
    """Entries, the newest first. total: of this state; open: not reviewed yet; unreadable: lines of
    the file that are no entries.
    """

    total: int
    open: int
    unreadable: int
    entries: list[FeedbackObject]


class Review(BaseModel):
    """approve: the photo is added to the gallery. landmark: null = the one that was suggested; "" =
    the photo shows none.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    action: Literal["approve", "discard"]
    landmark: str | None = Field(default=None, max_length=1000, pattern=rf"^$|{NOT_BLANK}")


class ReviewedReply(TypedDict):
    """The reviewed entry. added: null where nothing was added: discarded, or no photo was sent."""

    entry: FeedbackObject
    added: AddedReply | None


class Tiles(TypedDict):
    """Address and attribution of map tiles."""

    url: str
    attribution: str


class ConfigReply(TypedDict):
    """Configuration of the page; licence: of the embedder's weights, "unknown" if nobody said.

    warnings: what every answer has to say of the gallery. unfinished: an index run has not
    finished; null = all have. landmarks: number of them. uses_location: the location in a photo's
    metadata counts. shrink_side: pixels of the long side to which a photo may be shrunk before it
    is sent. undo_photos: the most whose removal can be undone.
    """

    title: str
    licence: str
    read: Literal["open", "key"]
    write: Literal["open", "key"]
    tiles: Tiles | None
    max_photos: int
    max_bytes: int
    undo_photos: int
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
