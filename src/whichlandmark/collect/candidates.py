"""Photos that may be taken of a landmark, and the order in which they are.

A photo of a landmark is one that says that it depicts it (P180), else one in its category or in a
subcategory of it. As a rule, those chosen with a limit are among those chosen with a higher one.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..core.types import Progress
from .http_client import RefusedError
from .wikidata_items import Landmark
from .wikimedia import Commons, CommonsPhoto, category_key

WINDOW, PICKS = 40, 10  # of so many photos found, so many are chosen

MAX_SUBCATEGORIES = 60  # of one landmark

# Subcategories whose files are not photos of the landmark from outside.
_NOT_OF_IT = re.compile(
    r"\b(interiors?|inside|maps?|plans?|drawings?|paintings?|engravings?|etchings?|prints?|"
    r"postcards?|posters?|stamps?|coins?|logos?|videos?|audio|sounds?|documents?|books?|people|"
    r"models?|miniatures?|replicas?|diagrams?|svg|in art|(views?|panoramas?|seen|photographs) from|"
    r"views? of .* from)\b",
    re.IGNORECASE,
)


@dataclass
class Candidates:
    """The photos found for one landmark, in the order in which they were found.

    categories: its own and all subcategories seen, also those that were passed over. copies: files
    whose bytes are those of another one. fault: why the search ended early, "" = it did not.
    """

    landmark: Landmark
    usable: list[CommonsPhoto] = field(default_factory=list)
    refused: list[CommonsPhoto] = field(default_factory=list)
    copies: dict[int, int] = field(default_factory=dict)
    categories: set[str] = field(default_factory=set)
    fault: str = ""


def find_candidates(
    commons: Commons, landmarks: Sequence[Landmark], *, limit: int, depth: int, progress: Progress
) -> list[Candidates]:
    """Photos of every landmark, about four times the limit where there are so many.

    depth: of subcategories. The category of another landmark asked for is not entered, because its
    photos show that one.
    """
    own = {category_key(one.category) for one in landmarks if one.category}
    enough = math.ceil(limit / PICKS) * WINDOW
    found = []
    for number, landmark in enumerate(landmarks):
        progress(number, len(landmarks))
        one, seen = Candidates(landmark), set[int]()
        try:
            for photo in _stream(commons, one, own, depth):
                if photo.pageid in seen:
                    continue
                seen.add(photo.pageid)
                (one.refused if photo.refused else one.usable).append(photo)
                if len(one.usable) >= enough:
                    break
        except RefusedError as error:
            one.fault = str(error)
        found.append(one)
    progress(len(landmarks), len(landmarks))
    _set_copies_apart(found)
    return found


def _stream(commons: Commons, one: Candidates, own: set[str], depth: int) -> Iterator[CommonsPhoto]:
    """Photos of a landmark: what depicts it, its category, then its subcategories."""
    category = category_key(one.landmark.category)
    one.categories |= {category} - {""}
    names = [category, *_subcategories(commons, one, own, depth)] if category else []
    yield from commons.depicting(one.landmark.id)
    for name in names:
        yield from commons.members(name)


def _subcategories(commons: Commons, one: Candidates, own: set[str], depth: int) -> list[str]:
    """The subcategories of a landmark's category, the nearest first; circles end."""
    own_name = category_key(one.landmark.category)
    level = [own_name]
    entered: list[str] = []
    for _ in range(depth):
        following = []
        for name in level:
            for below in map(category_key, commons.subcategories(name)):
                if below in one.categories or below in own:
                    continue
                one.categories.add(below)
                rest = below.casefold().replace(own_name.casefold(), " ")  # of "People's Palace"
                if not _NOT_OF_IT.search(rest) and len(entered) < MAX_SUBCATEGORIES:
                    following.append(below)
                    entered.append(below)
        level = following
    return entered


def _set_copies_apart(found: Sequence[Candidates]) -> None:
    """Of files with the same bytes, the one with the lowest page id stays usable."""
    first: dict[str, int] = {}
    for photo in (photo for one in found for photo in one.usable if photo.sha1):
        first[photo.sha1] = min(photo.pageid, first.get(photo.sha1, photo.pageid))
    for one in found:
        one.copies = {photo.pageid: first[photo.sha1] for photo in one.usable
                      if first.get(photo.sha1, photo.pageid) != photo.pageid}  # fmt: skip
        one.usable = [photo for photo in one.usable if photo.pageid not in one.copies]


def in_order(photos: Sequence[CommonsPhoto], shared: set[int]) -> Iterator[CommonsPhoto]:
    """The order in which photos are chosen: each uploader's in turn, so that one series is not all.

    Photos are looked at in windows as they were found, so that those chosen with a limit are among
    those chosen with a higher one. shared: photos of several landmarks, taken last.
    """
    used: Counter[str] = Counter()
    rest: list[CommonsPhoto] = []

    def take(left: list[CommonsPhoto]) -> CommonsPhoto:
        ranks = [(photo.pageid in shared, used[photo.uploader]) for photo in left]
        best = ranks.index(min(ranks))
        used[left[best].uploader] += 1
        return left.pop(best)

    for start in range(0, len(photos), WINDOW):
        window = [*photos[start : start + WINDOW]]
        for _ in range(math.ceil(len(window) * PICKS / WINDOW)):
            yield take(window)
        rest += window
    while rest:
        yield take(rest)
