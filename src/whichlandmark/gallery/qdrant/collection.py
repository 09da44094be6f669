"""Create and check the collections of a Qdrant gallery, and make snapshots of them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from ...core.errors import BusyError, GalleryError
from ...core.json_options import from_json, to_json
from ..checksums import Meta
from . import points
from .client import RetryingClient
from .config import QdrantConfig, about_collection, photo_collection
from .integrity import check_setting
from .points import NO_WRITER, Head
from .queries import read_head

MIN_SERVER_VERSION = (1, 10)  # the first with float16 vectors and the method `query`


@dataclass(frozen=True)
class Snapshot:
    """A snapshot file on the server's disk: COLLECTION/NAME in its folder of snapshots."""

    collection: str
    name: str
    size: int  # bytes
    made: str  # time, as the server writes it
    checksum: str  # SHA-256, "" = unknown

    @property
    def place(self) -> str:
        """The URL for `recover` on that server, if it stores snapshots in the default folder."""
        return f"file:///qdrant/snapshots/{self.collection}/{self.name}"


def make(client: RetryingClient, embedder_id: str, dim: int, config: QdrantConfig) -> None:
    """Create both collections, then the header, so that an interrupted call can be repeated.

    Raises:
        GalleryError: when a collection of this name holds points already.
    """
    for collection, options in (
        (client.photos, photo_collection(config, dim)), (client.about, about_collection(config)),
    ):  # fmt: skip
        if not client.call("collection_exists", collection_name=collection):
            client.call("create_collection", collection_name=collection, **options)
        elif client.count(collection):
            raise GalleryError(
                f"{client.name}: there is something already (collection {collection!r}); open it, "
                "or take another name"
            )
    check_setting(client, dim)
    _index(client, config)
    meta = Meta(embedder_id, dim, 0, 1, 0, 0, 0, 0)
    head = Head(meta, json.dumps(to_json(config)))
    client.upsert(client.about, [points.point(points.HEAD, head.payload())])


def _index(client: RetryingClient, config: QdrantConfig) -> None:
    """Create the payload indexes for filters. In memory there are none, and the client warns."""
    from qdrant_client import models

    keyword = models.PayloadSchemaType.KEYWORD
    ids = models.KeywordIndexParams(
        type=models.KeywordIndexType.KEYWORD, on_disk=config.id_index_on_disk, enable_hnsw=False
    )
    with _no_index_warnings() if client.in_memory else nullcontext():
        for collection, key, kind in (
            (client.photos, "id", ids), (client.photos, "landmark", keyword),
            (client.photos, "kind", keyword), (client.about, "kind", keyword),
            (client.about, "owner", keyword),
        ):  # fmt: skip
            client.call("create_payload_index", collection_name=collection, field_name=key,
                       field_schema=kind, wait=True)  # fmt: skip


@contextmanager
def _no_index_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Payload indexes have no effect", UserWarning)
        yield


def check_server(client: RetryingClient) -> None:
    """Raise GalleryError when no server answers or its version is too old."""
    found = str(client.call("info").version)
    numbers = tuple(int(part) for part in found.split("-")[0].split(".")[:2] if part.isdigit())
    if len(numbers) == 2 and numbers < MIN_SERVER_VERSION:
        expected = ".".join(map(str, MIN_SERVER_VERSION))
        raise GalleryError(
            f"{client.name}: the server is Qdrant {found}; expected {expected} or newer"
        )


def check_exists(client: RetryingClient) -> Head:
    """The gallery's header. Raises GalleryError when there is no gallery of that name."""
    for collection in (client.photos, client.about):
        if not client.call("collection_exists", collection_name=collection):
            raise GalleryError(
                f"{client.name}: no gallery there (no collection {collection!r}); make one with "
                "`whichlandmark index`"
            )
    head = read_head(client)
    check_setting(client, head.meta.dim)
    return head


def stored_config(head: Head) -> QdrantConfig:
    """The options that the gallery was created with."""
    return from_json(QdrantConfig, json.loads(head.config))


def still_building(client: RetryingClient) -> list[str]:
    """A line if the server is still building its search graph; searches are slower meanwhile.

    Raises GalleryError when the server cannot build it.
    """
    found = client.call("get_collection", collection_name=client.photos)
    status = str(getattr(found.status, "value", found.status))
    if status == "red":
        raise GalleryError(
            f"{client.name}: the server could not optimize it ({found.optimizer_status}); see its "
            "log"
        )
    if status == "green":
        return []
    done = f"{found.indexed_vectors_count or 0} of {found.points_count or 0} photos"
    return [f"the server is building its graph: {done} so far"]


def make_snapshots(client: RetryingClient) -> list[Snapshot]:
    """Make a snapshot of each collection, both of one generation.

    In a cluster these hold only the data of the server that is addressed; each needs its own.

    Raises:
        BusyError: when the gallery was changed meanwhile.
    """
    before = _settled(client)
    made = []
    for collection in (client.photos, client.about):
        found = client.call("create_snapshot", collection_name=collection, wait=True)
        if found is None:
            raise GalleryError(f"{client.name}: the server made no snapshot of {collection!r}")
        made.append(_snapshot(collection, found))
    if _settled(client).meta != before.meta:
        raise BusyError(f"{client.name}: it was changed while snapshots were made; make them again")
    return made


def list_snapshots(client: RetryingClient) -> list[Snapshot]:
    """The snapshots of both collections on the server, by collection, oldest first."""
    found = [
        _snapshot(collection, one)
        for collection in (client.photos, client.about)
        for one in client.call("list_snapshots", collection_name=collection)
    ]
    return sorted(found, key=lambda one: (one.collection != client.photos, one.made, one.name))


def _snapshot(collection: str, found: object) -> Snapshot:
    value = {
        key: getattr(found, key, None) for key in ("name", "size", "creation_time", "checksum")
    }
    return Snapshot(collection, str(value["name"]), int(value["size"] or 0),
                    str(value["creation_time"] or ""), str(value["checksum"] or ""))  # fmt: skip


def _settled(client: RetryingClient) -> Head:
    head = read_head(client)
    if head.owner != NO_WRITER or head.phase:
        raise BusyError(
            f"{client.name}: {head.owner} is writing to it; wait for it, then try again"
        )
    return head
