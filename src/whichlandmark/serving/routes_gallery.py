"""Routes that list and search the gallery, and change it with a write key."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse, Response

from ..core.images import content_hash
from ..recognition.faults import PhotoFailure
from ..recognition.folder.own_photos import SentPhoto
from . import gallery_browsing
from .api_errors import PhotoError, busy
from .auth import Caller, engine_of, require_scope
from .engine import Engine
from .gallery_editing import MAX_SIDE
from .routes_recognize import charge
from .schemas import (
    NOT_BLANK,
    AddedReply,
    ChangedLandmarkReply,
    ChosenPhotos,
    CreditReply,
    LandmarkPatch,
    LandmarkReply,
    LandmarksReply,
    Language,
    MovedPhotos,
    PhotoPatch,
    PhotosReply,
    RelabelledReply,
    RemovedReply,
    UndoneReply,
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

Token = Annotated[str, Path(min_length=1, max_length=100)]

NewLandmark = Annotated[LandmarkPatch, Depends(json_body(LandmarkPatch))]

NewPhoto = Annotated[PhotoPatch, Depends(json_body(PhotoPatch))]

Chosen = Annotated[ChosenPhotos, Depends(json_body(ChosenPhotos))]

Moved = Annotated[MovedPhotos, Depends(json_body(MovedPhotos))]

JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
}


def router(max_photos: int) -> APIRouter:
    """The routes. max_photos: per request."""
    routes = APIRouter(tags=["gallery"])
    _previews(routes)  # before the route of a photo, whose id may have slashes
    _landmark_readers(routes)
    _photo_readers(routes)
    _landmark_writers(routes, max_photos)
    _photo_writers(routes)
    return routes


def _landmark_readers(routes: APIRouter) -> None:
    @routes.get("/v1/landmarks", response_model=model_of(LandmarksReply), responses=refusals(422))
    def landmarks(
        request: Request, _: Reader, query: QueryText = "", offset: Offset = 0, limit: Limit = 50,
        lang: Language = "",
    ) -> JSONResponse:  # fmt: skip
        """Landmarks with their numbers of photos, sorted by the names that are shown.

        With `query` those that have its words in a name, the best first. Accents, case, punctuation
        and the order of the words do not matter, small typos and missing blanks hardly.
        """
        with engine_of(request).live.use() as opened:
            return JSONResponse(gallery_browsing.landmarks(opened, query, offset, limit, lang))

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
            if request.scope.get("raw_path", b"").lower().endswith(b"%2fphotos"):  # of its name
                return JSONResponse(gallery_browsing.landmark(opened, f"{name}/photos"))
            return JSONResponse(gallery_browsing.photos(opened, name, offset, limit))

    @routes.get(
        "/v1/landmarks/{name:path}",
        response_model=model_of(LandmarkReply),
        responses=refusals(404, 422),
    )
    def landmark(request: Request, _: Reader, name: Name, lang: Language = "") -> JSONResponse:
        """One landmark: title, names, Wikidata id, place, number of photos."""
        with engine_of(request).live.use() as opened:
            return JSONResponse(gallery_browsing.landmark(opened, name, lang))


def _photo_readers(routes: APIRouter) -> None:
    @routes.get("/v1/distractors", response_model=model_of(PhotosReply), responses=refusals(422))
    def distractors(
        request: Request, _: Reader, offset: Offset = 0, limit: Limit = 50
    ) -> JSONResponse:
        """The photos without a landmark, which show how similar unrelated photos are."""
        with engine_of(request).live.use() as opened:
            return JSONResponse(gallery_browsing.photos(opened, "", offset, limit))

    @routes.get(
        "/v1/photos/{photo_id:path}/thumbnail",
        responses={**JPEG, **refusals(404, 422)},
        response_class=Response,
    )
    def thumbnail(request: Request, _: Reader, photo_id: PhotoId) -> Response:
        """A small JPEG without metadata."""
        with engine_of(request).live.use() as opened:
            data = gallery_browsing.thumbnail(opened, photo_id)
        return Response(
            data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"}
        )

    @routes.get(
        "/v1/photos/{photo_id:path}",
        response_model=model_of(CreditReply),
        responses=refusals(404, 422),
    )
    def photo(request: Request, _: Reader, photo_id: PhotoId) -> JSONResponse:
        """Landmark, author, licence, its address, and source of a photo."""
        with engine_of(request).live.use() as opened:
            return JSONResponse(gallery_browsing.photo(opened, photo_id))


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


def _landmark_writers(routes: APIRouter, max_photos: int) -> None:
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
        photos, failed = await encoded_photos(engine, given)
        add_them = partial(engine.editor.add, name, photos, move=move)
        done = await anyio.to_thread.run_sync(add_them)
        return JSONResponse({**done, "failed": failed})

    @routes.delete(
        "/v1/landmarks/{name:path}",
        response_model=model_of(RemovedReply),
        responses=refusals(404, 409, 422, 503),
    )
    def remove_landmark(request: Request, _: Writer, name: Name) -> JSONResponse:
        """Remove a landmark with all its photos."""
        return JSONResponse(engine_of(request).editor.remove([], name))

    @routes.patch(
        "/v1/landmarks/{name:path}",
        response_model=model_of(ChangedLandmarkReply),
        responses=refusals(404, 409, 415, 422, 503),
        openapi_extra=json_of(LandmarkPatch),
    )
    def change_landmark(
        request: Request, _: Writer, name: Name, to: NewLandmark, lang: Language = ""
    ) -> JSONResponse:
        """Rename a landmark, or change its title, names, Wikidata id or place, in one change.

        With `merge` its photos become those of a landmark that exists.
        """
        changes = to.model_dump(exclude_unset=True, exclude={"landmark", "merge"})
        editor = engine_of(request).editor
        return JSONResponse(
            editor.change_landmark(name, to.landmark, changes, merge=to.merge, language=lang)
        )


def _photo_writers(routes: APIRouter) -> None:
    @routes.post(
        "/v1/photos:remove",
        response_model=model_of(RemovedReply),
        responses=refusals(404, 409, 415, 422, 503),
        openapi_extra=json_of(ChosenPhotos),
    )
    def remove_photos(request: Request, _: Writer, chosen: Chosen) -> JSONResponse:
        """Remove several photos in one change."""
        return JSONResponse(engine_of(request).editor.remove(chosen.photos))

    @routes.post(
        "/v1/photos:move",
        response_model=model_of(RelabelledReply),
        responses=refusals(404, 415, 422, 503),
        openapi_extra=json_of(MovedPhotos),
    )
    def move_photos(request: Request, _: Writer, moved: Moved) -> JSONResponse:
        """Move several photos to a landmark, which may be new, or to those without one."""
        return JSONResponse(engine_of(request).editor.move(moved.photos, moved.landmark))

    @routes.delete(
        "/v1/photos/{photo_id:path}",
        response_model=model_of(RemovedReply),
        responses=refusals(404, 409, 422, 503),
    )
    def remove_photo(request: Request, _: Writer, photo_id: PhotoId) -> JSONResponse:
        """Remove a photo."""
        return JSONResponse(engine_of(request).editor.remove([photo_id]))

    @routes.patch(
        "/v1/photos/{photo_id:path}",
        response_model=model_of(CreditReply),
        responses=refusals(404, 415, 422, 503),
        openapi_extra=json_of(PhotoPatch),
    )
    def change_photo(request: Request, _: Writer, photo_id: PhotoId, to: NewPhoto) -> JSONResponse:
        """Change landmark, author, licence, its address, or source of a photo."""
        changes = to.model_dump(exclude_unset=True, exclude={"landmark"})
        return JSONResponse(engine_of(request).editor.change_photo(photo_id, to.landmark, changes))

    @routes.post(
        "/v1/undo/{token}", response_model=model_of(UndoneReply), responses=refusals(410, 422, 503)
    )
    def undo(request: Request, _: Writer, token: Token) -> JSONResponse:
        """Put back what a removal has removed, within a minute of it."""
        return JSONResponse(engine_of(request).editor.undo(token))


async def encoded_photos(
    engine: Engine, photos: list[Upload]
) -> tuple[list[SentPhoto], list[PhotoFailure]]:
    """Photos re-encoded as JPEG without metadata, and those that cannot be decoded."""
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
