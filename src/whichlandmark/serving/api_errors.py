"""Typed errors of the API: one for a whole request, one for a single photo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..recognition.faults import Fault, PhotoFailure, fault_hint

if TYPE_CHECKING:
    from .schemas import ErrorReply

MAX_MESSAGE_CHARS = 300

# Code of a PhotoError → hint; `fault_hint` has those that the command line gives too.
HINTS = {
    "timeout": "Save the photo smaller, as JPEG, and send it again.",
    "worker_lost": "Send the photo again.",
    "internal": "Report the request id to the operator.",
}


def shortened(message: str) -> str:
    """Cut a message to `MAX_MESSAGE_CHARS`, because it may quote arbitrarily long input."""
    return message if len(message) <= MAX_MESSAGE_CHARS else f"{message[: MAX_MESSAGE_CHARS - 1]}…"


class ApiError(Exception):
    """The whole request is refused.

    Args:
        status: HTTP status.
        code: stable, machine-readable reason, such as "busy".
        message: what is wrong; cut to `MAX_MESSAGE_CHARS`.
        hint: what the client can do about it.
        retry: value of Retry-After in seconds; None = no such header.
        format: as of a PhotoError.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        hint: str = "",
        *,
        retry: int | None = None,
        format: str = "",
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.hint, self.format = status, code, hint, format
        self.message = shortened(message)
        self.retry = retry

    def to_json(self, request_id: str) -> ErrorReply:
        """The body of the error response."""
        error: Fault = {"code": self.code, "message": self.message, "hint": self.hint}
        if self.format:
            error["format"] = self.format
        return {"error": error, "request_id": request_id}


class PhotoError(Exception):
    """One photo of a request failed; the others are still answered.

    Args:
        code: a key of `HINTS`, or one that `fault_hint` takes.
        message: what is wrong.
        format: what the file is, of an unsupported format; "" = not known.
    """

    def __init__(self, code: str, message: str, format: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.format = code, message, format

    def to_fault(self) -> Fault:
        """What went wrong, in the form of answers."""
        hint = HINTS[self.code] if self.code in HINTS else fault_hint(self.code)
        fault: Fault = {"code": self.code, "message": self.message, "hint": hint}
        if self.format:
            fault["format"] = self.format
        return fault

    def to_json(self, photo: str) -> PhotoFailure:
        """The entry of this photo in the list of results."""
        return {"photo": photo, "error": self.to_fault()}


def too_large(max_bytes: int, hint: str = "Send fewer or smaller photos.") -> ApiError:
    """413: the request body is larger than `max_bytes`."""
    size = f"{max_bytes / 1e6:g} MB" if max_bytes >= 1_000_000 else f"{max_bytes / 1e3:g} kB"
    return ApiError(413, "body_too_large", f"The request is larger than {size}.", hint)


def busy(retry: int) -> ApiError:
    """503: the queue is full. retry: seconds after which the client may try again."""
    return ApiError(503, "busy", "The server is at capacity.", f"Retry in {retry} s.", retry=retry)


def storage(message: str) -> ApiError:
    """503: files of the recognizer folder cannot be written or read."""
    return ApiError(503, "storage", message, "Report this to the operator.", retry=60)


def wrong_host(host: str) -> ApiError:
    """421: the Host header names another server. host: that name, without its port."""
    name = host[:100]
    message = f'Host header "{name}" is not allowed; start the server with --name {name or "NAME"}.'
    return ApiError(421, "wrong_host", message, "Or use localhost.")


def cross_site(origin: str | None) -> ApiError:
    """403: a page of another site sent the request. origin: of that page."""
    shown = (origin or "")[:200]
    wanted = shown if shown.startswith(("http://", "https://")) else "ORIGIN"
    return ApiError(
        403,
        "cross_site",
        f"Requests from pages of other sites are refused: {shown}".removesuffix(": ") + ".",
        f"Use the page of this server, or let its operator start it with --cors {wanted}.",
    )


def invalid(message: str, hint: str = "The schema is at /openapi.json.") -> ApiError:
    """422: the request does not follow the schema."""
    return ApiError(422, "invalid", message, hint)


def invalid_value(fault: Mapping[str, Any]) -> ApiError:
    """422 for one fault in the form of pydantic: where it is, and what was expected there."""
    place = ".".join(str(part) for part in fault["loc"])
    if place.endswith("lang"):
        text = "expected a language tag such as fr or pt-BR"
    elif fault["type"] in ("string_too_short", "string_pattern_mismatch"):
        text = "empty or blank; expected a name"
    else:
        text = str(fault["msg"])
    return invalid(f"{place}: {text}" if place else text)
