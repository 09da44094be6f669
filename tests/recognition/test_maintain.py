"""A recognizer's gallery on a server, and copied between back ends: the same answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.galleries import postgres_address
from tests.support.photos import photos_of
from whichlandmark.core.errors import DataError, GalleryError, OptionError
from whichlandmark.core.types import Prediction
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.gallery import copy as copy_module
from whichlandmark.gallery.address import (
    LINK_FILE,
    Link,
    gallery_in,
    read_link,
    write_link,
)
from whichlandmark.gallery.copy import content_sum, copy_gallery
from whichlandmark.gallery.records import GalleryRow, LandmarkRecord
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.folder import edit, maintain
from whichlandmark.recognition.folder import load as load_module
from whichlandmark.recognition.folder.load import load
from whichlandmark.recognition.folder.maintain import copy_to
from whichlandmark.recognition.indexing.index_photos import IndexOptions, index_photos
from whichlandmark.recognition.rules import Rules


def quiet(label: str) -> copy_module.Progress:
    return lambda done, total: None


@pytest.fixture
def world(colour_world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for home in (load_module, maintain, edit):
        monkeypatch.setattr(
            home, "load_embedder", lambda source, device="auto": HistogramEmbedder()
        )
    return colour_world


def index(world: Path, folder: Path, rules: Rules | None = None) -> None:
    index_photos(
        photos_of(world / "gallery"), photos_of(world / "bank", False), folder,
        HistogramEmbedder(), IndexOptions(rules=rules), progress=quiet,
    )  # fmt: skip


def predictions(folder: Path) -> list[Prediction]:
    opened = load(folder)
    try:
        return [opened(path) for path in sorted((folder.parent / "queries").glob("*.jpg"))]
    finally:
        opened.gallery.close()


def contents(folder: Path) -> dict[str, int]:
    with gallery_in(folder) as gallery:
        return {row.id: content_sum(row) for _, row in gallery.rows_after(-1, 1000)}


def same(mine: Sequence[Prediction], others: Sequence[Prediction]) -> None:
    for one, other in zip(mine, others, strict=True):
        assert (one.decision, one.landmark) == (other.decision, other.landmark)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-5)
        assert [m.photo_id for m in one.matches] == [m.photo_id for m in other.matches]
        assert [m.inliers for m in one.matches] == [m.inliers for m in other.matches]


def test_copying_to_a_server_and_back_keeps_the_answers(world: Path) -> None:
    index(world, world / "file.wl")
    with gallery_in(world / "file.wl") as gallery:
        gallery.describe([LandmarkRecord("place 1", "The Place", {"fr": "La Place"}, "Q1")])
    address = postgres_address()
    copied = copy_to(str(world / "file.wl"), str(world / "server.wl"), link=Link(address=address))
    assert copied["copied"] == copied["photos"] == 34
    assert copied["compared"] == 34
    back = copy_to(str(world / "server.wl"), str(world / "back.wl"))
    assert back["records"] == 1
    assert (
        contents(world / "file.wl") == contents(world / "server.wl") == contents(world / "back.wl")
    )
    same(predictions(world / "file.wl"), predictions(world / "server.wl"))
    same(predictions(world / "file.wl"), predictions(world / "back.wl"))
    again = copy_to(str(world / "server.wl"), str(world / "back.wl"))
    assert again["copied"] == 0
    assert maintain.verify_gallery(world / "server.wl").faults == []


@pytest.mark.slow
def test_a_gallery_on_a_server_is_edited_and_searched_like_a_file(world: Path) -> None:
    index(world, world / "file.wl")
    write_link(world / "s.wl", Link(address=postgres_address()))
    index(world, world / "s.wl")
    assert not (world / "s.wl" / "gallery.sqlite").exists()
    assert contents(world / "s.wl") == contents(world / "file.wl")
    same(predictions(world / "file.wl"), predictions(world / "s.wl"))
    for folder in (world / "file.wl", world / "s.wl"):
        edit.remove_photos(folder, [], "place 2")
        edit.relabel_photos(folder, [], "place 3", "place 9")
    same(predictions(world / "file.wl"), predictions(world / "s.wl"))
    listed = edit.list_landmarks(world / "s.wl")["landmarks"]
    assert [one["landmark"] for one in listed] == ["place 0", "place 1", "place 9"]
    with pytest.raises(OptionError, match="its server"):
        maintain.compact_gallery(world / "s.wl")
    assert maintain.rebuild_gallery(world / "s.wl").counts["lost"] == 0


@pytest.mark.slow
def test_server_side_search_gives_the_local_answers(world: Path) -> None:
    plain = Rules(whitening="none")
    index(world, world / "file.wl", plain)
    write_link(world / "s.wl", Link(address=postgres_address(), search="there"))
    index(world, world / "s.wl")
    same(predictions(world / "file.wl"), predictions(world / "s.wl"))
    with pytest.raises(OptionError, match="whitening"):
        index(world, world / "s.wl", Rules())


def test_an_interrupted_copy_resumes(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index(world, world / "file.wl")
    monkeypatch.setattr(copy_module, "BATCH_PHOTOS", 10)
    address = postgres_address()

    def stop(done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_to(str(world / "file.wl"), address, progress=stop)
    done = copy_to(str(world / "file.wl"), address)
    assert (done["photos"], done["copied"], done["compared"]) == (34, 14, 34)


def row(name: str, landmark: str = "a", value: float = 0.5) -> GalleryRow:
    import numpy as np

    return GalleryRow(name, f"/{name}", landmark, "h", "s", np.full(4, value, np.float32))


def test_a_target_that_is_no_copy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = (SqliteGallery.create(None, "e", 4) for _ in range(2))
    source.put([row("x"), row("y", "b")])
    target.put([row("z")])
    with pytest.raises(GalleryError, match="1 photos that are not in"):
        copy_gallery(source, target)
    target.remove(["z"])
    target.put([row("x", value=-0.5)])  # another vector under the same words
    with pytest.raises(GalleryError, match="'x' is not as in"):
        copy_gallery(source, target)
    with pytest.raises(GalleryError, match="embedder"):
        copy_gallery(source, SqliteGallery.create(None, "other", 4))
    third = SqliteGallery.create(None, "e", 4)
    with pytest.raises(GalleryError, match="changed while"):
        copy_gallery(source, third, progress=lambda done, total: source.put([row("w")]))


def test_gallery_links_are_written_read_and_checked(world: Path, tmp_path: Path) -> None:
    link = Link(address="postgresql://host/photos?gallery=paris")
    write_link(tmp_path / "l.wl", link)
    write_link(tmp_path / "l.wl", link)
    assert read_link(tmp_path / "l.wl") == link
    with pytest.raises(GalleryError, match="has a gallery already"):
        write_link(tmp_path / "l.wl", Link(address="postgresql://host/photos?gallery=other"))
    for search in ("there", "qdrant://host/paris?size=10000000", "here"):
        write_link(tmp_path / "l.wl", Link(address=link.address, search=search))
        assert read_link(tmp_path / "l.wl") == Link(address=link.address, search=search)
    for bad in (
        "sqlite://x",
        "paris.wl",
        "postgresql://me:secret@host/photos?gallery=p",
        "postgresql://me@host/photos?password=secret&gallery=p",
        "postgresql://host/photos?gallery=Paris",
    ):
        with pytest.raises(OptionError) as error:
            Link(address=bad)
        assert "secret" not in str(error.value)
    for search, words in (
        ("somewhere", "expected here, there or qdrant://HOST:6334/NAME"),
        ("qdrant://h/a/b", "'a/b'"),
        ("qdrant://:secret@h/a", "a password in the address"), ("there", "without --gallery"),
        ("qdrant://h/a?api_key=secret", "a password in the address"),
    ):  # fmt: skip
        with pytest.raises(OptionError) as error:
            Link(search=search)
        assert words in str(error.value)
        assert "secret" not in str(error.value)
    with pytest.raises(
        OptionError, match=r"no gallery; .* give --search qdrant://host/paris, with"
    ):
        Link(address="qdrant://host/paris?size=9")
    (tmp_path / "l.wl" / LINK_FILE).write_text(json.dumps({"adress": "x"}))
    with pytest.raises(GalleryError, match="damaged"):
        gallery_in(tmp_path / "l.wl")


def test_impossible_copies_are_refused(world: Path) -> None:
    index(world, world / "file.wl")
    file = str(world / "file.wl")
    with pytest.raises(OptionError, match="given twice"):
        copy_to(file, f"{file}/")
    server = "postgresql://localhost/photos?gallery=a"
    with pytest.raises(OptionError, match="no embedder"):
        copy_to(server, str(world / "new.wl"))
    with pytest.raises(OptionError, match="expected a folder with them"):
        copy_to(file, server, link=Link(search="qdrant://localhost/b"))
    for pair in ((file, "qdrant://localhost/a"), ("qdrant://localhost/a", file)):
        with pytest.raises(OptionError, match="a search index of a gallery, no gallery"):
            copy_to(*pair)
    with pytest.raises(OptionError, match="whitening: not supported when a server searches"):
        copy_to(file, str(world / "new.wl"), link=Link(search="qdrant://localhost/b"))
    with pytest.raises(DataError, match="no such recognizer"):
        copy_to(str(world / "nowhere.wl"), str(world / "new.wl"))
    with pytest.raises(GalleryError, match=r"127\.0\.0\.1"):
        copy_to(file, "postgresql://127.0.0.1:9/photos?gallery=paris&connect_timeout=2")
    shutil.copytree(world / "file.wl", world / "both.wl")
    (world / "both.wl" / LINK_FILE).write_text(json.dumps({"address": server}))
    with pytest.raises(GalleryError, match="two galleries"):
        load(world / "both.wl")


def test_the_search_option_needs_a_server_gallery(
    world: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from whichlandmark.cli import main

    index(world, world / "file.wl")
    shutil.rmtree(world / "file.wl" / "embedder")
    for arguments, code, words in (
        (["--search", "there"], 2, "without --gallery"), ([], 5, "no embedder"),
    ):  # fmt: skip
        copy = ["gallery", "copy", str(world / "file.wl"), str(world / "new.wl")]
        monkeypatch.setattr("sys.argv", ["whichlandmark", *copy, *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        assert words in capfd.readouterr().err
