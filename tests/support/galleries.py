"""One empty gallery of every back end, for tests that run on all of them; see `KINDS`."""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@contextmanager
def qdrant_memory(folder: Path) -> Iterator[BackEnd]:
    """A gallery in the in-memory mode of Qdrant's client, which searches without indexes."""
    models = pytest.importorskip("qdrant_client")
    client = models.QdrantClient(":memory:")
    from whichlandmark.gallery.qdrant.store import QdrantGallery

    yield BackEnd(
        "qdrant-memory",
        lambda embedder, dim: QdrantGallery.create_in(client, "paris", embedder, dim),
        lambda: QdrantGallery.open_in(client, "paris"),
        lambda _, photo_id: _corrupt_qdrant(client, "paris", photo_id),
        photos=300,  # because this mode reads every payload for each query
    )
    client.close()


@contextmanager
def qdrant_grpc(folder: Path) -> Iterator[BackEnd]:
    """The same through gRPC, so that every message is sent and received as with a server."""
    pytest.importorskip("qdrant_client")
    from tests.support.qdrant_stand_in import StandIn, serving
    from whichlandmark.gallery.qdrant.store import QdrantGallery

    with serving(stand_in := StandIn()) as port:
        address = f"qdrant://127.0.0.1:{port}/paris?timeout=20"
        yield BackEnd(
            "qdrant-grpc",
            lambda embedder, dim: QdrantGallery.create(address, embedder, dim),
            lambda: QdrantGallery.open(address),
            lambda _, photo_id: _corrupt_qdrant(stand_in.local, "paris", photo_id),
            photos=200,
        )


@contextmanager
def qdrant_edge(folder: Path) -> Iterator[BackEnd]:
    """A gallery on Qdrant's engine in this process, without gRPC."""
    pytest.importorskip("qdrant_edge")
    from tests.support.edge_qdrant import EdgeClient
    from whichlandmark.gallery.qdrant.store import QdrantGallery

    with EdgeClient() as client:
        yield BackEnd(
            "qdrant-edge",
            lambda embedder, dim: QdrantGallery.create_in(client, "paris", embedder, dim),
            lambda: QdrantGallery.open_in(client, "paris"),
            lambda _, photo_id: _corrupt_qdrant(client, "paris", photo_id),
        )


@contextmanager
def qdrant_server(folder: Path) -> Iterator[BackEnd]:
    """A gallery on the server of WHICHLANDMARK_QDRANT_URL, as qdrant://HOST:6334?tls=1."""
    url = os.environ.get("WHICHLANDMARK_QDRANT_URL", "")
    if not url:
        pytest.skip("WHICHLANDMARK_QDRANT_URL is not set")
    from whichlandmark.gallery.qdrant.client import connect, parse
    from whichlandmark.gallery.qdrant.store import QdrantGallery

    server, _, parameters = url.partition("?")
    name = f"whichlandmark_test_{os.getpid()}_{next(_names)}"
    address = f"{server.rstrip('/')}/{name}?{parameters}"
    client = connect(parse(address))
    try:
        yield BackEnd(
            "qdrant-server",
            lambda embedder, dim: QdrantGallery.create(address, embedder, dim),
            lambda: QdrantGallery.open(address),
            lambda _, photo_id: _corrupt_qdrant(client, name, photo_id),
        )
    finally:
        for collection in (name, f"{name}_about"):
            client.delete_collection(collection)
        client.close()


def _corrupt_qdrant(client: Any, name: str, photo_id: str) -> None:
    from qdrant_client import models

    only = models.FieldCondition(key="id", match=models.MatchValue(value=photo_id))
    found, _ = client.scroll(name, models.Filter(must=[only]), with_vectors=True)
    changed = models.PointVectors(id=found[0].id, vector=found[0].vector[::-1])
    client.update_vectors(name, [changed], wait=True)


KINDS: dict[str, Opener] = {
    "file": file,
    "memory": memory,
    "postgres": postgres,
    "qdrant-memory": qdrant_memory,
    "qdrant-grpc": qdrant_grpc,
    "qdrant-edge": qdrant_edge,
    "qdrant-server": qdrant_server,
}
