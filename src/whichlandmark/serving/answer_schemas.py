"""Types of replies about sent photos: answers, embeddings, similar photos, explanations."""

from __future__ import annotations

from typing import Literal, TypedDict

from ..recognition import answer as answer_module
from ..recognition.faults import PhotoFailure

EmbeddingSchema = Literal["whichlandmark.embedding/1"]

SimilarSchema = Literal["whichlandmark.similar/1"]

EMBEDDING_SCHEMA: EmbeddingSchema = "whichlandmark.embedding/1"

SIMILAR_SCHEMA: SimilarSchema = "whichlandmark.similar/1"


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


class VisionPoint(TypedDict, total=False):
    """A corner, in pixels. x: from the left; y: from the top."""

    x: int
    y: int


class VisionOutline(TypedDict, total=False):
    """The part of the image with the landmark. vertices: its corners."""

    vertices: list[VisionPoint]


class VisionLatLng(TypedDict, total=False):
    """A place on Earth."""

    latitude: float
    longitude: float


class VisionPlace(TypedDict, total=False):
    """Where the landmark is. latLng: in degrees."""

    latLng: VisionLatLng


class VisionLandmark(TypedDict, total=False):
    """A landmark in the image.

    mid: its Wikidata id where the gallery knows one, else its label. description: its name. score:
    calibrated probability that it is right. boundingPoly: where in the image it is. locations:
    where on Earth, if the gallery knows.
    """

    mid: str
    description: str
    score: float
    boundingPoly: VisionOutline
    locations: list[VisionPlace]


class VisionStatus(TypedDict):
    """Why an image has no answer. code: as in google.rpc.Code."""

    code: int
    message: str


class VisionAnswer(TypedDict, total=False):
    """The answer to one image; empty where it shows no landmark that the gallery knows.

    landmarkAnnotations: landmarks, the likeliest first; error: why this image has no answer.
    """

    landmarkAnnotations: list[VisionLandmark]
    error: VisionStatus


class VisionReply(TypedDict, total=False):
    """Answers to images. responses: one for each image, in order."""

    responses: list[VisionAnswer]


class VisionDetail(TypedDict, total=False):
    """More about an error, such as the field that is wrong."""


class _VisionErrorParts(TypedDict):
    code: int
    message: str
    status: str


class VisionError(_VisionErrorParts, total=False):
    """Why a request is refused.

    code: the HTTP status; status: its name in google.rpc.Code; details: more about it.
    """

    details: list[VisionDetail]


class VisionErrorReply(TypedDict):
    """The whole request was refused."""

    error: VisionError
