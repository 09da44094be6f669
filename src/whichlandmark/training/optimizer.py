"""Optimizer, parameter groups, frozen stages, learning rate schedule, average of the weights."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..core.errors import OptionError

Tensors = tuple[Tensor, ...] | list[Tensor]


def new_average(net: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of a network's weights: w̄ ← d·w̄ + (1 − d)·w per update.

    Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", 1992, with
    exponential weights over about the last 1 / (1 − decay) updates. At update t, d is the minimum
    of `decay` and (1 + t) / (10 + t), so that the initial weights do not dominate short runs.
    Buffers (BatchNorm's statistics) are copied, not averaged.

    Call `.update_parameters(net)` after each step of the optimizer; `.module` is the averaged
    network; `.state_dict()` includes the number of updates.
    net: without wrappers for distributed training. decay: 0 to below 1, usually 0.99 to 0.9999.
    Raises OptionError outside this range.
    """
    if not 0 <= decay < 1:
        raise OptionError(f"EMA decay {decay} given; expected 0 to below 1, such as 0.999")

    def average(averaged: Tensors, current: Tensors, updates: Tensor | int) -> None:
        t = int(updates)
        step = get_ema_multi_avg_fn(min(decay, (1 + t) / (10 + t)))  # type: ignore[no-untyped-call]
        step(averaged, current, t)

    model = AveragedModel(net, multi_avg_fn=average)
    model.requires_grad_(False)
    return model


def freeze(backbone: nn.Module, stages: int) -> None:
    """Freeze the weights of the first stages of a timm backbone.

    stages: number of stages; 0 = none, -1 = the whole backbone. Stages are timm's coarse groups in
      the order of the forward pass, starting with the stem: 5 in a ResNet (stem, layer1 to
      layer4), the stem and each block in a ViT.
    Call it before `parameter_groups`, and use `train_mode` instead of `.train()`.
    Raises OptionError when there are fewer stages.
    """
    backbone.requires_grad_(stages >= 0)
    if stages in (0, -1):
        return
    matcher = backbone.group_matcher(coarse=True)  # type: ignore[operator]
    names_by_stage: dict[int, list[str]] = group_parameters(backbone, matcher)
    count = len(names_by_stage)
    if not 0 < stages <= count:
        raise OptionError(
            f"{stages} frozen stages given; this backbone has {count}, counting "
            f"the stem; expected 0 to {count}, or -1 for all"
        )
    frozen = {name for stage in sorted(names_by_stage)[:stages] for name in names_by_stage[stage]}
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name not in frozen)


def train_mode(net: nn.Module, *, frozen_statistics: bool = False) -> None:
    """Put a network in train mode, except its frozen parts.

    A module whose weights are all frozen stays in eval mode, so its BatchNorms keep their
    statistics and its dropout is off.
    frozen_statistics: BatchNorms with trained weights keep their statistics, too; for batches too
      small to estimate them, and for exact cached gradients.
    """
    net.train()
    for module in net.modules():
        weights = list(module.parameters())
        frozen = bool(weights) and not any(weight.requires_grad for weight in weights)
        if frozen or (frozen_statistics and isinstance(module, _BatchNorm)):
            module.eval()


def parameter_groups(
    trained: nn.Module, backbone: nn.Module, *, lr: float, backbone_lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Group parameters by learning rate and weight decay, for a torch optimizer.

    trained: network and ArcFace. backbone: its part with learning rate lr · backbone_lr; head,
      pooling and ArcFace have learning rate lr.
    weight_decay: of matrices and kernels. Biases, norms, GeM's exponent and the parameters that the
      backbone excludes (position embeddings) have none, because they do not overfit, and pulling a
      norm's gain or an exponent towards 0 makes no sense.
    Frozen parameters are in no group. Each group stores its factor as `lr_scale` for `set_lr`.
    """
    backbone_ids = {id(parameter) for parameter in backbone.parameters()}
    listed = getattr(backbone, "no_weight_decay", None)
    names = listed() if listed is not None else ()
    undecayed = {id(p) for name, p in backbone.named_parameters() if name in names}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in trained.parameters():
        if not parameter.requires_grad:
            continue
        scale = backbone_lr if id(parameter) in backbone_ids else 1.0
        decay = 0.0 if parameter.ndim <= 1 or id(parameter) in undecayed else weight_decay
        groups.setdefault((scale, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": lr * scale, "lr_scale": scale, "weight_decay": decay}
        for (scale, decay), parameters in groups.items()
    ]


def new_optimizer(
    groups: list[dict[str, Any]], kind: Literal["sgd", "adamw"], *, lr: float, momentum: float
) -> torch.optim.Optimizer:
    """An optimizer of `parameter_groups`. momentum: of SGD. Raises OptionError for another kind."""
    if kind == "adamw":
        return torch.optim.AdamW(groups, lr)
    if kind == "sgd":
        return torch.optim.SGD(groups, lr, momentum=momentum)
    raise OptionError(f"optimizer {kind!r} given; expected sgd or adamw")


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group to `lr` times its `lr_scale`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def schedule(done: float, warmup: float) -> float:
    """The factor of the learning rate after a share `done` of the run: linear warmup, then cosine.

    Loshchilov, Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017, without
    restarts. done, warmup: 0 to 1. At least 0.01 during warmup, so that the first step has an
    effect.
    """
    if done < warmup:
        return max(done / warmup, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / max(1 - warmup, 1e-12)))
