"""ArcFace over all landmarks: sub-centres, a margin for each landmark, weights for rare ones."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..errors import DataError, OptionError

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
