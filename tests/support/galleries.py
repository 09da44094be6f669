"""Every kind of gallery, opened for tests: a `Home` is a place for one gallery, with its faults."""

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
from whichlandmark.gallery.protocol import Gallery
from whichlandmark.gallery.records import GalleryRow
from whichlandmark.gallery.sqlite.store import SqliteGallery


@dataclass(frozen=True)
class Home:
    """create(embedder_id, dim): the gallery; again: a second opener of the same, None where there
    can be none; spoil: change the stored vector of one photo by the engine's own means, behind
    the gallery's back.
    """

    kind: str
    create: Callable[[str, int], Gallery]
    again: Callable[[], Gallery] | None
    spoil: Callable[[Gallery, str], None]
    photos: int = 4000  # that 1,000 questions are asked of: fewer where the engine is slow


Opener = Callable[[Path], AbstractContextManager[Home]]


def row(
    name: str, landmark: str = "a", value: float | list[float] = 0.5, **more: bytes | str
) -> GalleryRow:
    """A photo of 4 numbers: all `value`, or these."""
    vector = np.full(4, value, dtype=np.float32)
    return GalleryRow(name, f"/photos/{name}.jpg", landmark, f"hash-{name}", "1:2", vector, **more)


@contextmanager
def file(folder: Path) -> Iterator[Home]:
    path = folder / "gallery.sqlite"

    def spoil(gallery: Gallery, photo_id: str) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as sql:
            _spoil_sqlite(sql, photo_id)

    yield Home(
        "file", lambda embedder, dim: SqliteGallery.create(path, embedder, dim),
        lambda: SqliteGallery.open(path), spoil,
    )  # fmt: skip


@contextmanager
def memory(folder: Path) -> Iterator[Home]:
    def spoil(gallery: Gallery, photo_id: str) -> None:
        assert isinstance(gallery, SqliteGallery)
        _spoil_sqlite(gallery._connection, photo_id)

    yield Home(
        "memory", lambda embedder, dim: SqliteGallery.create(None, embedder, dim), None, spoil
    )


def _spoil_sqlite(sql: sqlite3.Connection, photo_id: str) -> None:
    (data,) = sql.execute(
        "SELECT data FROM vectors JOIN photos USING (row) WHERE id = ?", (photo_id,)
    ).fetchone()
    sql.execute(
        "UPDATE vectors SET data = ? WHERE row = (SELECT row FROM photos WHERE id = ?)",
        (data[::-1], photo_id),
    )


@functools.cache
def _started() -> OwnPostgres | str:
    """The one server of this test process, or why there is none. fsync is off: no test pulls the
    plug.
    """
    until_the_end = ExitStack()
    try:
        server = until_the_end.enter_context(own_postgres("fsync=off"))
    except NoServerError as error:
        return str(error)
    atexit.register(until_the_end.close)
    return server


_names = itertools.count()


def postgres_address(more: str = "") -> str:
    """The address of a new gallery. Skips the test where no server can be started."""
    pytest.importorskip("psycopg")
    if isinstance(server := _started(), str):
        pytest.skip(server)
    return server.address(f"test_{next(_names)}", more=more)


@contextmanager
def postgres(folder: Path) -> Iterator[Home]:
    """On the server of this test process."""
    address = postgres_address()
    from whichlandmark.gallery.postgres.store import PostgresGallery

    yield Home(
        "postgres", lambda embedder, dim: PostgresGallery.create(address, embedder, dim),
        lambda: PostgresGallery.open(address), lambda _, one: _spoil_postgres(address, one),
    )  # fmt: skip


def _spoil_postgres(address: str, photo_id: str) -> None:
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
def qdrant_memory(folder: Path) -> Iterator[Home]:
    """In the client's own imitation of a server: exact, without indexes."""
    models = pytest.importorskip("qdrant_client")
    client = models.QdrantClient(":memory:")
    from whichlandmark.gallery.qdrant.store import QdrantGallery

    yield Home(
        "qdrant-memory",
        lambda embedder, dim: QdrantGallery.create_in(client, "paris", embedder, dim),
        lambda: QdrantGallery.open_in(client, "paris"),
        lambda _, photo_id: _spoil_qdrant(client, "paris", photo_id),
        photos=300,  # the imitation looks at every payload for each question
    )
    client.close()


@contextmanager
def qdrant_grpc(folder: Path) -> Iterator[Home]:
    """The same behind Qdrant's protocol: all that is said to a server goes over the wire."""
    pytest.importorskip("qdrant_client")
    from tests.support.qdrant_stand_in import StandIn, serving
    from whichlandmark.gallery.qdrant.store import QdrantGallery

    with serving(stand_in := StandIn()) as port:
        address = f"qdrant://127.0.0.1:{port}/paris?timeout=20"
        yield Home(
            "qdrant-grpc",
            lambda embedder, dim: QdrantGallery.create(address, embedder, dim),
            lambda: QdrantGallery.open(address),
            lambda _, photo_id: _spoil_qdrant(stand_in.local, "paris", photo_id),
            photos=200,
        )


@contextmanager
def qdrant_edge(folder: Path) -> Iterator[Home]:
    """On Qdrant's own engine in this process, without its protocol."""
    pytest.importorskip("qdrant_edge")
    from tests.support.edge_qdrant import EdgeClient
    from whichlandmark.gallery.qdrant.store import QdrantGallery

    with EdgeClient() as client:
        yield Home(
            "qdrant-edge",
            lambda embedder, dim: QdrantGallery.create_in(client, "paris", embedder, dim),
            lambda: QdrantGallery.open_in(client, "paris"),
            lambda _, photo_id: _spoil_qdrant(client, "paris", photo_id),
        )


@contextmanager
def qdrant_server(folder: Path) -> Iterator[Home]:
    """WHICHLANDMARK_QDRANT_URL: qdrant://HOST:6334, with ?tls=1 and so on as it needs."""
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
        yield Home(
            "qdrant-server",
            lambda embedder, dim: QdrantGallery.create(address, embedder, dim),
            lambda: QdrantGallery.open(address),
            lambda _, photo_id: _spoil_qdrant(client, name, photo_id),
        )
    finally:
        for collection in (name, f"{name}_about"):
            client.delete_collection(collection)
        client.close()


def _spoil_qdrant(client: Any, name: str, photo_id: str) -> None:
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
