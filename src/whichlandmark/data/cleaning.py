"""What is dropped from a photo collection, and the counted reason of each drop.

Nothing is deleted: a table goes in, a smaller table and a list of reasons come out.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import ImageError
from ..files import whole_file
from ..images import content_hash, read_bytes, read_image
from ..types import Image, Photos
from .likeness import Fingerprint, fingerprint, near_pairs

UNREADABLE = "unreadable"
CONFLICTING = "same file under two landmarks"
DUPLICATE = "duplicate"
NEAR_DUPLICATE = "near duplicate"
NOT_OUTDOOR = "not outdoors"
TOO_FEW = "too few photos of the landmark"
REASONS = (UNREADABLE, CONFLICTING, DUPLICATE, NEAR_DUPLICATE, NOT_OUTDOOR, TOO_FEW)

_BATCH = 256  # photos decoded at a time


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """min_photos: fewest photos of a landmark that is kept."""

    min_photos: int = 4


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
    """kept: the photos that stay, in table order; dropped: the others; leaks: pairs of ids
    that show the same picture under two landmarks (reported, not dropped).
    """

    kept: Photos
    dropped: list[Drop]
    leaks: list[tuple[str, str]] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Reason → photos dropped for it, in the order in which reasons are looked for."""
        found = Counter(drop.reason for drop in self.dropped)
        counts = {reason: found[reason] for reason in REASONS if found[reason]}
        return counts | (
            {"near duplicates across landmarks": len(self.leaks)} if self.leaks else {}
        )


@dataclass(frozen=True)
class _Seen:
    """What one look at a photo leaves: enough to compare it, not its pixels."""

    hash: str = ""
    area: int = 0
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
    can tell which is right); duplicates (the first stays); near duplicates within a landmark
    (the largest stays); photos that `is_outdoor` rejects; landmarks with too few photos.

    is_outdoor: a vote on the upright pixels, at least 256 px on the short side; None = no vote.
    Photos without a landmark are never too few.
    """
    options = options or Cleaning()
    seen = _look(photos, is_outdoor, progress)
    reasons: dict[int, tuple[str, str]] = {
        row: (UNREADABLE, look.error) for row, look in enumerate(seen) if look.error
    }
    _same_bytes(photos, seen, reasons)
    leaks = _near_duplicates(photos, seen, reasons)
    for row, look in enumerate(seen):
        if not look.outdoor:
            reasons.setdefault(row, (NOT_OUTDOOR, ""))
    _too_few(photos, options.min_photos, reasons)
    return CleanResult(
        kept=photos.take([row for row in range(len(photos)) if row not in reasons]),
        dropped=[
            Drop(photos.ids[row], photos.paths[row], photos.landmarks[row], *reasons[row])
            for row in sorted(reasons)
        ],
        leaks=leaks,
    )


def _look(
    photos: Photos,
    is_outdoor: Callable[[Image], bool] | None,
    progress: Callable[[int, int], None] | None,
) -> list[_Seen]:
    def look(path: str) -> _Seen:
        try:
            data = read_bytes(path)
            image = read_image(data, short_side=256 if is_outdoor else 64, name=path)
        except ImageError as error:
            return _Seen(error=str(error))
        outdoor = is_outdoor(image) if is_outdoor else True
        return _Seen(content_hash(data), len(data), fingerprint(image), outdoor)

    seen: list[_Seen] = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for start in range(0, len(photos), _BATCH):
            seen += pool.map(look, photos.paths[start : start + _BATCH])
            if progress:
                progress(len(seen), len(photos))
    return seen


def _same_bytes(photos: Photos, seen: list[_Seen], reasons: dict[int, tuple[str, str]]) -> None:
    by_hash: dict[str, list[int]] = {}
    for row in _by_id(photos, (row for row in range(len(photos)) if row not in reasons)):
        by_hash.setdefault(seen[row].hash, []).append(row)
    for rows in by_hash.values():
        conflict = len({photos.landmarks[row] for row in rows}) > 1
        for row in rows if conflict else rows[1:]:
            other = rows[0] if row != rows[0] else rows[-1]
            reasons[row] = (CONFLICTING if conflict else DUPLICATE, photos.ids[other])


def _near_duplicates(
    photos: Photos, seen: list[_Seen], reasons: dict[int, tuple[str, str]]
) -> list[tuple[str, str]]:
    """Marks all but the largest of each group within a landmark; returns pairs across them."""
    rows = np.array([row for row in range(len(photos)) if row not in reasons], dtype=np.int64)
    looks = [look for row in rows if (look := seen[row].look) is not None]
    leaks = []
    group = {int(row): int(row) for row in rows}

    def root(row: int) -> int:
        while group[row] != row:
            row = group[row]
        return row

    for a, b in near_pairs(looks):
        first, second = int(rows[a]), int(rows[b])
        if photos.landmarks[first] == photos.landmarks[second]:
            group[max(root(first), root(second))] = min(root(first), root(second))
        else:
            leaks.append((photos.ids[first], photos.ids[second]))
    members: dict[int, list[int]] = {}
    for row in group:
        members.setdefault(root(row), []).append(row)
    for same in members.values():
        # The largest file has lost least; equal ones: the first id.
        best = min(same, key=lambda row: (-seen[row].area, photos.ids[row]))
        for row in same:
            if row != best:
                reasons[row] = (NEAR_DUPLICATE, photos.ids[best])
    return leaks


def _too_few(photos: Photos, least: int, reasons: dict[int, tuple[str, str]]) -> None:
    left = Counter(photos.landmarks[row] for row in range(len(photos)) if row not in reasons)
    for row, landmark in enumerate(photos.landmarks):
        if row not in reasons and landmark and left[landmark] < least:
            reasons[row] = (TOO_FEW, f"{left[landmark]} left, {least} wanted")


def _by_id(photos: Photos, rows: Iterable[int]) -> list[int]:
    return sorted(rows, key=lambda row: photos.ids[row])


def write_cleaning(path: str | Path, result: CleanResult) -> None:
    """Every drop and every leak as csv: id, path, landmark, reason, detail. Atomic."""
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "path", "landmark", "reason", "detail"))
        for drop in result.dropped:
            writer.writerow((drop.id, drop.path, drop.landmark, drop.reason, drop.detail))
        for first, second in result.leaks:
            writer.writerow((first, "", "", "kept: near duplicate under another landmark", second))
