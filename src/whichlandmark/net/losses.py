"""Losses over a batch of unit rows, each with its paper in the docstring."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
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


class ArcFace(nn.Module):
    """Additive angular margin over all landmarks.

    Deng et al., "ArcFace: additive angular margin loss for deep face recognition", CVPR 2019:
    cross-entropy of scale · cos(θ_c + margin · [c is true]), θ_c the angle to a trained
    direction of each landmark. Where θ + margin would pass π, the cosine is continued by
    cos θ − margin · sin margin, so that it keeps falling (as its authors' code has it).
    margin 0 is the normalised softmax.
    """

    def __init__(self, dim: int, landmarks: int, *, scale: float, margin: float) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(landmarks, dim) / math.sqrt(dim))
        self.scale, self.margin = scale, margin

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B, D) unit rows, (B,) landmark codes → scalar."""
        cosine = embeddings @ functional.normalize(self.directions, dim=1).T
        true = cosine.gather(1, labels[:, None])
        sine = (1 - true.square()).clamp(min=1e-7).sqrt()
        turned = true * math.cos(self.margin) - sine * math.sin(self.margin)
        beyond = true <= math.cos(math.pi - self.margin)
        turned = torch.where(beyond, true - self.margin * math.sin(self.margin), turned)
        return functional.cross_entropy(
            self.scale * cosine.scatter(1, labels[:, None], turned), labels
        )
