"""Evaluation: right counts, leaks left out, unreadable photos counted, protocol stamped."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conftest import photos_of
from whichlandmark.data.table import read_photos
from whichlandmark.embedders.histogram import HistogramEmbedder
from whichlandmark.errors import DataError
from whichlandmark.evaluation import evaluate, examine
from whichlandmark.metrics import gap
from whichlandmark.recognition import Recognizer, build
from whichlandmark.scoring import SCORES, Rules
from whichlandmark.types import Photo, Photos


@pytest.fixture
def recognizer(colour_world: Path) -> Recognizer:
    bank = photos_of(colour_world / "bank", landmarks=False)
    return build(HistogramEmbedder(), photos_of(colour_world / "gallery"), distractors=bank)


def test_counts_and_scores(recognizer: Recognizer, colour_world: Path) -> None:
    found = examine(recognizer, read_photos(colour_world / "queries.csv"), also=SCORES)
    scores, rows = found.scores, found.predictions
    assert (scores.queries, scores.known, scores.unknown, scores.no_landmark) == (18, 12, 2, 4)
    assert scores.top1 == 1.0
    assert scores.recall_at_1 == 1.0
    assert scores.gap == pytest.approx(gap(rows.score, rows.right, 12))
    assert scores.gap_all_landmarks == pytest.approx(scores.gap * 12 / 14)
    assert scores.gap_by_score["both_penalties"] == pytest.approx(scores.gap)
    assert set(scores.gap_by_score) == set(SCORES)
    assert scores.protocol["gallery"] == "24 photos of 4 landmarks"
    assert (rows.truth[~rows.known] != "").sum() == 2


def test_each_score_alone_equals_its_place_beside_the_others(
    recognizer: Recognizer, colour_world: Path
) -> None:
    queries = read_photos(colour_world / "queries.csv")
    beside = examine(recognizer, queries, also=SCORES).scores.gap_by_score
    for score in SCORES:
        alone = evaluate(recognizer.with_rules(Rules(score=score)), queries)
        assert alone.gap == pytest.approx(beside[score])


def test_photos_of_the_gallery_and_the_bank_are_left_out(
    recognizer: Recognizer, colour_world: Path
) -> None:
    """By content (copied under another name) and by id."""
    asked = colour_world / "asked"
    shutil.copy(colour_world / "gallery" / "place 0" / "3.jpg", asked / "copy.jpg")
    shutil.copy(colour_world / "bank" / "3.jpg", asked / "bank.jpg")
    rows = [*read_photos(colour_world / "queries.csv"),
            Photo("copy", asked / "copy.jpg", "place 0"), Photo("bank", asked / "bank.jpg", None),
            Photo("gallery/place 1/1.jpg", asked / "1-1.jpg", "place 1")]  # fmt: skip
    found = examine(recognizer, Photos.of(rows))
    assert found.leaked == ["copy", "bank", "gallery/place 1/1.jpg"]
    assert found.scores.leaked == 3
    assert found.scores.queries == 18
    assert not set(found.leaked) & set(found.predictions.ids)


def test_an_unreadable_query_counts_but_takes_no_rank(
    recognizer: Recognizer, colour_world: Path
) -> None:
    before = examine(recognizer, read_photos(colour_world / "queries.csv")).scores
    (colour_world / "asked" / "2-1.jpg").write_bytes(b"broken")
    found = examine(recognizer, read_photos(colour_world / "queries.csv"))
    assert [f.id for f in found.failures] == ["q21"]
    assert found.scores.known == 12
    assert found.scores.gap == pytest.approx(before.gap * 11 / 12, abs=0.01)
    row = list(found.predictions.ids).index("q21")
    assert (found.predictions.guess[row], found.predictions.decision[row]) == ("", "no_landmark")


def test_without_any_landmark_there_is_nothing_to_measure(
    recognizer: Recognizer, colour_world: Path
) -> None:
    queries = read_photos(colour_world / "queries.csv")
    with pytest.raises(DataError, match="at least one"):
        examine(recognizer, queries.take(queries.landmarks == ""))
