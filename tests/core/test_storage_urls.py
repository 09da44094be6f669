"""Photos at URLs: read like files, with limits and retries, and never treated as paths."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from tests.support.photos import picture, write_photo
from whichlandmark.core import storage
from whichlandmark.core.errors import ImageError, OptionError
from whichlandmark.core.hardware import max_file_bytes
from whichlandmark.core.images import read_image
from whichlandmark.core.storage import (
    TarMember,
    Url,
    absolute_path,
    as_text,
    is_url,
    parse,
    read_bytes,
    read_range,
    relative_path,
    stamp,
    stamps,
    url_stamp,
)
from whichlandmark.core.types import Photos
from whichlandmark.data.import_tools import CsvColumns, read_csv
from whichlandmark.data.table import read_photos, write_photos
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.folder.fill import fill_gallery


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    """fsspec's in-memory store, empty."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    yield memory
    memory.store.clear()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "RETRY_SECONDS", 0.0)


def jpeg(folder: Path, seed: int) -> bytes:
    return write_photo(folder / f"{seed}.jpg", picture(seed, seed)).read_bytes()


def tar_of(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("s3://bucket/a.jpg", True), ("gs://b/x y.jpg", True), ("memory://a", True),
        ("file:///a.jpg", True), ("ftp://host/a.jpg", True), ("s3:/bucket/a.jpg", False),
        ("/data/s3:/a.jpg", False), ("C://a.jpg", False), ("a/b://c.jpg", False), ("://a", False),
        ("s3://", False),
    ],
)  # fmt: skip
def test_urls_are_distinguished_from_paths(text: str, url: bool) -> None:
    assert is_url(text) is url


@pytest.mark.parametrize("url", ["s3://b/a.jpg", "file:///tmp/a.jpg", "memory://x/y.tar#a@512+3"])
def test_the_slash_that_a_path_object_loses_is_restored(url: str) -> None:
    assert as_text(Path(url)) == url
    assert as_text(Path("/data/a.jpg")) == "/data/a.jpg"
    assert as_text("s3:/kept") == "s3:/kept"


def test_an_address_is_parsed_once(
    store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    parsed = []

    def counted(address: str | Path) -> storage.Address:
        parsed.append(address)
        return parse(address)

    monkeypatch.setattr(storage, "parse", counted)
    store.pipe_file("/b/a.jpg", b"abc")
    assert parse(Path("memory://b/a.jpg")) == Url("memory://b/a.jpg")
    assert read_bytes("memory://b/a.jpg") == b"abc"
    (tmp_path / "a.jpg").write_bytes(b"abc")
    assert read_bytes(tmp_path / "a.jpg") == b"abc"
    assert parsed == ["memory://b/a.jpg", tmp_path / "a.jpg"]


def test_a_photo_is_read_as_from_disk(store: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    data = jpeg(tmp_path, 1)
    store.pipe_file("/b/a.jpg", data)
    for url in ("memory://b/a.jpg", Path("memory://b/a.jpg"), f"file://{tmp_path}/1.jpg"):
        assert read_bytes(url) == data
    assert np.array_equal(read_image("memory://b/a.jpg"), read_image(tmp_path / "1.jpg"))


def test_limits_and_missing_files(store: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    store.pipe_file("/b/a.jpg", b"x" * 100)
    (tmp_path / "a.jpg").write_bytes(b"x" * 100)
    for address in ("memory://b/a.jpg", tmp_path / "a.jpg"):
        assert read_bytes(address, 100) == b"x" * 100
        with pytest.raises(ImageError, match="larger than"):
            read_bytes(address, 99)
    store.pipe_file("/b/large.jpg", b"x" * (max_file_bytes() + 1))
    with pytest.raises(ImageError, match="larger than 100 MB"):
        read_bytes("memory://b/large.jpg")
    with pytest.raises(ImageError, match=r"memory://b/no\.jpg: no such file"):
        read_bytes("memory://b/no.jpg")
    for bad in ("ftp://host/a.jpg", "memory://b/a.jpg::file://x"):
        with pytest.raises(ImageError, match=r"expected one of s3://"):
            read_bytes(bad)


def test_a_request_that_fails_is_tried_again(
    store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.pipe_file("/b/a.jpg", b"abc")
    calls = []
    work = type(store).cat_file

    def failing(self: object, *arguments: object, **options: object) -> bytes:
        calls.append(1)
        if len(calls) < succeeds_at:
            raise OSError("SlowDown")
        return work(self, *arguments, **options)

    monkeypatch.setattr(type(store), "cat_file", failing)
    succeeds_at = 3
    assert read_range("memory://b/a.jpg", 1, 9) == b"bc"
    assert len(calls) == 3
    succeeds_at = 99
    with pytest.raises(ImageError, match=r"cannot be read \(SlowDown\)"):
        read_range("memory://b/a.jpg", 0, 9)
    assert len(calls) == 6


def test_a_request_to_a_silent_store_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cloud stores are asynchronous in fsspec; their requests have a time limit."""
    import asyncio

    from fsspec.asyn import AsyncFileSystem

    class Silent(AsyncFileSystem):
        protocol = "s3"

        async def _cat_file(self, path: str, start: int | None = None, end: int | None = None,
                            **options: object) -> bytes:  # fmt: skip
            await asyncio.sleep(30)
            return b""

        async def _info(self, path: str, **options: object) -> dict[str, object]:
            await asyncio.sleep(30)
            return {}

    monkeypatch.setattr(storage, "_file_system", lambda scheme: Silent())
    monkeypatch.setattr(storage, "REQUEST_SECONDS", 0.02)
    with pytest.raises(ImageError, match="cannot be read"):
        read_bytes("s3://bucket/a.jpg")
    assert url_stamp("s3://bucket/a.jpg") == ""


def test_without_the_library_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage._file_system.cache_clear()
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(OptionError, match="s3:// needs another library"):
        read_bytes("s3://bucket/a.jpg")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(OptionError, match=r"pip install '[^']*\[cluster\]'"):
        read_bytes("gs://bucket/a.jpg")


def test_a_member_of_a_tar_at_a_url(store: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    files = {"a/0.jpg": jpeg(tmp_path, 0), "a/1.jpg": jpeg(tmp_path, 1)}
    data = tar_of(files)
    store.pipe_file("/b/x.tar", data)
    at = data.index(files["a/1.jpg"])
    good = TarMember("memory://b/x.tar", "a/1.jpg", at, len(files["a/1.jpg"]))
    assert read_bytes(str(good)) == files["a/1.jpg"]
    for bad in (
        TarMember(good.tar, "a/0.jpg", at, good.size),
        TarMember(good.tar, good.name, at, good.size - 1),
        TarMember(good.tar, good.name, at + 512, good.size), TarMember(good.tar, good.name, 99, 3),
        TarMember("memory://b/y.tar", good.name, at, good.size),
        TarMember(good.tar, good.name, 10**9 // 512 * 512, good.size),
    ):  # fmt: skip
        with pytest.raises(ImageError):
            read_bytes(str(bad))


def test_the_stamp_of_a_changed_file_differs(
    store: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    store.pipe_file("/b/x.tar", b"x" * 2048)
    local = write_photo(tmp_path / "a.jpg", picture(0, 0))
    url = f"file://{local}"
    members = [f"memory://b/x.tar#a{i}@{512 * (i + 1)}+10" for i in range(3)]
    paths = [*members, str(local), url, "memory://b/none.jpg", "s4://x/y", str(tmp_path / "no")]
    before = stamps(paths)
    assert before == [stamp(path) for path in paths]
    assert len(set(before[:3])) == 3
    assert before[5:] == ["", "", ""]
    store.pipe_file("/b/x.tar", b"y" * 2048)
    os.utime(local, ns=(1, 1))
    after = stamps(paths)
    assert all(a != b for a, b in zip(after[:5], before[:5], strict=True))


def test_stamps_of_many_photos_in_one_tar_take_one_request(
    store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.pipe_file("/b/x.tar", b"x" * 2048)
    requested = []
    lock = threading.Lock()

    def counted(url: str) -> str:
        with lock:
            requested.append(url)
        return "7"

    monkeypatch.setattr(storage, "url_stamp", counted)
    stamps([f"memory://b/x.tar#{i}@512+{i}" for i in range(500)])
    assert requested == ["memory://b/x.tar"]


def test_a_table_keeps_urls(tmp_path: Path, store: fsspec.AbstractFileSystem) -> None:
    urls = ["s3://bucket/a b.jpg", "memory://b/x.tar#a/../n@512+7", "gs://b/../c.jpg"]
    photos = Photos.of_columns(["a", "b", "c"], urls, ["", "", ""])
    write_photos(tmp_path / "deep" / "photos.csv", photos)
    assert (tmp_path / "deep" / "photos.csv").read_text().count("://") == 3
    assert read_photos(tmp_path / "deep" / "photos.csv").paths.tolist() == urls
    for url in urls:
        assert absolute_path(url, "/data") == url == relative_path(url, "/data")
    (tmp_path / "own.csv").write_text("file,name\ns3://bucket/a.jpg,x\nno.jpg,y\n")
    found, missing = read_csv(tmp_path / "own.csv", CsvColumns(path="file", landmark="name"))
    assert found.paths.tolist() == ["s3://bucket/a.jpg"]
    assert list(missing) == [str(tmp_path / "no.jpg")]


def test_a_gallery_of_urls_is_resumed(store: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    for i in range(6):
        store.pipe_file(f"/b/{i}.jpg", jpeg(tmp_path, i))
    urls = [f"memory://b/{i}.jpg" for i in range(7)]
    photos = Photos.of_columns([str(i) for i in range(7)], urls, ["place"] * 7)
    with SqliteGallery.create(None, "histogram-6", 216) as gallery:
        failures = fill_gallery(HistogramEmbedder(), photos, gallery, features=False)
        assert [(f.id, f.reason) for f in failures] == [("6", "memory://b/6.jpg: no such file")]
        hashes, generation = gallery.table().hashes.tolist(), gallery.generation
        fill_gallery(HistogramEmbedder(), photos.take(range(6)), gallery, features=False)
        assert gallery.generation == generation  # nothing was embedded again
        store.pipe_file("/b/2.jpg", jpeg(tmp_path, 9))
        fill_gallery(HistogramEmbedder(), photos, gallery, features=False)
        now = gallery.table().hashes.tolist()
        assert [a == b for a, b in zip(now, hashes, strict=True)].count(False) == 1
