"""The routes of the fake Immich: paths by version, permissions, and the shapes of the answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from tests.support.fake_immich import FakeAsset, FakeImmich


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16  # an answer in one piece
    server: Any

    @property
    def fake(self) -> FakeImmich:
        return self.server.fake  # type: ignore[no-any-return]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def date_time_string(self, timestamp: float | None = None) -> str:
        return format_datetime(self.fake.now(), usegmt=True)

    def send(self, code: int, data: bytes, kind: str, more: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": kind, **(more or {})}.items():
            self.send_header(name, value)
        if code != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if code != 204:
            self.wfile.write(data)

    def say(self, value: Any, code: int = 200) -> None:
        self.send(code, json.dumps(value).encode(), "application/json; charset=utf-8")

    def fail(self, code: int, message: str, more: dict[str, str] | None = None) -> None:
        value = {"message": message, "statusCode": code, "correlationId": "q1w2e3r4"}
        self.send(code, json.dumps(value).encode(), "application/json; charset=utf-8", more)

    def do_GET(self) -> None:
        self._answer()

    do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def _answer(self) -> None:
        fake, parts = self.fake, urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length) if length else b""
        if not parts.path.startswith(f"{fake.prefix}/api/"):
            self.send(200, b"<!doctype html><html><title>Immich</title></html>", "text/html")
            return
        path = parts.path.removeprefix(f"{fake.prefix}/api")
        with fake.lock:
            fake.log.append((self.command, path))
            fake.headers.append(dict(self.headers.items()))
            index = next(
                (
                    i
                    for i, (method, pattern, _) in enumerate(fake.before)
                    if method in ("", self.command) and re.search(pattern, path)
                ),
                None,
            )
            fault = fake.before.pop(index)[2] if index is not None else None
        if fault and fault(self):
            return
        with fake.lock:
            self._route(path, parse_qs(parts.query), json.loads(data) if data else {})

    def _route(self, path: str, query: dict[str, list[str]], sent: dict[str, Any]) -> None:
        fake = self.fake
        plural = fake.version >= (1, 106, 0)
        s, one = ("s", r"([0-9a-fA-F-]{36})") if plural else ("", r"([0-9a-fA-F-]{36})")
        view = rf"/assets/{one}/thumbnail" if plural else rf"/asset/thumbnail/{one}"
        version_path = "/server/version" if fake.version >= (1, 107, 0) else "/server-info/version"
        tagging = "tag.asset" if fake.version >= (1, 118, 0) else "tag.update"
        routes: list[tuple[str, str, str, Callable[..., None]]] = [
            ("GET", version_path, "", self._version),
            ("GET", "/server/features", "", self._features),
            ("GET", f"/user{s}/me", "user.read", self._me),
            ("POST", "/search/metadata", "asset.read", lambda: self._search(sent)),
            ("GET", view, "asset.view", lambda id: self._view(id, query)),
            ("GET", f"/asset{s}/{one}", "asset.read", self._asset),
            ("PUT", f"/asset{s}/{one}", "asset.update", lambda id: self._update(id, sent)),
            ("GET", f"/tag{s}", "tag.read", lambda: self.say(list(map(self._tag, fake.tags)))),
            ("PUT", f"/tag{s}/{one}/assets", tagging, lambda id: self._tagging(id, sent, True)),
            ("DELETE", f"/tag{s}/{one}/assets", tagging,
             lambda id: self._tagging(id, sent, False)),
            ("DELETE", f"/tag{s}/{one}", "tag.delete", self._delete_tag),
        ]  # fmt: skip
        if fake.levels:
            routes.append(("PUT", "/tags", "tag.create", lambda: self._upsert(sent)))
        else:
            routes.append(("POST", f"/tag{s}", "tag.create", lambda: self._create(sent)))
            routes.append(("GET", f"/tag{s}/{one}/assets", "tag.read", self._of_tag))
        for method, pattern, permission, answer in routes:
            if method == self.command and (match := re.fullmatch(pattern, path)):
                if not permission or self._may(permission):
                    answer(*match.groups())
                return
        self.fail(404, f"Cannot {self.command} /api{path}")

    def _may(self, permission: str) -> bool:
        granted = self.fake.keys.get(self.headers.get("x-api-key", ""))
        if granted is None:
            self.fail(401, "Invalid API key")
        elif "all" not in granted and permission not in granted:
            self.fail(403, f"Missing required permission: {permission}")
        else:
            return True
        return False

    def _version(self) -> None:
        self.say(dict(zip(("major", "minor", "patch"), self.fake.version, strict=True)))

    def _features(self) -> None:
        self.say({"reverseGeocoding": self.fake.reverse_geocoding, "map": True})

    def _me(self) -> None:
        self.say({"id": self.fake.user, "name": "Ada", "email": "ada@example.org"})

    def _asset_object(self, one: FakeAsset, *, tags: bool = False, exif: bool = True) -> Any:
        found: dict[str, Any] = {
            "id": one.id, "originalFileName": one.name, "ownerId": one.owner, "type": one.type,
            "fileCreatedAt": one.taken, "updatedAt": one.changed, "isTrashed": one.trashed,
            "isArchived": one.visibility == "archive", "people": [], "checksum": "x" * 28,
        }  # fmt: skip
        if self.fake.version >= (1, 133, 0):
            found["visibility"] = one.visibility
        if exif:
            found["exifInfo"] = {"latitude": one.latitude, "longitude": one.longitude, "city": None,
                                 "description": one.description}  # fmt: skip
        if tags:
            found["tags"] = [self._tag(id) for id in sorted(one.tags)]
        return found

    def _tag(self, id: str) -> Any:
        value = self.fake.tags[id]
        if self.fake.levels:
            return {"id": id, "name": value.split("/")[-1], "value": value}
        return {"id": id, "name": value, "type": "CUSTOM", "userId": self.fake.user}

    def _search(self, sent: dict[str, Any]) -> None:
        fake, new = self.fake, self.fake.version >= (1, 133, 0)
        sent = fake.understands(sent)
        shown = {"timeline", "archive"} if new or sent.get("withArchived") else {"timeline"}
        found = [
            one for one in fake.assets.values()
            if one.type == sent.get("type", one.type)
            and one.visibility in shown
            and (not one.trashed or sent.get("withDeleted"))
            and one.changed >= sent.get("updatedAfter", "")
            and one.taken >= sent.get("takenAfter", "")
        ]  # fmt: skip
        if (ids := sent.get("tagIds")) and fake.version >= (1, 126, 0):
            below = {id for id, value in fake.tags.items() for of in ids if of in fake.tags
                     and f"{value}/".startswith(f"{fake.tags[of]}/")}  # fmt: skip
            found = [one for one in found if one.tags & below]
        found.sort(key=lambda one: (one.taken, one.id), reverse=sent.get("order") != "asc")
        size, page = min(sent.get("size", 250), fake.page_size), sent.get("page", 1)
        some, rest = found[(page - 1) * size : page * size], found[page * size :]
        rows = [self._asset_object(one, exif=bool(sent.get("withExif"))) for one in some]
        more = str(page + 1) if rest else None
        assets = {"total": len(rows), "count": len(rows), "items": rows, "facets": [],
                  "nextPage": more}  # fmt: skip
        self.say({"albums": {"total": 0, "count": 0, "items": [], "facets": []}, "assets": assets})

    def _found(self, id: str, permission: str) -> FakeAsset | None:
        asset = self.fake.assets.get(id)
        if asset is None or asset.owner != self.fake.user:
            self.fail(400, f"Not found or no {permission} access")
            return None
        return asset

    def _asset(self, id: str) -> None:
        if asset := self._found(id, "asset.read"):
            self.say(self._asset_object(asset, tags=True))

    def _view(self, id: str, query: dict[str, list[str]]) -> None:
        wanted = query.get("size") == ["preview"] or query.get("format") == ["JPEG"]
        if not (asset := self._found(id, "asset.view")):
            return
        if asset.preview is None or not wanted:
            self.fail(404, "Asset media not found")
        else:
            self.send(200, asset.preview, "image/jpeg")

    def _update(self, id: str, sent: dict[str, Any]) -> None:
        if not (asset := self._found(id, "asset.update")):
            return
        numbers = [sent.get(name) for name in ("latitude", "longitude")]
        if not all(isinstance(one, int | float) for one in numbers) and not (
            self.fake.clears and numbers == [None, None]
        ):
            self.fail(400, "Validation failed")
            return
        asset.latitude, asset.longitude = numbers
        asset.updated = self.fake.now()
        self.say(self._asset_object(asset, tags=True))

    def _upsert(self, sent: dict[str, Any]) -> None:
        self.say([self._tag(self.fake.make_tag(value)) for value in sent["tags"]])

    def _create(self, sent: dict[str, Any]) -> None:
        if sent["name"] in self.fake.tags.values():
            self.fail(400, "A tag with that name already exists")
        else:
            self.say(self._tag(self.fake.make_tag(sent["name"])), 201)

    def _of_tag(self, id: str) -> None:
        self.say([self._asset_object(one) for one in self.fake.assets.values() if id in one.tags])

    def _tagging(self, id: str, sent: dict[str, Any], put: bool) -> None:
        fake = self.fake
        name, key = ("ids", "id") if fake.levels else ("assetIds", "assetId")
        if id not in fake.tags:
            self.fail(400, f"Not found or no tag.{'asset' if put else 'read'} access")
            return
        rows = []
        for asset_id in sent[name]:
            asset = fake.assets.get(asset_id)
            if put and asset and id in asset.tags:
                rows.append({key: asset_id, "success": False, "error": "duplicate"})
            elif asset is None or (not put and id not in asset.tags):
                why = "no_permission" if put else "not_found"
                rows.append({key: asset_id, "success": False, "error": why})
            else:
                asset.tags ^= {id}
                asset.updated = fake.now()
                rows.append({key: asset_id, "success": True})
        self.say(rows)

    def _delete_tag(self, id: str) -> None:
        fake = self.fake
        if id not in fake.tags:
            self.fail(400, "Not found or no tag.delete access")
            return
        value = fake.tags[id]
        for gone in [i for i, v in fake.tags.items() if f"{v}/".startswith(f"{value}/")]:
            if gone == id or fake.levels:
                del fake.tags[gone]
                for asset in fake.assets.values():
                    asset.tags.discard(gone)
        self.send(204, b"", "application/json")
