"""Types of request and response bodies."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from ..recognition import answer as answer_module
from ..recognition.faults import PhotoFailure
from .openapi import ErrorReply as ErrorReply
from .openapi import files as files
from .openapi import json_of as json_of
from .openapi import model_of as model_of
from .openapi import refusals as refusals
from .uploads import MAX_NAME_CHARS

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
    licence_url: str
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
    exists. names, wikipedia: by language; those of other languages stay.
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
    wikipedia: dict[str, str | None] | None = Field(default=None, max_length=400)
    city: str | None = Field(default=None, max_length=1000)
    country: str | None = Field(default=None, max_length=1000)
    country_code: str | None = Field(default=None, pattern=r"^([A-Z]{2})?$")


class PhotoPatch(BaseModel):
    """Landmark and credit of a photo to change; those that are not sent stay, and null removes.

    landmark: "" = the photo shows none; null = it keeps its landmark.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    landmark: str | None = Field(default=None, max_length=1000, pattern=rf"^$|{NOT_BLANK}")
    author: str | None = Field(default=None, max_length=4000)
    licence: str | None = Field(default=None, max_length=4000)
    licence_url: str | None = Field(default=None, max_length=4000, pattern=r"^(https?://\S+)?$")
    source: str | None = Field(default=None, max_length=4000, pattern=r"^(https?://\S+)?$")


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
