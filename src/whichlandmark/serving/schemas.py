"""Request and response models for OpenAPI."""

from __future__ import annotations

import inspect
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypedDict,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from pydantic import BaseModel, ConfigDict, Field, create_model

from ..recognition import answer as answer_module
from .uploads import JsonQuestion

WORDS = {
    400: "Not a request that can be read", 401: "No known key", 403: "The key may not do that",
    404: "Nothing of that name", 405: "Another method", 408: "Sent too slowly",
    409: "It would leave an empty gallery", 413: "Too large, or too many photos",
    415: "Another kind of body", 421: "Called by a wrong name", 422: "Not as it has to be",
    429: "Too many photos a minute", 500: "The server failed", 503: "Busy: ask again later",
}  # fmt: skip

ALWAYS = (400, 401, 403, 408, 413, 421, 500)


def refusals(*also: int) -> dict[int | str, dict[str, Any]]:
    """The refusals that a route may answer with, beside those that all may."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*ALWAYS, *also}):
        found[status] = {"model": model_of(ErrorReply), "description": WORDS[status]}
        if status in (429, 503):
            found[status]["headers"] = {
                "Retry-After": {"description": "seconds", "schema": {"type": "integer"}}
            }
    return found


def json_of(model: type[BaseModel]) -> dict[str, Any]:
    """A JSON body of this model, which has no models in its fields."""
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


def files(field: str, most: int, *, also_json: bool = False) -> dict[str, Any]:
    """A multipart body with files in one field; the same as JSON, where that is taken too."""
    many = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1,
            "maxItems": most}  # fmt: skip
    part: dict[str, Any] = many if most > 1 else {"type": "string", "format": "binary"}
    properties: dict[str, Any] = {field: part}
    if also_json:
        properties["matches"] = {"type": "integer", "minimum": 0, "maximum": 10}
    schema = {"type": "object", "required": [field], "properties": properties}
    content: dict[str, Any] = {"multipart/form-data": {"schema": schema}}
    if also_json:
        json_schema = JsonQuestion.model_json_schema()
        json_schema["properties"]["photos"]["items"] = json_schema.pop("$defs")["_JsonPhoto"]
        json_schema["properties"]["photos"]["maxItems"] = most
        content["application/json"] = {"schema": json_schema}
    return {"requestBody": {"required": True, "content": content}}


NAMED = r"\S"  # pattern of a landmark's name or a photo's id: never empty, never blanks alone


class Fault(TypedDict):
    """What went wrong, and what to do."""

    code: str
    message: str
    hint: str


class ErrorReply(TypedDict):
    """A whole request was refused."""

    error: Fault
    request_id: str


class PhotoFailure(TypedDict):
    """One photo got no answer."""

    photo: str
    error: Fault


class ModelInfo(TypedDict):
    """What answered."""

    embedder: str
    generation: int


class Timings(TypedDict):
    """Milliseconds, of the slowest photo in each stage, and in all."""

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


class Size(TypedDict):
    """Pixels."""

    width: int
    height: int


class MatchedPair(TypedDict):
    """A reference. lines: x and y in the query, x and y in it, in shares, the strongest first."""

    photo: answer_module.MatchObject
    width: int
    height: int
    image: str | None
    lines: list[list[float]]
    inliers: int
    text: str


class PartObject(TypedDict):
    """One part of the score."""

    name: str
    value: float | None
    contribution: float | None
    text: str


class ExplainReply(TypedDict):
    """Why it was answered so."""

    schema: answer_module.Schema
    request_id: str
    answer: answer_module.AnswerObject
    query: Size
    pairs: list[MatchedPair]
    parts: list[PartObject]
    distractors: list[answer_module.MatchObject]


class ListedLandmark(answer_module.LandmarkObject):
    """A landmark of the gallery. photos: how many it has."""

    photos: int
    thumbnail: str | None


class LandmarksReply(TypedDict):
    """total: landmarks that the query finds; photos, distractors: of the whole gallery."""

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
    thumbnail: str | None


class PhotosReply(TypedDict):
    """The photos of a landmark."""

    landmark: str
    total: int
    photos: list[ListedPhoto]


class AddedReply(TypedDict):
    """Ids that are now in the gallery, and what failed."""

    added: list[str]
    failed: list[PhotoFailure]
    generation: int


class RemovedReply(TypedDict):
    """How many photos were forgotten."""

    removed: int
    generation: int


class RelabelledReply(TypedDict):
    """How many photos have another landmark now."""

    relabelled: int
    generation: int


class Rename(BaseModel):
    """The new name of a landmark."""

    model_config = ConfigDict(extra="forbid", strict=True)
    landmark: str = Field(min_length=1, max_length=1000, pattern=NAMED)


class Relabel(BaseModel):
    """The new landmark of a photo; "" = none: a photo without a landmark."""

    model_config = ConfigDict(extra="forbid", strict=True)
    landmark: str = Field(max_length=1000, pattern=rf"^$|{NAMED}")


class FeedbackEntry(BaseModel):
    """What a person says of an answer. correct: which landmark it is, null = none, or not told."""

    model_config = ConfigDict(extra="forbid", strict=True)
    request_id: str = Field(max_length=64)
    photo: str = Field(default="", max_length=300)
    answer: str | None = Field(default=None, min_length=1, max_length=1000, pattern=NAMED)
    right: bool
    correct: str | None = Field(default=None, min_length=1, max_length=1000, pattern=NAMED)
    note: str = Field(default="", max_length=2000)


class QueuedReply(TypedDict):
    """It waits for review."""

    queued: bool


class Tiles(TypedDict):
    """Where map tiles come from."""

    url: str
    attribution: str


class ConfigReply(TypedDict):
    """What a page has to know before it asks."""

    title: str
    read: Literal["open", "key"]
    write: Literal["open", "key"]
    tiles: Tiles | None
    max_photos: int
    max_bytes: int
    formats: list[str]


class Health(TypedDict):
    """ready: may photos be sent? trouble: why not, or why the newest gallery does not answer."""

    ready: bool
    trouble: str
    generation: int
    queue: int


@cache
def model_of(reply: Any) -> type[BaseModel]:
    """The pydantic model of a `TypedDict`: its fields and no others, its docstring, its limits."""
    fields: dict[str, Any] = {}
    for name, hint in get_type_hints(reply, include_extras=True).items():
        if hasattr(BaseModel, name):  # "schema" is a method of every model
            fields[f"{name}_"] = (_with_models(hint), Field(alias=name))
        else:
            fields[name] = (_with_models(hint), ...)
    config = ConfigDict(extra="forbid")
    return create_model(reply.__name__, __config__=config, __doc__=inspect.getdoc(reply), **fields)


def _with_models(hint: Any) -> Any:
    """A type with a model in place of each `TypedDict`, and a Field for each dict of limits."""
    if is_typeddict(hint):
        return model_of(hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        kind, *limits = inner
        return Annotated[(_with_models(kind), *(Field(**limit) for limit in limits))]
    if origin in (None, Literal):
        return hint
    made = tuple(_with_models(one) for one in inner)
    return reduce(or_, made) if origin in (Union, UnionType) else origin[made]
