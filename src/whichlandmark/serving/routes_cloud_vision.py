"""POST /v1/images:annotate: LANDMARK_DETECTION with the messages of Google Cloud Vision.

It follows the public REST reference; nothing is sent to Google. Other features get an error besides
the landmarks. Images by address (imageUri) get an error, because the server fetches nothing.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from ..core.types import Prediction
from ..recognition.answer import landmark_object
from .api_errors import ApiError, PhotoError, shortened
from .auth import Caller, engine_of, require_scope
from .decode_pool import Decoded
from .engine import Engine, PhotoResult
from .live_recognizer import OpenRecognizer
from .routes_recognize import charge
from .uploads import Upload, decode_base64, parse_json, read_body

Reader = Annotated[Caller, Depends(require_scope("read"))]

LANDMARK_FEATURES = ("LANDMARK_DETECTION", 2)  # clients send the name or the number

INVALID, UNIMPLEMENTED, INTERNAL = 3, 12, 13  # google.rpc.Code

BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {
    "type": "object", "required": ["requests"],
    "properties": {"requests": {"type": "array", "items": {"type": "object"}}},
}}}}}  # fmt: skip

REPLY = {"type": "object", "required": ["responses"], "properties": {
    "responses": {"type": "array", "items": {"type": "object"}}}}  # fmt: skip

ERROR_REPLY = {"type": "object", "required": ["error"], "properties": {"error": {
    "type": "object", "required": ["code", "message", "status"], "properties": {
        "code": {"type": "integer"}, "message": {"type": "string"}, "status": {"type": "string"},
    }}}}  # fmt: skip


def router(max_images: int) -> APIRouter:
    """The route. max_images: per request."""
    routes = APIRouter(tags=["vision"])
    documented: dict[int | str, dict[str, Any]] = {
        200: {"content": {"application/json": {"schema": REPLY}}}
    }
    for status in (400, 401, 403, 408, 413, 421, 422, 429, 500, 503):
        documented[status] = {"description": "Error in the format of Google Cloud Vision",
                        "content": {"application/json": {"schema": ERROR_REPLY}}}  # fmt: skip

    @routes.post(
        "/v1/images:annotate", responses=documented, openapi_extra=BODY, response_class=JSONResponse
    )
    async def annotate(request: Request, caller: Reader) -> JSONResponse:
        """Landmarks of images, for clients of Google Cloud Vision."""
        engine = engine_of(request)
        body = await read_body(request)
        requests = await anyio.to_thread.run_sync(_parse_requests, body, max_images)
        charge(request, engine.rate_limits, caller, len(requests))
        responses = await _responses(engine, requests)
        return JSONResponse({"responses": responses})

    return routes


async def _responses(engine: Engine, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    errors = [_unanswerable(request) for request in requests]
    wanted = [
        i for i, request in enumerate(requests) if errors[i] is None and _wants_landmarks(request)
    ]
    photos = [Upload(str(i), await _content(requests[i], engine)) for i in wanted]
    results = await engine.results(photos, _annotations) if photos else []
    answers: list[dict[str, Any]] = [{"error": error} if error else {} for error in errors]
    for i, result in zip(wanted, results, strict=True):
        answers[i] = _response(requests[i], result)
    return answers


async def _content(request: dict[str, Any], engine: Engine) -> bytes | PhotoError:
    data = await asyncio.to_thread(decode_base64, request["image"]["content"])
    if isinstance(data, bytes) and len(data) > engine.options.max_bytes:
        return PhotoError("too_large", f"larger than {engine.options.max_bytes / 1e6:g} MB")
    return data


def _response(request: dict[str, Any], result: PhotoResult) -> dict[str, Any]:
    if result.error:
        bad = result.error.code not in ("internal", "worker_lost", "timeout")
        return {"error": {"code": INVALID if bad else INTERNAL, "message": result.error.message}}
    wanted = next(
        f.get("maxResults") for f in request["features"] if f.get("type") in LANDMARK_FEATURES
    )
    limited = isinstance(wanted, int) and wanted > 0  # 0 or absent = no limit
    annotations = result.answer[: wanted if limited else 100]
    answer: dict[str, Any] = {"landmarkAnnotations": annotations} if annotations else {}
    if others := _other_features(request):
        answer["error"] = {
            "code": UNIMPLEMENTED,
            "message": shortened(f"Not supported: {others}."),
        }
    return answer


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


def _parse_requests(body: bytes, max_images: int) -> list[dict[str, Any]]:
    """The image requests of a body. Raises ApiError 400."""
    try:
        requests = parse_json(body)["requests"]
        if not isinstance(requests, list) or not all(
            isinstance(request, dict) for request in requests
        ):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise ApiError(
            400,
            "invalid",
            'Expected JSON: {"requests": [{"image": …, "features": …}]}',
            "Values, blanks and escapes are limited in number.",
        ) from None
    if not 0 < len(requests) <= max_images:
        raise ApiError(400, "invalid", f"{len(requests)} images; expected 1 to {max_images}.")
    return requests


def _unanswerable(request: dict[str, Any]) -> dict[str, Any] | None:
    """Why a request gets no landmarks, as google.rpc.Status; None = it can be answered."""
    image, features = request.get("image"), request.get("features")
    if not isinstance(features, list) or not features or not all(
        isinstance(feature, dict) for feature in features
    ):  # fmt: skip
        return {"code": INVALID, "message": "No features: expected LANDMARK_DETECTION."}
    if not _wants_landmarks(request):
        return {
            "code": UNIMPLEMENTED,
            "message": shortened(f"Not supported: {_other_features(request)}."),
        }
    if isinstance(image, dict) and image.get("source"):
        return {
            "code": UNIMPLEMENTED,
            "message": "Images are not fetched by address; send image.content.",
        }
    if not isinstance(image, dict) or not isinstance(image.get("content"), str):
        return {"code": INVALID, "message": "No image: expected image.content in base64."}
    return None


def _wants_landmarks(request: dict[str, Any]) -> bool:
    return any(feature.get("type") in LANDMARK_FEATURES for feature in request["features"])


def _other_features(request: dict[str, Any]) -> str:
    kinds = [feature.get("type", "TYPE_UNSPECIFIED") for feature in request["features"]]
    return ", ".join(str(kind)[:40] for kind in kinds if kind not in LANDMARK_FEATURES)
