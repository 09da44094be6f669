"""What is dropped from a photo collection, and the counted reason of each drop.

Nothing is deleted: a table goes in, a smaller table and a list of reasons come out.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image as Pillow

from ..errors import ImageError, OptionError
from ..files import whole_file
from ..images import content_hash, read_bytes, read_image
from ..types import Image, Photos
from .likeness import NEAR_BITS, SIDE, Fingerprint, fingerprint, near_pairs
from .table import relative_path

UNREADABLE = "unreadable"
CONFLICTING = "same file under two landmarks"
DUPLICATE = "duplicate"
NEAR_DUPLICATE = "near duplicate"
NOT_OUTDOOR = "not outdoors"
TOO_FEW = "too few photos of the landmark"
REASONS = (UNREADABLE, CONFLICTING, DUPLICATE, NEAR_DUPLICATE, NOT_OUTDOOR, TOO_FEW)
LEAK = "kept: same picture under two landmarks"

VOTE_SIDE = 256  # pixels of the short side that an outdoor vote sees, at least
_BATCH = 256  # photos decoded between two reports of progress

Reasons = dict[int, tuple[str, str]]  # row → (reason, detail)


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """min_photos: fewest photos of a landmark that is kept.
    near_bits: photos whose 64-bit hashes differ in at most so many bits are compared closely;
      more finds stronger crops and takes longer.
    """

    min_photos: int = 4
    near_bits: int = NEAR_BITS

    def __post_init__(self) -> None:
        if self.min_photos < 1:
            raise OptionError(f"min_photos {self.min_photos} given; expected 1 or more")
        if not 0 <= self.near_bits <= 32:
            raise OptionError(f"near_bits {self.near_bits} given; expected 0 to 32 of 64")


@dataclass(frozen=True)
class Drop:
    """One photo left out. detail: the decoder's words, or the photo that stays instead."""

    id: str
    path: str
    landmark: str
    reason: str
    detail: str


@dataclass(frozen=True)
class CleanResult:
    """kept: the photos that stay, in table order; dropped: the others, in table order;
    leaks: photos that show the same picture as one of another landmark (detail names it).
    A leak is no drop: nobody but a person can tell which landmark is right.
    """

    kept: Photos
    dropped: list[Drop]
    leaks: list[Drop] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Reason → photos, in the order in which reasons are looked for; leaks come last."""
        found = Counter(row.reason for row in self.dropped + self.leaks)
        return {reason: found[reason] for reason in (*REASONS, LEAK) if found[reason]}


@dataclass(frozen=True)
class _Seen:
    """What one look at a photo leaves: enough to compare it, not its pixels."""

    hash: str = ""
    pixels: int = 0
    bytes: int = 0
    look: Fingerprint | None = None
    outdoor: bool = True
    error: str = ""


def clean(
    photos: Photos,
    options: Cleaning | None = None,
    *,
    is_outdoor: Callable[[Image], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CleanResult:
    """Drop, in this order: unreadable; the same bytes under two landmarks (all of them: nobody
    can tell which is right); duplicates (the first id stays); near duplicates within a landmark
    (the one of most pixels stays, then of most bytes, then the first id); photos that
    `is_outdoor` rejects; landmarks with too few photos left.

    is_outdoor: a vote on the upright pixels, (H, W, 3) uint8 with 256 px or more on the short
      side where the photo has them; called from several threads. None = no vote.
    progress: called with (photos seen, photos in all).
    Photos without a landmark are never too few. About 10 KB of memory a photo.
    """
    options = options or Cleaning()
    seen = _look(photos, is_outdoor, progress)
    reasons: Reasons = {
        row: (UNREADABLE, look.error) for row, look in enumerate(seen) if look.error
    }
    _same_bytes(photos, seen, reasons)
    leaks = _near_duplicates(photos, seen, options.near_bits, reasons)
    for row, look in enumerate(seen):
        if not look.outdoor:
            reasons.setdefault(row, (NOT_OUTDOOR, ""))
    _too_few(photos, options.min_photos, reasons)
    return CleanResult(
        kept=photos.take([row for row in range(len(photos)) if row not in reasons]),
        dropped=[_drop(photos, row, *reasons[row]) for row in sorted(reasons)],
        leaks=leaks,
    )


def _look(
    photos: Photos,
    is_outdoor: Callable[[Image], bool] | None,
    progress: Callable[[int, int], None] | None,
) -> list[_Seen]:
    """One look at each photo, in table order. Pillow decodes in several threads at once."""

    def look(path: str) -> _Seen:
        try:
            data = read_bytes(path)
            image = read_image(data, short_side=VOTE_SIDE if is_outdoor else SIDE, name=path)
        except ImageError as error:
            return _Seen(error=str(error))
        return _Seen(
            hash=content_hash(data),
            pixels=_pixels(data),
            bytes=len(data),
            look=fingerprint(image),
            outdoor=is_outdoor(image) if is_outdoor else True,
        )

    seen: list[_Seen] = []
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(photos), _BATCH):
            seen += pool.map(look, photos.paths[start : start + _BATCH])
            if progress:
                progress(len(seen), len(photos))
    return seen


def _pixels(data: bytes) -> int:
    """Pixels of the whole photo, from its header: `read_image` may decode it smaller."""
    with Pillow.open(io.BytesIO(data)) as header:
        return header.width * header.height


def _same_bytes(photos: Photos, seen: Sequence[_Seen], reasons: Reasons) -> None:
    by_hash: dict[str, list[int]] = {}
    for row in _left(photos, reasons):
        by_hash.setdefault(seen[row].hash, []).append(row)
    for rows in by_hash.values():
        conflict = len({photos.landmarks[row] for row in rows}) > 1
        for row in rows if conflict else rows[1:]:
            other = rows[0]
            if conflict:
                mark = photos.landmarks[row]
                other = next(o for o in rows if photos.landmarks[o] != mark)
            reasons[row] = (CONFLICTING if conflict else DUPLICATE, _named(photos, other, conflict))


def _near_duplicates(
    photos: Photos, seen: Sequence[_Seen], near_bits: int, reasons: Reasons
) -> list[Drop]:
    """Marks all but the best of each group within a landmark; returns the leaks across them."""
    rows = _left(photos, reasons)
    looks = [look for row in rows if (look := seen[row].look) is not None]
    pairs = [(rows[a], rows[b]) for a, b in near_pairs(looks, near_bits)]
    within = [(a, b) for a, b in pairs if photos.landmarks[a] == photos.landmarks[b]]
    for same in _groups(within):
        best = min(same, key=lambda row: (-seen[row].pixels, -seen[row].bytes, photos.ids[row]))
        for row in same:
            if row != best:
                reasons[row] = (NEAR_DUPLICATE, photos.ids[best])
    others: dict[int, int] = {}  # the first such photo of another landmark is named
    for a, b in pairs:
        if photos.landmarks[a] != photos.landmarks[b]:
            others.setdefault(a, b)
            others.setdefault(b, a)
    return [_drop(photos, row, LEAK, _named(photos, others[row], True)) for row in sorted(others)]


def _groups(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Rows that pairs connect, directly or by others (union-find)."""
    parent: dict[int, int] = {}

    def root(row: int) -> int:
        while parent.setdefault(row, row) != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for a, b in pairs:
        parent[root(b)] = root(a)
    members: dict[int, list[int]] = {}
    for row in parent:
        members.setdefault(root(row), []).append(row)
    return list(members.values())


def _too_few(photos: Photos, least: int, reasons: Reasons) -> None:
    left = Counter(photos.landmarks[row] for row in range(len(photos)) if row not in reasons)
    for row, landmark in enumerate(photos.landmarks):
        if row not in reasons and landmark and left[landmark] < least:
            reasons[row] = (TOO_FEW, f"{left[landmark]} left, {least} wanted")


def _left(photos: Photos, reasons: Reasons) -> list[int]:
    """Rows that no reason has dropped yet, by id: the order of the table must not matter."""
    rows = (row for row in range(len(photos)) if row not in reasons)
    return sorted(rows, key=lambda row: photos.ids[row])


def _named(photos: Photos, row: int, with_landmark: bool) -> str:
    landmark = photos.landmarks[row] or "no landmark"
    return f"{photos.ids[row]} ({landmark})" if with_landmark else photos.ids[row]


def _drop(photos: Photos, row: int, reason: str, detail: str) -> Drop:
    return Drop(photos.ids[row], photos.paths[row], photos.landmarks[row], reason, detail)


def write_cleaning(path: str | Path, result: CleanResult) -> None:
    """Every drop, then every leak, as csv: id, path, landmark, reason, detail. Atomic.

    Paths are relative to the csv's folder, as in photos.csv.
    """
    folder = os.path.abspath(Path(path).parent)
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "path", "landmark", "reason", "detail"))
        for row in result.dropped + result.leaks:
            where = relative_path(row.path, folder)
            writer.writerow((row.id, where, row.landmark, row.reason, row.detail))
