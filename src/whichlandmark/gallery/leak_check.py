"""Is a question answered by itself? Photos of a test set that stand in the gallery too.

By id, by content (SHA-256 of the file), and by look: the same picture re-encoded, resized or
slightly cropped. The bank counts as gallery. Nothing of size questions × gallery is ever made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..core.fingerprint import NEAR_BITS, SAME_COARSE, Fingerprint, fronts, same_picture, unpack

Kind = Literal["id", "content", "look"]

KINDS: tuple[Kind, ...] = get_args(Kind)

BLOCK = 4096  # fingerprints read at once

_ROUNDED = 0.002  # coarse copies are kept as float16: what is near the limit is looked at


@dataclass(frozen=True)
class Leak:
    """A photo that was left out, why, and the gallery photo that it equals."""

    id: str
    kind: Kind
    photo: str

    @property
    def reason(self) -> str:
        """For the list of what failed."""
        words = {
            "id": "its id is that of a gallery photo",
            "content": f"its file is that of gallery photo {self.photo}",
            "look": f"it shows the same picture as gallery photo {self.photo}",
        }
        return f"{words[self.kind]}: left out"


def by_kind(leaks: Sequence[Leak]) -> dict[str, int]:
    """How many of each kind; every kind is there."""
    counts = Counter(leak.kind for leak in leaks)
    return {kind: counts[kind] for kind in KINDS}


class LeakCheck:
    """The photos of a gallery, made ready to be looked up.

    ids, hashes: (N,) of all its photos. looks: reads packed fingerprints of the ids given
    (photos without one are left out of the answer); None = the gallery has none. Of the
    fingerprints, 136 bytes a photo stay in memory; the rest is read again for candidates.
    """

    def __init__(
        self,
        ids: NDArray[np.object_],
        hashes: NDArray[np.object_],
        looks: Callable[[Sequence[str]], Mapping[str, bytes]] | None = None,
    ) -> None:
        self._ids = set(ids.tolist())
        self._by_hash = dict(zip(hashes[::-1].tolist(), ids[::-1].tolist(), strict=True))
        self._looks = _Fingerprints(ids, looks) if looks else None

    def __call__(
        self, ids: Sequence[str], hashes: Sequence[str], prints: Sequence[Fingerprint] = ()
    ) -> list[Leak | None]:
        """For each of n questions: the leak, or None. prints: n, or none when not looked at."""
        found: list[Leak | None] = []
        for photo_id, digest in zip(ids, hashes, strict=True):
            if photo_id in self._ids:
                found.append(Leak(photo_id, "id", photo_id))
            elif digest in self._by_hash:
                found.append(Leak(photo_id, "content", self._by_hash[digest]))
            else:
                found.append(None)
        if self._looks and prints:
            rest = [row for row, leak in enumerate(found) if leak is None]
            for row, photo in self._looks.same([prints[row] for row in rest]).items():
                found[rest[row]] = Leak(ids[rest[row]], "look", photo)
        return found

    @property
    def looks(self) -> bool:
        """Can it tell near-duplicates?"""
        return self._looks is not None and self._looks.count > 0


class _Fingerprints:
    """Hashes of the gallery's fingerprints in a FAISS index; small copies stay where they are."""

    def __init__(
        self, ids: NDArray[np.object_], read: Callable[[Sequence[str]], Mapping[str, bytes]]
    ) -> None:
        import faiss

        self._read = read
        self._index = faiss.IndexBinaryFlat(64)
        names: list[str] = []
        coarse = [np.empty((0, 64), np.float16)]
        for start in range(0, len(ids), BLOCK):
            part = read(ids[start : start + BLOCK].tolist())
            if part:
                bits, copies = fronts(list(part.values()))
                self._index.add(bits)
                names += part
                coarse.append(copies)
        self._names, self._coarse = names, np.concatenate(coarse)
        self._even = np.asarray(
            ~self._coarse.any(axis=1)
        )  # nothing to correlate: looked at closely

    @property
    def count(self) -> int:
        return len(self._names)

    def same(self, prints: Sequence[Fingerprint]) -> dict[int, str]:
        """Question → the first gallery photo that shows the same picture."""
        if not prints or not self.count:
            return {}
        bits = np.stack([p.bits for p in prints])
        limits, _, near = self._index.range_search(bits, NEAR_BITS + 1)
        found = {}
        for row, print_ in enumerate(prints):
            rows = np.sort(near[int(limits[row]) : int(limits[row + 1])])
            if photo := self._first_same(print_, rows):
                found[row] = photo
        return found

    def _first_same(self, print_: Fingerprint, rows: NDArray[np.int64]) -> str | None:
        agreement = self._coarse[rows].astype(np.float32) @ print_.coarse
        alike = (agreement >= SAME_COARSE - _ROUNDED) | self._even[rows]
        if not print_.coarse.any():
            alike[:] = True
        for row in rows[alike]:
            name: str = self._names[row]
            data = self._read([name]).get(name)
            if data and same_picture(print_, unpack(data)):
                return name
        return None
