"""Photos out of a request's body, in memory: never a temporary file."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.formparsers import MultiPartException, MultiPartParser

from .problems import ApiError, PhotoError, invalid

if TYPE_CHECKING:
    from starlette.datastructures import FormData
    from starlette.requests import Request

NAME = 300  # characters of a photo's name that are kept
FIELDS = 10  # of a form, beside its photos
MATCHES = 5


@dataclass(frozen=True, eq=False)
class Upload:
    """name: as it was sent; data: the file, or why there is none."""

    name: str
    data: bytes | PhotoError


@dataclass(frozen=True, eq=False)
class Question:
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
    photos: list[_JsonPhoto] = Field(min_length=1)
    matches: int = Field(default=MATCHES, ge=0, le=10)


class _InMemory(MultiPartParser):
    spool_max_size = 2**40  # bodies are bounded already: nothing goes to a file

    def abandon(self) -> None:
        """Forget what was read of a body that broke off."""
        for file in self._files_to_close_on_error:
            file.close()


async def read_question(request: Request, most: int, most_bytes: int) -> Question:
    """Multipart parts "photos", or JSON. Raises ApiError."""
    if kind(request) == "application/json":
        body = await request.body()
        question = await anyio.to_thread.run_sync(_parsed, body)
        _count(len(question.photos), most)
        photos = [Upload(p.name[:NAME], decoded(p.data)) for p in question.photos]
        return Question([_bounded(photo, most_bytes) for photo in photos], question.matches)
    photos, fields = await read_files(request, "photos", most, most_bytes)
    return Question(photos, _matches(fields.get("matches", str(MATCHES))))


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


def told(error: ValidationError) -> str:
    """The first fault that was found in a JSON body, as words."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])


def _parsed(body: bytes) -> JsonQuestion:
    try:
        return JsonQuestion.model_validate_json(body)
    except ValidationError as error:
        raise invalid(told(error)[:300]) from None


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
