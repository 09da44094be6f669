"""The `import csv` command: column names, roots, missing photos, refused files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_commands import run
from tests.support.photos import picture, write_photo
from whichlandmark.core.errors import DataError
from whichlandmark.data.import_tools import CsvColumns, read_csv
from whichlandmark.data.table import read_photos


@pytest.fixture
def listing(tmp_path: Path) -> Path:
    for i in range(3):
        write_photo(tmp_path / "photos" / f"{i}.jpg", picture(i, i))
    (tmp_path / "list.csv").write_text(
        "no,file,place,part,note\n"
        '10,photos/0.jpg, Big Ben ,Public,"a, b"\n'
        "11,photos/1.jpg,,Private,\n"
        "12,photos/2.jpg,A | B,,x\n"
    )
    return tmp_path / "list.csv"


def test_chosen_csv_columns_become_a_table(
    listing: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(
        capfd, "import", "csv", listing, "-o", tmp_path / "t" / "p.csv", "--id", "no", "--path",
        "file", "--landmark", "place", "--usage", "part",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "3 photos" in out
    photos = read_photos(tmp_path / "t" / "p.csv")
    assert photos.ids.tolist() == ["10", "11", "12"]
    assert photos.landmarks.tolist() == ["Big Ben", "", "A|B"]
    assert photos.usages.tolist() == ["Public", "Private", ""]
    assert photos.paths.tolist() == [str(tmp_path / "photos" / f"{i}.jpg") for i in range(3)]


def test_without_id_the_path_is_the_id(listing: Path) -> None:
    photos, missing = read_csv(listing, CsvColumns(path="file"))
    assert photos.ids.tolist() == ["photos/0.jpg", "photos/1.jpg", "photos/2.jpg"]
    assert (set(photos.landmarks), missing) == ({""}, {})


def test_relative_paths_start_at_the_root(listing: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "list.csv"
    moved.parent.mkdir()
    listing.rename(moved)
    _, missing = read_csv(moved, CsvColumns(path="file"))
    assert len(missing) == 3
    photos, missing = read_csv(moved, CsvColumns(path="file"), root=tmp_path)
    assert (len(photos), missing) == (3, {})


def test_a_missing_photo_is_listed(
    listing: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos" / "1.jpg").unlink()
    arguments = ("import", "csv", listing, "-o", tmp_path / "p.csv", "--path", "file")
    code, _, err = run(capfd, *arguments)
    assert code == 3
    assert f"1 × no such file: {tmp_path}/photos/1.jpg" in err
    assert len(read_photos(tmp_path / "p.csv")) == 2
    for i in (0, 2):
        (tmp_path / "photos" / f"{i}.jpg").unlink()
    (tmp_path / "p.csv").unlink()
    assert run(capfd, *arguments)[0] == 4
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no,file\n1,photos/0.jpg\n", "expected 'place' once"),
        ("file,place,place\nphotos/0.jpg,a,b\n", "expected 'place' once"),
        (
            "file,place\nphotos/0.jpg,a\nphotos/0.jpg,b\n",
            "line 3: id 'photos/0.jpg' occurs twice, in line 2 with other landmarks ('a', 'b')",
        ),
        ("file,place\nphotos/0.jpg\n", "line 2: 1 cells; the header has 2"),
        ("", "(none) given"),
    ],
)
def test_unusable_csv_files_are_refused(listing: Path, text: str, message: str) -> None:
    listing.write_text(text)
    with pytest.raises(DataError) as caught:
        read_csv(listing, CsvColumns(path="file", landmark="place"))
    assert message in str(caught.value)
