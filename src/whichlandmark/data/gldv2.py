"""A Google Landmarks v2 folder → photo tables, with a photo's place in its tar or tree.

Weyand, Araujo, Cao, Sim, "Google Landmarks Dataset v2", CVPR 2020. Columns are numbers and
bytes, and tables are written as they are read: 4.1 million photos need no Python object each.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError, OptionError
from ..core.files import whole_file
from ..core.types import Progress, true_landmarks
from . import gldv2_tables
from .gldv2_tables import TableRows
from .import_tools import Problems, listing_problems
from .photo_locations import PhotoLocations, find_sources, list_sources, missing_tars
from .table import write_rows

PARTS = ("", "train", "index", "test")  # folders where photos are looked for

TABLES = (*PARTS, "metadata")  # and csv files

MD5 = ("md5sum", "md5")  # folders of md5 files

SOLUTION = "recognition_solution"


@dataclass(frozen=True, kw_only=True)
class Gldv2Options:
    """all_photos: train.csv's photos also where train_clean.csv chooses some of them.
    md5: read every tar whole to check it. workers: processes, 0 = one per usable core.
    """

    all_photos: bool = False
    md5: bool = True
    workers: int = 0


@dataclass(frozen=True)
class ImportResult:
    """Numbers to print; by kind, the first problems and how many more there are; the notes
    are no failures.
    """

    counts: dict[str, int]
    problems: dict[str, list[str]]
    notes: list[str]


def import_gldv2(
    root: Path, out: Path, options: Gldv2Options | None = None, *, progress: Progress | None = None
) -> ImportResult:
    """Write train.csv, index.csv and test.csv (those that `root` has), landmarks.csv (landmark,
    name, category) and, when something could not be used, problems.csv into `out`.

    Landmarks are GLDv2's ids. A missing or damaged tar, a missing photo and a repeated row are
    listed and left out. Raises DataError when `root` has no table or no place of photos, and for
    a table that cannot be read; OptionError when a table would be written over one of GLDv2's.
    """
    root, options = Path(os.path.abspath(root)), options or Gldv2Options()
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    files = _tables(root)
    _check_out(out, files)
    with listing_problems(out / "problems.csv") as problems:
        run = _Import(out, _places(root, options, problems, progress), problems)
        if train := _train(files, options):
            run.write("train", train)
        if "index.csv" in files:
            run.write("index", gldv2_tables.plain_rows(files["index.csv"], _index_landmarks(files)))
        run.write_test(files)
        run.write_landmarks(files)
    kinds = [kind for kind in problems.counts if kind != "landmark"]
    return ImportResult(run.counts, {kind: problems.lines(kind) for kind in kinds},
                    [*run.notes, *problems.lines("landmark")])  # fmt: skip


def _tables(root: Path) -> dict[str, Path]:
    """File name → csv file, of the first folder that has it."""
    found: dict[str, Path] = {}
    for part in TABLES:
        for path in sorted((root / part).glob("*.csv")):
            found.setdefault(path.name, path)
    if not {"train.csv", "train_clean.csv", "index.csv", "test.csv"} & set(found):
        raise DataError(
            f"{root}: no table of Google Landmarks v2 there; expected train.csv, train_clean.csv, "
            f"index.csv or test.csv there, or in its folders {', '.join(TABLES[1:])}"
        )
    return found


def _check_out(out: Path, files: dict[str, Path]) -> None:
    for name in ("train.csv", "index.csv", "test.csv"):
        target = out / name
        if target.exists() and any(target.samefile(path) for path in files.values()):
            raise OptionError(
                f"{target} is a table of Google Landmarks v2 itself and would be written over; "
                "give another folder (-o)"
            )


def _places(
    root: Path, options: Gldv2Options, problems: Problems, progress: Progress | None
) -> PhotoLocations:
    folders = [root / part for part in PARTS]
    md5_folders = [root / name for name in MD5]
    sources = find_sources(folders, md5_folders, check=options.md5)
    if not sources:
        raise DataError(
            f"{root}: no photos there; expected a/b/c/<id>.jpg or images_000.tar … there, or in "
            f"its folders {', '.join(PARTS[1:])}"
        )
    for path in missing_tars(folders, md5_folders):
        problems.add("tar", os.path.relpath(path, root), "missing; download it")
    listings = list_sources(sources, workers=options.workers, progress=progress)
    for source, listing in zip(sources, listings, strict=True):
        if listing.problem:
            kind = "tar" if source.is_tar else "folder"
            problems.add(kind, os.path.relpath(source.path, root), listing.problem)
    return PhotoLocations.of(sources, listings)


def _train(files: dict[str, Path], options: Gldv2Options) -> Iterator[TableRows] | None:
    if "train_clean.csv" in files and not options.all_photos:
        return gldv2_tables.clean_rows(files["train_clean.csv"])
    if "train.csv" in files:
        return gldv2_tables.train_rows(files["train.csv"])
    if "train_clean.csv" in files:
        raise DataError(f"{files['train_clean.csv']} alone; --all needs train.csv beside it")
    return None


def _index_landmarks(files: dict[str, Path]) -> dict[str, str]:
    for name in ("index_image_to_landmark.csv", "index.csv"):
        if name in files and "landmark_id" in gldv2_tables.header_of(files[name]):
            parts = gldv2_tables.train_rows(files[name])
            return dict(chain.from_iterable(zip(p.ids, p.landmarks, strict=True) for p in parts))
    return {}


@dataclass(eq=False)
class _Import:
    """What one run knows: the places of the photos, and codes of the landmarks met so far."""

    out: Path
    places: PhotoLocations
    problems: Problems
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    codes: dict[str, int] = field(default_factory=dict)

    def write(self, table: str, parts: Iterable[TableRows], *, usage: bool = False) -> None:
        """One table: the photos that are there, each once."""
        self.counts |= {f"{table} photos": 0, f"{table} missing": 0, f"{table} repeated": 0}
        seen = np.full(len(self.places.ids) + 1, -1, dtype=np.int32)  # the last: no place
        rows = chain.from_iterable(self._rows(table, part, seen, usage) for part in parts)
        self.counts[f"{table} photos"] = write_rows(self.out / f"{table}.csv", rows, usage=usage)

    def _rows(
        self, table: str, part: TableRows, seen: NDArray[np.int32], usage: bool
    ) -> Iterator[tuple[str, ...]]:
        """Rows of the table. seen: (P,) code of the landmark each place was written with, −1."""
        found = self.places.find(part.ids)
        codes = np.array(
            [self.codes.setdefault(name, len(self.codes)) for name in part.landmarks],
            dtype=np.int32,
        )
        there, first = np.unique(found, return_index=True)
        fresh = np.zeros(len(found), dtype=bool)
        fresh[first] = (there >= 0) & (seen[there] < 0)
        seen[found[fresh]] = codes[fresh]
        for row in np.flatnonzero(~fresh):
            self._left_out(table, part, int(row), bool(found[row] >= 0),
                           same=found[row] >= 0 and seen[found[row]] == codes[row])  # fmt: skip
        kept = range(len(found)) if fresh.all() else np.flatnonzero(fresh).tolist()
        ids = [part.ids[row] for row in kept]
        columns = [ids, self.places.paths(ids, found[fresh], os.path.abspath(self.out)),
                   [part.landmarks[row] for row in kept]]  # fmt: skip
        if usage:
            columns.append([part.usages[row] for row in kept])
        yield from zip(*columns, strict=True)

    def _left_out(self, table: str, part: TableRows, row: int, there: bool, *, same: bool) -> None:
        name, landmark = part.ids[row], part.landmarks[row] or "no landmark"
        if not there:
            self.counts[f"{table} missing"] += 1
            self.problems.add("photo", name, f"of {table}: in no tar and no folder")
            return
        self.counts[f"{table} repeated"] += 1
        if not same:  # the same row twice is harmless
            self.problems.add(
                "row", name, f"of {table}: again, with {landmark}; the first row counts"
            )

    def write_test(self, files: dict[str, Path]) -> None:
        """test.csv, with the answers of the newest solution when there is one."""
        solutions = sorted(
            (name for name in files if name.startswith(SOLUTION)), key=lambda name: Path(name).stem
        )
        if solutions:
            solution = gldv2_tables.TestSolution()
            self.write("test", solution.rows(files[solutions[-1]]), usage=True)
            self.counts["test ignored"] = solution.ignored
            self._unanswered(files, solution.ids, solutions[-1])
        elif "test.csv" in files:
            self.write("test", gldv2_tables.plain_rows(files["test.csv"], {}))
            self.notes.append(
                f"test.csv: no {SOLUTION}_v2.1.csv, so no photo has a landmark: nothing can be "
                "measured with it"
            )

    def _unanswered(self, files: dict[str, Path], answered: set[str], solution: str) -> None:
        if "test.csv" not in files:
            return
        for part in gldv2_tables.plain_rows(files["test.csv"], {}):
            for name in part.ids:
                if name not in answered:
                    self.problems.add("row", name, f"of test: no answer in {solution}; left out")

    def write_landmarks(self, files: dict[str, Path]) -> None:
        """landmarks.csv: the id, name and category of every landmark of the tables."""
        known: dict[str, str] = {}
        for name in ("index_label_to_category.csv", "train_label_to_category.csv"):
            if name in files:
                known |= gldv2_tables.categories(files[name])
        used = sorted({one for name in self.codes for one in true_landmarks(name)})
        if not known:
            self.notes.append("no train_label_to_category.csv: landmarks are named by their ids")
        path = self.out / "landmarks.csv"
        with (
            whole_file(path) as temporary,
            open(temporary, "w", newline="", encoding="utf-8", errors="replace") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("landmark", "name", "category"))
            for landmark in used:
                category = known.get(landmark, "")
                if known and not category:
                    self.problems.add("landmark", landmark, "not in the category file; "
                                      "its id stands as its name")  # fmt: skip
                writer.writerow((landmark, gldv2_tables.name_of(category) or landmark, category))
        self.counts["landmarks"] = len(used)
