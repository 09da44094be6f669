"""Authorization: every route with every role; host names, origins, rates; what logs contain."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.support.served_world import copied, front, jpeg, made, with_gps
from whichlandmark.core.errors import DataError, OptionError
from whichlandmark.serving.api_errors import ApiError
from whichlandmark.serving.auth import host_name
from whichlandmark.serving.engine import Engine
from whichlandmark.serving.keys import (
    PREFIX,
    add_key,
    digest_of,
    find_key,
    list_keys,
    read_keys,
    remove_key,
)
from whichlandmark.serving.limits import RateLimits, WrongKeys
from whichlandmark.serving.monitoring import JsonLines
from whichlandmark.serving.options import ServeOptions, is_loopback
from whichlandmark.serving.server import create_app

pytestmark = pytest.mark.server

PHOTO = {"files": [("photos", ("a.jpg", b"no photo"))]}
NAMED = {"json": {"landmark": "place 9"}}
ENTRY = {"json": {"request_id": "r", "right": True}}
ANNOTATE = {"json": {"requests": [{"features": []}]}}
# (method, path, request, required scope); "" = no key needed. With a sufficient key the status is
# anything but 401 and 403.
ROUTES = [
    ("GET", "/livez", {}, ""),
    ("GET", "/readyz", {}, ""),
    ("GET", "/v1/config", {}, ""),
    ("GET", "/openapi.json", {}, ""),
    ("GET", "/", {}, ""),
    ("GET", "/static/main.js", {}, ""),
    ("GET", "/metrics", {}, "read"),
    ("POST", "/v1/recognize", PHOTO, "read"),
    ("POST", "/v1/explain", {"files": {"photo": b"no photo"}}, "read"),
    ("POST", "/v1/embed", PHOTO, "read"),
    ("POST", "/v1/similar", PHOTO, "read"),
    ("POST", "/v1/images:annotate", ANNOTATE, "read"),
    ("POST", "/v1/feedback", ENTRY, "read"),
    ("GET", "/v1/landmarks", {}, "read"),
    ("GET", "/v1/landmarks/none/photos", {}, "read"),
    ("GET", "/v1/photos/none/thumbnail", {}, "read"),
    ("GET", "/v1/photos/none/preview", {}, "read"),
    ("POST", "/v1/landmarks/place 9/photos", PHOTO, "write"),
    ("PATCH", "/v1/landmarks/none", NAMED, "write"),
    ("DELETE", "/v1/landmarks/none", {}, "write"),
    ("PATCH", "/v1/photos/none", NAMED, "write"),
    ("DELETE", "/v1/photos/none", {}, "write"),
    ("GET", "/v1/landmarks/none", {}, "read"),
    ("GET", "/v1/photos/none", {}, "read"),
    ("GET", "/v1/photos/none/preview", {}, "read"),
    ("GET", "/v1/distractors", {}, "read"),
    ("POST", "/v1/photos:move", {"json": {"photos": ["none"], "landmark": ""}}, "write"),
    ("POST", "/v1/photos:remove", {"json": {"photos": ["none"]}}, "write"),
    ("POST", "/v1/undo/{token}", {}, "write"),
    ("GET", "/v1/feedback", {}, "write"),
    ("GET", "/v1/feedback/{entry_id}/photo", {}, "write"),
    ("PATCH", "/v1/feedback/{entry_id}", {"json": {"action": "discard"}}, "write"),
    ("GET", "/v1/discoveries", {}, "write"),
    ("GET", "/v1/discoveries/{group_id}", {}, "write"),
    ("GET", "/v1/discoveries/{group_id}/photos/{number}", {}, "write"),
    ("POST", "/v1/discoveries/{group_id}", {"json": {"action": "dismiss"}}, "write"),
]


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, dict[str, str]]]:
    """A client of a server with keys, and the key of each role."""
    folder = tmp_path_factory.mktemp("keyed")
    file = folder / "keys.json"
    given = {role: add_key(file, role, role) for role in ("read", "write")}
    options = ServeOptions(workers=1, keys=file, host="0.0.0.0", queue=16)
    app = create_app(Engine(copied(folder), options))
    with TestClient(app, base_url="http://any.example") as client:
        yield client, {"none": "", "unknown": PREFIX + "x" * 43, **given}


@pytest.mark.parametrize(("method", "path", "request_", "scope"), ROUTES, ids=lambda v: str(v)[:30])
def test_every_route_with_every_role(
    keyed: tuple[TestClient, dict[str, str]], method: str, path: str, request_: dict, scope: str
) -> None:
    client, keys = keyed
    client.app.state.engine.wrong_keys = WrongKeys()  # else the unknown key would have to wait
    allowed_roles = {"": set(keys), "read": {"read", "write"}, "write": {"write"}}[scope]
    for role, key in keys.items():
        headers = {"authorization": f"Bearer {key}"} if key else {}
        status = client.request(method, path, headers=headers, **request_).status_code
        if role in allowed_roles:
            assert status not in (401, 403), (role, status)
        else:
            refused = 403 if role == "read" else 401
            if path == "/v1/images:annotate":  # as Google's APIs do
                refused = 400 if key else 403
            assert status == refused, (role, status)


def test_the_table_of_routes_is_complete(keyed: tuple[TestClient, dict[str, str]]) -> None:
    client, _ = keyed
    paths = client.get("/openapi.json").json()["paths"]
    published = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    names = {"none": "{name}", "place 9": "{name}"}

    def template(path: str) -> str:
        parts = path.split("/")
        if "photos" in parts[2:4] and parts[-2:] != ["none", "photos"]:
            return "/".join(["{photo_id}" if part == "none" else part for part in parts])
        return "/".join([names.get(part, part) for part in parts])

    tabled = {(method, template(path)) for method, path, _, _ in ROUTES}
    pages = {("GET", p) for p in ("/", "/static/main.js", "/openapi.json")}
    assert tabled - pages == published


def test_google_clients_may_send_the_key_in_the_query_or_their_header(
    keyed: tuple[TestClient, dict[str, str]],
) -> None:
    client, keys = keyed
    client.app.state.engine.wrong_keys = WrongKeys()
    path, good = "/v1/images:annotate", keys["read"]
    assert client.post(f"{path}?key={good}", **ANNOTATE).status_code == 200
    assert client.post(path, headers={"x-goog-api-key": good}, **ANNOTATE).status_code == 200
    refused = client.post(f"{path}?key=wrong", **ANNOTATE)
    assert (refused.status_code, refused.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert refused.json()["error"]["details"][0]["reason"] == "API_KEY_INVALID"
    missing = client.post(path, **ANNOTATE)
    assert (missing.status_code, missing.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
    assert (
        client.get(f"/v1/landmarks?key={good}").status_code == 401
    )  # refused elsewhere, because proxies log addresses


def test_a_refused_body_is_not_decoded(keyed: tuple[TestClient, dict[str, str]]) -> None:
    client, _ = keyed
    engine: Engine = client.app.state.engine
    before = engine.pool.waiting
    client.post("/v1/recognize", files=[("photos", jpeg(front(0, 9)))])
    assert (engine.pool.waiting, engine.queue.held) == (before, 0)


def test_keys_are_stored_as_hashes(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = add_key(file, "phone", "read", 60)
    assert key not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    (stored,) = read_keys(file)
    assert (stored.digest, stored.rate, stored.allows("write")) == (digest_of(key), 60, False)
    assert find_key([stored], key) is stored
    assert find_key([stored], key[:-1]) is find_key([stored], "") is find_key([], key) is None
    with pytest.raises(OptionError, match="already"):
        add_key(file, "phone", "read")
    with pytest.raises(OptionError, match="read or write"):
        add_key(file, "desk", "admin")
    with pytest.raises(OptionError, match="letters"):
        add_key(file, "a b", "read")
    remove_key(file, "phone")
    assert list_keys(file) == []
    with pytest.raises(DataError, match="no keys"):
        read_keys(file)
    with pytest.raises(DataError, match="no key 'phone'"):
        remove_key(file, "phone")
    file.write_text('{"keys": [{"name": "a", "digest": "short", "scope": "read"}]}')
    with pytest.raises(DataError, match="not a key file"):
        read_keys(file)


def test_a_public_address_needs_keys(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--keys FILE"):
        ServeOptions(host="0.0.0.0")
    with pytest.raises(OptionError, match="--keys FILE"):
        ServeOptions(host="server.example")
    assert ServeOptions(host="0.0.0.0", insecure=True).keys is None
    assert [h for h in ("127.0.0.1", "127.8.8.8", "::1", "localhost", "[::1]") if not is_loopback(h)
            ] == []  # fmt: skip
    assert not any(is_loopback(h) for h in ("0.0.0.0", "::", "10.0.0.1", "localhost.example"))
    with pytest.raises(OptionError, match="never be accepted"):
        ServeOptions(queue=4, max_photos=8)
    with pytest.raises(OptionError, match="one host"):
        ServeOptions(tiles="https://a.example; script-src *//{z}/{x}/{y}.png")
    with pytest.raises(OptionError, match="port"):
        ServeOptions(port=70_000)


def test_a_loopback_server_refuses_foreign_host_names() -> None:
    """Requests by DNS rebinding (another name for 127.0.0.1) and from other sites are refused."""
    app = create_app(Engine(made(), ServeOptions(workers=1, names=("maps.home",))))
    with TestClient(app, base_url="http://localhost:8000") as client:

        def status(host: str, **headers: str) -> int:
            photo = {"files": [("photos", b"no photo")]}
            return client.post(
                "/v1/recognize", headers={"host": host, **headers}, **photo
            ).status_code

        assert status("localhost") == status("127.0.0.1:8000") == status("[::1]:80") == 200
        assert status("MAPS.home:8000") == 200
        assert status("evil.example") == status("localhost.evil.example") == status("") == 421
        own = {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}
        assert status("localhost:8000", **own) == 200
        assert status("localhost:8000", origin="http://evil.example") == 403
        assert status("localhost:8000", origin="null") == 403
        assert status("localhost:8000", **{"sec-fetch-site": "cross-site"}) == 403
    assert [host_name(h) for h in ("[::1]:80", "a.B:1", "")] == ["::1", "a.b", ""]


def test_rate_limits_refill_evenly() -> None:
    now = [0.0]
    rates = RateLimits(lambda: now[0])
    for _ in range(60):
        rates.take("a", 1, 60)
    with pytest.raises(ApiError) as refused:
        rates.take("a", 3, 60)
    assert (refused.value.status, refused.value.retry) == (429, 3)
    rates.take("b", 60, 60)  # callers are limited separately
    now[0] = 2.0
    rates.take("a", 2, 60)
    with pytest.raises(ApiError):
        rates.take("a", 1, 60)
    now[0] = 1e6
    rates.take("a", 200, 60)  # more photos than the bucket holds: allowed once, when it is full
    with pytest.raises(ApiError):
        rates.take("a", 1, 60)
    now[0] += 141
    rates.take("a", 1, 60)
    for _ in range(1000):
        rates.take("free", 1, 0)


def test_too_many_photos_a_minute_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    slow, quick = add_key(file, "slow", "read", 2), add_key(file, "quick", "read")
    app = create_app(Engine(made(), ServeOptions(workers=1, keys=file)))
    with TestClient(app) as client:

        def send(key: str) -> tuple[int, str | None]:
            photo = {"files": [("photos", b"no photo")]}
            reply = client.post(
                "/v1/recognize", headers={"authorization": f"Bearer {key}"}, **photo
            )
            return reply.status_code, reply.headers.get("retry-after")

        assert [send(slow)[0] for _ in range(3)] == [200, 200, 429]
        assert 25 <= int(send(slow)[1] or 0) <= 31
        assert [send(quick)[0] for _ in range(5)] == [200] * 5


def test_logs_contain_nothing_of_a_photo(
    keyed: tuple[TestClient, dict[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    """1,000 requests with a canary in names, EXIF, addresses and headers."""
    client, keys = keyed
    canary = "CANARY7f3a"
    data = with_gps(front(0, 9), canary)
    headers = {"authorization": f"Bearer {keys['write']}"}
    with caplog.at_level(logging.INFO, logger="whichlandmark"):
        for _ in range(10):
            client.post(
                "/v1/recognize", headers=headers, files=[("photos", (f"{canary}.jpg", data))]
            )
            client.post("/v1/explain", headers=headers, files={"photo": (canary, data[:700])})
        for i in range(980):
            client.get(f"/v1/photos/{canary}{i}/thumbnail?q={canary}", headers={
                **headers, "user-agent": canary})  # fmt: skip
    lines = [JsonLines().format(record) for record in caplog.records]
    assert len(lines) >= 1000
    assert all(json.loads(line)["event"] for line in lines)
    text = "\n".join(lines)
    assert canary not in text
    assert not [secret for secret in keys.values() if secret and secret in text]
    assert '"key": "write"' in text


def test_an_exception_is_logged_without_its_message() -> None:
    try:
        raise RuntimeError("CANARY of a photo")
    except RuntimeError:
        import sys

        record = logging.LogRecord("a", 40, "", 0, "the server failed", None, sys.exc_info())
    line = json.loads(JsonLines().format(record))
    assert line["exception"] == "RuntimeError"
    assert "CANARY" not in json.dumps(line)
    assert "test_an_exception_is_logged_without_its_message" in line["where"][-1]
