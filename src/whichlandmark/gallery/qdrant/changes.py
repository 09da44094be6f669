"""What a change of a gallery on Qdrant will write: worked out whole before anything is written.

The same rules as `writing.py` has for the file, on a server that knows no transactions.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...core.errors import DataError
from ..checksums import Meta, PhotoRow, added, blob_sum, landmark_sum, photo_sum
from ..records import Credit, GalleryRow, LandmarkRecord, check, check_text
from . import points
from .client import RetryingClient, where
from .queries import photos_of, unknown_ids

LANDMARK, AUTHOR = 3, 6  # in a PhotoRow; the licence comes next

KEYPOINTS, SUM = 9, 12


@dataclass(frozen=True)
class Journal:
    """What is needed to finish a change, or to undo it, whoever does.

    first, next: row numbers given to new photos; staged: their and others' new blobs. changed:
    [row, payload, vector as base64 | None = stays]; dropped: blobs that no entry names any more;
    records: landmark → text, None = gone.
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
        """Is nothing touched that was there before?"""
        return not (self.changed or self.removed or self.dropped or self.records)

    def new_photos(self) -> list[Any]:
        """The points that take the place of others, vector and all."""
        return [
            points.point(row, payload, points.floats(b64decode(vector)))
            for row, payload, vector in self.changed if vector is not None
        ]  # fmt: skip

    def new_payloads(self) -> list[Any]:
        """The points whose vector stays, without it."""
        return [
            points.point(row, payload) for row, payload, vector in self.changed if vector is None
        ]


@dataclass(eq=False)
class QdrantChange:
    """One batch. meta: what the gallery's own numbers will be; added, blobs: points to write."""

    calls: RetryingClient
    meta: Meta
    first: int = 0
    added: list[Any] = field(default_factory=list)
    blobs: list[Any] = field(default_factory=list)
    _staged: list[str] = field(default_factory=list)
    _changed: list[tuple[int, dict[str, Any], str | None]] = field(default_factory=list)
    _removed: list[int] = field(default_factory=list)
    _dropped: list[str] = field(default_factory=list)
    _records: dict[str, str | None] = field(default_factory=dict)
    _balance: Counter[str] = field(default_factory=Counter)  # photos won and lost by landmarks

    def __post_init__(self) -> None:
        self.first = self.meta.next_row

    def journal(self) -> Journal:
        """All of it but what is added, which nobody sees before the gallery counts it."""
        return Journal(self.first, self.meta.next_row, self._staged, self._changed, self._removed,
                       self._dropped, self._records)  # fmt: skip

    def put(self, rows: Sequence[GalleryRow]) -> None:
        """Add photos; those with an id that is there keep their row number and are replaced."""
        batch = {row.id: row for row in rows}  # of two with one id, the later
        for row in batch.values():
            check(row)
        old = {entry[1]: entry for entry in photos_of(self.calls, batch, self.first)}
        for row in batch.values():
            self._put(row, old.get(row.id))
        self._forget({entry[LANDMARK] for entry in old.values()}, {})
        self._leaves_bytes(bool(old))

    def _put(self, row: GalleryRow, known: PhotoRow | None) -> None:
        number = known[0] if known else self.meta.next_row
        vector = points.vector_bytes(row, self.meta.dim)
        others = (row.keypoints, row.look, row.thumbnail)
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
        """New blobs stand beside the old ones until the entry names them."""
        new = points.blobs_id(number, sums)
        old = points.blobs_id(number, known[KEYPOINTS:SUM]) if known else None
        if new:
            self.blobs.append(points.blobs_point(number, sums, blobs))  # written again: it heals
        if new and new != old:
            self._staged.append(new)
        if old and new != old:
            self._dropped.append(old)

    def remove(self, ids: Iterable[str]) -> int:
        """Forget photos and everything that hangs on them. Raises DataError for unknown ids."""
        found = self._known(ids)
        for entry in found:
            self._removed.append(entry[0])
            if old := points.blobs_id(entry[0], entry[KEYPOINTS:SUM]):
                self._dropped.append(old)
            self._replace(entry, None)
        self._forget({entry[LANDMARK] for entry in found}, {})
        self._leaves_bytes(bool(found))
        return len(found)

    def relabel(self, landmarks: Mapping[str, str]) -> None:
        """Give photos another landmark. Raises DataError for unknown ids.

        A landmark that has lost its last photo leaves its record to the new name, if that has none.
        """
        heirs: dict[str, str] = {}
        for entry in self._known(landmarks):
            landmark = landmarks[entry[1]]
            check_text("landmark", landmark, f"photo {entry[1]!r}")
            self._reword(entry, (*entry[:LANDMARK], landmark, *entry[LANDMARK + 1 : SUM]))
            heirs[entry[LANDMARK]] = landmark
        self._forget(set(heirs), heirs)
        self._leaves_bytes(bool(heirs))

    def credit(self, credits: Mapping[str, Credit]) -> None:
        """Say who made photos. Raises DataError for unknown ids."""
        for entry in self._known(credits):
            given = Credit(*credits[entry[1]])
            for name, text in given._asdict().items():
                check_text(name, text, f"photo {entry[1]!r}")
            self._reword(entry, (*entry[:AUTHOR], *given, *entry[AUTHOR + 2 : SUM]))
        self._leaves_bytes(bool(credits))

    def describe(self, records: Iterable[LandmarkRecord]) -> None:
        """Keep what is known of landmarks, in place of what was known of them."""
        for record in records:
            self._leaves_bytes(self._drop_record(record.name) is not None)
            self._keep_record(record.name, record.to_text())

    def _known(self, ids: Iterable[str]) -> list[PhotoRow]:
        wanted = list(dict.fromkeys(ids))
        found = photos_of(self.calls, wanted, self.first)
        if len(found) != len(wanted):
            there = {entry[1] for entry in found}
            missing = [photo_id for photo_id in wanted if photo_id not in there]
            raise DataError(unknown_ids(self.calls, missing, self.meta))
        return found

    def _reword(self, entry: PhotoRow, fields: PhotoRow) -> None:
        """An entry with other words; its vector and blobs stay."""
        fields = (*fields, photo_sum(fields))
        self._changed.append((entry[0], points.photo_payload(fields), None))
        self._replace(entry, fields)

    def _replace(self, old: PhotoRow | None, new: PhotoRow | None) -> None:
        """Keep the count, the digest and the landmarks' balance in step."""
        count, change = 0, 0
        if old:
            count, change = count - 1, change - old[SUM]
            self._balance[old[LANDMARK]] -= 1
        if new:
            count, change = count + 1, change + new[SUM]
            self._balance[new[LANDMARK]] += 1
        self.meta = self.meta._replace(
            photos=self.meta.photos + count, photo_digest=added(self.meta.photo_digest, change)
        )

    def _leaves_bytes(self, removed: bool) -> None:
        if removed:
            self.meta = self.meta._replace(stale=1)

    def _forget(self, landmarks: set[str], heirs: Mapping[str, str]) -> None:
        """Records of landmarks that have no photo any more go, or pass to the heir."""
        for landmark in sorted(landmarks - {""}):
            if self._balance[landmark] >= 0:
                continue
            before = self.calls.count(self.calls.photos, where("landmark", [landmark]))
            if before + self._balance[landmark] > 0:
                continue
            text, heir = self._drop_record(landmark), heirs.get(landmark, "")
            if text is not None and heir and self._record(heir) is None:
                self._keep_record(heir, text)

    def _record(self, landmark: str) -> str | None:
        if landmark in self._records:
            return self._records[landmark]
        where_is = [points.landmark_id(landmark)]
        for found in self.calls.retrieve(self.calls.about, where_is):
            return points.record_of(found.payload, self.calls.name)[1]
        return None

    def _drop_record(self, landmark: str) -> str | None:
        text = self._record(landmark)
        if text is not None:
            self._records[landmark] = None
            self._count_records(-1, -landmark_sum(landmark, text))
        return text

    def _keep_record(self, landmark: str, text: str) -> None:
        self._records[landmark] = text
        self._count_records(1, landmark_sum(landmark, text))

    def _count_records(self, records: int, change: int) -> None:
        self.meta = self.meta._replace(
            landmarks=self.meta.landmarks + records,
            landmark_digest=added(self.meta.landmark_digest, change),
        )
