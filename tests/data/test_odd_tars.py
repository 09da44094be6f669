"""Tars from other hands: files of systems, other endings, names that are not UTF-8, odd order."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from tests.cli.test_commands import run
from tests.data.test_webdataset import write_tar
from whichlandmark.core.storage import read_bytes
from whichlandmark.data.table import read_photos
from whichlandmark.data.webdataset import LabelSource, read_webdataset

JPEG = b"\xff\xd8\xff\xe0" + bytes(20)

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def labels(photos: Path | str, label: LabelSource | None = None) -> dict[str, str]:
    found, _ = read_webdataset([str(photos)], label or LabelSource())
    return dict(zip(found.ids, found.landmarks, strict=True))


def test_files_of_systems_in_a_tar_are_counted_not_samples(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tar = write_tar(tmp_path / "a.tar", {
        "./._1.jpg": b"\0\x05\x16\x07", "./1.jpg": JPEG, "./._1.cls": b"\0\x05\x16\x07",
        "./1.cls": b"7", "__MACOSX/2.jpg": b"\0\x05\x16\x07", "@eaDir/1.jpg": JPEG,
        ".DS_Store": b"Bud1",
    })  # fmt: skip
    code, out, err = run(capfd, "import", "webdataset", tar, "-o", tmp_path / "t.csv")
    assert (code, "1 photos" in out) == (0, True)
    assert "5 files were not used" in err
    assert "2 × system file (._…, made by macOS)" in err
    assert read_photos(tmp_path / "t.csv").ids.tolist() == ["a/./1"]


@pytest.mark.parametrize("name", ["1.jfif", "1.JPE", "1.JPG_large", "1.heic", "1", "1.img"])
def test_the_bytes_of_a_member_say_whether_it_is_a_photo(tmp_path: Path, name: str) -> None:
    tar = write_tar(tmp_path / "a.tar", {name: JPEG, "1.cls": b"Louvre"})
    assert labels(tar) == {"a/1": "Louvre"}


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("1.jpg", HEIC, "HEIC, which cannot be decoded"),
        ("1.heic", HEIC, "HEIC, which cannot be decoded"),
        ("1.NEF", b"II*\0" + bytes(20), "Nikon RAW, which cannot be decoded"),
        ("1.jpg", b"", "empty file"),
        ("1.jpg", b"<html><body>404", "web page (HTML), though its name ends in .jpg"),
        ("1.png", JPEG, "a second photo of one sample"),
    ],
)
@pytest.mark.usefixtures("without_heic", "without_raw")
def test_members_that_cannot_be_used_are_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, content: bytes, why: str
) -> None:
    files = {"0.jpg": JPEG, "0.cls": b"A", "1.JPEG": JPEG, "1.cls": b"A"}
    if "second" not in why:
        del files["1.JPEG"]
    tar = write_tar(tmp_path / "a.tar", files | {name: content})
    code, _, err = run(capfd, "import", "webdataset", tar, "-o", tmp_path / "t.csv")
    assert code == 3
    assert why in err
    assert f"{tar}#{name}@" in err


def test_names_that_are_not_utf8_become_valid_addresses(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    with tarfile.open(folder / "a.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in ((b"\xe9.jpg", JPEG), (b"\xe9.cls", b"A")):
            info = tarfile.TarInfo(os.fsdecode(name))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    found, problems = read_webdataset([str(folder / "a.tar")], LabelSource())
    assert (found.ids.tolist(), problems) == (["a/%E9"], {})
    assert found.paths[0].startswith(f"file://{tmp_path}/caf%E9/a.tar#%E9.jpg@")
    assert read_bytes(found.paths[0]) == JPEG


def test_files_of_a_sample_may_stand_apart(tmp_path: Path) -> None:
    tar = write_tar(
        tmp_path / "a.tar", {"1.cls": b"A", "2.cls": b"B", "1.jpg": JPEG, "2.jpg": JPEG}
    )
    assert labels(tar) == {"a/1": "A", "a/2": "B"}


@pytest.mark.parametrize(
    ("data", "landmark"),
    [
        ("\ufeffLouvre\r\n".encode(), "Louvre"),
        ("Café".encode("utf-16"), "Café"),
        ("Cafe\u0301".encode(), "Café"),
        (b"nan", ""),
        (b"1e+05", None),
        (b"x" * 501, None),
    ],
)
def test_labels_of_other_hands(tmp_path: Path, data: bytes, landmark: str | None) -> None:
    tar = write_tar(tmp_path / "a.tar", {"1.jpg": JPEG, "1.cls": data})
    assert labels(tar) == ({} if landmark is None else {"a/1": landmark})


@pytest.mark.parametrize(
    ("data", "landmark"), [(b'{"landmark": 12.0}', "12"), (b'{"landmark": true}', None),
                           (b"[" * 100_000, None), (b'{"landmark": NaN}', None)],
)  # fmt: skip
def test_json_labels_of_other_hands(tmp_path: Path, data: bytes, landmark: str | None) -> None:
    tar = write_tar(tmp_path / "a.tar", {"1.jpg": JPEG, "1.json": data})
    assert labels(tar, LabelSource("json")) == ({"a/1": landmark} if landmark else {})


def test_a_folder_of_tars_is_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tar(tmp_path / f"{name}.tar", {"1.jpg": JPEG, "1.cls": b"A"})
    assert labels(tmp_path) == {"a/1": "A", "b/1": "A"}
