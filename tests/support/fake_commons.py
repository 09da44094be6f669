"""The API of Commons: `action=query` and `wbgetentities` of files.

Continuation is that of MediaWiki (ApiContinuationManager): modules that are not done yet name their
own parameter, the generator's comes back unchanged until they are, and `continue` lists what is
done. A client that does not send all of it back gets wrong pages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.support.fake_imageinfo import imageinfo
from tests.support.fake_params import ApiError, number_of, values_of
from tests.support.fake_world import FakeCategory, FakeFile, World, metres, sort_key

JSON = dict[Any, Any]
Params = Mapping[str, str]
Page = FakeFile | FakeCategory
Found = tuple[list[tuple["Page", JSON]], dict[str, str]]  # pages, and how to continue
TRANSFORM_LIMIT = 50  # thumbnails of one answer
ILLEGAL = re.compile(r"[<>\[\]{}|#\x00-\x1f\x7f]|\.\./|/\.\.|^\.\.?$|^\s*$|%[0-9A-Fa-f]{2}")


class CommonsApi:
    """Answers for one world. base: the address that file addresses begin with."""

    def __init__(self, world: World, base: str) -> None:
        self.world, self.base = world, base
        self.warnings: list[str] = []

    def query(self, params: Params, *, thumbs: int = TRANSFORM_LIMIT, empty: bool = False) -> JSON:
        """The body of `action=query`.

        thumbs: how many files of one answer get their imageinfo, the others follow by continuation.
        empty: the generator finds nothing at first, and says how to continue.
        """
        self.warnings = []
        generator, lists = params.get("generator", ""), params.get("list", "")
        answer: JSON = {}
        more: dict[str, str] = {}
        if lists:
            rows, more = self._listed(lists, params)
            answer[lists] = rows
        pages: list[tuple[Page, JSON]] = []
        gone: list[JSON] = []
        following: dict[str, str] = {}
        if generator:
            if empty:
                following = self._empty_batch(generator, params)
            else:
                pages, following = self._found(generator, "g", params)
        elif params.get("titles") or params.get("pageids"):
            pages, gone = self._asked(params, answer)
        props = [one for one in params.get("prop", "").split("|") if one]
        done = set(params.get("continue", "").partition("||")[2].split("|")) - {""}
        shown = {page.pageid: _base(page) | extra for page, extra in pages}
        unfinished: dict[str, str] = {}
        finished = []
        for prop in props:
            fill = self._props().get(prop)
            if fill is None:
                self.warnings.append(f'Unrecognized value for parameter "prop": {prop}.')
            elif prop in done:
                finished.append(prop)
            else:
                limit = thumbs if prop == "imageinfo" else 0
                left = fill([page for page, _ in pages], shown, params, limit)
                unfinished |= left
                finished += [] if left else [prop]
        if shown or gone:
            answer["pages"] = [*gone, *(shown[number] for number in sorted(shown))]
        whole: JSON = {}
        if unfinished:
            kept = {k: v for k, v in params.items() if generator and k in _KEYS[generator]}
            keys = "|".join(kept)
            whole["continue"] = {**unfinished, **kept, "continue": f"{keys}||{'|'.join(finished)}"}
        elif following:
            whole["batchcomplete"] = True
            whole["continue"] = {**following, "continue": f"{'|'.join(following)}||"}
        else:
            whole["batchcomplete"] = True
            if more:
                whole["continue"] = {**more, "continue": "-||"}
        if self.warnings:
            whole["warnings"] = {"main": {"warnings": "\n".join(self.warnings)}}
        if answer:
            whole["query"] = answer
        return whole

    # Which pages.

    def _asked(self, params: Params, answer: JSON) -> tuple[list[tuple[Page, JSON]], list[JSON]]:
        """The pages of `titles` or `pageids`, and the rows of those that do not exist."""
        pages: list[tuple[Page, JSON]] = []
        gone: list[JSON] = []
        for text in values_of(params, "pageids"):
            if not text.isdecimal():
                raise ApiError("badinteger", f'Invalid value "{text}" for parameter "pageids".')
            page = self.world.page_of_id(int(text))
            if page is None:
                gone.append({"pageid": int(text), "missing": True})
            else:
                pages.append((page, {}))
        for given in values_of(params, "titles"):
            title = _normalised(given)
            if ILLEGAL.search(given):
                reason = "The requested page title contains invalid characters."
                gone.append({"title": given, "invalidreason": reason, "invalid": True})
                continue
            if title != given:
                row = {"fromencoded": False, "from": given, "to": title}
                answer.setdefault("normalized", []).append(row)
            if params.get("redirects") is not None and title in self.world.redirects:
                row = {"from": title, "to": self.world.redirects[title]}
                answer.setdefault("redirects", []).append(row)
                title = self.world.redirects[title]
            page = self.world.page(title)
            if page is None:
                ns = 6 if title.startswith("File:") else 14 if title.startswith("Category:") else 0
                gone.append({"ns": ns, "title": title, "missing": True})
            elif page not in [one for one, _ in pages]:
                pages.append((page, {}))
        return pages, gone

    def _listed(self, name: str, params: Params) -> tuple[list[JSON], dict[str, str]]:
        """The rows of `list=…`, and how to continue."""
        found, following = self._found(name, "", params)
        rows = []
        for page, extra in found:
            row = _base(page) | {k: v for k, v in extra.items() if k != "index"}
            rows.append(row)
        return rows, following

    def _empty_batch(self, generator: str, params: Params) -> dict[str, str]:
        found, _ = self._found(generator, "g", {**params, f"g{_PREFIX[generator]}limit": "1"})
        if generator != "categorymembers" or not found:
            return {}
        return {"gcmcontinue": _cm_continue(found[0][0])}

    def _found(self, name: str, before: str, params: Params) -> Found:
        """The pages of a list or generator, and how to continue it."""
        if name not in _PREFIX:
            raise ApiError("badvalue", f'Unrecognized value for parameter "generator": {name}.')
        prefix = before + _PREFIX[name]
        own = {k.removeprefix(prefix): v for k, v in params.items() if k.startswith(prefix)}
        find = {"categorymembers": self._members, "geosearch": self._around, "search": self._search}
        found, following = find[name](own, prefix)
        return found, {f"{prefix}{k}": v for k, v in following.items()}

    def _limit(self, own: Params, prefix: str) -> int:
        """`limit`: too large ones are lowered, with a warning."""
        text = own.get("limit", "10")
        if text == "max":
            return 500
        limit = number_of(own, "limit", -(10**9), 10**9, 10)
        if not 1 <= limit <= 500:
            bound = 500 if limit > 500 else 1
            self.warnings.append(f'"{prefix}limit" may not be {limit}; {bound} is used')
            return bound
        return limit

    def _members(self, own: Params, prefix: str) -> Found:
        title = _normalised(own.get("title", ""))
        if "title" not in own:
            raise ApiError("missingparam", f'The "{prefix}title" parameter must be set.')
        if not title.startswith("Category:") or ILLEGAL.search(title):
            raise ApiError("invalidcategory", "The category name you entered is not valid.")
        limit = self._limit(own, prefix)
        categories, files = self.world.members(title.removeprefix("Category:"))
        types = own.get("type", "page|subcat|file").split("|")
        spaces = [int(n) for n in own["namespace"].split("|")] if "namespace" in own else [6, 14]
        rows: list[Page] = []
        rows += categories if "subcat" in types else []
        rows += files if "file" in types else []
        start = 0
        if "continue" in own:
            marks = [_cm_continue(row) for row in rows]
            if own["continue"] not in marks:
                raise ApiError("badcontinue", 'Invalid continue param. You should pass "continue".')
            start = marks.index(own["continue"])
        batch: list[tuple[Page, JSON]] = [
            (row, {}) for row in rows[start : start + limit] if row.ns in spaces
        ]
        rest = rows[start + limit :]
        return batch, {"continue": _cm_continue(rest[0])} if rest else {}

    def _around(self, own: Params, prefix: str) -> Found:
        limit = self._limit(own, prefix)
        spaces = [int(n) for n in own.get("namespace", "0").split("|")]
        if "bbox" in own:
            top, left, bottom, right = _numbers(own["bbox"], 4, prefix + "bbox")
            if metres((top, left), (bottom, right)) > 2 * 10_000 * 2**0.5:
                raise ApiError("toobig", "Bounding box is too big.")
            middle = ((top + bottom) / 2, (left + right) / 2)
            radius = float("inf")
        else:
            middle = tuple(_numbers(own.get("coord", ""), 2, prefix + "coord"))  # type: ignore[assignment]
            radius = number_of(own, "radius", 10, 10_000, 500)
            top, left, bottom, right = 90.0, -180.0, -90.0, 180.0
        near = []
        for file in self.world.files if 6 in spaces else []:
            if file.camera is None or file.state == "missing":
                continue
            latitude, longitude = file.camera
            distance = metres(middle, file.camera)
            if distance <= radius and bottom <= latitude <= top and left <= longitude <= right:
                near.append((round(distance, 1), file.pageid, file))
        found: list[tuple[Page, JSON]] = []
        for index, (distance, _, file) in enumerate(sorted(near, key=lambda n: n[:2])[:limit]):
            assert file.camera is not None
            latitude, longitude = file.camera
            place = {"lat": latitude, "lon": longitude, "dist": distance, "primary": True}
            found.append((file, {"index": index - 1} if prefix == "ggs" else place))
        return found, {}

    def _search(self, own: Params, prefix: str) -> Found:
        if not own.get("search", "").strip():
            raise ApiError("missingparam", f'The "{prefix}search" parameter must be set.')
        limit = self._limit(own, prefix)
        start = number_of(own, "offset", 0, 10_000, 0)
        spaces = [int(n) for n in own.get("namespace", "0").split("|")]
        pages: list[Page] = [
            one for one in self.world.files if 6 in spaces and one.state != "missing"
        ]
        pages += list(self.world.categories.values()) if 14 in spaces else []
        for negative, word in _search_words(own["search"]):
            pages = [page for page in pages if _matches(page, word) != negative]
        pages.sort(key=lambda page: page.pageid)
        batch = [(page, {"index": start + i + 1}) for i, page in enumerate(pages[start:][:limit])]
        end = start + limit
        more = end < len(pages) and end < 10_000
        return batch, {"offset": str(end)} if more else {}

    # What is said of them.

    def _props(self) -> dict[str, Callable[[list[Page], JSON, Params, int], dict[str, str]]]:
        return {
            "imageinfo": self._imageinfo, "coordinates": self._coordinates,
            "categories": self._categories, "pageprops": self._pageprops,
            "info": lambda *_: {},
        }  # fmt: skip

    def _imageinfo(
        self, pages: list[Page], shown: JSON, params: Params, limit: int
    ) -> dict[str, str]:
        files = sorted((p for p in pages if isinstance(p, FakeFile)), key=lambda f: f.key)
        begin = params.get("iicontinue", "").rpartition("|")[0]
        width = number_of(params, "iiurlwidth", 1, 10**6, 0)
        count = 0
        for file in files:
            if file.key < begin:
                continue
            if count >= limit and (width or limit < TRANSFORM_LIMIT):
                stamp = re.sub(r"\D", "", file.timestamp)
                return {"iicontinue": f"{file.key}|{stamp}"}
            shown[file.pageid]["imagerepository"] = "local"
            shown[file.pageid]["imageinfo"] = [imageinfo(file, params, width, self.base)]
            count += 1
        return {}

    def _coordinates(
        self, pages: list[Page], shown: JSON, params: Params, _: int
    ) -> dict[str, str]:
        limit = min(500, number_of(params, "colimit", 1, 500, 10))
        begin = int(params.get("cocontinue", "0").partition("|")[0])  # a page id
        count = 0
        for page in sorted(pages, key=lambda one: one.pageid):
            if page.pageid < begin or not isinstance(page, FakeFile) or page.camera is None:
                continue
            if count >= limit:
                return {"cocontinue": f"{page.pageid}|{page.pageid * 7}"}
            latitude, longitude = page.camera
            row = {"lat": latitude, "lon": longitude, "primary": True, "globe": "earth"}
            shown[page.pageid]["coordinates"] = [row]
            count += 1
        return {}

    def _categories(self, pages: list[Page], shown: JSON, params: Params, _: int) -> dict[str, str]:
        limit = min(500, number_of(params, "cllimit", 1, 500, 10))
        first, after = (params.get("clcontinue", "0") + "|").split("|")[:2]
        only = set(values_of(params, "clcategories"))
        show = params.get("clshow", "")
        count = 0
        for page in sorted(pages, key=lambda one: one.pageid):
            for name in sorted(page.categories):
                key = name.replace(" ", "_")
                hidden = name in self.world.categories and self.world.categories[name].hidden
                if (page.pageid, key) < (int(first), after) or (hidden and show == "!hidden"):
                    continue
                if only and f"Category:{name}" not in only:
                    continue
                if count >= limit:
                    return {"clcontinue": f"{page.pageid}|{key}"}
                row = {"ns": 14, "title": f"Category:{name}"}
                shown[page.pageid].setdefault("categories", []).append(row)
                count += 1
        return {}

    def _pageprops(self, pages: list[Page], shown: JSON, params: Params, _: int) -> dict[str, str]:
        for page in pages:
            if isinstance(page, FakeCategory) and page.item:
                shown[page.pageid]["pageprops"] = {"wikibase_item": page.item}
        return {}


_PREFIX = {"categorymembers": "cm", "geosearch": "gs", "search": "sr"}
_KEYS = {"categorymembers": ("gcmcontinue",), "geosearch": (), "search": ("gsroffset",)}


def _base(page: Page) -> JSON:
    return {"pageid": page.pageid, "ns": page.ns, "title": page.title}


def _normalised(title: str) -> str:
    """A title with spaces and capitals as MediaWiki writes it."""
    space, colon, name = title.replace("_", " ").strip().partition(":")
    if not colon:
        return space[:1].upper() + space[1:]
    name = re.sub(" +", " ", name.strip())
    return f"{space.strip().capitalize()}:{name[:1].upper()}{name[1:]}"


def _cm_continue(page: Page) -> str:
    if isinstance(page, FakeCategory):
        return f"subcat|{page.title.upper().encode().hex()}|{page.pageid}"
    return f"file|{sort_key(page)[0].encode().hex()}|{page.pageid}"


def _numbers(text: str, count: int, name: str) -> Sequence[float]:
    try:
        numbers = [float(part) for part in text.split("|")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not -90 <= numbers[0] <= 90 or not -180 <= numbers[1] <= 180:
        raise ApiError("invalid-coord", f'Invalid coordinate provided for "{name}".')
    return numbers


def _search_words(text: str) -> list[tuple[bool, str]]:
    """(negative, word) of a search."""
    words = re.findall(r'-?\w+:"[^"]*"|-?"[^"]*"|\S+', text)
    return [(word.startswith("-"), word.removeprefix("-")) for word in words]


def _matches(page: Page, word: str) -> bool:
    key, colon, value = word.partition(":")
    value = value.strip('"')
    if key == "haswbstatement" and colon:
        claims = {claim.removeprefix("haswbstatement:") for claim in value.split("|")}
        return bool({f"P180={item}" for item in getattr(page, "depicts", ())} & claims)
    if key == "filetype" and colon:
        mime = getattr(page, "mime", "")
        kinds = {"bitmap": ("image/jpeg", "image/png", "image/tiff", "image/webp"),
                 "drawing": ("image/svg+xml",), "audio": ("audio/ogg",)}  # fmt: skip
        return any(mime in kinds.get(kind, ()) for kind in value.split("|"))
    if key == "filemime" and colon:
        return getattr(page, "mime", "") == value
    if key == "incategory" and colon:
        wanted = {name.replace("_", " ") for name in value.split("|")}
        return bool(wanted & set(page.categories))
    return word.strip('"').lower() in page.title.lower()
