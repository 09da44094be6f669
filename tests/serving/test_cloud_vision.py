"""The Cloud Vision route, tested with Google's own client and message types."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.testclient import TestClient

from tests.support.served_world import front, jpeg, made
from whichlandmark.serving.engine import Engine
from whichlandmark.serving.options import ServeOptions
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
    requests = [
        {"image": image(0), "features": [{"type": "FACE_DETECTION"}]},
        {"image": image(0), "features": [*LANDMARKS, {"type": 4}]},
        {"image": elsewhere, "features": LANDMARKS},
        {"image": {"content": "bm8gcGhvdG8="}, "features": LANDMARKS},
    ]
    responses = client.post(PATH, json={"requests": requests}).json()["responses"]
    assert [one["error"]["code"] for one in responses] == [12, 12, 12, 3]
    assert ["landmarkAnnotations" in one for one in responses] == [False, True, False, False]
    assert "fetched" in responses[2]["error"]["message"]
    for wrong in ({}, {"image": image(0)}, {"features": LANDMARKS}, {"features": [3]},
                  {"image": {"content": 3}, "features": LANDMARKS}):  # fmt: skip
        (one,) = client.post(PATH, json={"requests": [wrong]}).json()["responses"]
        assert one["error"]["code"] == 3, wrong


def test_invalid_requests_get_cloud_vision_errors(client: TestClient) -> None:
    for body in (b"", b"{", b"[]", b'{"requests": {}}', b'{"requests": []}', b"[" * 100_000,
                 b'{"requests": [1]}', b'{"requests": [{},{},{},{},{}]}'):  # fmt: skip
        reply = client.post(PATH, content=body)
        error = reply.json()["error"]
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


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")
def test_google_client_library_works_against_the_server() -> None:
    """google-cloud-vision over REST, with this server as its host."""
    vision = pytest.importorskip("google.cloud.vision")
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.vision_v1.services.image_annotator.transports.rest import (
        ImageAnnotatorRestTransport,
    )

    listening = bind_socket("127.0.0.1", 0)
    engine = Engine(made(), ServeOptions(workers=1))
    server = uvicorn.Server(uvicorn.Config(create_app(engine), log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        transport = ImageAnnotatorRestTransport(
            host=host, url_scheme="http", credentials=AnonymousCredentials()
        )
        with vision.ImageAnnotatorClient(transport=transport) as google_client:
            response = google_client.batch_annotate_images(requests=[{
                "image": {"content": jpeg(front(1, 9))},
                "features": [{"type_": vision.Feature.Type.LANDMARK_DETECTION}],
            }])  # fmt: skip
        (found,) = response.responses[0].landmark_annotations
        assert (found.mid, found.description) == ("Q243", "First Place")
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
