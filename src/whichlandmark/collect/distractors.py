"""Photos of the same place that show none of the landmarks: the distractors.

A photo is one only if nothing known of it says that it shows a landmark asked for: neither its
camera's place, its categories, what it says it depicts, its name and description, nor that it was
found with a landmark. What no one wrote down, such as a tower in the background, stays unknown.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..recognition.location import distance_km
from .wikidata_items import Landmark
from .wikimedia import (
    GEOSEARCH_LIMIT,
    MAX_RADIUS_M,
    MIN_RADIUS_M,
    Commons,
    CommonsPhoto,
    Spot,
    category_key,
)

MIN_DISTANCE_M = 200  # of the camera from every landmark

RADIUS_M = 3_000  # around landmarks that were asked for by name

MAX_CENTERS = 40  # circles around such landmarks

TILE_LEVELS = 2  # how often a circle that a search does not empty is cut into four

MIN_NAME = 4  # letters: a shorter name is in too many others; 2 in scripts without blanks

_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af]")

CELLS = 8  # on a side of the place, from which distractors are taken in turn

Circle = tuple[float, float, float]  # latitude, longitude, radius in meters


@dataclass
class Asked:
    """What tells that a photo shows a landmark asked for.

    ids: items; places: (latitude, longitude); categories: of the landmarks and their
    subcategories, as `category_key` writes them; pages, sums: page ids and sha1 of all photos that
    were found for a landmark, used or not.
    """

    ids: set[str] = field(default_factory=set)
    places: list[tuple[float, float]] = field(default_factory=list)
    categories: set[str] = field(default_factory=set)
    pages: set[int] = field(default_factory=set)
    sums: set[str] = field(default_factory=set)
    _names: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, landmarks: Iterable[Landmark]) -> Asked:
        """What the landmarks' records tell."""
        asked = cls()
        for landmark in landmarks:
            record = landmark.record
            asked.ids.add(landmark.id)
            if record.latitude is not None and record.longitude is not None:
                asked.places.append((record.latitude, record.longitude))
            if landmark.category:
                asked.categories.add(category_key(landmark.category))
            category = re.sub(r"\s*\([^()]*\)\s*$", "", landmark.category)
            names = map(_words, (record.title, category, *record.names.values()))
            asked._names.update(
                name for name in names if len(name) >= (2 if _UNSPACED.search(name) else MIN_NAME)
            )
        return asked

    def add(
        self, categories: Iterable[str], photos: Iterable[CommonsPhoto], pages: Iterable[int]
    ) -> None:
        """What was found for a landmark: its categories, its photos, and more page ids."""
        self.categories.update(categories)
        for photo in photos:
            self.pages.add(photo.pageid)
            self.sums.update(filter(None, [photo.sha1]))
        self.pages.update(pages)

    def is_near(self, latitude: float, longitude: float) -> bool:
        """Is a place too near to a landmark?"""
        if not self.places:
            return False
        nearest = distance_km((latitude, longitude), np.array(self.places)).min()
        return bool(1000 * nearest < MIN_DISTANCE_M)

    def is_named_in(self, text: str) -> bool:
        """Does a text name a landmark, whatever its case, accents and punctuation?"""
        plain = f" {_words(text)} "
        # In scripts without blanks names are found inside words too.
        return any(f" {name} " in plain or (name in plain and _UNSPACED.search(name))
                   for name in self._names)  # fmt: skip

    def shown_by(self, photo: CommonsPhoto, categories: Iterable[str], items: set[str]) -> str:
        """Why a photo may show a landmark asked for; "" = nothing says so.

        items: that it says it depicts.
        """
        if photo.pageid in self.pages or (photo.sha1 and photo.sha1 in self.sums):
            return "was found for a landmark"
        if items & self.ids:
            return "depicts a landmark"
        if photo.latitude is None or photo.longitude is None:
            return "its place is not known"
        if self.is_near(photo.latitude, photo.longitude):
            return f"taken less than {MIN_DISTANCE_M} m from a landmark"
        if any(category_key(name) in self.categories for name in categories):
            return "in a category of a landmark"
        if self.is_named_in(" / ".join((photo.title, photo.description, *sorted(categories)))):
            return "named like a landmark"
        return ""


def circles_of(
    near: tuple[float, float] | None, radius_m: float, landmarks: Iterable[Landmark]
) -> list[Circle]:
    """Where to look for distractors: around the place asked for, else around the landmarks.

    A landmark inside the circle of another one needs none of its own.
    """
    if near:
        return [(*near, radius_m)]
    circles: list[Circle] = []
    for landmark in landmarks:
        latitude, longitude = landmark.record.latitude, landmark.record.longitude
        if latitude is None or longitude is None or len(circles) == MAX_CENTERS:
            continue
        if all(meters(latitude, longitude, *circle[:2]) > RADIUS_M / 2 for circle in circles):
            circles.append((latitude, longitude, RADIUS_M))
    return circles


def spots_in(commons: Commons, circles: Sequence[Circle], asked: Asked, enough: int) -> list[Spot]:
    """The photos in these circles that may be distractors by their place and name, spread out.

    The search gives the nearest 500 of a circle, and is not continued: a circle that has them is
    cut into four, and once more, until there are `enough`. They come from all parts of the place in
    turn, not from its middle first.
    """
    found: dict[int, Spot] = {}
    todo = [one for circle in circles for one in _searchable(circle)]
    for level in range(TILE_LEVELS + 1):
        full = []
        for circle in todo:
            rows = commons.spots(*circle)
            if len(rows) >= GEOSEARCH_LIMIT and circle[2] > 2 * MIN_RADIUS_M:
                full.append(circle)
            for spot in rows:
                inside = any(meters(spot.latitude, spot.longitude, lat, lon) <= radius
                             for lat, lon, radius in circles)  # fmt: skip
                if inside and spot.pageid not in asked.pages and not asked.is_named_in(spot.title):
                    found[spot.pageid] = spot
        found = {pageid: spot for pageid, spot in found.items()
                 if not asked.is_near(spot.latitude, spot.longitude)}  # fmt: skip
        if level == TILE_LEVELS or not full or len(found) >= enough:
            break
        todo = [tile for circle in full for tile in _cover(circle, circle[2] / math.sqrt(2))]
    return list(_spread(found))


def eligible(
    commons: Commons, spots: Sequence[Spot], asked: Asked, enough: int
) -> tuple[list[CommonsPhoto], list[CommonsPhoto]]:
    """The first `enough` photos of these places that may be distractors, and those refused.

    What they depict is not asked here.
    """
    found: list[CommonsPhoto] = []
    refused: list[CommonsPhoto] = []
    for start in range(0, len(spots), 50):
        part = [spot.pageid for spot in spots[start : start + 50]]
        details = commons.details(part)
        for pageid in part:
            if pageid in details and not asked.shown_by(*details[pageid], set()):
                photo = details[pageid][0]
                (refused if photo.refused else found).append(photo)
        if len(found) >= enough:
            break
    return found[:enough], refused


def meters(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> float:
    """The great-circle distance between two places."""
    return 1000 * float(distance_km((latitude, longitude), (to_latitude, to_longitude)))


def _searchable(circle: Circle) -> list[Circle]:
    """The circle, or those that cover it where it is larger than one search may be."""
    return _cover(circle, MAX_RADIUS_M) if circle[2] > MAX_RADIUS_M else [circle]


def _cover(circle: Circle, tile: float) -> list[Circle]:
    """Circles of radius `tile` that cover a circle, from the north-west to the south-east."""
    latitude, longitude, radius = circle
    count = math.ceil(2 * radius / (tile * math.sqrt(2)) - 1e-9)  # the squares inside the tiles
    circles = []
    for row in range(count):
        for column in range(count):
            north = (count - 1 - 2 * row) * radius / count
            east = (2 * column - count + 1) * radius / count
            at = latitude + north / 111_195
            if math.hypot(north, east) <= radius + tile and abs(at) < 90:
                turned = longitude + east / (111_195 * max(math.cos(math.radians(at)), 1e-6))
                circles.append((at, (turned + 180) % 360 - 180, tile))
    return circles


def _spread(spots: Mapping[int, Spot]) -> Iterator[Spot]:
    """The photos of all cells of a grid over the place in turn, each cell's by page id."""
    if not spots:
        return
    north = [spot.latitude for spot in spots.values()]
    east = [spot.longitude for spot in spots.values()]
    steps = [max(max(axis) - min(axis), 1e-9) / CELLS for axis in (north, east)]
    cells: dict[tuple[int, int], list[Spot]] = {}
    for _, spot in sorted(spots.items()):
        cell = (int((spot.latitude - min(north)) / steps[0]),
                int((spot.longitude - min(east)) / steps[1]))  # fmt: skip
        cells.setdefault(cell, []).append(spot)
    for turn in range(max(map(len, cells.values()))):
        for _, row in sorted(cells.items()):
            if turn < len(row):
                yield row[turn]


def _words(text: str) -> str:
    """A text in small letters without accents, its words with single blanks between them."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    kept = "".join(letter if letter.isalnum() else "" if unicodedata.combining(letter) else " "
                   for letter in plain)  # fmt: skip
    return " ".join(kept.split())
