"""Wikidata: which landmarks a place has, and the names, places and articles of given ones.

Two services answer. The query service says which items there are (`query_in`, `query_near`); its
queries first choose the most linked items of the place, a bounded number, and follow only the types
of these upwards, because asking for all instances of "building or any kind of it" ends in its time
limit of 60 seconds. `wbgetentities` says everything else, 50 items a request.

Read in Wikibase's source (GetEntities.php): redirects are followed by default, and the answer has
the *asked* id as key; an id that cannot be read fails the whole request with `no-such-entity` and
its `id`; an unknown one is `missing`. Seen in recorded answers: an empty map is `[]`; a label in
another language than asked for names both (`language`, `for-language`), and `mul` is one for all
languages. `wikibase:sitelinks`, `wikibase:around` and `hint:Prior hint:gearing "forward"` are
written as public programs write them, and the ids of types have these names there. Unproven,
because no query was sent to the real service: how long the queries take in a city such as Paris,
and whether a very large answer lacks items (those are asked for again, fewer at a time).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..core.errors import DataError, OptionError
from .http_answers import ApiError
from .wikidata_items import (
    BATCH,
    EARTH,
    ID,
    Landmarks,
    category_name,
    check_languages,
    clean,
    globe_in,
    item_in,
    landmark_of,
    listed,
    member,
    members,
    rows_of,
    topic_of,
)

if TYPE_CHECKING:
    from .http_client import PoliteClient

ADDRESS_BYTES = 5_000  # of names in one address; servers take about 8,000 in all

# What one can photograph: an item counts when its type is one of these, or a kind of one.
LANDMARK_TYPES = {
    "Q811979": "architectural structure", "Q41176": "building", "Q12280": "bridge",
    "Q12518": "tower", "Q4989906": "monument", "Q5003624": "memorial", "Q179700": "statue",
    "Q860861": "sculpture", "Q483453": "fountain", "Q174782": "square", "Q33506": "museum",
    "Q839954": "archaeological site", "Q570116": "tourist attraction", "Q22698": "park",
    "Q1107656": "garden", "Q39614": "cemetery", "Q34038": "waterfall", "Q8502": "mountain",
}  # fmt: skip

# An item that is one of these too does not count: platforms of a metro look alike.
OTHER_TYPES = {"Q34442": "road", "Q728937": "railway line", "Q928830": "metro station"}

# Nor one of these, as a district that is a tourist attraction, unless it is an excavated town.
SETTLEMENTS = {
    "Q486972": "human settlement", "Q56061": "administrative territory", "Q123705": "neighborhood",
}  # fmt: skip

EXCAVATED = "Q839954"


@dataclass(frozen=True)
class Hit:
    """An item found by its name."""

    id: str
    label: str
    description: str


def landmarks_in(
    client: PoliteClient, place: str, limit: int, languages: Sequence[str] = ("en",)
) -> Landmarks:
    """The `limit` most linked landmarks in a city or region, an item such as "Q90".

    Raises:
        OptionError: For an id or a language that is none.
        NetworkError: When the services cannot be used.
    """
    if not ID.fullmatch(place):
        raise OptionError(f"{place!r} given as a place; expected an id of Wikidata such as Q90")
    query = query_in(place, _pool(limit))
    return _ranked(client, query, limit, languages, f"landmarks in {place}")


def landmarks_near(
    client: PoliteClient, latitude: float, longitude: float, radius_km: float, limit: int,
    languages: Sequence[str] = ("en",),
) -> Landmarks:  # fmt: skip
    """The `limit` most linked landmarks around a point, in degrees.

    Raises as `landmarks_in`.
    """
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise OptionError(f"{latitude},{longitude} given; expected degrees: latitude,longitude")
    if not 0 < radius_km <= 100:
        raise OptionError(f"a radius of {radius_km:g} km given; expected more than 0, at most 100")
    query = query_near(latitude, longitude, radius_km, _pool(limit))
    where = f"landmarks around {latitude:g},{longitude:g}"
    return _ranked(client, query, limit, languages, where)


def landmarks_of(
    client: PoliteClient, ids: Iterable[str], languages: Sequence[str] = ("en",)
) -> Landmarks:
    """The landmarks of given ids, in their order, each once; merged items are followed.

    Raises as `landmarks_in`.
    """
    check_languages(languages)
    result = Landmarks()
    asked = list(dict.fromkeys(ids))
    for one in asked:
        if not ID.fullmatch(one):
            result.left_out[one] = "no id of Wikidata; expected Q and a number, such as Q243"
    wanted = [one for one in asked if one not in result.left_out]
    entities = _entities(client, wanted, languages, result.left_out)
    return _built(entities, {one: one for one in wanted}, languages, result)


def landmarks_of_categories(
    client: PoliteClient, names: Iterable[str], languages: Sequence[str] = ("en",)
) -> Landmarks:
    """The landmarks that categories of Commons are about, by names with or without the prefix.

    The item is the one that the category's page is linked to, or the topic of that item (P301),
    else the only one that names the category (P373).

    Raises as `landmarks_in`.
    """
    check_languages(languages)
    result = Landmarks()
    lost: dict[str, str] = {}  # item → why it is not there
    titles = {name: category_name(name) for name in dict.fromkeys(names)}
    wanted = list(dict.fromkeys(filter(None, titles.values())))
    linked = _linked_items(client, wanted)
    entities = _entities(client, linked.values(), languages, lost)
    topics = {item: topic for item, entity in entities.items() if (topic := topic_of(entity))}
    entities |= _entities(client, topics.values(), languages, lost)
    named = _named_items(client, [one for one in wanted if one not in linked])
    candidates = [item for items in named.values() for item in items]
    entities |= _entities(client, candidates, languages, lost)
    items: dict[str, str] = {}  # as asked → item
    for name, title in titles.items():
        item = linked.get(title, "")
        several = [topics.get(item, item)] if item else named.get(title, [])
        if len(several) == 1:
            items[name] = several[0]
        elif several:
            result.left_out[name] = f"several items of Wikidata have it: {', '.join(several)}"
        elif title:
            result.left_out[name] = "no item of Wikidata has this category"
        else:
            result.left_out[name] = "no name of a category; expected such as Eiffel Tower"
    for name, item in items.items():
        if item in lost:
            result.left_out[name] = f"{item}: {lost[item]}"
    return _built(entities, items, languages, result)


def find_places(client: PoliteClient, text: str, language: str, limit: int = 10) -> list[Hit]:
    """Items whose name or other name begins with a text, as Wikidata's search ranks them."""
    check_languages((language,))
    params = {"action": "wbsearchentities", "search": text.strip(), "language": language.lower(),
              "uselang": language.lower(), "type": "item", "limit": str(limit)}  # fmt: skip
    answer = _api(client, client.sites.wikidata, params, f"search for {text!r}")
    hits = []
    for row in listed(member(answer, "search")):
        item = member(row, "id")
        if isinstance(item, str) and ID.fullmatch(item):
            hits.append(Hit(item, clean(member(row, "label")), clean(member(row, "description"))))
    return hits


def query_in(place: str, pool: int) -> str:
    """The query for landmarks in an item. pool: how many of the most linked items are looked at."""
    where = f"""?item wdt:P131* wd:{place} .
      FILTER(?item != wd:{place})
      ?item wdt:P373 ?category ; wdt:P625 ?place ; wikibase:sitelinks ?links ."""
    return _query(where, pool)


def query_near(latitude: float, longitude: float, radius_km: float, pool: int) -> str:
    """The query for landmarks around a point."""
    where = f"""SERVICE wikibase:around {{
        ?item wdt:P625 ?place .
        bd:serviceParam wikibase:center "Point({longitude:.6f} {latitude:.6f})"^^geo:wktLiteral ;
                        wikibase:radius "{radius_km:g}" .
      }}
      ?item wdt:P373 ?category ; wikibase:sitelinks ?links ."""
    return _query(where, pool)


def query_categories(names: Sequence[str]) -> str:
    """The query for the items whose category of Commons (P373) is one of these."""
    quoted = " ".join('"' + name.replace("\\", r"\\").replace('"', r"\"") + '"' for name in names)
    return f"""SELECT ?item ?category WHERE {{
  VALUES ?category {{ {quoted} }}
  ?item wdt:P373 ?category .
}} LIMIT 2000"""


def _query(where: str, pool: int) -> str:
    types = ", ".join(f"wd:{one}" for one in (*LANDMARK_TYPES, *OTHER_TYPES, *SETTLEMENTS))
    return f"""SELECT DISTINCT ?item ?links ?class ?coord WHERE {{
  {{ SELECT DISTINCT ?item ?links WHERE {{
      {where}
    }} ORDER BY DESC(?links) ?item LIMIT {pool} }}
  ?item wdt:P31/wdt:P279* ?class . hint:Prior hint:gearing "forward" .
  FILTER(?class IN ({types}))
  FILTER NOT EXISTS {{ ?item wdt:P576 ?end . }}
  OPTIONAL {{ ?item wdt:P625 ?coord . }}
}}"""


def _pool(limit: int) -> int:
    """How many of the most linked items are looked at, for so many landmarks."""
    return min(max(400, 12 * limit), 5000)


def _ranked(
    client: PoliteClient, query: str, limit: int, languages: Sequence[str], what: str
) -> Landmarks:
    """The most linked landmarks of a query's rows; ties by the number of the id."""
    check_languages(languages)
    params = {"query": query, "format": "json"}
    answer = client.get_json(client.sites.sparql, params, what=what)
    result = Landmarks()
    links: dict[str, int] = {}
    globes: dict[str, set[str]] = {}
    kinds: dict[str, set[str]] = {}
    for row in rows_of(answer, what):  # an item has a row for each of its types and coordinates
        if item := item_in(row, "item"):
            kinds.setdefault(item, set()).add(item_in(row, "class"))
            text = member(row, "links", "value")
            links[item] = int(text) if isinstance(text, str) and text.isdecimal() else 0
            globes.setdefault(item, set()).add(globe_in(row, "coord"))
    others = {item for item, found in kinds.items() if not _can_be_photographed(found)}
    for item in links.keys() - others:
        if not globes[item] & {*EARTH}:
            result.left_out[item] = "its place is not on Earth"
    order = sorted(links.keys() - others - result.left_out.keys(),
                   key=lambda item: (-links[item], int(item[1:])))  # fmt: skip
    while order and len(result.found) < limit:
        part, order = order[: limit - len(result.found)], order[limit - len(result.found) :]
        more = landmarks_of(client, part, languages)
        known = {one.id for one in result.found}
        result.found += [one for one in more.found if one.id not in known]
        result.ids |= more.ids
        result.left_out |= more.left_out
        result.notes += more.notes
    return result


def _can_be_photographed(kinds: set[str]) -> bool:
    """Whether an item with these types is a thing to photograph."""
    if kinds & OTHER_TYPES.keys() or not kinds - SETTLEMENTS.keys():
        return False
    return EXCAVATED in kinds or not kinds & SETTLEMENTS.keys()


def _built(
    entities: dict[str, Any], items: dict[str, str], languages: Sequence[str], result: Landmarks
) -> Landmarks:
    """Add a landmark for each item (what was asked for → item) that the server knows."""
    known: set[str] = set()
    for asked, item in items.items():
        if item not in entities:
            result.left_out.setdefault(asked, "no such item on Wikidata")
            continue
        own = str(entities[item]["id"])
        if own != item:
            result.notes.append((item, f"was merged into {own} on Wikidata, which is used"))
        if own not in known:
            try:
                result.found.append(landmark_of(own, entities[item], languages, result))
            except DataError as error:
                result.left_out[asked] = str(error)
                continue
            known.add(own)
        result.ids[asked] = own
    return result


def _entities(
    client: PoliteClient, ids: Iterable[str], languages: Sequence[str], left_out: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """Id as asked → entity. An id that makes a request fail is dropped, and the others asked again.

    left_out: gets the ids without an entity, and why.
    """
    found: dict[str, dict[str, Any]] = {}
    todo = list(dict.fromkeys(ids))
    batches = [todo[at : at + BATCH] for at in range(0, len(todo), BATCH)]
    asked = dict.fromkeys([*(one.lower() for one in languages), "mul"])
    while batches:
        batch = batches.pop(0)
        params = {"action": "wbgetentities", "ids": "|".join(batch), "languagefallback": "1",
                  "props": "labels|claims|sitelinks", "languages": "|".join(asked)}  # fmt: skip
        rest: list[str] = []
        try:
            answer = _api(client, client.sites.wikidata, params, f"{len(batch)} items of Wikidata")
        except ApiError as error:
            if error.code != "no-such-entity":
                raise
            if error.id in batch:
                left_out[error.id] = "no such item on Wikidata"
                rest = [one for one in batch if one != error.id]
            else:
                rest = batch
        else:
            for key, entity in members(member(answer, "entities")):
                one = member(entity, "redirects", "from") or key
                if one not in batch:
                    continue
                if ID.fullmatch(str(member(entity, "id"))) and "missing" not in entity:
                    found[one] = entity
                else:
                    left_out[one] = "no such item on Wikidata"
            rest = [one for one in batch if one not in found and one not in left_out]
        if len(rest) == len(batch) > 1:  # the server says neither which id is wrong, nor anything
            batches[:0] = [rest[: len(rest) // 2], rest[len(rest) // 2 :]]
        elif rest and len(batch) > 1:
            batches.insert(0, rest)
        elif rest:
            left_out[rest[0]] = "the server did not answer for this item"
    return found


def _linked_items(client: PoliteClient, names: Sequence[str]) -> dict[str, str]:
    """Category → the item that its page is linked to; redirects of pages are followed."""
    linked: dict[str, str] = {}
    for batch in _batches(names):
        titles = [f"Category:{name}" for name in batch]
        params = {"action": "query", "prop": "pageprops", "ppprop": "wikibase_item",
                  "redirects": "1", "titles": "|".join(titles)}  # fmt: skip
        what = f"the items of {len(titles)} categories"
        answer = _api(client, client.sites.commons, params, what)
        moved = {
            member(row, "from"): member(row, "to")
            for kind in ("normalized", "redirects") for row in listed(member(answer, "query", kind))
        }  # fmt: skip
        items = {member(page, "title"): member(page, "pageprops", "wikibase_item")
                 for page in listed(member(answer, "query", "pages"))}  # fmt: skip
        for title in titles:
            at_last = title
            for _ in range(3):  # normalized, then moved; more are a circle
                at_last = moved.get(at_last, at_last)
            item = items.get(at_last)
            if isinstance(item, str) and ID.fullmatch(item):
                linked[title.removeprefix("Category:")] = item
    return linked


def _named_items(client: PoliteClient, names: Sequence[str]) -> dict[str, list[str]]:
    """Category → the items that name it as theirs (P373), lowest number first."""
    named: dict[str, list[str]] = {}
    for batch in _batches(names):
        params = {"query": query_categories(batch), "format": "json"}
        what = "items that name a category"
        for row in rows_of(client.get_json(client.sites.sparql, params, what=what), what):
            item, name = item_in(row, "item"), member(row, "category", "value")
            if item and name in names and item not in named.setdefault(name, []):
                named[name].append(item)
    return {name: sorted(items, key=lambda one: int(one[1:])) for name, items in named.items()}


def _batches(names: Sequence[str]) -> Iterator[list[str]]:
    """Names for one request each: so many, and so short, that servers take the address."""
    batch: list[str] = []
    room = 0
    for name in names:
        room -= len(quote(name)) + len("%7CCategory%3A")
        if not batch or room < 0 or len(batch) == BATCH:
            if batch:
                yield batch
            batch, room = [], ADDRESS_BYTES - len(quote(name))
        batch.append(name)
    if batch:
        yield batch


def _api(client: PoliteClient, url: str, params: dict[str, str], what: str) -> Any:
    return client.get_json(url, {**params, "format": "json", "formatversion": "2"}, what=what)
