"""Find photos of the same picture: within a landmark, across landmarks, in another table.

The functions `mark_…` add a reason for each photo to drop; rows that have one already are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.fingerprint import candidate_pairs, same_picture
from ...core.types import Photos, true_landmarks
from .reasons import ALSO_IN, CONFLICTING, DUPLICATE, LEAK, NEAR_DUPLICATE, DropReason, Reasons
from .scan import PhotoScans
from .scan_cache import ScanCache


@dataclass(frozen=True, eq=False)
class JoinedTables:
    """The N photos of all tables, those of the cleaned table first.

    ids, paths, landmarks: (N,). table: (N,) number of the photo's table, 0 = the cleaned one.
    names: of the tables, "" for the cleaned one.
    """

    ids: NDArray[np.object_]
    paths: NDArray[np.object_]
    landmarks: NDArray[np.object_]
    table: NDArray[np.int64]
    names: list[str]

    @classmethod
    def of(cls, photos: Photos, others: Mapping[str, Photos]) -> JoinedTables:
        """Join the cleaned table with those that it must not share a picture with."""
        parts = [photos, *others.values()]
        lengths = [len(part) for part in parts]
        return cls(
            ids=np.concatenate([part.ids for part in parts]),
            paths=np.concatenate([part.paths for part in parts]),
            landmarks=np.concatenate([part.landmarks for part in parts]),
            table=np.repeat(np.arange(len(parts)), lengths),
            names=["", *others],
        )

    def remaining(self, scans: PhotoScans, reasons: Reasons) -> list[int]:
        """Readable rows of all tables that are not dropped yet.

        Those of the cleaned table come first; then sorted by id, so that the result does not depend
        on the order of a table.
        """
        rows = (row for row in range(len(self.ids)) if row not in reasons and not scans.errors[row])
        return sorted(rows, key=lambda row: (self.table[row] > 0, self.ids[row]))

    def agree(self, a: int, b: int) -> bool:
        """Whether two labels can both be right: they are equal, or share a landmark."""
        one, other = self.landmarks[a], self.landmarks[b]
        return one == other or bool({*true_landmarks(one)} & {*true_landmarks(other)})

    def describe(self, row: int) -> str:
        """The photo's id and landmark, as text."""
        return f"{self.ids[row]} ({self.landmarks[row] or 'no landmark'})"

    def also_in(self, other: int) -> DropReason:
        """The reason to drop a photo of the same picture as `other`, a row of another table."""
        name = self.names[self.table[other]]
        return DropReason(ALSO_IN + name, self.describe(other), self.paths[other])


def mark_photos_of_other_tables(tables: JoinedTables, scans: PhotoScans, reasons: Reasons) -> None:
    """Mark photos whose id or content is in another table too."""
    row_of: dict[Any, int] = {}
    for row in np.flatnonzero(tables.table > 0).tolist()[::-1]:  # reversed: the first row is kept
        row_of["id", tables.ids[row]] = row
        if scans.hashes[row]:
            row_of["content", scans.hashes[row]] = row
    for row in np.flatnonzero(tables.table == 0).tolist():
        other = row_of.get(("content", scans.hashes[row]))
        other = row_of.get(("id", tables.ids[row])) if other is None else other
        if other is not None and row not in reasons:
            reasons[row] = tables.also_in(other)


def mark_conflicts_and_copies(tables: JoinedTables, scans: PhotoScans, reasons: Reasons) -> None:
    """Mark all photos of one content under two landmarks, and all copies but one.

    Kept is the copy of most landmarks, then the first id: "A|B" and "A" do not contradict.
    """
    by_hash: dict[str, list[int]] = {}
    for row in tables.remaining(scans, reasons):
        if not tables.table[row]:
            by_hash.setdefault(scans.hashes[row], []).append(row)
    for rows in by_hash.values():
        rows.sort(key=lambda row: -len(true_landmarks(str(tables.landmarks[row]))))  # stable
        conflict = not all(tables.agree(rows[0], row) for row in rows)
        for row in rows if conflict else rows[1:]:
            other = rows[0]
            if conflict:
                landmark = tables.landmarks[row]
                other = next(o for o in rows if tables.landmarks[o] != landmark)
                reasons[row] = DropReason(CONFLICTING, tables.describe(other), tables.paths[other])
            else:
                reasons[row] = DropReason(DUPLICATE, tables.ids[other], tables.paths[other])


def mark_near_duplicates(
    tables: JoinedTables, scans: PhotoScans, cache: ScanCache, near_bits: int, reasons: Reasons
) -> Reasons:
    """Mark near duplicates: versions of the same photograph (re-encoded, resized, cropped).

    Marked are photos with a near duplicate in another table, directly or by a chain of near
    duplicates, and all but the best of each group within a landmark. Returns the leaks: near
    duplicates across landmarks, which are not dropped.
    """
    pairs = _near_pairs(tables, scans, cache, near_bits, reasons)
    # Reversed, so that the first pair of a photo is kept.
    direct = {a: b for a, b in reversed(pairs) if tables.table[b]}
    for group in _groups(pairs):
        foreign = [row for row in group if tables.table[row]]
        for row in group if foreign else ():
            if not tables.table[row]:
                reasons[row] = tables.also_in(direct.get(row, foreign[0]))
    pairs = [(a, b) for a, b in pairs if not {a, b} & reasons.keys()]
    pairs = [(a, b) for a, b in pairs if not tables.table[[a, b]].any()]
    within = [(a, b) for a, b in pairs if tables.landmarks[a] == tables.landmarks[b]]
    for group in _groups(within):
        best = min(group, key=lambda row: (-scans.pixels[row], -scans.bytes[row], tables.ids[row]))
        for row in group:
            if row != best:
                reasons[row] = DropReason(NEAR_DUPLICATE, tables.ids[best], tables.paths[best])
    leaks: Reasons = {}  # each names the first photo of another landmark
    for a, b in pairs:
        if not tables.agree(a, b):
            leaks.setdefault(a, DropReason(LEAK, tables.describe(b), tables.paths[b]))
            leaks.setdefault(b, DropReason(LEAK, tables.describe(a), tables.paths[a]))
    return leaks


def _near_pairs(
    tables: JoinedTables, scans: PhotoScans, cache: ScanCache, near_bits: int, reasons: Reasons
) -> list[tuple[int, int]]:
    """Pairs of rows of the same picture, the first of them of the cleaned table."""
    rows = tables.remaining(scans, reasons)
    own = sum(1 for row in rows if not tables.table[row])
    if not own:
        return []
    found = candidate_pairs(scans.bits[rows], scans.coarse[rows], near_bits)
    return [
        (rows[a], rows[b])
        for a, b in found
        if a < own  # rows of the cleaned table come first
        and same_picture(*(cache.fingerprint_of(tables.paths[rows[row]]) for row in (a, b)))
    ]


def _groups(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Groups of rows that pairs connect, directly or through other rows (union-find)."""
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
