"""The API of Wikidata (`wbgetentities`, `wbsearchentities`) and its query service.

SPARQL is not parsed: places, points, radii, types, limits and variables are read from a query by
regular expressions. A query without SELECT or with unequal braces is refused as malformed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any
from urllib.parse import quote

from tests.support.fake_params import ApiError, number_of, values_of
from tests.support.fake_world import EARTH, Claim, FakeFile, FakeItem, World, metres

JSON = dict[str, Any]
Params = Mapping[str, str]
ENTITY = "http://www.wikidata.org/entity/"
LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*")


_VALUES = ("wdt:P625", "wdt:P18", "wdt:P373")
_CLASS = "wdt:P31/wdt:P279*"
_SUBQUERY = re.compile(r"(?is)\{\s*SELECT\b.*?LIMIT\s+\d+\s*\}")


class MalformedError(Exception):
    """A query that the query service cannot parse."""


def get_entities(world: World, params: Params) -> JSON:
    """`action=wbgetentities` of items. An id that never existed fails the whole request."""
    ids = values_of(params, "ids")
    sites, titles = values_of(params, "sites"), values_of(params, "titles")
    if not ids and not (sites and titles):
        raise ApiError("param-missing", 'Either provide the item "ids" or pairs of "sites" and '
                       '"titles" for corresponding pages.')  # fmt: skip
    entities: JSON = {}
    for i, (site, title) in enumerate(_pairs(sites, titles)):
        found = [item.id for item in world.items.values() if item.sitelinks.get(site) == title]
        ids += found
        if not found:
            entities[str(-1 - i)] = {"site": site, "title": title, "missing": ""}
    props = params.get("props", "info|sitelinks|aliases|labels|descriptions|claims|datatype")
    languages = values_of(params, "languages")
    for language in languages:
        if not LANGUAGE.fullmatch(language):
            raise ApiError("badvalue", f'Unrecognized value for parameter "languages": {language}.')
    for number in ids:
        item = world.items.get(number)
        if item is None:
            raise ApiError("no-such-entity", f'Could not find an entity with the ID "{number}".',
                           id=number)  # fmt: skip
        if item.deleted:
            entities[number] = {"id": number, "missing": ""}
            continue
        target = world.items[item.redirect] if item.redirect else item
        body: JSON = {"type": "item", "id": target.id}
        if item.redirect:
            body["redirects"] = {"from": number, "to": target.id}
        entities[number] = body | _parts(target, props.split("|"), languages, params)
    return {"entities": entities, "success": 1}


def _pairs(sites: list[str], titles: list[str]) -> Iterator[tuple[str, str]]:
    """One site with many titles, many sites with one title, or as many of both."""
    if len(sites) == 1 or len(titles) == 1:
        yield from product(sites, titles)
    elif len(sites) == len(titles):
        yield from zip(sites, titles, strict=True)
    else:
        raise ApiError("params-illegal", 'Must request one site, one title, or an equal number of '
                       "sites and titles")  # fmt: skip


def _parts(item: FakeItem, props: list[str], languages: list[str], params: Params) -> JSON:
    body: JSON = {}
    fallback = params.get("languagefallback") is not None
    for prop, texts in (("labels", item.labels), ("descriptions", item.descriptions)):
        if prop in props:
            body[prop] = _terms(texts, languages, fallback=fallback)
    if "aliases" in props:
        body["aliases"] = {}
    if "claims" in props:
        claims: JSON = {}
        for i, claim in enumerate(item.claims):
            claims.setdefault(claim.prop, []).append(_statement(item.id, i, claim))
        body["claims"] = claims
    if "sitelinks" in props or "sitelinks/urls" in props:
        only = values_of(params, "sitefilter")
        body["sitelinks"] = {
            site: {"site": site, "title": title, "badges": []}
            for site, title in item.sitelinks.items() if not only or site in only
        }  # fmt: skip
    return body


def _terms(texts: Mapping[str, str], languages: list[str], *, fallback: bool) -> JSON:
    found: JSON = {}
    for language in languages or list(texts):
        chain = [language, language.partition("-")[0], "mul", "en"] if fallback else [language]
        used = next((one for one in chain if one in texts), None)
        if used is None:
            continue
        found[language] = {"language": used, "value": texts[used]}
        if used != language:
            found[language]["for-language"] = language
    return found


def _statement(owner: str, number: int, claim: Claim) -> JSON:
    ends = {"snaktype": "somevalue", "property": "P582", "hash": "0" * 40, "datatype": "time"}
    return {
        "mainsnak": claim.snak_json() | {"hash": "0" * 40}, "type": "statement",
        "id": f"{owner}${number:08d}-0000-0000-0000-000000000000", "rank": claim.rank,
        **({"qualifiers": {"P582": [ends]}, "qualifiers-order": ["P582"]} if claim.ended else {}),
    }  # fmt: skip


def file_entities(world: World, params: Params) -> JSON:
    """`action=wbgetentities` of files of Commons: M-ids, `statements` in place of `claims`."""
    entities: JSON = {}
    for number in values_of(params, "ids"):
        if not re.fullmatch(r"M[1-9]\d*", number):
            text = f"Could not find such an entity. (Invalid id: {number})"
            raise ApiError("no-such-entity", text, id=number)
        page = world.page_of_id(int(number[1:]))
        if not isinstance(page, FakeFile):
            raise ApiError("no-such-entity", f'Could not find an entity with the ID "{number}".',
                           id=number)  # fmt: skip
        if not page.depicts and page.statements == "virtual":
            entities[number] = {"id": number, "missing": ""}
            continue
        claims = [_statement(number, i, Claim("P180", q)) for i, q in enumerate(page.depicts)]
        entities[number] = {
            "pageid": page.pageid, "ns": 6, "title": page.title, "lastrevid": page.pageid * 3,
            "modified": page.timestamp, "type": "mediainfo", "id": number, "labels": {},
            "descriptions": {}, "statements": {"P180": claims} if claims else [],
        }  # fmt: skip
    return {"entities": entities, "success": 1}


def search_entities(world: World, params: Params) -> JSON:
    """`action=wbsearchentities`: labels that begin with the text, in the language or in English."""
    text = params.get("search", "")
    language = params.get("language")
    if not text or not language:
        name = "search" if not text else "language"
        raise ApiError("missingparam", f'The "{name}" parameter must be set.')
    limit = number_of(params, "limit", 1, 50, 7)
    start = number_of(params, "continue", 0, 10_000, 0)
    rows = []
    for item in world.items.values():
        if item.redirect or item.deleted:
            continue
        for used in (language, "en"):
            label = item.labels.get(used, "")
            if label.lower().startswith(text.lower()):
                rows.append((-len(item.sitelinks), item, used, label))
                break
    rows.sort(key=lambda row: (row[0], int(row[1].id[1:])))
    shown = params.get("uselang", language)
    search = []
    for _, item, used, label in rows[start : start + limit]:
        row: JSON = {
            "id": item.id, "title": item.id, "pageid": int(item.id[1:]),
            "concepturi": ENTITY + item.id, "url": f"//www.wikidata.org/wiki/{item.id}",
            "label": item.labels.get(shown, item.labels.get("en", item.id)),
            "match": {"type": "label", "language": used, "text": label},
        }  # fmt: skip
        about = item.descriptions.get(shown, item.descriptions.get("en"))
        search.append(row | ({"description": about} if about else {}))
    more = {"search-continue": start + limit} if len(rows) > start + limit else {}
    return {"searchinfo": {"search": text}, "search": search, **more, "success": 1}


def search_items(world: World, params: Params) -> JSON:
    """`list=search` of Wikidata: only `haswbstatement:P373=NAME` words, joined by |."""
    text = params.get("srsearch", "")
    wanted = set(re.findall(r'P373=([^|"]+)', text))
    found = [item for item in world.items.values() if wanted & set(item.values("P373"))]
    rows = [{"ns": 0, "title": item.id, "pageid": int(item.id[1:])} for item in found]
    return {"batchcomplete": True, "query": {"searchinfo": {"totalhits": len(rows)},
                                             "search": rows}}  # fmt: skip


# The query service.


def sparql(world: World, query: str) -> JSON:
    """The answer to a query about items: one row for each combination of their values."""
    text = re.sub(r'"(?:[^"\\]|\\.)*"|<[^>]*>|#[^\n]*', lambda m: "" if m[0][0] == "#" else m[0],
                  query)  # fmt: skip
    plain = re.sub(r'"(?:[^"\\]|\\.)*"|<[^>]*>', "", text)
    selected = re.search(r"(?i)\bSELECT\b(.*?)(?:\bWHERE\b|\{)", plain, re.S)
    if not selected or plain.count("{") != plain.count("}") or plain.count("{") == 0:
        raise MalformedError("Lexical error at line 1, column 1.")
    names = re.findall(r"\?(\w+)", selected[1])
    if re.search(r"\?start\s+owl:sameAs\?/wdt:P131\*\s+\?place\b", plain):
        return {"head": {"vars": names}, "results": {"bindings": _upwards(world, text)}}
    subject = re.search(r"\?(\w+)\s+(?:wdt|p|wikibase):", plain)
    if subject is None:
        raise MalformedError("a query without a subject")
    variables = {}  # path → the variable that is asked for
    for path in (*_VALUES, "wikibase:sitelinks", _CLASS):
        used = re.findall(rf"(?<!/){re.escape(path)}\s+\?(\w+)", plain)
        variables[path] = next((one for one in used if one in names), "")
    languages = re.search(r'wikibase:language\s+"([^"]*)"', text)
    rows = []
    for item, classes in _items_of(world, text, plain):
        for row in _bindings(item, classes, subject[1], variables):
            if f"{subject[1]}Label" in names:
                row[f"{subject[1]}Label"] = _label(item, languages[1] if languages else "en")
            rows.append({k: v for k, v in row.items() if k in names})
    if re.search(r"(?i)\bDISTINCT\b", selected[1]):
        rows = [row for i, row in enumerate(rows) if row not in rows[:i]]
    outer = _SUBQUERY.sub("", plain)
    start, limit = (re.search(rf"(?i)\b{word}\s+(\d+)", outer) for word in ("OFFSET", "LIMIT"))
    begin = int(start[1]) if start else 0
    end = begin + int(limit[1]) if limit else None
    return {"head": {"vars": names}, "results": {"bindings": rows[begin:end]}}


def _upwards(world: World, text: str) -> list[JSON]:
    """The rows of a query for places (VALUES ?start) and all that these lie in.

    One row for each combination of code, statement P131 without an end, type, and kind: one of the
    listed classes that the type reaches in three steps.
    """
    starts = re.search(r"(?is)VALUES\s+\?start\s*\{([^}]*)\}", text)
    kinds = {*re.findall(r"wd:(Q\d+)", re.search(r"\?kind\s+IN\s*\(([^)]*)\)", text)[1])}  # type: ignore[index]
    languages = re.search(r'wikibase:language\s+"([^"]*)"', text)
    places: list[str] = []
    for start in re.findall(r"wd:(Q\d+)", starts[1] if starts else ""):
        item = world.items.get(start) or FakeItem(start)
        begin = [start, *filter(None, [item.redirect])]
        places += [one for one in world.upwards(begin, "P131") if one not in places]
    rows: list[JSON] = []
    for place in places:
        item = world.items.get(place) or FakeItem(place)
        above = [one.value for one in item.truthy("P131") if one.snak == "value" and not one.ended]
        types = [
            {"type": one, **({"kind": kind} if kind else {})} for one in item.values("P31")
            for kind in sorted(kinds & world.within_steps(one, "P279", 3)) or [""]
        ]  # fmt: skip
        for code, up, of in product(item.values("P297") or [""], above or [""], types or [{}]):
            uris = {"place": place, **({"above": up} if up else {}), **of}
            uris |= {"merged": item.redirect} if item.redirect else {}
            row = {name: {"type": "uri", "value": ENTITY + one} for name, one in uris.items()}
            row["placeLabel"] = _label(item, languages[1] if languages else "en")
            rows.append(row | ({"code": {"type": "literal", "value": code}} if code else {}))
    return rows


def _items_of(world: World, text: str, plain: str) -> Iterator[tuple[FakeItem, list[str]]]:
    """The items that a query admits, most linked first, and which of its types each has."""
    without = " ".join(re.findall(r"(?is)(?:MINUS|NOT\s+EXISTS)\s*\{(.*?)\}", plain))
    kept = re.sub(r"(?is)(?:MINUS|NOT\s+EXISTS)\s*\{.*?\}", "", plain)
    place = re.search(r"wdt:P131[*+]?\)?\s+wd:(Q\d+)", kept)
    never = set(re.findall(r"!=\s*wd:(Q\d+)", kept))
    listed = re.findall(r"(?is)VALUES\s+\(?\s*\?item\b\s*\)?\s*\{([^}]*)\}", kept)
    ids = set(re.findall(r"wd:(Q\d+)", " ".join(listed)))
    named = re.findall(r"(?is)VALUES\s+\(?\s*\?\w+\s*\)?\s*\{([^}]*\"[^}]*)\}", text)
    names = {re.sub(r"\\(.)", r"\1", one)
             for one in re.findall(r'"((?:[^"\\]|\\.)*)"', " ".join(named))}  # fmt: skip
    least = re.search(r"\?\w+\s*>=\s*(\d+)", kept)
    types = set(re.findall(r"wd:(Q\d+)", kept)) - ids - never - ({place[1]} if place else set())
    unwanted = set(re.findall(r"wd:(Q\d+)", without))
    ended = re.findall(r"wdt:(P\d+)\s+\?", without)
    required = re.sub(r"(?i)OPTIONAL\s*\{[^}]*\}", "", kept)
    needed = [path for path in _VALUES if re.search(rf"{path}\b", required)]
    subquery = _SUBQUERY.search(plain)
    pool = re.search(r"(?i)LIMIT\s+(\d+)", subquery[0]) if subquery else None
    order = sorted(world.items.values(), key=lambda one: (-len(one.sitelinks), int(one.id[1:])))
    count = 0
    for item in order:
        if item.redirect or item.deleted or item.id in never or (ids and item.id not in ids):
            continue
        if place and not world.within(item.id, place[1]):
            continue
        if not _near(item.values("P625"), text):
            continue
        if not all(_has(item, path[4:]) for path in needed):
            continue
        if names and not names & set(item.values("P373")):
            continue
        if least and len(item.sitelinks) < int(least[1]):
            continue
        count += 1
        if pool and count > int(pool[1]):
            return
        classes = world.classes(item.id)
        if (types and not types & classes) or unwanted & classes:
            continue
        if not any(_has(item, prop) for prop in ended):
            yield item, sorted(classes & types)


def _has(item: FakeItem, prop: str) -> bool:
    return any(claim.snak != "novalue" for claim in item.truthy(prop))


def _near(places: list[tuple[float, float]], text: str) -> bool:
    """Whether an item with these coordinates is in the circle or box of a query, if it has one."""
    points = re.findall(r'"Point\(\s*([-\d.eE]+)\s+([-\d.eE]+)\s*\)"', text)
    radius = re.search(r'wikibase:radius\s+"([\d.]+)"', text)
    corners = [(float(longitude), float(latitude)) for longitude, latitude in points]
    if "cornerSouthWest" in text and len(corners) == 2:
        (left, low), (right, high) = corners
        return any(low <= la <= high and left <= lo <= right for la, lo in places)
    if corners and radius:
        middle = (corners[0][1], corners[0][0])
        return any(metres(middle, one) <= 1000 * float(radius[1]) for one in places)
    return True


def _bindings(
    item: FakeItem, classes: list[str], subject: str, variables: Mapping[str, str]
) -> Iterator[JSON]:
    """One row for each combination of coordinates, images, categories and classes."""
    columns: list[list[JSON]] = [[{subject: {"type": "uri", "value": ENTITY + item.id}}]]
    if name := variables["wikibase:sitelinks"]:
        links = {"type": "literal", "value": str(len(item.sitelinks)),
                 "datatype": "http://www.w3.org/2001/XMLSchema#integer"}  # fmt: skip
        columns.append([{name: links}])
    if name := variables[_CLASS]:
        columns.append([{name: {"type": "uri", "value": ENTITY + one}} for one in classes] or [{}])
    for path in _VALUES:
        found = [one for one in item.truthy(path[4:]) if one.snak != "novalue"]
        if name := variables[path]:
            columns.append([{name: _binding(one)} for one in found] or [{}])
    for parts in product(*columns):
        yield {k: v for part in parts for k, v in part.items()}


def _binding(claim: Claim) -> JSON:
    if claim.snak == "somevalue":
        return {"type": "bnode", "value": "t123"}
    if isinstance(claim.value, tuple):
        latitude, longitude = claim.value
        globe = "" if claim.globe == EARTH else f"<{claim.globe}> "
        return {"datatype": "http://www.opengis.net/ont/geosparql#wktLiteral", "type": "literal",
                "value": f"{globe}Point({longitude} {latitude})"}  # fmt: skip
    if claim.prop == "P18":
        address = f"http://commons.wikimedia.org/wiki/Special:FilePath/{quote(claim.value)}"
        return {"type": "uri", "value": address}
    return {"type": "literal", "value": claim.value}


def _label(item: FakeItem, languages: str) -> JSON:
    for language in languages.split(","):
        if language.strip() in item.labels:
            used = language.strip()
            return {"xml:lang": used, "type": "literal", "value": item.labels[used]}
    return {"type": "literal", "value": item.id}
