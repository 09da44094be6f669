"""TrainConfig, and the parts that it describes: network, loss, optimizer, learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from .net.embedder import NetEmbedder
from .net.losses import ArcFace
from .net.network import Architecture, EmbeddingNet, new_network, pretrained_network
from .preprocessing import Preprocessing


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Flat; JSON in and out. The defaults fit a laptop; docs/training.md has the full-size ones."""

    backbone: str = "resnet10t"  # any timm name
    options: dict[str, Any] = field(default_factory=dict)  # for timm.create_model
    weights: str = "random"  # "random", "hub" (downloads), or a checkpoint file
    dim: int = 256  # length of an embedding
    gem_p: float = 3.0  # start of GeM's exponent
    size: int = 256  # long side of a photo when it is embedded
    crop: int = 224  # side of the training crops
    least_area: float = 0.3  # smallest crop, as a share of the photo
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of the backbone's pixels
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    epochs: int = 4
    landmarks_per_batch: int = 12  # P
    photos_per_landmark: int = 8  # K
    subspaces: int = 20  # groups of look-alike landmarks
    loss: Literal["triplet", "arcface", "both"] = "triplet"  # "both" = their sum
    arcface_scale: float = 16.0
    arcface_margin: float = 0.1  # radians
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 1e-3
    momentum: float = 0.9  # of SGD
    weight_decay: float = 1e-4
    warmup: float = 0.05  # share of all steps with a rising lr; a cosine to zero follows
    accumulate: int = 1  # batches per step of the optimizer
    validation: float = 0.1  # share of each landmark's photos kept for validation
    checkpoint_every: int = 100  # steps of the optimizer between checkpoints
    device: str = "auto"
    workers: int = 2  # processes that decode and augment
    seed: int = 0


def new_embedder(config: TrainConfig) -> NetEmbedder:
    """The embedder that training starts from: what it gains is measured against this."""
    preprocessing = Preprocessing(size=config.size, mean=config.mean, std=config.std)
    return NetEmbedder(_network(config), preprocessing, device=config.device)


def _network(config: TrainConfig) -> EmbeddingNet:
    architecture = Architecture(
        backbone=config.backbone, options=config.options, dim=config.dim, gem_p=config.gem_p
    )
    if config.weights == "random":
        return new_network(architecture, seed=config.seed)
    checkpoint = None if config.weights == "hub" else Path(config.weights)
    return pretrained_network(architecture, checkpoint=checkpoint, seed=config.seed)


def new_arcface(config: TrainConfig, landmarks: int) -> ArcFace:
    """The classification loss, with random directions: the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed + 1)
        return ArcFace(
            config.dim, landmarks, scale=config.arcface_scale, margin=config.arcface_margin
        )


def new_optimizer(trained: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Over everything that is trained."""
    if config.optimizer == "adamw":
        return torch.optim.AdamW(trained.parameters(), config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        trained.parameters(), config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )


def schedule(done: float, warmup: float) -> float:
    """Share of the full learning rate after a share `done` of the run."""
    if done < warmup:
        return max(done / warmup, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))
