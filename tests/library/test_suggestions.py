"""Names for groups: the gallery's guess, places nearby, folder and file names, and none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from whichlandmark.core.photo_files import LatLon
from whichlandmark.gallery.records import LandmarkRecord
from whichlandmark.library.suggestions import (
    GroupFacts,
    Suggester,
    folders_of,
    median_place,
    name_in,
)
from whichlandmark.recognition.folder.discoveries import LandmarkSuggestion

TOWER = LandmarkRecord("Q243", "Eiffel Tower", wikidata="Q243", latitude=48.8583, longitude=2.2945,
                       city="Paris", country="France", country_code="FR")  # fmt: skip
ABBEY = LandmarkRecord("abbey", wikidata="Q5", latitude=48.8600, longitude=2.2960)
NOWHERE = LandmarkRecord("old_mill")

FILES = [f"/photos/Camera/IMG_{at}.jpg" for at in range(4)]


def facts(
    files: list[str] | None = None, places: list[LatLon | None] | None = None,
    guesses: list[tuple[str, float] | None] | None = None,
) -> GroupFacts:  # fmt: skip
    files = files or FILES
    return GroupFacts(files, places or [None] * len(files), guesses or [None] * len(files))


def suggester(**given: object) -> Suggester:
    return Suggester("/photos", **{"known": {}, **given})  # type: ignore[arg-type]


def test_what_the_gallery_guesses_for_half_of_the_photos_comes_first() -> None:
    suggest = suggester(known={"Q243": TOWER, "old_mill": NOWHERE}, tables=[ABBEY])
    guesses = [("Q243", 0.6), ("Q243", 0.5), ("Q243", 0.8), None]
    found = suggest(facts(guesses=guesses, places=[(48.859, 2.296), None, None, None]))
    assert found is not None
    assert (found.title, found.landmark, found.wikidata) == ("Eiffel Tower", "Q243", "Q243")
    assert "guessed it for 3 of 4 photos" in found.why
    assert found.record("Q243") == TOWER
    unsure = [("Q243", 0.6), ("Q243", 0.6), ("Q243", 0.4), None]
    assert suggest(facts(guesses=unsure)) is None
    assert suggest(replace(facts(guesses=guesses), like_gallery=False)) is None  # a look-alike
    far = suggest(facts(guesses=guesses, places=[(45.76, 4.83)] * 4))
    assert far is None  # of photos taken in another city
    untitled = suggest(facts(guesses=[("old_mill", 0.5)] * 4))
    assert untitled is not None
    assert (untitled.title, untitled.landmark) == ("old mill", "old_mill")


def test_the_nearest_place_within_300_m_of_the_photos_is_suggested() -> None:
    suggest = suggester(known={"Q243": TOWER}, tables=[ABBEY, NOWHERE], table_name="places.csv")
    found = suggest(facts(places=[(48.8600, 2.2960), (48.8601, 2.2961), None, (60.0, 2.0)]))
    assert found is not None
    assert (found.landmark, found.why) == ("abbey", "11 m from the photos, by places.csv")
    by_gallery = suggest(facts(places=[(48.8583, 2.2945)] * 4))
    assert by_gallery is not None
    assert by_gallery.why == "0 m from the photos, by the gallery"
    assert suggest(facts(places=[(48.8700, 2.3100)] * 4)) is None


def test_others_are_asked_only_where_the_photos_say_where() -> None:
    asked: list[LatLon] = []

    def nearby(place: LatLon) -> LandmarkSuggestion | None:
        asked.append(place)
        return LandmarkSuggestion("Somewhere", "by Wikidata", wikidata="Q9")

    suggest = suggester(known={"Q243": TOWER}, nearby=nearby)
    assert suggest(facts()) is None
    assert suggest(facts(places=[(48.8583, 2.2945)] * 4)) is not None  # the gallery knows it
    assert asked == []
    found = suggest(facts(places=[(10.0, 20.0)] * 4))
    assert found is not None
    assert (found.title, asked) == ("Somewhere", [(10.0, 20.0)])


def test_a_folder_or_file_name_that_most_photos_share_is_a_hint() -> None:
    files = [f"/photos/2019/Carcassonne 2019-07/IMG_{at}.jpg" for at in range(3)]
    elsewhere = [f"/photos/Camera/IMG_{at}.jpg" for at in range(20)]
    suggest = suggester(folders=folders_of([*files, *elsewhere], "/photos"))
    found = suggest(facts([*files, elsewhere[0]]))
    assert found is not None
    assert found.title == "Carcassonne"
    assert found.why == "3 of 4 photos are in the folder 'Carcassonne 2019-07'"
    assert suggest(facts([*files[:1], *elsewhere[:3]])) is None
    # A folder that most photos of the library are in says nothing.
    many = [f"/photos/Our trips/IMG_{at}.jpg" for at in range(30)]
    assert suggester(folders=folders_of(many, "/photos"))(facts(many[:4])) is None
    named = [f"/photos/{at}/Mont-Saint-Michel_{at:03}.jpg" for at in range(4)]
    by_file = suggester()(facts(named))
    assert by_file is not None
    assert (by_file.title, by_file.why) == ("Mont-Saint-Michel", "4 of 4 files are called so")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("IMG_1234", ""), ("DSC00012", ""), ("PXL_20230102_123456789", ""), ("2019-07-14", ""),
        ("Camera", ""), ("WhatsApp Image 2020-01-01 at 10.00.00", ""), ("a", ""),
        ("Château de Chambord 2018", "Château de Chambord"), ("2021_trip_Split", "Split"),
        ("東京タワー 2020", "東京タワー"), ("St. Paul's", "St. Paul's"),
        ("caf\udce9 Paris", "caf Paris"),
    ],
)  # fmt: skip
def test_dates_and_names_of_cameras_are_no_names(text: str, name: str) -> None:
    assert name_in(text).replace("E9", "").replace("  ", " ") == name


def test_the_median_place_does_not_follow_one_wrong_photo() -> None:
    assert median_place([None, None]) is None
    assert median_place([(1.0, 2.0), (1.2, 2.2), (50.0, 80.0)]) == pytest.approx((1.2, 2.2))
    latitude, longitude = median_place([(0.0, 179.9), (0.0, -179.9), (0.0, 179.8)]) or (0.0, 0.0)
    assert (latitude, longitude) == pytest.approx((0.0, 179.9))
