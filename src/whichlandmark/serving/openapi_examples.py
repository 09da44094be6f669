"""Examples and descriptions in the published OpenAPI document, by the names of properties."""

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
    "wikipedia": ({"en": "Eiffel Tower", "fr": "Tour Eiffel"},), "city": ("Paris",),
    "country": ("France",), "country_code": ("FR",),
    "source": ("https://commons.wikimedia.org/wiki/File:Tour_Eiffel.jpg",),
    "id": ("eiffel_tower/3.jpg",), "photo_id": ("eiffel_tower/3.jpg",), "similarity": (0.83,),
    "inliers": (61,), "author": ("A. Author",), "licence": ("CC BY 4.0",),
    "licence_url": ("https://creativecommons.org/licenses/by/4.0/",),
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
    "group_id": ("5d41402abc4b",), "DiscoveryObject.id": ("5d41402abc4b",), "number": (0,),
    "DiscoveryObject.version": ("2c26b46b68ffc68f",), "GroupDecision.version": (None,),
    "DiscoveryObject.landmark": (None,), "DiscoveryObject.title": (None,), "size": (31,),
    "DiscoveryObject.total": (34,), "SuggestionObject.known": (False,), "known": (False,),
    "SuggestionObject.landmark": ("Eiffel Tower",), "GroupDecision.landmark": ("Eiffel Tower",),
    "why": ("40 m from the photos, by Wikidata",), "reason": ("near",),
    "NotAddedObject.reason": ("gone",),
    "DiscoveredPhotoObject.name": ("IMG_2041.jpg",), "keep": ([0, 1, 2],),
    "DiscoveredPhotoObject.thumbnail": ("/v1/discoveries/5d41402abc4b/photos/0",),
    "not_added": ([],), "NotAddedObject.photo": ("IMG_2041.jpg",),
    "NotAddedObject.message": ("IMG_2041.jpg: does not exist",),
    "mid": ("Q243",), "VisionLandmark.description": ("Eiffel Tower",),
    "VisionLandmark.score": (0.97,), "x": (198,), "y": (24,),
    "ChosenPhotos.photos": (["eiffel_tower/3.jpg"],),
    "MovedPhotos.photos": (["eiffel_tower/3.jpg"],),
    "data": (ONE_PIXEL,), "content": (ONE_PIXEL,),
}  # fmt: skip

# Properties that replies have only at times, and that examples leave out.
LEFT_OUT = ("VisionAnswer.error", "Fault.format")

# Name of a property → what it is, where the type's own description does not say. A name after that
# of a schema goes before the name alone.
PROPERTIES = {
    "schema": "Name and number of this form of reply.",
    "request_id": "Names the request in the server's logs.",
    "model": "What answered.", "timings_ms": "Where the time went, in milliseconds.",
    "embedder": "What made the vectors; those of another are not comparable.",
    "generation": "Of the gallery; it grows with every change.",
    "results": "One for each photo, in the order sent.", "photo": "Name of the photo, as sent.",
    "decision": "landmark: named; uncertain: it may be the guess; no_landmark: none is known.",
    "landmark": "Label of the landmark.", "guess": "Label of the likeliest, whatever the decision.",
    "second": "Label of the second likeliest.",
    "confidence": "Calibrated probability that it is right, 0 to 1.",
    "score": "Ranks answers; null where there was no candidate.", "words": "In a sentence.",
    "candidates": "Landmarks that it may be, the likeliest first.",
    "matches": "Gallery photos, the most similar first.", "landmarks": "Landmarks found.",
    "warnings": "What makes the answer less reliable.",
    "unfinished": "Set while an index run has not finished.",
    "title": "Name for people, in the language asked for.", "names": "Names by language tag.",
    "wikidata": "Wikidata id, such as Q243.", "latitude": "Degrees north (WGS 84).",
    "longitude": "Degrees east (WGS 84).", "source": "Web address where this comes from.",
    "wikipedia": "Titles of the articles, by language as in fr.wikipedia.org.",
    "city": "City or municipality where it is.", "country": "Country where it is.",
    "country_code": "Of the country, two letters (ISO 3166-1), such as FR.",
    "id": "Id in the gallery.", "author": "Who made the photo.", "licence": "Of the photo.",
    "licence_url": "Web address of the licence.",
    "similarity": "Cosine of the two embeddings, −1 to 1.",
    "inliers": "Details that agree in one view; null = they were not compared.",
    "thumbnail": "Path of a small picture; null = there is none.",
    "vector": "Numbers of the embedding; their squares sum to 1.",
    "total": "How many there are in all.", "distractors": "Nearest photos without a landmark.",
    "Candidate.photos": "The nearest photos of it.",
    "LandmarkReply.photos": "Number of its photos.",
    "ChangedLandmarkReply.photos": "Number of its photos.",
    "PhotosReply.photos": "One page of them.",
    "UnfinishedObject.photos": "In the gallery so far.", "of": "How many there will be.",
    "JsonPhotos.photos": "The photos.", "JsonRecognizeRequest.photos": "The photos.",
    "ChosenPhotos.photos": "Their ids.", "MovedPhotos.photos": "Their ids.",
    "Timings.queue": "Waiting.", "decode": "Decoding the photo.", "embed": "Embedding it.",
    "search": "Searching and comparing.", "Timings.total": "The whole request.",
    "added": "Ids of new photos.", "already_there": "Ids of photos that this landmark has already.",
    "other_landmark": "Photos that another landmark has.",
    "moved": "Ids of photos moved from there.",
    "failed": "Photos that could not be read.", "answer": "The answer to the photo.",
    "FeedbackEntry.answer": "The landmark that was answered; null = none.",
    "reasons": "The sentences as numbers.", "query": "Size of the photo.",
    "parts": "What the score is made of.", "time": "When it came, UTC.", "entries": "One page.",
    "width": "In pixels.", "height": "In pixels.", "text": "The same in a sentence.",
    "PartObject.name": "Of the part.", "value": "As the text says.",
    "queued": "Always true.", "other": "Label of the nearest other landmark.",
    "relabelled": "Number of photos.", "removed": "Number of photos.",
    "restored": "Number of photos.", "entry": "As it is now.", "url": "With {z}, {x} and {y}.",
    "attribution": "To be shown on the map.", "name": "Of the photo; it comes back in the answer.",
    "action": "approve or discard.",
    "GroupDecision.action": "name: add its photos to a landmark; dismiss: it shows none; reopen: "
                            "take that back.",
    "state": "What was decided.", "why": "Where the suggestion comes from, in English.",
    "discoveries": "One page of them.", "discovery": "The group as it is now.",
    "SuggestionObject.title": "Name for people.", "DiscoveryObject.id": "Of the group.",
    "DiscoveryObject.suggestion": "null = nothing is known of it.",
    "DiscoveredPhotoObject.thumbnail": "Path of a small picture.",
    "NotAddedObject.photo": "Name of its file.",
    "error": "Why not.", "code": "Stable name of the reason, for programs.",
    "message": "What is wrong, for people.", "hint": "What to do about it, for people.",
    "queue": "Photos that are in work.", "version": "Of the server.",
    "max_photos": "Most photos of a request.", "max_bytes": "Most bytes of a photo.",
    "formats": "Formats of photos that can be read.", "read": "Whether reading needs a key.",
    "write": "Whether changing the gallery needs a key.", "tiles": "Map tiles; null = none.",
    "note": "Anything else that a reviewer should know.", "right": "Whether the answer was right.",
    "undo_seconds": "For how long it can be undone.",
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
            return {key: self.of(inner, key, owner) for key, inner in schema["properties"].items()
                    if f"{owner}.{key}" not in LEFT_OUT}  # fmt: skip
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
