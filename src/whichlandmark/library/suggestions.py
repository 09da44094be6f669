"""What a group of photos may show: by the gallery's guesses, places nearby, and folder names."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..core.files import local_path, text_of_bytes
from ..core.photo_files import LatLon
from ..gallery.records import LandmarkRecord
from ..recognition.folder.discoveries import LandmarkSuggestion
from ..recognition.location import distance_km

NEAR_KM = 0.3  # between the photos of a group and a place that they may show

FAR_KM = 5.0  # from here a landmark is not the one that the gallery guesses

GUESSED_SHARE = 0.66  # of a group's photos that are guessed to show the same landmark

LEAST_GUESS = 0.5  # confidence of such a guess

NAMED_SHARE = 0.6  # of a group's photos whose folders or files have the same name

# Names that cameras, phones and programs give, which say nothing of a place.
_NO_NAME = re.compile(
    r"(img|dsc[a-z]?|dscn|dcim|pict?|pxl|gopr|mvi|mov|vid|photos?|pictures?|images?|camera|phone|"
    r"whatsapp|signal|screenshots?|export(ed)?s?|edit(ed)?s?|raw|jpe?gs?|originals?|backup|copy|"
    r"unknown|misc|various|new|folder|album|library|takeout|untitled|holidays?|vacation|trip|urlaub"
    r"|bilder|fotos?|from|of|the|and|und|et|de|la|le|in|at|burst|hdr|pano|portrait|night|wa|scan)",
    re.IGNORECASE,
)

Nearby = Callable[[LatLon], LandmarkSuggestion | None]  # position → a landmark near it


@dataclass(frozen=True, eq=False)
class GroupFacts:
    """What is known of a group's photos.

    files, places: of each. guesses: label and confidence of each. like_gallery: Are they as similar
    to photos of the gallery as to each other? Look-alikes of its landmarks are not.
    """

    files: Sequence[str]
    places: Sequence[LatLon | None]
    guesses: Sequence[tuple[str, float] | None]
    like_gallery: bool = True


@dataclass(frozen=True, eq=False)
class Suggester:
    """Suggests what groups show.

    Attributes:
        top: The library's folder.
        known: Label → record of the gallery's landmarks.
        folders: Folder → how many of the library's photos lie in it.
        tables: Records of landmarks that the gallery need not have, by a table that the user gave.
        table_name: What that table is called.
        nearby: Asks someone else, such as Wikidata; None = nobody is asked.
    """

    top: str
    known: Mapping[str, LandmarkRecord]
    folders: Mapping[str, int] = field(default_factory=dict)
    tables: Sequence[LandmarkRecord] = ()
    table_name: str = ""
    nearby: Nearby | None = None

    def __call__(self, facts: GroupFacts) -> LandmarkSuggestion | None:
        """The first that is found: the gallery's guess, a place nearby, the photos' names."""
        center = median_place(facts.places)
        return (
            self._guessed(facts, center)
            or (self._near(center) if center else None)
            or (self.nearby(center) if center and self.nearby else None)
            or self._named(facts.files)
        )

    def _guessed(self, facts: GroupFacts, center: LatLon | None) -> LandmarkSuggestion | None:
        counts = Counter(one[0] for one in facts.guesses if one and one[1] >= LEAST_GUESS)
        if not counts or not facts.like_gallery:
            return None
        label, count = counts.most_common(1)[0]
        record = self.known.get(label, LandmarkRecord(label))
        if count < GUESSED_SHARE * len(facts.files) or _km(center, record) > FAR_KM:
            return None
        return LandmarkSuggestion.of(
            record, f"the gallery has it, and guessed it for {count} of {len(facts.files)} "
            "photos without being sure", "guess",
        )  # fmt: skip

    def _near(self, center: LatLon) -> LandmarkSuggestion | None:
        own = {one.name for one in self.tables}
        others = [one for label, one in self.known.items() if label not in own]
        near = sorted(
            ((km, at, one) for at, one in enumerate([*self.tables, *others])
             if (km := _km(center, one)) <= NEAR_KM),
        )  # fmt: skip
        if not near:
            return None
        km, _, record = near[0]
        source = self.table_name if record.name in own else "the gallery"
        why = f"{1000 * km:.0f} m from the photos, by {source}"
        return LandmarkSuggestion.of(record, why, "near")

    def _named(self, files: Sequence[str]) -> LandmarkSuggestion | None:
        """A name that most of the photos' folders, or most of their files, have."""
        below = [os.path.relpath(local_path(file), self.top) for file in files]
        parents = Counter(place for name in below for place in _folders(name))
        total = max(self.folders.values(), default=0)
        for folder, count in sorted(parents.items(), key=lambda row: (-len(row[0]), row)):
            says = name_in(os.path.basename(folder))
            most_of_all = total and self.folders.get(folder, 0) > max(total / 2, len(files))
            if says and count >= NAMED_SHARE * len(files) and not most_of_all:
                shown = text_of_bytes(os.path.basename(folder))
                why = f"{count} of {len(files)} photos are in the folder {shown!r}"
                return LandmarkSuggestion(says, why, reason="folder")
        names = Counter(filter(None, (name_in(os.path.splitext(os.path.basename(name))[0])
                                      for name in below)))  # fmt: skip
        if names and names.most_common(1)[0][1] >= NAMED_SHARE * len(files):
            says, count = names.most_common(1)[0]
            why = f"{count} of {len(files)} files are called so"
            return LandmarkSuggestion(says, why, reason="files")
        return None


def median_place(places: Iterable[LatLon | None]) -> LatLon | None:
    """The median position, which a single wrong one does not move; None = none is known."""
    known = np.array([place for place in places if place], dtype=np.float64)
    if not len(known):
        return None
    latitude = float(np.median(known[:, 0]))
    around = known[0, 1]  # so that places on both sides of 180° are near each other
    turned = (known[:, 1] - around + 180) % 360 - 180
    longitude = (around + float(np.median(turned)) + 180) % 360 - 180
    return latitude, float(longitude)


def name_in(text: str) -> str:
    """The words of a folder's or file's name that may name a place: without dates and numbers."""
    words = re.findall(r"[^\W\d_]+(?:['’.-][^\W\d_]+)*\.?", text_of_bytes(text))
    kept = [word for word in words if len(word) > 1]
    if not any(len(word) > 2 and not _NO_NAME.fullmatch(word) for word in kept):
        return ""
    while kept and _NO_NAME.fullmatch(kept[0]):
        kept.pop(0)
    return " ".join(kept)[:200]


def folders_of(files: Iterable[str], top: str) -> Counter[str]:
    """Folder below the library → number of photos in it and below it; "" = all."""
    found: Counter[str] = Counter()
    for file in files:
        found.update(["", *_folders(os.path.relpath(local_path(file), top))])
    return found


def _folders(name: str) -> list[str]:
    parts = name.split(os.sep)[:-1]
    return [os.sep.join(parts[: at + 1]) for at in range(len(parts))]


def _km(center: LatLon | None, record: LandmarkRecord) -> float:
    """Distance of a landmark; NaN = unknown."""
    if center is None or record.latitude is None or record.longitude is None:
        return math.nan
    return float(distance_km(center, (record.latitude, record.longitude)))
