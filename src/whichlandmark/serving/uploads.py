"""Parse request bodies in memory, within limits: photos from forms or JSON, small JSON objects."""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from email.message import Message
from email.utils import collapse_rfc2231_value
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

MAX_MATCHES = 10

RAW_TYPE = "application/octet-stream"  # of a body that is the file itself, besides image/*

JSON_BYTES = 64_000  # limit of a JSON body without photos

MAX_JSON_MARKS = 20_000  # commas, colons, brackets, blanks and non-ASCII bytes of a JSON body

# A JSON body may have one backslash per so many bytes; base64 in lines, with \/, has one per 25.
BYTES_PER_ESCAPE = 24

SCAN_BYTES = 1_000_000  # scanned at a time, because the scan holds the GIL

# Characters without a limit in a JSON body: they start no value and are parsed fast.
PLAIN_BYTES = bytes(set(range(0x21, 0x7F)) - set(b",:[{\\"))

LARGE_TEXT_CHARS = 8_000_000  # decoded one at a time, because that takes three times the memory

_LARGE_TEXT = threading.Lock()

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, eq=False)
class Upload:
    """A sent photo. name: as sent; data: the file, or why it cannot be used.

    place: latitude and longitude where it was taken, as the client says beside the photo.
    """

    name: str
    data: bytes | PhotoError
    place: tuple[float, float] | None = None


@dataclass(frozen=True)
class PhotoLimits:
    """Limits of one request: photos, and bytes of each."""

    max_photos: int
    max_bytes: int


@dataclass(frozen=True, eq=False)
class RecognizeRequest:
    """Photos to recognize.

    matches: nearest gallery photos to list for each; language: BCP 47 tag of the names, "" = as the
    gallery titles them.
    """

    photos: list[Upload]
    matches: int = DEFAULT_MATCHES
    language: str = ""


class JsonPhoto(BaseModel):
    """A photo in a JSON body. data: the bytes of its file in base64, plain or URL-safe."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str = ""
    data: str


class JsonPhotos(BaseModel):
    """Photos in a JSON body."""

    model_config = ConfigDict(extra="forbid", strict=True)
    photos: list[JsonPhoto] = Field(min_length=1)  # the maximum is an option of the server


class JsonRecognizeRequest(JsonPhotos):
    """Photos to recognize. matches: nearest gallery photos to list for each."""

    matches: int = Field(default=DEFAULT_MATCHES, ge=0, le=MAX_MATCHES)


class _InMemoryParser(MultiPartParser):
    spool_max_size = 2**40  # no temporary files, because bodies are bounded already

    def discard(self) -> None:
        """Close the parts of a body that ended early."""
        for file in self._files_to_close_on_error:
            file.close()


async def read_recognize_request(
    request: Request, limits: PhotoLimits, name: str = "", matches: int = DEFAULT_MATCHES
) -> RecognizeRequest:
    """Parse the body of POST /v1/recognize. Raises ApiError.

    name, matches: as the query gives them; `matches` in a body goes before.
    """
    photos, fields = await read_photos(request, "photos", limits, JsonRecognizeRequest, name)
    given = str(fields.get("matches", matches))
    if not (given.isascii() and given.isdigit() and int(given[:4]) <= MAX_MATCHES):
        raise invalid(f"matches: expected a whole number from 0 to {MAX_MATCHES}")
    return RecognizeRequest(photos, int(given[:4]))


async def read_photos(
    request: Request,
    field: str,
    limits: PhotoLimits,
    json_model: type[JsonPhotos] | None = JsonPhotos,
    name: str = "",
) -> tuple[list[Upload], dict[str, Any]]:
    """Parse a body of photos: a form, JSON, or the file itself. Raises ApiError.

    Args:
        field: the form's field.
        json_model: of a JSON body; None = JSON is refused.
        name: of a file that is the whole body; "" = as Content-Disposition says.

    Returns:
        The photos, and the other fields that were sent.
    """
    kind = media_type(request)
    if kind == "application/json" and json_model is not None:
        body = await read_body(request)
        return await anyio.to_thread.run_sync(_parse_photos, body, limits, json_model)
    if kind == RAW_TYPE or kind.startswith("image/"):
        data = await read_body(request)
        if not data:
            raise invalid("No photo: the body is empty.", "curl --data-binary @PHOTO sends a file.")
        photo = Upload((name or _sent_name(request))[:MAX_NAME_CHARS], data)
        return [_check_size(photo, limits.max_bytes)], {}
    photos, fields = await read_files(request, field, limits.max_photos, limits.max_bytes)
    return photos, dict(fields)


def _sent_name(request: Request) -> str:
    """The file name in Content-Disposition, as in RFC 6266; "" = none."""
    raw = request.headers.get("content-disposition", "").encode("latin-1", "replace")
    header = Message()
    header["Content-Disposition"] = raw.decode("utf-8", "replace")
    given = [value for key, value in header.get_params([], "content-disposition")
             if key.lower() == "filename"]  # fmt: skip
    encoded = [value for value in given if isinstance(value, tuple)]  # filename*, which goes before
    return collapse_rfc2231_value([*encoded, *given, ""][0])


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
                await part.close()  # at once, because it holds a second copy
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
            "Expected a form with files (multipart/form-data), an image/* or application/json.",
            "curl -F photos=@PHOTO sends a form; for a file as the body, give its Content-Type.",
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
    with _LARGE_TEXT if len(text) > LARGE_TEXT_CHARS else nullcontext():
        try:
            if any(mark in text for mark in "-_\r\n"):
                text = text.translate(str.maketrans("-_", "+/", "\r\n"))
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
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
    return from_json(body, allow_inf_nan=False, cache_strings="none")


def _parse_photos(
    body: bytes, limits: PhotoLimits, model: type[JsonPhotos]
) -> tuple[list[Upload], dict[str, Any]]:
    """Photos in a JSON body, and its other fields. Raises ApiError."""
    try:
        value = parse_json(body)
    except ValueError as error:
        raise invalid(str(error)) from None
    photos = value.get("photos") if isinstance(value, dict) else None
    if isinstance(photos, list):
        _check_count(len(photos), limits.max_photos)
        for number, photo in enumerate(photos):
            _check_keys(JsonPhoto, photo, f"photos.{number}")
    parsed = _validated(model, value)
    uploads = [Upload(p.name[:MAX_NAME_CHARS], decode_base64(p.data)) for p in parsed.photos]
    sent = parsed.model_dump(exclude={"photos"}, exclude_unset=True)
    return [_check_size(upload, limits.max_bytes) for upload in uploads], sent


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
