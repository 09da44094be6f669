"""`Tables`: what a back end provides, and the reads of a gallery's header and landmark records."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from .checksums import Meta, PhotoRow, add_checksum, checked_record, damaged, meta_sum
from .records import LandmarkRecord

Mode = Literal["statement", "snapshot", "change"]


class Tables(Protocol):
    """The tables of one gallery in an open transaction: what a back end provides.

    Rows are returned as they are stored: whoever reads them compares them with their checksums.
    A generator must be closed before the next statement.
    """

    def header(self) -> list[tuple[Any, ...]]:
        """The rows of `meta`: the fields of `Meta` and the checksum. A change locks them."""

    def write_header(self, values: Sequence[object]) -> None:
        """Replace the row of `meta`: the fields of `Meta` and the checksum."""

    def entries(self, after: int | None, limit: int | None = None) -> Generator[PhotoRow]:
        """The entries of photos with a row number above `after` (None = all), in row order."""

    def entries_at(self, numbers: list[int]) -> list[PhotoRow]:
        """The entries of these row numbers, in row order; unknown ones are omitted."""

    def entries_with(self, column: Literal["id", "hash"], values: list[str]) -> list[PhotoRow]:
        """The entries with one of these values, in row order, found by the index of the column."""

    def is_unindexed(self, ids: list[str]) -> bool:
        """Whether one of these ids is in the table, although its index does not have it."""

    def sums(self) -> list[tuple[int, int]]:
        """Row number and checksum of every photo, in row order."""

    def blobs(
        self, kind: str, after: int | None = None, numbers: list[int] | None = None
    ) -> Generator[tuple[int, bytes]]:
        """Row number and data of one kind, in row order: above `after`, or of these numbers."""

    def records(self, names: list[str] | None = None) -> list[tuple[str, str, int]]:
        """Name, JSON and checksum of landmark records. names: None = all."""

    def with_photos(self, landmarks: list[str]) -> set[str]:
        """Those of the landmarks that have photos."""

    def similar_ids(self, ids: Sequence[str]) -> list[str]:
        """Ids to suggest for unknown ones: all of a small gallery, else some similar ones."""

    def write_photos(self, entries: list[PhotoRow], blobs: Sequence[tuple[bytes, ...]]) -> None:
        """Insert photos with their blobs, in the order of BLOBS (b"" = none)."""

    def update_entries(self, entries: list[PhotoRow]) -> None:
        """Replace landmark, credit and checksum of photos."""

    def delete_photos(self, numbers: list[int]) -> None:
        """Delete photos with all their data."""

    def write_records(self, rows: list[tuple[str, str, int]]) -> None:
        """Insert landmark records: name, JSON, checksum."""

    def delete_records(self, names: list[str]) -> None:
        """Delete landmark records."""

    def checking(self) -> AbstractContextManager[None]:
        """A part of a check: what the database cannot read becomes a GalleryError that names it.

        The transaction can be used after it.
        """

    def structure_faults(self) -> Iterator[str]:
        """Faults that only this back end can have, one line each."""


def read_meta(tables: Tables, name: str) -> Meta:
    """The gallery's header. Raises GalleryError when it is damaged."""
    rows = tables.header()
    if len(rows) == 1:
        meta = Meta(*rows[0][:-1])
        if meta_sum(meta) == rows[0][-1] and all(isinstance(value, int) for value in meta[1:]):
            return meta
    raise damaged(name, "its header")


def read_records(tables: Tables, meta: Meta, name: str) -> dict[str, LandmarkRecord]:
    """Landmark → its record. Raises GalleryError when one is changed, missing or added."""
    rows = tables.records()
    found = {row[0]: checked_record(*row, name) for row in rows}
    digest = add_checksum(sum(row[2] for row in rows), 0)
    if (len(found), digest) != (meta.landmarks, meta.landmark_digest):
        raise damaged(name, f"{len(found)} landmark records found, expected {meta.landmarks}")
    return found
