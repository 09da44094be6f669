"""Split a table into train, test and bank (distractors), or train, database, queries and bank.

The tables are disjoint by id and by content (SHA-256 of the file), which is checked.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError, ImageError, OptionError
from ..core.images import content_hash
from ..core.json_options import SEED, Span, check_fields, count
from ..core.storage import read_bytes, stamp
from ..core.types import SEPARATOR, Photos, true_landmarks
from .cleaning.scan_cache import ScanCache

TEST_TABLES: tuple[str, ...] = ("train", "test", "bank")

VALIDATION_TABLES: tuple[str, ...] = ("train", "database", "queries", "bank")

# When one content is in several tables, the first of these keeps it.
TABLES_BY_PRIORITY = ("queries", "database", "bank", "train")

Mask = NDArray[np.bool_]

Hashes = Mapping[str, str]  # path → content (SHA-256), "" = unreadable


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """How to draw a validation set.

    landmarks: number of known landmarks: most of their photos are in the database, the others are
      queries.
    unknown: number of landmarks that only queries show.
    query_share: share of each known landmark's photos that become queries, in (0, 1); at least one
      photo is a query and at least one stays in the database.
    bank_share: share of the distractors for the recognizer, in (0, 1); the others are queries.
    seed: of the random draw.
    """

    spans: ClassVar[Mapping[str, Span]] = {
        "landmarks": count(), "unknown": count(0), "seed": SEED,
        "query_share": Span(0, 1, above=True, below=True),
        "bank_share": Span(0, 1, above=True, below=True),
    }  # fmt: skip

    landmarks: int
    unknown: int = 0
    query_share: float = 0.1
    bank_share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Split:
    """Disjoint tables.

    tables: name → photos. left_out: ids of photos whose content is in another table already.
    unreadable: id → why the photo's content could not be compared.
    """

    tables: dict[str, Photos]
    left_out: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class HoldOutOptions:
    """How to draw a test set.

    test: share of each landmark's photos, in (0, 1).
    unknown: number of landmarks that only the test set shows.
    bank_share: share of the distractors for the recognizer, in (0, 1); the others are test photos.
    seed: of the random draw.
    """

    test: float = 0.1
    unknown: int = 0
    bank_share: float = 0.5
    seed: int = 0


def split_test(
    photos: Photos,
    options: HoldOutOptions | None = None,
    *,
    distractors: Photos | None = None,
    known: Hashes | None = None,
) -> Split:
    """Split into train and test within each landmark, as `Photos.split` does; with distractors,
    also bank.

    The test set has photos of known landmarks, all photos of the unknown ones and of several, and
    photos without a landmark: of the table by the same share, and the distractors not in bank. Test
    photos whose content is in train too are moved there, or left out if their landmark is unknown.

    Args:
        photos: The table.
        options: Sizes and seed; None = the defaults.
        distractors: More photos without a landmark; landmarks that they have are ignored.
        known: Path → content of files that need not be read.

    Raises OptionError for too few landmarks, DataError where both tables have a photo of one id.
    """
    options = options or HoldOutOptions()
    rng = np.random.default_rng([options.seed, 2])
    several = np.array([SEPARATOR in cell for cell in photos.landmarks], dtype=bool)
    names = sorted({*photos.landmarks[~several]} - {""})
    if options.unknown and options.unknown >= len(names):
        raise OptionError(
            f"{options.unknown} unknown landmarks given; the table has {len(names)} landmarks, and "
            "at least one must be left for training"
        )
    unknown = {names[number] for number in rng.permutation(len(names))[: options.unknown]}
    everything = _joined(photos, distractors)
    hashes, unreadable = contents(everything.paths, known)
    content = np.array(
        [hashes[p] or f"id {i}" for i, p in zip(everything.ids, everything.paths, strict=True)]
    )
    part = np.full(len(everything), "train", dtype=object)
    held = np.array([name in unknown for name in everything.landmarks], dtype=bool)
    single = photos.take(~(held[: len(photos)] | several))
    drawn = [*single.split(test=options.test, seed=options.seed)[1].ids, *photos.ids[several]]
    part[held | np.isin(everything.ids.astype(str), np.array(drawn, dtype=str))] = "test"
    if len(everything) > len(photos):
        extra = np.arange(len(photos), len(everything))
        part[extra] = np.where(_share(content[extra], options.bank_share, rng), "bank", "test")
    owner = {
        content[row]: name for name in ("bank", "train") for row in np.flatnonzero(part == name)
    }
    for row in np.flatnonzero(part != "train"):
        first = owner.get(content[row], part[row])
        # A copy of a training photo that shows something else would be in two tables.
        fits = not held[row] and (first == "train") == (row < len(photos))
        part[row] = part[row] if first == part[row] else first if fits else ""
    tables = {
        name: everything.take(part == name)
        for name in TEST_TABLES
        if name != "bank" or distractors is not None
    }
    check_disjoint(tables, hashes)
    return Split(tables, everything.ids[part == ""].tolist(), _by_id(everything, unreadable))


def split_validation(
    photos: Photos,
    options: SplitOptions,
    *,
    distractors: Photos | None = None,
    known: Hashes | None = None,
) -> Split:
    """Draw a validation set of up to four tables.

    database: photos of the known landmarks. queries: photos of known landmarks, of unknown
    landmarks and without a landmark. bank: distractors for the recognizer (only when there are
    distractors). train: photos of all other landmarks. Photos without a landmark are distractors.

    Copies of one content go to one table. When copies have landmarks in different tables, the
    first of queries, database, bank and train keeps them. The draw does not depend on the order
    of rows.

    Args:
        photos: The table.
        options: Sizes and seed.
        distractors: More photos without a landmark; landmarks that they have are ignored.
        known: Path → content of files that need not be read.

    Raises:
        OptionError: When there are too few landmarks.
        DataError: When both tables have a photo of the same id.
    """
    everything = _joined(photos, distractors)
    hashes, unreadable = contents(everything.paths, known)
    by_id = everything.take(np.argsort(everything.ids.astype(str), kind="stable"))
    rows_of = by_id.rows_by_landmark()
    loose = rows_of.pop("", np.empty(0, dtype=np.int64))
    several = {cell: rows_of.pop(cell) for cell in list(rows_of) if SEPARATOR in cell}
    rng = np.random.default_rng(options.seed)
    in_database, unknown = _draw_landmarks(
        rows_of, [hashes[path] for path in by_id.paths], options, rng
    )
    part = np.full(len(by_id), "train", dtype=object)
    content = np.array(
        [hashes[p] or f"id {i}" for i, p in zip(by_id.ids, by_id.paths, strict=True)]
    )
    for landmark in unknown:
        part[rows_of[landmark]] = "queries"
    for landmark in in_database:
        rows = rows_of[landmark]
        part[rows] = np.where(
            _share(content[rows], options.query_share, rng), "queries", "database"
        )
    for cell, rows in several.items():  # training leaves out those that no query can show
        if {*true_landmarks(cell)} & {*in_database, *unknown}:
            part[rows] = "queries"
    if len(loose):
        part[loose] = np.where(_share(content[loose], options.bank_share, rng), "bank", "queries")
    return _remove_shared_contents(everything, by_id, part, hashes, unreadable)


def query_kinds(split: Split) -> dict[str, int | float]:
    """How many queries show a landmark of the gallery, another landmark, and none; and their share.

    The share is of the photos of the landmarks that the gallery has.
    """
    queries, gallery = _queries_and_gallery(split)
    known = {*gallery.landmarks} - {""}
    named = [true_landmarks(cell) for cell in queries.landmarks if cell]
    asked = sum(any(name in known for name in names) for names in named)
    of_gallery = int((gallery.landmarks != "").sum())
    share = asked / (asked + of_gallery) if asked else 0.0
    return {
        "known landmark": asked,
        "unknown landmark": len(named) - asked,
        "no landmark": len(queries) - len(named),
        "share of known": round(share, 4),
    }


def missing_kinds(split: Split, test: float | None) -> list[str]:
    """What a user should know about the queries: a kind that is missing, a share that is not near
    the one asked for. test: the share asked for, None = a validation set.
    """
    kinds = query_kinds(split)
    notes = []
    share, asked = kinds["share of known"], kinds["known landmark"]
    singles = sum(len(rows) == 1 for rows in split.tables["train"].rows_by_landmark().values())
    wanted = (test or 0) * asked / share if share else 0
    if test is not None and abs(asked - wanted) > 1 + 0.1 * wanted:
        notes.append(
            f"{share:.1%} of the landmarks' photos are in test.csv, not {test:.1%}: a landmark "
            f"keeps one photo in train.csv, and {singles} have only that one"
        )
    for kind, of, option in (
        ("unknown landmark", "of unknown landmarks", "--unknown N sets N landmarks aside"),
        ("no landmark", "without a landmark", "--distractors PHOTOS adds some"),
    ):
        if not kinds[kind]:
            notes.append(
                f"no queries {of}: wrong answers to such photos are not measured; {option}"
            )
    return notes


def _queries_and_gallery(split: Split) -> tuple[Photos, Photos]:
    if "test" in split.tables:
        return split.tables["test"], split.tables["train"]
    return split.tables["queries"], split.tables["database"]


def known_contents(source: Path) -> dict[str, str]:
    """Read path → content from the scan cache that `clean` left beside `source`.

    Photos whose files have changed since are left out. Empty without such a cache.
    """
    cache_file = source.with_name(f"{source.stem}.looks.sqlite")
    if not cache_file.is_file():
        return {}
    with ScanCache(cache_file) as cache:
        stamps = {os.fsdecode(path): stored for path, stored in cache.stamps().items()}
        found = {os.fsdecode(row[0]): row[1] for row in cache.rows() if row[1]}
    return {path: content for path, content in found.items() if stamp(path) == stamps[path]}


def contents(paths: Iterable[str], known: Hashes | None = None) -> tuple[Hashes, Hashes]:
    """Hash files, in threads.

    Returns path → SHA-256 ("" = unreadable), and path → why the file is unreadable.
    known: path → content of files that need not be read.
    """
    known = known or {}
    errors: dict[str, str] = {}

    def content(path: str) -> str:
        try:
            return known.get(path) or content_hash(read_bytes(path))
        except ImageError as error:
            errors[path] = str(error)
            return ""

    unique = list(dict.fromkeys(paths))
    with ThreadPoolExecutor() as pool:
        return dict(zip(unique, pool.map(content, unique), strict=True)), errors


def check_disjoint(tables: Mapping[str, Photos], hashes: Hashes) -> None:
    """Raise DataError when two tables share a photo, by id or by content.

    hashes: path → content; photos without one are compared by id alone.
    """
    owner: dict[tuple[str, str], tuple[str, str]] = {}
    shared: list[str] = []
    for name, photos in tables.items():
        for photo_id, path in zip(photos.ids, photos.paths, strict=True):
            keys = [("id", photo_id), ("content", hashes.get(path, ""))]
            for key in keys if keys[1][1] else keys[:1]:
                other, first = owner.setdefault(key, (name, photo_id))
                if other != name:
                    shared.append(f"{photo_id!r} of {name} and {first!r} of {other} ({key[0]})")
    if shared:
        raise DataError(
            f"{len(shared)} photos are in two tables: {'; '.join(shared[:3])}; "
            "clean one table against the other (`whichlandmark clean … --against`)"
        )


def _joined(photos: Photos, distractors: Photos | None) -> Photos:
    """Join both tables; the distractors lose their landmarks."""
    if distractors is None:
        return photos
    if both := sorted({*photos.ids} & {*distractors.ids}):
        raise DataError(
            f"{len(both)} ids are also ids of distractors, such as {both[0]!r}; ids must be unique"
        )
    return Photos.of_columns(
        [*photos.ids, *distractors.ids],
        [*photos.paths, *distractors.paths],
        [*photos.landmarks, *[""] * len(distractors)],
        [*photos.usages, *distractors.usages],
        [*photos.tiers, *distractors.tiers],
    )


def _draw_landmarks(
    rows_of: Mapping[str, NDArray[np.int64]],
    content: Sequence[str],
    options: SplitOptions,
    rng: np.random.Generator,
) -> tuple[list[str], list[str]]:
    """Draw known and unknown landmarks; a known one needs two photos of different content."""
    names = [list(rows_of)[number] for number in rng.permutation(len(rows_of))]
    eligible = [name for name in names if len({content[row] for row in rows_of[name]}) > 1]
    known = eligible[: options.landmarks]
    unknown = [name for name in names if name not in {*known}][: options.unknown]
    wanted = options.landmarks + options.unknown
    if len(known) + len(unknown) < wanted or wanted >= len(names):
        raise OptionError(
            f"{options.landmarks} landmarks and {options.unknown} unknown ones given; the table "
            f"has {len(names)} landmarks, {len(eligible)} of them with two photos that differ, and "
            "at least one must be left for training"
        )
    return known, unknown


def _share(content: NDArray[np.str_], share: float, rng: np.random.Generator) -> Mask:
    """(N,) True for the photos of a random share of the contents: at least one, and not all."""
    distinct, number_of = np.unique(content, return_inverse=True)
    count = min(len(distinct) - 1, max(1, round(share * len(distinct))))
    chosen = np.zeros(len(distinct), dtype=bool)
    chosen[rng.permutation(len(distinct))[:count]] = True
    return np.asarray(chosen[number_of], dtype=bool)


def _remove_shared_contents(
    everything: Photos, by_id: Photos, part: NDArray[np.object_], hashes: Hashes, errors: Hashes
) -> Split:
    """Make the tables, in the order of `everything`; each content stays in one table only.

    by_id: the same photos sorted by id; part: (N,) their tables.
    """
    part_of = dict(zip(by_id.ids, part, strict=True))
    parts = np.array([part_of[photo_id] for photo_id in everything.ids], dtype=object)
    table_of: dict[str, str] = {}  # content → table
    for name in TABLES_BY_PRIORITY:
        for row in np.flatnonzero(parts == name):
            content = hashes[everything.paths[row]]
            if content and table_of.setdefault(content, name) != name:
                parts[row] = ""
    tables = {
        name: everything.take(parts == name)
        for name in VALIDATION_TABLES
        if name != "bank" or (part == name).any()
    }
    check_disjoint(tables, hashes)
    return Split(tables, everything.ids[parts == ""].tolist(), _by_id(everything, errors))


def _by_id(photos: Photos, errors: Hashes) -> dict[str, str]:
    found = zip(photos.ids, photos.paths, strict=True)
    return {photo_id: errors[path] for photo_id, path in found if path in errors}
