"""Listing tars and trees of photos: complete, truncated, damaged, with every header format."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.support.gldv2_layout import Item, hex_id, photo_path, write_tar
from whichlandmark.core.storage import read_bytes
from whichlandmark.data.photo_locations import (
    PhotoLocations,
    PhotoSource,
    find_sources,
    list_folder,
    list_sources,
    list_tar,
    missing_tars,
)


def items(count: int, salt: str = "") -> list[Item]:
    return [Item(hex_id(f"{salt}{i}"), "1", bytes([i % 251]) * (i * 37)) for i in range(count)]


def by_tarfile(path: Path) -> list[tuple[bytes, int, int]]:
    with tarfile.open(path) as tar:
        return [
            (Path(entry.name).stem.encode(), entry.offset_data, entry.size)
            for entry in tar
            if entry.isreg() and entry.name.endswith(".jpg")
        ]


def listed(path: Path, md5: str = "") -> tuple[list[tuple[bytes, int, int]], str]:
    found = list_tar(str(path), md5)
    table = zip(found.ids.tolist(), found.offsets.tolist(), found.sizes.tolist(), strict=True)
    return list(table), found.problem


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_format_is_listed_as_tarfile_does(tmp_path: Path, form: int) -> None:
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w", format=form) as tar:
        for i, item in enumerate(items(40)):
            name = photo_path(item.id)
            if i == 20 and form != tarfile.USTAR_FORMAT:
                name = "long/" * 40 + name
            entry = tarfile.TarInfo(name if i != 30 else "notes/readme.txt")
            entry.size = len(item.data)
            entry.mtime = 1.5 if form == tarfile.PAX_FORMAT and i == 10 else 1
            tar.addfile(entry, io.BytesIO(item.data))
        link = tarfile.TarInfo("a/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    found, problem = listed(path)
    assert problem == ""
    assert found == by_tarfile(path)
    assert len(found) == 39


def test_the_official_layout_with_folders_first_is_listed(tmp_path: Path) -> None:
    write_tar(tmp_path / "t.tar", items(30))
    found, problem = listed(tmp_path / "t.tar")
    assert (problem, len(found)) == ("", 30)
    assert found == by_tarfile(tmp_path / "t.tar")


def test_a_tar_is_used_only_when_its_md5_matches(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    write_tar(path, items(5))
    good = hashlib.md5(path.read_bytes()).hexdigest()
    assert len(listed(path, good)[0]) == 5
    data = bytearray(path.read_bytes())
    data[-5000] ^= 1
    path.write_bytes(data)
    found, problem = listed(path, good)
    assert found == []
    assert f"expected {good}" in problem
    assert len(listed(path)[0]) == 5  # without the MD5 check, no damage is found


def test_a_truncated_tar_lists_the_members_before_the_cut(tmp_path: Path) -> None:
    """Cut at a header, inside one, in the data, and before the end mark."""
    path = tmp_path / "t.tar"
    write_tar(path, items(12))
    data, whole = path.read_bytes(), by_tarfile(path)
    ends = [offset + size for _, offset, size in whole]
    for cut in {0, 100, 512, *(o - 512 for _, o, _ in whole), *(o - 100 for _, o, _ in whole),
                *ends, *(o + s // 2 for _, o, s in whole)}:  # fmt: skip
        path.write_bytes(data[:cut])
        found, problem = listed(path)
        assert found == [row for row, end in zip(whole, ends, strict=True) if end <= cut], cut
        assert "cut short" in problem or "damaged" in problem, cut


def test_a_damaged_header_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    write_tar(path, items(12))
    whole = by_tarfile(path)
    data = bytearray(path.read_bytes())
    data[whole[6][1] - 512 + 3] ^= 255  # a letter of the name: the checksum is wrong
    path.write_bytes(data)
    found, problem = listed(path)
    assert found == whole[:6]
    assert "damaged after" in problem
    path.write_bytes(b"<html>404</html>" * 200)
    assert listed(path) == ([], "damaged after 0 files (invalid header); download it again")


def hostile(size_field: bytes) -> bytes:
    block = bytearray(tarfile.TarInfo(photo_path(hex_id("x"))).tobuf(tarfile.GNU_FORMAT))
    block[124:136] = size_field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(1024)


@pytest.mark.parametrize(
    "size", [b"-0000001000\0", b"77777777777\0", b"\xff" * 12, b"\x80" + b"\x7f" * 11, b"9" * 12]
)
def test_hostile_sizes_end_the_listing(tmp_path: Path, size: bytes) -> None:
    """Else a negative size would make the reader read the same header forever."""
    (tmp_path / "t.tar").write_bytes(hostile(size))
    found, problem = listed(tmp_path / "t.tar")
    assert found == []
    assert problem


def test_a_tree_lists_only_files_at_their_official_paths(tmp_path: Path) -> None:
    good = [item.id for item in items(30) if item.id[0] == items(1)[0].id[0]]
    for name in good:
        (tmp_path / photo_path(name)).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / photo_path(name)).touch()
    first = tmp_path / good[0][0]
    (tmp_path / photo_path(good[0])).with_name("zzz.jpg").touch()
    (tmp_path / photo_path(good[0])).with_name("note.txt").touch()
    found = list_folder(str(first))
    assert sorted(found.ids.tolist()) == sorted(name.encode() for name in good)


def test_each_photo_is_located_once(tmp_path: Path) -> None:
    """In the first source that has it, for any number of processes."""
    write_tar(tmp_path / "train" / "images_000.tar", items(50))
    write_tar(tmp_path / "train" / "images_001.tar", items(60)[45:])
    loose = tmp_path / photo_path(hex_id("loose"))
    loose.parent.mkdir(parents=True)
    loose.write_bytes(b"loose")
    sources = find_sources([tmp_path, tmp_path / "train", tmp_path / "gone"], [])
    assert [s.is_tar for s in sources] == [False, True, True]
    locations = PhotoLocations.of(sources, list_sources(sources, workers=1))
    other = PhotoLocations.of(sources, list_sources(sources, workers=2))
    assert (locations.ids == other.ids).all()
    assert (locations.offsets == other.offsets).all()
    assert len(locations.ids) == 61
    wanted = [item.id for item in items(60)] + [hex_id("loose"), "no", "f" * 40, hex_id("loose")]
    rows = locations.find(wanted)
    assert rows[-3:-1].tolist() == [-1, -1]
    assert (np.delete(rows, [-3, -2]) >= 0).all()
    kept = rows >= 0
    names = [name for name, keep in zip(wanted, kept, strict=True) if keep]
    paths = list(locations.paths(names, rows[kept], str(tmp_path)))
    assert paths[0].startswith("train/images_000.tar#")
    assert paths[47].startswith("train/images_000.tar#")  # it is in both
    assert paths[55].startswith("train/images_001.tar#")
    assert paths[-1] == photo_path(hex_id("loose"))
    assert [read_bytes(tmp_path / path) for path in paths[:60]] == [i.data for i in items(60)]


def test_without_sources_no_photo_is_found() -> None:
    locations = PhotoLocations.of([], [])
    assert locations.find(["abc"]).tolist() == [-1]
    assert locations.find([]).tolist() == []


def test_md5_files_are_found_beside_and_in_their_folder(tmp_path: Path) -> None:
    write_tar(tmp_path / "train" / "images_000.tar", items(2))
    write_tar(tmp_path / "index" / "images_000.tar", items(2, "i"))
    beside = (tmp_path / "train" / "md5.images_000.txt").read_text().split()[0]
    official = tmp_path / "md5sum" / "index"
    official.mkdir(parents=True)
    (tmp_path / "index" / "md5.images_000.txt").rename(official / "md5.images_000.txt")
    folders, md5 = [tmp_path / "train", tmp_path / "index"], [tmp_path / "md5sum"]
    train, index = find_sources(folders, md5)
    assert train == PhotoSource(str(tmp_path / "train" / "images_000.tar"), beside)
    assert index.md5 == hashlib.md5(Path(index.path).read_bytes()).hexdigest()
    assert all(source.md5 == "" for source in find_sources(folders, md5, check=False))
    (tmp_path / "train" / "md5.images_000.txt").write_text("<html>404</html>")
    assert "holds no md5" in find_sources(folders, md5)[0].list().problem


def test_missing_tars_are_known_by_md5_files_and_numbers(tmp_path: Path) -> None:
    for number in (0, 3):
        write_tar(tmp_path / "train" / f"images_{number:03d}.tar", items(1))
    (tmp_path / "train" / "md5.images_005.txt").write_text("x")
    found = missing_tars([tmp_path, tmp_path / "train"], [])
    assert [Path(path).name for path in found] == [
        "images_001.tar", "images_002.tar", "images_005.tar",
    ]  # fmt: skip
    (tmp_path / "train" / "0").mkdir()  # unpacked: the tars may be gone
    assert missing_tars([tmp_path, tmp_path / "train"], []) == []
