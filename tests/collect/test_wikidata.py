"""Landmarks of Wikidata: queries, and every odd answer of its two services."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.fake_city import small_city
from tests.support.fake_wikimedia import FakeWikimedia
from tests.support.fake_world import Claim, FakeItem
from whichlandmark.collect import wikidata
from whichlandmark.collect.http_client import ApiError, PoliteClient, Sites
from whichlandmark.core.errors import NetworkError, OptionError

Params = dict[str, str]


@dataclass
class Stub:
    """Answers requests from dictionaries. asked: the parameters of every request."""

    entities: dict[str, Any] = field(default_factory=dict)
    rows: list[Any] = field(default_factory=list)
    commons: Any = None
    unreadable: set[str] = field(default_factory=set)
    answer: Callable[[Params], Any] | None = None
    asked: list[Params] = field(default_factory=list)

    sites = SimpleNamespace(commons="commons", wikidata="wikidata", sparql="sparql")

    def get_json(self, url: str, params: Params, *, what: str) -> Any:
        self.asked.append(params)
        if self.answer and (answer := self.answer(params)) is not None:
            return answer
        if url == "sparql":
            return {"head": {"vars": []}, "results": {"bindings": self.rows}}
        if url == "commons":
            return self.commons
        wrong = [one for one in params["ids"].split("|") if one in self.unreadable]
        if wrong:
            raise ApiError("no such entity", code="no-such-entity", id=wrong[0])
        found = {one: self.entities.get(one, {"id": one, "missing": ""})
                 for one in params["ids"].split("|")}  # fmt: skip
        return {"entities": found, "success": 1}


def answering(*given: Any, **more: Any) -> Any:
    """A stub in place of a client. Arguments: as fields of `Stub`."""
    return Stub(*given, **more)


def value(of: Any, rank: str = "normal") -> Any:
    datavalue = {"value": of, "type": "string"}
    return {"mainsnak": {"snaktype": "value", "datavalue": datavalue}, "rank": rank}


def place(latitude: Any, longitude: Any, rank: str = "normal", globe: str = "Q2") -> Any:
    globe = f"http://www.wikidata.org/entity/{globe}"
    return value({"latitude": latitude, "longitude": longitude, "globe": globe}, rank)


def entity(item: str, **more: Any) -> Any:
    return {
        "type": "item", "id": item,
        "labels": {"en": {"language": "en", "value": f"Tower {item}"}},
        "claims": {"P625": [place(48.5, 2.5)], "P373": [value(f"Tower {item}")],
                   "P18": [value(f"Tower {item}.jpg")]},
        "sitelinks": {"enwiki": {"site": "enwiki", "title": f"Tower {item}", "badges": []}},
        **more,
    }  # fmt: skip


def row(item: str, links: Any = "9", kind: str = "Q12518", coord: str = "Point(2.5 48.5)") -> Any:
    uri = "http://www.wikidata.org/entity/"
    return {"item": {"type": "uri", "value": uri + item},
            "links": {"type": "literal", "value": links},
            "class": {"type": "uri", "value": uri + kind},
            "coord": {"type": "literal", "value": coord}}  # fmt: skip


def test_a_landmark_has_names_place_articles_and_pictures() -> None:
    labels = {
        "en": {"language": "en", "value": "Eiffel Tower"},
        "fr": {"language": "fr", "value": "Tour Eiffel"},
        "vi": {"language": "en", "for-language": "vi", "value": "Eiffel Tower"},
        "de": {"language": "mul", "for-language": "de", "value": "Eiffelturm"},
    }
    sites = {"enwiki": "Eiffel Tower", "frwiki": "Tour Eiffel", "zhwiki": "埃菲尔铁塔",
             "commonswiki": "Category:Eiffel Tower", "frwikivoyage": "Paris"}  # fmt: skip
    links = {site: {"site": site, "title": title} for site, title in sites.items()}
    services = answering({"Q243": entity("Q243", labels=labels, sitelinks=links)})
    found = wikidata.landmarks_of(services, ["Q243"], ["en", "fr", "vi", "de", "zh-Hant"])
    (landmark,) = found.found
    record = landmark.record
    assert (record.name, record.title, record.wikidata) == ("Q243", "Eiffel Tower", "Q243")
    assert record.names == {"en": "Eiffel Tower", "fr": "Tour Eiffel", "de": "Eiffelturm"}
    assert (record.latitude, record.longitude) == (48.5, 2.5)
    assert record.source == "https://www.wikidata.org/wiki/Q243"
    assert record.wikipedia == {"en": "Eiffel Tower", "fr": "Tour Eiffel", "zh": "埃菲尔铁塔"}
    assert (landmark.category, landmark.image) == ("Tower Q243", "Tower Q243.jpg")
    assert landmark.links == 5
    assert not found.left_out
    assert not found.notes
    assert found.ids == {"Q243": "Q243"}
    (asked,) = services.asked
    assert asked["languages"] == "en|fr|vi|de|zh-hant|mul"
    assert asked["languagefallback"] == "1"


def test_fifty_ids_in_a_request_each_once() -> None:
    ids = [f"Q{number}" for number in range(1, 121)]
    services = answering({one: entity(one) for one in ids})
    found = wikidata.landmarks_of(services, [*ids, *ids])
    assert [one.id for one in found.found] == ids
    assert [len(asked["ids"].split("|")) for asked in services.asked] == [50, 50, 20]


def test_an_id_that_fails_the_request_is_dropped_and_the_rest_asked_again() -> None:
    services = answering({"Q1": entity("Q1"), "Q4": entity("Q4")}, unreadable={"Q2", "Q3"})
    found = wikidata.landmarks_of(services, ["Q1", "Q2", "Q3", "Q4", "Q5", "243", "Q1|Q2"])
    assert [one.id for one in found.found] == ["Q1", "Q4"]
    gone = "no such item on Wikidata"
    bad = "no id of Wikidata; expected Q and a number, such as Q243"
    assert found.left_out == {"243": bad, "Q1|Q2": bad, "Q2": gone, "Q3": gone, "Q5": gone}
    asked = ["Q1|Q2|Q3|Q4|Q5", "Q1|Q3|Q4|Q5", "Q1|Q4|Q5"]
    assert [one["ids"] for one in services.asked] == asked


def test_an_error_that_names_no_id_is_found_by_halves() -> None:
    def answer(params: Params) -> Any:
        if "Q3" in params["ids"].split("|"):
            raise ApiError("no such entity", code="no-such-entity")
        return None

    services = answering({one: entity(one) for one in ("Q1", "Q2", "Q4")}, answer=answer)
    found = wikidata.landmarks_of(services, ["Q1", "Q2", "Q3", "Q4"])
    assert [one.id for one in found.found] == ["Q1", "Q2", "Q4"]
    assert found.left_out == {"Q3": "the server did not answer for this item"}


def test_items_that_a_large_answer_lacks_are_asked_for_again() -> None:
    def answer(params: Params) -> Any:
        ids = params["ids"].split("|")[:2]
        return {"entities": {one: entity(one) for one in ids if one != "Q5"}}

    services = answering(answer=answer)
    found = wikidata.landmarks_of(services, [f"Q{number}" for number in range(1, 7)])
    assert [one.id for one in found.found] == ["Q1", "Q2", "Q3", "Q4", "Q6"]
    assert found.left_out == {"Q5": "the server did not answer for this item"}
    assert len(services.asked) < 10


def test_other_errors_are_errors() -> None:
    def answer(params: Params) -> Any:
        raise NetworkError("no route")

    with pytest.raises(NetworkError, match="no route"):
        wikidata.landmarks_of(answering(answer=answer), ["Q1"])


def test_a_merged_item_is_followed_and_told() -> None:
    merged = entity("Q9", redirects={"from": "Q8", "to": "Q9"})
    services = answering({"Q8": merged, "Q9": entity("Q9")})
    for ids in (["Q8", "Q9"], ["Q9", "Q8"]):
        found = wikidata.landmarks_of(services, ids)
        assert [one.id for one in found.found] == ["Q9"]
        assert found.ids == {"Q8": "Q9", "Q9": "Q9"}
        assert found.notes == [("Q8", "was merged into Q9 on Wikidata, which is used")]
        assert found.found[0].record.wikidata == "Q9"


def test_ranks_and_unknown_values() -> None:
    unknown = {"mainsnak": {"snaktype": "somevalue"}, "rank": "preferred"}
    none = {"mainsnak": {"snaktype": "novalue"}, "rank": "normal"}
    claims = {
        "P625": [place(1, 1, "deprecated"), place(2, 2), place(3, 3, "preferred"), unknown],
        "P373": [unknown, none, value("Old name", "deprecated"), value("The_Tower")],
        "P18": [none],
    }
    found = wikidata.landmarks_of(answering({"Q1": entity("Q1", claims=claims)}), ["Q1"])
    (landmark,) = found.found
    assert (landmark.record.latitude, landmark.record.longitude) == (3, 3)
    assert (landmark.category, landmark.image) == ("The Tower", "")


@pytest.mark.parametrize(
    "claim",
    [place(10, 20, globe="Q405"), place(91, 2), place(48, 181), place(float("nan"), 2),
     place("48", "2"), place(True, False), value("Point(2 48)"), value(None)],
)  # fmt: skip
def test_a_place_that_is_none_is_left_out_and_told(claim: Any) -> None:
    services = answering({"Q1": entity("Q1", claims={"P625": [claim]})})
    found = wikidata.landmarks_of(services, ["Q1"])
    (landmark,) = found.found
    assert landmark.record.latitude is None
    assert landmark.record.longitude is None
    assert found.notes == [("Q1", "its coordinates are not on Earth, or out of range; left out")]


def test_the_place_on_earth_is_taken_of_several() -> None:
    claims = {"P625": [place(10, 20, globe="Q405"), place(48, 2), place(49, 3)]}
    found = wikidata.landmarks_of(answering({"Q1": entity("Q1", claims=claims)}), ["Q1"])
    assert found.found[0].record.latitude == 48


@pytest.mark.parametrize(
    "text", ["x" * 1001, "Tower\nof", "Tower\0", "a\u202eb", "\ud800", 7, "  "]
)
def test_a_name_that_no_record_may_have_is_left_out_and_told(text: Any) -> None:
    labels = {"en": {"language": "en", "value": text}, "fr": {"language": "fr", "value": "Tour"}}
    services = answering({"Q1": entity("Q1", labels=labels)})
    found = wikidata.landmarks_of(services, ["Q1"], ["en", "fr"])
    assert found.found[0].record.names == {"fr": "Tour"}
    assert found.found[0].record.title == "Tour"
    assert found.notes == [("Q1", "its name in en cannot be stored; left out")]


def test_names_of_other_scripts_and_marks_stay() -> None:
    names = ["Большой театр", "می\u200cدان", "A|B", "a/b", 'say "Q"', "ราชดำเนิน", "👷 tower"]
    for name in names:
        labels = {"en": {"language": "en", "value": name}}
        found = wikidata.landmarks_of(answering({"Q1": entity("Q1", labels=labels)}), ["Q1"])
        assert found.found[0].record.names == {"en": name}


def test_without_a_name_the_article_the_category_or_the_id_names_it() -> None:
    bare = entity("Q1", labels=[], sitelinks={"ruwiki": {"title": "Большой театр"}})
    found = wikidata.landmarks_of(answering({"Q1": bare}), ["Q1"], ["en", "fr"])
    assert found.found[0].record.title == "Большой театр"
    assert found.found[0].record.wikipedia == {"ru": "Большой театр"}
    assert found.notes == [("Q1", "has no name in en,fr; called 'Большой театр'")]
    found = wikidata.landmarks_of(answering({"Q1": entity("Q1", labels=[], sitelinks=[])}), ["Q1"])
    assert found.found[0].record.title == "Tower Q1"
    assert found.found[0].links == 0
    bare = {"id": "Q1", "labels": [], "claims": [], "sitelinks": []}
    found = wikidata.landmarks_of(answering({"Q1": bare}), ["Q1"])
    assert found.found[0].record.title == "Q1"
    assert found.found[0].category == ""


def test_a_name_in_another_language_is_a_title_and_no_name() -> None:
    labels = {"vi": {"language": "en", "for-language": "vi", "value": "Old tower"}}
    found = wikidata.landmarks_of(answering({"Q1": entity("Q1", labels=labels)}), ["Q1"], ["vi"])
    assert found.found[0].record.title == "Old tower"
    assert found.found[0].record.names == {}


@pytest.mark.parametrize(
    ("languages", "articles"),
    [(["nb"], {"no": "A"}), (["zh-Hant"], {"zh": "B"}), (["yue"], {"zh-yue": "C"}),
     (["pl"], {"be-tarask": "D"}), (["pl", "be-x-old"], {"be-tarask": "D"}),
     (["zh", "zh-tw"], {"zh": "B"})],
)  # fmt: skip
def test_wikipedias_go_by_their_hosts(languages: list[str], articles: dict[str, str]) -> None:
    sites = {"nowiki": "A", "zhwiki": "B", "zh_yuewiki": "C", "be_x_oldwiki": "D",
             "commonswiki": "E", "specieswiki": "F", "odd languagewiki": "G",
             "eswikinews": "H"}  # fmt: skip
    links = {site: {"title": title} for site, title in sites.items()}
    services = answering({"Q1": entity("Q1", sitelinks=links)})
    found = wikidata.landmarks_of(services, ["Q1"], languages)
    assert found.found[0].record.wikipedia == articles


@pytest.mark.parametrize("odd", [None, [], "text", {"entities": []}, {"entities": {"Q1": None}},
                                 {"entities": {"Q1": {"id": 5}}}])  # fmt: skip
def test_odd_answers_are_no_tracebacks(odd: Any) -> None:
    services = answering(answer=lambda params: odd or {"odd": odd})
    found = wikidata.landmarks_of(services, ["Q1"])
    assert not found.found
    assert list(found.left_out) == ["Q1"]


def test_the_most_linked_first_and_ties_by_number() -> None:
    ids = ["Q30", "Q4", "Q5", "Q12"]
    rows = [row("Q30"), row("Q4"), row("Q5", "70"), row("Q12", "8"), row("Q4"),
            row("Q4", kind="Q41176", coord="Point(3 49)")]  # fmt: skip
    services = answering({one: entity(one) for one in ids}, rows)
    found = wikidata.landmarks_in(services, "Q90", 3)
    assert [one.id for one in found.found] == ["Q5", "Q4", "Q30"]
    query = services.asked[0]["query"]
    assert "wdt:P131* wd:Q90 ." in query
    assert "LIMIT 400" in query
    assert services.asked[0]["format"] == "json"


def test_what_no_one_can_photograph_is_left_out() -> None:
    rows = [row("Q1"), row("Q1", kind="Q486972"), row("Q2"), row("L3"),
            row("Q5", kind="Q123705"), row("Q6"), row("Q6", kind="Q928830"),
            row("Q7", "3", kind="Q839954"), row("Q7", "3", kind="Q486972"),
            row("Q4", coord="<http://www.wikidata.org/entity/Q405> Point(1 2)"),
            {"links": {"value": "5"}}, {"item": {"type": "bnode", "value": "t1"}},
            None]  # fmt: skip
    services = answering({one: entity(one) for one in ("Q1", "Q2", "Q4", "Q5", "Q6", "Q7")}, rows)
    found = wikidata.landmarks_in(services, "Q90", 9)
    assert [one.id for one in found.found] == ["Q2", "Q7"]
    assert found.left_out == {"Q4": "its place is not on Earth"}


def test_unbound_and_odd_cells_of_rows() -> None:
    bare = {"item": {"type": "uri", "value": "http://www.wikidata.org/entity/Q2"}}
    services = answering({"Q1": entity("Q1"), "Q2": entity("Q2")}, [bare, row("Q1", "many")])
    found = wikidata.landmarks_in(services, "Q90", 9)
    assert [one.id for one in found.found] == ["Q1", "Q2"]


def test_items_that_fall_out_are_replaced_by_the_next() -> None:
    rows = [row("Q1", "9"), row("Q2", "8"), row("Q3", "7"), row("Q4", "6")]
    services = answering({"Q2": entity("Q2"), "Q3": entity("Q3"), "Q4": entity("Q4")}, rows)
    found = wikidata.landmarks_in(services, "Q90", 2)
    assert [one.id for one in found.found] == ["Q2", "Q3"]
    assert found.left_out == {"Q1": "no such item on Wikidata"}


def test_around_a_point_the_longitude_goes_first() -> None:
    services = answering({"Q1": entity("Q1")}, [row("Q1")])
    found = wikidata.landmarks_near(services, 48.8583, -0.0000001, 3, 100)
    assert [one.id for one in found.found] == ["Q1"]
    query = services.asked[0]["query"]
    assert '"Point(-0.000000 48.858300)"^^geo:wktLiteral' in query
    assert 'wikibase:radius "3"' in query
    assert "LIMIT 1200" in query


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda s: wikidata.landmarks_in(s, "Paris", 5), "expected an id of Wikidata"),
     (lambda s: wikidata.landmarks_in(s, "Q90 . }", 5), "expected an id of Wikidata"),
     (lambda s: wikidata.landmarks_near(s, 91, 0, 1, 5), "expected degrees"),
     (lambda s: wikidata.landmarks_near(s, float("nan"), 0, 1, 5), "expected degrees"),
     (lambda s: wikidata.landmarks_near(s, 0, 0, 101, 5), "at most 100"),
     (lambda s: wikidata.landmarks_near(s, 0, 0, 0, 5), "more than 0"),
     (lambda s: wikidata.landmarks_of(s, ["Q1"], ["en|fr"]), "codes such as en,fr"),
     (lambda s: wikidata.landmarks_of(s, ["Q1"], []), "codes such as en,fr"),
     (lambda s: wikidata.landmarks_of(s, ["Q1"], ["en"] * 50), "1 to 49 codes")],
)  # fmt: skip
def test_wrong_input_asks_nothing(call: Callable[[Any], Any], message: str) -> None:
    services = answering()
    with pytest.raises(OptionError, match=message):
        call(services)
    assert not services.asked


def test_an_answer_without_rows_is_an_error() -> None:
    odds: list[Any] = [{}, {"results": {}}, {"results": {"bindings": {}}}]
    for odd in odds:
        services = answering(answer=lambda params, odd=odd: odd)
        with pytest.raises(NetworkError, match="something else than rows"):
            wikidata.landmarks_in(services, "Q90", 9)


def category(item: str, topic: str) -> Any:
    claims = {"P31": [value({"id": "Q4167836"})], "P301": [value({"id": topic})]}
    return entity(item, claims=claims)


def test_categories_lead_to_their_items() -> None:
    pages = [
        {"title": "Category:Eiffel Tower", "pageprops": {"wikibase_item": "Q243"}},
        {"title": "Category:Louvre Palace", "pageprops": {"wikibase_item": "Q70"}},
        {"title": "Category:Moved", "pageprops": {"wikibase_item": "Q8"}},
        {"title": "Category:Nowhere", "missing": True},
        {"title": "Category:Named", "pageid": 1}, {"title": "Category:Twice", "pageid": 2},
    ]  # fmt: skip
    commons = {"query": {
        "normalized": [{"from": "Category:Tour", "to": "Category:Old"}],
        "redirects": [{"from": "Category:Old", "to": "Category:Moved"}], "pages": pages,
    }}  # fmt: skip
    rows = [row("Q5") | {"category": {"value": "Named"}},
            row("Q7") | {"category": {"value": "Twice"}},
            row("Q6") | {"category": {"value": "Twice"}},
            row("Q99") | {"category": {"value": "Other"}}]  # fmt: skip
    known = {"Q70": category("Q70", "Q71"), **{one: entity(one) for one in ("Q243", "Q71", "Q8",
             "Q5", "Q6", "Q7")}}  # fmt: skip
    services = answering(known, rows, commons)
    names = ["Eiffel_Tower", "category:louvre Palace", "Tour", "Nowhere", "Named", "Twice", "a|b"]
    found = wikidata.landmarks_of_categories(services, names)
    assert found.ids == {"Eiffel_Tower": "Q243", "category:louvre Palace": "Q71", "Tour": "Q8",
                         "Named": "Q5"}  # fmt: skip
    assert [one.id for one in found.found] == ["Q243", "Q71", "Q8", "Q5"]
    assert found.left_out == {
        "Nowhere": "no item of Wikidata has this category",
        "Twice": "several items of Wikidata have it: Q6, Q7",
        "a|b": "no name of a category; expected such as Eiffel Tower",
    }
    assert services.asked[0]["titles"].split("|")[:2] == ["Category:Eiffel Tower",
                                                          "Category:Louvre Palace"]  # fmt: skip


def test_a_category_of_a_merged_or_missing_item() -> None:
    pages = [{"title": "Category:A", "pageprops": {"wikibase_item": "Q8"}},
             {"title": "Category:B", "pageprops": {"wikibase_item": "Q7"}}]  # fmt: skip
    merged = entity("Q9", redirects={"from": "Q8", "to": "Q9"})
    services = answering({"Q8": merged}, commons={"query": {"pages": pages}})
    found = wikidata.landmarks_of_categories(services, ["A", "B"])
    assert found.ids == {"A": "Q9"}
    assert found.left_out == {"B": "Q7: no such item on Wikidata"}


def test_quotes_in_a_category_stay_in_the_query() -> None:
    query = wikidata.query_categories(['Say "A"', "back\\slash"])
    assert r'VALUES ?category { "Say \"A\"" "back\\slash" }' in query


def test_places_are_found_by_name() -> None:
    rows = [{"id": "Q90", "label": "Paris", "description": "capital of France"},
            {"id": "Q830149", "label": "Paris"}, {"id": "P5", "label": "no item"},
            None]  # fmt: skip
    services = answering(answer=lambda params: {"search": rows})
    hits = wikidata.find_places(services, " Paris ", "EN")
    assert hits == [wikidata.Hit("Q90", "Paris", "capital of France"),
                    wikidata.Hit("Q830149", "Paris", "")]  # fmt: skip
    asked = services.asked[0]
    assert (asked["search"], asked["language"], asked["type"]) == ("Paris", "en", "item")


def test_many_long_names_of_categories_go_into_several_requests() -> None:
    services = answering(commons={"query": {"pages": []}})
    names = [f"{'Большой театр ' * 8}{number}" for number in range(60)] + ["A"] * 3
    found = wikidata.landmarks_of_categories(services, names)
    assert len(found.left_out) == 61
    sent = [urlencode(asked) for asked in services.asked]
    assert max(map(len, sent)) < 7_500
    asked = [one for params in services.asked for one in params.get("titles", "").split("|") if one]
    assert len(asked) == 61
    assert set(asked) == {f"Category:{name}" for name in {*names}}


class Clock:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture(scope="module")
def server() -> Iterator[FakeWikimedia]:
    with FakeWikimedia(small_city(), clock=Clock()) as made:
        items = made.world.items
        rocks = ("Q90101", "Q90102")
        items["Q90101"].claims.append(Claim("P625", (1.0, 2.0), rank="deprecated"))
        items["Q90102"].claims.append(Claim("P625", (44.51, -20.24)))  # two coordinates
        items["Q90092"] = FakeItem("Q90092", {"en": "Moon base"}, claims=[
            Claim("P31", "Q811979"), Claim("P131", "Q90001"), Claim("P373", "Moon base"),
            Claim("P625", (4.0, 2.0), globe="http://www.wikidata.org/entity/Q405")],
            sitelinks={f"{code}wiki": "Moon base" for code in ["ab", "cd", "ef"]})  # fmt: skip
        items["Q90093"] = FakeItem("Q90093", {"en": "Category:Tower"}, claims=[
            Claim("P31", "Q4167836"), Claim("P301", rocks[0])])  # fmt: skip
        made.world.categories["Velmora Docks"].item = "Q90093"
        yield made


@pytest.fixture
def client(server: FakeWikimedia) -> Iterator[PoliteClient]:
    server.forget()
    sites = Sites.at(server.base)
    with PoliteClient("me@example.org", sites=sites, clock=server.clock) as made:
        yield made


def test_the_landmarks_of_a_city(server: FakeWikimedia, client: PoliteClient) -> None:
    found = wikidata.landmarks_in(client, "Q90001", 3, ["fr", "en"])
    assert [one.id for one in found.found] == ["Q90101", "Q90102", "Q90103"]
    first = found.found[0]
    item = server.world.items["Q90101"]
    assert first.record.title == item.labels["fr"]
    assert first.record.names == {one: item.labels[one] for one in ("fr", "en")}
    assert first.record.wikipedia == {one: item.labels[one] for one in ("fr", "en")}
    assert (first.record.latitude, first.record.longitude) == item.values("P625")[0]
    assert first.category == item.values("P373")[0]
    assert first.links == len(item.sitelinks)
    assert found.left_out == {"Q90092": "its place is not on Earth"}
    assert server.counts["sparql"] == server.counts["wikidata"] == 1
    again = wikidata.landmarks_in(client, "Q90001", 3, ["fr", "en"])
    assert again == found
    assert server.counts["sparql"] == server.counts["wikidata"] == 1  # the rest is cached


def test_all_landmarks_of_a_city_and_nothing_else(
    server: FakeWikimedia, client: PoliteClient
) -> None:
    found = wikidata.landmarks_in(client, "Q90001", 50)
    assert tuple(one.id for one in found.found) == server.world.landmarks
    assert wikidata.landmarks_in(client, "Q90002", 50).found != found.found
    assert not wikidata.landmarks_in(client, "Q424242", 50).found


def test_the_landmarks_around_a_point(server: FakeWikimedia, client: PoliteClient) -> None:
    latitude, longitude = server.world.items["Q90103"].values("P625")[0]
    found = wikidata.landmarks_near(client, latitude, longitude, 0.05, 9)
    assert [one.id for one in found.found] == ["Q90103"]
    assert not wikidata.landmarks_near(client, longitude, latitude, 0.05, 9).found


def test_given_ids_of_the_server(client: PoliteClient) -> None:
    ids = ["Q90090", "Q90101", "Q90091", "Q99999999", "Q90104"]
    found = wikidata.landmarks_of(client, ids)
    assert [one.id for one in found.found] == ["Q90101", "Q90104"]
    assert found.notes == [("Q90090", "was merged into Q90101 on Wikidata, which is used")]
    gone = "no such item on Wikidata"
    assert found.left_out == {"Q90091": gone, "Q99999999": gone}


def test_given_categories_of_the_server(server: FakeWikimedia, client: PoliteClient) -> None:
    name = server.world.items["Q90102"].values("P373")[0]
    server.world.items["Q90103"].sitelinks.pop("commonswiki", None)
    other = server.world.items["Q90103"].values("P373")[0]
    server.world.categories[other].item = ""
    names = [f"Category:{name}", other, "Velmora Docks", "Streets in Velmora", "No such"]
    found = wikidata.landmarks_of_categories(client, names)
    assert found.ids == {names[0]: "Q90102", other: "Q90103", "Velmora Docks": "Q90101"}
    reason = "no item of Wikidata has this category"
    assert found.left_out == {"Streets in Velmora": reason, "No such": reason}


def test_a_city_is_found_by_its_name(client: PoliteClient) -> None:
    hits = wikidata.find_places(client, "velmora", "en")
    assert [(one.id, one.description) for one in hits][:1] == [("Q90001", "city in the Atlantic")]
    assert ("Q90060", "painter") in [(one.id, one.description) for one in hits]
    assert not wikidata.find_places(client, "Atlantis", "en")


@pytest.mark.parametrize("fault", ["html", "html-502", "429-after", "maxlag", "ratelimited",
                                   "hangup", "text", "list", "empty"])  # fmt: skip
def test_faults_of_the_server_are_waited_for(
    server: FakeWikimedia, client: PoliteClient, fault: str
) -> None:
    one = server.fault(fault, on="wikidata")
    found = wikidata.landmarks_of(client, ["Q90101"])
    assert [landmark.id for landmark in found.found] == ["Q90101"]
    assert one.used == 1
    server.faults.clear()


def test_a_ban_of_the_query_service_stops_at_once(
    server: FakeWikimedia, client: PoliteClient
) -> None:
    server.fault("banned", on="sparql", times=0)
    with pytest.raises(NetworkError, match="banned this address until 2026-12-24"):
        wikidata.landmarks_in(client, "Q90001", 3)
    assert server.counts["sparql"] == 1
    server.faults.clear()
