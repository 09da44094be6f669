"""Photos that show the same picture: within a landmark, across landmarks, in another table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.fingerprint import candidates, same_picture
from ...core.types import Photos
from .reasons import ALSO_IN, CONFLICTING, DUPLICATE, LEAK, NEAR_DUPLICATE, DropReason, Reasons
from .scan import PhotoScans
from .scan_cache import ScanCache


@dataclass(frozen=True, eq=False)
class JoinedTables:
    """The photos of all tables in a row, the cleaned table first: ids, paths, landmarks, and
    table (N,) int64: 0 = the cleaned one; names: of the tables, "" for the cleaned one.
    """

    ids: NDArray[np.object_]
    paths: NDArray[np.object_]
    landmarks: NDArray[np.object_]
    table: NDArray[np.int64]
    names: list[str]

    @classmethod
    def of(cls, photos: Photos, others: Mapping[str, Photos]) -> JoinedTables:
        """The cleaned table, and those that it must not share a picture with."""
        parts = [photos, *others.values()]
        lengths = [len(part) for part in parts]
        return cls(
            ids=np.concatenate([part.ids for part in parts]),
            paths=np.concatenate([part.paths for part in parts]),
            landmarks=np.concatenate([part.landmarks for part in parts]),
            table=np.repeat(np.arange(len(parts)), lengths),
            names=["", *others],
        )

    def left(self, looks: PhotoScans, reasons: Reasons) -> list[int]:
        """Readable rows of all tables that no reason has dropped yet: the cleaned table first,
        then by id, for the order of a table must not matter.
        """
        rows = (row for row in range(len(self.ids)) if row not in reasons and not looks.errors[row])
        return sorted(rows, key=lambda row: (self.table[row] > 0, self.ids[row]))

    def named(self, row: int) -> str:
        """The photo's id and landmark, in words."""
        return f"{self.ids[row]} ({self.landmarks[row] or 'no landmark'})"

    def also_in(self, other: int) -> DropReason:
        """The reason to drop what shows the same picture as `other`, a row of another table."""
        name = self.names[self.table[other]]
        return DropReason(ALSO_IN + name, self.named(other), self.paths[other])


def same_elsewhere(tables: JoinedTables, looks: PhotoScans, reasons: Reasons) -> None:
    """Marks photos whose id or content stands in another table too."""
    elsewhere: dict[Any, int] = {}
    for row in np.flatnonzero(tables.table > 0).tolist()[::-1]:  # the first one is named
        elsewhere["id", tables.ids[row]] = row
        if looks.hashes[row]:
            elsewhere["content", looks.hashes[row]] = row
    for row in np.flatnonzero(tables.table == 0).tolist():
        other = elsewhere.get(("content", looks.hashes[row]))
        other = elsewhere.get(("id", tables.ids[row])) if other is None else other
        if other is not None and row not in reasons:
            reasons[row] = tables.also_in(other)


def conflicts_and_copies(tables: JoinedTables, looks: PhotoScans, reasons: Reasons) -> None:
    """Marks all photos of one content under two landmarks, and all copies but the first id."""
    by_hash: dict[str, list[int]] = {}
    for row in tables.left(looks, reasons):
        if not tables.table[row]:
            by_hash.setdefault(looks.hashes[row], []).append(row)
    for rows in by_hash.values():
        conflict = len({tables.landmarks[row] for row in rows}) > 1
        for row in rows if conflict else rows[1:]:
            other = rows[0]
            if conflict:
                mark = tables.landmarks[row]
                other = next(o for o in rows if tables.landmarks[o] != mark)
                reasons[row] = DropReason(CONFLICTING, tables.named(other), tables.paths[other])
            else:
                reasons[row] = DropReason(DUPLICATE, tables.ids[other], tables.paths[other])


def near_duplicates(
    tables: JoinedTables, looks: PhotoScans, store: ScanCache, near_bits: int, reasons: Reasons
) -> Reasons:
    """Marks photos that show a picture of another table, directly or by a chain of others, and
    all but the best of each group within a landmark; returns the leaks across landmarks.
    """
    pairs = _pairs(tables, looks, store, near_bits, reasons)
    direct = {a: b for a, b in reversed(pairs) if tables.table[b]}  # the first one is named
    for same in _groups(pairs):
        foreign = [row for row in same if tables.table[row]]
        for row in same if foreign else ():
            if not tables.table[row]:
                reasons[row] = tables.also_in(direct.get(row, foreign[0]))
    pairs = [(a, b) for a, b in pairs if not {a, b} & reasons.keys()]
    pairs = [(a, b) for a, b in pairs if not tables.table[[a, b]].any()]
    within = [(a, b) for a, b in pairs if tables.landmarks[a] == tables.landmarks[b]]
    for same in _groups(within):
        best = min(same, key=lambda row: (-looks.pixels[row], -looks.bytes[row], tables.ids[row]))
        for row in same:
            if row != best:
                reasons[row] = DropReason(NEAR_DUPLICATE, tables.ids[best], tables.paths[best])
    leaks: Reasons = {}  # the first such photo of another landmark is named
    for a, b in pairs:
        if tables.landmarks[a] != tables.landmarks[b]:
            leaks.setdefault(a, DropReason(LEAK, tables.named(b), tables.paths[b]))
            leaks.setdefault(b, DropReason(LEAK, tables.named(a), tables.paths[a]))
    return leaks


def _pairs(
    tables: JoinedTables, looks: PhotoScans, store: ScanCache, near_bits: int, reasons: Reasons
) -> list[tuple[int, int]]:
    """Rows of the same picture, at least one of them of the cleaned table."""
    rows = tables.left(looks, reasons)
    own = sum(1 for row in rows if not tables.table[row])
    if not own:
        return []
    found = candidates(looks.bits[rows], looks.coarse[rows], near_bits)
    return [
        (rows[a], rows[b])
        for a, b in found
        if a < own  # rows of the cleaned table come first
        and same_picture(*(store.print_of(tables.paths[rows[row]]) for row in (a, b)))
    ]  # fmt: skip


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
