"""How a server is run, and all its limits, as one flat value."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..core.errors import OptionError
from ..core.hardware import cpu_count
from ..core.storage import MAX_BYTES


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Limits are per process. keys: a file made by `whichlandmark keys add`."""

    host: str = "127.0.0.1"
    port: int = 8000
    keys: Path | None = None
    insecure: bool = False  # another address than loopback without keys
    names: tuple[str, ...] = ()  # more host names that the server is called by
    title: str = ""
    tiles: str = ""  # address of map tiles, with {z}, {x} and {y}; "" = no tiles
    tiles_attribution: str = ""
    device: str = "auto"
    workers: int = 0  # processes that decode; 0 = one for each core
    worker_mb: int = 400  # memory of one
    decode_seconds: float = 5.0  # of wall time for one photo, waiting not counted
    decode_cpu_seconds: float = 4.0
    recycle: int = 2_000  # photos after which a worker is replaced
    queue: int = 64  # photos accepted and not yet answered
    line: int = 256  # requests that wait for room among those
    line_seconds: float = 2.0  # how long
    batch: int = 24  # photos embedded and searched at once, at most
    max_photos: int = 16  # of a request
    max_bytes: int = MAX_BYTES  # of a photo
    max_body: int = 64_000_000  # of a request
    body_bytes: int = 512_000_000  # of all requests that are being read
    head_seconds: float = 10.0  # to send the head of a request
    body_seconds: float = 60.0  # to send the rest
    rate: int = 0  # photos a minute of one key, or address; 0 = no limit
    write_queue: int = 8  # changes of the gallery that wait for their turn
    feedback_bytes: int = 10_000_000  # of the review queue
    stop_seconds: int = 20  # to answer what was accepted when the server is stopped

    def __post_init__(self) -> None:
        counts = ("worker_mb", "recycle", "queue", "batch", "max_photos", "max_bytes", "max_body",
                  "write_queue")  # fmt: skip
        for name in counts:
            if getattr(self, name) < 1:
                raise OptionError(f"{name} {getattr(self, name)} given; expected 1 or more")
        if self.max_photos > self.queue:
            raise OptionError(
                f"max_photos {self.max_photos} with a queue of {self.queue}; a request of so many "
                "photos could never be accepted"
            )
        if not 0 <= self.port < 65_536:
            raise OptionError(f"port {self.port} given; expected 0 to 65535")
        if self.tiles:
            tile_origin(self.tiles)
        if not (self.keys or self.insecure or is_loopback(self.host)):
            raise OptionError(
                f"host {self.host!r} can be reached by others, and anybody could ask and change "
                "the gallery; give --keys FILE (`whichlandmark keys add FILE NAME` makes one), "
                "or --insecure where another door keeps them out"
            )

    @property
    def processes(self) -> int:
        """Decode workers."""
        return self.workers or cpu_count()


def is_loopback(host: str) -> bool:
    """Can only this machine reach it?"""
    if host.strip("[]").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def tile_origin(address: str) -> str:
    """ "https://tiles.example/{z}/{x}/{y}.png" → "https://tiles.example", for the page's policy.

    Raises OptionError for anything that is no such address.
    """
    parts = urlsplit(address)
    whole = all(f"{{{axis}}}" in address for axis in "zxy")
    plain = not set(parts.netloc) & set(" ;,'\"{}")
    if parts.scheme not in ("http", "https") or not parts.netloc or not whole or not plain:
        raise OptionError(
            f"tiles {address!r} given; expected https://HOST/…{{z}}…{{x}}…{{y}}…, one host"
        )
    return f"{parts.scheme}://{parts.netloc}"
