"""One table → disjoint tables: training, a database and its queries, a bank of distractors.

Disjoint by id and by content, and checked.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError, ImageError, OptionError
from ..core.images import content_hash
from ..core.storage import read_bytes, stamp
from ..core.types import Photos
from .cleaning.scan_cache import ScanCache

TABLES = ("train", "database", "queries", "bank")  # of a validation set

Mask = NDArray[np.bool_]

Hashes = Mapping[str, str]  # path → content, "" = unreadable


@dataclass(frozen=True, kw_only=True)
class Splitting:
    """A validation set, drawn by `seed`.

    landmarks: known ones: most of their photos are the database, the others ask about it.
    unknown: landmarks whose photos are all queries, and that the database lacks.
    query_share: of each known landmark's photos; at least one, and one stays in the database.
    bank_share: of the distractors, for the recognizer; the others are queries.
    """

    landmarks: int
    unknown: int = 0
    query_share: float = 0.1
    bank_share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.landmarks < 1 or self.unknown < 0:
            raise OptionError(
                f"{self.landmarks} landmarks and {self.unknown} unknown ones given; expected 1 "
                "or more, and 0 or more"
            )
        for name in ("query_share", "bank_share"):
            if not 0 < getattr(self, name) < 1:
                raise OptionError(
                    f"{name} {getattr(self, name)} given; expected a number between 0 and 1"
                )


@dataclass(frozen=True)
class Split:
    """tables: name → photos, disjoint. left_out: ids of photos whose content stands in another
    table already; unreadable: id → why its content could not be compared.
    """

    tables: dict[str, Photos]
    left_out: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)


def split_test(
    photos: Photos, *, test: float = 0.1, seed: int = 0, known: Hashes | None = None
) -> Split:
    """train and test, cut within each landmark as `Photos.split` does; test photos whose content
    stands in train too go to train.
    """
    train, asked = photos.split(test=test, seed=seed)
    hashes, unreadable = contents(photos.paths, known)
    trained = {hashes[path] for path in train.paths} - {""}
    moved = {p for p, path in zip(asked.ids, asked.paths, strict=True) if hashes[path] in trained}
    in_test = np.isin(photos.ids, [photo_id for photo_id in asked.ids if photo_id not in moved])
    tables = {"train": photos.take(~in_test), "test": photos.take(in_test)}
    check_disjoint(tables, hashes)
    return Split(tables, [], _by_id(photos, unreadable))


def split_validation(
    photos: Photos,
    options: Splitting,
    *,
    distractors: Photos | None = None,
    known: Hashes | None = None,
) -> Split:
    """train (all other landmarks), database, queries (of known landmarks, of unknown ones and of
    none), and bank where there are distractors; photos without a landmark count as such.

    Copies of one content go to one table; where their landmarks tear them apart, the first of
    queries, database, bank and train keeps them. The draw does not depend on the order of rows.
    Raises OptionError when there are too few landmarks, DataError when ids collide.
    """
    everything = _joined(photos, distractors)
    hashes, unreadable = contents(everything.paths, known)
    by_id = everything.take(np.argsort(everything.ids.astype(str), kind="stable"))
    rows_of = by_id.rows_by_landmark()
    loose = rows_of.pop("", np.empty(0, dtype=np.int64))
    rng = np.random.default_rng(options.seed)
    fixed, unknown = _draw(rows_of, [hashes[path] for path in by_id.paths], options, rng)
    part = np.full(len(by_id), "train", dtype=object)
    content = np.array(
        [hashes[p] or f"id {i}" for i, p in zip(by_id.ids, by_id.paths, strict=True)]
    )
    for landmark in unknown:
        part[rows_of[landmark]] = "queries"
    for landmark in fixed:
        rows = rows_of[landmark]
        part[rows] = np.where(
            _share(content[rows], options.query_share, rng), "queries", "database"
        )
    if len(loose):
        part[loose] = np.where(_share(content[loose], options.bank_share, rng), "bank", "queries")
    return _split(everything, by_id, part, hashes, unreadable)


def known_contents(source: Path) -> dict[str, str]:
    """Path → content of the photos that `clean` has looked at, when it wrote `source`, and whose
    files have not changed since.
    """
    looks = source.with_name(f"{source.stem}.looks.sqlite")
    if not looks.is_file():
        return {}
    with ScanCache(looks) as store:
        stamps = {os.fsdecode(path): seen for path, seen in store.stamps().items()}
        found = {os.fsdecode(row[0]): row[1] for row in store.rows() if row[1]}
    return {path: content for path, content in found.items() if stamp(path) == stamps[path]}


def contents(paths: Iterable[str], known: Hashes | None = None) -> tuple[Hashes, Hashes]:
    """Path → SHA-256 of the file ("" = unreadable), and path → why it is unreadable.

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
    """Raises DataError naming photos that stand in two tables, by id or by content.

    hashes: path → content; photos without one are compared by id alone.
    """
    owner: dict[tuple[str, str], tuple[str, str]] = {}
    shared: list[str] = []
    for name, photos in tables.items():
        for photo_id, path in zip(photos.ids, photos.paths, strict=True):
            marks = [("id", photo_id), ("content", hashes.get(path, ""))]
            for mark in marks if marks[1][1] else marks[:1]:
                other, first = owner.setdefault(mark, (name, photo_id))
                if other != name:
                    shared.append(f"{photo_id!r} of {name} and {first!r} of {other} ({mark[0]})")
    if shared:
        raise DataError(
            f"{len(shared)} photos stand in two tables: {'; '.join(shared[:3])}; "
            "clean one table against the other (`whichlandmark clean … --against`)"
        )


def _joined(photos: Photos, distractors: Photos | None) -> Photos:
    """Both tables in one; the distractors lose their landmarks."""
    if distractors is None:
        return photos
    if both := sorted({*photos.ids} & {*distractors.ids}):
        raise DataError(
            f"{len(both)} ids stand among the distractors too, such as {both[0]!r}; "
            "ids must be unique"
        )
    return Photos.of_columns(
        [*photos.ids, *distractors.ids],
        [*photos.paths, *distractors.paths],
        [*photos.landmarks, *[""] * len(distractors)],
        [*photos.usages, *distractors.usages],
        [*photos.tiers, *distractors.tiers],
    )


def _draw(
    rows_of: Mapping[str, NDArray[np.int64]],
    content: Sequence[str],
    options: Splitting,
    rng: np.random.Generator,
) -> tuple[list[str], list[str]]:
    """Known and unknown landmarks; a known one needs two photos that differ."""
    names = [list(rows_of)[place] for place in rng.permutation(len(rows_of))]
    fit = [name for name in names if len({content[row] for row in rows_of[name]}) > 1]
    known = fit[: options.landmarks]
    unknown = [name for name in names if name not in {*known}][: options.unknown]
    wanted = options.landmarks + options.unknown
    if len(known) + len(unknown) < wanted or wanted >= len(names):
        raise OptionError(
            f"{options.landmarks} landmarks and {options.unknown} unknown ones given; the table "
            f"has {len(names)} landmarks, {len(fit)} of them with two photos that differ, and "
            "some have to be left for training"
        )
    return known, unknown


def _share(content: NDArray[np.str_], share: float, rng: np.random.Generator) -> Mask:
    """True for the photos of so large a share of the contents; one at least is on either side."""
    units, unit_of = np.unique(content, return_inverse=True)
    count = min(len(units) - 1, max(1, round(share * len(units))))
    chosen = np.zeros(len(units), dtype=bool)
    chosen[rng.permutation(len(units))[:count]] = True
    return np.asarray(chosen[unit_of], dtype=bool)


def _split(
    everything: Photos, by_id: Photos, part: NDArray[np.object_], hashes: Hashes, errors: Hashes
) -> Split:
    """The tables, in the order of rows that was given, without contents that stand before."""
    part_of = dict(zip(by_id.ids, part, strict=True))
    parts = np.array([part_of[photo_id] for photo_id in everything.ids], dtype=object)
    taken: dict[str, str] = {}
    for name in ("queries", "database", "bank", "train"):
        for row in np.flatnonzero(parts == name):
            content = hashes[everything.paths[row]]
            if content and taken.setdefault(content, name) != name:
                parts[row] = ""
    tables = {
        name: everything.take(parts == name)
        for name in TABLES
        if name != "bank" or (part == name).any()
    }
    check_disjoint(tables, hashes)
    return Split(tables, everything.ids[parts == ""].tolist(), _by_id(everything, errors))


def _by_id(photos: Photos, errors: Hashes) -> dict[str, str]:
    found = zip(photos.ids, photos.paths, strict=True)
    return {photo_id: errors[path] for photo_id, path in found if path in errors}
