"""What this program puts on photos in Immich: the names of its tags, and when a position is its."""

from __future__ import annotations

from typing import NamedTuple

from ..core.errors import OptionError
from ..core.photo_files import LatLon

ROOT = "landmark"

MARK = "by-whichlandmark"  # below the root: on every photo that was labelled

PLACED_MARK = "position-by-whichlandmark"  # on every photo whose position was written

NEAR_DEGREES = 1e-5  # about a metre: Immich writes positions into sidecars and reads them again

_LEVELS = str.maketrans({"/": "\u2215", "|": "\u2223"})  # look-alikes of what begins a level


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
