"""Types that every package shares: photo tables, predictions, the `Embedder` protocol, arrays.

Shapes: N photos, Q queries, K neighbours, D dimensions; one row per photo, so vectors are (N, D).
Landmarks are names (strings) everywhere; no landmark is "" in a column and None in a single item.
A query may have several true landmarks, written "Louvre|Louvre Pyramid".
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, overload, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .errors import DataError, OptionError
from .figures import require_pandas
from .html import photos_html
from .json_options import SEED
from .prediction import Decision as Decision
from .prediction import Detection as Detection
from .prediction import Match as Match
from .prediction import Prediction as Prediction

log = logging.getLogger("whichlandmark")

Image = NDArray[np.uint8]  # (H, W, 3) RGB, upright

Vectors = NDArray[np.float32]  # (N, D), rows of unit length

Rows = NDArray[np.int64]  # row numbers, or landmarks as numbers

Floats = NDArray[np.float64]

Progress = Callable[[int, int], None]  # called with (done, total)

ProgressFor = Callable[[str], Progress]  # name of a step → its progress function

NotedProgress = Callable[..., None]  # called with (done, total) or (done, total, note)

MAX_IDS_IN_NOTE = 5

SEPARATOR = "|"  # between several true landmarks; no landmark's name may contain it


class RowArray(Protocol):
    """(N, …) array in memory or on disk, indexed by a row number, a slice or row numbers."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __len__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...


@runtime_checkable
class Embedder(Protocol):
    """A callable that turns images into vectors of unit length.

    `id` changes whenever the weights or the preprocessing change, because vectors are comparable
    only when their embedder ids are equal. `short_side` is the size in pixels to which a photo's
    short side may be reduced while decoding without losing detail that the embedder uses.
    """

    @property
    def dim(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def short_side(self) -> int: ...

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        """(H, W, 3) uint8 RGB images of any sizes → (N, dim) float32, rows of unit length."""
        ...

    def save(self, folder: Path, /) -> None:
        """Write the embedder (weights and preprocessing) so that it can be loaded again."""
        ...


@dataclass(frozen=True)
class Photo:
    """One row of a photo table; its fields are explained at `Photos`."""

    id: str
    path: Path
    landmark: str | None
    usage: str = ""
    tier: str = ""

    def __repr__(self) -> str:
        return f"Photo({self.id!r}, {self.landmark!r})"


@dataclass(frozen=True, eq=False, repr=False)
class Photos:
    """A photo table as columns; iterating over it gives one `Photo` per row.

    `photos[3]` and `photos["an id"]` are one `Photo`; a slice, a list of row numbers or a boolean
    mask gives a smaller table; `a + b` joins two.

    Attributes:
        ids: (N,) str, unique.
        paths: (N,) str: files, URLs, or addresses inside a tar.
        landmarks: (N,) str; "" = no landmark; queries may have several, written "A|B".
        usages: (N,) str: the part of a test set that is scored separately ("Public", "Private");
            "" = none.
        tiers: (N,) str: the photo's group of difficulty, named by the table ("low light"); "" =
            not given.
        left_out: Path → reason of every file of the folder that is not in the table; of a table
            that was not read from a folder, and of a selection, empty.
    """

    ids: NDArray[np.object_]
    paths: NDArray[np.object_]
    landmarks: NDArray[np.object_]
    usages: NDArray[np.object_] = field(default_factory=lambda: np.empty(0, dtype=object))
    tiers: NDArray[np.object_] = field(default_factory=lambda: np.empty(0, dtype=object))
    left_out: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("usages", "tiers"):
            if len(getattr(self, name)) == 0:
                object.__setattr__(self, name, np.full(len(self.ids), "", dtype=object))

    @classmethod
    def of(cls, photos: Iterable[Photo]) -> Photos:
        """Columns from single photos.

        Raises:
            DataError: When an id occurs twice.
        OptionError: When a row is no `Photo`.
        """
        rows = list(photos)
        if wrong := [row for row in rows if not isinstance(row, Photo)]:
            raise OptionError(
                f"{type(wrong[0]).__name__} given; Photos.of expects single photos, of "
                "`for photo in table`; for a folder use read_folder"
            )
        table = cls.of_columns(
            [p.id for p in rows], [str(p.path) for p in rows], [p.landmark or "" for p in rows],
            [p.usage for p in rows], [p.tier for p in rows],
        )  # fmt: skip
        table.check_ids()
        return table

    @classmethod
    def of_columns(
        cls,
        ids: Sequence[str],
        paths: Sequence[str],
        landmarks: Sequence[str],
        usages: Sequence[str] = (),
        tiers: Sequence[str] = (),
        left_out: dict[str, str] | None = None,
    ) -> Photos:
        """Columns from sequences of equal length; usages and tiers may be left out."""
        names = (_column(ids), _column(paths), _column(landmarks))
        return cls(*names, _column(usages), _column(tiers), left_out or {})

    def check_ids(self) -> None:
        """Raises DataError naming the first id that occurs twice."""
        earlier: set[str] = set()
        for photo_id in self.ids:
            if photo_id in earlier:
                raise DataError(f"photo id {photo_id!r} occurs twice; ids must be unique")
            earlier.add(photo_id)

    def of_one_landmark(self) -> tuple[Photos, list[str]]:
        """The photos that show at most one landmark, and the ids of the others.

        Galleries and training take one landmark a photo; queries may show several.
        """
        several = np.array([SEPARATOR in name for name in self.landmarks], dtype=bool)
        return (self.take(~several), self.ids[several].tolist()) if several.any() else (self, [])

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, row: int | str) -> Photo: ...
    @overload
    def __getitem__(self, row: slice | Sequence[int] | NDArray[Any]) -> Photos: ...

    def __getitem__(self, row: int | str | slice | Sequence[int] | NDArray[Any]) -> Photo | Photos:
        if isinstance(row, slice):
            return self.take(np.arange(len(self))[row])
        if isinstance(row, str):
            found = np.flatnonzero(self.ids == row)
            if not len(found):
                near = difflib.get_close_matches(row, self.ids.tolist(), 1)
                raise OptionError(
                    f"no photo has the id {row!r}"
                    + (f"; did you mean {near[0]!r}?" if near else "")
                )
            row = int(found[0])
        if isinstance(row, int | np.integer):
            if not -len(self) <= row < len(self):
                raise IndexError(f"row {row} of a table of {len(self)} photos")
            return Photo(self.ids[row], Path(self.paths[row]), self.landmarks[row] or None,
                         self.usages[row], self.tiers[row])  # fmt: skip
        return self.take(row)

    def __add__(self, other: Photos) -> Photos:
        if not isinstance(other, Photos):
            return NotImplemented
        names = ("ids", "paths", "landmarks", "usages", "tiers")
        table = Photos(
            **{n: np.concatenate([getattr(self, n), getattr(other, n)]) for n in names},
            left_out=self.left_out | other.left_out,
        )
        table.check_ids()
        return table

    def __iter__(self) -> Iterator[Photo]:
        return (self[row] for row in range(len(self)))

    def __repr__(self) -> str:
        cells = set(self.landmarks)
        names = {name for cell in cells for name in true_landmarks(cell)}
        return (
            f"Photos({len(self)} photos, {len(names)} landmarks, "
            f"{int((self.landmarks == '').sum())} without a landmark)"
        )

    def _repr_html_(self) -> str:
        return photos_html(self)

    def to_dict(self) -> dict[str, list[str]]:
        """Column name → its values, as in a photos.csv."""
        names = {"id": "ids", "path": "paths", "landmark": "landmarks", "usage": "usages",
                 "tier": "tiers"}  # fmt: skip
        return {name: getattr(self, column).tolist() for name, column in names.items()}

    def to_pandas(self) -> Any:
        """The table as a pandas DataFrame, one row per photo.

        Raises:
            OptionError: When pandas is not installed.
        """
        return require_pandas().DataFrame(self.to_dict())

    def take(self, rows: NDArray[Any] | Sequence[int]) -> Photos:
        """The given rows (indices or a boolean mask), in that order."""
        index = np.asarray(rows)
        if index.dtype == bool and len(index) != len(self):
            raise OptionError(
                f"a mask of {len(index)} values given for {len(self)} photos; expected as many"
            )
        if index.dtype != bool:
            if len(index) and not np.issubdtype(index.dtype, np.integer):
                raise OptionError(
                    f"rows of type {index.dtype} given; expected row numbers or a boolean mask"
                )
            index = index.astype(np.int64)
        return Photos(self.ids[index], self.paths[index], self.landmarks[index],
                      self.usages[index], self.tiers[index])  # fmt: skip

    def split(self, *, test: float = 0.25, seed: int = 0) -> tuple[Photos, Photos]:
        """Split into two disjoint tables, drawn within each landmark.

        The test table's size is the share of all photos that can be in it, also where landmarks are
        small: of many landmarks with 3 photos each, a share of 0.1 takes one photo of every third
        or fourth. Every landmark keeps at least one photo in train; a landmark with one photo has
        none in test. Photos without a landmark are split by the same share.

        Args:
            test: The share of each landmark's photos that goes into test, between 0 and 1.
            seed: Another seed draws another split; the same seed draws the same one.

        Returns:
            (train, test).

        Raises:
            OptionError: Unless 0 < test < 1.
        """
        if isinstance(test, bool) or not isinstance(test, int | float) or not 0 < test < 1:
            raise OptionError(f"test share {test!r} given; expected a number between 0 and 1")
        if seed not in SEED:
            raise OptionError(f"seed {seed!r} given; expected {SEED}")
        chosen = np.zeros(len(self), dtype=bool)
        groups = [rows for rows in self.rows_by_landmark().values() if len(rows) > 1]
        counts = _shares([len(rows) for rows in groups], test, np.random.default_rng([seed, 1]))
        rng = np.random.default_rng(seed)
        for rows, count in zip(groups, counts, strict=True):
            chosen[rng.permutation(rows)[:count]] = True
        return self.take(~chosen), self.take(chosen)

    def rows_by_landmark(self) -> dict[str, NDArray[np.int64]]:
        """Landmark → its row numbers, both sorted; the key "" has the photos without one."""
        rows: dict[str, list[int]] = {}
        for row, landmark in enumerate(self.landmarks):
            rows.setdefault(landmark, []).append(row)
        return {name: np.array(rows[name], dtype=np.int64) for name in sorted(rows)}


@dataclass(frozen=True)
class Neighbours:
    """Nearest gallery photos of each query: row numbers (Q, K), cosines (Q, K) descending."""

    rows: NDArray[np.int64]
    similarity: NDArray[np.float32]


def require_table(photos: object, given_to: str) -> Photos:
    """The photo table. Raises OptionError, which says how to make one, for anything else."""
    if isinstance(photos, Photos):
        return photos
    if isinstance(photos, str | Path):
        make = f"read it first: read_folder({str(photos)!r}) or read_photos(…)"
    elif isinstance(photos, list | tuple) and photos and isinstance(photos[0], Photo):
        make = "make one of it: Photos.of(…)"
    else:
        make = "make one with read_folder, read_photos or Photos.of"
    raise OptionError(
        f"{given_to} expects a table of photos (Photos), got {type(photos).__name__}; {make}"
    )


def several_landmarks_note(ids: Sequence[str]) -> str:
    """What to say of photos that a gallery or training left out because they show several."""
    count = "1 photo" if len(ids) == 1 else f"{len(ids)} photos"
    more = ", …" if len(ids) > MAX_IDS_IN_NOTE else ""
    return (
        f"left out {count} of several landmarks ({', '.join(ids[:MAX_IDS_IN_NOTE])}{more}): a "
        "photo of a gallery or of training shows one; the queries of `evaluate` may show more"
    )


def one_landmark_each(photos: Photos) -> Photos:
    """The photos that show at most one landmark; a warning names the others."""
    kept, several = photos.of_one_landmark()
    if several:
        log.warning("%s", several_landmarks_note(several))
    return kept


def true_landmarks(cell: str) -> list[str]:
    """The landmarks in one cell of a table's landmark column: none, one or several."""
    return [name.strip() for name in cell.split(SEPARATOR)] if cell else []


def is_true(truth: NDArray[np.object_], answers: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Is each answer one of the query's true landmarks?

    Args:
        truth: (Q,) cells of a landmark column; "" = no landmark.
        answers: (Q,) or (Q, K) landmarks; "" is right where the truth is "".

    Returns:
        bool, in the shape of `answers`.
    """
    shape = (len(truth), *[1] * (answers.ndim - 1))
    right = np.asarray(answers == truth.reshape(shape), dtype=bool)
    for row in np.flatnonzero([SEPARATOR in cell for cell in truth]):
        right[row] = np.isin(answers[row], np.array(true_landmarks(truth[row]), dtype=object))
    return right


def _column(values: Sequence[str]) -> NDArray[np.object_]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _shares(sizes: Sequence[int], share: float, rng: np.random.Generator) -> list[int]:
    """How many of each group are drawn: its share rounded up or down at random, such that the sum
    is the share of all, and at least 1; never a whole group.
    """
    if not len(sizes):
        return []
    order = rng.permutation(len(sizes))
    total = np.concatenate([[0.0], np.cumsum(share * np.array(sizes)[order])])
    # Rounded first, so that 10 × 0.1 is 1 in spite of the errors of the sum.
    ends = np.floor(np.round(total + 0.5, 9)).astype(np.int64)
    ends[-1] = max(ends[-1], 1)
    counts = np.empty(len(sizes), dtype=np.int64)
    counts[order] = np.diff(ends)
    return [int(count) for count in np.minimum(counts, np.array(sizes) - 1)]
