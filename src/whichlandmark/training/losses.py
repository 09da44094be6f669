"""Triplet losses, sub-centre ArcFace."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ..core.errors import DataError, OptionError

Counts = NDArray[np.int64]  # (C,) photos of each landmark, all at least 1


class ArcFace(nn.Module):
    """Additive angular margin over all landmarks.

    Deng et al., "ArcFace: additive angular margin loss for deep face recognition", CVPR 2019:
    cross-entropy of scale · cos(θ_c + margin · [c is true]), θ_c the angle to a trained
    direction of each landmark. Where θ + margin would pass π, the cosine is continued by
    cos θ − margin · sin margin, so that it keeps falling (as its authors' code has it).
    margin 0 is the normalised softmax.

    scale: above 0. margin: radians, 0 to π/2; one for all, or (landmarks,) as from
      `dynamic_margins`.
    centres: directions of each landmark, of which the nearest counts (Deng et al., "Sub-center
      ArcFace", ECCV 2020): front, back, inside and wrong photos need not share one.
    weights: (landmarks,) as from `class_weights`, times the loss of each photo; None = all 1.
    Margins and weights follow from the photos, so they are not saved with the directions.
    Computes in float32 whatever autocast does around it. Raises OptionError for values out of
    these ranges.
    """

    margins: Tensor
    weights: Tensor | None

    def __init__(
        self,
        dim: int,
        landmarks: int,
        *,
        scale: float,
        margin: float | Tensor,
        centres: int = 1,
        weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        if centres < 1 or scale <= 0:
            raise OptionError(
                f"ArcFace with {centres} centres and scale {scale} given; "
                "expected 1 centre or more and a scale above 0"
            )
        self.directions = nn.Parameter(torch.randn(landmarks * centres, dim) / math.sqrt(dim))
        self.scale, self.centres = scale, centres
        margins = torch.as_tensor(margin, dtype=torch.float32)
        if not bool(((margins >= 0) & (margins < math.pi / 2)).all()):
            raise OptionError(f"ArcFace margin {margin} given; expected radians from 0 to π/2")
        margins = _per_landmark(
            margins.expand(landmarks) if margins.ndim == 0 else margins, landmarks, "margins"
        )
        self.register_buffer("margins", margins.clone(), persistent=False)
        if weights is not None:
            weights = _per_landmark(weights.float(), landmarks, "weights").clone()
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B, D) unit rows, (B,) landmark codes → scalar, the mean over the rows."""
        with torch.autocast(embeddings.device.type, enabled=False):
            logits = self.scale * self._turned(self.cosines(embeddings), labels)
            losses = functional.cross_entropy(logits, labels, reduction="none")
            # Not cross_entropy's own weighted mean: it divides by the batch's weights, and a
            # batch of landmarks that are equally frequent would not feel them at all.
            return (losses if self.weights is None else losses * self.weights[labels]).mean()

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Cosine of each row with the nearest centre of each landmark: (B, D) → (B, landmarks)."""
        directions = functional.normalize(self.directions.float(), dim=1)
        cosine = embeddings.float() @ directions.T
        if self.centres == 1:
            return cosine
        return cosine.reshape(len(cosine), -1, self.centres).amax(dim=2)

    def _turned(self, cosine: Tensor, labels: Tensor) -> Tensor:
        """The cosines with the true one's angle grown by its margin."""
        margin = self.margins[labels][:, None]
        true = cosine.gather(1, labels[:, None])
        sine = (1 - true.square()).clamp(min=1e-7).sqrt()
        turned = true * margin.cos() - sine * margin.sin()
        beyond = true <= (math.pi - margin).cos()
        turned = torch.where(beyond, true - margin * margin.sin(), turned)
        return cosine.scatter(1, labels[:, None], turned)


def dynamic_margins(
    counts: Counts, *, low: float = 0.05, high: float = 0.5, power: float = -0.25
) -> Tensor:
    """Margins that are larger for rarer landmarks: (C,) counts → (C,) radians, low to high.

    Ha et al., "Google Landmark Recognition 2020 Competition Third Place Solution",
    arXiv:2010.05350: with t = n^power, low + (high − low) · (t − min t) / (max t − min t).
    The rarest landmark gets `high`, the most frequent `low`; when all are equally frequent
    the formula has no value, and each gets the middle.
    Raises DataError for a landmark without photos, OptionError for low > high.
    """
    if not 0 <= low <= high < math.pi / 2:
        raise OptionError(
            f"dynamic margins from {low} to {high} given; expected 0 ≤ low ≤ high < π/2 radians"
        )
    t = _positive(counts) ** power
    span = t.max() - t.min()
    share = (t - t.min()) / span if span > 0 else np.full_like(t, 0.5)
    return torch.from_numpy(low + (high - low) * share).float()


def class_weights(counts: Counts) -> Tensor:
    """Weights 1 / log(1 + n) that let rare landmarks count more: (C,) counts → (C,).

    Scaled so that their mean over all *photos* is 1: every photo is seen about equally often,
    so the loss, and with it the learning rate, keeps its size.
    Raises DataError for a landmark without photos.
    """
    n = _positive(counts)
    weights = 1 / np.log1p(n)
    return torch.from_numpy(weights * n.sum() / (weights * n).sum()).float()


def _positive(counts: Counts) -> NDArray[np.float64]:
    if len(counts) == 0 or counts.min() < 1:
        empty = np.flatnonzero(np.asarray(counts) < 1)
        raise DataError(
            f"photo counts of {len(counts)} landmarks given, {len(empty)} of them without a photo "
            f"(first: {empty[:3].tolist()}); expected at least 1 each; leave those landmarks out"
        )
    return np.asarray(counts, dtype=np.float64)


def _per_landmark(values: Tensor, landmarks: int, name: str) -> Tensor:
    if values.shape != (landmarks,):
        raise OptionError(
            f"ArcFace {name} of shape {tuple(values.shape)} given for {landmarks} landmarks; "
            "expected one each"
        )
    return values


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
