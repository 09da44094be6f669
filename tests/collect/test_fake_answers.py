"""The stand-in for Wikimedia answers in the shapes of Wikimedia, about an invented city."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image as Pillow

from tests.support.fake_city import CITY, drawn_city, small_city
from tests.support.fake_requests import (
    Clock,
    ask,
    commons,
    first_category,
    whole,
    wikidata,
)
from tests.support.fake_traps import trap_city
from tests.support.fake_wikimedia import FakeWikimedia
from tests.support.fake_world import FakeFile, World, metres

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def city() -> World:
    return trap_city()


@pytest.fixture
def server(city: World) -> Iterator[FakeWikimedia]:
    with FakeWikimedia(city, clock=Clock()) as running:
        yield running


def test_a_batch_comes_in_parts_until_it_is_complete(server: FakeWikimedia) -> None:
    server.fault("split", value=4, times=0)
    _, answers = whole(
        server, generator="categorymembers", gcmtitle=first_category(server.world), gcmtype="file",
        gcmlimit=10, prop="imageinfo|coordinates", iiprop="url|sha1", iiurlwidth=960, colimit=1,
    )  # fmt: skip
    first = answers[0]
    assert "batchcomplete" not in first
    assert first["continue"].keys() == {"iicontinue", "continue"}
    assert first["continue"]["continue"] == "||coordinates"
    have = [[("imageinfo" in page) for page in one["query"]["pages"]] for one in answers[:3]]
    assert [sum(one) for one in have] == [4, 4, 2]
    assert {len(one) for one in have} == {10}
    title, stamp = first["continue"]["iicontinue"].split("|")
    assert "_" in title
    assert len(stamp) == 14
    # The generator's own parameter comes back unchanged within a later batch.
    later = [one for one in answers if "gcmcontinue" in one.get("continue", {})]
    assert any("iicontinue" in one["continue"] for one in later)
    assert answers[2]["batchcomplete"] is True
    assert answers[2]["continue"].keys() == {"gcmcontinue", "continue"}


def test_merged_parts_are_all_files_of_a_category(server: FakeWikimedia) -> None:
    server.fault("split", value=7, times=0)
    name = first_category(server.world)
    pages, answers = whole(
        server, generator="categorymembers", gcmtitle=name, gcmtype="file", gcmlimit=20,
        prop="imageinfo", iiprop="url|size|mime|sha1|user", iiurlwidth=960,
    )  # fmt: skip
    _, files = server.world.members(name.removeprefix("Category:"))
    assert set(pages) == {file.pageid for file in files}
    assert len(files) > 50
    assert all(page["imageinfo"] for page in pages.values())
    assert len(answers) > len(files) / 7


def test_at_most_fifty_thumbnails_come_at_once(server: FakeWikimedia) -> None:
    _, answers = whole(
        server, generator="categorymembers", gcmtitle=first_category(server.world), gcmtype="file",
        gcmlimit=500, prop="imageinfo", iiprop="url", iiurlwidth=960,
    )  # fmt: skip
    counts = [sum("imageinfo" in page for page in one["query"]["pages"]) for one in answers]
    assert counts[0] == 50
    assert len(counts) == 2


def test_a_first_page_may_be_empty(server: FakeWikimedia) -> None:
    server.fault("empty-first")
    pages, answers = whole(server, generator="categorymembers", gcmlimit=500,
                           gcmtitle=first_category(server.world), gcmtype="file")  # fmt: skip
    assert "query" not in answers[0]
    assert answers[0]["continue"]["gcmcontinue"].startswith("file|")
    assert len(pages) > 50


def test_version_1_has_pages_by_id_and_empty_strings(server: FakeWikimedia) -> None:
    titles = f"File:{server.world.traps['cjk'].key}|File:Gone.jpg"
    answer = commons(server, titles=titles, prop="imageinfo", iiprop="sha1", formatversion=1)
    assert answer["batchcomplete"] == ""
    pages = answer["query"]["pages"]
    assert pages["-1"] == {"ns": 6, "title": "File:Gone.jpg", "missing": ""}
    assert pages[str(server.world.traps["cjk"].pageid)]["imageinfo"][0].keys() == {"sha1"}


def test_titles_are_normalised_and_redirected(server: FakeWikimedia) -> None:
    titles = "category:Old_name of the abbey|File:Old name.jpg|File:Bad<title>.jpg"
    query = commons(server, titles=titles, redirects=1, prop="pageprops")["query"]
    assert query["normalized"][0]["to"] == "Category:Old name of the abbey"
    assert [row["to"] for row in query["redirects"]] == [
        first_category(server.world), f"File:{first_category(server.world)[9:]} 01.jpg"
    ]  # fmt: skip
    category = next(page for page in query["pages"] if page.get("ns") == 14)
    assert category["pageprops"] == {"wikibase_item": "Q90118"}
    assert [page["title"] for page in query["pages"] if page.get("invalid")] == [
        "File:Bad<title>.jpg"
    ]


def info(server: FakeWikimedia, file: FakeFile, width: int = 960) -> dict[str, Any]:
    found = commons(server, pageids=file.pageid, prop="imageinfo", iiurlwidth=width,
                    iiprop="url|size|mime|sha1|user|extmetadata")  # fmt: skip
    return dict(found["query"]["pages"][0]["imageinfo"][0])


def test_thumbnails_are_of_the_next_standard_width(server: FakeWikimedia) -> None:
    traps = server.world.traps
    found = info(server, traps["quotes"], 800)
    assert found["thumbwidth"] == 800
    assert "/960px-" in found["thumburl"]
    assert "?utm_source=" in found["thumburl"]
    assert "?utm_source=" in found["url"]
    small = info(server, traps["small"])
    assert small["thumburl"] == small["url"]
    assert small["thumbwidth"] == 800
    assert "thumburl" not in info(server, traps["nothumb"])
    assert info(server, traps["thumberror"])["thumberror"].startswith("Error creating")
    assert "/960px-thumbnail.jpg" in info(server, traps["long"])["thumburl"]
    assert "lossy-page1-960px-" in info(server, traps["image/tiff"])["thumburl"]


def test_thumbnails_are_pictures_of_that_width(server: FakeWikimedia) -> None:
    for trap in ("quotes", "slash", "image/png", "image/webp", "image/tiff", "long"):
        found = info(server, server.world.traps[trap])
        answer = ask(server, found["thumburl"].removeprefix(server.base))
        with Pillow.open(io.BytesIO(answer.body)) as image:
            assert (answer.status, image.size) == (200, (960, 480)), trap


def test_hidden_and_missing_files(server: FakeWikimedia) -> None:
    traps = server.world.traps
    assert info(server, traps["filehidden"]).keys() == {"user", "size", "width", "height",
                                                        "filehidden"}  # fmt: skip
    assert info(server, traps["userhidden"])["userhidden"] is True
    assert info(server, traps["filemissing"]) == {"filemissing": True}
    gone = commons(server, pageids="77", prop="imageinfo")["query"]["pages"]
    assert gone == [{"pageid": 77, "missing": True}]


def test_licences_are_templates_and_may_be_absent(server: FakeWikimedia) -> None:
    traps = server.world.traps
    assert "License" not in info(server, traps["nc"])["extmetadata"]
    free = info(server, traps["cc0"])["extmetadata"]
    assert free["License"]["value"] == "cc0"
    assert free["Artist"]["value"].startswith("<a href=")
    assert info(server, traps["nonfree"])["extmetadata"]["NonFree"]["value"] == "true"
    assert not [key for key in info(server, traps["none"])["extmetadata"] if "icen" in key]


def test_originals_have_their_sha1_except_the_wrong_one(server: FakeWikimedia) -> None:
    for trap, same in (("small", True), ("wrong sha1", False), ("twin", True)):
        found = info(server, server.world.traps[trap])
        body = ask(server, found["url"].removeprefix(server.base)).body
        assert (hashlib.sha1(body).hexdigest() == found["sha1"], len(body)) == (same, found["size"])


def test_geosearch_finds_camera_positions(server: FakeWikimedia) -> None:
    place = {"ggscoord": "44.5|-20.25", "ggsradius": 700, "ggslimit": 500}
    assert "query" not in commons(server, generator="geosearch", **place)  # namespace 0
    pages, answers = whole(server, generator="geosearch", ggsnamespace=6, prop="coordinates",
                           colimit=3, **place)  # fmt: skip
    expected = {file.pageid for file in server.world.files
                if file.camera and metres(file.camera, (44.5, -20.25)) <= 700}  # fmt: skip
    assert set(pages) == expected
    assert len(expected) > 3
    assert all("coordinates" in page for page in pages.values())
    assert len(answers) > 1
    listed = commons(server, list="geosearch", gscoord="44.5|-20.25", gsradius=700, gslimit=500,
                     gsnamespace=6)["query"]["geosearch"]  # fmt: skip
    assert [row["dist"] for row in listed] == sorted(row["dist"] for row in listed)
    assert {row["pageid"] for row in listed} == expected


def test_search_finds_what_files_depict(server: FakeWikimedia) -> None:
    one, two = server.world.landmarks[:2]
    search = f"haswbstatement:P180={one}|P180={two} filetype:bitmap"
    pages, answers = whole(server, generator="search", gsrsearch=search, gsrnamespace=6, gsrlimit=3)
    expected = {file.pageid for file in server.world.files if {one, two} & {*file.depicts}}
    assert set(pages) == expected
    assert [one["continue"]["gsroffset"] for one in answers[:-1]][:2] == ["3", "6"]


def test_categories_have_a_cycle(server: FakeWikimedia) -> None:
    name = first_category(server.world)
    inner = commons(server, list="categorymembers", cmtitle=name, cmtype="subcat", cmlimit=50)
    night = next(
        row["title"] for row in inner["query"]["categorymembers"] if "night" in row["title"]
    )
    back = commons(server, list="categorymembers", cmtitle=night, cmtype="subcat", cmlimit=50)
    assert [row["title"] for row in back["query"]["categorymembers"]] == [name]


def test_files_have_statements(server: FakeWikimedia) -> None:
    files = server.world.files
    two = next(file for file in files if len(file.depicts) == 2)
    virtual = next(f for f in files if not f.depicts and f.statements == "virtual")
    empty = next(f for f in files if not f.depicts and f.statements == "empty")
    ids = "|".join(f"M{file.pageid}" for file in (two, virtual, empty))
    answer = commons(server, action="wbgetentities", ids=ids, props="claims", formatversion=1)
    found = answer["entities"]
    shown = found[f"M{two.pageid}"]["statements"]["P180"]
    assert tuple(one["mainsnak"]["datavalue"]["value"]["id"] for one in shown) == two.depicts
    assert found[f"M{virtual.pageid}"]["missing"] == ""
    assert found[f"M{empty.pageid}"]["statements"] == []


def test_items_are_merged_deleted_or_unknown(server: FakeWikimedia) -> None:
    first = server.world.landmarks[0]
    found = wikidata(server, action="wbgetentities", ids="Q90090|Q90091")["entities"]
    assert found["Q90090"]["redirects"] == {"from": "Q90090", "to": first}
    assert found["Q90091"] == {"id": "Q90091", "missing": ""}
    error = wikidata(server, action="wbgetentities", ids=f"{first}|Q99")["error"]
    assert (error["code"], error["id"]) == ("no-such-entity", "Q99")


def test_statements_have_ranks_and_may_have_no_value(server: FakeWikimedia) -> None:
    ids = "Q90110|Q90111|Q90112|Q90113|Q90114"
    found = wikidata(server, action="wbgetentities", ids=ids, props="claims")["entities"]
    ranks = [claim["rank"] for claim in found["Q90110"]["claims"]["P625"]]
    assert ranks == ["normal", "preferred", "deprecated"]
    assert len(found["Q90111"]["claims"]["P18"]) == len(found["Q90111"]["claims"]["P625"]) == 2
    assert found["Q90112"]["claims"]["P625"][0]["mainsnak"]["snaktype"] == "somevalue"
    assert found["Q90113"]["claims"]["P373"][0]["mainsnak"]["snaktype"] == "novalue"
    moon = found["Q90114"]["claims"]["P625"][0]["mainsnak"]["datavalue"]["value"]
    assert moon["globe"].endswith("Q405")


def test_labels_fall_back(server: FakeWikimedia) -> None:
    found = wikidata(server, action="wbgetentities", ids="Q90115|Q90101", props="labels",
                     languages="en|fr|zh-hant", languagefallback=1)["entities"]  # fmt: skip
    assert "en" not in found["Q90115"]["labels"]
    assert found["Q90115"]["labels"]["fr"]
    chinese = found["Q90101"]["labels"]["zh-hant"]
    assert (chinese["language"], chinese["for-language"]) == ("en", "zh-hant")


def test_a_name_has_several_items(server: FakeWikimedia) -> None:
    answer = wikidata(server, action="wbsearchentities", search="velmora", language="en", limit=50)
    found = {row["id"]: row.get("description") for row in answer["search"]}
    assert found[CITY] == "city in the Atlantic"
    assert found["Q90060"] == "painter"


def test_queries_find_items_of_a_place(server: FakeWikimedia) -> None:
    query = """SELECT ?item ?itemLabel ?coord ?image ?links WHERE {
      SERVICE wikibase:around { ?item wdt:P625 ?coord .
        bd:serviceParam wikibase:center "Point(-20.25 44.5)"^^geo:wktLiteral ;
        wikibase:radius "3" . }
      ?item wdt:P31/wdt:P279* wd:Q811979 ; wdt:P373 ?category ; wikibase:sitelinks ?links .
      OPTIONAL { ?item wdt:P18 ?image . } FILTER NOT EXISTS { ?item wdt:P576 ?end . }
      SERVICE wikibase:label { bd:serviceParam wikibase:language "fr,en". }
    } ORDER BY DESC(?links) LIMIT 500"""
    answer = ask(server, "/sparql", query=query, format="json")
    assert answer.headers["content-type"].startswith("application/sparql-results+json")
    rows = answer.json["results"]["bindings"]
    ids = [row["item"]["value"].rpartition("/")[2] for row in rows]
    assert ids[:4] == list(server.world.landmarks)
    assert rows[0]["coord"]["value"] == "Point(-20.25 44.502671)"  # longitude first
    assert rows[0]["itemLabel"] == {"xml:lang": "fr", "type": "literal",
                                    "value": server.world.items[ids[0]].labels["fr"]}  # fmt: skip
    assert ids.count("Q90111") == 4
    assert ids.count("Q90110") == 1
    assert not {"Q90051", "Q90052", "Q90053", "Q90054", "Q90112", "Q90114", CITY} & {*ids}
    assert "image" not in next(row for row in rows if row["item"]["value"].endswith("Q90115"))


# The city.


def test_the_cities_are_the_same_each_time() -> None:
    first, second = small_city(), small_city()
    assert first == second
    assert len(first.files) == 40
    assert first.files[3].bytes_at(960) == second.files[3].bytes_at(960)


def test_the_city_has_what_an_import_must_tell_apart() -> None:
    city = drawn_city()
    assert (len(city.landmarks), len(city.files)) == (25, 900)
    assert len({file.title for file in city.files}) == len({f.pageid for f in city.files}) == 900
    places = [city.items[one].values("P625")[0] for one in city.landmarks]
    apart = min(metres(a, b) for i, a in enumerate(places) for b in places[:i])
    assert apart > 250
    names = {city.items[one].values("P373")[0] for one in city.landmarks}
    wrong = [f for f in city.files if "wrong" in f.drawing.key and {*f.categories} & names]
    assert 10 < len(wrong) < 60
    assert sum(len(f.depicts) == 2 for f in city.files) > 5
    assert sum(f.drawing.cropped for f in city.files) > 10
    series = [f for f in city.files if "series" in f.title]
    assert len(series) > 20
    assert {f.uploader for f in series} == {"Rooftop99"}
    far = [f for f in city.files if f.drawing.key.startswith("far")]
    assert all({*f.depicts} or {*f.categories} & names or "View of" in f.title for f in far)
    links = [len(city.items[one].sitelinks) for one in city.landmarks]
    assert links == sorted(links, reverse=True)
