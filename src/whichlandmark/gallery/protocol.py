"""The `Gallery` protocol, implemented by the SQLite, PostgreSQL and Qdrant galleries."""

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
    """The landmark of every photo, all of one generation.

    rows: (N,) row numbers, ascending; codes: (N,) int32 indices into `names`, −1 = distractor;
    names: sorted.
    """

    rows: NDArray[np.int64]
    codes: NDArray[np.int32]
    names: list[str]
    generation: int


class Gallery(Protocol):
    """Photos with their vectors, landmark records and checksums.

    Each new photo gets the next row number, which no other photo ever gets. A photo with the
    landmark "" is a distractor. A change is atomic: the whole batch or nothing, and it increments
    the generation. Vectors are stored as float16. The checksum of a photo (`photo_sum`) covers its
    row number, texts and blobs; `Meta.photo_digest` is the sum of these checksums.
    """

    name: str

    @property
    def embedder_id(self) -> str:
        """Id of the embedder that computed all vectors."""

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""

    @property
    def generation(self) -> int:
        """Number of changes so far."""

    def count(self) -> int:
        """Number of photos, distractors included."""

    def state(self) -> Meta:
        """Embedder, counts and digests, all of one generation."""

    def require(self, embedder_id: str) -> None:
        """Raise GalleryError unless this embedder computed the gallery's vectors."""

    def put(self, rows: Sequence[GalleryRow]) -> None:
        """Add photos; a photo with a known id is replaced and keeps its row number.

        Raises:
            GalleryError: for a vector of another shape.
            DataError: for a text that cannot be stored (`records.check`).
        """

    def remove(self, ids: Iterable[str]) -> int:
        """Delete photos and return how many. Raises DataError for unknown ids."""

    def relabel(self, landmarks: Mapping[str, str]) -> None:
        """Change the landmark of photos.

        The record of a landmark that loses its last photo moves to the new landmark, unless that
        one has a record; otherwise it is deleted.

        Args:
            landmarks: id → landmark, "" = distractor.

        Raises:
            DataError: for unknown ids.
        """

    def describe(self, records: Iterable[LandmarkRecord]) -> None:
        """Store landmark records, replacing those of the same landmarks."""

    def credit(self, credits: Mapping[str, Credit]) -> None:
        """Set author and licence of photos by id. Raises DataError for unknown ids."""

    def stamps(self, ids: Collection[str] | None = None) -> dict[str, tuple[str, str, str]]:
        """Id → (path, stamp, landmark); unknown ids are omitted. ids: None = all photos."""

    def sums(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row number and checksum of every photo, (N,) each, in row order."""

    def table(self, *, after: int | None = None, vectors: bool = True) -> GalleryTable:
        """Ids, paths, landmarks, hashes and vectors of all photos, in row order.

        Args:
            after: only photos with a higher row number; None = all.
            vectors: False = do not read the vectors; the table's are then (0, D).

        Raises:
            GalleryError: when a photo is missing or does not match its checksum.
        """

    def labels(self) -> Labels:
        """Row number and landmark of every photo, for galleries whose vectors exceed the memory."""

    def rows_after(self, row: int, limit: int) -> list[tuple[int, GalleryRow]]:
        """At most `limit` complete photos with their row numbers, from those above `row`."""

    def ids_of(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        """Ids of (n,) row numbers, which may be in any order and repeat.

        Raises:
            GalleryError: for a row number without a photo.
        """

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """Vectors (n, D) of (n,) row numbers. Raises GalleryError as `ids_of` does."""

    def nearest(
        self,
        queries: Vectors,
        k: int,
        *,
        distractors: bool = False,
        landmarks: Collection[str] | None = None,
    ) -> Neighbours:
        """The k photos of highest cosine similarity for each query.

        The search may be approximate; the cosines are exact for the stored float16 vectors.

        Args:
            queries: (Q, D) float32 unit rows.
            k: photos per query.
            distractors: search the distractors instead of the photos with a landmark.
            landmarks: search only photos of these landmarks; None = all.

        Returns:
            Row numbers and similarities, (Q, k), descending; −1 and −inf where fewer are found.
        """

    def keypoints(self, ids: Iterable[str]) -> dict[str, bytes]:
        """Id → packed local features; unknown ids and photos without features are omitted."""

    def thumbnails(self, ids: Iterable[str]) -> dict[str, bytes]:
        """Id → small JPEG; unknown ids and photos without a thumbnail are omitted."""

    def fingerprints(self, ids: Iterable[str] | None = None) -> dict[str, bytes]:
        """Id → packed perceptual fingerprint, of the photos that have one. ids: None = all."""

    def credits(self, ids: Iterable[str]) -> dict[str, Credit]:
        """Id → (author, licence); unknown ids are omitted."""

    def landmarks(self) -> dict[str, LandmarkRecord]:
        """Landmark → its record, for landmarks that have one."""

    def optimize(self) -> list[str]:
        """Build the database's search indexes after many changes; returns one line for each."""

    def faults(self) -> list[str]:
        """Verify all stored data; one line for each fault, empty = intact."""

    def close(self) -> None:
        """Close the file or connection; the object cannot be used afterwards."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: Any) -> None: ...
