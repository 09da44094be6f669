"""Routes of new landmarks: groups of photos that the gallery does not know, to name or dismiss."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from .api_errors import ApiError
from .auth import engine_of
from .discoveries import FACTS, DecidedReply, DiscoveriesReply, DiscoveryObject, Naming
from .routes_gallery import JPEG, Limit, Offset, Writer
from .schemas import NOT_BLANK, Language, json_of, model_of, refusals
from .uploads import json_body

States = Literal["open", "named", "dismissed", "all"]

GroupId = Annotated[str, Path(min_length=1, max_length=100)]

Number = Annotated[int, Path(ge=0, le=1_000_000)]

LargerSide = Annotated[
    int | None,
    Query(ge=64, le=2048, description="Pixels of the long side of a larger picture, made of the "
                                      "photo's file where it is still there."),
]  # fmt: skip

MAX_KEPT = 10_000  # photos of one group


class GroupDecision(BaseModel):
    """What a group is.

    landmark: to name it by, a new one or one of the gallery. title, wikidata, latitude, longitude,
    city, country, country_code: of a new landmark; without them those of the suggestion, where the
    landmark is the suggested one. keep: numbers of the photos that show it; null = all. version: of
    the group, as listed; null = it is not checked.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    action: Literal["name", "dismiss", "reopen"]
    landmark: str | None = Field(default=None, min_length=1, max_length=1000, pattern=NOT_BLANK)
    title: str | None = Field(default=None, max_length=1000)
    wikidata: str | None = Field(default=None, pattern=r"^(Q[1-9][0-9]{0,15})?$")
    latitude: float | None = Field(default=None, ge=-90, le=90)
    longitude: float | None = Field(default=None, ge=-180, le=180)
    city: str | None = Field(default=None, max_length=1000)
    country: str | None = Field(default=None, max_length=1000)
    country_code: str | None = Field(default=None, pattern=r"^([A-Z]{2})?$")
    keep: list[Annotated[int, Field(ge=0)]] | None = Field(default=None, max_length=MAX_KEPT)
    version: str | None = Field(default=None, max_length=64)

    def facts(self) -> dict[str, Any]:
        """Fields of a record that are given."""
        given = {name: getattr(self, name) for name in FACTS}
        return {name: value for name, value in given.items() if value not in (None, "")}


GivenDecision = Annotated[GroupDecision, Depends(json_body(GroupDecision))]


def router() -> APIRouter:
    """The routes of new landmarks."""
    routes = APIRouter(tags=["gallery"])
    _readers(routes)

    @routes.post(
        "/v1/discoveries/{group_id}",
        response_model=model_of(DecidedReply),
        responses=refusals(404, 409, 415, 422, 503),
        openapi_extra=json_of(GroupDecision),
    )
    def decide(
        request: Request, _: Writer, group_id: GroupId, given: GivenDecision, lang: Language = ""
    ) -> JSONResponse:
        """Name a group, which adds its photos to the gallery, dismiss it, or take that back.

        The photos are read where `discover` found them. Taking a name back removes from the
        gallery what naming has added.
        """
        found = engine_of(request).discoveries
        if given.action != "name":
            return JSONResponse(found.decide(group_id, given.action, lang))
        if given.landmark is None:
            raise ApiError(
                422, "landmark_needed", "A group is named by a landmark.", 'Send "landmark" too.'
            )
        naming = Naming(given.landmark, given.facts(), given.keep, given.version)
        return JSONResponse(found.name(group_id, naming, lang))

    return routes


def _readers(routes: APIRouter) -> None:
    @routes.get(
        "/v1/discoveries", response_model=model_of(DiscoveriesReply), responses=refusals(422, 503)
    )
    def discoveries(
        request: Request, _: Writer, state: States = "open", offset: Offset = 0, limit: Limit = 20,
        lang: Language = "",
    ) -> JSONResponse:  # fmt: skip
        """Groups of photos of landmarks that the gallery does not know, the largest first.

        `whichlandmark discover` finds them in a folder of photos.
        """
        return JSONResponse(engine_of(request).discoveries.page(state, offset, limit, lang))

    @routes.get(
        "/v1/discoveries/{group_id}",
        response_model=model_of(DiscoveryObject),
        responses=refusals(404, 422, 503),
    )
    def discovery(
        request: Request, _: Writer, group_id: GroupId, lang: Language = ""
    ) -> JSONResponse:
        """One group with all its photos."""
        return JSONResponse(engine_of(request).discoveries.whole(group_id, lang))

    @routes.get(
        "/v1/discoveries/{group_id}/photos/{number}",
        responses={**JPEG, **refusals(404, 422, 503)},
        response_class=Response,
    )
    async def photo(
        request: Request, _: Writer, group_id: GroupId, number: Number, side: LargerSide = None
    ) -> Response:
        """A photo of a group: a small JPEG without metadata, or with `side` a larger one."""
        engine = engine_of(request)
        thread = anyio.to_thread.run_sync
        if side is None:
            data = await thread(engine.discoveries.thumbnail, group_id, number)
        else:
            shown = await thread(engine.discoveries.photo, group_id, number)
            data = await engine.previews.of_file(shown.file, shown.hash, shown.thumbnail, side)
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "no-store"})
