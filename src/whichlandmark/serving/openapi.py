"""The published OpenAPI document: schemas of requests and replies, access, examples."""

from __future__ import annotations

import inspect
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypedDict,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from pydantic import BaseModel, ConfigDict, Field, create_model

from ..recognition.faults import Fault
from .uploads import RAW_TYPE, JsonPhotos

STATUS_DESCRIPTIONS = {
    400: "Malformed request", 401: "No valid API key", 403: "Not allowed for this key or site",
    404: "Unknown landmark, photo or feedback", 405: "Method not allowed",
    408: "Body sent too slowly",
    409: "The landmark exists, the gallery would become empty, or it is reviewed already",
    410: "Too late to undo",
    413: "Too large, or too many photos",
    415: "Unsupported media type", 421: "Host header not allowed", 422: "Not valid by the schema",
    429: "Too many photos per minute", 500: "Internal error", 503: "Busy, retry later",
}  # fmt: skip

# Key of a route's OpenAPI for schemas of its request, which the published document lists by name.
COMPONENTS = "x-components"

ANY_ROUTE = (400, 401, 403, 408, 413, 421, 500)


class ErrorReply(TypedDict):
    """The whole request was refused."""

    error: Fault
    request_id: str


def refusals(*also: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses of a route for the errors `also` and those that any route may return."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*ANY_ROUTE, *also}):
        found[status] = {"model": model_of(ErrorReply), "description": STATUS_DESCRIPTIONS[status]}
        if status in (429, 503):
            found[status]["headers"] = {
                "Retry-After": {"description": "seconds", "schema": {"type": "integer"}}
            }
    return found


def json_of(model: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI for a JSON request body."""
    schema, named = _named(model)
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}, COMPONENTS: named}


def files(
    field: str, max_photos: int, *, json_model: type[JsonPhotos] | None = None, raw: bool = False
) -> dict[str, Any]:
    """OpenAPI for a request body of photos: a multipart form with files in `field`.

    json_model: of the JSON that the route accepts as well; raw: it accepts the file of a photo as
    the whole body, too.
    """
    file = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
    several = {"type": "array", "items": file, "minItems": 1, "maxItems": max_photos}
    part: dict[str, Any] = {**(several if max_photos > 1 else file), "description": "JPEG, PNG, …"}
    properties: dict[str, Any] = {field: part}
    content: dict[str, Any] = {}
    named: dict[str, Any] = {}
    if json_model is not None:
        schema, named = _named(json_model)
        named[json_model.__name__]["properties"]["photos"]["maxItems"] = max_photos
        others = set(json_model.model_fields) - {"photos"}
        properties |= {one: named[json_model.__name__]["properties"][one] for one in others}
        content["application/json"] = {"schema": schema}
    form = {"type": "object", "required": [field], "properties": properties}
    content = {"multipart/form-data": {"schema": form}, **content}
    if raw:
        for kind in (RAW_TYPE, "image/*"):
            content[kind] = {"schema": {"type": "string", "format": "binary"}}
    return {"requestBody": {"required": True, "content": content}, COMPONENTS: named}


def _named(model: type[BaseModel]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A reference to the schema of a request body, and this schema and those in it, by name."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    named = {**schema.pop("$defs", {}), model.__name__: schema}
    return {"$ref": f"#/components/schemas/{model.__name__}"}, named


@cache
def model_of(reply: Any) -> type[BaseModel]:
    """The pydantic model of a `TypedDict`, with its docstring and limits; forbids other fields."""
    fields: dict[str, Any] = {}
    for name, hint in get_type_hints(reply, include_extras=True).items():
        if hasattr(BaseModel, name):  # "schema" is a method of every model
            fields[f"{name}_"] = (_with_models(hint), Field(alias=name))
        elif name in reply.__required_keys__:
            fields[name] = (_with_models(hint), ...)
        else:  # a factory, because a default would stand in the schema
            fields[name] = (_with_models(hint), Field(default_factory=str))
    config = ConfigDict(extra="forbid")
    return create_model(reply.__name__, __config__=config, __doc__=inspect.getdoc(reply), **fields)


def _with_models(hint: Any) -> Any:
    """Replace each `TypedDict` in a type by its model, and each dict of limits by a Field."""
    if is_typeddict(hint):
        return model_of(hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        kind, *limits = inner
        return Annotated[(_with_models(kind), *(Field(**limit) for limit in limits))]
    if origin in (None, Literal):
        return hint
    models = tuple(_with_models(one) for one in inner)
    return reduce(or_, models) if origin in (Union, UnionType) else origin[models]
