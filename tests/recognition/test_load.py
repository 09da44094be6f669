"""A recognizer loaded through its index files: the same answers, also when they are damaged."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

import numpy as np
import pytest

from tests.support.photos import photos_of
from whichlandmark.core.types import Prediction, Vectors
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.gallery.index import parts
from whichlandmark.gallery.index.open import IndexNeeds
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.folder import edit, maintain
from whichlandmark.recognition.folder import load as load_module
from whichlandmark.recognition.folder.edit import remove_photos
from whichlandmark.recognition.folder.load import assemble, build, load
from whichlandmark.recognition.folder.maintain import rebuild_gallery, verify_gallery
from whichlandmark.recognition.folder.settings import read_settings
from whichlandmark.recognition.recognizer import Recognizer
from whichlandmark.recognition.rules import Rules


@pytest.fixture
def folder(colour_world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A saved recognizer of 34 photos with index files and inverted files, although it is small."""
    monkeypatch.setattr(load_module, "IndexNeeds", functools.partial(IndexNeeds, min_photos=5))
    monkeypatch.setattr(parts, "MIN_ROWS_FOR_IVF", 8)
    for home in (load_module, maintain, edit):
        monkeypatch.setattr(
            home, "load_embedder", lambda source, device="auto": HistogramEmbedder()
        )
    recognizer = build(
        HistogramEmbedder(), photos_of(colour_world / "gallery"),
        distractors=photos_of(colour_world / "bank", False), rules=Rules(verify=0),
    )  # fmt: skip
    recognizer.save(colour_world / "r.wl")
    recognizer.gallery.close()
    return colour_world / "r.wl"


def queries(recognizer: Recognizer) -> Vectors:
    rng = np.random.default_rng(0)
    vectors = recognizer.index.vectors[:].astype(np.float32) + 0.05 * rng.random(
        recognizer.index.vectors.shape, dtype=np.float32
    )
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def answers(recognizer: Recognizer) -> list[Prediction]:
    return recognizer.predict(queries(recognizer))


def plain(folder: Path) -> list[Prediction]:
    """Answers without index files."""
    stored, fitted, _ = read_settings(folder)
    with SqliteGallery.open(folder / "gallery.sqlite") as gallery:
        return answers(assemble(HistogramEmbedder(), gallery, stored, fitted))


def assert_equal(one: list[Prediction], other: list[Prediction]) -> None:
    assert [p.landmark for p in one] == [p.landmark for p in other]
    assert [p.confidence for p in one] == pytest.approx([p.confidence for p in other], abs=1e-4)
    assert [p.matches[0].photo_id for p in one] == [p.matches[0].photo_id for p in other]


def test_answers_with_index_files_equal_those_of_the_gallery(folder: Path) -> None:
    opened = load(folder)
    assert opened.decider.retriever.candidate_source is not None
    assert_equal(answers(opened), plain(folder))
    exact = load(folder, rules=Rules(verify=0, recall=1.0))
    assert exact.decider.retriever.candidate_source is None
    assert exact.fitted == opened.fitted or exact.fitted.calibration == opened.fitted.calibration
    opened.gallery.close()
    exact.gallery.close()


@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
def test_damaged_index_files_are_logged_once_and_rebuilt_with_right_answers(
    folder: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = plain(folder)
    before = load(folder)
    asked = queries(before)
    before.gallery.close()
    for kind in ("numbers", "vectors", "projected", "ivf", "manifest"):
        (path,) = (folder / "segments").glob(f"{kind}*")  # healed files have other names
        whole = path.read_bytes()
        if damage == "delete":
            path.unlink()
        elif damage == "cut":
            path.write_bytes(whole[: len(whole) // 2])
        else:
            at = 128 if path.suffix == ".npy" else 30  # the first of its numbers
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with caplog.at_level(logging.WARNING, logger="whichlandmark"):
            caplog.clear()
            opened = load(folder)
            assert_equal(opened.predict(asked), expected)
            assert_equal(opened.predict(asked), expected)
            opened.gallery.close()
        messages = [record.message for record in caplog.records]
        warned = [text for text in verify_gallery(folder).warnings if "segment" in text]
        assert len(warned) == 1 or (damage, kind) == ("delete", "manifest")
        missing_manifest = damage == "delete" and path.name == "manifest.json"
        assert len(messages) == (0 if missing_manifest else 1), messages
        assert all("gallery rebuild" in text for text in messages)
        rebuild_gallery(folder)
        caplog.clear()
        opened = load(folder)
        assert opened.decider.retriever.candidate_source is not None
        assert_equal(opened.predict(asked), expected)
        opened.gallery.close()
        assert not caplog.records
    assert_equal(plain(folder), expected)


def test_a_removed_landmark_is_gone_from_the_index_files(folder: Path) -> None:
    before = load(folder)
    name = before.index.names[0]
    before.gallery.close()
    remove_photos(folder, [], name)
    opened = load(folder)
    assert name not in opened.index.names.tolist()
    assert opened.decider.retriever.candidate_source is not None
    assert_equal(answers(opened), plain(folder))
    held = b"".join(path.read_bytes() for path in (folder / "segments").iterdir())
    assert name.encode() not in held
    opened.gallery.close()


def test_damage_anywhere_in_a_column_changes_no_answer(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each column in turn: names and ids are read after the search, for the prediction."""
    expected = plain(folder)
    before = load(folder)
    vectors = queries(before)
    before.gallery.close()
    places = [
        (path, at)
        for path in sorted((folder / "segments").glob("*.npy"))
        for at in range(5, path.stat().st_size, 65_536)
    ]
    for path, at in places:
        whole = path.read_bytes()
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        opened = load(folder)
        assert_equal(opened.predict(vectors), expected)
        opened.check_index_files()  # finds damage that no answer reads
        assert opened.decider.retriever.candidate_source is None
        assert_equal(opened.predict(vectors), expected)
        opened.gallery.close()
        path.write_bytes(whole)
    assert len(caplog.records) == len(places)  # one warning each
