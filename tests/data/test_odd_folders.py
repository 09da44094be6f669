"""Folders as NAS boxes, phones and data sets leave them: kinds of files, layouts, names."""

from __future__ import annotations

import json
import os
import socket
import unicodedata
from pathlib import Path

import pytest

from tests.cli.test_commands import run
from tests.support.photos import picture, write_photo
from whichlandmark.core.errors import DataError, OptionError, install_command
from whichlandmark.data.folders import find_photos, read_folder
from whichlandmark.data.left_out import lost_photos

JPEG = b"\xff\xd8\xff\xe0" + bytes(20)

CONVERT = "which cannot be decoded: convert it to JPEG"

HEIC = f"HEIC, {CONVERT}, or {install_command('heic')}"


def box(brand: bytes, *compatible: bytes) -> bytes:
    """The first box of an ISO media file: HEIC, AVIF, MP4, MOV, CR3."""
    content = b"ftyp" + brand + bytes(4) + b"".join(compatible)
    return (len(content) + 4).to_bytes(4, "big") + content + bytes(40)


def fill(root: Path, *names: str, content: bytes = JPEG) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def labels(root: Path, level: int | None = None) -> dict[str, str]:
    photos = read_folder(root, level=level)
    return {photo_id.partition("/")[2]: name
            for photo_id, name in zip(photos.ids, photos.landmarks, strict=True)}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["1.jfif", "1.jpe", "1.JPG_large", "1.JPG_original", "1", "1.HEIC", "1.jpg.1", "1.bin"]
)
def test_a_jpeg_is_a_photo_under_any_name(tmp_path: Path, name: str) -> None:
    assert labels(fill(tmp_path / "r", f"A/{name}")) == {f"A/{name}": "A"}


@pytest.mark.parametrize(
    "content",
    [b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8 ", box(b"avif"), box(b"mif1", b"avif")],
)
def test_other_formats_are_known_by_their_bytes(tmp_path: Path, content: bytes) -> None:
    assert labels(fill(tmp_path / "r", "A/1.dat", content=content)) == {"A/1.dat": "A"}


@pytest.mark.parametrize(
    ("name", "content", "why", "is_photo"),
    [
        ("1.HEIC", box(b"heic", b"mif1"), HEIC, True),
        ("1.jpg", box(b"mif1", b"heic"), f"{HEIC}, though its name ends in .jpg", True),
        ("1.hif", box(b"msf1", b"hevc"), f"HEIC, {CONVERT}", True),
        ("1.heif", box(b"mif1", b"jxl "), f"JPEG XL, {CONVERT}", True),
        ("1.tif", b"MM\0*\0\0\0\x0cCR\2\0" + bytes(60), f"Canon RAW, {CONVERT}", True),
        ("1.CR2", b"II*\0\x10\0\0\0CR" + bytes(60), f"Canon RAW, {CONVERT}", True),
        ("1.CR3", box(b"crx "), f"Canon RAW, {CONVERT}", True),
        ("1.NEF", b"MM\0*" + bytes(60), f"Nikon RAW, {CONVERT}", True),
        ("1.ARW", b"II*\0" + bytes(60), f"Sony RAW, {CONVERT}", True),
        ("1.dng", b"II*\0" + bytes(60), f"DNG RAW, {CONVERT}", True),
        ("1.RAF", b"FUJIFILMCCD-RAW 0201", f"Fujifilm RAW, {CONVERT}", True),
        ("1.ORF", b"IIRO" + bytes(60), f"Olympus RAW, {CONVERT}", True),
        ("1.RW2", b"IIU\0" + bytes(60), f"Panasonic RAW, {CONVERT}", True),
        ("1.bmp", b"BM" + bytes(60), f"BMP, {CONVERT}", True),
        ("1.jxl", b"\xff\x0a" + bytes(60), f"JPEG XL, {CONVERT}", True),
        ("1.jp2", b"\0\0\0\x0cjP  \r\n\x87\n", f"JPEG 2000, {CONVERT}", True),
        ("1.psd", b"8BPS" + bytes(60), f"Photoshop (PSD), {CONVERT}", True),
        ("1.jpg", b"<!DOCTYPE html><html>", "web page (HTML), though its name ends in .jpg", True),
        ("1.png", b"%PDF-1.4", "PDF, though its name ends in .png", True),
        ("1.jpg", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer", True),
        ("1.jpg", b"", "empty file", True),
        ("._1.jpg", b"\0\x05\x16\x07", "system file (._…, made by macOS)", False),
        (".1.HEIC.icloud", b"bplist00", "photo that is only in iCloud: download it first", True),
        ("1.MP4", box(b"isom"), "video", False),
        ("1.MOV", box(b"qt  "), "video", False),
        ("1.avi", b"RIFF\0\0\0\0AVI LIST", "video", False),
        ("notes.txt", b"of the trip", "text", False),
        ("1.jpg.xmp", b"<?xpacket begin='\xef\xbb\xbf'?>", "sidecar: metadata of a photo", False),
        ("1.XMP", b"\xff\xfe<\0x\0:\0", "sidecar: metadata of a photo", False),
        ("1.xmp", b"<x:xmpmeta xmlns", "sidecar: metadata of a photo", False),
        ("1.AAE", b"<?xml version='1.0'?><plist>", "text", False),
        ("1.svg", b"<svg xmlns=", "SVG drawing", False),
        ("1.zip", b"PK\x03\x04", "zip archive or Office document", False),
        ("Thumbs.db", b"\xd0\xcf\x11\xe0", "system file or folder (Thumbs.db)", False),
        (".DS_Store", b"\0\0\0\x01Bud1", "hidden file or folder", False),
        ("desktop.ini", b"[.ShellClassInfo]", "system file or folder (desktop.ini)", False),
        ("data.bin", b"\x80\x81\x82\x83" * 9, "no photo (a file of unknown kind)", False),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("without_heic", "without_raw")
def test_each_other_file_is_named_with_its_kind(
    tmp_path: Path, name: str, content: bytes, why: str, is_photo: bool
) -> None:
    root = fill(tmp_path / "r", "A/good.jpg")
    fill(root, f"A/{name}", content=content)
    photos = read_folder(root)
    assert photos.ids.tolist() == ["r/A/good.jpg"]
    assert photos.left_out[str(root / "A" / name)].startswith(why)
    assert bool(lost_photos(photos.left_out)) is is_photo


def test_a_damaged_photo_stays_a_photo_for_the_decoder_to_name(tmp_path: Path) -> None:
    root = fill(tmp_path / "r", "A/1.jpg", content=b"\x01\x02\xff" * 40)
    fill(root, "A/2.jpg", content=b"broken")
    assert labels(root) == {"A/1.jpg": "A", "A/2.jpg": "A"}


def test_pipes_sockets_devices_and_links_are_named_and_never_opened(tmp_path: Path) -> None:
    root = fill(tmp_path / "r", "A/1.jpg")
    os.mkfifo(root / "A" / "pipe.jpg")
    (root / "A" / "gone.jpg").symlink_to("nothing")
    (root / "A" / "loop.jpg").symlink_to("loop.jpg")
    (root / "A" / "null.jpg").symlink_to("/dev/null")
    here = os.getcwd()
    os.chdir(root / "A")  # because a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s.jpg")
    os.chdir(here)
    photos = read_folder(root)
    assert len(photos) == 1
    assert {os.path.basename(path): why for path, why in photos.left_out.items()} == {
        "pipe.jpg": "a named pipe", "s.jpg": "a socket", "null.jpg": "a device",
        "gone.jpg": "broken link: what it points to is not there", "loop.jpg": "link loop",
    }  # fmt: skip


@pytest.mark.parametrize(
    "folder",
    ["@eaDir", "#recycle", "#snapshot", "@Recycle", "$RECYCLE.BIN", "System Volume Information",
     "__MACOSX", ".Trash-1000", ".thumbnails", ".picasaoriginals", "lost+found", ".@__thumb",
     "@Recently-Snapshot", ".stversions", ".git", "FOUND.000", "LOST.DIR", "Trips.lrdata"],
)  # fmt: skip
def test_folders_of_systems_are_no_landmarks_and_are_counted(tmp_path: Path, folder: str) -> None:
    root = fill(tmp_path / "r", "A/1.jpg", f"{folder}/2.jpg", f"A/{folder}/x/3.jpg")
    photos = read_folder(root)
    assert photos.landmarks.tolist() == ["A"]
    assert sorted(photos.left_out) == sorted(
        [str(root / folder / "2.jpg"), str(root / "A" / folder / "x" / "3.jpg")]
    )
    assert lost_photos(photos.left_out) == {}


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", "1.jpg", "deep/2.jpg")
    root = fill(tmp_path / "r", "A/1.jpg")
    for name in ("B", "C"):
        (root / name).symlink_to(tmp_path / "elsewhere")
    (root / "A" / "up").symlink_to(tmp_path)
    (tmp_path / "elsewhere" / "back").symlink_to(root)
    photos = read_folder(root)
    assert photos.ids.tolist() == ["r/A/1.jpg", "r/B/1.jpg", "r/B/deep/2.jpg"]
    assert photos.left_out == {
        str(root / "A/up"): "link to a folder around this one (a loop)",
        str(root / "C"): "link to a folder that is read already",
        str(root / "B/back"): "link to a folder that is read already",
    }


@pytest.mark.parametrize(
    ("names", "landmarks"),
    [
        (["2019/Louvre/1.jpg", "2020/Louvre/1.jpg"], ["Louvre", "Louvre"]),
        (["2019/05/Louvre/1.jpg", "2019/06/Arch/1.jpg"], ["Louvre", "Arch"]),
        (["2019-05-01/Louvre/1.jpg"], ["Louvre"]),
        (["Photos from 2019/Louvre/1.jpg"], ["Louvre"]),
        (["train/Louvre/1.jpg", "val/Louvre/2.jpg", "test/Arch/3.jpg"],
         ["Arch", "Louvre", "Louvre"]),
        (["training_set/Louvre/1.jpg", "test_set/Arch/3.jpg"], ["Arch", "Louvre"]),
        (["images/train/Louvre/1.jpg", "images/val/Arch/2.jpg"], ["Louvre", "Arch"]),
        (["photos/Louvre/1.jpg", "photos/Arch/2.jpg"], ["Arch", "Louvre"]),
        (["Louvre/2019/1.jpg", "Arch/2020/2.jpg"], ["Arch", "Louvre"]),
        (["Louvre/100CANON/1.jpg", "Arch/101CANON/2.jpg"], ["Arch", "Louvre"]),
        (["Louvre/1.jpg", "2019/Arch/2.jpg"], ["Arch", "Louvre"]),
        (["1999/1.jpg", "2001/1.jpg", "17/2.jpg"], ["17", "1999", "2001"]),
        (["1999/a/1.jpg", "17/2.jpg"], ["17", "1999"]),
        (["A/day/1.jpg", "A/night/1.jpg", "B/day/1.jpg", "B/night/1.jpg"], ["A", "A", "B", "B"]),
        (["Louvre/1.jpg", "Louvre/inside/2.jpg"], ["Louvre", "Louvre"]),
        (["images/1.jpg", "Louvre/2.jpg"], ["Louvre", "images"]),
    ],
)  # fmt: skip
def test_the_folder_that_plainly_names_the_landmark_is_used(
    tmp_path: Path, names: list[str], landmarks: list[str]
) -> None:
    assert [*labels(fill(tmp_path / "r", *names)).values()] == landmarks


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["France/Louvre/1.jpg", "Italy/Forum/2.jpg"],
            "--level 1` for France, Italy, --level 2 for",
        ),
        (["France/Louvre/1.jpg"], "--level 1` for France, --level 2 for Louvre"),
        (["2019/France/Louvre/1.jpg", "2020/Italy/Forum/1.jpg"], "--level 2` for France, Italy"),
        (
            ["2019/1.jpg", "2020/2.jpg"],
            "2 photos without a landmark folder (they lie in 2019, 2020)",
        ),
        (["train/1.jpg", "val/2.jpg"], "if those folders are landmarks, --level 1"),
    ],
)
def test_a_layout_that_is_not_plain_is_an_error_that_names_the_option(
    tmp_path: Path, names: list[str], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        read_folder(fill(tmp_path / "r", *names))
    assert message in str(caught.value)


def test_the_level_says_which_folder_is_the_landmark(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = fill(tmp_path / "r", "France/Louvre/1.jpg", "Italy/2.jpg")
    assert labels(root, 1) == {"France/Louvre/1.jpg": "France", "Italy/2.jpg": "Italy"}
    arguments = ("import", "folder", root, "-o", tmp_path / "p.csv", "--level")
    code, out, err = run(capfd, *arguments, 2)
    assert (code, "1 photos, 1 landmarks" in out) == (3, True)
    assert "1 × photo in no landmark folder" in err
    assert (tmp_path / "p.left_out.csv").read_text() == (
        f"path,reason\n{root}/Italy/2.jpg,photo in no landmark folder (directly in Italy)\n"
    )
    assert run(capfd, *arguments, 1)[0] == 0
    assert not (tmp_path / "p.left_out.csv").exists()
    with pytest.raises(OptionError, match="expected 1 or more"):
        read_folder(root, level=0)


@pytest.mark.usefixtures("without_heic", "without_raw")
def test_only_heic_photos_are_an_error_that_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = fill(tmp_path / "r", "A/1.HEIC", "A/2.HEIC", content=box(b"heic"))
    code, _, err = run(capfd, "import", "folder", root, "-o", tmp_path / "p.csv")
    assert code == 4
    assert f"there: 2 × HEIC, {CONVERT}" in err


@pytest.mark.usefixtures("without_heic", "without_raw")
def test_formats_without_a_decoder_are_counted_at_the_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line for each format with the command that helps, whatever else is told before."""
    root = fill(tmp_path / "r", "A/1.jpg", "B/2.jpg", content=JPEG)
    fill(root, *(f"A/IMG_{number}.HEIC" for number in range(7)), content=box(b"heic"))
    fill(root, "B/IMG_8.jpg", content=box(b"mif1", b"heic"))
    fill(root, "B/1.NEF", "B/2.NEF", content=b"MM\0*" + bytes(60))
    fill(root, "B/3.CR3", content=box(b"crx "))
    fill(root, "B/4.jxl", "B/5.jxl", content=b"\xff\x0a" + bytes(60))
    fill(root, "B/IMG_8.MOV", content=box(b"qt  "))  # of a Live Photo
    code, _, err = run(capfd, "import", "folder", root, "-o", tmp_path / "p.csv")
    heic, raw = install_command("heic"), install_command("raw")
    assert code == 3
    assert err.splitlines()[-3:] == [
        f"8 photos are HEIC, which this installation cannot decode: {heic}",
        f"3 photos are RAW (2 Nikon, 1 Canon), which this installation cannot decode: {raw}",
        "2 photos are JPEG XL, which cannot be decoded: convert them to JPEG",
    ]
    assert err.count(heic) == err.count(raw) == 1
    assert "7 × HEIC, which cannot be decoded: convert it to JPEG: " in err
    assert heic in (tmp_path / "p.left_out.csv").read_text()


@pytest.mark.usefixtures("without_heic", "without_raw")
def test_photos_that_a_table_names_are_counted_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, "1.heic", content=box(b"heic"))
    (tmp_path / "p.csv").write_text(f"id,path,landmark\n1,{tmp_path}/1.heic,A\n")
    code, _, err = run(
        capfd, "clean", tmp_path / "p.csv", "-o", tmp_path / "c.csv", "--min-photos", "1"
    )
    assert code == 4
    told = f"1 photo is HEIC, which this installation cannot decode: {install_command('heic')}"
    assert err.splitlines()[-1] == told


def test_names_of_one_folder_in_two_forms_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nfd, nfc = (unicodedata.normalize(form, "Café") for form in ("NFD", "NFC"))
    root = fill(tmp_path / "r", f"{nfc}/1.jpg", f"{nfd}/2.jpg", "Louvre/1.jpg", "louvre/2.jpg",
                "Лувр/1.jpg", "Аrch/1.jpg", "Arch/2.jpg")  # fmt: skip
    photos = read_folder(root)
    assert photos.landmarks.tolist().count(nfc) == 2
    assert "Café: folders whose names differ only in invisible ways" in caplog.text
    assert "look alike, and are kept as different landmarks: 'Louvre' (1 photos), 'louvre'" in (
        caplog.text
    )
    assert "'Arch' (1 photos), 'Аrch' (1 photos)" in caplog.text  # one with a Cyrillic А


@pytest.mark.usefixtures("without_heic", "without_raw")
def test_names_that_are_not_utf8_are_valid_text_in_the_table(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = fill(tmp_path / "r", os.fsdecode(b"A/caf\xe9.jpg"), "A/caf%E9.jpg", "A/a\nb.jpg")
    fill(root, os.fsdecode(b"A/m\xfc.heic"), content=box(b"heic"))
    code, _, err = run(capfd, "import", "folder", root, "-o", tmp_path / "p.csv")
    assert code == 3
    assert f"file://{root}/A/m%FC.heic" in err
    photos = read_folder(root)
    assert photos.ids.tolist() == ["r/A/a\nb.jpg", "r/A/caf%E9.jpg", "r/A/caf%E9.jpg~"]
    assert f"file://{root}/A/caf%E9.jpg" in photos.paths.tolist()
    for path in photos.paths:
        path.encode()


def test_photos_of_every_depth_are_found_for_recognizing(tmp_path: Path) -> None:
    root = fill(tmp_path / "r", "1.jpg", "a/2.jpg", "2019/b/c/3.jpg", "@eaDir/4.jpg")
    found = find_photos(root)
    assert [os.path.relpath(path, root) for path in found.photos] == [
        "1.jpg", "2019/b/c/3.jpg", "a/2.jpg",
    ]  # fmt: skip
    assert list(found.left_out) == [str(root / "@eaDir/4.jpg")]
    with pytest.raises(DataError, match="no such folder"):
        find_photos(tmp_path / "gone")


@pytest.mark.usefixtures("without_heic", "without_raw")
def test_every_verb_names_the_photos_of_a_folder_that_it_does_not_use(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "r"
    for number in range(4):
        write_photo(root / "AB"[number % 2] / f"{number}.jpg", picture(number % 2, number))
    fill(root, "A/x.HEIC", content=box(b"heic"))
    fill(root, "A/Thumbs.db", "@eaDir/1.jpg")
    recognizer = tmp_path / "r.wl"
    for arguments in (
        ("index", root, "-o", recognizer, "--embedder", "sift"),
        ("gallery", "add", recognizer, root),
        ("clean", root, "-o", tmp_path / "c.csv", "--min-photos", 1),
        ("split", root, "-o", tmp_path / "s"),
        ("recognize", "-r", recognizer, root),
    ):
        code, _, err = run(capfd, *arguments)
        assert code == 3, (arguments, err)
        assert f"HEIC, {CONVERT}" in err, arguments
    (root / "A" / "x.HEIC").unlink()
    assert run(capfd, "gallery", "add", recognizer, root)[0] == 0


@pytest.mark.parametrize("content", [JPEG, b"broken"])
def test_clean_with_nothing_readable_ends_with_4(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes
) -> None:
    root = fill(tmp_path / "r", "A/1.jpg", "A/2.jpg", content=content)
    code, out, err = run(capfd, "clean", root, "-o", tmp_path / "c.csv", "--json")
    assert code == 4
    assert json.loads(out) == {"photos": 2, "kept": 0, "unreadable": 2}
    assert "no photo of 2 is left (r/A/1.jpg: " in err


def test_a_name_that_is_not_utf8_goes_through_all_verbs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / os.fsdecode(b"r\xe9")
    for number in range(6):
        name = os.fsdecode(b"AB"[number % 2 :][:1] + b"\xfc/%d\xe9.jpg" % number)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_photo(tmp_path / "t.jpg", picture(number % 2, number))
        (tmp_path / "t.jpg").rename(root / name)
    table, recognizer = tmp_path / "p.csv", tmp_path / "r.wl"
    for arguments in (
        ("import", "folder", root, "-o", table),
        ("clean", table, "-o", tmp_path / "c.csv", "--min-photos", 1),
        ("split", tmp_path / "c.csv", "-o", tmp_path / "s", "--test", "0.4"),
        ("index", tmp_path / "s" / "train.csv", "-o", recognizer, "--embedder", "sift"),
        ("evaluate", tmp_path / "s" / "test.csv", "-r", recognizer, "-o", tmp_path / "q.csv"),
        ("gallery", "add", recognizer, table),
        ("gallery", "list", recognizer),
        ("recognize", "-r", recognizer, root, "--json"),
    ):
        code, out, err = run(capfd, *arguments)
        assert code == 0, (arguments, out, err)
    assert f"file://{tmp_path}/r%E9/A%FC/0%E9.jpg" in out
    assert '"A%FC"' in out


@pytest.mark.usefixtures("without_heic", "without_raw")
def test_the_result_of_index_counts_the_files_that_were_not_used(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "r"
    for name, hue in (("A", 1), ("B", 2)):
        for i in range(3):
            write_photo(root / name / f"{i}.jpg", picture(hue, i))
    write_photo(root / "B" / "copy.jpg", picture(2, 0))
    fill(root, "A/phone.heic", content=b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    fill(root, "A/notes.txt", "Thumbs.db", content=b"words")
    out = tmp_path / "r.wl"
    code, text, _ = run(capfd, "index", root, "-o", out, "--embedder", "sift", "--json")
    counts = json.loads(text)
    assert code == 3
    assert counts["files not used"] == 3
    assert (counts["photos"], counts["failed"], counts["already there"]) == (6, 0, 1)
    assert len(read_folder(root)) == 7
