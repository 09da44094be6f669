"""Options of the server: address, access, limits."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from ..core.errors import OptionError
from ..core.hardware import check_device, cpu_count, max_megapixels
from ..core.json_options import Span, check_fields, count
from .limits import LARGE_PART
from .proxies import TrustedProxies, check_root_path

UNIX_HOST = "unix:"  # before the path of a Unix socket to listen on

_BYTES, _SECONDS = count(1, 10**15), Span(0, 86_400, above=True)

SPANS = {  # option → the numbers that it takes
    "port": count(0, 65_535), "workers": count(0, 256), "worker_mb": count(), "queue": count(),
    "decode_seconds": _SECONDS, "decode_cpu_seconds": _SECONDS, "recycle": count(),
    "line": count(0), "line_seconds": Span(0, 86_400), "batch": count(), "max_photos": count(),
    "max_bytes": _BYTES, "max_body": _BYTES, "body_bytes": _BYTES,
    "body_share": _BYTES, "head_seconds": _SECONDS,
    "body_seconds": _SECONDS, "rate": count(0), "write_queue": count(),
    "feedback_bytes": count(0, 10**15), "stop_seconds": count(0, 86_400),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Options and limits of one server process. keys: file created by `whichlandmark keys add`."""

    spans: ClassVar[Mapping[str, Span]] = SPANS

    host: str = "127.0.0.1"
    port: int = 8000
    keys: Path | None = None
    insecure: bool = False  # allow a public address without keys
    names: tuple[str, ...] = ()  # additional host names to accept in the Host header
    cors: tuple[str, ...] = ()  # origins of other sites whose pages may use the API; "*" = all
    proxies: tuple[str, ...] = ()  # addresses and networks of trusted proxies; "unix"
    root_path: str = ""  # prefix of the server's URLs behind a proxy
    log_addresses: bool = False  # log the address of each client
    title: str = ""  # of the page; "" = whichlandmark
    tiles: str = ""  # URL of map tiles with {z}, {x} and {y}; "" = bundled outline map
    tiles_attribution: str = ""
    device: str = "auto"
    workers: int = 0  # decode processes; 0 = one per core
    worker_mb: int = 400  # memory of one decode process
    decode_seconds: float = 5.0  # wall time for one photo, without waiting
    decode_cpu_seconds: float = 4.0  # processor time for one photo
    recycle: int = 2_000  # photos after which a decode process is replaced
    queue: int = 64  # photos accepted and not yet answered
    line: int = 256  # requests that may wait while the queue is full
    line_seconds: float = 2.0  # longest such wait
    batch: int = 24  # maximum photos of a batch
    max_photos: int = 16  # per request
    max_bytes: int = 60_000_000  # per photo; 200-megapixel phones write as many
    max_body: int = 64_000_000  # bytes per request
    body_bytes: int = 192_000_000  # of all request bodies in memory
    body_share: int = 96_000_000  # of the bodies of one caller
    head_seconds: float = 10.0  # for a client to send the headers of a request
    body_seconds: float = 60.0  # for a client to send the body
    rate: int = 0  # photos per minute of one key or IP address; 0 = no limit
    write_queue: int = 8  # gallery changes that may be running or waiting
    feedback_bytes: int = 10_000_000  # size of the review file
    stop_seconds: int = 20  # to answer accepted requests when the server is stopped

    def __post_init__(self) -> None:
        max_megapixels()  # a wrong variable is told now, not for every photo
        check_fields(self)
        check_device(self.device)
        if self.max_photos > self.queue:
            raise OptionError(
                f"max_photos {self.max_photos} with a queue of {self.queue}; a request of so many "
                "photos could never be accepted"
            )
        if not self.max_body <= LARGE_PART * self.body_share <= LARGE_PART * self.body_bytes:
            raise OptionError(
                f"max_body {self.max_body}, body_share {self.body_share}, body_bytes "
                f"{self.body_bytes}; expected max_body up to {LARGE_PART:g} of body_share, and "
                "body_share up to body_bytes"
            )
        TrustedProxies.parse(self.proxies)
        object.__setattr__(self, "root_path", check_root_path(self.root_path))
        if self.tiles:
            tile_origin(self.tiles)
        for origin in self.cors:
            check_origin(origin, with_keys=self.keys is not None)
        if not (self.keys or self.insecure or is_loopback(self.host)):
            raise OptionError(
                f"host {self.host!r} is reachable from other machines, so anyone could use the "
                "server and change its gallery; give --keys FILE (`whichlandmark keys add FILE "
                "NAME` creates one), or --insecure if something else controls access"
            )

    @property
    def processes(self) -> int:
        """Number of decode processes."""
        return self.workers or cpu_count()


def is_loopback(host: str) -> bool:
    """Whether a host is reachable from this machine only."""
    if host.strip("[]").lower() == "localhost" or host.startswith(UNIX_HOST):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def allows_origin(origins: Sequence[str], origin: str | None) -> bool:
    """Whether pages of an origin may use the API, where `--cors` names these origins."""
    return bool(origin) and ("*" in origins or origin in origins)


def check_origin(origin: str, *, with_keys: bool) -> None:
    """Raises OptionError unless pages of this origin may be allowed to use the API.

    with_keys: whether the server asks for API keys, without which "*" is refused.
    """
    if origin == "*":
        if with_keys:
            return
        raise OptionError(
            "cors '*' without keys; then every page that someone opens could read and change the "
            "gallery, also where only their browser reaches this server; name the origins, as "
            "https://app.example, or give --keys FILE"
        )
    parts = urlsplit(origin if "//" in origin else f"https://{origin}")
    try:
        port = parts.port
    except ValueError:
        port = None
    host = (parts.hostname or "").lower()
    shown = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}.get(parts.scheme)
    wanted = f"{parts.scheme}://{shown}" + (f":{port}" if port and port != default else "")
    if (
        default is None
        or host in ("", "null")
        or not host.isascii()
        or set(host) & set(" *,;'\"<>")
    ):
        wanted = "https://app.example"
    if origin != wanted:
        raise OptionError(
            f"cors {origin!r} given; expected an origin as browsers send it: scheme, host, and "
            f"port if it is not the usual one, such as {wanted}"
        )


def tile_origin(address: str) -> str:
    """ "https://tiles.example/{z}/{x}/{y}.png" → "https://tiles.example", as the CSP needs it.

    Raises OptionError for anything that is not such a URL.
    """
    parts = urlsplit(address)
    complete = all(f"{{{axis}}}" in address for axis in "zxy")
    plain = not set(parts.netloc) & set(" ;,'\"{}")
    if parts.scheme not in ("http", "https") or not parts.netloc or not complete or not plain:
        raise OptionError(
            f"tiles {address!r} given; expected https://HOST/…{{z}}…{{x}}…{{y}}…, one host"
        )
    return f"{parts.scheme}://{parts.netloc}"
