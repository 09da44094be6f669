"""Find test photos that are also in the gallery, distractors included.

Photos are compared by content (SHA-256 of the file) and by perceptual fingerprint, which finds the
same picture re-encoded, resized or slightly cropped; by id only where the gallery has no
fingerprints, because photos of two folders may have equal names. No array has a size of test photos
× gallery photos.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..core.fingerprint import (
    MAX_HASH_DISTANCE,
    MIN_COARSE_CORRELATION,
    Fingerprint,
    same_picture,
    unpack,
    unpack_hashes,
)

Kind = Literal["id", "content", "look"]  # what is equal; "look": the perceptual fingerprint

KINDS: tuple[Kind, ...] = get_args(Kind)

BLOCK_PHOTOS = 4096  # fingerprints read at once

FLOAT16_TOLERANCE = 0.002  # of a correlation, because coarse copies are stored as float16


@dataclass(frozen=True)
class Leak:
    """A test photo that is in the gallery.

    id: of the test photo; kind: what is equal; photo: id of the equal gallery photo.
    """

    id: str
    kind: Kind
    photo: str

    @property
    def reason(self) -> str:
        """One line for the list of skipped photos."""
        reasons = {
            "id": "its id is that of a gallery photo",
            "content": f"its file is that of gallery photo {self.photo}",
            "look": f"it shows the same picture as gallery photo {self.photo}",
        }
        return f"{reasons[self.kind]}: left out"


def by_kind(leaks: Sequence[Leak]) -> dict[str, int]:
    """Number of leaks of each kind, 0 included."""
    counts = Counter(leak.kind for leak in leaks)
    return {kind: counts[kind] for kind in KINDS}


class LeakCheck:
    """Lookup of test photos among the photos of a gallery.

    Args:
        ids: (N,) ids of all gallery photos.
        hashes: (N,) hashes of their files.
        read_fingerprints: reads packed fingerprints by id, omitting photos without one; None = do
            not compare fingerprints. 136 bytes per photo stay in memory; the rest is read again
            for the few candidates.
    """

    def __init__(
        self,
        ids: NDArray[np.object_],
        hashes: NDArray[np.object_],
        read_fingerprints: Callable[[Sequence[str]], Mapping[str, bytes]] | None = None,
    ) -> None:
        self._ids = set(ids.tolist())
        self._by_hash = dict(zip(hashes[::-1].tolist(), ids[::-1].tolist(), strict=True))
        self._fingerprints = _Fingerprints(ids, read_fingerprints) if read_fingerprints else None

    def __call__(
        self, ids: Sequence[str], hashes: Sequence[str], prints: Sequence[Fingerprint] = ()
    ) -> list[Leak | None]:
        """Check n test photos: the leak of each, or None.

        Args:
            ids: n ids.
            hashes: n hashes of their files.
            prints: n fingerprints; empty = compare ids and hashes only.
        """
        found: list[Leak | None] = []
        pictures = self.compares_fingerprints and len(prints) > 0
        for photo_id, digest in zip(ids, hashes, strict=True):
            same_bytes = self._by_hash.get(digest) == photo_id
            if same_bytes or (photo_id in self._ids and not pictures):
                found.append(Leak(photo_id, "id", photo_id))
            elif digest in self._by_hash:
                found.append(Leak(photo_id, "content", self._by_hash[digest]))
            else:
                found.append(None)
        if self._fingerprints and prints:
            rest = [row for row, leak in enumerate(found) if leak is None]
            for row, photo in self._fingerprints.find([prints[row] for row in rest]).items():
                found[rest[row]] = Leak(ids[rest[row]], "look", photo)
        return found

    @property
    def compares_fingerprints(self) -> bool:
        """Whether there are fingerprints to find near-duplicates with."""
        return self._fingerprints is not None and self._fingerprints.count > 0


class _Fingerprints:
    """Perceptual hashes of the gallery in a FAISS index, and coarse copies to check matches.

    The larger 96 × 96 copies are read from the gallery for candidates only.
    """

    def __init__(
        self, ids: NDArray[np.object_], read: Callable[[Sequence[str]], Mapping[str, bytes]]
    ) -> None:
        import faiss

        self._read = read
        self._index = faiss.IndexBinaryFlat(64)
        known_ids: list[str] = []
        coarse = [np.empty((0, 64), np.float16)]
        for start in range(0, len(ids), BLOCK_PHOTOS):
            part = read(ids[start : start + BLOCK_PHOTOS].tolist())
            if part:
                bits, copies = unpack_hashes(list(part.values()))
                self._index.add(bits)
                known_ids += part
                coarse.append(copies)
        self._ids, self._coarse = known_ids, np.concatenate(coarse)
        # A coarse copy of one even grey has no correlation, so it is compared in full.
        self._featureless = np.asarray(~self._coarse.any(axis=1))

    @property
    def count(self) -> int:
        return len(self._ids)

    def find(self, prints: Sequence[Fingerprint]) -> dict[int, str]:
        """Index of a test photo → the first gallery photo that shows the same picture."""
        if not prints or not self.count:
            return {}
        bits = np.stack([p.bits for p in prints])
        limits, _, found_rows = self._index.range_search(bits, MAX_HASH_DISTANCE + 1)
        found = {}
        for row, query in enumerate(prints):
            rows = np.sort(found_rows[int(limits[row]) : int(limits[row + 1])])
            if photo := self._first_match(query, rows):
                found[row] = photo
        return found

    def _first_match(self, query: Fingerprint, rows: NDArray[np.int64]) -> str | None:
        correlation = self._coarse[rows].astype(np.float32) @ query.coarse
        candidates = (
            correlation >= MIN_COARSE_CORRELATION - FLOAT16_TOLERANCE
        ) | self._featureless[rows]
        if not query.coarse.any():
            candidates[:] = True
        for row in rows[candidates]:
            photo_id: str = self._ids[row]
            data = self._read([photo_id]).get(photo_id)
            if data and same_picture(query, unpack(data)):
                return photo_id
        return None
