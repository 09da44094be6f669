"""City and country of landmarks, from places that lie in each other as those of Wikidata do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.fake_wikidata import get_entities, sparql
from tests.support.fake_world import Claim, FakeItem, World
from whichlandmark.collect.wikidata_items import Landmark, Landmarks, landmark_of
from whichlandmark.collect.wikidata_where import Located, located, query_where
from whichlandmark.core.errors import NetworkError

# Class → what it is a kind of.
CLASSES = {
    "Q515": "Q486972", "Q3957": "Q486972", "Q532": "Q486972", "Q123705": "Q486972",
    "Q484170": "Q15284", "Q262166": "Q15284", "Q5119": "Q515", "Q1549591": "Q515",
    "Q133442": "Q515", "Q3301053": "Q515", "Q5327704": "Q515", "Q2460358": "Q15284",
    "Q1093829": "Q515", "Q12813115": "Q486972", "Q127448": "Q15284", "Q3333865": "Q15284",
    "Q702842": "Q15284", "Q35034452": "Q486972",
    "Q44613": "Q9001", "Q9001": "Q9002", "Q9002": "Q9003", "Q9003": "Q515",  # a monastery a city
}  # fmt: skip

# Place → name, types, what it lies in, code.
PLACES = {
    "Q142": ("France", "Q6256", "", "FR"), "Q183": ("Germany", "Q6256", "", "DE"),
    "Q145": ("United Kingdom", "Q6256", "", "GB"), "Q17": ("Japan", "Q6256", "", "JP"),
    "Q30": ("United States", "Q6256", "", "US"), "Q43": ("Turkey", "Q6256", "", "TR"),
    "Q334": ("Singapore", "Q6256 Q133442", "", "SG"), "Q34": ("Sweden", "Q6256", "", "SE"),
    "Q40": ("Austria", "Q6256", "", "AT"), "Q70": ("A Land without a Code", "Q6256", "", ""),
    "Q71": ("Former Empire", "Q3024240", "", ""), "Q72": ("Odd Land", "Q6256", "", "ODD"),
    # Paris; that around it is a municipality by its types.
    "Q13917": ("Île-de-France", "Q36784", "Q142", ""),
    "Q16665915": ("Grand Paris", "Q3333865", "Q13917", ""),
    "Q90": ("Paris", "Q484170 Q5119 Q6465", "Q16665915 Q13917", ""),
    "Q259463": ("7th arrondissement of Paris", "Q702842", "Q90", ""),
    "Q3412018": ("Quartier du Gros-Caillou", "Q252916 Q123705", "Q259463", ""),
    "Q6602": ("Strasbourg", "Q484170 Q1549591", "Q142", ""),
    "Q14974": ("Kehl", "Q262166", "Q183", ""),
    # The country: hamlet, municipality, district, state.
    "Q980": ("Bavaria", "Q1221156", "Q183", ""),
    "Q10438": ("Ostallgäu", "Q106658", "Q980", ""),
    "Q532714": ("Schwangau", "Q262166", "Q10438", ""),
    "Q900001": ("Hohenschwangau", "Q532", "Q532714", ""),
    "Q900002": ("A Hamlet on its own", "Q532", "Q10438", ""),
    "Q64": ("Berlin", "Q1221156 Q5119 Q1549591", "Q183", ""),
    "Q163966": ("Mitte", "Q821435", "Q64", ""),
    "Q2013767": ("Mitte, a locality", "Q35034452", "Q163966", ""),
    # London is not above its boroughs.
    "Q21": ("England", "Q3336843", "Q145", ""),
    "Q23306": ("Greater London", "Q82794", "Q21", ""), "Q84": ("London", "Q515", "Q23306", ""),
    "Q23311": ("City of London", "Q515", "Q23306", ""),
    "Q208152": ("Tower Hamlets", "Q211690", "Q23306", ""),
    "Q730706": ("Southwark", "Q211690", "Q23306", ""),
    "Q406": ("Istanbul", "Q1549591", "Q534799", ""),
    "Q534799": ("Istanbul Province", "Q48336", "Q43", ""),
    "Q46203": ("Fatih", "Q1147395 Q2460358", "Q534799", ""),
    "Q40249": ("Antalya Province", "Q48336", "Q43", ""),
    "Q182906": ("Alanya", "Q1147395 Q2460358", "Q40249", ""),
    "Q1490": ("Tokyo", "Q50337 Q5119", "Q17", ""), "Q190088": ("Minato", "Q5327704", "Q1490", ""),
    "Q60": ("New York City", "Q1093829", "Q30", ""),
    "Q11299": ("Manhattan", "Q408804 Q3301053", "Q60", ""),
    "Q506250": ("Stockholm Municipality", "Q127448", "Q34", ""),
    "Q900010": ("Ring One", "Q15642541", "Q900011", ""),
    "Q900011": ("Ring Two", "Q15642541", "Q900010 Q142", ""),
    "Q900020": ("An Abbey", "Q44613", "Q142", ""),
    "Q900030": ("", "Q262166", "Q980", ""),
    "Q900031": ("Odd\u202etown", "Q262166", "Q980", ""),
}  # fmt: skip


def real_world() -> World:
    world = World()
    for name, above in CLASSES.items():
        world.items[name] = FakeItem(name, claims=[Claim("P279", above)])
    for name, (label, types, above, code) in PLACES.items():
        claims = [Claim("P31", one) for one in types.split()]
        claims += [Claim("P131", one) for one in above.split()]
        claims += [Claim("P297", code)] if code else []
        world.items[name] = FakeItem(name, {"en": label} if label else {}, claims=claims)
    for i in range(60):  # a long way up
        claims = [Claim("P131", f"Q{9_000_000 + i + 1}" if i < 59 else "Q90")]
        world.items[f"Q{9_000_000 + i}"] = FakeItem(f"Q{9_000_000 + i}", claims=claims)
    return world


class Service:
    """The query service of a world. asked: the queries."""

    sites = SimpleNamespace(sparql="sparql")

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: list[str] = []

    def get_json(self, url: str, params: dict[str, str], *, what: str) -> Any:
        assert (url, params["format"]) == ("sparql", "json")
        self.asked.append(params["query"])
        return sparql(self.world, params["query"])


def landmark(*claims: Claim, item: str = "Q1000001") -> Landmark:
    """A landmark with these statements, as the API answers them."""
    made = FakeItem(item, {"en": "A Tower"}, claims=[*claims])
    answer = get_entities(World(items={item: made}), {"ids": item, "languages": "en"})
    return landmark_of(item, answer["entities"][item], ["en"], Landmarks())


def within(places: str, countries: str = "", **more: Any) -> Landmark:
    return landmark(*(Claim("P131", one) for one in places.split()),
                    *(Claim("P17", one) for one in countries.split()), **more)  # fmt: skip


def find(*landmarks: Landmark, languages: tuple[str, ...] = ("en",)) -> tuple[Located, Service]:
    service: Any = Service(real_world())
    return located(service, landmarks, languages), service


def where(one: Landmark) -> tuple[str, str, str]:
    (found,) = find(one)[0].found
    return found.record.city, found.record.country, found.record.country_code


FRANCE, GERMANY, BRITAIN = ("France", "FR"), ("Germany", "DE"), ("United Kingdom", "GB")


@pytest.mark.parametrize(
    ("places", "countries", "expected"),
    [
        ("Q3412018", "Q142", ("Paris", *FRANCE)),  # not the quarter, nor the arrondissement
        ("Q259463", "Q142", ("Paris", *FRANCE)),
        ("Q90", "Q142", ("Paris", *FRANCE)),  # nor what is around it
        ("Q90 Q259463 Q3412018", "Q142", ("Paris", *FRANCE)),
        ("Q13917 Q90", "Q142", ("Paris", *FRANCE)),
        ("Q142", "Q142", ("", *FRANCE)),
        ("Q532714", "Q183", ("Schwangau", *GERMANY)),
        ("Q900001", "Q183", ("Schwangau", *GERMANY)),  # the municipality of a hamlet
        ("Q900001 Q532714", "Q183", ("Schwangau", *GERMANY)),
        ("Q900002", "Q183", ("A Hamlet on its own", *GERMANY)),
        ("Q10438", "Q183", ("", *GERMANY)),  # a district has no city
        ("Q2013767", "Q183", ("Berlin", *GERMANY)),  # a state that is a city
        ("Q208152 Q730706", "Q145", ("London", *BRITAIN)),
        ("Q23311", "Q145", ("London", *BRITAIN)),
        ("Q46203", "Q43", ("Istanbul", "Turkey", "TR")),
        ("Q182906", "Q43", ("Alanya", "Turkey", "TR")),
        ("Q190088", "Q17", ("Tokyo", "Japan", "JP")),
        ("Q11299", "Q30", ("New York City", "United States", "US")),
        ("Q334", "Q334", ("Singapore", "Singapore", "SG")),
        ("Q506250", "Q34", ("Stockholm Municipality", "Sweden", "SE")),
        ("", "Q142", ("", *FRANCE)),  # at sea
        ("", "", ("", "", "")),
        ("Q900010", "", ("", *FRANCE)),  # a circle, with a way out
        ("Q900020", "Q142", ("", *FRANCE)),  # an abbey is no city, four steps up
        ("Q9000055", "Q142", ("Paris", *FRANCE)),  # five steps up
        ("Q9000000", "Q142", ("", *FRANCE)),  # sixty are too many
        ("Q90", "", ("Paris", *FRANCE)),  # without a country of its own
        ("Q90 Q14974", "Q142 Q183", ("", "", "")),  # in two cities of two countries
        ("Q90", "Q71 Q142", ("Paris", *FRANCE)),  # what was a country has no code
        ("Q6602", "Q142 Q183", ("Strasbourg", *FRANCE)),  # the city lies in one of them
        ("", "Q142 Q183", ("", "", "")),
        ("Q90", "Q70", ("Paris", "A Land without a Code", "")),
        ("", "Q72", ("", "Odd Land", "")),  # a code that is none
        ("Q900030", "Q183", ("", *GERMANY)),  # a city without a name
        ("Q900031", "Q183", ("", *GERMANY)),  # a name that would reorder what follows
        ("Q999999999", "Q142", ("", *FRANCE)),  # an item that is not there
    ],
)  # fmt: skip
def test_city_and_country(places: str, countries: str, expected: tuple[str, str, str]) -> None:
    assert where(within(places, countries)) == expected


def test_statements_that_ended_or_are_deprecated_do_not_count() -> None:
    former = Claim("P17", "Q183", ended=True)
    assert where(landmark(former, Claim("P17", "Q142")))[1] == "France"
    assert where(landmark(Claim("P17", "Q183", "deprecated"), Claim("P17", "Q142")))[1] == "France"
    assert where(landmark(Claim("P17", "Q183"), Claim("P17", "Q142", "preferred")))[1] == "France"
    lost = Claim("P17", "Q183", "preferred", ended=True)
    assert where(landmark(lost, Claim("P17", "Q142")))[1] == "France"
    assert where(landmark(former, Claim("P131", "Q90"))) == ("Paris", *FRANCE)  # as its city
    assert where(landmark(Claim("P17", snak="somevalue"))) == ("", "", "")
    moved = landmark(Claim("P131", "Q14974", ended=True), Claim("P131", "Q6602"))
    assert where(moved) == ("Strasbourg", *FRANCE)


def test_an_end_that_is_said_not_to_be_is_none() -> None:
    entity = {
        "claims": {"P17": [{
            "rank": "normal", "qualifiers": {"P582": [{"snaktype": "novalue"}]},
            "mainsnak": {"snaktype": "value", "datavalue": {"value": {"id": "Q142"}}},
        }]},
        "labels": {"en": {"language": "en", "value": "A"}},
    }  # fmt: skip
    assert landmark_of("Q5", entity, ["en"], Landmarks()).countries == ("Q142",)


def test_places_that_were_merged_are_followed() -> None:
    service: Any = Service(real_world())
    service.world.items["Q5000001"] = FakeItem("Q5000001", redirect="Q3412018")
    service.world.items["Q5000002"] = FakeItem("Q5000002", redirect="Q142")
    (found,) = located(service, [within("Q5000001", "Q5000002 Q142")], ["en"]).found
    assert (found.record.city, found.record.country) == ("Paris", "France")
    assert len(service.asked) == 1


def test_a_place_that_was_elsewhere_before() -> None:
    service: Any = Service(real_world())
    service.world.items["Q6602"].claims.append(Claim("P131", "Q183", ended=True))
    service.world.items["Q6602"].claims.append(Claim("P131", "Q64", "deprecated"))
    (found,) = located(service, [within("Q6602", "Q142 Q183")], ["en"]).found
    assert (found.record.city, found.record.country) == ("Strasbourg", "France")


def test_what_is_not_written_is_told() -> None:
    result, _ = find(within("Q6602 Q14974", "Q142 Q183"), within("", "Q70 Q71", item="Q1000002"))
    assert result.notes == [
        ("Q1000001", "is in several cities (Strasbourg, Kehl); none is written"),
        ("Q1000001", "is in several countries (France, Germany); none is written"),
        ("Q1000002", "is in several countries (A Land without a Code, Former Empire); "
                     "none is written"),
    ]  # fmt: skip
    assert not result.faults


def test_names_are_in_the_first_language_that_has_one() -> None:
    service: Any = Service(real_world())
    service.world.items["Q90"].labels |= {"zh": "巴黎", "fr": "Paris (fr)"}
    service.world.items["Q142"].labels |= {"mul": "France (mul)"}
    for languages, city, country in (
        (("zh-Hant", "fr"), "巴黎", "France (mul)"), (("fr", "zh"), "Paris (fr)", "France (mul)"),
        (("de",), "Paris", "France (mul)"),
    ):  # fmt: skip
        (found,) = located(service, [within("Q3412018", "Q142")], languages).found
        assert (found.record.city, found.record.country) == (city, country)
    assert 'wikibase:language "zh-hant,zh,fr,mul,en"' in service.asked[0]


def test_few_requests() -> None:
    many = [within("Q3412018 Q259463", "Q142", item=f"Q{1_000_000 + i}") for i in range(200)]
    result, service = find(*many)
    assert {one.record.city for one in result.found} == {"Paris"}
    assert [one.id for one in result.found] == [one.id for one in many]
    assert len(service.asked) == 1  # they share two places and a country
    assert "VALUES ?start { wd:Q142 wd:Q259463 wd:Q3412018 }" in service.asked[0]
    assert len(find(within(""), within(""))[1].asked) == 0
    assert len(find(within("Q208152", "Q145"))[1].asked) == 2  # London itself, which is not above
    apart = [within(f"Q{20_000_000 + i}", item=f"Q{1_000_000 + i}") for i in range(120)]
    assert len(find(*apart)[1].asked) == 3  # fifty each
    # What an earlier answer has brought is not asked for again.
    known = [*(within(f"Q{9_000_000 + i}") for i in range(50)), within("Q16665915")]
    assert len(find(*known)[1].asked) == 1


@pytest.mark.parametrize("answer", [{}, {"results": []}, {"results": {"bindings": "x"}}])
def test_without_the_query_service_all_else_stays(answer: Any) -> None:
    service: Any = SimpleNamespace(sites=Service.sites, get_json=lambda *a, **k: answer)
    asked = within("Q90", "Q142")
    result = located(service, [asked], ["en"])
    assert result.found == [asked]
    assert result.faults == ["no cities and countries were found: where 2 places are: the query "
                             "service answered something else than rows"]  # fmt: skip

    def refuse(*given: Any, **more: Any) -> Any:
        raise NetworkError("it is down")

    service.get_json = refuse
    assert located(service, [asked], ["en"]).faults == [
        "no cities and countries were found: it is down"
    ]


def test_rows_that_make_no_sense_are_passed_over() -> None:
    uri = "http://www.wikidata.org/entity/"
    rows = [
        1, {}, {"place": {"type": "uri", "value": "http://elsewhere.example/Q1"}},
        {"place": {"value": f"{uri}Q90"}, "placeLabel": {"value": ["x"]}, "code": 5,
         "above": {"value": f"{uri}P31"}, "kind": {"value": f"{uri}Q515"}},
        {"place": {"value": f"{uri}Q90"}, "placeLabel": {"value": "Paris"}},
        {"place": {"value": f"{uri}Q142"}, "placeLabel": {"value": "Q142"},
         "code": {"value": "FR"}},
    ]  # fmt: skip
    answer = {"results": {"bindings": rows}}
    service: Any = SimpleNamespace(sites=Service.sites, get_json=lambda *a, **k: answer)
    (found,) = located(service, [within("Q90", "Q142")], ["en"]).found
    assert (found.record.city, found.record.country, found.record.country_code) == (
        "Paris", "", "FR"
    )  # fmt: skip


def test_the_query_fits_into_an_address() -> None:
    query = query_where([f"Q{100_000_000 + i}" for i in range(50)], ["en", "fr", "zh-hant"])
    assert len(query) < 2_500
    assert query.count("{") == query.count("}")
