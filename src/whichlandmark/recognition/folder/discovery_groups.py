"""What a group of photos of an unknown landmark is, and when two groups are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from ...core.errors import DataError
from ...core.photo_files import LatLon
from ...gallery.records import LandmarkRecord

SAME_GROUP = 0.5  # share of the photos of the smaller of two groups that both have

DiscoveryState = Literal["open", "named", "dismissed"]

# guess: the gallery's, which is not sure; near: a landmark where the photos were taken; folder,
# files: the names of these.
SuggestionReason = Literal["guess", "near", "folder", "files", ""]


@dataclass(frozen=True)
class LandmarkSuggestion:
    """What a group may show.

    title: to display. landmark: its label in the gallery or in the table of places, "" = it has
    none yet. why: where the suggestion comes from, in words. reason: the same for programs, "" = it
    has no name.
    """

    title: str
    why: str
    landmark: str = ""
    wikidata: str = ""
    latitude: float | None = None
    longitude: float | None = None
    city: str = ""
    country: str = ""
    country_code: str = ""
    reason: SuggestionReason = ""

    def record(self, landmark: str) -> LandmarkRecord:
        """The record of a landmark that is named as suggested."""
        return LandmarkRecord(
            landmark, self.title, wikidata=self.wikidata, latitude=self.latitude,
            longitude=self.longitude, city=self.city, country=self.country,
            country_code=self.country_code,
        )  # fmt: skip

    @classmethod
    def of(
        cls, record: LandmarkRecord, why: str, reason: SuggestionReason = ""
    ) -> LandmarkSuggestion:
        """The suggestion of a landmark whose record is known."""
        return cls(
            record.title or record.name.replace("_", " "), why, record.name, record.wikidata,
            record.latitude, record.longitude, record.city, record.country, record.country_code,
            reason,
        )  # fmt: skip


@dataclass(frozen=True)
class DiscoveredPhoto:
    """A photo of a group.

    file: absolute path, as `find_photos` gives it. name: the library's name and the path below it,
    which becomes the id in the gallery. hash: content hash. taken: where, None = unknown.
    thumbnail: a JPEG of 200 px; `DiscoveryStore.all` leaves it out.
    """

    file: str
    name: str
    hash: str
    taken: LatLon | None = None
    thumbnail: bytes = b""


@dataclass(frozen=True)
class FoundGroup:
    """A group as it was found: photos, the best first; size: bursts and copies counted once."""

    photos: tuple[DiscoveredPhoto, ...]
    size: int
    suggestion: LandmarkSuggestion | None = None


@dataclass(frozen=True)
class Discovery:
    """A group of photos of one landmark, probably.

    id: stays the same when photos join the group. number: in the last listing of its library, 0 =
    not in it. library: the folder that was searched. photos: the best first. size: photos, bursts
    and copies counted once. landmark: of a named group, "" = none.
    """

    id: str
    number: int
    library: str
    photos: tuple[DiscoveredPhoto, ...]
    size: int
    suggestion: LandmarkSuggestion | None = None
    state: DiscoveryState = "open"
    landmark: str = ""


class DiscoveryError(DataError):
    """A group cannot be decided so. code: "unknown_discovery", "already_named", "no_photos", …"""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def new_id(group: FoundGroup, taken: Collection[str]) -> str:
    """A name made of the photos' content, so that a search of the same photos gives it again."""
    digest = hashlib.sha256("\n".join(sorted(one.hash for one in group.photos)).encode())
    while (id := digest.hexdigest()[:12]) in taken or id.isdigit():  # which would be a number
        digest.update(b"+")
    return id


def same_group(group: FoundGroup, earlier: Sequence[Discovery]) -> list[Discovery]:
    """Earlier groups that share half of the smaller one's photos, those that share most first.

    A photo is the same when its bytes or its file are, because other programs write keywords into
    photos.
    """
    hashes = {photo.hash for photo in group.photos}
    files = {photo.file for photo in group.photos}
    shared = []
    for one in earlier:
        both = sum(photo.hash in hashes or photo.file in files for photo in one.photos)
        if both and both >= SAME_GROUP * min(len(group.photos), len(one.photos)):
            shared.append((-both, one.id, one))
    return [one for _, _, one in sorted(shared, key=lambda row: row[:2])]
