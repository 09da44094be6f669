"""photos.csv: round trips, and every malformed table refused with its line number."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from whichlandmark.core.errors import DataError
from whichlandmark.core.storage import relative_path
from whichlandmark.core.types import Photo, Photos
from whichlandmark.data.table import read_photos, write_photos


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def columns(photos: Photos) -> list[tuple[str, str, str]]:
    return list(zip(photos.ids, photos.paths, photos.landmarks, strict=True))


def test_paths_are_relative_to_the_tables_folder(tmp_path: Path) -> None:
    table = write(
        tmp_path / "a" / "p.csv", "id,path,landmark\n1,x/1.jpg, Eiffel Tower \n2,../2.jpg,\n"
    )
    assert columns(read_photos(table)) == [
        ("1", str(tmp_path / "a" / "x" / "1.jpg"), "Eiffel Tower"),
        ("2", str(tmp_path / "2.jpg"), ""),
    ]


@pytest.mark.parametrize("header", ["id,path,landmark,usage,tier", "id,path,landmark,tier"])
def test_tiers_are_stored_like_usages(tmp_path: Path, header: str) -> None:
    row = {"id": "1", "path": "1.jpg", "landmark": "A", "usage": "Public", "tier": " low light "}
    names = header.split(",")
    lines = [header, ",".join(row[name] for name in names), "2,2.jpg" + "," * (len(names) - 2)]
    photos = read_photos(write(tmp_path / "p.csv", "\n".join(lines) + "\n"))
    assert photos.tiers.tolist() == ["low light", ""]
    assert photos.usages.tolist() == ["Public" if "usage" in names else "", ""]
    assert photos[0].tier == "low light"
    assert photos.take([1, 0]).tiers.tolist() == ["", "low light"]
    assert Photos.of(iter(photos)).tiers.tolist() == ["low light", ""]
    write_photos(tmp_path / "again.csv", photos)
    assert (tmp_path / "again.csv").read_text().splitlines()[0] == header
    assert read_photos(tmp_path / "again.csv").tiers.tolist() == ["low light", ""]
    write_photos(tmp_path / "none.csv", photos.take([1]))
    assert (tmp_path / "none.csv").read_text().splitlines()[0] == "id,path,landmark"


def test_reading_a_relative_table_path_gives_absolute_photo_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "p.csv", "id,path\n1,1.jpg\n")
    monkeypatch.chdir(tmp_path)
    assert read_photos("p.csv").paths[0] == os.path.join(os.getcwd(), "1.jpg")


@pytest.mark.parametrize(
    "text",
    [
        "landmark,id,path\nA,1,1.jpg\nB,2,2.jpg\n",
        "\ufeffid,path,landmark\n1,1.jpg,A\n2,2.jpg,B\n",
        "id,path,landmark\r\n1,1.jpg,A\r\n\r\n2,2.jpg,B\r\n",
        " id , path , landmark \n1,1.jpg,A\n2,2.jpg,B",
    ],
    ids=["any order", "byte order mark", "CRLF and an empty line", "blanks, no last newline"],
)
def test_equivalent_csv_forms_read_the_same(tmp_path: Path, text: str) -> None:
    photos = read_photos(write(tmp_path / "p.csv", text))
    assert columns(photos) == [
        ("1", str(tmp_path / "1.jpg"), "A"),
        ("2", str(tmp_path / "2.jpg"), "B"),
    ]


def test_tables_without_landmarks_or_without_photos(tmp_path: Path) -> None:
    photos = read_photos(write(tmp_path / "p.csv", "path,id\n1.jpg,1\n"))
    assert photos[0].landmark is None
    assert len(read_photos(write(tmp_path / "q.csv", "id,path,landmark\n"))) == 0


def test_equal_landmark_names_share_memory(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i}.jpg,Sagrada Família\n" for i in range(3))
    photos = read_photos(write(tmp_path / "p.csv", "id,path,landmark\n" + rows))
    assert photos.landmarks[0] is photos.landmarks[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty; expected a header: id,path,landmark"),
        ("id,path,landmrak\n", "line 1: unknown column: 'landmrak'; did you mean 'landmark'"),
        ("id,path,zzz\n", "line 1: unknown column: 'zzz'; expected one of: id, landmark, path"),
        ("id,landmark\n1,A\n", "line 1: no column 'path'"),
        ("path\n1.jpg\n", "line 1: no column 'id'"),
        ("id,path,id\n1,1.jpg,1\n", "line 1: columns id, path, id given; expected each once"),
        ("id,path\n1,1.jpg\n,2.jpg\n", "line 3: the id is empty"),
        ("id,path\n1, \n", "line 2: the path is empty"),
        ("id,path\n1,1.jpg\n2,2.jpg\n1,3.jpg\n", "line 4: id '1' occurs twice"),
        ("id,path\n1,1.jpg,A\n", "line 2: 3 cells; the header has 2"),
        ("id,path,landmark\n1,1.jpg\n", "line 2: 2 cells; the header has 3"),
        ('id,path,landmark\n1,1.jpg,"two\nlines"\n2\n', "line 4: 1 cells"),
        ("id,path\n1,1\0.jpg\n", "line 2: a zero byte in the path"),
        ('id,path\n1,"1.jpg\n', "about line 2: not readable as a UTF-8 csv"),
    ],
)
def test_wrong_tables_are_refused_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "p.csv", text)
    with pytest.raises(DataError) as caught:
        read_photos(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv: no such file"):
        read_photos(tmp_path / "gone.csv")
    with pytest.raises(DataError, match="not readable as a UTF-8 csv"):
        read_photos(write(tmp_path / "p.csv", "id,path,landmark\n1,1.jpg,清水寺\n", "gb18030"))
    with pytest.raises(DataError, match="a folder, not a photo table"):
        read_photos(tmp_path)


def test_a_written_table_reads_back_the_same(tmp_path: Path) -> None:
    names = ["Köln", 'the "Gherkin", London', "two\nlines", "carriage\rreturn", "清水寺", ""]
    photos = Photos.of(
        Photo(f"id, {i}", tmp_path / "photos" / f"{i} ü.jpg", name or None)
        for i, name in enumerate(names)
    )
    for folder in ("", "photos", "tables/deep"):
        write_photos(tmp_path / folder / "t.csv", photos)
        read = columns(read_photos(tmp_path / folder / "t.csv"))
        assert [row[:2] for row in read] == [row[:2] for row in columns(photos)]
        assert [row[2] for row in read] == [" ".join(name.split()) for name in names]


def test_a_table_can_be_moved_together_with_its_photos(tmp_path: Path) -> None:
    photos = Photos.of([Photo("1", tmp_path / "old" / "photos" / "1.jpg", "A")])
    write_photos(tmp_path / "old" / "t.csv", photos)
    with open(tmp_path / "old" / "t.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["id", "path", "landmark"], ["1", "photos/1.jpg", "A"]]
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_photos(tmp_path / "new" / "t.csv").paths[0] == str(
        tmp_path / "new" / "photos" / "1.jpg"
    )
    assert relative_path("/a/b/1.jpg", "/a/c/d") == "../../b/1.jpg"


def test_a_path_that_is_not_utf8_is_written_as_a_file_url(tmp_path: Path) -> None:
    bad = os.fsdecode(b"/photos/caf\xe9.jpg")
    write_photos(tmp_path / "t.csv", Photos.of([Photo("2", Path(bad), None)]))
    assert (tmp_path / "t.csv").read_text() == "id,path,landmark\n2,file:///photos/caf%E9.jpg,\n"
    assert read_photos(tmp_path / "t.csv").paths.tolist() == ["file:///photos/caf%E9.jpg"]


def test_a_failed_write_leaves_the_old_table(tmp_path: Path) -> None:
    """An id that is not valid Unicode is named in the error; the old table is unchanged."""
    path = write(tmp_path / "t.csv", "id,path,landmark\n1,1.jpg,\n")
    with pytest.raises(DataError, match=r"caf.* is not valid Unicode"):
        write_photos(path, Photos.of([Photo(os.fsdecode(b"caf\xe9"), Path("/2.jpg"), None)]))
    assert columns(read_photos(path)) == [("1", str(tmp_path / "1.jpg"), "")]
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]
