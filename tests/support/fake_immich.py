"""FakeImmich: an Immich server on this machine, of old and new versions, with faults on demand.

It answers as the routes in `whichlandmark.library.immich_api` are described: paths by version, API
keys with permissions, pages in the order of `fileCreatedAt`, tags with levels, HTTP 400 for what is
gone, HTTP 404 for a preview that is not made yet, and no way to clear a position (`clears`).
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from typing import Any

from tests.support.fake_immich_routes import Handler

KEY = "k3yWithEveryPermission0123456789abcdef"

USER, PARTNER = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)

Fault = Callable[[Handler], bool]  # True = it has answered


@dataclass
class FakeAsset:
    """A photo. preview: None = not made yet. tags: ids."""

    id: str
    name: str
    preview: bytes | None
    taken: str = "2020-05-01T10:00:00.000Z"
    owner: str = USER
    type: str = "IMAGE"
    visibility: str = "timeline"
    trashed: bool = False
    latitude: float | None = None
    longitude: float | None = None
    description: str = ""
    updated: datetime = BEGIN
    tags: set[str] = field(default_factory=set)

    @property
    def changed(self) -> str:
        """`updated` as the API writes it."""
        return f"{self.updated:%Y-%m-%dT%H:%M:%S}.{self.updated.microsecond // 1000:03d}Z"


class FakeImmich:
    """The server's data, its rules, and what it was asked."""

    def __init__(self, version: tuple[int, int, int] = (2, 3, 1), *, clears: bool = False) -> None:
        self.version, self.clears, self.user = version, clears, USER
        self.assets: dict[str, FakeAsset] = {}
        self.tags: dict[str, str] = {}  # id → value
        self.keys: dict[str, set[str]] = {KEY: {"all"}}
        self.page_size = 1000  # at most; smaller in tests of pages
        self.reverse_geocoding = True
        self.prefix = ""  # a folder of a proxy, as /photos
        self.log: list[tuple[str, str]] = []  # method and path below /api
        self.headers: list[dict[str, str]] = []
        self.before: list[tuple[str, str, Fault]] = []  # method, pattern of the path, what happens
        # What of a search it knows; tests of servers that know less replace it.
        self.understands: Callable[[dict[str, Any]], dict[str, Any]] = lambda sent: sent
        self.lock = threading.RLock()
        self.base = ""
        self._ticks = self._ids = 0

    def now(self) -> datetime:
        with self.lock:
            self._ticks += 1
            return BEGIN + timedelta(days=30, milliseconds=self._ticks)

    def add(self, name: str, preview: bytes | None, **more: Any) -> FakeAsset:
        """Add a photo, uploaded now."""
        with self.lock:
            self._ids += 1
            id = str(uuid.UUID(int=(4 << 76) | (8 << 60) | 0x1000 + self._ids))
            asset = FakeAsset(id, name, preview, **{"updated": self.now(), **more})
            self.assets[id] = asset
            return asset

    def make_tag(self, value: str) -> str:
        """The id of a tag, made with the levels above it where it is not there."""
        for n in range(value.count("/") if self.levels else 0, -1, -1):
            part = value.rsplit("/", n)[0]
            if part not in self.tags.values():
                self._ids += 1
                self.tags[str(uuid.UUID(int=(4 << 76) | (9 << 60) | self._ids))] = part
        return next(id for id, other in self.tags.items() if other == value)

    def tag(self, asset: FakeAsset, value: str) -> None:
        """Put a tag on a photo, as the user does."""
        asset.tags.add(self.make_tag(value))

    def untag(self, asset: FakeAsset, value: str) -> None:
        """Take a tag off a photo, as the user does."""
        asset.tags -= {id for id, other in self.tags.items() if other == value}

    def values(self, asset: FakeAsset) -> set[str]:
        return {self.tags[id] for id in asset.tags}

    @property
    def levels(self) -> bool:
        return self.version >= (1, 113, 0)

    def snapshot(self) -> dict[str, Any]:
        """All that a user sees, without the times of change."""
        photos = {
            one.id: (one.name, one.visibility, one.trashed, one.latitude, one.longitude,
                     one.description, sorted(self.values(one)))
            for one in self.assets.values()
        }  # fmt: skip
        return {"photos": photos, "tags": sorted(self.tags.values())}

    def counts(self) -> Counter[str]:
        """The requests by method and kind of path."""
        return Counter(f"{method} {re.sub(r'[0-9a-f]{8}-[0-9a-f-]+', '{id}', path)}"
                       for method, path in self.log)  # fmt: skip

    def fault(self, pattern: str, *faults: Fault | None, method: str = "") -> None:
        """What happens to the next requests whose path has the pattern, one for each; None = it is
        answered as ever.
        """
        self.before += [(method, pattern, one or (lambda handler: False)) for one in faults]

    @contextmanager
    def running(self, tls: ssl.SSLContext | None = None) -> Iterator[FakeImmich]:
        server = _QuietServer(("127.0.0.1", 0), Handler)
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        server.fake = self  # type: ignore[attr-defined]
        self.base = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}{self.prefix}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that were killed, and of `reset`."""


def status(code: int, message: str = "", *, html: bool = False, wait: str = "") -> Fault:
    """A fault: this HTTP status."""

    def happen(handler: Handler) -> bool:
        more = {"Retry-After": wait} if wait else {}
        if html:
            page = f"<html><head><title>{code}</title></head><body><h1>{message}</h1></body></html>"
            handler.send(code, page.encode(), "text/html", more)
        else:
            handler.fail(code, message, more)
        return True

    return happen


def body(data: bytes, kind: str = "application/json", code: int = 200) -> Fault:
    """A fault: this body."""

    def happen(handler: Handler) -> bool:
        handler.send(code, data, kind)
        return True

    return happen


def reset(handler: Handler) -> bool:
    """A fault: the connection is reset."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.close_connection = True
    handler.rfile.close()
    handler.connection.close()
    return True


def meanwhile(change: Callable[[], object]) -> Fault:
    """Something that happens before the request is answered as ever."""

    def happen(handler: Handler) -> bool:
        change()
        return False

    return happen
