"""What Immich's API takes and gives: assets, previews, tags and positions, in old and new versions.

Read in the source of Immich's server (github.com/immich-app/immich, folders server/src/controllers,
dtos, services and repositories, in several versions up to 3.2), unless another place is named:

- GET /server/version answers {major, minor, patch} without a key; /server-info/version before
  1.107. GET /users/me needs `user.read`; /user/me before 1.106. A key without a permission gets
  HTTP 403, "Missing required permission: tag.asset"; before v1.137 some routes want `all` (pull
  request 20250).
- POST /search/metadata needs `asset.read`. `page` from 1, `size` up to 1,000; `nextPage` is a
  string or null. It lists in the order of `fileCreatedAt`, the partners' assets too, and without
  tags (issue 16273). `updatedAfter` and `takenAfter` mean "not before". v3.2 has cursors, and takes
  the older form all the same. `tagIds` (with their descendants) from v1.126 (pull request 15395).
- GET /assets/{id} has tags and `exifInfo`; of an asset that is gone it answers HTTP 400. GET
  /assets/{id}/thumbnail?size=preview needs `asset.view`; HTTP 404 = no preview yet. Before 1.106:
  /asset/{id} and /asset/thumbnail/{id}?format=JPEG.
- Tags with levels are there from v1.113: PUT /tags (`tag.create`) makes them, GET /tags
  (`tag.read`) lists them, PUT and DELETE /tags/{id}/assets (`tag.asset`) answer [{id, success,
  error}], where "duplicate" and "not_found" say what was so before. DELETE /tags/{id}
  (`tag.delete`) deletes the tags below it, too. Before: POST /tags {name, type: "CUSTOM"}, and
  `assetIds` and `assetId` in place of `ids` and `id`; before 1.106 under /tag. That `user/me` and
  `tag` got their plural with 1.106, as assets did, is from memory.
- PUT /assets/{id} (`asset.update`) takes latitude and longitude together, and no null: no version
  that was read can clear a position. It is tried, and what the server made of it is looked at.
- v1.130 and v1.131 lose the position of an asset that is tagged while reverse geocoding is off
  (issue 17511, fixed by pull request 17558 in v1.132).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ..core.errors import NetworkError
from ..core.file_kinds import HEAD_BYTES, kind_of, photo_format
from ..core.http_reading import plain
from .immich_client import Connection, RefusedError
from .immich_shapes import ID, Asset, Server, Tag, asset_of, tag_of

PAGE_SIZE = 1000  # assets of a listing; the most that Immich gives

MOST_PAGES = 100_000

IDS_AT_ONCE = 500  # assets that are tagged by one request

READING = ("user.read", "asset.read", "asset.view", "tag.read")

TAGGING = ("tag.create", "tag.asset")

UNDOING = ("tag.asset", "tag.delete")

PLACING = ("asset.update",)

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class ImmichApi:
    """The requests that a bridge needs. Every method raises NetworkError when it cannot be done."""

    def __init__(self, connection: Connection) -> None:
        """Ask who is there.

        Raises:
            NetworkError: when it is no Immich, or does not take the key.
        """
        self.connection = connection
        self.server = self._greeting()
        plural = "s" if self.server.version >= (1, 106, 0) else ""
        self._asset, self._tag = f"/asset{plural}", f"/tag{plural}"
        self.has_levels = self.server.version >= (1, 113, 0)

    def _greeting(self) -> Server:
        what = "the version of Immich"
        try:
            found = self._get("/server/version", what, kind="version")
        except RefusedError as error:
            if error.status not in (400, 404, 405):
                raise
            try:
                found = self._get("/server-info/version", what, kind="version")
            except RefusedError:
                raise NetworkError(
                    f"{self.connection.address}/api answers, but is no Immich ({error}); is --url "
                    "its address, with the folder that it has behind a proxy?"
                ) from None
        try:
            major, minor, patch = (int(found[key]) for key in ("major", "minor", "patch"))
        except (KeyError, TypeError, ValueError):
            raise self._odd(what) from None
        path = "/users/me" if (major, minor) >= (1, 106) else "/user/me"
        me = self._object(self._get(path, "the user of the API key", kind="user"), "the user")
        user = str(me.get("id", ""))
        if not ID.fullmatch(user):
            raise self._odd("the user of the API key")
        return Server((major, minor, patch), user, plain(str(me.get("name", "")), 100))

    def loses_positions(self) -> bool:
        """Whether this version takes the position of an asset that is tagged (see above)."""
        if not (1, 130, 0) <= self.server.version < (1, 132, 0):
            return False
        found = self._get("/server/features", "the features of Immich", kind="features")
        return not (isinstance(found, dict) and found.get("reverseGeocoding", False))

    def can_search_tags(self) -> bool:
        """Whether the assets of a tag can be asked for."""
        return not self.has_levels or self.server.version >= (1, 126, 0)

    def images(self, *, updated_after: str = "", archived: bool = False) -> Iterator[list[Asset]]:
        """The user's images that are not in the trash, oldest first, a page at a time.

        A page begins where the page before ended in time, not in number, so that assets that are
        deleted meanwhile move no other one out of sight. An asset may come more than once.

        Args:
            updated_after: only what the server has changed since then.
            archived: those in the archive, too.
        """
        body: dict[str, Any] = {
            "type": "IMAGE",
            "size": PAGE_SIZE,
            "order": "asc",
            "withExif": True,
        }
        if updated_after:
            body["updatedAfter"] = updated_after
        if archived and self.server.version < (1, 133, 0):
            body["withArchived"] = True
        since, page, by_time = "", 1, True
        for _ in range(MOST_PAGES):
            asked = {**body, "page": page, **({"takenAfter": since} if since else {})}
            found, more = self._search(asked, "a page of assets")
            yield [one for one in found if self._is_mine(one, archived)]
            if not found or not more:
                return
            times = [one.taken for one in found]
            if by_time and (times != sorted(times) or times[0] < since):
                since, page, by_time = "", 1, False  # an order, or a filter, that it does not know
            elif by_time and _TIME.fullmatch(times[-1]) and times[-1] != since:
                since, page = times[-1], 1
            else:  # a whole page of one time
                page += 1
        raise self._odd("a page of assets")

    def _is_mine(self, one: Asset, archived: bool) -> bool:
        mine = one.image and not one.trashed and one.owner in ("", self.server.user)
        return mine and (one.shown or (archived and one.archived))

    def tagged(self, tag: Tag, *, most: int | None = None) -> list[Asset]:
        """The assets with a tag or one below it, in the trash and the archive too.

        most: enough.
        """
        what = f"the assets with the tag {plain(tag.value, 80)}"
        if not self.has_levels:
            rows = self._get(f"{self._tag}/{_checked(tag.id)}/assets", what, kind="tag assets")
            return [self._asset_of(row) for row in self._list(rows, what)]
        assets: dict[str, Asset] = {}
        for page in range(1, MOST_PAGES):
            found, more = self._search(
                {"tagIds": [tag.id], "withDeleted": True, "page": page, "size": most or PAGE_SIZE},
                what,
            )  # fmt: skip
            assets |= {one.id: one for one in found}
            if not more or not found or (most and len(assets) >= most):
                break
        return list(assets.values())

    def _search(self, body: Mapping[str, Any], what: str) -> tuple[list[Asset], bool]:
        found = self.connection.json("POST", "/search/metadata", what, kind="search", body=body)
        part = self._object(self._object(found, what).get("assets"), what)
        rows = self._list(part.get("items"), what)
        return [self._asset_of(row) for row in rows], part.get("nextPage") not in (None, 0, "", "0")

    def asset(self, id: str) -> Asset | None:
        """An asset as it is now, with its tags; None = it is gone."""
        try:
            found = self._get(f"{self._asset}/{_checked(id)}", f"asset {id}", kind="asset")
        except RefusedError as error:
            _require_gone(error)
            return None
        return self._asset_of(found)

    def preview(self, id: str) -> bytes | None:
        """The preview of an asset, as a rule a JPEG; None = it has none yet.

        Raises LookupError when the asset is gone, RefusedError when the server cannot give it.
        """
        old = not self._asset.endswith("s")
        path = f"/asset/thumbnail/{_checked(id)}" if old else f"/assets/{_checked(id)}/thumbnail"
        params = {"format": "JPEG"} if old else {"size": "preview"}
        what = f"the preview of {id}"
        try:
            data = self.connection.file(path, what, kind="preview", params=params)
        except RefusedError as error:
            if error.status == 404:
                return None
            if error.status == 400:
                raise LookupError(id) from None
            raise
        if not photo_format(data[:HEAD_BYTES]) and data.lstrip()[:1] in (b"<", b"{"):
            kind = kind_of(data[:HEAD_BYTES]) or "text"
            raise NetworkError(
                f"{what}: {self.connection.host} answers {kind}, no photo; does a login page of a "
                "proxy stand before Immich?"
            )
        return data

    def tags(self) -> list[Tag]:
        """All tags of the user."""
        found = self._get(self._tag, "the tags", kind="tags")
        return [self._tag_of(row) for row in self._list(found, "the tags")]

    def make_tags(self, values: Sequence[str]) -> dict[str, Tag]:
        """Value → tag, for each value; missing ones are made, with the levels above them."""
        made: dict[str, Tag] = {}
        if self.has_levels:
            found = self.connection.json(
                "PUT", self._tag, "making tags", kind="tags", body={"tags": list(values)}
            )
            made = {tag.value: tag for tag in map(self._tag_of, self._list(found, "making tags"))}
        if missing := [value for value in values if value not in made]:
            made |= {tag.value: tag for tag in self.tags()}
            if not self.has_levels:
                for value in missing:
                    made[value] = made.get(value) or self._tag_of(self.connection.json(
                        "POST", self._tag, "making a tag", kind="tags",
                        body={"name": value, "type": "CUSTOM"}))  # fmt: skip
        if absent := [value for value in values if value not in made]:
            raise NetworkError(
                f"Immich did not make the tag {plain(absent[0], 100)!r}, and does not say why"
            )
        return {value: made[value] for value in values}

    def tag_assets(self, tag: Tag, ids: Sequence[str]) -> dict[str, str]:
        """Put a tag on assets: id → "" or why not: "duplicate" (it has it), "no_permission" …

        Raises LookupError when the tag is gone.
        """
        return self._change_tagged("PUT", tag, ids)

    def untag_assets(self, tag: Tag, ids: Sequence[str]) -> dict[str, str]:
        """Take a tag off assets: id → "" or why not, as "not_found" where it has not that tag.

        Raises LookupError when the tag is gone.
        """
        return self._change_tagged("DELETE", tag, ids)

    def _change_tagged(self, method: str, tag: Tag, ids: Sequence[str]) -> dict[str, str]:
        what = f"the tag {plain(tag.value, 80)}"
        name, key = ("ids", "id") if self.has_levels else ("assetIds", "assetId")
        results: dict[str, str] = {}
        for first in range(0, len(ids), IDS_AT_ONCE):
            some = [_checked(id) for id in ids[first : first + IDS_AT_ONCE]]
            try:
                found = self.connection.json(
                    method, f"{self._tag}/{_checked(tag.id)}/assets", what, kind="tag assets",
                    body={name: some},
                )  # fmt: skip
            except RefusedError as error:
                _require_gone(error)
                raise LookupError(tag.value) from None
            for row in self._list(found, what):
                one = self._object(row, what)
                why = "" if one.get("success") else str(one.get("error") or "unknown")
                results[str(one.get(key, ""))] = why
        return results

    def delete_tag(self, tag: Tag) -> None:
        """Delete a tag, and all below it. One that is gone is no error."""
        what = f"deleting the tag {plain(tag.value, 80)}"
        try:
            self.connection.json("DELETE", f"{self._tag}/{_checked(tag.id)}", what, kind="tag")
        except RefusedError as error:
            _require_gone(error)

    def set_position(self, id: str, latitude: float | None, longitude: float | None) -> bool:
        """Set or clear a position; False where the server refuses, or the asset is gone."""
        what = f"the position of {id}"
        body = {"latitude": latitude, "longitude": longitude}
        try:
            self.connection.json(
                "PUT", f"{self._asset}/{_checked(id)}", what, kind="asset", body=body
            )
        except RefusedError as error:
            _require_gone(error)
            return False
        return True

    def _get(self, path: str, what: str, *, kind: str) -> Any:
        return self.connection.json("GET", path, what, kind=kind)

    def _odd(self, what: str) -> NetworkError:
        return NetworkError(
            f"{what}: {self.connection.address}/api does not answer as Immich does; is --url its "
            "address, and Immich not of a version newer than this program knows?"
        )

    def _object(self, value: Any, what: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._odd(what)
        return value

    def _list(self, value: Any, what: str) -> list[Any]:
        if not isinstance(value, list):
            raise self._odd(what)
        return value

    def _asset_of(self, value: Any) -> Asset:
        try:
            return asset_of(value)
        except ValueError:
            raise self._odd("an asset") from None

    def _tag_of(self, value: Any) -> Tag:
        try:
            return tag_of(value)
        except ValueError:
            raise self._odd("a tag") from None


def _checked(id: str) -> str:
    """An id as part of a path."""
    return quote(id, safe="")


def _require_gone(error: RefusedError) -> None:
    """Raise a refusal again unless it says that something is gone.

    Immich answers HTTP 400 of what is gone, and HTTP 404 in places.
    """
    if error.status not in (400, 404):
        raise error
