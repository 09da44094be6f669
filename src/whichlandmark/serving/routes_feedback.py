"""Routes of feedback on answers, and of its review by a person."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal, TypedDict

import anyio.to_thread
from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from ..core.errors import DataError
from ..recognition.folder.feedback import FeedbackObject, QueueFullError, ReviewError
from .api_errors import ApiError, invalid, storage
from .auth import engine_of
from .routes_gallery import JPEG, Limit, Offset, Reader, Writer, encoded_photos
from .routes_recognize import charge
from .schemas import NOT_BLANK, AddedReply, json_of, model_of, refusals
from .uploads import json_body, media_type, read_files, validated_json

log = logging.getLogger("whichlandmark")

States = Literal["open", "approved", "corrected", "discarded", "all"]

FeedbackId = Annotated[str, Path(min_length=1, max_length=100)]

REVIEW_RETRY_SECONDS = 3600  # Retry-After while the review file is full


# Code of a ReviewError → status of the reply, and what to do about it.
REVIEW_FAULTS = {
    "unknown_feedback": (404, "GET /v1/feedback lists the entries."),
    "no_feedback_photo": (404, "Photos are kept only where they were sent, until the review."),
    "already_reviewed": (409, "GET /v1/feedback?state=all shows what was decided."),
    "landmark_needed": (422, 'Send "landmark" too; "" = the photo shows no landmark.'),
    "left_out": (422, "Discard it, or give another landmark."),
}


class FeedbackEntry(BaseModel):
    """Feedback on an answer. correct: the true landmark; null = none or unknown."""

    model_config = ConfigDict(extra="forbid", strict=True)
    request_id: str = Field(max_length=64)
    photo: str = Field(default="", max_length=300)
    answer: str | None = Field(default=None, min_length=1, max_length=1000, pattern=NOT_BLANK)
    right: bool
    correct: str | None = Field(default=None, min_length=1, max_length=1000, pattern=NOT_BLANK)
    note: str = Field(default="", max_length=2000)


class QueuedReply(TypedDict):
    """The entry is stored for review. photo_kept: false where none was sent, or there is no room
    for it.
    """

    queued: bool
    id: str
    photo_kept: bool


class FeedbackReply(TypedDict):
    """Entries, the newest first. total: of this state; open: not reviewed yet; unreadable: lines of
    the file that are no entries.
    """

    total: int
    open: int
    unreadable: int
    entries: list[FeedbackObject]


class Review(BaseModel):
    """approve: the photo is added to the gallery. landmark: null = the one that was suggested; "" =
    the photo shows none.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    action: Literal["approve", "discard"]
    landmark: str | None = Field(default=None, max_length=1000, pattern=rf"^$|{NOT_BLANK}")


class ReviewedReply(TypedDict):
    """The reviewed entry. added: null where nothing was added: discarded, or no photo was sent."""

    entry: FeedbackObject
    added: AddedReply | None


Decision = Annotated[Review, Depends(json_body(Review))]


def router() -> APIRouter:
    """The routes of feedback."""
    routes = APIRouter(tags=["photos"])
    _feedback(routes)
    _reviews(routes)
    return routes


def _feedback(routes: APIRouter) -> None:
    body = json_of(FeedbackEntry)
    form = {"type": "object", "required": ["entry"], "properties": {
        "entry": {"type": "string", "description": "The entry as JSON."},
        "photo": {"type": "string", "format": "binary"},
    }}  # fmt: skip
    body["requestBody"]["content"]["multipart/form-data"] = {"schema": form}

    @routes.post(
        "/v1/feedback",
        response_model=model_of(QueuedReply),
        responses=refusals(415, 422, 429, 503),
        openapi_extra=body,
    )
    async def feedback(request: Request, caller: Reader) -> JSONResponse:
        """Report whether an answer was right; the entry is stored for review by a person.

        The photo is kept for that review only where a form with it is sent.
        """
        engine, photo = engine_of(request), None
        if media_type(request) == "multipart/form-data":
            limit = engine.options.max_bytes
            given, fields = await read_files(request, "photo", 1, limit, optional=True)
            if "entry" not in fields:
                raise invalid("entry: missing; expected the feedback as JSON, a text field.")
            entry = validated_json(FeedbackEntry, fields["entry"].encode())
            charge(request, engine.rate_limits, caller, 1)
            photos, failed = await encoded_photos(engine, given)
            if failed:
                raise ApiError(422, **failed[0]["error"])
            photo = photos[0] if photos else None
        else:
            entry = await json_body(FeedbackEntry)(request)
            charge(request, engine.rate_limits, caller, 1)
        line = {**entry.model_dump(), "key": request.state.key}
        with _feedback_errors():
            added = await anyio.to_thread.run_sync(engine.feedback.add, line, photo)
        queued: QueuedReply = {"queued": True, "id": added[0], "photo_kept": added[1]}
        return JSONResponse(queued)


def _reviews(routes: APIRouter) -> None:
    @routes.get("/v1/feedback", response_model=model_of(FeedbackReply), responses=refusals(422))
    def entries(
        request: Request, _: Writer, state: States = "open", offset: Offset = 0, limit: Limit = 50
    ) -> JSONResponse:
        """Feedback to review, or reviewed already, the newest first."""
        with _feedback_errors():
            found = engine_of(request).feedback.entries()
        wanted = found.of_state(state)
        reply: FeedbackReply = {
            "total": len(wanted), "open": len(found.of_state("open")),
            "unreadable": found.unreadable, "entries": wanted[offset : offset + limit],
        }  # fmt: skip
        return JSONResponse(reply)

    @routes.get(
        "/v1/feedback/{entry_id}/photo",
        responses={**JPEG, **refusals(404, 422)},
        response_class=Response,
    )
    def photo(request: Request, _: Writer, entry_id: FeedbackId) -> Response:
        """The photo that was sent with feedback: a JPEG without metadata, until it is reviewed."""
        with _feedback_errors():
            data = engine_of(request).feedback.photo(entry_id)
            if data is None:
                raise ReviewError("no_feedback_photo", f"the feedback {entry_id} has no photo")
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    @routes.patch(
        "/v1/feedback/{entry_id}",
        response_model=model_of(ReviewedReply),
        responses=refusals(404, 409, 415, 422, 503),
        openapi_extra=json_of(Review),
    )
    def review(
        request: Request, _: Writer, entry_id: FeedbackId, decision: Decision
    ) -> JSONResponse:
        """Approve feedback, which adds its photo to the gallery, or discard it.

        Where no photo was sent with it, approving is only noted.
        """
        engine = engine_of(request)
        with _feedback_errors():
            entry, stored = engine.feedback.review(
                entry_id, decision.action, decision.landmark, engine.editor.store,
                key=request.state.key,
            )  # fmt: skip
        added = engine.editor.added_reply(stored) if stored else None
        reply: ReviewedReply = {"entry": entry, "added": added}
        return JSONResponse(reply)


@contextmanager
def _feedback_errors() -> Iterator[None]:
    """Raise errors of the feedback's files as ApiErrors."""
    try:
        yield
    except ReviewError as error:
        status, hint = REVIEW_FAULTS[error.code]
        message = str(error)
        message = f"{message[0].upper()}{message[1:]}."
        raise ApiError(status, error.code, message, hint) from None
    except QueueFullError:
        message, hint = "The review queue is full.", "The operator must review its entries first."
        raise ApiError(503, "queue_full", message, hint, retry=REVIEW_RETRY_SECONDS) from None
    except DataError as error:
        log.warning("%s", error)
        raise storage("The review queue cannot be used.") from None
