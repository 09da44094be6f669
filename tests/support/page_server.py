"""A stub server with the API of the real one, for the tests of the page.

It serves the page's files and a `World`, which tests can change, and records every request. A photo
named "busy" is refused once, then answered.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import threading
import traceback
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.page_world import JSON, World, answer, drawn, explanation
from whichlandmark.serving.page_files import STATIC, page_html, page_script, page_style

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
KINDS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html; charset=utf-8",
         ".svg": "image/svg+xml", ".json": "application/json"}  # fmt: skip


class RefusedError(Exception):
    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status, self.error = status, {"code": code, "message": message, "hint": hint}


class Handler(BaseHTTPRequestHandler):
    """One request: static files, thumbnails, or JSON."""

    world: World
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        self.reply()

    do_POST = do_DELETE = do_PATCH = do_GET  # noqa: N815, the names that http.server calls

    def reply(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        self.world.requests.append(f"{self.command} {path}")
        try:
            kind, data = self.page(path) or self.api(path, query, body)
            self.send(200, kind, data)
        except RefusedError as refused:
            reply = {"error": refused.error, "request_id": "r-0"}
            self.send(refused.status, KINDS[".json"], json.dumps(reply).encode())

    def send(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Security-Policy", CSP)
        if status in (429, 503):
            self.send_header("Retry-After", str(self.world.wait))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the page was closed
            self.wfile.write(data)

    def page(self, path: str) -> tuple[str, bytes] | None:
        if path == "/":
            return KINDS[".html"], page_html(self.config()).encode()
        if not path.startswith("/static/"):
            return None
        if path == "/static/page.js":
            return KINDS[".js"], page_script().encode()
        if path == "/static/page.css":
            return KINDS[".css"], page_style().encode()
        file = STATIC / path.removeprefix("/static/")
        if not file.is_file():
            raise RefusedError(404, "not_found", f"no file {path}")
        return KINDS.get(file.suffix, "text/plain"), file.read_bytes()

    def config(self) -> JSON:
        world = self.world
        return {
            "write": "key" if world.write_key else "open",
            "read": "key" if world.read_key else "open",
            "tiles": world.tiles, "max_photos": 16, "max_bytes": 20_000_000,
            "formats": ["jpeg", "png", "webp"], "title": "Drawn world",
        }  # fmt: skip

    def allow(self, wanted: str | None) -> None:
        if wanted and self.headers.get("Authorization") != f"Bearer {wanted}":
            raise RefusedError(401, "unauthorized", "this needs an API key", "give one")

    def api(self, path: str, query: dict[str, list[str]], body: bytes) -> tuple[str, bytes]:
        world = self.world
        if world.down:
            raise RefusedError(503, "busy", "the queue is full", "ask again later")
        if path == "/v1/config":
            return KINDS[".json"], json.dumps(self.config()).encode()
        self.allow(
            world.read_key if self.command == "GET" or "landmarks" not in path else world.write_key
        )
        if found := re.fullmatch(r"/v1/photos/([^/]+)/thumbnail", path):
            photo = unquote(found[1])
            name = next((n for n, photos in world.landmarks.items() if photo in photos), "")
            return "image/jpeg", drawn(world.number(name), photo)
        reply = self.answered(path, body) or self.gallery(path, query, body)
        return KINDS[".json"], json.dumps(reply).encode()

    def answered(self, path: str, body: bytes) -> JSON | None:
        world = self.world
        if path == "/v1/feedback":
            world.feedback.append(json.loads(body))
            return {"queued": True}
        if path not in ("/v1/recognize", "/v1/explain"):
            return None
        names = self.files(body)
        if "busy" in names[0] and names[0] not in world.busy:
            world.busy.add(names[0])
            raise RefusedError(503, "busy", "every worker is busy", "ask again")
        if path == "/v1/explain":
            return explanation(world, names[0])
        return {"schema": "whichlandmark.answer/1", "request_id": "r-1",
                "model": {"embedder": "drawn", "generation": world.generation},
                "timings_ms": {"total": 214.0},
                "results": [answer(world, name) for name in names]}  # fmt: skip

    def files(self, body: bytes) -> list[str]:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = BytesParser(policy=HTTP).parsebytes(head + body).iter_parts()
        return [str(part.get_filename()) for part in parts]

    def gallery(self, path: str, query: dict[str, list[str]], body: bytes) -> JSON:
        world = self.world
        offset, limit = (int(query.get(k, [d])[0]) for k, d in (("offset", "0"), ("limit", "24")))
        if path == "/v1/landmarks":
            return self.listed(query.get("query", [""])[0], offset, limit)
        if found := re.fullmatch(r"/v1/landmarks/([^/]+)/photos", path):
            name = unquote(found[1])
            if self.command == "POST":
                return self.added(name, self.files(body))
            ids = world.landmarks.get(name, [])
            photos = [world.match(name, i) for i in range(len(ids))][offset : offset + limit]
            return {"landmark": name, "total": len(ids), "photos": photos}
        return self.changed(path, body)

    def listed(self, query: str, offset: int, limit: int) -> JSON:
        world = self.world
        names = [n for n in world.landmarks if query.lower() in world.titles.get(n, n).lower()]
        rows = [
            {**world.candidate(n), "photos": len(world.landmarks[n]),
             "thumbnail": world.match(n)["thumbnail"]}
            for n in names[offset : offset + limit]
        ]  # fmt: skip
        photos = sum(map(len, world.landmarks.values()))
        return {"total": len(names), "photos": photos, "distractors": 160,
                "generation": world.generation, "landmarks": rows}  # fmt: skip

    def added(self, name: str, files: list[str]) -> JSON:
        bad = [answer(self.world, file) for file in files if "unreadable" in file]
        ids = [f"{name}/{file}" for file in files if "unreadable" not in file]
        if ids:
            self.world.landmarks.setdefault(name, []).extend(ids)
        self.world.generation += 1
        return {"added": ids, "failed": bad, "generation": self.world.generation}

    def changed(self, path: str, body: bytes) -> JSON:
        world = self.world
        name = unquote(path.rsplit("/", 1)[-1])
        world.generation += 1
        if self.command == "PATCH":
            new = json.loads(body)["landmark"]
            world.landmarks[new] = world.landmarks.pop(name)
            return {"relabelled": len(world.landmarks[new]), "generation": world.generation}
        if path.startswith("/v1/landmarks/"):
            return {"removed": len(world.landmarks.pop(name)), "generation": world.generation}
        for photos in world.landmarks.values():
            if name in photos:
                photos.remove(name)
        return {"removed": 1, "generation": world.generation}


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
