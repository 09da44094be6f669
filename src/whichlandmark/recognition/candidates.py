"""Candidates: nearest photos → a few candidate landmarks per query, each with its features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .retrieval import HiddenRows, Retrieved, Retriever

CANDIDATES = 4  # candidate landmarks of a query

CANDIDATES_COMPARED = 3  # candidate landmarks whose nearest photo is always compared

VOTING_NEIGHBOURS = 5  # nearest photos that the feature "votes" counts

# Features of a candidate landmark c of a query q; j* is the nearest photo of c.
FEATURES = (
    "similarity",  # cosine to j*
    "lead",  # … less the cosine to the nearest photo of any other landmark
    "company",  # mean cosine to the 3 nearest photos of c among the neighbours
    "centre",  # cosine to the mean of the photos of c
    "votes",  # Σ cos³ over those of the 5 nearest photos that show c
    "unwhitened",  # cosine to j* before whitening
    "bank",  # C: mean cosine of q to its 5 nearest distractors
    "photo_bank",  # B: mean cosine of j* to its 5 nearest distractors
    "photos",  # log(1 + number of photos of c)
    "place",  # log-odds that q shows a building less those of j*, where below 0 (`PlaceEvidence`)
)

CHANCE_INLIERS = 6  # 99th percentile of the inliers between photos of different things

GEOMETRY_FEATURES = (
    "inliers",  # log(1 + most inliers above CHANCE_INLIERS with one photo of c)
    "inlier_lead",  # … less the same number of the best other landmark
    "inlier_company",  # log(1 + inliers above CHANCE_INLIERS with all compared photos of c)
    "agreement",  # log(1 + highest `VerifiedMatch.agreement` with one photo of c)
    "agreement_lead",  # … less the same number of the best other landmark
    "agreement_company",  # log(1 + agreement with all compared photos of c)
)


@dataclass(frozen=True, eq=False)
class Candidates:
    """The candidate landmarks of Q queries, T each.

    Attributes:
        codes: (Q, T) landmark codes by falling similarity, −1 = no more candidates.
        ranks: (Q, T) position of each candidate's nearest photo among the neighbours.
        features: (Q, T, F) in the order of FEATURES.
    """

    codes: NDArray[np.int64]
    ranks: NDArray[np.int64]
    features: NDArray[np.float64]


def make_candidates(
    retriever: Retriever, found: Retrieved, hidden: HiddenRows | None = None
) -> Candidates:
    """The CANDIDATES nearest landmarks of each query, with their features.

    hidden: as in `Retriever.search`; hidden photos are not part of a landmark's centre.
    """
    codes, ranks = _nearest_landmarks(found.codes)
    similarity = found.neighbours.similarity.astype(np.float64)
    if not similarity.shape[1]:
        similarity = np.full((len(codes), 1), -1.0)
    best = np.take_along_axis(similarity, ranks, axis=1)
    same = _same_landmark(codes, found.codes)
    # Gallery row of the nearest photo of each candidate, −1 where there is none: (Q, T).
    nearest_photos = np.full(codes.shape, -1, dtype=np.int64)
    if found.neighbours.rows.shape[1]:
        rows = np.take_along_axis(found.neighbours.rows, ranks, axis=1)
        nearest_photos = np.where(codes < 0, -1, rows)
    # Count hidden photos too: otherwise the true landmark of a leave-one-out query could be
    # recognised by its missing photo.
    sizes = np.append(retriever.landmark_sizes, 0)[codes]
    raw_cosines, place_gaps = retriever.compare_raw(found, nearest_photos)
    features = np.stack(
        [
            best,
            best - _best_other(best, codes, similarity),
            _mean_of_nearest(same, similarity, best),
            _centre_cosines(retriever, found, codes, hidden),
            _votes(same, similarity),
            raw_cosines,
            np.repeat(found.penalty[:, None], codes.shape[1], axis=1),
            _photo_penalties(retriever, nearest_photos),
            np.log1p(sizes),
            place_gaps,
        ],
        axis=2,
    )
    return Candidates(codes, ranks, np.where(codes[..., None] < 0, 0.0, features))


def columns(features: NDArray[np.float64], names: Sequence[str]) -> NDArray[np.float64]:
    """The features of these names; a stacker that was fitted before some existed lacks them.

    features: (…, F) in the order of FEATURES, or of FEATURES and GEOMETRY_FEATURES.
    """
    order = (*FEATURES, *GEOMETRY_FEATURES)
    # Contiguous, because sums of another memory layout differ in their last bit.
    return np.ascontiguousarray(features[..., [order.index(name) for name in names]])


def add_geometry(
    candidates: Candidates,
    found: Retrieved,
    inliers: NDArray[np.int64],
    agreement: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The features followed by those of GEOMETRY_FEATURES: (Q, T, F + 6).

    inliers: (Q, K) inliers with each neighbour; below 0 = not compared. agreement: (Q, K) of the
    same matches; 0 = not compared.
    """
    same = _same_landmark(candidates.codes, found.codes)
    extra = []
    for amounts in (np.maximum(inliers - CHANCE_INLIERS, 0), agreement):
        own = amounts[:, None, :] * same
        most = np.log1p(own.max(axis=2, initial=0))
        other = np.where(same, 0, amounts[:, None, :]).max(axis=2, initial=0)
        extra += [most, most - np.log1p(other), np.log1p(own.sum(axis=2))]
    return np.concatenate([candidates.features, np.stack(extra, axis=2)], axis=2)


def ranks_to_compare(
    found: Retrieved, candidates: Candidates | None, row: int, most: int
) -> list[int]:
    """Ranks of at most `most` neighbours to verify.

    First the nearest photo of each of the best candidates, then the nearest photos.
    """
    first: list[int] = []
    if candidates is not None:
        known = candidates.ranks[row][candidates.codes[row] >= 0]
        first = [int(rank) for rank in known][:CANDIDATES_COMPARED]
    rest = [int(rank) for rank in np.flatnonzero(found.codes[row] >= 0) if rank not in first]
    return (first + rest)[:most]


def _nearest_landmarks(codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first position of each landmark among the neighbours: codes and ranks, each (Q, T)."""
    width = codes.shape[1]
    earlier = np.tril(np.ones((width, width), dtype=bool), k=-1)
    repeated = ((codes[:, :, None] == codes[:, None, :]) & earlier).any(axis=2) | (codes < 0)
    ranks = np.argsort(repeated, axis=1, kind="stable")[:, :CANDIDATES]
    absent = np.take_along_axis(repeated, ranks, axis=1)
    first = np.where(absent, -1, np.take_along_axis(codes, ranks, axis=1))
    padding = ((0, 0), (0, CANDIDATES - ranks.shape[1]))
    return np.pad(first, padding, constant_values=-1), np.pad(np.where(absent, 0, ranks), padding)


def _same_landmark(
    codes: NDArray[np.int64], neighbour_codes: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Does the neighbour show the candidate? (Q, T), (Q, K) → (Q, T, K)."""
    same = codes[:, :, None] == neighbour_codes[:, None, :]
    return np.asarray(same & (codes[:, :, None] >= 0))


def _best_other(
    best: NDArray[np.float64], codes: NDArray[np.int64], similarity: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cosine to the nearest photo of any other landmark: (Q, T).

    Where all neighbours show one landmark it is the cosine to the last of them, because photos of
    other landmarks can only be farther away.
    """
    known = np.where(codes < 0, -np.inf, best)
    last = np.where(similarity > -1, similarity, np.inf).min(axis=1)
    second = np.where(np.isneginf(known[:, 1]), np.minimum(last, best[:, 0]), known[:, 1])
    other = np.repeat(best[:, :1], best.shape[1], axis=1)
    other[:, 0] = second
    return other


def _mean_of_nearest(
    same: NDArray[np.bool_], similarity: NDArray[np.float64], best: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean cosine to the three nearest photos of each candidate, or to as many as there are."""
    if not same.shape[2]:
        return best
    first = same & (np.cumsum(same, axis=2) <= 3)
    count = first.sum(axis=2)
    total = np.where(first, similarity[:, None, :], 0).sum(axis=2)
    return np.where(count > 0, total / np.maximum(count, 1), best)


def _centre_cosines(
    retriever: Retriever, found: Retrieved, codes: NDArray[np.int64], hidden: HiddenRows | None
) -> NDArray[np.float64]:
    """Cosine to the mean of each candidate's photos without the hidden ones: (Q, T)."""
    cosines = np.zeros(codes.shape)
    if not len(retriever.index.names):
        return cosines
    all_sums = retriever.landmark_sums(codes)
    for row, query in enumerate(found.queries):
        sums = all_sums[row]  # of code −1 arbitrary: its features are set to 0 later
        gone = hidden[row] if hidden is not None else np.empty(0, dtype=np.int64)
        for photo in gone[np.isin(retriever.index.codes[gone], codes[row])]:
            own = codes[row] == retriever.index.codes[photo]
            sums[own] -= retriever.vectors[photo].astype(np.float32)
        cosines[row] = sums @ query / np.maximum(np.linalg.norm(sums, axis=1), 1e-6)
    return cosines


def _votes(same: NDArray[np.bool_], similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    cubes = np.maximum(similarity[:, :VOTING_NEIGHBOURS], 0) ** 3
    return np.asarray(
        (same[:, :, :VOTING_NEIGHBOURS] * cubes[:, None, : same.shape[2]]).sum(axis=2)
    )


def _photo_penalties(retriever: Retriever, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """B of the nearest photo of each candidate, 0 where there is none: (Q, T)."""
    penalties = np.zeros(rows.shape, dtype=np.float32)
    penalties[rows >= 0] = retriever.gallery_penalties(rows[rows >= 0])
    return penalties
