"""Photos in which there is nothing to compare: no landmark, however similar the gallery is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.photos import photos_of, picture, write_photo
from whichlandmark import evaluate
from whichlandmark.core.types import Image
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.recognition.answer import GalleryFacts, answer_object
from whichlandmark.recognition.explanation.explain import explain_answer
from whichlandmark.recognition.explanation.page import page
from whichlandmark.recognition.folder.load import build
from whichlandmark.recognition.recognizer import Recognizer
from whichlandmark.recognition.spatial_verification import nothing_to_compare

EVEN, STRIPES, TINY = "one even color", "even areas or stripes", "its short side has only"


def even(grey: int, shape: tuple[int, int] = (120, 160)) -> Image:
    return np.full((*shape, 3), grey, np.uint8)


def wave(period: float, angle: float = 0.0) -> Image:
    y, x = np.mgrid[0:240, 0:320]
    place = x * np.cos(angle) + y * np.sin(angle)
    grey = (127 + 100 * np.sin(2 * np.pi * place / period)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def half() -> Image:
    image = even(0)
    image[:, 80:] = 255
    return image


def soft() -> Image:
    column = np.linspace(0, 255, 160).astype(np.uint8)
    return np.broadcast_to(column[None, :, None], (120, 160, 3)).copy()


NOTHING = {
    "one pixel": (even(9, (1, 1)), TINY), "a line": (even(9, (1, 5000)), TINY),
    "an icon": (picture(0, 0, (15, 40)), TINY), "black": (even(0), EVEN),
    "sky": (np.broadcast_to(np.array([90, 120, 200], np.uint8), (90, 70, 3)).copy(), EVEN),
    "two halves": (half(), STRIPES), "a soft change": (soft(), STRIPES),
    "stripes": (wave(20), STRIPES), "fine stripes": (wave(6, np.pi / 2), STRIPES),
    "faint noise": (even(128) + np.random.default_rng(0).integers(0, 5, (120, 160, 3), np.uint8),
                    EVEN),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTHING)
def test_there_is_nothing_to_compare(name: str) -> None:
    image, reason = NOTHING[name]
    assert nothing_to_compare(image).startswith("no landmark, because")
    assert reason in nothing_to_compare(image)


@pytest.mark.parametrize("size", [(16, 16), (60, 80), (500, 400)])
def test_a_textured_photo_is_compared(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert nothing_to_compare(noise) == ""


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    """A gallery with a landmark of blank photos, which every blank photo is most similar to."""
    folder = tmp_path_factory.mktemp("blank")
    for name in range(3):
        for seed in range(6):
            write_photo(folder / "photos" / str(name) / f"{seed}.jpg", picture(name, seed))
    for seed in range(6):
        write_photo(folder / "photos" / "wall" / f"{seed}.jpg", even(90 + seed))
    for seed in range(12):
        write_photo(folder / "none" / f"{seed}.jpg", picture(50 + seed, seed))
    distractors = photos_of(folder / "none", False)
    return build(HistogramEmbedder(), photos_of(folder / "photos"), distractors=distractors)


def test_a_blank_photo_is_no_landmark_and_the_answer_says_why(
    blank: Recognizer, tmp_path: Path
) -> None:
    path = write_photo(tmp_path / "q.jpg", even(93))
    for answer in (blank(path), blank(even(93)), blank([str(path)])[0]):
        assert (answer.decision, answer.landmark, answer.guess) == ("no_landmark", None, None)
        assert answer.confidence == 0
        assert EVEN in answer.warnings[0]
        shown = answer_object("q.jpg", answer, GalleryFacts.of(blank))
        assert EVEN in shown["words"]
        assert shown["score"] is None
        assert EVEN in json.dumps(shown["warnings"])
    assert blank(picture(1, 99)).landmark == "1"
    vectors = blank.embedder([even(93)])
    assert blank.predict(vectors, images=[even(93)])[0].decision == "no_landmark"
    assert blank.predict(vectors)[0].guess == "wall"  # without pixels nothing is known


def test_blank_queries_are_counted_as_missed_not_named(blank: Recognizer, tmp_path: Path) -> None:
    for name, image in {"1/a": picture(1, 77), "wall/a": even(120), "wall/b": half()}.items():
        write_photo(tmp_path / "q" / f"{name}.jpg", image)
    scores = evaluate(blank, photos_of(tmp_path / "q"))
    assert scores.queries == 3
    assert scores.top1 == pytest.approx(1 / 3)


def test_the_explanation_of_a_blank_photo(blank: Recognizer) -> None:
    photo = blank.read(even(93))
    answers = blank.answer(blank.embed([photo]), evidence=True)
    shown = page(explain_answer(blank, answers, 0, photo))
    assert "no landmark" in shown
