"""Read what Wikidata and its query service answer: values are checked before a record has them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import NetworkError, OptionError
from ..gallery.records import MAX_TITLE_CHARACTERS, LandmarkRecord

BATCH = 50  # ids, titles or languages in a request: the limit of the interface

PAGE = "https://www.wikidata.org/wiki/"

EARTH = ("", "http://www.wikidata.org/entity/Q2", "https://www.wikidata.org/entity/Q2")

CATEGORY_ITEM = "Q4167836"  # "Wikimedia category": the item of the category, not of its topic

# Wikipedias whose host is not called by the code of their language, which `languages` may have.
HOSTS = {"nb": "no", "gsw": "als", "yue": "zh-yue", "nan": "zh-min-nan", "lzh": "zh-classical",
         "vro": "fiu-vro", "sgs": "bat-smg", "rup": "roa-rup", "be-x-old": "be-tarask"}  # fmt: skip

# Sites that end in "wiki" and are no Wikipedia.
_OTHER_SITES = {"commons", "wikidata", "species", "meta", "mediawiki", "incubator", "sources",
                "outreach", "wikimania", "foundation", "wikifunctions", "test"}  # fmt: skip

ID = re.compile(r"Q[1-9][0-9]{0,15}")
_ENTITY = re.compile(r"https?://www\.wikidata\.org/entity/(Q[1-9][0-9]{0,15})")
_GLOBE = re.compile(r"\s*<([^<>]*)>.*")  # before the point of coordinates that are not on Earth
_LANGUAGE = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,34}")
_NO_TITLE = re.compile(r"[\x00-\x1f\x7f#<>\[\]|{}]")  # what MediaWiki allows in no title
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # reorder what follows


@dataclass(frozen=True)
class Landmark:
    """An item of Wikidata as a landmark.

    id: its label in photo tables; category: of Commons, without prefix, "" = none; image: name of
    its picture's file on Commons, "" = none; links: how many pages of Wikimedia sites it has.
    within, countries: items of the places and the countries in which it is today, as it says; the
    record has no words for these yet.
    """

    id: str
    record: LandmarkRecord
    category: str = ""
    image: str = ""
    links: int = 0
    within: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()


@dataclass
class Landmarks:
    """Landmarks found, most linked first where a place was asked for.

    ids: what was asked for (an id, a category) → id of the landmark, another one after a merge;
    left_out: what was asked for → why there is no landmark; notes: (id, what was left out or
    followed) of landmarks that are there.
    """

    found: list[Landmark] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)


def check_languages(languages: Sequence[str]) -> None:
    """Raise OptionError unless these are codes of languages, at least one."""
    wrong = [one for one in languages if not _LANGUAGE.fullmatch(one)]
    if wrong or not 0 < len(languages) < BATCH:
        raise OptionError(
            f"languages {','.join(languages) or '(none)'} given; expected 1 to {BATCH - 1} codes "
            "such as en,fr,zh-hant"
        )


def category_name(text: str) -> str:
    """A category's name as Commons writes it, without prefix; "" where it cannot be one."""
    name = re.sub(r"^\s*:?category\s*:", "", text.replace("_", " "), flags=re.IGNORECASE)
    name = re.sub(r"\s+", " ", name).strip() if not _NO_TITLE.search(name.strip()) else ""
    name = name[:1].upper() + name[1:]  # "ß" has no capital of one letter, and stays
    return name if 0 < len(name.encode(errors="replace")) <= 240 else ""


def landmark_of(
    item: str, entity: dict[str, Any], languages: Sequence[str], result: Landmarks
) -> Landmark:
    """Read an entity. A value that no record may have is left out, with a note in `result`."""
    names: dict[str, str] = {}
    fallback = ""
    for language in languages:
        label = member(entity, "labels", language.lower())
        if (text := member(label, "value")) is None:
            continue
        if not (text := clean(text)):
            result.notes.append((item, f"its name in {language} cannot be stored; left out"))
        elif member(label, "language") in (language.lower(), "mul"):
            names[language] = text
        fallback = fallback or text
    claims = member(entity, "claims")
    links = [
        (HOSTS.get(host := site.removesuffix("wiki").replace("_", "-"), host), text)
        for site, link in members(member(entity, "sitelinks"))
        if site.endswith("wiki") and (text := clean(member(link, "title")))
    ]
    articles = {host: text for host, text in links
                if host not in _OTHER_SITES and _LANGUAGE.fullmatch(host)}  # fmt: skip
    wikipedia = _chosen(articles, languages)
    category = next((name for one in values_of(claims, "P373")
                     if isinstance(one, str) and (name := category_name(one))), "")  # fmt: skip
    for host, text in links:
        if not category and host == "commons" and text.startswith("Category:"):
            category = category_name(text)
    title = next(iter(names.values()), "") or fallback
    if not title:
        title = next(iter([*wikipedia.values(), category]), "") or category or item
        result.notes.append((item, f"has no name in {','.join(languages)}; called {title!r}"))
    place = _place(item, claims, result)
    images = (one for one in values_of(claims, "P18") if isinstance(one, str))
    record = LandmarkRecord(
        item, title=title, names=names, wikidata=item, latitude=place[0], longitude=place[1],
        source=PAGE + item, wikipedia=wikipedia,
    )  # fmt: skip
    return Landmark(
        item, record, category, next((one for one in images if clean(one)), ""),
        len(members(member(entity, "sitelinks"))), current_items(claims, "P131"),
        current_items(claims, "P17"),
    )  # fmt: skip


def _chosen(articles: dict[str, str], languages: Sequence[str]) -> dict[str, str]:
    """The articles in the languages asked for; where there is none, one in another language.

    The key is the name of the Wikipedia's host: "fr", and "zh" also for zh-hant.
    """
    hosts = []
    for language in map(str.lower, languages):
        host = HOSTS.get(language, language)
        hosts.append(host if host in articles else host.partition("-")[0])
    chosen = {host: articles[host] for host in hosts if host in articles}
    if articles and not chosen:
        host = "en" if "en" in articles else min(articles)
        chosen = {host: articles[host]}
    return chosen


def _place(item: str, claims: Any, result: Landmarks) -> tuple[float | None, float | None]:
    """Latitude and longitude of the best coordinates on Earth."""
    values = values_of(claims, "P625")
    for value in values:
        degrees = (member(value, "latitude"), member(value, "longitude"))
        if member(value, "globe") in (None, *EARTH) and _on_earth(*degrees):
            return float(degrees[0]), float(degrees[1])
    if values:
        result.notes.append((item, "its coordinates are not on Earth, or out of range; left out"))
    return None, None


def topic_of(entity: dict[str, Any]) -> str:
    """The main topic (P301) of the item of a category; "" = it is no such item, or has none."""
    claims = member(entity, "claims")
    if CATEGORY_ITEM not in [member(value, "id") for value in values_of(claims, "P31")]:
        return ""
    ids = (str(member(value, "id")) for value in values_of(claims, "P301"))
    return next((one for one in ids if ID.fullmatch(one)), "")


def values_of(claims: Any, name: str) -> list[Any]:
    """The values of a property: the preferred ones, else the normal ones; none that is unknown."""
    return _best(listed(member(claims, name)))


def current_items(claims: Any, name: str) -> tuple[str, ...]:
    """The items of a property today: as `values_of`, without statements that ended (P582)."""
    lasting = [
        claim for claim in listed(member(claims, name))
        if all(member(snak, "snaktype") == "novalue"  # "has no end"
               for snak in listed(member(claim, "qualifiers", "P582")))
    ]  # fmt: skip
    ids = (str(member(value, "id")) for value in _best(lasting))
    return tuple(dict.fromkeys(one for one in ids if ID.fullmatch(one)))


def _best(claims: list[Any]) -> list[Any]:
    by_rank: dict[str, list[Any]] = {"preferred": [], "normal": []}
    for claim in claims:
        rank, snak = member(claim, "rank") or "normal", member(claim, "mainsnak")
        if rank in by_rank and member(snak, "snaktype") == "value":
            by_rank[rank].append(member(snak, "datavalue", "value"))
    return by_rank["preferred"] or by_rank["normal"]


def rows_of(answer: Any, what: str) -> list[Any]:
    """The rows of an answer of the query service. Raises NetworkError where it has none."""
    rows = member(answer, "results", "bindings")
    if not isinstance(rows, list):
        raise NetworkError(f"{what}: the query service answered something else than rows")
    return rows


def item_in(row: Any, variable: str) -> str:
    """The id in a row of the query service, "" = unbound, or no item."""
    match = _ENTITY.fullmatch(str(member(row, variable, "value")))
    return match[1] if match else ""


def globe_in(row: Any, variable: str) -> str:
    """The globe of coordinates in a row, "" = Earth, or unbound."""
    match = _GLOBE.fullmatch(str(member(row, variable, "value")))
    return match[1] if match else ""


def clean(text: Any) -> str:
    """A text that may stand in a record, "" = none: no control character, none that reorders."""
    if not isinstance(text, str) or len(text) > MAX_TITLE_CHARACTERS:
        return ""
    bad = any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _BIDI for c in text)
    return "" if bad else text.strip()


def _on_earth(latitude: Any, longitude: Any) -> bool:
    """Are these numbers, and degrees? NaN is none."""
    return all(
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= limit
        for value, limit in ((latitude, 90), (longitude, 180))
    )


def member(value: Any, *path: str) -> Any:
    """The member of a member … of a JSON object; None where there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def listed(value: Any) -> list[Any]:
    """A JSON array, [] for anything else."""
    return value if isinstance(value, list) else []


def members(value: Any) -> list[tuple[str, Any]]:
    """Names and values of a JSON object; an empty one is an array in answers of MediaWiki."""
    return list(value.items()) if isinstance(value, dict) else []
