"""Indexing: Python and the command line give the same recognizer; existing photos stay."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_commands import json_of, run
from tests.support.galleries import postgres_address
from tests.support.photos import photos_of, picture, write_photo
from whichlandmark.core.errors import DataError, GalleryError, OptionError
from whichlandmark.data.folders import read_folder
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.gallery.address import read_link
from whichlandmark.recognition.folder.settings import read_settings, write_settings
from whichlandmark.recognition.indexing.index_photos import IndexOptions, index_photos
from whichlandmark.recognition.rules import Rules


def quiet(name: str) -> Any:
    return lambda *numbers: None


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("world")
    for i in range(18):
        path = at / "photos" / f"place {i % 3}" / f"{i:02}.jpg"
        write_photo(path, picture(i % 3, i, (150, 200)))
    for i in range(6):
        write_photo(at / "bank" / f"{i}.jpg", picture(50 + i, i, (150, 200)))
    return at


def both(
    world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    flags: list[tuple[object, ...]], options: list[IndexOptions],
) -> list[dict[str, Any]]:  # fmt: skip
    """recognizer.json after `index` with the flags, and after `index_photos` with the options."""
    json_of(capfd, "index", world / "photos", "--distractors", world / "bank", "-o",
            tmp_path / "cli.wl", *flags[0])  # fmt: skip
    photos, distractors = read_folder(world / "photos"), read_folder(world / "bank", labelled=False)
    index_photos(photos, distractors, tmp_path / "python.wl", None, options[0], progress=quiet)
    return [
        json.loads((tmp_path / name / "recognizer.json").read_text())
        for name in ("cli.wl", "python.wl")
    ]


@pytest.mark.usefixtures("two_folds")
def test_without_features_both_callers_get_the_same_recognizer(
    world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags: list[tuple[object, ...]] = [("--no-features",)]
    by_cli, by_python = both(world, tmp_path, capfd, flags, [IndexOptions(features=False)])
    assert by_cli == by_python
    assert by_cli["rules"]["verify"] == 0
    assert by_cli["rules"]["whitening"] == "learned"


@pytest.mark.usefixtures("two_folds")
@pytest.mark.parametrize("features", [True, False])
def test_where_the_server_searches_both_callers_get_the_same_recognizer(
    world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], features: bool
) -> None:
    one, two = postgres_address(), postgres_address()
    flags = ("--gallery", one, "--search", "there", *(() if features else ("--no-features",)))
    options = IndexOptions(gallery=two, search="there", features=features)
    by_cli, by_python = both(world, tmp_path, capfd, [flags], [options])
    assert by_cli == by_python
    assert by_cli["rules"]["whitening"] == "none"
    assert (by_cli["rules"]["verify"] > 0) == features
    link = read_link(tmp_path / "python.wl")
    assert link is not None
    assert (link.address, link.search) == (two, "there")


def test_the_rules_a_gallery_starts_with() -> None:
    assert Rules.for_gallery() == Rules()
    assert Rules.for_gallery(features=False) == Rules(verify=0)
    assert Rules.for_gallery(search="there") == Rules(whitening="none")
    assert Rules.for_gallery(search="there", features=False) == Rules(whitening="none", verify=0)


def test_rules_that_a_server_cannot_search_by_leave_nothing_behind(
    colour_world: Path, tmp_path: Path
) -> None:
    address = "postgresql://127.0.0.1:9/photos?gallery=paris"
    options = IndexOptions(gallery=address, search="there", rules=Rules())
    with pytest.raises(
        OptionError, match="whitening: not supported when a server searches the gallery"
    ):
        index_photos(photos_of(colour_world / "gallery"), None, tmp_path / "r.wl",
                     HistogramEmbedder(), options, progress=quiet)  # fmt: skip
    assert not (tmp_path / "r.wl").exists()


def test_a_second_run_keeps_the_rules_that_tune_has_stored(
    colour_world: Path, tmp_path: Path
) -> None:
    """Also without features: only spatial verification is off."""
    photos, out = photos_of(colour_world / "gallery"), tmp_path / "r.wl"
    for features in (True, False):
        options = IndexOptions(features=features)
        index_photos(photos, None, out, HistogramEmbedder(), options, progress=quiet)
        rules, fitted, generation = read_settings(out)
        assert fitted is not None
        chosen = replace(rules, score="cosine", whitening="none")
        write_settings(out, chosen, fitted, generation)
        index_photos(photos, None, out, HistogramEmbedder(), options, progress=quiet)
        assert read_settings(out)[0] == chosen
    assert chosen.verify == 0


def test_an_embedder_may_be_given_as_an_object(colour_world: Path, tmp_path: Path) -> None:
    photos, out = photos_of(colour_world / "gallery"), tmp_path / "r.wl"
    options = IndexOptions(features=False)
    done = index_photos(photos, None, out, HistogramEmbedder(), options, progress=quiet)
    assert (done.counts["photos"], done.counts["embedder"]) == (24, HistogramEmbedder().id)
    with pytest.raises(GalleryError, match="made by embedder"):
        index_photos(photos, None, out, HistogramEmbedder(3), options, progress=quiet)


def test_no_photo_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "photos" / "place").mkdir(parents=True)
    (tmp_path / "photos" / "place" / "a.jpg").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"no photo could be indexed: .*a\.jpg"):
        index_photos(read_folder(tmp_path / "photos"), None, tmp_path / "r.wl",
                     HistogramEmbedder(), progress=quiet)  # fmt: skip


def test_the_old_name_of_the_engine_is_still_taken(
    world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    from whichlandmark.recognition.indexing import index_photos as index_photos_module

    index_photos_module._warn_of_old_engine_name.cache_clear()
    words = ["index", world / "photos", "-o", tmp_path / "a.wl", "--no-features", "--shards", 2]
    code, _, err = run(capfd, *words, "--engine", "here")
    assert code == 0, err
    assert caplog.text.count('engine "here" is now called "local"') == 1
