"""Read and cut the csv files of Google Landmarks v2 (github.com/cvdfoundation/google-landmark).

train.csv             id,url,landmark_id
train_clean.csv       landmark_id,images (ids, separated by spaces)
train_attribution.csv id,url,author,license,title (the photo's page, and the licence's web address)
index.csv, test.csv   id
index_image_to_landmark.csv                     id,landmark_id
train_ and index_label_to_category.csv          landmark_id,category (a Wikimedia Commons URL)
recognition_solution_v2.1.csv                   id,landmarks (separated by spaces),Usage
"""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from ..core.csv_files import open_csv
from ..core.errors import DataError, OptionError
from ..core.files import atomic_file
from ..core.storage import TAR_BLOCK, TarMember, parse
from ..core.types import SEPARATOR, Progress
from .photo_locations import PhotoSource, list_sources

ROWS_PER_CHUNK = 16_384  # with more, garbage collection takes a third of the time

MAX_CELL_CHARACTERS = 64_000_000  # one cell of train_clean.csv lists all photos of a landmark

_ID = re.compile(r"[A-Za-z0-9_-]*")  # of a photo or a landmark

TARS = {"train": 500, "index": 100, "test": 20}  # number of tars of a part

TAR_BYTES = {"train": 1_000_000_000, "index": 850_000_000, "test": 500_000_000}  # "~1GB" and so on

# A photo of more bytes than this is none of this data set, whose longer sides are a few thousand
# pixels at most.
MAX_PHOTO_BYTES = 64_000_000

OFFSET_COLUMNS = ("id", "tar", "offset", "size")

_TAR_NAME = re.compile(r"(?:.*/)?images_(\d{3})\.tar", re.DOTALL)

_PHOTO_ID = re.compile(rb"[A-Za-z0-9_-]{3,64}")

_IGNORED_USAGE = "ignored"  # photos of this Usage are in no score


@dataclass(frozen=True)
class TableRows:
    """N consecutive rows of a table.

    line: of the first row. ids, landmarks ("" = none, "1|2" = several): (N,); usages: (N,) or
    empty.
    """

    line: int
    ids: Sequence[str]
    landmarks: Sequence[str]
    usages: Sequence[str] = ()


def read_columns(
    path: Path, names: Sequence[str], *, rows: int = ROWS_PER_CHUNK
) -> Iterator[tuple[int, list[Sequence[str]]]]:
    """Read the named columns of a csv file in chunks of `rows` rows.

    Yields (line of the first row, the columns in the order of `names`). Raises DataError naming
    the line and what was expected.
    """
    with open_csv(path, max_cell_length=MAX_CELL_CHARACTERS) as (header, lines):
        numbers = [_column_number(name, header, path) for name in names]
        while chunk := list(islice(lines, rows)):
            columns = list(zip(*(cells for _, cells in chunk), strict=True))
            yield chunk[0][0], [columns[number] for number in numbers]


def _column_number(name: str, header: list[str], path: Path) -> int:
    if header.count(name) != 1:
        raise DataError(
            f"{path}, line 1: columns {','.join(header) or '(none)'} given; expected {name!r} once"
        )
    return header.index(name)


def header_of(path: Path) -> list[str]:
    """Read the column names of a csv file. Raises DataError when it is no csv file."""
    with open_csv(path, max_cell_length=MAX_CELL_CHARACTERS) as (header, _):
        return header


def train_rows(path: Path) -> Iterator[TableRows]:
    """Read train.csv, or any file with the columns id and landmark_id."""
    for line, (ids, landmarks) in read_columns(path, ("id", "landmark_id")):
        _check_ids(ids, path, line, "id", 3)
        _check_ids(landmarks, path, line, "landmark_id", 1)
        yield TableRows(line, ids, landmarks)


def clean_rows(path: Path) -> Iterator[TableRows]:
    """Read train_clean.csv as one row per photo."""
    for line, (landmarks, cells) in read_columns(path, ("landmark_id", "images"), rows=2_000):
        _check_ids(landmarks, path, line, "landmark_id", 1)
        images = [cell.split() for cell in cells]
        ids = list(chain.from_iterable(images))
        _check_ids(ids, path, line, "id", 3)
        repeated = chain.from_iterable(
            [landmark] * len(photos) for landmark, photos in zip(landmarks, images, strict=True)
        )
        yield TableRows(line, ids, list(repeated))


def plain_rows(path: Path, landmarks: dict[str, str]) -> Iterator[TableRows]:
    """Read a file with only the column id. landmarks: id → landmark, from another file."""
    for line, (ids,) in read_columns(path, ("id",)):
        _check_ids(ids, path, line, "id", 3)
        yield TableRows(line, ids, [landmarks.get(name, "") for name in ids])


@dataclass(eq=False)
class TestSolution:
    """Reads the answers to the test photos, without those of Usage "Ignored".

    ids: of all rows read so far, ignored ones too. ignored: how many rows were left out.
    """

    ids: set[str] = field(default_factory=set)
    ignored: int = 0

    def rows(self, path: Path) -> Iterator[TableRows]:
        """Read recognition_solution*.csv: blank = no landmark; "1 2" becomes "1|2"."""
        for line, (ids, cells, usages) in read_columns(path, ("id", "landmarks", "Usage")):
            _check_ids(ids, path, line, "id", 3)
            landmarks = [SEPARATOR.join(dict.fromkeys(cell.split())) for cell in cells]
            _check_ids(
                [name.replace(SEPARATOR, "") for name in landmarks], path, line, "landmarks", 0
            )
            kept = [
                row for row, usage in enumerate(usages) if usage.strip().lower() != _IGNORED_USAGE
            ]
            self.ids.update(ids)
            self.ignored += len(ids) - len(kept)
            yield TableRows(
                line,
                [ids[row] for row in kept],
                [landmarks[row] for row in kept],
                [usages[row].strip() for row in kept],
            )


def categories(path: Path) -> dict[str, str]:
    """Read landmark_id → category, the URL as written in the file."""
    found: dict[str, str] = {}
    for line, (landmarks, urls) in read_columns(path, ("landmark_id", "category")):
        _check_ids(landmarks, path, line, "landmark_id", 1)
        found.update(zip(landmarks, (url.strip() for url in urls), strict=True))
    return found


def attribution_rows(path: Path) -> Iterator[list[Sequence[str]]]:
    """Read train_attribution.csv in chunks: its ids, authors, licences and pages, each (N,)."""
    for _, columns in read_columns(path, ("id", "author", "license", "url")):
        yield columns


def name_of(category: str) -> str:
    """http://commons.wikimedia.org/wiki/Category:Caf%C3%A9_de_Paris → Café de Paris."""
    title = unquote(category.rstrip("/").rpartition("/wiki/")[2])
    return title.removeprefix("Category:").replace("_", " ").strip()


def folded_words(text: str) -> list[str]:
    """The words of a name without accents and case: "Café de París" → cafe, de, paris."""
    letters = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(one for one in letters if not unicodedata.combining(one))
    return re.findall(r"\w+", plain.replace("_", " "))


def named_landmarks(path: Path, words: Sequence[str]) -> set[str]:
    """The landmarks of a category file in whose names each word begins a word, in any order."""
    wanted = [word for text in words for word in folded_words(text)]
    return {
        landmark
        for landmark, category in categories(path).items()
        if wanted and (words_of := folded_words(name_of(category)))
        and all(any(word.startswith(start) for word in words_of) for start in wanted)
    }  # fmt: skip


def photos_of(path: Path, landmarks: Collection[str] | None = None) -> dict[str, list[str]]:
    """Landmark → ids of its photos, of any table that says so; None = of all landmarks.

    The ids of train.csv, train_clean.csv, index_image_to_landmark.csv or the test's solution.
    """
    header = header_of(path)
    chunks = (clean_rows(path) if "images" in header else
              TestSolution().rows(path) if "landmarks" in header else train_rows(path))  # fmt: skip
    found: dict[str, list[str]] = {}
    for chunk in chunks:
        for photo_id, cell in zip(chunk.ids, chunk.landmarks, strict=True):
            for landmark in cell.split(SEPARATOR):
                if landmark and (landmarks is None or landmark in landmarks):
                    found.setdefault(landmark, []).append(photo_id)
    return found


def photo_counts(path: Path) -> Counter[str]:
    """Landmark → number of its photos, of any table that `photos_of` reads."""
    if "images" in header_of(path):
        return Counter({
            landmark: len(cell.split())
            for _, columns in read_columns(path, ("landmark_id", "images"), rows=2_000)
            for landmark, cell in zip(*columns, strict=True)
        })  # fmt: skip
    counts: Counter[str] = Counter()
    for chunk in train_rows(path):
        counts.update(chunk.landmarks)
    return counts


def cut_table(source: Path, target: Path, ids: Collection[str]) -> None:
    """Write the rows of a table that are about these photos.

    Of train_clean.csv only these photos stay in a row.
    """
    with (
        open_csv(source, max_cell_length=MAX_CELL_CHARACTERS) as (header, rows),
        atomic_file(target) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        by_landmark = "images" in header
        column = _column_number("images" if by_landmark else "id", header, source)
        for _, cells in rows:
            if by_landmark:
                cells[column] = " ".join(one for one in cells[column].split() if one in ids)
            if cells[column] if by_landmark else cells[column] in ids:
                writer.writerow(cells)


def sorted_ids(path: Path) -> NDArray[np.bytes_]:
    """(N,) all photo ids of a table with a column id, sorted, each once."""
    chunks = [np.array(chunk.ids, dtype=np.bytes_) for chunk in plain_rows(path, {})]
    return np.unique(np.concatenate([np.empty(0, "S1"), *chunks]))


def landmark_ids(text: str) -> list[str]:
    """Landmark ids from "1,2,3" or from a file that has them: a csv with a column landmark or
    landmark_id, as landmarks.csv, or one id a line.

    Raises OptionError for what is no id.
    """
    found = re.split(r"[,;\s]+", text.strip())
    if Path(text).is_file():
        with open_csv(Path(text), max_cell_length=MAX_CELL_CHARACTERS) as (header, rows):
            column = next((n for n, name in enumerate(header)
                           if name in ("landmark", "landmark_id")), -1)  # fmt: skip
            cells = [row for _, row in rows]
            found = [row[column] for row in cells] if column >= 0 else [
                one for row in (header, *cells) for one in row]  # fmt: skip
    for name in found:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name.strip()):
            raise OptionError(
                f"--landmarks {text!r}: {name!r} is no landmark id; expected ids such as 47378,"
                "150591, or a file with one in each line"
            )
    return list(dict.fromkeys(name.strip() for name in found))


class Place(NamedTuple):
    """Where a photo's bytes are: the number of the tar, and offset and size in bytes."""

    tar: int
    offset: int
    size: int


def read_offsets(file: Path, part: str, wanted: Collection[str]) -> dict[str, Place]:
    """Read where photos are from a table, for the `wanted` ids of one part only.

    Args:
        file: A csv id,tar,offset,size, as `write_offsets` makes it, or a table of photos that
            `import gldv2` made from tars: its paths are `train/images_000.tar#…@offset+size`.
        part: A tar in a folder of the name of another part is left out.
        wanted: Ids.

    Raises:
        DataError: Naming the line, when the table has no offsets.
    """
    with open_csv(file, max_cell_length=MAX_CELL_CHARACTERS) as (header, rows):
        cells = OFFSET_COLUMNS if set(OFFSET_COLUMNS) <= set(header) else ("id", "path")
        if not set(cells) <= set(header):
            raise DataError(
                f"{file}, line 1: columns {','.join(header) or '(none)'} given; expected "
                f"{','.join(OFFSET_COLUMNS)}, or a table that `import gldv2` made from tars"
            )
        numbers = [header.index(name) for name in cells]
        found: dict[str, Place] = {}
        for line, row in rows:
            photo_id, *where = (row[number].strip() for number in numbers)
            if photo_id in wanted and (place := _place(where, part, f"{file}, line {line}")):
                found.setdefault(photo_id, place)
    return found


def _place(cells: list[str], part: str, where: str) -> Place | None:
    """From tar, offset, size, or from an address; None for a tar of another part."""
    if len(cells) == 1:
        address = parse(cells[0])
        if not isinstance(address, TarMember):
            raise DataError(
                f"{where}: {cells[0]!r} is no address in a tar; expected such as "
                "train/images_000.tar#0/1/2/012….jpg@1536+98765"
            )
        tar, offset, size = address.tar, address.offset, address.size
    else:
        tar = cells[0]
        if not (re.fullmatch(r"\d{1,15}", cells[1]) and re.fullmatch(r"\d{1,15}", cells[2])):
            raise DataError(f"{where}: offset {cells[1]!r}, size {cells[2]!r}; expected bytes")
        offset, size = int(cells[1]), int(cells[2])
    name = _TAR_NAME.fullmatch(tar)
    if not name:
        raise DataError(f"{where}: tar {tar!r}; expected such as {part}/images_000.tar")
    folder = tar.split("/")[-2] if "/" in tar else part
    if folder in TARS and folder != part:
        return None
    if offset < TAR_BLOCK or offset % TAR_BLOCK or not 0 < size <= MAX_PHOTO_BYTES:
        raise DataError(
            f"{where}: offset {offset}, size {size}; the data of a tar's members begin at "
            f"multiples of {TAR_BLOCK}, and a photo has 1 to {MAX_PHOTO_BYTES} bytes"
        )
    return Place(int(name[1]), offset, size)


def write_offsets(
    folder: Path, out: Path, *, progress: Progress | None = None
) -> tuple[dict[str, int], dict[str, str]]:
    """Write the offsets of all photos in the tars of a folder, and of its folders train, index
    and test, as a csv that `read_offsets` reads.

    Returns:
        Counts of photos and tars, and tar → what is wrong with it; its good photos are listed.

    Raises:
        DataError: When there is no tar.
    """
    tars = [
        path for name in ("", *TARS) for path in sorted((folder / name).glob("images_[0-9]*.tar"))
        if _TAR_NAME.fullmatch(path.name)
    ]  # fmt: skip
    if not tars:
        raise DataError(
            f"{folder}: no tar found; expected images_000.tar … in it or in its folders "
            f"{', '.join(TARS)}"
        )
    listings = list_sources([PhotoSource(str(path)) for path in tars], progress=progress)
    photos = 0
    with (
        atomic_file(out, "table of offsets") as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        file.write(",".join(OFFSET_COLUMNS) + "\n")
        for path, listing in zip(tars, listings, strict=True):
            tar = f"{path.parent.name}/{path.name}" if path.parent.name in TARS else path.name
            columns = (listing.ids.tolist(), listing.offsets.tolist(), listing.sizes.tolist())
            for name, offset, size in zip(*columns, strict=True):
                if 0 < size <= MAX_PHOTO_BYTES and _PHOTO_ID.fullmatch(name):
                    photos += 1
                    file.write(f"{name.decode()},{tar},{offset},{size}\n")
    damaged = {
        os.path.relpath(path, folder): listing.problem
        for path, listing in zip(tars, listings, strict=True) if listing.problem
    }  # fmt: skip
    return {"photos": photos, "tars": len(tars), "damaged tars": len(damaged)}, damaged


def _check_ids(values: Sequence[str], path: Path, line: int, column: str, least: int) -> None:
    """Refuse ids that are not letters, digits, _ and -, because they go into paths and
    submission.csv. least: minimum length.
    """
    if _ID.fullmatch("".join(values)) and min(map(len, values), default=least) >= least:
        return
    for value in values:
        if not _ID.fullmatch(value) or len(value) < least:
            raise DataError(
                f"{path}, near line {line}: {column} {value!r}; expected at least {least} of the "
                "characters a–z, A–Z, 0–9, _ and -"
            )
