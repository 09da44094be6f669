"""The published OpenAPI document: schemas of requests and replies, access, examples."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from functools import cache, cached_property, reduce
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

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, create_model

from ..recognition.faults import Fault
from .openapi_examples import PROPERTIES, Examples
from .uploads import RAW_TYPE, JsonPhotos

STATUS_DESCRIPTIONS = {
    400: "Malformed request", 401: "No valid API key", 403: "Not allowed for this key or site",
    404: "Unknown landmark, photo, feedback or group", 405: "Method not allowed",
    408: "Body sent too slowly",
    409: "The landmark exists, the gallery would become empty, or it is decided already",
    410: "Too late to undo",
    413: "Too large, or too many photos",
    415: "Unsupported media type", 421: "Host header not allowed", 422: "Not valid by the schema",
    429: "Too many photos per minute, or too many wrong keys", 500: "Internal error",
    503: "Busy, retry later",
}  # fmt: skip

# Key of a route's OpenAPI for schemas of its request, which the published document lists by name.
COMPONENTS = "x-components"

JSON = "application/json"

RETRY_AFTER = {"description": "Seconds until it is worth another try.",
               "schema": {"type": "integer"}}  # fmt: skip

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
            found[status]["headers"] = {"Retry-After": RETRY_AFTER}
    return found


def json_of(model: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI for a JSON request body."""
    schema, named = _named(model)
    content = {JSON: {"schema": schema}}
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
        content[JSON] = {"schema": schema}
    form = {"type": "object", "required": [field], "properties": properties}
    content = {"multipart/form-data": {"schema": form}, **content}
    if raw:
        content[RAW_TYPE] = {"schema": {"type": "string", "format": "binary"}}
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
        optional = name not in reply.__required_keys__
        limits: dict[str, Any] = {"default_factory": lambda: None} if optional else {}
        if hasattr(BaseModel, name):  # "schema" is a method of every model
            fields[f"{name}_"] = (_with_models(hint), Field(alias=name, **limits))
        else:
            fields[name] = (_with_models(hint), Field(**limits))
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


DESCRIPTION = """\
Names the landmark in a photo, or says that it shows none. Every photo is compared with a gallery
of photos of known landmarks, which can be changed through this API as well.

**Keys.** A server with keys wants one in `Authorization: Bearer KEY`; `X-Goog-Api-Key: KEY` is
accepted too. A key has the scope `read`, or `write` to change the gallery as well. A server
without keys ignores them.

**Errors.** A photo that cannot be answered has an `error` in the place of its answer; a request
that is refused as a whole has a status of 400 or more and `{"error": {"code", "message", "hint"}}`.
Codes are stable; messages are for people.

**Compatible changes.** Replies may get more fields; ignore those that you do not know. `schema` in
a reply changes when old readers could no longer follow.

**Limits.** Replies to photos of a limited caller tell in `RateLimit` (and `RateLimit-Limit`,
`-Remaining`, `-Reset`) how many photos are left; 429 and 503 say in `Retry-After` when to try
again.
"""

TAGS = {
    "photos": "Photos in, answers out: which landmark, why, what is similar, and was it right.",
    "gallery": "The landmarks and photos that answers come from: search, add, change, remove.",
    "vision": "The same answers in the messages of Google Cloud Vision, for its client libraries.",
    "service": "Health, metrics and configuration.",
}

SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer",
               "description": "A key that `whichlandmark keys add` printed."},
    "googleHeader": {"type": "apiKey", "in": "header", "name": "X-Goog-Api-Key",
                     "description": "The same key, as Google's clients send it."},
    "googleQuery": {"type": "apiKey", "in": "query", "name": "key",
                    "description": "The same key; only for routes of Google Cloud Vision."},
}  # fmt: skip

REPLY_HEADERS = {
    "X-Request-Id": ("Names this request in the server's logs.", {"type": "string"}),
    "RateLimit": ("The same as the next ones, as the IETF draft has it.", {"type": "string"}),
    "RateLimit-Policy": ("The limit, as the IETF draft has it.", {"type": "string"}),
    "RateLimit-Limit": ("Photos per minute, for a limited caller.", {"type": "integer"}),
    "RateLimit-Remaining": ("Photos that are left at the moment.", {"type": "integer"}),
    "RateLimit-Reset": ("Seconds until all of them are free again.", {"type": "integer"}),
    "ETag": ("Send it in `If-None-Match`; 304 says that nothing changed.", {"type": "string"}),
}


# Operations by method and path → their names, which generated clients make functions of.
OPERATION_IDS = {
    "post /v1/recognize": "recognize", "post /v1/explain": "explain", "post /v1/embed": "embed",
    "post /v1/similar": "find_similar", "post /v1/feedback": "send_feedback",
    "get /v1/feedback": "list_feedback", "get /v1/feedback/{entry_id}/photo": "get_feedback_photo",
    "patch /v1/feedback/{entry_id}": "review_feedback", "get /v1/landmarks": "list_landmarks",
    "get /v1/landmarks/{name}": "get_landmark", "patch /v1/landmarks/{name}": "change_landmark",
    "delete /v1/landmarks/{name}": "remove_landmark",
    "get /v1/landmarks/{name}/photos": "list_photos",
    "post /v1/landmarks/{name}/photos": "add_photos", "get /v1/distractors": "list_distractors",
    "get /v1/photos/{photo_id}": "get_photo", "patch /v1/photos/{photo_id}": "change_photo",
    "delete /v1/photos/{photo_id}": "remove_photo",
    "post /v1/photos:remove": "remove_photos", "post /v1/photos:move": "move_photos",
    "get /v1/photos/{photo_id}/thumbnail": "get_thumbnail",
    "get /v1/photos/{photo_id}/preview": "get_preview", "post /v1/undo/{token}": "undo",
    "get /v1/discoveries": "list_discoveries", "get /v1/discoveries/{group_id}": "get_discovery",
    "post /v1/discoveries/{group_id}": "decide_discovery",
    "get /v1/discoveries/{group_id}/photos/{number}": "get_discovery_photo",
    "post /v1/images:annotate": "annotate_images", "get /v1/config": "get_config",
    "get /livez": "get_liveness", "get /readyz": "get_readiness", "get /metrics": "get_metrics",
}  # fmt: skip

# Beginnings of paths whose replies no browser keeps.
NOT_KEPT = ("/livez", "/readyz", "/metrics", "/v1/feedback", "/v1/discoveries")


class Document:
    """The OpenAPI document of an app, made when it is first asked for.

    routes: of the app, which refer to scopes by `require_scope`; with_keys: whether the server asks
    for keys.
    """

    def __init__(self, app: FastAPI, routes: Sequence[APIRoute], *, with_keys: bool) -> None:
        self._app, self._with_keys = app, with_keys
        self._routes = {(method.lower(), route.path_format): route
                        for route in routes for method in route.methods or ()}  # fmt: skip

    def router(self) -> APIRouter:
        """The route of the document."""
        routes = APIRouter()

        @routes.get("/openapi.json", include_in_schema=False)
        def openapi(request: Request) -> JSONResponse:
            return JSONResponse(self.at(request.scope.get("root_path", "").rstrip("/")))

        return routes

    def at(self, root_path: str) -> dict[str, Any]:
        """The document of a server that is reached under a prefix; "" = none."""
        return {**self._content, "servers": [{"url": root_path or "/"}]}

    @cached_property
    def _content(self) -> dict[str, Any]:
        content = self._app.openapi()
        schemas = content.setdefault("components", {}).setdefault("schemas", {})
        for schema in schemas.values():
            if "properties" in schema:  # of a reply: what is added later must not break a client
                schema["additionalProperties"] = True
        for path, operations in content["paths"].items():
            for method, operation in operations.items():
                schemas.update(operation.pop(COMPONENTS, {}))
                self._complete(method, path, operation)
        for schema in schemas.values():
            for name, text in described(schema).items():
                schema["properties"][name].setdefault("description", text)
        examples = Examples(schemas)
        for operations in content["paths"].values():
            for operation in operations.values():
                examples.add_to(operation)
        content["components"]["securitySchemes"] = SECURITY
        content["info"] |= {
            "summary": "Which landmark is in this photo, or none?",
            "description": DESCRIPTION,
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        }
        content["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
        return content

    def _complete(self, method: str, path: str, operation: dict[str, Any]) -> None:
        """Name, access, summary, and headers of the replies of one operation."""
        route = self._routes[method, path]
        operation["operationId"] = OPERATION_IDS.get(f"{method} {path}", route.name)
        scope = scope_of(route)
        schemes = ["bearer", "googleHeader"]
        if "vision" in operation.get("tags", []):
            schemes.append("googleQuery")
        needed: list[dict[str, list[str]]] = [{name: []} for name in schemes]
        operation["security"] = ([] if self._with_keys else [{}]) + needed if scope else []
        text = operation.get("description", "")
        operation["summary"] = re.split(r"(?<=[.;:])\s", text, maxsplit=1)[0].rstrip(".;:")
        operation["description"] = text if not scope else f"{text}\n\nScope: `{scope}`."
        responses: dict[str, Any] = operation["responses"]
        limited = "429" in responses
        if not scope:
            responses.pop("401", None)
        for wrong_keys in (429, 503) if scope else ():  # too many of them; their file is damaged
            if str(wrong_keys) not in responses:
                responses[str(wrong_keys)] = {
                    "description": STATUS_DESCRIPTIONS[wrong_keys],
                    "headers": {"Retry-After": RETRY_AFTER},
                    "content": {JSON: dict(responses["400"]["content"][JSON])},
                }
        operation["responses"] = dict(sorted(responses.items()))
        for status, reply in responses.items():
            names = ["X-Request-Id"]
            if limited and status in ("200", "429"):
                names += [name for name in REPLY_HEADERS if name.startswith("RateLimit")]
            if status == "200" and method == "get" and not path.startswith(NOT_KEPT):
                names.append("ETag")
            for name in names:
                described, schema = REPLY_HEADERS[name]
                header = {"description": described, "schema": schema}
                reply.setdefault("headers", {}).setdefault(name, header)


def described(schema: dict[str, Any]) -> dict[str, str]:
    """Property → what it is, as the schema's description says ("name, other: what they are; …")."""
    names, text = schema.get("properties", {}), " ".join(schema.get("description", "").split())
    labels: list[tuple[list[str], int, int]] = []  # properties, and where their text begins
    for label in re.finditer(r"(?<![\w`])((?:\w+, )*\w+): ", text):
        known = [name for given, _, _ in labels for name in given]
        given = label[1].split(", ")
        if all(name in names and name not in known for name in given):
            labels.append((given, label.start(), label.end()))
    ends = [*(start for _, start, _ in labels[1:]), len(text)]
    owner = schema.get("title", "")
    general = {name: PROPERTIES.get(f"{owner}.{name}", PROPERTIES.get(name, "")) for name in names}
    found = {name: words for name, words in general.items() if words}
    for (given, _, start), end in zip(labels, ends, strict=False):
        words = text[start:end].strip().rstrip(".;,")
        ending = "" if words.endswith("?") else "."
        found |= dict.fromkeys(given, f"{words[:1].upper()}{words[1:]}{ending}")
    return found


def scope_of(route: APIRoute) -> str:
    """The scope that a key needs for a route; "" = no key is needed."""
    waiting = list(route.dependant.dependencies)
    while waiting:
        one = waiting.pop()
        if found := getattr(one.call, "scope", ""):
            return str(found)
        waiting += one.dependencies
    return ""
