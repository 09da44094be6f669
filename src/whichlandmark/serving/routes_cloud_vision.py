"""Routes in the form of Google Cloud Vision: LANDMARK_DETECTION of images:annotate.

They follow the public REST reference; nothing is sent to Google. What else an image asks for is
left out of its answer, and named in the header `X-Unsupported-Features`; an image that asks for
nothing but that gets an error. So do images by address, because the server fetches nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from ..core.photo_files import LatLon
from ..core.types import Prediction
from ..recognition.answer import landmark_object
from ..recognition.location import distance_km
from .answer_schemas import VisionErrorReply, VisionReply
from .api_errors import ApiError, PhotoError, shortened
from .auth import Caller, engine_of, require_scope
from .decode_pool import Decoded
from .engine import Engine, PhotoResult
from .live_recognizer import OpenRecognizer
from .openapi import COMPONENTS, model_of
from .proto_json import (
    Enum,
    FieldError,
    Map,
    Message,
    Repeated,
    google_paths,
    json_schema,
    masked,
    parse,
    parse_mask,
)
from .routes_recognize import charge
from .uploads import Upload, parse_json, read_body

Reader = Annotated[Caller, Depends(require_scope("read"))]

INVALID, DEADLINE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 3, 4, 12, 13, 14  # google.rpc.Code

MAX_RESULTS = 100  # landmarks of one image

FEATURES = Enum("Feature.Type", {
    "TYPE_UNSPECIFIED": 0, "FACE_DETECTION": 1, "LANDMARK_DETECTION": 2, "LOGO_DETECTION": 3,
    "LABEL_DETECTION": 4, "TEXT_DETECTION": 5, "SAFE_SEARCH_DETECTION": 6, "IMAGE_PROPERTIES": 7,
    "CROP_HINTS": 9, "WEB_DETECTION": 10, "DOCUMENT_TEXT_DETECTION": 11, "PRODUCT_SEARCH": 12,
    "OBJECT_LOCALIZATION": 19,
})  # fmt: skip

LANDMARKS = FEATURES.values["LANDMARK_DETECTION"]

_NAMES = {number: name for name, number in FEATURES.values.items()}

_VERTEX = Message("Vertex", {"x": "INT32", "y": "INT32"})

_NORMALIZED = Message("NormalizedVertex", {"x": "FLOAT", "y": "FLOAT"})

_LAT_LNG = Message("LatLng", {"latitude": "DOUBLE", "longitude": "DOUBLE"})

_POLYGON = Message("BoundingPoly", {
    "vertices": Repeated(_VERTEX), "normalizedVertices": Repeated(_NORMALIZED),
})  # fmt: skip

IMAGE = Message("AnnotateImageRequest", {
    "image": Message("Image", {
        "content": "BYTES",
        "source": Message("ImageSource", {"gcsImageUri": "STRING", "imageUri": "STRING"}),
    }),
    "features": Repeated(Message("Feature", {
        "type": FEATURES, "maxResults": "INT32", "model": "STRING",
    })),
    "imageContext": Message("ImageContext", {
        "latLongRect": Message("LatLongRect", {"minLatLng": _LAT_LNG, "maxLatLng": _LAT_LNG}),
        "languageHints": Repeated("STRING"),
        "cropHintsParams": Message("CropHintsParams", {"aspectRatios": Repeated("FLOAT")}),
        "faceRecognitionParams": Message("FaceRecognitionParams", {
            "celebritySet": Repeated("STRING"),
        }),
        "productSearchParams": Message("ProductSearchParams", {
            "boundingPoly": _POLYGON, "productSet": "STRING",
            "productCategories": Repeated("STRING"), "filter": "STRING",
        }),
        "webDetectionParams": Message("WebDetectionParams", {"includeGeoResults": "BOOL"}),
        "textDetectionParams": Message("TextDetectionParams", {
            "enableTextDetectionConfidenceScore": "BOOL", "advancedOcrOptions": Repeated("STRING"),
        }),
    }),
})  # fmt: skip

BATCH = Message("BatchAnnotateImagesRequest", {
    "requests": Repeated(IMAGE), "parent": "STRING", "labels": Map("STRING"),
})  # fmt: skip

_UNUSED = Message("", {})  # fields of a reply that this server never fills

_ENTITIES = Repeated(Message("EntityAnnotation", {
    "mid": "STRING", "locale": "STRING", "description": "STRING", "score": "FLOAT",
    "confidence": "FLOAT", "topicality": "FLOAT", "boundingPoly": _POLYGON,
    "locations": Repeated(Message("LocationInfo", {"latLng": _LAT_LNG})),
    "properties": Repeated(_UNUSED),
}))  # fmt: skip

REPLY = Message("BatchAnnotateImagesResponse", {
    "responses": Repeated(Message("AnnotateImageResponse", {
        "landmarkAnnotations": _ENTITIES, "logoAnnotations": _ENTITIES,
        "labelAnnotations": _ENTITIES, "textAnnotations": _ENTITIES,
        "faceAnnotations": _UNUSED, "localizedObjectAnnotations": _UNUSED,
        "fullTextAnnotation": _UNUSED, "safeSearchAnnotation": _UNUSED,
        "imagePropertiesAnnotation": _UNUSED, "cropHintsAnnotation": _UNUSED,
        "webDetection": _UNUSED, "productSearchResults": _UNUSED, "context": _UNUSED,
        "error": Message("Status", {
            "code": "INT32", "message": "STRING", "details": Repeated(_UNUSED),
        }),
    })),
})  # fmt: skip

# Parameters that every API of Google takes; those without an effect here are ignored.
PARAMETERS = frozenset({
    "key", "fields", "$fields", "alt", "$alt", "prettyPrint", "$prettyPrint", "quotaUser",
    "$quotaUser", "userIp", "$userProject", "userProject", "$.xgafv", "callback", "$callback",
    "access_token", "oauth_token", "uploadType", "upload_protocol", "$ct", "$req", "$trace",
})  # fmt: skip

NOT_OFFERED = ("images:asyncBatchAnnotate", "files:annotate", "files:asyncBatchAnnotate")

# OpenAPI: parameters, and replies. A reply is not limited to what this server fills.
DOCUMENTED_PARAMETERS = [
    {"name": "prettyPrint", "in": "query", "required": False,
     "description": "true = with line breaks", "example": "false",
     "schema": {"type": "string", "enum": ["true", "false"]}},
    {"name": "key", "in": "query", "required": False, "example": "KEY",
     "description": "API key, for servers that ask for one; headers are better, because addresses "
     "are logged.", "schema": {"type": "string"}},
]  # fmt: skip

EXAMPLE = {"requests": [{
    "image": {"content": "R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs="},
    "features": [{"type": "LANDMARK_DETECTION", "maxResults": 5}],
}]}  # fmt: skip


def router(max_images: int) -> APIRouter:
    """The routes. max_images: per request."""
    routes = APIRouter(tags=["vision"])
    documented: dict[int | str, dict[str, Any]] = {
        200: {"description": "An answer or error for each image, in order"}
    }
    for status in (400, 401, 403, 408, 413, 421, 422, 429, 500, 503):
        described = "Error in the format of Google Cloud Vision"
        documented[status] = {"description": described, "model": model_of(VisionErrorReply)}
    named: dict[str, Any] = {}
    schema = json_schema(BATCH, named)
    batch = named[BATCH.name]
    batch["properties"]["requests"] |= {"minItems": 1, "maxItems": max_images}
    batch["required"] = ["requests"]
    content = {"application/json": {"schema": schema, "example": EXAMPLE}}
    extra = {
        "requestBody": {"required": True, "content": content},
        "parameters": DOCUMENTED_PARAMETERS,
        COMPONENTS: named,
    }

    async def annotate(request: Request, caller: Reader) -> Response:
        """Landmarks of images, for clients of Google Cloud Vision."""
        engine = engine_of(request)
        mask = _check_parameters(request)
        body = await read_body(request)
        requests = await anyio.to_thread.run_sync(_parse_requests, body, max_images)
        charge(request, engine.rate_limits, caller, len(requests))
        responses = await _responses(engine, requests)
        reply = masked({"responses": responses}, mask)
        others = _other_features(requests)
        headers = {"X-Unsupported-Features": others} if others else {}
        return Response(_text(request, reply), media_type="application/json", headers=headers)

    async def not_offered(request: Request, caller: Reader) -> Response:
        """Methods of Google Cloud Vision that this server has not."""
        method = request.url.path.rpartition("/")[2]
        raise ApiError(
            501, "unimplemented", f"{method} is not offered here.", "images:annotate is."
        )

    paths = google_paths("images:annotate")
    for path in paths:
        listed = path == paths[0]
        routes.add_api_route(
            path, annotate, methods=["POST"], response_class=JSONResponse, include_in_schema=listed,
            response_model=model_of(VisionReply) if listed else None,
            responses=documented if listed else None, openapi_extra=extra if listed else None,
        )  # fmt: skip
    for path in google_paths(*NOT_OFFERED):
        routes.add_api_route(path, not_offered, methods=["POST"], include_in_schema=False)
    return routes


def _text(request: Request, reply: Any) -> str:
    """The JSON of a reply, with line breaks where the client asks for them."""
    pretty = request.query_params.get("prettyPrint", request.query_params.get("$prettyPrint"))
    if pretty in ("true", "1"):
        return json.dumps(reply, ensure_ascii=False, allow_nan=False, indent=2)
    return json.dumps(reply, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _check_parameters(request: Request) -> Any:
    """Check the query; the mask of the reply, {} = all. Raises FieldError."""
    query = request.query_params
    for name in query:
        if name not in PARAMETERS:
            raise FieldError(
                name,
                f'Invalid JSON payload received. Unknown name "{name[:80]}": Cannot bind query '
                f"parameter. Field '{name[:80]}' could not be found in request message.",
            )
    form = query.get("alt") or query.get("$alt") or "json"
    if form.partition(";")[0] != "json":
        raise FieldError("alt", f'Invalid value "{form[:80]}" of alt; expected "json".')
    text = query.get("fields") or query.get("$fields") or request.headers.get("x-goog-fieldmask")
    return parse_mask(text, REPLY) if text else {}


def _parse_requests(body: bytes, max_images: int) -> list[dict[str, Any]]:
    """The image requests of a body. Raises ApiError 400."""
    try:
        value = parse_json(body)
    except ValueError as error:
        text = str(error).partition(" at line")[0]
        raise ApiError(400, "invalid", f"Invalid JSON payload received. {text}") from None
    requests: list[dict[str, Any]] = parse(BATCH, value).get("requests", [])
    if not 0 < len(requests) <= max_images:
        text = f"{len(requests)} images; expected 1 to {max_images}."
        raise FieldError("requests", text)
    return requests


async def _responses(engine: Engine, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    errors = [_unanswerable(request) for request in requests]
    wanted = [i for i, error in enumerate(errors) if error is None]
    photos = [_upload(str(i), requests[i], engine) for i in wanted]
    results = await engine.results(photos, _annotations) if photos else []
    answers: list[dict[str, Any]] = [{"error": error} if error else {} for error in errors]
    for i, result in zip(wanted, results, strict=True):
        answers[i] = _response(requests[i], result)
    return answers


def _upload(name: str, request: dict[str, Any], engine: Engine) -> Upload:
    data: bytes = request["image"].pop("content")
    if len(data) > engine.options.max_bytes:
        text = f"larger than {engine.options.max_bytes / 1e6:g} MB"
        return Upload(name, PhotoError("too_large", text))
    place, reach = _place(request), engine.live.location_km
    if place is None or reach is None or place[1] > reach:
        return Upload(name, data)  # a larger rectangle says less than the rules need
    return Upload(name, data, place[0])


def _place(request: Mapping[str, Any]) -> tuple[LatLon, float] | None:
    """The middle of latLongRect, and how far its corners are from there in km; None = not given.

    Raises ValueError for what is no rectangle on Earth.
    """
    box = request.get("imageContext", {}).get("latLongRect")
    if not box:
        return None
    low, high = box.get("minLatLng", {}), box.get("maxLatLng", {})
    south, north = low.get("latitude", 0.0), high.get("latitude", 0.0)
    west, east = low.get("longitude", 0.0), high.get("longitude", 0.0)
    if not (-90 <= south <= north <= 90 and -180 <= west <= 180 and -180 <= east <= 180):
        raise ValueError("no rectangle")
    width = (east - west) % 360  # across the date line, west is the larger number
    middle = (south + north) / 2, (west + width / 2 + 180) % 360 - 180
    reach = max(distance_km(middle, corner) for corner in ((south, west), (north, west)))
    return middle, float(reach)


def _response(request: dict[str, Any], result: PhotoResult) -> dict[str, Any]:
    if fault := result.error:
        codes = {"internal": INTERNAL, "worker_lost": UNAVAILABLE, "timeout": DEADLINE}
        return _error(codes.get(fault.code, INVALID), fault.message)
    wanted = [
        feature.get("maxResults", 0) or MAX_RESULTS
        for feature in request["features"]
        if feature.get("type") == LANDMARKS
    ]
    annotations = sorted(result.answer, key=lambda found: -found["score"])[: max(wanted)]
    return {"landmarkAnnotations": annotations} if annotations else {}


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": shortened(message)}}


def _annotations(
    name: str, decoded: Decoded, opened: OpenRecognizer, answer: Prediction
) -> list[dict[str, Any]]:
    """The landmarks of an answer as EntityAnnotation; empty unless the decision is "landmark"."""
    return [
        _annotation(detection.landmark, detection.confidence, detection.box, decoded, opened)
        for detection in answer.landmarks
    ]


def _annotation(
    landmark: str,
    confidence: float,
    box: tuple[float, float, float, float] | None,
    decoded: Decoded,
    opened: OpenRecognizer,
) -> dict[str, Any]:
    known = landmark_object(landmark, opened.facts.records)
    annotation: dict[str, Any] = {
        "mid": known["wikidata"] or landmark,
        "description": known["title"] or landmark,
        "score": confidence,
    }
    left, top, right, bottom = box or (0.0, 0.0, 1.0, 1.0)
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    vertices = [{"x": round(x * decoded.width), "y": round(y * decoded.height)} for x, y in corners]
    annotation["boundingPoly"] = {"vertices": vertices}
    if known["latitude"] is not None:
        place = {"latitude": known["latitude"], "longitude": known["longitude"]}
        annotation["locations"] = [{"latLng": place}]
    return annotation


def _unanswerable(request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Why an image gets no landmarks, as google.rpc.Status; None = it can be answered."""
    image, features = request.get("image", {}), request.get("features", [])
    if not features:
        text = "Request must specify image and features, such as LANDMARK_DETECTION."
        return {"code": INVALID, "message": text}
    if all(feature.get("type") != LANDMARKS for feature in features):
        text = f"Not supported: {_other_features([request])}. Only LANDMARK_DETECTION is."
        return {"code": UNIMPLEMENTED, "message": shortened(text)}
    if any(feature.get("maxResults", 0) < 0 for feature in features):
        return {"code": INVALID, "message": "max_results must not be negative."}
    try:
        _place(request)
    except ValueError:
        text = "image_context.lat_long_rect is no rectangle: latitudes -90 to 90, longitudes -180 "
        return {"code": INVALID, "message": f"{text}to 180, min_lat_lng south of max_lat_lng."}
    if image.get("content"):
        return None
    if image.get("source"):
        text = "Images are not fetched by address here: send image.content."
        return {"code": UNIMPLEMENTED, "message": text}
    return {"code": INVALID, "message": "No image: expected image.content in base64."}


def _other_features(requests: list[Any]) -> str:
    """Names of the features besides landmarks, each once."""
    kinds = [feature.get("type", 0) for one in requests for feature in one.get("features", [])]
    names = {kind: _NAMES.get(kind, str(kind)) for kind in kinds if kind != LANDMARKS}
    return ", ".join([*names.values()][:20])
