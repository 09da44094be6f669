"""Vectors written for others: shapes, types, ids; whole or not at all; resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.support.photos import picture, write_photo
from whichlandmark.core.errors import DataError, OptionError
from whichlandmark.core.types import Image, Photos, Vectors
from whichlandmark.data.folders import read_folder
from whichlandmark.features.descriptors import embed_photos as module
from whichlandmark.features.descriptors.align import aligned
from whichlandmark.features.descriptors.embed_photos import Transform, embed_photos
from whichlandmark.features.descriptors.write import write_descriptors
from whichlandmark.features.embedders.histogram import HistogramEmbedder

IDS = ["a/1.jpg", "ü.jpg", "c.jpg"]
X = np.random.default_rng(2).normal(size=(3, 5)).astype(np.float32)
X /= np.linalg.norm(X, axis=1, keepdims=True)
FACTS = {"embedder": "e-1", "licence": "MIT"}


def table(ids: Sequence[str]) -> Photos:
    return Photos.of_columns(ids, [f"/{each}" for each in ids], [""] * len(ids))


def written(path: Path, ids: Sequence[str] = IDS, **options: Any) -> Path:
    if path.suffix in (".h5", ".hdf5"):
        pytest.importorskip("h5py")
    write_descriptors(path, [X[:2], X[2:]], ids, 5, facts=FACTS, **options)
    return path


@pytest.mark.parametrize("name", ["v.npy", "v.safetensors", "v.hdf5", "v.h5"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_written_is_read_again(name: str, dtype: Any, tmp_path: Path) -> None:
    found = aligned(written(tmp_path / name, dtype=dtype), table(IDS[::-1]), "database")
    np.testing.assert_allclose(found.vectors[::-1], X, atol=1e-7 if dtype == "float32" else 1e-3)
    assert found.facts == {"generator": "whichlandmark", **FACTS}


def test_others_read_a_npy_with_numpy_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "v.npy", dtype="float16")
    stored = np.load(path, allow_pickle=False)
    assert (stored.shape, stored.dtype) == ((3, 5), np.float16)
    assert (tmp_path / "v.ids.txt").read_bytes() == "a/1.jpg\nü.jpg\nc.jpg\n".encode()
    about = json.loads((tmp_path / "v.about.json").read_text())
    assert about == {"generator": "whichlandmark", **FACTS}


def test_others_read_a_safetensors_file_with_its_library(tmp_path: Path) -> None:
    path = written(tmp_path / "v.safetensors")
    np.testing.assert_array_equal(load_file(path)["descriptors"], X)


def test_the_scripts_of_ilias_read_hdf5(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(written(tmp_path / "v.hdf5"), "r") as file:  # as its load_features does
        features, ids = file["features"], file["index"].asstr()
        np.testing.assert_array_equal(features[:], X)
        assert ids[:].tolist() == IDS
        assert dict(file.attrs) == {"generator": "whichlandmark", **FACTS}


def test_an_id_with_a_line_break_is_kept(tmp_path: Path) -> None:
    ids = ["a\nb.jpg", " c.jpg", "d"]
    written(tmp_path / "v.npy", ids)
    assert json.loads((tmp_path / "v.ids.json").read_text()) == ids
    assert not (tmp_path / "v.ids.txt").exists()
    found = aligned(tmp_path / "v.npy", table(ids[::-1]), "queries")
    np.testing.assert_allclose(found.vectors[::-1], X, atol=1e-7)


def test_very_many_ids_stand_beside_a_safetensors_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whichlandmark.features.descriptors.write.MAX_IDS_IN_HEADER", 10)
    found = aligned(written(tmp_path / "v.safetensors"), table(IDS[::-1]), "queries")
    np.testing.assert_allclose(found.vectors[::-1], X, atol=1e-7)


@pytest.mark.parametrize("there", ["v.npy", "v.ids.txt", "v.about.json"])
def test_nothing_is_written_over(there: str, tmp_path: Path) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(OptionError, match=r"exists, and vectors are never written over"):
        written(tmp_path / "v.npy")
    assert [each.name for each in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"


@pytest.mark.parametrize("name", ["v.npy", "v.safetensors", "v.hdf5"])
@pytest.mark.parametrize("chunks", [[X[:2]], [X, X], [X[:, :4]]])
def test_a_wrong_number_of_vectors_leaves_nothing(
    name: str, chunks: list[Vectors], tmp_path: Path
) -> None:
    if name == "v.hdf5":
        pytest.importorskip("h5py")
    with pytest.raises(DataError, match="vectors"):
        write_descriptors(tmp_path / name, chunks, IDS, 5, facts=FACTS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["v.csv", "v", "v.pkl", "v.npz"])
def test_another_ending_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"expected a name that ends in \.npy"):
        written(tmp_path / name)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    at = tmp_path_factory.mktemp("photos")
    for i in range(5):
        write_photo(at / f"{i}.jpg", picture(i, i))
    (at / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0" + b"x" * 500)
    return read_folder(at, labelled=False)


class StoppedError(Exception):
    pass


class Stopping(HistogramEmbedder):
    """Counts its photos, and stops after so many."""

    most = 1000
    seen = 0

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        self.seen += len(images)
        if self.seen > self.most:
            raise StoppedError
        return super().__call__(images)


def test_photos_are_embedded_into_a_file(tmp_path: Path, photos: Photos) -> None:
    done = embed_photos(tmp_path / "v.npy", HistogramEmbedder(), photos)
    assert (done.vectors, list(done.failures)) == (5, [photos.ids[-1]])
    assert len((tmp_path / "v.ids.txt").read_text().splitlines()) == 5
    assert not (tmp_path / "v.npy.parts").exists()
    about = json.loads((tmp_path / "v.about.json").read_text())
    assert about["vectors"] == "of the embedder, unit length"


def test_an_interrupted_export_goes_on(
    tmp_path: Path, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed_photos(tmp_path / "whole.npy", HistogramEmbedder(), photos)
    monkeypatch.setattr(module, "PART_ROWS", 2)
    embedder = Stopping()
    embedder.most = 3
    with pytest.raises(StoppedError):
        embed_photos(tmp_path / "v.npy", embedder, photos)
    assert not (tmp_path / "v.npy").exists()
    embedder.most, embedder.seen = 1000, 0
    done = embed_photos(tmp_path / "v.npy", embedder, photos)
    assert done.resumed == 2
    assert embedder.seen < 5
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), np.load(tmp_path / "whole.npy"))


def test_parts_of_another_run_are_not_taken(
    tmp_path: Path, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PART_ROWS", 2)
    embedder = Stopping()
    embedder.most = 3
    with pytest.raises(StoppedError):
        embed_photos(tmp_path / "v.npy", embedder, photos)
    with pytest.raises(OptionError, match=r"parts of another run"):
        embed_photos(tmp_path / "v.npy", embedder, photos[:4])
    os.utime(photos.paths[0], ns=(1, 1))
    with pytest.raises(OptionError, match=r"parts of another run"):
        embed_photos(tmp_path / "v.npy", embedder, photos)


def test_whitened_vectors_say_so(tmp_path: Path, photos: Photos) -> None:
    halves = Transform(lambda rows: rows[:, :4], 4, "k", "whitened by paris.wl")
    done = embed_photos(tmp_path / "v.npy", HistogramEmbedder(), photos, transform=halves)
    assert done.dim == 4
    assert "paris.wl" in (tmp_path / "v.about.json").read_text()


def test_no_photo_that_can_be_read(tmp_path: Path, photos: Photos) -> None:
    broken = photos[np.array([each.endswith("broken.jpg") for each in photos.ids])]
    with pytest.raises(DataError, match=r"none of the 1 photos could be read: .*broken\.jpg"):
        embed_photos(tmp_path / "v.npy", HistogramEmbedder(), broken)
    assert list(tmp_path.iterdir()) == []
