"""Options of a Qdrant gallery: storage, replication, quantization and search, with presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from ...core.errors import OptionError

Quantization = Literal["none", "scalar", "binary"]


@dataclass(frozen=True, kw_only=True)
class QdrantConfig:
    """Options of a gallery; the defaults suit up to a million photos on one server, in memory.

    The search options (`ef_search`, `rescore`, `oversampling`, `exact_below`) can be changed
    whenever a gallery is opened; all others are fixed when it is created.

    Raises:
        OptionError: for values out of range.
    """

    shards: int = 1  # spread over the servers: a multiple of their number
    replicas: int = 1  # servers that hold a copy of each shard
    write_consistency: int = 1  # replicas that must confirm a change
    vectors_on_disk: bool = False  # read float16 vectors from disk, cached as memory allows
    payload_on_disk: bool = True  # texts of photos; the index of landmarks stays in memory
    id_index_on_disk: bool = False  # about 100 bytes per photo
    quantization: Quantization = "none"  # scalar: 1 byte per dimension, binary: 1 bit
    quantile: float = 0.99  # scalar: share of the values that a byte's range covers
    always_ram: bool = True  # keep quantised vectors in memory
    rescore: bool = True  # compare candidates again with the float16 vectors
    oversampling: float = 2.0  # candidates before rescoring, as a multiple of the result
    hnsw_m: int = 16  # links of a photo in the graph: 8·m bytes
    hnsw_ef_construct: int = 128  # candidates when building the graph
    hnsw_on_disk: bool = False
    ef_search: int = 128  # candidates when searching the graph
    indexing_threshold: int = 20_000  # kB of vectors from which a segment gets a graph; 0 = never
    exact_below: int = 20_000  # up to this number of photos compare all

    def __post_init__(self) -> None:
        for name, least, most in (
            ("shards", 1, 10_000), ("replicas", 1, 100), ("write_consistency", 1, 100),
            ("quantile", 0.5, 1.0), ("oversampling", 1.0, 100.0), ("hnsw_m", 4, 256),
            ("hnsw_ef_construct", 4, 10_000), ("ef_search", 1, 100_000),
            ("indexing_threshold", 0, 10**9), ("exact_below", 0, 10**9),
        ):  # fmt: skip
            value = getattr(self, name)
            if not least <= value <= most:
                raise OptionError(f"QdrantConfig.{name} = {value}; expected {least} to {most}")
        if self.quantization not in ("none", "scalar", "binary"):
            raise OptionError(
                f"QdrantConfig.quantization = {self.quantization!r}; expected none, scalar, binary"
            )
        if self.write_consistency > self.replicas:
            raise OptionError(
                f"QdrantConfig: write_consistency {self.write_consistency} of {self.replicas} "
                "replicas; expected no more than there are"
            )

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
                id_index_on_disk=True,
            )  # fmt: skip
        return cls(  # twelve servers: binary vectors in memory, graph and float16 on fast disks
            shards=24, replicas=2, write_consistency=2, vectors_on_disk=True,
            quantization="binary", oversampling=16.0, hnsw_on_disk=True, ef_search=320,
            indexing_threshold=200_000, id_index_on_disk=True,
        )  # fmt: skip


def photo_collection(config: QdrantConfig, dim: int) -> dict[str, Any]:
    """Arguments of `create_collection` for the photos.

    The distance is the inner product, because with cosine distance Qdrant stores normalised
    vectors, so that a vector that is not of unit length would be changed. `on_disk` and
    `always_ram` are used because older servers silently ignore their successor `memory`.
    """
    from qdrant_client import models

    vectors = models.VectorParams(
        size=dim, distance=models.Distance.DOT, datatype=models.Datatype.FLOAT16,
        on_disk=config.vectors_on_disk,
    )  # fmt: skip
    return {
        "vectors_config": vectors,
        "shard_number": config.shards,
        "hnsw_config": models.HnswConfigDiff(
            m=config.hnsw_m, ef_construct=config.hnsw_ef_construct, on_disk=config.hnsw_on_disk
        ),
        "optimizers_config": models.OptimizersConfigDiff(
            indexing_threshold=config.indexing_threshold
        ),
        "quantization_config": _quantization(config),
        "on_disk_payload": config.payload_on_disk,
        **_replication(config),
    }


def about_collection(config: QdrantConfig) -> dict[str, Any]:
    """Arguments of `create_collection` for everything not searched: no vectors, all on disk."""
    return {
        "vectors_config": {},
        "shard_number": config.shards,
        "on_disk_payload": True,
        **_replication(config),
    }


def search_params(config: QdrantConfig, exact: bool) -> Any:
    """Search parameters of a query. exact: compare all photos."""
    from qdrant_client import models

    if exact:
        return models.SearchParams(
            exact=True, quantization=models.QuantizationSearchParams(ignore=True)
        )
    quantised = config.quantization != "none"
    return models.SearchParams(
        hnsw_ef=config.ef_search,
        quantization=models.QuantizationSearchParams(
            rescore=config.rescore, oversampling=config.oversampling
        ) if quantised else None,
    )  # fmt: skip


def _replication(config: QdrantConfig) -> dict[str, Any]:
    return {
        "replication_factor": config.replicas,
        "write_consistency_factor": config.write_consistency,
    }


def _quantization(config: QdrantConfig) -> Any:
    from qdrant_client import models

    if config.quantization == "scalar":
        return models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(
                type=models.ScalarType.INT8, quantile=config.quantile, always_ram=config.always_ram
            )
        )
    if config.quantization == "binary":
        return models.BinaryQuantization(
            binary=models.BinaryQuantizationConfig(always_ram=config.always_ram)
        )
    return None
