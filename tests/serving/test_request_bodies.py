"""Malformed and oversized bodies are refused early, with a short typed error, on every route."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from tests.support.served_world import copied, front, jpeg
from whichlandmark.serving import uploads
from whichlandmark.serving.api_errors import MAX_MESSAGE_CHARS, ApiError, shortened
from whichlandmark.serving.engine import Engine
from whichlandmark.serving.options import ServeOptions
from whichlandmark.serving.server import create_app

JSON = {"content-type": "application/json"}
ASK, FEEDBACK, VISION = "/v1/recognize", "/v1/feedback", "/v1/images:annotate"
BLANK = ["", "%20", "%20%09", "%C2%A0", "%E2%80%83"]  # percent-encoded


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = copied(tmp_path_factory.mktemp("bodies"))
    with TestClient(create_app(Engine(folder, ServeOptions(workers=1))),
                    base_url="http://localhost") as opened:  # fmt: skip
        yield opened


def counts(client: TestClient) -> tuple[int, int, int]:
    listed = client.get("/v1/landmarks").json()
    return listed["photos"], listed["distractors"], listed["generation"]


@pytest.mark.parametrize("blank", BLANK)
def test_an_empty_name_is_refused_by_every_route(client: TestClient, blank: str) -> None:
    before = counts(client)
    photo = [("photos", ("a.jpg", jpeg(front(0, 9))))]
    requests = [
        ("DELETE", f"/v1/landmarks/{blank}", {}),
        ("PATCH", f"/v1/landmarks/{blank}", {"json": {"landmark": "place 9"}}),
        ("DELETE", f"/v1/photos/{blank}", {}),
        ("PATCH", f"/v1/photos/{blank}", {"json": {"landmark": "place 9"}}),
        ("POST", f"/v1/landmarks/{blank}/photos", {"files": photo}),
        ("GET", f"/v1/landmarks/{blank}/photos", {}),
        ("GET", f"/v1/photos/{blank}/thumbnail", {}),
    ]
    for method, path, request in requests:
        reply = client.request(method, path, **request)
        assert reply.status_code in (404, 422), (method, path, reply.text)
        error = reply.json()["error"]
        assert error["code"] in ("unknown_landmark", "unknown_photo", "not_found", "invalid")
        if error["code"] == "invalid":
            assert "empty or blank; expected a name" in error["message"]
    assert counts(client) == before


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\u00a0", "\u2003"])
def test_an_empty_name_in_a_json_body_is_refused(client: TestClient, blank: str) -> None:
    before = counts(client)
    entry = {"request_id": "r", "right": False}
    for method, path, body in (
        ("PATCH", "/v1/landmarks/place 0", {"landmark": blank}),
        ("POST", FEEDBACK, {**entry, "answer": blank}),
        ("POST", FEEDBACK, {**entry, "correct": blank}),
    ):
        assert client.request(method, path, json=body).status_code == 422, (path, body)
    if blank:  # "" is allowed: it makes the photo a distractor
        photo = client.get("/v1/landmarks/place 0/photos").json()["photos"][0]["id"]
        path = f"/v1/photos/{photo.replace('/', '%2F')}"
        assert client.patch(path, json={"landmark": blank}).status_code == 422
    assert counts(client) == before


@pytest.mark.parametrize("blank", ["", " ", "\t", "\u00a0", "\x1f"])
def test_the_editor_refuses_empty_names(client: TestClient, blank: str) -> None:
    editor, before = client.app.state.engine.editor, counts(client)
    for change in (
        lambda: editor.remove([], blank),
        lambda: editor.remove([blank]),
        lambda: editor.change_landmark(blank, "place 9", {}, merge=False, language=""),
        lambda: editor.change_landmark("place 0", blank, {}, merge=False, language=""),
        lambda: editor.change_photo(blank, "place 9", {}),
        lambda: editor.move([blank], "place 9"),
        lambda: editor.add(blank, [jpeg(front(0, 9))]),
    ):
        with pytest.raises(ApiError) as refused:
            change()
        assert refused.value.status == 422
    assert counts(client) == before


def many_keys(count: int) -> str:
    return ",".join(f'"k{number}":1' for number in range(count))


LARGE = {  # case → path, body, status, code; none of the bodies may be parsed
    "numbers": (ASK, '{"photos":[' + "1," * 999_999 + "1]}", 422, "invalid"),
    "objects": (ASK, '{"photos":[' + "{}," * 99_999 + "{}]}", 422, "invalid"),
    "keys": (ASK, f'{{"photos":[],{many_keys(100_000)}}}', 422, "invalid"),
    "one key": (ASK, "{" + '"photos":1,' * 99_999 + '"photos":1}', 422, "invalid"),
    "levels": (ASK, "[" * 1_000_000, 422, "invalid"),
    "blanks": (ASK, " " * 1_000_000 + "{}", 422, "invalid"),
    "escapes": (ASK, '{"photos":[{"data":"' + "\\u0041" * 100_000 + '"}]}', 422, "invalid"),
    "not ASCII": (ASK, '{"photos":[{"data":"' + "é" * 100_000 + '"}]}', 422, "invalid"),
    "feedback keys": (FEEDBACK, f"{{{many_keys(100_000)}}}", 413, "body_too_large"),
    "feedback note": (FEEDBACK, f'{{"note":"{"a" * 100_000}"}}', 413, "body_too_large"),
    "feedback list": (FEEDBACK, "[" + "1," * 30_000 + "1]", 422, "invalid"),
    "vision numbers": (VISION, '{"requests":[' + "1," * 999_999 + "1]}", 400, ""),
    "vision keys": (VISION, f'{{"requests":[{{{many_keys(100_000)}}}]}}', 400, ""),
    "vision levels": (VISION, "[" * 1_000_000, 400, ""),
}


@pytest.mark.parametrize("name", LARGE)
def test_json_of_too_many_values_is_refused_before_it_is_parsed(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(uploads, "from_json", lambda *_, **__: pytest.fail("the body was parsed"))
    path, text, status, code = LARGE[name]
    reply = client.post(path, content=text.encode(), headers=JSON)
    assert reply.status_code == status, reply.text[:300]
    assert len(reply.content) < 400
    error = reply.json()["error"]
    assert error["code"] == (code or 400)


@pytest.mark.parametrize("path", ["/v1/landmarks/place 0", "/v1/photos/a"])
def test_a_json_body_without_photos_is_small(client: TestClient, path: str) -> None:
    body = json.dumps({"landmark": "x" * uploads.JSON_BYTES}).encode()
    sized = client.patch(path, content=body, headers=JSON)
    pieces = client.patch(path, content=iter([body[:50_000], body[50_000:]]), headers=JSON)
    for reply in (sized, pieces):
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "body_too_large")
        assert "64 kB" in reply.json()["error"]["message"]


@pytest.mark.parametrize(("path", "body", "message"), [
    (ASK, {"photos": [], "a" * 5000: 1}, "unknown key; expected photos, matches"),
    (ASK, {"photos": [{"data": "", "url": "x"}]}, "photos.0.url: unknown key; expected name, data"),
    (ASK, {"photos": [{"data": ""}, 1]}, "photos.1: expected a JSON object of name, data"),
    (ASK, [1], "the body: expected a JSON object of photos, matches"),
    (ASK, {"photos": "x"}, "photos: Input should be a valid list"),
    (ASK, {"photos": [{"data": "", "name": 3}]}, "photos.0.name: Input should be a valid string"),
    (ASK, {"photos": [{"data": ""}], "matches": 10**400}, "matches: Input"),
    (FEEDBACK, {f"k{number}": number for number in range(4000)}, "k0: unknown key; expected"),
    (FEEDBACK, [], "the body: expected a JSON object of request_id"),
])  # fmt: skip
def test_the_first_fault_of_a_json_body_is_reported(
    client: TestClient, path: str, body: object, message: str
) -> None:
    reply = client.post(path, json=body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid")
    assert message in reply.json()["error"]["message"]
    assert len(reply.content) < 500


def test_many_photos_in_json_are_counted_first(client: TestClient) -> None:
    reply = client.post(ASK, json={"photos": [1] * 1000})
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_many_photos")


def test_other_kinds_of_body_are_refused(client: TestClient) -> None:
    body = b'{"request_id": "r", "right": true}'
    for headers in ({}, {"content-type": "text/plain"}):
        reply = client.post(FEEDBACK, content=body, headers=headers)
        assert reply.status_code == 415
        assert reply.json()["error"]["code"] == "unsupported_media_type"
    typed = {"content-type": "application/json; charset=utf-8"}
    assert client.post(FEEDBACK, content=body, headers=typed).json()["queued"] is True


def test_messages_are_short_whatever_they_quote(client: TestClient) -> None:
    assert shortened("a" * MAX_MESSAGE_CHARS) == "a" * MAX_MESSAGE_CHARS
    assert len(shortened("a" * 10_000)) == MAX_MESSAGE_CHARS
    kinds = [{"type": "FACES" * 8}] * 2000
    reply = client.post(VISION, json={"requests": [{"features": kinds}]})
    assert len(reply.content) < 800  # Google's form says it twice: of the request, of the field
    assert len(client.get(f"/v1/landmarks/{'x' * 5000}/photos").content) < 700


def test_base64_in_lines_and_with_escaped_slashes_is_still_read(client: TestClient) -> None:
    """Other encoders write such escapes: they are counted, but stay below the limit."""
    data = base64.encodebytes(jpeg(front(1, 9))).decode()
    body = json.dumps({"photos": [{"name": "1.jpg", "data": data}] * 16}).replace("/", "\\/")
    reply = client.post(ASK, content=body.encode(), headers=JSON)
    assert [result["landmark"] for result in reply.json()["results"]] == ["place 1"] * 16


def test_base64_is_decoded_outside_the_event_loop(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/livez answers while base64 decoding is running, which ends only afterwards."""
    original, threads = uploads.decode_base64, set()
    answered = threading.Event()

    def slow(text: str) -> object:
        threads.add(threading.current_thread().name)
        assert answered.wait(20)
        return original(text)

    monkeypatch.setattr(uploads, "decode_base64", slow)
    body = {"photos": [{"data": base64.b64encode(jpeg(front(1, 9))).decode()}]}
    sender = threading.Thread(target=lambda: client.post(ASK, json=body))
    sender.start()
    while not threads:
        time.sleep(0.005)
    began = time.monotonic()
    assert client.get("/livez").status_code == 200
    assert sender.is_alive()
    assert time.monotonic() - began < 20
    answered.set()
    sender.join()


def test_forms_are_bounded_in_fields_and_headers(client: TestClient) -> None:
    part = '--b\r\nContent-Disposition: form-data; name="x"\r\n'
    for text in ((part + "\r\n1\r\n") * 10_000 + "--b--\r\n", part + "a:b\r\n" * 100_000,
                 part + "a:" + "b" * 1_000_000):  # fmt: skip
        headers = {"content-type": "multipart/form-data; boundary=b"}
        reply = client.post(ASK, content=text.encode(), headers=headers)
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid")
        assert len(reply.content) < 400
