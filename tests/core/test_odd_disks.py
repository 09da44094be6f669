"""Disks that refuse modes, flushing, locks, links or mapping; full and read-only disks."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import mmap
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whichlandmark.core import disks
from whichlandmark.core.csv_files import open_csv
from whichlandmark.core.disks import file_lock, publish, require_writable
from whichlandmark.core.errors import DataError, GalleryError
from whichlandmark.core.files import atomic_file, read_json, write_json, write_text
from whichlandmark.core.results import FOLDER, check_results
from whichlandmark.core.storage import read_bytes
from whichlandmark.data.cleaning.scan_cache import PhotoScan, ScanCache
from whichlandmark.data.photo_locations import list_tar
from whichlandmark.gallery.index.mapped import Column, IndexFileError, MappedRows, write_column
from whichlandmark.gallery.index.parts import read_manifest
from whichlandmark.gallery.records import GalleryRow
from whichlandmark.gallery.sqlite import schema
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.serving.keys import add_key, read_keys


def refusing(code: int) -> Callable[..., Any]:
    def refuse(*arguments: object, **options: object) -> Any:
        raise OSError(code, os.strerror(code))

    return refuse


def row(photo_id: str) -> GalleryRow:
    vector = np.array([1.0, 0.0, 0.0, 0.0], dtype=np.float32)
    return GalleryRow(photo_id, f"/p/{photo_id}.jpg", "a", "h", "1:2", vector, b"", b"", b"")


@pytest.mark.parametrize("name", ["chmod", "fsync"])
@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL])
def test_a_disk_without_modes_or_flushing_is_written_to(
    name: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks.os, name, refusing(code))
    write_json(tmp_path / "a" / "x.json", {"a": 1})
    assert read_json(tmp_path / "a" / "x.json") == {"a": 1}
    assert os.listdir(tmp_path / "a") == ["x.json"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_to_flush_is_an_error(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "x", "old")
    monkeypatch.setattr(disks.os, "fsync", refusing(code))
    with pytest.raises(DataError, match=r"cannot be written .* the old file is unchanged"):
        write_text(tmp_path / "x", "new")
    assert (tmp_path / "x").read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize(
    ("code", "advice"),
    [(errno.EPERM, "may not be written to, or replaces no files"), (errno.EROFS, "another folder"),
     (errno.ENOSPC, "is full; free some space"), (errno.ENOTSUP, "write to a local disk"),
     (errno.EIO, "is the disk or network share of .* still there")],
)  # fmt: skip
def test_a_disk_that_replaces_no_files(
    code: int, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "x", "old")
    monkeypatch.setattr(os, "replace", refusing(code))
    with pytest.raises(DataError, match=rf"x: cannot be written \(.*{advice}"):
        write_text(tmp_path / "x", "new")
    assert (tmp_path / "x").read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


def test_a_name_as_long_as_names_may_be(tmp_path: Path) -> None:
    write_text(tmp_path / ("n" * 251 + ".csv"), "a")
    with pytest.raises(DataError, match="File name too long"):
        write_text(tmp_path / ("n" * 256), "a")


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EIO])
def test_a_disk_without_locks_is_told(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(code))
    with (
        pytest.raises(DataError, match=f"{tmp_path}: its file system cannot lock files .*copy"),
        file_lock(tmp_path / "lock"),
    ):
        raise AssertionError("not reached")


def test_a_lock_in_a_folder_that_may_not_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file is a file, not a folder"), \
            file_lock(tmp_path / "file" / "lock"):  # fmt: skip
        raise AssertionError("not reached")


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_never_replaces_another(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(disks.os, "link", refusing(errno.EPERM))
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    publish(tmp_path / "one", tmp_path / "x")
    with pytest.raises(FileExistsError):
        publish(tmp_path / "two", tmp_path / "x")
    assert (tmp_path / "x").read_text() == "one"
    assert sorted(os.listdir(tmp_path)) == ["two", "x"]


CREATE = """
import sys, time
from pathlib import Path
from tests.core.test_odd_disks import row
from whichlandmark.gallery.address import open_or_create
go, folder, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
print("ready", flush=True)
while not go.exists():
    time.sleep(0.0005)
with open_or_create(folder, "fake", 4) as gallery:
    gallery.put([row(name)])
"""


def test_two_first_runs_at_the_same_moment_lose_nothing(tmp_path: Path) -> None:
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, tmp_path / "go", tmp_path / "new.wl", name],
            stdout=subprocess.PIPE,
        )
        for name in "abc"
    ]
    for run in runs:
        assert run.stdout is not None
        run.stdout.readline()
        run.stdout.close()
    (tmp_path / "go").touch()
    assert [run.wait() for run in runs] == [0, 0, 0]
    with SqliteGallery.open(tmp_path / "new.wl" / "gallery.sqlite") as gallery:
        assert sorted(gallery.stamps()) == ["a", "b", "c"]


def test_a_gallery_on_a_disk_without_flushing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(disks.os, "fsync", refusing(errno.EINVAL))
    with caplog.at_level(logging.WARNING, "whichlandmark"):
        with SqliteGallery.create(tmp_path / "g" / "gallery.sqlite", "fake", 4) as gallery:
            gallery.put([row("x")])
            assert gallery._connection.execute("PRAGMA synchronous").fetchone() == (0,)
        SqliteGallery.open(tmp_path / "g" / "gallery.sqlite").close()
    warned = [each for each in caplog.messages if "cannot flush files" in each]
    assert len(warned) == 1


class Unlocked(sqlite3.OperationalError):
    sqlite_errorname = "SQLITE_IOERR_SHMMAP"


@pytest.mark.parametrize(
    ("name", "message"),
    [("SQLITE_IOERR_LOCK", "cannot lock files"), ("SQLITE_IOERR_SHMMAP", "or share memory"),
     ("SQLITE_PROTOCOL", "cannot lock files"), ("SQLITE_IOERR_READ", "network share failed"),
     ("SQLITE_CANTOPEN", "may its folder be written to"), ("SQLITE_FULL", "the disk is full")],
)  # fmt: skip
def test_what_the_disk_refuses_is_never_called_damage(name: str, message: str) -> None:
    texts = {"SQLITE_CANTOPEN": "unable to open database file", "SQLITE_FULL": "disk is full"}
    error = sqlite3.OperationalError(texts.get(name, "disk I/O error"))
    error.sqlite_errorname = name
    told = str(schema.gallery_error(error, "/mnt/nas/gallery.sqlite"))
    assert message in told
    assert "rebuild" not in told


def test_a_gallery_is_read_where_nothing_can_be_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "gallery.sqlite"
    with SqliteGallery.create(path, "fake", 4) as gallery:
        gallery.put([row("x")])
    real = schema.connect

    def connect(path: Path | None, *, immutable: bool = False) -> sqlite3.Connection:
        if not immutable:
            raise Unlocked("disk I/O error")
        return real(path, immutable=True)

    monkeypatch.setattr(schema, "connect", connect)
    with caplog.at_level(logging.WARNING, "whichlandmark"), SqliteGallery.open(path) as gallery:
        assert list(gallery.stamps()) == ["x"]
        with pytest.raises(GalleryError, match="may not be written to"):
            gallery.put([row("y")])
    assert "opened for reading only" in caplog.text
    Path(f"{path}-wal").write_bytes(b"changes")
    with pytest.raises(GalleryError, match="write permission and file locks"):
        SqliteGallery.open(path)


def test_an_index_file_on_a_disk_that_maps_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    column = write_column(tmp_path, "x", [np.arange(100)])
    monkeypatch.setattr(mmap, "mmap", refusing(errno.ENODEV))
    assert MappedRows(tmp_path, column)[:].tolist() == list(range(100))


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Reading is refused, as to a user without permission (root, who runs tests, has every)."""
    real_open, real_access = os.open, os.access
    import builtins

    plain = builtins.open

    def access(path: Any, mode: int) -> bool:
        return "secret" not in str(path) and real_access(path, mode)

    def opened(path: Any, *arguments: Any, **options: Any) -> Any:
        if "secret" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return plain(path, *arguments, **options)

    monkeypatch.setattr(os, "access", access)
    monkeypatch.setattr(builtins, "open", opened)
    monkeypatch.setattr("io.open", opened)
    assert real_open
    return Path("secret")


def test_no_permission_to_read_is_told_as_such(tmp_path: Path, forbidden: Path) -> None:
    folder = tmp_path / forbidden
    folder.mkdir()
    for name in ("gallery.sqlite", "manifest.json", "a.json", "a.csv", "a.jpg", "a.npy"):
        (folder / name).touch()
    reads: dict[str, Callable[[], object]] = {
        "gallery.sqlite": lambda: SqliteGallery.open(folder / "gallery.sqlite"),
        "manifest.json": lambda: read_manifest(folder),
        "a.json": lambda: read_json(folder / "a.json"),
        "a.jpg": lambda: read_bytes(folder / "a.jpg"),
        "a.npy": lambda: MappedRows(
            folder, Column(file="a.npy", dtype="<i8", shape=[1], start=0, sums="")
        ),
        "a.csv": lambda: open_csv(folder / "a.csv").__enter__(),
    }
    for name, read in reads.items():
        with pytest.raises((DataError, GalleryError, IndexFileError)) as caught:
            read()
        assert f"{name}: may not be read (permission denied)" in str(caught.value)
        assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("name", ["x.csv", "x.json"])
def test_a_pipe_is_no_table(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="is a named pipe, not a file; write its content into"):
        open_csv(tmp_path / name).__enter__() if name == "x.csv" else read_json(tmp_path / name)


def test_the_pipe_of_a_shell_is_a_table() -> None:
    ends = os.pipe()
    os.write(ends[1], b"id,path\na,b\n")
    os.close(ends[1])
    with open_csv(Path(f"/dev/fd/{ends[0]}")) as (names, rows):
        assert (names, [cells for _, cells in rows]) == (["id", "path"], [["a", "b"]])
    os.close(ends[0])


@pytest.mark.parametrize(("file", "folder"), [("x.csv", False), ("new/x.csv", False), ("r", True)])
def test_what_can_be_written_leaves_nothing_behind(file: str, folder: bool, tmp_path: Path) -> None:
    require_writable(tmp_path / file, folder=folder)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "advice"),
    [(errno.EROFS, "may not be written to"), (errno.EACCES, "may not be written to"),
     (errno.ENOSPC, "is full"), (errno.EDQUOT, "is full")],
)  # fmt: skip
def test_what_cannot_be_written_is_noticed_before_the_work(
    code: int, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks.tempfile, "TemporaryFile", refusing(code))
    for kind in ("page", FOLDER):
        with pytest.raises(DataError, match=f"x: cannot be written .*{advice}"):
            check_results([(tmp_path / "x", kind)])


def test_a_disk_with_a_few_bytes_left_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = disks.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(disks.shutil, "disk_usage", lambda path: usage._replace(free=500_000))
    with pytest.raises(DataError, match=r"is full \(500 kB are free\)"):
        require_writable(tmp_path / "x")
    monkeypatch.setattr(disks.shutil, "disk_usage", lambda path: usage._replace(total=0, free=0))
    require_writable(tmp_path / "x")  # some file systems tell nothing


def test_a_file_where_a_folder_is_expected(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file is a file, not a folder"):
        require_writable(tmp_path / "file" / "x.csv")
    with pytest.raises(DataError, match="a file; expected a folder"):
        require_writable(tmp_path / "file", folder=True)
    with pytest.raises(DataError, match="file is a file, not a folder"):
        require_writable(tmp_path / "file" / "new", folder=True)


def test_what_is_copied_and_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="source: no such file"), atomic_file(tmp_path / "x"):
        (tmp_path / "source").read_bytes()


def test_a_full_disk_is_told_where_a_library_hides_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x: cannot be written \(No space left .* is full"), \
            atomic_file(tmp_path / "x"):  # fmt: skip
        raise RuntimeError("Error while serializing: No space left on device (os error 28)")


def test_a_scan_cache_on_a_full_disk_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScanCache(tmp_path / "c.sqlite") as cache:
        cache._sql.execute("PRAGMA max_page_count = 5")
        scans = [PhotoScan(str(i), "s", error="e" * 3000) for i in range(50)]
        with pytest.raises(GalleryError, match="the disk is full"):
            cache.put(scans)


def test_keys_are_private_or_a_warning_says_that_they_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add_key(tmp_path / "keys.json", "me", "read")
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600
    assert "private" not in caplog.text
    monkeypatch.setattr(disks.os, "chmod", refusing(errno.EPERM))
    with caplog.at_level(logging.WARNING, "whichlandmark"):
        add_key(tmp_path / "keys.json", "you", "write")
    assert "keys.json: could not be made private" in caplog.text
    assert [key.name for key in read_keys(tmp_path / "keys.json")] == ["me", "you"]
    assert json.loads((tmp_path / "keys.json").read_text())["format"] == 1


def test_a_pipe_called_tar_is_a_tar_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "images_000.tar")
    listed = list_tar(str(tmp_path / "images_000.tar"), "")
    assert "is a named pipe, not a file" in listed.problem
    assert not len(listed.ids)
