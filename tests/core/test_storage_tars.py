"""Photos in tars: an address reads exactly one member; altered addresses read nothing else."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.support.photos import picture, write_photo
from whichlandmark.core.errors import ImageError
from whichlandmark.core.images import read_image
from whichlandmark.core.storage import (
    File,
    TarMember,
    absolute_path,
    parse,
    read_bytes,
    relative_path,
    stamp,
)
from whichlandmark.core.types import Photos
from whichlandmark.data.table import read_photos, write_photos
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.folder.fill import fill_gallery


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    """photos.tar with a/0.jpg, a/1.jpg, a/2.jpg, and a folder."""
    for i in range(3):
        write_photo(tmp_path / "a" / f"{i}.jpg", picture(i, i))
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        archive.add(tmp_path / "a", "a", filter=lambda entry: entry)
    return tmp_path / "photos.tar"


def addresses(tar: Path) -> dict[str, TarMember]:
    with tarfile.open(tar) as archive:
        return {
            entry.name: TarMember(str(tar), entry.name, entry.offset_data, entry.size)
            for entry in archive
        }


def test_an_address_reads_the_photo(tar: Path) -> None:
    found = addresses(tar)
    for i in range(3):
        address = str(found[f"a/{i}.jpg"])
        assert read_bytes(address) == (tar.parent / "a" / f"{i}.jpg").read_bytes()
        assert read_bytes(Path(address)) == read_bytes(address)
        assert (read_image(address) == read_image(tar.parent / "a" / f"{i}.jpg")).all()


def test_only_complete_member_addresses_are_parsed_as_such() -> None:
    assert parse("/x/i.tar#a/b.jpg@1024+9") == TarMember("/x/i.tar", "a/b.jpg", 1024, 9)
    for plain in ("/x/i.tar", "/x/a.jpg", "/x/i.tar#a.jpg", "/x/i.tar#a.jpg@1024", "/x/a.jpg@1+2",
                  "/x/i.tar#a.jpg@-1024+9", "/x/i.tar#@512+9", "/x/i.tar#a@٥١٢+9",
                  "/x/i.tar#a@512+9 ", "/x/i.tar#a@" + "9" * 40 + "+1"):  # fmt: skip
        assert parse(plain) == File(plain), plain


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: (m.name, m.offset, m.size + 1), "no such photo there"),
        (lambda m: (m.name, m.offset, m.size - 1), "no such photo there"),
        (lambda m: (m.name, m.offset + 512, m.size), "no such photo there"),
        (lambda m: (m.name, m.offset + 1, m.size), "multiples of 512"),
        (lambda m: (m.name, 0, m.size), "multiples of 512"),
        (lambda m: ("a/1.jpg", m.offset, m.size), "no such photo there"),
        (lambda m: (m.name, m.offset, 10**6), "ends at byte"),
        (lambda m: (m.name, 10**12 // 512 * 512, m.size), "ends at byte"),
        (lambda m: (m.name, m.offset, 10**12), "larger than 100 MB"),
    ],
)
def test_nothing_but_one_whole_member_can_be_read(tar: Path, change, message: str) -> None:
    member = TarMember(str(tar), *change(addresses(tar)["a/0.jpg"]))
    with pytest.raises(ImageError, match=message):
        read_bytes(str(member))


def test_missing_and_unsuitable_tars_raise_image_errors(tar: Path, tmp_path: Path) -> None:
    member = addresses(tar)["a/0.jpg"]
    with pytest.raises(ImageError, match="no such file"):
        read_bytes(str(TarMember(str(tmp_path / "gone.tar"), "a", 512, 9)))
    os.mkfifo(tmp_path / "pipe.tar")
    with pytest.raises(ImageError, match="not a plain file"):  # and does not block
        read_bytes(str(TarMember(str(tmp_path / "pipe.tar"), "a", 512, 9)))
    (tmp_path / "folder.tar").mkdir()
    with pytest.raises(ImageError, match=r"cannot be read|not a plain file"):
        read_bytes(str(TarMember(str(tmp_path / "folder.tar"), "a", 512, 9)))
    secret = tmp_path / "secret.tar"
    secret.write_bytes(b"s" * 4096)  # not a tar: it has no header
    with pytest.raises(ImageError, match="no such photo there"):
        read_bytes(str(TarMember(str(secret), "s", 512, 512)))
    folder = addresses(tar)["a"]
    with pytest.raises(ImageError, match="no such photo there"):  # a folder is not a photo
        read_bytes(str(TarMember(folder.tar, "a", folder.offset, 0)))
    os.truncate(tar, member.offset + member.size - 1)
    with pytest.raises(ImageError, match="ends at byte"):
        read_bytes(str(member))


def test_long_names_are_read(tmp_path: Path) -> None:
    """Names over 100 bytes are in an extra header, in both tar formats."""
    photo = write_photo(tmp_path / "p.jpg", picture(1, 1))
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = tmp_path / f"{form}.tar"
        with tarfile.open(path, "w", format=form) as archive:
            archive.add(photo, "d" * 150 + "/" + "ü" * 70 + ".jpg")
        (member,) = addresses(path).values()
        assert read_bytes(str(member)) == photo.read_bytes()


def test_a_stamp_changes_with_the_tar_and_differs_within_it(tar: Path) -> None:
    found = [stamp(str(addresses(tar)[f"a/{i}.jpg"])) for i in range(3)]
    assert len(set(found)) == 3
    status = os.stat(tar)
    assert all(s.startswith(f"{status.st_size}:{status.st_mtime_ns}:") for s in found)
    os.utime(tar, ns=(1, 1))
    assert stamp(str(addresses(tar)["a/0.jpg"])) != found[0]
    assert stamp("/gone.tar#a@512+9") == ""


def test_only_the_part_before_the_hash_is_made_absolute_or_relative() -> None:
    """The part before the # is a path; the part after it is unchanged."""
    address = "t/../i.tar#a/../../b//c.jpg@512+9"
    assert absolute_path(address, "/x/y") == "/x/y/i.tar#a/../../b//c.jpg@512+9"
    assert relative_path("/x/y/i.tar#a/../b@512+9", "/x/z") == "../y/i.tar#a/../b@512+9"
    assert absolute_path("/i.tar#a@512+9", "/x") == "/i.tar#a@512+9"
    assert absolute_path("../p.tar#q/r.jpg", "/x/y") == "/x/p.tar#q/r.jpg"  # a plain path
    assert relative_path("/x/y/1.jpg", "/x/z") == "../y/1.jpg"


def test_a_table_moves_with_its_tars(tar: Path, tmp_path: Path) -> None:
    members = [str(addresses(tar)[f"a/{i}.jpg"]) for i in range(3)]
    photos = Photos.of_columns(["0", "1", "2"], members, ["x", "x", "y"])
    write_photos(tmp_path / "tables" / "t.csv", photos)
    moved = tmp_path / "moved"
    (moved / "tables").mkdir(parents=True)
    shutil.move(tmp_path / "tables" / "t.csv", moved / "tables" / "t.csv")
    shutil.move(tar, moved / "photos.tar")
    read = read_photos(moved / "tables" / "t.csv")
    for i, photo in enumerate(read):
        assert str(photo.path) == read.paths[i]
        assert read_bytes(photo.path) == (tmp_path / "a" / f"{i}.jpg").read_bytes()


def test_a_gallery_is_filled_from_a_tar_and_resumed(tar: Path) -> None:
    embedder = HistogramEmbedder()
    members = [str(addresses(tar)[f"a/{i}.jpg"]) for i in range(3)]
    gallery = SqliteGallery.create(None, embedder.id, embedder.dim)
    one = Photos.of_columns(["0", "1"], members[:2], ["x", "x"])
    assert fill_gallery(embedder, one, gallery) == []
    generation = gallery.generation
    assert fill_gallery(embedder, one, gallery) == []
    assert gallery.generation == generation  # nothing was embedded again
    wrong = [members[0], members[1], members[2].replace("+", "+1")]
    failures = fill_gallery(
        embedder, Photos.of_columns(["0", "1", "2"], wrong, ["x", "x", "y"]), gallery
    )
    assert [f.id for f in failures] == ["2"]
