"""Look through the gallery, and change it with a write key."""

from __future__ import annotations

import asyncio
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse, Response

from . import gallery_editing
from .api_errors import PhotoError, busy
from .auth import Caller, engine_of, need
from .engine import Engine
from .gallery_editing import SIDE
from .routes_recognize import charge
from .schemas import (
    NAMED,
    AddedReply,
    LandmarksReply,
    PhotoFailure,
    PhotosReply,
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

Reader = Annotated[Caller, Depends(need("read"))]

Writer = Annotated[Caller, Depends(need("write"))]

Offset = Annotated[int, Query(ge=0, le=10_000_000)]

Limit = Annotated[int, Query(ge=1, le=200)]

Words = Annotated[str, Query(max_length=200)]

Name = Annotated[str, Path(min_length=1, max_length=1000, pattern=NAMED)]

PhotoId = Annotated[str, Path(min_length=1, max_length=1000, pattern=NAMED)]

NewName = Annotated[Rename, Depends(json_body(Rename))]

NewLandmark = Annotated[Relabel, Depends(json_body(Relabel))]


def router(most: int) -> APIRouter:
    """most: photos of a request."""
    routes = APIRouter(tags=["gallery"])
    _readers(routes)
    _writers(routes, most)
    return routes


def _readers(routes: APIRouter) -> None:
    @routes.get("/v1/landmarks", response_model=model_of(LandmarksReply), responses=refusals(422))
    def landmarks(
        request: Request, _: Reader, query: Words = "", offset: Offset = 0, limit: Limit = 50
    ) -> JSONResponse:
        """Landmarks by name, with their photos counted."""
        with engine_of(request).live.use() as opened:
            return JSONResponse(gallery_editing.landmarks(opened, query, offset, limit))

    @routes.get("/v1/landmarks/{name:path}/photos", response_model=model_of(PhotosReply),
                responses=refusals(404, 422))  # fmt: skip
    def photos(
        request: Request, _: Reader, name: Name, offset: Offset = 0, limit: Limit = 50
    ) -> JSONResponse:
        """The photos of a landmark, with their authors and licences."""
        with engine_of(request).live.use() as opened:
            return JSONResponse(gallery_editing.photos(opened, name, offset, limit))

    @routes.get("/v1/photos/{photo_id:path}/thumbnail", responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        **refusals(404, 422),
    }, response_class=Response)  # fmt: skip
    def thumbnail(request: Request, _: Reader, photo_id: PhotoId) -> Response:
        """A small JPEG without any metadata."""
        with engine_of(request).live.use() as opened:
            data = gallery_editing.thumbnail(opened, photo_id)
        return Response(data, media_type="image/jpeg",
                        headers={"Cache-Control": "private, max-age=3600"})  # fmt: skip


def _writers(routes: APIRouter, most: int) -> None:
    changes, renames = refusals(404, 409, 422, 429, 503), refusals(404, 415, 422, 503)

    @routes.post("/v1/landmarks/{name:path}/photos", response_model=model_of(AddedReply),
                 responses=refusals(415, 422, 429, 503),
                 openapi_extra=files("photos", most))  # fmt: skip
    async def add(request: Request, caller: Writer, name: Name) -> JSONResponse:
        """Add photos of a landmark, which may be new. They are kept, without their metadata."""
        engine = engine_of(request)
        if engine.full:  # before the photos are read
            raise busy(engine.queue.retry)
        given, _ = await read_files(request, "photos", most, engine.options.max_bytes)
        charge(request, engine.rates, caller, len(given))
        jpegs, failed = await _encoded(engine, given)
        done: AddedReply = {"added": [], "generation": engine.live.generation, "failed": failed}
        if jpegs:
            added, generation = await anyio.to_thread.run_sync(engine.editor.add, name, jpegs)
            done = {"added": added, "generation": generation, "failed": failed}
        return JSONResponse(done)

    @routes.delete(
        "/v1/landmarks/{name:path}", response_model=model_of(RemovedReply), responses=changes
    )
    def remove_landmark(request: Request, _: Writer, name: Name) -> JSONResponse:
        """Forget a landmark with all its photos."""
        return JSONResponse(engine_of(request).editor.remove([], name))

    @routes.patch("/v1/landmarks/{name:path}", response_model=model_of(RelabelledReply),
                  responses=renames, openapi_extra=json_of(Rename))  # fmt: skip
    def rename(request: Request, _: Writer, name: Name, to: NewName) -> JSONResponse:
        """Give all photos of a landmark another one."""
        return JSONResponse(engine_of(request).editor.relabel([], name, to.landmark))

    @routes.delete(
        "/v1/photos/{photo_id:path}", response_model=model_of(RemovedReply), responses=changes
    )
    def remove_photo(request: Request, _: Writer, photo_id: PhotoId) -> JSONResponse:
        """Forget a photo."""
        return JSONResponse(engine_of(request).editor.remove([photo_id]))

    @routes.patch("/v1/photos/{photo_id:path}", response_model=model_of(RelabelledReply),
                  responses=renames, openapi_extra=json_of(Relabel))  # fmt: skip
    def relabel(request: Request, _: Writer, photo_id: PhotoId, to: NewLandmark) -> JSONResponse:
        """Give a photo another landmark, or none."""
        return JSONResponse(engine_of(request).editor.relabel([photo_id], None, to.landmark))


async def _encoded(engine: Engine, photos: list[Upload]) -> tuple[list[bytes], list[PhotoFailure]]:
    """Photos as they are kept, and those that cannot be."""
    async with engine.queue.hold(len(photos)):
        made = await asyncio.gather(
            *(engine.encoded(photo, SIDE) for photo in photos), return_exceptions=True
        )
    jpegs: list[bytes] = []
    failed: list[PhotoFailure] = []
    for photo, one in zip(photos, made, strict=True):
        if isinstance(one, PhotoError):
            failed.append(one.object(photo.name))
        elif isinstance(one, BaseException):
            raise one
        else:
            jpegs.append(one)
    return jpegs, failed
