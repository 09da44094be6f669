"""An embedder that is any Python object: build, save, load, add and index with it; its checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import whichlandmark as wl
from tests.support.photos import photos_of, picture
from whichlandmark.core.errors import GalleryError, ModelError, OptionError
from whichlandmark.core.files import write_json
from whichlandmark.core.types import Image, Vectors
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.features.embedders.load import load_embedder
from whichlandmark.features.embedders.record import read_record
from whichlandmark.recognition.folder.edit import add_photos, photos_to_add
from whichlandmark.recognition.folder.maintain import copy_to, rebuild_gallery, verify_gallery
from whichlandmark.recognition.folder.tune import tune
from whichlandmark.recognition.indexing.index_photos import IndexOptions, index_photos
from whichlandmark.recognition.rules import Rules

RULES = Rules(verify=0)


class Mine:
    """Colour histograms, ten times too long; `save` writes nothing."""

    name, id, short_side = "mine", "mine-1", 64
    factor = 10.0

    def __init__(self) -> None:
        self.inner = HistogramEmbedder()
        self.dim = self.inner.dim

    def __len__(self) -> int:
        return 0  # so that it is false, as an empty container is

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        return self.inner(images) * np.float32(self.factor)

    def save(self, folder: Path, /) -> None:
        pass


class Unsaved(Mine):
    def save(self, folder: Path, /) -> None:
        raise NotImplementedError


class SavesItself(Mine):
    def save(self, folder: Path, /) -> None:
        write_json(
            folder / "embedder.json",
            {"kind": "its own", "name": "mine", "id": "mine-1", "dim": 216},
        )


def quiet(name: str) -> Callable[[int, int], None]:
    return lambda done, total: None


@pytest.fixture
def folder(colour_world: Path) -> Path:
    saved(Mine(), colour_world)
    return colour_world / "r.wl"


def saved(embedder: Mine, world: Path) -> wl.Recognizer:
    built = wl.build(embedder, photos_of(world / "gallery"),
                     distractors=photos_of(world / "bank", False), rules=RULES)  # fmt: skip
    built.save(world / "r.wl")
    return built


@pytest.mark.parametrize("kind", [Mine, Unsaved, SavesItself])
def test_what_it_has_built_is_saved_and_opened_with_it(colour_world: Path, kind: Any) -> None:
    built = saved(kind(), colour_world)
    folder = colour_world / "r.wl"
    mine = kind()
    opened = wl.load(folder, embedder=mine)
    assert opened.embedder is mine
    photo = picture(1, 77)
    assert opened(photo) == built(photo)
    record = read_record(folder / "embedder")
    assert (record["name"], record["id"], record["dim"]) == ("mine", "mine-1", 216)
    assert record["kind"] == ("its own" if kind is SavesItself else "python")
    message = r"made by embedder 'mine' \(id 'mine-1'\).*pass the object: whichlandmark\.load"
    for open_it in (wl.load, tune_it, lambda place: load_embedder(place / "embedder")):
        with pytest.raises(ModelError, match=message):
            open_it(folder)


def tune_it(folder: Path) -> object:
    return tune(folder, progress=quiet)


def test_its_rows_are_normalised_and_equal_those_of_the_unit_embedder(folder: Path) -> None:
    opened = wl.load(folder, embedder=Mine())
    assert np.abs(np.linalg.norm(opened.index.vectors[:], axis=1) - 1).max() < 1e-3
    queries = opened.embed([opened.read(picture(1, 77))])
    assert queries.vectors == pytest.approx(HistogramEmbedder()([picture(1, 77)]), abs=1e-6)


def test_another_object_is_refused(folder: Path) -> None:
    other, smaller = Mine(), Mine()
    other.id, smaller.dim = "mine-2", 100
    for embedder, dim in ((other, 216), (smaller, 100)):
        message = rf"made by embedder 'mine-1' \(216 dimensions\), but '{embedder.id}' \({dim} dim"
        with pytest.raises(GalleryError, match=message):
            wl.load(folder, embedder=embedder)
        with pytest.raises(GalleryError, match=message):
            add_photos(folder, photos_of(folder.parent / "gallery"), embedder=embedder)


def test_photos_are_added_and_indexed_with_it(colour_world: Path, tmp_path: Path) -> None:
    gallery, bank = photos_of(colour_world / "gallery"), photos_of(colour_world / "bank", False)
    folder = tmp_path / "i.wl"
    options = IndexOptions(rules=RULES)
    index_photos(gallery, bank, folder, Mine(), options, progress=quiet)
    wl.load(folder, embedder=Mine())
    more = photos_to_add(photos_of(colour_world / "queries"), landmark="new", distractors=False)
    added = add_photos(folder, more, embedder=Mine())
    assert added.counts["added"] == len(more)
    assert wl.load(folder, embedder=Mine()).index.names.tolist().count("new") == 1
    assert index_photos(gallery, bank, folder, Mine(), options, progress=quiet).failures == []
    with pytest.raises(ModelError, match="made by embedder 'mine'"):
        index_photos(gallery, bank, folder, "sift", options, progress=quiet)
    with pytest.raises(OptionError, match="leave out engine ray"):
        index_photos(
            gallery, bank, folder, Mine(),
            IndexOptions(rules=RULES, shards=2, engine="ray"), progress=quiet,
        )  # fmt: skip


def test_its_folder_is_verified_rebuilt_and_copied(folder: Path, tmp_path: Path) -> None:
    assert verify_gallery(folder).faults == []
    copy_to(str(folder), str(tmp_path / "copy.wl"))
    assert wl.load(tmp_path / "copy.wl", embedder=Mine())(picture(1, 77)).guess is not None
    assert rebuild_gallery(folder).counts["lost"] == 0
    write_json(folder / "embedder" / "embedder.json",
               {"kind": "python", "name": "x", "id": "x-1", "dim": 216})  # fmt: skip
    assert "the folder's embedder is 'x-1'" in verify_gallery(folder).faults[0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((1, 5), np.float32), r"shape \(24, 5\) for \d+ images; expected \(\d+, 216\)"),
        (np.ones(216, np.float32), r"shape \(216,\)"),
        (np.full((1, 216), np.nan, np.float32), "NaN or infinite"),
        ("rows", "returned str, which is no array of numbers"),
        (None, "expected"),
    ],
    ids=str,
)
def test_wrong_rows_are_one_clear_error(colour_world: Path, rows: Any, message: str) -> None:
    class Wrong(Mine):
        def __call__(self, images: Sequence[Image], /) -> Vectors:
            if isinstance(rows, np.ndarray) and rows.ndim == 2:
                return np.repeat(rows, len(images), axis=0)
            return rows  # type: ignore[no-any-return]

    with pytest.raises(ModelError, match=message):
        wl.build(Wrong(), photos_of(colour_world / "gallery"), rules=RULES)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"dim": 0}, "with dim 0 given; expected whole numbers"),
        ({"dim": "216"}, "with dim '216' given"),
        ({"id": ""}, "with id '' given"),
        ({"short_side": 1.5}, "with short_side 1.5 given"),
    ],
    ids=str,
)
def test_an_object_that_is_no_embedder_is_refused(
    colour_world: Path, attributes: dict[str, object], message: str
) -> None:
    photos = photos_of(colour_world / "gallery")
    mine = Mine()
    for name, value in attributes.items():
        setattr(mine, name, value)
    with pytest.raises(OptionError, match=message):
        wl.build(mine, photos, rules=RULES)
    nothing: Any = object()
    with pytest.raises(
        OptionError, match="without dim, name, id, short_side, save, __call__ given"
    ):
        wl.build(nothing, photos, rules=RULES)
