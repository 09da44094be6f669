"""Proto3 JSON and partial responses, as Google's APIs read and write them."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from whichlandmark.serving.api_errors import ApiError
from whichlandmark.serving.proto_json import (
    FieldError,
    google_error,
    google_paths,
    is_google_path,
    json_schema,
    masked,
    parse,
    parse_mask,
)
from whichlandmark.serving.routes_cloud_vision import BATCH, REPLY


def parsed(**image: Any) -> dict[str, Any]:
    return parse(BATCH, {"requests": [image]})["requests"][0]


def test_names_in_both_cases_and_numbers_as_texts() -> None:
    for feature in (
        {"type": "LANDMARK_DETECTION", "maxResults": 3},
        {"type": 2, "max_results": "3"},
        {"type": "2", "maxResults": 3.0},
        {"type": 2.0, "max_results": "3e0", "model": None},
    ):
        assert parsed(features=[feature]) == {"features": [{"type": 2, "maxResults": 3}]}
    assert parsed(features=[{"type": 99}])["features"] == [{"type": 99}]
    box = {"lat_long_rect": {"min_lat_lng": {"latitude": "48.5", "longitude": -2}}}
    assert parsed(image_context=box) == {
        "imageContext": {"latLongRect": {"minLatLng": {"latitude": 48.5, "longitude": -2.0}}}
    }
    params = {"webDetectionParams": {"includeGeoResults": True},
              "cropHintsParams": {"aspectRatios": [1, "0.5"]}, "languageHints": ["fr"]}  # fmt: skip
    assert parsed(imageContext=params)["imageContext"]["cropHintsParams"] == {
        "aspectRatios": [1.0, 0.5]
    }


def test_null_is_the_default() -> None:
    assert parsed(image=None, features=None, imageContext=None) == {}
    assert parse(BATCH, {"requests": [], "parent": None, "labels": {"a": "b"}}) == {
        "requests": [], "labels": {"a": "b"},
    }  # fmt: skip


@pytest.mark.parametrize("data", [b"\xfb\xff\xfe", b"ab", b"a", b""])
def test_base64_of_all_kinds(data: bytes) -> None:
    for text in (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()):
        for form in (text, text.rstrip("=")):
            assert parsed(image={"content": form}) == {"image": {"content": data}}


@pytest.mark.parametrize(
    ("image", "field", "message"),
    [
        ({"colour": 1}, "requests[0]", "Unknown name \"colour\" at 'requests[0]': Cannot"),
        ({"image": {"Content": ""}}, "requests[0].image", "Unknown name \"Content\""),
        ({"features": [{"type": "CATS"}]}, "requests[0].features[0].type",
         "Invalid value at 'requests[0].features[0].type' (Feature.Type), \"CATS\""),
        ({"features": [{"maxResults": "many"}]}, "requests[0].features[0].max_results",
         "(TYPE_INT32), \"many\""),
        ({"features": [{"maxResults": 2**31}]}, "requests[0].features[0].max_results", "_INT32"),
        ({"features": [{"maxResults": 1.5}]}, "requests[0].features[0].max_results", "1.5"),
        ({"features": [{"maxResults": True}]}, "requests[0].features[0].max_results", "True"),
        ({"features": {"type": 2}}, "requests[0].features", "a list"),
        ({"features": [2]}, "requests[0].features[0]", "(Feature), 2"),
        ({"features": [None]}, "requests[0].features[0]", "Feature"),
        ({"image": {"content": "a*b="}}, "requests[0].image.content", "Base64 decoding failed"),
        ({"image": {"content": 3}}, "requests[0].image.content", "(TYPE_BYTES), 3"),
        ({"image": {"source": {"imageUri": 3}}}, "requests[0].image.source.image_uri", "_STRING"),
        ({"imageContext": {"latLongRect": {"minLatLng": {"latitude": "north"}}}},
         "requests[0].image_context.lat_long_rect.min_lat_lng.latitude", "TYPE_DOUBLE"),
    ],
)  # fmt: skip
def test_what_is_not_valid_is_named(image: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(FieldError) as caught:
        parsed(**image)
    assert (caught.value.status, caught.value.field) == (400, field)
    assert message in caught.value.message
    with pytest.raises(FieldError, match="Expected BatchAnnotateImagesRequest, got a list"):
        parse(BATCH, [])


FOUND = {"mid": "Q1", "description": "A", "score": 0.9,
         "boundingPoly": {"vertices": [{"x": 0, "y": 1}, {"x": 2, "y": 3}]},
         "locations": [{"latLng": {"latitude": 1.0, "longitude": 2.0}}]}  # fmt: skip

WHOLE = {"responses": [{"landmarkAnnotations": [FOUND]}, {"error": {"code": 3, "message": "m"}}]}


@pytest.mark.parametrize(
    ("mask", "first", "second"),
    [
        ("*", {"landmarkAnnotations": [FOUND]}, {"error": {"code": 3, "message": "m"}}),
        ("responses", {"landmarkAnnotations": [FOUND]}, {"error": {"code": 3, "message": "m"}}),
        ("responses/error/code", {}, {"error": {"code": 3}}),
        ("responses.landmark_annotations.mid", {"landmarkAnnotations": [{"mid": "Q1"}]}, {}),
        ("responses(landmarkAnnotations(mid, score), error/message)",
         {"landmarkAnnotations": [{"mid": "Q1", "score": 0.9}]}, {"error": {"message": "m"}}),
        ("responses/landmarkAnnotations/boundingPoly/vertices/x",
         {"landmarkAnnotations": [{"boundingPoly": {"vertices": [{"x": 0}, {"x": 2}]}}]}, {}),
        ("responses/landmarkAnnotations/locations/*/latitude",
         {"landmarkAnnotations": [{"locations": [{"latLng": {"latitude": 1.0}}]}]}, {}),
        ("responses/*/code", {"landmarkAnnotations": [{}]}, {"error": {"code": 3}}),
        ("responses/error/code,responses/error", {}, {"error": {"code": 3, "message": "m"}}),
        ("responses/error,responses/error/code", {}, {"error": {"code": 3, "message": "m"}}),
        ("responses/labelAnnotations", {}, {}),
        ("responses/faceAnnotations/boundingPoly", {}, {}),
    ],
)  # fmt: skip
def test_a_mask_selects(mask: str, first: dict[str, Any], second: dict[str, Any]) -> None:
    assert masked(WHOLE, parse_mask(mask, REPLY)) == {"responses": [first, second]}


@pytest.mark.parametrize(
    "mask",
    ["a b", "responses(", "responses)", "responses()", "/error", "responses/", ",", "responses,,",
     "responses//error", "responses;error", "(" * 5000, "a(" * 100, "x" * 5000, "é"],
)  # fmt: skip
def test_a_wrong_mask_is_told(mask: str) -> None:
    with pytest.raises(FieldError) as caught:
        parse_mask(mask, REPLY)
    assert caught.value.field in ("fields", "a")


def test_a_mask_names_the_path_that_is_not_there() -> None:
    with pytest.raises(FieldError, match=r"Cannot find .* for path 'responses/error/x'"):
        parse_mask("responses/error(code,x)", REPLY)


def test_paths_of_all_versions() -> None:
    paths = google_paths("images:annotate")
    assert paths[:3] == ["/v1/images:annotate", "/v1/projects/{project}/images:annotate",
                         "/v1/projects/{project}/locations/{location}/images:annotate"]  # fmt: skip
    assert len(paths) == 15
    assert all(is_google_path(path) for path in paths)
    assert not any(map(is_google_path, ("/v1/recognize", "/v1/landmarks/images:annotate/photos")))


def test_errors_have_the_details_that_clients_read() -> None:
    told = google_error(ApiError(429, "rate_limited", "Too many.", "Wait.", retry=7), "id1")
    error = told["error"]
    assert (error["code"], error["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert error["message"] == "Too many. Wait."
    info, retry = error["details"]
    assert info["reason"] == "RATE_LIMIT_EXCEEDED"
    assert info["metadata"] == {"requestId": "id1"}
    assert retry["retryDelay"] == "7s"


def test_the_published_schema_has_one_form_of_each_value() -> None:
    schema = json_schema(BATCH)
    image = schema["properties"]["requests"]["items"]["properties"]
    assert image["image"]["properties"]["content"] == {"type": "string", "format": "byte"}
    feature = image["features"]["items"]["properties"]
    assert "LANDMARK_DETECTION" in feature["type"]["enum"]
    assert feature["maxResults"]["type"] == "integer"
    assert schema["additionalProperties"] is False
