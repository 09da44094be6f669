"""What every gallery can do, wherever its photos are kept: in one file, or on a database server."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ..core.types import Neighbours, Vectors
from .checksums import Meta
from .records import Credit, GalleryRow, GalleryTable, LandmarkRecord


@dataclass(frozen=True, eq=False)
class Labels:
    """Which landmark each photo shows: rows (N,) int64, rising; codes (N,) int32 into names,
    −1 = distractor; names: sorted. All of one generation.
    """

    rows: NDArray[np.int64]
    codes: NDArray[np.int32]
    names: list[str]
    generation: int


class Gallery(Protocol):
    """Photos with their vectors. A row number is given once, rising, and stays with its photo.

    A photo with the landmark "" is a distractor. Every change is a whole batch or nothing, and
    raises the generation by one. Vectors are kept as float16. `photo_sum` of a photo covers its row
    number, words and blobs; `Meta.photo_digest` adds them up (`checks.py`).
    """

    name: str

    @property
    def embedder_id(self) -> str:
        """Id of the embedder that all vectors come from."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def generation(self) -> int:
        """Rises by one with every change."""

    def count(self) -> int:
        """Photos, distractors included."""

    def state(self) -> Meta:
        """The gallery's own numbers, all of one generation."""

    def require(self, embedder_id: str) -> None:
        """Raises GalleryError unless the gallery was made by this embedder."""

    def put(self, rows: Sequence[GalleryRow]) -> None:
        """Add photos, replacing those with the same id, which keep their row number.

        Raises GalleryError for a vector of another shape, DataError for words that cannot be kept.
        """

    def remove(self, ids: Iterable[str]) -> int:
        """Forget photos. Returns their number. Raises DataError for unknown ids."""

    def relabel(self, landmarks: Mapping[str, str]) -> None:
        """{id: landmark}, "" = distractor. A landmark that has lost its last photo leaves its
        record to the new name, if that has none. Raises DataError for unknown ids.
        """

    def describe(self, records: Iterable[LandmarkRecord]) -> None:
        """Keep what is known of landmarks, in place of what was known of them."""

    def credit(self, credits: Mapping[str, Credit]) -> None:
        """{id: Credit}. Raises DataError for unknown ids; nothing is changed then."""

    def stamps(self, ids: Collection[str] | None = None) -> dict[str, tuple[str, str, str]]:
        """id → (path, stamp, landmark), of those ids that are there (None = of all)."""

    def sums(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row number and checksum of every photo, (N,) each, in row order."""

    def table(self, *, after: int | None = None, vectors: bool = True) -> GalleryTable:
        """Everything that is searched, in row order. after: only higher row numbers than this;
        vectors: False = they are not read, and the table has none, (0, D).
        """

    def labels(self) -> Labels:
        """Row number and landmark of every photo: what fits in memory where vectors do not."""

    def rows_after(self, row: int, limit: int) -> list[tuple[int, GalleryRow]]:
        """The next `limit` photos above this row number, whole, with their numbers: to copy."""

    def ids_of(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        """(n,) row numbers, in any order, repeated or not → (n,) ids. Raises GalleryError for a
        number that no photo has.
        """

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """(n,) row numbers → (n, D). Raises GalleryError as `ids_of` does."""

    def nearest(
        self,
        queries: Vectors,
        k: int,
        *,
        distractors: bool = False,
        landmarks: Collection[str] | None = None,
    ) -> Neighbours:
        """Photos of the highest cosine, among those with a landmark, or among the distractors.

        queries: (Q, D) float32 unit rows; landmarks: only photos of these. Returns row numbers and
        similarity (Q, k), falling; −1 and −inf where there are fewer. What is found may be
        approximate; the cosines are exact (of the vectors as kept).
        """

    def keypoints(self, ids: Iterable[str]) -> dict[str, bytes]:
        """id → packed local features; photos without them, or not there, are left out."""

    def thumbnails(self, ids: Iterable[str]) -> dict[str, bytes]:
        """id → small JPEG; photos without one, or not there, are left out."""

    def looks(self, ids: Iterable[str] | None = None) -> dict[str, bytes]:
        """id → packed perceptual fingerprint, of those photos (None = all) that have one."""

    def credits(self, ids: Iterable[str]) -> dict[str, Credit]:
        """id → (author, licence), of those photos that are there."""

    def landmarks(self) -> dict[str, LandmarkRecord]:
        """Landmark → what is known of it, of those that have a record."""

    def optimize(self) -> list[str]:
        """Make what quick searching needs, after many changes. Returns what was made, in words."""

    def faults(self) -> list[str]:
        """Everything that is not as it was put there, in words; empty = whole."""

    def close(self) -> None:
        """The object is of no use afterwards."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: Any) -> None: ...
