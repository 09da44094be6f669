"""Address of a search index in Qdrant, and a client with retries and translated errors."""

from __future__ import annotations

import ipaddress
import os
import re
import time
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from ...core.errors import BusyError, GalleryError, OptionError, install_command
from ...core.files import read_json
from ...core.json_options import from_json, unknown_message
from .collection import QdrantConfig

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

# The API key is no part of the address, because addresses are written into files and logs.
API_KEY_VARIABLE = "WHICHLANDMARK_QDRANT_KEY"

PARAMETERS = ("tls", "timeout", "config", "size")

TIMEOUT_SECONDS = 60  # of a request of a sync

SEARCH_TIMEOUT_SECONDS = 5  # of a request of a search, because the gallery can answer instead

RETRY_PAUSES = (0.1, 0.4, 1.6)  # seconds before each repetition of a failed call


@dataclass(frozen=True)
class QdrantAddress:
    """A parsed address. timeout: seconds of one request, None = the defaults."""

    host: str
    collection: str
    port: int = 6334  # of gRPC
    tls: bool = False
    timeout: int | None = None
    config: QdrantConfig = field(default_factory=QdrantConfig)

    @property
    def name(self) -> str:
        """The address to show, without parameters."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"qdrant://{host}:{self.port}/{self.collection}"


def parse(address: str) -> QdrantAddress:
    """Parse qdrant://HOST:PORT/NAME?….

    Raises:
        OptionError: for an invalid address, or one with a key; the text does not show the key.
        DataError: for a file of ?config= that cannot be read.
    """
    parts, expected = urlsplit(address), "expected qdrant://HOST:6334/NAME"
    shown = f"qdrant://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if "@" in parts.netloc:
        raise OptionError(
            f"{shown}: a user or key was given in the address; put the key into the environment "
            f"variable {API_KEY_VARIABLE}"
        )
    try:
        host, port = parts.hostname, parts.port or QdrantAddress.port
    except ValueError as error:
        raise OptionError(f"{shown}: {error}; {expected}") from None
    if not host:
        raise OptionError(f"{shown}: no host; {expected}")
    name = unquote(parts.path.lstrip("/"))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", name):
        raise OptionError(
            f"{shown}: collection {name!r}; expected 1 to 100 letters, digits, _ or -"
        )
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    numbers = {}
    for key, text in given.items():
        if key not in PARAMETERS:
            raise OptionError(f"{shown}: {unknown_message(key, PARAMETERS, 'parameter')}")
        if key == "tls" and text not in ("0", "1"):
            raise OptionError(f"{shown}: tls={text}; expected 0 or 1")
        if key in ("timeout", "size"):
            if not re.fullmatch(r"[1-9][0-9]{0,10}", text):
                raise OptionError(f"{shown}: {key}={text}; expected a whole number from 1 on")
            numbers[key] = int(text)
    config = QdrantConfig.for_size(numbers.get("size", 0))
    if "config" in given:
        if "size" in given:
            raise OptionError(f"{shown}: both config= and size= given; expected one of them")
        config = from_json(QdrantConfig, read_json(Path(given["config"])))
    return QdrantAddress(host, name, port, given.get("tls") == "1", numbers.get("timeout"), config)


class RetryingClient:
    """Calls of one collection, all safe to repeat, which it does after temporary errors.

    qdrant: an existing client; None = connects to the address when needed.
    """

    def __init__(self, address: QdrantAddress, qdrant: QdrantClient | None = None) -> None:
        self.address, self.name, self._qdrant = address, address.name, qdrant

    def call(self, method: str, *, search: bool = False, **given: Any) -> Any:
        """Call a method of Qdrant's client. search: give up early, because others can answer.

        Raises:
            GalleryError: when it fails; BusyError when the server is overloaded.
        """
        qdrant = self.connect()
        if search:
            given["timeout"] = self.address.timeout or SEARCH_TIMEOUT_SECONDS
        for pause in (*RETRY_PAUSES[: 1 if search else None], None):
            try:
                return getattr(qdrant, method)(self.address.collection, **given)
            except Exception as error:
                known = gallery_error(error, self.name)
                temporary = _code(error) == "UNAVAILABLE" or isinstance(known, BusyError)
                if pause is None or not temporary:
                    raise error if known is None else known from None
                time.sleep(min(float(getattr(error, "retry_after_s", pause)), 30.0))
        raise AssertionError  # the last pause is None

    def change(self, method: str, **given: Any) -> None:
        """Call a method that changes points, and wait until the server has done it."""
        from qdrant_client import models

        done = self.call(method, wait=True, ordering=models.WriteOrdering.STRONG, **given)
        if done.status != models.UpdateStatus.COMPLETED:
            raise GalleryError(
                f"{self.name}: the server took a change but did not confirm it in time "
                f"({done.status}); ?timeout=SECONDS waits longer"
            )

    def connect(self) -> QdrantClient:
        """The client, made when it is first needed; it is closed with this object.

        Raises OptionError when the API key would be sent unencrypted over the network.
        """
        if self._qdrant is None:
            place, key = self.address, os.environ.get(API_KEY_VARIABLE, "")
            if key and not place.tls and not _is_loopback(place.host):
                raise OptionError(
                    f"{self.name}: {API_KEY_VARIABLE} is set, and the key would be sent "
                    "unencrypted; add ?tls=1, or unset it if the server needs none"
                )
            try:
                from qdrant_client import QdrantClient
            except ImportError:
                raise GalleryError(
                    f"{self.name}: qdrant-client is not installed; {install_command('cluster')}"
                ) from None
            self._qdrant = QdrantClient(
                host=f"[{place.host}]" if ":" in place.host else place.host, grpc_port=place.port,
                prefer_grpc=True, https=place.tls, timeout=place.timeout or TIMEOUT_SECONDS,
                headers={"api-key": key} if key else None,  # as `api_key` it warns
                check_compatibility=False,  # it asks from a thread of its own
            )  # fmt: skip
            weakref.finalize(self, self._qdrant.close)
        return self._qdrant


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _code(error: Exception) -> str:
    """The gRPC status name of an error; "" for other errors."""
    code = getattr(error, "code", None)
    return str(getattr(code(), "name", "")) if callable(code) else ""


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
        "UNAUTHENTICATED": f"the server wants another key, in {API_KEY_VARIABLE}",
        "PERMISSION_DENIED": f"the key in {API_KEY_VARIABLE} does not allow this",
    }
    if code in advice:
        return GalleryError(f"{name}: {advice[code]} ({text or code})")
    if code == "RESOURCE_EXHAUSTED" or isinstance(error, QdrantException):
        return BusyError(f"{name}: the server is overloaded; try again later ({text})")
    if isinstance(error, grpc.RpcError | ApiException | ValueError | KeyError | RuntimeError):
        return GalleryError(f"{name}: Qdrant says: {text or code or type(error).__name__}")
    return None
