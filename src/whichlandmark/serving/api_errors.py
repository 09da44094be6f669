"""What can go wrong with a request or with one photo, as clients read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .schemas import ErrorReply, Fault, PhotoFailure

GOOGLE = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED",
          408: "DEADLINE_EXCEEDED", 413: "INVALID_ARGUMENT", 422: "INVALID_ARGUMENT",
          429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}  # fmt: skip

MESSAGE = 300  # characters of a message, at most


def shortened(message: str) -> str:
    """A message of `MESSAGE` characters at most, so that no reply grows with what it quotes."""
    return message if len(message) <= MESSAGE else f"{message[: MESSAGE - 1]}…"


class ApiError(Exception):
    """A whole request is refused. status: of HTTP; retry: seconds after which to ask again."""

    def __init__(
        self, status: int, code: str, message: str, hint: str = "", *, retry: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.hint = status, code, hint
        self.message = shortened(message)  # it may quote what was sent
        self.retry = retry

    def body(self, request_id: str) -> ErrorReply:
        """As JSON."""
        error: Fault = {"code": self.code, "message": self.message, "hint": self.hint}
        return {"error": error, "request_id": request_id}

    def google(self) -> dict[str, Any]:
        """As clients of Google Cloud Vision read it."""
        message = f"{self.message} {self.hint}".strip()
        status = GOOGLE.get(self.status, "UNKNOWN")
        return {"error": {"code": self.status, "message": message, "status": status}}


class PhotoError(Exception):
    """One photo gets no answer; the others do. code: one of `CODES`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message

    def object(self, photo: str) -> PhotoFailure:
        """As JSON, beside the answers of the other photos."""
        error: Fault = {"code": self.code, "message": self.message, "hint": HINTS[self.code]}
        return {"photo": photo, "error": error}


HINTS = {
    "unreadable": "Is the file whole? Open it in another program and save it again.",
    "unsupported_format": "Send JPEG, PNG, WebP, GIF or AVIF.",
    "too_large": "Save the photo smaller and send it again.",
    "timeout": "Save the photo smaller, as JPEG, and send it again.",
    "worker_lost": "Send the photo again.",
    "internal": "Tell the operator the request id.",
}

CODES = tuple(HINTS)


def too_large(most: int, hint: str = "Send fewer or smaller photos.") -> ApiError:
    """The body of a request is larger than `most` bytes."""
    size = f"{most / 1e6:g} MB" if most >= 1_000_000 else f"{most / 1e3:g} kB"
    return ApiError(413, "body_too_large", f"More than {size} in one request.", hint)


def busy(retry: int) -> ApiError:
    """The queue is full."""
    return ApiError(
        503, "busy", "The server has as many photos to look at as it takes.",
        f"Ask again in {retry} s.", retry=retry,
    )  # fmt: skip


def not_found(what: str) -> ApiError:
    """Nothing of that name is there."""
    return ApiError(404, "not_found", what, "GET /v1/landmarks lists what there is.")


def invalid(message: str, hint: str = "The schema is at /openapi.json.") -> ApiError:
    """The request is not one that this server understands."""
    return ApiError(422, "invalid", message, hint)
