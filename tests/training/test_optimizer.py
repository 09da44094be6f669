"""Freezing, parameter groups, schedule and moving average against hand computations."""

from __future__ import annotations

import io
import math

import pytest
import torch
from torch import Tensor, nn

from whichlandmark.core.errors import OptionError
from whichlandmark.features.embedders.torch_network import Architecture, EmbeddingNet, new_network
from whichlandmark.training.losses import ArcFace
from whichlandmark.training.optimizer import (
    freeze,
    new_average,
    new_optimizer,
    parameter_groups,
    schedule,
    set_lr,
    train_mode,
)


def net_of(backbone: str = "test_resnet", **options: object) -> EmbeddingNet:
    return new_network(Architecture(backbone=backbone, dim=8, options=dict(options)))


def trained(net: EmbeddingNet) -> nn.ModuleDict:
    return nn.ModuleDict({"net": net, "arcface": ArcFace(8, 3, scale=8.0, margin=0.1)})


def of_groups(module: nn.Module, groups: list[dict]) -> dict[str, tuple[float, float]]:
    """Name → (lr, weight decay)."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in groups
        for p in group["params"]
    }


def test_layerwise_learning_rates() -> None:
    net = net_of()
    whole = trained(net)
    groups = parameter_groups(whole, net.backbone, lr=0.1, backbone_lr=0.2, weight_decay=0.01)
    rates = of_groups(whole, groups)
    assert sum(len(group["params"]) for group in groups) == len(list(whole.parameters()))
    for name, parameter in whole.named_parameters():
        lr, decay = rates[name]
        assert lr == pytest.approx(0.02 if name.startswith("net.backbone.") else 0.1), name
        assert decay == (0.01 if parameter.ndim > 1 else 0.0), name
    assert rates["net.pool.p"] == (0.1, 0.0)
    assert rates["net.head.0.weight"] == (0.1, 0.01)
    assert rates["net.head.1.weight"] == (0.1, 0.0)  # BatchNorm's gain
    assert rates["arcface.directions"] == (0.1, 0.01)
    assert len(groups) == 4


def test_parameters_a_backbone_excludes_get_no_weight_decay() -> None:
    net = net_of("test_vit")
    groups = parameter_groups(net, net.backbone, lr=0.1, backbone_lr=1.0, weight_decay=0.01)
    rates = of_groups(net, groups)
    assert net.backbone.pos_embed.ndim == 3
    assert rates["backbone.pos_embed"][1] == 0.0
    assert rates["backbone.blocks.0.attn.qkv.weight"][1] == 0.01
    assert len(groups) == 2  # one learning rate, with and without weight decay


def test_an_sgd_step_matches_a_hand_computation() -> None:
    net = net_of()
    groups = parameter_groups(net, net.backbone, lr=0.1, backbone_lr=0.5, weight_decay=0.01)
    optimizer = new_optimizer(groups, "sgd", lr=0.1, momentum=0.9)
    set_lr(optimizer, 0.04)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    after = dict(net.named_parameters())
    kernel, head, p = "backbone.conv1.weight", "head.0.weight", "pool.p"
    kernel = kernel if kernel in before else next(k for k in before if before[k].ndim == 4)
    assert torch.allclose(after[kernel], before[kernel] - 0.02 * (1 + 0.01 * before[kernel]))
    assert torch.allclose(after[head], before[head] - 0.04 * (1 + 0.01 * before[head]))
    assert float(after[p].detach()) == pytest.approx(float(before[p]) - 0.04)


def test_kinds_of_optimizer() -> None:
    net = net_of()
    groups = parameter_groups(net, net.backbone, lr=0.1, backbone_lr=0.5, weight_decay=0.01)
    adamw = new_optimizer(groups, "adamw", lr=0.1, momentum=0.9)
    assert isinstance(adamw, torch.optim.AdamW)
    assert {group["lr"] for group in adamw.param_groups} == {0.05, 0.1}
    file = io.BytesIO()
    torch.save(adamw.state_dict(), file)
    file.seek(0)
    adamw.load_state_dict(torch.load(file, weights_only=True))
    set_lr(adamw, 1.0)
    assert {group["lr"] for group in adamw.param_groups} == {0.5, 1.0}
    with pytest.raises(OptionError, match="'adam' given; expected sgd or adamw"):
        new_optimizer(groups, "adam", lr=0.1, momentum=0.9)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("backbone", "stages", "frozen", "learning"),
    [
        ("resnet10t", 1, ("conv1", "bn1"), ("layer1", "layer2", "layer3", "layer4")),
        ("resnet10t", 3, ("conv1", "bn1", "layer1", "layer2"), ("layer3", "layer4")),
        ("test_vit", 2, ("patch_embed", "pos_embed", "cls_token", "blocks.0"), ("blocks.1",)),
        ("test_convnext", 2, ("stem", "stages.0"), ("stages.1", "stages.2", "stages.3")),
        ("test_efficientnet", 1, ("conv_stem",), ("blocks",)),
    ],
)
def test_first_stages_are_frozen(
    backbone: str, stages: int, frozen: tuple[str, ...], learning: tuple[str, ...]
) -> None:
    net = net_of(backbone)
    freeze(net.backbone, stages)
    for name, parameter in net.backbone.named_parameters():
        if name.startswith(frozen):
            assert not parameter.requires_grad, name
        elif name.startswith(learning):
            assert parameter.requires_grad, name
    groups = parameter_groups(net, net.backbone, lr=0.1, backbone_lr=1.0, weight_decay=0.0)
    assert not any(name.startswith(f"backbone.{frozen[0]}.") for name in of_groups(net, groups))
    freeze(net.backbone, 0)
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_freezing_all_or_too_many_stages_is_refused() -> None:
    net = net_of("resnet10t")
    freeze(net.backbone, -1)
    assert not any(parameter.requires_grad for parameter in net.backbone.parameters())
    assert all(parameter.requires_grad for parameter in net.head.parameters())
    for stages in (6, -2):
        with pytest.raises(OptionError, match=f"{stages} frozen stages given; this backbone has 5"):
            freeze(net.backbone, stages)


def statistics(module: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


def moved(net: nn.Module) -> set[str]:
    """Buffers that a forward pass changes."""
    before = statistics(net)
    net(torch.randn(4, 3, 64, 64))
    return {name for name, buffer in net.named_buffers() if not torch.equal(buffer, before[name])}


@pytest.mark.slow
def test_frozen_batchnorms_keep_their_statistics() -> None:
    net = net_of("resnet10t")
    train_mode(net)
    everything = moved(net)
    freeze(net.backbone, 3)
    train_mode(net)
    still_moving = moved(net)
    assert {n for n in everything if "layer3" in n or "layer4" in n or "head" in n} == still_moving
    train_mode(net.backbone, frozen_statistics=True)
    assert moved(net) == {n for n in everything if n.startswith("head")}
    train_mode(net, frozen_statistics=True)
    assert moved(net) == set()
    assert net.training
    assert all(p.requires_grad for p in net.head.parameters())  # they are still trained
    freeze(net.backbone, 0)
    train_mode(net)
    assert moved(net) == everything  # train mode is fully restored


def test_the_schedule_matches_a_hand_computation() -> None:
    assert schedule(0.0, 0.1) == 0.01  # not 0 at the first step
    assert schedule(0.05, 0.1) == pytest.approx(0.5)
    assert schedule(0.1, 0.1) == pytest.approx(1.0)
    assert schedule(0.55, 0.1) == pytest.approx(0.5)  # half way down
    assert schedule(0.4, 0.1) == pytest.approx((1 + math.cos(math.pi / 3)) / 2)
    assert schedule(1.0, 0.1) == pytest.approx(0.0)
    assert schedule(0.0, 0.0) == 1.0
    assert schedule(1.0, 1.0) == 1.0
    down = [schedule(0.1 + i / 100, 0.1) for i in range(91)]
    assert down == sorted(down, reverse=True)


def perturb(net: nn.Module, seed: int) -> None:
    """A random change of every weight and statistic."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor += torch.randn(tensor.shape, generator=generator)
            else:
                tensor += 1


def test_the_moving_average_matches_a_hand_computation() -> None:
    """Against the recursion in float64, with its rising decay; buffers are copied."""
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = new_average(net, 0.9)
    expected = None
    for t in range(120):
        perturb(net, t)
        average.update_parameters(net)
        weight = net[0].weight.detach().double()
        decay = min(0.9, (1 + t) / (10 + t))
        expected = weight if expected is None else decay * expected + (1 - decay) * weight
        assert torch.allclose(average.module[0].weight.double(), expected, atol=1e-5)
    assert torch.equal(average.module[1].running_mean, net[1].running_mean)
    assert int(average.module[1].num_batches_tracked) == 120
    assert not torch.allclose(average.module[0].weight, net[0].weight)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_the_moving_average_resumes() -> None:
    net = net_of()
    uninterrupted, first = new_average(net, 0.99), new_average(net, 0.99)
    for t in range(4):
        perturb(net, t)
        uninterrupted.update_parameters(net)
        first.update_parameters(net)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = new_average(net_of(), 0.99)
    second.load_state_dict(torch.load(file, weights_only=True))
    for t in range(4, 8):
        perturb(net, t)
        uninterrupted.update_parameters(net)
        second.update_parameters(net)
    assert int(second.n_averaged) == 8
    for own, other in zip(
        uninterrupted.module.parameters(), second.module.parameters(), strict=True
    ):
        assert torch.equal(own, other)
    assert isinstance(second.module, EmbeddingNet)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0])
def test_invalid_ema_decays_are_refused(decay: float) -> None:
    with pytest.raises(OptionError, match=f"EMA decay {decay} given"):
        new_average(nn.Linear(2, 2), decay)
