"""Request bodies in memory: photos from forms and JSON, and small JSON objects, all bounded."""

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

from .api_errors import ApiError, PhotoError, invalid, too_large

NAME = 300  # characters of a photo's name that are kept

FIELDS = 10  # of a form, beside its photos

MATCHES = 5

JSON_BYTES = 64_000  # of a JSON body without photos

MARKS = 20_000  # commas, colons, brackets, blanks and non-ASCII bytes of a JSON body

ESCAPES = 24  # bytes of a JSON body for each backslash; base64 in lines, with \/, has one in 25

PIECE = 1_000_000  # bytes that are looked through at once, because other threads wait meanwhile

# What a JSON body may hold any number of: none of it starts a value or is slow to read.
PLAIN = bytes(set(range(0x21, 0x7F)) - set(b",:[{\\"))

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, eq=False)
class Upload:
    """name: as it was sent; data: the file, or why there is none."""

    name: str
    data: bytes | PhotoError


@dataclass(frozen=True, eq=False)
class RecognizeRequest:
    """Photos to answer, and how many nearest photos to tell of each."""

    photos: list[Upload]
    matches: int = MATCHES


class _JsonPhoto(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str = ""
    data: str


class JsonQuestion(BaseModel):
    """The JSON body of POST /v1/recognize."""

    model_config = ConfigDict(extra="forbid", strict=True)
    photos: list[_JsonPhoto] = Field(min_length=1)  # the most is the server's option
    matches: int = Field(default=MATCHES, ge=0, le=10)


class _InMemory(MultiPartParser):
    spool_max_size = 2**40  # bodies are bounded already: nothing goes to a file

    def abandon(self) -> None:
        """Forget what was read of a body that broke off."""
        for file in self._files_to_close_on_error:
            file.close()


async def read_question(request: Request, most: int, most_bytes: int) -> RecognizeRequest:
    """Multipart parts "photos", or JSON. Raises ApiError."""
    if kind(request) == "application/json":
        body = await whole_body(request)
        return await anyio.to_thread.run_sync(_question, body, most, most_bytes)
    photos, fields = await read_files(request, "photos", most, most_bytes)
    return RecognizeRequest(photos, _matches(fields.get("matches", str(MATCHES))))


async def read_files(
    request: Request, field: str, most: int, most_bytes: int
) -> tuple[list[Upload], dict[str, str]]:
    """The files of one field of a multipart body, in memory, and its texts. Raises ApiError."""
    form = await _form(request, most)
    found, fields = [], {}
    try:
        for name, part in form.multi_items():
            if isinstance(part, str):
                fields[name] = part
            elif name == field:
                found.append(Upload((part.filename or "")[:NAME], await part.read()))
    finally:
        await form.close()
    if field in fields:
        raise invalid(f"{field}: text given; expected files", f"curl -F {field}=@PHOTO")
    if not found:
        raise invalid(f"No photos: the form has no file in a field {field!r}.")
    _count(len(found), most)
    return [_bounded(photo, most_bytes) for photo in found], fields


async def _form(request: Request, most: int) -> FormData:
    if kind(request) != "multipart/form-data":
        raise ApiError(
            415, "unsupported_media_type", "Expected multipart/form-data.",
            "curl -F photos=@PHOTO sends that.",
        )  # fmt: skip
    parser: _InMemory | None = None
    try:
        parser = _InMemory(
            request.headers, request.stream(), max_files=most + 1, max_fields=FIELDS,
            max_part_size=10_000,
        )  # fmt: skip
        return await parser.parse()
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise _too_many(most) from None
        raise ApiError(400, "invalid", f"Not a multipart body: {error.message}") from None
    except (KeyError, ValueError, UnicodeError):
        raise ApiError(400, "invalid", "Not a multipart body.", "Is its boundary told?") from None
    except BaseException:
        if parser is not None:
            parser.abandon()
        raise


def _matches(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:4]) <= 10):
        raise invalid("matches: expected a whole number from 0 to 10")
    return int(text[:4])


def decoded(text: str) -> bytes | PhotoError:
    """Base64, of either alphabet → bytes."""
    try:
        plain = text.translate(str.maketrans("-_", "+/", "\r\n"))
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return PhotoError("unreadable", "its data is not base64")


def kind(request: Request) -> str:
    """The media type of a request's body, without parameters."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def whole_body(request: Request, most: int | None = None) -> bytes:
    """The body of a request, at most `most` bytes where that is less than for other requests.

    Raises ApiError. The pieces are joined in a thread, because 64 MB would hold up the event loop.
    """
    pieces, size = [], 0
    async for piece in request.stream():
        pieces.append(piece)
        size += len(piece)
        if most is not None and size > most:
            raise too_large(most, "Only photos may be larger.")
    return await anyio.to_thread.run_sync(b"".join, pieces)


def json_body(model: type[Model]) -> Callable[[Request], Awaitable[Model]]:
    """A dependency: the body of a request without photos, as this model. It raises ApiError."""

    async def read(request: Request) -> Model:
        if kind(request) != "application/json":
            raise ApiError(415, "unsupported_media_type", "Expected application/json.",
                           "Send the header Content-Type: application/json.")  # fmt: skip
        body = await whole_body(request, JSON_BYTES)
        try:
            value = parsed(body)
        except ValueError as error:
            raise invalid(str(error)) from None
        return _validated(model, value)

    return read


def parsed(body: bytes) -> Any:
    """Read JSON. Raises ValueError.

    Python objects take up to 1000 times the bytes of the JSON that they are made from, and no other
    thread runs while they are made. So a body of too many values is refused before it is read.
    """
    marks = escapes = 0
    for start in range(0, len(body), PIECE):
        rest = body[start : start + PIECE].translate(None, PLAIN)
        backslashes = rest.count(b"\\")
        escapes += backslashes
        marks += len(rest) - backslashes
        if marks > MARKS or escapes > MARKS + len(body) // ESCAPES:
            raise ValueError("Too many values, blanks or escapes in one JSON body.")
    return from_json(body, cache_strings="none")


def _question(body: bytes, most: int, most_bytes: int) -> RecognizeRequest:
    """The JSON body of POST /v1/recognize. Raises ApiError."""
    try:
        value = parsed(body)
    except ValueError as error:
        raise invalid(str(error)) from None
    photos = value.get("photos") if isinstance(value, dict) else None
    if isinstance(photos, list):
        _count(len(photos), most)
        for number, photo in enumerate(photos):
            _only_known(_JsonPhoto, photo, f"photos.{number}")
    question = _validated(JsonQuestion, value)
    uploads = [Upload(p.name[:NAME], decoded(p.data)) for p in question.photos]
    return RecognizeRequest([_bounded(upload, most_bytes) for upload in uploads], question.matches)


def _validated(model: type[Model], value: Any) -> Model:
    """Raises ApiError for the first fault that is found."""
    _only_known(model, value, "")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise invalid(f"{place}: {first['msg']}" if place else str(first["msg"])) from None


def _only_known(model: type[BaseModel], value: Any, place: str) -> None:
    """Raises ApiError for the first unknown key; pydantic would list them all."""
    known = ", ".join(model.model_fields)
    if not isinstance(value, dict):
        raise invalid(f"{place or 'the body'}: expected a JSON object of {known}")
    unknown = next((key for key in value if key not in model.model_fields), None)
    if unknown is not None:
        where = f"{place}.{unknown[:100]}".removeprefix(".")
        raise invalid(f"{where}: unknown key; expected {known}")


def _count(count: int, most: int) -> None:
    if count > most:
        raise _too_many(most)


def _too_many(most: int) -> ApiError:
    return ApiError(413, "too_many_photos", f"More than {most} photos in one request.",
                    "Send them in several requests.")  # fmt: skip


def _bounded(photo: Upload, most_bytes: int) -> Upload:
    if isinstance(photo.data, bytes) and len(photo.data) > most_bytes:
        words = f"larger than {most_bytes / 1e6:g} MB"
        return Upload(photo.name, PhotoError("too_large", words))
    return photo
