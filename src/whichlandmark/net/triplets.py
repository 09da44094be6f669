"""Triplet losses over a batch of unit rows: three ways to choose triplets, two margins.

A triplet is an anchor, another photo of its landmark (positive) and a photo of another
landmark (negative); its gap is d(anchor, positive) − d(anchor, negative), below zero when it
is ranked right. All computes in float32, whatever autocast does around it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ..errors import OptionError

Mining = Literal["batch_hard", "batch_all", "semi_hard"]

GAPS_AT_ONCE = 2**24  # most gaps in one tensor (64 MiB); what is more is computed in parts


def triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    mining: Mining = "batch_hard",
    margin: float | None = None,
) -> Tensor:
    """Mean cost of the chosen triplets of a batch.

    embeddings: (B, D) unit rows; labels: (B,) integers.
    mining: "batch_hard", every anchor's farthest positive with its nearest negative (Hermans,
      Beyer, Leibe, "In defense of the triplet loss for person re-identification", 2017);
      "batch_all", every triplet of the batch (same paper); "semi_hard", for every anchor and
      positive the nearest negative that is farther than the positive (Schroff, Kalenichenko,
      Philbin, "FaceNet", CVPR 2015; see `semi_hard_gaps`).
    margin: None = the soft margin softplus(gap) = log(1 + e^gap); a number (distances run from
      0 to 2) = the hinge max(0, margin + gap).

    Batch-hard is averaged over its anchors. The other two, with a hinge, are averaged over the
    terms that are not zero: most triplets soon cost nothing and would wash out the rest
    (Hermans et al., section 2). A softplus is never zero, so there the mean is over all.
    Anchors without a positive or without a negative take no part. Returns a scalar; 0 (with a
    gradient of zero) when nothing is left to learn. Raises OptionError for another mining.
    """
    if mining == "batch_hard":
        gaps = hardest_gaps(embeddings, labels)
        return _cost(gaps, margin).mean() if len(gaps) else embeddings.sum() * 0
    if mining == "batch_all":
        return _batch_all(embeddings, labels, margin)
    if mining == "semi_hard":
        return _mean(semi_hard_gaps(embeddings, labels), margin, embeddings)
    raise OptionError(
        f"mining {mining!r} given; expected one of batch_hard, batch_all and semi_hard"
    )


def distances(embeddings: Tensor) -> Tensor:
    """All pairwise Euclidean distances of unit rows: (B, D) → (B, B), 0 to 2, float32.

    The square root has no gradient at zero (a photo met twice in a batch), so rows closer
    than 0.001, where float32 sees rounding alone, are 0 apart and pass no gradient.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        rows = embeddings.float()
        squared = (2 - 2 * rows @ rows.T).clamp(min=0)
        apart = squared > 1e-6
        return torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0)


def hardest_gaps(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Farthest positive minus nearest negative of every anchor that has both: (A,) A ≤ B.

    Below zero means that the anchor is ranked right within the batch.
    """
    distance = distances(embeddings)
    positive, negative = _relations(labels)
    farthest = distance.masked_fill(~positive, -torch.inf).amax(dim=1)
    nearest = distance.masked_fill(~negative, torch.inf).amin(dim=1)
    usable = positive.any(dim=1) & negative.any(dim=1)
    return (farthest - nearest)[usable]


def semi_hard_gaps(embeddings: Tensor, labels: Tensor) -> Tensor:
    """One gap for every anchor and positive, with the nearest negative beyond the positive: (M,).

    These negatives are ranked right, but closely: they teach without the collapse that the
    very hardest can start in a young network (FaceNet, section 3.2). A pair that all
    negatives are nearer than takes the farthest of them, the least hard there is.
    """
    distance = distances(embeddings)
    positive, negative = _relations(labels)
    anchors, positives = (positive & negative.any(dim=1, keepdim=True)).nonzero(as_tuple=True)
    parts = []
    step = _pairs_at_once(len(labels))
    for start in range(0, len(anchors), step):
        anchor, other = anchors[start : start + step], positives[start : start + step]
        near = distance[anchor, other]
        # Which negative is chosen has no gradient: only its distance is kept for backward.
        with torch.no_grad():
            to, among = distance[anchor], negative[anchor]
            beyond = to.masked_fill(~among | (to <= near[:, None]), torch.inf)
            farthest = to.masked_fill(~among, -torch.inf).argmax(dim=1)
            chosen = torch.where(beyond.isinf().all(dim=1), farthest, beyond.argmin(dim=1))
        parts.append(near - distance[anchor, chosen])
    return torch.cat(parts) if parts else distance.new_zeros(0)


def _batch_all(embeddings: Tensor, labels: Tensor, margin: float | None) -> Tensor:
    """Memory: pairs of one landmark × B, not B³; beyond GAPS_AT_ONCE in parts.

    A part is computed a second time for its gradient, so that only one is held at a time.
    """
    distance = distances(embeddings)
    positive, negative = _relations(labels)
    anchors, positives = positive.nonzero(as_tuple=True)
    step = _pairs_at_once(len(labels))
    if len(anchors) <= step:
        total, count = _sum(distance, negative, anchors, positives, margin)
        return total / count.clamp(min=1)
    total, count = distance.new_zeros(()), torch.zeros((), device=distance.device)
    for start in range(0, len(anchors), step):
        part, terms = checkpoint(
            _sum,
            distance,
            negative,
            anchors[start : start + step],
            positives[start : start + step],
            margin,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        total, count = total + part, count + terms
    return total / count.clamp(min=1)


def _sum(
    distance: Tensor, negative: Tensor, anchors: Tensor, positives: Tensor, margin: float | None
) -> tuple[Tensor, Tensor]:
    """Summed cost of these pairs with every negative, and the number of terms that count."""
    gaps = distance[anchors, positives][:, None] - distance[anchors]
    valid = negative[anchors]
    cost = torch.where(valid, _cost(gaps, margin), 0.0)
    return cost.sum(), (valid if margin is None else cost > 0).sum()


def _mean(gaps: Tensor, margin: float | None, embeddings: Tensor) -> Tensor:
    if not len(gaps):
        return embeddings.sum() * 0
    cost = _cost(gaps, margin)
    return cost.mean() if margin is None else cost.sum() / (cost > 0).sum().clamp(min=1)


def _cost(gaps: Tensor, margin: float | None) -> Tensor:
    return functional.softplus(gaps) if margin is None else (gaps + margin).clamp(min=0)


def _relations(labels: Tensor) -> tuple[Tensor, Tensor]:
    """(B, B) each: is it another photo of the same landmark; is it of another landmark."""
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return same & ~itself, ~same


def _pairs_at_once(rows: int) -> int:
    return max(1, GAPS_AT_ONCE // max(1, rows))
