"""The rules of a change of a gallery: row numbers, checksums, counts and landmark records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError, GalleryError
from .checksums import (
    AUTHOR,
    ID,
    LANDMARK,
    SOURCE,
    Meta,
    PhotoRow,
    add_checksum,
    blob_sum,
    checked,
    landmark_sum,
    meta_sum,
    photo_sum,
)
from .records import (
    Credit,
    GalleryRow,
    LandmarkRecord,
    check,
    check_text,
    unknown_ids_message,
)
from .tables import Tables


class Change:
    """One batch of changes in an open transaction; `write_meta` ends it.

    Args:
        tables: of the gallery, in a transaction that lets no other writer in.
        meta: its header; `self.meta` is the header as it will be.
        name: the gallery's file or address.
    """

    def __init__(self, tables: Tables, meta: Meta, name: str) -> None:
        self.tables, self.meta, self.name = tables, meta, name

    def put(self, rows: Sequence[GalleryRow]) -> None:
        """Add photos; a photo with a known id is replaced and keeps its row number."""
        batch = {row.id: row for row in rows}  # the last of photos with the same id
        for row in batch.values():
            check(row)
        blobs: list[tuple[bytes, ...]] = [
            (_to_bytes(row.vector, self.meta.dim), row.keypoints, row.fingerprint, row.thumbnail)
            for row in batch.values()
        ]
        old = {row[ID]: row for row in self._with_ids(batch)}
        entries: list[PhotoRow] = []
        for row, data in zip(batch.values(), blobs, strict=True):
            number = old[row.id][0] if row.id in old else self.meta.next_row
            self.meta = self.meta._replace(next_row=max(self.meta.next_row, number + 1))
            sums = tuple(blob_sum(one) if one else None for one in data)
            entries.append(_with_sum((
                number, row.id, row.path, row.landmark, row.hash, row.stamp, row.author,
                row.licence, row.licence_url, row.source, *sums,
            )))  # fmt: skip
        if old:
            self.tables.delete_photos([row[0] for row in old.values()])
        self.tables.write_photos(entries, blobs)
        self._count(list(old.values()), entries)
        self._drop_unused_records({row[LANDMARK] for row in old.values()}, {})

    def remove(self, ids: Iterable[str]) -> int:
        """Delete photos with all their data. Raises DataError for unknown ids."""
        found = self._known(ids)
        self.tables.delete_photos([row[0] for row in found])
        self._count(found, [])
        self._drop_unused_records({row[LANDMARK] for row in found}, {})
        return len(found)

    def relabel(self, landmarks: Mapping[str, str]) -> None:
        """Change the landmark of photos. Raises DataError for unknown ids.

        The record of a landmark that loses its last photo moves to the new landmark, unless that
        one has a record.
        """
        found, changed = self._known(landmarks), []
        for row in found:
            landmark = landmarks[row[ID]]
            check_text("landmark", landmark, f"photo {row[ID]!r}")
            changed.append(_with_sum((*row[:LANDMARK], landmark, *row[LANDMARK + 1 : -1])))
        self._update(found, changed)
        successors = {row[LANDMARK]: new[LANDMARK] for row, new in zip(found, changed, strict=True)}
        self._drop_unused_records(set(successors), successors)

    def credit(self, credits: Mapping[str, Credit]) -> None:
        """Set the credits of photos by id. Raises DataError for unknown ids."""
        found, changed = self._known(credits), []
        for row in found:
            given = Credit(*credits[row[ID]])
            for name, text in given._asdict().items():
                check_text(name, text, f"photo {row[ID]!r}")
            changed.append(_with_sum((*row[:AUTHOR], *given, *row[SOURCE + 1 : -1])))
        self._update(found, changed)

    def describe(self, records: Iterable[LandmarkRecord]) -> None:
        """Store landmark records, replacing those of the same landmarks."""
        texts = {record.name: record.to_text() for record in records}
        self._drop_records(list(texts))
        if texts:
            self._insert_records(texts)

    def write_meta(self) -> None:
        """Write the header with the next generation: the last statement of every batch."""
        self.meta = self.meta._replace(generation=self.meta.generation + 1)
        self.tables.write_header((*self.meta, meta_sum(self.meta)))

    def _with_ids(self, ids: Iterable[str]) -> list[PhotoRow]:
        found = self.tables.entries_with("id", list(dict.fromkeys(ids)))
        return [checked(row, self.name) for row in found]

    def _known(self, ids: Iterable[str]) -> list[PhotoRow]:
        wanted = list(dict.fromkeys(ids))
        found = self._with_ids(wanted)
        if len(found) != len(wanted):
            known = {row[ID] for row in found}
            missing = [photo_id for photo_id in wanted if photo_id not in known]
            similar = self.tables.similar_ids(missing)
            raise DataError(unknown_ids_message(missing, similar, self.name))
        return found

    def _update(self, old: list[PhotoRow], new: list[PhotoRow]) -> None:
        self.tables.update_entries(new)
        self._count(old, new)

    def _count(self, old: list[PhotoRow], new: list[PhotoRow]) -> None:
        change = sum(row[-1] for row in new) - sum(row[-1] for row in old)
        self.meta = self.meta._replace(
            photos=self.meta.photos + len(new) - len(old),
            photo_digest=add_checksum(self.meta.photo_digest, change),
            stale=1 if old else self.meta.stale,
        )

    def _drop_unused_records(self, landmarks: set[str], successors: Mapping[str, str]) -> None:
        """Delete the records of landmarks without photos, or move them to the successor."""
        named = sorted(landmarks - {""})
        if not named:
            return
        left = self._drop_records(sorted({*named} - self.tables.with_photos(named)))
        for landmark in sorted(left):
            successor = successors.get(landmark, "")
            if successor and not self.tables.records([successor]):
                self._insert_records({successor: left[landmark]})

    def _drop_records(self, names: list[str]) -> dict[str, str]:
        """Delete records; returns landmark → the text of its deleted record."""
        found = self.tables.records(names) if names else []
        if found:
            self.tables.delete_records([row[0] for row in found])
            self._count_records(-len(found), -sum(row[2] for row in found))
        return {row[0]: row[1] for row in found}

    def _insert_records(self, texts: Mapping[str, str]) -> None:
        rows = [(name, text, landmark_sum(name, text)) for name, text in texts.items()]
        self.tables.write_records(rows)
        self._count_records(len(rows), sum(row[2] for row in rows))

    def _count_records(self, records: int, change: int) -> None:
        self.meta = self.meta._replace(
            landmarks=self.meta.landmarks + records,
            landmark_digest=add_checksum(self.meta.landmark_digest, change),
            stale=1 if records < 0 else self.meta.stale,
        )


def _with_sum(fields: PhotoRow) -> PhotoRow:
    """A PhotoRow from its fields, its own checksum not yet among them."""
    return (*fields, photo_sum(fields))


def _to_bytes(vector: NDArray[np.float32], dim: int) -> bytes:
    """(D,) → little-endian float16. Raises GalleryError for another shape, or NaN or infinity."""
    if vector.shape != (dim,):
        raise GalleryError(f"vector of shape {vector.shape} given; this gallery holds ({dim},)")
    if not (np.abs(vector) <= 65504).all():
        raise GalleryError("vector that is not finite given; expected a unit row of an embedder")
    return vector.astype("<f2").tobytes()
