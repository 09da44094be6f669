"""The page of a plan: what it says of each photo, bounded, without scripts, whatever the names."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.page_browser import CHROMIUM, context_of, shared_chromium
from tests.support.page_checks import axe
from tests.support.photos import picture, write_photo
from tests.support.plans import EIFFEL, HOSTILE, hostile, plan_of, planned
from whichlandmark.core.errors import OptionError
from whichlandmark.library import plan_page
from whichlandmark.library.plan import Plan, PlannedLabel
from whichlandmark.library.plan_page import write_plan_page
from whichlandmark.library.xmp import Additions, Place

LABEL = Additions(keywords=("Eiffel Tower",), hierarchy=("Places|France|Paris|Eiffel Tower",),
                  places=(EIFFEL,))  # fmt: skip
LOUVRE = Place("Louvre", wikidata="javascript:alert(1)")


def rows_of(folder: Path) -> Iterator[PlannedLabel]:
    for number, confidence in enumerate((0.999, 0.95, 0.99)):
        write_photo(folder / f"{number}.jpg", picture(1, number))
        yield planned(f"{number}.jpg", "eiffel", "Eiffel Tower", confidence, place=EIFFEL,
                      wanted=LABEL, folder=folder)  # fmt: skip
    both = Additions(keywords=("Louvre", "Louvre Pyramid"), position=(48.861, 2.3358))
    yield planned("l.jpg", "louvre", "Louvre", 0.99996, place=LOUVRE, wanted=both, folder=folder)
    yield planned("k.jpg", "eiffel", "Eiffel Tower", 0.98, place=EIFFEL, wanted=LABEL,
                  state="known", folder=folder)  # fmt: skip
    for confidence in (0.4, 0.6):
        why = f"confidence {confidence}, below 0.97"
        yield planned(f"u{confidence}.jpg", "eiffel", "Eiffel Tower", confidence, place=EIFFEL,
                      state="not_sure", why=why, folder=folder)  # fmt: skip
    yield planned("far.jpg", "eiffel", "Eiffel Tower", 0.99, place=EIFFEL, state="not_sure",
                  why="the photo's own position is 600 km from it", folder=folder)  # fmt: skip
    yield planned("b.jpg", "eiffel", "Eiffel Tower", 0.99, place=EIFFEL, wanted=LABEL,
                  state="blocked", why="its folder is read-only", folder=folder)  # fmt: skip
    yield planned("out.jpg", "louvre", "Louvre", 0.5, place=LOUVRE,
                  why="Louvre, written before, is taken out again", folder=folder)  # fmt: skip
    yield planned("x.jpg", None, "", math.nan, state="failed", why="x.jpg: damaged")
    yield planned("n.jpg", None, "", math.nan, state="no_landmark")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_of(*rows_of(tmp_path / "photos"), library=str(tmp_path / "photos"))


def text_of(path: Path) -> str:
    """The words of a page, without markup."""
    body = path.read_text(encoding="utf-8").partition("<body>")[2]
    return " ".join(re.sub(r"<[^>]*>", " ", body.replace("<wbr>", "")).split())


def test_the_page_says_what_would_be_written(plan: Plan, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_plan_page(tmp_path / "p.html", plan, progress=lambda *numbers: calls.append(numbers))
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    text = text_of(tmp_path / "p.html")
    assert calls[-1] == (10, 10)  # all but the photo that cannot be read and the one without
    assert page.count('src="data:image/jpeg;base64,') == 3  # those that are there
    assert "Of 12 photos, 4 would get the name of a landmark. Nothing has been written" in text
    assert "1 label is blocked" in text
    for words in ("To be labelled 4", "Labelled already 1", "Blocked 1", "Not sure 3",
                  "Not readable 1", "Without a landmark 1"):  # fmt: skip
        assert words in text, words
    assert f"whichlandmark label {tmp_path}/photos -r paris.wl --above 0.97 --write" in text
    assert "keyword Eiffel Tower; Places › France › Paris › Eiffel Tower; location shown: " in text
    assert "Eiffel Tower, Paris, France, at 48.85822, 2.29450; Q243" in text
    assert "also Louvre Pyramid" in text
    assert "position 48.86100, 2.33580" in text
    assert "over 0.999" in text
    assert "labelled already" in text
    assert "its folder is read-only" in text
    assert "x.jpg x.jpg: damaged" in text
    assert "the photo's own position is 600 km from it".replace("'", "&#39;") in text
    assert "below 0.97" not in text  # the heading says it once
    assert "a note" in text
    assert "Not looked at: 1 × HEIC photo: pip install: /lib/x.heic" in text
    assert 'href="https://www.wikidata.org/wiki/Q243"' in page
    assert "javascript:alert(1)" not in re.findall('href="([^"]*)"', page)
    order = [text.index(name) for name in ("0.950", "0.980", "0.990", "0.999")]
    assert order == sorted(order)  # the most doubtful first
    unsure = text[text.rindex("Not sure") :]
    assert unsure.index("far.jpg") < unsure.index("u0.6.jpg") < unsure.index("u0.4.jpg")
    assert text.index("Eiffel Tower 4") < text.index("Louvre 1")  # by number of photos


def test_equal_plans_make_equal_pages(plan: Plan, tmp_path: Path) -> None:
    write_plan_page(tmp_path / "p.html", plan)
    first = (tmp_path / "p.html").read_bytes()
    write_plan_page(tmp_path / "p.html", plan)
    assert (tmp_path / "p.html").read_bytes() == first


def test_no_file_of_others_is_replaced(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "p.html").write_text("<title>mine</title>")
    with pytest.raises(OptionError, match="exists, and is not a page"):
        write_plan_page(tmp_path / "p.html", plan)


def test_a_plan_of_nothing_is_told(tmp_path: Path) -> None:
    write_plan_page(tmp_path / "p.html", plan_of(left_out={}, notes=()))
    text = text_of(tmp_path / "p.html")
    assert "Of 0 photos, none gets a new label." in text
    assert "--write" not in text


def test_the_command_of_the_caller_is_shown(plan: Plan, tmp_path: Path) -> None:
    write_plan_page(tmp_path / "p.html", plan, command="whichlandmark label x --gps --write")
    assert "whichlandmark label x --gps --write" in text_of(tmp_path / "p.html")


def test_pictures_and_names_are_bounded(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_page, "MOST_PICTURES", 2)
    write_plan_page(tmp_path / "p.html", plan)
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    text = text_of(tmp_path / "p.html")
    assert page.count("<figure") == 2
    assert "3 photos without a picture here" in text
    assert text.count("2.jpg") >= 1
    monkeypatch.setattr(plan_page, "MOST_PICTURES", 500)
    monkeypatch.setattr(plan_page, "MOST_PICTURE_BYTES", 1)
    monkeypatch.setattr(plan_page, "PICTURES_AT_ONCE", 1)
    write_plan_page(tmp_path / "p.html", plan)
    assert (tmp_path / "p.html").read_text(encoding="utf-8").count("<figure") == 1
    monkeypatch.setattr(plan_page, "MOST_ROWS", 3)
    write_plan_page(tmp_path / "p.html", plan)
    text = text_of(tmp_path / "p.html")
    assert "8 more are not named here, --csv lists all" in text
    assert "To be labelled 4" in text  # counts are of all


def test_hostile_names_are_text(tmp_path: Path) -> None:
    write_plan_page(tmp_path / "p.html", hostile())
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "{{" in page  # as text
    assert "49" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL).replace("249", "")
    assert "\u202e" not in page
    for link in re.findall('href="([^"]*)"', page):
        assert link.startswith(("file:///lib/", "#", "https://www.wikidata.org/wiki/Q")), link
    assert page.count("<figure") == len(HOSTILE)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_the_page_in_a_browser(plan: Plan, tmp_path: Path, width: int, scheme: str) -> None:
    write_plan_page(tmp_path / "p.html", plan)
    options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    with context_of(shared_chromium(), axe=True, bypass_csp=True, **options) as context:
        page, told = context.new_page(), []
        page.on("console", lambda message: told.append(message.text))
        page.on("request", lambda request: told.append(request.url))
        page.goto((tmp_path / "p.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert axe(page) == []
        pictures = page.evaluate("[...document.images].map((one) => one.naturalWidth)")
        assert len(pictures) == 3
        assert min(pictures) > 0
        told = [text for text in told if not text.startswith(("data:", "file:"))]
        assert told == []
