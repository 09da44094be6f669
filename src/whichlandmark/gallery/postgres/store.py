"""PostgresGallery: open, transactions, writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Self

import psycopg
from psycopg import errors

from ...core.errors import DataError, GalleryError
from ..checksums import Meta, PhotoRow, added, blob_sum, landmark_sum, meta_sum, photo_sum
from ..records import (
    FEW,
    SHOWN,
    Credit,
    GalleryRow,
    LandmarkRecord,
    check,
    check_text,
    unknown_message,
)
from ..sqlite.store import AUTHOR, LANDMARK, to_bytes
from . import connection as schema
from . import queries as reading
from .connection import BLOBS, META, PREFIX, Sql, address_of, connect, translated
from .queries import COLUMNS, TYPES, can_be, photos_of
from .reads import PostgresReads, opened
from .search import optimize
from .vectors import write_vectors


class PostgresGallery(PostgresReads):
    """Open with `create` or `open`; close with `close` or a with-statement. Any thread may ask;
    one is answered at a time. A lost connection is one GalleryError; the next call connects anew.
    """

    @classmethod
    def create(cls, address: str, embedder_id: str, dim: int) -> PostgresGallery:
        """A new, empty gallery. Raises GalleryError when there is one of this name already, when
        pgvector is missing and may not be added, or the server cannot be reached.
        """
        where = address_of(address)
        connection = connect(where)
        try:
            with translated(where.shown):
                schema.make(connection, where, embedder_id, dim)
                schema.look_into(connection, where)
        except BaseException:
            connection.close()
            raise
        return cls(where, connection)

    @classmethod
    def open(cls, address: str) -> PostgresGallery:
        """Open an existing gallery. Raises GalleryError when there is none, or it cannot be
        reached, OptionError for an address that cannot be read.
        """
        where = address_of(address)
        return cls(where, opened(where))

    def put(self, rows: Sequence[GalleryRow]) -> None:
        """Add photos, replacing those with the same id, in one transaction, by COPY.

        Raises GalleryError for a vector of another shape, DataError for words that cannot be kept.
        """
        with self._changing() as change:
            change.put(rows)

    def remove(self, ids: Iterable[str]) -> int:
        """Forget photos. Returns their number. Their bytes leave the server's files when
        PostgreSQL vacuums (`optimize` does). Raises DataError for unknown ids.
        """
        with self._changing() as change:
            return change.remove(ids)

    def relabel(self, landmarks: Mapping[str, str]) -> None:
        """{id: landmark}, "" = distractor. Raises DataError for unknown ids."""
        with self._changing() as change:
            change.relabel(landmarks)

    def describe(self, records: Iterable[LandmarkRecord]) -> None:
        """Keep what is known of landmarks, in place of what was known of them."""
        with self._changing() as change:
            change.describe(records)

    def credit(self, credits: Mapping[str, Credit]) -> None:
        """{id: Credit}. Raises DataError for unknown ids; nothing is changed then."""
        with self._changing() as change:
            change.credit(credits)

    def optimize(self, *, memory: str = "1GB", workers: int = 2) -> list[str]:
        """Build the search indexes that are missing and worth it, and give space back: after a
        large load. Writers wait meanwhile, readers do not. Returns what was done, in words.

        memory: of the server, for the build; workers: its processes beside the first.
        """
        with self._talking() as sql:
            return optimize(sql, self.dim, memory, workers)

    def close(self) -> None:
        """The object is of no use afterwards."""
        with self._lock:
            self._closed = True
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextmanager
    def _changing(self) -> Iterator[PostgresChange]:
        """One write transaction: a whole batch and the next generation, or nothing."""
        with self._talking() as sql:
            sql.execute("BEGIN")
            try:
                change = PostgresChange(
                    sql, reading.read_meta(sql, self.name, lock=True), self.name
                )
                yield change
                change.write_meta()
            except BaseException:
                with suppress(psycopg.Error):  # the first error is the one to tell
                    reading.roll_back(sql)
                raise
            self._commit(sql, change.meta.generation)

    def _commit(self, sql: Sql, generation: int) -> None:
        """Raises GalleryError that leaves open what cannot be known: a connection lost here may
        have been lost after the server kept the batch.
        """
        try:
            sql.execute("COMMIT")
        except psycopg.OperationalError as error:
            if not sql.closed:
                raise  # the server said no, as on a full disk
            raise GalleryError(
                f"{self.name}: the connection was lost while a batch was committed "
                f"({' '.join(str(error).split())}); it is in the gallery, whole, if its generation "
                f"has reached {generation}; doing it again does no harm"
            ) from None


HINT_TIMEOUT = "3s"  # to look for the ids that may have been meant

NEXT_TO = (
    "(SELECT id FROM photos WHERE id > %(id)s ORDER BY id LIMIT 50) UNION "
    "(SELECT id FROM photos WHERE id < %(id)s ORDER BY id DESC LIMIT 50) UNION "
    "(SELECT id FROM photos WHERE strpos(id, %(id)s) > 0 LIMIT 50)"
)


@dataclass(eq=False)
class PostgresChange:
    """One batch on its way to the server. `meta` is what `write_meta` writes at its end."""

    sql: Sql
    meta: Meta
    name: str

    def put(self, rows: Sequence[GalleryRow]) -> None:
        """Add photos; those with an id that is there keep their row number and are replaced."""
        batch = {row.id: row for row in rows}  # of two with one id, the later
        for row in batch.values():
            check(row)
        blobs = [
            (to_bytes(row.vector, self.meta.dim), row.keypoints, row.look, row.thumbnail)
            for row in batch.values()
        ]
        old = {row[1]: row for row in photos_of(self.sql, batch, self.name)}
        self._delete(list(old.values()))
        numbers = self._numbers(batch, old)
        self._write(numbers, list(batch.values()), blobs)
        self._forget({row[LANDMARK] for row in old.values()}, {})

    def _numbers(self, batch: Iterable[str], old: Mapping[str, PhotoRow]) -> list[int]:
        """The row number of each photo: its own, or the next."""
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
        """Forget photos and everything that hangs on them. Raises DataError for unknown ids."""
        found = self._known(ids)
        self._delete(found)
        self._forget({row[LANDMARK] for row in found}, {})
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
        """Give photos another landmark. Raises DataError for unknown ids.

        A landmark that has lost its last photo leaves its record to the new name, if that has none.
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
        heirs = {row[LANDMARK]: landmark for row, landmark in zip(found, new, strict=True)}
        self._forget(set(heirs), heirs)

    def credit(self, credits: Mapping[str, Credit]) -> None:
        """Say who made photos. Raises DataError for unknown ids."""
        found = self._known(credits)
        changed = []
        for row in found:
            given = Credit(*credits[row[1]])
            for name, text in given._asdict().items():
                check_text(name, text, f"photo {row[1]!r}")
            changed.append((*row[:AUTHOR], *given, *row[AUTHOR + 2 : -1]))
        self._rewrite(found, changed)

    def _rewrite(self, found: list[PhotoRow], changed: list[PhotoRow]) -> None:
        """Other words for photos that are there; changed: without their sums."""
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
        """Keep what is known of landmarks, in place of what was known of them."""
        texts = {record.name: record.to_text() for record in records}
        self._drop_records(list(texts))
        self._keep_records(texts)

    def write_meta(self) -> None:
        """The last statement of every batch."""
        self.meta = self.meta._replace(generation=self.meta.generation + 1)
        query = f"UPDATE meta SET ({META}, sum) = ROW (%s{', %s' * (META.count(',') + 1)})"
        self.sql.execute(query, (*self.meta, meta_sum(self.meta)))

    def _known(self, ids: Iterable[str]) -> list[PhotoRow]:
        wanted = list(dict.fromkeys(ids))
        found = photos_of(self.sql, wanted, self.name)
        if len(found) != len(wanted):
            there = {row[1] for row in found}
            missing = [photo_id for photo_id in wanted if photo_id not in there]
            raise DataError(unknown_message(missing, self._near(missing), self.name))
        return found

    def _near(self, missing: list[str]) -> list[str]:
        """Ids to compare unknown ones with: all of a small gallery, else those beside them, unless
        these take long to find.
        """
        known = self.sql.execute("SELECT id FROM photos LIMIT %s", (FEW + 1,)).fetchall()
        if len(known) > FEW:
            known = []
            with suppress(errors.QueryCanceled), self.sql.transaction():
                self.sql.execute(
                    "SELECT set_config('statement_timeout', %s, true)", (HINT_TIMEOUT,)
                )
                for photo_id in filter(can_be, missing[:SHOWN]):
                    known += self.sql.execute(NEXT_TO, {"id": photo_id}).fetchall()
        return sorted({row[0] for row in known})

    def _count(self, photos: int, change: int) -> None:
        self.meta = self.meta._replace(
            photos=self.meta.photos + photos, photo_digest=added(self.meta.photo_digest, change)
        )

    def _forget(self, landmarks: set[str], heirs: Mapping[str, str]) -> None:
        """Records of landmarks that have no photo any more go, or pass to the heir."""
        if not landmarks - {""}:
            return
        lost = self.sql.execute(
            "SELECT name FROM unnest(%s::text[]) AS n (name) WHERE NOT EXISTS (SELECT 1 "
            f"FROM photos WHERE left(landmark, {PREFIX}) = left(name, {PREFIX}) "
            "AND landmark = name)", (sorted(landmarks - {""}),),
        ).fetchall()  # fmt: skip
        left = self._drop_records([row[0] for row in lost])
        for landmark in sorted(left):
            heir = heirs.get(landmark, "")
            if heir and not self._records([heir]):
                self._keep_records({heir: left[landmark]})

    def _records(self, names: list[str]) -> dict[str, tuple[str, int]]:
        query = (
            "SELECT name, record, sum FROM unnest(%s::text[]) AS w (wanted) CROSS JOIN LATERAL "
            "(SELECT name, record, sum FROM landmarks WHERE name = w.wanted OFFSET 0) r"
        )
        return {row[0]: (row[1], row[2]) for row in self.sql.execute(query, (names,))}

    def _drop_records(self, names: list[str]) -> dict[str, str]:
        """Landmark → the text of its record, which is gone."""
        found = self._records(names) if names else {}
        if not found:
            return {}
        self.sql.execute("DELETE FROM landmarks WHERE name = ANY(%s)", (list(found),))
        self._count_records(-len(found), -sum(stored for _, stored in found.values()))
        return {name: text for name, (text, _) in found.items()}

    def _keep_records(self, texts: Mapping[str, str]) -> None:
        rows = [(name, text, landmark_sum(name, text)) for name, text in texts.items()]
        self._copy("landmarks", "name, record, sum", ("text", "text", "int8"), rows)
        self._count_records(len(rows), sum(row[-1] for row in rows))

    def _count_records(self, records: int, change: int) -> None:
        self.meta = self.meta._replace(
            landmarks=self.meta.landmarks + records,
            landmark_digest=added(self.meta.landmark_digest, change),
        )
