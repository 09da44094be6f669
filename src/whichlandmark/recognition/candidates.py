"""Nearest photos → a few candidate landmarks of each query, each with its evidence as numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .retrieval import Hidden, Retrieved, Retriever

CANDIDATES = 4  # landmarks of a query that are weighed against each other

VOTERS = 5

# The evidence for a candidate landmark c of a query q; j* is the nearest photo of c.
FEATURES = (
    "similarity",  # cosine to j*
    "lead",  # … less that to the nearest photo of any other landmark
    "company",  # mean cosine to the 3 nearest photos of c among the neighbours
    "centre",  # cosine to the mean of the photos of c
    "votes",  # Σ cos³ over those of the 5 nearest that show c
    "unwhitened",  # cosine to j* before whitening
    "bank",  # C: mean cosine of q to its 5 nearest distractors
    "photo_bank",  # B: the same of j*
    "photos",  # log(1 + photos of c)
)

CHANCE = 6  # inliers of photos that show different things: the 99th percentile

GEOMETRY = (
    "inliers",  # log(1 + most inliers above CHANCE with a photo of c)
    "inlier_lead",  # … less the same of every other landmark
    "inlier_company",  # log(1 + those with all compared photos of c)
)


@dataclass(frozen=True, eq=False)
class Candidates:
    """codes: (Q, T) landmarks by falling similarity, −1 = no more; places: (Q, T) of the nearest
    photo of each among the neighbours; features: (Q, T, F) in the order of FEATURES.
    """

    codes: NDArray[np.int64]
    places: NDArray[np.int64]
    features: NDArray[np.float64]


def make_candidates(
    scorer: Retriever, found: Retrieved, hidden: Hidden | None = None
) -> Candidates:
    """The CANDIDATES nearest landmarks of each query, with their evidence.

    hidden: as in `Scorer.find`: hidden photos are not part of a landmark's centre.
    """
    codes, places = _nearest_landmarks(found.codes)
    similarity = found.neighbours.similarity.astype(np.float64)
    if not similarity.shape[1]:
        similarity = np.full((len(codes), 1), -1.0)
    best = np.take_along_axis(similarity, places, axis=1)
    same = _shown_by(codes, found.codes)
    rows = _rows_at(found.neighbours.rows, places, codes)
    # Of all its photos, hidden ones too: of nothing but its size would a gallery's question else
    # tell the right landmark, the only one that lacks a photo.
    sizes = np.append(scorer.landmark_sizes, 0)[codes]
    features = np.stack(
        [
            best,
            best - _best_other(best, codes, similarity),
            _mean_of_nearest(same, similarity, best),
            _centres(scorer, found, codes, hidden),
            _votes(same, similarity),
            scorer.raw_cosines(found, rows),
            np.repeat(found.penalty[:, None], codes.shape[1], axis=1),
            _bank_of(scorer, rows),
            np.log1p(sizes),
        ],
        axis=2,
    )
    return Candidates(codes, places, np.where(codes[..., None] < 0, 0.0, features))


def with_geometry(
    made: Candidates, found: Retrieved, inliers: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(Q, T, F) features → with GEOMETRY beside them. inliers: (Q, K), below 0 = not compared."""
    same = _shown_by(made.codes, found.codes)
    above = np.maximum(inliers - CHANCE, 0)[:, None, :]
    counts = above * same
    most = np.log1p(counts.max(axis=2, initial=0))
    other = np.where(same, 0, above).max(axis=2, initial=0)
    extra = np.stack([most, most - np.log1p(other), np.log1p(counts.sum(axis=2))], axis=2)
    return np.concatenate([made.features, extra], axis=2)


def _centres(
    scorer: Retriever, found: Retrieved, codes: NDArray[np.int64], hidden: Hidden | None
) -> NDArray[np.float64]:
    """Cosine to the mean of each candidate's photos that the query may see: (Q, T)."""
    scores = np.zeros(codes.shape)
    if not len(scorer.index.names):
        return scores
    sums = scorer.landmark_sums(codes)
    for row, query in enumerate(found.queries):
        seen = sums[row]  # code −1: anything, not used
        gone = hidden[row] if hidden is not None else np.empty(0, dtype=np.int64)
        for one in gone[np.isin(scorer.index.codes[gone], codes[row])]:
            seen[codes[row] == scorer.index.codes[one]] -= scorer.vectors[one].astype(np.float32)
        scores[row] = seen @ query / np.maximum(np.linalg.norm(seen, axis=1), 1e-6)
    return scores


def _nearest_landmarks(codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first place of each landmark among the neighbours: codes and places, each (Q, T)."""
    width = codes.shape[1]
    earlier = np.tril(np.ones((width, width), dtype=bool), k=-1)
    repeated = ((codes[:, :, None] == codes[:, None, :]) & earlier).any(axis=2) | (codes < 0)
    places = np.argsort(repeated, axis=1, kind="stable")[:, :CANDIDATES]
    gone = np.take_along_axis(repeated, places, axis=1)
    named = np.where(gone, -1, np.take_along_axis(codes, places, axis=1))
    missing = ((0, 0), (0, CANDIDATES - places.shape[1]))
    return np.pad(named, missing, constant_values=-1), np.pad(np.where(gone, 0, places), missing)


def _shown_by(codes: NDArray[np.int64], neighbours: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(Q, T) landmarks, (Q, K) neighbours' landmarks → (Q, T, K): does it show it?"""
    return np.asarray((codes[:, :, None] == neighbours[:, None, :]) & (codes[:, :, None] >= 0))


def _rows_at(
    rows: NDArray[np.int64], places: NDArray[np.int64], codes: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Gallery rows of the nearest photo of each candidate, −1 where there is none."""
    if not rows.shape[1]:
        return np.full(codes.shape, -1, dtype=np.int64)
    return np.where(codes < 0, -1, np.take_along_axis(rows, places, axis=1))


def _best_other(
    best: NDArray[np.float64], codes: NDArray[np.int64], similarity: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cosine to the nearest photo of any other landmark: (Q, T).

    Where all neighbours show one landmark, every other lies behind the last of them.
    """
    known = np.where(codes < 0, -np.inf, best)
    behind = np.where(similarity > -1, similarity, np.inf).min(axis=1)
    second = np.where(np.isneginf(known[:, 1]), np.minimum(behind, best[:, 0]), known[:, 1])
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


def _votes(same: NDArray[np.bool_], similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    near = np.maximum(similarity[:, :VOTERS], 0) ** 3
    return np.asarray((same[:, :, :VOTERS] * near[:, None, : same.shape[2]]).sum(axis=2))


def _bank_of(scorer: Retriever, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """B of the nearest photo of each candidate; only photos that were found are asked about."""
    likeness = np.zeros(rows.shape, dtype=np.float32)
    wanted, places = np.unique(rows[rows >= 0], return_inverse=True)
    if len(wanted):
        likeness[rows >= 0] = scorer.gallery_likeness(wanted)[places]
    return likeness
