"""Files for FiftyOne and Label Studio: the documented shapes, boxes, sizes, names of any kind."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image as Pillow

from whichlandmark.core.errors import OptionError
from whichlandmark.core.types import Detection, Match, Prediction
from whichlandmark.library.exports import (
    DOCUMENT_ROOT,
    MOST_CHOICES,
    config_path,
    served_folders,
    write_fiftyone,
    write_label_studio,
)

TITLES = {"eiffel": 'Tour <Eiffel> & "co"', "12": "Twelve"}

BOX = (0.1, 0.25, 0.6, 0.75)


def answer(decision: Any = "landmark", guess: str | None = "eiffel", *found: Detection) -> Any:
    named = guess if decision == "landmark" else None
    matches = (Match("p1", guess, 0.8, 40),)
    return Prediction(named, decision, 0.9, 1.5, guess, matches, landmarks=found)


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Photos of 60 × 40 pixels; the second stands, by its EXIF data."""
    folder = tmp_path / "my photos" / "ü & #1+2"
    folder.mkdir(parents=True)
    paths = []
    for number in range(5):
        exif = Pillow.Exif()
        exif[0x0112] = 6 if number == 1 else 1
        path = folder / f"{number}.jpg"
        Pillow.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(path, exif=exif)
        paths.append(str(path))
    return paths


def rows_of(photos: list[str]) -> list[tuple[str, Prediction]]:
    return [
        (photos[0], answer("landmark", "eiffel", Detection("eiffel", 0.97, BOX),
                           Detection("12", 0.8, (0.5, 0.5, 1.0, 1.0)))),
        (photos[1], answer("landmark", "eiffel", Detection("eiffel", 0.97, BOX))),
        (photos[2], answer("uncertain", "12")),
        (photos[3], answer("no_landmark", "12")),
        (photos[4], Prediction.of_failed(photos[4], "damaged")),
    ]  # fmt: skip


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_fiftyone_classification(photos: list[str], tmp_path: Path) -> None:
    out = tmp_path / "labels.json"
    assert write_fiftyone(out, rows_of(photos), TITLES, boxes=False) == 0
    value = read(out)
    assert value["classes"] == ["12", "eiffel"]
    assert value["labels"] == {
        photos[0]: {"label": 1, "confidence": 0.9,
                    "attributes": {"decision": "landmark", "title": TITLES["eiffel"]}},
        photos[1]: {"label": 1, "confidence": 0.9,
                    "attributes": {"decision": "landmark", "title": TITLES["eiffel"]}},
        photos[2]: {"label": 0, "confidence": 0.9,
                    "attributes": {"decision": "uncertain", "title": "Twelve"}},
        photos[3]: None,
    }  # fmt: skip


def test_fiftyone_detections_are_shares_from_the_upper_left(
    photos: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "labels.json"
    write_fiftyone(out, rows_of(photos), TITLES, boxes=True)
    labels = read(out)["labels"]
    first, second = labels[photos[0]]
    assert first["bounding_box"] == pytest.approx([0.1, 0.25, 0.5, 0.5])
    assert (first["label"], first["confidence"], second["label"]) == (1, 0.97, 0)
    assert second["bounding_box"] == [0.5, 0.5, 0.5, 0.5]
    assert first["attributes"]["located"] is True
    (unsure,) = labels[photos[2]]  # of which it is not known where it is
    assert unsure["bounding_box"] == [0.0, 0.0, 1.0, 1.0]
    assert unsure["attributes"] == {"decision": "uncertain", "title": "Twelve", "located": False}
    assert labels[photos[3]] == []
    for boxes in labels.values():
        for box in boxes:
            left, top, width, height = box["bounding_box"]
            assert 0 <= left <= left + width <= 1
            assert 0 <= top <= top + height <= 1


def test_fiftyone_keys_are_whole_paths_of_files(
    photos: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FiftyOne opens a key that is a whole path; a URL or a member of a tar has none."""
    monkeypatch.chdir(Path(photos[0]).parent)
    rows = [("0.jpg", answer()), ("https://a.example/b.jpg", answer()), ("a.tar#b.jpg@512+9",
            answer())]  # fmt: skip
    out = tmp_path / "labels.json"
    assert write_fiftyone(out, rows, {}, boxes=False) == 2
    assert list(read(out)["labels"]) == [photos[0]]


def test_label_studio_tasks(photos: list[str], tmp_path: Path) -> None:
    out = tmp_path / "tasks.json"
    write_label_studio(out, rows_of(photos), TITLES, ["12", "eiffel"])
    first, second, unsure, none = read(out)
    (prediction,) = first["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("whichlandmark", 0.9)
    choice, box, other = prediction["result"]
    assert choice == {
        "id": "answer", "type": "choices", "from_name": "answer", "to_name": "image",
        "value": {"choices": ["eiffel"]}, "score": 0.9,
    }  # fmt: skip
    assert box == {
        "id": "box0", "type": "rectanglelabels", "from_name": "landmark", "to_name": "image",
        "original_width": 60, "original_height": 40, "image_rotation": 0, "score": 0.97,
        "value": {"x": pytest.approx(10), "y": pytest.approx(25), "width": pytest.approx(50),
                  "height": pytest.approx(50), "rotation": 0, "rectanglelabels": ["eiffel"]},
    }  # fmt: skip
    assert other["id"] == "box1"
    upright = second["predictions"][0]["result"][1]
    assert (upright["original_width"], upright["original_height"]) == (40, 60)
    assert [each["type"] for each in unsure["predictions"][0]["result"]] == ["choices"]
    assert none["predictions"] == []
    assert none["data"]["decision"] == "no_landmark"


def test_label_studio_finds_the_photos(
    photos: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its view does: the value of `d`, decoded once, below the document root."""
    out = tmp_path / "tasks.json"
    write_label_studio(out, rows_of(photos)[:2], {}, ["eiffel"])
    root, folder = served_folders(photos)
    assert (root, folder) == (str(tmp_path / "my photos"), os.path.dirname(photos[0]))
    for task, photo in zip(read(out), photos, strict=False):
        address = urlsplit(task["data"]["image"])
        assert address.path == "/data/local-files/"
        assert os.path.join(root, parse_qs(address.query)["d"][0]) == photo
    monkeypatch.setenv(DOCUMENT_ROOT, str(tmp_path))
    assert served_folders(photos)[0] == str(tmp_path)
    monkeypatch.setenv(DOCUMENT_ROOT, str(tmp_path / "my"))
    with pytest.raises(OptionError, match=f"which {DOCUMENT_ROOT} names"):
        write_label_studio(out, rows_of(photos), {}, ["eiffel"])
    monkeypatch.delenv(DOCUMENT_ROOT)
    write_label_studio(out, [("https://a.example/b c.jpg", answer())], {}, ["eiffel"])
    assert read(out)[0]["data"]["image"] == "https://a.example/b c.jpg"


def test_the_labeling_configuration_fits_the_tasks(photos: list[str], tmp_path: Path) -> None:
    out = tmp_path / "tasks.json"
    names = ["eiffel", "12", "a\"<&>'b", "two\nlines", "日本"]
    rows = [(photos[0], answer("landmark", name, Detection(name, 0.9, BOX))) for name in names]
    write_label_studio(out, rows, TITLES, names)
    assert config_path(out) == tmp_path / "tasks.xml"
    view = ElementTree.parse(config_path(out)).getroot()
    controls = {each.get("name"): each for each in view if each.get("toName")}
    objects = {each.get("name"): each.get("value") for each in view if each.get("value")}
    assert objects == {"image": "$image"}
    offered = {name: [one.get("value") for one in each] for name, each in controls.items()}
    hints = {one.get("value"): one.get("hint") for one in controls["answer"]}
    assert hints["eiffel"] == TITLES["eiffel"]
    for task in read(out):
        assert "image" in task["data"]
        for result in task["predictions"][0]["result"]:
            assert controls[result["from_name"]].get("toName") == result["to_name"] == "image"
            (value,) = result["value"][result["type"]]
            assert value in offered[result["from_name"]]


def test_a_large_gallery_offers_the_landmarks_that_were_named(
    photos: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "tasks.json"
    landmarks = [f"place {number}" for number in range(MOST_CHOICES + 1)]
    write_label_studio(out, rows_of(photos), {}, landmarks)
    choices = ElementTree.parse(config_path(out)).getroot().find("Choices")
    assert choices is not None
    assert [one.get("value") for one in choices] == ["12", "eiffel"]


def test_only_own_files_are_replaced(photos: list[str], tmp_path: Path) -> None:
    tasks, labels = tmp_path / "tasks.json", tmp_path / "labels.json"
    for _ in range(2):  # an earlier result of the same kind is
        write_label_studio(tasks, rows_of(photos), {}, ["eiffel"])
        write_fiftyone(labels, rows_of(photos), {}, boxes=True)
    for path, text in ((tasks, "[]"), (config_path(tasks), "<View></View>"), (labels, "{}")):
        path.write_text(text)
    with pytest.raises(OptionError, match="not a file for FiftyOne"):
        write_fiftyone(labels, rows_of(photos), {}, boxes=True)
    with pytest.raises(OptionError, match="not a file for Label Studio"):
        write_label_studio(tasks, rows_of(photos), {}, ["eiffel"])
    assert (tasks.read_text(), labels.read_text()) == ("[]", "{}")
