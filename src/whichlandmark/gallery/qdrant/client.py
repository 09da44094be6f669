"""Address of a gallery in Qdrant, and a client with retries, batching and translated errors."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ...core.errors import BusyError, GalleryError, OptionError, install_command
from ...core.json_options import from_json, unknown_message
from .config import QdrantConfig

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

# The API key is no part of the address, because addresses are written into files and logs.
API_KEY_VARIABLE = "WHICHLANDMARK_QDRANT_KEY"

GRPC_PORT, HTTP_PORT = 6334, 6333

TIMEOUT_SECONDS = 60

ABOUT_SUFFIX = "_about"  # of the name of the second collection

PARAMETERS = ("tls", "http_port", "timeout", "config", "size")

MAX_REQUEST_BYTES = 16_000_000  # a server takes at most 32 MB (`max_request_size_mb`)

MAX_POINTS_PER_REQUEST = 1_000

RETRY_PAUSES = (0.1, 0.4, 1.6)  # seconds before each repetition of a failed call

PointId = int | str


@dataclass(frozen=True)
class QdrantAddress:
    """A parsed address. timeout: seconds; config: None = the stored one of the gallery."""

    host: str
    gallery: str
    port: int = GRPC_PORT
    http_port: int = HTTP_PORT
    tls: bool = False
    timeout: int = TIMEOUT_SECONDS
    config: QdrantConfig | None = None

    @property
    def name(self) -> str:
        """The address to show, without parameters."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"qdrant://{host}:{self.port}/{self.gallery}"


def parse(address: str) -> QdrantAddress:
    """Parse qdrant://HOST:PORT/NAME?….

    Raises:
        OptionError: for an invalid address, or one with a key; the text does not show the key.
    """
    parts = urlsplit(address)
    shown = f"qdrant://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if "@" in parts.netloc:
        raise OptionError(
            f"{shown}: a user or key was given in the address; put the key into the environment "
            f"variable {API_KEY_VARIABLE}"
        )
    host, port = _host(parts, shown)
    gallery = unquote(parts.path.lstrip("/"))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", gallery) or gallery.endswith(
        ABOUT_SUFFIX
    ):
        raise OptionError(
            f"{shown}: gallery {gallery!r}; expected 1 to 100 letters, digits, _ or -, not ending "
            f"in {ABOUT_SUFFIX}: qdrant://HOST:{GRPC_PORT}/NAME"
        )
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    for key in given:
        if key not in PARAMETERS:
            raise OptionError(f"{shown}: {unknown_message(key, PARAMETERS, 'parameter')}")
    if given.get("tls", "0") not in ("0", "1"):
        raise OptionError(f"{shown}: tls={given['tls']}; expected 0 or 1")
    return QdrantAddress(
        host, gallery, port,
        http_port=_number(given, "http_port", HTTP_PORT, 65535, shown),
        tls=given.get("tls") == "1",
        timeout=_number(given, "timeout", TIMEOUT_SECONDS, 86_400, shown),
        config=_config(given, shown),
    )  # fmt: skip


def _host(parts: SplitResult, shown: str) -> tuple[str, int]:
    try:
        host, port = parts.hostname or "", parts.port or GRPC_PORT
    except ValueError as error:
        raise OptionError(f"{shown}: {error}; expected qdrant://HOST:{GRPC_PORT}/NAME") from None
    if not host:
        raise OptionError(f"{shown}: no host; expected qdrant://HOST:{GRPC_PORT}/NAME")
    return host, port


def _number(given: dict[str, str], key: str, default: int, most: int, shown: str) -> int:
    text = given.get(key, str(default))
    if not re.fullmatch(r"[0-9]{1,12}", text) or not 1 <= int(text) <= most:
        raise OptionError(f"{shown}: {key}={text}; expected a whole number from 1 to {most}")
    return int(text)


def _config(given: dict[str, str], shown: str) -> QdrantConfig | None:
    if "config" in given and "size" in given:
        raise OptionError(f"{shown}: both config= and size= given; expected one of them")
    if "size" in given:
        return QdrantConfig.for_size(_number(given, "size", 0, 10**11, shown))
    if "config" not in given:
        return None
    path = Path(given["config"])
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise OptionError(
            f"{path}: cannot be read as JSON ({error}); see docs/gallery.md"
        ) from None
    return from_json(QdrantConfig, values)


def connect(address: QdrantAddress) -> QdrantClient:
    """A gRPC client; nothing is sent yet.

    Raises:
        OptionError: when the API key would be sent unencrypted over the network.
        GalleryError: when the package qdrant-client is not installed.
    """
    key = os.environ.get(API_KEY_VARIABLE, "")
    if key and not address.tls and not _is_loopback(address.host):
        raise OptionError(
            f"{address.name}: {API_KEY_VARIABLE} is set, and the key would be sent unencrypted; "
            "add ?tls=1, or unset it if the server needs none"
        )
    try:
        from qdrant_client import QdrantClient
    except ImportError:
        raise GalleryError(
            f"{address.name}: qdrant-client is not installed; {install_command('cluster')}"
        ) from None
    host = f"[{address.host}]" if ":" in address.host else address.host
    return QdrantClient(
        host=host, port=address.http_port, grpc_port=address.port, prefer_grpc=True,
        https=address.tls, timeout=address.timeout,
        headers={"api-key": key} if key else None,  # as `api_key` it warns, on loopback too
        check_compatibility=False,  # it asks from a thread of its own; `opened` asks and waits
    )  # fmt: skip


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(eq=False)
class RetryingClient:
    """A client for the two collections of one gallery; failed calls are repeated.

    photos: name of the collection with a point for each photo, whose id is the row number; about:
    name of the collection of everything that is not searched.
    """

    qdrant: QdrantClient
    photos: str
    name: str  # of the gallery, for messages
    in_memory: bool = False  # without a server: all photos are compared, nothing is indexed
    sleep: Callable[[float], None] = time.sleep

    @property
    def about(self) -> str:
        """Name of the second collection."""
        return self.photos + ABOUT_SUFFIX

    def upsert(self, collection: str, points: list[Any]) -> None:
        """Write points that fit into one request (`batches`)."""
        self._change("upsert", collection_name=collection, points=points)

    def overwrite(self, collection: str, points: Sequence[Any]) -> None:
        """Replace the payloads, not the vectors, of points that fit into one request."""
        from qdrant_client import models

        operations = [
            models.OverwritePayloadOperation(
                overwrite_payload=models.SetPayload(payload=point.payload, points=[point.id])
            )
            for point in points
        ]
        self._change(
            "batch_update_points", collection_name=collection, update_operations=operations
        )

    def delete(self, collection: str, ids: Sequence[PointId]) -> None:
        """Delete at most MAX_POINTS_PER_REQUEST points; unknown ids are ignored."""
        from qdrant_client import models

        some = models.PointIdsList(points=list(ids))
        self._change("delete", collection_name=collection, points_selector=some)

    def delete_where(self, collection: str, key: str, value: str) -> None:
        """Delete the points whose payload has this value for `key`."""
        from qdrant_client import models

        some = models.FilterSelector(filter=where(key, [value]))
        self._change("delete", collection_name=collection, points_selector=some)

    def set_where(self, point: PointId, key: str, value: str, payload: dict[str, Any]) -> None:
        """Compare and set: atomically write the payload to a point if its `key` is `value`.

        Qdrant does not report whether it was written; read the point afterwards.
        """
        from qdrant_client import models

        only = where(key, [value])
        both = models.Filter(must=[models.HasIdCondition(has_id=[point]), only])
        self._change("set_payload", collection_name=self.about, payload=payload, points=both)

    def retrieve(
        self,
        collection: str,
        ids: Iterable[PointId],
        payload: bool | list[str] = True,
        vectors: bool = False,
        batch: int = MAX_POINTS_PER_REQUEST,
        agreed: bool = False,
    ) -> Iterator[Any]:
        """The points with these ids, in any order; unknown ids are omitted.

        agreed: read the majority of the replicas, because one that was offline may lack the last
        change; batch: ids per request.
        """
        from qdrant_client import models

        majority = {"consistency": models.ReadConsistencyType.MAJORITY} if agreed else {}
        wanted = list(ids)
        for start in range(0, len(wanted), batch):
            yield from self.call(
                "retrieve", collection_name=collection, ids=wanted[start : start + batch],
                with_payload=payload, with_vectors=vectors, **majority,
            )  # fmt: skip

    def scroll(
        self,
        collection: str,
        start: PointId | None = None,
        filter: Any = None,
        payload: bool | list[str] = True,
        vectors: bool = False,
        batch: int = MAX_POINTS_PER_REQUEST,
    ) -> Iterator[Any]:
        """Points in the order of their ids, from `start` on, in pages of `batch`."""
        while True:
            page, start = self.call(
                "scroll", collection_name=collection, scroll_filter=filter, limit=batch,
                offset=start, with_payload=payload, with_vectors=vectors,
            )  # fmt: skip
            yield from page
            if start is None:
                return

    def count(self, collection: str, filter: Any = None) -> int:
        """Exact number of points."""
        found = self.call("count", collection_name=collection, count_filter=filter, exact=True)
        return int(found.count)

    def call(self, method: str, **given: Any) -> Any:
        """Call a method of the client, and repeat it after temporary errors.

        Raises:
            GalleryError: when it fails; BusyError when the server is overloaded.
        """
        for pause in (*RETRY_PAUSES, None):
            try:
                return getattr(self.qdrant, method)(**given)
            except Exception as error:
                if pause is None or not _is_temporary(error):
                    known = gallery_error(error, self.name)
                    raise error if known is None else known from None
                self.sleep(min(float(getattr(error, "retry_after_s", pause)), 30.0))
        raise AssertionError  # the last pause is None

    def _change(self, method: str, **given: Any) -> None:
        from qdrant_client import models

        done = self.call(method, wait=True, ordering=models.WriteOrdering.STRONG, **given)
        for result in done if isinstance(done, list) else [done]:
            if result.status != models.UpdateStatus.COMPLETED:
                raise GalleryError(
                    f"{self.name}: the server took a change but did not confirm it in time "
                    f"({result.status}); ?timeout=SECONDS waits longer"
                )


def where(key: str, values: Sequence[str], *, other: bool = False) -> Any:
    """A filter: the payload's key has one of these values (other: none of them)."""
    from qdrant_client import models

    match: Any = (
        models.MatchValue(value=values[0]) if len(values) == 1
        else models.MatchAny(any=list(values))
    )  # fmt: skip
    condition = models.FieldCondition(key=key, match=match)
    return models.Filter(must_not=[condition]) if other else models.Filter(must=[condition])


def batches(points: Iterable[Any]) -> Iterator[list[Any]]:
    """Split points into lists that fit into one request each, of at least one point."""
    part: list[Any] = []
    size = 0
    for point in points:
        more = _bytes_of(point)
        if part and (size + more > MAX_REQUEST_BYTES or len(part) == MAX_POINTS_PER_REQUEST):
            yield part
            part, size = [], 0
        part.append(point)
        size += more
    if part:
        yield part


def _bytes_of(point: Any) -> int:
    """Approximate size of a point in a request."""
    texts = (len(value) if value.isascii() else 4 * len(value)
             for value in point.payload.values() if isinstance(value, str))  # fmt: skip
    return 4 * len(point.vector) + sum(texts) + 24 * len(point.payload) + 64


def _code(error: Exception) -> str:
    """The gRPC status name of an error; "" for other errors."""
    code = getattr(error, "code", None)
    return str(getattr(code(), "name", "")) if callable(code) else ""


def _is_temporary(error: Exception) -> bool:
    """Whether a repetition may succeed. All calls of this client are safe to repeat."""
    from qdrant_client.common.client_exceptions import ResourceExhaustedResponse

    return _code(error) == "UNAVAILABLE" or isinstance(error, ResourceExhaustedResponse)


def gallery_error(error: Exception, name: str) -> GalleryError | None:
    """The GalleryError for an error of the client; None if it is another error."""
    import grpc  # type: ignore[import-untyped]
    from qdrant_client.common.client_exceptions import QdrantException
    from qdrant_client.http.exceptions import ApiException

    code = _code(error)
    text = str(getattr(error, "details", lambda: "")() or "") if code else str(error)
    text = " ".join(text.split())[:300]
    advice = {
        "UNAVAILABLE": "no server answers there; is it running, is the address right (the port is "
        "that of gRPC), does it expect ?tls=1?",
        "DEADLINE_EXCEEDED": "no answer in time; ?timeout=SECONDS waits longer",
        "UNAUTHENTICATED": "the server wants another key, in WHICHLANDMARK_QDRANT_KEY",
        "PERMISSION_DENIED": "the key in WHICHLANDMARK_QDRANT_KEY does not allow this",
        "NOT_FOUND": "a collection or point was not found",
    }
    if code in advice:
        return GalleryError(f"{name}: {advice[code]} ({text or code})")
    if code == "RESOURCE_EXHAUSTED" or isinstance(error, QdrantException):
        return BusyError(f"{name}: the server is overloaded; try again later ({text})")
    if isinstance(error, grpc.RpcError | ApiException | ValueError | KeyError | RuntimeError):
        return GalleryError(f"{name}: Qdrant says: {text or code or type(error).__name__}")
    return None
