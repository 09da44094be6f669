"""Find photos that match too few photos of their own landmark geometrically.

The rule of the winner of the 2019 landmark challenges (smlyaka: Yokoo et al., "Two-stage
discriminative re-ranking for large-scale landmark retrieval", 2020): a photo stays if enough of
its nearest photos of the same landmark match it geometrically. In contrast to that rule, only
photos whose nearest photos are mostly of other landmarks are verified, because geometry alone drops
most of the good photos of a landmark that has tens of photos, not hundreds (numbers: docs/data.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...core.errors import OptionError
from ...core.hardware import check_device, cpu_count
from ...core.images import read_image
from ...core.json_options import Span, check_fields, count
from ...core.types import Photos, ProgressFor, Rows, Vectors
from ...features.local.keypoints import Keypoints, MatchOptions, keypoints
from ...features.local.matching import verify
from ...gallery.index.exact import nearest
from ...gallery.records import GalleryTable
from ...recognition.folder.fill import (
    Changes,
    fill_gallery,
    gallery_for,
    open_embedder,
    require_photos,
)
from ...recognition.spatial_verification import MATCHING_SIDE
from .scan_cache import ScanCache

TRUST_NEIGHBOURS = 5  # nearest photos of the whole table that decide whether a photo is verified


@dataclass(frozen=True, kw_only=True)
class SupportOptions:
    """How photos are compared with others of their landmark.

    embedder: finds the nearest photos: an embedder folder, timm:NAME, lite0 or sift; None = lite0.
    trusted: a photo is kept without verification when at least this many of the 5 nearest photos
      of the whole table are of its landmark; 0 = every photo is verified, as in the 2019 rule.
    neighbours: number of nearest photos of the landmark that are verified, the nearest first.
    supporters: number of them that must match; all of them when the landmark has fewer other
      photos.
    inliers: minimum number of matches that agree on one homography, for two photos to match.
    device: runs the embedder.
    """

    spans: ClassVar[Mapping[str, Span]] = {
        "trusted": count(0, TRUST_NEIGHBOURS), "neighbours": count(), "supporters": count(),
        "inliers": count(),
    }  # fmt: skip

    embedder: str | None = None
    trusted: int = 2
    neighbours: int = 20
    supporters: int = 3
    inliers: int = 30
    device: str = "auto"

    def __post_init__(self) -> None:
        check_fields(self)
        check_device(self.device)
        if self.supporters > self.neighbours:
            raise OptionError(
                f"{self.supporters} supporters of {self.neighbours} neighbours given; expected "
                "no more supporters than neighbours"
            )


@dataclass(frozen=True, eq=False)
class LandmarkGroup:
    """The n photos of one landmark.

    paths, hashes: (n,). neighbours: (n, k) rows of this group, the nearest first. doubtful: (d,)
    rows to verify.
    """

    paths: NDArray[np.object_]
    hashes: NDArray[np.object_]
    neighbours: NDArray[np.int64]
    doubtful: NDArray[np.int64]


def find_unsupported(
    photos: Photos,
    cache: ScanCache,
    folder: Path,
    options: SupportOptions | None = None,
    *,
    matching: MatchOptions | None = None,
    progress: ProgressFor,
) -> dict[int, tuple[str, str]]:
    """Find the photos to drop: those that too few photos of their landmark match.

    Args:
        photos: Photos that all have one landmark.
        cache: Stores verified pairs, so that an interrupted run resumes.
        folder: Stores vectors as a gallery, for the same reason.
        options: None = the defaults.
        matching: Options of the geometric verification; None = the defaults.
        progress: Name of a step → its progress callback.

    Returns:
        Row → (how many photos support it, as text; path of its nearest photo).
    """
    options, matching = options or SupportOptions(), matching or MatchOptions()
    if not len(photos):
        return {}
    table = _embed_photos(photos, folder, options, progress)
    row_of = {photo_id: row for row, photo_id in enumerate(table.ids)}
    readable = np.array([row for row, photo_id in enumerate(photos.ids) if photo_id in row_of])
    rows = [row_of[photo_id] for photo_id in photos.ids[readable]]
    vectors, hashes = table.vectors[rows].astype(np.float32), table.hashes[rows]
    part = photos.take(readable)
    doubtful = _doubtful(vectors, part.landmarks, options.trusted)
    found: dict[int, tuple[str, str]] = {}
    report, done = progress("verifying"), 0
    with ThreadPoolExecutor(cpu_count()) as pool:
        for members in part.rows_by_landmark().values():
            group = LandmarkGroup(
                paths=part.paths[members],
                hashes=hashes[members],
                neighbours=_nearest_others(vectors[members], options.neighbours),
                doubtful=np.flatnonzero(doubtful[members]),
            )
            unsupported = _unsupported_of_group(group, cache, options, matching, pool)
            found |= {int(readable[members[row]]): why for row, why in unsupported.items()}
            done += len(members)
            report(done, len(part))
    return found


def _embed_photos(
    photos: Photos, folder: Path, options: SupportOptions, progress: ProgressFor
) -> GalleryTable:
    """Vectors and content hashes of the readable photos.

    They are stored in a gallery in `folder`, so that a later run embeds only new photos. No
    recognizer is fitted on it.
    """
    embedder = open_embedder(
        options.embedder, photos, folder, device=options.device, progress=progress("fitting")
    )
    with gallery_for(folder, embedder) as gallery:
        # Decoded as large as for local features, although none are extracted: the scale at which a
        # JPEG is decoded changes vectors slightly, and stored ones were made at this scale.
        failures = fill_gallery(
            embedder,
            photos,
            gallery,
            features=False,
            short_side=MATCHING_SIDE,
            progress=progress("embedding"),
        )
        require_photos(gallery, Changes(failures=failures))
        return gallery.table()


def _doubtful(vectors: Vectors, landmarks: NDArray[np.object_], trusted: int) -> NDArray[np.bool_]:
    """(N,) True = fewer than `trusted` of the nearest photos are of the photo's landmark."""
    if not trusted:
        return np.ones(len(vectors), dtype=bool)
    same = landmarks[_nearest_others(vectors, TRUST_NEIGHBOURS)] == landmarks[:, None]
    return np.asarray(same.sum(axis=1) < trusted)


def _nearest_others(vectors: Vectors, count: int) -> Rows:
    """(N, k) rows of each photo's nearest others by cosine; equal ones in the order of rows.

    k = min(count, N − 1).
    """
    found = nearest(vectors, vectors, count + 1).rows
    own = found == np.arange(len(vectors))[:, None]
    own[~own.any(axis=1), -1] = True  # photos with an equal vector filled all k + 1 columns
    return np.asarray(found[~own].reshape(len(vectors), -1))


def _unsupported_of_group(
    group: LandmarkGroup,
    cache: ScanCache,
    options: SupportOptions,
    matching: MatchOptions,
    pool: ThreadPoolExecutor,
) -> dict[int, tuple[str, str]]:
    """Row of the group → (text, path of the nearest photo), for photos with too few supporters."""
    need = min(options.supporters, len(group.paths) - 1)
    if not need or not len(group.doubtful):
        return {}
    counts = _count_supporters(group, need, cache, options.inliers, matching, pool)
    verified = group.neighbours.shape[1]
    return {
        row: (
            f"{count} of the {verified} nearest support it, {need} wanted",
            group.paths[group.neighbours[row, 0]],
        )
        for row, count in counts.items()
        if count < need
    }


def _count_supporters(
    group: LandmarkGroup,
    need: int,
    cache: ScanCache,
    min_inliers: int,
    matching: MatchOptions,
    pool: ThreadPoolExecutor,
) -> dict[int, int]:
    """Doubtful row → number of neighbours with `min_inliers` inliers, counted up to `need`.

    Pairs that are not in the cache are verified, and stored in one transaction. Without such a
    pair no photo is decoded.
    """
    options_key = _options_key(matching)
    pairs = cache.pairs(options_key, list(group.hashes))
    fresh: dict[tuple[str, str], int] = {}
    points: dict[int, Keypoints] = {}

    def inliers(a: int, b: int) -> int:
        first, second = (a, b) if group.hashes[a] <= group.hashes[b] else (b, a)
        pair = (group.hashes[first], group.hashes[second])
        known = pairs.get(pair, fresh.get(pair))
        if known is None:
            if not points:
                raise _UnknownPairError
            known = fresh[pair] = verify(points[first], points[second], matching).inliers
        return known

    def count(row: int) -> int:
        agree = 0
        for other in group.neighbours[row].tolist():
            if agree >= need:
                break  # the other neighbours cannot change the result
            agree += inliers(row, other) >= min_inliers
        return agree

    doubtful = group.doubtful.tolist()
    try:
        return {row: count(row) for row in doubtful}
    except _UnknownPairError:
        needed = sorted({*doubtful, *group.neighbours[doubtful].ravel().tolist()})
        found = pool.map(lambda row: _keypoints(str(group.paths[row]), matching), needed)
        points.update(zip(needed, found, strict=True))
        counts = dict(zip(doubtful, pool.map(count, doubtful), strict=True))
        cache.put_pairs(options_key, fresh)
        return counts


class _UnknownPairError(Exception):
    """A pair is not in the cache, and no keypoints have been extracted yet."""


def _keypoints(path: str, matching: MatchOptions) -> Keypoints:
    return keypoints(read_image(path, short_side=matching.size), matching)


def _options_key(matching: MatchOptions) -> str:
    """Names the options in the cache: pairs verified with other options do not count."""
    return hashlib.sha256(repr(matching).encode()).hexdigest()[:12]
