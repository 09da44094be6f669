"""Routes that list and search the gallery, and change it with a write key."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse, Response

from ..core.images import content_hash
from ..recognition.answer import PhotoFailure
from . import gallery_editing
from .api_errors import PhotoError, busy
from .auth import Caller, engine_of, require_scope
from .engine import Engine
from .gallery_editing import MAX_SIDE, SentPhoto
from .routes_recognize import charge
from .schemas import (
    NOT_BLANK,
    AddedReply,
    CreditPatch,
    CreditReply,
    LandmarksReply,
    PhotosReply,
    RecordPatch,
    RecordReply,
    Relabel,
    RelabelledReply,
    RemovedReply,
    Rename,
    files,
    json_of,
    model_of,
    refusals,
)
from .uploads import Upload, json_body, read_files

Reader = Annotated[Caller, Depends(require_scope("read"))]

Writer = Annotated[Caller, Depends(require_scope("write"))]

Offset = Annotated[int, Query(ge=0, le=10_000_000)]

Limit = Annotated[int, Query(ge=1, le=200)]

PreviewSide = Annotated[int, Query(ge=64, le=2048)]

PREVIEW_CACHING = "private, max-age=3600"

QueryText = Annotated[str, Query(max_length=200)]

Name = Annotated[str, Path(min_length=1, max_length=1000, pattern=NOT_BLANK)]

PhotoId = Annotated[str, Path(min_length=1, max_length=1000, pattern=NOT_BLANK)]

NewName = Annotated[Rename, Depends(json_body(Rename))]

NewLandmark = Annotated[Relabel, Depends(json_body(Relabel))]

NewRecord = Annotated[RecordPatch, Depends(json_body(RecordPatch))]

NewCredit = Annotated[CreditPatch, Depends(json_body(CreditPatch))]


def router(max_photos: int) -> APIRouter:
    """The routes. max_photos: per request."""
    routes = APIRouter(tags=["gallery"])
    _readers(routes)
    _previews(routes)
    _writers(routes, max_photos)
    _records(routes)
    return routes


def _readers(routes: APIRouter) -> None:
    @routes.get("/v1/landmarks", response_model=model_of(LandmarksReply), responses=refusals(422))
    def landmarks(
        request: Request, _: Reader, query: QueryText = "", offset: Offset = 0, limit: Limit = 50
    ) -> JSONResponse:
        """Search landmarks by name; each with its number of photos."""
        with engine_of(request).live.use() as opened:
            return JSONResponse(gallery_editing.landmarks(opened, query, offset, limit))

    @routes.get(
        "/v1/landmarks/{name:path}/photos",
        response_model=model_of(PhotosReply),
        responses=refusals(404, 422),
    )
    def photos(
        request: Request, _: Reader, name: Name, offset: Offset = 0, limit: Limit = 50
    ) -> JSONResponse:
        """The photos of a landmark, with their authors and licences."""
        with engine_of(request).live.use() as opened:
            return JSONResponse(gallery_editing.photos(opened, name, offset, limit))

    @routes.get(
        "/v1/photos/{photo_id:path}/thumbnail",
        responses={
            200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
            **refusals(404, 422),
        },
        response_class=Response,
    )
    def thumbnail(request: Request, _: Reader, photo_id: PhotoId) -> Response:
        """A small JPEG without metadata."""
        with engine_of(request).live.use() as opened:
            data = gallery_editing.thumbnail(opened, photo_id)
        return Response(
            data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"}
        )


def _previews(routes: APIRouter) -> None:
    headers = {
        "ETag": {"description": "of the photo and the side", "schema": {"type": "string"}},
    }
    jpeg = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}

    @routes.get(
        "/v1/photos/{photo_id:path}/preview",
        responses={
            200: {"content": jpeg, "headers": headers},
            304: {"description": "The picture of If-None-Match is still right"},
            **refusals(404, 422),
        },
        response_class=Response,
    )
    async def preview(
        request: Request, _: Reader, photo_id: PhotoId, side: PreviewSide = 640
    ) -> Response:
        """A gallery photo at the size of a screen: a JPEG without metadata, its long side at most
        `side` pixels; where the photo's file is gone, its thumbnail.
        """
        known = request.headers.get("if-none-match", "")
        made = await engine_of(request).previews.make(photo_id, side, known)
        if made is None:
            return Response(
                status_code=304, headers={"Cache-Control": PREVIEW_CACHING, "ETag": known}
            )
        # A thumbnail in its place is not kept, because the file may come back.
        kept = {"Cache-Control": PREVIEW_CACHING, "ETag": made.tag} if made.tag else {}
        return Response(made.jpeg, media_type="image/jpeg", headers=kept)


def _writers(routes: APIRouter, max_photos: int) -> None:
    changes, renames = refusals(404, 409, 422, 429, 503), refusals(404, 409, 415, 422, 503)

    @routes.post(
        "/v1/landmarks/{name:path}/photos",
        response_model=model_of(AddedReply),
        responses=refusals(415, 422, 429, 503),
        openapi_extra=files("photos", max_photos),
    )
    async def add(request: Request, caller: Writer, name: Name, move: bool = False) -> JSONResponse:
        """Add photos to a new or existing landmark. They are stored without metadata.

        A photo whose bytes the gallery has is not added again; from another landmark it is moved
        only with `move`.
        """
        engine = engine_of(request)
        if engine.full:  # before the body is read
            raise busy(engine.queue.retry)
        given, _ = await read_files(request, "photos", max_photos, engine.options.max_bytes)
        charge(request, engine.rate_limits, caller, len(given))
        photos, failed = await _encoded(engine, given)
        add_them = partial(engine.editor.add, name, photos, move=move)
        done = await anyio.to_thread.run_sync(add_them)
        return JSONResponse({**done, "failed": failed})

    @routes.delete(
        "/v1/landmarks/{name:path}", response_model=model_of(RemovedReply), responses=changes
    )
    def remove_landmark(request: Request, _: Writer, name: Name) -> JSONResponse:
        """Remove a landmark with all its photos."""
        return JSONResponse(engine_of(request).editor.remove([], name))

    @routes.patch(
        "/v1/landmarks/{name:path}",
        response_model=model_of(RelabelledReply),
        responses=renames,
        openapi_extra=json_of(Rename),
    )
    def rename(request: Request, _: Writer, name: Name, to: NewName) -> JSONResponse:
        """Rename a landmark, or with `merge` put its photos into one that exists."""
        editor = engine_of(request).editor
        return JSONResponse(editor.relabel([], name, to.landmark, merge=to.merge))

    @routes.delete(
        "/v1/photos/{photo_id:path}", response_model=model_of(RemovedReply), responses=changes
    )
    def remove_photo(request: Request, _: Writer, photo_id: PhotoId) -> JSONResponse:
        """Remove a photo."""
        return JSONResponse(engine_of(request).editor.remove([photo_id]))

    @routes.patch(
        "/v1/photos/{photo_id:path}",
        response_model=model_of(RelabelledReply),
        responses=renames,
        openapi_extra=json_of(Relabel),
    )
    def relabel(request: Request, _: Writer, photo_id: PhotoId, to: NewLandmark) -> JSONResponse:
        """Move a photo to another landmark, or make it a distractor."""
        return JSONResponse(engine_of(request).editor.relabel([photo_id], None, to.landmark))


def _records(routes: APIRouter) -> None:
    @routes.get(
        "/v1/gallery/landmarks/{name:path}",
        response_model=model_of(RecordReply),
        responses=refusals(404, 422),
    )
    def record(request: Request, _: Reader, name: Name) -> JSONResponse:
        """Title, names, Wikidata id and place of a landmark."""
        with engine_of(request).live.use() as opened:
            return JSONResponse(gallery_editing.record(opened, name))

    @routes.get(
        "/v1/gallery/photos/{photo_id:path}",
        response_model=model_of(CreditReply),
        responses=refusals(404, 422),
    )
    def credit(request: Request, _: Reader, photo_id: PhotoId) -> JSONResponse:
        """Landmark, author, licence and source of a photo."""
        with engine_of(request).live.use() as opened:
            return JSONResponse(gallery_editing.credit(opened, photo_id))

    @routes.patch(
        "/v1/gallery/landmarks/{name:path}",
        response_model=model_of(RecordReply),
        responses=refusals(404, 415, 422, 503),
        openapi_extra=json_of(RecordPatch),
    )
    def describe(request: Request, _: Writer, name: Name, to: NewRecord) -> JSONResponse:
        """Change title, names, Wikidata id or place of a landmark."""
        changes = to.model_dump(exclude_unset=True)
        return JSONResponse(engine_of(request).editor.describe(name, changes))

    @routes.patch(
        "/v1/gallery/photos/{photo_id:path}",
        response_model=model_of(CreditReply),
        responses=refusals(404, 415, 422, 503),
        openapi_extra=json_of(CreditPatch),
    )
    def change_credit(
        request: Request, _: Writer, photo_id: PhotoId, to: NewCredit
    ) -> JSONResponse:
        """Change author, licence or source of a photo."""
        changes = to.model_dump(exclude_unset=True)
        return JSONResponse(engine_of(request).editor.credit(photo_id, changes))


async def _encoded(
    engine: Engine, photos: list[Upload]
) -> tuple[list[SentPhoto], list[PhotoFailure]]:
    """Photos re-encoded as JPEG, and those that cannot be decoded."""
    async with engine.queue.hold(len(photos)):
        encoded = await asyncio.gather(
            *(engine.encode(photo, MAX_SIDE) for photo in photos), return_exceptions=True
        )
    jpegs: list[SentPhoto] = []
    failed: list[PhotoFailure] = []
    for photo, one in zip(photos, encoded, strict=True):
        if isinstance(one, PhotoError):
            failed.append(one.to_json(photo.name))
        elif isinstance(one, BaseException):
            raise one
        else:
            sent = content_hash(photo.data) if isinstance(photo.data, bytes) else ""
            jpegs.append(SentPhoto(one, sent))
    return jpegs, failed
