"""Find photos that too few photos of their own landmark support by geometry.

The rule of the winner of the 2019 landmark challenges (smlyaka: Yokoo et al., "Two-stage
discriminative re-ranking for large-scale landmark retrieval", 2020): a photo stays if enough of
its nearest photos of the same landmark show the same thing by geometry. Here only photos whose
nearest ones are mostly of other landmarks are verified, because where a landmark has tens of
photos, not hundreds, geometry alone drops most of the good ones (docs/data.md has the numbers).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.errors import OptionError
from ...core.hardware import cpu_count
from ...core.images import read_image
from ...core.types import Photos, Progress, Vectors
from ...features.local.keypoints import Keypoints, MatchOptions, keypoints
from ...features.local.matching import verify
from ...gallery.index.exact import nearest
from ...gallery.records import GalleryTable
from ...recognition.folder.fill import fill_gallery, gallery_for, open_embedder, require_photos
from ...recognition.spatial_verification import SIDE
from .scan_cache import ScanCache

NEAREST = 5  # photos of the whole table that a photo is trusted by


@dataclass(frozen=True, kw_only=True)
class GraphCleaning:
    """embedder: an embedder folder, timm:NAME, or sift: finds the nearest photos.
    trusted: a photo stays, unverified, if so many of the 5 nearest of the whole table are of its
      landmark; 0 = every photo is verified, the rule of 2019.
    neighbours: nearest photos of the landmark that are asked, the nearest first.
    supporters: of them that have to show the same thing; of a landmark with fewer other photos,
      all others.
    inliers: fewest matches that one homography explains, for two photos to show the same.
    """

    embedder: str = "sift"
    trusted: int = 2
    neighbours: int = 20
    supporters: int = 3
    inliers: int = 30
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("neighbours", "supporters", "inliers"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} {getattr(self, name)} given; expected 1 or more")
        if not 0 <= self.trusted <= NEAREST:
            raise OptionError(f"trusted {self.trusted} given; expected 0 to {NEAREST} photos")
        if self.supporters > self.neighbours:
            raise OptionError(
                f"{self.supporters} supporters of {self.neighbours} neighbours given; expected "
                "no more supporters than neighbours"
            )


@dataclass(frozen=True, eq=False)
class LandmarkGroup:
    """The photos of one landmark: paths, content hashes (n,), neighbours (n, k) rows in here;
    doubtful (d,): rows to ask about.
    """

    paths: NDArray[np.object_]
    hashes: NDArray[np.object_]
    neighbours: NDArray[np.int64]
    doubtful: NDArray[np.int64]


def unsupported(
    photos: Photos,
    store: ScanCache,
    folder: Path,
    options: GraphCleaning | None = None,
    *,
    matching: MatchOptions | None = None,
    progress: Callable[[str], Progress],
) -> dict[int, tuple[str, str]]:
    """Row → (how many photos support it, path of its nearest photo), of photos to drop.

    photos: all have a landmark. store: keeps verified pairs. folder: keeps vectors, in the
    form that `index` makes. Both let an interrupted run go on where it stopped.
    """
    options, matching = options or GraphCleaning(), matching or MatchOptions()
    if not len(photos):
        return {}
    table = _embedded(photos, folder, options, progress)
    at = {photo_id: row for row, photo_id in enumerate(table.ids)}
    kept = np.array([row for row, photo_id in enumerate(photos.ids) if photo_id in at])
    rows = [at[photo_id] for photo_id in photos.ids[kept]]
    vectors, hashes = table.vectors[rows].astype(np.float32), table.hashes[rows]
    part = photos.take(kept)
    doubtful = _doubtful(vectors, part.landmarks, options.trusted)
    found: dict[int, tuple[str, str]] = {}
    move, done = progress("verifying"), 0
    with ThreadPoolExecutor(cpu_count()) as pool:
        for members in part.rows_by_landmark().values():
            group = LandmarkGroup(
                part.paths[members], hashes[members],
                _others(vectors[members], options.neighbours), np.flatnonzero(doubtful[members]),
            )  # fmt: skip
            dropped = _dropped(group, store, options, matching, pool)
            found |= {int(kept[members[row]]): told for row, told in dropped.items()}
            done += len(members)
            move(done, len(part))
    return found


def _embedded(
    photos: Photos, folder: Path, options: GraphCleaning, progress: Callable[[str], Progress]
) -> GalleryTable:
    """Vectors and content hashes of the photos that can be read. The gallery in `folder` keeps
    them, so what is embedded already stays; nothing is fitted on it.
    """
    photos.require_one_landmark("cleaning")
    embedder = open_embedder(
        options.embedder, photos, folder, device=options.device, progress=progress("fitting")
    )
    with gallery_for(folder, embedder) as gallery:
        # Decoded as large as for local features: the scale that a JPEG is decoded at changes
        # vectors a little, and those of earlier runs were made so.
        failures = fill_gallery(
            embedder, photos, gallery, features=False, short_side=SIDE,
            progress=progress("embedding"),
        )  # fmt: skip
        require_photos(gallery, failures)
        return gallery.table()


def _doubtful(vectors: Vectors, landmarks: NDArray[np.object_], trusted: int) -> NDArray[np.bool_]:
    """(N,) True where fewer than `trusted` of the nearest photos are of the photo's landmark."""
    if not trusted:
        return np.ones(len(vectors), dtype=bool)
    same = landmarks[_others(vectors, NEAREST)] == landmarks[:, None]
    return np.asarray(same.sum(axis=1) < trusted)


def _others(vectors: Vectors, count: int) -> NDArray[np.int64]:
    """(N, k) rows: each photo's nearest others by cosine, equal ones by lower row; k is `count`
    where there are so many others.
    """
    found = nearest(vectors, vectors, count + 1).rows
    own = found == np.arange(len(vectors))[:, None]
    own[~own.any(axis=1), -1] = True  # others with the very same vector came before it
    return np.asarray(found[~own].reshape(len(vectors), -1))


def _dropped(
    group: LandmarkGroup,
    store: ScanCache,
    options: GraphCleaning,
    matching: MatchOptions,
    pool: ThreadPoolExecutor,
) -> dict[int, tuple[str, str]]:
    """Row → (words, path of the nearest photo), of the doubtful photos that too few support."""
    need = min(options.supporters, len(group.paths) - 1)
    if not need or not len(group.doubtful):
        return {}
    counts = _supporters(group, need, store, options.inliers, matching, pool)
    asked = group.neighbours.shape[1]
    return {
        row: (
            f"{count} of the {asked} nearest support it, {need} wanted",
            group.paths[group.neighbours[row, 0]],
        )
        for row, count in counts.items()
        if count < need
    }


def _supporters(
    group: LandmarkGroup,
    need: int,
    store: ScanCache,
    least: int,
    matching: MatchOptions,
    pool: ThreadPoolExecutor,
) -> dict[int, int]:
    """Doubtful row → neighbours with `least` inliers, counted up to `need`. What no earlier run
    has verified is verified, and kept in one transaction.
    """
    how = _how(matching)
    pairs = store.pairs(how, list(group.hashes))
    fresh: dict[tuple[str, str], int] = {}
    points: dict[int, Keypoints] = {}

    def inliers(a: int, b: int) -> int:
        one, two = (a, b) if group.hashes[a] <= group.hashes[b] else (b, a)
        pair = (group.hashes[one], group.hashes[two])
        known = pairs.get(pair, fresh.get(pair))
        if known is None:
            if not points:
                raise _UnknownPairError
            known = fresh[pair] = verify(points[one], points[two], matching).inliers
        return known

    def count(row: int) -> int:
        agree = 0
        for other in group.neighbours[row].tolist():
            if agree >= need:
                break  # settled, whatever the others say
            agree += inliers(row, other) >= least
        return agree

    doubtful = group.doubtful.tolist()
    try:
        return {row: count(row) for row in doubtful}
    except _UnknownPairError:
        asked = sorted({*doubtful, *group.neighbours[doubtful].ravel().tolist()})
        found = pool.map(lambda row: _keypoints(str(group.paths[row]), matching), asked)
        points.update(zip(asked, found, strict=True))
        counts = dict(zip(doubtful, pool.map(count, doubtful), strict=True))
        store.put_pairs(how, fresh)
        return counts


class _UnknownPairError(Exception):
    """A pair that no earlier run has verified."""


def _keypoints(path: str, matching: MatchOptions) -> Keypoints:
    return keypoints(read_image(path, short_side=matching.size), matching)


def _how(matching: MatchOptions) -> str:
    """Names the options that a pair was verified with."""
    return hashlib.sha256(repr(matching).encode()).hexdigest()[:12]
