"""Records of landmarks are filled from a stand-in for Wikidata, in one change of the gallery."""

from __future__ import annotations

import copy
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import whichlandmark as wl
from tests.cli.test_commands import json_of, run
from tests.support.fake_city import small_city
from tests.support.fake_wikimedia import FakeWikimedia
from tests.support.fake_world import Claim, FakeItem, World
from tests.support.galleries import postgres_address, row
from whichlandmark.collect.enrich import EnrichOptions, filled
from whichlandmark.collect.enrich_tables import read_confirmed, read_table
from whichlandmark.collect.http_client import PoliteClient, Sites
from whichlandmark.core.errors import DataError, NetworkError, OptionError
from whichlandmark.gallery.address import Link, gallery_in, write_link
from whichlandmark.gallery.records import LandmarkRecord, read_landmarks
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.folder.maintain import copy_to


class Clock:
    """Time that passes only by waiting."""

    time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class Place:
    """A gallery of four landmarks, and the stand-in."""

    folder: Path
    server: FakeWikimedia

    @property
    def world(self) -> World:
        return self.server.world

    def label(self, item: str, language: str = "en") -> str:
        return self.world.items[item].labels[language]

    def client(self, **more: Any) -> PoliteClient:
        sites = Sites.at(self.server.base)
        return PoliteClient("me@example.org", sites=sites, clock=self.server.clock, **more)

    def enrich(self, **options: Any) -> Any:
        with self.client() as client:
            return wl.enrich(self.folder, client, EnrichOptions(**options))

    def records(self) -> dict[str, LandmarkRecord]:
        with gallery_in(self.folder) as gallery:
            return gallery.landmarks()

    def generation(self) -> int:
        with gallery_in(self.folder) as gallery:
            return gallery.generation

    def command(self, *more: Any) -> list[Any]:
        given = ("gallery", "enrich", self.folder, "--contact", "me@example.org")
        return [*given, "--api", self.server.base, *more]


@pytest.fixture(scope="module")
def server() -> Iterator[FakeWikimedia]:
    with FakeWikimedia(small_city(), clock=Clock(), per_minute=100_000) as made:
        made.world.items["Q90102"].labels["en"] = 'Say "A" | b/c'  # safe in every table
        made.world.items["Q90104"].descriptions["en"] = "=1+1"
        yield made


@pytest.fixture
def place(server: FakeWikimedia, tmp_path: Path) -> Place:
    """`tower` has an id, `palace` a category in a table, `by_name` a title, `?` only a label."""
    server.forget()
    server.faults.clear()
    folder = tmp_path / "r.wl"
    with SqliteGallery.create(folder / "gallery.sqlite", "histogram-1", 4) as gallery:
        labels = ["tower", "palace", "by_name", "no such thing", ""]
        gallery.put([row(f"p{i}", name, float(i + 1)) for i, name in enumerate(labels)])
        known = LandmarkRecord("tower", wikidata="Q90101", names={"en": "By hand"})
        title = server.world.items["Q90104"].labels["en"]
        near = LandmarkRecord("by_name", title=title, latitude=44.5, longitude=-20.25)
        gallery.describe([known, near])
    return Place(folder, server)


@pytest.fixture
def table(place: Place) -> Path:
    """As `import gldv2` writes it, with landmarks that the gallery lacks."""
    path = place.folder.parent / "landmarks.csv"
    category = place.world.items["Q90102"].values("P373")[0].replace(" ", "_")
    path.write_text(
        "landmark,name,category\n"
        f"palace,Palace,http://commons.wikimedia.org/wiki/Category:{category}\n"
        "elsewhere,Elsewhere,http://commons.wikimedia.org/wiki/Category:Elsewhere\n"
    )
    return path


def test_a_landmark_with_an_id_gets_names_place_articles_and_source(place: Place) -> None:
    before = place.generation()
    done = place.enrich(languages=("fr", "en"))
    record = place.records()["tower"]
    label = place.label("Q90101", "fr")
    assert record.title == label
    assert record.names == {"en": "By hand", "fr": label}  # what is there stays
    assert (record.latitude, record.longitude) == place.world.items["Q90101"].values("P625")[0]
    assert record.wikipedia == {"fr": label, "en": place.label("Q90101")}
    assert record.source == "https://www.wikidata.org/wiki/Q90101"
    assert (record.city, record.country, record.country_code) == (
        "Velmore", "République atlantique", "XA"
    )  # fmt: skip
    fields = ["title", "source", "place", "city", "country", "country_code", "name:fr",
              "wikipedia:fr", "wikipedia:en"]  # fmt: skip
    assert done.changed == {"tower": fields}
    assert place.generation() == before + 1 == done.counts["generation"]
    assert done.counts["changed"] == 1
    assert done.counts["with only a name"] == 3
    assert done.notes == ["3 landmarks have neither a Wikidata id nor a category: -o "
                          "suggestions.csv searches for them by their names"]  # fmt: skip


def test_a_second_run_changes_nothing(place: Place) -> None:
    place.enrich()
    before = place.generation()
    done = place.enrich()
    assert not done.changed
    assert done.counts["complete already"] == 1
    assert place.generation() == before


def test_a_contact_in_place_of_a_client(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHICHLANDMARK_COMMONS_URL", place.server.base)
    done = wl.enrich(str(place.folder), "me@example.org")
    assert set(done.changed) == {"tower"}
    assert (place.folder / "commons.sqlite").exists()
    with pytest.raises(DataError):
        wl.enrich(place.folder.with_name("none.wl"), "me@example.org")
    with pytest.raises(OptionError):
        wl.enrich(place.folder, "nobody")


def test_replace_overwrites_and_keeps_other_languages(place: Place) -> None:
    with gallery_in(place.folder) as gallery:
        gallery.describe([LandmarkRecord("tower", "Mine", {"en": "By hand", "eo": "Turo"},
                                         "Q90101", 1, 2, "https://a.example")])  # fmt: skip
    place.enrich()
    assert place.records()["tower"].title == "Mine"
    assert place.records()["tower"].latitude == 1
    place.enrich(replace=True)
    record = place.records()["tower"]
    assert record.title == place.label("Q90101")
    assert record.names == {"en": place.label("Q90101"), "eo": "Turo"}
    assert record.latitude == place.world.items["Q90101"].values("P625")[0][0]
    assert record.source == "https://www.wikidata.org/wiki/Q90101"


def test_city_and_country_that_a_person_wrote_stay(place: Place) -> None:
    def enriched(**words: str) -> tuple[str, str, str]:
        with gallery_in(place.folder) as gallery:
            gallery.describe([LandmarkRecord("tower", "Mine", wikidata="Q90101", **words)])  # type: ignore[arg-type]
        place.enrich()
        record = place.records()["tower"]
        return record.city, record.country, record.country_code

    assert enriched() == ("Velmora", "Atlantic Republic", "XA")
    assert enriched(city="My Town") == ("My Town", "Atlantic Republic", "XA")
    assert enriched(country_code="XA") == ("Velmora", "Atlantic Republic", "XA")
    same = {"country": "The Republic", "country_code": "XA"}
    assert enriched(**same) == ("Velmora", "The Republic", "XA")
    # What is in another country for its owner gets no part of what is here.
    assert enriched(country="Italy") == ("", "Italy", "")
    assert enriched(country_code="IT") == ("", "", "IT")
    place.enrich(replace=True)
    record = place.records()["tower"]
    assert (record.city, record.country_code) == ("Velmora", "XA")
    assert record.country == "Atlantic Republic"


def test_city_and_country_take_one_request_where_they_lack(place: Place, table: Path) -> None:
    dry = place.enrich(table=table, dry_run=True)
    assert {"city", "country", "country_code"} <= {*dry.changed["palace"]}
    assert place.server.counts["sparql"] == 1
    place.server.forget()
    place.enrich(table=table)
    assert place.server.counts["sparql"] == 1
    place.server.forget()
    place.enrich(table=table)
    assert place.server.counts["sparql"] == 0  # nothing lacks
    place.enrich(table=table, replace=True)
    assert place.server.counts["sparql"] == 1


@pytest.mark.usefixtures("quick")
def test_without_the_query_service_the_rest_is_filled(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    place.server.fault("banned", on="sparql", times=0)
    shown = run(capfd, *place.command())
    assert shown[0] == 0
    assert "no cities and countries were found: " in shown[2]
    record = place.records()["tower"]
    assert (record.title, record.city) == (place.label("Q90101"), "")
    place.server.faults.clear()
    again = json_of(capfd, *place.command())
    assert again["changes"] == {"tower": ["city", "country", "country_code"]}
    assert again["warnings"] == [place.enrich().notes[0]]


def test_an_item_in_several_cities_is_told_by_the_name_of_the_landmark(place: Place) -> None:
    world = copy.deepcopy(place.world)
    build = {"Q95001": "Overthere", "Q95002": "Beyond"}
    for item, name in build.items():
        world.items[item] = FakeItem(item, {"en": name}, claims=[Claim("P31", "Q515")])
        world.items["Q90101"].claims.append(Claim("P131", item, "preferred"))
    with FakeWikimedia(world, clock=Clock(), per_minute=100_000) as server:
        done = Place(place.folder, server).enrich()
    record = place.records()["tower"]
    assert (record.city, record.country) == ("", "Atlantic Republic")
    assert done.notes[0] == (
        "tower: Q90101 is in several cities (Overthere, Beyond); none is written"
    )


def test_a_category_of_a_table_leads_to_the_item(place: Place, table: Path) -> None:
    done = place.enrich(table=table)
    record = place.records()["palace"]
    assert (record.wikidata, record.title) == ("Q90102", 'Say "A" | b/c')
    assert done.counts["with a Commons category"] == 1
    assert set(done.changed) == {"tower", "palace"}
    again = place.enrich(table=table)  # it has an id now
    assert again.counts["with a Wikidata id"] == 2
    assert not again.changed


def test_a_table_of_another_gallery_is_told(place: Place, table: Path) -> None:
    table.write_text("landmark,category\nPalace,Palace\n")
    note = f"{table}: none of its 1 landmarks is in the gallery; expected the labels of its photos"
    assert note in place.enrich(table=table).notes


def test_a_label_that_is_an_id_needs_no_table(place: Place) -> None:
    with gallery_in(place.folder) as gallery:
        gallery.put([row("p9", "Q90103", 9.0)])
    place.enrich()
    assert place.records()["Q90103"].title == place.label("Q90103")


def test_names_are_suggested_and_taken_when_confirmed(place: Place) -> None:
    out = place.folder.parent / "suggestions.csv"
    (out.parent / ".suggestions.csv.a1b2c3d4").touch()  # by a killed run
    done = place.enrich(suggestions=out)
    assert set(place.records()) == {"tower", "by_name"}  # nothing is taken
    assert place.records()["by_name"].wikidata == ""
    header, *rows = csv.reader(out.read_text().splitlines())
    assert header == ["landmark", "title", "wikidata", "label", "description", "distance_km",
                      "confirmed"]  # fmt: skip
    label = place.label("Q90104")
    (found,) = [one for one in rows if one[2] == "Q90104"]
    assert found[:5] == ["by_name", label, "Q90104", label, "'=1+1"]
    assert 0 < float(found[5]) < 1
    assert found[6] == ""
    assert [path.name for path in out.parent.glob("*sugg*")] == [out.name]
    assert done.counts["suggestions"] == len(rows)
    assert "nothing is found by the name of 2 landmarks: no such thing, palace" in done.notes
    rows[rows.index(found)][6] = " Yes "
    with out.open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows([header, *rows])  # as a spreadsheet writes it
    done = place.enrich(confirmed=out)
    assert place.records()["by_name"].wikidata == "Q90104"
    assert place.records()["by_name"].latitude == 44.5  # as it was
    assert "by_name" in done.changed


def test_a_confirmed_item_far_away_is_told(place: Place) -> None:
    with gallery_in(place.folder) as gallery:
        gallery.describe([LandmarkRecord("tower", wikidata="Q90101", latitude=45, longitude=9)])
    done = place.enrich()
    assert any("tower: Q90101 is 2,2" in note and "right item?" in note for note in done.notes)
    assert place.records()["tower"].latitude == 45


def test_a_merged_item_is_told_and_kept(place: Place) -> None:
    with gallery_in(place.folder) as gallery:
        gallery.describe([LandmarkRecord("tower", wikidata="Q90090")])
    done = place.enrich()
    note = "tower: Q90090 was merged into Q90101 on Wikidata, which is used"
    assert note in done.notes
    assert place.records()["tower"].wikidata == "Q90090"
    assert place.records()["tower"].title == place.label("Q90101")
    place.enrich(replace=True)
    assert place.records()["tower"].wikidata == "Q90101"


def test_ids_and_categories_without_an_item_are_left_out(place: Place, table: Path) -> None:
    table.write_text("landmark,category\npalace,Streets in Velmora\nby_name,a|b\n")
    with gallery_in(place.folder) as gallery:
        gallery.describe([LandmarkRecord("tower", wikidata="Q77777777")])
    done = place.enrich(table=table)
    assert done.left_out == {
        "tower": "Q77777777: no such item on Wikidata",
        "palace": "Streets in Velmora: no item of Wikidata has this category",
        "by_name": "a|b: no name of a category; expected such as Eiffel Tower",
    }
    assert not done.changed


def test_two_landmarks_of_one_item_are_told(place: Place) -> None:
    with gallery_in(place.folder) as gallery:
        gallery.describe([LandmarkRecord("palace", wikidata="Q90101")])
    assert "Q90101 is the item of several landmarks: palace, tower" in place.enrich().notes


def test_a_dry_run_changes_nothing(place: Place, table: Path) -> None:
    before, out = place.generation(), place.folder.parent / "s.csv"
    done = place.enrich(table=table, suggestions=out, dry_run=True)
    assert set(done.changed) == {"tower", "palace"}
    assert done.counts["would change"] == 2
    assert place.generation() == before
    assert not out.exists()


def test_what_was_edited_during_the_run_stays(place: Place, monkeypatch: Any) -> None:
    from whichlandmark.collect import enrich as module
    from whichlandmark.collect import wikidata

    def edited(*given: Any) -> Any:
        with gallery_in(place.folder) as gallery:
            gallery.describe([LandmarkRecord("tower", "Edited now", wikidata="Q90101")])
            gallery.remove(["p2"])
        return landmarks_of(*given)

    landmarks_of = wikidata.landmarks_of
    monkeypatch.setattr(module, "landmarks_of", edited)
    place.enrich()
    assert place.records()["tower"].title == "Edited now"
    assert place.records()["tower"].latitude is not None


def test_a_lost_connection_changes_nothing_and_the_next_run_goes_on(
    place: Place, table: Path
) -> None:
    cache = place.folder / "commons.sqlite"
    before = place.generation()
    fault = place.server.fault("banned", on="commons", times=0)
    with place.client(cache=cache) as client, pytest.raises(NetworkError):
        wl.enrich(place.folder, client, EnrichOptions(table=table))
    assert place.generation() == before
    place.server.faults.remove(fault)
    place.server.forget()
    with place.client(cache=cache) as client:
        wl.enrich(place.folder, client, EnrichOptions(table=table))
        assert client.counts["cached"] == 1  # the items of the ids
    assert set(place.records()) == {"tower", "by_name", "palace"}
    place.server.forget()
    with place.client(cache=cache) as client:
        wl.enrich(place.folder, client, EnrichOptions(table=table))
    assert not place.server.requests[1:]  # palace has an id now, so another request of both


def test_a_gallery_on_postgresql(place: Place, table: Path) -> None:
    linked = place.folder.parent / "linked.wl"
    address = postgres_address()
    copy_to(str(place.folder), address)
    linked.mkdir()
    write_link(linked, Link(address=address, search="there"))
    there = Place(linked, place.server)
    before = there.generation()
    done = there.enrich(table=table, languages=("en", "ru"))
    assert set(done.changed) == {"tower", "palace"}
    assert there.generation() == before + 1
    assert there.records()["palace"].names["ru"] == place.label("Q90102", "ru")
    assert "palace" not in place.records()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command waits by the real clock; the rate of requests has its own tests."""
    monkeypatch.setattr("whichlandmark.collect.http_client.API_SECONDS", 0.001)


@pytest.mark.usefixtures("quick")
def test_the_command(place: Place, table: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = place.folder.parent / "suggestions.csv"
    dry = json_of(capfd, *place.command("--table", table, "--dry-run"))
    assert dry["would change"] == 2
    assert not out.exists()
    shown = run(capfd, *place.command("--table", table, "--languages", "en, fr", "-o", out))
    assert shown[0] == 0
    assert "changed                          2" in shown[1]
    where = "place, city, country, country_code"
    assert f"  palace: title, wikidata, source, {where}, name:en" in shown[1]
    assert f"then give --confirmed {out}" in shown[2]
    assert (place.folder / "commons.sqlite").exists()
    again = json_of(capfd, *place.command("--table", table))
    assert (again["changed"], again["changes"], again["left_out"]) == (0, {}, {})
    with gallery_in(place.folder) as gallery:
        gallery.describe([LandmarkRecord("palace", wikidata="Q77777777")])
    left = json_of(capfd, *place.command("--cache", out.with_name("c.sqlite")), code=3)
    assert left["left_out"] == {"palace": "Q77777777: no such item on Wikidata"}


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [(["--languages", "e n"], 2, "languages e n given"), (["--languages", ","], 2, "(none)"),
     (["--table", "no.csv"], 4, "no.csv"), (["--out", "landmarks.csv"], 2, "another name"),
     (["--contact", "me"], 2, "contact")],
)  # fmt: skip
def test_wrong_input_asks_nothing(
    place: Place, table: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    more: list[str], code: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(table.parent)
    got, _, err = run(capfd, *place.command("--table", "landmarks.csv", *more))
    assert got == code
    assert message in err
    assert not place.server.requests


def test_no_recognizer_is_made(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    place.folder = place.folder.with_name("none.wl")
    assert run(capfd, *place.command())[0] == 4
    assert not place.folder.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [("landmark\na\n", "expected landmark, and category or wikidata"), ("", "(none) given"),
     ("landmark,wikidata\na,Eiffel\n", "line 2: Wikidata id 'Eiffel'"),
     ("landmark,wikidata\na,Q1\na,Q2\n", "line 3: landmark 'a' again")],
)  # fmt: skip
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / "t.csv")
    assert message in str(caught.value)


def test_addresses_and_names_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "landmark,wikidata,category\na,https://www.wikidata.org/wiki/Q1,\n"
        "b,http://www.wikidata.org/entity/Q2,Category:B\n"
        "c,,//commons.wikimedia.org/wiki/Category:Caf%C3%A9_a/b\n"
    )
    assert read_table(tmp_path / "t.csv") == {
        "a": ("Q1", ""), "b": ("Q2", "Category:B"), "c": ("", "Category:Café_a/b")
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "message"),
    [("a,Q1,maybe", "'maybe' in the column confirmed"), ("a,1,yes", "Wikidata id '1'"),
     ("a,Q1,yes\na,Q2,x", "line 3: 'a' is confirmed as Q1 and as Q2")],
)  # fmt: skip
def test_confirmations_that_cannot_be_used(tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(f"landmark,wikidata,confirmed\n{rows}\n")
    with pytest.raises(DataError) as caught:
        read_confirmed(tmp_path / "t.csv")
    assert message in str(caught.value)
    (tmp_path / "u.csv").write_text("landmark,wikidata\na,Q1\n")
    with pytest.raises(DataError, match="wikidata and confirmed"):
        read_confirmed(tmp_path / "u.csv")


def test_confirmations_of_other_landmarks_and_ids(place: Place) -> None:
    path = place.folder.parent / "c.csv"
    path.write_text("landmark,wikidata,confirmed\nnowhere,Q90103,yes\ntower,Q90103,yes\n"
                    "palace,Q90104,no\npalace,Q90102,oui\n")  # fmt: skip
    done = place.enrich(confirmed=path)
    assert done.left_out == {"nowhere": "is confirmed, and the gallery has no photo of it"}
    note = "tower: the gallery says Q90101 and keeps it, not the confirmed Q90103; --replace takes"
    assert any(one.startswith(note) for one in done.notes)
    assert place.records()["palace"].wikidata == "Q90102"
    place.enrich(confirmed=path, replace=True)
    assert place.records()["tower"].wikidata == "Q90103"


def test_languages_differ_in_case_only() -> None:
    old = LandmarkRecord("a", names={"zh-Hant": "A"})
    new = LandmarkRecord("a", names={"zh-hant": "B", "fr": "C"}, wikipedia={"fr": "C"})
    assert filled(old, new, replace_all=False).names == {"zh-Hant": "A", "fr": "C"}
    assert filled(old, new, replace_all=True).names == {"zh-Hant": "B", "fr": "C"}


def test_articles_in_records_tables_and_the_command(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = LandmarkRecord("tower", "Tower", source="https://a.example")
    assert "wikipedia" not in plain.to_text()  # so checksums of before stay
    articles = {"fr": "Tour | a/b", "zh-min-nan": 'Say "A"'}
    record = LandmarkRecord("tower", "Tower", wikipedia=articles)
    assert LandmarkRecord.of_text("tower", record.to_text()) == record
    assert json.loads(record.to_text())["wikipedia"] == articles
    assert record.changed({"wikipedia": {"fr": None}}).wikipedia == {"zh-min-nan": 'Say "A"'}
    assert record.changed({"wikipedia": None}).wikipedia == {}
    for wrong in ({"x y": "A"}, {"fr": "A" * 1001}, {"fr": "\0"}):
        with pytest.raises(DataError):
            LandmarkRecord("tower", wikipedia=wrong)
    describe = ("gallery", "describe", place.folder, "tower")
    shown = json_of(capfd, *describe, "--wikipedia", "fr=Tour | a/b", "--wikipedia", "de=Turm")
    assert shown["wikipedia"] == {"fr": "Tour | a/b", "de": "Turm"}
    shown = json_of(capfd, *describe, "--clear", "wikipedia:de", "--name", "fr=Tour")
    assert shown["wikipedia"] == {"fr": "Tour | a/b"}
    assert shown["names"] == {"en": "By hand", "fr": "Tour"}
    out = place.folder.parent / "out.csv"
    assert run(capfd, "gallery", "list", place.folder, "--records", out)[0] == 0
    assert "wikipedia:fr" in out.read_text().splitlines()[0]
    assert {one.name: one for one in read_landmarks(out)}["tower"].wikipedia == shown["wikipedia"]
    cleared = json_of(capfd, *describe, "--clear", "wikipedia")
    assert cleared["wikipedia"] == {}
    code, _, err = run(capfd, *describe, "--wikipedia", "fr")
    assert code == 2
    assert "--wikipedia fr given; expected LANGUAGE=TITLE" in err
    assert run(capfd, *describe, "--clear", "name:")[0] == 2
