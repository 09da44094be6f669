"""Google Landmarks v2 as benchmarks: the photos of its tests, in tars or unpacked, as published.

Weyand, Araujo, Cao, Sim, "Google Landmarks Dataset v2", CVPR 2020. Retrieval: the test photos that
are no "Ignored" ones are queries, the photos of `index` the database. Recognition: all test photos,
and a recognizer made of `train`. A part of the tars is a part of the benchmark, and is named so.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.benchmark import Benchmark, Judgements, most_missing
from ..core.challenge_files import MAX_IMAGES, Solution, Task, read_solution
from ..core.errors import DataError
from ..core.storage import absolute_path
from ..core.types import SEPARATOR, Photos, Progress, Rows
from .gldv2 import TABLE_FOLDERS
from .gldv2_tables import TARS, plain_rows
from .photo_locations import (
    PhotoLocations,
    PhotoSource,
    find_sources,
    list_sources,
    photo_path,
)

RETRIEVAL = "gldv2-retrieval"

RECOGNITION = "gldv2-recognition"

PRECISIONS = (1, 5, 10, 50, 100)  # of P@k, which the authors' script prints

# Where the lists and solutions lie; not `subset`, whose lists are cut.
LIST_FOLDERS = (*TABLE_FOLDERS[1:], "ground_truth")

INDEX_LISTS = ("index.csv", "index_image_to_landmark.csv")

RETRIEVAL_RULES = (
    "mAP@100: AP = Σ P(i)·rel(i) over the first 100, divided by min(R, 100), R the index photos "
    "that the solution names",
    "P@k: right ones among the first k, divided by k; position: of the first right one, 101 where "
    "there is none among the first 100",
    "queries are the test photos whose Usage is Public or Private, whole photos; the database is "
    "every index photo",
    "photos are not turned as EXIF data say, as in the authors' code (DELF)",
)


@dataclass(frozen=True, eq=False)
class TestPhotos:
    """The test photos of a recognition solution that have a file.

    Attributes:
        photos: with their true landmarks, "1|2" where there are several, and their usage.
        missing: ids of the photos of the solution without a file.
        part: which part of the data this is, "" = all of it.
        notes: what was met.
    """

    photos: Photos
    missing: list[str]
    part: str = ""
    notes: list[str] = field(default_factory=list)


def solution_file(root: Path, task: Task, given: Path | None = None) -> Path:
    """The solution to score by: the one given, `root` where it is a file, or the newest
    `<task>_solution*.csv` of the data.

    Raises DataError where there is none.
    """
    if given is not None:
        return given
    if root.is_file():
        return root
    found = [path for name in LIST_FOLDERS for path in (root / name).glob(f"{task}_solution*.csv")]
    if not found:
        raise DataError(
            f"{root}: {task}_solution_v2.1.csv is missing; expected it there or in its folders "
            f"{', '.join(name for name in LIST_FOLDERS if name)}, or by --ground-truth"
        )
    return max(found, key=lambda path: path.stem)


def index_ids(root: Path) -> list[str] | None:
    """Ids of all index photos, by the data set's list; None = it is not there."""
    path = _list_of_index(root)
    if path is None:
        return None
    return list(dict.fromkeys(chain.from_iterable(chunk.ids for chunk in plain_rows(path, {}))))


def retrieval_benchmark(
    root: Path,
    ground_truth: Path | None = None,
    *,
    with_photos: bool = True,
    progress: Progress | None = None,
) -> Benchmark:
    """The retrieval test of Google Landmarks v2.

    Where more photos are missing than may be, the benchmark is the part that is there: its
    database is the index photos found, R counts those alone, and queries without one of them are
    not counted. `part` says so.

    Args:
        root: The data set's folder: `index` and `test`, in tars or unpacked, and their lists.
        ground_truth: The solution; None = the one in `root`.
        with_photos: False = vectors are given: solution and list of the index are enough.
        progress: Called with (tars and folders listed, all of them).

    Raises:
        DataError: When the solution, the photos of the index or the test photos are missing.
    """
    root = _existing(root)
    solution = read_solution(solution_file(root, "retrieval", ground_truth), "retrieval")
    photos = _Located.of(root, progress if with_photos else None, with_photos=with_photos)
    named = sorted(set(chain.from_iterable(solution.truth)))
    listed, notes = index_ids(root), [*photos.problems]
    unsure = listed is None
    if listed is None:
        listed = photos.ids_of_index()
        notes.append(
            f"{INDEX_LISTS[0]} is missing: the database is the {len(listed):,} photos in "
            f"{root / 'index'}, and whether these are all is not known"
        )
    database = list(dict.fromkeys([*listed, *named]))
    if unsure and not with_photos:
        raise DataError(f"{root}: {INDEX_LISTS[0]} is missing; it says whose vectors are given")
    there = photos.has(database) | (not with_photos)
    query_there = photos.has(solution.ids.tolist()) | (not with_photos)
    for what, found in (("index photo", there), ("test photo of the solution", query_there)):
        if not found.any():
            raise DataError(
                f"{root}: no {what} found; expected a/b/c/<id>.jpg or images_000.tar … in it or in "
                f"its folders index and test{photos.trouble()}"
            )
    lost = int((~there).sum()), int((~query_there).sum())
    whole = lost[0] <= most_missing(len(database)) and lost[1] <= most_missing(len(solution))
    part = ""
    if not whole:
        tables = [("index", there, "index photos"), ("test", query_there, "queries")]
        part = photos.part(tables)
    elif unsure:
        part = f"{int(there.sum()):,} index photos, of a list that is missing"
    everything = np.array([*database, *solution.ids.tolist()], dtype=object)
    missing = everything[~np.concatenate([there, query_there])].tolist()
    if not whole:  # a benchmark of what is there
        database = [name for name, is_there in zip(database, there, strict=True) if is_there]
        solution = _of_rows(solution, query_there)
        missing = []
    return _benchmark(photos, solution, database, missing=missing, part=part, notes=notes)


def _benchmark(
    photos: _Located,
    solution: Solution,
    database: list[str],
    *,
    missing: list[str],
    part: str,
    notes: list[str],
) -> Benchmark:
    positives, alone = _rows_of(solution.truth, database), 0
    counted = np.ones(len(solution), dtype=bool)
    if part:
        counted = np.array([len(rows) > 0 for rows in positives], dtype=bool)
        alone = int((~counted).sum())
        if not counted.any():
            raise DataError(
                f"{RETRIEVAL}: no index photo that the solution names is there ({part}); fetch "
                "more of the tars of index and test"
            )
    elif empty := sum(not len(rows) for rows in positives):
        notes.append(f"queries without a right index photo in the solution, which count 0: {empty}")
    if alone:
        notes.append(
            f"queries that are not counted, as no right index photo of theirs is there: {alone}"
        )
    none: Rows = np.empty(0, dtype=np.int64)
    settings = {
        name: Judgements(positives, [none] * len(solution), rows & counted)
        for name, rows in solution.settings().items()
        if (rows & counted).any()
    }
    return Benchmark(
        name=RETRIEVAL, queries=photos.table(solution.ids.tolist(), "test"),
        database=photos.table(database, "index"), settings=settings,
        average_precision="cut_off", k=MAX_IMAGES, precision_at=PRECISIONS,
        missing=missing, rules=RETRIEVAL_RULES, notes=notes, part=part,
        positions=True,
    )  # fmt: skip


def recognition_photos(
    root: Path, solution: Solution, *, progress: Progress | None = None
) -> TestPhotos:
    """The test photos that a recognition solution is about, and which are missing.

    Raises DataError when no test photo is found.
    """
    root = _existing(root)
    photos = _Located.of(root, progress)
    ids = solution.ids.tolist()
    there = photos.has(ids)
    if not there.any():
        raise DataError(
            f"{root}: none of the {len(ids):,} photos of the solution found; expected "
            f"a/b/c/<id>.jpg or images_000.tar … in it or in its folder test{photos.trouble()}"
        )
    found = _of_rows(solution, there)
    table = photos.table(found.ids.tolist(), "test")
    part = ""
    if len(ids) - len(found) > most_missing(len(ids)):
        part = photos.part([("test", there, "test photos")])
    return TestPhotos(
        Photos.of_columns(
            table.ids.tolist(), table.paths.tolist(),
            [SEPARATOR.join(shown) for shown in found.truth], found.usages.tolist(),
        ),
        [name for name, is_there in zip(ids, there, strict=True) if not is_there],
        part,
        photos.problems,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Located:
    """Where the photos of index and test are."""

    root: Path
    locations: PhotoLocations
    problems: list[str]

    @classmethod
    def of(cls, root: Path, progress: Progress | None, *, with_photos: bool = True) -> _Located:
        """with_photos: False = none is asked for, so that none is looked for."""
        # Not `train`: five times as many photos, none of which is asked for.
        folders = [root, root / "index", root / "test"] if with_photos else []
        sources = find_sources(folders, (), check=False)
        listings = list_sources(sources, progress=progress)
        problems = [
            f"{os.path.relpath(source.path, root)}: {listing.problem}"
            for source, listing in zip(sources, listings, strict=True) if listing.problem
        ]  # fmt: skip
        return cls(root, PhotoLocations.of(sources, listings), problems)

    def has(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """(N,) is there a file?"""
        return np.asarray(self.locations.find(ids) >= 0, dtype=bool)

    def trouble(self) -> str:
        """What is wrong with tars and folders, for the end of a message."""
        return f" ({'; '.join(self.problems[:3])})" if self.problems else ""

    def ids_of_index(self) -> list[str]:
        """Ids of all photos below ROOT/index."""
        inside = [_folder_of(source) == "index" for source in self.locations.sources]
        rows = np.array(inside, dtype=bool)[self.locations.source]
        return [name.decode() for name in self.locations.ids[rows]]

    def table(self, ids: list[str], part: str) -> Photos:
        """A photo table; a photo without a file has the path where it was expected."""
        rows, root = self.locations.find(ids), str(self.root)
        there = rows >= 0
        names = [name for name, is_there in zip(ids, there, strict=True) if is_there]
        found = iter(self.locations.paths(names, rows[there], root))
        paths = [
            absolute_path(next(found), root) if is_there
            else str(photo_path(self.root / part, name))
            for name, is_there in zip(ids, there, strict=True)
        ]  # fmt: skip
        return Photos.of_columns(ids, paths, [""] * len(ids), [""] * len(ids), [""] * len(ids))

    def part(self, tables: Iterable[tuple[str, NDArray[np.bool_], str]]) -> str:
        """Which part of the data is there, as words: folder, (N,) what is there, and its name."""
        words = []
        for folder, there, name in tables:
            tars = sum(
                each.is_tar and _folder_of(each) == folder for each in self.locations.sources
            )
            few = f" ({tars} of {TARS[folder]} tars)" if 0 < tars < TARS[folder] else ""
            words.append(f"{int(there.sum()):,} of {len(there):,} {name}{few}")
        return ", ".join(words)


def _folder_of(source: PhotoSource) -> str:
    return os.path.basename(os.path.dirname(source.path))


def _existing(root: Path) -> Path:
    root = Path(os.path.abspath(root))
    if not root.is_dir():
        raise DataError(
            f"{root}: no such folder; expected that of Google Landmarks v2, with its folders index "
            "and test"
        )
    return root


def _list_of_index(root: Path) -> Path | None:
    paths = (root / folder / name for name in INDEX_LISTS for folder in LIST_FOLDERS)
    return next((path for path in paths if path.is_file()), None)


def _of_rows(solution: Solution, rows: NDArray[np.bool_]) -> Solution:
    truth = [solution.truth[row] for row in np.flatnonzero(rows).tolist()]
    return Solution(
        solution.task, solution.ids[rows], solution.usages[rows], truth, solution.ignored
    )


def _rows_of(truth: Sequence[tuple[str, ...]], database: list[str]) -> list[Rows]:
    """Per query, the rows of the database that are right, ascending."""
    wanted = set(chain.from_iterable(truth))
    row_of = {name: row for row, name in enumerate(database) if name in wanted}
    return [
        np.array(sorted(row_of[name] for name in shown if name in row_of), dtype=np.int64)
        for shown in truth
    ]
