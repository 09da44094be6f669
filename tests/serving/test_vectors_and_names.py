"""A photo as the whole body, embeddings, similar photos, and names in the reader's language."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.support.served_world import front, jpeg, made
from whichlandmark.recognition.folder.load import load
from whichlandmark.serving.answer_schemas import EmbedReply, RecognizeReply, SimilarReply
from whichlandmark.serving.engine import Engine
from whichlandmark.serving.options import ServeOptions
from whichlandmark.serving.schemas import model_of
from whichlandmark.serving.server import create_app

pytestmark = pytest.mark.server

PHOTO = jpeg(front(1, 9))
FORM = {"photos": ("q.jpg", PHOTO)}
JSON_BODY = {"photos": [{"name": "q.jpg", "data": base64.b64encode(PHOTO).decode()}]}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    options = ServeOptions(workers=1, max_photos=5, max_bytes=300_000, max_body=1_200_000,
                           line=0)  # fmt: skip
    with TestClient(create_app(Engine(made(), options)), base_url="http://localhost") as opened:
        yield opened


def raw(client: TestClient, path: str, data: bytes = PHOTO, **headers: str) -> dict:
    sent = {"content-type": "image/jpeg", **{k.replace("_", "-"): v for k, v in headers.items()}}
    reply = client.post(path, content=data, headers=sent)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_a_photo_can_be_the_whole_body(client: TestClient) -> None:
    form = client.post("/v1/recognize", files=FORM).json()["results"][0]
    for kind in ("image/jpeg", "image/png", "IMAGE/*", "application/octet-stream; a=b"):
        (answer,) = raw(client, "/v1/recognize?name=q.jpg", content_type=kind)["results"]
        assert {**answer, "score": 0, "confidence": 0} == {**form, "score": 0, "confidence": 0}
    limited = raw(client, "/v1/recognize?matches=2")["results"][0]
    assert (len(limited["matches"]), limited["photo"]) == (2, "")
    explained = raw(client, "/v1/explain?name=a%20b.jpg")["answer"]
    assert (explained["photo"], explained["landmark"]) == ("a b.jpg", "place 1")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="a b.jpg"', "a b.jpg"),
        ("attachment; filename*=UTF-8''caf%C3%A9.jpg", "café.jpg"),
        ("attachment; filename=\"x.jpg\"; filename*=UTF-8''%E2%82%AC.jpg", "€.jpg"),
        ("attachment; filename*=no-such-encoding''a.jpg", "a.jpg"),
        ("attachment", ""),
        ("; ;=", ""),
    ],
)
def test_the_name_of_a_whole_body(client: TestClient, header: str, name: str) -> None:
    (answer,) = raw(client, "/v1/embed", content_disposition=header)["results"]
    assert answer["photo"] == name
    (named,) = raw(client, "/v1/embed?name=z.jpg", content_disposition=header)["results"]
    assert named["photo"] == "z.jpg"


def test_a_whole_body_is_refused_like_other_photos(client: TestClient) -> None:
    (large,) = raw(client, "/v1/recognize", PHOTO + b"\0" * 300_000)["results"]
    assert large["error"]["code"] == "too_large"
    (broken,) = raw(client, "/v1/recognize", PHOTO[:900])["results"]
    assert broken["error"]["code"] == "unreadable"
    for path in ("/v1/recognize", "/v1/explain", "/v1/embed", "/v1/similar"):
        empty = client.post(path, headers={"content-type": "image/jpeg"})
        assert (empty.status_code, empty.json()["error"]["code"]) == (422, "invalid")
        assert empty.json()["error"]["message"] == "No photo: the body is empty."
        other = client.post(path, content=PHOTO, headers={"content-type": "video/mp4"})
        assert other.status_code == 415
        assert "image/*" in other.json()["error"]["message"]


def test_matches_in_the_query_and_in_the_body(client: TestClient) -> None:
    for path, body, expected in (
        ("?matches=3", {}, 3), ("?matches=3", {"matches": "1"}, 1), ("", {"matches": "0"}, 0),
    ):  # fmt: skip
        reply = client.post(f"/v1/recognize{path}", files=FORM, data=body)
        assert len(reply.json()["results"][0]["matches"]) == expected
    sent = client.post("/v1/recognize?matches=3", json={**JSON_BODY, "matches": 1}).json()
    assert len(sent["results"][0]["matches"]) == 1
    assert client.post("/v1/recognize?matches=11", files=FORM).status_code == 422


def test_names_in_the_language_that_is_asked_for(client: TestClient) -> None:
    for language, name in (("fr-CA", "Première Place"), ("de", "First Place"), ("", "First Place")):
        reply = client.post(f"/v1/recognize?lang={language}", files=FORM)
        model_of(RecognizeReply).model_validate_json(reply.text)
        (answer,) = reply.json()["results"]
        assert answer["words"].startswith(f"{name}, ")
        assert answer["candidates"][0]["title"] == name
        assert answer["landmark"] == "place 1"  # the label is the same in every language
    explained = client.post("/v1/explain?lang=fr", files={"photo": ("q.jpg", PHOTO)}).json()
    assert explained["answer"]["words"].startswith("Première Place, ")
    for wrong in ("fr fr", "français", "-", "fr-", "x" * 36):
        reply = client.post("/v1/recognize", params={"lang": wrong}, files=FORM)
        assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid")
    assert "fr or pt-BR" in client.post("/v1/recognize?lang=%20", files=FORM).text


def test_embeddings_are_those_of_the_recognizer(client: TestClient) -> None:
    recognizer = load(made())
    expected = recognizer.embed([recognizer.read(PHOTO)]).vectors[0]
    sent = [client.post("/v1/embed", files=FORM), client.post("/v1/embed", json=JSON_BODY)]
    for reply in sent:
        model_of(EmbedReply).model_validate_json(reply.text)
        body = reply.json()
        assert body["model"]["embedder"] == recognizer.embedder.id
        assert body["results"][0]["photo"] == "q.jpg"
        assert np.abs(np.array(body["results"][0]["vector"]) - expected).max() < 1e-3
    two = client.post("/v1/embed", files=[("photos", ("a", PHOTO)), ("photos", ("b", b"no"))])
    assert two.json()["results"][1]["error"]["code"] == "unsupported_format"
    assert client.post("/v1/embed", json={**JSON_BODY, "matches": 3}).status_code == 422


def test_similar_photos_are_the_nearest_of_the_gallery(client: TestClient) -> None:
    recognizer = load(made())
    (vector,) = recognizer.embed([recognizer.read(PHOTO)]).vectors
    decider = recognizer.decider
    compared = decider.retriever.projection(vector[None])[0] if decider.retriever.projection else (
        vector
    )  # fmt: skip
    cosines = {
        **dict(zip(recognizer.index.ids, decider.retriever.vectors[:] @ compared, strict=True)),
        **dict(zip(recognizer.index.distractor_ids,
                   decider.retriever.distractor_vectors[:] @ compared, strict=True)),
    }  # fmt: skip
    reply = client.post("/v1/similar?limit=100", files=FORM)
    model_of(SimilarReply).model_validate_json(reply.text)
    (found,) = reply.json()["results"]
    assert found["photo"] == "q.jpg"
    shown = {match["id"]: match["similarity"] for match in found["matches"]}
    assert set(shown) == set(cosines)
    assert all(abs(shown[one] - cosines[one]) < 2e-3 for one in shown)
    assert list(shown.values()) == sorted(shown.values(), reverse=True)
    distractors = [match for match in found["matches"] if match["landmark"] is None]
    assert {match["id"] for match in distractors} == set(recognizer.index.distractor_ids)
    assert found["matches"][0]["landmark"] == "place 1"
    assert found["matches"][0]["author"] == "A. Author"
    few = client.post("/v1/similar?limit=3", files=FORM).json()["results"][0]["matches"]
    assert [match["id"] for match in few] == [match["id"] for match in found["matches"][:3]]
    assert len(client.post("/v1/similar", files=FORM).json()["results"][0]["matches"]) == 20
    assert found["matches"][0]["title"] == "First Place"
    assert {match["title"] for match in distractors} == {""}
    french = client.post("/v1/similar?lang=fr&limit=1", files=FORM).json()["results"][0]["matches"]
    assert french[0]["title"] == "Première Place"
    for limit in ("0", "101", "x"):
        assert client.post(f"/v1/similar?limit={limit}", files=FORM).status_code == 422


def test_embeddings_and_similar_photos_are_counted_and_limited(client: TestClient) -> None:
    counted = client.get("/metrics").text
    assert 'whichlandmark_photos_total{outcome="vector"}' in counted
    assert 'whichlandmark_photos_total{outcome="matches"}' in counted
    queue = client.app.state.engine.queue
    queue.held += queue.capacity
    try:
        for path in ("/v1/embed", "/v1/similar"):
            reply = client.post(path, files=FORM)
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "busy")
    finally:
        queue.held -= queue.capacity


def test_the_configuration_says_what_a_client_needs(client: TestClient) -> None:
    config = client.get("/v1/config").json()
    assert (config["landmarks"], config["uses_location"], config["shrink_side"]) == (4, False, 1600)
    assert config["version"] == client.get("/openapi.json").json()["info"]["version"]


@pytest.mark.parametrize("text", ['{"photos": [{"data": ""}], "matches": NaN}', "[Infinity]"])
def test_numbers_that_json_does_not_have_are_refused(client: TestClient, text: str) -> None:
    reply = client.post("/v1/recognize", content=text, headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid")


def test_text_is_written_as_it_is(client: TestClient) -> None:
    reply = client.post("/v1/recognize", files={"photos": ("café.jpg", PHOTO)})
    assert "café.jpg" in reply.content.decode()
    text = '{"photos": [{"name": "a\\ud800b", "data": ""}]}'  # half of a pair: no character
    lone = client.post("/v1/embed", content=text, headers={"content-type": "application/json"})
    assert (lone.status_code, lone.json()["error"]["code"]) == (422, "invalid")
