"""`qdrant://HOST:PORT/NAME?tls=1` → a client of that server."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ..errors import GalleryError, OptionError
from ..options import from_json, unknown
from .qdrant_config import QdrantConfig

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
