"""PostgresGallery: a gallery in PostgreSQL with pgvector."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg import errors, pq

from ...core.errors import GalleryError
from ...core.types import Neighbours, Vectors
from ..base import Gallery
from ..checksums import AUTHOR, BLOBS, LANDMARK, SOURCE, Meta, PhotoRow
from ..records import MAX_IDS_COMPARED, MAX_IDS_SHOWN, Credit
from ..tables import Mode, read_meta
from . import search
from .connection import (
    HASH_PREFIX,
    LANDMARK_PREFIX,
    LIFT_TIMEOUT,
    META_COLUMNS,
    Address,
    Sql,
    address_of,
    connect,
    gallery_error,
    gallery_errors,
    is_valid_text,
    one_line,
)
from .vectors import read_vectors, write_vectors

HINT_TIMEOUT = "3s"  # for finding ids similar to an unknown one

COLUMNS = ", ".join(("number", "id", "path", "landmark", "hash", "stamp", *Credit._fields, *BLOBS,
                     "sum"))  # of a PhotoRow  # fmt: skip

TYPES = ("int8", *("text",) * 9, *("int8",) * 5)

# Values as rows; as JSON, because psycopg takes long to write an array.
WANTED = "json_array_elements_text(%s::json) AS w (wanted)"

# Conditions on `photos` that an index answers, for each value apart, because PostgreSQL may scan a
# table that was just filled.
BY_VALUE = {
    "id": "id = wanted",
    "hash": f"left(hash, {HASH_PREFIX}) = left(wanted, {HASH_PREFIX}) AND hash = wanted",
    "landmark": f"left(landmark, {LANDMARK_PREFIX}) = left(wanted, {LANDMARK_PREFIX}) "
    "AND landmark = wanted",
}

SIMILAR_IDS = (
    "(SELECT id FROM photos WHERE id > %(id)s ORDER BY id LIMIT 50) UNION "
    "(SELECT id FROM photos WHERE id < %(id)s ORDER BY id DESC LIMIT 50) UNION "
    "(SELECT id FROM photos WHERE strpos(id, %(id)s) > 0 LIMIT 50)"
)


@dataclass
class PostgresTables:
    """The tables of a gallery; see `tables.Tables` for the methods.

    name: of the gallery, for messages; locks: other writers wait from `header` on until the
    transaction ends; generation: the one that `write_header` wrote.
    """

    sql: Sql
    name: str
    locks: bool = False
    generation: int = 0

    def header(self) -> list[tuple[Any, ...]]:
        query = f"SELECT {META_COLUMNS} FROM meta"
        return self.sql.execute(f"{query} FOR UPDATE" if self.locks else query).fetchall()

    def write_header(self, values: Sequence[object]) -> None:
        self.generation = Meta(*values[:-1]).generation  # type: ignore[arg-type]
        places = ", ".join(["%s"] * len(values))
        self.sql.execute(f"UPDATE meta SET ({META_COLUMNS}) = ROW ({places})", values)

    def entries(self, after: int | None, limit: int | None = None) -> Generator[PhotoRow]:
        query = f"SELECT {COLUMNS} FROM photos WHERE number > %s ORDER BY number LIMIT %s"
        return self._stream(query, (_first(after), limit), TYPES, few=limit is not None)

    def entries_at(self, numbers: list[int]) -> list[PhotoRow]:
        query = f"SELECT {COLUMNS} FROM photos WHERE number = ANY(%s) ORDER BY number"
        return self.sql.execute(query, (numbers,), binary=True).fetchall()

    def entries_with(self, column: Literal["id", "hash"], values: list[str]) -> list[PhotoRow]:
        query = (
            f"SELECT {COLUMNS} FROM {WANTED} CROSS JOIN LATERAL "
            f"(SELECT {COLUMNS} FROM photos WHERE {BY_VALUE[column]} OFFSET 0) p ORDER BY number"
        )
        wanted = json.dumps(list(filter(is_valid_text, values)))
        return self.sql.execute(query, (wanted,), binary=True).fetchall()

    def is_unindexed(self, ids: list[str]) -> bool:
        return False  # not looked for, because it would read all ids; `pg_amcheck` does

    def sums(self) -> list[tuple[int, int]]:
        query = "SELECT number, sum FROM photos ORDER BY number"
        return list(self._stream(query, (), ("int8", "int8")))

    def blobs(
        self, kind: str, after: int | None = None, numbers: list[int] | None = None
    ) -> Generator[tuple[int, bytes]]:
        which = "> %s" if numbers is None else "= ANY(%s)"
        value = _first(after) if numbers is None else numbers
        query = f"SELECT number, data FROM {kind} WHERE number {which} ORDER BY number"
        if kind != "vectors":
            return self._stream(query, (value,), ("int8", "bytea"), few=numbers is not None)
        return read_vectors(self.sql, query, value, self.name)

    def records(self, names: list[str] | None = None) -> list[tuple[str, str, int]]:
        query = "SELECT name, record, sum FROM landmarks"
        if names is None:
            return self.sql.execute(query).fetchall()
        return self.sql.execute(
            f"SELECT name, record, sum FROM {WANTED} CROSS JOIN LATERAL "
            f"({query} WHERE name = wanted OFFSET 0) r", (json.dumps(names),),
        ).fetchall()  # fmt: skip

    def with_photos(self, landmarks: list[str]) -> set[str]:
        query = (
            f"SELECT wanted FROM {WANTED} WHERE EXISTS "
            f"(SELECT 1 FROM photos WHERE {BY_VALUE['landmark']})"
        )
        return {row[0] for row in self.sql.execute(query, (json.dumps(landmarks),))}

    def similar_ids(self, ids: Sequence[str]) -> list[str]:
        """Ids to suggest for unknown ones; none when they take longer than HINT_TIMEOUT."""
        query = "SELECT id FROM photos LIMIT %s"
        known = self.sql.execute(query, (MAX_IDS_COMPARED + 1,)).fetchall()
        if len(known) > MAX_IDS_COMPARED:
            known = []
            with suppress(errors.QueryCanceled), self.sql.transaction():
                self.sql.execute(
                    "SELECT set_config('statement_timeout', %s, true)", (HINT_TIMEOUT,)
                )
                for photo_id in filter(is_valid_text, ids[:MAX_IDS_SHOWN]):
                    known += self.sql.execute(SIMILAR_IDS, {"id": photo_id}).fetchall()
        return sorted({row[0] for row in known})

    def write_photos(self, entries: list[PhotoRow], blobs: Sequence[tuple[bytes, ...]]) -> None:
        numbers = [row[0] for row in entries]
        self._copy("photos", COLUMNS, TYPES, entries)
        for at, kind in enumerate(BLOBS[1:], 1):
            rows = [(number, data[at]) for number, data in zip(numbers, blobs, strict=True)
                    if data[at]]  # fmt: skip
            self._copy(kind, "number, data", ("int8", "bytea"), rows)
        if entries:
            bank = [not row[LANDMARK] for row in entries]
            write_vectors(self.sql, numbers, bank, [data[0] for data in blobs])

    def update_entries(self, entries: list[PhotoRow]) -> None:
        texts = ("landmark", *Credit._fields)
        rows = [{"number": row[0], "sum": row[-1],
                 **dict(zip(texts, (row[LANDMARK], *row[AUTHOR : SOURCE + 1]), strict=True))}
                for row in entries]  # fmt: skip
        self.sql.execute(
            "WITH n AS MATERIALIZED (SELECT * FROM json_to_recordset(%s::json) AS r (number bigint,"
            f" {', '.join(f'{one} text' for one in texts)}, sum bigint)), "
            "marked AS (UPDATE vectors v SET bank = NOT bank FROM n "
            "WHERE v.number = n.number AND bank <> (landmark = '')) "
            f"UPDATE photos p SET {', '.join(f'{one} = n.{one}' for one in (*texts, 'sum'))} "
            "FROM n WHERE p.number = n.number",
            (json.dumps(rows),),
        )

    def delete_photos(self, numbers: list[int]) -> None:
        for table in ("photos", *BLOBS):
            self.sql.execute(f"DELETE FROM {table} WHERE number = ANY(%s)", (numbers,))

    def write_records(self, rows: list[tuple[str, str, int]]) -> None:
        self._copy("landmarks", "name, record, sum", ("text", "text", "int8"), rows)

    def delete_records(self, names: list[str]) -> None:
        self.sql.execute("DELETE FROM landmarks WHERE name = ANY(%s)", (names,))

    @contextmanager
    def checking(self) -> Iterator[None]:
        try:
            with self.sql.transaction():  # a savepoint, so that other checks can run after an error
                yield
        except psycopg.OperationalError:
            raise  # because a lost connection is no fault of the gallery
        except psycopg.Error as error:
            raise gallery_error(error, "PostgreSQL") from None

    def structure_faults(self) -> Iterator[str]:
        """Wrong marks of distractors. Indexes and pages are not checked; `pg_amcheck` does."""
        query = (
            "SELECT number, id FROM vectors JOIN photos USING (number) "
            "WHERE bank <> (landmark = '') ORDER BY number"
        )
        for number, photo_id in self._stream(query, (), ("int8", "text")):
            yield (
                f"vectors of photo {photo_id!r}, row {number}: wrongly marked as a distractor, or "
                "not marked"
            )

    def _stream(
        self, query: str, values: Sequence[object], types: Iterable[str], *, few: bool = False
    ) -> Generator[tuple[Any, ...]]:
        """The rows of a query, while they arrive; few: at once, which is one round trip less."""
        if few:
            yield from self.sql.execute(query, values, binary=True).fetchall()
            return
        self.sql.execute(LIFT_TIMEOUT)
        with self.sql.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT BINARY)", values) as copy:
            copy.set_types(tuple(types))
            yield from copy.rows()

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


class PostgresGallery(Gallery):
    """A gallery in PostgreSQL; see `base.Gallery` for the methods.

    Open with `create` or `open`; close with `close` or a with-statement. A call during which the
    connection is lost raises GalleryError; the next call connects again. The bytes of removed
    photos remain in the server's files until PostgreSQL vacuums, as `optimize` does.
    """

    def __init__(self, address: Address, connection: Sql) -> None:
        self.name = address.shown
        self._address, self._connection = address, connection
        self._lock = threading.RLock()  # because threads share one connection
        self._closed = False

    @classmethod
    def create(cls, address: str, embedder_id: str, dim: int) -> PostgresGallery:
        """Create an empty gallery for vectors of one embedder.

        Raises:
            GalleryError: when there is one of this name, when pgvector is missing and cannot be
                installed, or when the server cannot be reached.
            OptionError: for an invalid address.
        """
        where = address_of(address)
        return cls(where, connect(where, (embedder_id, dim)))

    @classmethod
    def open(cls, address: str) -> PostgresGallery:
        """Open an existing gallery. Raises GalleryError and OptionError as `create` does."""
        where = address_of(address)
        return cls(where, connect(where))

    def nearest(
        self,
        queries: Vectors,
        k: int,
        *,
        distractors: bool = False,
        landmarks: Collection[str] | None = None,
    ) -> Neighbours:
        """The k photos of highest cosine: see `base.Gallery.nearest` and `search.nearest`."""
        with self._tables("snapshot") as tables:
            dim = read_meta(tables, self.name).dim
            scope = search.search_scope(tables.sql, distractors, landmarks)
            return search.nearest(
                tables.sql, queries, k, scope, lambda rows: self._vectors_at(tables, dim, rows)
            )

    def optimize(self, *, memory: str = "1GB", workers: int = 2) -> list[str]:
        """Vacuum the tables and build missing search indexes that save time: after a large load.

        Writers wait during the build; readers do not, other threads of this program neither.
        Returns a line for each index.

        memory: of the server, for the build; workers: its additional processes for the build.
        """
        dim = self.dim
        with closing(connect(self._address)) as sql, gallery_errors(self.name):
            return search.optimize(sql, dim, memory, workers)

    def close(self) -> None:
        """Close the connection; the object cannot be used afterwards."""
        with self._lock:
            self._closed = True
            self._connection.close()

    @contextmanager
    def _tables(self, mode: Mode) -> Iterator[PostgresTables]:
        with self._lock:
            if self._closed:
                raise GalleryError(f"{self.name}: used after it was closed; open it again")
            if self._connection.closed:
                self._connection = connect(self._address)
            sql = self._connection
            tables = PostgresTables(sql, self.name, locks=mode == "change")
            with gallery_errors(self.name):
                if mode == "statement":
                    yield tables
                    return
                isolation = " ISOLATION LEVEL REPEATABLE READ, READ ONLY"
                sql.execute("BEGIN" if mode == "change" else f"BEGIN{isolation}")
                try:
                    yield tables
                    if mode == "change":
                        self._commit(sql, tables.generation)
                finally:
                    with suppress(psycopg.Error):  # because the first error is raised
                        _roll_back(sql)

    def _commit(self, sql: Sql, generation: int) -> None:
        """Commit. When the connection is lost meanwhile, the outcome is not known here."""
        try:
            sql.execute("COMMIT")
        except psycopg.OperationalError as error:
            if not sql.closed:
                raise  # because the server refused, e.g. on a full disk
            raise GalleryError(
                f"{self.name}: the connection was lost while a batch was committed "
                f"({one_line(error)}); it is in the gallery, whole, if its generation "
                f"has reached {generation}; doing it again does no harm"
            ) from None


def _roll_back(sql: Sql) -> None:
    """Roll back the open transaction, if there is one."""
    if sql.info.transaction_status == pq.TransactionStatus.ACTIVE:
        sql.close()  # because a COPY was not read to its end; the next call connects again
    if not sql.closed and sql.info.transaction_status != pq.TransactionStatus.IDLE:
        sql.execute("ROLLBACK")


def _first(after: int | None) -> int:
    return -(2**63) if after is None else after  # no photo has the row number −2^63
