"""Address, client, retries, errors."""

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

from ...core.errors import BusyError, GalleryError, OptionError
from ...core.json_options import from_json, unknown
from .config import QdrantConfig

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

KEY = "WHICHLANDMARK_QDRANT_KEY"  # of the environment; an address is written into files and logs

GRPC_PORT, HTTP_PORT = 6334, 6333

TIMEOUT = 60  # seconds

ABOUT = "_about"  # ends the name of the second collection

PARAMETERS = ("tls", "http_port", "timeout", "config", "size")


@dataclass(frozen=True)
class QdrantAddress:
    """Where a gallery is. config: None = as it was made."""

    host: str
    gallery: str
    port: int = GRPC_PORT
    http_port: int = HTTP_PORT
    tls: bool = False
    timeout: int = TIMEOUT
    config: QdrantConfig | None = None

    @property
    def name(self) -> str:
        """The address as it is shown: nothing secret, no parameters."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"qdrant://{host}:{self.port}/{self.gallery}"


def parse(address: str) -> QdrantAddress:
    """Raises OptionError for an address that cannot be read, without showing a password in it."""
    parts = urlsplit(address)
    shown = f"qdrant://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if "@" in parts.netloc:
        raise OptionError(
            f"{shown}: a user or key was given in the address; put the key into the environment "
            f"variable {KEY}"
        )
    host, port = _host(parts, shown)
    gallery = unquote(parts.path.lstrip("/"))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", gallery) or gallery.endswith(ABOUT):
        raise OptionError(
            f"{shown}: gallery {gallery!r}; expected 1 to 100 letters, digits, _ or -, not ending "
            f"in {ABOUT}: qdrant://HOST:{GRPC_PORT}/NAME"
        )
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    for key in given:
        if key not in PARAMETERS:
            raise OptionError(f"{shown}: {unknown(key, PARAMETERS, 'parameter')}")
    if given.get("tls", "0") not in ("0", "1"):
        raise OptionError(f"{shown}: tls={given['tls']}; expected 0 or 1")
    return QdrantAddress(
        host, gallery, port,
        http_port=_number(given, "http_port", HTTP_PORT, 65535, shown),
        tls=given.get("tls") == "1",
        timeout=_number(given, "timeout", TIMEOUT, 86_400, shown),
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
    """A client that speaks gRPC; nothing is sent yet.

    Raises OptionError where the key would go over the network in the clear, GalleryError where the
    client is not installed.
    """
    key = os.environ.get(KEY, "")
    if key and not address.tls and not _is_loopback(address.host):
        raise OptionError(
            f"{address.name}: {KEY} is set, and the key would be sent unencrypted; add ?tls=1, or "
            "unset it where the server asks for none"
        )
    try:
        from qdrant_client import QdrantClient
    except ImportError:
        raise GalleryError(
            f"{address.name}: qdrant-client is not installed; pip install 'whichlandmark[cluster]'"
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


LARGEST_REQUEST = 16_000_000  # bytes; a server takes 32 MB (`max_request_size_mb`) at most

MOST_POINTS = 1_000  # of one request

PAUSES = (0.1, 0.4, 1.6)  # seconds before a call that did not get through is tried again

PointId = int | str


@dataclass(eq=False)
class RetryingClient:
    """A client and the two collections of one gallery.

    photos: a point for each photo, its id the row number; about: everything that is not searched.
    """

    client: QdrantClient
    photos: str
    name: str  # as the gallery is shown
    in_memory: bool = False  # no server: all is compared, nothing indexed
    sleep: Callable[[float], None] = time.sleep

    @property
    def about(self) -> str:
        """The second collection."""
        return self.photos + ABOUT

    def upsert(self, collection: str, points: list[Any]) -> None:
        """Write points, which one request can carry."""
        self._change("upsert", collection_name=collection, points=points)

    def overwrite(self, collection: str, points: Sequence[Any]) -> None:
        """Give points, which one request can carry, another payload; their vectors stay."""
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
        """Delete at most MOST_POINTS points; those that are not there are no error."""
        from qdrant_client import models

        some = models.PointIdsList(points=list(ids))
        self._change("delete", collection_name=collection, points_selector=some)

    def delete_where(self, collection: str, key: str, value: str) -> None:
        """Delete the points whose payload has this value."""
        from qdrant_client import models

        some = models.FilterSelector(filter=where(key, [value]))
        self._change("delete", collection_name=collection, points_selector=some)

    def set_where(self, point: PointId, key: str, value: str, payload: dict[str, Any]) -> None:
        """Compare and set: payload is written to the point if its `key` is `value`, at once.

        Whether it was, only the point tells.
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
        at_once: int = MOST_POINTS,
        agreed: bool = False,
    ) -> Iterator[Any]:
        """The points of some ids, in any order; those that are not there are left out.

        agreed: what most copies say; one that was away may not know the last change yet.
        """
        more = _agreed() if agreed else {}
        wanted = list(ids)
        for start in range(0, len(wanted), at_once):
            yield from self.call(
                "retrieve", collection_name=collection, ids=wanted[start : start + at_once],
                with_payload=payload, with_vectors=vectors, **more,
            )  # fmt: skip

    def scroll(
        self,
        collection: str,
        start: PointId | None = None,
        filter: Any = None,
        payload: bool | list[str] = True,
        vectors: bool = False,
        at_once: int = MOST_POINTS,
    ) -> Iterator[Any]:
        """Points in the order of their ids, from `start` on, page by page."""
        while True:
            page, start = self.call(
                "scroll", collection_name=collection, scroll_filter=filter, limit=at_once,
                offset=start, with_payload=payload, with_vectors=vectors,
            )  # fmt: skip
            yield from page
            if start is None:
                return

    def count(self, collection: str, filter: Any = None) -> int:
        """Points, exactly."""
        found = self.call("count", collection_name=collection, count_filter=filter, exact=True)
        return int(found.count)

    def call(self, method: str, **given: Any) -> Any:
        """One method of the client. What does not get through is tried again, a few times."""
        for pause in (*PAUSES, None):
            try:
                return getattr(self.client, method)(**given)
            except Exception as error:
                if pause is None or not _passing(error):
                    known = translated(error, self.name)
                    raise error if known is None else known from None
                self.sleep(_asked_to_wait(error, pause))
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
    """A filter: the payload's key is one of these values (other: none of them)."""
    from qdrant_client import models

    match: Any = (
        models.MatchValue(value=values[0]) if len(values) == 1
        else models.MatchAny(any=list(values))
    )  # fmt: skip
    condition = models.FieldCondition(key=key, match=match)
    return models.Filter(must_not=[condition]) if other else models.Filter(must=[condition])


def pieces(points: Iterable[Any]) -> Iterator[list[Any]]:
    """Points in lists that one request can carry. Raises nothing: one point always goes."""
    part: list[Any] = []
    size = 0
    for point in points:
        more = _bytes_of(point)
        if part and (size + more > LARGEST_REQUEST or len(part) == MOST_POINTS):
            yield part
            part, size = [], 0
        part.append(point)
        size += more
    if part:
        yield part


def _bytes_of(point: Any) -> int:
    """About as many as it takes in a request."""
    texts = (len(value) if value.isascii() else 4 * len(value)
             for value in point.payload.values() if isinstance(value, str))  # fmt: skip
    return 4 * len(point.vector) + sum(texts) + 24 * len(point.payload) + 64


def _agreed() -> dict[str, Any]:
    from qdrant_client import models

    return {"consistency": models.ReadConsistencyType.MAJORITY}


def _code(error: Exception) -> str:
    """gRPC's word for what went wrong; "" for other errors."""
    code = getattr(error, "code", None)
    return str(getattr(code(), "name", "")) if callable(code) else ""


def _passing(error: Exception) -> bool:
    """May the same call get through a moment later? Every call of ours may be made twice."""
    from qdrant_client.common.client_exceptions import ResourceExhaustedResponse

    return _code(error) == "UNAVAILABLE" or isinstance(error, ResourceExhaustedResponse)


def _asked_to_wait(error: Exception, pause: float) -> float:
    return min(float(getattr(error, "retry_after_s", pause)), 30.0)


def translated(error: Exception, name: str) -> GalleryError | None:
    """The client's error in our words; None = not one of the client's."""
    import grpc  # type: ignore[import-untyped]
    from qdrant_client.common.client_exceptions import QdrantException
    from qdrant_client.http.exceptions import ApiException

    code = _code(error)
    text = str(getattr(error, "details", lambda: "")() or "") if code else str(error)
    text = " ".join(text.split())[:300]
    words = {
        "UNAVAILABLE": "no server answers there; is it running, is the address right (the port is "
        "that of gRPC), does it expect ?tls=1?",
        "DEADLINE_EXCEEDED": "no answer in time; ?timeout=SECONDS waits longer",
        "UNAUTHENTICATED": "the server wants another key, in WHICHLANDMARK_QDRANT_KEY",
        "PERMISSION_DENIED": "the key in WHICHLANDMARK_QDRANT_KEY does not allow this",
        "NOT_FOUND": "it is not there (any more)",
    }
    if code in words:
        return GalleryError(f"{name}: {words[code]} ({text or code})")
    if code == "RESOURCE_EXHAUSTED" or isinstance(error, QdrantException):
        return BusyError(f"{name}: the server has too much to do; try again later ({text})")
    if isinstance(error, grpc.RpcError | ApiException | ValueError | KeyError | RuntimeError):
        return GalleryError(f"{name}: Qdrant says: {text or code or type(error).__name__}")
    return None
