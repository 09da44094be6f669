"""Revisited Oxford and Paris: the ground truth and photos as their authors publish them.

Radenović, Iscen, Tolias, Avrithis, Chum, "Revisiting Oxford and Paris: Large-Scale Image Retrieval
Benchmarking", CVPR 2018. Layout and rules as in their public code (filipradenovic/revisitop,
python/dataset.py, evaluate.py, example_process_images.py): DATA/roxford5k/gnd_roxford5k.pkl and
DATA/roxford5k/jpg/NAME.jpg; a query is cropped to its box with Pillow before anything else; EXIF
data are not looked at.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.benchmark import Benchmark, Judgements, most_missing
from ..core.disks import read_error, refuse_special
from ..core.errors import DataError
from ..core.images import SUFFIXES
from ..core.safe_pickle import MAX_BYTES, load_plain
from ..core.types import Floats, Photos, Rows

NAMES = ("roxford5k", "rparis6k")

PUBLISHED = {"roxford5k": (70, 4993), "rparis6k": (70, 6322)}  # queries, photos of the database

PRECISION_AT = (1, 5, 10)

MAX_PIXEL = 1e6  # of a box

MAX_NAME = 255  # characters

# setting → (what is right, what is ignored)
SETTINGS = {
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
}

RULES = (
    "easy: right = easy, ignored = hard and junk; medium: right = easy and hard, ignored = junk; "
    "hard: right = hard, ignored = easy and junk",
    "ignored photos are taken out of the ranking before it is measured",
    "mAP: trapezoids under the precision-recall curve of the whole ranking; mP@k: precision among "
    "the first k, or down to the last right photo where that comes before",
    "queries without a right photo in a setting are left out of its means",
    "queries are cropped to their boxes before they are resized; photos are not turned as EXIF "
    "data say",
)

_KEYS = ("imlist", "qimlist", "gnd")

_PLACES = ("", "datasets", "test", "data/datasets", "data/test", "data")

_FOLDERS = ("jpg", "images")


@dataclass(frozen=True, eq=False)
class _GroundTruth:
    """The file's lists, checked. labels: per query, "easy", "hard" and "junk" → rows."""

    queries: list[str]
    database: list[str]
    boxes: Floats
    labels: list[dict[str, Rows]]
    notes: list[str]


def read_revisited(
    source: Path, name: str, *, ground_truth: Path | None = None, with_photos: bool = True
) -> Benchmark:
    """The benchmark in a folder.

    Args:
        source: The folder roxford5k (rparis6k), one above it, or the folder of its photos.
        name: "roxford5k" or "rparis6k".
        ground_truth: gnd_NAME.pkl or .json; None = where it is published, or beside the photos.
        with_photos: False = the vectors are given, so that the ground truth is enough.

    Raises:
        DataError: When there is no ground truth or no photo, the file is not as published, or more
            photos are missing than figures can be compared without.
    """
    if not source.is_dir():
        raise DataError(f"{source}: no such folder; expected the folder of {name}, with jpg/ and "
                        f"gnd_{name}.pkl")  # fmt: skip
    file = ground_truth or _find_ground_truth(source, name)
    truth = _parse(_read(file), file)
    folder, photos = _find_photos(source, file, name) if with_photos else (source, {})
    queries, absent = _table(_numbered(truth.queries), truth.queries, photos, folder)
    database, also_absent = _table(truth.database, truth.database, photos, folder)
    missing = sorted({*absent, *also_absent}) if with_photos else []
    if with_photos:
        _check_missing(absent, len(queries), "queries", folder)
        _check_missing(also_absent, len(database), "photos of the database", folder)
    notes = [*truth.notes]
    if (sizes := (len(queries), len(database))) != PUBLISHED[name]:
        notes.append(
            f"{sizes[0]} queries and {sizes[1]} photos; as published {name} has "
            f"{PUBLISHED[name][0]} and {PUBLISHED[name][1]}: figures cannot be compared with others"
        )
    if both := set(truth.queries) & set(truth.database):
        notes.append(
            f"{len(both)} queries are in the database too, such as {min(both)}, and find themselves"
        )
    settings, overlaps = {}, 0
    for setting, (right, ignored) in SETTINGS.items():
        judged, twice = _judgements(truth.labels, right, ignored)
        overlaps = max(overlaps, twice)
        if judged.counted.any():
            settings[setting] = judged
        else:
            notes.append(f"{setting} is not measured: no query has a right photo there")
    if not settings:
        raise DataError(f"{file}: no query has a right photo; expected easy or hard ones")
    if overlaps:
        notes.append(
            f"{overlaps} photos are both right and ignored for a query; they count as right"
        )
    return Benchmark(
        name=name, queries=queries, database=database, settings=settings,
        average_precision="trapezoid", boxes=truth.boxes, precision_at=PRECISION_AT,
        missing=missing, rules=RULES, notes=notes,
    )  # fmt: skip


def _judgements(
    labels: Sequence[dict[str, Rows]], right: Iterable[str], ignored: Iterable[str]
) -> tuple[Judgements, int]:
    """A setting, and how many photos are in both of its lists, where right wins."""
    positives, junk, overlaps = [], [], 0
    for each in labels:
        good = np.unique(np.concatenate([each[kind] for kind in right]))
        rest = np.unique(np.concatenate([each[kind] for kind in ignored]))
        positives.append(good)
        junk.append(np.setdiff1d(rest, good, assume_unique=True))
        overlaps += len(rest) - len(junk[-1])
    counted = np.array([len(rows) > 0 for rows in positives], dtype=bool)
    return Judgements(positives, junk, counted), overlaps


def _find_ground_truth(source: Path, name: str) -> Path:
    """gnd_NAME.pkl or .json in the folder, where published code keeps it, or beside the photos."""
    tried = [source / place / folder for place in _PLACES for folder in ("", name)]
    tried += [source.parent]
    stem = f"gnd_{name}"
    for suffix in (".pkl", ".json", ".pickle"):
        for folder in tried:
            if (folder / (stem + suffix)).is_file():
                return folder / (stem + suffix)
    for folder in tried:
        if (folder / f"{stem}.mat").is_file():
            raise DataError(
                f"{folder / stem}.mat: a file of Matlab, whose rows are counted from 1; give "
                f"{stem}.pkl, which is published beside it, or the same as JSON (docs/protocols.md)"
            )
    other = next((each for each in NAMES if each != name), "")
    hint = f" (there is gnd_{other}.pkl: is it --protocol {other}?)" if any(
        (folder / f"gnd_{other}.pkl").is_file() for folder in tried
    ) else ""  # fmt: skip
    raise DataError(
        f"{source}: no {stem}.pkl or {stem}.json there, in {name}/, or beside it{hint}; give it "
        "with --ground-truth"
    )


def _read(file: Path) -> Any:
    if file.suffix.lower() != ".json":
        return load_plain(file)
    refuse_special(file)
    try:
        with open(file, "rb") as opened:
            data = opened.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise DataError(f"{file}: more than {MAX_BYTES / 1e6:g} MB; not read")
        return json.loads(data)
    except OSError as error:
        raise DataError(read_error(file, error)) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not readable as JSON ({error})") from None


def _parse(value: Any, file: Path) -> _GroundTruth:
    """Raises DataError unless the value has the lists of the published file."""
    if not isinstance(value, dict) or any(key not in value for key in _KEYS):
        found = sorted(map(str, value))[:6] if isinstance(value, dict) else type(value).__name__
        raise DataError(f"{file}: has {found}; expected a dict of imlist, qimlist and gnd")
    database = _names(value["imlist"], f"{file}: imlist")
    queries = _names(value["qimlist"], f"{file}: qimlist")
    records = _listed(value["gnd"])
    if records is None or len(records) != len(queries):
        count = type(value["gnd"]).__name__ if records is None else len(records)
        raise DataError(f"{file}: gnd has {count} entries; expected {len(queries)}, one a query")
    if not queries or not database:
        raise DataError(f"{file}: {len(queries)} queries and {len(database)} photos; expected some")
    if len({*database}) < len(database):
        twice = next(name for at, name in enumerate(database) if name in database[:at])
        raise DataError(f"{file}: imlist names {twice!r} twice; which of the two is right?")
    boxes, labels, whole, repeated = [], [], [], 0
    for query, record in zip(queries, records, strict=True):
        where = f"{file}: query {query!r}"
        if not isinstance(record, dict):
            raise DataError(f"{where}: {type(record).__name__}; expected bbx, easy, hard and junk")
        if "ok" in record and "easy" not in record:
            raise DataError(
                f"{where}: has 'ok', as the original Oxford 5k and Paris 6k do; expected easy, "
                "hard and junk, as the revisited ones have"
            )
        boxes.append(_box(record.get("bbx"), where))
        whole += [query] if np.isnan(boxes[-1]).any() else []
        rows_of = {kind: _rows(record.get(kind), len(database), f"{where}: {kind}")
                   for kind in ("easy", "hard", "junk")}  # fmt: skip
        labels.append({kind: np.unique(rows) for kind, rows in rows_of.items()})
        repeated += sum(len(rows_of[kind]) - len(labels[-1][kind]) for kind in rows_of)
    notes = []
    if whole:
        notes.append(f"{len(whole)} queries have no box, such as {whole[0]}: used whole")
    if repeated:
        notes.append(f"{repeated} photos named twice in one list of a query; counted once")
    return _GroundTruth(queries, database, np.array(boxes), labels, notes)


def _names(value: Any, where: str) -> list[str]:
    """A list of names, from text or bytes. Raises DataError for anything else."""
    listed = _listed(value)
    if listed is None:
        raise DataError(f"{where}: {type(value).__name__}; expected a list of names")
    names = []
    for name in listed:
        text = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
        plain = isinstance(text, str) and text.encode("utf-8", "ignore").decode() == text
        if not plain or not 0 < len(text.strip()) <= MAX_NAME or "\0" in text:
            raise DataError(f"{where}: {_shown(name)!r} in the place of a photo's name")
        names.append(str(text).strip())
    return names


def _numbered(names: list[str]) -> list[str]:
    """Names that occur again get #2, #3 …: one photo may be asked with several boxes."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return unique


def _box(value: Any, where: str) -> list[float]:
    """Left, top, right, bottom; four NaN where there is no box."""
    if value is None:
        return [np.nan] * 4
    sides = [_number(side) for side in _listed(value) or ()]
    left, top, right, bottom = sides if len(sides) == 4 else [None] * 4
    if left is None or top is None or right is None or bottom is None:
        raise DataError(f"{where}: bbx {_shown(value)}; expected left, top, right, bottom")
    if max(map(abs, (left, top, right, bottom))) > MAX_PIXEL:
        raise DataError(f"{where}: bbx {_shown(value)}; expected pixels")
    if right <= left or bottom <= top:
        raise DataError(
            f"{where}: bbx {left:g}, {top:g}, {right:g}, {bottom:g} has no pixels; expected left, "
            "top, right, bottom with left < right and top < bottom (not width and height)"
        )
    return [left, top, right, bottom]


def _rows(value: Any, database: int, where: str) -> Rows:
    """Row numbers of the database, counted from 0."""
    listed = [] if value is None else _listed(value)
    if listed is None:
        raise DataError(f"{where}: {type(value).__name__}; expected a list of row numbers")
    rows = []
    for given in listed:
        row = _number(given)
        if row is None or row != int(row):
            raise DataError(f"{where}: {_shown(given)!r}; expected row numbers of imlist")
        if not 0 <= row < database:
            raise DataError(
                f"{where}: row {row:.0f}, but imlist has rows 0 to {database - 1}; rows are "
                "counted from 0"
            )
        rows.append(int(row))
    return np.array(rows, dtype=np.int64)


def _listed(value: Any) -> list[Any] | tuple[Any, ...] | None:
    """The members of a list or of an array of any shape; None = it is neither."""
    if isinstance(value, np.ndarray):
        flat: list[Any] = value.ravel().tolist()
        return flat
    return value if isinstance(value, list | tuple) else None


def _number(value: Any) -> float | None:
    """A finite number; None = it is none."""
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if np.isfinite(number) else None


def _shown(value: Any) -> str:
    """The beginning of a value, on one line."""
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:60] + "…"


def _find_photos(source: Path, file: Path, name: str) -> tuple[Path, dict[str, str]]:
    """The folder of photos, and the paths in it by name: without suffix, in lower case.

    Whole folders are searched last, and only the given one: the ground truth may be anywhere.
    """
    above = [*(source / place / name for place in _PLACES), source, file.parent]
    tried = [place / folder for place in above for folder in _FOLDERS]
    for folder in [*tried, source / name, source]:
        if folder.is_dir() and (photos := _photos_below(folder)):
            return folder, photos
    raise DataError(f"{source}: no photos in {name}/jpg or beside {file}; expected jpg/NAME.jpg")


def _photos_below(folder: Path) -> dict[str, str]:
    """Name → path; of several, the one nearest to the folder, a .jpg, then the first by name."""
    found: dict[str, tuple[int, bool, str]] = {}
    for above, folders, files in os.walk(folder):
        folders.sort()
        depth = len(Path(above).parts)
        for file in sorted(files):
            stem, suffix = os.path.splitext(file)
            key = stem if suffix.lower() in SUFFIXES else file if not suffix else ""
            path = (depth, suffix != ".jpg", os.path.join(above, file))
            if key and (key.lower() not in found or path < found[key.lower()]):
                found[key.lower()] = path
    return {key: path for key, (*_, path) in found.items()}


def _table(
    ids: list[str], names: list[str], photos: dict[str, str], folder: Path
) -> tuple[Photos, list[str]]:
    """Photos by these names, and the names of those that are not there."""
    paths, absent = [], []
    for name in names:
        plain = name.replace("\\", "/").rpartition("/")[2].lower()
        path = photos.get(plain) or photos.get(os.path.splitext(plain)[0])
        paths.append(path or str(folder / f"{plain}.jpg"))  # of a missing one, for the message
        absent += [] if path else [name]
    return Photos.of_columns(ids, paths, [""] * len(ids)), absent


def _check_missing(absent: list[str], photos: int, what: str, folder: Path) -> None:
    if len(absent) > most_missing(photos):
        raise DataError(
            f"{folder}: {len(absent)} of the {photos} {what} are not there, such as "
            f"{', '.join(absent[:3])}; figures without them cannot be compared: complete the data "
            f"set (at most {most_missing(photos)} may be missing)"
        )
