"""Ask Wikimedia Commons for files: of a category, that depict an item, around a place.

Read in the source: the limits of `geosearch` (10 m to 10 km, 500 rows and no continuation) in
GeoData's QueryGeoSearch.php, the keyword `filetype:bitmap` in CirrusSearch's FileTypeFeature.php,
the deepest offset of a search (10,000) in its Searcher.php. Unproven: that a file without data has
`statements` as an empty list, where others have an object; both are read, and a missing member too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from ..data.licences import Licence, licence_of_commons
from .http_answers import ApiError, RefusedError

if TYPE_CHECKING:
    from .http_client import PoliteClient

BATCH = 50  # files a request: more thumbnails are not made in one (TRANSFORM_LIMIT)

PICTURE_WIDTH = 960  # of the widths that are made; others are refused

# Pixels of the shorter side of the original, and of the picture, of which a panorama has less.
MIN_SIDE, MIN_PICTURE_SIDE = 500, 240

PHOTO_TYPES = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}

MIN_RADIUS_M, MAX_RADIUS_M = 10, 10_000  # of one search around a place

GEOSEARCH_LIMIT, MAX_SEARCH_OFFSET = 500, 10_000

MAX_ANSWERS = 2_000  # of one list, so that a server cannot keep it going for ever

MAX_HTML, MAX_TEXT = 20_000, 500  # characters of a field that are read, and that are kept

_METADATA = (
    "Artist", "Attribution", "Credit", "License", "LicenseShortName", "LicenseUrl", "NonFree",
    "GPSLatitude", "GPSLongitude", "ImageDescription", "ObjectName",
)  # fmt: skip

_FILE = {
    "prop": "imageinfo|coordinates",
    "iiprop": "url|size|mime|sha1|extmetadata|user",
    "iiurlwidth": str(PICTURE_WIDTH),
    "iiextmetadatafilter": "|".join(_METADATA),
    "iiextmetadatalanguage": "en",
    "colimit": str(BATCH),
    "coprimary": "all",
}

_PAGE = "https://commons.wikimedia.org/?curid="

_ITEM = re.compile(r"Q[1-9][0-9]{0,15}", re.ASCII)
_SHA1 = re.compile(r"[0-9a-f]{40}", re.ASCII)
_HIDDEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)

_UNSEEN = ("script", "style", "template", "noscript", "iframe", "object")
_BLOCKS = ("br", "p", "div", "li", "td", "th", "tr", "dd", "dt", "h1", "h2", "h3")


@dataclass(frozen=True)
class CommonsPhoto:
    """A file of Commons.

    title: with "File:". url: of the picture that is fetched, about 960 px wide. width, height: of
    the original. sha1: of the original, in hexadecimal. author: as it has to be named. source: the
    file's page. original: the picture is the original, so that `sha1` is of its bytes. refused: why
    the file is not used, "" = it can be.
    """

    pageid: int
    title: str
    url: str
    width: int
    height: int
    mime: str
    sha1: str
    uploader: str
    author: str
    licence: str
    licence_url: str
    source: str
    description: str
    latitude: float | None
    longitude: float | None
    original: bool = False
    refused: str = ""


@dataclass(frozen=True)
class Spot:
    """A file and where its camera stood."""

    pageid: int
    title: str
    latitude: float
    longitude: float


class Commons:
    """The questions that are put to one Commons, through a polite client."""

    def __init__(self, client: PoliteClient) -> None:
        self._client = client
        self._api = client.sites.commons
        self._media = client.sites.media

    def members(self, category: str) -> Iterator[CommonsPhoto]:
        """The files of a category, without those of its subcategories, in the server's order."""
        asked = {"generator": "categorymembers", "gcmtitle": f"Category:{category}",
                 "gcmtype": "file", "gcmlimit": str(BATCH), **_FILE}  # fmt: skip
        for pages in self._batches(asked, f"files of Category:{category}"):
            yield from self._photos(pages)

    def subcategories(self, category: str) -> list[str]:
        """Names of the subcategories of a category, without "Category:"."""
        asked = {"generator": "categorymembers", "gcmtitle": f"Category:{category}",
                 "gcmtype": "subcat", "gcmlimit": "500"}  # fmt: skip
        names = [
            _text(page.get("title")).partition(":")[2]
            for pages in self._batches(asked, f"subcategories of Category:{category}")
            for page in pages
            if not page.get("missing")
        ]
        return [name for name in names if name]

    def depicting(self, item: str) -> Iterator[CommonsPhoto]:
        """The files that say that they depict an item, the most relevant first."""
        asked = {"generator": "search", "gsrsearch": f"haswbstatement:P180={item} filetype:bitmap",
                 "gsrnamespace": "6", "gsrlimit": str(BATCH), **_FILE}  # fmt: skip
        for pages in self._batches(asked, f"files that depict {item}"):
            yield from self._photos(pages)

    def details(self, pageids: Iterable[int]) -> dict[int, tuple[CommonsPhoto, set[str]]]:
        """Page id → the file and the names of its categories, without "Category:"."""
        found: dict[int, tuple[CommonsPhoto, set[str]]] = {}
        for ids in _in_batches(pageids):
            asked = {**_FILE, "pageids": "|".join(map(str, ids)), "cllimit": "500",
                     "prop": f"{_FILE['prop']}|categories"}  # fmt: skip
            for pages in self._batches(asked, "files around the place"):
                for page in pages:
                    names = (_text(each.get("title")).partition(":")[2]
                             for each in _list(page.get("categories")))  # fmt: skip
                    for photo in self._photos([page]):
                        found[photo.pageid] = photo, {*names}
        return found

    def depicted(self, pageids: Iterable[int]) -> dict[int, set[str]]:
        """Page id → the items that the file says it depicts; of the ids that have such data."""
        found: dict[int, set[str]] = {}
        for ids in _in_batches(pageids):
            left = [f"M{one}" for one in ids]
            while left:
                asked = {"action": "wbgetentities", "format": "json", "formatversion": "2",
                         "ids": "|".join(left), "props": "claims"}  # fmt: skip
                try:
                    answer = self._client.get_json(self._api, asked, what="what files depict")
                except ApiError as error:
                    if error.code != "no-such-entity" or error.id not in left:
                        raise
                    left.remove(error.id)
                    continue
                entities = _object(_object(answer).get("entities"))
                found |= {int(name[1:]): items for name in left
                          if (items := _items(_object(entities.get(name))))}  # fmt: skip
                break
        return found

    def spots(self, latitude: float, longitude: float, radius_m: float) -> list[Spot]:
        """The files whose camera stood in a circle: the 500 nearest, which cannot be continued."""
        asked = {"generator": "geosearch", "ggscoord": f"{latitude:.6f}|{longitude:.6f}",
                 "ggsradius": str(min(max(math.ceil(radius_m), MIN_RADIUS_M), MAX_RADIUS_M)),
                 "ggslimit": str(GEOSEARCH_LIMIT), "ggsnamespace": "6", "ggsprimary": "all",
                 "prop": "coordinates", "colimit": "500", "coprimary": "all"}  # fmt: skip
        found: dict[int, Spot] = {}
        for pages in self._batches(asked, f"files around {latitude:.4f}, {longitude:.4f}"):
            for page in pages:
                pageid, (at_lat, at_lon) = _whole(page.get("pageid")), _place(page, {})
                if pageid and at_lat is not None and at_lon is not None:
                    found[pageid] = Spot(pageid, _text(page.get("title")), at_lat, at_lon)
        return [*found.values()]

    def _batches(self, asked: Mapping[str, str], what: str) -> Iterator[list[dict[str, Any]]]:
        """The pages of a list, batch by batch, each complete: an answer may hold parts of pages.

        All members of `continue` are sent back, and pages are joined by their id until the server
        says that the batch is complete; a first answer may have no page at all.
        """
        asked = {"action": "query", "format": "json", "formatversion": "2", **asked}
        pages: dict[int | str, dict[str, Any]] = {}
        more: dict[str, str] = {}
        seen: set[tuple[tuple[str, str], ...]] = set()
        for _ in range(MAX_ANSWERS):
            answer = _object(self._client.get_json(self._api, {**asked, **more}, what=what))
            for page in _pages(answer):
                key = _whole(page.get("pageid")) or _text(page.get("title"))
                pages[key] = _joined(pages[key], page) if key in pages else page
            more = {key: str(value) for key, value in _object(answer.get("continue")).items()}
            if answer.get("batchcomplete", False) is not False and pages:
                yield sorted(pages.values(), key=lambda page: _whole(page.get("index")))
                pages = {}
            offset = more.get("gsroffset", "")
            deepest = offset.isdecimal() and int(offset) + BATCH > MAX_SEARCH_OFFSET
            if not more or deepest:
                break
            if (step := tuple(sorted(more.items()))) in seen:
                raise RefusedError(f"{what}: the server continues its list in a circle")
            seen.add(step)
        if pages:
            yield sorted(pages.values(), key=lambda page: _whole(page.get("index")))

    def _photos(self, pages: Iterable[dict[str, Any]]) -> Iterator[CommonsPhoto]:
        for page in pages:
            if _text(page.get("title")):
                yield photo_of(page, self._media)


def photo_of(page: Mapping[str, Any], media: Sequence[str]) -> CommonsPhoto:
    """A file of an answer, with the reason if it cannot be used.

    media: origins that pictures may come from.
    """
    info = next(iter(_list(page.get("imageinfo"))), {})
    metadata = {name: _text(_object(cell).get("value"))
                for name, cell in _object(info.get("extmetadata")).items()}  # fmt: skip
    made = _text(info.get("thumburl"))
    # A small original is its own picture. No address is made up: only those of the answer are used.
    small = 0 < _whole(info.get("width")) <= PICTURE_WIDTH
    original = without_utm(_text(info.get("url")))
    url = without_utm(made) or (original if small else "")
    licence = licence_of_commons(
        plain_text(metadata.get("License", "")), plain_text(metadata.get("LicenseShortName", "")),
        metadata.get("LicenseUrl", "").strip(), metadata.get("NonFree", ""),
    )  # fmt: skip
    uploader = plain_text(_text(info.get("user")))
    named = (plain_text(metadata.get(name, "")) for name in ("Attribution", "Artist", "Credit"))
    author = next(filter(None, named), f"{uploader} (uploader)" if uploader else "")
    sha1, address = _text(info.get("sha1")).lower(), without_utm(_text(info.get("descriptionurl")))
    described = f"{metadata.get('ObjectName', '')} {metadata.get('ImageDescription', '')}"
    pageid, (latitude, longitude) = _whole(page.get("pageid")), _place(page, metadata)
    return CommonsPhoto(
        pageid=pageid, title=plain_text(_text(page.get("title"))), url=url,
        width=_whole(info.get("width")), height=_whole(info.get("height")),
        mime=_text(info.get("mime")), sha1=sha1 if _SHA1.fullmatch(sha1) else "",
        uploader=uploader, author=author, licence=licence.name, licence_url=licence.url,
        source=address if address.startswith(("https://", "http://")) else f"{_PAGE}{pageid}",
        description=plain_text(described), latitude=latitude, longitude=longitude,
        original=bool(url) and url == original,
        refused=_why_refused(page, info, url, licence, media),
    )  # fmt: skip


def _why_refused(
    page: Mapping[str, Any], info: Mapping[str, Any], url: str, licence: Licence,
    media: Sequence[str],
) -> str:  # fmt: skip
    """Why a file is not used, in a few words; "" = it can be."""
    width, height = _whole(info.get("width")), _whole(info.get("height"))
    if not _whole(page.get("pageid")) or page.get("missing") or info.get("filemissing"):
        return "missing on Commons"
    if info.get("filehidden"):
        return "hidden on Commons"
    if not info:
        return "Commons says nothing about this file"
    if info.get("mime") not in PHOTO_TYPES:
        return f"no photo ({plain_text(_text(info.get('mime'))) or 'of unknown type'})"
    if min(width, height) < MIN_SIDE:
        return f"too small (a side of less than {MIN_SIDE} px)"
    if min(width, height) * min(1.0, PICTURE_WIDTH / width) < MIN_PICTURE_SIDE:
        return f"a long panorama (less than {MIN_PICTURE_SIDE} px high at {PICTURE_WIDTH} px)"
    if licence.refused:
        return licence.refused
    if problem := plain_text(str(info.get("thumberror") or "")):
        return f"Commons makes no picture of it ({problem})"
    if not url:
        return "Commons makes no picture of it"
    return "" if is_at(url, media) else "its picture is at another host"


def category_key(name: str) -> str:
    """A category's name as Commons compares it: blanks for underscores, a capital first."""
    plain = " ".join(name.replace("_", " ").split())
    return plain[:1].upper() + plain[1:]


def plain_text(html: str) -> str:
    """The text of a field that may hold HTML: no scripts, comments or hidden parts, one line."""
    if not html:
        return ""
    if "<" in html or "&" in html:
        from bs4 import BeautifulSoup

        cut = html[:MAX_HTML]
        end = cut.rfind("<") if cut.rfind("<") > cut.rfind(">") else len(cut)  # half a tag
        soup = BeautifulSoup(cut[:end], "html.parser")
        unseen = [*soup.find_all(_UNSEEN), *soup.find_all(style=_HIDDEN),
                  *soup.find_all(hidden=True)]  # fmt: skip
        for tag in unseen:
            if not tag.decomposed:  # with one that it is in
                tag.decompose()
        for tag in soup.find_all(_BLOCKS):
            tag.append(" ")
        html = soup.get_text()
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in html).split())
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1].rstrip()}…"


def without_utm(url: str) -> str:
    """The address without the parameters that only count visitors."""
    parts = urlsplit(url)
    if not parts.query:
        return url
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True)
            if not name.lower().startswith("utm_")]  # fmt: skip
    return parts._replace(query=urlencode(kept)).geturl()


def is_at(url: str, origins: Iterable[str]) -> bool:
    """Is an address at one of these origins (https://HOST)?"""
    try:
        parts = urlsplit(url)
        given = (parts.scheme, parts.hostname, parts.port)
        return parts.username is None and any(
            given == (origin.scheme, origin.hostname, origin.port)
            for origin in map(urlsplit, origins)
        )
    except ValueError:  # a port that is no number
        return False


def _pages(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pages of an answer: a list, or an object keyed by id in the API's old form."""
    pages = _object(answer.get("query")).get("pages")
    return _list([*pages.values()] if isinstance(pages, dict) else pages)


def _joined(page: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Two parts of one page; lists such as its categories are put together."""
    joined = {**page, **more}
    for name, value in page.items():
        if isinstance(value, list) and isinstance(more.get(name), list):
            joined[name] = value + [one for one in more[name] if one not in value]
    return joined


def _items(entity: Mapping[str, Any]) -> set[str]:
    """The items that a file's data name as depicted (P180)."""
    statements = entity.get("statements") or entity.get("claims")
    return {
        item
        for statement in _list(_object(statements).get("P180"))
        if statement.get("rank") != "deprecated"
        for value in [_object(_object(statement.get("mainsnak")).get("datavalue")).get("value")]
        if _ITEM.fullmatch(item := _text(_object(value).get("id")))
    }


def _place(
    page: Mapping[str, Any], metadata: Mapping[str, str]
) -> tuple[float, float] | tuple[None, None]:
    """Latitude and longitude of a file on Earth, its primary ones first."""
    rows = sorted(_list(page.get("coordinates")), key=lambda row: not row.get("primary"))
    pairs = [(row.get("lat"), row.get("lon")) for row in rows
             if row.get("globe", "earth") == "earth"]  # fmt: skip
    pairs.append((metadata.get("GPSLatitude"), metadata.get("GPSLongitude")))
    for north, east in pairs:
        try:
            latitude, longitude = float(north), float(east)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            continue
        if abs(latitude) <= 90 and abs(longitude) <= 180:  # NaN is neither
            return latitude, longitude
    return None, None


def _in_batches(pageids: Iterable[int]) -> Iterator[list[int]]:
    ids = sorted({*pageids})
    return (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: object) -> int:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and value > 0 else 0  # type: ignore[operator, return-value]


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
