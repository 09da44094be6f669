"""PostgresGallery: create, open, change, optimize and close a gallery in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Self

import psycopg
from psycopg import errors

from ...core.errors import DataError, GalleryError
from ..checksums import Meta, PhotoRow, add_checksum, blob_sum, landmark_sum, meta_sum, photo_sum
from ..records import (
    MAX_IDS_COMPARED,
    MAX_IDS_SHOWN,
    Credit,
    GalleryRow,
    LandmarkRecord,
    check,
    check_text,
    unknown_ids_message,
)
from ..sqlite.store import AUTHOR, LANDMARK, to_bytes
from . import connection as connections
from . import queries as sql_queries
from .connection import (
    BLOBS,
    LANDMARK_PREFIX,
    META_COLUMNS,
    Sql,
    address_of,
    connect,
    gallery_errors,
)
from .queries import COLUMNS, TYPES, is_valid_text, photos_of
from .reads import PostgresReads, open_connection
from .search import optimize
from .vectors import write_vectors

HINT_TIMEOUT = "3s"  # for finding ids similar to an unknown one

SIMILAR_IDS = (
    "(SELECT id FROM photos WHERE id > %(id)s ORDER BY id LIMIT 50) UNION "
    "(SELECT id FROM photos WHERE id < %(id)s ORDER BY id DESC LIMIT 50) UNION "
    "(SELECT id FROM photos WHERE strpos(id, %(id)s) > 0 LIMIT 50)"
)


class PostgresGallery(PostgresReads):
    """A gallery in PostgreSQL; see `base.Gallery` for the methods.

    Open with `create` or `open`; close with `close` or a with-statement. Threads may share it, but
    their calls run one at a time. A call during which the connection is lost raises GalleryError;
    the next call connects again.
    """

    @classmethod
    def create(cls, address: str, embedder_id: str, dim: int) -> PostgresGallery:
        """Create an empty gallery for vectors of one embedder.

        Raises:
            GalleryError: when there is one of this name, when pgvector is missing and cannot be
                installed, or when the server cannot be reached.
            OptionError: for an invalid address.
        """
        where = address_of(address)
        connection = connect(where)
        try:
            with gallery_errors(where.shown):
                connections.create_schema(connection, where, embedder_id, dim)
                connections.use_schema(connection, where)
        except BaseException:
            connection.close()
            raise
        return cls(where, connection)

    @classmethod
    def open(cls, address: str) -> PostgresGallery:
        """Open an existing gallery.

        Raises:
            GalleryError: when it does not exist or the server cannot be reached.
            OptionError: for an invalid address.
        """
        where = address_of(address)
        return cls(where, open_connection(where))

    def put(self, rows: Sequence[GalleryRow]) -> None:
        """Add photos in one transaction; a photo with a known id is replaced and keeps its row.

        Raises:
            GalleryError: for a vector of another shape.
            DataError: for a text that cannot be stored (`records.check`).
        """
        with self._changing() as change:
            change.put(rows)

    def remove(self, ids: Iterable[str]) -> int:
        """Delete photos with all their data, and return how many.

        Their bytes remain in the server's files until PostgreSQL vacuums, as `optimize` does.
        Raises DataError for unknown ids.
        """
        with self._changing() as change:
            return change.remove(ids)

    def relabel(self, landmarks: Mapping[str, str]) -> None:
        """Change the landmark of photos: id → landmark. Raises DataError for unknown ids."""
        with self._changing() as change:
            change.relabel(landmarks)

    def describe(self, records: Iterable[LandmarkRecord]) -> None:
        """Store landmark records, replacing those of the same landmarks."""
        with self._changing() as change:
            change.describe(records)

    def credit(self, credits: Mapping[str, Credit]) -> None:
        """Set author and licence of photos by id. Raises DataError for unknown ids."""
        with self._changing() as change:
            change.credit(credits)

    def optimize(self, *, memory: str = "1GB", workers: int = 2) -> list[str]:
        """Vacuum the tables and build missing search indexes that save time: after a large load.

        Writers wait during the build; readers do not.

        Args:
            memory: of the server, for the build.
            workers: additional processes of the server for the build.

        Returns:
            One line for each search index.
        """
        with self._connected() as sql:
            return optimize(sql, self.dim, memory, workers)

    def close(self) -> None:
        """Close the connection; the object cannot be used afterwards."""
        with self._lock:
            self._closed = True
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextmanager
    def _changing(self) -> Iterator[PostgresChange]:
        """A write transaction that increments the generation; it is rolled back on any error."""
        with self._connected() as sql:
            sql.execute("BEGIN")
            try:
                change = PostgresChange(
                    sql, sql_queries.read_meta(sql, self.name, lock=True), self.name
                )
                yield change
                change.write_meta()
            except BaseException:
                with suppress(psycopg.Error):  # because the first error is raised
                    sql_queries.roll_back(sql)
                raise
            self._commit(sql, change.meta.generation)

    def _commit(self, sql: Sql, generation: int) -> None:
        """Commit the transaction.

        When the connection is lost meanwhile, the server may or may not have committed; the
        GalleryError says how to find out.
        """
        try:
            sql.execute("COMMIT")
        except psycopg.OperationalError as error:
            if not sql.closed:
                raise  # because the server refused, e.g. on a full disk
            raise GalleryError(
                f"{self.name}: the connection was lost while a batch was committed "
                f"({' '.join(str(error).split())}); it is in the gallery, whole, if its generation "
                f"has reached {generation}; doing it again does no harm"
            ) from None


@dataclass(eq=False)
class PostgresChange:
    """One batch of changes in an open transaction.

    meta: the header as it will be; `write_meta` writes it at the end.
    """

    sql: Sql
    meta: Meta
    name: str

    def put(self, rows: Sequence[GalleryRow]) -> None:
        """Add photos; a photo with a known id is replaced and keeps its row number."""
        batch = {row.id: row for row in rows}  # the last of photos with the same id
        for row in batch.values():
            check(row)
        blobs = [
            (to_bytes(row.vector, self.meta.dim), row.keypoints, row.fingerprint, row.thumbnail)
            for row in batch.values()
        ]
        old = {row[1]: row for row in photos_of(self.sql, batch, self.name)}
        self._delete(list(old.values()))
        numbers = self._numbers(batch, old)
        self._write(numbers, list(batch.values()), blobs)
        self._drop_unused_records({row[LANDMARK] for row in old.values()}, {})

    def _numbers(self, batch: Iterable[str], old: Mapping[str, PhotoRow]) -> list[int]:
        """The row number of each photo: its old one, or the next free one."""
        numbers = []
        for photo_id in batch:
            if photo_id in old:
                numbers.append(old[photo_id][0])
                continue
            numbers.append(self.meta.next_row)
            self.meta = self.meta._replace(next_row=self.meta.next_row + 1)
        return numbers

    def _write(
        self, numbers: list[int], rows: list[GalleryRow], blobs: Sequence[tuple[bytes, ...]]
    ) -> None:
        entries: list[PhotoRow] = []
        for number, row, data in zip(numbers, rows, blobs, strict=True):
            sums = tuple(blob_sum(one) if one else None for one in data)
            fields = (number, row.id, row.path, row.landmark, row.hash, row.stamp, row.author,
                      row.licence, *sums)  # fmt: skip
            entries.append((*fields, photo_sum(fields)))
        self._copy("photos", COLUMNS, TYPES, entries)
        for at, kind in enumerate(BLOBS[1:], 1):
            having = [(number, data[at]) for number, data in zip(numbers, blobs, strict=True)
                      if data[at]]  # fmt: skip
            self._copy(kind, "number, data", ("int8", "bytea"), having)
        bank = [not row.landmark for row in rows]
        write_vectors(self.sql, numbers, bank, [one[0] for one in blobs], self.meta.dim)
        self._count(len(entries), sum(entry[-1] for entry in entries))

    def _copy(
        self, table: str, columns: str, types: Iterable[str], rows: Sequence[tuple[object, ...]]
    ) -> None:
        if not rows:
            return
        statement = f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)"
        with self.sql.cursor().copy(statement) as copy:
            copy.set_types(tuple(types))
            for row in rows:
                copy.write_row(row)

    def remove(self, ids: Iterable[str]) -> int:
        """Delete photos with all their data. Raises DataError for unknown ids."""
        found = self._known(ids)
        self._delete(found)
        self._drop_unused_records({row[LANDMARK] for row in found}, {})
        return len(found)

    def _delete(self, rows: list[PhotoRow]) -> None:
        if not rows:
            return
        numbers = [row[0] for row in rows]
        for table in ("photos", *BLOBS):
            query = f"DELETE FROM {table} WHERE number = ANY(%s)"
            self.sql.execute(query, (numbers,))
        self._count(-len(rows), -sum(row[-1] for row in rows))

    def relabel(self, landmarks: Mapping[str, str]) -> None:
        """Change the landmark of photos. Raises DataError for unknown ids.

        The record of a landmark that loses its last photo moves to the new landmark, unless that
        one has a record.
        """
        found = self._known(landmarks)
        new = [landmarks[row[1]] for row in found]
        for row, landmark in zip(found, new, strict=True):
            check_text("landmark", landmark, f"photo {row[1]!r}")
        changed = [(*row[:LANDMARK], landmark, *row[LANDMARK + 1 : -1])
                   for row, landmark in zip(found, new, strict=True)]  # fmt: skip
        self._rewrite(found, changed)
        self.sql.execute(
            "UPDATE vectors v SET bank = n.bank FROM unnest(%s::bigint[], %s::boolean[]) "
            "AS n (number, bank) WHERE v.number = n.number AND v.bank <> n.bank",
            ([row[0] for row in found], [not landmark for landmark in new]),
        )
        successors = {row[LANDMARK]: landmark for row, landmark in zip(found, new, strict=True)}
        self._drop_unused_records(set(successors), successors)

    def credit(self, credits: Mapping[str, Credit]) -> None:
        """Set author and licence of photos by id. Raises DataError for unknown ids."""
        found = self._known(credits)
        changed = []
        for row in found:
            given = Credit(*credits[row[1]])
            for name, text in given._asdict().items():
                check_text(name, text, f"photo {row[1]!r}")
            changed.append((*row[:AUTHOR], *given, *row[AUTHOR + 2 : -1]))
        self._rewrite(found, changed)

    def _rewrite(self, found: list[PhotoRow], changed: list[PhotoRow]) -> None:
        """Update landmark, author and licence of photos; changed: rows without their checksum."""
        sums = [photo_sum(fields) for fields in changed]
        self.sql.execute(
            "UPDATE photos p SET landmark = n.landmark, author = n.author, licence = n.licence, "
            "sum = n.sum FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], "
            "%s::bigint[]) AS n (number, landmark, author, licence, sum) "
            "WHERE p.number = n.number",
            (*([fields[at] for fields in changed]
               for at in (0, LANDMARK, AUTHOR, AUTHOR + 1)), sums),
        )  # fmt: skip
        self._count(0, sum(sums) - sum(row[-1] for row in found))

    def describe(self, records: Iterable[LandmarkRecord]) -> None:
        """Store landmark records, replacing those of the same landmarks."""
        texts = {record.name: record.to_text() for record in records}
        self._drop_records(list(texts))
        self._insert_records(texts)

    def write_meta(self) -> None:
        """Write the header with the next generation: the last statement of every batch."""
        self.meta = self.meta._replace(generation=self.meta.generation + 1)
        values = (*self.meta, meta_sum(self.meta))
        placeholders = ", ".join(["%s"] * len(values))
        self.sql.execute(f"UPDATE meta SET ({META_COLUMNS}, sum) = ROW ({placeholders})", values)

    def _known(self, ids: Iterable[str]) -> list[PhotoRow]:
        wanted = list(dict.fromkeys(ids))
        found = photos_of(self.sql, wanted, self.name)
        if len(found) != len(wanted):
            known = {row[1] for row in found}
            missing = [photo_id for photo_id in wanted if photo_id not in known]
            raise DataError(unknown_ids_message(missing, self._similar_ids(missing), self.name))
        return found

    def _similar_ids(self, missing: list[str]) -> list[str]:
        """Ids to compare unknown ones with: all of a small gallery, else a few similar ones.

        Empty when these take longer than HINT_TIMEOUT to find.
        """
        known = self.sql.execute(
            "SELECT id FROM photos LIMIT %s", (MAX_IDS_COMPARED + 1,)
        ).fetchall()
        if len(known) > MAX_IDS_COMPARED:
            known = []
            with suppress(errors.QueryCanceled), self.sql.transaction():
                self.sql.execute(
                    "SELECT set_config('statement_timeout', %s, true)", (HINT_TIMEOUT,)
                )
                for photo_id in filter(is_valid_text, missing[:MAX_IDS_SHOWN]):
                    known += self.sql.execute(SIMILAR_IDS, {"id": photo_id}).fetchall()
        return sorted({row[0] for row in known})

    def _count(self, photos: int, change: int) -> None:
        self.meta = self.meta._replace(
            photos=self.meta.photos + photos,
            photo_digest=add_checksum(self.meta.photo_digest, change),
        )

    def _drop_unused_records(self, landmarks: set[str], successors: Mapping[str, str]) -> None:
        """Delete the records of landmarks without photos, or move them to the successor."""
        if not landmarks - {""}:
            return
        lost = self.sql.execute(
            "SELECT name FROM unnest(%s::text[]) AS n (name) WHERE NOT EXISTS (SELECT 1 "
            f"FROM photos WHERE left(landmark, {LANDMARK_PREFIX}) = left(name, {LANDMARK_PREFIX}) "
            "AND landmark = name)", (sorted(landmarks - {""}),),
        ).fetchall()  # fmt: skip
        left = self._drop_records([row[0] for row in lost])
        for landmark in sorted(left):
            successor = successors.get(landmark, "")
            if successor and not self._records([successor]):
                self._insert_records({successor: left[landmark]})

    def _records(self, names: list[str]) -> dict[str, tuple[str, int]]:
        query = (
            "SELECT name, record, sum FROM unnest(%s::text[]) AS w (wanted) CROSS JOIN LATERAL "
            "(SELECT name, record, sum FROM landmarks WHERE name = w.wanted OFFSET 0) r"
        )
        return {row[0]: (row[1], row[2]) for row in self.sql.execute(query, (names,))}

    def _drop_records(self, names: list[str]) -> dict[str, str]:
        """Delete records; returns landmark → the text of its deleted record."""
        found = self._records(names) if names else {}
        if not found:
            return {}
        self.sql.execute("DELETE FROM landmarks WHERE name = ANY(%s)", (list(found),))
        self._count_records(-len(found), -sum(stored for _, stored in found.values()))
        return {name: text for name, (text, _) in found.items()}

    def _insert_records(self, texts: Mapping[str, str]) -> None:
        rows = [(name, text, landmark_sum(name, text)) for name, text in texts.items()]
        self._copy("landmarks", "name, record, sum", ("text", "text", "int8"), rows)
        self._count_records(len(rows), sum(row[-1] for row in rows))

    def _count_records(self, records: int, change: int) -> None:
        self.meta = self.meta._replace(
            landmarks=self.meta.landmarks + records,
            landmark_digest=add_checksum(self.meta.landmark_digest, change),
        )
