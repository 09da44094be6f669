"""The verb embed: vectors of photos into a file, of an embedder or whitened by a recognizer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import whichlandmark as wl
from tests.cli.test_commands import json_of, run
from tests.support.photos import picture, write_photo
from whichlandmark.features.embedders.load import (
    PretrainedOptions,
    load_embedder,
    make_embedder,
)

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("world")
    for code in range(3):
        for i in range(4):
            write_photo(at / "gallery" / f"place {code}" / f"{i}.jpg", picture(code, i))
    make_embedder("lite0", PretrainedOptions(size=64), at / "e")
    wl.build(load_embedder(at / "e"), wl.read_folder(at / "gallery")).save(at / "r.wl")
    return at


def test_vectors_of_an_embedder(world: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "v.npy"
    embedder = world / "e"
    made = json_of(capfd, "embed", world / "gallery", "-o", out, "--embedder", embedder)
    assert (made["vectors"], made["failed"], made["whitened"]) == (12, 0, False)
    stored = np.load(out)
    assert stored.shape == (12, made["dimensions"])
    lengths = np.linalg.norm(stored, axis=1)
    assert (np.isclose(lengths, 1, atol=1e-5) | (lengths == 0)).all()
    assert len((tmp_path / "v.ids.txt").read_text().splitlines()) == 12


def test_vectors_whitened_by_a_recognizer(world: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "v.safetensors"
    made = json_of(capfd, "embed", world / "gallery", "-o", out, "-r", world / "r.wl", "--float16")
    opened = wl.load(world / "r.wl")
    whitening = opened.fitted.projection
    assert made["whitened"] is (whitening is not None)
    if whitening is not None:
        assert made["dimensions"] == len(whitening.axes)
    header = out.read_bytes()[8:4000]
    assert b'"F16"' in header
    assert (b"whitened by r.wl" in header) is made["whitened"]


def test_failed_photos_are_listed(world: Path, tmp_path: Path, capfd: Capture) -> None:
    table = tmp_path / "t.csv"
    photos = wl.read_folder(world / "gallery")
    wl.write_photos(table, photos)
    table.write_text(table.read_text() + f"gone,{tmp_path / 'gone.jpg'},\n")
    code, out, err = run(capfd, "embed", table, "-o", tmp_path / "v.npy", "--embedder", world / "e")
    assert code == 3
    assert "gone" in err
    assert "12" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-o", "v.csv"], 2, "expected a name that ends in .npy, .safetensors, .hdf5 or .h5"),
        (["-o", "there.npy"], 2, "vectors are never written over a file"),
        (["-o", "v.npy", "--embedder", "sift", "-r", "r.wl"], 2, "expected one of them"),
        (["-o", "v.npy", "--embedder", "no/such"], 4, "no/such"),
        (["-o", "v.npy", "--embedder", "sift"], 2, "sift learns its words from the photos"),
    ],
)
def test_wrong_options(
    arguments: list[str], code: int, message: str, world: Path, tmp_path: Path, capfd: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.npy").write_bytes(b"mine")
    ended, _, err = run(capfd, "embed", world / "gallery", *arguments)
    assert ended in (code, 2)
    assert message in err
    assert (tmp_path / "there.npy").read_bytes() == b"mine"


def test_what_the_file_says(world: Path, tmp_path: Path, capfd: Capture) -> None:
    embedder = world / "e"
    run(capfd, "embed", world / "gallery", "-o", tmp_path / "v.npy", "--embedder", embedder)
    about = json.loads((tmp_path / "v.about.json").read_text())
    assert set(about) == {"generator", "embedder", "name", "licence", "vectors"}
