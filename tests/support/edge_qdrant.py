"""Qdrant's engine in this process, with the methods of `QdrantClient` that a gallery calls.

Qdrant Edge is the server's storage and search (segments, graphs, quantisation, float16) without
gRPC, shards and replicas. It tests what a server stores and finds on machines without a server.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import qdrant_edge as edge
from qdrant_client import models

DONE = SimpleNamespace(status=models.UpdateStatus.COMPLETED)
DISTANCES = {"Dot": edge.Distance.Dot, "Cosine": edge.Distance.Cosine}


class EdgeClient:
    """A client on a folder, which survives the process; None = a temporary one."""

    def __init__(self, folder: Path | None = None) -> None:
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # faster than a disk
        self._temporary = None if folder else tempfile.TemporaryDirectory(dir=memory)
        self._folder = Path(folder or self._temporary.name)  # type: ignore[union-attr]
        self._shards: dict[str, Any] = {
            path.name: edge.EdgeShard.load(str(path)) for path in self._folder.iterdir()
        }

    def collection_exists(self, collection_name: str) -> bool:
        return collection_name in self._shards

    def delete_collection(self, collection_name: str) -> bool:
        self._shards.pop(collection_name).close()
        shutil.rmtree(self._folder / collection_name)
        return True

    def create_collection(
        self,
        collection_name: str,
        vectors_config: Any,
        hnsw_config: Any = None,
        optimizers_config: Any = None,
        quantization_config: Any = None,
        **_: Any,
    ) -> bool:
        """Create a collection; options of shards and replicas are ignored."""
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
        path = self._folder / collection_name
        path.mkdir()
        self._shards[collection_name] = edge.EdgeShard.create(str(path), config)
        return True

    def optimize(self, collection_name: str) -> None:
        """Build the search graphs, which a server does in the background."""
        self._shards[collection_name].optimize()

    def create_payload_index(self, collection_name: str, field_name: str, **_: Any) -> Any:
        kind = edge.PayloadSchemaType.Keyword
        return self._update(collection_name,
                            edge.UpdateOperation.create_field_index(field_name, kind))  # fmt: skip

    def upsert(self, collection_name: str, points: list[Any], **_: Any) -> Any:
        converted = [edge.Point(point.id, point.vector, point.payload) for point in points]
        return self._update(collection_name, edge.UpdateOperation.upsert_points(converted))

    def delete(self, collection_name: str, points_selector: Any, **_: Any) -> Any:
        change = edge.UpdateOperation.delete_points(points_selector.points)
        return self._update(collection_name, change)

    def set_payload(self, collection_name: str, payload: Any, points: Any, **_: Any) -> Any:
        change = edge.UpdateOperation.set_payload_by_filter(_filter(points), payload)
        return self._update(collection_name, change)

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

    def query_batch_points(self, collection_name: str, requests: list[Any], **_: Any) -> list[Any]:
        answers = []
        for request in requests:
            query = edge.QueryRequest(
                limit=request.limit,
                query=edge.Query.Nearest(request.query),
                filter=_filter(request.filter),
                with_vector=request.with_vector,
                with_payload=request.with_payload,
                params=_params(request.params),
            )
            found = self._shards[collection_name].query(query)
            answers.append(SimpleNamespace(points=list(map(_record, found))))
        return answers

    def close(self) -> None:
        for shard in self._shards.values():
            shard.close()
        if self._temporary:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def _update(self, collection: str, operation: Any) -> Any:
        self._shards[collection].update(operation)
        return DONE


def _record(found: Any) -> Any:
    """A record as the client returns it: an id of type int or str, a vector or None."""
    point_id = found.id if isinstance(found.id, int) else str(found.id)
    vector = found.vector if isinstance(found.vector, list) else None
    return SimpleNamespace(
        id=point_id, payload=found.payload, vector=vector, score=getattr(found, "score", 0.0)
    )


# The functions below convert the client's models into those of Qdrant Edge.


def _filter(model: Any) -> Any:
    if model is None:
        return None
    return edge.Filter(
        must=[_condition(each) for each in model.must or []],
        must_not=[_condition(each) for each in model.must_not or []],
    )


def _condition(model: Any) -> Any:
    if isinstance(model, models.Filter):
        return _filter(model)
    if isinstance(model, models.HasIdCondition):
        return edge.HasIdCondition(set(model.has_id))
    if isinstance(model.match, models.MatchAny):
        return edge.FieldCondition(model.key, match=edge.MatchAny(list(model.match.any)))
    return edge.FieldCondition(model.key, match=edge.MatchValue(model.match.value))


def _params(model: Any) -> Any:
    if model is None:
        return None
    given = model.quantization
    quantization = given and edge.QuantizationSearchParams(
        ignore=bool(given.ignore), rescore=given.rescore, oversampling=given.oversampling
    )
    return edge.SearchParams(
        hnsw_ef=model.hnsw_ef, exact=bool(model.exact), quantization=quantization
    )


def _quantization(model: Any) -> Any:
    if isinstance(model, models.ScalarQuantization):
        return edge.ScalarQuantizationConfig(
            edge.ScalarType.Int8, quantile=model.scalar.quantile, always_ram=True
        )
    if isinstance(model, models.BinaryQuantization):
        return edge.BinaryQuantizationConfig(always_ram=True)
    return None
