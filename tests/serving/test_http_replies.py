"""What all replies share: CORS, rate-limit headers, HEAD, OPTIONS, ETag and 304, gzip."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from tests.support.served_world import copied, front, jpeg, made
from whichlandmark.core.errors import OptionError
from whichlandmark.serving.engine import Engine
from whichlandmark.serving.http_replies import (
    EXPOSED_HEADERS,
    MIN_GZIP_BYTES,
    accepts_gzip,
    is_current,
    is_packable,
)
from whichlandmark.serving.keys import add_key
from whichlandmark.serving.limits import Allowance, RateLimits
from whichlandmark.serving.options import ServeOptions
from whichlandmark.serving.server import create_app

pytestmark = pytest.mark.server

APP, OTHER = "https://app.example", "https://other.example"
PHOTO = {"photos": ("a.jpg", jpeg(front(1, 9)))}
PLAIN = {"accept-encoding": "identity"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Without keys, on loopback, with one other site and a rate limit."""
    folder = copied(tmp_path_factory.mktemp("replies"))
    options = ServeOptions(workers=1, cors=(APP, "http://localhost:3000"), rate=30, line=0)
    with TestClient(create_app(Engine(folder, options)), base_url="http://localhost") as opened:
        yield opened


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, str]]:
    """With keys, for every site."""
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    key = add_key(file, "app", "read")
    options = ServeOptions(workers=1, keys=file, cors=("*",))
    with TestClient(create_app(Engine(made(), options)), base_url="http://any.example") as opened:
        yield opened, key


def preflight(client: TestClient, origin: str, method: str = "POST", **headers: str) -> dict:
    asked = {"origin": origin, "access-control-request-method": method,
             "access-control-request-headers": "authorization,content-type, x-new, b d",
             **headers}  # fmt: skip
    reply = client.options("/v1/recognize", headers=asked)
    return {"status": reply.status_code, **reply.headers}


def test_a_preflight_of_an_allowed_site(client: TestClient) -> None:
    for host in ("localhost", "wrong.example"):  # a refusal of the host shall be readable, too
        found = preflight(client, APP, host=host)
        assert found["status"] == 204
        assert found["access-control-allow-origin"] == APP
        assert "PATCH" in found["access-control-allow-methods"]
        assert found["access-control-allow-headers"] == "authorization, content-type, x-new"
        assert "Origin" in found["vary"]
        assert "access-control-allow-credentials" not in found


def test_a_preflight_of_another_site_is_refused_with_advice(client: TestClient) -> None:
    for origin in (OTHER, "null", f"{APP}.evil.example", "http://app.example", f"{APP}:8443"):
        found = preflight(client, origin)
        assert found["status"] == 403
        assert "access-control-allow-origin" not in found
    refused = client.options("/v1/recognize", headers={
        "origin": OTHER, "access-control-request-method": "POST"})  # fmt: skip
    error = refused.json()["error"]
    assert (error["code"], OTHER in error["message"]) == ("cross_site", True)
    assert f"--cors {OTHER}" in error["hint"]


def test_an_allowed_site_may_send_and_read(client: TestClient) -> None:
    site = {"origin": APP, "sec-fetch-site": "cross-site"}
    reply = client.post("/v1/recognize", files=PHOTO, headers=site)
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == APP
    exposed = reply.headers["access-control-expose-headers"].split(", ")
    assert exposed == list(EXPOSED_HEADERS)
    assert {"X-Request-Id", "Retry-After", "ETag", "RateLimit-Remaining"} <= set(exposed)
    other = client.post("/v1/recognize", files=PHOTO, headers={**site, "origin": OTHER})
    assert (other.status_code, other.json()["error"]["code"]) == (403, "cross_site")
    assert "access-control-allow-origin" not in other.headers
    assert "Origin" in other.headers["vary"]
    own = client.get("/v1/config")
    assert "access-control-allow-origin" not in own.headers
    assert "Origin" in own.headers["vary"]


def test_refusals_can_be_read_by_an_allowed_site(
    client: TestClient, keyed: tuple[TestClient, str]
) -> None:
    with_keys, key = keyed
    queue = client.app.state.engine.queue
    queue.held += queue.capacity
    try:
        busy = client.post("/v1/recognize", files=PHOTO, headers={"origin": APP})
    finally:
        queue.held -= queue.capacity
    wrong_host = client.get("/v1/landmarks", headers={"origin": APP, "host": "wrong.example"})
    no_page = client.get("/v1/nothing", headers={"origin": APP})
    large = client.post("/v1/recognize", content=b"x", headers={
        "origin": APP, "content-length": "99999999999"})  # fmt: skip
    replies = {503: busy, 421: wrong_host, 404: no_page, 413: large}
    for status, reply in replies.items():
        assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (status, APP)
    site = {"origin": OTHER, "sec-fetch-site": "cross-site"}
    no_key = with_keys.post("/v1/recognize", files=PHOTO, headers=site)
    assert (no_key.status_code, no_key.headers["access-control-allow-origin"]) == (401, "*")
    right = {**site, "authorization": f"Bearer {key}"}
    answered = with_keys.post("/v1/recognize", files=PHOTO, headers=right)
    assert (answered.status_code, answered.headers["access-control-allow-origin"]) == (200, "*")
    assert preflight(with_keys, OTHER)["status"] == 204


@pytest.mark.parametrize("origin", [
    "https://app.example/", "HTTPS://app.example", "https://App.example", "app.example", "null", "",
    "https://app.example:443", "https://*.example", "ftp://app.example", "https://u@app.example",
    "https://app.example:99999", "https://bücher.example", "https://app.example?q", "*",
])  # fmt: skip
def test_what_is_not_an_origin_is_refused_with_one_that_is(origin: str) -> None:
    with pytest.raises(OptionError, match=r"https://app\.example"):
        ServeOptions(cors=(origin,))


def test_origins(tmp_path: Path) -> None:
    good = (APP, "http://localhost:3000", "https://[::1]:8443", "http://10.0.0.7")
    assert ServeOptions(cors=good).cors == good
    assert ServeOptions(cors=("*",), keys=tmp_path / "keys.json").cors == ("*",)
    with pytest.raises(OptionError, match="without keys"):
        ServeOptions(cors=("*",), insecure=True)


def test_every_limited_reply_says_what_is_left(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = client.app.state.engine
    monkeypatch.setattr(engine, "rate_limits", RateLimits(clock=lambda: 0.0))
    replies = [client.post("/v1/recognize", files=[("photos", PHOTO["photos"])] * 4)]
    replies += [client.post(f"/v1/{path}", files=PHOTO) for path in ("embed", "similar")]
    left = [int(reply.headers["ratelimit-remaining"]) for reply in replies]
    assert left == [26, 25, 24]
    for reply in replies:
        assert reply.headers["ratelimit-limit"] == "30"
        assert int(reply.headers["ratelimit-reset"]) == 2 * (30 - int(
            reply.headers["ratelimit-remaining"]))  # fmt: skip
        assert reply.headers["ratelimit-policy"] == '"photos";q=30;w=60'
        remaining, reset = (reply.headers[f"ratelimit-{n}"] for n in ("remaining", "reset"))
        assert reply.headers["ratelimit"] == f'"photos";r={remaining};t={reset}'
    while (reply := client.post("/v1/embed", files=[("photos", ("a", b"x"))] * 16)).is_success:
        pass
    assert reply.status_code == 429
    assert reply.headers["ratelimit-limit"] == "30"
    assert int(reply.headers["ratelimit-remaining"]) == 8
    assert int(reply.headers["retry-after"]) <= int(reply.headers["ratelimit-reset"])
    assert "ratelimit-limit" not in client.get("/v1/landmarks").headers


def test_an_allowance_is_what_the_next_request_may_take() -> None:
    now = [0.0]
    rates = RateLimits(clock=lambda: now[0])
    assert rates.allowance("a", 60) == Allowance(60, 60, 0)
    rates.take("a", 45, 60)
    assert rates.allowance("a", 60) == Allowance(60, 15, 45)
    now[0] = 10.5
    assert rates.allowance("a", 60) == Allowance(60, 25, 35)
    rates.take("a", 25, 60)
    assert rates.allowance("a", 60) == Allowance(60, 0, 60)
    now[0] = 100.0
    rates.take("a", 90, 60)  # more than fit: the next wait is longer
    assert rates.allowance("a", 60) == Allowance(60, 0, 90)


GETS = ("/", "/livez", "/readyz", "/metrics", "/v1/config", "/openapi.json", "/v1/landmarks",
        "/v1/landmarks/place%201/photos", "/static/page.js", "/static/page.css")  # fmt: skip


@pytest.mark.parametrize("path", GETS)
def test_head_wherever_get(client: TestClient, path: str) -> None:
    got, head = (client.request(m, path, headers=PLAIN) for m in ("GET", "HEAD"))
    assert (head.status_code, head.content) == (200, b"")
    changing = ("x-request-id", "date", "content-length" if path == "/metrics" else "")
    both = [{k: v for k, v in r.headers.items() if k not in changing} for r in (got, head)]
    assert both[0] == both[1]
    if path != "/metrics":
        assert int(head.headers["content-length"]) == len(got.content)
    refused = client.head(path, headers={"host": "wrong.example"})
    assert refused.status_code == 421


def test_head_of_an_image_and_of_what_is_not_there(client: TestClient) -> None:
    photo = client.get("/v1/landmarks/place%201/photos").json()["photos"][0]
    image = client.head(photo["thumbnail"])
    assert (image.status_code, image.headers["content-type"]) == (200, "image/jpeg")
    assert int(image.headers["content-length"]) == len(client.get(photo["thumbnail"]).content)
    assert client.head("/v1/landmarks/nowhere/photos").status_code == 404
    assert client.head("/v1/recognize").status_code == 405


@pytest.mark.parametrize(("method", "path", "allowed"), [
    ("GET", "/v1/recognize", "OPTIONS, POST"),
    ("HEAD", "/v1/recognize", "OPTIONS, POST"),
    ("PUT", "/v1/config", "GET, HEAD, OPTIONS"),
    ("POST", "/static/page.js", "GET, HEAD, OPTIONS"),
    ("POST", "/", "GET, HEAD, OPTIONS"),
    ("PUT", "/v1/landmarks/a", None),
    ("PUT", "/v1/photos/a", None),
])  # fmt: skip
def test_other_methods_are_told_the_right_ones(
    client: TestClient, method: str, path: str, allowed: str | None
) -> None:
    reply = client.request(method, path)
    assert reply.status_code == 405
    if method != "HEAD":
        assert reply.json()["error"]["code"] == "method_not_allowed"
    if allowed:
        assert reply.headers["allow"] == allowed
    else:  # several routes with this path
        assert {"DELETE", "PATCH", "OPTIONS"} <= set(reply.headers["allow"].split(", "))
    asked = client.options(path)
    assert (asked.status_code, asked.content) == (204, b"")
    assert asked.headers["allow"] == reply.headers["allow"]
    assert client.options("/v1/nothing").status_code == 404


KEPT = ("/", "/v1/config", "/openapi.json", "/v1/landmarks", "/v1/landmarks/place%201/photos",
        "/static/page.js", "/static/text.js")  # fmt: skip


@pytest.mark.parametrize("path", KEPT)
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_what_the_client_has_is_not_sent_again(
    client: TestClient, path: str, encoding: str
) -> None:
    first = client.get(path, headers={"accept-encoding": encoding})
    tag = first.headers["etag"]
    assert tag.startswith('W/"')  # the same for both encodings
    assert "no-store" not in first.headers["cache-control"]
    for known in (tag, tag[2:], f'"other", {tag}', "*"):
        again = client.get(path, headers={"accept-encoding": encoding, "if-none-match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["cache-control"] == first.headers["cache-control"]
        assert again.headers.get("vary") == first.headers.get("vary")
        assert not {"content-length", "content-type", "content-encoding"} & set(again.headers)
        assert "x-request-id" in again.headers
    for unknown in ('"other"', "", "other"):
        fresh = client.get(path, headers={"accept-encoding": encoding, "if-none-match": unknown})
        assert (fresh.status_code, fresh.content) == (200, first.content)


def test_health_and_answers_are_never_kept(client: TestClient) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        reply = client.get(path, headers={"if-none-match": "*"})
        assert (reply.status_code, reply.headers["cache-control"]) == (200, "no-store")
        assert "etag" not in reply.headers
    missing = client.get("/v1/landmarks/nowhere/photos", headers={"if-none-match": "*"})
    assert (missing.status_code, missing.headers["cache-control"]) == (404, "no-store")


def test_a_changed_gallery_has_another_tag(tmp_path: Path) -> None:
    options = ServeOptions(workers=1)
    with TestClient(create_app(Engine(copied(tmp_path), options)),
                    base_url="http://localhost") as opened:  # fmt: skip
        before = {path: opened.get(path).headers["etag"] for path in KEPT[1:5]}
        assert opened.delete("/v1/landmarks/place%203").status_code == 200
        for path in ("/v1/landmarks", "/v1/config"):
            tag = before[path]
            after = opened.get(path, headers={"if-none-match": tag})
            assert after.status_code == 200
            assert after.headers["etag"] != tag
        same = opened.get("/openapi.json", headers={"if-none-match": before["/openapi.json"]})
        assert same.status_code == 304


def test_text_is_compressed_and_images_are_not(client: TestClient) -> None:
    for path in ("/openapi.json", "/static/page.js", "/static/page.css", "/static/text.js",
                 "/"):  # fmt: skip
        plain = client.get(path, headers=PLAIN)
        with client.stream("GET", path, headers={"accept-encoding": "br, gzip"}) as packed:
            sent = b"".join(packed.iter_raw())
        assert "Accept-Encoding" in plain.headers["vary"]
        assert packed.headers["content-encoding"] == "gzip"
        assert int(packed.headers["content-length"]) == len(sent) < len(plain.content)
        assert gzip.decompress(sent) == plain.content
        assert packed.headers["etag"] == plain.headers["etag"]
    small = client.get("/livez")
    assert len(small.content) < MIN_GZIP_BYTES
    assert "content-encoding" not in small.headers
    photo = client.get("/v1/landmarks/place%201/photos").json()["photos"][0]
    image = client.get(photo["thumbnail"])
    assert "content-encoding" not in image.headers
    assert "accept-encoding" not in image.headers.get("vary", "").lower()
    part = client.get("/static/text.js", headers={"range": "bytes=0-99"})
    assert part.status_code in (200, 206)
    assert part.status_code == 200 or "content-encoding" not in part.headers


def test_what_is_compressed_already_is_left_as_it_is() -> None:
    text = {"content-type": "application/json; charset=utf-8"}
    body = b"x" * MIN_GZIP_BYTES
    assert is_packable(Headers(text), body)
    assert not is_packable(Headers(text), body[1:])
    for more in ({"content-encoding": "br"}, {"content-range": "bytes 0-9/10"},
                 {"content-type": "image/svg+xml"}, {"content-type": "image/jpeg"}):  # fmt: skip
        assert not is_packable(Headers({**text, **more}), body)


@pytest.mark.parametrize(("header", "accepted"), [
    ("gzip", True), ("GZIP;q=0.5", True), ("br;q=1.0, gzip;q=0.8, *;q=0.1", True), ("*", True),
    ("", False), ("identity", False), ("gzip;q=0", False), ("gzip; q=0.000", False),
    ("*;q=0", False), ("gzip;q=0, *", False), ("br", False), ("gzip;q=nonsense", False),
])  # fmt: skip
def test_accept_encoding(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted


def test_if_none_match_compares_weakly() -> None:
    for value, current in (('W/"a"', True), ('"a"', True), ('"b", W/"a"', True), ('"b"', False),
                           ("*", True), ("", False), ("a", False)):  # fmt: skip
        assert is_current(Headers({"if-none-match": value}), 'W/"a"') is current


def test_replies_are_plain_json(client: TestClient) -> None:
    """No NaN, no Infinity, and letters as they are."""

    def unknown(name: str) -> None:
        raise AssertionError(name)

    for path in ("/v1/landmarks", "/v1/config", "/openapi.json"):
        text = client.get(path).content.decode()
        json.loads(text, parse_constant=unknown)
        assert "\\u" not in text
    assert "Première Place" in client.get("/v1/landmarks").text
