"""`Gallery`: everything that galleries on SQLite and PostgreSQL can do, over a back end's tables.

A back end is one folder: a `Tables` with its statements, and a `Gallery` that opens transactions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..core.errors import GalleryError
from ..core.types import Neighbours, Vectors
from .changes import Change
from .checksums import (
    AUTHOR,
    BLOBS,
    FIRST_BLOB,
    ID,
    LANDMARK,
    SOURCE,
    Meta,
    PhotoRow,
    add_checksum,
    blob_sum,
    checked,
    damaged,
    digest_of,
)
from .index import nearest_rows
from .integrity import faults_of
from .records import Credit, GalleryRow, GalleryTable, Labels, LandmarkRecord, other_embedder
from .tables import Mode, Tables, read_meta, read_records


class Gallery(ABC):
    """Photos with their vectors, landmark records and checksums.

    Each new photo gets the next row number, which no other photo ever gets. A photo with the
    landmark "" is a distractor. A change is atomic: the whole batch or nothing, and it increments
    the generation. Each read sees one generation and compares what it returns with its checksums.
    Vectors are stored as float16. The checksum of a photo (`photo_sum`) covers its row number,
    texts and blobs; `Meta.photo_digest` is the sum of these checksums.

    Threads may share a gallery; their calls run one at a time.
    """

    name: str  # its file or address, without a password

    @abstractmethod
    def _tables(self, mode: Mode) -> AbstractContextManager[Tables]:
        """The tables, locked for this thread: for one statement, or in a transaction.

        A change is committed at the end of the block and rolled back on any error. Errors of the
        database become GalleryErrors.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file or connection; the object cannot be used afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def embedder_id(self) -> str:
        """Id of the embedder that computed all vectors."""
        return self.state().embedder

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self.state().dim

    @property
    def generation(self) -> int:
        """Number of changes so far."""
        return self.state().generation

    def count(self) -> int:
        """Number of photos, distractors included."""
        return self.state().photos

    def state(self) -> Meta:
        """Embedder, counts and digests, all of one generation."""
        with self._tables("statement") as tables:
            return read_meta(tables, self.name)

    def require(self, embedder_id: str) -> None:
        """Raise GalleryError unless this embedder computed the gallery's vectors."""
        if self.embedder_id != embedder_id:
            raise other_embedder(self.name, self.embedder_id, embedder_id)

    def put(self, rows: Sequence[GalleryRow]) -> None:
        """Add photos; a photo with a known id is replaced and keeps its row number.

        Raises:
            GalleryError: for a vector of another shape, or one that is not finite.
            DataError: for a text that cannot be stored (`records.check`).
        """
        with self._changing() as change:
            change.put(rows)

    def remove(self, ids: Iterable[str]) -> int:
        """Delete photos and return how many. Raises DataError for unknown ids."""
        with self._changing() as change:
            return change.remove(ids)

    def relabel(self, landmarks: Mapping[str, str], records: Iterable[LandmarkRecord] = ()) -> None:
        """Change the landmark of photos, id → landmark ("" = distractor), and store records.

        The record of a landmark that loses its last photo moves to the new landmark, unless that
        one has a record; otherwise it is deleted. Raises DataError for unknown ids; nothing is
        changed then.
        """
        with self._changing() as change:
            change.relabel(landmarks)
            change.describe(records)

    def describe(self, records: Iterable[LandmarkRecord]) -> None:
        """Store landmark records, replacing those of the same landmarks."""
        with self._changing() as change:
            change.describe(records)

    def credit(self, credits: Mapping[str, Credit]) -> None:
        """Set the credits of photos by id. Raises DataError for unknown ids."""
        with self._changing() as change:
            change.credit(credits)

    def stamps(self, ids: Collection[str] | None = None) -> dict[str, tuple[str, str, str]]:
        """Id → (path, stamp, landmark); unknown ids are omitted. ids: None = all photos."""
        with self._snapshot() as (tables, meta):
            found = self._photos(tables, meta) if ids is None else self._with_ids(tables, ids)
            return {row[ID]: (row[2], row[5], row[LANDMARK]) for row in found}

    def with_hashes(self, hashes: Collection[str]) -> dict[str, list[str]]:
        """Content hash → ids of the photos with these bytes; hashes without a photo are omitted."""
        found: dict[str, list[str]] = {}
        with self._snapshot() as (tables, _):
            for row in tables.entries_with("hash", list(dict.fromkeys(hashes))):
                found.setdefault(checked(row, self.name)[4], []).append(row[ID])
        return found

    def sums(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row number and checksum of every photo, (N,) each, in row order."""
        with self._snapshot() as (tables, meta):
            table = np.array(tables.sums(), dtype=np.int64).reshape(-1, 2)
        if (len(table), digest_of(table[:, 1])) != (meta.photos, meta.photo_digest):
            raise damaged(self.name, f"{len(table)} photos found, expected {meta.photos}")
        return table[:, 0], table[:, 1]

    def table(self, *, after: int | None = None, vectors: bool = True) -> GalleryTable:
        """Ids, paths, landmarks, hashes and vectors of all photos, in row order.

        Args:
            after: only photos with a higher row number; None = all.
            vectors: False = do not read the vectors; the table's are then (0, D).

        Raises:
            GalleryError: when a photo is missing or does not match its checksum.
        """
        columns: tuple[list[Any], ...] = ([], [], [], [], [], [])
        shared: dict[str, str] = {}  # one string object for each landmark, to save memory
        with self._snapshot() as (tables, meta):
            for row in self._photos(tables, meta, after):
                landmark = shared.setdefault(row[LANDMARK], row[LANDMARK])
                values = (row[0], row[ID], row[2], landmark, row[4], row[FIRST_BLOB])
                for column, value in zip(columns, values, strict=True):
                    column.append(value)
            rows, ids, *texts, sums = columns
            if len(set(ids)) != len(ids):
                raise damaged(self.name, "two photos of one id")
            stored = np.empty((0, meta.dim), dtype=np.float16)
            if vectors:
                photos = zip(rows, ids, sums, strict=True)
                stored = self._vectors(tables, (len(ids), meta.dim), photos, after=after)
        a, b, c, d = (np.array(column, dtype=object) for column in (ids, *texts))
        return GalleryTable(a, b, c, d, stored, np.array(rows, dtype=np.int64), meta.generation)

    def labels(self) -> Labels:
        """Row number and landmark of every photo, for galleries whose vectors exceed the memory."""
        code_of: dict[str, int] = {}
        with self._snapshot() as (tables, meta):
            pairs = [
                (row[0], code_of.setdefault(row[LANDMARK], len(code_of)))
                for row in self._photos(tables, meta)
            ]
        table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        names = sorted(name for name in code_of if name)
        place = {name: at for at, name in enumerate(names)}
        new = np.array([place.get(name, -1) for name in code_of], dtype=np.int32)
        codes = new[table[:, 1]] if len(table) else np.empty(0, dtype=np.int32)
        return Labels(table[:, 0], codes, names, meta.generation)

    def rows_after(
        self, row: int, limit: int, ids: Iterable[str] | None = None
    ) -> list[tuple[int, GalleryRow]]:
        """At most `limit` complete photos with their row numbers, from those above `row`.

        ids: only photos with these ids; None = all.
        """
        with self._snapshot() as (tables, meta), closing(tables.entries(row, limit)) as entries:
            if ids is None:
                found = [checked(entry, self.name) for entry in entries]
            else:
                found = [one for one in self._with_ids(tables, ids) if one[0] > row][:limit]
            vectors = self._vectors_of(tables, meta.dim, found).astype(np.float32)
            keypoints, looks, thumbnails = (self._blobs(tables, kind, found) for kind in BLOBS[1:])
        return [
            (entry[0], GalleryRow(
                entry[1], entry[2], entry[3], entry[4], entry[5], vector,
                keypoints=keypoints.get(entry[ID], b""),
                fingerprint=looks.get(entry[ID], b""), thumbnail=thumbnails.get(entry[ID], b""),
                **Credit(*entry[AUTHOR : SOURCE + 1])._asdict(),
            )) for entry, vector in zip(found, vectors, strict=True)
        ]  # fmt: skip

    def hashes(self, ids: Iterable[str]) -> dict[str, str]:
        """Id → content hash; unknown ids are omitted."""
        with self._snapshot() as (tables, _):
            return {row[ID]: row[4] for row in self._with_ids(tables, ids)}

    def ids_of(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        """Ids of (n,) row numbers, in any order. Raises GalleryError for one without a photo."""
        with self._snapshot() as (tables, _):
            id_of = {row[0]: row[ID] for row in self._at(tables, rows)}
        return np.array([id_of[row] for row in rows.tolist()], dtype=object)

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """Vectors (n, D) of (n,) row numbers. Raises GalleryError as `ids_of` does."""
        with self._snapshot() as (tables, meta):
            return self._vectors_at(tables, meta.dim, rows)

    def nearest(
        self,
        queries: Vectors,
        k: int,
        *,
        distractors: bool = False,
        landmarks: Collection[str] | None = None,
    ) -> Neighbours:
        """The k photos of highest cosine similarity for each query.

        The search may be approximate; the cosines are exact for the stored float16 vectors. A
        gallery without its own search reads all vectors here; use a `GalleryIndex` for many calls.

        Args:
            queries: (Q, D) float32 unit rows.
            k: photos per query.
            distractors: search the distractors instead of the photos with a landmark.
            landmarks: search only photos of these landmarks; None = all.

        Returns:
            Row numbers and similarities, (Q, k), descending; −1 and −inf where fewer are found.
        """
        return nearest_rows(self.table(), queries, k, distractors, landmarks)

    def keypoints(self, ids: Iterable[str]) -> dict[str, bytes]:
        """Id → packed local features; unknown ids and photos without features are omitted."""
        return self._blobs_of("keypoints", ids)

    def thumbnails(self, ids: Iterable[str]) -> dict[str, bytes]:
        """Id → small JPEG; unknown ids and photos without a thumbnail are omitted."""
        return self._blobs_of("thumbnails", ids)

    def fingerprints(self, ids: Iterable[str] | None = None) -> dict[str, bytes]:
        """Id → packed perceptual fingerprint, of the photos that have one. ids: None = all."""
        return self._blobs_of("looks", ids)

    def credits(self, ids: Iterable[str]) -> dict[str, Credit]:
        """Id → credit; unknown ids are omitted."""
        with self._snapshot() as (tables, _):
            found = self._with_ids(tables, ids)
        return {row[ID]: Credit(*row[AUTHOR : SOURCE + 1]) for row in found}

    def landmarks(self) -> dict[str, LandmarkRecord]:
        """Landmark → its record, for landmarks that have one."""
        with self._snapshot() as (tables, meta):
            return read_records(tables, meta, self.name)

    def optimize(self) -> list[str]:
        """Build the database's search indexes after many changes; returns one line for each."""
        return []

    def faults(self) -> list[str]:
        """Verify all stored data; one line for each fault, empty = intact."""
        with self._tables("snapshot") as tables:
            return faults_of(tables, self.name)

    @contextmanager
    def _snapshot(self) -> Iterator[tuple[Tables, Meta]]:
        """A read transaction, so that all its reads see one generation."""
        with self._tables("snapshot") as tables:
            yield tables, read_meta(tables, self.name)

    @contextmanager
    def _changing(self) -> Iterator[Change]:
        """A write transaction that increments the generation; it is rolled back on any error."""
        with self._tables("change") as tables:
            change = Change(tables, read_meta(tables, self.name), self.name)
            yield change
            change.write_meta()

    def _photos(self, tables: Tables, meta: Meta, after: int | None = None) -> Iterator[PhotoRow]:
        """Photos in row order; of all, a missing or additional one raises GalleryError."""
        count = digest = 0
        with closing(tables.entries(after)) as entries:  # an open COPY would end the connection
            for row in entries:
                yield checked(row, self.name)
                count, digest = count + 1, digest + row[-1]
        if after is None and (count, add_checksum(digest, 0)) != (meta.photos, meta.photo_digest):
            raise damaged(self.name, f"{count} photos found, expected {meta.photos}")

    def _with_ids(self, tables: Tables, ids: Iterable[str]) -> list[PhotoRow]:
        """The photos with these ids, in row order; unknown ids are omitted."""
        wanted = [one for one in dict.fromkeys(ids) if "\0" not in one]  # which no id has
        found = [checked(row, self.name) for row in tables.entries_with("id", wanted)]
        missing = {*wanted} - {row[ID] for row in found}
        if missing and tables.is_unindexed(sorted(missing)):
            raise damaged(self.name, "the index of ids")
        return found

    def _at(self, tables: Tables, rows: NDArray[np.int64]) -> list[PhotoRow]:
        """The photos with these row numbers, each once, in row order."""
        wanted = np.unique(rows).tolist()
        found = [checked(row, self.name) for row in tables.entries_at(wanted)]
        if missing := sorted({*wanted} - {row[0] for row in found}):
            raise GalleryError(f"{self.name}: no photo of row number {missing[0]}: removed since")
        return found

    def _vectors_at(self, tables: Tables, dim: int, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """(n, D) vectors of (n,) row numbers."""
        found = self._at(tables, rows)
        numbers = np.array([row[0] for row in found], dtype=np.int64)
        return self._vectors_of(tables, dim, found)[np.searchsorted(numbers, rows)]

    def _vectors_of(self, tables: Tables, dim: int, found: list[PhotoRow]) -> NDArray[np.float16]:
        photos = ((row[0], row[ID], row[FIRST_BLOB]) for row in found)
        numbers = [row[0] for row in found]
        return self._vectors(tables, (len(found), dim), photos, numbers=numbers)

    def _vectors(
        self, tables: Tables, shape: tuple[int, int], photos: Iterable[tuple[int, str, int]],
        **which: Any,
    ) -> NDArray[np.float16]:  # fmt: skip
        """(N, D) vectors of photos, given by row number, id and checksum, in row order."""
        width = 2 * shape[1]
        vectors = np.empty(shape, dtype="<f2")
        flat = vectors.data.cast("B") if vectors.size else memoryview(bytearray())
        with closing(tables.blobs("vectors", **which)) as stored:
            for at, (number, photo_id, expected) in enumerate(photos):
                row, data = next(stored, (None, b""))
                if row != number or not _matches(data, expected) or len(data) != width:
                    raise damaged(self.name, f"vector of photo {photo_id!r}, row {number}")
                flat[at * width : (at + 1) * width] = data
            if next(stored, None) is not None:
                raise damaged(self.name, "a vector without its photo")
        return vectors.astype(np.float16, copy=False)

    def _blobs_of(self, kind: str, ids: Iterable[str] | None) -> dict[str, bytes]:
        with self._snapshot() as (tables, meta):
            if ids is None:
                return self._blobs(tables, kind, list(self._photos(tables, meta)), every=True)
            return self._blobs(tables, kind, self._with_ids(tables, ids))

    def _blobs(
        self, tables: Tables, kind: str, photos: list[PhotoRow], *, every: bool = False
    ) -> dict[str, bytes]:
        """Id → blob of one kind, of the photos that have one. every: these are all photos."""
        at = FIRST_BLOB + BLOBS.index(kind)
        wanted = {row[0]: row for row in photos if row[at] is not None}
        if not wanted:
            return {}
        with closing(tables.blobs(kind, numbers=None if every else list(wanted))) as stored:
            found = {
                wanted[number][ID]: data
                for number, data in stored
                if number in wanted and _matches(data, wanted[number][at])
            }
        for row in wanted.values():
            if row[ID] not in found:
                raise damaged(self.name, f"{kind} of photo {row[ID]!r}")
        return found


def _matches(data: object, expected: object) -> bool:
    return isinstance(data, bytes) and blob_sum(data) == expected
