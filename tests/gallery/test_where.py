"""City, country and country code of a landmark's record."""

from __future__ import annotations

import json

import pytest

from whichlandmark.core.errors import DataError
from whichlandmark.gallery.records import LandmarkRecord

TOWER = LandmarkRecord("tower", "Tower", city="Paris", country="France", country_code="FR")


def test_a_record_of_before_keeps_its_text_and_its_checksum() -> None:
    text = '{"latitude": null, "longitude": null, "names": {}, "title": "Tower", "wikidata": ""}'
    old = LandmarkRecord.of_text("tower", text)
    assert (old.city, old.country, old.country_code) == ("", "", "")
    assert old.to_text() == text


def test_a_record_says_where_it_is() -> None:
    assert LandmarkRecord.of_text("tower", TOWER.to_text()) == TOWER
    assert json.loads(TOWER.to_text())["country_code"] == "FR"
    alone = LandmarkRecord("tower", country_code="XK")  # a part of it may be all that is known
    assert LandmarkRecord.of_text("tower", alone.to_text()) == alone


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("country_code", "fr", "country code 'fr'; expected two capital letters, such as FR"),
        ("country_code", "FRA", "country code 'FRA'"), ("country_code", " ", "country code ' '"),
        ("country_code", "É1", "country code 'É1'"), ("country_code", "FR\n", "country code"),
        ("city", "a\0", "a city 'a\\x00' holds a zero byte"),
        ("city", "\ud800", "is not valid Unicode"), ("country", "a" * 1001, "at most 1000"),
    ],
)  # fmt: skip
def test_words_that_no_record_may_have_are_told(field: str, text: str, message: str) -> None:
    with pytest.raises(DataError) as error:
        LandmarkRecord("tower", **{field: text})  # type: ignore[arg-type]
    assert message in str(error.value)


def test_another_country_takes_the_code_of_the_old_one_away() -> None:
    assert TOWER.changed({"country": "Italy"}).country_code == ""
    assert TOWER.changed({"country": None}).country_code == ""
    assert TOWER.changed({"country": "France", "city": "Lyon"}).country_code == "FR"
    assert TOWER.changed({"country": "Italy", "country_code": "IT"}).country_code == "IT"
    coded = LandmarkRecord("tower", country_code="FR")
    assert coded.changed({"country": "France"}).country_code == "FR"
    cleared = TOWER.changed({"city": "", "country_code": None})
    assert (cleared.city, cleared.country, cleared.country_code) == ("", "France", "")
