"""Groups of photos that the gallery of the running server does not know: list, name, take back.

`whichlandmark discover` has found them and stored them in the recognizer folder. Replies have the
names of files, never their folders, because these are private.
"""

from __future__ import annotations

import hashlib
import logging
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict
from urllib.parse import quote

from ..core.errors import BusyError, DataError, OptionError
from ..core.files import local_path
from ..core.types import SEPARATOR
from ..gallery.records import LandmarkRecord
from ..recognition.answer import shown_name
from ..recognition.folder.discoveries import (
    DiscoveredPhoto,
    Discovery,
    DiscoveryError,
    DiscoveryState,
    DiscoveryStore,
    LandmarkSuggestion,
)
from ..recognition.folder.discovery_groups import SuggestionReason
from ..recognition.folder.discovery_naming import label_now
from .api_errors import ApiError, invalid, storage
from .gallery_browsing import Catalogue, without_metadata
from .gallery_editing import Editor, check_new_name, last_photo
from .live_recognizer import LiveRecognizer, OpenRecognizer

log = logging.getLogger("whichlandmark")

# Fields of a new landmark that naming a group can give.
FACTS = ("title", "wikidata", "latitude", "longitude", "city", "country", "country_code")

LISTED_PHOTOS = 12  # of a group in a list; GET of the group has all

# Code of a DiscoveryError → status of the reply, and what to do about it.
DISCOVERY_FAULTS = {
    "unknown_discovery": (404, "GET /v1/discoveries lists the groups."),
    "already_named": (409, 'Send "action": "reopen" first.'),
    "already_dismissed": (409, 'Send "action": "reopen" first.'),
    "no_photos": (409, "Naming reads the photos where `discover` found them, on this machine."),
}

NO_PHOTOS = "none of the photos of this group can be added"


class SuggestionObject(TypedDict):
    """What a group may show. landmark: label to name it by; known: the gallery has it already.

    reason: guess = the gallery's, which is not sure; near = a landmark where the photos were taken;
    folder, files = the names of these; "" = as `why` says.
    """

    title: str
    landmark: str
    known: bool
    why: str
    reason: SuggestionReason
    wikidata: str
    latitude: float | None
    longitude: float | None
    city: str
    country: str
    country_code: str


class DiscoveredPhotoObject(TypedDict):
    """A photo of a group. number: its place there, from 0; name: of its file."""

    number: int
    name: str
    thumbnail: str


class DiscoveryObject(TypedDict):
    """Photos of one landmark, probably, that the gallery does not know.

    size: photos, bursts and copies counted once; total: all of them; photos: the best first, in a
    list the first 12. version: of its photos; latitude, longitude: where most were taken, null =
    unknown. landmark, title: label and name of a named group; null = it has none.
    """

    id: str
    version: str
    state: DiscoveryState
    size: int
    total: int
    landmark: str | None
    title: str | None
    suggestion: SuggestionObject | None
    latitude: float | None
    longitude: float | None
    photos: list[DiscoveredPhotoObject]


class DiscoveriesReply(TypedDict):
    """Groups, the largest first. total: of this state; open: to be named."""

    total: int
    open: int
    discoveries: list[DiscoveryObject]


class NotAddedObject(TypedDict):
    """A photo that naming did not add. reason: gone = its file is not there any more."""

    photo: str
    reason: Literal["gone", "not_used"]
    message: str


class DecidedReply(TypedDict):
    """The group after a decision. added, moved: ids in the gallery, of new photos and of those
    that had no landmark; not_added: photos that it could not take; known: the gallery had the
    landmark before.
    """

    discovery: DiscoveryObject
    added: list[str]
    moved: list[str]
    not_added: list[NotAddedObject]
    known: bool
    generation: int


@dataclass(frozen=True)
class Naming:
    """How a group is named.

    Attributes:
        landmark: Its label, or the title or a name of one of the gallery.
        facts: Fields of the record of a new landmark; none = the suggestion's, where the landmark
            is the suggested one.
        keep: Numbers of the photos that show it; None = all.
        version: Of the photos that `keep` numbers; None = it is not checked.
    """

    landmark: str
    facts: Mapping[str, Any]
    keep: Sequence[int] | None = None
    version: str | None = None


class Discoveries:
    """The groups of the recognizer folder, through the editor of the server. Thread-safe."""

    def __init__(self, folder: Path, live: LiveRecognizer, editor: Editor) -> None:
        self.store = DiscoveryStore(folder)
        self._live, self._editor = live, editor
        self._known: tuple[Catalogue, KnownLabels] | None = None

    def page(
        self, state: DiscoveryState | Literal["all"], offset: int, limit: int, language: str
    ) -> DiscoveriesReply:
        """Groups of a state, the largest first. Raises ApiError 503."""
        with discovery_errors():
            groups = self.store.all("all")
        wanted = [one for one in groups if state in ("all", one.state)]
        with self._live.use() as opened:
            listed = [
                self._object(one, opened, language, LISTED_PHOTOS)
                for one in wanted[offset : offset + limit]
            ]
        waiting = sum(one.state == "open" for one in groups)
        return {"total": len(wanted), "open": waiting, "discoveries": listed}

    def whole(self, group_id: str, language: str) -> DiscoveryObject:
        """One group with all its photos. Raises ApiError 404."""
        with discovery_errors():
            group = self.store.get(group_id)
        with self._live.use() as opened:
            return self._object(group, opened, language)

    def photo(self, group_id: str, number: int) -> DiscoveredPhoto:
        """A photo of a group, with its thumbnail. Raises ApiError 404."""
        with discovery_errors():
            group = self.store.get(group_id)
            if number >= len(group.photos):
                raise DiscoveryError("unknown_discovery", f"this group has no photo {number}")
            return group.photos[number]

    def thumbnail(self, group_id: str, number: int) -> bytes:
        """A small JPEG without metadata. Raises ApiError 404."""
        with discovery_errors():
            return without_metadata(self.store.thumbnail(group_id, number))

    def name(self, group_id: str, given: Naming, language: str) -> DecidedReply:
        """Add photos of an open group to a landmark, which may be new.

        Raises:
            ApiError: 404 for an unknown group, 409 for one that is decided or has changed, or whose
                photos are gone, 422 for a name or numbers that cannot be used, 503 when the folder
                cannot be written.
        """
        check_new_name(given.landmark)
        with self._editor.exclusive(), discovery_errors():
            group = self.store.get(group_id)
            _check_kept(group, given)
            with self._live.use() as opened:
                suggested = self._labels(opened).suggestion(group.suggestion)
            record = _record(given.landmark, given.facts) if given.facts else None
            if not record and suggested and given.landmark.strip() == suggested["landmark"]:
                assert group.suggestion is not None
                record = group.suggestion.record(suggested["landmark"])
            done = self.store.name(
                group_id, given.landmark, record=record, keep=given.keep,
                embedder=self._live.embedder,
            )  # fmt: skip
            self._live.refresh()
        files = {photo.name: photo.file for photo in group.photos}
        with self._live.use() as opened:
            return {
                "discovery": self._object(done.discovery, opened, language),
                "added": done.added, "moved": done.moved,
                "not_added": [_not_added(files[name], why) for name, why in done.left_out.items()],
                "known": done.known, "generation": opened.generation,
            }  # fmt: skip

    def decide(
        self, group_id: str, action: Literal["dismiss", "reopen"], language: str
    ) -> DecidedReply:
        """Say that a group shows no landmark, or take what was decided back.

        Raises:
            ApiError: 404 for an unknown group, 409 for one that is decided, or where the gallery
                would have no landmark any more, 503 when the folder cannot be written.
        """
        with self._editor.exclusive(), discovery_errors():
            if action == "dismiss":
                group = self.store.dismiss(group_id)
            else:
                named = self.store.get(group_id)
                with self._live.use() as opened:
                    label = label_now(self.store.folder, named.landmark)
                    if named.state == "named" and opened.catalogue.names == [label]:
                        raise last_photo()
                group = self.store.reopen(group_id)
            self._live.refresh()
        with self._live.use() as opened:
            return {
                "discovery": self._object(group, opened, language), "added": [], "moved": [],
                "not_added": [], "known": False, "generation": opened.generation,
            }  # fmt: skip

    def _labels(self, opened: OpenRecognizer) -> KnownLabels:
        """Prepared once for each generation."""
        known = self._known
        if known is None or known[0] is not opened.catalogue:
            self._known = known = (opened.catalogue, KnownLabels(opened.catalogue))
        return known[1]

    def _object(
        self, group: Discovery, opened: OpenRecognizer, language: str, most: int | None = None
    ) -> DiscoveryObject:
        labels = self._labels(opened)
        places = [photo.taken for photo in group.photos if photo.taken]
        named = group.landmark if group.state == "named" else None
        if named and named not in labels.names:
            named = label_now(self.store.folder, named)
        return {
            "id": group.id, "version": _version(group), "state": group.state, "size": group.size,
            "total": len(group.photos), "landmark": named,
            "title": shown_name(named, opened.facts.records, language) if named else None,
            "suggestion": labels.suggestion(group.suggestion),
            "latitude": statistics.median_low(at[0] for at in places) if places else None,
            "longitude": statistics.median_low(at[1] for at in places) if places else None,
            "photos": [
                {"number": n, "name": file_name(photo.name), "thumbnail": _address(group.id, n)}
                for n, photo in enumerate(group.photos[:most])
            ],
        }  # fmt: skip


class KnownLabels:
    """Finds the gallery's landmark that a suggestion is about. catalogue: of one generation."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.names, self._records = {*catalogue.names}, catalogue.records
        self._by_wikidata: dict[str, list[str]] = {}
        self._called: dict[str, set[str]] = {}
        for label in catalogue.names:
            record = self._records.get(label) or LandmarkRecord(label)
            if record.wikidata:
                self._by_wikidata.setdefault(record.wikidata, []).append(label)
            for text in (label.replace("_", " "), record.title, *record.names.values()):
                self._called.setdefault(text.casefold(), set()).add(label)

    def suggestion(self, given: LandmarkSuggestion | None) -> SuggestionObject | None:
        """A suggestion with the label to name the group by.

        That is the gallery's label where it has the landmark, by the Wikidata id or else by a name;
        a new one never takes the name of another landmark.
        """
        if given is None:
            return None
        label = given.landmark or " ".join(given.title.replace(SEPARATOR, " ").split())
        same = self._by_wikidata.get(given.wikidata, [])
        called = {label} & self.names or self._called.get(label.casefold(), set())
        others = {one for one in called if given.wikidata
                  and (record := self._records.get(one)) and record.wikidata}  # fmt: skip
        if same:
            label = label if label in same else same[0]
        elif others:  # as of two churches of the same name
            label = f"{label} ({given.wikidata})"
        elif len(called) == 1:
            (label,) = called
        return {
            "title": given.title, "landmark": label, "known": label in self.names,
            "why": given.why, "reason": given.reason, "wikidata": given.wikidata,
            "latitude": given.latitude, "longitude": given.longitude, "city": given.city,
            "country": given.country, "country_code": given.country_code,
        }  # fmt: skip


def _record(landmark: str, facts: Mapping[str, Any]) -> LandmarkRecord:
    """The record of a new landmark. Raises ApiError 422 for a value that no record may have."""
    try:
        return LandmarkRecord(landmark.strip()).changed(facts)
    except DataError as error:
        raise ApiError(422, "invalid_record", str(error)) from None


def _not_added(file: str, why: str) -> NotAddedObject:
    """file: as stored; why: may name it with its folder, which is not told."""
    shown, path = file_name(file), local_path(file)
    if not os.path.exists(path):
        return {"photo": shown, "reason": "gone", "message": f"{shown}: no such file"}
    message = why.replace(file, shown).replace(path, shown)
    if os.path.dirname(path) in message:
        message = f"{shown}: cannot be used"
    return {"photo": shown, "reason": "not_used", "message": message}


def _check_kept(group: Discovery, given: Naming) -> None:
    keep = given.keep
    if given.version is not None and given.version != _version(group):
        raise ApiError(
            409,
            "discovery_changed",
            "Other photos have joined this group, or left it, since it was listed.",
            "GET it again.",
        )
    if keep is None:
        return
    if not keep:
        raise ApiError(
            422, "nothing_kept", "No photo of the group is kept.", 'Keep some, or send "dismiss".'
        )
    if not set(keep) <= set(range(len(group.photos))):
        raise invalid(f"keep: expected numbers from 0 to {len(group.photos) - 1}")


def _version(group: Discovery) -> str:
    """Changes with the photos of a group and their order."""
    text = "\n".join(photo.hash for photo in group.photos)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _address(group_id: str, number: int) -> str:
    return f"/v1/discoveries/{quote(group_id, safe='')}/photos/{number}"


def file_name(path: str) -> str:
    """The last part of a path, as text that any client can read."""
    return os.path.basename(path).encode("utf-8", "replace").decode()


@contextmanager
def discovery_errors() -> Iterator[None]:
    """Raise errors of the stored groups as ApiErrors."""
    try:
        yield
    except DiscoveryError as error:
        status, hint = DISCOVERY_FAULTS[error.code]
        message = NO_PHOTOS if error.code == "no_photos" else str(error)  # which names a folder
        raise ApiError(status, error.code, f"{message[0].upper()}{message[1:]}.", hint) from None
    except OptionError as error:
        raise ApiError(422, "invalid_name", str(error)) from None
    except BusyError:
        raise
    except DataError as error:
        log.warning("%s", error)
        raise storage("The groups of new landmarks cannot be used.") from None
