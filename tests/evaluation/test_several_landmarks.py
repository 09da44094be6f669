"""Queries with several true landmarks; parts of a test set (usages) scored separately."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support.photos import photos_of, picture, write_photo
from whichlandmark.core.errors import DataError
from whichlandmark.core.images import read_image
from whichlandmark.core.types import Photo, Photos, is_true, true_landmarks
from whichlandmark.data.folders import read_folder
from whichlandmark.data.table import read_photos, write_photos
from whichlandmark.evaluation.evaluate import evaluate_in_detail
from whichlandmark.evaluation.predictions import gap_by_usage, read_predictions, write_predictions
from whichlandmark.evaluation.report import write_report
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.gallery.leak_check import LeakCheck
from whichlandmark.recognition.folder.edit import add_photos, photos_to_add
from whichlandmark.recognition.folder.fill import photos_and_distractors
from whichlandmark.recognition.folder.load import build
from whichlandmark.recognition.folder.tune import embed_training_photos
from whichlandmark.recognition.indexing.index_photos import IndexOptions, index_photos
from whichlandmark.recognition.recognizer import Recognizer
from whichlandmark.recognition.rules import Rules
from whichlandmark.training.loader import labelled_photos, require_validation, validate


def column(*values: str) -> np.ndarray:
    filled = np.empty(len(values), dtype=object)
    filled[:] = values
    return filled


def test_any_of_several_true_landmarks_counts_as_right() -> None:
    truth = column("A", "A|B", "A|B", "A|B", "", "", "A B")
    guess = column("A", "B", "A|B", "", "", "A", "A")
    assert is_true(truth, guess).tolist() == [True, True, False, False, True, False, False]
    table = column("C", "B", "A", "C").reshape(2, 2)
    assert is_true(column("A|C", "B"), table).tolist() == [[True, False], [False, False]]
    assert true_landmarks("A|B ") == ["A", "B"]
    assert true_landmarks("") == []


def test_is_true_equals_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    names = ["A", "B", "C", "A|B", "B|C|D", ""]
    truth = column(*rng.choice(names, 200))
    answers = np.array(rng.choice(["A", "B", "C", "D", ""], (200, 4)), dtype=object)
    slow = [[a in (t.split("|") if t else [""]) for a in row]
            for t, row in zip(truth, answers, strict=True)]  # fmt: skip
    assert is_true(truth, answers).tolist() == slow


@pytest.fixture
def recognizer(colour_world: Path) -> Recognizer:
    bank = photos_of(colour_world / "bank", landmarks=False)
    return build(HistogramEmbedder(), photos_of(colour_world / "gallery"), distractors=bank)


def queries_with_usage(world: Path) -> Photos:
    """The world's 18 queries; every third has usage Public, the others Private."""
    queries = read_photos(world / "queries.csv")
    usages = [("Public", "Private", "Private")[i % 3] for i in range(len(queries))]
    return Photos.of_columns(queries.ids, queries.paths, queries.landmarks, usages)


def relabelled(photos: Photos, new: dict[str, str]) -> Photos:
    landmarks = [
        new.get(i, landmark) for i, landmark in zip(photos.ids, photos.landmarks, strict=True)
    ]
    return Photos.of_columns(photos.ids, photos.paths, landmarks, photos.usages)


def test_several_landmarks_in_an_evaluation(recognizer: Recognizer, colour_world: Path) -> None:
    queries = queries_with_usage(colour_world)
    plain = evaluate_in_detail(recognizer, queries)
    # A second landmark of the gallery, one outside it, and two outside it.
    several = relabelled(
        queries, {"q00": "place 3|place 0", "q11": "nowhere|place 1", "n0": "nowhere|elsewhere"}
    )
    found = evaluate_in_detail(recognizer, several)
    assert (found.scores.known, found.scores.unknown) == (12, 2)
    assert found.scores.gap == pytest.approx(plain.scores.gap)
    assert found.scores.top1 == plain.scores.top1 == 1.0
    assert (found.predictions.rank == plain.predictions.rank).all()
    assert found.scores.recall_at_1 == 1.0
    # Without the right one among its true landmarks, the answer to q00 is wrong.
    wrong = evaluate_in_detail(recognizer, relabelled(queries, {"q00": "place 3|place 2"}))
    assert wrong.scores.top1 == pytest.approx(11 / 12)
    assert wrong.scores.gap < plain.scores.gap


def slow_gap(rows: list[tuple[float, bool]], count: int) -> float:
    right, total = 0, 0.0
    for place, (_, good) in enumerate(sorted(rows, key=lambda row: -row[0]), 1):
        right += good
        total += good * right / place
    return total / count


def test_public_and_private_are_ranked_apart(recognizer: Recognizer, colour_world: Path) -> None:
    queries = relabelled(
        queries_with_usage(colour_world), {"q01": "place 1", "q20": "place 2|place 3"}
    )
    found = evaluate_in_detail(recognizer, queries)
    p = found.predictions
    for usage in ("Public", "Private"):
        part = p.usage == usage
        rows = [(s, bool(r)) for s, r in zip(p.score[part], p.right[part], strict=True)]
        marked = int((p.truth[part] != "").sum())
        assert found.scores.gap_by_usage[usage] == pytest.approx(slow_gap(rows, marked))
        assert found.scores.queries_by_usage[usage] == len(rows) == {"Public": 6}.get(usage, 12)
        assert found.scores.landmarks_by_usage[usage] == marked
    assert len({*found.scores.gap_by_usage.values(), found.scores.gap}) == 3


def test_usages_reach_the_report(
    recognizer: Recognizer, colour_world: Path, tmp_path: Path
) -> None:
    queries = queries_with_usage(colour_world)
    write_photos(tmp_path / "queries.csv", queries)
    assert (tmp_path / "queries.csv").read_text().startswith("id,path,landmark,usage\n")
    again = read_photos(tmp_path / "queries.csv")
    assert again.usages.tolist() == queries.usages.tolist()
    assert [p.usage for p in Photos.of(list(again))] == queries.usages.tolist()
    for part in again.split(test=0.4):
        usage_of = dict(zip(queries.ids, queries.usages, strict=True))
        assert part.usages.tolist() == [usage_of[name] for name in part.ids]
    found = evaluate_in_detail(
        recognizer, relabelled(again, {"q00": "place 0|place 1"})
    ).predictions
    write_predictions(tmp_path / "p.csv", found)
    read = read_predictions(tmp_path / "p.csv")
    assert read.usage.tolist() == found.usage.tolist()
    assert gap_by_usage(read) == gap_by_usage(found)
    write_report(read, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "GAP, Private" in page
    assert "place 0 or place 1" in page


def test_tables_without_usage_have_no_usage_column(
    recognizer: Recognizer, colour_world: Path, tmp_path: Path
) -> None:
    queries = read_photos(colour_world / "queries.csv")
    write_photos(tmp_path / "queries.csv", queries)
    assert (tmp_path / "queries.csv").read_text().startswith("id,path,landmark\n")
    found = evaluate_in_detail(recognizer, queries)
    assert found.scores.gap_by_usage == found.scores.queries_by_usage == {}
    write_predictions(tmp_path / "p.csv", found.predictions)
    assert "usage" not in (tmp_path / "p.csv").read_text().splitlines()[0]
    assert set(read_predictions(tmp_path / "p.csv").usage) == {""}


def test_a_usage_group_without_landmarks_has_no_gap(
    recognizer: Recognizer, colour_world: Path
) -> None:
    queries = queries_with_usage(colour_world)
    usages = ["Public" if landmark else "Private" for landmark in queries.landmarks]
    found = evaluate_in_detail(
        recognizer, Photos.of_columns(queries.ids, queries.paths, queries.landmarks, usages)
    ).scores
    assert set(found.gap_by_usage) == {"Public"}
    assert found.landmarks_by_usage == {"Private": 0, "Public": 14}
    assert found.queries_by_usage == {"Private": 4, "Public": 14}


def some_of_both(photos: Photos, *rows: int) -> Photos:
    """The table with photos that show two landmarks."""
    landmarks = photos.landmarks.copy()
    landmarks[list(rows)] = "place 0|place 1"
    return Photos.of_columns(photos.ids, photos.paths, landmarks)


NO_PHOTOS = (column(), column())  # ids and hashes of an empty gallery

NOTE = "left out 2 photos of several landmarks (gallery/place 0/3.jpg, gallery/place 2/0.jpg): a"


def test_a_gallery_leaves_out_photos_of_several_landmarks(
    colour_world: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = photos_of(colour_world / "gallery")
    several = some_of_both(photos, 3, 12)
    made = build(HistogramEmbedder(), several)
    assert set(made.index.ids) == {*photos.ids} - {photos.ids[3], photos.ids[12]}
    assert list(made.index.names) == ["place 0", "place 1", "place 2", "place 3"]
    assert NOTE in caplog.text
    with pytest.raises(DataError, match="no photo could be indexed: left out 1 photo of several"):
        build(HistogramEmbedder(), several.take([3]))
    bank = Photos.of_columns(["b"], several.paths[3:4], several.landmarks[3:4])
    assert (
        photos_and_distractors(photos, bank).landmarks[-1] == ""
    )  # a distractor loses its landmarks


@pytest.mark.parametrize("shards", [None, 3])
def test_index_and_gallery_add_count_and_name_photos_of_several_landmarks(
    colour_world: Path, shards: int | None
) -> None:
    photos, folder = photos_of(colour_world / "gallery"), colour_world / "r.wl"
    several = some_of_both(photos, 3, 12)
    options = IndexOptions(rules=Rules(verify=0, score="cosine", whitening="none"), shards=shards)
    done = index_photos(
        several, None, folder, HistogramEmbedder(), options, progress=lambda _: lambda *_: None
    )
    assert (done.counts["photos"], done.counts["several landmarks"]) == (22, 2)
    assert any(note.startswith(NOTE) for note in done.notes)
    assert done.failures == []
    added = add_photos(folder, some_of_both(photos, 3), embedder=HistogramEmbedder())
    assert (added.counts["added"], added.counts["several landmarks"]) == (1, 1)
    assert "(gallery/place 0/3.jpg): a photo of a gallery" in added.notes[-1]
    labelled = photos_to_add(several, landmark="place 0", distractors=False)
    assert {*labelled.landmarks} == {"place 0"}  # one for all of them


def test_training_leaves_out_photos_of_several_landmarks(
    colour_world: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = photos_of(colour_world / "gallery")
    several = some_of_both(photos, 3, 12)
    assert labelled_photos(several).ids.tolist() == np.delete(photos.ids, [3, 12]).tolist()
    assert caplog.text.count(NOTE) == 1
    embedder = HistogramEmbedder()
    vectors, failures, _ = embed_training_photos(embedder, several, LeakCheck(*NO_PHOTOS))
    assert (len(vectors.landmarks), failures) == (22, [])
    assert caplog.text.count(NOTE) == 2


def test_validation_queries_may_show_several_landmarks(colour_world: Path) -> None:
    """Either is right, as in `evaluate`; the database leaves such photos out."""
    photos = photos_of(colour_world / "gallery")
    queries = Photos.of_columns(["q"], photos.paths[:1], ["place 9|place 0"])
    require_validation((photos, queries))
    vectors = HistogramEmbedder()([read_image(path) for path in photos.paths])
    row_of = {path: row for row, path in enumerate(photos.paths)}
    data = SimpleNamespace(database=photos, queries=queries, train=None)
    scores = validate(data, None, lambda table: (vectors[[row_of[p] for p in table.paths]], {}))  # type: ignore[arg-type]
    assert scores["top1_nearest_photo"] == scores["gap_nearest_photo"] == 1


def test_folder_names_with_the_separator_are_refused(tmp_path: Path) -> None:
    write_photo(tmp_path / "root" / "A|B" / "1.jpg", picture(1, 1))
    write_photo(tmp_path / "root" / "C" / "1.jpg", picture(2, 1))
    with pytest.raises(DataError, match=r"A\|B: '\|' separates several .* rename the folder"):
        read_folder(tmp_path / "root")
    assert len(read_folder(tmp_path / "root", labelled=False)) == 2


@pytest.mark.parametrize("cell", ["|", "A|", "A||B", " | A"])
def test_an_empty_name_between_separators_is_refused(tmp_path: Path, cell: str) -> None:
    (tmp_path / "p.csv").write_text(f"id,path,landmark\n1,1.jpg,{cell}\n")
    with pytest.raises(DataError, match=r"line 2: landmark .* has an empty name"):
        read_photos(tmp_path / "p.csv")


def test_spaces_around_separators_are_stripped(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,path,landmark\n1,1.jpg, A | B C \n")
    assert read_photos(tmp_path / "p.csv").landmarks[0] == "A|B C"


def test_a_photo_has_a_usage_field() -> None:
    photos = Photos.of([Photo("1", Path("/1.jpg"), "A", "Public"), Photo("2", Path("/2.jpg"), "B")])
    assert photos.usages.tolist() == ["Public", ""]
    assert photos[0].usage == "Public"
    assert photos.take([1, 0]).usages.tolist() == ["", "Public"]
