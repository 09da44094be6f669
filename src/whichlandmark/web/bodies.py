"""What /openapi.json says of bodies and refusals that routes read and raise by themselves."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from .schema import ErrorReply, model_of
from .uploads import JsonQuestion

WORDS = {
    400: "Not a request that can be read", 401: "No known key", 403: "The key may not do that",
    404: "Nothing of that name", 405: "Another method", 408: "Sent too slowly",
    409: "It would leave an empty gallery", 413: "Too large, or too many photos",
    415: "Another kind of body", 421: "Called by a wrong name", 422: "Not as it has to be",
    429: "Too many photos a minute", 500: "The server failed", 503: "Busy: ask again later",
}  # fmt: skip
ALWAYS = (400, 401, 403, 408, 413, 421, 500)


def refusals(*also: int) -> dict[int | str, dict[str, Any]]:
    """The refusals that a route may answer with, beside those that all may."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*ALWAYS, *also}):
        found[status] = {"model": model_of(ErrorReply), "description": WORDS[status]}
        if status in (429, 503):
            found[status]["headers"] = {
                "Retry-After": {"description": "seconds", "schema": {"type": "integer"}}
            }
    return found


def json_of(model: type[BaseModel]) -> dict[str, Any]:
    """A JSON body of this model, which has no models in its fields."""
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


def files(field: str, most: int, *, also_json: bool = False) -> dict[str, Any]:
    """A multipart body with files in one field; the same as JSON, where that is taken too."""
    many = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1,
            "maxItems": most}  # fmt: skip
    part: dict[str, Any] = many if most > 1 else {"type": "string", "format": "binary"}
    properties: dict[str, Any] = {field: part}
    if also_json:
        properties["matches"] = {"type": "integer", "minimum": 0, "maximum": 10}
    schema = {"type": "object", "required": [field], "properties": properties}
    content: dict[str, Any] = {"multipart/form-data": {"schema": schema}}
    if also_json:
        json_schema = JsonQuestion.model_json_schema()
        json_schema["properties"]["photos"]["items"] = json_schema.pop("$defs")["_JsonPhoto"]
        json_schema["properties"]["photos"]["maxItems"] = most
        content["application/json"] = {"schema": json_schema}
    return {"requestBody": {"required": True, "content": content}}
