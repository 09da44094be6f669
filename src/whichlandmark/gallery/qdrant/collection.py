"""Create and check a collection."""

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

OLDEST = (1, 10)  # version of a server that keeps float16 and answers `query`


@dataclass(frozen=True)
class Snapshot:
    """One file on the server's disk, in its folder for snapshots: COLLECTION/NAME."""

    collection: str
    name: str
    size: int  # bytes
    made: str  # as the server says it
    checksum: str  # SHA-256, "" = not known

    @property
    def place(self) -> str:
        """As `recover` is told it on that server, where snapshots are kept as they are shipped."""
        return f"file:///qdrant/snapshots/{self.collection}/{self.name}"


def make(calls: RetryingClient, embedder_id: str, dim: int, config: QdrantConfig) -> None:
    """Both collections and the gallery's own numbers, which come last: what a making that was cut
    off left is made whole. Raises GalleryError when there is a gallery already.
    """
    for collection, options in (
        (calls.photos, photo_collection(config, dim)), (calls.about, about_collection(config)),
    ):  # fmt: skip
        if not calls.call("collection_exists", collection_name=collection):
            calls.call("create_collection", collection_name=collection, **options)
        elif calls.count(collection):
            raise GalleryError(
                f"{calls.name}: there is something already (collection {collection!r}); open it, "
                "or take another name"
            )
    check_setting(calls, dim)
    _index(calls, config)
    meta = Meta(embedder_id, dim, 0, 1, 0, 0, 0, 0)
    head = Head(meta, json.dumps(to_json(config)))
    calls.upsert(calls.about, [points.point(points.HEAD, head.payload())])


def _index(calls: RetryingClient, config: QdrantConfig) -> None:
    """What is filtered by. In memory there are no indexes, and the client says so each time."""
    from qdrant_client import models

    keyword = models.PayloadSchemaType.KEYWORD
    ids = models.KeywordIndexParams(
        type=models.KeywordIndexType.KEYWORD, on_disk=config.id_index_on_disk, enable_hnsw=False
    )
    with _unindexed() if calls.in_memory else nullcontext():
        for collection, key, kind in (
            (calls.photos, "id", ids), (calls.photos, "landmark", keyword),
            (calls.photos, "kind", keyword), (calls.about, "kind", keyword),
            (calls.about, "owner", keyword),
        ):  # fmt: skip
            calls.call("create_payload_index", collection_name=collection, field_name=key,
                       field_schema=kind, wait=True)  # fmt: skip


@contextmanager
def _unindexed() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Payload indexes have no effect", UserWarning)
        yield


def check_server(calls: RetryingClient) -> None:
    """Raises GalleryError when nobody answers, or a server that is too old."""
    found = str(calls.call("info").version)
    numbers = tuple(int(part) for part in found.split("-")[0].split(".")[:2] if part.isdigit())
    if len(numbers) == 2 and numbers < OLDEST:
        raise GalleryError(
            f"{calls.name}: the server is Qdrant {found}; expected {OLDEST[0]}.{OLDEST[1]} or newer"
        )


def check_there(calls: RetryingClient) -> Head:
    """The gallery's own numbers. Raises GalleryError when there is no gallery of that name."""
    for collection in (calls.photos, calls.about):
        if not calls.call("collection_exists", collection_name=collection):
            raise GalleryError(
                f"{calls.name}: no gallery there (no collection {collection!r}); make one with "
                "`whichlandmark index`"
            )
    head = read_head(calls)
    check_setting(calls, head.meta.dim)
    return head


def kept_config(head: Head) -> QdrantConfig:
    """The options that the gallery was made with."""
    return from_json(QdrantConfig, json.loads(head.config))


def still_building(calls: RetryingClient) -> list[str]:
    """What the server has not settled yet, in words; searches are slower until it has."""
    found = calls.call("get_collection", collection_name=calls.photos)
    status = str(getattr(found.status, "value", found.status))
    if status == "red":
        raise GalleryError(
            f"{calls.name}: the server could not settle it ({found.optimizer_status}); see its log"
        )
    if status == "green":
        return []
    done = f"{found.indexed_vectors_count or 0} of {found.points_count or 0} photos"
    return [f"the server is building its graph: {done} so far"]


def make_snapshots(calls: RetryingClient) -> list[Snapshot]:
    """One of each collection, both of one state. Raises BusyError when it was changed meanwhile.

    On a cluster this is what the server that was asked holds; each server needs its own.
    """
    before = _settled(calls)
    made = []
    for collection in (calls.photos, calls.about):
        found = calls.call("create_snapshot", collection_name=collection, wait=True)
        if found is None:
            raise GalleryError(f"{calls.name}: the server made no snapshot of {collection!r}")
        made.append(_snapshot(collection, found))
    if _settled(calls).meta != before.meta:
        raise BusyError(f"{calls.name}: it was changed while snapshots were made; make them again")
    return made


def list_snapshots(calls: RetryingClient) -> list[Snapshot]:
    """Those of both collections that the server holds, by collection, oldest first."""
    found = [
        _snapshot(collection, one)
        for collection in (calls.photos, calls.about)
        for one in calls.call("list_snapshots", collection_name=collection)
    ]
    return sorted(found, key=lambda one: (one.collection != calls.photos, one.made, one.name))


def _snapshot(collection: str, found: object) -> Snapshot:
    value = {
        key: getattr(found, key, None) for key in ("name", "size", "creation_time", "checksum")
    }
    return Snapshot(collection, str(value["name"]), int(value["size"] or 0),
                    str(value["creation_time"] or ""), str(value["checksum"] or ""))  # fmt: skip


def _settled(calls: RetryingClient) -> Head:
    head = read_head(calls)
    if head.owner != NO_WRITER or head.phase:
        raise BusyError(f"{calls.name}: {head.owner} is writing to it; wait for it, then try again")
    return head
