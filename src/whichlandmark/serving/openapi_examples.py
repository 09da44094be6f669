"""Examples in the published OpenAPI document, made from the names of properties."""

from __future__ import annotations

from typing import Any

from .proto_json import STATUSES

# A picture of one pixel, as a file in base64.
ONE_PIXEL = "R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs="

# Name of a property or parameter → its values in examples: the first that fits the schema is taken.
# A name after that of a schema goes before the name alone.
EXAMPLES: dict[str, tuple[Any, ...]] = {
    "request_id": ("4f3d2a1b9c8e7d60",), "embedder": ("lite0-2f7c1a",), "generation": (12,),
    "queue": (0.4, 2), "decode": (21.5,), "embed": (38.2,), "search": (1.9,), "total": (64.0, 35),
    "photo": ("holiday.jpg",), "landmark": ("eiffel_tower",), "guess": ("eiffel_tower",),
    "second": ("blackpool_tower",), "confidence": (0.97,), "score": (4.21,),
    "words": ("Eiffel Tower, almost certainly",), "title": ("Eiffel Tower",),
    "names": ({"fr": "Tour Eiffel", "de": "Eiffelturm"},), "wikidata": ("Q243",),
    "latitude": (48.8583,), "longitude": (2.2945,),
    "source": ("https://commons.wikimedia.org/wiki/File:Tour_Eiffel.jpg",),
    "id": ("eiffel_tower/3.jpg",), "photo_id": ("eiffel_tower/3.jpg",), "similarity": (0.83,),
    "inliers": (61,), "author": ("A. Author",), "licence": ("CC BY 4.0",),
    "thumbnail": ("/v1/photos/eiffel_tower%2F3.jpg/thumbnail",),
    "image": ("/v1/photos/eiffel_tower%2F3.jpg/thumbnail",),
    "box": ([0.31, 0.05, 0.68, 0.97],), "warnings": ([],), "unfinished": (None,),
    "vector": ([0.0412, -0.0107, 0.0893],), "width": (640,), "height": (480,),
    "lines": ([[0.41, 0.22, 0.39, 0.25]],), "name": ("similarity",),
    "value": (0.83,), "contribution": (2.1,), "tiles": (None,), "trouble": ("",),
    "text": ("61 points of your photo match this photo.",), "attribution": ("© mapmakers",),
    "distractors": (1200,), "photos": (240,), "landmarks": (35,), "matches": (5,),
    "added": (["eiffel_tower/4f3d2a1b.jpg"],), "already_there": (["eiffel_tower/3.jpg"],),
    "moved": ([],), "failed": ([],), "removed": (1,), "relabelled": (8,), "restored": (1,),
    "other_landmark": ([],), "answer": ("eiffel_tower",), "correct": ("blackpool_tower",),
    "right": (False,), "note": ("The one at the sea.",), "queued": (True,), "merge": (False,),
    "url": ("https://tiles.example/{z}/{x}/{y}.png",), "max_photos": (16,),
    "max_bytes": (60_000_000,), "formats": (["JPEG", "PNG", "WebP"],), "uses_location": (False,),
    "shrink_side": (1600,), "version": ("1.0",), "ready": (True,), "lang": ("fr",),
    "query": ("eiffel",), "offset": (0,), "limit": (20,), "move": (False,), "side": (640,),
    "token": ("b3d1c5f0a2e94c7d",), "undo": ("b3d1c5f0a2e94c7d",), "undo_seconds": (60,),
    "entry_id": ("9f86d081884c",), "FeedbackObject.id": ("9f86d081884c",),
    "key": ("phone",), "time": ("2026-01-14T10:15:00+00:00",), "not_restored": ([],),
    "other": ("blackpool_tower",), "preview": ("/v1/photos/eiffel_tower%2F3.jpg/preview",),
    "alike": (4,), "lead": (0.21,), "contrast": ("far",), "details": (61,), "other_details": (6,),
    "chance": (8,), "nothing": (None,), "format": ("HEIC",), "undo_photos": (200,),
    "ChosenPhotos.photos": (["eiffel_tower/3.jpg"],),
    "MovedPhotos.photos": (["eiffel_tower/3.jpg"],),
    "data": (ONE_PIXEL,), "content": (ONE_PIXEL,),
}  # fmt: skip

# Parameters that mean something else than the property of that name: (where, name) → example.
PARAMETERS = {("path", "name"): "eiffel_tower", ("query", "name"): "holiday.jpg"}

ERRORS = {  # status → code, message and hint of its example
    400: ("invalid", "Not a multipart body.", "Does Content-Type give its boundary?"),
    401: ("unauthorized", "This server requires an API key.",
          "Send the header Authorization: Bearer KEY."),
    403: ("forbidden", "This request needs a key with the scope 'write'.",
          "Ask the operator for one."),
    404: ("not_found", "No landmark 'eiffel_tower'.", "GET /v1/landmarks lists the landmarks."),
    408: ("too_slow", "The request body did not arrive in time.", "The limit is 60 s."),
    409: ("landmark_exists", "There is a landmark 'eiffel_tower' already.",
          "Send merge: true to put the photos together."),
    410: ("too_late", "This can no longer be undone.", "Add the photos again."),
    413: ("too_many_photos", "More than 16 photos in one request.",
          "Send them in several requests."),
    415: ("unsupported_media_type", "Expected application/json.",
          "Send the header Content-Type: application/json."),
    421: ("wrong_host", 'Host header "a.example" is not allowed; start the server with --name '
          "a.example.", "Or use localhost."),
    422: ("invalid", "matches: expected a whole number from 0 to 10",
          "The schema is at /openapi.json."),
    429: ("rate_limited", "More than 120 photos per minute.", "Retry in 9 s."),
    500: ("internal", "Internal server error.", "Report the request id to the operator."),
    503: ("busy", "The server is at capacity.", "Retry in 2 s."),
}  # fmt: skip


class Examples:
    """Makes an example of every request, reply and parameter. schemas: those that have a name."""

    def __init__(self, schemas: dict[str, Any]) -> None:
        self._schemas = schemas

    def add_to(self, operation: dict[str, Any]) -> None:
        """Add examples to an operation, where it has none."""
        for parameter in operation.get("parameters", []):
            name = parameter["name"]
            shown = PARAMETERS.get((parameter["in"], name))
            self._set(parameter, shown or self.of(parameter["schema"], name))
        bodies = operation.get("requestBody", {}).get("content", {})
        for kind, content in bodies.items():
            if kind == "application/json":
                self._set(content, self.of(content["schema"]))
        for status, reply in operation["responses"].items():
            content = reply.get("content", {}).get("application/json")
            if content is None:
                continue
            example = self.of(content["schema"])
            if isinstance(example, dict) and "error" in example and int(status) in ERRORS:
                code, message, hint = ERRORS[int(status)]
                error: dict[str, Any] = {"code": code, "message": message, "hint": hint}
                if "hint" not in example["error"]:  # in the format of Google
                    name = STATUSES.get(int(status), "UNKNOWN")
                    error = {"code": int(status), "message": message, "status": name}
                example["error"] = error
            self._set(content, example)

    @staticmethod
    def _set(place: dict[str, Any], example: Any) -> None:
        if "examples" not in place:
            place.setdefault("example", example)

    def of(self, schema: dict[str, Any], name: str = "", owner: str = "") -> Any:
        """An example of a value. name: of the property that has it; owner: that schema's name."""
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        for known in (*EXAMPLES.get(f"{owner}.{name}", ()), *EXAMPLES.get(name, ())):
            if self._fits(known, schema):
                return known
        choices = [*schema.get("oneOf", ()), *schema.get("anyOf", ())]
        if choices:
            return self.of(choices[0], name)
        if "enum" in schema:
            return schema["enum"][0]
        if "properties" in schema:
            owner = schema.get("title", "")
            return {key: self.of(inner, key, owner) for key, inner in schema["properties"].items()}
        if schema.get("type") == "array":
            return [self.of(schema.get("items", {}), name)]
        if "default" in schema:
            return schema["default"]
        plain = {"string": "", "boolean": True, "object": {}, "null": None}
        return plain.get(schema.get("type", ""), schema.get("minimum", 0))

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        return schema

    def _fits(self, value: Any, schema: dict[str, Any]) -> bool:
        """Whether the value has the type of the schema, or of one of its alternatives."""
        schema = self._resolved(schema)
        choices = [*schema.get("oneOf", ()), *schema.get("anyOf", ())]
        if choices:
            return any(self._fits(value, one) for one in choices)
        if "enum" in schema:
            return value in schema["enum"]
        if isinstance(value, list) and value and schema.get("type") == "array":
            return self._fits(value[0], schema.get("items", {}))
        kinds: dict[type, tuple[str, ...]] = {
            bool: ("boolean",), int: ("integer", "number"), float: ("number",), str: ("string",),
            list: ("array",), dict: ("object",), type(None): ("null",),
        }  # fmt: skip
        return schema.get("type") in kinds[type(value)] and "properties" not in schema
