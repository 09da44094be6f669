"""Reading folders of photos: which files are found, ids and landmarks, skipped files."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from whichlandmark.core.errors import DataError
from whichlandmark.data.folders import read_folder, read_photos_or_folder
from whichlandmark.data.left_out import lost_photos


def touch(root: Path, *names: str) -> Path:
    """Make files that begin as a JPEG does: `read_folder` reads no more of a photo."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"\xff\xd8\xff\xe0")
    return root


def test_the_first_folder_is_the_landmark(tmp_path: Path) -> None:
    root = touch(tmp_path / "paris", "tower/b.jpg", "tower/a.PNG", "arch/2019/summer/c.Jpeg")
    photos = read_folder(root)
    assert photos.ids.tolist() == [
        "paris/arch/2019/summer/c.Jpeg", "paris/tower/a.PNG", "paris/tower/b.jpg",
    ]  # fmt: skip
    assert photos.landmarks.tolist() == ["arch", "tower", "tower"]
    assert photos.paths[0] == str(root / "arch/2019/summer/c.Jpeg")


def test_unlabelled_folders_use_every_photo(tmp_path: Path) -> None:
    root = touch(tmp_path / "streets", "z.jpg", "day/a.webp", "day/more/b.gif")
    photos = read_folder(root, labelled=False)
    assert photos.ids.tolist() == [
        "streets/z.jpg", "streets/day/a.webp", "streets/day/more/b.gif",
    ]  # fmt: skip
    assert set(photos.landmarks) == {""}


def test_photos_of_equal_file_names_get_different_ids(tmp_path: Path) -> None:
    root = touch(tmp_path / "r", "a/1.jpg", "a/1.png", "b/1.jpg")
    assert len(set(read_folder(root).ids)) == 3


def test_hidden_and_other_files_are_left_out_by_name_and_reason(tmp_path: Path) -> None:
    root = touch(tmp_path / "r", "a/1.jpg", "a/.2.jpg", ".cache/3.jpg", "a/.thumbs/4.jpg", "a/jpg")
    (root / "a" / "notes.txt").write_text("of the trip")
    (root / "b").mkdir()
    (root / "b" / "5.jxl").write_bytes(b"\xff\x0a" + bytes(60))
    photos = read_folder(root)
    assert photos.ids.tolist() == ["r/a/1.jpg", "r/a/jpg"]
    assert {os.path.relpath(path, root): why for path, why in photos.left_out.items()} == {
        "a/.2.jpg": "hidden file or folder", ".cache/3.jpg": "hidden file or folder",
        "a/.thumbs/4.jpg": "hidden file or folder", "a/notes.txt": "text",
        "b/5.jxl": "JPEG XL, which cannot be decoded: convert it to JPEG",
    }  # fmt: skip
    assert [*lost_photos(photos.left_out)] == [str(root / "b/5.jxl")]


def test_photos_are_ordered_by_name_not_by_disk_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = touch(tmp_path / "r", *(f"{mark}/{i}.jpg" for mark in "cab" for i in (2, 0, 1)))
    first = read_folder(root)
    scandir = os.scandir

    class Backwards:
        def __init__(self, path: str) -> None:
            self.entries = iter(sorted(scandir(path), key=lambda e: e.name, reverse=True))

        def __enter__(self) -> object:
            return self.entries

        def __exit__(self, *_: object) -> None: ...
        def __iter__(self) -> object:
            return self.entries

        def __next__(self) -> os.DirEntry[str]:
            return next(self.entries)

        def close(self) -> None: ...

    monkeypatch.setattr(os, "scandir", Backwards)
    assert read_folder(root).ids.tolist() == first.ids.tolist() == sorted(first.ids)


def test_symbolic_link_loops_terminate(tmp_path: Path) -> None:
    root = touch(tmp_path / "r", "a/1.jpg")
    (root / "a" / "again").symlink_to(root, target_is_directory=True)
    (root / "b").symlink_to(root / "a", target_is_directory=True)
    assert read_folder(root).ids.tolist() == ["r/a/1.jpg"]


def test_loose_photos_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = touch(tmp_path / "r", "a/1.jpg", "loose.jpg", "other.jpg")
    with caplog.at_level(logging.WARNING, "whichlandmark"):
        assert read_folder(root).ids.tolist() == ["r/a/1.jpg"]
    assert "2 photos outside the landmark folders" in caplog.text


@pytest.mark.parametrize("labelled", [True, False])
def test_an_empty_folder_error_names_the_expected_layout(tmp_path: Path, labelled: bool) -> None:
    root = tmp_path / "r"
    (root / "a").mkdir(parents=True)
    (root / "a" / "readme.txt").write_text("nothing here")
    layout = "<landmark>/*.jpg" if labelled else "*.jpg"
    with pytest.raises(DataError) as caught:
        read_folder(root, labelled=labelled)
    assert f"no photos found; expected {root}/{layout}" in str(caught.value)
    with pytest.raises(DataError, match="no such folder"):
        read_folder(tmp_path / "gone", labelled=labelled)


def test_only_loose_photos_are_an_error(tmp_path: Path) -> None:
    root = touch(tmp_path / "r", "1.jpg", "2.jpg")
    with pytest.raises(DataError, match="2 photos without a landmark folder"):
        read_folder(root)
    assert len(read_folder(root, labelled=False)) == 2


def test_a_table_or_a_folder_can_be_given(tmp_path: Path) -> None:
    root = touch(tmp_path / "r", "a/1.jpg")
    (tmp_path / "p.csv").write_text("id,path\n7,r/a/1.jpg\n")
    assert read_photos_or_folder(root).landmarks.tolist() == ["a"]
    assert read_photos_or_folder(root, labelled=False).landmarks.tolist() == [""]
    assert read_photos_or_folder(tmp_path / "p.csv").paths.tolist() == [str(root / "a/1.jpg")]
    with pytest.raises(DataError, match="no such file or folder"):
        read_photos_or_folder(tmp_path / "gone")
    photo = root / "a" / "1.jpg"
    assert read_photos_or_folder(photo, labelled=False).ids.tolist() == ["a/1.jpg"]
    with pytest.raises(DataError, match=r"a photo; expected a photos\.csv or a folder"):
        read_photos_or_folder(photo)
