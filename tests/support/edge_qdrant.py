"""Qdrant's own engine in this process, with the methods of `QdrantClient` that a gallery calls.

Qdrant Edge is the server's storage and search (segments, graphs, quantisation, float16) without its
protocol, shards and copies: what a server keeps and finds can be looked at where there is none.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import qdrant_edge as edge
from qdrant_client import models

DONE = SimpleNamespace(status=models.UpdateStatus.COMPLETED)
DISTANCES = {"Dot": edge.Distance.Dot, "Cosine": edge.Distance.Cosine}


class EdgeClient:
    """Close it to delete what it holds."""

    def __init__(self) -> None:
        self.init_options = {"location": None}
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # no waiting for a disk
        self._folder = tempfile.TemporaryDirectory(dir=memory)
        self._shards: dict[str, Any] = {}
        self._made: dict[str, Any] = {}

    def collection_exists(self, collection_name: str) -> bool:
        return collection_name in self._shards

    def create_collection(
        self,
        collection_name: str,
        vectors_config: Any,
        hnsw_config: Any = None,
        optimizers_config: Any = None,
        quantization_config: Any = None,
        **_: Any,
    ) -> bool:
        """Shards and copies are a server's."""
        vectors = {"unused": edge.EdgeVectorParams(size=1, distance=edge.Distance.Dot)}
        if vectors_config:
            vectors = {"": edge.EdgeVectorParams(
                size=vectors_config.size, distance=DISTANCES[vectors_config.distance.value],
                on_disk=vectors_config.on_disk, datatype=edge.VectorStorageDatatype.Float16,
            )}  # fmt: skip
        config = edge.EdgeConfig(
            vectors=vectors,
            on_disk_payload=True,
            hnsw_config=hnsw_config and edge.HnswIndexConfig(
                hnsw_config.m, hnsw_config.ef_construct, 10_000, on_disk=hnsw_config.on_disk
            ),
            quantization_config=_quantization(quantization_config),
            optimizers=optimizers_config and edge.EdgeOptimizersConfig(
                indexing_threshold=optimizers_config.indexing_threshold
            ),
        )  # fmt: skip
        path = Path(self._folder.name) / collection_name
        self._shards[collection_name] = edge.EdgeShard.create(str(path), config)
        self._made[collection_name] = vectors_config
        return True

    def get_collection(self, collection_name: str) -> Any:
        info = self._shards[collection_name].info()
        params = SimpleNamespace(vectors=self._made[collection_name])
        return SimpleNamespace(
            config=SimpleNamespace(params=params), status="green",
            points_count=info.points_count, indexed_vectors_count=info.indexed_vectors_count,
        )  # fmt: skip

    def optimize(self, collection_name: str) -> None:
        """What a server does in the background."""
        self._shards[collection_name].optimize()

    def create_payload_index(self, collection_name: str, field_name: str, **_: Any) -> Any:
        kind = edge.PayloadSchemaType.Keyword
        return self._update(collection_name,
                            edge.UpdateOperation.create_field_index(field_name, kind))  # fmt: skip

    def upsert(self, collection_name: str, points: list[Any], **_: Any) -> Any:
        made = [edge.Point(one.id, one.vector, one.payload) for one in points]
        return self._update(collection_name, edge.UpdateOperation.upsert_points(made))

    def update_vectors(self, collection_name: str, points: list[Any], **_: Any) -> Any:
        made = [edge.PointVectors(one.id, one.vector) for one in points]
        return self._update(collection_name, edge.UpdateOperation.update_vectors(made))

    def delete(self, collection_name: str, points_selector: Any, **_: Any) -> Any:
        if isinstance(points_selector, models.FilterSelector):
            some = edge.UpdateOperation.delete_points_by_filter(_filter(points_selector.filter))
        else:
            some = edge.UpdateOperation.delete_points(points_selector.points)
        return self._update(collection_name, some)

    def set_payload(self, collection_name: str, payload: Any, points: Any, **_: Any) -> Any:
        change = edge.UpdateOperation.set_payload_by_filter(_filter(points), payload)
        return self._update(collection_name, change)

    def batch_update_points(
        self, collection_name: str, update_operations: list[Any], **_: Any
    ) -> list[Any]:
        for one in update_operations:
            new = one.overwrite_payload
            change = edge.UpdateOperation.overwrite_payload(new.points, new.payload)
            self._update(collection_name, change)
        return [DONE] * len(update_operations)

    def retrieve(
        self, collection_name: str, ids: list[Any], with_payload: Any, with_vectors: Any, **_: Any
    ) -> list[Any]:
        return list(map(_record, self._shards[collection_name].retrieve(
            ids, with_payload=with_payload, with_vector=with_vectors
        )))  # fmt: skip

    def scroll(
        self,
        collection_name: str,
        scroll_filter: Any = None,
        limit: int = 10,
        offset: Any = None,
        with_payload: Any = True,
        with_vectors: Any = False,
    ) -> tuple[list[Any], Any]:
        request = edge.ScrollRequest(
            offset=offset, limit=limit, filter=_filter(scroll_filter), with_payload=with_payload,
            with_vector=with_vectors,
        )  # fmt: skip
        found, following = self._shards[collection_name].scroll(request)
        return list(map(_record, found)), following

    def count(self, collection_name: str, count_filter: Any = None, exact: bool = True) -> Any:
        request = edge.CountRequest(exact=exact, filter=_filter(count_filter))
        return SimpleNamespace(count=self._shards[collection_name].count(request))

    def query_batch_points(self, collection_name: str, requests: list[Any]) -> list[Any]:
        answers = []
        for one in requests:
            found = self._shards[collection_name].query(edge.QueryRequest(
                limit=one.limit, query=edge.Query.Nearest(one.query), filter=_filter(one.filter),
                with_vector=one.with_vector, with_payload=one.with_payload,
                params=_params(one.params),
            ))  # fmt: skip
            answers.append(SimpleNamespace(points=list(map(_record, found))))
        return answers

    def close(self) -> None:
        for shard in self._shards.values():
            shard.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def _update(self, collection: str, operation: Any) -> Any:
        self._shards[collection].update(operation)
        return DONE


def _record(found: Any) -> Any:
    """ids as the client has them; a vector only where there is one."""
    where = found.id if isinstance(found.id, int) else str(found.id)
    vector = found.vector if isinstance(found.vector, list) else None
    return SimpleNamespace(
        id=where, payload=found.payload, vector=vector, score=getattr(found, "score", 0.0)
    )


def _filter(wanted: Any) -> Any:
    if wanted is None:
        return None
    return edge.Filter(must=[_condition(one) for one in wanted.must or []],
                       must_not=[_condition(one) for one in wanted.must_not or []])  # fmt: skip


def _condition(one: Any) -> Any:
    if isinstance(one, models.Filter):
        return _filter(one)
    if isinstance(one, models.HasIdCondition):
        return edge.HasIdCondition(set(one.has_id))
    if isinstance(one.match, models.MatchAny):
        return edge.FieldCondition(one.key, match=edge.MatchAny(list(one.match.any)))
    return edge.FieldCondition(one.key, match=edge.MatchValue(one.match.value))


def _params(wanted: Any) -> Any:
    if wanted is None:
        return None
    kept = wanted.quantization
    quantization = kept and edge.QuantizationSearchParams(
        ignore=bool(kept.ignore), rescore=kept.rescore, oversampling=kept.oversampling
    )
    return edge.SearchParams(
        hnsw_ef=wanted.hnsw_ef, exact=bool(wanted.exact), quantization=quantization
    )


def _quantization(wanted: Any) -> Any:
    if isinstance(wanted, models.ScalarQuantization):
        return edge.ScalarQuantizationConfig(
            edge.ScalarType.Int8, quantile=wanted.scalar.quantile, always_ram=True
        )
    if isinstance(wanted, models.BinaryQuantization):
        return edge.BinaryQuantizationConfig(always_ram=True)
    return None
