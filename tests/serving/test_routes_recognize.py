"""Answers of the server: equal to the command line's, and valid by the published schema."""

from __future__ import annotations

import base64
import inspect
import io
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
from PIL import Image as Pillow
from pydantic import ValidationError
from starlette.testclient import TestClient

from tests.support.served_world import copied, front, jpeg, made, taken_at, with_gps
from whichlandmark.features.embedders.record import licence_of
from whichlandmark.recognition.answer import (
    SCHEMA,
    AnswerObject,
    Candidate,
    DetectionObject,
    GalleryFacts,
    MatchObject,
    answer_object,
)
from whichlandmark.recognition.folder.load import load
from whichlandmark.recognition.folder.settings import read_settings, write_settings
from whichlandmark.recognition.predictions import prediction
from whichlandmark.serving.answer_schemas import ExplainReply, RecognizeReply
from whichlandmark.serving.engine import Engine
from whichlandmark.serving.live_recognizer import LockedEmbedder
from whichlandmark.serving.options import ServeOptions
from whichlandmark.serving.schemas import ConfigReply, ErrorReply, model_of
from whichlandmark.serving.server import create_app

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    options = ServeOptions(workers=1, max_photos=5, max_bytes=300_000, max_body=1_200_000, queue=8,
                           line=0)  # fmt: skip
    app = create_app(Engine(made(), options))
    with TestClient(app, base_url="http://localhost") as opened:
        yield opened


def recognize(client: TestClient, *photos: tuple[str, bytes], **form: str) -> dict:
    reply = client.post("/v1/recognize", files=[("photos", p) for p in photos], data=form)
    assert reply.status_code == 200, reply.text
    model_of(RecognizeReply).model_validate_json(reply.text)
    return reply.json()


def rounded(answer: dict) -> dict:
    return json.loads(json.dumps(answer), parse_float=lambda text: round(float(text), 4))


def refused(client: TestClient, status: int, code: str, **request: object) -> str:
    reply = client.post("/v1/recognize", **request)
    reply_body = model_of(ErrorReply).model_validate_json(reply.text)
    assert (reply.status_code, reply_body.error.code) == (status, code), reply.text
    assert reply_body.request_id == reply.headers["x-request-id"]
    return reply_body.error.message


def test_the_answer_equals_that_of_the_command_line(client: TestClient) -> None:
    """Equal to the recognizer in process, except for rounding in batches."""
    recognizer = load(made())
    facts = GalleryFacts.of(recognizer)
    photos = [(f"{code}.jpg", jpeg(front(code, 9))) for code in (0, 1, 2, 60)]
    reply_body = recognize(client, *photos)
    assert [r["decision"] for r in reply_body["results"]] == ["landmark"] * 3 + ["no_landmark"]
    for (name, data), result in zip(photos, reply_body["results"], strict=True):
        answers = recognizer.answer(recognizer.embed([recognizer.read(data)]))
        answer = prediction(answers, 0, matches=10)
        assert rounded(result) == rounded(answer_object(name, answer, facts))
    assert reply_body["model"] == {"embedder": recognizer.embedder.id,
                             "generation": recognizer.gallery.generation}  # fmt: skip
    first = reply_body["results"][1]
    assert first["words"] in ("First Place, almost certainly", "First Place, very likely")
    best = first["candidates"][0]
    assert (best["title"], best["wikidata"], best["latitude"]) == ("First Place", "Q243", 48.8583)
    assert best["names"] == {"fr": "Première Place"}
    assert best["photos"][0]["author"] == "A. Author"
    assert best["photos"][0]["licence_url"] == "https://creativecommons.org/licenses/by/4.0/"
    assert len(first["matches"]) == 5


def test_json_and_multipart_give_the_same_answer(client: TestClient) -> None:
    data = jpeg(front(2, 9))
    photo = {"name": "2.jpg", "data": base64.b64encode(data).decode()}
    urlsafe = {"name": "2.jpg", "data": base64.urlsafe_b64encode(data).decode().rstrip("=")}
    reply = client.post("/v1/recognize", json={"photos": [photo, urlsafe], "matches": 2})
    reply_body = model_of(RecognizeReply).model_validate_json(reply.text)
    assert len(reply_body.results[0].matches) == 2
    one = recognize(client, ("2.jpg", data), matches="2")["results"][0]
    assert [rounded(two) for two in reply.json()["results"]] == [rounded(one)] * 2


def test_one_bad_photo_does_not_stop_the_others(client: TestClient) -> None:
    good = jpeg(front(0, 9))
    large = io.BytesIO()
    Pillow.new("L", (66_000, 10)).save(large, "PNG")
    reply_body = recognize(
        client, ("a.jpg", good), ("b.jpg", good[:2000]), ("c.txt", b"no photo at all"),
        ("d.png", large.getvalue()), ("e.jpg", good + b"\0" * 300_000),
    )["results"]  # fmt: skip
    assert reply_body[0]["decision"] == "landmark"
    codes = [result["error"]["code"] for result in reply_body[1:]]
    assert codes == ["unreadable", "unsupported_format", "too_large", "too_large"]
    assert [result["photo"] for result in reply_body[1:]] == ["b.jpg", "c.txt", "d.png", "e.jpg"]
    assert all(result["error"]["hint"] for result in reply_body[1:])
    empty = client.post("/v1/recognize", json={"photos": [{"data": ""}, {"data": "%%%"}]}).json()
    assert [result["error"]["code"] for result in empty["results"]] == ["unreadable"] * 2


def test_errors_have_typed_codes(client: TestClient) -> None:
    data = jpeg(front(0, 9))
    many = [("photos", ("a.jpg", data))] * 6
    assert "5 photos" in refused(client, 413, "too_many_photos", files=many)
    refused(client, 413, "body_too_large", content=b"x" * 1_200_001)
    refused(client, 413, "body_too_large", content=iter([b"x" * 700_000] * 3),
            headers={"content-type": "application/json"})  # fmt: skip
    refused(client, 415, "unsupported_media_type", content=b"hello")
    refused(client, 422, "invalid", files=[("photo", ("a.jpg", data))])
    refused(client, 422, "invalid", json={"photos": []})
    refused(client, 422, "invalid", json={"photos": [{"data": "", "url": "http://a"}]})
    refused(client, 422, "invalid", content=b"{", headers={"content-type": "application/json"})
    refused(client, 422, "invalid", data={"matches": "many"}, files=many[:1])
    refused(client, 400, "invalid", content=b"--x", headers={
        "content-type": "multipart/form-data"})  # fmt: skip
    gone, method = client.get("/v1/nothing"), client.get("/v1/recognize")
    assert [(r.status_code, r.json()["error"]["code"]) for r in (gone, method)] == [
        (404, "not_found"), (405, "method_not_allowed"),
    ]  # fmt: skip
    assert client.get("/v1/landmarks?limit=0").json()["error"]["code"] == "invalid"


def test_small_photos_give_a_warning(client: TestClient) -> None:
    tiny = front(0, 9).resize((80, 60))
    (result,) = recognize(client, ("tiny.jpg", jpeg(tiny)))["results"]
    assert "80 × 60" in result["warnings"][0]


def test_explained_matches_join_the_same_points(client: TestClient) -> None:
    """Nearly all lines join the same point of the painted front, whose shift is known."""
    data = jpeg(front(1, 9))
    reply = client.post("/v1/explain", files={"photo": ("q.jpg", data)})
    reply_body = model_of(ExplainReply).model_validate_json(reply.text)
    assert (reply_body.query.width, reply_body.query.height) == (360, 270)
    assert reply_body.answer.landmark == "place 1"
    best = max(reply_body.pairs, key=lambda pair: pair.inliers)
    assert best.photo.landmark == "place 1"
    assert best.inliers == len(best.lines) > 15
    assert f"{best.inliers} points" in best.text
    assert best.above_chance
    assert best.alike
    assert best.preview == best.image.replace("/thumbnail", "/preview")
    few = [pair for pair in reply_body.pairs if not pair.above_chance]
    assert few
    assert all(pair.inliers <= reply_body.reasons.chance == 6 for pair in few)
    assert not any(pair.lines for pair in few)
    listed = [candidate.landmark for candidate in reply_body.answer.candidates]
    assert list(dict.fromkeys(pair.photo.landmark for pair in reply_body.pairs)) == listed
    assert reply_body.reasons.details == best.inliers
    assert reply_body.title == "Why First Place?"
    assert f"{best.inliers} details agree." in reply_body.words
    french = client.post("/v1/explain?lang=fr", files={"photo": ("q.jpg", data)}).json()
    assert french["title"] == "Why Première Place?"
    seed = int(Path(best.photo.id).stem)
    lines = np.array(best.lines) * [360, 270, 360, 270]
    places = [np.random.default_rng([1, s]).integers(0, 30, 2) for s in (9, seed)]
    error = lines[:, :2] + places[0] - lines[:, 2:] - places[1]
    assert np.median(np.abs(error)) < 2
    assert {part.name for part in reply_body.parts} >= {"similarity", "score", "confidence"}
    assert all(d.landmark is None for d in reply_body.distractors)
    bad = client.post("/v1/explain", files={"photo": ("q.jpg", data[:900])})
    assert (bad.status_code, bad.json()["error"]["code"]) == (422, "unreadable")


def test_an_upright_photo_has_an_upright_box(client: TestClient) -> None:
    """A photo with EXIF orientation 6 is turned upright before it is recognized."""
    lying = front(1, 9).transpose(Pillow.Transpose.ROTATE_90)
    (turned,) = recognize(client, ("t.jpg", with_gps(lying, "words", 6)))["results"]
    assert turned["landmark"] == "place 1"
    reply = client.post("/v1/explain", files={"photo": with_gps(lying, "words", 6)})
    assert reply.json()["query"] == {"width": 360, "height": 270}


def test_thumbnails_have_no_metadata(client: TestClient) -> None:
    listed = client.get("/v1/landmarks/place%201/photos?limit=2&offset=1").json()
    assert (listed["total"], len(listed["photos"])) == (4, 2)
    for photo in listed["photos"]:
        served = client.get(photo["thumbnail"])
        picture = Pillow.open(io.BytesIO(served.content))
        assert served.headers["content-type"] == "image/jpeg"
        assert (picture.format, dict(picture.getexif())) == ("JPEG", {})
    assert client.get("/v1/photos/none/thumbnail").status_code == 404
    assert client.get("/v1/landmarks/nowhere/photos").status_code == 404


def test_metadata_of_imported_thumbnails_is_removed() -> None:
    from whichlandmark.serving.gallery_browsing import without_metadata

    reply_body = with_gps(front(0, 0), "a secret place")
    reply_body = reply_body[:2] + b"\xff\xfe\x00\x08secret" + reply_body[2:]
    assert b"secret" in reply_body
    clean = without_metadata(reply_body)
    picture = Pillow.open(io.BytesIO(clean))
    assert b"secret" not in clean
    assert (b"Exif" in clean, dict(picture.getexif())) == (False, {})
    whole = Pillow.open(io.BytesIO(reply_body))
    assert np.array_equal(np.asarray(picture), np.asarray(whole))
    assert without_metadata(b"GIF89a") == without_metadata(reply_body[:60]) == b""


def test_landmarks_are_searched_by_any_of_their_names(client: TestClient) -> None:
    def found(query: str) -> list[str]:
        reply = client.get("/v1/landmarks", params={"query": query}).json()
        return [entry["landmark"] for entry in reply["landmarks"]]

    assert found("") == [f"place {i}" for i in (1, 0, 2, 3)]  # "First Place" is what is shown
    assert found("PREMIÈRE") == found("q243") == found("first place") == ["place 1"]
    assert found("place_2") == ["place 2"]
    assert found("elsewhere") == []
    whole = client.get("/v1/landmarks?limit=1&offset=1").json()
    counts = [whole[name] for name in ("total", "photos", "distractors")]
    assert counts == [4, 16, 4]
    assert whole["landmarks"][0]["photos"] == 4


def test_headers_and_health(client: TestClient) -> None:
    live = client.get("/livez", headers={"x-request-id": "mine-1"})
    assert live.json()["ready"] is True
    assert live.headers["x-request-id"] == "mine-1"
    assert client.get("/livez", headers={"x-request-id": "a b"}).headers["x-request-id"] != "a b"
    policy = live.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert live.headers["x-content-type-options"] == "nosniff"
    assert client.get("/readyz").status_code == 200
    counted = client.get("/metrics").text
    assert 'whichlandmark_photos_total{outcome="landmark"}' in counted
    assert "place 1" not in counted
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for script in ("static/page.js", "static/page.css"):
        assert script in page.text
        assert client.get(f"/{script}").status_code == 200
    assert client.get("/static/%2e%2e/app.py").status_code == 404


def test_the_request_queue_is_bounded(client: TestClient) -> None:
    engine: Engine = client.app.state.engine
    engine.queue.held += 6
    try:
        data = jpeg(front(0, 9))
        photos = [("photos", ("a.jpg", data))] * 3
        reply = client.post("/v1/recognize", files=photos)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "busy")
        assert int(reply.headers["retry-after"]) >= 1
        recognize(client, ("a.jpg", data), ("b.jpg", data))
        assert client.get("/livez").json()["queue"] == 6
    finally:
        engine.queue.held -= 6
    assert engine.queue.held == engine.body_budget.held == 0


def test_a_request_waits_for_a_free_slot() -> None:
    with TestClient(create_app(Engine(made(), ServeOptions(workers=1))),
                    base_url="http://localhost") as waiting:  # fmt: skip
        queue = waiting.app.state.engine.queue
        queue.held += queue.capacity

        def release() -> None:
            while not queue.waiting:  # on a busy machine the request takes a while to get there
                time.sleep(0.01)
            time.sleep(0.4)
            waiting.portal.call(queue._release, queue.capacity)

        free = threading.Thread(target=release, daemon=True)
        free.start()
        answer = recognize(waiting, ("a.jpg", jpeg(front(0, 9))))
        free.join()
        assert answer["results"][0]["decision"] == "landmark"
        assert answer["timings_ms"]["total"] >= answer["timings_ms"]["queue"] > 300
        assert (queue.held, queue.waiting) == (0, 0)


def test_the_location_of_a_photo_counts_when_the_rules_use_it(tmp_path: Path) -> None:
    """The score equals that of the recognizer in process, and is lower for a distant location."""
    folder = copied(tmp_path)
    rules, fitted, generation = read_settings(folder)
    assert fitted is not None
    distant = taken_at(front(1, 9), 12.0, 34.0)  # place 1 is in Paris
    scores = []
    for location_km in (None, 5.0):
        write_settings(folder, replace(rules, location_km=location_km), fitted, generation)
        with TestClient(create_app(Engine(folder, ServeOptions(workers=1))),
                        base_url="http://localhost") as opened:  # fmt: skip
            score = recognize(opened, ("far.jpg", distant))["results"][0]["score"]
            why = opened.post("/v1/explain", files={"photo": ("far.jpg", distant)})
            assert why.status_code == 200
            model_of(ExplainReply).model_validate_json(why.text)
        assert score == pytest.approx(load(folder)(distant).score, abs=1e-3)
        scores.append(score)
    assert scores[1] < scores[0] - 0.1


def test_an_error_of_one_photo_in_a_batch_does_not_affect_others(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = LockedEmbedder.__call__

    def failing(self: LockedEmbedder, images: list[np.ndarray]) -> np.ndarray:
        if any(image.shape[1] == 360 and image[0, 0, 0] == marked for image in images):
            raise RuntimeError("planted")
        return plain(self, images)

    bad = front(3, 9)
    marked = np.asarray(Pillow.open(io.BytesIO(jpeg(bad))))[0, 0, 0]
    monkeypatch.setattr(LockedEmbedder, "__call__", failing)
    reply_body = recognize(client, ("a.jpg", jpeg(front(0, 9))), ("b.jpg", jpeg(bad)))["results"]
    assert reply_body[0]["landmark"] == "place 0"
    assert reply_body[1]["error"]["code"] == "internal"
    assert "planted" not in json.dumps(reply_body)


def test_the_configuration_tells_the_licence_of_the_weights(client: TestClient) -> None:
    reply = client.get("/v1/config")
    model_of(ConfigReply).model_validate_json(reply.text)
    assert reply.json()["licence"] == licence_of(made() / "embedder")
    assert reply.json()["licence"] == "none needed (no trained weights)"  # of sift


def test_the_published_schema_covers_every_route(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {
        "/v1/recognize", "/v1/explain", "/v1/embed", "/v1/similar", "/v1/feedback",
        "/v1/landmarks",
        "/v1/landmarks/{name}/photos", "/v1/landmarks/{name}", "/v1/photos/{photo_id}/thumbnail",
        "/v1/photos/{photo_id}", "/v1/distractors", "/v1/photos:move", "/v1/photos:remove",
        "/v1/undo/{token}", "/v1/feedback/{entry_id}", "/v1/feedback/{entry_id}/photo",
        "/v1/photos/{photo_id}/preview", "/v1/discoveries", "/v1/discoveries/{group_id}",
        "/v1/discoveries/{group_id}/photos/{number}",
        "/v1/images:annotate", "/v1/config", "/livez", "/readyz",
        "/metrics",
    }  # fmt: skip
    route = paths["/v1/recognize"]["post"]
    assert set(route["responses"]) >= {"200", "401", "413", "415", "422", "429", "503"}
    assert set(route["requestBody"]["content"]) == {
        "multipart/form-data", "application/json", "application/octet-stream",
    }  # fmt: skip


def test_the_published_answer_schema_is_that_of_the_answer_type(client: TestClient) -> None:
    """Names, descriptions and limits come from the TypedDicts in recognition/answer.py."""
    published = client.get("/openapi.json").json()["components"]["schemas"]
    for kind in (AnswerObject, Candidate, MatchObject, DetectionObject):
        schema = published[kind.__name__]
        assert set(schema["properties"]) == set(schema["required"]) == set(get_type_hints(kind))
        assert schema["additionalProperties"] is True
        assert schema["description"] == inspect.getdoc(kind)
    answer = published["AnswerObject"]["properties"]
    assert answer["schema"]["const"] == SCHEMA
    assert answer["decision"]["enum"] == ["landmark", "uncertain", "no_landmark"]
    assert (answer["confidence"]["minimum"], answer["confidence"]["maximum"]) == (0, 1)
    assert answer["score"]["anyOf"] == [{"type": "number"}, {"type": "null"}]
    box = published["DetectionObject"]["properties"]["box"]["anyOf"]
    assert box == [{"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
                   {"type": "null"}]  # fmt: skip


def test_a_model_accepts_exactly_the_fields_of_its_type(client: TestClient) -> None:
    (answer,) = recognize(client, ("a.jpg", jpeg(front(0, 9))))["results"]
    model = model_of(AnswerObject)
    assert model is model_of(AnswerObject)
    assert model.model_validate(answer).model_dump(by_alias=True) == answer
    for wrong in ({**answer, "more": 1}, {**answer, "confidence": 1.1}, {**answer, "schema": "x"},
                  {name: answer[name] for name in answer if name != "score"}):  # fmt: skip
        with pytest.raises(ValidationError):
            model.model_validate(wrong)
