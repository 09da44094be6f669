"""Questions to Commons: continuation, odd answers, what is read of a file and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.fake_commons import CommonsApi
from tests.support.fake_params import ApiError as Fault
from tests.support.fake_wikidata import file_entities
from tests.support.fake_world import Drawing, FakeCategory, FakeFile, World
from whichlandmark.collect.distractors import Asked, circles_of, meters, spots_in
from whichlandmark.collect.http_client import ApiError, RefusedError, Sites
from whichlandmark.collect.wikidata_items import Landmark
from whichlandmark.collect.wikimedia import (
    Commons,
    is_at,
    photo_of,
    plain_text,
    without_utm,
)
from whichlandmark.gallery.records import LandmarkRecord

BASE = "http://127.0.0.1:9"
MEDIA = ("https://upload.wikimedia.org", "https://thumb.wikimedia.org")
JSON = dict[str, Any]


class Scripted:
    """A client that gives answers in turn, and keeps what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.sites, self.answers, self.asked = Sites.wikimedia(), [*answers], list[JSON]()

    def get_json(self, url: str, params: Mapping[str, str], *, what: str) -> Any:
        self.asked.append(dict(params))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Direct:
    """A client whose requests go to the fake Commons without a server."""

    def __init__(self, world: World, **how: Any) -> None:
        self.sites, self.api, self.how, self.asked = Sites.at(BASE), CommonsApi(world, BASE), how, 0

    def get_json(self, url: str, params: Mapping[str, str], *, what: str) -> Any:
        self.asked += 1
        assert (params["format"], params["formatversion"]) == ("json", "2")
        how = dict(self.how)
        if "gcmcontinue" in params:
            how.pop("empty", None)
        try:
            if params["action"] == "wbgetentities":
                return file_entities(self.api.world, params)
            return self.api.query(params, **how)
        except Fault as fault:
            error = fault.error
            raise ApiError(
                str(error["info"]), code=error["code"], id=str(error.get("id", ""))
            ) from None


def file_of(number: int, **more: Any) -> FakeFile:
    about = {"License": "cc-by-4.0", "LicenseShortName": "CC BY 4.0", "Artist": "A",
             "LicenseUrl": "https://creativecommons.org/licenses/by/4.0"}  # fmt: skip
    values: JSON = {"about": about, "uploader": f"user {number % 7}"}
    title = more.pop("title", f"File:Tower {number:04d}.jpg")
    return FakeFile(number, title, Drawing(1, 0, str(number), 16), 2000, 1500,
                    sha1_said=f"{number:040x}", **(values | more))  # fmt: skip


def world_of(files: list[FakeFile], *categories: FakeCategory) -> World:
    world = World()
    world.files.extend(files)
    world.categories |= {one.name: one for one in categories}
    return world


@pytest.mark.parametrize("how", [{}, {"thumbs": 7}, {"thumbs": 1}, {"empty": True}])
def test_a_category_is_read_whole_however_its_answers_are_cut(how: JSON) -> None:
    files = [file_of(n, categories=("Tower",)) for n in range(1, 121)]
    client = Direct(world_of(files, FakeCategory(900, "Tower")), **how)
    found = list(Commons(client).members("Tower"))
    assert sorted(photo.pageid for photo in found) == list(range(1, 121))
    assert {photo.refused for photo in found} == {""}  # each has its imageinfo
    assert client.asked >= 3


def test_pages_come_only_when_their_batch_is_complete() -> None:
    page = {"pageid": 5, "ns": 6, "title": "File:A.jpg"}
    more = {"iicontinue": "A.jpg|2020", "gcmcontinue": "file|00|5", "continue": "gcmcontinue||"}
    info = {"imageinfo": [{"mime": "image/jpeg"}], "coordinates": [{"lat": 1.5, "lon": 2.5}]}
    client = Scripted(
        {"continue": {"gcmcontinue": "file|00|5", "continue": "gcmcontinue||"},
         "batchcomplete": True},  # an empty first page
        {"continue": more, "query": {"pages": [page]}},
        {"batchcomplete": True, "query": {"pages": [page | info]}},
    )  # fmt: skip
    (photo,) = Commons(client).members("A")
    assert (photo.mime, photo.latitude) == ("image/jpeg", 1.5)
    assert client.asked[1].items() >= {"gcmcontinue": "file|00|5"}.items()
    assert client.asked[2].items() >= more.items()  # all members of `continue` go back


def test_the_old_form_of_answers_is_read_too() -> None:
    page = {"pageid": 5, "ns": 6, "title": "File:A.jpg", "imageinfo": [{"mime": "image/png"}]}
    client = Scripted({"batchcomplete": "", "query": {"pages": {"5": page}}})
    assert [photo.mime for photo in Commons(client).members("A")] == ["image/png"]


def test_a_list_in_a_circle_ends() -> None:
    again = {"continue": {"gcmcontinue": "x", "continue": "gcmcontinue||"}, "batchcomplete": True}
    client = Scripted(again, again, again)
    with pytest.raises(RefusedError, match="files of Category:A: the server continues its list"):
        list(Commons(client).members("A"))


def test_a_search_is_in_the_order_of_relevance_and_not_deeper_than_it_may_be() -> None:
    def page(number: int, index: int) -> JSON:
        return {"pageid": number, "title": f"File:{number}.jpg", "index": index}

    client = Scripted(
        {"batchcomplete": True, "query": {"pages": [page(3, 2), page(9, 1)]},
         "continue": {"gsroffset": 9950, "continue": "gsroffset||"}},
        {"batchcomplete": True, "query": {"pages": [page(4, 3)]},
         "continue": {"gsroffset": 10_000, "continue": "gsroffset||"}},
    )  # fmt: skip
    assert [one.pageid for one in Commons(client).depicting("Q243")] == [9, 3, 4]
    assert client.asked[0]["gsrsearch"] == "haswbstatement:P180=Q243 filetype:bitmap"
    assert (client.asked[1]["gsroffset"], len(client.asked)) == ("9950", 2)


def test_answers_of_any_shape_are_read_or_ignored() -> None:
    shapes = [{}, {"query": []}, {"query": {"pages": None}}, {"query": {"pages": ["a", 5, {}]}},
              {"query": {"pages": [{"title": 5}, {"title": "File:A", "imageinfo": {}}]}},
              {"query": {"pages": [{"title": "File:A", "pageid": [1]}, {"title": [1]}]}},
              {"continue": [], "query": {"pages": [{"title": "File:B", "imageinfo": ["x"]}]}},
              {"query": {"pages": [{"pageid": True, "title": "File:C", "imageinfo": [
                  {"width": "9", "extmetadata": [], "mime": 5, "url": 7}], "coordinates": [
                  {"lat": "x"}, {"lat": 95, "lon": 0}, 7]}]}}]  # fmt: skip
    for shape in shapes:
        for photo in Commons(Scripted(shape)).members("A"):
            assert photo.refused == "missing on Commons"


def test_what_files_depict_is_asked_50_at_a_time_and_without_those_that_are_gone() -> None:
    files = [file_of(n, depicts=(f"Q{n}",)) for n in range(1, 61)]
    files += [file_of(61, statements="empty"), file_of(62)]
    client = Direct(world_of(files))
    found = Commons(client).depicted([*range(1, 63), 5])
    assert found == {n: {f"Q{n}"} for n in range(1, 61)}
    assert client.asked == 2
    gone = ApiError("x", code="no-such-entity", id="M7")
    snak = {"mainsnak": {"datavalue": {"value": {"id": "Q8"}}}}
    old = {"mainsnak": {"datavalue": {"value": {"id": "Q9"}}}, "rank": "deprecated"}
    odd = {"mainsnak": {"snaktype": "somevalue"}}
    client = Scripted(gone, {"entities": {
        "M8": {"statements": {"P180": [snak, old, odd]}}, "M9": {"statements": []},
        "M10": {"missing": ""}, "M99": {"statements": {"P180": [snak]}}}})  # fmt: skip
    assert Commons(client).depicted([7, 8, 9, 10]) == {8: {"Q8"}}
    assert client.asked[1]["ids"] == "M8|M9|M10"
    with pytest.raises(ApiError):
        Commons(Scripted(ApiError("x", code="badvalue"))).depicted([7])


INFO: JSON = {
    "user": "Ann", "size": 900_000, "width": 4000, "height": 3000, "mime": "image/jpeg",
    "sha1": "A" * 40, "url": "https://upload.wikimedia.org/a/A.jpg?utm_source=commons",
    "thumburl": "https://thumb.wikimedia.org/a/960px-A.jpg?utm_source=x&utm_campaign=y",
    "thumbwidth": 800, "descriptionurl": "https://commons.wikimedia.org/wiki/File:A.jpg",
    "extmetadata": {name: {"value": value} for name, value in {
        "Artist": '<a href="x">Ann &amp; Bob</a><script>alert(1)</script>',
        "License": "cc-by-sa-3.0", "LicenseShortName": "CC BY-SA 3.0",
        "LicenseUrl": "https://creativecommons.org/licenses/by-sa/3.0",
        "GPSLatitude": "48.5", "GPSLongitude": "2.25"}.items()},
}  # fmt: skip


def read(**changes: Any) -> Any:
    about = {name: {"value": value} for name, value in changes.pop("about", {}).items()}
    page = {"pageid": 7, "title": "File:A.jpg"} | changes.pop("page", {})
    info = {**INFO, "extmetadata": {**INFO["extmetadata"], **about}, **changes}
    return photo_of(page | {"imageinfo": [info]}, MEDIA)


def test_a_file_is_read() -> None:
    photo = read()
    assert photo.url == "https://thumb.wikimedia.org/a/960px-A.jpg"
    assert (photo.author, photo.licence) == ("Ann & Bob", "CC BY-SA 3.0")
    assert photo.licence_url == "https://creativecommons.org/licenses/by-sa/3.0/"
    assert (photo.sha1, photo.original, photo.refused) == ("a" * 40, False, "")
    assert (photo.latitude, photo.longitude) == (48.5, 2.25)
    assert photo.source == "https://commons.wikimedia.org/wiki/File:A.jpg"
    place = [{"lat": 1, "lon": 2, "globe": "earth"}, {"lat": 3, "lon": 4, "primary": True},
             {"lat": 5, "lon": 6, "primary": True, "globe": "moon"}]  # fmt: skip
    assert read(page={"coordinates": place}).latitude == 3
    assert read(about={"Attribution": "Ann Photos, CC BY"}).author == "Ann Photos, CC BY"
    assert read(about={"Artist": "<!-- x -->"}).author == "Ann (uploader)"
    assert read(descriptionurl="javascript:x").source == "https://commons.wikimedia.org/?curid=7"


def test_a_small_original_is_its_own_picture_and_no_address_is_made_up() -> None:
    small = read(width=900, height=700, thumburl=None)
    assert (small.url, small.original) == ("https://upload.wikimedia.org/a/A.jpg", True)
    same = read(width=900, height=700, thumburl=INFO["url"])
    assert (same.url, same.original) == ("https://upload.wikimedia.org/a/A.jpg", True)
    assert read(thumburl=None).refused == "Commons makes no picture of it"
    assert read(thumburl=None).url == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"page": {"missing": True}}, "missing on Commons"),
        ({"page": {"pageid": -1}}, "missing on Commons"),
        ({"filemissing": True}, "missing on Commons"),
        ({"filehidden": True}, "hidden on Commons"),
        ({"mime": "image/svg+xml"}, "no photo (image/svg+xml)"),
        ({"mime": "<b>x</b>"}, "no photo (x)"),
        ({"width": 499}, "too small (a side of less than 500 px)"),
        ({"width": 20_000, "height": 1000}, "a long panorama (less than 240 px high at 960 px)"),
        ({"thumberror": "Error <b>x</b>"}, "Commons makes no picture of it (Error x)"),
        ({"thumburl": "https://evil.example/a.jpg"}, "its picture is at another host"),
        ({"thumburl": "http://thumb.wikimedia.org/a.jpg"}, "its picture is at another host"),
        ({"thumburl": "https://u@thumb.wikimedia.org/a.jpg"}, "its picture is at another host"),
        ({"about": {"NonFree": "true"}}, "marked as not free"),
        ({"about": {"License": "", "LicenseShortName": "", "LicenseUrl": ""}}, "no licence given"),
        ({"about": {"License": "", "LicenseShortName": "CC BY-NC 2.0", "LicenseUrl": ""}},
         "its licence forbids commercial use (NC)"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used_say_why(changes: JSON, reason: str) -> None:
    assert read(**changes).refused == reason


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("Ann &amp; Bob", "Ann & Bob"),
        ("<p>A</p><p>B<br>C</p>", "A B C"),
        ("<b>A</b>nn", "Ann"),
        ('A<span style="Display : none">B</span><i hidden>C</i><!-- D -->', "A"),
        ("<noscript><style>a{}</style></noscript><div style='display:none'><b hidden>x</b></div>Y",
         "Y"),
        ("A\x00\x07\u202eB\n\t C", "A B C"),
        ("<script>alert(1)</script><SCRIPT src=x></SCRIPT >A<style>b</style>", "A"),
        ("<a href='javascript:x'>A", "A"),
        ("&lt;script&gt;", "<script>"),
        ("写真 <a>Наталья</a>", "写真 Наталья"),
    ],
)  # fmt: skip
def test_fields_become_one_line_of_text(html: str, text: str) -> None:
    assert plain_text(html) == text


def test_long_and_deep_fields_are_cut() -> None:
    assert len(plain_text("a" * 10_000)) == 500
    assert plain_text("a" * 600).endswith("…")
    assert plain_text("<b>" * 50_000 + "x") == ""
    assert plain_text("A" + "<b>" * 6_666 + "<i x") == "A"
    assert plain_text("<b>" * 6_000 + "x") == "x"


def test_addresses_lose_what_counts_visitors() -> None:
    assert without_utm("https://a/b.jpg?utm_source=x&UTM_y=1") == "https://a/b.jpg"
    assert without_utm("https://a/b.jpg?v=1&utm_source=x") == "https://a/b.jpg?v=1"
    assert is_at("https://upload.wikimedia.org/a%2Fb.jpg", MEDIA)
    assert not is_at("https://upload.wikimedia.org.evil.example/a", MEDIA)
    assert not is_at("https://upload.wikimedia.org:444/a", MEDIA)
    assert not is_at("https://upload.wikimedia.org:x/a", MEDIA)
    assert not is_at("", MEDIA)


def landmark(**more: Any) -> Landmark:
    names = {"fr": "Vieille Tour", "ja": "東京塔", "ru": "Башня"}
    record = LandmarkRecord("Q1", title="Old Tower", names=names, wikidata="Q1", **more)
    return Landmark("Q1", record, "Old Tower (Velmora)")


def test_a_full_circle_is_cut_into_four_until_all_is_found() -> None:
    """1,400 cameras in 2 km: one search gives the nearest 500."""
    rows = [(44 + (n // 40 - 17) * 0.0008, -20 + (n % 40 - 20) * 0.001) for n in range(1400)]
    files = [file_of(n + 1, camera=place, title=f"File:S{n}.jpg") for n, place in enumerate(rows)]
    client = Direct(world_of(files))
    found = spots_in(Commons(client), [(44.0, -20.0, 2_500.0)], Asked(), 10_000)
    inside = {n + 1 for n, place in enumerate(rows) if meters(44.0, -20.0, *place) <= 2500}
    assert {spot.pageid for spot in found} == inside
    assert len(found) == len(inside) > 1000
    one = Direct(world_of(files))
    assert len(spots_in(Commons(one), [(44.0, -20.0, 2_500.0)], Asked(), 100)) == 500
    assert one.asked == 1  # no more are asked for than are needed


def test_a_circle_larger_than_one_search_is_covered_by_several() -> None:
    rows = [(44 + y * 0.03, -20 + x * 0.04) for y in range(-5, 6) for x in range(-5, 6)]
    files = [file_of(n + 1, camera=place, title=f"File:S{n}.jpg") for n, place in enumerate(rows)]
    client = Direct(world_of(files))
    found = spots_in(Commons(client), [(44.0, -20.0, 15_000.0)], Asked(), 10_000)
    inside = {n + 1 for n, place in enumerate(rows) if meters(44.0, -20.0, *place) <= 15_000}
    assert {spot.pageid for spot in found} == inside
    assert 4 <= client.asked <= 9


def test_circles_lie_around_the_place_or_around_the_landmarks() -> None:
    assert circles_of((1.0, 2.0), 500.0, []) == [(1.0, 2.0, 500.0)]
    here, there = landmark(latitude=44.0, longitude=2.0), landmark(latitude=44.01, longitude=2.0)
    far = landmark(latitude=48.0, longitude=2.0)
    assert circles_of(None, 0, [here, there, landmark(), far]) == [
        (44.0, 2.0, 3000), (48.0, 2.0, 3000)]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "categories", "items", "reason"),
    [
        ({}, set(), set(), ""),
        ({}, {"Streets"}, {"Q2"}, ""),
        ({}, set(), {"Q1", "Q2"}, "depicts a landmark"),
        ({}, {"Old_Tower (Velmora)"}, set(), "in a category of a landmark"),
        ({}, {"Details of the tower"}, set(), "in a category of a landmark"),
        ({}, {"Views of the Old Tower in 2014"}, set(), "named like a landmark"),
        ({"page": {"title": "File:Ma vieille-tour.jpg"}}, set(), set(), "named like a landmark"),
        ({"page": {"title": "File:OLD_TOWER 2.jpg"}}, set(), set(), "named like a landmark"),
        ({"page": {"title": "File:夜の東京塔前にて.jpg"}}, set(), set(), "named like a landmark"),
        ({"page": {"title": "File:Башня ночью.jpg"}}, set(), set(), "named like a landmark"),
        ({"page": {"title": "File:Башнями.jpg"}}, set(), set(), ""),
        ({"page": {"title": "File:Cold towers.jpg"}}, set(), set(), ""),
        ({"about": {"ImageDescription": "<p>The old <b>tower</b></p>"}}, set(), set(),
         "named like a landmark"),
        ({"about": {"GPSLatitude": "44.0017"}}, set(), set(),
         "taken less than 200 m from a landmark"),
        ({"about": {"GPSLatitude": "44.0019"}}, set(), set(), ""),
        ({"about": {"GPSLatitude": ""}}, set(), set(), "its place is not known"),
        ({"page": {"pageid": 70}}, set(), set(), "was found for a landmark"),
        ({"sha1": "b" * 40}, set(), set(), "was found for a landmark"),
    ],
)  # fmt: skip
def test_a_photo_of_a_landmark_is_no_distractor(
    changes: JSON, categories: set[str], items: set[str], reason: str
) -> None:
    asked = Asked.of([landmark(latitude=44.0, longitude=-20.0)])
    asked.add({"Details of the tower"}, [], [70])
    asked.sums.add("b" * 40)
    about = {"GPSLatitude": "44.01", "GPSLongitude": "-20.0"} | changes.get("about", {})
    photo = read(**{**changes, "about": about})
    assert asked.shown_by(photo, categories, items) == reason
