"""The published OpenAPI document: complete, open in replies, and good for a generated client."""

from __future__ import annotations

import base64
import copy
import importlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from tests.support.served_world import front, jpeg, made
from whichlandmark.serving.engine import Engine
from whichlandmark.serving.keys import add_key
from whichlandmark.serving.openapi import OPERATION_IDS, TAGS
from whichlandmark.serving.options import ServeOptions
from whichlandmark.serving.server import create_app

pytestmark = pytest.mark.server

jsonschema = pytest.importorskip("jsonschema")

PHOTO = jpeg(front(1, 9))


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(Engine(made(), ServeOptions(workers=1))),
                    base_url="http://localhost") as opened:  # fmt: skip
        yield opened


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    return client.get("/openapi.json").json()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    whole = {**schema, "components": document["components"]}
    return jsonschema.Draft202012Validator(whole)


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with replies of exactly the fields that it names, to find any others."""
    strict = copy.deepcopy(document)
    for schema in strict["components"]["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return strict


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    for method, path, operation in operations(document):
        place = f"{method} {path}"
        assert OPERATION_IDS[place] == operation["operationId"]
        assert 10 < len(operation["summary"]) < 100, place
        assert operation["description"]
        assert set(operation["tags"]) <= set(TAGS)
        for parameter in operation.get("parameters", []):
            assert "example" in parameter, (place, parameter["name"])
    assert set(OPERATION_IDS) == {f"{method} {path}" for method, path, _ in operations(document)}
    for name, schema in document["components"]["schemas"].items():
        assert schema["description"], name
        for field, described in schema.get("properties", {}).items():
            assert described["description"].endswith((".", "?")), (name, field)
    assert document["servers"] == [{"url": "/"}]
    assert document["info"]["license"]["identifier"] == "Apache-2.0"
    assert "contact" not in document["info"]


def test_behind_a_prefix_the_document_names_it() -> None:
    options = ServeOptions(workers=1, root_path="/places")
    with TestClient(create_app(Engine(made(), options)), base_url="http://localhost") as opened:
        for path in ("/places/openapi.json", "/openapi.json"):  # a proxy may cut the prefix off
            assert opened.get(path).json()["servers"] == [{"url": "/places"}]
        asked = opened.options("/places/v1/landmarks")
        assert (asked.status_code, asked.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
        refused = opened.put("/places/v1/landmarks")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        first = opened.get("/places/v1/landmarks")
        known = {"if-none-match": first.headers["etag"]}
        assert opened.get("/places/v1/landmarks", headers=known).status_code == 304
        assert opened.head("/places/v1/landmarks").status_code == 200


def test_access_is_declared(client: TestClient, tmp_path: Path) -> None:
    open_ids = {"get_config", "get_liveness", "get_readiness"}
    file = tmp_path / "keys.json"
    add_key(file, "a", "read")
    for keys in (None, file):
        app = create_app(Engine(made(), ServeOptions(workers=1, keys=keys)))
        with TestClient(app, base_url="http://localhost") as opened:
            document = opened.get("/openapi.json").json()
        schemes = document["components"]["securitySchemes"]
        assert schemes["bearer"]["scheme"] == "bearer"
        assert schemes["googleHeader"]["name"] == "X-Goog-Api-Key"
        for _, _, operation in operations(document):
            needed = operation["security"]
            if operation["operationId"] in open_ids:
                assert needed == []
            else:  # {} = no key is needed
                assert ({} in needed) is (keys is None)
                assert {"bearer": []} in needed
                assert {"googleHeader": []} in needed
                scope = "write" if "Scope: `write`" in operation["description"] else "read"
                assert f"Scope: `{scope}`" in operation["description"]


def test_replies_are_open_and_requests_are_strict(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    requests = set()
    for _, _, operation in operations(document):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        requests |= {body.get("schema", {}).get("$ref", "").rpartition("/")[2]} - {""}
    assert {"JsonRecognizeRequest", "JsonPhotos", "FeedbackEntry"} <= requests
    for name in requests:
        assert schemas[name]["additionalProperties"] is False, name
    for name in {"AnswerObject", "ErrorReply", "Fault", "LandmarksReply", "MatchObject"}:
        assert schemas[name]["additionalProperties"] is True, name


def test_every_example_is_valid(document: dict[str, Any]) -> None:
    strict, checked = closed(document), 0
    for method, path, operation in operations(document):
        for parameter in operation.get("parameters", []):
            validator(strict, parameter["schema"]).validate(parameter["example"])
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for content in (body.get("content", {}).get("application/json") for body in bodies):
            if content is not None:
                assert "example" in content, (method, path)
                validator(strict, content["schema"]).validate(content["example"])
                assert _no_empty_text(content["example"]), (method, path, content["example"])
                checked += 1
    assert checked > 100


def _no_empty_text(value: Any, name: str = "") -> bool:
    """Whether the example was filled in: a text that nobody thought of is empty."""
    if isinstance(value, dict):
        return all(_no_empty_text(one, key) for key, one in value.items())
    if isinstance(value, list):
        return all(_no_empty_text(one, name) for one in value)
    return value != "" or name in ("trouble", "note")


def test_replies_have_no_field_that_is_not_documented(
    client: TestClient, document: dict[str, Any]
) -> None:
    """The published replies are open for later fields, so that schema would hide one of now."""
    strict = closed(document)
    photo = client.get("/v1/landmarks/place%201/photos").json()["photos"][0]["id"]
    named = {"name": "place 1", "photo_id": photo.replace("/", "%2F"), "entry_id": "0",
             "group_id": "0", "number": "0"}  # fmt: skip
    files = {"photos": ("a.jpg", PHOTO)}
    sent = {
        "recognize": {"files": files}, "embed": {"files": files}, "find_similar": {"files": files},
        "explain": {"files": {"photo": ("a.jpg", PHOTO)}},
        "annotate_images": {"json": {"requests": [{
            "image": {"content": base64.b64encode(PHOTO).decode()},
            "features": [{"type": "LANDMARK_DETECTION"}],
        }]}},
    }  # fmt: skip
    seen = set()
    for method, path, operation in operations(document):
        name = operation["operationId"]
        if name not in sent and method != "get":
            continue
        reply = client.request(method, path.format(**named), **sent.get(name, {}))
        described = operation["responses"][str(reply.status_code)]["content"]
        content = described.get("application/json")
        if content is not None:
            validator(strict, content["schema"]).validate(reply.json())
            seen.add(name)
    assert seen >= {*sent, "list_landmarks", "list_photos", "get_config", "get_readiness"}
    extra = {**client.get("/livez").json(), "more": 1}
    health = {"$ref": "#/components/schemas/Health"}
    assert validator(document, health).is_valid(extra)
    assert not validator(strict, health).is_valid(extra)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ModuleType, str, str]]:
    """A Python client made by openapi-python-client, and the address and key of its server."""
    pytest.importorskip("openapi_python_client")
    folder = tmp_path_factory.mktemp("generated")
    key = add_key(folder / "keys.json", "app", "read")
    options = ServeOptions(workers=1, keys=folder / "keys.json")
    server = uvicorn.Server(
        uvicorn.Config(create_app(Engine(made(), options)), port=0, log_config=None)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        port = server.servers[0].sockets[0].getsockname()[1]
        yield _generated(folder, port), f"http://127.0.0.1:{port}", key
    finally:
        server.should_exit = True
        thread.join(20)


def _generated(folder: Path, port: int) -> ModuleType:
    config = folder / "config.yml"
    config.write_text(  # the generator reads JSON and text only; and no style checker is needed
        "content_type_overrides: {image/jpeg: application/octet-stream}\npost_hooks: []\n"
    )
    done = subprocess.run(
        [Path(sys.executable).with_name("openapi-python-client"), "generate", "--meta", "none",
         "--url", f"http://127.0.0.1:{port}/openapi.json", "--config", config,
         "--output-path", folder / "landmarks_client", "--fail-on-warning"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("landmarks_client")
    finally:
        sys.path.remove(str(folder))


def test_a_generated_client_works(generated: tuple[ModuleType, str, str]) -> None:
    package, address, key = generated
    api = {
        name: importlib.import_module(f"{package.__name__}.api.{group}.{name}")
        for group, name in (
            ("photos", "recognize"), ("photos", "find_similar"), ("gallery", "list_landmarks"),
            ("gallery", "get_thumbnail"), ("service", "get_config"),
        )
    }  # fmt: skip
    models = importlib.import_module(f"{package.__name__}.models")
    file = importlib.import_module(f"{package.__name__}.types").File
    with package.AuthenticatedClient(base_url=address, token=key) as client:
        form = models.RecognizeFilesBody(photos=[file(PHOTO, "a.jpg"), file(b"no photo", "b.jpg")])
        reply = api["recognize"].sync(client=client, body=form, lang="fr")
        answer, failure = reply.results
        assert isinstance(answer, models.AnswerObject)
        assert (answer.photo, answer.landmark) == ("a.jpg", "place 1")
        assert answer.words.startswith("Première Place, ")
        assert answer.candidates[0].names["fr"] == "Première Place"
        assert isinstance(failure, models.PhotoFailure)
        assert failure.error.code == "unsupported_format"
        whole = api["recognize"].sync(client=client, body=file(PHOTO), name="c.jpg", matches=1)
        assert (whole.results[0].photo, len(whole.results[0].matches)) == ("c.jpg", 1)
        listed = api["list_landmarks"].sync(client=client, limit=2)
        assert [one.landmark for one in listed.landmarks] == ["place 1", "place 0"]
        assert listed.landmarks[0].title == "First Place"
        found = api["find_similar"].sync(client=client, body=file(PHOTO), limit=3)
        nearest = found.results[0].matches[0]
        assert nearest.title == "First Place"
        thumbnail = api["get_thumbnail"].sync(client=client, photo_id=nearest.id)
        assert thumbnail.payload.read(2) == b"\xff\xd8"
        assert api["get_config"].sync(client=client).landmarks == 4
        refused = api["recognize"].sync(client=client, body=file(b""))
        assert (type(refused), refused.error.code) == (models.ErrorReply, "invalid")
    with package.AuthenticatedClient(base_url=address, token="wrong") as client:
        refused = api["list_landmarks"].sync_detailed(client=client)
        assert refused.status_code == 401
        assert isinstance(refused.parsed, models.ErrorReply)
        assert refused.parsed.error.message


def test_a_generated_client_survives_new_fields(generated: tuple[ModuleType, str, str]) -> None:
    package, address, _ = generated
    models = importlib.import_module(f"{package.__name__}.models")
    with package.Client(base_url=address) as client:
        text = client.get_httpx_client().get("/v1/config").text
    config = models.ConfigReply.from_dict({**json.loads(text), "added_later": {"a": 1}})
    assert config.additional_properties == {"added_later": {"a": 1}}
