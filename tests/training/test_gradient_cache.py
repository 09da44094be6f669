"""Cached gradients against the large batch they replace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from whichlandmark.features.embedders.torch_network import (
    Architecture,
    EmbeddingNet,
    Pooling,
    new_network,
)
from whichlandmark.training.gradient_cache import cached_backward
from whichlandmark.training.losses import ArcFace, triplet_loss
from whichlandmark.training.optimizer import train_mode

LABELS = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
SIZES = [5, 4, 3]  # chunks need not be equal
Loss = Callable[[Tensor], Tensor]


def pixels() -> Tensor:
    return torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def real_net() -> EmbeddingNet:
    """With BatchNorm statistics other than the initial ones, so that eval mode has an effect."""
    net = new_network(Architecture(backbone="test_resnet", dim=8), seed=1)
    net.train()
    with torch.no_grad():
        for _ in range(3):
            net(pixels() * 2 + 1)
    return net


def group_norm_net() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.GroupNorm(2, 8), nn.ReLU(), nn.Flatten(),
        nn.Linear(512, 8),
    )  # fmt: skip


def batch_norm_net(dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
        nn.Dropout(dropout), nn.Linear(512, 8),
    )  # fmt: skip


def both_losses(arcface: ArcFace) -> Loss:
    def loss(embeddings: Tensor) -> Tensor:
        rows = functional.normalize(embeddings, dim=1)
        return triplet_loss(rows, LABELS) + arcface(rows, LABELS)

    return loss


def new_arcface() -> ArcFace:
    torch.manual_seed(4)
    return ArcFace(8, 4, scale=10.0, margin=0.2, centres=2)


def gradients(*modules: nn.Module) -> dict[str, Tensor]:
    """The gradients of every parameter, which are then cleared."""
    found = {}
    for number, module in enumerate(modules):
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            found[f"{number}.{name}"] = parameter.grad.clone()
            parameter.grad = None
    return found


def assert_equal(ours: dict[str, Tensor], other: dict[str, Tensor], within: float = 1e-5) -> None:
    assert ours.keys() == other.keys()
    assert sum(float(g.abs().sum()) for g in other.values()) > 0.1
    for name, gradient in ours.items():
        assert torch.allclose(gradient, other[name], atol=within, rtol=1e-4), name


@pytest.mark.parametrize("make", [real_net, group_norm_net])
def test_cached_gradients_equal_the_large_batch(make: Callable[[], nn.Module]) -> None:
    """Every parameter of the network and of the loss, within 1e-5."""
    net, arcface, batch = make(), new_arcface(), pixels()
    train_mode(net, frozen_statistics=True)
    whole = both_losses(arcface)(net(batch))
    whole.backward()
    large = gradients(net, arcface)
    loss, embeddings = cached_backward(net, batch.split(SIZES), both_losses(arcface))
    assert_equal(gradients(net, arcface), large)
    assert float(loss) == pytest.approx(float(whole.detach()), abs=1e-5)
    assert torch.allclose(embeddings, net(batch), atol=1e-5)
    assert not loss.requires_grad
    assert not embeddings.requires_grad


def test_separate_small_batches_differ_from_the_large_batch() -> None:
    """The mean over chunks misses the negatives of other chunks, which the comparison detects."""
    net, batch = group_norm_net(), pixels()
    triplet_loss(functional.normalize(net(batch), dim=1), LABELS).backward()
    large = gradients(net)
    for part, labels in zip(batch.split(6), LABELS.split(6), strict=True):
        (triplet_loss(functional.normalize(net(part), dim=1), labels) / 2).backward()
    with pytest.raises(AssertionError):
        assert_equal(gradients(net), large)


def test_the_head_with_its_batchnorm_can_see_the_whole_batch() -> None:
    """With the head in train mode as a part of the loss, gradients equal the large batch."""
    net, arcface, batch = real_net(), new_arcface(), pixels()
    train_mode(net)
    train_mode(net.backbone, frozen_statistics=True)
    whole = both_losses(arcface)(net(batch))
    whole.backward()
    large = gradients(net, arcface)
    cached_backward(
        Pooling(net),
        batch.split(SIZES),
        lambda pooled: both_losses(arcface)(net.embed_pooled(pooled)),
    )
    assert_equal(gradients(net, arcface), large)


def test_gradients_are_added() -> None:
    net, batch = group_norm_net(), pixels()
    loss = both_losses(new_arcface())
    cached_backward(net, batch.split(4), loss)
    once = gradients(net)
    for _ in range(2):
        cached_backward(net, batch.split(4), lambda rows: loss(rows) / 2)
    assert_equal(gradients(net), once)


def test_one_chunk_in_memory_at_a_time() -> None:
    net, seen = group_norm_net(), []
    net.register_forward_hook(lambda _, x, y: seen.append((len(x[0]), y.requires_grad)))
    cached_backward(net, pixels().split(SIZES), both_losses(new_arcface()))
    assert seen == [(5, False), (4, False), (3, False), (5, True), (4, True), (3, True)]


def chunkwise(net: nn.Module, loss: Loss) -> dict[str, Tensor]:
    """Gradients of the same chunks without gradient caching, with all graphs in memory."""
    loss(torch.cat([net(chunk) for chunk in pixels().split(SIZES)])).backward()
    return gradients(net)


def test_dropout_is_the_same_in_both_passes() -> None:
    net, loss = batch_norm_net(dropout=0.5), both_losses(new_arcface())
    torch.manual_seed(9)
    expected = chunkwise(net, loss)
    after = torch.rand(1)
    torch.manual_seed(9)
    cached_backward(net, pixels().split(SIZES), loss)
    assert torch.equal(torch.rand(1), after)  # random numbers are drawn only once
    assert_equal(gradients(net), expected)


def test_batchnorm_in_train_mode() -> None:
    """Each chunk uses its own statistics and updates the running ones once."""
    net, twin, loss = batch_norm_net(), batch_norm_net(), both_losses(new_arcface())
    cached_backward(net, pixels().split(SIZES), loss)
    assert_equal(gradients(net), chunkwise(twin, loss))
    for name, own in net[1].named_buffers():
        assert torch.allclose(own.double(), dict(twin[1].named_buffers())[name].double()), name
    assert int(net[1].num_batches_tracked) == 3
    assert net[1].track_running_stats


def test_an_error_restores_batchnorm() -> None:
    net, calls = batch_norm_net(), []

    def fail(*_: object) -> None:
        calls.append(1)
        if len(calls) > len(SIZES):
            raise RuntimeError("out of memory")

    net.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        cached_backward(net, pixels().split(SIZES), both_losses(new_arcface()))
    assert net[1].track_running_stats


def test_cached_gradients_work_inside_autocast() -> None:
    """Weights that autocast cached without graph must not be reused in the second pass."""
    net, loss = group_norm_net(), both_losses(new_arcface())
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(net(pixels()))
        value.backward()
        large = gradients(net)
    with torch.autocast("cpu", torch.bfloat16):
        cached, _ = cached_backward(net, pixels().split(SIZES), loss)
    assert cached.dtype == torch.float32
    assert float(cached) == pytest.approx(float(value.detach()), abs=0.02)
    ours = gradients(net)
    for name, gradient in large.items():
        similarity = functional.cosine_similarity(gradient.flatten(), ours[name].flatten(), dim=0)
        assert float(similarity) > 0.99, name


def test_frozen_parts_get_no_gradient() -> None:
    net, arcface = group_norm_net().requires_grad_(False), new_arcface()
    cached_backward(net, pixels().split(SIZES), both_losses(arcface))
    assert all(parameter.grad is None for parameter in net.parameters())
    assert arcface.directions.grad is not None


def test_gradients_are_exchanged_with_the_last_chunk() -> None:
    events: list[str] = []

    @contextmanager
    def no_sync() -> Iterator[None]:
        events.append("no sync")
        yield
        events.append("end")

    net = group_norm_net()
    net[4].weight.register_hook(lambda _: events.append("gradient"))
    cached_backward(net, pixels().split(SIZES), both_losses(new_arcface()), no_sync=no_sync)
    assert events == ["no sync", "gradient", "end"] * 2 + ["gradient"]
