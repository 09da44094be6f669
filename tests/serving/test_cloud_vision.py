"""The Cloud Vision route, tested with Google's own client and message types."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from tests.support.served_world import copied, front, jpeg, made, taken_at
from whichlandmark.recognition.folder.settings import read_settings, write_settings
from whichlandmark.serving.engine import Engine
from whichlandmark.serving.keys import add_key
from whichlandmark.serving.options import ServeOptions
from whichlandmark.serving.routes_cloud_vision import _place
from whichlandmark.serving.server import bind_socket, create_app

pytestmark = pytest.mark.server

LANDMARKS = [{"type": "LANDMARK_DETECTION"}]
PATH = "/v1/images:annotate"


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = create_app(Engine(made(), ServeOptions(workers=1, max_photos=4)))
    with TestClient(app, base_url="http://localhost") as opened:
        yield opened


def image(code: int) -> dict[str, str]:
    return {"content": base64.b64encode(jpeg(front(code, 9))).decode()}


def test_landmarks_in_cloud_vision_format(client: TestClient) -> None:
    features = [{"type": "LANDMARK_DETECTION", "maxResults": 3}]
    requests = [{"image": image(code), "features": features} for code in (1, 60)]
    reply = client.post(PATH, json={"requests": requests})
    known, unknown = reply.json()["responses"]
    assert unknown == {}
    (found,) = known["landmarkAnnotations"]
    assert (found["mid"], found["description"]) == ("Q243", "First Place")
    assert found["score"] > 0.9
    assert found["locations"] == [{"latLng": {"latitude": 48.8583, "longitude": 2.2945}}]
    corners = {(v["x"], v["y"]) for v in found["boundingPoly"]["vertices"]}
    assert len(found["boundingPoly"]["vertices"]) == 4
    assert all(0 <= x <= 360 and 0 <= y <= 270 for x, y in corners)


def test_each_image_has_its_own_error(client: TestClient) -> None:
    elsewhere = {"source": {"imageUri": "http://127.0.0.1:1/a.jpg"}}
    box = {"latLongRect": {"minLatLng": {"latitude": 91}, "maxLatLng": {"latitude": 92}}}
    requests = [
        {"image": image(0), "features": [{"type": "FACE_DETECTION"}, {"type": 4}, {"type": 99}]},
        {"image": elsewhere, "features": LANDMARKS},
        {"image": {"content": "bm8gcGhvdG8="}, "features": LANDMARKS},
        {"image": image(0), "features": LANDMARKS, "imageContext": box},
    ]
    responses = client.post(PATH, json={"requests": requests}).json()["responses"]
    assert [one["error"]["code"] for one in responses] == [12, 12, 3, 3]
    assert [set(one) for one in responses] == [{"error"}] * 4
    assert responses[0]["error"]["message"] == (
        "Not supported: FACE_DETECTION, LABEL_DETECTION, 99. Only LANDMARK_DETECTION is."
    )
    assert "fetched" in responses[1]["error"]["message"]
    assert responses[2]["error"]["message"] == "This is not a photo. Its content: text."
    assert "lat_long_rect" in responses[3]["error"]["message"]
    for wrong in ({}, {"image": image(0)}, {"features": LANDMARKS}, {"features": []},
                  {"image": None, "features": LANDMARKS}, {"image": {}, "features": LANDMARKS},
                  {"image": image(0), "features": [{"type": 2, "maxResults": -1}]}):  # fmt: skip
        (one,) = client.post(PATH, json={"requests": [wrong]}).json()["responses"]
        assert one["error"]["code"] == 3, wrong


def test_other_features_cost_no_landmark(client: TestClient) -> None:
    """A client that asks for labels too gets the landmarks, and a header names the rest."""
    mixed = [{"type": "LABEL_DETECTION"}, *LANDMARKS, {"type": "CROP_HINTS"}]
    requests = [{"image": image(1), "features": mixed}, {"image": image(1), "features": LANDMARKS}]
    reply = client.post(PATH, json={"requests": requests})
    first, second = reply.json()["responses"]
    assert first == second
    assert first["landmarkAnnotations"][0]["mid"] == "Q243"
    assert reply.headers["x-unsupported-features"] == "LABEL_DETECTION, CROP_HINTS"
    plain = client.post(PATH, json={"requests": requests[1:]})
    assert "x-unsupported-features" not in plain.headers


@pytest.mark.parametrize("most", [None, 0, "0", 1, "1", 50])
def test_max_results(client: TestClient, most: object) -> None:
    features = [{"type": 2, "max_results": most}, {"type": "LABEL_DETECTION", "maxResults": 5}]
    requests = [{"image": image(1), "features": features}]
    (one,) = client.post(PATH, json={"requests": requests}).json()["responses"]
    assert len(one["landmarkAnnotations"]) == 1


def test_content_is_preferred_over_an_address(client: TestClient) -> None:
    both = {**image(1), "source": {"imageUri": "http://127.0.0.1:1/a.jpg"}}
    requests = [{"image": both, "features": LANDMARKS}]
    (one,) = client.post(PATH, json={"requests": requests}).json()["responses"]
    assert one["landmarkAnnotations"][0]["description"] == "First Place"


@pytest.mark.parametrize("parent", ["", "projects/p-1/", "projects/p-1/locations/eu/"])
@pytest.mark.parametrize("version", ["v1", "v1p4beta1"])
def test_paths_with_a_project_and_a_location(client: TestClient, version: str, parent: str) -> None:
    body = {"requests": [{"image": image(1), "features": LANDMARKS}], "parent": parent}
    path = f"/{version}/{parent}"
    reply = client.post(f"{path}images:annotate", json=body)
    assert reply.json()["responses"][0]["landmarkAnnotations"][0]["mid"] == "Q243"
    for method in ("files:annotate", "images:asyncBatchAnnotate", "files:asyncBatchAnnotate"):
        refused = client.post(f"{path}{method}", json={})
        error = refused.json()["error"]
        assert (refused.status_code, error["status"]) == (501, "UNIMPLEMENTED")
        assert error["message"] == f"{method} is not offered here. images:annotate is."
        assert error["details"][0]["reason"] == "UNIMPLEMENTED"
    unknown = client.post(f"{path}images:draw", json={})
    assert unknown.json()["error"]["status"] == "NOT_FOUND"


def test_partial_responses(client: TestClient) -> None:
    body = {"requests": [{"image": image(1), "features": LANDMARKS}, {"features": LANDMARKS}]}
    mask = "responses(landmarkAnnotations(mid,locations/latLng/latitude),error.code)"
    expected = {"responses": [
        {"landmarkAnnotations": [
            {"mid": "Q243", "locations": [{"latLng": {"latitude": 48.8583}}]}]},
        {"error": {"code": 3}},
    ]}  # fmt: skip
    for query, headers in (
        ({"fields": mask}, {}), ({"$fields": mask}, {}), ({}, {"X-Goog-FieldMask": mask}),
        ({"fields": mask, "$alt": "json;enum-encoding=int", "prettyPrint": "false"}, {}),
    ):  # fmt: skip
        assert client.post(PATH, params=query, headers=headers, json=body).json() == expected
    wrong = client.post(PATH, params={"fields": "responses/cats"}, json=body)
    assert wrong.status_code == 400
    assert "path 'responses/cats'" in wrong.json()["error"]["message"]


def test_parameters_of_all_google_apis(client: TestClient) -> None:
    body = {"requests": [{"features": []}]}
    shown = client.post(PATH, params={"prettyPrint": "true", "quotaUser": "me"}, json=body).text
    assert shown.startswith('{\n  "responses": [\n')
    assert client.post(PATH, params={"alt": "json"}, json=body).status_code == 200
    for name, value in (("alt", "proto"), ("colour", "red")):
        error = client.post(PATH, params={name: value}, json=body).json()["error"]
        assert error["status"] == "INVALID_ARGUMENT"
        assert error["details"][1]["fieldViolations"][0]["field"] == name


def test_landmarks_come_by_score() -> None:
    from whichlandmark.serving.engine import PhotoResult
    from whichlandmark.serving.routes_cloud_vision import _response

    found = [{"mid": name, "score": score} for name, score in (("a", 0.5), ("b", 0.9), ("c", 0.7))]
    request = {"features": [{"type": 4, "maxResults": 1}, {"type": 2, "maxResults": 2}]}
    answer = _response(request, PhotoResult(found))
    assert [one["mid"] for one in answer["landmarkAnnotations"]] == ["b", "c"]


def rectangle(south: float, west: float, north: float, east: float) -> dict[str, object]:
    corners = ({"latitude": south, "longitude": west}, {"latitude": north, "longitude": east})
    return {"latLongRect": dict(zip(("minLatLng", "maxLatLng"), corners, strict=True))}


def test_a_rectangle_counts_as_a_location_when_the_rules_use_one(tmp_path: Path) -> None:
    """Its middle is used where it is not larger than `location_km`, and the photo says nothing."""
    folder = copied(tmp_path)
    rules, fitted, generation = read_settings(folder)
    assert fitted is not None
    write_settings(folder, replace(rules, location_km=5.0), fitted, generation)
    here, far = rectangle(48.84, 2.27, 48.88, 2.32), rectangle(11.99, 33.99, 12.01, 34.01)
    country = rectangle(0, 20, 24, 48)
    with TestClient(create_app(Engine(folder, ServeOptions(workers=1))),
                    base_url="http://localhost") as opened:  # fmt: skip

        def score(context: object, photo: bytes) -> float:
            content = base64.b64encode(photo).decode()
            body = {"image": {"content": content}, "features": LANDMARKS, "imageContext": context}
            (one,) = opened.post(PATH, json={"requests": [body]}).json()["responses"]
            assert "error" not in one
            return sum(found["score"] for found in one.get("landmarkAnnotations", []))

        plain = jpeg(front(1, 9))
        without = score(None, plain)
        assert score(country, plain) == without  # too large to say anything
        assert without > 0.9
        assert without > score(here, plain) > without - 0.01  # near, and not exactly there
        assert score(far, plain) < without - 0.05
        assert score(far, taken_at(front(1, 9), 48.8583, 2.2945)) > without - 0.01


def test_the_middle_of_a_rectangle() -> None:
    def middle(*corners: float) -> tuple[float, float] | None:
        found = _place({"imageContext": rectangle(*corners)})
        return None if found is None else (round(found[0][0], 6), round(found[0][1], 6))

    assert middle(48, 2, 49, 3) == (48.5, 2.5)
    assert middle(-1, 179, 1, -179) == (0, -180)  # across the date line
    assert _place({}) is _place({"imageContext": {}}) is None
    (_, reach) = _place({"imageContext": rectangle(48, 2, 48, 2)}) or (None, 1)
    assert reach == 0
    for wrong in ((2, 0, 1, 0), (0, 0, 91, 0), (0, -181, 1, 0), (float("nan"), 0, 1, 0)):
        with pytest.raises(ValueError, match="no rectangle"):
            _place({"imageContext": rectangle(*wrong)})


def test_invalid_requests_get_cloud_vision_errors(client: TestClient) -> None:
    for body in (b"", b"{", b"[]", b'{"requests": {}}', b'{"requests": []}', b"[" * 100_000,
                 b'{"requests": [1]}', b'{"requests": [{"image": {"content": 3}}]}',
                 b'{"requests": [{"picture": {}}]}', b'{"requests": [{"features": [3]}]}', b"null",
                 b'{"requests": [{},{},{},{},{}]}'):  # fmt: skip
        reply = client.post(PATH, content=body)
        error = reply.json()["error"]
        assert error["details"][0]["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
        assert (reply.status_code, error["code"], error["status"]) == (
            400, 400, "INVALID_ARGUMENT",
        ), body[:20]  # fmt: skip


def test_google_message_types_parse_the_answers(client: TestClient) -> None:
    vision = pytest.importorskip("google.cloud.vision")
    request = vision.AnnotateImageRequest(
        image=vision.Image(content=jpeg(front(1, 9))),
        features=[vision.Feature(type_=vision.Feature.Type.LANDMARK_DETECTION, max_results=2)],
    )
    batch = vision.BatchAnnotateImagesRequest(requests=[request])
    text = vision.BatchAnnotateImagesRequest.to_json(batch)  # enums as numbers, names in camel case
    reply = client.post(PATH, content=text, headers={"content-type": "application/json"})
    response = vision.BatchAnnotateImagesResponse.from_json(reply.text, ignore_unknown_fields=False)
    (found,) = response.responses[0].landmark_annotations
    assert found.description == "First Place"
    assert found.locations[0].lat_lng.longitude == pytest.approx(2.2945)
    assert len(found.bounding_poly.vertices) == 4
    bad = client.post(PATH, json={"requests": [{"features": [{"type": 1}]}]})
    one = vision.AnnotateImageResponse.from_json(
        bad.text.removeprefix('{"responses":[').removesuffix("]}"), ignore_unknown_fields=False
    )
    assert one.error.code == 12


def test_every_reply_is_one_of_google_message_types(client: TestClient) -> None:
    """No field is unknown, in answers, partial answers and errors of one image."""
    vision = pytest.importorskip("google.cloud.vision")
    requests = [
        {"image": image(1), "features": LANDMARKS}, {"image": image(60), "features": LANDMARKS},
        {"features": []}, {"image": image(1), "features": [{"type": 4}]},
    ]  # fmt: skip
    for query in ({}, {"fields": "responses/landmarkAnnotations(mid,boundingPoly/vertices)"}):
        reply = client.post(PATH, params=query, json={"requests": requests})
        parsed = vision.BatchAnnotateImagesResponse.from_json(
            reply.text, ignore_unknown_fields=False
        )
        assert parsed.responses[0].landmark_annotations[0].mid == "Q243"
        assert len(parsed.responses) == 4


@contextmanager
def google_client(options: ServeOptions, **given: object) -> Iterator[Any]:
    """google-cloud-vision over REST, with a server of ours as its host."""
    vision = pytest.importorskip("google.cloud.vision")
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.vision_v1.services.image_annotator.transports.rest import (
        ImageAnnotatorRestTransport,
    )

    listening = bind_socket("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(create_app(Engine(made(), options)), log_config=None, ws="none")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        transport = ImageAnnotatorRestTransport(
            host=host, url_scheme="http", credentials=AnonymousCredentials(), **given
        )
        with vision.ImageAnnotatorClient(transport=transport) as opened:
            yield opened
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")
def test_google_client_library_works_against_the_server() -> None:
    vision = pytest.importorskip("google.cloud.vision")
    from google.api_core import exceptions

    landmarks = {"type_": vision.Feature.Type.LANDMARK_DETECTION, "max_results": 5}
    labels = {"type_": vision.Feature.Type.LABEL_DETECTION}
    photo = {"content": jpeg(front(1, 9))}
    context = {"lat_long_rect": {"min_lat_lng": {"latitude": 48.0}}, "language_hints": ["fr"]}
    with google_client(ServeOptions(workers=1, max_photos=2)) as google:
        one = {"image": photo, "features": [landmarks, labels], "image_context": {
            **context, "lat_long_rect": {"min_lat_lng": {"latitude": 48.0},
                                         "max_lat_lng": {"latitude": 49.0}}}}  # fmt: skip
        for parent in ("", "projects/p/locations/eu"):
            response = google.batch_annotate_images({"requests": [one], "parent": parent})
            (found,) = response.responses[0].landmark_annotations
            assert (found.mid, found.description) == ("Q243", "First Place")
            assert response.responses[0].error.code == 0
        masked = google.batch_annotate_images(
            requests=[one], metadata=[("x-goog-fieldmask", "responses.landmarkAnnotations.score")]
        )
        (found,) = masked.responses[0].landmark_annotations
        assert (found.score > 0.9, found.mid) == (True, "")
        response = google.landmark_detection(image={"source": {"image_uri": "http://a/b.jpg"}})
        assert (response.error.code, "send image.content" in response.error.message) == (12, True)
        with pytest.raises(exceptions.BadRequest, match="3 images; expected 1 to 2") as caught:
            google.batch_annotate_images(requests=[one] * 3)
        assert caught.value.reason == "INVALID"
        assert caught.value.details[1]["fieldViolations"][0]["field"] == "requests"
        with pytest.raises(exceptions.MethodNotImplemented, match="files:annotate is not offered"):
            google.batch_annotate_files(requests=[{"input_config": {"content": b"%PDF"}}])


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")
def test_google_client_library_shows_what_is_wrong_with_a_key(tmp_path: Path) -> None:
    pytest.importorskip("google.cloud.vision")
    from google.api_core import exceptions
    from google.api_core.client_options import ClientOptions

    assert ClientOptions(api_key="k").api_key == "k"
    key = add_key(tmp_path / "keys.json", "phone", "read")
    photo = {"content": jpeg(front(1, 9))}
    with google_client(ServeOptions(workers=1, keys=tmp_path / "keys.json")) as google:
        with pytest.raises(exceptions.Forbidden, match="requires an API key") as caught:
            google.landmark_detection(image=photo)
        assert caught.value.reason == "CREDENTIALS_MISSING"
        with pytest.raises(exceptions.BadRequest, match="API key not valid") as caught:
            google.landmark_detection(image=photo, metadata=[("x-goog-api-key", "wrong")])
        assert (caught.value.reason, caught.value.domain) == ("API_KEY_INVALID", "googleapis.com")
        response = google.landmark_detection(image=photo, metadata=[("x-goog-api-key", key)])
        assert response.landmark_annotations[0].description == "First Place"
