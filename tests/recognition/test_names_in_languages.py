"""Names of landmarks in the reader's language: which name is taken, and where it stands."""

from __future__ import annotations

from typing import cast

import pytest

from whichlandmark.core.types import Prediction
from whichlandmark.gallery.base import Gallery
from whichlandmark.gallery.records import Credit, LandmarkRecord
from whichlandmark.recognition.answer import (
    GalleryFacts,
    answer_object,
    landmark_object,
    shown_name,
    title_in,
)

TOWER = LandmarkRecord(
    "eiffel_tower",
    "Eiffel Tower",
    {"fr": "Tour Eiffel", "zh-Hant": "艾菲爾鐵塔", "zh": "埃菲尔铁塔", "pt-BR": "Torre Eiffel",
     "de": ""},
)  # fmt: skip


@pytest.mark.parametrize(
    ("language", "name"),
    [
        ("fr", "Tour Eiffel"),
        ("FR", "Tour Eiffel"),
        ("fr-CA", "Tour Eiffel"),  # the base language
        ("zh-Hant", "艾菲爾鐵塔"),  # the very tag before the base language
        ("zh-hant-TW", "艾菲爾鐵塔"),
        ("zh-Hans-CN", "埃菲尔铁塔"),
        ("pt", "Torre Eiffel"),  # a variant of the language rather than another language
        ("pt_BR", "Torre Eiffel"),
        ("de", "Eiffel Tower"),  # an empty name is none
        ("ja", "Eiffel Tower"),
        ("f", "Eiffel Tower"),
        ("", "Eiffel Tower"),
    ],
)
def test_name_in_a_language(language: str, name: str) -> None:
    assert title_in(TOWER, language) == name
    assert shown_name("eiffel_tower", {"eiffel_tower": TOWER}, language) == name
    shown = landmark_object("eiffel_tower", {"eiffel_tower": TOWER}, language)
    assert shown["title"] == name
    assert shown["names"] == dict(TOWER.names)


def test_without_any_name_the_label_is_shown_and_the_title_stays_empty() -> None:
    bare = LandmarkRecord("old_town_hall", names={"cs": "Staroměstská radnice"})
    records = {bare.name: bare}
    assert shown_name("old_town_hall", records, "cs-CZ") == "Staroměstská radnice"
    assert shown_name("old_town_hall", records, "en") == "old town hall"
    assert shown_name("city_gate", records, "en") == "city gate"
    assert landmark_object("old_town_hall", records, "en")["title"] == ""


class NoCredits:
    """A gallery that knows no credits."""

    def credits(self, ids: list[str]) -> dict[str, Credit]:
        return {}


@pytest.mark.parametrize(
    ("language", "words"),
    [("fr", "not sure: Tour Eiffel or old town hall"),
     ("", "not sure: Eiffel Tower or old town hall")],
)  # fmt: skip
def test_an_answer_names_both_guesses_in_the_language(language: str, words: str) -> None:
    answer = Prediction(
        photo="a.jpg", guess="eiffel_tower", second="old_town_hall", score=0.4, confidence=0.5,
        decision="uncertain", landmark=None, matches=(), landmarks=(), warnings=(),
    )  # fmt: skip
    facts = GalleryFacts(cast(Gallery, NoCredits()), {"eiffel_tower": TOWER}, 1, False)
    shown = answer_object("a.jpg", answer, facts, language=language)
    assert shown["words"] == words
    assert [one["title"] for one in shown["candidates"]] == [title_in(TOWER, language), ""]
