"""Evaluation: correct counts, leaks left out, unreadable photos counted, protocol recorded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.gallery.test_leak_check import reencoded, scene
from tests.support.photos import photos_of, write_photo
from whichlandmark.core.errors import DataError
from whichlandmark.core.types import Photo, Photos
from whichlandmark.data.table import read_photos
from whichlandmark.evaluation import evaluate as evaluate_module
from whichlandmark.evaluation.evaluate import evaluate, evaluate_in_detail
from whichlandmark.features import pipeline
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.metrics.ranking import gap
from whichlandmark.recognition.folder.load import build
from whichlandmark.recognition.recognizer import Recognizer
from whichlandmark.recognition.rules import SCORES, Rules


@pytest.fixture
def recognizer(colour_world: Path) -> Recognizer:
    bank = photos_of(colour_world / "bank", landmarks=False)
    return build(HistogramEmbedder(), photos_of(colour_world / "gallery"), distractors=bank)


def test_counts_and_scores(recognizer: Recognizer, colour_world: Path) -> None:
    found = evaluate_in_detail(
        recognizer, read_photos(colour_world / "queries.csv"), other_scores=SCORES
    )
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


@pytest.mark.slow
def test_each_score_gives_the_same_gap_alone_and_beside_others(
    recognizer: Recognizer, colour_world: Path
) -> None:
    queries = read_photos(colour_world / "queries.csv")
    beside = evaluate_in_detail(recognizer, queries, other_scores=SCORES).scores.gap_by_score
    for score in SCORES:
        alone = evaluate(recognizer.with_rules(Rules(score=score)), queries)
        assert alone.gap == pytest.approx(beside[score])


def test_queries_that_are_gallery_or_distractor_photos_are_left_out(
    recognizer: Recognizer, colour_world: Path
) -> None:
    """By content: a copy with another name. Another photo of the same name is a query."""
    folder = colour_world / "queries"
    shutil.copy(colour_world / "gallery" / "place 0" / "3.jpg", folder / "copy.jpg")
    shutil.copy(colour_world / "bank" / "3.jpg", folder / "bank.jpg")
    rows = [*read_photos(colour_world / "queries.csv"),
            Photo("copy", folder / "copy.jpg", "place 0"), Photo("bank", folder / "bank.jpg", None),
            Photo("gallery/place 1/1.jpg", folder / "1-1.jpg", "place 1")]  # fmt: skip
    found = evaluate_in_detail(recognizer, Photos.of(rows))
    assert found.leaked == ["copy", "bank"]
    assert [(leak.kind, leak.photo) for leak in found.leaks] == [
        ("content", "gallery/place 0/3.jpg"), ("content", "bank/3.jpg"),
    ]  # fmt: skip
    assert found.scores.leaked == 2
    assert found.scores.leaked_by == {"id": 0, "content": 2, "look": 0}
    assert found.scores.queries == 19
    assert not set(found.leaked) & set(found.predictions.ids)


def test_a_query_that_is_a_resized_gallery_photo_is_left_out(tmp_path: Path) -> None:
    """Id and bytes differ, but not the picture. A new photo of the place is scored."""
    for i in range(8):
        write_photo(tmp_path / "gallery" / f"place {i % 2}" / f"{i}.jpg", scene(i))
    for i in range(6):
        write_photo(tmp_path / "bank" / f"{i}.jpg", scene(20 + i))
    images = {"smaller": reencoded(scene(3), scale=0.6), "cropped": reencoded(scene(21), crop=0.03),
             "new": scene(50), "empty": scene(51)}  # fmt: skip
    truth = {"smaller": "place 1", "new": "place 0"}
    photos = Photos.of(
        Photo(name, write_photo(tmp_path / "queries" / f"{name}.jpg", image), truth.get(name))
        for name, image in images.items()
    )
    bank = photos_of(tmp_path / "bank", landmarks=False)
    opened = build(HistogramEmbedder(), photos_of(tmp_path / "gallery"), distractors=bank)
    found = evaluate_in_detail(opened, photos)
    assert found.leaked == ["smaller", "cropped"]
    assert [(leak.kind, leak.photo) for leak in found.leaks] == [
        ("look", "gallery/place 1/3.jpg"), ("look", "bank/1.jpg")
    ]  # fmt: skip
    assert found.predictions.ids.tolist() == ["new", "empty"]
    assert found.scores.leaked_by == {"id": 0, "content": 0, "look": 2}
    assert "look" in found.scores.protocol["left out"]


def test_coverage_map_and_tiers_are_reported(recognizer: Recognizer, colour_world: Path) -> None:
    """In this world every known landmark is found and ranked above all other queries."""
    table = (colour_world / "queries.csv").read_text().splitlines()
    lines = [f"{line},{'tier' if i == 0 else 'ABC'[i % 3]}" for i, line in enumerate(table)]
    (colour_world / "tiers.csv").write_text("\n".join(lines) + "\n")
    scores = evaluate_in_detail(recognizer, read_photos(colour_world / "tiers.csv")).scores
    assert scores.coverage == pytest.approx(12 / 14)
    assert scores.gap_landmark_queries == 1.0
    assert scores.map_at_100 == pytest.approx(1.0)
    assert scores.gap_authors == pytest.approx(scores.gap)
    assert scores.gap_interval is not None
    assert scores.gap_interval[0] <= scores.gap <= scores.gap_interval[1]
    assert scores.auroc_no_landmark == 1.0
    assert set(scores.answered_at) == {"0.01", "0.05"}
    assert {t: row["queries"] for t, row in scores.by_tier.items()} == {"A": 6, "B": 6, "C": 6}
    assert sum(row["known"] or 0 for row in scores.by_tier.values()) == 12
    assert "diagnosis" in scores.protocol["answered_at"]


def test_batch_size_does_not_change_the_predictions(
    recognizer: Recognizer, colour_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = read_photos(colour_world / "queries.csv")
    whole = evaluate_in_detail(recognizer, queries).predictions
    monkeypatch.setattr(pipeline, "BATCH_ROWS", 4)
    monkeypatch.setattr(evaluate_module, "QUERIES_PER_SEARCH", 7)
    parts = evaluate_in_detail(recognizer, queries).predictions
    assert parts.guess.tolist() == whole.guess.tolist()
    assert parts.score == pytest.approx(whole.score, abs=1e-6)


def test_an_unreadable_query_counts_as_unanswered(
    recognizer: Recognizer, colour_world: Path
) -> None:
    before = evaluate_in_detail(recognizer, read_photos(colour_world / "queries.csv")).scores
    (colour_world / "queries" / "2-1.jpg").write_bytes(b"broken")
    found = evaluate_in_detail(recognizer, read_photos(colour_world / "queries.csv"))
    assert [f.id for f in found.failures] == ["q21"]
    assert found.scores.known == 12
    assert found.scores.gap == pytest.approx(before.gap * 11 / 12, abs=0.01)
    row = list(found.predictions.ids).index("q21")
    assert (found.predictions.guess[row], found.predictions.decision[row]) == ("", "no_landmark")


def test_queries_without_any_known_landmark_are_refused(
    recognizer: Recognizer, colour_world: Path
) -> None:
    queries = read_photos(colour_world / "queries.csv")
    with pytest.raises(DataError, match="at least one"):
        evaluate_in_detail(recognizer, queries.take(queries.landmarks == ""))
