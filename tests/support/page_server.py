"""A stub server with the API of the real one, for the tests of the page.

It serves the page's files and a `World`, which tests can change, and records every request. A photo
named "busy" is refused once, then answered.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support import page_discoveries, page_gallery
from tests.support.page_discoveries import DISCOVERIES
from tests.support.page_gallery import Asked, RefusedError
from tests.support.page_world import JSON, World, answer, drawn, explanation
from whichlandmark.serving.page_files import (
    STATIC,
    page_html,
    page_language,
    page_script,
    page_style,
)

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
KINDS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html; charset=utf-8",
         ".svg": "image/svg+xml", ".json": "application/json"}  # fmt: skip
OPEN = ("/v1/config", "/livez", "/readyz")
FEEDBACK = "/v1/feedback"
WRITERS = (FEEDBACK, DISCOVERIES)  # routes that need the right to change the gallery, also to read


def config_of(world: World) -> JSON:
    """What GET /v1/config answers, and what the page carries."""
    return {
        "write": "key" if world.write_key else "open",
        "read": "key" if world.read_key else "open",
        "tiles": world.tiles, "max_photos": 16, "max_bytes": 20_000_000, "licence": "CC0",
        "formats": ["jpeg", "png", "webp"], "title": "Drawn world", "warnings": [],
        "unfinished": None, "landmarks": len(world.landmarks), "uses_location": False,
        "shrink_side": 1600, "version": "1.0", "undo_photos": 50, **world.config,
    }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    """One request: the page's files, pictures, or JSON."""

    world: World
    protocol_version = "HTTP/1.1"
    tried = 0  # wrong keys

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        asked = Asked(self.command, parts.path, query, body, self.headers.get("Content-Type", ""))
        self.world.requests.append(f"{asked.method} {asked.path}")
        try:
            language = page_language(self.headers.get("Accept-Language", ""))
            kind, data = page_file(self.world, asked.path, language) or self.api(asked)
            self.send(200, kind, data)
        except RefusedError as refused:
            reply = {"error": refused.error, "request_id": "r-0"}
            self.send(refused.status, KINDS[".json"], json.dumps(reply).encode())

    do_POST = do_DELETE = do_PATCH = do_HEAD = do_GET  # noqa: N815, the names that http.server calls

    def send(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Security-Policy", CSP)
        if status in (429, 503):
            self.send_header("Retry-After", str(self.world.wait))
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the page was closed
                self.wfile.write(data)

    def api(self, asked: Asked) -> tuple[str, bytes]:
        world = self.world
        if world.down:
            raise RefusedError(503, "busy", "the queue is full", "ask again later")
        if asked.path == "/v1/config":
            return KINDS[".json"], json.dumps(config_of(world)).encode()
        self.allow(needed_scope(asked))
        if picture := picture_of(world, asked):
            return "image/jpeg", picture
        routes = page_discoveries if asked.path.startswith(DISCOVERIES) else page_gallery
        reply = answered(world, asked) or routes.reply(world, asked)
        return KINDS[".json"], json.dumps(reply).encode()

    def allow(self, scope: str) -> None:
        """Refuse a caller without the key that a scope needs; the key to write may also read."""
        world = self.world
        wanted = world.write_key if scope == "write" else world.read_key
        if not wanted:
            return
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not given:
            hint = "Send the header Authorization: Bearer KEY."
            raise RefusedError(401, "unauthorized", "This needs an API key.", hint)
        if given not in (world.read_key, world.write_key):
            type(self).tried += 1
            if self.tried > world.wrong_keys:
                raise RefusedError(429, "too_many_wrong_keys", "Too many wrong keys.", "Wait.")
            raise RefusedError(401, "wrong_key", "This API key is not known.", "Ask the operator.")
        if scope == "write" and given != world.write_key:
            raise RefusedError(403, "forbidden", "This API key lacks the scope write.", "")


def needed_scope(asked: Asked) -> str:
    """read or write."""
    reads = asked.method in ("GET", "HEAD") and not asked.path.startswith(WRITERS)
    answers = ("/v1/recognize", "/v1/explain", "/v1/embed", "/v1/similar", FEEDBACK)
    return "read" if reads or (asked.method == "POST" and asked.path in answers) else "write"


def page_file(world: World, path: str, language: str) -> tuple[str, bytes] | None:
    """The page, or a file of it; None = the path is not below these."""
    if path == "/":
        return KINDS[".html"], page_html(config_of(world), language).encode()
    if not path.startswith("/static/"):
        return None
    made: dict[str, Callable[[], str]] = {"page.js": page_script, "page.css": page_style}
    name = path.removeprefix("/static/")
    kind = KINDS.get("." + name.rsplit(".", 1)[-1], "text/plain")
    if name in made:
        return kind, made[name]().encode()
    file = STATIC / name
    if not file.is_file():
        raise RefusedError(404, "not_found", f"no file {path}")
    return kind, file.read_bytes()


def picture_of(world: World, asked: Asked) -> bytes | None:
    """A thumbnail, a preview, or the photo that was sent with feedback."""
    if asked.path.startswith(f"{FEEDBACK}/") and asked.path.endswith("/photo"):
        return drawn(0, "query")
    if asked.path.startswith(f"{DISCOVERIES}/") and "/photos/" in asked.path:
        return page_discoveries.picture(asked)
    if asked.method == "GET" and asked.path.startswith("/v1/photos/"):
        name, _, what = asked.path.removeprefix("/v1/photos/").partition("/")
        photo = unquote(name)
        owner = next((n for n, photos in world.landmarks.items() if photo in photos), "")
        if what == "thumbnail":
            return drawn(world.number(owner), photo)
        if what == "preview":
            side = min(2048, max(64, int(asked.query.get("side", "640"))))
            return drawn(world.number(owner), photo, side)
    return None


def answered(world: World, asked: Asked) -> JSON | None:
    """The reply to photos; None = it is another route."""
    if asked.path not in ("/v1/recognize", "/v1/explain", "/v1/embed", "/v1/similar"):
        return None
    names = asked.files()
    if "busy" in names[0] and names[0] not in world.busy:
        world.busy.add(names[0])
        raise RefusedError(503, "busy", "every worker is busy", "ask again")
    time.sleep(world.delay)
    lang = asked.query.get("lang", "")
    model = {"embedder": "drawn", "generation": world.generation}
    head: JSON = {"schema": "whichlandmark.answer/1", "request_id": "r-1", "model": model}
    if asked.path == "/v1/explain":
        return explanation(world, names[0], lang)
    if asked.path == "/v1/embed":
        return {**head, "results": [{"photo": name, "vector": [0.6, 0.8]} for name in names]}
    answers = [answer(world, name, lang) for name in names]
    if asked.path == "/v1/similar":
        found = [{"photo": a["photo"], "matches": a["matches"]} if "matches" in a else a
                 for a in answers]  # fmt: skip
        return {**head, "results": found}
    return {**head, "timings_ms": {"total": 214.0}, "results": answers}


class StubServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Ignore connections that a closed page broke; print other errors."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            traceback.print_exc()


class PageServer:
    """The server in a thread of its own: `with PageServer(world) as address`."""

    def __init__(self, world: World, port: int = 0) -> None:
        handler = type("Bound", (Handler,), {"world": world})
        self.server = StubServer(("127.0.0.1", port), handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> str:
        self.thread.start()
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
