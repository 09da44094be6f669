"""Create the network, loss, optimizer and accelerator that a TrainConfig describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import torch
from accelerate.state import AcceleratorState
from numpy.typing import NDArray
from torch import Tensor, nn

from ..features.embedders.record import (
    OWN_WEIGHTS,
    RECORD_FILE,
    UNKNOWN,
    UNSTATED,
    licence_of,
)
from ..features.embedders.torch_embedder import TorchEmbedder
from ..features.embedders.torch_network import (
    Architecture,
    EmbeddingNet,
    new_network,
    pretrained_network,
)
from ..features.preprocessing import Preprocessing
from .config import TrainConfig
from .losses import ArcFace, class_weights, dynamic_margins, triplet_loss
from .optimizer import new_optimizer, parameter_groups

PRECISIONS = {"float32": "no", "bf16": "bf16", "fp16": "fp16"}


def new_accelerator(config: TrainConfig, device: torch.device) -> accelerate.Accelerator:
    """An Accelerator for devices, processes and mixed precision.

    Accelerate's global state is reset first, so that a second run in one process can have other
    settings.
    """
    AcceleratorState._reset_state()
    return accelerate.Accelerator(
        mixed_precision=PRECISIONS[config.precision], cpu=device.type == "cpu"
    )


def new_embedder(config: TrainConfig) -> TorchEmbedder:
    """The embedder before training."""
    preprocessing = Preprocessing(size=config.size, mean=config.mean, std=config.std)
    return TorchEmbedder(_new_network(config), preprocessing, device=config.device)


def _new_network(config: TrainConfig) -> EmbeddingNet:
    architecture = Architecture(
        backbone=config.backbone, options=config.options, dim=config.dim, gem_p=config.gem_p
    )
    if config.weights == "random":
        return new_network(architecture, seed=config.seed)
    checkpoint = None if config.weights == "hub" else Path(config.weights)
    return pretrained_network(architecture, checkpoint=checkpoint, seed=config.seed)


class Criterion(nn.Module):
    """The configured loss: (B, D) unit rows and (B,) landmark codes → scalar.

    Triplets, ArcFace, or their sum. ArcFace has trained parameters. The sum is useful because
    hard-negative mining alone stalls from random weights.
    """

    def __init__(self, config: TrainConfig, arcface: ArcFace | None) -> None:
        super().__init__()
        self.config, self.arcface = config, arcface

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        loss = embeddings.new_zeros(())
        if self.config.loss != "arcface":
            loss = loss + triplet_loss(
                embeddings, labels, mining=self.config.mining, margin=self.config.margin
            )
        if self.arcface is not None:
            loss = loss + self.arcface(embeddings, labels)
        return loss


def new_criterion(config: TrainConfig, dim: int, codes: NDArray[np.int64]) -> Criterion:
    """The configured loss; ArcFace starts from random directions that depend only on the seed.

    dim: of the embeddings. codes: (N,) landmark of each training photo.
    """
    if config.loss == "triplet":
        return Criterion(config, None)
    counts = np.bincount(codes)
    margin = dynamic_margins(counts) if config.dynamic_margin else config.arcface_margin
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + 1)
        arcface = ArcFace(
            dim,
            len(counts),
            scale=config.arcface_scale,
            margin=margin,
            centres=config.arcface_centres,
            weights=class_weights(counts) if config.class_weights else None,
        )
    return Criterion(config, arcface)


def optimizer_of(
    net: EmbeddingNet, criterion: Criterion, config: TrainConfig
) -> torch.optim.Optimizer:
    """The optimizer of all trained parameters, with a separate learning rate for the backbone."""
    groups = parameter_groups(
        nn.ModuleList([net, criterion]),
        net.backbone,
        lr=config.lr,
        backbone_lr=config.backbone_lr,
        weight_decay=config.weight_decay,
    )
    return new_optimizer(groups, config.optimizer, lr=config.lr, momentum=config.momentum)


def licence_of_start(config: TrainConfig, net: EmbeddingNet) -> str:
    """The licence of the weights that a run starts from, which holds for what it trains too."""
    if config.weights == "random":
        return OWN_WEIGHTS
    if config.weights == "hub":
        described: Any = net.backbone.pretrained_cfg
        return str(described.get("license") or UNKNOWN)
    if config.weights == "lite0":
        return "apache-2.0"
    folder = Path(config.weights)
    return licence_of(folder) if (folder / RECORD_FILE).is_file() else UNSTATED
