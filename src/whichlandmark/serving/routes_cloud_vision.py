"""POST /v1/images:annotate: what Google Cloud Vision's LANDMARK_DETECTION is asked and answers.

Its public REST reference is what is followed; nothing is sent there. Other features get an error
beside the landmarks; pictures elsewhere (imageUri) get an error: nothing is fetched.
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
from .auth import Caller, engine_of, need
from .decode_pool import Decoded
from .engine import Engine, PhotoResult
from .live_recognizer import OpenRecognizer
from .routes_recognize import charge
from .uploads import Upload, decoded, parsed, whole_body

Reader = Annotated[Caller, Depends(need("read"))]

LANDMARKS = ("LANDMARK_DETECTION", 2)  # by name, or by number as its clients may send

INVALID, UNIMPLEMENTED, INTERNAL = 3, 12, 13  # google.rpc.Code

BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {
    "type": "object", "required": ["requests"],
    "properties": {"requests": {"type": "array", "items": {"type": "object"}}},
}}}}}  # fmt: skip

REPLY = {"type": "object", "required": ["responses"], "properties": {
    "responses": {"type": "array", "items": {"type": "object"}}}}  # fmt: skip

REFUSED = {"type": "object", "required": ["error"], "properties": {"error": {
    "type": "object", "required": ["code", "message", "status"], "properties": {
        "code": {"type": "integer"}, "message": {"type": "string"}, "status": {"type": "string"},
    }}}}  # fmt: skip


def router(most: int) -> APIRouter:
    """most: images of a request."""
    routes = APIRouter(tags=["vision"])
    told: dict[int | str, dict[str, Any]] = {
        200: {"content": {"application/json": {"schema": REPLY}}}
    }
    for status in (400, 401, 403, 408, 413, 421, 422, 429, 500, 503):
        told[status] = {"description": "Refused, as Google's clients read it",
                        "content": {"application/json": {"schema": REFUSED}}}  # fmt: skip

    @routes.post("/v1/images:annotate", responses=told, openapi_extra=BODY,
                 response_class=JSONResponse)  # fmt: skip
    async def annotate(request: Request, caller: Reader) -> JSONResponse:
        """Landmarks of images, for software that speaks to Google Cloud Vision."""
        engine = engine_of(request)
        body = await whole_body(request)
        asked = await anyio.to_thread.run_sync(_requests, body, most)
        charge(request, engine.rates, caller, len(asked))
        responses = await _responses(engine, asked)
        return JSONResponse({"responses": responses})

    return routes


async def _responses(engine: Engine, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    errors = [_unanswerable(one) for one in asked]
    wanted = [i for i, one in enumerate(asked) if errors[i] is None and _wants(one)]
    photos = [Upload(str(i), await _content(asked[i], engine)) for i in wanted]
    results = await engine.results(photos, _annotations) if photos else []
    answers: list[dict[str, Any]] = [{"error": error} if error else {} for error in errors]
    for i, result in zip(wanted, results, strict=True):
        answers[i] = _response(asked[i], result)
    return answers


async def _content(one: dict[str, Any], engine: Engine) -> bytes | PhotoError:
    data = await asyncio.to_thread(decoded, one["image"]["content"])
    if isinstance(data, bytes) and len(data) > engine.options.max_bytes:
        return PhotoError("too_large", f"larger than {engine.options.max_bytes / 1e6:g} MB")
    return data


def _response(one: dict[str, Any], result: PhotoResult) -> dict[str, Any]:
    if result.error:
        bad = result.error.code not in ("internal", "worker_lost", "timeout")
        return {"error": {"code": INVALID if bad else INTERNAL, "message": result.error.message}}
    found = result.answer[: _most(one)]
    answer: dict[str, Any] = {"landmarkAnnotations": found} if found else {}
    if others := _others(one):
        answer["error"] = {
            "code": UNIMPLEMENTED,
            "message": shortened(f"Not offered here: {others}."),
        }
    return answer


def _annotations(
    name: str, done: Decoded, opened: OpenRecognizer, answer: Prediction
) -> list[dict[str, Any]]:
    """What is answered, as EntityAnnotation; nothing unless it is sure enough to be answered."""
    return [
        _annotation(seen.landmark, seen.confidence, seen.box, done, opened)
        for seen in answer.landmarks
    ]


def _annotation(
    landmark: str,
    confidence: float,
    box: tuple[float, float, float, float] | None,
    done: Decoded,
    opened: OpenRecognizer,
) -> dict[str, Any]:
    known = landmark_object(landmark, opened.facts)
    found: dict[str, Any] = {
        "mid": known["wikidata"] or landmark,
        "description": known["title"] or landmark,
        "score": confidence,
    }
    left, top, right, bottom = box or (0.0, 0.0, 1.0, 1.0)
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    vertices = [{"x": round(x * done.width), "y": round(y * done.height)} for x, y in corners]
    found["boundingPoly"] = {"vertices": vertices}
    if known["latitude"] is not None:
        place = {"latitude": known["latitude"], "longitude": known["longitude"]}
        found["locations"] = [{"latLng": place}]
    return found


def _requests(body: bytes, most: int) -> list[dict[str, Any]]:
    """The requests of a body. Raises ApiError 400."""
    try:
        asked = parsed(body)["requests"]
        if not isinstance(asked, list) or not all(isinstance(one, dict) for one in asked):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise ApiError(400, "invalid", 'Expected JSON: {"requests": [{"image": …, "features": …}]}',
                       "Values, blanks and escapes of one body are bounded.") from None  # fmt: skip
    if not 0 < len(asked) <= most:
        raise ApiError(400, "invalid", f"{len(asked)} images; expected 1 to {most}.")
    return asked


def _unanswerable(one: dict[str, Any]) -> dict[str, Any] | None:
    """Why an image cannot be asked about at all, as google.rpc.Status."""
    image, features = one.get("image"), one.get("features")
    if not isinstance(features, list) or not features or not all(
        isinstance(feature, dict) for feature in features
    ):  # fmt: skip
        return {"code": INVALID, "message": "No features: expected LANDMARK_DETECTION."}
    if not _wants(one):
        return {"code": UNIMPLEMENTED, "message": shortened(f"Not offered here: {_others(one)}.")}
    if isinstance(image, dict) and image.get("source"):
        return {"code": UNIMPLEMENTED, "message": "Nothing is fetched: send image.content."}
    if not isinstance(image, dict) or not isinstance(image.get("content"), str):
        return {"code": INVALID, "message": "No image: expected image.content in base64."}
    return None


def _wants(one: dict[str, Any]) -> bool:
    return any(feature.get("type") in LANDMARKS for feature in one["features"])


def _others(one: dict[str, Any]) -> str:
    kinds = [feature.get("type", "TYPE_UNSPECIFIED") for feature in one["features"]]
    return ", ".join(str(kind)[:40] for kind in kinds if kind not in LANDMARKS)


def _most(one: dict[str, Any]) -> int:
    """maxResults; 0 and no number mean as many as there are."""
    most = next(f.get("maxResults") for f in one["features"] if f.get("type") in LANDMARKS)
    return most if isinstance(most, int) and most > 0 else 100
