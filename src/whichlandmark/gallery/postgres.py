"""A gallery on PostgreSQL with pgvector: `postgresql://user@host:5432/database?gallery=NAME`.

One schema a gallery. Every change is one transaction that holds the one row of `meta`: two writers
wait for each other, readers see one generation. Whatever ends in the middle, the program or the
server, a committed batch is there whole, and one that was not committed never began.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Self

import psycopg

from ..errors import GalleryError
from . import postgres_reading as reading
from . import postgres_schema as schema
from .postgres_asking import PostgresAsking, opened
from .postgres_connection import Sql, address_of, connect, translated
from .postgres_tuning import optimize
from .postgres_writing import Change
from .records import Credit, GalleryRow, LandmarkRecord


class PostgresGallery(PostgresAsking):
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
    def _changing(self) -> Iterator[Change]:
        """One write transaction: a whole batch and the next generation, or nothing."""
        with self._talking() as sql:
            sql.execute("BEGIN")
            try:
                change = Change(sql, reading.read_meta(sql, self.name, lock=True), self.name)
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
