"""Group photos that show the same landmark, by vectors, matching keypoints and positions.

Two photos are compared by how much more similar they are to each other than to photos without a
landmark (the distractors), and by the keypoints that agree on one homography. A logistic function
of both is the probability that they show the same thing; average-linkage clustering of the
probabilities makes groups, because one wrong pair then does not chain two groups together.

The weights and the cut were chosen on two drawn worlds and on photos of known landmarks that were
treated as unknown; benchmarks/discover_groups.py measures them on others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..core.photo_files import LatLon
from ..core.types import Floats, Rows, Vectors
from ..gallery.index.exact import nearest
from ..recognition.location import distance_km

NEIGHBOURS = 15  # photos that each photo is compared with by keypoints, at most

MIN_LEAD = 0.05  # of a compared pair: below it, no pair of one landmark had matching keypoints

# Log-odds that two photos show the same: BIAS + BY_LEAD · lead + BY_POINTS · √(inliers − CHANCE).
BIAS, BY_LEAD, BY_POINTS = -3.9, 12.3, 0.66

CHANCE_INLIERS = 5  # so many points of unrelated photos agree

VERIFIED_INLIERS = 8  # of 10,700 compared pairs of different things, 3 in 1,000 had as many

MOST_UNTAUGHT = 0.15  # lead that counts without distractors: too little for a group

CUT = 0.6  # mean distance (1 − probability) at which clusters are no longer joined

LARGE_LIBRARY = 400  # photos; in a larger one more pairs are similar by chance

# km between two cameras. One landmark may be seen from farther away, but then by many points.
APART_KM, NEAR_KM = 1.0, 0.2

SURE_INLIERS = 25  # points that say more than positions

APART, NEAR = -6.0, 1.0  # log-odds of cameras that far apart, and that near

LINKED = 0.2  # probability from which two photos are looked at together …

MAX_LINKED = 4000  # … unless they are so many: their distances take 4 · n² bytes


@dataclass(frozen=True, eq=False)
class Group:
    """Photos of one landmark, probably.

    rows: the best first: those that are most like the others. size: scenes, so that a burst counts
    once. verified: pairs with matching keypoints.
    """

    rows: list[int]
    size: int
    verified: int


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of photos to compare: rows (P, 2), the first lower; lead (P,) of their similarity."""

    rows: Rows
    lead: Floats


@dataclass(frozen=True, eq=False)
class Similarity:
    """How similar N photos are.

    vectors: (N, d) unit rows as the recognizer compares them. background: (N,) mean cosine of each
    to its nearest distractors. gallery: (N,) the same to its nearest photos of landmarks. taught:
    Are there distractors? Without them a high cosine says little, so photos are grouped only where
    keypoints match.
    """

    vectors: Vectors
    background: Floats
    gallery: Floats
    taught: bool = True

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: Sequence[int]) -> Similarity:
        """That of some of the photos."""
        own = list(rows)
        return Similarity(self.vectors[own], self.background[own], self.gallery[own], self.taught)

    def like_gallery(self, rows: Sequence[int], nearest_photos: int = 5) -> bool:
        """Are photos as similar to the gallery's nearest ones as to the nearest of each other?"""
        vectors = self.vectors[list(rows)]
        cosines = vectors @ vectors.T
        np.fill_diagonal(cosines, -np.inf)
        most = min(nearest_photos, len(rows) - 1)
        own = np.sort(cosines, axis=1)[:, -most:] if most else np.ones((1, 1))
        return bool(self.gallery[list(rows)].mean() >= own.mean())

    def lead(self, rows: Rows) -> Floats:
        """(P,) of pairs (P, 2): their cosine less the mean of both backgrounds."""
        lead = np.empty(len(rows))
        for start in range(0, len(rows), 100_000):  # bounds the memory
            one, two = rows[start : start + 100_000].T
            cosines = np.einsum("ij,ij->i", self.vectors[one], self.vectors[two])
            behind = (self.background[one] + self.background[two]) / 2
            lead[start : start + 100_000] = cosines - behind
        return lead if self.taught else np.minimum(lead, MOST_UNTAUGHT)


@dataclass(frozen=True, eq=False)
class Seen:
    """What else is known of N photos.

    places: where each was taken, None = unknown. scenes: (N,) a number for each scene: photos of a
    burst and copies of a picture have the same.
    """

    places: Sequence[LatLon | None] = ()
    scenes: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))


def candidate_pairs(photos: Similarity) -> Pairs:
    """The pairs of photos that may show the same: each photo with its nearest others, by lead."""
    if len(photos) < 2:
        return Pairs(np.empty((0, 2), dtype=np.int64), np.empty(0))
    offsets = (-photos.background / 2).astype(np.float32)
    found = nearest(photos.vectors, photos.vectors, NEIGHBOURS + 1, offsets=offsets).rows
    first = np.repeat(np.arange(len(photos)), found.shape[1])
    both = np.sort(np.stack([first, found.ravel()], axis=1), axis=1)
    rows = np.unique(both[(both[:, 0] != both[:, 1]) & (both[:, 0] >= 0)], axis=0)
    lead = photos.lead(rows)
    return Pairs(rows[lead >= MIN_LEAD], lead[lead >= MIN_LEAD])


def group(
    photos: Similarity,
    pairs: Pairs,
    inliers: NDArray[np.int64],
    seen: Seen,
    min_photos: int = 3,
) -> list[Group]:
    """Cluster photos into groups, the largest first.

    Args:
        photos: N photos.
        pairs: Of `candidate_pairs`.
        inliers: (P,) keypoints of each pair that agree on one homography.
        seen: Positions and scenes.
        min_photos: Scenes that a group has at least.
    """
    bias = BIAS - 0.5 * np.log(max(1.0, len(photos) / LARGE_LIBRARY))
    logits = _logits(pairs.lead, inliers, _km(seen.places, pairs.rows), bias)

    def distances(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n, n) of 1 − probability; pairs that were not compared count by their vectors."""
        whole = np.zeros((len(rows), len(rows)), dtype=np.float32)
        for at, row in enumerate(rows[:-1]):  # row by row, to bound the memory
            own = np.stack([np.full(len(rows) - at - 1, row), rows[at + 1 :]], axis=1)
            chance = np.zeros(len(own), dtype=np.int64)
            odds = _logits(photos.lead(own), chance, _km(seen.places, own), bias)
            whole[at, at + 1 :] = 1 - _probability(odds)
        compared = np.isin(pairs.rows, rows).all(axis=1)
        one, two = np.searchsorted(rows, pairs.rows[compared]).T
        whole[one, two] = 1 - _probability(logits[compared])
        return np.maximum(whole, whole.T)

    verified = pairs.rows[inliers >= VERIFIED_INLIERS]
    found: list[Group] = []
    scenes = seen.scenes if len(seen.scenes) else np.arange(len(photos))
    for rows in _linked(pairs.rows, _probability(logits), len(photos), min_photos):
        found += _clusters(rows, distances(rows), scenes, verified, min_photos)
    return sorted(found, key=lambda one: (-one.size, -len(one.rows), one.rows[0]))


def _clusters(
    rows: NDArray[np.int64],
    distances: NDArray[np.float32],
    scenes: NDArray[np.int64],
    verified: Rows,
    min_photos: int,
) -> list[Group]:
    """Groups among photos that are linked."""
    from sklearn.cluster import AgglomerativeClustering

    labels = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=CUT
    ).fit_predict(distances)
    found = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        size = len(np.unique(scenes[rows[own]]))
        if size < min_photos:
            continue
        near = 1 - distances[np.ix_(own, own)]
        mean = (near.sum(axis=1) - 1) / (len(own) - 1) if len(own) > 1 else np.ones(1)
        order = own[np.argsort(-mean, kind="stable")]
        members = rows[order].tolist()
        known: set[int] = set()
        first: list[int] = []  # of each scene
        later: list[int] = []
        for row in members:
            (later if int(scenes[row]) in known else first).append(row)
            known.add(int(scenes[row]))
        inside = int(np.isin(verified, members).all(axis=1).sum())
        found.append(Group(first + later, size, inside))
    return found


def _linked(pairs: Rows, probability: Floats, photos: int, least: int) -> list[NDArray[np.int64]]:
    """Rows of photos that are connected by likely pairs; too many are split by likelier ones."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    found = []
    waiting = [(np.arange(photos), LINKED)]
    while waiting:
        rows, least_probability = waiting.pop()
        inside = np.isin(pairs, rows).all(axis=1) & (probability >= least_probability)
        edges = np.searchsorted(rows, pairs[inside])
        shape = (len(rows), len(rows))
        graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=shape)
        count, labels = connected_components(graph, directed=False)
        order = np.argsort(labels, kind="stable")
        parts = np.split(order, np.cumsum(np.bincount(labels, minlength=count))[:-1])
        for part in parts:
            if len(part) < least:
                continue
            if len(part) > MAX_LINKED and least_probability < 0.99:
                waiting.append((rows[part], least_probability + (1 - least_probability) / 4))
            else:
                found.append(rows[part][:MAX_LINKED])
    return found


def scenes_of(
    photos: int, same_picture: Sequence[tuple[int, int]], times: Sequence[float | None],
    pairs: Rows, similar: NDArray[np.bool_], seconds: float = 60.0,
) -> NDArray[np.int64]:  # fmt: skip
    """(N,) the number of each photo's scene: a burst, or a picture and its copies, is one.

    Args:
        photos: N.
        same_picture: Pairs of photos that are the same picture.
        times: When each was taken, in seconds; None = unknown.
        pairs: (P, 2) pairs that were compared.
        similar: (P,) do they show the same? Such photos of the same minute are a burst.
        seconds: A minute.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    joined = list(same_picture)
    for (a, b), alike in zip(pairs.tolist(), similar.tolist(), strict=True):
        one, two = times[a], times[b]
        if alike and one is not None and two is not None and abs(one - two) <= seconds:
            joined.append((a, b))
    edges = np.array(joined, dtype=np.int64).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(photos, photos))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def compare(
    pairs: Pairs, matched: Callable[[int, list[int]], list[int]], progress: Callable[[int], None]
) -> NDArray[np.int64]:
    """(P,) inliers of all pairs; matched: a row, and others → inliers with each of them."""
    inliers = np.zeros(len(pairs.rows), dtype=np.int64)
    starts = np.flatnonzero(np.diff(pairs.rows[:, 0], prepend=-1)).tolist()
    for start, end in pairwise([*starts, len(inliers)]):
        first = int(pairs.rows[start, 0])
        inliers[start:end] = matched(first, pairs.rows[start:end, 1].tolist())
        progress(int(end))
    return inliers


def _logits(lead: Floats, inliers: NDArray[np.int64], km: Floats, bias: float) -> Floats:
    points = np.sqrt(np.maximum(inliers - CHANCE_INLIERS, 0))
    logits = bias + BY_LEAD * lead + BY_POINTS * points
    logits += np.where(km <= NEAR_KM, NEAR, 0)  # NaN is neither
    return np.asarray(logits + np.where((km > APART_KM) & (inliers < SURE_INLIERS), APART, 0))


def _probability(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -50, 50))))


def _km(places: Sequence[LatLon | None], rows: Rows) -> Floats:
    """(P,) km between the photos of each pair; NaN where one place is unknown."""
    if not any(places):
        return np.full(len(rows), np.nan)
    unknown = (np.nan, np.nan)
    degrees = np.array([place or unknown for place in places], dtype=np.float64)
    km = np.full(len(rows), np.nan)
    order = np.argsort(rows[:, 0], kind="stable")
    starts = np.flatnonzero(np.diff(rows[order, 0], prepend=-1)).tolist()
    for start, end in pairwise([*starts, len(rows)]):
        own = order[start:end]
        if (place := places[rows[own[0], 0]]) is not None:
            km[own] = distance_km(place, degrees[rows[own, 1]])
    return km
