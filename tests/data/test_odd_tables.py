"""Tables that spreadsheets, scripts and other systems wrote: what is read, what is refused."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from tests.cli.test_commands import run
from whichlandmark.core.errors import DataError
from whichlandmark.data.import_tools import CsvColumns, read_csv
from whichlandmark.data.table import read_photos

JPEG = b"\xff\xd8\xff\xe0"

NAMES = CsvColumns(id="id", path="path", landmark="landmark")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with paris/1.jpg … paris/4.jpg, as files that begin as JPEGs do."""
    (tmp_path / "paris").mkdir()
    for number in range(1, 5):
        (tmp_path / "paris" / f"{number}.jpg").write_bytes(JPEG)
    return tmp_path


def both(folder: Path, data: bytes) -> list[tuple[str, str, str]]:
    """(id, path, landmark) of each row, which `read_photos` and `import csv` read alike."""
    (folder / "t.csv").write_bytes(data)
    read = read_photos(folder / "t.csv")
    imported, missing = read_csv(folder / "t.csv", NAMES)
    rows = [list(zip(t.ids, t.paths, t.landmarks, strict=True)) for t in (read, imported)]
    assert (rows[0], missing) == (rows[1], {})
    return [(i, os.path.relpath(p, folder), name) for i, p, name in rows[0]]


PLAIN = "id,path,landmark\n1,paris/1.jpg,Café\n2,paris/2.jpg,\n"

EXPECTED = [("1", "paris/1.jpg", "Café"), ("2", "paris/2.jpg", "")]


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").encode("utf-16"),
        PLAIN.replace(",", "\t").encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        ("sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n")).encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.replace("\n", "\r\n").encode("utf-8-sig"),
        PLAIN.encode("cp1252"),
        (PLAIN + ",,\n , ,\n\n").encode(),
        PLAIN.replace("\n", ",,\n").encode(),
        ("\n\n" + PLAIN).encode(),
        b"ID, Path ,LANDMARK\n" + PLAIN.split("\n", 1)[1].encode(),
        ",id,path,landmark\n0,1,paris/1.jpg,Café\n1,2,paris/2.jpg,\n".encode(),
        "Unnamed: 0,id,path,landmark\n0,1,paris/1.jpg,Café\n1,2,paris/2.jpg,\n".encode(),
        PLAIN.replace("paris/", "paris\\").encode(),
        PLAIN.replace("paris/", " paris/").replace(",Café", ", Café ").encode(),
        PLAIN.replace("Café", unicodedata.normalize("NFD", "Café")).encode(),
        PLAIN.replace("Café", "\u200bCafé\u200e").encode(),
        PLAIN.replace("2.jpg,", "2.jpg,nan").encode(),
        PLAIN.replace("2.jpg,", "2.jpg,#N/A").encode(),
        (PLAIN + "1,paris/1.jpg,Café\n").encode(),
        '"id","path","landmark"\n"1","paris/1.jpg","Café"\n"2","paris/2.jpg",""\n'.encode(),
    ],
    ids=[
        "semicolons", "Excel's Unicode text", "UTF-16 without a mark", "UTF-16 big-endian", "sep=;",
        "CR", "CRLF and a mark", "Windows-1252", "blank rows", "blank cells at the end",
        "blank lines first", "other case in the header", "pandas index", "pandas index read again",
        "backslashes", "blanks after commas", "NFD", "zero-width", "nan", "#N/A", "a row twice",
        "all quoted",
    ],
)  # fmt: skip
def test_plain_tables_of_other_programs_are_read(photos: Path, data: bytes) -> None:
    assert both(photos, data) == EXPECTED


@pytest.mark.parametrize(
    ("landmarks", "read"),
    [
        (["12.0", "7.0", ""], ["12", "7", ""]),
        (["12", "7.0", ""], ["12", "7", ""]),
        (["12.0", "Louvre", ""], ["12.0", "Louvre", ""]),
        (["0012", "7", ""], ["0012", "7", ""]),
        (["1-May", "MAR-02", ""], ["1-May", "MAR-02", ""]),
        (["NULL", "None", "<NA>"], ["", "", ""]),
        (["two\nlines", "tab\there", "a\x07bell"], ["two lines", "tab here", "a bell"]),
        (["Nan", "Null Island", "NaN Tower"], ["Nan", "Null Island", "NaN Tower"]),
        (["می‌شود", "A ｜ B", "東京"], ["می‌شود", "A ｜ B", "東京"]),
    ],
)
def test_labels_keep_their_meaning(photos: Path, landmarks: list[str], read: list[str]) -> None:
    rows = "".join(f'{n},paris/{n}.jpg,"{name}"\n' for n, name in enumerate(landmarks, 1))
    assert [row[2] for row in both(photos, ("id,path,landmark\n" + rows).encode())] == read


def test_numbers_that_pandas_made_floats_of_are_ids_again(photos: Path) -> None:
    data = b"id,path,landmark\n1.0,paris/1.jpg,A\n20.0,paris/2.jpg,A\n"
    assert [row[0] for row in both(photos, data)] == ["1", "20"]
    data = b"id,path,landmark\n1.0,paris/1.jpg,A\n1,paris/2.jpg,A\n"
    assert [row[0] for row in both(photos, data)] == ["1.0", "1"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"id,path,landmark\n1,1.jpg,1E+05\n", "line 2: landmark '1E+05' is what a spreadsheet"),
        (b"id,path,landmark\n1,1.jpg,1.23E+11\n", "line 2: landmark '1.23E+11'"),
        (b"id,path,landmark\n1,1.jpg,#REF!\n", "line 2: landmark '#REF!'"),
        (b"id,path,landmark\n1,1.jpg," + b"x" * 501, "has 501 characters; expected at most 500"),
        (b"id,path,landmark\n1,1.jpg,Rome, Italy\n", "a cell with a comma in it must stand in"),
        (b"id,path,landmark\n1,C:\\a\\1.jpg,A\n", "line 2: path 'C:\\\\a\\\\1.jpg' is one of a W"),
        ("id,path,landmark\n1,1.jpg,清水寺\n".encode("shift-jis"), "line 2: not readable as a UTF"),
        ("id,path,landmark\n1,1.jpg,Кремль\n".encode("cp1251"), "line 2: not readable as a UTF"),
        ("id,path,landmark\n1,1.jpg,Köln\n".encode("mac-roman"), "line 2: not readable as a UTF"),
        ("id,path,landmark\n1,1.jpg,Köln\n".encode() + "2,2.jpg,Köln\n".encode("cp1252"),
         "line 3: not readable as a UTF-8"),
        (b"PK\x03\x04 sheet", "an Excel workbook or a zip archive, not a csv file"),
        (b'{"id": 1}', "JSON, not a csv file"),
        (b"id,path,label\n1,1.jpg,A\n", "whichlandmark import csv"),
        (b"1,paris/1.jpg,Louvre\n", "unknown column: '1'"),
    ],
)  # fmt: skip
def test_what_is_not_plain_is_refused_with_its_line(
    tmp_path: Path, data: bytes, message: str
) -> None:
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_photos(tmp_path / "t.csv")
    assert message in str(caught.value)


def test_each_kind_of_change_is_one_counted_note(
    photos: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    table = photos / "t.csv"
    table.write_text(
        "id;path;landmark\n1;paris\\1.jpg;nan\n2;paris\\2.jpg;NaN\n3;paris\\3.jpg;Louvre\n"
        "4;paris\\4.jpg;louvre\n"
    )
    code, out, _ = run(
        capfd, "import", "csv", table, "-o", photos / "p.csv", "--path", "path", "--id", "id",
        "--landmark", "landmark",
    )  # fmt: skip
    assert code == 0
    err = caplog.text
    assert "2 without a landmark" in out
    assert "2 landmarks are read as no landmark, such as 'nan'" in err
    assert "4 paths have backslashes, read as slashes, such as 'paris\\\\1.jpg'" in err
    assert "look alike, and are different landmarks: 'Louvre', 'louvre'" in err


def test_windows_paths_are_found_below_the_root(photos: Path) -> None:
    table = photos / "t.csv"
    table.write_text(
        "path,landmark\nC:\\Users\\me\\Pictures\\paris\\1.jpg,A\n"
        "C:\\Users\\me\\Pictures\\paris\\9.jpg,A\nC:/Users/me/Pictures/paris/2.jpg,A\n"
    )
    columns = CsvColumns(path="path", landmark="landmark")
    read, missing = read_csv(table, columns, root=photos)
    assert read.paths.tolist() == [str(photos / "paris/1.jpg"), str(photos / "paris/2.jpg")]
    assert "no tail of it is below" in missing["C:\\Users\\me\\Pictures\\paris\\9.jpg"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("paris/my%20photo.jpg", "paris/my photo.jpg"),
        ("paris/IMG_1.jpg", "paris/IMG_1.JPG"),
        (unicodedata.normalize("NFC", "paris/é.jpg"), unicodedata.normalize("NFD", "paris/é.jpg")),
        ("paris/0012", "paris/0012.jpg"),
        ("file:{folder}/paris/my%20photo.jpg", "paris/my photo.jpg"),
        ("file://{folder}/paris/my%20photo.jpg", "paris/my photo.jpg"),
    ],
)
def test_files_are_found_under_the_name_that_is_meant(photos: Path, name: str, found: str) -> None:
    (photos / found).write_bytes(JPEG)
    (photos / "t.csv").write_text(f"path\n{name.format(folder=photos)}\n")
    read, missing = read_csv(photos / "t.csv", CsvColumns(path="path"))
    assert (read.paths.tolist(), missing) == ([str(photos / found)], {})


def test_rows_without_a_path_and_web_addresses_are_named_not_fatal(
    photos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = photos / "t.csv"
    table.write_text(
        "name,path\na,paris/1.jpg\nb,\nc,https://example.org/1.jpg\nd,paris\ne,paris/9.jpg\n"
    )
    code, out, err = run(
        capfd, "import", "csv", table, "-o", photos / "p.csv", "--path", "path", "--id", "name"
    )
    assert code == 3
    assert "1 photos" in out
    assert f"1 × the row has no path; it is left out: {table}, line 3" in err
    assert "https:// is not read; download the photos first" in err
    assert f"is a folder; expected a photo: d ({photos}/paris)" in err
    assert f"1 × no such file: e ({photos}/paris/9.jpg)" in err


def test_a_name_that_is_not_utf8_is_found_by_a_table(photos: Path) -> None:
    (photos / "paris" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(JPEG)
    (photos / "t.csv").write_bytes("path,landmark\nparis/café.jpg,A\n".encode("cp1252"))
    read, missing = read_csv(photos / "t.csv", CsvColumns(path="path"))
    assert missing == {}
    assert read.paths.tolist() == [f"file://{photos}/paris/caf%E9.jpg"]
