"""Compute all writes of a change of a Qdrant gallery, before any of them is made.

The rules are those of `sqlite/store.py`; Qdrant has no transactions, see `commit.py`.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...core.errors import DataError
from ..checksums import Meta, PhotoRow, add_checksum, blob_sum, landmark_sum, photo_sum
from ..records import Credit, GalleryRow, LandmarkRecord, check, check_text
from ..sqlite.store import to_bytes
from . import points
from .client import RetryingClient, where
from .queries import photos_of, unknown_ids

LANDMARK, AUTHOR = 3, 6  # indices in a PhotoRow; the licence follows the author

KEYPOINTS, SUM = 9, 12  # the checksum of the keypoints, and of the photo


@dataclass(frozen=True)
class Journal:
    """Everything that another process needs to finish or to undo a change.

    first, next: new photos have the row numbers first … next − 1; staged: ids of new blob points;
    changed: (row number, payload, vector as base64, None = unchanged); removed: row numbers;
    dropped: ids of blob points that are no longer used; records: landmark → text, None = delete.
    """

    first: int
    next: int
    staged: list[str]
    changed: list[tuple[int, dict[str, Any], str | None]]
    removed: list[int]
    dropped: list[str]
    records: dict[str, str | None]

    def to_text(self) -> str:
        """As JSON."""
        return json.dumps(self.__dict__)

    @classmethod
    def of_text(cls, text: str) -> Journal:
        """The journal that `to_text` wrote."""
        return cls(**json.loads(text))

    @property
    def only_adds(self) -> bool:
        """Whether the change only adds photos."""
        return not (self.changed or self.removed or self.dropped or self.records)

    def new_photos(self) -> list[Any]:
        """The replaced photos as points with vectors."""
        return [
            points.point(row, payload, points.floats(b64decode(vector)))
            for row, payload, vector in self.changed if vector is not None
        ]  # fmt: skip

    def new_payloads(self) -> list[Any]:
        """The changed photos with an unchanged vector, as points without it."""
        return [
            points.point(row, payload) for row, payload, vector in self.changed if vector is None
        ]


@dataclass(eq=False)
class QdrantChange:
    """One batch of changes, computed but not written.

    meta: the header as it will be; first: row number of the first new photo; added: points of new
    photos; blobs: new blob points.
    """

    client: RetryingClient
    meta: Meta
    first: int = 0
    added: list[Any] = field(default_factory=list)
    blobs: list[Any] = field(default_factory=list)
    _staged: list[str] = field(default_factory=list)
    _changed: list[tuple[int, dict[str, Any], str | None]] = field(default_factory=list)
    _removed: list[int] = field(default_factory=list)
    _dropped: list[str] = field(default_factory=list)
    _records: dict[str, str | None] = field(default_factory=dict)
    _balance: Counter[str] = field(default_factory=Counter)  # photos added per landmark, minus lost

    def __post_init__(self) -> None:
        self.first = self.meta.next_row

    def journal(self) -> Journal:
        """The journal; it omits new photos, which are invisible until the header counts them."""
        return Journal(self.first, self.meta.next_row, self._staged, self._changed, self._removed,
                       self._dropped, self._records)  # fmt: skip

    def put(self, rows: Sequence[GalleryRow]) -> None:
        """Add photos; a photo with a known id is replaced and keeps its row number."""
        batch = {row.id: row for row in rows}  # the last of photos with the same id
        for row in batch.values():
            check(row)
        old = {entry[1]: entry for entry in photos_of(self.client, batch, self.first)}
        for row in batch.values():
            self._put(row, old.get(row.id))
        self._drop_unused_records({entry[LANDMARK] for entry in old.values()}, {})
        self._mark_stale(bool(old))

    def _put(self, row: GalleryRow, known: PhotoRow | None) -> None:
        number = known[0] if known else self.meta.next_row
        vector = to_bytes(row.vector, self.meta.dim)
        others = (row.keypoints, row.fingerprint, row.thumbnail)
        sums = tuple(blob_sum(data) if data else None for data in others)
        fields = (number, row.id, row.path, row.landmark, row.hash, row.stamp, row.author,
                  row.licence, blob_sum(vector), *sums)  # fmt: skip
        fields = (*fields, photo_sum(fields))
        payload = points.photo_payload(fields)
        self._stage(number, sums, others, known)
        if known:
            self._changed.append((number, payload, b64encode(vector).decode()))
        else:
            self.added.append(points.point(number, payload, points.floats(vector)))
            self.meta = self.meta._replace(next_row=number + 1)
        self._replace(known, fields)

    def _stage(
        self,
        number: int,
        sums: tuple[int | None, ...],
        blobs: tuple[bytes, ...],
        known: PhotoRow | None,
    ) -> None:
        """Add the new blob point; it exists beside the old one until the photo refers to it."""
        new = points.blobs_id(number, sums)
        old = points.blobs_id(number, known[KEYPOINTS:SUM]) if known else None
        if new:
            # Written even if it exists, because that repairs damage.
            self.blobs.append(points.blobs_point(number, sums, blobs))
        if new and new != old:
            self._staged.append(new)
        if old and new != old:
            self._dropped.append(old)

    def remove(self, ids: Iterable[str]) -> int:
        """Delete photos with all their data. Raises DataError for unknown ids."""
        found = self._known(ids)
        for entry in found:
            self._removed.append(entry[0])
            if old := points.blobs_id(entry[0], entry[KEYPOINTS:SUM]):
                self._dropped.append(old)
            self._replace(entry, None)
        self._drop_unused_records({entry[LANDMARK] for entry in found}, {})
        self._mark_stale(bool(found))
        return len(found)

    def relabel(self, landmarks: Mapping[str, str]) -> None:
        """Change the landmark of photos. Raises DataError for unknown ids.

        The record of a landmark that loses its last photo moves to the new landmark, unless that
        one has a record.
        """
        successors: dict[str, str] = {}
        for entry in self._known(landmarks):
            landmark = landmarks[entry[1]]
            check_text("landmark", landmark, f"photo {entry[1]!r}")
            self._change_texts(entry, (*entry[:LANDMARK], landmark, *entry[LANDMARK + 1 : SUM]))
            successors[entry[LANDMARK]] = landmark
        self._drop_unused_records(set(successors), successors)
        self._mark_stale(bool(successors))

    def credit(self, credits: Mapping[str, Credit]) -> None:
        """Set author and licence of photos by id. Raises DataError for unknown ids."""
        for entry in self._known(credits):
            given = Credit(*credits[entry[1]])
            for name, text in given._asdict().items():
                check_text(name, text, f"photo {entry[1]!r}")
            self._change_texts(entry, (*entry[:AUTHOR], *given, *entry[AUTHOR + 2 : SUM]))
        self._mark_stale(bool(credits))

    def describe(self, records: Iterable[LandmarkRecord]) -> None:
        """Store landmark records, replacing those of the same landmarks."""
        for record in records:
            self._mark_stale(self._drop_record(record.name) is not None)
            self._insert_record(record.name, record.to_text())

    def _known(self, ids: Iterable[str]) -> list[PhotoRow]:
        wanted = list(dict.fromkeys(ids))
        found = photos_of(self.client, wanted, self.first)
        if len(found) != len(wanted):
            known = {entry[1] for entry in found}
            missing = [photo_id for photo_id in wanted if photo_id not in known]
            raise DataError(unknown_ids(self.client, missing, self.meta))
        return found

    def _change_texts(self, entry: PhotoRow, fields: PhotoRow) -> None:
        """Change the texts of a photo, not its vector and blobs."""
        fields = (*fields, photo_sum(fields))
        self._changed.append((entry[0], points.photo_payload(fields), None))
        self._replace(entry, fields)

    def _replace(self, old: PhotoRow | None, new: PhotoRow | None) -> None:
        """Update count, digest and landmark balance for a replaced, new or deleted photo."""
        count, change = 0, 0
        if old:
            count, change = count - 1, change - old[SUM]
            self._balance[old[LANDMARK]] -= 1
        if new:
            count, change = count + 1, change + new[SUM]
            self._balance[new[LANDMARK]] += 1
        self.meta = self.meta._replace(
            photos=self.meta.photos + count,
            photo_digest=add_checksum(self.meta.photo_digest, change),
        )

    def _mark_stale(self, removed: bool) -> None:
        if removed:
            self.meta = self.meta._replace(stale=1)

    def _drop_unused_records(self, landmarks: set[str], successors: Mapping[str, str]) -> None:
        """Delete the records of landmarks without photos, or move them to the successor."""
        for landmark in sorted(landmarks - {""}):
            if self._balance[landmark] >= 0:
                continue
            before = self.client.count(self.client.photos, where("landmark", [landmark]))
            if before + self._balance[landmark] > 0:
                continue
            text, successor = self._drop_record(landmark), successors.get(landmark, "")
            if text is not None and successor and self._record(successor) is None:
                self._insert_record(successor, text)

    def _record(self, landmark: str) -> str | None:
        if landmark in self._records:
            return self._records[landmark]
        for found in self.client.retrieve(self.client.about, [points.landmark_id(landmark)]):
            return points.record_of(found.payload, self.client.name)[1]
        return None

    def _drop_record(self, landmark: str) -> str | None:
        text = self._record(landmark)
        if text is not None:
            self._records[landmark] = None
            self._count_records(-1, -landmark_sum(landmark, text))
        return text

    def _insert_record(self, landmark: str, text: str) -> None:
        self._records[landmark] = text
        self._count_records(1, landmark_sum(landmark, text))

    def _count_records(self, records: int, change: int) -> None:
        self.meta = self.meta._replace(
            landmarks=self.meta.landmarks + records,
            landmark_digest=add_checksum(self.meta.landmark_digest, change),
        )
