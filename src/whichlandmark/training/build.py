"""Create the network, loss, optimizer and accelerator that a TrainConfig describes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import torch
from accelerate.state import AcceleratorState
from numpy.typing import NDArray
from torch import Tensor, nn

from ..core.json_options import from_json
from ..features.embedders import lite0
from ..features.embedders.record import (
    OWN_WEIGHTS,
    UNKNOWN,
    UNSTATED,
    licence_of,
    read_record,
)
from ..features.embedders.torch_embedder import TorchEmbedder
from ..features.embedders.torch_network import (
    Architecture,
    EmbeddingNet,
    lite0_network,
    new_network,
    pretrained_network,
)
from ..features.preprocessing import Preprocessing, Views
from .config import TrainConfig, settled, start_folder
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
    """The embedder before training.

    Mean and standard deviation of the pixels are those of the weights, unless the config has them.
    An embedder folder also gives its fit and its views.
    """
    config = settled(config)
    assert config.size
    preprocessing, views = Preprocessing(size=config.size), Views()
    if folder := start_folder(config.weights):
        record = read_record(folder)
        views = from_json(Views, record.get("views", {}))
        preprocessing = from_json(Preprocessing, {**record["preprocessing"], "size": config.size})
        net = _network_of_folder(folder, config)
    else:
        net = _new_network(config)
        if config.weights != "random":
            trained_with: Any = net.backbone.pretrained_cfg
            preprocessing = replace(
                preprocessing, mean=tuple(trained_with["mean"]), std=tuple(trained_with["std"])
            )
    preprocessing = replace(
        preprocessing,
        mean=config.mean or preprocessing.mean,
        std=config.std or preprocessing.std,
    )
    return TorchEmbedder(net, preprocessing, device=config.device, views=views)


def _new_network(config: TrainConfig) -> EmbeddingNet:
    if config.weights == lite0.NAME:
        return lite0_network(_architecture(config), seed=config.seed)
    if config.weights == "random":
        return new_network(_architecture(config), seed=config.seed)
    checkpoint = None if config.weights == "hub" else Path(config.weights)
    return pretrained_network(_architecture(config), checkpoint=checkpoint, seed=config.seed)


def _network_of_folder(folder: Path, config: TrainConfig) -> EmbeddingNet:
    """The network of an embedder folder, with a random head on top if the config has a new one."""
    if read_record(folder).get("name") == lite0.NAME:  # it has no weights beside its graph
        return lite0_network(_architecture(config), seed=config.seed)
    old = TorchEmbedder.load(folder, device="cpu").net
    if old.architecture.dim == config.dim:
        return old
    net = new_network(replace(old.architecture, dim=config.dim), seed=config.seed)
    net.load_state_dict(old.state_dict(), strict=False)
    return net


def _architecture(config: TrainConfig) -> Architecture:
    assert config.backbone  # of a settled config
    return Architecture(
        backbone=config.backbone,
        options=config.options,
        dim=config.dim,
        gem_p=config.gem_p,
        pool=config.pool,
    )


def has_new_head(config: TrainConfig) -> bool:
    """Whether a settled config has a linear layer that its weights do not bring."""
    folder = start_folder(config.weights)
    old = read_record(folder).get("architecture", {}).get("dim") if folder else None
    return config.dim is not None and old is None


def start_of(config: TrainConfig) -> str:
    """What a settled config starts from, in words, for the model card and a checkpoint."""
    if config.weights == lite0.NAME:
        return (
            f"EfficientNet-Lite0 of ImageNet ({lite0.PACKAGE}, sha256 {lite0.WEIGHTS_SHA256[:12]}…)"
        )
    if folder := start_folder(config.weights):
        return f"embedder {read_record(folder).get('id')}"
    return config.weights


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
    if config.weights == lite0.NAME:
        return "apache-2.0"
    folder = start_folder(config.weights)
    return licence_of(folder) if folder else UNSTATED
