"""Albums of hard links and lists of files: brought up to date, and never a file of others lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.labelled import FakeLibrary, photo, snapshot
from whichlandmark.core.errors import DataError, OptionError
from whichlandmark.library.albums import (
    Albums,
    check_album_folder,
    remove_albums,
    safe_name,
    write_album_lists,
    write_albums,
)


@pytest.fixture
def albums(tmp_path: Path) -> Path:
    return tmp_path / "new" / "albums"


@pytest.fixture
def library(tmp_path: Path) -> Iterator[FakeLibrary]:
    for name in ("1/a.jpg", "2/a.jpg", "2/A.JPG", "b.jpg", "not sure.jpg"):
        photo(tmp_path / "library" / name)
    with FakeLibrary(tmp_path / "library", tmp_path / "state") as opened:
        for name in ("1/a.jpg", "2/a.jpg", "2/A.JPG"):
            opened.answer(name, "eiffel")
        opened.answer("b.jpg", "eiffel", others={"louvre": 0.95})
        opened.answer("not sure.jpg", "louvre", 0.4)
        yield opened


def linked(library: FakeLibrary, albums: Path) -> Albums:
    return write_albums(library.journal, library.planned(), str(albums))


def names(folder: Path) -> list[str]:
    return sorted(os.path.relpath(path, folder) for path in folder.rglob("*") if path.is_file())


def test_links_by_title(library: FakeLibrary, albums: Path, tmp_path: Path) -> None:
    before = snapshot(tmp_path / "library")
    found = linked(library, albums)
    assert (found.albums, found.added, found.listed) == (2, 5, False)
    assert names(albums) == [
        "Eiffel Tower/A (2).JPG", "Eiffel Tower/a (3).jpg", "Eiffel Tower/a.jpg",
        "Eiffel Tower/b.jpg", "Louvre/b.jpg",
    ]  # fmt: skip
    assert os.path.samefile(albums / "Louvre" / "b.jpg", tmp_path / "library" / "b.jpg")
    assert snapshot(tmp_path / "library") == before
    again = linked(library, albums)
    assert (again.added, again.removed, again.kept, again.failures) == (0, 0, {}, {})
    removed = remove_albums(library.journal)
    assert removed.removed == 5
    assert not (tmp_path / "new").exists()
    assert snapshot(tmp_path / "library") == before
    assert remove_albums(library.journal).removed == 0


def test_an_album_follows_its_labels_and_photos(
    library: FakeLibrary, albums: Path, tmp_path: Path
) -> None:
    linked(library, albums)
    photo(tmp_path / "library" / "0" / "a.jpg")  # sorted before the others: no name changes
    library.answer("0/a.jpg", "eiffel")
    library.answer("2/A.JPG", "louvre")
    edited = tmp_path / "library" / "1" / "a.jpg"
    edited.rename(edited.with_suffix(".old"))
    photo(edited)
    edited.with_suffix(".old").unlink()
    found = linked(library, albums)
    assert (found.added, found.removed, found.kept) == (3, 1, {})
    assert names(albums) == [
        "Eiffel Tower/a (3).jpg", "Eiffel Tower/a (4).jpg", "Eiffel Tower/a.jpg",
        "Eiffel Tower/b.jpg", "Louvre/A.JPG", "Louvre/b.jpg",
    ]  # fmt: skip
    for name in ("a.jpg", "a (3).jpg"):
        source = {"a.jpg": "1/a.jpg", "a (3).jpg": "2/a.jpg"}[name]
        assert os.path.samefile(albums / "Eiffel Tower" / name, tmp_path / "library" / source)


def test_the_last_copy_of_a_photo_and_files_of_others_stay(
    library: FakeLibrary, albums: Path, tmp_path: Path
) -> None:
    linked(library, albums)
    last = albums / "Eiffel Tower" / "a.jpg"
    (tmp_path / "library" / "1" / "a.jpg").unlink()
    theirs = photo(albums / "Louvre" / "theirs.jpg")
    replaced = albums / "Eiffel Tower" / "b.jpg"
    replaced.unlink()
    photo(replaced)
    found = linked(library, albums)
    assert found.kept == {
        str(replaced): "no link of ours any more",
        str(last): "the photo is in the library no more, and this is its last copy",
    }
    remove_albums(library.journal)
    assert names(albums) == ["Eiffel Tower/a.jpg", "Eiffel Tower/b.jpg", "Louvre/theirs.jpg"]
    assert theirs.exists()


def test_a_photo_in_two_albums_loses_one_link_at_most(
    library: FakeLibrary, albums: Path, tmp_path: Path
) -> None:
    linked(library, albums)
    (tmp_path / "library" / "b.jpg").unlink()
    found = linked(library, albums)
    assert found.removed == 1
    assert [path for path in names(albums) if path.endswith("b.jpg")] == ["Eiffel Tower/b.jpg"]


def test_where_there_are_no_hard_links_lists_are_written(
    library: FakeLibrary, albums: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object, **options: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    found = linked(library, albums)
    assert (found.listed, found.added) == (True, 2)
    assert names(albums) == ["Eiffel Tower.txt", "Louvre.txt"]
    assert (albums / "Louvre.txt").read_text() == f"{tmp_path / 'library' / 'b.jpg'}\n"
    assert remove_albums(library.journal).removed == 2


def test_lists_of_files(library: FakeLibrary, albums: Path, tmp_path: Path) -> None:
    photo(tmp_path / "library" / "line\nbreak.jpg")
    library.answer("line\nbreak.jpg", "louvre")
    (albums).mkdir(parents=True)
    (albums / "Louvre.txt").write_text("notes of somebody\n")
    found = write_album_lists(library.journal, library.planned(), str(albums))
    top = tmp_path / "library"
    assert (albums / "Eiffel Tower.txt").read_text(encoding="utf-8") == (
        f"{top}/1/a.jpg\n{top}/2/A.JPG\n{top}/2/a.jpg\n{top}/b.jpg\n"
    )
    assert list(found.failures) == [str(top / "line\nbreak.jpg")]
    assert list(found.kept) == [str(albums / "Louvre.txt")]
    library.answer("1/a.jpg", None)
    for name in ("2/a.jpg", "2/A.JPG", "b.jpg"):
        library.answer(name, "old_mill")
    found = write_album_lists(library.journal, library.planned(), str(albums))
    assert (found.added, found.removed) == (1, 1)
    assert names(albums) == ["Louvre.txt", "old mill.txt"]
    (albums / "old mill.txt").write_text("changed\n")
    assert remove_albums(library.journal).kept == {
        str(albums / "old mill.txt"): "changed by others since"
    }
    assert names(albums) == ["Louvre.txt", "old mill.txt"]


def test_albums_lie_beside_the_library(library: FakeLibrary, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "library")
    (tmp_path / "file").write_text("")
    for wrong in ("library", "library/albums", "link/albums", ""):
        with pytest.raises(OptionError, match="the library"):
            check_album_folder(tmp_path / wrong, library.library, "--album")
    with pytest.raises(OptionError, match="a file"):
        check_album_folder(tmp_path / "file", library.library, "--album")
    place = check_album_folder(tmp_path / "albums", library.library, "--album")
    assert place == str(tmp_path / "albums")


def test_a_folder_that_cannot_be_made_is_an_error(library: FakeLibrary, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a file, not a folder"):
        linked(library, tmp_path / "file" / "albums")


def test_names_that_every_system_allows() -> None:
    assert safe_name('St. Mary / "Old": a|b?') == "St. Mary _ _Old__ a_b_"
    assert [safe_name(title) for title in ("CON", "..", "con.txt", "", " a. ", "\n\t")] == [
        "_CON", "_", "_con.txt", "_", "a", "__"
    ]  # fmt: skip
    assert safe_name("é") == "é"
    assert len(safe_name("Ж" * 200).encode()) <= 120
