"""Import a Google Landmarks v2 folder: write photo tables that point into its tars or photo tree.

Weyand, Araujo, Cao, Sim, "Google Landmarks Dataset v2", CVPR 2020. The photo locations are NumPy
arrays and the tables are streamed, because a Python object for each of 4.1 million photos would
take gigabytes of memory.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError, OptionError
from ..core.files import atomic_file
from ..core.types import Progress, true_landmarks
from ..gallery.records import CREDIT_COLUMNS, MAX_CHARACTERS
from . import gldv2_tables
from .gldv2_tables import TableRows
from .import_tools import Problems, listing_problems
from .licences import Licence, licence_of_url
from .photo_locations import PhotoLocations, find_sources, list_sources, missing_tars
from .table import write_rows

SUBSET_FOLDER = "subset"

PHOTO_FOLDERS = ("", "train", "index", "test")  # searched for tars and trees of photos

# Searched for csv files, in this order. `subset` has the rows that `fetch gldv2` was asked for.
TABLE_FOLDERS = (SUBSET_FOLDER, *PHOTO_FOLDERS, "metadata")

MD5_FOLDERS = ("md5sum", "md5")

MAX_CREDIT_CHARACTERS = MAX_CHARACTERS["author"]

SOLUTION_PREFIX = "recognition_solution"  # of the file names of the test answers

# Kaggle's lists of the test photos of a competition; their landmarks are samples, not answers.
SAMPLES = ("sample_submission.csv", "recognition_sample_submission.csv")


@dataclass(frozen=True, kw_only=True)
class Gldv2Options:
    """How to import.

    all_photos: import all of train.csv, not the selection of train_clean.csv.
    md5: compare the MD5 of every tar, which reads it completely.
    workers: processes that list tars; 0 = one per usable core.
    """

    all_photos: bool = False
    md5: bool = True
    workers: int = 0


@dataclass(frozen=True)
class ImportResult:
    """What an import did.

    counts: name → number, ready to print.
    problems: kind → the first problems of that kind, then how many more there are.
    notes: remarks that are not failures.
    """

    counts: dict[str, int]
    problems: dict[str, list[str]]
    notes: list[str]


def import_gldv2(
    root: Path, out: Path, options: Gldv2Options | None = None, *, progress: Progress | None = None
) -> ImportResult:
    """Write the tables of a Google Landmarks v2 folder into `out`.

    Written: train.csv, index.csv and test.csv (those that `root` has), landmarks.csv (landmark,
    name, category), with train_attribution.csv also credits.csv, and, when something could not be
    used, problems.csv. Landmarks are GLDv2's ids. Missing or damaged tars, missing photos and
    repeated rows are listed and left out.

    Args:
        root: The data set's folder.
        out: The folder to write.
        options: None = the defaults.
        progress: Called with (sources listed, all sources).

    Raises:
        DataError: When `root` has no table or no photos, or a table cannot be read.
        OptionError: When a table of GLDv2 itself would be overwritten.
    """
    root, options = Path(os.path.abspath(root)), options or Gldv2Options()
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    files = _tables(root)
    _check_out(out, files)
    with listing_problems(out / "problems.csv") as problems:
        run = _Import(out, _photo_locations(root, options, problems, progress), problems)
        if train := _train(files, options):
            run.write("train", train)
        if "index.csv" in files:
            run.write("index", gldv2_tables.plain_rows(files["index.csv"], _index_landmarks(files)))
        run.write_test(files)
        run.write_landmarks(files)
        if "train_attribution.csv" in files:
            run.write_credits(files["train_attribution.csv"])
        run.note_subset(root, files)
        run.count_unused(all_photos=options.all_photos or "train_clean.csv" not in files)
    kinds = [kind for kind in problems.counts if kind != "landmark"]
    return ImportResult(
        counts=run.counts,
        problems={kind: problems.lines(kind) for kind in kinds},
        notes=[*run.notes, *problems.lines("landmark")],
    )


def _tables(root: Path) -> dict[str, Path]:
    """File name → csv file, from the first folder that has it."""
    found: dict[str, Path] = {}
    for folder in TABLE_FOLDERS:
        for path in sorted((root / folder).glob("*.csv")):
            found.setdefault(path.name, path)
    if not {"train.csv", "train_clean.csv", "index.csv", "test.csv"} & set(found):
        raise DataError(
            f"{root}: no table of Google Landmarks v2 found; expected train.csv, train_clean.csv, "
            f"index.csv or test.csv in it or in its folders {', '.join(TABLE_FOLDERS[1:])}"
        )
    return found


def _check_out(out: Path, files: dict[str, Path]) -> None:
    for name in ("train.csv", "index.csv", "test.csv"):
        target = out / name
        if target.exists() and any(target.samefile(path) for path in files.values()):
            raise OptionError(
                f"{target} is a table of Google Landmarks v2 itself and would be overwritten; "
                "give another folder (-o)"
            )


def _photo_locations(
    root: Path, options: Gldv2Options, problems: Problems, progress: Progress | None
) -> PhotoLocations:
    folders = [root / name for name in PHOTO_FOLDERS]
    md5_folders = [root / name for name in MD5_FOLDERS]
    sources = find_sources(folders, md5_folders, check=options.md5)
    if not sources:
        raise DataError(
            f"{root}: no photos found; expected a/b/c/<id>.jpg or images_000.tar … in it or in its "
            f"folders {', '.join(PHOTO_FOLDERS[1:])}"
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
        raise DataError(f"{files['train_clean.csv']}: --all needs train.csv, which is missing")
    return None


def _index_landmarks(files: dict[str, Path]) -> dict[str, str]:
    for name in ("index_image_to_landmark.csv", "index.csv"):
        if name in files and "landmark_id" in gldv2_tables.header_of(files[name]):
            chunks = gldv2_tables.train_rows(files[name])
            return dict(chain.from_iterable(zip(c.ids, c.landmarks, strict=True) for c in chunks))
    return {}


@dataclass(eq=False)
class _Import:
    """State of one import. codes: landmark → number, in the order of first appearance."""

    out: Path
    locations: PhotoLocations
    problems: Problems
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    codes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.used = np.zeros(len(self.locations.ids), dtype=bool)  # (P,) in a table

    def write(self, table: str, chunks: Iterable[TableRows], *, usage: bool = False) -> None:
        """Write one table: every photo that was found, once. usage: write that column too."""
        self.counts |= {f"{table} photos": 0, f"{table} missing": 0, f"{table} repeated": 0}
        # The last element belongs to photos that were not found: their location is row −1.
        seen = np.full(len(self.locations.ids) + 1, -1, dtype=np.int32)
        rows = chain.from_iterable(self._rows(table, chunk, seen, usage) for chunk in chunks)
        self.counts[f"{table} photos"] = write_rows(self.out / f"{table}.csv", rows, usage=usage)

    def _rows(
        self, table: str, chunk: TableRows, seen: NDArray[np.int32], usage: bool
    ) -> Iterator[tuple[str, ...]]:
        """Rows to write: (id, path, landmark[, usage]).

        seen: (P + 1,) code of the landmark that each located photo was written with, −1 = not
        written yet; updated.
        """
        found = self.locations.find(chunk.ids)
        self.used[found[found >= 0]] = True
        codes = np.array(
            [self.codes.setdefault(name, len(self.codes)) for name in chunk.landmarks],
            dtype=np.int32,
        )
        locations, first = np.unique(found, return_index=True)
        fresh = np.zeros(len(found), dtype=bool)
        fresh[first] = (locations >= 0) & (seen[locations] < 0)
        seen[found[fresh]] = codes[fresh]
        for row in np.flatnonzero(~fresh):
            located = bool(found[row] >= 0)
            same = located and seen[found[row]] == codes[row]
            self._count_left_out(table, chunk, int(row), located, same=bool(same))
        kept = range(len(found)) if fresh.all() else np.flatnonzero(fresh).tolist()
        ids = [chunk.ids[row] for row in kept]
        paths = self.locations.paths(ids, found[fresh], os.path.abspath(self.out))
        columns = [ids, paths, [chunk.landmarks[row] for row in kept]]
        if usage:
            columns.append([chunk.usages[row] for row in kept])
        yield from zip(*columns, strict=True)

    def _count_left_out(
        self, table: str, chunk: TableRows, row: int, located: bool, *, same: bool
    ) -> None:
        """Count a row that is not written, and list it unless it only repeats (`same`) another."""
        name, landmark = chunk.ids[row], chunk.landmarks[row] or "no landmark"
        if not located:
            self.counts[f"{table} missing"] += 1
            self.problems.add("photo", name, f"of {table}: in no tar and no folder")
            return
        self.counts[f"{table} repeated"] += 1
        if not same:  # the same row twice is harmless
            self.problems.add(
                "row", name, f"of {table}: again, with {landmark}; the first row counts"
            )

    def write_test(self, files: dict[str, Path]) -> None:
        """Write test.csv, with the answers of the newest solution file when there is one."""
        solutions = sorted(
            (name for name in files if name.startswith(SOLUTION_PREFIX)),
            key=lambda name: Path(name).stem,
        )
        if solutions:
            solution = gldv2_tables.TestSolution()
            self.write("test", solution.rows(files[solutions[-1]]), usage=True)
            self.counts["test ignored"] = solution.ignored
            self._list_unanswered(files, solution.ids, solutions[-1])
        elif listed := next((name for name in ("test.csv", *SAMPLES) if name in files), ""):
            self.write("test", gldv2_tables.plain_rows(files[listed], {}))
            self.notes.append(
                f"test.csv: {SOLUTION_PREFIX}_v2.1.csv is missing, so its photos (of {listed}) "
                "have no landmarks and cannot be used to evaluate"
            )

    def _list_unanswered(self, files: dict[str, Path], answered: set[str], solution: str) -> None:
        if "test.csv" not in files:
            return
        for chunk in gldv2_tables.plain_rows(files["test.csv"], {}):
            for name in chunk.ids:
                if name not in answered:
                    self.problems.add("row", name, f"of test: no answer in {solution}; left out")

    def note_subset(self, root: Path, files: dict[str, Path]) -> None:
        """Note which tables have only the photos that `fetch gldv2` was asked for."""
        folder = root / SUBSET_FOLDER
        cut = [
            n for n in ("train", "index", "test") if files.get(f"{n}.csv", root).parent == folder
        ]
        if cut:
            self.notes.append(
                f"{' and '.join(cut)}: only the photos that `fetch gldv2` was asked for, by the "
                f"tables in {folder}"
            )

    def count_unused(self, *, all_photos: bool) -> None:
        """Count and note the photos of the tars and folders that are in no table."""
        unused = np.flatnonzero(~self.used)
        if not len(unused):
            return
        self.counts["photos in no table"] = len(unused)
        names = ", ".join(name.decode() for name in self.locations.ids[unused[:3]])
        hint = "" if all_photos else "; --all takes all of train.csv, not only train_clean.csv"
        self.notes.append(
            f"{len(unused):,} photos are in no table, such as {names}: no csv file lists them, or "
            f"their usage is Ignored{hint}"
        )

    def write_landmarks(self, files: dict[str, Path]) -> None:
        """Write landmarks.csv: the id, name and category of every landmark of the tables."""
        known: dict[str, str] = {}
        for name in ("index_label_to_category.csv", "train_label_to_category.csv"):
            if name in files:
                known |= gldv2_tables.categories(files[name])
        used = sorted({landmark for cell in self.codes for landmark in true_landmarks(cell)})
        if not known:
            self.notes.append(
                "train_label_to_category.csv is missing: landmarks are named by their ids"
            )
        path = self.out / "landmarks.csv"
        with (
            atomic_file(path, "list of landmarks") as temporary,
            open(temporary, "w", newline="", encoding="utf-8", errors="replace") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("landmark", "name", "category"))
            for landmark in used:
                category = known.get(landmark, "")
                if known and not category:
                    self.problems.add(
                        "landmark", landmark, "not in the category file; its id is used as its name"
                    )
                writer.writerow((landmark, gldv2_tables.name_of(category) or landmark, category))
        self.counts["landmarks"] = len(used)

    def write_credits(self, attribution: Path) -> None:
        """Write credits.csv: who made each photo of the tables, under which licence, from where.

        The photos of index and test are in the public domain or CC0, and have no such file.
        """
        doubtful: Counter[str] = Counter()
        credited = np.zeros(len(self.locations.ids), dtype=bool)  # (P,)
        path = self.out / "credits.csv"
        with (
            atomic_file(path, "table of credits") as temporary,
            open(temporary, "w", newline="", encoding="utf-8", errors="replace") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(CREDIT_COLUMNS)
            try:
                for ids, authors, licences, pages in gldv2_tables.attribution_rows(attribution):
                    found = self.locations.find(ids)
                    located = np.flatnonzero(found >= 0)
                    for row in located[self.used[found[located]]].tolist():
                        if credited[found[row]]:
                            continue
                        credited[found[row]] = True
                        licence = _licence(licences[row])
                        if licence.refused:
                            doubtful[f"{licence.name or 'no name'}: {licence.refused}"] += 1
                        writer.writerow((ids[row], _one_line(authors[row]), licence.name,
                                         licence.url, _web_address(pages[row])))  # fmt: skip
            except DataError as error:  # the tables of photos are of use without it
                self.problems.add("credits", attribution.name,
                                  f"{error}; credits.csv has only photos before that")  # fmt: skip
        self.counts["credits"] = int(credited.sum())
        for reason, count in doubtful.most_common(3):
            self.notes.append(f"credits.csv: {count:,} photos under {reason}")


@lru_cache(maxsize=1000)  # four million photos have a few dozen licences
def _licence(text: str) -> Licence:
    licence = licence_of_url(_one_line(text))
    return Licence(_one_line(licence.name), _web_address(licence.url), licence.refused)


def _one_line(text: str) -> str:
    """A cell as credits.csv may have it: authors have been copied from web pages."""
    return " ".join(text.replace("\0", "").split())[:MAX_CREDIT_CHARACTERS]


def _web_address(text: str) -> str:
    address = _one_line(text)
    return address if address.startswith(("https://", "http://")) else ""
