"""Losses over a batch of unit rows. One function each, its paper in the docstring."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def distances(embeddings: Tensor) -> Tensor:
    """All pairwise Euclidean distances of unit rows: (B, D) → (B, B), 0 to 2.

    The square root has no gradient at zero (a photo met twice in a batch), so rows closer
    than 0.001, where float32 sees rounding alone, are 0 apart and pass no gradient.
    """
    squared = (2 - 2 * embeddings @ embeddings.T).clamp(min=0)
    apart = squared > 1e-6
    return torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0)


def batch_hard(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Batch-hard triplet loss with soft margin.

    Hermans, Beyer, Leibe, "In defense of the triplet loss for person re-identification",
    2017: mean over anchors of softplus(farthest positive − nearest negative).
    softplus(x) = log(1 + e^x) without its overflow.

    embeddings: (B, D) unit rows; labels: (B,) integers. Anchors without a positive or
    without a negative in the batch take no part. Returns a scalar; 0 (with a gradient of
    zero) when no anchor is left.
    """
    gaps = hardest_gaps(embeddings, labels)
    return functional.softplus(gaps).mean() if len(gaps) else embeddings.sum() * 0


def hardest_gaps(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Farthest positive minus nearest negative of every anchor that has both: (A,) A ≤ B.

    Below zero means that the anchor is ranked right within the batch.
    """
    distance = distances(embeddings)
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = same & ~itself
    farthest = distance.masked_fill(~positive, -torch.inf).amax(dim=1)
    nearest = distance.masked_fill(same, torch.inf).amin(dim=1)
    usable = positive.any(dim=1) & (~same).any(dim=1)
    return (farthest - nearest)[usable]
