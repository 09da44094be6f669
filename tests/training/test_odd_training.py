"""Training on what people's folders hold: unreadable photos, one landmark, poor validation sets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.test_commands import run
from tests.support.photos import photos_of, picture, write_photo
from whichlandmark.core.errors import DataError
from whichlandmark.core.types import Photos
from whichlandmark.training.config import TrainConfig
from whichlandmark.training.loader import (
    AugmentedPhotos,
    PhotoFiles,
    TrainingData,
    require_validation,
)
from whichlandmark.training.model_card import curves
from whichlandmark.training.train import train

SMALL = {"backbone": "test_resnet", "size": 64, "crop": 64, "dim": 16, "landmarks_per_batch": 2,
         "photos_per_landmark": 2, "workers": 0, "epochs": 1}  # fmt: skip

FLAGS = [flag for name, value in SMALL.items() for flag in ("--set", f"{name}={value}")]


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """Three landmarks of four photos."""
    for code in range(3):
        for i in range(4):
            write_photo(tmp_path / "gallery" / f"place {code}" / f"{i}.jpg", picture(code, i))
    return tmp_path / "gallery"


@pytest.mark.usefixtures("not_exported", "one_thread")
def test_unreadable_photos_are_named_and_end_with_3(
    gallery: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for i in range(7):
        (gallery / "place 0" / f"broken {i}.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (gallery / "place 1" / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    out = tmp_path / "embedder"
    code, printed, err = run(capfd, "train", gallery, "-o", out, *FLAGS, "--json")
    assert code == 3
    row = json.loads(printed)
    assert (row["epoch"], row["unreadable"]) == (1, 8)
    assert '"epoch": 1,' in printed
    assert err.count("broken ") == 5
    listed = out / "training" / "unreadable.json"
    assert "8 photos left out (" in err
    assert f"all are in {listed}" in err
    assert len(json.loads(listed.read_text())) == 8
    header, first = (out / "training" / "log.csv").read_text().splitlines()
    assert first.startswith("1,")
    assert header.startswith("epoch,")
    again = run(capfd, "train", gallery, "-o", out, *FLAGS)  # resumed: nothing is left to do
    assert (again[0], "  epoch                            1\n" in again[1]) == (3, True)


@pytest.mark.usefixtures("one_thread")
def test_a_training_left_with_one_landmark_stops(
    gallery: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for code in (1, 2):
        for path in (gallery / f"place {code}").iterdir():
            path.write_bytes(b"\xff\xd8\xff\xe0 no more")
    code, out, err = run(capfd, "train", gallery, "-o", tmp_path / "e", *FLAGS)
    assert (code, out, err.count("error: ")) == (4, "", 1)
    assert "4 photos of 1 landmark left, because 8 photos could not be read" in err
    assert "place 1/0.jpg" in err
    assert str(tmp_path / "e" / "training" / "unreadable.json") in err
    for path in (gallery / "place 0").iterdir():
        path.write_bytes(b"\xff\xd8\xff\xe0 no more")
    code, _, err = run(capfd, "train", gallery, "-o", tmp_path / "e", *FLAGS)
    assert (code, "0 photos of 0 landmarks left, because 12 photos" in err) == (4, True)


@pytest.mark.parametrize(
    ("landmarks", "words"),
    [
        ("aaaa", "4 photos of 1 landmark given; 1 of them with two photos"),
        ("abcd", "4 photos of 4 landmarks given; 0 of them with two photos"),
        ("aabc", "4 photos of 3 landmarks given; 1 of them with two photos"),
        ([""] * 4, "0 photos of 0 landmarks given"),
    ],
)
def test_too_few_landmarks_are_refused_before_anything_is_written(
    tmp_path: Path, landmarks: str, words: str
) -> None:
    photos = Photos.of_columns(list("1234"), list("1234"), list(landmarks))
    with pytest.raises(DataError, match=f"{words}.*learns to tell one from another"):
        train(photos, TrainConfig(**SMALL), out=tmp_path / "e")  # type: ignore[arg-type]
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(
    ("database", "queries", "words"),
    [
        ("aaa", "aa", "--database has 1 landmark; expected two or more"),
        (["", ""], "aa", "--database has 0 landmarks"),
        ("aabb", "AA", "none of the 2 queries of --queries shows a landmark of --database"),
        ("aabb", ["", ""], "the queries name none, the database 'a', 'b'"),
    ],
)
def test_a_validation_that_measures_nothing_is_refused(
    database: str, queries: str, words: str
) -> None:
    def table(names: str) -> Photos:
        ids = [str(row) for row in range(len(names))]
        return Photos.of_columns(ids, ids, list(names))

    with pytest.raises(DataError, match=words):
        require_validation((table(database), table(queries)))
    require_validation((table("aabb"), table("ac")))


def test_unreadable_photos_of_a_share_leave_two_landmarks(gallery: Path) -> None:
    photos = photos_of(gallery)
    config = TrainConfig(**SMALL)  # type: ignore[arg-type]
    lost = [one for one in photos.ids if "place 2" in one]
    assert TrainingData(photos, None, lost, config).landmarks == 2


@pytest.mark.parametrize("epochs", [1, 2, 3, 12])
def test_curves_have_whole_epochs(epochs: int) -> None:
    history = [
        {"epoch": 1 + i, "loss": 2.0 / (1 + i), "gap_nearest_photo": 0.5, "gap_class_centre": 0.4}
        for i in range(epochs)
    ]
    svg = curves(history)
    axis = re.findall(r'<g id="xtick_\d+">.*?<text[^>]*>([^<]*)</text>', svg, re.DOTALL)
    assert axis
    assert not [label for label in axis if "." in label], axis


def test_the_hint_about_weights_names_the_option_of_both_verbs() -> None:
    from whichlandmark.core.errors import ModelError
    from whichlandmark.features.embedders.torch_weights import open_backbone

    with pytest.raises(ModelError, match="--checkpoint FILE of `embedder`, --set weights=FILE of"):
        open_backbone("coatnet_0_224", {}, None)


def test_a_photo_that_is_lost_during_training_is_said_once(
    gallery: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = photos_of(gallery)
    read = AugmentedPhotos(PhotoFiles(photos, 64), lambda image, shape, seed: image)  # type: ignore[arg-type]
    assert not (read[(0, (64, 64), 1)] == 128).all()
    Path(photos.paths[0]).unlink()
    for seed in range(3):
        assert (read[(0, (64, 64), seed)] == 128).all()
    lost = [line for line in caplog.messages if "trained as an empty gray photo" in line]
    assert len(lost) == 1
    assert str(photos.paths[0]) in lost[0]
