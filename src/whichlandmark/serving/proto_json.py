"""JSON as Google's APIs read and write it: proto3 JSON, partial responses, errors with details.

Whether a field is known, and what its value may be, is a table: `Message`, `Enum`, `Repeated`,
`Map` or one of the scalars, as in a .proto file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .api_errors import ApiError, PhotoError, shortened
from .uploads import decode_base64

Scalar = Literal["STRING", "BYTES", "INT32", "FLOAT", "DOUBLE", "BOOL"]


@dataclass(frozen=True)
class Enum:
    """name: as Google's messages say it; values: by name."""

    name: str
    values: Mapping[str, int]


@dataclass(frozen=True)
class Repeated:
    """A list. of: its items."""

    of: Message | Enum | Scalar


@dataclass(frozen=True)
class Map:
    """A JSON object of any names. of: its values."""

    of: Scalar


@dataclass(frozen=True)
class Message:
    """name: as Google's messages say it; fields: by their names in camel case."""

    name: str
    fields: Mapping[str, Kind]


Kind = Message | Enum | Repeated | Map | Scalar

# "responses(error,landmarkAnnotations/score)" → {"responses": {"error": {}, …}}; {} = everything.
Mask = dict[str, "Mask"]

MAX_MASK_CHARS, MAX_MASK_DEPTH = 4_000, 20

_VERSIONS = ("v1", "v1p1beta1", "v1p2beta1", "v1p3beta1", "v1p4beta1")

_INT32 = range(-(2**31), 2**31)

_SCHEMAS: dict[str, dict[str, Any]] = {
    "STRING": {"type": "string"}, "BYTES": {"type": "string", "format": "byte"},
    "INT32": {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1},
    "FLOAT": {"type": "number"}, "DOUBLE": {"type": "number"}, "BOOL": {"type": "boolean"},
}  # fmt: skip

# Status of an error → google.rpc.Code.
STATUSES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    405: "UNIMPLEMENTED", 408: "DEADLINE_EXCEEDED", 413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT", 421: "FAILED_PRECONDITION", 422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL", 501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
}  # fmt: skip

# Code of an ApiError → the reason that Google's APIs give, which clients branch on.
_REASONS = {
    "wrong_key": "API_KEY_INVALID", "unauthorized": "CREDENTIALS_MISSING",
    "rate_limited": "RATE_LIMIT_EXCEEDED", "forbidden": "ACCESS_DENIED",
}  # fmt: skip


class FieldError(ApiError):
    """400: a field of the request is unknown, or its value is not valid.

    field: as Google's messages name it, such as "requests[0].features[0].max_results".
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(400, "invalid", message)
        self.field = field[:200]


def google_paths(*methods: str) -> list[str]:
    """Paths of methods such as "images:annotate": of all versions, with and without a project."""
    parents = ("", "projects/{project}/", "projects/{project}/locations/{location}/")
    return [f"/{version}/{parent}{method}" for version in _VERSIONS for parent in parents
            for method in methods]  # fmt: skip


def is_google_path(path: str) -> bool:
    """Whether a path is one of Google's, so that errors have their form."""
    return bool(re.search(r"/(images|files):[A-Za-z]+$", path))


def snake_case(name: str) -> str:
    """ "maxResults" → "max_results"."""
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


def camel_case(name: str) -> str:
    """ "max_results" → "maxResults"; other names stay as they are."""
    return re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), name)


def parse(kind: Kind, value: Any, place: str = "") -> Any:
    """A value of parsed JSON as its kind: names in camel case, numbers as numbers, bytes decoded.

    null is the default of a field, which is left out. An enum is its number, also an unknown one.

    Raises:
        FieldError: an unknown name, or a value of another kind.
    """
    if isinstance(kind, Message):
        return _parse_message(kind, value, place)
    if isinstance(kind, Repeated):
        if not isinstance(value, list):
            raise _wrong(place, value, "a list")
        return [parse(kind.of, one, f"{place}[{at}]") for at, one in enumerate(value)]
    if isinstance(kind, Map):
        if not isinstance(value, dict):
            raise _wrong(place, value, "an object")
        return {name: parse(kind.of, one, f"{place}[{name[:40]}]") for name, one in value.items()}
    if isinstance(kind, Enum):
        return _parse_enum(kind, value, place)
    return _parse_scalar(kind, value, place)


def _parse_message(kind: Message, value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(place, value, kind.name)
    found = {}
    for name, one in value.items():
        known = name if name in kind.fields else camel_case(name)
        if known not in kind.fields or (known != name and snake_case(known) != name):
            where = f" at '{place}'" if place else ""
            text = f'Invalid JSON payload received. Unknown name "{name[:80]}"{where}: '
            raise FieldError(place, f"{text}Cannot find field.")
        if one is not None:
            inner = f"{place}.{snake_case(known)}".lstrip(".")
            found[known] = parse(kind.fields[known], one, inner)
    return found


def _parse_enum(kind: Enum, value: Any, place: str) -> int:
    if isinstance(value, str) and value in kind.values:
        return kind.values[value]
    number = _whole(value)
    if number is None:
        raise _wrong(place, value, kind.name)
    return number


def _parse_scalar(kind: Scalar, value: Any, place: str) -> Any:
    parsed: Any = None
    if kind == "INT32":
        parsed = _whole(value)
    elif kind in ("FLOAT", "DOUBLE"):
        parsed = _number(value)
    elif kind == "BOOL":
        parsed = {"true": True, "false": False}.get(value) if isinstance(value, str) else value
        parsed = parsed if isinstance(parsed, bool) else None
    elif isinstance(value, str):
        parsed = decode_base64(value) if kind == "BYTES" else value
        if isinstance(parsed, PhotoError):
            raise FieldError(
                place, f"Invalid value at '{place}' (TYPE_BYTES), Base64 decoding failed."
            )
    if parsed is None:
        raise _wrong(place, value, f"TYPE_{kind}")
    return parsed


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        if value in ("NaN", "Infinity", "-Infinity"):
            return float(value)
        if not re.fullmatch(r"-?\d{1,300}(\.\d{1,300})?([eE][-+]?\d{1,3})?", value, re.ASCII):
            return None
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _whole(value: Any) -> int | None:
    """A 32-bit number that JSON has as 3, 3.0, 3e0 or "3"."""
    number = _number(value)
    if number is None or not math.isfinite(number) or number != int(number):
        return None
    return int(number) if int(number) in _INT32 else None


def _wrong(place: str, value: Any, kind: str) -> FieldError:
    shown = "Infinity" if value == math.inf else str(value)
    quoted = f'"{value[:80]}"' if isinstance(value, str) else shown[:80]
    if isinstance(value, (list, dict)):
        quoted = "a list" if isinstance(value, list) else "an object"
    if not place:
        return FieldError("", f"Invalid JSON payload received. Expected {kind}, got {quoted}.")
    return FieldError(place, f"Invalid value at '{place}' ({kind}), {quoted}")


def parse_mask(text: str, reply: Message) -> Mask:
    """The fields that a client asks for: "a/b,c(d,e/f)", "a.b,c" or "*"; names in both cases.

    reply: what there is. Names in a message without fields, which this server never fills, are not
    checked.

    Raises:
        FieldError: the text is not of this form, or names what is not in a reply.
    """
    if len(text) > MAX_MASK_CHARS:
        raise FieldError("fields", f"The fields parameter has over {MAX_MASK_CHARS} characters.")
    marks = re.findall(r"[A-Za-z0-9_*]+|[^\sA-Za-z0-9_*]", text)
    try:
        paths = _paths_of(marks, 0)
    except (IndexError, ValueError):
        marks = ["?"]
    if marks:
        raise FieldError("fields", f'Invalid field selection "{text[:80]}".')
    mask: Mask = {}
    for path in sorted(paths, key=len):  # so that "a" comes before "a/b", which it contains
        at, new = mask, True
        for name in path:
            if not at and not new:
                break
            new = name not in at
            at = at.setdefault(name, {})
    return _checked(mask, reply, "")


def _paths_of(marks: list[str], depth: int) -> list[list[str]]:
    """Paths between commas, up to the end or a closing bracket. Raises ValueError, IndexError."""
    if depth > MAX_MASK_DEPTH:
        raise ValueError
    found = []
    while True:
        path = [camel_case(_name(marks.pop(0)))]
        while marks[:1] in (["/"], ["."]):
            marks.pop(0)
            path.append(camel_case(_name(marks.pop(0))))
        if marks[:1] == ["("]:
            marks.pop(0)
            found += [path + inner for inner in _paths_of(marks, depth + 1)]
            if marks.pop(0) != ")":
                raise ValueError
        else:
            found.append(path)
        if marks[:1] != [","]:
            return found
        marks.pop(0)


def _name(mark: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_]+|\*", mark):
        raise ValueError
    return mark


def _checked(mask: Mask, kind: Kind, place: str) -> Mask:
    while isinstance(kind, Repeated):
        kind = kind.of
    if not isinstance(kind, Message) or not kind.fields:
        return mask
    for name, inner in mask.items():
        path = f"{place}/{name}".lstrip("/")
        if name == "*":
            continue
        if name not in kind.fields:
            raise FieldError(
                path,
                f"Error expanding 'fields' parameter. Cannot find matching fields for path "
                f"'{path[:100]}'.",
            )
        _checked(inner, kind.fields[name], path)
    return mask


def masked(value: Any, mask: Mask) -> Any:
    """The part of a reply that a mask asks for; of lists, that of each item."""
    if not mask:
        return value
    if isinstance(value, list):
        return [masked(one, mask) for one in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for name, one in value.items():
        if name in mask or "*" in mask:
            inner = mask.get(name, mask.get("*", {}))
            found[name] = masked(one, inner)
    return found


def google_status(error: ApiError) -> int:
    """The HTTP status that Google's APIs give: 403 without a key, 400 for a wrong one."""
    return {"unauthorized": 403, "wrong_key": 400}.get(error.code, error.status)


def google_error(error: ApiError, request_id: str) -> dict[str, Any]:
    """The body of an error, with the details that Google's clients show."""
    status = google_status(error)
    message = f"{error.message} {error.hint}".strip()
    if error.code == "unauthorized":
        message = f"{error.message} Send ?key=KEY, or the header X-Goog-Api-Key."
    elif error.code == "wrong_key":
        message = "API key not valid. Please pass a valid API key."
    known = error.code in ("unauthorized", "wrong_key", "rate_limited")
    details: list[dict[str, Any]] = [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": _REASONS.get(error.code, error.code.upper()),
            "domain": "googleapis.com" if known else "whichlandmark",
            "metadata": {"requestId": request_id},
        }
    ]
    if isinstance(error, FieldError):
        violation = {"field": error.field, "description": error.message}
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [violation],
            }
        )
    if error.retry is not None:
        retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo"}
        details.append({**retry, "retryDelay": f"{error.retry}s"})
    return {"error": {"code": status, "message": shortened(message),
                      "status": STATUSES.get(status, "UNKNOWN"), "details": details}}  # fmt: skip


def json_schema(kind: Kind, named: dict[str, Any] | None = None) -> dict[str, Any]:
    """The schema of a kind as it is published: one form of each value, though others are read.

    named: gets the schema of each message by its name, and the result refers to it; None = the
    schemas of messages stand where they are used.
    """
    if isinstance(kind, Message):
        fields = {name: json_schema(one, named) for name, one in kind.fields.items()}
        schema = {"type": "object", "properties": fields, "additionalProperties": not fields}
        if named is None:
            return schema
        for field in fields.values():
            field["description"] = "As in Google Cloud Vision."
        named[kind.name] = {**schema, "title": kind.name, "description": f"As there: {kind.name}."}
        return {"$ref": f"#/components/schemas/{kind.name}"}
    if isinstance(kind, Repeated):
        return {"type": "array", "items": json_schema(kind.of, named)}
    if isinstance(kind, Map):
        return {"type": "object", "additionalProperties": json_schema(kind.of, named)}
    if isinstance(kind, Enum):
        return {"type": "string", "enum": list(kind.values)}
    return dict(_SCHEMAS[kind])
