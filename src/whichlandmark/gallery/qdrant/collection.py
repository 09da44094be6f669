"""The collection of a search index: its options with presets, and its marker.

A photo's point has the photo's row number as its id. Point 0 is the marker: it says which state of
which gallery the collection holds, and whether all of it is there.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, Self

from ...core.errors import GalleryError
from ..checksums import Meta

if TYPE_CHECKING:
    from .client import RetryingClient

MARKER_ID = 0  # no photo has this row number

FORMAT = "whichlandmark search index 1"


@dataclass(frozen=True, kw_only=True)
class QdrantConfig:
    """How a collection is made and searched; the defaults suit up to a million photos in memory.

    The search options (`ef_search`, `oversampling`, `exact_below`) count whenever the index is
    opened, all others when the collection is made. The server says which values it takes.
    """

    shards: int = 1  # spread over the servers: a multiple of their number
    replicas: int = 1  # servers that hold a copy of each shard
    write_consistency: int = 1  # replicas that must confirm a change
    vectors_on_disk: bool = False  # read float16 vectors from disk, cached as memory allows
    quantization: Literal["none", "scalar", "binary"] = "none"  # in memory: 1 byte a dimension, bit
    oversampling: float = 2.0  # quantised candidates, as a multiple of the result
    hnsw_m: int = 16  # links of a photo in the graph: 8·m bytes
    hnsw_ef_construct: int = 128  # candidates when building the graph
    hnsw_on_disk: bool = False
    ef_search: int = 128  # candidates when searching the graph
    indexing_threshold: int = 20_000  # kB of vectors from which a segment gets a graph; 0 = never
    exact_below: int = 20_000  # up to this number of photos compare all

    @classmethod
    def for_size(cls, photos: int) -> Self:
        """The preset for a gallery of about this many photos, vectors of 256 to 512 dimensions.

        Up to 1 million the defaults; then those for 10 million, for 100 million, for 1 billion.
        """
        if photos <= 1_000_000:
            return cls()
        if photos <= 10_000_000:  # one server
            return cls(shards=2, vectors_on_disk=True, quantization="scalar")
        if photos <= 100_000_000:  # three servers, one of which may fail
            return cls(
                shards=6, replicas=2, write_consistency=2, vectors_on_disk=True,
                quantization="scalar", ef_search=192, indexing_threshold=100_000,
            )  # fmt: skip
        return cls(  # twelve servers: binary vectors in memory, graph and float16 on fast disks
            shards=24, replicas=2, write_consistency=2, vectors_on_disk=True,
            quantization="binary", oversampling=16.0, hnsw_on_disk=True, ef_search=320,
            indexing_threshold=200_000,
        )  # fmt: skip

    def creation(self, dim: int) -> dict[str, Any]:
        """Arguments of `create_collection`.

        The distance is the inner product, because with cosine distance Qdrant changes vectors that
        are not of unit length. `on_disk` and `always_ram` are used because older servers silently
        ignore their successor `memory`.
        """
        from qdrant_client import models as m

        quantization = {
            "none": None,
            "scalar": m.ScalarQuantization(scalar=m.ScalarQuantizationConfig(
                type=m.ScalarType.INT8, quantile=0.99, always_ram=True
            )),
            "binary": m.BinaryQuantization(binary=m.BinaryQuantizationConfig(always_ram=True)),
        }[self.quantization]  # fmt: skip
        return {
            "vectors_config": m.VectorParams(
                size=dim, distance=m.Distance.DOT, datatype=m.Datatype.FLOAT16,
                on_disk=self.vectors_on_disk,
            ),
            "shard_number": self.shards,
            "replication_factor": self.replicas,
            "write_consistency_factor": self.write_consistency,
            "hnsw_config": m.HnswConfigDiff(
                m=self.hnsw_m, ef_construct=self.hnsw_ef_construct, on_disk=self.hnsw_on_disk
            ),
            "optimizers_config": m.OptimizersConfigDiff(indexing_threshold=self.indexing_threshold),
            "quantization_config": quantization,
            "on_disk_payload": True,
            "strict_mode_config": m.StrictModeConfig(enabled=False),  # `run` is filtered unindexed
        }  # fmt: skip

    def search_params(self, photos: int) -> Any:
        """Search parameters of a query in a collection of so many photos."""
        from qdrant_client import models as m

        if photos <= self.exact_below:
            return m.SearchParams(exact=True, quantization=m.QuantizationSearchParams(ignore=True))
        quantised = m.QuantizationSearchParams(rescore=True, oversampling=self.oversampling)
        return m.SearchParams(
            hnsw_ef=self.ef_search, quantization=None if self.quantization == "none" else quantised
        )


@dataclass(frozen=True)
class Marker:
    """What a collection says of itself.

    generation … last_row: of the gallery's state that it holds, if it is complete; run: the token
    of the sync that wrote to it last; done: counts up while that sync works.
    """

    embedder: str
    dim: int
    generation: int = 0
    digest: int = 0
    count: int = 0
    last_row: int = 0
    complete: bool = False
    run: str = ""
    done: int = 0

    def holds(self, state: Meta) -> bool:
        """Whether the collection holds exactly this state of a gallery."""
        theirs = (self.embedder, self.dim, self.generation, self.digest, self.count)
        return self.complete and theirs == (
            state.embedder, state.dim, state.generation, state.photo_digest, state.photos
        )  # fmt: skip


def read_marker(client: RetryingClient, *, search: bool = False) -> Marker | None:
    """The marker; None when there is no collection, or an empty one.

    The majority of the replicas is asked, because one that was offline may lack the last change.
    search: as `RetryingClient.call` takes it; there must be a collection then.

    Raises:
        GalleryError: when the collection is no search index of this package.
    """
    client.connect()  # raises where the package below is missing
    from qdrant_client import models

    if not search and not client.call("collection_exists"):
        return None
    found = client.call(
        "retrieve", search=search, ids=[MARKER_ID], with_payload=True, with_vectors=False,
        consistency=models.ReadConsistencyType.MAJORITY,
    )  # fmt: skip
    payload = (found[0].payload or {}) if found else {}
    names = [field.name for field in fields(Marker)]
    if payload.get("format") == FORMAT and payload.keys() >= set(names):
        return Marker(**{name: payload[name] for name in names})
    if not found and not client.call("count", exact=True).count:
        return None
    raise GalleryError(
        f"{client.name}: there is a collection of this name that is no search index of "
        "whichlandmark; take another name, or delete it on the server"
    )


def set_marker(client: RetryingClient, owner: str, **changed: Any) -> bool:
    """Change the marker if its `run` is `owner`; returns whether it was changed.

    Qdrant does not say whether the condition was met, so the marker is read afterwards.
    """
    from qdrant_client import models as m

    same = m.FieldCondition(key="run", match=m.MatchValue(value=owner))
    only = m.Filter(must=[m.HasIdCondition(has_id=[MARKER_ID]), same])
    client.change("set_payload", payload=changed, points=only)
    marker = read_marker(client)
    return marker is not None and marker.run == changed.get("run", owner)


def make(client: RetryingClient, config: QdrantConfig, embedder: str, dim: int) -> Marker:
    """Make the collection with its marker; one that is there is thrown away."""
    from qdrant_client import models

    if client.call("collection_exists"):
        client.call("delete_collection")
    client.call("create_collection", **config.creation(dim))
    # `run` has no index, because one was seen to lag behind its point after a crash of the engine.
    keyword = models.PayloadSchemaType.KEYWORD
    client.call("create_payload_index", field_name="kind", field_schema=keyword, wait=True)
    marker = Marker(embedder, dim)
    payload = {"format": FORMAT, **asdict(marker)}
    point = models.PointStruct(id=MARKER_ID, vector=[0.0] * dim, payload=payload)
    client.change("upsert", points=[point])
    return marker
