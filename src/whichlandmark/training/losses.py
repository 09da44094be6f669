"""Losses of training: sub-centre ArcFace, and triplet losses with three kinds of mining."""

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

Mining = Literal["batch_hard", "batch_all", "semi_hard"]

MAX_GAPS_PER_PART = 2**24  # in one tensor (64 MiB); larger batches are computed in parts


class ArcFace(nn.Module):
    """Additive angular margin loss over all landmarks, with sub-centres.

    Deng et al., "ArcFace: additive angular margin loss for deep face recognition", CVPR 2019:
    cross-entropy of scale · cos(θ_c + margin · [c is true]), where θ_c is the angle to a trained
    direction of landmark c. If θ + margin exceeds π, cos θ − margin · sin margin is used, which
    keeps decreasing (as in the authors' code). margin 0 is the normalised softmax.

    Computed in float32 even inside autocast. Margins and weights depend only on the training
    photos, so they are not saved in the state_dict.

    Args:
        dim: Of the embeddings.
        landmarks: Number of landmarks.
        scale: Above 0.
        margin: Radians, 0 to below π/2; one for all, or (landmarks,), see `dynamic_margins`.
        centres: Directions per landmark, of which the nearest counts (Deng et al., "Sub-center
            ArcFace", ECCV 2020), so that, for example, exterior and interior can differ.
        weights: (landmarks,) factors of the loss of each photo, see `class_weights`; None = 1.

    Raises:
        OptionError: For values out of these ranges.
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
        margins = _check_per_landmark(
            margins.expand(landmarks) if margins.ndim == 0 else margins, landmarks, "margins"
        )
        self.register_buffer("margins", margins.clone(), persistent=False)
        if weights is not None:
            weights = _check_per_landmark(weights.float(), landmarks, "weights").clone()
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B, D) unit rows, (B,) landmark codes → scalar, the mean over the rows."""
        with torch.autocast(embeddings.device.type, enabled=False):
            logits = self.scale * self._with_margin(self.cosines(embeddings), labels)
            losses = functional.cross_entropy(logits, labels, reduction="none")
            # Not cross_entropy(weight=…), because it divides by the sum of the batch's weights, so
            # that they have no effect in a batch of equally frequent landmarks.
            return (losses if self.weights is None else losses * self.weights[labels]).mean()

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Cosine of each row with the nearest centre of each landmark: (B, D) → (B, landmarks)."""
        directions = functional.normalize(self.directions.float(), dim=1)
        cosine = embeddings.float() @ directions.T
        if self.centres == 1:
            return cosine
        return cosine.reshape(len(cosine), -1, self.centres).amax(dim=2)

    def _with_margin(self, cosine: Tensor, labels: Tensor) -> Tensor:
        """The cosines, with the margin added to the angle of the true landmark."""
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
    The rarest landmark gets `high`, the most frequent `low`. If all are equally frequent, the
    formula is undefined and each gets (low + high) / 2.
    Raises DataError for a landmark without photos, OptionError for low > high.
    """
    if not 0 <= low <= high < math.pi / 2:
        raise OptionError(
            f"dynamic margins from {low} to {high} given; expected 0 ≤ low ≤ high < π/2 radians"
        )
    t = _checked_counts(counts) ** power
    span = t.max() - t.min()
    share = (t - t.min()) / span if span > 0 else np.full_like(t, 0.5)
    return torch.from_numpy(low + (high - low) * share).float()


def class_weights(counts: Counts) -> Tensor:
    """Weights 1 / log(1 + n), larger for rarer landmarks: (C,) counts → (C,).

    Scaled to a mean of 1 over all *photos* (not landmarks), because photos are sampled about
    equally often; the weights then do not change the size of the loss and of the learning rate.
    Raises DataError for a landmark without photos.
    """
    n = _checked_counts(counts)
    weights = 1 / np.log1p(n)
    return torch.from_numpy(weights * n.sum() / (weights * n).sum()).float()


def _checked_counts(counts: Counts) -> NDArray[np.float64]:
    if len(counts) == 0 or counts.min() < 1:
        empty = np.flatnonzero(np.asarray(counts) < 1)
        raise DataError(
            f"photo counts of {len(counts)} landmarks given, {len(empty)} of them without a photo "
            f"(first: {empty[:3].tolist()}); expected at least 1 each; leave those landmarks out"
        )
    return np.asarray(counts, dtype=np.float64)


def _check_per_landmark(values: Tensor, landmarks: int, name: str) -> Tensor:
    if values.shape != (landmarks,):
        raise OptionError(
            f"ArcFace {name} of shape {tuple(values.shape)} given for {landmarks} landmarks; "
            "expected one each"
        )
    return values


def triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    mining: Mining = "batch_hard",
    margin: float | None = None,
) -> Tensor:
    """Mean loss of the selected triplets of a batch.

    The gap of a triplet is distance(anchor, positive) − distance(anchor, negative). Batch-hard is
    averaged over its anchors. The others, with a hinge, are averaged over the nonzero terms,
    because most terms soon become zero and would dominate the mean (Hermans et al., section 2); a
    softplus is never zero, so its mean is over all terms. Anchors without a positive or without a
    negative are ignored.

    Args:
        embeddings: (B, D) unit rows.
        labels: (B,) integers.
        mining: "batch_hard": the farthest positive and nearest negative of every anchor (Hermans,
            Beyer, Leibe, "In defense of the triplet loss for person re-identification", 2017).
            "batch_all": every triplet of the batch (same paper). "semi_hard": for every anchor and
            positive, the nearest negative that is farther than the positive (Schroff,
            Kalenichenko, Philbin, "FaceNet", CVPR 2015; see `semi_hard_gaps`).
        margin: None = soft margin, softplus(gap) = log(1 + e^gap); a number = hinge,
            max(0, margin + gap). Distances range from 0 to 2.

    Returns:
        A scalar; 0, with zero gradient, when there are no triplets or none costs anything.

    Raises:
        OptionError: For an unknown mining.
    """
    if mining == "batch_hard":
        gaps = hardest_gaps(embeddings, labels)
        return _cost(gaps, margin).mean() if len(gaps) else embeddings.sum() * 0
    if mining == "batch_all":
        return _batch_all(embeddings, labels, margin)
    if mining == "semi_hard":
        gaps = semi_hard_gaps(embeddings, labels)
        if not len(gaps):
            return embeddings.sum() * 0
        cost = _cost(gaps, margin)
        return cost.mean() if margin is None else cost.sum() / (cost > 0).sum().clamp(min=1)
    raise OptionError(
        f"mining {mining!r} given; expected one of batch_hard, batch_all and semi_hard"
    )


def distances(embeddings: Tensor) -> Tensor:
    """All pairwise Euclidean distances of unit rows: (B, D) → (B, B), 0 to 2, float32.

    The square root has no finite gradient at zero (a photo that occurs twice in a batch), so
    distances below 0.001, which are mere rounding in float32, are 0 with zero gradient.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        rows = embeddings.float()
        squared = (2 - 2 * rows @ rows.T).clamp(min=0)
        apart = squared > 1e-6
        return torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0)


def hardest_gaps(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Farthest positive minus nearest negative of every anchor that has both: (A,) A ≤ B.

    Negative if the anchor is ranked correctly within the batch.
    """
    distance = distances(embeddings)
    positive, negative = _positive_and_negative_masks(labels)
    farthest = distance.masked_fill(~positive, -torch.inf).amax(dim=1)
    nearest = distance.masked_fill(~negative, torch.inf).amin(dim=1)
    usable = positive.any(dim=1) & negative.any(dim=1)
    return (farthest - nearest)[usable]


def semi_hard_gaps(embeddings: Tensor, labels: Tensor) -> Tensor:
    """One gap per anchor and positive, with the nearest negative that is farther: (M,).

    Such negatives avoid the collapse that the hardest negatives can cause early in training
    (FaceNet, section 3.2). If all negatives are nearer than the positive, the farthest one is used,
    because it is the least hard.
    """
    distance = distances(embeddings)
    positive, negative = _positive_and_negative_masks(labels)
    anchors, positives = (positive & negative.any(dim=1, keepdim=True)).nonzero(as_tuple=True)
    parts = []
    step = _pairs_per_part(len(labels))
    for start in range(0, len(anchors), step):
        anchor, other = anchors[start : start + step], positives[start : start + step]
        to_positive = distance[anchor, other]
        # The choice of the negative has no gradient, so only its distance is kept for backward.
        with torch.no_grad():
            to_all, is_negative = distance[anchor], negative[anchor]
            too_near = ~is_negative | (to_all <= to_positive[:, None])
            beyond = to_all.masked_fill(too_near, torch.inf)
            farthest = to_all.masked_fill(~is_negative, -torch.inf).argmax(dim=1)
            chosen = torch.where(beyond.isinf().all(dim=1), farthest, beyond.argmin(dim=1))
        parts.append(to_positive - distance[anchor, chosen])
    return torch.cat(parts) if parts else distance.new_zeros(0)


def _batch_all(embeddings: Tensor, labels: Tensor, margin: float | None) -> Tensor:
    """Mean loss of all triplets of a batch.

    Memory is (anchor, positive) pairs × B, not B³. Batches with more than MAX_GAPS_PER_PART gaps
    are computed in parts, each recomputed for its gradient, so that one part at a time is held.
    """
    distance = distances(embeddings)
    positive, negative = _positive_and_negative_masks(labels)
    anchors, positives = positive.nonzero(as_tuple=True)
    step = _pairs_per_part(len(labels))
    if len(anchors) <= step:
        total, count = _summed_cost(distance, negative, anchors, positives, margin)
        return total / count.clamp(min=1)
    total, count = distance.new_zeros(()), torch.zeros((), device=distance.device)
    for start in range(0, len(anchors), step):
        part, terms = checkpoint(
            _summed_cost,
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


def _summed_cost(
    distance: Tensor, negative: Tensor, anchors: Tensor, positives: Tensor, margin: float | None
) -> tuple[Tensor, Tensor]:
    """Sum of the costs of these pairs with every negative, and the number of terms to average."""
    gaps = distance[anchors, positives][:, None] - distance[anchors]
    valid = negative[anchors]
    cost = torch.where(valid, _cost(gaps, margin), 0.0)
    return cost.sum(), (valid if margin is None else cost > 0).sum()


def _cost(gaps: Tensor, margin: float | None) -> Tensor:
    return functional.softplus(gaps) if margin is None else (gaps + margin).clamp(min=0)


def _positive_and_negative_masks(labels: Tensor) -> tuple[Tensor, Tensor]:
    """(B, B) masks: another photo of the same landmark; a photo of another landmark."""
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return same & ~itself, ~same


def _pairs_per_part(rows: int) -> int:
    return max(1, MAX_GAPS_PER_PART // max(1, rows))
