"""Write photos to disk in the layout of Google Landmarks v2, for tests and benchmarks.

CSV files with the official columns; photos in the tars images_000.tar … of train/, index/ and
test/, each with an MD5 file beside it, or unpacked as a/b/c/<id>.jpg.
"""

from __future__ import annotations

import csv
import hashlib
import io
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

WIKI = "http://commons.wikimedia.org/wiki/Category:"


@dataclass(frozen=True)
class Item:
    """One photo. landmark: a landmark id; a test photo may have none ("") or several ("1 2")."""

    id: str  # 16 hexadecimal digits
    landmark: str
    data: bytes
    usage: str = ""
    clean: bool = True  # is listed in train_clean.csv


@dataclass
class Gldv2Set:
    """The photos of the three parts. names: landmark id → name, as in the category files."""

    train: list[Item] = field(default_factory=list)
    index: list[Item] = field(default_factory=list)
    test: list[Item] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)


def hex_id(text: str) -> str:
    """A photo id in the form of GLDv2, 16 hexadecimal digits, made from any text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def photo_path(photo_id: str) -> str:
    return f"{photo_id[0]}/{photo_id[1]}/{photo_id[2]}/{photo_id}.jpg"


def write_gldv2(root: Path, photos: Gldv2Set, *, tars: int = 2, unpacked: bool = False) -> None:
    """Write all files. tars: the number of tars of train; index and test have one each."""
    root.mkdir(parents=True, exist_ok=True)
    write_tables(root, photos)
    for part, items, count in (
        ("train", photos.train, tars), ("index", photos.index, 1), ("test", photos.test, 1),
    ):  # fmt: skip
        for number in range(count if items else 0):
            some = items[number::count]
            if unpacked:
                for item in some:
                    path = root / part / photo_path(item.id)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(item.data)
            else:
                write_tar(root / part / f"images_{number:03d}.tar", some)


def write_tar(path: Path, items: Sequence[Item]) -> None:
    """Write one tar, with entries of its folders first as `tar` does, and its MD5 file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        folders = {photo_path(i.id)[: 2 * depth - 1] for i in items for depth in (1, 2, 3)}
        for folder in sorted(folders):
            entry = tarfile.TarInfo(folder)
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        for item in items:
            entry = tarfile.TarInfo(photo_path(item.id))
            entry.size = len(item.data)
            tar.addfile(entry, io.BytesIO(item.data))
    write_md5(path)


def write_md5(path: Path) -> None:
    """Write the MD5 file of a tar, named as in the data set: md5.images_000.txt."""
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    (path.parent / f"md5.{path.stem}.txt").write_text(f"{digest}  {path.name}\n")


def write_tables(root: Path, photos: Gldv2Set) -> None:
    """Write all CSV files."""
    url = "http://lh3.googleusercontent.com/{}/s1600/"
    if photos.train:
        _write(root / "train.csv", ("id", "url", "landmark_id"),
               [(i.id, url.format(i.id), i.landmark) for i in photos.train])  # fmt: skip
        clean: dict[str, list[str]] = {}
        for item in photos.train:
            if item.clean:
                clean.setdefault(item.landmark, []).append(item.id)
        _write(root / "train_clean.csv", ("landmark_id", "images"),
               [(landmark, " ".join(ids)) for landmark, ids in clean.items()])  # fmt: skip
    if photos.index:
        _write(root / "index.csv", ("id",), [(i.id,) for i in photos.index])
        _write(root / "index_image_to_landmark.csv", ("id", "landmark_id"),
               [(i.id, i.landmark) for i in photos.index])  # fmt: skip
    if photos.test:
        _write(root / "test.csv", ("id",), [(i.id,) for i in photos.test])
        _write(root / "recognition_solution_v2.1.csv", ("id", "landmarks", "Usage"),
               [(i.id, i.landmark, i.usage) for i in photos.test])  # fmt: skip
    if photos.names:
        urls = [(key, WIKI + quote(name.replace(" ", "_"))) for key, name in photos.names.items()]
        _write(root / "train_label_to_category.csv", ("landmark_id", "category"), urls)


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
