"""In which city and country landmarks are: one query of Wikidata's query service for 50 places.

An item says in what it lies (P131): a quarter, an arrondissement, a municipality; these lie in
others, up to the country. The query reads all of these upwards at once, with their types; here the
first one that people would write on a postcard is chosen: Paris, not the quarter of the
Eiffel Tower, and the municipality of a castle in the country.

Types are followed three steps of "subclass of" upwards, no further, because Wikidata's tree of
types makes a monastery a city when it is climbed without end. Public programs that look for cities
do so and pass over the same parts of cities; the ids below have these names in their tables.
They also show that the boroughs of London lie in Greater London and the districts of Istanbul in
its province (SAME), and that a merged item is `owl:sameAs` the other. Unproven, because no query
was sent to the real service: that it answers within its 60 seconds (it reads some hundred items,
far fewer than `wikidata.query_in`), and which places of the world its tree of types puts elsewhere
than one expects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..core.errors import NetworkError
from .wikidata_items import BATCH, ID, Landmark, clean, item_in, member, rows_of

if TYPE_CHECKING:
    from .http_client import PoliteClient

MAX_STEPS = 20  # from a landmark upwards

MAX_PLACES = 3_000  # of one query, from 50 places upwards; there are seldom more than 300

CITY = "Q515"
TOWNS = {CITY, "Q3957", "Q15284"}  # city, town, municipality
SETTLEMENT = "Q486972"

# Types of what is a part of a city, whatever else it is. A district of Turkey is a town of its own
# where no city is above it.
PARTS = {
    "Q123705": "neighborhood", "Q2983893": "quarter", "Q188509": "suburb", "Q5195043": "borough",
    "Q4286337": "city district", "Q149621": "district", "Q253019": "Ortsteil", "Q1195098": "ward",
    "Q702842": "municipal arrondissement of France", "Q252916": "quarter of Paris",
    "Q408804": "borough of New York City", "Q211690": "London borough",
    "Q5327704": "special ward of Japan", "Q137773": "ward of Japan",
    "Q1065118": "district of China", "Q821435": "borough of Berlin",
    "Q35034452": "locality of Berlin", "Q278976": "borough of Hamburg",
    "Q15830667": "quarter of Hamburg", "Q261023": "district of Vienna",
    "Q3032114": "district of Madrid", "Q790344": "district of Barcelona",
    "Q851110": "district of Budapest", "Q74728036": "administrative district of Prague",
    "Q15195406": "city district in Russia", "Q4389092": "district of Moscow",
    "Q42619282": "municipal okrug of Saint Petersburg", "Q3565075": "raion of a city in Ukraine",
    "Q2734310": "territorial demarcation of Mexico City", "Q18559008": "district of São Paulo",
    "Q578521": "borough of Montreal", "Q15634531": "district of Bangkok",
    "Q1147395": "district of Turkey", "Q15079751": "borough of Amsterdam",
    "Q1770467": "borough of Oslo", "Q1907114": "metropolitan area",
}  # fmt: skip

# Types of countries and of the largest parts of them, which are the city of what is in them only if
# they are cities too (Singapore, Berlin), and no mere municipalities.
REGIONS = {
    "Q6256": "country", "Q3624078": "sovereign state", "Q7275": "state", "Q35657": "US state",
    "Q107390": "federated state", "Q10864048": "first-level subdivision",
    "Q1221156": "federated state of Germany", "Q6465": "department of France",
    "Q36784": "region of France", "Q23058": "canton of Switzerland",
    "Q50337": "prefecture of Japan",
}  # fmt: skip

# Items that stand around or within a city and are not below it: → that city.
SAME = {
    "Q23306": "Q84",  # Greater London, which the boroughs are in: London
    "Q23311": "Q84",  # the City of London
    "Q534799": "Q406",  # Istanbul Province, all of which is the city
}

NO_CITY = 9

_CODE = re.compile(r"[A-Z]{2}")


@dataclass
class _Place:
    """A place above landmarks.

    merged: the item that it was merged into, "" = it was not. kinds: of TOWNS and SETTLEMENT, as
    far as it is one.
    """

    name: str = ""
    merged: str = ""
    above: set[str] = field(default_factory=set)
    types: set[str] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)
    codes: set[str] = field(default_factory=set)


@dataclass
class Located:
    """Landmarks whose records have city, country and code, as far as they are known.

    notes: (id, why its city or country is not said); faults: why nothing could be found out.
    """

    found: list[Landmark] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def located(
    client: PoliteClient, landmarks: Sequence[Landmark], languages: Sequence[str]
) -> Located:
    """Look up in which city and country landmarks are. languages: the first that has a name.

    Where the query service cannot be used, the landmarks come back as they are, with the fault,
    because all else is known of them.
    """
    result = Located([*landmarks])
    asked = {item for one in landmarks for item in (*one.within, *one.countries)}
    try:
        places = _places(client, asked, languages)
    except NetworkError as error:
        result.faults = [f"no cities and countries were found: {error}"]
        return result
    for i, landmark in enumerate(landmarks):
        chains = [_upwards(one, places) for one in landmark.within]
        city = _city(landmark, chains, places, result)
        country = _country(landmark, chains, places, result)
        there = places.get(country, _Place())
        record = replace(
            landmark.record, city=places[city].name if city else "", country=there.name,
            country_code=min(there.codes, default=""),
        )  # fmt: skip
        result.found[i] = replace(landmark, record=record)
    return result


def query_where(items: Sequence[str], languages: Sequence[str]) -> str:
    """The query for these places and all that they lie in: names, types, and codes of countries."""
    starts = " ".join(f"wd:{one}" for one in items)
    kinds = ", ".join(f"wd:{one}" for one in sorted({*TOWNS, SETTLEMENT}))
    tags = [tag for one in languages for tag in (one.lower(), one.lower().partition("-")[0])]
    names = ",".join(dict.fromkeys([*tags, "mul", "en"]))
    return f"""SELECT DISTINCT ?place ?placeLabel ?merged ?above ?type ?kind ?code WHERE {{
  {{ SELECT DISTINCT ?place WHERE {{
      VALUES ?start {{ {starts} }}
      ?start owl:sameAs?/wdt:P131* ?place . hint:Prior hint:gearing "forward" .
    }} LIMIT {MAX_PLACES} }}
  OPTIONAL {{ ?place owl:sameAs ?merged . }}
  OPTIONAL {{ ?place wdt:P297 ?code . }}
  OPTIONAL {{
    ?place p:P131 ?statement . ?statement a wikibase:BestRank ; ps:P131 ?above .
    FILTER NOT EXISTS {{ ?statement pq:P582 ?end . }}
  }}
  OPTIONAL {{
    ?place wdt:P31 ?type .
    OPTIONAL {{ ?type wdt:P279?/wdt:P279?/wdt:P279? ?kind . FILTER(?kind IN ({kinds})) }}
  }}
  SERVICE wikibase:label {{ bd:serviceParam wikibase:language "{names}" . }}
}}"""


def _places(
    client: PoliteClient, items: Iterable[str], languages: Sequence[str]
) -> dict[str, _Place]:
    """Item → place, of these items and of all that they lie in."""
    places: dict[str, _Place] = {}
    todo, asked = sorted(items, key=_number), set()
    while todo:
        batch = todo[:BATCH]
        asked |= {*batch}
        what = f"where {len(batch)} places are"
        params = {"query": query_where(batch, languages), "format": "json"}
        for row in rows_of(client.get_json(client.sites.sparql, params, what=what), what):
            if not (item := item_in(row, "place")):
                continue
            place = places.setdefault(item, _Place())
            name = clean(member(row, "placeLabel", "value"))
            place.name = "" if ID.fullmatch(name) else name  # the service names nameless ones so
            place.merged = place.merged or item_in(row, "merged")
            code = str(member(row, "code", "value"))
            if _CODE.fullmatch(code):
                place.codes.add(code)
            for known, variable in (
                (place.above, "above"), (place.types, "type"), (place.kinds, "kind")
            ):  # fmt: skip
                if one := item_in(row, variable):
                    known.add(one)
        cities = {SAME[one] for one in SAME.keys() & places.keys()}
        todo = [one for one in (*todo[BATCH:], *sorted(cities)) if one not in places.keys() | asked]
    return places


def _upwards(start: str, places: dict[str, _Place]) -> list[str]:
    """The known places from `start` upwards, the nearest first; each once, so circles end."""
    order: list[str] = []
    level = [start]
    for _ in range(MAX_STEPS):
        level = [_itself(SAME.get(one, one), places) for one in level]
        level = [one for one in dict.fromkeys(level) if one in places and one not in order]
        order += level
        level = sorted({above for one in level for above in places[one].above}, key=_number)
    return order


def _itself(item: str, places: dict[str, _Place]) -> str:
    """The item, or the one that it was merged into."""
    return (places.get(item) or _Place()).merged or item


def _city(
    landmark: Landmark, chains: list[list[str]], places: dict[str, _Place], result: Located
) -> str:
    """The item of the city, "" = there is none, or there are several.

    Of what each chain offers, the best kind counts; a city that another one lies in does not.
    """
    offered: dict[str, int] = {}
    for chain in chains:
        ranks = [_rank(places[one]) for one in chain]
        if (rank := min(ranks, default=NO_CITY)) < NO_CITY:
            offered[chain[ranks.index(rank)]] = rank
    best = [one for one, rank in offered.items() if rank == min(offered.values())]
    around = {above for one in best for above in _upwards(one, places)[1:]}
    cities = [one for one in best if one not in around] or best[:1]
    if len(cities) > 1:
        names = ", ".join(places[one].name or one for one in cities)
        result.notes.append((landmark.id, f"is in several cities ({names}); none is written"))
        return ""
    return next(iter(cities), "")


def _rank(place: _Place) -> int:
    """How well a place serves as the city of what is in it, 0 = best, NO_CITY = not at all."""
    towns = TOWNS if not place.types & REGIONS.keys() else {CITY}
    is_part, is_town = bool(place.types & PARTS.keys()), bool(place.kinds & towns)
    if is_town:
        return 2 if is_part else 0
    is_settlement = SETTLEMENT in place.kinds and not place.types & REGIONS.keys()
    return 1 if is_settlement and not is_part else NO_CITY


def _country(
    landmark: Landmark, chains: list[list[str]], places: dict[str, _Place], result: Located
) -> str:
    """The item of the country, "" = none is said, or several are.

    Of several, those of today have a code, and the places around the landmark lie in one of them. A
    landmark that names none has the country of these places.
    """
    above = [one for chain in chains for one in chain]
    named = dict.fromkeys(_itself(one, places) for one in landmark.countries)
    countries = [one for one in named if one in places]
    if not countries:
        return next((one for one in above if places[one].codes), "")
    for kept in ([one for one in countries if places[one].codes],
                 [one for one in countries if one in above]):  # fmt: skip
        countries = [one for one in countries if one in kept] or countries
    if len(countries) > 1:
        names = ", ".join(places[one].name or one for one in countries)
        result.notes.append((landmark.id, f"is in several countries ({names}); none is written"))
        return ""
    return countries[0]


def _number(item: str) -> int:
    return int(item[1:])
