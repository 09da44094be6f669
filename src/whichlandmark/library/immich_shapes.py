"""Assets and tags as Immich's API gives them, and the tags that this program puts on assets.

What has another shape is a ValueError.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..core.errors import OptionError
from ..core.http_reading import plain
from ..core.photo_files import LatLon

ID = re.compile(r"[0-9a-fA-F-]{36}")

ROOT = "landmark"

MARK = "by-whichlandmark"  # below the root: on every photo that was labelled

PLACED_MARK = "position-by-whichlandmark"  # on every photo whose position was written

NEAR_DEGREES = 1e-5  # about a metre: Immich writes positions into sidecars and reads them again

_LEVELS = str.maketrans({"/": "\u2215", "|": "\u2223"})  # look-alikes of what begins a level


@dataclass(frozen=True)
class Tag:
    """A tag. value: with all its levels, as "landmark/Eiffel Tower"."""

    id: str
    value: str


@dataclass(frozen=True)
class Asset:
    """A photo in Immich.

    taken: `fileCreatedAt`; updated: when the server last changed it. shown: in the timeline.
    position: None = it has none, or 0/0, which Immich itself takes for none. zero: it is 0/0.
    tags: None where the answer has none.
    """

    id: str
    name: str
    owner: str
    taken: str
    updated: str
    image: bool
    trashed: bool
    archived: bool
    shown: bool
    position: LatLon | None
    zero: bool
    tags: tuple[Tag, ...] | None


@dataclass(frozen=True)
class Server:
    """Who answers: its version, and the user of the key."""

    version: tuple[int, int, int]
    user: str
    user_name: str

    @property
    def shown(self) -> str:
        return f"Immich v{'.'.join(map(str, self.version))}"


def tag_of(value: Any) -> Tag:
    """A tag; before v1.113 it has a name only."""
    row = value if isinstance(value, dict) else {}
    tag = Tag(str(row.get("id", "")), str(row.get("value") or row.get("name") or ""))
    if not ID.fullmatch(tag.id):
        raise ValueError("a tag without an id")
    return tag


def asset_of(value: Any) -> Asset:
    """An asset; `visibility` is there from v1.133, `isArchived` before."""
    row = value if isinstance(value, dict) else {}
    id, exif, tags = str(row.get("id", "")), row.get("exifInfo"), row.get("tags")
    if not ID.fullmatch(id):
        raise ValueError("an asset without an id")
    exif = exif if isinstance(exif, dict) else {}
    position = _position(exif.get("latitude"), exif.get("longitude"))
    zero = position is not None and not any(position)
    seen = row.get("visibility")
    archived = seen == "archive" or bool(row.get("isArchived"))
    return Asset(
        id=id,
        name=plain(str(row.get("originalFileName") or id), 200),
        owner=str(row.get("ownerId") or ""),
        taken=str(row.get("fileCreatedAt") or ""),
        updated=str(row.get("updatedAt") or ""),
        image=row.get("type", "IMAGE") == "IMAGE",
        trashed=bool(row.get("isTrashed")),
        archived=archived,
        shown=not archived and seen in (None, "timeline"),
        position=None if zero else position,
        zero=zero,
        tags=tuple(map(tag_of, tags)) if isinstance(tags, list) else None,
    )


def _position(latitude: Any, longitude: Any) -> LatLon | None:
    both = (latitude, longitude)
    if any(isinstance(one, bool) or not isinstance(one, int | float) for one in both):
        return None
    return float(latitude), float(longitude)


class Marks(NamedTuple):
    """The values of this program's own tags."""

    root: str
    mark: str
    placed: str

    @classmethod
    def below(cls, root: str) -> Marks:
        """Those below a root. Raises OptionError for what is no tag."""
        levels = [_one_line(level) for level in root.split("/")]
        if not all(levels) or len(root) > 200:
            raise OptionError(
                f"--root {root[:200]!r}: expected the name of a tag, such as landmark or "
                "places/landmark, without an empty level"
            )
        joined = "/".join(levels)
        return cls(joined, f"{joined}/{MARK}", f"{joined}/{PLACED_MARK}")

    def of(self, title: str) -> str:
        """The tag of a landmark: one level below the root, whatever its title has in it."""
        return f"{self.root}/{_one_line(title).translate(_LEVELS)[:200] or 'unnamed'}"


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def same_place(a: LatLon | None, b: LatLon) -> bool:
    """Whether two positions are one, but for the rounding of Immich and exiftool."""
    return a is not None and all(
        abs(one - other) <= NEAR_DEGREES for one, other in zip(a, b, strict=True)
    )
