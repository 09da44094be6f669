"""Photos that could not be answered: code, message and hint, of the command line and the server."""

from __future__ import annotations

from typing import TypedDict

from ..core.file_kinds import CONVERT, format_of, formats_in_words
from ..core.files import text_of_bytes, valid_text

# Code of a fault → what to do about it. The server has more of them.
FAULT_HINTS = {
    "unreadable": "The file may be incomplete: open it in another program and save it again.",
    "too_large": "Save the photo smaller, or as JPEG, and send it again.",
    "not_found": "Check the path.",
}

# Parts of the messages about files of a format that is not decoded.
UNSUPPORTED = ("not a photo in one of", "its content: ", ": this is ", CONVERT)

# Parts of the messages about photos beyond a limit.
TOO_LARGE = ("too large to decode", "larger than", "megapixels are decoded", "px a side",
             "more memory")  # fmt: skip


class _FaultParts(TypedDict):
    code: str
    message: str
    hint: str


class Fault(_FaultParts, total=False):
    """What went wrong (code, message) and what the client can do (hint).

    format: what the file is, such as HEIC; only with unsupported_format, and where it is known.
    """

    format: str


class PhotoFailure(TypedDict):
    """One photo failed: this stands in the place of its answer."""

    photo: str
    error: Fault


def fault_hint(code: str) -> str:
    """What to do about a fault with this code of the command line."""
    if code == "unsupported_format":
        return f"Send {formats_in_words()}."
    return FAULT_HINTS[code]


def failed_object(photo: str, error: str) -> PhotoFailure:
    """A photo that could not be read, as a JSON object of the form that the server gives."""
    code, form = "unreadable", ""
    if "no such file" in error:
        code = "not_found"
    elif any(part in error for part in UNSUPPORTED):
        code = "unsupported_format"
        before, told, kind = error.partition("its content: ")  # without it, a folder's own words
        form = format_of(kind if told or CONVERT not in error else before)
    elif any(part in error for part in TOO_LARGE):
        code = "too_large"
    fault: Fault = {"code": code, "message": text_of_bytes(error), "hint": fault_hint(code)}
    if form:
        fault["format"] = form
    return {"photo": valid_text(photo), "error": fault}
