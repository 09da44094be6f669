"""A stub Qdrant server: the gRPC protocol, answered by the in-memory mode of Qdrant's client.

Every message is built, sent, read and answered as with a real server, and may have 32 MB. Vectors
and queries are rounded to float16, as a server does. Segments, graphs and replicas are missing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest

from whichlandmark.gallery.qdrant.client import QdrantAddress, RetryingClient
from whichlandmark.gallery.qdrant.collection import QdrantConfig
from whichlandmark.gallery.qdrant.search import QdrantIndex

qdrant_client = pytest.importorskip("qdrant_client")
from qdrant_client import grpc as messages  # noqa: E402
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc  # noqa: E402
from qdrant_client.grpc import (  # noqa: E402
    collections_service_pb2_grpc,
    points_service_pb2_grpc,
)

MAX_MESSAGE_BYTES = 32 * 1024 * 1024  # a server's `max_request_size_mb`
Message = Any


def index_over(client: Any, name: str = "paris", config: QdrantConfig | None = None) -> QdrantIndex:
    """A search index by a client that is open, and stays so."""
    address = QdrantAddress("localhost", name, config=config or QdrantConfig())
    return QdrantIndex(RetryingClient(address, client))


def payload_of(selector: Message) -> Any:
    return GrpcToRest.convert_with_payload_selector(selector)


def filter_of(request: Message, field: str = "filter") -> Any:
    return GrpcToRest.convert_filter(getattr(request, field)) if request.HasField(field) else None


def rounded(vector: Any) -> Any:
    return np.asarray(vector, np.float32).astype(np.float16).astype(float).tolist()


class StandIn:
    """The stub server. Its methods have the names of the services: `points_Upsert` and so on.

    Attributes:
        requests: (method, request) of all requests that were received.
        status: the status in replies to changes.
    """

    def __init__(self, key: str = "") -> None:
        self.local = qdrant_client.QdrantClient(":memory:")
        self.key = key
        self.requests: list[tuple[str, Message]] = []
        self.status = messages.UpdateStatus.Completed

    def collections_CollectionExists(self, request: Message) -> Message:  # noqa: N802
        exists = self.local.collection_exists(request.collection_name)
        return messages.CollectionExistsResponse(result=messages.CollectionExists(exists=exists))

    def collections_Create(self, request: Message) -> Message:  # noqa: N802
        vectors = None
        if request.HasField("vectors_config"):
            vectors = GrpcToRest.convert_vectors_config(request.vectors_config)
        return messages.CollectionOperationResponse(
            result=self.local.create_collection(request.collection_name, vectors or {})
        )

    def collections_Delete(self, request: Message) -> Message:  # noqa: N802
        deleted = self.local.delete_collection(request.collection_name)
        return messages.CollectionOperationResponse(result=deleted)

    def points_CreateFieldIndex(self, request: Message) -> Message:  # noqa: N802
        return self._done()

    def points_Upsert(self, request: Message) -> Message:  # noqa: N802
        points = [GrpcToRest.convert_point_struct(point) for point in request.points]
        for point in points:
            if isinstance(point.vector, list):
                point.vector = rounded(point.vector)
        self.local.upsert(request.collection_name, points)
        return self._done()

    def points_Delete(self, request: Message) -> Message:  # noqa: N802
        self.local.delete(request.collection_name,
                          GrpcToRest.convert_points_selector(request.points))  # fmt: skip
        return self._done()

    def points_SetPayload(self, request: Message) -> Message:  # noqa: N802
        points = GrpcToRest.convert_points_selector(request.points_selector)
        payload = GrpcToRest.convert_payload(request.payload)
        self.local.set_payload(request.collection_name, payload, points)
        return self._done()

    def points_Get(self, request: Message) -> Message:  # noqa: N802
        found = self.local.retrieve(
            request.collection_name, [GrpcToRest.convert_point_id(one) for one in request.ids],
            with_payload=payload_of(request.with_payload),
            with_vectors=GrpcToRest.convert_with_vectors_selector(request.with_vectors),
        )  # fmt: skip
        return messages.GetResponse(result=[RestToGrpc.convert_record(one) for one in found])

    def points_Scroll(self, request: Message) -> Message:  # noqa: N802
        start = GrpcToRest.convert_point_id(request.offset) if request.HasField("offset") else None
        found, following = self.local.scroll(
            request.collection_name, filter_of(request), limit=request.limit, offset=start,
            with_payload=payload_of(request.with_payload),
            with_vectors=GrpcToRest.convert_with_vectors_selector(request.with_vectors),
        )  # fmt: skip
        return messages.ScrollResponse(
            result=[RestToGrpc.convert_record(one) for one in found],
            next_page_offset=(None if following is None
                              else RestToGrpc.convert_extended_point_id(following)),
        )  # fmt: skip

    def points_Count(self, request: Message) -> Message:  # noqa: N802
        found = self.local.count(request.collection_name, filter_of(request))
        return messages.CountResponse(result=messages.CountResult(count=found.count))

    def points_QueryBatch(self, request: Message) -> Message:  # noqa: N802
        answers = []
        for each in request.query_points:
            query = GrpcToRest.convert_query_points(each)
            vector = query.query.nearest if hasattr(query.query, "nearest") else query.query
            query = query.model_copy(update={"params": None, "query": rounded(vector)})
            found = self.local.query_batch_points(request.collection_name, [query])[0].points
            scored = [RestToGrpc.convert_scored_point(point) for point in found]
            answers.append(messages.BatchResult(result=scored))
        return messages.QueryBatchResponse(result=answers)

    def _done(self) -> Message:
        result = messages.UpdateResult(operation_id=0, status=self.status)
        return messages.PointsOperationResponse(result=result)

    def answer(self, method: str, request: Message, context: grpc.ServicerContext) -> Message:
        """Check the API key, call the method, and report errors with a server's status codes."""
        if self.key and dict(context.invocation_metadata()).get("api-key", "") != self.key:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Must provide an API key")
        self.requests.append((method, request))
        try:
            return getattr(self, method)(request)
        except ValueError as error:
            missing = "not found" in str(error)
            code = grpc.StatusCode.NOT_FOUND if missing else grpc.StatusCode.INVALID_ARGUMENT
            context.abort(code, str(error))


def _servicer(base: type, prefix: str, stand_in: StandIn) -> Any:
    """A gRPC servicer whose methods call those of the stand-in with this prefix."""

    def method(name: str) -> Callable[..., Message]:
        return lambda _, request, context: stand_in.answer(f"{prefix}_{name}", request, context)

    names = [name.partition("_")[2] for name in dir(stand_in) if name.startswith(f"{prefix}_")]
    return type("Servicer", (base,), {name: method(name) for name in names})()


@contextlib.contextmanager
def serving(stand_in: StandIn, credentials: Any = None) -> Iterator[int]:
    """Serve on 127.0.0.1, one request at a time; yields the port."""
    options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.so_reuseport", 0)]
    server = grpc.server(ThreadPoolExecutor(1), options=options)
    for prefix, module, name in (
        ("collections", collections_service_pb2_grpc, "Collections"),
        ("points", points_service_pb2_grpc, "Points"),
    ):
        servicer = _servicer(getattr(module, f"{name}Servicer"), prefix, stand_in)
        getattr(module, f"add_{name}Servicer_to_server")(servicer, server)
    address = "127.0.0.1:0"
    port = (
        server.add_secure_port(address, credentials)
        if credentials
        else server.add_insecure_port(address)
    )
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
        stand_in.local.close()
