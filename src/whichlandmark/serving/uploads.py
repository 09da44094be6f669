"""Parse request bodies in memory, within limits: photos from forms or JSON, small JSON objects."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from .api_errors import ApiError, PhotoError, invalid, invalid_value, too_large

MAX_NAME_CHARS = 300  # longer names of photos are cut

MAX_FORM_FIELDS = 10  # besides the photos

DEFAULT_MATCHES = 5

JSON_BYTES = 64_000  # limit of a JSON body without photos

MAX_JSON_MARKS = 20_000  # commas, colons, brackets, blanks and non-ASCII bytes of a JSON body

# A JSON body may have one backslash per so many bytes; base64 in lines, with \/, has one per 25.
BYTES_PER_ESCAPE = 24

SCAN_BYTES = 1_000_000  # scanned at a time, because the scan holds the GIL

# Characters without a limit in a JSON body: they start no value and are parsed fast.
PLAIN_BYTES = bytes(set(range(0x21, 0x7F)) - set(b",:[{\\"))

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, eq=False)
class Upload:
    """A sent photo. name: as sent; data: the file, or why it cannot be used."""

    name: str
    data: bytes | PhotoError


@dataclass(frozen=True, eq=False)
class RecognizeRequest:
    """Photos to recognize. matches: nearest gallery photos to list for each."""

    photos: list[Upload]
    matches: int = DEFAULT_MATCHES


class _JsonPhoto(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str = ""
    data: str


class JsonRecognizeRequest(BaseModel):
    """The JSON body of POST /v1/recognize."""

    model_config = ConfigDict(extra="forbid", strict=True)
    photos: list[_JsonPhoto] = Field(min_length=1)  # the maximum is an option of the server
    matches: int = Field(default=DEFAULT_MATCHES, ge=0, le=10)


class _InMemoryParser(MultiPartParser):
    spool_max_size = 2**40  # no temporary files, because bodies are bounded already

    def discard(self) -> None:
        """Close the parts of a body that ended early."""
        for file in self._files_to_close_on_error:
            file.close()


async def read_recognize_request(
    request: Request, max_photos: int, max_bytes: int
) -> RecognizeRequest:
    """Parse the body of POST /v1/recognize: multipart files "photos", or JSON. Raises ApiError."""
    if media_type(request) == "application/json":
        body = await read_body(request)
        return await anyio.to_thread.run_sync(_parse_recognize_request, body, max_photos, max_bytes)
    photos, fields = await read_files(request, "photos", max_photos, max_bytes)
    matches = fields.get("matches", str(DEFAULT_MATCHES))
    if not (matches.isascii() and matches.isdigit() and int(matches[:4]) <= 10):
        raise invalid("matches: expected a whole number from 0 to 10")
    return RecognizeRequest(photos, int(matches[:4]))


async def read_files(
    request: Request, field: str, max_photos: int, max_bytes: int, *, optional: bool = False
) -> tuple[list[Upload], dict[str, str]]:
    """Parse a multipart body. optional: it may have no file. Raises ApiError.

    Returns:
        The files of `field`, and the text fields by name.
    """
    form = await _form(request, max_photos)
    found, fields = [], {}
    try:
        for name, part in form.multi_items():
            if isinstance(part, str):
                fields[name] = part
            elif name == field:
                found.append(Upload((part.filename or "")[:MAX_NAME_CHARS], await part.read()))
    finally:
        await form.close()
    if field in fields:
        raise invalid(f"{field}: text given; expected files", f"curl -F {field}=@PHOTO")
    if not found and not optional:
        raise invalid(f"No photos: the form has no file in a field {field!r}.")
    _check_count(len(found), max_photos)
    return [_check_size(photo, max_bytes) for photo in found], fields


async def _form(request: Request, max_photos: int) -> FormData:
    if media_type(request) != "multipart/form-data":
        raise ApiError(
            415,
            "unsupported_media_type",
            "Expected multipart/form-data.",
            "curl -F photos=@PHOTO sends that.",
        )
    parser: _InMemoryParser | None = None
    try:
        parser = _InMemoryParser(
            request.headers,
            request.stream(),
            max_files=max_photos + 1,
            max_fields=MAX_FORM_FIELDS,
            max_part_size=10_000,
        )
        return await parser.parse()
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise _too_many(max_photos) from None
        raise ApiError(400, "invalid", f"Not a multipart body: {error.message}") from None
    except (KeyError, ValueError, UnicodeError):
        raise ApiError(
            400, "invalid", "Not a multipart body.", "Does Content-Type give its boundary?"
        ) from None
    except BaseException:
        if parser is not None:
            parser.discard()
        raise


def decode_base64(text: str) -> bytes | PhotoError:
    """Base64 in the standard or URL-safe alphabet, with or without padding → bytes."""
    try:
        plain = text.translate(str.maketrans("-_", "+/", "\r\n"))
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return PhotoError("unreadable", "its data is not base64")


def media_type(request: Request) -> str:
    """The media type of the request body, without parameters."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def read_body(request: Request, max_bytes: int | None = None) -> bytes:
    """The body of a request. max_bytes: a limit below the server's own. Raises ApiError.

    The chunks are joined in a thread, because joining 64 MB would block the event loop.
    """
    chunks, size = [], 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if max_bytes is not None and size > max_bytes:
            raise too_large(max_bytes, "Only photos may be larger.")
    return await anyio.to_thread.run_sync(b"".join, chunks)


def json_body(model: type[Model]) -> Callable[[Request], Awaitable[Model]]:
    """A FastAPI dependency that parses a JSON body without photos. It raises ApiError."""

    async def read(request: Request) -> Model:
        if media_type(request) != "application/json":
            raise ApiError(
                415,
                "unsupported_media_type",
                "Expected application/json.",
                "Send the header Content-Type: application/json.",
            )
        return validated_json(model, await read_body(request, JSON_BYTES))

    return read


def validated_json(model: type[Model], body: bytes) -> Model:
    """Parse and validate JSON. Raises ApiError for the first fault."""
    try:
        value = parse_json(body)
    except ValueError as error:
        raise invalid(str(error)) from None
    return _validated(model, value)


def parse_json(body: bytes) -> Any:
    """Parse JSON. Raises ValueError.

    A body of too many values is refused before it is parsed, because Python objects take up to 1000
    times the bytes of their JSON, and parsing holds the GIL.
    """
    marks = escapes = 0
    for start in range(0, len(body), SCAN_BYTES):
        rest = body[start : start + SCAN_BYTES].translate(None, PLAIN_BYTES)
        backslashes = rest.count(b"\\")
        escapes += backslashes
        marks += len(rest) - backslashes
        if marks > MAX_JSON_MARKS or escapes > MAX_JSON_MARKS + len(body) // BYTES_PER_ESCAPE:
            raise ValueError("Too many values, blanks or escapes in one JSON body.")
    return from_json(body, cache_strings="none")


def _parse_recognize_request(body: bytes, max_photos: int, max_bytes: int) -> RecognizeRequest:
    """The JSON body of POST /v1/recognize. Raises ApiError."""
    try:
        value = parse_json(body)
    except ValueError as error:
        raise invalid(str(error)) from None
    photos = value.get("photos") if isinstance(value, dict) else None
    if isinstance(photos, list):
        _check_count(len(photos), max_photos)
        for number, photo in enumerate(photos):
            _check_keys(_JsonPhoto, photo, f"photos.{number}")
    parsed = _validated(JsonRecognizeRequest, value)
    uploads = [Upload(p.name[:MAX_NAME_CHARS], decode_base64(p.data)) for p in parsed.photos]
    return RecognizeRequest([_check_size(upload, max_bytes) for upload in uploads], parsed.matches)


def _validated(model: type[Model], value: Any) -> Model:
    """Validate parsed JSON. Raises ApiError for the first fault."""
    _check_keys(model, value, "")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid_value(error.errors(include_url=False, include_input=False)[0]) from None


def _check_keys(model: type[BaseModel], value: Any, place: str) -> None:
    """Raises ApiError for the first unknown key, because pydantic would list all of them."""
    known = ", ".join(model.model_fields)
    if not isinstance(value, dict):
        raise invalid(f"{place or 'the body'}: expected a JSON object of {known}")
    unknown = next((key for key in value if key not in model.model_fields), None)
    if unknown is not None:
        where = f"{place}.{unknown[:100]}".removeprefix(".")
        raise invalid(f"{where}: unknown key; expected {known}")


def _check_count(count: int, max_photos: int) -> None:
    if count > max_photos:
        raise _too_many(max_photos)


def _too_many(max_photos: int) -> ApiError:
    return ApiError(
        413,
        "too_many_photos",
        f"More than {max_photos} photos in one request.",
        "Send them in several requests.",
    )


def _check_size(photo: Upload, max_bytes: int) -> Upload:
    if isinstance(photo.data, bytes) and len(photo.data) > max_bytes:
        message = f"larger than {max_bytes / 1e6:g} MB"
        return Upload(photo.name, PhotoError("too_large", message))
    return photo
