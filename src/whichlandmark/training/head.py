"""Start the head from what the initial weights already tell apart, instead of at random.

The linear layer becomes the learned whitening of the pooled features of the training photos
(Radenović, Tolias, Chum, TPAMI 2019), and ArcFace's directions the landmarks' centres. Training
then improves an embedder that is good from its first step.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..core.types import Floats, Rows, Vectors
from ..features.embedders.torch_network import EmbeddingNet, Pooling
from .losses import ArcFace
from .samplers import class_centres

SHRINKAGE = 0.1  # share of the mean variance that is added to every axis'


class PooledNet(Pooling):
    """A network without its head, in the shape of one: (N, 3, H, W) → (N, C) pooled features."""

    def __init__(self, net: EmbeddingNet) -> None:
        super().__init__(net)
        assert isinstance(net.head, nn.Sequential)
        assert isinstance(net.head[0], nn.Linear)
        self.architecture, self.dim = net.architecture, net.head[0].in_features

    @classmethod
    def of(cls, net: EmbeddingNet) -> EmbeddingNet:
        """The network as TorchEmbedder takes it."""
        return cast(EmbeddingNet, cls(net))


def whiten_head(net: EmbeddingNet, pooled: Vectors, codes: Rows) -> Vectors:
    """Set linear layer and BatchNorm so that they whiten; returns the (N, dim) unit rows.

    The BatchNorm becomes a shift and a scale; keep it in eval mode when training. A head stays as
    it is when no two photos of a landmark differ.
    pooled: (N, C) features of the training photos. codes: (N,) their landmarks, from 0.
    """
    assert isinstance(net.head, nn.Sequential)
    linear, norm = net.head
    assert isinstance(linear, nn.Linear)
    assert isinstance(norm, nn.BatchNorm1d)
    axes, mean = discriminant_axes(pooled, codes, linear.out_features)
    if len(axes):
        outputs = (pooled - mean) @ axes.T
        variance = np.zeros(linear.out_features)
        variance[: len(axes)] = outputs.var(axis=0)
        rows = np.zeros(linear.weight.shape)
        rows[: len(axes)] = axes
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(rows))
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.copy_(torch.from_numpy(rows @ mean))
            norm.running_var.copy_(torch.from_numpy(variance))
            norm.weight.copy_(torch.from_numpy(np.sqrt(variance + norm.eps)))
            norm.bias.zero_()
    training = net.training
    with torch.no_grad():
        given = torch.from_numpy(pooled).to(linear.weight.device)
        rows_out: Vectors = net.eval().embed_pooled(given).cpu().numpy()
    net.train(training)
    return rows_out


def discriminant_axes(pooled: NDArray[np.float32], codes: Rows, dim: int) -> tuple[Floats, Floats]:
    """Axes (d, C) and mean (C,): whiten within landmarks, then take the principal axes.

    d is `dim`, or C when that is less; 0 when no two photos of a landmark differ.
    """
    rows = np.asarray(pooled, dtype=np.float64)
    mean = rows.mean(axis=0)
    counts = np.bincount(codes)
    sums = np.zeros((len(counts), rows.shape[1]))
    np.add.at(sums, codes, rows)
    apart = rows - (sums / np.maximum(counts, 1)[:, None])[codes]
    within = apart.T @ apart / len(rows)
    share = float(np.trace(within)) / len(within)
    if not share > 1e-12:
        return np.zeros((0, rows.shape[1])), mean
    values, vectors = np.linalg.eigh(within + SHRINKAGE * share * np.eye(len(within)))
    whitening = vectors / np.sqrt(values)
    total = whitening.T @ np.cov(rows.T, bias=True) @ whitening
    _, principal = np.linalg.eigh(total)
    return (whitening @ principal[:, ::-1][:, :dim]).T, mean


def centre_arcface(arcface: ArcFace, vectors: Vectors, codes: Rows) -> None:
    """Set ArcFace's directions to the landmarks' centres; further ones of a landmark, near them.

    vectors: (N, dim) unit rows of the training photos. codes: (N,) their landmarks, from 0.
    """
    count = len(arcface.directions) // arcface.centres
    centres = torch.from_numpy(class_centres(vectors, codes, count))
    with torch.no_grad():
        spread = arcface.directions.cpu() * (0.1 if arcface.centres > 1 else 0.0)
        arcface.directions.copy_(centres.repeat_interleave(arcface.centres, dim=0) + spread)
