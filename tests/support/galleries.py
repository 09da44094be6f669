"""One empty gallery of every back end, for tests that run on all of them; see `KINDS`."""

from __future__ import annotations

import atexit
import functools
import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.support.own_postgres import NoServerError, OwnPostgres, own_postgres
from whichlandmark.gallery.base import Gallery
from whichlandmark.gallery.records import GalleryRow
from whichlandmark.gallery.sqlite.store import SqliteGallery


@dataclass(frozen=True)
class BackEnd:
    """A back end with room for one gallery.

    Attributes:
        kind: its key in `KINDS`.
        create: (embedder_id, dim) → the new gallery.
        reopen: opens the same gallery a second time; None where that is impossible.
        corrupt: changes the stored vector of one photo directly in the database, without the
            gallery's checksum.
        photos: number of photos for the test of 1,000 queries; fewer where the engine is slow.
    """

    kind: str
    create: Callable[[str, int], Gallery]
    reopen: Callable[[], Gallery] | None
    corrupt: Callable[[Gallery, str], None]
    photos: int = 4000


Opener = Callable[[Path], AbstractContextManager[BackEnd]]


def row(
    name: str, landmark: str = "a", value: float | list[float] = 0.5, **more: bytes | str
) -> GalleryRow:
    """A gallery row with a vector of 4 numbers: all equal to `value`, or these."""
    vector = np.full(4, value, dtype=np.float32)
    return GalleryRow(name, f"/photos/{name}.jpg", landmark, f"hash-{name}", "1:2", vector, **more)


@contextmanager
def file(folder: Path) -> Iterator[BackEnd]:
    path = folder / "gallery.sqlite"

    def corrupt(gallery: Gallery, photo_id: str) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as sql:
            _corrupt_sqlite(sql, photo_id)

    yield BackEnd(
        "file", lambda embedder, dim: SqliteGallery.create(path, embedder, dim),
        lambda: SqliteGallery.open(path), corrupt,
    )  # fmt: skip


@contextmanager
def memory(folder: Path) -> Iterator[BackEnd]:
    def corrupt(gallery: Gallery, photo_id: str) -> None:
        assert isinstance(gallery, SqliteGallery)
        _corrupt_sqlite(gallery._connection, photo_id)

    yield BackEnd(
        "memory", lambda embedder, dim: SqliteGallery.create(None, embedder, dim), None, corrupt
    )


def _corrupt_sqlite(sql: sqlite3.Connection, photo_id: str) -> None:
    (data,) = sql.execute(
        "SELECT data FROM vectors JOIN photos USING (row) WHERE id = ?", (photo_id,)
    ).fetchone()
    sql.execute(
        "UPDATE vectors SET data = ? WHERE row = (SELECT row FROM photos WHERE id = ?)",
        (data[::-1], photo_id),
    )


@functools.cache
def _started() -> OwnPostgres | str:
    """The one server of this test process, or the reason why it cannot be started.

    fsync is off, because no test that uses this server simulates a power failure.
    """
    stack = ExitStack()
    try:
        server = stack.enter_context(own_postgres("fsync=off"))
    except NoServerError as error:
        return str(error)
    atexit.register(stack.close)
    return server


_names = itertools.count()


def postgres_address() -> str:
    """The address of a new gallery. Skips the test when no server can be started."""
    pytest.importorskip("psycopg")
    if isinstance(server := _started(), str):
        pytest.skip(server)
    return server.address(f"test_{next(_names)}")


@contextmanager
def postgres(folder: Path) -> Iterator[BackEnd]:
    """A gallery on the PostgreSQL server of this test process."""
    address = postgres_address()
    from whichlandmark.gallery.postgres.store import PostgresGallery

    yield BackEnd(
        "postgres",
        lambda embedder, dim: PostgresGallery.create(address, embedder, dim),
        lambda: PostgresGallery.open(address),
        lambda _, photo_id: _corrupt_postgres(address, photo_id),
    )


def _corrupt_postgres(address: str, photo_id: str) -> None:
    import psycopg

    plain, _, gallery = address.partition("?gallery=")
    with psycopg.connect(plain, autocommit=True) as sql:
        sql.execute(f"SET search_path TO whichlandmark_{gallery}, public")  # type: ignore[arg-type]
        sql.execute(
            "UPDATE vectors SET data = data + data "
            "WHERE number = (SELECT number FROM photos WHERE id = %s)",
            (photo_id,),
        )


KINDS: dict[str, Opener] = {"file": file, "memory": memory, "postgres": postgres}
