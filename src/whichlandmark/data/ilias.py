"""ILIAS and mini-ILIAS: instance-level retrieval at scale, as its authors publish and measure it.

Kordopatis-Zilos, Stojnić, Manko, Šuma, Ypsilantis, Efthymiadis, Laskar, Matas, Chum, Tolias,
"ILIAS: Instance-Level Image retrieval At Scale", CVPR 2025. Layout and rules as in their public
code (ilias-vrg/ilias: download/README.md, evaluation/src/dataset.py, feature_extraction/src/
datasets/generators.py, knn_search/src/dataset.py):

    DATA/ilias_core/NAME_xxx/query/Qxxx_yy.jpg     a query of the object NAME_xxx
    DATA/ilias_core/NAME_xxx/pos/Pxxx_zz.jpg       a photo that shows it
    DATA/image_ids/image_query_ids.txt             ids "NAME_xxx/query/Qxxx_yy.jpg,…"
    DATA/image_ids/positive_ids.txt                ids "NAME_xxx/pos/Pxxx_zz.jpg,scale,clutter"
    DATA/image_ids/mini_ilias_yfcc100m_ids.txt     keys of the distractors of mini-ILIAS

The database is the positives of all objects, with distractors of YFCC100M added; ids of these are
"yfcc100m-000003.tar/KEY". Queries are used whole: `_bbox.txt` ("x y width height", several lines)
is for a variant that their scripts have switched off (crop_resize). EXIF orientation is followed.
Text queries are not run. mini-ILIAS is the same with 5 million of the distractors.

The copy on Hugging Face (tars ilias-core-queries-img-000000.tar and ilias-core-db-000000.tar, keys
"NAME_xxx/pos/Pxxx_zz") is read too; whether its photos have the size of the others is not known.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ..core.benchmark import Benchmark, Judgements
from ..core.csv_files import open_text
from ..core.disks import read_error
from ..core.errors import DataError
from ..core.types import Photos, Rows
from .webdataset import LabelSource, expand_tars, read_webdataset

log = logging.getLogger("whichlandmark")

NAMES = ("ilias", "mini-ilias")

PUBLISHED = (1000, 1232, 4715)  # objects, queries, positives

DISTRACTORS = {"ilias": 100_000_000, "mini-ilias": 5_000_000}  # about

CUT_OFF = 1000

RULES = (
    "right: every photo of the query's object; the database is the photos of all objects, and "
    "distractors where they are given",
    "mAP@1000: average precision of scikit-learn among the first 1000, times hits / min(1000, "
    "photos of the object); equally similar photos count together, each with the precision after "
    "the last of them",
    "queries are used whole, not cropped to their boxes; photos are turned as EXIF data say; text "
    "queries are not run",
    "a query whose object has no photo counts 0, as in the authors' script",
)

MAX_IDS = 10_000_000  # lines of a file of ids

MAX_LINE = 1000  # characters

_PHOTO = re.compile(r"\.(jpe?g|png)\Z", re.IGNORECASE)

_TARS = {"query": "ilias-core-queries-img*.tar", "pos": "ilias-core-db*.tar"}

_MINI_IDS = "mini_ilias_yfcc100m_ids.txt"


def read_ilias(source: Path, name: str, *, with_photos: bool = True) -> Benchmark:
    """The benchmark in a folder: ilias_core with image_ids beside it, or one of them alone.

    Args:
        source: The folder that download_ilias.sh makes, its ilias_core, or one with the tars of
            Hugging Face.
        name: "ilias" or "mini-ilias"; they differ by their distractors alone.
        with_photos: False = the vectors are given, so that the lists of ids are enough.

    Raises:
        DataError: When there is neither, or a list is not as published.
    """
    if not source.is_dir():
        raise DataError(f"{source}: no such folder; expected the folder of {name}, with ilias_core/"
                        " and image_ids/")  # fmt: skip
    ids_folder = next(
        (at for at in (source / "image_ids", source.parent / "image_ids") if at.is_dir()), None
    )
    found = _found_photos(source)
    notes: list[str] = []
    listed: dict[str, list[str]] = {}
    for kind, file in (("query", "image_query_ids.txt"), ("pos", "positive_ids.txt")):
        path = ids_folder / file if ids_folder else None
        if path is not None and path.is_file():
            listed[kind] = _ids(path, kind)
        else:
            listed[kind] = sorted(each for each in found if each.split("/")[1] == kind)
            notes.append(f"no image_ids/{file}: taken from the folders of the photos")
        if not listed[kind]:
            raise DataError(
                f"{source}: no {'queries' if kind == 'query' else 'photos of objects'}; expected "
                f"ilias_core/NAME_000/{kind}/{'Q' if kind == 'query' else 'P'}000_00.jpg, or "
                f"image_ids/{file}"
            )
    if with_photos and not found:
        raise DataError(
            f"{source}: lists of ids but no photos; expected ilias_core/ beside them, or vectors "
            "with --query-descriptors and --database-descriptors"
        )
    missing = [each for kind in listed.values() for each in kind if each not in found]
    objects = {each.split("/")[0] for each in listed["query"]}
    sizes = (len(objects), len(listed["query"]), len(listed["pos"]))
    if sizes != PUBLISHED:
        notes.append(
            f"{sizes[0]} objects, {sizes[1]} queries and {sizes[2]} photos of them; as published "
            f"{name} has {PUBLISHED[0]}, {PUBLISHED[1]} and {PUBLISHED[2]}: a part of the data"
        )
    return Benchmark(
        name=name,
        part=f"{sizes[0]} objects of {PUBLISHED[0]:,}" if sizes != PUBLISHED else "",
        queries=_table(listed["query"], found, source),
        database=_table(listed["pos"], found, source),
        settings={"all": _judgements(listed["query"], listed["pos"])},
        average_precision="cut_off_tied",
        k=CUT_OFF,
        upright=True,
        missing=missing if with_photos else [],
        rules=RULES,
        notes=notes,
    )


def part_of(benchmark: Benchmark, distractors: int) -> str:
    """Which part of the data was measured, in words; "" = all of it."""
    objects = {str(each).split("/")[0] for each in benchmark.queries.ids}
    sizes = (len(objects), len(benchmark.queries), len(benchmark.database))
    parts = []
    if sizes != PUBLISHED:
        parts.append(f"{sizes[0]} objects of {PUBLISHED[0]:,}")
    if not distractors:
        parts.append("the core set without distractors")
    elif distractors < 0.9 * DISTRACTORS[benchmark.name]:
        parts.append(f"{distractors:,} of about {DISTRACTORS[benchmark.name]:,} distractors")
    return ", ".join(parts)


def mini_distractors(source: Path) -> NDArray[np.bytes_] | None:
    """The keys of mini-ILIAS's distractors, sorted; None = their list is not in the folder."""
    for folder in (source / "image_ids", source.parent / "image_ids", source):
        path = folder / _MINI_IDS
        if path.is_file():
            keys = np.array([line.encode() for line in _lines(path)], dtype=np.bytes_)
            return np.unique(keys)
    return None


def read_distractor_tars(folder: Path) -> Photos | None:
    """The photos in a folder of tars, as YFCC100M comes with ILIAS; None = it has no tars."""
    if not any(each.suffix == ".tar" for each in folder.iterdir()):
        return None
    photos, problems = read_webdataset([str(folder)], LabelSource(""))
    if problems:
        name, why = next(iter(problems.items()))
        said = f"{folder}: {len(problems)} tars or samples cannot be used, such as {name}: {why}"
        if not len(photos):
            raise DataError(said)
        log.warning("%s", said)
    return photos


def _found_photos(source: Path) -> dict[str, str]:
    """Id → path of the photos there are, from the first place that has some."""
    for folder in (source / "ilias_core", source, source / "ilias"):
        if folder.is_dir() and (photos := dict(_in_folders(folder))):
            return photos
    return dict(_in_tars(source))


def _in_folders(core: Path) -> Iterator[tuple[str, str]]:
    for each in sorted(core.iterdir()):
        for kind in ("query", "pos"):
            folder = each / kind
            if each.is_dir() and folder.is_dir():
                for photo in sorted(os.listdir(folder)):
                    if _PHOTO.search(photo):
                        yield f"{each.name}/{kind}/{photo}", str(folder / photo)


def _in_tars(source: Path) -> Iterator[tuple[str, str]]:
    for kind, pattern in _TARS.items():
        tars = sorted(map(str, source.glob(pattern)))
        if not tars:
            continue
        photos, _ = read_webdataset(expand_tars(tars), LabelSource(""))
        for photo_id, path in zip(photos.ids, photos.paths, strict=True):
            parts = PurePosixPath(str(photo_id)).parts[-3:]
            if len(parts) == 3 and parts[1] == kind:
                yield "/".join(parts) + ".jpg", str(path)


def _ids(path: Path, kind: str) -> list[str]:
    """The first column of a list of ids. Raises DataError for anything but NAME/kind/FILE."""
    ids = [line.split(",")[0].strip() for line in _lines(path)]
    for photo_id in ids:
        parts = photo_id.split("/")
        plain = len(parts) == 3 and parts[1] == kind and parts[0] and _PHOTO.search(parts[2])
        if not plain or {".", ".."}.intersection(parts) or "\\" in photo_id or "\0" in photo_id:
            raise DataError(
                f"{path}: {photo_id[:80]!r}; expected ids such as NAME_000/{kind}/P000_00.jpg"
            )
    if len(set(ids)) < len(ids):
        twice = next(each for at, each in enumerate(ids) if each in ids[:at])
        raise DataError(f"{path}: {twice!r} occurs twice")
    return sorted(ids)


def _lines(path: Path) -> list[str]:
    try:
        with open_text(path) as file:
            found: list[str] = []
            for line in file:
                if len(line) > MAX_LINE or len(found) >= MAX_IDS:
                    raise DataError(
                        f"{path}: more than {MAX_IDS:,} lines, or one of more than {MAX_LINE} "
                        "characters; expected ids, one a line"
                    )
                if line.strip():
                    found.append(line.strip())
            return found
    except OSError as error:
        raise DataError(read_error(path, error)) from None


def _judgements(queries: Sequence[str], database: Sequence[str]) -> Judgements:
    rows: dict[str, list[int]] = {}
    for row, photo_id in enumerate(database):
        rows.setdefault(photo_id.split("/")[0], []).append(row)
    nothing: Rows = np.empty(0, dtype=np.int64)
    positives = [np.array(rows.get(each.split("/")[0], []), dtype=np.int64) for each in queries]
    return Judgements(positives, [nothing] * len(queries), np.ones(len(queries), dtype=bool))


def _table(ids: list[str], found: dict[str, str], source: Path) -> Photos:
    paths = [found.get(each) or str(source / "ilias_core" / each) for each in ids]
    return Photos.of_columns(ids, paths, [""] * len(ids))
